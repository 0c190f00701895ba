/* proa_compose(): an op that its caller makes of others is cancelled, timed out and closed as all ops are. Here it is made
 * of a receive with a word of its own for the end. */
#include "harness.h"

struct word {
    struct slot slot; /* the composed op */
    struct slot part;
    char data[8];
    unsigned stops;
    bool in_stop;
};

static proa_loop *loop;

static void on_part(struct slot *part, proa_result result)
{
    struct word *word = proa_owner(part, struct word, part);

    proa_complete(&word->slot.op, result.value);
}

static void stop_word(proa_op *op)
{
    struct word *word = proa_owner(op, struct word, slot.op);

    word->stops++;
    proa_cancel(&word->part.op);
}

static void start_word(struct word *word, proa_fd fd)
{
    *word = (struct word){.part.then = on_part};
    proa_compose(loop, &word->slot.op, stop_word, slot_done);
    proa_recv(loop, &word->part.op, fd, word->data, sizeof(word->data), slot_done);
}

static void test_result(void)
{
    struct word word;
    proa_fd near;
    int far;

    test_case("the value is the maker's, and comes from the loop");
    pair_open(loop, TCP, &near, &far);
    start_word(&word, near);
    HOLDS(proa_in_flight(&word.slot.op) && proa_loop_run(loop, PROA_NO_WAIT) == 2);
    REQUIRE(write(far, "abc", 3) == 3);
    RUN_UNTIL(loop, word.slot.finals);
    HOLDS(word.slot.value == 3 && word.stops == 0 && !proa_in_flight(&word.slot.op));

    test_case("completed at once, it is called back later");
    word = (struct word){0};
    proa_compose(loop, &word.slot.op, stop_word, slot_done);
    proa_complete(&word.slot.op, 7);
    HOLDS(word.slot.finals == 0);
    HOLDS(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0 && word.slot.finals == 1 && word.slot.value == 7);
    close_now(loop, near);
    close_plain(far);
}

static void test_early_ends(void)
{
    struct word word;
    proa_fd near;
    int far;

    pair_open(loop, TCP, &near, &far);
    test_case("a cancel asks its maker, once");
    start_word(&word, near);
    proa_cancel(&word.slot.op);
    proa_cancel(&word.slot.op);
    HOLDS(word.stops == 1 && word.slot.finals == 0);
    RUN_UNTIL(loop, word.slot.finals);
    HOLDS(word.slot.value == -ECANCELED && word.stops == 1);

    test_case("a deadline, too, and is told from a cancel");
    start_word(&word, near);
    proa_set_deadline(&word.slot.op, clock_ns() + 5 * MS);
    RUN_UNTIL(loop, word.slot.finals);
    HOLDS(word.slot.value == -ETIMEDOUT && word.stops == 1);

    test_case("what won the race is delivered");
    start_word(&word, near);
    REQUIRE(write(far, "abc", 3) == 3);
    RUN_UNTIL(loop, word.part.finals);
    proa_cancel(&word.slot.op);
    RUN_UNTIL(loop, word.slot.finals);
    HOLDS(word.slot.value == 3);
    close_now(loop, near);
    close_plain(far);
}

/* Ten that wait for one another: to stop the first stops them all, wherever they stand. */
enum { CHAIN = 10 };
static struct word chain[CHAIN];

/* And one that is made when the loop closes already. */
static struct word late;

static void stop_all(proa_op *op)
{
    proa_owner(op, struct word, slot.op)->stops++;
    if (op == &late.slot.op)
        proa_complete(op, -ECANCELED);
    for (int i = CHAIN - 1; i >= 0; i--)
        if (proa_in_flight(&chain[i].slot.op) && !chain[i].in_stop) {
            chain[i].in_stop = true;
            proa_complete(&chain[i].slot.op, -ECANCELED);
        }
}

static void on_word_over(struct slot *slot, proa_result result)
{
    (void)slot;
    (void)result;
    late = (struct word){0};
    proa_compose(loop, &late.slot.op, stop_all, slot_done);
}

static void test_close(void)
{
    struct word word;
    proa_fd near;
    int far;

    test_case("closing the loop ends it");
    pair_open(loop, TCP, &near, &far);
    start_word(&word, near);
    word.slot.then = on_word_over;
    for (int i = 0; i < CHAIN; i++)
        proa_compose(loop, &chain[i].slot.op, stop_all, slot_done);
    proa_loop_close(loop);
    HOLDS(word.slot.finals == 1 && word.slot.value == -ECANCELED);
    for (int i = 0; i < CHAIN; i++)
        HOLDS(chain[i].slot.finals == 1 && chain[i].slot.value == -ECANCELED);
    HOLDS(late.stops == 1 && late.slot.finals == 1 && late.slot.value == -ECANCELED);
    if (test_simulated()) /* its machine is gone with the loop */
        return;
    if (proa_fd_number(near) >= 0)
        close_plain(proa_fd_number(near));
    close_plain(far);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "composed");
    loop = loop_open();
    test_result();
    test_early_ends();
    test_close();
    return check_done("composed");
}

/* Rule 16: after the loop is open, starting and completing ops allocates nothing. Every call of malloc and its family,
 * by any thread, is counted from the moment the loop is open, so what is made at first use counts as well. */
#include "kinds.h"

/* A sanitizer allocates in each thread as it starts, which the pool's may do some time after the loop is open. */
static proa_loop *fresh_loop(void)
{
    proa_loop *loop = loop_open();

    if (test_slow())
        threads_await_rest();
    return loop;
}

/* Each kind's first life, and some more, ended by result and by cancel. */
static void test_kind(const struct kind *kind)
{
    static struct stage stage;
    uint64_t before, calls = 0;

    if (kind->traits & SLOW)
        return;
    test_case("%s", kind->name);
    stage_set(&stage, kind, fresh_loop());
    for (int life = 0; life < 3; life++) {
        stage.slot.finals = stage.slot.mores = 0;
        if (kind->traits & CLOSES && life) {
            if (stage.far >= 0)
                close_plain(stage.far);
            stage.far = -1;
            kind->set(&stage);
        }
        before = heap_calls();
        stage_start(&stage);
        if ((kind->traits & WAITS) || (kind->traits & REPEATS)) {
            proa_loop_run(stage.loop, PROA_NO_WAIT);
            proa_set_deadline(&stage.slot.op, clock_ns() + 3600 * PROA_SECOND_NS);
            proa_cancel(&stage.slot.op);
        }
        stage_wait(&stage);
        calls += heap_calls() - before;
    }
    if (!HOLDS(calls == 0))
        fprintf(stderr, "    calls of malloc and its like: %llu\n", (unsigned long long)calls);
    stage_close_extras(&stage);
    proa_loop_close(stage.loop);
    stage_clear(&stage);
}

/* From the very first op of a fresh loop: pairs and files by the library alone, many at a time. */
struct echo {
    struct slot recv, send;
    char data[64];
    proa_fd fd;
    unsigned left;
};

static void on_received(struct slot *slot, proa_result result)
{
    struct echo *echo = slot->context;

    REQUIRE(result.value > 0);
    if (echo->left && --echo->left)
        proa_send(slot->op.loop, &echo->send.op, echo->fd, echo->data, (size_t)result.value, slot_done);
}

static void on_sent(struct slot *slot, proa_result result)
{
    struct echo *echo = slot->context;

    REQUIRE(result.value > 0);
    proa_recv(slot->op.loop, &echo->recv.op, echo->fd, echo->data, sizeof(echo->data), slot_done);
}

static void echo_open(struct echo *echo, proa_loop *loop, bool serves)
{
    echo->recv = (struct slot){.then = on_received, .context = echo};
    echo->send = (struct slot){.then = on_sent, .context = echo};
    echo->left = 50;
    if (serves)
        proa_send(loop, &echo->send.op, echo->fd, "ball", 4, slot_done);
    else
        proa_recv(loop, &echo->recv.op, echo->fd, echo->data, sizeof(echo->data), slot_done);
}

static void test_echo(void)
{
    enum { PAIRS = 100 };
    static struct echo ends[2 * PAIRS];
    uint64_t before;
    proa_loop *loop = fresh_loop();

    test_case("an echo, from the first connection on");
    temp_path("made before");
    before = heap_calls();
    for (size_t i = 0; i < PAIRS; i++) {
        pair_open_inside(loop, i % 2 ? TCP : UNIX, &ends[2 * i].fd, &ends[2 * i + 1].fd);
        echo_open(&ends[2 * i], loop, true);
        echo_open(&ends[2 * i + 1], loop, false);
    }
    for (size_t i = 0; i < PAIRS; i++)
        RUN_UNTIL(loop, ends[2 * i].left <= 1 || ends[2 * i + 1].left <= 1);
    if (!HOLDS(heap_calls() == before))
        fprintf(stderr, "    calls of malloc and its like: %llu\n", (unsigned long long)(heap_calls() - before));
    for (size_t i = 0; i < 2 * PAIRS; i++)
        ends[i].recv.then = ends[i].send.then = NULL;
    proa_loop_close(loop);
    for (size_t i = 0; i < 2 * PAIRS; i++)
        close_plain(ends[i].fd.handle);
}

/* High numbers of descriptors: a table that grows when one is first seen would show here. */
static void test_high_numbers(void)
{
    struct slot slots[3] = {0};
    proa_loop *loop = fresh_loop();
    char data[8];
    int ends[2], high;
    uint64_t before;

    test_case("a high number");
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    high = fcntl(ends[0], F_DUPFD_CLOEXEC, 1000);
    REQUIRE(high >= 1000);
    before = heap_calls();
    proa_recv(loop, &slots[0].op, proa_fd_of(high), data, sizeof(data), slot_done);
    proa_send(loop, &slots[1].op, proa_fd_of(high), "x", 1, slot_done);
    RUN_UNTIL(loop, slots[1].finals);
    proa_close(loop, &slots[2].op, proa_fd_of(high), slot_done);
    RUN_UNTIL(loop, slots[2].finals);
    HOLDS(heap_calls() == before);
    HOLDS(slots[0].value == -ECANCELED);
    close_plain(ends[0]);
    close_plain(ends[1]);
    proa_loop_close(loop);
}

static void test_counter_counts(void)
{
    uint64_t before = heap_calls();
    void *volatile block = malloc(10);

    free(block);
    HOLDS(heap_calls() == before + 1);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "c16_no_allocation");
    if (strcmp(test_engine(), "threads") == 0)
        return check_skip("c16_no_allocation", "the rule is for every engine but threads");
    test_counter_counts();
    for (size_t i = 0; i < kind_count; i++)
        test_kind(&kinds[i]);
    test_echo();
    test_high_numbers();
    return check_done("c16_no_allocation");
}

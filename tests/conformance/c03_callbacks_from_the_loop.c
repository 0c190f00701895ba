/* Rule 3: no callback ever runs inside a start, cancel or post call. Callbacks run from the loop, on its thread, from a
 * flat queue: however many ops complete at once, and start each other, the stack stays where it is and the loop's turn
 * ends. */
#include "kinds.h"

#include <poll.h>
#include <pthread.h>

enum { CHAIN = 100000, STACK_SPREAD = 4096 };

/* Nothing completes inside: not at the start, with the answer at hand; not at a cancel, not at a deadline gone by. */
static void test_no_callback_inside(const struct kind *kind)
{
    static struct stage stage;

    test_case("%s: start, deadline, cancel", kind->name);
    stage_set(&stage, kind, loop_open());
    test_reentered = 0;
    if ((kind->traits & WAITS) && !(kind->traits & SLOW) && !stage.blocker_count)
        stage_provoke(&stage); /* the answer is there before the question */
    stage_start(&stage);
    HOLDS(stage.slot.finals + stage.slot.mores == 0);
    HOLDS(proa_in_flight(&stage.slot.op));
    CALL(proa_set_deadline(&stage.slot.op, 1));
    CALL(proa_cancel(&stage.slot.op));
    CALL(proa_set_deadline(&stage.slot.op, PROA_NEVER));
    HOLDS(stage.slot.finals + stage.slot.mores == 0);
    HOLDS(proa_in_flight(&stage.slot.op));
    stage_wait(&stage);
    HOLDS(test_reentered == 0);
    stage_close_extras(&stage);
    proa_loop_close(stage.loop);
    stage_clear(&stage);
}

/* Chains: each completion starts the next op. */
struct chain {
    struct slot slot;
    const char *name;
    void (*start)(struct chain *chain);
    proa_loop *loop;
    proa_fd fd;
    int far;
    char *data;
    unsigned left;
    unsigned depth;
    uintptr_t lowest, highest;
    pthread_t thread;
};

static void on_link(struct slot *slot, proa_result result)
{
    struct chain *chain = slot->context;
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);

    (void)result;
    REQUIRE(chain->depth == 0);
    REQUIRE(pthread_equal(chain->thread, pthread_self()));
    chain->depth++;
    if (here < chain->lowest)
        chain->lowest = here;
    if (here > chain->highest)
        chain->highest = here;
    if (--chain->left)
        CALL(chain->start(chain));
    chain->depth--;
}

static void start_timer(struct chain *chain)
{
    proa_timer(chain->loop, &chain->slot.op, 1, slot_done);
}

static void start_post(struct chain *chain)
{
    proa_post(chain->loop, &chain->slot.op, slot_done);
}

static void start_error(struct chain *chain)
{
    proa_recv(chain->loop, &chain->slot.op, proa_fd_of(-1), chain->data, 1, slot_done);
}

static void start_poll(struct chain *chain)
{
    proa_poll(chain->loop, &chain->slot.op, chain->fd, POLLOUT, slot_done);
}

static void start_recv(struct chain *chain)
{
    proa_recv(chain->loop, &chain->slot.op, chain->fd, chain->data, 1, slot_done);
}

static void start_send(struct chain *chain)
{
    far_drain(chain->far);
    proa_send(chain->loop, &chain->slot.op, chain->fd, chain->data, 1, slot_done);
}

static void start_cancelled(struct chain *chain)
{
    proa_timer(chain->loop, &chain->slot.op, PROA_NEVER - 1, slot_done);
    proa_cancel(&chain->slot.op);
}

static void start_cancelled_recv(struct chain *chain)
{
    start_recv(chain);
    proa_cancel(&chain->slot.op);
}

static void start_timed_out(struct chain *chain)
{
    proa_timer(chain->loop, &chain->slot.op, PROA_NEVER - 1, slot_done);
    proa_set_deadline(&chain->slot.op, 1);
}

static const struct {
    const char *name;
    void (*start)(struct chain *chain);
    bool data; /* the socket is full of it */
} chains[] = {
    {"timers gone by", start_timer, false},
    {"posts", start_post, false},
    {"errors", start_error, false},
    {"polls of a ready descriptor", start_poll, false},
    {"receives of what is there", start_recv, true},
    {"sends", start_send, false},
    {"cancelled timers", start_cancelled, false},
    {"cancelled receives", start_cancelled_recv, false},
    {"deadlines gone by", start_timed_out, false},
};

static void chain_open(struct chain *chain, size_t index)
{
    static char data[16];

    *chain = (struct chain){.lowest = UINTPTR_MAX, .data = data, .left = test_rounds(CHAIN)};
    chain->slot.then = on_link;
    chain->slot.context = chain;
    chain->start = chains[index].start;
    chain->loop = loop_open();
    chain->thread = pthread_self();
    pair_open(chain->loop, UNIX, &chain->fd, &chain->far);
    if (chains[index].data) {
        set_size(chain->far, SO_SNDBUF, 1 << 20);
        REQUIRE(far_fill(chain->far) > 100);
    }
}

static void chain_close(struct chain *chain)
{
    close_now(chain->loop, chain->fd);
    close_plain(chain->far);
    proa_loop_close(chain->loop);
}

static void test_chain(size_t index)
{
    struct chain chain;

    chain_open(&chain, index);
    test_case("a chain of %u %s", chain.left, chains[index].name);
    test_reentered = 0;
    chain.start(&chain);
    while (chain.left) {
        proa_loop_run(chain.loop, PROA_ONCE);
        if (chains[index].data)
            far_fill(chain.far);
    }
    HOLDS(test_reentered == 0);
    if (!HOLDS(chain.highest - chain.lowest < STACK_SPREAD))
        fprintf(stderr, "    the stack went %zu bytes deep\n", (size_t)(chain.highest - chain.lowest));
    chain_close(&chain);
}

/* An endless chain takes turns with everything else: one turn ends, a timer fires, stop is heard. */
static void on_timer_stop(struct slot *slot, proa_result result)
{
    (void)result;
    proa_loop_stop(slot->op.loop);
}

static void test_endless(size_t index)
{
    struct chain chain;
    struct slot timer = {.then = on_timer_stop};

    chain_open(&chain, index);
    test_case("an endless chain of %s", chains[index].name);
    if (chains[index].data || chains[index].start == start_send)
        goto out; /* needs the other end's help to be endless */
    chain.left = UINT32_MAX;
    chain.start(&chain);
    proa_loop_run(chain.loop, PROA_NO_WAIT);
    proa_loop_run(chain.loop, PROA_ONCE);
    proa_timer(chain.loop, &timer.op, clock_ns() + MS, slot_done);
    proa_loop_run(chain.loop, PROA_UNTIL_STOPPED);
    HOLDS(timer.finals == 1);
    chain.left = 1;
    RUN_UNTIL(chain.loop, chain.left == 0);
out:
    chain_close(&chain);
}

/* Many that are due in the same turn: still one after the other. */
static void on_due(struct slot *slot, proa_result result)
{
    unsigned *depth = slot->context;

    (void)result;
    REQUIRE(*depth == 0);
    ++*depth;
    CALL(proa_cancel(&slot->op));
    --*depth;
}

static void test_many_due(void)
{
    enum { COUNT = 20000 };
    struct slot *slots = calloc(COUNT, sizeof(*slots));
    proa_loop *loop = loop_open();
    unsigned depth = 0;

    test_case("%d due at once", COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        slots[i].then = on_due;
        slots[i].context = &depth;
        if (i % 2)
            proa_post(loop, &slots[i].op, slot_done);
        else
            proa_timer(loop, &slots[i].op, 1, slot_done);
    }
    HOLDS(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    for (size_t i = 0; i < COUNT; i++)
        REQUIRE(slots[i].finals == 1);
    proa_loop_close(loop);
    free(slots);
}

/* Cancelling another op from a callback, one that is already due in the same turn: it completes later, once. */
static struct slot partners[2];

static void on_partner(struct slot *slot, proa_result result)
{
    struct slot *other = &partners[slot == &partners[0]];

    (void)result;
    if (other->finals)
        return;
    CALL(proa_cancel(&other->op));
    CALL(proa_set_deadline(&other->op, 1));
    HOLDS(other->finals == 0);
}

static void test_cancel_of_the_due(void)
{
    proa_loop *loop = loop_open();

    test_case("cancel of one due in the same turn");
    for (int i = 0; i < 2; i++) {
        partners[i] = (struct slot){.then = on_partner};
        proa_timer(loop, &partners[i].op, 1, slot_done);
    }
    RUN_UNTIL(loop, partners[0].finals && partners[1].finals);
    loop_run_for(loop, MS);
    HOLDS(partners[0].finals == 1 && partners[1].finals == 1);
    proa_loop_close(loop);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "c03_callbacks_from_the_loop");
    for (size_t i = 0; i < kind_count; i++)
        test_no_callback_inside(&kinds[i]);
    for (size_t i = 0; i < ARRAY_SIZE(chains); i++) {
        test_chain(i);
        test_endless(i);
    }
    test_many_due();
    test_cancel_of_the_due();
    return check_done("c03_callbacks_from_the_loop");
}

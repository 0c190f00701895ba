/* Trap: a completion queue that overflows ends a repeating op with a valid result and without "more". So: the smallest
 * queue, and thousands of connections and messages between two turns. Each comes, once, and none is the last. */
#include "harness.h"

enum { BURST = 500, BURSTS = 4, TALKERS = 64, MESSAGES = 200 };

static int taken[BURST * BURSTS];
static size_t taken_count;

static void on_taken(struct slot *slot, proa_result result)
{
    (void)slot;
    if (result.value >= 0)
        taken[taken_count++] = (int)result.value;
}

static void test_connections(uint32_t entries)
{
    proa_loop *loop = loop_open_sized(entries);
    struct slot slot = {.then = on_taken};
    static int far[BURST * BURSTS];
    proa_address bound;
    proa_fd listener = listen_on(loop, UNIX, 4096, &bound);

    test_case("%d connections between two turns, queue of %u", BURST, entries);
    taken_count = 0;
    proa_accept_many(loop, &slot.op, listener, slot_done);
    loop_run_for(loop, MS);
    for (size_t burst = 1; burst <= BURSTS; burst++) {
        for (size_t i = (burst - 1) * BURST; i < burst * BURST; i++)
            far[i] = far_connect(&bound);
        RUN_UNTIL(loop, taken_count == burst * BURST);
    }
    loop_run_for(loop, MS);
    HOLDS(taken_count == BURST * BURSTS);
    HOLDS(slot.finals == 0 && slot.mores == BURST * BURSTS);
    proa_cancel(&slot.op);
    RUN_UNTIL(loop, slot.finals);
    HOLDS(slot.value == -ECANCELED);
    close_now(loop, listener);
    proa_loop_close(loop);
    for (size_t i = 0; i < BURST * BURSTS; i++) {
        close_plain(taken[i]);
        close_plain(far[i]);
    }
}

struct talker {
    struct slot slot;
    proa_buffer_pool *pool;
    uint64_t at, sent;
    proa_fd near;
    int far;
};

static void on_heard(struct slot *slot, proa_result result)
{
    struct talker *talker = proa_owner(slot, struct talker, slot);

    if (!(result.flags & PROA_LENT))
        return;
    REQUIRE(pattern_holds(proa_buffer(talker->pool, result.buffer), (size_t)result.value, talker->at));
    talker->at += (uint64_t)result.value;
    proa_buffer_return(talker->pool, result.buffer);
}

/* Buffers far smaller than what comes, so that one connection alone makes more completions than the queue holds. */
static void test_messages(uint32_t entries, uint32_t buffers)
{
    proa_loop *loop = loop_open_sized(entries);
    static struct talker talkers[TALKERS];
    proa_buffer_pool *pool;
    char data[256];

    test_case("%d talkers, queue of %u, %u buffers", TALKERS, entries, buffers);
    REQUIRE(proa_buffer_pool_open(loop, buffers, 16, &pool) == 0);
    for (size_t i = 0; i < TALKERS; i++) {
        talkers[i] = (struct talker){.slot.then = on_heard, .pool = pool};
        pair_open(loop, i % 2 ? TCP : UNIX, &talkers[i].near, &talkers[i].far);
        proa_recv_many(loop, &talkers[i].slot.op, talkers[i].near, pool, slot_done);
    }
    for (size_t turn = 0; turn < MESSAGES / 10; turn++) {
        for (size_t i = 0; i < TALKERS * 10; i++) {
            struct talker *talker = &talkers[i % TALKERS];
            size_t size = 1 + random_below(sizeof(data));
            ssize_t count;

            pattern_fill(data, size, talker->sent);
            count = write(talker->far, data, size);
            talker->sent += count > 0 ? (uint64_t)count : 0;
        }
        for (size_t i = 0; i < TALKERS; i++)
            RUN_UNTIL(loop, talkers[i].at == talkers[i].sent);
    }
    for (size_t i = 0; i < TALKERS; i++) {
        REQUIRE(talkers[i].slot.finals == 0);
        close_plain(talkers[i].far);
        RUN_UNTIL(loop, talkers[i].slot.finals);
        HOLDS(talkers[i].slot.value == 0 && talkers[i].at == talkers[i].sent);
        close_now(loop, talkers[i].near);
    }
    proa_buffer_pool_close(pool);
    proa_loop_close(loop);
}

/* More single ops in flight than any queue holds, all made ready at once. */
static void test_single_ops(uint32_t entries)
{
    enum { COUNT = 3000, SELECT_COUNT = 450 };
    const size_t count = strcmp(test_engine(), "select") == 0 ? SELECT_COUNT : COUNT;
    proa_loop *loop = loop_open_with((proa_loop_options){.queue_entries = entries, .op_threads_max = COUNT});
    static struct slot slots[COUNT];
    static char data[COUNT];
    static int ends[COUNT][2];
    size_t done = 0;

    test_case("%zu receives ready at once, queue of %u", count, entries);
    memset(slots, 0, sizeof(slots));
    for (size_t i = 0; i < count; i++) {
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends[i]) == 0);
        proa_recv(loop, &slots[i].op, proa_fd_of(ends[i][0]), &data[i], 1, slot_done);
    }
    loop_run_for(loop, MS);
    for (size_t i = 0; i < count; i++)
        REQUIRE(write(ends[i][1], "x", 1) == 1);
    while (done < count) {
        proa_loop_run(loop, PROA_ONCE);
        for (done = 0; done < count && slots[done].finals; done++)
            continue;
    }
    for (size_t i = 0; i < count; i++) {
        REQUIRE(slots[i].finals == 1 && slots[i].value == 1 && data[i] == 'x');
        close_plain(ends[i][0]);
        close_plain(ends[i][1]);
    }
    HOLDS(done == count);
    proa_loop_close(loop);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "t_completion_overflow");
    test_connections(2);
    test_connections(8);
    test_messages(2, 1024);
    test_messages(8, 4);
    test_messages(0, 16);
    test_single_ops(2);
    test_single_ops(0);
    return check_done("t_completion_overflow");
}

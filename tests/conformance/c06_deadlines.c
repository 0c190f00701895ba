/* Rule 6: a deadline completes its op with ETIMEDOUT, or with the bytes that already moved. It is absolute, on the
 * monotonic clock: never early, movable both ways, and it can be taken back. */
#include "kinds.h"

/* Every kind that waits: not before its time, and with ETIMEDOUT. */
static void test_ends_waiting(const struct kind *kind)
{
    static struct stage stage;
    uint64_t when;

    if (!(kind->traits & WAITS))
        return;
    test_case("%s", kind->name);
    stage_set(&stage, kind, loop_open());
    stage_start(&stage);
    when = clock_ns() + 5 * MS;
    CALL(proa_set_deadline(&stage.slot.op, when));
    RUN_UNTIL(stage.loop, stage.slot.finals);
    HOLDS(clock_ns() >= when && stage.slot.at_ns >= when);
    HOLDS(stage.slot.value == -ETIMEDOUT);
    HOLDS(stage.slot.mores == 0);
    if (kind->traits & STREAMS)
        HOLDS(proa_sent(&stage.slot.op) < stage.size);
    stage_close_extras(&stage);
    proa_loop_close(stage.loop);
    stage_clear(&stage);
}

static struct stage waiting;

static void waiting_open(const char *kind, const char *name)
{
    test_case("%s: %s", kind, name);
    stage_set(&waiting, kind_named(kind), loop_open());
    stage_start(&waiting);
}

static void waiting_close(void)
{
    stage_close_extras(&waiting);
    proa_loop_close(waiting.loop);
    stage_clear(&waiting);
}

static void test_moved_later(const char *kind)
{
    uint64_t first, second;

    waiting_open(kind, "moved later");
    first = clock_ns() + 10 * MS;
    second = first + 10 * MS;
    proa_set_deadline(&waiting.slot.op, first);
    proa_loop_run(waiting.loop, PROA_NO_WAIT);
    if (clock_ns() >= first)
        return waiting_close(); /* on a machine this slow the poll may have seen it, and struck */
    proa_set_deadline(&waiting.slot.op, second);
    RUN_UNTIL(waiting.loop, waiting.slot.finals);
    HOLDS(waiting.slot.value == -ETIMEDOUT && waiting.slot.at_ns >= second);
    waiting_close();
}

static void test_moved_earlier(const char *kind)
{
    struct slot far = {0};

    waiting_open(kind, "moved earlier");
    proa_set_deadline(&waiting.slot.op, clock_ns() + 3600 * PROA_SECOND_NS);
    proa_timer(waiting.loop, &far.op, clock_ns() + 1800 * PROA_SECOND_NS, slot_done);
    proa_loop_run(waiting.loop, PROA_NO_WAIT);
    proa_set_deadline(&waiting.slot.op, clock_ns() + MS);
    RUN_UNTIL(waiting.loop, waiting.slot.finals);
    HOLDS(waiting.slot.value == -ETIMEDOUT && !far.finals);
    waiting_close();
}

static void test_taken_back(const char *kind, bool at_the_brink)
{
    uint64_t when;

    waiting_open(kind, at_the_brink ? "taken back when it has passed unseen" : "taken back");
    when = clock_ns() + 10 * MS;
    proa_set_deadline(&waiting.slot.op, when);
    proa_loop_run(waiting.loop, PROA_NO_WAIT);
    if (clock_ns() >= when)
        return waiting_close(); /* as above */
    while (at_the_brink && clock_ns() < when)
        sleep_ms(1);
    proa_set_deadline(&waiting.slot.op, PROA_NEVER);
    loop_run_for(waiting.loop, 15 * MS);
    HOLDS(waiting.slot.finals == 0);
    while (!waiting.slot.finals) {
        stage_provoke(&waiting);
        proa_loop_run(waiting.loop, PROA_ONCE);
    }
    HOLDS(waiting.slot.value >= 0);
    waiting_close();
}

/* A deadline goes with its op: once the op is over it strikes nothing, not the op's next life either. */
static void test_gone_with_its_op(void)
{
    char data[32];

    waiting_open("recv", "a deadline that outlives its op");
    proa_set_deadline(&waiting.slot.op, clock_ns() + 2 * MS);
    stage_finish(&waiting);
    HOLDS(waiting.slot.value > 0);
    proa_recv(waiting.loop, &waiting.slot.op, waiting.fd, data, sizeof(data), slot_done);
    loop_run_for(waiting.loop, 5 * MS);
    HOLDS(waiting.slot.finals == 1);
    proa_set_deadline(&waiting.slot.op, 1);
    RUN_UNTIL(waiting.loop, waiting.slot.finals == 2);
    HOLDS(waiting.slot.value == -ETIMEDOUT);
    proa_set_deadline(&waiting.slot.op, clock_ns() + MS); /* idle: nothing to end */
    loop_run_for(waiting.loop, 3 * MS);
    HOLDS(waiting.slot.finals == 2);
    waiting_close();
}

/* A send with a stalled reader: what moved is told, and what the reader finds is exactly that. */
static void test_send_moved(bool relaxed)
{
    enum { SIZE = 4 << 20 };
    proa_loop *loop = loop_open();
    struct slot slot = {0}, tick = {0};
    char *data = malloc(SIZE), *got = malloc(SIZE);
    size_t used = 0;
    proa_fd near;
    int far;

    test_case("bytes moved by a send that timed out%s", relaxed ? ", relaxed" : "");
    pair_open(loop, TCP, &near, &far);
    set_size(near.handle, SO_SNDBUF, 16384); /* left to itself it grows to megabytes */
    pattern_fill(data, SIZE, 0);
    if (relaxed)
        proa_send_relaxed(loop, &slot.op, near, data, SIZE, slot_done);
    else
        proa_send(loop, &slot.op, near, data, SIZE, slot_done);
    proa_set_deadline(&slot.op, clock_ns() + 5 * MS);
    for (int i = 0; i < 3; i++) {
        ssize_t count;

        loop_run_for(loop, MS);
        count = recv(far, got + used, 4096, 0);
        used += count > 0 ? (size_t)count : 0;
    }
    RUN_UNTIL(loop, slot.finals);
    HOLDS(slot.value == -ETIMEDOUT);
    HOLDS(proa_sent(&slot.op) >= used && proa_sent(&slot.op) < SIZE);
    proa_timer_repeat(loop, &tick.op, 1, MS, slot_done);
    close_now(loop, near);
    for (ssize_t count = 1; count != 0;) {
        count = recv(far, got + used, SIZE - used, 0);
        if (count > 0)
            used += (size_t)count;
        else
            REQUIRE(count == 0 || errno == EAGAIN);
    }
    HOLDS(used == proa_sent(&slot.op));
    HOLDS(pattern_holds(got, used, 0));
    close_plain(far);
    proa_loop_close(loop);
    free(data);
    free(got);
}

/* A repeating op: results with MORE before, ETIMEDOUT as its last. */
static void test_repeating(const char *kind)
{
    waiting_open(kind, "after results with MORE");
    stage_finish(&waiting);
    HOLDS(waiting.slot.mores == 1 && waiting.slot.finals == 0);
    proa_set_deadline(&waiting.slot.op, clock_ns() + MS);
    RUN_UNTIL(waiting.loop, waiting.slot.finals);
    HOLDS(waiting.slot.value == -ETIMEDOUT && waiting.slot.mores >= 1);
    waiting_close();
}

/* Many deadlines on ops of one descriptor: each its own, in the order of time. */
static void test_many(void)
{
    enum { COUNT = 200 };
    proa_loop *loop = loop_open();
    proa_fd listener = listen_on(loop, TCP, 4, NULL);
    struct slot slots[COUNT] = {0};
    uint64_t base = clock_ns() + MS;

    test_case("%d accepts, each with a deadline", COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        proa_accept(loop, &slots[i].op, listener, slot_done);
        proa_set_deadline(&slots[i].op, base + (i * 7 % COUNT) * MS / 20);
    }
    for (size_t i = 0; i < COUNT; i++) {
        RUN_UNTIL(loop, slots[i].finals);
        REQUIRE(slots[i].value == -ETIMEDOUT);
        REQUIRE(slots[i].at_ns >= base + (i * 7 % COUNT) * MS / 20);
    }
    HOLDS(slots[0].finals == 1);
    close_now(loop, listener);
    proa_loop_close(loop);
}

/* Where the answer is there, it is no matter that the deadline has passed since. */
static void test_answer_in_time(void)
{
    waiting_open("recv", "the answer came in time, nobody looked");
    proa_loop_run(waiting.loop, PROA_NO_WAIT);
    stage_provoke(&waiting);
    proa_set_deadline(&waiting.slot.op, clock_ns() + PROA_SECOND_NS);
    RUN_UNTIL(waiting.loop, waiting.slot.finals);
    HOLDS(waiting.slot.value > 0);
    waiting_close();
}

int main(int argc, char **argv)
{
    static const char *const some[] = {"recv", "accept", "recv_many", "poll", "timer_repeat, far", "work, pool busy"};

    test_begin(argc, argv, "c06_deadlines");
    for (size_t i = 0; i < kind_count; i++)
        test_ends_waiting(&kinds[i]);
    for (size_t i = 0; i < ARRAY_SIZE(some); i++) {
        test_moved_later(some[i]);
        test_moved_earlier(some[i]);
    }
    test_taken_back("recv", false);
    test_taken_back("recv", true);
    test_taken_back("accept", false);
    test_taken_back("poll", true);
    test_gone_with_its_op();
    test_send_moved(false);
    test_send_moved(true);
    test_repeating("recv_many");
    test_repeating("accept_many");
    test_repeating("timer_repeat");
    test_repeating("signal");
    test_many();
    test_answer_in_time();
    return check_done("c06_deadlines");
}

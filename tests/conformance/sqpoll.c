/* PROA_FEATURE_SQPOLL: a busy loop talks to the kernel's thread through memory, with hardly a system call; an idle one lets
 * that thread sleep, and wakes it. */
#include "harness.h"

enum { PAIRS = 64, BOUNCES = 20000 };

struct end {
    struct slot receive, send;
    proa_fd fd;
    char byte;
};

static struct end ends[2 * PAIRS];
static unsigned bounces;

static void bounce(struct slot *slot, proa_result result)
{
    struct end *end = slot->context;

    REQUIRE(result.value == 1);
    bounces++;
    proa_send(slot->op.loop, &end->send.op, end->fd, &end->byte, 1, slot_done);
    proa_recv(slot->op.loop, &end->receive.op, end->fd, &end->byte, 1, slot_done);
}

static void end_open(proa_loop *loop, struct end *end, proa_fd fd)
{
    memset(end, 0, sizeof(*end));
    end->fd = fd;
    end->receive.then = bounce;
    end->receive.context = end;
    proa_recv(loop, &end->receive.op, fd, &end->byte, 1, slot_done);
}

/* Both ends are the loop's: each byte that arrives goes back. */
static void test_busy(void)
{
    proa_loop *loop = loop_open();
    uint64_t calls;

    test_case("busy");
    for (unsigned i = 0; i < PAIRS; i++) {
        proa_fd near, far;

        pair_open_inside(loop, TCP, &near, &far);
        end_open(loop, &ends[2 * i], near);
        end_open(loop, &ends[2 * i + 1], far);
        proa_send(loop, &ends[2 * i].send.op, near, "x", 1, slot_done);
    }
    calls = proa_loop_meters(loop).system_calls;
    RUN_UNTIL(loop, bounces >= BOUNCES);
    calls = proa_loop_meters(loop).system_calls - calls;
    if (!HOLDS(calls < BOUNCES / 10))
        fprintf(stderr, "    system calls: %llu of %u messages\n", (unsigned long long)calls, bounces);
    for (unsigned i = 0; i < 2 * PAIRS; i++)
        ends[i].receive.then = NULL;
    for (unsigned i = 0; i < 2 * PAIRS; i++)
        close_now(loop, ends[i].fd);
    proa_loop_close(loop);
}

/* The thread falls asleep between any two; none is lost. */
static void test_woken(void)
{
    proa_loop *loop = loop_open();
    struct slot receive = {0}, send = {0};
    proa_fd near;
    char byte;
    int far;

    test_case("woken");
    pair_open(loop, UNIX, &near, &far);
    for (unsigned i = 1; i <= 20; i++) {
        uint64_t cpu;

        sleep_ms(20);
        cpu = cpu_process_ns();
        sleep_ms(20);
        HOLDS(cpu_process_ns() - cpu < 10 * MS);
        proa_send(loop, &send.op, near, "x", 1, slot_done);
        RUN_UNTIL(loop, send.finals == i);
        REQUIRE(far_drain(far) == 1);
        proa_recv(loop, &receive.op, near, &byte, 1, slot_done);
        proa_loop_run(loop, PROA_NO_WAIT);
        REQUIRE(write(far, "y", 1) == 1);
        RUN_UNTIL(loop, receive.finals == i);
    }
    close_plain(far);
    close_now(loop, near);
    proa_loop_close(loop);
}

/* More started at once than the queue holds: the loop waits for the thread to make room. */
static void test_full(void)
{
    proa_loop *loop = loop_open_sized(16);
    static struct slot polls[1000];
    int pipe_ends[2];

    test_case("a full queue");
    REQUIRE(pipe2(pipe_ends, O_CLOEXEC) == 0);
    for (size_t i = 0; i < ARRAY_SIZE(polls); i++)
        proa_poll(loop, &polls[i].op, proa_fd_of(pipe_ends[1]), POLLOUT, slot_done);
    HOLDS(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    for (size_t i = 0; i < ARRAY_SIZE(polls); i++)
        HOLDS(polls[i].finals == 1 && polls[i].value == POLLOUT);
    close_plain(pipe_ends[0]);
    close_plain(pipe_ends[1]);
    proa_loop_close(loop);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "sqpoll");
    if (!test_has(PROA_FEATURE_SQPOLL))
        return check_skip("sqpoll", "it is about uring+sqpoll");
    test_busy();
    test_woken();
    test_full();
    return check_done("sqpoll");
}

/* PROA_FEATURE_SQPOLL: a busy loop talks to the kernel's thread through memory, with hardly a system call; an idle one lets
 * that thread sleep, and wakes it; and a process that is killed is gone. */
#include <poll.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "harness.h"

enum { PAIRS = 64, BOUNCES = 20000, TRIES = 20 };

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

/* How many calls so many messages take. */
static uint64_t calls_of_bounces(proa_loop *loop)
{
    uint64_t calls = proa_loop_meters(loop).system_calls;

    bounces = 0;
    RUN_UNTIL(loop, bounces >= BOUNCES);
    return proa_loop_meters(loop).system_calls - calls;
}

/* Both ends are the loop's: each byte that arrives goes back. While the kernel's thread has to wait for a processor the loop
 * sleeps, with a call each time; sooner or later both have one. */
static void test_busy(void)
{
    proa_loop *loop = loop_open();
    uint64_t calls;
    int tries = 0;

    test_case("busy");
    for (unsigned i = 0; i < PAIRS; i++) {
        proa_fd near, far;

        pair_open_inside(loop, TCP, &near, &far);
        end_open(loop, &ends[2 * i], near);
        end_open(loop, &ends[2 * i + 1], far);
        proa_send(loop, &ends[2 * i].send.op, near, "x", 1, slot_done);
    }
    do
        calls = calls_of_bounces(loop);
    while (calls >= BOUNCES / 10 && ++tries < TRIES);
    if (!HOLDS(calls < BOUNCES / 10))
        fprintf(stderr, "    system calls: %llu of %u messages\n", (unsigned long long)calls, bounces);
    for (unsigned i = 0; i < 2 * PAIRS; i++)
        ends[i].receive.then = NULL;
    for (unsigned i = 0; i < 2 * PAIRS; i++)
        close_now(loop, ends[i].fd);
    proa_loop_close(loop);
}

static bool thread_sleeps(void)
{
    uint64_t cpu = cpu_process_ns();

    sleep_ms(20);
    return cpu_process_ns() - cpu < 10 * MS;
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
        int tries = 0;

        while (!thread_sleeps() && ++tries < TRIES)
            continue;
        HOLDS(tries < TRIES);
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

/* Sends without copy to who does not read, and is still at it when it is killed. */
static _Noreturn void send_for_ever(proa_fd fd, int far, int ready)
{
    enum { SIZE = 8 << 20 };
    static char data[SIZE];
    proa_loop *loop = loop_open();
    struct slot send = {0};

    close(far);
    proa_send_zero_copy(loop, &send.op, fd, data, SIZE, slot_done);
    while (proa_sent(&send.op) == 0)
        proa_loop_run(loop, PROA_NO_WAIT);
    REQUIRE(write(ready, "x", 1) == 1);
    for (;;)
        proa_loop_run(loop, PROA_ONCE);
}

/* A thread of the kernel that waits for memory to be free cannot be killed, and holds what would free it (6.18). */
static void test_killed(void)
{
    proa_loop *loop = loop_open();
    struct pollfd gone = {.events = POLLIN};
    int ready[2], far;
    proa_fd near;
    pid_t child;
    char byte;

    test_case("killed while it sends without copy");
    pair_open(loop, TCP, &near, &far);
    REQUIRE(pipe2(ready, O_CLOEXEC) == 0);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0)
        send_for_ever(near, far, ready[1]);
    REQUIRE(read(ready[0], &byte, 1) == 1);
    gone.fd = pidfd_open(child, 0);
    REQUIRE(gone.fd >= 0 && kill(child, SIGKILL) == 0);
    HOLDS(poll(&gone, 1, 20000) == 1);
    close_plain(far); /* frees the memory, and the child in any case */
    REQUIRE(waitpid(child, NULL, 0) == child);
    close_plain(gone.fd);
    close_plain(ready[0]);
    close_plain(ready[1]);
    close_now(loop, near);
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
    test_killed();
    return check_done("sqpoll");
}

/* Small traps: a descriptor's number reused in its last callback, files of /proc that poll, opens that wait, timers
 * without a second time, successes held back, slots of registered rings. */
#include "harness.h"

#include <sys/resource.h>

static struct {
    proa_fd listener;
    proa_address address;
    struct slot accepted, second;
    char data[64];
    int fd;
} again;

static void on_ended(struct slot *slot, proa_result result)
{
    proa_loop *loop = slot->op.loop;
    int old = again.fd;

    REQUIRE(result.value == 0);
    close_plain(again.fd);
    again.fd = far_connect(&again.address);
    REQUIRE(again.fd == old);
    proa_accept(loop, &again.accepted.op, again.listener, slot_done);
    proa_recv(loop, &again.second.op, proa_fd_of(again.fd), again.data, sizeof(again.data), slot_done);
}

static void test_number_reused(void)
{
    proa_loop *loop = loop_open();
    struct slot first = {.then = on_ended}, peer = {0};

    test_case("a number reused in its last callback");
    again.listener = listen_on(loop, TCP, 16, &again.address);
    again.fd = far_connect(&again.address);
    proa_accept(loop, &peer.op, again.listener, slot_done);
    RUN_UNTIL(loop, peer.finals);
    proa_recv(loop, &first.op, proa_fd_of(again.fd), again.data, sizeof(again.data), slot_done);
    loop_run_for(loop, MS);
    REQUIRE(shutdown((int)peer.value, SHUT_WR) == 0);
    RUN_UNTIL(loop, first.finals && again.accepted.finals);
    REQUIRE(again.accepted.value >= 0);
    loop_run_for(loop, 10 * MS);
    REQUIRE(write((int)again.accepted.value, "hello", 5) == 5);
    RUN_UNTIL(loop, again.second.finals);
    HOLDS(again.second.value == 5);
    close_now(loop, proa_fd_of((int)peer.value));
    close_now(loop, proa_fd_of((int)again.accepted.value));
    close_now(loop, proa_fd_of(again.fd));
    close_now(loop, again.listener);
    proa_loop_close(loop);
}

/* These poll like sockets, and have offsets like files. */
static void test_offsets(const char *path)
{
    static const uint64_t offsets[] = {0, 0, 4, 1, 0};
    proa_loop *loop;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    test_case("offsets in %s", path);
    if (fd < 0)
        return;
    loop = loop_open();
    for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
        struct slot slot = {0};
        char data[8], expected[8];
        ssize_t size = pread(fd, expected, sizeof(expected), (off_t)offsets[i]);

        REQUIRE(size >= 0);
        proa_read(loop, &slot.op, proa_fd_of(fd), data, sizeof(data), offsets[i], slot_done);
        RUN_UNTIL(loop, slot.finals);
        HOLDS(slot.value == size && memcmp(data, expected, (size_t)size) == 0);
    }
    close_now(loop, proa_fd_of(fd));
    proa_loop_close(loop);
}

/* A thread of the pool that is blocked in open(2) cannot be ended; one of engine `threads` can. */
static void test_open_waits(void)
{
    const proa_open_how how = {.flags = O_RDONLY | O_CREAT, .mode = 0600};
    const char *path = temp_path("fifo");
    proa_loop *loop;
    struct slot slots[3] = {0};

    if (strcmp(test_engine(), "uring") != 0 && strcmp(test_engine(), "threads") != 0)
        return;
    test_case("an open that waits for a FIFO's writer");
    REQUIRE(mkfifo(path, 0600) == 0);
    loop = loop_open();
    for (size_t i = 0; i < 3; i++) {
        proa_open(loop, &slots[i].op, PROA_CWD, path, how, slot_done);
        loop_run_for(loop, 20 * MS);
        REQUIRE(slots[i].finals == 0);
        if (i == 0)
            proa_cancel(&slots[i].op);
        else if (i == 1)
            proa_set_deadline(&slots[i].op, 1);
        else
            proa_loop_close(loop);
        if (i < 2)
            RUN_UNTIL(loop, slots[i].finals);
        HOLDS(slots[i].finals == 1 && slots[i].value == (i == 1 ? -ETIMEDOUT : -ECANCELED));
    }
}

static void test_repeat_never(void)
{
    proa_loop *loop = loop_open();
    struct slot slot = {0};

    test_case("a repeating timer whose interval is PROA_NEVER");
    proa_timer_repeat(loop, &slot.op, proa_now(loop), PROA_NEVER, slot_done);
    loop_run_for(loop, 20 * MS);
    HOLDS(slot.mores + slot.finals == 1 && slot.value >= 0);
    proa_cancel(&slot.op);
    RUN_UNTIL(loop, slot.finals);
    HOLDS(slot.mores + slot.finals <= 2);
    proa_loop_close(loop);
}

/* More completions than a turn's share, and behind them successes that wake no sleeping loop. */
static void test_relaxed_behind_many(void)
{
    enum { PAIRS = 200, TIMERS = 5000 };
    static struct slot sends[PAIRS], timers[TIMERS];
    static int ends[PAIRS][2];
    struct rlimit limit;
    proa_loop *loop;

    test_case("relaxed successes beyond a turn's share");
    REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (limit.rlim_cur < 1024) {
        limit.rlim_cur = limit.rlim_max < 1024 ? limit.rlim_max : 1024;
        REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    }
    loop = loop_open();
    for (size_t i = 0; i < PAIRS; i++)
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends[i]) == 0);
    loop_run_for(loop, MS);
    for (size_t i = 0; i < PAIRS; i++)
        proa_send_relaxed(loop, &sends[i].op, proa_fd_of(ends[i][0]), "x", 1, slot_done);
    for (size_t i = 0; i < TIMERS; i++)
        proa_timer(loop, &timers[i].op, proa_now(loop), slot_done);
    HOLDS(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    for (size_t i = 0; i < PAIRS; i++) {
        REQUIRE(sends[i].finals == 1 && sends[i].value == 1);
        close_now(loop, proa_fd_of(ends[i][0]));
        close_plain(ends[i][1]);
    }
    for (size_t i = 0; i < TIMERS; i++)
        REQUIRE(timers[i].finals == 1);
    proa_loop_close(loop);
}

/* A thread has sixteen slots for registered rings: a closed loop gives its own back. */
static void test_many_loops(void)
{
    test_case("one loop after the other");
    for (int i = 0; i < 20; i++) {
        proa_loop *loop = loop_open(); /* which looks at the engine's name */
        struct slot timer = {0};

        proa_timer(loop, &timer.op, 1, slot_done);
        RUN_UNTIL(loop, timer.finals);
        HOLDS(timer.value == 0);
        proa_loop_close(loop);
    }
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "t_loose_ends");
    if (test_has(PROA_FEATURE_DIRECT))
        return check_skip("t_loose_ends", "it works on sockets by their numbers");
    test_number_reused();
    test_offsets("/proc/self/mounts");
    test_offsets("/proc/sys/kernel/hostname");
    test_offsets("/sys/kernel/mm/transparent_hugepage/enabled");
    test_open_waits();
    test_repeat_never();
    test_relaxed_behind_many();
    test_many_loops();
    return check_done("t_loose_ends");
}

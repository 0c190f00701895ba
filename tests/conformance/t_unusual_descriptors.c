/* Traps: epoll refuses regular files, which poll(2) calls always ready; a descriptor from elsewhere may be blocking;
 * its number may be past the limit that held when the loop was opened, or past the one that holds now; a full Unix
 * listener tells nobody that it has room again. Each must work as on every other engine, and block nobody. */
#include "harness.h"

#include <poll.h>
#include <sys/resource.h>

static proa_loop *loop;
static struct slot tick;

static void test_always_ready(const char *path, unsigned events)
{
    struct slot slot = {0};
    int fd = open(path, O_RDWR | O_CLOEXEC);

    test_case("poll of %s", path);
    REQUIRE(fd >= 0);
    proa_poll(loop, &slot.op, proa_fd_of(fd), events, slot_done);
    RUN_UNTIL(loop, slot.finals);
    HOLDS(slot.value == events);
    close_now(loop, proa_fd_of(fd));
}

static void test_devices(void)
{
    struct slot slots[3] = {0};
    char data[100], written[100] = "";
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), zero = open("/dev/zero", O_RDWR | O_CLOEXEC);

    test_case("/dev/null and /dev/zero");
    memset(data, 1, sizeof(data));
    proa_read(loop, &slots[0].op, proa_fd_of(null), data, sizeof(data), PROA_POSITION, slot_done);
    RUN_UNTIL(loop, slots[0].finals);
    HOLDS(slots[0].value == 0);
    proa_read(loop, &slots[1].op, proa_fd_of(zero), data, sizeof(data), PROA_POSITION, slot_done);
    proa_write(loop, &slots[2].op, proa_fd_of(null), written, sizeof(written), PROA_POSITION, slot_done);
    RUN_UNTIL(loop, slots[1].finals && slots[2].finals);
    HOLDS(slots[1].value == sizeof(data) && data[0] == 0 && data[99] == 0);
    HOLDS(slots[2].value == sizeof(data));
    close_now(loop, proa_fd_of(null));
    close_now(loop, proa_fd_of(zero));
}

/* With a buffer in the pool, and without. */
static void test_receive_from_a_file(void)
{
    struct slot slots[2] = {0}, holder = {0};
    proa_buffer_pool *pool;
    uint32_t buffer;
    proa_fd near;
    int far, fd = open(temp_path("regular"), O_RDONLY | O_CLOEXEC);

    test_case("recv_many from a file");
    REQUIRE(fd >= 0 && proa_buffer_pool_open(loop, 1, 64, &pool) == 0);
    pair_open(loop, TCP, &near, &far);
    proa_recv_many(loop, &slots[0].op, proa_fd_of(fd), pool, slot_done);
    RUN_UNTIL(loop, slots[0].finals);
    HOLDS(slots[0].value == -ENOTSOCK);
    proa_recv_many(loop, &holder.op, near, pool, slot_done);
    REQUIRE(write(far, "x", 1) == 1);
    RUN_UNTIL(loop, holder.mores);
    buffer = holder.buffer;
    proa_recv_many(loop, &slots[1].op, proa_fd_of(fd), pool, slot_done);
    loop_run_for(loop, MS);
    proa_buffer_return(pool, buffer);
    RUN_UNTIL(loop, slots[1].finals);
    HOLDS(slots[1].value == -ENOTSOCK);
    close_now(loop, near);
    close_plain(far);
    close_now(loop, proa_fd_of(fd));
    proa_buffer_pool_close(pool);
}

/* The file's own position moves with each, as with read(2) and write(2). */
static void test_position(void)
{
    struct slot slot = {0};
    char data[8] = "";
    int fd = temp_file("position", "abcdef", 6);

    test_case("a file's own position");
    proa_read(loop, &slot.op, proa_fd_of(fd), data, 2, PROA_POSITION, slot_done);
    RUN_UNTIL(loop, slot.finals == 1);
    HOLDS(slot.value == 2 && memcmp(data, "ab", 2) == 0);
    proa_read(loop, &slot.op, proa_fd_of(fd), data, 2, 4, slot_done);
    RUN_UNTIL(loop, slot.finals == 2);
    HOLDS(slot.value == 2 && memcmp(data, "ef", 2) == 0);
    proa_write(loop, &slot.op, proa_fd_of(fd), "XY", 2, PROA_POSITION, slot_done);
    RUN_UNTIL(loop, slot.finals == 3);
    HOLDS(slot.value == 2 && lseek(fd, 0, SEEK_CUR) == 4);
    HOLDS(pread(fd, data, 6, 0) == 6 && memcmp(data, "abXYef", 6) == 0);
    proa_read(loop, &slot.op, proa_fd_of(fd), data, sizeof(data), 6, slot_done);
    RUN_UNTIL(loop, slot.finals == 4);
    HOLDS(slot.value == 0);
    close_now(loop, proa_fd_of(fd));
}

/* Pipes have no offsets: any is taken for their position, on every engine. */
static void test_offset_on_a_pipe(void)
{
    struct slot slots[2] = {0};
    char data[8];
    int ends[2];

    test_case("an offset on a pipe");
    REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    proa_read(loop, &slots[0].op, proa_fd_of(ends[0]), data, sizeof(data), 5, slot_done);
    loop_run_for(loop, 2 * MS);
    HOLDS(slots[0].finals == 0);
    proa_write(loop, &slots[1].op, proa_fd_of(ends[1]), "hello", 5, 1000, slot_done);
    RUN_UNTIL(loop, slots[0].finals && slots[1].finals);
    HOLDS(slots[0].value == 5 && slots[1].value == 5 && memcmp(data, "hello", 5) == 0);
    proa_read(loop, &slots[0].op, proa_fd_of(ends[0]), data, sizeof(data), 7, slot_done);
    proa_loop_run(loop, PROA_NO_WAIT);
    proa_cancel(&slots[0].op);
    RUN_UNTIL(loop, slots[0].finals == 2);
    HOLDS(slots[0].value == -ECANCELED);
    close_now(loop, proa_fd_of(ends[0]));
    close_now(loop, proa_fd_of(ends[1]));
}

/* From elsewhere, without O_NONBLOCK: while its ops wait the loop serves others. */
static void test_blocking_sockets(enum family family)
{
    static char bulk[1 << 20];
    struct slot slots[3] = {0};
    proa_address bound;
    char data[16];
    uint64_t ticks;
    size_t got = 0;
    int near, far, listener;

    test_case("blocking sockets from elsewhere, %s", family == TCP ? "TCP" : "Unix");
    bound = address_any(family);
    listener = socket(bound.as.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(bind(listener, &bound.as.any, bound.size) == 0 && listen(listener, 16) == 0);
    REQUIRE(proa_local_address(NULL, proa_fd_of(listener), &bound) == 0);
    proa_accept(loop, &slots[0].op, proa_fd_of(listener), slot_done);
    ticks = tick.mores;
    RUN_UNTIL(loop, tick.mores > ticks + 3);
    HOLDS(slots[0].finals == 0);
    far = far_connect(&bound);
    RUN_UNTIL(loop, slots[0].finals);
    REQUIRE(slots[0].value >= 0);
    near = (int)slots[0].value;
    REQUIRE(fcntl(near, F_SETFL, 0) == 0); /* as one that accept(2) gave */
    proa_recv(loop, &slots[1].op, proa_fd_of(near), data, sizeof(data), slot_done);
    set_size(near, SO_SNDBUF, 16384);
    proa_send(loop, &slots[2].op, proa_fd_of(near), bulk, sizeof(bulk), slot_done);
    ticks = tick.mores;
    RUN_UNTIL(loop, tick.mores > ticks + 3);
    HOLDS(slots[1].finals == 0 && slots[2].finals == 0);
    REQUIRE(write(far, "x", 1) == 1);
    while (!slots[2].finals || got < sizeof(bulk)) {
        got += far_drain(far);
        proa_loop_run(loop, PROA_ONCE);
    }
    HOLDS(slots[1].value == 1 && slots[2].value == sizeof(bulk));
    close_now(loop, proa_fd_of(near));
    close_now(loop, proa_fd_of(listener));
    close_plain(far);
}

/* A writer of a full pipe waits beside the loop, not in it. */
static void test_full_pipe(bool blocking)
{
    static char bulk[200000];
    struct slot slot = {0};
    uint64_t ticks;
    size_t got = 0, sent = 0;
    int ends[2];

    test_case("a full pipe, %s", blocking ? "blocking" : "not blocking");
    REQUIRE(pipe2(ends, O_CLOEXEC | (blocking ? 0 : O_NONBLOCK)) == 0);
    REQUIRE(fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0);
    while (sent < sizeof(bulk)) {
        char data[8192];
        unsigned before = slot.finals;
        ssize_t count;

        proa_write(loop, &slot.op, proa_fd_of(ends[1]), bulk + sent, sizeof(bulk) - sent, PROA_POSITION, slot_done);
        ticks = tick.mores;
        RUN_UNTIL(loop, slot.finals > before || tick.mores > ticks + 2);
        while (slot.finals == before) {
            while ((count = read(ends[0], data, sizeof(data))) > 0)
                got += (size_t)count;
            proa_loop_run(loop, PROA_ONCE);
        }
        REQUIRE(slot.value > 0);
        sent += (size_t)slot.value;
    }
    for (;;) {
        char data[8192];
        ssize_t count = read(ends[0], data, sizeof(data));

        if (count <= 0)
            break;
        got += (size_t)count;
    }
    HOLDS(got == sent && sent == sizeof(bulk));
    close_now(loop, proa_fd_of(ends[1]));
    close_plain(ends[0]);
}

/* Opened when the limit was low, the loop meets numbers beyond. It serves them or says why not; it does not crash. */
static void test_number_past_the_limit(void)
{
    struct rlimit normal, low;
    struct slot slots[3] = {0};
    proa_loop *small;
    char data[8];
    int ends[2], high;

    test_case("a number past the limit at the opening");
    REQUIRE(getrlimit(RLIMIT_NOFILE, &normal) == 0);
    low = normal;
    low.rlim_cur = 64;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
    small = loop_open();
    REQUIRE(setrlimit(RLIMIT_NOFILE, &normal) == 0);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    high = fcntl(ends[0], F_DUPFD_CLOEXEC, 2000);
    REQUIRE(high >= 2000);
    REQUIRE(write(ends[1], "hello", 5) == 5);
    proa_recv(small, &slots[0].op, proa_fd_of(high), data, sizeof(data), slot_done);
    proa_send(small, &slots[1].op, proa_fd_of(high), "x", 1, slot_done);
    RUN_UNTIL(small, slots[0].finals && slots[1].finals);
    HOLDS(slots[0].value == 5 || slots[0].value == -EMFILE || slots[0].value == -EBADF);
    HOLDS((slots[0].value < 0) == (slots[1].value < 0));
    proa_close(small, &slots[2].op, proa_fd_of(high), slot_done);
    RUN_UNTIL(small, slots[2].finals);
    if (slots[2].value < 0)
        close_plain(high);
    close_plain(ends[0]);
    close_plain(ends[1]);
    proa_loop_close(small);
}

/* poll(2) refuses more descriptors than may be opened now, though they are open. */
static void test_limit_below_what_is_watched(void)
{
    enum { PAIRS = 40 };
    struct rlimit normal, low;
    static struct slot slots[PAIRS];
    static char data[PAIRS][8];
    int ends[PAIRS][2];
    proa_loop *own = loop_open();

    test_case("a limit below what is watched");
    for (size_t i = 0; i < PAIRS; i++) {
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends[i]) == 0);
        proa_recv(own, &slots[i].op, proa_fd_of(ends[i][0]), data[i], sizeof(data[i]), slot_done);
    }
    loop_run_for(own, MS);
    REQUIRE(getrlimit(RLIMIT_NOFILE, &normal) == 0);
    low = normal;
    low.rlim_cur = 16;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
    HOLDS(loop_rests(own, 20 * MS, 10));
    for (size_t i = 0; i < PAIRS; i++) {
        REQUIRE(write(ends[i][1], "hello", 5) == 5);
        RUN_UNTIL(own, slots[i].finals);
        HOLDS(slots[i].value == 5);
    }
    REQUIRE(setrlimit(RLIMIT_NOFILE, &normal) == 0);
    proa_loop_close(own);
    for (size_t i = 0; i < PAIRS; i++) {
        close_plain(ends[i][0]);
        close_plain(ends[i][1]);
    }
}

/* connect(2) to a Unix listener whose queue is full says EAGAIN, and nothing ever tells that there is room. */
static void test_full_unix_listener(bool cancelled)
{
    proa_address address = address_any(UNIX);
    struct slot slots[8] = {0};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), before = fd_count(), filler;
    size_t done = 0;

    test_case("a full Unix listener, connects %s", cancelled ? "cancelled" : "let in");
    REQUIRE(bind(fd, &address.as.any, address.size) == 0 && listen(fd, 0) == 0);
    filler = far_connect(&address);
    for (size_t i = 0; i < ARRAY_SIZE(slots); i++)
        proa_connect(loop, &slots[i].op, &address, slot_done);
    loop_run_for(loop, 5 * MS);
    for (size_t i = 0; i < ARRAY_SIZE(slots); i++)
        HOLDS(slots[i].finals == 0);
    while (done < ARRAY_SIZE(slots)) {
        int taken = cancelled ? -1 : accept4(fd, NULL, NULL, SOCK_CLOEXEC);

        if (taken >= 0)
            close_plain(taken);
        if (cancelled && !slots[done].finals)
            proa_cancel(&slots[done].op);
        proa_loop_run(loop, PROA_ONCE);
        for (done = 0; done < ARRAY_SIZE(slots) && slots[done].finals; done++)
            continue;
    }
    for (size_t i = 0; i < ARRAY_SIZE(slots); i++) {
        HOLDS(cancelled ? slots[i].value == -ECANCELED : slots[i].value >= 0);
        if (slots[i].value >= 0)
            close_now(loop, proa_fd_of((int)slots[i].value));
    }
    close_plain(filler);
    HOLDS(fd_count() == before);
    close_plain(fd);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "t_unusual_descriptors");
    if (test_has(PROA_FEATURE_DIRECT))
        return check_skip("t_unusual_descriptors", "it works on sockets by their numbers");
    loop = loop_open();
    proa_timer_repeat(loop, &tick.op, 1, MS, slot_done);
    close_plain(temp_file("regular", "content", 7));
    test_always_ready(temp_path("regular"), POLLIN);
    test_always_ready(temp_path("regular"), POLLIN | POLLOUT);
    if (!test_simulated()) { /* which has no devices */
        test_always_ready("/dev/null", POLLIN);
        test_devices();
    }
    test_receive_from_a_file();
    test_position();
    test_offset_on_a_pipe();
    test_blocking_sockets(TCP);
    test_blocking_sockets(UNIX);
    test_full_pipe(true);
    test_full_pipe(false);
    test_number_past_the_limit();
    test_limit_below_what_is_watched();
    test_full_unix_listener(false);
    test_full_unix_listener(true);
    proa_loop_close(loop);
    return check_done("t_unusual_descriptors");
}

/* PROA_FEATURE_DIRECT: accepted sockets that only the ring of their loop knows. Several loops hold more of them than the
 * process may have descriptors; a full table makes accepts wait, and drops nobody. */
#include "harness.h"

#include <sys/resource.h>
#include <sys/wait.h>

enum { LIMIT = 64, LOOPS = 16, PER_LOOP = 63, ROOM = 8 };

struct guest {
    struct slot slot;
    proa_fd fd;
    char byte;
};

struct hall {
    proa_loop *loop;
    struct slot acceptor;
    proa_fd listener;
    struct guest guests[PER_LOOP];
    unsigned count, echoed;
};

static struct hall halls[LOOPS];

static void on_sent(struct slot *slot, proa_result result)
{
    struct hall *hall = slot->context;

    REQUIRE(result.value == 1);
    hall->echoed++;
}

static void on_received(struct slot *slot, proa_result result)
{
    struct guest *guest = proa_owner(slot, struct guest, slot);

    REQUIRE(result.value == 1);
    slot->then = on_sent;
    proa_send(slot->op.loop, &slot->op, guest->fd, &guest->byte, 1, slot_done);
}

static void on_accepted(struct slot *slot, proa_result result)
{
    struct hall *hall = slot->context;
    struct guest *guest = &hall->guests[hall->count];

    if (result.value < 0)
        return;
    REQUIRE(hall->count++ < PER_LOOP);
    guest->fd = proa_result_fd(result);
    HOLDS(guest->fd.handle >= PROA_DIRECT_BASE && proa_fd_number(guest->fd) < 0);
    guest->slot.then = on_received;
    guest->slot.context = hall;
    proa_recv(hall->loop, &guest->slot.op, guest->fd, &guest->byte, 1, slot_done);
}

static void hall_open(struct hall *hall, uint32_t room, proa_address *ret_bound)
{
    memset(hall, 0, sizeof(*hall));
    hall->loop = loop_open_with(
        (proa_loop_options){.direct_descriptors = room, .queue_entries = 16, .pool_threads = 1});
    hall->listener = listen_on(hall->loop, TCP, PER_LOOP, ret_bound);
    hall->acceptor.then = on_accepted;
    hall->acceptor.context = hall;
    proa_accept_many(hall->loop, &hall->acceptor.op, hall->listener, slot_done);
}

static void hall_close(struct hall *hall)
{
    close_now(hall->loop, hall->listener);
    for (unsigned i = 0; i < hall->count; i++)
        close_now(hall->loop, hall->guests[i].fd);
    proa_loop_close(hall->loop);
}

/* Each client says one byte, hears it again, and waits for the end of stream. */
static void clients(const proa_address *addresses)
{
    static int fds[LOOPS * PER_LOOP];
    char byte;

    for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
        const proa_address *address = &addresses[i % LOOPS];

        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        REQUIRE(connect(fds[i], &address->as.any, address->size) == 0);
        REQUIRE(write(fds[i], "x", 1) == 1);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
        REQUIRE(read(fds[i], &byte, 1) == 1 && byte == 'x');
    for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
        REQUIRE(read(fds[i], &byte, 1) == 0);
}

static void test_beyond_the_limit(void)
{
    struct rlimit normal, low = {LIMIT, LIMIT};
    proa_address addresses[LOOPS];
    unsigned echoed = 0;
    pid_t pid;
    int status, before;

    test_case("%d connections, %d descriptors", LOOPS * PER_LOOP, LIMIT);
    REQUIRE(getrlimit(RLIMIT_NOFILE, &normal) == 0);
    low.rlim_max = normal.rlim_max;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
    before = fd_count();
    for (unsigned i = 0; i < LOOPS; i++)
        hall_open(&halls[i], PER_LOOP, &addresses[i]);
    pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        REQUIRE(setrlimit(RLIMIT_NOFILE, &normal) == 0);
        clients(addresses);
        _exit(0);
    }
    while (echoed < LOOPS * PER_LOOP) {
        echoed = 0;
        for (unsigned i = 0; i < LOOPS; i++) {
            proa_loop_run(halls[i].loop, PROA_NO_WAIT);
            echoed += halls[i].echoed;
        }
    }
    HOLDS(fd_count() < LIMIT);
    for (unsigned i = 0; i < LOOPS; i++)
        hall_close(&halls[i]);
    REQUIRE(waitpid(pid, &status, 0) == pid);
    HOLDS(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    HOLDS(fd_count() == before);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &normal) == 0);
}

/* Those that find no room wait in the listener's queue until one goes. */
static void test_full_table(void)
{
    struct hall *hall = &halls[0];
    proa_address address;
    int far[ROOM + 4];

    test_case("a full table");
    hall_open(hall, ROOM, &address);
    for (size_t i = 0; i < ARRAY_SIZE(far); i++) {
        far[i] = far_connect(&address);
        REQUIRE(write(far[i], "x", 1) == 1);
    }
    RUN_UNTIL(hall->loop, hall->echoed == ROOM && proa_loop_meters(hall->loop).accepts_paused >= 1);
    loop_run_for(hall->loop, 50 * MS);
    HOLDS(hall->count == ROOM);
    for (unsigned i = 0; i < 4; i++) {
        close_now(hall->loop, hall->guests[i].fd);
        HOLDS(far_wait(far[i]) && far_drain(far[i]) == 1 && far_ended(far[i]));
    }
    RUN_UNTIL(hall->loop, hall->echoed == ROOM + 4);
    HOLDS(proa_loop_meters(hall->loop).multishots_rearmed == 0);
    for (unsigned i = 0; i < 4; i++)
        hall->guests[i] = hall->guests[--hall->count];
    hall_close(hall);
    for (size_t i = 0; i < ARRAY_SIZE(far); i++)
        close_plain(far[i]);
}

/* What was not closed ends with its loop. */
static void test_left_open(void)
{
    struct hall *hall = &halls[0];
    proa_address address;
    int far;

    test_case("left open");
    hall_open(hall, ROOM, &address);
    far = far_connect(&address);
    RUN_UNTIL(hall->loop, hall->count == 1);
    close_now(hall->loop, hall->listener);
    hall->guests[0].slot.then = NULL;
    proa_loop_close(hall->loop);
    HOLDS(far_ended(far));
    close_plain(far);
}

/* A shutdown has its turn among the sends; a handle whose descriptor is gone is nobody's. */
static void test_other_ops(void)
{
    proa_loop *loop = loop_open();
    struct slot send = {0}, shut = {0}, poll = {0}, late = {0};
    proa_address address;
    char data[8];
    proa_fd near;
    int far;

    test_case("shutdown, poll, and after the close");
    pair_open(loop, TCP, &near, &far);
    proa_poll(loop, &poll.op, near, POLLOUT, slot_done);
    proa_send(loop, &send.op, near, "abc", 3, slot_done);
    proa_shutdown(loop, &shut.op, near, SHUT_WR, slot_done);
    proa_send(loop, &late.op, near, "d", 1, slot_done);
    HOLDS(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    HOLDS(poll.value == POLLOUT && send.value == 3 && shut.value == 0 && late.value == -EPIPE);
    HOLDS(far_read(far, data, sizeof(data)) == 3);
    HOLDS(proa_peer_address(loop, near, &address) == -ENOTSUP && proa_local_address(loop, near, &address) == -ENOTSUP);
    close_now(loop, near);
    proa_send(loop, &late.op, near, "d", 1, slot_done);
    RUN_UNTIL(loop, late.finals == 2);
    HOLDS(late.value == -EBADF);
    proa_close(loop, &late.op, near, slot_done);
    RUN_UNTIL(loop, late.finals == 3);
    HOLDS(late.value == -EBADF);
    close_plain(far);
    proa_loop_close(loop);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "direct");
    if (!test_has(PROA_FEATURE_DIRECT))
        return check_skip("direct", "it is about uring+direct");
    test_beyond_the_limit();
    test_full_table();
    test_left_open();
    test_other_ops();
    return check_done("direct");
}

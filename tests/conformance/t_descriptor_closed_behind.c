/* Trap: descriptors from elsewhere are closed behind the loop's back, with close(2), and their numbers come back as
 * something else. No op is pending on them then, so the caller may; what the loop remembers of the number is wrong. */
#include "harness.h"

#include <poll.h>

static proa_loop *loop;

/* Made without the library: what its ops made would be proa_close()'s. */
static void plain_pair(enum family family, proa_fd *ret_near, int *ret_far)
{
    proa_address bound = address_any(family);
    int listener = socket(bound.as.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    REQUIRE(bind(listener, &bound.as.any, bound.size) == 0 && listen(listener, 4) == 0);
    REQUIRE(proa_local_address(NULL, proa_fd_of(listener), &bound) == 0);
    *ret_far = far_connect(&bound);
    *ret_near = proa_fd_of(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
    REQUIRE(ret_near->handle >= 0);
    close_plain(listener);
}

static void echo_once(proa_fd near, int far, const char *what)
{
    struct slot receive = {0}, sending = {0};
    char data[16], back[16];

    proa_recv(loop, &receive.op, near, data, sizeof(data), slot_done);
    proa_loop_run(loop, PROA_NO_WAIT);
    REQUIRE(write(far, "ball", 4) == 4);
    RUN_UNTIL(loop, receive.finals);
    if (!HOLDS(receive.value == 4 && memcmp(data, "ball", 4) == 0))
        fprintf(stderr, "    %s: value %lld\n", what, (long long)receive.value);
    proa_send(loop, &sending.op, near, "back", 4, slot_done);
    RUN_UNTIL(loop, sending.finals);
    HOLDS(sending.value == 4 && far_read(far, back, 4) == 4);
}

/* The same number, again and again, each time a new socket, sometimes at its end or reset. */
static void test_same_number(bool dup_stays)
{
    int dups[64], dup_count = 0;

    test_case("closed behind, the number comes back%s", dup_stays ? ", a dup keeps the old file alive" : "");
    for (int i = 0; i < 60; i++) {
        proa_fd near;
        int far;

        plain_pair(i % 3 ? TCP : UNIX, &near, &far);
        echo_once(near, far, "echo");
        if (dup_stays)
            REQUIRE((dups[dup_count++] = fcntl(near.handle, F_DUPFD_CLOEXEC, 500)) >= 0);
        if (i % 2)
            REQUIRE(write(far, "unread", 6) == 6);
        if (i % 4 == 0)
            REQUIRE(shutdown(far, SHUT_WR) == 0);
        loop_run_for(loop, MS / 5);
        close_plain(near.handle);
        close_plain(far);
    }
    while (dup_count)
        close_plain(dups[--dup_count]);
}

/* From a socket to a pipe, a listener, a file, under the same number. */
static void test_other_kinds(void)
{
    struct slot slots[6] = {0};
    char data[16];
    proa_address bound;
    proa_fd near, listener;
    int far, fd, ends[2], file = temp_file("data", "content", 7);

    test_case("the number comes back as another kind of file");
    plain_pair(TCP, &near, &far);
    echo_once(near, far, "socket");
    fd = near.handle;

    REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    REQUIRE(dup3(ends[0], fd, O_CLOEXEC) == fd);
    proa_poll(loop, &slots[0].op, proa_fd_of(fd), POLLIN, slot_done);
    proa_loop_run(loop, PROA_NO_WAIT);
    HOLDS(slots[0].finals == 0);
    REQUIRE(write(ends[1], "x", 1) == 1);
    RUN_UNTIL(loop, slots[0].finals);
    HOLDS(slots[0].value & POLLIN);

    listener = listen_on(loop, TCP, 4, &bound);
    REQUIRE(dup3(listener.handle, fd, O_CLOEXEC) == fd);
    close_now(loop, listener);
    proa_accept(loop, &slots[1].op, proa_fd_of(fd), slot_done);
    proa_loop_run(loop, PROA_NO_WAIT);
    HOLDS(slots[1].finals == 0);
    close_plain(far_connect(&bound));
    RUN_UNTIL(loop, slots[1].finals);
    if (HOLDS(slots[1].value >= 0))
        close_now(loop, proa_fd_of((int)slots[1].value));

    REQUIRE(dup3(file, fd, O_CLOEXEC) == fd);
    proa_read(loop, &slots[2].op, proa_fd_of(fd), data, sizeof(data), 0, slot_done);
    RUN_UNTIL(loop, slots[2].finals);
    HOLDS(slots[2].value == 7 && memcmp(data, "content", 7) == 0);
    proa_recv(loop, &slots[3].op, proa_fd_of(fd), data, sizeof(data), slot_done);
    RUN_UNTIL(loop, slots[3].finals);
    HOLDS(slots[3].value == -ENOTSOCK);
    close_plain(fd);
    close_plain(file);
    close_plain(far);
    close_plain(ends[0]);
    close_plain(ends[1]);
}

/* A listener that others share stays theirs: a forked worker's, or a dup. */
static void test_shared_listener(void)
{
    struct slot first = {0}, second = {0}, closing = {0};
    proa_address bound;
    proa_fd listener = listen_on(loop, TCP, 16, &bound);
    int other = fcntl(listener.handle, F_DUPFD_CLOEXEC, 500), far;

    test_case("closing one of two descriptors of a listener");
    proa_accept_many(loop, &first.op, listener, slot_done);
    loop_run_for(loop, MS);
    proa_close(loop, &closing.op, listener, slot_done);
    RUN_UNTIL(loop, closing.finals);
    HOLDS(first.finals == 1 && first.value == -ECANCELED);
    proa_accept(loop, &second.op, proa_fd_of(other), slot_done);
    proa_loop_run(loop, PROA_NO_WAIT);
    far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (HOLDS(connect(far, &bound.as.any, bound.size) == 0)) {
        RUN_UNTIL(loop, second.finals);
        HOLDS(second.value >= 0 && first.mores == 0);
        close_now(loop, proa_fd_of((int)second.value));
    } else {
        proa_cancel(&second.op);
        RUN_UNTIL(loop, second.finals);
    }
    close_plain(far);
    close_now(loop, proa_fd_of(other));
}

/* One socket under two numbers, with an op on each: both are served, and the end of one is not the other's. */
static void test_two_numbers(void)
{
    struct slot slots[2] = {0}, closing = {0};
    char data[2][16];
    proa_fd near;
    int far, other;

    test_case("one socket under two numbers");
    pair_open(loop, TCP, &near, &far);
    other = fcntl(near.handle, F_DUPFD_CLOEXEC, 500);
    proa_recv(loop, &slots[0].op, near, data[0], 4, slot_done);
    proa_recv(loop, &slots[1].op, proa_fd_of(other), data[1], 4, slot_done);
    proa_loop_run(loop, PROA_NO_WAIT);
    REQUIRE(write(far, "ballball", 8) == 8);
    RUN_UNTIL(loop, slots[0].finals && slots[1].finals);
    HOLDS(slots[0].value == 4 && slots[1].value == 4);
    proa_recv(loop, &slots[0].op, near, data[0], 4, slot_done);
    proa_recv(loop, &slots[1].op, proa_fd_of(other), data[1], 4, slot_done);
    proa_loop_run(loop, PROA_NO_WAIT);
    proa_close(loop, &closing.op, proa_fd_of(other), slot_done);
    RUN_UNTIL(loop, closing.finals);
    HOLDS(slots[1].finals == 2 && slots[1].value == -ECANCELED);
    close_now(loop, near);
    HOLDS(slots[0].finals == 2);
    HOLDS(far_ended(far));
    close_plain(far);
}

/* What is still watched under a number that was closed, or is another's by now, is not reported for ever. */
static void test_rests(void)
{
    struct slot listening = {0}, accepted = {0};
    proa_address bound = address_any(TCP);
    proa_fd near;
    int far, hole, talker;

    test_case("closed behind, and the loop rests");
    plain_pair(TCP, &near, &far);
    echo_once(near, far, "echo");
    close_plain(near.handle);
    HOLDS(loop_rests(loop, 20 * MS, 4));
    close_plain(far);

    test_case("closed behind, a listener takes the number, and the loop rests");
    plain_pair(TCP, &near, &far);
    echo_once(near, far, "echo");
    while ((hole = fcntl(2, F_DUPFD_CLOEXEC, 0)) < near.handle)
        fd_keep(hole);
    close_plain(hole);
    close_plain(near.handle);
    proa_listen(loop, &listening.op, &bound, 4, 0, slot_done);
    RUN_UNTIL(loop, listening.finals);
    REQUIRE(listening.value == near.handle);
    REQUIRE(proa_local_address(NULL, near, &bound) == 0);
    talker = far_connect(&bound);
    HOLDS(loop_rests(loop, 20 * MS, 4));
    proa_accept(loop, &accepted.op, near, slot_done);
    RUN_UNTIL(loop, accepted.finals);
    REQUIRE(accepted.value >= 0);
    close_now(loop, proa_fd_of((int)accepted.value));
    close_now(loop, near);
    fds_close(NULL);
    close_plain(far);
    close_plain(talker);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "t_descriptor_closed_behind");
    if (test_has(PROA_FEATURE_DIRECT))
        return check_skip("t_descriptor_closed_behind", "it works on sockets by their numbers");
    loop = loop_open();
    test_same_number(false);
    test_same_number(true);
    test_other_kinds();
    test_shared_listener();
    test_two_numbers();
    test_rests();
    proa_loop_close(loop);
    return check_done("t_descriptor_closed_behind");
}

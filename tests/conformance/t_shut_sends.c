/* Sends and shutdowns that meet: what random programs (tests/random) found once. */
#include "harness.h"

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>

static const char *const family_names[] = {"TCP", "Unix"};

static struct slot slots[4];

static void begin(proa_loop *loop, enum family family, proa_fd *ret_near, int *ret_far)
{
    memset(slots, 0, sizeof(slots));
    pair_open(loop, family, ret_near, ret_far);
}

static void end(proa_loop *loop, proa_fd near, int far)
{
    close_now(loop, near);
    close_plain(far);
    proa_loop_close(loop);
}

/* Each send, an empty one too, is told once that the direction is shut. */
static void test_behind_a_shutdown(enum family family, size_t size)
{
    static const char data[16];
    proa_loop *loop = loop_open();
    proa_fd near;
    int far;

    test_case("sends of %zu bytes behind a shutdown, %s", size, family_names[family]);
    begin(loop, family, &near, &far);
    proa_send(loop, &slots[0].op, near, data, sizeof(data), slot_done);
    proa_shutdown(loop, &slots[1].op, near, SHUT_WR, slot_done);
    proa_send(loop, &slots[2].op, near, data, size, slot_done);
    proa_send(loop, &slots[3].op, near, data, size, slot_done);
    RUN_UNTIL(loop, slots[2].finals && slots[3].finals);
    loop_run_for(loop, MS);
    HOLDS(slots[0].finals == 1 && slots[0].value == sizeof(data));
    HOLDS(slots[1].finals == 1 && slots[1].value == 0);
    HOLDS(slots[2].finals == 1 && slots[2].value == -EPIPE);
    HOLDS(slots[3].finals == 1 && slots[3].value == -EPIPE);
    end(loop, near, far);
}

/* A shutdown needs no room, and is not held up by a poll that waits for some. */
static void test_full_and_polled(void)
{
    proa_loop *loop = loop_open();
    proa_fd near;
    int far;

    test_case("a full socket that is polled and shut");
    begin(loop, UNIX, &near, &far);
    far_fill(near.handle);
    proa_shutdown(loop, &slots[0].op, near, SHUT_RD, slot_done);
    proa_poll(loop, &slots[1].op, near, POLLOUT, slot_done);
    RUN_UNTIL(loop, slots[0].finals);
    HOLDS(slots[0].value == 0);
    end(loop, near, far);
}

/* Nor does a send that can only fail. */
static void test_full_and_shut(void)
{
    static const char data[16];
    proa_loop *loop = loop_open();
    proa_fd near;
    int far;

    test_case("a full socket that is shut");
    begin(loop, UNIX, &near, &far);
    far_fill(near.handle);
    REQUIRE(shutdown(near.handle, SHUT_WR) == 0);
    for (int i = 0; i < 2; i++) {
        proa_send(loop, &slots[i].op, near, data, sizeof(data), slot_done);
        RUN_UNTIL(loop, slots[i].finals);
        HOLDS(slots[i].value == -EPIPE);
    }
    end(loop, near, far);
}

static void test_poll_tells_what_was_asked(void)
{
    proa_loop *loop = loop_open();
    proa_fd near;
    int far;

    test_case("a poll where the peer has shut its side");
    begin(loop, TCP, &near, &far);
    REQUIRE(shutdown(far, SHUT_WR) == 0);
    proa_poll(loop, &slots[0].op, near, POLLIN, slot_done);
    RUN_UNTIL(loop, slots[0].finals);
    HOLDS(slots[0].value == POLLIN);
    end(loop, near, far);
}

/* Bytes on their way to the peer, which make room once it acknowledges them (tcp(7)). */
static bool is_under_way(int fd)
{
    int unacknowledged = 0, unsent = 0;

    return ioctl(fd, SIOCOUTQ, &unacknowledged) == 0 && ioctl(fd, SIOCOUTQNSD, &unsent) == 0 && unacknowledged > unsent;
}

static void fill_for_good(int fd)
{
    while (far_fill(fd) > 0 || (!test_simulated() && is_under_way(fd)))
        sleep_ms(1);
}

/* Nor is the peer's end of stream room for a send. */
static void test_full_and_half_closed(enum family family)
{
    proa_loop *loop = loop_open();
    proa_fd near;
    int far;

    test_case("polls for room where the peer has shut its side, %s", family_names[family]);
    begin(loop, family, &near, &far);
    fill_for_good(near.handle);
    for (int i = 0; i < 3; i++)
        proa_poll(loop, &slots[i].op, near, POLLOUT, slot_done);
    REQUIRE(shutdown(far, SHUT_WR) == 0);
    loop_run_for(loop, MS);
    HOLDS(slots[0].finals == 0 && slots[1].finals == 0 && slots[2].finals == 0);
    proa_cancel(&slots[1].op);
    RUN_UNTIL(loop, slots[1].finals);
    HOLDS(slots[1].value == -ECANCELED);
    while (!slots[0].finals || !slots[2].finals) {
        far_drain(far);
        proa_loop_run(loop, PROA_ONCE);
    }
    HOLDS(slots[0].value == POLLOUT && slots[2].value == POLLOUT);
    end(loop, near, far);
}

static proa_fd stuck;

static void close_stuck(struct slot *slot, proa_result result)
{
    (void)result;
    proa_close(slot->op.loop, &slots[2].op, stuck, slot_done);
}

/* The number of a descriptor that was closed with a send under way goes to a connection that is being made. */
static void test_number_of_a_stuck_send(void)
{
    static char data[1 << 20];
    proa_loop *loop = loop_open();
    proa_fd near, made;
    proa_address bound;
    int far;

    test_case("a connect that gets the number of a stuck send");
    begin(loop, TCP, &stuck, &far);
    near = listen_on(loop, UNIX, 4, &bound);
    set_size(stuck.handle, SO_SNDBUF, 8192);
    slots[0].then = close_stuck;
    proa_send(loop, &slots[0].op, stuck, data, 0, slot_done);
    proa_send(loop, &slots[1].op, stuck, data, sizeof(data), slot_done);
    RUN_UNTIL(loop, slots[2].finals);
    proa_connect(loop, &slots[3].op, &bound, slot_done);
    RUN_UNTIL(loop, slots[3].finals);
    HOLDS(slots[3].value == stuck.handle);
    made = proa_fd_of((int)slots[3].value);
    slots[0] = (struct slot){0};
    proa_recv(loop, &slots[0].op, made, data, sizeof(data), slot_done);
    loop_run_for(loop, MS);
    HOLDS(slots[0].finals == 0);
    close_now(loop, made);
    end(loop, near, far);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "t_shut_sends");
    if (test_has(PROA_FEATURE_DIRECT))
        return check_skip("t_shut_sends", "shutdown(2) and a number that comes back need ordinary descriptors");
    for (enum family family = TCP; family <= UNIX; family++) {
        test_behind_a_shutdown(family, 16);
        test_behind_a_shutdown(family, 0);
    }
    test_full_and_polled();
    test_full_and_shut();
    test_poll_tells_what_was_asked();
    test_full_and_half_closed(TCP);
    test_full_and_half_closed(UNIX);
    test_number_of_a_stuck_send();
    return check_done("t_shut_sends");
}

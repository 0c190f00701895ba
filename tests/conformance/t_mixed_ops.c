/* Trap: ops of different kinds meet on one descriptor. Each gets its one final completion, none takes another's place
 * in a queue for good, and none makes the loop wait on the kernel. */
#include "harness.h"

#include <poll.h>

static char big[64 << 20];

static void test_write_behind_send(void)
{
    proa_loop *loop = loop_open();
    struct slot sent = {0}, written = {0}, again = {0};
    proa_fd near;
    int far;

    test_case("a write behind a send");
    pair_open(loop, UNIX, &near, &far);
    proa_send(loop, &sent.op, near, "aaa", 3, slot_done);
    proa_write(loop, &written.op, near, "bbb", 3, PROA_POSITION, slot_done);
    RUN_UNTIL(loop, sent.finals && written.finals);
    loop_run_for(loop, 10 * MS);
    HOLDS(sent.finals == 1 && sent.value == 3);
    HOLDS(written.finals == 1 && written.value == 3);
    HOLDS(far_drain(far) == 6);
    proa_send(loop, &again.op, near, "ccc", 3, slot_done);
    RUN_UNTIL(loop, again.finals);
    HOLDS(again.value == 3 && far_drain(far) == 3);
    HOLDS(sent.finals == 1 && written.finals == 1);
    close_now(loop, near);
    close_plain(far);
    proa_loop_close(loop);
}

struct lender {
    struct slot slot;
    proa_buffer_pool *pool;
    unsigned keep, kept;
    uint32_t buffers[4];
};

static void on_lent(struct slot *slot, proa_result result)
{
    struct lender *lender = slot->context;

    if (!(result.flags & PROA_LENT))
        return;
    if (lender->kept < lender->keep)
        lender->buffers[lender->kept++] = result.buffer;
    else
        proa_buffer_return(lender->pool, result.buffer);
}

static void lender_set(struct lender *lender, proa_loop *loop, uint32_t buffers, uint32_t size)
{
    *lender = (struct lender){.slot = {.then = on_lent}};
    lender->slot.context = lender;
    REQUIRE(proa_buffer_pool_open(loop, buffers, size, &lender->pool) == 0);
}

static void test_recv_behind_recv_many(enum family family)
{
    proa_loop *loop = loop_open();
    struct slot behind = {0};
    struct lender many;
    proa_fd near;
    int far;
    char data[16];

    test_case("a receive behind a recv_many, %s", family == TCP ? "TCP" : "Unix");
    lender_set(&many, loop, 4, 64);
    pair_open(loop, family, &near, &far);
    proa_recv_many(loop, &many.slot.op, near, many.pool, slot_done);
    proa_recv(loop, &behind.op, near, data, sizeof(data), slot_done);
    loop_run_for(loop, MS);
    for (unsigned turn = 1; turn <= 3; turn++) {
        REQUIRE(write(far, "one", 3) == 3);
        RUN_UNTIL(loop, many.slot.bytes == 3 * turn);
        HOLDS(many.slot.finals == 0 && behind.finals == 0);
    }
    close_plain(far);
    RUN_UNTIL(loop, many.slot.finals && behind.finals);
    HOLDS(many.slot.value == 0 && behind.value == 0);
    close_now(loop, near);
    proa_buffer_pool_close(many.pool);
    proa_loop_close(loop);
}

/* A starved recv_many is armed again when its buffer comes back. Who gets which bytes meanwhile is not told. */
static void test_recv_behind_starved(enum family family)
{
    proa_loop *loop = loop_open();
    struct slot behind = {0};
    struct lender many;
    proa_fd near;
    int far;
    char data[16];

    test_case("a receive behind a starved recv_many, %s", family == TCP ? "TCP" : "Unix");
    lender_set(&many, loop, 1, 4);
    many.keep = 1;
    pair_open(loop, family, &near, &far);
    proa_recv_many(loop, &many.slot.op, near, many.pool, slot_done);
    proa_recv(loop, &behind.op, near, data, sizeof(data), slot_done);
    loop_run_for(loop, MS);
    REQUIRE(write(far, "12345678", 8) == 8);
    RUN_UNTIL(loop, many.kept);
    loop_run_for(loop, 5 * MS);
    proa_buffer_return(many.pool, many.buffers[0]);
    RUN_UNTIL(loop, many.slot.bytes + behind.bytes == 8);
    REQUIRE(write(far, "abcdefgh", 8) == 8);
    close_plain(far);
    RUN_UNTIL(loop, many.slot.finals && behind.finals);
    HOLDS(many.slot.value == 0 && many.slot.finals == 1 && behind.finals == 1);
    HOLDS(many.slot.bytes + behind.bytes == 16);
    close_now(loop, near);
    proa_buffer_pool_close(many.pool);
    proa_loop_close(loop);
}

static void test_read_and_poll(void)
{
    proa_loop *loop = loop_open();
    struct slot reading = {0}, polling = {0};
    char data[8];
    int ends[2];

    test_case("a read and a poll for POLLOUT on a blocking socket");
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    proa_read(loop, &reading.op, proa_fd_of(ends[0]), data, sizeof(data), PROA_POSITION, slot_done);
    proa_poll(loop, &polling.op, proa_fd_of(ends[0]), POLLOUT, slot_done);
    RUN_UNTIL(loop, polling.finals);
    loop_run_for(loop, 10 * MS);
    HOLDS(polling.value & POLLOUT);
    HOLDS(reading.finals == 0);
    REQUIRE(write(ends[1], "hello", 5) == 5);
    RUN_UNTIL(loop, reading.finals);
    HOLDS(reading.value == 5 && memcmp(data, "hello", 5) == 0);
    close_now(loop, proa_fd_of(ends[0]));
    close_plain(ends[1]);
    proa_loop_close(loop);
}

static void test_shutdown_after_timeout(enum family family)
{
    proa_loop *loop = loop_open();
    struct slot sending = {0}, shutting = {0};
    proa_fd near;
    int far;

    test_case("shutdown after a send that timed out, %s", family == TCP ? "TCP" : "Unix");
    pair_open(loop, family, &near, &far);
    proa_send(loop, &sending.op, near, big, sizeof(big), slot_done);
    loop_run_for(loop, 300 * MS);
    REQUIRE(sending.finals == 0);
    proa_set_deadline(&sending.op, proa_now(loop));
    RUN_UNTIL(loop, sending.finals);
    HOLDS(sending.value == -ETIMEDOUT);
    proa_shutdown(loop, &shutting.op, near, SHUT_RDWR, slot_done);
    RUN_UNTIL(loop, shutting.finals);
    HOLDS(shutting.value == 0);
    close_now(loop, near);
    close_plain(far);
    proa_loop_close(loop);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "t_mixed_ops");
    test_write_behind_send();
    for (int family = TCP; family <= UNIX; family++) {
        test_recv_behind_recv_many((enum family)family);
        test_recv_behind_starved((enum family)family);
        test_shutdown_after_timeout((enum family)family);
    }
    test_read_and_poll();
    return check_done("t_mixed_ops");
}

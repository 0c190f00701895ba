/* Trap: a connection that is over when its data is taken. A reset, or a shutdown of the own receiving side, wakes whoever
 * waits once: it must be told behind the data all the same, or the connection is kept for ever. */
#include "harness.h"

enum ending { RESET, SHUT_OWN };
enum moment { BEFORE, AFTER, STARVED, FULL_POOL, MOMENTS };

static const char *const ending_names[] = {"a reset", "an own SHUT_RD"};
static const char *const moment_names[] = {"before the receive", "while it waits", "while it starves",
                                           "before it and without a buffer"};

struct connection {
    struct slot slot;
    proa_buffer_pool *pool;
    uint64_t bytes;
};

static void on_received(struct slot *slot, proa_result result)
{
    struct connection *connection = proa_owner(slot, struct connection, slot);

    if (!(result.flags & PROA_LENT))
        return;
    connection->bytes += (uint64_t)result.value;
    proa_buffer_return(connection->pool, result.buffer);
}

static void end_stream(proa_loop *loop, enum ending ending, proa_fd near, int far)
{
    struct slot slot = {0};

    REQUIRE(write(far, "last", 4) == 4);
    if (ending == RESET) {
        close_plain(far);
    } else {
        proa_shutdown(loop, &slot.op, near, SHUT_RD, slot_done);
        RUN_UNTIL(loop, slot.finals);
    }
}

/* Another connection takes the pool's only buffer. */
static uint32_t take_buffer(proa_loop *loop, proa_buffer_pool *pool)
{
    struct slot slot = {0};
    uint32_t buffer;
    proa_fd near;
    int far;

    pair_open(loop, TCP, &near, &far);
    proa_recv_many(loop, &slot.op, near, pool, slot_done);
    REQUIRE(write(far, "x", 1) == 1);
    RUN_UNTIL(loop, slot.mores);
    buffer = slot.buffer;
    close_now(loop, near);
    close_plain(far);
    return buffer;
}

static void test_told_of(enum ending ending, enum moment moment)
{
    proa_loop *loop = loop_open();
    struct connection connection = {.slot.then = on_received};
    struct slot sending = {0};
    bool empty = moment == STARVED || moment == FULL_POOL;
    uint32_t taken = 0;
    proa_fd near;
    int far;

    test_case("%s %s", ending_names[ending], moment_names[moment]);
    REQUIRE(proa_buffer_pool_open(loop, 1, 64, &connection.pool) == 0);
    pair_open(loop, TCP, &near, &far);
    proa_send(loop, &sending.op, near, "unread", 6, slot_done); /* so that closing resets */
    RUN_UNTIL(loop, sending.finals);
    if (empty)
        taken = take_buffer(loop, connection.pool);
    if (moment == BEFORE || moment == FULL_POOL)
        end_stream(loop, ending, near, far);
    proa_recv_many(loop, &connection.slot.op, near, connection.pool, slot_done);
    if (moment != BEFORE) /* a return while it is being armed is another moment than one while it waits */
        proa_loop_run(loop, PROA_NO_WAIT);
    if (moment == AFTER || moment == STARVED)
        end_stream(loop, ending, near, far);
    if (empty)
        proa_buffer_return(connection.pool, taken);
    RUN_UNTIL(loop, connection.slot.finals);
    HOLDS(connection.slot.value == (ending == RESET ? -ECONNRESET : 0));
    HOLDS(connection.bytes == 4);
    close_now(loop, near);
    if (ending != RESET)
        close_plain(far);
    proa_buffer_pool_close(connection.pool);
    proa_loop_close(loop);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "t_resets");
    for (int moment = BEFORE; moment < MOMENTS; moment++) {
        test_told_of(RESET, (enum moment)moment);
        test_told_of(SHUT_OWN, (enum moment)moment);
    }
    return check_done("t_resets");
}

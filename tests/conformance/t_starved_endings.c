/* Trap: an empty pool fails a receive in the kernel. That failure is nobody's result: one that is to end meanwhile ends
 * as it was told to, and a buffer that came back is not kept by a receive that finds nothing to put in it. */
#include "harness.h"

static void say(int far, const char *word)
{
    REQUIRE(write(far, word, strlen(word)) == (ssize_t)strlen(word));
}

static void test_end(bool deadline)
{
    proa_loop *loop = loop_open();
    proa_buffer_pool *pool;
    struct slot slot = {0};
    proa_fd near;
    int far;
    uint32_t lent;

    test_case("%s of a receive that starves just now", deadline ? "deadline" : "cancel");
    REQUIRE(proa_buffer_pool_open(loop, 1, 4, &pool) == 0);
    pair_open(loop, TCP, &near, &far);
    proa_recv_many(loop, &slot.op, near, pool, slot_done);
    loop_run_for(loop, MS);
    say(far, "1234");
    RUN_UNTIL(loop, slot.mores);
    REQUIRE(slot.flags & PROA_LENT);
    lent = slot.buffer;
    say(far, "5678");
    sleep_ms(20); /* the kernel's failure is there, and the loop has not seen it */
    if (deadline)
        proa_set_deadline(&slot.op, proa_now_refresh(loop));
    else
        proa_cancel(&slot.op);
    RUN_UNTIL(loop, slot.finals);
    HOLDS(slot.value == (deadline ? -ETIMEDOUT : -ECANCELED));
    HOLDS(slot.mores == 1);
    proa_buffer_return(pool, lent);
    close_now(loop, near);
    close_plain(far);
    proa_buffer_pool_close(pool);
    proa_loop_close(loop);
}

/* The first has the only buffer, the second and third starve. The second's data is taken by a plain receive: once the
 * buffer is back, the second has no use for it and the third gets it. */
static void test_found_nothing(void)
{
    proa_loop *loop = loop_open();
    proa_buffer_pool *pool;
    struct slot slots[3] = {0}, taking = {0};
    proa_fd near[3];
    int far[3];
    char data[64];

    test_case("a receive that is fed and finds nothing");
    REQUIRE(proa_buffer_pool_open(loop, 1, 4, &pool) == 0);
    for (size_t i = 0; i < 3; i++) {
        pair_open(loop, TCP, &near[i], &far[i]);
        proa_recv_many(loop, &slots[i].op, near[i], pool, slot_done);
    }
    loop_run_for(loop, MS);
    for (size_t i = 0; i < 3; i++) {
        say(far[i], "x");
        RUN_UNTIL(loop, slots[0].mores == 1 && proa_loop_meters(loop).receives_starved >= i);
    }
    REQUIRE(slots[0].mores == 1 && slots[1].mores == 0 && slots[2].mores == 0);
    proa_recv(loop, &taking.op, near[1], data, sizeof(data), slot_done);
    RUN_UNTIL(loop, taking.finals);
    HOLDS(taking.value == 1);
    proa_buffer_return(pool, slots[0].buffer);
    RUN_UNTIL(loop, slots[2].mores);
    HOLDS(slots[2].value == 1 && slots[1].mores == 0);
    proa_buffer_return(pool, slots[2].buffer);
    say(far[1], "y");
    RUN_UNTIL(loop, slots[1].mores);
    proa_buffer_return(pool, slots[1].buffer);
    for (size_t i = 0; i < 3; i++) {
        close_now(loop, near[i]);
        HOLDS(slots[i].finals == 1 && slots[i].value == -ECANCELED);
        close_plain(far[i]);
    }
    proa_buffer_pool_close(pool);
    proa_loop_close(loop);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "t_starved_endings");
    test_end(false);
    test_end(true);
    test_found_nothing();
    return check_done("t_starved_endings");
}

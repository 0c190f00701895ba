/* Trap: readiness that was told once, or that nobody waited for when it was told. What a small receive leaves in the
 * socket is the next one's; what came while nobody asked is there for who asks later; and so is the end of stream. */
#include "harness.h"

enum { STUCK = 4 << 20 };

static proa_loop *loop;

/* A receive for one byte at a time, and never a new packet to announce the rest. */
static void test_byte_by_byte(enum family family)
{
    struct slot slot = {0};
    char got[100], sent[100];
    proa_fd near;
    int far;

    test_case("byte by byte, %s", family == TCP ? "TCP" : "Unix");
    pair_open(loop, family, &near, &far);
    pattern_fill(sent, sizeof(sent), 0);
    REQUIRE(write(far, sent, sizeof(sent)) == sizeof(sent));
    for (size_t i = 0; i < sizeof(got); i++) {
        proa_recv(loop, &slot.op, near, got + i, 1, slot_done);
        if (i % 3 == 0)
            loop_run_for(loop, MS / 10);
        RUN_UNTIL(loop, slot.finals == i + 1);
        REQUIRE(slot.value == 1);
    }
    HOLDS(memcmp(got, sent, sizeof(got)) == 0);
    REQUIRE(shutdown(far, SHUT_WR) == 0);
    loop_run_for(loop, MS);
    for (int i = 0; i < 3; i++) { /* the end stays the end */
        proa_recv(loop, &slot.op, near, got, 1, slot_done);
        RUN_UNTIL(loop, slot.finals == sizeof(got) + (unsigned)i + 1);
        HOLDS(slot.value == 0);
    }
    close_now(loop, near);
    close_plain(far);
}

/* Data that came while nobody asked; then two ask, there is enough for one, and the other's comes later. */
static void test_two_ask(bool settle, size_t first, size_t second)
{
    struct slot slots[3] = {0};
    char data[3][64];
    proa_fd near;
    int far;

    test_case("%zu bytes nobody asked for, then two ask%s", first, settle ? ", settled" : "");
    pair_open(loop, TCP, &near, &far);
    proa_recv(loop, &slots[2].op, near, data[2], 64, slot_done);
    proa_loop_run(loop, PROA_NO_WAIT);
    REQUIRE(write(far, "wake", 4) == 4);
    RUN_UNTIL(loop, slots[2].finals);
    REQUIRE(write(far, data[0], first) == (ssize_t)first);
    if (settle)
        loop_run_for(loop, MS);
    proa_recv(loop, &slots[0].op, near, data[0], 16, slot_done);
    proa_recv(loop, &slots[1].op, near, data[1], 16, slot_done);
    RUN_UNTIL(loop, slots[0].finals);
    HOLDS(slots[0].value == (int64_t)(first < 16 ? first : 16));
    if (first <= 16)
        HOLDS(slots[1].finals == 0);
    REQUIRE(write(far, data[0], second) == (ssize_t)second);
    RUN_UNTIL(loop, slots[1].finals);
    HOLDS(slots[1].value > 0);
    close_now(loop, near);
    close_plain(far);
}

/* As much as each receive asked for, exactly: neither a short count nor an empty socket tells where it ended. */
static void test_exact(void)
{
    struct slot slot = {0};
    char data[64];
    proa_fd near;
    int far;

    test_case("exactly as much as was asked for");
    pair_open(loop, TCP, &near, &far);
    for (unsigned i = 0; i < 50; i++) {
        REQUIRE(write(far, data, sizeof(data)) == sizeof(data));
        proa_recv(loop, &slot.op, near, data, sizeof(data), slot_done);
        if (i % 2)
            loop_run_for(loop, MS / 10);
        RUN_UNTIL(loop, slot.finals == i + 1);
        HOLDS(slot.value == sizeof(data));
    }
    close_now(loop, near);
    close_plain(far);
}

/* A receive into memory and one from a pool, in turn, on the same stream. */
struct both {
    struct slot once, many;
    proa_buffer_pool *pool;
    uint64_t at;
};

static void on_many(struct slot *slot, proa_result result)
{
    struct both *both = proa_owner(slot, struct both, many);

    if (!(result.flags & PROA_LENT))
        return;
    REQUIRE(pattern_holds(proa_buffer(both->pool, result.buffer), (size_t)result.value, both->at));
    both->at += (uint64_t)result.value;
    proa_buffer_return(both->pool, result.buffer);
}

static void test_changing_ways(void)
{
    struct both both = {.many.then = on_many};
    char data[16], chunk[40];
    proa_fd near;
    int far;

    test_case("recv and recv_many in turn");
    REQUIRE(proa_buffer_pool_open(loop, 8, 16, &both.pool) == 0);
    pair_open(loop, UNIX, &near, &far);
    for (unsigned i = 0; i < 100; i++) {
        pattern_fill(chunk, sizeof(chunk), i * sizeof(chunk));
        REQUIRE(write(far, chunk, sizeof(chunk)) == sizeof(chunk));
        proa_recv(loop, &both.once.op, near, data, 8, slot_done);
        RUN_UNTIL(loop, both.once.finals == i + 1);
        REQUIRE(both.once.value == 8 && pattern_holds(data, 8, both.at));
        both.at += 8;
        proa_recv_many(loop, &both.many.op, near, both.pool, slot_done);
        RUN_UNTIL(loop, both.at == (i + 1) * sizeof(chunk));
        proa_cancel(&both.many.op);
        RUN_UNTIL(loop, both.many.finals == i + 1);
        REQUIRE(both.many.value == -ECANCELED);
    }
    HOLDS(both.at == 100 * sizeof(chunk));
    close_now(loop, near);
    close_plain(far);
}

/* Data and the end of stream in one report: a short count is not the last to be had. */
static void test_end_with_data(enum family family)
{
    struct slot slot = {0};
    char data[64];
    proa_fd near;
    int far;

    test_case("the end comes with the data, %s", family == TCP ? "TCP" : "Unix");
    pair_open(loop, family, &near, &far);
    proa_recv(loop, &slot.op, near, data, sizeof(data), slot_done);
    proa_loop_run(loop, PROA_NO_WAIT);
    REQUIRE(write(far, "last", 4) == 4 && shutdown(far, SHUT_WR) == 0);
    sleep_ms(5);
    RUN_UNTIL(loop, slot.finals == 1);
    HOLDS(slot.value == 4);
    proa_recv(loop, &slot.op, near, data, sizeof(data), slot_done);
    RUN_UNTIL(loop, slot.finals == 2);
    HOLDS(slot.value == 0);
    close_now(loop, near);
    close_plain(far);
}

/* A receive stops at urgent data (tcp(7)): what is behind it was announced before. */
static void test_urgent(void)
{
    struct slot slot = {0};
    char data[64];
    proa_fd near;
    size_t got = 0;
    int far;

    test_case("urgent data between");
    pair_open(loop, TCP, &near, &far);
    proa_recv(loop, &slot.op, near, data, sizeof(data), slot_done);
    proa_loop_run(loop, PROA_NO_WAIT);
    REQUIRE(write(far, "before", 6) == 6 && send(far, "!", 1, MSG_OOB) == 1 && write(far, "behind", 6) == 6);
    sleep_ms(5);
    RUN_UNTIL(loop, slot.finals == 1);
    for (got = (size_t)slot.value; got < 12; got += (size_t)slot.value) {
        unsigned before = slot.finals;

        proa_recv(loop, &slot.op, near, data + got, sizeof(data) - got, slot_done);
        RUN_UNTIL(loop, slot.finals > before);
        REQUIRE(slot.value > 0);
    }
    HOLDS(got == 12 && memcmp(data, "beforebehind", 12) == 0);
    close_now(loop, near);
    close_plain(far);
}

/* A stream that was found full, by a count or by EAGAIN, has room again while nobody sends. */
static void test_room_for_nobody(void)
{
    static char bulk[STUCK];
    struct slot slots[2] = {0};
    proa_fd near;
    int far;

    test_case("room that nobody waited for");
    pair_open(loop, TCP, &near, &far);
    set_size(near.handle, SO_SNDBUF, 16384);
    for (unsigned i = 1; i <= 3; i++) {
        proa_send(loop, &slots[0].op, near, bulk, sizeof(bulk), slot_done);
        loop_run_for(loop, MS);
        proa_cancel(&slots[0].op);
        RUN_UNTIL(loop, slots[0].finals == i);
        HOLDS(slots[0].value == -ECANCELED);
        while (far_drain(far) > 0)
            loop_run_for(loop, MS);
        proa_send(loop, &slots[1].op, near, "more", 4, slot_done);
        RUN_UNTIL(loop, slots[1].finals == i);
        HOLDS(slots[1].value == 4);
    }
    close_now(loop, near);
    close_plain(far);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "t_partial_reads");
    loop = loop_open();
    test_byte_by_byte(TCP);
    test_byte_by_byte(UNIX);
    test_two_ask(false, 10, 10);
    test_two_ask(true, 10, 10);
    test_two_ask(true, 16, 10);
    test_two_ask(true, 20, 10);
    test_exact();
    test_changing_ways();
    test_end_with_data(TCP);
    test_end_with_data(UNIX);
    if (!test_simulated()) /* which has no urgent data */
        test_urgent();
    test_room_for_nobody();
    proa_loop_close(loop);
    return check_done("t_partial_reads");
}

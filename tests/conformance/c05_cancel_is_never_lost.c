/* Rule 5: cancel is a request that is never dropped, whatever is full. The target completes with ECANCELED or with its
 * real result; a result that won the race (bytes, a descriptor, a lent buffer) is delivered, never leaked. */
#include "kinds.h"

enum { CROWD = 450 }; /* pairs that select(2) can watch */

/* Hundreds of ops cancelled in one callback, with a submission queue of a few entries. */
struct crowd {
    proa_loop *loop;
    struct slot *slots;
    size_t count;
    struct slot trigger;
};

static void on_cancel_all(struct slot *slot, proa_result result)
{
    struct crowd *crowd = slot->context;

    (void)result;
    for (size_t i = 0; i < crowd->count; i++)
        proa_cancel(&crowd->slots[i].op);
}

static size_t count_finals(const struct crowd *crowd)
{
    size_t count = 0;

    for (size_t i = 0; i < crowd->count; i++)
        count += crowd->slots[i].finals;
    return count;
}

static void crowd_cancel(struct crowd *crowd, bool settle)
{
    if (settle)
        loop_run_for(crowd->loop, 2 * MS);
    crowd->trigger = (struct slot){.then = on_cancel_all, .context = crowd};
    proa_post(crowd->loop, &crowd->trigger.op, slot_done);
    RUN_UNTIL(crowd->loop, count_finals(crowd) == crowd->count);
    loop_run_for(crowd->loop, MS);
    HOLDS(count_finals(crowd) == crowd->count);
    for (size_t i = 0; i < crowd->count; i++)
        REQUIRE(crowd->slots[i].value == -ECANCELED);
}

static void crowd_open(struct crowd *crowd, uint32_t entries)
{
    *crowd = (struct crowd){.loop = loop_open_sized(entries), .count = CROWD};
    crowd->slots = calloc(crowd->count, sizeof(*crowd->slots));
    REQUIRE(crowd->slots != NULL);
}

static void crowd_close(struct crowd *crowd)
{
    proa_loop_close(crowd->loop);
    free(crowd->slots);
}

static void test_crowd_of_receives(uint32_t entries, bool settle)
{
    static char data[CROWD][8];
    static int ends[CROWD][2];
    struct crowd crowd;

    test_case("%d receives cancelled, queue of %u, %s", CROWD, entries, settle ? "armed" : "just started");
    crowd_open(&crowd, entries);
    for (size_t i = 0; i < CROWD; i++) {
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends[i]) == 0);
        proa_recv(crowd.loop, &crowd.slots[i].op, proa_fd_of(ends[i][0]), data[i], sizeof(data[i]), slot_done);
    }
    crowd_cancel(&crowd, settle);
    crowd_close(&crowd);
    for (size_t i = 0; i < CROWD; i++) {
        close_plain(ends[i][0]);
        close_plain(ends[i][1]);
    }
}

static void test_crowd_on_one(uint32_t entries)
{
    struct crowd crowd;
    proa_fd listener;

    test_case("%d accepts on one listener cancelled, queue of %u", CROWD, entries);
    crowd_open(&crowd, entries);
    listener = listen_on(crowd.loop, TCP, 4, NULL);
    for (size_t i = 0; i < CROWD; i++)
        proa_accept(crowd.loop, &crowd.slots[i].op, listener, slot_done);
    crowd_cancel(&crowd, true);
    close_now(crowd.loop, listener);
    crowd_close(&crowd);
}

/* All of them closed, instead, in one go. */
static void test_crowd_closed(uint32_t entries)
{
    static char data[CROWD][8];
    static int ends[CROWD][2];
    struct crowd crowd;
    struct slot *closing = calloc(CROWD, sizeof(*closing));
    size_t closed = 0;

    test_case("%d descriptors with receives closed at once, queue of %u", CROWD, entries);
    crowd_open(&crowd, entries);
    for (size_t i = 0; i < CROWD; i++) {
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends[i]) == 0);
        proa_recv(crowd.loop, &crowd.slots[i].op, proa_fd_of(ends[i][0]), data[i], sizeof(data[i]), slot_done);
    }
    loop_run_for(crowd.loop, 2 * MS);
    for (size_t i = 0; i < CROWD; i++)
        proa_close(crowd.loop, &closing[i].op, proa_fd_of(ends[i][0]), slot_done);
    while (closed < CROWD) {
        proa_loop_run(crowd.loop, PROA_ONCE);
        closed = 0;
        for (size_t i = 0; i < CROWD; i++)
            closed += closing[i].finals;
    }
    for (size_t i = 0; i < CROWD; i++) {
        REQUIRE(crowd.slots[i].finals == 1 && crowd.slots[i].value == -ECANCELED);
        REQUIRE(closing[i].value == 0 && crowd.slots[i].order < closing[i].order);
        HOLDS(far_ended(ends[i][1]));
        close_plain(ends[i][1]);
    }
    crowd_close(&crowd);
    free(closing);
}

/* A connection arrives while the accept is being cancelled: delivered, or left for the next accept. */
static void test_accept_race(enum family family, bool many)
{
    proa_loop *loop = loop_open();
    unsigned rounds = test_rounds(1000), delivered = 0;
    int before = fd_count();
    proa_address bound;
    proa_fd listener = listen_on(loop, family, 64, &bound);

    test_case("accept%s cancelled as a connection comes, %s", many ? "_many" : "", family == TCP ? "TCP" : "Unix");
    for (unsigned i = 0; i < rounds; i++) {
        struct slot slot = {0}, next = {0};
        int order = (int)random_below(4), far;

        if (many)
            proa_accept_many(loop, &slot.op, listener, slot_done);
        else
            proa_accept(loop, &slot.op, listener, slot_done);
        if (order & 1)
            proa_loop_run(loop, PROA_NO_WAIT);
        if (order & 2)
            proa_cancel(&slot.op);
        far = far_connect(&bound);
        proa_cancel(&slot.op);
        RUN_UNTIL(loop, slot.finals);
        if (!slot.mores && slot.value == -ECANCELED) {
            proa_accept(loop, &next.op, listener, slot_done);
            RUN_UNTIL(loop, next.finals);
            REQUIRE(next.value >= 0);
            close_now(loop, proa_fd_of((int)next.value));
        } else {
            REQUIRE(many ? slot.bytes > 0 && slot.mores == 1 : slot.value >= 0);
            close_now(loop, proa_fd_of((int)slot.bytes));
            delivered++;
        }
        close_plain(far);
    }
    HOLDS(fd_count() == before + 1);
    close_now(loop, listener);
    proa_loop_close(loop);
    if (delivered == 0)
        printf("note: no connection won against its cancel\n");
}

/* Data arrives while the receive is cancelled: what it took it delivers; a lent buffer is the caller's to return, and
 * the rest is still in the socket. At the end every byte was seen, in order, and all buffers are there. */
struct lending {
    proa_buffer_pool *pool;
    uint64_t at;
};

static void on_lent(struct slot *slot, proa_result result)
{
    struct lending *lending = slot->context;

    if (result.value > 0) {
        REQUIRE(result.flags & PROA_LENT);
        REQUIRE(pattern_holds(proa_buffer(lending->pool, result.buffer), (size_t)result.value, lending->at));
        lending->at += (uint64_t)result.value;
    }
    if (result.flags & PROA_LENT)
        proa_buffer_return(lending->pool, result.buffer);
}

static uint64_t far_write_pattern(int far, uint64_t at, size_t size)
{
    char data[512];

    pattern_fill(data, size, at);
    REQUIRE(write(far, data, size) == (ssize_t)size);
    return at + size;
}

static void test_recv_many_race(void)
{
    proa_loop *loop = loop_open();
    unsigned rounds = test_rounds(3000);
    struct lending lending = {0};
    struct slot slot = {.then = on_lent, .context = &lending};
    uint64_t sent = 0;
    proa_fd near;
    int far;

    test_case("recv_many cancelled as data comes");
    REQUIRE(proa_buffer_pool_open(loop, 2, 64, &lending.pool) == 0);
    pair_open(loop, UNIX, &near, &far);
    for (unsigned i = 0; i < rounds; i++) {
        unsigned dice = random_below(8);

        proa_recv_many(loop, &slot.op, near, lending.pool, slot_done);
        if (dice & 1)
            proa_loop_run(loop, PROA_NO_WAIT);
        sent = far_write_pattern(far, sent, 1 + random_below(300));
        if (dice & 2)
            proa_loop_run(loop, PROA_NO_WAIT);
        proa_cancel(&slot.op);
        if (dice & 4)
            sent = far_write_pattern(far, sent, 1 + random_below(100));
        RUN_UNTIL(loop, slot.finals > i);
        REQUIRE(slot.value == -ECANCELED || slot.value > 0);
        if (sent - lending.at > 20000) {
            proa_recv_many(loop, &slot.op, near, lending.pool, slot_done);
            RUN_UNTIL(loop, lending.at == sent);
            proa_cancel(&slot.op);
            RUN_UNTIL(loop, slot.finals > i + 1);
            slot.finals--;
        }
    }
    proa_recv_many(loop, &slot.op, near, lending.pool, slot_done);
    RUN_UNTIL(loop, lending.at == sent);
    close_plain(far);
    RUN_UNTIL(loop, slot.finals > rounds);
    HOLDS(slot.value == 0);
    close_now(loop, near);
    proa_buffer_pool_close(lending.pool);
    proa_loop_close(loop);
}

/* A send that is cancelled half-way says how far it came, and the stream goes on from just there. */
static void test_send_cancelled(bool relaxed)
{
    enum { SIZE = 3 << 20 };
    proa_loop *loop = loop_open();
    struct slot first = {0}, second = {0}, tick = {0};
    char *data = malloc(SIZE), *got = malloc(2 * SIZE);
    size_t used = 0;
    proa_fd near;
    int far;

    test_case("a send cancelled half-way%s", relaxed ? ", relaxed" : "");
    pair_open(loop, TCP, &near, &far);
    set_size(near.handle, SO_SNDBUF, 16384);
    pattern_fill(data, SIZE, 0);
    if (relaxed)
        proa_send_relaxed(loop, &first.op, near, data, SIZE, slot_done);
    else
        proa_send(loop, &first.op, near, data, SIZE, slot_done);
    proa_send(loop, &second.op, near, "the end", 7, slot_done);
    proa_timer_repeat(loop, &tick.op, 1 + clock_ns(), MS, slot_done);
    RUN_UNTIL(loop, proa_sent(&first.op) > 0);
    REQUIRE(!first.finals);
    proa_cancel(&first.op);
    RUN_UNTIL(loop, first.finals);
    HOLDS(first.value == -ECANCELED);
    HOLDS(proa_sent(&first.op) > 0 && proa_sent(&first.op) < SIZE);
    while (used < proa_sent(&first.op) + 7) {
        ssize_t count = read(far, got + used, 2 * SIZE - used);

        if (count > 0)
            used += (size_t)count;
        proa_loop_run(loop, PROA_ONCE);
    }
    RUN_UNTIL(loop, second.finals);
    HOLDS(second.value == 7);
    HOLDS(used == proa_sent(&first.op) + 7);
    HOLDS(pattern_holds(got, used - 7, 0) && memcmp(got + used - 7, "the end", 7) == 0);
    close_now(loop, near);
    close_plain(far);
    proa_loop_close(loop);
    free(data);
    free(got);
}

/* One of several sends that wait: it leaves no byte, the others keep their order. */
static void test_queued_send_cancelled(void)
{
    proa_loop *loop = loop_open();
    char *data = calloc(1, STUCK_SIZE);
    struct slot slots[4] = {0};
    size_t total = 0;
    char tail[2] = "";
    proa_fd near;
    int far;

    test_case("a queued send cancelled");
    pair_open(loop, TCP, &near, &far);
    set_size(near.handle, SO_SNDBUF, 16384);
    proa_send(loop, &slots[0].op, near, data, STUCK_SIZE, slot_done);
    proa_send(loop, &slots[1].op, near, "B", 1, slot_done);
    proa_send(loop, &slots[2].op, near, "C", 1, slot_done);
    proa_send(loop, &slots[3].op, near, "D", 1, slot_done);
    proa_loop_run(loop, PROA_NO_WAIT);
    proa_cancel(&slots[2].op);
    RUN_UNTIL(loop, slots[2].finals);
    HOLDS(slots[2].value == -ECANCELED && proa_sent(&slots[2].op) == 0);
    HOLDS(!slots[1].finals && !slots[3].finals);
    while (total < (size_t)STUCK_SIZE) {
        static char part[65536];
        size_t left = (size_t)STUCK_SIZE - total;
        ssize_t count = recv(far, part, left < sizeof(part) ? left : sizeof(part), 0);

        if (count > 0)
            total += (size_t)count;
        else
            proa_loop_run(loop, PROA_ONCE);
    }
    RUN_UNTIL(loop, slots[0].finals && slots[1].finals && slots[3].finals);
    HOLDS(slots[0].value == STUCK_SIZE && slots[1].value == 1 && slots[3].value == 1);
    HOLDS(far_read(far, tail, 2) == 2 && tail[0] == 'B' && tail[1] == 'D');
    HOLDS(far_drain(far) == 0);
    close_now(loop, near);
    close_plain(far);
    proa_loop_close(loop);
    free(data);
}

/* Functions that wait for a thread are taken back; they never run. */
static unsigned ran;

static int64_t count_run(proa_op *op)
{
    (void)op;
    __atomic_add_fetch(&ran, 1, __ATOMIC_SEQ_CST);
    return 0;
}

static void test_work_taken_back(void)
{
    static struct stage stage;
    struct slot slots[100] = {0};

    test_case("functions that wait for a thread");
    stage_set(&stage, kind_named("work, pool busy"), loop_open());
    loop_run_for(stage.loop, 5 * MS);
    ran = 0;
    for (size_t i = 0; i < ARRAY_SIZE(slots); i++)
        proa_work(stage.loop, &slots[i].op, count_run, slot_done);
    for (size_t i = ARRAY_SIZE(slots); i-- > 0;)
        proa_cancel(&slots[i].op);
    for (size_t i = 0; i < ARRAY_SIZE(slots); i++) {
        RUN_UNTIL(stage.loop, slots[i].finals);
        REQUIRE(slots[i].value == -ECANCELED);
    }
    HOLDS(ran == 0);
    stage_close_extras(&stage);
    loop_run_for(stage.loop, MS);
    HOLDS(ran == 0);
    proa_loop_close(stage.loop);
    stage_clear(&stage);
}

/* An op that is idle, and one that never was started, is left alone. */
static void test_idle(void)
{
    proa_loop *loop = loop_open();
    struct slot slot = {0}, fresh = {0};

    test_case("cancel of an idle op");
    proa_cancel(&fresh.op);
    proa_timer(loop, &slot.op, 1, slot_done);
    RUN_UNTIL(loop, slot.finals);
    proa_cancel(&slot.op);
    proa_cancel(&slot.op);
    proa_timer(loop, &slot.op, clock_ns() + MS, slot_done);
    RUN_UNTIL(loop, slot.finals == 2);
    HOLDS(slot.value == 0 && fresh.finals == 0);
    proa_loop_close(loop);
}

/* A connection that was announced to an accept which then ends is another's. */
static void test_accept_beside(enum family family, int many)
{
    proa_loop *loop = loop_open();
    struct slot first = {0}, second = {0};
    proa_address bound;
    proa_fd listener = listen_on(loop, family, 16, &bound);
    int far;

    test_case("an accept beside a cancelled one, %s, %s", family == TCP ? "TCP" : "Unix", many ? "many" : "one");
    proa_accept(loop, &first.op, listener, slot_done);
    if (many)
        proa_accept_many(loop, &second.op, listener, slot_done);
    else
        proa_accept(loop, &second.op, listener, slot_done);
    proa_loop_run(loop, PROA_NO_WAIT);
    far = far_connect(&bound);
    proa_cancel(&first.op);
    RUN_UNTIL(loop, first.finals);
    if (first.value == -ECANCELED) {
        RUN_UNTIL(loop, second.finals + second.mores);
        HOLDS(second.value >= 0);
        close_now(loop, proa_fd_of((int)second.value));
    } else {
        close_now(loop, proa_fd_of((int)first.value));
    }
    close_plain(far);
    close_now(loop, listener);
    HOLDS(first.finals == 1 && second.finals == 1);
    proa_loop_close(loop);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "c05_cancel_is_never_lost");
    test_crowd_of_receives(8, true);
    test_crowd_of_receives(8, false);
    test_crowd_of_receives(0, true);
    test_crowd_on_one(8);
    test_crowd_closed(8);
    test_accept_race(TCP, false);
    test_accept_race(UNIX, false);
    test_accept_race(UNIX, true);
    for (int many = 0; many < 2; many++) {
        test_accept_beside(TCP, many);
        test_accept_beside(UNIX, many);
    }
    test_recv_many_race();
    test_send_cancelled(false);
    test_send_cancelled(true);
    test_queued_send_cancelled();
    test_work_taken_back();
    test_idle();
    return check_done("c05_cancel_is_never_lost");
}

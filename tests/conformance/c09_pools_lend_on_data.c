/* Rule 9: receives from a pool take a buffer only when data is there: an idle connection holds none. An empty pool
 * makes receives wait until a buffer is returned; it is counted, never an error, never a spin. */
#include "kinds.h"

enum { CONNECTIONS = 50, BUFFERS = 4, BUFFER_SIZE = 64 };

struct connection {
    struct slot slot;
    struct party *party;
    proa_fd near;
    int far;
    uint64_t sent, at;
    bool holds;
};

struct party {
    proa_loop *loop;
    proa_buffer_pool *pool;
    size_t count;
    bool keep; /* lent buffers are kept in `kept` */
    uint32_t kept[1024];
    size_t kept_first, kept_end;
    struct connection connections[CONNECTIONS];
};

static void on_received(struct slot *slot, proa_result result)
{
    struct connection *connection = slot->context;
    struct party *party = connection->party;

    if (!(result.flags & PROA_LENT)) {
        REQUIRE(result.value <= 0);
        return;
    }
    REQUIRE(result.value > 0 && result.value <= BUFFER_SIZE && result.buffer < BUFFERS);
    connection->holds &= pattern_holds(proa_buffer(party->pool, result.buffer), (size_t)result.value, connection->at);
    connection->at += (uint64_t)result.value;
    if (!party->keep)
        return proa_buffer_return(party->pool, result.buffer);
    party->kept[party->kept_end++ % ARRAY_SIZE(party->kept)] = result.buffer;
}

static void return_one(struct party *party)
{
    REQUIRE(party->kept_first < party->kept_end);
    proa_buffer_return(party->pool, party->kept[party->kept_first++ % ARRAY_SIZE(party->kept)]);
}

static size_t kept_count(const struct party *party)
{
    return party->kept_end - party->kept_first;
}

static void say(struct connection *connection, size_t size)
{
    char data[4096];

    REQUIRE(size <= sizeof(data));
    pattern_fill(data, size, connection->sent);
    REQUIRE(write(connection->far, data, size) == (ssize_t)size);
    connection->sent += size;
}

static void party_open(struct party *party, size_t count, enum family family)
{
    memset(party, 0, sizeof(*party));
    party->loop = loop_open();
    party->count = count;
    REQUIRE(proa_buffer_pool_open(party->loop, BUFFERS, BUFFER_SIZE, &party->pool) == 0);
    for (size_t i = 0; i < count; i++) {
        struct connection *connection = &party->connections[i];

        *connection = (struct connection){.party = party, .holds = true};
        connection->slot.then = on_received;
        connection->slot.context = connection;
        pair_open(party->loop, family, &connection->near, &connection->far);
        proa_recv_many(party->loop, &connection->slot.op, connection->near, party->pool, slot_done);
    }
    loop_run_for(party->loop, MS);
}

static void party_close(struct party *party)
{
    for (size_t i = 0; i < party->count; i++) {
        struct connection *connection = &party->connections[i];

        HOLDS(connection->holds);
        if (connection->near.handle >= 0)
            close_now(party->loop, connection->near);
        REQUIRE(connection->slot.finals == 1);
        close_plain(connection->far);
    }
    proa_buffer_pool_close(party->pool);
    proa_loop_close(party->loop);
}

static uint64_t starved(const struct party *party)
{
    return proa_loop_meters(party->loop).receives_starved;
}

static struct party party;

/* Each of the many speaks, alone: had the idle ones buffers, the few would not go round. */
static void test_idle_hold_none(enum family family)
{
    test_case("%d connections, %d buffers, one speaks at a time", CONNECTIONS, BUFFERS);
    party_open(&party, CONNECTIONS, family);
    for (size_t turn = 0; turn < 3 * CONNECTIONS; turn++) {
        struct connection *connection = &party.connections[turn % CONNECTIONS];

        say(connection, 10);
        RUN_UNTIL(party.loop, connection->at == connection->sent);
    }
    HOLDS(starved(&party) == 0);
    party_close(&party);
}

/* All speak, nobody returns: four are served, the others wait in peace. */
static void starve(void)
{
    party.keep = true;
    for (size_t i = 0; i < party.count; i++)
        say(&party.connections[i], 10);
    RUN_UNTIL(party.loop, kept_count(&party) == BUFFERS && starved(&party) >= 1);
    loop_run_for(party.loop, 2 * MS);
}

static void test_starved_wait(void)
{
    size_t served = 0;

    test_case("an empty pool: wait, no spin");
    party_open(&party, CONNECTIONS, TCP);
    starve();
    HOLDS(kept_count(&party) == BUFFERS);
    HOLDS(loop_rests(party.loop, 100 * MS, 30));
    for (size_t i = 0; i < party.count; i++)
        REQUIRE(party.connections[i].slot.finals == 0);

    test_case("an empty pool: each return serves one more");
    while (served < CONNECTIONS) {
        size_t now = 0;

        if (kept_count(&party))
            return_one(&party);
        proa_loop_run(party.loop, PROA_ONCE);
        REQUIRE(kept_count(&party) <= BUFFERS);
        for (size_t i = 0; i < party.count; i++)
            now += party.connections[i].at == party.connections[i].sent;
        served = now;
    }
    while (kept_count(&party))
        return_one(&party);
    party.keep = false;
    test_case("after the famine all is as before");
    for (size_t i = 0; i < party.count; i++)
        say(&party.connections[i], 100);
    for (size_t i = 0; i < party.count; i++)
        RUN_UNTIL(party.loop, party.connections[i].at == party.connections[i].sent);
    party_close(&party);
}

/* A starved receive can still be cancelled, timed out and closed, and needs no buffer for it. */
static void test_starved_end(void)
{
    struct slot closing = {0};
    struct connection *at;
    size_t ended = 0;

    test_case("starved receives: cancel, deadline, close, loop close");
    party_open(&party, CONNECTIONS, TCP);
    starve();
    for (size_t i = 0; i < party.count; i++) {
        at = &party.connections[i];
        if (at->at)
            continue;
        if (ended == 0)
            proa_cancel(&at->slot.op);
        else if (ended == 1)
            proa_set_deadline(&at->slot.op, 1);
        else
            proa_close(party.loop, &closing.op, at->near, slot_done);
        RUN_UNTIL(party.loop, at->slot.finals);
        HOLDS(at->slot.value == (ended == 1 ? -ETIMEDOUT : -ECANCELED));
        if (ended++ == 2) {
            RUN_UNTIL(party.loop, closing.finals);
            at->near.handle = -1;
            HOLDS(far_ended(at->far));
            break;
        }
    }
    REQUIRE(ended == 3);
    proa_loop_close(party.loop);
    for (size_t i = 0; i < party.count; i++) {
        at = &party.connections[i];
        REQUIRE(at->slot.finals == 1);
        if (at->near.handle >= 0)
            close_plain(at->near.handle);
        close_plain(at->far);
    }
}

/* The end of the stream, and an error, is told without a buffer. */
static void test_end_of_stream(void)
{
    test_case("end of stream holds no buffer");
    party_open(&party, 8, TCP);
    for (size_t i = 0; i < 8; i++) {
        if (i % 2)
            say(&party.connections[i], 10);
        REQUIRE(shutdown(party.connections[i].far, SHUT_WR) == 0);
        RUN_UNTIL(party.loop, party.connections[i].slot.finals);
        HOLDS(party.connections[i].slot.value == 0 && party.connections[i].slot.flags == 0);
        HOLDS(party.connections[i].at == party.connections[i].sent);
    }
    party_close(&party);
}

/* One that never stops speaking: the others are served all the same, however few the buffers. */
static void test_flood(bool keep)
{
    struct connection *loud = &party.connections[0];
    /* Where others make the calls the scheduler says when: that the case comes to its end is all that can be asked. */
    unsigned turns = 0, turns_max = test_hands_over() ? UINT32_MAX : 2000, waiting = 9;
    static char flood[65536];

    test_case("a flood, buffers %s", keep ? "returned late" : "returned at once");
    party_open(&party, 10, UNIX);
    party.keep = keep;
    pattern_fill(flood, sizeof(flood), 0);
    while (waiting || turns < 200) {
        ssize_t count = send(loud->far, flood, sizeof(flood) - loud->sent % sizeof(flood), MSG_DONTWAIT);

        loud->sent += count > 0 ? (uint64_t)count : 0;
        loud->holds = true; /* its content repeats: not looked at */
        if (turns == 20) {
            for (size_t i = 1; i < 10; i++)
                say(&party.connections[i], 10);
        }
        if (keep && kept_count(&party))
            return_one(&party);
        proa_loop_run(party.loop, PROA_ONCE);
        waiting = 0;
        for (size_t i = 1; i < 10; i++)
            waiting += party.connections[i].at != 10;
        if (!HOLDS(++turns < turns_max))
            break;
    }
    while (kept_count(&party))
        return_one(&party);
    party.keep = false;
    close_plain(loud->far);
    RUN_UNTIL(party.loop, loud->slot.finals);
    HOLDS(loud->at == loud->sent);
    loud->far = dup(2);
    loud->holds = true;
    party_close(&party);
}

/* Two pools: one's famine is not the other's. */
static void test_two_pools(void)
{
    struct slot slot = {0};
    proa_buffer_pool *other;
    proa_fd near;
    int far;

    test_case("two pools");
    party_open(&party, 8, TCP);
    REQUIRE(proa_buffer_pool_open(party.loop, 1, 4096, &other) == 0);
    pair_open(party.loop, TCP, &near, &far);
    proa_recv_many(party.loop, &slot.op, near, other, slot_done);
    starve();
    REQUIRE(write(far, "hello", 5) == 5);
    RUN_UNTIL(party.loop, slot.mores);
    HOLDS(slot.value == 5 && memcmp(proa_buffer(other, slot.buffer), "hello", 5) == 0);
    REQUIRE(write(far, "again", 5) == 5); /* the other pool's only buffer is lent */
    loop_run_for(party.loop, 2 * MS);
    HOLDS(slot.mores == 1 && memcmp(proa_buffer(other, slot.buffer), "hello", 5) == 0);
    proa_buffer_return(other, slot.buffer);
    RUN_UNTIL(party.loop, slot.mores == 2);
    proa_buffer_return(other, slot.buffer);
    while (kept_count(&party))
        return_one(&party);
    party.keep = false;
    for (size_t i = 0; i < 8; i++)
        RUN_UNTIL(party.loop, party.connections[i].at == 10);
    close_now(party.loop, near);
    close_plain(far);
    proa_buffer_pool_close(other);
    party_close(&party);
}

/* A lent buffer is nobody else's: its bytes stay while others receive. */
static void test_lent_stays(void)
{
    struct connection *first = &party.connections[0];
    char copy[10];

    test_case("a lent buffer stays as it is");
    party_open(&party, 8, TCP);
    party.keep = true;
    say(first, 10);
    RUN_UNTIL(party.loop, kept_count(&party) == 1);
    memcpy(copy, proa_buffer(party.pool, party.kept[0]), 10);
    party.keep = false;
    for (int turn = 0; turn < 20; turn++) {
        for (size_t i = 1; i < 8; i++)
            say(&party.connections[i], 200);
        for (size_t i = 1; i < 8; i++)
            RUN_UNTIL(party.loop, party.connections[i].at == party.connections[i].sent);
    }
    HOLDS(memcmp(copy, proa_buffer(party.pool, party.kept[0]), 10) == 0);
    return_one(&party);
    party_close(&party);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "c09_pools_lend_on_data");
    test_idle_hold_none(TCP);
    test_idle_hold_none(UNIX);
    test_starved_wait();
    test_starved_end();
    test_end_of_stream();
    test_flood(false);
    test_flood(true);
    test_two_pools();
    test_lent_stays();
    return check_done("c09_pools_lend_on_data");
}

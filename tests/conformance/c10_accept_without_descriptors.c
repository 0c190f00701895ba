/* Rule 10: accepting at EMFILE pauses and resumes when a descriptor is free; it is counted, never a spin, and the loop
 * keeps serving. ENFILE would need the whole system's table to be full: f_faults.c makes the call fail so instead. */
#include "kinds.h"

#include <sys/resource.h>

enum { CLIENTS = 200, FREE = 8, SINGLES = 20 };

enum freeing { BY_PROA_CLOSE, BY_CLOSE, BY_LIMIT };

static const char *const freeing_names[] = {"proa_close", "close(2) elsewhere", "a higher limit"};

struct hall {
    proa_loop *loop;
    proa_fd listener;
    proa_address bound;
    struct slot many, singles[SINGLES], tick;
    bool use_singles, closing;
    int far[CLIENTS];
    int taken[CLIENTS];
    size_t count;         /* taken so far */
    size_t closed;        /* of those */
    int fillers[CLIENTS]; /* of nobody's concern */
    size_t unfilled;
    struct rlimit normal;
};

static void on_taken(struct slot *slot, proa_result result)
{
    struct hall *hall = slot->context;

    if (result.value < 0) {
        REQUIRE(result.value == -ECANCELED || result.value == -ETIMEDOUT);
        return;
    }
    REQUIRE(hall->count < CLIENTS);
    hall->taken[hall->count++] = (int)result.value;
    if (hall->use_singles && !hall->closing)
        proa_accept(hall->loop, &slot->op, hall->listener, slot_done);
}

/* The lowest limit that leaves FREE more: numbers are given from below, so all under it is in use but for those. */
static void lower_limit(struct hall *hall)
{
    struct rlimit low;
    int numbers[FREE];

    REQUIRE(getrlimit(RLIMIT_NOFILE, &hall->normal) == 0);
    low = hall->normal;
    for (size_t i = 0; i < FREE; i++)
        REQUIRE((numbers[i] = dup(2)) >= 0);
    low.rlim_cur = (rlim_t)numbers[FREE - 1] + 1;
    for (size_t i = 0; i < FREE; i++)
        close_plain(numbers[i]);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
}

static void hall_open(struct hall *hall, bool use_singles)
{
    memset(hall, 0, sizeof(*hall));
    hall->loop = loop_open();
    hall->use_singles = use_singles;
    hall->listener = listen_on(hall->loop, TCP, 512, &hall->bound);
    for (size_t i = 0; i < CLIENTS; i++)
        hall->far[i] = far_connect(&hall->bound);
    hall->many = (struct slot){.then = on_taken, .context = hall};
    proa_timer_repeat(hall->loop, &hall->tick.op, 1, MS, slot_done);
    loop_run_for(hall->loop, MS);
    for (size_t i = 0; i < CLIENTS; i++)
        REQUIRE((hall->fillers[i] = dup(2)) >= 0);
    lower_limit(hall);
    if (!use_singles)
        proa_accept_many(hall->loop, &hall->many.op, hall->listener, slot_done);
    for (size_t i = 0; use_singles && i < SINGLES; i++) {
        hall->singles[i] = (struct slot){.then = on_taken, .context = hall};
        proa_accept(hall->loop, &hall->singles[i].op, hall->listener, slot_done);
    }
}

static void hall_wait_full(struct hall *hall)
{
    RUN_UNTIL(hall->loop, hall->count >= FREE && proa_loop_meters(hall->loop).accepts_paused >= 1);
    loop_run_for(hall->loop, 5 * MS);
    HOLDS(hall->count == FREE);
}

/* There may be room again for some before the listener is closed. */
static void hall_close(struct hall *hall)
{
    hall->closing = true;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &hall->normal) == 0);
    if (hall->loop) {
        close_now(hall->loop, hall->listener);
        proa_loop_close(hall->loop);
    } else {
        close_plain(hall->listener.handle);
    }
    for (; hall->closed < hall->count; hall->closed++)
        close_plain(hall->taken[hall->closed]);
    for (size_t i = 0; i < CLIENTS; i++)
        close_plain(hall->far[i]);
    for (; hall->unfilled < CLIENTS; hall->unfilled++)
        close_plain(hall->fillers[hall->unfilled]);
}

static struct hall hall;

static void free_one(enum freeing freeing)
{
    if (freeing == BY_PROA_CLOSE)
        close_now(hall.loop, proa_fd_of(hall.taken[hall.closed++]));
    if (freeing == BY_CLOSE)
        close_plain(hall.fillers[hall.unfilled++]);
    if (freeing == BY_LIMIT)
        REQUIRE(setrlimit(RLIMIT_NOFILE, &hall.normal) == 0);
}

static void test_all_get_in(enum freeing freeing, bool singles)
{
    size_t limit;

    test_case("%s, descriptors freed by %s", singles ? "accept" : "accept_many", freeing_names[freeing]);
    hall_open(&hall, singles);
    hall_wait_full(&hall);
    while (hall.count < CLIENTS) {
        limit = hall.count;
        for (size_t i = 0; i < FREE && hall.closed + hall.unfilled < hall.count; i++)
            free_one(freeing);
        RUN_UNTIL(hall.loop, hall.count > limit);
        if (freeing != BY_LIMIT)
            REQUIRE(hall.count - hall.closed - hall.unfilled <= FREE);
    }
    hall_close(&hall);
}

/* While it waits: timers fire, connections are served, and the processor rests. */
static void test_serves_meanwhile(bool singles)
{
    struct slot recv = {0};
    char data[16];
    uint64_t cpu, ticks, calls, before, until;

    test_case("%s: what the loop does meanwhile", singles ? "accept" : "accept_many");
    hall_open(&hall, singles);
    hall_wait_full(&hall);
    ticks = hall.tick.mores;
    calls = proa_loop_meters(hall.loop).system_calls;
    cpu = cpu_ns();
    before = clock_ns();
    until = ticks + 20;
    RUN_UNTIL(hall.loop, hall.tick.mores > until);
    loop_run_for(hall.loop, 100 * MS);
    ticks = hall.tick.mores - ticks;
    HOLDS(cpu_ns() - cpu < (clock_ns() - before) / 2);
    HOLDS(proa_loop_meters(hall.loop).system_calls - calls < 10 * ticks + 500);
    proa_recv(hall.loop, &recv.op, proa_fd_of(hall.taken[0]), data, sizeof(data), slot_done);
    for (size_t i = 0; i < CLIENTS; i++)
        REQUIRE(write(hall.far[i], "served", 6) == 6);
    RUN_UNTIL(hall.loop, recv.finals);
    HOLDS(recv.value == 6);
    hall_close(&hall);
}

enum ending { BY_CANCEL, BY_DEADLINE, BY_CLOSE_LISTENER, BY_LOOP_CLOSE };

/* A paused accept ends like any other. */
static void test_paused_ends(enum ending ending)
{
    struct slot closing = {0};

    test_case("a paused accept_many ends, way %d", ending);
    hall_open(&hall, false);
    hall_wait_full(&hall);
    if (ending == BY_CANCEL)
        proa_cancel(&hall.many.op);
    if (ending == BY_DEADLINE)
        proa_set_deadline(&hall.many.op, 1);
    if (ending == BY_CLOSE_LISTENER)
        proa_close(hall.loop, &closing.op, hall.listener, slot_done);
    if (ending == BY_LOOP_CLOSE)
        proa_loop_close(hall.loop);
    if (ending != BY_LOOP_CLOSE)
        RUN_UNTIL(hall.loop, hall.many.finals);
    HOLDS(hall.many.finals == 1);
    HOLDS(hall.many.value == (ending == BY_DEADLINE ? -ETIMEDOUT : -ECANCELED));
    if (ending == BY_CLOSE_LISTENER) {
        RUN_UNTIL(hall.loop, closing.finals);
        HOLDS(closing.value == 0 || closing.value == -EBADF);
        REQUIRE(setrlimit(RLIMIT_NOFILE, &hall.normal) == 0);
        hall.listener = listen_on(hall.loop, TCP, 4, NULL);
    }
    if (ending == BY_LOOP_CLOSE)
        hall.loop = NULL;
    hall_close(&hall);
}

/* Listeners and files have no queue to wait in: they are told. */
static void test_others_are_told(void)
{
    struct slot slots[3] = {0};
    proa_address address = address_any(TCP);

    test_case("EMFILE of others is an error");
    hall_open(&hall, true);
    hall_wait_full(&hall);
    proa_listen(hall.loop, &slots[0].op, &address, 4, 0, slot_done);
    proa_connect(hall.loop, &slots[1].op, &hall.bound, slot_done);
    proa_open(hall.loop, &slots[2].op, PROA_CWD, "/", (proa_open_how){.flags = O_RDONLY}, slot_done);
    RUN_UNTIL(hall.loop, slots[0].finals && slots[1].finals && slots[2].finals);
    for (size_t i = 0; i < ARRAY_SIZE(slots); i++)
        HOLDS(slots[i].value == -EMFILE);
    hall_close(&hall);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "c10_accept_without_descriptors");
    if (test_has(PROA_FEATURE_DIRECT))
        return check_skip("c10_accept_without_descriptors", "it works on sockets by their numbers");
    for (int freeing = BY_PROA_CLOSE; freeing <= BY_LIMIT; freeing++) {
        test_all_get_in(freeing, false);
        test_all_get_in(freeing, true);
    }
    test_serves_meanwhile(false);
    test_serves_meanwhile(true);
    for (int ending = BY_CANCEL; ending <= BY_LOOP_CLOSE; ending++)
        test_paused_ends(ending);
    test_others_are_told();
    return check_done("c10_accept_without_descriptors");
}

/* proa_loop_run(): its four modes, what it returns, and how it is stopped. */
#include "harness.h"

static void on_stop(struct slot *slot, proa_result result)
{
    (void)result;
    proa_loop_stop(slot->op.loop);
}

static void test_idle_loop(void)
{
    proa_loop *loop = loop_open();

    test_case("an idle loop");
    HOLDS(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    HOLDS(proa_loop_run(loop, PROA_NO_WAIT) == 0);
    proa_loop_close(loop);
}

static void test_until_idle(void)
{
    proa_loop *loop = loop_open();
    struct slot timers[10] = {0};

    test_case("PROA_UNTIL_IDLE");
    for (size_t i = 0; i < 10; i++)
        proa_timer(loop, &timers[i].op, clock_ns() + i * MS, slot_done);
    HOLDS(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    for (size_t i = 0; i < 10; i++)
        HOLDS(timers[i].finals == 1);
    proa_loop_close(loop);
}

/* The number of ops in flight, as this and every mode returns it. */
static void test_count(void)
{
    proa_loop *loop = loop_open();
    struct slot far[5] = {0}, soon = {0};

    test_case("the number in flight");
    for (size_t i = 0; i < 5; i++)
        proa_timer(loop, &far[i].op, PROA_NEVER - 1, slot_done);
    HOLDS(proa_loop_run(loop, PROA_NO_WAIT) == 5);
    proa_timer(loop, &soon.op, 1, slot_done);
    while (!soon.finals)
        HOLDS(proa_loop_run(loop, PROA_NO_WAIT) == (soon.finals ? 5u : 6u));
    for (size_t i = 0; i < 5; i++)
        proa_cancel(&far[i].op);
    HOLDS(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    proa_loop_close(loop);
}

/* Poll never waits, whatever there is to wait for. */
static void test_poll(void)
{
    proa_loop *loop = loop_open();
    struct slot far = {0}, soon = {0};

    test_case("PROA_NO_WAIT");
    proa_timer(loop, &far.op, PROA_NEVER - 1, slot_done);
    for (int i = 0; i < 1000; i++)
        proa_loop_run(loop, PROA_NO_WAIT);
    proa_timer(loop, &soon.op, proa_now_refresh(loop) + 2 * MS, slot_done);
    sleep_ms(3);
    proa_loop_run(loop, PROA_NO_WAIT);
    HOLDS(soon.finals == 1); /* the clock is read anew each turn */
    proa_loop_close(loop);
}

static void test_once(void)
{
    proa_loop *loop = loop_open();
    struct slot timers[3] = {0};
    uint64_t base = clock_ns() + 2 * MS;

    test_case("PROA_ONCE");
    for (size_t i = 0; i < 3; i++)
        proa_timer(loop, &timers[i].op, base + i * 20 * MS, slot_done);
    while (!timers[0].finals)
        proa_loop_run(loop, PROA_ONCE);
    HOLDS(clock_ns() >= base);
    HOLDS(timers[2].finals == 0 || clock_ns() >= base + 40 * MS);
    proa_loop_close(loop);
}

/* Stop ends the run with work left, and the next one goes on. */
static void test_stop(enum proa_run_mode mode)
{
    proa_loop *loop = loop_open();
    struct slot far = {0}, stop = {.then = on_stop}, due[3] = {0};

    test_case("stop in a callback, mode %d", mode);
    proa_timer(loop, &far.op, PROA_NEVER - 1, slot_done);
    for (int round = 1; round <= 3; round++) {
        proa_timer(loop, &stop.op, 1, slot_done);
        for (size_t i = 0; i < 3; i++)
            proa_timer(loop, &due[i].op, 2, slot_done);
        HOLDS(proa_loop_run(loop, mode) == 1);
        HOLDS(stop.finals == (unsigned)round);
        for (size_t i = 0; i < 3; i++)
            HOLDS(due[i].finals == (unsigned)round); /* were due already */
    }
    HOLDS(far.finals == 0);
    proa_loop_close(loop);
    HOLDS(far.finals == 1 && far.value == -ECANCELED);
}

/* Before the run starts, a stop is heard by the next run, or by none: but never does a run hang that has work to do. */
static void test_stop_before(void)
{
    proa_loop *loop = loop_open();
    struct slot timer = {0};

    test_case("stop before the run");
    proa_loop_stop(loop);
    proa_timer(loop, &timer.op, clock_ns() + MS, slot_done);
    proa_loop_run(loop, PROA_UNTIL_IDLE);
    proa_loop_run(loop, PROA_UNTIL_IDLE);
    HOLDS(timer.finals == 1);
    proa_loop_close(loop);
}

/* Until stopped alone: an idle loop waits on. A post would come from elsewhere; here a timer that a callback starts. */
static void on_start_other(struct slot *slot, proa_result result)
{
    struct slot *other = slot->context;

    (void)result;
    proa_timer(slot->op.loop, &other->op, clock_ns() + 2 * MS, slot_done);
}

static void test_until_stopped(void)
{
    proa_loop *loop = loop_open();
    struct slot stop = {.then = on_stop}, first = {.then = on_start_other, .context = &stop};

    test_case("PROA_UNTIL_STOPPED");
    proa_timer(loop, &first.op, clock_ns() + MS, slot_done);
    HOLDS(proa_loop_run(loop, PROA_UNTIL_STOPPED) == 0);
    HOLDS(first.finals == 1 && stop.finals == 1);
    proa_loop_close(loop);
}

/* A loop inside a callback of another one, each with its own ops. */
static void on_run_other(struct slot *slot, proa_result result)
{
    proa_loop *other = slot->context;
    struct slot timer = {0};

    (void)result;
    proa_timer(other, &timer.op, clock_ns() + MS, slot_done);
    HOLDS(proa_loop_run(other, PROA_UNTIL_IDLE) == 0);
    HOLDS(timer.finals == 1);
}

static void test_nested_loops(void)
{
    proa_loop *outer = loop_open(), *inner = loop_open();
    struct slot slot = {.then = on_run_other, .context = inner};

    test_case("another loop run from a callback");
    proa_timer(outer, &slot.op, 1, slot_done);
    HOLDS(proa_loop_run(outer, PROA_UNTIL_IDLE) == 0);
    HOLDS(slot.finals == 1);
    proa_loop_close(inner);
    proa_loop_close(outer);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "run_modes");
    test_idle_loop();
    test_until_idle();
    test_count();
    test_poll();
    test_once();
    test_stop(PROA_UNTIL_IDLE);
    test_stop(PROA_UNTIL_STOPPED);
    test_stop_before();
    test_until_stopped();
    test_nested_loops();
    return check_done("run_modes");
}

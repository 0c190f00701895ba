/* Rule 12: timers never fire early. They fire in order of time, then of start. A million timers cost O(log n) or better
 * each: a loop that walks them all takes hours here, and is reported as hung. */
#include "kinds.h"

struct timer {
    struct slot slot;
    uint64_t when;
    uint32_t start;
    bool cancelled;
};

static struct timer *last_fired;
static unsigned misordered, early;

static void on_fired(struct slot *slot, proa_result result)
{
    struct timer *timer = proa_owner(slot, struct timer, slot);

    if (result.value == -ECANCELED)
        return;
    REQUIRE(result.value == 0);
    early += proa_now(slot->op.loop) < timer->when || clock_ns() < timer->when;
    if (last_fired)
        misordered += last_fired->when > timer->when ||
                      (last_fired->when == timer->when && last_fired->start > timer->start);
    last_fired = timer;
}

static void run_timers(const char *name, size_t count, uint64_t spread, uint64_t grain, unsigned cancel_one_in)
{
    proa_loop *loop = loop_open();
    struct timer *timers = calloc(count, sizeof(*timers));
    uint64_t base = clock_ns() + MS;
    size_t finals = 0;

    test_case("%s", name);
    last_fired = NULL;
    misordered = early = 0;
    for (size_t i = 0; i < count; i++) {
        struct timer *timer = &timers[i];

        timer->when = base + random_below((uint32_t)(spread / grain)) * grain;
        timer->start = (uint32_t)i;
        timer->slot.then = on_fired;
        proa_timer(loop, &timer->slot.op, timer->when, slot_done);
    }
    for (size_t i = 0; cancel_one_in && i < count / cancel_one_in; i++) {
        struct timer *timer = &timers[random_below((uint32_t)count)];

        if (i % 1000 == 0)
            proa_loop_run(loop, PROA_NO_WAIT);
        timer->cancelled |= proa_in_flight(&timer->slot.op);
        proa_cancel(&timer->slot.op);
    }
    HOLDS(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    for (size_t i = 0; i < count; i++) {
        finals += timers[i].slot.finals;
        if (!timers[i].cancelled)
            REQUIRE(timers[i].slot.value == 0);
    }
    HOLDS(finals == count);
    HOLDS(misordered == 0);
    HOLDS(early == 0);
    proa_loop_close(loop);
    free(timers);
}

/* What is cancelled before its time does not fire. */
static void test_cancelled_never_fire(void)
{
    enum { COUNT = 2000 };
    proa_loop *loop = loop_open();
    struct timer *timers = calloc(COUNT, sizeof(*timers));
    uint64_t base = clock_ns() + 3600 * PROA_SECOND_NS;

    test_case("cancelled in random order");
    for (size_t i = 0; i < COUNT; i++)
        proa_timer(loop, &timers[i].slot.op, base + random_below(1000), slot_done);
    for (size_t left = COUNT; left; left--) {
        size_t at = random_below(COUNT);

        while (timers[at].cancelled)
            at = (at + 1) % COUNT;
        timers[at].cancelled = true;
        proa_cancel(&timers[at].slot.op);
    }
    HOLDS(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    for (size_t i = 0; i < COUNT; i++)
        REQUIRE(timers[i].slot.finals == 1 && timers[i].slot.value == -ECANCELED);
    proa_loop_close(loop);
    free(timers);
}

/* Repeating: by the sum of its values, the Nth interval never fires early, none is forgotten, and no time is lost. */
struct beat {
    struct slot slot;
    uint64_t first, interval, sum, limit;
    unsigned slow;
    unsigned wrong;
};

static void on_beat(struct slot *slot, proa_result result)
{
    struct beat *beat = proa_owner(slot, struct beat, slot);
    uint64_t now = proa_now(slot->op.loop);

    if (!(result.flags & PROA_MORE)) {
        REQUIRE(result.value == -ECANCELED);
        return;
    }
    REQUIRE(result.value >= 1);
    beat->sum += (uint64_t)result.value;
    beat->wrong += now < beat->first + (beat->sum - 1) * beat->interval;
    beat->wrong += now >= beat->first + beat->sum * beat->interval;
    if (beat->slow && slot->mores % 5 == 0)
        sleep_ms(beat->slow);
    if (beat->sum >= beat->limit)
        proa_cancel(&slot->op);
}

static void test_repeat(uint64_t interval, unsigned slow, int64_t first_offset)
{
    proa_loop *loop = loop_open();
    struct beat beat = {.slot.then = on_beat, .interval = interval, .slow = slow, .limit = 60 * MS / interval};

    test_case("repeats every %u us, callbacks of %u ms, first at %+d ms", (unsigned)(interval / 1000), slow,
              (int)(first_offset / (int64_t)MS));
    beat.first = clock_ns() + (uint64_t)first_offset;
    proa_timer_repeat(loop, &beat.slot.op, beat.first, interval, slot_done);
    HOLDS(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    HOLDS(beat.wrong == 0);
    HOLDS(beat.sum >= beat.limit && beat.slot.finals == 1);
    proa_loop_close(loop);
}

static uint64_t many_done;

static void on_one_of_many(proa_op *op, proa_result result)
{
    (void)op;
    many_done += result.value == -ECANCELED || result.value == 0;
}

/* Bare ops: a million of them in what memory a test may take. */
static void test_million(void)
{
    size_t count = test_slow() ? 200000 : 1000000;
    proa_loop *loop = loop_open();
    proa_op *ops = calloc(count, sizeof(*ops));
    uint64_t base = clock_ns() + 3600 * PROA_SECOND_NS;

    test_case("%zu timers", count);
    many_done = 0;
    for (size_t i = 0; i < count; i++)
        proa_timer(loop, &ops[i], base + random_below(1u << 31), on_one_of_many);
    proa_loop_run(loop, PROA_NO_WAIT);
    for (size_t i = 0; i < count; i++)
        proa_cancel(&ops[i * 7919 % count]); /* 7919 is prime: each once, far apart */
    HOLDS(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    HOLDS(many_done == count);

    test_case("%zu timers gone by", count);
    many_done = 0;
    for (size_t i = 0; i < count; i++)
        proa_timer(loop, &ops[i], random_below(1u << 31), on_one_of_many);
    HOLDS(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    HOLDS(many_done == count);

    test_case("a deadline moved %zu times", count);
    proa_timer(loop, &ops[0], PROA_NEVER, on_one_of_many);
    for (size_t i = 0; i < count; i++)
        proa_set_deadline(&ops[0], base + i);
    proa_cancel(&ops[0]);
    HOLDS(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    proa_loop_close(loop);
    free(ops);
}

/* The ends of the scale: now, before, and times that no clock will see, which must not wrap round to soon. */
static void test_ends_of_the_scale(void)
{
    proa_loop *loop = loop_open();
    static const uint64_t far[] = {PROA_NEVER, PROA_NEVER - 1, UINT64_C(1) << 63, (UINT64_C(1) << 63) - 1,
                                   (uint64_t)INT64_MAX / 1000000 * 1000000};
    struct slot slots[ARRAY_SIZE(far)] = {0}, soon[3] = {0}, repeat = {0};

    test_case("the ends of the scale");
    for (size_t i = 0; i < ARRAY_SIZE(far); i++)
        proa_timer(loop, &slots[i].op, far[i], slot_done);
    proa_timer_repeat(loop, &repeat.op, PROA_NEVER - 1, UINT64_MAX, slot_done);
    loop_run_for(loop, 2 * MS);
    proa_timer(loop, &soon[0].op, 0, slot_done);
    proa_timer(loop, &soon[1].op, proa_now(loop), slot_done);
    proa_timer(loop, &soon[2].op, 1, slot_done);
    RUN_UNTIL(loop, soon[0].finals && soon[1].finals && soon[2].finals);
    HOLDS(soon[0].order < soon[2].order && soon[2].order < soon[1].order);
    for (size_t i = 0; i < ARRAY_SIZE(far); i++) {
        HOLDS(slots[i].finals == 0);
        proa_cancel(&slots[i].op);
    }
    proa_cancel(&repeat.op);
    HOLDS(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    HOLDS(repeat.mores == 0 && repeat.value == -ECANCELED);
    proa_loop_close(loop);
}

/* Now stands still within a turn, never goes back, and a refresh catches up. */
static void test_clock(void)
{
    proa_loop *loop = loop_open();
    uint64_t before, after;

    test_case("the loop's clock");
    loop_run_for(loop, MS);
    before = proa_now(loop);
    sleep_ms(2);
    HOLDS(proa_now(loop) == before);
    after = proa_now_refresh(loop);
    HOLDS(after >= before + 2 * MS && after <= clock_ns());
    HOLDS(proa_now(loop) == after);
    proa_loop_close(loop);
}

/* A timer that is started when the loop already waits for a later one is not missed. */
static void on_start_sooner(struct slot *slot, proa_result result)
{
    struct slot *sooner = slot->context;

    (void)result;
    proa_timer(slot->op.loop, &sooner->op, proa_now(slot->op.loop) + MS, slot_done);
}

static void test_sooner(void)
{
    proa_loop *loop = loop_open();
    struct slot sooner = {0}, later = {0}, first = {.then = on_start_sooner, .context = &sooner};

    test_case("a sooner timer");
    proa_timer(loop, &later.op, clock_ns() + 3600 * PROA_SECOND_NS, slot_done);
    proa_timer(loop, &first.op, clock_ns() + MS, slot_done);
    RUN_UNTIL(loop, sooner.finals);
    HOLDS(later.finals == 0 && first.order < sooner.order);
    proa_loop_close(loop);
    HOLDS(later.finals == 1);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "c12_timers");
    run_timers("random times", 20000, 50 * MS, 1, 0);
    run_timers("few times, many timers each", 20000, 50 * MS, 10 * MS, 0);
    run_timers("random times, random cancels", 20000, 50 * MS, 1000, 2);
    run_timers("all at one time", 5000, MS, MS, 0);
    test_cancelled_never_fire();
    test_repeat(MS, 0, 2 * MS);
    test_repeat(MS, 7, 0);
    test_repeat(MS / 10, 0, 0);
    test_repeat(7 * MS, 20, -20 * (int64_t)MS);
    test_repeat(1, 0, 0);
    test_million();
    test_ends_of_the_scale();
    test_clock();
    test_sooner();
    return check_done("c12_timers");
}

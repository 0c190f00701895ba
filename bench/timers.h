/*
 * What the timer benchmarks share, so that both do the same: the times, the orders, the clock, the report.
 *
 * One of them starts a million timers, spread over an hour that is far away, and ends them all: once in the order of
 * start, as a server does with its time limits, once in random order, which is the worst for a cache. Then it starts as
 * many for the next second, sleeps that long, and has them all fire. Each phase is timed by the CPU clock of the thread;
 * memory is in place before. A cancel lasts until the timer is the caller's again: its callback included, if it has one.
 */
#ifndef BENCH_TIMERS_H
#define BENCH_TIMERS_H

#include <stddef.h>
#include <stdint.h>

#define TIMERS_PHASES(X)                                           \
    X(start, "starting one")                                       \
    X(cancel, "ending one, in the order of start")                 \
    X(start_again, "starting one, the structure having been used") \
    X(cancel_random, "ending one, in random order")                \
    X(start_soon, "starting one of those that fire")               \
    X(fire, "firing one, its callback included")

/* Nanoseconds per timer. */
struct timers_result {
#define TIMERS_FIELD(name, meaning) double name;
    TIMERS_PHASES(TIMERS_FIELD)
#undef TIMERS_FIELD
};

enum { TIMERS_SOON_MS = 1000, TIMERS_FAR_MS = 3600 * 1000 };

/* How many timers: `--count N`, or a million. Ends the program with 2 on a mistake. */
size_t timers_count(int argc, char **argv);

/* `count` times from 1 to `span_ms` milliseconds, the same in each program. */
uint32_t *timers_times(size_t count, uint32_t span_ms);

/* The numbers below `count`, in order and in a random one. */
uint32_t *timers_in_order(size_t count);
uint32_t *timers_shuffled(size_t count);

/* Memory that is there already, zero. */
void *timers_memory(size_t count, size_t size);

/* CPU time of this thread. */
uint64_t timers_clock_ns(void);

/* Until those that fire are due. */
void timers_sleep(void);

/* Prints one JSON object. */
void timers_print(const struct timers_result *result);

#endif

/* See timers.h. */
#define _GNU_SOURCE
#include "timers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static uint64_t state = 88172645463325252u;

static uint32_t random_below(size_t limit)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)((state >> 32) * limit >> 32);
}

size_t timers_count(int argc, char **argv)
{
    long count = argc == 1 ? 1000000 : argc == 3 && !strcmp(argv[1], "--count") ? atol(argv[2]) : 0;

    if (count > 0)
        return (size_t)count;
    fprintf(stderr, "usage: %s [--count TIMERS]\n", argv[0]);
    exit(2);
}

void *timers_memory(size_t count, size_t size)
{
    void *memory = mmap(NULL, count * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (memory != MAP_FAILED)
        return memory;
    perror("timers: memory");
    exit(1);
}

uint32_t *timers_times(size_t count, uint32_t span_ms)
{
    uint32_t *times = timers_memory(count, sizeof(*times));

    for (size_t i = 0; i < count; i++)
        times[i] = 1 + random_below(span_ms);
    return times;
}

uint32_t *timers_in_order(size_t count)
{
    uint32_t *order = timers_memory(count, sizeof(*order));

    for (size_t i = 0; i < count; i++)
        order[i] = (uint32_t)i;
    return order;
}

uint32_t *timers_shuffled(size_t count)
{
    uint32_t *order = timers_in_order(count);

    for (size_t i = count - 1; i > 0; i--) {
        uint32_t other = random_below(i + 1), swap = order[i];

        order[i] = order[other];
        order[other] = swap;
    }
    return order;
}

uint64_t timers_clock_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

void timers_sleep(void)
{
    struct timespec time = {.tv_sec = TIMERS_SOON_MS / 1000, .tv_nsec = 100 * 1000 * 1000};

    nanosleep(&time, NULL);
}

void timers_print(const struct timers_result *result)
{
    const char *separator = "{";

#define TIMERS_PRINT(name, meaning)                              \
    printf("%s\"" #name "_ns\": %.2f", separator, result->name); \
    separator = ", ";
    TIMERS_PHASES(TIMERS_PRINT)
#undef TIMERS_PRINT
    puts("}");
}

/*
 * A histogram of latencies with bounded relative error: 64 equal steps within each power of two (1.6 %), as in
 * HdrHistogram. Recording is a shift and an increment; the memory is constant.
 */
#ifndef BENCH_LOAD_HISTOGRAM_H
#define BENCH_LOAD_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_STEP_BITS = 6, HISTOGRAM_SIZE = (64 - HISTOGRAM_STEP_BITS + 1) << HISTOGRAM_STEP_BITS };

struct histogram {
    uint64_t count[HISTOGRAM_SIZE];
    uint64_t total, sum, max;
};

static inline void histogram_add(struct histogram *histogram, uint64_t value)
{
    unsigned shift = 0;

    if (value >> HISTOGRAM_STEP_BITS)
        shift = 63 - HISTOGRAM_STEP_BITS - (unsigned)__builtin_clzll(value) + 1;
    /* With the leading bit kept, value >> shift lies in 32..63 for every shift but 0. */
    histogram->count[(shift << HISTOGRAM_STEP_BITS) + (value >> shift)]++;
    histogram->total++;
    histogram->sum += value;
    if (value > histogram->max)
        histogram->max = value;
}

/* The upper edge of the step that holds the value below which `share` (0 to 1) of all lie. */
static inline uint64_t histogram_at(const struct histogram *histogram, double share)
{
    uint64_t wanted = (uint64_t)(share * (double)histogram->total), seen = 0;

    for (unsigned i = 0; i < HISTOGRAM_SIZE; i++) {
        uint64_t shift = i >> HISTOGRAM_STEP_BITS, step = i & ((1 << HISTOGRAM_STEP_BITS) - 1);

        seen += histogram->count[i];
        if (seen > wanted)
            return ((step + 1) << shift) - 1;
    }
    return histogram->max;
}

#endif

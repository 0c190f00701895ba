/* The time of day as a Date field wants it, renewed at most once a second. */
#ifndef SERVE_CLOCK_H
#define SERVE_CLOCK_H

#include "http/date.h"

struct clock {
    uint64_t renew_at_ns; /* on the loop's clock */
    int64_t now_s;        /* seconds since 1970 */
    int64_t now_ns;       /* nanoseconds since 1970, when it was renewed */
    uint32_t generation;  /* counts renewals */
    char text[HTTP_DATE_SIZE];
};

void clock_renew(struct clock *clock, uint64_t monotonic_ns);

static inline void clock_tell(struct clock *clock, uint64_t monotonic_ns)
{
    if (monotonic_ns >= clock->renew_at_ns)
        clock_renew(clock, monotonic_ns);
}

#endif

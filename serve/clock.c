/* The next renewal is due at the next whole second of the time of day. */
#include "serve/clock.h"

#include <time.h>

#include "proa/time.h"

void clock_renew(struct clock *clock, uint64_t monotonic_ns)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    clock->now_s = now.tv_sec;
    clock->now_ns = (int64_t)now.tv_sec * (int64_t)PROA_SECOND_NS + now.tv_nsec;
    clock->renew_at_ns = monotonic_ns + PROA_SECOND_NS - (uint64_t)now.tv_nsec;
    clock->generation++;
    http_date_write(clock->text, clock->now_s);
}

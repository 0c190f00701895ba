/* What the workers did, in memory that they share with the process that started them. */
#ifndef SERVE_REPORT_H
#define SERVE_REPORT_H

#include "proa/loop.h"

/* One X(name, meaning) line each. */
#define SERVE_COUNTERS(X)                                                \
    X(connections, "connections accepted")                               \
    X(requests, "requests answered")                                     \
    X(from_cache, "of these, from the cache without a look at the file") \
    X(refused, "of these, with a status of 400 or more")                 \
    X(timed_out, "connections ended by a time limit")                    \
    X(body_bytes, "bytes of response bodies handed to the loop")         \
    X(log_lines_lost, "lines of the access log lost because it was too slow")

struct serve_report {
#define X(name, meaning) uint64_t name;
    SERVE_COUNTERS(X)
#undef X
    proa_meters meters; /* of loops that have ended */
};

/* `count` reports of zeros, shared with the processes that are forked later; NULL: no memory. */
struct serve_report *report_share(unsigned count);

void report_add_meters(struct serve_report *report, const proa_meters *meters);

/* The sum of all, on stdout. */
void report_print(const struct serve_report *reports, unsigned count);

#endif

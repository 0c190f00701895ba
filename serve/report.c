/* Each worker writes its own report only, so that no lock is needed; a worker that was restarted goes on adding. */
#include "serve/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>

struct serve_report *report_share(unsigned count)
{
    void *memory = mmap(NULL, count * sizeof(struct serve_report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                        -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

void report_add_meters(struct serve_report *report, const proa_meters *meters)
{
#define X(name, meaning) report->meters.name += meters->name;
    PROA_METERS(X)
#undef X
}

void report_print(const struct serve_report *reports, unsigned count)
{
    struct serve_report sum = {0};

    for (unsigned i = 0; i < count; i++) {
#define X(name, meaning) sum.name += reports[i].name;
        SERVE_COUNTERS(X)
#undef X
        report_add_meters(&sum, &reports[i].meters);
    }
#define X(name, meaning) printf("%-20s %14" PRIu64 "  %s\n", #name, sum.name, meaning);
    SERVE_COUNTERS(X)
#undef X
#define X(name, meaning) printf("%-20s %14" PRIu64 "  %s\n", #name, sum.meters.name, meaning);
    PROA_METERS(X)
#undef X
    fflush(stdout);
}

/* All engines in order of preference, in this one place; and the choice among them, made by trying. On a simulated machine
 * there is but one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"

static const struct engine_table *const engines[] = {
    &engine_uring, &engine_epoll, &engine_poll, &engine_select, &engine_threads, &engine_sim,
};

static const proa_loop_options inspect_options = {.queue_entries = 16, .families = UINT32_MAX};

static int open_one(struct engine_host *host, const struct engine_table *table, char *ret_reason)
{
    ret_reason[0] = '\0';
    host->table = table;
    host->features = 0;
    return table->open(host, &host->engine, ret_reason);
}

static int open_named(struct engine_host *host, const char *name, const char *source, char *ret_choice)
{
    char reason[PROA_REASON_MAX];

    for (size_t i = 0; i < ARRAY_SIZE(engines); i++) {
        if (strcmp(engines[i]->name, name) == 0 && (engines[i]->simulated || !host->sys.machine)) {
            snprintf(ret_choice, 2 * PROA_REASON_MAX, "%s, as %s asks", name, source);
            return open_one(host, engines[i], reason);
        }
    }
    return -EINVAL;
}

static int open_best(struct engine_host *host, char *ret_choice)
{
    char reason[PROA_REASON_MAX], refused[PROA_REASON_MAX] = "";
    int error = -ENOTSUP;

    for (size_t i = 0; i < ARRAY_SIZE(engines); i++) {
        if (engines[i]->by_name_alone)
            continue;
        error = open_one(host, engines[i], reason);
        if (error == 0) {
            snprintf(ret_choice, 2 * PROA_REASON_MAX, "%s, %s%s", engines[i]->name,
                     refused[0] ? "because " : "the first choice, and it works here", refused);
            return 0;
        }
        if (!refused[0])
            snprintf(refused, sizeof(refused), "%s", reason);
    }
    return error;
}

int engine_open(struct engine_host *host, const char *name, char *ret_choice)
{
    const char *environment = getenv("PROA_ENGINE");

    if (name)
        return open_named(host, name, "the program", ret_choice);
    if (host->sys.machine)
        return open_named(host, engine_sim.name, "the machine that the thread is in", ret_choice);
    if (environment && *environment)
        return open_named(host, environment, "PROA_ENGINE", ret_choice);
    return open_best(host, ret_choice);
}

/* Opening an engine needs next to nothing of a loop: its wake-up descriptor's entry is not looked at before it waits. */
int proa_engine_inspect(size_t index, proa_engine_report *ret_report)
{
    struct engine_host host = {.options = &inspect_options};

    memset(ret_report, 0, sizeof(*ret_report));
    if (index >= ARRAY_SIZE(engines))
        return 0;
    ret_report->name = engines[index]->name;
    ret_report->summary = engines[index]->summary;
    ret_report->available = open_one(&host, engines[index], ret_report->reason) == 0;
    if (ret_report->available)
        host.table->close(host.engine);
    return 1;
}

int proa_engine_feature(size_t engine, size_t feature, proa_feature_report *ret_report)
{
    const struct engine_feature *row;
    struct sys sys = {0};

    memset(ret_report, 0, sizeof(*ret_report));
    if (engine >= ARRAY_SIZE(engines) || feature >= engines[engine]->feature_count)
        return 0;
    row = &engines[engine]->features[feature];
    ret_report->name = row->name;
    ret_report->summary = row->summary;
    ret_report->feature = row->feature;
    ret_report->available = row->test(&sys, ret_report->reason) == 0;
    return 1;
}

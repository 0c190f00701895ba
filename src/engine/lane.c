/* All file lanes in order of preference, in this one place; and the choice among them. The first is the default, for it
 * alone never blocks the loop and takes files of every kind; how the others compare is in ARCHITECTURE.md. */
#include "engine/lane.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct lane_table *const lanes[] = {
    &lane_pool,
    &lane_libaio,
    &lane_posix_aio,
    &lane_inline,
};

static int open_one(struct engine_host *host, const struct lane_table *table, char *ret_reason)
{
    int error;

    ret_reason[0] = '\0';
    error = table->open(host, &host->lane, ret_reason);
    if (error == 0)
        host->lane_table = table;
    return error;
}

static int open_named(struct engine_host *host, const char *name, const char *source, char *ret_choice)
{
    char reason[PROA_REASON_MAX];

    for (size_t i = 0; i < ARRAY_SIZE(lanes); i++) {
        if (strcmp(lanes[i]->name, name) == 0) {
            snprintf(ret_choice, 2 * PROA_REASON_MAX, "%s, as %s asks", name, source);
            return open_one(host, lanes[i], reason);
        }
    }
    return -EINVAL;
}

int lane_open(struct engine_host *host, const char *name, char *ret_choice)
{
    const char *environment = getenv("PROA_FILE_LANE");
    char reason[PROA_REASON_MAX];

    if (host->table->native_files) {
        snprintf(ret_choice, 2 * PROA_REASON_MAX, "none, because %s has files of its own", host->table->name);
        return 0;
    }
    if (name)
        return open_named(host, name, "the program", ret_choice);
    if (environment && *environment)
        return open_named(host, environment, "PROA_FILE_LANE", ret_choice);
    snprintf(ret_choice, 2 * PROA_REASON_MAX, "%s, the first choice", lanes[0]->name);
    return open_one(host, lanes[0], reason);
}

void lane_close(struct engine_host *host)
{
    if (host->lane)
        host->lane_table->close(host->lane);
    host->lane = NULL;
}

void lane_start(struct engine_host *host, proa_op *op)
{
    host->lane_table->start(host->lane, op);
}

int lane_is_transfer(const proa_op *op)
{
    return (op->kind == OP_READ || op->kind == OP_WRITE) && op->moved <= INT64_MAX;
}

int lane_is_sync(const proa_op *op)
{
    return op->kind == OP_FSYNC || op->kind == OP_FDATASYNC;
}

int lane_fault(struct sys *sys, const proa_op *op, size_t *size)
{
    enum sys_call call = op->kind == OP_READ ? SYS_READ : op->kind == OP_WRITE ? SYS_WRITE : SYS_FSYNC;
    int error;

    do
        error = sys_ring_fault(sys, call, size);
    while (error == -EINTR);
    return error;
}

/* Opening a lane needs nothing of an engine but its bell. */
int proa_file_lane_inspect(size_t index, proa_engine_report *ret_report)
{
    struct engine_host host = {0};

    memset(ret_report, 0, sizeof(*ret_report));
    if (index >= ARRAY_SIZE(lanes))
        return 0;
    ret_report->name = lanes[index]->name;
    ret_report->summary = lanes[index]->summary;
    host.bell = sys_eventfd(&host.sys);
    ret_report->available = open_one(&host, lanes[index], ret_report->reason) == 0;
    lane_close(&host);
    if (host.bell >= 0)
        sys_close(&host.sys, host.bell);
    return 1;
}

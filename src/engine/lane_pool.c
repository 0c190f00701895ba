/* The pool's threads make the calls: the lane that takes every file, and never blocks the loop. */
#include "engine/lane.h"
#include "engine/pool.h"

/* It has no state: what it needs is the host's. */
static int pool_lane_open(struct engine_host *host, struct lane **ret_lane, char *ret_reason)
{
    (void)ret_reason;
    *ret_lane = (struct lane *)host;
    return 0;
}

static void pool_lane_close(struct lane *lane)
{
    (void)lane;
}

static void pool_lane_start(struct lane *lane, proa_op *op)
{
    pool_start(((struct engine_host *)lane)->pool, op);
}

const struct lane_table lane_pool = {
    .name = "pool",
    .summary = "threads make the calls",
    .open = pool_lane_open,
    .close = pool_lane_close,
    .start = pool_lane_start,
};

/* File lanes: how reads, writes and syncs of files run where the engine has no files of its own.
 *
 * A lane is a const table of functions, as an engine is. It settles its ops by op_done() on the loop's thread; or it hands
 * them on to the pool, where every other file op goes anyway. An op that a lane keeps is in the host's list `loose`, so
 * that a close or a cancel finds it. What a lane has other threads or the kernel do rings the engine's bell (host->bell);
 * the engine then has it reap. */
#ifndef PROA_LANE_H
#define PROA_LANE_H

#include "engine/engine.h"

struct lane_table {
    const char *name;
    const char *summary;

    /* Opens for `host`, after a round trip of what it needs. Returns 0, or a negative errno with `ret_reason`
     * (PROA_REASON_MAX bytes) saying what was refused. */
    int (*open)(struct engine_host *host, struct lane **ret_lane, char *ret_reason);
    void (*close)(struct lane *lane);

    /* Takes a file op on a descriptor. Never fails: what is wrong is the op's result. */
    void (*start)(struct lane *lane, proa_op *op);

    /* Asks for the early end of an op that it keeps; the op still gets its completion. Null where it keeps none. */
    void (*cancel)(struct lane *lane, proa_op *op);

    /* The engine is about to wait: brings what was started on its way. Null where nothing waits for that. */
    void (*submit)(struct lane *lane);

    /* The bell has rung: settles what is done. Null where it never rings it. */
    void (*reap)(struct lane *lane);
};

extern const struct lane_table lane_pool, lane_inline, lane_posix_aio, lane_libaio;

/* Opens the lane `name`, or the usual one where it is null. `ret_choice` (2 * PROA_REASON_MAX bytes) gets one sentence on
 * what was chosen and why. Returns 0 or a negative errno. */
int lane_open(struct engine_host *host, const char *name, char *ret_choice);
void lane_close(struct engine_host *host);

/* For the engine: an op on a file's descriptor. */
void lane_start(struct engine_host *host, proa_op *op);

/* For lanes. What a lane may have a way for: a read or write at an offset, or a sync. */
int lane_is_transfer(const proa_op *op);
int lane_is_sync(const proa_op *op);

/* What the fault plan has for a transfer or sync that is made without a call: a negative errno, or 0 and perhaps a smaller
 * size. */
int lane_fault(struct sys *sys, const proa_op *op, size_t *size);

#endif

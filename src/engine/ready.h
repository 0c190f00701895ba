/* Readiness turned into completion, once for all engines that only learn what is ready.
 *
 * Try the call; would-block parks the op in its descriptor's list and has the poller watch; ready means try again; the
 * result goes up the same way as every other. A poller brings only the four functions below. */
#ifndef PROA_READY_H
#define PROA_READY_H

#include <proa/buffer.h>

#include "engine/engine.h"

/* Directions, as the poller sees them, and the ways to watch that only some know; the others pass over them. */
enum {
    READY_IN = 1 << 0,
    READY_OUT = 1 << 1,
    READY_PRIORITY = 1 << 2,
    READY_HANGUP = 1 << 3,
    READY_ALL = READY_IN | READY_OUT | READY_PRIORITY | READY_HANGUP,
    READY_EDGE = 1 << 4,      /* reported once, as it comes; asked for where the poller says so in `edge` */
    READY_EXCLUSIVE = 1 << 5, /* of several processes that wait, one is told; with READY_IN alone */
    READY_ERROR = 1 << 6,     /* only reported: an error, or notices; any call will tell which */
};

struct ready_engine;
struct poller;

struct poller_table {
    int edge;                      /* it knows READY_EDGE, and connections are to be watched so */
    int edge_wake;                 /* the same for the engine's own eventfd: each write is told, so none is read */
    int files_look_ready;          /* it says of regular files and the like that they are ready, not EPERM */
    int number_limit;              /* it cannot watch numbers from here on; 0: no such limit */
    const char *number_limit_text; /* what sets it */

    int (*open)(struct sys *sys, struct poller **ret_poller);
    void (*close)(struct poller *poller);

    /* Watches `fd` for `to` instead of `from` (0: it is not watched). Returns 0 or a negative errno: EPERM where the
     * descriptor is of a kind that is always ready. */
    int (*watch)(struct poller *poller, int fd, unsigned from, unsigned to);

    /* Waits at most `timeout_ns` and calls ready_report() for each descriptor that is ready. */
    void (*wait)(struct poller *poller, struct ready_engine *engine, uint64_t timeout_ns);
};

int ready_open(struct engine_host *host, const struct poller_table *poller, struct engine **ret_engine);
void ready_report(struct ready_engine *engine, int fd, unsigned directions);

/* Counts descriptors that were looked at without a report. */
void ready_scanned(struct ready_engine *engine, uint64_t descriptors);

/* The functions of an engine table, but for `open`, and `close` where there is more to close. */
#define READY_FUNCTIONS                                                                                       \
    .start = ready_start, .cancel = ready_cancel, .wait = ready_wait, .reap = ready_reap, .wake = ready_wake, \
    .reset = ready_reset, .forget = ready_forget, .buffers_open = ready_buffers_open,                         \
    .buffers_close = ready_buffers_close, .buffer_return = ready_buffer_return

void ready_close(struct engine *engine);
void ready_start(struct engine *engine, proa_op *op);
void ready_cancel(struct engine *engine, proa_op *op);
void ready_wait(struct engine *engine, uint64_t now_ns, uint64_t until_ns);
size_t ready_reap(struct engine *engine, struct completion *completions, size_t max);
void ready_wake(struct engine *engine);
void ready_reset(struct engine *engine, int fd);
void ready_forget(struct engine *engine, int fd);
int ready_buffers_open(struct engine *engine, proa_buffer_pool *pool);
void ready_buffers_close(struct engine *engine, proa_buffer_pool *pool);
void ready_buffer_return(struct engine *engine, proa_buffer_pool *pool, uint32_t buffer);

#endif

/* Opening, turning and closing the loop.
 *
 * A turn: wait for the engine; take what other threads posted; find the timers and deadlines that are due; then deliver
 * results, settled ones and the engine's in alternation, until none is left or the turn has had its share. Callbacks run
 * only here. */
#include <errno.h>
#include <proa/time.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pool.h"
#include "loop/loop.h"

enum {
    BATCH = 64,
    DELIVERIES_PER_TURN = 4096, /* then timers and the engine's other descriptors have their turn */
    QUEUE_ENTRIES = 256,
    QUEUE_ENTRIES_MAX = 32768,
    POOL_THREADS = 4,
};

_Thread_local char thread_mark __attribute__((tls_model("initial-exec")));

void loop_refuse(const proa_loop *loop, const char *where)
{
    if (loop->process != *sys_process_mark)
        panic(where, "this loop belongs to the parent process; after fork the child opens its own");
    panic(where, "this loop belongs to another thread; only proa_post() and proa_loop_wake() may be called from here");
}

/* Taking what comes from elsewhere */

/* The stack has the latest first; delivery is in the order of posting. */
static void take_posted(proa_loop *loop)
{
    struct engine_host *host = host_of(loop);
    proa_op *op, *next, *in_order = NULL;

    if (!atomic_load_explicit(&host->posted, memory_order_relaxed))
        return;
    for (op = atomic_exchange(&host->posted, NULL); op; op = next) {
        next = op->next;
        op->next = in_order;
        in_order = op;
    }
    for (op = in_order; op; op = next) {
        next = op->next;
        host->meters.ops_started += op->kind == OP_POST;
        op->flags &= (uint16_t)~OP_POOLED;
        op->state = OP_DONE;
        list_append(&host->done, op);
    }
}

static void expire_timer(proa_loop *loop, proa_op *op)
{
    int timed_out = op->deadline_ns <= loop->now_ns && op->deadline_ns < op->moved;

    if (timed_out)
        op->flags |= OP_TIMED_OUT;
    /* A repeating timer keeps in `moved` when it was due, for the count of intervals. */
    op_done(host_of(loop), op, timed_out ? -ECANCELED : op->kind == OP_TIMER ? 0 : (int64_t)op->moved);
}

static void expire(proa_loop *loop)
{
    while (loop->timing.root && loop->timing.root->when_ns <= loop->now_ns) {
        proa_op *op = heap_op(loop->timing.root);

        heap_remove(&loop->timing, &op->timing);
        if (op->kind == OP_TIMER || op->kind == OP_TIMER_REPEAT) {
            expire_timer(loop, op);
        } else if (!(op->flags & OP_OVER)) {
            op->flags |= OP_TIMED_OUT;
            op_stop(loop, op);
        }
    }
}

/* Delivering */

/* What was settled before this call; what callbacks settle meanwhile has the next. */
static size_t deliver_done(proa_loop *loop)
{
    struct op_list done = loop->host.done;
    size_t count = 0;
    proa_op *op;

    loop->host.done.first = NULL;
    while ((op = list_take_first(&done))) {
        settle_done(loop, op);
        count++;
    }
    return count;
}

static void deliver(proa_loop *loop)
{
    struct engine_host *host = host_of(loop);
    struct completion completions[BATCH];
    size_t total = 0, count, done;

    do {
        done = host->done.first ? deliver_done(loop) : 0;
        count = host->table->reap(host->engine, completions, BATCH);
        settle(loop, completions, count);
        total += count + done;
    } while (count + done > 0 && total < DELIVERIES_PER_TURN);
}

/* Turning */

static uint64_t wait_until(const proa_loop *loop, int may_wait)
{
    const struct engine_host *host = &loop->host;

    if (!may_wait || loop->stopping || host->done.first || atomic_load_explicit(&host->posted, memory_order_relaxed))
        return 0;
    return loop->timing.root ? loop->timing.root->when_ns : PROA_NEVER;
}

static void turn(proa_loop *loop, int may_wait)
{
    struct engine_host *host = host_of(loop);

    uint64_t until_ns = wait_until(loop, may_wait);

    if (unlikely(host->starving > 0))
        buffers_feed_idle(loop);
    /* Callbacks may have taken long: the wait is counted from now, not from before them. */
    if (until_ns != PROA_NEVER && until_ns > loop->now_ns)
        loop->now_ns = sys_monotonic_ns();
    host->table->wait(host->engine, loop->now_ns, until_ns);
    host->meters.wake_ups++;
    loop->now_ns = sys_monotonic_ns();
    take_posted(loop);
    expire(loop);
    deliver(loop);
}

static int is_idle(const proa_loop *loop)
{
    return host_in_flight(&loop->host) == 0 && !atomic_load_explicit(&loop->host.posted, memory_order_relaxed);
}

static void enter_run(proa_loop *loop, const char *where)
{
    loop_check(loop, where);
    if (loop->running)
        panic(where, "called from a callback of the same loop");
    loop->running = 1;
}

size_t proa_loop_run(proa_loop *loop, enum proa_run_mode mode)
{
    enter_run(loop, __func__);
    loop->now_ns = sys_monotonic_ns();
    do
        turn(loop, mode != PROA_NO_WAIT && !(mode != PROA_UNTIL_STOPPED && is_idle(loop)));
    while (mode <= PROA_UNTIL_STOPPED && !loop->stopping && !(mode == PROA_UNTIL_IDLE && is_idle(loop)));
    loop->stopping = 0;
    loop->running = 0;
    return host_in_flight(&loop->host);
}

void proa_loop_stop(proa_loop *loop)
{
    loop_check(loop, __func__);
    loop->stopping = 1;
}

void proa_loop_wake(proa_loop *loop)
{
    if (unlikely(loop->process != *sys_process_mark))
        loop_refuse(loop, __func__);
    loop->host.table->wake(loop->host.engine);
}

/* Asking */

uint64_t proa_now(const proa_loop *loop)
{
    loop_check(loop, __func__);
    return loop->now_ns;
}

uint64_t proa_now_refresh(proa_loop *loop)
{
    loop_check(loop, __func__);
    loop->now_ns = sys_monotonic_ns();
    return loop->now_ns;
}

const char *proa_loop_engine(const proa_loop *loop)
{
    return loop->host.table->name;
}

const char *proa_loop_choice(const proa_loop *loop)
{
    return loop->choice;
}

proa_meters proa_loop_meters(const proa_loop *loop)
{
    proa_meters meters = loop->host.meters;

    loop_check(loop, __func__);
    meters.system_calls += loop->host.sys.calls;
    meters.bytes_copied += loop->host.sys.bytes_copied;
    pool_meter(loop->host.pool, &meters);
    return meters;
}

/* Opening */

static int map_descriptors(struct engine_host *host)
{
    host->descriptor_count = sys_descriptor_limit(&host->sys);
    host->descriptors = sys_map(&host->sys, host->descriptor_count * sizeof(struct descriptor));
    return host->descriptors ? 0 : -ENOMEM;
}

static void free_loop(proa_loop *loop)
{
    struct engine_host *host = host_of(loop);

    if (host->pool)
        pool_close(host->pool);
    while (loop->pools) {
        proa_buffer_pool *pool = loop->pools;

        loop->pools = pool->next;
        buffers_free(pool);
    }
    if (host->engine)
        host->table->close(host->engine);
    if (host->descriptors)
        sys_unmap(&host->sys, host->descriptors, host->descriptor_count * sizeof(struct descriptor));
    free(loop);
}

static int open_parts(proa_loop *loop, const proa_loop_options *options)
{
    struct engine_host *host = host_of(loop);
    uint32_t threads = options->pool_threads ? options->pool_threads : POOL_THREADS;
    int error = map_descriptors(host);

    host->queue_entries = options->queue_entries ? options->queue_entries : QUEUE_ENTRIES;
    if (!error)
        error = engine_open(host, options->engine, loop->choice);
    if (!error)
        error = pool_open(host, threads, &host->pool);
    return error;
}

static int is_power_of_two(uint32_t number)
{
    return number != 0 && (number & (number - 1)) == 0;
}

int proa_loop_open(proa_loop **ret_loop, const proa_loop_options *options)
{
    static const proa_loop_options defaults;
    proa_loop *loop;
    int error = sys_process_begin();

    *ret_loop = NULL;
    if (!options)
        options = &defaults;
    if (error < 0)
        return error;
    if (options->queue_entries &&
        (!is_power_of_two(options->queue_entries) || options->queue_entries > QUEUE_ENTRIES_MAX))
        return -EINVAL;
    loop = calloc(1, sizeof(*loop));
    if (!loop)
        return -ENOMEM;
    loop->owner = &thread_mark;
    loop->process = *sys_process_mark;
    loop->now_ns = sys_monotonic_ns();
    error = open_parts(loop, options);
    if (error < 0) {
        free_loop(loop);
        return error;
    }
    *ret_loop = loop;
    return 0;
}

/* Closing */

static void stop_timing(proa_loop *loop)
{
    while (loop->timing.root) {
        proa_op *op = heap_op(loop->timing.root);

        timing_clear(loop, op);
        if (!(op->flags & OP_INTERNAL) && (op->kind == OP_TIMER || op->kind == OP_TIMER_REPEAT))
            op_done(host_of(loop), op, -ECANCELED);
    }
}

void proa_loop_close(proa_loop *loop)
{
    struct engine_host *host = host_of(loop);

    enter_run(loop, __func__);
    loop->closing = 1;
    for (uint32_t fd = 0; fd < host->descriptor_high; fd++)
        if (host->descriptors[fd].pending > 0)
            descriptor_stop(loop, (int)fd);
    list_stop(&host->loose);
    pool_cancel_all(host->pool);
    stop_timing(loop);
    while (!is_idle(loop))
        turn(loop, 1);
    free_loop(loop);
}

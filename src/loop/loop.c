/* Opening, turning and closing the loop.
 *
 * A turn: wait for the engine; take what other threads posted; find the timers and deadlines that are due; then deliver
 * results, settled ones and the engine's in alternation, until none is left or the turn has had its share. Callbacks run
 * only here. */
#include <errno.h>
#include <proa/time.h>
#include <stdlib.h>
#include <string.h>

#include "engine/hot.h"
#include "engine/lane.h"
#include "engine/pool.h"
#include "engine/send_file.h"
#include "loop/loop.h"

enum {
    BATCH = 64,
    DELIVERIES_PER_TURN = 4096, /* then timers and the engine's other descriptors have their turn */
    QUEUE_ENTRIES = 256,
    QUEUE_ENTRIES_MAX = 32768,
    POOL_THREADS = 4,
    FILE_THREADS = 4,
    DIRECT_DESCRIPTORS = 4096,
    BUSY_POLL_US = 50,
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
        op->flags &= ~(unsigned)OP_POOLED;
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
        if ((op->kind == OP_TIMER || op->kind == OP_TIMER_REPEAT) && !(op->flags & OP_LINKED)) {
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
        host->sys.pipe_signal = PIPE_SIGNAL_STAYS;
        count = host->table->reap(host->engine, completions, BATCH);
        host->sys.pipe_signal = PIPE_SIGNAL_CHANGES;
        settle(loop, completions, count);
        if (unlikely(loop->linking))
            panic("proa_link_begin",
                  "a callback returned with its link still open; proa_link_end() belongs before that");
        total += count + done;
    } while (count + done > 0 && total < DELIVERIES_PER_TURN && !hot_is_enough(host));
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
    uint64_t until_ns;

    if (unlikely(host->fetches->waiting_first != NULL))
        fetches_feed(loop);
    until_ns = wait_until(loop, may_wait);
    if (unlikely(host->starving > 0))
        buffers_feed_idle(loop);
    /* Callbacks may have taken long: the wait is counted from now, not from before them. */
    if (until_ns != PROA_NEVER && until_ns > loop->now_ns)
        loop->now_ns = sys_now_ns(&loop->host.sys);
    host->hot_read = 0;
    host->fetches->turn++;
    host->table->wait(host->engine, loop->now_ns, until_ns);
    host->meters.wake_ups++;
    loop->now_ns = sys_now_ns(&loop->host.sys);
    take_posted(loop);
    expire(loop);
    deliver(loop);
}

static int is_idle(const proa_loop *loop)
{
    return host_in_flight(&loop->host) == 0 && loop->host.fetches->running == 0 &&
           !atomic_load_explicit(&loop->host.posted, memory_order_relaxed);
}

static void enter_run(proa_loop *loop, const char *where)
{
    loop_check(loop, where);
    if (loop->running)
        panic(where, "called from a callback of the same loop");
    if (loop->linking)
        panic(where, "a link is still open; proa_link_end() belongs before this");
    loop->running = 1;
}

size_t proa_loop_run(proa_loop *loop, enum proa_run_mode mode)
{
    enter_run(loop, __func__);
    loop->host.stalled = 0;
    loop->now_ns = sys_now_ns(&loop->host.sys);
    do
        turn(loop, mode != PROA_NO_WAIT && !(mode != PROA_UNTIL_STOPPED && is_idle(loop)));
    while (mode <= PROA_UNTIL_STOPPED && !loop->stopping && !loop->host.stalled &&
           !(mode == PROA_UNTIL_IDLE && is_idle(loop)));
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
    loop->now_ns = sys_now_ns(&loop->host.sys);
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

const char *proa_loop_file_lane(const proa_loop *loop)
{
    return loop->lane_choice;
}

uint32_t proa_loop_features(const proa_loop *loop)
{
    return loop->host.features;
}

const char *proa_loop_refusal(const proa_loop *loop)
{
    loop_check(loop, __func__);
    return loop->host.refusal;
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

/* What is never touched, as between the last number and the first direct descriptor, costs address space alone. */
static int map_descriptors(struct engine_host *host)
{
    if (host->direct_count > 0)
        host->descriptor_count = PROA_DIRECT_BASE + host->direct_count;
    host->descriptors = sys_map(&host->sys, host->descriptor_count * sizeof(struct descriptor));
    host->notices = sys_map(&host->sys, host->descriptor_count * sizeof(struct notices));
    return host->descriptors && host->notices ? 0 : -ENOMEM;
}

static void free_loop(proa_loop *loop)
{
    struct engine_host *host = host_of(loop);

    lane_close(host);
    if (host->pool)
        pool_close(host->pool);
    pipes_close(loop);
    relay_pools_free(loop);
    while (loop->pools) {
        proa_buffer_pool *pool = loop->pools;

        loop->pools = pool->next;
        buffers_free(pool);
    }
    fetches_close(loop);
    if (host->engine)
        host->table->close(host->engine);
    if (host->descriptors)
        sys_unmap(&host->sys, host->descriptors, host->descriptor_count * sizeof(struct descriptor));
    if (host->notices)
        sys_unmap(&host->sys, host->notices, host->descriptor_count * sizeof(struct notices));
    free(loop);
}

static void set_default(uint32_t *option, uint32_t value)
{
    if (*option == 0)
        *option = value;
}

/* The features named in the environment, separated by commas; what is no feature's name is passed over. */
static uint32_t features_of_environment(void)
{
    static const char *const names[] = {
#define FEATURE_NAME(name, word, meaning) [PROA_FEATURE_PLACE_##name] = word,
        PROA_FEATURES(FEATURE_NAME)
#undef FEATURE_NAME
    };
    const char *text = getenv("PROA_FEATURES");
    uint32_t features = 0;

    for (; text && *text; text += strcspn(text, ","), text += *text == ',')
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
            if (strlen(names[i]) == strcspn(text, ",") && strncmp(names[i], text, strlen(names[i])) == 0)
                features |= UINT32_C(1) << i;
    return features;
}

static int open_pool(struct engine_host *host, const proa_loop_options *options)
{
    uint32_t counts[CREW_COUNT] = {[CREW_WORK] = options->pool_threads, [CREW_FILES] = options->file_threads};

    if (host->table->simulated)
        memset(counts, 0, sizeof(counts));
    return pool_open(host, counts, &host->pool);
}

/* Returns 0 or -EINVAL. */
static int choose_mover(struct engine_host *host, const char *name)
{
    static const struct {
        const char *name;
        uint16_t choice;
    } movers[] = {{"auto", 0}, {"sendfile", 0}, {"splice", SEND_BY_SPLICE}, {"copy", SEND_BY_COPY}};

    if (!name)
        name = getenv("PROA_SEND_FILE_BY");
    for (size_t i = 0; i < ARRAY_SIZE(movers); i++)
        if (strcmp(name ? name : "auto", movers[i].name) == 0) {
            host->send_file_by = movers[i].choice;
            return 0;
        }
    return -EINVAL;
}

static int open_parts(proa_loop *loop, proa_loop_options options)
{
    struct engine_host *host = host_of(loop);
    int error;

    set_default(&options.queue_entries, QUEUE_ENTRIES);
    set_default(&options.pool_threads, POOL_THREADS);
    set_default(&options.file_threads, FILE_THREADS);
    set_default(&options.direct_descriptors, DIRECT_DESCRIPTORS);
    set_default(&options.busy_poll_us, BUSY_POLL_US);
    set_default(&options.op_threads_max, OP_THREADS_MAX);
    set_default(&options.features, features_of_environment());
    set_default(&options.families, UINT32_MAX);
    host->families = options.families;
    error = choose_mover(host, options.send_file_by);
    if (error)
        return error;
    host->options = &options;
    host->descriptor_count = sys_descriptor_limit(&host->sys);
    error = engine_open(host, options.engine, loop->choice);
    host->options = NULL;
    if (!error)
        error = map_descriptors(host);
    if (!error)
        error = open_pool(host, &options);
    if (!error)
        error = fetches_open(loop, options.file_threads);
    if (!error)
        error = lane_open(host, options.file_lane, loop->lane_choice);
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
    loop->host.sys.machine = machine_entered();
    error = open_parts(loop, *options);
    if (error < 0) {
        free_loop(loop);
        return error;
    }
    loop->now_ns = sys_now_ns(&loop->host.sys);
    *ret_loop = loop;
    return 0;
}

/* Closing */

static void stop_timing(proa_loop *loop)
{
    while (loop->timing.root) {
        proa_op *op = heap_op(loop->timing.root);

        timing_clear(loop, op);
        if (!(op->flags & (OP_INTERNAL | OP_LINKED)) && (op->kind == OP_TIMER || op->kind == OP_TIMER_REPEAT))
            op_done(host_of(loop), op, -ECANCELED);
    }
}

static void stop_descriptors(proa_loop *loop, uint32_t first, uint32_t high)
{
    for (uint32_t fd = first; fd < high; fd++)
        if (loop->host.descriptors[fd].pending > 0)
            descriptor_stop(loop, (int)fd);
}

void proa_loop_close(proa_loop *loop)
{
    struct engine_host *host = host_of(loop);

    enter_run(loop, __func__);
    loop->closing = 1;
    stop_descriptors(loop, 0, host->descriptor_high);
    stop_descriptors(loop, PROA_DIRECT_BASE, host->direct_high);
    list_stop(&host->loose);
    composed_stop(loop, -1);
    pool_cancel_all(host->pool);
    stop_timing(loop);
    loop->host.stalled = 0;
    while (!is_idle(loop)) {
        turn(loop, 1);
        composed_stop(loop, -1);
        if (loop->host.stalled)
            panic(__func__, "ops are left that nothing will ever complete");
    }
    free_loop(loop);
}

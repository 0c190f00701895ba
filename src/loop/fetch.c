/* Fetching: what a send of a file lacks is read by a thread of the pool, so that the loop never waits for the disk.
 *
 * There is a bounded number of fetches; a send that finds none free waits in turn. And fewer than there are threads run at
 * a time, so that whoever opens or asks about a file does not wait behind them for the disk. For the movers that copy nothing
 * a fetch is over once its job is: the pages are there. For copying it has a buffer, which stays with the send until that is
 * empty, unless somebody else has to wait for one: who sends to a slow reader reads again rather than keep it.
 *
 * While it waits the send is the first of its descriptor, which counts as sending, so that nothing behind it moves. A job
 * whose send has ended goes on until a thread is done with it; it holds the file open as any op does. */
#include <errno.h>
#include <stdlib.h>

#include "engine/pool.h"
#include "engine/send_file.h"
#include "loop/loop.h"

int fetches_open(proa_loop *loop, uint32_t thread_count)
{
    struct engine_host *host = host_of(loop);
    struct fetches *fetches = calloc(1, sizeof(*fetches));

    host->fetches = fetches;
    if (!fetches)
        return -ENOMEM;
    fetches->pooled_max = thread_count > 1 ? thread_count - 1 : 1;
    fetches->memory = sys_map(&host->sys, (size_t)FETCH_COUNT * FETCH_SIZE);
    if (!fetches->memory)
        return -ENOMEM;
    for (unsigned i = 0; i < FETCH_COUNT; i++)
        fetches->all[i].data = fetches->memory + (size_t)i * FETCH_SIZE;
    return 0;
}

void fetches_close(proa_loop *loop)
{
    struct engine_host *host = host_of(loop);
    struct fetches *fetches = host->fetches;

    if (fetches)
        send_file_close_pipe(host);
    if (fetches && fetches->memory)
        sys_unmap(&host->sys, fetches->memory, (size_t)FETCH_COUNT * FETCH_SIZE);
    free(fetches);
}

/* Sends that wait for one */

static void wait_in_turn(struct fetches *fetches, proa_op *op)
{
    op->link.previous = NULL;
    if (fetches->waiting_last)
        fetches->waiting_last->link.previous = op;
    else
        fetches->waiting_first = op;
    fetches->waiting_last = op;
}

static proa_op *next_waiting(struct fetches *fetches)
{
    proa_op *op = fetches->waiting_first;

    if (!op)
        return NULL;
    fetches->waiting_first = op->link.previous;
    if (!fetches->waiting_first)
        fetches->waiting_last = NULL;
    op->link.previous = NULL;
    return op;
}

/* All but that one wait on, in their order. */
static void stop_waiting(struct fetches *fetches, const proa_op *stopped)
{
    proa_op *last = fetches->waiting_last, *op = NULL;

    while (op != last) {
        op = next_waiting(fetches);
        if (op != stopped)
            wait_in_turn(fetches, op);
    }
}

/* Fetches and their jobs */

static void belong(struct engine_host *host, struct fetch *fetch, proa_op *op)
{
    fetch->op = op;
    op->choice = (uint16_t)((op->choice & 0xff) | (unsigned)(fetch - host->fetches->all + 1) << 8);
}

static void part(struct fetch *fetch)
{
    fetch->op->choice &= 0xff;
    fetch->op = NULL;
}

static int is_free(const struct fetch *fetch)
{
    return !fetch->op && fetch->job.state == OP_IDLE;
}

/* Its buffer is half sent, and its send waits for room. */
static int is_parked(const struct fetch *fetch)
{
    return fetch->op && fetch->tried && !(fetch->op->flags & OP_FETCHING) && !fetch->busy;
}

static struct fetch *find(struct fetches *fetches, int (*is_it)(const struct fetch *fetch))
{
    for (struct fetch *fetch = fetches->all; fetch < fetches->all + FETCH_COUNT; fetch++)
        if (is_it(fetch))
            return fetch;
    return NULL;
}

static struct fetch *take(struct fetches *fetches)
{
    struct fetch *fetch = find(fetches, is_free);

    if (fetch)
        return fetch;
    fetch = find(fetches, is_parked);
    if (fetch)
        part(fetch);
    return fetch;
}

static void begin(proa_loop *loop, struct fetch *fetch);

static void feed(proa_loop *loop, struct fetch *fetch)
{
    proa_op *op = next_waiting(loop->host.fetches);

    if (!op)
        return;
    belong(host_of(loop), fetch, op);
    begin(loop, fetch);
}

static void give_back(proa_loop *loop, struct fetch *fetch)
{
    part(fetch);
    feed(loop, fetch);
}

/* A read may be short in the middle of a file (an error on the way, a fault): that what was wanted lies beyond it does not
 * mean that there is none. */
static int fell_short(const struct fetch *fetch, int64_t value)
{
    const proa_op *op = fetch->op;
    uint64_t wanted = op->offset + op->moved;

    return (op->choice & (SEND_BY_COPY | SEND_UNCACHED)) == SEND_BY_COPY && value > 0 && fetch->from < wanted &&
           fetch->from + (uint64_t)value <= wanted;
}

static void start_job(proa_loop *loop, struct fetch *fetch, enum op_kind kind, uint64_t from, size_t size);

/* The send goes on, or ends. */
static void arrive(proa_loop *loop, struct fetch *fetch, int64_t value)
{
    struct engine_host *host = host_of(loop);
    proa_op *op = fetch->op;
    struct descriptor *descriptor = &host->descriptors[op->fd];

    if (fell_short(fetch, value)) {
        fetch->from = op->offset + op->moved;
        start_job(loop, fetch, OP_READ, fetch->from, FETCH_SIZE);
        return;
    }
    descriptor->flags &= (uint16_t)~FD_SENDING;
    op->flags &= ~(unsigned)OP_FETCHING;
    if (op->choice & SEND_BY_COPY) {
        fetch->size = value > 0 ? (size_t)value : 0;
        fetch->tried = 0;
        fetch->ended = fetch->from + fetch->size <= op->offset + op->moved;
    } else {
        op->choice |= SEND_WARMED;
        give_back(loop, fetch);
    }
    if (value < 0)
        op_done(host, op, value);
    settle_next_send(loop, descriptor);
}

static void pool_jobs(proa_loop *loop)
{
    struct fetches *fetches = loop->host.fetches;
    proa_op *job;

    while (fetches->pooled < fetches->pooled_max && (job = list_take_first(&fetches->jobs))) {
        proa_owner(job, struct fetch, job)->pooled = 1;
        fetches->pooled++;
        pool_start(loop->host.pool, job);
    }
}

/* One that is still to have its thread never will. */
static void stop_job(proa_loop *loop, struct fetch *fetch)
{
    struct engine_host *host = host_of(loop);

    if (fetch->pooled) {
        pool_cancel(host->pool, &fetch->job);
    } else if (fetch->job.state == OP_IN_FLIGHT) {
        list_remove(&host->fetches->jobs, &fetch->job);
        op_done(host, &fetch->job, -ECANCELED);
    }
}

static void on_job_done(proa_op *job, proa_result result)
{
    proa_loop *loop = job->loop;
    struct fetch *fetch = proa_owner(job, struct fetch, job);

    loop->host.fetches->running--;
    if (fetch->pooled) {
        fetch->pooled = 0;
        loop->host.fetches->pooled--;
        pool_jobs(loop);
    }
    if (fetch->op)
        arrive(loop, fetch, result.value);
    else
        feed(loop, fetch);
}

static void start_job(proa_loop *loop, struct fetch *fetch, enum op_kind kind, uint64_t from, size_t size)
{
    proa_op *job = &fetch->job;
    int error;

    *job = (proa_op){.loop = loop, .callback = on_job_done, .fd = fetch->op->other_fd, .kind = (uint8_t)kind};
    job->state = OP_IN_FLIGHT;
    job->flags = OP_INTERNAL;
    job->data = fetch->data;
    job->size = size;
    job->moved = from;
    loop->host.fetches->running++;
    error = op_attach(loop, job);
    if (error < 0) {
        op_done(host_of(loop), job, error);
        return;
    }
    list_append(&loop->host.fetches->jobs, job);
    pool_jobs(loop);
}

/* Files read past the page cache want places and sizes that are aligned: to a block of the disk, 4 KiB as a rule. */
static void begin_copy(proa_loop *loop, struct fetch *fetch)
{
    const uint64_t alignment = 4096;
    const proa_op *op = fetch->op;
    int64_t got = -EAGAIN;

    fetch->from = (op->offset + op->moved) & ~(alignment - 1);
    if (!(op->choice & SEND_UNCACHED))
        got = sys_read_now(&loop->host.sys, op->other_fd, fetch->data, FETCH_SIZE, fetch->from);
    if (got >= 0)
        arrive(loop, fetch, got);
    else
        start_job(loop, fetch, OP_READ, fetch->from, FETCH_SIZE);
}

static void begin(proa_loop *loop, struct fetch *fetch)
{
    const proa_op *op = fetch->op;

    if (op->choice & SEND_BY_COPY)
        begin_copy(loop, fetch);
    else
        start_job(loop, fetch, OP_WARM, op->offset + op->moved, send_file_step(host_of(loop), op));
}

void fetch_start(proa_loop *loop, proa_op *op)
{
    struct engine_host *host = host_of(loop);
    struct fetch *fetch = fetch_of(host, op);

    host->descriptors[op->fd].flags |= FD_SENDING;
    op->flags |= OP_FETCHING;
    if (!fetch)
        fetch = host->fetches->waiting_first ? NULL : take(host->fetches);
    if (!fetch) {
        wait_in_turn(host->fetches, op);
        return;
    }
    belong(host, fetch, op);
    begin(loop, fetch);
}

void fetch_stop(proa_loop *loop, proa_op *op)
{
    struct engine_host *host = host_of(loop);
    struct fetch *fetch = fetch_of(host, op);

    host->descriptors[op->fd].flags &= (uint16_t)~FD_SENDING;
    op->flags &= ~(unsigned)OP_FETCHING;
    if (fetch) {
        part(fetch);
        stop_job(loop, fetch);
    } else {
        stop_waiting(host->fetches, op);
    }
    op_done(host, op, -ECANCELED);
    settle_next_send(loop, &host->descriptors[op->fd]);
}

void fetch_release(proa_loop *loop, proa_op *op)
{
    struct fetch *fetch = fetch_of(host_of(loop), op);

    if (fetch)
        give_back(loop, fetch);
}

void fetches_feed(proa_loop *loop)
{
    struct fetches *fetches = loop->host.fetches;
    struct fetch *fetch;

    while (fetches->waiting_first && (fetch = take(fetches)))
        feed(loop, fetch);
}

void fetch_yield(proa_loop *loop, proa_op *op)
{
    if (loop->host.fetches->waiting_first)
        fetch_release(loop, op);
}

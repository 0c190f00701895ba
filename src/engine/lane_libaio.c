/* libaio, the kernel's asynchronous I/O before io_uring: asynchronous for files that bypass the page cache (O_DIRECT) and
 * for syncs. With any other file io_submit(2) makes the whole transfer before it returns, so those go to the pool.
 *
 * What is started goes in groups, the last of them when the engine is about to wait; completions ring the engine's bell.
 * The kernel copies what it is given, so nothing is kept of an op but the op itself. The ops that wait for their turn are
 * the last ones of `loose`, from `waiting` on: more than IN_FLIGHT_MAX are not with the kernel at a time. None can be taken
 * back from it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/direct.h"
#include "engine/groups.h"
#include "engine/lane.h"
#include "engine/pool.h"
#include "sys/aio.h"

/* IN_FLIGHT_MAX: those of all processes count against fs.aio-max-nr, 65536. */
enum { IN_FLIGHT_MAX = 256, BATCH_MAX = 64 };

struct lane {
    struct engine_host *host;
    io_context_t context;
    unsigned in_flight; /* with the kernel */
    proa_op *waiting;   /* the first that is not */
    struct groups groups;
};

static void libaio_close(struct lane *lane)
{
    if (lane->context)
        sys_io_destroy(&lane->host->sys, lane->context);
    free(lane);
}

static int open_context(struct lane *lane, char *ret_reason)
{
    struct sys *sys = &lane->host->sys;
    int error;

    if (sys->machine) {
        snprintf(ret_reason, PROA_REASON_MAX, "a simulated machine has none");
        return -ENOTSUP;
    }
    error = sys_io_setup(sys, IN_FLIGHT_MAX, &lane->context);
    if (error == 0)
        error = sys_io_submit(sys, lane->context, 0, NULL);
    if (error == -EAGAIN)
        snprintf(ret_reason, PROA_REASON_MAX,
                 "fs.aio-max-nr is used up; expected room for %u; now: raise it (sysctl(8))", IN_FLIGHT_MAX);
    else if (error < 0)
        snprintf(ret_reason, PROA_REASON_MAX, "the kernel refuses io_setup(2): %s", strerror(-error));
    return error;
}

static int libaio_open(struct engine_host *host, struct lane **ret_lane, char *ret_reason)
{
    struct lane *lane = calloc(1, sizeof(*lane));
    int error;

    if (!lane)
        return -ENOMEM;
    lane->host = host;
    groups_begin(&lane->groups);
    error = open_context(lane, ret_reason);
    if (error < 0) {
        libaio_close(lane);
        return error;
    }
    *ret_lane = lane;
    return 0;
}

static void take_from_waiting(struct lane *lane, proa_op *op)
{
    if (lane->waiting == op)
        lane->waiting = op->next;
}

static void prepare(const struct lane *lane, struct iocb *block, proa_op *op, size_t size)
{
    if (op->kind == OP_READ)
        io_prep_pread(block, op->fd, op->data, size, (long long)op->moved);
    else if (op->kind == OP_WRITE)
        io_prep_pwrite(block, op->fd, op->data, size, (long long)op->moved);
    else if (op->kind == OP_FSYNC)
        io_prep_fsync(block, op->fd);
    else
        io_prep_fdsync(block, op->fd);
    io_set_eventfd(block, lane->host->bell);
    block->data = op;
}

/* Returns how many stand in `blocks`; those that the fault plan struck are done. */
static unsigned prepare_batch(struct lane *lane, struct iocb *blocks, struct iocb **pointers)
{
    unsigned count = 0;
    proa_op *op, *next;

    for (op = lane->waiting; op && count < BATCH_MAX && lane->in_flight + count < IN_FLIGHT_MAX; op = next) {
        size_t size = op->size;
        int error = lane_fault(&lane->host->sys, op, &size);

        next = op->next;
        if (error < 0) {
            take_from_waiting(lane, op);
            op_done(lane->host, op, error);
            continue;
        }
        prepare(lane, &blocks[count], op, size);
        pointers[count] = &blocks[count];
        count++;
    }
    return count;
}

static void note_submitted(struct lane *lane, unsigned count)
{
    lane->in_flight += count;
    while (count-- > 0) {
        lane->waiting->flags |= OP_SUBMITTED;
        lane->waiting = lane->waiting->next;
    }
}

/* The first of those that wait was refused: what this lane cannot do now, the pool can. */
static void refused(struct lane *lane)
{
    proa_op *op = lane->waiting;

    lane->waiting = op->next;
    op_detach(lane->host, op);
    pool_start(lane->host->pool, op);
}

static void submit_waiting(struct lane *lane)
{
    struct iocb blocks[BATCH_MAX], *pointers[BATCH_MAX];
    unsigned count;

    while ((count = prepare_batch(lane, blocks, pointers)) > 0) {
        int taken = sys_io_submit(&lane->host->sys, lane->context, count, pointers);

        if (taken > 0)
            note_submitted(lane, (unsigned)taken);
        else
            refused(lane);
    }
}

static void libaio_submit(struct lane *lane)
{
    submit_waiting(lane);
    groups_begin(&lane->groups);
}

/* What the kernel takes without doing it at once. */
static int is_asynchronous(struct lane *lane, const proa_op *op)
{
    return lane_is_sync(op) || (lane_is_transfer(op) && direct_bypasses_cache(lane->host, op->fd));
}

static void libaio_start(struct lane *lane, proa_op *op)
{
    struct engine_host *host = lane->host;

    if (!is_asynchronous(lane, op)) {
        pool_start(host->pool, op);
    } else if (lane_is_transfer(op) && !direct_is_aligned(host, op)) {
        op_done(host, op, -EINVAL);
    } else {
        op_attach_loose(host, op);
        if (!lane->waiting)
            lane->waiting = op;
        if (groups_add(&lane->groups))
            submit_waiting(lane);
    }
}

static void libaio_cancel(struct lane *lane, proa_op *op)
{
    if (op->flags & OP_SUBMITTED)
        return;
    take_from_waiting(lane, op);
    op_done(lane->host, op, -ECANCELED);
}

static void libaio_reap(struct lane *lane)
{
    struct io_event events[BATCH_MAX];
    int count;

    do {
        count = sys_io_getevents(&lane->host->sys, lane->context, BATCH_MAX, events);
        for (int i = 0; i < count; i++)
            op_done(lane->host, events[i].data, (int64_t)events[i].res);
        lane->in_flight -= count > 0 ? (unsigned)count : 0;
    } while (count == BATCH_MAX);
}

const struct lane_table lane_libaio = {
    .name = "libaio",
    .summary = "the kernel's own before io_uring: O_DIRECT files and syncs alone, the pool has the rest",
    .open = libaio_open,
    .close = libaio_close,
    .start = libaio_start,
    .cancel = libaio_cancel,
    .submit = libaio_submit,
    .reap = libaio_reap,
};

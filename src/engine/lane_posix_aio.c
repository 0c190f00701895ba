/* POSIX AIO, aio(7): glibc makes the calls on threads of its own, those of one descriptor one after the other.
 *
 * glibc offers a thread per completion (SIGEV_THREAD: 23 us of CPU time each) or a signal to the whole process. Here a
 * thread of the lane, the collector, waits for whatever is in flight by aio_suspend(3) and rings the loop (2 to 9 us). What
 * is started while it sleeps is not among what it waits for: it is interrupted, and looks anew. An interrupt that came just
 * before it slept is lost, so it looks every ms, too, as long as something is in flight.
 *
 * What glibc has is not taken back: where aio_cancel(3) meets the first request of a descriptor before its thread does,
 * glibc (2.36) forgets those behind it. glibc allocates and starts threads as it sees fit: a loop with this lane keeps no
 * promise about allocations. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/lane.h"
#include "engine/pool.h"
#include "sys/aio.h"
#include "sys/thread.h"

/* glibc has 20 threads; more than some for each gain nothing, and the others can be cancelled. */
enum { SLOTS = 64 };

static const uint64_t LOOK_EVERY_NS = 1000000;

enum slot_state { SLOT_IDLE, SLOT_RUNNING, SLOT_OVER };

struct slot {
    struct aiocb block;
    proa_op *op;           /* the loop's alone; null: the slot is free */
    enum slot_state state; /* RUNNING becomes OVER on the collector, all else is the loop's doing */
};

struct lane {
    struct engine_host *host;
    proa_op *waiting; /* the first that has no slot; those behind it in `loose` have none either */
    unsigned used;    /* slots that are not free */
    pthread_t collector;
    int has_collector;
    struct sys collector_sys;
    pthread_mutex_t lock; /* for the states and the rest */
    pthread_cond_t changed;
    unsigned running;
    int asleep, closing;
    struct slot slots[SLOTS];
};

/* On the collector */

static unsigned list_running(struct lane *lane, struct slot **ret_slots, const struct aiocb **ret_blocks)
{
    unsigned count = 0;

    for (struct slot *slot = lane->slots; slot < lane->slots + SLOTS; slot++) {
        if (slot->state != SLOT_RUNNING)
            continue;
        ret_slots[count] = slot;
        ret_blocks[count++] = &slot->block;
    }
    return count;
}

static unsigned note_over(struct lane *lane, struct slot **slots, unsigned count)
{
    unsigned over = 0;

    for (unsigned i = 0; i < count; i++) {
        if (aio_error(&slots[i]->block) == EINPROGRESS)
            continue;
        slots[i]->state = SLOT_OVER;
        over++;
    }
    lane->running -= over;
    return over;
}

/* Called and returns with the lock held. */
static void collect(struct lane *lane)
{
    struct slot *slots[SLOTS];
    const struct aiocb *blocks[SLOTS];
    unsigned count = list_running(lane, slots, blocks);

    lane->asleep = 1;
    pthread_mutex_unlock(&lane->lock);
    sys_aio_suspend(&lane->collector_sys, blocks, count, LOOK_EVERY_NS);
    pthread_mutex_lock(&lane->lock);
    lane->asleep = 0;
    if (note_over(lane, slots, count) > 0)
        lane->host->table->wake(lane->host->engine);
}

static void *run_collector(void *argument)
{
    struct lane *lane = argument;

    pthread_mutex_lock(&lane->lock);
    while (!lane->closing) {
        if (lane->running == 0)
            pthread_cond_wait(&lane->changed, &lane->lock);
        else
            collect(lane);
    }
    pthread_mutex_unlock(&lane->lock);
    return NULL;
}

/* On the loop's thread */

static void posix_aio_close(struct lane *lane)
{
    if (lane->has_collector) {
        pthread_mutex_lock(&lane->lock);
        lane->closing = 1;
        pthread_cond_signal(&lane->changed);
        pthread_mutex_unlock(&lane->lock);
        sys_thread_join(&lane->host->sys, lane->collector);
    }
    pthread_cond_destroy(&lane->changed);
    pthread_mutex_destroy(&lane->lock);
    free(lane);
}

static int start_collector(struct lane *lane, char *ret_reason)
{
    struct sys *sys = &lane->host->sys;
    int error;

    if (sys->machine) {
        snprintf(ret_reason, PROA_REASON_MAX, "a simulated machine has none");
        return -ENOTSUP;
    }
    error = sys_interrupt_begin();
    if (error == 0)
        error = sys_thread_start(sys, &lane->collector, run_collector, lane);
    lane->has_collector = error == 0;
    if (error < 0)
        snprintf(ret_reason, PROA_REASON_MAX, "no thread, or no signal that is free: %s", strerror(-error));
    return error;
}

static int posix_aio_open(struct engine_host *host, struct lane **ret_lane, char *ret_reason)
{
    struct lane *lane = calloc(1, sizeof(*lane));
    int error;

    if (!lane)
        return -ENOMEM;
    lane->host = host;
    pthread_mutex_init(&lane->lock, NULL);
    pthread_cond_init(&lane->changed, NULL);
    error = start_collector(lane, ret_reason);
    if (error < 0) {
        posix_aio_close(lane);
        return error;
    }
    *ret_lane = lane;
    return 0;
}

static struct slot *free_slot(struct lane *lane)
{
    struct slot *slot = lane->slots;

    while (slot->op)
        slot++;
    return slot;
}

static int begin(struct lane *lane, struct aiocb *block, const proa_op *op)
{
    struct sys *sys = &lane->host->sys;
    size_t size = op->size;
    int error = lane_fault(sys, op, &size);

    if (error < 0)
        return error;
    *block = (struct aiocb){
        .aio_fildes = op->fd,
        .aio_buf = op->data,
        .aio_nbytes = size,
        .aio_offset = (off_t)op->moved,
        .aio_sigevent.sigev_notify = SIGEV_NONE,
    };
    if (lane_is_sync(op))
        return sys_aio_fsync(sys, op->kind == OP_FDATASYNC, block);
    return op->kind == OP_READ ? sys_aio_read(sys, block) : sys_aio_write(sys, block);
}

/* The collector hears of the slot, at once if it sleeps. */
static void note_running(struct lane *lane, struct slot *slot)
{
    int must_interrupt;

    pthread_mutex_lock(&lane->lock);
    slot->state = SLOT_RUNNING;
    must_interrupt = lane->asleep;
    lane->asleep = 0;
    if (lane->running++ == 0)
        pthread_cond_signal(&lane->changed);
    pthread_mutex_unlock(&lane->lock);
    if (must_interrupt)
        sys_thread_interrupt(&lane->host->sys, lane->collector);
}

/* What glibc has no room for now (EAGAIN) goes to the pool. */
static void start_in_slot(struct lane *lane, proa_op *op)
{
    struct slot *slot = free_slot(lane);
    int error = begin(lane, &slot->block, op);

    if (error == -EAGAIN) {
        op_detach(lane->host, op);
        pool_start(lane->host->pool, op);
    } else if (error < 0) {
        op_done(lane->host, op, error);
    } else {
        slot->op = op;
        op->flags |= OP_SUBMITTED;
        lane->used++;
        note_running(lane, slot);
    }
}

static void start_waiting(struct lane *lane)
{
    while (lane->waiting && lane->used < SLOTS) {
        proa_op *op = lane->waiting;

        lane->waiting = op->next;
        start_in_slot(lane, op);
    }
}

static void posix_aio_start(struct lane *lane, proa_op *op)
{
    if (!lane_is_transfer(op) && !lane_is_sync(op)) {
        pool_start(lane->host->pool, op);
        return;
    }
    op_attach_loose(lane->host, op);
    if (!lane->waiting)
        lane->waiting = op;
    start_waiting(lane);
}

static void posix_aio_cancel(struct lane *lane, proa_op *op)
{
    if (op->flags & OP_SUBMITTED)
        return;
    if (lane->waiting == op)
        lane->waiting = op->next;
    op_done(lane->host, op, -ECANCELED);
}

static void settle(struct lane *lane, struct slot *slot)
{
    proa_op *op = slot->op;
    int64_t value = sys_aio_result(&slot->block);

    if (value > 0)
        lane->host->sys.bytes_copied += (uint64_t)value;
    slot->op = NULL;
    lane->used--;
    op_done(lane->host, op, value);
}

static void posix_aio_reap(struct lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    for (struct slot *slot = lane->slots; slot < lane->slots + SLOTS; slot++) {
        if (slot->state == SLOT_OVER) {
            slot->state = SLOT_IDLE;
            settle(lane, slot);
        }
    }
    pthread_mutex_unlock(&lane->lock);
    start_waiting(lane);
}

const struct lane_table lane_posix_aio = {
    .name = "posix_aio",
    .summary = "glibc's threads make the calls, those of one file one after the other",
    .open = posix_aio_open,
    .close = posix_aio_close,
    .start = posix_aio_start,
    .cancel = posix_aio_cancel,
    .reap = posix_aio_reap,
};

/* The second half of an op's life: what the results mean, by kind of op, and their delivery.
 *
 * An engine's result is final unless it says MORE. Three cases lie between: a repeating op that the kernel ended although
 * it is still wanted goes on after its result was delivered; one that lacks a buffer or descriptor waits for it; a send is
 * over only when all its bytes are taken. */
#include <errno.h>
#include <proa/directory.h>
#include <proa/process.h>
#include <proa/time.h>

#include "engine/file_op.h"
#include "engine/gather.h"
#include "engine/pool.h"
#include "engine/send_file.h"
#include "engine/zero_copy.h"
#include "loop/loop.h"

/* How long paused accepts wait where nothing tells that a descriptor is free: it may have been closed elsewhere. */
static const uint64_t RETRY_NS = 20 * PROA_MILLISECOND_NS;

/* Final completions */

static void unblock_signal(proa_loop *loop, int signal_number)
{
    if (--loop->signal_users[signal_number] == 0 && !loop->signal_was_blocked[signal_number])
        sys_block_signal(&loop->host.sys, signal_number, 0);
}

/* The next receive of the descriptor that was held behind this one has its turn. */
static inline void receive_next(struct engine_host *host, int fd)
{
    struct descriptor *descriptor = host_descriptor(host, fd);
    proa_op *op;

    for (op = descriptor ? descriptor->in.first : NULL; op; op = op->next) {
        if (op->flags & OP_HELD) {
            host->table->start(host->engine, op);
            return;
        }
    }
}

/* A descriptor that belongs to an op alone. A process that was forked meanwhile may keep the file open: so the engine is
 * told, for the kernel will not. */
static void close_owned(struct engine_host *host, int fd)
{
    if (host->table->forget)
        host->table->forget(host->engine, fd);
    sys_close(&host->sys, fd);
}

static void welcome_child(struct engine_host *host, const proa_process *process)
{
    descriptor_welcome(host, process->fd.handle, 0);
    for (size_t i = 0; i < ARRAY_SIZE(process->pipes); i++)
        if (process->pipes[i].handle >= 0)
            descriptor_welcome(host, process->pipes[i].handle, 0);
}

/* Where the kernel copied after all, it did so unseen by the shims. */
static void meter_zero_copy(struct engine_host *host, const proa_op *op, int64_t value)
{
    host->meters.zero_copy_sends += value >= 0;
    host->meters.zero_copy_copied += value >= 0 && op->flags & (OP_BY_VALUE | OP_COPIED);
    if ((op->flags & (OP_BY_VALUE | OP_COPIED)) == OP_COPIED)
        host->sys.bytes_copied += op->moved;
}

/* What some kinds of op leave behind when they end. */
static void clean_up(proa_loop *loop, proa_op *op, int64_t value)
{
    struct engine_host *host = host_of(loop);
    proa_buffer_pool *pool;

    switch (op->kind) {
    case OP_LISTEN:
    case OP_DATAGRAM_OPEN:
        if (value >= 0)
            descriptor_welcome(host, value, (unsigned)op->size);
        break;
    case OP_OPEN:
        if (value >= 0)
            descriptor_welcome(host, value, 0);
        break;
    case OP_RECV_FROM:
        receive_next(host, op->fd);
        break;
    case OP_SEND_TO:
        op->moved = value > 0 ? (uint64_t)value : 0;
        break;
    case OP_SEND_FILE:
        fetch_release(loop, op);
        /* More had been promised. */
        if ((uint64_t)value != op->size && op->flags & OP_ATTACHED && op->fd < PROA_DIRECT_BASE)
            send_file_uncork(&host->sys, op->fd);
        break;
    case OP_SEND_ZERO_COPY:
        meter_zero_copy(host, op, value);
        break;
    case OP_RECV_MANY:
    case OP_RECV_FROM_MANY:
        pool = op->data;
        pool->users--;
        receive_next(host, op->fd);
        /* It may have been the one that was to take the buffer which is free. */
        if (unlikely(pool->starved.first) && pool->available > 0)
            buffers_feed(pool);
        break;
    case OP_CONNECT:
        if (value < 0 && op->fd >= 0)
            close_owned(host, op->fd);
        break;
    case OP_SIGNAL:
        if (op->fd < 0)
            break;
        close_owned(host, op->fd);
        unblock_signal(loop, (int)op->size);
        break;
    case OP_SPAWN:
        if (value >= 0)
            welcome_child(host, (const proa_process *)(uintptr_t)op->size);
        break;
    case OP_WATCH:
        if (op->fd >= 0)
            close_owned(host, op->fd);
        break;
    case OP_CLOSE:
        if (value == 0)
            resume_paused(loop);
        break;
    }
}

static RARE void start_close(struct engine_host *host, struct descriptor *descriptor)
{
    proa_op *op = descriptor->out.first;

    op_detach(host, op);
    host->table->start(host->engine, op);
}

/* Returns whether a close waits for this op as the last. */
static inline int release_descriptor(struct descriptor *descriptor)
{
    descriptor->pending--;
    return unlikely(descriptor->flags & FD_CLOSING) && descriptor->pending == 0;
}

/* Descriptors that belong to the op alone end with it. */
static int owns_descriptor(const proa_op *op, int64_t value)
{
    return op->kind == OP_SIGNAL || op->kind == OP_WATCH || (op->kind == OP_CONNECT && value < 0);
}

/* Whether those that are linked behind the op are not to run. */
static int has_failed(const proa_op *op, int64_t value)
{
    return value < 0 || (op->kind == OP_SEND_FILE && (uint64_t)value < op->size) ||
           (file_op_transfers(op) && (uint64_t)value < file_op_bytes(op));
}

/* The descriptor that an op leaves to those linked behind it; a close leaves none. */
static int descriptor_left(const proa_op *op, int64_t value)
{
    if (op->kind == OP_CLOSE)
        return -1;
    return op->kind == OP_LISTEN || op->kind == OP_ACCEPT || op->kind == OP_OPEN || op->kind == OP_DATAGRAM_OPEN ||
                   op->kind == OP_SPAWN
               ? (int)value
               : op->fd;
}

/* The same with an op linked behind it, whose turn comes after the callback. */
static RARE void complete_linked(proa_loop *loop, proa_op *op, proa_result result)
{
    proa_op *next = op->link.next;
    int failed = has_failed(op, result.value), fd = descriptor_left(op, result.value);

    next->link.previous = NULL;
    if (!failed)
        link_pass_on(loop, next, fd);
    op->callback(op, result);
    link_go_on(loop, next, failed);
}

/* The end of every op: it is the caller's again, and may be gone after its callback, in which the number of its descriptor
 * may already change hands. The close that waits for it comes behind that. */
static inline void complete(proa_loop *loop, proa_op *op, proa_result result, unsigned flags)
{
    struct engine_host *host = host_of(loop);
    int fd = op->fd;
    int close_waits = flags & OP_ATTACHED ? release_descriptor(&host->descriptors[fd]) : 0;

    op->state = OP_IDLE;
    if (likely(!(flags & OP_INTERNAL)))
        host->meters.ops_completed++;
    if (likely(!op->link.next))
        op->callback(op, result);
    else
        complete_linked(loop, op, result);
    if (unlikely(close_waits))
        start_close(host, &host->descriptors[fd]);
}

/* A function that ran has its own value, whatever it looks like. */
static int ran(const proa_op *op)
{
    return op->kind == OP_WORK && op->error == 0;
}

static uint32_t final_flags(const proa_op *op)
{
    return op->error == 0 && op->flags & (OP_BY_VALUE | OP_COPIED) ? PROA_COPIED : 0;
}

/* Lets go of the second descriptor, too: the close that waits for it comes behind the callback. */
static RARE void complete_paired(proa_loop *loop, proa_op *op, proa_result result, unsigned flags)
{
    struct descriptor *other = &loop->host.descriptors[op->other_fd];
    int close_waits = release_descriptor(other);

    complete(loop, op, result, flags);
    if (close_waits)
        start_close(host_of(loop), other);
}

static void finish(proa_loop *loop, proa_op *op, proa_result result)
{
    unsigned flags = op->flags;
    int fd = op->fd;

    op_detach(host_of(loop), op);
    timing_clear(loop, op);
    if (unlikely(result.value == -ECANCELED && flags & OP_TIMED_OUT && !ran(op)))
        result.value = -ETIMEDOUT;
    if (op->kind == OP_RECV)
        receive_next(host_of(loop), op->fd);
    else
        clean_up(loop, op, result.value);
    if (flags & OP_ATTACHED && owns_descriptor(op, result.value)) {
        descriptor_reset(&loop->host.descriptors[fd]);
        loop->host.descriptors[fd].pending--;
        flags &= ~(unsigned)OP_ATTACHED;
    }
    if (unlikely(flags & OP_ATTACHED_OTHER))
        complete_paired(loop, op, result, flags);
    else
        complete(loop, op, result, flags);
}

/* Repeating ops, and those that wait */

static int is_wanted(proa_loop *loop, const proa_op *op)
{
    const struct descriptor *descriptor = host_descriptor(host_of(loop), op->fd);

    return !(op->flags & OP_OVER) && !loop->closing && !(descriptor && descriptor->flags & FD_CLOSING);
}

static void go_on(proa_loop *loop, proa_op *op)
{
    if (is_wanted(loop, op))
        op_engage(loop, op);
    else
        op_done(host_of(loop), op, -ECANCELED);
}

/* Whether the engine lets it bring one result at a time by its own choice. */
static int ends_each_time(const proa_loop *loop, const proa_op *op)
{
    return op->kind == OP_SIGNAL || op->kind == OP_WATCH || loop->host.descriptors[op->fd].flags & FD_LOCAL ||
           (op->kind == OP_ACCEPT_MANY && loop->host.features & PROA_FEATURE_DIRECT);
}

static void deliver_more(proa_loop *loop, proa_op *op, proa_result result)
{
    result.flags |= PROA_MORE;
    op_detach(host_of(loop), op);
    op->flags |= OP_RESTING;
    op->callback(op, result);
    op->flags &= ~(unsigned)OP_RESTING;
}

/* Delivers what a repeating op brought, the last of all; its end comes behind that. */
static void deliver_last(proa_loop *loop, proa_op *op, proa_result result)
{
    deliver_more(loop, op, result);
    op_done(host_of(loop), op, is_wanted(loop, op) ? 0 : -ECANCELED);
}

/* Delivers what a repeating op brought although it ended, and has it go on. */
static void deliver_and_go_on(proa_loop *loop, proa_op *op, proa_result result)
{
    deliver_more(loop, op, result);
    loop->host.meters.multishots_rearmed += !ends_each_time(loop, op);
    go_on(loop, op);
}

static void wait_in(proa_loop *loop, struct op_list *list, proa_op *op)
{
    op_detach(host_of(loop), op);
    op->state = OP_IN_FLIGHT;
    op->flags |= OP_WAITING;
    loop->host.descriptors[op->fd].flags |= FD_WAITING;
    list_append(list, op);
}

static void starve(proa_loop *loop, proa_op *op)
{
    proa_buffer_pool *pool = op->data;

    loop->host.meters.receives_starved++;
    if (pool->available > 0 || !is_wanted(loop, op)) {
        op_detach(host_of(loop), op);
        go_on(loop, op);
        return;
    }
    wait_in(loop, &pool->starved, op);
    loop->host.starving++;
}

static void on_retry(proa_op *op, proa_result result)
{
    (void)result;
    resume_paused(op->loop);
}

static void pause_op(proa_loop *loop, proa_op *op)
{
    proa_op *retry = &loop->retry;

    loop->host.meters.accepts_paused += op->kind != OP_CONNECT;
    wait_in(loop, &loop->host.paused, op);
    if (retry->state != OP_IDLE)
        return;
    *retry = (proa_op){.loop = loop, .callback = on_retry, .fd = -1, .kind = OP_TIMER, .state = OP_IN_FLIGHT};
    retry->flags = OP_INTERNAL;
    retry->moved = loop->now_ns + RETRY_NS;
    retry->deadline_ns = PROA_NEVER;
    timing_set(loop, retry, retry->moved);
}

void resume_paused(proa_loop *loop)
{
    struct engine_host *host = host_of(loop);
    struct op_list again = host->paused;
    proa_op *op;

    host->paused.first = NULL;
    while ((op = list_take_first(&again))) {
        op->flags &= ~(unsigned)OP_WAITING;
        go_on(loop, op);
    }
}

/* Linux reports a lack of descriptors, and a Unix listener's full backlog (EBUSY, from the readiness engines). */
static int lacks_descriptor(const proa_op *op, int64_t value)
{
    return value == -EMFILE || value == -ENFILE || (op->kind == OP_CONNECT && value == -EBUSY);
}

/* An accepted socket is of its listener's family. */
static void welcome_accepted(proa_loop *loop, const proa_op *op, int64_t fd)
{
    descriptor_welcome(host_of(loop), fd, loop->host.descriptors[op->fd].flags & (FD_LOCAL | FD_TCP));
}

static void settle_accept(proa_loop *loop, proa_op *op, proa_result result)
{
    if (lacks_descriptor(op, result.value) && is_wanted(loop, op)) {
        pause_op(loop, op);
    } else if (lacks_descriptor(op, result.value) || (result.value == -ECONNABORTED && op->kind != OP_CONNECT)) {
        op_detach(host_of(loop), op);
        go_on(loop, op);
    } else if (result.value >= 0 && op->kind == OP_ACCEPT_MANY) {
        welcome_accepted(loop, op, result.value);
        deliver_and_go_on(loop, op, result);
    } else {
        if (result.value >= 0 && op->kind == OP_ACCEPT)
            welcome_accepted(loop, op, result.value);
        finish(loop, op, result);
    }
}

static void settle_recv_many(proa_loop *loop, proa_op *op, proa_result result)
{
    if (result.value == -ENOBUFS)
        starve(loop, op);
    else if (result.flags & PROA_LENT)
        deliver_and_go_on(loop, op, result);
    else
        finish(loop, op, result);
}

/* Sends. A result of the first send on a descriptor counts for all that went with it. */

static void end_those_over(struct engine_host *host, struct op_list *list)
{
    proa_op *next;

    for (proa_op *op = list->first; op; op = next) {
        next = op->next;
        if (is_stream_send(op) && op->flags & OP_OVER)
            send_cancelled(host, op);
    }
}

static void take_back(struct descriptor *descriptor)
{
    for (proa_op *op = descriptor->out.first; op && goes_with_others(op); op = op->next)
        op->flags &= ~(unsigned)OP_SUBMITTED;
}

static void share_out(proa_loop *loop, struct descriptor *descriptor, uint64_t bytes)
{
    struct engine_host *host = host_of(loop);
    proa_op *op, *first = descriptor->out.first;

    while ((op = descriptor->out.first) && goes_with_others(op)) {
        uint64_t share = op->size - op->moved < bytes ? op->size - op->moved : bytes;

        if (share == 0 && op->size > 0)
            break;
        op->moved += share;
        bytes -= share;
        host->meters.sends_gathered += op != first;
        if (op->moved < op->size)
            break;
        op_done(host, op, (int64_t)op->size);
    }
}

void settle_next_send(proa_loop *loop, struct descriptor *descriptor)
{
    struct engine_host *host = host_of(loop);

    if (descriptor->out.first && !(descriptor->flags & (FD_SENDING | FD_CLOSING)))
        host->table->start(host->engine, descriptor->out.first);
}

static RARE void settle_partial_send(proa_loop *loop, struct descriptor *descriptor, proa_op *op, int64_t value)
{
    struct engine_host *host = host_of(loop);

    take_back(descriptor);
    if (value >= 0)
        share_out(loop, descriptor, (uint64_t)value);
    else if (value != -EINTR && value != -ECANCELED)
        op_done(host, op, value);
    end_those_over(host, &descriptor->out);
    settle_next_send(loop, descriptor);
}

/* One step of a file's send; at the file's end there is nothing more to send. */
static void settle_send_file(proa_loop *loop, proa_op *op, int64_t value)
{
    struct engine_host *host = host_of(loop);
    struct descriptor *descriptor = &host->descriptors[op->fd];
    struct fetch *fetch = fetch_of(host, op);

    descriptor->flags &= (uint16_t)~FD_SENDING;
    op->flags &= ~(unsigned)OP_SUBMITTED;
    if (fetch)
        fetch->busy = 0;
    if (value == FETCH_NEEDED && !(op->flags & OP_OVER)) {
        fetch_start(loop, op);
        return;
    }
    if (value > 0)
        op->moved += (uint64_t)value;
    if (value == 0 || op->moved == op->size)
        op_done(host, op, (int64_t)op->moved);
    else if (value < 0 && value != -EINTR && value != -ECANCELED && value != FETCH_NEEDED)
        op_done(host, op, value);
    fetch_yield(loop, op);
    end_those_over(host, &descriptor->out);
    settle_next_send(loop, descriptor);
}

static int is_closing(const proa_loop *loop, const struct descriptor *descriptor)
{
    return loop->closing || descriptor->flags & FD_CLOSING;
}

static void tell(proa_op *op)
{
    op->flags |= OP_TOLD;
    op->callback(op, (proa_result){(int64_t)op->size, PROA_MORE, 0});
}

/* A send without copy: a result of the engine, or its last notice. One that nothing is awaited of is told when it is
 * delivered; one that does is told now. */
static void settle_zero_copy(proa_loop *loop, proa_op *op, int64_t value)
{
    struct engine_host *host = host_of(loop);
    struct descriptor *descriptor = &host->descriptors[op->fd];

    if (op->flags & OP_AWAITING) {
        finish(loop, op, (proa_result){zero_copy_value(op), final_flags(op), 0});
        return;
    }
    descriptor->flags &= (uint16_t)~FD_SENDING;
    if (goes_with_others(op)) {
        settle_partial_send(loop, descriptor, op, value);
        return;
    }
    op->flags &= ~(unsigned)OP_SUBMITTED;
    op->moved += value > 0 ? (uint64_t)value : 0;
    if (value >= 0 && op->moved == op->size)
        zero_copy_over(host, op, 0);
    else if (op->flags & OP_OVER)
        zero_copy_over(host, op, -ECANCELED);
    else if (value < 0 && value != -EINTR && value != -ECANCELED)
        zero_copy_over(host, op, value);
    if (op->flags & OP_AWAITING && is_closing(loop, descriptor))
        host->table->reset(host->engine, op->fd);
    end_those_over(host, &descriptor->out);
    settle_next_send(loop, descriptor);
    if (op->flags & OP_AWAITING && op->error == 0)
        tell(op);
}

/* What is watched is gone: no more events will come. */
static int says_gone(const proa_op *op, int64_t bytes)
{
    proa_watch_event event;
    size_t position = 0;

    while (proa_watch_next(op->data, bytes, &position, &event))
        if (event.events & IN_IGNORED)
            return 1;
    return 0;
}

/* The memory is the callback's before the next events come into it. */
static void settle_watch(proa_loop *loop, proa_op *op, proa_result result)
{
    if (result.value <= 0)
        finish(loop, op, result);
    else if (!says_gone(op, result.value))
        deliver_and_go_on(loop, op, result);
    else
        deliver_last(loop, op, result);
}

static RARE void settle_one(proa_loop *loop, proa_op *op, proa_result result)
{
    if (result.flags & PROA_MORE) {
        if (op->kind == OP_ACCEPT_MANY)
            welcome_accepted(loop, op, result.value);
        op->callback(op, result);
        return;
    }
    if (op->kind == OP_SEND_FILE) {
        settle_send_file(loop, op, result.value);
        return;
    }
    if (op->kind == OP_SEND_ZERO_COPY) {
        settle_zero_copy(loop, op, result.value);
        return;
    }
    if (unlikely(result.value == -EINTR)) {
        op_detach(host_of(loop), op);
        go_on(loop, op);
        return;
    }
    switch (op->kind) {
    case OP_RECV_MANY:
    case OP_RECV_FROM_MANY:
        settle_recv_many(loop, op, result);
        break;
    case OP_ACCEPT:
    case OP_ACCEPT_MANY:
    case OP_CONNECT:
        settle_accept(loop, op, result);
        break;
    case OP_SIGNAL:
        if (result.value > 0)
            deliver_and_go_on(loop, op, result);
        else
            finish(loop, op, result);
        break;
    case OP_WATCH:
        settle_watch(loop, op, result);
        break;
    default:
        finish(loop, op, result);
    }
}

/* Most sends are alone on their descriptor and taken whole. */
static inline void settle_send(proa_loop *loop, proa_op *op, int64_t value)
{
    struct descriptor *descriptor = &loop->host.descriptors[op->fd];

    descriptor->flags &= (uint16_t)~FD_SENDING;
    if (unlikely(op->next || op->moved + (uint64_t)value != op->size || heap_holds(&op->timing))) {
        settle_partial_send(loop, descriptor, op, value);
        return;
    }
    op->moved = op->size;
    descriptor->out.first = NULL;
    complete(loop, op, (proa_result){(int64_t)op->size, 0, 0}, OP_ATTACHED);
}

/* Everything an engine reports comes through here. What is there for every message comes first: received data, and sends
 * that were taken whole. */
void settle(proa_loop *loop, const struct completion *completions, size_t count)
{
    for (const struct completion *next = completions; next < completions + count; next++) {
        proa_op *op = next->op;

        if (likely(next->result.flags == (PROA_MORE | PROA_LENT)))
            op->callback(op, next->result);
        else if (likely(op->kind == OP_SEND))
            settle_send(loop, op, next->result.value);
        else
            settle_one(loop, op, next->result);
    }
}

static void deliver_repeat(proa_loop *loop, proa_op *op)
{
    uint64_t late_ns = loop->now_ns > op->moved ? loop->now_ns - op->moved : 0;
    uint64_t intervals = 1 + late_ns / op->size;

    op->moved = op->size > (PROA_NEVER - op->moved) / intervals ? PROA_NEVER : op->moved + intervals * op->size;
    op->callback(op, (proa_result){(int64_t)intervals, PROA_MORE, 0});
    if (op->flags & OP_OVER || loop->closing) {
        op_done(host_of(loop), op, -ECANCELED);
    } else {
        op->state = OP_IN_FLIGHT;
        timing_set(loop, op, op->moved < op->deadline_ns ? op->moved : op->deadline_ns);
    }
}

static void deliver_zero_copy(proa_loop *loop, proa_op *op)
{
    if (op->error == 0 && !(op->flags & OP_TOLD))
        tell(op);
    finish(loop, op, (proa_result){op->error ? op->error : (int64_t)op->moved, final_flags(op), 0});
}

void settle_done(proa_loop *loop, proa_op *op)
{
    if (op->kind == OP_TIMER_REPEAT && op->error == 0)
        deliver_repeat(loop, op);
    else if (op->kind == OP_SEND_ZERO_COPY)
        deliver_zero_copy(loop, op);
    else
        finish(loop, op, (proa_result){op->error ? op->error : (int64_t)op->moved, 0, 0});
}

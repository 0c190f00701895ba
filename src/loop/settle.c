/* The second half of an op's life: what the results mean, by kind of op, and their delivery.
 *
 * An engine's result is final unless it says MORE. Three cases lie between: a repeating op that the kernel ended although
 * it is still wanted goes on after its result was delivered; one that lacks a buffer or descriptor waits for it; a send is
 * over only when all its bytes are taken. */
#include <errno.h>
#include <proa/time.h>

#include "engine/pool.h"
#include "loop/loop.h"

/* How long paused accepts wait where nothing tells that a descriptor is free: it may have been closed elsewhere. */
static const uint64_t RETRY_NS = 20 * PROA_MILLISECOND_NS;

/* Final completions */

static void unblock_signal(proa_loop *loop, int signal_number)
{
    if (signal_number != 0 && --loop->signal_users[signal_number] == 0 && !loop->signal_was_blocked[signal_number])
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

/* What some kinds of op leave behind when they end. */
static void clean_up(proa_loop *loop, proa_op *op, int64_t value)
{
    struct engine_host *host = host_of(loop);
    proa_buffer_pool *pool;

    switch (op->kind) {
    case OP_LISTEN:
        if (value >= 0)
            descriptor_welcome(host, value, (unsigned)op->size);
        break;
    case OP_OPEN:
        if (value >= 0)
            descriptor_welcome(host, value, 0);
        break;
    case OP_RECV_MANY:
        pool = op->data;
        pool->users--;
        receive_next(host, op->fd);
        /* It may have been the one that was to take the buffer which is free. */
        if (unlikely(pool->starved.first) && pool->available > 0)
            buffers_feed(pool);
        break;
    case OP_CONNECT:
        if (value < 0 && op->fd >= 0)
            sys_close(&host->sys, op->fd);
        break;
    case OP_SIGNAL:
        if (op->fd >= 0)
            sys_close(&host->sys, op->fd);
        unblock_signal(loop, (int)op->size);
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
    return op->kind == OP_SIGNAL || (op->kind == OP_CONNECT && value < 0);
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
    op->callback(op, result);
    if (unlikely(close_waits))
        start_close(host, &host->descriptors[fd]);
}

/* A function that ran has its own value, whatever it looks like. */
static int ran(const proa_op *op)
{
    return op->kind == OP_WORK && op->error == 0;
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

/* Delivers what a repeating op brought although it ended, and has it go on. */
static void deliver_and_go_on(proa_loop *loop, proa_op *op, proa_result result)
{
    result.flags |= PROA_MORE;
    op_detach(host_of(loop), op);
    op->flags |= OP_RESTING;
    op->callback(op, result);
    op->flags &= (uint16_t)~OP_RESTING;
    loop->host.meters.multishots_rearmed += op->kind != OP_SIGNAL && !(loop->host.descriptors[op->fd].flags & FD_LOCAL);
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
        op->flags &= (uint16_t)~OP_WAITING;
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
    descriptor_welcome(host_of(loop), fd, loop->host.descriptors[op->fd].flags & FD_LOCAL);
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
    else if (result.value > 0)
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
        if (op->kind == OP_SEND && op->flags & OP_OVER)
            op_done(host, op, -ECANCELED);
    }
}

static void share_out(proa_loop *loop, struct descriptor *descriptor, uint64_t bytes)
{
    struct engine_host *host = host_of(loop);
    proa_op *op, *first = descriptor->out.first;

    for (op = first; op && op->kind == OP_SEND; op = op->next)
        op->flags &= (uint16_t)~OP_SUBMITTED;
    while ((op = descriptor->out.first) && op->kind == OP_SEND) {
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

/* The next send or shutdown of the descriptor has its turn. */
static void send_next(proa_loop *loop, struct descriptor *descriptor)
{
    struct engine_host *host = host_of(loop);

    if (descriptor->out.first && !(descriptor->flags & (FD_SENDING | FD_CLOSING)))
        host->table->start(host->engine, descriptor->out.first);
}

static RARE void settle_partial_send(proa_loop *loop, struct descriptor *descriptor, proa_op *op, int64_t value)
{
    struct engine_host *host = host_of(loop);

    share_out(loop, descriptor, value > 0 ? (uint64_t)value : 0);
    if (value < 0 && value != -EINTR && value != -ECANCELED)
        op_done(host, op, value);
    end_those_over(host, &descriptor->out);
    send_next(loop, descriptor);
}

static RARE void settle_one(proa_loop *loop, proa_op *op, proa_result result)
{
    if (result.flags & PROA_MORE) {
        if (op->kind == OP_ACCEPT_MANY)
            welcome_accepted(loop, op, result.value);
        op->callback(op, result);
        return;
    }
    if (unlikely(result.value == -EINTR)) {
        op_detach(host_of(loop), op);
        go_on(loop, op);
        return;
    }
    switch (op->kind) {
    case OP_RECV_MANY:
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

void settle_done(proa_loop *loop, proa_op *op)
{
    if (op->kind == OP_TIMER_REPEAT && op->error == 0)
        deliver_repeat(loop, op);
    else
        finish(loop, op, (proa_result){op->error ? op->error : (int64_t)op->moved, 0, 0});
}

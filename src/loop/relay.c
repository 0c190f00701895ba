/* proa_relay(): a composed op of two ways, each of which moves by itself, by copying or by splicing.
 *
 * Copying is for messages: a repeating receive lends buffers of the relay's pool, and each goes out by the send that belongs
 * to the buffer. With too many of them unsent the receive is ended until some are. Splicing is for bulk: a pipe of the loop
 * is filled and emptied by calls that do not wait; after each piece the way rests for a moment, since a larger piece costs
 * hardly more than a small one and a timer less than asking the kernel to tell. A way changes over when nothing of it is
 * under way, so the order of bytes is never in question.
 *
 * A way has one part in flight at most (receive, poll, timer, shutdown), besides its sends. Whatever happens, its part and
 * its sends end first; then proceed() says what is next. The relay is over when both ways are, and nothing is in flight. */
#include <errno.h>
#include <poll.h>
#include <proa/file.h>
#include <proa/relay.h>
#include <proa/socket.h>
#include <proa/time.h>
#include <stdlib.h>

#include "loop/loop.h"

enum {
    UNSENT_MAX = 8,   /* buffers that wait to be sent, before the receive is ended, */
    UNSENT_LOW = 2,   /* and with which it is begun again */
    BULK = 64 << 10,  /* so much in full buffers, nearly in a row, is bulk */
    SMALL = 16 << 10, /* a piece below is none, */
    SMALL_MAX = 4,    /* and after so many in a row the way copies again */
    PIECE = 1 << 20,
    LARGE = 256 << 10,
    PIECES_PER_TURN = 2,
    RELAY_BUFFERS_MAX = 32768,
};

/* Between two pieces. It adds to the delay of bulk alone. */
static const uint64_t REST_NS = 250 * PROA_MICROSECOND_NS;

enum way_state {
    WAY_COPIES,
    WAY_SPLICES,
    WAY_SHUTS, /* all is delivered but the end itself */
    WAY_IS_OVER,
};

enum way_flag {
    WAY_RESTS = 1 << 0,        /* its receive was asked to end, */
    WAY_CHANGES = 1 << 1,      /* or it was to begin to splice */
    WAY_ENDED = 1 << 2,        /* its stream has */
    WAY_FAILED = 1 << 3,       /* it is given up: what it has is not sent any more */
    WAY_AWAITS_SENDS = 1 << 5, /* nothing else can go on before they end */
    WAY_ONLY_COPIES = 1 << 4,  /* splice(2) does not know its sockets */
};

struct relay_send {
    proa_op op;
    proa_relay_way *way;
    proa_relay_pool *pool;
};

struct proa_relay_pool {
    proa_buffer_pool *buffers;
    proa_relay_pool *next; /* of the same loop */
    uint32_t users;        /* relays in flight */
    uint32_t count, size;
    struct relay_send sends[]; /* one for each buffer */
};

static void proceed(proa_relay_way *way);

static proa_loop *loop_of(const proa_relay_way *way)
{
    return way->relaying->op->loop;
}

static proa_relay_way *other_way(const proa_relay_way *way)
{
    return &way->relaying->way[way == way->relaying->way];
}

static int is_under_way(const proa_relay_way *way)
{
    return proa_in_flight(&way->part);
}

/* Ending */

static void note_failure(proa_relaying *self, int64_t error)
{
    if (!self->failure)
        self->failure = (int32_t)error;
}

static void part_is_over(proa_relaying *self)
{
    struct engine_host *host = host_of(self->op->loop);

    if (--self->parts > 0)
        return;
    self->pool->users--;
    op_done(host, self->op, self->result ? self->result : self->failure);
}

static void end_way(proa_relay_way *way)
{
    proa_relaying *self = way->relaying;

    way->state = WAY_IS_OVER;
    way->stranded += way->held;
    pipe_return(loop_of(way), way->pipe, way->held == 0);
    if (other_way(way)->state == WAY_IS_OVER)
        proa_cancel(&self->idle);
    part_is_over(self);
}

static void cancel_sends(proa_relay_way *way)
{
    proa_relay_pool *pool = way->relaying->pool;

    for (uint32_t i = 0; way->unsent > 0 && i < pool->count; i++)
        if (pool->sends[i].way == way)
            proa_cancel(&pool->sends[i].op);
}

/* Nothing more is sent for it. */
static void give_up(proa_relay_way *way)
{
    if (way->state == WAY_IS_OVER || way->flags & WAY_FAILED)
        return;
    way->flags |= WAY_FAILED;
    cancel_sends(way);
    if (is_under_way(way))
        proa_cancel(&way->part);
    else
        proceed(way);
}

/* A socket that cannot be received from is gone: nobody would get what is still sent to it. What it had said is delivered. */
static void fail_receiving(proa_relay_way *way, int64_t error)
{
    if (way->flags & WAY_FAILED)
        return;
    way->receive_error = (int32_t)error;
    note_failure(way->relaying, error);
    way->flags |= WAY_ENDED;
    give_up(other_way(way));
}

/* One that cannot be sent to may still have something to say. */
static void fail_sending(proa_relay_way *way, int64_t error)
{
    if (way->flags & WAY_FAILED)
        return;
    way->send_error = (int32_t)error;
    note_failure(way->relaying, error);
    give_up(way);
}

static void stop(proa_op *op)
{
    proa_relaying *self = (proa_relaying *)(uintptr_t)op->size;

    if (self->result)
        return;
    self->result = -ECANCELED;
    give_up(&self->way[0]);
    give_up(&self->way[1]);
}

static uint64_t idle_from(const proa_relaying *self, uint64_t when_ns)
{
    return self->idle_timeout_ns > PROA_NEVER - when_ns ? PROA_NEVER : when_ns + self->idle_timeout_ns;
}

/* The timer may be due in the turn in which both ways end. */
static int is_over(const proa_relaying *self)
{
    return self->way[0].state == WAY_IS_OVER && self->way[1].state == WAY_IS_OVER;
}

static void on_idle(proa_op *op, proa_result result)
{
    proa_relaying *self = proa_owner(op, proa_relaying, idle);
    proa_loop *loop = op->loop;

    if (result.value < 0 || self->result || is_over(self)) {
        part_is_over(self);
    } else if (loop->now_ns - self->active_ns < self->idle_timeout_ns) {
        op_start_part(loop, op, OP_TIMER, -1, (struct part){on_idle, .when_ns = idle_from(self, self->active_ns)});
    } else {
        self->result = -ETIME;
        give_up(&self->way[0]);
        give_up(&self->way[1]);
        part_is_over(self);
    }
}

static void note_bytes(proa_relay_way *way, uint64_t size)
{
    way->bytes += size;
    way->pieces++;
    way->relaying->active_ns = loop_of(way)->now_ns;
}

/* Copying */

static void on_sent(proa_op *op, proa_result result)
{
    struct relay_send *send = proa_owner(op, struct relay_send, op);
    proa_relay_way *way = send->way;

    send->way = NULL;
    way->unsent--;
    note_bytes(way, proa_sent(op));
    way->stranded += op->size - proa_sent(op);
    proa_buffer_return(send->pool->buffers, (uint32_t)(send - send->pool->sends));
    if (result.value < 0)
        fail_sending(way, result.value);
    if (!is_under_way(way) && way->state != WAY_IS_OVER)
        proceed(way);
}

static void send_on(proa_relay_way *way, uint32_t buffer, size_t size)
{
    proa_relay_pool *pool = way->relaying->pool;
    struct relay_send *send = &pool->sends[buffer];

    send->way = way;
    way->unsent++;
    op_start_part(
        loop_of(way), &send->op, OP_SEND, way->out,
        (struct part){on_sent, .data = proa_buffer(pool->buffers, buffer), .size = size, .flags = OP_RELAXED});
}

/* Full buffers show that there is more than fits; a part of one takes half of that back. */
static int is_bulk(proa_relay_way *way, size_t size)
{
    way->score = size == way->relaying->pool->size ? way->score + size : way->score / 2;
    return way->score >= BULK && way->relaying->mover == PROA_RELAY_AUTO && !(way->flags & WAY_ONLY_COPIES) &&
           pipe_may_be_lent(loop_of(way));
}

static void end_receive(proa_relay_way *way, unsigned why)
{
    if (!(way->flags & (WAY_RESTS | WAY_CHANGES)))
        proa_cancel(&way->part);
    way->flags |= (uint16_t)why;
}

static void take_received(proa_relay_way *way, proa_result result)
{
    way->relaying->active_ns = loop_of(way)->now_ns;
    if (way->flags & WAY_FAILED) {
        way->stranded += (uint64_t)result.value;
        proa_buffer_return(way->relaying->pool->buffers, result.buffer);
        return;
    }
    send_on(way, result.buffer, (size_t)result.value);
    if (is_bulk(way, (size_t)result.value))
        end_receive(way, WAY_CHANGES);
    else if (way->unsent >= UNSENT_MAX)
        end_receive(way, WAY_RESTS);
}

static void on_received(proa_op *op, proa_result result)
{
    proa_relay_way *way = proa_owner(op, proa_relay_way, part);

    if (result.flags & PROA_LENT)
        take_received(way, result);
    if (result.flags & PROA_MORE)
        return;
    if (result.value == 0)
        way->flags |= WAY_ENDED;
    else if (result.value != -ECANCELED || !(way->flags & (WAY_RESTS | WAY_CHANGES)))
        fail_receiving(way, result.value);
    proceed(way);
}

static void copy(proa_relay_way *way)
{
    proa_relay_pool *pool = way->relaying->pool;

    way->state = WAY_COPIES;
    way->flags &= (uint16_t)~WAY_RESTS;
    op_start_part(loop_of(way), &way->part, OP_RECV_MANY, way->in, (struct part){on_received, .data = pool->buffers});
}

/* Splicing */

static void on_ready(proa_op *op, proa_result result)
{
    proa_relay_way *way = proa_owner(op, proa_relay_way, part);

    if (result.value < 0 && !(way->flags & WAY_FAILED)) {
        if (way->held > 0)
            fail_sending(way, result.value);
        else
            fail_receiving(way, result.value);
    }
    proceed(way);
}

/* Who waits for more holds no pipe. */
static void await_bytes(proa_relay_way *way)
{
    pipe_return(loop_of(way), way->pipe, 1);
    op_start_part(loop_of(way), &way->part, OP_POLL, way->in, (struct part){on_ready, .size = POLLIN});
}

static void await_room(proa_relay_way *way)
{
    op_start_part(loop_of(way), &way->part, OP_POLL, way->out, (struct part){on_ready, .size = POLLOUT});
}

static void rest(proa_relay_way *way, uint64_t time_ns)
{
    proa_loop *loop = loop_of(way);

    pipe_return(loop, way->pipe, 1);
    op_start_part(loop, &way->part, OP_TIMER, -1, (struct part){on_ready, .when_ns = loop->now_ns + time_ns});
}

static int64_t splice_in(proa_relay_way *way)
{
    uint64_t here = PROA_POSITION;
    int64_t value;

    do
        value = sys_splice_in(&loop_of(way)->host.sys, way->in, &here, way->pipe[1], PIECE);
    while (value == -EINTR);
    return value;
}

static int64_t splice_out(proa_relay_way *way)
{
    uint64_t here = PROA_POSITION, there = PROA_POSITION;
    int64_t value;

    do
        value = sys_splice(&loop_of(way)->host.sys, way->pipe[0], &here, way->out, &there, way->held);
    while (value == -EINTR);
    return value;
}

static void leave_splicing(proa_relay_way *way)
{
    pipe_return(loop_of(way), way->pipe, 1);
    way->score = 0;
    way->small = 0;
    copy(way);
}

/* Many small pieces in a row, and buffers do better. */
static int is_small_again(proa_relay_way *way, int64_t size)
{
    way->small = size < SMALL ? way->small + 1 : 0;
    return way->small >= SMALL_MAX && way->relaying->mover == PROA_RELAY_AUTO;
}

/* Returns whether the pipe has something now; else all is said about what comes next. */
static int fill(proa_relay_way *way)
{
    int64_t got = splice_in(way);

    if (got > 0) {
        way->relaying->active_ns = loop_of(way)->now_ns;
        way->held = (uint32_t)got;
        return 1;
    }
    if (got == -EAGAIN) {
        await_bytes(way);
    } else if (got == -EINVAL && way->relaying->mover == PROA_RELAY_AUTO) {
        way->flags |= WAY_ONLY_COPIES;
        leave_splicing(way);
    } else {
        if (got == 0)
            way->flags |= WAY_ENDED;
        else
            fail_receiving(way, got);
        proceed(way);
    }
    return 0;
}

/* Returns whether the pipe is empty now; else all is said. */
static int empty(proa_relay_way *way)
{
    int64_t put = splice_out(way);

    if (put > 0) {
        way->held -= (uint32_t)put;
        way->spliced += (uint64_t)put;
        loop_of(way)->host.meters.bytes_spliced += (uint64_t)put;
        note_bytes(way, (uint64_t)put);
        if (way->held == 0)
            return 1;
    }
    if (put > 0 || put == -EAGAIN) {
        await_room(way);
    } else {
        fail_sending(way, put < 0 ? put : -EIO);
        proceed(way);
    }
    return 0;
}

static int has_pipe(proa_relay_way *way)
{
    int error = way->pipe[0] >= 0 ? 0 : pipe_lend(loop_of(way), way->pipe);

    if (error == 0)
        return 1;
    if (way->relaying->mover == PROA_RELAY_AUTO) {
        leave_splicing(way);
    } else if (error == -EAGAIN) {
        pipe_await(loop_of(way), &way->part, on_ready);
    } else {
        fail_receiving(way, error);
        proceed(way);
    }
    return 0;
}

/* A full pipe leaves no time to rest. */
static void splice_on(proa_relay_way *way)
{
    for (int i = 0; i < PIECES_PER_TURN; i++) {
        uint32_t size;

        if (!has_pipe(way) || (way->held == 0 && !fill(way)))
            return;
        size = way->held;
        if (!empty(way))
            return;
        if (is_small_again(way, size)) {
            leave_splicing(way);
            return;
        }
        if (size < LARGE) {
            rest(way, REST_NS);
            return;
        }
    }
    rest(way, 0);
}

static void begin_splicing(proa_relay_way *way)
{
    struct engine_host *host = host_of(loop_of(way));
    int error = descriptor_unblock(host, way->in);

    if (!error)
        error = descriptor_unblock(host, way->out);
    way->state = WAY_SPLICES;
    way->flags &= (uint16_t)~WAY_CHANGES;
    if (error)
        fail_receiving(way, error);
    proceed(way);
}

/* What comes next, with no part in flight */

static void on_shut(proa_op *op, proa_result result)
{
    proa_relay_way *way = proa_owner(op, proa_relay_way, part);

    if (result.value == 0) {
        end_way(way);
        return;
    }
    fail_sending(way, result.value);
    proceed(way);
}

static void shut(proa_relay_way *way)
{
    way->state = WAY_SHUTS;
    op_start_part(loop_of(way), &way->part, OP_SHUTDOWN, way->out, (struct part){on_shut, .size = SHUT_WR});
}

static void start_next(proa_relay_way *way)
{
    int has_more = way->unsent > 0 || way->held > 0;

    if (is_under_way(way) || way->state == WAY_IS_OVER)
        return;
    if (way->flags & WAY_FAILED) {
        if (way->unsent == 0)
            end_way(way);
    } else if (way->flags & WAY_ENDED && !has_more) {
        if (way->receive_error)
            end_way(way);
        else
            shut(way);
    } else if (way->state == WAY_SPLICES) {
        splice_on(way);
    } else if (way->flags & WAY_ENDED) {
        return; /* the last send goes on */
    } else if (way->flags & WAY_CHANGES) {
        if (way->unsent == 0)
            begin_splicing(way);
    } else if (way->unsent <= UNSENT_LOW) {
        copy(way);
    }
}

/* Relaxed sends would not wake the loop. */
static void note_awaited(proa_relay_way *way)
{
    struct engine_host *host = host_of(loop_of(way));
    int awaits = way->unsent > 0 && way->state != WAY_IS_OVER && !is_under_way(way);

    if (awaits == ((way->flags & WAY_AWAITS_SENDS) != 0))
        return;
    way->flags ^= WAY_AWAITS_SENDS;
    host->sends_awaited += awaits ? 1 : -1u;
}

static void proceed(proa_relay_way *way)
{
    start_next(way);
    note_awaited(way);
}

/* Starting */

static void start_way(proa_relaying *self, int place, proa_fd in, proa_fd out)
{
    proa_relay_way *way = &self->way[place];

    *way = (proa_relay_way){.relaying = self, .in = in.handle, .out = out.handle, .pipe = {-1, -1}};
    if (in.handle >= PROA_DIRECT_BASE || out.handle >= PROA_DIRECT_BASE)
        way->flags = WAY_ONLY_COPIES;
}

static int check(const proa_relaying *self)
{
    const proa_relay_way *way = self->way;

    if (!(self->op->loop->host.families & PROA_FAMILY_SOCKETS))
        return -EACCES;
    if (self->mover > PROA_RELAY_SPLICE || way->in == way->out)
        return -EINVAL;
    return self->mover == PROA_RELAY_SPLICE && way->flags & WAY_ONLY_COPIES ? -ENOTSUP : 0;
}

static void begin_moving(proa_relaying *self)
{
    proa_loop *loop = self->op->loop;

    self->pool->users++;
    self->parts = 2;
    self->active_ns = loop->now_ns;
    if (self->idle_timeout_ns > 0) {
        self->parts++;
        op_start_part(loop, &self->idle, OP_TIMER, -1,
                      (struct part){on_idle, .when_ns = idle_from(self, loop->now_ns)});
    }
    for (int i = 0; i < 2; i++) {
        if (self->way[i].flags & WAY_FAILED)
            continue; /* by the other's failure */
        if (self->mover == PROA_RELAY_SPLICE)
            begin_splicing(&self->way[i]);
        else
            copy(&self->way[i]);
    }
}

void proa_relay(proa_loop *loop, proa_op *op, proa_relaying *relaying, proa_relay_pool *pool, proa_fd one,
                proa_fd other, proa_callback *callback)
{
    int error;

    *relaying = (proa_relaying){
        .mover = relaying->mover, .idle_timeout_ns = relaying->idle_timeout_ns, .op = op, .pool = pool};
    start_way(relaying, 0, one, other);
    start_way(relaying, 1, other, one);
    if (!op_compose(loop, op, (struct composition){one, other, relaying, stop, callback}, __func__))
        return;
    error = check(relaying);
    if (error)
        op_done(host_of(loop), op, error);
    else
        begin_moving(relaying);
}

/* Pools */

int proa_relay_pool_open(proa_loop *loop, uint32_t count, uint32_t size, proa_relay_pool **ret_pool)
{
    proa_relay_pool *pool;
    int error;

    loop_check(loop, __func__);
    *ret_pool = NULL;
    if (count > RELAY_BUFFERS_MAX)
        return -EINVAL;
    pool = calloc(1, sizeof(*pool) + count * sizeof(pool->sends[0]));
    if (!pool)
        return -ENOMEM;
    error = proa_buffer_pool_open(loop, count, size, &pool->buffers);
    if (error < 0) {
        free(pool);
        return error;
    }
    pool->count = count;
    pool->size = size;
    for (uint32_t i = 0; i < count; i++)
        pool->sends[i].pool = pool;
    pool->next = loop->relay_pools;
    loop->relay_pools = pool;
    *ret_pool = pool;
    return 0;
}

void proa_relay_pool_close(proa_relay_pool *pool)
{
    proa_loop *loop = pool->buffers->loop;
    proa_relay_pool **link = &loop->relay_pools;

    loop_check(loop, __func__);
    if (pool->users > 0)
        panic(__func__, "a relay is still in flight on the pool");
    while (*link != pool)
        link = &(*link)->next;
    *link = pool->next;
    proa_buffer_pool_close(pool->buffers);
    free(pool);
}

void relay_pools_free(proa_loop *loop)
{
    while (loop->relay_pools) {
        proa_relay_pool *pool = loop->relay_pools;

        loop->relay_pools = pool->next;
        free(pool);
    }
}

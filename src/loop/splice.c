/* proa_splice(), proa_tee(), proa_vmsplice(): composed ops. Each step is one call that does not wait: splice(2) between the
 * two descriptors where one is a pipe, else in turns from `in` into a pipe of the loop and from there to `out`. What would
 * have to wait polls, what may meet a disk runs on the pool, and so they are on every engine what they are on one.
 *
 * Always exactly one thing is under way: the part. A stop ends it, and the end of the part ends the op. */
#include <errno.h>
#include <poll.h>
#include <proa/event.h>
#include <proa/file.h>
#include <proa/moving.h>
#include <sys/stat.h>

#include "loop/loop.h"

enum splice_call { SPLICE_BYTES, TEE_PIPES, SPLICE_MEMORY };

enum splice_flag {
    IS_OVER = 1 << 0,    /* it was cancelled, or its deadline has passed */
    IS_ON_POOL = 1 << 1, /* the part is a step that runs on the pool */
};

/* What matters of a descriptor: how one finds out whether a call on it would wait. */
enum end_kind {
    END_PIPE,   /* the call itself tells */
    END_SOCKET, /* so it does, once the socket is not to block */
    END_FILE,   /* it never waits for anybody, but may for the disk */
    END_OTHER,  /* a terminal or the like: it is asked first */
};

enum { STEPS_MAX = 4, STEP_SIZE = 1 << 20 };

static void go_on(proa_splicing *self);

static proa_splicing *self_of(const proa_op *op)
{
    return (proa_splicing *)(uintptr_t)op->size;
}

static struct sys *sys_of(const proa_splicing *self)
{
    return &host_of(self->op->loop)->sys;
}

/* The end */

static void end(proa_splicing *self, int64_t value)
{
    proa_op *op = self->op;

    self->stranded = self->held;
    pipe_return(op->loop, self->pipe, self->held == 0);
    op_done(host_of(op->loop), op, value);
}

static void stop(proa_op *op)
{
    proa_splicing *self = self_of(op);

    if (self->flags & IS_OVER)
        return;
    self->flags |= IS_OVER;
    proa_cancel(&self->part);
}

/* Waiting */

static void on_ready(proa_op *op, proa_result result)
{
    proa_splicing *self = proa_owner(op, proa_splicing, part);

    if (self->flags & IS_OVER)
        end(self, -ECANCELED);
    else if (result.value < 0)
        end(self, result.value);
    else
        go_on(self);
}

static void await(proa_splicing *self, int fd, unsigned events)
{
    op_start_part(self->op->loop, &self->part, OP_POLL, fd, (struct part){on_ready, .size = events});
}

/* Between two of which either may be what it waits for. */
static void await_either(proa_splicing *self)
{
    if (self->call == SPLICE_MEMORY || sys_poll(sys_of(self), self->in, POLLIN) != 0)
        await(self, self->out, POLLOUT);
    else
        await(self, self->in, POLLIN);
}

static void await_turn(proa_splicing *self)
{
    op_start_part(self->op->loop, &self->part, OP_TIMER, -1,
                  (struct part){on_ready, .when_ns = self->op->loop->now_ns});
}

/* Steps */

enum step { STEP_DIRECT, STEP_FILL, STEP_DRAIN };

static enum step step_of(const proa_splicing *self)
{
    if (self->call != SPLICE_BYTES || self->in_kind == END_PIPE || self->out_kind == END_PIPE)
        return STEP_DIRECT;
    return self->held > 0 ? STEP_DRAIN : STEP_FILL;
}

static uint64_t wanted(const proa_splicing *self)
{
    uint64_t left = self->size - self->op->moved;

    return left < STEP_SIZE ? left : STEP_SIZE;
}

static int64_t call(struct sys *sys, proa_splicing *self)
{
    uint64_t here = PROA_POSITION;

    if (self->call == TEE_PIPES)
        return sys_tee(sys, self->in, self->out, wanted(self));
    if (self->call == SPLICE_MEMORY)
        return sys_vmsplice(sys, self->out, self->data + self->op->moved, wanted(self));
    switch (step_of(self)) {
    case STEP_DIRECT:
        return sys_splice(sys, self->in, &self->in_offset, self->out, &self->out_offset, wanted(self));
    case STEP_FILL:
        return sys_splice_in(sys, self->in, &self->in_offset, self->pipe[1], wanted(self));
    default:
        return sys_splice(sys, self->pipe[0], &here, self->out, &self->out_offset, self->held);
    }
}

/* Whether the step is on a descriptor of that kind. */
static int is_on(const proa_splicing *self, enum end_kind kind)
{
    enum step step = step_of(self);

    return (step != STEP_DRAIN && self->in_kind == kind) || (step != STEP_FILL && self->out_kind == kind);
}

/* On a thread of the pool: no meter of the loop's may be touched. */
static int64_t run_on_pool(proa_op *op)
{
    proa_splicing *self = proa_owner(op, proa_splicing, part);
    struct sys sys = {.faults = sys_of(self)->faults, .machine = sys_of(self)->machine};

    do
        self->result = call(&sys, self);
    while (self->result == -EINTR);
    return 0;
}

static int may_wait_unseen(const proa_splicing *self)
{
    enum step step = step_of(self);

    return (step != STEP_DRAIN && self->in_kind == END_OTHER && sys_poll(sys_of(self), self->in, POLLIN) == 0) ||
           (step != STEP_FILL && self->out_kind == END_OTHER && sys_poll(sys_of(self), self->out, POLLOUT) == 0);
}

static int64_t try_step(proa_splicing *self)
{
    int64_t value;

    if (is_on(self, END_OTHER) && may_wait_unseen(self))
        return -EAGAIN;
    do
        value = call(sys_of(self), self);
    while (value == -EINTR);
    return value;
}

static void await_step(proa_splicing *self)
{
    switch (step_of(self)) {
    case STEP_DIRECT:
        await_either(self);
        break;
    case STEP_FILL:
        await(self, self->in, POLLIN);
        break;
    case STEP_DRAIN:
        await(self, self->out, POLLOUT);
    }
}

/* Accounts for what a step moved. Returns whether more is wanted. */
static int account(proa_splicing *self, int64_t value)
{
    proa_op *op = self->op;

    if (step_of(self) == STEP_FILL) {
        self->held = (uint32_t)value;
        return 1;
    }
    if (step_of(self) == STEP_DRAIN)
        self->held -= (uint32_t)value;
    op->moved += (uint64_t)value;
    op->loop->host.meters.bytes_spliced += (uint64_t)value;
    return op->moved < self->size && self->call != TEE_PIPES;
}

/* Returns whether another step is to be made at once. */
static int conclude(proa_splicing *self, int64_t value)
{
    if (value == -EAGAIN) {
        await_step(self);
        return 0;
    }
    if (value == 0 && step_of(self) == STEP_DRAIN)
        value = -EIO; /* it takes nothing, and does not say why */
    if (value > 0 && account(self, value))
        return 1;
    end(self, value < 0 ? value : (int64_t)self->op->moved);
    return 0;
}

static void on_pool_ran(proa_op *op, proa_result result)
{
    proa_splicing *self = proa_owner(op, proa_splicing, part);
    int is_over = self->flags & IS_OVER;

    if (result.value < 0 || (is_over && self->result == -EAGAIN)) {
        end(self, -ECANCELED);
        return;
    }
    sys_of(self)->calls++;
    if (!conclude(self, self->result))
        return;
    if (is_over)
        end(self, -ECANCELED);
    else
        go_on(self);
}

static void step_on_pool(proa_splicing *self)
{
    proa_work_function *function = run_on_pool;

    op_start_part(self->op->loop, &self->part, OP_FILE_WORK, -1,
                  (struct part){on_pool_ran, .data = (void *)(uintptr_t)function});
}

/* Brings the loop's pipe, where one is needed. Returns whether the step can be made. */
static int has_pipe(proa_splicing *self)
{
    int error;

    if (step_of(self) != STEP_FILL || self->pipe[0] >= 0)
        return 1;
    error = pipe_lend(self->op->loop, self->pipe);
    if (error == -EAGAIN)
        pipe_await(self->op->loop, &self->part, on_ready);
    else if (error < 0)
        end(self, error);
    return error == 0;
}

/* So many steps, and the others have their turn. */
static void go_on(proa_splicing *self)
{
    for (int i = 0; i < STEPS_MAX; i++) {
        if (!has_pipe(self))
            return;
        if (is_on(self, END_FILE)) {
            step_on_pool(self);
            return;
        }
        if (!conclude(self, try_step(self)))
            return;
    }
    await_turn(self);
}

/* Starting */

static int find_kind(proa_splicing *self, int fd, uint8_t *ret_kind)
{
    struct engine_host *host = host_of(self->op->loop);
    struct statx status = {0};
    int error = fd < 0 ? -EBADF : -ENOTSUP; /* to statx(2) PROA_CWD is a directory */

    if (fd >= 0 && fd < PROA_DIRECT_BASE)
        do
            error = sys_statx(&host->sys, fd, "", AT_EMPTY_PATH, STATX_TYPE, &status);
        while (error == -EINTR);
    if (error < 0)
        return error;
    *ret_kind = S_ISFIFO(status.stx_mode)                              ? END_PIPE
                : S_ISSOCK(status.stx_mode)                            ? END_SOCKET
                : S_ISREG(status.stx_mode) || S_ISBLK(status.stx_mode) ? END_FILE
                                                                       : END_OTHER;
    return *ret_kind == END_SOCKET ? descriptor_unblock(host, fd) : 0;
}

/* Of a reading end vmsplice(2) would fill the memory. */
static int find_writable(const proa_splicing *self)
{
    int flags = sys_open_flags(sys_of(self), self->out);

    return flags < 0 ? flags : (flags & O_ACCMODE) == O_RDONLY ? -EBADF : 0;
}

static int find_kinds(proa_splicing *self)
{
    int error = find_kind(self, self->in, &self->in_kind);

    if (!error)
        error = find_kind(self, self->out, &self->out_kind);
    if (!error && self->call == SPLICE_MEMORY)
        error = find_writable(self);
    if (self->in_kind != END_FILE)
        self->in_offset = PROA_POSITION;
    if (self->out_kind != END_FILE)
        self->out_offset = PROA_POSITION;
    return error;
}

static void start(proa_loop *loop, proa_op *op, proa_splicing *self, proa_callback *callback, const char *where)
{
    struct composition composition = {proa_fd_of(self->in), proa_fd_of(self->out), self, stop, callback};
    int error;

    self->op = op;
    self->pipe[0] = self->pipe[1] = -1;
    if (!op_compose(loop, op, composition, where))
        return;
    error = loop->host.families & (PROA_FAMILY_SOCKETS | PROA_FAMILY_FILES) ? 0 : -EACCES;
    if (!error)
        error = find_kinds(self);
    if (error)
        end(self, error);
    else if (self->size == 0)
        end(self, 0);
    else
        go_on(self);
}

/* As many arguments as splice(2) has, and those of every op. NOLINTNEXTLINE(readability-function-size) */
void proa_splice(proa_loop *loop, proa_op *op, proa_splicing *splicing, proa_fd in, uint64_t in_offset, proa_fd out,
                 uint64_t out_offset, uint64_t size, proa_callback *callback)
{
    *splicing = (proa_splicing){
        .call = SPLICE_BYTES,
        .in = in.handle,
        .in_offset = in_offset,
        .out = out.handle,
        .out_offset = out_offset,
        .size = size,
    };
    start(loop, op, splicing, callback, __func__);
}

void proa_tee(proa_loop *loop, proa_op *op, proa_splicing *splicing, proa_fd in, proa_fd out, size_t size,
              proa_callback *callback)
{
    *splicing = (proa_splicing){.call = TEE_PIPES, .in = in.handle, .out = out.handle, .size = size};
    start(loop, op, splicing, callback, __func__);
}

void proa_vmsplice(proa_loop *loop, proa_op *op, proa_splicing *splicing, proa_fd pipe, const void *data, size_t size,
                   proa_callback *callback)
{
    *splicing = (proa_splicing){
        .call = SPLICE_MEMORY, .in = pipe.handle, .out = pipe.handle, .data = data, .size = size};
    start(loop, op, splicing, callback, __func__);
}

int proa_pipe(proa_loop *loop, proa_fd *ret_read, proa_fd *ret_write, size_t size_min)
{
    struct engine_host *host = host_of(loop);
    int ends[2], error;

    loop_check(loop, __func__);
    *ret_read = *ret_write = proa_fd_of(-1);
    error = sys_pipe(&host->sys, ends);
    if (error < 0)
        return error;
    if (size_min > 0)
        sys_pipe_resize(&host->sys, ends[0], size_min);
    descriptor_welcome(host, ends[0], 0);
    descriptor_welcome(host, ends[1], 0);
    *ret_read = proa_fd_of(ends[0]);
    *ret_write = proa_fd_of(ends[1]);
    return 0;
}

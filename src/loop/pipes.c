/* The loop's own pipes, through which bytes go between two descriptors of which neither is a pipe.
 *
 * They are opened as they are needed, lent while something is in them, and kept for the next until the loop is closed. There
 * are few, for all of a user's pipes together may have 64 MiB (pipe(7), pipe-user-pages-soft). Who finds none waits in the
 * loop's list of composed ops, the first of which is the first to try again. */
#include <errno.h>

#include "loop/loop.h"

/* At 1 MiB, the most that an ordinary user may have, a core's cache no longer holds what the splices touch. */
enum { PIPE_SIZE = 512 << 10, WAITS_FOR_PIPE = 1 };

static int open_pipe(proa_loop *loop, int32_t ret_pipe[2])
{
    int ends[2] = {-1, -1}, error;

    if (loop->pipes.count == PIPES_MAX)
        return -EAGAIN;
    error = sys_pipe(&loop->host.sys, ends);
    if (error < 0)
        return error;
    sys_pipe_resize(&loop->host.sys, ends[0], PIPE_SIZE);
    loop->pipes.count++;
    ret_pipe[0] = ends[0];
    ret_pipe[1] = ends[1];
    return 0;
}

int pipe_lend(proa_loop *loop, int32_t ret_pipe[2])
{
    struct pipes *pipes = &loop->pipes;
    const struct resting_pipe *latest;

    if (pipes->resting_count == 0)
        return open_pipe(loop, ret_pipe);
    latest = &pipes->resting[--pipes->resting_count];
    ret_pipe[0] = latest->read;
    ret_pipe[1] = latest->write;
    return 0;
}

static void wake_first(proa_loop *loop)
{
    proa_op *op = loop->host.composed.first;

    while (op && op->choice != WAITS_FOR_PIPE)
        op = op->next;
    if (op) {
        op->choice = 0;
        loop->pipes.waiting--;
        op_done(host_of(loop), op, 0);
    }
}

static void close_ends(proa_loop *loop, int read, int write)
{
    sys_close(&loop->host.sys, read);
    sys_close(&loop->host.sys, write);
    loop->pipes.count--;
}

void pipe_return(proa_loop *loop, int32_t pipe[2], int is_empty)
{
    struct pipes *pipes = &loop->pipes;

    if (pipe[0] >= 0 && is_empty)
        pipes->resting[pipes->resting_count++] = (struct resting_pipe){pipe[0], pipe[1]};
    else if (pipe[0] >= 0)
        close_ends(loop, pipe[0], pipe[1]);
    pipe[0] = pipe[1] = -1;
    /* Also where none was held: who was woken for one may have ended instead of taking it. */
    if (pipes->waiting > 0 && pipe_may_be_lent(loop))
        wake_first(loop);
}

static void stop_waiting(proa_op *op)
{
    proa_loop *loop = op->loop;

    loop->pipes.waiting -= op->choice == WAITS_FOR_PIPE;
    op->choice = 0;
    op_done(host_of(loop), op, -ECANCELED);
}

void pipe_await(proa_loop *loop, proa_op *op, proa_callback *callback)
{
    op_start_part(loop, op, OP_COMPOSED, -1, (struct part){callback, .data = (void *)(uintptr_t)stop_waiting});
    if (op->state != OP_IN_FLIGHT)
        return;
    op->choice = WAITS_FOR_PIPE;
    loop->pipes.waiting++;
}

void pipes_close(proa_loop *loop)
{
    struct pipes *pipes = &loop->pipes;

    while (pipes->resting_count > 0) {
        const struct resting_pipe *latest = &pipes->resting[--pipes->resting_count];

        close_ends(loop, latest->read, latest->write);
    }
}

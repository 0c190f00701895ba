/* Links: a chain of ops of which one, the head, is in flight in earnest and the others wait for their turn.
 *
 * `link.next` leads from the head on, `link.previous` back to it. All that wait, of all links, lie in the host's list
 * `linked`, for a close has to find those on its descriptor: one that names a descriptor counts among its pending ops from
 * the start, so that its number cannot become another file before its turn. */
#include <errno.h>
#include <proa/link.h>

#include "loop/loop.h"

static const int32_t LINKED_FD = -2;

void proa_link_begin(proa_loop *loop)
{
    loop_check(loop, __func__);
    if (loop->linking)
        panic(__func__, "a link is open already");
    loop->linking = 1;
    loop->link_last = NULL;
}

void proa_link_end(proa_loop *loop)
{
    loop_check(loop, __func__);
    if (!loop->linking)
        panic(__func__, "no link is open");
    loop->linking = 0;
}

/* What is wrong with its descriptor shows when its turn comes. */
static void hold_descriptor(proa_loop *loop, proa_op *op)
{
    if (op->fd >= 0)
        op->error = op_attach(loop, op);
}

static void hold_other(proa_loop *loop, proa_op *op)
{
    if (op->flags & OP_PAIRED && op->other_fd >= 0 && !op->error)
        op->error = op_attach_other(loop, op);
}

static void hold(proa_loop *loop, proa_op *op)
{
    hold_descriptor(loop, op);
    hold_other(loop, op);
    op->flags |= OP_LINKED;
    list_append(&loop->host.linked, op);
}

int link_append(proa_loop *loop, proa_op *op)
{
    proa_op *last = loop->link_last;

    loop->link_last = op;
    if (!last)
        return 0;
    last->link.next = op;
    op->link.previous = last;
    /* What waits behind it depends on its end. */
    last->flags &= ~(unsigned)OP_RELAXED;
    hold(loop, op);
    return 1;
}

/* All from `op` on end before their turn. */
static void cancel_from(proa_loop *loop, proa_op *op)
{
    proa_op *next;

    for (; op; op = next) {
        next = op->link.next;
        op->link.next = NULL;
        timing_clear(loop, op);
        op_done(host_of(loop), op, -ECANCELED);
    }
}

/* What is started next, if the link is still open, goes behind those that are left. */
void link_cut(proa_loop *loop, proa_op *op)
{
    proa_op *last = op;

    while (last->link.next)
        last = last->link.next;
    if (last == loop->link_last)
        loop->link_last = op->link.previous;
    if (op->link.previous)
        op->link.previous->link.next = NULL;
    cancel_from(loop, op);
}

static int is_on(const proa_op *op, int fd)
{
    return (op->fd == fd && op->flags & OP_ATTACHED) || (op->other_fd == fd && op->flags & OP_ATTACHED_OTHER);
}

void link_stop(proa_loop *loop, int fd)
{
    proa_op *op = loop->host.linked.first;

    while (op) {
        if (!is_on(op, fd)) {
            op = op->next;
            continue;
        }
        op->flags |= OP_CANCELLED;
        link_cut(loop, op);
        op = loop->host.linked.first;
    }
}

/* A close waits for all that is pending, itself left out. */
static void release_close(struct engine_host *host, proa_op *op)
{
    if (op->kind != OP_CLOSE || !(op->flags & OP_ATTACHED))
        return;
    op->flags &= ~(unsigned)OP_ATTACHED;
    host->descriptors[op->fd].pending--;
}

static void take_turn(proa_loop *loop, proa_op *op)
{
    int error = op->error;

    op_detach(host_of(loop), op);
    op->error = 0;
    release_close(host_of(loop), op);
    if (error)
        op_done(host_of(loop), op, error);
    else
        op_launch(loop, op);
}

void link_pass_on(proa_loop *loop, proa_op *next, int fd)
{
    if (next->flags & OP_PAIRED && next->other_fd == LINKED_FD) {
        next->other_fd = fd;
        hold_other(loop, next);
    }
    if (next->fd != LINKED_FD)
        return;
    next->fd = fd;
    hold_descriptor(loop, next);
}

/* The callback of the op before may have ended it. */
void link_go_on(proa_loop *loop, proa_op *next, int failed)
{
    if (!(next->flags & OP_LINKED))
        return;
    if (failed)
        cancel_from(loop, next);
    else
        take_turn(loop, next);
}

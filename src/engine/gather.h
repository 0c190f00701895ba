/* Gathering: the sends that wait on a descriptor, seen as one message. */
#ifndef PROA_GATHER_H
#define PROA_GATHER_H

#include <sys/socket.h>
#include <sys/uio.h>

#include "engine/engine.h"

enum { GATHER_MAX = 32 };

struct gathering {
    unsigned count;   /* pieces in the vector, one per send */
    uint32_t relaxed; /* OP_RELAXED where every one of the sends is, and nothing waits behind them */
    int more;         /* MSG_MORE where more is sure to come: what waits behind them is a file */
    size_t size;
};

/* Whether it can go out together with others, and be settled with them: not while the kernel has its memory. */
static inline int goes_with_others(const proa_op *op)
{
    return op->kind == OP_SEND || (op->kind == OP_SEND_ZERO_COPY && op->flags & OP_BY_VALUE && op->choice == 0);
}

/* A direct descriptor has no call that would send what was held back after all. */
static inline int more_behind(const proa_op *op)
{
    const proa_op *next = op->next;

    return next && next->kind == OP_SEND_FILE && next->size > 0 && op->fd < PROA_DIRECT_BASE ? MSG_MORE : 0;
}

/* Writes what is left of `first` and of the sends behind it into `pieces`, up to GATHER_MAX of them. */
struct gathering gather(proa_op *first, struct iovec *pieces);

#endif

#include "engine/gather.h"

struct gathering gather(proa_op *first, struct iovec *pieces)
{
    struct gathering all = {.relaxed = OP_RELAXED};

    proa_op *op;

    for (op = first; op && (op == first || goes_with_others(op)) && all.count < GATHER_MAX; op = op->next) {
        struct iovec *piece = &pieces[all.count++];

        piece->iov_base = (uint8_t *)op->data + op->moved;
        piece->iov_len = op->size - op->moved;
        all.size += piece->iov_len;
        all.relaxed &= op->flags & (op->flags & OP_REFUSED ? 0 : OP_RELAXED);
        op->flags |= OP_SUBMITTED;
        all.more = more_behind(op);
    }
    /* What waits behind these depends on their end. */
    if (op)
        all.relaxed = 0;
    return all;
}

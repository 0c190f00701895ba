/* Gathering: the sends that wait on a descriptor, seen as one message. */
#ifndef PROA_GATHER_H
#define PROA_GATHER_H

#include <sys/uio.h>

#include "engine/engine.h"

enum { GATHER_MAX = 32 };

struct gathering {
    unsigned count;   /* pieces in the vector, one per send */
    uint32_t relaxed; /* OP_RELAXED where every one of the sends is, and nothing waits behind them */
    size_t size;
};

/* Writes what is left of `first` and of the sends behind it into `pieces`, up to GATHER_MAX of them. */
struct gathering gather(proa_op *first, struct iovec *pieces);

#endif

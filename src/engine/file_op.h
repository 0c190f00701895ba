/* How the arguments of a file op lie in `proa_op`, for the pool, which makes the calls, and for engines with native files.
 *
 *               data        size     moved
 *   open        path        flags    resolve << 32 | mode
 *   read,write  memory      bytes    offset
 *   stat        path                 address of the struct statx */
#ifndef PROA_FILE_OP_H
#define PROA_FILE_OP_H

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>

#include "engine/engine.h"

static inline void file_op_set_how(proa_op *op, int flags, mode_t mode, unsigned resolve)
{
    /* openat2(2) refuses a mode that open(2) ignores. */
    if (!(flags & O_CREAT) && (flags & O_TMPFILE) != O_TMPFILE)
        mode = 0;
    op->size = (uint64_t)(unsigned)flags;
    op->moved = (uint64_t)resolve << 32 | mode;
}

static inline struct open_how file_op_how(const proa_op *op)
{
    return (struct open_how){
        .flags = (uint64_t)op->size | O_CLOEXEC,
        .mode = op->moved & UINT32_MAX,
        .resolve = op->moved >> 32,
    };
}

static inline struct statx *file_op_statx(const proa_op *op)
{
    return (struct statx *)(uintptr_t)op->moved;
}

#endif

/* How the arguments of a file op lie in `proa_op`, for the pool, which makes the calls, and for engines with native files.
 *
 *                        fd         data        size             moved                  other_fd
 *   open                 directory  path        flags            resolve << 32 | mode
 *   read, write          file       memory      bytes            offset
 *   readv, writev        file       pieces      their number     offset
 *   stat                 directory  path        flags << 32      address of the struct statx
 *                                               | mask
 *   truncate             file                   bytes
 *   allocate             file       mode        bytes            offset
 *   make_directory       directory  path        mode
 *   unlink               directory  path        flags
 *   rename, hard_link    directory  path        flags            address of the new path    its directory
 *   symbolic_link        directory  path                         address of the target
 *   read_link            directory  path        bytes            address of the memory
 *   read_directory       directory  memory      bytes
 *   watch, at its start             path        events << 32     address of the memory
 *                                               | bytes
 *          after that    inotify    memory      bytes
 *
 * A target is no path to follow, so that it has its place behind the path. `mode` of an allocation is a number. */
#ifndef PROA_FILE_OP_H
#define PROA_FILE_OP_H

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/uio.h>

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

/* What `moved` is the address of. */
static inline void *file_op_second(const proa_op *op)
{
    return (void *)(uintptr_t)op->moved;
}

static inline unsigned file_op_stat_flags(const proa_op *op)
{
    return (unsigned)(op->size >> 32);
}

static inline unsigned file_op_stat_mask(const proa_op *op)
{
    return (unsigned)op->size;
}

static inline unsigned file_op_mode(const proa_op *op)
{
    return (unsigned)(uintptr_t)op->data;
}

static inline int file_op_reads(const proa_op *op)
{
    return op->kind == OP_READ || op->kind == OP_READV;
}

static inline int file_op_writes(const proa_op *op)
{
    return op->kind == OP_WRITE || op->kind == OP_WRITEV;
}

/* Those that may be on what is waited for, a pipe or a terminal, too. */
static inline int file_op_transfers(const proa_op *op)
{
    return file_op_reads(op) || file_op_writes(op);
}

/* The bytes that a transfer is asked for. */
static inline uint64_t file_op_bytes(const proa_op *op)
{
    const struct iovec *pieces = op->data;
    uint64_t bytes = 0;

    if (op->kind != OP_READV && op->kind != OP_WRITEV)
        return op->size;
    for (size_t i = 0; i < op->size; i++)
        bytes += pieces[i].iov_len;
    return bytes;
}

/* The first of its pieces that is not empty, or an empty one. */
static inline struct iovec file_op_first_piece(const proa_op *op)
{
    const struct iovec *pieces = op->data;

    if (op->kind == OP_READ || op->kind == OP_WRITE)
        return (struct iovec){op->data, op->size};
    for (size_t i = 0; i < op->size; i++)
        if (pieces[i].iov_len > 0)
            return pieces[i];
    return (struct iovec){NULL, 0};
}

#endif

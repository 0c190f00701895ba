/* Files. Native on engines that have them, else by a file lane (proa_files(7)): but for the lane "inline", no file op blocks
 * the loop. */
#ifndef PROA_FILE_H
#define PROA_FILE_H

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "op.h"

PROA_BEGIN

struct statx; /* <sys/stat.h> with _GNU_SOURCE, or <linux/stat.h> */

/* Names the current directory where a directory is asked for. */
#define PROA_CWD proa_fd_of(-100) /* AT_FDCWD, which plain C11 hides */

/* Reads and writes at the file's own position, which they move. Pipes, terminals and sockets have no other, and take any
 * offset for it. */
#define PROA_POSITION UINT64_MAX

enum proa_resolve {
    PROA_RESOLVE_BENEATH = 0x08,     /* fail with EXDEV where the path or a link in it would leave the directory */
    PROA_RESOLVE_NO_SYMLINKS = 0x04, /* fail with ELOOP on any symbolic link */
    PROA_RESOLVE_NO_XDEV = 0x01,     /* fail with EXDEV where a mount would be crossed */
};

/* How to open: `flags` and `mode` as of open(2), O_CLOEXEC is always added; `resolve` as of openat2(2). */
typedef struct proa_open_how {
    int flags;
    mode_t mode;
    unsigned resolve;
} proa_open_how;

/* Opens `path`, relative to `directory`. `path` must stay until completion. value: the descriptor. */
PROA_API void proa_open(proa_loop *loop, proa_op *op, proa_fd directory, const char *path, proa_open_how how,
                        proa_callback *callback);

/* Reads or writes at most `size` bytes at `offset`. value: bytes, which may be fewer; 0 is the end of the file. As with
 * write(2), a pipe that nobody reads raises SIGPIPE: ignore it, and get -EPIPE. */
PROA_API void proa_read(proa_loop *loop, proa_op *op, proa_fd fd, void *data, size_t size, uint64_t offset,
                        proa_callback *callback);
PROA_API void proa_write(proa_loop *loop, proa_op *op, proa_fd fd, const void *data, size_t size, uint64_t offset,
                         proa_callback *callback);

/* The same with memory in `count` pieces, of which there may be 1024 (IOV_MAX). `pieces` must stay until completion, too. */
PROA_API void proa_readv(proa_loop *loop, proa_op *op, proa_fd fd, const struct iovec *pieces, unsigned count,
                         uint64_t offset, proa_callback *callback);
PROA_API void proa_writev(proa_loop *loop, proa_op *op, proa_fd fd, const struct iovec *pieces, unsigned count,
                          uint64_t offset, proa_callback *callback);

/* Makes what was written durable; fdatasync leaves out metadata that no later read needs. value: 0. */
PROA_API void proa_fsync(proa_loop *loop, proa_op *op, proa_fd fd, proa_callback *callback);
PROA_API void proa_fdatasync(proa_loop *loop, proa_op *op, proa_fd fd, proa_callback *callback);

enum proa_stat_flag {
    PROA_STAT_NO_FOLLOW = 0x100,   /* of a symbolic link itself */
    PROA_STAT_FORCE_SYNC = 0x2000, /* network file systems: ask the server; */
    PROA_STAT_DONT_SYNC = 0x4000,  /* or do not */
};

/* Fills in what `mask` (STATX_BASIC_STATS, ... of statx(2)) asks for, of `path` relative to `fd`, or of `fd` itself where
 * `path` is "". Path and `*ret_stat` must stay until completion. value: 0. */
PROA_API void proa_stat(proa_loop *loop, proa_op *op, proa_fd fd, const char *path, unsigned flags, unsigned mask,
                        struct statx *ret_stat, proa_callback *callback);

/* Makes the file `size` bytes long: it loses what lies behind, or ends with zeros. value: 0. */
PROA_API void proa_truncate(proa_loop *loop, proa_op *op, proa_fd fd, uint64_t size, proa_callback *callback);

/* Room on the disk for `size` bytes at `offset`, or what else `mode` (FALLOC_FL_... of fallocate(2)) says. value: 0. */
PROA_API void proa_allocate(proa_loop *loop, proa_op *op, proa_fd fd, unsigned mode, uint64_t offset, uint64_t size,
                            proa_callback *callback);

PROA_END

#endif

/* Moving bytes from one descriptor to another, past the program. */
#ifndef PROA_MOVING_H
#define PROA_MOVING_H

#include "op.h"

PROA_BEGIN

/* Splicing: pages change hands between descriptors, and are not copied */

/* Opens a pipe with room for `size_min` bytes, as far as the system lets its user have that (0: as it comes). Neither end
 * ever blocks. Returns 0 or a negative errno. */
PROA_API int proa_pipe(proa_loop *loop, proa_fd *ret_read, proa_fd *ret_write, size_t size_min);

/* What a splice, tee or vmsplice needs while it is in flight, and what it leaves: the caller's memory, the loop's from start
 * to completion.
 *   stranded   after completion: bytes that were taken from `in` and could not be brought to `out`; they are lost */
typedef struct proa_splicing {
    uint64_t stranded;
    proa_op *op;
    proa_op part;
    uint64_t size, in_offset, out_offset;
    const uint8_t *data;
    int64_t result;
    int32_t in, out;
    int32_t pipe[2];
    uint32_t held;
    uint8_t call, in_kind, out_kind, flags;
} proa_splicing;

/* Moves `size` bytes from `in` to `out`, any two ordinary descriptors. Where neither is a pipe they go through one of the
 * loop's. An offset is a file's; PROA_POSITION means its own position, and everything else is at it. value: `size`, or
 * fewer where `in` ended; 0: it had ended already. On an error proa_sent() tells how many bytes had reached `out`. */
PROA_API void proa_splice(proa_loop *loop, proa_op *op, proa_splicing *splicing, proa_fd in, uint64_t in_offset,
                          proa_fd out, uint64_t out_offset, uint64_t size, proa_callback *callback);

/* Has the pipe `out` share what is next in the pipe `in`, at most `size` bytes, waiting for the first; `in` keeps them.
 * value: bytes; 0 is the end of `in`. */
PROA_API void proa_tee(proa_loop *loop, proa_op *op, proa_splicing *splicing, proa_fd in, proa_fd out, size_t size,
                       proa_callback *callback);

/* Puts the memory itself into a pipe, not a copy: it must not change until the pipe's reader is done with it, which may be
 * long after completion, and no completion tells. value: `size`; on an error proa_sent() tells how many bytes are in. */
PROA_API void proa_vmsplice(proa_loop *loop, proa_op *op, proa_splicing *splicing, proa_fd pipe, const void *data,
                            size_t size, proa_callback *callback);

/* Files to sockets */

/* Sends `size` bytes of `file` from `offset` on, in its turn among the sends of `socket`. What is not in memory is read
 * beforehand, and keeps nobody else waiting. value: `size`, or fewer where the file ends earlier; on an error proa_sent()
 * tells how many bytes had been taken. Closing either descriptor ends it. */
PROA_API void proa_send_file(proa_loop *loop, proa_op *op, proa_fd socket, proa_fd file, uint64_t offset, uint64_t size,
                             proa_callback *callback);

PROA_END

#endif

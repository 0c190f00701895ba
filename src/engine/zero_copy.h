/* Sends without copy: the kernel sends from the op's memory, and gives it back by a notice for each call that took some of
 * it. Until the last has come, an op that is over waits in `awaiting` (struct notices).
 *
 * Not all is sent that way (OP_BY_VALUE): not what is small, for a page costs more to hold than to copy; nor where the
 * kernel cannot or will not. Then it is a send like others, but for its two completions. */
#ifndef PROA_ZERO_COPY_H
#define PROA_ZERO_COPY_H

#include "engine/engine.h"

/* Measured with plain calls, to a peer whose window is closed, so that nothing is copied late (kernel 6.18): by reference a
 * send of 4 KiB costs 0.1 us less, of 16 KiB 1.1 us, of 64 KiB 6.4 us of 25. A notice of its own costs about one. */
enum { ZERO_COPY_MIN = 16384 };

/* Whether the error of a call means only that it has to be made by value: a kernel or socket that knows of nothing else
 * (EINVAL, EOPNOTSUPP), memory that cannot be held (EFAULT), no room for notices or beyond RLIMIT_MEMLOCK (ENOBUFS,
 * ENOMEM). */
int zero_copy_is_refused(int64_t value);

/* A call has taken some of the op's memory. */
void zero_copy_taken(struct engine_host *host, proa_op *op);

/* So many of the op's notices have come. */
void zero_copy_noticed(struct engine_host *host, proa_op *op, unsigned count, int copied);

/* Nothing more of the op is to be sent, all of it (0) or because of `error`: settles it, or has it await its notices. */
void zero_copy_over(struct engine_host *host, proa_op *op, int64_t error);

/* Ends a send early, of either sort. */
void send_cancelled(struct engine_host *host, proa_op *op);

/* The answer of an op whose last notice has come. */
static inline int64_t zero_copy_value(const proa_op *op)
{
    return op->error ? op->error : (int64_t)op->size;
}

/* For readiness engines. */

/* Tries to send what is left. Returns the bytes taken or a negative errno. */
int64_t zero_copy_try(struct engine_host *host, proa_op *op);

/* Takes what notices there are. Returns how many reports the kernel had, or a negative errno where it may have more. */
int zero_copy_collect(struct engine_host *host, int fd);

/* Resets the connection, so that all notices come. */
void zero_copy_reset(struct engine_host *host, int fd);

#endif

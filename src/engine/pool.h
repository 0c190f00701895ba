/* The pool: threads that run what would block the loop, the caller's functions and, for engines without native files,
 * file ops. One queue, first come first served; results come back through the host's posted stack. */
#ifndef PROA_POOL_H
#define PROA_POOL_H

#include "engine/engine.h"

int pool_open(struct engine_host *host, uint32_t thread_count, struct pool **ret_pool);

/* No op may be left on it. */
void pool_close(struct pool *pool);

void pool_start(struct pool *pool, proa_op *op);

/* Takes the op back if no thread has it yet, and settles it with ECANCELED. */
void pool_cancel(struct pool *pool, proa_op *op);

/* The same for every op on one descriptor, and for every op there is. */
void pool_cancel_descriptor(struct pool *pool, int fd);
void pool_cancel_all(struct pool *pool);

/* System calls made and bytes copied by the threads so far. */
void pool_meter(const struct pool *pool, proa_meters *meters);

/* From any thread: hands a settled op, or one to be completed, to the host's thread, and wakes it if need be. */
void host_post(struct engine_host *host, proa_op *op);

#endif

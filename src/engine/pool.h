/* The pool: threads that run what would block the loop. There are two crews of them, so that neither keeps the other
 * waiting: one for the caller's functions, one for the file ops that nothing else has a way for. (Names are resolved on
 * the loop and need no thread.) Each has a queue of its own, first come first served; results come back through the
 * host's posted stack. */
#ifndef PROA_POOL_H
#define PROA_POOL_H

#include "engine/engine.h"

enum pool_crew { CREW_WORK, CREW_FILES, CREW_COUNT };

/* Starts as many threads for each crew; with none its ops wait for pool_take(). */
int pool_open(struct engine_host *host, const uint32_t thread_counts[CREW_COUNT], struct pool **ret_pool);

/* No op may be left on it. */
void pool_close(struct pool *pool);

void pool_start(struct pool *pool, proa_op *op);

/* Takes the op back if no thread has it yet, and settles it with ECANCELED. */
void pool_cancel(struct pool *pool, proa_op *op);

/* The same for every op on one descriptor, and for every op there is. */
void pool_cancel_descriptor(struct pool *pool, int fd);
void pool_cancel_all(struct pool *pool);

/* Makes the call of a file op, on whatever thread. Returns a value or a negative errno. */
int64_t pool_run_file_op(struct sys *sys, const proa_op *op);

/* The same, again until no signal interrupts it. */
int64_t pool_finish_file_op(struct sys *sys, const proa_op *op);

/* For an engine that is its own pool: takes the op that has waited longest, or null; runs it in the calling thread, and
 * settles it. */
proa_op *pool_take(struct pool *pool, enum pool_crew crew);
void pool_run(struct pool *pool, proa_op *op);

/* System calls made and bytes copied by the threads so far. */
void pool_meter(const struct pool *pool, proa_meters *meters);

/* From any thread: hands a settled op, or one to be completed, to the host's thread, and wakes it if need be. */
void host_post(struct engine_host *host, proa_op *op);

#endif

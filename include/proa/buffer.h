/* Buffer pools: memory lent to receives only when data is there, so that an idle connection holds none. */
#ifndef PROA_BUFFER_H
#define PROA_BUFFER_H

#include "op.h"

PROA_BEGIN

typedef struct proa_buffer_pool proa_buffer_pool;

/* `count` buffers (a power of two, at most 32768) of `size` bytes each. Returns 0 or a negative errno. */
PROA_API int proa_buffer_pool_open(proa_loop *loop, uint32_t count, uint32_t size, proa_buffer_pool **ret_pool);

/* No receive may be in flight on the pool. Buffers still lent go with it. */
PROA_API void proa_buffer_pool_close(proa_buffer_pool *pool);

/* The memory of one buffer; `buffer` is the index in a result that has PROA_LENT. */
PROA_API void *proa_buffer(const proa_buffer_pool *pool, uint32_t buffer);

/* Gives a lent buffer back. A receive that waits for one goes on. */
PROA_API void proa_buffer_return(proa_buffer_pool *pool, uint32_t buffer);

/* Tells the loop that many file reads and writes will use this memory. Where the engine can it has the kernel pin it once
 * instead of for each op (uring), within RLIMIT_MEMLOCK; elsewhere this does nothing. It must stay mapped until it is
 * unregistered, or the loop closed. Return 0 or a negative errno: EINVAL, EEXIST where it overlaps other such memory, ENOSPC
 * for more than 16 regions, ENOENT where none begins there, and what the kernel says (ENOMEM, EFAULT). */
PROA_API int proa_memory_register(proa_loop *loop, void *memory, size_t size);
PROA_API int proa_memory_unregister(proa_loop *loop, void *memory);

PROA_END

#endif

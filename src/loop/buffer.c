/* Buffer pools: what all engines share; where the free buffers lie is the engine's business. */
#include <errno.h>
#include <stdlib.h>

#include "loop/loop.h"

enum { COUNT_MAX = 32768, POOLS_MAX = 65535 };

/* The lowest that no pool of the loop has: the kernel's names have 16 bits. */
static int find_id(const proa_loop *loop, uint32_t *ret_id)
{
    for (uint32_t id = 0; id < POOLS_MAX; id++) {
        const proa_buffer_pool *pool = loop->pools;

        while (pool && pool->id != id)
            pool = pool->next;
        *ret_id = id;
        if (!pool)
            return 1;
    }
    return 0;
}

int proa_buffer_pool_open(proa_loop *loop, uint32_t count, uint32_t size, proa_buffer_pool **ret_pool)
{
    struct engine_host *host = host_of(loop);
    proa_buffer_pool *pool;
    uint32_t id;
    int error;

    loop_check(loop, __func__);
    *ret_pool = NULL;
    if (count == 0 || count > COUNT_MAX || (count & (count - 1)) != 0 || size == 0)
        return -EINVAL;
    if (!find_id(loop, &id))
        return -EMFILE;
    pool = calloc(1, sizeof(*pool));
    if (!pool)
        return -ENOMEM;
    *pool = (proa_buffer_pool){.loop = loop, .count = count, .size = size, .available = count, .id = id};
    pool->memory = sys_map(&host->sys, (size_t)count * size);
    error = pool->memory ? host->table->buffers_open(host->engine, pool) : -ENOMEM;
    if (error < 0) {
        if (pool->memory)
            sys_unmap(&host->sys, pool->memory, (size_t)count * size);
        free(pool);
        return error;
    }
    pool->next = loop->pools;
    loop->pools = pool;
    *ret_pool = pool;
    return 0;
}

void buffers_free(proa_buffer_pool *pool)
{
    struct engine_host *host = host_of(pool->loop);

    host->table->buffers_close(host->engine, pool);
    sys_unmap(&host->sys, pool->memory, (size_t)pool->count * pool->size);
    free(pool);
}

void proa_buffer_pool_close(proa_buffer_pool *pool)
{
    proa_loop *loop = pool->loop;
    proa_buffer_pool **link = &loop->pools;

    loop_check(loop, __func__);
    if (pool->users > 0)
        panic(__func__, "a receive is still in flight on the pool");
    while (*link != pool)
        link = &(*link)->next;
    *link = pool->next;
    buffers_free(pool);
}

void *proa_buffer(const proa_buffer_pool *pool, uint32_t buffer)
{
    ASSERT(buffer < pool->count);
    return pool->memory + (size_t)buffer * pool->size;
}

void buffers_feed(proa_buffer_pool *pool)
{
    proa_op *op = pool->starved.first;

    op_detach(host_of(pool->loop), op);
    op_engage(pool->loop, op);
}

void buffers_feed_idle(proa_loop *loop)
{
    for (proa_buffer_pool *pool = loop->pools; pool; pool = pool->next)
        if (pool->starved.first && pool->available == pool->count)
            buffers_feed(pool);
}

void proa_buffer_return(proa_buffer_pool *pool, uint32_t buffer)
{
    proa_loop *loop = pool->loop;
    struct engine_host *host = host_of(loop);

    loop_check(loop, __func__);
    if (unlikely(buffer >= pool->count || pool->available == pool->count))
        panic(__func__, "the buffer was not lent");
    host->table->buffer_return(host->engine, pool, buffer);
    pool->available++;
    if (unlikely(pool->starved.first))
        buffers_feed(pool);
}

/* Power-of-two classes with one free-list each; what is over the bound goes back to the heap. */
#include "serve/block.h"

#include <stdlib.h>

static size_t class_size(unsigned rank)
{
    return (size_t)1 << (BLOCK_CLASS_SMALLEST + rank);
}

static unsigned class_of(size_t size)
{
    unsigned rank = 0;

    while (rank < BLOCK_CLASSES && class_size(rank) < size)
        rank++;
    return rank;
}

struct block *block_make(size_t size)
{
    struct block *block = malloc(sizeof(*block) + size);

    if (block)
        *block = (struct block){.references = 1, .capacity = (uint32_t)size};
    return block;
}

struct block *block_take(struct block_pool *pool, size_t size)
{
    unsigned rank = class_of(size);
    if (rank == BLOCK_CLASSES)
        return block_make(size);

    struct block *block = pool->free[rank];
    if (block) {
        pool->free[rank] = block->next;
        pool->kept[rank]--;
        block->references = 1;
        return block;
    }
    block = block_make(class_size(rank));
    if (block)
        block->pooled = rank + 1;
    return block;
}

void block_free(struct block_pool *pool, struct block *block)
{
    unsigned rank = block->pooled - 1;

    if (!block->pooled || (pool->kept[rank] + 1) * class_size(rank) > BLOCK_KEPT_BYTES) {
        free(block);
        return;
    }
    block->next = pool->free[rank];
    pool->free[rank] = block;
    pool->kept[rank]++;
}

void block_pool_clear(struct block_pool *pool)
{
    for (unsigned rank = 0; rank < BLOCK_CLASSES; rank++) {
        while (pool->free[rank]) {
            struct block *block = pool->free[rank];
            pool->free[rank] = block->next;
            free(block);
        }
        pool->kept[rank] = 0;
    }
}

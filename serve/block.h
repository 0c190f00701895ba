/* Memory that is on its way out: a rendered head, alone or with its body, or text between the bytes of a file.
 *
 * A block is shared by counting references: one per send in flight, one of the cache entry it belongs to. It does not
 * change while a send refers to it. Blocks of pooled sizes come from bounded free-lists, so that answering allocates
 * nothing once the server is warm. */
#ifndef SERVE_BLOCK_H
#define SERVE_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BLOCK_CLASS_SMALLEST = 10, /* 1 KiB */
    BLOCK_CLASSES = 9,         /* to 256 KiB */
    BLOCK_KEPT_BYTES = 4 << 20 /* per class on the free-list */
};

struct block {
    uint32_t references;
    uint32_t capacity;        /* of data, bytes */
    uint32_t date_generation; /* of the Date in it, for the cache */
    uint32_t pooled;          /* its class + 1; 0: of its exact size, never kept */
    struct block *next;       /* on the free-list */
    char data[];
};

struct block_pool {
    struct block *free[BLOCK_CLASSES];
    uint32_t kept[BLOCK_CLASSES];
};

/* A block of at least `size` bytes with one reference; NULL: no memory. */
struct block *block_take(struct block_pool *pool, size_t size);

/* The same, of exactly `size` bytes, for memory that stays. */
struct block *block_make(size_t size);

static inline struct block *block_hold(struct block *block)
{
    block->references++;
    return block;
}

void block_free(struct block_pool *pool, struct block *block);

/* Drops one reference; NULL is allowed. */
static inline void block_release(struct block_pool *pool, struct block *block)
{
    if (block && --block->references == 0)
        block_free(pool, block);
}

void block_pool_clear(struct block_pool *pool);

#endif

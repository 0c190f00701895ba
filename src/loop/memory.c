/* Registered memory: the loop keeps the table, so that every engine answers alike; one that has a use for it looks there. */
#include <errno.h>
#include <proa/buffer.h>

#include "loop/loop.h"

static int overlaps(const struct memory_region *region, const uint8_t *memory, size_t size)
{
    return region->size > 0 && memory < region->memory + region->size && region->memory < memory + size;
}

/* The place that is free, or a negative errno. */
static int find_place(const struct engine_host *host, const uint8_t *memory, size_t size)
{
    int place = -ENOSPC;

    for (int i = REGIONS_MAX - 1; i >= 0; i--) {
        if (overlaps(&host->regions[i], memory, size))
            return -EEXIST;
        if (host->regions[i].size == 0)
            place = i;
    }
    return place;
}

int proa_memory_register(proa_loop *loop, void *memory, size_t size)
{
    struct engine_host *host = host_of(loop);
    int place, error = 0;

    loop_check(loop, __func__);
    if (!memory || size == 0)
        return -EINVAL;
    place = find_place(host, memory, size);
    if (place < 0)
        return place;
    if (host->table->memory_register)
        error = host->table->memory_register(host->engine, (uint32_t)place, memory, size);
    if (error < 0)
        return error;
    host->regions[place] = (struct memory_region){memory, size};
    host->region_count++;
    return 0;
}

int proa_memory_unregister(proa_loop *loop, void *memory)
{
    struct engine_host *host = host_of(loop);

    loop_check(loop, __func__);
    for (uint32_t i = 0; i < REGIONS_MAX; i++) {
        if (host->regions[i].size == 0 || host->regions[i].memory != memory)
            continue;
        if (host->table->memory_register)
            host->table->memory_register(host->engine, i, NULL, 0);
        host->regions[i] = (struct memory_region){0};
        host->region_count--;
        return 0;
    }
    return -ENOENT;
}

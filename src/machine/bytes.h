/* A queue of bytes, first in, first out. */
#ifndef PROA_MACHINE_BYTES_H
#define PROA_MACHINE_BYTES_H

#include "machine/state.h"

struct bytes {
    uint8_t *data;
    size_t begin, end, room;
};

static inline size_t bytes_count(const struct bytes *bytes)
{
    return bytes->end - bytes->begin;
}

static inline void bytes_put(struct bytes *bytes, const void *data, size_t size)
{
    if (bytes->begin > 0 && bytes->end + size > bytes->room) {
        memmove(bytes->data, bytes->data + bytes->begin, bytes_count(bytes));
        bytes->end = bytes_count(bytes);
        bytes->begin = 0;
    }
    if (bytes->end + size > bytes->room) {
        bytes->room = 2 * bytes->room > bytes->end + size ? 2 * bytes->room : bytes->end + size;
        bytes->data = machine_grow(bytes->data, bytes->room);
    }
    if (size > 0)
        memcpy(bytes->data + bytes->end, data, size);
    bytes->end += size;
}

static inline void bytes_drop(struct bytes *bytes, size_t size)
{
    bytes->begin += size;
}

#endif

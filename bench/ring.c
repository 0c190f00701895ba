/* Opening the ring and its buffers: see ring.h. */
#define _GNU_SOURCE
#include "ring.h"

#include <errno.h>
#include <sys/mman.h>

int ring_open(struct io_uring *ring, unsigned sq_entries, unsigned cq_entries, unsigned more_flags)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
                 IORING_SETUP_CQSIZE | more_flags,
        .cq_entries = cq_entries,
    };
    int result = io_uring_queue_init_params(sq_entries, ring, &params);

    if (result < 0)
        return result;
    result = io_uring_register_ring_fd(ring);
    return result < 0 ? result : 0;
}

static void *pages(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

int ring_buffers_open(struct io_uring *ring, struct ring_buffers *buffers, unsigned count, unsigned size)
{
    struct io_uring_buf_reg registration = {.ring_entries = count, .bgid = RING_GROUP};
    int result;

    buffers->count = count;
    buffers->size = size;
    /* An odd number of cache lines apart, so that the first lines of all buffers do not share a few cache sets. */
    buffers->stride = ((size + RING_CACHE_LINE - 1) / RING_CACHE_LINE | 1) * RING_CACHE_LINE;
    buffers->returned = 0;
    buffers->ring = pages(count * sizeof(struct io_uring_buf));
    buffers->memory = pages((size_t)count * buffers->stride);
    if (!buffers->ring || !buffers->memory)
        return -ENOMEM;
    registration.ring_addr = (unsigned long)buffers->ring;
    io_uring_buf_ring_init(buffers->ring);
    result = io_uring_register_buf_ring(ring, &registration, 0);
    if (result < 0)
        return result;
    for (unsigned id = 0; id < count; id++)
        ring_buffer_return(buffers, id);
    ring_buffers_publish(buffers);
    return 0;
}

/*
 * The io_uring that the references and the load client use: SINGLE_ISSUER, DEFER_TASKRUN, SUBMIT_ALL, a completion
 * queue larger than the submission queue, the ring's descriptor registered, and a ring of provided buffers.
 *
 * liburing 2.3 is the oldest that builds this; names of later kernels are guarded here.
 */
#ifndef BENCH_RING_H
#define BENCH_RING_H

#include <liburing.h>
#include <stddef.h>

/* Names that Debian 12's liburing 2.3 lacks go here, guarded; none is needed so far. */

enum {
    RING_CACHE_LINE = 64,
    RING_GROUP = 0, /* the one buffer group */
};

struct ring_buffers {
    struct io_uring_buf_ring *ring;
    char *memory;
    unsigned count, size, stride;
    unsigned short returned; /* buffers put back but not yet shown to the kernel */
};

/* Opens the ring. `more_flags` is added to the set-up flags. Returns 0 or a negative errno. */
int ring_open(struct io_uring *ring, unsigned sq_entries, unsigned cq_entries, unsigned more_flags);

/* Registers `count` (a power of two) buffers of `size` bytes as group RING_GROUP. Returns 0 or a negative errno. */
int ring_buffers_open(struct io_uring *ring, struct ring_buffers *buffers, unsigned count, unsigned size);

static inline char *ring_buffer(const struct ring_buffers *buffers, unsigned id)
{
    return buffers->memory + (size_t)id * buffers->stride;
}

static inline void ring_buffer_return(struct ring_buffers *buffers, unsigned id)
{
    io_uring_buf_ring_add(buffers->ring, ring_buffer(buffers, id), buffers->size, (unsigned short)id,
                          (int)buffers->count - 1, buffers->returned++);
}

/* Shows the returned buffers to the kernel: one release store per turn. */
static inline void ring_buffers_publish(struct ring_buffers *buffers)
{
    if (buffers->returned)
        io_uring_buf_ring_advance(buffers->ring, buffers->returned);
    buffers->returned = 0;
}

/* A free submission entry, submitting what is queued if there is none. */
static inline struct io_uring_sqe *ring_sqe(struct io_uring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

    while (__builtin_expect(!sqe, 0)) {
        io_uring_submit(ring);
        sqe = io_uring_get_sqe(ring);
    }
    return sqe;
}

/* A multishot receive into provided buffers. POLL_FIRST: an arm while the buffer ring is empty waits for data
 * instead of failing at once with ENOBUFS. */
static inline void ring_prep_receive(struct io_uring_sqe *sqe, int fd)
{
    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = RING_GROUP;
}

/* A send that posts no completion if and only if all bytes were accepted at once; otherwise it posts -EAGAIN or the
 * short count within the same enter. (Linux io_uring/net.c: MSG_DONTWAIT makes the request NOWAIT, MSG_WAITALL makes a
 * short count a failure, and a failure clears CQE_SKIP.) */
static inline void ring_prep_send_quiet(struct io_uring_sqe *sqe, int fd, const void *data, size_t size)
{
    io_uring_prep_send(sqe, fd, data, size, MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

#endif

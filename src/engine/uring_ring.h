/* The ring itself: set-up with the flags that pay, the self-test, entries, completions, entering. liburing maps the
 * memory and fills in entries; the system calls go through the shims. */
#ifndef PROA_URING_RING_H
#define PROA_URING_RING_H

#include "engine/engine.h"
#include "sys/ring_abi.h"

struct ring {
    struct sys *sys;
    struct io_uring uring;
    int enter_fd; /* index of the registered descriptor, or the descriptor */
    unsigned enter_flags;
    unsigned entries;
    unsigned sq_tail; /* entries handed out; the kernel's tail follows on entering */
    unsigned cq_head;
    int is_open;
};

/* Opens a ring of `entries`, or of fewer where locked memory is short, and makes a round trip of every feature that the
 * engine needs. Returns 0, or a negative errno with the reason (PROA_REASON_MAX bytes). */
int ring_open(struct ring *ring, struct sys *sys, unsigned entries, char *ret_reason);
void ring_close(struct ring *ring);

/* Submits all entries and, where `wait` is not 0, waits for a completion, at most `timeout_ns` (PROA_NEVER: no limit).
 * Returns 0, or a negative errno after which the ring is of no use. */
int ring_enter(struct ring *ring, unsigned wait, uint64_t timeout_ns);

int ring_register_buffers(struct ring *ring, void *memory, uint32_t count, uint32_t group);
void ring_unregister_buffers(struct ring *ring, uint32_t group);

static inline int ring_is_full(const struct ring *ring)
{
    return ring->sq_tail - io_uring_smp_load_acquire(ring->uring.sq.khead) == ring->entries;
}

static inline int ring_all_consumed(const struct ring *ring)
{
    return ring->sq_tail == io_uring_smp_load_acquire(ring->uring.sq.khead);
}

/* Completions that found no room in the queue wait in the kernel; entering brings them as room is made. */
static inline int ring_overflowed(const struct ring *ring)
{
    return unlikely(IO_URING_READ_ONCE(*ring->uring.sq.kflags) & IORING_SQ_CQ_OVERFLOW);
}

static inline struct io_uring_sqe *ring_next(struct ring *ring)
{
    return &ring->uring.sq.sqes[ring->sq_tail++ & (ring->entries - 1)];
}

static inline size_t ring_index(const struct ring *ring, const struct io_uring_sqe *entry)
{
    return (size_t)(entry - ring->uring.sq.sqes);
}

/* The completion at `head`, or null where none has come yet. */
static inline struct io_uring_cqe *ring_peek(const struct ring *ring, unsigned head)
{
    if (head == io_uring_smp_load_acquire(ring->uring.cq.ktail))
        return NULL;
    return &ring->uring.cq.cqes[head & ring->uring.cq.ring_mask];
}

/* Tells the kernel that what stands before `cq_head` has been read. */
static inline void ring_publish_head(struct ring *ring)
{
    io_uring_smp_store_release(ring->uring.cq.khead, ring->cq_head);
}

#endif

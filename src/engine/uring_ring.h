/* The ring itself: set-up with the flags that pay, entries, completions, entering. liburing maps the
 * memory and fills in entries; the system calls go through the shims.
 *
 * A ring is entered by its owner, who submits and waits in one call; or, on request, the kernel gives it a thread that
 * takes the entries as they are published (SQPOLL). Then a call is needed only to wake that thread or to sleep. */
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
    int has_thread; /* of the kernel, which takes the entries */
};

enum ring_mode {
    RING_OWN = 0,
    RING_THREAD = 1 << 0,   /* the kernel's thread takes the entries */
    RING_DISABLED = 1 << 1, /* not to be entered before ring_enable() */
};

/* Opens a ring of `entries`, or of fewer where locked memory is short. Returns 0, or a negative errno with the reason
 * (PROA_REASON_MAX bytes) and nothing left open. */
int ring_open(struct ring *ring, struct sys *sys, unsigned entries, enum ring_mode mode, char *ret_reason);
void ring_close(struct ring *ring);

/* Submits all entries and, where `wait` is not 0, waits for a completion, at most `timeout_ns` (PROA_NEVER: no limit).
 * With the queue full, it has room afterwards. Returns 0, or a negative errno after which the ring is of no use. */
int ring_enter(struct ring *ring, unsigned wait, uint64_t timeout_ns);

/* What ENOMEM means here. */
extern const char ring_memory_refusal[];

int ring_register_buffers(struct ring *ring, void *memory, uint32_t count, uint32_t group);
void ring_unregister_buffers(struct ring *ring, uint32_t group);

/* What else can be registered. Each returns 0 or a negative errno. */

/* An empty table of direct descriptors, with room for `*count` of them or as many as there may be. */
int ring_register_files(struct ring *ring, uint32_t *count);
int ring_drop_file(struct ring *ring, uint32_t place);
void ring_unregister_files(struct ring *ring);

/* An empty table of memory, and one place in it: `memory` null leaves it empty. */
int ring_register_memory_table(struct ring *ring, uint32_t count);
int ring_register_memory(struct ring *ring, uint32_t place, void *memory, size_t size);
void ring_unregister_memory_table(struct ring *ring);

/* From its enabling on the ring takes these kinds of entry only, and registers no more than the engine needs. */
int ring_restrict(struct ring *ring, const uint8_t *opcodes, size_t count);
int ring_enable(struct ring *ring);

int ring_limit_workers(struct ring *ring);
int ring_busy_poll(struct ring *ring, uint32_t busy_poll_us);

/* Entries that can be handed out before the kernel has to take some. */
static inline unsigned ring_room(const struct ring *ring)
{
    return ring->entries - (ring->sq_tail - io_uring_smp_load_acquire(ring->uring.sq.khead));
}

static inline int ring_is_full(const struct ring *ring)
{
    return ring_room(ring) == 0;
}

/* Whether the kernel has taken all entries that were handed out until the tail stood there: what they point at, but for
 * the ops' own memory, has been read. */
static inline int ring_has_consumed(const struct ring *ring, unsigned tail)
{
    return (int)(io_uring_smp_load_acquire(ring->uring.sq.khead) - tail) >= 0;
}

static inline int ring_all_consumed(const struct ring *ring)
{
    return ring_has_consumed(ring, ring->sq_tail);
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

/* What an engine is: the porting guide.
 *
 * The loop above decides what ops mean; an engine only brings them to the kernel and their results back. It is a const
 * table of functions (struct engine_table) over what the loop lends it (struct engine_host). An engine never calls up:
 * results go into the array that reap() was given, or, where the engine settles an op by itself, through op_done() onto
 * the host's queue. `ready.c` turns any readiness call into an engine; `uring.c` is one that completes natively. */
#ifndef PROA_ENGINE_INTERNAL_H
#define PROA_ENGINE_INTERNAL_H

#include <proa/buffer.h>
#include <proa/engine.h>
#include <proa/loop.h>
#include <proa/op.h>
#include <stdatomic.h>

#include "base/base.h"
#include "base/list.h"
#include "sys/sys.h"

/* Every kind of op: X(KIND, name, list). The list of its descriptor that it waits in: IN and OUT keep the order of
 * start; FILE is IN on engines with native files and none on others; NONE has no descriptor to wait on. */
#define OP_KINDS(X)                     \
    X(LISTEN, listen, NONE)             \
    X(ACCEPT, accept, IN)               \
    X(ACCEPT_MANY, accept_many, IN)     \
    X(CONNECT, connect, OUT)            \
    X(RECV, recv, IN)                   \
    X(RECV_MANY, recv_many, IN)         \
    X(SEND, send, OUT)                  \
    X(SHUTDOWN, shutdown, OUT)          \
    X(CLOSE, close, NONE)               \
    X(OPEN, open, FILE)                 \
    X(READ, read, FILE)                 \
    X(WRITE, write, FILE)               \
    X(FSYNC, fsync, FILE)               \
    X(FDATASYNC, fdatasync, FILE)       \
    X(STAT, stat, FILE)                 \
    X(TIMER, timer, NONE)               \
    X(TIMER_REPEAT, timer_repeat, NONE) \
    X(POLL, poll, IN)                   \
    X(SIGNAL, signal, IN)               \
    X(WORK, work, NONE)                 \
    X(POST, post, NONE)

enum op_kind {
#define OP_KIND_ENUM(kind, name, list) OP_##kind,
    OP_KINDS(OP_KIND_ENUM)
#undef OP_KIND_ENUM
};

enum op_list_choice { LIST_NONE, LIST_IN, LIST_OUT, LIST_FILE, LIST_LOOSE };

enum op_state {
    OP_IDLE,      /* the caller's */
    OP_IN_FLIGHT, /* the engine's, the pool's, the clock's, or waiting in the loop */
    OP_DONE,      /* on the host's queue with its result, still to be delivered */
};

enum op_flag {
    OP_IN = 1 << 0,        /* in its descriptor's list `in` */
    OP_OUT = 1 << 1,       /* in its descriptor's list `out` */
    OP_ATTACHED = 1 << 2,  /* counts among its descriptor's pending ops */
    OP_CANCELLED = 1 << 3, /* the caller asked for an early end */
    OP_TIMED_OUT = 1 << 4, /* its deadline has passed */
    OP_RELAXED = 1 << 5,   /* success alone need not wake the loop */
    OP_SUBMITTED = 1 << 6, /* what the kernel has been offered: a send's bytes, a connect */
    OP_REFUSED = 1 << 7,   /* a relaxed send that would have had to wait: from now on it waits */
    OP_RESTING = 1 << 8,   /* a repeating op that the engine does not hold just now */
    OP_WAITING = 1 << 9,   /* in `paused` or `starved`: waits for a descriptor or a buffer */
    OP_POOLED = 1 << 10,   /* with the pool's threads */
    OP_INTERNAL = 1 << 11, /* the loop's own: neither counted nor waited for */
    OP_HELD = 1 << 12,     /* ring engines: a receive behind an earlier one of the same descriptor */
    OP_LOOSE = 1 << 13,    /* in `loose`: with the engine, but on no descriptor */
    OP_OVER = OP_CANCELLED | OP_TIMED_OUT,
};

/* What the loop knows of one descriptor, at its number's place in a table. */
struct descriptor {
    struct op_list in, out;
    uint32_t pending; /* ops started on it whose final completion is still to be delivered */
    int32_t next_due; /* chain of struct descriptor_queue */
    uint8_t watched;  /* readiness engines: the directions that the kernel reports, */
    uint8_t ready;    /* and those known to be ready */
    uint16_t flags;
};

_Static_assert(sizeof(struct descriptor) <= 32,
               "the table is indexed for every message, and held for every connection");

enum descriptor_flag {
    FD_DUE = 1 << 0,     /* in the engine's queue */
    FD_WAITING = 1 << 1, /* has had ops that wait for a buffer or a descriptor (OP_WAITING) */
    FD_SENDING = 1 << 2, /* a send is with the kernel, or its result on the way up */
    FD_FULL = 1 << 3,    /* readiness engines: the last send found no room, */
    FD_POLLED = 1 << 4,  /* there have been foreign polls */
    FD_CLOSING = 1 << 5, /* nothing is started any more; the close is last in `out` until nothing is pending */
    FD_OURS = 1 << 6,    /* made by an op, so that its number changes hands by ops alone */
    FD_UNSURE = 1 << 7,  /* may have been closed and made anew elsewhere: what is watched is to be said again */
    FD_FILE = 1 << 8,    /* readiness engines: of a kind that cannot be watched */
    FD_LOCAL = 1 << 9,   /* a Unix socket */
};

/* The descriptors an engine has to look at, chained by number plus one, so that zero is the end. */
struct descriptor_queue {
    int32_t first, last;
};

/* One result on its way up. With PROA_MORE the engine goes on with the op by itself. */
struct completion {
    proa_op *op;
    proa_result result;
};

struct proa_buffer_pool {
    proa_loop *loop;
    uint8_t *memory;
    uint32_t count, size;
    uint32_t available;     /* buffers not lent */
    uint32_t users;         /* receives in flight */
    uint32_t id;            /* among the loop's pools */
    struct op_list starved; /* receives that wait for a buffer */
    proa_buffer_pool *next; /* of the same loop */
    uint32_t *free_stack;   /* readiness engines: the indices of the available ones */
    void *ring;             /* ring engines: where the kernel takes them from */
    uint32_t ring_tail;
};

/* What the loop lends its engine. */
struct engine_host {
    struct sys sys;
    proa_meters meters;
    struct descriptor *descriptors;
    uint32_t descriptor_count;
    uint32_t starving;        /* receives that wait for a buffer */
    struct op_list paused;    /* accepts that wait for a descriptor */
    struct op_list loose;     /* native file ops in the current directory */
    struct op_list done;      /* settled ops with their results */
    proa_op *_Atomic posted;  /* from other threads: a stack, last one first, chained by `next` */
    uint32_t descriptor_high; /* no op was ever attached to a number from here on */
    const struct engine_table *table;
    struct engine *engine;
    struct pool *pool;
    uint32_t queue_entries;
};

/* An engine's own state; each engine defines it for itself. */
struct engine;

struct engine_table {
    const char *name;
    const char *summary;
    int native_files; /* file ops wait in their descriptor's list, not on the pool */

    /* Opens for `host`, after a round trip of each feature needed. Returns 0, or a negative errno with `ret_reason`
     * (PROA_REASON_MAX bytes) saying what was refused. */
    int (*open)(struct engine_host *host, struct engine **ret_engine, char *ret_reason);
    void (*close)(struct engine *engine);

    /* Takes an op. A send only says that its descriptor has some: the engine offers the kernel as many of them at once
     * as it likes, and one completion of the first, for all, says how many bytes were taken. */
    void (*start)(struct engine *engine, proa_op *op);

    /* Asks for the early end of an op it was given. Never lost; the op still gets its completion. */
    void (*cancel)(struct engine *engine, proa_op *op);

    /* Brings what was started to the kernel, and waits until something completes or `until_ns`; a time that has passed
     * means not to wait, PROA_NEVER without limit. */
    void (*wait)(struct engine *engine, uint64_t now_ns, uint64_t until_ns);

    /* Fills in up to `max` results that are there. Returns how many; 0 when there are no more. */
    size_t (*reap)(struct engine *engine, struct completion *completions, size_t max);

    /* From any thread: ends the current wait, or else the next one. */
    void (*wake)(struct engine *engine);

    int (*buffers_open)(struct engine *engine, proa_buffer_pool *pool);
    void (*buffers_close)(struct engine *engine, proa_buffer_pool *pool);
    void (*buffer_return)(struct engine *engine, proa_buffer_pool *pool, uint32_t buffer);
};

extern const struct engine_table engine_uring, engine_epoll;

/* Opens the engine `name`, or the best that works where it is null. `ret_choice` (2 * PROA_REASON_MAX bytes) gets one
 * sentence on what was chosen and why. */
int engine_open(struct engine_host *host, const char *name, char *ret_choice);

/* Ops between their start and the delivery of their final completion; internal ones do not count. */
static inline uint64_t host_in_flight(const struct engine_host *host)
{
    return host->meters.ops_started - host->meters.ops_completed;
}

static inline struct descriptor *host_descriptor(struct engine_host *host, int fd)
{
    return (uint32_t)fd < host->descriptor_count ? &host->descriptors[fd] : NULL;
}

/* Takes the op out of the list it waits in, if any. */
static inline void op_detach(struct engine_host *host, proa_op *op)
{
    if (op->flags & OP_IN)
        list_remove(&host->descriptors[op->fd].in, op);
    else if (op->flags & OP_OUT)
        list_remove(&host->descriptors[op->fd].out, op);
    else if (op->flags & OP_WAITING)
        list_remove(op->kind == OP_RECV_MANY ? &((proa_buffer_pool *)op->data)->starved : &host->paused, op);
    else if (op->flags & OP_LOOSE)
        list_remove(&host->loose, op);
    if (op->flags & OP_WAITING && op->kind == OP_RECV_MANY)
        host->starving--;
    op->flags &= (uint16_t) ~(OP_IN | OP_OUT | OP_WAITING | OP_LOOSE);
}

static inline void op_attach_in(struct engine_host *host, proa_op *op)
{
    list_append(&host->descriptors[op->fd].in, op);
    op->flags |= OP_IN;
}

static inline void op_attach_out(struct engine_host *host, proa_op *op)
{
    list_append(&host->descriptors[op->fd].out, op);
    op->flags |= OP_OUT;
}

static inline void op_attach_loose(struct engine_host *host, proa_op *op)
{
    list_append(&host->loose, op);
    op->flags |= OP_LOOSE;
}

/* Settles an op: its final completion, with `value`, is delivered from the loop's queue. */
static inline void op_done(struct engine_host *host, proa_op *op, int64_t value)
{
    op_detach(host, op);
    op->state = OP_DONE;
    op->error = value < 0 ? (int32_t)value : 0;
    if (value >= 0)
        op->moved = (uint64_t)value;
    list_append(&host->done, op);
}

/* Forgets all that was known of a descriptor whose number changes hands. */
static inline void descriptor_reset(struct descriptor *descriptor)
{
    descriptor->watched = 0;
    descriptor->ready = 0;
    descriptor->flags &= FD_DUE;
}

/* Closes for real, at once: a number must not be free while the table still holds its past. No engine gains by closing in
 * another way; a readiness engine stops watching first. */
static inline void host_close(struct engine_host *host, proa_op *op)
{
    int result = sys_close(&host->sys, op->fd);

    descriptor_reset(&host->descriptors[op->fd]);
    op_done(host, op, result);
}

static inline void descriptor_enqueue(struct engine_host *host, struct descriptor_queue *queue,
                                      struct descriptor *descriptor)
{
    int32_t index = (int32_t)(descriptor - host->descriptors) + 1;

    descriptor->next_due = 0;
    if (queue->last)
        host->descriptors[queue->last - 1].next_due = index;
    else
        queue->first = index;
    queue->last = index;
    descriptor->flags |= FD_DUE;
}

static inline struct descriptor *descriptor_dequeue(struct engine_host *host, struct descriptor_queue *queue)
{
    struct descriptor *descriptor;

    if (!queue->first)
        return NULL;
    descriptor = &host->descriptors[queue->first - 1];
    queue->first = descriptor->next_due;
    if (!queue->first)
        queue->last = 0;
    descriptor->flags &= (uint16_t)~FD_DUE;
    return descriptor;
}

#endif

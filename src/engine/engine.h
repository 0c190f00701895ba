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

/* Every kind of op: X(KIND, name, list, family). The list of its descriptor that it waits in: IN and OUT keep the order of
 * start; FILE is IN on engines with native files and none on others; NONE has no descriptor to wait on. The family: of
 * PROA_FAMILIES, or ANY for what every loop can do. */
#define OP_KINDS(X)                                 \
    X(LISTEN, listen, NONE, SOCKETS)                \
    X(ACCEPT, accept, IN, SOCKETS)                  \
    X(ACCEPT_MANY, accept_many, IN, SOCKETS)        \
    X(CONNECT, connect, OUT, SOCKETS)               \
    X(RECV, recv, IN, SOCKETS)                      \
    X(RECV_MANY, recv_many, IN, SOCKETS)            \
    X(SEND, send, OUT, SOCKETS)                     \
    X(SEND_FILE, send_file, OUT, SOCKETS)           \
    X(SEND_ZERO_COPY, send_zero_copy, OUT, SOCKETS) \
    X(SHUTDOWN, shutdown, OUT, SOCKETS)             \
    X(DATAGRAM_OPEN, datagram_open, NONE, SOCKETS)  \
    X(RECV_FROM, recv_from, IN, SOCKETS)            \
    X(RECV_FROM_MANY, recv_from_many, IN, SOCKETS)  \
    X(SEND_TO, send_to, OUT, SOCKETS)               \
    X(CLOSE, close, NONE, ANY)                      \
    X(OPEN, open, FILE, FILES)                      \
    X(READ, read, FILE, FILES)                      \
    X(WRITE, write, FILE, FILES)                    \
    X(READV, readv, FILE, FILES)                    \
    X(WRITEV, writev, FILE, FILES)                  \
    X(FSYNC, fsync, FILE, FILES)                    \
    X(FDATASYNC, fdatasync, FILE, FILES)            \
    X(STAT, stat, FILE, FILES)                      \
    X(TRUNCATE, truncate, FILE, FILES)              \
    X(ALLOCATE, allocate, FILE, FILES)              \
    X(MAKE_DIRECTORY, make_directory, FILE, FILES)  \
    X(UNLINK, unlink, FILE, FILES)                  \
    X(RENAME, rename, FILE, FILES)                  \
    X(HARD_LINK, hard_link, FILE, FILES)            \
    X(SYMBOLIC_LINK, symbolic_link, FILE, FILES)    \
    X(READ_LINK, read_link, FILE, FILES)            \
    X(READ_DIRECTORY, read_directory, FILE, FILES)  \
    X(WATCH, watch, IN, FILES)                      \
    X(TIMER, timer, NONE, TIME)                     \
    X(TIMER_REPEAT, timer_repeat, NONE, TIME)       \
    X(POLL, poll, IN, EVENTS)                       \
    X(SIGNAL, signal, IN, EVENTS)                   \
    X(WARM, warm, NONE, ANY)                        \
    X(WORK, work, NONE, EVENTS)                     \
    X(FILE_WORK, file_work, NONE, ANY)              \
    X(SPAWN, spawn, NONE, EVENTS)                   \
    X(WAIT_CHILD, wait_child, IN, EVENTS)           \
    X(POST, post, NONE, ANY)                        \
    X(COMPOSED, composed, NONE, ANY)

enum op_kind {
#define OP_KIND_ENUM(kind, name, list, family) OP_##kind,
    OP_KINDS(OP_KIND_ENUM)
#undef OP_KIND_ENUM
};

/* Engine `threads`: the default of proa_loop_options.op_threads_max. */
enum { OP_THREADS_MAX = 1024 };

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
    OP_SUBMITTED = 1 << 6, /* what the kernel has been offered: a send's bytes, a connect, a receive not heard of yet */
    OP_REFUSED = 1 << 7,   /* tried at once, it would have had to wait: from now on it waits */
    OP_RESTING = 1 << 8,   /* a repeating op that the engine does not hold just now */
    OP_WAITING = 1 << 9,   /* in `paused` or `starved`: waits for a descriptor or a buffer */
    OP_POOLED = 1 << 10,   /* with the pool's threads */
    OP_INTERNAL = 1 << 11, /* the loop's own: neither counted nor waited for */
    OP_HELD = 1 << 12,     /* a receive that the engine holds back behind an earlier one of the same descriptor */
    OP_LOOSE = 1 << 13,    /* in `loose`: with the engine or a lane, but in no list of a descriptor */
    OP_LINKED = 1 << 14,   /* in `linked`: its turn comes after that of the op before it */
    OP_MADE = 1 << 15,     /* in `composed` */
    OP_PAIRED = 1 << 16,   /* names a second descriptor, `other_fd`, */
    OP_ATTACHED_OTHER = 1 << 17, /* and counts among the pending ops of that one */
    OP_BY_VALUE = 1 << 20,       /* a send without copy whose bytes, or what is left of them, are copied */
    OP_COPIED = 1 << 18,         /* a send without copy that the kernel copied after all */
    OP_AWAITING = 1 << 19,       /* in `awaiting`: sent, but the kernel still reads its memory */
    OP_FETCHING = 1 << 22,       /* a send of a file: what it needs next is being fetched, or is to be */
    OP_TOLD = 1 << 21,           /* a send without copy whose caller knows that all is taken */
    OP_OVER = OP_CANCELLED | OP_TIMED_OUT,
};

/* What was found out about a file (direct.h), or not yet: zero. */
struct file_facts {
    uint8_t cache;            /* CACHE_... */
    uint8_t misses;           /* hot reads (hot.h) that missed, in a row, */
    uint8_t passes;           /* and reads that are not to be tried yet */
    uint8_t memory_shift : 4; /* what direct reads and writes must be aligned to: powers of two */
    uint8_t offset_shift : 4;
};

enum { CACHE_UNKNOWN, CACHE_USED, CACHE_BYPASSED };

/* What the loop knows of one descriptor, at its number's place in a table. */
struct descriptor {
    struct op_list in, out;
    uint32_t pending; /* ops started on it whose final completion is still to be delivered */
    int32_t next_due; /* chain of struct descriptor_queue */
    uint8_t watched;  /* readiness engines: the directions that the kernel reports, */
    uint8_t ready;    /* and those known to be ready */
    uint16_t flags;
    union {
        uint32_t sending; /* ring engines: datagrams that are with the kernel */
        struct file_facts file;
    };
};

_Static_assert(sizeof(struct descriptor) <= 32,
               "the table is indexed for every message, and held for every connection");

enum descriptor_flag {
    FD_DUE = 1 << 0,       /* in the engine's queue */
    FD_WAITING = 1 << 1,   /* has had ops that wait for a buffer or a descriptor (OP_WAITING) */
    FD_SENDING = 1 << 2,   /* a send is with the kernel, or its result on the way up */
    FD_FULL = 1 << 3,      /* readiness engines: the last send found no room, */
    FD_POLLED = 1 << 4,    /* there have been foreign polls */
    FD_CLOSING = 1 << 5,   /* nothing is started any more; the close is last in `out` until nothing is pending */
    FD_OURS = 1 << 6,      /* made by an op, so that its number changes hands by ops alone */
    FD_UNSURE = 1 << 7,    /* may have been closed and made anew elsewhere: what is watched is to be said again */
    FD_FILE = 1 << 8,      /* readiness engines: of a kind that cannot be watched */
    FD_LOCAL = 1 << 9,     /* a Unix socket */
    FD_DATAGRAM = 1 << 10, /* known to be no stream */
    FD_TCP = 1 << 11,      /* known to be a TCP socket */
    FD_SHARED = 1 << 12,   /* a listener that several processes accept from */
    FD_SOURCE = 1 << 13,   /* has been `other_fd` of an op (OP_ATTACHED_OTHER) */
    FD_NOTICES = 1 << 14,  /* the kernel still reads the memory of sends without copy */
    FD_NOTICED = 1 << 15,  /* readiness engines: it says when it no longer does (SO_ZEROCOPY) */
};

/* What the loop knows of the sends without copy on one descriptor, in a table of its own. The kernel takes their memory
 * call by call, and gives it back by a notice for each call, in any order. Of such an op `choice` counts the notices that
 * are still to come, and `error` keeps why it ended early. */
struct notices {
    struct op_list awaiting; /* sends that are over but for that */
    uint64_t cookie;         /* readiness engines: of the socket that is counted here, */
    uint32_t calls; /* and its calls so far: their numbers, as the kernel counts. An op's `other_fd` is its first */
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

/* Memory that the caller registered; one of no size is none. */
struct memory_region {
    uint8_t *memory;
    size_t size;
};

enum { REGIONS_MAX = 16 };

/* What the loop lends its engine. */
struct engine_host {
    struct sys sys;
    proa_meters meters;
    struct descriptor *descriptors;
    struct notices *notices; /* by number, like `descriptors` */
    uint32_t descriptor_count;
    uint32_t starving;        /* receives that wait for a buffer */
    uint32_t sends_awaited;   /* by the loop itself: the end of relaxed sends matters now */
    struct op_list paused;    /* accepts that wait for a descriptor */
    struct op_list loose;     /* native file ops in the current directory; those that a lane keeps */
    struct op_list composed;  /* ops made of others, with their makers */
    struct op_list linked;    /* ops whose turn in their link is still to come */
    struct op_list done;      /* settled ops with their results */
    proa_op *_Atomic posted;  /* from other threads: a stack, last one first, chained by `next` */
    uint32_t descriptor_high; /* no op was ever attached to a number from here on, */
    uint32_t direct_high;     /* nor to a direct descriptor from here on */
    uint32_t direct_count;    /* direct descriptors that the engine made room for, from PROA_DIRECT_BASE on */
    struct memory_region regions[REGIONS_MAX];
    uint32_t region_count; /* of those that are there */
    uint32_t hot_read;     /* bytes of hot reads in this turn */
    const struct engine_table *table;
    struct engine *engine;
    struct pool *pool;
    struct fetches *fetches;             /* for sends of files */
    uint16_t send_file_by;               /* SEND_BY_..., or 0 */
    const struct lane_table *lane_table; /* of engines without native files */
    struct lane *lane;
    int bell;                         /* the eventfd by which the kernel may end the wait of such an engine */
    const proa_loop_options *options; /* while the engine is opened, each with its default filled in */
    uint32_t families;                /* PROA_FAMILY_... of the ops that may be started */
    uint32_t features;                /* PROA_FEATURE_... in effect: the engine adds what it grants as it opens */
    char refusal[PROA_REASON_MAX];    /* of the latest op that the engine refused for a reason of its own */
    int stalled;                      /* a wait ended because nothing could ever end it: simulated machines know */
};

/* An engine's own state; each engine defines it for itself. */
struct engine;

/* What an engine can do here, one row each, tested by a round trip on its own. `test` returns 0, or a negative errno with
 * `ret_reason` (PROA_REASON_MAX bytes). */
struct engine_feature {
    const char *name;
    const char *summary;
    uint32_t feature; /* PROA_FEATURE_..., or 0 for what the engine uses without being asked */
    int (*test)(struct sys *sys, char *ret_reason);
};

struct engine_table {
    const char *name;
    const char *summary;
    int native_files;  /* file ops wait in their descriptor's list, not in a lane or on the pool */
    int by_name_alone; /* never chosen but by its name */
    int simulated; /* on a simulated machine, and there alone; it runs what is queued on the pool, without threads */
    const struct engine_feature *features;
    size_t feature_count;

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

    /* Resets the connection, so that the kernel lets go of what it was given to send. Null where it is never given memory. */
    void (*reset)(struct engine *engine, int fd);

    /* The loop is about to close `fd` by itself. Null where the engine knows nothing of descriptors. */
    void (*forget)(struct engine *engine, int fd);

    int (*buffers_open)(struct engine *engine, proa_buffer_pool *pool);
    void (*buffers_close)(struct engine *engine, proa_buffer_pool *pool);
    void (*buffer_return)(struct engine *engine, proa_buffer_pool *pool, uint32_t buffer);

    /* Has the kernel pin the memory of host->regions[place], or with null memory let go of it. Null where the engine has
     * no use for that. */
    int (*memory_register)(struct engine *engine, uint32_t place, void *memory, size_t size);
};

extern const struct engine_table engine_uring, engine_epoll, engine_poll, engine_select, engine_threads, engine_sim;

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

/* Repeating receives, into buffers of a pool. */
static inline int takes_buffers(const proa_op *op)
{
    return op->kind == OP_RECV_MANY || op->kind == OP_RECV_FROM_MANY;
}

/* Whatever takes what has come to a socket, in order. */
static inline int receives(const proa_op *op)
{
    return takes_buffers(op) || op->kind == OP_RECV || op->kind == OP_RECV_FROM;
}

/* Whatever puts bytes into a stream, in order. */
static inline int is_stream_send(const proa_op *op)
{
    return op->kind == OP_SEND || op->kind == OP_SEND_FILE || op->kind == OP_SEND_ZERO_COPY;
}

/* Whether the kernel still reads the memory of a send: of one that is over, or of the one whose turn it is. */
static inline void notices_update(struct engine_host *host, int fd)
{
    struct descriptor *descriptor = &host->descriptors[fd];
    const proa_op *sending = descriptor->out.first;

    if (host->notices[fd].awaiting.first || (sending && sending->kind == OP_SEND_ZERO_COPY && sending->choice > 0))
        descriptor->flags |= FD_NOTICES;
    else
        descriptor->flags &= (uint16_t)~FD_NOTICES;
}

/* Takes the op out of the list it waits in, if any. */
static inline void op_detach(struct engine_host *host, proa_op *op)
{
    if (op->flags & OP_IN)
        list_remove(&host->descriptors[op->fd].in, op);
    else if (op->flags & OP_OUT)
        list_remove(&host->descriptors[op->fd].out, op);
    else if (op->flags & OP_WAITING)
        list_remove(takes_buffers(op) ? &((proa_buffer_pool *)op->data)->starved : &host->paused, op);
    else if (op->flags & OP_LOOSE)
        list_remove(&host->loose, op);
    else if (op->flags & OP_LINKED)
        list_remove(&host->linked, op);
    else if (op->flags & OP_MADE)
        list_remove(&host->composed, op);
    if (op->flags & OP_WAITING && takes_buffers(op))
        host->starving--;
    op->flags &= ~(unsigned)(OP_IN | OP_OUT | OP_WAITING | OP_LOOSE | OP_LINKED | OP_MADE);
    if (unlikely(op->flags & OP_AWAITING)) {
        op->flags &= ~(unsigned)OP_AWAITING;
        list_remove(&host->notices[op->fd].awaiting, op);
        notices_update(host, op->fd);
    }
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

/* The kernel wakes all receives of a stream at once and fills them in any order: an engine that has several with it holds
 * all but the first back. */
static inline int op_is_behind_receive(const struct engine_host *host, const proa_op *op)
{
    if (!receives(op))
        return 0;
    for (const proa_op *other = host->descriptors[op->fd].in.first; other; other = other->next)
        if (other != op && receives(other) && !(other->flags & OP_HELD))
            return 1;
    return 0;
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
    descriptor->file = (struct file_facts){0};
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

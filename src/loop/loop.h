/* The loop's own state, and what its files offer each other. The order of a turn is in loop.c, the life of an op in op.c
 * (start, cancel, deadline) and settle.c (what its results mean). */
#ifndef PROA_LOOP_INTERNAL_H
#define PROA_LOOP_INTERNAL_H

#include <proa/buffer.h>
#include <proa/loop.h>

#include "base/heap.h"
#include "engine/engine.h"

enum { SIGNAL_COUNT = 65 };

struct proa_loop {
    struct engine_host host; /* first, so that either leads to the other */
    const void *owner;       /* the thread, */
    uint64_t process;        /* and the process the loop belongs to */
    uint64_t now_ns;
    struct heap timing; /* timers and deadlines */
    uint32_t sequence;  /* of the latest timer or deadline, to keep the order of start */
    int running, stopping, closing;
    proa_op retry; /* internal timer: gives paused accepts another try */
    proa_buffer_pool *pools;
    uint16_t signal_users[SIGNAL_COUNT];
    uint8_t signal_was_blocked[SIGNAL_COUNT];
    char choice[2 * PROA_REASON_MAX];
};

static inline struct engine_host *host_of(proa_loop *loop)
{
    return &loop->host;
}

/* An address of the thread's own stands for the thread. */
extern _Thread_local char thread_mark __attribute__((tls_model("initial-exec")));

_Noreturn void loop_refuse(const proa_loop *loop, const char *where);

/* Catches a call from a thread or process that the loop does not belong to. */
static inline void loop_check(const proa_loop *loop, const char *where)
{
    if (unlikely(loop->owner != &thread_mark || loop->process != *sys_process_mark))
        loop_refuse(loop, where);
}

/* Whoever looks at every descriptor in use need not look beyond this one. */
static inline void host_note_descriptor(struct engine_host *host, int fd)
{
    if ((uint32_t)fd >= host->descriptor_high)
        host->descriptor_high = (uint32_t)fd + 1;
}

/* A descriptor that the kernel has just handed out is new, whatever was known of its number. */
static inline void descriptor_welcome(struct engine_host *host, int64_t fd, unsigned flags)
{
    struct descriptor *descriptor = host_descriptor(host, (int)fd);

    if (!descriptor || descriptor->pending > 0)
        return;
    host_note_descriptor(host, (int)fd);
    descriptor_reset(descriptor);
    descriptor->flags |= (uint16_t)(FD_OURS | flags);
}

/* op.c */

/* Asks whoever has the op for its early end, once the reason stands in its flags. */
void op_stop(proa_loop *loop, proa_op *op);

/* Brings an op that is in no list to the engine, for the first time or again. */
void op_engage(proa_loop *loop, proa_op *op);

void timing_set(proa_loop *loop, proa_op *op, uint64_t when_ns);
void timing_clear(proa_loop *loop, proa_op *op);

/* Ends every op in the list. */
void list_stop(struct op_list *list);

/* Ends every op that is pending on the descriptor. */
void descriptor_stop(proa_loop *loop, int fd);

/* settle.c */

void settle(proa_loop *loop, const struct completion *completions, size_t count);

/* Delivers an op from the done queue. */
void settle_done(proa_loop *loop, proa_op *op);

/* A close has made room, or time has passed: paused accepts try again. */
void resume_paused(proa_loop *loop);

/* buffer.c */

void buffers_free(proa_buffer_pool *pool);

/* The receive that has starved longest tries again. */
void buffers_feed(proa_buffer_pool *pool);

/* The same, of every pool that has no buffer lent: those fed before found nothing to receive, so no return will feed the
 * next. */
void buffers_feed_idle(proa_loop *loop);

#endif

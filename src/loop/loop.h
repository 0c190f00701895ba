/* The loop's own state, and what its files offer each other. The order of a turn is in loop.c, the life of an op in op.c
 * (start, cancel, deadline) and settle.c (what its results mean). */
#ifndef PROA_LOOP_INTERNAL_H
#define PROA_LOOP_INTERNAL_H

#include <proa/buffer.h>
#include <proa/loop.h>
#include <proa/relay.h>

#include "base/heap.h"
#include "engine/engine.h"

enum { SIGNAL_COUNT = 65 };

enum { PIPES_MAX = 32 };

/* Of the loop's own. Those at rest are empty. */
struct pipes {
    struct resting_pipe {
        int read, write;
    } resting[PIPES_MAX];
    uint32_t resting_count;
    uint32_t count;   /* of all there are */
    uint32_t waiting; /* ops that wait for one */
};

struct proa_loop {
    struct engine_host host; /* first, so that either leads to the other */
    const void *owner;       /* the thread, */
    uint64_t process;        /* and the process the loop belongs to */
    uint64_t now_ns;
    struct heap timing; /* timers and deadlines */
    uint32_t sequence;  /* of the latest timer or deadline, to keep the order of start */
    int running, stopping, closing;
    int linking;        /* between proa_link_begin() and proa_link_end() */
    proa_op *link_last; /* the latest op of that link */
    proa_op retry;      /* internal timer: gives paused accepts another try */
    proa_buffer_pool *pools;
    proa_relay_pool *relay_pools;
    struct pipes pipes;
    uint16_t signal_users[SIGNAL_COUNT];
    uint8_t signal_was_blocked[SIGNAL_COUNT];
    char choice[2 * PROA_REASON_MAX];
    char lane_choice[2 * PROA_REASON_MAX];
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

/* Whoever looks at every descriptor in use need not look beyond this one. Direct ones are far beyond all others. */
static inline void host_note_descriptor(struct engine_host *host, int fd)
{
    uint32_t *high = fd < PROA_DIRECT_BASE ? &host->descriptor_high : &host->direct_high;

    if ((uint32_t)fd >= *high)
        *high = (uint32_t)fd + 1;
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

/* Begins an op that its caller described, in its link's turn. */
void op_launch(proa_loop *loop, proa_op *op);

/* Counts it among the pending ops of its descriptor. Returns 0 or a negative errno. */
int op_attach(proa_loop *loop, proa_op *op);

/* The same with its second one, once; the current directory counts none. */
int op_attach_other(proa_loop *loop, proa_op *op);

/* Brings an op that is in no list to the engine, for the first time or again. */
void op_engage(proa_loop *loop, proa_op *op);

void timing_set(proa_loop *loop, proa_op *op, uint64_t when_ns);
void timing_clear(proa_loop *loop, proa_op *op);

/* Ends every op in the list. */
void list_stop(struct op_list *list);

/* Ends every op that is made of others; or, where `fd` is not -1, those on that descriptor. */
void composed_stop(proa_loop *loop, int fd);

struct composition {
    proa_fd fd, other; /* what it is on, or -1: neither is closed before it is over */
    void *maker;
    proa_stop_function *stop;
    proa_callback *callback;
};

/* As proa_compose(). `op->size` is the maker. Returns whether it is in flight; else it is over, and says why. */
int op_compose(proa_loop *loop, proa_op *op, struct composition composition, const char *where);

struct part {
    proa_callback *callback;
    void *data;
    uint64_t size;
    uint64_t when_ns; /* a timer's */
    uint32_t flags;
};

/* Starts an op that another is made of: at once, whatever link is open, and whatever the loop's families. */
void op_start_part(proa_loop *loop, proa_op *op, enum op_kind kind, int fd, struct part part);

/* Makes sure that sendfile(2) and splice(2) do not wait on a socket: nothing else tells them so. Whatever else is tried on
 * it bears that. Returns 0 or a negative errno. */
int descriptor_unblock(struct engine_host *host, int fd);

/* Ends every op that is pending on the descriptor. */
void descriptor_stop(proa_loop *loop, int fd);

/* link.c */

/* Puts the op behind the link's last one. Returns 0 where it is the first, whose turn is now. */
int link_append(proa_loop *loop, proa_op *op);

/* Ends an op before its turn, and those behind it; and every one that names the descriptor. */
void link_cut(proa_loop *loop, proa_op *op);
void link_stop(proa_loop *loop, int fd);

/* The op before `next` is over: before its callback the descriptor that it leaves is passed on, for in there the number may
 * become another file; after it `next` has its turn. */
void link_pass_on(proa_loop *loop, proa_op *next, int fd);
void link_go_on(proa_loop *loop, proa_op *next, int failed);

/* settle.c */

void settle(proa_loop *loop, const struct completion *completions, size_t count);

/* Delivers an op from the done queue. */
void settle_done(proa_loop *loop, proa_op *op);

/* A close has made room, or time has passed: paused accepts try again. */
void resume_paused(proa_loop *loop);

/* The next send or shutdown of the descriptor has its turn. */
void settle_next_send(proa_loop *loop, struct descriptor *descriptor);

/* fetch.c */

int fetches_open(proa_loop *loop, uint32_t thread_count);
void fetches_close(proa_loop *loop);

/* What the next step of a file's send lacks is fetched; then it is started again. */
void fetch_start(proa_loop *loop, proa_op *op);

/* The op that is waiting for it is to end. */
void fetch_stop(proa_loop *loop, proa_op *op);

/* It needs none any more, or has to give way to one that waits for it. */
void fetch_release(proa_loop *loop, proa_op *op);
void fetch_yield(proa_loop *loop, proa_op *op);

/* Those that wait have the buffers of whom a full socket keeps. */
void fetches_feed(proa_loop *loop);

/* pipes.c */

/* Lends an empty one. Returns 0; -EAGAIN where all there may be are lent; or a negative errno. */
int pipe_lend(proa_loop *loop, int32_t ret_pipe[2]);

/* Whether pipe_lend() would find one. */
static inline int pipe_may_be_lent(const proa_loop *loop)
{
    return loop->pipes.resting_count > 0 || loop->pipes.count < PIPES_MAX;
}

/* Takes one back, and closes it where it still holds something. `pipe[0]` becomes -1. */
void pipe_return(proa_loop *loop, int32_t pipe[2], int is_empty);

/* Starts a part that completes when one may be free. */
void pipe_await(proa_loop *loop, proa_op *op, proa_callback *callback);

void pipes_close(proa_loop *loop);

/* relay.c */

/* Their buffers are freed as all pools of the loop are. */
void relay_pools_free(proa_loop *loop);

/* buffer.c */

void buffers_free(proa_buffer_pool *pool);

/* The receive that has starved longest tries again. */
void buffers_feed(proa_buffer_pool *pool);

/* The same, of every pool that has no buffer lent: those fed before found nothing to receive, so no return will feed the
 * next. */
void buffers_feed_idle(proa_loop *loop);

#endif

/* Every kind of op as a table row: how to set a stage for it, how to start it, and, for one that waits for the world,
 * how to make the world move. Rules that hold for every op are tested by walking this table. */
#ifndef TESTS_CONFORMANCE_KINDS_H
#define TESTS_CONFORMANCE_KINDS_H

#include "harness.h"

#include <semaphore.h>

enum trait {
    WAITS = 1 << 0,      /* stays in flight until provoked */
    REPEATS = 1 << 1,    /* completes with PROA_MORE; ends by cancel */
    GIVES_FD = 1 << 2,   /* a result is a new descriptor */
    ON_FD = 1 << 3,      /* pending on stage.fd: closing that ends it */
    CLOSES = 1 << 4,     /* success closes stage.fd */
    STEADFAST = 1 << 5,  /* a post: nothing ends it early */
    SLOW = 1 << 6,       /* the kernel takes a second to be provoked */
    STREAMS = 1 << 7,    /* sends: partial progress shows in proa_sent() */
    AT_EASE = 1 << 8,    /* a relaxed send: success alone wakes no sleeping loop */
    FILES = 1 << 9,      /* a file op: may be on a thread of the pool, beyond taking back */
    DATAGRAMS = 1 << 10, /* the other end hears of no end */
    MADE = 1 << 11,      /* of other ops: it cannot be linked */
    REAL = 1 << 12,      /* no machine has it */
};

enum { KINDS_MAX = 96, BLOCKERS_MAX = 8, STUCK_SIZE = 4 << 20 };

struct stage {
    const struct kind *kind;
    proa_loop *loop;
    struct slot slot;
    proa_fd fd;  /* what the op is on, or -1 */
    int far;     /* the other end, or -1 */
    int more[2]; /* further descriptors to close at the end, or -1 */
    proa_address address;
    proa_buffer_pool *pool;
    proa_datagram datagram;
    proa_splicing splicing;
    proa_relaying relaying;
    proa_relay_pool *relay_pool;
    proa_fd other;        /* a second one that the op is on, made by an op */
    proa_process process; /* a child that the test takes the end of, where no op has; id 0: none */
    const char *path;
    char here[128], there[128]; /* a file, and a name that is free */
    struct iovec pieces[2];
    struct statx status;
    char *data;
    size_t size;
    uint64_t drained;
    unsigned fds_given;
    bool keep_result; /* leave delivered descriptors and buffers to the test */
    struct slot blockers[BLOCKERS_MAX];
    unsigned blocker_count;
    sem_t release;
};

struct kind {
    const char *name;
    const char *function; /* that starts it */
    unsigned traits;
    void (*set)(struct stage *stage);
    void (*start)(struct stage *stage, proa_op *op, proa_callback *callback);
    void (*provoke)(struct stage *stage); /* may be called again and again */
};

extern const struct kind kinds[];
extern size_t kind_count; /* of those that the engine under test has */
void kinds_begin(void);
const struct kind *kind_named(const char *name);

void stage_set(struct stage *stage, const struct kind *kind, proa_loop *loop);
void stage_start(struct stage *stage); /* the slot's op */
void stage_provoke(struct stage *stage);
void stage_finish(struct stage *stage); /* provokes until the op is over; a repeating one: until the first result */
void stage_wait(struct stage *stage);   /* until the op's final completion, provoking nothing */
void stage_close_extras(struct stage *stage); /* blockers and pool, which a loop must still be open for */
void stage_clear(struct stage *stage);        /* descriptors and memory; the loop may be gone */

#endif

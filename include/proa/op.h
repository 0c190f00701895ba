/* Operations: one thing asked of the loop, one final completion in return. */
#ifndef PROA_OP_H
#define PROA_OP_H

#include <stddef.h>
#include <stdint.h>

#include "api.h"

PROA_BEGIN

typedef struct proa_loop proa_loop;
typedef struct proa_op proa_op;

/* Where the handles of direct descriptors begin: no ordinary number comes that far. */
enum { PROA_DIRECT_BASE = 1 << 22 };

/* A socket or file, by value. An ordinary descriptor keeps its number as its handle; a direct one, which only the ring of
 * its loop knows (PROA_FEATURE_DIRECT), or one of a simulated machine means nothing elsewhere. */
typedef struct proa_fd {
    int32_t handle;
} proa_fd;

/* How one completion went.
 *   value   zero or more: the op's answer, named at the function that starts it; less: a negative errno
 *   flags   PROA_MORE: a repeating op goes on, this is not its final completion
 *           PROA_LENT: `buffer` of the op's pool is the caller's until proa_buffer_return()
 *           PROA_COPIED: of a send without copy, some of its bytes were copied after all
 *   buffer  index of the lent buffer */
typedef struct proa_result {
    int64_t value;
    uint32_t flags;
    uint32_t buffer;
} proa_result;

enum { PROA_MORE = 1u << 0, PROA_LENT = 1u << 1, PROA_COPIED = 1u << 2 };

/* Runs on the loop's thread, from the loop, never inside a call that starts, cancels or posts. */
typedef void proa_callback(proa_op *op, proa_result result);

/* All fields but `loop` are the library's. An op must be zero before its first use; after its final completion it
 * can be started again as anything, from its own callback too. */
struct proa_op {
    proa_loop *loop;
    proa_callback *callback;
    proa_op *next, *previous;
    struct proa_op_timing {
        uint64_t when_ns;
        struct proa_op_timing *child, *sibling, *back;
    } timing;
    struct proa_op_link {
        proa_op *next, *previous;
    } link;
    uint32_t sequence;
    int32_t fd, other_fd;
    int32_t error;
    uint32_t flags;
    uint16_t choice;
    uint8_t kind;
    uint8_t state;
    union {
        void *data;
        uint64_t deadline_ns;
        uint64_t offset;
    };
    uint64_t size;
    uint64_t moved;
};

/* The struct of type `type` whose member `member` is `*op`. */
#define proa_owner(op, type, member) ((type *)(void *)((char *)(op)-offsetof(type, member)))

#define PROA_NEVER UINT64_MAX

/* Asks for an early end. Never lost and never at once: the final completion is still to come, with -ECANCELED or with
 * the real result where that was first (bytes, a descriptor, a lent buffer). An idle op is left alone. */
PROA_API void proa_cancel(proa_op *op);

/* Gives an op in flight until `when_ns` on the clock of proa_now(); PROA_NEVER takes the deadline back. A later call
 * moves it. Once it passes, the op completes with -ETIMEDOUT, or with what had already happened. */
PROA_API void proa_set_deadline(proa_op *op, uint64_t when_ns);

/* True from the start of the op until the callback of its final completion is called. */
static inline int proa_in_flight(const proa_op *op)
{
    return op->state != 0;
}

/* Bytes taken so far of a send in flight; or in all, once it has completed, also when it failed. */
static inline uint64_t proa_sent(const proa_op *op)
{
    return op->moved;
}

/* A descriptor from elsewhere. Close what an op made with proa_close() only: the loop keeps books by number. */
static inline proa_fd proa_fd_of(int number)
{
    proa_fd fd = {number};
    return fd;
}

/* The descriptor that an accept, connect, listen or open completed with. */
static inline proa_fd proa_result_fd(proa_result result)
{
    return proa_fd_of((int)result.value);
}

/* The number of an ordinary descriptor, for calls outside Proa; -1 of a direct one. */
static inline int proa_fd_number(proa_fd fd)
{
    return fd.handle < PROA_DIRECT_BASE ? fd.handle : -1;
}

/* An op of the caller's making, out of others: in flight until proa_complete(). Both from the loop's thread. `stop` is
 * called once, from within proa_cancel() too, when it is to end early: it was cancelled, its deadline has passed, or its
 * loop closes. proa_complete() is then still to come, soon: what the op is made of ends first. */
typedef void proa_stop_function(proa_op *op);

PROA_API void proa_compose(proa_loop *loop, proa_op *op, proa_stop_function *stop, proa_callback *callback);

/* Ends a composed op: its callback is called later, from the loop, with `value`. After its deadline -ECANCELED becomes
 * -ETIMEDOUT. */
PROA_API void proa_complete(proa_op *op, int64_t value);

/* Closes the descriptor: every op pending on it completes first, then the peer sees the end of stream. value: 0. */
PROA_API void proa_close(proa_loop *loop, proa_op *op, proa_fd fd, proa_callback *callback);

PROA_END

#endif

/* The event loop: one thread, one engine, one clock. */
#ifndef PROA_LOOP_H
#define PROA_LOOP_H

#include "op.h"

PROA_BEGIN

/* Zero in any field means the default. */
typedef struct proa_loop_options {
    const char *engine;     /* an engine's name; default: $PROA_ENGINE, else the best that works here */
    uint32_t queue_entries; /* size of the submission queue, a power of two (default 256) */
    uint32_t pool_threads;  /* threads for work and, on engines without native files, file ops (default 4) */
} proa_loop_options;

/* What the loop did since it was opened: three meters (system calls, bytes copied, descriptors scanned) and their
 * company. One X(name, meaning) line each. */
#define PROA_METERS(X)                                                                  \
    X(system_calls, "system calls made, those of the pool's threads included")          \
    X(bytes_copied, "bytes copied between the kernel and user memory")                  \
    X(descriptors_scanned, "descriptors the kernel looked at or reported per wake-up")  \
    X(wake_ups, "turns of the loop, those that had nothing to wait for included")       \
    X(ops_started, "operations started")                                                \
    X(ops_completed, "final completions delivered")                                     \
    X(sends_gathered, "sends that went out together with an earlier one")               \
    X(receives_starved, "times a receive found the buffer pool empty and waited")       \
    X(multishots_rearmed, "repeating ops that the kernel ended early and Proa renewed") \
    X(accepts_paused, "times an accept found no free descriptor (EMFILE, ENFILE) and waited")

typedef struct proa_meters {
#define PROA_METER_FIELD(name, meaning) uint64_t name;
    PROA_METERS(PROA_METER_FIELD)
#undef PROA_METER_FIELD
} proa_meters;

enum proa_run_mode {
    PROA_UNTIL_IDLE,    /* until nothing is in flight, or proa_loop_stop() */
    PROA_UNTIL_STOPPED, /* until proa_loop_stop() alone; other threads may post meanwhile */
    PROA_ONCE,          /* one turn, which may wait */
    PROA_NO_WAIT,       /* one turn, which never waits */
};

/* Opens a loop that belongs to the calling thread. `options` may be NULL. Returns 0 or a negative errno
 * (EINVAL: no engine of that name; else why the forced engine, or every engine, refused). */
PROA_API int proa_loop_open(proa_loop **ret_loop, const proa_loop_options *options);

/* Cancels all that is in flight, delivers every final completion, and frees all the loop had. Descriptors stay the
 * caller's: only a proa_close() closes them, and those started meanwhile still do. Not from a callback. */
PROA_API void proa_loop_close(proa_loop *loop);

/* Runs callbacks as ops complete. Returns the number of ops still in flight. Not from a callback. */
PROA_API size_t proa_loop_run(proa_loop *loop, enum proa_run_mode mode);

/* Makes proa_loop_run() return after the callbacks that are already due. */
PROA_API void proa_loop_stop(proa_loop *loop);

/* From any thread: ends the loop's current wait, or else its next one. */
PROA_API void proa_loop_wake(proa_loop *loop);

/* From any thread: completes `op` on `loop`, with value 0. Allocates nothing, never fails, and cannot be cancelled. */
PROA_API void proa_post(proa_loop *loop, proa_op *op, proa_callback *callback);

/* Monotonic time in ns, read once per turn; proa_now_refresh() reads it anew, for callbacks that run long. */
PROA_API uint64_t proa_now(const proa_loop *loop);
PROA_API uint64_t proa_now_refresh(proa_loop *loop);

/* The engine's name, and one sentence on why it was chosen. Both live as long as the loop. */
PROA_API const char *proa_loop_engine(const proa_loop *loop);
PROA_API const char *proa_loop_choice(const proa_loop *loop);

PROA_API proa_meters proa_loop_meters(const proa_loop *loop);

PROA_END

#endif

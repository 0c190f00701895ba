/* The event loop: one thread, one engine, one clock. */
#ifndef PROA_LOOP_H
#define PROA_LOOP_H

#include "op.h"

PROA_BEGIN

/* Zero in any field means the default. */
typedef struct proa_loop_options {
    const char *engine;       /* an engine's name; default: $PROA_ENGINE, else the best that works here */
    uint32_t queue_entries;   /* size of the submission queue, a power of two (default 256) */
    uint32_t pool_threads;    /* threads for the caller's functions, proa_work() (default 4) */
    uint32_t file_threads;    /* threads for file ops that the engine has no way for of its own (default 4) */
    const char *file_lane;    /* a file lane's name, for engines without files of their own; default: $PROA_FILE_LANE,
                                    else "pool" */
    const char *send_file_by; /* "sendfile", "splice" or "copy", where all work, or "auto"; default:
                                 $PROA_SEND_FILE_BY, else "auto" */
    uint32_t features;        /* PROA_FEATURE_... that are wished for; default: those named in $PROA_FEATURES */
    uint32_t direct_descriptors; /* how many PROA_FEATURE_DIRECT makes room for (default 4096, at most RLIMIT_NOFILE) */
    uint32_t busy_poll_us;       /* how long PROA_FEATURE_BUSY_POLL looks at the network card (default 50) */
    uint32_t families;       /* PROA_FAMILY_... of the ops that it can do; all others end with EACCES (default all) */
    uint32_t op_threads_max; /* engine `threads`: ops in flight, each on a thread of its own (default 1024) */
} proa_loop_options;

/* What some engines do on request. A wish is granted where the engine and this host can, and passed over elsewhere:
 * proa_loop_features() tells. X(NAME, "name in $PROA_FEATURES", meaning) */
#define PROA_FEATURES(X)                                                                                    \
    X(EDGE, "edge", "epoll: readiness is reported once, as it comes, not as long as it lasts")              \
    X(SQPOLL, "sqpoll", "uring: a kernel thread takes what is started, without system calls, for CPU time") \
    X(DIRECT, "direct", "uring: accepted sockets that only the ring knows, beyond RLIMIT_NOFILE")           \
    X(BUSY_POLL, "busy_poll", "uring: a wait asks the network card before it sleeps (NAPI)")                \
    X(RESTRICTED, "restricted", "uring: the kernel, too, refuses what the loop's families lack; no wish is needed")

enum proa_feature_place {
#define PROA_FEATURE_PLACE(name, word, meaning) PROA_FEATURE_PLACE_##name,
    PROA_FEATURES(PROA_FEATURE_PLACE)
#undef PROA_FEATURE_PLACE
};

enum proa_feature {
#define PROA_FEATURE_FLAG(name, word, meaning) PROA_FEATURE_##name = 1 << PROA_FEATURE_PLACE_##name,
    PROA_FEATURES(PROA_FEATURE_FLAG)
#undef PROA_FEATURE_FLAG
};

/* Families of ops, for loops that are to do one thing. Closing and posting are everybody's. X(NAME, meaning) */
#define PROA_FAMILIES(X)                           \
    X(SOCKETS, "streams, datagrams, listening")    \
    X(FILES, "opening, reading, writing, syncing") \
    X(TIME, "timers; deadlines need no family")    \
    X(EVENTS, "polls, signals, functions on the pool, child processes")

enum proa_family_place {
#define PROA_FAMILY_PLACE(name, meaning) PROA_FAMILY_PLACE_##name,
    PROA_FAMILIES(PROA_FAMILY_PLACE)
#undef PROA_FAMILY_PLACE
};

enum proa_family {
#define PROA_FAMILY_FLAG(name, meaning) PROA_FAMILY_##name = 1 << PROA_FAMILY_PLACE_##name,
    PROA_FAMILIES(PROA_FAMILY_FLAG)
#undef PROA_FAMILY_FLAG
};

/* What the loop did since it was opened: three meters (system calls, bytes copied, descriptors scanned) and their
 * company. One X(name, meaning) line each. */
#define PROA_METERS(X)                                                                  \
    X(system_calls, "system calls made, those of the pool's threads included")          \
    X(bytes_copied, "bytes copied between the kernel and user memory")                  \
    X(bytes_spliced, "bytes moved between descriptors, past user memory")               \
    X(descriptors_scanned, "descriptors the kernel looked at or reported per wake-up")  \
    X(wake_ups, "turns of the loop, those that had nothing to wait for included")       \
    X(ops_started, "operations started")                                                \
    X(ops_completed, "final completions delivered")                                     \
    X(sends_gathered, "sends that went out together with an earlier one")               \
    X(zero_copy_sends, "sends without copy that completed")                             \
    X(zero_copy_copied, "of these, those that were copied after all")                   \
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
 * (EINVAL: no engine or file lane of that name; else why the forced one, or every engine, refused). */
PROA_API int proa_loop_open(proa_loop **ret_loop, const proa_loop_options *options);

/* Cancels all that is in flight, delivers every final completion, and frees all the loop had. Descriptors stay the
 * caller's: only a proa_close() closes them, and those started meanwhile still do; but direct ones end with their loop. Not
 * from a callback. */
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

/* One sentence on how reads, writes and syncs of files are done, and why. Lives as long as the loop. */
PROA_API const char *proa_loop_file_lane(const proa_loop *loop);

/* The features that were wished for and are in effect. */
PROA_API uint32_t proa_loop_features(const proa_loop *loop);

/* One sentence on the latest op that Proa itself refused, beyond what its errno says (a number that select(2) cannot
 * watch, no more threads, memory that O_DIRECT has no way for); empty while there was none. Lives as long as the loop. */
PROA_API const char *proa_loop_refusal(const proa_loop *loop);

PROA_API proa_meters proa_loop_meters(const proa_loop *loop);

PROA_END

#endif

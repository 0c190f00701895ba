/* What io_uring can do here, found out by doing: a small round trip for each feature. The rows are the output of
 * `proa engines -v`; those that the engine is built on are its self-test, too. */
#ifndef PROA_URING_FEATURES_H
#define PROA_URING_FEATURES_H

#include "engine/uring_ring.h"

/* X(round_trip, mode, "name", "summary", PROA_FEATURE_... or 0). The first NEEDED ones are the self-test. */
#define URING_FEATURES(X)                                                                                 \
    X(provided_buffers, OWN, "provided buffers", "a receive takes its buffer when data is there", 0)      \
    X(receive_many, OWN, "repeating receive", "one entry for all that comes", 0)                          \
    X(silent_send, OWN, "silent sends", "a send posts only what went wrong", 0)                           \
    X(cancel, OWN, "cancel", "an op in flight ends early", 0)                                             \
    X(receive_from_many, OWN, "repeating datagrams", "one entry for all datagrams", 0)                    \
    X(registered_ring, OWN, "registered ring", "the ring's descriptor is not looked up on each call", 0)  \
    X(no_iowait, OWN, "no I/O wait", "sleeping does not count as waiting for disks", 0)                   \
    X(worker_limits, OWN, "worker limits", "the kernel's helper threads are bounded", 0)                  \
    X(restrictions, OWN, "restrictions", "the kernel refuses what a loop is not opened for", 0)           \
    X(registered_memory, OWN, "registered memory", "file ops on memory that the kernel knows already", 0) \
    X(send_zero_copy, OWN, "send_zero_copy", "the kernel sends from the caller's memory", 0)              \
    X(sq_thread, THREAD, "sqpoll", "a thread of the kernel takes what is started", PROA_FEATURE_SQPOLL)   \
    X(direct, OWN, "direct", "accepted sockets that only the ring knows", PROA_FEATURE_DIRECT)            \
    X(busy_poll, OWN, "busy_poll", "a wait asks the network card before it sleeps", PROA_FEATURE_BUSY_POLL)

enum uring_feature {
#define URING_FEATURE_ENUM(round_trip, mode, name, summary, feature) URING_FEATURE_##round_trip,
    URING_FEATURES(URING_FEATURE_ENUM)
#undef URING_FEATURE_ENUM
        URING_FEATURE_COUNT,
    URING_FEATURES_NEEDED = URING_FEATURE_registered_ring
};

extern const struct engine_feature uring_features[URING_FEATURE_COUNT];

/* Lets the ring do the round trips that the engine is built on. Returns 0, or a negative errno with the reason. */
int uring_self_test(struct ring *ring, char *ret_reason);

/* Whether one feature works here, found out on a ring of its own. */
int uring_has(struct sys *sys, enum uring_feature feature);

#endif

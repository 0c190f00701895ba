/* A relay: whatever comes from one socket goes to the other, both ways, until both have ended. */
#ifndef PROA_RELAY_H
#define PROA_RELAY_H

#include "op.h"

PROA_BEGIN

/* Where small messages pass through: buffers that are lent while bytes are in them, for many relays. */
typedef struct proa_relay_pool proa_relay_pool;

/* Opens one with `count` buffers, a power of two, of `size` bytes each. Returns 0 or a negative errno. */
PROA_API int proa_relay_pool_open(proa_loop *loop, uint32_t count, uint32_t size, proa_relay_pool **ret_pool);

/* No relay on it may be in flight. */
PROA_API void proa_relay_pool_close(proa_relay_pool *pool);

enum proa_relay_mover {
    PROA_RELAY_AUTO,   /* each way by itself: by copying, or, as long as much comes at a time, by splicing */
    PROA_RELAY_COPY,   /* through the buffers of the pool */
    PROA_RELAY_SPLICE, /* through a pipe of the loop, whatever comes; not with direct descriptors (ENOTSUP) */
};

/* One direction. Of those that count for the caller, all may be read at any time:
 *   bytes          that the other socket took; `spliced` of them without a copy
 *   pieces         that they came in
 *   stranded       that had been received when it ended early, and are lost
 *   receive_error  0, or the negative errno that the one socket failed with,
 *   send_error     and the other */
typedef struct proa_relay_way {
    uint64_t bytes, spliced, pieces, stranded;
    int32_t receive_error, send_error;
    struct proa_relaying *relaying;
    proa_op part;
    uint64_t score;
    int32_t in, out;
    int32_t pipe[2];
    uint32_t held, unsent;
    uint16_t flags;
    uint8_t state, small;
} proa_relay_way;

/* What a relay needs while it is in flight: the caller's memory, the loop's from start to completion. The caller sets
 *   mover             enum proa_relay_mover
 *   idle_timeout_ns   how long no byte may come from either side; 0: for ever
 * and way[0] is from the first socket to the second. */
typedef struct proa_relaying {
    uint8_t mover;
    uint64_t idle_timeout_ns;
    proa_relay_way way[2];
    proa_op *op;
    proa_relay_pool *pool;
    proa_op idle;
    uint64_t active_ns;
    int32_t result, failure;
    uint32_t parts;
} proa_relaying;

/* Relays between two connected stream sockets, which stay open. The end of one's stream is passed on to the other, once all
 * before it is; who does not receive is not sent for. value: 0 when both streams have ended, -ETIME after the idle timeout,
 * or the first error; `relaying` tells the rest. */
PROA_API void proa_relay(proa_loop *loop, proa_op *op, proa_relaying *relaying, proa_relay_pool *pool, proa_fd one,
                         proa_fd other, proa_callback *callback);

PROA_END

#endif

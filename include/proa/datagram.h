/* Datagrams: UDP, and Unix datagram sockets. Each is sent and received whole, and knows its addresses. There is no end of
 * stream, and an empty one is a datagram as well. The ops of streams and those here refuse each other's sockets
 * (EPROTOTYPE); only that a socket from elsewhere is one of datagrams they do not know before an op from here has met it:
 * keep proa_send() off those, for sends that wait go out together. */
#ifndef PROA_DATAGRAM_H
#define PROA_DATAGRAM_H

#include "buffer.h"
#include "op.h"
#include "socket.h"

PROA_BEGIN

enum proa_datagram_flag {
    PROA_DATAGRAM_SHARD = 1 << 0, /* SO_REUSEPORT: one of several sockets that share the address, one per loop */
    PROA_DATAGRAM_TRAFFIC_CLASS = 1 << 1, /* received datagrams tell their traffic class, and with it ECN, */
    PROA_DATAGRAM_LOCAL = 1 << 2,         /* and the address of this host that they came to */
    PROA_DATAGRAM_GRO = 1 << 3,           /* several of one peer may come as one, of up to 64 KiB (Linux 5.0) */
};

/* So much of each buffer of a pool holds what is known of the datagram; the rest takes its bytes. */
enum { PROA_DATAGRAM_OVERHEAD = 256 };

/* A datagram received, or to be sent. What was received can be sent as it is: that answers it, from the address it came
 * to, with the same bytes. */
typedef struct proa_datagram {
    void *data;
    size_t size;
    size_t whole_size;  /* received: as it was sent. Where that is more than `size` it was cut, and the rest is lost */
    proa_address peer;  /* whom it is from or goes to; sending: size 0 for the connected peer */
    proa_address local; /* this host's address, without a port; size 0: not known, or left to routing */
    uint16_t segment_size; /* not 0: several datagrams of this size, the last may be shorter (GRO; GSO, Linux 4.18) */
    uint8_t traffic_class; /* DSCP, and in the two low bits ECN (RFC 2474, 3168); sending: 0 is as the socket is set */
    struct proa_datagram_message {
        struct msghdr header;
        struct iovec piece;
        uint64_t control[16];
    } message; /* the library's, while an op has it */
} proa_datagram;

/* Opens a datagram socket that is bound to `local`, connected to `peer`, or both; either may be null. A connected one
 * receives from its peer alone, and hears of its absence (ECONNREFUSED). `local` "*" takes IPv4 and IPv6; IPv4 peers then
 * have IPv4-mapped addresses. A flag that this kernel or family lacks is an error (ENOPROTOOPT, EOPNOTSUPP).
 * value: the descriptor. */
PROA_API void proa_datagram_open(proa_loop *loop, proa_op *op, const proa_address *local, const proa_address *peer,
                                 unsigned flags, proa_callback *callback);

/* Receives one datagram, of which at most `size` bytes are stored at `data`. `ret_datagram` is the loop's, too, until
 * completion. value: bytes stored. */
PROA_API void proa_recv_from(proa_loop *loop, proa_op *op, proa_fd fd, void *data, size_t size,
                             proa_datagram *ret_datagram, proa_callback *callback);

/* Receives again and again, each datagram into a buffer lent by `pool`: proa_datagram_in() finds it there. value: bytes
 * stored, with PROA_LENT and PROA_MORE; the final completion is an error. One that tells of the peer (ECONNREFUSED) leaves
 * the socket as good as before: start anew. With the pool empty it waits, counted. EINVAL: no room beside the overhead. */
PROA_API void proa_recv_from_many(proa_loop *loop, proa_op *op, proa_fd fd, proa_buffer_pool *pool,
                                  proa_callback *callback);

/* The datagram in the buffer that came with `result`. It lies there until the buffer is returned. */
PROA_API void proa_datagram_in(const proa_buffer_pool *pool, proa_result result, proa_datagram *ret_datagram);

/* Sends one datagram, whole or not at all (EMSGSIZE), in the order of start. `datagram` and its data are the loop's until
 * completion. It waits while the socket has no room; but a Unix peer that is named here and has none is an error
 * (ENOBUFS), as nothing tells when it has again. value: its size. */
PROA_API void proa_send_to(proa_loop *loop, proa_op *op, proa_fd fd, proa_datagram *datagram, proa_callback *callback);

PROA_END

#endif

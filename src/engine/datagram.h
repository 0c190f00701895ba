/* A datagram as recvmsg(2) and sendmsg(2) see it, for all engines.
 *
 * What was received into a pool's buffer lies there in the layout of the kernel's own repeating recvmsg (struct
 * io_uring_recvmsg_out): a head, the peer's name, control data, payload. The places are the same whatever came, so that
 * the payload always starts at PROA_DATAGRAM_OVERHEAD. */
#ifndef PROA_DATAGRAM_INTERNAL_H
#define PROA_DATAGRAM_INTERNAL_H

#include <proa/datagram.h>

#include "engine/engine.h"

struct datagram_head {
    uint32_t name_size, control_size;
    uint32_t whole_size;
    uint32_t flags;
};

enum {
    DATAGRAM_NAME_ROOM = sizeof(((proa_address *)0)->as),
    DATAGRAM_CONTROL_ROOM = sizeof(((proa_datagram *)0)->message.control),
};

/* What a repeating receive asks for. A Unix socket has no control data that we want; its descriptors, which nobody would
 * close, are not let in. */
const struct msghdr *datagram_request(const struct descriptor *descriptor);

/* Fill in the message for a receive (data: the datagram; size: of the memory, whose address is in `moved`), and for a
 * send, from what the caller wrote. */
void datagram_prepare_recv(proa_op *op, const struct descriptor *descriptor);
void datagram_prepare_send(proa_op *op);

/* Translate the result of recvmsg(2) with MSG_TRUNC, and that of a receive into a pool's buffer, to the op's value: bytes
 * stored. The first fills in the caller's datagram. */
int64_t datagram_received(struct sys *sys, const proa_op *op, int64_t result);
int64_t datagram_received_many(struct sys *sys, int64_t result);

/* The calls, for engines that make them. Each returns the op's value or a negative errno. `buffer` is one to be lent. */
int64_t datagram_recv(struct sys *sys, const proa_op *op, int flags);
int64_t datagram_recv_many(struct sys *sys, const struct descriptor *descriptor, const proa_op *op, uint32_t buffer,
                           int flags);
int64_t datagram_send(struct sys *sys, const proa_op *op, int flags);

static inline struct msghdr *datagram_message(const proa_op *op)
{
    return &((proa_datagram *)op->data)->message.header;
}

/* Nothing tells when a Unix peer has room again, unless the socket is connected to it: then a send does not wait. */
static inline int datagram_may_wait(const struct descriptor *descriptor, const proa_op *op)
{
    return !(descriptor->flags & FD_LOCAL) || !datagram_message(op)->msg_name;
}

#endif

#include "engine/datagram.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>

_Static_assert(sizeof(struct datagram_head) + DATAGRAM_NAME_ROOM + DATAGRAM_CONTROL_ROOM == PROA_DATAGRAM_OVERHEAD,
               "the payload starts right behind the control data");

/* Control data */

static int take(const struct cmsghdr *item, int level, int type, void *ret_value, size_t size)
{
    if (item->cmsg_level != level || item->cmsg_type != type || item->cmsg_len < CMSG_LEN(size))
        return 0;
    memcpy(ret_value, CMSG_DATA(item), size);
    return 1;
}

static void set_local_ip4(proa_address *local, struct in_addr address)
{
    local->size = sizeof(local->as.ip4);
    local->as.ip4.sin_family = AF_INET;
    local->as.ip4.sin_addr = address;
}

/* A group that it was sent to is no address to answer from. The scope is needed where an address is unique on its link
 * only (RFC 4007). */
static void set_local_ip6(proa_address *local, const struct in6_pktinfo *information)
{
    if (IN6_IS_ADDR_MULTICAST(&information->ipi6_addr))
        return;
    local->size = sizeof(local->as.ip6);
    local->as.ip6.sin6_family = AF_INET6;
    local->as.ip6.sin6_addr = information->ipi6_addr;
    if (IN6_IS_ADDR_LINKLOCAL(&information->ipi6_addr))
        local->as.ip6.sin6_scope_id = information->ipi6_ifindex;
}

static void read_item(proa_datagram *datagram, const struct cmsghdr *item)
{
    struct in_pktinfo ip4;
    struct in6_pktinfo ip6;
    uint8_t byte;
    int number;

    if (take(item, IPPROTO_IP, IP_PKTINFO, &ip4, sizeof(ip4)))
        set_local_ip4(&datagram->local, ip4.ipi_spec_dst);
    else if (take(item, IPPROTO_IPV6, IPV6_PKTINFO, &ip6, sizeof(ip6)))
        set_local_ip6(&datagram->local, &ip6);
    else if (take(item, IPPROTO_IP, IP_TOS, &byte, sizeof(byte)))
        datagram->traffic_class = byte;
    else if (take(item, IPPROTO_IPV6, IPV6_TCLASS, &number, sizeof(number)))
        datagram->traffic_class = (uint8_t)number;
    else if (take(item, IPPROTO_UDP, UDP_GRO, &number, sizeof(number)))
        datagram->segment_size = (uint16_t)number;
}

static void read_control(proa_datagram *datagram, void *control, size_t size)
{
    struct msghdr header = {.msg_control = control, .msg_controllen = size};

    for (struct cmsghdr *item = CMSG_FIRSTHDR(&header); item; item = CMSG_NXTHDR(&header, item))
        read_item(datagram, item);
}

static void add_item(struct proa_datagram_message *message, int level, int type, const void *value, size_t size)
{
    size_t used = message->header.msg_controllen;
    struct cmsghdr *item = (void *)((uint8_t *)message->control + used);

    ASSERT(used + CMSG_SPACE(size) <= sizeof(message->control));
    *item = (struct cmsghdr){.cmsg_len = CMSG_LEN(size), .cmsg_level = level, .cmsg_type = type};
    memcpy(CMSG_DATA(item), value, size);
    message->header.msg_control = message->control;
    message->header.msg_controllen = used + CMSG_SPACE(size);
}

static void add_local(struct proa_datagram_message *message, const proa_address *local)
{
    struct in_pktinfo ip4 = {.ipi_spec_dst = local->as.ip4.sin_addr};
    struct in6_pktinfo ip6 = {local->as.ip6.sin6_addr, local->as.ip6.sin6_scope_id};

    if (local->as.any.sa_family == AF_INET)
        add_item(message, IPPROTO_IP, IP_PKTINFO, &ip4, sizeof(ip4));
    else if (local->as.any.sa_family == AF_INET6)
        add_item(message, IPPROTO_IPV6, IPV6_PKTINFO, &ip6, sizeof(ip6));
}

/* A socket passes over what is not of its family, so nobody needs to know which the datagram goes by: one of a
 * dual-stack socket is IPv4 or IPv6. */
static void add_traffic_class(struct proa_datagram_message *message, int traffic_class)
{
    add_item(message, IPPROTO_IP, IP_TOS, &traffic_class, sizeof(traffic_class));
    add_item(message, IPPROTO_IPV6, IPV6_TCLASS, &traffic_class, sizeof(traffic_class));
}

/* Messages */

const struct msghdr *datagram_request(const struct descriptor *descriptor)
{
    static const struct msghdr ip = {.msg_namelen = DATAGRAM_NAME_ROOM, .msg_controllen = DATAGRAM_CONTROL_ROOM};
    static const struct msghdr local = {.msg_namelen = DATAGRAM_NAME_ROOM + DATAGRAM_CONTROL_ROOM};

    return descriptor->flags & FD_LOCAL ? &local : &ip;
}

void datagram_prepare_recv(proa_op *op, const struct descriptor *descriptor)
{
    proa_datagram *datagram = op->data;
    struct proa_datagram_message *message = &datagram->message;

    memset(&datagram->peer, 0, sizeof(datagram->peer));
    message->piece = (struct iovec){(void *)(uintptr_t)op->moved, op->size};
    message->header = (struct msghdr){
        .msg_name = &datagram->peer.as,
        .msg_namelen = sizeof(datagram->peer.as),
        .msg_iov = &message->piece,
        .msg_iovlen = 1,
        .msg_control = message->control,
        .msg_controllen = descriptor->flags & FD_LOCAL ? 0 : sizeof(message->control),
    };
}

void datagram_prepare_send(proa_op *op)
{
    proa_datagram *datagram = op->data;
    struct proa_datagram_message *message = &datagram->message;

    op->size = datagram->size;
    message->piece = (struct iovec){datagram->data, datagram->size};
    message->header = (struct msghdr){.msg_iov = &message->piece, .msg_iovlen = 1};
    if (datagram->peer.size) {
        message->header.msg_name = &datagram->peer.as;
        message->header.msg_namelen = datagram->peer.size;
    }
    if (datagram->local.size)
        add_local(message, &datagram->local);
    if (datagram->traffic_class)
        add_traffic_class(message, datagram->traffic_class);
    if (datagram->segment_size)
        add_item(message, IPPROTO_UDP, UDP_SEGMENT, &datagram->segment_size, sizeof(datagram->segment_size));
}

/* All but the peer. */
static void describe(proa_datagram *datagram, void *data, size_t size, size_t whole_size)
{
    datagram->data = data;
    datagram->size = size;
    datagram->whole_size = whole_size;
    memset(&datagram->local, 0, sizeof(datagram->local));
    datagram->segment_size = 0;
    datagram->traffic_class = 0;
}

int64_t datagram_received(struct sys *sys, const proa_op *op, int64_t result)
{
    proa_datagram *datagram = op->data;
    struct msghdr *header = &datagram->message.header;
    size_t whole_size = (size_t)result;

    if (result < 0)
        return result;
    describe(datagram, datagram->message.piece.iov_base, whole_size < op->size ? whole_size : op->size, whole_size);
    datagram->peer.size = header->msg_namelen;
    read_control(datagram, header->msg_control, header->msg_controllen);
    sys->bytes_copied += datagram->size;
    return (int64_t)datagram->size;
}

int64_t datagram_received_many(struct sys *sys, int64_t result)
{
    if (result < 0)
        return result;
    ASSERT(result >= PROA_DATAGRAM_OVERHEAD);
    sys->bytes_copied += (uint64_t)result;
    return result - PROA_DATAGRAM_OVERHEAD;
}

/* A pool's buffers may be of any size, and so begin anywhere: head and control data are copied to where they are aligned. */
void proa_datagram_in(const proa_buffer_pool *pool, proa_result result, proa_datagram *ret_datagram)
{
    uint8_t *buffer = proa_buffer(pool, result.buffer), *name = buffer + sizeof(struct datagram_head);
    uint64_t control[DATAGRAM_CONTROL_ROOM / sizeof(uint64_t)];
    struct datagram_head head;

    ASSERT(result.flags & PROA_LENT && result.value >= 0 &&
           (uint64_t)result.value + PROA_DATAGRAM_OVERHEAD <= pool->size);
    memcpy(&head, buffer, sizeof(head));
    describe(ret_datagram, buffer + PROA_DATAGRAM_OVERHEAD, (size_t)result.value, head.whole_size);
    memset(&ret_datagram->peer, 0, sizeof(ret_datagram->peer));
    ret_datagram->peer.size = head.name_size < DATAGRAM_NAME_ROOM ? head.name_size : DATAGRAM_NAME_ROOM;
    memcpy(&ret_datagram->peer.as, name, ret_datagram->peer.size);
    ASSERT(head.control_size <= DATAGRAM_CONTROL_ROOM);
    memcpy(control, name + DATAGRAM_NAME_ROOM, head.control_size);
    read_control(ret_datagram, control, head.control_size);
}

/* Calls */

int64_t datagram_recv(struct sys *sys, const proa_op *op, int flags)
{
    return datagram_received(sys, op, sys_recvmsg(sys, op->fd, datagram_message(op), flags | MSG_TRUNC));
}

int64_t datagram_recv_many(struct sys *sys, const struct descriptor *descriptor, const proa_op *op, uint32_t buffer,
                           int flags)
{
    const proa_buffer_pool *pool = op->data;
    struct msghdr message = *datagram_request(descriptor);
    struct datagram_head head;
    uint8_t *start = proa_buffer(pool, buffer), *name = start + sizeof(struct datagram_head);
    struct iovec piece = {start + PROA_DATAGRAM_OVERHEAD, pool->size - PROA_DATAGRAM_OVERHEAD};
    int64_t whole;

    message.msg_name = name;
    message.msg_control = name + DATAGRAM_NAME_ROOM;
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    whole = sys_recvmsg(sys, op->fd, &message, flags | MSG_TRUNC);
    if (whole < 0)
        return whole;
    head = (struct datagram_head){message.msg_namelen, (uint32_t)message.msg_controllen, (uint32_t)whole,
                                  (uint32_t)message.msg_flags};
    memcpy(start, &head, sizeof(head));
    if ((size_t)whole > piece.iov_len)
        whole = (int64_t)piece.iov_len;
    return datagram_received_many(sys, whole + PROA_DATAGRAM_OVERHEAD);
}

int64_t datagram_send(struct sys *sys, const proa_op *op, int flags)
{
    int64_t taken = sys_sendmsg_whole(sys, op->fd, datagram_message(op), flags | MSG_NOSIGNAL);

    if (taken > 0)
        sys->bytes_copied += (uint64_t)taken;
    return taken;
}

/* The sockets of c-ares, made of ops. It believes to call socket(2), connect(2), writev(2) and recvfrom(2), none of which
 * waits: what it sends is copied and sent by an op, and a receive is always in flight, of which it is told once there is
 * something for it to take. Its descriptors are numbers of ours.
 *
 * It closes a wire when it likes. The descriptor is closed then; the wire goes once its ops have. */
#include <errno.h>
#include <proa/datagram.h>
#include <stdlib.h>
#include <string.h>

#include "name/name.h"

/* No message over UDP is longer than c-ares asks for: 512 bytes. */
enum { BUFFER_SIZE = 4096 };

struct wire {
    struct server *server;
    struct wire *next;
    int handle;
    int is_stream;
    int is_open, is_closed; /* `fd` can be used; c-ares is done with it */
    int wants_write;
    unsigned ops; /* in flight */
    proa_fd fd;
    proa_op open, recv; /* `open` closes, too */
    proa_address peer;
    proa_datagram datagram;
    struct parcel *first_unsent; /* before it is open; datagrams alone */
    size_t start, size;          /* what is to be taken of `buffer` */
    int is_ended, error;         /* nothing more comes; and why */
    uint8_t buffer[BUFFER_SIZE];
};

struct parcel {
    proa_op op;
    struct wire *wire;
    struct parcel *next;
    proa_datagram datagram;
    uint8_t data[];
};

static struct wire *find(struct server *server, ares_socket_t handle)
{
    struct wire *wire = server->wires;

    while (wire && wire->handle != handle)
        wire = wire->next;
    return wire;
}

/* Last thing in every callback of a wire: it may be gone then, and its resolver, too. */
static void settle(struct wire *wire)
{
    proa_resolver *resolver = wire->server->resolver;

    if (wire->is_closed && wire->ops == 0) {
        free(wire);
        resolver->users--;
    }
    resolver_attend(resolver);
}

static void on_closed(proa_op *op, proa_result result)
{
    struct wire *wire = proa_owner(op, struct wire, open);

    (void)result;
    wire->ops--;
    settle(wire);
}

static void close_descriptor(struct wire *wire)
{
    wire->ops++;
    proa_close(wire->server->resolver->loop, &wire->open, wire->fd, on_closed);
}

/* What nobody cancelled the end of the loop did. */
static void take_error(struct wire *wire, int64_t value)
{
    wire->error = value < 0 ? (int)-value : 0;
    wire->server->resolver->is_ending |= !wire->is_closed && value == -ECANCELED;
}

/* Receiving */

static void receive(struct wire *wire);

static int has_news(const struct wire *wire)
{
    return !wire->is_closed && (wire->size > 0 || wire->is_ended || wire->error);
}

/* Has c-ares take what is there, a length and a message at a time. */
static void deliver(struct wire *wire)
{
    size_t left;

    wire->ops++;
    do {
        left = wire->size;
        ares_process_fd(wire->server->channel, wire->handle, ARES_SOCKET_BAD);
    } while (has_news(wire) && wire->size < left);
    wire->ops--;
}

static void on_received(proa_op *op, proa_result result)
{
    struct wire *wire = proa_owner(op, struct wire, recv);

    wire->ops--;
    wire->start = 0;
    wire->size = result.value > 0 ? (size_t)result.value : 0;
    wire->is_ended = wire->is_stream && result.value == 0;
    take_error(wire, result.value);
    if (has_news(wire))
        deliver(wire);
    if (!wire->is_closed && !wire->is_ended && !wire->error)
        receive(wire);
    settle(wire);
}

static void receive(struct wire *wire)
{
    proa_loop *loop = wire->server->resolver->loop;

    wire->ops++;
    wire->size = 0;
    if (wire->is_stream)
        proa_recv(loop, &wire->recv, wire->fd, wire->buffer, BUFFER_SIZE, on_received);
    else
        proa_recv_from(loop, &wire->recv, wire->fd, wire->buffer, BUFFER_SIZE, &wire->datagram, on_received);
}

static ares_ssize_t fail(int error)
{
    errno = error;
    return -1;
}

static void tell_peer(const struct wire *wire, struct sockaddr *ret_from, ares_socklen_t *from_size)
{
    if (!ret_from)
        return;
    memcpy(ret_from, &wire->peer.as, *from_size < wire->peer.size ? *from_size : wire->peer.size);
    *from_size = wire->peer.size;
}

static ares_ssize_t wire_recvfrom(ares_socket_t handle, void *data, size_t size, int flags, struct sockaddr *ret_from,
                                  ares_socklen_t *from_size, void *context)
{
    struct wire *wire = find(context, handle);

    (void)flags;
    if (wire->error)
        return fail(wire->error);
    if (wire->size == 0)
        return wire->is_ended ? 0 : fail(EAGAIN);
    size = size < wire->size ? size : wire->size;
    memcpy(data, wire->buffer + wire->start, size);
    wire->start += size;
    wire->size -= wire->is_stream ? size : wire->size;
    tell_peer(wire, ret_from, from_size);
    return (ares_ssize_t)size;
}

/* Sending */

/* What is lost is found out by a try that is not answered; but that nobody is there, at once. */
static void on_sent(proa_op *op, proa_result result)
{
    struct parcel *parcel = proa_owner(op, struct parcel, op);
    struct wire *wire = parcel->wire;

    free(parcel);
    wire->ops--;
    if (result.value < 0 && !wire->error)
        take_error(wire, result.value);
    if (wire->error && has_news(wire))
        deliver(wire);
    settle(wire);
}

static void send_parcel(struct wire *wire, struct parcel *parcel)
{
    proa_loop *loop = wire->server->resolver->loop;

    wire->ops++;
    if (wire->is_stream)
        proa_send(loop, &parcel->op, wire->fd, parcel->data, parcel->datagram.size, on_sent);
    else
        proa_send_to(loop, &parcel->op, wire->fd, &parcel->datagram, on_sent);
}

static void send_unsent(struct wire *wire)
{
    struct parcel *parcel;

    while ((parcel = wire->first_unsent)) {
        wire->first_unsent = parcel->next;
        send_parcel(wire, parcel);
    }
}

static void drop_unsent(struct wire *wire)
{
    struct parcel *parcel;

    while ((parcel = wire->first_unsent)) {
        wire->first_unsent = parcel->next;
        free(parcel);
    }
}

static void keep_unsent(struct wire *wire, struct parcel *parcel)
{
    struct parcel **end = &wire->first_unsent;

    while (*end)
        end = &(*end)->next;
    *end = parcel;
}

static struct parcel *pack(struct wire *wire, const struct iovec *pieces, int count)
{
    struct parcel *parcel;
    size_t size = 0, place = 0;

    for (int i = 0; i < count; i++)
        size += pieces[i].iov_len;
    parcel = calloc(1, sizeof(*parcel) + size);
    if (!parcel)
        return NULL;
    parcel->wire = wire;
    parcel->datagram.data = parcel->data;
    parcel->datagram.size = size;
    for (int i = 0; i < count; i++) {
        memcpy(parcel->data + place, pieces[i].iov_base, pieces[i].iov_len);
        place += pieces[i].iov_len;
    }
    return parcel;
}

static ares_ssize_t wire_sendv(ares_socket_t handle, const struct iovec *pieces, int count, void *context)
{
    struct wire *wire = find(context, handle);
    struct parcel *parcel;

    if (wire->error)
        return fail(wire->error);
    if (wire->is_stream && !wire->is_open)
        return fail(EAGAIN);
    parcel = pack(wire, pieces, count);
    if (!parcel)
        return fail(ENOMEM);
    if (wire->is_open)
        send_parcel(wire, parcel);
    else
        keep_unsent(wire, parcel);
    return (ares_ssize_t)parcel->datagram.size;
}

/* Opening and closing */

static void on_open(proa_op *op, proa_result result)
{
    struct wire *wire = proa_owner(op, struct wire, open);

    wire->ops--;
    if (result.value >= 0) {
        wire->fd = proa_result_fd(result);
        wire->is_open = 1;
    }
    if (wire->is_closed && wire->is_open) {
        close_descriptor(wire);
    } else if (wire->is_open) {
        send_unsent(wire);
        receive(wire);
    } else if (!wire->is_closed) {
        take_error(wire, result.value);
        deliver(wire);
    }
    settle(wire);
}

static ares_socket_t wire_socket(int family, int type, int protocol, void *context)
{
    struct server *server = context;
    struct wire *wire = calloc(1, sizeof(*wire));

    (void)family;
    (void)protocol;
    if (!wire)
        return (ares_socket_t)fail(ENOMEM);
    wire->server = server;
    wire->handle = server->resolver->next_handle++ & INT32_MAX;
    wire->is_stream = type == SOCK_STREAM;
    wire->next = server->wires;
    server->wires = wire;
    server->resolver->users++;
    return wire->handle;
}

static int wire_connect(ares_socket_t handle, const struct sockaddr *peer, ares_socklen_t size, void *context)
{
    struct wire *wire = find(context, handle);
    proa_loop *loop = wire->server->resolver->loop;

    memcpy(&wire->peer.as, peer, size);
    wire->peer.size = size;
    wire->ops++;
    if (!wire->is_stream) {
        proa_datagram_open(loop, &wire->open, NULL, &wire->peer, 0, on_open);
        return 0;
    }
    proa_connect(loop, &wire->open, &wire->peer, on_open);
    return (int)fail(EINPROGRESS);
}

static void unlink_wire(struct wire *wire)
{
    struct wire **place = &wire->server->wires;

    while (*place != wire)
        place = &(*place)->next;
    *place = wire->next;
}

static int wire_close(ares_socket_t handle, void *context)
{
    struct wire *wire = find(context, handle);

    unlink_wire(wire);
    drop_unsent(wire);
    wire->is_closed = 1;
    if (wire->is_open)
        close_descriptor(wire);
    else if (wire->ops > 0)
        proa_cancel(&wire->open);
    if (wire->ops == 0) {
        wire->server->resolver->users--;
        free(wire);
    }
    return 0;
}

const struct ares_socket_functions wire_functions = {
    .asocket = wire_socket,
    .aclose = wire_close,
    .aconnect = wire_connect,
    .arecvfrom = wire_recvfrom,
    .asendv = wire_sendv,
};

/* c-ares says what it waits for: to write only where it has queued something for a stream. */
void wire_wanted(void *context, ares_socket_t handle, int readable, int writable)
{
    struct wire *wire = find(context, handle);

    (void)readable;
    if (wire)
        wire->wants_write = writable;
}

int wires_write(struct server *server)
{
    for (struct wire *wire = server->wires; wire; wire = wire->next) {
        if (wire->wants_write && wire->is_open && !wire->error) {
            wire->wants_write = 0;
            ares_process_fd(server->channel, ARES_SOCKET_BAD, wire->handle);
            return 1;
        }
    }
    return 0;
}

/* Datagrams, UDP and Unix. Each is on its way alone, and may be lost, doubled or overtaken; Unix ones are not. One that finds
 * nobody is answered with ECONNREFUSED where its sender is connected (udp(7)). */
#include <sys/stat.h>

#include "machine/socket.h"

struct datagram {
    struct event event;
    struct datagram *next;
    struct address from, to;
    uint64_t sender; /* its serial: a connected one hears of what nobody took */
    size_t size;
    uint8_t data[];
};

struct datagram_socket {
    struct sock sock; /* first, so that either leads to the other */
    struct datagram_socket *pair;
    struct datagram *queue;
    size_t queued; /* bytes */
    uint32_t count;
    int in_ended, out_ended;
};

enum {
    DATAGRAM_MAX = 65507,
    LOCAL_DATAGRAM_MAX = 212992 - 32, /* net.core.wmem_default, less what the kernel keeps for itself */
    LOCAL_QUEUE_MAX = 10,             /* net.unix.max_dgram_qlen */
};

static struct datagram_socket *self_of(struct sock *sock)
{
    return (struct datagram_socket *)sock;
}

struct sock *datagram_new(proa_sim *machine, int family)
{
    struct datagram_socket *self = machine_allocate(sizeof(*self));

    sock_init(machine, &self->sock, family, SOCK_DGRAM);
    return &self->sock;
}

void datagram_pair(proa_sim *machine, struct sock *ret_pair[2])
{
    for (int i = 0; i < 2; i++) {
        ret_pair[i] = datagram_new(machine, AF_UNIX);
        ret_pair[i]->peer.family = AF_UNIX;
        ret_pair[i]->is_connected = 1;
    }
    self_of(ret_pair[0])->pair = self_of(ret_pair[1]);
    self_of(ret_pair[1])->pair = self_of(ret_pair[0]);
}

static int takes_any(const struct sock *sock)
{
    (void)sock;
    return 1;
}

static struct datagram_socket *find(proa_sim *machine, const struct address *to)
{
    struct sock *sock = sock_find(machine, SOCK_DGRAM, to, takes_any);

    return sock ? self_of(sock) : NULL;
}

/* On the way */

static void enqueue(proa_sim *machine, struct datagram_socket *to, const struct datagram *datagram)
{
    struct datagram *copy;
    struct datagram **end = &to->queue;

    copy = machine_allocate(sizeof(*copy) + datagram->size);
    memcpy(copy, datagram, sizeof(*copy) + datagram->size);
    copy->next = NULL;
    while (*end)
        end = &(*end)->next;
    *end = copy;
    to->queued += copy->size;
    to->count++;
    trace_event(machine, "receives", to->sock.file.serial, copy->size);
}

static void bounce(proa_sim *machine, const struct datagram *datagram)
{
    for (struct sock *sock = machine->bound; sock; sock = sock->next)
        if (sock->file.serial == datagram->sender && sock->is_connected)
            sock->error = ECONNREFUSED;
}

static int is_from_peer(const struct sock *sock, const struct address *from)
{
    return !sock->is_connected || (sock->peer.port == from->port && memcmp(sock->peer.ip, from->ip, 16) == 0);
}

static void arrive(proa_sim *machine, struct event *event)
{
    struct datagram *datagram = (struct datagram *)event;
    struct datagram_socket *to = find(machine, &datagram->to);

    if (!to || to->in_ended)
        bounce(machine, datagram);
    else if (to->queued + datagram->size > to->sock.receive_size)
        return; /* the receive buffer is full: it is dropped (udp(7)) */
    else if (is_from_peer(&to->sock, &datagram->from))
        enqueue(machine, to, datagram);
}

static void drop(struct event *event)
{
    (void)event;
}

static struct datagram *pack(const struct sock *from, const struct address *to, const struct msghdr *message,
                             size_t size)
{
    struct datagram *datagram = machine_allocate(sizeof(*datagram) + size);

    datagram->event.happen = arrive;
    datagram->event.drop = drop;
    datagram->from = from->local;
    datagram->to = *to;
    datagram->sender = from->file.serial;
    datagram->size = size;
    pieces_gather(message, 0, datagram->data, size);
    return datagram;
}

static void post(proa_sim *machine, struct datagram *datagram)
{
    uint64_t way_ns = draw_latency(machine, machine->options.latency_ns / 10);

    if (CHANCE(machine, datagram_late))
        way_ns += draw_latency(machine, 10 * machine->options.latency_ns);
    event_plan(machine, &datagram->event, machine->now_ns + machine->options.latency_ns / 2 + way_ns);
}

static void send_ip(proa_sim *machine, const struct sock *from, const struct address *to, const struct msghdr *message,
                    size_t size)
{
    int copies = CHANCE(machine, datagram_lost) ? 0 : CHANCE(machine, datagram_doubled) ? 2 : 1;

    while (copies-- > 0)
        post(machine, pack(from, to, message, size));
}

static struct datagram_socket *receiver_of(proa_sim *machine, const struct datagram_socket *self,
                                           const struct address *to)
{
    return self->pair ? self->pair : find(machine, to);
}

/* As Linux counts: one more than the limit says, and none where each of two is the other's peer. */
static int is_full(proa_sim *machine, const struct datagram_socket *self, const struct datagram_socket *from)
{
    int is_mutual = self->pair || (self->sock.is_connected && find(machine, &self->sock.peer) == from);

    return self->queued >= self->sock.receive_size || (!is_mutual && self->count > LOCAL_QUEUE_MAX);
}

/* A Unix datagram is there at once, or its receiver has no room. */
static ssize_t send_local(proa_sim *machine, struct datagram_socket *self, const struct address *to,
                          const struct msghdr *message, size_t size)
{
    struct datagram_socket *other = receiver_of(machine, self, to);
    struct datagram *datagram;

    if (!other)
        return -ECONNREFUSED;
    if (other->in_ended)
        return -EPIPE;
    if (is_full(machine, other, self))
        return -EAGAIN;
    datagram = pack(&self->sock, to, message, size);
    enqueue(machine, other, datagram);
    free(datagram);
    return (ssize_t)size;
}

/* Calls */

static int datagram_connect(proa_sim *machine, struct sock *sock, const struct address *to)
{
    struct address target = to->family == AF_UNIX ? *to : address_target(to);
    int error = sock_route(sock, &target);

    if (!error)
        error = sock_bind_for(machine, sock, &target);
    if (error)
        return error;
    if (to->family == AF_UNIX && !find(machine, to))
        return -ECONNREFUSED;
    sock->peer = target;
    sock->is_connected = 1;
    return 0;
}

static int destination(struct sock *sock, const struct msghdr *message, struct address *ret_to)
{
    int error;

    if (!message->msg_name) {
        *ret_to = sock->peer;
        return sock->is_connected ? 0 : sock->family == AF_UNIX ? -ENOTCONN : -EDESTADDRREQ;
    }
    error = address_take(sock->family, message->msg_name, message->msg_namelen, ret_to);
    if (!error && ret_to->family == AF_INET6)
        *ret_to = address_target(ret_to);
    return error ? error : sock_route(sock, ret_to);
}

static ssize_t datagram_send(proa_sim *machine, struct sock *sock, const struct msghdr *message, size_t size, int flags)
{
    struct datagram_socket *self = self_of(sock);
    struct address to;
    int error = sock_take_error(sock);

    (void)flags;
    if (!error)
        error = self->out_ended ? -EPIPE : destination(sock, message, &to);
    if (!error && size > (sock->family == AF_UNIX ? LOCAL_DATAGRAM_MAX : DATAGRAM_MAX))
        error = -EMSGSIZE;
    if (!error)
        error = sock_bind_for(machine, sock, &to);
    if (error)
        return error;
    if (sock->family == AF_UNIX)
        return send_local(machine, self, &to, message, size);
    send_ip(machine, sock, &to, message, size);
    return (ssize_t)size;
}

static void tell_sender(const struct sock *sock, const struct datagram *datagram, struct msghdr *message)
{
    if (sock->family == AF_UNIX && datagram->from.family != AF_UNIX)
        message->msg_namelen = 0; /* of a sender without a name */
    else if (message->msg_name)
        address_give(sock->family, &datagram->from, message->msg_name, &message->msg_namelen);
}

static ssize_t datagram_receive(proa_sim *machine, struct sock *sock, struct msghdr *message, size_t size, int flags)
{
    struct datagram_socket *self = self_of(sock);
    struct datagram *first = self->queue;
    ssize_t result;

    (void)machine;
    if (sock->error)
        return sock_take_error(sock);
    if (!first)
        return self->in_ended ? 0 : -EAGAIN;
    size = size < first->size ? size : first->size;
    pieces_scatter(message, 0, first->data, size);
    tell_sender(sock, first, message);
    message->msg_flags = size < first->size ? MSG_TRUNC : 0;
    message->msg_controllen = 0;
    result = (ssize_t)(flags & MSG_TRUNC ? first->size : size);
    if (flags & MSG_PEEK)
        return result;
    self->queue = first->next;
    self->queued -= first->size;
    self->count--;
    free(first);
    return result;
}

static int datagram_shutdown(proa_sim *machine, struct sock *sock, int how)
{
    struct datagram_socket *self = self_of(sock);

    (void)machine;
    if (!sock->is_connected)
        return -ENOTCONN;
    self->in_ended |= how != SHUT_WR;
    self->out_ended |= how != SHUT_RD;
    return 0;
}

static int datagram_listen(proa_sim *machine, struct sock *sock, int backlog)
{
    (void)machine;
    (void)sock;
    (void)backlog;
    return -EOPNOTSUPP;
}

static int datagram_accept(proa_sim *machine, struct sock *sock)
{
    (void)machine;
    (void)sock;
    return -EOPNOTSUPP;
}

static ssize_t datagram_read(proa_sim *machine, struct file *file, void *data, size_t size, uint64_t offset)
{
    struct iovec piece = {data, size};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};

    (void)offset;
    return datagram_receive(machine, (struct sock *)file, &message, size, 0);
}

static ssize_t datagram_write(proa_sim *machine, struct file *file, const void *data, size_t size, uint64_t offset)
{
    struct iovec piece = {(void *)(uintptr_t)data, size};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};

    (void)offset;
    return datagram_send(machine, (struct sock *)file, &message, size, 0);
}

/* Whether a connected Unix peer has room, too: UDP always has. */
static int has_room(proa_sim *machine, const struct datagram_socket *self)
{
    const struct datagram_socket *other;

    if (self->sock.family != AF_UNIX || !self->sock.is_connected)
        return 1;
    other = receiver_of(machine, self, &self->sock.peer);
    return !other || !is_full(machine, other, self);
}

static unsigned datagram_poll(const proa_sim *machine, const struct file *file)
{
    const struct datagram_socket *self = (const struct datagram_socket *)file;

    return (self->sock.error ? POLLERR : 0) | (self->queue || self->in_ended ? POLLIN | POLLRDNORM : 0) |
           (self->in_ended ? POLLRDHUP : 0) | (self->in_ended && self->out_ended ? POLLHUP : 0) |
           (has_room((proa_sim *)(uintptr_t)machine, self) ? POLLOUT | POLLWRNORM : 0);
}

static void datagram_close(proa_sim *machine, struct file *file)
{
    struct datagram_socket *self = (struct datagram_socket *)file;

    sock_unbind(machine, &self->sock);
    if (self->pair)
        self->pair->pair = NULL;
    while (self->queue) {
        struct datagram *first = self->queue;

        self->queue = first->next;
        free(first);
    }
    free(self);
}

const struct sock_kind datagram_kind = {
    .file =
        {
            .mode = S_IFSOCK,
            .watchable = 1,
            .read = datagram_read,
            .write = datagram_write,
            .poll = datagram_poll,
            .close = datagram_close,
        },
    .connect = datagram_connect,
    .receive = datagram_receive,
    .send = datagram_send,
    .shutdown = datagram_shutdown,
    .listen = datagram_listen,
    .accept = datagram_accept,
};

/* Streams, TCP and Unix.
 *
 * What one end sends is on its way for a time, and arrives in order; a Unix stream's bytes are there at once. Both ends know
 * each other until both are closed: data that comes to a closed one is answered with a reset, as is a close that leaves
 * something unread. An end is held by its descriptor or its listener's queue, by the other end, and by each segment that
 * is on its way to it. */
#include <sys/stat.h>

#include "machine/bytes.h"
#include "machine/disk.h"
#include "machine/socket.h"

enum stream_state {
    STREAM_FRESH,
    STREAM_LISTENS,
    STREAM_CONNECTS,
    STREAM_IS_CONNECTED,
    STREAM_IS_DEAD, /* reset, refused, or shut down while it listened */
};

struct stream {
    struct sock sock; /* first, so that either leads to the other */
    enum stream_state state;
    uint32_t holders;
    int is_closed;
    struct stream *peer;
    struct bytes in;
    size_t under_way;                /* bytes that are still to arrive */
    uint64_t latency_ns, arrival_ns; /* the latter of the latest segment */
    int in_ended, out_ended;         /* no more to receive, or to send */
    int peer_ended;                  /* the other end said so itself */
    int tell_connected;              /* a second connect() is to learn of success */
    struct stream *queue, *next;     /* a listener's, and the place in it */
    uint32_t queued, backlog;
};

/* Retries of a SYN that found no room: 1 s, doubled six times (tcp(7), tcp_syn_retries). */
enum { TRIES_MAX = 7 };
#define RETRY_NS UINT64_C(1000000000)

static struct stream *stream_of(struct sock *sock)
{
    return (struct stream *)sock;
}

static int is_local(const struct stream *stream)
{
    return stream->sock.family == AF_UNIX;
}

static struct stream *hold(struct stream *stream)
{
    stream->holders++;
    return stream;
}

static void release(struct stream *stream)
{
    if (--stream->holders > 0)
        return;
    free(stream->in.data);
    free(stream);
}

struct sock *stream_new(proa_sim *machine, int family)
{
    struct stream *stream = machine_allocate(sizeof(*stream));

    sock_init(machine, &stream->sock, family, SOCK_STREAM);
    stream->holders = 1;
    return &stream->sock;
}

/* Segments */

enum segment_kind { SEGMENT_OPENS, SEGMENT_DATA, SEGMENT_ENDS, SEGMENT_RESETS };

struct segment {
    struct event event;
    struct stream *to;
    enum segment_kind kind;
    size_t size;
    uint8_t data[];
};

static void drop_segment(struct event *event)
{
    release(((struct segment *)event)->to);
}

/* Whoever calls this holds the stream otherwise, too. */
static void unlink_peers(struct stream *stream)
{
    struct stream *peer = stream->peer;

    stream->peer = peer->peer = NULL;
    stream->holders--;
    release(peer);
}

static void post(proa_sim *machine, struct stream *to, enum segment_kind kind, const struct msghdr *message,
                 size_t offset, size_t size);

static void die(proa_sim *machine, struct stream *stream, int error)
{
    stream->state = STREAM_IS_DEAD;
    stream->sock.error = error;
    stream->sock.is_connected = 0;
    stream->in_ended = stream->out_ended = 1;
    trace_event(machine, "is reset", stream->sock.file.serial, (uint64_t)error);
}

static void arrive_data(proa_sim *machine, struct segment *segment)
{
    struct stream *to = segment->to;

    to->under_way -= segment->size;
    if (to->is_closed || to->state == STREAM_IS_DEAD) {
        if (to->peer && !to->peer->is_closed && to->state != STREAM_IS_DEAD)
            post(machine, to->peer, SEGMENT_RESETS, NULL, 0, 0);
        return;
    }
    bytes_put(&to->in, segment->data, segment->size);
    trace_event(machine, "receives", to->sock.file.serial, segment->size);
}

static void arrive_reset(proa_sim *machine, struct stream *to)
{
    if (to->state == STREAM_CONNECTS)
        die(machine, to, ECONNREFUSED);
    else if (to->state == STREAM_IS_CONNECTED)
        die(machine, to, to->peer_ended ? EPIPE : ECONNRESET);
}

static void arrive(proa_sim *machine, struct event *event)
{
    struct segment *segment = (struct segment *)event;
    struct stream *to = segment->to;

    if (segment->kind == SEGMENT_DATA) {
        arrive_data(machine, segment);
    } else if (to->is_closed) {
        return;
    } else if (segment->kind == SEGMENT_RESETS) {
        arrive_reset(machine, to);
    } else if (segment->kind == SEGMENT_ENDS) {
        to->in_ended = to->peer_ended = 1;
        trace_event(machine, "receives the end", to->sock.file.serial, 0);
    } else {
        to->state = STREAM_IS_CONNECTED;
        to->sock.is_connected = to->tell_connected = 1;
        trace_event(machine, "is connected", to->sock.file.serial, 0);
    }
}

static void post(proa_sim *machine, struct stream *to, enum segment_kind kind, const struct msghdr *message,
                 size_t offset, size_t size)
{
    struct segment *segment = machine_allocate(sizeof(*segment) + size);
    uint64_t way_ns = to->latency_ns + draw(machine, to->latency_ns / 4 + 1);
    uint64_t when_ns = machine->now_ns + (is_local(to) ? 0 : way_ns * (CHANCE(machine, slow_network) ? 100 : 1));

    segment->event.happen = arrive;
    segment->event.drop = drop_segment;
    segment->to = hold(to);
    segment->kind = kind;
    segment->size = size;
    if (message)
        pieces_gather(message, offset, segment->data, size);
    to->arrival_ns = when_ns > to->arrival_ns ? when_ns : to->arrival_ns;
    event_plan(machine, &segment->event, to->arrival_ns);
}

/* Connecting */

static void join(struct stream *one, struct stream *other)
{
    one->peer = hold(other);
    other->peer = hold(one);
    one->latency_ns = other->latency_ns;
}

/* The listener's end of a new connection. */
static struct stream *new_child(proa_sim *machine, struct stream *listener, struct stream *from)
{
    struct stream *child = stream_of(stream_new(machine, listener->sock.family));
    struct stream **end = &listener->queue;

    child->state = STREAM_IS_CONNECTED;
    child->sock.is_connected = 1;
    child->sock.receive_size = listener->sock.receive_size;
    child->sock.send_size = listener->sock.send_size;
    child->sock.only_ip6 = listener->sock.only_ip6;
    child->sock.no_delay = listener->sock.no_delay;
    child->sock.local = is_local(listener) ? listener->sock.local : from->sock.peer;
    child->sock.peer = from->sock.local;
    join(child, from);
    while (*end)
        end = &(*end)->next;
    *end = child;
    listener->queued++;
    return child;
}

static int listens(const struct sock *sock)
{
    return sock->is_listening;
}

static struct stream *find_listener(proa_sim *machine, const struct address *to)
{
    struct sock *sock = sock_find(machine, SOCK_STREAM, to, listens);

    return sock ? stream_of(sock) : NULL;
}

/* As Linux counts: one more than the backlog says. */
static int is_full(const struct stream *listener)
{
    return listener->queued > listener->backlog;
}

struct knock {
    struct event event;
    struct stream *from;
    uint32_t tries;
};

static void drop_knock(struct event *event)
{
    release(((struct knock *)event)->from);
}

static void send_knock(proa_sim *machine, struct stream *from, uint64_t when_ns, uint32_t tries);

static void knock_again(proa_sim *machine, const struct knock *knock)
{
    if (knock->tries == TRIES_MAX)
        die(machine, knock->from, ETIMEDOUT);
    else
        send_knock(machine, knock->from, machine->now_ns + (RETRY_NS << (knock->tries - 1)), knock->tries + 1);
}

static void arrive_knock(proa_sim *machine, struct event *event)
{
    struct knock *knock = (struct knock *)event;
    struct stream *from = knock->from;
    struct stream *listener;

    if (from->is_closed || from->state != STREAM_CONNECTS)
        return;
    listener = find_listener(machine, &from->sock.peer);
    if (!listener || CHANCE(machine, refused)) {
        post(machine, from, SEGMENT_RESETS, NULL, 0, 0);
    } else if (is_full(listener)) {
        knock_again(machine, knock);
    } else {
        new_child(machine, listener, from);
        post(machine, from, SEGMENT_OPENS, NULL, 0, 0);
    }
}

static void send_knock(proa_sim *machine, struct stream *from, uint64_t when_ns, uint32_t tries)
{
    struct knock *knock = machine_allocate(sizeof(*knock));

    knock->event.happen = arrive_knock;
    knock->event.drop = drop_knock;
    knock->from = hold(from);
    knock->tries = tries;
    event_plan(machine, &knock->event, when_ns);
}

static int connect_ip(proa_sim *machine, struct stream *stream, const struct address *to)
{
    struct address target = address_target(to);
    int error = sock_route(&stream->sock, &target);

    if (!error)
        error = sock_bind_for(machine, &stream->sock, &target);
    if (error)
        return error;
    if (address_is_any(&stream->sock.local)) {
        uint16_t port = stream->sock.local.port;

        stream->sock.local = address_source(&target);
        stream->sock.local.port = port;
    }
    stream->sock.peer = target;
    stream->latency_ns = draw_latency(machine, machine->options.latency_ns);
    stream->state = STREAM_CONNECTS;
    send_knock(machine, stream, machine->now_ns + stream->latency_ns, 1);
    return -EINPROGRESS;
}

static int connect_local(proa_sim *machine, struct stream *stream, const struct address *to)
{
    int error = to->path[0] ? disk_check_socket(machine, to->path) : 0;
    struct stream *listener = error ? NULL : find_listener(machine, to);

    if (!listener)
        return error ? error : -ECONNREFUSED;
    if (is_full(listener))
        return -EAGAIN;
    if (stream->state != STREAM_FRESH)
        return stream->state == STREAM_LISTENS ? -EINVAL : -EISCONN;
    stream->sock.peer = listener->sock.local;
    stream->state = STREAM_IS_CONNECTED;
    stream->sock.is_connected = 1;
    new_child(machine, listener, stream);
    return 0;
}

static int stream_connect(proa_sim *machine, struct sock *sock, const struct address *to)
{
    struct stream *stream = stream_of(sock);

    if (is_local(stream))
        return connect_local(machine, stream, to);
    switch (stream->state) {
    case STREAM_FRESH:
        return connect_ip(machine, stream, to);
    case STREAM_CONNECTS:
        return -EALREADY;
    case STREAM_IS_DEAD:
        return sock->error ? sock_take_error(sock) : -ECONNABORTED;
    case STREAM_LISTENS:
        return -EISCONN;
    default:
        if (!stream->tell_connected)
            return -EISCONN;
        stream->tell_connected = 0;
        return 0;
    }
}

void stream_pair(proa_sim *machine, struct sock *ret_pair[2])
{
    for (int i = 0; i < 2; i++) {
        ret_pair[i] = stream_new(machine, AF_UNIX);
        ret_pair[i]->local.family = ret_pair[i]->peer.family = AF_UNIX;
        ret_pair[i]->is_connected = 1;
        stream_of(ret_pair[i])->state = STREAM_IS_CONNECTED;
    }
    join(stream_of(ret_pair[0]), stream_of(ret_pair[1]));
}

/* Listening */

static int stream_listen(proa_sim *machine, struct sock *sock, int backlog)
{
    static const struct address any = {.family = AF_INET6, .ip = {[10] = 0xff, [11] = 0xff}};
    struct stream *stream = stream_of(sock);
    uint32_t most = machine->options.backlog_max;
    int error = 0;

    if (stream->state != STREAM_FRESH && stream->state != STREAM_LISTENS)
        return -EINVAL;
    if (!sock->is_bound)
        error = is_local(stream) ? -EINVAL : sock_bind(machine, sock, &any);
    if (error)
        return error;
    stream->state = STREAM_LISTENS;
    sock->is_listening = 1;
    stream->backlog = backlog >= 0 && (uint32_t)backlog < most ? (uint32_t)backlog : most;
    return 0;
}

static void close_stream(proa_sim *machine, struct stream *stream);

static struct stream *take_child(struct stream *listener)
{
    struct stream *child = listener->queue;

    listener->queue = child->next;
    listener->queued--;
    return child;
}

static void refuse_queue(proa_sim *machine, struct stream *listener)
{
    while (listener->queue) {
        struct stream *child = take_child(listener);

        child->sock.resets_on_close = 1;
        close_stream(machine, child);
    }
}

static int stream_accept(proa_sim *machine, struct sock *sock)
{
    struct stream *listener = stream_of(sock);
    struct stream *child;
    int error;

    if (listener->state != STREAM_LISTENS)
        return -EINVAL;
    if (!listener->queue)
        return -EAGAIN;
    error = descriptor_lacks(machine);
    if (error)
        return error;
    child = take_child(listener);
    if (CHANCE(machine, aborted)) {
        child->sock.resets_on_close = 1;
        close_stream(machine, child);
        return -ECONNABORTED;
    }
    return descriptor_add(machine, &child->sock.file, &stream_kind.file);
}

/* Moving bytes */

static size_t room(const struct stream *from, const struct stream *to)
{
    size_t most = from->sock.send_size + to->sock.receive_size;
    size_t used = to->under_way + bytes_count(&to->in);

    return used < most ? most - used : 0;
}

static int send_error(struct stream *stream)
{
    if (stream->state == STREAM_CONNECTS)
        return -EAGAIN;
    if (stream->state == STREAM_FRESH || stream->state == STREAM_LISTENS)
        return is_local(stream) ? -ENOTCONN : -EPIPE;
    if (is_local(stream) && stream->out_ended)
        return -EPIPE;
    return stream->sock.error ? sock_take_error(&stream->sock) : stream->out_ended ? -EPIPE : 0;
}

/* Both ends learn of it. */
static int break_connection(proa_sim *machine, struct stream *stream)
{
    if (stream->peer)
        post(machine, stream->peer, SEGMENT_RESETS, NULL, 0, 0);
    die(machine, stream, 0);
    return -ECONNRESET;
}

static void deliver(proa_sim *machine, struct stream *to, const struct msghdr *message, size_t size)
{
    size_t offset = 0;

    to->under_way += size;
    while (offset < size) {
        size_t part = is_local(to) ? size : shorten(machine, machine->options.chances.split, size - offset);

        post(machine, to, SEGMENT_DATA, message, offset, part);
        offset += part;
        if (offset < size) /* what is behind a cut comes later, or nobody would see the cut */
            to->arrival_ns += 1 + draw(machine, to->latency_ns / 4 + 1);
    }
}

static ssize_t stream_send(proa_sim *machine, struct sock *sock, const struct msghdr *message, size_t size, int flags)
{
    struct stream *stream = stream_of(sock);
    int error = send_error(stream);
    size_t space;

    (void)flags;
    if (error || size == 0)
        return error;
    if (!is_local(stream) && CHANCE(machine, reset))
        return break_connection(machine, stream);
    space = room(stream, stream->peer);
    if (space == 0)
        return -EAGAIN;
    size = shorten(machine, machine->options.chances.short_send, size < space ? size : space);
    deliver(machine, stream->peer, message, size);
    return (ssize_t)size;
}

static ssize_t receive_nothing(struct stream *stream)
{
    if (stream->state == STREAM_FRESH || stream->state == STREAM_LISTENS)
        return is_local(stream) ? -EINVAL : -ENOTCONN;
    if (stream->peer_ended)
        return 0;
    if (stream->sock.error)
        return sock_take_error(&stream->sock);
    return stream->in_ended ? 0 : -EAGAIN;
}

static ssize_t stream_receive(proa_sim *machine, struct sock *sock, struct msghdr *message, size_t size, int flags)
{
    struct stream *stream = stream_of(sock);
    size_t there = bytes_count(&stream->in);

    message->msg_namelen = 0;
    message->msg_flags = 0;
    if (there == 0)
        return receive_nothing(stream);
    size = shorten(machine, machine->options.chances.short_recv, size < there ? size : there);
    pieces_scatter(message, 0, stream->in.data + stream->in.begin, size);
    if (!(flags & MSG_PEEK))
        bytes_drop(&stream->in, size);
    return (ssize_t)size;
}

/* As tcp_poll() and unix_poll() of Linux have it. */
static unsigned stream_poll(const proa_sim *machine, const struct file *file)
{
    const struct stream *stream = (const struct stream *)file;
    unsigned events = stream->sock.error ? POLLERR : 0;

    (void)machine;
    if (stream->state == STREAM_LISTENS)
        return stream->queue ? POLLIN | POLLRDNORM : 0;
    if (stream->state == STREAM_CONNECTS)
        return events;
    if (stream->state == STREAM_FRESH)
        return POLLOUT | POLLWRNORM | POLLHUP;
    if (stream->in_ended)
        events |= POLLIN | POLLRDNORM | POLLRDHUP;
    if (stream->in_ended && stream->out_ended)
        events |= POLLHUP;
    if (bytes_count(&stream->in) > 0)
        events |= POLLIN | POLLRDNORM;
    if (stream->out_ended || !stream->peer ||
        3 * room(stream, stream->peer) >= stream->sock.send_size + stream->peer->sock.receive_size)
        events |= POLLOUT | POLLWRNORM;
    return events;
}

/* Ending */

static int shut_local(struct stream *stream, int how)
{
    struct stream *peer = stream->peer;

    if (how != SHUT_WR) {
        stream->in_ended = 1;
        if (peer)
            peer->out_ended = 1;
    }
    if (how != SHUT_RD) {
        stream->out_ended = 1;
        if (peer)
            peer->in_ended = 1;
    }
    return 0;
}

static int shut_listener(proa_sim *machine, struct stream *stream, int how)
{
    if (how == SHUT_WR)
        return 0;
    refuse_queue(machine, stream);
    stream->state = STREAM_IS_DEAD;
    stream->sock.is_listening = 0;
    stream->in_ended = stream->out_ended = 1;
    return 0;
}

static int stream_shutdown(proa_sim *machine, struct sock *sock, int how)
{
    struct stream *stream = stream_of(sock);

    if (stream->state == STREAM_LISTENS)
        return is_local(stream) ? shut_local(stream, how) : shut_listener(machine, stream, how);
    if (is_local(stream))
        return shut_local(stream, how);
    if (stream->state == STREAM_CONNECTS)
        die(machine, stream, 0);
    if (stream->state != STREAM_IS_CONNECTED)
        return -ENOTCONN;
    if (how != SHUT_WR)
        stream->in_ended = 1;
    if (how != SHUT_RD && !stream->out_ended) {
        stream->out_ended = 1;
        post(machine, stream->peer, SEGMENT_ENDS, NULL, 0, 0);
    }
    return 0;
}

static void hang_up_local(struct stream *stream, int is_unread)
{
    struct stream *peer = stream->peer;

    peer->in_ended = peer->out_ended = 1;
    if (is_unread)
        peer->sock.error = ECONNRESET;
}

static void hang_up(proa_sim *machine, struct stream *stream)
{
    int is_unread = bytes_count(&stream->in) > 0 || stream->sock.resets_on_close || stream->state == STREAM_CONNECTS;

    if (stream->peer->is_closed)
        return;
    if (is_local(stream))
        hang_up_local(stream, is_unread);
    else if (is_unread)
        post(machine, stream->peer, SEGMENT_RESETS, NULL, 0, 0);
    else if (!stream->out_ended)
        post(machine, stream->peer, SEGMENT_ENDS, NULL, 0, 0);
}

static void close_stream(proa_sim *machine, struct stream *stream)
{
    refuse_queue(machine, stream);
    sock_unbind(machine, &stream->sock);
    if (stream->peer && stream->state != STREAM_IS_DEAD)
        hang_up(machine, stream);
    stream->is_closed = 1;
    if (stream->peer && stream->peer->is_closed)
        unlink_peers(stream);
    release(stream);
}

static void stream_close(proa_sim *machine, struct file *file)
{
    close_stream(machine, (struct stream *)file);
}

static ssize_t stream_read(proa_sim *machine, struct file *file, void *data, size_t size, uint64_t offset)
{
    struct iovec piece = {data, size};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};

    (void)offset;
    return stream_receive(machine, (struct sock *)file, &message, size, 0);
}

static ssize_t stream_write(proa_sim *machine, struct file *file, const void *data, size_t size, uint64_t offset)
{
    struct iovec piece = {(void *)(uintptr_t)data, size};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};

    (void)offset;
    return stream_send(machine, (struct sock *)file, &message, size, 0);
}

const struct sock_kind stream_kind = {
    .file =
        {
            .mode = S_IFSOCK,
            .watchable = 1,
            .read = stream_read,
            .write = stream_write,
            .poll = stream_poll,
            .close = stream_close,
        },
    .connect = stream_connect,
    .receive = stream_receive,
    .send = stream_send,
    .shutdown = stream_shutdown,
    .listen = stream_listen,
    .accept = stream_accept,
};

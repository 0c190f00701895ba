/*
 * The io_uring echo: the limit for any echo server on this kernel. One multishot accept, one multishot receive per
 * connection into a ring of provided buffers, one submit-and-wait per turn.
 *
 * A send is silent (see ring_prep_send_quiet): it posts a completion only when the peer did not take all bytes at
 * once. So a message costs one receive completion and one send entry, and the sends of a turn run inside the enter
 * that waits for the next. A buffer of a silent send is free when that enter has returned and nothing was posted for
 * it; that is why `turn` keeps the buffers of the sends before this enter. `--skip-success 0` is the variant in which
 * every send posts a completion.
 *
 * One send per connection and turn, because order on a stream is not kept between sends in flight. What arrives
 * meanwhile is chained behind the connection and goes next turn, or after the send that waits for the peer.
 *
 * `--direct 1` keeps sockets in the ring's own file table instead of the process's.
 */
#define _GNU_SOURCE
#include "../ring.h"
#include "common.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { SQ_ENTRIES = 1024, CQ_ENTRIES = 4096 };
enum tag { ACCEPT, RECEIVE, SEND, SEND_REST, QUIET };
enum { NONE = 0xffff };

/* Kept small: it is touched for each message. */
struct connection {
    uint32_t turn;        /* of its last send */
    uint16_t first, last; /* chain of buffers that wait; the first may be partly sent */
    bool waiting;         /* a send waits for the peer */
    bool ended;           /* the peer has ended its stream: close when nothing is left to send */
    bool queued;          /* is in `later` */
};

struct buffer_state {
    uint32_t offset, size; /* of what is still to be sent */
    uint16_t next;
    bool kept; /* its silent send did not succeed */
};

struct id_list {
    uint32_t *ids;
    unsigned count;
};

static struct io_uring ring;
static struct ring_buffers buffers;
static struct connection *connections;     /* by descriptor, or index in the ring's file table */
static struct buffer_state *states;        /* by buffer */
static struct id_list sent, sent_before;   /* buffers of silent sends: of this turn, and of the enter just done */
static struct id_list later, later_before; /* connections with something to do in the next turn */
static uint32_t turn = 1;
static long messages, skip_success = 1, direct;
static int listener;

static uint64_t user_data(enum tag tag, unsigned id, unsigned buffer)
{
    return (uint64_t)id << 32 | buffer << 8 | tag;
}

static void target(struct io_uring_sqe *sqe)
{
    if (direct)
        sqe->flags |= IOSQE_FIXED_FILE;
}

static void start_accept(void)
{
    struct io_uring_sqe *sqe = ring_sqe(&ring);

    if (direct)
        io_uring_prep_multishot_accept_direct(sqe, listener, NULL, NULL, 0);
    else
        io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    sqe->user_data = user_data(ACCEPT, 0, 0);
}

static void start_receive(unsigned id)
{
    struct io_uring_sqe *sqe = ring_sqe(&ring);

    ring_prep_receive(sqe, (int)id);
    target(sqe);
    sqe->user_data = user_data(RECEIVE, id, 0);
}

static void start_close(unsigned id)
{
    struct io_uring_sqe *sqe = ring_sqe(&ring);

    if (direct)
        io_uring_prep_close_direct(sqe, id);
    else
        io_uring_prep_close(sqe, (int)id);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = user_data(QUIET, id, 0);
}

static void start_send(unsigned id, unsigned buffer)
{
    struct io_uring_sqe *sqe = ring_sqe(&ring);
    const struct buffer_state *state = &states[buffer];
    const char *data = ring_buffer(&buffers, buffer) + state->offset;

    connections[id].turn = turn;
    if (skip_success) {
        ring_prep_send_quiet(sqe, (int)id, data, state->size);
        sqe->user_data = user_data(SEND, id, buffer);
        sent.ids[sent.count++] = buffer;
    } else {
        io_uring_prep_send(sqe, (int)id, data, state->size, MSG_WAITALL | MSG_NOSIGNAL);
        sqe->user_data = user_data(SEND_REST, id, buffer);
        connections[id].waiting = true;
    }
    target(sqe);
}

/* The kernel waits for the peer here, and answers when all is sent. */
static void start_send_rest(unsigned id, unsigned buffer)
{
    struct io_uring_sqe *sqe = ring_sqe(&ring);
    const struct buffer_state *state = &states[buffer];

    io_uring_prep_send(sqe, (int)id, ring_buffer(&buffers, buffer) + state->offset, state->size,
                       MSG_WAITALL | MSG_NOSIGNAL);
    target(sqe);
    sqe->user_data = user_data(SEND_REST, id, buffer);
    connections[id].waiting = true;
}

static void do_later(unsigned id)
{
    if (connections[id].queued)
        return;
    connections[id].queued = true;
    later.ids[later.count++] = id;
}

static void chain(unsigned id, unsigned buffer)
{
    struct connection *connection = &connections[id];

    states[buffer].next = NONE;
    if (connection->first == NONE)
        connection->first = (uint16_t)buffer;
    else
        states[connection->last].next = (uint16_t)buffer;
    connection->last = (uint16_t)buffer;
    if (!connection->waiting)
        do_later(id);
}

static void received(unsigned id, const struct io_uring_cqe *cqe)
{
    struct connection *connection = &connections[id];
    unsigned buffer = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

    if (cqe->res > 0) {
        states[buffer] = (struct buffer_state){.size = (uint32_t)cqe->res};
        messages++;
        if (__builtin_expect(connection->waiting || connection->turn == turn || connection->first != NONE, 0))
            chain(id, buffer);
        else
            start_send(id, buffer);
    } else if (cqe->res != -ENOBUFS) {
        connection->ended = true;
        if (!connection->waiting)
            do_later(id);
        return;
    }
    if (__builtin_expect(!(cqe->flags & IORING_CQE_F_MORE), 0))
        start_receive(id);
}

/* A silent send that was not silent: the peer took part of it, or nothing, or is gone. */
static void send_failed(unsigned id, unsigned buffer, int result)
{
    states[buffer].kept = true;
    if (result >= 0) {
        states[buffer].offset += (uint32_t)result;
        states[buffer].size -= (uint32_t)result;
    }
    if (result >= 0 || result == -EAGAIN)
        return start_send_rest(id, buffer);
    ring_buffer_return(&buffers, buffer);
}

static void send_rest_done(unsigned id, unsigned buffer)
{
    struct connection *connection = &connections[id];

    ring_buffer_return(&buffers, buffer);
    connection->waiting = false;
    if (connection->first != NONE || connection->ended)
        do_later(id);
}

static void accepted(const struct io_uring_cqe *cqe)
{
    if (cqe->res >= 0) {
        connections[cqe->res] = (struct connection){.first = NONE};
        start_receive((unsigned)cqe->res);
    }
    if (!(cqe->flags & IORING_CQE_F_MORE))
        start_accept();
}

static void completed(const struct io_uring_cqe *cqe)
{
    unsigned id = (unsigned)(cqe->user_data >> 32), buffer = (unsigned)(cqe->user_data >> 8) & 0xffff;

    switch ((enum tag)(cqe->user_data & 0xff)) {
    case RECEIVE:
        received(id, cqe);
        break;
    case ACCEPT:
        accepted(cqe);
        break;
    case SEND:
        send_failed(id, buffer, cqe->res);
        break;
    case SEND_REST:
        send_rest_done(id, buffer);
        break;
    case QUIET:
        break;
    }
}

static void swap(struct id_list *a, struct id_list *b)
{
    struct id_list other = *a;

    *a = *b;
    *b = other;
}

/* Gives back the buffers of the silent sends of the last enter. All its failures have been seen: they were posted
 * before it returned. */
static void recycle(void)
{
    for (unsigned i = 0; i < sent_before.count; i++) {
        if (!states[sent_before.ids[i]].kept)
            ring_buffer_return(&buffers, sent_before.ids[i]);
    }
    sent_before.count = 0;
    ring_buffers_publish(&buffers);
}

static void continue_connection(unsigned id)
{
    struct connection *connection = &connections[id];
    unsigned buffer = connection->first;

    connection->queued = false;
    if (connection->waiting)
        return;
    if (connection->turn == turn) {
        do_later(id);
    } else if (buffer != NONE) {
        connection->first = states[buffer].next;
        start_send(id, buffer);
        if (connection->first != NONE || connection->ended)
            do_later(id);
    } else if (connection->ended) {
        start_close(id);
    }
}

static void one_turn(void)
{
    /* DEFER_TASKRUN: nothing completes unless entering with GETEVENTS, so "do not wait" is a call of its own. */
    int result = later.count ? io_uring_submit_and_get_events(&ring) : io_uring_submit_and_wait(&ring, 1);
    struct io_uring_cqe *cqe;
    unsigned head, count = 0;

    if (result < 0 && result != -EINTR)
        ref_fail("io_uring_enter", -result);
    turn++;
    ref_woken(0); /* the kernel looks at nothing: what is ready comes by itself */
    swap(&later, &later_before);
    swap(&sent, &sent_before);
    io_uring_for_each_cqe(&ring, head, cqe)
    {
        completed(cqe);
        count++;
    }
    io_uring_cq_advance(&ring, count);
    for (unsigned i = 0; i < later_before.count; i++)
        continue_connection(later_before.ids[i]);
    later_before.count = 0;
    recycle();
}

static void lists_open(size_t connections_max, size_t buffer_count)
{
    sent.ids = ref_zeroed(buffer_count, sizeof(uint32_t));
    sent_before.ids = ref_zeroed(buffer_count, sizeof(uint32_t));
    later.ids = ref_zeroed(connections_max, sizeof(uint32_t));
    later_before.ids = ref_zeroed(connections_max, sizeof(uint32_t));
    connections = ref_zeroed(connections_max, sizeof(*connections));
    states = ref_zeroed(buffer_count, sizeof(*states));
}

int main(int argc, char **argv)
{
    const char *address;
    long exit_after, buffer_count = 256, buffer_size = 2048;
    const struct ref_option extra[] = {
        {"--skip-success", &skip_success, "1: silent sends"},
        {"--direct", &direct, "1: sockets in the ring's file table"},
        {"--buffers", &buffer_count, "buffers, a power of two up to 32768"},
        {"--buffer-size", &buffer_size, "bytes of each"},
        {0},
    };
    size_t descriptors;
    int result;

    ref_options(argc, argv, &address, &exit_after, extra);
    descriptors = ref_descriptors();
    lists_open(descriptors, (size_t)buffer_count);
    listener = ref_listen(address, false);
    result = ring_open(&ring, SQ_ENTRIES, CQ_ENTRIES, 0);
    if (result < 0)
        ref_fail("io_uring", -result);
    result = ring_buffers_open(&ring, &buffers, (unsigned)buffer_count, (unsigned)buffer_size);
    if (result < 0)
        ref_fail("provided buffers", -result);
    if (direct && (result = io_uring_register_files_sparse(&ring, (unsigned)descriptors)) < 0)
        ref_fail("file table", -result);
    start_accept();
    while (!exit_after || messages < exit_after)
        one_turn();
    io_uring_submit(&ring); /* the last messages */
    return 0;
}

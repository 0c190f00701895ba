/*
 * The HTTP limit on io_uring: echo_uring with the message replaced by a constant answer. Finds the blank lines, so
 * that pipelined and split requests are counted right, and parses nothing else.
 *
 * A receive buffer goes back as soon as its blank lines are counted. The answers to one receive leave in one silent
 * send (see ring_prep_send_quiet) from constant memory; what a peer does not take is remembered as a count of bytes,
 * since all answers are alike. `--skip-success 0` is the variant in which every send posts a completion; `--direct 1`
 * keeps sockets in the ring's own file table.
 */
#define _GNU_SOURCE
#include "../ring.h"
#include "common.h"

#include <errno.h>
#include <stdint.h>
#include <sys/socket.h>

enum { SQ_ENTRIES = 1024, CQ_ENTRIES = 4096 };
enum tag { ACCEPT, RECEIVE, SEND, SEND_REST, QUIET };

struct connection {
    size_t owed;        /* bytes of answers not handed to the kernel, or handed and not taken yet */
    uint32_t sending;   /* size of the last send */
    uint32_t turn;      /* of the last send */
    unsigned char line; /* see ref_http_heads */
    bool waiting;       /* a send waits for the peer */
    bool ended;         /* the peer has ended its stream */
    bool queued;        /* is in `later` */
};

struct id_list {
    uint32_t *ids;
    unsigned count;
};

static struct io_uring ring;
static struct ring_buffers buffers;
static struct connection *connections;     /* by descriptor, or index in the ring's file table */
static struct id_list later, later_before; /* connections with something to do in the next turn */
static struct ref_http http;
static uint32_t turn = 1;
static long messages, skip_success = 1, direct;
static int listener;

static void finish(struct io_uring_sqe *sqe, enum tag tag, unsigned id)
{
    sqe->user_data = (uint64_t)id << 32 | tag;
    if (direct && tag != ACCEPT && tag != QUIET)
        sqe->flags |= IOSQE_FIXED_FILE;
}

static void start_accept(void)
{
    struct io_uring_sqe *sqe = ring_sqe(&ring);

    if (direct)
        io_uring_prep_multishot_accept_direct(sqe, listener, NULL, NULL, 0);
    else
        io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    finish(sqe, ACCEPT, 0);
}

static void start_receive(unsigned id)
{
    struct io_uring_sqe *sqe = ring_sqe(&ring);

    ring_prep_receive(sqe, (int)id);
    finish(sqe, RECEIVE, id);
}

static void start_close(unsigned id)
{
    struct io_uring_sqe *sqe = ring_sqe(&ring);

    if (direct)
        io_uring_prep_close_direct(sqe, id);
    else
        io_uring_prep_close(sqe, (int)id);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    finish(sqe, QUIET, id);
}

/* Sends what is owed, up to all copies. A silent send is taken for done here, and put right if it was not. */
static void start_send(unsigned id, bool quiet)
{
    struct connection *connection = &connections[id];
    struct io_uring_sqe *sqe = ring_sqe(&ring);
    size_t offset = (http.one - connection->owed % http.one) % http.one;
    size_t most = REF_HTTP_COPIES * http.one - offset;

    connection->sending = (uint32_t)(connection->owed < most ? connection->owed : most);
    connection->turn = turn;
    if (quiet) {
        connection->owed -= connection->sending;
        ring_prep_send_quiet(sqe, (int)id, http.bytes + offset, connection->sending);
    } else {
        connection->waiting = true;
        io_uring_prep_send(sqe, (int)id, http.bytes + offset, connection->sending, MSG_WAITALL | MSG_NOSIGNAL);
    }
    finish(sqe, quiet ? SEND : SEND_REST, id);
}

static void do_later(unsigned id)
{
    if (connections[id].queued)
        return;
    connections[id].queued = true;
    later.ids[later.count++] = id;
}

/* One send per connection and turn: order on a stream is not kept between sends in flight. */
static void proceed(unsigned id)
{
    struct connection *connection = &connections[id];

    if (connection->waiting)
        return;
    if (__builtin_expect(connection->turn == turn, 0))
        return do_later(id);
    if (connection->owed)
        start_send(id, skip_success);
    else if (connection->ended)
        return start_close(id);
    if (__builtin_expect(connection->owed || connection->ended, 0))
        do_later(id);
}

static void received(unsigned id, const struct io_uring_cqe *cqe)
{
    struct connection *connection = &connections[id];

    if (cqe->res > 0) {
        unsigned buffer = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        unsigned heads = ref_http_heads(&connection->line, ring_buffer(&buffers, buffer), (size_t)cqe->res);

        ring_buffer_return(&buffers, buffer);
        messages += heads;
        connection->owed += heads * http.one;
        if (connection->owed)
            proceed(id);
    } else if (cqe->res != -ENOBUFS) {
        connection->ended = true;
        return proceed(id);
    }
    if (__builtin_expect(!(cqe->flags & IORING_CQE_F_MORE), 0))
        start_receive(id);
}

/* A silent send that was not silent: the peer took part of it, or nothing, or is gone. */
static void send_failed(unsigned id, int result)
{
    struct connection *connection = &connections[id];

    if (result < 0 && result != -EAGAIN)
        return;
    connection->owed += connection->sending - (result > 0 ? (unsigned)result : 0);
    start_send(id, false);
}

static void send_rest_done(unsigned id, int result)
{
    struct connection *connection = &connections[id];

    connection->waiting = false;
    connection->owed -= result > 0 ? (size_t)result : connection->owed; /* an error: nobody to send to */
    if (connection->owed || connection->ended)
        proceed(id);
}

static void accepted(const struct io_uring_cqe *cqe)
{
    if (cqe->res >= 0) {
        connections[cqe->res] = (struct connection){.line = 2};
        start_receive((unsigned)cqe->res);
    }
    if (!(cqe->flags & IORING_CQE_F_MORE))
        start_accept();
}

static void completed(const struct io_uring_cqe *cqe)
{
    unsigned id = (unsigned)(cqe->user_data >> 32);

    switch ((enum tag)(cqe->user_data & 0xff)) {
    case RECEIVE:
        received(id, cqe);
        break;
    case ACCEPT:
        accepted(cqe);
        break;
    case SEND:
        send_failed(id, cqe->res);
        break;
    case SEND_REST:
        send_rest_done(id, cqe->res);
        break;
    case QUIET:
        break;
    }
}

static void do_the_later(void)
{
    for (unsigned i = 0; i < later_before.count; i++) {
        connections[later_before.ids[i]].queued = false;
        proceed(later_before.ids[i]);
    }
    later_before.count = 0;
}

static void one_turn(void)
{
    /* DEFER_TASKRUN: nothing completes unless entering with GETEVENTS, so "do not wait" is a call of its own. */
    int result = later.count ? io_uring_submit_and_get_events(&ring) : io_uring_submit_and_wait(&ring, 1);
    struct id_list other = later_before;
    struct io_uring_cqe *cqe;
    unsigned head, count = 0;

    if (result < 0 && result != -EINTR)
        ref_fail("io_uring_enter", -result);
    turn++;
    later_before = later;
    later = other;
    io_uring_for_each_cqe(&ring, head, cqe)
    {
        completed(cqe);
        count++;
    }
    io_uring_cq_advance(&ring, count);
    do_the_later();
    ring_buffers_publish(&buffers);
}

int main(int argc, char **argv)
{
    const char *address;
    long exit_after, buffer_count = 128, buffer_size = 2048;
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
    http = ref_http_response();
    connections = ref_zeroed(descriptors, sizeof(*connections));
    later.ids = ref_zeroed(descriptors, sizeof(uint32_t));
    later_before.ids = ref_zeroed(descriptors, sizeof(uint32_t));
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
    io_uring_submit(&ring); /* the last answers */
    return 0;
}

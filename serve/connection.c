/* The life of a connection. What a request is answered with is the responder's. */
#include "serve/connection.h"

#include <errno.h>
#include <stdlib.h>

#include "serve/exchange.h"
#include "serve/input.h"
#include "serve/responder.h"
#include "serve/server.h"

enum { SLAB_CONNECTIONS = 64, LINGER_TICKS = 2 * WHEEL_TICKS_PER_S, SENDING_CHECK_TICKS = WHEEL_TICKS_PER_S };

struct connection_slab {
    struct connection_slab *next;
    struct connection connections[SLAB_CONNECTIONS];
};

static void on_received(proa_op *op, proa_result result);

/* The pool. Connections lie side by side in slabs; a slab is never given back while the server runs. */

static bool grow(struct connection_pool *pool)
{
    struct connection_slab *slab = calloc(1, sizeof(*slab));
    if (!slab)
        return false;

    slab->next = pool->slabs;
    pool->slabs = slab;
    for (unsigned i = SLAB_CONNECTIONS; i-- > 0;) {
        slab->connections[i].next_free = pool->free;
        pool->free = &slab->connections[i];
    }
    return true;
}

static struct connection *take(struct connection_pool *pool)
{
    if (!pool->free && !grow(pool))
        return NULL;

    struct connection *connection = pool->free;
    pool->free = connection->next_free;
    pool->open++;
    return connection;
}

static void give_back(struct connection *connection)
{
    struct server *server = connection->server;

    wheel_remove(&connection->link);
    connection->next_free = server->connections.free;
    server->connections.free = connection;
    server->connections.open--;
    server_connections_changed(server);
}

void connection_pool_clear(struct connection_pool *pool)
{
    while (pool->slabs) {
        struct connection_slab *slab = pool->slabs;
        pool->slabs = slab->next;
        free(slab);
    }
    pool->free = NULL;
}

static void check_in(struct connection *connection, uint32_t ticks)
{
    wheel_remove(&connection->link);
    wheel_add(&connection->server->wheel, &connection->link, ticks);
}

void connection_open(struct server *server, proa_fd fd)
{
    struct connection *connection = server->ended ? NULL : take(&server->connections);

    if (!connection) {
        server_close_file(server, fd);
        return;
    }
    connection->server = server;
    connection->input = NULL;
    connection->fd = fd;
    connection->stamp = server->wheel.tick;
    connection->phase = PHASE_READY;
    connection->fresh = true;
    connection->eof = connection->closed = false;
    connection->peer_family = 0;
    wheel_add(&server->wheel, &connection->link, server->head_ticks + 1);
    server->report->connections++;
    server_connections_changed(server);
    proa_recv_many(server->loop, &connection->receive, fd, server->buffers, on_received);
}

/* Ending. */

static void on_closed(proa_op *op, proa_result result)
{
    struct connection *connection = proa_owner(op, struct connection, receive);

    (void)result;
    connection->closed = true;
    connection_collect(connection);
}

void connection_collect(struct connection *connection)
{
    if (!connection->closed || connection->sends)
        return;
    exchange_return_if_idle(connection);
    if (!connection->exchange)
        give_back(connection);
}

void connection_close(struct connection *connection)
{
    if (connection->phase == PHASE_CLOSING)
        return;
    if (connection->exchange && connection->exchange->working)
        responder_abandon(connection);
    connection->phase = PHASE_CLOSING;
    input_drop(&connection->server->blocks, &connection->input);
    if (proa_in_flight(&connection->receive))
        proa_cancel(&connection->receive);
    else
        proa_close(connection->server->loop, &connection->receive, connection->fd, on_closed);
}

static void on_shut_down(proa_op *op, proa_result result)
{
    struct connection *connection = proa_owner(op, struct connection, send);

    connection->sends--;
    if (connection->phase == PHASE_CLOSING)
        connection_collect(connection);
    else if (result.value < 0 || connection->eof)
        connection_close(connection);
}

static void shut_down(struct connection *connection)
{
    struct server *server = connection->server;

    if (connection->eof) {
        connection_close(connection);
        return;
    }
    connection->phase = PHASE_LINGER;
    connection->stamp = server->wheel.tick;
    check_in(connection, LINGER_TICKS + 1);
    connection->sends++;
    proa_shutdown(server->loop, &connection->send, connection->fd, SHUT_WR, on_shut_down);
}

/* Whether more bytes should come: not while many wait already. */
static void receive_if_wanted(struct connection *connection)
{
    if (connection->eof || connection->phase == PHASE_CLOSING || proa_in_flight(&connection->receive) ||
        input_waiting(connection->input) > INPUT_LOW)
        return;
    proa_recv_many(connection->server->loop, &connection->receive, connection->fd, connection->server->buffers,
                   on_received);
}

/* The last answer has been started: sends what there is, then ends. */
static void finish(struct connection *connection)
{
    if (connection->phase >= PHASE_FINISH)
        return;
    connection->phase = PHASE_FINISH;
    input_drop(&connection->server->blocks, &connection->input);
    receive_if_wanted(connection);
    if (connection->sends == 0)
        shut_down(connection);
}

void connection_drain(struct connection *connection)
{
    if (connection->phase == PHASE_READY && connection->sends == 0 && !connection->input)
        finish(connection);
}

/* After the end of stream: what was asked before it is still answered. */
static void end_if_done(struct connection *connection)
{
    if (connection->sends == 0 && (connection->phase == PHASE_READY || connection->phase == PHASE_BODY))
        connection_close(connection);
}

/* Reading. */

/* What became of bytes[0..len): the first `done` are answered; the head behind them, if it is complete and has no
 * answer yet, is `head_size` long; `partial`: it is not complete. */
struct reading {
    size_t done;
    size_t head_size;
    bool partial;
};

static struct reading read_requests(struct connection *connection, struct http_request *request, const char *bytes,
                                    size_t len, bool resumed)
{
    size_t at = 0;

    while (at < len && connection->phase == PHASE_READY && connection_has_room(connection)) {
        size_t left = len - at < HTTP_HEAD_MAX ? len - at : HTTP_HEAD_MAX;
        if (!resumed)
            http_request_init(request);
        resumed = false;
        int size = http_request_parse(request, bytes + at, left, NULL);
        if (size == 0)
            return (struct reading){.done = at, .partial = true};
        connection->fresh = false;
        connection->stamp = connection->server->wheel.tick;
        if (size < 0)
            responder_refuse(connection, request, bytes + at, (unsigned)-size);
        else if (!responder_answer(connection, request, bytes + at))
            return (struct reading){.done = at, .head_size = (size_t)size};
        if (!connection->keep)
            finish(connection);
        at += size > 0 ? (size_t)size : left;
    }
    return (struct reading){.done = at};
}

static void begin_limit(struct connection *connection)
{
    connection->input->started = connection->server->wheel.tick;
    check_in(connection, connection->server->head_ticks + 1);
}

/* Drops what has come of a body; once it is complete, answers. False: there is nothing more to do now. */
static bool go_on_with_body(struct connection *connection)
{
    struct input *input = connection->input;
    const char *head = input->data + input->at;
    int result = input_drop_body(input);

    if (result == 0)
        return false;
    connection->phase = PHASE_BUSY;
    if (result < 0)
        responder_refuse(connection, &input->request, head, (unsigned)-result);
    else if (!responder_perform(connection, &input->request, head))
        return false;
    if (!connection->keep) {
        finish(connection);
        return false;
    }
    connection->phase = PHASE_READY;
    input->at += input->head_size;
    input->head_size = 0;
    return true;
}

/* Reads on in the input. False: there is nothing more to do now. */
static bool go_on_with_head(struct connection *connection)
{
    struct input *input = connection->input;
    bool resumed = input->resumed;
    struct reading reading = read_requests(connection, &input->request, input->data + input->at, input->len - input->at,
                                           resumed);

    if (connection->phase >= PHASE_FINISH)
        return false;
    input->at += (uint32_t)reading.done;
    input->head_size = (uint32_t)reading.head_size;
    input->resumed = reading.partial;
    if (connection->phase == PHASE_BODY)
        input_begin_body(input);
    if (connection->phase == PHASE_BODY || (reading.partial && (!resumed || reading.done)))
        begin_limit(connection);
    return connection->phase == PHASE_BODY || (connection->phase == PHASE_READY && reading.done && !reading.partial);
}

/* Goes on with what is in the input, as far as it gets. */
static void advance(struct connection *connection)
{
    struct server *server = connection->server;
    bool more = true;

    while (more && connection->input) {
        if (connection->phase == PHASE_BODY)
            more = go_on_with_body(connection);
        else if (connection->phase == PHASE_READY && connection->input->at < connection->input->len)
            more = go_on_with_head(connection);
        else
            more = false;
    }
    if (connection->phase == PHASE_READY && connection->input && connection->input->at == connection->input->len)
        input_drop(&server->blocks, &connection->input);
    if (connection->phase >= PHASE_FINISH)
        return;
    if (connection->eof)
        end_if_done(connection);
    else if (connection->phase != PHASE_BODY && input_waiting(connection->input) > INPUT_HIGH)
        proa_cancel(&connection->receive);
    else
        receive_if_wanted(connection);
}

/* Keeps the bytes that could not be dealt with where they arrived. */
static void keep_rest(struct connection *connection, const struct reading *reading, const char *bytes, size_t len)
{
    if (!input_append(&connection->server->blocks, &connection->input, bytes + reading->done, len - reading->done)) {
        connection_close(connection);
        return;
    }
    struct input *input = connection->input;
    input->request = connection->server->request;
    input->head_size = (uint32_t)reading->head_size;
    input->resumed = reading->partial;
    if (reading->partial)
        begin_limit(connection);
    if (connection->phase == PHASE_BODY) {
        input_begin_body(input);
        begin_limit(connection);
        advance(connection);
    }
}

static void take_bytes(struct connection *connection, const char *bytes, size_t len)
{
    struct server *server = connection->server;

    if (connection->phase >= PHASE_FINISH)
        return;
    if (connection->input) {
        if (input_append(&server->blocks, &connection->input, bytes, len))
            advance(connection);
        else
            connection_close(connection);
        return;
    }
    struct reading reading = read_requests(connection, &server->request, bytes, len, false);
    if (reading.done < len && connection->phase < PHASE_FINISH)
        keep_rest(connection, &reading, bytes, len);
}

/* The receive has ended: by the client's end of stream, by an error, or because it was told to pause. */
static void receive_ended(struct connection *connection, int64_t value)
{
    if (connection->phase == PHASE_CLOSING) {
        proa_close(connection->server->loop, &connection->receive, connection->fd, on_closed);
    } else if (value == 0) {
        connection->eof = true;
        if (connection->phase == PHASE_LINGER)
            connection_close(connection);
        else
            end_if_done(connection);
    } else if (value < 0 && value != -ECANCELED) {
        connection_close(connection);
    } else {
        receive_if_wanted(connection);
    }
}

static void on_received(proa_op *op, proa_result result)
{
    struct connection *connection = proa_owner(op, struct connection, receive);
    proa_buffer_pool *buffers = connection->server->buffers;

    if (result.flags & PROA_LENT) {
        if (result.value > 0)
            take_bytes(connection, proa_buffer(buffers, result.buffer), (size_t)result.value);
        proa_buffer_return(buffers, result.buffer);
    }
    if (!(result.flags & PROA_MORE))
        receive_ended(connection, result.value);
}

void connection_answered(struct connection *connection)
{
    if (connection->phase != PHASE_BUSY)
        return;
    connection->stamp = connection->server->wheel.tick;
    exchange_return_if_idle(connection);
    if (!connection->keep) {
        finish(connection);
        return;
    }
    connection->phase = PHASE_READY;
    connection->input->at += connection->input->head_size;
    connection->input->head_size = 0;
    advance(connection);
}

/* Sending. */

void connection_sent(struct connection *connection, proa_result result)
{
    connection->sends--;
    connection->stamp = connection->server->wheel.tick;
    if (result.value < 0)
        connection_close(connection);
    switch ((enum connection_phase)connection->phase) {
    case PHASE_READY:
        exchange_return_if_idle(connection);
        if (connection->input)
            advance(connection);
        else if (connection->eof)
            end_if_done(connection);
        break;
    case PHASE_BODY:
        if (connection->eof)
            end_if_done(connection);
        break;
    case PHASE_BUSY:
        responder_go_on(connection);
        break;
    case PHASE_FINISH:
        if (connection->sends == 0)
            shut_down(connection);
        break;
    case PHASE_LINGER:
        break;
    case PHASE_CLOSING:
        connection_collect(connection);
        break;
    }
}

static void on_first_sent(proa_op *op, proa_result result)
{
    struct connection *connection = proa_owner(op, struct connection, send);

    block_release(&connection->server->blocks, connection->block);
    connection->block = NULL;
    connection_sent(connection, result);
}

static void on_slot_sent(proa_op *op, proa_result result)
{
    struct slot *slot = proa_owner(op, struct slot, op);
    struct connection *connection = slot->exchange->connection;

    block_release(&connection->server->blocks, slot->block);
    slot->exchange->slots_busy--;
    connection_sent(connection, result);
}

bool connection_has_room(const struct connection *connection)
{
    return connection->sends + 2 <= EXCHANGE_SLOTS;
}

static void send_from_slot(struct connection *connection, struct block *block, size_t at, size_t size)
{
    struct server *server = connection->server;
    struct exchange *exchange = exchange_borrow(connection);

    if (!exchange) {
        block_release(&server->blocks, block);
        connection_close(connection);
        return;
    }
    struct slot *slot = &exchange->slots[exchange->slot_next];
    exchange->slot_next = (uint8_t)((exchange->slot_next + 1) % EXCHANGE_SLOTS);
    exchange->slots_busy++;
    slot->block = block;
    connection->sends++;
    proa_send(server->loop, &slot->op, connection->fd, block->data + at, size, on_slot_sent);
}

/* The first send of an answer to a client that will ask again wakes nobody when it is done: its completion comes
 * with the client's next request, or with the tick. */
void connection_send(struct connection *connection, struct block *block, size_t at, size_t size)
{
    proa_loop *loop = connection->server->loop;

    if (connection->phase >= PHASE_FINISH) {
        block_release(&connection->server->blocks, block);
        return;
    }
    if (proa_in_flight(&connection->send)) {
        send_from_slot(connection, block, at, size);
        return;
    }
    connection->block = block;
    connection->sends++;
    if (connection->phase == PHASE_READY && connection->keep && !connection->eof)
        proa_send_relaxed(loop, &connection->send, connection->fd, block->data + at, size, on_first_sent);
    else
        proa_send(loop, &connection->send, connection->fd, block->data + at, size, on_first_sent);
}

/* Time limits. */

/* Ticks until the limit of what the connection waits for; 0: it has passed. */
static uint32_t left_of(const struct connection *connection, uint32_t since, uint32_t limit)
{
    uint32_t passed = connection->server->wheel.tick - since;

    return passed > limit ? 0 : limit + 1 - passed;
}

static uint32_t moved(const struct connection *connection)
{
    uint64_t bytes = proa_sent(&connection->send);

    for (unsigned i = 0; connection->exchange && i < EXCHANGE_SLOTS; i++)
        bytes += proa_sent(&connection->exchange->slots[i].op);
    if (connection->exchange && connection->exchange->stream.entry)
        bytes += proa_sent(&connection->exchange->op);
    return (uint32_t)bytes;
}

static uint32_t left_to_send(struct connection *connection)
{
    uint32_t progress = moved(connection);

    if (progress != connection->progress) {
        connection->progress = progress;
        connection->stamp = connection->server->wheel.tick;
    }
    uint32_t left = left_of(connection, connection->stamp, connection->server->send_ticks);
    return left < SENDING_CHECK_TICKS ? left : SENDING_CHECK_TICKS;
}

static uint32_t left_to_live(struct connection *connection)
{
    const struct server *server = connection->server;

    if (connection->phase == PHASE_CLOSING)
        return server->idle_ticks;
    if (connection->phase == PHASE_LINGER)
        return left_of(connection, connection->stamp, LINGER_TICKS);
    if (connection->sends)
        return left_to_send(connection);
    if (connection->phase == PHASE_BUSY)
        return server->send_ticks; /* a file is slow, not the client */
    if (connection->input)
        return left_of(connection, connection->input->started, server->head_ticks);
    return left_of(connection, connection->stamp, connection->fresh ? server->head_ticks : server->idle_ticks);
}

static void time_out(struct connection *connection)
{
    connection->server->report->timed_out++;
    if (connection->sends == 0 && connection->input && connection->phase < PHASE_BUSY) {
        responder_refuse(connection, &connection->input->request, connection->input->data + connection->input->at,
                         HTTP_REQUEST_TIMEOUT);
        finish(connection);
    } else if (connection->phase == PHASE_READY && connection->sends == 0) {
        finish(connection);
    } else {
        connection_close(connection);
    }
}

void connection_check_time(struct connection *connection)
{
    const struct server *server = connection->server;
    uint32_t sooner = (server->idle_ticks < server->send_ticks ? server->idle_ticks : server->send_ticks) / 8;
    uint32_t left = left_to_live(connection);

    /* In the wheel again before anything can end it. */
    if (sooner == 0)
        sooner = 1;
    wheel_add(&connection->server->wheel, &connection->link, left && left < sooner ? left : sooner);
    if (left == 0)
        time_out(connection);
}

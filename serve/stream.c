/* One loop, fill(): text and bytes go into the piece until it is full or all is in, then it is sent. */
#include "serve/stream.h"

#include <string.h>

#include "serve/exchange.h"
#include "serve/input.h"
#include "serve/responder.h"
#include "serve/server.h"

enum {
    TEXT_MAX = 512,      /* of a part's head, and of the end */
    SENDS_AHEAD_MAX = 1, /* sends in flight with which another piece may be filled */
    FIRST_PIECE_MIN = CACHE_HEAD_MAX + TEXT_MAX
};

static void on_read(proa_op *op, proa_result result);

/* Nobody who chose the file's bytes can guess it (RFC 2046 5.1.1). */
static void choose_boundary(struct server *server, char boundary[STREAM_BOUNDARY_SIZE])
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuv";

    for (unsigned i = 0; i < STREAM_BOUNDARY_SIZE; i++) {
        server->boundary ^= server->boundary << 13;
        server->boundary ^= server->boundary >> 7;
        server->boundary ^= server->boundary << 17;
        boundary[i] = digits[server->boundary >> 32 & 31];
    }
}

static struct http_writer writer_of_piece(const struct stream *stream)
{
    return http_writer_of(stream->piece->data + stream->filled, stream->piece->capacity - stream->filled);
}

static void write_head(struct connection *connection, const struct http_request *request, struct stream *stream)
{
    const struct entry *entry = stream->entry;
    const struct clock *clock = &connection->server->clock;
    enum persistence persistence = responder_persistence(connection, request);
    struct http_writer out = writer_of_piece(stream);

    if (stream->status == HTTP_OK) {
        head_of_file(&out, entry, clock, persistence);
        stream->filled = (uint32_t)out.len;
        return;
    }
    head_start(&out, HTTP_PARTIAL_CONTENT, clock, persistence);
    if (stream->multiple) {
        http_write_string(&out, "Content-Type: multipart/byteranges; boundary=");
        http_write(&out, stream->multipart.boundary);
    } else {
        head_type(&out, entry->type);
        http_write_string(&out, "Content-Range: ");
        http_write_content_range(&out, &stream->ranges.ranges[0], entry->identity.size);
    }
    http_write_string(&out, "\r\n");
    http_response_number(&out, "Content-Length", stream->body_size);
    head_coding(&out, entry);
    head_validators(&out, entry);
    http_response_end(&out);
    stream->filled = (uint32_t)out.len;
}

/* The block behind a piece fits what is left, so that a short answer does not cost a large block. */
static bool take_piece(struct connection *connection, struct stream *stream, uint64_t bytes)
{
    uint64_t size = bytes + FIRST_PIECE_MIN;

    stream->piece = block_take(&connection->server->blocks, size < STREAM_PIECE_SIZE ? size : STREAM_PIECE_SIZE);
    stream->filled = 0;
    return stream->piece != NULL;
}

static void send_piece(struct connection *connection, struct stream *stream)
{
    struct block *piece = stream->piece;

    stream->piece = NULL;
    connection_send(connection, piece, 0, stream->filled);
}

static void end_stream(struct connection *connection, struct stream *stream)
{
    struct server *server = connection->server;

    block_release(&server->blocks, stream->piece);
    block_release(&server->blocks, stream->memory);
    cache_release(server, stream->entry);
    stream->piece = stream->memory = NULL;
    stream->entry = NULL;
    connection->exchange->working = false;
}

static bool has_room(const struct stream *stream)
{
    return stream->piece->capacity - stream->filled >= TEXT_MAX;
}

/* Enters the next range, or writes what stands behind the last. */
static void next_range(struct stream *stream)
{
    struct http_writer out = writer_of_piece(stream);

    if (stream->next_range < stream->ranges.count) {
        const struct http_range *range = &stream->ranges.ranges[stream->next_range++];
        if (stream->multiple)
            http_write_part_head(&out, &stream->multipart, range);
        stream->offset = range->first;
        stream->left = range->len;
    } else {
        if (stream->multiple)
            http_write_multipart_end(&out, &stream->multipart);
        stream->ended = true;
    }
    stream->filled += (uint32_t)out.len;
}

static void took(struct stream *stream, uint64_t bytes)
{
    stream->filled += (uint32_t)bytes;
    stream->offset += bytes;
    stream->left -= bytes;
}

/* Puts bytes of the present range into the piece. False: they are being read. */
static bool take_bytes(struct connection *connection, struct stream *stream)
{
    uint64_t room = stream->piece->capacity - stream->filled;
    uint64_t size = stream->left < room ? stream->left : room;
    char *to = stream->piece->data + stream->filled;

    if (stream->memory) {
        memcpy(to, stream->memory->data + stream->entry->head_size + stream->offset, size);
        took(stream, size);
        return true;
    }
    stream->wanted = (uint32_t)size;
    proa_read(connection->server->loop, &connection->exchange->op, stream->entry->fd, to, size, stream->offset,
              on_read);
    return false;
}

static bool is_complete(const struct stream *stream)
{
    return stream->left == 0 && stream->next_range == stream->ranges.count && (stream->ended || !stream->multiple);
}

/* Sends the last piece. False: the connection is closing. */
static bool complete(struct connection *connection, struct stream *stream)
{
    if (stream->piece && stream->filled > 0)
        send_piece(connection, stream);
    if (connection->phase != PHASE_BUSY)
        return false;
    end_stream(connection, stream);
    return true;
}

/* Goes on until all is handed over (true), or something must complete first, or the connection is closing (false). */
static bool fill(struct connection *connection, struct stream *stream)
{
    while (connection->phase == PHASE_BUSY) {
        if (is_complete(stream))
            return complete(connection, stream);
        if (!stream->piece) {
            if (connection->sends > SENDS_AHEAD_MAX)
                return false;
            if (!take_piece(connection, stream, stream->left)) {
                connection_close(connection);
                return false;
            }
        }
        if (stream->filled == stream->piece->capacity || (stream->left == 0 && !has_room(stream)))
            send_piece(connection, stream);
        else if (stream->left == 0)
            next_range(stream);
        else if (!take_bytes(connection, stream))
            return false;
    }
    return false;
}

static void on_read(proa_op *op, proa_result result)
{
    struct exchange *exchange = proa_owner(op, struct exchange, op);
    struct connection *connection = exchange->connection;
    struct stream *stream = &exchange->stream;

    if (connection->phase == PHASE_CLOSING) {
        end_stream(connection, stream);
        connection_collect(connection);
    } else if (result.value <= 0) {
        connection_close(connection);
    } else {
        took(stream, (uint64_t)result.value);
        if (fill(connection, stream))
            connection_answered(connection);
    }
}

bool stream_start(struct connection *connection, const struct http_request *request, const char *head,
                  struct entry *entry, const struct http_ranges *ranges)
{
    struct exchange *exchange = exchange_borrow(connection);

    if (!exchange) {
        connection_close(connection);
        return true;
    }
    struct stream *stream = &exchange->stream;
    stream->memory = cache_is_small(entry) ? block_hold(entry->current) : NULL;
    stream->entry = cache_hold(entry);
    stream->left = stream->next_range = 0;
    stream->ended = false;
    stream->status = ranges ? HTTP_PARTIAL_CONTENT : HTTP_OK;
    if (ranges)
        stream->ranges = *ranges;
    else
        stream->ranges = (struct http_ranges){.count = 1, .ranges = {{0, entry->identity.size}}};
    stream->multiple = stream->ranges.count > 1;
    stream->body_size = stream->ranges.ranges[0].len;
    if (stream->multiple) {
        choose_boundary(connection->server, stream->boundary);
        stream->multipart = (struct http_multipart){
            .boundary = {stream->boundary, STREAM_BOUNDARY_SIZE}, .type = entry->type, .size = entry->identity.size};
        stream->body_size = http_multipart_length(&stream->multipart, &stream->ranges);
    }
    exchange->working = true;
    responder_account(connection, request, head, stream->status, stream->body_size);
    if (!take_piece(connection, stream, stream->body_size)) {
        connection_close(connection);
        return true;
    }
    write_head(connection, request, stream);
    return fill(connection, stream);
}

bool stream_go_on(struct connection *connection)
{
    if (proa_in_flight(&connection->exchange->op))
        return false;
    return fill(connection, &connection->exchange->stream);
}

void stream_abandon(struct connection *connection)
{
    /* A read in flight still owns the piece; its completion ends the stream. */
    if (!proa_in_flight(&connection->exchange->op))
        end_stream(connection, &connection->exchange->stream);
}

/* Text, range, text, range, ... text: go_on() starts what is next each time a range has been sent. */
#include "serve/stream.h"

#include <errno.h>

#include "serve/exchange.h"
#include "serve/responder.h"
#include "serve/server.h"

enum { TEXT_MAX = 512 }; /* of a part's head, and of the end */

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

/* Returns the length of the body. */
static uint64_t describe(struct server *server, struct stream *stream, const struct entry *entry,
                         const struct http_ranges *ranges)
{
    stream->next_range = 0;
    if (ranges)
        stream->ranges = *ranges;
    else
        stream->ranges = (struct http_ranges){.count = 1, .ranges = {{0, entry->identity.size}}};
    stream->multiple = stream->ranges.count > 1;
    if (!stream->multiple)
        return stream->ranges.ranges[0].len;
    choose_boundary(server, stream->boundary);
    stream->multipart = (struct http_multipart){
        .boundary = {stream->boundary, STREAM_BOUNDARY_SIZE}, .type = entry->type, .size = entry->identity.size};
    return http_multipart_length(&stream->multipart, &stream->ranges);
}

/* Has failed when there is no memory. */
static struct http_writer writer_of(struct block *block)
{
    return block ? http_writer_of(block->data, block->capacity) : (struct http_writer){.failed = true};
}

static void write_partial_head(struct connection *connection, const struct http_request *request,
                               const struct stream *stream, const struct entry *entry, uint64_t body_size,
                               struct http_writer *out)
{
    head_start(out, HTTP_PARTIAL_CONTENT, &connection->server->clock, responder_persistence(connection, request));
    if (stream->multiple) {
        http_write_string(out, "Content-Type: multipart/byteranges; boundary=");
        http_write(out, stream->multipart.boundary);
    } else {
        head_type(out, entry->type);
        http_write_string(out, "Content-Range: ");
        http_write_content_range(out, &stream->ranges.ranges[0], entry->identity.size);
    }
    http_write_string(out, "\r\n");
    http_response_number(out, "Content-Length", body_size);
    head_coding(out, entry);
    head_validators(out, entry);
    http_response_end(out);
}

/* What stands before the next range, or behind the last. */
static void write_text(const struct stream *stream, struct http_writer *out)
{
    if (!stream->multiple)
        return;
    if (stream->next_range < stream->ranges.count)
        http_write_part_head(out, &stream->multipart, &stream->ranges.ranges[stream->next_range]);
    else
        http_write_multipart_end(out, &stream->multipart);
}

static void write_from_memory(struct stream *stream, const struct entry *entry, struct http_writer *out)
{
    const char *bytes = entry->current->data + entry->head_size;

    while (stream->next_range < stream->ranges.count) {
        const struct http_range *range = &stream->ranges.ranges[stream->next_range];
        write_text(stream, out);
        http_write(out, (struct http_text){bytes + range->first, range->len});
        stream->next_range++;
    }
    write_text(stream, out);
}

static void end_stream(struct connection *connection)
{
    struct exchange *exchange = connection->exchange;

    cache_release(connection->server, exchange->stream.entry);
    exchange->stream.entry = NULL;
    exchange->working = false;
}

static void on_range_sent(proa_op *op, proa_result result)
{
    struct exchange *exchange = proa_owner(op, struct exchange, op);
    struct connection *connection = exchange->connection;
    const struct stream *stream = &exchange->stream;

    if (connection->phase == PHASE_CLOSING)
        end_stream(connection);
    else if (result.value >= 0 && (uint64_t)result.value < stream->ranges.ranges[stream->next_range - 1].len)
        result.value = -EIO; /* the file has got shorter */
    connection_sent(connection, result);
}

static void send_range(struct connection *connection, struct stream *stream)
{
    const struct http_range *range = &stream->ranges.ranges[stream->next_range++];

    connection->sends++;
    proa_send_file(connection->server->loop, &connection->exchange->op, connection->fd, stream->entry->fd, range->first,
                   range->len, on_range_sent);
}

static void send_text(struct connection *connection, const struct stream *stream)
{
    struct block *block = block_take(&connection->server->blocks, TEXT_MAX);
    struct http_writer out = writer_of(block);

    write_text(stream, &out);
    responder_send_written(connection, block, &out);
}

/* As stream_go_on(). */
static bool go_on(struct connection *connection)
{
    struct stream *stream = &connection->exchange->stream;

    if (stream->multiple)
        send_text(connection, stream);
    if (connection->phase != PHASE_BUSY)
        return false;
    if (stream->next_range < stream->ranges.count) {
        send_range(connection, stream);
        return false;
    }
    end_stream(connection);
    return true;
}

bool stream_go_on(struct connection *connection)
{
    return !proa_in_flight(&connection->exchange->op) && go_on(connection);
}

/* The head of a 206; and all that is behind it, where that is in memory. */
static void send_partial_head(struct connection *connection, const struct http_request *request, struct stream *stream,
                              const struct entry *entry, uint64_t body_size)
{
    bool small = cache_is_small(entry);
    struct block *block = block_take(&connection->server->blocks, CACHE_HEAD_MAX + (small ? body_size : 0));
    struct http_writer out = writer_of(block);

    write_partial_head(connection, request, stream, entry, body_size, &out);
    if (small)
        write_from_memory(stream, entry, &out);
    responder_send_written(connection, block, &out);
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
    uint64_t body_size = describe(connection->server, stream, entry, ranges);
    responder_account(connection, request, head, ranges ? HTTP_PARTIAL_CONTENT : HTTP_OK, body_size);
    if (cache_is_small(entry)) {
        send_partial_head(connection, request, stream, entry, body_size);
        return true;
    }
    stream->entry = cache_hold(entry);
    exchange->working = true;
    if (ranges)
        send_partial_head(connection, request, stream, entry, body_size);
    else
        responder_send_head(connection, request, entry);
    return connection->phase == PHASE_BUSY && go_on(connection);
}

void stream_abandon(struct connection *connection)
{
    /* A send in flight still needs the file; its completion ends the stream. */
    if (!proa_in_flight(&connection->exchange->op))
        end_stream(connection);
}

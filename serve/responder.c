/* Methods, conditions, ranges, statuses; and the short way from a request to the cache. */
#include "serve/responder.h"

#include <string.h>

#include "http/conditions.h"
#include "http/encoding.h"
#include "http/ranges.h"
#include "serve/exchange.h"
#include "serve/input.h"
#include "serve/server.h"

enum { STATUS_BLOCK_SIZE = 1024, PAGE_MAX = 512 };

static const struct http_text allowed = HTTP_TEXT("GET, HEAD, OPTIONS");

/* Fields that can make the answer something other than a 200. */
enum {
    CONDITIONS = 1 << HTTP_FIELD_IF_MATCH | 1 << HTTP_FIELD_IF_NONE_MATCH | 1 << HTTP_FIELD_IF_MODIFIED_SINCE |
                 1 << HTTP_FIELD_IF_UNMODIFIED_SINCE | 1 << HTTP_FIELD_RANGE
};

/* One field that only some answers have. */
struct extra_field {
    const char *name; /* NULL: none */
    struct http_text value;
};

enum persistence responder_persistence(const struct connection *connection, const struct http_request *request)
{
    if (!connection->keep)
        return PERSISTENCE_CLOSE;
    return request->minor == 0 ? PERSISTENCE_SAID : PERSISTENCE_IMPLIED;
}

void responder_account(struct connection *connection, const struct http_request *request, const char *head,
                       unsigned status, uint64_t body_size)
{
    struct server *server = connection->server;

    server->report->requests++;
    server->report->refused += status >= 400;
    server->report->body_bytes += body_size;
    if (server->options->access_log)
        access_log_add(&server->log, connection, request, head, status, body_size);
}

void responder_send_written(struct connection *connection, struct block *block, const struct http_writer *out)
{
    if (out->failed) {
        block_release(&connection->server->blocks, block);
        connection_close(connection);
        return;
    }
    connection_send(connection, block, 0, out->len);
}

static void send_status(struct connection *connection, const struct http_request *request, const char *head,
                        unsigned status, struct extra_field extra)
{
    struct server *server = connection->server;
    char page[PAGE_MAX];
    struct http_writer body = http_writer_of(page, sizeof(page));
    struct block *block = block_take(&server->blocks, STATUS_BLOCK_SIZE + extra.value.len);
    bool has_body = status != HTTP_NO_CONTENT && status != HTTP_NOT_MODIFIED;

    if (!block) {
        connection_close(connection);
        return;
    }
    clock_tell(&server->clock, proa_now(server->loop));
    http_write_status_page(&body, status);
    struct http_writer out = http_writer_of(block->data, block->capacity);
    head_start(&out, status, &server->clock, responder_persistence(connection, request));
    if (extra.name)
        http_response_field(&out, extra.name, extra.value);
    if (has_body) {
        http_response_field(&out, "Content-Type", HTTP_TEXT("text/html; charset=utf-8"));
        http_response_number(&out, "Content-Length", body.len);
    }
    http_response_end(&out);
    has_body = has_body && request->method != HTTP_METHOD_HEAD;
    if (has_body)
        http_write(&out, (struct http_text){page, body.len});
    responder_account(connection, request, head, status, has_body ? body.len : 0);
    responder_send_written(connection, block, &out);
}

void responder_status(struct connection *connection, const struct http_request *request, const char *head,
                      unsigned status)
{
    struct extra_field extra = {0};

    if (status == HTTP_METHOD_NOT_ALLOWED)
        extra = (struct extra_field){"Allow", allowed};
    send_status(connection, request, head, status, extra);
}

void responder_refuse(struct connection *connection, const struct http_request *request, const char *head,
                      unsigned status)
{
    connection->keep = false;
    responder_status(connection, request, head, status);
}

void responder_redirect(struct connection *connection, const struct http_request *request, const char *head,
                        struct http_text path)
{
    struct server *server = connection->server;
    struct http_text query = http_text_of(head, request->query);
    /* Encoding takes three bytes for one at most; then "/", "?" and the query. */
    struct block *block = block_take(&server->blocks, 3 * path.len + query.len + 2);

    if (!block) {
        connection_close(connection);
        return;
    }
    struct http_writer out = http_writer_of(block->data, block->capacity);
    http_write_url_path(&out, path);
    http_write_string(&out, "/");
    if (query.len > 0) {
        http_write_string(&out, "?");
        http_write(&out, query);
    }
    struct http_text location = {out.data, out.len};
    send_status(connection, request, head, HTTP_MOVED_PERMANENTLY, (struct extra_field){"Location", location});
    block_release(&server->blocks, block);
}

static void send_range_refusal(struct connection *connection, const struct http_request *request, const char *head,
                               const struct entry *entry)
{
    char text[64];
    struct http_writer range = http_writer_of(text, sizeof(text));

    http_write_content_range(&range, NULL, entry->identity.size);
    send_status(connection, request, head, HTTP_RANGE_NOT_SATISFIABLE,
                (struct extra_field){"Content-Range", {text, range.len}});
}

static void send_not_modified(struct connection *connection, const struct http_request *request, const char *head,
                              const struct entry *entry)
{
    struct server *server = connection->server;
    struct block *block = block_take(&server->blocks, CACHE_HEAD_MAX);

    if (!block) {
        connection_close(connection);
        return;
    }
    struct http_writer out = http_writer_of(block->data, block->capacity);
    head_start(&out, HTTP_NOT_MODIFIED, &server->clock, responder_persistence(connection, request));
    head_validators(&out, entry);
    http_response_end(&out);
    responder_account(connection, request, head, HTTP_NOT_MODIFIED, 0);
    responder_send_written(connection, block, &out);
}

/* A head that differs from the cached one, alone or with the body copied behind it. */
static void send_file_head(struct connection *connection, const struct http_request *request, const struct entry *entry,
                           bool with_body)
{
    struct server *server = connection->server;
    size_t body_size = with_body ? entry->identity.size : 0;
    struct block *block = block_take(&server->blocks, CACHE_HEAD_MAX + body_size);

    if (!block) {
        connection_close(connection);
        return;
    }
    struct http_writer out = http_writer_of(block->data, block->capacity);
    head_of_file(&out, entry, &server->clock, responder_persistence(connection, request));
    http_write(&out, (struct http_text){entry->current->data + entry->head_size, body_size});
    responder_send_written(connection, block, &out);
}

static bool stream(struct connection *connection, const struct http_request *request, const char *head,
                   struct entry *entry, const struct http_ranges *ranges)
{
    enum connection_phase phase = connection->phase;

    connection->phase = PHASE_BUSY;
    if (!stream_start(connection, request, head, entry, ranges))
        return false;
    if (connection->phase == PHASE_BUSY)
        connection->phase = phase;
    return true;
}

static void send_file(struct connection *connection, const struct http_request *request, struct entry *entry,
                      bool with_body)
{
    if (responder_persistence(connection, request) != PERSISTENCE_IMPLIED) {
        send_file_head(connection, request, entry, with_body);
        return;
    }
    struct block *block = entry->current;
    if (block->date_generation != connection->server->clock.generation)
        block = cache_renew_block(connection->server, entry);
    connection_send(connection, block_hold(block), 0, with_body ? block->capacity : entry->head_size);
}

void responder_send_head(struct connection *connection, const struct http_request *request, struct entry *entry)
{
    send_file(connection, request, entry, false);
}

static bool send_whole(struct connection *connection, const struct http_request *request, const char *head,
                       struct entry *entry)
{
    bool with_body = request->method == HTTP_METHOD_GET;

    if (with_body && !cache_is_small(entry))
        return stream(connection, request, head, entry, NULL);

    responder_account(connection, request, head, HTTP_OK, with_body ? entry->identity.size : 0);
    send_file(connection, request, entry, with_body);
    return true;
}

/* A request with conditions or ranges. */
static bool send_selected(struct connection *connection, const struct http_request *request, const char *head,
                          struct entry *entry)
{
    const struct http_validators current = {
        .etag = {entry->etag, entry->etag_len},
        .mtime_s = entry->mtime_s,
        .now_s = connection->server->clock.now_s,
    };
    struct http_ranges ranges = {0};
    int status = http_conditions_check(request, head, &current);

    if (status == 0 && http_request_has(request, HTTP_FIELD_RANGE) && http_range_applies(request, head, &current))
        status = http_ranges_parse(http_request_field(request, head, HTTP_FIELD_RANGE), entry->identity.size, &ranges);
    switch (status) {
    case HTTP_NOT_MODIFIED:
        send_not_modified(connection, request, head, entry);
        return true;
    case HTTP_PRECONDITION_FAILED:
        responder_status(connection, request, head, HTTP_PRECONDITION_FAILED);
        return true;
    case HTTP_RANGE_NOT_SATISFIABLE:
        send_range_refusal(connection, request, head, entry);
        return true;
    case HTTP_PARTIAL_CONTENT:
        return stream(connection, request, head, entry, &ranges);
    default:
        return send_whole(connection, request, head, entry);
    }
}

bool responder_file(struct connection *connection, const struct http_request *request, const char *head,
                    struct entry *entry)
{
    struct server *server = connection->server;

    clock_tell(&server->clock, proa_now(server->loop));
    if (request->seen & CONDITIONS)
        return send_selected(connection, request, head, entry);
    return send_whole(connection, request, head, entry);
}

/* The codings that the client takes, in its order. Behind identity none is listed: it is always there. */
static accept_order order_of(const struct http_request *request, const char *head)
{
    struct http_accept accept;
    unsigned available = (1u << HTTP_CODINGS) - 1;
    accept_order order = 0;

    if (!http_request_has(request, HTTP_FIELD_ACCEPT_ENCODING))
        return ACCEPT_IDENTITY_ONLY;
    http_accept_parse(http_request_list(request, head, HTTP_FIELD_ACCEPT_ENCODING), true, &accept);
    for (unsigned shift = 0; available; shift += ACCEPT_BITS) {
        enum http_coding coding = http_accept_choose(&accept, available);
        if (coding == HTTP_CODINGS)
            break;
        order = (accept_order)(order | ((unsigned)coding + 1) << shift);
        available = coding == HTTP_CODING_IDENTITY ? 0 : available & ~(1u << coding);
    }
    return order;
}

/* An entry may be used for a second after it was compared with its file; a second more while somebody compares. */
bool responder_is_valid(const struct entry *entry, uint64_t now_ns)
{
    uint64_t age_ns = now_ns - entry->checked_ns;

    return age_ns < CACHE_VALID_NS || (entry->checking && age_ns < 2 * CACHE_VALID_NS);
}

static bool answer_file(struct connection *connection, const struct http_request *request, const char *head)
{
    struct server *server = connection->server;
    accept_order accepts = order_of(request, head);
    struct entry *entry = cache_find(&server->cache, http_text_of(head, request->path), accepts, false);

    if (!entry || !responder_is_valid(entry, proa_now(server->loop)))
        return lookup_start(connection, request, head, accepts);
    entry->used = true;
    server->report->from_cache++;
    return responder_file(connection, request, head, entry);
}

bool responder_perform(struct connection *connection, const struct http_request *request, const char *head)
{
    connection->keep = request->keep_alive && !connection->server->stopping;
    switch ((enum http_method)request->method) {
    case HTTP_METHOD_GET:
    case HTTP_METHOD_HEAD:
        return answer_file(connection, request, head);
    case HTTP_METHOD_OPTIONS:
        send_status(connection, request, head, HTTP_NO_CONTENT, (struct extra_field){"Allow", allowed});
        return true;
    default:
        responder_status(connection, request, head, HTTP_METHOD_NOT_ALLOWED);
        return true;
    }
}

static bool is_allowed(const struct http_request *request)
{
    return request->method == HTTP_METHOD_GET || request->method == HTTP_METHOD_HEAD ||
           request->method == HTTP_METHOD_OPTIONS;
}

static void send_continue(struct connection *connection)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct block *block = block_take(&connection->server->blocks, sizeof(text));

    if (!block) {
        connection_close(connection);
        return;
    }
    memcpy(block->data, text, sizeof(text));
    connection_send(connection, block, 0, sizeof(text) - 1);
}

/* A body is read and dropped before the answer, so that the next request is found. What is refused anyway is refused
 * at once and the connection ends: then the client need not send the body. */
static bool begin_body(struct connection *connection, const struct http_request *request, const char *head)
{
    bool too_large = request->body == HTTP_BODY_LENGTH && request->content_length > INPUT_BODY_MAX;

    if (!is_allowed(request) || too_large) {
        responder_refuse(connection, request, head, too_large ? HTTP_CONTENT_TOO_LARGE : HTTP_METHOD_NOT_ALLOWED);
        return true;
    }
    connection->keep = true;
    if (request->expect_continue)
        send_continue(connection);
    if (connection->phase < PHASE_FINISH)
        connection->phase = PHASE_BODY;
    return false;
}

bool responder_answer(struct connection *connection, const struct http_request *request, const char *head)
{
    if (request->body == HTTP_BODY_CHUNKED || (request->body == HTTP_BODY_LENGTH && request->content_length > 0))
        return begin_body(connection, request, head);
    return responder_perform(connection, request, head);
}

void responder_go_on(struct connection *connection)
{
    struct exchange *exchange = connection->exchange;

    if (exchange && exchange->stream.entry && stream_go_on(connection))
        connection_answered(connection);
}

void responder_abandon(struct connection *connection)
{
    struct exchange *exchange = connection->exchange;

    if (exchange->stream.entry)
        stream_abandon(connection);
    proa_cancel(&exchange->op);
}

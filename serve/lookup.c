/* Each step is one op and one callback; refuse() and answer() are where all ways end. */
#include "serve/lookup.h"

#include <errno.h>
#include <string.h>

#include "serve/exchange.h"
#include "serve/input.h"
#include "serve/responder.h"
#include "serve/server.h"

enum { ATTEMPTS_MAX = 3 };

static const proa_fd no_file = {-1};

/* O_NONBLOCK: opening a FIFO waits for nobody. O_NOCTTY: a terminal does not become ours. */
static const proa_open_how how_file = {.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY, .resolve = PROA_RESOLVE_BENEATH};
static const proa_open_how how_directory = {.flags = O_RDONLY | O_DIRECTORY, .resolve = PROA_RESOLVE_BENEATH};

static void open_plain(struct exchange *exchange);

static const struct http_request *request_of(const struct connection *connection)
{
    return &connection->input->request;
}

static const char *head_of(const struct connection *connection)
{
    return connection->input->data + connection->input->at;
}

static void close_file(struct server *server, proa_fd *fd)
{
    if (fd->handle >= 0)
        server_close_file(server, *fd);
    *fd = no_file;
}

/* Leaves nothing of the lookup behind. */
static void end_lookup(struct exchange *exchange)
{
    struct server *server = exchange->connection->server;
    struct lookup *lookup = &exchange->lookup;

    close_file(server, &lookup->plain);
    close_file(server, &lookup->coded);
    if (lookup->known)
        lookup->known->checking = false;
    cache_release(server, lookup->known);
    cache_release(server, lookup->loading);
    lookup->known = lookup->loading = NULL;
    exchange->working = false;
}

/* True: the connection went away meanwhile, and the lookup with it. Else `op` is free for the next step. */
static bool is_abandoned(struct exchange *exchange)
{
    struct connection *connection = exchange->connection;

    if (connection->phase != PHASE_CLOSING)
        return false;
    end_lookup(exchange);
    connection_collect(connection);
    return true;
}

static void answer(struct exchange *exchange, struct entry *entry)
{
    struct connection *connection = exchange->connection;

    cache_hold(entry);
    end_lookup(exchange);
    if (responder_file(connection, request_of(connection), head_of(connection), entry))
        connection_answered(connection);
    cache_release(connection->server, entry);
}

static unsigned status_of(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case EXDEV: /* a link or a ".." that leaves the directory */
    case ENAMETOOLONG:
    case ENXIO: /* a socket, or a device without a driver */
    case ENODEV:
        return HTTP_NOT_FOUND;
    case EACCES:
    case EPERM:
        return HTTP_FORBIDDEN;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN:
        return HTTP_SERVICE_UNAVAILABLE;
    default:
        return HTTP_INTERNAL_SERVER_ERROR;
    }
}

/* The file cannot be had. What the cache had is void, unless it is this process that could not look. */
static void refuse(struct exchange *exchange, unsigned status)
{
    struct connection *connection = exchange->connection;
    struct entry *known = exchange->lookup.known;

    if (known && status == HTTP_SERVICE_UNAVAILABLE) {
        known->checked_ns = proa_now(connection->server->loop);
        answer(exchange, known);
        return;
    }
    if (known)
        cache_remove(connection->server, known);
    end_lookup(exchange);
    responder_status(connection, request_of(connection), head_of(connection), status);
    connection_answered(connection);
}

static void again_or_refuse(struct exchange *exchange)
{
    struct server *server = exchange->connection->server;
    struct lookup *lookup = &exchange->lookup;

    if (++lookup->attempts == ATTEMPTS_MAX) {
        refuse(exchange, HTTP_SERVICE_UNAVAILABLE);
        return;
    }
    close_file(server, &lookup->plain);
    close_file(server, &lookup->coded);
    cache_release(server, lookup->loading);
    lookup->loading = NULL;
    lookup->untried = lookup->accepts;
    open_plain(exchange);
}

static void redirect(struct exchange *exchange)
{
    struct connection *connection = exchange->connection;
    struct lookup *lookup = &exchange->lookup;

    end_lookup(exchange);
    responder_redirect(connection, request_of(connection), head_of(connection),
                       (struct http_text){lookup->path, lookup->path_len});
    connection_answered(connection);
}

/* Reading a small file. */

static void on_body_read(proa_op *op, proa_result result);

static void read_body(struct exchange *exchange)
{
    struct lookup *lookup = &exchange->lookup;
    struct entry *entry = lookup->loading;

    proa_read(exchange->connection->server->loop, &exchange->op, lookup->plain,
              entry->current->data + entry->head_size + lookup->loaded, entry->identity.size - lookup->loaded,
              lookup->loaded, on_body_read);
}

static void finish_loading(struct exchange *exchange)
{
    struct entry *entry = exchange->lookup.loading;

    cache_insert(exchange->connection->server, entry);
    answer(exchange, entry);
}

static void on_body_read(proa_op *op, proa_result result)
{
    struct exchange *exchange = proa_owner(op, struct exchange, op);
    struct lookup *lookup = &exchange->lookup;

    if (is_abandoned(exchange))
        return;
    if (result.value < 0) {
        refuse(exchange, status_of((int)-result.value));
        return;
    }
    lookup->loaded += (uint64_t)result.value;
    if (lookup->loaded == lookup->loading->identity.size)
        finish_loading(exchange);
    else if (result.value == 0)
        again_or_refuse(exchange); /* it has become shorter */
    else
        read_body(exchange);
}

/* What is sent has been found: `plain` is open. */

static struct http_text type_of(const struct server *server, const struct lookup *lookup)
{
    return http_mime_find(server->mime, (struct http_text){lookup->path, lookup->file_len});
}

static void make_entry(struct exchange *exchange)
{
    struct server *server = exchange->connection->server;
    struct lookup *lookup = &exchange->lookup;
    bool small = cache_wants_memory(&server->cache, lookup->plain_stat.stx_size);
    struct entry *entry;

    clock_tell(&server->clock, proa_now(server->loop));
    entry = cache_make(server, (struct http_text){lookup->path, lookup->path_len}, lookup->accepts, lookup->coding,
                       type_of(server, lookup), &lookup->plain_stat, small ? no_file : lookup->plain);
    if (!entry) {
        refuse(exchange, HTTP_SERVICE_UNAVAILABLE);
        return;
    }
    lookup->loading = entry;
    lookup->loaded = 0;
    if (!small)
        lookup->plain = no_file; /* the entry's now */
    if (small && entry->identity.size > 0)
        read_body(exchange);
    else
        finish_loading(exchange);
}

static void found(struct exchange *exchange)
{
    struct lookup *lookup = &exchange->lookup;
    struct entry *known = lookup->known;
    struct file_identity identity = file_identity_of(&lookup->plain_stat);

    if (!known || !known->settled || known->coding != lookup->coding ||
        !file_identity_equal(&known->identity, &identity)) {
        make_entry(exchange);
        return;
    }
    known->checked_ns = proa_now(exchange->connection->server->loop);
    answer(exchange, known);
}

/* Siblings with a content coding. */

static void try_coding(struct exchange *exchange);

static void on_coded_stat(proa_op *op, proa_result result)
{
    struct exchange *exchange = proa_owner(op, struct exchange, op);
    struct server *server = exchange->connection->server;
    struct lookup *lookup = &exchange->lookup;

    if (is_abandoned(exchange))
        return;
    if (result.value < 0 || !S_ISREG(lookup->coded_stat.stx_mode)) {
        close_file(server, &lookup->coded);
        try_coding(exchange);
        return;
    }
    close_file(server, &lookup->plain);
    lookup->plain = lookup->coded;
    lookup->plain_stat = lookup->coded_stat;
    lookup->coded = no_file;
    found(exchange);
}

static void on_coded_open(proa_op *op, proa_result result)
{
    struct exchange *exchange = proa_owner(op, struct exchange, op);
    struct lookup *lookup = &exchange->lookup;

    if (result.value >= 0)
        lookup->coded = proa_result_fd(result);
    if (is_abandoned(exchange))
        return;
    if (result.value < 0)
        try_coding(exchange);
    else
        proa_stat(exchange->connection->server->loop, op, lookup->coded, "", 0, STATX_BASIC_STATS, &lookup->coded_stat,
                  on_coded_stat);
}

/* The path for the kernel: relative to the root. */
static const char *relative(struct lookup *lookup, size_t len, struct http_text suffix)
{
    memcpy(lookup->path + len, suffix.data, suffix.len);
    lookup->path[len + suffix.len] = '\0';
    return lookup->path[1] ? lookup->path + 1 : ".";
}

static void try_coding(struct exchange *exchange)
{
    struct lookup *lookup = &exchange->lookup;
    unsigned next = lookup->untried & ACCEPT_MASK;

    lookup->untried >>= ACCEPT_BITS;
    if (next == 0) {
        refuse(exchange, HTTP_NOT_ACCEPTABLE); /* not even identity, RFC 9110 12.5.3 */
        return;
    }
    lookup->coding = (uint8_t)(next - 1);
    if (lookup->coding == HTTP_CODING_IDENTITY) {
        found(exchange);
        return;
    }
    const char *path = relative(lookup, lookup->file_len, http_coding_rows[lookup->coding].suffix);
    proa_open(exchange->connection->server->loop, &exchange->op, exchange->connection->server->root, path, how_file,
              on_coded_open);
}

/* The file as named. */

static void on_plain_stat(proa_op *op, proa_result result)
{
    struct exchange *exchange = proa_owner(op, struct exchange, op);
    struct lookup *lookup = &exchange->lookup;

    if (is_abandoned(exchange))
        return;
    if (result.value < 0)
        refuse(exchange, status_of((int)-result.value));
    else if (S_ISDIR(lookup->plain_stat.stx_mode) && !lookup->directory)
        redirect(exchange);
    else if (!S_ISREG(lookup->plain_stat.stx_mode))
        refuse(exchange, HTTP_NOT_FOUND);
    else
        try_coding(exchange);
}

static void on_directory_open(proa_op *op, proa_result result)
{
    struct exchange *exchange = proa_owner(op, struct exchange, op);
    struct connection *connection = exchange->connection;
    struct lookup *lookup = &exchange->lookup;

    if (result.value >= 0)
        lookup->plain = proa_result_fd(result);
    if (is_abandoned(exchange))
        return;
    if (result.value < 0) {
        refuse(exchange, status_of((int)-result.value));
    } else if (!connection->server->options->list) {
        refuse(exchange, HTTP_FORBIDDEN);
    } else {
        proa_fd directory = lookup->plain;
        lookup->plain = no_file;
        end_lookup(exchange);
        listing_start(connection, directory, (struct http_text){lookup->path, lookup->path_len});
    }
}

static void on_plain_open(proa_op *op, proa_result result)
{
    struct exchange *exchange = proa_owner(op, struct exchange, op);
    struct server *server = exchange->connection->server;
    struct lookup *lookup = &exchange->lookup;

    if (result.value >= 0)
        lookup->plain = proa_result_fd(result);
    if (is_abandoned(exchange))
        return;
    if (result.value >= 0)
        proa_stat(server->loop, op, lookup->plain, "", 0, STATX_BASIC_STATS, &lookup->plain_stat, on_plain_stat);
    else if (result.value == -EAGAIN) /* openat2(2): renames raced with the walk; ask again */
        again_or_refuse(exchange);
    else if (lookup->directory && result.value == -ENOENT)
        proa_open(server->loop, op, server->root, relative(lookup, lookup->path_len, HTTP_TEXT("")), how_directory,
                  on_directory_open);
    else
        refuse(exchange, status_of((int)-result.value));
}

static void open_plain(struct exchange *exchange)
{
    struct server *server = exchange->connection->server;
    struct lookup *lookup = &exchange->lookup;
    struct http_text name = lookup->directory ? http_text_from(server->options->index) : HTTP_TEXT("");
    const char *path = relative(lookup, lookup->path_len, name);

    lookup->file_len = lookup->path_len + name.len;
    proa_open(server->loop, &exchange->op, server->root, path, how_file, on_plain_open);
}

/* Names that start with a dot are private, but for what RFC 8615 makes public. */
static bool is_private(const char *path, const struct http_path *form)
{
    static const char well_known[] = "/.well-known";
    size_t len = sizeof(well_known) - 1;

    if (!form->hidden)
        return false;
    if (memcmp(path, well_known, form->len < len ? form->len : len) != 0 || form->len < len)
        return true;
    return (path[len] != '/' && path[len] != '\0') || strstr(path + len, "/.") != NULL;
}

bool lookup_start(struct connection *connection, const struct http_request *request, const char *head,
                  accept_order accepts)
{
    struct server *server = connection->server;
    struct exchange *exchange = exchange_borrow(connection);
    struct http_path form;

    if (!exchange) {
        connection_close(connection);
        return true;
    }
    struct lookup *lookup = &exchange->lookup;
    int status = http_path_normalise(http_text_of(head, request->path), lookup->path, HTTP_PATH_SIZE, &form);
    if (status == 0 && is_private(lookup->path, &form))
        status = -HTTP_NOT_FOUND;
    if (status < 0) {
        responder_status(connection, request, head, (unsigned)-status);
        exchange_return_if_idle(connection);
        return true;
    }
    lookup->path_len = form.len;
    lookup->directory = form.directory;
    lookup->plain = lookup->coded = no_file;
    lookup->accepts = lookup->untried = accepts;
    lookup->attempts = 0;
    lookup->loading = NULL;
    lookup->known = cache_find(&server->cache, (struct http_text){lookup->path, form.len}, accepts, true);
    if (lookup->known && responder_is_valid(lookup->known, proa_now(server->loop))) {
        struct entry *entry = lookup->known;
        lookup->known = NULL;
        entry->used = true;
        return responder_file(connection, request, head, entry);
    }
    if (lookup->known) {
        cache_hold(lookup->known);
        lookup->known->checking = true;
    }
    exchange->working = true;
    connection->phase = PHASE_BUSY;
    open_plain(exchange);
    return false;
}

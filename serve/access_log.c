/* host - - [time] "request line" status bytes "referer" "user agent". What a client wrote is escaped as \xHH where it
 * could end a field or reach a terminal as a control code. */
#include "serve/access_log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/writer.h"
#include "proa/proa.h"
#include "serve/message.h"
#include "serve/server.h"

enum {
    FIELD_MAX = 2048,                        /* bytes of one field of the client's that are logged */
    LINE_SIZE_MAX = 3 * 4 * FIELD_MAX + 512, /* three fields, every byte escaped */
    FLUSH_SIZE = 64 << 10
};

int access_log_open(struct access_log *log, struct server *server, proa_fd fd)
{
    log->server = server;
    log->fd = fd;
    log->filling = malloc(ACCESS_LOG_BUFFER_SIZE);
    log->writing = malloc(ACCESS_LOG_BUFFER_SIZE);
    return log->filling && log->writing ? 0 : -ENOMEM;
}

void access_log_free(struct access_log *log)
{
    free(log->filling);
    free(log->writing);
}

static void write_rest(struct access_log *log);

static void on_written(proa_op *op, proa_result result)
{
    struct access_log *log = proa_owner(op, struct access_log, op);

    if (result.value <= 0) {
        if (result.value != -ECANCELED && result.value != -ETIMEDOUT)
            message_note("writing the access log failed: %s; its lines are lost", strerror((int)-result.value));
        log->written = log->to_write;
        return;
    }
    log->written += (size_t)result.value;
    if (log->written < log->to_write)
        write_rest(log);
    else if (log->filled >= FLUSH_SIZE || log->give_up_ns)
        access_log_flush(log);
}

static void write_rest(struct access_log *log)
{
    proa_write(log->server->loop, &log->op, log->fd, log->writing + log->written, log->to_write - log->written,
               PROA_POSITION, on_written);
    if (log->give_up_ns)
        proa_set_deadline(&log->op, log->give_up_ns);
}

void access_log_finish(struct access_log *log, uint64_t give_up_ns)
{
    log->give_up_ns = give_up_ns;
    if (proa_in_flight(&log->op))
        proa_set_deadline(&log->op, give_up_ns);
    access_log_flush(log);
}

void access_log_flush(struct access_log *log)
{
    if (log->filled == 0 || proa_in_flight(&log->op))
        return;
    char *full = log->filling;
    log->filling = log->writing;
    log->writing = full;
    log->to_write = log->filled;
    log->written = log->filled = 0;
    write_rest(log);
}

static void add(struct access_log *log, const char *text, size_t len)
{
    memcpy(log->filling + log->filled, text, len);
    log->filled += len;
}

static void add_string(struct access_log *log, const char *text)
{
    add(log, text, strlen(text));
}

static void add_number(struct access_log *log, uint64_t number)
{
    struct http_writer out = http_writer_of(log->filling + log->filled, ACCESS_LOG_BUFFER_SIZE - log->filled);

    http_write_number(&out, number);
    log->filled += out.len;
}

/* A field of the client's; "-" where there is none. */
static void add_escaped(struct access_log *log, struct http_text text)
{
    static const char digits[] = "0123456789ABCDEF";

    if (text.len == 0)
        add(log, "-", 1);
    if (text.len > FIELD_MAX)
        text.len = FIELD_MAX;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if (byte >= ' ' && byte < 0x7f && byte != '"' && byte != '\\')
            log->filling[log->filled++] = (char)byte;
        else
            add(log, (char[]){'\\', 'x', digits[byte >> 4], digits[byte & 15]}, 4);
    }
}

/* The client's address, asked for once per connection. */
static const char *host_of(struct connection *connection, char text[INET6_ADDRSTRLEN])
{
    if (connection->peer_family == 0) {
        proa_address address;
        connection->peer_family = AF_UNIX;
        if (proa_peer_address(connection->server->loop, connection->fd, &address) == 0) {
            connection->peer_family = (uint8_t)address.as.any.sa_family;
            if (connection->peer_family == AF_INET)
                memcpy(connection->peer, &address.as.ip4.sin_addr, sizeof(address.as.ip4.sin_addr));
            else if (connection->peer_family == AF_INET6)
                memcpy(connection->peer, &address.as.ip6.sin6_addr, sizeof(address.as.ip6.sin6_addr));
        }
    }
    if (connection->peer_family == AF_UNIX ||
        !inet_ntop(connection->peer_family, connection->peer, text, INET6_ADDRSTRLEN))
        return "unix:";
    return text;
}

static void add_time(struct access_log *log)
{
    int64_t now_s = log->server->clock.now_s;

    if (log->time_s != now_s) {
        time_t seconds = (time_t)now_s;
        struct tm tm;
        log->time_s = now_s;
        strftime(log->time, sizeof(log->time), " - - [%d/%b/%Y:%H:%M:%S +0000] \"", gmtime_r(&seconds, &tm));
    }
    add_string(log, log->time);
}

void access_log_add(struct access_log *log, struct connection *connection, const struct http_request *request,
                    const char *head, unsigned status, uint64_t body_size)
{
    char host[INET6_ADDRSTRLEN];
    bool read = request->line.len > 0;

    if (ACCESS_LOG_BUFFER_SIZE - log->filled < LINE_SIZE_MAX) {
        access_log_flush(log);
        if (ACCESS_LOG_BUFFER_SIZE - log->filled < LINE_SIZE_MAX) {
            log->server->report->log_lines_lost++;
            return;
        }
    }
    clock_tell(&log->server->clock, proa_now(log->server->loop));
    add_string(log, host_of(connection, host));
    add_time(log);
    add_escaped(log, read ? http_text_of(head, request->line) : (struct http_text){0});
    add(log, "\" ", 2);
    add_number(log, status);
    add(log, " ", 1);
    add_number(log, body_size);
    add(log, " \"", 2);
    add_escaped(log, read ? http_request_field(request, head, HTTP_FIELD_REFERER) : (struct http_text){0});
    add(log, "\" \"", 3);
    add_escaped(log, read ? http_request_field(request, head, HTTP_FIELD_USER_AGENT) : (struct http_text){0});
    add(log, "\"\n", 2);
    if (log->filled >= FLUSH_SIZE)
        access_log_flush(log);
}

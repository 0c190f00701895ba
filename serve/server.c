/* Start, ticks, and the end of a worker: gracefully first, by force after STOP_LIMIT. */
#include "serve/server.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>

#include "serve/await.h"
#include "serve/exchange.h"
#include "serve/message.h"

enum {
    BUFFERS = 512,      /* lent to receives; what is not touched costs nothing but address space */
    BUFFER_SIZE = 2048, /* most requests fit, pipelined ones by the dozen */
    MIME_TEXT_MAX = 1 << 20,
    RESERVE_MAX = 512
};

#define TICK_NS (PROA_SECOND_NS / WHEEL_TICKS_PER_S)
#define DRAIN_NS (100 * PROA_MILLISECOND_NS)
/* Requests that are on the wire when the stop comes are still answered, and connections in the accept queue taken. */
#define DRAIN_AFTER_NS PROA_SECOND_NS
#define STOP_LIMIT_NS (10 * PROA_SECOND_NS)
#define LAST_FLUSH_NS PROA_SECOND_NS

/* Files are closed behind the server's back: nobody waits for it. */
struct file_closing {
    proa_op op;
    struct server *server;
    struct file_closing *next;
};

static void on_file_closed(proa_op *op, proa_result result)
{
    struct file_closing *closing = proa_owner(op, struct file_closing, op);

    (void)result;
    closing->next = closing->server->closings;
    closing->server->closings = closing;
}

void server_close_file(struct server *server, proa_fd fd)
{
    struct file_closing *closing = server->closings;

    if (closing)
        server->closings = closing->next;
    else
        closing = calloc(1, sizeof(*closing));
    if (!closing)
        return; /* without memory for an op the descriptor stays open; nothing worse */
    closing->server = server;
    proa_close(server->loop, &closing->op, fd, on_file_closed);
}

/* Ticks. */

static void on_tick(proa_op *op, proa_result result);

static void start_tick(struct server *server)
{
    proa_timer_repeat(server->loop, &server->tick, proa_now(server->loop) + TICK_NS, TICK_NS, on_tick);
}

static void on_tick(proa_op *op, proa_result result)
{
    struct server *server = proa_owner(op, struct server, tick);

    for (int64_t passed = result.value; passed > 0; passed--) {
        struct wheel_link *link = wheel_turn(&server->wheel);
        while (link) {
            struct wheel_link *next = link->next;
            connection_check_time(proa_owner(link, struct connection, link));
            link = next;
        }
    }
    if (server->options->access_log)
        access_log_flush(&server->log);
    if (!(result.flags & PROA_MORE) && !server->ended && server->connections.open)
        start_tick(server);
    else if (!server->connections.open)
        proa_cancel(op);
}

/* Accepting stops before the last descriptors are gone: files must still be opened for those who are connected. A
 * repeating accept takes a whole queue before it can be told to stop, so near the limit they are taken one by one. */
static enum server_accepting accepting_now(const struct server *server)
{
    unsigned open = server->connections.open;
    unsigned near = server->connections_max > LISTENER_BACKLOG ? server->connections_max - LISTENER_BACKLOG : 0;

    if (open >= server->connections_max)
        return SERVER_ACCEPTS_NONE;
    /* Not at once back to many: the number goes up and down all the time. */
    return open < (server->accepting == SERVER_ACCEPTS_MANY ? near : near / 8 * 7) ? SERVER_ACCEPTS_MANY
                                                                                   : SERVER_ACCEPTS_ONE;
}

static void watch_limit(struct server *server)
{
    enum server_accepting before = server->accepting;
    enum server_accepting now = accepting_now(server);

    if (now == before || server->stopping)
        return;
    server->accepting = now;
    for (unsigned i = 0; i < server->options->listen_count; i++) {
        if (now > before)
            listener_pause(&server->listeners[i]);
        else
            listener_resume(&server->listeners[i]);
    }
}

/* A quarter of the descriptors, at most RESERVE_MAX, is for files; half of those may be held open by the cache. */
static void divide_descriptors(struct server *server)
{
    struct rlimit limit = {.rlim_cur = UINT32_MAX};

    getrlimit(RLIMIT_NOFILE, &limit);
    unsigned all = limit.rlim_cur < UINT32_MAX ? (unsigned)limit.rlim_cur : UINT32_MAX;
    unsigned reserve = all / 4 < RESERVE_MAX ? all / 4 : RESERVE_MAX;
    server->connections_max = all - reserve;
    server->cache.files_max = reserve / 2;
}

void server_connections_changed(struct server *server)
{
    watch_limit(server);
    if (server->connections.open) {
        if (!proa_in_flight(&server->tick) && !server->ended)
            start_tick(server);
    } else if (server->options->access_log && !server->ended) {
        access_log_flush(&server->log);
    }
}

/* Stopping. */

static void for_each_connection(struct server *server, void (*act)(struct connection *))
{
    for (unsigned i = 0; i < WHEEL_BUCKETS; i++) {
        struct wheel_link *bucket = &server->wheel.buckets[i];
        struct wheel_link *link = bucket->next;
        while (link != bucket) {
            struct wheel_link *next = link->next;
            act(proa_owner(link, struct connection, link));
            link = next;
        }
    }
}

static void stop_listeners(struct server *server)
{
    for (unsigned i = 0; i < server->options->listen_count; i++) {
        if (server->listeners[i].open)
            listener_stop(&server->listeners[i]);
    }
}

/* Ends everything; the loop becomes idle once all has come back. */
static void end(struct server *server)
{
    if (server->ended)
        return;
    server->ended = server->stopping = true;
    stop_listeners(server);
    for_each_connection(server, connection_close);
    cache_clear(server);
    proa_cancel(&server->tick);
    proa_cancel(&server->drain);
    proa_cancel(&server->stop_limit);
    proa_cancel(&server->terminate);
    proa_cancel(&server->interrupt);
    if (server->options->access_log)
        access_log_finish(&server->log, proa_now(server->loop) + LAST_FLUSH_NS);
}

static void on_stop_limit(proa_op *op, proa_result result)
{
    struct server *server = proa_owner(op, struct server, stop_limit);

    if (result.value < 0)
        return;
    if (server->connections.open)
        message_note("%u connections were cut: they were not done %d s after the signal to stop",
                     server->connections.open, (int)(STOP_LIMIT_NS / PROA_SECOND_NS));
    end(server);
}

static void on_drain(proa_op *op, proa_result result)
{
    struct server *server = proa_owner(op, struct server, drain);

    if (result.value < 0 || server->ended)
        return;
    stop_listeners(server);
    for_each_connection(server, connection_drain);
    if (server->connections.open == 0)
        end(server);
}

static void stop(struct server *server)
{
    uint64_t now_ns = proa_now(server->loop);

    server->stopping = true;
    proa_timer(server->loop, &server->stop_limit, now_ns + STOP_LIMIT_NS, on_stop_limit);
    proa_timer_repeat(server->loop, &server->drain, now_ns + DRAIN_AFTER_NS, DRAIN_NS, on_drain);
}

static void take_signal(struct server *server, proa_result result, bool at_once)
{
    if (result.value < 0 || server->ended)
        return;
    if (at_once)
        end(server);
    else if (!server->stopping)
        stop(server);
}

/* SIGTERM. */
static void on_terminate(proa_op *op, proa_result result)
{
    struct server *server = proa_owner(op, struct server, terminate);

    take_signal(server, result, server->role == SERVER_ALONE && server->stopping);
}

/* SIGINT of a server that is alone, SIGQUIT of one that is managed. */
static void on_interrupt(proa_op *op, proa_result result)
{
    struct server *server = proa_owner(op, struct server, interrupt);

    take_signal(server, result, server->role == SERVER_MANAGED || server->stopping);
}

/* Starting. */

static void read_mime_types(struct server *server)
{
    int64_t len = -1;

    server->mime_text = malloc(MIME_TEXT_MAX);
    if (server->mime_text)
        len = await_text(server->loop, "/etc/mime.types", server->mime_text, MIME_TEXT_MAX);
    server->mime = http_mime_new((struct http_text){server->mime_text, len > 0 ? (size_t)len : 0});
}

static uint32_t ticks_of(unsigned seconds)
{
    return seconds * WHEEL_TICKS_PER_S;
}

/* Returns 0 or a negative errno. */
static int prepare(struct server *server, const struct server_setup *setup)
{
    const struct serve_options *options = setup->options;
    const proa_loop_options loop_options = {.engine = options->engine};
    int result = proa_loop_open(&server->loop, &loop_options);

    if (result == 0)
        result = proa_buffer_pool_open(server->loop, BUFFERS, BUFFER_SIZE, &server->buffers);
    if (result == 0 && options->access_log)
        result = access_log_open(&server->log, server, setup->log);
    if (result < 0)
        return result;
    server->options = options;
    server->role = setup->role;
    server->report = setup->report;
    server->root = setup->root;
    divide_descriptors(server);
    server->accepting = accepting_now(server);
    server->head_ticks = ticks_of(options->head_timeout_s);
    server->idle_ticks = ticks_of(options->idle_timeout_s);
    server->send_ticks = ticks_of(options->send_timeout_s);
    wheel_init(&server->wheel);
    clock_renew(&server->clock, proa_now(server->loop));
    if (getrandom(&server->boundary, sizeof(server->boundary), 0) < 0 || server->boundary == 0)
        server->boundary = (uint64_t)server->clock.now_ns;
    read_mime_types(server);
    return server->mime ? 0 : -ENOMEM;
}

static void start(struct server *server, const struct server_setup *setup)
{
    bool managed = setup->role == SERVER_MANAGED;

    proa_signal(server->loop, &server->terminate, SIGTERM, on_terminate);
    proa_signal(server->loop, &server->interrupt, managed ? SIGQUIT : SIGINT, on_interrupt);
    for (unsigned i = 0; i < setup->options->listen_count; i++) {
        bool local = setup->options->listen[i].as.any.sa_family == AF_UNIX;
        listener_start(&server->listeners[i], server, setup->listeners[i], managed && local);
    }
}

static void clean_up(struct server *server)
{
    if (server->loop) {
        proa_meters meters = proa_loop_meters(server->loop);
        report_add_meters(server->report, &meters);
    }
    if (server->buffers)
        proa_buffer_pool_close(server->buffers);
    if (server->loop)
        proa_loop_close(server->loop);
    while (server->closings) {
        struct file_closing *closing = server->closings;
        server->closings = closing->next;
        free(closing);
    }
    exchange_clear(server);
    connection_pool_clear(&server->connections);
    block_pool_clear(&server->blocks);
    access_log_free(&server->log);
    http_mime_free(server->mime);
    free(server->mime_text);
    free(server);
}

int server_run(const struct server_setup *setup)
{
    struct server *server = calloc(1, sizeof(*server));
    int result = server ? prepare(server, setup) : -ENOMEM;

    if (result < 0) {
        message_error("an event loop, its buffers and a table of media types",
                      "look at the memory limits (ulimit -l, "
                      "ulimit -v), or use fewer --workers",
                      "a worker could not start: %s", strerror(-result));
    } else {
        if (strcmp(proa_loop_engine(server->loop), setup->engine) != 0)
            message_note("a worker runs on another engine: %s", proa_loop_choice(server->loop));
        start(server, setup);
        proa_loop_run(server->loop, PROA_UNTIL_IDLE);
    }
    if (server)
        clean_up(server);
    return result < 0 ? 1 : 0;
}

/* One worker: its loop and everything that hangs on it. */
#ifndef SERVE_SERVER_H
#define SERVE_SERVER_H

#include "http/mime.h"
#include "http/request.h"
#include "proa/proa.h"
#include "serve/access_log.h"
#include "serve/block.h"
#include "serve/cache.h"
#include "serve/clock.h"
#include "serve/connection.h"
#include "serve/listener.h"
#include "serve/options.h"
#include "serve/report.h"
#include "serve/wheel.h"

/* How a worker takes signals. */
enum server_role {
    SERVER_ALONE,  /* SIGTERM, SIGINT: stops gracefully; another one: at once */
    SERVER_MANAGED /* SIGTERM: gracefully, however often; SIGQUIT: at once; SIGINT is the master's */
};

/* In order of restraint. */
enum server_accepting { SERVER_ACCEPTS_MANY, SERVER_ACCEPTS_ONE, SERVER_ACCEPTS_NONE };

/* What one worker is started with. */
struct server_setup {
    const struct serve_options *options;
    enum server_role role;
    const proa_fd *listeners; /* one per address in options */
    proa_fd root;             /* the directory that is served */
    proa_fd log;              /* of the access log, where there is one */
    const char *engine;       /* the one announced, for a note when this worker got another */
    struct serve_report *report;
};

struct server {
    proa_loop *loop;
    proa_buffer_pool *buffers;
    const struct serve_options *options;
    struct serve_report *report;
    enum server_role role;
    proa_fd root;
    struct http_request request; /* being read from a lent buffer */
    struct clock clock;
    struct cache cache;
    struct block_pool blocks;
    struct wheel wheel;
    struct access_log log;
    struct http_mime *mime;
    char *mime_text;
    struct connection_pool connections;
    struct exchange *exchanges; /* free ones */
    unsigned exchanges_kept;
    struct file_closing *closings; /* free ones */
    struct listener listeners[SERVE_LISTEN_MAX];
    uint64_t boundary; /* seed of multipart boundaries */
    uint32_t head_ticks, idle_ticks, send_ticks;
    unsigned connections_max;
    enum server_accepting accepting;
    bool stopping; /* gracefully: every response says that it is the last */
    bool ended;    /* the loop is being closed: nothing new may start */
    proa_op tick;
    proa_op drain;
    proa_op stop_limit;
    proa_op terminate; /* signals */
    proa_op interrupt;
};

/* Serves until stopped. Returns the exit status. */
int server_run(const struct server_setup *setup);

/* Tells the server that a connection came or went: the clock of time limits runs while there are any. */
void server_connections_changed(struct server *server);

/* Closes a file that nothing is in flight on. */
void server_close_file(struct server *server, proa_fd fd);

#endif

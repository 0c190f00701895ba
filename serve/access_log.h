/* The access log, in the combined format. Lines are gathered in one of two buffers while the other is written; when
 * both are full lines are lost and counted: a slow disk or reader never holds up an answer. */
#ifndef SERVE_ACCESS_LOG_H
#define SERVE_ACCESS_LOG_H

#include "http/request.h"
#include "proa/op.h"

struct connection;
struct server;

enum { ACCESS_LOG_BUFFER_SIZE = 128 << 10 };

struct access_log {
    proa_op op;
    struct server *server;
    proa_fd fd;
    char *filling; /* two buffers change places */
    char *writing;
    size_t filled;
    size_t to_write;
    size_t written;
    uint64_t give_up_ns; /* 0: not finishing */
    int64_t time_s;      /* that `time` says */
    char time[40];
};

/* Returns 0 or a negative errno. */
int access_log_open(struct access_log *log, struct server *server, proa_fd fd);

void access_log_add(struct access_log *log, struct connection *connection, const struct http_request *request,
                    const char *head, unsigned status, uint64_t body_size);

/* Writes what was gathered, unless a write is under way. */
void access_log_flush(struct access_log *log);

/* Writes all that was gathered, as far as that can be done by `give_up_ns`. */
void access_log_finish(struct access_log *log, uint64_t give_up_ns);

void access_log_free(struct access_log *log);

#endif

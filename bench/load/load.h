/* What the parts of the load client share: the options, the checker of HTTP responses, the result. */
#ifndef BENCH_LOAD_LOAD_H
#define BENCH_LOAD_LOAD_H

#include "histogram.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

struct options {
    struct sockaddr_in server;
    const char *path; /* HTTP when set, else echo */
    const char *drop; /* folder of the files: each is dropped from the page cache before it is asked for */
    long files;       /* HTTP: the path is followed by a number below this, by turns; 0: it is one path */
    long connections; /* active ones */
    long idle;        /* connections that are open and silent */
    long prime;       /* 1: each idle connection does one operation first */
    long size;        /* echo: bytes of a message */
    long body;        /* HTTP: bytes of the body expected */
    long depth;       /* HTTP: requests in one send */
    long rate;        /* operations per second, 0: closed loop */
    long sleep;       /* 1: between operations at a fixed rate wait instead of spinning */
    long copy;        /* 1: copy large bodies to user space instead of dropping them in the kernel */
    long ops;         /* measured operations, 0: by duration */
    long duration_ms, warmup_ms;
    long handshake;  /* 1: wait for a line on stdin before and after measuring */
    long until_line; /* 1: measure until a line comes on stdin */
};

struct result {
    uint64_t ops, bytes, errors, idle_lost;
    uint64_t start_ns, end_ns, cpu_ns;
    uint64_t segments_in; /* data segments received, by TCP_INFO */
    struct histogram latency;
    const char *first_error;
};

enum { HTTP_HEAD_MAX = 4096, FILES_MAX = 10000 };

/* Where a connection is in the stream of responses. */
struct http_check {
    size_t body_left;
    size_t head_size; /* bytes of the head kept so far in `head` */
    bool in_body;
    char *head; /* HTTP_HEAD_MAX bytes, only while a head is split over receives; NULL otherwise */
};

/* Takes received bytes. Returns the number of responses completed by them, or -1 with *ret_error set: a status that
 * is not 200, no Content-Length, or one other than `body`. */
long http_check(struct http_check *check, const char *data, size_t size, size_t body, const char **ret_error);

/* Runs the whole load: connects, warms up, measures, closes. */
void load_run(const struct options *options, struct result *result);

/* Prints what failed and ends the program with 1. */
_Noreturn void load_fail(const char *what, int error);

/* Prints {"event": NAME} and waits for a line on stdin, when --handshake is given. */
void load_handshake(const struct options *options, const char *name);

/* Waits for a line on stdin; ends the program if there is none. */
void load_await_line(void);

uint64_t now_ns(void);

#endif

/* One client: reads requests, has them answered in order, ends when it must.
 *
 * An idle connection is this struct and nothing else: its receive is armed on the loop's buffer pool, which lends a
 * buffer when bytes come. What a request needs beyond that it borrows: an `input` when its bytes must be kept, an
 * `exchange` when its answer takes more than one send or has to look at a file. Both go back when it is answered.
 *
 *      READY --head--> answered at once --> READY
 *        |---body---> BODY --> as below
 *        '---file---> BUSY --> READY
 *      any of them: --last answer--> FINISH --all sent--> LINGER --client is done--> CLOSING */
#ifndef SERVE_CONNECTION_H
#define SERVE_CONNECTION_H

#include <stdbool.h>

#include "proa/proa.h"
#include "serve/block.h"
#include "serve/wheel.h"

struct server;
struct input;
struct exchange;

enum connection_phase {
    PHASE_READY,  /* for a request, or reading its head */
    PHASE_BODY,   /* reads and drops the body of a request */
    PHASE_BUSY,   /* an answer is being made */
    PHASE_FINISH, /* nothing more is read; sends are going out */
    PHASE_LINGER, /* our side is shut; a close now could destroy what the client has not read (RFC 9112 9.6) */
    PHASE_CLOSING /* ops are coming back */
};

struct connection {
    proa_op receive; /* receives; at the end, closes */
    proa_op send;    /* the first send in a row; at the end, shuts down */
    struct server *server;
    struct block *block; /* what `send` sends from */
    union {
        struct input *input;          /* bytes that had to be kept */
        struct connection *next_free; /* in the pool */
    };
    struct exchange *exchange;
    struct wheel_link link;
    proa_fd fd;
    uint32_t stamp;      /* tick of the last sign of life */
    uint32_t progress;   /* of the send in flight, when it was last looked at */
    uint16_t sends;      /* in flight, a shutdown included */
    uint8_t phase;       /* enum connection_phase */
    bool fresh : 1;      /* no request yet */
    bool eof : 1;        /* the client sends no more */
    bool keep : 1;       /* after the present answer */
    bool closed : 1;     /* the descriptor is */
    uint8_t peer_family; /* 0: not asked yet */
    uint8_t peer[16];    /* its address; asked for by the access log alone */
};

_Static_assert(sizeof(struct connection) + 40 <= 400, "an idle connection and its descriptor entry: 400 bytes");

struct connection_slab;

struct connection_pool {
    struct connection *free;
    struct connection_slab *slabs;
    unsigned open;
};

/* Serves a new connection. */
void connection_open(struct server *server, proa_fd fd);

/* Sends block->data[at..at+size). Takes over the caller's reference. */
void connection_send(struct connection *connection, struct block *block, size_t at, size_t size);

/* One of the sends in flight is done; a short one is over, too: `result` is negative where the answer is broken. */
void connection_sent(struct connection *connection, proa_result result);

/* There is room for the sends of one more answer (two). */
bool connection_has_room(const struct connection *connection);

/* The answer that made the connection BUSY is complete, as far as its sends are started. */
void connection_answered(struct connection *connection);

/* Ends at once: what is in flight is cancelled. */
void connection_close(struct connection *connection);

/* A file op of a connection that is closing has come back: frees the connection if it was the last. */
void connection_collect(struct connection *connection);

/* The server stops: an idle connection is shut down. */
void connection_drain(struct connection *connection);

/* Called when the wheel comes to a connection, which is then in no bucket. */
void connection_check_time(struct connection *connection);

void connection_pool_clear(struct connection_pool *pool);

#endif

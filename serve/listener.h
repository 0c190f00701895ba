/* Listening sockets: opened once before any worker runs, one per worker and address; each worker accepts on its own.
 *
 * They are opened before the fork for three reasons: a wrong address is told once and before anything runs; port 0
 * becomes the same port for all; and the queue of a worker that dies waits for its successor. TCP sockets of one
 * address are shards (SO_REUSEPORT). A Unix socket cannot be sharded: all workers inherit one. */
#ifndef SERVE_LISTENER_H
#define SERVE_LISTENER_H

#include <stdbool.h>

#include "proa/proa.h"

struct server;

enum { LISTENER_BACKLOG = 4096 };

/* Opens a socket for `address` on `loop` and waits for it. Returns the descriptor or a negative errno. With port 0,
 * `address` gets the port that was given. */
int listener_open(proa_loop *loop, proa_address *address, bool shard);

/* The accept queue's length that the kernel grants: listen(2) caps it silently at net.core.somaxconn. */
int listener_backlog_in_effect(proa_loop *loop);

/* One worker's side of one socket. */
struct listener {
    proa_op op;
    struct server *server;
    proa_fd fd;
    bool shared; /* with other workers */
    bool open;
};

void listener_start(struct listener *listener, struct server *server, proa_fd fd, bool shared);

/* Ends the accept that is armed; it is armed again, as server->accepting says, unless that says none: then connections
 * wait in the accept queue until the server resumes. */
void listener_pause(struct listener *listener);
void listener_resume(struct listener *listener);

/* Takes no more connections, once and for all. Those that the kernel handed over already are still served. */
void listener_stop(struct listener *listener);

#endif

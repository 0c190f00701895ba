/* Sockets: TCP and Unix streams. */
#ifndef PROA_SOCKET_H
#define PROA_SOCKET_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "buffer.h"
#include "op.h"

PROA_BEGIN

typedef struct proa_address {
    socklen_t size;
    union {
        struct sockaddr any;
        struct sockaddr_in ip4;
        struct sockaddr_in6 ip6;
        struct sockaddr_un local;
    } as;
} proa_address;

enum { PROA_ADDRESS_TEXT_MAX = 128 };

/* Numeric only, nothing is looked up: "127.0.0.1:80", "[::1]:80", "*:80" (every IPv4 and IPv6 address), "unix:/path".
 * Returns 0 or -EINVAL. */
PROA_API int proa_address_parse(const char *text, proa_address *ret_address);

/* Writes the same notation, cut at `size` (PROA_ADDRESS_TEXT_MAX holds every address). Returns `text`. */
PROA_API const char *proa_address_format(const proa_address *address, char *text, size_t size);

/* The address of either end of a connected socket, or of a listener's own end. `loop`, whose descriptor it is, may be null
 * for an ordinary one. Return 0 or a negative errno; ENOTSUP for a direct one, which the kernel's calls cannot name. */
PROA_API int proa_local_address(proa_loop *loop, proa_fd fd, proa_address *ret_address);
PROA_API int proa_peer_address(proa_loop *loop, proa_fd fd, proa_address *ret_address);

enum proa_listen_flag {
    PROA_LISTEN_SHARD = 1 << 0,   /* SO_REUSEPORT: one of several listeners that share the address, one per loop */
    PROA_LISTEN_REPLACE = 1 << 1, /* Unix: a socket file that nobody listens on any more is replaced */
    PROA_LISTEN_SHARED = 1 << 2,  /* several processes accept from this one socket: a connection wakes one of them */
};

/* Opens a listening socket: SO_REUSEADDR, TCP_NODELAY (inherited by what it accepts), IPv6-only unless the address is
 * "*". The kernel caps `backlog` at net.core.somaxconn. value: the descriptor. */
PROA_API void proa_listen(proa_loop *loop, proa_op *op, const proa_address *address, int backlog, unsigned flags,
                          proa_callback *callback);

/* Takes one connection. value: its descriptor. Waits, counted, while no descriptor is free (EMFILE, ENFILE). */
PROA_API void proa_accept(proa_loop *loop, proa_op *op, proa_fd listener, proa_callback *callback);

/* As proa_accept(), repeating: each connection is a completion with PROA_MORE. */
PROA_API void proa_accept_many(proa_loop *loop, proa_op *op, proa_fd listener, proa_callback *callback);

/* Makes a socket and connects it. `address` must stay until completion. value: the descriptor. */
PROA_API void proa_connect(proa_loop *loop, proa_op *op, const proa_address *address, proa_callback *callback);

/* Receives what is there, at most `size` bytes, waiting for the first. value: bytes; 0 is the end of stream. */
PROA_API void proa_recv(proa_loop *loop, proa_op *op, proa_fd fd, void *data, size_t size, proa_callback *callback);

/* Receives again and again, each time into a buffer lent by `pool` once data is there. value: bytes, with PROA_LENT
 * and PROA_MORE; the final completion is the end of stream (0) or an error. With the pool empty it waits, counted. */
PROA_API void proa_recv_many(proa_loop *loop, proa_op *op, proa_fd fd, proa_buffer_pool *pool, proa_callback *callback);

/* Sends all of `data`. Sends on one descriptor go out in the order of their start, gathered where several wait.
 * value: `size`; on an error proa_sent() tells how many bytes had been taken. */
PROA_API void proa_send(proa_loop *loop, proa_op *op, proa_fd fd, const void *data, size_t size,
                        proa_callback *callback);

/* As proa_send(), for a completion that nobody waits for: success alone wakes no sleeping loop, it is delivered with the
 * next completion that does. That saves a system call per message to a peer that answers each one. */
PROA_API void proa_send_relaxed(proa_loop *loop, proa_op *op, proa_fd fd, const void *data, size_t size,
                                proa_callback *callback);

/* As proa_send(), with the kernel sending from `data` itself, which pays from some 16 KiB on. Two completions: one with
 * PROA_MORE once all is taken, the final one when `data` is the caller's again, with PROA_COPIED where it was copied after
 * all. value of both: `size`. An error, a cancel or a deadline is a final one alone, and it, too, waits until the kernel has
 * let go of what it had taken: for as long as the peer does not read, up to a close, which resets the connection. */
PROA_API void proa_send_zero_copy(proa_loop *loop, proa_op *op, proa_fd fd, const void *data, size_t size,
                                  proa_callback *callback);

/* Ends one or both directions (SHUT_RD, SHUT_WR, SHUT_RDWR) once the sends started before have completed. value: 0. */
PROA_API void proa_shutdown(proa_loop *loop, proa_op *op, proa_fd fd, int how, proa_callback *callback);

PROA_END

#endif

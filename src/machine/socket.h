/* What stream and datagram sockets share: addresses, options, and how bytes come in and go out in pieces. */
#ifndef PROA_MACHINE_SOCKET_H
#define PROA_MACHINE_SOCKET_H

#include "machine/address.h"

struct sock {
    struct file file;
    int family, type;
    struct address local, peer;
    int is_bound, is_listening, is_connected;
    int reuse_address, reuse_port, only_ip6, no_delay;
    int resets_on_close;            /* SO_LINGER of no time */
    int error;                      /* to be told by the next call, as a positive errno */
    size_t receive_size, send_size; /* what is on its way or unread fits into both ends' together */
    struct node *node;              /* a Unix name's file */
    struct sock *next;              /* of those that are bound */
};

/* The first member is what the descriptor's kind points to, so that either leads to the other. */
struct sock_kind {
    struct file_kind file;
    int (*connect)(proa_sim *machine, struct sock *sock, const struct address *to);
    /* At most `size` bytes. */
    ssize_t (*receive)(proa_sim *machine, struct sock *sock, struct msghdr *message, size_t size, int flags);
    ssize_t (*send)(proa_sim *machine, struct sock *sock, const struct msghdr *message, size_t size, int flags);
    int (*shutdown)(proa_sim *machine, struct sock *sock, int how);
    int (*listen)(proa_sim *machine, struct sock *sock, int backlog);
    int (*accept)(proa_sim *machine, struct sock *sock);
};

extern const struct sock_kind stream_kind, datagram_kind;

struct sock *stream_new(proa_sim *machine, int family);
struct sock *datagram_new(proa_sim *machine, int family);
void sock_init(proa_sim *machine, struct sock *sock, int family, int type);

/* Both ends of a new pair, connected. */
void stream_pair(proa_sim *machine, struct sock *ret_pair[2]);
void datagram_pair(proa_sim *machine, struct sock *ret_pair[2]);

/* Gives it a local address. Returns 0 or a negative errno. */
int sock_bind(proa_sim *machine, struct sock *sock, const struct address *address);

/* The same on its own, for who needs one to send from: any port, at the address that fits the other end's. */
int sock_bind_for(proa_sim *machine, struct sock *sock, const struct address *to);
void sock_unbind(proa_sim *machine, struct sock *sock);

/* The bound one that a packet or connection to `to` goes to, or null. Of several that share the address the seed picks. */
struct sock *sock_find(proa_sim *machine, int type, const struct address *to, int (*is_fit)(const struct sock *));

/* Whether the way leads anywhere: 0 or a negative errno. */
int sock_route(const struct sock *sock, const struct address *to);

/* The pending error as a negative errno, which is then no longer pending; or 0. */
int sock_take_error(struct sock *sock);

/* Copies `size` bytes between memory and the pieces, starting `offset` bytes into them. */
void pieces_gather(const struct msghdr *message, size_t offset, void *to, size_t size);
void pieces_scatter(const struct msghdr *message, size_t offset, const void *from, size_t size);

#endif

/* Addresses as the machine keeps them. An IPv4 address is the IPv6 one that is mapped to it (RFC 4291, 2.5.5.2), so that
 * both kinds of sockets meet; a Unix name is its bytes. */
#ifndef PROA_MACHINE_ADDRESS_H
#define PROA_MACHINE_ADDRESS_H

#include <netinet/in.h>
#include <sys/un.h>

#include "machine/state.h"

struct address {
    sa_family_t family; /* 0: none; AF_INET6 for both kinds; AF_UNIX */
    uint16_t port;
    uint8_t path_size; /* of a Unix name; one that starts with a zero is abstract (unix(7)) */
    union {
        uint8_t ip[16];
        char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
    };
};

/* For a socket of `family`. Returns 0 or a negative errno. */
int address_take(int family, const struct sockaddr *from, socklen_t size, struct address *ret_address);

/* Writes as much of it as fits, and its whole size (getsockname(2)). */
void address_give(int family, const struct address *address, struct sockaddr *to, socklen_t *size);

int address_is_ip4(const struct address *address);
int address_is_any(const struct address *address);

/* The machine's own: loopback, 10.0.0.0/8 and fd00::/8; and the wildcards. */
int address_is_ours(const struct address *address);

/* Where a packet to `to` comes from, and where one to a wildcard goes. */
struct address address_source(const struct address *to);
struct address address_target(const struct address *to);

/* How well one that is bound to `bound` fits what is for `to`: 0 not at all; the more the closer. */
int address_fits(const struct address *bound, int only_ip6, const struct address *to);

#endif

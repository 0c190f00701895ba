/* Names: addresses looked up without blocking a loop, and connections made by name. They are a library of their own,
 * proa-name, which needs c-ares. */
#ifndef PROA_NAME_H
#define PROA_NAME_H

#include "op.h"
#include "socket.h"

PROA_BEGIN

/* Whom to ask. It belongs to its loop's thread. */
typedef struct proa_resolver proa_resolver;

/* Zero in any field means the default. */
typedef struct proa_resolver_options {
    const char *servers;    /* "192.0.2.1,[2001:db8::1]:5353" (those of /etc/resolv.conf) */
    const char *search;     /* domains to try behind a short name, "example.org example.net" (as in /etc/resolv.conf) */
    const char *hosts_path; /* names and addresses that need nobody's answer; "" for none ("/etc/hosts") */
    uint32_t timeout_ms;    /* what a server is given; doubled each time that all have been asked (2000) */
    uint32_t tries;         /* how often each server is asked (3) */
} proa_resolver_options;

/* `options` may be NULL. Reads /etc/resolv.conf, here and never again. Returns 0 or a negative errno; EINVAL: what
 * `servers` says is no list of addresses. */
PROA_API int proa_resolver_open(proa_loop *loop, const proa_resolver_options *options, proa_resolver **ret_resolver);

/* Before its loop is closed or after, from callbacks too. What is in flight on it ends with -ECANCELED. */
PROA_API void proa_resolver_close(proa_resolver *resolver);

/* Of each family the first half as many are looked at. */
enum { PROA_ADDRESSES_MAX = 16 };

/* The library's, between a lookup and its resolver. */
struct proa_inquirer {
    void (*heard)(struct proa_inquirer *inquirer);
    struct proa_inquiry *inquiry;
};

/* A lookup: the caller's, zero before its first use, and the loop's while `op` is in flight. */
typedef struct proa_lookup {
    proa_op op;
    proa_address addresses[PROA_ADDRESSES_MAX]; /* the best first (RFC 6724) */
    const char *reason;                         /* why it failed, in plain words */
    struct proa_inquirer inquirer;
} proa_lookup;

/* Looks up "example.org:443": the addresses of that name, with that port. What proa_address_parse() understands needs no
 * looking up. Cancels and deadlines are those of `lookup->op`, which is also what the callback is given.
 * value: how many addresses there are. ENOENT: there is no such name; ENODATA: it has no address. */
PROA_API void proa_resolve(proa_resolver *resolver, proa_lookup *lookup, const char *name, proa_callback *callback);

/* A connection being made by name: the caller's, zero before its first use, and the loop's while `op` is in flight. */
typedef struct proa_name_connect {
    proa_op op;
    proa_address peer;  /* whom it is connected to */
    const char *reason; /* why it failed, in plain words */
    struct proa_inquirer inquirer;
    proa_op delay;
    uint64_t next_ns;
    struct proa_name_attempt {
        proa_op op;
        struct proa_name_connect *connect;
        proa_address address, source;
        uint8_t state;
    } attempts[PROA_ADDRESSES_MAX];
    uint32_t count, pending, heard;
    int64_t value;
    uint16_t last_family;
    uint16_t is_over;
} proa_name_connect;

/* Looks up a name and connects to the first of its addresses that lets us, by the rules of RFC 8305: IPv6 and IPv4 take
 * turns, the next is tried after 250 ms or when one has failed, and all but the first that succeeds are closed.
 * value: the descriptor. */
PROA_API void proa_connect_name(proa_resolver *resolver, proa_name_connect *connect, const char *name,
                                proa_callback *callback);

PROA_END

#endif

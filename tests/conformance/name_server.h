/* A name server for tests, made of ops: it is on the loop of those who ask it, and so on their machine. It knows a few
 * names, and what to do badly about them. */
#ifndef TESTS_CONFORMANCE_NAME_SERVER_H
#define TESTS_CONFORMANCE_NAME_SERVER_H

#include "harness.h"

enum { RCODE_SERVFAIL = 2, RCODE_NXDOMAIN = 3, RCODE_REFUSED = 5 };

/* Of a name that begins with a dot: all names with that end. */
struct known_name {
    const char *name;
    const char *ip6, *ip4; /* addresses with spaces between them; null: none */
    unsigned rcode;
    unsigned drops[2];    /* so many questions are not answered: IPv6, IPv4 */
    bool is_truncated;    /* over UDP */
    uint64_t delay_ns[2]; /* of the answer */
    unsigned asked[2];
    unsigned asked_by_tcp;
};

struct name_server;

struct name_server *name_server_open(proa_loop *loop, struct known_name *names, size_t count);
const char *name_server_text(const struct name_server *server); /* for proa_resolver_options.servers */
void name_server_close(struct name_server *server);
void name_server_abandon(struct name_server *server); /* its loop was closed */

#endif

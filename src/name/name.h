/* How the parts of names fit together.
 *
 * An inquiry is one name that somebody, the inquirer, wants to know about: what its text says by itself and what the hosts
 * file knows is known at once; for the rest two questions go out, for IPv6 and IPv4 addresses. c-ares puts them into
 * messages and takes the answers apart. The rest is ours, and made of ops: its sockets (wire.c), so that they are a
 * simulated machine's where the loop is on one; and the time, which c-ares would take from a clock of its own. So each
 * channel of c-ares has one server and one try, and which server is asked next, and when, is a matter of timers
 * (question.c).
 *
 * c-ares can forget one question only together with all others. One that nobody waits for any more stays until its answer
 * comes, or until nobody waits for any.
 *
 * Inside of c-ares nothing is done but to take notes; resolver_attend() goes through them, last thing in every callback. */
#ifndef NAME_NAME_H
#define NAME_NAME_H

#include <ares.h>
#include <proa/loop.h>
#include <proa/name.h>

#include "name/hosts.h"

enum { SERVERS_MAX = 8, FOUND_MAX = PROA_ADDRESSES_MAX / 2, HOST_MAX = 256 };

/* So many names are asked about at a time, so that all answers fit a socket's buffer; others wait. */
enum { ASKING_MAX = 64 };

/* An address, and the one of this host that would be used with it; of size 0: none leads there. */
struct found {
    proa_address address, source;
};

/* The addresses of one family. It is quiet when nothing of it is in flight. */
struct question {
    struct proa_inquiry *inquiry;
    struct question *next_noted;
    int family;
    int is_noted;    /* c-ares said something since the last look */
    int is_settled;  /* `status` and `found` are final, and sources are looked for; */
    int is_answered; /* they are known, too */
    int status;      /* of c-ares: the latest answer */
    unsigned tries, outstanding;
    uint64_t until_ns; /* when the latest try has had its time */
    proa_op timer;
    struct found found[FOUND_MAX];
    unsigned count;
    struct probe {
        proa_op op;
        proa_fd fd;
        struct question *question;
    } probes[FOUND_MAX];
    unsigned probing;
};

struct proa_inquiry {
    proa_resolver *resolver;
    struct proa_inquirer *inquirer; /* null: nobody waits for it */
    struct proa_inquiry *next, *previous, *next_queued;
    int is_queued;
    int is_asking; /* it has one of the places that ASKING_MAX counts */
    int is_closed; /* its resolver was: it ends here */
    in_port_t port;
    char host[HOST_MAX];          /* empty: it was an address, which is in the first of the questions */
    struct question questions[2]; /* IPv6, IPv4 */
};

struct queue {
    struct proa_inquiry *first, *last;
};

/* One name server: a channel of c-ares that knows no other. */
struct server {
    proa_resolver *resolver;
    ares_channel channel;
    struct wire *wires;
};

struct proa_resolver {
    proa_loop *loop;
    uint64_t timeout_ns;
    uint32_t tries;
    struct server servers[SERVERS_MAX];
    unsigned server_count;
    struct hosts hosts;
    struct proa_inquiry *first, *last; /* all, in the order of their start */
    struct queue addresses;            /* those to be told what they said themselves; */
    struct queue arriving;             /* those that wait for the hosts file; */
    struct queue waiting;              /* and for a place to ask */
    struct question *noted;
    unsigned asking;      /* inquiries that ask */
    unsigned outstanding; /* questions that c-ares has */
    unsigned users;       /* inquiries and wires: they need it until they are gone */
    int next_handle;
    int is_attending, is_closed;
    int is_ending; /* its loop is closing */
};

/* resolver.c */
void resolver_attend(proa_resolver *resolver);
void resolver_note(struct question *question);
void queue_append(struct queue *queue, struct proa_inquiry *inquiry);

/* wire.c */
extern const struct ares_socket_functions wire_functions;
void wire_wanted(void *context, ares_socket_t handle, int readable, int writable);
int wires_write(struct server *server);

/* question.c */
void question_begin(struct proa_inquiry *inquiry, struct question *question, int family);
void question_ask(struct question *question);
void question_add(struct question *question, const struct sockaddr *address);
void question_find_sources(struct question *question);
void question_look(struct question *question);
void question_leave(struct question *question);
int question_is_quiet(const struct question *question);

/* inquiry.c. The inquirer is told each time that one of the questions is answered, from resolver_attend(). */
int inquiry_begin(proa_resolver *resolver, struct proa_inquirer *inquirer, const char *name, const char **ret_reason);
void inquiry_know_address(struct proa_inquiry *inquiry);
int inquiry_know_local(struct proa_inquiry *inquiry);
void inquiry_ask(struct proa_inquiry *inquiry);
void inquiry_answered(struct proa_inquiry *inquiry);
int inquiry_is_answered(const struct proa_inquiry *inquiry);
void inquiry_leave(struct proa_inquirer *inquirer);
void inquiry_free_if_quiet(struct proa_inquiry *inquiry);
int inquiry_error(const struct proa_inquiry *inquiry, const char **ret_reason);

/* order.c: the destination address that is to be tried first goes first (RFC 6724). */
int order_compare(const struct found *a, const struct found *b);

#endif

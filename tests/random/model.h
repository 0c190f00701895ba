/* The reference: what completions are allowed. Plain bookkeeping, no I/O.
 *
 * The runner tells it every start, cancel, deadline and completion. Each completion is judged against the set of results
 * that the contract allows at that moment; where the set has one member, that is the one. It also knows which ops must end
 * although nothing more is done (`model_due`): a loop that sleeps on them hangs. Contents are compared at the end, when
 * it is known how many bytes of each send were taken: what a stream delivered must be a beginning of just these. */
#ifndef TESTS_RANDOM_MODEL_H
#define TESTS_RANDOM_MODEL_H

#include <proa/proa.h>

#include "program.h"

/* The program's ops, one that closes each descriptor in the end, and one that empties each
 * socket. */
enum { FIRST_CLOSER = OPS, FIRST_DRAIN = OPS + FDS, OPS_IN_ALL = OPS + FDS + FDS };

/* Says what is wrong and does not return. `what` is the same for failures of the same kind. */
_Noreturn void model_fails(const char *what, const char *format, ...) __attribute__((format(printf, 2, 3)));

void model_begin(void);
void model_turn(void);                       /* the loop is about to turn */
void model_pairing(void);                    /* a connection is being made, */
void model_pair(int connection, bool local); /* and is there */
void model_datagrams(int pair);              /* two sockets are there */
void model_start(const struct step *step, uint64_t when_ns);
void model_cancel(int op);
void model_deadline(int op, uint64_t when_ns);
void model_close_loop(void);
void model_link_begin(void); /* what is started between these two is linked */
void model_link_end(void);
void model_drain(void); /* from now on there is a receive on every stream that is open */

struct observation {
    int64_t value;
    uint32_t flags;
    uint64_t now_ns;
    uint64_t sent;    /* proa_sent() */
    const char *data; /* of a receive or read */
    uint64_t size;    /* of the file: stat; of a datagram, as it was sent */
    bool from_peer;   /* so the datagram says */
};

/* Returns the op linked behind one that has ended, or -1: it is its turn after the callback. */
int model_completion(int op, const struct observation *seen);
void model_go_on(int op);
void model_buffers(int kept); /* lent at the moment */

/* True where a step may be made. */
bool model_idle(int op);
bool model_is_there(int fd);
bool model_is_open(int fd); /* or will be once the turn comes of what is linked now */
bool model_is_vacant(int fd);
bool model_is_named(int fd);           /* by a connect that may still have to read the address */
bool model_may_make(void);             /* a descriptor: no op is under way on a closed number that could become its */
bool model_fits(int stream, int size); /* a send of that size can be kept book of */

bool model_is_countable(int socket); /* a datagram more can be kept book of */

/* An op that must end, or move, by itself: its index, or -1. A relaxed send does so only if something else wakes the
 * loop: `with_relaxed` asks for those, too. */
int model_due(bool with_relaxed);

/* Every send has bytes of its own: `serial` counts them. */
char content_of_send(uint32_t serial, uint64_t offset);
char content_of_file(uint64_t offset);

/* Whether it names its descriptor as that of the op before it. */
bool model_by_link(int op);

const char *model_kind_name(int op);

/* After the loop was closed: every op has ended, and all that was received is right. */
void model_end(void);

#endif

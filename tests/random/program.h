/* Random programs: a program is data, a short list of steps, each a call of the public interface and small arguments.
 *
 * A step names an op (A), a descriptor (B), an amount (C) and an offset (D). It runs when its turn comes, or in the
 * callback of the next final completion of an op (`after`). One whose condition does not hold then (a busy op, a
 * descriptor that is not there) is skipped: so every list of steps is a valid program, a shrunk one too. A link that is
 * open ends at the latest where the loop runs.
 *
 * Condition and call are written once, here, in words that two places define: run.c, where the words also tell the
 * model what is going on, and the head of a printed program (print.c), where they are as short as can be. */
#ifndef TESTS_RANDOM_PROGRAM_H
#define TESTS_RANDOM_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    OPS = 12,
    CONNECTIONS = 3,
    STREAMS = 2 * CONNECTIONS, /* both ends of a connection, side by side */
    FILES = 2,
    LISTENERS = 2, /* TCP, Unix */
    FIRST_FILE = STREAMS,
    FIRST_LISTENER = STREAMS + FILES,
    FIRST_DATAGRAM = FIRST_LISTENER + LISTENERS, /* UDP and UDP, Unix and Unix; the second of them is connected */
    DATAGRAM_PAIRS = 2,
    FDS = FIRST_DATAGRAM + 2 * DATAGRAM_PAIRS,
    STEPS_MAX = 48,
    RECEIVE_MAX = 4096,
    SEND_MAX = 300000,
    BUFFERS = 4, /* of the pool */
    BUFFER_SIZE = 512,
    TICK_NS = 100000, /* what times are counted in */
    NEVER_TICKS = 99,
    BACKLOG = 64,
    LINK_MAX = 5,
    PIECES = 3,         /* of vectors: the middle one is empty */
    SEND_BUFFER = 8192, /* of every connection, so that large sends have to wait */
};

/* What B is an index of. */
enum target { NOTHING, STREAM, FILE_SLOT, LISTENER, CONNECTION, DATAGRAM, DATAGRAM_PAIR, ANY_FD };

/* What C is drawn from. */
enum amount { NONE, TICKS, RECEIVE_SIZE, SEND_SIZE, DATAGRAM_SIZE, FILE_SIZE, SWITCH, THREE };

enum step_trait {
    STARTS = 1 << 0, /* op A */
    MAKES = 1 << 1,  /* a descriptor */
    ALONE = 1 << 2,  /* runs the loop, or says which steps are linked: not from a callback */
    FINE = 1 << 3,   /* ends by itself, whatever else happens */
    LEAVES = 1 << 4, /* an op linked behind it may name its descriptor, B, as PROA_LINKED */
};

/* X(name, traits, target of B, amount C, weight, condition, call) */
#define STEPS(X)                                                                                                      \
    X(TIMER, STARTS | FINE, NOTHING, TICKS, 6, idle(A), proa_timer(loop, &op[A], soon(C), done))                      \
    X(TIMER_REPEAT, STARTS, NOTHING, TICKS, 3, idle(A), proa_timer_repeat(loop, &op[A], soon(C), interval(C), done))  \
    X(POST, STARTS | FINE, NOTHING, NONE, 3, idle(A), proa_post(loop, &op[A], done))                                  \
    X(WORK, STARTS | FINE, NOTHING, NONE, 3, idle(A), proa_work(loop, &op[A], work, done))                            \
    X(WORK_POSTS, STARTS | FINE, NOTHING, NONE, 3, idle(A) && may_post(A), proa_work(loop, &op[A], work_posts, done)) \
    X(PAIR, ALONE | MAKES, CONNECTION, SWITCH, 8, vacant(2 * B) && vacant(2 * B + 1), pair(B, C))                     \
    X(RECV, STARTS | LEAVES, STREAM, RECEIVE_SIZE, 14, idle(A) && is_open(B),                                         \
      proa_recv(loop, &op[A], on(A, B), in[A], C, done))                                                              \
    X(RECV_MANY, STARTS | LEAVES, STREAM, NONE, 8, idle(A) && is_open(B),                                             \
      proa_recv_many(loop, &op[A], on(A, B), pool, done))                                                             \
    X(KEEP, 0, NOTHING, SWITCH, 6, 1, keep = C)                                                                       \
    X(RETURN, 0, NOTHING, THREE, 4, 1, return_kept(C))                                                                \
    X(SEND, STARTS | LEAVES, STREAM, SEND_SIZE, 18, idle(A) && is_open(B) && fits(B, C),                              \
      proa_send(loop, &op[A], on(A, B), fill(A, C), C, done))                                                         \
    X(SEND_RELAXED, STARTS | LEAVES, STREAM, SEND_SIZE, 10, idle(A) && is_open(B) && fits(B, C),                      \
      proa_send_relaxed(loop, &op[A], on(A, B), fill(A, C), C, done))                                                 \
    X(SHUTDOWN, STARTS | LEAVES, STREAM, THREE, 4, idle(A) && is_open(B),                                             \
      proa_shutdown(loop, &op[A], on(A, B), C, done))                                                                 \
    X(POLL, STARTS | LEAVES, STREAM, SWITCH, 5, idle(A) && is_open(B),                                                \
      proa_poll(loop, &op[A], on(A, B), C ? POLLOUT : POLLIN, done))                                                  \
    X(CLOSE, STARTS | FINE, ANY_FD, NONE, 6, idle(A) && is_open(B), proa_close(loop, &op[A], leaving(A, B), done))    \
    X(LISTEN, STARTS | FINE | MAKES | LEAVES, LISTENER, NONE, 3, idle(A) && vacant(B) && unnamed(B),                  \
      proa_listen(loop, &op[A], address_for(A, B), BACKLOG, PROA_LISTEN_REPLACE, done))                               \
    X(ACCEPT, STARTS | MAKES, LISTENER, NONE, 4, idle(A) && is_open(B), proa_accept(loop, &op[A], on(A, B), done))    \
    X(ACCEPT_MANY, STARTS | MAKES, LISTENER, NONE, 2, idle(A) && is_open(B),                                          \
      proa_accept_many(loop, &op[A], on(A, B), done))                                                                 \
    X(CONNECT, STARTS | FINE | MAKES, LISTENER, NONE, 5, idle(A) && is_there(B),                                      \
      proa_connect(loop, &op[A], &address[B - FIRST_LISTENER], done))                                                 \
    X(OPEN, STARTS | FINE | MAKES | LEAVES, FILE_SLOT, NONE, 4, idle(A) && vacant(B),                                 \
      proa_open(loop, &op[A], PROA_CWD, path_for(A, B), how, done))                                                   \
    X(READ, STARTS | FINE | LEAVES, FILE_SLOT, FILE_SIZE, 5, idle(A) && is_open(B),                                   \
      proa_read(loop, &op[A], on(A, B), in[A], C, D, done))                                                           \
    X(WRITE, STARTS | FINE | LEAVES, FILE_SLOT, FILE_SIZE, 5, idle(A) && is_open(B),                                  \
      proa_write(loop, &op[A], on(A, B), fill_file(A, C, D), C, D, done))                                             \
    X(READV, STARTS | FINE | LEAVES, FILE_SLOT, FILE_SIZE, 3, idle(A) && is_open(B),                                  \
      proa_readv(loop, &op[A], on(A, B), cut(A, in[A], C), PIECES, D, done))                                          \
    X(WRITEV, STARTS | FINE | LEAVES, FILE_SLOT, FILE_SIZE, 3, idle(A) && is_open(B),                                 \
      proa_writev(loop, &op[A], on(A, B), cut(A, fill_file(A, C, D), C), PIECES, D, done))                            \
    X(FSYNC, STARTS | FINE | LEAVES, FILE_SLOT, NONE, 2, idle(A) && is_open(B),                                       \
      proa_fsync(loop, &op[A], on(A, B), done))                                                                       \
    X(STAT, STARTS | FINE | LEAVES, FILE_SLOT, NONE, 3, idle(A) && is_open(B),                                        \
      proa_stat(loop, &op[A], on(A, B), "", 0, STATX_BASIC_STATS, &status[A], done))                                  \
    X(DATAGRAMS, ALONE | MAKES, DATAGRAM_PAIR, NONE, 6,                                                               \
      vacant(FIRST_DATAGRAM + 2 * B) && vacant(FIRST_DATAGRAM + 2 * B + 1), datagrams(B))                             \
    X(RECV_FROM, STARTS | LEAVES, DATAGRAM, RECEIVE_SIZE, 8, idle(A) && is_open(B),                                   \
      proa_recv_from(loop, &op[A], on(A, B), in[A], C, &arrived[A], done))                                            \
    X(RECV_FROM_MANY, STARTS | LEAVES, DATAGRAM, NONE, 4, idle(A) && is_open(B),                                      \
      proa_recv_from_many(loop, &op[A], on(A, B), pool, done))                                                        \
    X(SEND_TO, STARTS | LEAVES, DATAGRAM, DATAGRAM_SIZE, 14, idle(A) && is_open(B) && is_countable(B),                \
      proa_send_to(loop, &op[A], on(A, B), datagram(A, B, C), done))                                                  \
    X(CANCEL, 0, NOTHING, NONE, 12, 1, proa_cancel(cancelled(A)))                                                     \
    X(DEADLINE, 0, NOTHING, TICKS, 10, 1, proa_set_deadline(&op[A], limit(A, C)))                                     \
    X(LINK_BEGIN, ALONE, NOTHING, NONE, 6, !is_linking(), begin_link())                                               \
    X(LINK_END, ALONE, NOTHING, NONE, 0, is_linking(), end_link())                                                    \
    X(STOP, 0, NOTHING, NONE, 1, 1, proa_loop_stop(loop))                                                             \
    X(WAKE, 0, NOTHING, NONE, 1, 1, proa_loop_wake(loop))                                                             \
    X(TURN, ALONE, NOTHING, NONE, 14, 1, turn(PROA_NO_WAIT))                                                          \
    X(TURN_ONCE, ALONE, NOTHING, NONE, 8, 1, turn_once())                                                             \
    X(RUN_FOR, ALONE, NOTHING, TICKS, 3, C != NEVER_TICKS, run_for(C))                                                \
    X(CLOSE_LOOP, ALONE, NOTHING, NONE, 1, 1, close_loop())

enum step_kind {
#define STEP_ENUM(name, ...) STEP_##name,
    STEPS(STEP_ENUM)
#undef STEP_ENUM
        STEP_KINDS
};

struct step {
    uint8_t kind;
    uint8_t after; /* 0: in its turn; else 1 + the op whose completion it waits for */
    int a, b, c, d;
};

struct program {
    struct step steps[STEPS_MAX];
    size_t count;
};

struct step_row {
    const char *name;
    unsigned traits;
    enum target target;
    enum amount amount;
    unsigned weight;
    const char *condition, *call;
};

extern const struct step_row step_rows[STEP_KINDS];

/* The same seed gives the same program. */
void program_generate(struct program *program, uint64_t seed);

/* As C that compiles with the public headers alone: `why`, in its head, is what it shows. */
void program_print(const struct program *program, const char *engine, const char *why, FILE *file);

/* Removes steps and lowers arguments as long as `fails` says so, which may take its time. Returns the number of
 * candidates tried. */
typedef bool program_predicate(const struct program *program, void *context);
size_t program_shrink(struct program *program, program_predicate *fails, void *context);

#endif

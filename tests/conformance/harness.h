/* What all conformance tests share. A test is `name ENGINE`, `name ENGINE+FEATURE` or `name ENGINE:LANE`: it opens loops on
 * that engine, with that feature or file lane, and exits with 77 where they are not available. Trouble while a test sets its stage is fatal; what the test is about goes through CHECK. */
#ifndef TESTS_CONFORMANCE_HARNESS_H
#define TESTS_CONFORMANCE_HARNESS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <proa/proa.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../check.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define MS PROA_MILLISECOND_NS

/* The life of a test: begin, cases, check_done(). A case that takes longer than the limit is reported as hung. */
void test_begin(int argc, char **argv, const char *name);
void test_case(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *test_case_name(void);
const char *test_engine(void);
bool test_lane(
    const char *name);     /* the loops have that file lane, by default "pool", or "" where the engine needs none */
bool test_simulated(void); /* the loops are on a machine, whose calls the test's own are, and where time is virtual */
bool test_has(uint32_t features);      /* the test runs with one of them, PROA_FEATURE_... */
bool test_hands_over(void);            /* other threads make the calls of its ops, each when it has its turn */
bool test_slow(void);                  /* under a sanitizer: do less of what is only more of the same */
unsigned test_rounds(unsigned rounds); /* fewer where it is slow, or where each waits for another thread's turn */
_Noreturn void test_fatal(const char *file, int line, const char *what);

#define REQUIRE(cond) ((cond) ? (void)0 : test_fatal(__FILE__, __LINE__, #cond))

/* CHECK, and the case where it did not hold. */
#define HOLDS(cond) (CHECK(cond) ? 1 : (fprintf(stderr, "    in case: %s\n", test_case_name()), 0))

/* Loops on the engine under test. Zero means the default. */
proa_loop *loop_open(void);
proa_loop *loop_open_sized(uint32_t queue_entries);
proa_loop *loop_open_with(proa_loop_options options);

#define RUN_UNTIL(loop, cond)                 \
    do {                                      \
        while (!(cond))                       \
            proa_loop_run((loop), PROA_ONCE); \
    } while (0)

/* Runs the loop for that long: for what must not happen. What must is waited for with RUN_UNTIL, as long as it takes. */
void loop_run_for(proa_loop *loop, uint64_t ns);

/* Whether there comes a time of that length in which the loop has next to nothing to do. */
bool loop_rests(proa_loop *loop, uint64_t ns, uint64_t wake_ups_max);

/* An op with all that became of it. Zero it before use; slot_done is its callback. */
struct slot {
    proa_op op;
    void (*then)(struct slot *slot, proa_result result);
    void *context;
    int64_t value; /* of the latest completion, as flags, buffer, order and at_ns */
    uint64_t bytes;
    uint64_t order;
    uint64_t at_ns;
    uint32_t flags, buffer;
    uint32_t finals, mores;
};

void slot_done(proa_op *op, proa_result result);
uint64_t slot_orders(void);                             /* completions so far, of all slots */
int64_t slot_value(proa_loop *loop, struct slot *slot); /* once its op has ended, with one completion */

/* Set around a call that starts, cancels or posts: a completion while it is set breaks rule 3. */
extern bool test_in_call;
extern unsigned test_reentered;

#define CALL(statement)       \
    do {                      \
        test_in_call = true;  \
        statement;            \
        test_in_call = false; \
    } while (0)

/* What a whole op comes to: VALUE(proa_fsync, loop, fd). */
#define VALUE(function, loop, ...)                                 \
    ({                                                             \
        struct slot slot_ = {0};                                   \
                                                                   \
        CALL(function((loop), &slot_.op, __VA_ARGS__, slot_done)); \
        slot_value((loop), &slot_);                                \
    })

/* Sockets. "Far" ends are plain non-blocking descriptors, outside the library. */
enum family { TCP, UNIX };

proa_address address_any(enum family family); /* port 0, or a fresh path */
proa_fd listen_on(proa_loop *loop, enum family family, int backlog, proa_address *ret_bound);
int far_connect(const proa_address *address);
void pair_open(proa_loop *loop, enum family family, proa_fd *ret_near, int *ret_far);
void pair_open_inside(proa_loop *loop, enum family family, proa_fd *ret_near, proa_fd *ret_far);
proa_fd datagrams_on(proa_loop *loop, const char *local, unsigned flags, proa_address *ret_bound);
proa_fd datagrams_to(proa_loop *loop, const proa_address *peer);
int far_datagrams(const char *local, proa_address *ret_bound);
void close_now(proa_loop *loop, proa_fd fd);
void close_plain(int fd);        /* a direct one ended with its loop */
void fd_keep(int fd);            /* for fds_close(): what an op made is proa_close()'s while its loop is open */
void fds_close(proa_loop *loop); /* null once the loop is closed */
void set_size(int fd, int option, int size);      /* SO_SNDBUF, SO_RCVBUF; a direct one has a small SO_SNDBUF anyway */
size_t far_fill(int fd);                          /* writes until it would block */
size_t far_drain(int fd);                         /* reads until it would block or ends */
bool far_wait(int fd);                            /* until there is something to read */
size_t far_read(int fd, void *data, size_t size); /* waits for all of it, or the end */
bool far_ended(int fd);                           /* end of stream, or reset; waits for it */
bool fd_is_open(int fd);

/* A listener whose accept queue is full, so that a connect to it waits. */
int full_listener(proa_address *ret_address, int *ret_filler);

/* Files in a folder that goes away with the test. */
const char *temp_path(const char *name); /* static storage of some turns */
const char *temp_fresh(const char *stem);
int temp_file(const char *name, const void *data, size_t size); /* a plain descriptor, open for both */

/* Bytes that tell where in the stream they belong. */
void pattern_fill(void *data, size_t size, uint64_t offset);
bool pattern_holds(const void *data, size_t size, uint64_t offset);

/* What the process holds and has used. */
int fd_count(void);
size_t map_count(void);
uint64_t heap_calls(void); /* malloc, calloc, realloc and friends, so far, of all threads */
int64_t heap_live(void);   /* blocks not freed; 0 on a machine, whose files and connections are blocks, too */
bool heap_is_back_at(int64_t blocks); /* of heap_live(); engine `threads` is not asked for a balance */
void heap_ignore(bool ignore);        /* what this thread allocates from now on */
uint64_t cpu_ns(void);                /* of this thread */
uint64_t cpu_process_ns(void);
uint64_t clock_ns(void);
void sleep_ms(unsigned ms);
void threads_await_rest(void); /* until all others of the process have started, and sleep */
uint32_t random_below(uint32_t limit);

/* Children. What they print on stderr is kept, its first 4 KiB. */
struct child_report {
    int status; /* as of waitpid(2) */
    char text[4096];
};

void child_run(void (*function)(void *), void *argument, struct child_report *ret_report);
bool child_aborts(const char *name, void (*function)(void *), void *argument); /* SIGABRT, the message has `name` */
bool child_passes(void (*function)(void *), void *argument); /* exits 0: it returned and every REQUIRE held */

#endif

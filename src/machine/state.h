/* What a machine is made of, for its own files.
 *
 * One lock guards all of it: a call takes it in call_begin() and gives it back in call_end(); whatever is below runs with
 * the lock held. Randomness is drawn in the order of what happens, and nothing that happens depends on addresses, on the
 * clock of the host or on the timing of threads: so the same seed gives the same run. */
#ifndef PROA_MACHINE_STATE_H
#define PROA_MACHINE_STATE_H

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "machine/machine.h"

enum call_name {
#define CALL_ENUM(name) CALL_##name,
    PROA_SIM_CALLS(CALL_ENUM)
#undef CALL_ENUM
        CALL_COUNT
};

/* What is to happen at a time; the first member of what it needs for that, and allocated with it. */
struct event {
    uint64_t when_ns;
    uint64_t sequence; /* equal times keep the order in which they were planned */
    void (*happen)(proa_sim *machine, struct event *event);
    void (*drop)(struct event *event); /* gives back what it holds, after it happened or as the machine is closed */
};

/* What a descriptor stands for: the first member of it. */
struct file {
    const struct file_kind *kind;
    uint64_t serial;      /* tells it from all others, ever */
    uint32_t descriptors; /* that stand for it */
};

struct file_kind {
    unsigned mode;  /* type bits of its status */
    int watchable;  /* else it is always ready */
    int has_offset; /* else a transfer with an offset is ESPIPE */
    ssize_t (*read)(proa_sim *machine, struct file *file, void *data, size_t size, uint64_t offset);
    ssize_t (*write)(proa_sim *machine, struct file *file, const void *data, size_t size, uint64_t offset);
    unsigned (*poll)(const proa_sim *machine, const struct file *file);
    void (*close)(proa_sim *machine, struct file *file);
};

struct plan {
    uint32_t skip, times;
    int error;
    uint32_t size_max;
};

struct program;
struct sock;
struct node;

struct proa_sim {
    pthread_mutex_t lock;
    proa_sim_options options; /* with the defaults filled in */
    uint64_t now_ns;
    uint64_t random;
    uint64_t digest;
    uint64_t serials, sequences; /* latest */
    struct event **events;       /* a binary heap */
    size_t event_count, event_room;
    struct file **descriptors; /* options.descriptors_max of them */
    uint32_t descriptor_limit; /* no number from here on is given */
    uint32_t descriptor_high;  /* no number from here on was ever used */
    struct program *programs;  /* in the order of their coming */
    struct program *running;
    int asleep;  /* nothing can happen unless a thread from outside makes it */
    int stalled; /* nothing could happen, at some time */
    struct sock *bound;
    struct node *root;
    uint64_t disk_used;
    uint64_t signals; /* pending ones, a bit each */
    struct plan plans[CALL_COUNT];
};

/* machine.c: descriptors */

/* One call from its start to its end. `size`, where there is one, may be cut by a plan. */
struct call {
    proa_sim *machine;
    enum call_name name;
    int fd;
    size_t size;
};

/* Takes the lock and lets time pass. Returns 0, or the error planned for the call. */
int64_t call_begin(struct call *call, proa_sim *machine, enum call_name name, int fd, size_t *size);
int64_t call_end(struct call *call, int64_t result);

/* The open file, or null. */
struct file *descriptor_file(const proa_sim *machine, int fd);

/* -EMFILE where the next descriptor_add() would find none. */
int descriptor_lacks(proa_sim *machine);

/* Gives the file its number. Where there is none it is closed at once, and -EMFILE returned. */
int descriptor_add(proa_sim *machine, struct file *file, const struct file_kind *kind);

/* Frees the number; the file is closed with its last one. */
void descriptor_remove(proa_sim *machine, int fd);

/* Memory of zeros. A host without memory ends the program: a simulation could not go on from there. */
void *machine_allocate(size_t size);
void *machine_grow(void *memory, size_t size);

/* clock.c: events, randomness */

void event_plan(proa_sim *machine, struct event *event, uint64_t when_ns);
void events_happen(proa_sim *machine);
void events_drop(proa_sim *machine);
uint64_t event_next_ns(const proa_sim *machine);
uint64_t draw(proa_sim *machine, uint64_t limit);
int chance(proa_sim *machine, uint32_t parts_per_million);

#define CHANCE(machine, name) chance((machine), (machine)->options.chances.name)

/* `size`, or now and then less of it, but not nothing. */
size_t shorten(proa_sim *machine, uint32_t parts_per_million, size_t size);

/* Between a tenth of it and all. */
uint64_t draw_latency(proa_sim *machine, uint64_t most_ns);

/* trace.c */

void trace_call(const struct call *call, int64_t result);
void trace_program(proa_sim *machine, const char *name, const char *what);
void trace_event(proa_sim *machine, const char *what, uint64_t serial, uint64_t size);

/* program.c */

/* The calling program has the machine, and is on it. */
int program_is_running(const proa_sim *machine);
const char *program_name(const proa_sim *machine);

/* Hands the machine to the next program, and lets the clock jump if need be. */
void dispatch(proa_sim *machine);

#endif

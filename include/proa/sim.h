/* A simulated machine to test programs on: a virtual clock, a network and a disk, all from one seed. Same seed, same run.
 * proa_sim(7) tells how it is used and what it does as Linux does. */
#ifndef PROA_SIM_H
#define PROA_SIM_H

#include <stddef.h>
#include <stdint.h>

#include "api.h"

PROA_BEGIN

typedef struct proa_sim proa_sim;

/* What may happen by chance: X(name, rough, meaning). Parts per million of the occasions; proa_sim_rough() sets `rough`. */
#define PROA_SIM_CHANCES(X)                                                          \
    X(short_recv, 100000, "a receive takes fewer bytes than are there")              \
    X(short_send, 100000, "a send takes fewer bytes than there is room for")         \
    X(split, 200000, "what one send took arrives in several parts")                  \
    X(late_report, 100000, "a wait leaves out a descriptor that is ready")           \
    X(interrupted, 10000, "a call that moves bytes fails with EINTR")                \
    X(refused, 10000, "a TCP connection is refused")                                 \
    X(reset, 2000, "a TCP connection breaks under a send: both ends get ECONNRESET") \
    X(aborted, 5000, "a connection is gone before it is accepted: ECONNABORTED")     \
    X(no_descriptor, 2000, "no descriptor is free: EMFILE")                          \
    X(short_read, 50000, "a read of a file takes fewer bytes than are there")        \
    X(short_write, 50000, "a write to a file takes fewer bytes than it is given")    \
    X(read_error, 1000, "a read of a file fails with EIO")                           \
    X(write_error, 1000, "a write to a file, or its fsync, fails with EIO")          \
    X(disk_full, 1000, "a write to a file fails with ENOSPC")                        \
    X(slow_disk, 10000, "the disk needs a hundred times as long")                    \
    X(cold_file, 200000, "what is sent from a file is not in memory")                \
    X(slow_network, 10000, "bytes are under way a hundred times as long")            \
    X(datagram_lost, 20000, "a datagram is lost")                                    \
    X(datagram_doubled, 10000, "a datagram arrives twice")                           \
    X(datagram_late, 50000, "a datagram is overtaken by those behind it")

struct proa_sim_chances {
#define PROA_SIM_CHANCE_FIELD(name, rough, meaning) uint32_t name;
    PROA_SIM_CHANCES(PROA_SIM_CHANCE_FIELD)
#undef PROA_SIM_CHANCE_FIELD
};

/* The machine's calls, by the names that the trace and proa_sim_fault() use. */
#define PROA_SIM_CALLS(X) \
    X(socket)             \
    X(bind)               \
    X(listen)             \
    X(accept)             \
    X(connect)            \
    X(socketpair)         \
    X(getsockopt)         \
    X(setsockopt)         \
    X(getsockname)        \
    X(getpeername)        \
    X(recv)               \
    X(send)               \
    X(recvmsg)            \
    X(sendmsg)            \
    X(sendfile)           \
    X(shutdown)           \
    X(dup)                \
    X(seek)               \
    X(close)              \
    X(open)               \
    X(read)               \
    X(write)              \
    X(fsync)              \
    X(stat)               \
    X(truncate)           \
    X(allocate)           \
    X(getdents)           \
    X(mkdir)              \
    X(unlink)             \
    X(rename)             \
    X(link)               \
    X(symlink)            \
    X(readlink)           \
    X(pipe)               \
    X(splice)             \
    X(tee)                \
    X(vmsplice)           \
    X(eventfd)            \
    X(signalfd)           \
    X(poll)

/* Zero in any field means the default. */
typedef struct proa_sim_options {
    uint64_t seed;                   /* default 1 */
    struct proa_sim_chances chances; /* default: none of it happens */
    uint64_t latency_ns;             /* of the network, at most: each connection draws its own (200 us) */
    uint64_t disk_latency_ns;        /* of one file op, at most: each draws its own (2 ms) */
    uint64_t disk_size;              /* bytes that all files may have together (1 GiB) */
    uint32_t disk_queue;             /* file ops, and as many functions, that a loop runs at a time (4) */
    uint32_t socket_buffer;          /* bytes on their way to a socket or unread in it (64 KiB) */
    uint32_t backlog_max;            /* caps the backlog of listeners (4096) */
    uint32_t descriptors_max;        /* numbers are below it (1024) */
    int awaits_outside;              /* threads outside may post to its loops: a wait without end sleeps for them */
    void (*trace)(void *context, const char *line); /* is given every call and event; may not use the machine */
    void *trace_context;
} proa_sim_options;

/* Fills in every chance as rough weather has it. */
PROA_API void proa_sim_rough(proa_sim_options *options);

/* `options` may be NULL. Returns 0 or a negative errno. */
PROA_API int proa_sim_open(proa_sim **ret_sim, const proa_sim_options *options);

/* No loop may be open on it, and nobody may be in it. */
PROA_API void proa_sim_close(proa_sim *sim);

/* Makes the calling thread a program of the machine, called "main": the loops it opens until it leaves are on the machine,
 * by default or by the engine's name "sim"; any other engine is refused with -EINVAL. Returns 0 or a negative errno. */
PROA_API int proa_sim_enter(proa_sim *sim);
PROA_API void proa_sim_leave(void);

typedef void proa_sim_program(proa_sim *sim, void *argument);

/* Adds a program: a thread that is in the machine from its first line on. One program runs at a time, and another has its
 * turn only when a loop waits. `name` must stay. Returns 0 or a negative errno. */
PROA_API int proa_sim_spawn(proa_sim *sim, const char *name, proa_sim_program *function, void *argument);

/* Runs until every spawned program has returned. Returns 0, or -EDEADLK where at some time all of them waited for what
 * could never come: then, one after the other, their loops' runs returned early. */
PROA_API int proa_sim_run(proa_sim *sim);

/* The machine's clock, that of proa_now(). */
PROA_API uint64_t proa_sim_now(proa_sim *sim);

/* A signal to the whole machine; a signal op takes it. */
PROA_API void proa_sim_signal(proa_sim *sim, int signal_number);

/* After `skip` more calls of that name the next `times` fail with `error`, a negative errno, or, where that is 0, move at
 * most `size_max` bytes. One plan per name. Returns 0, or -EINVAL: there is no such call, or no
 * such errno. */
PROA_API int proa_sim_fault(proa_sim *sim, const char *call, uint32_t skip, uint32_t times, int error,
                            uint32_t size_max);

/* The machine's disk. Missing directories on the way are made. Each returns a negative errno, or 0; proa_sim_get_file()
 * the size of the file, of which at most `size` bytes are copied. */
PROA_API int proa_sim_make_directory(proa_sim *sim, const char *path);
PROA_API int proa_sim_put_link(proa_sim *sim, const char *path, const char *target);
PROA_API int proa_sim_put_file(proa_sim *sim, const char *path, const void *data, size_t size);
PROA_API int64_t proa_sim_get_file(proa_sim *sim, const char *path, void *data, size_t size);

/* A hash of the trace so far: two runs with the same digest were the same. */
PROA_API uint64_t proa_sim_digest(proa_sim *sim);

PROA_END

#endif

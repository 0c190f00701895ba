/* The system calls of tests on a simulated machine.
 *
 * The linker leads the calls named in meson.build here (--wrap). A thread that is in a machine has the machine's answer,
 * every other thread the host's: so far ends, files, pipes and signals are where the loops are, and tests name nothing
 * but the usual calls. The library's own calls come by, too; in a machine it makes none of these. */
#include "sim_calls.h"

#include <linux/openat2.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/resource.h>

#include "machine/state.h"

#define DISK_NS (2 * MS)
#define SLOW_DISK_NS (60 * PROA_SECOND_NS)

enum { DESCRIPTORS_MAX = 8192, STANDARD_STREAMS = 3 };

static proa_sim *machine; /* of the test's main thread */
static _Thread_local bool outside;

/* The machine that the calls go to, or null: the host. */
static proa_sim *machine_called(void)
{
    return outside ? NULL : machine_here();
}

void sim_step_out(void)
{
    outside = true;
}

void sim_step_in(void)
{
    outside = false;
}

/* The call's two names, declared: the wrapper, which is defined behind it, and the one it stands before. */
#define WRAPPED(type, name, ...)     \
    type __real_##name(__VA_ARGS__); \
    type __wrap_##name(__VA_ARGS__); \
    type __wrap_##name(__VA_ARGS__)

/* The machine's memory is a kernel's: it is no part of what a loop allocates. */

WRAPPED(void *, machine_allocate, size_t size)
{
    void *memory;

    heap_ignore(true);
    memory = __real_machine_allocate(size);
    heap_ignore(false);
    return memory;
}

WRAPPED(void *, machine_grow, void *memory, size_t size)
{
    heap_ignore(true);
    memory = __real_machine_grow(memory, size);
    heap_ignore(false);
    return memory;
}

static void close_machine(void)
{
    if (machine_entered() != machine)
        return; /* a child's or another thread's exit */
    proa_sim_leave();
    proa_sim_close(machine);
}

/* Of the shortest latency, so that what was sent is there with the next call, as over loopback. */
void sim_begin(void)
{
    const char *seed = getenv("PROA_SIM_SEED");
    proa_sim_options options = {
        .seed = seed ? strtoull(seed, NULL, 0) : 0,
        .latency_ns = 1,
        .disk_latency_ns = DISK_NS,
        .descriptors_max = DESCRIPTORS_MAX,
        .awaits_outside = 1,
    };

    REQUIRE(proa_sim_open(&machine, &options) == 0);
    REQUIRE(proa_sim_enter(machine) == 0);
    atexit(close_machine);
}

uint64_t sim_now_ns(void)
{
    proa_sim *here = machine_here();

    return here ? machine_now_ns(here) : 0;
}

bool sim_sleep_until(uint64_t time_ns)
{
    proa_sim *here = machine_here();

    return here && machine_wait(here, NULL, NULL, time_ns) == 0;
}

void sim_slow_disk(bool slow)
{
    proa_sim *here = machine_here();

    if (here)
        here->options.disk_latency_ns = slow ? SLOW_DISK_NS : DISK_NS;
}

bool sim_sleep_over_slow_disk(void)
{
    proa_sim *here = machine_here();

    return here && sim_sleep_until(proa_sim_now(here) + SLOW_DISK_NS);
}

int sim_fd_count(void)
{
    proa_sim *here = machine_here();
    uint64_t serial;
    int count = 0;

    for (int fd = 0; here && fd < (int)machine_descriptor_limit(here); fd++)
        count += machine_watchable(here, fd, &serial) != -EBADF;
    return here ? count : -1;
}

/* The machine that has the descriptor. The standard streams are always the host's. */
static proa_sim *machine_of(int fd)
{
    return fd < 0 || fd >= STANDARD_STREAMS ? machine_called() : NULL;
}

static long answer(long result)
{
    if (result >= 0)
        return result;
    errno = (int)-result;
    return -1;
}

/* The machine's calls never wait; those on a blocking descriptor are made to. By number: the serial of the open file. */

static uint64_t blocking[DESCRIPTORS_MAX];

static uint64_t serial_of(proa_sim *here, int fd)
{
    uint64_t serial;

    machine_watchable(here, fd, &serial);
    return serial;
}

static int note_mode(proa_sim *here, int fd, bool blocks)
{
    if (fd >= 0 && fd < DESCRIPTORS_MAX)
        blocking[fd] = blocks ? serial_of(here, fd) : 0;
    return fd;
}

static bool blocks(proa_sim *here, int fd, int flags)
{
    return !(flags & MSG_DONTWAIT) && fd >= 0 && fd < DESCRIPTORS_MAX && blocking[fd] &&
           blocking[fd] == serial_of(here, fd);
}

struct readiness {
    int fd;
    uint64_t serial;
    unsigned events;
};

static int is_ready(proa_sim *here, void *context)
{
    const struct readiness *awaited = context;

    return (machine_peek(here, awaited->fd, awaited->serial) & (awaited->events | POLLERR | POLLHUP)) != 0;
}

static bool await(proa_sim *here, int fd, unsigned events, uint64_t until_ns)
{
    struct readiness awaited = {fd, serial_of(here, fd), events};

    return machine_wait(here, is_ready, &awaited, until_ns) > 0;
}

/* CALL, again and again while it would block and may. */
#define PATIENTLY(here, fd, flags, events, call)                         \
    ({                                                                   \
        long result_;                                                    \
        while ((result_ = (call)) == -EAGAIN && blocks(here, fd, flags)) \
            REQUIRE(await(here, fd, events, UINT64_MAX));                \
        answer(result_);                                                 \
    })

/* Sockets */

WRAPPED(int, socket, int family, int type, int protocol)
{
    proa_sim *here = machine_called();

    if (!here)
        return __real_socket(family, type, protocol);
    return (int)answer(note_mode(here, machine_socket(here, family, type), !(type & SOCK_NONBLOCK)));
}

WRAPPED(int, socketpair, int family, int type, int protocol, int ret_pair[2])
{
    proa_sim *here = machine_called();
    int result;

    if (!here)
        return __real_socketpair(family, type, protocol, ret_pair);
    result = machine_socketpair(here, family, type, ret_pair);
    for (int i = 0; result == 0 && i < 2; i++)
        note_mode(here, ret_pair[i], !(type & SOCK_NONBLOCK));
    return (int)answer(result);
}

WRAPPED(int, bind, int fd, const struct sockaddr *address, socklen_t size)
{
    proa_sim *here = machine_of(fd);

    return here ? (int)answer(machine_bind(here, fd, address, size)) : __real_bind(fd, address, size);
}

WRAPPED(int, listen, int fd, int backlog)
{
    proa_sim *here = machine_of(fd);

    return here ? (int)answer(machine_listen(here, fd, backlog)) : __real_listen(fd, backlog);
}

WRAPPED(int, accept4, int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    proa_sim *here = machine_of(fd);

    if (!here)
        return __real_accept4(fd, address, size, flags);
    REQUIRE(address == NULL);
    return note_mode(here, (int)PATIENTLY(here, fd, 0, POLLIN, machine_accept(here, fd)), !(flags & SOCK_NONBLOCK));
}

WRAPPED(int, accept, int fd, struct sockaddr *address, socklen_t *size)
{
    return machine_of(fd) ? __wrap_accept4(fd, address, size, 0) : __real_accept(fd, address, size);
}

WRAPPED(int, connect, int fd, const struct sockaddr *address, socklen_t size)
{
    proa_sim *here = machine_of(fd);
    socklen_t error_size = sizeof(int);
    int result, error = 0;

    if (!here)
        return __real_connect(fd, address, size);
    result = (int)PATIENTLY(here, fd, 0, POLLOUT, machine_connect(here, fd, address, size));
    if (result == 0 || errno != EINPROGRESS || !blocks(here, fd, 0))
        return result;
    REQUIRE(await(here, fd, POLLOUT, UINT64_MAX));
    machine_getsockopt(here, fd, SOL_SOCKET, SO_ERROR, &error, &error_size);
    return (int)answer(-error);
}

WRAPPED(int, getsockopt, int fd, int level, int name, void *value, socklen_t *size)
{
    proa_sim *here = machine_of(fd);

    return here ? (int)answer(machine_getsockopt(here, fd, level, name, value, size))
                : __real_getsockopt(fd, level, name, value, size);
}

WRAPPED(int, setsockopt, int fd, int level, int name, const void *value, socklen_t size)
{
    proa_sim *here = machine_of(fd);

    return here ? (int)answer(machine_setsockopt(here, fd, level, name, value, size))
                : __real_setsockopt(fd, level, name, value, size);
}

WRAPPED(int, shutdown, int fd, int how)
{
    proa_sim *here = machine_of(fd);

    return here ? (int)answer(machine_shutdown(here, fd, how)) : __real_shutdown(fd, how);
}

WRAPPED(ssize_t, recv, int fd, void *data, size_t size, int flags)
{
    proa_sim *here = machine_of(fd);

    return here ? PATIENTLY(here, fd, flags, POLLIN, machine_recv(here, fd, data, size, flags))
                : __real_recv(fd, data, size, flags);
}

WRAPPED(ssize_t, send, int fd, const void *data, size_t size, int flags)
{
    proa_sim *here = machine_of(fd);

    return here ? PATIENTLY(here, fd, flags, POLLOUT, machine_send(here, fd, data, size, flags))
                : __real_send(fd, data, size, flags);
}

WRAPPED(ssize_t, sendmsg, int fd, const struct msghdr *message, int flags)
{
    proa_sim *here = machine_of(fd);

    return here ? PATIENTLY(here, fd, flags, POLLOUT, machine_sendmsg(here, fd, message, flags))
                : __real_sendmsg(fd, message, flags);
}

/* Files and pipes */

WRAPPED(int, open64, const char *path, int flags, ...)
{
    struct open_how how = {.flags = (unsigned)flags};
    proa_sim *here = machine_called();
    va_list more;

    va_start(more, flags);
    how.mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    return here ? (int)answer(machine_open(here, AT_FDCWD, path, &how)) : __real_open64(path, flags, how.mode);
}

WRAPPED(ssize_t, read, int fd, void *data, size_t size)
{
    proa_sim *here = machine_of(fd);

    return here ? PATIENTLY(here, fd, 0, POLLIN, machine_read(here, fd, data, size, UINT64_MAX))
                : __real_read(fd, data, size);
}

WRAPPED(ssize_t, write, int fd, const void *data, size_t size)
{
    proa_sim *here = machine_of(fd);

    return here ? PATIENTLY(here, fd, 0, POLLOUT, machine_write(here, fd, data, size, UINT64_MAX))
                : __real_write(fd, data, size);
}

WRAPPED(ssize_t, pread64, int fd, void *data, size_t size, off64_t offset)
{
    proa_sim *here = machine_of(fd);

    return here ? answer(machine_read(here, fd, data, size, (uint64_t)offset)) : __real_pread64(fd, data, size, offset);
}

WRAPPED(off64_t, lseek64, int fd, off64_t offset, int whence)
{
    proa_sim *here = machine_of(fd);

    return here ? answer(machine_seek(here, fd, offset, whence)) : __real_lseek64(fd, offset, whence);
}

WRAPPED(int, pipe2, int ret_ends[2], int flags)
{
    proa_sim *here = machine_called();
    int result;

    if (!here)
        return __real_pipe2(ret_ends, flags);
    result = machine_pipe(here, ret_ends);
    for (int i = 0; result == 0 && i < 2; i++)
        note_mode(here, ret_ends[i], !(flags & O_NONBLOCK));
    return (int)answer(result);
}

static int tell(proa_sim *here, const char *path, int flags, struct stat *ret_status)
{
    struct statx status = {0};
    int result = (int)answer(machine_statx(here, AT_FDCWD, path, flags, &status));

    *ret_status = (struct stat){.st_mode = status.stx_mode, .st_size = (off_t)status.stx_size};
    return result;
}

WRAPPED(int, stat64, const char *path, struct stat *ret_status)
{
    proa_sim *here = machine_called();

    return here ? tell(here, path, 0, ret_status) : __real_stat64(path, ret_status);
}

WRAPPED(int, lstat64, const char *path, struct stat *ret_status)
{
    proa_sim *here = machine_called();

    return here ? tell(here, path, AT_SYMLINK_NOFOLLOW, ret_status) : __real_lstat64(path, ret_status);
}

WRAPPED(int, access, const char *path, int mode)
{
    proa_sim *here = machine_called();
    struct stat status;

    return here ? tell(here, path, 0, &status) : __real_access(path, mode);
}

WRAPPED(int, mkdir, const char *path, mode_t mode)
{
    proa_sim *here = machine_called();

    return here ? (int)answer(machine_mkdir(here, AT_FDCWD, path, mode)) : __real_mkdir(path, mode);
}

WRAPPED(int, symlink, const char *target, const char *path)
{
    proa_sim *here = machine_called();

    return here ? (int)answer(machine_symlink(here, target, AT_FDCWD, path)) : __real_symlink(target, path);
}

WRAPPED(int, unlink, const char *path)
{
    proa_sim *here = machine_called();

    return here ? (int)answer(machine_unlink(here, AT_FDCWD, path, 0)) : __real_unlink(path);
}

/* A machine has no other folder of the name. */
WRAPPED(char *, mkdtemp, char *path)
{
    proa_sim *here = machine_called();

    if (!here)
        return __real_mkdtemp(path);
    return answer(proa_sim_make_directory(here, path)) == 0 ? path : NULL;
}

/* Descriptors */

WRAPPED(int, close, int fd)
{
    proa_sim *here = machine_of(fd);

    return here ? (int)answer(machine_close(here, fd)) : __real_close(fd);
}

/* Of a standard stream only a number is wanted. */
static int duplicate(proa_sim *here, int fd, int lowest)
{
    int stand_in, result;

    if (fd >= STANDARD_STREAMS)
        return machine_dup(here, fd, lowest);
    stand_in = machine_eventfd(here);
    if (stand_in < 0 || stand_in >= lowest)
        return stand_in;
    result = machine_dup(here, stand_in, lowest);
    machine_close(here, stand_in);
    return result;
}

WRAPPED(int, dup, int fd)
{
    proa_sim *here = machine_called();

    return here ? (int)answer(duplicate(here, fd, 0)) : __real_dup(fd);
}

WRAPPED(int, dup3, int fd, int target, int flags)
{
    proa_sim *here = machine_of(fd);

    if (!here)
        return __real_dup3(fd, target, flags);
    machine_close(here, target);
    return (int)answer(machine_dup(here, fd, target));
}

static int control(proa_sim *here, int fd, int command, long argument)
{
    if (command == F_DUPFD_CLOEXEC)
        return duplicate(here, fd, (int)argument);
    if (serial_of(here, fd) == 0)
        return -EBADF;
    switch (command) {
    case F_GETFD:
        return FD_CLOEXEC;
    case F_SETFL:
        note_mode(here, fd, !(argument & O_NONBLOCK));
        return 0;
    default:
        return -EINVAL;
    }
}

WRAPPED(int, fcntl64, int fd, int command, ...)
{
    proa_sim *here = command == F_DUPFD_CLOEXEC ? machine_called() : machine_of(fd);
    long argument;
    va_list more;

    va_start(more, command);
    argument = va_arg(more, long);
    va_end(more);
    return here ? (int)answer(control(here, fd, command, argument)) : __real_fcntl64(fd, command, argument);
}

/* Of one descriptor. */
WRAPPED(int, poll, struct pollfd *entries, nfds_t count, int timeout_ms)
{
    proa_sim *here = count == 1 ? machine_of(entries->fd) : NULL;
    int events;

    if (!here)
        return __real_poll(entries, count, timeout_ms);
    await(here, entries->fd, (unsigned)entries->events,
          timeout_ms < 0 ? UINT64_MAX : machine_now_ns(here) + (uint64_t)timeout_ms * MS);
    events = machine_poll(here, entries->fd, (unsigned)entries->events);
    entries->revents = (short)(events < 0 ? POLLNVAL : events);
    return entries->revents != 0;
}

/* Limits: that of descriptors, and no others. */

WRAPPED(int, getrlimit64, __rlimit_resource_t resource, struct rlimit *ret_limit)
{
    proa_sim *here = resource == RLIMIT_NOFILE ? machine_called() : NULL;

    if (!here)
        return __real_getrlimit64(resource, ret_limit);
    *ret_limit = (struct rlimit){here->descriptor_limit, machine_descriptor_limit(here)};
    return 0;
}

WRAPPED(int, setrlimit64, __rlimit_resource_t resource, const struct rlimit *limit)
{
    proa_sim *here = resource == RLIMIT_NOFILE ? machine_called() : NULL;

    if (!here)
        return __real_setrlimit64(resource, limit);
    machine_limit_descriptors(here, (uint32_t)limit->rlim_cur);
    return 0;
}

/* Signals */

WRAPPED(int, kill, pid_t process, int number)
{
    proa_sim *here = machine_called();

    if (!here)
        return __real_kill(process, number);
    proa_sim_signal(here, number);
    return 0;
}

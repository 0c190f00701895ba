/* Every system call the library makes, one shim each.
 *
 * A shim counts the call, returns a negative errno instead of setting one, and asks the fault plan first, so that a
 * test can make the Nth call of a kind fail or be cut short. Those made once per message are inline.
 *
 * A `struct sys` is one thread's: each loop has one, each thread of a pool has one. */
#ifndef PROA_SYS_H
#define PROA_SYS_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/base.h"
#include "sys/raw_call.h"

struct epoll_event;
struct io_uring_params;
struct open_how;
struct statx;

#define SYS_CALLS(X)  \
    X(SOCKET)         \
    X(BIND)           \
    X(LISTEN)         \
    X(ACCEPT)         \
    X(CONNECT)        \
    X(GETSOCKOPT)     \
    X(SETSOCKOPT)     \
    X(RECV)           \
    X(SEND)           \
    X(SENDMSG)        \
    X(SHUTDOWN)       \
    X(CLOSE)          \
    X(OPEN)           \
    X(READ)           \
    X(WRITE)          \
    X(FSYNC)          \
    X(STATX)          \
    X(UNLINK)         \
    X(EVENTFD)        \
    X(SIGNALFD)       \
    X(SIGMASK)        \
    X(GETNAME)        \
    X(MAP)            \
    X(LIMIT)          \
    X(POLL)           \
    X(EPOLL_CREATE)   \
    X(EPOLL_CTL)      \
    X(EPOLL_WAIT)     \
    X(URING_SETUP)    \
    X(URING_REGISTER) \
    X(URING_ENTER)

enum sys_call {
#define SYS_CALL_ENUM(name) SYS_##name,
    SYS_CALLS(SYS_CALL_ENUM)
#undef SYS_CALL_ENUM
        SYS_CALL_COUNT
};

/* What happens to one kind of call: after `skip` more calls, the next `times` fail with `error` (a negative errno), or
 * where `error` is 0 move at most `size_max` bytes. Ring entries obey the plan of the call they stand for. */
struct sys_fault {
    uint32_t skip;
    uint32_t times;
    int32_t error;
    uint32_t size_max;
};

struct sys {
    uint64_t calls;
    uint64_t bytes_copied;
    struct sys_fault *faults; /* SYS_CALL_COUNT rows, or null */
};

int sys_fault_strikes(struct sys *sys, enum sys_call call, size_t *size);

/* Asks the fault plan about an operation that is about to enter a ring; `size` may be null. Returns 0 or an errno < 0. */
static inline int sys_ring_fault(struct sys *sys, enum sys_call call, size_t *size)
{
    return unlikely(sys->faults) ? sys_fault_strikes(sys, call, size) : 0;
}

int sys_socket(struct sys *sys, int family, int type);
int sys_bind(struct sys *sys, int fd, const struct sockaddr *address, size_t size);
int sys_listen(struct sys *sys, int fd, int backlog);
int sys_accept(struct sys *sys, int fd, int flags);
int sys_connect(struct sys *sys, int fd, const struct sockaddr *address, size_t size);
int sys_getsockopt(struct sys *sys, int fd, int level, int name, int *ret_value);
int sys_setsockopt(struct sys *sys, int fd, int level, int name, int value);
static inline ssize_t sys_recv(struct sys *sys, int fd, void *data, size_t size, int flags);
static inline ssize_t sys_send(struct sys *sys, int fd, const void *data, size_t size, int flags);
ssize_t sys_sendmsg(struct sys *sys, int fd, const struct msghdr *message, int flags);
int sys_shutdown(struct sys *sys, int fd, int how);
int sys_close(struct sys *sys, int fd);
int sys_open(struct sys *sys, int directory, const char *path, const struct open_how *how);
/* `offset` UINT64_MAX: at the file's own position. */
ssize_t sys_read(struct sys *sys, int fd, void *data, size_t size, uint64_t offset);
ssize_t sys_write(struct sys *sys, int fd, const void *data, size_t size, uint64_t offset);
int sys_fsync(struct sys *sys, int fd, int data_only);
int sys_statx(struct sys *sys, int fd, const char *path, struct statx *ret_stat);
/* Removes a Unix socket's file, and nothing but a socket's. */
int sys_unlink_socket(struct sys *sys, const char *path);
int sys_eventfd(struct sys *sys);
int sys_signalfd(struct sys *sys, const sigset_t *mask);
/* The events of `events` that `fd` has now, without waiting. */
int sys_poll(struct sys *sys, int fd, unsigned events);
int sys_epoll_create(struct sys *sys);
int sys_epoll_ctl(struct sys *sys, int epoll, int operation, int fd, uint32_t events);
int sys_epoll_wait(struct sys *sys, int epoll, struct epoll_event *events, int count, uint64_t timeout_ns);
int sys_uring_setup(struct sys *sys, uint32_t entries, struct io_uring_params *parameters);
int sys_uring_register(struct sys *sys, int ring, unsigned operation, const void *argument, unsigned count);
int sys_uring_enter(struct sys *sys, int ring, unsigned submit, unsigned wait, unsigned flags, const void *argument,
                    size_t size);

/* Blocks or unblocks a signal for the calling thread. Returns whether it was blocked before. */
int sys_block_signal(struct sys *sys, int signal_number, int blocked);

int sys_getsockname(struct sys *sys, int fd, struct sockaddr *address, socklen_t *size);
int sys_getpeername(struct sys *sys, int fd, struct sockaddr *address, socklen_t *size);

/* Memory of zeros that costs nothing until it is touched. Returns null where there is none. */
void *sys_map(struct sys *sys, size_t size);
void sys_unmap(struct sys *sys, void *memory, size_t size);

/* Every descriptor's number is below this. */
uint32_t sys_descriptor_limit(struct sys *sys);

/* Tells processes apart after fork(2): reads as 0 in a child until sys_process_begin() is called there. The kernel itself
 * wipes it (MADV_WIPEONFORK, 4.14), so that no way to fork escapes. */
extern const volatile uint64_t *sys_process_mark;
int sys_process_begin(void);

/* Monotonic ns. Not counted: it never enters the kernel where the vDSO serves it. */
uint64_t sys_monotonic_ns(void);

static inline int sys_begin(struct sys *sys, enum sys_call call, size_t *size)
{
    sys->calls++;
    return unlikely(sys->faults) ? sys_fault_strikes(sys, call, size) : 0;
}

static inline ssize_t sys_recv(struct sys *sys, int fd, void *data, size_t size, int flags)
{
    ssize_t result = sys_begin(sys, SYS_RECV, &size);

    if (likely(result == 0))
        result = raw_call(__NR_recvfrom, fd, (long)data, (long)size, flags, 0, 0);
    if (likely(result > 0))
        sys->bytes_copied += (uint64_t)result;
    return result;
}

static inline ssize_t sys_send(struct sys *sys, int fd, const void *data, size_t size, int flags)
{
    ssize_t result = sys_begin(sys, SYS_SEND, &size);

    if (likely(result == 0))
        result = raw_call(__NR_sendto, fd, (long)data, (long)size, flags, 0, 0);
    if (likely(result > 0))
        sys->bytes_copied += (uint64_t)result;
    return result;
}

#endif

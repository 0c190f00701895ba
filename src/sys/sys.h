/* Every system call the library makes, one shim each.
 *
 * A shim counts the call, returns a negative errno instead of setting one, and asks the fault plan first, so that a
 * test can make the Nth call of a kind fail or be cut short. On a simulated machine it makes the machine's call instead of
 * the kernel's. Those made once per message are inline.
 *
 * A `struct sys` is one thread's: each loop has one, each thread of a pool has one. */
#ifndef PROA_SYS_H
#define PROA_SYS_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/base.h"
#include "machine/machine.h"
#include "sys/raw_call.h"

struct epoll_event;
struct io_uring_params;
struct open_how;
struct pollfd;
struct iovec;
struct proa_command;
struct proa_process;
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
    X(SENDFILE)       \
    X(RECVMSG)        \
    X(SHUTDOWN)       \
    X(SPLICE)         \
    X(TEE)            \
    X(VMSPLICE)       \
    X(CLOSE)          \
    X(OPEN)           \
    X(READ)           \
    X(READAHEAD)      \
    X(CACHESTAT)      \
    X(WRITE)          \
    X(FSYNC)          \
    X(STATX)          \
    X(TRUNCATE)       \
    X(ALLOCATE)       \
    X(MKDIR)          \
    X(UNLINK)         \
    X(RENAME)         \
    X(LINK)           \
    X(SYMLINK)        \
    X(READLINK)       \
    X(GETDENTS)       \
    X(INOTIFY)        \
    X(FCNTL)          \
    X(PIPE)           \
    X(EVENTFD)        \
    X(SIGNALFD)       \
    X(SIGMASK)        \
    X(GETNAME)        \
    X(SPAWN)          \
    X(WAITID)         \
    X(KILL)           \
    X(MAP)            \
    X(LIMIT)          \
    X(THREAD)         \
    X(POLL)           \
    X(PPOLL)          \
    X(SELECT)         \
    X(EPOLL_CREATE)   \
    X(EPOLL_CTL)      \
    X(EPOLL_WAIT)     \
    X(IO_SETUP)       \
    X(IO_SUBMIT)      \
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

/* Whether SIGPIPE is ignored: that has to be asked before each call that may raise it, for the program may change it. */
enum pipe_signal {
    PIPE_SIGNAL_CHANGES, /* it may do so between any two calls */
    PIPE_SIGNAL_STAYS,   /* it does not run on this thread just now, and nothing was asked since it did */
    PIPE_SIGNAL_IGNORED, /* as before, and it is */
};

struct sys {
    uint64_t calls;
    uint64_t bytes_copied;
    struct sys_fault *faults; /* SYS_CALL_COUNT rows, or null */
    enum pipe_signal pipe_signal;
    int blocking;      /* sockets that ops make are to block: the engine has threads for them */
    proa_sim *machine; /* null: the real kernel */
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
/* With MSG_ZEROCOPY: nothing is copied yet. */
ssize_t sys_send_zero_copy(struct sys *sys, int fd, const void *data, size_t size, int flags);
/* The kernel's own name of the socket, which no other ever has. */
int sys_socket_cookie(struct sys *sys, int fd, uint64_t *ret_cookie);
/* For datagrams, which are never cut short: of a plan only its errors apply. The caller counts what was copied. */
ssize_t sys_sendmsg_whole(struct sys *sys, int fd, const struct msghdr *message, int flags);
/* Raises no SIGPIPE, and counts nothing as copied. */
ssize_t sys_sendfile(struct sys *sys, int socket, int file, uint64_t offset, size_t size);
ssize_t sys_recvmsg(struct sys *sys, int fd, struct msghdr *message, int flags);
int sys_shutdown(struct sys *sys, int fd, int how);
int sys_close(struct sys *sys, int fd);
int sys_open(struct sys *sys, int directory, const char *path, const struct open_how *how);
/* `offset` UINT64_MAX: at the file's own position. */
ssize_t sys_read(struct sys *sys, int fd, void *data, size_t size, uint64_t offset);
/* The same without waiting for the disk: -EAGAIN where there is nothing in memory, or another errno where the file cannot
 * tell. */
ssize_t sys_read_now(struct sys *sys, int fd, void *data, size_t size, uint64_t offset);
/* Asks the disk for it, and does not wait. */
void sys_readahead(struct sys *sys, int fd, uint64_t offset, size_t size);
/* Whether all of it is in memory, so that to read it does not wait; no where that is not known. */
int sys_is_resident(struct sys *sys, int fd, uint64_t offset, size_t size);
ssize_t sys_write(struct sys *sys, int fd, const void *data, size_t size, uint64_t offset);
int sys_fsync(struct sys *sys, int fd, int data_only);
/* What O_DIRECT asks of memory, and of size and offset; 0 where the kernel does not tell (statx(2), since 6.1). */
int sys_direct_alignment(struct sys *sys, int fd, uint32_t *ret_memory, uint32_t *ret_offset);
/* Of a plan's size only the first piece is cut. */
ssize_t sys_readv(struct sys *sys, int fd, const struct iovec *pieces, size_t count, uint64_t offset);
ssize_t sys_writev(struct sys *sys, int fd, const struct iovec *pieces, size_t count, uint64_t offset);
/* `flags` besides AT_EMPTY_PATH. */
int sys_statx(struct sys *sys, int fd, const char *path, int flags, unsigned mask, struct statx *ret_stat);
int sys_truncate(struct sys *sys, int fd, uint64_t size);
int sys_allocate(struct sys *sys, int fd, unsigned mode, uint64_t offset, uint64_t size);
int sys_make_directory(struct sys *sys, int directory, const char *path, mode_t mode);
int sys_unlink(struct sys *sys, int directory, const char *path, int flags);
int sys_rename(struct sys *sys, int from_directory, const char *from, int to_directory, const char *to, unsigned flags);
int sys_link(struct sys *sys, int from_directory, const char *from, int to_directory, const char *to, int flags);
int sys_symlink(struct sys *sys, const char *target, int directory, const char *path);
ssize_t sys_readlink(struct sys *sys, int directory, const char *path, char *target, size_t size);
/* getdents64(2). */
ssize_t sys_read_directory(struct sys *sys, int fd, void *buffer, size_t size);
/* A new inotify descriptor that watches the path. */
int sys_watch(struct sys *sys, const char *path, uint32_t events);
/* Removes a Unix socket's file, and nothing but a socket's. */
int sys_unlink_socket(struct sys *sys, const char *path);
/* The flags it was opened with, O_ACCMODE among them. */
int sys_open_flags(struct sys *sys, int fd);
/* Neither end ever blocks. */
int sys_pipe(struct sys *sys, int ret_ends[2]);
/* Asks for room for so many bytes. Returns how many there is room for. */
int sys_pipe_resize(struct sys *sys, int pipe, size_t size);
/* None of these waits for a pipe, nor raises SIGPIPE. They copy nothing through user memory. An offset of UINT64_MAX means
 * the file's own position; else it is moved on. */
ssize_t sys_splice(struct sys *sys, int in, uint64_t *in_offset, int out, uint64_t *out_offset, size_t size);
/* The same into a pipe whose other end is ours, too: nothing can raise SIGPIPE, and nothing is done about that. */
ssize_t sys_splice_in(struct sys *sys, int in, uint64_t *in_offset, int pipe, size_t size);
ssize_t sys_tee(struct sys *sys, int in, int out, size_t size);
ssize_t sys_vmsplice(struct sys *sys, int pipe, const void *data, size_t size);
int sys_set_open_flags(struct sys *sys, int fd, int flags);
int sys_eventfd(struct sys *sys);
int sys_signalfd(struct sys *sys, const sigset_t *mask);
/* The events of `events` that `fd` has now, without waiting. */
int sys_poll(struct sys *sys, int fd, unsigned events);
/* Both return how many are ready; `timeout_ns` UINT64_MAX: without limit. */
int sys_ppoll(struct sys *sys, struct pollfd *entries, uint32_t count, uint64_t timeout_ns);
int sys_select(struct sys *sys, int count, fd_set *in, fd_set *out, fd_set *priority, uint64_t timeout_ns);
int sys_epoll_create(struct sys *sys);
int sys_epoll_ctl(struct sys *sys, int epoll, int operation, int fd, uint32_t events);
int sys_epoll_wait(struct sys *sys, int epoll, struct epoll_event *events, int count, uint64_t timeout_ns);
/* The same by epoll_pwait2(2), which takes ns, or ENOSYS. */
int sys_epoll_wait_ns(struct sys *sys, int epoll, struct epoll_event *events, int count, uint64_t timeout_ns);
int sys_uring_setup(struct sys *sys, uint32_t entries, struct io_uring_params *parameters);
int sys_uring_register(struct sys *sys, int ring, unsigned operation, const void *argument, unsigned count);
int sys_uring_enter(struct sys *sys, int ring, unsigned submit, unsigned wait, unsigned flags, const void *argument,
                    size_t size);

/* Blocks or unblocks a signal for the calling thread. Returns whether it was blocked before. */
int sys_block_signal(struct sys *sys, int signal_number, int blocked);

int sys_getsockname(struct sys *sys, int fd, struct sockaddr *address, socklen_t *size);
int sys_getpeername(struct sys *sys, int fd, struct sockaddr *address, socklen_t *size);

/* Of a pipe's end, as programs expect theirs. */
int sys_set_blocking(struct sys *sys, int fd);

/* Starts a program. Blocks until it runs; all signals have to be blocked (spawn.c). Fills in `*ret_process` and returns the
 * child's descriptor, or a negative errno. */
int sys_spawn(struct sys *sys, const struct proa_command *command, struct proa_process *ret_process);
/* The end of a child, as proa_wait_child() gives it, which is taken; EAGAIN while it runs. */
int sys_wait_child(struct sys *sys, int fd);
/* The same of one that is about to end, for nobody to know. */
void sys_bury_child(struct sys *sys, int fd);
int sys_kill(struct sys *sys, int fd, int signal_number);

/* Memory of zeros that costs nothing until it is touched. Returns null where there is none. */
void *sys_map(struct sys *sys, size_t size);
void sys_unmap(struct sys *sys, void *memory, size_t size);

/* Every descriptor's number is below this; and those that are made now, below the soft limit. */
uint32_t sys_descriptor_limit(struct sys *sys);
uint32_t sys_descriptor_soft_limit(struct sys *sys);

/* Tells processes apart after fork(2): reads as 0 in a child until sys_process_begin() is called there. The kernel itself
 * wipes it (MADV_WIPEONFORK, 4.14), so that no way to fork escapes. */
extern const volatile uint64_t *sys_process_mark;
int sys_process_begin(void);

/* Monotonic ns. Not counted: it never enters the kernel where the vDSO serves it. */
uint64_t sys_now_ns(struct sys *sys);

/* What the two below do where there is a fault plan or a machine: one question on the way of each message. */
static inline int sys_begin(struct sys *sys, enum sys_call call, size_t *size)
{
    sys->calls++;
    return unlikely(sys->faults) ? sys_fault_strikes(sys, call, size) : 0;
}

ssize_t sys_recv_special(struct sys *sys, int fd, void *data, size_t size, int flags);
ssize_t sys_send_special(struct sys *sys, int fd, const void *data, size_t size, int flags);

static inline int sys_is_special(const struct sys *sys)
{
    return ((uintptr_t)sys->faults | (uintptr_t)sys->machine) != 0;
}

static inline ssize_t sys_recv(struct sys *sys, int fd, void *data, size_t size, int flags)
{
    ssize_t result;

    if (unlikely(sys_is_special(sys)))
        return sys_recv_special(sys, fd, data, size, flags);
    sys->calls++;
    result = raw_call(__NR_recvfrom, fd, (long)data, (long)size, flags, 0, 0);
    if (likely(result > 0))
        sys->bytes_copied += (uint64_t)result;
    return result;
}

/* As much of it as is in memory; EAGAIN where that is nothing, and other errnos where the file knows no such reads. No
 * fault plan and no machine knows it: the caller asks sys_is_special(). */
static inline ssize_t sys_read_cached(struct sys *sys, int fd, void *data, size_t size, uint64_t offset)
{
    struct iovec piece = {data, size};
    ssize_t result;

    sys->calls++;
    result = raw_call(__NR_preadv2, fd, (long)&piece, 1, (long)offset, (long)(offset >> 32), RWF_NOWAIT);
    if (likely(result > 0))
        sys->bytes_copied += (uint64_t)result;
    return result;
}

static inline ssize_t sys_send(struct sys *sys, int fd, const void *data, size_t size, int flags)
{
    ssize_t result;

    if (unlikely(sys_is_special(sys)))
        return sys_send_special(sys, fd, data, size, flags);
    sys->calls++;
    result = raw_call(__NR_sendto, fd, (long)data, (long)size, flags, 0, 0);
    if (likely(result > 0))
        sys->bytes_copied += (uint64_t)result;
    return result;
}

#endif

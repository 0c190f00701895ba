#include "sys/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <poll.h>
#include <proa/process.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sys/ring_abi.h"

/* A loop and its pool's threads share one plan. */
static pthread_mutex_t plan_lock = PTHREAD_MUTEX_INITIALIZER;

static int strike(struct sys_fault *fault, size_t *size)
{
    if (fault->times == 0)
        return 0;
    if (fault->skip > 0) {
        fault->skip--;
        return 0;
    }
    fault->times--;
    if (fault->error == 0 && size && *size > fault->size_max)
        *size = fault->size_max;
    return fault->error;
}

int sys_fault_strikes(struct sys *sys, enum sys_call call, size_t *size)
{
    int error;

    pthread_mutex_lock(&plan_lock);
    error = strike(&sys->faults[call], size);
    pthread_mutex_unlock(&plan_lock);
    return error;
}

/* The result of SIMULATED on a machine, of REAL elsewhere, or the fault planned for CALL in its place. The plan may lower
 * what RET_SIZE points to first. */
#define SYS_PLANNED(sys, call, ret_size, real, simulated)  \
    ({                                                     \
        long result_ = sys_begin((sys), (call), ret_size); \
        if (unlikely(result_ == 0 && (sys)->machine)) {    \
            result_ = (simulated);                         \
        } else if (likely(result_ == 0)) {                 \
            result_ = (real);                              \
            if (result_ < 0)                               \
                result_ = -errno;                          \
        }                                                  \
        result_;                                           \
    })

#define SYS_DUAL_CALL(sys, call, real, simulated) SYS_PLANNED(sys, SYS_##call, NULL, real, simulated)

/* The same for calls that move bytes. */
#define SYS_DUAL_PASS(sys, call, size, real, simulated) SYS_PLANNED(sys, SYS_##call, &(size), real, simulated)

/* And what passed through user memory is counted. */
#define SYS_DUAL_MOVE(sys, call, size, real, simulated)                    \
    ({                                                                     \
        long moved_ = SYS_DUAL_PASS(sys, call, size, (real), (simulated)); \
        if (likely(moved_ > 0))                                            \
            (sys)->bytes_copied += (uint64_t)moved_;                       \
        moved_;                                                            \
    })

/* For calls that no machine has: memory, limits, and those that the real engines alone make. */
#define SYS_CALL(sys, call, expression)                  \
    ({                                                   \
        long result_ = sys_begin(sys, SYS_##call, NULL); \
        if (likely(result_ == 0)) {                      \
            result_ = (expression);                      \
            if (result_ < 0)                             \
                result_ = -errno;                        \
        }                                                \
        result_;                                         \
    })

ssize_t sys_recv_special(struct sys *sys, int fd, void *data, size_t size, int flags)
{
    return SYS_DUAL_MOVE(sys, RECV, size, recv(fd, data, size, flags),
                         machine_recv(sys->machine, fd, data, size, flags));
}

ssize_t sys_send_special(struct sys *sys, int fd, const void *data, size_t size, int flags)
{
    return SYS_DUAL_MOVE(sys, SEND, size, send(fd, data, size, flags),
                         machine_send(sys->machine, fd, data, size, flags));
}

int sys_socket(struct sys *sys, int family, int type)
{
    return (int)SYS_DUAL_CALL(sys, SOCKET, socket(family, type, 0), machine_socket(sys->machine, family, type));
}

int sys_bind(struct sys *sys, int fd, const struct sockaddr *address, size_t size)
{
    return (int)SYS_DUAL_CALL(sys, BIND, bind(fd, address, (socklen_t)size),
                              machine_bind(sys->machine, fd, address, (socklen_t)size));
}

int sys_listen(struct sys *sys, int fd, int backlog)
{
    return (int)SYS_DUAL_CALL(sys, LISTEN, listen(fd, backlog), machine_listen(sys->machine, fd, backlog));
}

int sys_accept(struct sys *sys, int fd, int flags)
{
    return (int)SYS_DUAL_CALL(sys, ACCEPT, syscall(__NR_accept4, fd, NULL, NULL, flags),
                              machine_accept(sys->machine, fd));
}

int sys_connect(struct sys *sys, int fd, const struct sockaddr *address, size_t size)
{
    return (int)SYS_DUAL_CALL(sys, CONNECT, syscall(__NR_connect, fd, address, size),
                              machine_connect(sys->machine, fd, address, (socklen_t)size));
}

int sys_getsockopt(struct sys *sys, int fd, int level, int name, int *ret_value)
{
    socklen_t size = sizeof(*ret_value);

    return (int)SYS_DUAL_CALL(sys, GETSOCKOPT, getsockopt(fd, level, name, ret_value, &size),
                              machine_getsockopt(sys->machine, fd, level, name, ret_value, &size));
}

int sys_setsockopt(struct sys *sys, int fd, int level, int name, int value)
{
    return (int)SYS_DUAL_CALL(sys, SETSOCKOPT, setsockopt(fd, level, name, &value, sizeof(value)),
                              machine_setsockopt(sys->machine, fd, level, name, &value, sizeof(value)));
}

ssize_t sys_sendmsg(struct sys *sys, int fd, const struct msghdr *message, int flags)
{
    size_t size = SIZE_MAX;

    /* Cut short means: the first piece's first bytes. */
    return SYS_DUAL_MOVE(
        sys, SENDMSG, size,
        size == SIZE_MAX ? syscall(__NR_sendmsg, fd, message, flags)
                         : syscall(__NR_sendto, fd, message->msg_iov->iov_base,
                                   size < message->msg_iov->iov_len ? size : message->msg_iov->iov_len, flags, NULL, 0),
        size == SIZE_MAX ? machine_sendmsg(sys->machine, fd, message, flags)
                         : machine_send(sys->machine, fd, message->msg_iov->iov_base,
                                        size < message->msg_iov->iov_len ? size : message->msg_iov->iov_len, flags));
}

ssize_t sys_send_zero_copy(struct sys *sys, int fd, const void *data, size_t size, int flags)
{
    int error = sys_begin(sys, SYS_SEND, &size);

    return error ? error : raw_call(__NR_sendto, fd, (long)data, (long)size, flags | MSG_ZEROCOPY, 0, 0);
}

int sys_socket_cookie(struct sys *sys, int fd, uint64_t *ret_cookie)
{
    socklen_t size = sizeof(*ret_cookie);

    return (int)SYS_CALL(sys, GETSOCKOPT, getsockopt(fd, SOL_SOCKET, SO_COOKIE, ret_cookie, &size));
}

ssize_t sys_sendmsg_whole(struct sys *sys, int fd, const struct msghdr *message, int flags)
{
    return SYS_DUAL_CALL(sys, SENDMSG, syscall(__NR_sendmsg, fd, message, flags),
                         machine_sendmsg(sys->machine, fd, message, flags));
}

/* sendfile(2), splice(2) and their kin have no MSG_NOSIGNAL. The signal of a write that finds no reader is for the thread
 * that made it, which takes it back; one that was pending before stays. Where the signal is ignored that is one call, or
 * none. */
struct quiet {
    sigset_t before;
    int is_kept, was_pending;
};

static int is_pipe_signal_ignored(struct sys *sys)
{
    struct sigaction action = {.sa_handler = SIG_DFL};

    if (sys->pipe_signal == PIPE_SIGNAL_IGNORED)
        return 1;
    sys->calls++;
    sigaction(SIGPIPE, NULL, &action);
    if (action.sa_handler == SIG_IGN && sys->pipe_signal == PIPE_SIGNAL_STAYS)
        sys->pipe_signal = PIPE_SIGNAL_IGNORED;
    return action.sa_handler == SIG_IGN;
}

static struct quiet keep_quiet(struct sys *sys)
{
    struct quiet quiet = {0};
    sigset_t pipe_signal, pending;

    if (is_pipe_signal_ignored(sys))
        return quiet;
    sys->calls += 3;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &quiet.before);
    sigpending(&pending);
    quiet.is_kept = 1;
    quiet.was_pending = sigismember(&pending, SIGPIPE);
    return quiet;
}

static ssize_t end_quiet(struct quiet quiet, ssize_t result)
{
    const struct timespec no_time = {0};
    int error = errno;
    sigset_t pipe_signal;

    if (!quiet.is_kept)
        return result;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    if (result < 0 && error == EPIPE && !quiet.was_pending)
        while (sigtimedwait(&pipe_signal, NULL, &no_time) < 0 && errno == EINTR)
            ;
    pthread_sigmask(SIG_SETMASK, &quiet.before, NULL);
    errno = error;
    return result;
}

static ssize_t sendfile_quietly(struct sys *sys, int socket, int file, off64_t offset, size_t size)
{
    struct quiet quiet = keep_quiet(sys);

    return end_quiet(quiet, sendfile64(socket, file, &offset, size));
}

ssize_t sys_sendfile(struct sys *sys, int socket, int file, uint64_t offset, size_t size)
{
    return SYS_DUAL_PASS(sys, SENDFILE, size, sendfile_quietly(sys, socket, file, (off64_t)offset, size),
                         machine_sendfile(sys->machine, socket, file, offset, size));
}

ssize_t sys_recvmsg(struct sys *sys, int fd, struct msghdr *message, int flags)
{
    return SYS_DUAL_CALL(sys, RECVMSG, syscall(__NR_recvmsg, fd, message, flags),
                         machine_recvmsg(sys->machine, fd, message, flags));
}

int sys_shutdown(struct sys *sys, int fd, int how)
{
    return (int)SYS_DUAL_CALL(sys, SHUTDOWN, shutdown(fd, how), machine_shutdown(sys->machine, fd, how));
}

int sys_close(struct sys *sys, int fd)
{
    return (int)SYS_DUAL_CALL(sys, CLOSE, syscall(__NR_close, fd), machine_close(sys->machine, fd));
}

int sys_open(struct sys *sys, int directory, const char *path, const struct open_how *how)
{
    /* openat2(2) came with 5.6, and some filters do not know it: it is asked only for what it alone can do. */
    if (how->resolve == 0)
        return (int)SYS_DUAL_CALL(sys, OPEN, openat(directory, path, (int)how->flags, (mode_t)how->mode),
                                  machine_open(sys->machine, directory, path, how));
    return (int)SYS_DUAL_CALL(sys, OPEN, syscall(__NR_openat2, directory, path, how, sizeof(*how)),
                              machine_open(sys->machine, directory, path, how));
}

ssize_t sys_read(struct sys *sys, int fd, void *data, size_t size, uint64_t offset)
{
    return SYS_DUAL_MOVE(sys, READ, size,
                         offset == UINT64_MAX ? read(fd, data, size) : pread64(fd, data, size, (off64_t)offset),
                         machine_read(sys->machine, fd, data, size, offset));
}

/* A machine decides by chance whether what is read comes from its disk. */
ssize_t sys_read_now(struct sys *sys, int fd, void *data, size_t size, uint64_t offset)
{
    struct iovec piece = {data, size};

    return SYS_DUAL_MOVE(sys, READ, size, preadv2(fd, &piece, 1, (off64_t)offset, RWF_NOWAIT),
                         machine_is_cold(sys->machine) ? -EAGAIN : machine_read(sys->machine, fd, data, size, offset));
}

void sys_readahead(struct sys *sys, int fd, uint64_t offset, size_t size)
{
    (void)SYS_DUAL_CALL(sys, READAHEAD, readahead(fd, (off64_t)offset, size), 0);
}

/* cachestat(2), Linux 6.5; one number everywhere but on Alpha. */
enum { CACHESTAT_NUMBER = 451 };

struct cache_range {
    uint64_t offset, size;
};

struct cache_count {
    uint64_t cached, dirty, written_back, evicted, recently_evicted;
};

static int lacks_cachestat;

/* Returns how many pages of the file are in memory, or on their way there, or a negative errno. */
static int64_t count_cached(struct sys *sys, int fd, uint64_t offset, size_t size)
{
    struct cache_range range = {offset, size};
    struct cache_count count = {0};
    int64_t error;

    if (__atomic_load_n(&lacks_cachestat, __ATOMIC_RELAXED))
        return -ENOSYS;
    error = SYS_CALL(sys, CACHESTAT, syscall(CACHESTAT_NUMBER, fd, &range, &count, 0));
    if (error == -ENOSYS || error == -EPERM)
        __atomic_store_n(&lacks_cachestat, 1, __ATOMIC_RELAXED);
    return error < 0 ? error : (int64_t)count.cached;
}

static uint64_t count_pages(uint64_t offset, size_t size)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    return (offset + size - 1) / page - offset / page + 1;
}

/* 1, 0, or a negative errno where the file cannot tell. */
static int is_byte_resident(struct sys *sys, int fd, uint64_t offset)
{
    char byte;
    ssize_t got = sys_read_now(sys, fd, &byte, 1, offset);

    return got == -EAGAIN || got == 0 ? 0 : (int)got;
}

/* Some pages may be missing in the middle: cachestat(2) tells; and the last may be on its way: only a read tells that. An
 * older kernel is asked for a byte here and there. */
int sys_is_resident(struct sys *sys, int fd, uint64_t offset, size_t size)
{
    const size_t every = 64 << 10;
    int64_t cached;
    int is_there;

    if (sys->machine)
        return !machine_is_cold(sys->machine);
    cached = count_cached(sys, fd, offset, size);
    if (cached >= 0 && (uint64_t)cached < count_pages(offset, size))
        return 0;
    is_there = is_byte_resident(sys, fd, offset + size - 1);
    if (cached >= 0)
        return is_there == 1 || is_there == -EOPNOTSUPP;
    for (size_t at = 0; at < size && is_there == 1; at += every)
        is_there = is_byte_resident(sys, fd, offset + at);
    return is_there == 1;
}

ssize_t sys_write(struct sys *sys, int fd, const void *data, size_t size, uint64_t offset)
{
    return SYS_DUAL_MOVE(sys, WRITE, size,
                         offset == UINT64_MAX ? write(fd, data, size) : pwrite64(fd, data, size, (off64_t)offset),
                         machine_write(sys->machine, fd, data, size, offset));
}

int sys_fsync(struct sys *sys, int fd, int data_only)
{
    return (int)SYS_DUAL_CALL(sys, FSYNC, data_only ? fdatasync(fd) : fsync(fd), machine_fsync(sys->machine, fd));
}

/* Cut short means: the first piece's first bytes. Returns how many pieces are left of it. */
static int cut_vector(const struct iovec **pieces, size_t count, size_t size, struct iovec *first)
{
    if (size == SIZE_MAX || count == 0)
        return count < INT_MAX ? (int)count : INT_MAX;
    *first = (struct iovec){(*pieces)->iov_base, size < (*pieces)->iov_len ? size : (*pieces)->iov_len};
    *pieces = first;
    return 1;
}

static ssize_t plain_readv(int fd, const struct iovec *pieces, int count, uint64_t offset)
{
    return offset == UINT64_MAX ? readv(fd, pieces, count) : preadv64(fd, pieces, count, (off64_t)offset);
}

static ssize_t plain_writev(int fd, const struct iovec *pieces, int count, uint64_t offset)
{
    return offset == UINT64_MAX ? writev(fd, pieces, count) : pwritev64(fd, pieces, count, (off64_t)offset);
}

/* CALL of the vector, of its first SIZE bytes where the plan says so. */
#define SYS_MOVE_VECTOR(sys, call, plain, simulated, fd, pieces, count, offset)                                 \
    ({                                                                                                          \
        size_t size_ = SIZE_MAX;                                                                                \
        struct iovec first_;                                                                                    \
        int left_;                                                                                              \
        SYS_DUAL_MOVE(sys, call, size_,                                                                         \
                      (left_ = cut_vector(&(pieces), count, size_, &first_), plain(fd, pieces, left_, offset)), \
                      (left_ = cut_vector(&(pieces), count, size_, &first_),                                    \
                       simulated((sys)->machine, fd, pieces, left_, offset)));                                  \
    })

ssize_t sys_readv(struct sys *sys, int fd, const struct iovec *pieces, size_t count, uint64_t offset)
{
    return SYS_MOVE_VECTOR(sys, READ, plain_readv, machine_readv, fd, pieces, count, offset);
}

ssize_t sys_writev(struct sys *sys, int fd, const struct iovec *pieces, size_t count, uint64_t offset)
{
    return SYS_MOVE_VECTOR(sys, WRITE, plain_writev, machine_writev, fd, pieces, count, offset);
}

int sys_statx(struct sys *sys, int fd, const char *path, int flags, unsigned mask, struct statx *ret_stat)
{
    flags |= AT_EMPTY_PATH;
    return (int)SYS_DUAL_CALL(sys, STATX, statx(fd, path, flags, mask, ret_stat),
                              machine_statx(sys->machine, fd, path, flags, ret_stat));
}

int sys_truncate(struct sys *sys, int fd, uint64_t size)
{
    return (int)SYS_DUAL_CALL(sys, TRUNCATE, ftruncate64(fd, (off64_t)size),
                              machine_truncate(sys->machine, fd, (int64_t)size));
}

int sys_allocate(struct sys *sys, int fd, unsigned mode, uint64_t offset, uint64_t size)
{
    return (int)SYS_DUAL_CALL(sys, ALLOCATE, fallocate64(fd, (int)mode, (off64_t)offset, (off64_t)size),
                              machine_allocate_file(sys->machine, fd, mode, (int64_t)offset, (int64_t)size));
}

int sys_make_directory(struct sys *sys, int directory, const char *path, mode_t mode)
{
    return (int)SYS_DUAL_CALL(sys, MKDIR, mkdirat(directory, path, mode),
                              machine_mkdir(sys->machine, directory, path, mode));
}

int sys_unlink(struct sys *sys, int directory, const char *path, int flags)
{
    return (int)SYS_DUAL_CALL(sys, UNLINK, unlinkat(directory, path, flags),
                              machine_unlink(sys->machine, directory, path, flags));
}

int sys_rename(struct sys *sys, int from_directory, const char *from, int to_directory, const char *to, unsigned flags)
{
    return (int)SYS_DUAL_CALL(sys, RENAME, renameat2(from_directory, from, to_directory, to, flags),
                              machine_rename(sys->machine, from_directory, from, to_directory, to, flags));
}

int sys_link(struct sys *sys, int from_directory, const char *from, int to_directory, const char *to, int flags)
{
    return (int)SYS_DUAL_CALL(sys, LINK, linkat(from_directory, from, to_directory, to, flags),
                              machine_link(sys->machine, from_directory, from, to_directory, to, flags));
}

int sys_symlink(struct sys *sys, const char *target, int directory, const char *path)
{
    return (int)SYS_DUAL_CALL(sys, SYMLINK, symlinkat(target, directory, path),
                              machine_symlink(sys->machine, target, directory, path));
}

ssize_t sys_readlink(struct sys *sys, int directory, const char *path, char *target, size_t size)
{
    /* The kernel's own has an int, and refuses what is negative. */
    size = size < INT_MAX ? size : INT_MAX;
    return SYS_DUAL_CALL(sys, READLINK, readlinkat(directory, path, target, size),
                         machine_readlink(sys->machine, directory, path, target, size));
}

ssize_t sys_read_directory(struct sys *sys, int fd, void *buffer, size_t size)
{
    size = size < INT_MAX ? size : INT_MAX;
    return SYS_DUAL_CALL(sys, GETDENTS, syscall(__NR_getdents64, fd, buffer, size),
                         machine_getdents(sys->machine, fd, buffer, size));
}

int sys_watch(struct sys *sys, const char *path, uint32_t events)
{
    int fd = (int)SYS_DUAL_CALL(sys, INOTIFY, inotify_init1(IN_CLOEXEC | IN_NONBLOCK), -ENOSYS);
    int watch;

    if (fd < 0)
        return fd;
    watch = (int)SYS_CALL(sys, INOTIFY, inotify_add_watch(fd, path, events));
    if (watch >= 0)
        return fd;
    sys_close(sys, fd);
    return watch;
}

int sys_direct_alignment(struct sys *sys, int fd, uint32_t *ret_memory, uint32_t *ret_offset)
{
    struct statx status = {0};
    int error = (int)SYS_CALL(sys, STATX, statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status));

    *ret_memory = status.stx_mask & STATX_DIOALIGN ? status.stx_dio_mem_align : 0;
    *ret_offset = status.stx_mask & STATX_DIOALIGN ? status.stx_dio_offset_align : 0;
    return error;
}

int sys_unlink_socket(struct sys *sys, const char *path)
{
    struct statx status = {0};
    int error = (int)SYS_DUAL_CALL(sys, UNLINK, statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &status),
                                   machine_statx(sys->machine, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &status));

    if (error < 0 || !S_ISSOCK(status.stx_mode))
        return error < 0 ? error : -ENOTSOCK;
    return (int)SYS_DUAL_CALL(sys, UNLINK, unlink(path), machine_unlink(sys->machine, AT_FDCWD, path, 0));
}

int sys_open_flags(struct sys *sys, int fd)
{
    return (int)SYS_DUAL_CALL(sys, FCNTL, fcntl(fd, F_GETFL), machine_access(sys->machine, fd));
}

int sys_pipe(struct sys *sys, int ret_ends[2])
{
    return (int)SYS_DUAL_CALL(sys, PIPE, pipe2(ret_ends, O_CLOEXEC | O_NONBLOCK), machine_pipe(sys->machine, ret_ends));
}

int sys_pipe_resize(struct sys *sys, int pipe, size_t size)
{
    int result = (int)SYS_DUAL_CALL(sys, FCNTL, fcntl(pipe, F_SETPIPE_SZ, size), -EPERM);

    /* An ordinary user has a limit for each pipe and one for all (pipe(7)): then it stays as it is. */
    return result < 0 ? (int)SYS_DUAL_CALL(sys, FCNTL, fcntl(pipe, F_GETPIPE_SZ), MACHINE_PIPE_ROOM) : result;
}

static ssize_t splice_at(int in, uint64_t *in_offset, int out, uint64_t *out_offset, size_t size)
{
    off64_t *in_at = *in_offset == UINT64_MAX ? NULL : (off64_t *)in_offset;
    off64_t *out_at = *out_offset == UINT64_MAX ? NULL : (off64_t *)out_offset;

    return splice(in, in_at, out, out_at, size, SPLICE_F_NONBLOCK);
}

static ssize_t splice_quietly(struct sys *sys, int in, uint64_t *in_offset, int out, uint64_t *out_offset, size_t size)
{
    struct quiet quiet = keep_quiet(sys);

    return end_quiet(quiet, splice_at(in, in_offset, out, out_offset, size));
}

ssize_t sys_splice(struct sys *sys, int in, uint64_t *in_offset, int out, uint64_t *out_offset, size_t size)
{
    return SYS_DUAL_PASS(sys, SPLICE, size, splice_quietly(sys, in, in_offset, out, out_offset, size),
                         machine_splice(sys->machine, in, in_offset, out, out_offset, size));
}

ssize_t sys_splice_in(struct sys *sys, int in, uint64_t *in_offset, int pipe, size_t size)
{
    uint64_t here = UINT64_MAX;

    return SYS_DUAL_PASS(sys, SPLICE, size, splice_at(in, in_offset, pipe, &here, size),
                         machine_splice(sys->machine, in, in_offset, pipe, &here, size));
}

static ssize_t tee_quietly(struct sys *sys, int in, int out, size_t size)
{
    struct quiet quiet = keep_quiet(sys);

    return end_quiet(quiet, tee(in, out, size, SPLICE_F_NONBLOCK));
}

ssize_t sys_tee(struct sys *sys, int in, int out, size_t size)
{
    return SYS_DUAL_PASS(sys, TEE, size, tee_quietly(sys, in, out, size), machine_tee(sys->machine, in, out, size));
}

static ssize_t vmsplice_quietly(struct sys *sys, int pipe, const void *data, size_t size)
{
    struct iovec piece = {(void *)(uintptr_t)data, size};
    struct quiet quiet = keep_quiet(sys);

    return end_quiet(quiet, vmsplice(pipe, &piece, 1, SPLICE_F_NONBLOCK));
}

ssize_t sys_vmsplice(struct sys *sys, int pipe, const void *data, size_t size)
{
    return SYS_DUAL_PASS(sys, VMSPLICE, size, vmsplice_quietly(sys, pipe, data, size),
                         machine_vmsplice(sys->machine, pipe, data, size));
}

int sys_set_open_flags(struct sys *sys, int fd, int flags)
{
    return (int)SYS_CALL(sys, FCNTL, fcntl(fd, F_SETFL, flags));
}

int sys_eventfd(struct sys *sys)
{
    return (int)SYS_DUAL_CALL(sys, EVENTFD, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), machine_eventfd(sys->machine));
}

int sys_signalfd(struct sys *sys, const sigset_t *mask)
{
    return (int)SYS_DUAL_CALL(sys, SIGNALFD, signalfd(-1, mask, SFD_CLOEXEC | SFD_NONBLOCK),
                              machine_signalfd(sys->machine, mask));
}

int sys_poll(struct sys *sys, int fd, unsigned events)
{
    struct pollfd entry = {.fd = fd, .events = (short)events};
    int result = (int)SYS_DUAL_CALL(sys, POLL, poll(&entry, 1, 0), machine_poll(sys->machine, fd, events));

    if (result < 0 || sys->machine)
        return result;
    return entry.revents & POLLNVAL ? -EBADF : entry.revents;
}

static struct timespec to_timespec(uint64_t time_ns)
{
    return (struct timespec){.tv_sec = (time_t)(time_ns / 1000000000), .tv_nsec = (long)(time_ns % 1000000000)};
}

int sys_ppoll(struct sys *sys, struct pollfd *entries, uint32_t count, uint64_t timeout_ns)
{
    struct timespec timeout = to_timespec(timeout_ns);

    return (int)SYS_CALL(sys, PPOLL, ppoll(entries, count, timeout_ns == UINT64_MAX ? NULL : &timeout, NULL));
}

int sys_select(struct sys *sys, int count, fd_set *in, fd_set *out, fd_set *priority, uint64_t timeout_ns)
{
    struct timespec timeout = to_timespec(timeout_ns);

    return (int)SYS_CALL(sys, SELECT,
                         pselect(count, in, out, priority, timeout_ns == UINT64_MAX ? NULL : &timeout, NULL));
}

int sys_epoll_create(struct sys *sys)
{
    return (int)SYS_CALL(sys, EPOLL_CREATE, epoll_create1(EPOLL_CLOEXEC));
}

int sys_epoll_ctl(struct sys *sys, int epoll, int operation, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};

    return (int)SYS_CALL(sys, EPOLL_CTL, syscall(__NR_epoll_ctl, epoll, operation, fd, &event));
}

int sys_epoll_wait_ns(struct sys *sys, int epoll, struct epoll_event *events, int count, uint64_t timeout_ns)
{
    struct timespec timeout = to_timespec(timeout_ns);

    return (int)SYS_CALL(sys, EPOLL_WAIT, syscall(__NR_epoll_pwait2, epoll, events, count, &timeout, NULL, 0));
}

/* epoll_pwait2 takes ns but came with 5.11, and filters may refuse what they do not know: then it is ms, rounded up, so
 * that a timer may be late but never early. */
static int lacks_pwait2;

int sys_epoll_wait(struct sys *sys, int epoll, struct epoll_event *events, int count, uint64_t timeout_ns)
{
    uint64_t timeout_ms = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
    int result;

    if (timeout_ns == 0 || timeout_ns == UINT64_MAX)
        return (int)SYS_CALL(sys, EPOLL_WAIT,
                             syscall(__NR_epoll_pwait, epoll, events, count, timeout_ns == 0 ? 0 : -1, NULL, 0));
    if (!__atomic_load_n(&lacks_pwait2, __ATOMIC_RELAXED)) {
        result = sys_epoll_wait_ns(sys, epoll, events, count, timeout_ns);
        if (result != -ENOSYS && result != -EPERM)
            return result;
        __atomic_store_n(&lacks_pwait2, 1, __ATOMIC_RELAXED);
    }
    return (int)SYS_CALL(
        sys, EPOLL_WAIT,
        syscall(__NR_epoll_pwait, epoll, events, count, timeout_ms > INT32_MAX ? INT32_MAX : (int)timeout_ms, NULL, 0));
}

int sys_uring_setup(struct sys *sys, uint32_t entries, struct io_uring_params *parameters)
{
    return (int)SYS_CALL(sys, URING_SETUP, syscall(__NR_io_uring_setup, entries, parameters));
}

int sys_uring_register(struct sys *sys, int ring, unsigned operation, const void *argument, unsigned count)
{
    return (int)SYS_CALL(sys, URING_REGISTER, syscall(__NR_io_uring_register, ring, operation, argument, count));
}

int sys_uring_enter(struct sys *sys, int ring, unsigned submit, unsigned wait, unsigned flags, const void *argument,
                    size_t size)
{
    return (int)SYS_CALL(sys, URING_ENTER, syscall(__NR_io_uring_enter, ring, submit, wait, flags, argument, size));
}

int sys_block_signal(struct sys *sys, int signal_number, int blocked)
{
    sigset_t mask, before;
    int result;

    sigemptyset(&mask);
    sigaddset(&mask, signal_number);
    if (sys->machine)
        return 1; /* its signals are no thread's, so there is nothing to block or unblock */
    result = (int)SYS_CALL(sys, SIGMASK, pthread_sigmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &mask, &before));
    return result == 0 && sigismember(&before, signal_number);
}

int sys_getsockname(struct sys *sys, int fd, struct sockaddr *address, socklen_t *size)
{
    return (int)SYS_DUAL_CALL(sys, GETNAME, getsockname(fd, address, size),
                              machine_getsockname(sys->machine, fd, address, size));
}

int sys_getpeername(struct sys *sys, int fd, struct sockaddr *address, socklen_t *size)
{
    return (int)SYS_DUAL_CALL(sys, GETNAME, getpeername(fd, address, size),
                              machine_getpeername(sys->machine, fd, address, size));
}

/* No machine has processes. */

int sys_set_blocking(struct sys *sys, int fd)
{
    return (int)SYS_CALL(sys, FCNTL, fcntl(fd, F_SETFL, 0));
}

static int how_it_ended(const siginfo_t *end)
{
    if (end->si_code == CLD_EXITED)
        return end->si_status & 0xff;
    return PROA_EXIT_SIGNALED | (end->si_code == CLD_DUMPED ? PROA_EXIT_DUMPED : 0) | end->si_status;
}

/* __WALL: it sends no SIGCHLD before its program runs. */
int sys_wait_child(struct sys *sys, int fd)
{
    siginfo_t end = {0};
    int error = sys->machine ? -ENOTSUP
                             : (int)SYS_CALL(sys, WAITID, waitid(P_PIDFD, (id_t)fd, &end, WEXITED | WNOHANG | __WALL));

    if (error < 0)
        return error;
    return end.si_pid == 0 ? -EAGAIN : how_it_ended(&end);
}

void sys_bury_child(struct sys *sys, int fd)
{
    siginfo_t end;
    int error;

    do
        error = (int)SYS_CALL(sys, WAITID, waitid(P_PIDFD, (id_t)fd, &end, WEXITED | __WALL));
    while (error == -EINTR);
}

int sys_kill(struct sys *sys, int fd, int signal_number)
{
    return sys->machine ? -ENOTSUP
                        : (int)SYS_CALL(sys, KILL, syscall(__NR_pidfd_send_signal, fd, signal_number, NULL, 0));
}

void *sys_map(struct sys *sys, size_t size)
{
    void *memory = MAP_FAILED;
    int error = (int)SYS_CALL(sys, MAP,
                              (memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) == MAP_FAILED
                                  ? -1
                                  : 0);

    return error < 0 ? NULL : memory;
}

void sys_unmap(struct sys *sys, void *memory, size_t size)
{
    sys->calls++;
    munmap(memory, size);
}

static struct rlimit descriptor_limits(struct sys *sys)
{
    const rlim_t most = 1u << 22;
    struct rlimit limits = {most, most};

    if (SYS_CALL(sys, LIMIT, getrlimit(RLIMIT_NOFILE, &limits)) < 0 || limits.rlim_max > most)
        limits.rlim_max = most;
    if (limits.rlim_cur > most)
        limits.rlim_cur = most;
    return limits;
}

uint32_t sys_descriptor_limit(struct sys *sys)
{
    return sys->machine ? machine_descriptor_limit(sys->machine) : (uint32_t)descriptor_limits(sys).rlim_max;
}

uint32_t sys_descriptor_soft_limit(struct sys *sys)
{
    return (uint32_t)descriptor_limits(sys).rlim_cur;
}

uint64_t sys_now_ns(struct sys *sys)
{
    struct timespec now;

    if (unlikely(sys->machine))
        return machine_now_ns(sys->machine);
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

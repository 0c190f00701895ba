#include "sys/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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

/* RESULT of EXPRESSION, or the fault planned for CALL in its place. */
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

/* The same for calls that move bytes: the plan may lower SIZE first, and what moved is counted. */
#define SYS_MOVE(sys, call, size, expression)             \
    ({                                                    \
        long result_ = sys_begin(sys, SYS_##call, &size); \
        if (likely(result_ == 0)) {                       \
            result_ = (expression);                       \
            if (result_ < 0)                              \
                result_ = -errno;                         \
            else                                          \
                (sys)->bytes_copied += (uint64_t)result_; \
        }                                                 \
        result_;                                          \
    })

int sys_socket(struct sys *sys, int family, int type)
{
    return (int)SYS_CALL(sys, SOCKET, socket(family, type, 0));
}

int sys_bind(struct sys *sys, int fd, const struct sockaddr *address, size_t size)
{
    return (int)SYS_CALL(sys, BIND, bind(fd, address, (socklen_t)size));
}

int sys_listen(struct sys *sys, int fd, int backlog)
{
    return (int)SYS_CALL(sys, LISTEN, listen(fd, backlog));
}

int sys_accept(struct sys *sys, int fd, int flags)
{
    return (int)SYS_CALL(sys, ACCEPT, syscall(__NR_accept4, fd, NULL, NULL, flags));
}

int sys_connect(struct sys *sys, int fd, const struct sockaddr *address, size_t size)
{
    return (int)SYS_CALL(sys, CONNECT, syscall(__NR_connect, fd, address, size));
}

int sys_getsockopt(struct sys *sys, int fd, int level, int name, int *ret_value)
{
    socklen_t size = sizeof(*ret_value);

    return (int)SYS_CALL(sys, GETSOCKOPT, getsockopt(fd, level, name, ret_value, &size));
}

int sys_setsockopt(struct sys *sys, int fd, int level, int name, int value)
{
    return (int)SYS_CALL(sys, SETSOCKOPT, setsockopt(fd, level, name, &value, sizeof(value)));
}

ssize_t sys_sendmsg(struct sys *sys, int fd, const struct msghdr *message, int flags)
{
    size_t size = SIZE_MAX;

    /* Cut short means: the first piece's first bytes. */
    return SYS_MOVE(sys, SENDMSG, size,
                    size == SIZE_MAX
                        ? syscall(__NR_sendmsg, fd, message, flags)
                        : syscall(__NR_sendto, fd, message->msg_iov->iov_base,
                                  size < message->msg_iov->iov_len ? size : message->msg_iov->iov_len, flags, NULL, 0));
}

int sys_shutdown(struct sys *sys, int fd, int how)
{
    return (int)SYS_CALL(sys, SHUTDOWN, shutdown(fd, how));
}

int sys_close(struct sys *sys, int fd)
{
    return (int)SYS_CALL(sys, CLOSE, syscall(__NR_close, fd));
}

int sys_open(struct sys *sys, int directory, const char *path, const struct open_how *how)
{
    /* openat2(2) came with 5.6, and some filters do not know it: it is asked only for what it alone can do. */
    if (how->resolve == 0)
        return (int)SYS_CALL(sys, OPEN, openat(directory, path, (int)how->flags, (mode_t)how->mode));
    return (int)SYS_CALL(sys, OPEN, syscall(__NR_openat2, directory, path, how, sizeof(*how)));
}

ssize_t sys_read(struct sys *sys, int fd, void *data, size_t size, uint64_t offset)
{
    return SYS_MOVE(sys, READ, size,
                    offset == UINT64_MAX ? read(fd, data, size) : pread64(fd, data, size, (off64_t)offset));
}

ssize_t sys_write(struct sys *sys, int fd, const void *data, size_t size, uint64_t offset)
{
    return SYS_MOVE(sys, WRITE, size,
                    offset == UINT64_MAX ? write(fd, data, size) : pwrite64(fd, data, size, (off64_t)offset));
}

int sys_fsync(struct sys *sys, int fd, int data_only)
{
    return (int)SYS_CALL(sys, FSYNC, data_only ? fdatasync(fd) : fsync(fd));
}

int sys_statx(struct sys *sys, int fd, const char *path, struct statx *ret_stat)
{
    return (int)SYS_CALL(sys, STATX, statx(fd, path, AT_EMPTY_PATH, STATX_BASIC_STATS, ret_stat));
}

int sys_unlink_socket(struct sys *sys, const char *path)
{
    struct stat status = {0};
    int error = (int)SYS_CALL(sys, UNLINK, lstat(path, &status));

    if (error < 0 || !S_ISSOCK(status.st_mode))
        return error < 0 ? error : -ENOTSOCK;
    return (int)SYS_CALL(sys, UNLINK, unlink(path));
}

int sys_eventfd(struct sys *sys)
{
    return (int)SYS_CALL(sys, EVENTFD, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

int sys_signalfd(struct sys *sys, const sigset_t *mask)
{
    return (int)SYS_CALL(sys, SIGNALFD, signalfd(-1, mask, SFD_CLOEXEC | SFD_NONBLOCK));
}

int sys_poll(struct sys *sys, int fd, unsigned events)
{
    struct pollfd entry = {.fd = fd, .events = (short)events};
    int count = (int)SYS_CALL(sys, POLL, poll(&entry, 1, 0));

    if (count < 0)
        return count;
    return entry.revents & POLLNVAL ? -EBADF : entry.revents;
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

/* epoll_pwait2 takes ns but came with 5.11, and filters may refuse what they do not know: then it is ms, rounded up, so
 * that a timer may be late but never early. */
static int lacks_pwait2;

int sys_epoll_wait(struct sys *sys, int epoll, struct epoll_event *events, int count, uint64_t timeout_ns)
{
    struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / 1000000000), .tv_nsec = (long)(timeout_ns % 1000000000)};
    uint64_t timeout_ms = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
    long result;

    if (timeout_ns == 0 || timeout_ns == UINT64_MAX)
        return (int)SYS_CALL(sys, EPOLL_WAIT,
                             syscall(__NR_epoll_pwait, epoll, events, count, timeout_ns == 0 ? 0 : -1, NULL, 0));
    if (!__atomic_load_n(&lacks_pwait2, __ATOMIC_RELAXED)) {
        result = SYS_CALL(sys, EPOLL_WAIT, syscall(__NR_epoll_pwait2, epoll, events, count, &timeout, NULL, 0));
        if (result != -ENOSYS && result != -EPERM)
            return (int)result;
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
    result = (int)SYS_CALL(sys, SIGMASK, pthread_sigmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &mask, &before));
    return result == 0 && sigismember(&before, signal_number);
}

int sys_getsockname(struct sys *sys, int fd, struct sockaddr *address, socklen_t *size)
{
    return (int)SYS_CALL(sys, GETNAME, getsockname(fd, address, size));
}

int sys_getpeername(struct sys *sys, int fd, struct sockaddr *address, socklen_t *size)
{
    return (int)SYS_CALL(sys, GETNAME, getpeername(fd, address, size));
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

uint32_t sys_descriptor_limit(struct sys *sys)
{
    const uint32_t most = 1u << 22;
    struct rlimit limit = {.rlim_max = RLIM_INFINITY};

    if (SYS_CALL(sys, LIMIT, getrlimit(RLIMIT_NOFILE, &limit)) < 0 || limit.rlim_max > most)
        return most;
    return (uint32_t)limit.rlim_max;
}

uint64_t sys_monotonic_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

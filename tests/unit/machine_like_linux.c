/* The simulated machine answers as Linux does: each story is told to both by the same calls, and every result, event and name
 * that comes back is compared. Where Linux itself has changed its mind, the story leaves the question out. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <proa/directory.h>
#include <proa/sim.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "../check.h"
#include "machine/machine.h"

/* One of the two. A null machine is Linux. */
static proa_sim *machine;

static char folder[40]; /* on either side */

static long or_errno(long result)
{
    return result < 0 ? -errno : result;
}

/* The calls, to whoever it is. */
#define EITHER(simulated, real) (machine ? (long)(simulated) : or_errno(real))

static int k_socket(int family, int type)
{
    return (int)EITHER(machine_socket(machine, family, type), socket(family, type | SOCK_NONBLOCK, 0));
}

static int k_pair(int family, int type, int pair[2])
{
    return (int)EITHER(machine_socketpair(machine, family, type, pair),
                       socketpair(family, type | SOCK_NONBLOCK, 0, pair));
}

static int k_bind(int fd, const void *address, socklen_t size)
{
    return (int)EITHER(machine_bind(machine, fd, address, size), bind(fd, address, size));
}

static int k_listen(int fd, int backlog)
{
    return (int)EITHER(machine_listen(machine, fd, backlog), listen(fd, backlog));
}

static int k_accept(int fd)
{
    return (int)EITHER(machine_accept(machine, fd), accept4(fd, NULL, NULL, SOCK_NONBLOCK));
}

static int k_connect(int fd, const void *address, socklen_t size)
{
    return (int)EITHER(machine_connect(machine, fd, address, size), connect(fd, address, size));
}

static int k_getsockname(int fd, void *address, socklen_t *size)
{
    return (int)EITHER(machine_getsockname(machine, fd, address, size), getsockname(fd, address, size));
}

static int k_getpeername(int fd, void *address, socklen_t *size)
{
    return (int)EITHER(machine_getpeername(machine, fd, address, size), getpeername(fd, address, size));
}

static int k_option(int fd, int name, int value)
{
    return (int)EITHER(machine_setsockopt(machine, fd, SOL_SOCKET, name, &value, sizeof(value)),
                       setsockopt(fd, SOL_SOCKET, name, &value, sizeof(value)));
}

static int k_protocol_option(int fd, int level, int name)
{
    int value = 1;

    return (int)EITHER(machine_setsockopt(machine, fd, level, name, &value, sizeof(value)),
                       setsockopt(fd, level, name, &value, sizeof(value)));
}

static int k_error(int fd)
{
    int error = 0;
    socklen_t size = sizeof(error);
    int result = (int)EITHER(machine_getsockopt(machine, fd, SOL_SOCKET, SO_ERROR, &error, &size),
                             getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size));

    return result < 0 ? result : error;
}

static int k_send(int fd, const void *data, size_t size)
{
    return (int)EITHER(machine_send(machine, fd, data, size, 0), send(fd, data, size, MSG_NOSIGNAL));
}

static int k_recv(int fd, void *data, size_t size, int flags)
{
    return (int)EITHER(machine_recv(machine, fd, data, size, flags), recv(fd, data, size, flags));
}

static int k_sendmsg(int fd, const struct msghdr *message)
{
    return (int)EITHER(machine_sendmsg(machine, fd, message, 0), sendmsg(fd, message, MSG_NOSIGNAL));
}

static int k_recvmsg(int fd, struct msghdr *message, int flags)
{
    return (int)EITHER(machine_recvmsg(machine, fd, message, flags), recvmsg(fd, message, flags));
}

static int k_shutdown(int fd, int how)
{
    return (int)EITHER(machine_shutdown(machine, fd, how), shutdown(fd, how));
}

static int k_close(int fd)
{
    return (int)EITHER(machine_close(machine, fd), close(fd));
}

static int k_access(int fd)
{
    long flags = EITHER(machine_access(machine, fd), fcntl(fd, F_GETFL));

    return (int)(flags < 0 ? flags : flags & O_ACCMODE);
}

static int k_dup(int fd, int lowest)
{
    return (int)EITHER(machine_dup(machine, fd, lowest), fcntl(fd, F_DUPFD_CLOEXEC, lowest));
}

static int k_seek(int fd, int offset, int whence)
{
    return (int)EITHER(machine_seek(machine, fd, offset, whence), lseek(fd, offset, whence));
}

static int k_open(int directory, const char *path, int flags, unsigned resolve)
{
    struct open_how how = {.flags = (unsigned)flags, .mode = flags & O_CREAT ? 0600 : 0, .resolve = resolve};

    return (int)EITHER(machine_open(machine, directory, path, &how),
                       syscall(__NR_openat2, directory, path, &how, sizeof(how)));
}

static int k_read(int fd, void *data, size_t size, uint64_t offset)
{
    return (int)EITHER(machine_read(machine, fd, data, size, offset),
                       offset == UINT64_MAX ? read(fd, data, size) : pread(fd, data, size, (off_t)offset));
}

static int k_write(int fd, const void *data, size_t size, uint64_t offset)
{
    return (int)EITHER(machine_write(machine, fd, data, size, offset),
                       offset == UINT64_MAX ? write(fd, data, size) : pwrite(fd, data, size, (off_t)offset));
}

static int k_fsync(int fd)
{
    return (int)EITHER(machine_fsync(machine, fd), fsync(fd));
}

static int k_statx(int fd, const char *path, struct statx *ret_stat)
{
    return (int)EITHER(machine_statx(machine, fd, path, AT_EMPTY_PATH, ret_stat),
                       statx(fd, path, AT_EMPTY_PATH, STATX_BASIC_STATS, ret_stat));
}

static int k_unlink(const char *path)
{
    return (int)EITHER(machine_unlink(machine, AT_FDCWD, path, 0), unlink(path));
}

static int k_symlink(const char *target, const char *path)
{
    return (int)EITHER(machine_symlink(machine, target, AT_FDCWD, path), symlink(target, path));
}

static int k_mkdir(int directory, const char *path)
{
    return (int)EITHER(machine_mkdir(machine, directory, path, 0755), mkdirat(directory, path, 0755));
}

static int k_unlinkat(int directory, const char *path, int flags)
{
    return (int)EITHER(machine_unlink(machine, directory, path, flags), unlinkat(directory, path, flags));
}

static int k_rename(int directory, const char *from, const char *to, unsigned flags)
{
    return (int)EITHER(machine_rename(machine, directory, from, directory, to, flags),
                       renameat2(directory, from, directory, to, flags));
}

static int k_link(int directory, const char *from, const char *to, int flags)
{
    return (int)EITHER(machine_link(machine, directory, from, directory, to, flags),
                       linkat(directory, from, directory, to, flags));
}

static int k_symlinkat(const char *target, int directory, const char *path)
{
    return (int)EITHER(machine_symlink(machine, target, directory, path), symlinkat(target, directory, path));
}

static int k_readlink(int directory, const char *path, char *target, size_t size)
{
    return (int)EITHER(machine_readlink(machine, directory, path, target, size),
                       readlinkat(directory, path, target, size));
}

static int k_getdents(int fd, void *buffer, size_t size)
{
    return (int)EITHER(machine_getdents(machine, fd, buffer, size), syscall(__NR_getdents64, fd, buffer, size));
}

static int k_truncate(int fd, int64_t size)
{
    return (int)EITHER(machine_truncate(machine, fd, size), ftruncate(fd, size));
}

static int k_allocate(int fd, unsigned mode, int64_t offset, int64_t size)
{
    return (int)EITHER(machine_allocate_file(machine, fd, mode, offset, size), fallocate(fd, (int)mode, offset, size));
}

static int k_readv(int fd, const struct iovec *pieces, int count, uint64_t offset)
{
    return (int)EITHER(machine_readv(machine, fd, pieces, count, offset),
                       offset == UINT64_MAX ? readv(fd, pieces, count) : preadv(fd, pieces, count, (off_t)offset));
}

static int k_writev(int fd, const struct iovec *pieces, int count, uint64_t offset)
{
    return (int)EITHER(machine_writev(machine, fd, pieces, count, offset),
                       offset == UINT64_MAX ? writev(fd, pieces, count) : pwritev(fd, pieces, count, (off_t)offset));
}

static int k_splice(int in, uint64_t in_offset, int out, uint64_t out_offset, size_t size)
{
    off64_t in_at = (off64_t)in_offset, out_at = (off64_t)out_offset;

    return (int)EITHER(machine_splice(machine, in, &in_offset, out, &out_offset, size),
                       splice(in, in_offset == UINT64_MAX ? NULL : &in_at, out,
                              out_offset == UINT64_MAX ? NULL : &out_at, size, SPLICE_F_NONBLOCK));
}

static int k_tee(int in, int out, size_t size)
{
    return (int)EITHER(machine_tee(machine, in, out, size), tee(in, out, size, SPLICE_F_NONBLOCK));
}

static int k_vmsplice(int pipe, const void *data, size_t size)
{
    struct iovec piece = {(void *)(uintptr_t)data, size};

    return (int)EITHER(machine_vmsplice(machine, pipe, data, size), vmsplice(pipe, &piece, 1, SPLICE_F_NONBLOCK));
}

static int k_pipe(int ends[2])
{
    return (int)EITHER(machine_pipe(machine, ends), pipe2(ends, O_NONBLOCK));
}

static int k_eventfd(void)
{
    return (int)EITHER(machine_eventfd(machine), eventfd(0, EFD_NONBLOCK));
}

static int real_poll(int fd, unsigned events)
{
    struct pollfd entry = {.fd = fd, .events = (short)events};

    return poll(&entry, 1, 0) < 0 ? -1 : entry.revents;
}

static int k_poll(int fd)
{
    const unsigned all = POLLIN | POLLOUT | POLLPRI | POLLRDHUP;

    return (int)EITHER(machine_poll(machine, fd, all), real_poll(fd, all));
}

/* Gives what is on its way the time to arrive. */
static void settle(void)
{
    if (machine)
        machine_wait(machine, NULL, NULL, machine_now_ns(machine) + 10000000);
    else
        usleep(5000); /* the kernel delivers by a thread of its own where there is much to deliver */
}

/* What was heard. */

enum { HEARD_MAX = 1200, WORDS_MAX = 64 };

static char heard[2][HEARD_MAX][WORDS_MAX];
static unsigned heard_count[2];

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
    unsigned side = machine != NULL;
    va_list arguments;

    if (heard_count[side] == HEARD_MAX)
        abort();
    va_start(arguments, format);
    vsnprintf(heard[side][heard_count[side]++], WORDS_MAX, format, arguments);
    va_end(arguments);
}

#define NOTE(call) note("%d: %s: %d", __LINE__, #call, (call))

/* Descriptors' numbers differ: only whether there is one is told. */
static int told(int line, int fd)
{
    note("%d: descriptor: %d", line, fd < 0 ? fd : 0);
    return fd;
}

#define OPEN(call) told(__LINE__, (call))

/* Sockets' stories */

static struct sockaddr_in ip4(unsigned address, unsigned port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(address)};
}

static int tcp_listener(int backlog, struct sockaddr_in *ret_address)
{
    socklen_t size = sizeof(*ret_address);
    int fd = k_socket(AF_INET, SOCK_STREAM);

    *ret_address = ip4(INADDR_LOOPBACK, 0);
    NOTE(k_bind(fd, ret_address, sizeof(*ret_address)));
    NOTE(k_listen(fd, backlog));
    NOTE(k_getsockname(fd, ret_address, &size));
    return fd;
}

static void tcp_pair(int pair[2])
{
    struct sockaddr_in address;
    int listener = tcp_listener(4, &address);

    pair[0] = k_socket(AF_INET, SOCK_STREAM);
    k_connect(pair[0], &address, sizeof(address));
    settle();
    pair[1] = OPEN(k_accept(listener));
    k_close(listener);
    settle();
}

static void local_pair(int pair[2])
{
    NOTE(k_pair(AF_UNIX, SOCK_STREAM, pair));
}

typedef void pair_opener(int pair[2]);

static void close_both(int pair[2])
{
    NOTE(k_close(pair[0]));
    NOTE(k_close(pair[1]));
}

static void tell_stream(pair_opener *open_pair)
{
    char data[64];
    int pair[2];

    open_pair(pair);
    NOTE(k_poll(pair[0]));
    NOTE(k_recv(pair[0], data, sizeof(data), 0));
    NOTE(k_send(pair[1], "hello", 5));
    settle();
    NOTE(k_poll(pair[0]));
    NOTE(k_recv(pair[0], data, sizeof(data), MSG_PEEK));
    NOTE(k_recv(pair[0], data, 2, 0));
    NOTE(k_read(pair[0], data, sizeof(data), UINT64_MAX));
    NOTE(k_read(pair[0], data, sizeof(data), 0));
    NOTE(k_write(pair[0], "abc", 3, UINT64_MAX));
    NOTE(k_error(pair[0]));
    settle();
    NOTE(k_recv(pair[1], data, sizeof(data), 0));
    close_both(pair);
}

static void tell_half_close(pair_opener *open_pair)
{
    char data[64];
    int pair[2];

    open_pair(pair);
    NOTE(k_send(pair[0], "last", 4));
    NOTE(k_shutdown(pair[0], SHUT_WR));
    NOTE(k_send(pair[0], "more", 4));
    NOTE(k_poll(pair[0]));
    settle();
    NOTE(k_poll(pair[1]));
    NOTE(k_recv(pair[1], data, sizeof(data), 0));
    NOTE(k_recv(pair[1], data, sizeof(data), 0));
    NOTE(k_recv(pair[1], data, sizeof(data), 0));
    NOTE(k_send(pair[1], "answer", 6));
    settle();
    NOTE(k_recv(pair[0], data, sizeof(data), 0));
    NOTE(k_shutdown(pair[1], SHUT_WR));
    settle();
    NOTE(k_poll(pair[0]));
    NOTE(k_poll(pair[1]));
    NOTE(k_recv(pair[0], data, sizeof(data), 0));
    close_both(pair);
}

static void tell_closed_peer(pair_opener *open_pair)
{
    char data[64];
    int pair[2];

    open_pair(pair);
    NOTE(k_send(pair[0], "before", 6));
    settle();
    NOTE(k_recv(pair[1], data, sizeof(data), 0));
    NOTE(k_close(pair[1]));
    settle();
    NOTE(k_poll(pair[0]));
    NOTE(k_recv(pair[0], data, sizeof(data), 0));
    NOTE(k_send(pair[0], "one", 3));
    settle();
    NOTE(k_poll(pair[0]));
    NOTE(k_send(pair[0], "two", 3));
    NOTE(k_send(pair[0], "three", 5));
    NOTE(k_recv(pair[0], data, sizeof(data), 0));
    NOTE(k_error(pair[0]));
    NOTE(k_poll(pair[0]));
    NOTE(k_shutdown(pair[0], SHUT_RDWR) == 0);
    NOTE(k_close(pair[0]));
}

/* Closing with something unread resets. */
static void tell_unread(pair_opener *open_pair)
{
    char data[64];
    int pair[2];

    open_pair(pair);
    NOTE(k_send(pair[0], "unread", 6));
    NOTE(k_send(pair[1], "left", 4));
    settle();
    NOTE(k_close(pair[1]));
    settle();
    NOTE(k_poll(pair[0]));
    NOTE(k_recv(pair[0], data, sizeof(data), 0));
    NOTE(k_recv(pair[0], data, sizeof(data), 0));
    NOTE(k_recv(pair[0], data, sizeof(data), 0));
    NOTE(k_send(pair[0], "more", 4));
    NOTE(k_error(pair[0]));
    NOTE(k_poll(pair[0]));
    NOTE(k_close(pair[0]));

    open_pair(pair);
    NOTE(k_send(pair[0], "unread", 6));
    settle();
    NOTE(k_close(pair[1]));
    settle();
    NOTE(k_send(pair[0], "more", 4));
    NOTE(k_send(pair[0], "more", 4));
    NOTE(k_recv(pair[0], data, sizeof(data), 0));
    NOTE(k_close(pair[0]));
}

/* How much fits differs; that it ends, and goes on after a read, does not. */
static void tell_full(pair_opener *open_pair)
{
    static char data[65536];
    int pair[2], result;

    open_pair(pair);
    do {
        result = k_send(pair[0], data, sizeof(data));
        settle();
    } while (result > 0);
    note("%d: full: %d", __LINE__, result);
    NOTE(k_poll(pair[0]));
    do {
        result = k_recv(pair[1], data, sizeof(data), 0);
        settle();
    } while (result > 0);
    note("%d: empty: %d", __LINE__, result);
    settle();
    NOTE(k_poll(pair[0]));
    NOTE(k_send(pair[0], data, 1));
    close_both(pair);
}

static void tell_refused(void)
{
    struct sockaddr_in address;
    int listener = tcp_listener(1, &address);
    int fd = k_socket(AF_INET, SOCK_STREAM);
    char data[8];

    NOTE(k_poll(fd));
    NOTE(k_recv(fd, data, sizeof(data), 0));
    NOTE(k_send(fd, data, sizeof(data)));
    NOTE(k_shutdown(fd, SHUT_WR));
    k_close(listener);
    k_connect(fd, &address, sizeof(address));
    settle();
    NOTE(k_poll(fd));
    NOTE(k_error(fd));
    NOTE(k_error(fd));
    NOTE(k_recv(fd, data, sizeof(data), 0));
    NOTE(k_close(fd));
}

static void tell_tcp_calls(void)
{
    struct sockaddr_in address, name = {0};
    socklen_t size = sizeof(name);
    int listener = tcp_listener(2, &address);
    int fd = k_socket(AF_INET, SOCK_STREAM), taken;
    char data[8];

    NOTE(k_poll(listener));
    NOTE(k_accept(listener));
    NOTE(k_recv(listener, data, sizeof(data), 0));
    NOTE(k_send(listener, data, sizeof(data)));
    NOTE(k_accept(fd));
    NOTE(k_getpeername(fd, &name, &size));
    NOTE(k_bind(listener, &address, sizeof(address)));
    NOTE(k_bind(fd, &address, sizeof(address)));
    NOTE(k_bind(fd, &address, 4));
    k_connect(fd, &address, sizeof(address));
    settle();
    NOTE(k_poll(fd));
    NOTE(k_connect(fd, &address, sizeof(address)) <= 0);
    NOTE(k_connect(fd, &address, sizeof(address)));
    NOTE(k_listen(fd, 1));
    NOTE(k_poll(listener));
    taken = OPEN(k_accept(listener));
    size = sizeof(name);
    NOTE(k_getsockname(taken, &name, &size));
    NOTE((int)size);
    NOTE(name.sin_port == address.sin_port && name.sin_addr.s_addr == address.sin_addr.s_addr);
    size = sizeof(name);
    NOTE(k_getpeername(fd, &name, &size));
    NOTE(name.sin_port == address.sin_port);
    size = 4;
    NOTE(k_getpeername(taken, &name, &size));
    NOTE((int)size);
    NOTE(k_close(listener));
    NOTE(k_close(taken));
    NOTE(k_close(fd));
    NOTE(k_close(-1));
    NOTE(k_recv(-1, data, sizeof(data), 0));
}

/* Connections that nobody took are reset with their listener. */
static void tell_listener_closed(void)
{
    struct sockaddr_in address;
    int listener = tcp_listener(4, &address);
    int fd = k_socket(AF_INET, SOCK_STREAM);
    char data[8];

    k_connect(fd, &address, sizeof(address));
    settle();
    NOTE(k_close(listener));
    settle();
    NOTE(k_poll(fd));
    NOTE(k_recv(fd, data, sizeof(data), 0));
    NOTE(k_recv(fd, data, sizeof(data), 0));
    NOTE(k_close(fd));
}

static void tell_sharing(void)
{
    struct sockaddr_in address;
    int first = k_socket(AF_INET, SOCK_STREAM), second = k_socket(AF_INET, SOCK_STREAM);
    socklen_t size = sizeof(address);

    address = ip4(INADDR_ANY, 0);
    NOTE(k_option(first, SO_REUSEPORT, 1));
    NOTE(k_option(second, SO_REUSEPORT, 1));
    NOTE(k_bind(first, &address, sizeof(address)));
    NOTE(k_getsockname(first, &address, &size));
    NOTE(k_bind(second, &address, sizeof(address)));
    NOTE(k_listen(first, 1));
    NOTE(k_listen(second, 1));
    NOTE(k_close(second));
    second = k_socket(AF_INET, SOCK_STREAM);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    NOTE(k_option(second, SO_REUSEADDR, 1));
    NOTE(k_bind(second, &address, sizeof(address)));
    NOTE(k_close(first));
    NOTE(k_bind(second, &address, sizeof(address)));
    NOTE(k_close(second));
}

static void tell_two_families(void)
{
    struct sockaddr_in6 any = {.sin6_family = AF_INET6}, name = {0};
    struct sockaddr_in to;
    socklen_t size = sizeof(any);
    int listener = k_socket(AF_INET6, SOCK_STREAM), fd = k_socket(AF_INET, SOCK_STREAM), taken;

    NOTE(k_bind(listener, &any, sizeof(any)));
    NOTE(k_listen(listener, 4));
    NOTE(k_getsockname(listener, &any, &size));
    to = ip4(INADDR_LOOPBACK, ntohs(any.sin6_port));
    k_connect(fd, &to, sizeof(to));
    settle();
    taken = OPEN(k_accept(listener));
    size = sizeof(name);
    NOTE(k_getpeername(taken, &name, &size));
    NOTE((int)size);
    NOTE(IN6_IS_ADDR_V4MAPPED(&name.sin6_addr));
    NOTE(k_close(taken));
    NOTE(k_close(fd));
    NOTE(k_close(listener));
}

static struct sockaddr_un local_address(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof(address.sun_path), "%.60s/%.30s", folder, name);
    return address;
}

static void tell_local_sockets(void)
{
    struct sockaddr_un address = local_address("socket"), missing = local_address("missing"), name;
    struct sockaddr_un inside = local_address("socket/inside"), file = local_address("plain");
    int listener = k_socket(AF_UNIX, SOCK_STREAM), fd = k_socket(AF_UNIX, SOCK_STREAM), other, taken;
    socklen_t size = sizeof(name);
    char data[8];

    NOTE(k_poll(fd));
    NOTE(k_recv(fd, data, sizeof(data), 0));
    NOTE(k_send(fd, data, sizeof(data)));
    NOTE(k_listen(fd, 1));
    NOTE(k_connect(fd, &missing, sizeof(missing)));
    NOTE(k_bind(listener, &inside, sizeof(inside)) < 0);
    NOTE(k_bind(listener, &address, sizeof(address)));
    NOTE(k_connect(fd, &address, sizeof(address)));
    NOTE(k_listen(listener, 0));
    NOTE(k_bind(fd, &address, sizeof(address)));
    NOTE(k_connect(fd, &address, sizeof(address)));
    NOTE(k_connect(fd, &address, sizeof(address)));
    other = k_socket(AF_UNIX, SOCK_STREAM);
    NOTE(k_connect(other, &address, sizeof(address)));
    NOTE(k_poll(listener));
    taken = OPEN(k_accept(listener));
    NOTE(k_accept(listener));
    NOTE(k_getsockname(fd, &name, &size));
    NOTE((int)size);
    size = sizeof(name);
    NOTE(k_getpeername(taken, &name, &size));
    NOTE((int)size);
    size = sizeof(name);
    NOTE(k_getsockname(taken, &name, &size));
    NOTE(strcmp(name.sun_path, address.sun_path));
    NOTE(k_connect(other, &address, sizeof(address)));
    NOTE(k_close(listener));
    NOTE(k_poll(other));
    NOTE(k_recv(other, data, sizeof(data), 0));
    NOTE(k_close(other));
    other = k_socket(AF_UNIX, SOCK_STREAM);
    NOTE(k_connect(other, &address, sizeof(address)));
    NOTE(k_close(k_open(AT_FDCWD, file.sun_path, O_CREAT | O_RDWR, 0)));
    NOTE(k_connect(other, &file, sizeof(file)));
    NOTE(k_unlink(address.sun_path));
    NOTE(k_connect(other, &address, sizeof(address)));
    NOTE(k_close(other));
    NOTE(k_close(taken));
    NOTE(k_poll(fd));
    NOTE(k_close(fd));
}

static int udp_socket(struct sockaddr_in *ret_address)
{
    socklen_t size = sizeof(*ret_address);
    int fd = OPEN(k_socket(AF_INET, SOCK_DGRAM));

    *ret_address = ip4(INADDR_LOOPBACK, 0);
    NOTE(k_bind(fd, ret_address, sizeof(*ret_address)));
    NOTE(k_getsockname(fd, ret_address, &size));
    return fd;
}

static void tell_datagrams(void)
{
    struct sockaddr_in one_address, other_address, from = {0};
    int one = udp_socket(&one_address), other = udp_socket(&other_address);
    char data[64];
    struct iovec piece = {(void *)"datagram", 8};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};

    NOTE(k_poll(one));
    NOTE(k_recv(one, data, sizeof(data), 0));
    NOTE(k_sendmsg(one, &message));
    message.msg_name = &other_address;
    message.msg_namelen = sizeof(other_address);
    NOTE(k_sendmsg(one, &message));
    NOTE(k_sendmsg(one, &message));
    settle();
    NOTE(k_poll(other));
    piece = (struct iovec){data, sizeof(data)};
    message.msg_name = &from;
    message.msg_namelen = sizeof(from);
    NOTE(k_recvmsg(other, &message, 0));
    NOTE((int)message.msg_namelen);
    NOTE(from.sin_port == one_address.sin_port);
    NOTE(message.msg_flags & MSG_TRUNC);
    piece.iov_len = 3;
    NOTE(k_recvmsg(other, &message, 0));
    NOTE(message.msg_flags & MSG_TRUNC);
    NOTE(k_recvmsg(other, &message, 0));
    NOTE(k_connect(one, &other_address, sizeof(other_address)));
    NOTE(k_close(other));
    NOTE(k_send(one, "lost", 4));
    settle();
    NOTE(k_poll(one));
    NOTE(k_recv(one, data, sizeof(data), 0));
    NOTE(k_recv(one, data, sizeof(data), 0));
    NOTE(k_listen(one, 1));
    NOTE(k_accept(one));
    NOTE(k_close(one));
}

/* A Unix receiver's queue is short, and who is connected to it waits for room. */
static void tell_local_datagrams(void)
{
    struct sockaddr_un address = local_address("mailbox"), from;
    int receiver = OPEN(k_socket(AF_UNIX, SOCK_DGRAM)), sender = OPEN(k_socket(AF_UNIX, SOCK_DGRAM));
    char data[8];
    struct iovec piece = {data, sizeof(data)};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_name = &from, .msg_namelen = sizeof(from)};

    NOTE(k_bind(receiver, &address, sizeof(address)));
    NOTE(k_poll(sender));
    NOTE(k_connect(sender, &address, sizeof(address)));
    for (int i = 0; i < 12; i++) {
        NOTE(k_poll(sender));
        NOTE(k_send(sender, "letter", 6));
    }
    NOTE(k_poll(sender));
    NOTE(k_recvmsg(receiver, &message, 0));
    NOTE((int)message.msg_namelen);
    NOTE(k_send(sender, "letter", 6));
    NOTE(k_send(sender, "letter", 6));
    NOTE(k_protocol_option(sender, IPPROTO_IP, IP_TOS));
    NOTE(k_protocol_option(sender, IPPROTO_UDP, 103));
    NOTE(k_close(sender));
    NOTE(k_close(receiver));
    NOTE(k_unlink(address.sun_path));
}

/* Other descriptors' stories */

static void tell_pipe(void)
{
    static char data[65536];
    int ends[2];

    NOTE(k_pipe(ends));
    NOTE(k_access(ends[0]));
    NOTE(k_access(ends[1]));
    NOTE(k_access(-1));
    NOTE(k_poll(ends[0]));
    NOTE(k_poll(ends[1]));
    NOTE(k_read(ends[0], data, sizeof(data), UINT64_MAX));
    NOTE(k_write(ends[0], data, 1, UINT64_MAX));
    NOTE(k_read(ends[1], data, 1, UINT64_MAX));
    NOTE(k_write(ends[1], data, sizeof(data), UINT64_MAX));
    NOTE(k_write(ends[1], data, 1, UINT64_MAX));
    NOTE(k_poll(ends[1]));
    NOTE(k_read(ends[0], data, 4096, UINT64_MAX));
    NOTE(k_poll(ends[1]));
    NOTE(k_read(ends[0], data, 1, 0));
    NOTE(k_recv(ends[0], data, 1, 0));
    NOTE(k_close(ends[1]));
    NOTE(k_poll(ends[0]));
    NOTE(k_read(ends[0], data, sizeof(data), UINT64_MAX));
    NOTE(k_read(ends[0], data, sizeof(data), UINT64_MAX));
    NOTE(k_poll(ends[0]));
    NOTE(k_close(ends[0]));
    NOTE(k_pipe(ends));
    NOTE(k_close(ends[0]));
    NOTE(k_poll(ends[1]));
    NOTE(k_write(ends[1], data, 1, UINT64_MAX));
    NOTE(k_close(ends[1]));
}

static void tell_splicing(void)
{
    static char data[4096];
    int one[2], other[2], pair[2];

    NOTE(k_pipe(one));
    NOTE(k_pipe(other));
    local_pair(pair);
    NOTE(k_splice(one[0], UINT64_MAX, other[1], UINT64_MAX, 100));
    NOTE(k_tee(one[0], other[1], 100));
    NOTE(k_vmsplice(one[1], data, 1000));
    NOTE(k_vmsplice(pair[0], data, 1000));
    NOTE(k_tee(one[0], other[1], 100));
    NOTE(k_tee(one[0], one[1], 100));
    NOTE(k_tee(one[0], pair[0], 100));
    NOTE(k_tee(one[0], other[1], 0));
    NOTE(k_splice(one[0], UINT64_MAX, one[1], UINT64_MAX, 100));
    NOTE(k_splice(one[1], UINT64_MAX, other[1], UINT64_MAX, 100));
    NOTE(k_splice(one[0], 0, other[1], UINT64_MAX, 100));
    NOTE(k_splice(one[0], UINT64_MAX, other[1], 0, 100));
    NOTE(k_splice(pair[0], UINT64_MAX, pair[0], UINT64_MAX, 100));
    NOTE(k_splice(-1, UINT64_MAX, other[1], UINT64_MAX, 100));
    NOTE(k_splice(one[0], UINT64_MAX, other[1], UINT64_MAX, 300));
    NOTE(k_splice(one[0], UINT64_MAX, pair[0], UINT64_MAX, 5000));
    NOTE(k_splice(pair[1], UINT64_MAX, one[1], UINT64_MAX, 200));
    NOTE(k_splice(pair[0], UINT64_MAX, one[1], UINT64_MAX, 200));
    NOTE(k_read(one[0], data, sizeof(data), UINT64_MAX));
    NOTE(k_read(other[0], data, sizeof(data), UINT64_MAX));
    NOTE(k_close(one[1]));
    NOTE(k_splice(one[0], UINT64_MAX, other[1], UINT64_MAX, 100));
    NOTE(k_tee(one[0], other[1], 100));
    NOTE(k_close(pair[0]));
    NOTE(k_splice(pair[1], UINT64_MAX, other[1], UINT64_MAX, 5000));
    NOTE(k_splice(pair[1], UINT64_MAX, other[1], UINT64_MAX, 100));
    NOTE(k_close(other[0]));
    NOTE(k_vmsplice(other[1], data, 10));
    NOTE(k_close(one[0]));
    NOTE(k_close(other[1]));
    NOTE(k_close(pair[1]));
}

static void tell_eventfd(void)
{
    uint64_t value = 3;
    int fd = OPEN(k_eventfd());

    NOTE(k_poll(fd));
    NOTE(k_read(fd, &value, sizeof(value), UINT64_MAX));
    NOTE(k_write(fd, &value, sizeof(value), UINT64_MAX));
    NOTE(k_write(fd, &value, sizeof(value), UINT64_MAX));
    NOTE(k_write(fd, &value, 4, UINT64_MAX));
    NOTE(k_poll(fd));
    NOTE(k_read(fd, &value, sizeof(value), UINT64_MAX));
    NOTE((int)value);
    NOTE(k_read(fd, &value, sizeof(value), UINT64_MAX));
    NOTE(k_recv(fd, &value, sizeof(value), 0));
    NOTE(k_fsync(fd));
    NOTE(k_close(fd));
}

/* A descriptor, or the error. Closed at once. */
static int try_open(int directory, const char *path, int flags, unsigned resolve)
{
    int fd = k_open(directory, path, flags, resolve);

    return fd < 0 ? fd : k_close(fd);
}

static void tell_opening(void)
{
    int directory = OPEN(k_open(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, 0));

    NOTE(try_open(directory, "new", O_RDWR, 0));
    NOTE(try_open(directory, "new", O_RDWR | O_CREAT | O_EXCL, 0));
    NOTE(try_open(directory, "new", O_RDWR | O_CREAT | O_EXCL, 0));
    NOTE(try_open(directory, "new", O_RDONLY | O_DIRECTORY, 0));
    NOTE(try_open(directory, "new/", O_RDONLY, 0));
    NOTE(try_open(directory, "new/below", O_RDONLY, 0));
    NOTE(try_open(directory, "none/below", O_RDONLY | O_CREAT, 0));
    NOTE(try_open(directory, "none/", O_RDONLY | O_CREAT, 0));
    NOTE(try_open(directory, ".", O_RDWR, 0));
    NOTE(try_open(directory, ".", O_RDONLY, 0));
    NOTE(try_open(directory, "./././new", O_RDONLY, 0));
    NOTE(try_open(directory, "", O_RDONLY, 0));
    NOTE(try_open(directory, "..", O_RDONLY, 0));
    NOTE(try_open(directory, "..", O_RDONLY, RESOLVE_BENEATH));
    NOTE(try_open(directory, "./new", O_RDONLY, RESOLVE_BENEATH));
    NOTE(try_open(directory, "/", O_RDONLY, RESOLVE_BENEATH));
    NOTE(try_open(-1, "new", O_RDONLY, 0));
    NOTE(try_open(-1, "/", O_RDONLY, 0));
    NOTE(try_open(directory, "/", O_WRONLY, 0));
    NOTE(k_close(directory));
}

static void tell_files(void)
{
    int directory = OPEN(k_open(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, 0));
    int fd = OPEN(k_open(directory, "file", O_RDWR | O_CREAT, 0)), other;
    struct statx status;
    char data[64];

    NOTE(k_poll(fd));
    NOTE(k_write(fd, "0123456789", 10, UINT64_MAX));
    NOTE(k_write(fd, "ab", 2, 20));
    NOTE(k_read(fd, data, sizeof(data), UINT64_MAX));
    NOTE(data[9]);
    NOTE(data[0]);
    NOTE(k_read(fd, data, sizeof(data), 8));
    NOTE(data[1]);
    NOTE(data[3]);
    NOTE(k_read(fd, data, sizeof(data), 22));
    NOTE(k_read(fd, data, sizeof(data), 100));
    NOTE(k_fsync(fd));
    NOTE(k_recv(fd, data, sizeof(data), 0));
    NOTE(k_statx(fd, "", &status));
    NOTE((int)status.stx_size);
    NOTE(status.stx_mode & S_IFMT);
    NOTE((int)status.stx_nlink);
    NOTE(k_statx(directory, "file", &status));
    NOTE(k_statx(directory, "none", &status));
    NOTE(k_statx(directory, "file/none", &status));
    NOTE(k_statx(fd, "file", &status));
    NOTE(k_statx(directory, "", &status));
    NOTE(status.stx_mode & S_IFMT);
    other = OPEN(k_open(directory, "file", O_WRONLY | O_APPEND, 0));
    NOTE(k_read(other, data, 1, 0));
    NOTE(k_write(other, "end", 3, 0));
    NOTE(k_read(fd, data, sizeof(data), 0));
    NOTE(k_close(other));
    other = OPEN(k_open(directory, "file", O_RDONLY, 0));
    NOTE(k_write(other, "x", 1, 0));
    NOTE(k_close(other));
    other = OPEN(k_open(directory, "file", O_PATH, 0));
    NOTE(k_read(other, data, 1, 0));
    NOTE(k_fsync(other));
    NOTE(k_close(other));
    NOTE(k_read(directory, data, 1, UINT64_MAX));
    other = OPEN(k_open(directory, "file", O_WRONLY | O_TRUNC, 0));
    NOTE(k_read(fd, data, sizeof(data), 0));
    NOTE(k_close(other));
    snprintf(data, sizeof(data), "%s/file", folder);
    NOTE(k_unlink(data));
    NOTE(k_unlink(data));
    NOTE(k_unlink(folder));
    NOTE(k_write(fd, "still here", 10, 0));
    NOTE(k_statx(fd, "", &status));
    NOTE((int)status.stx_nlink);
    NOTE(k_close(fd));
    NOTE(k_close(directory));
}

/* Another number for the same: it is closed with the last of them. */
static void limit_descriptors(uint32_t limit)
{
    struct rlimit limits;

    if (machine) {
        machine_limit_descriptors(machine, limit);
        return;
    }
    getrlimit(RLIMIT_NOFILE, &limits);
    limits.rlim_cur = limit < limits.rlim_max ? limit : limits.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limits);
}

/* Numbers below the limit are given, and those above it stay open. */
static void tell_limit(void)
{
    int ends[2], above;

    NOTE(k_pipe(ends));
    above = OPEN(k_dup(ends[0], 500));
    limit_descriptors((uint32_t)ends[1] + 1);
    NOTE(k_dup(ends[0], 0));
    NOTE(k_dup(ends[0], 500));
    NOTE(k_socket(AF_INET, SOCK_STREAM));
    NOTE(k_eventfd());
    NOTE(k_poll(above));
    NOTE(k_close(ends[1]));
    ends[1] = OPEN(k_dup(ends[0], 0));
    limit_descriptors(1024);
    NOTE(k_close(OPEN(k_dup(ends[0], 500))));
    NOTE(k_close(above));
    NOTE(k_close(ends[0]));
    NOTE(k_close(ends[1]));
}

static void tell_dup(void)
{
    char data[8];
    int ends[2], other;

    NOTE(k_pipe(ends));
    other = OPEN(k_dup(ends[1], 50));
    NOTE(other >= 50);
    NOTE(k_close(ends[1]));
    NOTE(k_poll(ends[0]));
    NOTE(k_write(other, "x", 1, UINT64_MAX));
    NOTE(k_read(ends[0], data, 1, UINT64_MAX));
    NOTE(k_close(other));
    NOTE(k_read(ends[0], data, 1, UINT64_MAX));
    NOTE(k_dup(other, 0));
    NOTE(k_dup(ends[0], -1));
    NOTE(k_close(ends[0]));
}

/* A link of that name in the folder. */
static int make_link(const char *name, const char *target)
{
    char path[80];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return k_symlink(target, path);
}

static void tell_links(void)
{
    int directory = OPEN(k_open(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, 0));
    struct statx status;

    NOTE(try_open(directory, "aim", O_RDWR | O_CREAT, 0));
    NOTE(make_link("to_file", "aim"));
    NOTE(make_link("to_file", "aim"));
    NOTE(make_link("to_link", "./to_file"));
    NOTE(make_link("to_itself", "to_itself"));
    NOTE(make_link("to_nothing", "nothing"));
    NOTE(make_link("to_here", "."));
    NOTE(make_link("to_root", "/"));
    NOTE(make_link("to_above", ".."));
    NOTE(try_open(directory, "to_file", O_RDONLY, 0));
    NOTE(try_open(directory, "to_link", O_RDONLY, RESOLVE_BENEATH));
    NOTE(try_open(directory, "to_link", O_RDONLY, RESOLVE_NO_SYMLINKS));
    NOTE(try_open(directory, "to_file", O_RDONLY | O_NOFOLLOW, 0));
    NOTE(try_open(directory, "to_file", O_PATH | O_NOFOLLOW, 0));
    NOTE(try_open(directory, "to_here", O_RDONLY | O_NOFOLLOW | O_DIRECTORY, 0));
    NOTE(try_open(directory, "to_here/to_here/aim", O_RDONLY | O_NOFOLLOW, 0));
    NOTE(try_open(directory, "to_here/", O_RDONLY | O_NOFOLLOW, 0));
    NOTE(try_open(directory, "to_here/aim", O_RDONLY, RESOLVE_NO_SYMLINKS));
    NOTE(try_open(directory, "to_file/", O_RDONLY, 0));
    NOTE(try_open(directory, "to_file/more", O_RDONLY, 0));
    NOTE(try_open(directory, "to_itself", O_RDONLY, 0));
    NOTE(try_open(directory, "to_nothing", O_RDONLY, 0));
    NOTE(try_open(directory, "to_nothing", O_RDWR | O_CREAT | O_EXCL, 0));
    NOTE(try_open(directory, "to_nothing", O_RDWR | O_CREAT, 0));
    NOTE(try_open(directory, "nothing", O_RDONLY, 0));
    NOTE(try_open(directory, "to_root", O_RDONLY, 0));
    NOTE(try_open(directory, "to_root", O_RDONLY, RESOLVE_BENEATH));
    NOTE(try_open(directory, "to_above", O_RDONLY, RESOLVE_BENEATH));
    NOTE(try_open(directory, "to_above/", O_RDONLY, 0));
    NOTE(k_statx(directory, "to_link", &status));
    NOTE(status.stx_mode & S_IFMT);
    NOTE(k_close(directory));
}

/* The names in a directory, sorted, with their types. */
static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void tell_list(int directory, const char *path, size_t size)
{
    int fd = OPEN(k_open(directory, path, O_RDONLY | O_DIRECTORY, 0)), bytes;
    char buffer[1024], names[16][64];
    proa_directory_entry entry;
    size_t count = 0;

    while ((bytes = k_getdents(fd, buffer, size)) > 0)
        for (size_t position = 0; count < 16 && proa_directory_next(buffer, bytes, &position, &entry); count++)
            snprintf(names[count], sizeof(names[count]), "%.50s:%u", entry.name, entry.type);
    NOTE(bytes);
    qsort(names, count, sizeof(names[0]), compare_names);
    for (size_t i = 0; i < count; i++)
        note("%s", names[i]);
    NOTE(k_close(fd));
}

static void tell_directories(void)
{
    int at = OPEN(k_open(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, 0)), inside, ends[2];
    struct statx status;
    char buffer[64];

    NOTE(k_mkdir(at, "names"));
    NOTE(k_mkdir(at, "names"));
    NOTE(k_mkdir(at, "names/a/"));
    NOTE(k_mkdir(at, "names/none/b"));
    NOTE(k_mkdir(at, "names/."));
    NOTE(k_mkdir(at, "names/.."));
    NOTE(k_mkdir(at, "/"));
    NOTE(k_mkdir(at, ""));
    NOTE(k_mkdir(-1, "x"));
    NOTE(k_symlinkat("nowhere", at, "names/dangling"));
    NOTE(k_mkdir(at, "names/dangling"));
    NOTE(k_mkdir(at, "names/dangling/"));
    NOTE(k_mkdir(at, "names/dangling/x"));
    NOTE(k_symlinkat("a", at, "names/to_a"));
    NOTE(k_mkdir(at, "names/to_a/b"));
    NOTE(k_mkdir(at, "names/to_a"));
    tell_list(at, "names", sizeof(buffer));
    tell_list(at, "names", 1024);
    tell_list(at, "names/a/b", 1024);
    NOTE(k_unlinkat(at, "names/a", AT_REMOVEDIR));
    NOTE(k_unlinkat(at, "names/a", 0));
    NOTE(k_unlinkat(at, "names/to_a/", AT_REMOVEDIR));
    NOTE(k_unlinkat(at, "names/to_a/", 0));
    NOTE(k_unlinkat(at, "names/to_a", AT_REMOVEDIR));
    NOTE(k_unlinkat(at, "names/none", 0));
    NOTE(k_unlinkat(at, "names/none/", 0));
    NOTE(k_unlinkat(at, "names/none", AT_REMOVEDIR));
    NOTE(k_unlinkat(at, "names/a/b/.", AT_REMOVEDIR));
    NOTE(k_unlinkat(at, "names/a/b/..", AT_REMOVEDIR));
    NOTE(k_unlinkat(at, "names/a/b/.", 0));
    NOTE(k_unlinkat(at, "/", AT_REMOVEDIR));
    NOTE(k_unlinkat(at, "/", 0));
    NOTE(k_unlinkat(at, "names/a", 12345));
    inside = OPEN(k_open(at, "names/a/b", O_RDONLY | O_DIRECTORY, 0));
    NOTE(k_getdents(inside, buffer, 8));
    NOTE(k_unlinkat(at, "names/a/b/", AT_REMOVEDIR));
    NOTE(k_getdents(inside, buffer, sizeof(buffer)));
    NOTE(k_mkdir(inside, "x"));
    NOTE(k_symlinkat("x", inside, "x"));
    NOTE(try_open(inside, "x", O_RDWR | O_CREAT, 0));
    NOTE(try_open(inside, "x", O_RDONLY, 0));
    NOTE(k_statx(inside, "", &status));
    NOTE(k_close(inside));
    NOTE(k_pipe(ends));
    NOTE(k_getdents(ends[0], buffer, sizeof(buffer)));
    NOTE(k_mkdir(ends[0], "x"));
    close_both(ends);
    NOTE(k_close(at));
}

static void tell_renaming(void)
{
    int at = OPEN(k_open(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, 0));
    int other = OPEN(k_open(at, "old", O_RDWR | O_CREAT, 0));
    struct statx status;

    NOTE(k_write(other, "old", 3, UINT64_MAX));
    NOTE(k_rename(at, "old", "new", 0));
    NOTE(k_rename(at, "old", "new", 0));
    NOTE(k_rename(at, "new", "new", 0));
    NOTE(k_rename(at, "new", "new", RENAME_NOREPLACE));
    NOTE(k_rename(at, "new", "new", RENAME_EXCHANGE));
    NOTE(k_rename(at, "new", "none", RENAME_EXCHANGE));
    NOTE(k_rename(at, "new", "other", RENAME_EXCHANGE | RENAME_NOREPLACE));
    NOTE(k_rename(at, "new", "other", 1u << 10));
    NOTE(k_rename(at, "new/", "other", 0));
    NOTE(k_rename(at, "new", "other/", 0));
    NOTE(k_rename(at, "", "other", 0));
    NOTE(k_rename(at, "new", "", 0));
    NOTE(k_rename(-1, "new", "other", 0));
    NOTE(k_mkdir(at, "dir"));
    NOTE(k_mkdir(at, "dir/sub"));
    NOTE(k_rename(at, "dir", "dir/sub/x", 0));
    NOTE(k_rename(at, "dir", "dir/sub", 0));
    NOTE(k_rename(at, "dir/sub", "dir", 0));
    NOTE(k_rename(at, "dir/sub", "dir", RENAME_EXCHANGE));
    NOTE(k_rename(at, "dir", "dir/sub", RENAME_EXCHANGE));
    NOTE(k_rename(at, "dir", "new", 0));
    NOTE(k_rename(at, "new", "dir", 0));
    NOTE(k_rename(at, "new", "dir", RENAME_NOREPLACE));
    NOTE(k_rename(at, "dir/.", "x", 0));
    NOTE(k_rename(at, "new", "dir/..", 0));
    NOTE(k_rename(at, "new", "dir/..", RENAME_NOREPLACE));
    NOTE(k_rename(at, "new", "/", 0));
    NOTE(k_rename(at, "new", "dir/sub", RENAME_EXCHANGE));
    NOTE(k_statx(at, "new/", &status));
    NOTE(k_rename(at, "new", "moved/", 0));
    NOTE(k_rename(at, "moved/", "dir/moved", 0));
    NOTE(try_open(at, "dir/moved/../sub", O_RDONLY, 0));
    NOTE(k_mkdir(at, "full"));
    NOTE(k_mkdir(at, "full/x"));
    NOTE(k_rename(at, "dir/moved", "full", 0));
    NOTE(k_rename(at, "full", "dir/moved", 0));
    tell_list(at, "dir", 1024);
    tell_list(at, "dir/moved", 1024);
    NOTE(k_symlinkat("dir", at, "to_dir"));
    NOTE(k_rename(at, "to_dir/", "x", 0));
    NOTE(k_rename(at, "to_dir", "to_dir2", 0));
    NOTE(k_rename(at, "to_dir2/sub", "to_dir2/sub2", 0));
    NOTE(k_write(other, "!", 1, UINT64_MAX));
    NOTE(k_close(other));
    other = OPEN(k_open(at, "dir/sub2", O_RDONLY, 0));
    NOTE(k_statx(other, "", &status));
    NOTE((int)status.stx_size);
    NOTE((int)status.stx_nlink);
    NOTE(k_close(other));
    NOTE(k_close(at));
}

static void tell_naming(void)
{
    int at = OPEN(k_open(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, 0));
    int file = OPEN(k_open(at, "named", O_RDWR | O_CREAT, 0));
    struct statx status;
    char target[16];

    NOTE(k_link(at, "named", "again", 0));
    NOTE(k_link(at, "named", "again", 0));
    NOTE(k_link(at, "none", "x", 0));
    NOTE(k_link(at, "named", "x/", 0));
    NOTE(k_link(at, "named/", "x", 0));
    NOTE(k_link(at, ".", "x", 0));
    NOTE(k_link(at, ".", "named", 0));
    NOTE(k_link(at, "named", "none/x", 0));
    NOTE(k_link(at, "named", ".", 0));
    NOTE(k_link(at, "named", "x", 1));
    NOTE(k_symlinkat("named", at, "to_named"));
    NOTE(k_symlinkat("named", at, "to_named"));
    NOTE(k_symlinkat("named", at, "x/"));
    NOTE(k_symlinkat("", at, "x"));
    NOTE(k_symlinkat("named", at, "."));
    NOTE(k_link(at, "to_named", "link_of_link", 0));
    NOTE(k_link(at, "to_named", "link_of_file", AT_SYMLINK_FOLLOW));
    NOTE(k_statx(at, "link_of_file", &status));
    NOTE((int)status.stx_nlink);
    NOTE(k_readlink(at, "link_of_link", target, sizeof(target)));
    NOTE(target[4]);
    NOTE(k_readlink(at, "link_of_link", target, 3));
    NOTE(k_readlink(at, "link_of_link", target, 0));
    NOTE(k_readlink(at, "named", target, 3));
    NOTE(k_readlink(at, "none", target, 3));
    NOTE(k_readlink(at, "", target, 3));
    NOTE(k_unlinkat(at, "named", 0));
    NOTE(k_write(file, "x", 1, 0));
    NOTE(k_statx(at, "again", &status));
    NOTE((int)status.stx_size);
    NOTE((int)status.stx_nlink);
    NOTE(k_rename(at, "again", "link_of_file", 0));
    NOTE(k_statx(at, "again", &status));
    NOTE(k_unlinkat(at, "again", 0));
    NOTE(k_unlinkat(at, "link_of_file", 0));
    NOTE(k_statx(file, "", &status));
    NOTE((int)status.stx_nlink);
    NOTE(k_close(file));
    NOTE(k_close(at));
}

static void tell_sizes(void)
{
    int at = OPEN(k_open(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, 0));
    int file = OPEN(k_open(at, "sized", O_RDWR | O_CREAT, 0)), other, ends[2];
    struct statx status;
    char data[8];

    NOTE(k_write(file, "0123456789", 10, 0));
    NOTE(k_truncate(file, 4));
    NOTE(k_truncate(file, 8));
    NOTE(k_read(file, data, 8, 0));
    NOTE(data[3]);
    NOTE(data[4]);
    NOTE(k_truncate(file, 9000));
    NOTE(k_write(file, "xyz", 3, 8191));
    NOTE(k_truncate(file, 8192));
    NOTE(k_truncate(file, 9000));
    NOTE(k_read(file, data, 3, 8191));
    NOTE(data[0]);
    NOTE(data[1]);
    NOTE(k_truncate(file, -1));
    NOTE(k_allocate(file, 0, 0, 10));
    NOTE(k_allocate(file, 0, 8000, 2000));
    NOTE(k_statx(file, "", &status));
    NOTE((int)status.stx_size);
    NOTE(k_allocate(file, FALLOC_FL_KEEP_SIZE, 100000, 1000));
    NOTE(k_allocate(file, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 2, 9000));
    NOTE(k_statx(file, "", &status));
    NOTE((int)status.stx_size);
    NOTE(k_read(file, data, 8, 0));
    NOTE(data[1]);
    NOTE(data[2]);
    NOTE(k_allocate(file, FALLOC_FL_PUNCH_HOLE, 0, 1));
    NOTE(k_allocate(file, 0, 0, 0));
    NOTE(k_allocate(file, 0, -1, 1));
    NOTE(k_allocate(file, 0, INT64_MAX, 1));
    NOTE(k_allocate(at, 0, 0, 1));
    NOTE(k_truncate(at, 0));
    NOTE(k_allocate(-1, 0, 0, 1));
    NOTE(k_truncate(-1, 0));
    other = OPEN(k_open(at, "sized", O_RDONLY, 0));
    NOTE(k_truncate(other, 0));
    NOTE(k_allocate(other, 0, 0, 1));
    NOTE(k_close(other));
    other = OPEN(k_open(at, "sized", O_PATH, 0));
    NOTE(k_truncate(other, 0));
    NOTE(k_allocate(other, 0, 0, 1));
    NOTE(k_getdents(other, data, 8));
    NOTE(k_close(other));
    other = OPEN(k_open(at, "sized", O_RDWR | O_APPEND, 0));
    NOTE(k_allocate(other, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, 1));
    NOTE(k_truncate(other, 1));
    NOTE(k_close(other));
    NOTE(k_pipe(ends));
    NOTE(k_truncate(ends[1], 0));
    NOTE(k_allocate(ends[1], 0, 0, 1));
    NOTE(k_allocate(ends[0], 0, 0, 1));
    close_both(ends);
    NOTE(k_close(file));
    NOTE(k_close(at));
}

static void tell_pieces(void)
{
    int at = OPEN(k_open(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, 0));
    int file = OPEN(k_open(at, "pieces", O_RDWR | O_CREAT, 0)), ends[2];
    char a[4] = "abc", b[4] = "def";
    struct iovec pieces[3] = {{a, 3}, {NULL, 0}, {b, 3}};

    NOTE(k_writev(file, pieces, 3, 10));
    NOTE(k_writev(file, pieces, 3, UINT64_MAX));
    NOTE(k_readv(file, pieces, 3, UINT64_MAX));
    NOTE(a[0]);
    NOTE(b[0]);
    NOTE(k_readv(file, pieces, 3, 14));
    NOTE(a[0]);
    NOTE(k_readv(file, pieces, 3, 16));
    NOTE(k_readv(file, pieces, 0, 0));
    NOTE(k_readv(file, pieces, -1, 0));
    NOTE(k_readv(file, pieces, 1025, 0));
    NOTE(k_readv(at, pieces, 3, 0));
    NOTE(k_pipe(ends));
    NOTE(k_writev(ends[1], pieces, 3, UINT64_MAX));
    NOTE(k_readv(ends[0], pieces, 1, UINT64_MAX));
    NOTE(k_readv(ends[0], pieces, 3, UINT64_MAX));
    NOTE(k_readv(ends[0], pieces, 3, 0));
    close_both(ends);
    NOTE(k_close(file));
    NOTE(k_close(at));
}

static void tell_seeking(void)
{
    int directory = OPEN(k_open(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, 0));
    int fd = OPEN(k_open(directory, "sought", O_RDWR | O_CREAT, 0)), other;
    int ends[2];
    char data[8];

    NOTE(k_write(fd, "0123456789", 10, UINT64_MAX));
    NOTE(k_seek(fd, 0, SEEK_CUR));
    NOTE(k_seek(fd, -3, SEEK_END));
    NOTE(k_read(fd, data, sizeof(data), UINT64_MAX));
    NOTE(data[0]);
    NOTE(k_seek(fd, 2, SEEK_SET));
    other = OPEN(k_dup(fd, 0));
    NOTE(k_read(other, data, 2, UINT64_MAX));
    NOTE(k_seek(fd, 1, SEEK_CUR));
    NOTE(k_seek(fd, 100, SEEK_SET));
    NOTE(k_seek(fd, -1, SEEK_SET));
    NOTE(k_seek(fd, 0, 99));
    NOTE(k_seek(-1, 0, SEEK_SET));
    NOTE(k_pipe(ends));
    NOTE(k_seek(ends[0], 0, SEEK_SET));
    NOTE(k_read(fd, data, 1, (uint64_t)INT64_MAX + 1));
    NOTE(k_write(fd, data, 1, UINT64_MAX - 1));
    NOTE(k_read(ends[0], data, 1, UINT64_MAX - 1));
    close_both(ends);
    NOTE(k_close(other));
    NOTE(k_close(fd));
    NOTE(k_close(directory));
}

static void tell_all(void)
{
    pair_opener *const openers[] = {tcp_pair, local_pair};

    for (size_t i = 0; i < 2; i++) {
        tell_stream(openers[i]);
        tell_half_close(openers[i]);
        tell_closed_peer(openers[i]);
        tell_unread(openers[i]);
        tell_full(openers[i]);
    }
    tell_refused();
    tell_tcp_calls();
    tell_listener_closed();
    tell_sharing();
    tell_two_families();
    tell_local_sockets();
    tell_datagrams();
    tell_local_datagrams();
    tell_pipe();
    tell_splicing();
    tell_eventfd();
    tell_opening();
    tell_files();
    tell_dup();
    tell_limit();
    tell_seeking();
    tell_links();
    tell_directories();
    tell_renaming();
    tell_naming();
    tell_sizes();
    tell_pieces();
}

static void tell_linux(void)
{
    char command[128];

    snprintf(folder, sizeof(folder), "/tmp/like_linux.XXXXXX");
    if (!CHECK(mkdtemp(folder) != NULL))
        return;
    signal(SIGPIPE, SIG_IGN);
    tell_all();
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    CHECK(system(command) == 0);
}

static void tell_machine(void)
{
    if (!CHECK(proa_sim_open(&machine, NULL) == 0) || !CHECK(proa_sim_enter(machine) == 0))
        return;
    CHECK(proa_sim_make_directory(machine, folder) == 0);
    tell_all();
    proa_sim_leave();
    proa_sim_close(machine);
}

int main(void)
{
    tell_linux();
    tell_machine();
    CHECK(heard_count[0] == heard_count[1] && heard_count[0] > 500);
    for (unsigned i = 0; i < heard_count[0]; i++)
        if (!CHECK(strcmp(heard[0][i], heard[1][i]) == 0))
            fprintf(stderr, "    Linux:   %s\n    machine: %s\n", heard[0][i], heard[1][i]);
    return check_done("machine_like_linux");
}

#include "engine/instant.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/signalfd.h>

static int stream_socket(struct sys *sys, const proa_address *address)
{
    return sys_socket(sys, address->as.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK);
}

static int is_tcp(const proa_address *address)
{
    return address->as.any.sa_family != AF_UNIX;
}

/* "*" is the IPv6 wildcard that also takes IPv4; any other IPv6 address is IPv6 alone, so that [::]:80 and 0.0.0.0:80
 * can both be listened on. The parser marks "*" by a flow label, which no listener has a use for. */
static int configure_listener(struct sys *sys, int fd, const proa_address *address, unsigned flags)
{
    int error = 0;

    if (is_tcp(address)) {
        error = sys_setsockopt(sys, fd, SOL_SOCKET, SO_REUSEADDR, 1);
        if (!error)
            error = sys_setsockopt(sys, fd, IPPROTO_TCP, TCP_NODELAY, 1);
    }
    if (!error && address->as.any.sa_family == AF_INET6)
        error = sys_setsockopt(sys, fd, IPPROTO_IPV6, IPV6_V6ONLY, address->as.ip6.sin6_flowinfo == 0);
    if (!error && flags & PROA_LISTEN_SHARD)
        error = sys_setsockopt(sys, fd, SOL_SOCKET, SO_REUSEPORT, 1);
    return error;
}

/* A socket file that refuses connections has no listener left (unix(7)). */
static void remove_stale_file(struct sys *sys, const proa_address *address)
{
    int fd = stream_socket(sys, address);

    if (fd < 0)
        return;
    if (sys_connect(sys, fd, &address->as.any, address->size) == -ECONNREFUSED)
        sys_unlink_socket(sys, address->as.local.sun_path);
    sys_close(sys, fd);
}

static int bind_listener(struct sys *sys, int fd, const proa_address *address, unsigned flags)
{
    proa_address bound = *address;
    int error;

    if (bound.as.any.sa_family == AF_INET6)
        bound.as.ip6.sin6_flowinfo = 0;
    error = sys_bind(sys, fd, &bound.as.any, bound.size);
    if (error == -EADDRINUSE && !is_tcp(address) && flags & PROA_LISTEN_REPLACE) {
        remove_stale_file(sys, address);
        error = sys_bind(sys, fd, &bound.as.any, bound.size);
    }
    return error;
}

int instant_listen(struct sys *sys, const proa_address *address, int backlog, unsigned flags)
{
    int fd = stream_socket(sys, address);
    int error;

    if (fd < 0)
        return fd;
    error = configure_listener(sys, fd, address, flags);
    if (!error)
        error = bind_listener(sys, fd, address, flags);
    if (!error)
        error = sys_listen(sys, fd, backlog);
    if (!error)
        return fd;
    sys_close(sys, fd);
    return error;
}

int instant_connect_socket(struct sys *sys, const proa_address *address)
{
    int fd = stream_socket(sys, address);
    int error;

    if (fd < 0 || !is_tcp(address))
        return fd;
    error = sys_setsockopt(sys, fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (!error)
        return fd;
    sys_close(sys, fd);
    return error;
}

int instant_signal(struct sys *sys, int signal_number)
{
    sigset_t mask;

    sigemptyset(&mask);
    if (sigaddset(&mask, signal_number) < 0 || signal_number == SIGKILL || signal_number == SIGSTOP)
        return -EINVAL;
    return sys_signalfd(sys, &mask);
}

int instant_read_signal(struct sys *sys, int fd)
{
    struct signalfd_siginfo information;
    ssize_t size;

    do
        size = sys_read(sys, fd, &information, sizeof(information), UINT64_MAX);
    while (size == -EINTR);
    return size < 0 ? (int)size : (int)information.ssi_signo;
}

static int get_name(int (*call)(struct sys *, int, struct sockaddr *, socklen_t *), int fd, proa_address *ret_address)
{
    struct sys of_no_loop = {0};
    int error;

    memset(ret_address, 0, sizeof(*ret_address));
    ret_address->size = sizeof(ret_address->as);
    error = call(&of_no_loop, fd, &ret_address->as.any, &ret_address->size);
    if (error < 0)
        ret_address->size = 0;
    return error;
}

int proa_local_address(proa_fd fd, proa_address *ret_address)
{
    return get_name(sys_getsockname, fd.handle, ret_address);
}

int proa_peer_address(proa_fd fd, proa_address *ret_address)
{
    return get_name(sys_getpeername, fd.handle, ret_address);
}

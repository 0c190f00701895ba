#include "engine/instant.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <proa/datagram.h>
#include <proa/process.h>
#include <string.h>
#include <sys/signalfd.h>

static int stream_socket(struct sys *sys, const proa_address *address)
{
    return sys_socket(sys, address->as.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | (sys->blocking ? 0 : SOCK_NONBLOCK));
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

/* A socket file that refuses connections has no listener left (unix(7)); one whose queue is full has. */
static void remove_stale_file(struct sys *sys, const proa_address *address)
{
    int fd = sys_socket(sys, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return;
    if (sys_connect(sys, fd, &address->as.any, address->size) == -ECONNREFUSED)
        sys_unlink_socket(sys, address->as.local.sun_path);
    sys_close(sys, fd);
}

static int bind_unmarked(struct sys *sys, int fd, const proa_address *address)
{
    proa_address bound = *address;

    if (bound.as.any.sa_family == AF_INET6)
        bound.as.ip6.sin6_flowinfo = 0;
    return sys_bind(sys, fd, &bound.as.any, bound.size);
}

static int bind_listener(struct sys *sys, int fd, const proa_address *address, unsigned flags)
{
    int error = bind_unmarked(sys, fd, address);

    if (error == -EADDRINUSE && !is_tcp(address) && flags & PROA_LISTEN_REPLACE) {
        remove_stale_file(sys, address);
        error = bind_unmarked(sys, fd, address);
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

/* What each flag means to the kernel. An IPv6 socket may be a dual-stack one, whose IPv4 datagrams have a TOS. */
static const struct datagram_option {
    unsigned flag;
    int family, level, name;
} datagram_options[] = {
    {PROA_DATAGRAM_TRAFFIC_CLASS, AF_INET, IPPROTO_IP, IP_RECVTOS},
    {PROA_DATAGRAM_TRAFFIC_CLASS, AF_INET6, IPPROTO_IP, IP_RECVTOS},
    {PROA_DATAGRAM_TRAFFIC_CLASS, AF_INET6, IPPROTO_IPV6, IPV6_RECVTCLASS},
    {PROA_DATAGRAM_LOCAL, AF_INET, IPPROTO_IP, IP_PKTINFO},
    {PROA_DATAGRAM_LOCAL, AF_INET6, IPPROTO_IPV6, IPV6_RECVPKTINFO},
    {PROA_DATAGRAM_GRO, AF_INET, IPPROTO_UDP, UDP_GRO},
    {PROA_DATAGRAM_GRO, AF_INET6, IPPROTO_UDP, UDP_GRO},
};

/* To a Unix socket they are IPv4's, and it says that it does not know them (EOPNOTSUPP). */
static int configure_datagrams(struct sys *sys, int fd, int family, unsigned flags)
{
    int error = 0;

    if (flags & PROA_DATAGRAM_SHARD)
        error = sys_setsockopt(sys, fd, SOL_SOCKET, SO_REUSEPORT, 1);
    for (size_t i = 0; i < ARRAY_SIZE(datagram_options) && !error; i++) {
        const struct datagram_option *option = &datagram_options[i];

        if (flags & option->flag && option->family == (family == AF_INET6 ? AF_INET6 : AF_INET))
            error = sys_setsockopt(sys, fd, option->level, option->name, 1);
    }
    return error;
}

static int name_datagrams(struct sys *sys, int fd, const proa_address *local, const proa_address *peer)
{
    int error = 0;

    if (local && local->as.any.sa_family == AF_INET6)
        error = sys_setsockopt(sys, fd, IPPROTO_IPV6, IPV6_V6ONLY, local->as.ip6.sin6_flowinfo == 0);
    if (!error && local)
        error = bind_unmarked(sys, fd, local);
    if (!error && peer)
        error = sys_connect(sys, fd, &peer->as.any, peer->size);
    return error;
}

int instant_datagram_socket(struct sys *sys, const proa_address *local, const proa_address *peer, unsigned flags)
{
    const proa_address *any = local ? local : peer;
    int fd, error;

    if (!any)
        return -EINVAL;
    fd = sys_socket(sys, any->as.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | (sys->blocking ? 0 : SOCK_NONBLOCK));
    if (fd < 0)
        return fd;
    error = configure_datagrams(sys, fd, any->as.any.sa_family, flags);
    if (!error)
        error = name_datagrams(sys, fd, local, peer);
    if (!error)
        return fd;
    sys_close(sys, fd);
    return error;
}

int instant_is_tcp(struct sys *sys, int fd)
{
    int protocol = 0;

    return sys_getsockopt(sys, fd, SOL_SOCKET, SO_PROTOCOL, &protocol) == 0 && protocol == IPPROTO_TCP;
}

int instant_shutdown(struct sys *sys, int fd, int how)
{
    int result;

    do
        result = sys_shutdown(sys, fd, how);
    while (result == -EINTR);
    return result;
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

int instant_wait_child(struct sys *sys, int fd)
{
    int value;

    do
        value = sys_wait_child(sys, fd);
    while (value == -EINTR);
    return value;
}

int proa_kill(proa_fd process, int signal_number)
{
    struct sys of_no_loop = {.machine = machine_here()};

    return sys_kill(&of_no_loop, process.handle, signal_number);
}

static int get_name(int (*call)(struct sys *, int, struct sockaddr *, socklen_t *), int fd, proa_address *ret_address)
{
    struct sys of_no_loop = {.machine = machine_here()};
    int error;

    memset(ret_address, 0, sizeof(*ret_address));
    if (fd >= PROA_DIRECT_BASE)
        return -ENOTSUP;
    ret_address->size = sizeof(ret_address->as);
    error = call(&of_no_loop, fd, &ret_address->as.any, &ret_address->size);
    if (error < 0)
        ret_address->size = 0;
    return error;
}

int proa_local_address(proa_loop *loop, proa_fd fd, proa_address *ret_address)
{
    (void)loop;
    return get_name(sys_getsockname, fd.handle, ret_address);
}

int proa_peer_address(proa_loop *loop, proa_fd fd, proa_address *ret_address)
{
    (void)loop;
    return get_name(sys_getpeername, fd.handle, ret_address);
}

#include "machine/socket.h"

#include <netinet/tcp.h>

#include "machine/disk.h"

enum { PORT_FIRST = 32768, PORT_COUNT = 28232 }; /* net.ipv4.ip_local_port_range */

void sock_init(proa_sim *machine, struct sock *sock, int family, int type)
{
    sock->family = family;
    sock->type = type;
    sock->receive_size = sock->send_size = machine->options.socket_buffer / 2;
    sock->file.serial = ++machine->serials;
}

int sock_take_error(struct sock *sock)
{
    int error = -sock->error;

    sock->error = 0;
    return error;
}

/* Pieces */

static size_t pieces_size(const struct msghdr *message)
{
    size_t size = 0;

    for (size_t i = 0; i < message->msg_iovlen; i++)
        size += message->msg_iov[i].iov_len;
    return size;
}

/* The part of piece `i` that lies within [*offset, *offset + *size); `*offset` is counted from its begin, and taken along. */
static struct iovec part_of(const struct iovec *piece, size_t *offset, size_t size)
{
    struct iovec part = {NULL, 0};

    if (*offset >= piece->iov_len) {
        *offset -= piece->iov_len;
        return part;
    }
    part.iov_base = (uint8_t *)piece->iov_base + *offset;
    part.iov_len = piece->iov_len - *offset < size ? piece->iov_len - *offset : size;
    *offset = 0;
    return part;
}

void pieces_gather(const struct msghdr *message, size_t offset, void *to, size_t size)
{
    for (size_t i = 0; size > 0 && i < message->msg_iovlen; i++) {
        struct iovec part = part_of(&message->msg_iov[i], &offset, size);

        if (part.iov_len > 0)
            memcpy(to, part.iov_base, part.iov_len);
        to = (uint8_t *)to + part.iov_len;
        size -= part.iov_len;
    }
}

void pieces_scatter(const struct msghdr *message, size_t offset, const void *from, size_t size)
{
    for (size_t i = 0; size > 0 && i < message->msg_iovlen; i++) {
        struct iovec part = part_of(&message->msg_iov[i], &offset, size);

        if (part.iov_len > 0)
            memcpy(part.iov_base, from, part.iov_len);
        from = (const uint8_t *)from + part.iov_len;
        size -= part.iov_len;
    }
}

/* Binding */

static int share(const struct sock *one, const struct sock *other)
{
    return one->reuse_port && other->reuse_port;
}

/* SO_REUSEADDR lets those share that nobody listens on (socket(7)). */
static int conflict(const struct sock *one, const struct address *address, const struct sock *other)
{
    if (one->type != other->type ||
        !(address_fits(&other->local, other->only_ip6, address) || address_fits(address, one->only_ip6, &other->local)))
        return 0;
    return !share(one, other) && !(one->reuse_address && other->reuse_address && !other->is_listening);
}

static int is_free(const proa_sim *machine, const struct sock *sock, const struct address *address)
{
    for (const struct sock *other = machine->bound; other; other = other->next)
        if (conflict(sock, address, other))
            return 0;
    return 1;
}

static int pick_port(proa_sim *machine, const struct sock *sock, struct address *address)
{
    uint64_t first = draw(machine, PORT_COUNT);

    for (uint64_t i = 0; i < PORT_COUNT; i++) {
        address->port = (uint16_t)(PORT_FIRST + (first + i) % PORT_COUNT);
        if (is_free(machine, sock, address))
            return 0;
    }
    return -EADDRINUSE;
}

static int bind_ip(proa_sim *machine, struct sock *sock, struct address *address)
{
    if (!address_is_ours(address) || (sock->only_ip6 && address_is_ip4(address)))
        return -EADDRNOTAVAIL;
    if (address->port == 0)
        return pick_port(machine, sock, address);
    return is_free(machine, sock, address) ? 0 : -EADDRINUSE;
}

static int bind_path(proa_sim *machine, struct sock *sock, const struct address *address)
{
    if (address->path[0] == 0)
        return is_free(machine, sock, address) ? 0 : -EADDRINUSE;
    return disk_make_socket(machine, address->path, &sock->node);
}

int sock_bind(proa_sim *machine, struct sock *sock, const struct address *address)
{
    struct address bound = *address;
    int error;

    if (sock->is_bound)
        return -EINVAL;
    error = sock->family == AF_UNIX ? bind_path(machine, sock, &bound) : bind_ip(machine, sock, &bound);
    if (error < 0)
        return error;
    sock->local = bound;
    sock->is_bound = 1;
    sock->next = machine->bound;
    machine->bound = sock;
    return 0;
}

int sock_bind_for(proa_sim *machine, struct sock *sock, const struct address *to)
{
    struct address source = address_source(to);

    return sock->is_bound || sock->family == AF_UNIX ? 0 : sock_bind(machine, sock, &source);
}

void sock_unbind(proa_sim *machine, struct sock *sock)
{
    struct sock **link = &machine->bound;

    if (!sock->is_bound)
        return;
    while (*link != sock)
        link = &(*link)->next;
    *link = sock->next;
    sock->is_bound = 0;
    if (sock->node)
        disk_release(machine, sock->node);
    sock->node = NULL;
}

/* A Unix name is its file, by whatever path. */
static int fit_of(const proa_sim *machine, const struct sock *sock, const struct address *to)
{
    if (sock->node)
        return to->family == AF_UNIX && to->path[0] && disk_find(machine, to->path) == sock->node ? 3 : 0;
    return address_fits(&sock->local, sock->only_ip6, to);
}

struct sock *sock_find(proa_sim *machine, int type, const struct address *to, int (*is_fit)(const struct sock *))
{
    struct sock *found = NULL;
    uint64_t count = 0;
    int best = 1;

    for (struct sock *sock = machine->bound; sock; sock = sock->next) {
        int fit = sock->type == type && is_fit(sock) ? fit_of(machine, sock, to) : 0;

        if (fit < best)
            continue;
        count = fit > best ? 1 : count + 1;
        best = fit;
        if (count == 1 || draw(machine, count) == 0)
            found = sock;
    }
    return found;
}

int sock_route(const struct sock *sock, const struct address *to)
{
    if (to->family == AF_UNIX)
        return 0;
    return address_is_ours(to) && !(sock->only_ip6 && address_is_ip4(to)) ? 0 : -ENETUNREACH;
}

/* The calls */

static struct sock *sock_of(const struct call *call, int *ret_error)
{
    struct file *file = descriptor_file(call->machine, call->fd);
    int is_sock = file && (file->kind == &stream_kind.file || file->kind == &datagram_kind.file);

    *ret_error = !file ? -EBADF : is_sock ? 0 : -ENOTSOCK;
    return is_sock ? CONTAINER_OF(file, struct sock, file) : NULL;
}

static const struct sock_kind *kind_of(const struct sock *sock)
{
    return sock->type == SOCK_STREAM ? &stream_kind : &datagram_kind;
}

static int check_type(int family, int type)
{
    if (family != AF_INET && family != AF_INET6 && family != AF_UNIX)
        return -EAFNOSUPPORT;
    return type == SOCK_STREAM || type == SOCK_DGRAM ? 0 : -ESOCKTNOSUPPORT;
}

static int do_socket(proa_sim *machine, int family, int type)
{
    int error = check_type(family, type);
    struct sock *sock;

    if (!error)
        error = descriptor_lacks(machine);
    if (error)
        return error;
    sock = type == SOCK_STREAM ? stream_new(machine, family) : datagram_new(machine, family);
    return descriptor_add(machine, &sock->file, &kind_of(sock)->file);
}

int machine_socket(proa_sim *machine, int family, int type)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_socket, -1, NULL);

    return (int)call_end(&call, result ? result : do_socket(machine, family, type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)));
}

static int do_socketpair(proa_sim *machine, int family, int type, int ret_pair[2])
{
    int error = family == AF_UNIX ? check_type(family, type) : -EOPNOTSUPP;
    struct sock *pair[2];

    if (!error)
        error = descriptor_lacks(machine);
    if (error)
        return error;
    if (type == SOCK_STREAM)
        stream_pair(machine, pair);
    else
        datagram_pair(machine, pair);
    ret_pair[0] = descriptor_add(machine, &pair[0]->file, &kind_of(pair[0])->file);
    ret_pair[1] = descriptor_add(machine, &pair[1]->file, &kind_of(pair[1])->file);
    if (ret_pair[1] >= 0)
        return 0;
    descriptor_remove(machine, ret_pair[0]);
    return ret_pair[1];
}

int machine_socketpair(proa_sim *machine, int family, int type, int ret_pair[2])
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_socketpair, -1, NULL);

    type &= ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
    return (int)call_end(&call, result ? result : do_socketpair(machine, family, type, ret_pair));
}

static int do_bind(const struct call *call, const struct sockaddr *from, socklen_t size)
{
    struct address address;
    int error;
    struct sock *sock = sock_of(call, &error);

    if (!error)
        error = address_take(sock->family, from, size, &address);
    return error ? error : sock_bind(call->machine, sock, &address);
}

int machine_bind(proa_sim *machine, int fd, const struct sockaddr *address, socklen_t size)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_bind, fd, NULL);

    return (int)call_end(&call, result ? result : do_bind(&call, address, size));
}

static int do_listen(const struct call *call, int backlog)
{
    int error;
    struct sock *sock = sock_of(call, &error);

    return error ? error : kind_of(sock)->listen(call->machine, sock, backlog);
}

int machine_listen(proa_sim *machine, int fd, int backlog)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_listen, fd, NULL);

    return (int)call_end(&call, result ? result : do_listen(&call, backlog));
}

static int do_accept(const struct call *call)
{
    int error;
    struct sock *sock = sock_of(call, &error);

    return error ? error : kind_of(sock)->accept(call->machine, sock);
}

int machine_accept(proa_sim *machine, int fd)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_accept, fd, NULL);

    return (int)call_end(&call, result ? result : do_accept(&call));
}

static int do_connect(const struct call *call, const struct sockaddr *to, socklen_t size)
{
    struct address address;
    int error;
    struct sock *sock = sock_of(call, &error);

    if (!error)
        error = address_take(sock->family, to, size, &address);
    return error ? error : kind_of(sock)->connect(call->machine, sock, &address);
}

int machine_connect(proa_sim *machine, int fd, const struct sockaddr *address, socklen_t size)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_connect, fd, NULL);

    return (int)call_end(&call, result ? result : do_connect(&call, address, size));
}

static int do_shutdown(const struct call *call, int how)
{
    int error;
    struct sock *sock = sock_of(call, &error);

    if (error)
        return error;
    return how < SHUT_RD || how > SHUT_RDWR ? -EINVAL : kind_of(sock)->shutdown(call->machine, sock, how);
}

int machine_shutdown(proa_sim *machine, int fd, int how)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_shutdown, fd, NULL);

    return (int)call_end(&call, result ? result : do_shutdown(&call, how));
}

static ssize_t do_receive(const struct call *call, struct msghdr *message, int flags)
{
    int error;
    struct sock *sock = sock_of(call, &error);

    return error ? error : kind_of(sock)->receive(call->machine, sock, message, call->size, flags);
}

ssize_t machine_recv(proa_sim *machine, int fd, void *data, size_t size, int flags)
{
    struct iovec piece = {data, size};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_recv, fd, &piece.iov_len);

    return call_end(&call, result ? result : do_receive(&call, &message, flags));
}

ssize_t machine_recvmsg(proa_sim *machine, int fd, struct msghdr *message, int flags)
{
    struct call call;
    size_t size = pieces_size(message);
    int64_t result = call_begin(&call, machine, CALL_recvmsg, fd, &size);

    return call_end(&call, result ? result : do_receive(&call, message, flags));
}

static ssize_t do_send(const struct call *call, const struct msghdr *message, int flags)
{
    int error;
    struct sock *sock = sock_of(call, &error);

    return error ? error : kind_of(sock)->send(call->machine, sock, message, call->size, flags);
}

ssize_t machine_send(proa_sim *machine, int fd, const void *data, size_t size, int flags)
{
    struct iovec piece = {(void *)(uintptr_t)data, size};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_send, fd, &piece.iov_len);

    return call_end(&call, result ? result : do_send(&call, &message, flags));
}

ssize_t machine_sendmsg(proa_sim *machine, int fd, const struct msghdr *message, int flags)
{
    struct call call;
    size_t size = pieces_size(message);
    int64_t result = call_begin(&call, machine, CALL_sendmsg, fd, &size);

    return call_end(&call, result ? result : do_send(&call, message, flags));
}

/* As much at a time as Linux's own pipe holds (pipe(7)). */
enum { SENDFILE_MAX = 65536 };

static ssize_t read_source(const struct call *call, int fd, void *data, uint64_t offset)
{
    struct file *file = descriptor_file(call->machine, fd);
    ssize_t got;

    if (!file)
        return -EBADF;
    if (!file->kind->has_offset)
        return -ESPIPE;
    got = file->kind->read(call->machine, file, data, call->size, offset);
    return got == -EISDIR ? -EINVAL : got;
}

static ssize_t do_sendfile(struct call *call, int file, uint64_t offset)
{
    struct iovec piece = {machine_allocate(SENDFILE_MAX), 0};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    ssize_t result;

    if (call->size > SENDFILE_MAX)
        call->size = SENDFILE_MAX;
    result = read_source(call, file, piece.iov_base, offset);
    if (result > 0) {
        call->size = piece.iov_len = (size_t)result;
        result = do_send(call, &message, 0);
    }
    free(piece.iov_base);
    return result;
}

ssize_t machine_sendfile(proa_sim *machine, int fd, int file, uint64_t offset, size_t size)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_sendfile, fd, &size);

    return call_end(&call, result ? result : do_sendfile(&call, file, offset));
}

/* Names and options */

static int do_getname(const struct call *call, struct sockaddr *address, socklen_t *size)
{
    int error;
    struct sock *sock = sock_of(call, &error);
    const struct address *name;

    if (error)
        return error;
    name = call->name == CALL_getsockname ? &sock->local : &sock->peer;
    if (call->name == CALL_getpeername && !sock->is_connected)
        return -ENOTCONN;
    address_give(sock->family, name, address, size);
    return 0;
}

int machine_getsockname(proa_sim *machine, int fd, struct sockaddr *address, socklen_t *size)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_getsockname, fd, NULL);

    return (int)call_end(&call, result ? result : do_getname(&call, address, size));
}

int machine_getpeername(proa_sim *machine, int fd, struct sockaddr *address, socklen_t *size)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_getpeername, fd, NULL);

    return (int)call_end(&call, result ? result : do_getname(&call, address, size));
}

/* Options that change nothing here are taken and forgotten: they read as 0. */
static int option_value(struct sock *sock, int level, int name)
{
    if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY)
        return sock->only_ip6;
    if (level == IPPROTO_TCP && name == TCP_NODELAY)
        return sock->no_delay;
    if (level != SOL_SOCKET)
        return 0;
    switch (name) {
    case SO_ERROR:
        return -sock_take_error(sock);
    case SO_TYPE:
        return sock->type;
    case SO_DOMAIN:
        return sock->family;
    case SO_ACCEPTCONN:
        return sock->is_listening;
    case SO_REUSEADDR:
        return sock->reuse_address;
    case SO_REUSEPORT:
        return sock->reuse_port;
    case SO_RCVBUF:
        return (int)sock->receive_size;
    case SO_SNDBUF:
        return (int)sock->send_size;
    default:
        return 0;
    }
}

/* Unix sockets have none of a protocol's options, and no datagram is cut or joined here: as before Linux 4.18. */
static int check_level(const struct sock *sock, int level)
{
    if (sock->family == AF_UNIX && level != SOL_SOCKET)
        return -EOPNOTSUPP;
    return level == IPPROTO_UDP ? -ENOPROTOOPT : 0;
}

static int do_getsockopt(const struct call *call, int level, int name, void *value, socklen_t *size)
{
    int error, number;
    struct sock *sock = sock_of(call, &error);

    if (!error)
        error = check_level(sock, level);
    if (error)
        return error;
    number = option_value(sock, level, name);
    *size = *size < sizeof(number) ? *size : (socklen_t)sizeof(number);
    memcpy(value, &number, *size);
    return 0;
}

int machine_getsockopt(proa_sim *machine, int fd, int level, int name, void *value, socklen_t *size)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_getsockopt, fd, NULL);

    return (int)call_end(&call, result ? result : do_getsockopt(&call, level, name, value, size));
}

/* Linux doubles what it is asked for, and has a least (socket(7)). */
static size_t buffer_size(int asked)
{
    const size_t least = 4608;
    size_t size = asked > 0 ? 2 * (size_t)asked : 0;

    return size > least ? size : least;
}

static void set_option(struct sock *sock, int level, int name, int number)
{
    if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY)
        sock->only_ip6 = number != 0;
    if (level == IPPROTO_TCP && name == TCP_NODELAY)
        sock->no_delay = number != 0;
    if (level != SOL_SOCKET)
        return;
    if (name == SO_REUSEADDR)
        sock->reuse_address = number != 0;
    else if (name == SO_REUSEPORT)
        sock->reuse_port = number != 0;
    else if (name == SO_RCVBUF)
        sock->receive_size = buffer_size(number);
    else if (name == SO_SNDBUF)
        sock->send_size = buffer_size(number);
}

static int do_setsockopt(const struct call *call, int level, int name, const void *value, socklen_t size)
{
    struct linger linger;
    int error, number = 0;
    struct sock *sock = sock_of(call, &error);

    if (!error)
        error = check_level(sock, level);
    if (error)
        return error;
    if (level == SOL_SOCKET && name == SO_LINGER && size >= sizeof(linger)) {
        memcpy(&linger, value, sizeof(linger));
        sock->resets_on_close = linger.l_onoff && linger.l_linger == 0;
        return 0;
    }
    if (level == SOL_SOCKET && name == SO_ZEROCOPY)
        return -EOPNOTSUPP;
    memcpy(&number, value, size < sizeof(number) ? size : sizeof(number));
    set_option(sock, level, name, number);
    return 0;
}

int machine_setsockopt(proa_sim *machine, int fd, int level, int name, const void *value, socklen_t size)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_setsockopt, fd, NULL);

    return (int)call_end(&call, result ? result : do_setsockopt(&call, level, name, value, size));
}

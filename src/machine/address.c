#include "machine/address.h"

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

static int take_ip4(const struct sockaddr_in *from, struct address *ret_address)
{
    ret_address->family = AF_INET6;
    ret_address->port = ntohs(from->sin_port);
    memcpy(ret_address->ip, mapped, sizeof(mapped));
    memcpy(ret_address->ip + sizeof(mapped), &from->sin_addr, 4);
    return 0;
}

static int take_ip6(const struct sockaddr_in6 *from, struct address *ret_address)
{
    ret_address->family = AF_INET6;
    ret_address->port = ntohs(from->sin6_port);
    memcpy(ret_address->ip, &from->sin6_addr, 16);
    return 0;
}

static int take_path(const struct sockaddr_un *from, socklen_t size, struct address *ret_address)
{
    size_t most = size - offsetof(struct sockaddr_un, sun_path);

    if (most == 0 || most > sizeof(from->sun_path))
        return -EINVAL;
    ret_address->family = AF_UNIX;
    ret_address->path_size = (uint8_t)(from->sun_path[0] ? strnlen(from->sun_path, most) : most);
    memcpy(ret_address->path, from->sun_path, ret_address->path_size);
    return 0;
}

int address_take(int family, const struct sockaddr *from, socklen_t size, struct address *ret_address)
{
    memset(ret_address, 0, sizeof(*ret_address));
    if (size < offsetof(struct sockaddr_un, sun_path))
        return -EINVAL;
    if (from->sa_family != family)
        return family == AF_UNIX ? -EINVAL : -EAFNOSUPPORT;
    if (family == AF_UNIX)
        return take_path((const struct sockaddr_un *)from, size, ret_address);
    if (size < (family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)))
        return -EINVAL;
    return family == AF_INET ? take_ip4((const struct sockaddr_in *)from, ret_address)
                             : take_ip6((const struct sockaddr_in6 *)from, ret_address);
}

union any_address {
    struct sockaddr any;
    struct sockaddr_in ip4;
    struct sockaddr_in6 ip6;
    struct sockaddr_un local;
};

static socklen_t fill(int family, const struct address *address, union any_address *to)
{
    to->any.sa_family = (sa_family_t)family;
    if (family == AF_INET) {
        to->ip4.sin_port = htons(address->port);
        memcpy(&to->ip4.sin_addr, address->ip + sizeof(mapped), 4);
        return sizeof(to->ip4);
    }
    if (family == AF_INET6) {
        to->ip6.sin6_port = htons(address->port);
        memcpy(&to->ip6.sin6_addr, address->ip, 16);
        return sizeof(to->ip6);
    }
    /* A path has its final zero, an abstract name has none. */
    memcpy(to->local.sun_path, address->path, address->path_size);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + address->path_size +
                       (address->path_size > 0 && address->path[0] != 0));
}

void address_give(int family, const struct address *address, struct sockaddr *to, socklen_t *size)
{
    union any_address whole = {0};
    socklen_t full = fill(family, address, &whole);

    memcpy(to, &whole, *size < full ? *size : full);
    *size = full;
}

int address_is_ip4(const struct address *address)
{
    return memcmp(address->ip, mapped, sizeof(mapped)) == 0;
}

int address_is_any(const struct address *address)
{
    static const uint8_t zeros[16];
    size_t begin = address_is_ip4(address) ? sizeof(mapped) : 0;

    return memcmp(address->ip + begin, zeros, 16 - begin) == 0;
}

static int is_loopback(const struct address *address)
{
    static const uint8_t loopback[16] = {[15] = 1};

    return address_is_ip4(address) ? address->ip[12] == 127 : memcmp(address->ip, loopback, 16) == 0;
}

int address_is_ours(const struct address *address)
{
    if (address_is_any(address) || is_loopback(address))
        return 1;
    return address_is_ip4(address) ? address->ip[12] == 10 : address->ip[0] == 0xfd;
}

static struct address loopback_like(const struct address *like)
{
    struct address address = {.family = AF_INET6, .port = like->port};

    if (address_is_ip4(like)) {
        memcpy(address.ip, mapped, sizeof(mapped));
        address.ip[12] = 127;
    }
    address.ip[15] = 1;
    return address;
}

struct address address_source(const struct address *to)
{
    struct address source = is_loopback(to) ? loopback_like(to) : *to;

    source.port = 0;
    return source;
}

struct address address_target(const struct address *to)
{
    return address_is_any(to) ? loopback_like(to) : *to;
}

int address_fits(const struct address *bound, int only_ip6, const struct address *to)
{
    if (bound->family != to->family)
        return 0;
    if (bound->family == AF_UNIX)
        return bound->path_size == to->path_size && memcmp(bound->path, to->path, bound->path_size) == 0 ? 3 : 0;
    if (bound->port != to->port)
        return 0;
    if (memcmp(bound->ip, to->ip, 16) == 0)
        return 3;
    if (!address_is_any(bound))
        return 0;
    if (address_is_ip4(bound) == address_is_ip4(to))
        return 2;
    return address_is_ip4(to) && !only_ip6;
}

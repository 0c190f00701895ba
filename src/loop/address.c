/* Addresses as text and back. "*:80" is [::]:80 with a flow label set, which no listener has a use for: it marks that
 * IPv4 is to be taken too. */
#include <arpa/inet.h>
#include <errno.h>
#include <proa/socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DUAL_STACK_MARK = 1 };

static int parse_port(const char *text, in_port_t *ret_port)
{
    unsigned long port = 0;

    if (!*text || strlen(text) > 5)
        return -EINVAL;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return -EINVAL;
        port = port * 10 + (unsigned long)(*text - '0');
    }
    if (port > 65535)
        return -EINVAL;
    *ret_port = htons((uint16_t)port);
    return 0;
}

static int parse_local(const char *path, proa_address *address)
{
    size_t length = strlen(path);

    if (length == 0 || length >= sizeof(address->as.local.sun_path))
        return -EINVAL;
    address->as.local.sun_family = AF_UNIX;
    memcpy(address->as.local.sun_path, path, length + 1);
    address->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
    return 0;
}

static int parse_host(const char *host, proa_address *address)
{
    size_t length = strlen(host);
    char inner[INET6_ADDRSTRLEN];

    if (inet_pton(AF_INET, host, &address->as.ip4.sin_addr) == 1) {
        address->as.ip4.sin_family = AF_INET;
        address->size = sizeof(address->as.ip4);
        return 0;
    }
    address->as.ip6.sin6_family = AF_INET6;
    address->size = sizeof(address->as.ip6);
    if (strcmp(host, "*") == 0) {
        address->as.ip6.sin6_flowinfo = DUAL_STACK_MARK;
        return 0;
    }
    if (length < 4 || length - 2 >= sizeof(inner) || host[0] != '[' || host[length - 1] != ']')
        return -EINVAL;
    memcpy(inner, host + 1, length - 2);
    inner[length - 2] = '\0';
    return inet_pton(AF_INET6, inner, &address->as.ip6.sin6_addr) == 1 ? 0 : -EINVAL;
}

int proa_address_parse(const char *text, proa_address *ret_address)
{
    const char *colon = strrchr(text, ':');
    char host[INET6_ADDRSTRLEN + 2];
    proa_address address;

    memset(&address, 0, sizeof(address));
    *ret_address = address;
    if (strncmp(text, "unix:", 5) == 0) {
        if (parse_local(text + 5, &address) < 0)
            return -EINVAL;
    } else {
        if (!colon || (size_t)(colon - text) >= sizeof(host))
            return -EINVAL;
        memcpy(host, text, (size_t)(colon - text));
        host[colon - text] = '\0';
        /* The port stands at the same place for both families. */
        if (parse_host(host, &address) < 0 || parse_port(colon + 1, &address.as.ip4.sin_port) < 0)
            return -EINVAL;
    }
    *ret_address = address;
    return 0;
}

const char *proa_address_format(const proa_address *address, char *text, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "";

    switch (address->as.any.sa_family) {
    case AF_INET:
        inet_ntop(AF_INET, &address->as.ip4.sin_addr, host, sizeof(host));
        snprintf(text, size, "%s:%u", host, ntohs(address->as.ip4.sin_port));
        break;
    case AF_INET6:
        inet_ntop(AF_INET6, &address->as.ip6.sin6_addr, host, sizeof(host));
        if (address->as.ip6.sin6_flowinfo)
            snprintf(text, size, "*:%u", ntohs(address->as.ip6.sin6_port));
        else
            snprintf(text, size, "[%s]:%u", host, ntohs(address->as.ip6.sin6_port));
        break;
    case AF_UNIX:
        snprintf(text, size, "unix:%.*s", (int)sizeof(address->as.local.sun_path), address->as.local.sun_path);
        break;
    default:
        snprintf(text, size, "?");
    }
    return text;
}

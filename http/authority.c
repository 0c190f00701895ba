/* The grammar of RFC 3986 3.2.2 and 3.2.3, piece by piece: each skip_ function returns where its piece ends, or NULL.
 * */
#include "http/authority.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "http/byte.h"
#include "http/scan.h"

/* dec-octet: 0 to 255, no leading zero. */
static const char *skip_octet(const char *at, const char *end)
{
    int value = 0;
    const char *start = at;
    for (; at < end && http_byte_is_digit(*at) && at - start < 3; at++)
        value = value * 10 + (*at - '0');
    bool leading_zero = at - start > 1 && *start == '0';
    return at == start || leading_zero || value > 255 ? NULL : at;
}

static bool is_ipv4(const char *at, const char *end)
{
    for (int octets = 1;; octets++) {
        at = skip_octet(at, end);
        if (!at || octets == 4)
            return at == end;
        if (at == end || *at++ != '.')
            return false;
    }
}

/* Groups of up to four digits; "::" once, in place of one or more; an IPv4 address in place of the last two. */
static bool is_ipv6(const char *at, const char *end)
{
    bool gap = end - at >= 2 && at[0] == ':' && at[1] == ':';
    int groups = 0;
    at += gap ? 2 : 0;
    while (at < end) {
        const char *group = at;
        while (at < end && http_byte_hex(*at) >= 0)
            at++;
        if (at < end && *at == '.') {
            groups += 2;
            if (!is_ipv4(group, end))
                return false;
            break;
        }
        groups++;
        if (at == group || at - group > 4)
            return false;
        if (at == end)
            break;
        if (*at++ != ':' || at == end)
            return false;
        if (*at == ':') {
            if (gap)
                return false;
            gap = true;
            at++;
        }
    }
    return gap ? groups < 8 : groups == 8;
}

static bool is_encoded(const char *at, const char *end)
{
    return end - at >= 3 && at[0] == '%' && http_byte_hex(at[1]) >= 0 && http_byte_hex(at[2]) >= 0;
}

static const char *skip_reg_name(const char *at, const char *end)
{
    const char *start = at;
    while ((at = http_scan_host(at, end)) < end && is_encoded(at, end))
        at += 3;
    return at > start ? at : NULL;
}

static const char *skip_host(const char *at, const char *end)
{
    if (at == end || *at != '[')
        return skip_reg_name(at, end);
    const char *close = memchr(at, ']', (size_t)(end - at));
    return close && is_ipv6(at + 1, close) ? close + 1 : NULL;
}

const char *http_authority_skip(const char *at, const char *end, enum http_port port)
{
    at = skip_host(at, end);
    if (!at)
        return NULL;
    if (at == end || *at != ':')
        return port == HTTP_PORT_OPTIONAL ? at : NULL;
    const char *digits = ++at;
    while (at < end && http_byte_is_digit(*at))
        at++;
    return port == HTTP_PORT_OPTIONAL || at > digits ? at : NULL;
}

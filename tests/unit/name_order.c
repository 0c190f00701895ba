/* The order of addresses: the examples of RFC 6724, section 10.2, as far as a program can tell, and each rule by itself.
 * In each row the first is to be tried before the second. */
#include "src/name/name.h"
#include "tests/check.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static const struct row {
    const char *what;
    const char *address, *source; /* null: no way there */
    const char *other, *other_source;
} rows[] = {
    {"matching scope", "2001:db8:1::1", "2001:db8:1::2", "198.51.100.121", "169.254.13.78"},
    {"matching scope", "198.51.100.121", "198.51.100.117", "2001:db8:1::1", "fe80::1"},
    {"precedence", "2001:db8:1::1", "2001:db8:1::2", "10.1.2.3", "10.1.2.4"},
    {"smaller scope", "fe80::1", "fe80::2", "2001:db8:1::1", "2001:db8:1::2"},
    {"matching label", "2002:c633:6401::1", "2002:c633:6401::2", "2001:db8:1::1", "2002:c633:6401::2"},
    {"precedence", "2001:db8:1::1", "2001:db8:1::2", "2002:c633:6401::1", "2002:c633:6401::2"},
    {"there is a way", "10.1.2.3", "10.1.2.4", "2001:db8:1::1", NULL},
    {"there is a way", "fec0::1", "fec0::2", "2001:db8:1::1", NULL},
    {"precedence of loopback", "::1", "::1", "127.0.0.1", "127.0.0.1"},
    {"precedence over Teredo", "198.51.100.121", "198.51.100.117", "2001::1", "2001::2"},
    {"precedence over unique local", "10.1.2.3", "10.1.2.4", "fd00::1", "fd00::2"},
    {"label of unique local", "10.1.2.3", "10.1.2.4", "2001:db8::1", "fd00::2"},
    {"longest prefix", "2001:db8:1::1", "2001:db8:1::2", "2001:db8:3ffe::1", "2001:db8:1::2"},
};

/* Pairs that nothing tells apart: they keep the order in which they were found. */
static const struct row equals[] = {
    {"IPv4 has no longest prefix", "10.1.2.3", "10.1.2.4", "10.200.0.1", "10.1.2.4"},
    {"no prefix beyond 64 bits", "2001:db8::1", "2001:db8::2", "2001:db8::ffff:ffff", "2001:db8::2"},
    {"no way to either", "10.1.2.3", NULL, "10.1.2.4", NULL},
};

static proa_address address_of(const char *text)
{
    proa_address address = {0};

    if (text && strchr(text, ':')) {
        address.size = sizeof(address.as.ip6);
        address.as.ip6.sin6_family = AF_INET6;
        CHECK(inet_pton(AF_INET6, text, &address.as.ip6.sin6_addr) == 1);
    } else if (text) {
        address.size = sizeof(address.as.ip4);
        address.as.ip4.sin_family = AF_INET;
        CHECK(inet_pton(AF_INET, text, &address.as.ip4.sin_addr) == 1);
    }
    return address;
}

static int sign(const struct row *row, int is_swapped)
{
    struct found first = {address_of(row->address), address_of(row->source)};
    struct found second = {address_of(row->other), address_of(row->other_source)};
    int difference = is_swapped ? order_compare(&second, &first) : order_compare(&first, &second);

    return (difference > 0) - (difference < 0);
}

int main(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (!CHECK(sign(&rows[i], 0) == -1 && sign(&rows[i], 1) == 1))
            fprintf(stderr, "    %s: %s before %s\n", rows[i].what, rows[i].address, rows[i].other);
    for (size_t i = 0; i < sizeof(equals) / sizeof(equals[0]); i++)
        if (!CHECK(sign(&equals[i], 0) == 0 && sign(&equals[i], 1) == 0))
            fprintf(stderr, "    %s: %s, %s\n", equals[i].what, equals[i].address, equals[i].other);
    return check_done("name_order");
}

/* Which of two addresses is better to connect to: RFC 6724, section 6. What a program cannot know of its host (deprecated
 * and home addresses, tunnels) counts as equal, and so does the order in which addresses were found, by a stable sort. */
#include <string.h>

#include "name/name.h"

typedef uint8_t bytes16[16];

/* RFC 6724, section 2.1; longest prefix first. */
static const struct policy {
    bytes16 prefix;
    uint8_t length, precedence, label;
} policies[] = {
    {{[15] = 1}, 128, 50, 0},  {{[10] = 0xff, [11] = 0xff}, 96, 35, 4},
    {{0}, 96, 1, 3},           {{0x20, 0x01, 0, 0}, 32, 5, 5},
    {{0x20, 0x02}, 16, 30, 2}, {{0x3f, 0xfe}, 16, 1, 12},
    {{0xfe, 0xc0}, 10, 1, 11}, {{0xfc}, 7, 3, 13},
    {{0}, 0, 40, 1},
};

enum scope { SCOPE_INTERFACE = 1, SCOPE_LINK = 2, SCOPE_SITE = 5, SCOPE_GLOBAL = 14 };

/* IPv4 as an IPv4-mapped address. */
static void take_bytes(const proa_address *address, bytes16 ret_bytes)
{
    memset(ret_bytes, 0, 16);
    if (address->as.any.sa_family == AF_INET6) {
        memcpy(ret_bytes, &address->as.ip6.sin6_addr, 16);
    } else {
        ret_bytes[10] = ret_bytes[11] = 0xff;
        memcpy(ret_bytes + 12, &address->as.ip4.sin_addr, 4);
    }
}

static unsigned common_bits(const bytes16 a, const bytes16 b)
{
    unsigned bits = 0;

    while (bits < 128 && !((a[bits / 8] ^ b[bits / 8]) >> (7 - bits % 8) & 1))
        bits++;
    return bits;
}

static const struct policy *policy_of(const bytes16 address)
{
    const struct policy *policy = policies;

    while (common_bits(policy->prefix, address) < policy->length)
        policy++;
    return policy;
}

/* Section 3.1; and 3.2 for IPv4, where loopback and 169.254/16 count as of the link. */
static enum scope scope_of(const bytes16 address)
{
    if (policy_of(address)->label == 4)
        return address[12] == 127 || (address[12] == 169 && address[13] == 254) ? SCOPE_LINK : SCOPE_GLOBAL;
    if (address[0] == 0xff)
        return address[1] & 15;
    if (address[0] == 0xfe && (address[1] & 0xc0) == 0x80)
        return SCOPE_LINK;
    if (address[0] == 0xfe && (address[1] & 0xc0) == 0xc0)
        return SCOPE_SITE;
    return policy_of(address)->label == 0 ? SCOPE_LINK : SCOPE_GLOBAL;
}

struct merits {
    bytes16 address, source;
    int has_source;
};

static struct merits merits_of(const struct found *found)
{
    struct merits merits = {.has_source = found->source.size > 0};

    take_bytes(&found->address, merits.address);
    if (merits.has_source)
        take_bytes(&found->source, merits.source);
    return merits;
}

static int has_matching_scope(const struct merits *merits)
{
    return merits->has_source && scope_of(merits->address) == scope_of(merits->source);
}

static int has_matching_label(const struct merits *merits)
{
    return merits->has_source && policy_of(merits->address)->label == policy_of(merits->source)->label;
}

/* Rule 9 is for addresses of the same family; for IPv4, whose prefixes mean nothing, it would undo what a name server
 * shuffles. A source's own prefix is taken to be at most 64 bits long. */
static int prefix_length(const struct merits *merits)
{
    unsigned bits = merits->has_source ? common_bits(merits->address, merits->source) : 0;

    return (int)(bits > 64 ? 64 : bits);
}

int order_compare(const struct found *found_a, const struct found *found_b)
{
    struct merits a = merits_of(found_a), b = merits_of(found_b);
    int difference = b.has_source - a.has_source;

    if (!difference)
        difference = has_matching_scope(&b) - has_matching_scope(&a);
    if (!difference)
        difference = has_matching_label(&b) - has_matching_label(&a);
    if (!difference)
        difference = policy_of(b.address)->precedence - policy_of(a.address)->precedence;
    if (!difference)
        difference = (int)scope_of(a.address) - (int)scope_of(b.address);
    if (!difference && found_a->address.as.any.sa_family == AF_INET6 && found_b->address.as.any.sa_family == AF_INET6)
        difference = prefix_length(&b) - prefix_length(&a);
    return difference;
}

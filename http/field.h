/* The header fields the server reads: one row each. Every other field is checked for syntax and passed over.
 *
 * What a second line of the same field means depends on the field (RFC 9110 5.3):
 *   ONE    singleton whose repeat could be read two ways by two parties: refused with 400
 *   MANY   a list: all lines count, in order, as if joined by commas (walk it with http/list.h)
 *   FIRST  singleton that only informs: the first line is kept
 *
 * `first` and `last` are the letters that, with the length, tell the rows apart in one table lookup. */
#ifndef HTTP_FIELD_H
#define HTTP_FIELD_H

#include "http/text.h"

#define HTTP_FIELD_LIST(X)                                       \
    X(HOST, "host", 'h', 't', ONE)                               \
    X(CONNECTION, "connection", 'c', 'n', MANY)                  \
    X(CONTENT_LENGTH, "content-length", 'c', 'h', ONE)           \
    X(TRANSFER_ENCODING, "transfer-encoding", 't', 'g', ONE)     \
    X(RANGE, "range", 'r', 'e', ONE)                             \
    X(IF_RANGE, "if-range", 'i', 'e', ONE)                       \
    X(IF_MATCH, "if-match", 'i', 'h', MANY)                      \
    X(IF_NONE_MATCH, "if-none-match", 'i', 'h', MANY)            \
    X(IF_MODIFIED_SINCE, "if-modified-since", 'i', 'e', ONE)     \
    X(IF_UNMODIFIED_SINCE, "if-unmodified-since", 'i', 'e', ONE) \
    X(ACCEPT_ENCODING, "accept-encoding", 'a', 'g', MANY)        \
    X(EXPECT, "expect", 'e', 't', MANY)                          \
    X(USER_AGENT, "user-agent", 'u', 't', FIRST)                 \
    X(REFERER, "referer", 'r', 'r', FIRST)

enum http_field {
#define X(name, text, first, last, repeat) HTTP_FIELD_##name,
    HTTP_FIELD_LIST(X)
#undef X
        HTTP_FIELDS,
    HTTP_FIELD_OTHER = HTTP_FIELDS
};

enum http_field_repeat { HTTP_FIELD_ONE, HTTP_FIELD_MANY, HTTP_FIELD_FIRST };

struct http_field_row {
    struct http_text name; /* lower case */
    enum http_field_repeat repeat;
};

extern const struct http_field_row http_field_rows[HTTP_FIELDS];

enum { HTTP_FIELD_SLOTS = 32, HTTP_FIELD_LOWER = 0x20 };

/* Chosen so that no two rows share a slot; field.c does not compile when they do. */
#define HTTP_FIELD_SLOT(len, first, last) (((len) + 9u * (unsigned)(first) + 4u * (unsigned)(last)) % HTTP_FIELD_SLOTS)

extern const uint8_t http_field_slots[HTTP_FIELD_SLOTS]; /* 1 + enum http_field; 0: no field here */

/* Whether a token of the same length is the name, in any case. */
bool http_field_is(enum http_field field, const char *name);

/* Which field a name is, in any case. `name` must be a token: the comparison leans on it. */
static inline enum http_field http_field_find(struct http_text name)
{
    if (name.len == 0)
        return HTTP_FIELD_OTHER;
    char first = name.data[0] | HTTP_FIELD_LOWER;
    char last = name.data[name.len - 1] | HTTP_FIELD_LOWER;
    unsigned slot = http_field_slots[HTTP_FIELD_SLOT((unsigned)name.len, first, last)];
    if (slot == 0 || http_field_rows[slot - 1].name.len != name.len)
        return HTTP_FIELD_OTHER;
    enum http_field field = (enum http_field)(slot - 1);
    return http_field_is(field, name.data) ? field : HTTP_FIELD_OTHER;
}

#endif

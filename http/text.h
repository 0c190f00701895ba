/* Views of bytes. Nothing in http/ owns the bytes it reads: a text is a pointer and a length into the caller's
 * memory, a slice is an offset and a length that stays true when the caller's buffer grows or moves. */
#ifndef HTTP_TEXT_H
#define HTTP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_text {
    const char *data; /* NULL: absent, which is not the same as empty */
    size_t len;
};

/* 16 bits are enough: a request head never exceeds HTTP_HEAD_MAX, and a connection's state stays small. */
struct http_slice {
    uint16_t at;
    uint16_t len;
};

#define HTTP_TEXT(literal) ((struct http_text){(literal), sizeof(literal) - 1})

static inline struct http_text http_text_of(const char *base, struct http_slice slice)
{
    return (struct http_text){base + slice.at, slice.len};
}

/* The text of a NUL-terminated string. */
struct http_text http_text_from(const char *string);

bool http_text_equal(struct http_text a, struct http_text b);

/* Equal but for the case of ASCII letters: never by locale. */
bool http_text_equal_nocase(struct http_text a, struct http_text b);

/* Without optional white space (SP and HTAB, RFC 9110 5.6.3) at both ends. */
struct http_text http_text_trim(struct http_text text);

/* Takes bytes up to `byte` off the front of `rest` and returns them; the byte itself is dropped. Without one, takes
 * all. */
struct http_text http_text_split(struct http_text *rest, char byte);

/* Decimal digits only, at least one; a number over UINT64_MAX becomes UINT64_MAX. False: not a number. */
bool http_text_number(struct http_text text, uint64_t *ret_number);

#endif

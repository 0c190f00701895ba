/* What a byte may be in HTTP, as one table of bits: a check of a byte is a load and a test. */
#ifndef HTTP_BYTE_H
#define HTTP_BYTE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    HTTP_BYTE_TOKEN = 1,    /* tchar, RFC 9110 5.6.2 */
    HTTP_BYTE_TEXT = 2,     /* in a field value: VCHAR, obs-text, SP, HTAB, RFC 9110 5.5 */
    HTTP_BYTE_TARGET = 4,   /* in a request target: any VCHAR but '#'. Wider than RFC 3986: browsers send |^{} raw */
    HTTP_BYTE_HOST = 8,     /* unencoded in a reg-name or IPv4 address, RFC 3986 3.2.2 */
    HTTP_BYTE_ETAG = 16,    /* etagc, RFC 9110 8.8.3 */
    HTTP_BYTE_PATH = 32,    /* plain in a path we write: no escape for URL, HTML or header needed */
    HTTP_BYTE_RESOURCE = 64 /* in a request target before its query: HTTP_BYTE_TARGET but '?' */
};

extern const uint8_t http_byte_class[256];

static inline bool http_byte_is(char byte, unsigned classes)
{
    return (http_byte_class[(uint8_t)byte] & classes) != 0;
}

static inline char http_byte_lower(char byte)
{
    return byte >= 'A' && byte <= 'Z' ? (char)(byte | 0x20) : byte;
}

static inline bool http_byte_is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

/* The value of a hexadecimal digit, or -1. */
static inline int http_byte_hex(char byte)
{
    if (http_byte_is_digit(byte))
        return byte - '0';
    char lower = http_byte_lower(byte);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

#endif

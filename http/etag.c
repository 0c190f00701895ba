/* Entity tags: an optional W/ and an opaque string in quotes, which is compared byte for byte. */
#include "http/etag.h"

#include "http/byte.h"

static char *put_hex(char *out, uint64_t number)
{
    int shift = 60;
    while (shift > 0 && number >> shift == 0)
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        *out++ = "0123456789abcdef"[number >> shift & 15];
    return out;
}

size_t http_etag_write(char out[HTTP_ETAG_SIZE], int64_t mtime_ns, uint64_t size)
{
    char *at = out;
    *at++ = '"';
    at = put_hex(at, (uint64_t)mtime_ns);
    *at++ = '-';
    at = put_hex(at, size);
    *at++ = '"';
    *at = '\0';
    return (size_t)(at - out);
}

static bool is_weak(struct http_text tag)
{
    return tag.len >= 2 && tag.data[0] == 'W' && tag.data[1] == '/'; /* case-sensitive, RFC 9110 8.8.3 */
}

static struct http_text opaque_of(struct http_text tag)
{
    return is_weak(tag) ? (struct http_text){tag.data + 2, tag.len - 2} : tag;
}

bool http_etag_is_valid(struct http_text text)
{
    struct http_text opaque = opaque_of(text);
    if (opaque.len < 2 || opaque.data[0] != '"' || opaque.data[opaque.len - 1] != '"')
        return false;
    for (size_t i = 1; i < opaque.len - 1; i++) {
        if (!http_byte_is(opaque.data[i], HTTP_BYTE_ETAG))
            return false;
    }
    return true;
}

bool http_etag_equal_weak(struct http_text a, struct http_text b)
{
    return http_text_equal(opaque_of(a), opaque_of(b));
}

bool http_etag_equal_strong(struct http_text a, struct http_text b)
{
    return !is_weak(a) && http_text_equal(a, b); /* then b is not weak either */
}

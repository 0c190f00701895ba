/* A state per place in the grammar of RFC 9112 7.1. Framing is read byte by byte, data in runs; the framing of a body
 * is small beside its data, or else its sender pays for it.
 *
 *     chunk      = 1*HEXDIG [ chunk-ext ] CRLF data CRLF
 *     last-chunk = 1*"0" [ chunk-ext ] CRLF *( trailer CRLF ) CRLF */
#include "http/chunked.h"

#include "http/byte.h"
#include "http/status.h"

enum state {
    SIZE_FIRST, /* needs a digit */
    SIZE,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START, /* of a line: a name or the end */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    END_LF,
    END
};

static int bad(void)
{
    return -HTTP_BAD_REQUEST;
}

static int expect(struct http_chunked *chunked, char byte, char expected, enum state next)
{
    chunked->state = (uint8_t)next;
    return byte == expected ? 0 : bad();
}

static int on_size(struct http_chunked *chunked, char byte)
{
    int digit = http_byte_hex(byte);
    if (digit < 0)
        return expect(chunked, byte, '\r', SIZE_LF);
    if (chunked->left >> 56)
        return -HTTP_CONTENT_TOO_LARGE;
    chunked->left = chunked->left << 4 | (uint64_t)digit;
    chunked->state = SIZE;
    return 0;
}

static int on_size_byte(struct http_chunked *chunked, char byte)
{
    if (byte == ';') {
        chunked->state = EXTENSION;
        return 0;
    }
    return on_size(chunked, byte);
}

static int on_extension(struct http_chunked *chunked, char byte)
{
    if (byte == '\r')
        return expect(chunked, byte, '\r', SIZE_LF);
    if (!http_byte_is(byte, HTTP_BYTE_TEXT))
        return bad();
    return ++chunked->extensions > HTTP_CHUNKED_EXTENSIONS_MAX ? -HTTP_FIELDS_TOO_LARGE : 0;
}

static int on_trailer_name(struct http_chunked *chunked, char byte)
{
    if (byte == ':') {
        chunked->state = TRAILER_VALUE;
        return 0;
    }
    return http_byte_is(byte, HTTP_BYTE_TOKEN) ? 0 : bad();
}

static int on_trailer_start(struct http_chunked *chunked, char byte)
{
    if (byte == '\r')
        return expect(chunked, byte, '\r', END_LF);
    chunked->state = TRAILER_NAME;
    return http_byte_is(byte, HTTP_BYTE_TOKEN) ? 0 : bad();
}

static int on_trailer_value(struct http_chunked *chunked, char byte)
{
    if (http_byte_is(byte, HTTP_BYTE_TEXT))
        return 0;
    return expect(chunked, byte, '\r', TRAILER_LF);
}

/* One byte of framing. */
static int on_byte(struct http_chunked *chunked, char byte)
{
    if (chunked->state >= TRAILER_START && ++chunked->trailers > HTTP_CHUNKED_TRAILERS_MAX)
        return -HTTP_FIELDS_TOO_LARGE;
    switch ((enum state)chunked->state) {
    case SIZE_FIRST:
        return http_byte_hex(byte) < 0 ? bad() : on_size(chunked, byte);
    case SIZE:
        return on_size_byte(chunked, byte);
    case EXTENSION:
        return on_extension(chunked, byte);
    case SIZE_LF:
        return expect(chunked, byte, '\n', chunked->left > 0 ? DATA : TRAILER_START);
    case DATA_CR:
        return expect(chunked, byte, '\r', DATA_LF);
    case DATA_LF:
        return expect(chunked, byte, '\n', SIZE_FIRST);
    case TRAILER_START:
        return on_trailer_start(chunked, byte);
    case TRAILER_NAME:
        return on_trailer_name(chunked, byte);
    case TRAILER_VALUE:
        return on_trailer_value(chunked, byte);
    case TRAILER_LF:
        return expect(chunked, byte, '\n', TRAILER_START);
    case END_LF:
        return expect(chunked, byte, '\n', END);
    case DATA:
    case END:
        break;
    }
    return bad(); /* not framing: never called so */
}

static int take_data(struct http_chunked *chunked, struct http_text rest, struct http_text *ret_data)
{
    size_t len = rest.len < chunked->left ? rest.len : (size_t)chunked->left;
    *ret_data = (struct http_text){rest.data, len};
    chunked->left -= len;
    if (chunked->left == 0)
        chunked->state = DATA_CR;
    return HTTP_CHUNKED_DATA;
}

int http_chunked_next(struct http_chunked *chunked, const char *in, size_t len, size_t *ret_used,
                      struct http_text *ret_data)
{
    size_t at = 0;
    int result = 0;
    while (at < len && chunked->state != DATA && chunked->state != END && result == 0)
        result = on_byte(chunked, in[at++]);
    *ret_used = at;
    if (result < 0)
        return result;
    if (chunked->state == END)
        return HTTP_CHUNKED_END;
    if (at == len)
        return HTTP_CHUNKED_MORE;
    result = take_data(chunked, (struct http_text){in + at, len - at}, ret_data);
    *ret_used += ret_data->len;
    return result;
}

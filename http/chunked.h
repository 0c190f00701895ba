/* Reads a chunked body, RFC 9112 7.1: takes it apart into runs of data, wherever the bytes were cut.
 *
 *     struct http_chunked chunked = {0};
 *     while (len > 0) {
 *         size_t used;
 *         struct http_text data;
 *         int result = http_chunked_next(&chunked, in, len, &used, &data);
 *         if (result < 0) answer -result and close
 *         in += used, len -= used;
 *         if (result == HTTP_CHUNKED_END) the next request starts at `in`
 *     }
 *
 * Extensions and trailers are checked, bounded and thrown away. */
#ifndef HTTP_CHUNKED_H
#define HTTP_CHUNKED_H

#include "http/text.h"

enum {
    HTTP_CHUNKED_EXTENSIONS_MAX = 1024, /* bytes of chunk extensions in one body: RFC 9112 7.1.1 asks for a limit */
    HTTP_CHUNKED_TRAILERS_MAX = 8192    /* bytes of trailer section */
};

enum http_chunked_result {
    HTTP_CHUNKED_MORE, /* all was used; more is needed */
    HTTP_CHUNKED_DATA, /* `data` is a run of the body */
    HTTP_CHUNKED_END   /* the body is over */
};

/* Zero it to start. */
struct http_chunked {
    uint64_t left;       /* of the current chunk */
    uint16_t extensions; /* bytes so far */
    uint16_t trailers;   /* bytes so far */
    uint8_t state;
};

/* Reads one step from in[0..len). Always sets `ret_used`; sets `ret_data` (a part of `in`) with HTTP_CHUNKED_DATA.
 * Returns an enum http_chunked_result or a negative status: 400, 413 (chunk size over 2^60), 431 (extensions or
 * trailers). */
int http_chunked_next(struct http_chunked *chunked, const char *in, size_t len, size_t *ret_used,
                      struct http_text *ret_data);

#endif

/* Entity tags, RFC 9110 8.8.3. */
#ifndef HTTP_ETAG_H
#define HTTP_ETAG_H

#include "http/list.h"

enum { HTTP_ETAG_SIZE = 36 }; /* two quotes, 16 + 1 + 16 digits, a NUL */

/* Writes the strong tag "mtime-size", both hexadecimal, NUL-terminated; returns its length. */
size_t http_etag_write(char out[HTTP_ETAG_SIZE], int64_t mtime_ns, uint64_t size);

/* Whether `text` is one entity tag, weak or strong. */
bool http_etag_is_valid(struct http_text text);

/* The two comparisons of RFC 9110 8.8.3.2. Both sides must be valid. */
bool http_etag_equal_strong(struct http_text a, struct http_text b);
bool http_etag_equal_weak(struct http_text a, struct http_text b);

#endif

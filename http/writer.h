/* Writes bytes into a caller's buffer, never beyond it: when it does not fit, nothing of that piece is written, every
 * later piece is dropped too, and `failed` says so once at the end instead of at every call. */
#ifndef HTTP_WRITER_H
#define HTTP_WRITER_H

#include "http/text.h"

struct http_writer {
    char *data; /* NULL: only count */
    size_t len;
    size_t size;
    bool failed; /* did not fit, or a header value held a byte that would have split the response */
};

static inline struct http_writer http_writer_of(char *data, size_t size)
{
    return (struct http_writer){.data = data, .size = size};
}

/* Writes nothing and counts what it would have written. */
static inline struct http_writer http_writer_counting(void)
{
    return (struct http_writer){.size = SIZE_MAX};
}

void http_write(struct http_writer *out, struct http_text text);
void http_write_string(struct http_writer *out, const char *string);
void http_write_number(struct http_writer *out, uint64_t number);

/* Text for HTML, in content and in quoted attributes: & < > " ' become references. */
void http_write_html(struct http_writer *out, struct http_text text);

/* A decoded path for a link or Location: every byte that is not plain in a path is percent-encoded ('?', '#', '%',
 * white space, controls, quotes, non-ASCII). A first segment with a colon is the caller's to guard with "./" (RFC
 * 3986 4.2). */
void http_write_url_path(struct http_writer *out, struct http_text path);

#endif

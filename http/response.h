/* Writes a response head.
 *
 *     struct http_writer out = http_writer_of(buffer, sizeof(buffer));
 *     http_response_start(&out, HTTP_OK);
 *     http_response_field(&out, "Content-Type", type);
 *     http_response_number(&out, "Content-Length", size);
 *     http_response_end(&out);
 *     if (out.failed) ...
 *
 * A value with a control byte in it fails the writer: no input can split a response. The version is always HTTP/1.1,
 * also to a 1.0 client (RFC 9112 2.3, RFC 9110 2.5). */
#ifndef HTTP_RESPONSE_H
#define HTTP_RESPONSE_H

#include "http/status.h"
#include "http/writer.h"

/* The status line. */
void http_response_start(struct http_writer *out, unsigned status);

/* One field line. `name` is ours, so it is not checked. */
void http_response_field(struct http_writer *out, const char *name, struct http_text value);
void http_response_number(struct http_writer *out, const char *name, uint64_t number);
void http_response_date(struct http_writer *out, const char *name, int64_t time_s);

/* The empty line. */
void http_response_end(struct http_writer *out);

/* A small HTML page that says the status, for the body of an error or redirect; about 150 bytes. */
void http_write_status_page(struct http_writer *out, unsigned status);

#endif

/* Reads a request head: the request line and the field lines of RFC 9112, and what they say about the message.
 *
 * The caller keeps the bytes. It hands over the same buffer again, grown, until the head is complete: all that is
 * remembered is offsets, so the buffer may move between calls, and a line is searched for its end only once however
 * slowly it arrives. A line is judged when its LF has come; so where the bytes were cut never changes the answer.
 *
 *     http_request_init(&req);
 *     for (;;) {
 *         len += receive more bytes after head + len;
 *         int size = http_request_parse(&req, head, len, NULL);
 *         if (size < 0)
 *             answer with status -size, then close: the message's end is not known
 *         if (size > 0)
 *             answer; the body, if any, starts at head + size
 *     }
 *
 * What is accepted is what RFC 9112 lets a client send and nothing a second reader could understand otherwise: that
 * difference is what request smuggling is made of (RFC 9112 11.2). */
#ifndef HTTP_REQUEST_H
#define HTTP_REQUEST_H

#include "http/field.h"
#include "http/list.h"
#include "http/status.h"
#include "http/text.h"

enum { HTTP_HEAD_MAX = 65535 }; /* what a slice can reach */

struct http_limits {
    uint32_t line_max;   /* request line, bytes without CRLF: 414 above. RFC 9112 3 wants at least 8000 */
    uint32_t fields_max; /* field lines: 431 above */
    uint32_t head_max;   /* the whole head, bytes: 431 above; HTTP_HEAD_MAX at most */
};

#define HTTP_LIMITS_DEFAULT ((struct http_limits){.line_max = 8192, .fields_max = 100, .head_max = 32768})

/* Every method a row: the parser answers 501 to any other; which of these are allowed where (405) is the server's. */
#define HTTP_METHOD_LIST(X) \
    X(GET)                  \
    X(HEAD)                 \
    X(OPTIONS)              \
    X(POST)                 \
    X(PUT)                  \
    X(DELETE)               \
    X(PATCH)                \
    X(TRACE)                \
    X(CONNECT)

enum http_method {
    HTTP_METHOD_UNKNOWN,
#define X(name) HTTP_METHOD_##name,
    HTTP_METHOD_LIST(X)
#undef X
};

/* RFC 9112 3.2. */
enum http_target_form {
    HTTP_TARGET_ORIGIN,    /* /path?query */
    HTTP_TARGET_ABSOLUTE,  /* http://authority/path?query; the Host field is checked but does not count */
    HTTP_TARGET_AUTHORITY, /* host:port, only with CONNECT */
    HTTP_TARGET_ASTERISK   /* *, only with OPTIONS */
};

/* RFC 9112 6.3. */
enum http_body {
    HTTP_BODY_NONE,
    HTTP_BODY_LENGTH, /* content_length bytes follow the head */
    HTTP_BODY_CHUNKED /* read it with http/chunked.h */
};

/* What the next line is. */
enum http_stage { HTTP_STAGE_START, HTTP_STAGE_FIELDS, HTTP_STAGE_DONE };

struct http_request {
    /* The parser's own. */
    uint32_t line_at;  /* the line being read starts here */
    uint32_t scanned;  /* no LF between line_at and here; 0: not looked yet */
    uint32_t stage;    /* enum http_stage */
    uint32_t seen;     /* bit per enum http_field */
    uint32_t repeated; /* bit per enum http_field: more than one line */
    uint32_t fields_n; /* field lines so far */

    /* Valid once the head is complete; slices count from the start of the buffer. */
    uint8_t method;              /* enum http_method; set as soon as the request line is read */
    uint8_t minor;               /* HTTP/1.minor, 0 or 1 (a higher minor is spoken to as 1.1, RFC 9110 2.5) */
    uint8_t form;                /* enum http_target_form */
    uint8_t body;                /* enum http_body */
    bool keep_alive;             /* the client allows another request on this connection, RFC 9112 9.3 */
    bool expect_continue;        /* it waits for a 100 before it sends the body, RFC 9110 10.1.1; never with HTTP/1.0 */
    struct http_slice line;      /* the request line as it came, without CRLF: for logs */
    struct http_slice target;    /* as it came */
    struct http_slice authority; /* host[:port] of the target or else of Host; empty only in HTTP/1.0 */
    struct http_slice path;      /* starts with '/' as it came, or is empty ("http://host?q", "*", authority form) */
    struct http_slice query;     /* after the '?', without it */
    uint64_t content_length;     /* with HTTP_BODY_LENGTH, else 0 */
    struct http_slice fields[HTTP_FIELDS]; /* trimmed value of the first line; look at it through the functions below */
};

/* Ready for a first byte. The struct is plain data: no call ends its life. */
void http_request_init(struct http_request *req);

/* Reads on in head[0..len), of which all bytes of earlier calls are still the same. `limits` NULL means the default;
 * give the same limits every time. Returns the size of the head, when it is complete; 0: more bytes are needed; a
 * negative status when it must be refused: 400, 413 (a Content-Length no one can mean), 414, 431, 501, 505. After a
 * result other than 0 the struct is read only: for the next request call http_request_init again. */
int http_request_parse(struct http_request *req, const char *head, size_t len, const struct http_limits *limits);

static inline bool http_request_has(const struct http_request *req, enum http_field field)
{
    return (req->seen >> field & 1) != 0;
}

/* The value of a field, of its first line if it has several; data is NULL when the request has no such field. */
static inline struct http_text http_request_field(const struct http_request *req, const char *head,
                                                  enum http_field field)
{
    return http_request_has(req, field) ? http_text_of(head, req->fields[field]) : (struct http_text){0};
}

/* All elements of a list field, over all its lines; an empty list when the request has no such field. */
struct http_list http_request_list(const struct http_request *req, const char *head, enum http_field field);

/* The method's name, "" for HTTP_METHOD_UNKNOWN. */
struct http_text http_method_name(enum http_method method);

#endif

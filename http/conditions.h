/* Conditional requests, RFC 9110 13: whether what the client already knows makes the answer unnecessary or wrong. */
#ifndef HTTP_CONDITIONS_H
#define HTTP_CONDITIONS_H

#include "http/request.h"

/* The representation that would be sent. */
struct http_validators {
    struct http_text etag; /* quoted as in the ETag field */
    int64_t mtime_s;       /* as in Last-Modified: whole seconds, rounded down */
    int64_t now_s;         /* needed by two-digit years and by dates too fresh to be strong */
};

/* In the order of RFC 9110 13.2.2. Returns 0: perform the request; 304: not modified; 412: precondition failed. Ask
 * only when the answer would otherwise be a 2xx (13.2.1). */
int http_conditions_check(const struct http_request *req, const char *head, const struct http_validators *current);

/* Whether Range counts: the method is GET (14.2), and If-Range, if there, names exactly this representation (13.1.5).
 * Ask after http_conditions_check said 0, then read Range with http_ranges_parse. */
bool http_range_applies(const struct http_request *req, const char *head, const struct http_validators *current);

#endif

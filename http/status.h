/* Status codes, RFC 9110 15: one row each.
 *
 * Functions of http/ that can refuse a request return the status negated (-HTTP_BAD_REQUEST): like a negative errno it
 * goes up untouched until somebody answers with it. */
#ifndef HTTP_STATUS_H
#define HTTP_STATUS_H

#include "http/text.h"

#define HTTP_STATUS_LIST(X)                                     \
    X(100, CONTINUE, "Continue")                                \
    X(200, OK, "OK")                                            \
    X(204, NO_CONTENT, "No Content")                            \
    X(206, PARTIAL_CONTENT, "Partial Content")                  \
    X(301, MOVED_PERMANENTLY, "Moved Permanently")              \
    X(304, NOT_MODIFIED, "Not Modified")                        \
    X(308, PERMANENT_REDIRECT, "Permanent Redirect")            \
    X(400, BAD_REQUEST, "Bad Request")                          \
    X(403, FORBIDDEN, "Forbidden")                              \
    X(404, NOT_FOUND, "Not Found")                              \
    X(405, METHOD_NOT_ALLOWED, "Method Not Allowed")            \
    X(406, NOT_ACCEPTABLE, "Not Acceptable")                    \
    X(408, REQUEST_TIMEOUT, "Request Timeout")                  \
    X(412, PRECONDITION_FAILED, "Precondition Failed")          \
    X(413, CONTENT_TOO_LARGE, "Content Too Large")              \
    X(414, URI_TOO_LONG, "URI Too Long")                        \
    X(416, RANGE_NOT_SATISFIABLE, "Range Not Satisfiable")      \
    X(417, EXPECTATION_FAILED, "Expectation Failed")            \
    X(431, FIELDS_TOO_LARGE, "Request Header Fields Too Large") \
    X(500, INTERNAL_SERVER_ERROR, "Internal Server Error")      \
    X(501, NOT_IMPLEMENTED, "Not Implemented")                  \
    X(503, SERVICE_UNAVAILABLE, "Service Unavailable")          \
    X(505, VERSION_NOT_SUPPORTED, "HTTP Version Not Supported")

enum http_status {
#define X(code, name, reason) HTTP_##name = (code),
    HTTP_STATUS_LIST(X)
#undef X
};

/* The reason phrase; "Unknown" for a code without a row. */
struct http_text http_status_reason(unsigned code);

#endif

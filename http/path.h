/* From the path of a target to the name of a file: decoded once, normalised, never above the root.
 *
 * Order matters: first percent-decoding, then dot segments, so "%2e%2e" climbs no further than ".." does (RFC 3986
 * 6.2.2.2: they are the same). Climbing above the root stays at the root (RFC 3986 5.2.4). Runs of slashes are one, as
 * the file system reads them; and a redirect to a path that starts with "//" would lead to another host. */
#ifndef HTTP_PATH_H
#define HTTP_PATH_H

#include "http/text.h"

enum { HTTP_PATH_SIZE = 4096 }; /* Linux PATH_MAX, NUL included: a longer name cannot be opened */

struct http_path {
    size_t len;
    bool directory; /* ends with '/' */
    bool hidden;    /* a segment starts with '.' */
};

/* Writes the normalised path of `raw` to `out`: it starts with '/', holds no "//", no "." and no ".." segment, no NUL
 * but the one that ends it. An empty path is "/" (RFC 9110 4.2.3). Returns 0, or a negative status:
 *   400  a '%' without two hexadecimal digits, or "%00": no C string can carry it, and no honest client sends it
 *   404  "%2F": RFC 3986 2.2 says it is not the separator '/', and no file has a slash in its name
 *   414  more than `size` bytes, NUL included */
int http_path_normalise(struct http_text raw, char *out, size_t size, struct http_path *ret_path);

#endif

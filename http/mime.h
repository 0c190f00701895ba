/* Media types by file name extension: a hash table over text in the format of /etc/mime.types ("type ext ext..." lines,
 * '#' comments). The table points into the texts it was made from; making it is the only allocation in http/. */
#ifndef HTTP_MIME_H
#define HTTP_MIME_H

#include "http/text.h"

struct http_mime;

/* A table of `types` (may be empty) and, where it is silent, of the built-in types. `types` must outlive the table.
 * NULL: no memory. */
struct http_mime *http_mime_new(struct http_text types);

void http_mime_free(struct http_mime *mime);

/* The type of a file by the last extension of its name (a path will do), in any case; application/octet-stream if the
 * extension is unknown or missing. ".name" has no extension. */
struct http_text http_mime_find(const struct http_mime *mime, struct http_text name);

#endif

/* From a path to an open file and its entry in the cache. Nothing outside the served directory can be opened: the
 * kernel resolves the path beneath it (openat2(2), RESOLVE_BENEATH).
 *
 *     open path --> stat --> regular file? --> for each coding the client prefers: open and stat its sibling
 *                                |
 *                                '--> compare with the entry, or read it into a new one --> answer
 *
 * A path that ends with a slash is tried with the index's name; without one the directory is listed, or refused. */
#ifndef SERVE_LOOKUP_H
#define SERVE_LOOKUP_H

#include <limits.h>
#include <sys/stat.h>

#include "http/path.h"
#include "http/request.h"
#include "serve/cache.h"

struct connection;

enum { LOOKUP_NAME_EXTRA = NAME_MAX + 8 }; /* an index's name and a coding's suffix */

struct lookup {
    proa_fd plain; /* the file as named; -1: not open */
    proa_fd coded; /* its sibling; -1: not open */
    struct statx plain_stat;
    struct statx coded_stat;
    struct entry *known;   /* what the cache had; NULL: nothing */
    struct entry *loading; /* being read; NULL: none */
    uint64_t loaded;       /* bytes of it */
    size_t path_len;       /* of the path as asked for: the key */
    size_t file_len;       /* with the index's name */
    accept_order accepts;
    accept_order untried; /* codings that are left */
    uint8_t coding;       /* of `coded` */
    uint8_t attempts;
    bool directory; /* the path ends with a slash */
    char path[HTTP_PATH_SIZE + LOOKUP_NAME_EXTRA];
};

/* As responder_answer(). */
bool lookup_start(struct connection *connection, const struct http_request *request, const char *head,
                  accept_order accepts);

#endif

/* A page that shows what is in a directory. Reading a directory blocks, so it is done on the loop's pool of threads. */
#ifndef SERVE_LISTING_H
#define SERVE_LISTING_H

#include "http/text.h"
#include "proa/op.h"

struct connection;

enum { LISTING_NAMES_MAX = 10000 };

struct listing {
    int directory; /* closed by the function that reads it */
    char *page;    /* NULL: no memory, or it could not be read */
    size_t page_size;
    const char *path; /* decoded; in the exchange's lookup */
    size_t path_len;
};

/* Answers a BUSY connection with a page of what is in `directory`, which it takes over. */
void listing_start(struct connection *connection, proa_fd directory, struct http_text path);

#endif

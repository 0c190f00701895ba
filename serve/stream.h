/* Sends a file, or ranges of it, in pieces: while one piece is being sent the next is read, so a transfer has two of
 * them whatever the size of the file. Text (the head, heads of multipart parts) is gathered with the bytes.
 *
 * The file is the one that was open when the head was written. If it gets shorter, what was promised cannot be sent:
 * the connection is cut, which is the only way to tell the client. */
#ifndef SERVE_STREAM_H
#define SERVE_STREAM_H

#include "http/ranges.h"
#include "http/request.h"
#include "serve/block.h"

struct connection;
struct entry;

enum { STREAM_PIECE_SIZE = 128 << 10, STREAM_BOUNDARY_SIZE = 32 };

struct stream {
    struct entry *entry;  /* NULL: none */
    struct block *memory; /* where the bytes are; NULL: in the entry's file */
    struct block *piece;  /* being filled */
    uint32_t filled;      /* bytes in it */
    uint32_t wanted;      /* bytes the read in flight asked for */
    uint64_t offset;      /* of the next byte */
    uint64_t left;        /* bytes of the present range */
    uint64_t body_size;   /* as the head says */
    unsigned status;
    unsigned next_range;
    bool multiple;
    bool ended; /* the text behind the last range is written */
    char boundary[STREAM_BOUNDARY_SIZE];
    struct http_multipart multipart;
    struct http_ranges ranges;
};

/* Sends `entry`, or `ranges` of it (NULL: the whole), as the answer of a connection that is BUSY. True: all has been
 * handed over; false: it goes on as reads and sends complete. */
bool stream_start(struct connection *connection, const struct http_request *request, const char *head,
                  struct entry *entry, const struct http_ranges *ranges);

/* A send is done. True: all has been handed over now. */
bool stream_go_on(struct connection *connection);

/* The connection is closing. */
void stream_abandon(struct connection *connection);

#endif

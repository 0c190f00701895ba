/* Sends a file, or ranges of it. Text (the head, heads of multipart parts) is sent from memory, bytes go from the file
 * to the socket without passing through here, in one order. One range is under way at a time, as one op whatever its
 * size: so a transfer costs no memory, and nothing can be behind bytes that turn out to be missing.
 *
 * The file is the one that was open when the head was written. If it gets shorter, what was promised cannot be sent:
 * the connection is cut, which is the only way to tell the client.
 *
 * Ranges of what the cache has in memory are copied behind the head, and are one send. */
#ifndef SERVE_STREAM_H
#define SERVE_STREAM_H

#include "http/ranges.h"
#include "http/request.h"

struct connection;
struct entry;

enum { STREAM_BOUNDARY_SIZE = 32 };

struct stream {
    struct entry *entry; /* whose file is being sent; NULL: none */
    unsigned next_range;
    bool multiple;
    char boundary[STREAM_BOUNDARY_SIZE];
    struct http_multipart multipart;
    struct http_ranges ranges;
};

/* Sends `entry`, or `ranges` of it (NULL: the whole of a large one), as the answer of a connection that is BUSY. True:
 * all has been handed over; false: it goes on as sends complete, or the connection is closing. */
bool stream_start(struct connection *connection, const struct http_request *request, const char *head,
                  struct entry *entry, const struct http_ranges *ranges);

/* A send is done. True: the answer is complete now. */
bool stream_go_on(struct connection *connection);

/* The connection is closing. */
void stream_abandon(struct connection *connection);

#endif

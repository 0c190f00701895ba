/* Streams: all that goes out on one connection, in one order: the caller's bytes, small text that is copied, files. A stream
 * is an op in flight, made of the sends of its socket; it tells when more is queued than should be, and fails as a whole. */
#ifndef PROA_STREAM_H
#define PROA_STREAM_H

#include "op.h"

PROA_BEGIN

/* Zero in any field means the default. */
typedef struct proa_stream_options {
    uint64_t high;    /* from this many queued bytes on it is full (default 256 KiB), */
    uint64_t low;     /* until no more than this are left (default a quarter of `high`) */
    void *text;       /* memory for copies of text, aligned as for malloc(3); */
    size_t text_size; /* default: none */
} proa_stream_options;

/* One piece on its way, in the caller's memory, zero before its first use. Its op is the caller's to cancel, which fails the
 * stream. */
typedef struct proa_chunk proa_chunk;
typedef struct proa_stream proa_stream;

struct proa_chunk {
    proa_op op;
    proa_callback *callback;
    proa_stream *stream;
    proa_chunk *next, *previous;
    uint64_t size;
};

struct proa_stream {
    proa_op op, shutdown;
    proa_fd fd;
    int error, full, phase;
    uint64_t queued;
    proa_stream_options options;
    proa_chunk *chunks, *last;
    struct proa_stream_texts {
        size_t first, end, wrap, count;
    } texts;
};

/* Begins a stream on a connected socket, on which nobody else sends meanwhile. With PROA_MORE: it was full, and no more than
 * `low` bytes are queued; value: how many. Final completion, when all chunks have completed: 0 after proa_stream_end(), or
 * the first error. */
PROA_API void proa_stream_start(proa_loop *loop, proa_stream *stream, proa_fd fd, const proa_stream_options *options,
                                proa_callback *callback);

/* Queue what is to be sent next; the chunk, and bytes that are not copied, must stay until its completion, which is that of
 * proa_send() or proa_send_file(). Behind an error it is ECANCELED, behind the end EPIPE. Return whether there is room for
 * more: 0 once the stream is full. */
PROA_API int proa_stream_write(proa_stream *stream, proa_chunk *chunk, const void *data, size_t size,
                               proa_callback *callback);
PROA_API int proa_stream_send_file(proa_stream *stream, proa_chunk *chunk, proa_fd file, uint64_t offset, uint64_t size,
                                   proa_callback *callback);

/* The same of a copy. Returns a negative errno where it was not taken: ENOBUFS, after which the stream is full; EMSGSIZE,
 * where it never has room for so much; EPIPE, behind an error or the end. */
PROA_API int proa_stream_text(proa_stream *stream, const char *text, size_t size);

/* Ends the sending side (SHUT_WR) once all that is queued has been sent, and so the stream. */
PROA_API void proa_stream_end(proa_stream *stream);

/* Bytes of the chunks that have not completed. */
static inline uint64_t proa_stream_queued(const proa_stream *stream)
{
    return stream->queued;
}

PROA_END

#endif

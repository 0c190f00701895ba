/* A stream counts what stands in the queue of its socket, and has it fail as a whole. Order, gathering, and one send at a time
 * are the queue's own (rule 8): a stream is made of public ops.
 *
 * Copies of text lie in a ring in the caller's memory, each behind the chunk that sends it. Their places become free in the
 * order of the stream; or, once that has failed, in any, but then none is taken again. */
#include <errno.h>
#include <proa/event.h>
#include <proa/moving.h>
#include <proa/socket.h>
#include <proa/stream.h>
#include <stdalign.h>
#include <string.h>

#include "loop/loop.h"

static const uint64_t HIGH_DEFAULT = 256 << 10;

enum phase { OPEN, ENDING, SHUT, OVER };

struct text {
    proa_chunk chunk;
    size_t place_size;
    char data[];
};

/* Ending */

static void complete_if_over(proa_stream *stream)
{
    int nothing_left = !stream->chunks && !proa_in_flight(&stream->shutdown);

    if (!nothing_left || stream->phase == OVER || (stream->phase != SHUT && !stream->error))
        return;
    stream->phase = OVER;
    proa_complete(&stream->op, stream->error);
}

/* Each of those that are cancelled comes back by itself. */
static void fail(proa_stream *stream, int error)
{
    if (stream->error)
        return;
    stream->error = error;
    for (proa_chunk *chunk = stream->chunks; chunk; chunk = chunk->next)
        proa_cancel(&chunk->op);
    proa_cancel(&stream->shutdown);
}

static void on_stop(proa_op *op)
{
    proa_stream *stream = proa_owner(op, proa_stream, op);

    fail(stream, -ECANCELED);
    complete_if_over(stream);
}

static void on_shut(proa_op *op, proa_result result)
{
    proa_stream *stream = proa_owner(op, proa_stream, shutdown);

    if (result.value < 0)
        fail(stream, (int)result.value);
    stream->phase = SHUT;
    complete_if_over(stream);
}

/* Chunks */

static void append(proa_stream *stream, proa_chunk *chunk)
{
    chunk->next = NULL;
    chunk->previous = stream->last;
    *(stream->last ? &stream->last->next : &stream->chunks) = chunk;
    stream->last = chunk;
}

static void take_out(proa_stream *stream, const proa_chunk *chunk)
{
    *(chunk->previous ? &chunk->previous->next : &stream->chunks) = chunk->next;
    *(chunk->next ? &chunk->next->previous : &stream->last) = chunk->previous;
}

static void tell_room(proa_stream *stream)
{
    if (!stream->full || stream->queued > stream->options.low || stream->error || stream->phase != OPEN)
        return;
    stream->full = 0;
    stream->op.callback(&stream->op, (proa_result){(int64_t)stream->queued, PROA_MORE, 0});
}

/* After its callback the chunk may be gone; the stream is there until it has completed. */
static void on_chunk(proa_op *op, proa_result result)
{
    proa_chunk *chunk = proa_owner(op, proa_chunk, op);
    proa_stream *stream = chunk->stream;

    take_out(stream, chunk);
    stream->queued -= chunk->size;
    if (result.value < 0)
        fail(stream, (int)result.value);
    else if ((uint64_t)result.value < chunk->size) /* a file that ended early */
        fail(stream, -EIO);
    chunk->callback(op, result);
    tell_room(stream);
    complete_if_over(stream);
}

/* By now the stream may be gone. */
static void on_refused(proa_op *op, proa_result result)
{
    proa_chunk *chunk = proa_owner(op, proa_chunk, op);

    result.value = -(int64_t)chunk->size;
    chunk->callback(op, result);
}

/* Returns whether it may be sent. */
static int begin_chunk(proa_stream *stream, proa_chunk *chunk, uint64_t size, proa_callback *callback)
{
    chunk->stream = stream;
    chunk->callback = callback;
    if (stream->error || stream->phase != OPEN) {
        chunk->size = stream->error ? ECANCELED : EPIPE;
        proa_post(stream->op.loop, &chunk->op, on_refused);
        return 0;
    }
    chunk->size = size;
    stream->queued += size;
    stream->full |= stream->queued >= stream->options.high;
    append(stream, chunk);
    return 1;
}

int proa_stream_write(proa_stream *stream, proa_chunk *chunk, const void *data, size_t size, proa_callback *callback)
{
    if (begin_chunk(stream, chunk, size, callback))
        proa_send(stream->op.loop, &chunk->op, stream->fd, data, size, on_chunk);
    return !stream->full;
}

int proa_stream_send_file(proa_stream *stream, proa_chunk *chunk, proa_fd file, uint64_t offset, uint64_t size,
                          proa_callback *callback)
{
    if (begin_chunk(stream, chunk, size, callback))
        proa_send_file(stream->op.loop, &chunk->op, stream->fd, file, offset, size, on_chunk);
    return !stream->full;
}

/* Text */

/* Returns a place of that size, or null where there is none now. */
static struct text *take_place(proa_stream *stream, size_t size)
{
    struct proa_stream_texts *texts = &stream->texts;
    size_t limit = texts->wrap ? texts->first : stream->options.text_size;
    struct text *text;

    if (limit - texts->end < size && !texts->wrap && size <= texts->first) {
        texts->wrap = texts->end;
        texts->end = 0;
        limit = texts->first;
    }
    if (limit - texts->end < size)
        return NULL;
    text = (struct text *)(void *)((char *)stream->options.text + texts->end);
    memset(text, 0, sizeof(*text));
    text->place_size = size;
    texts->end += size;
    texts->count++;
    return text;
}

static void on_text_sent(proa_op *op, proa_result result)
{
    struct text *text = proa_owner(op, struct text, chunk.op);
    struct proa_stream_texts *texts = &text->chunk.stream->texts;

    (void)result;
    texts->first += text->place_size;
    if (texts->first == texts->wrap)
        texts->first = texts->wrap = 0;
    if (--texts->count == 0)
        *texts = (struct proa_stream_texts){0};
}

int proa_stream_text(proa_stream *stream, const char *text, size_t size)
{
    const size_t unit = alignof(max_align_t);
    size_t place_size = (sizeof(struct text) + size + unit - 1) / unit * unit;
    struct text *copy;

    if (stream->error || stream->phase != OPEN)
        return -EPIPE;
    if (place_size < size || place_size > stream->options.text_size)
        return -EMSGSIZE;
    copy = take_place(stream, place_size);
    if (!copy) {
        stream->full = 1;
        return -ENOBUFS;
    }
    memcpy(copy->data, text, size);
    return proa_stream_write(stream, &copy->chunk, copy->data, size, on_text_sent);
}

/* Beginning and ending */

void proa_stream_start(proa_loop *loop, proa_stream *stream, proa_fd fd, const proa_stream_options *options,
                       proa_callback *callback)
{
    static const proa_stream_options defaults;
    struct composition composition = {fd, proa_fd_of(-1), NULL, on_stop, callback};

    if (proa_in_flight(&stream->op))
        panic(__func__, "the stream is still in flight (or was not zeroed before its first use)");
    memset(stream, 0, sizeof(*stream));
    stream->fd = fd;
    stream->options = options ? *options : defaults;
    if (stream->options.high == 0)
        stream->options.high = HIGH_DEFAULT;
    if (stream->options.low == 0)
        stream->options.low = stream->options.high / 4;
    if (!op_compose(loop, &stream->op, composition, __func__)) {
        stream->error = stream->op.error;
        stream->phase = OVER;
    }
}

void proa_stream_end(proa_stream *stream)
{
    if (stream->error || stream->phase != OPEN)
        return;
    stream->phase = ENDING;
    proa_shutdown(stream->op.loop, &stream->shutdown, stream->fd, SHUT_WR, on_shut);
}

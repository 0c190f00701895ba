/*
 * The libuv echo, as its users write it: uv_read_start, one uv_write per message, the write request and the buffer
 * kept and used again (no malloc per message). `--try-write 1` first tries uv_try_write, the cheaper way that few
 * programs take, and needs uv_write for the rest only.
 */
#define _GNU_SOURCE /* <uv.h> needs pthread_rwlock_t */
#include "common.h"

#include <stdlib.h>
#include <uv.h>

enum { BUFFER = 16384 };

struct message {
    uv_write_t request; /* first: a request is its message */
    struct message *next_free;
    char data[BUFFER];
};

static struct message *free_messages;
static long messages, exit_after, try_write;

static struct message *message_take(void)
{
    struct message *message = free_messages;

    if (!message)
        return ref_zeroed(1, sizeof(*message));
    free_messages = message->next_free;
    return message;
}

static void message_give(struct message *message)
{
    message->next_free = free_messages;
    free_messages = message;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buffer)
{
    (void)handle;
    (void)suggested;
    *ret_buffer = uv_buf_init(message_take()->data, BUFFER);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

static void on_written(uv_write_t *request, int status)
{
    (void)status; /* a broken connection is closed by its read */
    message_give((struct message *)request);
}

static struct message *message_of(char *data)
{
    return (struct message *)(data - offsetof(struct message, data));
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer)
{
    struct message *message = message_of(buffer->base);
    uv_buf_t rest;
    int sent = 0;

    if (got <= 0) {
        message_give(message);
        if (got < 0)
            uv_close((uv_handle_t *)stream, on_closed);
        return;
    }
    messages++;
    if (messages == exit_after)
        uv_stop(stream->loop);
    rest = uv_buf_init(message->data, (unsigned)got);
    if (try_write)
        sent = uv_try_write(stream, &rest, 1);
    if (sent == got)
        return message_give(message);
    if (sent > 0)
        rest = uv_buf_init(message->data + sent, (unsigned)(got - sent));
    uv_write(&message->request, stream, &rest, 1, on_written);
}

static void on_connection(uv_stream_t *listener, int status)
{
    uv_tcp_t *client = ref_zeroed(1, sizeof(*client));

    uv_tcp_init(listener->loop, client);
    if (status || uv_accept(listener, (uv_stream_t *)client))
        uv_close((uv_handle_t *)client, on_closed);
    else
        uv_read_start((uv_stream_t *)client, on_alloc, on_read);
}

int main(int argc, char **argv)
{
    const char *address;
    const struct ref_option extra[] = {{"--try-write", &try_write, "1: uv_try_write before uv_write"}, {0}};
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;

    ref_options(argc, argv, &address, &exit_after, extra);
    ref_descriptors();
    uv_tcp_init(loop, &listener);
    uv_tcp_open(&listener, ref_listen(address, true));
    if (uv_listen((uv_stream_t *)&listener, 4096, on_connection))
        ref_fail("uv_listen", 22);
    uv_run(loop, UV_RUN_DEFAULT);
    return 0;
}

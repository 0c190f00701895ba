/* A chat: what one client sends goes to all others, behind a welcome that is a file. Each client is a stream: who does not
 * read for so long that its bounded memory is full misses what is said meanwhile, and is told. */
#include <fcntl.h>
#include <proa/proa.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { BACKLOG = 64, RECEIVE_SIZE = 1024, MEMORY_SIZE = 16384 };

struct client {
    proa_stream stream;
    proa_chunk welcome;
    proa_op receive, close;
    struct client *next;
    unsigned missed;
    char received[RECEIVE_SIZE];
    _Alignas(max_align_t) char memory[MEMORY_SIZE];
};

static proa_op listener, acceptor, terminate;
static struct client *clients;
static int welcome;
static struct stat welcome_status;

static void say(struct client *client, const char *text, size_t size)
{
    if (client->missed || proa_stream_text(&client->stream, text, size) < 0)
        client->missed++;
}

static void on_closed(proa_op *op, proa_result result)
{
    (void)result;
    free(proa_owner(op, struct client, close));
}

static void leave(struct client *client)
{
    struct client **place = &clients;

    if (proa_in_flight(&client->stream.op) || proa_in_flight(&client->receive))
        return;
    while (*place != client)
        place = &(*place)->next;
    *place = client->next;
    proa_close(client->stream.op.loop, &client->close, client->stream.fd, on_closed);
}

/* With PROA_MORE there is room again. */
static void on_stream(proa_op *op, proa_result result)
{
    struct client *client = proa_owner(op, struct client, stream.op);
    char text[64];
    int size;

    if (!(result.flags & PROA_MORE)) {
        proa_cancel(&client->receive);
        leave(client);
    } else if (client->missed) {
        size = snprintf(text, sizeof(text), "[you missed %u]\n", client->missed);
        client->missed = 0;
        say(client, text, (size_t)size);
    }
}

static void on_received(proa_op *op, proa_result result)
{
    struct client *client = proa_owner(op, struct client, receive);

    if (result.value <= 0) {
        proa_stream_end(&client->stream);
        leave(client);
        return;
    }
    for (struct client *other = clients; other; other = other->next)
        if (other != client)
            say(other, client->received, (size_t)result.value);
    proa_recv(op->loop, op, client->stream.fd, client->received, RECEIVE_SIZE, on_received);
}

static void on_welcomed(proa_op *op, proa_result result)
{
    (void)op;
    (void)result; /* a failure is the stream's */
}

static void on_accepted(proa_op *op, proa_result result)
{
    proa_stream_options options = {.text_size = MEMORY_SIZE};
    struct client *client;

    if (result.value < 0)
        return;
    client = calloc(1, sizeof(*client));
    if (!client)
        abort();
    client->next = clients;
    clients = client;
    options.text = client->memory;
    proa_stream_start(op->loop, &client->stream, proa_result_fd(result), &options, on_stream);
    proa_stream_send_file(&client->stream, &client->welcome, proa_fd_of(welcome), 0, (uint64_t)welcome_status.st_size,
                          on_welcomed);
    proa_recv(op->loop, &client->receive, client->stream.fd, client->received, RECEIVE_SIZE, on_received);
}

static void on_listening(proa_op *op, proa_result result)
{
    char text[PROA_ADDRESS_TEXT_MAX];
    proa_address address;

    if (result.value < 0) {
        fprintf(stderr, "chat: cannot listen: %s\n", strerror((int)-result.value));
        exit(1);
    }
    proa_local_address(op->loop, proa_result_fd(result), &address);
    printf("listening %s, engine %s\n", proa_address_format(&address, text, sizeof(text)), proa_loop_choice(op->loop));
    fflush(stdout);
    proa_accept_many(op->loop, &acceptor, proa_result_fd(result), on_accepted);
}

static void on_signal(proa_op *op, proa_result result)
{
    if (result.value > 0)
        proa_loop_stop(op->loop);
}

int main(int argc, char **argv)
{
    proa_address address;
    proa_loop *loop;
    int error;

    if (argc != 3 || proa_address_parse(argv[1], &address) < 0) {
        fputs("usage: chat ADDR:PORT WELCOME-FILE\n", argc == 2 && !strcmp(argv[1], "--help") ? stdout : stderr);
        return argc == 2 && !strcmp(argv[1], "--help") ? 0 : 2;
    }
    welcome = open(argv[2], O_RDONLY);
    if (welcome < 0 || fstat(welcome, &welcome_status) < 0) {
        perror("chat: cannot read the welcome");
        return 1;
    }
    error = proa_loop_open(&loop, NULL);
    if (error < 0) {
        fprintf(stderr, "chat: no loop: %s\n", strerror(-error));
        return 1;
    }
    proa_listen(loop, &listener, &address, BACKLOG, 0, on_listening);
    proa_signal(loop, &terminate, SIGTERM, on_signal);
    proa_loop_run(loop, PROA_UNTIL_STOPPED);
    proa_loop_close(loop);
    return 0;
}

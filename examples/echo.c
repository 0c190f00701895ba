/* An echo server: every message goes back as it came. An idle client holds no buffer; a message is sent straight from the
 * buffer it was received into, and each buffer has the op that sends it. */
#include <getopt.h>
#include <inttypes.h>
#include <proa/proa.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* All buffers together fit a core's cache: each message goes through the next of them. */
enum { BUFFERS = 512, BUFFER_SIZE = 2048, BACKLOG = 4096 };

struct client {
    proa_op op; /* receives, and closes in the end */
    proa_fd fd;
};

static proa_op listener, acceptor, interrupt, terminate, report, sends[BUFFERS];
static proa_buffer_pool *pool;
static unsigned long echoes_left;

static void on_closed(proa_op *op, proa_result result)
{
    (void)result;
    free(proa_owner(op, struct client, op));
}

static void on_sent(proa_op *op, proa_result result)
{
    (void)result; /* a client that is gone ends its receive, too */
    proa_buffer_return(pool, (uint32_t)(op - sends));
    if (echoes_left && --echoes_left == 0)
        proa_loop_stop(op->loop);
}

static void on_received(proa_op *op, proa_result result)
{
    struct client *client = proa_owner(op, struct client, op);

    if (result.value <= 0)
        proa_close(op->loop, op, client->fd, on_closed);
    else
        proa_send_relaxed(op->loop, &sends[result.buffer], client->fd, proa_buffer(pool, result.buffer),
                          (size_t)result.value, on_sent);
}

static void on_accepted(proa_op *op, proa_result result)
{
    struct client *client;

    if (result.value < 0)
        return;
    client = calloc(1, sizeof(*client));
    if (!client)
        abort();
    client->fd = proa_result_fd(result);
    proa_recv_many(op->loop, &client->op, client->fd, pool, on_received);
}

static void on_listening(proa_op *op, proa_result result)
{
    char text[PROA_ADDRESS_TEXT_MAX];
    proa_address address;

    if (result.value < 0) {
        fprintf(stderr, "echo: cannot listen: %s\n", strerror((int)-result.value));
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

/* SIGUSR1 asks what the loop has done so far. */
static void on_report(proa_op *op, proa_result result)
{
    proa_meters meters = proa_loop_meters(op->loop);

    if (result.value <= 0)
        return;
    printf("meters");
#define PRINT(name, meaning) printf(" " #name " %" PRIu64, meters.name);
    PROA_METERS(PRINT)
#undef PRINT
    puts("");
    fflush(stdout);
}

static const struct option words[] = {
    {"listen", required_argument, NULL, 'l'},
    {"engine", required_argument, NULL, 'e'},
    {"exit-after", required_argument, NULL, 'x'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static int usage(FILE *stream)
{
    fputs("usage: echo [--listen ADDR:PORT] [--engine NAME] [--exit-after MESSAGES]\n", stream);
    return stream == stdout ? 0 : 2;
}

int main(int count, char **arguments)
{
    const char *text = "127.0.0.1:7007";
    proa_loop_options options = {0};
    proa_address address;
    proa_loop *loop;
    int word, error;

    while ((word = getopt_long(count, arguments, "", words, NULL)) != -1) {
        if (word == 'l')
            text = optarg;
        else if (word == 'e')
            options.engine = optarg;
        else if (word == 'x')
            echoes_left = strtoul(optarg, NULL, 10);
        else
            return usage(word == 'h' ? stdout : stderr);
    }
    if (proa_address_parse(text, &address) < 0)
        return usage(stderr);
    error = proa_loop_open(&loop, &options);
    if (!error)
        error = proa_buffer_pool_open(loop, BUFFERS, BUFFER_SIZE, &pool);
    if (error) {
        fprintf(stderr, "echo: cannot open a loop: %s\n", strerror(-error));
        return 1;
    }
    proa_listen(loop, &listener, &address, BACKLOG, 0, on_listening);
    proa_signal(loop, &interrupt, SIGINT, on_signal);
    proa_signal(loop, &terminate, SIGTERM, on_signal);
    proa_signal(loop, &report, SIGUSR1, on_report);
    proa_loop_run(loop, PROA_UNTIL_STOPPED);
    proa_loop_close(loop);
    return 0;
}

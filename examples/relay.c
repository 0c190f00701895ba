/* A TCP forwarder: whoever connects is joined with the target, both ways. */
#include <getopt.h>
#include <proa/proa.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUFFERS = 256, BUFFER_SIZE = 16384, BACKLOG = 4096 };

struct session {
    proa_op op; /* connects, relays, closes the server and then the client */
    proa_relaying relaying;
    proa_fd client, server;
};

static proa_op listener, acceptor, interrupt, terminate;
static proa_address source, target;
static proa_relay_pool *pool;
static int mover;

static void on_client_closed(proa_op *op, proa_result result)
{
    (void)result;
    free(proa_owner(op, struct session, op));
}

static void on_server_closed(proa_op *op, proa_result result)
{
    (void)result;
    proa_close(op->loop, op, proa_owner(op, struct session, op)->client, on_client_closed);
}

static void on_relayed(proa_op *op, proa_result result)
{
    (void)result; /* whatever ended it, both sides are closed */
    proa_close(op->loop, op, proa_owner(op, struct session, op)->server, on_server_closed);
}

static void on_connected(proa_op *op, proa_result result)
{
    struct session *session = proa_owner(op, struct session, op);

    if (result.value < 0) {
        fprintf(stderr, "relay: the target: %s\n", strerror((int)-result.value));
        on_server_closed(op, result);
        return;
    }
    session->server = proa_result_fd(result);
    session->relaying.mover = (uint8_t)mover;
    proa_relay(op->loop, op, &session->relaying, pool, session->client, session->server, on_relayed);
}

static void on_accepted(proa_op *op, proa_result result)
{
    struct session *session = result.value < 0 ? NULL : calloc(1, sizeof(*session));

    if (!session)
        return;
    session->client = proa_result_fd(result);
    proa_connect(op->loop, &session->op, &target, on_connected);
}

static void on_listening(proa_op *op, proa_result result)
{
    char text[PROA_ADDRESS_TEXT_MAX];

    if (result.value < 0) {
        fprintf(stderr, "relay: cannot listen: %s\n", strerror((int)-result.value));
        exit(1);
    }
    proa_local_address(op->loop, proa_result_fd(result), &source);
    printf("listening %s, engine %s\n", proa_address_format(&source, text, sizeof(text)), proa_loop_choice(op->loop));
    fflush(stdout);
    proa_accept_many(op->loop, &acceptor, proa_result_fd(result), on_accepted);
}

static void on_signal(proa_op *op, proa_result result)
{
    if (result.value > 0)
        proa_loop_stop(op->loop);
}

static int usage(FILE *to, int status)
{
    fputs("usage: relay [-e ENGINE] [-m auto|copy|splice] LISTEN-ADDRESS TARGET-ADDRESS\n", to);
    return status;
}

int main(int count, char **arguments)
{
    proa_loop_options options = {0};
    proa_loop *loop;
    int word, error;

    if (count == 2 && strcmp(arguments[1], "--help") == 0)
        return usage(stdout, 0);
    while ((word = getopt(count, arguments, "e:m:")) != -1) {
        if (word == 'e')
            options.engine = optarg;
        else if (word == 'm')
            mover = *optarg == 'c' ? PROA_RELAY_COPY : *optarg == 's' ? PROA_RELAY_SPLICE : PROA_RELAY_AUTO;
        else
            return usage(stderr, 2);
    }
    if (count - optind != 2 || proa_address_parse(arguments[optind], &source) < 0 ||
        proa_address_parse(arguments[optind + 1], &target) < 0)
        return usage(stderr, 2);
    error = proa_loop_open(&loop, &options);
    if (!error)
        error = proa_relay_pool_open(loop, BUFFERS, BUFFER_SIZE, &pool);
    if (error) {
        fprintf(stderr, "relay: cannot open a loop: %s\n", strerror(-error));
        return 1;
    }
    proa_listen(loop, &listener, &source, BACKLOG, 0, on_listening);
    proa_signal(loop, &interrupt, SIGINT, on_signal);
    proa_signal(loop, &terminate, SIGTERM, on_signal);
    proa_loop_run(loop, PROA_UNTIL_STOPPED);
    proa_loop_close(loop);
    return 0;
}

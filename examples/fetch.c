/* Connects by name and prints the head of the answer to a request. Nothing blocks: with more of these structs it would
 * fetch from many hosts at once. */
#include <getopt.h>
#include <proa/name.h>
#include <proa/proa.h>
#include <stdio.h>
#include <string.h>

static struct fetch {
    proa_name_connect connect;
    proa_op send, receive, close;
    proa_fd fd;
    char request[1024], answer[8192]; /* which ends with a zero at any time */
    size_t size;
    int failed;
} fetch;

/* What fails in a send fails the receive, too. */
static void ignore(proa_op *op, proa_result result)
{
    (void)op;
    (void)result;
}

static void end(proa_loop *loop, const char *trouble)
{
    char *body = strstr(fetch.answer, "\r\n\r\n");

    fetch.failed = !body;
    if (body)
        printf("%.*s\n", (int)(body + 2 - fetch.answer), fetch.answer);
    else
        fprintf(stderr, "fetch: %s; expected the head of an answer\n", trouble);
    proa_close(loop, &fetch.close, fetch.fd, ignore);
}

static void on_received(proa_op *op, proa_result result)
{
    fetch.size += result.value > 0 ? (size_t)result.value : 0;
    if (result.value < 0)
        end(op->loop, strerror((int)-result.value));
    else if (result.value == 0 || strstr(fetch.answer, "\r\n\r\n") || fetch.size == sizeof(fetch.answer) - 1)
        end(op->loop, "the server sent something else");
    else
        proa_recv(op->loop, op, fetch.fd, fetch.answer + fetch.size, sizeof(fetch.answer) - 1 - fetch.size,
                  on_received);
}

static void on_connected(proa_op *op, proa_result result)
{
    char text[PROA_ADDRESS_TEXT_MAX];

    if (result.value < 0) {
        fetch.failed = 1;
        fprintf(stderr, "fetch: cannot connect: %s\n", fetch.connect.reason);
        return;
    }
    fetch.fd = proa_result_fd(result);
    printf("connected to %s\n", proa_address_format(&fetch.connect.peer, text, sizeof(text)));
    proa_send(op->loop, &fetch.send, fetch.fd, fetch.request, strlen(fetch.request), ignore);
    proa_recv(op->loop, &fetch.receive, fetch.fd, fetch.answer, sizeof(fetch.answer) - 1, on_received);
    proa_set_deadline(&fetch.receive, proa_now(op->loop) + 10 * PROA_SECOND_NS);
}

static int usage(FILE *stream)
{
    fputs("usage: fetch [--engine NAME] [--servers ADDR:PORT,...] HOST:PORT\n", stream);
    return stream == stdout ? 0 : 2;
}

int main(int count, char **arguments)
{
    static const struct option words[] = {
        {"engine", 1, NULL, 'e'}, {"servers", 1, NULL, 's'}, {"help", 0, NULL, 'h'}, {NULL, 0, NULL, 0}};
    proa_loop_options loop_options = {0};
    proa_resolver_options options = {0};
    proa_resolver *resolver;
    proa_loop *loop;
    int word;

    while ((word = getopt_long(count, arguments, "", words, NULL)) != -1) {
        if (word == 'e')
            loop_options.engine = optarg;
        else if (word == 's')
            options.servers = optarg;
        else
            return usage(word == 'h' ? stdout : stderr);
    }
    if (count - optind != 1)
        return usage(stderr);
    snprintf(fetch.request, sizeof(fetch.request), "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
             arguments[optind]);
    if (proa_loop_open(&loop, &loop_options) < 0 || proa_resolver_open(loop, &options, &resolver) < 0) {
        fputs("fetch: expected an engine that works here, and addresses of name servers\n", stderr);
        return 1;
    }
    proa_connect_name(resolver, &fetch.connect, arguments[optind], on_connected);
    proa_set_deadline(&fetch.connect.op, proa_now(loop) + 10 * PROA_SECOND_NS);
    proa_loop_run(loop, PROA_UNTIL_IDLE);
    proa_resolver_close(resolver);
    proa_loop_close(loop);
    return fetch.failed;
}

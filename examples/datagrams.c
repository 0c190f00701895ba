/* A UDP echo server: every datagram goes back to whom it came from, from the address it came to. What was received is sent
 * as it is, straight from its buffer; each buffer has the op and the datagram that send it. Where the kernel can, several
 * datagrams of one peer come, and go back, as one (GRO, GSO). One that was cut is counted and not answered. */
#include <errno.h>
#include <getopt.h>
#include <proa/proa.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What GRO puts together is at most 64 KiB. */
enum { BUFFERS = 64, BUFFER_SIZE = PROA_DATAGRAM_OVERHEAD + 65536 };

struct answer {
    proa_op op;
    proa_datagram datagram;
};

static struct answer answers[BUFFERS];
static proa_op opener, receiver, interrupt, terminate;
static proa_address address;
static unsigned flags = PROA_DATAGRAM_LOCAL | PROA_DATAGRAM_GRO;
static proa_buffer_pool *pool;
static proa_fd fd;
static unsigned long received, cut, answered, failed, answers_left;

static unsigned long segments(const proa_datagram *datagram)
{
    return datagram->segment_size ? (datagram->size + datagram->segment_size - 1) / datagram->segment_size : 1;
}

static void on_answered(proa_op *op, proa_result result)
{
    struct answer *answer = proa_owner(op, struct answer, op);
    unsigned long count = segments(&answer->datagram);

    proa_buffer_return(pool, (uint32_t)(answer - answers));
    if (result.value < 0)
        failed += count;
    else
        answered += count;
    if (answers_left && answered >= answers_left)
        proa_loop_stop(op->loop);
}

static void on_received(proa_op *op, proa_result result)
{
    struct answer *answer;

    if (!(result.flags & PROA_LENT)) {
        if (result.value != -ECANCELED) /* which the end of the loop brings */
            fprintf(stderr, "datagrams: cannot receive: %s\n", strerror((int)-result.value));
        proa_loop_stop(op->loop);
        return;
    }
    answer = &answers[result.buffer];
    proa_datagram_in(pool, result, &answer->datagram);
    received += segments(&answer->datagram);
    if (answer->datagram.whole_size > answer->datagram.size) {
        cut++;
        proa_buffer_return(pool, result.buffer);
    } else {
        proa_send_to(op->loop, &answer->op, fd, &answer->datagram, on_answered);
    }
}

static void on_open(proa_op *op, proa_result result)
{
    char text[PROA_ADDRESS_TEXT_MAX];

    /* GRO came with Linux 5.0, and a Unix socket has neither; without them all works as well. */
    if ((result.value == -ENOPROTOOPT || result.value == -EOPNOTSUPP) && flags) {
        flags = flags & PROA_DATAGRAM_GRO ? PROA_DATAGRAM_LOCAL : 0;
        proa_datagram_open(op->loop, op, &address, NULL, flags, on_open);
        return;
    }
    if (result.value < 0) {
        fprintf(stderr, "datagrams: cannot open the socket: %s\n", strerror((int)-result.value));
        exit(1);
    }
    fd = proa_result_fd(result);
    proa_local_address(op->loop, fd, &address);
    printf("listening %s, engine %s\n", proa_address_format(&address, text, sizeof(text)), proa_loop_choice(op->loop));
    fflush(stdout);
    proa_recv_from_many(op->loop, &receiver, fd, pool, on_received);
}

static void on_signal(proa_op *op, proa_result result)
{
    if (result.value > 0)
        proa_loop_stop(op->loop);
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
    fputs("usage: datagrams [--listen ADDR:PORT] [--engine NAME] [--exit-after ANSWERS]\n", stream);
    return stream == stdout ? 0 : 2;
}

int main(int count, char **arguments)
{
    const char *text = "127.0.0.1:7007";
    proa_loop_options options = {0};
    proa_loop *loop;
    int word, error;

    while ((word = getopt_long(count, arguments, "", words, NULL)) != -1) {
        if (word == 'l')
            text = optarg;
        else if (word == 'e')
            options.engine = optarg;
        else if (word == 'x')
            answers_left = strtoul(optarg, NULL, 10);
        else
            return usage(word == 'h' ? stdout : stderr);
    }
    if (proa_address_parse(text, &address) < 0)
        return usage(stderr);
    error = proa_loop_open(&loop, &options);
    if (!error)
        error = proa_buffer_pool_open(loop, BUFFERS, BUFFER_SIZE, &pool);
    if (error) {
        fprintf(stderr, "datagrams: cannot open a loop: %s\n", strerror(-error));
        return 1;
    }
    proa_datagram_open(loop, &opener, &address, NULL, flags, on_open);
    proa_signal(loop, &interrupt, SIGINT, on_signal);
    proa_signal(loop, &terminate, SIGTERM, on_signal);
    proa_loop_run(loop, PROA_UNTIL_STOPPED);
    proa_loop_close(loop);
    printf("received %lu, cut %lu, answered %lu, failed %lu\n", received, cut, answered, failed);
    return 0;
}

/* What a gigabyte costs its sender, sent with and without copy. For bench/zero_copy.py:
 *   zero_copy sink             listens, prints its port, and throws away what one connection after the other brings
 *   zero_copy ADDRESS HOW SIZE MIB
 *                              sends so many MiB in messages of SIZE bytes, HOW being plain or zero_copy, a MiB or four
 *                              messages of them in flight, and prints one JSON object */
#include <inttypes.h>
#include <proa/proa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { IN_FLIGHT = 1 << 20, IN_FLIGHT_LEAST = 4, SINK_SIZE = 1 << 20, PAGE = 4096 };

struct message {
    proa_op op;
    uint8_t *data;
};

static proa_loop *loop;
static proa_fd peer;
static struct message *messages;
static int without_copy;
static size_t size;
static uint64_t left, copied; /* bytes */

static _Noreturn void fail(const char *what, int error)
{
    fprintf(stderr, "zero_copy: %s: %s\n", what, strerror(-error));
    exit(1);
}

static void on_sent(proa_op *op, proa_result result);

static void send_next(struct message *message)
{
    if (left == 0)
        return;
    left -= size;
    if (without_copy)
        proa_send_zero_copy(loop, &message->op, peer, message->data, size, on_sent);
    else
        proa_send(loop, &message->op, peer, message->data, size, on_sent);
}

static void on_sent(proa_op *op, proa_result result)
{
    if (result.value < 0)
        fail("sending", (int)result.value);
    if (result.flags & PROA_MORE)
        return;
    if (result.flags & PROA_COPIED)
        copied += size;
    send_next(proa_owner(op, struct message, op));
}

static void on_connected(proa_op *op, proa_result result)
{
    (void)op;
    if (result.value < 0)
        fail("connecting", (int)result.value);
    peer = proa_result_fd(result);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void send_all(uint64_t total)
{
    size_t count = IN_FLIGHT / size > IN_FLIGHT_LEAST ? IN_FLIGHT / size : IN_FLIGHT_LEAST;
    uint64_t cpu_ns, wall_ns;

    messages = calloc(count, sizeof(*messages));
    for (size_t i = 0; i < count; i++) {
        messages[i].data = aligned_alloc(PAGE, (size + PAGE - 1) / PAGE * PAGE);
        memset(messages[i].data, (int)i, size);
    }
    left = total;
    cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    wall_ns = clock_ns(CLOCK_MONOTONIC);
    for (size_t i = 0; i < count; i++)
        send_next(&messages[i]);
    proa_loop_run(loop, PROA_UNTIL_IDLE);
    printf("{\"cpu_ns\": %" PRIu64 ", \"wall_ns\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"copied\": %" PRIu64 "}\n",
           clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns, clock_ns(CLOCK_MONOTONIC) - wall_ns, total, copied);
}

static int run_sink(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t address_size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd;
    static uint8_t data[SINK_SIZE];

    if (bind(listener, (struct sockaddr *)&address, address_size) < 0 || listen(listener, 16) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &address_size) < 0)
        return 1;
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    while ((fd = accept(listener, NULL, NULL)) >= 0) {
        while (recv(fd, data, SINK_SIZE, 0) > 0)
            continue;
        close(fd);
    }
    return 1;
}

int main(int argc, char **argv)
{
    proa_address address;
    proa_op op = {0};
    int error;

    if (argc == 2 && strcmp(argv[1], "sink") == 0)
        return run_sink();
    if (argc != 5 || proa_address_parse(argv[1], &address) < 0) {
        fprintf(stderr, "usage: zero_copy sink | zero_copy ADDRESS plain|zero_copy SIZE MIB\n");
        return 2;
    }
    without_copy = strcmp(argv[2], "zero_copy") == 0;
    size = strtoul(argv[3], NULL, 10);
    error = proa_loop_open(&loop, NULL);
    if (error < 0)
        fail("opening a loop", error);
    proa_connect(loop, &op, &address, on_connected);
    proa_loop_run(loop, PROA_UNTIL_IDLE);
    send_all((strtoull(argv[4], NULL, 10) << 20) / size * size);
    proa_close(loop, &op, peer, on_connected);
    proa_loop_run(loop, PROA_UNTIL_IDLE);
    proa_loop_close(loop);
    return 0;
}

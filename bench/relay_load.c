/*
 * The load of a relay: both ends of it. Connects to the relay under test, which is to connect to the port above its own,
 * where this program listens.
 *
 * Bulk: each connection sends as much as it can, and what arrives is dropped in the kernel (MSG_TRUNC, tcp(7)); an operation
 * is a million bytes. Messages: each goes through the relay, is sent back, and only then the next one follows; an operation
 * is a message there and back. The handshake and the result are those of load/main.c. A phase ends with nothing in flight.
 */
#define _GNU_SOURCE
#include "load/histogram.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, CHUNK = 262144, TAKE = 1 << 24, MEGABYTE = 1000000, CONNECTIONS_MAX = 1024, START_S = 10 };

enum side { CLIENT, TARGET };

static long connections = 4, size, duration_ms = 2000, warmup_ms = 300, handshake;
static struct sockaddr_in server;
static int everybody, targets; /* epolls: of both sides, and of the targets alone, which drain */
static int listener, clients[CONNECTIONS_MAX], accepted;
static uint64_t sent, got, messages, started_ns[65536];
static bool stopping;
static struct histogram latency;
static char data[CHUNK];

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "relay_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t clock_of(clockid_t clock)
{
    struct timespec time;

    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void watch(int epoll, int fd, enum side side, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)side << 32 | (uint32_t)fd};

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
        fail("epoll_ctl");
}

static void set_no_delay(int fd)
{
    int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void open_listener(void)
{
    struct sockaddr_in above = server;
    int one = 1;

    above.sin_port = htons((in_port_t)(ntohs(server.sin_port) + 1));
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(listener, (struct sockaddr *)&above, sizeof(above)) || listen(listener, CONNECTIONS_MAX))
        fail("the port above the relay's");
}

static void take_target(void)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0)
        return;
    set_no_delay(fd);
    watch(everybody, fd, TARGET, EPOLLIN);
    watch(targets, fd, TARGET, EPOLLIN);
    accepted++;
}

static void connect_all(void)
{
    uint64_t until_ns = clock_of(CLOCK_MONOTONIC) + START_S * UINT64_C(1000000000);

    for (long i = 0; i < connections; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(clients[i], (struct sockaddr *)&server, sizeof(server)))
            fail("the relay");
        set_no_delay(clients[i]);
        watch(everybody, clients[i], CLIENT, size ? EPOLLIN : EPOLLOUT);
    }
    while (accepted < connections && clock_of(CLOCK_MONOTONIC) < until_ns)
        take_target();
    if (accepted < connections)
        fail("the relay does not connect to the target");
}

static void send_message(int fd)
{
    started_ns[fd] = clock_of(CLOCK_MONOTONIC);
    if (send(fd, data, (size_t)size, MSG_NOSIGNAL) != size)
        fail("sending a message");
    sent++;
}

/* One that comes in pieces would be none of those that this measures. */
static void take_message(int fd, enum side side)
{
    ssize_t count = recv(fd, data, (size_t)size, MSG_DONTWAIT);

    if (count < 0 && errno == EAGAIN)
        return;
    if (count != size)
        fail("a message came back in pieces");
    if (side == TARGET) {
        if (send(fd, data, (size_t)size, MSG_NOSIGNAL) != size)
            fail("sending a message back");
        return;
    }
    got++;
    messages++;
    histogram_add(&latency, clock_of(CLOCK_MONOTONIC) - started_ns[fd]);
    if (!stopping)
        send_message(fd);
}

static void move_bulk(int fd, enum side side)
{
    ssize_t count = side == CLIENT ? send(fd, data, CHUNK, MSG_DONTWAIT | MSG_NOSIGNAL)
                                   : recv(fd, NULL, TAKE, MSG_DONTWAIT | MSG_TRUNC);

    if (count == 0 || (count < 0 && errno != EAGAIN))
        fail("the relay ended a connection");
    if (count < 0)
        return;
    *(side == CLIENT ? &sent : &got) += (uint64_t)count;
}

static void turn(int epoll)
{
    struct epoll_event events[BATCH];
    int count = epoll_wait(epoll, events, BATCH, 100);

    for (int i = 0; i < count; i++)
        (size ? take_message : move_bulk)((int)(uint32_t)events[i].data.u64, (enum side)(events[i].data.u64 >> 32));
}

static void run_for(long ms)
{
    uint64_t until_ns = clock_of(CLOCK_MONOTONIC) + (uint64_t)ms * 1000000;

    stopping = false;
    for (long i = 0; size && i < connections; i++)
        send_message(clients[i]);
    while (clock_of(CLOCK_MONOTONIC) < until_ns)
        turn(everybody);
    stopping = true;
    while (got < sent)
        turn(size ? everybody : targets);
}

static void tell(const char *event)
{
    char line[16];

    if (!handshake)
        return;
    printf("{\"event\": \"%s\"}\n", event);
    fflush(stdout);
    if (!fgets(line, sizeof(line), stdin))
        exit(1);
}

static void parse(int argc, char **argv)
{
    const struct {
        const char *name;
        long *value;
    } rows[] = {{"--connections", &connections},
                {"--size", &size},
                {"--duration-ms", &duration_ms},
                {"--warmup-ms", &warmup_ms},
                {"--handshake", &handshake}};
    char *colon;

    for (int i = 1; i + 1 < argc; i += 2) {
        for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++)
            if (!strcmp(argv[i], rows[row].name))
                *rows[row].value = atol(argv[i + 1]);
        colon = strchr(argv[i + 1], ':');
        if (!strcmp(argv[i], "--server") && colon) {
            *colon = 0;
            server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((in_port_t)atoi(colon + 1))};
            inet_pton(AF_INET, argv[i + 1], &server.sin_addr);
        }
    }
    if (!server.sin_port || connections < 1 || connections > CONNECTIONS_MAX || size < 0 || size > CHUNK) {
        fputs("usage: relay_load --server ADDR:PORT [--size BYTES] [--connections N] [--duration-ms N] [--warmup-ms N] "
              "[--handshake 1]\nwithout a size: bulk\n",
              stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    uint64_t begin_ns, cpu_ns, ops;
    double seconds;

    parse(argc, argv);
    everybody = epoll_create1(EPOLL_CLOEXEC);
    targets = epoll_create1(EPOLL_CLOEXEC);
    open_listener();
    connect_all();
    run_for(warmup_ms);
    tell("begin");
    sent = got = messages = 0;
    memset(&latency, 0, sizeof(latency));
    begin_ns = clock_of(CLOCK_MONOTONIC);
    cpu_ns = clock_of(CLOCK_PROCESS_CPUTIME_ID);
    run_for(duration_ms);
    seconds = (double)(clock_of(CLOCK_MONOTONIC) - begin_ns) / 1e9;
    cpu_ns = clock_of(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns;
    tell("end");
    ops = size ? messages : got / MEGABYTE;
    printf(
        "{\"event\": \"result\", \"ops\": %llu, \"seconds\": %.6f, \"errors\": 0, \"bytes\": %llu, \"idle_lost\": 0, "
        "\"segments_in\": 0, \"client_cpu_seconds\": %.6f, \"latency_us\": {\"p50\": %.1f, \"p99\": %.1f}}\n",
        (unsigned long long)ops, seconds, (unsigned long long)(size ? got * (uint64_t)size : got), (double)cpu_ns / 1e9,
        (double)histogram_at(&latency, 0.5) / 1e3, (double)histogram_at(&latency, 0.99) / 1e3);
    return 0;
}

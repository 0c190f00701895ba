/* The server, unchanged, on a simulated machine in rough weather: whatever arrives in whatever pieces, a client gets the whole
 * file or an error; and the same seed gives the same run. The two things that the server asks the host for, the time of day and
 * a random number, are taken from the machine too, by way of the linker's --wrap. */
#include <errno.h>
#include <proa/proa.h>
#include <proa/sim.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "../check.h"
#include "serve/await.h"
#include "serve/listener.h"
#include "serve/server.h"

enum { FILE_SIZE = 300000, CLIENTS = 4, ROUNDS = 3, SEEDS = 1000, REPEAT_EVERY = 20 };

static char content[FILE_SIZE];
static const char server_address[] = "10.0.0.1:80";
static unsigned clients_left, complete, broken;
static proa_sim *machine;

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_now);
ssize_t __wrap_getrandom(void *data, size_t size, unsigned flags);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_now)
{
    uint64_t now_ns = proa_sim_now(machine);

    (void)clock;
    *ret_now = (struct timespec){(time_t)(now_ns / PROA_SECOND_NS), (long)(now_ns % PROA_SECOND_NS)};
    return 0;
}

ssize_t __wrap_getrandom(void *data, size_t size, unsigned flags)
{
    (void)flags;
    memset(data, 0x5a, size);
    return (ssize_t)size;
}

/* The server */

static void serve(proa_sim *sim, void *argument)
{
    struct serve_options options = {
        .directory = "/site",
        .index = "index.html",
        .workers = 1,
        .head_timeout_s = 10,
        .idle_timeout_s = 30,
        .send_timeout_s = 30,
        .listen_count = 1,
    };
    struct serve_report report = {0};
    struct server_setup setup = {.options = &options, .role = SERVER_ALONE, .engine = "sim", .report = &report};
    proa_fd listener;
    proa_loop *loop;

    (void)sim;
    (void)argument;
    CHECK(proa_address_parse(server_address, &options.listen[0]) == 0);
    if (!CHECK(proa_loop_open(&loop, NULL) == 0))
        return;
    listener = proa_fd_of(listener_open(loop, &options.listen[0], false));
    setup.listeners = &listener;
    setup.root = proa_fd_of((int)await_open(loop, options.directory, (proa_open_how){.flags = O_RDONLY | O_DIRECTORY}));
    CHECK(proa_fd_number(listener) >= 0 && proa_fd_number(setup.root) >= 0);
    proa_loop_close(loop);
    CHECK(server_run(&setup) == 0);
}

/* A client: asks for the file, reads to the end, and compares. */

struct visit {
    proa_op op, send, retry;
    proa_fd fd;
    unsigned rounds;
    size_t size;
    char data[FILE_SIZE + 4096];
};

static proa_address to;

static void start(proa_loop *loop, struct visit *visit);

static void ignore(proa_op *op, proa_result result)
{
    (void)op;
    (void)result;
}

static void on_retry(proa_op *op, proa_result result)
{
    (void)result;
    start(op->loop, proa_owner(op, struct visit, retry));
}

static void again(proa_loop *loop, struct visit *visit)
{
    if (visit->rounds < ROUNDS)
        proa_timer(loop, &visit->retry, proa_now(loop) + PROA_MILLISECOND_NS, on_retry);
}

static void on_closed(proa_op *op, proa_result result)
{
    (void)result;
    again(op->loop, proa_owner(op, struct visit, op));
}

/* A head that says 200 and the whole length is followed by the whole file, unless the connection broke. */
static void judge(const struct visit *visit, int64_t ending)
{
    const char *body = memmem(visit->data, visit->size, "\r\n\r\n", 4);
    size_t size = body ? visit->size - (size_t)(body + 4 - visit->data) : 0;
    int is_whole = visit->size > 12 && memcmp(visit->data, "HTTP/1.1 200", 12) == 0 && ending == 0 && size == FILE_SIZE;

    if (is_whole)
        CHECK(memcmp(body + 4, content, FILE_SIZE) == 0);
    complete += (unsigned)is_whole;
    broken += (unsigned)!is_whole;
}

static void on_received(proa_op *op, proa_result result)
{
    struct visit *visit = proa_owner(op, struct visit, op);

    if (result.value > 0 && visit->size + (size_t)result.value < sizeof(visit->data)) {
        visit->size += (size_t)result.value;
        proa_recv(op->loop, op, visit->fd, visit->data + visit->size, sizeof(visit->data) - visit->size, on_received);
        return;
    }
    visit->rounds++;
    judge(visit, result.value);
    proa_close(op->loop, op, visit->fd, on_closed);
}

static void on_connected(proa_op *op, proa_result result)
{
    static const char request[] = "GET /big.bin HTTP/1.1\r\nHost: machine\r\nConnection: close\r\n\r\n";
    struct visit *visit = proa_owner(op, struct visit, op);

    if (result.value < 0) {
        again(op->loop, visit);
        return;
    }
    visit->fd = proa_result_fd(result);
    visit->size = 0;
    proa_send(op->loop, &visit->send, visit->fd, request, sizeof(request) - 1, ignore);
    proa_recv(op->loop, op, visit->fd, visit->data, sizeof(visit->data), on_received);
}

static void start(proa_loop *loop, struct visit *visit)
{
    proa_connect(loop, &visit->op, &to, on_connected);
}

static void visit_server(proa_sim *sim, void *argument)
{
    struct visit *visit = calloc(1, sizeof(*visit));
    proa_loop *loop;

    (void)argument;
    CHECK(proa_address_parse(server_address, &to) == 0);
    if (CHECK(visit && proa_loop_open(&loop, NULL) == 0)) {
        start(loop, visit);
        CHECK(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
        CHECK(visit->rounds == ROUNDS);
        proa_loop_close(loop);
    }
    free(visit);
    if (--clients_left == 0)
        proa_sim_signal(sim, SIGTERM);
}

static void print(void *context, const char *line)
{
    (void)context;
    fprintf(stderr, "%s\n", line);
}

static uint64_t run(uint64_t seed)
{
    proa_sim_options options = {.seed = seed, .trace = getenv("TRACE") ? print : NULL};
    uint64_t digest;

    proa_sim_rough(&options);
    options.chances.no_descriptor = 0; /* the loops would not even open */
    if (!CHECK(proa_sim_open(&machine, &options) == 0))
        return 0;
    CHECK(proa_sim_put_file(machine, "/site/big.bin", content, sizeof(content)) == 0);
    clients_left = CLIENTS;
    CHECK(proa_sim_spawn(machine, "server", serve, NULL) == 0);
    for (int i = 0; i < CLIENTS; i++)
        CHECK(proa_sim_spawn(machine, "client", visit_server, NULL) == 0);
    CHECK(proa_sim_run(machine) == 0);
    digest = proa_sim_digest(machine);
    proa_sim_close(machine);
    return digest;
}

/* With an argument: one run of that seed; with TRACE=1 all that happens in it goes to stderr. */
int main(int argc, char **argv)
{
    uint64_t seeds = SEEDS;

    for (size_t i = 0; i < FILE_SIZE; i++)
        content[i] = (char)(i * 31 + i / 251);
    if (argc == 3 && strcmp(argv[1], "--seeds") == 0)
        seeds = strtoull(argv[2], NULL, 0);
    if (argc == 2) {
        run(strtoull(argv[1], NULL, 0));
    } else {
        for (uint64_t seed = 1; seed <= seeds; seed++) {
            uint64_t digest = run(seed);

            if (seed % REPEAT_EVERY == 0)
                CHECK(run(seed) == digest);
        }
    }
    CHECK(complete > broken);
    printf("%u answers whole, %u broken\n", complete, broken);
    return check_done("simulated");
}

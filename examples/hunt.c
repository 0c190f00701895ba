/* How to hunt a bug: a small server with a bug in it, and clients that know what it should say, run together on a simulated
 * machine, seed after seed, until a client hears something wrong. Then the seed and the end of the trace are printed: with
 * that seed it happens again, every time, whatever is printed or looked at meanwhile.
 *
 * The server adds. A client sends numbers, one per line; each line is answered with the sum of all so far. The bug: it takes
 * what one receive brought for whole lines. On a fast network, with short messages, that is true nearly always; but TCP may cut
 * a message anywhere, and then "12" and "3\n" are two numbers. --fixed runs the server without it. */
#include <getopt.h>
#include <inttypes.h>
#include <proa/proa.h>
#include <proa/sim.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLIENTS = 3, ROUNDS = 8, LINES = 4, TEXT_MAX = 512, TRACE_LINES = 24, TRACE_WIDTH = 128 };

static const char place[] = "10.0.0.1:7007";
static int is_fixed;

static void ignore(proa_op *op, proa_result result)
{
    (void)op;
    (void)result;
}

/* The server */

struct account {
    proa_op op;
    proa_fd fd;
    unsigned long sum;
    size_t size; /* of what is kept in `in` */
    char in[TEXT_MAX], out[4 * TEXT_MAX];
};

static proa_op acceptor;

static void on_request(proa_op *op, proa_result result);

static void on_account_closed(proa_op *op, proa_result result)
{
    (void)result;
    free(proa_owner(op, struct account, op));
}

static void listen_to(proa_loop *loop, struct account *account)
{
    proa_recv(loop, &account->op, account->fd, account->in + account->size, sizeof(account->in) - 1 - account->size,
              on_request);
}

static void on_answered(proa_op *op, proa_result result)
{
    struct account *account = proa_owner(op, struct account, op);

    if (result.value < 0)
        proa_close(op->loop, op, account->fd, on_account_closed);
    else
        listen_to(op->loop, account);
}

/* Answers every line, and keeps what is behind the last one, or should. Returns the size of the answers. */
static size_t answer(struct account *account)
{
    char *line = account->in, *end;
    size_t size = 0;

    account->in[account->size] = '\0';
    while ((end = strchr(line, '\n')) || (!is_fixed && *line)) {
        account->sum += strtoul(line, NULL, 10);
        size += (size_t)snprintf(account->out + size, sizeof(account->out) - size, "%lu\n", account->sum);
        line = end ? end + 1 : line + strlen(line);
    }
    account->size = strlen(line);
    memmove(account->in, line, account->size);
    return size;
}

static void on_request(proa_op *op, proa_result result)
{
    struct account *account = proa_owner(op, struct account, op);
    size_t size;

    if (result.value <= 0) {
        proa_close(op->loop, op, account->fd, on_account_closed);
        return;
    }
    account->size += (size_t)result.value;
    size = answer(account);
    if (size > 0)
        proa_send(op->loop, op, account->fd, account->out, size, on_answered);
    else
        listen_to(op->loop, account);
}

static void on_accepted(proa_op *op, proa_result result)
{
    struct account *account = result.value < 0 ? NULL : calloc(1, sizeof(*account));

    if (!account)
        return;
    account->fd = proa_result_fd(result);
    listen_to(op->loop, account);
}

static void on_listening(proa_op *op, proa_result result)
{
    if (result.value >= 0)
        proa_accept_many(op->loop, &acceptor, proa_result_fd(result), on_accepted);
}

static void on_stop(proa_op *op, proa_result result)
{
    if (result.value > 0)
        proa_loop_stop(op->loop);
}

static proa_loop *open_loop(proa_address *ret_address)
{
    proa_loop *loop;

    if (proa_loop_open(&loop, NULL) < 0 || proa_address_parse(place, ret_address) < 0)
        abort();
    return loop;
}

static void serve(proa_sim *sim, void *argument)
{
    proa_op listener = {0}, stop = {0};
    proa_address address;
    proa_loop *loop = open_loop(&address);

    (void)sim;
    (void)argument;
    proa_listen(loop, &listener, &address, 16, 0, on_listening);
    proa_signal(loop, &stop, SIGTERM, on_stop);
    proa_loop_run(loop, PROA_UNTIL_STOPPED);
    proa_loop_close(loop);
}

/* The clients */

struct visitor {
    proa_op connect, send, receive, close, retry;
    proa_address address;
    proa_fd fd;
    unsigned rounds;
    unsigned long sum;
    size_t size;
    char out[TEXT_MAX], expected[TEXT_MAX], in[TEXT_MAX];
};

static unsigned visitors_left, wrong_answers;

static void knock(proa_loop *loop, struct visitor *visitor);
static void on_answer(proa_op *op, proa_result result);

static void hear(proa_loop *loop, struct visitor *visitor)
{
    proa_recv(loop, &visitor->receive, visitor->fd, visitor->in + visitor->size, sizeof(visitor->in) - visitor->size,
              on_answer);
}

static void ask(proa_loop *loop, struct visitor *visitor)
{
    size_t asked = 0, expected = 0;

    for (unsigned i = 0; i < LINES; i++) {
        unsigned number = 100 + visitor->rounds * 37 + i;

        visitor->sum += number;
        asked += (size_t)snprintf(visitor->out + asked, sizeof(visitor->out) - asked, "%u\n", number);
        expected += (size_t)snprintf(visitor->expected + expected, sizeof(visitor->expected) - expected, "%lu\n",
                                     visitor->sum);
    }
    visitor->size = 0;
    proa_send(loop, &visitor->send, visitor->fd, visitor->out, asked, ignore);
    hear(loop, visitor);
}

static void on_answer(proa_op *op, proa_result result)
{
    struct visitor *visitor = proa_owner(op, struct visitor, receive);
    size_t whole = strlen(visitor->expected);

    visitor->size += result.value > 0 ? (size_t)result.value : 0;
    if (result.value <= 0 || visitor->size > whole || memcmp(visitor->in, visitor->expected, visitor->size) != 0)
        wrong_answers++;
    else if (visitor->size < whole)
        return hear(op->loop, visitor);
    else if (++visitor->rounds < ROUNDS)
        return ask(op->loop, visitor);
    proa_close(op->loop, &visitor->close, visitor->fd, ignore);
}

static void on_retry(proa_op *op, proa_result result)
{
    (void)result;
    knock(op->loop, proa_owner(op, struct visitor, retry));
}

/* The server may not be there yet. */
static void on_connected(proa_op *op, proa_result result)
{
    struct visitor *visitor = proa_owner(op, struct visitor, connect);

    visitor->fd = proa_result_fd(result);
    if (result.value >= 0)
        ask(op->loop, visitor);
    else
        proa_timer(op->loop, &visitor->retry, proa_now(op->loop) + PROA_MILLISECOND_NS, on_retry);
}

static void knock(proa_loop *loop, struct visitor *visitor)
{
    proa_connect(loop, &visitor->connect, &visitor->address, on_connected);
}

static void visit(proa_sim *sim, void *argument)
{
    struct visitor visitor = {0};
    proa_loop *loop = open_loop(&visitor.address);

    (void)argument;
    knock(loop, &visitor);
    proa_loop_run(loop, PROA_UNTIL_IDLE);
    proa_loop_close(loop);
    if (--visitors_left == 0)
        proa_sim_signal(sim, SIGTERM);
}

/* The hunt */

struct trace {
    size_t count;
    char lines[TRACE_LINES][TRACE_WIDTH]; /* the latest, in turn */
};

/* Nothing is worth keeping after the first wrong answer. */
static void keep(void *context, const char *line)
{
    struct trace *trace = context;

    if (wrong_answers == 0)
        snprintf(trace->lines[trace->count++ % TRACE_LINES], TRACE_WIDTH, "%s", line);
}

/* Returns whether the bug has shown, or a negative errno. */
static int try_seed(uint64_t seed, struct trace *trace)
{
    proa_sim_options options = {
        .seed = seed,
        .chances = {.split = 2000, .short_recv = 500, .short_send = 500, .late_report = 50000},
        .trace = keep,
        .trace_context = trace,
    };
    proa_sim *sim;
    int error = proa_sim_open(&sim, &options);

    if (error)
        return error;
    trace->count = 0;
    wrong_answers = 0;
    visitors_left = CLIENTS;
    error = proa_sim_spawn(sim, "server", serve, NULL);
    for (int i = 0; !error && i < CLIENTS; i++)
        error = proa_sim_spawn(sim, "client", visit, NULL);
    if (!error)
        error = proa_sim_run(sim);
    proa_sim_close(sim);
    return error ? error : wrong_answers > 0;
}

static void print_end(const struct trace *trace)
{
    size_t first = trace->count > TRACE_LINES ? trace->count - TRACE_LINES : 0;

    for (size_t i = first; i < trace->count; i++)
        printf("  %s\n", trace->lines[i % TRACE_LINES]);
}

static int hunt(uint64_t first, uint64_t count)
{
    static struct trace trace;

    for (uint64_t seed = first; seed < first + count; seed++) {
        int result = try_seed(seed, &trace);

        if (result < 0) {
            fprintf(stderr, "hunt: seed %" PRIu64 ": %s\n", seed, strerror(-result));
            return 1;
        }
        if (result > 0) {
            printf("seed %" PRIu64 ": a client was told a wrong sum, just after\n", seed);
            print_end(&trace);
            printf("see it again: hunt --seed %" PRIu64 "\n", seed);
            return 0;
        }
    }
    printf("no client was told a wrong sum in %" PRIu64 " runs\n", count);
    return 0;
}

static const struct option words[] = {
    {"seed", required_argument, NULL, 's'},
    {"fixed", no_argument, NULL, 'f'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

int main(int count, char **arguments)
{
    uint64_t first = 1, seeds = 1000;
    int word;

    while ((word = getopt_long(count, arguments, "", words, NULL)) != -1) {
        if (word == 's') {
            first = strtoull(optarg, NULL, 10);
            seeds = 1;
        } else if (word == 'f') {
            is_fixed = 1;
        } else {
            fputs("usage: hunt [--seed NUMBER] [--fixed]\n", word == 'h' ? stdout : stderr);
            return word == 'h' ? 0 : 2;
        }
    }
    return hunt(first, seeds);
}

/* Programs of a simulated machine: a server and its clients, each with a loop of its own on a thread of its own, run the same
 * way from the same seed; who waits for what can never come is told so. */
#include <errno.h>
#include <proa/proa.h>
#include <proa/sim.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "../check.h"

enum { CLIENTS = 3, MESSAGES = 20, MESSAGE_SIZE = 5000 };

static const char server_address[] = "10.0.0.1:7007";

static void ignore(proa_op *op, proa_result result)
{
    (void)op;
    (void)result;
}

/* The server: sends back what it gets. */

struct client {
    proa_op op;
    proa_fd fd;
    char data[4096];
};

static proa_op acceptor;

static void on_closed(proa_op *op, proa_result result)
{
    (void)result;
    free(proa_owner(op, struct client, op));
}

static void on_received(proa_op *op, proa_result result);

static void on_sent(proa_op *op, proa_result result)
{
    struct client *client = proa_owner(op, struct client, op);

    if (result.value < 0)
        proa_close(op->loop, op, client->fd, on_closed);
    else
        proa_recv(op->loop, op, client->fd, client->data, sizeof(client->data), on_received);
}

static void on_received(proa_op *op, proa_result result)
{
    struct client *client = proa_owner(op, struct client, op);

    if (result.value <= 0)
        proa_close(op->loop, op, client->fd, on_closed);
    else
        proa_send(op->loop, op, client->fd, client->data, (size_t)result.value, on_sent);
}

static void on_accepted(proa_op *op, proa_result result)
{
    struct client *client;

    if (result.value < 0)
        return;
    client = calloc(1, sizeof(*client));
    client->fd = proa_result_fd(result);
    proa_recv(op->loop, &client->op, client->fd, client->data, sizeof(client->data), on_received);
}

static void on_listening(proa_op *op, proa_result result)
{
    CHECK(result.value >= 0);
    proa_accept_many(op->loop, &acceptor, proa_result_fd(result), on_accepted);
}

static void on_signal(proa_op *op, proa_result result)
{
    if (result.value > 0)
        proa_loop_stop(op->loop);
}

static void serve(proa_sim *sim, void *argument)
{
    proa_op listener = {0}, terminate = {0};
    proa_address address;
    proa_loop *loop;

    (void)sim;
    (void)argument;
    CHECK(proa_address_parse(server_address, &address) == 0);
    if (!CHECK(proa_loop_open(&loop, NULL) == 0))
        return;
    CHECK(strcmp(proa_loop_engine(loop), "sim") == 0);
    memset(&acceptor, 0, sizeof(acceptor));
    proa_listen(loop, &listener, &address, 16, 0, on_listening);
    proa_signal(loop, &terminate, SIGTERM, on_signal);
    proa_loop_run(loop, PROA_UNTIL_STOPPED);
    proa_loop_close(loop);
}

/* A client: sends messages, and gets each of them back. */

struct talk {
    proa_op connect, send, receive, close, retry;
    proa_fd fd;
    unsigned messages, tries;
    size_t received;
    char out[MESSAGE_SIZE], in[MESSAGE_SIZE];
};

static proa_address to;
static unsigned talks_left;

static void start_talk(proa_loop *loop, struct talk *talk);

static void on_retry(proa_op *op, proa_result result)
{
    (void)result;
    start_talk(op->loop, proa_owner(op, struct talk, retry));
}

static void on_talk_received(proa_op *op, proa_result result);

static void say(proa_loop *loop, struct talk *talk)
{
    for (size_t i = 0; i < MESSAGE_SIZE; i++)
        talk->out[i] = (char)(i * 7 + talk->messages);
    talk->received = 0;
    proa_send(loop, &talk->send, talk->fd, talk->out, MESSAGE_SIZE, ignore);
    proa_recv(loop, &talk->receive, talk->fd, talk->in, MESSAGE_SIZE, on_talk_received);
}

static void on_talk_received(proa_op *op, proa_result result)
{
    struct talk *talk = proa_owner(op, struct talk, receive);

    if (!CHECK(result.value > 0))
        return;
    talk->received += (size_t)result.value;
    if (talk->received < MESSAGE_SIZE) {
        proa_recv(op->loop, op, talk->fd, talk->in + talk->received, MESSAGE_SIZE - talk->received, on_talk_received);
        return;
    }
    CHECK(memcmp(talk->in, talk->out, MESSAGE_SIZE) == 0);
    if (++talk->messages < MESSAGES)
        say(op->loop, talk);
    else
        proa_close(op->loop, &talk->close, talk->fd, ignore);
}

/* The server may not be there yet. */
static void on_connected(proa_op *op, proa_result result)
{
    struct talk *talk = proa_owner(op, struct talk, connect);

    if (result.value >= 0) {
        talk->fd = proa_result_fd(result);
        say(op->loop, talk);
    } else if (CHECK(result.value == -ECONNREFUSED && ++talk->tries < 100)) {
        proa_timer(op->loop, &talk->retry, proa_now(op->loop) + PROA_MILLISECOND_NS, on_retry);
    }
}

static void start_talk(proa_loop *loop, struct talk *talk)
{
    proa_connect(loop, &talk->connect, &to, on_connected);
}

static void visit(proa_sim *sim, void *argument)
{
    static struct talk talks[CLIENTS];
    struct talk *talk = &talks[*(int *)argument];
    proa_loop *loop;

    memset(talk, 0, sizeof(*talk));
    CHECK(proa_address_parse(server_address, &to) == 0);
    if (!CHECK(proa_loop_open(&loop, NULL) == 0))
        return;
    start_talk(loop, talk);
    CHECK(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    CHECK(talk->messages == MESSAGES);
    proa_loop_close(loop);
    if (--talks_left == 0)
        proa_sim_signal(sim, SIGTERM);
}

/* What may go wrong here without any message being lost. */
static void set_harmless(proa_sim_options *options)
{
    proa_sim_rough(options);
    options->chances.reset = options->chances.aborted = options->chances.no_descriptor = 0;
}

static uint64_t talk_on(uint64_t seed, uint64_t *ret_now_ns)
{
    static int numbers[CLIENTS];
    proa_sim_options options = {.seed = seed};
    uint64_t digest;
    proa_sim *sim;

    set_harmless(&options);
    if (!CHECK(proa_sim_open(&sim, &options) == 0))
        return 0;
    talks_left = CLIENTS;
    CHECK(proa_sim_spawn(sim, "server", serve, NULL) == 0);
    for (int i = 0; i < CLIENTS; i++) {
        numbers[i] = i;
        CHECK(proa_sim_spawn(sim, "client", visit, &numbers[i]) == 0);
    }
    CHECK(proa_sim_run(sim) == 0);
    digest = proa_sim_digest(sim);
    *ret_now_ns = proa_sim_now(sim);
    proa_sim_close(sim);
    return digest;
}

static void test_same_seed_same_run(void)
{
    uint64_t before = 0;

    for (uint64_t seed = 1; seed <= 20; seed++) {
        uint64_t first_ns = 0, second_ns = 0;
        uint64_t digest = talk_on(seed, &first_ns);

        CHECK(talk_on(seed, &second_ns) == digest && first_ns == second_ns);
        CHECK(digest != before);
        before = digest;
    }
}

/* A loop that waits for what can never come ends its run, and the machine says so. */

static void wait_in_vain(proa_sim *sim, void *argument)
{
    proa_op terminate = {0};
    proa_loop *loop;

    (void)sim;
    (void)argument;
    if (!CHECK(proa_loop_open(&loop, NULL) == 0))
        return;
    proa_signal(loop, &terminate, SIGTERM, on_signal);
    CHECK(proa_loop_run(loop, PROA_UNTIL_IDLE) == 1);
    proa_loop_close(loop);
}

static void test_stall(void)
{
    proa_sim *sim;

    if (!CHECK(proa_sim_open(&sim, NULL) == 0))
        return;
    CHECK(proa_sim_spawn(sim, "one", wait_in_vain, NULL) == 0);
    CHECK(proa_sim_spawn(sim, "other", wait_in_vain, NULL) == 0);
    CHECK(proa_sim_run(sim) == -EDEADLK);
    CHECK(proa_sim_run(sim) == 0);
    proa_sim_close(sim);
}

static void on_timer(proa_op *op, proa_result result)
{
    *(uint64_t *)(void *)(op + 1) = result.value == 0 ? proa_now(op->loop) : 0;
}

static void test_time_passes_at_once(void)
{
    struct {
        proa_op op;
        uint64_t at_ns;
    } timer = {0};
    proa_loop_options other = {.engine = "epoll"};
    uint64_t when_ns;
    proa_loop *loop;
    proa_sim *sim;

    if (!CHECK(proa_sim_open(&sim, NULL) == 0) || !CHECK(proa_sim_enter(sim) == 0))
        return;
    CHECK(proa_loop_open(&loop, &other) == -EINVAL);
    CHECK(proa_loop_open(&loop, NULL) == 0);
    when_ns = proa_now(loop) + 1000000 * PROA_SECOND_NS;
    proa_timer(loop, &timer.op, when_ns, on_timer);
    CHECK(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    CHECK(timer.at_ns >= when_ns && timer.at_ns < when_ns + PROA_MILLISECOND_NS);
    proa_loop_close(loop);
    proa_sim_leave();
    proa_sim_close(sim);
}

int main(void)
{
    test_same_seed_same_run();
    test_stall();
    test_time_passes_at_once();
    return check_done("sim_programs");
}

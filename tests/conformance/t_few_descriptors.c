/* A server with few descriptors and many clients: accepts wait while none is free, and in the end everybody was served. */
#include "harness.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { CLIENTS = 500, DESCRIPTORS = 64 };

struct client {
    proa_op op;
    proa_fd fd;
    char byte;
};

static unsigned served;

static void on_closed(proa_op *op, proa_result result)
{
    HOLDS(result.value == 0);
    served++;
    free(proa_owner(op, struct client, op));
}

static void close_client(proa_op *op, proa_result result)
{
    HOLDS(result.value == 1);
    proa_close(op->loop, op, proa_owner(op, struct client, op)->fd, on_closed);
}

static void on_received(proa_op *op, proa_result result)
{
    struct client *client = proa_owner(op, struct client, op);

    HOLDS(result.value == 1);
    client->byte++;
    proa_send(op->loop, op, client->fd, &client->byte, 1, close_client);
}

static void on_accepted(proa_op *op, proa_result result)
{
    struct client *client;

    if (result.value < 0)
        return;
    client = calloc(1, sizeof(*client));
    REQUIRE(client != NULL);
    client->fd = proa_result_fd(result);
    proa_recv(op->loop, &client->op, client->fd, &client->byte, 1, on_received);
}

/* All connect before anybody says a word, so that those who hold a connection keep the others waiting. */
static void be_the_clients(const proa_address *address, int go)
{
    static int fds[CLIENTS];
    unsigned answered = 0;
    char byte;

    for (unsigned i = 0; i < CLIENTS; i++)
        REQUIRE((fds[i] = far_connect(address)) >= 0);
    REQUIRE(read(go, &byte, 1) == 1); /* when the server lacks descriptors */
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct pollfd writable = {.fd = fds[i], .events = POLLOUT};

        REQUIRE(poll(&writable, 1, -1) == 1);
        REQUIRE(send(fds[i], "a", 1, 0) == 1);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct pollfd readable = {.fd = fds[i], .events = POLLIN};

        byte = 0;
        REQUIRE(poll(&readable, 1, -1) == 1);
        answered += recv(fds[i], &byte, 1, 0) == 1 && byte == 'b';
        close(fds[i]);
    }
    _exit(answered == CLIENTS ? 0 : 1);
}

static void limit_descriptors(void)
{
    struct rlimit limit;

    REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = DESCRIPTORS;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

int main(int argc, char **argv)
{
    struct slot acceptor_end = {0};
    proa_address address;
    proa_op acceptor = {0};
    proa_fd listener;
    proa_loop *loop;
    int status = -1;
    pid_t clients;
    int go[2];

    test_begin(argc, argv, "t_few_descriptors");
    if (test_has(PROA_FEATURE_DIRECT))
        return check_skip("t_few_descriptors", "direct descriptors are not limited so");
    test_case("%d clients, %d descriptors", CLIENTS, DESCRIPTORS);
    loop = loop_open();
    listener = listen_on(loop, TCP, CLIENTS, &address);
    REQUIRE(pipe2(go, O_CLOEXEC) == 0);
    clients = fork();
    REQUIRE(clients >= 0);
    if (clients == 0)
        be_the_clients(&address, go[0]);
    limit_descriptors();
    proa_accept_many(loop, &acceptor, listener, on_accepted);
    RUN_UNTIL(loop, proa_loop_meters(loop).accepts_paused > 0);
    REQUIRE(write(go[1], "g", 1) == 1);
    RUN_UNTIL(loop, served == CLIENTS);
    HOLDS(waitpid(clients, &status, 0) == clients && status == 0);
    proa_close(loop, &acceptor_end.op, listener, slot_done);
    RUN_UNTIL(loop, acceptor_end.finals);
    HOLDS(acceptor_end.value == 0 && proa_loop_run(loop, PROA_NO_WAIT) == 0);
    proa_loop_close(loop);
    return check_done("t_few_descriptors");
}

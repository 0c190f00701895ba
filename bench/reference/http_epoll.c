/*
 * The HTTP limit on epoll: echo_epoll with the message replaced by a constant answer. Finds the blank lines, so that
 * pipelined and split requests are counted right, and parses nothing else. The answers of one read leave in one send;
 * what a peer does not take is remembered as a count of bytes, since all answers are alike.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 512, BUFFER = 16384 };

struct connection {
    size_t owed;        /* bytes of answers not taken by the peer; while there are any, no request is read */
    unsigned char line; /* see ref_http_heads */
};

static int poller;
static struct connection *connections; /* by descriptor */
static struct ref_http http;
static char buffer[BUFFER];
static long messages;

static void watch(int operation, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};

    if (epoll_ctl(poller, operation, fd, &event))
        ref_fail("epoll_ctl", errno);
}

/* Sends what is owed, up to all copies at once. Returns false when the peer takes no more now, or is gone. */
static bool answer(int fd, struct connection *connection)
{
    while (connection->owed) {
        size_t offset = (http.one - connection->owed % http.one) % http.one;
        size_t most = REF_HTTP_COPIES * http.one - offset;
        size_t size = connection->owed < most ? connection->owed : most;
        ssize_t sent = send(fd, http.bytes + offset, size, MSG_NOSIGNAL);

        if (sent < 0 && errno != EAGAIN)
            close(fd);
        if (sent < 0)
            return false;
        connection->owed -= (size_t)sent;
    }
    return true;
}

static void request(int fd, struct connection *connection)
{
    ssize_t got = recv(fd, buffer, sizeof(buffer), 0);
    unsigned heads;

    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            close(fd);
        return;
    }
    heads = ref_http_heads(&connection->line, buffer, (size_t)got);
    messages += heads;
    connection->owed = heads * http.one;
    if (!answer(fd, connection) && errno == EAGAIN)
        watch(EPOLL_CTL_MOD, fd, EPOLLOUT);
}

static void ready(int listener, int fd)
{
    if (fd == listener) {
        fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        connections[fd] = (struct connection){.line = 2};
        watch(EPOLL_CTL_ADD, fd, EPOLLIN);
    } else if (connections[fd].owed) {
        if (answer(fd, &connections[fd]))
            watch(EPOLL_CTL_MOD, fd, EPOLLIN);
    } else {
        request(fd, &connections[fd]);
    }
}

int main(int argc, char **argv)
{
    static struct epoll_event events[BATCH];
    const char *address;
    long exit_after;
    const struct ref_option extra[] = {{0}};
    int listener;

    ref_options(argc, argv, &address, &exit_after, extra);
    http = ref_http_response();
    connections = ref_zeroed(ref_descriptors(), sizeof(*connections));
    poller = epoll_create1(EPOLL_CLOEXEC);
    listener = ref_listen(address, true);
    watch(EPOLL_CTL_ADD, listener, EPOLLIN);
    while (!exit_after || messages < exit_after) {
        int count = epoll_wait(poller, events, BATCH, -1);

        for (int i = 0; i < count; i++)
            ready(listener, events[i].data.fd);
    }
    return 0;
}

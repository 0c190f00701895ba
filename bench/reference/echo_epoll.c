/*
 * The epoll echo: the cheapest readiness loop there is. Level-triggered, one epoll_wait per batch, then one recv and
 * one send per ready connection, all into one buffer. A connection has no memory at all unless its peer does not
 * read: then the rest of its message is kept and EPOLLOUT waited for. `--edge 1` is the edge-triggered variant: no
 * second look by the kernel at each connection; a read that fills the buffer is repeated.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 512, BUFFER = 16384 };

/* What a peer that does not read has not taken yet. */
struct rest {
    char *data;
    size_t size;
};

static int poller;
static uint32_t interest;
static struct rest *rests; /* by descriptor */
static char buffer[BUFFER];
static long messages;

static void watch(int operation, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};

    if (epoll_ctl(poller, operation, fd, &event))
        ref_fail("epoll_ctl", errno);
}

static void drop(int fd)
{
    free(rests[fd].data);
    rests[fd] = (struct rest){0};
    close(fd);
}

static void keep_rest(int fd, const char *data, size_t size)
{
    rests[fd] = (struct rest){.data = ref_zeroed(1, size), .size = size};
    memcpy(rests[fd].data, data, size);
    watch(EPOLL_CTL_MOD, fd, EPOLLOUT);
}

static void send_rest(int fd)
{
    struct rest rest = rests[fd];
    ssize_t sent = send(fd, rest.data, rest.size, MSG_NOSIGNAL);

    if (sent < 0 && errno != EAGAIN)
        return drop(fd);
    if (sent < 0)
        return;
    memmove(rest.data, rest.data + sent, rest.size - (size_t)sent);
    rests[fd].size -= (size_t)sent;
    if (rests[fd].size)
        return;
    free(rest.data);
    rests[fd] = (struct rest){0};
    watch(EPOLL_CTL_MOD, fd, interest);
}

/* Returns true when more may be waiting that an edge would not report again. */
static bool echo(int fd)
{
    ssize_t got = recv(fd, buffer, sizeof(buffer), 0);
    ssize_t sent;

    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            drop(fd);
        return false;
    }
    messages++;
    sent = send(fd, buffer, (size_t)got, MSG_NOSIGNAL);
    if (sent == got)
        return got == BUFFER;
    if (sent < 0 && errno != EAGAIN)
        drop(fd);
    else
        keep_rest(fd, buffer + (sent > 0 ? sent : 0), (size_t)(got - (sent > 0 ? sent : 0)));
    return false;
}

static void ready(int listener, const struct epoll_event *event)
{
    int fd = event->data.fd;

    if (fd == listener) {
        fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            watch(EPOLL_CTL_ADD, fd, interest);
    } else if (rests[fd].data) {
        send_rest(fd);
    } else {
        while (echo(fd) && (interest & EPOLLET))
            ;
    }
}

int main(int argc, char **argv)
{
    static struct epoll_event events[BATCH];
    const char *address;
    long exit_after, edge = 0;
    const struct ref_option extra[] = {{"--edge", &edge, "1: edge-triggered"}, {0}};
    int listener;

    ref_options(argc, argv, &address, &exit_after, extra);
    rests = ref_zeroed(ref_descriptors(), sizeof(*rests));
    interest = EPOLLIN | (edge ? EPOLLET : 0);
    poller = epoll_create1(EPOLL_CLOEXEC);
    listener = ref_listen(address, true);
    watch(EPOLL_CTL_ADD, listener, EPOLLIN);
    while (!exit_after || messages < exit_after) {
        int count = epoll_wait(poller, events, BATCH, -1);

        for (int i = 0; i < count; i++)
            ready(listener, &events[i]);
    }
    return 0;
}

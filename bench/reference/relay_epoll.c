/*
 * The plain relay: level-triggered epoll, read(2) into a buffer and write(2) from it. What the other side does not take
 * is kept, and nothing more is read until it has. The target is the port above the one it listens on.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 512, BUFFER = 65536 };

/* One end of a relayed pair. `data` has what was read from it and its other end has not taken. */
struct end {
    int other;
    uint32_t events;
    size_t size, done;
    bool ended;
    char data[BUFFER];
};

static struct end **ends; /* by descriptor */
static struct sockaddr_in target;
static int poller;

static void watch(int operation, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};

    if (epoll_ctl(poller, operation, fd, &event))
        ref_fail("epoll_ctl", errno);
    if (ends[fd])
        ends[fd]->events = events;
}

static void want(int fd, uint32_t events)
{
    if (ends[fd]->events != events)
        watch(EPOLL_CTL_MOD, fd, events);
}

static void add(int fd, int other)
{
    ends[fd] = ref_zeroed(1, sizeof(struct end));
    ends[fd]->other = other;
    watch(EPOLL_CTL_ADD, fd, EPOLLIN);
}

static void take(int listener)
{
    int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int server = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (client < 0 || (connect(server, (struct sockaddr *)&target, sizeof(target)) && errno != EINPROGRESS)) {
        close(client);
        close(server);
        return;
    }
    add(client, server);
    add(server, client);
}

static void drop(int fd)
{
    int other = ends[fd]->other;

    close(fd);
    close(other);
    free(ends[fd]);
    free(ends[other]);
    ends[fd] = ends[other] = NULL;
}

/* Returns false where the pair is gone. */
static bool pass_on(int fd)
{
    struct end *end = ends[fd];
    ssize_t put = write(end->other, end->data + end->done, end->size - end->done);

    if (put < 0 && errno != EAGAIN) {
        drop(fd);
        return false;
    }
    end->done += put > 0 ? (size_t)put : 0;
    if (end->done == end->size)
        end->done = end->size = 0;
    want(fd, end->size || end->ended ? ends[fd]->events & ~(uint32_t)EPOLLIN : ends[fd]->events | EPOLLIN);
    want(end->other, end->size ? ends[end->other]->events | EPOLLOUT : ends[end->other]->events & ~(uint32_t)EPOLLOUT);
    return true;
}

static void take_in(int fd)
{
    struct end *end = ends[fd];
    ssize_t got = read(fd, end->data, BUFFER);

    if (got > 0) {
        end->size = (size_t)got;
        pass_on(fd);
    } else if (got == 0) {
        end->ended = true;
        shutdown(end->other, SHUT_WR);
        if (ends[end->other]->ended)
            drop(fd);
        else
            want(fd, end->events & ~(uint32_t)EPOLLIN);
    } else if (errno != EAGAIN) {
        drop(fd);
    }
}

static void ready(int fd, uint32_t events)
{
    if (events & EPOLLOUT && ends[ends[fd]->other]->size && !pass_on(ends[fd]->other))
        return;
    if (events & ~(uint32_t)EPOLLOUT && !ends[fd]->size)
        take_in(fd);
}

int main(int argc, char **argv)
{
    static struct epoll_event events[BATCH];
    const struct ref_option extra[] = {{0}};
    const char *address;
    socklen_t size = sizeof(target);
    long exit_after;
    int listener;

    ref_options(argc, argv, &address, &exit_after, extra);
    ends = ref_zeroed(ref_descriptors(), sizeof(struct end *));
    poller = epoll_create1(EPOLL_CLOEXEC);
    listener = ref_listen(address, true);
    getsockname(listener, (struct sockaddr *)&target, &size);
    target.sin_port = htons((in_port_t)(ntohs(target.sin_port) + 1));
    watch(EPOLL_CTL_ADD, listener, EPOLLIN);
    for (;;) {
        int count = epoll_wait(poller, events, BATCH, -1);

        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener)
                take(listener);
            else if (ends[events[i].data.fd])
                ready(events[i].data.fd, events[i].events);
        }
    }
}

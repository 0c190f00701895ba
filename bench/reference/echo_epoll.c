/*
 * The epoll echo: the cheapest readiness loop there is. Level-triggered, one epoll_wait per batch, then what echo.h
 * says for each ready connection. `--edge 1` is the edge-triggered variant: no second look by the kernel at each
 * connection. There a read that fills the buffer is repeated, and so is one from a peer that has ended its stream:
 * the end came with the edge of the last data, and does not come again.
 */
#define _GNU_SOURCE
#include "common.h"
#include "echo.h"

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>

enum { BATCH = 512, ENDED = EPOLLRDHUP | EPOLLHUP | EPOLLERR };

static int poller;
static uint32_t interest;

static void watch(int operation, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};

    if (epoll_ctl(poller, operation, fd, &event))
        ref_fail("epoll_ctl", errno);
}

static bool is_read_again(enum echo_next next, uint32_t events)
{
    return interest & EPOLLET && (next == ECHO_MORE || (next == ECHO_SAME && events & ENDED));
}

static void ready(int listener, int fd, uint32_t events)
{
    enum echo_next next;

    if (fd == listener) {
        fd = echo_accept(listener);
        if (fd >= 0)
            watch(EPOLL_CTL_ADD, fd, interest);
        return;
    }
    do
        next = echo_ready(fd);
    while (is_read_again(next, events));
    if (next == ECHO_TO_OUT)
        watch(EPOLL_CTL_MOD, fd, EPOLLOUT);
    else if (next == ECHO_TO_IN)
        watch(EPOLL_CTL_MOD, fd, interest);
}

int main(int argc, char **argv)
{
    static struct epoll_event events[BATCH];
    const char *address;
    long exit_after, edge = 0;
    const struct ref_option extra[] = {{"--edge", &edge, "1: edge-triggered"}, {0}};
    int listener;

    ref_options(argc, argv, &address, &exit_after, extra);
    echo_open(ref_descriptors());
    interest = EPOLLIN | (edge ? EPOLLET | EPOLLRDHUP : 0);
    poller = epoll_create1(EPOLL_CLOEXEC);
    listener = ref_listen(address, true);
    watch(EPOLL_CTL_ADD, listener, EPOLLIN);
    while (!exit_after || echo_messages < exit_after) {
        int count = epoll_wait(poller, events, BATCH, -1);

        for (int i = 0; i < count; i++)
            ready(listener, events[i].data.fd, events[i].events);
        ref_woken(count);
    }
    return 0;
}

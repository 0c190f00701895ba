/* epoll, level-triggered: what is still ready is reported again, so one try per report is enough. */
#include <errno.h>
#include <proa/engine.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "engine/ready.h"

enum { EVENTS_MAX = 256 };

struct poller {
    struct sys *sys;
    int epoll;
    struct epoll_event events[EVENTS_MAX];
};

static int epoll_open_poller(struct sys *sys, struct poller **ret_poller)
{
    struct poller *poller = malloc(sizeof(*poller));

    if (!poller)
        return -ENOMEM;
    poller->sys = sys;
    poller->epoll = sys_epoll_create(sys);
    if (poller->epoll < 0) {
        int error = poller->epoll;

        free(poller);
        return error;
    }
    *ret_poller = poller;
    return 0;
}

static void epoll_close_poller(struct poller *poller)
{
    sys_close(poller->sys, poller->epoll);
    free(poller);
}

static uint32_t to_events(unsigned directions)
{
    return (directions & READY_IN ? EPOLLIN : 0) | (directions & READY_OUT ? EPOLLOUT : 0) |
           (directions & READY_PRIORITY ? EPOLLPRI : 0) | (directions & READY_HANGUP ? EPOLLRDHUP : 0);
}

static int epoll_watch(struct poller *poller, int fd, unsigned from, unsigned to)
{
    int operation = from == 0 ? EPOLL_CTL_ADD : to == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    int error = sys_epoll_ctl(poller->sys, poller->epoll, operation, fd, to_events(to));

    /* Somebody closed the number behind our back and it has come again, or holds it open still. */
    if (error == -ENOENT && operation == EPOLL_CTL_MOD)
        return sys_epoll_ctl(poller->sys, poller->epoll, EPOLL_CTL_ADD, fd, to_events(to));
    if (error == -EEXIST && operation == EPOLL_CTL_ADD)
        return sys_epoll_ctl(poller->sys, poller->epoll, EPOLL_CTL_MOD, fd, to_events(to));
    return error;
}

/* An error or hang-up makes every direction ready: the call that is tried next will say what it is. */
static unsigned to_directions(uint32_t events)
{
    if (likely(events == EPOLLIN))
        return READY_IN;
    if (events & (EPOLLERR | EPOLLHUP))
        return READY_IN | READY_OUT | READY_PRIORITY | READY_HANGUP;
    return (events & EPOLLIN ? READY_IN : 0) | (events & EPOLLOUT ? READY_OUT : 0) |
           (events & EPOLLPRI ? READY_PRIORITY : 0) | (events & EPOLLRDHUP ? READY_HANGUP : 0);
}

static void epoll_wait_poller(struct poller *poller, struct ready_engine *engine, uint64_t timeout_ns)
{
    int count = sys_epoll_wait(poller->sys, poller->epoll, poller->events, EVENTS_MAX, timeout_ns);

    for (int i = 0; i < count; i++)
        ready_report(engine, poller->events[i].data.fd, to_directions(poller->events[i].events));
}

static const struct poller_table epoll_poller = {
    .open = epoll_open_poller,
    .close = epoll_close_poller,
    .watch = epoll_watch,
    .wait = epoll_wait_poller,
};

static int epoll_open(struct engine_host *host, struct engine **ret_engine, char *ret_reason)
{
    int error = ready_open(host, &epoll_poller, ret_engine);

    if (error < 0)
        snprintf(ret_reason, PROA_REASON_MAX, "the kernel refuses epoll: %s", strerror(-error));
    return error;
}

const struct engine_table engine_epoll = {
    .name = "epoll",
    .summary = "readiness in O(1), since Linux 2.6; file ops on the pool's threads",
    .open = epoll_open,
    .close = ready_close,
    .start = ready_start,
    .cancel = ready_cancel,
    .wait = ready_wait,
    .reap = ready_reap,
    .wake = ready_wake,
    .buffers_open = ready_buffers_open,
    .buffers_close = ready_buffers_close,
    .buffer_return = ready_buffer_return,
};

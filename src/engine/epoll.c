/* epoll(7). Level-triggered, what is still ready is reported again, so one try per report is enough. Edge-triggered, on
 * request, a descriptor is watched once, for all directions; then ready.c has to remember what is ready. A listener that
 * several processes accept from is watched exclusively, so that a connection does not wake them all. */
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
           (directions & READY_PRIORITY ? EPOLLPRI : 0) | (directions & READY_HANGUP ? EPOLLRDHUP : 0) |
           (directions & READY_EDGE ? EPOLLET : 0) | (directions & READY_EXCLUSIVE ? EPOLLEXCLUSIVE : 0);
}

static int control(struct poller *poller, int operation, int fd, unsigned to)
{
    return sys_epoll_ctl(poller->sys, poller->epoll, operation, fd, to_events(to));
}

/* What is watched exclusively cannot be changed, only made anew (epoll_ctl(2)). */
static int watch_anew(struct poller *poller, int fd, unsigned to)
{
    control(poller, EPOLL_CTL_DEL, fd, 0);
    return control(poller, EPOLL_CTL_ADD, fd, to);
}

static int watch_exclusively(struct poller *poller, int fd, unsigned from, unsigned to)
{
    int error = from == 0 || from == to ? control(poller, EPOLL_CTL_ADD, fd, to) : -EEXIST;

    if (error == -EEXIST)
        return from == to ? 0 : watch_anew(poller, fd, to);
    return error;
}

static int epoll_watch(struct poller *poller, int fd, unsigned from, unsigned to)
{
    int operation = from == 0 ? EPOLL_CTL_ADD : to == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    int error;

    if (to & READY_EXCLUSIVE)
        return watch_exclusively(poller, fd, from, to);
    if (from & READY_EXCLUSIVE && to != 0)
        return watch_anew(poller, fd, to);
    error = control(poller, operation, fd, to);
    /* Somebody closed the number behind our back and it has come again, or holds it open still. */
    if (error == -ENOENT && operation == EPOLL_CTL_MOD)
        return control(poller, EPOLL_CTL_ADD, fd, to);
    if (error == -EEXIST && operation == EPOLL_CTL_ADD)
        return watch_anew(poller, fd, to);
    return error;
}

/* A hang-up makes every direction ready: the call that is tried next will say what it is. */
static unsigned to_directions(uint32_t events)
{
    if (likely(events == EPOLLIN))
        return READY_IN;
    return (events & EPOLLERR ? READY_ERROR : 0) | (events & EPOLLHUP ? READY_ALL : 0) |
           (events & EPOLLIN ? READY_IN : 0) | (events & EPOLLOUT ? READY_OUT : 0) |
           (events & EPOLLPRI ? READY_PRIORITY : 0) | (events & EPOLLRDHUP ? READY_HANGUP : 0);
}

static void epoll_wait_poller(struct poller *poller, struct ready_engine *engine, uint64_t timeout_ns)
{
    int count = sys_epoll_wait(poller->sys, poller->epoll, poller->events, EVENTS_MAX, timeout_ns);

    for (int i = 0; i < count; i++)
        ready_report(engine, poller->events[i].data.fd, to_directions(poller->events[i].events));
}

static const struct poller_table level_poller = {
    .edge_wake = 1,
    .open = epoll_open_poller,
    .close = epoll_close_poller,
    .watch = epoll_watch,
    .wait = epoll_wait_poller,
};

static const struct poller_table edge_poller = {
    .edge = 1,
    .edge_wake = 1,
    .open = epoll_open_poller,
    .close = epoll_close_poller,
    .watch = epoll_watch,
    .wait = epoll_wait_poller,
};

/* Each feature's round trip, on an epoll of its own. `wake` is an eventfd that is ready to be read. */

static int try_ns(struct poller *poller, int wake)
{
    (void)wake;
    return sys_epoll_wait_ns(poller->sys, poller->epoll, poller->events, 1, 1);
}

/* Reported once, and not again while nothing comes. */
static int try_edge(struct poller *poller, int wake)
{
    int error = epoll_watch(poller, wake, 0, READY_IN | READY_EDGE), first, second;

    if (error < 0)
        return error;
    first = sys_epoll_wait(poller->sys, poller->epoll, poller->events, 1, 0);
    second = sys_epoll_wait(poller->sys, poller->epoll, poller->events, 1, 0);
    return first == 1 && second == 0 ? 0 : -ENOTSUP;
}

/* A kernel that does not know EPOLLEXCLUSIVE ignores it, and then it can be changed. */
static int try_exclusive(struct poller *poller, int wake)
{
    int error = epoll_watch(poller, wake, 0, READY_IN | READY_EXCLUSIVE);

    if (error < 0)
        return error;
    return control(poller, EPOLL_CTL_MOD, wake, READY_IN) == -EINVAL ? 0 : -ENOTSUP;
}

static int round_trip(struct sys *sys, int (*attempt)(struct poller *poller, int wake), const char *what,
                      char *ret_reason)
{
    uint64_t one = 1;
    struct poller *poller;
    int wake = sys_eventfd(sys), error;

    error = wake < 0 ? wake : epoll_open_poller(sys, &poller);
    if (error == 0) {
        sys_write(sys, wake, &one, sizeof(one), UINT64_MAX);
        error = attempt(poller, wake);
        epoll_close_poller(poller);
    }
    if (wake >= 0)
        sys_close(sys, wake);
    if (error < 0)
        snprintf(ret_reason, PROA_REASON_MAX, "%s: %s", what, strerror(-error));
    return error;
}

static int test_ns(struct sys *sys, char *ret_reason)
{
    return round_trip(sys, try_ns, "epoll_pwait2(2) came with Linux 5.11, and a filter may refuse it", ret_reason);
}

static int test_edge(struct sys *sys, char *ret_reason)
{
    return round_trip(sys, try_edge, "EPOLLET does not do its part", ret_reason);
}

static int test_exclusive(struct sys *sys, char *ret_reason)
{
    return round_trip(sys, try_exclusive, "EPOLLEXCLUSIVE came with Linux 4.5", ret_reason);
}

static const struct engine_feature epoll_features[] = {
    {"nanoseconds", "waits end to the ns, not the ms: epoll_pwait2(2)", 0, test_ns},
    {"edge", "watches a TCP connection once, whatever it waits for later: EPOLLET", PROA_FEATURE_EDGE, test_edge},
    {"exclusive", "a shared listener's connection wakes one process: EPOLLEXCLUSIVE", 0, test_exclusive},
};

static int epoll_open(struct engine_host *host, struct engine **ret_engine, char *ret_reason)
{
    uint32_t edge = host->options->features & PROA_FEATURE_EDGE;
    int error = ready_open(host, edge ? &edge_poller : &level_poller, ret_engine);

    if (error < 0)
        snprintf(ret_reason, PROA_REASON_MAX, "the kernel refuses epoll: %s", strerror(-error));
    else
        host->features |= edge;
    return error;
}

const struct engine_table engine_epoll = {
    .name = "epoll",
    .summary = "readiness in O(1), since Linux 2.6; file ops on the pool's threads",
    .features = epoll_features,
    .feature_count = ARRAY_SIZE(epoll_features),
    .open = epoll_open,
    .close = ready_close,
    READY_FUNCTIONS,
};

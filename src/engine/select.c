/* select(2): three sets of bits, made anew for each wait, and no number from FD_SETSIZE on.
 *
 * A hang-up shows as readable, as data does. Where nobody waits for data, poll(2) is asked which of them it was; and where
 * it was data, the descriptor is *loud*: it would end every wait, so it is left out of the first set, and asked about from
 * time to time. */
#include <errno.h>
#include <poll.h>
#include <proa/engine.h>
#include <proa/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>

#include "engine/ready.h"

enum { LOUD = 1 << 7 };

static const uint64_t ASK_NS = 50 * PROA_MILLISECOND_NS;

struct poller {
    struct sys *sys;
    uint32_t count, loud;
    uint64_t ask_ns; /* when the loud ones are asked next */
    int high;        /* no number from here on is watched */
    uint8_t watched[FD_SETSIZE];
};

struct sets {
    fd_set in, out, priority;
};

static int select_open_poller(struct sys *sys, struct poller **ret_poller)
{
    struct poller *poller = calloc(1, sizeof(*poller));

    if (!poller)
        return -ENOMEM;
    poller->sys = sys;
    *ret_poller = poller;
    return 0;
}

static void select_close_poller(struct poller *poller)
{
    free(poller);
}

/* What is watched already stands here, not in `from`: the loop forgets numbers that were closed behind its back. Numbers
 * that never were open are asked for, since the kernel passes over those beyond its table (select(2), BUGS). */
static int select_watch(struct poller *poller, int fd, unsigned from, unsigned to)
{
    uint8_t *watched = &poller->watched[fd];

    (void)from;
    ASSERT(fd < FD_SETSIZE);
    if (*watched == 0 && to != 0 && sys_poll(poller->sys, fd, 0) == -EBADF)
        return -EBADF;
    poller->count += (to != 0) - (*watched != 0);
    poller->loud -= (*watched & LOUD) != 0;
    *watched = to & READY_ALL;
    if (to != 0 && fd >= poller->high)
        poller->high = fd + 1;
    while (poller->high > 0 && poller->watched[poller->high - 1] == 0)
        poller->high--;
    return 0;
}

static void fill(const struct poller *poller, struct sets *sets)
{
    FD_ZERO(&sets->in);
    FD_ZERO(&sets->out);
    FD_ZERO(&sets->priority);
    for (int fd = 0; fd < poller->high; fd++) {
        unsigned watched = poller->watched[fd];

        if (watched & READY_IN || (watched && !(watched & LOUD)))
            FD_SET(fd, &sets->in);
        if (watched & READY_OUT)
            FD_SET(fd, &sets->out);
        if (watched & READY_PRIORITY)
            FD_SET(fd, &sets->priority);
    }
}

static void set_loud(struct poller *poller, int fd, int loud)
{
    poller->loud += (uint32_t)loud - ((poller->watched[fd] & LOUD) != 0);
    poller->watched[fd] = (uint8_t)((poller->watched[fd] & ~LOUD) | (loud ? LOUD : 0));
}

/* Whether there is more to it than data. */
static void ask(struct poller *poller, struct ready_engine *engine, int fd)
{
    unsigned watched = poller->watched[fd];
    unsigned hangup = watched & READY_HANGUP ? POLLRDHUP : 0;
    int events = sys_poll(poller->sys, fd, POLLIN | hangup);

    set_loud(poller, fd, events == POLLIN);
    if (events < 0 || events & (POLLERR | POLLHUP))
        ready_report(engine, fd, events < 0 || events & POLLHUP ? READY_ALL : READY_ERROR);
    else if (events & POLLRDHUP)
        ready_report(engine, fd, READY_HANGUP);
}

/* Returns how many of the sets it is in. */
static int report(struct poller *poller, struct ready_engine *engine, const struct sets *sets, int fd)
{
    unsigned watched = poller->watched[fd];
    int in = FD_ISSET(fd, &sets->in) != 0, out = FD_ISSET(fd, &sets->out) != 0;
    int priority = FD_ISSET(fd, &sets->priority) != 0;
    unsigned directions = (out ? READY_OUT : 0) | (priority ? READY_PRIORITY : 0);

    if (in && watched & READY_IN)
        directions |= READY_IN | (watched & READY_HANGUP);
    if (directions)
        ready_report(engine, fd, directions);
    else if (in)
        ask(poller, engine, fd);
    return in + out + priority;
}

static void ask_the_loud(struct poller *poller, struct ready_engine *engine)
{
    uint64_t now_ns = sys_now_ns(poller->sys);

    if (now_ns < poller->ask_ns)
        return;
    poller->ask_ns = now_ns + ASK_NS;
    for (int fd = 0; fd < poller->high; fd++)
        if (poller->watched[fd] & LOUD)
            ask(poller, engine, fd);
}

/* One number that was closed behind our back fails the whole call. Every direction of it is ready: the call that is tried
 * next will say what it is. */
static void report_closed(struct poller *poller, struct ready_engine *engine)
{
    for (int fd = 0; fd < poller->high; fd++)
        if (poller->watched[fd] && sys_poll(poller->sys, fd, 0) == -EBADF)
            ready_report(engine, fd, READY_ALL);
}

static void select_wait(struct poller *poller, struct ready_engine *engine, uint64_t timeout_ns)
{
    struct sets sets;
    uint64_t scanned = poller->count;
    int high = poller->high, count;

    fill(poller, &sets);
    if (poller->loud > 0 && timeout_ns > ASK_NS)
        timeout_ns = ASK_NS;
    count = sys_select(poller->sys, high, &sets.in, &sets.out, &sets.priority, timeout_ns);
    if (count == -EBADF)
        report_closed(poller, engine);
    if (poller->loud > 0)
        ask_the_loud(poller, engine);
    for (int fd = 0; fd < high && count > 0; fd++) {
        int found = report(poller, engine, &sets, fd);

        count -= found;
        scanned += found == 0;
    }
    ready_scanned(engine, scanned);
}

static const struct poller_table select_poller = {
    .files_look_ready = 1,
    .number_limit = FD_SETSIZE,
    .number_limit_text = "select(2) can watch (FD_SETSIZE)",
    .open = select_open_poller,
    .close = select_close_poller,
    .watch = select_watch,
    .wait = select_wait,
};

static int test_every_number(struct sys *sys, char *ret_reason)
{
    uint32_t limit = sys_descriptor_soft_limit(sys);

    if (limit <= FD_SETSIZE)
        return 0;
    snprintf(ret_reason, PROA_REASON_MAX,
             "numbers below %u are possible here (RLIMIT_NOFILE), and it can watch those below %d (FD_SETSIZE)", limit,
             FD_SETSIZE);
    return -EMFILE;
}

static const struct engine_feature select_features[] = {
    {"every number", "watches every descriptor that this process can have", 0, test_every_number},
};

static int select_open(struct engine_host *host, struct engine **ret_engine, char *ret_reason)
{
    int error = ready_open(host, &select_poller, ret_engine);

    if (error < 0)
        snprintf(ret_reason, PROA_REASON_MAX, "%s", host->refusal[0] ? host->refusal : strerror(-error));
    return error;
}

const struct engine_table engine_select = {
    .name = "select",
    .summary = "readiness of the first 1024 descriptors, by looking at all of them; file ops on the pool's threads",
    .by_name_alone = 1,
    .features = select_features,
    .feature_count = ARRAY_SIZE(select_features),
    .open = select_open,
    .close = ready_close,
    READY_FUNCTIONS,
};

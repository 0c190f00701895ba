/* poll(2): any number can be watched, but the kernel looks at all that are in every wait, and so do we.
 *
 * The entries lie dense, as the kernel wants them, and each number knows its place: adding is at the end, and the last one
 * fills the place of one that is removed. */
#include <errno.h>
#include <poll.h>
#include <proa/engine.h>
#include <proa/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/ready.h"

static const uint64_t PIECES_NS = 5 * PROA_MILLISECOND_NS;

struct poller {
    struct sys *sys;
    uint32_t count, limit;
    struct pollfd *entries;
    uint32_t *places; /* of each number among the entries, plus one */
};

static void poll_close_poller(struct poller *poller)
{
    if (poller->entries)
        sys_unmap(poller->sys, poller->entries, poller->limit * sizeof(poller->entries[0]));
    if (poller->places)
        sys_unmap(poller->sys, poller->places, poller->limit * sizeof(poller->places[0]));
    free(poller);
}

static int poll_open_poller(struct sys *sys, struct poller **ret_poller)
{
    struct poller *poller = calloc(1, sizeof(*poller));

    if (!poller)
        return -ENOMEM;
    poller->sys = sys;
    poller->limit = sys_descriptor_limit(sys);
    poller->entries = sys_map(sys, poller->limit * sizeof(poller->entries[0]));
    poller->places = sys_map(sys, poller->limit * sizeof(poller->places[0]));
    if (!poller->entries || !poller->places) {
        poll_close_poller(poller);
        return -ENOMEM;
    }
    *ret_poller = poller;
    return 0;
}

static short to_events(unsigned directions)
{
    return (short)((directions & READY_IN ? POLLIN : 0) | (directions & READY_OUT ? POLLOUT : 0) |
                   (directions & READY_PRIORITY ? POLLPRI : 0) | (directions & READY_HANGUP ? POLLRDHUP : 0));
}

static void remove_entry(struct poller *poller, uint32_t place)
{
    struct pollfd *last = &poller->entries[--poller->count];

    poller->places[poller->entries[place].fd] = 0;
    if (place == poller->count)
        return;
    poller->entries[place] = *last;
    poller->places[last->fd] = place + 1;
}

/* What is watched already stands here, not in `from`: the loop forgets numbers that were closed behind its back. */
static int poll_watch(struct poller *poller, int fd, unsigned from, unsigned to)
{
    uint32_t place = poller->places[fd];

    (void)from;
    ASSERT((uint32_t)fd < poller->limit);
    if (to == 0) {
        if (place > 0)
            remove_entry(poller, place - 1);
        return 0;
    }
    if (place == 0)
        place = poller->places[fd] = ++poller->count;
    poller->entries[place - 1] = (struct pollfd){.fd = fd, .events = to_events(to)};
    return 0;
}

/* A hang-up or a number that is closed makes every direction ready: the call that is tried next will say what it is. */
static unsigned to_directions(unsigned events)
{
    if (likely(events == POLLIN))
        return READY_IN;
    return (events & POLLERR ? READY_ERROR : 0) | (events & (POLLHUP | POLLNVAL) ? READY_ALL : 0) |
           (events & POLLIN ? READY_IN : 0) | (events & POLLOUT ? READY_OUT : 0) |
           (events & POLLPRI ? READY_PRIORITY : 0) | (events & POLLRDHUP ? READY_HANGUP : 0);
}

/* poll(2) takes no more entries than RLIMIT_NOFILE, which may have been lowered: then piece by piece, from time to time. */
static int look_in_pieces(struct poller *poller, uint64_t timeout_ns)
{
    uint32_t piece = sys_descriptor_soft_limit(poller->sys), size;
    int count = 0, found;

    for (uint32_t at = 0; piece > 0 && at < poller->count; at += piece) {
        size = poller->count - at < piece ? poller->count - at : piece;
        found = sys_ppoll(poller->sys, &poller->entries[at], size, 0);
        if (found < 0)
            return found;
        count += found;
    }
    if (count == 0)
        sys_ppoll(poller->sys, NULL, 0, timeout_ns < PIECES_NS ? timeout_ns : PIECES_NS);
    return count;
}

/* From the last to the first: a report may remove its own entry, and then the last one, which has been seen, takes that
 * place. */
static void poll_wait(struct poller *poller, struct ready_engine *engine, uint64_t timeout_ns)
{
    int count = sys_ppoll(poller->sys, poller->entries, poller->count, timeout_ns);
    uint64_t in_vain = 0;

    if (unlikely(count == -EINVAL))
        count = look_in_pieces(poller, timeout_ns);
    ready_scanned(engine, poller->count);
    for (uint32_t i = poller->count; i-- > 0 && count > 0;) {
        struct pollfd *entry = &poller->entries[i];

        if (entry->revents == 0) {
            in_vain++;
            continue;
        }
        count--;
        ready_report(engine, entry->fd, to_directions((unsigned short)entry->revents));
    }
    ready_scanned(engine, in_vain);
}

static const struct poller_table poll_poller = {
    .files_look_ready = 1,
    .open = poll_open_poller,
    .close = poll_close_poller,
    .watch = poll_watch,
    .wait = poll_wait,
};

static int poll_open(struct engine_host *host, struct engine **ret_engine, char *ret_reason)
{
    int error = ready_open(host, &poll_poller, ret_engine);

    if (error < 0)
        snprintf(ret_reason, PROA_REASON_MAX, "no memory or descriptor for poll: %s", strerror(-error));
    return error;
}

const struct engine_table engine_poll = {
    .name = "poll",
    .summary = "readiness by looking at all descriptors in every wait; file ops on the pool's threads",
    .open = poll_open,
    .close = ready_close,
    READY_FUNCTIONS,
};

/*
 * The poll echo: one array without holes, given to the kernel whole at each wait. The look through it ends with the
 * last ready one. What is closed is replaced by the last of the array.
 */
#define _GNU_SOURCE
#include "common.h"
#include "echo.h"

#include <poll.h>

static struct pollfd *watched; /* the first is the listener */
static nfds_t watched_count;

static void watch(int fd)
{
    watched[watched_count++] = (struct pollfd){.fd = fd, .events = POLLIN};
}

static void accept_all(void)
{
    int fd;

    while ((fd = echo_accept(watched[0].fd)) >= 0)
        watch(fd);
}

/* Returns false when the place was given to another connection. */
static bool ready(struct pollfd *place)
{
    enum echo_next next = echo_ready(place->fd);

    if (next == ECHO_GONE)
        *place = watched[--watched_count];
    else if (next == ECHO_TO_OUT)
        place->events = POLLOUT;
    else if (next == ECHO_TO_IN)
        place->events = POLLIN;
    return next != ECHO_GONE;
}

static void look_through(int ready_count)
{
    struct pollfd *place = watched + 1;

    if (watched[0].revents) {
        accept_all(); /* to the end of the array; their `revents` are 0, so this look passes over them */
        ready_count--;
    }
    while (ready_count > 0) {
        if (!place->revents) {
            place++;
            continue;
        }
        ready_count--;
        if (ready(place))
            place++;
    }
}

int main(int argc, char **argv)
{
    const char *address;
    long exit_after;
    const struct ref_option none[] = {{0}};
    size_t descriptors;

    ref_options(argc, argv, &address, &exit_after, none);
    descriptors = ref_descriptors();
    echo_open(descriptors);
    watched = ref_zeroed(descriptors, sizeof(*watched));
    watch(ref_listen(address, true));
    while (!exit_after || echo_messages < exit_after) {
        nfds_t scanned = watched_count;

        look_through(poll(watched, watched_count, -1));
        ref_woken((long)scanned);
    }
    return 0;
}

/*
 * The select echo: two sets of bits, copied for each wait because the kernel writes its answer over them. The look
 * through the answer goes by words of 64 descriptors and ends with the last ready one. A descriptor from FD_SETSIZE up
 * has no bit (select(2) would write past the set), so such a connection is closed at once.
 */
#define _GNU_SOURCE
#include "common.h"
#include "echo.h"

#include <stdio.h>
#include <sys/select.h>
#include <unistd.h>

enum { WORD_BITS = 8 * sizeof(fd_mask) };

static fd_set in, out;
static int listener, highest, watched_count;

static void watch(int fd)
{
    FD_SET(fd, &in);
    watched_count++;
    if (fd > highest)
        highest = fd;
}

static void refuse(int fd)
{
    fprintf(stderr, "echo_select: descriptor %d: select(2) watches those below %d; the connection is closed\n", fd,
            FD_SETSIZE);
    close(fd);
}

static void accept_all(void)
{
    int fd;

    while ((fd = echo_accept(listener)) >= 0) {
        if (fd < FD_SETSIZE)
            watch(fd);
        else
            refuse(fd);
    }
}

static void forget(int fd)
{
    FD_CLR(fd, &in);
    FD_CLR(fd, &out);
    watched_count--;
    while (!FD_ISSET(highest, &in) && !FD_ISSET(highest, &out)) /* the listener is always in */
        highest--;
}

static void move(int fd, fd_set *from, fd_set *to)
{
    FD_CLR(fd, from);
    FD_SET(fd, to);
}

static void ready(int fd)
{
    enum echo_next next;

    if (fd == listener)
        return accept_all();
    next = echo_ready(fd);
    if (next == ECHO_GONE)
        forget(fd);
    else if (next == ECHO_TO_OUT)
        move(fd, &in, &out);
    else if (next == ECHO_TO_IN)
        move(fd, &out, &in);
}

static void look_through(const fd_set *ready_in, const fd_set *ready_out, int ready_count)
{
    for (int word = 0; ready_count > 0; word++) {
        unsigned long bits = (unsigned long)(ready_in->fds_bits[word] | ready_out->fds_bits[word]);

        for (; bits; bits &= bits - 1, ready_count--)
            ready(word * WORD_BITS + __builtin_ctzl(bits));
    }
}

int main(int argc, char **argv)
{
    const char *address;
    long exit_after;
    const struct ref_option none[] = {{0}};

    ref_options(argc, argv, &address, &exit_after, none);
    echo_open(ref_descriptors());
    listener = ref_listen(address, true);
    watch(listener);
    while (!exit_after || echo_messages < exit_after) {
        fd_set ready_in = in, ready_out = out;
        int scanned = watched_count;

        look_through(&ready_in, &ready_out, select(highest + 1, &ready_in, &ready_out, NULL, NULL));
        ref_woken(scanned);
    }
    return 0;
}

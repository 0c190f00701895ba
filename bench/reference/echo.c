/* See echo.h. */
#define _GNU_SOURCE
#include "echo.h"
#include "common.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 16384 };

/* What a peer that does not read has not taken yet. */
struct rest {
    char *data;
    size_t size;
};

static struct rest *rests; /* by descriptor */
static char buffer[BUFFER];

long echo_messages;

void echo_open(size_t descriptors)
{
    rests = ref_zeroed(descriptors, sizeof(*rests));
}

int echo_accept(int listener)
{
    return accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static enum echo_next drop(int fd)
{
    free(rests[fd].data);
    rests[fd] = (struct rest){0};
    close(fd);
    return ECHO_GONE;
}

static enum echo_next keep_rest(int fd, const char *data, size_t size)
{
    rests[fd] = (struct rest){.data = ref_zeroed(1, size), .size = size};
    memcpy(rests[fd].data, data, size);
    return ECHO_TO_OUT;
}

static enum echo_next send_rest(int fd)
{
    struct rest rest = rests[fd];
    ssize_t sent = send(fd, rest.data, rest.size, MSG_NOSIGNAL);

    if (sent < 0)
        return errno == EAGAIN ? ECHO_SAME : drop(fd);
    memmove(rest.data, rest.data + sent, rest.size - (size_t)sent);
    rests[fd].size -= (size_t)sent;
    if (rests[fd].size)
        return ECHO_SAME;
    free(rest.data);
    rests[fd] = (struct rest){0};
    return ECHO_TO_IN;
}

static enum echo_next echo(int fd)
{
    ssize_t got = recv(fd, buffer, sizeof(buffer), 0);
    ssize_t sent;

    if (got <= 0)
        return got == 0 || errno != EAGAIN ? drop(fd) : ECHO_SAME;
    echo_messages++;
    sent = send(fd, buffer, (size_t)got, MSG_NOSIGNAL);
    if (sent == got)
        return got == BUFFER ? ECHO_MORE : ECHO_SAME;
    if (sent < 0 && errno != EAGAIN)
        return drop(fd);
    return keep_rest(fd, buffer + (sent > 0 ? sent : 0), (size_t)(got - (sent > 0 ? sent : 0)));
}

enum echo_next echo_ready(int fd)
{
    return rests[fd].data ? send_rest(fd) : echo(fd);
}

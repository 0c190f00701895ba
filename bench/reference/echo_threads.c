/*
 * The echo with a thread per connection: blocking calls and nothing else, the oldest server there is. Nobody watches
 * anything; the kernel's scheduler is the loop. Stacks are small, so that ten thousand of them fit.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 16384, STACK = 65536 };

static atomic_long messages;
static long exit_after;

static bool send_all(int fd, const char *data, size_t size)
{
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);

        if (sent < 0)
            return false;
        data += sent;
        size -= (size_t)sent;
    }
    return true;
}

static void *serve(void *argument)
{
    int fd = (int)(intptr_t)argument;
    char buffer[BUFFER];
    ssize_t got;

    while ((got = recv(fd, buffer, sizeof(buffer), 0)) > 0) {
        if (!send_all(fd, buffer, (size_t)got))
            break;
        if (atomic_fetch_add_explicit(&messages, 1, memory_order_relaxed) + 1 == exit_after)
            _exit(0);
    }
    close(fd);
    return NULL;
}

int main(int argc, char **argv)
{
    const char *address;
    const struct ref_option none[] = {{0}};
    pthread_attr_t small;
    int listener;

    ref_options(argc, argv, &address, &exit_after, none);
    ref_descriptors();
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, STACK);
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
    listener = ref_listen(address, false);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        pthread_t thread;
        int error = fd < 0 ? 0 : pthread_create(&thread, &small, serve, (void *)(intptr_t)fd);

        if (error)
            ref_fail("a thread for one more connection", error);
    }
}

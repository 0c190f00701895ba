/* Start-up of the references: see common.h. Nothing here runs while messages flow. */
#define _GNU_SOURCE
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

struct ref_meters ref_meters;

void ref_fail(const char *what, int error)
{
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(error));
    exit(1);
}

void *ref_zeroed(size_t count, size_t size)
{
    void *memory = calloc(count, size);

    if (!memory)
        ref_fail("memory", ENOMEM);
    return memory;
}

static _Noreturn void usage(const struct ref_option *extra)
{
    fprintf(stderr, "usage: %s --listen ADDR:PORT [--exit-after MESSAGES]\n", program_invocation_short_name);
    for (; extra->name; extra++)
        fprintf(stderr, "       %s N: %s (default %ld)\n", extra->name, extra->help, *extra->value);
    exit(2);
}

static long number(const char *text, const struct ref_option *extra)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (end == text || *end || value < 0) {
        fprintf(stderr, "%s: '%s' is not a whole number from 0 up\n", program_invocation_short_name, text);
        usage(extra);
    }
    return value;
}

void ref_options(int argc, char **argv, const char **ret_listen, long *ret_exit_after, const struct ref_option *extra)
{
    *ret_listen = NULL;
    *ret_exit_after = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        const struct ref_option *option = extra;

        if (!strcmp(argv[i], "--listen")) {
            *ret_listen = argv[i + 1];
            continue;
        }
        if (!strcmp(argv[i], "--exit-after")) {
            *ret_exit_after = number(argv[i + 1], extra);
            continue;
        }
        while (option->name && strcmp(option->name, argv[i]))
            option++;
        if (!option->name)
            usage(extra);
        *option->value = number(argv[i + 1], extra);
    }
    if (!*ret_listen || argc % 2 == 0)
        usage(extra);
}

/* The references own nothing that outlives them, so there is nothing to tidy: no flag, no race with a blocking wait. */
static void end(int signal)
{
    (void)signal;
    _exit(0);
}

static char *append(char *end, const char *text)
{
    while (*text)
        *end++ = *text++;
    return end;
}

static char *append_number(char *end, uint64_t number)
{
    if (number >= 10)
        end = append_number(end, number / 10);
    *end++ = (char)('0' + number % 10);
    return end;
}

/* By write() alone: a signal may come in the middle of printf(). */
static void report(int signal)
{
    char line[128], *end = append(line, "meters wake_ups ");

    (void)signal;
    end = append(append_number(end, ref_meters.wake_ups), " descriptors_scanned ");
    end = append(append_number(end, ref_meters.descriptors_scanned), "\n");
    if (write(STDOUT_FILENO, line, (size_t)(end - line)) < 0)
        _exit(1);
}

static struct sockaddr_in parse(const char *address)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    char host[64];
    const char *colon = strrchr(address, ':');

    if (!colon || (size_t)(colon - address) >= sizeof(host))
        ref_fail(address, EINVAL);
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = 0;
    if (inet_pton(AF_INET, host, &in.sin_addr) != 1)
        ref_fail(address, EINVAL);
    in.sin_port = htons((in_port_t)atoi(colon + 1));
    return in;
}

int ref_listen(const char *address, bool nonblocking)
{
    struct sockaddr_in in = parse(address);
    socklen_t size = sizeof(in);
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);
    char text[INET_ADDRSTRLEN];

    if (fd < 0)
        ref_fail("socket", errno);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&in, sizeof(in)) || listen(fd, BACKLOG))
        ref_fail(address, errno);
    if (getsockname(fd, (struct sockaddr *)&in, &size))
        ref_fail("getsockname", errno);
    signal(SIGTERM, end);
    signal(SIGINT, end);
    signal(SIGUSR1, report);
    signal(SIGPIPE, SIG_IGN);
    printf("listening %s:%d\n", inet_ntop(AF_INET, &in.sin_addr, text, sizeof(text)), ntohs(in.sin_port));
    fflush(stdout);
    return fd;
}

size_t ref_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit))
        ref_fail("getrlimit", errno);
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit))
        ref_fail("setrlimit", errno);
    return limit.rlim_cur;
}

struct ref_http ref_http_response(void)
{
    enum { BODY = 1024 };
    static const char head[] = "HTTP/1.1 200 OK\r\n"
                               "Server: reference/1.0.0\r\n"
                               "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
                               "Content-Type: application/octet-stream\r\n"
                               "Content-Length: 1024\r\n"
                               "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
                               "Connection: keep-alive\r\n"
                               "ETag: \"6955b900-400\"\r\n"
                               "Accept-Ranges: bytes\r\n"
                               "\r\n";
    const size_t head_size = sizeof(head) - 1;
    struct ref_http http = {.one = head_size + BODY};

    http.bytes = ref_zeroed(REF_HTTP_COPIES, http.one);
    for (size_t i = 0; i < REF_HTTP_COPIES; i++) {
        memcpy(http.bytes + i * http.one, head, head_size);
        memset(http.bytes + i * http.one + head_size, 'x', BODY);
    }
    return http;
}

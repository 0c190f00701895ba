/*
 * The load client: options in, one JSON object out.
 *
 * With --handshake the client stops twice with nothing in flight, before and after measuring: it prints
 * {"event": "begin"} or {"event": "end"} and waits for a line. Whoever runs it reads the server's CPU time there, so
 * that operations and CPU time are of exactly the same span.
 */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

struct option_row {
    const char *name;
    long *value;
    const char *help;
};

void load_fail(const char *what, int error)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(error));
    exit(1);
}

uint64_t now_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

void load_await_line(void)
{
    char line[16];

    if (!fgets(line, sizeof(line), stdin))
        exit(1);
}

void load_handshake(const struct options *options, const char *name)
{
    if (!options->handshake)
        return;
    printf("{\"event\": \"%s\"}\n", name);
    fflush(stdout);
    load_await_line();
}

static _Noreturn void usage(const struct option_row *rows)
{
    fputs("usage: load --server ADDR:PORT [--path PATH] [--drop DIRECTORY] [OPTION N]...\n"
          "  --path         HTTP GET of this path; without it: echo\n"
          "  --drop         drop each file of this folder, served as /, from the page cache before it is asked for\n",
          stderr);
    for (; rows->name; rows++)
        fprintf(stderr, "  %-14s %s (default %ld)\n", rows->name, rows->help, *rows->value);
    exit(2);
}

static void parse_server(struct options *options, const char *address, const struct option_row *rows)
{
    const char *colon = strrchr(address, ':');
    char host[64];

    if (!colon || (size_t)(colon - address) >= sizeof(host))
        usage(rows);
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = 0;
    options->server.sin_family = AF_INET;
    options->server.sin_port = htons((in_port_t)atoi(colon + 1));
    if (inet_pton(AF_INET, host, &options->server.sin_addr) != 1)
        usage(rows);
}

static void parse_number(const struct option_row *rows, const char *name, const char *text)
{
    const struct option_row *row = rows;
    char *end;

    while (row->name && strcmp(row->name, name))
        row++;
    if (!row->name)
        usage(rows);
    *row->value = strtol(text, &end, 10);
    if (end == text || *end || *row->value < 0)
        usage(rows);
}

static void parse(int argc, char **argv, struct options *options)
{
    const struct option_row rows[] = {
        {"--connections", &options->connections, "active connections"},
        {"--idle", &options->idle, "connections that are open and silent"},
        {"--prime", &options->prime, "1: each idle connection does one operation first"},
        {"--size", &options->size, "echo: bytes of a message"},
        {"--files", &options->files, "HTTP: number of paths, each PATH and a number; 0: PATH alone"},
        {"--body", &options->body, "HTTP: bytes of the body expected"},
        {"--depth", &options->depth, "HTTP: requests in one send"},
        {"--rate", &options->rate, "operations per second; 0: the next when the last is done"},
        {"--sleep", &options->sleep, "1: at a fixed rate sleep between operations instead of spinning"},
        {"--copy", &options->copy, "1: copy large bodies to user space instead of dropping them in the kernel"},
        {"--ops", &options->ops, "measured operations; 0: as many as fit the duration"},
        {"--duration-ms", &options->duration_ms, "measured time"},
        {"--warmup-ms", &options->warmup_ms, "time before measuring"},
        {"--handshake", &options->handshake, "1: wait for a line on stdin before and after measuring"},
        {"--until-line", &options->until_line, "1: measure until a line comes on stdin, whatever the duration"},
        {0},
    };

    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--server"))
            parse_server(options, argv[i + 1], rows);
        else if (!strcmp(argv[i], "--path"))
            options->path = argv[i + 1];
        else if (!strcmp(argv[i], "--drop"))
            options->drop = argv[i + 1];
        else
            parse_number(rows, argv[i], argv[i + 1]);
    }
    if (!options->server.sin_family || argc % 2 == 0 || options->depth < 1 || options->size < 1)
        usage(rows);
    if (options->depth > 1 && (!options->path || options->rate))
        usage(rows);
    if (options->files > FILES_MAX || (options->drop && (!options->path || !options->files)))
        usage(rows);
}

static void print_result(const struct result *result)
{
    const struct histogram *latency = &result->latency;
    static const struct {
        const char *name;
        double share;
    } rows[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}};

    printf("{\"event\": \"result\", \"ops\": %llu, \"seconds\": %.6f, \"errors\": %llu, \"bytes\": %llu, "
           "\"idle_lost\": %llu, \"segments_in\": %llu, \"client_cpu_seconds\": %.6f, \"latency_us\": {",
           (unsigned long long)result->ops, (double)(result->end_ns - result->start_ns) / 1e9,
           (unsigned long long)result->errors, (unsigned long long)result->bytes, (unsigned long long)result->idle_lost,
           (unsigned long long)result->segments_in, (double)result->cpu_ns / 1e9);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        printf("\"%s\": %.1f, ", rows[i].name, (double)histogram_at(latency, rows[i].share) / 1e3);
    printf("\"mean\": %.1f, \"max\": %.1f}", latency->total ? (double)latency->sum / (double)latency->total / 1e3 : 0,
           (double)latency->max / 1e3);
    if (result->first_error)
        printf(", \"first_error\": \"%s\"", result->first_error);
    puts("}");
}

int main(int argc, char **argv)
{
    static struct result result;
    struct options options = {
        .connections = 64, .size = 64, .body = 1024, .depth = 1, .duration_ms = 2000, .warmup_ms = 300};
    struct rlimit limit;

    parse(argc, argv, &options);
    signal(SIGPIPE, SIG_IGN);
    if (!getrlimit(RLIMIT_NOFILE, &limit)) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    prctl(PR_SET_TIMERSLACK, 1); /* the default lets every wait end 50 us late */
    load_run(&options, &result);
    print_result(&result);
    return result.errors || result.idle_lost ? 1 : 0;
}

/* From the command line to running workers: what can be wrong with an address, a directory or a file is found and said
 * here, once, before any worker runs. */
#include "serve/serve.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proa/proa.h"
#include "serve/await.h"
#include "serve/listener.h"
#include "serve/message.h"
#include "serve/options.h"
#include "serve/report.h"
#include "serve/server.h"
#include "serve/workers.h"

enum { LOG_MODE = 0644, ENGINE_NAME_MAX = 32, CHOICE_MAX = 512 };

struct serving {
    struct serve_options options;
    proa_fd listeners[SERVE_WORKERS_MAX][SERVE_LISTEN_MAX];
    proa_fd root;
    proa_fd log;
    struct serve_report *reports;
    int backlog;
    char engine[ENGINE_NAME_MAX]; /* as found here */
    char choice[CHOICE_MAX];
};

static void list_engines(char *text, size_t size)
{
    proa_engine_report report;
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; proa_engine_inspect(i, &report) && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", report.name);
}

static int refuse_engine(const char *engine, int error)
{
    char expected[128];
    proa_engine_report report;

    if (engine && error == -EINVAL) {
        list_engines(expected, sizeof(expected));
        message_error(expected, "name one of these, or leave --engine and PROA_ENGINE out", "there is no engine \"%s\"",
                      engine);
        return 2;
    }
    for (size_t i = 0; engine && proa_engine_inspect(i, &report); i++) {
        if (strcmp(report.name, engine) == 0 && !report.available) {
            message_error("an engine that works on this host", "run `proa engines`, or leave --engine out",
                          "the engine \"%s\" does not work here: %s", engine, report.reason);
            return 1;
        }
    }
    message_error("a loop on some engine", "look at the limits of this process (ulimit -a)",
                  "no event loop could be opened: %s", strerror(-error));
    return 1;
}

static const char *remedy_for_listening(int error)
{
    switch (error) {
    case EADDRINUSE:
        return "stop the program that listens there, or choose another port";
    case EACCES:
        return "choose a port from 1024 up, or a path you may write to";
    case EADDRNOTAVAIL:
        return "choose an address of this host (`ip address` shows them), or *";
    default:
        return "choose another address";
    }
}

/* Takes a port for several workers. SO_REUSEPORT would let a second server of the same user share it unnoticed, so the
 * port is first asked for without. */
static int is_free(proa_loop *loop, const proa_address *address)
{
    proa_address copy = *address;
    bool any_port = address->as.any.sa_family == AF_INET ? address->as.ip4.sin_port == 0
                                                         : address->as.ip6.sin6_port == 0;
    int number = any_port ? 0 : listener_open(loop, &copy, false);

    if (!any_port && number >= 0)
        close(number);
    return number < 0 ? number : 0;
}

/* Opens the sockets of all workers for one address. */
static int open_listeners(struct serving *serving, proa_loop *loop, unsigned index)
{
    proa_address *address = &serving->options.listen[index];
    bool local = address->as.any.sa_family == AF_UNIX;
    bool shard = serving->options.workers > 1 && !local;
    int number = shard ? is_free(loop, address) : 0;
    char text[PROA_ADDRESS_TEXT_MAX];

    for (unsigned worker = 0; worker < serving->options.workers && number >= 0; worker++) {
        if (worker == 0 || shard)
            number = listener_open(loop, address, shard);
        serving->listeners[worker][index] = proa_fd_of(number);
    }
    if (number >= 0)
        return 0;
    message_error("an address of this host that is free", remedy_for_listening(-number), "cannot listen on %s: %s",
                  proa_address_format(address, text, sizeof(text)), strerror(-number));
    return 1;
}

static int open_root(struct serving *serving, proa_loop *loop)
{
    const char *path = serving->options.directory;
    int64_t number = await_open(loop, path, (proa_open_how){.flags = O_RDONLY | O_DIRECTORY});

    serving->root = proa_fd_of((int)number);
    if (number >= 0)
        return 0;
    message_error("a directory that this user may read", "check the path: ls -ld DIR", "cannot serve \"%s\": %s", path,
                  strerror((int)-number));
    return 1;
}

static int open_log(struct serving *serving, proa_loop *loop)
{
    const char *path = serving->options.access_log;
    const proa_open_how how = {.flags = O_WRONLY | O_CREAT | O_APPEND, .mode = LOG_MODE};

    serving->log = proa_fd_of(STDOUT_FILENO);
    if (!path || strcmp(path, "-") == 0)
        return 0;
    int64_t number = await_open(loop, path, how);
    serving->log = proa_fd_of((int)number);
    if (number >= 0)
        return 0;
    message_error("a file that this user may write", "choose another file, or - for the standard output",
                  "cannot open the access log \"%s\": %s", path, strerror((int)-number));
    return 1;
}

/* Opens all that workers inherit, on a loop that is closed again before any of them is made. */
static int open_all(struct serving *serving)
{
    const proa_loop_options loop_options = {.engine = serving->options.engine};
    proa_loop *loop;
    int result = proa_loop_open(&loop, &loop_options);

    if (result < 0)
        return refuse_engine(serving->options.engine ? serving->options.engine : getenv("PROA_ENGINE"), result);
    snprintf(serving->engine, sizeof(serving->engine), "%s", proa_loop_engine(loop));
    snprintf(serving->choice, sizeof(serving->choice), "%s", proa_loop_choice(loop));
    serving->backlog = listener_backlog_in_effect(loop);
    result = open_root(serving, loop);
    if (result == 0)
        result = open_log(serving, loop);
    for (unsigned i = 0; i < serving->options.listen_count && result == 0; i++)
        result = open_listeners(serving, loop, i);
    proa_loop_close(loop);
    return result;
}

static void print_address(const proa_address *address)
{
    char text[PROA_ADDRESS_TEXT_MAX];

    proa_address_format(address, text, sizeof(text));
    if (address->as.any.sa_family == AF_UNIX)
        printf("  address  %s (curl --unix-socket %s http://localhost/)\n", text, text + strlen("unix:"));
    else if (text[0] == '*')
        printf("  address  http://localhost%s (every address of this host)\n", text + 1);
    else
        printf("  address  http://%s\n", text);
}

static void announce(const struct serving *serving)
{
    const struct serve_options *options = &serving->options;

    printf("proa %s serves %s\n", PROA_VERSION, options->directory);
    for (unsigned i = 0; i < options->listen_count; i++)
        print_address(&options->listen[i]);
    printf("  engine   %s\n", serving->choice);
    printf("  workers  %u, each with a backlog of %d connections\n", options->workers, serving->backlog);
    printf("  stop     Ctrl-C, or kill %d: responses under way are finished, for 10 s at most\n", (int)getpid());
    fflush(stdout);
}

static bool has_socket(const proa_fd *sockets, unsigned count, proa_fd socket)
{
    for (unsigned i = 0; sockets && i < count; i++) {
        if (proa_fd_number(sockets[i]) == proa_fd_number(socket))
            return true;
    }
    return false;
}

/* Closes all listening sockets but those in `kept` (may be NULL): a socket of another worker that stayed open here
 * would keep its queue alive after that worker's end. */
static void close_others(const struct serving *serving, const proa_fd *kept)
{
    unsigned count = serving->options.listen_count;

    for (unsigned worker = 0; worker < serving->options.workers; worker++) {
        for (unsigned i = 0; i < count; i++) {
            proa_fd socket = serving->listeners[worker][i];
            bool closed = worker > 0 && has_socket(serving->listeners[0], count, socket);
            if (!closed && !has_socket(kept, count, socket))
                close(proa_fd_number(socket));
        }
    }
}

static void close_all(void *context)
{
    close_others(context, NULL);
}

static int work(void *context, unsigned index)
{
    const struct serving *serving = context;
    bool managed = serving->options.workers > 1;
    const struct server_setup setup = {
        .options = &serving->options,
        .role = managed ? SERVER_MANAGED : SERVER_ALONE,
        .listeners = serving->listeners[index],
        .root = serving->root,
        .log = serving->log,
        .engine = serving->engine,
        .report = &serving->reports[index],
    };

    if (managed)
        close_others(serving, serving->listeners[index]);
    return server_run(&setup);
}

static void remove_unix_sockets(const struct serve_options *options)
{
    for (unsigned i = 0; i < options->listen_count; i++) {
        const proa_address *address = &options->listen[i];
        if (address->as.any.sa_family == AF_UNIX && address->as.local.sun_path[0])
            unlink(address->as.local.sun_path);
    }
}

/* Signals wait until a loop, or the master, takes them; threads that a loop starts inherit that. */
static void block_signals(void)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGQUIT, SIGCHLD};
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        sigaddset(&set, numbers[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* As many descriptors as the administrator allows: the soft limit is for programs that use select(2). */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int run(struct serving *serving)
{
    unsigned workers = serving->options.workers;
    int status = open_all(serving);

    if (status != 0)
        return status;
    announce(serving);
    const struct workers_role role = {.count = workers, .work = work, .stopping = close_all, .context = serving};
    status = workers == 1 ? work(serving, 0) : workers_run(&role);
    remove_unix_sockets(&serving->options);
    if (serving->options.stats)
        report_print(serving->reports, workers);
    return status;
}

int serve_main(int argc, char **argv)
{
    struct serving *serving = calloc(1, sizeof(*serving));
    int status = -1;

    if (serving)
        status = options_parse(argc, argv, &serving->options);
    if (serving && status < 0) {
        block_signals();
        raise_descriptor_limit();
        serving->reports = report_share(serving->options.workers);
        status = serving->reports ? run(serving) : -1;
    }
    if (status < 0) {
        message_error("some memory", "free some memory, then start again", "the server could not start: %s",
                      strerror(ENOMEM));
        status = 1;
    }
    free(serving);
    return status;
}

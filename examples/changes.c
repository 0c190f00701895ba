/* Prints what is in a directory, and from then on what comes and goes. It watches first and lists then, so that nothing falls
 * in between; what comes meanwhile may be told twice. Where more happens than the kernel keeps, it says so and lists anew:
 * that is how to use a watch. It ends with the directory, or by a signal. */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <proa/proa.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const char *path;
static proa_op watch, list, interrupt, terminate;
static proa_fd directory;
static char events[4096], entries[4096];
static int must_list_again, failed;

static void start_list(proa_loop *loop);

static void complain(proa_op *op, const char *what, int64_t value)
{
    fprintf(stderr, "changes: cannot %s %s: %s\n", what, path, strerror((int)-value));
    failed = 1;
    proa_loop_stop(op->loop);
}

/* The list: opened, read as often as it takes, closed, with one op. */

static void on_closed(proa_op *op, proa_result result)
{
    (void)result;
    if (must_list_again)
        start_list(op->loop);
}

static void on_listed(proa_op *op, proa_result result)
{
    proa_directory_entry entry;
    size_t position = 0;

    while (proa_directory_next(entries, result.value, &position, &entry))
        if (strcmp(entry.name, ".") != 0 && strcmp(entry.name, "..") != 0)
            printf("is %s%s\n", entry.name, entry.type == DT_DIR ? "/" : "");
    fflush(stdout);
    if (result.value > 0)
        proa_read_directory(op->loop, op, directory, entries, sizeof(entries), on_listed);
    else
        proa_close(op->loop, op, directory, on_closed);
}

static void on_opened(proa_op *op, proa_result result)
{
    /* If it is gone, or never was, the watch tells. */
    if (result.value == -ENOENT || result.value == -ECANCELED)
        return;
    if (result.value < 0) {
        complain(op, "open", result.value);
        return;
    }
    directory = proa_result_fd(result);
    proa_read_directory(op->loop, op, directory, entries, sizeof(entries), on_listed);
}

static void start_list(proa_loop *loop)
{
    must_list_again = 0;
    proa_open(loop, &list, PROA_CWD, path, (proa_open_how){.flags = O_RDONLY | O_DIRECTORY}, on_opened);
}

/* The watch */

static void tell(proa_loop *loop, const proa_watch_event *event)
{
    if (event->events & IN_Q_OVERFLOW) {
        puts("lost some");
        must_list_again = 1;
        if (!proa_in_flight(&list))
            start_list(loop);
    } else if (event->events & (IN_CREATE | IN_MOVED_TO)) {
        printf("came %s%s\n", event->name, event->events & IN_ISDIR ? "/" : "");
    } else if (event->events & (IN_DELETE | IN_MOVED_FROM)) {
        printf("went %s%s\n", event->name, event->events & IN_ISDIR ? "/" : "");
    }
}

/* The end of the loop is no failure of the watch. */
static void on_end(proa_op *op, int64_t value)
{
    if (value < 0 && value != -ECANCELED)
        complain(op, "watch", value);
    if (value < 0)
        return;
    printf("gone %s\n", path);
    proa_loop_stop(op->loop);
}

static void on_events(proa_op *op, proa_result result)
{
    proa_watch_event event;
    size_t position = 0;

    while (proa_watch_next(events, result.value, &position, &event))
        tell(op->loop, &event);
    if (!(result.flags & PROA_MORE))
        on_end(op, result.value);
    fflush(stdout);
}

static void on_signal(proa_op *op, proa_result result)
{
    if (result.value > 0)
        proa_loop_stop(op->loop);
}

static const struct option words[] = {
    {"engine", required_argument, NULL, 'e'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static int usage(FILE *stream)
{
    fputs("usage: changes [--engine NAME] DIRECTORY\n", stream);
    return stream == stdout ? 0 : 2;
}

int main(int count, char **arguments)
{
    proa_loop_options options = {0};
    proa_loop *loop;
    int word, error;

    while ((word = getopt_long(count, arguments, "", words, NULL)) != -1) {
        if (word != 'e')
            return usage(word == 'h' ? stdout : stderr);
        options.engine = optarg;
    }
    if (optind + 1 != count)
        return usage(stderr);
    path = arguments[optind];
    error = proa_loop_open(&loop, &options);
    if (error) {
        fprintf(stderr, "changes: cannot open a loop: %s\n", strerror(-error));
        return 3;
    }
    proa_signal(loop, &interrupt, SIGINT, on_signal);
    proa_signal(loop, &terminate, SIGTERM, on_signal);
    proa_watch(loop, &watch, path, IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF, events,
               sizeof(events), on_events);
    start_list(loop);
    proa_loop_run(loop, PROA_UNTIL_STOPPED);
    error = failed;
    proa_loop_close(loop);
    return error;
}

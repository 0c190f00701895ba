/* A file that has not changed is not read again; one that cannot be read knows no names. */
#include "name/hosts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <proa/time.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t FRESH_NS = PROA_SECOND_NS;

/* No more of the file is looked at. */
enum { SIZE_MAX_READ = 16 << 20 };

int hosts_open(struct hosts *hosts, const char *path, void (*then)(struct hosts *hosts))
{
    hosts->then = then;
    if (!*path)
        return 0;
    hosts->path = strdup(path);
    return hosts->path ? 0 : -ENOMEM;
}

static void forget(struct hosts *hosts)
{
    free(hosts->lines);
    free(hosts->text);
    hosts->lines = NULL;
    hosts->text = NULL;
    hosts->count = hosts->size = hosts->room = 0;
}

void hosts_close(struct hosts *hosts)
{
    forget(hosts);
    free(hosts->path);
}

/* Lines */

static int compare(const void *a, const void *b)
{
    const struct host_line *left = a, *right = b;
    int difference = strcasecmp(left->name, right->name);

    return difference ? difference : (left->place > right->place) - (left->place < right->place);
}

static int take_address(const char *word, struct host_line *line)
{
    line->family = strchr(word, ':') ? AF_INET6 : AF_INET;
    return inet_pton(line->family, word, line->bytes) == 1;
}

static int add(struct hosts *hosts, const struct host_line *line)
{
    struct host_line *lines = hosts->lines;

    /* Doubled whenever it is full, which is at powers of two. */
    if ((hosts->count & (hosts->count - 1)) == 0)
        lines = realloc(lines, (hosts->count ? 2 * hosts->count : 1) * sizeof(*lines));
    if (!lines)
        return -ENOMEM;
    hosts->lines = lines;
    lines[hosts->count] = *line;
    lines[hosts->count].place = hosts->count;
    hosts->count++;
    return 0;
}

static int add_line(struct hosts *hosts, char *text)
{
    struct host_line line = {0};
    char *rest, *word = strtok_r(text, " \t\r", &rest);
    int error = 0;

    if (!word || !take_address(word, &line))
        return 0;
    while (!error && (word = strtok_r(NULL, " \t\r", &rest))) {
        line.name = word;
        error = add(hosts, &line);
    }
    return error;
}

static int parse(struct hosts *hosts)
{
    char *next = hosts->text;
    int error = 0;

    next[hosts->size] = '\0';
    while (!error && next) {
        char *text = strsep(&next, "\n");

        text[strcspn(text, "#")] = '\0';
        error = add_line(hosts, text);
    }
    if (hosts->count)
        qsort(hosts->lines, hosts->count, sizeof(*hosts->lines), compare);
    return error;
}

size_t hosts_find(const struct hosts *hosts, const char *name, const struct host_line **ret_lines)
{
    size_t low = 0, high = hosts->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcasecmp(hosts->lines[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_lines = hosts->lines + low;
    while (high < hosts->count && strcasecmp(hosts->lines[high].name, name) == 0)
        high++;
    return high - low;
}

/* Reading */

static void be_known(struct hosts *hosts, int error)
{
    if (error)
        forget(hosts);
    hosts->read_status = error ? (struct statx){0} : hosts->status;
    hosts->is_known = 1;
    hosts->looked_ns = proa_now(hosts->op.loop);
    hosts->then(hosts);
}

static void on_closed(proa_op *op, proa_result result)
{
    struct hosts *hosts = proa_owner(op, struct hosts, op);

    (void)result;
    be_known(hosts, hosts->error ? hosts->error : parse(hosts));
}

static void on_read(proa_op *op, proa_result result)
{
    struct hosts *hosts = proa_owner(op, struct hosts, op);

    if (result.value > 0) {
        hosts->size += (size_t)result.value;
        if (hosts->size < hosts->room) {
            proa_read(op->loop, op, hosts->fd, hosts->text + hosts->size, hosts->room - hosts->size, hosts->size,
                      on_read);
            return;
        }
    }
    hosts->error = result.value < 0 ? (int)result.value : 0;
    proa_close(op->loop, op, hosts->fd, on_closed);
}

static void on_open(proa_op *op, proa_result result)
{
    struct hosts *hosts = proa_owner(op, struct hosts, op);

    forget(hosts);
    if (result.value < 0) {
        be_known(hosts, (int)result.value);
        return;
    }
    hosts->fd = proa_result_fd(result);
    hosts->room = hosts->status.stx_size < SIZE_MAX_READ ? (size_t)hosts->status.stx_size : SIZE_MAX_READ;
    hosts->text = malloc(hosts->room + 1);
    if (hosts->text) {
        proa_read(op->loop, op, hosts->fd, hosts->text, hosts->room, 0, on_read);
        return;
    }
    hosts->error = -ENOMEM;
    proa_close(op->loop, op, hosts->fd, on_closed);
}

static int is_unchanged(const struct statx *a, const struct statx *b)
{
    return a->stx_ino == b->stx_ino && a->stx_size == b->stx_size && a->stx_mtime.tv_sec == b->stx_mtime.tv_sec &&
           a->stx_mtime.tv_nsec == b->stx_mtime.tv_nsec;
}

static void on_status(proa_op *op, proa_result result)
{
    struct hosts *hosts = proa_owner(op, struct hosts, op);

    if (result.value < 0 || is_unchanged(&hosts->status, &hosts->read_status))
        be_known(hosts, (int)result.value);
    else
        proa_open(op->loop, op, PROA_CWD, hosts->path, (proa_open_how){.flags = O_RDONLY | O_NOCTTY}, on_open);
}

int hosts_ready(struct hosts *hosts, proa_loop *loop)
{
    if (!hosts->path)
        return 1;
    if (proa_in_flight(&hosts->op))
        return 0;
    if (hosts->is_known && proa_now(loop) < hosts->looked_ns + FRESH_NS)
        return 1;
    hosts->is_known = 0;
    proa_stat(loop, &hosts->op, PROA_CWD, hosts->path, 0, STATX_BASIC_STATS, &hosts->status, on_status);
    return 0;
}

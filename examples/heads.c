/* Prints the first line of each file it is given, all files at once: open, read and close of each are one link, started
 * together. A file shorter than the buffer ends its link early, for the count is short: then the close is ours to start. */
#include <errno.h>
#include <proa/proa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct head {
    proa_op open, read, close;
    const char *path;
    proa_fd fd;
    char data[256];
};

static int failures;

static void on_closed(proa_op *op, proa_result result)
{
    struct head *head = proa_owner(op, struct head, close);

    if (result.value < 0 && head->fd.handle >= 0)
        proa_close(op->loop, op, head->fd, on_closed);
}

static void on_read(proa_op *op, proa_result result)
{
    struct head *head = proa_owner(op, struct head, read);

    if (result.value >= 0)
        printf("%s: %.*s\n", head->path, (int)strcspn(head->data, "\n"), head->data);
}

static void on_opened(proa_op *op, proa_result result)
{
    struct head *head = proa_owner(op, struct head, open);

    if (result.value < 0) {
        fprintf(stderr, "heads: cannot open %s: %s\n", head->path, strerror((int)-result.value));
        failures++;
        return;
    }
    head->fd = proa_result_fd(result);
}

static void start(proa_loop *loop, struct head *head, const char *path)
{
    head->path = path;
    head->fd = proa_fd_of(-1);
    proa_link_begin(loop);
    proa_open(loop, &head->open, PROA_CWD, path, (proa_open_how){.flags = O_RDONLY}, on_opened);
    proa_read(loop, &head->read, PROA_LINKED, head->data, sizeof(head->data) - 1, 0, on_read);
    proa_close(loop, &head->close, PROA_LINKED, on_closed);
    proa_link_end(loop);
}

int main(int argc, char **argv)
{
    struct head *heads;
    proa_loop *loop;
    int error;

    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        puts("usage: heads FILE...");
        return 0;
    }
    heads = calloc((size_t)argc, sizeof(*heads));
    error = heads ? proa_loop_open(&loop, NULL) : -ENOMEM;
    if (error < 0) {
        fprintf(stderr, "heads: no loop: %s\n", strerror(-error));
        free(heads);
        return 1;
    }
    for (int i = 1; i < argc; i++)
        start(loop, &heads[i], argv[i]);
    proa_loop_run(loop, PROA_UNTIL_IDLE);
    proa_loop_close(loop);
    free(heads);
    return failures > 0;
}

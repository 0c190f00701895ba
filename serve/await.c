#include "serve/await.h"

struct waiting {
    proa_op op;
    int64_t value;
};

static void on_done(proa_op *op, proa_result result)
{
    proa_owner(op, struct waiting, op)->value = result.value;
}

static int64_t value_of(proa_loop *loop, const struct waiting *waiting)
{
    proa_loop_run(loop, PROA_UNTIL_IDLE);
    return waiting->value;
}

int64_t await_listen(proa_loop *loop, const proa_address *address, int backlog, unsigned flags)
{
    struct waiting waiting = {0};

    proa_listen(loop, &waiting.op, address, backlog, flags, on_done);
    return value_of(loop, &waiting);
}

int64_t await_open(proa_loop *loop, const char *path, proa_open_how how)
{
    struct waiting waiting = {0};

    proa_open(loop, &waiting.op, PROA_CWD, path, how, on_done);
    return value_of(loop, &waiting);
}

static int64_t await_read(proa_loop *loop, proa_fd fd, char *data, size_t size, uint64_t offset)
{
    struct waiting waiting = {0};

    proa_read(loop, &waiting.op, fd, data, size, offset, on_done);
    return value_of(loop, &waiting);
}

int64_t await_text(proa_loop *loop, const char *path, char *text, size_t size)
{
    int64_t fd = await_open(loop, path, (proa_open_how){.flags = O_RDONLY});
    struct waiting closing = {0};
    size_t len = 0;
    int64_t count = 1;

    if (fd < 0)
        return fd;
    while (count > 0 && len + 1 < size) {
        count = await_read(loop, proa_fd_of((int)fd), text + len, size - 1 - len, len);
        len += count > 0 ? (size_t)count : 0;
    }
    text[len] = '\0';
    proa_close(loop, &closing.op, proa_fd_of((int)fd), on_done);
    value_of(loop, &closing);
    return count < 0 ? count : (int64_t)len;
}

/* pipe(2), pipe(7); splice(2), tee(2), vmsplice(2), which here copy. */
#include <limits.h>
#include <sys/stat.h>

#include "machine/bytes.h"

enum { PIPE_ROOM = MACHINE_PIPE_ROOM };

struct pipe {
    struct bytes bytes;
    int readers, writers;
};

struct pipe_end {
    struct file file;
    struct pipe *pipe;
};

static struct pipe *pipe_of(const struct file *file)
{
    return ((const struct pipe_end *)file)->pipe;
}

static ssize_t pipe_read(proa_sim *machine, struct file *file, void *data, size_t size, uint64_t offset)
{
    struct pipe *pipe = pipe_of(file);
    size_t there = bytes_count(&pipe->bytes);

    (void)machine;
    (void)offset;
    if (there == 0)
        return pipe->writers > 0 ? -EAGAIN : 0;
    size = size < there ? size : there;
    if (size > 0)
        memcpy(data, pipe->bytes.data + pipe->bytes.begin, size);
    bytes_drop(&pipe->bytes, size);
    return (ssize_t)size;
}

/* Up to PIPE_BUF bytes go whole or not at all (pipe(7)). */
static ssize_t pipe_write(proa_sim *machine, struct file *file, const void *data, size_t size, uint64_t offset)
{
    struct pipe *pipe = pipe_of(file);
    size_t space = PIPE_ROOM - bytes_count(&pipe->bytes);

    (void)machine;
    (void)offset;
    if (pipe->readers == 0)
        return -EPIPE;
    if (size == 0)
        return 0;
    if (space == 0 || (size <= PIPE_BUF && size > space))
        return -EAGAIN;
    size = size < space ? size : space;
    bytes_put(&pipe->bytes, data, size);
    return (ssize_t)size;
}

static unsigned pipe_poll_reader(const proa_sim *machine, const struct file *file)
{
    const struct pipe *pipe = pipe_of(file);

    (void)machine;
    return (bytes_count(&pipe->bytes) > 0 ? POLLIN | POLLRDNORM : 0) | (pipe->writers == 0 ? POLLHUP : 0);
}

static unsigned pipe_poll_writer(const proa_sim *machine, const struct file *file)
{
    const struct pipe *pipe = pipe_of(file);

    (void)machine;
    return (PIPE_ROOM - bytes_count(&pipe->bytes) >= PIPE_BUF ? POLLOUT | POLLWRNORM : 0) |
           (pipe->readers == 0 ? POLLERR : 0);
}

static void free_end(struct pipe_end *end)
{
    if (end->pipe->readers + end->pipe->writers == 0) {
        free(end->pipe->bytes.data);
        free(end->pipe);
    }
    free(end);
}

static void pipe_close_reader(proa_sim *machine, struct file *file)
{
    (void)machine;
    pipe_of(file)->readers--;
    free_end((struct pipe_end *)file);
}

static void pipe_close_writer(proa_sim *machine, struct file *file)
{
    (void)machine;
    pipe_of(file)->writers--;
    free_end((struct pipe_end *)file);
}

static const struct file_kind reader_kind = {
    .mode = S_IFIFO,
    .watchable = 1,
    .read = pipe_read,
    .poll = pipe_poll_reader,
    .close = pipe_close_reader,
};

static const struct file_kind writer_kind = {
    .mode = S_IFIFO,
    .watchable = 1,
    .write = pipe_write,
    .poll = pipe_poll_writer,
    .close = pipe_close_writer,
};

static int add_end(proa_sim *machine, struct pipe *pipe, const struct file_kind *kind)
{
    struct pipe_end *end = machine_allocate(sizeof(*end));

    end->pipe = pipe;
    return descriptor_add(machine, &end->file, kind);
}

static int do_pipe(proa_sim *machine, int ret_ends[2])
{
    int error = descriptor_lacks(machine);
    struct pipe *pipe;

    if (error)
        return error;
    pipe = machine_allocate(sizeof(*pipe));
    pipe->readers = pipe->writers = 1;
    ret_ends[0] = add_end(machine, pipe, &reader_kind);
    ret_ends[1] = add_end(machine, pipe, &writer_kind);
    if (ret_ends[1] >= 0)
        return 0;
    descriptor_remove(machine, ret_ends[0]);
    return ret_ends[1];
}

int machine_pipe(proa_sim *machine, int ret_ends[2])
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_pipe, -1, NULL);

    return (int)call_end(&call, result ? result : do_pipe(machine, ret_ends));
}

/* Moving between pipes and other files */

/* The pipe of an end that is for that, or null. */
static struct pipe *pipe_read_from(const struct file *file)
{
    return file->kind == &reader_kind ? pipe_of(file) : NULL;
}

static struct pipe *pipe_written_to(const struct file *file)
{
    return file->kind == &writer_kind ? pipe_of(file) : NULL;
}

static void move_on(uint64_t *offset, ssize_t moved)
{
    if (*offset != UINT64_MAX && moved > 0)
        *offset += (uint64_t)moved;
}

static ssize_t fill_pipe(proa_sim *machine, struct file *in, uint64_t *offset, struct pipe *pipe, size_t size)
{
    size_t space = PIPE_ROOM - bytes_count(&pipe->bytes);
    uint8_t data[PIPE_ROOM];
    ssize_t got;

    if (pipe->readers == 0)
        return -EPIPE;
    if (space == 0)
        return -EAGAIN;
    got = in->kind->read(machine, in, data, size < space ? size : space, *offset);
    if (got > 0)
        bytes_put(&pipe->bytes, data, (size_t)got);
    move_on(offset, got);
    return got;
}

static ssize_t drain_pipe(proa_sim *machine, struct pipe *pipe, struct file *out, uint64_t *offset, size_t size)
{
    size_t there = bytes_count(&pipe->bytes);
    ssize_t put;

    if (there == 0)
        return pipe->writers > 0 ? -EAGAIN : 0;
    put = out->kind->write(machine, out, pipe->bytes.data + pipe->bytes.begin, size < there ? size : there, *offset);
    if (put > 0)
        bytes_drop(&pipe->bytes, (size_t)put);
    move_on(offset, put);
    return put;
}

static int is_at_offset(const struct file *file, uint64_t offset)
{
    return offset != UINT64_MAX && !file->kind->has_offset;
}

/* As Linux checks them, and in its order. */
static ssize_t do_splice(const struct call *call, uint64_t *in_offset, int out_fd, uint64_t *out_offset, size_t size)
{
    struct file *in = descriptor_file(call->machine, call->fd), *out = descriptor_file(call->machine, out_fd);

    if (size == 0)
        return 0;
    if (!in || !out || !in->kind->read || !out->kind->write)
        return -EBADF;
    if (!pipe_read_from(in) && !pipe_written_to(out))
        return -EINVAL;
    if (is_at_offset(in, *in_offset) || is_at_offset(out, *out_offset))
        return pipe_read_from(in) && *in_offset != UINT64_MAX      ? -ESPIPE
               : pipe_written_to(out) && *out_offset != UINT64_MAX ? -ESPIPE
                                                                   : -EINVAL;
    if (pipe_read_from(in) && pipe_written_to(out) && pipe_of(in) == pipe_of(out))
        return -EINVAL;
    return pipe_written_to(out) ? fill_pipe(call->machine, in, in_offset, pipe_of(out), size)
                                : drain_pipe(call->machine, pipe_of(in), out, out_offset, size);
}

ssize_t machine_splice(proa_sim *machine, int in, uint64_t *in_offset, int out, uint64_t *out_offset, size_t size)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_splice, in, &size);

    return call_end(&call, result ? result : do_splice(&call, in_offset, out, out_offset, size));
}

static ssize_t do_tee(const struct call *call, int out_fd, size_t size)
{
    struct file *in = descriptor_file(call->machine, call->fd), *out = descriptor_file(call->machine, out_fd);
    struct pipe *from, *to;
    size_t there, space;

    if (size == 0)
        return 0;
    if (!in || !out || !in->kind->read || !out->kind->write)
        return -EBADF;
    from = pipe_read_from(in);
    to = pipe_written_to(out);
    if (!from || !to || from == to)
        return -EINVAL;
    there = bytes_count(&from->bytes);
    space = PIPE_ROOM - bytes_count(&to->bytes);
    if (there == 0)
        return from->writers > 0 ? -EAGAIN : 0;
    if (to->readers == 0)
        return -EPIPE;
    if (space == 0)
        return -EAGAIN;
    size = size < there ? size : there;
    size = size < space ? size : space;
    bytes_put(&to->bytes, from->bytes.data + from->bytes.begin, size);
    return (ssize_t)size;
}

ssize_t machine_tee(proa_sim *machine, int in, int out, size_t size)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_tee, in, &size);

    return call_end(&call, result ? result : do_tee(&call, out, size));
}

static ssize_t do_vmsplice(const struct call *call, const void *data, size_t size)
{
    struct file *file = descriptor_file(call->machine, call->fd);

    if (!file || !pipe_written_to(file))
        return -EBADF;
    return pipe_write(call->machine, file, data, size, UINT64_MAX);
}

ssize_t machine_vmsplice(proa_sim *machine, int pipe, const void *data, size_t size)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_vmsplice, pipe, &size);

    return call_end(&call, result ? result : do_vmsplice(&call, data, size));
}

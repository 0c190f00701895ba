/* The first half of an op's life: start, cancel, deadline. Starting never fails and never calls back; whatever is wrong
 * becomes the op's completion. */
#include <errno.h>
#include <proa/event.h>
#include <proa/file.h>
#include <proa/socket.h>
#include <proa/time.h>

#include "engine/file_op.h"
#include "engine/instant.h"
#include "engine/pool.h"
#include "loop/loop.h"

_Static_assert(AT_FDCWD + 100 == 0, "PROA_CWD names it by number");

static const uint8_t list_of_kind[] = {
#define OP_KIND_LIST(kind, name, list) [OP_##kind] = LIST_##list,
    OP_KINDS(OP_KIND_LIST)
#undef OP_KIND_LIST
};

/* Starting */

static inline void begin(proa_loop *loop, proa_op *op, enum op_kind kind, proa_callback *callback, const char *where)
{
    loop_check(loop, where);
    if (unlikely(op->state != OP_IDLE))
        panic(where, "the op is still in flight (or was not zeroed before its first use)");
    op->loop = loop;
    op->callback = callback;
    op->kind = (uint8_t)kind;
    op->state = OP_IN_FLIGHT;
    op->flags = 0;
    op->error = 0;
    op->moved = 0;
    loop->host.meters.ops_started++;
}

void op_engage(proa_loop *loop, proa_op *op)
{
    struct engine_host *host = host_of(loop);
    enum op_list_choice list = list_of_kind[op->kind];

    if (list == LIST_FILE && host->table->native_files)
        list = op->flags & OP_ATTACHED ? LIST_IN : LIST_LOOSE;
    if (list == LIST_IN)
        op_attach_in(host, op);
    else if (list == LIST_LOOSE)
        op_attach_loose(host, op);
    else if (list == LIST_OUT)
        op_attach_out(host, op);
    op->state = OP_IN_FLIGHT;
    host->table->start(host->engine, op);
}

/* A foreign descriptor that no op was pending on may be another by now. */
static RARE void adopt(struct engine_host *host, struct descriptor *descriptor, int fd)
{
    host_note_descriptor(host, fd);
    if (descriptor->pending > 0)
        return;
    descriptor->flags = (uint16_t)((descriptor->flags & ~(FD_FILE | FD_FULL | FD_LOCAL)) | FD_UNSURE);
    descriptor->ready = 0;
}

static inline int attach(proa_loop *loop, proa_op *op)
{
    struct descriptor *descriptor = host_descriptor(host_of(loop), op->fd);

    if (unlikely(!descriptor || descriptor->flags & FD_CLOSING))
        return -EBADF;
    if (unlikely(!(descriptor->flags & FD_OURS)))
        adopt(host_of(loop), descriptor, op->fd);
    descriptor->pending++;
    op->flags |= OP_ATTACHED;
    return 0;
}

/* Hands an op that works on a descriptor to the engine. */
static inline void launch(proa_loop *loop, proa_op *op, int fd)
{
    int error;

    op->fd = fd;
    error = unlikely(loop->closing) ? -ECANCELED : attach(loop, op);
    if (unlikely(error))
        op_done(host_of(loop), op, error);
    else
        op_engage(loop, op);
}

static inline void launch_transfer(proa_loop *loop, proa_op *op, proa_fd fd, const void *data, uint64_t size)
{
    op->data = (void *)(uintptr_t)data;
    op->size = size;
    launch(loop, op, fd.handle);
}

/* The same for sends, without the questions that they answer beforehand. */
static inline void launch_send(proa_loop *loop, proa_op *op, proa_fd fd, const void *data, size_t size)
{
    struct engine_host *host = host_of(loop);
    int error;

    op->data = (void *)(uintptr_t)data;
    op->size = size;
    op->fd = fd.handle;
    error = unlikely(loop->closing) ? -ECANCELED : attach(loop, op);
    if (unlikely(error)) {
        op_done(host, op, error);
        return;
    }
    op_attach_out(host, op);
    host->table->start(host->engine, op);
}

/* Sockets */

static unsigned family_flag(const proa_address *address)
{
    return address->as.any.sa_family == AF_UNIX ? FD_LOCAL : 0;
}

void proa_listen(proa_loop *loop, proa_op *op, const proa_address *address, int backlog, unsigned flags,
                 proa_callback *callback)
{
    begin(loop, op, OP_LISTEN, callback, __func__);
    op->fd = -1;
    op->size = family_flag(address);
    op_done(host_of(loop), op, loop->closing ? -ECANCELED : instant_listen(&loop->host.sys, address, backlog, flags));
}

void proa_accept(proa_loop *loop, proa_op *op, proa_fd listener, proa_callback *callback)
{
    begin(loop, op, OP_ACCEPT, callback, __func__);
    launch(loop, op, listener.handle);
}

void proa_accept_many(proa_loop *loop, proa_op *op, proa_fd listener, proa_callback *callback)
{
    begin(loop, op, OP_ACCEPT_MANY, callback, __func__);
    launch(loop, op, listener.handle);
}

/* An op whose descriptor was made for it: `fd` may be an errno instead. */
static void launch_on_new(proa_loop *loop, proa_op *op, int fd, unsigned flags)
{
    if (fd < 0) {
        op_done(host_of(loop), op, fd);
        return;
    }
    descriptor_welcome(host_of(loop), fd, flags);
    launch(loop, op, fd);
}

void proa_connect(proa_loop *loop, proa_op *op, const proa_address *address, proa_callback *callback)
{
    begin(loop, op, OP_CONNECT, callback, __func__);
    op->fd = -1;
    op->data = (void *)(uintptr_t)address;
    launch_on_new(loop, op, loop->closing ? -ECANCELED : instant_connect_socket(&loop->host.sys, address),
                  family_flag(address));
}

void proa_recv(proa_loop *loop, proa_op *op, proa_fd fd, void *data, size_t size, proa_callback *callback)
{
    begin(loop, op, OP_RECV, callback, __func__);
    launch_transfer(loop, op, fd, data, size);
}

void proa_recv_many(proa_loop *loop, proa_op *op, proa_fd fd, proa_buffer_pool *pool, proa_callback *callback)
{
    begin(loop, op, OP_RECV_MANY, callback, __func__);
    pool->users++;
    launch_transfer(loop, op, fd, pool, 0);
}

void proa_send(proa_loop *loop, proa_op *op, proa_fd fd, const void *data, size_t size, proa_callback *callback)
{
    begin(loop, op, OP_SEND, callback, __func__);
    launch_send(loop, op, fd, data, size);
}

void proa_send_relaxed(proa_loop *loop, proa_op *op, proa_fd fd, const void *data, size_t size, proa_callback *callback)
{
    begin(loop, op, OP_SEND, callback, __func__);
    op->flags = OP_RELAXED;
    launch_send(loop, op, fd, data, size);
}

void proa_shutdown(proa_loop *loop, proa_op *op, proa_fd fd, int how, proa_callback *callback)
{
    begin(loop, op, OP_SHUTDOWN, callback, __func__);
    launch_transfer(loop, op, fd, NULL, (uint64_t)how);
}

/* Waits for the ops that are pending; the last one's completion starts it (settle.c). Unlike all others it runs while
 * the loop is closing, too. */
void proa_close(proa_loop *loop, proa_op *op, proa_fd fd, proa_callback *callback)
{
    struct engine_host *host = host_of(loop);
    struct descriptor *descriptor = host_descriptor(host, fd.handle);

    begin(loop, op, OP_CLOSE, callback, __func__);
    op->fd = fd.handle;
    if (!descriptor || descriptor->flags & FD_CLOSING) {
        op_done(host, op, -EBADF);
        return;
    }
    descriptor->flags |= FD_CLOSING;
    if (descriptor->pending == 0) {
        host->table->start(host->engine, op);
    } else {
        descriptor_stop(loop, fd.handle);
        op_attach_out(host, op);
    }
}

/* Files */

/* For ops on a path: the directory may be the current one, which is no descriptor. */
static void launch_on_path(proa_loop *loop, proa_op *op, proa_fd directory, const char *path)
{
    op->data = (void *)(uintptr_t)path;
    if (directory.handle != AT_FDCWD) {
        launch(loop, op, directory.handle);
        return;
    }
    op->fd = AT_FDCWD;
    if (loop->closing)
        op_done(host_of(loop), op, -ECANCELED);
    else
        op_engage(loop, op);
}

void proa_open(proa_loop *loop, proa_op *op, proa_fd directory, const char *path, proa_open_how how,
               proa_callback *callback)
{
    begin(loop, op, OP_OPEN, callback, __func__);
    file_op_set_how(op, how.flags, how.mode, how.resolve);
    launch_on_path(loop, op, directory, path);
}

void proa_read(proa_loop *loop, proa_op *op, proa_fd fd, void *data, size_t size, uint64_t offset,
               proa_callback *callback)
{
    begin(loop, op, OP_READ, callback, __func__);
    op->moved = offset;
    launch_transfer(loop, op, fd, data, size);
}

void proa_write(proa_loop *loop, proa_op *op, proa_fd fd, const void *data, size_t size, uint64_t offset,
                proa_callback *callback)
{
    begin(loop, op, OP_WRITE, callback, __func__);
    op->moved = offset;
    launch_transfer(loop, op, fd, data, size);
}

void proa_fsync(proa_loop *loop, proa_op *op, proa_fd fd, proa_callback *callback)
{
    begin(loop, op, OP_FSYNC, callback, __func__);
    launch(loop, op, fd.handle);
}

void proa_fdatasync(proa_loop *loop, proa_op *op, proa_fd fd, proa_callback *callback)
{
    begin(loop, op, OP_FDATASYNC, callback, __func__);
    launch(loop, op, fd.handle);
}

void proa_stat(proa_loop *loop, proa_op *op, proa_fd fd, const char *path, struct statx *ret_stat,
               proa_callback *callback)
{
    begin(loop, op, OP_STAT, callback, __func__);
    op->moved = (uintptr_t)ret_stat;
    launch_on_path(loop, op, fd, path);
}

/* Events */

void proa_poll(proa_loop *loop, proa_op *op, proa_fd fd, unsigned events, proa_callback *callback)
{
    begin(loop, op, OP_POLL, callback, __func__);
    launch_transfer(loop, op, fd, NULL, events);
}

/* A signal descriptor only hears signals that are blocked (signalfd(2)). */
static void block_signal(proa_loop *loop, int signal_number)
{
    if (loop->signal_users[signal_number]++ == 0)
        loop->signal_was_blocked[signal_number] = (uint8_t)sys_block_signal(&loop->host.sys, signal_number, 1);
}

void proa_signal(proa_loop *loop, proa_op *op, int signal_number, proa_callback *callback)
{
    int fd = -ECANCELED;

    begin(loop, op, OP_SIGNAL, callback, __func__);
    op->fd = -1;
    op->size = 0;
    if (!loop->closing)
        fd = signal_number < SIGNAL_COUNT ? instant_signal(&loop->host.sys, signal_number) : -EINVAL;
    if (fd >= 0) {
        block_signal(loop, signal_number);
        op->size = (uint64_t)signal_number;
    }
    launch_on_new(loop, op, fd, 0);
}

void proa_work(proa_loop *loop, proa_op *op, proa_work_function *function, proa_callback *callback)
{
    begin(loop, op, OP_WORK, callback, __func__);
    op->fd = -1;
    op->data = (void *)(uintptr_t)function;
    if (loop->closing)
        op_done(host_of(loop), op, -ECANCELED);
    else
        pool_start(loop->host.pool, op);
}

/* Counted when the loop takes it from the stack: its books are its own thread's. */
void proa_post(proa_loop *loop, proa_op *op, proa_callback *callback)
{
    if (unlikely(loop->process != *sys_process_mark))
        loop_refuse(loop, __func__);
    if (unlikely(op->state != OP_IDLE))
        panic(__func__, "the op is still in flight (or was not zeroed before its first use)");
    op->loop = loop;
    op->callback = callback;
    op->kind = OP_POST;
    op->state = OP_IN_FLIGHT;
    op->flags = 0;
    op->error = 0;
    op->moved = 0;
    op->fd = -1;
    host_post(host_of(loop), op);
}

/* Time. A timer's op holds: moved: when it is due; size: the interval; deadline_ns. Its place among all timing is the
 * earlier of when it is due and its deadline. */

void timing_clear(proa_loop *loop, proa_op *op)
{
    if (heap_holds(&op->timing))
        heap_remove(&loop->timing, &op->timing);
}

void timing_set(proa_loop *loop, proa_op *op, uint64_t when_ns)
{
    timing_clear(loop, op);
    op->timing.when_ns = when_ns;
    heap_add(&loop->timing, &op->timing);
}

static void start_timer(proa_loop *loop, proa_op *op, uint64_t when_ns, uint64_t interval_ns)
{
    op->fd = -1;
    op->moved = when_ns;
    op->size = interval_ns;
    op->deadline_ns = PROA_NEVER;
    op->sequence = loop->sequence++;
    if (loop->closing)
        op_done(host_of(loop), op, -ECANCELED);
    else
        timing_set(loop, op, when_ns);
}

void proa_timer(proa_loop *loop, proa_op *op, uint64_t when_ns, proa_callback *callback)
{
    begin(loop, op, OP_TIMER, callback, __func__);
    start_timer(loop, op, when_ns, 0);
}

void proa_timer_repeat(proa_loop *loop, proa_op *op, uint64_t first_ns, uint64_t interval_ns, proa_callback *callback)
{
    begin(loop, op, OP_TIMER_REPEAT, callback, __func__);
    if (unlikely(interval_ns == 0))
        panic(__func__, "the interval is 0");
    start_timer(loop, op, first_ns, interval_ns);
}

static int is_timer(const proa_op *op)
{
    return op->kind == OP_TIMER || op->kind == OP_TIMER_REPEAT;
}

void proa_set_deadline(proa_op *op, uint64_t when_ns)
{
    proa_loop *loop = op->loop;

    if (op->state == OP_IDLE)
        return;
    loop_check(loop, __func__);
    if (is_timer(op)) {
        op->deadline_ns = when_ns;
        if (heap_holds(&op->timing))
            timing_set(loop, op, when_ns < op->moved ? when_ns : op->moved);
    } else if (when_ns == PROA_NEVER) {
        timing_clear(loop, op);
    } else {
        op->sequence = loop->sequence++;
        timing_set(loop, op, when_ns);
    }
}

/* Ending early */

void op_stop(proa_loop *loop, proa_op *op)
{
    struct engine_host *host = host_of(loop);

    if (op->state != OP_IN_FLIGHT || op->flags & OP_RESTING || op->kind == OP_CLOSE || op->kind == OP_POST)
        return;
    if (is_timer(op)) {
        timing_clear(loop, op);
        op_done(host, op, -ECANCELED);
    } else if (op->flags & OP_WAITING) {
        op_done(host, op, -ECANCELED);
    } else if (op->flags & OP_POOLED) {
        pool_cancel(host->pool, op);
    } else {
        host->table->cancel(host->engine, op);
    }
}

void proa_cancel(proa_op *op)
{
    int over = op->flags & OP_OVER;

    if (op->state == OP_IDLE)
        return;
    loop_check(op->loop, __func__);
    op->flags |= OP_CANCELLED;
    if (!over)
        op_stop(op->loop, op);
}

static void stop_list(struct op_list *list, int fd)
{
    proa_op *next;

    for (proa_op *op = list->first; op; op = next) {
        next = op->next;
        if (op->fd == fd)
            proa_cancel(op);
    }
}

void list_stop(struct op_list *list)
{
    proa_op *next;

    for (proa_op *op = list->first; op; op = next) {
        next = op->next;
        proa_cancel(op);
    }
}

void descriptor_stop(proa_loop *loop, int fd)
{
    struct engine_host *host = host_of(loop);
    struct descriptor *descriptor = &host->descriptors[fd];

    stop_list(&descriptor->in, fd);
    stop_list(&descriptor->out, fd);
    pool_cancel_descriptor(host->pool, fd);
    if (!(descriptor->flags & FD_WAITING))
        return;
    stop_list(&host->paused, fd);
    for (proa_buffer_pool *pool = loop->pools; pool; pool = pool->next)
        stop_list(&pool->starved, fd);
}

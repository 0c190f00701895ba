/* The first half of an op's life: start, cancel, deadline. Starting never fails and never calls back; whatever is wrong
 * becomes the op's completion. */
#include <errno.h>
#include <proa/datagram.h>
#include <proa/directory.h>
#include <proa/event.h>
#include <proa/file.h>
#include <proa/moving.h>
#include <proa/process.h>
#include <proa/socket.h>
#include <proa/time.h>

#include "engine/datagram.h"
#include "engine/direct.h"
#include "engine/file_op.h"
#include "engine/instant.h"
#include "engine/pool.h"
#include "engine/send_file.h"
#include "engine/zero_copy.h"
#include "loop/loop.h"

_Static_assert(AT_FDCWD + 100 == 0, "PROA_CWD names it by number");

static const uint8_t list_of_kind[] = {
#define OP_KIND_LIST(kind, name, list, family) [OP_##kind] = LIST_##list,
    OP_KINDS(OP_KIND_LIST)
#undef OP_KIND_LIST
};

enum { PROA_FAMILY_ANY = ~0 };

static const uint32_t family_of_kind[] = {
#define OP_KIND_FAMILY(kind, name, list, family) [OP_##kind] = (uint32_t)PROA_FAMILY_##family,
    OP_KINDS(OP_KIND_FAMILY)
#undef OP_KIND_FAMILY
};

/* Starting */

#define NO_FD proa_fd_of(-1)

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
    op->link.next = NULL;
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
    descriptor->flags &= (uint16_t) ~(FD_FILE | FD_FULL | FD_POLLED | FD_LOCAL | FD_TCP | FD_DATAGRAM | FD_NOTICED);
    descriptor->flags |= FD_UNSURE;
    descriptor->file = (struct file_facts){0};
    descriptor->ready = 0;
}

static inline int attach_as(proa_loop *loop, proa_op *op, int fd, enum op_flag flag)
{
    struct descriptor *descriptor = host_descriptor(host_of(loop), fd);

    if (unlikely(!descriptor || descriptor->flags & FD_CLOSING))
        return -EBADF;
    if (unlikely(!(descriptor->flags & FD_OURS)))
        adopt(host_of(loop), descriptor, fd);
    descriptor->pending++;
    op->flags |= flag;
    return 0;
}

static inline int attach(proa_loop *loop, proa_op *op)
{
    return attach_as(loop, op, op->fd, OP_ATTACHED);
}

/* Hands an op that works on a descriptor to the engine. One whose turn in a link has come is attached already. */
static inline void launch_attached(proa_loop *loop, proa_op *op)
{
    int error = op->flags & OP_ATTACHED ? 0 : attach(loop, op);

    if (unlikely(error))
        op_done(host_of(loop), op, error);
    else
        op_engage(loop, op);
}

/* For the ops of streams. Sends of datagrams would be gathered to one, and a shutdown makes a socket ready for ever. */
static inline int attach_stream(proa_loop *loop, proa_op *op)
{
    int error = op->flags & OP_ATTACHED ? 0 : attach(loop, op);

    return likely(!error) && unlikely(loop->host.descriptors[op->fd].flags & FD_DATAGRAM) ? -EPROTOTYPE : error;
}

static inline void launch_stream(proa_loop *loop, proa_op *op)
{
    int error = attach_stream(loop, op);

    if (unlikely(error))
        op_done(host_of(loop), op, error);
    else
        op_engage(loop, op);
}

/* The same for sends, without the questions that they answer beforehand. */
static inline void launch_send(proa_loop *loop, proa_op *op)
{
    struct engine_host *host = host_of(loop);
    int error = attach_stream(loop, op);

    if (unlikely(error)) {
        op_done(host, op, error);
        return;
    }
    op_attach_out(host, op);
    host->table->start(host->engine, op);
}

int descriptor_unblock(struct engine_host *host, int fd)
{
    int flags;

    if (host->sys.machine || (!host->sys.blocking && host->descriptors[fd].flags & FD_OURS))
        return 0;
    flags = sys_open_flags(&host->sys, fd);
    if (flags < 0 || flags & O_NONBLOCK)
        return flags < 0 ? flags : 0;
    return sys_set_open_flags(&host->sys, fd, flags | O_NONBLOCK);
}

/* sendfile(2) waits for room unless the socket does not block; one from elsewhere is left as it is. Returns whether it does
 * not block, or a negative errno. */
static int never_blocks(struct engine_host *host, const proa_op *op)
{
    int result;

    if (host->sys.machine)
        return 1;
    if (host->descriptors[op->fd].flags & FD_OURS)
        return descriptor_unblock(host, op->fd) == 0;
    result = sys_open_flags(&host->sys, op->fd);
    return result < 0 ? result : (result & O_NONBLOCK) != 0;
}

/* sendfile(2) sends to anything. One of our own is asked once. */
static int check_stream(struct engine_host *host, const proa_op *op)
{
    struct descriptor *descriptor = &host->descriptors[op->fd];
    int type = SOCK_STREAM, error = 0;

    if (descriptor->flags & FD_OURS && descriptor->flags & (FD_TCP | FD_LOCAL))
        return 0;
    if (descriptor->flags & FD_OURS && instant_is_tcp(&host->sys, op->fd))
        descriptor->flags |= FD_TCP;
    else
        error = sys_getsockopt(&host->sys, op->fd, SOL_SOCKET, SO_TYPE, &type);
    return error || type == SOCK_STREAM || type == SOCK_SEQPACKET ? error : -EPROTOTYPE;
}

/* What sendfile(2) cannot do, or not without waiting, is copied. */
static int choose_mover(struct engine_host *host, proa_op *op)
{
    int error = op->other_fd < PROA_DIRECT_BASE ? 0 : -ESPIPE, quick = 0;

    op->choice = host->send_file_by;
    if (!error && !(host->descriptors[op->other_fd].flags & FD_DATAGRAM) && direct_bypasses_cache(host, op->other_fd))
        op->choice = SEND_BY_COPY | SEND_UNCACHED;
    if (!error && op->fd < PROA_DIRECT_BASE)
        error = check_stream(host, op);
    if (!error && op->fd < PROA_DIRECT_BASE)
        quick = never_blocks(host, op);
    if (!quick)
        op->choice |= SEND_BY_COPY;
    return quick < 0 ? quick : error;
}

static void launch_send_file(proa_loop *loop, proa_op *op)
{
    int error = attach_stream(loop, op);

    if (!error)
        error = op->other_fd < 0 ? -EBADF : op_attach_other(loop, op);
    if (!error)
        loop->host.descriptors[op->other_fd].flags |= FD_SOURCE;
    if (!error)
        error = op->offset > INT64_MAX ? -EINVAL : choose_mover(host_of(loop), op);
    if (error)
        op_done(host_of(loop), op, error);
    else
        op_engage(loop, op);
}

/* Without copy it pays, and is possible, on larger sends over TCP; the others are sends like any, with one completion more. */
static void launch_zero_copy(proa_loop *loop, proa_op *op)
{
    struct engine_host *host = host_of(loop);
    struct descriptor *descriptor = host_descriptor(host, op->fd);
    int error = attach_stream(loop, op);

    if (error) {
        op_done(host, op, error);
        return;
    }
    if (op->size < ZERO_COPY_MIN)
        op->flags |= OP_BY_VALUE;
    else if (!(descriptor->flags & (FD_TCP | FD_LOCAL)) && op->fd < PROA_DIRECT_BASE &&
             instant_is_tcp(&host->sys, op->fd))
        descriptor->flags |= FD_TCP;
    if (!(descriptor->flags & FD_TCP))
        op->flags |= OP_BY_VALUE;
    op_engage(loop, op);
}

/* Streams have ops of their own, and MSG_TRUNC would have TCP throw away what it does not store. */
static int find_type(struct engine_host *host, struct descriptor *descriptor, int fd)
{
    int type = 0, family = 0, error;

    if (fd >= PROA_DIRECT_BASE) /* it was accepted */
        return descriptor->flags & FD_OURS ? -EPROTOTYPE : -EBADF;
    error = sys_getsockopt(&host->sys, fd, SOL_SOCKET, SO_TYPE, &type);
    if (!error)
        error = sys_getsockopt(&host->sys, fd, SOL_SOCKET, SO_DOMAIN, &family);
    if (error)
        return error;
    if (type == SOCK_STREAM || type == SOCK_SEQPACKET)
        return -EPROTOTYPE;
    descriptor->flags |= (uint16_t)(FD_DATAGRAM | (family == AF_UNIX ? FD_LOCAL : 0));
    descriptor->file = (struct file_facts){0}; /* `sending` from now on */
    return 0;
}

static int prepare_datagram(proa_loop *loop, proa_op *op)
{
    struct descriptor *descriptor = host_descriptor(host_of(loop), op->fd);
    int error = descriptor->flags & FD_DATAGRAM ? 0 : find_type(host_of(loop), descriptor, op->fd);

    if (error)
        return error;
    if (op->kind == OP_RECV_FROM)
        datagram_prepare_recv(op, descriptor);
    else if (op->kind == OP_SEND_TO)
        datagram_prepare_send(op);
    else if (((proa_buffer_pool *)op->data)->size <= PROA_DATAGRAM_OVERHEAD)
        error = -EINVAL;
    return error;
}

static void launch_datagram(proa_loop *loop, proa_op *op)
{
    int error = op->flags & OP_ATTACHED ? 0 : attach(loop, op);

    if (!error)
        error = prepare_datagram(loop, op);
    if (error)
        op_done(host_of(loop), op, error);
    else
        op_engage(loop, op);
}

static unsigned family_flag(const proa_address *address)
{
    sa_family_t family = address->as.any.sa_family;

    return family == AF_UNIX ? FD_LOCAL : family == AF_INET || family == AF_INET6 ? FD_TCP : 0;
}

/* Keeps in `size` what its descriptor will be, for the end (settle.c). */
static void launch_listen(proa_loop *loop, proa_op *op)
{
    const proa_address *address = op->data;
    unsigned flags = (unsigned)op->moved;
    int backlog = (int)op->size;

    op->size = family_flag(address) | (flags & PROA_LISTEN_SHARED ? FD_SHARED : 0);
    op_done(host_of(loop), op, instant_listen(&loop->host.sys, address, backlog, flags));
}

static void launch_datagram_open(proa_loop *loop, proa_op *op)
{
    const proa_address *local = op->data, *peer = (const proa_address *)(uintptr_t)op->size;
    int fd = instant_datagram_socket(&loop->host.sys, local, peer, (unsigned)op->moved);

    op->size = FD_DATAGRAM | (fd >= 0 ? family_flag(local ? local : peer) & FD_LOCAL : 0);
    op_done(host_of(loop), op, fd);
}

/* An op whose descriptor is made for it: `fd` may be an errno instead. */
static void launch_on_new(proa_loop *loop, proa_op *op, int fd, unsigned flags)
{
    if (fd < 0) {
        op_done(host_of(loop), op, fd);
        return;
    }
    descriptor_welcome(host_of(loop), fd, flags);
    op->fd = fd;
    launch_attached(loop, op);
}

/* A signal descriptor only hears signals that are blocked (signalfd(2)). */
static void block_signal(proa_loop *loop, int signal_number)
{
    if (loop->signal_users[signal_number]++ == 0)
        loop->signal_was_blocked[signal_number] = (uint8_t)sys_block_signal(&loop->host.sys, signal_number, 1);
}

static void launch_signal(proa_loop *loop, proa_op *op)
{
    int signal_number = op->size < SIGNAL_COUNT ? (int)op->size : -1;
    int fd = instant_signal(&loop->host.sys, signal_number);

    if (fd >= 0)
        block_signal(loop, signal_number);
    launch_on_new(loop, op, fd, 0);
}

/* Whatever is wrong shows at once, on every engine, and so does an end that lies behind. */
static void launch_wait_child(proa_loop *loop, proa_op *op)
{
    int error = op->flags & OP_ATTACHED ? 0 : attach(loop, op);
    int64_t value = error ? error : instant_wait_child(&loop->host.sys, op->fd);

    if (value == -EAGAIN)
        op_engage(loop, op);
    else
        op_done(host_of(loop), op, value);
}

static void stop_sourced(struct descriptor *descriptor, int fd)
{
    proa_op *next;

    for (proa_op *op = descriptor->out.first; op; op = next) {
        next = op->next;
        if (op->flags & OP_ATTACHED_OTHER && op->other_fd == fd)
            proa_cancel(op);
    }
}

/* The ops that read from `fd` wait on what they write to, wherever that is: they are few, and to be found seldom. */
static void source_stop(proa_loop *loop, int fd)
{
    struct engine_host *host = host_of(loop);

    for (uint32_t i = 0; i < host->descriptor_high; i++)
        stop_sourced(&host->descriptors[i], fd);
    for (uint32_t i = PROA_DIRECT_BASE; i < host->direct_high; i++)
        stop_sourced(&host->descriptors[i], fd);
}

/* What happens from now on is kept for the op. Its place of the path is the memory's from here on. */
static void launch_watch(proa_loop *loop, proa_op *op)
{
    const char *path = op->data;
    uint32_t events = (uint32_t)(op->size >> 32);
    int fd;

    op->data = file_op_second(op);
    op->size &= UINT32_MAX;
    fd = op->size < PROA_WATCH_BUFFER_MIN ? -EINVAL : sys_watch(&loop->host.sys, path, events);
    launch_on_new(loop, op, fd, 0);
}

/* Waits for the ops that are pending; the last one's completion starts it (settle.c). */
static void launch_close(proa_loop *loop, proa_op *op)
{
    struct engine_host *host = host_of(loop);
    struct descriptor *descriptor = host_descriptor(host, op->fd);

    if (!descriptor || descriptor->flags & FD_CLOSING) {
        op_done(host, op, -EBADF);
        return;
    }
    descriptor->flags |= FD_CLOSING;
    if (descriptor->pending == 0) {
        host->table->start(host->engine, op);
    } else {
        descriptor_stop(loop, op->fd);
        if (descriptor->flags & FD_SOURCE)
            source_stop(loop, op->fd);
        op_attach_out(host, op);
    }
}

/* For ops on a path: the directory may be the current one, which is no descriptor. */
static void launch_on_path(proa_loop *loop, proa_op *op)
{
    if (op->fd == AT_FDCWD)
        op_engage(loop, op);
    else
        launch_attached(loop, op);
}

/* The same with a second path, and a directory of its own. */
static void launch_on_paths(proa_loop *loop, proa_op *op)
{
    int error = op_attach_other(loop, op);

    if (error)
        op_done(host_of(loop), op, error);
    else
        launch_on_path(loop, op);
}

/* A timer's op holds: moved: when it is due; size: the interval; deadline_ns. Its place among all timing is the earlier of
 * when it is due and its deadline. */
static void launch_timer(proa_loop *loop, proa_op *op)
{
    op->sequence = loop->sequence++;
    timing_set(loop, op, op->moved < op->deadline_ns ? op->moved : op->deadline_ns);
}

/* One on descriptors keeps them from being closed before it is over itself. */
static void launch_composed(proa_loop *loop, proa_op *op)
{
    int error = op->fd >= 0 ? attach(loop, op) : 0;

    if (!error && op->other_fd >= 0)
        error = attach_as(loop, op, op->other_fd, OP_ATTACHED_OTHER);
    if (error) {
        op_done(host_of(loop), op, error);
        return;
    }
    op->choice = 0;
    list_append(&loop->host.composed, op);
    op->flags |= OP_MADE;
}

static inline void launch_kind(proa_loop *loop, proa_op *op, enum op_kind kind)
{
    switch (kind) {
    case OP_SEND:
        launch_send(loop, op);
        break;
    case OP_SEND_ZERO_COPY:
        launch_zero_copy(loop, op);
        break;
    case OP_RECV:
    case OP_RECV_MANY:
    case OP_SHUTDOWN:
        launch_stream(loop, op);
        break;
    case OP_SEND_FILE:
        launch_send_file(loop, op);
        break;
    case OP_LISTEN:
        launch_listen(loop, op);
        break;
    case OP_DATAGRAM_OPEN:
        launch_datagram_open(loop, op);
        break;
    case OP_RECV_FROM:
    case OP_RECV_FROM_MANY:
    case OP_SEND_TO:
        launch_datagram(loop, op);
        break;
    case OP_CONNECT:
        launch_on_new(loop, op, instant_connect_socket(&loop->host.sys, op->data), family_flag(op->data));
        break;
    case OP_CLOSE:
        launch_close(loop, op);
        break;
    case OP_OPEN:
    case OP_STAT:
    case OP_MAKE_DIRECTORY:
    case OP_UNLINK:
    case OP_SYMBOLIC_LINK:
    case OP_READ_LINK:
        launch_on_path(loop, op);
        break;
    case OP_RENAME:
    case OP_HARD_LINK:
        launch_on_paths(loop, op);
        break;
    case OP_WATCH:
        launch_watch(loop, op);
        break;
    case OP_SIGNAL:
        launch_signal(loop, op);
        break;
    case OP_WAIT_CHILD:
        launch_wait_child(loop, op);
        break;
    case OP_WORK:
    case OP_FILE_WORK:
    case OP_SPAWN:
        pool_start(loop->host.pool, op);
        break;
    case OP_TIMER:
    case OP_TIMER_REPEAT:
        launch_timer(loop, op);
        break;
    case OP_COMPOSED:
        launch_composed(loop, op);
        break;
    default:
        launch_attached(loop, op);
    }
}

/* Without descriptors of its own it is the caller's, who has to end it. */
static int may_begin_at_close(const proa_op *op, enum op_kind kind)
{
    return kind == OP_CLOSE || (kind == OP_COMPOSED && op->fd < 0);
}

/* The one place where an op that the caller described is begun. While the loop closes only a close is; and a composed op,
 * which is then stopped. */
static inline void launch(proa_loop *loop, proa_op *op, enum op_kind kind)
{
    if (unlikely(loop->closing) && !may_begin_at_close(op, kind))
        op_done(host_of(loop), op, -ECANCELED);
    else if (unlikely(!(loop->host.families & family_of_kind[kind])))
        op_done(host_of(loop), op, -EACCES);
    else
        launch_kind(loop, op, kind);
}

void op_launch(proa_loop *loop, proa_op *op)
{
    launch(loop, op, (enum op_kind)op->kind);
}

/* An op whose arguments are all filled in: begins it, or puts it behind the others of its link. */
static inline void start(proa_loop *loop, proa_op *op, enum op_kind kind)
{
    if (unlikely(loop->linking) && link_append(loop, op))
        return;
    launch(loop, op, kind);
}

static inline void start_transfer(proa_loop *loop, proa_op *op, enum op_kind kind, proa_fd fd, const void *data,
                                  uint64_t size)
{
    op->fd = fd.handle;
    op->data = (void *)(uintptr_t)data;
    op->size = size;
    start(loop, op, kind);
}

int op_attach(proa_loop *loop, proa_op *op)
{
    return attach(loop, op);
}

int op_attach_other(proa_loop *loop, proa_op *op)
{
    if (op->other_fd == AT_FDCWD || op->flags & OP_ATTACHED_OTHER)
        return 0;
    return attach_as(loop, op, op->other_fd, OP_ATTACHED_OTHER);
}

/* Sockets */

void proa_listen(proa_loop *loop, proa_op *op, const proa_address *address, int backlog, unsigned flags,
                 proa_callback *callback)
{
    begin(loop, op, OP_LISTEN, callback, __func__);
    op->moved = flags;
    start_transfer(loop, op, OP_LISTEN, NO_FD, address, (unsigned)backlog);
}

void proa_accept(proa_loop *loop, proa_op *op, proa_fd listener, proa_callback *callback)
{
    begin(loop, op, OP_ACCEPT, callback, __func__);
    start_transfer(loop, op, OP_ACCEPT, listener, NULL, 0);
}

void proa_accept_many(proa_loop *loop, proa_op *op, proa_fd listener, proa_callback *callback)
{
    begin(loop, op, OP_ACCEPT_MANY, callback, __func__);
    start_transfer(loop, op, OP_ACCEPT_MANY, listener, NULL, 0);
}

void proa_connect(proa_loop *loop, proa_op *op, const proa_address *address, proa_callback *callback)
{
    begin(loop, op, OP_CONNECT, callback, __func__);
    start_transfer(loop, op, OP_CONNECT, NO_FD, address, 0);
}

void proa_recv(proa_loop *loop, proa_op *op, proa_fd fd, void *data, size_t size, proa_callback *callback)
{
    begin(loop, op, OP_RECV, callback, __func__);
    start_transfer(loop, op, OP_RECV, fd, data, size);
}

void proa_recv_many(proa_loop *loop, proa_op *op, proa_fd fd, proa_buffer_pool *pool, proa_callback *callback)
{
    begin(loop, op, OP_RECV_MANY, callback, __func__);
    pool->users++;
    start_transfer(loop, op, OP_RECV_MANY, fd, pool, 0);
}

void proa_send(proa_loop *loop, proa_op *op, proa_fd fd, const void *data, size_t size, proa_callback *callback)
{
    begin(loop, op, OP_SEND, callback, __func__);
    start_transfer(loop, op, OP_SEND, fd, data, size);
}

void proa_send_relaxed(proa_loop *loop, proa_op *op, proa_fd fd, const void *data, size_t size, proa_callback *callback)
{
    begin(loop, op, OP_SEND, callback, __func__);
    op->flags = OP_RELAXED;
    start_transfer(loop, op, OP_SEND, fd, data, size);
}

void proa_send_zero_copy(proa_loop *loop, proa_op *op, proa_fd fd, const void *data, size_t size,
                         proa_callback *callback)
{
    begin(loop, op, OP_SEND_ZERO_COPY, callback, __func__);
    op->choice = 0;
    start_transfer(loop, op, OP_SEND_ZERO_COPY, fd, data, size);
}

void proa_shutdown(proa_loop *loop, proa_op *op, proa_fd fd, int how, proa_callback *callback)
{
    begin(loop, op, OP_SHUTDOWN, callback, __func__);
    start_transfer(loop, op, OP_SHUTDOWN, fd, NULL, (uint64_t)how);
}

/* Datagrams */

void proa_datagram_open(proa_loop *loop, proa_op *op, const proa_address *local, const proa_address *peer,
                        unsigned flags, proa_callback *callback)
{
    begin(loop, op, OP_DATAGRAM_OPEN, callback, __func__);
    op->moved = flags;
    start_transfer(loop, op, OP_DATAGRAM_OPEN, NO_FD, local, (uintptr_t)peer);
}

void proa_recv_from(proa_loop *loop, proa_op *op, proa_fd fd, void *data, size_t size, proa_datagram *ret_datagram,
                    proa_callback *callback)
{
    begin(loop, op, OP_RECV_FROM, callback, __func__);
    op->moved = (uintptr_t)data;
    start_transfer(loop, op, OP_RECV_FROM, fd, ret_datagram, size);
}

void proa_recv_from_many(proa_loop *loop, proa_op *op, proa_fd fd, proa_buffer_pool *pool, proa_callback *callback)
{
    begin(loop, op, OP_RECV_FROM_MANY, callback, __func__);
    pool->users++;
    start_transfer(loop, op, OP_RECV_FROM_MANY, fd, pool, 0);
}

void proa_send_to(proa_loop *loop, proa_op *op, proa_fd fd, proa_datagram *datagram, proa_callback *callback)
{
    begin(loop, op, OP_SEND_TO, callback, __func__);
    start_transfer(loop, op, OP_SEND_TO, fd, datagram, 0);
}

void proa_close(proa_loop *loop, proa_op *op, proa_fd fd, proa_callback *callback)
{
    begin(loop, op, OP_CLOSE, callback, __func__);
    start_transfer(loop, op, OP_CLOSE, fd, NULL, 0);
}

/* Files */

void proa_open(proa_loop *loop, proa_op *op, proa_fd directory, const char *path, proa_open_how how,
               proa_callback *callback)
{
    begin(loop, op, OP_OPEN, callback, __func__);
    op->fd = directory.handle;
    op->data = (void *)(uintptr_t)path;
    file_op_set_how(op, how.flags, how.mode, how.resolve);
    start(loop, op, OP_OPEN);
}

void proa_read(proa_loop *loop, proa_op *op, proa_fd fd, void *data, size_t size, uint64_t offset,
               proa_callback *callback)
{
    begin(loop, op, OP_READ, callback, __func__);
    op->moved = offset;
    start_transfer(loop, op, OP_READ, fd, data, size);
}

void proa_write(proa_loop *loop, proa_op *op, proa_fd fd, const void *data, size_t size, uint64_t offset,
                proa_callback *callback)
{
    begin(loop, op, OP_WRITE, callback, __func__);
    op->moved = offset;
    start_transfer(loop, op, OP_WRITE, fd, data, size);
}

void proa_readv(proa_loop *loop, proa_op *op, proa_fd fd, const struct iovec *pieces, unsigned count, uint64_t offset,
                proa_callback *callback)
{
    begin(loop, op, OP_READV, callback, __func__);
    op->moved = offset;
    start_transfer(loop, op, OP_READV, fd, pieces, count);
}

void proa_writev(proa_loop *loop, proa_op *op, proa_fd fd, const struct iovec *pieces, unsigned count, uint64_t offset,
                 proa_callback *callback)
{
    begin(loop, op, OP_WRITEV, callback, __func__);
    op->moved = offset;
    start_transfer(loop, op, OP_WRITEV, fd, pieces, count);
}

void proa_fsync(proa_loop *loop, proa_op *op, proa_fd fd, proa_callback *callback)
{
    begin(loop, op, OP_FSYNC, callback, __func__);
    start_transfer(loop, op, OP_FSYNC, fd, NULL, 0);
}

void proa_fdatasync(proa_loop *loop, proa_op *op, proa_fd fd, proa_callback *callback)
{
    begin(loop, op, OP_FDATASYNC, callback, __func__);
    start_transfer(loop, op, OP_FDATASYNC, fd, NULL, 0);
}

void proa_stat(proa_loop *loop, proa_op *op, proa_fd fd, const char *path, unsigned flags, unsigned mask,
               struct statx *ret_stat, proa_callback *callback)
{
    begin(loop, op, OP_STAT, callback, __func__);
    op->moved = (uintptr_t)ret_stat;
    start_transfer(loop, op, OP_STAT, fd, path, (uint64_t)flags << 32 | mask);
}

void proa_truncate(proa_loop *loop, proa_op *op, proa_fd fd, uint64_t size, proa_callback *callback)
{
    begin(loop, op, OP_TRUNCATE, callback, __func__);
    start_transfer(loop, op, OP_TRUNCATE, fd, NULL, size);
}

void proa_allocate(proa_loop *loop, proa_op *op, proa_fd fd, unsigned mode, uint64_t offset, uint64_t size,
                   proa_callback *callback)
{
    begin(loop, op, OP_ALLOCATE, callback, __func__);
    op->moved = offset;
    start_transfer(loop, op, OP_ALLOCATE, fd, (void *)(uintptr_t)mode, size);
}

/* Directories */

void proa_make_directory(proa_loop *loop, proa_op *op, proa_fd directory, const char *path, mode_t mode,
                         proa_callback *callback)
{
    begin(loop, op, OP_MAKE_DIRECTORY, callback, __func__);
    start_transfer(loop, op, OP_MAKE_DIRECTORY, directory, path, mode);
}

void proa_unlink(proa_loop *loop, proa_op *op, proa_fd directory, const char *path, unsigned flags,
                 proa_callback *callback)
{
    begin(loop, op, OP_UNLINK, callback, __func__);
    start_transfer(loop, op, OP_UNLINK, directory, path, flags);
}

static void start_on_paths(proa_loop *loop, proa_op *op, proa_fd from_directory, const char *from, proa_fd to_directory,
                           const char *to, unsigned flags)
{
    op->flags = OP_PAIRED;
    op->other_fd = to_directory.handle;
    op->moved = (uintptr_t)to;
    start_transfer(loop, op, (enum op_kind)op->kind, from_directory, from, flags);
}

void proa_rename(proa_loop *loop, proa_op *op, proa_fd from_directory, const char *from, proa_fd to_directory,
                 const char *to, unsigned flags, proa_callback *callback)
{
    begin(loop, op, OP_RENAME, callback, __func__);
    start_on_paths(loop, op, from_directory, from, to_directory, to, flags);
}

void proa_hard_link(proa_loop *loop, proa_op *op, proa_fd from_directory, const char *from, proa_fd to_directory,
                    const char *to, unsigned flags, proa_callback *callback)
{
    begin(loop, op, OP_HARD_LINK, callback, __func__);
    start_on_paths(loop, op, from_directory, from, to_directory, to, flags);
}

void proa_symbolic_link(proa_loop *loop, proa_op *op, const char *target, proa_fd directory, const char *path,
                        proa_callback *callback)
{
    begin(loop, op, OP_SYMBOLIC_LINK, callback, __func__);
    op->moved = (uintptr_t)target;
    start_transfer(loop, op, OP_SYMBOLIC_LINK, directory, path, 0);
}

void proa_read_link(proa_loop *loop, proa_op *op, proa_fd directory, const char *path, char *target, size_t size,
                    proa_callback *callback)
{
    begin(loop, op, OP_READ_LINK, callback, __func__);
    op->moved = (uintptr_t)target;
    start_transfer(loop, op, OP_READ_LINK, directory, path, size);
}

void proa_read_directory(proa_loop *loop, proa_op *op, proa_fd directory, void *buffer, size_t size,
                         proa_callback *callback)
{
    begin(loop, op, OP_READ_DIRECTORY, callback, __func__);
    start_transfer(loop, op, OP_READ_DIRECTORY, directory, buffer, size);
}

void proa_watch(proa_loop *loop, proa_op *op, const char *path, uint32_t events, void *buffer, size_t size,
                proa_callback *callback)
{
    begin(loop, op, OP_WATCH, callback, __func__);
    op->moved = (uintptr_t)buffer;
    start_transfer(loop, op, OP_WATCH, NO_FD, path, (uint64_t)events << 32 | (size < INT32_MAX ? size : INT32_MAX));
}

/* Moving bytes */

void proa_send_file(proa_loop *loop, proa_op *op, proa_fd socket, proa_fd file, uint64_t offset, uint64_t size,
                    proa_callback *callback)
{
    begin(loop, op, OP_SEND_FILE, callback, __func__);
    op->flags = OP_PAIRED;
    op->fd = socket.handle;
    op->other_fd = file.handle;
    op->offset = offset;
    op->size = size;
    start(loop, op, OP_SEND_FILE);
}

/* Events */

void proa_poll(proa_loop *loop, proa_op *op, proa_fd fd, unsigned events, proa_callback *callback)
{
    begin(loop, op, OP_POLL, callback, __func__);
    start_transfer(loop, op, OP_POLL, fd, NULL, events);
}

void proa_signal(proa_loop *loop, proa_op *op, int signal_number, proa_callback *callback)
{
    begin(loop, op, OP_SIGNAL, callback, __func__);
    start_transfer(loop, op, OP_SIGNAL, NO_FD, NULL, (unsigned)signal_number);
}

void proa_work(proa_loop *loop, proa_op *op, proa_work_function *function, proa_callback *callback)
{
    begin(loop, op, OP_WORK, callback, __func__);
    start_transfer(loop, op, OP_WORK, NO_FD, (void *)(uintptr_t)function, 0);
}

void proa_spawn(proa_loop *loop, proa_op *op, const proa_command *command, proa_process *ret_process,
                proa_callback *callback)
{
    begin(loop, op, OP_SPAWN, callback, __func__);
    start_transfer(loop, op, OP_SPAWN, NO_FD, command, (uintptr_t)ret_process);
}

void proa_wait_child(proa_loop *loop, proa_op *op, proa_fd process, proa_callback *callback)
{
    begin(loop, op, OP_WAIT_CHILD, callback, __func__);
    start_transfer(loop, op, OP_WAIT_CHILD, process, NULL, 0);
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
    op->link.next = NULL;
    op->fd = -1;
    host_post(host_of(loop), op);
}

/* Ops made of others */

int op_compose(proa_loop *loop, proa_op *op, struct composition composition, const char *where)
{
    begin(loop, op, OP_COMPOSED, composition.callback, where);
    op->other_fd = composition.other.handle;
    if (unlikely(loop->linking))
        panic(where, "a composed op cannot be linked: its maker cannot wait for its turn");
    start_transfer(loop, op, OP_COMPOSED, composition.fd, (void *)(uintptr_t)composition.stop,
                   (uintptr_t)composition.maker);
    return op->state == OP_IN_FLIGHT;
}

void proa_compose(proa_loop *loop, proa_op *op, proa_stop_function *stop, proa_callback *callback)
{
    op_compose(loop, op, (struct composition){NO_FD, NO_FD, NULL, stop, callback}, __func__);
}

void op_start_part(proa_loop *loop, proa_op *op, enum op_kind kind, int fd, struct part part)
{
    begin(loop, op, kind, part.callback, __func__);
    op->flags = part.flags;
    op->fd = fd;
    op->other_fd = -1;
    op->data = part.data;
    op->size = part.size;
    op->moved = part.when_ns;
    if (kind == OP_TIMER)
        op->deadline_ns = PROA_NEVER;
    if (kind == OP_RECV_MANY)
        ((proa_buffer_pool *)part.data)->users++;
    if (loop->closing)
        op_done(host_of(loop), op, -ECANCELED);
    else
        launch_kind(loop, op, kind);
}

void proa_complete(proa_op *op, int64_t value)
{
    if (unlikely(op->state != OP_IN_FLIGHT || op->kind != OP_COMPOSED))
        panic(__func__, "the op is not composed, or is complete already");
    loop_check(op->loop, __func__);
    op_done(host_of(op->loop), op, value);
}

/* Time */

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

void proa_timer(proa_loop *loop, proa_op *op, uint64_t when_ns, proa_callback *callback)
{
    begin(loop, op, OP_TIMER, callback, __func__);
    op->fd = -1;
    op->deadline_ns = PROA_NEVER;
    op->moved = when_ns;
    start(loop, op, OP_TIMER);
}

void proa_timer_repeat(proa_loop *loop, proa_op *op, uint64_t first_ns, uint64_t interval_ns, proa_callback *callback)
{
    begin(loop, op, OP_TIMER_REPEAT, callback, __func__);
    if (unlikely(interval_ns == 0))
        panic(__func__, "the interval is 0");
    op->fd = -1;
    op->deadline_ns = PROA_NEVER;
    op->moved = first_ns;
    op->size = interval_ns;
    start(loop, op, OP_TIMER_REPEAT);
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
        if (op->flags & OP_LINKED)
            timing_set(loop, op, when_ns);
        else if (heap_holds(&op->timing))
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

    if (op->flags & OP_LINKED) {
        link_cut(loop, op);
        return;
    }
    if (op->state != OP_IN_FLIGHT || op->flags & (OP_RESTING | OP_AWAITING) || op->kind == OP_CLOSE ||
        op->kind == OP_POST)
        return;
    if (is_timer(op)) {
        timing_clear(loop, op);
        op_done(host, op, -ECANCELED);
    } else if (op->flags & OP_WAITING) {
        op_done(host, op, -ECANCELED);
    } else if (op->kind == OP_COMPOSED) {
        ((proa_stop_function *)op->data)(op);
    } else if (op->flags & OP_FETCHING) {
        fetch_stop(loop, op);
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

static int is_composed_on(const proa_op *op, int fd)
{
    return fd < 0 || op->fd == fd || op->other_fd == fd;
}

/* Stopping one may end others, wherever they stand: so each goes to the end before it is stopped. */
void composed_stop(proa_loop *loop, int fd)
{
    struct op_list *list = &loop->host.composed;
    size_t count = 0, matches = 0;

    for (const proa_op *op = list->first; op; op = op->next) {
        count++;
        matches += is_composed_on(op, fd);
    }
    while (matches > 0 && count-- > 0 && list->first) {
        proa_op *op = list_take_first(list);

        list_append(list, op);
        if (is_composed_on(op, fd))
            proa_cancel(op);
    }
}

void descriptor_stop(proa_loop *loop, int fd)
{
    struct engine_host *host = host_of(loop);
    struct descriptor *descriptor = &host->descriptors[fd];

    stop_list(&descriptor->in, fd);
    stop_list(&descriptor->out, fd);
    stop_list(&host->notices[fd].awaiting, fd);
    if (descriptor->flags & FD_NOTICES)
        host->table->reset(host->engine, fd);
    pool_cancel_descriptor(host->pool, fd);
    stop_list(&host->loose, fd);
    link_stop(loop, fd);
    if (host->composed.first)
        composed_stop(loop, fd);
    if (!(descriptor->flags & FD_WAITING))
        return;
    stop_list(&host->paused, fd);
    for (proa_buffer_pool *pool = loop->pools; pool; pool = pool->next)
        stop_list(&pool->starved, fd);
}

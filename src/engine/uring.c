/* io_uring: completion, natively.
 *
 * One ring per loop, owned by its thread (SINGLE_ISSUER, DEFER_TASKRUN: the kernel finishes work only while we enter), one
 * submit-and-wait per turn. A completion's user data is the op's address, with a tag in the low bits.
 *
 * Sends are not submitted at once: their descriptor becomes due, and what waits on it goes out as one message when the
 * turn ends. One send per descriptor is with the kernel at a time, for it may complete several in any order.
 *
 * A relaxed send is submitted with MSG_DONTWAIT and CQE_SKIP_SUCCESS: it posts nothing when all its bytes were taken, and
 * its error or short count at once otherwise. So once the kernel has consumed its entry, no news is success, and the
 * same system call can go on to wait for the peer's answer. */
#include <errno.h>
#include <poll.h>
#include <proa/buffer.h>
#include <proa/socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/datagram.h"
#include "engine/direct.h"
#include "engine/file_op.h"
#include "engine/gather.h"
#include "engine/groups.h"
#include "engine/hot.h"
#include "engine/instant.h"
#include "engine/lane.h"
#include "engine/pool.h"
#include "engine/send_file.h"
#include "engine/uring_features.h"
#include "engine/zero_copy.h"

/* MOVE_MAX: the count in an entry has 32 bits; a single call moves no more than this either (read(2)). EARLY_MAX: more
 * keeps a device busy by itself. */
enum { TEST_ENTRIES = 16, MESSAGES_MAX = 64, CHAIN_MAX = 64, MOVE_MAX = INT32_MAX - 4095, EARLY_MAX = 64 << 10 };

/* The kernel's own errno for "interrupted", which it lets out of some cancelled opens. */
enum { ERESTARTSYS = 512 };

_Static_assert(sizeof(struct datagram_head) == sizeof(struct io_uring_recvmsg_out), "one layout for all engines");

enum tag { TAG_OP, TAG_RELAXED, TAG_FAULT, TAG_WAKE, TAG_IGNORED, TAG_CANCEL_SEND, TAG_MASK = 7 };

/* Lives until the kernel has consumed the entry that names it (IORING_FEAT_SUBMIT_STABLE). */
struct message {
    struct msghdr header;
    struct iovec pieces[GATHER_MAX];
};

/* A send whose silence means success. */
struct silent_send {
    proa_op *op;
    size_t size;
    unsigned count;
};

struct uring {
    struct engine_host *host;
    struct ring ring;
    struct descriptor_queue due;    /* descriptors with something to send */
    struct descriptor_queue moving; /* and those with a step of a file's send to be made */
    int wake_fd;
    int has_memory_table;
    int lacks_zero_copy;  /* found out with the first send of its kind, or not to be used */
    int hurry;            /* somebody depends on a relaxed send: the next wait must not sleep over it */
    struct groups groups; /* of reads and writes that a device is asked for */
    unsigned chained;     /* datagrams in chains, all of which complete within the next wait */
    uint32_t message_count;
    unsigned messages_tail; /* of the submission queue, behind the latest that names a message */
    uint32_t success_first; /* silent[success_first..success_end) have succeeded and are to be reported */
    uint32_t success_end;
    uint32_t silent_end;        /* silent[success_end..silent_end) are submitted, or about to be */
    uint32_t silent_ops;        /* the ops these stand for */
    struct silent_send *silent; /* room for all that a full queue and an unsettled one before it can hold */
    uint32_t direct_free;  /* places in the table of direct descriptors that nothing has, nor an accept in flight */
    struct open_how *hows; /* by place in the submission queue; live like messages */
    struct message messages[MESSAGES_MAX];
};

static struct uring *self_of(struct engine *engine)
{
    return (struct uring *)engine;
}

/* Entering */

static RARE void enter(struct uring *self, unsigned wait, uint64_t timeout_ns)
{
    int error = ring_enter(&self->ring, wait, timeout_ns);

    if (unlikely(error < 0))
        panic(__func__, error == -EBADR ? "the kernel lost completions" : strerror(-error));
}

/* With the queue full the kernel takes what is there first, so that nothing, a cancel least of all, is ever dropped. */
static struct io_uring_sqe *next_entry(struct uring *self)
{
    while (unlikely(ring_is_full(&self->ring)))
        enter(self, 0, 0);
    return ring_next(&self->ring);
}

static proa_op *op_of(const struct io_uring_cqe *cqe)
{
    return (proa_op *)(uintptr_t)(cqe->user_data & ~(uint64_t)TAG_MASK);
}

static void set_user_data(struct io_uring_sqe *entry, const proa_op *op, enum tag tag)
{
    entry->user_data = (uintptr_t)op | tag;
}

/* A direct descriptor is named by its place in the ring's table. */
static inline void aim(struct io_uring_sqe *entry, int fd)
{
    if (likely(fd < PROA_DIRECT_BASE))
        return;
    entry->fd = fd - PROA_DIRECT_BASE;
    entry->flags |= IOSQE_FIXED_FILE;
}

/* An entry that does nothing but complete, with the fault that is planned. */
static RARE void fail_entry(struct io_uring_sqe *entry, proa_op *op, int error)
{
    op->error = error;
    io_uring_prep_nop(entry);
    set_user_data(entry, op, TAG_FAULT);
}

/* Sends */

/* For a relaxed send whose refusal is known before its like are settled: it is no longer silent. */
static void forget_silent(struct uring *self, proa_op *op)
{
    op->flags |= OP_REFUSED;
    for (uint32_t i = self->success_end; i < self->silent_end; i++) {
        if (self->silent[i].op == op) {
            self->silent_ops -= self->silent[i].count;
            self->silent[i] = self->silent[--self->silent_end];
            return;
        }
    }
}

/* The fault plan, if there is one, may turn an entry into one that does nothing but fail, or moves less. */
static RARE void apply_fault(struct uring *self, struct io_uring_sqe *entry, proa_op *op, enum sys_call call)
{
    size_t whole = op->size - op->moved, size = whole;
    int error = sys_ring_fault(&self->host->sys, call, &size);

    if (!error && size == whole)
        return;
    forget_silent(self, op);
    if (error) {
        fail_entry(entry, op, error);
    } else {
        io_uring_prep_send(entry, op->fd, (uint8_t *)op->data + op->moved, size, MSG_NOSIGNAL);
        aim(entry, op->fd);
        set_user_data(entry, op, TAG_OP);
    }
}

/* Silence means success only once the entry is known to be consumed, which it is not while another thread takes it; there
 * a completion costs no system call anyway. */
static int can_be_silent(const struct uring *self)
{
    return !self->ring.has_thread && self->silent_end < 2 * self->ring.entries;
}

static void make_silent(struct uring *self, struct io_uring_sqe *entry, proa_op *op, size_t size, unsigned count)
{
    entry->msg_flags = MSG_NOSIGNAL | MSG_DONTWAIT | MSG_WAITALL;
    entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    set_user_data(entry, op, TAG_RELAXED);
    self->silent[self->silent_end++] = (struct silent_send){op, size, count};
    self->silent_ops += count;
}

static struct io_uring_sqe *submit_single(struct uring *self, proa_op *op)
{
    struct io_uring_sqe *entry = next_entry(self);
    size_t left = op->size - op->moved, size = left < MOVE_MAX ? left : MOVE_MAX;

    op->flags |= OP_SUBMITTED;
    io_uring_prep_send(entry, op->fd, (uint8_t *)op->data + op->moved, size, MSG_NOSIGNAL | more_behind(op));
    aim(entry, op->fd);
    set_user_data(entry, op, TAG_OP);
    if ((op->flags & (OP_RELAXED | OP_REFUSED)) == OP_RELAXED && !op->next && size == left && can_be_silent(self))
        make_silent(self, entry, op, size, 1);
    return entry;
}

/* A message needs its header to stay until it is consumed; with none left, gathering waits for the next turn. */
static RARE struct io_uring_sqe *submit_message(struct uring *self, proa_op *first)
{
    struct io_uring_sqe *entry;
    struct message *message;
    struct gathering all;

    if (ring_has_consumed(&self->ring, self->messages_tail))
        self->message_count = 0;
    if (self->message_count == MESSAGES_MAX)
        return submit_single(self, first);
    entry = next_entry(self);
    self->messages_tail = self->ring.sq_tail;
    message = &self->messages[self->message_count++];
    all = gather(first, message->pieces);
    message->header = (struct msghdr){.msg_iov = message->pieces, .msg_iovlen = all.count};
    io_uring_prep_sendmsg(entry, first->fd, &message->header, (unsigned)(MSG_NOSIGNAL | all.more));
    aim(entry, first->fd);
    set_user_data(entry, first, TAG_OP);
    if (all.relaxed && can_be_silent(self))
        make_silent(self, entry, first, all.size, all.count);
    return entry;
}

static void submit_send(struct uring *self, struct descriptor *descriptor, proa_op *op)
{
    struct io_uring_sqe *entry;

    descriptor->flags |= FD_SENDING;
    if (unlikely(self->host->sys.faults)) {
        entry = submit_single(self, op);
        apply_fault(self, entry, op, SYS_SEND);
    } else if (likely(!op->next)) {
        submit_single(self, op);
    } else {
        submit_message(self, op);
    }
}

/* The place of the registered memory that all of it lies in, or -1. */
static int find_region(const struct engine_host *host, const uint8_t *data, size_t size)
{
    for (int i = 0; host->region_count > 0 && i < REGIONS_MAX; i++) {
        const struct memory_region *region = &host->regions[i];

        if (data >= region->memory && size <= region->size && (size_t)(data - region->memory) <= region->size - size)
            return region->size > 0 ? i : -1;
    }
    return -1;
}

static void prepare_zero_copy(const struct uring *self, struct io_uring_sqe *entry, const proa_op *op, size_t size)
{
    const uint8_t *data = (uint8_t *)op->data + op->moved;
    int region = find_region(self->host, data, size);

    if (region >= 0)
        io_uring_prep_send_zc_fixed(entry, op->fd, data, size, MSG_NOSIGNAL, IORING_SEND_ZC_REPORT_USAGE,
                                    (unsigned)region);
    else
        io_uring_prep_send_zc(entry, op->fd, data, size, MSG_NOSIGNAL, IORING_SEND_ZC_REPORT_USAGE);
}

/* Alone; what is left of one that the kernel refused half-way is sent by value. */
static RARE void submit_zero_copy(struct uring *self, struct descriptor *descriptor, proa_op *op)
{
    size_t left = op->size - op->moved, size = left < MOVE_MAX ? left : MOVE_MAX;
    int error = sys_ring_fault(&self->host->sys, SYS_SEND, &size);
    struct io_uring_sqe *entry = next_entry(self);

    descriptor->flags |= FD_SENDING;
    op->flags |= OP_SUBMITTED;
    if (op->flags & OP_BY_VALUE || op->choice == UINT16_MAX)
        io_uring_prep_send(entry, op->fd, (uint8_t *)op->data + op->moved, size, MSG_NOSIGNAL);
    else
        prepare_zero_copy(self, entry, op, size);
    aim(entry, op->fd);
    set_user_data(entry, op, TAG_OP);
    if (unlikely(error))
        fail_entry(entry, op, error);
}

/* Datagrams. Several go as a chain; the first that cannot be sent takes those behind it along, which are submitted anew. So
 * their order is kept. None of them waits: one that lacked room is tried again after a poll. For when a send that waits is
 * tried anew, the kernel (6.18) goes on behind what it had read, and a Unix peer gets an empty datagram. */

static void submit_datagram(struct uring *self, struct descriptor *descriptor, proa_op *op, unsigned entry_flags)
{
    int waits = op->flags & OP_REFUSED, error = sys_ring_fault(&self->host->sys, waits ? SYS_POLL : SYS_SENDMSG, NULL);
    struct io_uring_sqe *entry = next_entry(self);

    op->flags |= OP_SUBMITTED;
    descriptor->sending++;
    if (waits)
        io_uring_prep_poll_add(entry, op->fd, POLLOUT);
    else
        io_uring_prep_sendmsg(entry, op->fd, datagram_message(op), MSG_DONTWAIT | MSG_NOSIGNAL);
    entry->flags |= (uint8_t)entry_flags;
    set_user_data(entry, op, TAG_OP);
    if (unlikely(error))
        fail_entry(entry, op, error);
}

static int ends_chain(const proa_op *op)
{
    return op->flags & OP_REFUSED || !op->next || op->next->kind != OP_SEND_TO || op->next->flags & OP_REFUSED;
}

static void submit_datagrams(struct uring *self, struct descriptor *descriptor)
{
    proa_op *op = descriptor->out.first;
    unsigned left = CHAIN_MAX < self->ring.entries ? CHAIN_MAX : self->ring.entries;

    descriptor->flags |= FD_SENDING;
    /* Entering ends a chain. */
    if (!ends_chain(op) && ring_room(&self->ring) < left)
        enter(self, 0, 0);
    if (ring_room(&self->ring) < left)
        left = ring_room(&self->ring);
    for (; left > 1 && !ends_chain(op); left--, op = op->next) {
        submit_datagram(self, descriptor, op, IOSQE_IO_LINK);
        self->chained++;
    }
    submit_datagram(self, descriptor, op, 0);
}

/* Files. A step is a plain call, made as results are reaped: one per descriptor and turn. */

/* A full socket whose peer has shut its side is asked again by a repeating poll (see translate_poll()). */
static void await_room(struct uring *self, proa_op *op)
{
    int error = sys_ring_fault(&self->host->sys, SYS_POLL, NULL);
    struct io_uring_sqe *entry = next_entry(self);

    self->host->descriptors[op->fd].flags |= FD_SENDING;
    op->flags |= OP_SUBMITTED;
    io_uring_prep_poll_add(entry, op->fd, POLLOUT);
    if (op->flags & OP_REFUSED)
        entry->len = IORING_POLL_ADD_MULTI;
    aim(entry, op->fd);
    set_user_data(entry, op, TAG_OP);
    if (unlikely(error))
        fail_entry(entry, op, error);
}

/* A direct descriptor has no number for a plain call. What the ring sends does not wait either, so that the buffer is lent
 * for a moment only. */
static size_t send_direct(struct uring *self, struct descriptor *descriptor, proa_op *op, struct completion *completion)
{
    const uint8_t *data;
    size_t size;
    int64_t result = send_file_piece(self->host, op, &data, &size);
    int error = size > 0 ? sys_ring_fault(&self->host->sys, SYS_SEND, &size) : 0;
    struct io_uring_sqe *entry;

    descriptor->flags |= FD_SENDING;
    op->flags |= OP_SUBMITTED;
    *completion = (struct completion){op, {error ? error : result, 0, 0}};
    if (error || size == 0)
        return 1;
    fetch_of(self->host, op)->busy = 1;
    entry = next_entry(self);
    io_uring_prep_send(entry, op->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    aim(entry, op->fd);
    set_user_data(entry, op, TAG_OP);
    return 0;
}

static size_t send_file(struct uring *self, struct descriptor *descriptor, proa_op *op, struct completion *completion)
{
    int64_t taken;

    if (op->fd >= PROA_DIRECT_BASE)
        return send_direct(self, descriptor, op, completion);
    taken = send_file_some(&self->host->sys, self->host, op);

    if (taken == -EAGAIN) {
        await_room(self, op);
        return 0;
    }
    descriptor->flags |= FD_SENDING;
    op->flags |= OP_SUBMITTED;
    *completion = (struct completion){op, {taken, 0, 0}};
    return 1;
}

/* shutdown(2) needs a number. */
static RARE void shut_down_direct(struct uring *self, struct descriptor *descriptor, proa_op *op)
{
    int error = sys_ring_fault(&self->host->sys, SYS_SHUTDOWN, NULL);
    struct io_uring_sqe *entry = next_entry(self);

    descriptor->flags |= FD_SENDING;
    op->flags |= OP_SUBMITTED;
    io_uring_prep_shutdown(entry, op->fd, (int)op->size);
    aim(entry, op->fd);
    set_user_data(entry, op, TAG_OP);
    if (unlikely(error))
        fail_entry(entry, op, error);
}

static void submit_due(struct uring *self)
{
    struct descriptor *descriptor;

    while ((descriptor = descriptor_dequeue(self->host, &self->due))) {
        proa_op *op = descriptor->out.first;

        if (!op || descriptor->flags & (FD_SENDING | FD_CLOSING))
            continue;
        if (op->kind == OP_SEND_ZERO_COPY && self->lacks_zero_copy)
            op->flags |= OP_BY_VALUE;
        if (goes_with_others(op)) {
            submit_send(self, descriptor, op);
        } else if (op->kind == OP_SEND_ZERO_COPY) {
            submit_zero_copy(self, descriptor, op);
        } else if (op->kind == OP_SEND_TO) {
            submit_datagrams(self, descriptor);
        } else if (op->kind == OP_SEND_FILE) {
            descriptor_enqueue(self->host, &self->moving, descriptor);
        } else if (op->kind == OP_SHUTDOWN && op->fd >= PROA_DIRECT_BASE) {
            shut_down_direct(self, descriptor, op);
        } else if (op->kind == OP_SHUTDOWN) {
            /* The kernel hands every shutdown to a worker thread, which costs 20 times the call itself. */
            op_done(self->host, op, instant_shutdown(&self->host->sys, op->fd, (int)op->size));
            if (descriptor->out.first)
                descriptor_enqueue(self->host, &self->due, descriptor);
        }
    }
}

static void start_out(struct uring *self, const proa_op *op)
{
    struct descriptor *descriptor = &self->host->descriptors[op->fd];

    if (descriptor->flags & FD_SENDING)
        self->hurry = 1;
    else if (!(descriptor->flags & FD_DUE))
        descriptor_enqueue(self->host, &self->due, descriptor);
}

/* Starting */

/* Finds out and notes down whether a foreign descriptor is a Unix socket; what it accepts is one too.
 *
 * On a Unix socket a multishot receive loses an end of stream that came together with the last data: having read it, the
 * kernel (6.18) waits for a wake-up that has already been. One receive at a time asks anew. */
static int is_local(struct engine_host *host, int fd)
{
    struct descriptor *descriptor = &host->descriptors[fd];
    int family = 0;

    if (!(descriptor->flags & (FD_OURS | FD_LOCAL)) &&
        sys_getsockopt(&host->sys, fd, SOL_SOCKET, SO_DOMAIN, &family) == 0 && family == AF_UNIX)
        descriptor->flags |= FD_LOCAL;
    return descriptor->flags & FD_LOCAL;
}

/* Without POLL_FIRST an empty pool fails the receive at once though no data is there. */
static void select_buffer(struct io_uring_sqe *entry, const proa_buffer_pool *pool, int poll_first)
{
    if (poll_first)
        entry->ioprio |= IORING_RECVSEND_POLL_FIRST;
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->buf_group = (uint16_t)pool->id;
}

/* A multishot receive with POLL_FIRST that meets data and a reset, or an own SHUT_RD, when it is armed, brings the data and
 * then waits (6.18) for a wake-up that has already been. One that tries before it waits hears of both; an empty pool alone
 * makes it wait first (OP_REFUSED). */
static void prepare_recv_many(struct uring *self, struct io_uring_sqe *entry, proa_op *op)
{
    const proa_buffer_pool *pool = op->data;

    if (is_local(self->host, op->fd)) {
        io_uring_prep_recv(entry, op->fd, NULL, 0, 0);
        select_buffer(entry, pool, 1);
        return;
    }
    op->flags |= pool->available > 0 ? OP_SUBMITTED : OP_SUBMITTED | OP_REFUSED;
    io_uring_prep_recv_multishot(entry, op->fd, NULL, 0, 0);
    select_buffer(entry, pool, op->flags & OP_REFUSED);
}

/* Onto a direct descriptor one at a time: a repeating accept takes what there is, and drops what finds no room. */
static void prepare_accept(const struct uring *self, struct io_uring_sqe *entry, const proa_op *op)
{
    (void)is_local(self->host, op->fd);
    if (self->host->features & PROA_FEATURE_DIRECT) {
        io_uring_prep_accept(entry, op->fd, NULL, NULL, SOCK_NONBLOCK);
        entry->file_index = IORING_FILE_INDEX_ALLOC;
    } else if (op->kind == OP_ACCEPT) {
        io_uring_prep_accept(entry, op->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    } else {
        io_uring_prep_multishot_accept(entry, op->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    }
}

static void prepare_file_move(const struct uring *self, struct io_uring_sqe *entry, const proa_op *op, unsigned size)
{
    int region = find_region(self->host, op->data, size);

    if (op->kind == OP_READ && region >= 0)
        io_uring_prep_read_fixed(entry, op->fd, op->data, size, op->moved, region);
    else if (op->kind == OP_READ)
        io_uring_prep_read(entry, op->fd, op->data, size, op->moved);
    else if (region >= 0)
        io_uring_prep_write_fixed(entry, op->fd, op->data, size, op->moved, region);
    else
        io_uring_prep_write(entry, op->fd, op->data, size, op->moved);
}

/* A plan cuts it short to the first piece's first bytes. */
static void prepare_vector_move(struct io_uring_sqe *entry, const proa_op *op, size_t size)
{
    struct iovec first = file_op_first_piece(op);
    unsigned cut = (unsigned)(size < first.iov_len ? size : first.iov_len), count = (unsigned)op->size;

    if (size < MOVE_MAX && op->kind == OP_READV)
        io_uring_prep_read(entry, op->fd, first.iov_base, cut, op->moved);
    else if (size < MOVE_MAX)
        io_uring_prep_write(entry, op->fd, first.iov_base, cut, op->moved);
    else if (op->kind == OP_READV)
        io_uring_prep_readv(entry, op->fd, op->data, count, op->moved);
    else
        io_uring_prep_writev(entry, op->fd, op->data, count, op->moved);
}

static void prepare_on_paths(struct io_uring_sqe *entry, const proa_op *op)
{
    switch (op->kind) {
    case OP_MAKE_DIRECTORY:
        io_uring_prep_mkdirat(entry, op->fd, op->data, (mode_t)op->size);
        break;
    case OP_UNLINK:
        io_uring_prep_unlinkat(entry, op->fd, op->data, (int)op->size);
        break;
    case OP_RENAME:
        io_uring_prep_renameat(entry, op->fd, op->data, op->other_fd, file_op_second(op), (unsigned)op->size);
        break;
    case OP_HARD_LINK:
        io_uring_prep_linkat(entry, op->fd, op->data, op->other_fd, file_op_second(op), (int)op->size);
        break;
    default:
        ASSERT(op->kind == OP_SYMBOLIC_LINK);
        io_uring_prep_symlinkat(entry, file_op_second(op), op->fd, op->data);
    }
}

static void prepare_file_op(struct uring *self, struct io_uring_sqe *entry, proa_op *op, size_t size)
{
    struct open_how *how;

    switch (op->kind) {
    case OP_OPEN:
        how = &self->hows[ring_index(&self->ring, entry)];
        *how = file_op_how(op);
        /* openat2(2) refuses what openat(2) ignores: it is asked only for what it alone can do, as sys_open() does. */
        if (how->resolve)
            io_uring_prep_openat2(entry, op->fd, op->data, how);
        else
            io_uring_prep_openat(entry, op->fd, op->data, (int)how->flags, (mode_t)how->mode);
        break;
    case OP_READ:
    case OP_WRITE:
        prepare_file_move(self, entry, op, (unsigned)size);
        break;
    case OP_FSYNC:
    case OP_FDATASYNC:
        io_uring_prep_fsync(entry, op->fd, op->kind == OP_FDATASYNC ? IORING_FSYNC_DATASYNC : 0);
        break;
    case OP_STAT:
        io_uring_prep_statx(entry, op->fd, op->data, (int)file_op_stat_flags(op) | AT_EMPTY_PATH, file_op_stat_mask(op),
                            file_op_second(op));
        break;
    case OP_READV:
    case OP_WRITEV:
        prepare_vector_move(entry, op, size);
        break;
    case OP_ALLOCATE:
        io_uring_prep_fallocate(entry, op->fd, (int)file_op_mode(op), (off_t)op->moved, (off_t)op->size);
        break;
    default:
        ASSERT(op->kind == OP_MAKE_DIRECTORY || op->kind == OP_UNLINK || op->kind == OP_RENAME ||
               op->kind == OP_HARD_LINK || op->kind == OP_SYMBOLIC_LINK);
        prepare_on_paths(entry, op);
    }
}

static void prepare(struct uring *self, struct io_uring_sqe *entry, proa_op *op, size_t size)
{
    const proa_buffer_pool *pool = op->data;
    const proa_address *address = op->data;

    switch (op->kind) {
    case OP_ACCEPT:
    case OP_ACCEPT_MANY:
        prepare_accept(self, entry, op);
        break;
    case OP_CONNECT:
        io_uring_prep_connect(entry, op->fd, &address->as.any, address->size);
        break;
    case OP_RECV:
        io_uring_prep_recv(entry, op->fd, op->data, size, 0);
        break;
    case OP_RECV_FROM:
        io_uring_prep_recvmsg(entry, op->fd, datagram_message(op), MSG_TRUNC);
        break;
    case OP_RECV_FROM_MANY:
        /* The kernel reads it only. */
        io_uring_prep_recvmsg_multishot(
            entry, op->fd, (struct msghdr *)(uintptr_t)datagram_request(&self->host->descriptors[op->fd]), MSG_TRUNC);
        select_buffer(entry, pool, 1);
        break;
    case OP_RECV_MANY:
        prepare_recv_many(self, entry, op);
        break;
    case OP_POLL:
        io_uring_prep_poll_add(entry, op->fd, (unsigned)op->size);
        if (op->flags & OP_REFUSED)
            entry->len = IORING_POLL_ADD_MULTI;
        break;
    case OP_SIGNAL:
    case OP_WATCH:
    case OP_WAIT_CHILD:
        io_uring_prep_poll_add(entry, op->fd, POLLIN);
        break;
    default:
        prepare_file_op(self, entry, op, size);
    }
    aim(entry, op->fd);
}

/* The plain call that each kind of op stands for, for fault plans. */
static const uint8_t plain_call[] = {
    [OP_ACCEPT] = SYS_ACCEPT,   [OP_ACCEPT_MANY] = SYS_ACCEPT, [OP_CONNECT] = SYS_CONNECT,
    [OP_RECV] = SYS_RECV,       [OP_RECV_MANY] = SYS_RECV,     [OP_OPEN] = SYS_OPEN,
    [OP_READ] = SYS_READ,       [OP_WRITE] = SYS_WRITE,        [OP_FSYNC] = SYS_FSYNC,
    [OP_FDATASYNC] = SYS_FSYNC, [OP_STAT] = SYS_STATX,         [OP_POLL] = SYS_POLL,
    [OP_SIGNAL] = SYS_READ,     [OP_RECV_FROM] = SYS_RECVMSG,  [OP_RECV_FROM_MANY] = SYS_RECVMSG,
    [OP_READV] = SYS_READ,      [OP_WRITEV] = SYS_WRITE,       [OP_ALLOCATE] = SYS_ALLOCATE,
    [OP_UNLINK] = SYS_UNLINK,   [OP_RENAME] = SYS_RENAME,      [OP_MAKE_DIRECTORY] = SYS_MKDIR,
    [OP_HARD_LINK] = SYS_LINK,  [OP_WATCH] = SYS_POLL,         [OP_SYMBOLIC_LINK] = SYS_SYMLINK,
    [OP_WAIT_CHILD] = SYS_POLL,
};

static int is_accept(const proa_op *op)
{
    return op->kind == OP_ACCEPT || op->kind == OP_ACCEPT_MANY;
}

/* An accept onto a direct descriptor has its place beforehand, or waits until there is one. */
static int reserve(struct uring *self, const proa_op *op)
{
    if (!(self->host->features & PROA_FEATURE_DIRECT) || !is_accept(op))
        return 0;
    if (self->direct_free == 0)
        return -ENFILE;
    self->direct_free--;
    return 0;
}

/* Whether it asks a device: a read that the page cache was no help with, or what passes the cache by. Of what lies in it
 * after all the kernel copies no more at once than a turn's hot reads may (hot.c). */
static int asks_device(struct engine_host *host, const proa_op *op)
{
    if (!lane_is_transfer(op) || op->size > EARLY_MAX || host->descriptors[op->fd].flags & FD_DATAGRAM)
        return 0;
    return op->kind == OP_READ || direct_bypasses_cache(host, op->fd);
}

static RARE void start_entry(struct uring *self, proa_op *op)
{
    struct io_uring_sqe *entry;
    size_t size = op->kind == OP_READV || op->kind == OP_WRITEV ? MOVE_MAX : op->size;
    int error;

    if (size > MOVE_MAX)
        size = MOVE_MAX;
    error = sys_ring_fault(&self->host->sys, plain_call[op->kind], &size);
    if (!error)
        error = reserve(self, op);
    entry = next_entry(self);
    if (unlikely(error)) {
        fail_entry(entry, op, error);
        return;
    }
    prepare(self, entry, op, size);
    set_user_data(entry, op, TAG_OP);
    if (asks_device(self->host, op) && groups_add(&self->groups))
        enter(self, 0, 0);
}

/* At once, as host_close() does, and for the same reason. */
static void close_direct(struct uring *self, proa_op *op)
{
    struct descriptor *descriptor = &self->host->descriptors[op->fd];
    int error = descriptor->flags & FD_OURS ? ring_drop_file(&self->ring, (uint32_t)op->fd - PROA_DIRECT_BASE) : -EBADF;

    self->direct_free += error == 0;
    descriptor_reset(descriptor);
    op_done(self->host, op, error);
}

/* What no ring can do, or only newer ones; both hand it to a thread anyway. */
static int is_for_pool(const proa_op *op)
{
    return op->kind == OP_READ_DIRECTORY || op->kind == OP_READ_LINK || op->kind == OP_TRUNCATE;
}

static void start_on_pool(struct uring *self, proa_op *op)
{
    op_detach(self->host, op);
    pool_start(self->host->pool, op);
}

static RARE void start_other(struct uring *self, proa_op *op)
{
    op->flags &= ~(unsigned)OP_HELD;
    if (op->kind == OP_CLOSE && op->fd >= PROA_DIRECT_BASE)
        close_direct(self, op);
    else if (op->kind == OP_CLOSE)
        host_close(self->host, op);
    else if (is_for_pool(op))
        start_on_pool(self, op);
    else if (op_is_behind_receive(self->host, op))
        op->flags |= OP_HELD;
    else if (op->kind != OP_READ || !hot_read(self->host, op))
        start_entry(self, op);
}

static int goes_out_in_order(const proa_op *op)
{
    return is_stream_send(op) || op->kind == OP_SHUTDOWN || op->kind == OP_SEND_TO;
}

static void uring_start(struct engine *engine, proa_op *op)
{
    if (likely(goes_out_in_order(op)))
        start_out(self_of(engine), op);
    else
        start_other(self_of(engine), op);
}

static void cancel_entry(struct uring *self, const proa_op *op)
{
    struct io_uring_sqe *entry = next_entry(self);

    io_uring_prep_cancel64(entry, (uintptr_t)op | TAG_OP, 0);
    set_user_data(entry, NULL, TAG_IGNORED);
}

/* Named by the descriptor, for the op may be gone when the answer comes. */
static void cancel_with_kernel(struct uring *self, const struct descriptor *descriptor)
{
    struct io_uring_sqe *entry = next_entry(self);

    io_uring_prep_cancel64(entry, (uintptr_t)descriptor->out.first | TAG_OP, 0);
    entry->user_data = (uint64_t)(descriptor - self->host->descriptors) << 3 | TAG_CANCEL_SEND;
}

static void cancel_send(struct uring *self, proa_op *op)
{
    const struct descriptor *descriptor = &self->host->descriptors[op->fd];

    if (descriptor->flags & FD_SENDING && op->flags & OP_SUBMITTED) {
        self->hurry = 1;
        cancel_with_kernel(self, descriptor);
    } else {
        send_cancelled(self->host, op);
    }
}

/* A send to a peer that has shut down its side is retried by the kernel in a way that a cancel may not find (ENOENT); as
 * long as the send is there and is not wanted, it is asked again. */
static void cancel_missed(struct uring *self, uint64_t fd)
{
    const struct descriptor *descriptor = &self->host->descriptors[fd];

    if (!(descriptor->flags & FD_SENDING))
        return;
    for (const proa_op *op = descriptor->out.first; op; op = op->next) {
        if (op->flags & OP_SUBMITTED && op->flags & OP_OVER) {
            cancel_with_kernel(self, descriptor);
            return;
        }
    }
}

static void uring_cancel(struct engine *engine, proa_op *op)
{
    struct uring *self = self_of(engine);

    if (goes_out_in_order(op))
        cancel_send(self, op);
    else if (op->flags & OP_HELD)
        op_done(self->host, op, -ECANCELED);
    else
        cancel_entry(self, op);
}

/* Behind the cancels of all that is with the kernel, which are to be heard of first. */
static void uring_reset(struct engine *engine, int fd)
{
    static const struct sockaddr none = {.sa_family = AF_UNSPEC};
    struct uring *self = self_of(engine);
    struct io_uring_sqe *entry = next_entry(self);

    io_uring_prep_connect(entry, fd, &none, sizeof(none));
    aim(entry, fd);
    set_user_data(entry, NULL, TAG_IGNORED);
}

/* Waiting */

static RARE void drop_refused(struct uring *self)
{
    uint32_t end = self->silent_end;

    self->silent_end = self->success_end;
    for (uint32_t i = self->success_end; i < end; i++)
        if (!(self->silent[i].op->flags & OP_REFUSED))
            self->silent[self->silent_end++] = self->silent[i];
}

/* Right after the kernel consumed them, the sends that failed or fell short have posted; the others have succeeded. */
static void settle_silent(struct uring *self)
{
    struct io_uring_cqe *cqe;
    unsigned refused = 0;

    if (self->success_end == self->silent_end || !ring_all_consumed(&self->ring) || ring_overflowed(&self->ring))
        return;
    for (uint32_t head = self->ring.cq_head; (cqe = ring_peek(&self->ring, head)); head++) {
        if ((cqe->user_data & TAG_MASK) == TAG_RELAXED) {
            op_of(cqe)->flags |= OP_REFUSED;
            refused++;
        }
    }
    if (unlikely(refused))
        drop_refused(self);
    self->success_end = self->silent_end;
    self->silent_ops = 0;
    self->hurry = 0;
}

static int may_sleep(const struct uring *self)
{
    const struct engine_host *host = self->host;

    if (host->done.first || self->moving.first || self->success_first < self->success_end)
        return 0;
    return self->success_end == self->silent_end ||
           !(self->hurry || host->starving > 0 || host->sends_awaited > 0 || self->silent_ops == host_in_flight(host) ||
             ring_overflowed(&self->ring));
}

static void uring_wait(struct engine *engine, uint64_t now_ns, uint64_t until_ns)
{
    struct uring *self = self_of(engine);
    uint64_t timeout_ns = until_ns == PROA_NEVER ? PROA_NEVER : until_ns - now_ns;
    unsigned wait;

    submit_due(self);
    wait = until_ns > now_ns && may_sleep(self);
    if (!wait)
        timeout_ns = 0;
    /* The kernel takes the next link of a chain only while it is asked for more completions. */
    if (self->chained > wait)
        wait = self->chained;
    self->chained = 0;
    groups_begin(&self->groups);
    enter(self, wait, timeout_ns);
    settle_silent(self);
}

/* Reaping */

static void buffer_to_ring(proa_buffer_pool *pool, uint32_t buffer)
{
    struct io_uring_buf_ring *ring = pool->ring;
    struct io_uring_buf *slot = &ring->bufs[pool->ring_tail & (pool->count - 1)];

    slot->addr = (uintptr_t)(pool->memory + (size_t)buffer * pool->size);
    slot->len = pool->size;
    slot->bid = (uint16_t)buffer;
    io_uring_smp_store_release(&ring->tail, (uint16_t)++pool->ring_tail);
}

static inline void count_copied(struct uring *self, const struct completion *completion)
{
    if (completion->result.value > 0)
        self->host->sys.bytes_copied += (uint64_t)completion->result.value;
}

static inline void translate_lent(const struct io_uring_cqe *cqe, struct completion *completion)
{
    proa_buffer_pool *pool = completion->op->data;
    uint32_t buffer = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

    if (likely(cqe->res > 0 && cqe->flags & IORING_CQE_F_BUFFER)) {
        pool->available--;
        completion->result.flags |= PROA_LENT;
        completion->result.buffer = buffer;
    } else if (cqe->flags & IORING_CQE_F_BUFFER) {
        buffer_to_ring(pool, buffer);
    }
}

static int64_t take_event(struct sys *sys, proa_op *op)
{
    switch (op->kind) {
    case OP_SIGNAL:
        return instant_read_signal(sys, op->fd);
    case OP_WATCH:
        return sys_read(sys, op->fd, op->data, op->size, UINT64_MAX);
    default:
        return instant_wait_child(sys, op->fd);
    }
}

/* Readiness becomes the signal, what happened on the path, or the child's end. Returns 0 where another reader was faster:
 * then it waits on. */
static int translate_ready(struct uring *self, struct completion *completion)
{
    proa_op *op = completion->op;

    if (completion->result.value > 0)
        completion->result.value = take_event(&self->host->sys, op);
    if (completion->result.value == -EAGAIN && op->flags & OP_OVER)
        completion->result.value = -ECANCELED;
    if (completion->result.value != -EAGAIN)
        return 1;
    start_entry(self, op);
    return 0;
}

/* A refused relaxed send comes back with what was taken, and waits from now on. */
static void translate_send(struct uring *self, struct completion *completion)
{
    if (completion->result.value == -EAGAIN)
        completion->result.value = 0;
    count_copied(self, completion);
}

/* Two completions for a call that took memory, and for some that failed: what became of it, then the notice. Returns 0 where
 * there is nothing to report. */
static int translate_zero_copy(struct uring *self, const struct io_uring_cqe *cqe, struct completion *completion)
{
    proa_op *op = completion->op;

    completion->result.flags = 0;
    if (cqe->flags & IORING_CQE_F_NOTIF) {
        zero_copy_noticed(self->host, op, 1, ((uint32_t)cqe->res & IORING_NOTIF_USAGE_ZC_COPIED) != 0);
        return op->choice == 0 && op->flags & OP_AWAITING;
    }
    if (cqe->flags & IORING_CQE_F_MORE)
        zero_copy_taken(self->host, op);
    if (op->flags & OP_BY_VALUE || op->choice == UINT16_MAX) {
        translate_send(self, completion);
    } else if (zero_copy_is_refused(completion->result.value)) {
        self->lacks_zero_copy |= completion->result.value == -EINVAL;
        op->flags |= OP_BY_VALUE;
        completion->result.value = 0;
    }
    return 1;
}

/* Returns 0 where it goes anew: for lack of room, interrupted, after a poll, or taken along by one before it. */
static int translate_sent_datagram(struct uring *self, struct completion *completion)
{
    proa_op *op = completion->op;
    struct descriptor *descriptor = &self->host->descriptors[op->fd];
    int64_t *value = &completion->result.value;
    int waited = op->flags & OP_REFUSED, again;

    op->flags &= ~(unsigned)(OP_SUBMITTED | OP_REFUSED);
    if (*value == -EAGAIN && datagram_may_wait(descriptor, op))
        op->flags |= OP_REFUSED;
    else if (*value == -EAGAIN)
        *value = -ENOBUFS;
    again = *value == -EAGAIN || *value == -EINTR || *value == -ECANCELED || (waited && *value >= 0);
    if (again && op->flags & OP_OVER) {
        *value = -ECANCELED;
        again = 0;
    }
    if (!again)
        op_detach(self->host, op);
    if (--descriptor->sending == 0) {
        descriptor->flags &= (uint16_t)~FD_SENDING;
        if (descriptor->out.first)
            start_out(self, descriptor->out.first);
    }
    return !again;
}

/* One of those that wait for a connection is woken for it. Where that one is ended before it has taken it, another is
 * armed anew, which looks for itself. */
static void pass_on_connection(struct uring *self, const proa_op *ended)
{
    for (proa_op *op = self->host->descriptors[ended->fd].in.first; op; op = op->next) {
        if (op != ended && is_accept(op) && !(op->flags & OP_OVER)) {
            cancel_entry(self, op);
            return;
        }
    }
}

/* The place becomes the handle, or is free again. Returns 0 for what was cancelled only to be armed anew. */
static int translate_accepted(struct uring *self, const struct io_uring_cqe *cqe, struct completion *completion)
{
    proa_op *op = completion->op;

    if (self->host->features & PROA_FEATURE_DIRECT) {
        if (completion->result.value >= 0)
            completion->result.value += PROA_DIRECT_BASE;
        else if ((cqe->user_data & TAG_MASK) == TAG_OP)
            self->direct_free++;
    }
    if (completion->result.value != -ECANCELED)
        return 1;
    if (op->flags & OP_OVER)
        pass_on_connection(self, op);
    else
        start_entry(self, op);
    return (op->flags & OP_OVER) != 0;
}

static void translate_shutdown(struct uring *self, const proa_op *op)
{
    self->host->descriptors[op->fd].flags &= (uint16_t)~FD_SENDING;
    if (op->next)
        start_out(self, op->next);
}

/* The kernel always watches for POLLRDHUP, and has nothing else to tell of a full socket whose peer has shut its side. Who
 * did not ask for it waits on, by a repeating poll, which tells that once and then what is new. With its answer in `moved`
 * that one is ended. Returns 0 where there is no result yet. */
static int translate_poll(struct uring *self, const struct io_uring_cqe *cqe, struct completion *completion)
{
    proa_op *op = completion->op;
    unsigned answer = cqe->res > 0 ? (unsigned)cqe->res & ((unsigned)op->size | POLLERR | POLLHUP | POLLNVAL) : 0;

    if (!(op->flags & OP_REFUSED))
        op->moved = 0;
    else if (op->moved)
        answer = (unsigned)op->moved;
    if (cqe->flags & IORING_CQE_F_MORE) {
        if (answer && !op->moved)
            cancel_entry(self, op);
        op->moved = answer;
        return 0;
    }
    if (!answer && cqe->res > 0 && !(op->flags & OP_OVER)) {
        op->flags |= OP_REFUSED;
        start_entry(self, op);
        return 0;
    }
    op->flags &= ~(unsigned)OP_REFUSED;
    if (answer || cqe->res > 0)
        completion->result.value = answer ? (int64_t)answer : -ECANCELED;
    return 1;
}

/* Returns 0 where there is no room yet. */
static int translate_room(struct uring *self, const struct io_uring_cqe *cqe, struct completion *completion)
{
    proa_op *op = completion->op;
    int64_t value = completion->result.value;
    int there_is = value > 0 && value & (POLLOUT | POLLERR | POLLHUP);

    if (cqe->flags & IORING_CQE_F_MORE) {
        if (there_is)
            cancel_entry(self, op);
        return 0;
    }
    if (value > 0 && !there_is && !(op->flags & OP_OVER)) {
        op->flags |= OP_REFUSED;
        await_room(self, op);
        return 0;
    }
    op->flags &= ~(unsigned)OP_REFUSED;
    if (value > 0)
        completion->result.value = -EINTR;
    return 1;
}

/* Of the ring's own send, or of the poll for room. Returns 0 where there is no result yet. */
static int translate_file(struct uring *self, const struct io_uring_cqe *cqe, struct completion *completion)
{
    proa_op *op = completion->op;
    struct fetch *fetch = fetch_of(self->host, op);

    if (!fetch || !fetch->busy)
        return translate_room(self, cqe, completion);
    fetch->busy = 0;
    count_copied(self, completion);
    if (completion->result.value != -EAGAIN)
        return 1;
    await_room(self, op);
    return 0;
}

static RARE int translate_other(struct uring *self, const struct io_uring_cqe *cqe, struct completion *completion)
{
    proa_op *op = completion->op;

    switch (op->kind) {
    case OP_ACCEPT:
    case OP_ACCEPT_MANY:
        if (!translate_accepted(self, cqe, completion))
            return 0;
        break;
    case OP_SHUTDOWN:
        translate_shutdown(self, op);
        break;
    case OP_POLL:
        if (!translate_poll(self, cqe, completion))
            return 0;
        break;
    case OP_SEND:
        translate_send(self, completion);
        return 1;
    case OP_SEND_FILE:
        return translate_file(self, cqe, completion);
    case OP_SEND_ZERO_COPY:
        return translate_zero_copy(self, cqe, completion);
    case OP_SEND_TO:
        if (!translate_sent_datagram(self, completion))
            return 0;
        count_copied(self, completion);
        break;
    case OP_RECV_FROM:
        completion->result.value = datagram_received(&self->host->sys, op, completion->result.value);
        break;
    case OP_RECV_FROM_MANY:
        translate_lent(cqe, completion);
        completion->result.value = datagram_received_many(&self->host->sys, completion->result.value);
        break;
    case OP_CONNECT:
        if (completion->result.value == 0)
            completion->result.value = op->fd;
        else if (completion->result.value == -EAGAIN) /* as on readiness engines: a Unix listener's backlog is full */
            completion->result.value = -EBUSY;
        break;
    case OP_SIGNAL:
    case OP_WATCH:
    case OP_WAIT_CHILD:
        if (!translate_ready(self, completion))
            return 0;
        break;
    case OP_RECV:
    case OP_READ:
    case OP_WRITE:
    case OP_READV:
    case OP_WRITEV:
        count_copied(self, completion);
        break;
    }
    if (!(cqe->flags & IORING_CQE_F_MORE))
        op->state = OP_DONE;
    return 1;
}

/* The first that is heard of a repeating receive since it was armed, or an error. One that found the pool empty when it
 * tried knows nothing of data, and waits for some; one that waited first may not hear of the end behind the data, and is
 * armed anew. What was cancelled though nobody wants its end is just that. Returns 1 where there is no result. */
static RARE int arm_again(struct uring *self, const struct io_uring_cqe *cqe, proa_op *op)
{
    unsigned flags = op->flags;
    int waited = flags & OP_REFUSED, tried = flags & OP_SUBMITTED && !waited;

    op->flags &= ~(unsigned)(OP_SUBMITTED | OP_REFUSED);
    if (flags & OP_OVER)
        return 0;
    if (cqe->res > 0 && waited && (cqe->flags & (IORING_CQE_F_MORE | IORING_CQE_F_SOCK_NONEMPTY)) == IORING_CQE_F_MORE)
        cancel_entry(self, op);
    if (cqe->res != -ECANCELED && !(cqe->res == -ENOBUFS && tried))
        return 0;
    if (cqe->res == -ENOBUFS)
        op->flags |= OP_REFUSED;
    start_entry(self, op);
    return 1;
}

static inline int translate_op(struct uring *self, const struct io_uring_cqe *cqe, struct completion *completion)
{
    proa_op *op = completion->op;

    completion->result.flags = cqe->flags & IORING_CQE_F_MORE ? PROA_MORE : 0;
    if (likely(op->kind == OP_RECV_MANY)) {
        if (unlikely(cqe->res < 0 || op->flags & OP_SUBMITTED) && arm_again(self, cqe, op))
            return 0;
        if (unlikely(cqe->res == -EBADFD)) /* what cannot be polled is no socket */
            completion->result.value = -ENOTSOCK;
        translate_lent(cqe, completion);
        count_copied(self, completion);
        op->state = cqe->flags & IORING_CQE_F_MORE ? OP_IN_FLIGHT : OP_DONE;
        return 1;
    }
    return translate_other(self, cqe, completion);
}

static void arm_wake(struct uring *self)
{
    struct io_uring_sqe *entry = next_entry(self);

    io_uring_prep_poll_multishot(entry, self->wake_fd, POLLIN);
    set_user_data(entry, NULL, TAG_WAKE);
}

static void woken(struct uring *self, const struct io_uring_cqe *cqe)
{
    uint64_t ignored;

    sys_read(&self->host->sys, self->wake_fd, &ignored, sizeof(ignored), UINT64_MAX);
    if (!(cqe->flags & IORING_CQE_F_MORE))
        arm_wake(self);
}

static RARE int translate_tagged(struct uring *self, const struct io_uring_cqe *cqe, struct completion *completion)
{
    switch (cqe->user_data & TAG_MASK) {
    case TAG_FAULT:
        completion->result.value = completion->op->error;
        return translate_op(self, cqe, completion);
    case TAG_RELAXED:
        forget_silent(self, completion->op);
        return translate_op(self, cqe, completion);
    case TAG_WAKE:
        woken(self, cqe);
        break;
    case TAG_CANCEL_SEND:
        if (cqe->res == -ENOENT)
            cancel_missed(self, cqe->user_data >> 3);
        break;
    }
    return 0;
}

/* Returns 1 with `*completion` filled in, or 0 where there is nothing to report. */
static inline int translate(struct uring *self, const struct io_uring_cqe *cqe, struct completion *completion)
{
    completion->op = op_of(cqe);
    completion->result.value = cqe->res;
    if (unlikely(cqe->res == -ERESTARTSYS))
        completion->result.value = -EINTR;
    if (likely((cqe->user_data & TAG_MASK) == TAG_OP))
        return translate_op(self, cqe, completion);
    return translate_tagged(self, cqe, completion);
}

static size_t report_successes(struct uring *self, struct completion *completions, size_t max)
{
    size_t count = 0;

    for (; count < max && self->success_first < self->success_end; self->success_first++) {
        const struct silent_send *sent = &self->silent[self->success_first];

        self->host->sys.bytes_copied += sent->size;
        completions[count++] = (struct completion){sent->op, {(int64_t)sent->size, 0, 0}};
    }
    if (self->success_first == self->silent_end)
        self->success_first = self->success_end = self->silent_end = 0;
    return count;
}

static size_t send_files(struct uring *self, struct completion *completions, size_t max)
{
    struct descriptor *descriptor;
    size_t count = 0;

    while (count < max && (descriptor = descriptor_dequeue(self->host, &self->moving))) {
        proa_op *op = descriptor->out.first;

        if (!op || descriptor->flags & (FD_SENDING | FD_CLOSING))
            continue;
        if (op->kind == OP_SEND_FILE)
            count += send_file(self, descriptor, op, &completions[count]);
        else
            start_out(self, op);
    }
    return count;
}

static size_t uring_reap(struct engine *engine, struct completion *completions, size_t max)
{
    struct uring *self = self_of(engine);
    size_t count = self->success_end ? report_successes(self, completions, max) : 0;
    const struct io_uring_cqe *cqe;

    for (; count < max && (cqe = ring_peek(&self->ring, self->ring.cq_head)); self->ring.cq_head++)
        count += (size_t)translate(self, cqe, &completions[count]);
    ring_publish_head(&self->ring);
    if (unlikely(self->moving.first))
        count += send_files(self, completions + count, max - count);
    return count;
}

/* Called from any thread, so its call is not the loop's to count. */
static void uring_wake(struct engine *engine)
{
    struct sys other_thread = {0};
    uint64_t one = 1;

    sys_write(&other_thread, self_of(engine)->wake_fd, &one, sizeof(one), UINT64_MAX);
}

/* Buffer pools: a ring shared with the kernel, which takes a buffer when data is there. */

static size_t buffer_ring_size(const proa_buffer_pool *pool)
{
    return pool->count * sizeof(struct io_uring_buf);
}

static int uring_buffers_open(struct engine *engine, proa_buffer_pool *pool)
{
    struct uring *self = self_of(engine);
    int error;

    pool->ring = mmap(NULL, buffer_ring_size(pool), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pool->ring == MAP_FAILED)
        return -ENOMEM;
    error = ring_register_buffers(&self->ring, pool->ring, pool->count, pool->id);
    if (error < 0) {
        munmap(pool->ring, buffer_ring_size(pool));
        return error;
    }
    pool->ring_tail = 0;
    for (uint32_t i = 0; i < pool->count; i++)
        buffer_to_ring(pool, i);
    return 0;
}

static void uring_buffers_close(struct engine *engine, proa_buffer_pool *pool)
{
    ring_unregister_buffers(&self_of(engine)->ring, pool->id);
    munmap(pool->ring, buffer_ring_size(pool));
}

static void uring_buffer_return(struct engine *engine, proa_buffer_pool *pool, uint32_t buffer)
{
    (void)engine;
    buffer_to_ring(pool, buffer);
}

/* Registered memory: pinned once, instead of by each read and write that the file system makes directly. */

static int uring_memory_register(struct engine *engine, uint32_t place, void *memory, size_t size)
{
    struct uring *self = self_of(engine);
    int error = 0;

    if (!self->has_memory_table)
        error = ring_register_memory_table(&self->ring, REGIONS_MAX);
    if (error < 0)
        return error;
    self->has_memory_table = 1;
    /* What was started before may name the place; the ring's thread, where it has one, takes its time. */
    do
        enter(self, 0, 0);
    while (!ring_all_consumed(&self->ring));
    return ring_register_memory(&self->ring, place, memory, size);
}

/* Opening and closing */

static void uring_close(struct engine *engine)
{
    struct uring *self = self_of(engine);

    /* The kernel takes its time over a ring that is closed; memory is to be let go of, and peers to see the end of stream,
     * now. */
    if (self->has_memory_table)
        ring_unregister_memory_table(&self->ring);
    if (self->host->features & PROA_FEATURE_DIRECT)
        ring_unregister_files(&self->ring);
    ring_close(&self->ring);
    if (self->wake_fd >= 0)
        sys_close(&self->host->sys, self->wake_fd);
    free(self->silent);
    free(self->hows);
    free(self);
}

static int open_parts(struct uring *self, char *ret_reason)
{
    self->silent = calloc(2 * (size_t)self->ring.entries, sizeof(self->silent[0]));
    self->hows = calloc(self->ring.entries, sizeof(self->hows[0]));
    self->wake_fd = sys_eventfd(&self->host->sys);
    if (self->silent && self->hows && self->wake_fd >= 0) {
        arm_wake(self);
        return 0;
    }
    snprintf(ret_reason, PROA_REASON_MAX, "no memory or descriptor for the loop itself");
    return self->wake_fd < 0 ? self->wake_fd : -ENOMEM;
}

static void open_direct(struct uring *self)
{
    struct engine_host *host = self->host;
    uint32_t count = host->options->direct_descriptors;

    if (!(host->options->features & PROA_FEATURE_DIRECT) || !uring_has(&host->sys, URING_FEATURE_direct) ||
        ring_register_files(&self->ring, &count) < 0)
        return;
    self->direct_free = host->direct_count = count;
    host->features |= PROA_FEATURE_DIRECT;
}

static void open_busy_poll(struct uring *self)
{
    const proa_loop_options *options = self->host->options;

    if (options->features & PROA_FEATURE_BUSY_POLL && ring_busy_poll(&self->ring, options->busy_poll_us) == 0)
        self->host->features |= PROA_FEATURE_BUSY_POLL;
}

/* The kinds of entry that each family needs. The loop itself polls, cancels, and has planned faults. */
static const struct {
    uint32_t families;
    uint8_t opcode;
} family_opcodes[] = {
    {~0u, IORING_OP_NOP},
    {~0u, IORING_OP_POLL_ADD},
    {~0u, IORING_OP_ASYNC_CANCEL},
    {PROA_FAMILY_SOCKETS, IORING_OP_ACCEPT},
    {PROA_FAMILY_SOCKETS, IORING_OP_CONNECT},
    {PROA_FAMILY_SOCKETS, IORING_OP_RECV},
    {PROA_FAMILY_SOCKETS, IORING_OP_RECVMSG},
    {PROA_FAMILY_SOCKETS, IORING_OP_SEND},
    {PROA_FAMILY_SOCKETS, IORING_OP_SENDMSG},
    {PROA_FAMILY_SOCKETS, IORING_OP_SEND_ZC},
    {PROA_FAMILY_SOCKETS, IORING_OP_SHUTDOWN},
    {PROA_FAMILY_FILES, IORING_OP_OPENAT},
    {PROA_FAMILY_FILES, IORING_OP_OPENAT2},
    {PROA_FAMILY_FILES, IORING_OP_READ},
    {PROA_FAMILY_FILES, IORING_OP_READ_FIXED},
    {PROA_FAMILY_FILES, IORING_OP_WRITE},
    {PROA_FAMILY_FILES, IORING_OP_WRITE_FIXED},
    {PROA_FAMILY_FILES, IORING_OP_FSYNC},
    {PROA_FAMILY_FILES, IORING_OP_STATX},
    {PROA_FAMILY_FILES, IORING_OP_READV},
    {PROA_FAMILY_FILES, IORING_OP_WRITEV},
    {PROA_FAMILY_FILES, IORING_OP_FALLOCATE},
    {PROA_FAMILY_FILES, IORING_OP_MKDIRAT},
    {PROA_FAMILY_FILES, IORING_OP_UNLINKAT},
    {PROA_FAMILY_FILES, IORING_OP_RENAMEAT},
    {PROA_FAMILY_FILES, IORING_OP_LINKAT},
    {PROA_FAMILY_FILES, IORING_OP_SYMLINKAT},
};

static int is_restricted(const struct engine_host *host)
{
    return host->options->families != UINT32_MAX;
}

/* The loop checks the families of what is started; the kernel does so of whatever may come to stand in the ring. */
static int restrict_and_enable(struct uring *self)
{
    struct engine_host *host = self->host;
    uint8_t opcodes[ARRAY_SIZE(family_opcodes)];
    size_t count = 0;

    for (size_t i = 0; i < ARRAY_SIZE(family_opcodes); i++)
        if (family_opcodes[i].families & host->options->families)
            opcodes[count++] = family_opcodes[i].opcode;
    if (ring_restrict(&self->ring, opcodes, count) == 0)
        host->features |= PROA_FEATURE_RESTRICTED;
    return ring_enable(&self->ring);
}

/* A ring that is to be restricted cannot test itself: another one of its kind does. */
static int test_another(struct uring *self, enum ring_mode mode, char *ret_reason)
{
    int error = ring_open(&self->ring, &self->host->sys, TEST_ENTRIES, mode, ret_reason);

    if (error < 0)
        return error;
    error = uring_self_test(&self->ring, ret_reason);
    ring_close(&self->ring);
    return error;
}

static int open_mode(struct uring *self, enum ring_mode mode, char *ret_reason)
{
    struct engine_host *host = self->host;
    int restricted = is_restricted(host), error = restricted ? test_another(self, mode, ret_reason) : 0;

    if (!error)
        error = ring_open(&self->ring, &host->sys, host->options->queue_entries,
                          restricted ? mode | RING_DISABLED : mode, ret_reason);
    if (error < 0 || restricted)
        return error;
    error = uring_self_test(&self->ring, ret_reason);
    if (error < 0)
        ring_close(&self->ring);
    return error;
}

/* The ring as it is wished for, or else as it always is. */
static int open_ring(struct uring *self, char *ret_reason)
{
    if (self->host->options->features & PROA_FEATURE_SQPOLL && open_mode(self, RING_THREAD, ret_reason) == 0) {
        self->host->features |= PROA_FEATURE_SQPOLL;
        /* The kernel's thread cannot be killed before the memory is free, and keeps the sockets open meanwhile (6.18). */
        self->lacks_zero_copy = 1;
        return 0;
    }
    return open_mode(self, RING_OWN, ret_reason);
}

static int uring_open(struct engine_host *host, struct engine **ret_engine, char *ret_reason)
{
    struct uring *self = calloc(1, sizeof(*self));
    int error;

    if (!self)
        return -ENOMEM;
    self->host = host;
    self->wake_fd = -1;
    groups_begin(&self->groups);
    error = open_ring(self, ret_reason);
    if (error == 0)
        error = open_parts(self, ret_reason);
    if (error < 0) {
        uring_close((struct engine *)self);
        return error;
    }
    open_direct(self);
    open_busy_poll(self);
    if (is_restricted(host))
        error = restrict_and_enable(self);
    if (error < 0) {
        snprintf(ret_reason, PROA_REASON_MAX, "the restricted ring cannot be enabled");
        uring_close((struct engine *)self);
        return error;
    }
    *ret_engine = (struct engine *)self;
    return 0;
}

const struct engine_table engine_uring = {
    .name = "uring",
    .summary = "completion by the kernel itself, Linux 6.1 or later; file ops are native",
    .native_files = 1,
    .features = uring_features,
    .feature_count = URING_FEATURE_COUNT,
    .open = uring_open,
    .close = uring_close,
    .start = uring_start,
    .cancel = uring_cancel,
    .wait = uring_wait,
    .reap = uring_reap,
    .wake = uring_wake,
    .reset = uring_reset,
    .buffers_open = uring_buffers_open,
    .buffers_close = uring_buffers_close,
    .buffer_return = uring_buffer_return,
    .memory_register = uring_memory_register,
};

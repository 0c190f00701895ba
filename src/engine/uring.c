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

#include "engine/file_op.h"
#include "engine/gather.h"
#include "engine/instant.h"
#include "engine/uring_ring.h"

/* MOVE_MAX: the count in an entry has 32 bits; a single call moves no more than this either (read(2)). */
enum { MESSAGES_MAX = 64, MOVE_MAX = INT32_MAX - 4095 };

/* The kernel's own errno for "interrupted", which it lets out of some cancelled opens. */
enum { ERESTARTSYS = 512 };

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
    struct descriptor_queue due; /* descriptors with something to send */
    int wake_fd;
    int hurry; /* somebody depends on a relaxed send: the next wait must not sleep over it */
    uint32_t message_count;
    uint32_t success_first; /* silent[success_first..success_end) have succeeded and are to be reported */
    uint32_t success_end;
    uint32_t silent_end;        /* silent[success_end..silent_end) are submitted, or about to be */
    uint32_t silent_ops;        /* the ops these stand for */
    struct silent_send *silent; /* room for all that a full queue and an unsettled one before it can hold */
    struct open_how *hows;      /* by place in the submission queue; live like messages */
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
    if (ring_all_consumed(&self->ring))
        self->message_count = 0;
}

/* With the queue full the kernel takes what is there, so that nothing, a cancel least of all, is ever dropped. */
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

    op->error = sys_ring_fault(&self->host->sys, call, &size);
    if (!op->error && size == whole)
        return;
    forget_silent(self, op);
    if (op->error) {
        io_uring_prep_nop(entry);
        set_user_data(entry, op, TAG_FAULT);
    } else {
        io_uring_prep_send(entry, op->fd, (uint8_t *)op->data + op->moved, size, MSG_NOSIGNAL);
        set_user_data(entry, op, TAG_OP);
    }
}

static int has_room(const struct uring *self)
{
    return self->silent_end < 2 * self->ring.entries;
}

static void make_silent(struct uring *self, struct io_uring_sqe *entry, proa_op *op, size_t size, unsigned count)
{
    entry->msg_flags = MSG_NOSIGNAL | MSG_DONTWAIT | MSG_WAITALL;
    entry->flags = IOSQE_CQE_SKIP_SUCCESS;
    set_user_data(entry, op, TAG_RELAXED);
    self->silent[self->silent_end++] = (struct silent_send){op, size, count};
    self->silent_ops += count;
}

static struct io_uring_sqe *submit_single(struct uring *self, proa_op *op)
{
    struct io_uring_sqe *entry = next_entry(self);
    size_t left = op->size - op->moved, size = left < MOVE_MAX ? left : MOVE_MAX;

    op->flags |= OP_SUBMITTED;
    io_uring_prep_send(entry, op->fd, (uint8_t *)op->data + op->moved, size, MSG_NOSIGNAL);
    set_user_data(entry, op, TAG_OP);
    if ((op->flags & (OP_RELAXED | OP_REFUSED)) == OP_RELAXED && !op->next && size == left && has_room(self))
        make_silent(self, entry, op, size, 1);
    return entry;
}

/* A message needs its header to stay until it is consumed; with none left, gathering waits for the next turn. */
static RARE struct io_uring_sqe *submit_message(struct uring *self, proa_op *first)
{
    struct io_uring_sqe *entry;
    struct message *message;
    struct gathering all;

    if (self->message_count == MESSAGES_MAX)
        return submit_single(self, first);
    entry = next_entry(self);
    message = &self->messages[self->message_count++];
    all = gather(first, message->pieces);
    message->header = (struct msghdr){.msg_iov = message->pieces, .msg_iovlen = all.count};
    io_uring_prep_sendmsg(entry, first->fd, &message->header, MSG_NOSIGNAL);
    set_user_data(entry, first, TAG_OP);
    if (all.relaxed && has_room(self))
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

static int shut_down(struct sys *sys, const proa_op *op)
{
    int result;

    do
        result = sys_shutdown(sys, op->fd, (int)op->size);
    while (result == -EINTR);
    return result;
}

static void submit_due(struct uring *self)
{
    struct descriptor *descriptor;

    while ((descriptor = descriptor_dequeue(self->host, &self->due))) {
        proa_op *op = descriptor->out.first;

        if (!op || descriptor->flags & (FD_SENDING | FD_CLOSING))
            continue;
        if (op->kind == OP_SEND) {
            submit_send(self, descriptor, op);
        } else {
            /* The kernel hands every shutdown to a worker thread, which costs 20 times the call itself. */
            op_done(self->host, op, shut_down(&self->host->sys, op));
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

static void prepare(struct uring *self, struct io_uring_sqe *entry, proa_op *op)
{
    const proa_buffer_pool *pool = op->data;
    const proa_address *address = op->data;
    struct open_how *how;

    switch (op->kind) {
    case OP_ACCEPT:
        (void)is_local(self->host, op->fd);
        io_uring_prep_accept(entry, op->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        break;
    case OP_ACCEPT_MANY:
        (void)is_local(self->host, op->fd);
        io_uring_prep_multishot_accept(entry, op->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        break;
    case OP_CONNECT:
        io_uring_prep_connect(entry, op->fd, &address->as.any, address->size);
        break;
    case OP_RECV:
        io_uring_prep_recv(entry, op->fd, op->data, op->size, 0);
        break;
    case OP_RECV_MANY:
        if (is_local(self->host, op->fd))
            io_uring_prep_recv(entry, op->fd, NULL, 0, 0);
        else
            io_uring_prep_recv_multishot(entry, op->fd, NULL, 0, 0);
        /* Without POLL_FIRST an empty pool fails the receive at once though no data is there. */
        entry->ioprio |= IORING_RECVSEND_POLL_FIRST;
        entry->flags |= IOSQE_BUFFER_SELECT;
        entry->buf_group = (uint16_t)pool->id;
        break;
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
        io_uring_prep_read(entry, op->fd, op->data, (unsigned)op->size, op->moved);
        break;
    case OP_WRITE:
        io_uring_prep_write(entry, op->fd, op->data, (unsigned)op->size, op->moved);
        break;
    case OP_FSYNC:
    case OP_FDATASYNC:
        io_uring_prep_fsync(entry, op->fd, op->kind == OP_FDATASYNC ? IORING_FSYNC_DATASYNC : 0);
        break;
    case OP_STAT:
        io_uring_prep_statx(entry, op->fd, op->data, AT_EMPTY_PATH, STATX_BASIC_STATS, file_op_statx(op));
        break;
    case OP_POLL:
        io_uring_prep_poll_add(entry, op->fd, (unsigned)op->size);
        break;
    default:
        ASSERT(op->kind == OP_SIGNAL);
        io_uring_prep_poll_add(entry, op->fd, POLLIN);
    }
}

/* The plain call that each kind of op stands for, for fault plans. */
static const uint8_t plain_call[] = {
    [OP_ACCEPT] = SYS_ACCEPT,  [OP_ACCEPT_MANY] = SYS_ACCEPT, [OP_CONNECT] = SYS_CONNECT, [OP_RECV] = SYS_RECV,
    [OP_RECV_MANY] = SYS_RECV, [OP_OPEN] = SYS_OPEN,          [OP_READ] = SYS_READ,       [OP_WRITE] = SYS_WRITE,
    [OP_FSYNC] = SYS_FSYNC,    [OP_FDATASYNC] = SYS_FSYNC,    [OP_STAT] = SYS_STATX,      [OP_POLL] = SYS_POLL,
    [OP_SIGNAL] = SYS_READ,
};

static RARE void start_entry(struct uring *self, proa_op *op)
{
    struct io_uring_sqe *entry;
    size_t size = op->size;

    if (size > MOVE_MAX)
        size = MOVE_MAX;
    op->error = sys_ring_fault(&self->host->sys, plain_call[op->kind], &size);
    if (op->kind == OP_RECV || op->kind == OP_READ || op->kind == OP_WRITE)
        op->size = size;
    entry = next_entry(self);
    if (unlikely(op->error)) {
        io_uring_prep_nop(entry);
        set_user_data(entry, op, TAG_FAULT);
        return;
    }
    prepare(self, entry, op);
    set_user_data(entry, op, TAG_OP);
}

/* The kernel wakes all receives of a stream at once and fills them in any order, so it is given one at a time. */
static int is_behind_receive(const struct engine_host *host, const proa_op *op)
{
    for (const proa_op *other = host->descriptors[op->fd].in.first; other; other = other->next)
        if (other != op && (other->kind == OP_RECV || other->kind == OP_RECV_MANY) && !(other->flags & OP_HELD))
            return 1;
    return 0;
}

static RARE void start_other(struct uring *self, proa_op *op)
{
    op->flags &= (uint16_t)~OP_HELD;
    if (op->kind == OP_CLOSE)
        host_close(self->host, op);
    else if ((op->kind == OP_RECV || op->kind == OP_RECV_MANY) && is_behind_receive(self->host, op))
        op->flags |= OP_HELD;
    else
        start_entry(self, op);
}

static void uring_start(struct engine *engine, proa_op *op)
{
    if (likely(op->kind == OP_SEND || op->kind == OP_SHUTDOWN))
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
        op_done(self->host, op, -ECANCELED);
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

    if (op->kind == OP_SEND || op->kind == OP_SHUTDOWN)
        cancel_send(self, op);
    else if (op->flags & OP_HELD)
        op_done(self->host, op, -ECANCELED);
    else
        cancel_entry(self, op);
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

    if (host->done.first || self->success_first < self->success_end)
        return 0;
    return self->success_end == self->silent_end ||
           !(self->hurry || host->starving > 0 || self->silent_ops == host_in_flight(host) ||
             ring_overflowed(&self->ring));
}

static void uring_wait(struct engine *engine, uint64_t now_ns, uint64_t until_ns)
{
    struct uring *self = self_of(engine);
    int sleep;

    submit_due(self);
    sleep = until_ns > now_ns && may_sleep(self);
    enter(self, sleep, until_ns == PROA_NEVER ? PROA_NEVER : until_ns - now_ns);
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

static void translate_received_many(struct uring *self, const struct io_uring_cqe *cqe, struct completion *completion)
{
    proa_buffer_pool *pool = completion->op->data;
    uint32_t buffer = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

    if (likely(cqe->res > 0 && cqe->flags & IORING_CQE_F_BUFFER)) {
        pool->available--;
        completion->result.flags |= PROA_LENT;
        completion->result.buffer = buffer;
        self->host->sys.bytes_copied += (uint64_t)cqe->res;
    } else if (cqe->flags & IORING_CQE_F_BUFFER) {
        buffer_to_ring(pool, buffer);
    }
}

/* A signal's readiness becomes the signal. Returns 0 where another reader was faster: then it waits on. */
static int translate_signal(struct uring *self, struct completion *completion)
{
    if (completion->result.value > 0)
        completion->result.value = instant_read_signal(&self->host->sys, completion->op->fd);
    if (completion->result.value != -EAGAIN)
        return 1;
    start_entry(self, completion->op);
    return 0;
}

/* A refused relaxed send comes back with what was taken, and waits from now on. */
static void translate_send(struct uring *self, struct completion *completion)
{
    if (completion->result.value == -EAGAIN)
        completion->result.value = 0;
    if (completion->result.value > 0)
        self->host->sys.bytes_copied += (uint64_t)completion->result.value;
}

static RARE int translate_other(struct uring *self, const struct io_uring_cqe *cqe, struct completion *completion)
{
    proa_op *op = completion->op;

    switch (op->kind) {
    case OP_SEND:
        translate_send(self, completion);
        return 1;
    case OP_CONNECT:
        if (completion->result.value == 0)
            completion->result.value = op->fd;
        else if (completion->result.value == -EAGAIN) /* as on readiness engines: a Unix listener's backlog is full */
            completion->result.value = -EBUSY;
        break;
    case OP_SIGNAL:
        if (!translate_signal(self, completion))
            return 0;
        break;
    case OP_RECV:
    case OP_READ:
    case OP_WRITE:
        if (completion->result.value > 0)
            self->host->sys.bytes_copied += (uint64_t)completion->result.value;
        break;
    }
    if (!(cqe->flags & IORING_CQE_F_MORE))
        op->state = OP_DONE;
    return 1;
}

static inline int translate_op(struct uring *self, const struct io_uring_cqe *cqe, struct completion *completion)
{
    proa_op *op = completion->op;

    completion->result.flags = cqe->flags & IORING_CQE_F_MORE ? PROA_MORE : 0;
    if (likely(op->kind == OP_RECV_MANY)) {
        translate_received_many(self, cqe, completion);
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

static size_t uring_reap(struct engine *engine, struct completion *completions, size_t max)
{
    struct uring *self = self_of(engine);
    size_t count = self->success_end ? report_successes(self, completions, max) : 0;
    const struct io_uring_cqe *cqe;

    for (; count < max && (cqe = ring_peek(&self->ring, self->ring.cq_head)); self->ring.cq_head++)
        count += (size_t)translate(self, cqe, &completions[count]);
    ring_publish_head(&self->ring);
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

/* Opening and closing */

static void uring_close(struct engine *engine)
{
    struct uring *self = self_of(engine);

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

static int uring_open(struct engine_host *host, struct engine **ret_engine, char *ret_reason)
{
    struct uring *self = calloc(1, sizeof(*self));
    int error;

    if (!self)
        return -ENOMEM;
    self->host = host;
    self->wake_fd = -1;
    error = ring_open(&self->ring, &host->sys, host->queue_entries, ret_reason);
    if (error == 0)
        error = open_parts(self, ret_reason);
    if (error < 0) {
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
    .open = uring_open,
    .close = uring_close,
    .start = uring_start,
    .cancel = uring_cancel,
    .wait = uring_wait,
    .reap = uring_reap,
    .wake = uring_wake,
    .buffers_open = uring_buffers_open,
    .buffers_close = uring_buffers_close,
    .buffer_return = uring_buffer_return,
};

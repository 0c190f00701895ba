#include "engine/ready.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <proa/file.h>
#include <proa/socket.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "engine/gather.h"
#include "engine/instant.h"
#include "engine/pool.h"

struct ready_engine {
    struct engine_host *host;
    const struct poller_table *table;
    struct poller *poller;
    struct descriptor_queue due; /* descriptors with a direction to try */
    int wake_fd;
    int woken;
};

static struct ready_engine *self_of(struct engine *engine)
{
    return (struct ready_engine *)engine;
}

static void make_due(struct ready_engine *self, struct descriptor *descriptor)
{
    if (!(descriptor->flags & FD_DUE))
        descriptor_enqueue(self->host, &self->due, descriptor);
}

/* Watching */

/* Errors and hang-ups are reported whatever is watched, but something has to be: urgent data is the least likely. */
static unsigned poll_directions(unsigned events)
{
    unsigned directions = (events & (POLLIN | POLLRDNORM) ? READY_IN : 0) |
                          (events & (POLLOUT | POLLWRNORM) ? READY_OUT : 0) | (events & POLLRDHUP ? READY_HANGUP : 0);

    return directions && !(events & POLLPRI) ? directions : directions | READY_PRIORITY;
}

static unsigned op_directions(const proa_op *op)
{
    return op->kind == OP_POLL ? poll_directions((unsigned)op->size) : op->flags & OP_OUT ? READY_OUT : READY_IN;
}

/* What the ops in `in` wait for: foreign polls stand among the receives, but each for events of its own. */
static unsigned wanted_by_in(const struct descriptor *descriptor)
{
    unsigned wanted = 0;

    for (const proa_op *op = descriptor->in.first; op; op = op->next)
        wanted |= op_directions(op);
    return wanted;
}

static unsigned wanted_directions(const struct descriptor *descriptor)
{
    return wanted_by_in(descriptor) | (descriptor->out.first ? READY_OUT : 0);
}

static int watch(struct ready_engine *self, struct descriptor *descriptor, unsigned to)
{
    int error;

    if (to == descriptor->watched && !(descriptor->flags & FD_UNSURE && to))
        return 0;
    error = self->table->watch(self->poller, (int)(descriptor - self->host->descriptors), descriptor->watched, to);
    if (error == 0) {
        descriptor->watched = (uint8_t)to;
        descriptor->flags &= (uint16_t)~FD_UNSURE;
    }
    return error;
}

/* Waits for the op's direction to become ready. A descriptor that cannot be watched is tried at once instead: the call
 * then says why, or a file of a kind that is always ready just works. */
static int park(struct ready_engine *self, struct descriptor *descriptor, const proa_op *op)
{
    unsigned directions = op_directions(op);

    descriptor->ready &= (uint8_t)~directions;
    return watch(self, descriptor, descriptor->watched | directions);
}

static RARE void report_other(struct ready_engine *self, struct descriptor *descriptor, int fd, unsigned directions)
{
    unsigned idle;

    if (fd == self->wake_fd) {
        self->woken = 1;
        return;
    }
    descriptor->ready |= (uint8_t)directions;
    if (directions & READY_OUT)
        descriptor->flags &= (uint16_t)~FD_FULL;
    /* Level-triggered: what nobody waits for must not be reported again and again. An error or hang-up cannot be turned
     * off, so a descriptor without waiting ops is not watched at all. */
    idle = descriptor->watched & directions & ~wanted_directions(descriptor);
    if (idle)
        watch(self, descriptor, wanted_directions(descriptor) & descriptor->watched);
    if (descriptor->in.first || descriptor->out.first)
        make_due(self, descriptor);
}

/* Nearly always there is something to read for somebody who waits. */
void ready_report(struct ready_engine *self, int fd, unsigned directions)
{
    struct descriptor *descriptor = &self->host->descriptors[fd];

    self->host->meters.descriptors_scanned++;
    if (unlikely(directions != READY_IN || !descriptor->in.first || descriptor->flags & FD_POLLED)) {
        report_other(self, descriptor, fd, directions);
        return;
    }
    descriptor->ready |= READY_IN;
    make_due(self, descriptor);
}

/* Trying: each returns a value or a negative errno; EAGAIN means that the op has to wait. */

static int64_t try_recv(struct sys *sys, struct descriptor *descriptor, proa_op *op, void *data, size_t size)
{
    ssize_t got = sys_recv(sys, op->fd, data, size, MSG_DONTWAIT);

    /* A short count emptied the socket: wait for the next report rather than hear EAGAIN. */
    if (got > 0 && (size_t)got < size)
        descriptor->ready &= (uint8_t)~READY_IN;
    return got;
}

static int64_t try_recv_many(struct sys *sys, struct descriptor *descriptor, proa_op *op, struct completion *completion)
{
    proa_buffer_pool *pool = op->data;
    uint32_t buffer;
    int64_t got;

    if (pool->available == 0)
        return -ENOBUFS;
    buffer = pool->free_stack[pool->available - 1];
    got = try_recv(sys, descriptor, op, pool->memory + (size_t)buffer * pool->size, pool->size);
    if (got > 0) {
        pool->available--;
        completion->result.flags = PROA_LENT | PROA_MORE;
        completion->result.buffer = buffer;
    }
    return got;
}

/* A foreign descriptor may be one that blocks: it is tried once per report, which says that this will not. */
static void try_foreign_once(struct descriptor *descriptor)
{
    if (!(descriptor->flags & FD_OURS))
        descriptor->ready &= (uint8_t)~READY_IN;
}

static int64_t try_accept(struct sys *sys, struct descriptor *descriptor, proa_op *op, struct completion *completion)
{
    int fd;

    try_foreign_once(descriptor);
    fd = sys_accept(sys, op->fd, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0 && op->kind == OP_ACCEPT_MANY)
        completion->result.flags = PROA_MORE;
    return fd;
}

static int64_t try_connect(struct sys *sys, proa_op *op)
{
    const proa_address *address = op->data;
    int error = 0;

    if (op->flags & OP_SUBMITTED) {
        int result = sys_getsockopt(sys, op->fd, SOL_SOCKET, SO_ERROR, &error);

        return result < 0 ? result : error ? -error : op->fd;
    }
    error = sys_connect(sys, op->fd, &address->as.any, address->size);
    if (error == -EAGAIN) /* a Unix listener's backlog is full, and nothing reports when it no longer is */
        return -EBUSY;
    if (error != -EINPROGRESS)
        return error < 0 ? error : op->fd;
    op->flags |= OP_SUBMITTED;
    return -EAGAIN;
}

/* Several sends that wait go out as one message. */
static int64_t try_send(struct sys *sys, struct descriptor *descriptor, proa_op *first)
{
    struct iovec pieces[GATHER_MAX];
    struct gathering all = gather(first, pieces);
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = all.count};
    int64_t taken = sys_sendmsg(sys, first->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (taken != (int64_t)all.size)
        descriptor->flags |= FD_FULL;
    return taken;
}

static int64_t try_signal(struct sys *sys, proa_op *op, struct completion *completion)
{
    int64_t signal_number = instant_read_signal(sys, op->fd);

    if (signal_number > 0)
        completion->result.flags = PROA_MORE;
    return signal_number;
}

static int64_t try_poll(struct sys *sys, proa_op *op)
{
    int events = sys_poll(sys, op->fd, (unsigned)op->size);

    return events == 0 ? -EAGAIN : events;
}

/* A pipe or terminal that was reported writable takes PIPE_BUF bytes without blocking (pipe(7)), and no more for sure. */
static int64_t try_write(struct sys *sys, proa_op *op)
{
    return sys_write(sys, op->fd, op->data, op->size < PIPE_BUF ? op->size : PIPE_BUF, PROA_POSITION);
}

static int64_t try_op(struct sys *sys, struct descriptor *descriptor, proa_op *op, struct completion *completion)
{
    switch (op->kind) {
    case OP_RECV:
        return try_recv(sys, descriptor, op, op->data, op->size);
    case OP_RECV_MANY:
        return try_recv_many(sys, descriptor, op, completion);
    case OP_SEND:
        return try_send(sys, descriptor, op);
    case OP_ACCEPT:
    case OP_ACCEPT_MANY:
        return try_accept(sys, descriptor, op, completion);
    case OP_CONNECT:
        return try_connect(sys, op);
    case OP_SHUTDOWN:
        return sys_shutdown(sys, op->fd, (int)op->size);
    case OP_POLL:
        return try_poll(sys, op);
    case OP_SIGNAL:
        return try_signal(sys, op, completion);
    case OP_READ:
        try_foreign_once(descriptor);
        return sys_read(sys, op->fd, op->data, op->size, PROA_POSITION);
    default:
        ASSERT(op->kind == OP_WRITE);
        return try_write(sys, op);
    }
}

/* What became of a try. Returns 1 with `*completion` to be reported, or 0 where the op waits on. */
static size_t conclude(struct ready_engine *self, struct descriptor *descriptor, struct completion *completion)
{
    proa_op *op = completion->op;

    if (completion->result.value == -EAGAIN) {
        completion->result.value = park(self, descriptor, op);
        if (likely(completion->result.value == 0))
            return 0;
    }
    if (op->kind == OP_SEND) {
        descriptor->flags |= FD_SENDING;
    } else if (!(completion->result.flags & PROA_MORE)) {
        op_detach(self->host, op);
        op->state = OP_DONE;
    }
    return 1;
}

static RARE size_t attempt(struct ready_engine *self, struct descriptor *descriptor, proa_op *op,
                           struct completion *completion)
{
    *completion = (struct completion){.op = op};
    do
        completion->result.value = try_op(&self->host->sys, descriptor, op, completion);
    while (completion->result.value == -EINTR);
    return conclude(self, descriptor, completion);
}

/* Where the first receive has to wait, those behind it do: what comes in between is for the first. */
static size_t attempt_first(struct ready_engine *self, struct descriptor *descriptor, struct completion *completion)
{
    int must_wait = 0;
    proa_op *next;

    for (proa_op *op = descriptor->in.first; op; op = next) {
        next = op->next;
        if ((op->kind != OP_POLL && must_wait) || !(descriptor->ready & op_directions(op)))
            continue;
        if (attempt(self, descriptor, op, completion))
            return 1;
        must_wait |= op->kind != OP_POLL;
    }
    return 0;
}

/* For ops that stay in `in` behind a result: there may be more at once, or else a report has to tell them. */
static void stay(struct ready_engine *self, struct descriptor *descriptor)
{
    unsigned wanted = wanted_by_in(descriptor);

    if (descriptor->ready & wanted ||
        (wanted & ~descriptor->watched && watch(self, descriptor, descriptor->watched | wanted) < 0))
        make_due(self, descriptor);
}

static RARE size_t try_in(struct ready_engine *self, struct descriptor *descriptor, struct completion *completion)
{
    size_t count = 0;

    if (descriptor->ready & wanted_by_in(descriptor))
        count = attempt_first(self, descriptor, completion);
    if (count > 0 && descriptor->in.first)
        stay(self, descriptor);
    return count;
}

static RARE size_t try_out(struct ready_engine *self, struct descriptor *descriptor, struct completion *completion)
{
    return attempt(self, descriptor, descriptor->out.first, completion);
}

/* The two that are there for every message, a repeating receive and a send alone on its descriptor, go a short way. */

static inline size_t receive_many(struct ready_engine *self, struct descriptor *descriptor, proa_op *op,
                                  struct completion *completion)
{
    completion->op = op;
    completion->result.flags = 0;
    completion->result.value = try_recv_many(&self->host->sys, descriptor, op, completion);
    if (unlikely(completion->result.value <= 0))
        return conclude(self, descriptor, completion);
    if (unlikely(descriptor->ready & READY_IN || !(descriptor->watched & READY_IN)))
        stay(self, descriptor);
    return 1;
}

static inline size_t send_alone(struct ready_engine *self, struct descriptor *descriptor, proa_op *op,
                                struct completion *completion)
{
    size_t size = op->size - op->moved;
    int64_t taken = sys_send(&self->host->sys, op->fd, (uint8_t *)op->data + op->moved, size,
                             MSG_DONTWAIT | MSG_NOSIGNAL);

    *completion = (struct completion){op, {taken, 0, 0}};
    descriptor->flags |= FD_SENDING;
    if (likely(taken == (int64_t)size))
        return 1;
    /* A short count filled the socket: wait for the next report rather than hear EAGAIN. */
    descriptor->flags = (uint16_t)((descriptor->flags & ~FD_SENDING) | FD_FULL);
    return conclude(self, descriptor, completion);
}

/* One result of each direction per pass, so that a busy descriptor takes its turn behind the others. */
size_t ready_reap(struct engine *engine, struct completion *completions, size_t max)
{
    struct ready_engine *self = self_of(engine);
    struct descriptor *descriptor;
    size_t count = 0;
    proa_op *op;

    while (count + 2 <= max && (descriptor = descriptor_dequeue(self->host, &self->due))) {
        op = descriptor->in.first;
        if (likely(op && op->kind == OP_RECV_MANY && !op->next)) {
            if (descriptor->ready & READY_IN)
                count += receive_many(self, descriptor, op, &completions[count]);
        } else if (op) {
            count += try_in(self, descriptor, &completions[count]);
        }
        op = descriptor->out.first;
        if (!op || !(descriptor->ready & READY_OUT) || descriptor->flags & (FD_SENDING | FD_CLOSING))
            continue;
        if (likely(op->kind == OP_SEND && !op->next))
            count += send_alone(self, descriptor, op, &completions[count]);
        else
            count += try_out(self, descriptor, &completions[count]);
    }
    return count;
}

/* The engine's other functions */

/* Whatever can be watched is a pipe, a terminal or a socket, without a position, read and written like a stream; the rest
 * (EPERM, epoll_ctl(2)) is a file, for the pool. */
static void start_transfer(struct ready_engine *self, struct descriptor *descriptor, proa_op *op)
{
    int error;

    /* Behind a send it stands in its list already when its turn comes. */
    if (!(op->flags & (OP_IN | OP_OUT))) {
        if (op->kind == OP_READ)
            op_attach_in(self->host, op);
        else
            op_attach_out(self->host, op);
    }
    error = park(self, descriptor, op);
    if (error == 0)
        return;
    op_detach(self->host, op);
    if (error == -EPERM) {
        descriptor->flags |= FD_FILE;
        pool_start(self->host->pool, op);
    } else {
        op_done(self->host, op, error);
    }
}

/* Some files can be watched all the same (proc(5), sysfs(5)), but still have offsets. */
static int is_file(struct sys *sys, int fd)
{
    struct statx status;

    return sys_statx(sys, fd, "", &status) == 0 && (S_ISREG(status.stx_mode) || S_ISBLK(status.stx_mode));
}

static void start_file_op(struct ready_engine *self, struct descriptor *descriptor, proa_op *op)
{
    int transfers = op->kind == OP_READ || op->kind == OP_WRITE;

    if (transfers && op->moved != PROA_POSITION && !(descriptor->flags & FD_FILE) && is_file(&self->host->sys, op->fd))
        descriptor->flags |= FD_FILE;
    if (transfers && !(descriptor->flags & FD_FILE))
        start_transfer(self, descriptor, op);
    else
        pool_start(self->host->pool, op);
}

static void try_now(struct ready_engine *self, struct descriptor *descriptor, proa_op *op)
{
    descriptor->ready |= (uint8_t)op_directions(op);
    make_due(self, descriptor);
}

static RARE void start_other(struct ready_engine *self, struct descriptor *descriptor, proa_op *op)
{
    switch (op->kind) {
    case OP_RECV:
    case OP_RECV_MANY:
        /* What a foreign descriptor is, only the call can tell. */
        if (descriptor->flags & FD_UNSURE)
            descriptor->ready |= READY_IN;
        /* fall through */
    case OP_ACCEPT:
    case OP_ACCEPT_MANY:
    case OP_SIGNAL:
        if (descriptor->ready & READY_IN || park(self, descriptor, op) < 0)
            try_now(self, descriptor, op);
        break;
    case OP_POLL:
        descriptor->flags |= FD_POLLED;
        /* fall through */
    case OP_CONNECT:
        try_now(self, descriptor, op);
        break;
    case OP_CLOSE:
        descriptor->flags &= (uint16_t)~FD_UNSURE;
        watch(self, descriptor, 0);
        host_close(self->host, op);
        break;
    default:
        start_file_op(self, descriptor, op);
    }
}

void ready_start(struct engine *engine, proa_op *op)
{
    struct ready_engine *self = self_of(engine);
    struct descriptor *descriptor = host_descriptor(self->host, op->fd);

    if (unlikely(op->kind != OP_SEND && op->kind != OP_SHUTDOWN)) {
        start_other(self, descriptor, op);
        return;
    }
    /* Behind an earlier one it has its turn after that. */
    if (unlikely(op != descriptor->out.first))
        return;
    if (unlikely(descriptor->flags & FD_FULL) && op->kind == OP_SEND && park(self, descriptor, op) == 0)
        return;
    descriptor->ready |= READY_OUT;
    make_due(self, descriptor);
}

/* A send whose result is on its way up is settled there. */
void ready_cancel(struct engine *engine, proa_op *op)
{
    struct ready_engine *self = self_of(engine);
    struct engine_host *host = self->host;

    struct descriptor *descriptor = &host->descriptors[op->fd];

    if (op->kind == OP_SEND && descriptor->flags & FD_SENDING)
        return;
    op_done(host, op, -ECANCELED);
    /* A shutdown that waited behind it needs no room. */
    if (descriptor->out.first && descriptor->out.first->kind == OP_SHUTDOWN)
        try_now(self, descriptor, descriptor->out.first);
}

void ready_wait(struct engine *engine, uint64_t now_ns, uint64_t until_ns)
{
    struct ready_engine *self = self_of(engine);
    uint64_t timeout_ns = until_ns == PROA_NEVER ? PROA_NEVER : until_ns > now_ns ? until_ns - now_ns : 0;
    uint64_t ignored;

    self->table->wait(self->poller, self, self->due.first ? 0 : timeout_ns);
    if (unlikely(self->woken)) {
        self->woken = 0;
        sys_read(&self->host->sys, self->wake_fd, &ignored, sizeof(ignored), PROA_POSITION);
    }
}

/* Called from any thread, so its call is not the loop's to count. */
void ready_wake(struct engine *engine)
{
    struct sys other_thread = {0};
    uint64_t one = 1;

    sys_write(&other_thread, self_of(engine)->wake_fd, &one, sizeof(one), PROA_POSITION);
}

static int open_parts(struct ready_engine *self)
{
    int error = self->table->open(&self->host->sys, &self->poller);

    if (error < 0)
        return error;
    self->wake_fd = sys_eventfd(&self->host->sys);
    if (self->wake_fd < 0)
        return self->wake_fd;
    return self->table->watch(self->poller, self->wake_fd, 0, READY_IN);
}

int ready_open(struct engine_host *host, const struct poller_table *table, struct engine **ret_engine)
{
    struct ready_engine *self = calloc(1, sizeof(*self));
    int error;

    if (!self)
        return -ENOMEM;
    self->host = host;
    self->table = table;
    self->wake_fd = -1;
    error = open_parts(self);
    if (error < 0) {
        ready_close((struct engine *)self);
        return error;
    }
    *ret_engine = (struct engine *)self;
    return 0;
}

void ready_close(struct engine *engine)
{
    struct ready_engine *self = self_of(engine);

    if (self->wake_fd >= 0)
        sys_close(&self->host->sys, self->wake_fd);
    if (self->poller)
        self->table->close(self->poller);
    free(self);
}

/* Buffer pools: a stack, so that the one returned last, whose lines are in the cache, is lent next. */

int ready_buffers_open(struct engine *engine, proa_buffer_pool *pool)
{
    (void)engine;
    pool->free_stack = malloc(pool->count * sizeof(pool->free_stack[0]));
    if (!pool->free_stack)
        return -ENOMEM;
    for (uint32_t i = 0; i < pool->count; i++)
        pool->free_stack[i] = pool->count - 1 - i;
    return 0;
}

void ready_buffers_close(struct engine *engine, proa_buffer_pool *pool)
{
    (void)engine;
    free(pool->free_stack);
}

void ready_buffer_return(struct engine *engine, proa_buffer_pool *pool, uint32_t buffer)
{
    (void)engine;
    pool->free_stack[pool->available] = buffer;
}

#include "engine/ready.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <proa/file.h>
#include <proa/socket.h>
#include <proa/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "engine/datagram.h"
#include "engine/file_op.h"
#include "engine/gather.h"
#include "engine/hot.h"
#include "engine/instant.h"
#include "engine/lane.h"
#include "engine/send_file.h"
#include "engine/zero_copy.h"

/* How many results one descriptor may give between two waits, of each direction. */
enum { PASSES_PER_TURN = 16 };

/* How often notices are looked for that no report can tell of. */
static const uint64_t LOOK_NS = 20 * PROA_MILLISECOND_NS;

struct ready_engine {
    struct engine_host *host;
    const struct poller_table *table;
    struct poller *poller;
    struct descriptor_queue due; /* descriptors with a direction to try */
    int32_t pass_last;           /* the last of `due` as this pass through it began, plus one */
    unsigned passes;             /* since the latest wait */
    uint64_t look_ns;            /* when notices are looked for next that no report tells of; 0: there are none */
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

/* While what a file's send lacks is fetched, room is no news. */
static int is_fetching(const struct descriptor *descriptor)
{
    return descriptor->out.first && descriptor->out.first->flags & OP_FETCHING;
}

static unsigned wanted_directions(const struct descriptor *descriptor)
{
    return wanted_by_in(descriptor) | (descriptor->out.first && !is_fetching(descriptor) ? READY_OUT : 0);
}

/* Only connections and listeners of our own: a descriptor from elsewhere may block, so it is tried once per report, or be
 * read by others, which no edge tells. And only TCP: its short counts have a meaning (short_tells). */
static int is_edge(const struct ready_engine *self, const struct descriptor *descriptor)
{
    return self->table->edge && (descriptor->flags & (FD_OURS | FD_TCP | FD_SHARED)) == (FD_OURS | FD_TCP);
}

/* A listener from elsewhere was inherited over fork(2), as a rule. A foreign poll must hear of every connection. */
static int is_shared_listener(const struct descriptor *descriptor)
{
    const proa_op *op = descriptor->in.first;

    return op && (op->kind == OP_ACCEPT || op->kind == OP_ACCEPT_MANY) && !(descriptor->flags & FD_POLLED) &&
           (descriptor->flags & (FD_OURS | FD_SHARED)) != FD_OURS;
}

/* The directions to be watched, and how. An edge is never taken back, since that costs a call and gains nothing. */
static unsigned way_to_watch(const struct ready_engine *self, const struct descriptor *descriptor, unsigned to)
{
    to &= READY_ALL;
    if (to != 0 && is_edge(self, descriptor))
        return READY_ALL | READY_EDGE;
    return to == READY_IN && is_shared_listener(descriptor) ? READY_IN | READY_EXCLUSIVE : to;
}

static int watch(struct ready_engine *self, struct descriptor *descriptor, unsigned to)
{
    int error;

    to = way_to_watch(self, descriptor, to);
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

    /* Edge-triggered, hang-ups and urgent data are remembered (short_tells). */
    descriptor->ready &= (uint8_t) ~(descriptor->watched & READY_EDGE ? directions & (READY_IN | READY_OUT)
                                                                      : directions);
    return watch(self, descriptor, descriptor->watched | directions);
}

/* Notices are no error; what is ready besides stands beside it. */
static unsigned without_notices(struct ready_engine *self, const struct descriptor *descriptor, int fd,
                                unsigned directions)
{
    int found = descriptor->flags & FD_NOTICES ? zero_copy_collect(self->host, fd) : 0;

    if (found < 0)
        self->look_ns = 1;
    return found <= 0 && directions & READY_ERROR ? READY_ALL : directions & READY_ALL;
}

/* Notices come as errors do, which are reported whatever is watched, as long as something is. So are hang-ups, for as long
 * as they last: then the rest is looked for from time to time. */
static unsigned watched_for_notices(struct ready_engine *self, unsigned directions)
{
    if (directions != READY_ALL)
        return READY_PRIORITY;
    self->look_ns = 1;
    return 0;
}

static RARE void report_other(struct ready_engine *self, struct descriptor *descriptor, int fd, unsigned directions)
{
    unsigned wanted, rest;

    if (fd == self->wake_fd) {
        self->woken = 1;
        return;
    }
    directions = without_notices(self, descriptor, fd, directions);
    wanted = wanted_directions(descriptor);
    descriptor->ready |= (uint8_t)directions;
    if (directions & READY_OUT)
        descriptor->flags &= (uint16_t)~FD_FULL;
    /* Level-triggered: what nobody waits for must not be reported again and again. An error or hang-up cannot be turned
     * off, so a descriptor without waiting ops is not watched at all. */
    if (!descriptor->watched)
        self->table->watch(self->poller, fd, directions, 0); /* it was another's, and closed behind our back */
    else if (directions & ~wanted && !(descriptor->watched & READY_EDGE)) {
        rest = wanted & descriptor->watched;
        if (rest == 0 && descriptor->flags & FD_NOTICES)
            rest = watched_for_notices(self, directions);
        watch(self, descriptor, rest);
    }
    if (descriptor->in.first || descriptor->out.first)
        make_due(self, descriptor);
}

void ready_scanned(struct ready_engine *engine, uint64_t descriptors)
{
    engine->host->meters.descriptors_scanned += descriptors;
}

/* Nearly always there is something to read for somebody who waits. */
void ready_report(struct ready_engine *self, int fd, unsigned directions)
{
    struct descriptor *descriptor = &self->host->descriptors[fd];

    self->host->meters.descriptors_scanned++;
    if (unlikely(directions != READY_IN || !descriptor->in.first || descriptor->flags & (FD_POLLED | FD_NOTICES))) {
        report_other(self, descriptor, fd, directions);
        return;
    }
    descriptor->ready |= READY_IN;
    make_due(self, descriptor);
}

/* Trying: each returns a value or a negative errno; EAGAIN means that the op has to wait. */

/* Whether a short count emptied or filled the socket, so that the next report is waited for rather than EAGAIN heard.
 * Edge-triggered none comes for what is there already: not where an end of stream came with the data, or urgent data cut
 * it (tcp(7)), or the fault plan did. */
static int short_tells(const struct sys *sys, const struct descriptor *descriptor)
{
    return likely(!(descriptor->watched & READY_EDGE)) ||
           (!(descriptor->ready & (READY_HANGUP | READY_PRIORITY)) && !sys->faults);
}

static void note_room(const struct sys *sys, struct descriptor *descriptor, int64_t taken, size_t size)
{
    if (taken == -EAGAIN || (taken >= 0 && (size_t)taken < size && short_tells(sys, descriptor)))
        descriptor->flags |= FD_FULL;
}

static int64_t try_recv(struct sys *sys, struct descriptor *descriptor, proa_op *op, void *data, size_t size)
{
    ssize_t got = sys_recv(sys, op->fd, data, size, MSG_DONTWAIT);

    if (got > 0 && (size_t)got < size && short_tells(sys, descriptor))
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

static int64_t try_recv_from_many(struct sys *sys, const struct descriptor *descriptor, const proa_op *op,
                                  struct completion *completion)
{
    proa_buffer_pool *pool = op->data;
    uint32_t buffer;
    int64_t got;

    if (pool->available == 0)
        return -ENOBUFS;
    buffer = pool->free_stack[pool->available - 1];
    got = datagram_recv_many(sys, descriptor, op, buffer, MSG_DONTWAIT);
    if (got >= 0) {
        pool->available--;
        completion->result.flags = PROA_LENT | PROA_MORE;
        completion->result.buffer = buffer;
    }
    return got;
}

static int64_t try_send_to(struct sys *sys, const struct descriptor *descriptor, const proa_op *op)
{
    int64_t taken = datagram_send(sys, op, MSG_DONTWAIT);

    return taken == -EAGAIN && !datagram_may_wait(descriptor, op) ? -ENOBUFS : taken;
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
    int64_t taken = sys_sendmsg(sys, first->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL | all.more);

    note_room(sys, descriptor, taken, all.size);
    return taken;
}

/* Edge-triggered, a short count tells nothing: the file may have ended. */
static int64_t try_send_file(struct sys *sys, struct descriptor *descriptor, proa_op *op)
{
    struct engine_host *host = CONTAINER_OF(sys, struct engine_host, sys);
    size_t step = send_file_step(host, op);
    int64_t taken = send_file_some(sys, host, op);

    if (!(descriptor->watched & READY_EDGE))
        note_room(sys, descriptor, taken, step);
    return taken;
}

static int64_t try_zero_copy(struct ready_engine *self, struct descriptor *descriptor, proa_op *op)
{
    size_t left = op->size - op->moved;
    int64_t taken = zero_copy_try(self->host, op);

    note_room(&self->host->sys, descriptor, taken, left);
    if (op->choice > 0 && watch(self, descriptor, descriptor->watched ? descriptor->watched : READY_PRIORITY) < 0)
        self->look_ns = 1;
    return taken;
}

static int64_t try_signal(struct sys *sys, proa_op *op, struct completion *completion)
{
    int64_t signal_number = instant_read_signal(sys, op->fd);

    if (signal_number > 0)
        completion->result.flags = PROA_MORE;
    return signal_number;
}

/* What is left is reported again. */
static int64_t try_watch(struct sys *sys, struct descriptor *descriptor, proa_op *op)
{
    descriptor->ready &= (uint8_t)~READY_IN;
    return sys_read(sys, op->fd, op->data, op->size, PROA_POSITION);
}

static int64_t try_poll(struct sys *sys, proa_op *op)
{
    int events = sys_poll(sys, op->fd, (unsigned)op->size);

    return events == 0 ? -EAGAIN : events;
}

/* A pipe or terminal that was reported writable takes PIPE_BUF bytes without blocking (pipe(7)), and no more for sure. */
static int64_t try_write(struct sys *sys, proa_op *op)
{
    struct iovec piece = file_op_first_piece(op);

    return sys_write(sys, op->fd, piece.iov_base, piece.iov_len < PIPE_BUF ? piece.iov_len : PIPE_BUF, PROA_POSITION);
}

static int64_t try_op(struct sys *sys, struct descriptor *descriptor, proa_op *op, struct completion *completion)
{
    switch (op->kind) {
    case OP_RECV:
        return try_recv(sys, descriptor, op, op->data, op->size);
    case OP_RECV_MANY:
        return try_recv_many(sys, descriptor, op, completion);
    case OP_SEND:
    case OP_SEND_ZERO_COPY:
        return try_send(sys, descriptor, op);
    case OP_SEND_FILE:
        return try_send_file(sys, descriptor, op);
    case OP_ACCEPT:
    case OP_ACCEPT_MANY:
        return try_accept(sys, descriptor, op, completion);
    case OP_CONNECT:
        return try_connect(sys, op);
    case OP_RECV_FROM:
        return datagram_recv(sys, op, MSG_DONTWAIT);
    case OP_RECV_FROM_MANY:
        return try_recv_from_many(sys, descriptor, op, completion);
    case OP_SEND_TO:
        return try_send_to(sys, descriptor, op);
    case OP_SHUTDOWN:
        return sys_shutdown(sys, op->fd, (int)op->size);
    case OP_POLL:
        return try_poll(sys, op);
    case OP_SIGNAL:
        return try_signal(sys, op, completion);
    case OP_WAIT_CHILD:
        return sys_wait_child(sys, op->fd);
    case OP_WATCH:
        return try_watch(sys, descriptor, op);
    case OP_READ:
        try_foreign_once(descriptor);
        return sys_read(sys, op->fd, op->data, op->size, PROA_POSITION);
    case OP_READV:
        try_foreign_once(descriptor);
        return sys_readv(sys, op->fd, op->data, op->size, PROA_POSITION);
    default:
        ASSERT(file_op_writes(op));
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
    if (is_stream_send(op)) {
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
        completion->result.value = op->kind == OP_SEND_ZERO_COPY && !goes_with_others(op)
                                       ? try_zero_copy(self, descriptor, op)
                                       : try_op(&self->host->sys, descriptor, op, completion);
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

/* What stood behind an op that is over has its turn; behind a send, once that is settled. */
static RARE size_t try_out(struct ready_engine *self, struct descriptor *descriptor, struct completion *completion)
{
    size_t count = attempt(self, descriptor, descriptor->out.first, completion);

    if (count > 0 && descriptor->out.first && !(descriptor->flags & FD_SENDING))
        ready_start((struct engine *)self, descriptor->out.first);
    return count;
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
    descriptor->flags &= (uint16_t)~FD_SENDING;
    note_room(&self->host->sys, descriptor, taken, size);
    return conclude(self, descriptor, completion);
}

/* The next of those that are due, but not for ever: what the kernel has to report meanwhile has its turn. */
static struct descriptor *next_due(struct ready_engine *self)
{
    struct descriptor *descriptor;

    if (!self->due.first || (!self->pass_last && self->passes == PASSES_PER_TURN))
        return NULL;
    if (!self->pass_last) {
        self->pass_last = self->due.last;
        self->passes++;
    }
    descriptor = descriptor_dequeue(self->host, &self->due);
    if (descriptor - self->host->descriptors + 1 == self->pass_last)
        self->pass_last = 0;
    return descriptor;
}

/* One result of each direction per pass, so that a busy descriptor takes its turn behind the others. */
size_t ready_reap(struct engine *engine, struct completion *completions, size_t max)
{
    struct ready_engine *self = self_of(engine);
    struct descriptor *descriptor;
    size_t count = 0;
    proa_op *op;

    while (count + 2 <= max && (descriptor = next_due(self))) {
        op = descriptor->in.first;
        if (likely(op && op->kind == OP_RECV_MANY && !op->next)) {
            if (descriptor->ready & READY_IN)
                count += receive_many(self, descriptor, op, &completions[count]);
        } else if (op) {
            count += try_in(self, descriptor, &completions[count]);
        }
        op = descriptor->out.first;
        if (!op || !(descriptor->ready & READY_OUT || op->kind == OP_SHUTDOWN) ||
            descriptor->flags & (FD_SENDING | FD_CLOSING))
            continue;
        if (likely(op->kind == OP_SEND && !op->next))
            count += send_alone(self, descriptor, op, &completions[count]);
        else
            count += try_out(self, descriptor, &completions[count]);
    }
    return count;
}

/* The engine's other functions */

static int is_beyond(const struct ready_engine *self, int fd)
{
    return self->table->number_limit > 0 && fd >= self->table->number_limit;
}

static void explain_refusal(const struct ready_engine *self, int fd)
{
    snprintf(self->host->refusal, sizeof(self->host->refusal),
             "descriptor %d is beyond what %s; expected a number below %d; now: keep fewer descriptors open, or take "
             "another engine",
             fd, self->table->number_limit_text, self->table->number_limit);
}

/* Settled here, since EMFILE as the result of an accept would mean to wait for a descriptor. */
static RARE void refuse(struct ready_engine *self, proa_op *op)
{
    if (sys_poll(&self->host->sys, op->fd, 0) == -EBADF) {
        op_done(self->host, op, -EBADF);
        return;
    }
    explain_refusal(self, op->fd);
    op_done(self->host, op, -EMFILE);
}

/* Whether the op is one that may have to be watched for: a close and a shutdown never, file ops only where it is no file. */
static int may_wait(const proa_op *op)
{
    switch (op->kind) {
    case OP_ACCEPT:
    case OP_ACCEPT_MANY:
    case OP_CONNECT:
    case OP_RECV:
    case OP_RECV_MANY:
    case OP_RECV_FROM:
    case OP_RECV_FROM_MANY:
    case OP_SEND:
    case OP_SEND_FILE:
    case OP_SEND_ZERO_COPY:
    case OP_SEND_TO:
    case OP_POLL:
    case OP_SIGNAL:
    case OP_WAIT_CHILD:
    case OP_WATCH:
        return 1;
    default:
        return 0;
    }
}

/* Whatever can be watched is a pipe, a terminal or a socket, without a position, read and written like a stream; the rest
 * (EPERM, epoll_ctl(2)) is a file, for the pool. */
/* The wrong end of a pipe never becomes ready. */
static int is_wrong_end(struct sys *sys, const proa_op *op)
{
    int flags = sys_open_flags(sys, op->fd);

    return flags >= 0 && (flags & O_ACCMODE) == (file_op_reads(op) ? O_WRONLY : O_RDONLY);
}

static void start_transfer(struct ready_engine *self, struct descriptor *descriptor, proa_op *op)
{
    int error;

    if (is_beyond(self, op->fd)) {
        refuse(self, op);
        return;
    }
    /* Behind a send it stands in its list already when its turn comes. */
    if (!(op->flags & (OP_IN | OP_OUT))) {
        if (file_op_reads(op))
            op_attach_in(self->host, op);
        else
            op_attach_out(self->host, op);
    }
    if (descriptor->watched & READY_EDGE && descriptor->ready & op_directions(op)) {
        make_due(self, descriptor);
        return;
    }
    error = (descriptor->watched & op_directions(op)) == 0 && is_wrong_end(&self->host->sys, op)
                ? -EBADF
                : park(self, descriptor, op);
    if (error == 0)
        return;
    op_detach(self->host, op);
    if (error == -EPERM) {
        descriptor->flags |= FD_FILE;
        lane_start(self->host, op);
    } else {
        op_done(self->host, op, error);
    }
}

static int is_file(struct sys *sys, int fd)
{
    struct statx status;

    return sys_statx(sys, fd, "", 0, STATX_BASIC_STATS, &status) == 0 &&
           (S_ISREG(status.stx_mode) || S_ISDIR(status.stx_mode) || S_ISBLK(status.stx_mode));
}

/* Some files can be watched all the same (proc(5), sysfs(5)), but still have offsets. And some pollers call every file
 * ready, so that only those known to be watched are none. */
static int may_be_file(struct ready_engine *self, const struct descriptor *descriptor, const proa_op *op)
{
    return op->moved != PROA_POSITION ||
           (self->table->files_look_ready && (descriptor->flags & FD_UNSURE || !descriptor->watched));
}

static void start_file_op(struct ready_engine *self, struct descriptor *descriptor, proa_op *op)
{
    int transfers = file_op_transfers(op);

    if (transfers && !(descriptor->flags & FD_FILE) && may_be_file(self, descriptor, op) &&
        is_file(&self->host->sys, op->fd))
        descriptor->flags |= FD_FILE;
    if (transfers && !(descriptor->flags & FD_FILE))
        start_transfer(self, descriptor, op);
    else if (op->kind != OP_READ || !hot_read(self->host, op))
        lane_start(self->host, op);
}

static void try_now(struct ready_engine *self, struct descriptor *descriptor, proa_op *op)
{
    descriptor->ready |= (uint8_t)op_directions(op);
    make_due(self, descriptor);
}

static int is_listener(struct sys *sys, int fd)
{
    int listens = 0;

    return sys_getsockopt(sys, fd, SOL_SOCKET, SO_ACCEPTCONN, &listens) == 0 && listens;
}

static void start_in(struct ready_engine *self, struct descriptor *descriptor, proa_op *op)
{
    if (descriptor->ready & READY_IN || park(self, descriptor, op) < 0)
        try_now(self, descriptor, op);
}

static RARE void start_other(struct ready_engine *self, struct descriptor *descriptor, proa_op *op)
{
    switch (op->kind) {
    case OP_RECV:
    case OP_RECV_MANY:
    case OP_RECV_FROM:
    case OP_RECV_FROM_MANY:
        /* What a foreign descriptor is, only the call can tell. */
        if (descriptor->flags & FD_UNSURE)
            descriptor->ready |= READY_IN;
        start_in(self, descriptor, op);
        break;
    case OP_ACCEPT:
    case OP_ACCEPT_MANY:
        /* What is accepted is of its listener's kind. */
        if (self->table->edge && descriptor->flags & FD_UNSURE && instant_is_tcp(&self->host->sys, op->fd))
            descriptor->flags |= FD_TCP;
        /* What never listens never becomes ready; the call says so at once. */
        if (descriptor->flags & FD_UNSURE && !is_listener(&self->host->sys, op->fd))
            descriptor->ready |= READY_IN;
        start_in(self, descriptor, op);
        break;
    case OP_SIGNAL:
    case OP_WAIT_CHILD:
    case OP_WATCH:
        start_in(self, descriptor, op);
        break;
    case OP_POLL:
        descriptor->flags |= FD_POLLED;
        /* fall through */
    case OP_CONNECT:
        try_now(self, descriptor, op);
        break;
    case OP_SEND_TO:
        if (op == descriptor->out.first)
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

    if (unlikely(is_beyond(self, op->fd) && may_wait(op))) {
        refuse(self, op);
        return;
    }
    if (unlikely(!is_stream_send(op) && op->kind != OP_SHUTDOWN)) {
        start_other(self, descriptor, op);
        return;
    }
    /* Behind an earlier one it has its turn after that. */
    if (unlikely(op != descriptor->out.first))
        return;
    if (unlikely(descriptor->flags & FD_FULL) && op->kind != OP_SHUTDOWN && park(self, descriptor, op) == 0)
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

    if (op->flags & OP_LOOSE) {
        host->lane_table->cancel(host->lane, op);
        return;
    }
    if (is_stream_send(op) && descriptor->flags & FD_SENDING && !is_fetching(descriptor))
        return;
    send_cancelled(host, op);
    /* A shutdown that waited behind it needs no room. */
    if (descriptor->out.first && descriptor->out.first->kind == OP_SHUTDOWN)
        try_now(self, descriptor, descriptor->out.first);
}

/* Returns whether there are still some that no report tells of. */
static int look_for_notices(struct ready_engine *self)
{
    struct engine_host *host = self->host;
    int left = 0;

    for (uint32_t fd = 0; fd < host->descriptor_high; fd++) {
        if (!(host->descriptors[fd].flags & FD_NOTICES))
            continue;
        left |= zero_copy_collect(host, (int)fd) < 0;
        left |= host->descriptors[fd].flags & FD_NOTICES && !host->descriptors[fd].watched;
    }
    return left;
}

static RARE void look_from_time_to_time(struct ready_engine *self, uint64_t now_ns)
{
    if (now_ns >= self->look_ns)
        self->look_ns = look_for_notices(self) ? now_ns + LOOK_NS : 0;
}

void ready_wait(struct engine *engine, uint64_t now_ns, uint64_t until_ns)
{
    struct ready_engine *self = self_of(engine);
    uint64_t timeout_ns = until_ns == PROA_NEVER ? PROA_NEVER : until_ns > now_ns ? until_ns - now_ns : 0;
    uint64_t ignored;

    self->passes = 0;
    if (self->host->loose.first && self->host->lane_table->submit)
        self->host->lane_table->submit(self->host->lane);
    if (unlikely(self->look_ns)) {
        look_from_time_to_time(self, now_ns);
        timeout_ns = self->look_ns && timeout_ns > LOOK_NS ? LOOK_NS : timeout_ns;
    }
    self->table->wait(self->poller, self, self->due.first || self->host->done.first ? 0 : timeout_ns);
    if (unlikely(self->woken)) {
        self->woken = 0;
        if (!self->table->edge_wake)
            sys_read(&self->host->sys, self->wake_fd, &ignored, sizeof(ignored), PROA_POSITION);
        if (self->host->loose.first)
            self->host->lane_table->reap(self->host->lane);
    }
}

/* Called from any thread, so its call is not the loop's to count. */
void ready_wake(struct engine *engine)
{
    struct sys other_thread = {.machine = self_of(engine)->host->sys.machine};
    uint64_t one = 1;

    sys_write(&other_thread, self_of(engine)->wake_fd, &one, sizeof(one), PROA_POSITION);
}

void ready_reset(struct engine *engine, int fd)
{
    struct ready_engine *self = self_of(engine);

    zero_copy_reset(self->host, fd);
    if (zero_copy_collect(self->host, fd) < 0)
        self->look_ns = 1;
}

void ready_forget(struct engine *engine, int fd)
{
    struct ready_engine *self = self_of(engine);
    struct descriptor *descriptor = host_descriptor(self->host, fd);

    if (descriptor)
        watch(self, descriptor, 0);
}

static int open_parts(struct ready_engine *self)
{
    int error = self->table->open(&self->host->sys, &self->poller);

    if (error < 0)
        return error;
    self->wake_fd = sys_eventfd(&self->host->sys);
    if (self->wake_fd < 0)
        return self->wake_fd;
    self->host->bell = self->wake_fd;
    if (is_beyond(self, self->wake_fd)) {
        explain_refusal(self, self->wake_fd);
        return -EMFILE;
    }
    return self->table->watch(self->poller, self->wake_fd, 0,
                              self->table->edge_wake ? READY_IN | READY_EDGE : READY_IN);
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

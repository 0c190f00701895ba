/* Threads: the first generation, a blocking call on a thread of its own for each op in flight.
 *
 * An op that is started gets an idle thread, or a new one, up to a stated limit: the wall of this generation. The thread
 * makes the call and hands the result to the loop's thread through a stack and an eventfd. What belongs to the loop alone
 * (lists, buffers of pools) no op's thread touches: of its op it reads what the call needs, which nobody changes meanwhile.
 *
 * Sends of one descriptor go out one call at a time, as on every engine; what waits behind is gathered, but for datagrams.
 * A receive from a pool is a look ahead (MSG_PEEK) on the thread; once that ends, there is data, the loop lends a buffer
 * and receives into it. Shutdowns do not block. A signal may be for the loop's thread alone, so that only this one can
 * read it: signal descriptors are what it waits for beside the eventfd.
 *
 * An op that is to end early has its thread interrupted (sys/thread.h), again every ms until its result is there. */
#include <errno.h>
#include <poll.h>
#include <proa/file.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/datagram.h"
#include "engine/file_op.h"
#include "engine/gather.h"
#include "engine/hot.h"
#include "engine/instant.h"
#include "engine/pool.h"
#include "engine/ready.h"
#include "engine/send_file.h"
#include "sys/thread.h"

static const uint64_t INTERRUPT_EVERY_NS = 1000000;

/* Its fields change hands with the semaphore (to the thread) and the stack of the finished (back). */
struct op_thread {
    struct threads *home;
    struct op_thread *next;  /* among the idle or the finished */
    struct op_thread *older; /* among all of the engine */
    pthread_t thread;
    sem_t turn;
    proa_op *op;     /* whose call it makes; null: none, and if it is its turn, it ends */
    atomic_int over; /* the op is to end early */
    struct sys_fault *faults;
    int64_t value;                /* what became of the call */
    uint64_t calls, bytes_copied; /* on the way to it */
    int may_wait;                 /* a datagram to be sent: for room */
    struct gathering all;         /* of a send */
    struct iovec pieces[GATHER_MAX];
};

struct threads {
    struct engine_host *host;
    struct descriptor_queue due; /* descriptors with something to send */
    int bell;                    /* eventfd: wakes the loop */
    uint32_t thread_count;
    uint32_t threads_max;
    uint32_t interrupting;              /* threads whose op is to end early and has not yet */
    struct op_thread *threads;          /* all, the latest first */
    struct op_thread *idle;             /* the one that was busy last first */
    struct op_thread *_Atomic finished; /* with a result, last one first */
    struct op_thread *results;          /* the same in order, taken by the loop */
    struct pollfd *watched;             /* the bell, then the descriptors of signal ops */
    uint32_t watched_count, watched_room;
    uint32_t signal_next; /* where reap() goes on among them; from `watched_count` on there is none */
};

static struct threads *self_of(struct engine *engine)
{
    return (struct threads *)engine;
}

/* On an op's thread */

static void ring(struct sys *sys, const struct threads *self)
{
    uint64_t one = 1;

    sys_write(sys, self->bell, &one, sizeof(one), PROA_POSITION);
}

/* Returns the events that are there, or a negative errno. */
static int64_t await_events(struct sys *sys, int fd, unsigned events)
{
    struct pollfd entry = {.fd = fd, .events = (short)events};
    int count = sys_ppoll(sys, &entry, 1, PROA_NEVER);

    if (count < 0)
        return count == -EAGAIN ? -EINTR : count; /* poll(2): some systems say so, to be called again */
    return entry.revents & POLLNVAL ? -EBADF : entry.revents;
}

static int64_t look_ahead(struct sys *sys, int fd)
{
    char byte;

    return sys_recv(sys, fd, &byte, sizeof(byte), MSG_PEEK);
}

static int64_t connect_to(struct sys *sys, const proa_op *op)
{
    const proa_address *address = op->data;
    int error = sys_connect(sys, op->fd, &address->as.any, address->size);

    if (error == -EAGAIN) /* the kernel is short of something, and nothing tells when it no longer is */
        return -EBUSY;
    return error < 0 ? error : op->fd;
}

/* What has no room waits for some (call_or_wait()): a call that waited until all is taken would not tell how much is
 * (proa_sent()), nor have later sends go along. */
static int64_t send_some(struct sys *sys, struct op_thread *self)
{
    struct iovec *first = self->pieces;
    struct msghdr message = {.msg_iov = first, .msg_iovlen = self->all.count};
    int flags = MSG_DONTWAIT | MSG_NOSIGNAL | self->all.more;

    if (self->all.count == 1)
        return sys_send(sys, self->op->fd, first->iov_base, first->iov_len, flags);
    return sys_sendmsg(sys, self->op->fd, &message, flags);
}

/* As send_some(), but for a peer of which nothing tells when it has room. */
static int64_t send_datagram(struct sys *sys, const struct op_thread *self)
{
    int64_t sent = datagram_send(sys, self->op, MSG_DONTWAIT);

    return sent == -EAGAIN && !self->may_wait ? -ENOBUFS : sent;
}

/* Pipes, terminals and sockets have no offset, and take any for their position. */
static int64_t run_file_op(struct sys *sys, const proa_op *op)
{
    int64_t value = pool_run_file_op(sys, op);
    proa_op here = {.kind = op->kind, .fd = op->fd, .data = op->data, .size = op->size, .moved = PROA_POSITION};

    return value == -ESPIPE && file_op_transfers(op) ? pool_run_file_op(sys, &here) : value;
}

static int64_t make_call(struct sys *sys, struct op_thread *self)
{
    proa_op *op = self->op;

    switch (op->kind) {
    case OP_RECV:
        return sys_recv(sys, op->fd, op->data, op->size, 0);
    case OP_RECV_FROM:
        return datagram_recv(sys, op, 0);
    case OP_RECV_MANY:
    case OP_RECV_FROM_MANY:
        return look_ahead(sys, op->fd);
    case OP_SEND:
    case OP_SEND_ZERO_COPY:
        return send_some(sys, self);
    case OP_SEND_FILE:
        return send_file_by_thread(sys, self->home->host, op);
    case OP_SEND_TO:
        return send_datagram(sys, self);
    case OP_ACCEPT:
    case OP_ACCEPT_MANY:
        return sys_accept(sys, op->fd, SOCK_CLOEXEC);
    case OP_CONNECT:
        return connect_to(sys, op);
    case OP_POLL:
        return await_events(sys, op->fd, (unsigned)op->size);
    case OP_WAIT_CHILD:
        return sys_wait_child(sys, op->fd);
    case OP_WATCH:
        return sys_read(sys, op->fd, op->data, op->size, PROA_POSITION);
    default:
        return run_file_op(sys, op);
    }
}

/* What a send waits for, and any other op on a descriptor from elsewhere that does not block. */
static unsigned awaited_events(const proa_op *op)
{
    switch (op->kind) {
    case OP_SEND:
    case OP_SEND_FILE:
    case OP_SEND_ZERO_COPY:
    case OP_SEND_TO:
    case OP_WRITE:
    case OP_WRITEV:
        return POLLOUT;
    case OP_RECV:
    case OP_RECV_FROM:
    case OP_RECV_MANY:
    case OP_RECV_FROM_MANY:
    case OP_ACCEPT:
    case OP_ACCEPT_MANY:
    case OP_READ:
    case OP_WAIT_CHILD:
    case OP_READV:
    case OP_WATCH:
        return POLLIN;
    default:
        return 0;
    }
}

static int64_t call_or_wait(struct sys *sys, struct op_thread *self)
{
    int64_t value = make_call(sys, self), ready;
    unsigned events = awaited_events(self->op);

    if (value != -EAGAIN || events == 0)
        return value;
    ready = await_events(sys, self->op->fd, events);
    return ready < 0 ? ready : -EINTR;
}

static int64_t call_to_the_end(struct sys *sys, struct op_thread *self)
{
    int64_t value = -EINTR;

    while (value == -EINTR && !atomic_load(&self->over))
        value = call_or_wait(sys, self);
    return value == -EINTR ? -ECANCELED : value;
}

/* Only who finds the stack empty rings: the loop takes all that is there. */
static void finish(struct sys *sys, struct op_thread *self)
{
    struct threads *home = self->home;
    struct op_thread *top = atomic_load(&home->finished);

    self->calls = sys->calls;
    self->bytes_copied = sys->bytes_copied;
    sys->calls = sys->bytes_copied = 0;
    do
        self->next = top;
    while (!atomic_compare_exchange_weak(&home->finished, &top, self));
    if (!top)
        ring(sys, home);
}

static void *serve(void *argument)
{
    struct op_thread *self = argument;
    struct sys sys = {0};

    for (;;) {
        sys_semaphore_wait(&sys, &self->turn);
        if (!self->op)
            return NULL;
        sys.faults = self->faults;
        self->value = call_to_the_end(&sys, self);
        sys.faults = NULL;
        finish(&sys, self);
    }
}

/* Threads, from the loop's side */

static RARE void refuse(struct threads *self, int error)
{
    char *refusal = self->host->refusal;

    if (error == 0)
        snprintf(refusal, PROA_REASON_MAX,
                 "%u ops are in flight, each on a thread of its own, and no more are allowed; "
                 "start fewer at once, or raise op_threads_max",
                 self->threads_max);
    else
        snprintf(refusal, PROA_REASON_MAX,
                 "no thread can be had for another op beside the %u there are: %s; "
                 "raise RLIMIT_NPROC or the pids.max of the control group, or start fewer at once",
                 self->thread_count, strerror(-error));
}

static RARE int make_thread(struct threads *self)
{
    struct op_thread *thread = calloc(1, sizeof(*thread));
    int error;

    if (!thread)
        return -ENOMEM;
    thread->home = self;
    sem_init(&thread->turn, 0, 0);
    error = sys_thread_start(&self->host->sys, &thread->thread, serve, thread);
    if (error < 0) {
        sem_destroy(&thread->turn);
        free(thread);
        return error;
    }
    thread->older = self->threads;
    self->threads = thread;
    thread->next = self->idle;
    self->idle = thread;
    self->thread_count++;
    return 0;
}

static struct op_thread *take_idle(struct threads *self)
{
    struct op_thread *thread;
    int error = 0;

    if (!self->idle && self->thread_count < self->threads_max)
        error = make_thread(self);
    thread = self->idle;
    if (thread)
        self->idle = thread->next;
    else
        refuse(self, error);
    return thread;
}

static void hand_over(struct threads *self, struct op_thread *thread)
{
    thread->faults = self->host->sys.faults;
    sys_semaphore_post(&self->host->sys, &thread->turn);
}

static int is_send(const proa_op *op)
{
    return is_stream_send(op) || op->kind == OP_SEND_TO;
}

static void prepare_send(struct op_thread *thread, struct descriptor *descriptor, proa_op *op)
{
    descriptor->flags |= FD_SENDING;
    op->flags |= OP_SUBMITTED | (op->kind == OP_SEND_ZERO_COPY ? OP_BY_VALUE : 0);
    if (op->kind == OP_SEND_TO)
        thread->may_wait = datagram_may_wait(descriptor, op);
    else if (op->kind != OP_SEND_FILE)
        thread->all = gather(op, thread->pieces);
}

static void run_on_thread(struct threads *self, proa_op *op)
{
    struct op_thread *thread = take_idle(self);

    if (!thread) {
        op_done(self->host, op, -EAGAIN);
        return;
    }
    thread->op = op;
    if (is_send(op))
        prepare_send(thread, &self->host->descriptors[op->fd], op);
    hand_over(self, thread);
}

static void rest(struct threads *self, struct op_thread *thread)
{
    self->interrupting -= (uint32_t)atomic_load(&thread->over);
    atomic_store(&thread->over, 0);
    thread->op = NULL;
    thread->next = self->idle;
    self->idle = thread;
}

/* Null where the result is already on its way up. */
static struct op_thread *thread_of(const struct threads *self, const proa_op *op)
{
    struct op_thread *thread = self->threads;

    while (thread && thread->op != op)
        thread = thread->older;
    return thread;
}

static void interrupt_those_over(struct threads *self)
{
    for (struct op_thread *thread = self->threads; thread; thread = thread->older)
        if (atomic_load(&thread->over))
            sys_thread_interrupt(&self->host->sys, thread->thread);
}

/* Signals */

static int watch(struct threads *self, int fd)
{
    if (self->watched_count == self->watched_room) {
        uint32_t room = self->watched_room ? 2 * self->watched_room : 4;
        struct pollfd *larger = realloc(self->watched, room * sizeof(*larger));

        if (!larger)
            return -ENOMEM;
        self->watched = larger;
        self->watched_room = room;
    }
    self->watched[self->watched_count++] = (struct pollfd){.fd = fd, .events = POLLIN};
    return 0;
}

static void unwatch(struct threads *self, int fd)
{
    uint32_t place = 1;

    while (self->watched[place].fd != fd)
        place++;
    self->watched[place] = self->watched[--self->watched_count];
}

static void start_signal(struct threads *self, proa_op *op)
{
    int error = watch(self, op->fd);

    if (error < 0)
        op_done(self->host, op, error);
}

/* One arrival; more of them are found ready again. */
static size_t take_signal(struct threads *self, int fd, struct completion *completion)
{
    proa_op *op = self->host->descriptors[fd].in.first;
    int64_t value = instant_read_signal(&self->host->sys, fd);

    if (value == -EAGAIN)
        return 0;
    *completion = (struct completion){op, {value, value > 0 ? PROA_MORE : 0, 0}};
    if (value < 0) {
        unwatch(self, fd);
        op->state = OP_DONE;
    }
    return 1;
}

static size_t take_signals(struct threads *self, struct completion *completions, size_t max)
{
    size_t count = 0;

    while (count < max && self->signal_next < self->watched_count) {
        const struct pollfd *entry = &self->watched[self->signal_next++];

        if (entry->revents)
            count += take_signal(self, entry->fd, &completions[count]);
    }
    return count;
}

/* Starting and cancelling */

static void start_out(struct threads *self, const proa_op *op)
{
    struct descriptor *descriptor = &self->host->descriptors[op->fd];

    if (!(descriptor->flags & (FD_SENDING | FD_DUE)))
        descriptor_enqueue(self->host, &self->due, descriptor);
}

/* Null, too, where the number has changed hands since it was due, and a connect is under way on it. */
static proa_op *next_out(const struct descriptor *descriptor)
{
    proa_op *op = descriptor->out.first;

    return op && op->kind != OP_CONNECT && !(descriptor->flags & (FD_SENDING | FD_CLOSING)) ? op : NULL;
}

static void send_due(struct threads *self)
{
    struct descriptor *descriptor;
    proa_op *op;

    while ((descriptor = descriptor_dequeue(self->host, &self->due))) {
        while ((op = next_out(descriptor))) {
            if (is_send(op))
                run_on_thread(self, op);
            else
                op_done(self->host, op, instant_shutdown(&self->host->sys, op->fd, (int)op->size));
        }
    }
}

static void threads_start(struct engine *engine, proa_op *op)
{
    struct threads *self = self_of(engine);

    op->flags &= ~(unsigned)OP_HELD;
    if (is_send(op) || op->kind == OP_SHUTDOWN)
        start_out(self, op);
    else if (op->kind == OP_CLOSE)
        host_close(self->host, op);
    else if (op->kind == OP_SIGNAL)
        start_signal(self, op);
    else if (op_is_behind_receive(self->host, op))
        op->flags |= OP_HELD;
    else if (op->kind != OP_READ || !hot_read(self->host, op))
        run_on_thread(self, op);
}

static void interrupt(struct threads *self, const proa_op *op)
{
    struct op_thread *thread = thread_of(self, op);

    if (!thread || atomic_load(&thread->over))
        return;
    atomic_store(&thread->over, 1);
    self->interrupting++;
}

/* A send that has gone with others ends them all for now: those still wanted go out again. */
static void cancel_out(struct threads *self, proa_op *op)
{
    const struct descriptor *descriptor = &self->host->descriptors[op->fd];

    if (descriptor->flags & FD_SENDING && op->flags & OP_SUBMITTED)
        interrupt(self, descriptor->out.first);
    else
        op_done(self->host, op, -ECANCELED);
}

static void threads_cancel(struct engine *engine, proa_op *op)
{
    struct threads *self = self_of(engine);

    if (is_send(op) || op->kind == OP_SHUTDOWN) {
        cancel_out(self, op);
    } else if (op->kind == OP_SIGNAL) {
        unwatch(self, op->fd);
        op_done(self->host, op, -ECANCELED);
    } else if (op->flags & OP_HELD) {
        op_done(self->host, op, -ECANCELED);
    } else {
        interrupt(self, op);
    }
}

/* Waiting */

static uint64_t wait_timeout(const struct threads *self, uint64_t now_ns, uint64_t until_ns)
{
    uint64_t timeout_ns = until_ns == PROA_NEVER ? PROA_NEVER : until_ns > now_ns ? until_ns - now_ns : 0;

    if (self->results || self->host->done.first)
        return 0;
    return self->interrupting > 0 && timeout_ns > INTERRUPT_EVERY_NS ? INTERRUPT_EVERY_NS : timeout_ns;
}

static void threads_wait(struct engine *engine, uint64_t now_ns, uint64_t until_ns)
{
    struct threads *self = self_of(engine);
    struct engine_host *host = self->host;
    uint64_t ignored;
    int count;

    send_due(self);
    if (self->interrupting > 0)
        interrupt_those_over(self);
    count = sys_ppoll(&host->sys, self->watched, self->watched_count, wait_timeout(self, now_ns, until_ns));
    host->meters.descriptors_scanned += self->watched_count;
    self->signal_next = count > 0 ? 1 : self->watched_count;
    if (count > 0 && self->watched[0].revents)
        sys_read(&host->sys, self->bell, &ignored, sizeof(ignored), PROA_POSITION);
}

/* Reaping */

static struct op_thread *next_result(struct threads *self)
{
    struct op_thread *result, *next;

    if (!self->results) {
        for (result = atomic_exchange(&self->finished, NULL); result; result = next) {
            next = result->next;
            result->next = self->results;
            self->results = result;
        }
    }
    result = self->results;
    if (result)
        self->results = result->next;
    return result;
}

static int64_t receive_into(struct engine_host *host, const proa_op *op, uint32_t buffer)
{
    const proa_buffer_pool *pool = op->data;

    if (op->kind == OP_RECV_FROM_MANY)
        return datagram_recv_many(&host->sys, &host->descriptors[op->fd], op, buffer, MSG_DONTWAIT);
    return sys_recv(&host->sys, op->fd, pool->memory + (size_t)buffer * pool->size, pool->size, MSG_DONTWAIT);
}

/* An empty datagram is something, the end of a stream is not. */
static int is_something(const proa_op *op, int64_t value)
{
    return value > 0 || (value == 0 && op->kind == OP_RECV_FROM_MANY);
}

/* There was something to receive: lends a buffer for it. */
static void receive_many(struct engine_host *host, const proa_op *op, proa_result *result)
{
    proa_buffer_pool *pool = op->data;
    uint32_t buffer;

    result->value = -ENOBUFS;
    if (pool->available == 0)
        return;
    buffer = pool->free_stack[pool->available - 1];
    do
        result->value = receive_into(host, op, buffer);
    while (result->value == -EINTR);
    if (!is_something(op, result->value))
        return;
    pool->available--;
    *result = (proa_result){result->value, PROA_LENT | PROA_MORE, buffer};
}

/* The next one of its descriptor has its turn. */
static void conclude_datagram(struct threads *self, proa_op *op)
{
    struct descriptor *descriptor = &self->host->descriptors[op->fd];

    descriptor->flags &= (uint16_t)~FD_SENDING;
    op_detach(self->host, op);
    if (descriptor->out.first)
        start_out(self, descriptor->out.first);
}

/* Returns 1 with `*completion` to be reported, or 0 where the op goes on: somebody else was faster. */
static size_t conclude(struct threads *self, struct op_thread *thread, struct completion *completion)
{
    struct sys *sys = &self->host->sys;
    proa_op *op = thread->op;
    int goes_on;

    sys->calls += thread->calls;
    sys->bytes_copied += thread->bytes_copied;
    *completion = (struct completion){op, {thread->value, 0, 0}};
    if (takes_buffers(op) && is_something(op, thread->value))
        receive_many(self->host, op, &completion->result);
    else if (op->kind == OP_ACCEPT_MANY && thread->value >= 0)
        completion->result.flags = PROA_MORE;
    goes_on = completion->result.flags & PROA_MORE || (takes_buffers(op) && completion->result.value == -EAGAIN);
    if (goes_on) {
        hand_over(self, thread);
        return completion->result.flags & PROA_MORE;
    }
    if (op->kind == OP_SEND_TO)
        conclude_datagram(self, op);
    if (!is_stream_send(op))
        op->state = OP_DONE;
    rest(self, thread);
    return 1;
}

static size_t threads_reap(struct engine *engine, struct completion *completions, size_t max)
{
    struct threads *self = self_of(engine);
    size_t count = take_signals(self, completions, max);
    struct op_thread *thread;

    while (count < max && (thread = next_result(self)))
        count += conclude(self, thread, &completions[count]);
    return count;
}

/* Called from any thread, so its call is not the loop's to count. */
static void threads_wake(struct engine *engine)
{
    struct sys other_thread = {0};

    ring(&other_thread, self_of(engine));
}

/* Features */

struct blocked_call {
    int fd;
    atomic_int ended;
    ssize_t result;
};

static void *block(void *argument)
{
    struct blocked_call *call = argument;
    struct sys sys = {0};
    char byte;

    call->result = sys_recv(&sys, call->fd, &byte, sizeof(byte), 0);
    atomic_store(&call->ended, 1);
    return NULL;
}

/* Both ends are ours, so nothing but the signal, or giving up, ends the call. On a busy host the thread may have to wait for
 * its first moment: it has seconds. */
static int interrupt_blocked(struct sys *sys, const int pair[2])
{
    struct blocked_call call = {.fd = pair[0]};
    pthread_t thread;
    int error = sys_thread_start(sys, &thread, block, &call);

    if (error < 0)
        return error;
    for (int tries = 0; tries < 50000 && !atomic_load(&call.ended); tries++) {
        sys_thread_interrupt(sys, thread);
        sys_ppoll(sys, NULL, 0, INTERRUPT_EVERY_NS / 10);
    }
    sys_shutdown(sys, pair[1], SHUT_RDWR);
    sys_thread_join(sys, thread);
    return call.result == -EINTR ? 0 : -ENOTSUP;
}

static int test_interrupt(struct sys *sys, char *ret_reason)
{
    int error = sys_interrupt_begin(), pair[2];

    if (error < 0) {
        snprintf(ret_reason, PROA_REASON_MAX, "every real-time signal has a handler already");
        return error;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        error = -errno;
        snprintf(ret_reason, PROA_REASON_MAX, "no descriptors for the self-test");
        return error;
    }
    error = interrupt_blocked(sys, pair);
    close(pair[0]);
    close(pair[1]);
    if (error < 0)
        snprintf(ret_reason, PROA_REASON_MAX, "a thread blocked in recv(2) cannot be started or interrupted: %s",
                 strerror(-error));
    return error;
}

static void *wait_for_turn(void *argument)
{
    struct sys sys = {0};

    sys_semaphore_wait(&sys, argument);
    return NULL;
}

/* As many threads at once as a loop makes at most by default. */
static int test_limit(struct sys *sys, char *ret_reason)
{
    pthread_t *threads = calloc(OP_THREADS_MAX, sizeof(threads[0]));
    uint32_t count = 0;
    sem_t turn;
    int error = threads ? sys_interrupt_begin() : -ENOMEM;

    sem_init(&turn, 0, 0);
    while (error == 0 && count < OP_THREADS_MAX) {
        error = sys_thread_start(sys, &threads[count], wait_for_turn, &turn);
        count += error == 0;
    }
    for (uint32_t i = 0; i < count; i++)
        sys_semaphore_post(sys, &turn);
    for (uint32_t i = 0; i < count; i++)
        sys_thread_join(sys, threads[i]);
    sem_destroy(&turn);
    free(threads);
    if (error < 0)
        snprintf(ret_reason, PROA_REASON_MAX,
                 "only %u threads can be had (%s); look at RLIMIT_NPROC and the pids.max of the control group", count,
                 strerror(-error));
    return error;
}

static const struct engine_feature threads_features[] = {
    {"interrupt", "a signal ends a blocked call: cancel, deadline and close need it", 0, test_interrupt},
    {"op_threads", "as many threads as the default limit allows, 1024 ops in flight", 0, test_limit},
};

/* Opening and closing */

static void threads_close(struct engine *engine)
{
    struct threads *self = self_of(engine);
    struct sys *sys = &self->host->sys;
    struct op_thread *thread;

    for (thread = self->threads; thread; thread = thread->older)
        sys_semaphore_post(sys, &thread->turn);
    while ((thread = self->threads)) {
        self->threads = thread->older;
        sys_thread_join(sys, thread->thread);
        sem_destroy(&thread->turn);
        free(thread);
    }
    if (self->bell >= 0)
        sys_close(sys, self->bell);
    free(self->watched);
    free(self);
}

static int open_parts(struct threads *self, char *ret_reason)
{
    int error = test_interrupt(&self->host->sys, ret_reason);

    if (error < 0)
        return error;
    self->bell = sys_eventfd(&self->host->sys);
    error = self->bell < 0 ? self->bell : watch(self, self->bell);
    if (error < 0)
        snprintf(ret_reason, PROA_REASON_MAX, "no memory or descriptor for the loop itself");
    return error;
}

static int threads_open(struct engine_host *host, struct engine **ret_engine, char *ret_reason)
{
    struct threads *self = calloc(1, sizeof(*self));
    int error;

    if (!self)
        return -ENOMEM;
    self->host = host;
    self->bell = -1;
    self->threads_max = host->options->op_threads_max;
    error = open_parts(self, ret_reason);
    if (error < 0) {
        threads_close((struct engine *)self);
        return error;
    }
    host->sys.blocking = 1;
    *ret_engine = (struct engine *)self;
    return 0;
}

const struct engine_table engine_threads = {
    .name = "threads",
    .summary = "a blocking call per op, each on a thread of its own: the first generation, up to a stated limit",
    .native_files = 1,
    .by_name_alone = 1,
    .features = threads_features,
    .feature_count = ARRAY_SIZE(threads_features),
    .open = threads_open,
    .close = threads_close,
    .start = threads_start,
    .cancel = threads_cancel,
    .wait = threads_wait,
    .reap = threads_reap,
    .wake = threads_wake,
    .buffers_open = ready_buffers_open,
    .buffers_close = ready_buffers_close,
    .buffer_return = ready_buffer_return,
};

/* The loop never waits for a thread: one that holds a lock may have lost its processor, to the loop's own neighbours for
 * one, and then the loop would stand still until that is its turn again. So the loop leaves an op on a stack and counts it;
 * the threads, who have a lock among themselves, put what has come into a queue. Only to take ops back does the loop take
 * that lock. */
#include "engine/pool.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <proa/event.h>
#include <proa/process.h>

#include "engine/file_op.h"
#include "engine/send_file.h"
#include "sys/thread.h"

struct crew {
    struct engine_host *host;
    sem_t come_count;                 /* ops that came and were not looked for yet */
    proa_op *_Atomic come;            /* last one first, chained by `next` */
    struct sys_fault *_Atomic faults; /* the host's plan when the latest of them came */
    atomic_int closing;
    int gives_way; /* to the loop, when that wakes up: what it has for others then need not wait for a file's turn to end */
    pthread_mutex_t lock; /* of */
    struct op_list queue; /* what no thread has yet */
};

struct pool_thread {
    pthread_t thread;
    struct crew *crew;
    struct sys sys;
    _Atomic uint64_t calls, bytes_copied; /* of `sys`, for the host's thread to read */
};

struct pool {
    struct engine_host *host;
    struct crew crews[CREW_COUNT];
    uint32_t thread_count;
    struct pool_thread threads[];
};

/* Returns whether the stack was empty. */
static int push(proa_op *_Atomic *stack, proa_op *op, memory_order order)
{
    proa_op *top = atomic_load_explicit(stack, memory_order_relaxed);

    do
        op->next = top;
    while (!atomic_compare_exchange_weak_explicit(stack, &top, op, order, memory_order_relaxed));
    return !top;
}

void host_post(struct engine_host *host, proa_op *op)
{
    if (push(&host->posted, op, memory_order_seq_cst))
        host->table->wake(host->engine);
}

int64_t pool_run_file_op(struct sys *sys, const proa_op *op)
{
    struct open_how how;

    switch (op->kind) {
    case OP_OPEN:
        how = file_op_how(op);
        return sys_open(sys, op->fd, op->data, &how);
    case OP_READ:
        return sys_read(sys, op->fd, op->data, op->size, op->moved);
    case OP_WRITE:
        return sys_write(sys, op->fd, op->data, op->size, op->moved);
    case OP_WARM:
        return send_file_warm(sys, op);
    case OP_FSYNC:
    case OP_FDATASYNC:
        return sys_fsync(sys, op->fd, op->kind == OP_FDATASYNC);
    case OP_SPAWN:
        return sys_spawn(sys, op->data, (proa_process *)(uintptr_t)op->size);
    case OP_READV:
        return sys_readv(sys, op->fd, op->data, op->size, op->moved);
    case OP_WRITEV:
        return sys_writev(sys, op->fd, op->data, op->size, op->moved);
    case OP_TRUNCATE:
        return sys_truncate(sys, op->fd, op->size);
    case OP_ALLOCATE:
        return sys_allocate(sys, op->fd, file_op_mode(op), op->moved, op->size);
    case OP_MAKE_DIRECTORY:
        return sys_make_directory(sys, op->fd, op->data, (mode_t)op->size);
    case OP_UNLINK:
        return sys_unlink(sys, op->fd, op->data, (int)op->size);
    case OP_RENAME:
        return sys_rename(sys, op->fd, op->data, op->other_fd, file_op_second(op), (unsigned)op->size);
    case OP_HARD_LINK:
        return sys_link(sys, op->fd, op->data, op->other_fd, file_op_second(op), (int)op->size);
    case OP_SYMBOLIC_LINK:
        return sys_symlink(sys, file_op_second(op), op->fd, op->data);
    case OP_READ_LINK:
        return sys_readlink(sys, op->fd, op->data, file_op_second(op), op->size);
    case OP_READ_DIRECTORY:
        return sys_read_directory(sys, op->fd, op->data, op->size);
    default:
        ASSERT(op->kind == OP_STAT);
        return sys_statx(sys, op->fd, op->data, (int)file_op_stat_flags(op), file_op_stat_mask(op), file_op_second(op));
    }
}

int64_t pool_finish_file_op(struct sys *sys, const proa_op *op)
{
    int64_t value;

    do
        value = pool_run_file_op(sys, op);
    while (value == -EINTR);
    return value;
}

static void run_op(struct sys *sys, proa_op *op)
{
    int is_function = op->kind == OP_WORK || op->kind == OP_FILE_WORK;
    int64_t value = is_function ? ((proa_work_function *)op->data)(op) : pool_finish_file_op(sys, op);

    op->error = 0;
    op->moved = (uint64_t)value;
}

static void run(struct pool_thread *self, proa_op *op)
{
    run_op(&self->sys, op);
    atomic_store_explicit(&self->calls, self->sys.calls, memory_order_relaxed);
    atomic_store_explicit(&self->bytes_copied, self->sys.bytes_copied, memory_order_relaxed);
    host_post(self->crew->host, op);
}

/* Under the crew's lock. The stack's order is turned round. */
static void queue_come(struct crew *crew)
{
    proa_op *op = atomic_exchange_explicit(&crew->come, NULL, memory_order_acquire), *first = NULL, *next;

    for (; op; op = next) {
        next = op->next;
        op->next = first;
        first = op;
    }
    for (op = first; op; op = next) {
        next = op->next;
        list_append(&crew->queue, op);
    }
}

static proa_op *take_next(struct crew *crew)
{
    proa_op *op;

    pthread_mutex_lock(&crew->lock);
    queue_come(crew);
    op = list_take_first(&crew->queue);
    pthread_mutex_unlock(&crew->lock);
    return op;
}

static void wait_for_op(struct crew *crew)
{
    while (sem_wait(&crew->come_count) < 0)
        ;
}

/* An op that was taken back is still counted: there may be none. */
static void *serve(void *argument)
{
    struct pool_thread *self = argument;
    struct crew *crew = self->crew;
    proa_op *op;

    if (crew->gives_way)
        sys_thread_give_way();
    do {
        wait_for_op(crew);
        op = take_next(crew);
        self->sys.faults = atomic_load_explicit(&crew->faults, memory_order_relaxed);
        if (op)
            run(self, op);
    } while (op || !atomic_load(&crew->closing));
    return NULL;
}

/* Signals are the business of the caller's threads. */
static int start_thread(struct pool_thread *self)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&self->thread, NULL, serve, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -error;
}

static int start_threads(struct pool *pool, struct crew *crew, uint32_t count)
{
    int error = 0;

    for (; count > 0 && error == 0; count--) {
        struct pool_thread *next = &pool->threads[pool->thread_count];

        next->crew = crew;
        error = start_thread(next);
        pool->thread_count += error == 0;
    }
    return error;
}

int pool_open(struct engine_host *host, const uint32_t thread_counts[CREW_COUNT], struct pool **ret_pool)
{
    size_t thread_count = (size_t)thread_counts[CREW_WORK] + thread_counts[CREW_FILES];
    struct pool *pool = calloc(1, sizeof(*pool) + thread_count * sizeof(pool->threads[0]));
    int error = 0;

    *ret_pool = NULL;
    if (!pool)
        return -ENOMEM;
    pool->host = host;
    for (size_t i = 0; i < CREW_COUNT; i++) {
        pool->crews[i].host = host;
        pool->crews[i].gives_way = i == CREW_FILES;
        pthread_mutex_init(&pool->crews[i].lock, NULL);
        sem_init(&pool->crews[i].come_count, 0, 0);
    }
    for (size_t i = 0; i < CREW_COUNT && error == 0; i++)
        error = start_threads(pool, &pool->crews[i], thread_counts[i]);
    if (error < 0) {
        pool_close(pool);
        return error;
    }
    *ret_pool = pool;
    return 0;
}

void pool_close(struct pool *pool)
{
    for (size_t i = 0; i < CREW_COUNT; i++)
        atomic_store(&pool->crews[i].closing, 1);
    for (uint32_t i = 0; i < pool->thread_count; i++)
        sem_post(&pool->threads[i].crew->come_count);
    for (uint32_t i = 0; i < pool->thread_count; i++)
        pthread_join(pool->threads[i].thread, NULL);
    for (size_t i = 0; i < CREW_COUNT; i++) {
        pthread_mutex_destroy(&pool->crews[i].lock);
        sem_destroy(&pool->crews[i].come_count);
    }
    free(pool);
}

static struct crew *crew_of(struct pool *pool, const proa_op *op)
{
    return &pool->crews[op->kind == OP_WORK ? CREW_WORK : CREW_FILES];
}

void pool_start(struct pool *pool, proa_op *op)
{
    struct crew *crew = crew_of(pool, op);

    op->flags |= OP_POOLED;
    atomic_store_explicit(&crew->faults, pool->host->sys.faults, memory_order_relaxed);
    push(&crew->come, op, memory_order_release);
    sem_post(&crew->come_count);
}

static proa_op *take_back(struct crew *crew, int (*matches)(const proa_op *op, const void *key), const void *key)
{
    proa_op *op;

    pthread_mutex_lock(&crew->lock);
    queue_come(crew);
    for (op = crew->queue.first; op && !matches(op, key); op = op->next)
        ;
    if (op)
        list_remove(&crew->queue, op);
    pthread_mutex_unlock(&crew->lock);
    return op;
}

static int is_op(const proa_op *op, const void *key)
{
    return op == key;
}

static int is_on_descriptor(const proa_op *op, const void *key)
{
    int fd = *(const int *)key;

    return (op->flags & OP_ATTACHED && op->fd == fd) || (op->flags & OP_ATTACHED_OTHER && op->other_fd == fd);
}

static int is_any(const proa_op *op, const void *key)
{
    (void)op;
    (void)key;
    return 1;
}

static void cancel_matching(struct crew *crew, int (*matches)(const proa_op *op, const void *key), const void *key)
{
    proa_op *op;

    while ((op = take_back(crew, matches, key)))
        op_done(crew->host, op, -ECANCELED);
}

void pool_cancel(struct pool *pool, proa_op *op)
{
    cancel_matching(crew_of(pool, op), is_op, op);
}

/* The caller's functions are on none. */
void pool_cancel_descriptor(struct pool *pool, int fd)
{
    cancel_matching(&pool->crews[CREW_FILES], is_on_descriptor, &fd);
}

void pool_cancel_all(struct pool *pool)
{
    for (size_t i = 0; i < CREW_COUNT; i++)
        cancel_matching(&pool->crews[i], is_any, NULL);
}

proa_op *pool_take(struct pool *pool, enum pool_crew crew)
{
    return take_back(&pool->crews[crew], is_any, NULL);
}

void pool_run(struct pool *pool, proa_op *op)
{
    run_op(&pool->host->sys, op);
    op->flags &= ~(unsigned)OP_POOLED;
    op->state = OP_DONE;
    list_append(&pool->host->done, op);
}

void pool_meter(const struct pool *pool, proa_meters *meters)
{
    for (uint32_t i = 0; i < pool->thread_count; i++) {
        meters->system_calls += atomic_load_explicit(&pool->threads[i].calls, memory_order_relaxed);
        meters->bytes_copied += atomic_load_explicit(&pool->threads[i].bytes_copied, memory_order_relaxed);
    }
}

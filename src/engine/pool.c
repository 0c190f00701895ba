#include "engine/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <proa/event.h>

#include "engine/file_op.h"

struct pool_thread {
    pthread_t thread;
    struct pool *pool;
    struct sys sys;
    _Atomic uint64_t calls, bytes_copied; /* of `sys`, for the host's thread to read */
};

struct pool {
    struct engine_host *host;
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct op_list queue;     /* what no thread has yet */
    struct sys_fault *faults; /* the host's plan when the latest of them came */
    int closing;
    uint32_t thread_count;
    struct pool_thread threads[];
};

void host_post(struct engine_host *host, proa_op *op)
{
    proa_op *top = atomic_load_explicit(&host->posted, memory_order_relaxed);

    do
        op->next = top;
    while (!atomic_compare_exchange_weak_explicit(&host->posted, &top, op, memory_order_seq_cst, memory_order_relaxed));
    if (!top)
        host->table->wake(host->engine);
}

static int64_t pool_run_file_op(struct sys *sys, const proa_op *op)
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
    case OP_FSYNC:
    case OP_FDATASYNC:
        return sys_fsync(sys, op->fd, op->kind == OP_FDATASYNC);
    default:
        ASSERT(op->kind == OP_STAT);
        return sys_statx(sys, op->fd, op->data, file_op_statx(op));
    }
}

static int64_t run_to_the_end(struct sys *sys, const proa_op *op)
{
    int64_t value;

    do
        value = pool_run_file_op(sys, op);
    while (value == -EINTR);
    return value;
}

static void run(struct pool_thread *self, proa_op *op)
{
    int64_t value = op->kind == OP_WORK ? ((proa_work_function *)op->data)(op) : run_to_the_end(&self->sys, op);

    op->error = 0;
    op->moved = (uint64_t)value;
    atomic_store_explicit(&self->calls, self->sys.calls, memory_order_relaxed);
    atomic_store_explicit(&self->bytes_copied, self->sys.bytes_copied, memory_order_relaxed);
    host_post(self->pool->host, op);
}

static void *serve(void *argument)
{
    struct pool_thread *self = argument;
    struct pool *pool = self->pool;

    pthread_mutex_lock(&pool->lock);
    while (!pool->closing || pool->queue.first) {
        proa_op *op = list_take_first(&pool->queue);

        self->sys.faults = pool->faults;
        if (!op) {
            pthread_cond_wait(&pool->filled, &pool->lock);
            continue;
        }
        pthread_mutex_unlock(&pool->lock);
        run(self, op);
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
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

int pool_open(struct engine_host *host, uint32_t thread_count, struct pool **ret_pool)
{
    struct pool *pool = calloc(1, sizeof(*pool) + thread_count * sizeof(pool->threads[0]));

    *ret_pool = NULL;
    if (!pool)
        return -ENOMEM;
    pool->host = host;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->filled, NULL);
    while (pool->thread_count < thread_count) {
        struct pool_thread *next = &pool->threads[pool->thread_count];
        int error;

        next->pool = pool;
        error = start_thread(next);
        if (error < 0) {
            pool_close(pool);
            return error;
        }
        pool->thread_count++;
    }
    *ret_pool = pool;
    return 0;
}

void pool_close(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->closing = 1;
    pthread_cond_broadcast(&pool->filled);
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < pool->thread_count; i++)
        pthread_join(pool->threads[i].thread, NULL);
    pthread_cond_destroy(&pool->filled);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

void pool_start(struct pool *pool, proa_op *op)
{
    op->flags |= OP_POOLED;
    pthread_mutex_lock(&pool->lock);
    list_append(&pool->queue, op);
    pool->faults = pool->host->sys.faults;
    pthread_cond_signal(&pool->filled);
    pthread_mutex_unlock(&pool->lock);
}

static proa_op *take_back(struct pool *pool, int (*matches)(const proa_op *op, const void *key), const void *key)
{
    proa_op *op;

    pthread_mutex_lock(&pool->lock);
    for (op = pool->queue.first; op && !matches(op, key); op = op->next)
        ;
    if (op)
        list_remove(&pool->queue, op);
    pthread_mutex_unlock(&pool->lock);
    return op;
}

static int is_op(const proa_op *op, const void *key)
{
    return op == key;
}

static int is_on_descriptor(const proa_op *op, const void *key)
{
    return op->flags & OP_ATTACHED && op->fd == *(const int *)key;
}

static int is_any(const proa_op *op, const void *key)
{
    (void)op;
    (void)key;
    return 1;
}

static void cancel_matching(struct pool *pool, int (*matches)(const proa_op *op, const void *key), const void *key)
{
    proa_op *op;

    while ((op = take_back(pool, matches, key)))
        op_done(pool->host, op, -ECANCELED);
}

void pool_cancel(struct pool *pool, proa_op *op)
{
    cancel_matching(pool, is_op, op);
}

void pool_cancel_descriptor(struct pool *pool, int fd)
{
    cancel_matching(pool, is_on_descriptor, &fd);
}

void pool_cancel_all(struct pool *pool)
{
    cancel_matching(pool, is_any, NULL);
}

void pool_meter(const struct pool *pool, proa_meters *meters)
{
    for (uint32_t i = 0; i < pool->thread_count; i++) {
        meters->system_calls += atomic_load_explicit(&pool->threads[i].calls, memory_order_relaxed);
        meters->bytes_copied += atomic_load_explicit(&pool->threads[i].bytes_copied, memory_order_relaxed);
    }
}

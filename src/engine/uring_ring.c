#include "engine/uring_ring.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ENTRIES_MIN = 16, COMPLETIONS_PER_ENTRY = 8 };

/* Bounds on the kernel's helper threads: for files and devices, and for all else, which RLIMIT_NPROC alone would limit. */
enum { FILE_WORKERS_MAX = 16, OTHER_WORKERS_MAX = 64 };

int ring_register_buffers(struct ring *ring, void *memory, uint32_t count, uint32_t group)
{
    struct io_uring_buf_reg registration = {
        .ring_addr = (uintptr_t)memory,
        .ring_entries = count,
        .bgid = (uint16_t)group,
    };

    return sys_uring_register(ring->sys, ring->uring.ring_fd, IORING_REGISTER_PBUF_RING, &registration, 1);
}

void ring_unregister_buffers(struct ring *ring, uint32_t group)
{
    struct io_uring_buf_reg registration = {.bgid = (uint16_t)group};

    sys_uring_register(ring->sys, ring->uring.ring_fd, IORING_UNREGISTER_PBUF_RING, &registration, 1);
}

int ring_enter(struct ring *ring, unsigned wait, uint64_t timeout_ns)
{
    struct __kernel_timespec timeout = {
        .tv_sec = (int64_t)(timeout_ns / 1000000000),
        .tv_nsec = (long long)(timeout_ns % 1000000000),
    };
    struct io_uring_getevents_arg argument = {.ts = (uintptr_t)&timeout};
    unsigned flags = ring->enter_flags | IORING_ENTER_GETEVENTS;
    unsigned pending;
    int result;

    io_uring_smp_store_release(ring->uring.sq.ktail, ring->sq_tail);
    pending = ring->sq_tail - io_uring_smp_load_acquire(ring->uring.sq.khead);
    if (wait && timeout_ns != PROA_NEVER)
        result = sys_uring_enter(ring->sys, ring->enter_fd, pending, wait, flags | IORING_ENTER_EXT_ARG, &argument,
                                 sizeof(argument));
    else
        result = sys_uring_enter(ring->sys, ring->enter_fd, pending, wait, flags, NULL, _NSIG / 8);
    if (likely(result >= 0))
        return 0;
    /* Out of time or interrupted: the turn goes on. Short of memory: what was not taken is offered again next turn. */
    if (result == -ETIME || result == -EINTR || result == -EAGAIN || result == -EBUSY || result == -ENOMEM)
        return 0;
    return result;
}

/* The self-test: one round trip of what the engine is built on */

/* Returns 1 with the next completion of that name, or 0 where there is none. */
static int next_result(struct ring *ring, uint64_t user_data, struct io_uring_cqe *ret_cqe)
{
    for (int tries = 0; tries < 8; tries++) {
        struct io_uring_cqe *cqe;

        if (ring_enter(ring, 0, 0) < 0)
            return 0;
        while ((cqe = ring_peek(ring, ring->cq_head))) {
            *ret_cqe = *cqe;
            ring->cq_head++;
            ring_publish_head(ring);
            if (ret_cqe->user_data == user_data)
                return 1;
        }
    }
    return 0;
}

static const char *test_receive_many(struct ring *ring, const int pair[2], struct io_uring_buf_ring *buffers,
                                     char *buffer)
{
    struct io_uring_sqe *entry = ring_next(ring);
    struct io_uring_cqe cqe;

    buffers->bufs[0].addr = (uintptr_t)buffer;
    buffers->bufs[0].len = 1;
    buffers->bufs[0].bid = 0;
    io_uring_smp_store_release(&buffers->tail, (uint16_t)1);
    io_uring_prep_recv_multishot(entry, pair[0], NULL, 0, 0);
    entry->ioprio |= IORING_RECVSEND_POLL_FIRST;
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->user_data = 1;
    if (next_result(ring, 1, &cqe))
        return "a repeating receive ends although nothing came";
    entry = ring_next(ring);
    io_uring_prep_send(entry, pair[1], "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT | MSG_WAITALL);
    entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    entry->user_data = 2;
    if (!next_result(ring, 1, &cqe) || cqe.res != 1 || !(cqe.flags & IORING_CQE_F_BUFFER) || *buffer != 'x')
        return "a repeating receive into provided buffers does not work (Linux 6.0)";
    entry = ring_next(ring);
    io_uring_prep_cancel64(entry, 1, 0);
    entry->user_data = 3;
    if (cqe.flags & IORING_CQE_F_MORE && (!next_result(ring, 1, &cqe) || cqe.res != -ECANCELED))
        return "cancelling does not work";
    return NULL;
}

static const char *test_with_pair(struct ring *ring, const int pair[2])
{
    size_t size = 4096;
    struct io_uring_buf_ring *buffers = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const char *failure = "rings of provided buffers are missing (Linux 5.19)";
    char buffer = 0;

    if (buffers == MAP_FAILED)
        return "no memory for the self-test";
    if (ring_enter(ring, 0, 0) < 0) {
        failure = "entering the ring is forbidden, as by a seccomp filter";
    } else if (ring_register_buffers(ring, buffers, 1, 0) == 0) {
        failure = test_receive_many(ring, pair, buffers, &buffer);
        ring_unregister_buffers(ring, 0);
    }
    munmap(buffers, size);
    return failure;
}

/* Returns null, or what does not work. */
static const char *self_test(struct ring *ring)
{
    struct io_uring_cqe leftover;
    const char *failure;
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return "no descriptors for the self-test";
    failure = test_with_pair(ring, pair);
    close(pair[0]);
    close(pair[1]);
    next_result(ring, 0, &leftover);
    return failure;
}

/* Set-up */

static const char *setup_refusal(int error)
{
    switch (error) {
    case -EPERM:
    case -EACCES:
        return "forbidden by kernel.io_uring_disabled, or by a seccomp filter such as a container's";
    case -ENOSYS:
        return "the kernel has no io_uring, or a seccomp filter hides it";
    case -ENOMEM:
        return "the limit on locked memory is too small (RLIMIT_MEMLOCK, ulimit -l)";
    case -EINVAL:
        return "the kernel lacks a set-up flag that makes a ring pay (DEFER_TASKRUN: Linux 6.1)";
    case -EMFILE:
    case -ENFILE:
        return "no descriptor is free";
    default:
        return strerror(-error);
    }
}

/* Halves the ring until its memory fits under the limit. */
static int setup(struct ring *ring, unsigned entries, struct io_uring_params *parameters)
{
    int fd;

    for (;; entries /= 2) {
        *parameters = (struct io_uring_params){
            .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
                     IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
            .cq_entries = entries * COMPLETIONS_PER_ENTRY,
        };
        fd = sys_uring_setup(ring->sys, entries, parameters);
        if (fd != -ENOMEM || entries <= ENTRIES_MIN)
            return fd;
    }
}

/* Saves the kernel looking the descriptor up on each call; a kernel or filter that refuses leaves the plain one. */
static void register_descriptor(struct ring *ring)
{
    struct io_uring_rsrc_update update = {.offset = -1U, .data = (uint64_t)ring->uring.ring_fd};

    ring->enter_fd = ring->uring.ring_fd;
    if (sys_uring_register(ring->sys, ring->uring.ring_fd, IORING_REGISTER_RING_FDS, &update, 1) != 1)
        return;
    ring->enter_fd = (int)update.offset;
    ring->enter_flags |= IORING_ENTER_REGISTERED_RING;
}

static void limit_workers(struct ring *ring)
{
    unsigned limits[2] = {FILE_WORKERS_MAX, OTHER_WORKERS_MAX};

    sys_uring_register(ring->sys, ring->uring.ring_fd, IORING_REGISTER_IOWQ_MAX_WORKERS, limits, 2);
}

static int map(struct ring *ring, int fd, struct io_uring_params *parameters)
{
    int error = io_uring_queue_mmap(fd, parameters, &ring->uring);

    if (error < 0) {
        sys_close(ring->sys, fd);
        return error;
    }
    ring->is_open = 1;
    io_uring_ring_dontfork(&ring->uring);
    ring->entries = parameters->sq_entries;
    for (unsigned i = 0; i < ring->entries; i++)
        ring->uring.sq.array[i] = i;
    if (parameters->features & IORING_FEAT_NO_IOWAIT)
        ring->enter_flags |= IORING_ENTER_NO_IOWAIT;
    return 0;
}

int ring_open(struct ring *ring, struct sys *sys, unsigned entries, char *ret_reason)
{
    struct io_uring_params parameters;
    const char *failure;
    int fd, error;

    ring->sys = sys;
    fd = setup(ring, entries, &parameters);
    error = fd < 0 ? fd : map(ring, fd, &parameters);
    if (error < 0) {
        snprintf(ret_reason, PROA_REASON_MAX, "io_uring is refused: %s", setup_refusal(error));
        return error;
    }
    register_descriptor(ring);
    limit_workers(ring);
    failure = self_test(ring);
    if (!failure)
        return 0;
    snprintf(ret_reason, PROA_REASON_MAX, "io_uring is there but fails its self-test: %s", failure);
    return -ENOTSUP;
}

void ring_close(struct ring *ring)
{
    struct io_uring_rsrc_update update = {.offset = (uint32_t)ring->enter_fd};

    if (!ring->is_open)
        return;
    /* The thread's slot would keep the ring and its locked memory alive. */
    if (ring->enter_flags & IORING_ENTER_REGISTERED_RING)
        sys_uring_register(ring->sys, ring->uring.ring_fd, IORING_UNREGISTER_RING_FDS, &update, 1);
    io_uring_queue_exit(&ring->uring);
}

#include "engine/uring_ring.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { ENTRIES_MIN = 16, COMPLETIONS_PER_ENTRY = 8 };

/* How long the kernel's thread looks for entries before it sleeps, and the owner for completions before it does: the
 * longest pauses of a busy loop, so that it needs no call to end them. */
enum { THREAD_IDLE_MS = 2, SPIN_NS = 200000 };

/* Bounds on the kernel's helper threads: for files and devices, and for all else, which RLIMIT_NPROC alone would limit. */
enum { FILE_WORKERS_MAX = 16, OTHER_WORKERS_MAX = 64 };

const char ring_memory_refusal[] = "the limit on locked memory is too small (RLIMIT_MEMLOCK, ulimit -l)";

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

/* No more than RLIMIT_NOFILE lets a table have. */
int ring_register_files(struct ring *ring, uint32_t *count)
{
    int error;

    for (;; *count /= 2) {
        struct io_uring_rsrc_register registration = {.nr = *count, .flags = IORING_RSRC_REGISTER_SPARSE};

        error = sys_uring_register(ring->sys, ring->uring.ring_fd, IORING_REGISTER_FILES2, &registration,
                                   sizeof(registration));
        if (error != -EMFILE || *count <= 1)
            return error;
    }
}

int ring_drop_file(struct ring *ring, uint32_t place)
{
    int32_t none = -1;
    struct io_uring_files_update update = {.offset = place, .fds = (uintptr_t)&none};
    int count = sys_uring_register(ring->sys, ring->uring.ring_fd, IORING_REGISTER_FILES_UPDATE, &update, 1);

    return count == 1 ? 0 : count < 0 ? count : -EBADF;
}

void ring_unregister_files(struct ring *ring)
{
    sys_uring_register(ring->sys, ring->uring.ring_fd, IORING_UNREGISTER_FILES, NULL, 0);
}

int ring_register_memory_table(struct ring *ring, uint32_t count)
{
    struct io_uring_rsrc_register registration = {.nr = count, .flags = IORING_RSRC_REGISTER_SPARSE};

    return sys_uring_register(ring->sys, ring->uring.ring_fd, IORING_REGISTER_BUFFERS2, &registration,
                              sizeof(registration));
}

int ring_register_memory(struct ring *ring, uint32_t place, void *memory, size_t size)
{
    struct iovec region = {.iov_base = memory, .iov_len = size};
    struct io_uring_rsrc_update2 update = {.offset = place, .data = (uintptr_t)&region, .nr = 1};
    int count = sys_uring_register(ring->sys, ring->uring.ring_fd, IORING_REGISTER_BUFFERS_UPDATE, &update,
                                   sizeof(update));

    return count == 1 ? 0 : count < 0 ? count : -EINVAL;
}

/* What is registered after the ring is enabled, and the flags of entries. */
static const uint8_t needed_registers[] = {
    IORING_REGISTER_PBUF_RING,      IORING_UNREGISTER_PBUF_RING,  IORING_REGISTER_BUFFERS2,
    IORING_REGISTER_BUFFERS_UPDATE, IORING_REGISTER_FILES_UPDATE, IORING_UNREGISTER_FILES,
    IORING_UNREGISTER_BUFFERS,      IORING_UNREGISTER_RING_FDS,
};

static const uint8_t NEEDED_FLAGS = IOSQE_FIXED_FILE | IOSQE_IO_LINK | IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS;

int ring_restrict(struct ring *ring, const uint8_t *opcodes, size_t count)
{
    struct io_uring_restriction rules[64] = {
        {.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = NEEDED_FLAGS}};
    unsigned rule = 1;

    ASSERT(count + ARRAY_SIZE(needed_registers) < ARRAY_SIZE(rules));
    for (size_t i = 0; i < ARRAY_SIZE(needed_registers); i++)
        rules[rule++] = (struct io_uring_restriction){
            .opcode = IORING_RESTRICTION_REGISTER_OP,
            .register_op = needed_registers[i],
        };
    for (size_t i = 0; i < count; i++)
        rules[rule++] = (struct io_uring_restriction){.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = opcodes[i]};
    return sys_uring_register(ring->sys, ring->uring.ring_fd, IORING_REGISTER_RESTRICTIONS, rules, rule);
}

int ring_enable(struct ring *ring)
{
    return sys_uring_register(ring->sys, ring->uring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

int ring_busy_poll(struct ring *ring, uint32_t busy_poll_us)
{
    struct ring_napi napi = {.busy_poll_to = busy_poll_us};

    return sys_uring_register(ring->sys, ring->uring.ring_fd, RING_REGISTER_NAPI, &napi, 1);
}

/* Whether a completion comes so soon that a call to wait for it would cost more. */
static int comes_soon(const struct ring *ring, uint64_t timeout_ns)
{
    uint64_t until_ns = sys_now_ns(ring->sys) + (timeout_ns < SPIN_NS ? timeout_ns : SPIN_NS);

    /* Looks once more in the end: the time may have gone to another thread that was given our processor. */
    while (!ring_peek(ring, ring->cq_head))
        if (sys_now_ns(ring->sys) >= until_ns)
            return ring_peek(ring, ring->cq_head) != NULL;
    return 1;
}

/* What is to be asked of the kernel where its thread takes the entries. */
static unsigned thread_needs(const struct ring *ring, unsigned wait)
{
    unsigned flags = wait || ring_overflowed(ring) ? IORING_ENTER_GETEVENTS : 0;

    /* The thread says that it sleeps, then looks at the tail once more: we publish the tail, then look whether it sleeps. */
    io_uring_smp_mb();
    if (!ring_all_consumed(ring) && IO_URING_READ_ONCE(*ring->uring.sq.kflags) & IORING_SQ_NEED_WAKEUP)
        flags |= IORING_ENTER_SQ_WAKEUP;
    return ring_is_full(ring) ? flags | IORING_ENTER_SQ_WAIT : flags;
}

static int call_enter(struct ring *ring, unsigned submit, unsigned wait, unsigned flags, uint64_t timeout_ns)
{
    struct __kernel_timespec timeout = {
        .tv_sec = (int64_t)(timeout_ns / 1000000000),
        .tv_nsec = (long long)(timeout_ns % 1000000000),
    };
    struct io_uring_getevents_arg argument = {.ts = (uintptr_t)&timeout};
    int result;

    flags |= ring->enter_flags;
    if (wait && timeout_ns != PROA_NEVER)
        result = sys_uring_enter(ring->sys, ring->enter_fd, submit, wait, flags | IORING_ENTER_EXT_ARG, &argument,
                                 sizeof(argument));
    else
        result = sys_uring_enter(ring->sys, ring->enter_fd, submit, wait, flags, NULL, _NSIG / 8);
    if (likely(result >= 0))
        return 0;
    /* Out of time or interrupted: the turn goes on. Short of memory: what was not taken is offered again next turn. */
    if (result == -ETIME || result == -EINTR || result == -EAGAIN || result == -EBUSY || result == -ENOMEM)
        return 0;
    return result;
}

static RARE int enter_beside_thread(struct ring *ring, unsigned wait, uint64_t timeout_ns)
{
    unsigned flags = thread_needs(ring, wait);

    if (wait && !(flags & IORING_ENTER_SQ_WAKEUP)) {
        wait = !comes_soon(ring, timeout_ns);
        flags = thread_needs(ring, wait);
    }
    return flags ? call_enter(ring, 0, wait, flags, timeout_ns) : 0;
}

int ring_enter(struct ring *ring, unsigned wait, uint64_t timeout_ns)
{
    io_uring_smp_store_release(ring->uring.sq.ktail, ring->sq_tail);
    if (unlikely(ring->has_thread))
        return enter_beside_thread(ring, wait, timeout_ns);
    return call_enter(ring, ring->sq_tail - io_uring_smp_load_acquire(ring->uring.sq.khead), wait,
                      IORING_ENTER_GETEVENTS, timeout_ns);
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
        return ring_memory_refusal;
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
static int setup(struct ring *ring, unsigned entries, enum ring_mode mode, struct io_uring_params *parameters)
{
    unsigned mode_flags = mode & RING_THREAD ? IORING_SETUP_SQPOLL : IORING_SETUP_DEFER_TASKRUN;
    int fd;

    if (mode & RING_DISABLED)
        mode_flags |= IORING_SETUP_R_DISABLED;

    for (;; entries /= 2) {
        *parameters = (struct io_uring_params){
            .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP |
                     mode_flags,
            .cq_entries = entries * COMPLETIONS_PER_ENTRY,
            .sq_thread_idle = THREAD_IDLE_MS,
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

void ring_unregister_memory_table(struct ring *ring)
{
    sys_uring_register(ring->sys, ring->uring.ring_fd, IORING_UNREGISTER_BUFFERS, NULL, 0);
}

int ring_limit_workers(struct ring *ring)
{
    unsigned limits[2] = {FILE_WORKERS_MAX, OTHER_WORKERS_MAX};

    return sys_uring_register(ring->sys, ring->uring.ring_fd, IORING_REGISTER_IOWQ_MAX_WORKERS, limits, 2);
}

/* How many rings were unmapped. liburing maps and unmaps by system calls of its own, which no sanitizer sees: one thread's
 * new ring where another's old one was would look like memory shared by both. The kernel orders them; this says so. */
static atomic_uint unmapped;

static int map(struct ring *ring, int fd, struct io_uring_params *parameters)
{
    int error = io_uring_queue_mmap(fd, parameters, &ring->uring);

    atomic_load_explicit(&unmapped, memory_order_acquire);
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

int ring_open(struct ring *ring, struct sys *sys, unsigned entries, enum ring_mode mode, char *ret_reason)
{
    struct io_uring_params parameters;
    int fd, error;

    *ring = (struct ring){.sys = sys, .has_thread = mode & RING_THREAD};
    fd = setup(ring, entries, mode, &parameters);
    error = fd < 0 ? fd : map(ring, fd, &parameters);
    if (error < 0) {
        snprintf(ret_reason, PROA_REASON_MAX, "io_uring is refused: %s", setup_refusal(error));
        return error;
    }
    register_descriptor(ring);
    ring_limit_workers(ring);
    return 0;
}

void ring_close(struct ring *ring)
{
    struct io_uring_rsrc_update update = {.offset = (uint32_t)ring->enter_fd};

    if (!ring->is_open)
        return;
    /* The thread's slot would keep the ring and its locked memory alive. */
    if (ring->enter_flags & IORING_ENTER_REGISTERED_RING)
        sys_uring_register(ring->sys, ring->uring.ring_fd, IORING_UNREGISTER_RING_FDS, &update, 1);
    atomic_fetch_add_explicit(&unmapped, 1, memory_order_release);
    io_uring_queue_exit(&ring->uring);
    ring->is_open = 0;
}

#include "engine/uring_features.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { ENTRIES = 16, BUFFERS_SIZE = 4096, LARGE = 1 << 20 };

/* Names of completions. MARK is an entry that does nothing: what stands before it has been tried when it completes. */
enum { RECEIVE = 1, SEND, CANCEL, ACCEPT, FILE_OP, MARK, END };

static const uint64_t LIMIT_NS = 5000000000;

/* What a round trip works with. It returns null, or what does not work. */
struct trial {
    struct ring *ring;
    int pair[2]; /* connected sockets */
};

static struct io_uring_sqe *next_entry(const struct trial *trial)
{
    /* Waiting for the kernel's thread may end before there is room. */
    while (ring_is_full(trial->ring) && ring_enter(trial->ring, 0, 0) == 0)
        ;
    return ring_next(trial->ring);
}

static void mark(const struct trial *trial, uint64_t name)
{
    struct io_uring_sqe *entry = next_entry(trial);

    io_uring_prep_nop(entry);
    entry->user_data = name;
}

/* Waits for the next completion that has one of two names. Returns its name, or 0 where none comes in time. */
static uint64_t await(const struct trial *trial, uint64_t name, uint64_t or_name, struct io_uring_cqe *ret_cqe)
{
    uint64_t until_ns = sys_now_ns(trial->ring->sys) + LIMIT_NS;
    struct ring *ring = trial->ring;
    struct io_uring_cqe *cqe;

    memset(ret_cqe, 0, sizeof(*ret_cqe));
    while (ring_enter(ring, 1, LIMIT_NS) == 0 && sys_now_ns(ring->sys) < until_ns) {
        while ((cqe = ring_peek(ring, ring->cq_head))) {
            *ret_cqe = *cqe;
            ring->cq_head++;
            ring_publish_head(ring);
            if (ret_cqe->user_data == name || ret_cqe->user_data == or_name)
                return ret_cqe->user_data;
        }
    }
    return 0;
}

/* Whether the next of that name comes with that result. */
static int completes(const struct trial *trial, uint64_t name, int result)
{
    struct io_uring_cqe cqe;

    return await(trial, name, name, &cqe) == name && cqe.res == result;
}

/* Provided buffers: a ring of one buffer, which lies in the same page. */

struct provided {
    struct io_uring_buf_ring *ring;
    char *buffer;
};

static const char *provide(const struct trial *trial, struct provided *ret_provided, unsigned size)
{
    void *memory = mmap(NULL, BUFFERS_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int error;

    if (memory == MAP_FAILED)
        return "no memory for the self-test";
    ret_provided->ring = memory;
    ret_provided->buffer = (char *)memory + BUFFERS_SIZE / 2;
    ret_provided->ring->bufs[0].addr = (uintptr_t)ret_provided->buffer;
    ret_provided->ring->bufs[0].len = size;
    ret_provided->ring->bufs[0].bid = 0;
    io_uring_smp_store_release(&ret_provided->ring->tail, (uint16_t)1);
    error = ring_register_buffers(trial->ring, memory, 1, 0);
    if (error == 0)
        return NULL;
    munmap(memory, BUFFERS_SIZE);
    return error == -ENOMEM ? ring_memory_refusal : "rings of provided buffers are missing (Linux 5.19)";
}

static void unprovide(const struct trial *trial, const struct provided *provided)
{
    ring_unregister_buffers(trial->ring, 0);
    munmap(provided->ring, BUFFERS_SIZE);
}

static void select_buffer(struct io_uring_sqe *entry)
{
    entry->ioprio |= IORING_RECVSEND_POLL_FIRST;
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->buf_group = 0;
    entry->user_data = RECEIVE;
}

/* What was armed by `entry` waits until data comes, and brings it in the buffer. */
static const char *try_received(const struct trial *trial, const struct provided *provided, int size,
                                const char *failure)
{
    struct io_uring_cqe cqe;

    mark(trial, MARK);
    if (await(trial, RECEIVE, MARK, &cqe) != MARK)
        return "a receive ends although nothing came";
    if (write(trial->pair[1], "x", 1) != 1 || await(trial, RECEIVE, RECEIVE, &cqe) != RECEIVE || cqe.res != size ||
        !(cqe.flags & IORING_CQE_F_BUFFER) || provided->buffer[size - 1] != 'x')
        return failure;
    return NULL;
}

typedef void prepare_receive(struct io_uring_sqe *entry, int fd, void *data, size_t size, int flags);

static const char *try_receive(const struct trial *trial, prepare_receive *prepare, const char *refusal)
{
    struct provided provided;
    struct io_uring_sqe *entry;
    const char *failure = provide(trial, &provided, 1);

    if (failure)
        return failure;
    entry = next_entry(trial);
    prepare(entry, trial->pair[0], NULL, 0, 0);
    select_buffer(entry);
    failure = try_received(trial, &provided, 1, refusal);
    unprovide(trial, &provided);
    return failure;
}

static const char *try_provided_buffers(const struct trial *trial)
{
    return try_receive(trial, io_uring_prep_recv, "a receive into provided buffers does not work");
}

static const char *try_receive_many(const struct trial *trial)
{
    return try_receive(trial, io_uring_prep_recv_multishot, "a repeating receive does not work (Linux 6.0)");
}

static const char *try_receive_from_many(const struct trial *trial)
{
    struct trial datagrams = {.ring = trial->ring};
    struct msghdr header = {0};
    struct provided provided;
    struct io_uring_sqe *entry;
    struct io_uring_cqe cqe;
    const char *failure = provide(trial, &provided, 256);

    if (failure)
        return failure;
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, datagrams.pair) < 0) {
        unprovide(trial, &provided);
        return "no descriptors for the self-test";
    }
    entry = next_entry(trial);
    io_uring_prep_recvmsg_multishot(entry, datagrams.pair[0], &header, 0);
    select_buffer(entry);
    failure = try_received(&datagrams, &provided, (int)sizeof(struct io_uring_recvmsg_out) + 1,
                           "a repeating receive of datagrams does not work (Linux 6.0)");
    entry = next_entry(trial);
    io_uring_prep_cancel64(entry, RECEIVE, 0);
    entry->user_data = CANCEL;
    /* Without a second buffer it may have ended already. */
    await(trial, CANCEL, CANCEL, &cqe);
    unprovide(trial, &provided);
    close(datagrams.pair[0]);
    close(datagrams.pair[1]);
    return failure;
}

static void send_silently(const struct trial *trial, const void *data, size_t size)
{
    struct io_uring_sqe *entry = next_entry(trial);

    io_uring_prep_send(entry, trial->pair[1], data, size, MSG_NOSIGNAL | MSG_DONTWAIT | MSG_WAITALL);
    entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    entry->user_data = SEND;
}

/* One that is taken whole posts nothing, one that falls short does, at once. */
static const char *try_silent_send(const struct trial *trial)
{
    struct io_uring_cqe cqe;
    const char *failure = NULL;
    char byte;
    void *large;

    send_silently(trial, "x", 1);
    mark(trial, MARK);
    if (await(trial, SEND, MARK, &cqe) != MARK || read(trial->pair[0], &byte, 1) != 1)
        return "a send cannot be silent (Linux 5.17)";
    large = mmap(NULL, LARGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (large == MAP_FAILED)
        return "no memory for the self-test";
    send_silently(trial, large, LARGE);
    mark(trial, MARK);
    if (await(trial, SEND, MARK, &cqe) != SEND || cqe.res == LARGE)
        failure = "a silent send that falls short does not say so (Linux 5.19)";
    munmap(large, LARGE);
    return failure;
}

static const char *try_cancel(const struct trial *trial)
{
    struct io_uring_sqe *entry = next_entry(trial);
    char byte;

    io_uring_prep_recv(entry, trial->pair[0], &byte, 1, 0);
    entry->user_data = RECEIVE;
    entry = next_entry(trial);
    io_uring_prep_cancel64(entry, RECEIVE, 0);
    entry->user_data = CANCEL;
    return completes(trial, RECEIVE, -ECANCELED) ? NULL : "cancelling does not work";
}

static const char *try_registered_ring(const struct trial *trial)
{
    return trial->ring->enter_flags & IORING_ENTER_REGISTERED_RING
               ? NULL
               : "the ring's descriptor cannot be registered (Linux 5.18)";
}

static const char *try_no_iowait(const struct trial *trial)
{
    return trial->ring->enter_flags & IORING_ENTER_NO_IOWAIT ? NULL : "the kernel does not offer it (Linux 6.15)";
}

static const char *try_worker_limits(const struct trial *trial)
{
    return ring_limit_workers(trial->ring) == 0 ? NULL : "the limits are refused (Linux 5.15)";
}

static const char *try_sq_thread(const struct trial *trial)
{
    return trial->ring->has_thread ? try_receive_many(trial) : "the ring has no thread";
}

/* On another ring, for restrictions are for good. */
static const char *try_restricted(struct ring *ring, const struct trial *trial)
{
    static const uint8_t allowed[] = {IORING_OP_NOP};
    const struct trial restricted = {.ring = ring, .pair = {trial->pair[0], trial->pair[1]}};
    struct io_uring_sqe *entry;

    if (ring_restrict(ring, allowed, ARRAY_SIZE(allowed)) < 0 || ring_enable(ring) < 0)
        return "restrictions are refused (Linux 5.10)";
    mark(&restricted, MARK);
    if (!completes(&restricted, MARK, 0))
        return "a restricted ring does not do what it may";
    entry = next_entry(&restricted);
    io_uring_prep_send(entry, restricted.pair[1], "x", 1, MSG_NOSIGNAL);
    entry->user_data = SEND;
    return completes(&restricted, SEND, -EACCES) ? NULL : "a restricted ring does what it may not";
}

static const char *try_restrictions(const struct trial *trial)
{
    char reason[PROA_REASON_MAX];
    struct ring ring;
    const char *failure;

    if (ring_open(&ring, trial->ring->sys, ENTRIES, RING_DISABLED, reason) < 0)
        return "a ring cannot be opened to be restricted (Linux 5.10)";
    failure = try_restricted(&ring, trial);
    ring_close(&ring);
    return failure;
}

/* Reads what a file holds into registered memory. */
static const char *read_registered(const struct trial *trial, int fd, char *memory, unsigned place)
{
    struct io_uring_sqe *entry = next_entry(trial);

    if (pwrite(fd, "x", 1, 0) != 1)
        return "no memory for the self-test";
    io_uring_prep_read_fixed(entry, fd, memory + 1, 1, 0, (int)place);
    entry->user_data = FILE_OP;
    return completes(trial, FILE_OP, 1) && memory[1] == 'x' ? NULL : "reading into registered memory does not work";
}

static const char *try_registered_memory(const struct trial *trial)
{
    void *memory = mmap(NULL, BUFFERS_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int fd = memfd_create("proa", MFD_CLOEXEC);
    const char *failure = "memory cannot be registered (Linux 5.19, RLIMIT_MEMLOCK)";

    if (memory != MAP_FAILED && fd >= 0 && ring_register_memory_table(trial->ring, 1) == 0 &&
        ring_register_memory(trial->ring, 0, memory, BUFFERS_SIZE) == 0)
        failure = read_registered(trial, fd, memory, 0);
    if (memory != MAP_FAILED)
        munmap(memory, BUFFERS_SIZE);
    if (fd >= 0)
        close(fd);
    return failure;
}

/* Unix sockets have no such sends. */
static int connect_tcp(int ret_pair[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof(address);

    ret_pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ret_pair[1] = -1;
    if (bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 1) == 0 &&
        getsockname(listener, (struct sockaddr *)&address, &size) == 0 &&
        connect(ret_pair[0], (struct sockaddr *)&address, size) == 0)
        ret_pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (listener >= 0)
        close(listener);
    return ret_pair[1] >= 0;
}

/* Two completions: what was taken, and that the memory is free. */
static const char *send_without_copy(const struct trial *trial, int near, int far)
{
    struct io_uring_sqe *entry = next_entry(trial);
    struct io_uring_cqe cqe;
    char byte;

    io_uring_prep_send_zc(entry, near, "x", 1, MSG_NOSIGNAL, IORING_SEND_ZC_REPORT_USAGE);
    entry->user_data = SEND;
    if (await(trial, SEND, SEND, &cqe) != SEND || cqe.res != 1 || !(cqe.flags & IORING_CQE_F_MORE))
        return "a send without copy does not work (Linux 6.2)";
    if (read(far, &byte, 1) != 1 || await(trial, SEND, SEND, &cqe) != SEND || !(cqe.flags & IORING_CQE_F_NOTIF))
        return "a send without copy does not say when its memory is free";
    return NULL;
}

static const char *try_send_zero_copy(const struct trial *trial)
{
    const char *failure = "no TCP connection for the self-test";
    int pair[2];

    if (connect_tcp(pair))
        failure = send_without_copy(trial, pair[0], pair[1]);
    if (pair[0] >= 0)
        close(pair[0]);
    if (pair[1] >= 0)
        close(pair[1]);
    return failure;
}

/* A connection to a nameless listener, accepted into the table. Returns the far end, `ret_place` what the ring calls the
 * near one. */
static int accept_direct(const struct trial *trial, int listener, int *ret_place)
{
    struct sockaddr_un address;
    socklen_t size = sizeof(address);
    struct io_uring_sqe *entry;
    struct io_uring_cqe cqe;
    int far = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    entry = next_entry(trial);
    io_uring_prep_accept(entry, listener, NULL, NULL, 0);
    entry->file_index = IORING_FILE_INDEX_ALLOC;
    entry->user_data = ACCEPT;
    if (getsockname(listener, (struct sockaddr *)&address, &size) == 0 &&
        connect(far, (struct sockaddr *)&address, size) == 0 && await(trial, ACCEPT, ACCEPT, &cqe) == ACCEPT) {
        *ret_place = cqe.res;
        return far;
    }
    *ret_place = -1;
    return far;
}

static void receive_direct(const struct trial *trial, int place, char *byte)
{
    struct io_uring_sqe *entry = next_entry(trial);

    io_uring_prep_recv(entry, place, byte, 1, 0);
    entry->flags |= IOSQE_FIXED_FILE;
    entry->user_data = RECEIVE;
}

/* Older kernels close a direct descriptor only once every op that was started before has completed, whatever it is on: a
 * peer would wait for its end of stream as long as any other connection is idle. */
static const char *try_two_direct(const struct trial *trial, const int places[2], const int fars[2])
{
    char bytes[2];

    if (places[0] < 0 || places[1] < 0)
        return "accepting without a number does not work (Linux 5.19)";
    receive_direct(trial, places[1], &bytes[1]);
    mark(trial, MARK);
    if (!completes(trial, MARK, 0) || write(fars[1], "x", 1) != 1 || !completes(trial, RECEIVE, 1))
        return "a receive on a direct descriptor does not work";
    receive_direct(trial, places[0], &bytes[0]);
    mark(trial, MARK);
    if (!completes(trial, MARK, 0) || ring_drop_file(trial->ring, (unsigned)places[1]) != 0 ||
        recv(fars[1], &bytes[1], 1, MSG_DONTWAIT) != 0)
        return "closing a direct descriptor waits for ops on others (Linux 6.13)";
    return NULL;
}

static const char *try_direct(const struct trial *trial)
{
    const struct sockaddr_un nameless = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fars[2], places[2];
    const char *failure = "no listener for the self-test";
    unsigned count = 2;

    if (bind(listener, (const struct sockaddr *)&nameless, sizeof(nameless.sun_family)) == 0 &&
        listen(listener, 2) == 0) {
        failure = "the ring has no table of descriptors (Linux 5.19)";
        if (ring_register_files(trial->ring, &count) == 0 && count == 2) {
            for (int i = 0; i < 2; i++)
                fars[i] = accept_direct(trial, listener, &places[i]);
            failure = try_two_direct(trial, places, fars);
            close(fars[0]);
            close(fars[1]);
        }
    }
    if (listener >= 0)
        close(listener);
    return failure;
}

static const char *try_busy_poll(const struct trial *trial)
{
    return ring_busy_poll(trial->ring, 1) == 0 ? NULL : "the kernel does not offer it (NAPI, Linux 6.9)";
}

/* Each with a pair of sockets; what it left in flight ends with them, before the next. */
static const char *run(struct ring *ring, const char *(*round_trip)(const struct trial *trial))
{
    struct trial trial = {.ring = ring};
    const char *failure;

    if (ring_enter(ring, 0, 0) < 0)
        return "entering the ring is forbidden, as by a seccomp filter";
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, trial.pair) < 0)
        return "no descriptors for the self-test";
    failure = round_trip(&trial);
    close(trial.pair[0]);
    close(trial.pair[1]);
    /* What the closing ended completes before the second one. */
    for (int i = 0; i < 2 && ring_enter(ring, 0, 0) == 0; i++) {
        mark(&trial, END);
        if (!completes(&trial, END, 0) && !failure)
            failure = "an entry that does nothing does not complete";
    }
    return failure;
}

static const struct {
    const char *(*round_trip)(const struct trial *trial);
    enum ring_mode mode;
} rows[] = {
#define URING_FEATURE_ROW(name, mode, word, summary, feature) {try_##name, RING_##mode},
    URING_FEATURES(URING_FEATURE_ROW)
#undef URING_FEATURE_ROW
};

int uring_self_test(struct ring *ring, char *ret_reason)
{
    for (size_t i = 0; i < URING_FEATURES_NEEDED; i++) {
        const char *failure = run(ring, rows[i].round_trip);

        if (failure) {
            snprintf(ret_reason, PROA_REASON_MAX, "io_uring is there but fails its self-test: %s", failure);
            return -ENOTSUP;
        }
    }
    return 0;
}

static int test_feature(struct sys *sys, enum uring_feature feature, char *ret_reason)
{
    const char *failure;
    struct ring ring;
    int error = ring_open(&ring, sys, ENTRIES, rows[feature].mode, ret_reason);

    if (error < 0)
        return error;
    failure = run(&ring, rows[feature].round_trip);
    ring_close(&ring);
    if (!failure)
        return 0;
    snprintf(ret_reason, PROA_REASON_MAX, "%s", failure);
    return -ENOTSUP;
}

int uring_has(struct sys *sys, enum uring_feature feature)
{
    char reason[PROA_REASON_MAX];

    return test_feature(sys, feature, reason) == 0;
}

#define URING_FEATURE_TEST(name, mode, word, summary, feature)      \
    static int test_##name(struct sys *sys, char *ret_reason)       \
    {                                                               \
        return test_feature(sys, URING_FEATURE_##name, ret_reason); \
    }
URING_FEATURES(URING_FEATURE_TEST)
#undef URING_FEATURE_TEST

const struct engine_feature uring_features[] = {
#define URING_FEATURE_REPORT(name, mode, word, summary, feature) {word, summary, feature, test_##name},
    URING_FEATURES(URING_FEATURE_REPORT)
#undef URING_FEATURE_REPORT
};

/*
 * The load: connections, what is sent on them and what must come back.
 *
 * One thread, one ring; it works like the io_uring reference, so it costs no more than the fastest server. An
 * operation is one echo of `size` bytes, or one batch of `depth` requests and its responses. A connection has one
 * operation in flight at most. Closed loop: the next starts when the last is done. Fixed rate: operation i has the
 * intended time start + i/rate and takes the first connection that is free from then on; latency counts from the
 * intended time, so a server that stalls pays for all that should have been sent meanwhile.
 *
 * Messages come into provided buffers by multishot receives, except bodies above LARGE: of these the head is received
 * plainly, the body by receives with MSG_TRUNC, which for TCP means "take it off the queue, do not copy it" (tcp(7)):
 * the client must not be what is measured.
 *
 * Of many files, each operation asks for the next. To have it cold, the client drops it from the page cache first.
 *
 * A phase (warm-up, measure) ends by a timer, by number or by a line on stdin, then waits until nothing is in flight.
 */
#define _GNU_SOURCE
#include "load.h"
#include "../ring.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h> /* glibc's <netinet/tcp.h> has an older struct tcp_info */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    SQ_ENTRIES = 2048,
    CQ_ENTRIES = 8192,
    LARGE = 32768,           /* bodies above are not copied */
    SCRATCH = 1 << 22,       /* most taken by one receive of a large body */
    PATTERNS = 4096,         /* echo messages start at any of so many places in the pattern */
    PER_SOURCE = 8192,       /* connections from one source address */
    DRAIN_MS = 60000,        /* longest wait for what is in flight at the end of a phase */
    SPIN_ENTER_NS = 1000000, /* at a fixed rate: enter the kernel at least so often */
};

enum tag { RECEIVE, SEND, SEND_REST, TIMER };

struct connection {
    int fd;
    bool busy, dead;
    uint32_t sent;    /* bytes accepted before a silent send failed */
    uint32_t got;     /* echo: bytes of this message that came back */
    uint32_t pattern; /* echo: where this message starts in the pattern */
    uint32_t file;    /* HTTP: which is asked for */
    uint32_t awaited; /* HTTP: responses of this batch still to come */
    uint64_t started_ns;
    struct http_check check;
    char *head; /* large bodies: where the head is received */
};

static const struct options *options;
static struct result *result;
static struct io_uring ring;
static struct ring_buffers buffers;
static struct connection *connections;
static int *idle_fds;
static unsigned *free_stack; /* fixed rate: connections without an operation */
static unsigned free_count;
static char *pattern;  /* echo: PATTERNS + size bytes */
static char *requests; /* HTTP: `depth` requests of one file, of all files one behind the other */
static size_t request_size;
static unsigned next_file;
static int *file_fds; /* of those to be dropped */
static char *scratch;

static struct {
    bool measuring, stopping;
    unsigned number; /* tells the timer of this phase from one left over */
    uint64_t start_ns, launched, ops_max, in_flight, now_ns;
} phase;

static bool is_large(void)
{
    return options->path && options->body > LARGE;
}

/* ---- connections ---- */

static int connect_one(void)
{
    static unsigned index;
    /* 127.0.0.1, 127.0.1.1, 127.0.2.1, ...: a source address has 28,000 ports only. */
    struct sockaddr_in source = {.sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK + (index++ / PER_SOURCE << 8))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    if (fd < 0)
        load_fail("socket", errno);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&source, sizeof(source)))
        load_fail("bind", errno);
    if (connect(fd, (const struct sockaddr *)&options->server, sizeof(options->server)))
        load_fail("connect", errno);
    return fd;
}

static void send_blocking(int fd, const char *data, size_t size)
{
    if (send(fd, data, size, MSG_NOSIGNAL) != (ssize_t)size)
        load_fail("send on an idle connection", errno);
}

/* One operation, blocking, on a connection that is idle from then on. */
static void prime(int fd)
{
    struct http_check check = {0};
    static char buffer[65536];
    size_t wanted = options->path ? 1 : (size_t)options->size, done = 0;

    if (options->path)
        send_blocking(fd, requests, request_size / (size_t)options->depth);
    else
        send_blocking(fd, pattern, wanted);
    while (done < wanted) {
        ssize_t got = recv(fd, buffer, sizeof(buffer), 0);
        long count = got <= 0 ? -1 : got;

        if (count > 0 && options->path)
            count = http_check(&check, buffer, (size_t)got, (size_t)options->body, &result->first_error);
        if (count < 0)
            load_fail("priming an idle connection", got < 0 ? errno : EPROTO);
        done += (size_t)count;
    }
}

/* Until there are `count` of them. */
static void open_idle(long count)
{
    static long opened;

    for (; opened < count; opened++) {
        idle_fds[opened] = connect_one();
        if (options->prime)
            prime(idle_fds[opened]);
    }
}

/* Idle connections that the server closed, or wrote to. */
static void count_lost(void)
{
    for (long i = 0; i < options->idle; i++) {
        struct pollfd poll_fd = {.fd = idle_fds[i], .events = POLLIN};

        if (poll(&poll_fd, 1, 0))
            result->idle_lost++;
    }
}

static uint64_t segments(void)
{
    uint64_t sum = 0;

    for (long i = 0; i < options->connections; i++) {
        struct tcp_info info;
        socklen_t size = sizeof(info);

        if (!getsockopt(connections[i].fd, IPPROTO_TCP, TCP_INFO, &info, &size))
            sum += info.tcpi_data_segs_in;
    }
    return sum;
}

/* ---- sending and receiving ---- */

static void set_data(struct io_uring_sqe *sqe, enum tag tag, unsigned index)
{
    sqe->user_data = (uint64_t)index << 32 | tag;
}

static void start_receive(unsigned index)
{
    struct connection *connection = &connections[index];
    struct io_uring_sqe *sqe = ring_sqe(&ring);

    if (!is_large()) {
        ring_prep_receive(sqe, connection->fd);
    } else if (connection->check.in_body) {
        size_t most = connection->check.body_left < SCRATCH ? connection->check.body_left : SCRATCH;

        io_uring_prep_recv(sqe, connection->fd, scratch, most, options->copy ? 0 : MSG_TRUNC);
    } else {
        io_uring_prep_recv(sqe, connection->fd, connection->head, HTTP_HEAD_MAX, 0);
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    }
    set_data(sqe, RECEIVE, index);
}

static const char *message(const struct connection *connection, size_t *ret_size)
{
    *ret_size = options->path ? request_size : (size_t)options->size;
    return options->path ? requests + connection->file * request_size : pattern + connection->pattern;
}

static void choose_file(struct connection *connection)
{
    connection->file = next_file;
    next_file = (next_file + 1) % (unsigned)options->files;
    if (options->drop)
        posix_fadvise(file_fds[connection->file], 0, 0, POSIX_FADV_DONTNEED);
}

static void start_operation(unsigned index, uint64_t started_ns)
{
    struct connection *connection = &connections[index];
    struct io_uring_sqe *sqe = ring_sqe(&ring);
    const char *data;
    size_t size;

    connection->busy = true;
    connection->started_ns = started_ns;
    connection->sent = connection->got = 0;
    connection->awaited = (uint32_t)options->depth;
    connection->pattern = (connection->pattern + 61) % PATTERNS;
    if (options->files)
        choose_file(connection);
    data = message(connection, &size);
    ring_prep_send_quiet(sqe, connection->fd, data, size);
    set_data(sqe, SEND, index);
    phase.launched += (uint64_t)options->depth;
    phase.in_flight++;
}

/* The silent send took a part only: let the kernel wait for the server to take the rest. */
static void send_rest(unsigned index, int sent)
{
    struct connection *connection = &connections[index];
    struct io_uring_sqe *sqe;
    const char *data;
    size_t size;

    if (sent < 0 && sent != -EAGAIN)
        return; /* the receive will tell */
    connection->sent += sent > 0 ? (uint32_t)sent : 0;
    data = message(connection, &size);
    if (connection->sent == size)
        return;
    sqe = ring_sqe(&ring);
    io_uring_prep_send(sqe, connection->fd, data + connection->sent, size - connection->sent,
                       MSG_WAITALL | MSG_NOSIGNAL);
    set_data(sqe, SEND_REST, index);
}

static bool may_start(void)
{
    return !phase.stopping && (!phase.ops_max || phase.launched < phase.ops_max);
}

static void next_operation(unsigned index)
{
    if (options->rate)
        free_stack[free_count++] = index;
    else if (may_start())
        start_operation(index, phase.now_ns);
}

static void fail_connection(unsigned index, const char *why)
{
    struct connection *connection = &connections[index];

    if (connection->dead)
        return;
    connection->dead = true;
    result->errors++;
    if (!result->first_error)
        result->first_error = why;
    if (connection->busy)
        phase.in_flight--;
    connection->busy = false;
    shutdown(connection->fd, SHUT_RDWR);
}

static void operation_done(unsigned index)
{
    struct connection *connection = &connections[index];

    connection->busy = false;
    phase.in_flight--;
    next_operation(index);
}

static void answered(const struct connection *connection, uint64_t count)
{
    if (!phase.measuring)
        return;
    result->ops += count;
    for (uint64_t i = 0; i < count; i++)
        histogram_add(&result->latency, phase.now_ns - connection->started_ns);
}

static void take_echo(unsigned index, const char *data, size_t size)
{
    struct connection *connection = &connections[index];

    if (!connection->busy || connection->got + size > (size_t)options->size ||
        memcmp(data, pattern + connection->pattern + connection->got, size))
        return fail_connection(index, "the echo differs from what was sent");
    connection->got += (uint32_t)size;
    if (connection->got < (size_t)options->size)
        return;
    answered(connection, 1);
    operation_done(index);
}

static void take_http(unsigned index, const char *data, size_t size)
{
    struct connection *connection = &connections[index];
    const char *error = NULL;
    long count = http_check(&connection->check, data, size, (size_t)options->body, &error);

    if (count < 0 || !connection->busy || (size_t)count > connection->awaited)
        return fail_connection(index, error ? error : "more responses than requests");
    answered(connection, (uint64_t)count);
    connection->awaited -= (uint32_t)count;
    if (!connection->awaited)
        operation_done(index);
}

/* Bytes of a body that were never copied to user space. */
static void take_dropped(unsigned index, size_t size)
{
    struct connection *connection = &connections[index];

    connection->check.body_left -= size;
    if (!connection->check.body_left)
        take_http(index, "", 0);
}

static void take(unsigned index, const struct io_uring_cqe *cqe)
{
    size_t size = (size_t)cqe->res;

    if (phase.measuring)
        result->bytes += size;
    if (is_large()) {
        if (connections[index].check.in_body)
            take_dropped(index, size);
        else
            take_http(index, connections[index].head, size);
    } else {
        unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

        if (options->path)
            take_http(index, ring_buffer(&buffers, id), size);
        else
            take_echo(index, ring_buffer(&buffers, id), size);
        ring_buffer_return(&buffers, id);
    }
}

static void received(unsigned index, const struct io_uring_cqe *cqe)
{
    if (cqe->res > 0)
        take(index, cqe);
    else if (cqe->res != -ENOBUFS)
        return fail_connection(index, cqe->res ? strerror(-cqe->res) : "the server closed the connection");
    if (!(cqe->flags & IORING_CQE_F_MORE) && !connections[index].dead)
        start_receive(index);
}

static void completed(const struct io_uring_cqe *cqe)
{
    unsigned index = (unsigned)(cqe->user_data >> 32);

    switch ((enum tag)(cqe->user_data & 0xff)) {
    case RECEIVE:
        received(index, cqe);
        break;
    case SEND:
    case SEND_REST:
        send_rest(index, cqe->res);
        break;
    case TIMER:
        phase.stopping |= index == phase.number;
        break;
    }
}

/* ---- the loop ---- */

static void start_timer(uint64_t milliseconds)
{
    static struct __kernel_timespec time; /* read by the kernel when submitted: within the next enter */
    struct io_uring_sqe *sqe = ring_sqe(&ring);

    phase.number++;
    time.tv_sec = (long long)(milliseconds / 1000);
    time.tv_nsec = (long long)(milliseconds % 1000 * 1000000);
    io_uring_prep_timeout(sqe, &time, 0, 0);
    set_data(sqe, TIMER, phase.number);
}

static void stop_at_line(void)
{
    struct io_uring_sqe *sqe = ring_sqe(&ring);

    phase.number++;
    io_uring_prep_poll_add(sqe, STDIN_FILENO, POLLIN);
    set_data(sqe, TIMER, phase.number);
}

static uint64_t intended_ns(uint64_t operation)
{
    return phase.start_ns + (uint64_t)((double)operation * 1e9 / (double)options->rate);
}

/* Starts what is due at a fixed rate. Returns the time of the next. */
static uint64_t start_due(void)
{
    uint64_t due = intended_ns(phase.launched);

    while (may_start() && free_count && due <= phase.now_ns) {
        unsigned index = free_stack[--free_count];

        if (connections[index].dead)
            continue;
        start_operation(index, due);
        due = intended_ns(phase.launched);
    }
    return due;
}

/* Waits for completions, or until the next operation is due. Spinning keeps this core awake, so that neither the time
 * to wake it counts as latency nor the work of waking it as the server's. */
static int wait_fixed_rate(void)
{
    uint64_t due = start_due(), last = phase.now_ns;
    bool startable = may_start() && free_count;
    struct __kernel_timespec time = {.tv_nsec = due > last ? (long long)(due - last) : 0};
    struct io_uring_cqe *cqe;

    if (options->sleep)
        return startable ? io_uring_submit_and_wait_timeout(&ring, &cqe, 1, &time, NULL)
                         : io_uring_submit_and_wait(&ring, 1);
    if (io_uring_sq_ready(&ring))
        return io_uring_submit_and_get_events(&ring);
    while (!(__atomic_load_n(ring.sq.kflags, __ATOMIC_RELAXED) & IORING_SQ_TASKRUN)) {
        uint64_t now = now_ns();

        if ((startable && now >= due) || now > last + SPIN_ENTER_NS)
            break;
    }
    return io_uring_get_events(&ring);
}

static void one_turn(void)
{
    int code = options->rate ? wait_fixed_rate() : io_uring_submit_and_wait(&ring, 1);
    struct io_uring_cqe *cqe;
    unsigned head, count = 0;

    if (code < 0 && code != -ETIME && code != -EINTR)
        load_fail("io_uring_enter", -code);
    phase.now_ns = now_ns();
    io_uring_for_each_cqe(&ring, head, cqe)
    {
        completed(cqe);
        count++;
    }
    io_uring_cq_advance(&ring, count);
    ring_buffers_publish(&buffers);
}

static void drain(void)
{
    phase.stopping = false;
    if (phase.in_flight)
        start_timer(DRAIN_MS);
    phase.ops_max = 1; /* nothing more may start */
    phase.launched = 1;
    while (phase.in_flight && !phase.stopping)
        one_turn();
    for (long i = 0; phase.in_flight && i < options->connections; i++) {
        if (connections[i].busy)
            fail_connection((unsigned)i, "no answer within 60 s");
    }
}

static void run_phase(uint64_t milliseconds, uint64_t ops_max, bool measuring)
{
    phase.measuring = measuring;
    phase.stopping = false;
    phase.ops_max = ops_max;
    phase.launched = free_count = 0;
    phase.now_ns = phase.start_ns = now_ns();
    if (measuring && options->until_line)
        stop_at_line();
    else
        start_timer(milliseconds);
    for (long i = 0; i < options->connections; i++) {
        if (!connections[i].dead)
            next_operation((unsigned)i);
    }
    while (may_start() && result->errors < (uint64_t)options->connections)
        one_turn();
    drain();
}

/* ---- set-up ---- */

/* All of one size: numbers have leading zeros. */
static void open_requests(void)
{
    static const char format[] =
        "GET %s%s HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: proa-load/1\r\nAccept: */*\r\n\r\n";
    size_t count = options->files ? (size_t)options->files : 1;
    size_t one = (size_t)snprintf(NULL, 0, format, options->path, options->files ? "0000" : "");
    char number[16] = "", *at;

    request_size = one * (size_t)options->depth;
    requests = at = malloc(count * request_size + 1);
    for (size_t file = 0; file < count; file++) {
        if (options->files)
            snprintf(number, sizeof(number), "%04u", (unsigned)file);
        for (long i = 0; i < options->depth; i++)
            at += sprintf(at, format, options->path, number);
    }
}

static void open_files(void)
{
    char path[4096];

    file_fds = calloc((size_t)options->files + 1, sizeof(*file_fds));
    for (unsigned i = 0; i < options->files; i++) {
        snprintf(path, sizeof(path), "%s%s%04u", options->drop, options->path, i);
        file_fds[i] = open(path, O_RDONLY | O_CLOEXEC);
        if (file_fds[i] < 0)
            load_fail(path, errno);
    }
}

static void open_messages(void)
{
    size_t size = PATTERNS + (size_t)options->size;

    pattern = malloc(size);
    for (size_t i = 0; i < size; i++)
        pattern[i] = (char)((i * 2654435761u >> 13) ^ i);
    if (options->path)
        open_requests();
}

/* Buffers for what one operation brings, few enough to stay in the cache. */
static void open_ring(void)
{
    size_t expected = options->path ? ((size_t)options->body + 512) * (size_t)options->depth : (size_t)options->size;
    unsigned size = expected < 2048 ? 2048 : expected < 32768 ? (unsigned)expected : 32768;
    int code = ring_open(&ring, SQ_ENTRIES, CQ_ENTRIES, IORING_SETUP_TASKRUN_FLAG);

    if (code < 0)
        load_fail("io_uring", -code);
    code = ring_buffers_open(&ring, &buffers, size > 4096 ? 64 : 256, size);
    if (code < 0)
        load_fail("provided buffers", -code);
}

/* The idle ones lie between the active: a server that looks through what it watches finds these everywhere. */
static void open_connections(void)
{
    size_t count = (size_t)options->connections;

    idle_fds = calloc((size_t)options->idle + 1, sizeof(*idle_fds));
    connections = calloc(count + 1, sizeof(*connections));
    free_stack = calloc(count + 1, sizeof(*free_stack));
    for (unsigned i = 0; i < count; i++) {
        connections[i] = (struct connection){.fd = connect_one(), .pattern = i % PATTERNS};
        if (is_large())
            connections[i].head = malloc(HTTP_HEAD_MAX);
        start_receive(i);
        open_idle(options->idle * (i + 1) / options->connections);
    }
    open_idle(options->idle);
    io_uring_submit(&ring);
}

static uint64_t cpu_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void measure(void)
{
    uint64_t segments_before = segments(), cpu_before;

    load_handshake(options, "begin");
    result->start_ns = now_ns();
    cpu_before = cpu_ns();
    if (options->connections)
        run_phase(options->ops ? 600000 : (uint64_t)options->duration_ms, (uint64_t)options->ops, true);
    result->end_ns = now_ns();
    result->cpu_ns = cpu_ns() - cpu_before;
    if (options->until_line)
        load_await_line();
    load_handshake(options, "end");
    result->segments_in = segments() - segments_before;
}

void load_run(const struct options *run_options, struct result *run_result)
{
    options = run_options;
    result = run_result;
    scratch = mmap(NULL, SCRATCH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    open_messages();
    if (options->drop)
        open_files();
    open_ring();
    open_connections();
    if (options->warmup_ms && options->connections)
        run_phase((uint64_t)options->warmup_ms, 0, false);
    measure();
    count_lost();
}

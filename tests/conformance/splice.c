/* proa_pipe(), proa_splice(), proa_tee(), proa_vmsplice(): between descriptors of any kinds, whole and in order; what ends
 * early tells how far it came, and what it lost. */
#include "harness.h"

#include "loop/loop.h"

enum { SIZE_MAX_ = 1 << 20, CHUNK = 65536 };

enum end { A_FILE, A_PIPE, A_SOCKET, A_LOCAL, ENDS };

static const char *const end_names[] = {"file", "pipe", "TCP", "Unix"};
static const uint64_t sizes[] = {0, 1, 4095, 4096, 4097, 65536, SIZE_MAX_};

static proa_loop *loop;
static proa_splicing splicing;
static uint8_t data[SIZE_MAX_];

/* A descriptor that is spliced, and what a program outside sees of it. */
struct side {
    enum end end;
    proa_fd fd;
    int outside; /* the other end, or the file's second descriptor */
    uint64_t done;
    bool ended;
};

static bool is_socket(enum end end)
{
    return end == A_SOCKET || end == A_LOCAL;
}

/* Direct descriptors are none that splice(2) knows. */
static bool is_possible(enum end end)
{
    return !is_socket(end) || !test_has(PROA_FEATURE_DIRECT);
}

static void open_pipe(struct side *side, bool is_in)
{
    proa_fd ends[2];

    REQUIRE(proa_pipe(loop, &ends[0], &ends[1], 0) == 0);
    side->fd = ends[!is_in];
    side->outside = ends[is_in].handle;
}

static void open_file(struct side *side, bool is_in, uint64_t size)
{
    side->outside = temp_file(is_in ? "in" : "out", data, size);
    side->fd = proa_fd_of(fcntl(side->outside, F_DUPFD_CLOEXEC, 3));
    REQUIRE(side->fd.handle >= 0 && lseek(side->outside, 0, SEEK_SET) == 0);
}

static struct side side_open(enum end end, bool is_in, uint64_t size)
{
    struct side side = {.end = end};

    if (end == A_FILE)
        open_file(&side, is_in, is_in ? size : 0);
    else if (end == A_PIPE)
        open_pipe(&side, is_in);
    else
        pair_open(loop, end == A_LOCAL ? UNIX : TCP, &side.fd, &side.outside);
    return side;
}

static void side_close(struct side *side)
{
    if (side->fd.handle >= 0)
        close_now(loop, side->fd);
    if (side->outside >= 0 && side->end == A_PIPE)
        close_now(loop, proa_fd_of(side->outside));
    else if (side->outside >= 0)
        close_plain(side->outside);
}

static void end_stream(struct side *in)
{
    if (in->ended || in->end == A_FILE)
        return;
    in->ended = true;
    if (is_socket(in->end)) {
        shutdown(in->outside, SHUT_WR);
    } else {
        close_now(loop, proa_fd_of(in->outside));
        in->outside = -1;
    }
}

static void feed(struct side *in, uint64_t size)
{
    while (in->end != A_FILE && in->done < size) {
        size_t part = size - in->done < CHUNK ? (size_t)(size - in->done) : CHUNK;
        ssize_t put = write(in->outside, data + in->done, part);

        if (put <= 0)
            return;
        in->done += (uint64_t)put;
    }
}

static uint8_t got[SIZE_MAX_ + 1];

static void drain(struct side *out)
{
    ssize_t count;

    if (out->end == A_FILE)
        return;
    while ((count = read(out->outside, got + out->done, sizeof(got) - out->done)) > 0)
        out->done += (uint64_t)count;
}

static void read_file(struct side *out)
{
    ssize_t count;

    while ((count = pread(out->outside, got + out->done, sizeof(got) - out->done, (off_t)out->done)) > 0)
        out->done += (uint64_t)count;
}

/* Keeps both ends moving until the op is over. */
static void run(struct slot *slot, struct side *in, struct side *out, uint64_t size)
{
    struct slot tick = {0};

    proa_timer_repeat(loop, &tick.op, 1, MS / 4, slot_done);
    while (!slot->finals) {
        feed(in, size);
        if (in->done == size)
            end_stream(in);
        drain(out);
        proa_loop_run(loop, PROA_ONCE);
    }
    if (out->end == A_FILE)
        read_file(out);
    drain(out);
    /* What TCP has taken may still be on its way. */
    while ((int64_t)out->done < slot->value) {
        loop_run_for(loop, MS);
        drain(out);
    }
    proa_cancel(&tick.op);
    RUN_UNTIL(loop, tick.finals);
}

static void test_pair(enum end from, enum end to, uint64_t size)
{
    struct side in = side_open(from, true, size), out = side_open(to, false, 0);
    uint64_t spliced = proa_loop_meters(loop).bytes_spliced, copied;
    struct slot slot = {0};

    test_case("%s to %s, %llu bytes", end_names[from], end_names[to], (unsigned long long)size);
    copied = proa_loop_meters(loop).bytes_copied;
    CALL(proa_splice(loop, &slot.op, &splicing, in.fd, PROA_POSITION, out.fd, PROA_POSITION, SIZE_MAX_ + 1, slot_done));
    run(&slot, &in, &out, size);
    HOLDS(slot.value == (int64_t)size && splicing.stranded == 0);
    HOLDS(out.done == size && pattern_holds(got, size, 0));
    HOLDS(proa_loop_meters(loop).bytes_spliced - spliced == size);
    HOLDS(proa_loop_meters(loop).bytes_copied - copied < 4096 || size < 65536);
    side_close(&in);
    side_close(&out);
}

static void test_pairs(void)
{
    for (enum end from = 0; from < ENDS; from++)
        for (enum end to = 0; to < ENDS; to++)
            for (size_t i = 0; i < ARRAY_SIZE(sizes) && is_possible(from) && is_possible(to); i++)
                test_pair(from, to, sizes[i]);
}

static void test_offsets(void)
{
    enum { FAR = 1 << 16 };
    struct side in = side_open(A_FILE, true, 100000), out = side_open(A_FILE, false, 0);
    struct slot slot = {0};

    test_case("from an offset to an offset, part of what is there");
    proa_splice(loop, &slot.op, &splicing, in.fd, 1000, out.fd, FAR, 50000, slot_done);
    RUN_UNTIL(loop, slot.finals);
    HOLDS(slot.value == 50000);
    read_file(&out);
    HOLDS(out.done == FAR + 50000 && pattern_holds(got + FAR, 50000, 1000));
    HOLDS(lseek(in.outside, 0, SEEK_CUR) == 0);
    side_close(&in);
    side_close(&out);
}

/* The reader is slow, and the sum still right. */
static void test_exact_size(void)
{
    struct side in = side_open(A_PIPE, true, 0), out = side_open(A_PIPE, false, 0);
    struct slot slot = {0};

    test_case("no more than asked for");
    in.done = 0;
    feed(&in, 1000);
    proa_splice(loop, &slot.op, &splicing, in.fd, PROA_POSITION, out.fd, PROA_POSITION, 600, slot_done);
    RUN_UNTIL(loop, slot.finals);
    drain(&out);
    HOLDS(slot.value == 600 && out.done == 600 && pattern_holds(got, 600, 0));
    HOLDS(read(in.fd.handle, got, sizeof(got)) == 400);
    side_close(&in);
    side_close(&out);
}

static void test_tee(void)
{
    struct side in = side_open(A_PIPE, true, 0), out = side_open(A_PIPE, false, 0);
    struct slot slot = {0};

    test_case("tee shares what is there, and waits for it");
    CALL(proa_tee(loop, &slot.op, &splicing, in.fd, out.fd, 5000, slot_done));
    loop_run_for(loop, 2 * MS);
    HOLDS(slot.finals == 0);
    feed(&in, 3000);
    RUN_UNTIL(loop, slot.finals);
    drain(&out);
    HOLDS(slot.value == 3000 && out.done == 3000 && pattern_holds(got, 3000, 0));
    HOLDS(read(in.fd.handle, got, sizeof(got)) == 3000 && pattern_holds(got, 3000, 0));
    end_stream(&in);
    proa_tee(loop, &slot.op, &splicing, in.fd, out.fd, 5000, slot_done);
    RUN_UNTIL(loop, slot.finals == 2);
    HOLDS(slot.value == 0);
    side_close(&in);
    side_close(&out);
}

static void test_memory(void)
{
    struct side out = side_open(A_PIPE, false, 0), none = {.end = A_FILE, .outside = -1, .fd = {-1}};

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct slot slot = {0};

        test_case("memory into a pipe, %llu bytes", (unsigned long long)sizes[i]);
        out.done = 0;
        CALL(proa_vmsplice(loop, &slot.op, &splicing, out.fd, data, sizes[i], slot_done));
        run(&slot, &none, &out, 0);
        HOLDS(slot.value == (int64_t)sizes[i] && out.done == sizes[i] && pattern_holds(got, sizes[i], 0));
    }
    side_close(&out);
}

static void test_pipe(void)
{
    proa_fd ends[2];
    size_t small, large;

    test_case("a pipe with room");
    REQUIRE(proa_pipe(loop, &ends[0], &ends[1], 0) == 0);
    small = far_fill(ends[1].handle);
    HOLDS(far_drain(ends[0].handle) == small);
    close_now(loop, ends[0]);
    close_now(loop, ends[1]);
    REQUIRE(proa_pipe(loop, &ends[0], &ends[1], 4 * small) == 0);
    large = far_fill(ends[1].handle);
    HOLDS(large >= small && (test_simulated() || getuid() != 0 || large >= 4 * small));
    close_now(loop, ends[0]);
    close_now(loop, ends[1]);
}

/* What nobody has taken out of `in`. */
static uint64_t left_in(struct side *in)
{
    uint64_t left = 0;
    ssize_t count;

    if (is_socket(in->end))
        return far_drain(in->fd.handle);
    while ((count = read(in->fd.handle, got, sizeof(got))) > 0)
        left += (uint64_t)count;
    return left;
}

/* Early ends: each cause, of an op that waits for `in`, or with something in the pipe for `out`. */
enum cause { CANCEL, DEADLINE, CLOSE_IN, CLOSE_OUT, CAUSES };

static const char *const cause_names[] = {"cancel", "deadline", "close of in", "close of out"};

static void cause_end(enum cause cause, struct slot *slot, struct side *in, struct side *out)
{
    struct side *closed = cause == CLOSE_IN ? in : out;
    struct slot close = {0};

    if (cause == CANCEL) {
        CALL(proa_cancel(&slot->op));
    } else if (cause == DEADLINE) {
        proa_set_deadline(&slot->op, 1);
    } else {
        CALL(proa_close(loop, &close.op, closed->fd, slot_done));
        closed->fd.handle = -1;
        RUN_UNTIL(loop, close.finals);
        HOLDS(close.value == 0 && slot->finals == 1 && slot->order < close.order);
    }
    RUN_UNTIL(loop, slot->finals);
}

static void test_end(enum cause cause, enum end from, enum end to, uint64_t fed)
{
    struct side in = side_open(from, true, 0), out = side_open(to, false, 0);
    uint64_t moved;
    struct slot slot = {0};

    test_case("%s to %s, %llu bytes, %s", end_names[from], end_names[to], (unsigned long long)fed, cause_names[cause]);
    CALL(proa_splice(loop, &slot.op, &splicing, in.fd, PROA_POSITION, out.fd, PROA_POSITION, UINT64_MAX, slot_done));
    for (int i = 0; i < 10 || (fed <= 1000 && out.done < fed); i++) {
        feed(&in, fed);
        loop_run_for(loop, MS / 4);
        if (fed <= 1000)
            drain(&out);
    }
    cause_end(cause, &slot, &in, &out);
    HOLDS(slot.value == (cause == DEADLINE ? -ETIMEDOUT : -ECANCELED));
    moved = proa_sent(&slot.op);
    drain(&out);
    loop_run_for(loop, MS / 4);
    drain(&out);
    HOLDS(out.done == moved && moved + splicing.stranded <= in.done && pattern_holds(got, moved, 0));
    HOLDS(fed > 1000 || moved == fed);
    if (cause != CLOSE_IN)
        HOLDS(moved + splicing.stranded + left_in(&in) == in.done);
    side_close(&in);
    side_close(&out);
    HOLDS(loop->pipes.count == loop->pipes.resting_count);
}

static void test_ends(void)
{
    for (enum cause cause = 0; cause < CAUSES; cause++) {
        test_end(cause, A_PIPE, A_PIPE, 0);
        test_end(cause, A_PIPE, A_PIPE, SIZE_MAX_);
        if (!is_possible(A_SOCKET))
            continue;
        test_end(cause, A_SOCKET, A_LOCAL, 0);
        test_end(cause, A_SOCKET, A_LOCAL, 1000);
        test_end(cause, A_LOCAL, A_LOCAL, SIZE_MAX_);
    }
}

/* SIGPIPE keeps its default action: a library that lets it out kills this test. */
static void test_broken(enum end to)
{
    struct side in = side_open(A_PIPE, true, 0), out = side_open(to, false, 0);
    struct slot slot = {0};

    test_case("%s that nobody reads", end_names[to]);
    signal(SIGPIPE, SIG_DFL);
    if (to == A_PIPE)
        close_now(loop, proa_fd_of(out.outside));
    else
        close_plain(out.outside);
    out.outside = -1;
    feed(&in, 1000);
    proa_splice(loop, &slot.op, &splicing, in.fd, PROA_POSITION, out.fd, PROA_POSITION, 1000, slot_done);
    RUN_UNTIL(loop, slot.finals);
    HOLDS(slot.value == -EPIPE && proa_sent(&slot.op) == 0);
    side_close(&in);
    side_close(&out);
}

static void refuse(proa_fd in, proa_fd out, int error)
{
    struct slot slot = {0};

    CALL(proa_splice(loop, &slot.op, &splicing, in, PROA_POSITION, out, PROA_POSITION, 1, slot_done));
    RUN_UNTIL(loop, slot.finals);
    HOLDS(slot.value == -error);
}

static void test_refusals(void)
{
    struct side pipe = side_open(A_PIPE, true, 0), socket = side_open(A_SOCKET, true, 0);
    struct slot slot[2] = {0};

    test_case("what cannot be");
    refuse(proa_fd_of(-1), pipe.fd, EBADF);
    refuse(pipe.fd, proa_fd_of(-1), EBADF);
    refuse(pipe.fd, proa_fd_of(pipe.outside), EINVAL);
    if (!is_possible(A_SOCKET))
        refuse(pipe.fd, socket.fd, ENOTSUP);
    else
        proa_tee(loop, &slot[0].op, &splicing, pipe.fd, socket.fd, 1, slot_done);
    RUN_UNTIL(loop, slot[0].finals || !is_possible(A_SOCKET));
    HOLDS(slot[0].value == (is_possible(A_SOCKET) ? -EINVAL : 0));
    proa_vmsplice(loop, &slot[1].op, &splicing, socket.fd, data, 1, slot_done);
    RUN_UNTIL(loop, slot[1].finals);
    HOLDS(slot[1].value == (is_possible(A_SOCKET) ? -EBADF : -ENOTSUP));
    feed(&pipe, 10);
    proa_vmsplice(loop, &slot[1].op, &splicing, pipe.fd, data + 100, 1, slot_done);
    RUN_UNTIL(loop, slot[1].finals == 2);
    HOLDS(slot[1].value == -EBADF && pattern_holds(data, sizeof(data), 0));
    side_close(&pipe);
    side_close(&socket);
}

/* More splices at once than the loop has pipes: each has its turn. */
static void test_few_pipes(void)
{
    enum { SPLICES = PIPES_MAX + 4 };
    static struct slot slots[SPLICES];
    static proa_splicing splicings[SPLICES];
    static struct side in[SPLICES], out[SPLICES];
    unsigned over = 0;

    test_case("more splices than pipes");
    for (int i = 0; i < SPLICES; i++) {
        in[i] = side_open(A_LOCAL, true, 0);
        out[i] = side_open(A_LOCAL, false, 0);
        far_fill(proa_fd_number(out[i].fd));
        feed(&in[i], 1000);
        end_stream(&in[i]);
        slots[i] = (struct slot){0};
        proa_splice(loop, &slots[i].op, &splicings[i], in[i].fd, PROA_POSITION, out[i].fd, PROA_POSITION, 1000,
                    slot_done);
    }
    loop_run_for(loop, 2 * MS);
    HOLDS(loop->pipes.count == PIPES_MAX && loop->pipes.waiting == SPLICES - PIPES_MAX);
    proa_cancel(&slots[SPLICES - 1].op);
    while (over < SPLICES) {
        for (int i = 0; i < SPLICES; i++)
            far_drain(out[i].outside);
        loop_run_for(loop, MS / 4);
        over = 0;
        for (int i = 0; i < SPLICES; i++)
            over += slots[i].finals;
    }
    for (int i = 0; i < SPLICES; i++) {
        HOLDS(slots[i].value == (i == SPLICES - 1 ? -ECANCELED : 1000));
        side_close(&in[i]);
        side_close(&out[i]);
    }
    HOLDS(loop->pipes.resting_count == loop->pipes.count);
}

/* Each of its calls fails once, or moves one byte only. */
static void test_fault(enum sys_call call, int error, uint32_t nth)
{
    static struct sys_fault plan[SYS_CALL_COUNT];
    struct side in = side_open(A_LOCAL, true, 0), out = side_open(A_LOCAL, false, 0);
    struct slot slot = {0};

    test_case("call %d number %u: %s", call, nth, error ? strerrorname_np(error) : "one byte");
    plan[call] = (struct sys_fault){.skip = nth, .times = 1, .error = -error, .size_max = 1};
    loop->host.sys.faults = plan;
    proa_splice(loop, &slot.op, &splicing, in.fd, PROA_POSITION, out.fd, PROA_POSITION, SIZE_MAX_, slot_done);
    run(&slot, &in, &out, 300000);
    memset(plan, 0, sizeof(plan));
    loop->host.sys.faults = NULL;
    HOLDS(slot.value == 300000 || (slot.value == -error && error != EINTR && error != EAGAIN && error != 0));
    HOLDS(out.done == proa_sent(&slot.op) && pattern_holds(got, out.done, 0));
    side_close(&in);
    side_close(&out);
    HOLDS(loop->pipes.resting_count == loop->pipes.count);
}

static void test_faults(void)
{
    static const struct {
        enum sys_call call;
        int error;
    } faults[] = {{SYS_SPLICE, EPIPE}, {SYS_SPLICE, EINTR}, {SYS_SPLICE, EAGAIN}, {SYS_SPLICE, ENOMEM},
                  {SYS_SPLICE, 0},     {SYS_POLL, ENOMEM},  {SYS_PIPE, EMFILE},   {SYS_STATX, ENOMEM}};

    for (size_t i = 0; i < ARRAY_SIZE(faults) && is_possible(A_LOCAL); i++)
        for (uint32_t nth = 0; nth < 4; nth++)
            test_fault(faults[i].call, faults[i].error, nth);
}

int main(int argc, char **argv)
{
    int fds;

    test_begin(argc, argv, "splice");
    fds = fd_count();
    pattern_fill(data, sizeof(data), 0);
    loop = loop_open();
    test_pairs();
    test_offsets();
    test_exact_size();
    test_tee();
    test_memory();
    test_pipe();
    test_ends();
    test_broken(A_PIPE);
    test_refusals();
    if (is_possible(A_LOCAL)) {
        test_broken(A_LOCAL);
        test_faults();
        test_few_pipes();
    }
    proa_loop_close(loop);
    HOLDS(fd_count() == fds);
    return check_done("splice");
}

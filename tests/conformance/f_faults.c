/* Faults on purpose: each kind of op, each system call it makes, the Nth of them fails, or moves one byte only. The
 * contract holds all the same: one final completion, with the op's result or that very errno; EINTR and EAGAIN are
 * nobody's business above; and no descriptor is left over.
 *
 * The plan is read and changed here only while no thread makes a call for the op. */
#include "kinds.h"

#include "loop/loop.h"

enum { COUNT_FROM = 1000000, NTH_MAX = 3, NTH_MAX_SLOW = 2 };

static struct sys_fault plan[SYS_CALL_COUNT];

static const char *const call_names[] = {
#define CALL_NAME(name) #name,
    SYS_CALLS(CALL_NAME)
#undef CALL_NAME
};

struct fault {
    int error;   /* 0: one byte only */
    bool hidden; /* the op must not show it */
};

static const struct fault faults[] = {
    {EINTR, true}, {EAGAIN, true}, {ENOMEM, false}, {EMFILE, false}, {EIO, false}, {ECONNRESET, false}, {0, true},
};

/* Where a failure of a call is no fault of the world, but the end of it: what waits must be able to wait. */
static bool is_sensible(const struct kind *kind, enum sys_call call, const struct fault *fault)
{
    bool in_ring = strcmp(test_engine(), "uring") == 0;
    bool on_edge = test_has(PROA_FEATURE_EDGE);

    /* The ring waits by itself, and a file is always ready; edge-triggered, EAGAIN is the kernel's word that it will tell. */
    if (fault->error == EAGAIN && (in_ring || on_edge || kind->traits & FILES))
        return false;
    /* signalfd(2) and inotify(7) give all of a record or nothing */
    if (fault->error == 0 && (strcmp(kind->name, "signal") == 0 || strcmp(kind->name, "watch") == 0))
        return false;
    switch (call) {
    case SYS_EPOLL_WAIT:
    case SYS_URING_ENTER:
        return fault->error == EINTR;
    case SYS_EPOLL_CTL:
        return fault->error == ENOMEM;
    case SYS_CLOSE: /* a fault keeps it from closing, which Linux never does */
    case SYS_URING_SETUP:
    case SYS_URING_REGISTER:
    case SYS_EPOLL_CREATE:
    case SYS_EVENTFD:
    case SYS_MAP:
    case SYS_LIMIT:
    case SYS_THREAD: /* a refusal of its own: t_thread_limit */
    case SYS_SIGMASK:
    case SYS_GETNAME:
        return false;
    case SYS_SOCKET:
    case SYS_BIND:
    case SYS_LISTEN:
    case SYS_SIGNALFD:
    case SYS_INOTIFY:
    case SYS_SETSOCKOPT:
    case SYS_GETSOCKOPT:
    case SYS_FCNTL:
    case SYS_UNLINK: /* none of these is ever interrupted or asked to wait */
        return fault->error != EINTR && fault->error != EAGAIN && fault->error != 0;
    case SYS_STATX:
    case SYS_SHUTDOWN: /* nor these, to wait */
        return fault->error != EAGAIN && fault->error != 0;
    case SYS_RECV:
    case SYS_SEND:
    case SYS_SENDMSG:
    case SYS_SENDFILE:
    case SYS_READ:
    case SYS_WRITE:
        return true;
    default:
        return fault->error != 0;
    }
}

/* A descriptor that lacks makes an accept wait; a connect and others are told. */
static bool is_hidden(const struct kind *kind, enum sys_call call, const struct fault *fault)
{
    return fault->hidden || (call == SYS_ACCEPT && fault->error == EMFILE) ||
           (call == SYS_READ && fault->error == EAGAIN && !strncmp(kind->name, "accept", 6));
}

/* A tick keeps the loop turning: a relaxed send completes with it. What never completes is reported as hung. */
static void drive(struct stage *stage)
{
    struct slot tick = {0};
    bool provoked = false;

    proa_timer_repeat(stage->loop, &tick.op, 1, MS / 4, slot_done);
    while (!stage->slot.finals) {
        if (!provoked || (stage->kind->traits & STREAMS))
            stage_provoke(stage);
        provoked = true;
        if ((stage->kind->traits & REPEATS) && (stage->slot.mores || !stage->kind->provoke))
            proa_cancel(&stage->slot.op);
        proa_loop_run(stage->loop, PROA_ONCE);
    }
    memset(plan, 0, sizeof(plan));
    proa_cancel(&tick.op);
    RUN_UNTIL(stage->loop, tick.finals);
}

static void stage_end(struct stage *stage)
{
    stage_close_extras(stage);
    stage->loop->host.sys.faults = NULL;
    proa_loop_close(stage->loop);
    stage_clear(stage);
}

/* How many calls of each sort one life of the op makes. */
static void count_calls(const struct kind *kind, uint32_t *ret_counts)
{
    static struct stage stage;

    test_case("%s, no fault", kind->name);
    stage_set(&stage, kind, loop_open());
    for (size_t i = 0; i < SYS_CALL_COUNT; i++)
        plan[i] = (struct sys_fault){.skip = COUNT_FROM, .times = 1};
    stage.loop->host.sys.faults = plan;
    stage_start(&stage);
    while (!stage.slot.finals && !(stage.slot.mores && kind->traits & REPEATS)) {
        struct slot tick = {0};

        stage_provoke(&stage);
        proa_timer(stage.loop, &tick.op, clock_ns() + MS / 4, slot_done);
        RUN_UNTIL(stage.loop, tick.finals);
        if (!kind->provoke && (kind->traits & REPEATS))
            break;
    }
    if (proa_in_flight(&stage.slot.op))
        proa_cancel(&stage.slot.op);
    RUN_UNTIL(stage.loop, stage.slot.finals);
    for (size_t i = 0; i < SYS_CALL_COUNT; i++)
        ret_counts[i] = COUNT_FROM - plan[i].skip;
    memset(plan, 0, sizeof(plan));
    stage_end(&stage);
}

static unsigned struck;

static void strike(const struct kind *kind, enum sys_call call, const struct fault *fault, uint32_t nth)
{
    static struct stage stage;
    int before = fd_count();
    int64_t value;

    test_case("%s: %s number %u %s", kind->name, call_names[call], nth,
              fault->error ? strerrorname_np(fault->error) : "moves one byte");
    stage_set(&stage, kind, loop_open());
    plan[call] = (struct sys_fault){.skip = nth, .times = 1, .error = -fault->error, .size_max = 1};
    stage.loop->host.sys.faults = plan;
    stage_start(&stage);
    drive(&stage);
    struck++;
    value = stage.slot.value;
    HOLDS(stage.slot.finals == 1);
    if (!HOLDS(value >= 0 || (value == -fault->error && !is_hidden(kind, call, fault)) ||
               (value == -ECANCELED && (kind->traits & REPEATS))))
        fprintf(stderr, "    value: %lld (%s)\n", (long long)value, strerror((int)-value));
    if ((kind->traits & STREAMS) && value >= 0)
        HOLDS(value == (int64_t)stage.size && proa_sent(&stage.slot.op) == stage.size);
    stage_end(&stage);
    if (!HOLDS(fd_count() == before))
        fprintf(stderr, "    descriptors: %d, then %d\n", before, fd_count());
}

/* Strikes the Nth call of a sort in every way; under a sanitizer in fewer ways from the second call on, for how the errors
 * that an op shows differ has been seen with the first. */
static void strike_nth(const struct kind *kind, enum sys_call call, uint32_t nth)
{
    bool shown = false;

    for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
        if (!is_sensible(kind, call, &faults[i]) || (test_slow() && nth > 0 && shown && !faults[i].hidden))
            continue;
        shown |= !faults[i].hidden;
        strike(kind, call, &faults[i], nth);
    }
}

static void test_kind(const struct kind *kind)
{
    uint32_t counts[SYS_CALL_COUNT], nth_max = test_slow() ? NTH_MAX_SLOW : NTH_MAX;

    if (kind->traits & (SLOW | STEADFAST))
        return;
    count_calls(kind, counts);
    for (int call = 0; call < SYS_CALL_COUNT; call++) {
        for (uint32_t nth = 0; nth < counts[call] && nth < nth_max; nth++)
            strike_nth(kind, call, nth);
    }
}

/* The content too is whole, however the bytes were cut on their way. */
static void test_cut_stream(void)
{
    enum { SIZE = 20000 };
    proa_loop *loop = loop_open();
    struct slot sends[4] = {0}, receive = {0};
    static char data[SIZE], got[SIZE];
    size_t used = 0;
    proa_fd near, far;

    test_case("a stream in pieces of one byte");
    pair_open_inside(loop, TCP, &near, &far);
    for (int call = SYS_RECV; call <= SYS_SENDMSG; call++)
        plan[call] = (struct sys_fault){.times = 2000, .size_max = 1};
    loop->host.sys.faults = plan;
    pattern_fill(data, SIZE, 0);
    for (size_t i = 0; i < 4; i++)
        proa_send(loop, &sends[i].op, near, data + i * SIZE / 4, SIZE / 4, slot_done);
    while (used < SIZE) {
        unsigned before = receive.finals;

        proa_recv(loop, &receive.op, far, got + used, SIZE - used, slot_done);
        RUN_UNTIL(loop, receive.finals > before);
        REQUIRE(receive.value > 0);
        used += (size_t)receive.value;
    }
    for (size_t i = 0; i < 4; i++) {
        RUN_UNTIL(loop, sends[i].finals);
        HOLDS(sends[i].value == SIZE / 4);
    }
    HOLDS(pattern_holds(got, SIZE, 0));
    memset(plan, 0, sizeof(plan));
    close_now(loop, near);
    close_now(loop, far);
    proa_loop_close(loop);
}

/* ENFILE, which no test can cause, is one process's EMFILE: the accept waits, is counted, and goes on. */
static void test_accept_waits(int error, bool many)
{
    static struct stage stage;

    test_case("accept%s meets %s thrice", many ? "_many" : "", strerrorname_np(error));
    stage_set(&stage, kind_named(many ? "accept_many" : "accept"), loop_open());
    plan[SYS_ACCEPT] = (struct sys_fault){.times = 3, .error = -error};
    stage.loop->host.sys.faults = plan;
    stage_start(&stage);
    stage_provoke(&stage);
    RUN_UNTIL(stage.loop, stage.slot.mores || stage.slot.finals);
    HOLDS(stage.slot.value >= 0 && plan[SYS_ACCEPT].times == 0);
    HOLDS(proa_loop_meters(stage.loop).accepts_paused >= (error == ECONNABORTED ? 0 : 1));
    stage_end(&stage);
}

/* A pool that cannot be had is refused, and takes nothing with it. */
static void test_pool_refused(void)
{
    proa_loop *loop = loop_open();
    int64_t blocks;
    int fds = fd_count();

    threads_await_rest();
    for (int call = SYS_MAP; call <= SYS_URING_REGISTER; call++) {
        for (uint32_t nth = 0; nth < 3; nth++) {
            proa_buffer_pool *pool = NULL;
            int result;

            test_case("a pool, and %s number %u fails", call_names[call], nth);
            blocks = heap_live();
            plan[call] = (struct sys_fault){.skip = nth, .times = 1, .error = -ENOMEM};
            loop->host.sys.faults = plan;
            result = proa_buffer_pool_open(loop, 16, 512, &pool);
            HOLDS((result == 0 && pool) || (result == -ENOMEM && !pool));
            memset(plan, 0, sizeof(plan));
            if (pool)
                proa_buffer_pool_close(pool);
            HOLDS(heap_live() == blocks && fd_count() == fds);
        }
    }
    proa_loop_close(loop);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "f_faults");
    for (size_t i = 0; i < kind_count; i++)
        test_kind(&kinds[i]);
    HOLDS(struck > 100);
    test_cut_stream();
    test_accept_waits(EMFILE, false);
    test_accept_waits(ENFILE, false);
    test_accept_waits(ENFILE, true);
    test_accept_waits(ECONNABORTED, false);
    test_accept_waits(ECONNABORTED, true);
    test_pool_refused();
    return check_done("f_faults");
}

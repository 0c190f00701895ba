/* proa_relay(): every byte arrives, in order, either way, however it is moved; ends and failures are passed on; nothing is
 * left over, whenever and whatever ends it. */
#include "harness.h"

#include <pthread.h>

#include "loop/loop.h"

enum { BUFFERS = 64, BUFFER_SIZE = 4096, CHUNK = 65536, WAYS = 2 };

static const uint8_t movers[] = {PROA_RELAY_AUTO, PROA_RELAY_COPY, PROA_RELAY_SPLICE};
static const char *const mover_names[] = {"auto", "copy", "splice"};

/* What one far end sends and the other receives. */
struct traffic {
    uint64_t to_send, sent, got;
    size_t read_max; /* at a time; 0: nothing yet */
    bool sends_on;   /* its end comes later */
    bool shut, ended, wrong;
};

struct scene {
    proa_loop *loop;
    proa_relay_pool *pool;
    proa_relaying relaying;
    struct slot slot, tick;
    proa_fd near[2];
    int far[2];
    struct traffic way[2]; /* from far[i] to far[!i] */
};

static struct scene scene;
static uint8_t data[CHUNK];

static bool can_splice(void)
{
    return !test_has(PROA_FEATURE_DIRECT);
}

/* The tick keeps the loop turning while a far end has to move. */
static void open_scene(enum family family, uint8_t mover)
{
    struct scene *s = &scene;

    *s = (struct scene){.loop = loop_open()};
    REQUIRE(proa_relay_pool_open(s->loop, BUFFERS, BUFFER_SIZE, &s->pool) == 0);
    for (int i = 0; i < 2; i++)
        pair_open(s->loop, family, &s->near[i], &s->far[i]);
    s->relaying.mover = mover;
    for (int i = 0; i < WAYS; i++)
        s->way[i].read_max = CHUNK;
    proa_timer_repeat(s->loop, &s->tick.op, 1, MS / 4, slot_done);
}

static void start_relay(void)
{
    struct scene *s = &scene;

    CALL(proa_relay(s->loop, &s->slot.op, &s->relaying, s->pool, s->near[0], s->near[1], slot_done));
}

static bool nothing_is_lent(proa_loop *loop)
{
    const proa_buffer_pool *pool = loop->pools;

    return pool->available == pool->count && loop->pipes.count == loop->pipes.resting_count && loop->pipes.waiting == 0;
}

static void close_far(int i)
{
    if (scene.far[i] >= 0)
        close_plain(scene.far[i]);
    scene.far[i] = -1;
}

static void close_scene(void)
{
    struct scene *s = &scene;

    for (int i = 0; i < 2; i++) {
        if (s->near[i].handle >= 0)
            close_now(s->loop, s->near[i]);
        close_far(i);
    }
    HOLDS(nothing_is_lent(s->loop));
    proa_relay_pool_close(s->pool);
    proa_cancel(&s->tick.op);
    RUN_UNTIL(s->loop, s->tick.finals);
    proa_loop_close(s->loop);
}

static void send_some(struct traffic *way, int fd)
{
    while (fd >= 0 && way->sent < way->to_send) {
        size_t size = way->to_send - way->sent < CHUNK ? (size_t)(way->to_send - way->sent) : CHUNK;
        ssize_t put;

        pattern_fill(data, size, way->sent);
        put = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put <= 0)
            return;
        way->sent += (uint64_t)put;
    }
    if (fd >= 0 && !way->sends_on && !way->shut)
        way->shut = shutdown(fd, SHUT_WR) == 0 || errno == ENOTCONN;
}

static void receive_some(struct traffic *way, int fd)
{
    ssize_t got;

    if (fd < 0 || way->read_max == 0 || way->ended)
        return;
    while ((got = recv(fd, data, way->read_max, MSG_DONTWAIT)) > 0) {
        way->wrong |= !pattern_holds(data, (size_t)got, way->got);
        way->got += (uint64_t)got;
        if (way->read_max < CHUNK)
            return;
    }
    way->ended = got == 0 || errno != EAGAIN;
}

static void step(void)
{
    struct scene *s = &scene;

    for (int i = 0; i < WAYS; i++) {
        send_some(&s->way[i], s->far[i]);
        receive_some(&s->way[i], s->far[!i]);
    }
    proa_loop_run(s->loop, PROA_ONCE);
}

#define STEP_UNTIL(cond) \
    do {                 \
        while (!(cond))  \
            step();      \
    } while (0)

/* Runs until the relay is over, and the far ends have what they can have. */
static void finish(void)
{
    STEP_UNTIL(scene.slot.finals);
    for (int i = 0; i < WAYS; i++)
        receive_some(&scene.way[i], scene.far[!i]);
}

static void check_whole(void)
{
    struct scene *s = &scene;

    HOLDS(s->slot.finals == 1 && s->slot.value == 0);
    for (int i = 0; i < WAYS; i++) {
        const proa_relay_way *way = &s->relaying.way[i];

        /* What the kernel has taken may still be on its way. */
        while (!s->way[i].ended) {
            loop_run_for(s->loop, MS);
            receive_some(&s->way[i], s->far[!i]);
        }
        HOLDS(s->way[i].got == s->way[i].to_send && s->way[i].ended && !s->way[i].wrong);
        HOLDS(way->bytes == s->way[i].to_send && way->stranded == 0);
        HOLDS(way->receive_error == 0 && way->send_error == 0);
    }
}

static void test_sizes(enum family family, size_t mover)
{
    static const uint64_t sizes[] = {0, 1, 4095, 4096, 4097, 65536, 1 << 20};

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        const proa_relay_way *way = scene.relaying.way;

        test_case("%s, %s, %llu bytes", family == TCP ? "TCP" : "Unix", mover_names[mover],
                  (unsigned long long)sizes[i]);
        open_scene(family, movers[mover]);
        scene.way[0].to_send = sizes[i];
        scene.way[1].to_send = sizes[ARRAY_SIZE(sizes) - 1 - i];
        start_relay();
        finish();
        check_whole();
        if (movers[mover] != PROA_RELAY_AUTO)
            HOLDS(way[0].spliced == (movers[mover] == PROA_RELAY_SPLICE ? sizes[i] : 0));
        close_scene();
    }
}

static void test_ends(void)
{
    test_case("one stream ends, the other goes on");
    open_scene(TCP, PROA_RELAY_AUTO);
    scene.way[0].to_send = 1000;
    scene.way[1].sends_on = true;
    start_relay();
    STEP_UNTIL(scene.way[0].ended);
    HOLDS(scene.slot.finals == 0 && scene.way[0].got == 1000);
    scene.way[1].to_send = 300000;
    STEP_UNTIL(scene.way[1].got == 300000);
    HOLDS(scene.slot.finals == 0 && !scene.way[1].ended);
    scene.way[1].sends_on = false;
    finish();
    check_whole();
    close_scene();
}

/* Little room on the way, so that it is soon filled. */
static void shrink(proa_fd near, int far)
{
    set_size(far, SO_RCVBUF, 16384);
    set_size(far, SO_SNDBUF, 65536);
    if (proa_fd_number(near) < 0)
        return;
    set_size(near.handle, SO_RCVBUF, 65536);
    set_size(near.handle, SO_SNDBUF, 16384);
}

/* As much as sockets, buffers and a pipe hold, and no more. */
static void test_back_pressure(uint8_t mover)
{
    uint64_t before;

    test_case("%s: who does not read is not sent for", mover_names[mover]);
    open_scene(TCP, mover);
    for (int i = 0; i < 2; i++)
        shrink(scene.near[i], scene.far[i]);
    scene.way[0].to_send = 32 << 20;
    scene.way[0].read_max = 0;
    scene.way[1].to_send = 100000;
    start_relay();
    do {
        before = scene.way[0].sent;
        for (int i = 0; i < 20; i++)
            step();
    } while (scene.way[0].sent > before);
    HOLDS(scene.way[0].sent < 28u << 20 && scene.slot.finals == 0);
    STEP_UNTIL(scene.way[1].ended);
    scene.way[0].to_send = scene.way[0].sent;
    scene.way[0].read_max = 7000;
    for (int i = 0; i < 100; i++)
        step();
    scene.way[0].read_max = CHUNK;
    finish();
    check_whole();
    close_scene();
}

static void exchange(unsigned messages)
{
    while (messages-- > 0) {
        for (int i = 0; i < WAYS; i++) {
            scene.way[i].to_send += 64;
            STEP_UNTIL(scene.way[i].got == scene.way[i].to_send);
        }
    }
}

static void test_adapts(void)
{
    const proa_relay_way *way = &scene.relaying.way[0];
    uint64_t spliced;

    test_case("messages are copied, bulk is spliced, messages are copied again");
    open_scene(TCP, PROA_RELAY_AUTO);
    scene.way[0].sends_on = scene.way[1].sends_on = true;
    start_relay();
    exchange(20);
    HOLDS(way->bytes == 20 * 64 && way->spliced == 0);
    scene.way[0].to_send += 4 << 20;
    STEP_UNTIL(scene.way[0].got == scene.way[0].to_send);
    HOLDS(!can_splice() || way->spliced > 2 << 20);
    exchange(20);
    spliced = way->spliced;
    exchange(20);
    HOLDS(way->spliced == spliced);
    scene.way[0].sends_on = scene.way[1].sends_on = false;
    finish();
    check_whole();
    close_scene();
}

/* Each thing that can end it, after each number of turns of the loop. */
enum ending { CANCEL, DEADLINE, CLOSE_ONE, CLOSE_OTHER, FAR_CLOSES, FAR_RESETS, LOOP_CLOSES, ENDINGS };

static const char *const ending_names[] = {"cancel",     "deadline",   "close of one", "close of the other",
                                           "far closes", "far resets", "loop closes"};

static void reset_far(void)
{
    struct linger linger = {.l_onoff = 1};

    REQUIRE(setsockopt(scene.far[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) == 0);
    close_far(0);
}

static void cause(enum ending ending)
{
    struct scene *s = &scene;
    static struct slot close;

    close = (struct slot){0};
    switch (ending) {
    case CANCEL:
        CALL(proa_cancel(&s->slot.op));
        break;
    case DEADLINE:
        proa_set_deadline(&s->slot.op, 1);
        break;
    case CLOSE_ONE:
    case CLOSE_OTHER:
        CALL(proa_close(s->loop, &close.op, s->near[ending == CLOSE_OTHER], slot_done));
        RUN_UNTIL(s->loop, close.finals);
        s->near[ending == CLOSE_OTHER].handle = -1;
        HOLDS(close.value == 0 && s->slot.finals == 1 && s->slot.order < close.order);
        break;
    case FAR_CLOSES:
        close_far(0);
        break;
    case FAR_RESETS:
        reset_far();
        break;
    default:
        break;
    }
}

static bool is_expected(enum ending ending, int64_t value)
{
    switch (ending) {
    case CANCEL:
    case CLOSE_ONE:
    case CLOSE_OTHER:
        return value == -ECANCELED || value == 0;
    case DEADLINE:
        return value == -ETIMEDOUT || value == 0;
    default:
        return value == 0 || value == -ECONNRESET || value == -EPIPE || value == -ENOTCONN;
    }
}

/* What had arrived is a beginning of what was sent, and what is missing is accounted for. */
static void check_cut(enum ending ending)
{
    for (int i = 0; i < WAYS; i++) {
        const proa_relay_way *way = &scene.relaying.way[i];

        HOLDS(!scene.way[i].wrong && way->bytes + way->stranded <= scene.way[i].sent);
        HOLDS(scene.way[i].got <= way->bytes);
    }
    if (!HOLDS(is_expected(ending, scene.slot.value)))
        fprintf(stderr, "    value %lld\n", (long long)scene.slot.value);
}

static void close_loop_in_flight(void)
{
    struct scene *s = &scene;
    int numbers[] = {s->near[0].handle, s->near[1].handle, s->far[0], s->far[1]};

    s->pool = NULL; /* its memory is the test's: not freed by the loop */
    proa_loop_close(s->loop);
    HOLDS(s->slot.finals == 1 && (s->slot.value == -ECANCELED || s->slot.value == 0));
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        if (numbers[i] < PROA_DIRECT_BASE)
            close_plain(numbers[i]);
}

static void test_ending(enum ending ending, uint8_t mover, unsigned turns)
{
    test_case("%s, after %u turns: %s", mover_names[mover], turns, ending_names[ending]);
    open_scene(TCP, mover);
    scene.way[0].to_send = scene.way[1].to_send = 1 << 20;
    scene.way[1].read_max = 5000;
    start_relay();
    for (unsigned i = 0; i < turns && !scene.slot.finals; i++)
        step();
    cause(ending);
    if (ending == LOOP_CLOSES) {
        close_loop_in_flight();
        return;
    }
    scene.way[1].read_max = CHUNK;
    finish();
    check_cut(ending);
    close_scene();
}

static void test_endings(void)
{
    unsigned most = test_slow() ? 2 : 6;

    for (enum ending ending = 0; ending < ENDINGS; ending++)
        for (unsigned turns = 0; turns < most; turns++)
            test_ending(ending, turns % 2 && can_splice() ? PROA_RELAY_SPLICE : PROA_RELAY_AUTO,
                        turns < 4 ? turns : turns * 5);
}

/* Each of its system calls fails, the first, second, ... of them, or moves one byte only. */
static struct sys_fault plan[SYS_CALL_COUNT];

static void test_fault(enum sys_call call, int error, uint8_t mover, uint32_t nth)
{
    test_case("%s: call %d number %u: %s", mover_names[mover], call, nth, error ? strerrorname_np(error) : "one byte");
    open_scene(TCP, mover);
    scene.way[0].to_send = 300000;
    scene.way[1].to_send = 3000;
    plan[call] = (struct sys_fault){.skip = nth, .times = 1, .error = -error, .size_max = 1};
    scene.loop->host.sys.faults = plan;
    start_relay();
    while (!scene.slot.finals) {
        step();
        if (scene.relaying.way[0].send_error) /* it is not read any more: its sender gives up in the end */
            close_far(0);
        if (scene.relaying.way[1].send_error)
            close_far(1);
    }
    memset(plan, 0, sizeof(plan));
    HOLDS(scene.slot.finals == 1);
    finish();
    if (scene.slot.value == 0)
        check_whole();
    else
        HOLDS(scene.slot.value == -error && error != EINTR && error != EAGAIN && error != 0);
    HOLDS(!scene.way[0].wrong && !scene.way[1].wrong);
    scene.loop->host.sys.faults = NULL;
    close_scene();
}

static void test_faults(void)
{
    static const struct {
        enum sys_call call;
        int error;
    } faults[] = {
        {SYS_RECV, ECONNRESET},
        {SYS_RECV, EINTR},
        {SYS_SEND, EPIPE},
        {SYS_SEND, ECONNRESET},
        {SYS_SEND, 0},
        {SYS_SPLICE, EPIPE},
        {SYS_SPLICE, EINTR},
        {SYS_SPLICE, EAGAIN},
        {SYS_SPLICE, ENOMEM},
        {SYS_SPLICE, 0},
        {SYS_SPLICE, ECONNRESET},
        {SYS_POLL, ENOMEM},
        {SYS_SHUTDOWN, ENOTCONN},
        {SYS_PIPE, EMFILE},
    };
    uint32_t most = test_slow() ? 2 : 3;

    for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
        for (uint32_t nth = 0; nth < most; nth++) {
            bool splices = faults[i].call == SYS_SPLICE || faults[i].call == SYS_PIPE || faults[i].call == SYS_POLL;

            if (can_splice() || !splices)
                test_fault(faults[i].call, faults[i].error, splices ? PROA_RELAY_SPLICE : PROA_RELAY_COPY, nth);
        }
}

/* Returns whether what was sent arrived: on a slow machine the time may be over before. */
static bool idles_out(uint64_t timeout_ns)
{
    uint64_t start = clock_ns(), got;

    test_case("nothing comes for %llu ms", (unsigned long long)(timeout_ns / MS));
    open_scene(TCP, PROA_RELAY_AUTO);
    scene.relaying.idle_timeout_ns = timeout_ns;
    scene.way[0].to_send = 100;
    scene.way[0].sends_on = scene.way[1].sends_on = true;
    start_relay();
    finish();
    got = scene.way[0].got;
    HOLDS(scene.slot.value == -ETIME && clock_ns() - start >= timeout_ns);
    close_scene();
    return got == 100;
}

static void test_idle(void)
{
    uint64_t timeout_ns = 20 * MS;

    while (!idles_out(timeout_ns))
        timeout_ns *= 2;
}

/* What was received is no silence, though nobody takes it. What was filled may have room again a moment later, for what is on
 * its way counts twice, so it is filled before each byte. */
static void test_received_is_activity(uint8_t mover)
{
    const proa_relay_way *way = scene.relaying.way;
    uint64_t before_ns, bytes, sent = 0;

    test_case("%s: what only comes is activity, too", mover_names[mover]);
    open_scene(TCP, mover);
    shrink(scene.near[1], scene.far[1]);
    scene.relaying.idle_timeout_ns = 3600 * PROA_SECOND_NS;
    start_relay();
    do {
        bytes = way->bytes;
        before_ns = proa_now(scene.loop);
        far_fill(scene.near[1].handle);
        loop_run_for(scene.loop, MS);
        REQUIRE(send(scene.far[0], "x", 1, MSG_NOSIGNAL) == 1);
        sent++;
        RUN_UNTIL(scene.loop, way->bytes + way->unsent + way->held == sent);
    } while (way->bytes > bytes);
    HOLDS(scene.relaying.active_ns > before_ns);
    proa_cancel(&scene.slot.op);
    RUN_UNTIL(scene.loop, scene.slot.finals);
    close_scene();
}

/* A timer that lies beyond all time is none that is due at once, over and over. */
static void test_never_idle(uint64_t timeout_ns)
{
    uint64_t started;

    test_case("a timeout beyond all time");
    open_scene(TCP, PROA_RELAY_AUTO);
    scene.relaying.idle_timeout_ns = timeout_ns;
    scene.way[0].sends_on = scene.way[1].sends_on = true;
    start_relay();
    started = proa_loop_meters(scene.loop).ops_started;
    loop_run_for(scene.loop, 5 * MS);
    HOLDS(proa_loop_meters(scene.loop).ops_started == started + 1 && scene.slot.finals == 0);
    scene.way[0].to_send = 100;
    scene.way[0].sends_on = scene.way[1].sends_on = false;
    finish();
    check_whole();
    close_scene();
}

/* Whatever turn the relay ends in, the timer is due in that one, too. */
static void test_idle_at_the_end(uint8_t mover)
{
    unsigned turns = 0;

    test_case("%s: the timer is due as the relay ends", mover_names[mover]);
    open_scene(TCP, mover);
    scene.relaying.idle_timeout_ns = 3600 * PROA_SECOND_NS;
    scene.way[0].to_send = scene.way[1].to_send = 1000;
    start_relay();
    while (!scene.slot.finals && turns < 20000) {
        turns += scene.relaying.parts == 1; /* none but the timer */
        if (scene.relaying.idle.state == OP_IN_FLIGHT)
            timing_set(scene.loop, &scene.relaying.idle, 1);
        step();
    }
    HOLDS(turns <= 1);
    proa_cancel(&scene.slot.op);
    finish();
    check_whole();
    close_scene();
}

/* Who is woken for a pipe and has no more use for it leaves it to the next. */
static void test_pipe_passed_on(void)
{
    static proa_relaying first;
    int32_t pipes[PIPES_MAX][2];
    struct slot slot = {0};
    proa_fd near[2];
    int far[2];

    test_case("a pipe comes as the relay that waits for it ends");
    open_scene(TCP, PROA_RELAY_SPLICE);
    for (int i = 0; i < 2; i++)
        pair_open(scene.loop, TCP, &near[i], &far[i]);
    for (size_t i = 0; i < PIPES_MAX; i++)
        REQUIRE(pipe_lend(scene.loop, pipes[i]) == 0);
    first = (proa_relaying){.mover = PROA_RELAY_SPLICE};
    proa_relay(scene.loop, &slot.op, &first, scene.pool, near[0], near[1], slot_done);
    scene.way[0].to_send = scene.way[1].to_send = 1000;
    start_relay();
    RUN_UNTIL(scene.loop, scene.loop->pipes.waiting == 4);
    pipe_return(scene.loop, pipes[0], 1);
    proa_cancel(&slot.op);
    RUN_UNTIL(scene.loop, slot.finals);
    HOLDS(slot.value == -ECANCELED);
    finish();
    check_whole();
    for (size_t i = 1; i < PIPES_MAX; i++)
        pipe_return(scene.loop, pipes[i], 1);
    for (int i = 0; i < 2; i++) {
        close_now(scene.loop, near[i]);
        close_plain(far[i]);
    }
    close_scene();
}

/* A far end that is another thread: nothing but its bytes turns the loop. */
struct program {
    pthread_t thread;
    int fd;
    uint64_t size;
    bool sends, whole;
};

static void *run_program(void *argument)
{
    struct program *program = argument;
    static _Thread_local uint8_t bytes[CHUNK];
    uint64_t done = 0;
    ssize_t count = 1;

    while (count > 0 && done < program->size) {
        size_t size = program->size - done < CHUNK ? (size_t)(program->size - done) : CHUNK;

        if (program->sends)
            pattern_fill(bytes, size, done);
        count = program->sends ? send(program->fd, bytes, size, MSG_NOSIGNAL) : recv(program->fd, bytes, size, 0);
        if (!program->sends && count > 0 && !pattern_holds(bytes, (size_t)count, done))
            return NULL;
        done += count > 0 ? (uint64_t)count : 0;
    }
    program->whole = done == program->size;
    if (program->sends)
        shutdown(program->fd, SHUT_WR);
    return NULL;
}

/* Both ways at once, without memory growing: $PROA_RELAY_MIB of each, 10240 for the long run. */
static void test_both_ways(uint8_t mover)
{
    const char *text = getenv("PROA_RELAY_MIB");
    uint64_t size = (text ? strtoull(text, NULL, 10) : 4) << 20;
    struct program programs[4];
    int64_t blocks;

    test_case("%s: both ways, far ends on threads", mover_names[mover]);
    if (text)
        alarm(0);
    open_scene(TCP, mover);
    proa_cancel(&scene.tick.op);
    RUN_UNTIL(scene.loop, scene.tick.finals);
    for (int i = 0; i < 4; i++) {
        programs[i] = (struct program){.fd = scene.far[i / 2], .size = size, .sends = i % 2};
        REQUIRE(fcntl(programs[i].fd, F_SETFL, 0) == 0);
        REQUIRE(pthread_create(&programs[i].thread, NULL, run_program, &programs[i]) == 0);
    }
    blocks = heap_live();
    start_relay();
    RUN_UNTIL(scene.loop, scene.slot.finals);
    HOLDS(heap_is_back_at(blocks) || test_slow()); /* a sanitizer allocates for the threads */
    for (int i = 0; i < 4; i++) {
        REQUIRE(pthread_join(programs[i].thread, NULL) == 0);
        HOLDS(programs[i].whole);
    }
    HOLDS(scene.slot.value == 0 && scene.relaying.way[0].bytes == size && scene.relaying.way[1].bytes == size);
    close_scene();
}

static void refuse(uint8_t mover, proa_fd one, proa_fd other, int error)
{
    scene.slot.finals = 0;
    scene.relaying.mover = mover;
    CALL(proa_relay(scene.loop, &scene.slot.op, &scene.relaying, scene.pool, one, other, slot_done));
    RUN_UNTIL(scene.loop, scene.slot.finals);
    HOLDS(scene.slot.value == -error);
}

static void test_refusals(void)
{
    test_case("what cannot be");
    open_scene(TCP, PROA_RELAY_AUTO);
    refuse(PROA_RELAY_SPLICE + 1, scene.near[0], scene.near[1], EINVAL);
    refuse(PROA_RELAY_AUTO, scene.near[0], scene.near[0], EINVAL);
    refuse(PROA_RELAY_AUTO, scene.near[0], proa_fd_of(-1), EBADF);
    refuse(PROA_RELAY_AUTO, proa_fd_of(-1), scene.near[0], EBADF);
    if (!can_splice())
        refuse(PROA_RELAY_SPLICE, scene.near[0], scene.near[1], ENOTSUP);
    close_scene();
}

/* More stalled ways than the loop has pipes: the others copy, or wait for their turn. */
static void test_few_pipes(uint8_t mover)
{
    enum { RELAYS = PIPES_MAX + 3 };
    static proa_relaying relays[RELAYS];
    static struct slot slots[RELAYS];
    static proa_fd near[RELAYS][2];
    static int far[RELAYS][2];
    proa_loop *loop = loop_open();
    proa_relay_pool *pool;
    uint64_t spliced = 0;

    test_case("%s: more relays than pipes", mover_names[mover]);
    REQUIRE(proa_relay_pool_open(loop, 1024, BUFFER_SIZE, &pool) == 0);
    for (int i = 0; i < RELAYS; i++) {
        slots[i] = (struct slot){0};
        for (int j = 0; j < 2; j++) {
            pair_open(loop, TCP, &near[i][j], &far[i][j]);
            shrink(near[i][j], far[i][j]);
        }
        relays[i] = (proa_relaying){.mover = mover};
        proa_relay(loop, &slots[i].op, &relays[i], pool, near[i][0], near[i][1], slot_done);
    }
    for (int turn = 0; turn < 10; turn++) {
        for (int i = 0; i < RELAYS; i++)
            far_fill(far[i][0]);
        loop_run_for(loop, MS);
    }
    HOLDS(loop->pipes.count <= PIPES_MAX);
    for (int i = 0; i < RELAYS; i++)
        shutdown(far[i][0], SHUT_WR), shutdown(far[i][1], SHUT_WR);
    for (int i = RELAYS - 1; i >= 0; i--) {
        while (!slots[i].finals) {
            for (int j = 0; j < RELAYS; j++)
                far_drain(far[j][1]);
            loop_run_for(loop, MS / 4);
        }
        HOLDS(slots[i].value == 0 && relays[i].way[0].stranded == 0 && relays[i].way[0].bytes > 0);
        spliced += relays[i].way[0].spliced;
    }
    HOLDS(spliced > 0);
    for (int i = 0; i < RELAYS; i++)
        for (int j = 0; j < 2; j++) {
            close_now(loop, near[i][j]);
            close_plain(far[i][j]);
        }
    HOLDS(nothing_is_lent(loop));
    proa_relay_pool_close(pool);
    proa_loop_close(loop);
}

int main(int argc, char **argv)
{
    int fds;

    test_begin(argc, argv, "relay");
    fds = fd_count();
    for (size_t i = 0; i < ARRAY_SIZE(movers); i++) {
        if (movers[i] == PROA_RELAY_SPLICE && !can_splice())
            continue;
        test_sizes(TCP, i);
        if (can_splice())
            test_sizes(UNIX, i);
        test_back_pressure(movers[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(movers) && !test_simulated(); i++) /* whose programs are no threads */
        if (can_splice() || movers[i] != PROA_RELAY_SPLICE)
            test_both_ways(movers[i]);
    test_ends();
    test_adapts();
    test_endings();
    test_faults();
    test_idle();
    test_never_idle(PROA_NEVER);
    test_never_idle(PROA_NEVER - 1);
    test_idle_at_the_end(PROA_RELAY_COPY);
    if (can_splice()) {
        test_received_is_activity(PROA_RELAY_COPY);
        test_received_is_activity(PROA_RELAY_SPLICE);
        test_idle_at_the_end(PROA_RELAY_SPLICE);
        test_pipe_passed_on();
    }
    test_refusals();
    if (can_splice() && !test_slow()) {
        test_few_pipes(PROA_RELAY_AUTO);
        test_few_pipes(PROA_RELAY_SPLICE);
    }
    HOLDS(fd_count() == fds);
    return check_done("relay");
}

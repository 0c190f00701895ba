#include "kinds.h"

#include <poll.h>

static const char greeting[] = "a message of middling length";

/* Stages. */

static void set_nothing(struct stage *stage)
{
    (void)stage;
}

static void set_listener(struct stage *stage)
{
    stage->fd = listen_on(stage->loop, TCP, 64, &stage->address);
}

static void set_unix_listener(struct stage *stage)
{
    stage->fd = listen_on(stage->loop, UNIX, 64, &stage->address);
}

static void set_target(struct stage *stage)
{
    stage->more[0] = proa_fd_number(listen_on(stage->loop, TCP, 64, &stage->address));
}

static void set_unix_target(struct stage *stage)
{
    stage->more[0] = proa_fd_number(listen_on(stage->loop, UNIX, 64, &stage->address));
}

static void set_full_target(struct stage *stage)
{
    stage->more[0] = full_listener(&stage->address, &stage->more[1]);
}

static void set_pair(struct stage *stage)
{
    pair_open(stage->loop, TCP, &stage->fd, &stage->far);
}

static void set_unix_pair(struct stage *stage)
{
    pair_open(stage->loop, UNIX, &stage->fd, &stage->far);
}

static void set_pool_pair(struct stage *stage)
{
    REQUIRE(proa_buffer_pool_open(stage->loop, 4, 256, &stage->pool) == 0);
    set_pair(stage);
}

/* More than both socket buffers hold, to a peer that does not read. */
static void set_stalled(struct stage *stage)
{
    set_pair(stage);
    set_size(proa_fd_number(stage->fd), SO_SNDBUF, 16384);
    stage->size = STUCK_SIZE / 4;
    stage->data = calloc(1, stage->size);
    REQUIRE(stage->data != NULL);
    far_fill(proa_fd_number(stage->fd));
}

static void set_file(struct stage *stage)
{
    stage->path = temp_fresh("file");
    stage->fd = proa_fd_of(open(stage->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    REQUIRE(stage->fd.handle >= 0);
    REQUIRE(write(stage->fd.handle, greeting, sizeof(greeting)) == (ssize_t)sizeof(greeting));
}

static void set_path(struct stage *stage)
{
    set_file(stage);
    close_plain(stage->fd.handle);
    stage->fd.handle = -1;
}

static void set_pipe(struct stage *stage)
{
    int ends[2];

    REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    stage->fd = proa_fd_of(ends[0]);
    stage->far = ends[1];
}

/* As a shell would hand it over: blocking. */
static void set_blocking_pipe(struct stage *stage)
{
    int ends[2];

    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    REQUIRE(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
    stage->fd = proa_fd_of(ends[0]);
    stage->far = ends[1];
}

static void on_signal(int number)
{
    (void)number; /* what is still pending when the op unblocks the signal ends here */
}

static void set_signal(struct stage *stage)
{
    struct sigaction action = {.sa_handler = on_signal};

    (void)stage;
    sigaction(SIGUSR1, &action, NULL);
}

static int64_t blocker(proa_op *op)
{
    struct slot *slot = proa_owner(op, struct slot, op);
    struct stage *stage = slot->context;

    while (sem_wait(&stage->release) < 0)
        REQUIRE(errno == EINTR);
    return 0;
}

/* Every thread of the pool is busy, so the next function waits for one. */
static void set_busy_pool(struct stage *stage)
{
    stage->blocker_count = BLOCKERS_MAX;
    for (unsigned i = 0; i < stage->blocker_count; i++) {
        stage->blockers[i].context = stage;
        proa_work(stage->loop, &stage->blockers[i].op, blocker, slot_done);
    }
}

/* Starts. */

static void start_listen(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_address address = address_any(TCP);

    proa_listen(stage->loop, op, &address, 16, 0, callback);
    memset(&address, 0xa5, sizeof(address)); /* nothing says that it must stay */
}

static void start_listen_unix(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_address address = address_any(UNIX);

    proa_listen(stage->loop, op, &address, 16, 0, callback);
    memset(&address, 0xa5, sizeof(address));
}

static void start_accept(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_accept(stage->loop, op, stage->fd, callback);
}

static void start_accept_many(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_accept_many(stage->loop, op, stage->fd, callback);
}

static void start_connect(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_connect(stage->loop, op, &stage->address, callback);
}

static void start_recv(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_recv(stage->loop, op, stage->fd, stage->data, stage->size, callback);
}

static void start_recv_many(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_recv_many(stage->loop, op, stage->fd, stage->pool, callback);
}

static void start_send(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_send(stage->loop, op, stage->fd, stage->data, stage->size, callback);
}

static void start_send_relaxed(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_send_relaxed(stage->loop, op, stage->fd, stage->data, stage->size, callback);
}

static void start_shutdown(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_shutdown(stage->loop, op, stage->fd, SHUT_WR, callback);
}

static void start_close(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_close(stage->loop, op, stage->fd, callback);
}

static void start_open(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_open(stage->loop, op, PROA_CWD, stage->path, (proa_open_how){.flags = O_RDONLY}, callback);
}

static void start_read(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_read(stage->loop, op, stage->fd, stage->data, stage->size, 0, callback);
}

static void start_read_here(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_read(stage->loop, op, stage->fd, stage->data, stage->size, PROA_POSITION, callback);
}

static void start_write(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_write(stage->loop, op, stage->fd, stage->data, stage->size, 0, callback);
}

static void start_fsync(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_fsync(stage->loop, op, stage->fd, callback);
}

static void start_fdatasync(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_fdatasync(stage->loop, op, stage->fd, callback);
}

static void start_stat(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_stat(stage->loop, op, PROA_CWD, stage->path, &stage->status, callback);
}

static void start_stat_fd(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_stat(stage->loop, op, stage->fd, "", &stage->status, callback);
}

static void start_timer(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_timer(stage->loop, op, clock_ns() + 2 * MS, callback);
}

static void start_timer_repeat(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_timer_repeat(stage->loop, op, clock_ns() + 3600 * PROA_SECOND_NS, MS, callback);
}

static void start_timer_repeat_soon(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_timer_repeat(stage->loop, op, clock_ns() + MS, MS, callback);
}

static void start_poll(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_poll(stage->loop, op, stage->fd, POLLIN, callback);
}

static void start_signal(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_signal(stage->loop, op, SIGUSR1, callback);
}

static int64_t quick(proa_op *op)
{
    (void)op;
    return 7;
}

static void start_work(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_work(stage->loop, op, quick, callback);
}

static void start_post(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_post(stage->loop, op, callback);
}

/* Provocations. */

static void provoke_connection(struct stage *stage)
{
    if (stage->far < 0)
        stage->far = far_connect(&stage->address);
}

static void provoke_data(struct stage *stage)
{
    REQUIRE(write(stage->far, greeting, sizeof(greeting)) > 0);
}

static void provoke_room(struct stage *stage)
{
    stage->drained += far_drain(stage->far);
}

static void provoke_backlog(struct stage *stage)
{
    int fd = accept4(stage->more[0], NULL, NULL, SOCK_CLOEXEC);

    if (fd >= 0)
        close_plain(fd);
}

static void provoke_signal(struct stage *stage)
{
    (void)stage;
    REQUIRE(kill(getpid(), SIGUSR1) == 0);
}

static void provoke_release(struct stage *stage)
{
    for (unsigned i = 0; i < stage->blocker_count; i++)
        REQUIRE(sem_post(&stage->release) == 0);
}

const struct kind kinds[] = {
    {"listen", "proa_listen", GIVES_FD, set_nothing, start_listen, NULL},
    {"listen unix", "proa_listen", GIVES_FD, set_nothing, start_listen_unix, NULL},
    {"accept", "proa_accept", WAITS | GIVES_FD | ON_FD, set_listener, start_accept, provoke_connection},
    {"accept unix", "proa_accept", WAITS | GIVES_FD | ON_FD, set_unix_listener, start_accept, provoke_connection},
    {"accept_many", "proa_accept_many", WAITS | REPEATS | GIVES_FD | ON_FD, set_listener, start_accept_many,
     provoke_connection},
    {"connect", "proa_connect", GIVES_FD, set_target, start_connect, NULL},
    {"connect unix", "proa_connect", GIVES_FD, set_unix_target, start_connect, NULL},
    {"connect, queue full", "proa_connect", WAITS | GIVES_FD | SLOW, set_full_target, start_connect, provoke_backlog},
    {"recv", "proa_recv", WAITS | ON_FD, set_pair, start_recv, provoke_data},
    {"recv unix", "proa_recv", WAITS | ON_FD, set_unix_pair, start_recv, provoke_data},
    {"recv_many", "proa_recv_many", WAITS | REPEATS | ON_FD, set_pool_pair, start_recv_many, provoke_data},
    {"send", "proa_send", ON_FD | STREAMS, set_pair, start_send, NULL},
    {"send, peer stalled", "proa_send", WAITS | ON_FD | STREAMS, set_stalled, start_send, provoke_room},
    {"send_relaxed", "proa_send_relaxed", ON_FD | STREAMS | AT_EASE, set_pair, start_send_relaxed, NULL},
    {"send_relaxed, peer stalled", "proa_send_relaxed", WAITS | ON_FD | STREAMS | AT_EASE, set_stalled,
     start_send_relaxed, provoke_room},
    {"shutdown", "proa_shutdown", ON_FD, set_pair, start_shutdown, NULL},
    {"close", "proa_close", CLOSES, set_pair, start_close, NULL},
    {"close file", "proa_close", CLOSES, set_file, start_close, NULL},
    {"open", "proa_open", GIVES_FD | FILES, set_path, start_open, NULL},
    {"read", "proa_read", ON_FD | FILES, set_file, start_read, NULL},
    {"read pipe", "proa_read", WAITS | ON_FD | FILES, set_pipe, start_read_here, provoke_data},
    {"read blocking pipe", "proa_read", WAITS | ON_FD | FILES, set_blocking_pipe, start_read_here, provoke_data},
    {"write", "proa_write", ON_FD | FILES, set_file, start_write, NULL},
    {"fsync", "proa_fsync", ON_FD | FILES, set_file, start_fsync, NULL},
    {"fdatasync", "proa_fdatasync", ON_FD | FILES, set_file, start_fdatasync, NULL},
    {"stat", "proa_stat", FILES, set_path, start_stat, NULL},
    {"stat of a descriptor", "proa_stat", ON_FD | FILES, set_file, start_stat_fd, NULL},
    {"timer", "proa_timer", 0, set_nothing, start_timer, NULL},
    {"timer_repeat, far", "proa_timer_repeat", REPEATS | WAITS, set_nothing, start_timer_repeat, NULL},
    {"timer_repeat", "proa_timer_repeat", REPEATS, set_nothing, start_timer_repeat_soon, NULL},
    {"poll", "proa_poll", WAITS | ON_FD, set_pipe, start_poll, provoke_data},
    {"signal", "proa_signal", WAITS | REPEATS, set_signal, start_signal, provoke_signal},
    {"work", "proa_work", 0, set_nothing, start_work, NULL},
    {"work, pool busy", "proa_work", WAITS, set_busy_pool, start_work, provoke_release},
    {"post", "proa_post", STEADFAST, set_nothing, start_post, NULL},
};

const size_t kind_count = ARRAY_SIZE(kinds);

const struct kind *kind_named(const char *name)
{
    for (size_t i = 0; i < kind_count; i++) {
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    }
    test_fatal(__FILE__, __LINE__, name);
}

/* What a result hands over is taken care of at once, so that a stage leaks only what the library leaks. */
static void on_result(struct slot *slot, proa_result result)
{
    struct stage *stage = slot->context;

    if ((stage->kind->traits & GIVES_FD) && result.value >= 0)
        stage->fds_given++;
    if ((stage->kind->traits & CLOSES) && result.value == 0)
        stage->fd.handle = -1;
    if (stage->keep_result)
        return;
    if ((stage->kind->traits & GIVES_FD) && result.value >= 0)
        fd_keep((int)result.value);
    if (result.flags & PROA_LENT)
        proa_buffer_return(stage->pool, result.buffer);
}

void stage_set(struct stage *stage, const struct kind *kind, proa_loop *loop)
{
    memset(stage, 0, sizeof(*stage));
    stage->kind = kind;
    stage->loop = loop;
    stage->fd.handle = stage->far = stage->more[0] = stage->more[1] = -1;
    stage->slot.then = on_result;
    stage->slot.context = stage;
    REQUIRE(sem_init(&stage->release, 0, 0) == 0);
    kind->set(stage);
    if (!stage->data) {
        stage->size = 64;
        stage->data = calloc(1, stage->size);
        REQUIRE(stage->data != NULL);
    }
}

void stage_start(struct stage *stage)
{
    CALL(stage->kind->start(stage, &stage->slot.op, slot_done));
}

void stage_provoke(struct stage *stage)
{
    if (stage->kind->provoke)
        stage->kind->provoke(stage);
}

void stage_finish(struct stage *stage)
{
    while (!stage->slot.finals && !stage->slot.mores) {
        if (!stage->slot.finals)
            stage_provoke(stage);
        proa_loop_run(stage->loop, PROA_ONCE);
    }
}

/* A relaxed send that succeeded completes with the next thing that wakes the loop. */
void stage_wait(struct stage *stage)
{
    struct slot tick = {0};

    if (!(stage->kind->traits & AT_EASE)) {
        RUN_UNTIL(stage->loop, stage->slot.finals);
        return;
    }
    proa_timer_repeat(stage->loop, &tick.op, clock_ns() + 5 * MS, 5 * MS, slot_done);
    RUN_UNTIL(stage->loop, stage->slot.finals);
    proa_cancel(&tick.op);
    RUN_UNTIL(stage->loop, tick.finals);
}

void stage_close_extras(struct stage *stage)
{
    if (stage->blocker_count) {
        provoke_release(stage);
        for (unsigned i = 0; i < stage->blocker_count; i++)
            RUN_UNTIL(stage->loop, stage->blockers[i].finals);
        stage->blocker_count = 0;
    }
    fds_close(stage->loop);
    if (stage->pool)
        proa_buffer_pool_close(stage->pool);
    stage->pool = NULL;
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        close_plain(fd);
}

void stage_clear(struct stage *stage)
{
    fds_close(NULL);
    close_if_open(stage->fd.handle);
    close_if_open(stage->far);
    close_if_open(stage->more[0]);
    close_if_open(stage->more[1]);
    sem_destroy(&stage->release);
    free(stage->data);
}

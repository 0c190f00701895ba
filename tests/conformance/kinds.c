#include "kinds.h"

#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "sim_calls.h"

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

/* The far end is connected to the near one, which answers by address. */
static void set_datagrams(struct stage *stage)
{
    proa_address near;

    stage->fd = datagrams_on(stage->loop, "127.0.0.1:0", 0, &near);
    stage->far = far_datagrams("127.0.0.1:0", &stage->address);
    REQUIRE(connect(stage->far, &near.as.any, near.size) == 0);
    stage->datagram.data = (void *)(uintptr_t)greeting;
    stage->datagram.size = sizeof(greeting);
    stage->datagram.peer = stage->address;
}

static void set_unix_datagrams(struct stage *stage)
{
    proa_address near = address_any(UNIX), far = address_any(UNIX);
    char text[PROA_ADDRESS_TEXT_MAX];

    stage->fd = datagrams_on(stage->loop, proa_address_format(&near, text, sizeof(text)), 0, NULL);
    stage->far = far_datagrams(proa_address_format(&far, text, sizeof(text)), &stage->address);
    REQUIRE(connect(stage->far, &near.as.any, near.size) == 0);
}

static void set_pool_datagrams(struct stage *stage)
{
    REQUIRE(proa_buffer_pool_open(stage->loop, 4, 512, &stage->pool) == 0);
    set_datagrams(stage);
}

/* UDP over loopback always finds room; a Unix peer that does not read has some for ten or so. */
static void set_stalled_datagrams(struct stage *stage)
{
    proa_address far = address_any(UNIX);
    char text[PROA_ADDRESS_TEXT_MAX];

    stage->far = far_datagrams(proa_address_format(&far, text, sizeof(text)), &stage->address);
    stage->fd = datagrams_to(stage->loop, &stage->address);
    stage->datagram.data = (void *)(uintptr_t)greeting;
    stage->datagram.size = sizeof(greeting);
    far_fill(proa_fd_number(stage->fd));
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

/* The same, whoever knows the socket's number: of what is sent without copy nothing is taken, for the peer that does not
 * read would keep it, whatever ends the op. Where late acknowledgements still made room, there is more to fill. */
static void set_full(struct stage *stage)
{
    unsigned in_vain = 0;

    set_stalled(stage);
    while (in_vain < 3) {
        struct slot filling = {0};

        proa_send(stage->loop, &filling.op, stage->fd, stage->data, stage->size, slot_done);
        loop_run_for(stage->loop, MS);
        proa_cancel(&filling.op);
        RUN_UNTIL(stage->loop, filling.finals);
        in_vain = proa_sent(&filling.op) ? 0 : in_vain + 1;
    }
}

static void set_file(struct stage *stage)
{
    snprintf(stage->here, sizeof(stage->here), "%s", temp_fresh("file"));
    stage->path = stage->here;
    stage->fd = proa_fd_of(open(stage->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    REQUIRE(stage->fd.handle >= 0);
    REQUIRE(write(stage->fd.handle, greeting, sizeof(greeting)) == (ssize_t)sizeof(greeting));
}

/* `data` tells what is sent. */
static void add_file(struct stage *stage, size_t size)
{
    stage->size = size;
    stage->data = calloc(1, size);
    REQUIRE(stage->data != NULL);
    stage->more[0] = open(temp_fresh("source"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(stage->more[0] >= 0);
    for (size_t at = 0; at < size; at += STUCK_SIZE / 16)
        REQUIRE(write(stage->more[0], stage->data + at, size - at < STUCK_SIZE / 16 ? size - at : STUCK_SIZE / 16) > 0);
}

static void set_file_pair(struct stage *stage)
{
    set_pair(stage);
    add_file(stage, 10000);
}

static void set_unix_file_pair(struct stage *stage)
{
    set_unix_pair(stage);
    add_file(stage, 10000);
}

static void set_stalled_file(struct stage *stage)
{
    set_pair(stage);
    set_size(proa_fd_number(stage->fd), SO_SNDBUF, 16384);
    add_file(stage, STUCK_SIZE / 16);
    far_fill(proa_fd_number(stage->fd));
}

static void set_path(struct stage *stage)
{
    set_file(stage);
    close_plain(stage->fd.handle);
    stage->fd.handle = -1;
}

static void set_names(struct stage *stage)
{
    set_path(stage);
    snprintf(stage->there, sizeof(stage->there), "%s", temp_fresh("there"));
}

/* The paths are absolute, but the op is on the directory all the same. */
static void set_folder(struct stage *stage)
{
    set_names(stage);
    stage->fd = proa_fd_of(open(temp_path("."), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    REQUIRE(stage->fd.handle >= 0);
}

static void set_link(struct stage *stage)
{
    set_names(stage);
    REQUIRE(symlink("target", stage->there) == 0);
}

static void set_pipe(struct stage *stage)
{
    int ends[2];

    REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    stage->fd = proa_fd_of(ends[0]);
    stage->far = ends[1];
}

/* Out of one pipe, into another. */
static void set_pipes(struct stage *stage)
{
    int ends[2];

    set_pipe(stage);
    REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    stage->other = proa_fd_of(ends[1]);
    stage->more[0] = ends[0];
    stage->more[1] = ends[1];
}

static void set_pipe_for_writing(struct stage *stage)
{
    int ends[2];

    REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    stage->fd = proa_fd_of(ends[1]);
    stage->far = ends[0];
}

static void set_two_pairs(struct stage *stage)
{
    REQUIRE(proa_relay_pool_open(stage->loop, 4, 256, &stage->relay_pool) == 0);
    pair_open(stage->loop, TCP, &stage->other, &stage->more[0]);
    fd_keep(stage->other.handle);
    set_pair(stage);
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

    while (!test_simulated() && sem_wait(&stage->release) < 0)
        REQUIRE(errno == EINTR);
    return 0;
}

/* Every thread of the pool is busy, so the next function waits for one. A machine's pool has none: there it is slow. */
static void set_busy_pool(struct stage *stage)
{
    sim_slow_disk(true);
    stage->blocker_count = BLOCKERS_MAX;
    for (unsigned i = 0; i < stage->blocker_count; i++) {
        stage->blockers[i].context = stage;
        proa_work(stage->loop, &stage->blockers[i].op, blocker, slot_done);
    }
    if (test_simulated())
        proa_loop_run(stage->loop, PROA_NO_WAIT);
    sim_slow_disk(false);
}

/* It lives until its input ends, with the test at the latest. */
static void set_child(struct stage *stage)
{
    static char *const arguments[] = {"cat", NULL};
    posix_spawn_file_actions_t actions;
    int ends[2];

    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    REQUIRE(posix_spawn_file_actions_init(&actions) == 0);
    REQUIRE(posix_spawn_file_actions_adddup2(&actions, ends[0], 0) == 0);
    REQUIRE(posix_spawnp(&stage->process.id, arguments[0], &actions, NULL, arguments, environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    close_plain(ends[0]);
    stage->more[0] = ends[1];
    stage->fd = proa_fd_of((int)syscall(SYS_pidfd_open, stage->process.id, 0));
    REQUIRE(stage->fd.handle >= 0);
}

/* Starts. */

static void start_listen(struct stage *stage, proa_op *op, proa_callback *callback)
{
    stage->address = address_any(TCP);
    proa_listen(stage->loop, op, &stage->address, 16, 0, callback);
}

static void start_listen_unix(struct stage *stage, proa_op *op, proa_callback *callback)
{
    stage->address = address_any(UNIX);
    proa_listen(stage->loop, op, &stage->address, 16, 0, callback);
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

static void start_send_file(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_send_file(stage->loop, op, stage->fd, proa_fd_of(stage->more[0]), 0, stage->size, callback);
}

static void start_send_zero_copy(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_send_zero_copy(stage->loop, op, stage->fd, stage->data, stage->size, callback);
}

static void start_shutdown(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_shutdown(stage->loop, op, stage->fd, SHUT_WR, callback);
}

static void start_datagram_open(struct stage *stage, proa_op *op, proa_callback *callback)
{
    stage->address = address_any(TCP); /* ports of UDP look the same */
    proa_datagram_open(stage->loop, op, &stage->address, NULL, 0, callback);
}

static void start_recv_from(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_recv_from(stage->loop, op, stage->fd, stage->data, stage->size, &stage->datagram, callback);
}

static void start_recv_from_many(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_recv_from_many(stage->loop, op, stage->fd, stage->pool, callback);
}

static void start_send_to(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_send_to(stage->loop, op, stage->fd, &stage->datagram, callback);
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

static const struct iovec *halves(struct stage *stage)
{
    size_t half = stage->size / 2;

    stage->pieces[0] = (struct iovec){stage->data, half};
    stage->pieces[1] = (struct iovec){stage->data + half, stage->size - half};
    return stage->pieces;
}

static void start_readv(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_readv(stage->loop, op, stage->fd, halves(stage), 2, 0, callback);
}

static void start_readv_here(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_readv(stage->loop, op, stage->fd, halves(stage), 2, PROA_POSITION, callback);
}

static void start_writev(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_writev(stage->loop, op, stage->fd, halves(stage), 2, 0, callback);
}

static void start_truncate(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_truncate(stage->loop, op, stage->fd, 3, callback);
}

static void start_allocate(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_allocate(stage->loop, op, stage->fd, 0, 0, 100, callback);
}

static void start_make_directory(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_make_directory(stage->loop, op, PROA_CWD, stage->there, 0700, callback);
}

static void start_unlink(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_unlink(stage->loop, op, PROA_CWD, stage->here, 0, callback);
}

static void start_rename(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_rename(stage->loop, op, PROA_CWD, stage->here, PROA_CWD, stage->there, 0, callback);
}

static void start_rename_within(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_rename(stage->loop, op, stage->fd, stage->here, stage->fd, stage->there, 0, callback);
}

static void start_hard_link(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_hard_link(stage->loop, op, PROA_CWD, stage->here, stage->fd, stage->there, 0, callback);
}

static void start_symbolic_link(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_symbolic_link(stage->loop, op, "target", PROA_CWD, stage->there, callback);
}

static void start_read_link(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_read_link(stage->loop, op, PROA_CWD, stage->there, stage->data, stage->size, callback);
}

static void start_read_directory(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_read_directory(stage->loop, op, stage->fd, stage->data, stage->size, callback);
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
    proa_stat(stage->loop, op, PROA_CWD, stage->path, 0, STATX_BASIC_STATS, &stage->status, callback);
}

static void start_stat_fd(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_stat(stage->loop, op, stage->fd, "", 0, STATX_BASIC_STATS, &stage->status, callback);
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

static void start_splice(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_splice(stage->loop, op, &stage->splicing, stage->fd, PROA_POSITION, stage->other, PROA_POSITION,
                sizeof(greeting), callback);
}

static void start_tee(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_tee(stage->loop, op, &stage->splicing, stage->fd, stage->other, sizeof(greeting), callback);
}

static void start_vmsplice(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_vmsplice(stage->loop, op, &stage->splicing, stage->fd, greeting, sizeof(greeting), callback);
}

static void start_relay(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_relay(stage->loop, op, &stage->relaying, stage->relay_pool, stage->fd, stage->other, callback);
}

static void set_watched(struct stage *stage)
{
    set_names(stage);
    stage->size = PROA_WATCH_BUFFER_MIN;
    stage->data = calloc(1, stage->size);
    REQUIRE(stage->data != NULL);
}

static void start_watch(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_watch(stage->loop, op, stage->here, IN_MODIFY, stage->data, stage->size, callback);
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

static void start_spawn(struct stage *stage, proa_op *op, proa_callback *callback)
{
    static char *const arguments[] = {"true", NULL};
    static const proa_command command = {.arguments = arguments};

    proa_spawn(stage->loop, op, &command, &stage->process, callback);
}

static void start_wait_child(struct stage *stage, proa_op *op, proa_callback *callback)
{
    proa_wait_child(stage->loop, op, stage->fd, callback);
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

static void provoke_ends(struct stage *stage)
{
    shutdown(stage->far, SHUT_WR);
    shutdown(stage->more[0], SHUT_WR);
}

/* There may be nobody left to take it. */
static void provoke_datagram(struct stage *stage)
{
    REQUIRE(write(stage->far, greeting, sizeof(greeting)) > 0 || errno == ECONNREFUSED || errno == EAGAIN);
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

/* One that was provoked before may be gone, before the loop has told so. */
static void provoke_end(struct stage *stage)
{
    int error = proa_kill(stage->fd, SIGKILL);

    REQUIRE(error == 0 || error == -ESRCH);
}

static void provoke_change(struct stage *stage)
{
    int fd = open(stage->here, O_WRONLY | O_CLOEXEC);

    REQUIRE(fd >= 0 && write(fd, "x", 1) == 1);
    close_plain(fd);
}

static void provoke_release(struct stage *stage)
{
    for (unsigned i = 0; i < stage->blocker_count; i++)
        REQUIRE(sem_post(&stage->release) == 0);
    sim_sleep_over_slow_disk();
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
    {"send_file", "proa_send_file", ON_FD | STREAMS, set_file_pair, start_send_file, NULL},
    {"send_file unix", "proa_send_file", ON_FD | STREAMS, set_unix_file_pair, start_send_file, NULL},
    {"send_file, peer stalled", "proa_send_file", WAITS | ON_FD | STREAMS, set_stalled_file, start_send_file,
     provoke_room},
    {"send_zero_copy", "proa_send_zero_copy", ON_FD | STREAMS, set_pair, start_send_zero_copy, NULL},
    {"send_zero_copy, peer stalled", "proa_send_zero_copy", WAITS | ON_FD | STREAMS, set_full, start_send_zero_copy,
     provoke_room},
    {"shutdown", "proa_shutdown", ON_FD, set_pair, start_shutdown, NULL},
    {"datagram_open", "proa_datagram_open", GIVES_FD, set_nothing, start_datagram_open, NULL},
    {"recv_from", "proa_recv_from", WAITS | ON_FD | DATAGRAMS, set_datagrams, start_recv_from, provoke_datagram},
    {"recv_from unix", "proa_recv_from", WAITS | ON_FD | DATAGRAMS, set_unix_datagrams, start_recv_from,
     provoke_datagram},
    {"recv_from_many", "proa_recv_from_many", WAITS | REPEATS | ON_FD | DATAGRAMS, set_pool_datagrams,
     start_recv_from_many, provoke_datagram},
    {"send_to", "proa_send_to", ON_FD | DATAGRAMS, set_datagrams, start_send_to, NULL},
    {"send_to, peer stalled", "proa_send_to", WAITS | ON_FD | DATAGRAMS, set_stalled_datagrams, start_send_to,
     provoke_room},
    {"splice pipes", "proa_splice", WAITS | ON_FD | MADE, set_pipes, start_splice, provoke_data},
    {"tee pipes", "proa_tee", WAITS | ON_FD | MADE, set_pipes, start_tee, provoke_data},
    {"vmsplice pipe", "proa_vmsplice", ON_FD | MADE, set_pipe_for_writing, start_vmsplice, NULL},
    {"relay", "proa_relay", WAITS | ON_FD | MADE, set_two_pairs, start_relay, provoke_ends},
    {"close", "proa_close", CLOSES, set_pair, start_close, NULL},
    {"close file", "proa_close", CLOSES, set_file, start_close, NULL},
    {"open", "proa_open", GIVES_FD | FILES, set_path, start_open, NULL},
    {"read", "proa_read", ON_FD | FILES, set_file, start_read, NULL},
    {"read pipe", "proa_read", WAITS | ON_FD | FILES, set_pipe, start_read_here, provoke_data},
    {"read blocking pipe", "proa_read", WAITS | ON_FD | FILES, set_blocking_pipe, start_read_here, provoke_data},
    {"write", "proa_write", ON_FD | FILES, set_file, start_write, NULL},
    {"readv", "proa_readv", ON_FD | FILES, set_file, start_readv, NULL},
    {"readv pipe", "proa_readv", WAITS | ON_FD | FILES, set_pipe, start_readv_here, provoke_data},
    {"writev", "proa_writev", ON_FD | FILES, set_file, start_writev, NULL},
    {"fsync", "proa_fsync", ON_FD | FILES, set_file, start_fsync, NULL},
    {"fdatasync", "proa_fdatasync", ON_FD | FILES, set_file, start_fdatasync, NULL},
    {"stat", "proa_stat", FILES, set_path, start_stat, NULL},
    {"stat of a descriptor", "proa_stat", ON_FD | FILES, set_file, start_stat_fd, NULL},
    {"truncate", "proa_truncate", ON_FD | FILES, set_file, start_truncate, NULL},
    {"allocate", "proa_allocate", ON_FD | FILES, set_file, start_allocate, NULL},
    {"make_directory", "proa_make_directory", FILES, set_names, start_make_directory, NULL},
    {"unlink", "proa_unlink", FILES, set_names, start_unlink, NULL},
    {"rename", "proa_rename", FILES, set_names, start_rename, NULL},
    {"rename within a directory", "proa_rename", ON_FD | FILES, set_folder, start_rename_within, NULL},
    {"hard_link into a directory", "proa_hard_link", ON_FD | FILES, set_folder, start_hard_link, NULL},
    {"symbolic_link", "proa_symbolic_link", FILES, set_names, start_symbolic_link, NULL},
    {"read_link", "proa_read_link", FILES, set_link, start_read_link, NULL},
    {"read_directory", "proa_read_directory", ON_FD | FILES, set_folder, start_read_directory, NULL},
    {"timer", "proa_timer", 0, set_nothing, start_timer, NULL},
    {"timer_repeat, far", "proa_timer_repeat", REPEATS | WAITS, set_nothing, start_timer_repeat, NULL},
    {"timer_repeat", "proa_timer_repeat", REPEATS, set_nothing, start_timer_repeat_soon, NULL},
    {"poll", "proa_poll", WAITS | ON_FD, set_pipe, start_poll, provoke_data},
    {"signal", "proa_signal", WAITS | REPEATS, set_signal, start_signal, provoke_signal},
    {"work", "proa_work", 0, set_nothing, start_work, NULL},
    {"work, pool busy", "proa_work", WAITS, set_busy_pool, start_work, provoke_release},
    {"post", "proa_post", STEADFAST, set_nothing, start_post, NULL},
    {"watch", "proa_watch", WAITS | REPEATS | REAL, set_watched, start_watch, provoke_change},
    {"spawn", "proa_spawn", GIVES_FD | FILES | REAL, set_nothing, start_spawn, NULL},
    {"wait_child", "proa_wait_child", WAITS | ON_FD | REAL, set_child, start_wait_child, provoke_end},
};

size_t kind_count = ARRAY_SIZE(kinds);

_Static_assert(ARRAY_SIZE(kinds) <= KINDS_MAX, "tests keep a stage of each kind");

/* Those that no machine has are the last. */
void kinds_begin(void)
{
    while (test_simulated() && kinds[kind_count - 1].traits & REAL)
        kind_count--;
}

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
    while (!stage->slot.finals && !(stage->slot.mores && stage->kind->traits & REPEATS)) {
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
    if (stage->relay_pool)
        proa_relay_pool_close(stage->relay_pool);
    stage->relay_pool = NULL;
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        close_plain(fd);
}

/* An id may be another process's once its end was taken. */
static void end_child(pid_t id)
{
    if (id > 0 && waitpid(id, NULL, WNOHANG) == 0)
        REQUIRE(kill(id, SIGKILL) == 0 && waitpid(id, NULL, 0) == id);
}

void stage_clear(struct stage *stage)
{
    end_child(stage->process.id);
    fds_close(NULL);
    close_if_open(stage->fd.handle);
    close_if_open(stage->far);
    close_if_open(stage->more[0]);
    close_if_open(stage->more[1]);
    sem_destroy(&stage->release);
    free(stage->data);
}

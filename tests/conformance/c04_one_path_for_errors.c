/* Rule 4: starting returns nothing, and every error arrives as the completion's negative errno, the same for the same
 * cause on every engine. Misuse, a busy op started again, is an assert that stays on and names the function. */
#include "kinds.h"

#include <poll.h>

struct scene {
    proa_loop *loop;
    struct slot slot;
    proa_address address;
    char data[4096];
    struct statx status;
    proa_splicing splicing;
    int extra[4]; /* closed at the end, or -1 */
};

struct cause {
    const char *name;
    int error;
    void (*start)(struct scene *scene);
};

static int keep(struct scene *scene, int fd)
{
    REQUIRE(fd >= 0);
    for (size_t i = 0; i < ARRAY_SIZE(scene->extra); i++) {
        if (scene->extra[i] < 0) {
            scene->extra[i] = fd;
            return fd;
        }
    }
    test_fatal(__FILE__, __LINE__, "room in the scene");
}

static int plain_socket(struct scene *scene)
{
    return keep(scene, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int plain_file(struct scene *scene, int flags)
{
    close_plain(temp_file("plain", "text", 4));
    return keep(scene, open(temp_path("plain"), flags | O_CLOEXEC));
}

static int plain_folder(struct scene *scene)
{
    temp_path("x");
    close_plain(temp_file("plain", "text", 4));
    return keep(scene, open(temp_path("."), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

/* A number that no descriptor has. */
static proa_fd fd_bad(void)
{
    REQUIRE(!fd_is_open(990));
    return proa_fd_of(990);
}

static void parse(struct scene *scene, const char *text)
{
    REQUIRE(proa_address_parse(text, &scene->address) == 0);
}

static void connect_to(struct scene *scene, const char *text)
{
    parse(scene, text);
    proa_connect(scene->loop, &scene->slot.op, &scene->address, slot_done);
}

static void listen_at(struct scene *scene, const char *text)
{
    parse(scene, text);
    proa_listen(scene->loop, &scene->slot.op, &scene->address, 4, 0, slot_done);
}

static void recv_on(struct scene *scene, proa_fd fd)
{
    proa_recv(scene->loop, &scene->slot.op, fd, scene->data, sizeof(scene->data), slot_done);
}

static void send_on(struct scene *scene, proa_fd fd)
{
    proa_send(scene->loop, &scene->slot.op, fd, scene->data, sizeof(scene->data), slot_done);
}

static void open_at(struct scene *scene, const char *path, int flags, unsigned resolve)
{
    proa_fd folder = proa_fd_of(plain_folder(scene));

    proa_open(scene->loop, &scene->slot.op, folder, path, (proa_open_how){flags, 0600, resolve}, slot_done);
}

static void read_on(struct scene *scene, proa_fd fd, uint64_t offset)
{
    proa_read(scene->loop, &scene->slot.op, fd, scene->data, sizeof(scene->data), offset, slot_done);
}

static void write_on(struct scene *scene, proa_fd fd, uint64_t offset)
{
    proa_write(scene->loop, &scene->slot.op, fd, scene->data, sizeof(scene->data), offset, slot_done);
}

static void accept_on(struct scene *scene, proa_fd fd)
{
    proa_accept(scene->loop, &scene->slot.op, fd, slot_done);
}

static void accept_many_on(struct scene *scene, proa_fd fd)
{
    proa_accept_many(scene->loop, &scene->slot.op, fd, slot_done);
}

static int plain_pipe(struct scene *scene, int end)
{
    int ends[2];

    REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    keep(scene, ends[0]);
    keep(scene, ends[1]);
    return ends[end];
}

/* A connected pair whose far end is gone; with data that it never read, a reset is on its way. */
static proa_fd orphan(struct scene *scene, enum family family, bool unread, bool noticed)
{
    proa_fd near;
    int far;

    pair_open(scene->loop, family, &near, &far);
    keep(scene, near.handle);
    if (unread)
        REQUIRE(write(near.handle, "unread", 6) == 6);
    close_plain(far);
    if (noticed) { /* the reset has come and its error was taken */
        far_ended(near.handle);
        if (!unread)
            REQUIRE(send(near.handle, "x", 1, MSG_NOSIGNAL) == 1 || errno == EPIPE);
        sleep_ms(2);
    }
    return near;
}

static const struct iovec no_piece;

/* clang-format off */
static void recv_bad(struct scene *s) { recv_on(s, fd_bad()); }
static void recv_minus(struct scene *s) { recv_on(s, proa_fd_of(-1)); }
static void recv_least(struct scene *s) { recv_on(s, proa_fd_of(INT32_MIN)); }
static void recv_most(struct scene *s) { recv_on(s, proa_fd_of(INT32_MAX)); }
static void recv_file(struct scene *s) { recv_on(s, proa_fd_of(plain_file(s, O_RDWR))); }
static void recv_pipe(struct scene *s) { recv_on(s, proa_fd_of(plain_pipe(s, 0))); }
static void recv_unconnected(struct scene *s) { recv_on(s, proa_fd_of(plain_socket(s))); }
static void recv_reset(struct scene *s) { recv_on(s, orphan(s, TCP, true, false)); }
static void recv_listener(struct scene *s) /* that has something to report */
{
    proa_fd listener = listen_on(s->loop, TCP, 4, &s->address);

    keep(s, listener.handle);
    keep(s, far_connect(&s->address));
    recv_on(s, listener);
}
static void send_bad(struct scene *s) { send_on(s, fd_bad()); }
static void send_minus(struct scene *s) { send_on(s, proa_fd_of(-1)); }
static void send_file(struct scene *s) { send_on(s, proa_fd_of(plain_file(s, O_RDWR))); }
static void send_unconnected(struct scene *s) { send_on(s, proa_fd_of(plain_socket(s))); }
static void send_closed_unix(struct scene *s) { send_on(s, orphan(s, UNIX, false, false)); }
static void send_closed_tcp(struct scene *s) { send_on(s, orphan(s, TCP, true, true)); }
static void send_after_shutdown(struct scene *s)
{
    proa_fd near;
    int far;

    pair_open(s->loop, TCP, &near, &far);
    keep(s, near.handle);
    keep(s, far);
    REQUIRE(shutdown(near.handle, SHUT_WR) == 0);
    send_on(s, near);
}
static void relaxed_closed(struct scene *s)
{
    proa_send_relaxed(s->loop, &s->slot.op, orphan(s, UNIX, false, false), s->data, 16, slot_done);
}
static void accept_bad(struct scene *s) { accept_on(s, fd_bad()); }
static void accept_file(struct scene *s) { accept_on(s, proa_fd_of(plain_file(s, O_RDWR))); }
static void accept_idle(struct scene *s) { accept_on(s, proa_fd_of(plain_socket(s))); }
static void accept_datagrams(struct scene *s)
{
    accept_on(s, proa_fd_of(keep(s, socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0))));
}
static void accept_many_bad(struct scene *s) { accept_many_on(s, fd_bad()); }
static void accept_many_file(struct scene *s) { accept_many_on(s, proa_fd_of(plain_file(s, O_RDWR))); }
static void accept_many_idle(struct scene *s) { accept_many_on(s, proa_fd_of(plain_socket(s))); }
static void connect_refused(struct scene *s)
{
    proa_fd listener = listen_on(s->loop, TCP, 4, &s->address);

    close_now(s->loop, listener);
    proa_connect(s->loop, &s->slot.op, &s->address, slot_done);
}
static void connect_no_path(struct scene *s) { connect_to(s, "unix:/no/such/socket"); }
static void connect_not_socket(struct scene *s)
{
    char text[PROA_ADDRESS_TEXT_MAX];

    plain_file(s, O_RDONLY);
    snprintf(text, sizeof(text), "unix:%s", temp_path("plain"));
    connect_to(s, text);
}
static void connect_stale(struct scene *s)
{
    close_now(s->loop, listen_on(s->loop, UNIX, 4, &s->address));
    proa_connect(s->loop, &s->slot.op, &s->address, slot_done);
}
static void connect_family(struct scene *s)
{
    s->address = (proa_address){.size = sizeof(struct sockaddr_in)};
    s->address.as.any.sa_family = AF_MAX + 1;
    proa_connect(s->loop, &s->slot.op, &s->address, slot_done);
}
static void listen_in_use(struct scene *s)
{
    char text[PROA_ADDRESS_TEXT_MAX];

    keep(s, listen_on(s->loop, TCP, 4, &s->address).handle);
    listen_at(s, proa_address_format(&s->address, text, sizeof(text)));
}
static void listen_unix_in_use(struct scene *s)
{
    char text[PROA_ADDRESS_TEXT_MAX];

    keep(s, listen_on(s->loop, UNIX, 4, &s->address).handle);
    listen_at(s, proa_address_format(&s->address, text, sizeof(text)));
}
static void listen_elsewhere(struct scene *s) { listen_at(s, "192.0.2.1:0"); }
static void listen_no_folder(struct scene *s) { listen_at(s, "unix:/no/such/folder/socket"); }
static void listen_family(struct scene *s)
{
    s->address = (proa_address){.size = sizeof(struct sockaddr_in)};
    s->address.as.any.sa_family = AF_MAX + 1;
    proa_listen(s->loop, &s->slot.op, &s->address, 4, 0, slot_done);
}
static void shutdown_bad(struct scene *s) { proa_shutdown(s->loop, &s->slot.op, fd_bad(), SHUT_WR, slot_done); }
static void shutdown_file(struct scene *s)
{
    proa_shutdown(s->loop, &s->slot.op, proa_fd_of(plain_file(s, O_RDWR)), SHUT_WR, slot_done);
}
static void shutdown_unconnected(struct scene *s)
{
    proa_shutdown(s->loop, &s->slot.op, proa_fd_of(plain_socket(s)), SHUT_WR, slot_done);
}
static void shutdown_how(struct scene *s)
{
    proa_shutdown(s->loop, &s->slot.op, orphan(s, UNIX, false, false), 77, slot_done);
}
static void close_bad(struct scene *s) { proa_close(s->loop, &s->slot.op, fd_bad(), slot_done); }
static void close_minus(struct scene *s) { proa_close(s->loop, &s->slot.op, proa_fd_of(-1), slot_done); }
static void open_missing(struct scene *s) { open_at(s, "missing", O_RDONLY, 0); }
static void open_bad_folder(struct scene *s)
{
    proa_open(s->loop, &s->slot.op, fd_bad(), "x", (proa_open_how){.flags = O_RDONLY}, slot_done);
}
static void open_empty(struct scene *s) { open_at(s, "", O_RDONLY, 0); }
static void open_folder_to_write(struct scene *s) { open_at(s, ".", O_WRONLY, 0); }
static void open_exists(struct scene *s) { open_at(s, "plain", O_WRONLY | O_CREAT | O_EXCL, 0); }
static void open_through_file(struct scene *s) { open_at(s, "plain/x", O_RDONLY, 0); }
static void open_not_folder(struct scene *s) { open_at(s, "plain", O_RDONLY | O_DIRECTORY, 0); }
static void open_above(struct scene *s) { open_at(s, "../x", O_RDONLY, PROA_RESOLVE_BENEATH); }
static void open_absolute(struct scene *s) { open_at(s, "/etc/passwd", O_RDONLY, PROA_RESOLVE_BENEATH); }
static void open_link(struct scene *s)
{
    if (symlink("plain", temp_path("link")) < 0)
        REQUIRE(errno == EEXIST);
    open_at(s, "link", O_RDONLY, PROA_RESOLVE_NO_SYMLINKS);
}
static void open_long(struct scene *s)
{
    memset(s->data, 'x', 300);
    s->data[300] = '\0';
    open_at(s, s->data, O_RDONLY, 0);
}
static void read_bad(struct scene *s) { read_on(s, fd_bad(), 0); }
static void read_minus(struct scene *s) { read_on(s, proa_fd_of(-1), 0); }
static void read_folder(struct scene *s) { read_on(s, proa_fd_of(plain_folder(s)), 0); }
static void read_write_only(struct scene *s) { read_on(s, proa_fd_of(plain_file(s, O_WRONLY)), 0); }
static void read_negative(struct scene *s) { read_on(s, proa_fd_of(plain_file(s, O_RDWR)), (uint64_t)INT64_MAX + 9); }
static void write_bad(struct scene *s) { write_on(s, fd_bad(), 0); }
static void write_read_only(struct scene *s) { write_on(s, proa_fd_of(plain_file(s, O_RDONLY)), 0); }
static void write_here_read_only(struct scene *s) { write_on(s, proa_fd_of(plain_file(s, O_RDONLY)), PROA_POSITION); }
static void write_broken_pipe(struct scene *s)
{
    int ends[2];

    signal(SIGPIPE, SIG_IGN); /* file.h: the caller's to ignore, for this one op */
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    close_plain(ends[0]);
    write_on(s, proa_fd_of(keep(s, ends[1])), PROA_POSITION);
}
static void read_writing_end(struct scene *s)
{
    proa_read(s->loop, &s->slot.op, proa_fd_of(plain_pipe(s, 1)), s->data, 1, PROA_POSITION, slot_done);
}
static void write_reading_end(struct scene *s) { write_on(s, proa_fd_of(plain_pipe(s, 0)), PROA_POSITION); }
static void fsync_bad(struct scene *s) { proa_fsync(s->loop, &s->slot.op, fd_bad(), slot_done); }
static void fsync_pipe(struct scene *s) { proa_fsync(s->loop, &s->slot.op, proa_fd_of(plain_pipe(s, 1)), slot_done); }
static void fdatasync_bad(struct scene *s) { proa_fdatasync(s->loop, &s->slot.op, fd_bad(), slot_done); }
static void read_here(struct scene *s) { read_on(s, PROA_CWD, 0); }
static void write_here(struct scene *s) { write_on(s, PROA_CWD, 0); }
static void readv_here(struct scene *s) { proa_readv(s->loop, &s->slot.op, PROA_CWD, &no_piece, 1, 0, slot_done); }
static void writev_here(struct scene *s) { proa_writev(s->loop, &s->slot.op, PROA_CWD, &no_piece, 1, 0, slot_done); }
static void fsync_here(struct scene *s) { proa_fsync(s->loop, &s->slot.op, PROA_CWD, slot_done); }
static void fdatasync_here(struct scene *s) { proa_fdatasync(s->loop, &s->slot.op, PROA_CWD, slot_done); }
static void truncate_here(struct scene *s) { proa_truncate(s->loop, &s->slot.op, PROA_CWD, 0, slot_done); }
static void allocate_here(struct scene *s) { proa_allocate(s->loop, &s->slot.op, PROA_CWD, 0, 0, 1, slot_done); }
static void list_here(struct scene *s)
{
    proa_read_directory(s->loop, &s->slot.op, PROA_CWD, s->data, sizeof(s->data), slot_done);
}
static void splice_here(struct scene *s)
{
    proa_splice(s->loop, &s->slot.op, &s->splicing, PROA_CWD, 0, proa_fd_of(plain_pipe(s, 1)), PROA_POSITION, 1,
                slot_done);
}
static void splice_to_here(struct scene *s)
{
    proa_splice(s->loop, &s->slot.op, &s->splicing, proa_fd_of(plain_pipe(s, 0)), PROA_POSITION, PROA_CWD, 0, 1,
                slot_done);
}
static void stat_missing(struct scene *s)
{
    proa_stat(s->loop, &s->slot.op, proa_fd_of(plain_folder(s)), "missing", 0, STATX_BASIC_STATS, &s->status, slot_done);
}
static void stat_bad(struct scene *s) { proa_stat(s->loop, &s->slot.op, fd_bad(), "", 0, STATX_BASIC_STATS, &s->status, slot_done); }
static void poll_bad(struct scene *s) { proa_poll(s->loop, &s->slot.op, fd_bad(), POLLIN, slot_done); }
static void poll_minus(struct scene *s) { proa_poll(s->loop, &s->slot.op, proa_fd_of(-1), POLLIN, slot_done); }
static void signal_zero(struct scene *s) { proa_signal(s->loop, &s->slot.op, 0, slot_done); }
static void signal_minus(struct scene *s) { proa_signal(s->loop, &s->slot.op, -1, slot_done); }
static void signal_past(struct scene *s) { proa_signal(s->loop, &s->slot.op, SIGRTMAX + 1, slot_done); }
static void signal_huge(struct scene *s) { proa_signal(s->loop, &s->slot.op, INT32_MAX, slot_done); }
static void signal_kill(struct scene *s) { proa_signal(s->loop, &s->slot.op, SIGKILL, slot_done); }
static void signal_stop(struct scene *s) { proa_signal(s->loop, &s->slot.op, SIGSTOP, slot_done); }
static int64_t negative(proa_op *op) { (void)op; return -EDOM; }
static void work_negative(struct scene *s) { proa_work(s->loop, &s->slot.op, negative, slot_done); }
/* clang-format on */

static const struct cause causes[] = {
    {"recv: no such descriptor", EBADF, recv_bad},
    {"recv: descriptor -1", EBADF, recv_minus},
    {"recv: least number", EBADF, recv_least},
    {"recv: greatest number", EBADF, recv_most},
    {"recv: a file", ENOTSOCK, recv_file},
    {"recv: a pipe", ENOTSOCK, recv_pipe},
    {"recv: not connected", ENOTCONN, recv_unconnected},
    {"recv: a listener", ENOTCONN, recv_listener},
    {"recv: reset by the peer", ECONNRESET, recv_reset},
    {"send: no such descriptor", EBADF, send_bad},
    {"send: descriptor -1", EBADF, send_minus},
    {"send: a file", ENOTSOCK, send_file},
    {"send: not connected", EPIPE, send_unconnected},
    {"send: peer closed, Unix", EPIPE, send_closed_unix},
    {"send: peer closed, TCP", EPIPE, send_closed_tcp},
    {"send: shut down before", EPIPE, send_after_shutdown},
    {"send_relaxed: peer closed", EPIPE, relaxed_closed},
    {"accept: no such descriptor", EBADF, accept_bad},
    {"accept: a file", ENOTSOCK, accept_file},
    {"accept: not listening", EINVAL, accept_idle},
    {"accept_many: no such descriptor", EBADF, accept_many_bad},
    {"accept: datagrams", EOPNOTSUPP, accept_datagrams},
    {"accept_many: a file", ENOTSOCK, accept_many_file},
    {"accept_many: not listening", EINVAL, accept_many_idle},
    {"connect: refused", ECONNREFUSED, connect_refused},
    {"connect: no such path", ENOENT, connect_no_path},
    {"connect: path is no socket", ECONNREFUSED, connect_not_socket},
    {"connect: nobody listens on the path", ECONNREFUSED, connect_stale},
    {"connect: no such family", EAFNOSUPPORT, connect_family},
    {"listen: address in use", EADDRINUSE, listen_in_use},
    {"listen: path in use", EADDRINUSE, listen_unix_in_use},
    {"listen: an address of others", EADDRNOTAVAIL, listen_elsewhere},
    {"listen: no such folder", ENOENT, listen_no_folder},
    {"listen: no such family", EAFNOSUPPORT, listen_family},
    {"shutdown: no such descriptor", EBADF, shutdown_bad},
    {"shutdown: a file", ENOTSOCK, shutdown_file},
    {"shutdown: not connected", ENOTCONN, shutdown_unconnected},
    {"shutdown: no such way", EINVAL, shutdown_how},
    {"close: no such descriptor", EBADF, close_bad},
    {"close: descriptor -1", EBADF, close_minus},
    {"open: missing", ENOENT, open_missing},
    {"open: no such folder descriptor", EBADF, open_bad_folder},
    {"open: empty path", ENOENT, open_empty},
    {"open: a folder, to write", EISDIR, open_folder_to_write},
    {"open: exists", EEXIST, open_exists},
    {"open: through a file", ENOTDIR, open_through_file},
    {"open: not a folder", ENOTDIR, open_not_folder},
    {"open: above the folder", EXDEV, open_above},
    {"open: absolute, beneath", EXDEV, open_absolute},
    {"open: a link, none allowed", ELOOP, open_link},
    {"open: name too long", ENAMETOOLONG, open_long},
    {"read: no such descriptor", EBADF, read_bad},
    {"read: descriptor -1", EBADF, read_minus},
    {"read: a folder", EISDIR, read_folder},
    {"read: open for writing only", EBADF, read_write_only},
    {"read: an offset below zero", EINVAL, read_negative},
    {"write: no such descriptor", EBADF, write_bad},
    {"write: open for reading only", EBADF, write_read_only},
    {"write: open for reading only, at its position", EBADF, write_here_read_only},
    {"write: nobody reads the pipe", EPIPE, write_broken_pipe},
    {"read: a pipe's writing end", EBADF, read_writing_end},
    {"write: a pipe's reading end", EBADF, write_reading_end},
    {"fsync: no such descriptor", EBADF, fsync_bad},
    {"fsync: a pipe", EINVAL, fsync_pipe},
    {"fdatasync: no such descriptor", EBADF, fdatasync_bad},
    {"read: the current folder", EBADF, read_here},
    {"write: the current folder", EBADF, write_here},
    {"readv: the current folder", EBADF, readv_here},
    {"writev: the current folder", EBADF, writev_here},
    {"fsync: the current folder", EBADF, fsync_here},
    {"fdatasync: the current folder", EBADF, fdatasync_here},
    {"truncate: the current folder", EBADF, truncate_here},
    {"allocate: the current folder", EBADF, allocate_here},
    {"read_directory: the current folder", EBADF, list_here},
    {"splice: from the current folder", EBADF, splice_here},
    {"splice: to the current folder", EBADF, splice_to_here},
    {"stat: missing", ENOENT, stat_missing},
    {"stat: no such descriptor", EBADF, stat_bad},
    {"poll: no such descriptor", EBADF, poll_bad},
    {"poll: descriptor -1", EBADF, poll_minus},
    {"signal: 0", EINVAL, signal_zero},
    {"signal: -1", EINVAL, signal_minus},
    {"signal: past the last", EINVAL, signal_past},
    {"signal: huge", EINVAL, signal_huge},
    {"signal: SIGKILL", EINVAL, signal_kill},
    {"signal: SIGSTOP", EINVAL, signal_stop},
    {"work: what the function returns", EDOM, work_negative},
};

/* SIGPIPE keeps its default action: a library that lets it out of a send kills this test. */
static void test_cause(proa_loop *loop, const struct cause *cause)
{
    struct scene scene = {.loop = loop, .extra = {-1, -1, -1, -1}};
    int before;

    signal(SIGPIPE, SIG_DFL);

    test_case("%s", cause->name);
    CALL(cause->start(&scene));
    before = fd_count();
    HOLDS(scene.slot.finals == 0);
    RUN_UNTIL(loop, scene.slot.finals);
    if (!HOLDS(scene.slot.value == -cause->error))
        fprintf(stderr, "    value %lld (%s), expected %s\n", (long long)scene.slot.value,
                scene.slot.value < 0 ? strerror((int)-scene.slot.value) : "no error", strerror(cause->error));
    HOLDS(scene.slot.flags == 0);
    HOLDS(fd_count() <= before);
    for (size_t i = 0; i < ARRAY_SIZE(scene.extra); i++) {
        if (scene.extra[i] >= 0)
            close_now(loop, proa_fd_of(scene.extra[i]));
    }
}

/* Misuse. */

static void start_twice(void *argument)
{
    static struct stage stage;

    stage_set(&stage, argument, loop_open());
    stage_start(&stage);
    stage_start(&stage);
}

static void start_twice_later(void *argument)
{
    static struct stage stage;

    stage_set(&stage, argument, loop_open());
    stage_start(&stage);
    if (stage.kind->traits & WAITS)
        proa_loop_run(stage.loop, PROA_NO_WAIT);
    stage_start(&stage);
}

static struct slot inner;

static void on_run_inside(struct slot *slot, proa_result result)
{
    (void)result;
    proa_loop_run(slot->op.loop, PROA_NO_WAIT);
}

static void on_close_inside(struct slot *slot, proa_result result)
{
    (void)result;
    proa_loop_close(slot->op.loop);
}

static void run_inside(void *argument)
{
    proa_loop *loop = loop_open();

    (void)argument;
    inner.then = on_run_inside;
    proa_timer(loop, &inner.op, 1, slot_done);
    proa_loop_run(loop, PROA_ONCE);
}

static void close_inside(void *argument)
{
    proa_loop *loop = loop_open();

    (void)argument;
    inner.then = on_close_inside;
    proa_timer(loop, &inner.op, 1, slot_done);
    proa_loop_run(loop, PROA_ONCE);
}

static void pool_in_use(void *argument)
{
    static struct stage stage;

    (void)argument;
    stage_set(&stage, kind_named("recv_many"), loop_open());
    stage_start(&stage);
    proa_buffer_pool_close(stage.pool);
}

static void return_twice(void *argument)
{
    static struct stage stage;

    (void)argument;
    stage_set(&stage, kind_named("recv_many"), loop_open());
    stage_start(&stage);
    stage_finish(&stage);
    proa_buffer_return(stage.pool, stage.slot.buffer);
}

static void return_past(void *argument)
{
    static struct stage stage;

    (void)argument;
    stage_set(&stage, kind_named("recv_many"), loop_open());
    proa_buffer_return(stage.pool, 4);
}

static void test_misuse(void)
{
    for (size_t i = 0; i < kind_count; i++) {
        void *kind = (void *)(uintptr_t)&kinds[i];

        test_case("%s: a busy op started again", kinds[i].name);
        HOLDS(child_aborts(kinds[i].function, start_twice, kind));
        if (kinds[i].traits & WAITS)
            HOLDS(child_aborts(kinds[i].function, start_twice_later, kind));
    }
    test_case("misuse of loops and pools");
    HOLDS(child_aborts("proa_loop_run", run_inside, NULL));
    HOLDS(child_aborts("proa_loop_close", close_inside, NULL));
    HOLDS(child_aborts("proa_buffer_pool_close", pool_in_use, NULL));
    HOLDS(child_aborts("proa_buffer_return", return_twice, NULL));
    HOLDS(child_aborts("proa_buffer_return", return_past, NULL));
}

/* Pools answer at once, by the same kind of number. */
static void test_pool_sizes(proa_loop *loop)
{
    static const struct {
        uint32_t count, size;
        int result;
    } rows[] = {{1, 1, 0},
                {2, 4096, 0},
                {32768, 64, 0},
                {0, 64, -EINVAL},
                {3, 64, -EINVAL},
                {65536, 64, -EINVAL},
                {UINT32_MAX, 64, -EINVAL},
                {4, 0, -EINVAL}};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        proa_buffer_pool *pool = NULL;

        test_case("a pool of %u buffers of %u", rows[i].count, rows[i].size);
        HOLDS(proa_buffer_pool_open(loop, rows[i].count, rows[i].size, &pool) == rows[i].result);
        if (pool)
            proa_buffer_pool_close(pool);
    }
}

int main(int argc, char **argv)
{
    proa_loop *loop;

    test_begin(argc, argv, "c04_one_path_for_errors");
    if (test_has(PROA_FEATURE_DIRECT))
        return check_skip("c04_one_path_for_errors", "it works on sockets by their numbers");
    test_misuse(); /* first: a child of a process with threads is a poorer one */
    loop = loop_open();
    for (size_t i = 0; i < ARRAY_SIZE(causes); i++)
        test_cause(loop, &causes[i]);
    test_pool_sizes(loop);
    proa_loop_close(loop);
    return check_done("c04_one_path_for_errors");
}

/* Sends of files: every byte arrives, in its place and once, between the sends around it; and every end is a clean one. */
#include "kinds.h"
#include "loop/loop.h"
#include "reader.h"

enum { BULK = 8 << 20 };

/* A connection, a reader at its far end, and a tick that keeps the loop turning. */
struct scene {
    proa_loop *loop;
    proa_fd near;
    struct reader reader;
    size_t gulp; /* what the reader takes at most at a time */
    bool ended;  /* for the reader */
    struct slot tick;
};

static void scene_open(struct scene *scene, enum family family, size_t gulp)
{
    *scene = (struct scene){.loop = loop_open(), .reader = {.holds = true}, .gulp = gulp};
    pair_open(scene->loop, family, &scene->near, &scene->reader.far);
    proa_timer_repeat(scene->loop, &scene->tick.op, 1, MS / 4, slot_done);
}

static void scene_read(struct scene *scene)
{
    scene->ended |= reader_step(&scene->reader, scene->gulp);
}

static void scene_run(struct scene *scene, const struct slot *until)
{
    while (!until->finals) {
        proa_loop_run(scene->loop, PROA_ONCE);
        scene_read(scene);
    }
}

static void scene_drain(struct scene *scene, uint64_t size)
{
    while (scene->reader.at < size && !scene->ended) {
        proa_loop_run(scene->loop, PROA_ONCE);
        scene_read(scene);
    }
}

static void scene_close(struct scene *scene)
{
    if (scene->near.handle >= 0)
        close_now(scene->loop, scene->near);
    if (scene->reader.far >= 0)
        close_plain(scene->reader.far);
    proa_cancel(&scene->tick.op);
    RUN_UNTIL(scene->loop, scene->tick.finals);
    proa_loop_close(scene->loop);
}

/* A file of the pattern, the latest at `pattern_path`; the descriptor is the caller's. */
static const char *pattern_path;

static int pattern_file(uint64_t size)
{
    static char data[1 << 18];
    int fd = open(pattern_path = temp_fresh("source"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    REQUIRE(fd >= 0);
    for (uint64_t at = 0; at < size; at += sizeof(data)) {
        size_t part = size - at < sizeof(data) ? (size_t)(size - at) : sizeof(data);

        pattern_fill(data, part, at);
        REQUIRE(write(fd, data, part) == (ssize_t)part);
    }
    return fd;
}

static void start_file(struct scene *scene, struct slot *slot, int file, uint64_t offset, uint64_t size)
{
    *slot = (struct slot){0};
    CALL(proa_send_file(scene->loop, &slot->op, scene->near, proa_fd_of(file), offset, size, slot_done));
}

/* Whole, of every size */

static void test_size(enum family family, uint64_t size, uint64_t gulp)
{
    struct scene scene;
    struct slot slot;
    int file = pattern_file(size);

    test_case("%s, %llu bytes, gulps of %llu", family == TCP ? "TCP" : "Unix", (unsigned long long)size,
              (unsigned long long)gulp);
    scene_open(&scene, family, gulp);
    start_file(&scene, &slot, file, 0, size);
    scene_run(&scene, &slot);
    HOLDS(slot.value == (int64_t)size && proa_sent(&slot.op) == size);
    scene_drain(&scene, size);
    HOLDS(scene.reader.holds && scene.reader.at == size);
    scene_close(&scene);
    close_plain(file);
}

static void test_sizes(void)
{
    static const uint64_t sizes[] = {0, 1, 4095, 4096, 4097, 65536, 1 << 20};

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        test_size(TCP, sizes[i], UINT64_MAX);
        test_size(UNIX, sizes[i], UINT64_MAX);
    }
    test_size(TCP, test_has(PROA_FEATURE_DIRECT) ? 1 << 18 : 1 << 20, 20000);
    test_size(UNIX, 1 << 20, 20000);
}

/* 5 GiB with a hole almost as large: what is written lies across the 4 GiB and before the end. All of it is sent where
 * $PROA_SEND_FILE_ALL asks for it, which takes seconds; else what is written, and some of the hole. */
enum { MARK = 1 << 17 };

static const uint64_t SPARSE = UINT64_C(5) << 30,
                      MARKS[] = {(UINT64_C(4) << 30) - MARK / 2, (UINT64_C(5) << 30) - MARK};

static char mark[MARK];

static bool sparse_holds(const char *data, size_t size, uint64_t at)
{
    for (size_t i = 0; i < size; i++, at++) {
        char expected = 0;

        for (size_t j = 0; j < ARRAY_SIZE(MARKS); j++)
            if (at >= MARKS[j] && at - MARKS[j] < MARK)
                expected = mark[at - MARKS[j]];
        if (data[i] != expected)
            return false;
    }
    return true;
}

static void read_sparse(struct reader *reader, bool *holds)
{
    static char data[1 << 20];
    ssize_t count = recv(reader->far, data, sizeof(data), MSG_DONTWAIT);

    if (count <= 0)
        return;
    *holds &= sparse_holds(data, (size_t)count, reader->at);
    reader->at += (uint64_t)count;
}

static void test_sparse_part(int file, uint64_t from, uint64_t size)
{
    struct scene scene;
    struct slot slot;
    bool holds = true;

    test_case("of 5 GiB %llu bytes from %llu on", (unsigned long long)size, (unsigned long long)from);
    scene_open(&scene, TCP, UINT64_MAX);
    scene.reader.at = from;
    start_file(&scene, &slot, file, from, size);
    while (!slot.finals || (slot.value > 0 && scene.reader.at < from + (uint64_t)slot.value)) {
        proa_loop_run(scene.loop, PROA_ONCE);
        read_sparse(&scene.reader, &holds);
    }
    HOLDS(slot.value == (int64_t)size && scene.reader.at == from + size && holds);
    scene_close(&scene);
}

static void test_sparse(void)
{
    int file;

    if (test_simulated()) /* its disk is smaller */
        return;
    file = pattern_file(0);
    pattern_fill(mark, MARK, 7);
    for (size_t i = 0; i < ARRAY_SIZE(MARKS); i++)
        REQUIRE(pwrite(file, mark, MARK, (off_t)MARKS[i]) == MARK);
    for (size_t i = 0; i < ARRAY_SIZE(MARKS); i++)
        test_sparse_part(file, MARKS[i] - 100000, MARK + 100000);
    if (getenv("PROA_SEND_FILE_ALL"))
        test_sparse_part(file, 0, SPARSE);
    close_plain(file);
}

/* The place in the file is the op's, not the descriptor's. */
static void test_offset(void)
{
    struct scene scene;
    struct slot slots[2];
    int file = pattern_file(100000);

    test_case("two parts, by offset");
    scene_open(&scene, TCP, UINT64_MAX);
    start_file(&scene, &slots[0], file, 0, 5000);
    start_file(&scene, &slots[1], file, 5000, 95000);
    scene_run(&scene, &slots[1]);
    HOLDS(slots[0].value == 5000 && slots[1].value == 95000 && slots[0].order < slots[1].order);
    scene_drain(&scene, 100000);
    HOLDS(scene.reader.holds && scene.reader.at == 100000);
    HOLDS(lseek(file, 0, SEEK_CUR) == 100000);
    scene_close(&scene);
    close_plain(file);
}

/* One order with sends and the shutdown */

static void test_order(uint64_t gulp)
{
    enum { PARTS = 12, PART = 100000, TOTAL = PARTS * PART };
    static char data[TOTAL];
    static struct slot slots[PARTS];
    struct slot ending = {0};
    struct scene scene;
    int file = pattern_file(TOTAL);

    test_case("sends and files in turn, gulps of %llu", (unsigned long long)gulp);
    pattern_fill(data, TOTAL, 0);
    scene_open(&scene, TCP, gulp);
    for (unsigned i = 0; i < PARTS; i++) {
        slots[i] = (struct slot){0};
        if (i % 3 == 1)
            start_file(&scene, &slots[i], file, i * PART, PART);
        else
            proa_send(scene.loop, &slots[i].op, scene.near, data + i * PART, PART, slot_done);
    }
    proa_shutdown(scene.loop, &ending.op, scene.near, SHUT_WR, slot_done);
    scene_run(&scene, &ending);
    for (unsigned i = 0; i < PARTS; i++)
        HOLDS(slots[i].finals == 1 && slots[i].value == PART && (i == 0 || slots[i].order > slots[i - 1].order));
    scene_drain(&scene, UINT64_MAX);
    HOLDS(scene.reader.holds && scene.reader.at == TOTAL && scene.ended);
    scene_close(&scene);
    close_plain(file);
}

/* Files that are not what they were said to be */

static void test_short_file(void)
{
    struct scene scene;
    struct slot slot;
    int file = pattern_file(5000);

    test_case("the file ends early");
    scene_open(&scene, TCP, UINT64_MAX);
    start_file(&scene, &slot, file, 0, 100000);
    scene_run(&scene, &slot);
    HOLDS(slot.value == 5000);
    start_file(&scene, &slot, file, 5000, 1);
    scene_run(&scene, &slot);
    HOLDS(slot.value == 0);
    start_file(&scene, &slot, file, UINT64_C(1) << 60, 1);
    scene_run(&scene, &slot);
    HOLDS(slot.value == 0);
    scene_drain(&scene, 5000);
    HOLDS(scene.reader.holds && scene.reader.at == 5000);
    scene_close(&scene);
    close_plain(file);
}

/* Under way, to a reader that takes nothing. */
static void scene_stall(struct scene *scene, struct slot *slot, int file, uint64_t size)
{
    char byte;

    start_file(scene, slot, file, 0, size);
    while (recv(scene->reader.far, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 1)
        proa_loop_run(scene->loop, PROA_ONCE);
    loop_run_for(scene->loop, 5 * MS);
    REQUIRE(!slot->finals);
}

static void test_shrinking_file(void)
{
    struct scene scene;
    struct slot slot;
    int file = pattern_file(BULK);

    test_case("the file shrinks meanwhile");
    scene_open(&scene, TCP, UINT64_MAX);
    scene_stall(&scene, &slot, file, BULK);
    close_plain(open(pattern_path, O_WRONLY | O_TRUNC | O_CLOEXEC));
    scene_run(&scene, &slot);
    HOLDS(slot.value > 0 && slot.value < BULK);
    scene_drain(&scene, (uint64_t)slot.value);
    scene_read(&scene);
    HOLDS(scene.reader.holds && scene.reader.at == (uint64_t)slot.value);
    scene_close(&scene);
    close_plain(file);
}

/* Early ends: what was counted as sent is what arrives. */

static void test_early_end(const char *name, int64_t value, void (*end)(struct scene *, struct slot *, int file))
{
    struct scene scene;
    struct slot slot;
    int file = pattern_file(BULK);

    test_case("%s", name);
    scene_open(&scene, TCP, UINT64_MAX);
    scene_stall(&scene, &slot, file, BULK);
    end(&scene, &slot, file);
    RUN_UNTIL(scene.loop, slot.finals);
    HOLDS(slot.value == value);
    HOLDS(proa_sent(&slot.op) > 0 && proa_sent(&slot.op) < BULK);
    scene_drain(&scene, proa_sent(&slot.op));
    scene_read(&scene);
    HOLDS(scene.reader.holds && scene.reader.at == proa_sent(&slot.op));
    scene_close(&scene);
    if (fd_is_open(file))
        close_plain(file);
}

static void end_by_cancel(struct scene *scene, struct slot *slot, int file)
{
    (void)scene;
    (void)file;
    CALL(proa_cancel(&slot->op));
}

static void end_by_deadline(struct scene *scene, struct slot *slot, int file)
{
    (void)scene;
    (void)file;
    CALL(proa_set_deadline(&slot->op, clock_ns() + MS));
}

static void end_by_closing_file(struct scene *scene, struct slot *slot, int file)
{
    close_now(scene->loop, proa_fd_of(file));
    HOLDS(slot->finals == 1);
}

static void end_by_closing_socket(struct scene *scene, struct slot *slot, int file)
{
    (void)file;
    close_now(scene->loop, scene->near);
    scene->near.handle = -1;
    HOLDS(slot->finals == 1);
}

static void test_early_ends(void)
{
    test_early_end("cancel", -ECANCELED, end_by_cancel);
    test_early_end("deadline", -ETIMEDOUT, end_by_deadline);
    test_early_end("the file is closed", -ECANCELED, end_by_closing_file);
    test_early_end("the socket is closed", -ECANCELED, end_by_closing_socket);
}

static void test_lost_peer(void)
{
    struct scene scene;
    struct slot slot;
    int file = pattern_file(BULK);

    test_case("the peer goes away");
    scene_open(&scene, TCP, UINT64_MAX);
    scene_stall(&scene, &slot, file, BULK);
    close_plain(scene.reader.far);
    scene.reader.far = -1;
    RUN_UNTIL(scene.loop, slot.finals);
    HOLDS(slot.value == -ECONNRESET || slot.value == -EPIPE);
    start_file(&scene, &slot, file, 0, BULK); /* SIGPIPE would end the test */
    RUN_UNTIL(scene.loop, slot.finals);
    HOLDS(slot.value == -EPIPE && proa_sent(&slot.op) == 0);
    scene_close(&scene);
    close_plain(file);
}

/* A callback may have the signal raised again, which was ignored when it was looked at last. */
static void on_end_default_signal(proa_op *op, proa_result result)
{
    signal(SIGPIPE, SIG_DFL);
    slot_done(op, result);
}

static void test_ignored_no_more(void)
{
    struct scene scene;
    struct slot slots[2] = {0};
    int file = pattern_file(10);

    test_case("the peer has gone away, and SIGPIPE is ignored no more");
    scene_open(&scene, TCP, UINT64_MAX);
    REQUIRE(shutdown(scene.near.handle, SHUT_WR) == 0);
    signal(SIGPIPE, SIG_IGN);
    proa_send_file(scene.loop, &slots[0].op, scene.near, proa_fd_of(file), 0, 10, on_end_default_signal);
    proa_send_file(scene.loop, &slots[1].op, scene.near, proa_fd_of(file), 0, 10, slot_done);
    scene_run(&scene, &slots[1]);
    HOLDS(slots[0].value == -EPIPE && slots[1].value == -EPIPE);
    scene_close(&scene);
    close_plain(file);
}

/* What is found in memory is in memory for all of a turn. */
static void test_asked_once(void)
{
    enum { SENDS = 8, ASKED_MAX = 1000 };
    static struct sys_fault plan[SYS_CALL_COUNT];
    struct slot slots[SENDS] = {0};
    proa_fd near[SENDS];
    int far[SENDS], file = pattern_file(4096);
    proa_loop *loop = loop_open();

    test_case("%d sends at once of what is in memory", SENDS);
    plan[SYS_CACHESTAT] = (struct sys_fault){.skip = ASKED_MAX, .times = 1};
    for (int i = 0; i < SENDS; i++)
        pair_open(loop, TCP, &near[i], &far[i]);
    loop->host.sys.faults = plan;
    for (int i = 0; i < SENDS; i++)
        proa_send_file(loop, &slots[i].op, near[i], proa_fd_of(file), 0, 4096, slot_done);
    for (int i = 0; i < SENDS; i++) {
        RUN_UNTIL(loop, slots[i].finals);
        HOLDS(slots[i].value == 4096);
    }
    loop->host.sys.faults = NULL;
    HOLDS(ASKED_MAX - plan[SYS_CACHESTAT].skip < SENDS);
    for (int i = 0; i < SENDS; i++) {
        close_now(loop, near[i]);
        close_plain(far[i]);
    }
    close_plain(file);
    proa_loop_close(loop);
}

static void test_descriptors(void)
{
    struct scene scene;
    struct slot slot;
    int file = pattern_file(10), ends[2];
    uint64_t calls;

    scene_open(&scene, TCP, UINT64_MAX);
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    test_case("from a pipe");
    start_file(&scene, &slot, ends[0], 0, 10);
    RUN_UNTIL(scene.loop, slot.finals);
    HOLDS(slot.value == -ESPIPE);
    test_case("from nothing");
    start_file(&scene, &slot, -1, 0, 10);
    RUN_UNTIL(scene.loop, slot.finals);
    HOLDS(slot.value == -EBADF);
    test_case("from the current folder"); /* for which the table of descriptors has no place */
    calls = proa_loop_meters(scene.loop).system_calls;
    start_file(&scene, &slot, PROA_CWD.handle, 0, 10);
    HOLDS(proa_loop_meters(scene.loop).system_calls == calls);
    RUN_UNTIL(scene.loop, slot.finals);
    HOLDS(slot.value == -EBADF);
    test_case("to a pipe");
    slot = (struct slot){0};
    proa_send_file(scene.loop, &slot.op, proa_fd_of(ends[1]), proa_fd_of(file), 0, 10, slot_done);
    RUN_UNTIL(scene.loop, slot.finals);
    HOLDS(slot.value == -ENOTSOCK);
    scene_close(&scene);
    close_plain(file);
    close_plain(ends[0]);
    close_plain(ends[1]);
}

/* Sources that sendfile(2) refuses, or that always come from the disk, are copied. */

static void test_unusual(const char *name, const char *path, int flags, int64_t error)
{
    static char expected[1 << 16], got[1 << 16];
    struct scene scene;
    struct slot slot;
    int file = open(path, O_RDONLY | O_CLOEXEC | flags);
    ssize_t size, at = 0;

    test_case("%s", name);
    if (file < 0)
        return; /* not every file system has O_DIRECT */
    size = error ? 10 : pread(file, expected, sizeof(expected), 0);
    REQUIRE(size > 0);
    scene_open(&scene, TCP, UINT64_MAX);
    start_file(&scene, &slot, file, 0, (uint64_t)size);
    RUN_UNTIL(scene.loop, slot.finals);
    HOLDS(slot.value == (error ? error : size));
    while (!error && at < size) {
        ssize_t count = recv(scene.reader.far, got + at, sizeof(got) - (size_t)at, MSG_DONTWAIT);

        at += count > 0 ? count : 0;
    }
    HOLDS(error || memcmp(got, expected, (size_t)size) == 0);
    scene_close(&scene);
    close_plain(file);
}

static void test_unusual_sources(void)
{
    test_unusual("a directory", temp_path("."), O_DIRECTORY, -EISDIR);
    if (test_simulated())
        return;
    test_unusual("a file of proc(5)", "/proc/self/limits", 0, 0);
    test_unusual("a device", "/dev/null", O_WRONLY, -EBADF);
}

/* Past the page cache, from a place that is not aligned. */
static void test_uncached(void)
{
    struct scene scene;
    struct slot slot;
    int file;

    test_case("O_DIRECT");
    close_plain(pattern_file(1 << 20));
    file = open(pattern_path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (file < 0)
        return;
    scene_open(&scene, TCP, UINT64_MAX);
    scene.reader.at = 4097;
    start_file(&scene, &slot, file, 4097, 1 << 20);
    scene_run(&scene, &slot);
    HOLDS(slot.value == (1 << 20) - 4097);
    scene_drain(&scene, 1 << 20);
    HOLDS(scene.reader.holds && scene.reader.at == 1 << 20);
    scene_close(&scene);
    close_plain(file);
}

/* A socket from elsewhere that blocks must not block the loop. */
static void test_blocking_socket(void)
{
    struct slot slot = {0}, tick = {0};
    int file = pattern_file(BULK), pair[2];
    proa_loop *loop = loop_open();

    test_case("a blocking socket from elsewhere");
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    proa_send_file(loop, &slot.op, proa_fd_of(pair[0]), proa_fd_of(file), 0, BULK, slot_done);
    proa_timer_repeat(loop, &tick.op, 1, MS, slot_done);
    RUN_UNTIL(loop, tick.mores > 5 && proa_sent(&slot.op) > 0);
    HOLDS(!slot.finals);
    HOLDS(test_simulated() || !(fcntl(pair[0], F_GETFL) & O_NONBLOCK));
    proa_cancel(&slot.op);
    RUN_UNTIL(loop, slot.finals);
    HOLDS(slot.value == -ECANCELED);
    close_plain(pair[0]);
    close_plain(pair[1]);
    close_plain(file);
    proa_loop_close(loop);
}

/* What a full socket leaves in the pipe reaches nobody else. Threads of the ops' own have no pipe, and so go by sendfile(2). */
static void test_left_in_pipe(void)
{
    enum { AT = 12345, SIZE = 100000 };
    struct reader other = {.at = AT, .holds = true};
    struct slot slots[2] = {0};
    int file = pattern_file(BULK);
    struct scene scene;
    proa_fd near;

    test_case("a send behind one that was cancelled half-way");
    scene_open(&scene, TCP, UINT64_MAX);
    scene_stall(&scene, &slots[0], file, BULK);
    CALL(proa_cancel(&slots[0].op));
    RUN_UNTIL(scene.loop, slots[0].finals);
    pair_open(scene.loop, TCP, &near, &other.far);
    proa_send_file(scene.loop, &slots[1].op, near, proa_fd_of(file), AT, SIZE, slot_done);
    while (!slots[1].finals || other.at < AT + SIZE) {
        proa_loop_run(scene.loop, PROA_ONCE);
        REQUIRE(!reader_step(&other, SIZE) && other.holds);
    }
    HOLDS(slots[1].value == SIZE && other.at == AT + SIZE);
    HOLDS(strcmp(proa_loop_engine(scene.loop), "threads") == 0 || proa_loop_meters(scene.loop).bytes_spliced >= SIZE);
    close_now(scene.loop, near);
    close_plain(other.far);
    scene_close(&scene);
    close_plain(file);
}

/* More at once than there are fetches, to readers that come late; each file is dropped from memory first. */
static void test_many_cold(const char *by)
{
    enum { MANY = 40, SIZE = 300000 };
    static struct slot slots[MANY];
    static struct reader readers[MANY];
    proa_fd near[MANY];
    proa_loop *loop = loop_open_with((proa_loop_options){.send_file_by = by});
    int file = pattern_file(SIZE), left = MANY;
    proa_meters meters;

    test_case("%d cold ones by %s", MANY, by);
    if (!test_simulated()) {
        REQUIRE(fdatasync(file) == 0);
        REQUIRE(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) == 0);
    }
    for (int i = 0; i < MANY; i++) {
        slots[i] = (struct slot){0};
        readers[i] = (struct reader){.holds = true};
        pair_open(loop, TCP, &near[i], &readers[i].far);
        proa_send_file(loop, &slots[i].op, near[i], proa_fd_of(file), 0, SIZE, slot_done);
    }
    proa_cancel(&slots[MANY - 1].op);
    loop_run_for(loop, 2 * MS);
    while (left > 0) {
        proa_loop_run(loop, PROA_NO_WAIT);
        left = 0;
        for (int i = 0; i < MANY; i++) {
            reader_step(&readers[i], SIZE);
            left += !slots[i].finals || readers[i].at < proa_sent(&slots[i].op);
        }
    }
    for (int i = 0; i < MANY - 1; i++)
        HOLDS(slots[i].value == SIZE && readers[i].holds && readers[i].at == SIZE);
    HOLDS(slots[MANY - 1].value == -ECANCELED && readers[MANY - 1].holds);
    meters = proa_loop_meters(loop);
    HOLDS(strcmp(by, "copy") == 0 || test_has(PROA_FEATURE_DIRECT) || meters.bytes_copied < SIZE);
    for (int i = 0; i < MANY; i++) {
        close_now(loop, near[i]);
        close_plain(readers[i].far);
    }
    close_plain(file);
    proa_loop_close(loop);
}

static void test_names(void)
{
    proa_loop *loop;

    test_case("no such mover");
    HOLDS(proa_loop_open(&loop, &(proa_loop_options){.engine = "epoll", .send_file_by = "pigeon"}) == -EINVAL);
}

static void test_mover(const char *name)
{
    REQUIRE(setenv("PROA_SEND_FILE_BY", name, 1) == 0);
    test_sizes();
    test_order(UINT64_MAX);
    test_order(30000);
    test_short_file();
    test_shrinking_file();
    test_early_ends();
    test_lost_peer();
    test_descriptors();
    test_unusual_sources();
    if (strcmp(name, "splice") == 0)
        test_left_in_pipe();
    REQUIRE(unsetenv("PROA_SEND_FILE_BY") == 0);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "send_file");
    test_mover("sendfile");
    if (!test_has(PROA_FEATURE_DIRECT)) { /* whose sockets are copied to anyway */
        test_mover("splice");
        test_mover("copy");
        test_asked_once();
        test_ignored_no_more();
    }
    test_sparse();
    test_offset();
    test_uncached();
    test_blocking_socket();
    test_many_cold("sendfile");
    test_many_cold("splice");
    test_many_cold("copy");
    test_names();
    return check_done("send_file");
}

/* Files, the same on every engine and file lane: offsets beyond 4 GiB, the end of a file, limits, errors of the disk, syncs
 * in order, reads past the page cache, cancel and close with ops queued, files that shrink meanwhile. */
#include "harness.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include "loop/loop.h"

enum { BLOCK = 4096, CROWD = 300 };

static proa_loop *loop;
static struct sys_fault plan[SYS_CALL_COUNT];

static int64_t read_now(int file, void *data, size_t size, uint64_t offset)
{
    struct slot slot = {0};

    CALL(proa_read(loop, &slot.op, proa_fd_of(file), data, size, offset, slot_done));
    RUN_UNTIL(loop, slot.finals);
    return slot.value;
}

static int64_t write_now(int file, const void *data, size_t size, uint64_t offset)
{
    struct slot slot = {0};

    CALL(proa_write(loop, &slot.op, proa_fd_of(file), data, size, offset, slot_done));
    RUN_UNTIL(loop, slot.finals);
    return slot.value;
}

/* Sparse: a block at 5 GiB, and the nothing before it. */
static void test_far_offsets(void)
{
    const uint64_t far = UINT64_C(5) << 30;
    int file = temp_file("far", "", 0);
    char block[BLOCK], got[BLOCK];

    test_case("beyond 4 GiB");
    pattern_fill(block, BLOCK, far);
    HOLDS(write_now(file, block, BLOCK, far + 123) == BLOCK);
    HOLDS(lseek(file, 0, SEEK_END) == (off_t)(far + 123 + BLOCK));
    HOLDS(read_now(file, got, BLOCK, far + 123) == BLOCK && pattern_holds(got, BLOCK, far));
    memset(block, 0, BLOCK);
    HOLDS(read_now(file, got, BLOCK, far - BLOCK) == BLOCK && memcmp(got, block, BLOCK) == 0);
    HOLDS(read_now(file, got, BLOCK, (far + 123) & UINT32_MAX) == BLOCK && memcmp(got, block, BLOCK) == 0);
    close_plain(file);
}

static void test_end(void)
{
    char block[BLOCK], got[2 * BLOCK];
    int file;

    test_case("the end of the file");
    pattern_fill(block, BLOCK, 0);
    file = temp_file("end", block, BLOCK);
    HOLDS(read_now(file, got, BLOCK, BLOCK - 100) == 100 && pattern_holds(got, 100, BLOCK - 100));
    HOLDS(read_now(file, got, sizeof(got), 0) == BLOCK && pattern_holds(got, BLOCK, 0));
    HOLDS(read_now(file, got, BLOCK, BLOCK) == 0);
    HOLDS(read_now(file, got, BLOCK, 100 * BLOCK) == 0);
    HOLDS(read_now(file, got, 0, 0) == 0);
    HOLDS(read_now(file, got, 10, UINT64_C(1) << 63) == -EINVAL);
    close_plain(file);
}

/* The signal that comes with it is the program's to ignore, as SIGPIPE is. */
static void test_size_limit(void)
{
    struct rlimit before, limit;
    char block[BLOCK] = {0};
    int file = temp_file("limited", "", 0);

    test_case("RLIMIT_FSIZE");
    if (test_simulated())
        return;
    signal(SIGXFSZ, SIG_IGN);
    REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
    limit = before;
    limit.rlim_cur = 2 * BLOCK;
    REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    HOLDS(write_now(file, block, BLOCK, 2 * BLOCK) == -EFBIG);
    HOLDS(write_now(file, block, BLOCK, 2 * BLOCK - 100) == 100);
    REQUIRE(setrlimit(RLIMIT_FSIZE, &before) == 0);
    HOLDS(write_now(file, block, BLOCK, 2 * BLOCK) == BLOCK);
    close_plain(file);
}

/* The plan is changed only while nothing is in flight. */
static void plan_fault(enum sys_call call, int error, uint32_t size_max)
{
    memset(plan, 0, sizeof(plan));
    plan[call] = (struct sys_fault){.times = 1, .error = -error, .size_max = size_max};
    loop->host.sys.faults = plan;
}

static void test_disk_errors(void)
{
    static const int errors[] = {EIO, ENOSPC, EDQUOT};
    char block[BLOCK];
    struct slot sync = {0};
    int file;

    pattern_fill(block, BLOCK, 0);
    file = temp_file("broken", block, BLOCK);
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        test_case("the disk fails: %s", strerror(errors[i]));
        plan_fault(SYS_READ, errors[i], 0);
        HOLDS(read_now(file, block, BLOCK, 0) == -errors[i]);
        HOLDS(read_now(file, block, BLOCK, 0) == BLOCK);
        plan_fault(SYS_WRITE, errors[i], 0);
        HOLDS(write_now(file, block, BLOCK, 0) == -errors[i]);
        plan_fault(SYS_FSYNC, errors[i], 0);
        proa_fsync(loop, &sync.op, proa_fd_of(file), slot_done);
        RUN_UNTIL(loop, sync.finals);
        HOLDS(sync.value == -errors[i]);
        sync = (struct slot){0};
    }
    test_case("short counts");
    plan_fault(SYS_READ, 0, 7);
    HOLDS(read_now(file, block, BLOCK, 0) == 7);
    plan_fault(SYS_WRITE, 0, 9);
    HOLDS(write_now(file, block, BLOCK, 0) == 9);
    loop->host.sys.faults = NULL;
    close_plain(file);
}

struct chain {
    struct slot first, sync, second, read;
    char data[BLOCK], got[BLOCK];
};

static void start_chain(struct chain *chain, int file)
{
    proa_link_begin(loop);
    proa_write(loop, &chain->first.op, proa_fd_of(file), chain->data, BLOCK, 0, slot_done);
    proa_fsync(loop, &chain->sync.op, proa_fd_of(file), slot_done);
    proa_write(loop, &chain->second.op, proa_fd_of(file), chain->data, BLOCK, BLOCK, slot_done);
    proa_read(loop, &chain->read.op, proa_fd_of(file), chain->got, BLOCK, BLOCK, slot_done);
    proa_link_end(loop);
    RUN_UNTIL(loop, chain->read.finals);
}

/* What is written behind a sync is not begun before that is over, and not at all if it failed. */
static void test_sync_order(void)
{
    static struct chain chain;
    int file = temp_file("ordered", "", 0);

    test_case("write, sync, write, read");
    pattern_fill(chain.data, BLOCK, 77);
    start_chain(&chain, file);
    HOLDS(chain.first.value == BLOCK && chain.sync.value == 0 && chain.second.value == BLOCK);
    HOLDS(chain.read.value == BLOCK && memcmp(chain.got, chain.data, BLOCK) == 0);
    HOLDS(chain.first.order < chain.sync.order && chain.sync.order < chain.second.order &&
          chain.second.order < chain.read.order);
    close_plain(file);

    test_case("a sync that fails");
    chain = (struct chain){0};
    file = temp_file("unordered", "", 0);
    plan_fault(SYS_FSYNC, EIO, 0);
    start_chain(&chain, file);
    loop->host.sys.faults = NULL;
    HOLDS(chain.first.value == BLOCK && chain.sync.value == -EIO);
    HOLDS(chain.second.value == -ECANCELED && chain.read.value == -ECANCELED);
    HOLDS(lseek(file, 0, SEEK_END) == BLOCK);
    close_plain(file);
}

/* Crowds: more than any lane has room for at a time. */

struct crowd {
    struct slot slots[CROWD];
    uint8_t data[CROWD][BLOCK];
    int file;
};

static _Alignas(BLOCK) struct {
    uint8_t aligned[CROWD][BLOCK];
} blocks;

static struct crowd crowd;

static bool all_done(void)
{
    for (size_t i = 0; i < CROWD; i++)
        if (!crowd.slots[i].finals)
            return false;
    return true;
}

/* A file of as many blocks, each read into one of its own. */
static void start_crowd(const char *name, int flags, uint8_t (*into)[BLOCK])
{
    int plain;

    memset(&crowd.slots, 0, sizeof(crowd.slots));
    pattern_fill(crowd.data, sizeof(crowd.data), 0);
    plain = temp_file(name, crowd.data, sizeof(crowd.data));
    memset(into, 0, sizeof(crowd.data));
    crowd.file = open(temp_path(name), O_RDWR | O_CLOEXEC | flags);
    close_plain(plain);
    if (crowd.file < 0)
        return;
    for (size_t i = 0; i < CROWD; i++)
        CALL(proa_read(loop, &crowd.slots[i].op, proa_fd_of(crowd.file), into[i], BLOCK, i * BLOCK, slot_done));
}

/* The value of each is `other`, or the block it asked for. Returns how many are blocks. */
static size_t check_crowd(uint8_t (*into)[BLOCK], int64_t other)
{
    size_t count = 0;

    for (size_t i = 0; i < CROWD; i++) {
        const struct slot *slot = &crowd.slots[i];

        if (!HOLDS(slot->finals == 1 && (slot->value == BLOCK || slot->value == other)))
            return 0;
        if (slot->value == BLOCK)
            HOLDS(pattern_holds(into[i], BLOCK, i * BLOCK));
        count += slot->value == BLOCK;
    }
    return count;
}

static void test_crowds(void)
{
    test_case("a crowd of reads");
    start_crowd("crowd", 0, crowd.data);
    RUN_UNTIL(loop, all_done());
    HOLDS(check_crowd(crowd.data, BLOCK) == CROWD);
    close_plain(crowd.file);

    test_case("a crowd of reads, each cancelled");
    start_crowd("cancelled", 0, crowd.data);
    for (size_t i = CROWD; i-- > 0;)
        CALL(proa_cancel(&crowd.slots[i].op));
    RUN_UNTIL(loop, all_done());
    check_crowd(crowd.data, -ECANCELED);
    close_plain(crowd.file);

    test_case("a crowd of reads, whose time is over");
    start_crowd("late", 0, crowd.data);
    for (size_t i = 0; i < CROWD; i += 2)
        proa_set_deadline(&crowd.slots[i].op, 1);
    RUN_UNTIL(loop, all_done());
    HOLDS(check_crowd(crowd.data, -ETIMEDOUT) >= CROWD / 2);
    close_plain(crowd.file);
}

static void test_close(void)
{
    struct slot opened = {0}, closed = {0};

    test_case("a close with a crowd before it");
    start_crowd("closed", 0, crowd.data);
    RUN_UNTIL(loop, all_done());
    close_plain(crowd.file);
    memset(&crowd.slots, 0, sizeof(crowd.slots));
    proa_open(loop, &opened.op, PROA_CWD, temp_path("closed"), (proa_open_how){.flags = O_RDONLY}, slot_done);
    RUN_UNTIL(loop, opened.finals);
    REQUIRE(opened.value >= 0);
    for (size_t i = 0; i < CROWD; i++)
        proa_read(loop, &crowd.slots[i].op, proa_fd_of((int)opened.value), crowd.data[i], BLOCK, i * BLOCK, slot_done);
    CALL(proa_close(loop, &closed.op, proa_fd_of((int)opened.value), slot_done));
    RUN_UNTIL(loop, closed.finals);
    HOLDS(closed.value == 0 && all_done());
    check_crowd(crowd.data, -ECANCELED);
}

/* Each read is of what is there when it comes: a block, or nothing. */
static void test_shrinking(void)
{
    int again;

    test_case("a file that shrinks");
    start_crowd("shrinking", 0, crowd.data);
    proa_loop_run(loop, PROA_NO_WAIT);
    again = open(temp_path("shrinking"), O_WRONLY | O_TRUNC | O_CLOEXEC);
    REQUIRE(again >= 0);
    RUN_UNTIL(loop, all_done());
    for (size_t i = 0; i < CROWD; i++)
        HOLDS(crowd.slots[i].value >= 0 && crowd.slots[i].value <= BLOCK);
    HOLDS(read_now(crowd.file, crowd.data, BLOCK, 0) == 0);
    close_plain(again);
    close_plain(crowd.file);
}

/* Past the page cache */

static void check_misaligned(const char *what, int64_t value, int64_t wanted)
{
    test_case("O_DIRECT, %s misaligned", what);
    if (test_lane("libaio")) {
        HOLDS(value == -EINVAL);
        HOLDS(strstr(proa_loop_refusal(loop), "multiples of") != NULL && strstr(proa_loop_refusal(loop), "O_DIRECT"));
    } else {
        HOLDS(value == -EINVAL || value == wanted); /* some file systems then use the cache */
    }
}

static void test_direct(void)
{
    struct slot sync = {0};

    test_case("O_DIRECT");
    start_crowd("direct", O_DIRECT, blocks.aligned);
    if (crowd.file < 0)
        return; /* a file system, or a machine, that has none */
    RUN_UNTIL(loop, all_done());
    HOLDS(check_crowd(blocks.aligned, BLOCK) == CROWD);
    HOLDS(proa_loop_refusal(loop)[0] == '\0');

    test_case("O_DIRECT, written");
    pattern_fill(blocks.aligned[1], BLOCK, 99);
    HOLDS(write_now(crowd.file, blocks.aligned[1], BLOCK, BLOCK) == BLOCK);
    proa_fdatasync(loop, &sync.op, proa_fd_of(crowd.file), slot_done);
    RUN_UNTIL(loop, sync.finals);
    HOLDS(sync.value == 0);
    HOLDS(read_now(crowd.file, blocks.aligned[0], BLOCK, BLOCK) == BLOCK &&
          pattern_holds(blocks.aligned[0], BLOCK, 99));
    HOLDS(read_now(crowd.file, blocks.aligned[0], BLOCK, CROWD * BLOCK) == 0);

    check_misaligned("memory", read_now(crowd.file, blocks.aligned[0] + 1, BLOCK, 0), BLOCK);
    check_misaligned("size", read_now(crowd.file, blocks.aligned[0], BLOCK - 1, 0), BLOCK - 1);
    check_misaligned("offset", read_now(crowd.file, blocks.aligned[0], BLOCK, 1), BLOCK);
    close_plain(crowd.file);

    test_case("O_DIRECT, each cancelled");
    start_crowd("cancelled past the cache", O_DIRECT, blocks.aligned);
    proa_loop_run(loop, PROA_NO_WAIT);
    for (size_t i = 0; i < CROWD; i++)
        CALL(proa_cancel(&crowd.slots[i].op));
    RUN_UNTIL(loop, all_done());
    check_crowd(blocks.aligned, -ECANCELED);
    close_plain(crowd.file);
}

static bool submits_groups(void)
{
    return test_lane("libaio") || (strcmp(test_engine(), "uring") == 0 && !test_has(PROA_FEATURE_SQPOLL));
}

/* The device has the first ones while the others are started: 4, 8, 16 and 32 of them, by a call each. */
static void test_groups(void)
{
    enum { READS = 100 };
    size_t calls = 0, next = 4, size = 4;

    test_case("O_DIRECT, in groups");
    start_crowd("groups", O_DIRECT, blocks.aligned);
    if (crowd.file < 0)
        return;
    RUN_UNTIL(loop, all_done());
    memset(&crowd.slots, 0, READS * sizeof(crowd.slots[0]));
    for (size_t i = 0; i < READS; i++) {
        uint64_t before = proa_loop_meters(loop).system_calls;

        CALL(proa_read(loop, &crowd.slots[i].op, proa_fd_of(crowd.file), blocks.aligned[i], BLOCK, i * BLOCK,
                       slot_done));
        /* With the first it asks what file that is. */
        if (i == 0 || proa_loop_meters(loop).system_calls == before || !submits_groups())
            continue;
        HOLDS(i + 1 == next);
        calls++;
        next += size *= 2;
    }
    HOLDS(calls == 4 || !submits_groups());
    RUN_UNTIL(loop, all_done());
    HOLDS(check_crowd(blocks.aligned, BLOCK) == CROWD);
    close_plain(crowd.file);
}

/* Some file systems do not, and machines have nothing but memory. */
static bool knows_hot_reads(int file)
{
    char byte;
    struct iovec piece = {&byte, 1};

    return !test_simulated() && preadv2(file, &piece, 1, 0, RWF_NOWAIT) == 1;
}

/* What the page cache has is read while the op starts, and delivered like anything else; what it has not comes all the
 * same, and so does a block of which it has a part. */
static void test_cached(void)
{
    enum { PAGE = 4096, PAGES = 16 };
    static char data[PAGES * PAGE];
    struct slot slot = {0};
    int file;

    test_case("from the page cache");
    pattern_fill(data, sizeof(data), 0);
    file = temp_file("cached", data, sizeof(data));
    HOLDS(read_now(file, data, sizeof(data), 0) == sizeof(data));
    memset(data, 0, sizeof(data));
    CALL(proa_read(loop, &slot.op, proa_fd_of(file), data, sizeof(data), 0, slot_done));
    if (knows_hot_reads(file))
        HOLDS(pattern_holds(data, sizeof(data), 0)); /* there already, */
    HOLDS(slot.finals == 0);                         /* but not told yet */
    RUN_UNTIL(loop, slot.finals);
    HOLDS(slot.value == sizeof(data) && pattern_holds(data, sizeof(data), 0));

    test_case("from the page cache and the disk");
    if (!test_simulated()) {
        REQUIRE(fsync(file) == 0);
        REQUIRE(posix_fadvise(file, PAGE, PAGE, POSIX_FADV_DONTNEED) == 0);
        REQUIRE(posix_fadvise(file, 9 * PAGE, 3 * PAGE, POSIX_FADV_DONTNEED) == 0);
    }
    memset(data, 0, sizeof(data));
    HOLDS(read_now(file, data, sizeof(data), 0) == sizeof(data) && pattern_holds(data, sizeof(data), 0));
    HOLDS(read_now(file, data, sizeof(data), PAGE / 2) == sizeof(data) - PAGE / 2);
    HOLDS(pattern_holds(data, sizeof(data) - PAGE / 2, PAGE / 2));
    close_plain(file);
}

/* Hot reads, each of which starts the next. */

enum { HOT_SIZE = 64 << 10, HOT_READS = 400, HOT_PER_TURN = (4 << 20) / HOT_SIZE };

struct hot_chain {
    struct slot slot;
    proa_loop *loop;
    int file;
    size_t done;
    char data[HOT_SIZE];
};

static struct hot_chain hot;

static void read_hot(void)
{
    proa_read(hot.loop, &hot.slot.op, proa_fd_of(hot.file), hot.data, HOT_SIZE, 0, slot_done);
}

static void on_hot(struct slot *slot, proa_result result)
{
    (void)slot;
    HOLDS(result.value == HOT_SIZE);
    if (++hot.done < HOT_READS)
        read_hot();
}

/* No turn may go past what it is to read, nor one go by without a read. */
static void turn_until_read(void)
{
    size_t before;

    read_hot();
    do {
        before = hot.done;
        proa_loop_run(hot.loop, PROA_NO_WAIT);
        if (!HOLDS(hot.done > before && hot.done - before <= HOT_PER_TURN))
            return;
    } while (hot.done < HOT_READS);
}

/* More than one turn may read goes on in the next one. The pool has no thread for it: the only one opens a FIFO without a
 * writer. And what is mapped and locked stays in the page cache, whatever others do. */
static void test_hot_turns(void)
{
    struct slot opened = {0};
    void *mapped;
    int other;

    test_case("more from the page cache than a turn may read");
    if (test_simulated() || test_lane("inline"))
        return; /* no thread that could wait */
    hot = (struct hot_chain){.slot.then = on_hot, .file = temp_file("hot", hot.data, HOT_SIZE)};
    mapped = mmap(NULL, HOT_SIZE, PROT_READ, MAP_SHARED | MAP_POPULATE, hot.file, 0);
    REQUIRE(mapped != MAP_FAILED);
    mlock(mapped, HOT_SIZE);
    REQUIRE(mkfifo(temp_path("fifo"), 0600) == 0);
    hot.loop = loop_open_with((proa_loop_options){.file_threads = 1});
    proa_open(hot.loop, &opened.op, PROA_CWD, temp_path("fifo"), (proa_open_how){.flags = O_RDONLY}, slot_done);
    if (knows_hot_reads(hot.file))
        turn_until_read();
    other = open(temp_path("fifo"), O_RDWR | O_CLOEXEC);
    RUN_UNTIL(hot.loop, opened.finals && !proa_in_flight(&hot.slot.op));
    HOLDS(opened.value >= 0);
    close_now(hot.loop, proa_fd_of((int)opened.value));
    close(other);
    proa_loop_close(hot.loop);
    munmap(mapped, HOT_SIZE);
    close_plain(hot.file);
}

static void test_lane_choice(void)
{
    const char *choice = proa_loop_file_lane(loop);
    proa_engine_report report;
    proa_loop *other;

    test_case("the lane that was asked for");
    HOLDS(test_lane("") ? strncmp(choice, "none, because ", 14) == 0 : strchr(choice, ',') != NULL);
    for (size_t i = 0; proa_file_lane_inspect(i, &report); i++)
        HOLDS(test_lane(report.name) == (strncmp(choice, report.name, strlen(report.name)) == 0));
    if (test_lane(""))
        return;
    HOLDS(proa_loop_open(&other, &(proa_loop_options){.engine = test_engine(), .file_lane = "mule"}) == -EINVAL);
    HOLDS(other == NULL);
}

static void test_loop_close(void)
{
    test_case("the loop closes with a crowd");
    start_crowd("left", 0, crowd.data);
    proa_loop_close(loop);
    HOLDS(all_done());
    check_crowd(crowd.data, -ECANCELED);
    close_plain(crowd.file);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "files");
    loop = loop_open();
    test_lane_choice();
    test_far_offsets();
    test_end();
    test_size_limit();
    test_disk_errors();
    test_sync_order();
    test_crowds();
    test_close();
    test_shrinking();
    test_direct();
    test_groups();
    test_cached();
    test_hot_turns();
    test_loop_close();
    return check_done("files");
}

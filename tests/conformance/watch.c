/* proa_watch(): what happens to a path from the start on is told, in order, one buffer at a time, which the callback has for
 * itself; it ends by cancel, deadline, close of the loop, or with what was watched. */
#include "harness.h"

enum { TOLD_MAX = 1024 };

/* A watch and all it told. */
struct watch {
    struct slot slot;
    proa_watch_event told[TOLD_MAX];
    char names[TOLD_MAX][16];
    unsigned count;
    unsigned overflows;
    bool cancels; /* in its callback */
    bool forgets; /* each for the next */
};

static proa_loop *loop;
static struct watch watch;
static char buffer[4096] __attribute__((aligned(8)));
static char folder[128];

static void on_told(struct slot *slot, proa_result result)
{
    struct watch *self = slot->context;
    size_t position = 0;

    if (!(result.flags & PROA_MORE))
        return;
    while (proa_watch_next(buffer, result.value, &position, &self->told[self->count])) {
        REQUIRE(self->count + 1 < TOLD_MAX);
        if (self->told[self->count].events & IN_Q_OVERFLOW)
            self->overflows += self->told[self->count].name[0] == '\0';
        snprintf(self->names[self->count], sizeof(self->names[0]), "%s", self->told[self->count].name);
        self->count += !self->forgets;
    }
    REQUIRE(position == (size_t)result.value);
    memset(buffer, 0x55, sizeof(buffer)); /* it is the callback's */
    if (self->cancels)
        proa_cancel(&slot->op);
}

static void begin(const char *name, const char *path, uint32_t events, size_t size)
{
    test_case("%s", name);
    loop = loop_open();
    memset(&watch, 0, sizeof(watch));
    watch.slot.then = on_told;
    watch.slot.context = &watch;
    snprintf(folder, sizeof(folder), "%s", temp_fresh("watched"));
    REQUIRE(mkdir(folder, 0755) == 0);
    proa_watch(loop, &watch.slot.op, path ? path : folder, events, buffer, size, slot_done);
}

static void end_with(int64_t value)
{
    RUN_UNTIL(loop, watch.slot.finals);
    HOLDS(watch.slot.value == value && watch.slot.finals == 1);
    proa_loop_close(loop);
}

static void end(void)
{
    proa_cancel(&watch.slot.op);
    end_with(-ECANCELED);
}

static void make(const char *name)
{
    char path[160];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0);
    close_plain(fd);
}

static bool is_told(unsigned index, uint32_t events, const char *name)
{
    return index < watch.count && watch.told[index].events == events && strcmp(watch.names[index], name) == 0;
}

static void test_told(void)
{
    char from[160], to[160];

    begin("what happens in a directory", NULL, IN_CREATE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE, sizeof(buffer));
    make("one");
    RUN_UNTIL(loop, watch.count == 1);
    HOLDS(is_told(0, IN_CREATE, "one"));
    snprintf(from, sizeof(from), "%s/one", folder);
    snprintf(to, sizeof(to), "%s/two", folder);
    REQUIRE(rename(from, to) == 0 && unlink(to) == 0);
    RUN_UNTIL(loop, watch.count == 4);
    HOLDS(is_told(1, IN_MOVED_FROM, "one") && is_told(2, IN_MOVED_TO, "two") && is_told(3, IN_DELETE, "two"));
    HOLDS(watch.told[1].cookie != 0 && watch.told[1].cookie == watch.told[2].cookie && watch.told[3].cookie == 0);
    HOLDS(watch.slot.mores > 0 && watch.slot.finals == 0);
    end();
}

/* Before the loop ever ran. The path has to stay; the buffer has room for one event at a time, so that many are told. */
static void test_one_at_a_time(void)
{
    enum { FILES = 200 };
    char name[16];

    begin("from the start on, in order, one at a time", NULL, IN_CREATE, PROA_WATCH_BUFFER_MIN);
    for (unsigned i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "file-%u", i);
        make(name);
    }
    RUN_UNTIL(loop, watch.count == FILES);
    for (unsigned i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "file-%u", i);
        REQUIRE(is_told(i, IN_CREATE, name));
    }
    HOLDS(watch.slot.mores > 1);
    end();
}

static void test_gone(void)
{
    begin("what is watched goes", NULL, IN_DELETE_SELF, sizeof(buffer));
    REQUIRE(rmdir(folder) == 0);
    RUN_UNTIL(loop, watch.slot.finals);
    HOLDS(is_told(0, IN_DELETE_SELF, "") && is_told(1, IN_IGNORED, "") && watch.count == 2);
    end_with(0);

    begin("one event was asked for", NULL, IN_CREATE | IN_ONESHOT, sizeof(buffer));
    make("one");
    make("two");
    RUN_UNTIL(loop, watch.slot.finals);
    HOLDS(is_told(0, IN_CREATE, "one") && watch.count == 2);
    end_with(0);
}

/* The last word and a cancel: the caller's own word is the later one. */
static void test_gone_and_cancelled(void)
{
    begin("what is watched goes, and the callback cancels", NULL, IN_DELETE_SELF, sizeof(buffer));
    watch.cancels = true;
    REQUIRE(rmdir(folder) == 0);
    end_with(-ECANCELED);
    HOLDS(watch.count == 2);
}

/* The kernel keeps fs.inotify.max_queued_events, and then says that it lost some. A buffer of them is on its way meanwhile. */
static void test_overflow(void)
{
    FILE *file = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
    unsigned long most = 0, changes;
    char path[160];

    REQUIRE(file != NULL && fscanf(file, "%lu", &most) == 1);
    fclose(file);
    if (most > 50000)
        return;
    begin("more than the kernel keeps", NULL, IN_OPEN | IN_CLOSE, sizeof(buffer));
    snprintf(path, sizeof(path), "%s/file", folder);
    make("file");
    watch.forgets = true;
    for (changes = 0; changes < most / 2 + 200; changes++)
        close_plain(open(path, O_RDONLY | O_CLOEXEC));
    RUN_UNTIL(loop, watch.overflows);
    HOLDS(watch.overflows == 1);
    test_case("after it, all is told again");
    watch.forgets = false;
    close_plain(open(path, O_RDONLY | O_CLOEXEC));
    RUN_UNTIL(loop, watch.count == 2);
    HOLDS(is_told(0, IN_OPEN, "file") && is_told(1, IN_CLOSE_NOWRITE, "file"));
    end();
}

static void test_ends(void)
{
    int before = fd_count();

    begin("a deadline", NULL, IN_CREATE, sizeof(buffer));
    proa_set_deadline(&watch.slot.op, clock_ns() + MS);
    end_with(-ETIMEDOUT);

    begin("a cancel in the callback", NULL, IN_CREATE, sizeof(buffer));
    watch.cancels = true;
    make("one");
    make("two");
    end_with(-ECANCELED);
    HOLDS(watch.slot.mores == 1);

    begin("the loop is closed", NULL, IN_CREATE, sizeof(buffer));
    proa_loop_close(loop);
    HOLDS(watch.slot.finals == 1 && watch.slot.value == -ECANCELED);
    HOLDS(fd_count() == before);
}

static void test_errors(void)
{
    begin("there is no such path", "/nowhere/at/all", IN_CREATE, sizeof(buffer));
    end_with(-ENOENT);
    begin("no events", NULL, 0, sizeof(buffer));
    end_with(-EINVAL);
    begin("a small buffer", NULL, IN_CREATE, PROA_WATCH_BUFFER_MIN - 1);
    end_with(-EINVAL);
    begin("a directory is asked for", "/dev/null", IN_OPEN | IN_ONLYDIR, sizeof(buffer));
    end_with(-ENOTDIR);
}

/* Its turn in a link is when it starts: what happens before that is not told. */
static void test_linked(void)
{
    struct slot timer = {0};

    test_case("behind another op");
    begin("behind another op", NULL, IN_CREATE, sizeof(buffer));
    proa_cancel(&watch.slot.op);
    RUN_UNTIL(loop, watch.slot.finals);
    proa_link_begin(loop);
    proa_timer(loop, &timer.op, clock_ns() + MS, slot_done);
    proa_watch(loop, &watch.slot.op, folder, IN_CREATE, buffer, sizeof(buffer), slot_done);
    proa_link_end(loop);
    make("before");
    RUN_UNTIL(loop, timer.finals);
    make("after");
    RUN_UNTIL(loop, watch.count == 1);
    HOLDS(is_told(0, IN_CREATE, "after"));
    proa_loop_close(loop);
}

/* A simulated machine watches nothing, and says so. */
static void test_simulated_refuses(void)
{
    begin("on a machine", NULL, IN_CREATE, sizeof(buffer));
    end_with(-ENOSYS);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "watch");
    if (test_simulated()) {
        test_simulated_refuses();
        return check_done("watch");
    }
    test_told();
    test_one_at_a_time();
    test_gone();
    test_gone_and_cancelled();
    test_overflow();
    test_ends();
    test_errors();
    test_linked();
    return check_done("watch");
}

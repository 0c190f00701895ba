#include "harness.h"

#include <dirent.h>
#include <ftw.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "kinds.h"
#include "sim_calls.h"

/* Far more than any case needs, also on a busy machine: it only tells hanging from working. */
enum { LIMIT_S = 60, SLOW_LIMIT_S = 240 };

static char current_test[64] = "?";
static char current_case[160] = "start";
static char engine_name[32];
static char lane_name[32]; /* empty: the default */
static uint32_t wishes;

bool test_in_call;
unsigned test_reentered;

bool test_slow(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    return true;
#endif
#endif
    return getenv("VALGRIND") != NULL;
}

_Noreturn void test_fatal(const char *file, int line, const char *what)
{
    int error = errno;

    fprintf(stderr, "%s:%d: required: %s\n    in case: %s; errno: %s\n", file, line, what, current_case,
            strerror(error));
    exit(1);
}

/* Only write(2) and _exit(2): this interrupts anything. */
static void on_alarm(int number)
{
    const char *parts[] = {current_test, " ", engine_name, ": hung in case: ", current_case, "\n"};

    (void)number;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        if (write(2, parts[i], strlen(parts[i])) < 0)
            break;
    }
    _exit(1);
}

static void restart_limit(void)
{
    alarm(test_slow() ? SLOW_LIMIT_S : LIMIT_S);
}

static void limit_time(void)
{
    struct sigaction action = {.sa_handler = on_alarm};

    sigaction(SIGALRM, &action, NULL);
    restart_limit();
}

static bool report_on(const char *name, int (*inspect)(size_t, proa_engine_report *), proa_engine_report *ret_report)
{
    for (size_t i = 0; inspect(i, ret_report); i++) {
        if (strcmp(ret_report->name, name) == 0)
            return true;
    }
    return false;
}

/* Whether what is wished for is there on this host. To look costs time: one of them starts a thousand threads. */
static bool features_available(proa_feature_report *ret_report)
{
    proa_engine_report engine;

    for (size_t i = 0; wishes && proa_engine_inspect(i, &engine); i++)
        for (size_t j = 0; strcmp(engine.name, engine_name) == 0 && proa_engine_feature(i, j, ret_report); j++)
            if (ret_report->feature & wishes && !ret_report->available)
                return false;
    return true;
}

static uint32_t feature_named(const char *name)
{
    static const char *const names[] = {
#define FEATURE_WORD(name, word, meaning) word,
        PROA_FEATURES(FEATURE_WORD)
#undef FEATURE_WORD
    };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(names[i], name) == 0)
            return UINT32_C(1) << i;
    }
    fprintf(stderr, "%s: no feature is called \"%s\"\n", current_test, name);
    exit(1);
}

/* "uring+sqpoll": the engine, then what is wished of it. */
static void take_features(char *argument)
{
    char *word = strchr(argument, '+');

    if (word)
        *word++ = '\0';
    for (char *end; word; word = end) {
        end = strchr(word, '+');
        if (end)
            *end++ = '\0';
        wishes |= feature_named(word);
    }
}

/* "epoll:libaio": the engine, then its file lane. */
static void take_lane(char *argument)
{
    char *word = strchr(argument, ':');

    if (!word)
        return;
    *word++ = '\0';
    snprintf(lane_name, sizeof(lane_name), "%s", word);
}

static void need_lane(void)
{
    proa_engine_report report;

    if (!lane_name[0])
        return;
    if (!report_on(lane_name, proa_file_lane_inspect, &report)) {
        fprintf(stderr, "%s: no file lane is called \"%s\"\n", current_test, lane_name);
        exit(1);
    }
    if (!report.available)
        exit(check_skip(current_test, report.reason));
}

/* What a machine has no counterpart of. */
static const struct {
    const char *test, *reason;
} not_simulated[] = {
    {"t_few_descriptors", "its clients are a process of their own"},
    {"t_flood", "its sender is a process of its own"},
    {"t_interrupted", "no signal interrupts a call of a machine"},
    {"t_shared_listener", "its servers are processes"},
    {"t_signals", "no signal of a machine is blocked, queued or handled"},
};

/* What is said of engines holds outside of machines, where this one is an engine by its name alone. */
static const char not_inside[] = "engine_choice";

static void begin_on_machine(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(not_simulated); i++)
        if (strcmp(not_simulated[i].test, current_test) == 0)
            exit(check_skip(current_test, not_simulated[i].reason));
    if (strcmp(not_inside, current_test) != 0)
        sim_begin();
}

void test_begin(int argc, char **argv, const char *name)
{
    proa_engine_report report;
    proa_feature_report feature;

    if (argc != 2) {
        fprintf(stderr, "usage: %s ENGINE[:LANE | +FEATURE...]\n", argv[0]);
        exit(2);
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(current_test, sizeof(current_test), "%s", name);
    snprintf(engine_name, sizeof(engine_name), "%s", argv[1]);
    take_lane(engine_name);
    take_features(engine_name);
    unsetenv("PROA_ENGINE");
    unsetenv("PROA_FILE_LANE");
    unsetenv("PROA_FEATURES");
    limit_time();
    if (!report_on(engine_name, proa_engine_inspect, &report)) {
        fprintf(stderr, "%s: no engine is called \"%s\"\n", name, engine_name);
        exit(1);
    }
    if (!report.available)
        exit(check_skip(name, report.reason));
    if (!features_available(&feature))
        exit(check_skip(name, feature.reason));
    need_lane();
    if (test_simulated())
        begin_on_machine();
    kinds_begin();
}

void test_case(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(current_case, sizeof(current_case), format, arguments);
    va_end(arguments);
    restart_limit();
    if (getenv("TEST_VERBOSE"))
        fprintf(stderr, "case: %s\n", current_case);
}

const char *test_case_name(void)
{
    return current_case;
}

const char *test_engine(void)
{
    return engine_name;
}

bool test_hands_over(void)
{
    return strcmp(engine_name, "threads") == 0 || test_has(PROA_FEATURE_SQPOLL);
}

unsigned test_rounds(unsigned rounds)
{
    enum { SLOW = 5, HANDS_OVER = 10 };

    return rounds / (test_slow() ? SLOW : 1) / (test_hands_over() ? HANDS_OVER : 1);
}

bool test_lane(const char *name)
{
    bool native = strcmp(engine_name, "uring") == 0 || strcmp(engine_name, "threads") == 0;

    return strcmp(native ? "" : lane_name[0] ? lane_name : "pool", name) == 0;
}

bool test_simulated(void)
{
    return strcmp(engine_name, "sim") == 0;
}

bool test_has(uint32_t features)
{
    return wishes & features;
}

/* Loops and slots. */

proa_loop *loop_open_with(proa_loop_options options)
{
    proa_loop *loop = NULL;
    int result;

    options.engine = engine_name;
    options.features |= wishes;
    if (!options.file_lane && lane_name[0])
        options.file_lane = lane_name;
    result = proa_loop_open(&loop, &options);
    if (result < 0) {
        fprintf(stderr, "%s: a loop on %s: %s\n", current_test, engine_name, strerror(-result));
        exit(1);
    }
    REQUIRE(strcmp(proa_loop_engine(loop), engine_name) == 0);
    REQUIRE((proa_loop_features(loop) & wishes) == wishes);
    return loop;
}

proa_loop *loop_open(void)
{
    return loop_open_with((proa_loop_options){0});
}

proa_loop *loop_open_sized(uint32_t queue_entries)
{
    return loop_open_with((proa_loop_options){.queue_entries = queue_entries});
}

void loop_run_for(proa_loop *loop, uint64_t ns)
{
    struct slot timer = {0};

    proa_timer(loop, &timer.op, clock_ns() + ns, slot_done);
    RUN_UNTIL(loop, timer.finals);
}

/* What is late on a busy machine, a kernel's thread that is still to fall asleep among it, spoils some intervals. */
bool loop_rests(proa_loop *loop, uint64_t ns, uint64_t wake_ups_max)
{
    enum { TRIES = 50 };

    for (int i = 0; i < TRIES; i++) {
        uint64_t wake_ups = proa_loop_meters(loop).wake_ups, cpu = cpu_ns();

        loop_run_for(loop, ns);
        if (proa_loop_meters(loop).wake_ups - wake_ups <= wake_ups_max && cpu_ns() - cpu < ns / 4)
            return true;
    }
    return false;
}

static _Atomic uint64_t orders; /* some tests have a loop on each of several threads */

uint64_t slot_orders(void)
{
    return orders;
}

void slot_done(proa_op *op, proa_result result)
{
    struct slot *slot = proa_owner(op, struct slot, op);
    bool more = result.flags & PROA_MORE;

    if (test_in_call)
        test_reentered++;
    REQUIRE(!!proa_in_flight(op) == more);
    REQUIRE(op->loop != NULL);
    slot->value = result.value;
    slot->flags = result.flags;
    slot->buffer = result.buffer;
    slot->order = ++orders;
    slot->at_ns = proa_now(op->loop);
    if (result.value > 0)
        slot->bytes += (uint64_t)result.value;
    if (more)
        slot->mores++;
    else
        slot->finals++;
    if (slot->then)
        slot->then(slot, result);
}

int64_t slot_value(proa_loop *loop, struct slot *slot)
{
    RUN_UNTIL(loop, slot->finals);
    REQUIRE(slot->mores == 0);
    return slot->value;
}

/* Sockets. */

proa_address address_any(enum family family)
{
    proa_address address;
    char text[PROA_ADDRESS_TEXT_MAX];

    if (family == TCP)
        snprintf(text, sizeof(text), "127.0.0.1:0");
    else
        snprintf(text, sizeof(text), "unix:%s", temp_fresh("socket"));
    REQUIRE(proa_address_parse(text, &address) == 0);
    return address;
}

proa_fd listen_on(proa_loop *loop, enum family family, int backlog, proa_address *ret_bound)
{
    proa_address address = address_any(family);
    struct slot slot = {0};

    proa_listen(loop, &slot.op, &address, backlog, 0, slot_done);
    RUN_UNTIL(loop, slot.finals);
    REQUIRE(slot.value >= 0);
    if (ret_bound)
        REQUIRE(proa_local_address(NULL, proa_fd_of((int)slot.value), ret_bound) == 0);
    return proa_fd_of((int)slot.value);
}

static void make_non_blocking(int fd)
{
    REQUIRE(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
}

int far_connect(const proa_address *address)
{
    int fd = socket(address->as.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    REQUIRE(fd >= 0);
    REQUIRE(connect(fd, &address->as.any, address->size) == 0);
    make_non_blocking(fd);
    return fd;
}

static proa_fd accept_one(proa_loop *loop, proa_fd listener)
{
    struct slot slot = {0};

    proa_accept(loop, &slot.op, listener, slot_done);
    RUN_UNTIL(loop, slot.finals);
    REQUIRE(slot.value >= 0);
    return proa_fd_of((int)slot.value);
}

void pair_open(proa_loop *loop, enum family family, proa_fd *ret_near, int *ret_far)
{
    proa_address bound;
    proa_fd listener = listen_on(loop, family, 16, &bound);

    if (test_has(PROA_FEATURE_DIRECT)) /* what cannot be set later is inherited */
        set_size(listener.handle, SO_SNDBUF, 16384);
    *ret_far = far_connect(&bound);
    *ret_near = accept_one(loop, listener);
    close_now(loop, listener);
}

void pair_open_inside(proa_loop *loop, enum family family, proa_fd *ret_near, proa_fd *ret_far)
{
    proa_address bound;
    proa_fd listener = listen_on(loop, family, 16, &bound);
    struct slot slot = {0};

    proa_connect(loop, &slot.op, &bound, slot_done);
    *ret_near = accept_one(loop, listener);
    RUN_UNTIL(loop, slot.finals);
    REQUIRE(slot.value >= 0);
    *ret_far = proa_fd_of((int)slot.value);
    close_now(loop, listener);
}

static proa_fd datagrams_open(proa_loop *loop, const proa_address *local, const proa_address *peer, unsigned flags)
{
    struct slot slot = {0};

    proa_datagram_open(loop, &slot.op, local, peer, flags, slot_done);
    RUN_UNTIL(loop, slot.finals);
    REQUIRE(slot.value >= 0);
    return proa_fd_of((int)slot.value);
}

proa_fd datagrams_on(proa_loop *loop, const char *local, unsigned flags, proa_address *ret_bound)
{
    proa_address address;
    proa_fd fd;

    REQUIRE(proa_address_parse(local, &address) == 0);
    fd = datagrams_open(loop, &address, NULL, flags);
    if (ret_bound)
        REQUIRE(proa_local_address(loop, fd, ret_bound) == 0);
    return fd;
}

proa_fd datagrams_to(proa_loop *loop, const proa_address *peer)
{
    return datagrams_open(loop, NULL, peer, 0);
}

int far_datagrams(const char *local, proa_address *ret_bound)
{
    proa_address address;
    int fd;

    REQUIRE(proa_address_parse(local, &address) == 0);
    fd = socket(address.as.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    REQUIRE(fd >= 0);
    REQUIRE(bind(fd, &address.as.any, address.size) == 0);
    REQUIRE(proa_local_address(NULL, proa_fd_of(fd), ret_bound) == 0);
    return fd;
}

void close_now(proa_loop *loop, proa_fd fd)
{
    struct slot slot = {0};

    proa_close(loop, &slot.op, fd, slot_done);
    RUN_UNTIL(loop, slot.finals);
    REQUIRE(slot.value == 0);
}

void close_plain(int fd)
{
    if (fd >= PROA_DIRECT_BASE)
        return;
    REQUIRE(close(fd) == 0);
}

static int kept[512];
static size_t kept_count;

void fd_keep(int fd)
{
    REQUIRE(kept_count < ARRAY_SIZE(kept));
    kept[kept_count++] = fd;
}

void fds_close(proa_loop *loop)
{
    while (kept_count) {
        int fd = kept[--kept_count];

        if (loop)
            close_now(loop, proa_fd_of(fd));
        else
            close_plain(fd);
    }
}

void set_size(int fd, int option, int size)
{
    if (test_has(PROA_FEATURE_DIRECT) && (fd < 0 || fd >= PROA_DIRECT_BASE))
        return;
    REQUIRE(setsockopt(fd, SOL_SOCKET, option, &size, sizeof(size)) == 0);
}

size_t far_fill(int fd)
{
    static const char zeros[16384];
    size_t total = 0;
    ssize_t count;

    while ((count = send(fd, zeros, sizeof(zeros), MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
        total += (size_t)count;
    return total;
}

size_t far_drain(int fd)
{
    char data[16384];
    size_t total = 0;
    ssize_t count;

    while ((count = recv(fd, data, sizeof(data), MSG_DONTWAIT)) > 0)
        total += (size_t)count;
    return total;
}

bool far_wait(int fd)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN};

    return poll(&entry, 1, -1) == 1;
}

size_t far_read(int fd, void *data, size_t size)
{
    size_t used = 0;
    ssize_t count = 1;

    while (used < size && count != 0) {
        REQUIRE(far_wait(fd));
        count = recv(fd, (char *)data + used, size - used, MSG_DONTWAIT);
        REQUIRE(count >= 0 || errno == EAGAIN);
        used += count > 0 ? (size_t)count : 0;
    }
    return used;
}

bool far_ended(int fd)
{
    char data[4096];

    for (;;) {
        ssize_t count = recv(fd, data, sizeof(data), MSG_DONTWAIT);

        if (count == 0 || (count < 0 && errno == ECONNRESET))
            return true;
        if (count < 0 && !far_wait(fd))
            return false;
    }
}

bool fd_is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* listen(2) with backlog 0 still queues one connection; the kernel drops the next SYN. */
int full_listener(proa_address *ret_address, int *ret_filler)
{
    proa_address address = address_any(TCP);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    REQUIRE(fd >= 0);
    REQUIRE(bind(fd, &address.as.any, address.size) == 0);
    REQUIRE(listen(fd, 0) == 0);
    REQUIRE(proa_local_address(NULL, proa_fd_of(fd), ret_address) == 0);
    *ret_filler = far_connect(ret_address);
    return fd;
}

/* Files. */

static char temp_root[64];
static pid_t temp_owner;

static int remove_entry(const char *path, const struct stat *status, int flag, struct FTW *base)
{
    (void)status;
    (void)flag;
    (void)base;
    return remove(path);
}

static void remove_temp(void)
{
    if (getpid() == temp_owner)
        nftw(temp_root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

const char *temp_path(const char *name)
{
    static char paths[8][128];
    static unsigned turn;
    char *path = paths[turn++ % ARRAY_SIZE(paths)];

    if (!temp_root[0]) {
        snprintf(temp_root, sizeof(temp_root), "/tmp/proa-test-XXXXXX");
        REQUIRE(mkdtemp(temp_root) != NULL);
        temp_owner = getpid();
        atexit(remove_temp);
    }
    snprintf(path, sizeof(paths[0]), "%.40s/%.60s", temp_root, name);
    return path;
}

const char *temp_fresh(const char *stem)
{
    static unsigned serial;
    char name[64];

    snprintf(name, sizeof(name), "%s-%d-%u", stem, (int)getpid(), serial++);
    return temp_path(name);
}

int temp_file(const char *name, const void *data, size_t size)
{
    int fd = open(temp_path(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    REQUIRE(fd >= 0);
    REQUIRE(write(fd, data, size) == (ssize_t)size);
    REQUIRE(lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

/* Words are a mix of their number: a lost, doubled or swapped block cannot look right. */
static uint64_t pattern_word(uint64_t number)
{
    uint64_t x = number + 1;

    x *= UINT64_C(0x9e3779b97f4a7c15);
    x ^= x >> 29;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    return x;
}

/* How many bytes are left of the word at `offset`, and of the memory. */
static size_t pattern_part(uint64_t offset, size_t left)
{
    size_t part = 8 - offset % 8;

    return part < left ? part : left;
}

void pattern_fill(void *data, size_t size, uint64_t offset)
{
    uint8_t *bytes = data;

    for (size_t at = 0, part; at < size; at += part) {
        uint64_t word = pattern_word((offset + at) / 8);

        part = pattern_part(offset + at, size - at);
        memcpy(bytes + at, (const uint8_t *)&word + (offset + at) % 8, part);
    }
}

bool pattern_holds(const void *data, size_t size, uint64_t offset)
{
    const uint8_t *bytes = data;

    for (size_t at = 0, part; at < size; at += part) {
        uint64_t word = pattern_word((offset + at) / 8);

        part = pattern_part(offset + at, size - at);
        if (memcmp(bytes + at, (const uint8_t *)&word + (offset + at) % 8, part) != 0)
            return false;
    }
    return true;
}

/* What the process holds and has used. */

int fd_count(void)
{
    int count = sim_fd_count();
    DIR *folder;

    if (count >= 0)
        return count;
    folder = opendir("/proc/self/fd");
    count = -3; /* "." and ".." and the folder's own */
    REQUIRE(folder != NULL);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

size_t map_count(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    size_t count = 0;
    int c;

    REQUIRE(maps != NULL);
    while ((c = getc(maps)) != EOF)
        count += c == '\n';
    fclose(maps);
    return count;
}

static uint64_t time_of(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * PROA_SECOND_NS + (uint64_t)now.tv_nsec;
}

uint64_t cpu_ns(void)
{
    return time_of(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t cpu_process_ns(void)
{
    return time_of(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t clock_ns(void)
{
    uint64_t simulated_ns = sim_now_ns();

    return simulated_ns ? simulated_ns : time_of(CLOCK_MONOTONIC);
}

void sleep_ms(unsigned ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    if (sim_sleep_until(clock_ns() + ms * MS))
        return;
    while (nanosleep(&time, &time) < 0 && errno == EINTR)
        continue;
}

/* Of a thread, "name (its name) state": proc(5). The kernel's own, which a ring has here, allocate nothing. */
static bool thread_is_busy(const char *id)
{
    char path[64], line[128] = "";
    const char *name_end;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/self/task/%.16s/stat", id);
    file = fopen(path, "re");
    if (!file)
        return false; /* it has ended */
    if (!fgets(line, sizeof(line), file))
        line[0] = '\0';
    fclose(file);
    name_end = strrchr(line, ')');
    return name_end && name_end[2] != 'S' && !strstr(line, "(iou-");
}

static bool others_are_busy(void)
{
    DIR *folder = opendir("/proc/self/task");
    const struct dirent *entry;
    bool busy = false;

    REQUIRE(folder != NULL);
    while ((entry = readdir(folder)))
        busy |= entry->d_name[0] != '.' && atoi(entry->d_name) != gettid() && thread_is_busy(entry->d_name);
    closedir(folder);
    return busy;
}

void threads_await_rest(void)
{
    while (others_are_busy())
        sleep_ms(1);
}

/* xorshift32: the same numbers on every run, so that a failure comes again. TEST_SEED changes them. */
uint32_t random_below(uint32_t limit)
{
    static uint32_t state;

    if (!state) {
        const char *seed = getenv("TEST_SEED");

        state = seed ? (uint32_t)strtoul(seed, NULL, 0) | 1 : 2463534242u;
    }
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state % limit;
}

/* Children. */

static _Noreturn void child_body(int output, void (*function)(void *), void *argument)
{
    struct rlimit none = {0, 0};

    setrlimit(RLIMIT_CORE, &none);
    dup2(output, 2);
    sim_step_in();
    limit_time();
    function(argument);
    _exit(0);
}

static void read_text(int fd, char *text, size_t size)
{
    char rest[256];
    size_t used = 0;
    ssize_t count;

    while (used < size - 1 && (count = read(fd, text + used, size - 1 - used)) > 0)
        used += (size_t)count;
    text[used] = '\0';
    while (read(fd, rest, sizeof(rest)) > 0)
        continue;
}

void child_run(void (*function)(void *), void *argument, struct child_report *ret_report)
{
    int ends[2];
    pid_t pid;

    fflush(NULL);
    temp_path("before the fork"); /* so that the folder is the parent's to remove */
    sim_step_out();
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0)
        child_body(ends[1], function, argument);
    close(ends[1]);
    read_text(ends[0], ret_report->text, sizeof(ret_report->text));
    close(ends[0]);
    sim_step_in();
    while (waitpid(pid, &ret_report->status, 0) < 0)
        REQUIRE(errno == EINTR);
}

static bool child_complains(const char *name, const struct child_report *report)
{
    fprintf(stderr, "    child, %s, in case: %s: status %#x, stderr: %s\n", name, current_case,
            (unsigned)report->status, report->text[0] ? report->text : "(empty)");
    return false;
}

bool child_aborts(const char *name, void (*function)(void *), void *argument)
{
    struct child_report report;

    child_run(function, argument, &report);
    if (!WIFSIGNALED(report.status) || WTERMSIG(report.status) != SIGABRT || !strstr(report.text, name))
        return child_complains(name, &report);
    return true;
}

bool child_passes(void (*function)(void *), void *argument)
{
    struct child_report report;

    child_run(function, argument, &report);
    if (!WIFEXITED(report.status) || WEXITSTATUS(report.status) != 0)
        return child_complains("should pass", &report);
    return true;
}

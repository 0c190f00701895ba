/* Child processes: what they inherit, how they end, why they were not started; and that none is lost, or waited for twice.
 * Where a shell does not do, the child is this test itself, told what to do by its first argument. */
#include "harness.h"

#include <dirent.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "loop/loop.h"

static proa_loop *loop;

/* Starting and ending */

static int64_t spawn(const proa_command *command, proa_process *process)
{
    struct slot slot = {0};

    CALL(proa_spawn(loop, &slot.op, command, process, slot_done));
    return slot_value(loop, &slot);
}

static proa_process start(proa_command command)
{
    proa_process process;
    int64_t fd = spawn(&command, &process);

    REQUIRE(fd >= 0 && fd == process.fd.handle && process.id > 0);
    return process;
}

static proa_process start_shell(const char *script)
{
    char *arguments[] = {"sh", "-c", (char *)(uintptr_t)script, NULL};

    return start((proa_command){.arguments = arguments});
}

static proa_result wait_for(proa_fd child)
{
    struct slot slot = {0};

    CALL(proa_wait_child(loop, &slot.op, child, slot_done));
    slot_value(loop, &slot);
    return (proa_result){slot.value, 0, 0};
}

/* Its end, and no trace of it is left. */
static proa_result finish(proa_process *process)
{
    proa_result end = wait_for(process->fd);

    HOLDS(waitpid(process->id, NULL, WNOHANG) == -1 && errno == ECHILD);
    close_now(loop, process->fd);
    for (int i = 0; i < 3; i++)
        if (process->pipes[i].handle >= 0)
            close_now(loop, process->pipes[i]);
    return end;
}

/* All that comes out of a pipe. */
static size_t read_all(proa_fd pipe, char *text, size_t size)
{
    size_t used = 0;

    for (;;) {
        struct slot slot = {0};

        proa_read(loop, &slot.op, pipe, text + used, size - used, PROA_POSITION, slot_done);
        if (slot_value(loop, &slot) <= 0)
            break;
        used += (size_t)slot.value;
    }
    return used;
}

/* What the command prints. */
static const char *output_of(proa_command command)
{
    static char text[8192];
    proa_process process;

    command.standard[1].kind = PROA_STDIO_PIPE;
    process = start(command);
    text[read_all(process.pipes[1], text, sizeof(text) - 1)] = '\0';
    HOLDS(finish(&process).value == 0);
    return text;
}

static void test_ends(void)
{
    static const struct {
        const char *script;
        int code, signal;
    } rows[] = {
        {"exit 0", 0, 0},         {"exit 3", 3, 0},          {"exit 127", 127, 0},      {"exit 255", 255, 0},
        {"kill -KILL $$", -1, 9}, {"kill -TERM $$", -1, 15}, {"kill -USR1 $$", -1, 10},
    };
    const proa_result failed = {-ECHILD, 0, 0};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        proa_process process = start_shell(rows[i].script);
        proa_result end;

        test_case("%s", rows[i].script);
        end = finish(&process);
        HOLDS(proa_exit_code(end) == rows[i].code && proa_exit_signal(end) == rows[i].signal);
        HOLDS((end.value == 0) == (rows[i].code == 0) && !proa_exit_dumped(end));
    }
    HOLDS(proa_exit_code(failed) == -1 && proa_exit_signal(failed) == 0 && !proa_exit_dumped(failed));
}

/* Whether a core is dumped is the host's affair: a child that was made in another way tells. Both do it in a folder of our
 * own: the kernel insists on making the file anew, and of two tests that dump into one folder at once, one cannot. */
static void test_core(void)
{
    static char *arguments[] = {"sh", "-c", "ulimit -c unlimited; kill -SEGV $$", NULL};
    proa_process process;
    const char *folder;
    proa_result end;
    int status;
    pid_t id;

    test_case("a core dump");
    folder = temp_path("cores");
    REQUIRE(mkdir(folder, 0700) == 0);
    process = start((proa_command){.arguments = arguments, .directory = folder});
    end = finish(&process);
    id = fork();
    if (id == 0) {
        if (chdir(folder) == 0)
            execvp("sh", arguments);
        _exit(1);
    }
    REQUIRE(waitpid(id, &status, 0) == id && WIFSIGNALED(status));
    HOLDS(proa_exit_signal(end) == SIGSEGV && proa_exit_dumped(end) == !!WCOREDUMP(status));
}

/* The wait */

static void test_wait(void)
{
    proa_process process = start_shell("exit 5");
    struct slot waits[2] = {0}, closing = {0};
    siginfo_t end = {0};

    test_case("after it has ended");
    REQUIRE(waitid(P_PIDFD, (id_t)process.fd.handle, &end, WEXITED | WNOWAIT) == 0);
    HOLDS(proa_kill(process.fd, 0) == 0);
    HOLDS(wait_for(process.fd).value == 5);
    HOLDS(wait_for(process.fd).value == -ECHILD && proa_kill(process.fd, 0) == -ESRCH);
    close_now(loop, process.fd);

    test_case("a cancel and a deadline end the wait alone");
    process = start_shell("exec sleep 60");
    proa_wait_child(loop, &waits[0].op, process.fd, slot_done);
    proa_cancel(&waits[0].op);
    HOLDS(slot_value(loop, &waits[0]) == -ECANCELED);
    waits[0].finals = 0;
    proa_wait_child(loop, &waits[0].op, process.fd, slot_done);
    proa_set_deadline(&waits[0].op, clock_ns() + 2 * MS);
    HOLDS(slot_value(loop, &waits[0]) == -ETIMEDOUT);
    HOLDS(proa_kill(process.fd, 0) == 0 && proa_kill(process.fd, 999) == -EINVAL);

    test_case("two waits: one has the end, and the other hears so");
    waits[0].finals = 0;
    proa_wait_child(loop, &waits[0].op, process.fd, slot_done);
    proa_wait_child(loop, &waits[1].op, process.fd, slot_done);
    loop_run_for(loop, MS);
    REQUIRE(proa_kill(process.fd, SIGTERM) == 0);
    RUN_UNTIL(loop, waits[0].finals && waits[1].finals);
    HOLDS((waits[0].value == (PROA_EXIT_SIGNALED | SIGTERM)) + (waits[1].value == (PROA_EXIT_SIGNALED | SIGTERM)) == 1);
    HOLDS((waits[0].value == -ECHILD) + (waits[1].value == -ECHILD) == 1);
    close_now(loop, process.fd);

    test_case("closing the descriptor ends the wait, not the child");
    process = start_shell("exec sleep 60");
    waits[0].finals = 0;
    proa_wait_child(loop, &waits[0].op, process.fd, slot_done);
    proa_close(loop, &closing.op, process.fd, slot_done);
    HOLDS(slot_value(loop, &closing) == 0 && waits[0].finals == 1 && waits[0].value == -ECANCELED);
    HOLDS(waitpid(process.id, NULL, WNOHANG) == 0);
    REQUIRE(kill(process.id, SIGKILL) == 0 && waitpid(process.id, NULL, 0) == process.id);
}

/* In one link: the child's descriptor is handed on. */
static void test_link(void)
{
    char *arguments[] = {"sh", "-c", "exit 9", NULL};
    proa_command command = {.arguments = arguments};
    proa_process process;
    struct slot slots[3] = {0};

    test_case("a link");
    proa_link_begin(loop);
    proa_spawn(loop, &slots[0].op, &command, &process, slot_done);
    proa_wait_child(loop, &slots[1].op, PROA_LINKED, slot_done);
    proa_close(loop, &slots[2].op, PROA_LINKED, slot_done);
    proa_link_end(loop);
    HOLDS(slot_value(loop, &slots[2]) == 0 && slots[1].value == 9 && slots[0].value == process.fd.handle);
    HOLDS(!fd_is_open(process.fd.handle));
}

/* A child that is none of Proa's, and a program that wants no ends at all. */
static void test_others(void)
{
    struct sigaction before, after, ignore = {.sa_handler = SIG_IGN};
    proa_process process;
    pid_t other = fork();
    int pidfd;

    if (other == 0)
        _exit(7);
    test_case("children of others");
    REQUIRE(other > 0 && sigaction(SIGCHLD, NULL, &before) == 0);
    process = start_shell("exit 1");
    HOLDS(finish(&process).value == 1);
    REQUIRE(sigaction(SIGCHLD, NULL, &after) == 0);
    HOLDS(after.sa_handler == before.sa_handler);
    pidfd = (int)syscall(SYS_pidfd_open, other, 0);
    HOLDS(wait_for(proa_fd_of(pidfd)).value == 7); /* unless it is asked for */
    close_now(loop, proa_fd_of(pidfd));
    pidfd = (int)syscall(SYS_pidfd_open, getppid(), 0);
    HOLDS(pidfd < 0 || wait_for(proa_fd_of(pidfd)).value == -ECHILD);
    if (pidfd >= 0)
        close_now(loop, proa_fd_of(pidfd));

    test_case("SIGCHLD ignored: the kernel throws its end away");
    REQUIRE(sigaction(SIGCHLD, &ignore, NULL) == 0);
    process = start_shell("exit 1");
    HOLDS(wait_for(process.fd).value == -ECHILD);
    close_now(loop, process.fd);
    REQUIRE(sigaction(SIGCHLD, &before, NULL) == 0);
}

/* What it gets */

static void test_arguments(void)
{
    char *arguments[] = {"sh", "-c", "printf '%s|' \"$0\" \"$@\" \"$COLOUR\"; pwd", "zero", "a b", "", NULL};
    char *environment[] = {"COLOUR=blue", NULL}, *print_environment[] = {"env", NULL};
    char *here[] = {"here", NULL};
    const char *path;
    int fd;

    test_case("arguments, environment, directory");
    HOLDS(!strcmp(output_of((proa_command){.arguments = arguments, .environment = environment, .directory = "/"}),
                  "zero|a b||blue|/\n"));
    HOLDS(!strcmp(output_of((proa_command){.arguments = print_environment, .environment = environment}),
                  "COLOUR=blue\n"));
    REQUIRE(setenv("COLOUR", "green", 1) == 0);
    HOLDS(strstr(output_of((proa_command){.arguments = print_environment}), "COLOUR=green\n") != NULL);

    test_case("a program of another name, in the directory");
    path = temp_path("script");
    fd = temp_file("script", "#!/bin/sh\necho run as $0\n", 25);
    REQUIRE(fchmod(fd, 0700) == 0);
    close_plain(fd);
    *strrchr((char *)(uintptr_t)path, '/') = '\0';
    HOLDS(!strcmp(output_of((proa_command){.program = "./script", .arguments = here, .directory = path}),
                  "run as ./script\n"));
}

static proa_command of_myself(char **arguments, const char *what)
{
    arguments[0] = "children";
    arguments[1] = (char *)(uintptr_t)what;
    arguments[2] = NULL;
    return (proa_command){.program = "/proc/self/exe", .arguments = arguments};
}

/* As a child: its descriptors, one per line, but for the folder's own. */
static int print_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    struct dirent *entry;

    while ((entry = readdir(folder)))
        if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(folder))
            puts(entry->d_name);
    return closedir(folder);
}

/* As the kernel has it: since 6.12 it tells by what slice a thread is scheduled (sched_setattr(2)), before that 0. */
struct scheduling {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t slice_ns, deadline_ns, period_ns;
};

static uint64_t slice_of(pid_t thread)
{
    struct scheduling scheduling = {0};

    return syscall(SYS_sched_getattr, thread, &scheduling, sizeof(scheduling), 0) == 0 ? scheduling.slice_ns : 0;
}

static int print_slice(void)
{
    return printf("%llu\n", (unsigned long long)slice_of(0)) < 0;
}

static uint64_t longest_slice(void)
{
    DIR *folder = opendir("/proc/self/task");
    uint64_t longest = 0;
    struct dirent *entry;

    while ((entry = readdir(folder)))
        if (entry->d_name[0] != '.' && slice_of(atoi(entry->d_name)) > longest)
            longest = slice_of(atoi(entry->d_name));
    closedir(folder);
    return longest;
}

/* The thread that has made the child is one of those that give way. */
static void test_scheduling(void)
{
    char *arguments[3];

    test_case("the pool's threads give way, its children do not");
    HOLDS(strtoull(output_of(of_myself(arguments, "slice")), NULL, 10) == slice_of(0));
    HOLDS(slice_of(0) == 0 || longest_slice() > slice_of(0));
}

static void test_inheritance(void)
{
    char *arguments[3], *status[] = {"grep", "Sig[BI]", "/proc/self/status", NULL};
    int leaky = open("/dev/null", O_RDONLY), high = fcntl(leaky, F_DUPFD, 700);
    sigset_t mask, before;

    test_case("no descriptors but three");
    REQUIRE(leaky >= 0 && high >= 700);
    HOLDS(!strcmp(output_of(of_myself(arguments, "descriptors")), "0\n1\n2\n"));

    test_case("no signal blocked or ignored");
    REQUIRE(signal(SIGPIPE, SIG_IGN) != SIG_ERR && signal(SIGUSR2, SIG_IGN) != SIG_ERR);
    sigfillset(&mask);
    REQUIRE(pthread_sigmask(SIG_BLOCK, &mask, &before) == 0);
    HOLDS(!strcmp(output_of((proa_command){.arguments = status}),
                  "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"));
    REQUIRE(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0 && signal(SIGUSR2, SIG_DFL) != SIG_ERR);
    close_plain(leaky);
    close_plain(high);
}

/* Where a filter refuses close_range(2). */
static void inherit_filtered(void *argument)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close_range, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {ARRAY_SIZE(filter), filter};
    struct rlimit few = {1000, 1000};

    (void)argument;
    REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    REQUIRE(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
    loop = loop_open();
    test_inheritance();
    proa_loop_close(loop);
    REQUIRE(!check_failed);
}

/* Standard descriptors that are others' numbers, in a circle. */
static void swap_standard(void *argument)
{
    int files[3] = {temp_file("zero", "in 0", 4), temp_file("one", "", 0), temp_file("two", "", 0)};
    char *arguments[] = {"sh", "-c", "cat >&0 <&2; echo one >&0; echo two >&1", NULL}, text[32] = "";
    proa_process process;

    (void)argument;
    for (int i = 0; i < 3; i++)
        REQUIRE(dup2(files[i], i) == i);
    loop = loop_open();
    process = start((proa_command){
        .arguments = arguments,
        .standard = {{PROA_STDIO_FD, {1}}, {PROA_STDIO_FD, {2}}, {PROA_STDIO_FD, {0}}},
    });
    REQUIRE(finish(&process).value == 0);
    REQUIRE(pread(files[1], text, sizeof(text), 0) == 8 && !memcmp(text, "in 0one\n", 8));
    REQUIRE(pread(files[2], text, sizeof(text), 0) == 4 && !memcmp(text, "two\n", 4));
    proa_loop_close(loop);
}

/* A program without any: what is not inherited gets its number all the same. */
static void close_standard(void *argument)
{
    char *arguments[3];
    proa_process process;
    proa_command command = of_myself(arguments, "descriptors");
    int file = open(temp_path("list"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    char text[32] = "";

    (void)argument;
    command.standard[1] = (proa_stdio){PROA_STDIO_FD, {file}};
    loop = loop_open();
    close(0);
    close(2);
    command.standard[0].kind = PROA_STDIO_PIPE;
    process = start(command);
    if (finish(&process).value != 0 || pread(file, text, sizeof(text), 0) != 4 || memcmp(text, "0\n1\n", 4))
        _exit(1);
    proa_loop_close(loop);
}

static void test_standard(void)
{
    char *arguments[] = {"cat", NULL}, *both[] = {"sh", "-c", "echo out; echo err >&2", NULL}, text[64] = "";
    int file = temp_file("both", "", 0);
    proa_process process;

    test_case("an input without anything");
    HOLDS(!strcmp(output_of((proa_command){.arguments = arguments, .standard[0].kind = PROA_STDIO_NULL}), ""));

    test_case("two on one file");
    process = start((proa_command){
        .arguments = both,
        .standard = {[1] = {PROA_STDIO_FD, {file}}, [2] = {PROA_STDIO_FD, {file}}},
    });
    HOLDS(finish(&process).value == 0 && fd_is_open(file));
    HOLDS(pread(file, text, sizeof(text), 0) == 8 && !memcmp(text, "out\nerr\n", 8));
    close_plain(file);

    test_case("in a circle");
    HOLDS(child_passes(swap_standard, NULL));
    test_case("of a program that has none");
    HOLDS(child_passes(close_standard, NULL));
}

/* Pipes */

enum { FLOW_SIZE = 4 << 20 };

struct flow {
    proa_process process;
    struct slot write, read, closing;
    uint64_t written, read_total;
    char out[40000], in[30000];
    bool good;
};

static void write_more(struct flow *flow)
{
    size_t size = FLOW_SIZE - flow->written < sizeof(flow->out) ? FLOW_SIZE - flow->written : sizeof(flow->out);

    pattern_fill(flow->out, size, flow->written);
    proa_write(loop, &flow->write.op, flow->process.pipes[0], flow->out, size, PROA_POSITION, slot_done);
}

static void on_written(struct slot *slot, proa_result result)
{
    struct flow *flow = slot->context;

    REQUIRE(result.value > 0);
    flow->written += (uint64_t)result.value;
    if (flow->written < FLOW_SIZE)
        write_more(flow);
    else
        proa_close(loop, &flow->closing.op, flow->process.pipes[0], slot_done);
}

static void read_more(struct flow *flow)
{
    proa_read(loop, &flow->read.op, flow->process.pipes[1], flow->in, sizeof(flow->in), PROA_POSITION, slot_done);
}

static void on_read(struct slot *slot, proa_result result)
{
    struct flow *flow = slot->context;

    REQUIRE(result.value >= 0);
    flow->good &= pattern_holds(flow->in, (size_t)result.value, flow->read_total);
    flow->read_total += (uint64_t)result.value;
    if (result.value > 0)
        read_more(flow);
}

static void test_pipes(void)
{
    static struct flow flow;
    char *arguments[] = {"cat", NULL};
    struct slot reading = {0};
    char byte;

    test_case("much, in and out");
    flow = (struct flow){.good = true};
    flow.write = (struct slot){.then = on_written, .context = &flow};
    flow.read = (struct slot){.then = on_read, .context = &flow};
    flow.process = start((proa_command){
        .arguments = arguments,
        .standard = {{.kind = PROA_STDIO_PIPE}, {.kind = PROA_STDIO_PIPE}},
    });
    HOLDS(flow.process.pipes[2].handle == -1);
    for (int i = 0; i < 2; i++) {
        HOLDS(fcntl(flow.process.pipes[i].handle, F_GETFL) & O_NONBLOCK);
        HOLDS(fcntl(flow.process.pipes[i].handle, F_GETFD) & FD_CLOEXEC);
    }
    write_more(&flow);
    read_more(&flow);
    RUN_UNTIL(loop, flow.closing.finals && flow.read_total == FLOW_SIZE);
    HOLDS(flow.good && flow.written == FLOW_SIZE);
    flow.process.pipes[0].handle = -1;
    HOLDS(finish(&flow.process).value == 0);

    test_case("a child that ends leaves the end of file");
    flow.process = start(
        (proa_command){.arguments = arguments, .standard = {{.kind = PROA_STDIO_PIPE}, {.kind = PROA_STDIO_PIPE}}});
    proa_read(loop, &reading.op, flow.process.pipes[1], &byte, 1, PROA_POSITION, slot_done);
    loop_run_for(loop, MS);
    HOLDS(!reading.finals);
    REQUIRE(proa_kill(flow.process.fd, SIGKILL) == 0);
    HOLDS(slot_value(loop, &reading) == 0);
    HOLDS(proa_exit_signal(finish(&flow.process)) == SIGKILL);
}

/* Why a program was not started */

static char *plain_arguments[] = {"true", NULL};

/* Each leaves nothing: no descriptor, no child. */
static void fails(const char *what, proa_command command, int64_t error)
{
    proa_process process;
    int before = fd_count();
    int64_t value;

    test_case("%s", what);
    if (!command.arguments)
        command.arguments = plain_arguments;
    for (int i = 0; i < 3; i++)
        if (command.standard[i].kind == PROA_STDIO_INHERIT)
            command.standard[i].kind = PROA_STDIO_PIPE;
    value = spawn(&command, &process);
    if (!HOLDS(value == -error))
        fprintf(stderr, "    value: %lld (%s)\n", (long long)value, value < 0 ? strerror((int)-value) : "");
    HOLDS(fd_count() == before);
    HOLDS(waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD);
}

static const char *file_with(const char *name, const char *text, mode_t mode)
{
    int fd = temp_file(name, text, strlen(text));

    REQUIRE(fchmod(fd, mode) == 0);
    close_plain(fd);
    return temp_path(name);
}

static void test_program_errors(void)
{
    static char long_name[5000], long_argument[1 << 20], *many[64];
    const char *loop_path = temp_path("loop"), *busy = temp_path("busy");
    int fd;

    memset(long_name, 'x', sizeof(long_name) - 1);
    memset(long_argument, 'x', sizeof(long_argument) - 1);
    for (size_t i = 0; i < ARRAY_SIZE(many) - 1; i++)
        many[i] = long_argument;
    REQUIRE(symlink(loop_path, loop_path) == 0);
    fails("no such file", (proa_command){.program = "/nowhere/at/all"}, ENOENT);
    fails("no such name", (proa_command){.program = "no-program-has-this-name"}, ENOENT);
    fails("no name", (proa_command){.program = ""}, ENOENT);
    fails("a folder", (proa_command){.program = "/"}, EACCES);
    fails("not executable", (proa_command){.program = file_with("plain", "#!/bin/sh\n", 0600)}, EACCES);
    fails("no program", (proa_command){.program = file_with("text", "echo hello\n", 0700)}, ENOEXEC);
    fails("no interpreter", (proa_command){.program = file_with("orphan", "#!/nowhere/at/all\n", 0700)}, ENOENT);
    fails("below a file", (proa_command){.program = "/etc/passwd/true"}, ENOTDIR);
    fails("a loop of links", (proa_command){.program = loop_path}, ELOOP);
    long_name[0] = '/';
    fails("a long path", (proa_command){.program = long_name}, ENAMETOOLONG);
    fails("much to say", (proa_command){.program = "/bin/true", .arguments = many}, E2BIG);
    fd = open(busy, O_RDWR | O_CREAT | O_CLOEXEC, 0700);
    fails("open for writing", (proa_command){.program = busy}, ETXTBSY);
    close_plain(fd);
    fails("no such folder", (proa_command){.directory = "/nowhere"}, ENOENT);
    fails("no folder", (proa_command){.directory = "/etc/passwd"}, ENOTDIR);
}

static void test_search(void)
{
    char before[4096], path[512];

    snprintf(before, sizeof(before), "%s", getenv("PATH"));
    snprintf(path, sizeof(path), "%s", file_with("hidden", "#!/bin/sh\n", 0600));
    *strrchr(path, '/') = '\0';
    REQUIRE(setenv("PATH", path, 1) == 0);
    fails("found, but not executable", (proa_command){.program = "hidden"}, EACCES);
    strcat(path, ":/nowhere:/etc/passwd:/bin:/usr/bin");
    REQUIRE(setenv("PATH", path, 1) == 0);
    file_with("true", "", 0600);
    test_case("one further on is executable");
    HOLDS(!strcmp(output_of((proa_command){.arguments = plain_arguments}), ""));
    REQUIRE(unsetenv("PATH") == 0);
    HOLDS(!strcmp(output_of((proa_command){.arguments = plain_arguments}), ""));
    REQUIRE(setenv("PATH", before, 1) == 0);
}

/* Runs `program`, a script in the current folder alone, by a list of directories that has an empty one. */
static void test_search_here(const char *list)
{
    char before[4096];

    test_case("PATH is \"%s\"", list);
    snprintf(before, sizeof(before), "%s", getenv("PATH"));
    REQUIRE(setenv("PATH", list, 1) == 0);
    HOLDS(
        !strcmp(output_of((proa_command){.program = "here", .arguments = plain_arguments, .directory = temp_path(".")}),
                "here\n"));
    REQUIRE(setenv("PATH", before, 1) == 0);
}

static void test_searches_here(void)
{
    file_with("here", "#!/bin/sh\necho here\n", 0700);
    test_search_here("");
    test_search_here(":");
    test_search_here(":/nowhere");
    test_search_here("/nowhere::/nowhere");
    test_search_here("/nowhere:");
}

static void test_misuse(void)
{
    static char *none[] = {NULL};
    int closed = fcntl(0, F_DUPFD_CLOEXEC, 900);
    proa_fd socket;
    int far;

    close_plain(closed);
    fails("a descriptor that is closed", (proa_command){.standard[1] = {PROA_STDIO_FD, {closed}}}, EBADF);
    fails("no descriptor", (proa_command){.standard[1] = {PROA_STDIO_FD, {-1}}}, EBADF);
    fails("a direct one", (proa_command){.standard[1] = {PROA_STDIO_FD, {PROA_DIRECT_BASE}}}, ENOTSUP);
    fails("of no kind", (proa_command){.standard[1] = {.kind = (enum proa_stdio_kind)77}}, EINVAL);
    fails("no arguments", (proa_command){.program = "/bin/true", .arguments = none}, EINVAL);

    test_case("waiting for what is no child");
    pair_open(loop, TCP, &socket, &far);
    HOLDS(wait_for(socket).value == -EBADF);
    HOLDS(wait_for(proa_fd_of(closed)).value == -EBADF && wait_for(proa_fd_of(-1)).value == -EBADF);
    HOLDS(proa_kill(proa_fd_of(closed), 0) == -EBADF && proa_kill(proa_fd_of(0), 0) == -EBADF);
    close_now(loop, socket);
    close_plain(far);
}

/* Three pipes and the child itself take seven descriptors. */
static void test_few_descriptors(void)
{
    enum { NEEDED = 7, FILLERS_MAX = 64 };
    int fillers[FILLERS_MAX], before = fd_count();
    struct rlimit normal, few;

    REQUIRE(getrlimit(RLIMIT_NOFILE, &normal) == 0);
    few = normal;
    few.rlim_cur = FILLERS_MAX;
    for (int room = 0; room <= NEEDED; room++) {
        proa_command command = {.arguments = plain_arguments};
        proa_process process;
        int count = 0;
        int64_t value;

        test_case("room for %d descriptors", room);
        for (int i = 0; i < 3; i++)
            command.standard[i].kind = PROA_STDIO_PIPE;
        REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
        while ((fillers[count] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
            count++;
        for (int i = 0; i < room; i++)
            close_plain(fillers[--count]);
        value = spawn(&command, &process);
        REQUIRE(setrlimit(RLIMIT_NOFILE, &normal) == 0);
        while (count)
            close_plain(fillers[--count]);
        if (room < NEEDED)
            HOLDS(value == -EMFILE);
        else if (HOLDS(value >= 0))
            HOLDS(finish(&process).value == 0);
        HOLDS(fd_count() == before);
    }
}

static void spawn_too_many(void *argument)
{
    const uid_t nobody = 65534;
    struct rlimit none = {0, 0};
    proa_command command = {.arguments = plain_arguments};
    proa_process process;

    (void)argument;
    loop = loop_open();
    REQUIRE(getuid() != 0 || setresuid(nobody, nobody, nobody) == 0);
    REQUIRE(setrlimit(RLIMIT_NPROC, &none) == 0);
    REQUIRE(spawn(&command, &process) == -EAGAIN);
    proa_loop_close(loop);
}

/* Each call that starting makes fails once. What was made before is closed, and no child left. */
static void test_faults(void)
{
    static const enum sys_call calls_made[] = {SYS_PIPE, SYS_FCNTL, SYS_SPAWN};
    static struct sys_fault plan[SYS_CALL_COUNT];

    for (size_t i = 0; i < ARRAY_SIZE(calls_made); i++) {
        struct sys_fault *fault = &plan[calls_made[i]];

        for (uint32_t skip = 0; skip < 3; skip++) {
            *fault = (struct sys_fault){.skip = skip, .times = 1, .error = -ENOMEM};
            loop->host.sys.faults = plan;
            fails("a fault", (proa_command){.program = "/nowhere"}, skip && i == 2 ? ENOENT : ENOMEM);
            HOLDS(fault->times == (skip && i == 2 ? 1 : 0));
            *fault = (struct sys_fault){0};
        }
    }
    loop->host.sys.faults = NULL;
}

/* Many at once */

enum { CROWD = 200 };

struct member {
    struct slot spawn, wait, close;
    proa_process process;
    char script[16], *arguments[4];
    proa_command command;
};

static struct member crowd[CROWD];

static void begin_member(struct member *member, unsigned code)
{
    *member = (struct member){.arguments = {"sh", "-c", member->script, NULL}};
    snprintf(member->script, sizeof(member->script), "exit %u", code);
    member->command.arguments = member->arguments;
    member->command.standard[0].kind = PROA_STDIO_NULL;
    proa_spawn(loop, &member->spawn.op, &member->command, &member->process, slot_done);
}

static void on_member_started(struct slot *slot, proa_result result)
{
    struct member *member = proa_owner(slot, struct member, spawn);

    REQUIRE(result.value >= 0);
    proa_wait_child(loop, &member->wait.op, member->process.fd, slot_done);
}

static void on_member_ended(struct slot *slot, proa_result result)
{
    struct member *member = proa_owner(slot, struct member, wait);

    REQUIRE(result.value >= 0);
    proa_close(loop, &member->close.op, member->process.fd, slot_done);
}

static void test_crowd(void)
{
    test_case("%d at once", CROWD);
    for (unsigned i = 0; i < CROWD; i++) {
        begin_member(&crowd[i], i);
        crowd[i].spawn.then = on_member_started;
        crowd[i].wait.then = on_member_ended;
    }
    for (unsigned i = 0; i < CROWD; i++) {
        RUN_UNTIL(loop, crowd[i].close.finals);
        HOLDS(crowd[i].wait.value == i && crowd[i].close.value == 0);
    }
}

/* A child that was started all the same is the caller's. */
static unsigned end_members(unsigned count)
{
    unsigned started = 0;
    siginfo_t end;

    for (unsigned i = 0; i < count; i++) {
        int64_t value = crowd[i].spawn.value;

        HOLDS(crowd[i].spawn.finals == 1 && (value >= 0 || value == -ECANCELED || value == -ETIMEDOUT));
        if (value < 0)
            continue;
        started++;
        HOLDS(waitid(P_PIDFD, (id_t)value, &end, WEXITED) == 0 && end.si_status == (int)i);
        fd_keep((int)value);
    }
    return started;
}

static void test_early_ends(void)
{
    enum { COUNT = 40 };
    int before = fd_count();

    test_case("spawns cancelled, or late");
    for (unsigned i = 0; i < COUNT; i++) {
        begin_member(&crowd[i], i);
        if (i % 2)
            proa_cancel(&crowd[i].spawn.op);
        else
            proa_set_deadline(&crowd[i].spawn.op, proa_now(loop) + i * MS / 8);
    }
    for (unsigned i = 0; i < COUNT; i++)
        RUN_UNTIL(loop, crowd[i].spawn.finals);
    end_members(COUNT); /* whatever the threads had begun by then runs */
    fds_close(loop);

    test_case("the loop closes around them");
    for (unsigned i = 0; i < COUNT; i++)
        begin_member(&crowd[i], i);
    proa_loop_close(loop);
    end_members(COUNT);
    fds_close(NULL);
    loop = loop_open();
    HOLDS(fd_count() == before);
}

static void test_loop_close(void)
{
    proa_process process = start_shell("exec sleep 60");
    struct slot wait = {0};

    test_case("a child outlives its loop");
    proa_wait_child(loop, &wait.op, process.fd, slot_done);
    proa_loop_run(loop, PROA_NO_WAIT);
    proa_loop_close(loop);
    HOLDS(wait.finals == 1 && wait.value == -ECANCELED);
    HOLDS(proa_kill(process.fd, 0) == 0);
    loop = loop_open();
    REQUIRE(proa_kill(process.fd, SIGKILL) == 0);
    HOLDS(proa_exit_signal(finish(&process)) == SIGKILL);
}

static void test_simulated_refusal(void)
{
    proa_command command = {.arguments = plain_arguments};
    proa_process process;

    test_case("a machine has no processes");
    HOLDS(spawn(&command, &process) == -ENOTSUP);
    HOLDS(wait_for(proa_fd_of(0)).value == -ENOTSUP && proa_kill(proa_fd_of(0), 0) == -ENOTSUP);
}

static void test_all(void)
{
    test_ends();
    test_core();
    test_wait();
    test_link();
    test_others();
    test_arguments();
    test_inheritance();
    test_scheduling();
    test_case("no descriptors but three, close_range(2) refused");
    HOLDS(child_passes(inherit_filtered, NULL));
    test_standard();
    test_pipes();
    test_program_errors();
    test_search();
    test_searches_here();
    test_misuse();
    test_few_descriptors();
    test_case("no more processes");
    HOLDS(child_passes(spawn_too_many, NULL));
    test_faults();
    test_crowd();
    test_early_ends();
    test_loop_close();
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "descriptors") == 0)
        return print_descriptors();
    if (argc == 2 && strcmp(argv[1], "slice") == 0)
        return print_slice();
    test_begin(argc, argv, "children");
    signal(SIGPIPE, SIG_IGN);
    loop = loop_open();
    if (test_simulated())
        test_simulated_refusal();
    else
        test_all();
    proa_loop_close(loop);
    return check_done("children");
}

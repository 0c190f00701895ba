/* Trap: containers refuse io_uring, and its memory has a limit. By default a loop opens all the same, on epoll, and one
 * sentence says why; who forces the ring gets the errno. Each refusal is made by a child, for itself alone. */
#include "harness.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* Docker's answer is EPERM, gVisor's and old kernels' ENOSYS. */
static void refuse_by_filter(uint32_t first, uint32_t last, int error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, first, 0, 2),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, last, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {ARRAY_SIZE(filter), filter};

    REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    REQUIRE(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void expect(const char *engine)
{
    proa_loop_options options = {.engine = "uring"};
    proa_engine_report report;
    struct slot timer = {0}, opened = {0};
    proa_loop *loop = NULL;
    int before = fd_count(), result;

    REQUIRE(proa_engine_inspect(0, &report) && strcmp(report.name, "uring") == 0);
    REQUIRE(!report.available && report.reason[0]);
    fprintf(stderr, "reason: %s\n", report.reason);
    result = proa_loop_open(&loop, &options);
    REQUIRE(result < 0 && result != -EINVAL && loop == NULL);
    REQUIRE(fd_count() == before);
    REQUIRE(proa_loop_open(&loop, NULL) == 0);
    fprintf(stderr, "choice: %s\n", proa_loop_choice(loop));
    REQUIRE(strcmp(proa_loop_engine(loop), engine) == 0);
    REQUIRE(strstr(proa_loop_choice(loop), "uring") != NULL);
    REQUIRE(strchr(proa_loop_choice(loop), '\n') == NULL);
    proa_timer(loop, &timer.op, 1, slot_done);
    proa_open(loop, &opened.op, PROA_CWD, "/", (proa_open_how){.flags = O_RDONLY}, slot_done);
    REQUIRE(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    REQUIRE(timer.value == 0 && opened.value >= 0);
    proa_loop_close(loop);
    close_plain((int)opened.value);
    REQUIRE(fd_count() == before);
}

static void without_permission(void *argument)
{
    (void)argument;
    refuse_by_filter(SYS_io_uring_setup, SYS_io_uring_register, EPERM);
    expect("epoll");
}

/* Two generations back there is nothing left to refuse. */
static void without_epoll_either(void *argument)
{
    (void)argument;
    refuse_by_filter(SYS_io_uring_setup, SYS_io_uring_register, EPERM);
    refuse_by_filter(SYS_epoll_create1, SYS_epoll_create1, EPERM);
    expect("poll");
}

static void without_system_call(void *argument)
{
    (void)argument;
    refuse_by_filter(SYS_io_uring_setup, SYS_io_uring_register, ENOSYS);
    expect("epoll");
}

/* A filter that knows io_uring_setup alone lets none of it work; one that forgets it breaks it half-way. */
static void without_enter(void *argument)
{
    (void)argument;
    refuse_by_filter(SYS_io_uring_enter, SYS_io_uring_enter, EPERM);
    expect("epoll");
}

static void without_register(void *argument)
{
    (void)argument;
    refuse_by_filter(SYS_io_uring_register, SYS_io_uring_register, EPERM);
    expect("epoll");
}

/* The memory limit binds whoever lacks CAP_IPC_LOCK. */
static void without_memory(void *argument)
{
    struct rlimit none = {0, 0};

    (void)argument;
    REQUIRE(setrlimit(RLIMIT_MEMLOCK, &none) == 0);
    if (geteuid() == 0)
        REQUIRE(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* changing identity hides /proc/self from itself */
    expect("epoll");
}

/* Little memory: less of a queue, where that is enough, and still the engine that was forced. */
static void with_little_memory(void *argument)
{
    struct rlimit little = {64 << 10, 64 << 10};
    proa_loop *loop = NULL;
    struct slot timer = {0};

    (void)argument;
    REQUIRE(setrlimit(RLIMIT_MEMLOCK, &little) == 0);
    if (geteuid() == 0)
        REQUIRE(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
    REQUIRE(proa_loop_open(&loop, NULL) == 0);
    fprintf(stderr, "choice: %s\n", proa_loop_choice(loop));
    proa_timer(loop, &timer.op, 1, slot_done);
    REQUIRE(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    proa_loop_close(loop);
}

static const struct {
    const char *name;
    void (*run)(void *argument);
} refusals[] = {
    {"a filter answers EPERM", without_permission},        {"a filter answers ENOSYS", without_system_call},
    {"a filter forbids enter alone", without_enter},       {"a filter forbids register alone", without_register},
    {"a filter forbids epoll, too", without_epoll_either}, {"no memory may be locked", without_memory},
    {"little memory may be locked", with_little_memory},
};

int main(int argc, char **argv)
{
    test_begin(argc, argv, "t_ring_refused");
    if (strcmp(test_engine(), "uring") != 0)
        return check_skip("t_ring_refused", "it is about the uring engine");
    for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
        test_case("%s", refusals[i].name);
        HOLDS(child_passes(refusals[i].run, NULL));
    }
    return check_done("t_ring_refused");
}

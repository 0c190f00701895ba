/* A child is made as vfork(2) does it: it shares our memory, and our thread stands still, until its program runs. So the
 * cost is that of a small process whatever the size of this one, and why the child failed is written where we read it.
 * Its stack is in our frame, and it does nothing that allocates or locks.
 *
 * Signals have to be blocked, as they are on the threads of the pool, or a handler would run in the child, on our memory.
 * Its descriptor comes with it (CLONE_PIDFD, 5.2), so that its id never has to be looked up. And it is one that sends no
 * signal when it ends; with its program it becomes an ordinary child (exec sets SIGCHLD): a program that never ran is
 * nothing that a handler or a wait(2) elsewhere would hear of. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <proa/process.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/sys.h"
#include "sys/thread.h"

enum { STANDARD_COUNT = 3, STACK_SIZE = 32 << 10, INHERITED = -1, NOTHING = -2 };

/* What parent and child tell each other. */
struct birth {
    const proa_command *command;
    const char *program, *search;
    uint32_t descriptor_limit;
    int standard[STANDARD_COUNT]; /* what becomes each of them, or INHERITED or NOTHING */
    int error;                    /* why the program does not run */
    char path[PATH_MAX];
};

/* In the child. Each returns 0 or more, or a negative errno. The calls are made by hand, for those of libc may have been
 * replaced (sanitizers), by some that keep books in the memory that is the parent's. */

static int call(long number, long a, long b, long c, long d)
{
    return (int)raw_call(number, a, b, c, d, 0, 0);
}

/* As a signal's action SIG_DFL without flags, as a signal mask none. */
static const long zeros[32];
static const long signal_set_size = (NSIG - 1) / 8;

static void reset_signals(void)
{
    for (int number = 1; number < NSIG; number++)
        call(__NR_rt_sigaction, number, (long)zeros, 0, signal_set_size);
    call(__NR_rt_sigprocmask, SIG_SETMASK, (long)zeros, 0, signal_set_size);
}

/* A descriptor that has the number of another standard one is taken elsewhere before that one is placed. */
static int make_way(struct birth *birth)
{
    for (int i = 0; i < STANDARD_COUNT; i++) {
        int fd = birth->standard[i];

        if (fd < 0 || fd >= STANDARD_COUNT || fd == i)
            continue;
        fd = call(__NR_fcntl, fd, F_DUPFD_CLOEXEC, STANDARD_COUNT, 0);
        if (fd < 0)
            return fd;
        birth->standard[i] = fd;
    }
    return 0;
}

static int place(int fd, int number)
{
    if (fd == NOTHING)
        fd = call(__NR_openat, AT_FDCWD, (long)"/dev/null", O_RDWR | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    return fd == number ? call(__NR_fcntl, fd, F_SETFD, 0, 0) : call(__NR_dup3, fd, number, 0, 0);
}

static int place_standard(struct birth *birth)
{
    int error = make_way(birth);

    for (int i = 0; i < STANDARD_COUNT && error >= 0; i++)
        if (birth->standard[i] != INHERITED)
            error = place(birth->standard[i], i);
    return error;
}

/* One by one where a filter does not know the call, which came with 5.9. */
static void close_others(const struct birth *birth)
{
    if (call(__NR_close_range, STANDARD_COUNT, UINT32_MAX, 0, 0) == 0)
        return;
    for (uint32_t fd = STANDARD_COUNT; fd < birth->descriptor_limit; fd++)
        call(__NR_close, fd, 0, 0, 0);
}

static int execute(const struct birth *birth, const char *path)
{
    const proa_command *command = birth->command;

    return call(__NR_execve, (long)path, (long)command->arguments,
                (long)(command->environment ? command->environment : environ), 0);
}

/* Takes the next directory out of the list; an empty one, at its end too, is the current one. Returns 0 where the path would
 * be too long. */
static int next_path(struct birth *birth)
{
    size_t size = strcspn(birth->search, ":"), name_size = strlen(birth->program) + 1;
    const char *directory = birth->search;
    char *path = birth->path;

    birth->search = directory[size] == ':' ? directory + size + 1 : NULL;
    if (size + 1 + name_size > sizeof(birth->path))
        return 0;
    memcpy(path, directory, size);
    if (size > 0)
        path[size++] = '/';
    memcpy(path + size, birth->program, name_size);
    return 1;
}

/* A file that may not be run hides none of its name further on, and is the answer where there is none (execvp(3)). */
static int search_and_execute(struct birth *birth)
{
    int found = -ENOENT;

    while (birth->search) {
        int error = next_path(birth) ? execute(birth, birth->path) : -ENOENT;

        if (error == -EACCES)
            found = error;
        else if (error != -ENOENT && error != -ENOTDIR)
            return error;
    }
    return found;
}

static int run_program(struct birth *birth)
{
    int error = place_standard(birth);

    if (error >= 0 && birth->command->directory)
        error = call(__NR_chdir, (long)birth->command->directory, 0, 0, 0);
    if (error < 0)
        return error;
    close_others(birth);
    reset_signals();
    sys_thread_give_way_no_more();
    return birth->search ? search_and_execute(birth) : execute(birth, birth->program);
}

static int be_born(void *argument)
{
    struct birth *birth = argument;

    birth->error = run_program(birth);
    _exit(127);
}

/* In the parent */

static void close_all(struct sys *sys, const int *fds)
{
    for (int i = 0; i < STANDARD_COUNT; i++)
        if (fds[i] >= 0)
            sys_close(sys, fds[i]);
}

/* The child reads from its input, and writes to the others. */
static int make_pipe(struct sys *sys, int number, int *ret_ours, int *ret_theirs)
{
    int ends[2], ours = number == 0;
    int error = sys_pipe(sys, ends);

    if (error < 0)
        return error;
    *ret_ours = ends[ours];
    *ret_theirs = ends[!ours];
    return sys_set_blocking(sys, *ret_theirs);
}

static int choose_standard(struct sys *sys, struct birth *birth, int *ours, int *theirs)
{
    int error = 0;

    for (int i = 0; i < STANDARD_COUNT && !error; i++) {
        const proa_stdio *stdio = &birth->command->standard[i];

        switch (stdio->kind) {
        case PROA_STDIO_INHERIT:
            birth->standard[i] = INHERITED;
            break;
        case PROA_STDIO_NULL:
            birth->standard[i] = NOTHING;
            break;
        case PROA_STDIO_FD:
            birth->standard[i] = stdio->fd.handle;
            error = stdio->fd.handle < 0 ? -EBADF : stdio->fd.handle >= PROA_DIRECT_BASE ? -ENOTSUP : 0;
            break;
        case PROA_STDIO_PIPE:
            error = make_pipe(sys, i, &ours[i], &theirs[i]);
            birth->standard[i] = theirs[i];
            break;
        default:
            error = -EINVAL;
        }
    }
    return error;
}

static int choose_program(struct birth *birth)
{
    const proa_command *command = birth->command;
    const char *path = getenv("PATH");

    if (!command->arguments || !command->arguments[0])
        return -EINVAL;
    birth->program = command->program ? command->program : command->arguments[0];
    if (birth->program[0] && !strchr(birth->program, '/'))
        birth->search = path ? path : "/bin:/usr/bin";
    return 0;
}

/* clone(2) by its other name: under the usual one the thread sanitizer has its own, which takes every use for a fork. */
int sys_clone(int (*function)(void *), void *stack, int flags, void *argument, ...) __asm__("__clone");

static int give_birth(struct sys *sys, struct birth *birth, pid_t *ret_id)
{
    _Alignas(16) char stack[STACK_SIZE];
    int error = sys_begin(sys, SYS_SPAWN, NULL), fd = -1;
    pid_t id;

    if (error)
        return error;
    id = sys_clone(be_born, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | CLONE_PIDFD, birth, &fd);
    if (id < 0)
        return -errno;
    *ret_id = id;
    if (birth->error == 0)
        return fd;
    sys_bury_child(sys, fd);
    sys_close(sys, fd);
    return birth->error;
}

int sys_spawn(struct sys *sys, const proa_command *command, proa_process *ret_process)
{
    struct birth birth = {.command = command, .descriptor_limit = sys_descriptor_limit(sys)};
    int ours[STANDARD_COUNT] = {-1, -1, -1}, theirs[STANDARD_COUNT] = {-1, -1, -1};
    int fd = sys->machine ? -ENOTSUP : choose_program(&birth);
    pid_t id = -1;

    if (fd >= 0)
        fd = choose_standard(sys, &birth, ours, theirs);
    if (fd >= 0)
        fd = give_birth(sys, &birth, &id);
    close_all(sys, theirs);
    if (fd < 0) {
        close_all(sys, ours);
        return fd;
    }
    *ret_process = (proa_process){id, {fd}, {{ours[0]}, {ours[1]}, {ours[2]}}};
    return fd;
}

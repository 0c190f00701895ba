/* Child processes. A child is a descriptor, its pidfd (pidfd_open(2)): what waits for it or signals it cannot mean another
 * process that got its id. */
#ifndef PROA_PROCESS_H
#define PROA_PROCESS_H

#include <sys/types.h>

#include "op.h"

PROA_BEGIN

/* What a standard descriptor of a child is. */
enum proa_stdio_kind {
    PROA_STDIO_INHERIT, /* the same as in this program */
    PROA_STDIO_NULL,    /* /dev/null */
    PROA_STDIO_FD,      /* `fd`, which stays this program's as well */
    PROA_STDIO_PIPE,    /* one end of a new pipe, whose other end is this program's */
};

typedef struct proa_stdio {
    enum proa_stdio_kind kind;
    proa_fd fd;
} proa_stdio;

/* What to start. Zero in any field but `arguments` means the default. */
typedef struct proa_command {
    const char *program;      /* a path, or without a slash a name to find in $PATH; default: arguments[0] */
    char *const *arguments;   /* as main() gets them, a null pointer last */
    char *const *environment; /* "NAME=value", a null pointer last; default: this program's */
    const char *directory;  /* where it starts, and what a relative path of `program` starts at; default: as this one */
    proa_stdio standard[3]; /* its input, output and errors; default: inherited */
} proa_command;

/* A child that was started. */
typedef struct proa_process {
    pid_t id;
    proa_fd fd;       /* the child itself; to be closed in the end */
    proa_fd pipes[3]; /* this program's ends of the pipes that were asked for: [0] is written, the others read; or -1 */
} proa_process;

/* Starts a program, with no other descriptors than its standard ones, no signal blocked, and none ignored. `command`, all
 * that it names, `*ret_process`, and this program's environment must stay until completion. value: the child's descriptor,
 * once its program runs. */
PROA_API void proa_spawn(proa_loop *loop, proa_op *op, const proa_command *command, proa_process *ret_process,
                         proa_callback *callback);

/* Waits for the end of a child, and takes it: it is no process any more. value: its exit code (0: success), or by which
 * signal it ended, for the functions below. */
PROA_API void proa_wait_child(proa_loop *loop, proa_op *op, proa_fd process, proa_callback *callback);

enum { PROA_EXIT_SIGNALED = 1 << 8, PROA_EXIT_DUMPED = 1 << 9 };

/* 0 to 255, or -1 where it did not exit by itself. */
static inline int proa_exit_code(proa_result result)
{
    return result.value >= 0 && result.value < PROA_EXIT_SIGNALED ? (int)result.value : -1;
}

/* The signal that ended it, or 0. */
static inline int proa_exit_signal(proa_result result)
{
    return result.value >= PROA_EXIT_SIGNALED ? (int)result.value & 0x7f : 0;
}

/* Whether it left a core dump (core(5)). */
static inline int proa_exit_dumped(proa_result result)
{
    return result.value >= PROA_EXIT_SIGNALED && (result.value & PROA_EXIT_DUMPED) != 0;
}

/* Sends the child a signal, at once; 0 only asks whether it is there. Returns 0 or a negative errno: ESRCH once its end
 * was taken. */
PROA_API int proa_kill(proa_fd process, int signal_number);

PROA_END

#endif

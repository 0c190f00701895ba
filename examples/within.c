/* Runs a program, shows what it prints line for line as it comes, and kills it where it has not ended within a time limit.
 * Waiting for output and for the end are two ops at once; the time limit is the second one's deadline. */
#include <errno.h>
#include <proa/proa.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static proa_loop *loop;
static proa_op start, output, end, closing[2];
static proa_process process;
static double limit_s;
static int status = 127;
static char text[4096];

static void ignore(proa_op *op, proa_result result)
{
    (void)op;
    (void)result;
}

static void on_output(proa_op *op, proa_result result)
{
    (void)op;
    if (result.value <= 0) /* the end of the file, once nobody has the other end of the pipe any more */
        return;
    fwrite(text, 1, (size_t)result.value, stdout);
    fflush(stdout);
    proa_read(loop, &output, process.pipes[1], text, sizeof(text), PROA_POSITION, on_output);
}

static void on_killed(proa_op *op, proa_result result)
{
    (void)op;
    (void)result;
    printf("within: killed after %g s\n", limit_s);
    status = 124;
    proa_cancel(&output); /* children of its own may still have the pipe */
}

static void on_ended(proa_op *op, proa_result result)
{
    if (result.value == -ETIMEDOUT) {
        proa_kill(process.fd, SIGKILL);
        proa_wait_child(loop, op, process.fd, on_killed);
    } else if (proa_exit_signal(result)) {
        printf("within: ended by signal %d\n", proa_exit_signal(result));
        status = 128 + proa_exit_signal(result);
    } else {
        status = proa_exit_code(result);
    }
}

static void on_started(proa_op *op, proa_result result)
{
    (void)op;
    if (result.value < 0) {
        fprintf(stderr, "within: cannot start it: %s\n", strerror((int)-result.value));
        return;
    }
    proa_read(loop, &output, process.pipes[1], text, sizeof(text), PROA_POSITION, on_output);
    proa_wait_child(loop, &end, process.fd, on_ended);
    proa_set_deadline(&end, proa_now(loop) + (uint64_t)(limit_s * 1e9));
}

int main(int argc, char **argv)
{
    proa_command command = {.arguments = argv + 2, .standard[1].kind = PROA_STDIO_PIPE};
    int error;

    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        puts("usage: within SECONDS PROGRAM [ARGUMENT...]");
        return 0;
    }
    limit_s = argc > 2 ? strtod(argv[1], NULL) : 0;
    if (!(limit_s > 0 && limit_s < 1e6)) {
        fputs("usage: within SECONDS PROGRAM [ARGUMENT...]\n", stderr);
        return 2;
    }
    error = proa_loop_open(&loop, NULL);
    if (error < 0) {
        fprintf(stderr, "within: no loop: %s\n", strerror(-error));
        return 1;
    }
    proa_spawn(loop, &start, &command, &process, on_started);
    proa_loop_run(loop, PROA_UNTIL_IDLE);
    if (process.id > 0) {
        proa_close(loop, &closing[0], process.pipes[1], ignore);
        proa_close(loop, &closing[1], process.fd, ignore);
        proa_loop_run(loop, PROA_UNTIL_IDLE);
    }
    proa_loop_close(loop);
    return status;
}

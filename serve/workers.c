/* The master sleeps in sigtimedwait(2) until a signal comes or a worker is due to be started.
 *
 * Workers get SIGTERM for "gracefully" and SIGQUIT for "at once", and ignore the terminal's SIGINT: whether a signal
 * reached the master alone or the whole process group, each worker counts it once. */
#include "serve/workers.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "serve/message.h"

enum { YOUNG_MS = 2000, PAUSE_FIRST_MS = 100, PAUSE_MAX_MS = 5000, YOUNG_DEATHS_MAX = 10, STOP_LIMIT_MS = 12000 };

struct worker {
    pid_t pid; /* 0: not running */
    int64_t started_ms;
    int64_t due_ms; /* when it is started again */
    unsigned young_deaths;
};

struct master {
    const struct workers_role *role;
    struct worker *workers;
    int64_t kill_ms; /* when patience ends; 0: not stopping */
    int status;
};

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void run_worker(struct master *master, unsigned index, pid_t master_pid)
{
    const struct workers_role *role = master->role;

    /* A master that is killed takes its workers along; it may have been before the request was made. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != master_pid)
        exit(1);
    signal(SIGINT, SIG_IGN);
    free(master->workers);
    exit(role->work(role->context, index));
}

static void start(struct master *master, unsigned index)
{
    struct worker *worker = &master->workers[index];
    pid_t master_pid = getpid();

    worker->started_ms = now_ms();
    worker->pid = fork();
    if (worker->pid == 0)
        run_worker(master, index, master_pid);
    if (worker->pid < 0) {
        worker->pid = 0;
        worker->due_ms = now_ms() + PAUSE_MAX_MS;
        message_note("a worker could not be started: %s; the next try is in %d s", strerror(errno),
                     PAUSE_MAX_MS / 1000);
    }
}

static void forward(const struct master *master, int signal_number)
{
    for (unsigned i = 0; i < master->role->count; i++) {
        if (master->workers[i].pid)
            kill(master->workers[i].pid, signal_number);
    }
}

static void stop(struct master *master)
{
    forward(master, master->kill_ms ? SIGQUIT : SIGTERM);
    if (!master->kill_ms) {
        master->kill_ms = now_ms() + STOP_LIMIT_MS;
        master->role->stopping(master->role->context);
    }
}

static void describe_end(pid_t pid, int status, const char *next)
{
    if (WIFSIGNALED(status))
        message_note("worker %d was ended by signal %d (%s); %s", (int)pid, WTERMSIG(status),
                     strsignal(WTERMSIG(status)), next);
    else
        message_note("worker %d ended with status %d; %s", (int)pid, WEXITSTATUS(status), next);
}

/* A worker ended though nobody had told it to. */
static void bury(struct master *master, struct worker *worker, pid_t pid, int status)
{
    int64_t now = now_ms();
    bool young = now - worker->started_ms < YOUNG_MS;

    worker->young_deaths = young ? worker->young_deaths + 1 : 0;
    if (worker->young_deaths == YOUNG_DEATHS_MAX) {
        describe_end(pid, status, "it never lives long, so the server stops");
        master->status = 1;
        stop(master);
        return;
    }
    /* Never at once: the kernel takes a dead worker's ring apart a little later, and until then a new connection may wake
     * that ring's accept alone, which waits exclusively, and not its successor's. */
    int64_t pause = PAUSE_FIRST_MS << (young ? worker->young_deaths - 1 : 0);
    worker->due_ms = now + (pause < PAUSE_MAX_MS ? pause : PAUSE_MAX_MS);
    describe_end(pid, status, "another one takes its place");
}

static void reap(struct master *master)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (unsigned i = 0; i < master->role->count; i++) {
            struct worker *worker = &master->workers[i];
            if (worker->pid != pid)
                continue;
            worker->pid = 0;
            if (!master->kill_ms)
                bury(master, worker, pid, status);
            else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                master->status = 1;
        }
    }
}

/* Starts what is due. Returns ms until the next start or the end of patience; -1: nothing is planned. */
static int64_t start_due(struct master *master)
{
    int64_t now = now_ms(), next = -1;

    for (unsigned i = 0; i < master->role->count && !master->kill_ms; i++) {
        struct worker *worker = &master->workers[i];
        if (!worker->pid && worker->due_ms <= now)
            start(master, i);
        if (!worker->pid && (next < 0 || worker->due_ms - now < next))
            next = worker->due_ms > now ? worker->due_ms - now : 1;
    }
    if (master->kill_ms)
        next = master->kill_ms > now ? master->kill_ms - now : 1;
    return next;
}

static bool any_alive(const struct master *master)
{
    for (unsigned i = 0; i < master->role->count; i++) {
        if (master->workers[i].pid)
            return true;
    }
    return false;
}

static void supervise(struct master *master)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGCHLD);
    while (!master->kill_ms || any_alive(master)) {
        int64_t wait_ms = start_due(master);
        struct timespec wait = {.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000};
        int number = sigtimedwait(&set, NULL, wait_ms < 0 ? NULL : &wait);

        if (number == SIGTERM || number == SIGINT)
            stop(master);
        reap(master);
        if (master->kill_ms && now_ms() >= master->kill_ms)
            forward(master, SIGKILL);
    }
}

int workers_run(const struct workers_role *role)
{
    struct master master = {.role = role, .workers = calloc(role->count, sizeof(*master.workers))};

    if (!master.workers) {
        message_error("memory for a few hundred bytes", "free some memory, then start again",
                      "%u workers could not be started", role->count);
        return 1;
    }
    supervise(&master);
    free(master.workers);
    return master.status;
}

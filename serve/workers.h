/* Several workers and the master that watches over them. The master opens no loop: a child inherits nothing of it. */
#ifndef SERVE_WORKERS_H
#define SERVE_WORKERS_H

/* What the workers do, and the master with them. */
struct workers_role {
    unsigned count;
    int (*work)(void *context, unsigned index); /* in a process of its own; returns its exit status */
    void (*stopping)(void *context);            /* in the master, when it has told all workers to stop */
    void *context;
};

/* Runs all workers until SIGTERM or SIGINT. A worker that dies is started again, with a pause that doubles while it
 * dies young. SIGTERM, SIGINT and SIGCHLD must be blocked. Returns the exit status. */
int workers_run(const struct workers_role *role);

#endif

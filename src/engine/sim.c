/* The engine of simulated machines: readiness, asked of the machine, in an order that its seed shuffles.
 *
 * There are no threads: what is queued on the pool is taken by a few workers of each crew that are nothing but an op and
 * the time at which it will have been done. Then it is run, by the loop's own thread, while it waits. */
#include <errno.h>
#include <proa/engine.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pool.h"
#include "engine/ready.h"

struct watch {
    uint64_t serial; /* of the open file that was meant: the number may be another's by now */
    unsigned directions;
};

struct report {
    int fd;
    unsigned events;
};

struct worker {
    proa_op *op;
    uint64_t done_ns;
};

struct poller {
    struct sys *sys;
    struct watch *watches; /* by number */
    uint32_t watch_high;   /* no number from here on was ever watched */
    struct report *reports;
    size_t report_count;
    struct worker *workers;
    uint32_t worker_count; /* half of them of each crew */
};

static struct engine_host *host_of(const struct poller *poller)
{
    return CONTAINER_OF(poller->sys, struct engine_host, sys);
}

static void sim_close_poller(struct poller *poller)
{
    free(poller->watches);
    free(poller->reports);
    free(poller->workers);
    free(poller);
}

static int sim_open_poller(struct sys *sys, struct poller **ret_poller)
{
    struct poller *poller = calloc(1, sizeof(*poller));
    uint32_t limit = machine_descriptor_limit(sys->machine);

    if (!poller)
        return -ENOMEM;
    poller->sys = sys;
    poller->worker_count = 2 * machine_disk_queue(sys->machine);
    poller->watches = calloc(limit, sizeof(poller->watches[0]));
    poller->reports = calloc(limit, sizeof(poller->reports[0]));
    poller->workers = calloc(poller->worker_count, sizeof(poller->workers[0]));
    if (!poller->watches || !poller->reports || !poller->workers) {
        sim_close_poller(poller);
        return -ENOMEM;
    }
    *ret_poller = poller;
    return 0;
}

static int sim_watch(struct poller *poller, int fd, unsigned from, unsigned to)
{
    uint64_t serial;
    int error = machine_watchable(poller->sys->machine, fd, &serial);

    (void)from;
    if (error < 0)
        return error;
    poller->watches[fd] = (struct watch){serial, to};
    if ((uint32_t)fd >= poller->watch_high)
        poller->watch_high = (uint32_t)fd + 1;
    return 0;
}

static unsigned to_events(unsigned directions)
{
    return (directions & READY_IN ? POLLIN : 0) | (directions & READY_OUT ? POLLOUT : 0) |
           (directions & READY_PRIORITY ? POLLPRI : 0) | (directions & READY_HANGUP ? POLLRDHUP : 0);
}

/* An error or hang-up makes every direction ready: the call that is tried next will say what it is. */
static unsigned to_directions(unsigned events)
{
    if (events & (POLLERR | POLLHUP))
        return READY_IN | READY_OUT | READY_PRIORITY | READY_HANGUP;
    return (events & POLLIN ? READY_IN : 0) | (events & POLLOUT ? READY_OUT : 0) |
           (events & POLLPRI ? READY_PRIORITY : 0) | (events & POLLRDHUP ? READY_HANGUP : 0);
}

/* The machine's condition: any watched descriptor is ready. What it finds is reported when the wait is over. */
static int find_ready(proa_sim *machine, void *context)
{
    struct poller *poller = context;

    poller->report_count = 0;
    for (uint32_t fd = 0; fd < poller->watch_high; fd++) {
        const struct watch *watch = &poller->watches[fd];
        unsigned events = watch->directions ? machine_peek(machine, (int)fd, watch->serial) : 0;

        events &= to_events(watch->directions) | POLLERR | POLLHUP;
        if (events)
            poller->reports[poller->report_count++] = (struct report){(int)fd, events};
    }
    return poller->report_count > 0;
}

/* In any order, and some of them only with a later wait, as an epoll may. */
static void report_ready(struct poller *poller, struct ready_engine *engine)
{
    proa_sim *machine = poller->sys->machine;
    size_t left = poller->report_count;

    while (left > 0) {
        size_t index = (size_t)machine_draw(machine, left);
        struct report report = poller->reports[index];

        poller->reports[index] = poller->reports[--left];
        if (left == 0 || !machine_late_report(machine))
            ready_report(engine, report.fd, to_directions(report.events));
    }
}

static enum pool_crew crew_of(const struct poller *poller, const struct worker *worker)
{
    return worker < poller->workers + poller->worker_count / 2 ? CREW_FILES : CREW_WORK;
}

static uint64_t start_workers(struct poller *poller, uint64_t now_ns)
{
    struct pool *pool = host_of(poller)->pool;
    uint64_t first_ns = PROA_NEVER;

    for (struct worker *worker = poller->workers; worker < poller->workers + poller->worker_count; worker++) {
        if (!worker->op && (worker->op = pool_take(pool, crew_of(poller, worker))))
            worker->done_ns = now_ns + machine_disk_latency(poller->sys->machine);
        if (worker->op && worker->done_ns < first_ns)
            first_ns = worker->done_ns;
    }
    return first_ns;
}

static void run_workers(struct poller *poller, uint64_t now_ns)
{
    struct pool *pool = host_of(poller)->pool;

    for (struct worker *worker = poller->workers; worker < poller->workers + poller->worker_count; worker++) {
        proa_op *op = worker->op;

        if (!op || worker->done_ns > now_ns)
            continue;
        worker->op = NULL;
        pool_run(pool, op);
    }
}

static void sim_wait_poller(struct poller *poller, struct ready_engine *engine, uint64_t timeout_ns)
{
    uint64_t now_ns = sys_now_ns(poller->sys);
    uint64_t until_ns = timeout_ns < PROA_NEVER - now_ns ? now_ns + timeout_ns : PROA_NEVER;
    uint64_t done_ns = start_workers(poller, now_ns);
    int result = machine_wait(poller->sys->machine, find_ready, poller, done_ns < until_ns ? done_ns : until_ns);

    poller->sys->calls++; /* a poller's wait is one of the calls that the meters tell of */
    run_workers(poller, sys_now_ns(poller->sys));
    if (result > 0)
        report_ready(poller, engine);
    host_of(poller)->stalled = result == -EDEADLK;
}

static const struct poller_table sim_poller = {
    .open = sim_open_poller,
    .close = sim_close_poller,
    .watch = sim_watch,
    .wait = sim_wait_poller,
};

static int sim_open(struct engine_host *host, struct engine **ret_engine, char *ret_reason)
{
    int error = machine_use(host->descriptor_count, &host->sys.machine);

    if (error == 0) {
        error = ready_open(host, &sim_poller, ret_engine);
        if (error < 0)
            machine_unuse();
    }
    if (error < 0)
        snprintf(ret_reason, PROA_REASON_MAX, "no machine could be simulated: %s", strerror(-error));
    return error;
}

static void sim_close(struct engine *engine)
{
    ready_close(engine);
    machine_unuse();
}

const struct engine_table engine_sim = {
    .name = "sim",
    .summary = "a simulated machine, for tests: its clock, network and files come from one seed",
    .by_name_alone = 1,
    .simulated = 1,
    .open = sim_open,
    .close = sim_close,
    READY_FUNCTIONS,
};

/* Trap: a connection to a listener that several processes wait on wakes all of them, and all but one in vain. Proa has one
 * woken where the kernel can (EPOLLEXCLUSIVE). On every engine each connection is answered, also beside a worker that was
 * killed: whoever is woken next takes all that wait. */
#include "harness.h"

#include <poll.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { WORKERS = 4, CONNECTIONS = 100, BURST = 40, CLOSES = 4096, ANSWER = 'a' };

static struct shared {
    _Atomic uint64_t waiting, accepted, wake_ups[WORKERS];
} * shared;

static int listener;
static proa_address bound;
static pid_t workers[WORKERS];

static bool on_epoll(void)
{
    return strcmp(test_engine(), "epoll") == 0;
}

/* The workers. */

static void answer(int fd)
{
    char byte = ANSWER;

    shared->accepted++;
    send(fd, &byte, 1, MSG_NOSIGNAL); /* to a client that may be gone */
}

static proa_op closing[CLOSES];
static unsigned closes;

static void on_closed(proa_op *op, proa_result result)
{
    (void)op;
    REQUIRE(result.value == 0);
}

static void on_taken(struct slot *slot, proa_result result)
{
    REQUIRE(result.value >= 0);
    answer((int)result.value);
    proa_close(slot->op.loop, &closing[closes++ % CLOSES], proa_result_fd(result), on_closed);
}

static void work_with_proa(unsigned number)
{
    proa_loop *loop = loop_open();
    struct slot many = {.then = on_taken};

    proa_accept_many(loop, &many.op, proa_fd_of(listener), slot_done);
    proa_loop_run(loop, PROA_NO_WAIT);
    for (shared->waiting++;; shared->wake_ups[number] = proa_loop_meters(loop).wake_ups)
        proa_loop_run(loop, PROA_ONCE);
}

/* The same by hand, and plain. */
static void work_by_hand(unsigned number)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(EPOLL_CLOEXEC), fd;

    REQUIRE(epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) == 0);
    for (shared->waiting++;; shared->wake_ups[number]++) {
        REQUIRE(epoll_wait(epoll, &event, 1, -1) == 1);
        while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
            answer(fd);
            close_plain(fd);
        }
    }
}

/* Whether its first thread waits: woken, it is not from that moment on (proc(5)). */
static bool is_asleep(pid_t pid)
{
    char path[64], line[128] = "";
    const char *name_end;
    FILE *status;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    status = fopen(path, "re");
    REQUIRE(status != NULL && fgets(line, sizeof(line), status));
    fclose(status);
    name_end = strrchr(line, ')');
    REQUIRE(name_end != NULL);
    return name_end[2] == 'S';
}

static void await_sleep(void)
{
    for (unsigned i = 0; i < WORKERS; i++)
        while (!is_asleep(workers[i]))
            sleep_ms(1);
}

static void start_workers(void (*work)(unsigned number))
{
    memset(shared, 0, sizeof(*shared));
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = fork();
        REQUIRE(workers[i] >= 0);
        if (workers[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            work(i);
        }
    }
    while (shared->waiting < WORKERS)
        sleep_ms(1);
    await_sleep();
}

static void kill_worker(unsigned number)
{
    REQUIRE(kill(workers[number], SIGKILL) == 0 && waitpid(workers[number], NULL, 0) == workers[number]);
    workers[number] = 0;
}

static void stop_workers(void)
{
    for (unsigned i = 0; i < WORKERS; i++)
        if (workers[i])
            kill_worker(i);
}

/* How often a worker's first thread has gone to sleep. */
static uint64_t sleeps_of(pid_t pid)
{
    char path[64], line[128];
    uint64_t count = 0;
    FILE *status;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    status = fopen(path, "re");
    REQUIRE(status != NULL);
    while (fgets(line, sizeof(line), status))
        if (strncmp(line, "voluntary_ctxt_switches:", 24) == 0)
            count = strtoull(line + 24, NULL, 10);
    fclose(status);
    return count;
}

static uint64_t sleeps(void)
{
    uint64_t count = 0;

    for (unsigned i = 0; i < WORKERS; i++)
        count += sleeps_of(workers[i]);
    return count;
}

static uint64_t wake_ups(void)
{
    uint64_t count = 0;

    for (unsigned i = 0; i < WORKERS; i++)
        count += shared->wake_ups[i];
    return count;
}

/* The clients. */

static bool is_answered(int fd)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    char byte = 0;

    return poll(&entry, 1, -1) == 1 && recv(fd, &byte, 1, 0) == 1 && byte == ANSWER;
}

/* One after the other; meanwhile the workers go back to sleep. Returns how often they did, all together. */
static uint64_t sleeps_for_all(void)
{
    uint64_t before = sleeps();

    for (unsigned i = 0; i < CONNECTIONS; i++) {
        int far = far_connect(&bound);

        HOLDS(is_answered(far));
        close_plain(far);
        await_sleep();
    }
    HOLDS(shared->accepted == CONNECTIONS);
    return sleeps() - before;
}

static void test_one_is_woken(void)
{
    uint64_t before, slept, woken;

    test_case("%d processes, one listener", WORKERS);
    start_workers(work_with_proa);
    before = wake_ups();
    slept = sleeps_for_all();
    woken = wake_ups() - before;
    if (on_epoll() && (!HOLDS(slept <= 2 * CONNECTIONS) || !HOLDS(woken <= 3 * CONNECTIONS)))
        fprintf(stderr, "    slept %llu times, woken %llu times\n", (unsigned long long)slept,
                (unsigned long long)woken);
    stop_workers();
    if (!on_epoll())
        return;
    test_case("the herd, by hand");
    start_workers(work_by_hand);
    slept = sleeps_for_all();
    if (!HOLDS(slept > 2 * CONNECTIONS))
        fprintf(stderr, "    slept %llu times\n", (unsigned long long)slept);
    stop_workers();
}

/* A killed process, and its ring for a while after it, may have swallowed a wake-up: the next connection makes up for it.
 * Returns whether this one was answered, or closed with the process that had taken it. */
static bool comes_to_an_end(int fd)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN};

    for (unsigned i = 0; i < 200; i++) {
        if (poll(&entry, 1, 50) == 1)
            return true;
        close_plain(far_connect(&bound));
    }
    return false;
}

/* What the killed one had taken is closed with it; nothing else is lost, and nobody waits for ever. */
static void test_one_is_killed(void)
{
    int far[BURST];

    test_case("one of %d is killed", WORKERS);
    start_workers(work_with_proa);
    for (unsigned i = 0; i < BURST; i++) {
        far[i] = far_connect(&bound);
        if (i == BURST / 2)
            kill_worker(0);
    }
    for (unsigned i = 0; i < BURST; i++) {
        HOLDS(comes_to_an_end(far[i]));
        close_plain(far[i]);
    }
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        int later = far_connect(&bound);

        HOLDS(comes_to_an_end(later) && is_answered(later));
        close_plain(later);
    }
    stop_workers();
}

/* What the kernel says of how it is watched (proc(5), fdinfo). */
static bool is_exclusive(int fd)
{
    char path[64], line[256];
    bool exclusive = false;

    for (int epoll = 0; epoll < 64; epoll++) {
        FILE *information;
        unsigned watched, events;

        snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", epoll);
        information = fopen(path, "re");
        if (!information)
            continue;
        while (fgets(line, sizeof(line), information))
            if (sscanf(line, "tfd: %u events: %x", &watched, &events) == 2 && watched == (unsigned)fd)
                exclusive |= (events & EPOLLEXCLUSIVE) != 0;
        fclose(information);
    }
    return exclusive;
}

/* By flag or by nature; not while a poll waits beside, which must hear of what another process is woken for. */
static void test_which_are(void)
{
    proa_loop *loop = loop_open();
    proa_address address = address_any(TCP);
    struct slot slots[3] = {0}, polled = {0};

    test_case("which listeners are watched exclusively");
    proa_listen(loop, &slots[0].op, &address, 4, 0, slot_done);
    proa_listen(loop, &slots[1].op, &address, 4, PROA_LISTEN_SHARED, slot_done);
    RUN_UNTIL(loop, slots[0].finals && slots[1].finals);
    slots[2].value = fcntl(listener, F_DUPFD_CLOEXEC, 0);
    for (size_t i = 0; i < ARRAY_SIZE(slots); i++) {
        proa_fd fd = proa_fd_of((int)slots[i].value);

        proa_accept_many(loop, &slots[i].op, fd, slot_done);
        loop_run_for(loop, MS);
        HOLDS(is_exclusive(fd.handle) == (i > 0));
        proa_poll(loop, &polled.op, fd, POLLPRI, slot_done);
        loop_run_for(loop, MS);
        HOLDS(!is_exclusive(fd.handle));
        close_now(loop, fd);
        RUN_UNTIL(loop, polled.finals == i + 1);
    }
    proa_loop_close(loop);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "t_shared_listener");
    if (test_has(PROA_FEATURE_DIRECT))
        return check_skip("t_shared_listener", "a listener cannot be shared by processes as a direct descriptor");
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(shared != MAP_FAILED);
    bound = address_any(TCP);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    REQUIRE(bind(listener, &bound.as.any, bound.size) == 0 && listen(listener, 128) == 0);
    REQUIRE(proa_local_address(NULL, proa_fd_of(listener), &bound) == 0);
    test_one_is_woken();
    test_one_is_killed();
    if (on_epoll())
        test_which_are();
    close_plain(listener);
    munmap(shared, sizeof(*shared));
    return check_done("t_shared_listener");
}

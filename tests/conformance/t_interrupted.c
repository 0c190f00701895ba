/* Trap: EINTR. A handler without SA_RESTART interrupts whatever waits, thousands of times, on the loop's thread and on
 * the pool's; nobody is told, nothing is lost, and a timer is still never early. */
#include "harness.h"

#include <pthread.h>
#include <sys/time.h>

static unsigned interruptions;

static void on_interruption(int number)
{
    (void)number;
    __atomic_add_fetch(&interruptions, 1, __ATOMIC_RELAXED);
}

static void interrupt_every(long us)
{
    struct sigaction action = {.sa_handler = on_interruption}; /* no SA_RESTART */
    struct itimerval timer = {{0, us}, {0, us}};

    sigaction(SIGVTALRM, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    sigaction(SIGPROF, &action, NULL);
    setitimer(ITIMER_PROF, &timer, NULL);
}

static bool storm_over;

static void *storm(void *argument)
{
    pthread_t target = *(pthread_t *)argument;

    while (!__atomic_load_n(&storm_over, __ATOMIC_ACQUIRE)) {
        pthread_kill(target, SIGUSR2);
        usleep(50);
    }
    return NULL;
}

static int64_t slow(proa_op *op)
{
    (void)op;
    sleep_ms(1);
    return 3;
}

int main(int argc, char **argv)
{
    struct slot timer = {0}, receive = {0}, work = {0}, file = {0}, sending = {0};
    static char bulk[1 << 20];
    pthread_t self = pthread_self(), thread;
    proa_loop *loop;
    char data[64];
    uint64_t total = 0, when;
    proa_fd near;
    int far, fd;

    test_begin(argc, argv, "t_interrupted");
    loop = loop_open();
    fd = temp_file("data", bulk, 100000);
    pair_open(loop, TCP, &near, &far);
    interrupt_every(200);
    REQUIRE(pthread_create(&thread, NULL, storm, &self) == 0);
    for (unsigned i = 0; i < 100 || __atomic_load_n(&interruptions, __ATOMIC_RELAXED) <= 100; i++) {
        test_case("round %u", i);
        when = clock_ns() + MS;
        proa_timer(loop, &timer.op, when, slot_done);
        proa_recv(loop, &receive.op, near, data, sizeof(data), slot_done);
        proa_work(loop, &work.op, slow, slot_done);
        proa_read(loop, &file.op, proa_fd_of(fd), bulk, 100000, 0, slot_done);
        RUN_UNTIL(loop, timer.finals > i);
        HOLDS(timer.value == 0 && timer.at_ns >= when);
        REQUIRE(write(far, "hello", 5) == 5 || errno == EINTR);
        REQUIRE(write(far, "hello", 5) == 5 || errno == EINTR);
        RUN_UNTIL(loop, receive.finals > i && work.finals > i && file.finals > i);
        HOLDS(receive.value > 0 && work.value == 3 && file.value == 100000);
    }
    test_case("a large send");
    proa_send(loop, &sending.op, near, bulk, sizeof(bulk), slot_done);
    while (!sending.finals || total < sizeof(bulk)) {
        total += far_drain(far);
        if (!sending.finals)
            proa_loop_run(loop, PROA_ONCE);
    }
    HOLDS(sending.value == sizeof(bulk) && total == sizeof(bulk));
    __atomic_store_n(&storm_over, true, __ATOMIC_RELEASE);
    REQUIRE(pthread_join(thread, NULL) == 0);
    close_now(loop, near);
    close_plain(far);
    close_plain(fd);
    proa_loop_close(loop);
    return check_done("t_interrupted");
}

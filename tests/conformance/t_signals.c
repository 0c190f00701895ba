/* Traps around signals: whoever of the process's threads has it unblocked takes it, so the pool's threads must not; a
 * mask is changed for as long as an op needs it, no longer; two loops, or two ops, may want the same one. */
#include "harness.h"

#include <pthread.h>
#include <sys/wait.h>

static unsigned handled;

static void on_handled(int number)
{
    (void)number;
    handled++;
}

static bool is_blocked(int number)
{
    sigset_t mask;

    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    return sigismember(&mask, number);
}

static int64_t nothing(proa_op *op)
{
    (void)op;
    return 0;
}

/* Sent to the process, while the pool's threads exist and sleep: it must come to the op, every time. */
static void test_to_the_process(void)
{
    proa_loop *loop = loop_open();
    struct slot slot = {0}, work = {0};

    test_case("sent to the process");
    proa_work(loop, &work.op, nothing, slot_done);
    RUN_UNTIL(loop, work.finals);
    handled = 0;
    proa_signal(loop, &slot.op, SIGUSR1, slot_done);
    HOLDS(is_blocked(SIGUSR1));
    for (unsigned i = 1; i <= 100; i++) {
        REQUIRE(kill(getpid(), SIGUSR1) == 0);
        RUN_UNTIL(loop, slot.mores == i);
        REQUIRE(slot.value == SIGUSR1);
    }
    HOLDS(handled == 0);
    proa_cancel(&slot.op);
    RUN_UNTIL(loop, slot.finals);
    HOLDS(slot.value == -ECANCELED);
    HOLDS(!is_blocked(SIGUSR1));
    REQUIRE(kill(getpid(), SIGUSR1) == 0);
    HOLDS(handled == 1);
    proa_loop_close(loop);
}

/* Pending when the op starts, or sent before the loop ever ran: one arrival, not lost. */
static void test_before_the_turn(void)
{
    proa_loop *loop = loop_open();
    struct slot slot = {0};

    test_case("sent before the loop turned");
    proa_signal(loop, &slot.op, SIGUSR1, slot_done);
    REQUIRE(kill(getpid(), SIGUSR1) == 0);
    RUN_UNTIL(loop, slot.mores == 1);
    proa_loop_close(loop);
    HOLDS(slot.finals == 1 && slot.value == -ECANCELED);
    HOLDS(!is_blocked(SIGUSR1));
}

/* To this thread; with SQPOLL another one watches, and only what is sent to the process reaches it. */
static int signal_thread(int number)
{
    return test_has(PROA_FEATURE_SQPOLL) ? kill(getpid(), number) : raise(number);
}

/* Who blocked it before has it blocked afterwards. */
static void test_blocked_before(void)
{
    proa_loop *loop = loop_open();
    struct slot slot = {0};
    sigset_t mask;

    test_case("blocked before");
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &mask, NULL);
    proa_signal(loop, &slot.op, SIGUSR2, slot_done);
    REQUIRE(signal_thread(SIGUSR2) == 0);
    RUN_UNTIL(loop, slot.mores == 1);
    proa_cancel(&slot.op);
    RUN_UNTIL(loop, slot.finals);
    HOLDS(is_blocked(SIGUSR2));
    pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
    proa_loop_close(loop);
}

/* Two ops for one signal: it stays blocked until both are over, and each arrival comes to one of them, at least. */
static void test_two_ops(void)
{
    proa_loop *loop = loop_open();
    struct slot slots[2] = {0};

    test_case("two ops, one signal");
    proa_signal(loop, &slots[0].op, SIGUSR1, slot_done);
    proa_signal(loop, &slots[1].op, SIGUSR1, slot_done);
    REQUIRE(kill(getpid(), SIGUSR1) == 0);
    RUN_UNTIL(loop, slots[0].mores + slots[1].mores >= 1);
    proa_cancel(&slots[0].op);
    RUN_UNTIL(loop, slots[0].finals);
    HOLDS(is_blocked(SIGUSR1));
    handled = 0;
    slots[1].mores = 0;
    REQUIRE(kill(getpid(), SIGUSR1) == 0);
    RUN_UNTIL(loop, slots[1].mores == 1);
    HOLDS(handled == 0);
    proa_cancel(&slots[1].op);
    RUN_UNTIL(loop, slots[1].finals);
    HOLDS(!is_blocked(SIGUSR1));
    proa_loop_close(loop);
}

/* Different ones at once, each to its own op. */
static void test_several(void)
{
    static const int numbers[] = {SIGUSR1, SIGUSR2, SIGHUP, SIGTERM, SIGINT, SIGCHLD, SIGWINCH};
    struct slot slots[ARRAY_SIZE(numbers)] = {0};
    proa_loop *loop = loop_open();

    test_case("several signals");
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        proa_signal(loop, &slots[i].op, numbers[i], slot_done);
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        REQUIRE(kill(getpid(), numbers[i]) == 0);
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        RUN_UNTIL(loop, slots[i].mores == 1);
        HOLDS(slots[i].value == numbers[i]);
    }
    proa_loop_close(loop);
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        HOLDS(slots[i].finals == 1 && !is_blocked(numbers[i]));
}

/* Real-time signals queue: as many arrivals as were sent. */
static void test_queued(void)
{
    proa_loop *loop = loop_open();
    struct slot slot = {0};

    test_case("real-time signals");
    proa_signal(loop, &slot.op, SIGRTMIN + 1, slot_done);
    for (int i = 0; i < 50; i++)
        REQUIRE(signal_thread(SIGRTMIN + 1) == 0);
    RUN_UNTIL(loop, slot.mores == 50);
    loop_run_for(loop, MS);
    HOLDS(slot.mores == 50 && slot.finals == 0);
    proa_loop_close(loop);
}

/* A child that was forked meanwhile keeps the op's descriptor open. What it would report is nobody's any more. */
static void test_forked_meanwhile(void)
{
    proa_loop *loop = loop_open();
    struct slot slot = {0};
    sigset_t mask, before;
    pid_t child;

    test_case("a child keeps the descriptor");
    proa_signal(loop, &slot.op, SIGUSR1, slot_done);
    loop_run_for(loop, MS);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0)
        for (;;)
            pause();
    proa_cancel(&slot.op);
    RUN_UNTIL(loop, slot.finals);
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    REQUIRE(pthread_sigmask(SIG_BLOCK, &mask, &before) == 0);
    REQUIRE(kill(getpid(), SIGUSR1) == 0);
    HOLDS(loop_rests(loop, 20 * MS, 4));
    REQUIRE(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    REQUIRE(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    proa_loop_close(loop);
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_handled};

    test_begin(argc, argv, "t_signals");
    sigaction(SIGUSR1, &action, NULL);
    test_to_the_process();
    test_before_the_turn();
    test_blocked_before();
    test_two_ops();
    test_several();
    test_queued();
    test_forked_meanwhile();
    return check_done("t_signals");
}

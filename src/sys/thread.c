#include "sys/thread.h"

#include <errno.h>
#include <proa/time.h>
#include <sched.h>
#include <string.h>

/* A call's frames and a signal's with the widest registers need a tenth of it; it is the least on arm64 (PTHREAD_STACK_MIN)
 * and comes with a guard page. */
enum { STACK_SIZE = 128 << 10 };

static int interrupt_signal;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
}

static int is_free(int signal_number)
{
    struct sigaction action;

    return sigaction(signal_number, NULL, &action) == 0 && !(action.sa_flags & SA_SIGINFO) &&
           action.sa_handler == SIG_DFL;
}

/* Without SA_RESTART the call that it meets ends with EINTR (signal(7)). */
static int take_signal(void)
{
    const struct sigaction action = {.sa_handler = on_interrupt};

    for (int i = SIGRTMIN; i <= SIGRTMAX; i++) {
        if (is_free(i) && sigaction(i, &action, NULL) == 0) {
            interrupt_signal = i;
            return 0;
        }
    }
    return -EBUSY;
}

int sys_interrupt_begin(void)
{
    int error = 0;

    pthread_mutex_lock(&lock);
    if (interrupt_signal == 0)
        error = take_signal();
    pthread_mutex_unlock(&lock);
    return error;
}

static int start(pthread_t *ret_thread, void *(*function)(void *), void *argument)
{
    sigset_t mask, before;
    pthread_attr_t attributes;
    int error;

    sigfillset(&mask);
    sigdelset(&mask, interrupt_signal);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    pthread_sigmask(SIG_SETMASK, &mask, &before);
    error = pthread_create(ret_thread, &attributes, function, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -error;
}

int sys_thread_start(struct sys *sys, pthread_t *ret_thread, void *(*function)(void *), void *argument)
{
    int error = sys_begin(sys, SYS_THREAD, NULL);

    return error ? error : start(ret_thread, function, argument);
}

void sys_thread_join(struct sys *sys, pthread_t thread)
{
    sys->calls++;
    pthread_join(thread, NULL);
}

void sys_thread_interrupt(struct sys *sys, pthread_t thread)
{
    sys->calls++;
    pthread_kill(thread, interrupt_signal);
}

/* As the kernel has it (sched_setattr(2)); what C libraries call it differs. */
struct scheduling {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t slice_ns, deadline_ns, period_ns;
};

/* Who wakes up goes before one with a longer slice, which is 3 ms at most unless asked for. Other policies have none. */
static void ask_for_slice(uint64_t slice_ns)
{
    struct scheduling now = {0};

    if (raw_call(SYS_sched_getattr, 0, (long)&now, sizeof(now), 0, 0, 0) < 0 ||
        (now.policy != SCHED_OTHER && now.policy != SCHED_BATCH))
        return;
    now.slice_ns = slice_ns;
    raw_call(SYS_sched_setattr, 0, (long)&now, 0, 0, 0, 0);
}

void sys_thread_give_way(void)
{
    ask_for_slice(10 * PROA_MILLISECOND_NS);
}

void sys_thread_give_way_no_more(void)
{
    ask_for_slice(0);
}

void sys_semaphore_post(struct sys *sys, sem_t *semaphore)
{
    sys->calls++;
    sem_post(semaphore);
}

void sys_semaphore_wait(struct sys *sys, sem_t *semaphore)
{
    do
        sys->calls++;
    while (sem_wait(semaphore) < 0);
}

/* Threads that make blocking calls, and a signal that gets them out again.
 *
 * A signal that comes just before a call blocks interrupts nothing: whoever wants a thread out repeats it until the
 * thread says that it is. The handler does nothing; that the call ends with EINTR is all it is for. */
#ifndef PROA_THREAD_H
#define PROA_THREAD_H

#include <pthread.h>
#include <semaphore.h>

#include "sys/sys.h"

/* Takes the first real-time signal that nobody handles, for the whole process and for good. Returns 0, or -EBUSY where
 * there is none. To be called before the others. */
int sys_interrupt_begin(void);

/* Starts a thread that has every signal but that one blocked. Returns 0 or a negative errno. */
int sys_thread_start(struct sys *sys, pthread_t *ret_thread, void *(*function)(void *), void *argument);
void sys_thread_join(struct sys *sys, pthread_t thread);
void sys_thread_interrupt(struct sys *sys, pthread_t thread);

/* Has the calling thread let others of its process go first when they wake up. It has no less of the processor for it, but
 * has it later and longer at a time. Where the kernel knows no such wish (before 6.12), nothing happens. */
void sys_thread_give_way(void);

/* As before. A child inherits the wish. Makes its calls by hand, so that one on our memory may use it. */
void sys_thread_give_way_no_more(void);

void sys_semaphore_post(struct sys *sys, sem_t *semaphore);
void sys_semaphore_wait(struct sys *sys, sem_t *semaphore);

#endif

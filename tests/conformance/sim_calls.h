/* Tests on a simulated machine: what is another's there than on the host. */
#ifndef TESTS_CONFORMANCE_SIM_CALLS_H
#define TESTS_CONFORMANCE_SIM_CALLS_H

#include "harness.h"

/* Puts the calling thread into a machine, until the program ends. */
void sim_begin(void);

/* For calls that must be the host's. */
void sim_step_out(void);
void sim_step_in(void);

/* Each says so where the calling thread is in no machine: by 0, false and -1. */
uint64_t sim_now_ns(void);
bool sim_sleep_until(uint64_t time_ns);
int sim_fd_count(void);

/* While it is slow, the disk and the pool take at least some seconds for what they begin; a sleep is as long as the most. */
void sim_slow_disk(bool slow);
bool sim_sleep_over_slow_disk(void);

#endif

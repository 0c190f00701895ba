/* Timers, on the loop's monotonic clock. Never early; in order of time, then of start. */
#ifndef PROA_TIME_H
#define PROA_TIME_H

#include "op.h"

PROA_BEGIN

#define PROA_MICROSECOND_NS UINT64_C(1000)
#define PROA_MILLISECOND_NS UINT64_C(1000000)
#define PROA_SECOND_NS UINT64_C(1000000000)

/* Completes once proa_now() has reached `when_ns`. value: 0. */
PROA_API void proa_timer(proa_loop *loop, proa_op *op, uint64_t when_ns, proa_callback *callback);

/* Completes, with PROA_MORE, at `first_ns` and every `interval_ns` (not 0) from there, drifting never.
 * value: how many intervals have passed since the last completion, 1 unless the loop was late. */
PROA_API void proa_timer_repeat(proa_loop *loop, proa_op *op, uint64_t first_ns, uint64_t interval_ns,
                                proa_callback *callback);

PROA_END

#endif

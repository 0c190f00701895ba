/* Events from elsewhere: foreign descriptors, signals, functions that run on other threads. */
#ifndef PROA_EVENT_H
#define PROA_EVENT_H

#include <poll.h>

#include "op.h"

PROA_BEGIN

/* Waits until `fd` is ready for any of `events` (POLLIN, POLLOUT, ... of poll(2)). value: what it is ready for. */
PROA_API void proa_poll(proa_loop *loop, proa_op *op, proa_fd fd, unsigned events, proa_callback *callback);

/* Takes a signal, repeating: each arrival is a completion with PROA_MORE. The signal is blocked for the calling
 * thread from start to final completion; block it in all others. value: the signal's number. */
PROA_API void proa_signal(proa_loop *loop, proa_op *op, int signal_number, proa_callback *callback);

typedef int64_t proa_work_function(proa_op *op);

/* Runs `function` on a thread of the loop's pool. A cancel takes it back while it waits for a thread.
 * value: what it returned. */
PROA_API void proa_work(proa_loop *loop, proa_op *op, proa_work_function *function, proa_callback *callback);

PROA_END

#endif

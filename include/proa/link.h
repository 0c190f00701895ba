/* Links: ops that run strictly one after the other, started together and without a callback in between having to. */
#ifndef PROA_LINK_H
#define PROA_LINK_H

#include "op.h"

PROA_BEGIN

/* From begin to end, which belong into one callback or between two runs of the loop, every op that is started on the loop
 * is linked behind the one started before it: its turn comes once that one has completed with success, after its callback.
 * The first failure (a negative value; of proa_read(), proa_write() and the like also fewer bytes than asked for) completes all ops
 * behind it with -ECANCELED, in order. One that ends before its turn (cancel, deadline, its descriptor closed) takes those
 * behind it along and lets those before it go on. Posts are never linked. What an op names has to stay until its
 * completion, addresses included. */
PROA_API void proa_link_begin(proa_loop *loop);
PROA_API void proa_link_end(proa_loop *loop);

/* In a link: the descriptor of the op before, the one that it completed with (open, accept, connect, listen), or else the
 * one it was started on. Behind an op that has none (a timer, work) or a close it is none, too: EBADF. */
#define PROA_LINKED proa_fd_of(-2)

PROA_END

#endif

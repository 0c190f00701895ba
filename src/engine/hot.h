/* Hot reads: what lies in the page cache is read at once, while the op starts, without a trip to a thread or through the
 * ring (preadv2(2) with RWF_NOWAIT). Its callback still comes from the loop. */
#ifndef PROA_HOT_H
#define PROA_HOT_H

#include "engine/engine.h"

/* Tries a read at an offset. Returns 1 where it is settled; 0 where it is to go the usual way, untouched. */
int hot_read(struct engine_host *host, proa_op *op);

/* Whether this turn has read so much that it is to end, and others have theirs. */
int hot_is_enough(const struct engine_host *host);

#endif

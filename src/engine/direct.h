/* Files that bypass the page cache (O_DIRECT, open(2)): which ones do, and how their reads and writes must be aligned. */
#ifndef PROA_DIRECT_H
#define PROA_DIRECT_H

#include "engine/engine.h"

/* Asked of the kernel once per descriptor, so that O_DIRECT set later by fcntl(2) is not seen before it is idle. */
int direct_bypasses_cache(struct engine_host *host, int fd);

/* Whether memory, size and offset of a read or write are as such a file needs them. If not, host->refusal says how. */
int direct_is_aligned(struct engine_host *host, const proa_op *op);

#endif

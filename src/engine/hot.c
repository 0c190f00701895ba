#include "engine/hot.h"

#include <errno.h>

#include "engine/direct.h"

/* HOT_MAX: the copying of more is worth a thread of its own. HOT_PER_TURN: what one turn of the loop may read in this way,
 * about a ms, before others have theirs. HOT_ENOUGH: after so much the turn ends, and what it would start next is tried in
 * the following one; the rest is for the callbacks that are due already. MISSES_MAX: after so many misses in a row of one
 * file, one read in so many tries. */
enum { HOT_MAX = 64 << 10, HOT_PER_TURN = 4 << 20, HOT_ENOUGH = HOT_PER_TURN / 2, MISSES_MAX = 32 };

/* A miss makes the next tries rarer: after the Nth in a row N reads go by without. */
static int is_worth_trying(struct engine_host *host, const proa_op *op)
{
    struct file_facts *file = &host->descriptors[op->fd].file;

    if (op->size > HOT_MAX || op->moved > INT64_MAX || host->hot_read > HOT_PER_TURN || sys_is_special(&host->sys))
        return 0;
    if (host->descriptors[op->fd].flags & FD_DATAGRAM)
        return 0;
    if (file->passes > 0) {
        file->passes--;
        return 0;
    }
    return !direct_bypasses_cache(host, op->fd);
}

static void note_miss(struct file_facts *file)
{
    file->misses += file->misses < MISSES_MAX;
    file->passes = file->misses;
}

/* Fewer bytes than asked for are the end of the file, or all that the cache has: reading on tells. */
static int is_all(struct engine_host *host, const proa_op *op, int64_t got)
{
    uint8_t byte;

    return got == (int64_t)op->size || got == 0 ||
           sys_read_cached(&host->sys, op->fd, &byte, sizeof(byte), op->moved + (uint64_t)got) == 0;
}

int hot_read(struct engine_host *host, proa_op *op)
{
    int64_t got;

    if (!is_worth_trying(host, op))
        return 0;
    got = sys_read_cached(&host->sys, op->fd, op->data, op->size, op->moved);
    if (unlikely(got < 0 || !is_all(host, op, got))) {
        note_miss(&host->descriptors[op->fd].file);
        return 0;
    }
    host->descriptors[op->fd].file.misses = 0;
    host->hot_read += (uint32_t)got;
    op_done(host, op, got);
    return 1;
}

int hot_is_enough(const struct engine_host *host)
{
    return host->hot_read >= HOT_ENOUGH;
}

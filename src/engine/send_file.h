/* Sends of files, in steps: each is one call that waits neither for room nor for the disk.
 *
 * Three movers take them along. sendfile(2) has the kernel send its own pages, nothing is copied; but it waits for those
 * that are not in memory. So they are asked for before each step, and what is missing is read beforehand by a thread.
 * Splicing does the same in two calls, through a pipe of the loop's, which holds more than the one inside sendfile(2). What
 * the socket does not take is thrown away with the pipe: nothing ever stays in it between two steps, so that one is enough
 * for all sends, and none can get what is another's. Who is sent to so slowly goes on by sendfile(2). Copying reads into a
 * buffer of the loop's and sends from there: for what the others cannot do.
 *
 * What a step lacks, pages or a full buffer, is FETCH_NEEDED to whoever has asked for it; the loop has it fetched
 * (loop/fetch.c) and starts the op again.
 *
 *               fd        other_fd   offset             size     moved      choice
 *   send_file   socket    file       of its first byte  in all   sent so far  SEND_..., its fetch's place << 8 */
#ifndef PROA_SEND_FILE_H
#define PROA_SEND_FILE_H

#include "engine/engine.h"

/* No errno, and no count. */
enum { FETCH_NEEDED = INT32_MIN };

/* FETCH_SIZE: of a buffer. SEND_STEP: what one step of sendfile(2) moves at most, and what is fetched for it. */
enum { FETCH_COUNT = 32, FETCH_SIZE = 256 << 10, SEND_STEP = 1 << 20, FINDINGS = 16 };

enum send_file_choice {
    SEND_BY_COPY = 1 << 0,   /* else by the kernel alone: sendfile(2) where nothing else is said */
    SEND_WARMED = 1 << 1,    /* what the next step needs has just been fetched */
    SEND_UNCACHED = 1 << 2,  /* the file is read past the page cache (O_DIRECT): always waits for the disk */
    SEND_BY_SPLICE = 1 << 3, /* while the socket takes steps whole */
    SEND_SLOWLY = 1 << 4,    /* it has not taken the latest */
};

/* What a thread reads for a send, or has read; idle while it has no op. */
struct fetch {
    proa_op job;   /* on the pool; what it is for may end before it does */
    proa_op *op;   /* the send */
    uint8_t *data; /* copying: FETCH_SIZE bytes, */
    size_t size;   /* of which so many are the file's */
    uint64_t from; /* from here on */
    int ended;     /* there was nothing of what was wanted */
    int busy;      /* with the engine, which sends from it */
    int tried;     /* what it has was offered to its socket */
    int pooled;    /* its job is the pool's */
};

/* A part of a file that was in memory when it was asked for in that turn of the loop. */
struct finding {
    uint64_t turn, from, end;
    int32_t file;
};

struct fetches {
    proa_op *waiting_first, *waiting_last; /* sends that wait for one, chained by `link.previous` */
    unsigned running;                      /* jobs, */
    unsigned pooled, pooled_max;           /* of which so many have a thread of the pool, or may; */
    struct op_list jobs;                   /* and those that are still to have theirs */
    uint8_t *memory;
    uint64_t turn; /* of the loop */
    struct finding findings[FINDINGS];
    int pipe[2];      /* for splicing, empty between two steps; the size is 0 while there is none */
    size_t pipe_size; /* what one step may put into it */
    struct fetch all[FETCH_COUNT];
};

/* The fetch that belongs to the op, or null. */
static inline struct fetch *fetch_of(const struct engine_host *host, const proa_op *op)
{
    unsigned place = op->choice >> 8;

    ASSERT(host->fetches);
    return place ? &host->fetches->all[place - 1] : NULL;
}

/* Makes one step. Returns how many bytes were taken, 0 where the file ends, FETCH_NEEDED, or a negative errno. `sys` is the
 * calling thread's. */
int64_t send_file_some(struct sys *sys, struct engine_host *host, proa_op *op);

/* The same on a thread of the op's own, which may wait for the disk: it never needs a fetch. */
int64_t send_file_by_thread(struct sys *sys, const struct engine_host *host, const proa_op *op);

/* As much as one step asks for. */
size_t send_file_step(const struct engine_host *host, const proa_op *op);

/* What copying sends next. Without any, `*ret_size` is 0, and the result that of send_file_some(). */
int64_t send_file_piece(const struct engine_host *host, const proa_op *op, const uint8_t **ret_data, size_t *ret_size);

/* The pipe, where there is one. */
void send_file_close_pipe(struct engine_host *host);

/* The job of a fetch for sendfile(2), on a thread: waits until the pages are there. Returns 0 or a negative errno. */
int64_t send_file_warm(struct sys *sys, const proa_op *job);

/* What was sent with the promise of more goes out now, without waiting for it. A cork of the caller's own stays. */
void send_file_uncork(struct sys *sys, int socket);

#endif

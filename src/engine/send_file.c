#include "engine/send_file.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

/* FLIGHT_MIN: of so many bytes some segments, the largest of which are loopback's with 64 KiB, are on their way, and are
 * acknowledged at once. LOOK_EVERY: pages this close to each other come from the disk together, or nearly so. */
enum { FLIGHT_MIN = 256 << 10, LOOK_EVERY = 64 << 10, PAGE_SIZE_MIN = 4096 };

static uint64_t position(const proa_op *op)
{
    return op->offset + op->moved;
}

static size_t least(uint64_t left, size_t size_max)
{
    return left < size_max ? (size_t)left : size_max;
}

/* A page each place of the pipe: whole ones fill it whole. */
static size_t splice_step(const struct engine_host *host, const proa_op *op)
{
    return least(op->size - op->moved, host->fetches->pipe_size - position(op) % PAGE_SIZE_MIN);
}

static int is_spliced(const struct engine_host *host, const proa_op *op)
{
    return (op->choice & (SEND_BY_SPLICE | SEND_SLOWLY | SEND_BY_COPY)) == SEND_BY_SPLICE && !host->sys.blocking;
}

size_t send_file_step(const struct engine_host *host, const proa_op *op)
{
    const uint8_t *data;
    size_t size;

    if (!(op->choice & SEND_BY_COPY))
        return is_spliced(host, op) && host->fetches->pipe_size > 0 ? splice_step(host, op)
                                                                    : least(op->size - op->moved, SEND_STEP);
    send_file_piece(host, op, &data, &size);
    return size;
}

void send_file_uncork(struct sys *sys, int socket)
{
    int corked = 0;

    if (sys_getsockopt(sys, socket, IPPROTO_TCP, TCP_CORK, &corked) == 0 && !corked)
        sys_setsockopt(sys, socket, IPPROTO_TCP, TCP_CORK, 0);
}

/* By copying */

int64_t send_file_piece(const struct engine_host *host, const proa_op *op, const uint8_t **ret_data, size_t *ret_size)
{
    struct fetch *fetch = fetch_of(host, op);
    uint64_t at = position(op);

    *ret_size = 0;
    if (op->size == 0)
        return 0;
    if (!fetch || at < fetch->from || at >= fetch->from + fetch->size)
        return fetch && fetch->ended ? 0 : FETCH_NEEDED;
    fetch->tried = 1;
    *ret_data = fetch->data + (at - fetch->from);
    *ret_size = least(op->size - op->moved, (size_t)(fetch->from + fetch->size - at));
    return 0;
}

static int64_t copy_some(struct sys *sys, const struct engine_host *host, const proa_op *op)
{
    const uint8_t *data;
    size_t size;
    int64_t result = send_file_piece(host, op, &data, &size);

    return size > 0 ? sys_send(sys, op->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL) : result;
}

/* By the kernel alone */

/* Many sends of one file in one turn ask once: of 100 KiB, asking each time took a tenth of what the send does. That the
 * number becomes another file's within the turn does no harm but a wait. */
static int is_in_memory(struct sys *sys, struct fetches *fetches, const proa_op *op, size_t size)
{
    struct finding *finding = &fetches->findings[(unsigned)op->other_fd % FINDINGS];
    uint64_t from = position(op), end = from + size;

    if (finding->turn == fetches->turn && finding->file == op->other_fd && finding->from <= from && finding->end >= end)
        return 1;
    if (!sys_is_resident(sys, op->other_fd, from, size))
        return 0;
    *finding = (struct finding){.turn = fetches->turn, .from = from, .end = end, .file = op->other_fd};
    return 1;
}

static int is_there(struct sys *sys, const struct engine_host *host, const proa_op *op, size_t step)
{
    return op->choice & SEND_WARMED || host->sys.blocking || step == 0 || is_in_memory(sys, host->fetches, op, step);
}

/* What the call could not take whole it has sent with the promise of more (6.18), and a part of a segment waits for that.
 * Alone on the way, or with one segment before it, nothing is acknowledged for up to 200 ms. */
static int64_t concluded(struct sys *sys, const proa_op *op, int64_t taken, size_t step)
{
    if (taken > 0 && (size_t)taken < step && taken < FLIGHT_MIN)
        send_file_uncork(sys, op->fd);
    /* Beyond what the file system can hold there is nothing. */
    return taken == -EOVERFLOW ? 0 : taken;
}

/* By splicing */

static int open_pipe(struct sys *sys, struct fetches *fetches)
{
    int size, error;

    if (fetches->pipe_size > 0)
        return 0;
    error = sys_pipe(sys, fetches->pipe);
    if (error < 0)
        return error;
    size = sys_pipe_resize(sys, fetches->pipe[1], SEND_STEP);
    fetches->pipe_size = size > PAGE_SIZE_MIN ? (size_t)size : PAGE_SIZE_MIN;
    return 0;
}

void send_file_close_pipe(struct engine_host *host)
{
    struct fetches *fetches = host->fetches;

    if (fetches->pipe_size == 0)
        return;
    sys_close(&host->sys, fetches->pipe[0]);
    sys_close(&host->sys, fetches->pipe[1]);
    fetches->pipe_size = 0;
}

/* What the socket does not take is thrown away. */
static int64_t pass_through_pipe(struct sys *sys, struct engine_host *host, proa_op *op, size_t size)
{
    uint64_t from = position(op), pipe = UINT64_MAX, socket = UINT64_MAX;
    const struct fetches *fetches = host->fetches;
    int64_t filled = sys_splice(sys, op->other_fd, &from, fetches->pipe[1], &pipe, size), taken;

    if (filled <= 0)
        return filled;
    taken = sys_splice(sys, fetches->pipe[0], &pipe, op->fd, &socket, (size_t)filled);
    host->meters.bytes_spliced += taken > 0 ? (uint64_t)taken : 0;
    if (taken == filled)
        return taken;
    send_file_close_pipe(host);
    op->choice |= SEND_SLOWLY;
    return taken == 0 ? -EIO : taken;
}

static int64_t splice_some(struct sys *sys, struct engine_host *host, proa_op *op)
{
    size_t step = send_file_step(host, op);

    return is_there(sys, host, op, step) ? concluded(sys, op, pass_through_pipe(sys, host, op, step), step)
                                         : FETCH_NEEDED;
}

/* By sendfile(2) */

static int64_t pass_some(struct sys *sys, const struct engine_host *host, const proa_op *op)
{
    size_t step = send_file_step(host, op);

    return is_there(sys, host, op, step)
               ? concluded(sys, op, sys_sendfile(sys, op->fd, op->other_fd, position(op), step), step)
               : FETCH_NEEDED;
}

int64_t send_file_some(struct sys *sys, struct engine_host *host, proa_op *op)
{
    int64_t taken;

    if (op->choice & SEND_BY_COPY)
        return copy_some(sys, host, op);
    if (is_spliced(host, op) && open_pipe(sys, host->fetches) == 0)
        taken = splice_some(sys, host, op);
    else
        taken = pass_some(sys, host, op);
    if (taken == SEND_STEP)
        op->choice &= (uint16_t)~SEND_SLOWLY;
    op->choice &= (uint16_t)~SEND_WARMED;
    if (taken != -EINVAL)
        return taken;
    op->choice |= SEND_BY_COPY;
    return FETCH_NEEDED;
}

static int64_t copy_by_thread(struct sys *sys, const proa_op *op)
{
    _Alignas(4096) uint8_t data[64 << 10];
    uint64_t at = position(op), from = at & ~(uint64_t)(4096 - 1);
    int64_t got = op->size > 0 ? sys_read(sys, op->other_fd, data, sizeof(data), from) : 0;

    /* A short read is no end of the file yet. */
    if (got > 0 && from + (uint64_t)got <= at && !(op->choice & SEND_UNCACHED)) {
        from = at;
        got = sys_read(sys, op->other_fd, data, sizeof(data), from);
    }
    if (got < 0 || from + (uint64_t)got <= at)
        return got < 0 ? got : 0;
    return sys_send(sys, op->fd, data + (at - from), least(op->size - op->moved, (size_t)(from + (uint64_t)got - at)),
                    MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* The op's own fields are the loop's thread's to write. */
int64_t send_file_by_thread(struct sys *sys, const struct engine_host *host, const proa_op *op)
{
    int64_t taken = op->choice & SEND_BY_COPY ? -EINVAL : pass_some(sys, host, op);

    return taken == -EINVAL ? copy_by_thread(sys, op) : taken;
}

/* readahead(2) asks the disk for all of it at once, and for no more; a byte here and there waits until it is there. */
int64_t send_file_warm(struct sys *sys, const proa_op *job)
{
    ssize_t got = 1;
    char byte;

    sys_readahead(sys, job->fd, job->moved, job->size);
    for (uint64_t done = 0; got > 0 && done < job->size; done += LOOK_EVERY)
        got = sys_read(sys, job->fd, &byte, 1, job->moved + least(job->size - 1, (size_t)done + LOOK_EVERY - 1));
    return got < 0 ? got : 0;
}

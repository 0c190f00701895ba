#include "sys/aio.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>

/* libaio returns negative errnos as they are. */

int sys_io_setup(struct sys *sys, unsigned count, io_context_t *ret_context)
{
    int error = sys_begin(sys, SYS_IO_SETUP, NULL);

    *ret_context = NULL;
    return error ? error : io_setup((int)count, ret_context);
}

void sys_io_destroy(struct sys *sys, io_context_t context)
{
    sys->calls++;
    io_destroy(context);
}

int sys_io_submit(struct sys *sys, io_context_t context, unsigned count, struct iocb **blocks)
{
    int error = sys_begin(sys, SYS_IO_SUBMIT, NULL);

    return error ? error : io_submit(context, count, blocks);
}

int sys_io_getevents(struct sys *sys, io_context_t context, unsigned count, struct io_event *events)
{
    struct timespec now = {0};

    sys->calls++;
    return io_getevents(context, 0, count, events, &now);
}

/* glibc sets errno. */

static int begun(struct sys *sys, int result)
{
    sys->calls++;
    return result < 0 ? -errno : 0;
}

int sys_aio_read(struct sys *sys, struct aiocb *block)
{
    return begun(sys, aio_read(block));
}

int sys_aio_write(struct sys *sys, struct aiocb *block)
{
    return begun(sys, aio_write(block));
}

int sys_aio_fsync(struct sys *sys, int data_only, struct aiocb *block)
{
    return begun(sys, aio_fsync(data_only ? O_DSYNC : O_SYNC, block));
}

int64_t sys_aio_result(struct aiocb *block)
{
    int error = aio_error(block);

    return error ? -error : aio_return(block);
}

void sys_aio_suspend(struct sys *sys, const struct aiocb *const blocks[], unsigned count, uint64_t timeout_ns)
{
    struct timespec timeout = {(time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000)};

    sys->calls++;
    aio_suspend(blocks, (int)count, &timeout);
}

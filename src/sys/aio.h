/* Asynchronous file I/O older than io_uring: the kernel's by libaio (io_setup(2)), and that of POSIX, which glibc does with
 * threads of its own (aio(7)). One shim each, as in sys.h. */
#ifndef PROA_AIO_H
#define PROA_AIO_H

#include <aio.h>
#include <libaio.h>

#include "sys/sys.h"

int sys_io_setup(struct sys *sys, unsigned count, io_context_t *ret_context);
void sys_io_destroy(struct sys *sys, io_context_t context);

/* Returns how many of them the kernel took, in order; a negative errno is the first one's. */
int sys_io_submit(struct sys *sys, io_context_t context, unsigned count, struct iocb **blocks);

/* Those that are done, without waiting. Returns how many. */
int sys_io_getevents(struct sys *sys, io_context_t context, unsigned count, struct io_event *events);

/* The fault plan, which knows reads, writes and syncs, is the caller's to ask (sys_ring_fault()). */
int sys_aio_read(struct sys *sys, struct aiocb *block);
int sys_aio_write(struct sys *sys, struct aiocb *block);
int sys_aio_fsync(struct sys *sys, int data_only, struct aiocb *block);

/* EINPROGRESS negated until it is over; then its value, or a negative errno. */
int64_t sys_aio_result(struct aiocb *block);

/* Returns when one of them is over, or a signal came, or after `timeout_ns`. */
void sys_aio_suspend(struct sys *sys, const struct aiocb *const blocks[], unsigned count, uint64_t timeout_ns);

#endif

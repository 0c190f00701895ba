/* A kernel in memory, with the shape of system calls.
 *
 * Each call returns a value or a negative errno, as Linux would, and none ever blocks: what has to wait is -EAGAIN, whatever
 * the descriptor's flags. A thread that has to wait calls machine_wait(). All programs of a machine share its descriptors,
 * lowest free number first, from MACHINE_FIRST_DESCRIPTOR on, as threads of one process would. A program that runs has
 * the machine to itself; threads outside of it may make calls at any time. */
#ifndef PROA_MACHINE_H
#define PROA_MACHINE_H

#include <poll.h>
#include <proa/sim.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/types.h>

struct open_how;
struct iovec;
struct statx;

enum { MACHINE_FIRST_DESCRIPTOR = 3, MACHINE_PIPE_ROOM = 65536 };

/* Sockets. `type` may hold SOCK_NONBLOCK and SOCK_CLOEXEC. */
int machine_socket(proa_sim *machine, int family, int type);
int machine_socketpair(proa_sim *machine, int family, int type, int ret_pair[2]);
int machine_bind(proa_sim *machine, int fd, const struct sockaddr *address, socklen_t size);
int machine_listen(proa_sim *machine, int fd, int backlog);
int machine_accept(proa_sim *machine, int fd);
int machine_connect(proa_sim *machine, int fd, const struct sockaddr *address, socklen_t size);
int machine_getsockopt(proa_sim *machine, int fd, int level, int name, void *value, socklen_t *size);
int machine_setsockopt(proa_sim *machine, int fd, int level, int name, const void *value, socklen_t size);
int machine_getsockname(proa_sim *machine, int fd, struct sockaddr *address, socklen_t *size);
int machine_getpeername(proa_sim *machine, int fd, struct sockaddr *address, socklen_t *size);
ssize_t machine_recv(proa_sim *machine, int fd, void *data, size_t size, int flags);
ssize_t machine_send(proa_sim *machine, int fd, const void *data, size_t size, int flags);
ssize_t machine_recvmsg(proa_sim *machine, int fd, struct msghdr *message, int flags);
ssize_t machine_sendmsg(proa_sim *machine, int fd, const struct msghdr *message, int flags);
ssize_t machine_sendfile(proa_sim *machine, int fd, int file, uint64_t offset, size_t size);
int machine_shutdown(proa_sim *machine, int fd, int how);

/* Files. `offset` UINT64_MAX: at the file's own position. */
int machine_open(proa_sim *machine, int directory, const char *path, const struct open_how *how);
ssize_t machine_read(proa_sim *machine, int fd, void *data, size_t size, uint64_t offset);
ssize_t machine_write(proa_sim *machine, int fd, const void *data, size_t size, uint64_t offset);
int64_t machine_seek(proa_sim *machine, int fd, int64_t offset, int whence);
int machine_fsync(proa_sim *machine, int fd);
int machine_statx(proa_sim *machine, int fd, const char *path, int flags, struct statx *ret_stat);
ssize_t machine_readv(proa_sim *machine, int fd, const struct iovec *pieces, int count, uint64_t offset);
ssize_t machine_writev(proa_sim *machine, int fd, const struct iovec *pieces, int count, uint64_t offset);
int machine_truncate(proa_sim *machine, int fd, int64_t size);
int machine_allocate_file(proa_sim *machine, int fd, unsigned mode, int64_t offset, int64_t size);

/* Names. */
int machine_mkdir(proa_sim *machine, int directory, const char *path, mode_t mode);
int machine_unlink(proa_sim *machine, int directory, const char *path, int flags);
int machine_rename(proa_sim *machine, int from_directory, const char *from, int to_directory, const char *to,
                   unsigned flags);
int machine_link(proa_sim *machine, int from_directory, const char *from, int to_directory, const char *to, int flags);
int machine_symlink(proa_sim *machine, const char *target, int directory, const char *path);
ssize_t machine_readlink(proa_sim *machine, int directory, const char *path, char *target, size_t size);
ssize_t machine_getdents(proa_sim *machine, int fd, void *buffer, size_t size);

/* The rest. */
int machine_close(proa_sim *machine, int fd);
int machine_dup(proa_sim *machine, int fd, int lowest);
int machine_pipe(proa_sim *machine, int ret_ends[2]);
/* An offset of UINT64_MAX: at the file's own position; any other is moved on. */
ssize_t machine_splice(proa_sim *machine, int in, uint64_t *in_offset, int out, uint64_t *out_offset, size_t size);
ssize_t machine_tee(proa_sim *machine, int in, int out, size_t size);
ssize_t machine_vmsplice(proa_sim *machine, int pipe, const void *data, size_t size);
int machine_eventfd(proa_sim *machine);
int machine_signalfd(proa_sim *machine, const sigset_t *mask);
int machine_poll(proa_sim *machine, int fd, unsigned events);

/* What it may be used for: O_RDONLY of a pipe's reading end, O_WRONLY of the other; all else is O_RDWR, or -EBADF. */
int machine_access(proa_sim *machine, int fd);
uint64_t machine_now_ns(proa_sim *machine);
uint32_t machine_descriptor_limit(const proa_sim *machine);

/* RLIMIT_NOFILE: from now on no number from `limit` on is given. It is at most machine_descriptor_limit(). */
void machine_limit_descriptors(proa_sim *machine, uint32_t limit);

/* Whether a descriptor can be watched: 0, -EBADF, or -EPERM for one that is always ready, as epoll_ctl(2) has it. The serial
 * tells it from all others that ever had its number. */
int machine_watchable(proa_sim *machine, int fd, uint64_t *ret_serial);

/* The machine the calling thread is in, or null; and the same but for one that it has by machine_use() alone. */
proa_sim *machine_here(void);
proa_sim *machine_entered(void);

/* For whoever needs a machine, entered or not: a thread outside of any gets one of its own, seeded by $PROA_SIM_SEED, until
 * the last of its users is gone. Returns 0 or a negative errno. */
int machine_use(uint32_t descriptor_limit, proa_sim **ret_machine);
void machine_unuse(void);

/* What a program waits for. It is asked while the machine stands still, from any thread, and may call machine_peek() and
 * nothing else. */
typedef int machine_condition(proa_sim *machine, void *context);

/* The events that the open file `serial` has, or 0 where the number is another's by now. From a condition alone. */
unsigned machine_peek(proa_sim *machine, int fd, uint64_t serial);

/* Gives other programs their turn until the condition holds, or `until_ns` (UINT64_MAX: no limit). Returns 1, 0, or -EDEADLK
 * where neither can ever be. */
int machine_wait(proa_sim *machine, machine_condition *condition, void *context, uint64_t until_ns);

/* Draws for the engine: a number below `limit`, or whether a chance comes true. */
uint64_t machine_draw(proa_sim *machine, uint64_t limit);
int machine_late_report(proa_sim *machine);
uint64_t machine_disk_latency(proa_sim *machine);
int machine_is_cold(proa_sim *machine);
uint32_t machine_disk_queue(const proa_sim *machine);

#endif

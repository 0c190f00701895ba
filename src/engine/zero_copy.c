#include "engine/zero_copy.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

int zero_copy_is_refused(int64_t value)
{
    return value == -EINVAL || value == -EOPNOTSUPP || value == -EFAULT || value == -ENOBUFS || value == -ENOMEM;
}

void zero_copy_taken(struct engine_host *host, proa_op *op)
{
    ASSERT(op->choice < UINT16_MAX);
    op->choice++;
    host->descriptors[op->fd].flags |= FD_NOTICES;
}

void zero_copy_noticed(struct engine_host *host, proa_op *op, unsigned count, int copied)
{
    op->choice = (uint16_t)(op->choice - (count < op->choice ? count : op->choice));
    if (copied)
        op->flags |= OP_COPIED;
    if (op->choice == 0 && !(op->flags & OP_AWAITING))
        notices_update(host, op->fd);
}

void zero_copy_over(struct engine_host *host, proa_op *op, int64_t error)
{
    if (op->choice == 0) {
        op_done(host, op, error ? error : (int64_t)op->size);
        return;
    }
    op_detach(host, op);
    op->error = (int32_t)error;
    list_append(&host->notices[op->fd].awaiting, op);
    op->flags |= OP_AWAITING;
}

void send_cancelled(struct engine_host *host, proa_op *op)
{
    if (op->kind == OP_SEND_ZERO_COPY)
        zero_copy_over(host, op, -ECANCELED);
    else
        op_done(host, op, -ECANCELED);
}

/* A socket of our own has made no such call before. One from elsewhere may have, even by this number, and then only what is
 * counted here can be told from it. */
static int begins_to_count(struct engine_host *host, struct descriptor *descriptor, int fd)
{
    struct notices *notices = &host->notices[fd];
    uint64_t cookie = 0;
    int on = 0;

    if (!(descriptor->flags & FD_OURS)) {
        if (sys_getsockopt(&host->sys, fd, SOL_SOCKET, SO_ZEROCOPY, &on) < 0 ||
            sys_socket_cookie(&host->sys, fd, &cookie) < 0 || (on && notices->cookie != cookie))
            return 0;
    }
    if (!on)
        notices->calls = 0;
    notices->cookie = cookie;
    return on || sys_setsockopt(&host->sys, fd, SOL_SOCKET, SO_ZEROCOPY, 1) == 0;
}

static int can_refer(struct engine_host *host, const proa_op *op)
{
    struct descriptor *descriptor = &host->descriptors[op->fd];

    if (op->flags & OP_BY_VALUE || op->choice == UINT16_MAX)
        return 0;
    if (!(descriptor->flags & FD_NOTICED) && begins_to_count(host, descriptor, op->fd))
        descriptor->flags |= FD_NOTICED;
    return descriptor->flags & FD_NOTICED;
}

int64_t zero_copy_try(struct engine_host *host, proa_op *op)
{
    struct notices *notices = &host->notices[op->fd];
    const uint8_t *data = (uint8_t *)op->data + op->moved;
    size_t size = op->size - op->moved;
    int64_t taken = -EINVAL;

    if (can_refer(host, op))
        taken = sys_send_zero_copy(&host->sys, op->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (zero_copy_is_refused(taken)) {
        op->flags |= OP_BY_VALUE;
        return sys_send(&host->sys, op->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    if (taken <= 0)
        return taken;
    if (op->choice == 0)
        op->other_fd = (int32_t)notices->calls;
    notices->calls++;
    zero_copy_taken(host, op);
    return taken;
}

/* The numbers of an op's calls go from its first to before `end`, the first of the next op that awaits some. What was
 * noticed once is not again. */
static void deal(struct engine_host *host, proa_op *op, const struct sock_extended_err *report, uint32_t end)
{
    uint32_t first = (uint32_t)op->other_fd;
    int64_t low = (int32_t)(report->ee_info - first), high = (int32_t)(report->ee_data - first);

    if (low < 0)
        low = 0;
    if (high >= (int64_t)(end - first))
        high = (int64_t)(end - first) - 1;
    if (high < low)
        return;
    zero_copy_noticed(host, op, (unsigned)(high - low + 1), report->ee_code & SO_EE_CODE_ZEROCOPY_COPIED);
    if (op->flags & OP_AWAITING && op->choice == 0)
        op_done(host, op, zero_copy_value(op));
}

static void share_out(struct engine_host *host, int fd, const struct sock_extended_err *report)
{
    const struct notices *notices = &host->notices[fd];
    proa_op *sending = host->descriptors[fd].out.first, *next;

    if (sending && (sending->kind != OP_SEND_ZERO_COPY || sending->choice == 0))
        sending = NULL;
    for (proa_op *op = notices->awaiting.first; op; op = next) {
        const proa_op *behind = op->next ? op->next : sending;

        next = op->next;
        deal(host, op, report, behind ? (uint32_t)behind->other_fd : notices->calls);
    }
    if (sending)
        deal(host, sending, report, notices->calls);
}

/* The socket was closed behind our back: nothing will ever come. */
static void give_up(struct engine_host *host, int fd)
{
    uint32_t last = host->notices[fd].calls - 1;
    struct sock_extended_err all = {.ee_info = last - INT32_MAX / 2, .ee_data = last};

    share_out(host, fd, &all);
}

static void read_report(struct engine_host *host, int fd, struct msghdr *message)
{
    struct sock_extended_err report;

    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
        if (!(part->cmsg_level == SOL_IP && part->cmsg_type == IP_RECVERR) &&
            !(part->cmsg_level == SOL_IPV6 && part->cmsg_type == IPV6_RECVERR))
            continue;
        memcpy(&report, CMSG_DATA(part), sizeof(report));
        if (report.ee_errno == 0 && report.ee_origin == SO_EE_ORIGIN_ZEROCOPY)
            share_out(host, fd, &report);
    }
}

int zero_copy_collect(struct engine_host *host, int fd)
{
    _Alignas(struct cmsghdr) char control[256];
    int64_t result;

    for (int count = 0;; count++) {
        struct msghdr message = {.msg_control = control, .msg_controllen = sizeof(control)};

        do
            result = sys_recvmsg(&host->sys, fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT);
        while (result == -EINTR);
        if (result == -EBADF || result == -ENOTSOCK)
            give_up(host, fd);
        if (result < 0)
            return result == -EAGAIN ? count : (int)result;
        read_report(host, fd, &message);
    }
}

void zero_copy_reset(struct engine_host *host, int fd)
{
    static const struct sockaddr none = {.sa_family = AF_UNSPEC};

    sys_connect(&host->sys, fd, &none, sizeof(none));
}

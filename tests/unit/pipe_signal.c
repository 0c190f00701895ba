/* Splices and their kin raise no SIGPIPE, which would end this program; and one into a pipe of our own is a single call. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../check.h"
#include "sys/sys.h"

static const char text[] = "abc";

int main(void)
{
    FILE *file = tmpfile();
    struct sys sys = {0};
    uint64_t from = 0, here = UINT64_MAX, there = UINT64_MAX, calls;
    int pipe[2], deaf[2], pair[2];

    signal(SIGPIPE, SIG_DFL);
    if (!file || write(fileno(file), text, sizeof(text)) != sizeof(text) || sys_pipe(&sys, pipe) < 0 ||
        sys_pipe(&sys, deaf) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0) {
        perror("pipe_signal");
        return 1;
    }
    calls = sys.calls;
    CHECK(sys_splice_in(&sys, fileno(file), &from, pipe[1], sizeof(text)) == sizeof(text));
    CHECK(sys.calls == calls + 1 && from == sizeof(text));
    close(deaf[0]);
    CHECK(sys_tee(&sys, pipe[0], deaf[1], sizeof(text)) == -EPIPE);
    CHECK(sys_vmsplice(&sys, deaf[1], text, sizeof(text)) == -EPIPE);
    close(deaf[1]);
    close(pair[1]);
    CHECK(sys_splice(&sys, pipe[0], &here, pair[0], &there, sizeof(text)) == -EPIPE);
    close(pair[0]);
    close(pipe[0]);
    close(pipe[1]);
    fclose(file);
    return check_done("pipe_signal");
}

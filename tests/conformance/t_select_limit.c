/* Trap: select(2) with a descriptor at or above FD_SETSIZE writes past its sets. Whatever would have to be watched there is
 * refused with EMFILE and a sentence; what need not be works; and the numbers below are served up to the last. */
#include "harness.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/select.h>

enum { HIGH = FD_SETSIZE + 476 };

static proa_loop *loop;
static struct slot slot;

static bool refusal_names(int number)
{
    char digits[16], limit[32];
    const char *text = proa_loop_refusal(loop);

    snprintf(digits, sizeof(digits), "descriptor %d ", number);
    snprintf(limit, sizeof(limit), "below %d", FD_SETSIZE);
    return strstr(text, digits) && strstr(text, "FD_SETSIZE") && strstr(text, limit) && strstr(text, "now: ");
}

static void end_refused(int number)
{
    RUN_UNTIL(loop, slot.finals);
    if (!HOLDS(slot.value == -EMFILE) || !HOLDS(refusal_names(number)))
        fprintf(stderr, "    value %lld, \"%s\"\n", (long long)slot.value, proa_loop_refusal(loop));
    slot = (struct slot){0};
}

static int move_to(int fd, int number)
{
    REQUIRE(dup3(fd, number, O_CLOEXEC) == number);
    close_plain(fd);
    return number;
}

/* A pair of which one end has the first number that is too high. */
static proa_fd high_pair(int type, int *ret_far)
{
    int ends[2];

    REQUIRE(socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    *ret_far = ends[1];
    return proa_fd_of(move_to(ends[0], HIGH));
}

static void test_datagrams(void)
{
    proa_datagram datagram = {.data = "x", .size = 1}, received;
    proa_buffer_pool *pool;
    char data[8];
    proa_fd high;
    int far;

    REQUIRE(proa_buffer_pool_open(loop, 2, 512, &pool) == 0);
    high = high_pair(SOCK_DGRAM, &far);
    test_case("recv_from");
    proa_recv_from(loop, &slot.op, high, data, sizeof(data), &received, slot_done);
    end_refused(HIGH);
    test_case("recv_from_many");
    proa_recv_from_many(loop, &slot.op, high, pool, slot_done);
    end_refused(HIGH);
    test_case("send_to");
    proa_send_to(loop, &slot.op, high, &datagram, slot_done);
    end_refused(HIGH);
    close_now(loop, high);
    close_plain(far);
    proa_buffer_pool_close(pool);
}

static void test_sockets(void)
{
    proa_buffer_pool *pool;
    char data[8];
    proa_fd high;
    int far;

    REQUIRE(proa_buffer_pool_open(loop, 2, 64, &pool) == 0);
    high = high_pair(SOCK_STREAM, &far);
    test_case("recv");
    proa_recv(loop, &slot.op, high, data, sizeof(data), slot_done);
    end_refused(HIGH);
    test_case("recv_many");
    proa_recv_many(loop, &slot.op, high, pool, slot_done);
    end_refused(HIGH);
    test_case("send");
    proa_send(loop, &slot.op, high, "x", 1, slot_done);
    end_refused(HIGH);
    test_case("poll");
    proa_poll(loop, &slot.op, high, POLLIN, slot_done);
    end_refused(HIGH);
    test_case("what need not wait: shutdown, close");
    proa_shutdown(loop, &slot.op, high, SHUT_WR, slot_done);
    RUN_UNTIL(loop, slot.finals);
    HOLDS(slot.value == 0 && far_ended(far));
    close_now(loop, high);
    proa_buffer_pool_close(pool);
    close_plain(far);
    slot = (struct slot){0};
    test_case("a number that is not open");
    proa_recv(loop, &slot.op, high, data, sizeof(data), slot_done);
    RUN_UNTIL(loop, slot.finals);
    HOLDS(slot.value == -EBADF);
    slot = (struct slot){0};
}

/* As the result of an accept, EMFILE would mean to wait. */
static void test_listener(void)
{
    proa_address bound;
    proa_fd low = listen_on(loop, TCP, 4, &bound), high;
    int far = far_connect(&bound);

    high = proa_fd_of(move_to(low.handle, HIGH));
    test_case("accept");
    proa_accept(loop, &slot.op, high, slot_done);
    end_refused(HIGH);
    test_case("accept_many");
    proa_accept_many(loop, &slot.op, high, slot_done);
    end_refused(HIGH);
    HOLDS(proa_loop_meters(loop).accepts_paused == 0);
    close_now(loop, high);
    close_plain(far);
}

static void test_files(void)
{
    struct statx status;
    char data[8];
    int file = move_to(temp_file("file", "content", 7), HIGH), ends[2];
    proa_fd high = proa_fd_of(file);

    test_case("files need not be watched");
    proa_read(loop, &slot.op, high, data, 7, PROA_POSITION, slot_done);
    RUN_UNTIL(loop, slot.finals == 1);
    HOLDS(slot.value == 7 && memcmp(data, "content", 7) == 0);
    proa_write(loop, &slot.op, high, "C", 1, 0, slot_done);
    RUN_UNTIL(loop, slot.finals == 2);
    HOLDS(slot.value == 1);
    proa_stat(loop, &slot.op, high, "", 0, STATX_BASIC_STATS, &status, slot_done);
    RUN_UNTIL(loop, slot.finals == 3);
    HOLDS(slot.value == 0 && status.stx_size == 7);
    close_now(loop, high);
    slot = (struct slot){0};

    REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    high = proa_fd_of(move_to(ends[0], HIGH));
    test_case("read of a pipe");
    proa_read(loop, &slot.op, high, data, sizeof(data), PROA_POSITION, slot_done);
    end_refused(HIGH);
    close_now(loop, high);
    high = proa_fd_of(move_to(ends[1], HIGH));
    test_case("write to a pipe");
    proa_write(loop, &slot.op, high, data, sizeof(data), PROA_POSITION, slot_done);
    end_refused(HIGH);
    close_now(loop, high);
}

static void test_last_number(void)
{
    struct slot polled = {0};
    char data[8];
    int ends[2];
    proa_fd last;

    test_case("the last number that is served");
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    last = proa_fd_of(move_to(ends[0], FD_SETSIZE - 1));
    proa_recv(loop, &slot.op, last, data, sizeof(data), slot_done);
    loop_run_for(loop, MS);
    REQUIRE(write(ends[1], "hello", 5) == 5);
    RUN_UNTIL(loop, slot.finals);
    HOLDS(slot.value == 5);
    proa_poll(loop, &polled.op, last, POLLRDHUP, slot_done);
    loop_run_for(loop, MS);
    HOLDS(polled.finals == 0);
    REQUIRE(write(ends[1], "unread", 6) == 6);
    loop_run_for(loop, MS);
    HOLDS(polled.finals == 0);
    REQUIRE(shutdown(ends[1], SHUT_WR) == 0);
    RUN_UNTIL(loop, polled.finals);
    HOLDS(polled.value == POLLRDHUP);
    close_now(loop, last);
    close_plain(ends[1]);
    slot = (struct slot){0};
}

/* With every low number in use: what an op makes comes out beyond, and goes again. */
static void test_new_descriptors(void)
{
    static int fillers[FD_SETSIZE];
    proa_loop_options options = {.engine = "select"};
    proa_engine_report report;
    struct slot accepted = {0};
    proa_loop *second = NULL;
    proa_address bound;
    proa_fd listener = listen_on(loop, TCP, 4, &bound);
    size_t count = 0;
    int before, far;
    char data[8];

    do
        REQUIRE((fillers[count] = fcntl(2, F_DUPFD_CLOEXEC, 0)) >= 0);
    while (fillers[count++] < FD_SETSIZE - 1);
    before = fd_count();
    test_case("connect");
    proa_connect(loop, &slot.op, &bound, slot_done);
    end_refused(FD_SETSIZE);
    test_case("signal");
    proa_signal(loop, &slot.op, SIGUSR1, slot_done);
    end_refused(FD_SETSIZE);
    HOLDS(fd_count() == before);

    test_case("what was accepted");
    far = far_connect(&bound);
    proa_accept(loop, &accepted.op, listener, slot_done);
    RUN_UNTIL(loop, accepted.finals);
    REQUIRE(accepted.value > FD_SETSIZE);
    proa_recv(loop, &slot.op, proa_fd_of((int)accepted.value), data, sizeof(data), slot_done);
    end_refused((int)accepted.value);
    close_now(loop, proa_fd_of((int)accepted.value));
    close_plain(far);

    test_case("a loop of its own");
    HOLDS(proa_loop_open(&second, &options) == -EMFILE && second == NULL);
    for (size_t i = 0; proa_engine_inspect(i, &report) && strcmp(report.name, "select") != 0; i++)
        continue;
    HOLDS(!report.available && strstr(report.reason, "FD_SETSIZE"));
    HOLDS(fd_count() == before);
    while (count)
        close_plain(fillers[--count]);
    close_now(loop, listener);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "t_select_limit");
    if (strcmp(test_engine(), "select") != 0)
        return check_skip("t_select_limit", "it is about the select engine");
    loop = loop_open();
    test_sockets();
    test_datagrams();
    test_listener();
    test_files();
    test_last_number();
    test_new_descriptors();
    proa_loop_close(loop);
    return check_done("t_select_limit");
}

/* Trap: threads come to an end. An op beyond the limit of engine `threads`, or for which no thread can be had, completes
 * with EAGAIN and a sentence; those below it are none the worse; and as threads come free, the loop goes on as before.
 * Receives behind another, shutdowns and signals need none. */
#include "harness.h"

#include "loop/loop.h"

enum { LIMIT = 8, BEYOND = 3 };

struct connection {
    proa_fd near;
    int far;
    struct slot receive, send;
    char data[8];
};

static struct connection connections[LIMIT + BEYOND];
static proa_loop *loop;

static void scene_open(void)
{
    loop = loop_open_with((proa_loop_options){.op_threads_max = LIMIT});
    for (size_t i = 0; i < ARRAY_SIZE(connections); i++) {
        connections[i] = (struct connection){0};
        pair_open(loop, TCP, &connections[i].near, &connections[i].far);
    }
}

static void scene_close(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(connections); i++) {
        close_now(loop, connections[i].near);
        close_plain(connections[i].far);
    }
    proa_loop_close(loop);
}

static void start_receive(struct connection *connection)
{
    connection->receive = (struct slot){0};
    proa_recv(loop, &connection->receive.op, connection->near, connection->data, sizeof(connection->data), slot_done);
}

static bool arrives(struct connection *connection)
{
    REQUIRE(write(connection->far, "hello", 5) == 5);
    RUN_UNTIL(loop, connection->receive.finals);
    return connection->receive.value == 5 && memcmp(connection->data, "hello", 5) == 0;
}

static void fill(void)
{
    for (size_t i = 0; i < LIMIT; i++)
        start_receive(&connections[i]);
    loop_run_for(loop, MS);
}

static void test_beyond(void)
{
    test_case("ops beyond the limit");
    scene_open();
    HOLDS(strcmp(proa_loop_refusal(loop), "") == 0);
    fill();
    for (size_t i = LIMIT; i < LIMIT + BEYOND; i++) {
        start_receive(&connections[i]);
        HOLDS(connections[i].receive.finals == 0);
        RUN_UNTIL(loop, connections[i].receive.finals);
        HOLDS(connections[i].receive.value == -EAGAIN);
    }
    HOLDS(strstr(proa_loop_refusal(loop), "8 ops") && strstr(proa_loop_refusal(loop), "op_threads_max"));
    for (size_t i = 0; i < LIMIT; i++)
        HOLDS(connections[i].receive.finals == 0);
    test_case("a thread comes free");
    HOLDS(arrives(&connections[0]));
    start_receive(&connections[LIMIT]);
    HOLDS(arrives(&connections[LIMIT]));
    for (size_t i = 1; i < LIMIT; i++)
        HOLDS(arrives(&connections[i]));
    scene_close();
}

/* Each is refused on its own, in order; bytes of none of them go out. */
static void test_sends_beyond(void)
{
    struct slot more = {0};

    test_case("sends beyond the limit");
    scene_open();
    fill();
    proa_send(loop, &connections[LIMIT].send.op, connections[LIMIT].near, "a", 1, slot_done);
    proa_send(loop, &more.op, connections[LIMIT].near, "b", 1, slot_done);
    RUN_UNTIL(loop, more.finals);
    HOLDS(connections[LIMIT].send.finals == 1 && connections[LIMIT].send.value == -EAGAIN);
    HOLDS(more.value == -EAGAIN && connections[LIMIT].send.order < more.order);
    HOLDS(far_drain(connections[LIMIT].far) == 0);
    HOLDS(arrives(&connections[0]));
    more = (struct slot){0};
    proa_send(loop, &more.op, connections[LIMIT].near, "c", 1, slot_done);
    RUN_UNTIL(loop, more.finals);
    HOLDS(more.value == 1 && far_drain(connections[LIMIT].far) == 1);
    scene_close();
}

static void test_without_a_thread(void)
{
    struct slot behind = {0}, shutting = {0}, closing = {0}, timer = {0}, taken = {0};

    test_case("what needs no thread, at the limit");
    scene_open();
    fill();
    proa_recv(loop, &behind.op, connections[0].near, connections[0].data, 8, slot_done);
    proa_timer(loop, &timer.op, clock_ns() + 2 * MS, slot_done);
    proa_shutdown(loop, &shutting.op, connections[LIMIT].near, SHUT_WR, slot_done);
    proa_signal(loop, &taken.op, SIGUSR1, slot_done);
    REQUIRE(raise(SIGUSR1) == 0);
    RUN_UNTIL(loop, timer.finals && shutting.finals && taken.mores);
    HOLDS(taken.value == SIGUSR1);
    proa_cancel(&taken.op);
    RUN_UNTIL(loop, taken.finals);
    HOLDS(timer.value == 0 && shutting.value == 0 && behind.finals == 0);
    HOLDS(far_ended(connections[LIMIT].far));
    HOLDS(arrives(&connections[0]));
    HOLDS(behind.finals == 0);
    proa_close(loop, &closing.op, connections[0].near, slot_done);
    RUN_UNTIL(loop, closing.finals);
    HOLDS(closing.value == 0 && behind.value == -ECANCELED && far_ended(connections[0].far));
    close_plain(connections[0].far);
    HOLDS(arrives(&connections[1]));
    pair_open(loop, TCP, &connections[0].near, &connections[0].far);
    scene_close();
}

/* What RLIMIT_NPROC or a control group does to pthread_create(3), which neither does to root. */
static void test_no_thread(void)
{
    static struct sys_fault plan[SYS_CALL_COUNT];

    test_case("no thread can be had");
    scene_open();
    fill();
    HOLDS(arrives(&connections[0]));
    start_receive(&connections[0]); /* on the thread that came free */
    proa_loop_close(loop);
    for (size_t i = 0; i < LIMIT; i++)
        HOLDS(connections[i].receive.finals == 1 && connections[i].receive.value == -ECANCELED);
    loop = loop_open_with((proa_loop_options){.op_threads_max = LIMIT});
    plan[SYS_THREAD] = (struct sys_fault){.skip = 2, .times = 1, .error = -EAGAIN};
    loop->host.sys.faults = plan;
    for (size_t i = 0; i < 4; i++)
        start_receive(&connections[i]);
    RUN_UNTIL(loop, connections[2].receive.finals);
    HOLDS(connections[2].receive.value == -EAGAIN);
    HOLDS(strstr(proa_loop_refusal(loop), "beside the 2 there are") &&
          strstr(proa_loop_refusal(loop), strerror(EAGAIN)));
    HOLDS(arrives(&connections[0]) && arrives(&connections[1]) && arrives(&connections[3]));
    start_receive(&connections[2]);
    HOLDS(arrives(&connections[2]));
    loop->host.sys.faults = NULL;
    scene_close();
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "t_thread_limit");
    if (strcmp(test_engine(), "threads") != 0)
        return check_skip("t_thread_limit", "only engine `threads` has a thread per op");
    test_beyond();
    test_sends_beyond();
    test_without_a_thread();
    test_no_thread();
    return check_done("t_thread_limit");
}

/* Rule 17: a loop that has nothing to do uses no CPU: it sleeps, whatever is armed, and whatever lies in sockets that
 * nobody asked about. Each scene is set, left to settle, then watched: how often does the loop wake, and why? */
#include "kinds.h"

#include <poll.h>
#include <sys/resource.h>

enum { WATCH_MS = 100, WAKE_UPS_MAX = 6, CALLS_MAX = 64, TRIES = 30 };

static struct slot slots[16];
static struct stage stage;
static char data[256];

/* What the loop, its thread and the whole process did in that time. */
struct account {
    uint64_t wake_ups, system_calls, cpu_ns, process_ns;
};

static struct account account_of(proa_loop *loop, uint64_t ns)
{
    proa_meters before = proa_loop_meters(loop), after;
    uint64_t cpu = cpu_ns(), process = cpu_process_ns();

    loop_run_for(loop, ns);
    after = proa_loop_meters(loop);
    return (struct account){
        .wake_ups = after.wake_ups - before.wake_ups,
        .system_calls = after.system_calls - before.system_calls,
        .cpu_ns = cpu_ns() - cpu,
        .process_ns = cpu_process_ns() - process,
    };
}

static bool is_rest(const struct account *account)
{
    return account->wake_ups <= WAKE_UPS_MAX && account->system_calls <= CALLS_MAX &&
           account->cpu_ns < WATCH_MS * MS / 5 && account->process_ns < WATCH_MS * MS / 3;
}

/* What was begun before takes its time, on a busy machine more of it, and then there is rest: always, or never. */
static void watch(proa_loop *loop, const char *name)
{
    struct account account;
    int tries = 0;

    test_case("%s", name);
    do
        account = account_of(loop, WATCH_MS * MS);
    while (!is_rest(&account) && ++tries < TRIES);
    if (!HOLDS(is_rest(&account)))
        fprintf(stderr, "    %llu wake-ups, %llu system calls, %llu us, the process %llu us\n",
                (unsigned long long)account.wake_ups, (unsigned long long)account.system_calls,
                (unsigned long long)account.cpu_ns / 1000, (unsigned long long)account.process_ns / 1000);
}

static proa_loop *scene_open(const char *kind)
{
    memset(slots, 0, sizeof(slots));
    stage_set(&stage, kind_named(kind), loop_open());
    return stage.loop;
}

static void scene_close(void)
{
    proa_loop_close(stage.loop);
    stage_clear(&stage);
}

static void test_armed(void)
{
    static struct stage stages[KINDS_MAX];
    proa_loop *loop = loop_open();

    for (size_t i = 0; i < kind_count; i++) {
        if (!(kinds[i].traits & WAITS) || (kinds[i].traits & SLOW))
            continue;
        stage_set(&stages[i], &kinds[i], loop);
        stage_start(&stages[i]);
    }
    watch(loop, "every kind that waits, armed");
    for (size_t i = 0; i < kind_count; i++) {
        if (stages[i].blocker_count)
            stage_provoke(&stages[i]);
    }
    proa_loop_close(loop);
    for (size_t i = 0; i < kind_count; i++) {
        if (stages[i].kind)
            stage_clear(&stages[i]);
    }
}

static void test_empty(void)
{
    proa_loop *loop = loop_open();

    watch(loop, "nothing but a timer far away");
    proa_loop_close(loop);
}

static void test_unread(void)
{
    proa_loop *loop = scene_open("recv");

    stage_start(&stage);
    stage_finish(&stage);
    stage_provoke(&stage);
    watch(loop, "data that no receive asks for, after one that did");
    REQUIRE(shutdown(stage.far, SHUT_WR) == 0);
    watch(loop, "an end of stream that nobody asks for");
    proa_send(loop, &slots[0].op, stage.fd, "x", 1, slot_done);
    RUN_UNTIL(loop, slots[0].finals);
    watch(loop, "the same, after a send");
    scene_close();
}

static void test_hung_up(void)
{
    proa_loop *loop = scene_open("recv");

    stage_start(&stage);
    stage_finish(&stage);
    proa_send(loop, &slots[0].op, stage.fd, "x", 1, slot_done);
    RUN_UNTIL(loop, slots[0].finals);
    close_plain(stage.far);
    stage.far = -1;
    watch(loop, "a reset connection that nobody asks for");
    scene_close();
}

static void test_cancelled(void)
{
    proa_loop *loop = scene_open("recv");

    stage_start(&stage);
    loop_run_for(loop, MS);
    proa_cancel(&stage.slot.op);
    stage_wait(&stage);
    stage_provoke(&stage);
    watch(loop, "data after the receive was cancelled");
    scene_close();
}

static void test_stalled(void)
{
    proa_loop *loop = scene_open("send, peer stalled");

    stage_start(&stage);
    watch(loop, "a send to a stalled peer");
    while (!stage.slot.finals) {
        stage_provoke(&stage);
        loop_run_for(loop, MS);
    }
    watch(loop, "room in a socket that nobody sends to");
    proa_recv(loop, &slots[0].op, stage.fd, data, sizeof(data), slot_done);
    watch(loop, "room in a socket where a receive waits");
    scene_close();
}

static void test_stalled_hangs_up(void)
{
    proa_loop *loop = scene_open("send, peer stalled");

    stage_start(&stage);
    REQUIRE(shutdown(stage.far, SHUT_WR) == 0);
    watch(loop, "a send to a stalled peer that has ended its side");
    scene_close();
}

static void test_backlog(void)
{
    proa_loop *loop = scene_open("accept");
    int more;

    stage_start(&stage);
    stage_finish(&stage);
    more = far_connect(&stage.address);
    watch(loop, "a connection that no accept asks for");
    close_plain(more);
    scene_close();
}

static void test_poll_other_direction(void)
{
    proa_loop *loop = scene_open("recv");

    proa_poll(loop, &slots[0].op, stage.fd, POLLPRI, slot_done);
    stage_provoke(&stage);
    watch(loop, "data, where a poll waits for something else");
    HOLDS(slots[0].finals == 0);
    scene_close();
}

static void test_starved(void)
{
    proa_loop *loop = scene_open("recv_many");

    stage.keep_result = true;
    stage_start(&stage);
    REQUIRE(far_fill(stage.far) > 4096);
    RUN_UNTIL(loop, stage.slot.mores == 4);
    watch(loop, "a receive that waits for a buffer");
    HOLDS(stage.slot.mores == 4);
    REQUIRE(shutdown(stage.far, SHUT_WR) == 0);
    watch(loop, "the same, with the end of stream behind the data");
    scene_close();
}

/* A paused accept may look for a descriptor now and then: some tens of times a second, no more. */
static void test_paused(void)
{
    proa_loop *loop = scene_open("accept_many");
    struct rlimit normal, low;

    test_case("an accept that waits for a descriptor");
    REQUIRE(getrlimit(RLIMIT_NOFILE, &normal) == 0);
    stage.far = far_connect(&stage.address);
    low = normal;
    low.rlim_cur = 3;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
    stage_start(&stage);
    RUN_UNTIL(loop, proa_loop_meters(loop).accepts_paused);
    HOLDS(loop_rests(loop, WATCH_MS * MS, WATCH_MS));
    HOLDS(stage.slot.mores == 0);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &normal) == 0);
    RUN_UNTIL(loop, stage.slot.mores);
    scene_close();
}

/* After all kinds have come and gone, nothing is left behind that wakes the loop. */
static void test_after_everything(void)
{
    static struct stage stages[KINDS_MAX];
    proa_loop *loop = loop_open();

    test_case("everything, before");
    for (size_t i = 0; i < kind_count; i++) {
        if (kinds[i].traits & SLOW || !strcmp(kinds[i].name, "timer_repeat, far"))
            continue;
        stage_set(&stages[i], &kinds[i], loop);
        stage_start(&stages[i]);
        for (int turn = 0; !stages[i].slot.finals && turn < 200; turn++) {
            if (!(kinds[i].traits & REPEATS) || !stages[i].slot.mores)
                stage_provoke(&stages[i]);
            loop_run_for(loop, MS / 10);
            if (kinds[i].traits & REPEATS && stages[i].slot.mores)
                proa_cancel(&stages[i].slot.op);
        }
        if (proa_in_flight(&stages[i].slot.op))
            proa_cancel(&stages[i].slot.op);
        stage_wait(&stages[i]);
        stage_close_extras(&stages[i]);
    }
    watch(loop, "after every kind has come and gone");
    proa_loop_close(loop);
    for (size_t i = 0; i < kind_count; i++) {
        if (stages[i].kind)
            stage_clear(&stages[i]);
    }
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "c17_idle_uses_nothing");
    test_empty();
    test_armed();
    test_unread();
    test_hung_up();
    test_cancelled();
    test_stalled();
    test_stalled_hangs_up();
    test_backlog();
    test_poll_other_direction();
    test_starved();
    if (!test_has(PROA_FEATURE_DIRECT))
        test_paused();
    test_after_everything();
    return check_done("c17_idle_uses_nothing");
}

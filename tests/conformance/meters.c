/* The meters of a loop count what their names say, and only ever go up. */
#include "kinds.h"

static struct stage stage;
static proa_meters before;

static void begin(const char *name, const char *kind)
{
    test_case("%s", name);
    stage_set(&stage, kind_named(kind), loop_open());
    before = proa_loop_meters(stage.loop);
}

static proa_meters end(void)
{
    proa_meters after = proa_loop_meters(stage.loop);

#define PROA_METER_RISES(name, meaning) HOLDS(after.name >= before.name);
    PROA_METERS(PROA_METER_RISES)
#undef PROA_METER_RISES
    stage_close_extras(&stage);
    proa_loop_close(stage.loop);
    stage_clear(&stage);
    return after;
}

static void test_fresh(void)
{
    proa_loop *loop = loop_open();
    proa_meters meters = proa_loop_meters(loop);

    test_case("a fresh loop");
    HOLDS(meters.ops_started == 0 && meters.ops_completed == 0 && meters.sends_gathered == 0);
    HOLDS(meters.receives_starved == 0 && meters.accepts_paused == 0 && meters.bytes_copied < 4096);
    proa_loop_close(loop);
}

/* One start, one final completion, however it ends; a completion with MORE is none. */
static void test_ops(void)
{
    for (size_t i = 0; i < kind_count; i++) {
        proa_meters after;

        if (kinds[i].traits & (SLOW | MADE) || !strcmp(kinds[i].name, "timer_repeat, far"))
            continue;
        begin(kinds[i].name, kinds[i].name);
        stage_start(&stage);
        if (!(kinds[i].traits & STEADFAST)) /* a post counts once the loop has heard of it */
            HOLDS(proa_loop_meters(stage.loop).ops_started == before.ops_started + 1);
        if (kinds[i].traits & REPEATS) {
            stage_finish(&stage);
            HOLDS(proa_loop_meters(stage.loop).ops_completed == before.ops_completed);
        }
        proa_cancel(&stage.slot.op);
        if (kinds[i].traits & AT_EASE)
            proa_loop_run(stage.loop, PROA_UNTIL_IDLE);
        else
            stage_wait(&stage);
        HOLDS(proa_loop_meters(stage.loop).ops_completed == before.ops_completed + 1);
        stage_close_extras(&stage);
        after = end();
        HOLDS(after.ops_completed == after.ops_started);
    }
}

/* A kilobyte in is a kilobyte copied, and so is one out; into a pool as well. */
static void test_bytes(void)
{
    static char data[1024];
    struct slot slots[2] = {0};
    proa_meters after;

    begin("bytes copied by recv", "recv");
    proa_recv(stage.loop, &slots[0].op, stage.fd, data, sizeof(data), slot_done);
    REQUIRE(write(stage.far, data, sizeof(data)) == sizeof(data));
    RUN_UNTIL(stage.loop, slots[0].finals);
    after = proa_loop_meters(stage.loop);
    HOLDS(slots[0].value == sizeof(data));
    HOLDS(after.bytes_copied - before.bytes_copied >= 1024 && after.bytes_copied - before.bytes_copied < 1200);

    test_case("bytes copied by send");
    before = after;
    proa_send(stage.loop, &slots[1].op, stage.fd, data, sizeof(data), slot_done);
    RUN_UNTIL(stage.loop, slots[1].finals);
    after = end();
    HOLDS(after.bytes_copied - before.bytes_copied >= 1024 && after.bytes_copied - before.bytes_copied < 1200);

    begin("bytes copied by recv_many", "recv_many");
    stage_start(&stage);
    REQUIRE(write(stage.far, data, 256) == 256);
    RUN_UNTIL(stage.loop, stage.slot.bytes == 256);
    proa_cancel(&stage.slot.op);
    stage_wait(&stage);
    after = end();
    HOLDS(after.bytes_copied - before.bytes_copied >= 256 && after.bytes_copied - before.bytes_copied < 400);
}

static void test_file_bytes(void)
{
    static char data[1024];
    struct slot slots[2] = {0};
    proa_meters after;

    begin("bytes copied by read and write", "write");
    proa_write(stage.loop, &slots[0].op, stage.fd, data, sizeof(data), 0, slot_done);
    RUN_UNTIL(stage.loop, slots[0].finals);
    proa_read(stage.loop, &slots[1].op, stage.fd, data, sizeof(data), 0, slot_done);
    RUN_UNTIL(stage.loop, slots[1].finals);
    loop_run_for(stage.loop, MS);
    after = end();
    HOLDS(after.bytes_copied - before.bytes_copied >= 2048 && after.bytes_copied - before.bytes_copied < 2300);
    HOLDS(after.system_calls > before.system_calls);
}

static void test_wake_ups(void)
{
    proa_loop *loop = loop_open();
    uint64_t wake_ups = proa_loop_meters(loop).wake_ups, calls = proa_loop_meters(loop).system_calls;

    test_case("wake-ups and system calls");
    for (int i = 0; i < 10; i++)
        loop_run_for(loop, MS);
    HOLDS(proa_loop_meters(loop).wake_ups - wake_ups >= 5 && proa_loop_meters(loop).wake_ups - wake_ups <= 60);
    HOLDS(proa_loop_meters(loop).system_calls - calls >= 5 && proa_loop_meters(loop).system_calls - calls <= 80);
    proa_loop_close(loop);
}

static void test_gathered(void)
{
    static char data[STUCK_SIZE];
    struct slot slots[5] = {0};
    proa_meters after;

    begin("sends gathered", "recv");
    set_size(stage.fd.handle, SO_SNDBUF, 16384);
    proa_send(stage.loop, &slots[0].op, stage.fd, data, sizeof(data), slot_done);
    proa_loop_run(stage.loop, PROA_NO_WAIT);
    for (size_t i = 1; i < 5; i++)
        proa_send(stage.loop, &slots[i].op, stage.fd, data, 10, slot_done);
    while (!slots[4].finals) {
        far_drain(stage.far);
        proa_loop_run(stage.loop, PROA_ONCE);
    }
    after = end();
    HOLDS(after.sends_gathered - before.sends_gathered >= 1 && after.sends_gathered - before.sends_gathered <= 4);
}

/* Without O(1) watching: what the first two generations of readiness cost. */
static bool looks_at_all(void)
{
    return strcmp(test_engine(), "poll") == 0 || strcmp(test_engine(), "select") == 0;
}

/* O(1) watching: hundreds of idle descriptors are not looked at when one of them is ready. */
static void test_scanned(void)
{
    enum { COUNT = 500 };
    proa_loop *loop = loop_open();
    static struct slot slots[COUNT];
    static char data[COUNT][8];
    static int ends[COUNT][2];
    proa_meters start;
    uint64_t scanned;

    test_case("descriptors scanned");
    memset(slots, 0, sizeof(slots));
    for (size_t i = 0; i < COUNT; i++) {
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends[i]) == 0);
        proa_recv(loop, &slots[i].op, proa_fd_of(ends[i][0]), data[i], 8, slot_done);
    }
    loop_run_for(loop, MS);
    start = proa_loop_meters(loop);
    for (size_t i = 0; i < 20; i++) {
        REQUIRE(write(ends[i][1], "x", 1) == 1);
        RUN_UNTIL(loop, slots[i].finals);
    }
    scanned = proa_loop_meters(loop).descriptors_scanned - start.descriptors_scanned;
    HOLDS(looks_at_all() ? scanned >= 10 * COUNT : scanned <= 100);
    proa_loop_close(loop);
    for (size_t i = 0; i < COUNT; i++) {
        close_plain(ends[i][0]);
        close_plain(ends[i][1]);
    }
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "meters");
    test_fresh();
    test_ops();
    test_bytes();
    test_file_bytes();
    test_wake_ups();
    test_gathered();
    test_scanned();
    return check_done("meters");
}

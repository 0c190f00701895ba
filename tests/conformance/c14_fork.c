/* Rule 14: after fork the child cannot touch the parent's loop: every call is refused by name. Child and parent can
 * each open new loops, and the parent's goes on as if nothing had been. */
#include "calls.h"

static struct call_scene scene;

static void call_in_child(void *argument)
{
    const struct call *call = argument;

    call->call(&scene);
}

static void own_loop(void *argument)
{
    struct call_scene own;
    struct slot work = {0};

    (void)argument;
    call_scene_open(&own);
    REQUIRE(write(own.far, "hello", 5) == 5);
    RUN_UNTIL(own.loop, own.pending.finals);
    REQUIRE(own.pending.value == 5);
    proa_stat(own.loop, &work.op, PROA_CWD, "/", 0, STATX_BASIC_STATS, &own.status, slot_done);
    RUN_UNTIL(own.loop, work.finals);
    REQUIRE(work.value == 0);
    call_scene_close(&own);
}

static void just_exit(void *argument)
{
    (void)argument;
    exit(0);
}

static void echo_once(const char *text)
{
    REQUIRE(write(scene.far, text, strlen(text)) == (ssize_t)strlen(text));
    RUN_UNTIL(scene.loop, scene.pending.finals);
    HOLDS(scene.pending.value == (int64_t)strlen(text) && memcmp(scene.data, text, strlen(text)) == 0);
    scene.pending.finals = 0;
    proa_recv(scene.loop, &scene.pending.op, scene.fd, scene.data, sizeof(scene.data), slot_done);
    proa_loop_run(scene.loop, PROA_NO_WAIT);
}

/* Everything the loop has is in use, then children come and go. */
static void use_everything(void)
{
    static struct stage stage;

    for (size_t i = 0; i < kind_count; i++) {
        if (kinds[i].traits & (SLOW | WAITS))
            continue;
        stage_set(&stage, &kinds[i], scene.loop);
        stage_start(&stage);
        if (kinds[i].traits & REPEATS)
            proa_cancel(&stage.slot.op);
        stage_wait(&stage);
        stage_close_extras(&stage);
        stage_clear(&stage);
    }
}

/* The child leaves, with its copy of every descriptor: the parent's watches must not go with it, nor stay with it. */
static void close_all(void *argument)
{
    (void)argument;
    for (int fd = 3; fd < 256; fd++)
        close(fd);
}

int main(int argc, char **argv)
{
    uint64_t meters;

    test_begin(argc, argv, "c14_fork");
    call_scene_open(&scene);
    echo_once("before");
    for (size_t i = 0; i < call_count; i++) {
        test_case("%s by a child", calls[i].name);
        HOLDS(child_aborts(calls[i].name, call_in_child, (void *)(uintptr_t)&calls[i]));
    }
    test_case("the parent's loop after its children");
    echo_once("after the refusals");

    test_case("a child with a loop of its own");
    HOLDS(child_passes(own_loop, NULL));
    echo_once("after its loop");
    test_case("a child that exits, one that closes everything");
    HOLDS(child_passes(just_exit, NULL));
    HOLDS(child_passes(close_all, NULL));
    echo_once("after their ends");

    test_case("the parent used everything before");
    use_everything();
    HOLDS(child_passes(own_loop, NULL));
    HOLDS(child_passes(close_all, NULL));
    use_everything();
    echo_once("after all");

    test_case("another loop in the parent");
    own_loop(NULL);
    meters = proa_loop_meters(scene.loop).ops_started;
    HOLDS(meters > 0);
    call_scene_close(&scene);
    return check_done("c14_fork");
}

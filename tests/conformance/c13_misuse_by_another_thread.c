/* Rule 13: a loop belongs to the thread that runs it. Only post and wake may be called from elsewhere; anything else is
 * caught, by name, not undefined. */
#include "calls.h"

#include <pthread.h>

static struct call_scene scene;

static void *call_it(void *argument)
{
    const struct call *call = argument;

    call->call(&scene);
    return NULL;
}

static void call_from_thread(void *argument)
{
    pthread_t thread;

    call_scene_open(&scene);
    REQUIRE(pthread_create(&thread, NULL, call_it, argument) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    if (proa_in_flight(&scene.fresh.op))
        RUN_UNTIL(scene.loop, scene.fresh.finals);
    call_scene_close(&scene);
}

/* A loop does not come with its memory: who opened it runs it. */
static void *open_elsewhere(void *ret_loop)
{
    *(proa_loop **)ret_loop = loop_open();
    return NULL;
}

static void run_what_another_opened(void *argument)
{
    proa_loop *loop = NULL;
    pthread_t thread;

    (void)argument;
    REQUIRE(pthread_create(&thread, NULL, open_elsewhere, &loop) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    proa_loop_run(loop, PROA_NO_WAIT);
}

/* Two loops on one thread are both its own. */
static void two_loops(void *argument)
{
    struct call_scene other;

    (void)argument;
    call_scene_open(&scene);
    call_scene_open(&other);
    call_scene_close(&scene);
    call_scene_close(&other);
}

/* An op of one loop on the other while in flight is a busy op. */
static void other_loops_op(void *argument)
{
    proa_loop *loop = loop_open();

    (void)argument;
    call_scene_open(&scene);
    proa_timer(loop, &scene.pending.op, 1, slot_done);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "c13_misuse_by_another_thread");
    for (size_t i = 0; i < call_count; i++) {
        void *call = (void *)(uintptr_t)&calls[i];

        test_case("%s from another thread", calls[i].name);
        if (calls[i].from_anywhere)
            HOLDS(child_passes(call_from_thread, call));
        else
            HOLDS(child_aborts(calls[i].name, call_from_thread, call));
    }
    test_case("a loop that another thread opened");
    HOLDS(child_aborts("proa_loop_run", run_what_another_opened, NULL));
    test_case("two loops on one thread");
    HOLDS(child_passes(two_loops, NULL));
    test_case("an op in flight on another loop");
    HOLDS(child_aborts("proa_timer", other_loops_op, NULL));
    return check_done("c13_misuse_by_another_thread");
}

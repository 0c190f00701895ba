/* The same on libuv's timers: see timers.h. A stopped timer is the caller's at once. uv_timer_init() is not counted: it
 * is called once per timer, not once per start. */
#define _GNU_SOURCE /* <uv.h> needs pthread_rwlock_t */
#include "../timers.h"

#include <uv.h>

static uv_loop_t *loop;
static uv_timer_t *timers;
static size_t count, fired;

static void on_fired(uv_timer_t *timer)
{
    (void)timer;
    fired++;
}

static double since(uint64_t begin_ns)
{
    return (double)(timers_clock_ns() - begin_ns) / (double)count;
}

static double start_all(const uint32_t *times_ms)
{
    uint64_t begin_ns = timers_clock_ns();

    uv_update_time(loop);
    for (size_t i = 0; i < count; i++)
        uv_timer_start(&timers[i], on_fired, times_ms[i], 0);
    return since(begin_ns);
}

static double stop_all(const uint32_t *order)
{
    uint64_t begin_ns = timers_clock_ns();

    for (size_t i = 0; i < count; i++)
        uv_timer_stop(&timers[order[i]]);
    return since(begin_ns);
}

static double fire_all(void)
{
    uint64_t begin_ns = timers_clock_ns();

    uv_run(loop, UV_RUN_DEFAULT);
    return since(begin_ns);
}

int main(int argc, char **argv)
{
    struct timers_result result;
    uint32_t *far_ms, *soon_ms;

    count = timers_count(argc, argv);
    timers = timers_memory(count, sizeof(*timers));
    far_ms = timers_times(count, TIMERS_FAR_MS);
    for (size_t i = 0; i < count; i++)
        far_ms[i] += TIMERS_FAR_MS;
    soon_ms = timers_times(count, TIMERS_SOON_MS);
    loop = uv_default_loop();
    for (size_t i = 0; i < count; i++)
        uv_timer_init(loop, &timers[i]);
    result.start = start_all(far_ms);
    result.cancel = stop_all(timers_in_order(count));
    result.start_again = start_all(far_ms);
    result.cancel_random = stop_all(timers_shuffled(count));
    result.start_soon = start_all(soon_ms);
    timers_sleep();
    result.fire = fire_all();
    timers_print(&result);
    return fired == count ? 0 : 1;
}

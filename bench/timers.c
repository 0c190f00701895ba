/* The timer benchmark of the library, on its public interface: see timers.h. An op that is cancelled is the caller's
 * again when its callback was called, so cancelling lasts until the loop has delivered them all. */
#include <proa/proa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "timers.h"

static proa_loop *loop;
static proa_op *ops;
static size_t count, fired, cancelled;

static void on_end(proa_op *op, proa_result result)
{
    (void)op;
    if (result.value == 0)
        fired++;
    else
        cancelled++;
}

static double since(uint64_t begin_ns)
{
    return (double)(timers_clock_ns() - begin_ns) / (double)count;
}

static double start_all(const uint32_t *times_ms)
{
    uint64_t begin_ns = timers_clock_ns(), now_ns = proa_now_refresh(loop);

    for (size_t i = 0; i < count; i++)
        proa_timer(loop, &ops[i], now_ns + times_ms[i] * PROA_MILLISECOND_NS, on_end);
    return since(begin_ns);
}

static double cancel_all(const uint32_t *order)
{
    uint64_t begin_ns = timers_clock_ns();

    for (size_t i = 0; i < count; i++)
        proa_cancel(&ops[order[i]]);
    proa_loop_run(loop, PROA_UNTIL_IDLE);
    return since(begin_ns);
}

static double fire_all(void)
{
    uint64_t begin_ns = timers_clock_ns();

    proa_loop_run(loop, PROA_UNTIL_IDLE);
    return since(begin_ns);
}

int main(int argc, char **argv)
{
    struct timers_result result;
    uint32_t *far_ms, *soon_ms;
    int error;

    count = timers_count(argc, argv);
    ops = timers_memory(count, sizeof(*ops));
    far_ms = timers_times(count, TIMERS_FAR_MS);
    for (size_t i = 0; i < count; i++)
        far_ms[i] += TIMERS_FAR_MS;
    soon_ms = timers_times(count, TIMERS_SOON_MS);
    error = proa_loop_open(&loop, NULL);
    if (error < 0) {
        fprintf(stderr, "timers: cannot open a loop: %s\n", strerror(-error));
        return 1;
    }
    result.start = start_all(far_ms);
    result.cancel = cancel_all(timers_in_order(count));
    result.start_again = start_all(far_ms);
    result.cancel_random = cancel_all(timers_shuffled(count));
    result.start_soon = start_all(soon_ms);
    timers_sleep();
    result.fire = fire_all();
    proa_loop_close(loop);
    timers_print(&result);
    return cancelled == 2 * count && fired == count ? 0 : 1;
}

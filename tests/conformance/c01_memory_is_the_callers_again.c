/* Rule 1: the op and every buffer it names belong to the loop from start to final completion, and to the caller before
 * and after. So the callback of the final completion may unmap the op's memory, and a buffer stays as it is from then
 * on; and it may start the op again, as anything. */
#include "kinds.h"

#include <sys/mman.h>

enum ending { BY_RESULT, BY_CANCEL, BY_LATE_CANCEL, BY_DEADLINE, BY_CLOSE, BY_LOOP_CLOSE, ENDINGS };

static const char *const ending_names[] = {"result", "cancel", "late cancel", "deadline", "close", "loop close"};

static struct stage stage;
static void *page;
static unsigned gone;

static proa_op *map_op(void)
{
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(page != MAP_FAILED);
    return page;
}

/* A library that looks at the op once more, after or while this runs, dies of SIGSEGV. */
static void on_done_unmap(proa_op *op, proa_result result)
{
    if (result.flags & PROA_LENT)
        proa_buffer_return(stage.pool, result.buffer);
    if ((stage.kind->traits & GIVES_FD) && result.value >= 0)
        fd_keep((int)result.value);
    if ((stage.kind->traits & CLOSES) && result.value == 0)
        stage.fd.handle = -1;
    if (result.flags & PROA_MORE) {
        proa_cancel(op);
        return;
    }
    REQUIRE(munmap(page, 4096) == 0);
    gone++;
}

static bool can_end_so(const struct kind *kind, enum ending ending)
{
    if (ending == BY_CLOSE)
        return kind->traits & ON_FD;
    if (ending == BY_RESULT)
        return !(kind->traits & SLOW);
    return true;
}

static void end_by(enum ending ending, proa_op *op, struct slot *closing)
{
    if (ending == BY_LATE_CANCEL)
        loop_run_for(stage.loop, MS);
    if ((ending == BY_CANCEL || ending == BY_LATE_CANCEL) && !gone)
        proa_cancel(op);
    if (ending == BY_DEADLINE && !gone)
        proa_set_deadline(op, clock_ns() + MS);
    if (ending == BY_CLOSE && !gone) {
        proa_close(stage.loop, &closing->op, stage.fd, slot_done);
        stage.fd.handle = -1;
    }
}

static void try_ending(const struct kind *kind, enum ending ending)
{
    proa_loop *loop = loop_open();
    struct slot closing = {0}, tick = {0};
    proa_op *op = map_op();

    test_case("%s ended by %s", kind->name, ending_names[ending]);
    gone = 0;
    stage_set(&stage, kind, loop);
    kind->start(&stage, op, on_done_unmap);
    proa_timer_repeat(loop, &tick.op, clock_ns() + MS, MS, slot_done);
    end_by(ending, op, &closing);
    while (ending != BY_LOOP_CLOSE && !gone) {
        if (ending == BY_RESULT || (ending == BY_DEADLINE && (kind->traits & REPEATS) && !(kind->traits & WAITS)))
            stage_provoke(&stage);
        proa_loop_run(loop, PROA_ONCE);
    }
    if (ending == BY_LOOP_CLOSE && stage.blocker_count)
        kind->provoke(&stage);
    if (ending != BY_LOOP_CLOSE)
        stage_close_extras(&stage);
    loop_run_for(loop, ending == BY_LOOP_CLOSE ? 0 : MS);
    proa_loop_close(loop);
    HOLDS(gone == 1);
    HOLDS(closing.finals == (ending == BY_CLOSE && closing.op.loop ? 1 : 0));
    stage_clear(&stage);
}

/* Far repeating timers and stalled kinds cannot be ended by their result alone. */
static bool result_is_near(const struct kind *kind)
{
    return strcmp(kind->name, "timer_repeat, far") != 0;
}

static void test_unmapped_in_callback(void)
{
    for (size_t i = 0; i < kind_count; i++) {
        for (int ending = 0; ending < ENDINGS; ending++) {
            if (!can_end_so(&kinds[i], ending) || (ending == BY_RESULT && !result_is_near(&kinds[i])))
                continue;
            try_ending(&kinds[i], ending);
        }
    }
}

/* A receive that was cancelled, or timed out, has let go of its buffer: what arrives later stays in the socket. */
static void test_buffer_untouched_after(bool by_deadline)
{
    proa_loop *loop = loop_open();
    char data[64], other[64];
    struct slot first = {0}, second = {0};
    proa_fd near;
    int far;

    test_case("buffer after %s", by_deadline ? "deadline" : "cancel");
    pair_open(loop, TCP, &near, &far);
    memset(data, 0x5a, sizeof(data));
    proa_recv(loop, &first.op, near, data, sizeof(data), slot_done);
    proa_loop_run(loop, PROA_NO_WAIT);
    if (by_deadline)
        proa_set_deadline(&first.op, 1);
    else
        proa_cancel(&first.op);
    RUN_UNTIL(loop, first.finals);
    HOLDS(first.value == (by_deadline ? -ETIMEDOUT : -ECANCELED));
    REQUIRE(write(far, "hello", 5) == 5);
    loop_run_for(loop, 2 * MS);
    for (size_t i = 0; i < sizeof(data); i++)
        REQUIRE(data[i] == 0x5a);
    proa_recv(loop, &second.op, near, other, sizeof(other), slot_done);
    RUN_UNTIL(loop, second.finals);
    HOLDS(second.value == 5 && memcmp(other, "hello", 5) == 0);
    close_now(loop, near);
    close_plain(far);
    proa_loop_close(loop);
}

/* One op becomes every kind in turn, each started from the callback of the one before. */
static struct stage chain[KINDS_MAX];
static size_t chain_at, chain_count;
static proa_op chain_op;
static unsigned chain_bad;

static void on_chain(proa_op *op, proa_result result)
{
    struct stage *at = &chain[chain_at];
    bool ends = !(at->kind->traits & WAITS);

    if ((at->kind->traits & GIVES_FD) && result.value >= 0)
        fd_keep((int)result.value);
    if ((at->kind->traits & CLOSES) && result.value == 0)
        at->fd.handle = -1;
    if (result.flags & PROA_LENT)
        proa_buffer_return(at->pool, result.buffer);
    if (result.flags & PROA_MORE)
        return proa_cancel(op);
    if (ends ? result.value < 0 && !(at->kind->traits & REPEATS) : result.value != -ECANCELED)
        chain_bad++;
    if (++chain_at == chain_count)
        return;
    at = &chain[chain_at];
    at->kind->start(at, op, on_chain);
    if (at->kind->traits & WAITS)
        proa_cancel(op);
}

static void test_started_again_as_anything(void)
{
    proa_loop *loop = loop_open();
    struct slot tick = {0};

    test_case("one op as every kind in turn");
    for (size_t i = 0; i < kind_count; i++) {
        if (strcmp(kinds[i].name, "work, pool busy") != 0) /* which would hold up all who need the pool */
            stage_set(&chain[chain_count++], &kinds[i], loop);
    }
    proa_timer_repeat(loop, &tick.op, clock_ns() + MS, MS, slot_done);
    kinds[0].start(&chain[0], &chain_op, on_chain);
    RUN_UNTIL(loop, chain_at == chain_count);
    HOLDS(chain_bad == 0);
    for (size_t i = 0; i < chain_count; i++)
        stage_close_extras(&chain[i]);
    proa_loop_close(loop);
    for (size_t i = 0; i < chain_count; i++)
        stage_clear(&chain[i]);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "c01_memory_is_the_callers_again");
    test_unmapped_in_callback();
    test_buffer_untouched_after(false);
    test_buffer_untouched_after(true);
    test_started_again_as_anything();
    return check_done("c01_memory_is_the_callers_again");
}

/* Rules 2, 5 and 6 under load: a hundred thousand ops of every kind that waits, some that do not among them, each ended at
 * a random moment by a cancel, a deadline or both. Each has exactly one final completion, with a result that it may have;
 * and nothing is left over. */
#include "../conformance/kinds.h"

enum { COPIES = 8, WARM_UP = 2000, STORM = 100000, SLOW_STORM = 10000 };

struct target {
    proa_op op;
    struct stage *stage;
    bool live, cancelled, limited;
    unsigned rounds;
};

static struct stage stages[KINDS_MAX];
static struct target targets[KINDS_MAX * COPIES];
static size_t stage_count, target_count;
static unsigned started, finished, wanted;

/* What waits for the world, or needs nothing of it. Of what is made of other ops a stage has one; each end of a watch takes
 * the kernel milliseconds; and the memory of a send without copy is free once its peer has read, whoever cancels. */
static bool takes_part(const struct kind *kind)
{
    if (kind->traits & MADE || strcmp(kind->name, "watch") == 0 ||
        strcmp(kind->name, "send_zero_copy, peer stalled") == 0)
        return false;
    return kind->traits & WAITS || !(kind->traits & (ON_FD | FILES | GIVES_FD | CLOSES));
}

static proa_callback on_done;

static void start(struct target *target)
{
    target->live = true;
    target->cancelled = target->limited = false;
    target->rounds++;
    started++;
    CALL(target->stage->kind->start(target->stage, &target->op, on_done));
}

static void cancel(struct target *target)
{
    target->cancelled |= target->live;
    CALL(proa_cancel(&target->op));
}

static void limit(struct target *target, uint64_t ahead_ns)
{
    target->limited |= target->live;
    CALL(proa_set_deadline(&target->op, proa_now(target->stage->loop) + ahead_ns));
}

/* A real result where the world moves by itself. */
static bool allows(const struct target *target, int64_t value)
{
    if (value == -ECANCELED)
        return target->cancelled;
    if (value == -ETIMEDOUT)
        return target->limited;
    return !(target->stage->kind->traits & WAITS) && value >= 0;
}

static void on_done(proa_op *op, proa_result result)
{
    struct target *target = proa_owner(op, struct target, op);

    if (test_in_call)
        test_reentered++;
    if (!HOLDS(target->live) || !HOLDS(allows(target, result.value)))
        fprintf(stderr, "    %s: value %lld\n", target->stage->kind->name, (long long)result.value);
    if (result.flags & PROA_MORE)
        return;
    target->live = false;
    finished++;
    if (started < wanted && random_below(2))
        start(target);
}

static void strike(struct target *target)
{
    switch (random_below(6)) {
    case 0:
    case 1:
        cancel(target);
        break;
    case 2:
        limit(target, 0);
        break;
    case 3:
        limit(target, random_below(200) * PROA_MICROSECOND_NS);
        break;
    case 4:
        limit(target, 0);
        cancel(target);
        break;
    case 5:
        cancel(target);
        limit(target, 0);
        break;
    }
}

static void rage(proa_loop *loop)
{
    while (finished < wanted) {
        for (size_t i = 0; i < target_count; i++) {
            struct target *target = &targets[i];

            if (!target->live && started < wanted)
                start(target);
            if (target->live && (random_below(3) == 0 || started == wanted))
                strike(target);
        }
        proa_loop_run(loop, PROA_NO_WAIT);
    }
}

static void set_all(proa_loop *loop)
{
    stage_count = target_count = 0;
    for (size_t i = 0; i < kind_count; i++) {
        if (!takes_part(&kinds[i]))
            continue;
        stage_set(&stages[stage_count], &kinds[i], loop);
        for (int copy = 0; copy < COPIES; copy++)
            targets[target_count++] = (struct target){.stage = &stages[stage_count]};
        stage_count++;
    }
}

static void clear_all(proa_loop *loop)
{
    for (size_t i = 0; i < stage_count; i++) {
        if (stages[i].blocker_count)
            stage_provoke(&stages[i]);
        stage_close_extras(&stages[i]);
    }
    proa_loop_close(loop);
    for (size_t i = 0; i < stage_count; i++)
        stage_clear(&stages[i]);
}

static void storm(unsigned size)
{
    proa_loop *loop = loop_open();

    test_case("a storm of %u", size);
    started = finished = 0;
    wanted = size;
    set_all(loop);
    rage(loop);
    HOLDS(started == size && finished == size);
    for (size_t i = 0; i < target_count; i++) {
        if (!HOLDS(targets[i].rounds > 0))
            fprintf(stderr, "    %s: never started\n", targets[i].stage->kind->name);
        HOLDS(!proa_in_flight(&targets[i].op));
    }
    clear_all(loop);
}

int main(int argc, char **argv)
{
    int64_t blocks;
    int fds;

    test_begin(argc, argv, "storms");
    storm(WARM_UP);
    fds = fd_count();
    blocks = heap_live();
    storm(test_slow() ? SLOW_STORM : STORM);
    HOLDS(test_reentered == 0);
    HOLDS(fd_count() == fds);
    HOLDS(heap_live() == blocks);
    return check_done("storms");
}

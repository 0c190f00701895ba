/* Rule 2: every started op gets exactly one final completion, on every path: success, error, cancel, deadline,
 * descriptor closed, loop closed. Every kind of op is sent down every path, each time on a loop of its own, and no
 * descriptor may be left over. */
#include "kinds.h"

enum outcome { RESULT = 1, CANCELED = 2, TIMED_OUT = 4 };

struct path {
    const char *name;
    unsigned outcomes; /* of an op that waits, unprovoked */
    bool provoked;     /* the world moves at the same moment: a real result is as good */
    void (*walk)(struct stage *stage, struct slot *closing);
};

static void turns(struct stage *stage)
{
    for (int i = 0; i < 3; i++)
        proa_loop_run(stage->loop, PROA_NO_WAIT);
}

/* A repeating op may have seen its end, or be restarted by nobody: only an op in flight is asked to end. */
static void walk_result(struct stage *stage, struct slot *closing)
{
    (void)closing;
    if (stage->kind->traits & REPEATS) {
        if (!strcmp(stage->kind->name, "timer_repeat, far"))
            return proa_cancel(&stage->slot.op);
        stage_finish(stage);
        return proa_cancel(&stage->slot.op);
    }
    while ((stage->kind->traits & WAITS) && !stage->slot.finals) {
        stage_provoke(stage);
        if (stage->kind->traits & AT_EASE)
            loop_run_for(stage->loop, MS);
        else
            proa_loop_run(stage->loop, PROA_ONCE);
    }
}

static void walk_cancel(struct stage *stage, struct slot *closing)
{
    (void)closing;
    proa_cancel(&stage->slot.op);
}

static void walk_turn_cancel(struct stage *stage, struct slot *closing)
{
    turns(stage);
    walk_cancel(stage, closing);
}

static void walk_cancel_twice(struct stage *stage, struct slot *closing)
{
    turns(stage);
    walk_cancel(stage, closing);
    walk_cancel(stage, closing);
    proa_loop_run(stage->loop, PROA_NO_WAIT);
    walk_cancel(stage, closing);
}

static void walk_provoke_cancel(struct stage *stage, struct slot *closing)
{
    turns(stage);
    stage_provoke(stage);
    walk_cancel(stage, closing);
}

static void walk_cancel_provoke(struct stage *stage, struct slot *closing)
{
    turns(stage);
    walk_cancel(stage, closing);
    stage_provoke(stage);
}

static void walk_deadline_past(struct stage *stage, struct slot *closing)
{
    (void)closing;
    proa_set_deadline(&stage->slot.op, 1);
}

static void walk_deadline_soon(struct stage *stage, struct slot *closing)
{
    (void)closing;
    proa_set_deadline(&stage->slot.op, clock_ns() + MS);
}

static void walk_deadline_cancel(struct stage *stage, struct slot *closing)
{
    walk_deadline_past(stage, closing);
    walk_cancel(stage, closing);
}

static void walk_cancel_deadline(struct stage *stage, struct slot *closing)
{
    turns(stage);
    walk_cancel(stage, closing);
    if (proa_in_flight(&stage->slot.op))
        walk_deadline_past(stage, closing);
}

static void walk_turn_deadline_provoke(struct stage *stage, struct slot *closing)
{
    turns(stage);
    if (proa_in_flight(&stage->slot.op))
        walk_deadline_past(stage, closing);
    stage_provoke(stage);
}

static void close_fd(struct stage *stage, struct slot *closing)
{
    proa_close(stage->loop, &closing->op, stage->fd, slot_done);
    stage->fd.handle = -1;
}

static void walk_close(struct stage *stage, struct slot *closing)
{
    close_fd(stage, closing);
}

static void walk_turn_close(struct stage *stage, struct slot *closing)
{
    turns(stage);
    close_fd(stage, closing);
}

static void walk_close_cancel(struct stage *stage, struct slot *closing)
{
    close_fd(stage, closing);
    walk_cancel(stage, closing);
}

static void walk_cancel_close(struct stage *stage, struct slot *closing)
{
    turns(stage);
    walk_cancel(stage, closing);
    close_fd(stage, closing);
}

static void close_loop(struct stage *stage)
{
    if (stage->blocker_count)
        stage_provoke(stage); /* a function that runs cannot be taken back */
    proa_loop_close(stage->loop);
    stage->loop = NULL;
}

static void walk_loop_close(struct stage *stage, struct slot *closing)
{
    (void)closing;
    close_loop(stage);
}

static void walk_turn_loop_close(struct stage *stage, struct slot *closing)
{
    turns(stage);
    walk_loop_close(stage, closing);
}

static void walk_cancel_loop_close(struct stage *stage, struct slot *closing)
{
    turns(stage);
    walk_cancel(stage, closing);
    walk_loop_close(stage, closing);
}

static void walk_close_loop_close(struct stage *stage, struct slot *closing)
{
    turns(stage);
    close_fd(stage, closing);
    walk_loop_close(stage, closing);
}

static const struct path paths[] = {
    {"its result", RESULT, true, walk_result},
    {"cancel at once", CANCELED, false, walk_cancel},
    {"cancel after some turns", CANCELED, false, walk_turn_cancel},
    {"cancel again and again", CANCELED, false, walk_cancel_twice},
    {"provoked, then cancelled", RESULT | CANCELED, true, walk_provoke_cancel},
    {"cancelled, then provoked", RESULT | CANCELED, true, walk_cancel_provoke},
    {"deadline long past", TIMED_OUT, false, walk_deadline_past},
    {"deadline soon", TIMED_OUT, false, walk_deadline_soon},
    {"deadline, then cancel", TIMED_OUT | CANCELED, false, walk_deadline_cancel},
    {"cancel, then deadline", TIMED_OUT | CANCELED, false, walk_cancel_deadline},
    {"deadline, then provoked", RESULT | TIMED_OUT, true, walk_turn_deadline_provoke},
    {"its descriptor closed", CANCELED, false, walk_close},
    {"its descriptor closed after some turns", CANCELED, false, walk_turn_close},
    {"its descriptor closed, then cancel", CANCELED, false, walk_close_cancel},
    {"cancel, then its descriptor closed", CANCELED, false, walk_cancel_close},
    {"loop closed", CANCELED, false, walk_loop_close},
    {"loop closed after some turns", CANCELED, false, walk_turn_loop_close},
    {"cancel, then loop closed", CANCELED, false, walk_cancel_loop_close},
    {"descriptor closed, then loop closed", CANCELED, false, walk_close_loop_close},
};

static bool path_closes_fd(const struct path *path)
{
    return strstr(path->name, "descriptor closed");
}

/* An op that would complete by itself may have done so before it was asked to end. A stalled send may have moved more
 * bytes when it ends. A function that waited for a thread may have got one by the time the loop closes. */
static unsigned allowed(const struct stage *stage, const struct path *path)
{
    unsigned traits = stage->kind->traits;

    if (!(traits & WAITS) || path->provoked || (traits & STREAMS) || stage->blocker_count)
        return path->outcomes | (path->outcomes == RESULT && (traits & REPEATS) ? CANCELED : RESULT);
    return path->outcomes;
}

static unsigned outcome_of(int64_t value)
{
    return value == -ECANCELED ? CANCELED : value == -ETIMEDOUT ? TIMED_OUT : value >= 0 ? RESULT : 0;
}

static void judge(struct stage *stage, const struct path *path)
{
    unsigned outcome = outcome_of(stage->slot.value);

    if (stage->kind->traits & REPEATS && path->outcomes == RESULT)
        outcome = outcome == CANCELED ? RESULT : 0;
    if (!HOLDS(outcome & allowed(stage, path)))
        fprintf(stderr, "    value: %lld (%s)\n", (long long)stage->slot.value,
                stage->slot.value < 0 ? strerror((int)-stage->slot.value) : "");
    HOLDS(!(stage->slot.flags & PROA_MORE));
    HOLDS(!proa_in_flight(&stage->slot.op));
}

static bool can_walk(const struct kind *kind, const struct path *path)
{
    if (path_closes_fd(path) && !(kind->traits & ON_FD))
        return false;
    if (kind->traits & SLOW)
        return !path->provoked;
    return true;
}

static void walk(const struct kind *kind, const struct path *path)
{
    static struct stage stage;
    struct slot closing = {0};
    int before = fd_count();

    test_case("%s: %s", kind->name, path->name);
    stage_set(&stage, kind, loop_open());
    stage_start(&stage);
    path->walk(&stage, &closing);
    if (stage.loop) {
        stage_wait(&stage);
        judge(&stage, path);
        if (path_closes_fd(path))
            RUN_UNTIL(stage.loop, closing.finals);
        stage_close_extras(&stage);
        loop_run_for(stage.loop, MS / 2);
        proa_loop_close(stage.loop);
    } else {
        judge(&stage, path);
    }
    HOLDS(stage.slot.finals == 1);
    HOLDS(closing.finals == (path_closes_fd(path) ? 1 : 0));
    if (path_closes_fd(path))
        HOLDS(closing.value == 0);
    if (kind->traits & CLOSES)
        HOLDS((stage.fd.handle < 0) == (stage.slot.value == 0));
    stage_clear(&stage);
    if (!HOLDS(fd_count() == before))
        fprintf(stderr, "    descriptors: %d, then %d\n", before, fd_count());
}

/* A stale cancel or deadline must not strike the op's next life. */
static void test_next_life(const struct kind *kind)
{
    static struct stage stage;

    if (!(kind->traits & WAITS) || (kind->traits & (SLOW | REPEATS)) || kind->set == NULL)
        return;
    test_case("%s: started again after cancel and deadline", kind->name);
    stage_set(&stage, kind, loop_open());
    if (!stage.blocker_count) {
        for (int i = 0; i < 8; i++) {
            stage_start(&stage);
            proa_set_deadline(&stage.slot.op, clock_ns() + MS);
            if (i % 2)
                turns(&stage);
            proa_cancel(&stage.slot.op);
            proa_cancel(&stage.slot.op);
            RUN_UNTIL(stage.loop, stage.slot.finals == (unsigned)i + 1);
        }
        proa_cancel(&stage.slot.op); /* idle: left alone */
        stage_start(&stage);
        loop_run_for(stage.loop, 3 * MS);
        if (!(kind->traits & STREAMS))
            HOLDS(stage.slot.finals == 8);
        stage.slot.finals = 0;
        while (!stage.slot.finals) {
            stage_provoke(&stage);
            loop_run_for(stage.loop, MS / 4);
        }
        HOLDS(stage.slot.value >= 0);
    }
    stage_close_extras(&stage);
    proa_loop_close(stage.loop);
    stage_clear(&stage);
}

/* Errors too are one completion, later, and leave the op idle. */
static void on_error_again(struct slot *slot, proa_result result)
{
    unsigned *left = slot->context;

    (void)result;
    if (--*left)
        proa_recv(slot->op.loop, &slot->op, proa_fd_of(-1), slot, 1, slot_done);
}

static void test_errors(void)
{
    proa_loop *loop = loop_open();
    unsigned left = 1000;
    struct slot slot = {.then = on_error_again, .context = &left};

    test_case("errors, each started from the one before");
    proa_recv(loop, &slot.op, proa_fd_of(-1), &slot, 1, slot_done);
    RUN_UNTIL(loop, !left);
    HOLDS(slot.finals == 1000 && slot.value == -EBADF);
    proa_loop_close(loop);
}

/* A socket that is full for all the cancels takes no more, and has data all the same. */
static uint64_t say(int far, size_t size)
{
    ssize_t count = write(far, "12345678", size);

    REQUIRE(count > 0 || errno == EAGAIN);
    return count > 0 ? (uint64_t)count : 0;
}

/* Thousands of receives with data, cancels and deadlines racing: one completion each, and no byte lost. */
static void storm_step(proa_loop *loop, struct slot *slot, int far, uint64_t *sent)
{
    unsigned dice = random_below(8);

    if (dice & 1)
        *sent += say(far, 1 + random_below(8));
    if (dice & 2)
        proa_loop_run(loop, PROA_NO_WAIT);
    if (random_below(4) == 0 && proa_in_flight(&slot->op))
        proa_set_deadline(&slot->op, clock_ns() + random_below(20000));
    if (random_below(2))
        proa_cancel(&slot->op);
    if (dice & 4)
        *sent += say(far, 1 + random_below(8));
    if (random_below(2))
        proa_cancel(&slot->op);
    else if (!dice || !(dice & 5))
        *sent += say(far, 1);
}

static void test_storm(enum family family)
{
    proa_loop *loop = loop_open();
    unsigned rounds = test_rounds(10000);
    struct slot slot = {0};
    uint64_t sent = 0;
    char data[64];
    proa_fd near;
    int far;

    test_case("cancel storm, %s", family == TCP ? "TCP" : "Unix");
    pair_open(loop, family, &near, &far);
    for (unsigned i = 0; i < rounds; i++) {
        proa_recv(loop, &slot.op, near, data, sizeof(data), slot_done);
        storm_step(loop, &slot, far, &sent);
        if (!slot.finals || slot.finals == i)
            sent += say(far, 1);
        RUN_UNTIL(loop, slot.finals > i);
        REQUIRE(slot.finals == i + 1);
        REQUIRE(slot.value > 0 || slot.value == -ECANCELED || slot.value == -ETIMEDOUT);
    }
    if (!test_has(PROA_FEATURE_DIRECT))
        HOLDS(slot.bytes + far_drain(proa_fd_number(near)) == sent);
    close_now(loop, near);
    close_plain(far);
    proa_loop_close(loop);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "c02_one_final_completion");
    for (size_t i = 0; i < kind_count; i++) {
        for (size_t j = 0; j < ARRAY_SIZE(paths); j++) {
            if (can_walk(&kinds[i], &paths[j]))
                walk(&kinds[i], &paths[j]);
        }
        test_next_life(&kinds[i]);
    }
    test_errors();
    test_storm(TCP);
    test_storm(UNIX);
    return check_done("c02_one_final_completion");
}

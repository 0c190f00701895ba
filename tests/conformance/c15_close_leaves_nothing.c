/* Rule 15: closing a loop cancels everything, delivers every final completion, and leaves nothing allocated, open or
 * mapped. Descriptors stay the caller's, but for those with a close under way. */
#include "kinds.h"

enum { COPIES = 3 };

static struct stage stages[COPIES][KINDS_MAX];

/* Everything in flight at once, several of each; some turns before, or none. */
static void everything(unsigned turns, uint32_t entries)
{
    proa_loop *loop = loop_open_sized(entries);

    for (size_t copy = 0; copy < COPIES; copy++) {
        for (size_t i = 0; i < kind_count; i++)
            stage_set(&stages[copy][i], &kinds[i], loop);
    }
    for (size_t copy = 0; copy < COPIES; copy++) {
        for (size_t i = 0; i < kind_count; i++)
            stage_start(&stages[copy][i]);
    }
    for (unsigned i = 0; i < turns; i++)
        proa_loop_run(loop, PROA_NO_WAIT);
    for (size_t copy = 0; copy < COPIES; copy++) {
        for (size_t i = 0; i < kind_count; i++) {
            if (stages[copy][i].blocker_count)
                stage_provoke(&stages[copy][i]);
        }
    }
    proa_loop_close(loop);
    for (size_t copy = 0; copy < COPIES; copy++) {
        for (size_t i = 0; i < kind_count; i++) {
            struct stage *stage = &stages[copy][i];

            test_case("everything in flight, %u turns, queue of %u: %s", turns, entries, kinds[i].name);
            HOLDS(stage->slot.finals == 1);
            if ((kinds[i].traits & WAITS) && !(kinds[i].traits & STREAMS) && !stage->blocker_count)
                if (!HOLDS(stage->slot.value == -ECANCELED))
                    fprintf(stderr, "    value: %lld\n", (long long)stage->slot.value);
            if (kinds[i].traits & CLOSES)
                HOLDS(stage->fd.handle < 0);
            for (unsigned j = 0; j < stage->blocker_count; j++)
                HOLDS(stage->blockers[j].finals == 1);
            stage_clear(stage);
        }
    }
}

/* What the process has, but for what a sanitizer maps. */
struct holdings {
    int64_t blocks;
    size_t maps;
};

static struct holdings holdings_now(void)
{
    return (struct holdings){heap_live(), test_slow() ? 0 : map_count()};
}

/* glibc keeps some of what threads had (stacks, arenas), and how much depends on how many there were at a time. But a leak
 * grows each time: three rounds in a row that leave nothing more are enough. */
static void test_nothing_left(unsigned turns, uint32_t entries)
{
    enum { ROUNDS_MAX = 30, ENOUGH = 3 };
    struct holdings before, after = holdings_now();
    int fds = fd_count();
    unsigned level = 0;

    for (unsigned i = 0; i < ROUNDS_MAX && level < ENOUGH; i++) {
        before = after;
        everything(turns, entries);
        after = holdings_now();
        level = after.blocks <= before.blocks && after.maps <= before.maps ? level + 1 : 0;
    }
    test_case("left over after everything, %u turns, queue of %u", turns, entries);
    if (!HOLDS(fd_count() == fds))
        fprintf(stderr, "    descriptors: %d, then %d\n", fds, fd_count());
    if (!HOLDS(level == ENOUGH))
        fprintf(stderr, "    heap blocks: %lld, then %lld; mappings: %zu, then %zu\n", (long long)before.blocks,
                (long long)after.blocks, before.maps, after.maps);
}

/* Many loops, opened and closed: what one leaves would add up. */
static void test_many_loops(void)
{
    int fds = fd_count();
    int64_t blocks;
    size_t maps;

    test_case("loops opened and closed");
    for (int i = 0; i < 3; i++)
        proa_loop_close(loop_open());
    blocks = heap_live();
    maps = map_count();
    for (int i = 0; i < 100; i++) {
        proa_loop *loop = loop_open();
        proa_buffer_pool *pool;

        REQUIRE(proa_buffer_pool_open(loop, 16, 1024, &pool) == 0);
        if (i % 2)
            proa_buffer_pool_close(pool);
        proa_loop_close(loop);
    }
    HOLDS(fd_count() == fds);
    HOLDS(heap_live() == blocks);
    if (!test_slow())
        HOLDS(map_count() <= maps);
}

/* Callbacks that start new ops while the loop closes: each gets its ECANCELED, and the close comes to an end. */
struct stubborn {
    struct slot slot;
    proa_fd fd;
    char data[8];
    unsigned left;
};

static void on_stubborn(struct slot *slot, proa_result result)
{
    struct stubborn *stubborn = proa_owner(slot, struct stubborn, slot);

    REQUIRE(result.value < 0);
    if (!stubborn->left--)
        return;
    if (stubborn->left % 2)
        proa_recv(slot->op.loop, &slot->op, stubborn->fd, stubborn->data, sizeof(stubborn->data), slot_done);
    else
        proa_timer(slot->op.loop, &slot->op, 1, slot_done);
}

static void test_started_while_closing(void)
{
    proa_loop *loop = loop_open();
    struct stubborn stubborn = {.slot.then = on_stubborn, .left = 20};
    int far;

    test_case("started while the loop closes");
    pair_open(loop, TCP, &stubborn.fd, &far);
    proa_recv(loop, &stubborn.slot.op, stubborn.fd, stubborn.data, sizeof(stubborn.data), slot_done);
    proa_loop_run(loop, PROA_NO_WAIT);
    proa_loop_close(loop);
    HOLDS(stubborn.slot.finals == 21);
    HOLDS(stubborn.slot.value == -ECANCELED);
    close_plain(stubborn.fd.handle);
    close_plain(far);
}

/* The usual server: at the end of a connection its callback closes the descriptor. So the close must be heeded. */
struct closer {
    struct slot recv, closing;
    proa_fd fd;
    char data[8];
};

static void on_end_close(struct slot *slot, proa_result result)
{
    struct closer *closer = slot->context;

    if (result.value <= 0)
        proa_close(slot->op.loop, &closer->closing.op, closer->fd, slot_done);
}

static void test_closed_while_closing(void)
{
    enum { COUNT = 50 };
    proa_loop *loop = loop_open();
    static struct closer closers[COUNT];
    int far[COUNT], fds = fd_count();

    test_case("descriptors closed by callbacks while the loop closes");
    for (size_t i = 0; i < COUNT; i++) {
        closers[i] = (struct closer){.recv.then = on_end_close};
        closers[i].recv.context = &closers[i];
        pair_open(loop, TCP, &closers[i].fd, &far[i]);
        proa_recv(loop, &closers[i].recv.op, closers[i].fd, closers[i].data, 8, slot_done);
    }
    proa_loop_close(loop);
    for (size_t i = 0; i < COUNT; i++) {
        HOLDS(closers[i].recv.value == -ECANCELED && closers[i].closing.finals == 1);
        if (HOLDS(closers[i].closing.value == 0))
            HOLDS(far_ended(far[i]));
        else
            close_plain(closers[i].fd.handle);
        close_plain(far[i]);
    }
    HOLDS(fd_count() < fds);
}

/* Posts that nobody has read yet are completions as well: with 0, since nothing can cancel them. */
static void test_posts_at_close(void)
{
    proa_loop *loop = loop_open();
    struct slot posts[10] = {0};

    test_case("posts at the close");
    for (size_t i = 0; i < ARRAY_SIZE(posts); i++)
        proa_post(loop, &posts[i].op, slot_done);
    proa_loop_close(loop);
    for (size_t i = 0; i < ARRAY_SIZE(posts); i++)
        HOLDS(posts[i].finals == 1 && posts[i].value == 0);
}

/* Lent buffers at the close are the caller's no more, and no crash; the pool goes with its loop. */
static void test_lent_at_close(void)
{
    static struct stage stage;

    test_case("a lent buffer at the close");
    stage_set(&stage, kind_named("recv_many"), loop_open());
    stage.keep_result = true;
    stage_start(&stage);
    stage_finish(&stage);
    HOLDS(stage.slot.flags & PROA_LENT);
    proa_loop_close(stage.loop);
    HOLDS(stage.slot.finals == 1);
    stage_clear(&stage);
}

/* Functions that run when the loop closes are waited for: their op, and what they use, is the loop's so long. */
static int64_t slow_function(proa_op *op)
{
    struct slot *slot = proa_owner(op, struct slot, op);

    sleep_ms(20);
    *(unsigned *)slot->context = 1;
    return 5;
}

static void test_function_runs(void)
{
    proa_loop *loop = loop_open();
    unsigned ran = 0;
    struct slot slot = {.context = &ran};

    test_case("a function runs at the close");
    proa_work(loop, &slot.op, slow_function, slot_done);
    loop_run_for(loop, 2 * MS);
    proa_loop_close(loop);
    HOLDS(slot.finals == 1);
    HOLDS(ran ? slot.value == 5 : slot.value == -ECANCELED);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "c15_close_leaves_nothing");
    test_nothing_left(0, 0);
    test_nothing_left(3, 0);
    test_nothing_left(1, 8);
    test_many_loops();
    test_started_while_closing();
    test_closed_while_closing();
    test_posts_at_close();
    test_lent_at_close();
    test_function_runs();
    return check_done("c15_close_leaves_nothing");
}

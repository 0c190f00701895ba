/* Rule 13: post and wake may be called from any thread. Each post is one completion, no wake is lost, and what the
 * posting thread wrote before is there for the callback to read. Runs under the thread sanitizer, too. */
#include "harness.h"

#include <pthread.h>

enum { THREADS = 8 };

struct letter {
    proa_op op;
    uint64_t written; /* plainly, before the post; read by the callback */
    uint32_t seen;
};

struct sender {
    pthread_t thread;
    proa_loop *loop;
    struct letter *letters;
    size_t count;
    unsigned pause_one_in;
};

static uint64_t delivered, sum;

static void on_letter(proa_op *op, proa_result result)
{
    struct letter *letter = proa_owner(op, struct letter, op);

    REQUIRE(result.value == 0 && result.flags == 0 && !proa_in_flight(op));
    letter->seen++;
    delivered++;
    sum += letter->written;
}

static void *send_letters(void *argument)
{
    struct sender *sender = argument;

    for (size_t i = 0; i < sender->count; i++) {
        sender->letters[i].written = i + 1;
        proa_post(sender->loop, &sender->letters[i].op, on_letter);
        if (sender->pause_one_in && i % sender->pause_one_in == 0)
            sleep_ms(1);
    }
    return NULL;
}

static void test_posts(unsigned pause_one_in, bool traffic)
{
    size_t count = pause_one_in ? 60 : test_slow() ? 4000 : 20000;
    struct sender senders[THREADS];
    proa_loop *loop = loop_open();
    struct slot tick = {0};
    uint64_t expected = THREADS * (count * (count + 1) / 2);

    test_case("posts of %d threads%s%s", THREADS, pause_one_in ? ", with pauses" : "", traffic ? ", and timers" : "");
    delivered = sum = 0;
    if (traffic)
        proa_timer_repeat(loop, &tick.op, 1, MS / 10, slot_done);
    for (size_t i = 0; i < THREADS; i++) {
        senders[i] = (struct sender){.loop = loop, .count = count, .pause_one_in = pause_one_in};
        senders[i].letters = calloc(count, sizeof(*senders[i].letters));
        REQUIRE(pthread_create(&senders[i].thread, NULL, send_letters, &senders[i]) == 0);
    }
    RUN_UNTIL(loop, delivered == THREADS * count);
    for (size_t i = 0; i < THREADS; i++)
        REQUIRE(pthread_join(senders[i].thread, NULL) == 0);
    loop_run_for(loop, MS);
    HOLDS(delivered == THREADS * count);
    HOLDS(sum == expected);
    for (size_t i = 0; i < THREADS; i++) {
        for (size_t j = 0; j < count; j++)
            REQUIRE(senders[i].letters[j].seen == 1);
        free(senders[i].letters);
    }
    proa_loop_close(loop);
}

/* A ball between two loops on two threads: the op changes its loop with each post. */
struct court {
    proa_loop *loops[2];
    proa_op ball;
    unsigned hits, hits_max;
    struct slot stop[2];
    pthread_barrier_t ready;
};

static void on_stop(struct slot *slot, proa_result result)
{
    (void)result;
    proa_loop_stop(slot->op.loop);
}

static struct court court;

static void on_ball(proa_op *op, proa_result result)
{
    bool at = op->loop == court.loops[1];

    REQUIRE(result.value == 0);
    if (++court.hits < court.hits_max)
        return proa_post(court.loops[!at], op, on_ball);
    for (int i = 0; i < 2; i++)
        proa_post(court.loops[i], &court.stop[i].op, slot_done);
}

static void *play(void *argument)
{
    int at = *(int *)argument;

    court.loops[at] = loop_open();
    pthread_barrier_wait(&court.ready);
    proa_loop_run(court.loops[at], PROA_UNTIL_STOPPED);
    pthread_barrier_wait(&court.ready);
    proa_loop_close(court.loops[at]);
    return NULL;
}

static void test_two_loops(void)
{
    static int sides[2] = {0, 1};
    pthread_t threads[2];

    test_case("a ball between two loops");
    court.hits_max = test_rounds(5000);
    court.stop[0].then = court.stop[1].then = on_stop;
    REQUIRE(pthread_barrier_init(&court.ready, NULL, 3) == 0);
    for (int i = 0; i < 2; i++)
        REQUIRE(pthread_create(&threads[i], NULL, play, &sides[i]) == 0);
    pthread_barrier_wait(&court.ready);
    proa_post(court.loops[0], &court.ball, on_ball);
    pthread_barrier_wait(&court.ready);
    for (int i = 0; i < 2; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    HOLDS(court.hits == court.hits_max);
    pthread_barrier_destroy(&court.ready);
}

/* Wake: no run waits after one, and one wakes one wait, not all that follow. */
static void *wake_later(void *argument)
{
    sleep_ms(5);
    proa_loop_wake(argument);
    return NULL;
}

static void test_wake(void)
{
    proa_loop *loop = loop_open();
    struct slot far = {0}, near = {0};
    pthread_t thread;

    /* On a machine the hour would be over at once. */
    proa_timer(loop, &far.op, test_simulated() ? PROA_NEVER : clock_ns() + 3600 * PROA_SECOND_NS, slot_done);
    for (int i = 0; i < 20; i++) {
        test_case("a wake during the wait, %d", i);
        REQUIRE(pthread_create(&thread, NULL, wake_later, loop) == 0);
        proa_loop_run(loop, PROA_ONCE);
        REQUIRE(pthread_join(thread, NULL) == 0);
        proa_loop_run(loop, PROA_NO_WAIT);
        test_case("a wake before the wait, %d", i);
        proa_loop_wake(loop);
        proa_loop_wake(loop);
        proa_loop_run(loop, PROA_ONCE);
    }
    test_case("wakes are not saved up");
    proa_loop_run(loop, PROA_NO_WAIT);
    for (int i = 0; i < 100; i++)
        proa_loop_wake(loop);
    proa_timer(loop, &near.op, clock_ns() + 20 * MS, slot_done);
    {
        unsigned turns = 0;

        for (; !near.finals; turns++)
            proa_loop_run(loop, PROA_ONCE);
        HOLDS(turns < 20);
    }
    HOLDS(far.finals == 0);
    proa_loop_close(loop);
}

/* A storm of wakes beside real work: the work is done, and nothing overflows. */
static bool storm_over;

static void *storm(void *argument)
{
    while (!__atomic_load_n(&storm_over, __ATOMIC_ACQUIRE))
        proa_loop_wake(argument);
    return NULL;
}

static void test_wake_storm(uint32_t entries)
{
    proa_loop *loop = loop_open_sized(entries);
    struct slot tick = {0}, receive = {0};
    pthread_t threads[2];
    char data[8];
    proa_fd near;
    int far;

    test_case("a storm of wakes, queue of %u", entries);
    storm_over = false;
    pair_open(loop, TCP, &near, &far);
    for (int i = 0; i < 2; i++)
        REQUIRE(pthread_create(&threads[i], NULL, storm, loop) == 0);
    proa_timer_repeat(loop, &tick.op, 1, MS, slot_done);
    for (unsigned i = 0; i < 200; i++) {
        test_case("a storm of wakes, queue of %u, receive %u", entries, i);
        proa_recv(loop, &receive.op, near, data, sizeof(data), slot_done);
        REQUIRE(write(far, "x", 1) == 1);
        RUN_UNTIL(loop, receive.finals > i);
    }
    RUN_UNTIL(loop, tick.mores > 5);
    __atomic_store_n(&storm_over, true, __ATOMIC_RELEASE);
    for (int i = 0; i < 2; i++)
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    HOLDS(receive.finals == 200 && receive.value == 1);
    close_now(loop, near);
    close_plain(far);
    proa_loop_close(loop);
}

/* Functions on the pool, their data handed over and back. */
struct job {
    struct slot slot;
    uint64_t in, out;
};

static int64_t square(proa_op *op)
{
    struct job *job = proa_owner(op, struct job, slot.op);

    job->out = job->in * job->in;
    return (int64_t)job->in;
}

static void test_work(void)
{
    enum { COUNT = 1000 };
    static struct job jobs[COUNT];
    proa_loop *loop = loop_open();

    test_case("%d functions on the pool", COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        jobs[i] = (struct job){.in = i};
        proa_work(loop, &jobs[i].slot.op, square, slot_done);
        if (i % 3 == 0)
            proa_cancel(&jobs[i].slot.op);
    }
    HOLDS(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    for (size_t i = 0; i < COUNT; i++) {
        REQUIRE(jobs[i].slot.finals == 1);
        if (jobs[i].slot.value == (int64_t)i)
            REQUIRE(jobs[i].out == i * i);
        else
            REQUIRE(i % 3 == 0 && jobs[i].slot.value == -ECANCELED && jobs[i].out == 0);
    }
    proa_loop_close(loop);
}

/* Posts and wakes from functions on the loop's own pool. */
static proa_loop *own_loop;
static struct letter own_letters[200];

static int64_t post_from_pool(proa_op *op)
{
    struct job *job = proa_owner(op, struct job, slot.op);

    own_letters[job->in].written = 1;
    proa_post(own_loop, &own_letters[job->in].op, on_letter);
    return 0;
}

static void test_post_from_pool(void)
{
    static struct job jobs[ARRAY_SIZE(own_letters)];

    test_case("posts from the loop's own pool");
    own_loop = loop_open();
    delivered = sum = 0;
    for (size_t i = 0; i < ARRAY_SIZE(jobs); i++) {
        jobs[i] = (struct job){.in = i};
        proa_work(own_loop, &jobs[i].slot.op, post_from_pool, slot_done);
    }
    RUN_UNTIL(own_loop, delivered == ARRAY_SIZE(jobs));
    HOLDS(proa_loop_run(own_loop, PROA_UNTIL_IDLE) == 0);
    HOLDS(sum == ARRAY_SIZE(jobs));
    proa_loop_close(own_loop);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "c13_post_and_wake");
    test_posts(0, false);
    test_posts(0, true);
    test_posts(3, false);
    test_two_loops();
    test_wake();
    test_wake_storm(0);
    test_wake_storm(8);
    test_work();
    test_post_from_pool();
    return check_done("c13_post_and_wake");
}

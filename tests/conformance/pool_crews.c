/* The pool's two crews: functions that take long keep no file op waiting, and the other way round; what waits in either
 * queue can be cancelled. */
#include "harness.h"

#include <pthread.h>

enum { FUNCTIONS = 64, THREADS = 2 };

static proa_loop *loop;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int released;

/* On a machine functions run on the loop's thread: there they take time by themselves. */
static int64_t wait_for_release(proa_op *op)
{
    (void)op;
    pthread_mutex_lock(&lock);
    while (!released && !test_simulated())
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    return 7;
}

static int64_t run_at_once(proa_op *op)
{
    (void)op;
    return 8;
}

static void release(void)
{
    pthread_mutex_lock(&lock);
    released = 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static bool all_done(const struct slot *slots)
{
    for (size_t i = 0; i < FUNCTIONS; i++)
        if (!slots[i].finals)
            return false;
    return true;
}

static void test_functions_block_no_file(void)
{
    static struct slot functions[FUNCTIONS];
    struct slot read = {0}, sync = {0};
    struct statx status;
    struct slot stat = {0};
    char data[6];
    int file = temp_file("beside functions", "abcdef", 6);

    test_case("functions fill their queue");
    for (size_t i = 0; i < FUNCTIONS; i++)
        proa_work(loop, &functions[i].op, wait_for_release, slot_done);
    proa_read(loop, &read.op, proa_fd_of(file), data, sizeof(data), 0, slot_done);
    proa_fsync(loop, &sync.op, proa_fd_of(file), slot_done);
    proa_stat(loop, &stat.op, PROA_CWD, temp_path("beside functions"), 0, STATX_BASIC_STATS, &status, slot_done);
    RUN_UNTIL(loop, read.finals && sync.finals && stat.finals);
    HOLDS(read.value == 6 && sync.value == 0 && stat.value == 0);
    HOLDS(!all_done(functions));

    test_case("one that waits is cancelled, one that runs is not");
    proa_cancel(&functions[FUNCTIONS - 1].op);
    RUN_UNTIL(loop, functions[FUNCTIONS - 1].finals);
    HOLDS(functions[FUNCTIONS - 1].value == -ECANCELED);
    HOLDS(!all_done(functions));
    if (!test_simulated())
        proa_cancel(&functions[0].op);
    release();
    RUN_UNTIL(loop, all_done(functions));
    for (size_t i = 0; i < FUNCTIONS - 1; i++)
        HOLDS(functions[i].value == 7 || (i == 0 && functions[i].value == -ECANCELED));
    close_plain(file);
}

/* Opening a FIFO waits for who opens its other end, and so does the thread that opens it. */
static void test_files_block_no_function(void)
{
    struct slot opens[THREADS] = {0}, behind = {0}, function = {0};
    const char *path = temp_path("fifo");
    struct statx status;
    int other;

    test_case("file ops fill their queue");
    if (test_simulated() || test_lane("inline"))
        return; /* no thread that could wait */
    REQUIRE(mkfifo(path, 0600) == 0);
    for (size_t i = 0; i < THREADS; i++)
        proa_open(loop, &opens[i].op, PROA_CWD, path, (proa_open_how){.flags = O_RDONLY}, slot_done);
    proa_stat(loop, &behind.op, PROA_CWD, path, 0, STATX_BASIC_STATS, &status, slot_done);
    proa_work(loop, &function.op, run_at_once, slot_done);
    RUN_UNTIL(loop, function.finals);
    HOLDS(function.value == 8);
    if (!test_lane("")) {
        HOLDS(behind.finals == 0); /* both threads wait for the other end */
        proa_cancel(&behind.op);
        RUN_UNTIL(loop, behind.finals);
        HOLDS(behind.value == -ECANCELED);
    }
    other = open(path, O_RDWR | O_CLOEXEC);
    REQUIRE(other >= 0);
    RUN_UNTIL(loop, opens[0].finals && opens[1].finals && behind.finals);
    for (size_t i = 0; i < THREADS; i++) {
        HOLDS(opens[i].value >= 0);
        close_now(loop, proa_fd_of((int)opens[i].value));
    }
    close(other);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "pool_crews");
    loop = loop_open_with((proa_loop_options){.pool_threads = THREADS, .file_threads = THREADS});
    test_functions_block_no_file();
    test_files_block_no_function();
    proa_loop_close(loop);
    return check_done("pool_crews");
}

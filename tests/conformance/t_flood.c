/* Trap: one fast sender takes the loop for itself. Beside a connection that always has more to read, a hundred polite ones
 * ask and wait: each is answered within a few turns, and a turn takes only so much of the flood. */
#include "harness.h"

#include <sys/prctl.h>
#include <sys/wait.h>

enum { POLITE = 100, ROUNDS = 20, BUFFERS = 64, BUFFER_SIZE = 512, TURNS_MAX = 16, FLOOD_PER_TURN_MAX = 256 };

static proa_loop *loop;
static proa_buffer_pool *pool;
static struct slot flood;

static struct polite {
    struct slot asked, answered;
    proa_fd near;
    int far;
    char question[8];
} polite[POLITE];

static void on_flood(struct slot *slot, proa_result result)
{
    (void)slot;
    if (result.flags & PROA_LENT)
        proa_buffer_return(pool, result.buffer);
}

static void ask_again(struct polite *one);

static void on_asked(struct slot *slot, proa_result result)
{
    struct polite *one = slot->context;

    if (result.value == 4)
        proa_send(loop, &one->answered.op, one->near, one->question, 4, slot_done);
}

static void on_answered(struct slot *slot, proa_result result)
{
    REQUIRE(result.value == 4);
    ask_again(slot->context);
}

static void ask_again(struct polite *one)
{
    proa_recv(loop, &one->asked.op, one->near, one->question, 4, slot_done);
}

/* As fast as a process of its own can. */
static pid_t start_flood(int fd)
{
    static const char bulk[65536];
    pid_t pid = fork();

    REQUIRE(pid >= 0);
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fcntl(fd, F_SETFL, 0);
    while (send(fd, bulk, sizeof(bulk), MSG_NOSIGNAL) > 0)
        continue;
    _exit(0);
}

static bool all_answered(unsigned round)
{
    for (size_t i = 0; i < POLITE; i++)
        if (polite[i].answered.finals < round)
            return false;
    return true;
}

/* Where threads make the calls, the scheduler says when each has its turn: that all are answered is what can be asked. */
static uint64_t turns_max(void)
{
    return test_hands_over() ? UINT64_MAX : TURNS_MAX;
}

/* One turn hears all questions, since they came before it; some more are for engines that answer from elsewhere. */
static void test_round(unsigned round)
{
    uint64_t before = proa_loop_meters(loop).wake_ups, flooded = flood.mores, turns;

    for (size_t i = 0; i < POLITE; i++)
        REQUIRE(write(polite[i].far, "ask?", 4) == 4);
    RUN_UNTIL(loop, all_answered(round));
    turns = proa_loop_meters(loop).wake_ups - before;
    flooded = flood.mores - flooded;
    if (!HOLDS(turns <= turns_max()) || !HOLDS(flooded <= turns * FLOOD_PER_TURN_MAX))
        fprintf(stderr, "    %llu turns, %llu of the flood\n", (unsigned long long)turns, (unsigned long long)flooded);
    for (size_t i = 0; i < POLITE; i++) {
        char answer[8];

        HOLDS(far_read(polite[i].far, answer, 4) == 4 && memcmp(answer, "ask?", 4) == 0);
    }
}

int main(int argc, char **argv)
{
    proa_fd near;
    pid_t child;
    int far;

    test_begin(argc, argv, "t_flood");
    loop = loop_open();
    REQUIRE(proa_buffer_pool_open(loop, BUFFERS, BUFFER_SIZE, &pool) == 0);
    test_case("the flood comes");
    for (size_t i = 0; i < POLITE; i++) {
        polite[i].asked = (struct slot){.then = on_asked, .context = &polite[i]};
        polite[i].answered = (struct slot){.then = on_answered, .context = &polite[i]};
        pair_open(loop, i % 2 ? TCP : UNIX, &polite[i].near, &polite[i].far);
        ask_again(&polite[i]);
    }
    pair_open(loop, TCP, &near, &far);
    child = start_flood(far);
    flood.then = on_flood;
    proa_recv_many(loop, &flood.op, near, pool, slot_done);
    RUN_UNTIL(loop, flood.mores > 1000);
    test_case("%d ask beside it", POLITE);
    for (unsigned round = 1; round <= ROUNDS; round++)
        test_round(round);
    HOLDS(flood.finals == 0);
    proa_cancel(&flood.op);
    RUN_UNTIL(loop, flood.finals);
    close_now(loop, near);
    close_plain(far);
    REQUIRE(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    for (size_t i = 0; i < POLITE; i++) {
        close_now(loop, polite[i].near);
        close_plain(polite[i].far);
    }
    proa_buffer_pool_close(pool);
    proa_loop_close(loop);
    return check_done("t_flood");
}

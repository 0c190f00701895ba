/* An ordinary user with 8 MiB of lockable memory, the usual limit: rings are charged to it, and when it is used up the next
 * loop is on another engine instead of none. */
#include "harness.h"

#include <sys/resource.h>

enum { LOOPS = 400, LIMIT = 8 << 20, USERS = 60000 };

static proa_loop *loops[LOOPS];

/* A user's memory is counted over all of its processes: one that no other test is, and that a small namespace knows, too. */
static uid_t lone_user(void)
{
    return 1 + (uid_t)getpid() % USERS;
}

static void use_each(void)
{
    for (unsigned i = 0; i < LOOPS; i++) {
        struct slot slot = {0};

        proa_timer(loops[i], &slot.op, 0, slot_done);
        RUN_UNTIL(loops[i], slot.finals);
        REQUIRE(slot.value == 0);
    }
}

static void open_many(void *argument)
{
    struct rlimit limit = {LIMIT, LIMIT};
    unsigned on_rings = 0;

    (void)argument;
    REQUIRE(unsetenv("PROA_ENGINE") == 0);
    REQUIRE(setrlimit(RLIMIT_MEMLOCK, &limit) == 0 && setuid(lone_user()) == 0);
    for (unsigned i = 0; i < LOOPS; i++) {
        REQUIRE(proa_loop_open(&loops[i], &(proa_loop_options){.pool_threads = 1, .file_threads = 1}) == 0);
        on_rings += strcmp(proa_loop_engine(loops[i]), "uring") == 0;
        if (strcmp(proa_loop_engine(loops[i]), "uring") != 0)
            REQUIRE(strstr(proa_loop_choice(loops[i]), "RLIMIT_MEMLOCK") != NULL);
    }
    REQUIRE(on_rings > 0 && on_rings < LOOPS);
    use_each();
    for (unsigned i = 0; i < LOOPS; i++)
        proa_loop_close(loops[i]);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "t_little_locked_memory");
    if (strcmp(test_engine(), "uring") != 0 || test_has(~0u) || getuid() != 0)
        return 77; /* about rings alone, and about another user than ourselves */
    test_case("%d loops, %d bytes", LOOPS, LIMIT);
    HOLDS(child_passes(open_many, NULL));
    return check_done("t_little_locked_memory");
}

/* The whole of our test library. A test is a program; it exits 0 when every check held, 1 when one did not, 77 when it
 * cannot run here. */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include <stdio.h>

static int check_count;
static int check_failed;

/* The value is the condition, so that a test can say more or stop: if (!CHECK(fd >= 0)) return check_done("x"); */
#define CHECK(cond) check_that((cond) ? 1 : 0, #cond, __FILE__, __LINE__)

static inline int check_that(int held, const char *what, const char *file, int line)
{
    check_count++;
    if (!held) {
        check_failed++;
        fprintf(stderr, "%s:%d: %s\n", file, line, what);
    }
    return held;
}

/* Returns the exit status. A test that checked nothing has failed. */
static inline int check_done(const char *name)
{
    printf("%s: %d checks %s\n", name, check_count, check_failed ? "made" : "passed");
    if (check_failed)
        printf("%s: %d failed\n", name, check_failed);
    return check_failed || !check_count;
}

/* Returns the exit status of a test that cannot run here. */
static inline int check_skip(const char *name, const char *why)
{
    printf("%s: cannot run here: %s\n", name, why);
    return 77;
}

#endif

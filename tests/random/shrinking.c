/* The shrinker, on predicates whose smallest failing program is known; and that printing uses every step. */
#include <string.h>

#include "../check.h"
#include "program.h"

struct wish {
    size_t asked;
};

/* A large send on some stream, later a close of it: of all the rest nothing matters. */
static bool send_then_close(const struct program *program, void *context)
{
    int sent_on = -1;

    ((struct wish *)context)->asked++;
    for (size_t i = 0; i < program->count; i++) {
        const struct step *step = &program->steps[i];

        if (step->kind == STEP_SEND && step->c >= 777)
            sent_on = step->b;
        if (step->kind == STEP_CLOSE && step->b == sent_on)
            return true;
    }
    return false;
}

static bool three_turns(const struct program *program, void *context)
{
    size_t turns = 0;

    ((struct wish *)context)->asked++;
    for (size_t i = 0; i < program->count; i++)
        turns += program->steps[i].kind == STEP_TURN;
    return turns >= 3;
}

static bool never(const struct program *program, void *context)
{
    (void)program;
    ((struct wish *)context)->asked++;
    return false;
}

static bool same(const struct program *left, const struct program *right)
{
    return left->count == right->count && memcmp(left->steps, right->steps, left->count * sizeof(left->steps[0])) == 0;
}

static void test_same_seed(void)
{
    static struct program first, again, other;

    program_generate(&first, 7);
    program_generate(&again, 7);
    program_generate(&other, 8);
    CHECK(same(&first, &again));
    CHECK(!same(&first, &other));
}

static void test_send_then_close(void)
{
    unsigned found = 0;

    for (uint64_t seed = 0; seed < 2000; seed++) {
        struct program program;
        struct wish wish = {0};

        program_generate(&program, seed);
        if (!send_then_close(&program, &wish))
            continue;
        found++;
        CHECK(program_shrink(&program, send_then_close, &wish) == wish.asked - 1);
        CHECK(program.count == 2);
        CHECK(program.steps[0].kind == STEP_SEND && program.steps[0].c == 777 && program.steps[0].a == 0);
        CHECK(program.steps[1].kind == STEP_CLOSE && program.steps[1].after == 0);
        CHECK(send_then_close(&program, &wish));
    }
    CHECK(found > 10);
}

static void test_three_turns(void)
{
    unsigned found = 0;

    for (uint64_t seed = 0; seed < 200; seed++) {
        struct program program;
        struct wish wish = {0};

        program_generate(&program, seed);
        if (!three_turns(&program, &wish))
            continue;
        found++;
        program_shrink(&program, three_turns, &wish);
        CHECK(program.count == 3);
    }
    CHECK(found > 10);
}

/* What does not fail again stays as it is. */
static void test_never(void)
{
    static struct program program, before;
    struct wish wish = {0};

    program_generate(&program, 1);
    before = program;
    CHECK(program_shrink(&program, never, &wish) > program.count);
    CHECK(same(&program, &before));
}

/* Every row, in its turn and deferred, has its place in the text, without a letter that stands for an argument. */
static void test_print(void)
{
    static char text[65536];

    for (size_t i = 0; i < STEP_KINDS; i++) {
        struct program program = {.count = 2};
        struct step step = {.kind = (uint8_t)i, .a = 3, .b = 8, .c = 1, .d = 5};
        FILE *file = fmemopen(text, sizeof(text), "w");

        program.steps[0] = program.steps[1] = step;
        program.steps[1].after = 4;
        program_print(&program, "epoll", "why", file);
        fclose(file);
        CHECK(strstr(text, "after[3] = step_1;"));
        CHECK(strstr(text, "static void step_1(void)"));
        CHECK(!strstr(text, "[A]") && !strstr(text, "(A") && !strstr(text, "[B]") && !strstr(text, " C)"));
    }
}

int main(void)
{
    test_same_seed();
    test_send_then_close();
    test_three_turns();
    test_never();
    test_print();
    return check_done("shrinking");
}

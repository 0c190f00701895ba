/* programs ENGINE [--programs N] [--seed S] [--seconds T] [--print]
 *
 * Runs N random programs, or as many as T seconds allow, and judges each by the model. The first that fails is shrunk and
 * printed as C. Program number i has seed S + i, so that `--seed S+i --programs 1` runs it again; without --seed the
 * clock gives one. --print prints programs instead of running them. */
#include <getopt.h>

#include "../conformance/harness.h"
#include "program.h"
#include "run.h"

enum {
    LIMIT_S = 50, /* of a program: it takes some ms on a machine that has nothing else to do */
    SLOW_LIMIT_S = 200,
    CANDIDATE_LIMIT_S = 1,
    SHRINK_S = 90,
    TRIES = 3, /* of a candidate: what depends on timing may not fail every time */
};

struct plan {
    uint64_t programs, seed, seconds;
    bool print;
};

static uint64_t number(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 0);

    if (*text && !*end)
        return value;
    fprintf(stderr, "programs: \"%s\" is no number\n", text);
    exit(2);
}

static struct plan parse(int argc, char **argv)
{
    static const struct option options[] = {
        {"programs", required_argument, NULL, 'n'},
        {"seed", required_argument, NULL, 's'},
        {"seconds", required_argument, NULL, 't'},
        {"print", no_argument, NULL, 'p'},
        {NULL, 0, NULL, 0},
    };
    struct plan plan = {.programs = 2000, .seed = clock_ns()};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'n')
            plan.programs = number(optarg);
        else if (option == 's')
            plan.seed = number(optarg);
        else if (option == 't')
            plan.seconds = number(optarg);
        else if (option == 'p')
            plan.print = true;
        else
            exit(2);
    }
    if (plan.seconds)
        plan.programs = UINT64_MAX;
    else if (test_slow())
        plan.programs = (plan.programs + 4) / 5;
    return plan;
}

struct failure {
    const char *what;
    uint64_t until_ns;
};

static bool fails_alike(const struct program *program, void *context)
{
    const struct failure *failure = context;
    struct verdict again;

    for (int i = 0; i < TRIES && clock_ns() < failure->until_ns; i++) {
        test_case("shrinking");
        program_run(program, test_engine(), CANDIDATE_LIMIT_S, true, &again);
        if (strcmp(again.what, failure->what) == 0)
            return true;
    }
    return false;
}

static void report(struct program *program, uint64_t seed, const struct verdict *verdict)
{
    struct failure failure = {verdict->what, clock_ns() + SHRINK_S * PROA_SECOND_NS};
    size_t steps = program->count;
    size_t tried = program_shrink(program, fails_alike, &failure);
    char why[512];

    fprintf(stderr, "programs %s: seed %llu: %s (%s)\n    shrunk from %zu steps to %zu by %zu candidates:\n\n",
            test_engine(), (unsigned long long)seed, verdict->what, verdict->detail, steps, program->count, tried);
    snprintf(why, sizeof(why), "Engine %s, seed %llu: %s (%s)", test_engine(), (unsigned long long)seed, verdict->what,
             verdict->detail);
    program_print(program, test_engine(), why, stderr);
}

static bool passes(uint64_t seed)
{
    struct program program;
    struct verdict verdict;

    test_case("seed %llu", (unsigned long long)seed);
    program_generate(&program, seed);
    program_run(&program, test_engine(), test_slow() ? SLOW_LIMIT_S : LIMIT_S, false, &verdict);
    if (CHECK(!verdict.what[0]))
        return true;
    report(&program, seed, &verdict);
    return false;
}

static void print(uint64_t seed, const char *engine)
{
    struct program program;
    char why[64];

    snprintf(why, sizeof(why), "Seed %llu", (unsigned long long)seed);
    program_generate(&program, seed);
    program_print(&program, engine, why, stdout);
}

int main(int argc, char **argv)
{
    struct plan plan = parse(argc, argv);
    char *arguments[] = {argv[0], argv[optind], NULL};
    uint64_t until_ns = clock_ns() + plan.seconds * PROA_SECOND_NS;

    test_begin(argc - optind + 1, arguments, "programs");
    if (plan.print) {
        for (uint64_t i = 0; i < plan.programs; i++)
            print(plan.seed + i, test_engine());
        return 0;
    }
    printf("programs %s: from seed %llu\n", test_engine(), (unsigned long long)plan.seed);
    proa_loop_close(loop_open_with((proa_loop_options){.pool_threads = 2})); /* what glibc keeps of threads, once */
    for (uint64_t i = 0; i < plan.programs && (!plan.seconds || clock_ns() < until_ns); i++) {
        if (!passes(plan.seed + i))
            break;
    }
    return check_done("programs");
}

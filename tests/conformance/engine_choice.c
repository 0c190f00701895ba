/* Engines are chosen at run time: by option, else by PROA_ENGINE, else the best that works; and the loop says why. */
#include "harness.h"

static int open_with(const char *option, const char *variable, char *ret_name)
{
    proa_loop_options options = {.engine = option};
    proa_loop *loop = NULL;
    int result;

    if (variable)
        setenv("PROA_ENGINE", variable, 1);
    else
        unsetenv("PROA_ENGINE");
    result = proa_loop_open(&loop, option ? &options : NULL);
    unsetenv("PROA_ENGINE");
    ret_name[0] = '\0';
    if (result < 0)
        return result;
    snprintf(ret_name, 32, "%s", proa_loop_engine(loop));
    HOLDS(strstr(proa_loop_choice(loop), ret_name) != NULL);
    HOLDS(strlen(proa_loop_choice(loop)) > strlen(ret_name));
    proa_loop_close(loop);
    return 0;
}

static void test_forced(void)
{
    char name[32];

    test_case("forced by option");
    HOLDS(open_with(test_engine(), NULL, name) == 0 && strcmp(name, test_engine()) == 0);
    test_case("forced by PROA_ENGINE");
    HOLDS(open_with(NULL, test_engine(), name) == 0 && strcmp(name, test_engine()) == 0);
    test_case("the option goes before PROA_ENGINE");
    HOLDS(open_with(test_engine(), "nonsense", name) == 0 && strcmp(name, test_engine()) == 0);
}

static void test_unknown(void)
{
    static const char *const names[] = {"nonsense", "EPOLL", "uring ", " epoll", "ur", "epollx"};
    char name[32];

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        test_case("no engine is called \"%s\"", names[i]);
        HOLDS(open_with(names[i], NULL, name) == -EINVAL);
        HOLDS(open_with(NULL, names[i], name) == -EINVAL);
    }
}

/* An empty variable is an unset one. */
static void test_default(void)
{
    proa_engine_report report;
    char name[32], empty[32];
    size_t first = 0;

    test_case("by default the first that is available");
    while (proa_engine_inspect(first, &report) && !report.available)
        first++;
    HOLDS(open_with(NULL, NULL, name) == 0 && strcmp(name, report.name) == 0);
    test_case("PROA_ENGINE empty");
    HOLDS(open_with(NULL, "", empty) == 0 && strcmp(empty, name) == 0);
}

static void test_inspect(void)
{
    proa_engine_report report;
    bool uring = false, epoll = false;
    int before = fd_count();
    size_t count = 0;

    test_case("inspect");
    for (; proa_engine_inspect(count, &report); count++) {
        HOLDS(report.name && report.name[0] && report.summary && report.summary[0]);
        HOLDS(report.available == 0 || report.available == 1);
        HOLDS(report.available ? report.reason[0] == '\0' : report.reason[0] != '\0');
        uring |= strcmp(report.name, "uring") == 0;
        epoll |= strcmp(report.name, "epoll") == 0;
        if (count == 0)
            HOLDS(strcmp(report.name, "uring") == 0);
    }
    HOLDS(uring && epoll && count >= 2);
    HOLDS(proa_engine_inspect(count, &report) == 0);
    HOLDS(proa_engine_inspect(SIZE_MAX, &report) == 0);
    HOLDS(fd_count() == before);
}

static void test_options(void)
{
    static const struct {
        uint32_t entries, threads;
    } rows[] = {{0, 0}, {1, 1}, {2, 1}, {8, 2}, {256, 4}, {512, 16}, {4096, 1}};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        proa_loop_options options = {.queue_entries = rows[i].entries, .pool_threads = rows[i].threads};
        struct slot timer = {0}, opened = {0};
        proa_loop *loop;

        test_case("a queue of %u, %u threads", rows[i].entries, rows[i].threads);
        loop = loop_open_with(options);
        proa_timer(loop, &timer.op, clock_ns() + MS, slot_done);
        proa_open(loop, &opened.op, PROA_CWD, "/", (proa_open_how){.flags = O_RDONLY}, slot_done);
        HOLDS(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
        HOLDS(timer.value == 0 && opened.value >= 0);
        close_plain((int)opened.value);
        proa_loop_close(loop);
    }
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "engine_choice");
    test_forced();
    test_unknown();
    test_default();
    test_inspect();
    test_options();
    return check_done("engine_choice");
}

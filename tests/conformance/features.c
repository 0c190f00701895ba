/* Features on request: each is reported with yes, or with no and why; a loop grants what is available, passes over what is
 * not, and works either way. */
#include "harness.h"

enum { FEATURES_MAX = 64 };

static size_t find_engine(void)
{
    proa_engine_report report;
    size_t index = 0;

    while (proa_engine_inspect(index, &report) && strcmp(report.name, test_engine()) != 0)
        index++;
    return index;
}

static void echo_once(proa_loop *loop)
{
    struct slot send = {0}, receive = {0};
    char byte;
    proa_fd near;
    int far;

    pair_open(loop, TCP, &near, &far);
    proa_recv(loop, &receive.op, near, &byte, 1, slot_done);
    loop_run_for(loop, MS);
    REQUIRE(write(far, "x", 1) == 1);
    RUN_UNTIL(loop, receive.finals);
    proa_send(loop, &send.op, near, &byte, 1, slot_done);
    RUN_UNTIL(loop, send.finals);
    HOLDS(receive.value == 1 && send.value == 1 && far_wait(far) && far_drain(far) == 1);
    close_now(loop, near);
    close_plain(far);
}

/* Returns the feature where the engine has it on request. */
static uint32_t test_feature(const proa_feature_report *report)
{
    proa_loop *loop;
    uint32_t granted;

    test_case("%s", report->name);
    HOLDS(report->name[0] && report->summary[0] && (report->available || report->reason[0]));
    if (report->feature == 0)
        return 0;
    loop = loop_open_with((proa_loop_options){.features = report->feature});
    granted = proa_loop_features(loop);
    HOLDS((granted & report->feature) == (report->available ? report->feature : 0));
    echo_once(loop);
    proa_loop_close(loop);
    return report->feature;
}

static void test_all_wishes(uint32_t known)
{
    proa_loop *loop;

    test_case("every wish");
    loop = loop_open_with((proa_loop_options){.features = UINT32_MAX});
    HOLDS((proa_loop_features(loop) & ~known) == 0);
    echo_once(loop);
    proa_loop_close(loop);
    test_case("no wish");
    loop = loop_open();
    HOLDS(proa_loop_features(loop) == 0);
    proa_loop_close(loop);
}

static void test_environment(void)
{
    proa_loop *loop;
    uint32_t granted;

    test_case("PROA_FEATURES");
    setenv("PROA_FEATURES", "nonsense,sqpoll,,busy_poll", 1);
    loop = loop_open();
    granted = proa_loop_features(loop);
    proa_loop_close(loop);
    unsetenv("PROA_FEATURES");
    loop = loop_open_with((proa_loop_options){.features = PROA_FEATURE_SQPOLL | PROA_FEATURE_BUSY_POLL});
    HOLDS(granted == proa_loop_features(loop));
    proa_loop_close(loop);
}

int main(int argc, char **argv)
{
    proa_feature_report report;
    uint32_t known = 0;
    size_t engine, count = 0;

    test_begin(argc, argv, "features");
    if (test_has(~0u))
        return check_skip("features", "it makes wishes of its own");
    engine = find_engine();
    for (; proa_engine_feature(engine, count, &report); count++)
        known |= test_feature(&report);
    HOLDS(count < FEATURES_MAX);
    HOLDS(report.name == NULL);
    test_all_wishes(known);
    test_environment();
    return check_done("features");
}

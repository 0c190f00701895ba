/* `proa engines`: which engines this host lets work, what each can do here, and which one a loop gets. */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "proa/proa.h"

static int usage(const char *word)
{
    fprintf(stderr,
            "proa engines: there is no argument \"%s\"\n  expected: -v, or no argument\n  now: run `proa engines -v`; "
            "PROA_ENGINE=NAME forces an engine\n",
            word);
    return 2;
}

static int print_help(void)
{
    printf("Usage: proa engines [-v]\n\nPrints each engine, whether it works on this host, and which one is chosen.\n"
           "  -v  every feature of each engine and every file lane as well, with yes or no, and why\n");
    return 0;
}

static void print_features(size_t engine)
{
    proa_feature_report report;

    for (size_t i = 0; proa_engine_feature(engine, i, &report); i++) {
        printf("  %-18s %-4s %s%s\n", report.name, report.available ? "yes" : "no", report.summary,
               report.feature ? " (on request)" : "");
        if (!report.available)
            printf("  %-18s %-4s because %s\n", "", "", report.reason);
    }
}

static void print_file_lanes(void)
{
    proa_engine_report report;

    printf("\nfile lanes, for engines without files of their own\n");
    for (size_t i = 0; proa_file_lane_inspect(i, &report); i++) {
        printf("  %-18s %-4s %s\n", report.name, report.available ? "yes" : "no", report.summary);
        if (!report.available)
            printf("  %-18s %-4s because %s\n", "", "", report.reason);
    }
}

static int print_choice(int verbose)
{
    proa_loop *loop;
    int result = proa_loop_open(&loop, NULL);

    if (result < 0) {
        fprintf(stderr,
                "proa engines: no event loop could be opened: %s\n  expected: one of the engines above, available\n"
                "  now: leave PROA_ENGINE out, or look at the limits of this process (ulimit -a)\n",
                strerror(-result));
        return 1;
    }
    printf("\nchosen   %s\n", proa_loop_choice(loop));
    if (verbose)
        printf("files    %s\n", proa_loop_file_lane(loop));
    proa_loop_close(loop);
    return 0;
}

int engines_main(int argc, char **argv)
{
    int verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
    proa_engine_report report;

    if (argc > 1 && strcmp(argv[1], "--help") == 0)
        return print_help();
    if (argc > 1 + verbose)
        return usage(argv[1 + verbose]);
    for (size_t i = 0; proa_engine_inspect(i, &report); i++) {
        printf("%-8s %-13s %s\n", report.name, report.available ? "available" : "refused", report.summary);
        if (!report.available)
            printf("%-8s %-13s %s\n", "", "", report.reason);
        if (verbose)
            print_features(i);
    }
    if (verbose)
        print_file_lanes();
    return print_choice(verbose);
}

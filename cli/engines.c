/* `proa engines`: which engines this host lets work, and which one a loop gets. */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "proa/proa.h"

static int usage(const char *word)
{
    fprintf(stderr,
            "proa engines: there is no argument \"%s\"\n  expected: no argument\n  now: run `proa engines`; "
            "PROA_ENGINE=NAME forces an engine\n",
            word);
    return 2;
}

int engines_main(int argc, char **argv)
{
    proa_engine_report report;
    proa_loop *loop;

    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        printf("Usage: proa engines\n\nPrints each engine, whether it works on this host, and which one is chosen.\n");
        return 0;
    }
    if (argc > 1)
        return usage(argv[1]);
    for (size_t i = 0; proa_engine_inspect(i, &report); i++) {
        printf("%-8s %-13s %s\n", report.name, report.available ? "available" : "refused", report.summary);
        if (!report.available)
            printf("%-8s %-13s %s\n", "", "", report.reason);
    }
    int result = proa_loop_open(&loop, NULL);
    if (result < 0) {
        fprintf(stderr,
                "proa engines: no event loop could be opened: %s\n  expected: one of the engines above, available\n"
                "  now: leave PROA_ENGINE out, or look at the limits of this process (ulimit -a)\n",
                strerror(-result));
        return 1;
    }
    printf("\nchosen   %s\n", proa_loop_choice(loop));
    proa_loop_close(loop);
    return 0;
}

/* Runs a program on an engine, in a child process: what crashes or hangs is a failure like any other. */
#ifndef TESTS_RANDOM_RUN_H
#define TESTS_RANDOM_RUN_H

#include "program.h"

struct verdict {
    char what[80]; /* empty: all is well; else the same for failures of the same kind */
    char detail[240];
};

/* `limit_s`: longer than this it hangs. `quiet`: without what the child says on stderr. */
void program_run(const struct program *program, const char *engine, unsigned limit_s, bool quiet,
                 struct verdict *ret_verdict);

#endif

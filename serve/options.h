/* The options of `proa serve`: one table row each, from which both the parser and --help are made. */
#ifndef SERVE_OPTIONS_H
#define SERVE_OPTIONS_H

#include <stdbool.h>

#include "proa/socket.h"

enum { SERVE_LISTEN_MAX = 16, SERVE_WORKERS_MAX = 256 };

struct serve_options {
    const char *directory;
    const char *engine;     /* NULL: the library chooses */
    const char *index;      /* name of the file that stands for its directory */
    const char *access_log; /* NULL: none; "-": stdout */
    unsigned workers;
    unsigned head_timeout_s;
    unsigned idle_timeout_s;
    unsigned send_timeout_s;
    bool list;
    bool stats;
    unsigned listen_count;
    proa_address listen[SERVE_LISTEN_MAX];
};

/* Fills `ret_options`. Returns -1: run; else the exit status, all having been said (0 after --help and --version). */
int options_parse(int argc, char **argv, struct serve_options *ret_options);

#endif

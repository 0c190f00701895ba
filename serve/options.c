/* Options are `--name VALUE`, `--name=VALUE` or flags; the one argument is the directory. */
#include "serve/options.h"

#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proa/proa.h"
#include "serve/message.h"

enum { DEFAULT_HEAD_TIMEOUT_S = 10, DEFAULT_IDLE_TIMEOUT_S = 60, DEFAULT_SEND_TIMEOUT_S = 60, TIMEOUT_MAX_S = 86400 };

static const char default_address[] = "127.0.0.1:8080";
static const char see_help[] = "run `proa serve --help` for all options";

enum kind { KIND_TEXT, KIND_NUMBER, KIND_FLAG, KIND_LISTEN, KIND_HELP, KIND_VERSION };

struct option_row {
    const char *name;
    const char *argument; /* NULL: a flag */
    const char *help;
    enum kind kind;
    size_t offset; /* of the field it fills */
    unsigned max;  /* KIND_NUMBER: 1 to this */
};

#define FIELD(name) offsetof(struct serve_options, name)

static const struct option_row rows[] = {
    {"listen", "ADDRESS", "127.0.0.1:8080, [::1]:80, *:80, unix:/path; port 0 takes a free one; repeatable",
     KIND_LISTEN, 0, 0},
    {"engine", "NAME", "force an engine (see `proa engines`); default: the best that works here", KIND_TEXT,
     FIELD(engine), 0},
    {"workers", "N", "processes, one listening socket each; default: one per core", KIND_NUMBER, FIELD(workers),
     SERVE_WORKERS_MAX},
    {"index", "NAME", "the file that stands for its directory; default: index.html", KIND_TEXT, FIELD(index), 0},
    {"list", NULL, "show what is in a directory that has no index", KIND_FLAG, FIELD(list), 0},
    {"access-log", "FILE", "append a line per request in the combined format; - is stdout", KIND_TEXT,
     FIELD(access_log), 0},
    {"stats", NULL, "print counters and meters at exit", KIND_FLAG, FIELD(stats), 0},
    {"head-timeout", "SECONDS", "limit for a whole request head; default: 10", KIND_NUMBER, FIELD(head_timeout_s),
     TIMEOUT_MAX_S},
    {"idle-timeout", "SECONDS", "limit for a connection between requests; default: 60", KIND_NUMBER,
     FIELD(idle_timeout_s), TIMEOUT_MAX_S},
    {"send-timeout", "SECONDS", "limit for a client that takes no bytes; default: 60", KIND_NUMBER,
     FIELD(send_timeout_s), TIMEOUT_MAX_S},
    {"help", NULL, "this text", KIND_HELP, 0, 0},
    {"version", NULL, "the version", KIND_VERSION, 0, 0},
};

enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

static void print_help(void)
{
    printf("Usage: proa serve [OPTION]... [DIR]\n\nServes the files under DIR (default: the current directory) over "
           "HTTP/1.1.\n\n");
    for (size_t i = 0; i < ROWS; i++) {
        char left[40];
        snprintf(left, sizeof(left), "--%s %s", rows[i].name, rows[i].argument ? rows[i].argument : "");
        printf("  %-24s %s\n", left, rows[i].help);
    }
    printf("\nSIGTERM or SIGINT stops it: responses under way are finished, for 10 s at most; a second one stops it at "
           "once.\n");
}

static int bad_usage(const char *expected, const char *what, const char *value)
{
    message_error(expected, see_help, "%s \"%s\"", what, value);
    return 2;
}

static int set_number(const struct option_row *row, struct serve_options *options, const char *value)
{
    char expected[96], what[64], *end;
    unsigned long number = strtoul(value, &end, 10);

    if (*value < '0' || *value > '9' || *end != '\0' || number < 1 || number > row->max) {
        snprintf(expected, sizeof(expected), "a whole number from 1 to %u", row->max);
        snprintf(what, sizeof(what), "--%s got", row->name);
        return bad_usage(expected, what, value);
    }
    *(unsigned *)(void *)((char *)options + row->offset) = (unsigned)number;
    return -1;
}

static int add_listen(struct serve_options *options, const char *value)
{
    if (options->listen_count == SERVE_LISTEN_MAX)
        return bad_usage("at most 16 addresses", "--listen got one more address:", value);
    if (proa_address_parse(value, &options->listen[options->listen_count]) < 0)
        return bad_usage("ADDRESS:PORT in numbers (127.0.0.1:8080, [::1]:8080, *:8080) or unix:/path", "--listen got",
                         value);
    options->listen_count++;
    return -1;
}

static int apply(const struct option_row *row, struct serve_options *options, const char *value)
{
    void *field = (char *)options + row->offset;

    switch (row->kind) {
    case KIND_TEXT:
        *(const char **)field = value;
        return -1;
    case KIND_NUMBER:
        return set_number(row, options, value);
    case KIND_FLAG:
        *(bool *)field = true;
        return -1;
    case KIND_LISTEN:
        return add_listen(options, value);
    case KIND_HELP:
        print_help();
        return 0;
    case KIND_VERSION:
        printf("proa %s\n", PROA_VERSION);
        return 0;
    }
    return 2;
}

static const struct option_row *find_row(const char *name, size_t len)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (strlen(rows[i].name) == len && memcmp(rows[i].name, name, len) == 0)
            return &rows[i];
    }
    return NULL;
}

/* Reads argv[*index], and the value behind it where it has one. */
static int parse_option(int argc, char **argv, int *index, struct serve_options *options)
{
    const char *word = argv[*index];
    const char *name = strcmp(word, "-h") == 0 ? "help" : word + (word[1] == '-' ? 2 : 1);
    const char *equals = strchr(name, '=');
    const struct option_row *row = find_row(name, equals ? (size_t)(equals - name) : strlen(name));

    if (!row || (word[1] != '-' && row->kind != KIND_HELP))
        return bad_usage("one of the options of `proa serve`", "there is no option", word);
    if (!row->argument && equals)
        return bad_usage("no value behind a flag", "a flag got a value:", word);
    if (row->argument && !equals && *index + 1 == argc)
        return bad_usage(row->argument, "there is no value behind", word);
    return apply(row, options, equals ? equals + 1 : row->argument ? argv[++*index] : "");
}

static int check(struct serve_options *options)
{
    if (!*options->index || strchr(options->index, '/'))
        return bad_usage("the name of a file, without a slash", "--index got", options->index);
    if (options->listen_count == 0)
        return add_listen(options, default_address);
    return -1;
}

/* The cores this process may use, which in a container are often fewer than the machine has. */
static unsigned count_cores(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return 1;
    unsigned count = (unsigned)CPU_COUNT(&set);
    return count < SERVE_WORKERS_MAX ? count : SERVE_WORKERS_MAX;
}

int options_parse(int argc, char **argv, struct serve_options *ret_options)
{
    bool only_arguments = false;

    *ret_options = (struct serve_options){
        .index = "index.html",
        .workers = count_cores(),
        .head_timeout_s = DEFAULT_HEAD_TIMEOUT_S,
        .idle_timeout_s = DEFAULT_IDLE_TIMEOUT_S,
        .send_timeout_s = DEFAULT_SEND_TIMEOUT_S,
    };
    for (int i = 1; i < argc; i++) {
        if (!only_arguments && strcmp(argv[i], "--") == 0) {
            only_arguments = true;
        } else if (!only_arguments && argv[i][0] == '-' && argv[i][1] != '\0') {
            int status = parse_option(argc, argv, &i, ret_options);
            if (status >= 0)
                return status;
        } else if (ret_options->directory) {
            return bad_usage("one directory", "there is a second directory", argv[i]);
        } else {
            ret_options->directory = argv[i];
        }
    }
    if (!ret_options->directory)
        ret_options->directory = ".";
    return check(ret_options);
}

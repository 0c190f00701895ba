/* The program `proa`: one table of subcommands. */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "proa/proa.h"
#include "serve/serve.h"

static int help_main(int argc, char **argv);
static int version_main(int argc, char **argv);

static const struct command {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv); /* argv[0] is the subcommand; returns the exit status */
} commands[] = {
    {"serve", "serve the files of a directory over HTTP", serve_main},
    {"engines", "show which I/O engines work on this host", engines_main},
    {"help", "this text", help_main},
    {"version", "the version", version_main},
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static int help_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("Usage: proa COMMAND [ARGUMENT]...\n\nCompletion-based I/O, and what it is good for.\n\n");
    for (size_t i = 0; i < COMMANDS; i++)
        printf("  %-10s %s\n", commands[i].name, commands[i].summary);
    printf("\n`proa COMMAND --help` tells more.\n");
    return 0;
}

static int version_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("proa %s\n", PROA_VERSION);
    return 0;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";

    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    fprintf(stderr, "proa: there is no command \"%s\"\n  expected: ", name);
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(stderr, "%s%s", i ? ", " : "", commands[i].name);
    fprintf(stderr, "\n  now: run `proa help`\n");
    return 2;
}

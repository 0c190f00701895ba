/* The subcommands that are not a folder of their own. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

int engines_main(int argc, char **argv);

#endif

/* `proa serve`: a static HTTP server on the public interface of the library. */
#ifndef SERVE_SERVE_H
#define SERVE_SERVE_H

/* Runs the subcommand; argv[0] is its name. Returns the exit status: 0, 1 (could not run), 2 (bad usage). */
int serve_main(int argc, char **argv);

#endif

/* One op at a time, waited for: for the start of the program, when nothing else is to be done meanwhile. The loop must
 * have nothing else in flight. */
#ifndef SERVE_AWAIT_H
#define SERVE_AWAIT_H

#include "proa/proa.h"

/* Each returns the op's value. */
int64_t await_listen(proa_loop *loop, const proa_address *address, int backlog, unsigned flags);
int64_t await_open(proa_loop *loop, const char *path, proa_open_how how);

/* Reads a small text file whole; at most `size` - 1 bytes, NUL-terminated. Returns its length or a negative errno. */
int64_t await_text(proa_loop *loop, const char *path, char *text, size_t size);

#endif

/*
 * What the readiness echoes do with a connection once their call has found it ready: one recv and one send, all into
 * one buffer. A connection has no memory at all unless its peer does not read: then the rest of its message is kept
 * and the echo asks to be told when more can be sent. The loops differ in the call that waits, and in nothing else.
 */
#ifndef BENCH_REFERENCE_ECHO_H
#define BENCH_REFERENCE_ECHO_H

#include <stdbool.h>
#include <stddef.h>

/* What the loop has to do about the connection next. */
enum echo_next {
    ECHO_SAME,   /* nothing: it waits for what it waited for */
    ECHO_MORE,   /* the same; but the buffer was filled, so more may be there that an edge would not report again */
    ECHO_TO_OUT, /* wait until it can be sent to, and for nothing else */
    ECHO_TO_IN,  /* wait for messages again */
    ECHO_GONE,   /* forget it: it is closed */
};

extern long echo_messages;

/* Makes room for what `descriptors` peers have not read. */
void echo_open(size_t descriptors);

enum echo_next echo_ready(int fd);

/* The next connection of the non-blocking listener, non-blocking, or -1. */
int echo_accept(int listener);

#endif

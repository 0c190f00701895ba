/* The far end of a stream, which checks every byte by its place: what arrives is the harness's pattern. */
#ifndef TESTS_CONFORMANCE_READER_H
#define TESTS_CONFORMANCE_READER_H

#include "harness.h"

struct reader {
    int far;
    uint64_t at; /* of the next byte in the pattern */
    bool holds;  /* all so far */
};

/* Takes what is there, at most `size_max`. Returns whether the stream has ended, or broken. */
bool reader_step(struct reader *reader, size_t size_max);

#endif

/* A fuzz target is one function of bytes. libFuzzer calls it with what it invents; replay.c with the files it is
 * given, so that every build can replay the corpus. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold for every input. */
#define MUST(cond)                                                     \
    do {                                                               \
        if (!(cond)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
            abort();                                                   \
        }                                                              \
    } while (0)

/* A copy of exactly this size: what reads beyond it is caught. Free it. */
static inline char *fuzz_copy(const void *data, size_t size)
{
    char *copy = malloc(size + (size == 0));
    MUST(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    return copy;
}

#endif

/* What every file may lean on: hints for the compiler and asserts that stay on.
 *
 * A panic is for misuse of the interface and broken invariants only: going on would corrupt memory that is not ours.
 * Everything the outside world can cause is an errno instead. */
#ifndef PROA_BASE_H
#define PROA_BASE_H

#include <stddef.h>
#include <stdint.h>

#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

/* Kept out of line, so that the way that is taken for each message stays short. */
#define RARE __attribute__((noinline, cold))

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* The struct of type `type` whose member `member` is `*pointer`. */
#define CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* Writes "proa: WHERE: WHAT" and aborts. */
_Noreturn void panic(const char *where, const char *what);

#define ASSERT(condition)                                     \
    do {                                                      \
        if (unlikely(!(condition)))                           \
            panic(__func__, "broken invariant: " #condition); \
    } while (0)

#endif

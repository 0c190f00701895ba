/*
 * What the references share: options, the listening socket, the end by signal, and the constant HTTP answer.
 * SIGUSR1 has a reference that counts its wake-ups print them, as `meters wake_ups N descriptors_scanned N`.
 *
 * A reference is a server with nothing in it but the cheapest correct way to do its one job. It is the limit that the
 * library is measured against, so everything here happens once at the start, except the inline functions.
 */
#ifndef BENCH_REFERENCE_COMMON_H
#define BENCH_REFERENCE_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* One whole-number option besides --listen and --exit-after; `help` says what it means. */
struct ref_option {
    const char *name;
    long *value;
    const char *help;
};

/* Reads the command line into *ret_listen, *ret_exit_after (0: never) and the options of `extra`, whose last row has
 * no name. Ends the program with 2 on a mistake. */
void ref_options(int argc, char **argv, const char **ret_listen, long *ret_exit_after, const struct ref_option *extra);

/* Opens the listening socket for ADDR:PORT (IPv4; port 0: any), prints `listening ADDR:PORT`, and makes SIGTERM and
 * SIGINT end the program at once. Accepted sockets inherit TCP_NODELAY from it. */
int ref_listen(const char *address, bool nonblocking);

/* Raises the soft limit of descriptors to the hard one and returns it: no descriptor is ever that high. */
size_t ref_descriptors(void);

extern struct ref_meters {
    uint64_t wake_ups, descriptors_scanned;
} ref_meters;

/* Counts a return of the call that waits, which looked at `scanned` descriptors, or reported so many; less than 0: it
 * was interrupted. */
static inline void ref_woken(long scanned)
{
    ref_meters.wake_ups++;
    ref_meters.descriptors_scanned += scanned > 0 ? (uint64_t)scanned : 0;
}

/* Prints what failed with the text of `error` (positive errno) and ends the program with 1. */
_Noreturn void ref_fail(const char *what, int error);

/* calloc() that ends the program when there is no memory. */
void *ref_zeroed(size_t count, size_t size);

enum { REF_HTTP_COPIES = 64 };

/* REF_HTTP_COPIES equal responses, one behind the other, so that a batch of answers is one send. */
struct ref_http {
    char *bytes;
    size_t one;
};

/* A 200 with a 1 KiB body and the header fields, and so the size, of nginx's answer for a static file. */
struct ref_http ref_http_response(void);

/* Counts the blank lines in `data`, each of which ends a request head. *line says how many bytes of the current line
 * have been seen, up to 2, so that a head may be split anywhere; it starts as 2. */
static inline unsigned ref_http_heads(unsigned char *line, const char *data, size_t size)
{
    unsigned heads = 0;
    const char *at = data, *end = data + size, *newline;

    while ((newline = memchr(at, '\n', (size_t)(end - at)))) {
        size_t length = (size_t)(newline - at) + *line;

        heads += length == 1;
        *line = 0;
        at = newline + 1;
    }
    if (at < end)
        *line = (size_t)(end - at) + *line > 1 ? 2 : 1;
    return heads;
}

#endif

/* Finds where a run of bytes of one class ends, 16 bytes at a step where the machine can.
 *
 * A step only has to be right about plain bytes: what it stops at is settled by the class table, so a step that knows
 * just the common bytes of a class, or none at all (scan_plain.h), gives the same answer. */
#ifndef HTTP_SCAN_H
#define HTTP_SCAN_H

#include <stddef.h>

#include "http/byte.h"

#ifdef __SSE2__
#include "http/scan_sse2.h"
#else
#include "http/scan_plain.h"
#endif

/* A bit per byte of at[0..16), lowest first: set if the byte is not plain. */
typedef unsigned http_scan_step(const char *at);

static inline const char *http_scan(const char *at, const char *end, unsigned class, http_scan_step *step)
{
    while (HTTP_SCAN_HAS_STEPS && end - at >= 16) {
        unsigned stops = step(at);
        if (stops == 0) {
            at += 16;
            continue;
        }
        at += __builtin_ctz(stops);
        if (!http_byte_is(*at, class))
            return at;
        at++;
    }
    while (at < end && http_byte_is(*at, class))
        at++;
    return at;
}

/* Each returns the first byte at or behind `at` that is not of the class, or `end`. */
static inline const char *http_scan_token(const char *at, const char *end)
{
    return http_scan(at, end, HTTP_BYTE_TOKEN, http_scan_token_step);
}

static inline const char *http_scan_text(const char *at, const char *end)
{
    return http_scan(at, end, HTTP_BYTE_TEXT, http_scan_text_step);
}

static inline const char *http_scan_resource(const char *at, const char *end)
{
    return http_scan(at, end, HTTP_BYTE_RESOURCE, http_scan_target_step);
}

static inline const char *http_scan_target(const char *at, const char *end)
{
    return http_scan(at, end, HTTP_BYTE_TARGET, http_scan_target_step);
}

static inline const char *http_scan_host(const char *at, const char *end)
{
    return http_scan(at, end, HTTP_BYTE_HOST, http_scan_host_step);
}

#endif

/* Engines: how ops reach the kernel, and which of them this host lets work. */
#ifndef PROA_ENGINE_H
#define PROA_ENGINE_H

#include <stddef.h>

#include "api.h"

PROA_BEGIN

enum { PROA_REASON_MAX = 256 };

/* One engine on this host, found out by opening it and letting it do a round trip of each feature that it needs. */
typedef struct proa_engine_report {
    const char *name;
    const char *summary;
    int available;
    char reason[PROA_REASON_MAX]; /* why it is not available; empty where it is */
} proa_engine_report;

/* Reports on engine number `index`, in order of preference. Returns 1, or 0 past the last. */
PROA_API int proa_engine_inspect(size_t index, proa_engine_report *ret_report);

PROA_END

#endif

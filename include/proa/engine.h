/* Engines: how ops reach the kernel, and which of them this host lets work. */
#ifndef PROA_ENGINE_H
#define PROA_ENGINE_H

#include <stddef.h>
#include <stdint.h>

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

/* Reports in the same way on file lane number `index`: how file ops run on engines without files of their own. */
PROA_API int proa_file_lane_inspect(size_t index, proa_engine_report *ret_report);

/* One feature of an engine on this host, found out by a round trip. */
typedef struct proa_feature_report {
    const char *name;
    const char *summary;
    uint32_t feature; /* PROA_FEATURE_..., where a loop has it on request alone; 0: whenever it is available */
    int available;
    char reason[PROA_REASON_MAX]; /* why it is not available; empty where it is */
} proa_feature_report;

/* Reports on feature number `feature` of engine number `engine`. Returns 1, or 0 past the last of either. */
PROA_API int proa_engine_feature(size_t engine, size_t feature, proa_feature_report *ret_report);

PROA_END

#endif

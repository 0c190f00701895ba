/* What every header of Proa shares: visibility, and C linkage for users of C++. */
#ifndef PROA_API_H
#define PROA_API_H

#if defined(__GNUC__)
#define PROA_API __attribute__((visibility("default")))
#else
#define PROA_API
#endif

#ifdef __cplusplus
#define PROA_BEGIN extern "C" {
#define PROA_END }
#else
#define PROA_BEGIN
#define PROA_END
#endif

#endif

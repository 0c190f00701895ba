/* Steps of scan.h for machines without vectors we know: none, the class table does it all. */
#ifndef HTTP_SCAN_PLAIN_H
#define HTTP_SCAN_PLAIN_H

enum { HTTP_SCAN_HAS_STEPS = 0 };

static inline unsigned http_scan_token_step(const char *at)
{
    (void)at;
    return 1;
}

static inline unsigned http_scan_text_step(const char *at)
{
    (void)at;
    return 1;
}

static inline unsigned http_scan_target_step(const char *at)
{
    (void)at;
    return 1;
}

static inline unsigned http_scan_host_step(const char *at)
{
    (void)at;
    return 1;
}

#endif

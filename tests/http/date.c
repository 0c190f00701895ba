/* HTTP dates, against the C library over ten thousand years and by table. */
#define _DEFAULT_SOURCE
#include "http/date.h"

#include <string.h>
#include <time.h>

#include "tests/check.h"

enum { NOW_S = 1700000000 }; /* November 2023 */

static const struct {
    const char *text;
    bool valid;
    int64_t time_s;
} rows[] = {
    {"Sun, 06 Nov 1994 08:49:37 GMT", true, 784111777},
    {"Sunday, 06-Nov-94 08:49:37 GMT", true, 784111777},
    {"Sun Nov  6 08:49:37 1994", true, 784111777},
    {"Sun Nov 06 08:49:37 1994", true, 784111777},
    {"Wed Nov 16 08:49:37 1994", true, 784975777},
    {"Thu, 01 Jan 1970 00:00:00 GMT", true, 0},
    {"Wed, 31 Dec 1969 23:59:59 GMT", true, -1},
    {"Sat, 29 Feb 2020 00:00:00 GMT", true, 1582934400},
    {"Tue, 29 Feb 2000 00:00:00 GMT", true, 951782400},
    {"Mon, 06 Nov 1994 08:49:37 GMT", true, 784111777},      /* was a Sunday */
    {"Sat, 31 Dec 2016 23:59:60 GMT", true, 1483228800},     /* was a leap second */
    {"Wednesday, 01-Nov-73 00:00:00 GMT", true, 3276720000}, /* 2073: fifty years ahead */
    {"Friday, 01-Nov-74 00:00:00 GMT", true, 152496000},     /* 1974: 51 would be too many */
    {"Sun, 06 Nov 1994 08:49:37 UTC", false, 0},
    {"Sun, 06 Nov 1994 08:49:37", false, 0},
    {"Sun, 06 Nov 1994 08:49:37 GMT ", false, 0},
    {" Sun, 06 Nov 1994 08:49:37 GMT", false, 0},
    {"Sun, 6 Nov 1994 08:49:37 GMT", false, 0},
    {"sun, 06 Nov 1994 08:49:37 GMT", false, 0},
    {"Sun, 06 nov 1994 08:49:37 GMT", false, 0},
    {"Sun, 06-Nov-94 08:49:37 GMT", false, 0},
    {"Sunday, 06 Nov 1994 08:49:37 GMT", false, 0},
    {"Sun, 00 Nov 1994 08:49:37 GMT", false, 0},
    {"Sun, 31 Nov 1994 08:49:37 GMT", false, 0},
    {"Sun, 29 Feb 2021 08:49:37 GMT", false, 0},
    {"Thu, 29 Feb 1900 08:49:37 GMT", false, 0},
    {"Sun, 06 Nov 1994 24:00:00 GMT", false, 0},
    {"Sun, 06 Nov 1994 08:60:00 GMT", false, 0},
    {"Sun, 06 Nov 1994 08:49:61 GMT", false, 0},
    {"Sun, 06 Nov 0000 08:49:37 GMT", false, 0},
    {"784111777", false, 0},
    {"", false, 0},
};

static void check_written(int64_t time_s)
{
    char out[HTTP_DATE_SIZE], expected[64];
    time_t time = (time_t)time_s;
    struct tm tm;
    gmtime_r(&time, &tm);
    strftime(expected, sizeof(expected), "%a, %d %b ", &tm);
    size_t len = strlen(expected);
    snprintf(expected + len, sizeof(expected) - len, "%04d %02d:%02d:%02d GMT", tm.tm_year + 1900, tm.tm_hour,
             tm.tm_min, tm.tm_sec);
    http_date_write(out, time_s);
    if (!CHECK(strcmp(out, expected) == 0))
        fprintf(stderr, "  %s instead of %s\n", out, expected);
    int64_t read_s;
    CHECK(http_date_parse(http_text_from(out), NOW_S, &read_s) && read_s == time_s);
}

int main(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t time_s = 0;
        bool valid = http_date_parse(http_text_from(rows[i].text), NOW_S, &time_s);
        if (!CHECK(valid == rows[i].valid && time_s == rows[i].time_s))
            fprintf(stderr, "  %s: %lld\n", rows[i].text, (long long)time_s);
    }
    const int64_t first = -62135596800, last = 253402300799; /* years 1 to 9999 */
    for (int64_t time_s = first; time_s <= last; time_s += 12345677)
        check_written(time_s);
    check_written(first);
    check_written(last);
    char out[HTTP_DATE_SIZE];
    http_date_write(out, INT64_MIN);
    CHECK(strcmp(out, "Mon, 01 Jan 0001 00:00:00 GMT") == 0);
    http_date_write(out, INT64_MAX);
    CHECK(strcmp(out, "Fri, 31 Dec 9999 23:59:59 GMT") == 0);
    return check_done("http/date");
}

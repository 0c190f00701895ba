/* Entity tags and conditional requests: one row per rule of RFC 9110 13. */
#include "http/conditions.h"

#include <string.h>

#include "http/etag.h"
#include "tests/check.h"

#define BEFORE "Sun, 06 Nov 1994 08:49:36 GMT"
#define MTIME "Sun, 06 Nov 1994 08:49:37 GMT"
#define AFTER "Sun, 06 Nov 1994 08:49:38 GMT"

static const struct http_validators strong = {{"\"a\"", 3}, 784111777, 784111778};
static const struct http_validators weak = {{"W/\"a\"", 5}, 784111777, 784111778};
static const struct http_validators fresh = {{"\"a\"", 3}, 784111777, 784111777};

static void parse(struct http_request *req, const char *method, const char *fields, char *head, size_t size)
{
    snprintf(head, size, "%s / HTTP/1.1\r\nHost: a\r\n%s\r\n", method, fields);
    http_request_init(req);
    CHECK(http_request_parse(req, head, strlen(head), NULL) > 0);
}

static const struct {
    const char *method;
    const char *fields;
    const struct http_validators *current;
    int status;
} conditions[] = {
    {"GET", "", &strong, 0},
    {"GET", "If-Match: \"a\"\r\n", &strong, 0},
    {"GET", "If-Match: \"b\"\r\n", &strong, 412},
    {"GET", "If-Match: \"b\", \"a\"\r\n", &strong, 0},
    {"GET", "If-Match: \"b\"\r\nIf-Match: \"a\"\r\n", &strong, 0},
    {"GET", "If-Match: *\r\n", &weak, 0},
    {"GET", "If-Match: *, \"b\"\r\n", &strong, 412}, /* "*" only alone */
    {"GET", "If-Match: W/\"a\"\r\n", &strong, 412},  /* 13.1.1: strong comparison */
    {"GET", "If-Match: \"a\"\r\n", &weak, 412},
    {"GET", "If-Match: W/\"a\"\r\n", &weak, 412},
    {"GET", "If-Match: a\r\n", &strong, 412}, /* no entity tag */
    {"GET", "If-Match:\r\n", &strong, 412},
    {"GET", "If-Match: \"a\"\r\nIf-Unmodified-Since: " BEFORE "\r\n", &strong, 0}, /* step 1 before 2 */
    {"GET", "If-Unmodified-Since: " MTIME "\r\n", &strong, 0},
    {"GET", "If-Unmodified-Since: " AFTER "\r\n", &strong, 0},
    {"GET", "If-Unmodified-Since: " BEFORE "\r\n", &strong, 412},
    {"POST", "If-Unmodified-Since: " BEFORE "\r\n", &strong, 412},
    {"GET", "If-Unmodified-Since: yesterday\r\n", &strong, 0}, /* 13.1.4: not a date */
    {"GET", "If-None-Match: \"a\"\r\n", &strong, 304},
    {"HEAD", "If-None-Match: \"a\"\r\n", &strong, 304},
    {"PUT", "If-None-Match: \"a\"\r\n", &strong, 412},
    {"GET", "If-None-Match: \"b\"\r\n", &strong, 0},
    {"GET", "If-None-Match: W/\"a\"\r\n", &strong, 304}, /* 13.1.2: weak comparison */
    {"GET", "If-None-Match: \"a\"\r\n", &weak, 304},
    {"GET", "If-None-Match: *\r\n", &strong, 304},
    {"PUT", "If-None-Match: *\r\n", &strong, 412},
    {"GET", "If-None-Match: \"x,\", \"a\"\r\n", &strong, 304},                       /* a comma inside a tag */
    {"GET", "If-None-Match: w/\"a\"\r\n", &strong, 0},                               /* 8.8.3: W is case-sensitive */
    {"GET", "If-None-Match: \"b\"\r\nIf-Modified-Since: " AFTER "\r\n", &strong, 0}, /* step 3 before 4 */
    {"GET", "If-Modified-Since: " MTIME "\r\n", &strong, 304},
    {"GET", "If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT\r\n", &strong, 304},
    {"GET", "If-Modified-Since: " AFTER "\r\n", &strong, 304},
    {"GET", "If-Modified-Since: " BEFORE "\r\n", &strong, 0},
    {"HEAD", "If-Modified-Since: " MTIME "\r\n", &strong, 304},
    {"POST", "If-Modified-Since: " MTIME "\r\n", &strong, 0}, /* 13.1.3: GET and HEAD only */
    {"GET", "If-Modified-Since: 1\r\n", &strong, 0},
    {"GET", "If-Match: \"b\"\r\nIf-None-Match: \"a\"\r\n", &strong, 412}, /* steps 1 and 2 before 3 and 4 */
    {"GET", "If-Match: \"a\"\r\nIf-None-Match: \"a\"\r\n", &strong, 304},
    {"GET", "If-Unmodified-Since: " BEFORE "\r\nIf-Modified-Since: " AFTER "\r\n", &strong, 412},
    {"OPTIONS", "If-Match: \"b\"\r\n", &strong, 0}, /* 13.2.1 */
};

static const struct {
    const char *method;
    const char *fields;
    const struct http_validators *current;
    bool applies;
} ranges[] = {
    {"GET", "", &strong, false},
    {"GET", "Range: bytes=0-1\r\n", &strong, true},
    {"HEAD", "Range: bytes=0-1\r\n", &strong, false}, /* 14.2 */
    {"GET", "If-Range: \"a\"\r\n", &strong, false},
    {"GET", "Range: bytes=0-1\r\nIf-Range: \"a\"\r\n", &strong, true},
    {"GET", "Range: bytes=0-1\r\nIf-Range: \"b\"\r\n", &strong, false},
    {"GET", "Range: bytes=0-1\r\nIf-Range: W/\"a\"\r\n", &strong, false}, /* 13.1.5: strong comparison */
    {"GET", "Range: bytes=0-1\r\nIf-Range: \"a\"\r\n", &weak, false},
    {"GET", "Range: bytes=0-1\r\nIf-Range: *\r\n", &strong, false},
    {"GET", "Range: bytes=0-1\r\nIf-Range: \"a\", \"b\"\r\n", &strong, false},
    {"GET", "Range: bytes=0-1\r\nIf-Range: " MTIME "\r\n", &strong, true},
    {"GET", "Range: bytes=0-1\r\nIf-Range: " AFTER "\r\n", &strong, false}, /* exactly this date */
    {"GET", "Range: bytes=0-1\r\nIf-Range: " BEFORE "\r\n", &strong, false},
    {"GET", "Range: bytes=0-1\r\nIf-Range: " MTIME "\r\n", &fresh, false}, /* 8.8.2.2: not strong yet */
};

static void check_etags(void)
{
    char out[HTTP_ETAG_SIZE];
    CHECK(http_etag_write(out, 0, 0) == 5 && strcmp(out, "\"0-0\"") == 0);
    CHECK(http_etag_write(out, 0x1234abcd, 1024) == 14 && strcmp(out, "\"1234abcd-400\"") == 0);
    CHECK(http_etag_write(out, -1, UINT64_MAX) == HTTP_ETAG_SIZE - 1);
    CHECK(http_etag_is_valid((struct http_text){out, HTTP_ETAG_SIZE - 1}));
    CHECK(http_etag_is_valid(HTTP_TEXT("\"\"")) && http_etag_is_valid(HTTP_TEXT("W/\"\\!\x80\"")));
    CHECK(!http_etag_is_valid(HTTP_TEXT("\"")) && !http_etag_is_valid(HTTP_TEXT("W/")));
    CHECK(!http_etag_is_valid(HTTP_TEXT("")) && !http_etag_is_valid(HTTP_TEXT("\"a b\"")));
    CHECK(!http_etag_is_valid(HTTP_TEXT("\"a\"b\"")));
}

int main(void)
{
    struct http_request req;
    char head[512];
    for (size_t i = 0; i < sizeof(conditions) / sizeof(conditions[0]); i++) {
        parse(&req, conditions[i].method, conditions[i].fields, head, sizeof(head));
        int status = http_conditions_check(&req, head, conditions[i].current);
        if (!CHECK(status == conditions[i].status))
            fprintf(stderr, "  %d for %s %s\n", status, conditions[i].method, conditions[i].fields);
    }
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        parse(&req, ranges[i].method, ranges[i].fields, head, sizeof(head));
        if (!CHECK(http_range_applies(&req, head, ranges[i].current) == ranges[i].applies))
            fprintf(stderr, "  %s %s\n", ranges[i].method, ranges[i].fields);
    }
    check_etags();
    return check_done("http/conditions");
}

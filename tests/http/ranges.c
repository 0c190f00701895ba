/* Byte ranges: one row per rule of RFC 9110 14, and a multipart body as long as it was said to be. */
#include "http/ranges.h"

#include <string.h>

#include "tests/check.h"

static const struct {
    const char *value;
    uint64_t size;
    int status;
    unsigned count;
    struct http_range ranges[3];
} rows[] = {
    {"bytes=0-499", 1000, 206, 1, {{0, 500}}},
    {"bytes=0-0", 1000, 206, 1, {{0, 1}}},
    {"bytes=999-999", 1000, 206, 1, {{999, 1}}},
    {"bytes=500-", 1000, 206, 1, {{500, 500}}},
    {"bytes=-300", 1000, 206, 1, {{700, 300}}},
    {"bytes=-3000", 1000, 206, 1, {{0, 1000}}}, /* 14.1.2: longer than the file */
    {"bytes=900-2000", 1000, 206, 1, {{900, 100}}},
    {"bytes=0-99999999999999999999999999", 1000, 206, 1, {{0, 1000}}},
    {"bytes=-99999999999999999999999999", 1000, 206, 1, {{0, 1000}}},
    {"BYTES=0-1", 1000, 206, 1, {{0, 2}}}, /* 14.1: unit names in any case */
    {"bytes=0-0,-1", 1000, 206, 2, {{0, 1}, {999, 1}}},
    {"bytes= 500-600 ,, 0-4,", 1000, 206, 2, {{500, 101}, {0, 5}}},
    {"bytes=0-1,2-3,4-5", 1000, 206, 3, {{0, 2}, {2, 2}, {4, 2}}},
    {"bytes=0-1,1000-", 1000, 206, 1, {{0, 2}}}, /* what is outside is left out */
    {"bytes=0-18446744073709551615", UINT64_MAX, 206, 1, {{0, UINT64_MAX}}},
    {"bytes=1000-", 1000, 416, 0, {{0}}},
    {"bytes=1000-2000,3000-", 1000, 416, 0, {{0}}},
    {"bytes=99999999999999999999999999-", 1000, 416, 0, {{0}}},
    {"bytes=-0", 1000, 416, 0, {{0}}},
    {"bytes=0-", 0, 416, 0, {{0}}},
    {"bytes=-1", 0, 200, 0, {{0}}},
    {"bytes=", 1000, 200, 0, {{0}}},
    {"bytes", 1000, 200, 0, {{0}}},
    {"", 1000, 200, 0, {{0}}},
    {"bytes=,", 1000, 200, 0, {{0}}},
    {"bytes=-", 1000, 200, 0, {{0}}},
    {"bytes=5", 1000, 200, 0, {{0}}},
    {"bytes=5-4", 1000, 200, 0, {{0}}}, /* 14.1.2: invalid, not unsatisfiable */
    {"bytes=0-1,5-4", 1000, 200, 0, {{0}}},
    {"bytes=a-b", 1000, 200, 0, {{0}}},
    {"bytes=0x0-1", 1000, 200, 0, {{0}}},
    {"bytes=0 -1", 1000, 200, 0, {{0}}},
    {"bytes=0-1-2", 1000, 200, 0, {{0}}},
    {"bytes=--1", 1000, 200, 0, {{0}}},
    {"bytes =0-1", 1000, 200, 0, {{0}}},
    {"lines=0-1", 1000, 200, 0, {{0}}},
    {"bytes=0-5,5-9", 1000, 200, 0, {{0}}}, /* 14.2: overlapping */
    {"bytes=0-,0-", 1000, 200, 0, {{0}}},
    {"bytes=10-20,0-100", 1000, 200, 0, {{0}}},
    {"bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8,9-9,10-10,11-11,12-12,13-13,14-14,15-15,16-16", 1000, 200, 0, {{0}}},
};

static void check_row(size_t i)
{
    struct http_ranges ranges;
    int status = http_ranges_parse(http_text_from(rows[i].value), rows[i].size, &ranges);
    if (!CHECK(status == rows[i].status))
        fprintf(stderr, "  %d for %s\n", status, rows[i].value);
    if (status != 206)
        return;
    CHECK(ranges.count == rows[i].count);
    for (unsigned j = 0; j < ranges.count && j < 3; j++) {
        CHECK(ranges.ranges[j].first == rows[i].ranges[j].first);
        CHECK(ranges.ranges[j].len == rows[i].ranges[j].len);
    }
}

static void check_most(void)
{
    struct http_ranges ranges;
    struct http_text most = HTTP_TEXT("bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8,9-9,10-10,11-11,12-12,13-13,14-14,"
                                      "15-");
    CHECK(http_ranges_parse(most, 100, &ranges) == 206 && ranges.count == HTTP_RANGES_MAX);
}

static void check_multipart(void)
{
    char body[512];
    struct http_writer out = http_writer_of(body, sizeof(body));
    struct http_multipart multipart = {HTTP_TEXT("B0"), HTTP_TEXT("text/plain"), 10};
    struct http_ranges ranges = {2, {{0, 2}, {8, 2}}};
    http_write_part_head(&out, &multipart, &ranges.ranges[0]);
    http_write_string(&out, "01");
    http_write_part_head(&out, &multipart, &ranges.ranges[1]);
    http_write_string(&out, "89");
    http_write_multipart_end(&out, &multipart);
    CHECK(!out.failed && out.len == http_multipart_length(&multipart, &ranges));
    CHECK(http_text_equal((struct http_text){body, out.len},
                          HTTP_TEXT("\r\n--B0\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01"
                                    "\r\n--B0\r\nContent-Type: text/plain\r\nContent-Range: bytes 8-9/10\r\n\r\n89"
                                    "\r\n--B0--\r\n")));
    out.len = 0;
    http_write_content_range(&out, NULL, 10);
    CHECK(http_text_equal((struct http_text){body, out.len}, HTTP_TEXT("bytes */10")));
}

int main(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        check_row(i);
    check_most();
    check_multipart();
    return check_done("http/ranges");
}

/* Preconditions, ranges, dates: any field values, in a request that carries the input as its fields. */
#include "http/conditions.h"
#include "http/date.h"
#include "http/etag.h"
#include "http/ranges.h"
#include "tests/fuzz/fuzz.h"

static const uint64_t sizes[] = {0, 1, 1000, UINT64_MAX};

/* What a 206 promises: every range inside the file, none overlapping, all of them no longer than the file. */
static void check_ranges(struct http_text value, uint64_t size)
{
    struct http_ranges ranges;
    int status = http_ranges_parse(value, size, &ranges);
    MUST(status == 200 || status == 206 || status == 416);
    if (status != 206)
        return;
    MUST(ranges.count >= 1 && ranges.count <= HTTP_RANGES_MAX);
    uint64_t left = size;
    for (unsigned i = 0; i < ranges.count; i++) {
        const struct http_range *range = &ranges.ranges[i];
        MUST(range->len >= 1 && range->first < size && range->len <= size - range->first);
        MUST(range->len <= left);
        left -= range->len;
    }
    struct http_multipart multipart = {HTTP_TEXT("b"), HTTP_TEXT("t"), size};
    if (size < UINT64_MAX)
        MUST(http_multipart_length(&multipart, &ranges) > size - left);
}

/* A date that was read and written reads back as the same time. */
static void check_date(struct http_text value)
{
    int64_t time_s, again_s;
    char out[HTTP_DATE_SIZE];
    if (!http_date_parse(value, 1700000000, &time_s))
        return;
    http_date_write(out, time_s);
    MUST(http_date_parse(http_text_from(out), 0, &again_s));
    MUST(again_s == time_s || time_s > 253402300799); /* a leap second at the end of the year 9999 */
}

static void check_request(const struct http_request *req, const char *head)
{
    struct http_validators current = {HTTP_TEXT("\"a\""), 784111777, 784111779};
    int status = http_conditions_check(req, head, &current);
    MUST(status == 0 || status == 304 || status == 412);
    MUST(status != 304 || req->method == HTTP_METHOD_GET || req->method == HTTP_METHOD_HEAD);
    if (http_range_applies(req, head, &current))
        MUST(http_request_has(req, HTTP_FIELD_RANGE));
    for (unsigned field = 0; field < HTTP_FIELDS; field++) {
        struct http_text value = http_request_field(req, head, (enum http_field)field);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
            check_ranges(value, sizes[i]);
        check_date(value);
        http_etag_is_valid(value);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char start[] = "GET / HTTP/1.1\r\nHost: a\r\n";
    char *head = malloc(sizeof(start) - 1 + size + 4);
    size_t len = sizeof(start) - 1;
    memcpy(head, start, len);
    for (size_t i = 0; i < size; i++) {
        if (data[i] == '\n' && head[len - 1] != '\r') /* a line feed alone is a line's end here: easier to invent */
            break;
        head[len++] = (char)data[i];
    }
    memcpy(head + len, "\r\n\r\n", 4);
    struct http_request req;
    http_request_init(&req);
    if (http_request_parse(&req, head, len + 4, NULL) > 0)
        check_request(&req, head);
    free(head);
    return 0;
}

/* The request parser: however the bytes are cut, the answer is the same, and every slice lies within the head. The
 * first byte of the input chooses limits, the second the pieces; the rest is the request. */
#include "http/encoding.h"
#include "http/request.h"
#include "tests/fuzz/fuzz.h"
#include "tests/http/same_request.h"

static const struct http_limits limits[] = {
    {.line_max = 8192, .fields_max = 100, .head_max = 32768},
    {.line_max = 20, .fields_max = 3, .head_max = 80},
    {.line_max = 60, .fields_max = 100, .head_max = 50},
    {.line_max = UINT32_MAX, .fields_max = UINT32_MAX, .head_max = UINT32_MAX},
};

static int parse(struct http_request *req, const char *head, size_t len, const struct http_limits *limit)
{
    char *copy = fuzz_copy(head, len);
    int result = http_request_parse(req, copy, len, limit);
    free(copy);
    return result;
}

static int parse_pieces(struct http_request *req, const char *head, size_t len, size_t step,
                        const struct http_limits *limit)
{
    int result = 0;
    http_request_init(req);
    for (size_t have = step; result == 0 && have < len; have += step)
        result = parse(req, head, have, limit);
    return result ? result : parse(req, head, len, limit);
}

static void check_slice(struct http_slice slice, int size)
{
    MUST(slice.at + slice.len <= size);
}

static void check_lists(const struct http_request *req, const char *head, int size)
{
    for (unsigned field = 0; field < HTTP_FIELDS; field++) {
        struct http_list list = http_request_list(req, head, (enum http_field)field);
        struct http_text element;
        while (http_list_next(&list, &element)) {
            MUST(element.len > 0);
            MUST(element.data >= head && element.data + element.len <= head + size);
        }
    }
}

static void check_request(const struct http_request *req, const char *head, int size)
{
    check_slice(req->line, size);
    check_slice(req->target, size);
    check_slice(req->authority, size);
    check_slice(req->path, size);
    check_slice(req->query, size);
    for (unsigned field = 0; field < HTTP_FIELDS; field++)
        check_slice(req->fields[field], size);
    check_lists(req, head, size);
    MUST(req->method != HTTP_METHOD_UNKNOWN && req->minor <= 1);
    MUST(req->minor == 0 || req->authority.len > 0);
    MUST((req->body == HTTP_BODY_LENGTH) == (req->content_length > 0));
    MUST(req->path.len == 0 || head[req->path.at] == '/');
    MUST(size >= 4 && memcmp(head + size - 4, "\r\n\r\n", 4) == 0);
    struct http_accept accept;
    http_accept_parse(http_request_list(req, head, HTTP_FIELD_ACCEPT_ENCODING), true, &accept);
    http_accept_choose(&accept, 0xf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const struct http_limits *limit = &limits[data[0] % 4];
    size_t step = 1 + data[1];
    char *head = fuzz_copy(data + 2, size - 2);
    struct http_request whole, pieces;
    http_request_init(&whole);
    int result = http_request_parse(&whole, head, size - 2, limit);
    MUST(result == parse_pieces(&pieces, head, size - 2, step, limit));
    MUST(result <= (int)size - 2);
    if (result > 0) {
        check_request(&whole, head, result);
        MUST(same_request(&whole, &pieces));
        MUST(parse_pieces(&pieces, head, (size_t)result, step, limit) == result);
    }
    free(head);
    return 0;
}

/* range-spec by range-spec: each is read, brought inside the file, and refused if it meets one before it. */
#include "http/ranges.h"

#include "http/list.h"
#include "http/status.h"

enum spec {
    SPEC_WHOLE,   /* not one to act on: the answer is the whole file */
    SPEC_OUTSIDE, /* well-formed, without a byte in the file */
    SPEC_RANGE
};

/* The last `suffix` bytes. */
static enum spec read_suffix(struct http_text digits, uint64_t size, struct http_range *ret_range)
{
    uint64_t suffix;
    if (!http_text_number(digits, &suffix))
        return SPEC_WHOLE;
    if (suffix == 0)
        return SPEC_OUTSIDE;
    if (suffix > size)
        suffix = size;
    *ret_range = (struct http_range){size - suffix, suffix};
    return size > 0 ? SPEC_RANGE : SPEC_WHOLE;
}

/* RFC 9110 14.1.2: first "-" [last], or "-" suffix. */
static enum spec read_spec(struct http_text text, uint64_t size, struct http_range *ret_range)
{
    size_t len = text.len;
    struct http_text digits = http_text_split(&text, '-');
    uint64_t first, last = UINT64_MAX;
    if (digits.len == len)
        return SPEC_WHOLE; /* no '-' */
    if (digits.len == 0)
        return read_suffix(text, size, ret_range);
    if (!http_text_number(digits, &first) || (text.len > 0 && !http_text_number(text, &last)) || last < first)
        return SPEC_WHOLE;
    if (first >= size)
        return SPEC_OUTSIDE;
    if (last >= size)
        last = size - 1;
    *ret_range = (struct http_range){first, last - first + 1};
    return SPEC_RANGE;
}

static bool overlaps_any(const struct http_ranges *ranges, const struct http_range *range)
{
    for (unsigned i = 0; i < ranges->count; i++) {
        const struct http_range *other = &ranges->ranges[i];
        if (range->first < other->first + other->len && other->first < range->first + range->len)
            return true;
    }
    return false;
}

int http_ranges_parse(struct http_text value, uint64_t size, struct http_ranges *ret_ranges)
{
    ret_ranges->count = 0;
    struct http_text unit = http_text_split(&value, '=');
    if (!http_text_equal_nocase(unit, HTTP_TEXT("bytes")))
        return HTTP_OK;
    struct http_list list = http_list_of(value);
    struct http_text element;
    unsigned specs = 0;
    while (http_list_next(&list, &element)) {
        struct http_range range;
        enum spec spec = read_spec(element, size, &range);
        if (spec == SPEC_WHOLE || ++specs > HTTP_RANGES_MAX)
            return HTTP_OK;
        if (spec == SPEC_OUTSIDE)
            continue;
        if (overlaps_any(ret_ranges, &range))
            return HTTP_OK;
        ret_ranges->ranges[ret_ranges->count++] = range;
    }
    if (specs == 0)
        return HTTP_OK;
    return ret_ranges->count > 0 ? HTTP_PARTIAL_CONTENT : HTTP_RANGE_NOT_SATISFIABLE;
}

void http_write_content_range(struct http_writer *out, const struct http_range *range, uint64_t size)
{
    http_write_string(out, "bytes ");
    if (range) {
        http_write_number(out, range->first);
        http_write_string(out, "-");
        http_write_number(out, range->first + range->len - 1);
    } else {
        http_write_string(out, "*");
    }
    http_write_string(out, "/");
    http_write_number(out, size);
}

void http_write_part_head(struct http_writer *out, const struct http_multipart *multipart,
                          const struct http_range *range)
{
    http_write_string(out, "\r\n--");
    http_write(out, multipart->boundary);
    http_write_string(out, "\r\nContent-Type: ");
    http_write(out, multipart->type);
    http_write_string(out, "\r\nContent-Range: ");
    http_write_content_range(out, range, multipart->size);
    http_write_string(out, "\r\n\r\n");
}

void http_write_multipart_end(struct http_writer *out, const struct http_multipart *multipart)
{
    http_write_string(out, "\r\n--");
    http_write(out, multipart->boundary);
    http_write_string(out, "--\r\n");
}

uint64_t http_multipart_length(const struct http_multipart *multipart, const struct http_ranges *ranges)
{
    struct http_writer count = http_writer_counting();
    uint64_t bytes = 0;
    for (unsigned i = 0; i < ranges->count; i++) {
        http_write_part_head(&count, multipart, &ranges->ranges[i]);
        bytes += ranges->ranges[i].len;
    }
    http_write_multipart_end(&count, multipart);
    return bytes + count.len;
}

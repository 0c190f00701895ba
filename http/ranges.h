/* Byte ranges, RFC 9110 14, and the body that carries several of them (multipart/byteranges, 14.6).
 *
 * A range request must never cost more than the whole: with more than HTTP_RANGES_MAX ranges, or any two that
 * overlap, the field is ignored, as 14.2 allows and 17.15 advises. So the parts together are never longer than the
 * file. */
#ifndef HTTP_RANGES_H
#define HTTP_RANGES_H

#include "http/text.h"
#include "http/writer.h"

enum { HTTP_RANGES_MAX = 16 };

struct http_range {
    uint64_t first;
    uint64_t len; /* at least 1 */
};

struct http_ranges {
    unsigned count;
    struct http_range ranges[HTTP_RANGES_MAX]; /* in the order asked for */
};

/* Reads the value of Range for a representation of `size` bytes. Returns the status to answer with:
 *   206  one or more ranges to send
 *   416  well-formed, but no range has a byte in it (send Content-Range: bytes * / size)
 *   200  send the whole: another unit, malformed, too many, overlapping; or a suffix of an empty file, which
 *        14.1.2 calls satisfiable and Content-Range cannot express */
int http_ranges_parse(struct http_text value, uint64_t size, struct http_ranges *ret_ranges);

/* Writes the value of Content-Range: "bytes 0-499/1234"; with `range` NULL the one of a 416: a star for the
 * positions. */
void http_write_content_range(struct http_writer *out, const struct http_range *range, uint64_t size);

/* What the parts of one multipart answer have in common. */
struct http_multipart {
    struct http_text boundary; /* 1 to 70 letters and digits (RFC 2046 5.1.1), random: it must not occur in the file */
    struct http_text type;     /* Content-Type of the file */
    uint64_t size;             /* of the file */
};

/* What stands before the bytes of a part. The CRLF in front of the first boundary is a legal empty preamble. */
void http_write_part_head(struct http_writer *out, const struct http_multipart *multipart,
                          const struct http_range *range);

/* What stands after the last part. */
void http_write_multipart_end(struct http_writer *out, const struct http_multipart *multipart);

/* Content-Length of the whole multipart body: heads, bytes and end. */
uint64_t http_multipart_length(const struct http_multipart *multipart, const struct http_ranges *ranges);

#endif

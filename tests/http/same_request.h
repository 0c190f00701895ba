/* Whether two parsers came to the same end: all they say about the request. */
#ifndef TESTS_SAME_REQUEST_H
#define TESTS_SAME_REQUEST_H

#include "http/request.h"

static inline bool same_slice(struct http_slice a, struct http_slice b)
{
    return a.at == b.at && a.len == b.len;
}

static inline bool same_request(const struct http_request *a, const struct http_request *b)
{
    bool same = a->line_at == b->line_at && a->stage == b->stage && a->seen == b->seen;
    same &= a->repeated == b->repeated && a->fields_n == b->fields_n;
    same &= a->method == b->method && a->minor == b->minor && a->form == b->form && a->body == b->body;
    same &= a->keep_alive == b->keep_alive && a->expect_continue == b->expect_continue;
    same &= a->content_length == b->content_length;
    same &= same_slice(a->line, b->line) && same_slice(a->target, b->target) && same_slice(a->path, b->path);
    same &= same_slice(a->authority, b->authority) && same_slice(a->query, b->query);
    for (int field = 0; field < HTTP_FIELDS; field++)
        same &= same_slice(a->fields[field], b->fields[field]);
    return same;
}

#endif

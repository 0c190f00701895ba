/* Walks the elements of a list field, RFC 9110 5.6.1, over all its lines, without joining them.
 *
 *     struct http_list list = http_request_list(req, head, HTTP_FIELD_IF_NONE_MATCH);
 *     struct http_text element;
 *     while (http_list_next(&list, &element))
 *         ...
 *
 * Elements come trimmed; empty ones are passed over. A comma between double quotes does not separate (there is no
 * escape inside: an entity tag has none, RFC 9110 8.8.3). */
#ifndef HTTP_LIST_H
#define HTTP_LIST_H

#include "http/field.h"

struct http_list {
    struct http_text line; /* what is left of the current line's value */
    struct http_text more; /* field lines in which further lines of the field may stand */
    enum http_field field;
};

/* The list in one value. */
static inline struct http_list http_list_of(struct http_text value)
{
    return (struct http_list){.line = value, .field = HTTP_FIELD_OTHER};
}

/* False at the end of the list. */
bool http_list_next(struct http_list *list, struct http_text *ret_element);

#endif

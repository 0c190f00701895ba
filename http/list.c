/* List elements, line after line. Further lines are found by reading the head again: that costs only requests that
 * repeat a field, and saves every other one the memory to remember where the lines were. */
#include "http/list.h"

/* Moves to the next line of the field in lines the parser has already accepted. */
static bool next_line(struct http_list *list)
{
    while (list->more.len > 0) {
        struct http_text value = http_text_split(&list->more, '\n');
        struct http_text name = http_text_split(&value, ':');
        if (http_field_find(name) == list->field) {
            value.len -= value.len > 0; /* the CR */
            list->line = value;
            return true;
        }
    }
    return false;
}

static struct http_text next_element(struct http_text *line)
{
    bool quoted = false;
    size_t at = 0;
    for (; at < line->len && (quoted || line->data[at] != ','); at++)
        quoted ^= line->data[at] == '"';
    struct http_text element = {line->data, at};
    at += at < line->len;
    line->data += at;
    line->len -= at;
    return http_text_trim(element);
}

bool http_list_next(struct http_list *list, struct http_text *ret_element)
{
    do {
        while (list->line.len > 0) {
            *ret_element = next_element(&list->line);
            if (ret_element->len > 0)
                return true;
        }
    } while (next_line(list));
    return false;
}

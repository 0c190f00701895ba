/* Texts: comparing, trimming and splitting views of bytes. */
#include "http/text.h"

#include <string.h>

#include "http/byte.h"

struct http_text http_text_from(const char *string)
{
    return (struct http_text){string, strlen(string)};
}

bool http_text_equal(struct http_text a, struct http_text b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool http_text_equal_nocase(struct http_text a, struct http_text b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        if (http_byte_lower(a.data[i]) != http_byte_lower(b.data[i]))
            return false;
    }
    return true;
}

static bool is_space(char byte)
{
    return byte == ' ' || byte == '\t';
}

struct http_text http_text_trim(struct http_text text)
{
    while (text.len > 0 && is_space(text.data[0]))
        text.data++, text.len--;
    while (text.len > 0 && is_space(text.data[text.len - 1]))
        text.len--;
    return text;
}

struct http_text http_text_split(struct http_text *rest, char byte)
{
    const char *found = rest->len > 0 ? memchr(rest->data, byte, rest->len) : NULL;
    struct http_text front = *rest;
    if (!found) {
        rest->len = 0;
        return front;
    }
    front.len = (size_t)(found - front.data);
    rest->data = found + 1;
    rest->len -= front.len + 1;
    return front;
}

bool http_text_number(struct http_text text, uint64_t *ret_number)
{
    uint64_t number = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (!http_byte_is_digit(text.data[i]))
            return false;
        unsigned digit = (unsigned)(text.data[i] - '0');
        number = number > (UINT64_MAX - digit) / 10 ? UINT64_MAX : number * 10 + digit;
    }
    *ret_number = number;
    return text.len > 0;
}

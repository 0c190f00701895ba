/* The bounded writer and its escapes. */
#include "http/writer.h"

#include <string.h>

#include "http/byte.h"

void http_write(struct http_writer *out, struct http_text text)
{
    if (text.len > out->size - out->len)
        out->failed = true;
    if (out->failed)
        return;
    if (out->data && text.len > 0)
        memcpy(out->data + out->len, text.data, text.len);
    out->len += text.len;
}

void http_write_string(struct http_writer *out, const char *string)
{
    http_write(out, http_text_from(string));
}

void http_write_number(struct http_writer *out, uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    http_write(out, (struct http_text){digits + at, sizeof(digits) - at});
}

static const char *html_reference(char byte)
{
    switch (byte) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;"; /* &apos; is not in HTML 4 */
    default:
        return NULL;
    }
}

void http_write_html(struct http_writer *out, struct http_text text)
{
    for (size_t i = 0; i < text.len; i++) {
        const char *reference = html_reference(text.data[i]);
        http_write(out, reference ? http_text_from(reference) : (struct http_text){text.data + i, 1});
    }
}

void http_write_url_path(struct http_writer *out, struct http_text path)
{
    static const char hex[] = "0123456789ABCDEF"; /* RFC 3986 2.1: upper case */
    for (size_t i = 0; i < path.len; i++) {
        uint8_t byte = (uint8_t)path.data[i];
        char escaped[3] = {'%', hex[byte >> 4], hex[byte & 15]};
        bool plain = http_byte_is(path.data[i], HTTP_BYTE_PATH);
        http_write(out, plain ? (struct http_text){path.data + i, 1} : (struct http_text){escaped, 3});
    }
}

/* Response heads, RFC 9112 4 and 5. */
#include "http/response.h"

#include "http/byte.h"
#include "http/date.h"

void http_response_start(struct http_writer *out, unsigned status)
{
    http_write_string(out, "HTTP/1.1 ");
    http_write_number(out, status);
    http_write_string(out, " ");
    http_write(out, http_status_reason(status));
    http_write_string(out, "\r\n");
}

static bool is_field_value(struct http_text value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (!http_byte_is(value.data[i], HTTP_BYTE_TEXT))
            return false;
    }
    return true;
}

static void start_field(struct http_writer *out, const char *name)
{
    http_write_string(out, name);
    http_write_string(out, ": ");
}

void http_response_field(struct http_writer *out, const char *name, struct http_text value)
{
    if (!is_field_value(value))
        out->failed = true;
    start_field(out, name);
    http_write(out, value);
    http_write_string(out, "\r\n");
}

void http_response_number(struct http_writer *out, const char *name, uint64_t number)
{
    start_field(out, name);
    http_write_number(out, number);
    http_write_string(out, "\r\n");
}

void http_response_date(struct http_writer *out, const char *name, int64_t time_s)
{
    char date[HTTP_DATE_SIZE];
    http_date_write(date, time_s);
    http_response_field(out, name, (struct http_text){date, HTTP_DATE_SIZE - 1});
}

void http_response_end(struct http_writer *out)
{
    http_write_string(out, "\r\n");
}

static void write_title(struct http_writer *out, unsigned status)
{
    http_write_number(out, status);
    http_write_string(out, " ");
    http_write(out, http_status_reason(status));
}

void http_write_status_page(struct http_writer *out, unsigned status)
{
    http_write_string(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>");
    write_title(out, status);
    http_write_string(out, "</title></head>\n<body><h1>");
    write_title(out, status);
    http_write_string(out, "</h1></body></html>\n");
}

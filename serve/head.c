/* The order of fields is fixed so that the cache knows where the Date is. */
#include "serve/head.h"

#include <string.h>

#include "serve/cache.h"

void head_start(struct http_writer *out, unsigned status, const struct clock *clock, enum persistence persistence)
{
    static const char *const connection[] = {
        [PERSISTENCE_IMPLIED] = "",
        [PERSISTENCE_SAID] = "Connection: keep-alive\r\n",
        [PERSISTENCE_CLOSE] = "Connection: close\r\n",
    };

    http_response_start(out, status);
    http_response_field(out, "Date", (struct http_text){clock->text, HTTP_DATE_SIZE - 1});
    http_response_field(out, "Server", HTTP_TEXT("proa"));
    http_write_string(out, connection[persistence]);
}

void head_type(struct http_writer *out, struct http_text type)
{
    http_write_string(out, "Content-Type: ");
    http_write(out, type);
    if (type.len > 5 && memcmp(type.data, "text/", 5) == 0)
        http_write_string(out, "; charset=utf-8");
    http_write_string(out, "\r\n");
}

void head_validators(struct http_writer *out, const struct entry *entry)
{
    http_response_date(out, "Last-Modified", entry->mtime_s);
    http_response_field(out, "ETag", (struct http_text){entry->etag, entry->etag_len});
    http_response_field(out, "Vary", HTTP_TEXT("Accept-Encoding"));
}

void head_coding(struct http_writer *out, const struct entry *entry)
{
    if (entry->coding != HTTP_CODING_IDENTITY)
        http_response_field(out, "Content-Encoding", http_coding_rows[entry->coding].name);
}

void head_of_file(struct http_writer *out, const struct entry *entry, const struct clock *clock,
                  enum persistence persistence)
{
    head_start(out, HTTP_OK, clock, persistence);
    head_type(out, entry->type);
    http_response_number(out, "Content-Length", entry->identity.size);
    head_coding(out, entry);
    head_validators(out, entry);
    http_response_field(out, "Accept-Ranges", HTTP_TEXT("bytes"));
    http_response_end(out);
}

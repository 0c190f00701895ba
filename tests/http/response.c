/* Writing: response heads to the byte, escapes, and buffers of every size that is too small. */
#include "http/response.h"

#include <string.h>

#include "tests/check.h"

static const char expected[] = "HTTP/1.1 404 Not Found\r\n"
                               "Content-Length: 18446744073709551615\r\n"
                               "Age: 0\r\n"
                               "Content-Type: text/html\r\n"
                               "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
                               "\r\n";

static void write_head(struct http_writer *out)
{
    http_response_start(out, HTTP_NOT_FOUND);
    http_response_number(out, "Content-Length", UINT64_MAX);
    http_response_number(out, "Age", 0);
    http_response_field(out, "Content-Type", HTTP_TEXT("text/html"));
    http_response_date(out, "Date", 784111777);
    http_response_end(out);
}

/* It fits exactly, or it fails and has not touched a byte beyond. */
static void check_sizes(void)
{
    char buffer[sizeof(expected)];
    for (size_t size = 0; size < sizeof(expected); size++) {
        memset(buffer, '#', sizeof(buffer));
        struct http_writer out = http_writer_of(buffer, size);
        write_head(&out);
        CHECK(out.failed == (size < sizeof(expected) - 1));
        CHECK(out.len <= size && memcmp(buffer, expected, out.len) == 0);
        CHECK(buffer[size] == '#');
    }
    struct http_writer count = http_writer_counting();
    write_head(&count);
    CHECK(!count.failed && count.len == sizeof(expected) - 1);
}

static void check_split(const char *value)
{
    char buffer[100];
    struct http_writer out = http_writer_of(buffer, sizeof(buffer));
    http_response_field(&out, "Location", http_text_from(value));
    CHECK(out.failed && out.len == 0);
}

typedef void escape(struct http_writer *out, struct http_text text);

static void check_escape(escape *write, const char *text, const char *escaped)
{
    char buffer[200];
    struct http_writer out = http_writer_of(buffer, sizeof(buffer));
    write(&out, http_text_from(text));
    CHECK(!out.failed);
    CHECK(http_text_equal((struct http_text){buffer, out.len}, http_text_from(escaped)));
}

static void check_page(void)
{
    char buffer[400];
    struct http_writer out = http_writer_of(buffer, sizeof(buffer) - 1);
    http_write_status_page(&out, HTTP_NOT_FOUND);
    buffer[out.len] = '\0';
    CHECK(!out.failed && strstr(buffer, "<h1>404 Not Found</h1>"));
}

int main(void)
{
    check_sizes();
    check_split("/a\r\nSet-Cookie: x");
    check_split("/a\n");
    check_split("\x7f");
    check_escape(http_write_html, "<a href=\"x\">'&amp;'\xc3\xa9",
                 "&lt;a href=&quot;x&quot;&gt;&#39;&amp;amp;&#39;\xc3\xa9");
    check_escape(http_write_url_path, "/a b/\xc3\xa9?#%&'\"<\n~!@:", "/a%20b/%C3%A9%3F%23%25%26%27%22%3C%0A~!@:");
    check_page();
    return check_done("http/response");
}

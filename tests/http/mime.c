/* Media types: the caller's table, ours behind it, and what is in neither. */
#include "http/mime.h"

#include "tests/check.h"

static const char types[] = "# a comment\n"
                            "\n"
                            "text/x-mine\tmine  MINE2\r\n"
                            "text/x-html html # and a comment\n"
                            "text/no-extension\n"
                            "text/x-late mine\n"
                            "bad type\x01/x ext\n"
                            "bad\x7f/type badtype\n"
                            "  text/x-indented ind\n"
                            "text/x-last last";

static const struct {
    const char *name;
    const char *type;
} rows[] = {
    {"a.mine", "text/x-mine"},
    {"/b.c/a.MiNe", "text/x-mine"},
    {"a.mine2", "text/x-mine"},
    {"a.html", "text/x-html"},
    {"a.ind", "text/x-indented"},
    {"a.b.last", "text/x-last"},
    {"a.css", "text/css"},
    {"a.js", "text/javascript"},
    {"a.tar.gz", "application/gzip"},
    {"a.webm", "video/webm"},
    {"a.and", "application/octet-stream"},
    {"a.badtype", "application/octet-stream"},
    {"a.", "application/octet-stream"},
    {"css", "application/octet-stream"},
    {".css", "application/octet-stream"},
    {"/a/.css", "application/octet-stream"},
    {"/a.css/b", "application/octet-stream"},
    {"", "application/octet-stream"},
};

int main(void)
{
    struct http_mime *mime = http_mime_new(HTTP_TEXT(types));
    for (size_t i = 0; mime && i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct http_text type = http_mime_find(mime, http_text_from(rows[i].name));
        if (!CHECK(http_text_equal(type, http_text_from(rows[i].type))))
            fprintf(stderr, "  %s: %.*s\n", rows[i].name, (int)type.len, type.data);
    }
    http_mime_free(mime);
    mime = http_mime_new((struct http_text){0});
    CHECK(mime && http_text_equal(http_mime_find(mime, HTTP_TEXT("i.HTML")), HTTP_TEXT("text/html")));
    http_mime_free(mime);
    return check_done("http/mime");
}

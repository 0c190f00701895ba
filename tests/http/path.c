/* Paths: what comes out, and what cannot. */
#include "http/path.h"

#include <string.h>

#include "tests/check.h"

static const struct {
    const char *raw;
    int status; /* 0: `path` comes out */
    const char *path;
    bool directory;
    bool hidden;
} rows[] = {
    {"/", 0, "/", true, false},
    {"", 0, "/", true, false},
    {"/a/b.c", 0, "/a/b.c", false, false},
    {"/a/", 0, "/a/", true, false},
    {"//a///b//", 0, "/a/b/", true, false},
    {"///", 0, "/", true, false},
    {"/./a/././b/.", 0, "/a/b/", true, false},
    {"/a/../b", 0, "/b", false, false},
    {"/a/b/..", 0, "/a/", true, false},
    {"/a//../b", 0, "/b", false, false},
    {"/..", 0, "/", true, false},
    {"/../../../etc/passwd", 0, "/etc/passwd", false, false},
    {"/a/../../b", 0, "/b", false, false},
    {"/%2e%2e/a", 0, "/a", false, false},
    {"/a/%2E./%2e/b", 0, "/b", false, false},
    {"/%252e%252e/a", 0, "/%2e%2e/a", false, false}, /* decoded once */
    {"/...", 0, "/...", false, true},
    {"/a..", 0, "/a..", false, false},
    {"/.git/config", 0, "/.git/config", false, true},
    {"/a/%2egit", 0, "/a/.git", false, true},
    {"/.git/../a", 0, "/a", false, false},
    {"/a.b/c", 0, "/a.b/c", false, false},
    {"/%41%7a%c3%a9+%20", 0, "/Az\xc3\xa9+ ", false, false},
    {"/..\\a", 0, "/..\\a", false, true},
    {"/%0a%ff", 0, "/\n\xff", false, false},
    {"a/b", 0, "/a/b", false, false},
    {"/%", 400, "", false, false},
    {"/%4", 400, "", false, false},
    {"/%4g", 400, "", false, false},
    {"/%%41", 400, "", false, false},
    {"/a%00b", 400, "", false, false},
    {"/a%2Fb", 404, "", false, false},
    {"/..%2f..%2fetc", 404, "", false, false},
    {"/01234567890123456789012345678", 0, "/01234567890123456789012345678", false, false},
    {"/012345678901234567890123456789", 0, "/012345678901234567890123456789", false, false},
    {"/0123456789012345678901234567890", 414, "", false, false},
    {"/012345678901234567890123456789/", 414, "", false, false},
};

int main(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char out[32];
        struct http_path path = {0};
        int result = http_path_normalise(http_text_from(rows[i].raw), out, sizeof(out), &path);
        if (!CHECK(result == -rows[i].status))
            fprintf(stderr, "  %d for %s\n", result, rows[i].raw);
        if (result < 0)
            continue;
        if (!CHECK(strcmp(out, rows[i].path) == 0))
            fprintf(stderr, "  %s became %s\n", rows[i].raw, out);
        CHECK(path.len == strlen(out));
        CHECK(path.directory == rows[i].directory);
        CHECK(path.hidden == rows[i].hidden);
    }
    char out[8], tiny[2];
    struct http_path path;
    CHECK(http_path_normalise(HTTP_TEXT("/a\0b"), out, sizeof(out), &path) == -400);
    CHECK(http_path_normalise(HTTP_TEXT("/a/.."), tiny, 1, &path) == -414);
    CHECK(http_path_normalise(HTTP_TEXT("/"), tiny, 2, &path) == 0 && path.len == 1);
    return check_done("http/path");
}

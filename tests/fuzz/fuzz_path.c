/* Paths: nothing that comes out can climb, hide a NUL or fail to be its own normal form; and what is written into a
 * link reads back as the same path. */
#include "http/path.h"
#include "http/writer.h"
#include "tests/fuzz/fuzz.h"

static void check_segments(const char *path, bool hidden)
{
    MUST(path[0] == '/');
    bool found_hidden = false;
    for (const char *at = strchr(path, '/'); at; at = strchr(at + 1, '/')) {
        const char *segment = at + 1;
        size_t len = strcspn(segment, "/");
        MUST(len > 0 || *segment == '\0');
        MUST(!(len == 1 && segment[0] == '.'));
        MUST(!(len == 2 && segment[0] == '.' && segment[1] == '.'));
        found_hidden |= segment[0] == '.';
    }
    MUST(found_hidden == hidden);
}

static void check_round_trip(const char *path, size_t len)
{
    char link[3 * HTTP_PATH_SIZE], back[HTTP_PATH_SIZE];
    struct http_writer out = http_writer_of(link, sizeof(link));
    http_write_url_path(&out, (struct http_text){path, len});
    MUST(!out.failed);
    struct http_path again;
    MUST(http_path_normalise((struct http_text){link, out.len}, back, sizeof(back), &again) == 0);
    MUST(again.len == len && memcmp(back, path, len) == 0);
}

static void check_html(const char *path, size_t len)
{
    char html[6 * HTTP_PATH_SIZE];
    struct http_writer out = http_writer_of(html, sizeof(html));
    http_write_html(&out, (struct http_text){path, len});
    MUST(!out.failed && !memchr(html, '<', out.len) && !memchr(html, '"', out.len) && !memchr(html, '\'', out.len));
}

/* The first byte is the size of the buffer, if not zero. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t room = data[0] ? data[0] : HTTP_PATH_SIZE;
    char *raw = fuzz_copy(data + 1, size - 1);
    char *out = malloc(room);
    struct http_path path;
    int result = http_path_normalise((struct http_text){raw, size - 1}, out, room, &path);
    MUST(result == 0 || result == -400 || result == -404 || result == -414);
    if (result == 0) {
        MUST(path.len < room && strlen(out) == path.len);
        MUST(path.directory == (out[path.len - 1] == '/'));
        check_segments(out, path.hidden);
        check_round_trip(out, path.len);
        check_html(out, path.len);
    }
    free(out);
    free(raw);
    return 0;
}

/* One pass over the raw path: bytes are decoded into `out` as they come, and each segment is judged when it ends. */
#include "http/path.h"

#include <string.h>

#include "http/byte.h"
#include "http/status.h"

struct out {
    char *data; /* starts with '/' */
    size_t len;
    size_t segment; /* where the current segment starts: behind a '/' */
};

/* Decodes one byte at `at`; returns how many raw bytes it took, or a negative status. */
static int decode(const char *at, const char *end, char *ret_byte)
{
    *ret_byte = *at;
    if (*at != '%')
        return *at == '\0' ? -HTTP_BAD_REQUEST : 1;
    int high = end - at < 3 ? -1 : http_byte_hex(at[1]);
    int low = end - at < 3 ? -1 : http_byte_hex(at[2]);
    if (high < 0 || low < 0 || high + low == 0)
        return -HTTP_BAD_REQUEST;
    *ret_byte = (char)(high << 4 | low);
    return *ret_byte == '/' ? -HTTP_NOT_FOUND : 3;
}

/* Ends the current segment: "." and ".." leave no trace of themselves, ".." takes the segment before with it. */
static void end_segment(struct out *out)
{
    const char *segment = out->data + out->segment;
    size_t len = out->len - out->segment;
    bool dot = len == 1 && segment[0] == '.';
    bool dots = len == 2 && segment[0] == '.' && segment[1] == '.';
    if (!dot && !dots)
        return;
    out->len = out->segment;
    if (!dots || out->len == 1)
        return;
    out->len--;
    while (out->data[out->len - 1] != '/')
        out->len--;
}

static bool has_hidden_segment(const char *path)
{
    return strstr(path, "/.") != NULL;
}

int http_path_normalise(struct http_text raw, char *out_data, size_t size, struct http_path *ret_path)
{
    if (size < 2)
        return -HTTP_URI_TOO_LONG;
    struct out out = {.data = out_data, .len = 1, .segment = 1};
    out.data[0] = '/';
    const char *end = raw.data + raw.len;
    for (const char *at = raw.data; at < end;) {
        char byte;
        int taken = decode(at, end, &byte);
        if (taken < 0)
            return taken;
        at += taken;
        if (byte == '/') {
            end_segment(&out);
            out.segment = out.len;
            if (out.data[out.len - 1] == '/')
                continue;
        }
        if (out.len + 1 >= size)
            return -HTTP_URI_TOO_LONG;
        out.data[out.len++] = byte;
        if (byte == '/')
            out.segment = out.len;
    }
    end_segment(&out);
    out.data[out.len] = '\0';
    *ret_path = (struct http_path){out.len, out.data[out.len - 1] == '/', has_hidden_segment(out.data)};
    return 0;
}

/* The byte classes, rebuilt from the grammar; and the scans, held against the classes at every length and alignment. */
#include "http/byte.h"

#include <ctype.h>
#include <string.h>

#include "http/scan.h"
#include "tests/check.h"

static bool is_in(int byte, const char *set)
{
    return byte != 0 && byte < 0x80 && (isalnum(byte) || strchr(set, byte));
}

static unsigned class_of(int byte)
{
    bool visible = byte > 0x20 && byte < 0x7f;
    unsigned class = 0;
    class |= is_in(byte, "!#$%&'*+-.^_`|~") ? HTTP_BYTE_TOKEN : 0;
    class |= visible || byte == ' ' || byte == '\t' || byte >= 0x80 ? HTTP_BYTE_TEXT : 0;
    class |= visible && byte != '#' ? HTTP_BYTE_TARGET : 0;
    class |= visible && byte != '#' && byte != '?' ? HTTP_BYTE_RESOURCE : 0;
    class |= is_in(byte, "-._~!$&'()*+,;=") ? HTTP_BYTE_HOST : 0;
    class |= (visible && byte != '"') || byte >= 0x80 ? HTTP_BYTE_ETAG : 0;
    class |= is_in(byte, "-._~/!$()*+,;=:@") ? HTTP_BYTE_PATH : 0;
    return class;
}

typedef const char *scan(const char *at, const char *end);

static const char *scan_by_table(const char *at, const char *end, unsigned class)
{
    while (at < end && http_byte_is(*at, class))
        at++;
    return at;
}

/* Every byte at every place of a run of every length around the width of a step. */
static void check_scan(scan *scan_run, unsigned class, char filler)
{
    char run[40];
    for (int byte = 0; byte < 256; byte++) {
        for (size_t at = 0; at < sizeof(run); at++) {
            memset(run, filler, sizeof(run));
            run[at] = (char)byte;
            bool same = true;
            for (size_t len = 0; len <= sizeof(run); len++)
                same &= scan_run(run, run + len) == scan_by_table(run, run + len, class);
            CHECK(same);
        }
    }
}

int main(void)
{
    for (int byte = 0; byte < 256; byte++) {
        CHECK(http_byte_class[byte] == class_of(byte));
        CHECK(http_byte_lower((char)byte) == (byte < 0x80 ? (char)tolower(byte) : (char)byte));
        CHECK((http_byte_hex((char)byte) >= 0) == (byte < 0x80 && isxdigit(byte)));
    }
    CHECK(http_byte_hex('0') == 0 && http_byte_hex('9') == 9 && http_byte_hex('a') == 10 && http_byte_hex('F') == 15);
    check_scan(http_scan_token, HTTP_BYTE_TOKEN, 'a');
    check_scan(http_scan_token, HTTP_BYTE_TOKEN, '_');
    check_scan(http_scan_text, HTTP_BYTE_TEXT, 'a');
    check_scan(http_scan_text, HTTP_BYTE_TEXT, '\t');
    check_scan(http_scan_resource, HTTP_BYTE_RESOURCE, '/');
    check_scan(http_scan_target, HTTP_BYTE_TARGET, 'a');
    check_scan(http_scan_target, HTTP_BYTE_TARGET, '?');
    check_scan(http_scan_host, HTTP_BYTE_HOST, '0');
    check_scan(http_scan_host, HTTP_BYTE_HOST, '!');
    return check_done("http/byte");
}

/* host [":" port], RFC 3986 3.2.2. */
#include "http/authority.h"

#include <stdbool.h>
#include <string.h>

#include "tests/check.h"

static const char *const valid[] = {
    "a",
    "A.b-c_d~e",
    "127.0.0.1",
    "a:",
    "a:80",
    "a:99999999",
    "%41%e9b",
    "a!$&'()*+,;=",
    "999.1",
    "[::]",
    "[::1]:80",
    "[1::]",
    "[1:2:3:4:5:6:7:8]",
    "[1::3:4:5:6:7:8]",
    "[1:2:3:4:5:6:7::]",
    "[::ffff:1.2.3.4]",
    "[1:2:3:4:5:6:0.0.0.255]",
    "[FFFF::abcd]",
    "a-name-longer-than-sixteen-bytes.example.org:8080",
};

static const char *const invalid[] = {
    "",
    ":",
    ":80",
    "a:b",
    "a:80:",
    "a:80x",
    "a b",
    "u@a",
    "a/b",
    "a?b",
    "a#b",
    "%",
    "%4",
    "%4g",
    "a%",
    "[",
    "[]",
    "[::1",
    "[:]",
    "[:1]",
    "[1:]",
    "[1::2::3]",
    "[:::]",
    "[12345::]",
    "[g::]",
    "[1:2:3:4:5:6:7]",
    "[1:2:3:4:5:6:7:8:9]",
    "[1::2:3:4:5:6:7:8]",
    "[::1]x",
    "[::1]]",
    "[::1.2.3]",
    "[::1.2.3.4.5]",
    "[::256.1.1.1]",
    "[::01.1.1.1]",
    "[::1.2.3.4:5]",
    "[1:2:3:4:5:6:7:1.2.3.4]",
    "[fe80::1%25eth0]",
    "[v1.a]",
    "::1",
    "\x80",
};

static bool is_authority(const char *text, enum http_port port)
{
    const char *end = text + strlen(text);
    return http_authority_skip(text, end, port) == end;
}

int main(void)
{
    for (size_t i = 0; i < sizeof(valid) / sizeof(valid[0]); i++) {
        if (!CHECK(is_authority(valid[i], HTTP_PORT_OPTIONAL)))
            fprintf(stderr, "  refused: %s\n", valid[i]);
    }
    for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
        if (!CHECK(!is_authority(invalid[i], HTTP_PORT_OPTIONAL)))
            fprintf(stderr, "  accepted: %s\n", invalid[i]);
    }
    CHECK(is_authority("a:1", HTTP_PORT_REQUIRED));
    CHECK(!is_authority("a:", HTTP_PORT_REQUIRED));
    CHECK(!is_authority("[::1]", HTTP_PORT_REQUIRED));
    const char *more = "a.b:80/c";
    CHECK(http_authority_skip(more, more + 8, HTTP_PORT_OPTIONAL) == more + 6);
    CHECK(http_authority_skip(more, more + 3, HTTP_PORT_OPTIONAL) == more + 3);
    CHECK(http_authority_skip(more, more, HTTP_PORT_OPTIONAL) == NULL);
    return check_done("http/authority");
}

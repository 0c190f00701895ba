/* Accept-Encoding, RFC 9110 12.5.3: what is chosen when all codings are there, and when only some are. */
#include "http/encoding.h"

#include "tests/check.h"

enum { BR = HTTP_CODING_BR, ZSTD = HTTP_CODING_ZSTD, GZIP = HTTP_CODING_GZIP, IDENTITY = HTTP_CODING_IDENTITY };
enum { NOTHING = HTTP_CODINGS, ALL = 15, GZIP_ONLY = 1 << GZIP | 1 << IDENTITY, IDENTITY_ONLY = 1 << IDENTITY };

static const struct {
    const char *value; /* NULL: no such field */
    unsigned available;
    int chosen;
} rows[] = {
    {NULL, ALL, IDENTITY},
    {"", ALL, IDENTITY},
    {"gzip", ALL, GZIP},
    {"GZip", ALL, GZIP},
    {"x-gzip", ALL, GZIP},
    {"gzip, deflate, br", ALL, BR},
    {"gzip, deflate, br, zstd", GZIP_ONLY, GZIP},
    {"gzip, deflate, br", IDENTITY_ONLY, IDENTITY},
    {"deflate", ALL, IDENTITY},
    {"gzip;q=1.0, br;q=0.5", ALL, GZIP},
    {"br;q=0.001, gzip;q=0.002", ALL, GZIP},
    {"gzip;q=0", ALL, IDENTITY},
    {"gzip;q=0.000", ALL, IDENTITY},
    {"gzip ; Q=0.5", ALL, GZIP},
    {"gzip;\tq=1.000", ALL, GZIP},
    {"identity, gzip;q=0.5", ALL, IDENTITY},
    {"identity;q=0.5, gzip;q=0.5", ALL, GZIP},
    {"*", ALL, BR},
    {"*", IDENTITY_ONLY, IDENTITY},
    {"*;q=0", ALL, NOTHING},
    {"identity;q=0", IDENTITY_ONLY, NOTHING},
    {"identity;q=0", ALL, NOTHING},
    {"identity;q=0, gzip", ALL, GZIP},
    {"*;q=0, identity", ALL, IDENTITY},
    {"gzip, *;q=0", ALL, GZIP},
    {"br;q=0, *", ALL, ZSTD},
    {"*;q=0.5, gzip;q=0.4", GZIP_ONLY, IDENTITY},
    {"gzip;q=1.001", ALL, IDENTITY}, /* malformed elements do not count */
    {"gzip;q=2", ALL, IDENTITY},
    {"gzip;q=0.1234", ALL, IDENTITY},
    {"gzip;q=.5", ALL, IDENTITY},
    {"gzip;q=", ALL, IDENTITY},
    {"gzip;q", ALL, IDENTITY},
    {"gzip;x=1", ALL, IDENTITY},
    {"gzip;q=0x1, br;q=0.1", ALL, BR},
};

int main(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct http_accept accept;
        struct http_text value = rows[i].value ? http_text_from(rows[i].value) : (struct http_text){0};
        http_accept_parse(http_list_of(value), rows[i].value != NULL, &accept);
        int chosen = (int)http_accept_choose(&accept, rows[i].available);
        if (!CHECK(chosen == rows[i].chosen))
            fprintf(stderr, "  %d for %s\n", chosen, rows[i].value ? rows[i].value : "(none)");
    }
    return check_done("http/encoding");
}

/* The request parser: what it accepts and what it refuses, each example at every split point. */
#include "http/request.h"

#include <stdlib.h>
#include <string.h>

#include "tests/check.h"
#include "tests/http/same_request.h"

/* Feeds the first `cut` bytes, then `step` more at a time; each time in a fresh allocation of the exact size, so that a
 * slice or a read beyond it is caught by the sanitizers. */
static int parse_pieces(const struct http_text *text, size_t cut, size_t step, const struct http_limits *limits,
                        struct http_request *ret_req)
{
    http_request_init(ret_req);
    for (size_t len = cut;; len = len + step < text->len ? len + step : text->len) {
        char *copy = malloc(len + (len == 0));
        memcpy(copy, text->data, len);
        int result = http_request_parse(ret_req, copy, len, limits);
        free(copy);
        if (result != 0 || len == text->len)
            return result;
    }
}

/* Whole, cut in two at every byte, and byte by byte. */
static int parse_every_way(struct http_text text, const struct http_limits *limits, struct http_request *ret_req)
{
    int whole = parse_pieces(&text, text.len, 1, limits, ret_req);
    for (size_t cut = 0; cut <= text.len; cut++) {
        struct http_request req;
        int result = parse_pieces(&text, cut, text.len, limits, &req);
        if (!CHECK(result == whole) || (whole > 0 && !CHECK(same_request(&req, ret_req))))
            fprintf(stderr, "  cut at %zu of: %s\n", cut, text.data);
    }
    struct http_request req;
    CHECK(parse_pieces(&text, 0, 1, limits, &req) == whole);
    CHECK(whole <= 0 || same_request(&req, ret_req));
    return whole;
}

static int is_slice(const char *head, struct http_slice slice, const char *expected)
{
    return http_text_equal(http_text_of(head, slice), http_text_from(expected));
}

struct good {
    const char *text;
    enum http_method method;
    enum http_target_form form;
    int minor;
    const char *authority;
    const char *path;
    const char *query;
    bool keep_alive;
    enum http_body body;
    uint64_t content_length;
};

#define GET HTTP_METHOD_GET
#define ORIGIN HTTP_TARGET_ORIGIN
#define NONE HTTP_BODY_NONE

static const struct good goods[] = {
    {"GET /1k.html HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n", GET, ORIGIN, 1, "127.0.0.1:8080", "/1k.html", "", true,
     NONE, 0},
    {"GET / HTTP/1.0\r\n\r\n", GET, ORIGIN, 0, "", "/", "", false, NONE, 0},
    {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", GET, ORIGIN, 0, "", "/", "", true, NONE, 0},
    {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", GET, ORIGIN, 0, "", "/", "", false, NONE, 0},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection:y , CLOSE\r\n\r\n", GET, ORIGIN, 1, "a", "/", "", false,
     NONE, 0},
    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", GET, ORIGIN, 1, "a", "/", "", true, NONE, 0},
    {"GET / HTTP/1.7\r\nHost: a\r\n\r\n", GET, ORIGIN, 1, "a", "/", "", true, NONE, 0},
    {"\r\nGET /a?b?c=/ HTTP/1.1\r\nhost:a\r\n\r\n", GET, ORIGIN, 1, "a", "/a", "b?c=/", true, NONE, 0},
    {"GET /a? HTTP/1.1\r\nHOST:\t a \t\r\n\r\n", GET, ORIGIN, 1, "a", "/a", "", true, NONE, 0},
    {"GET /\\%7e|^{}\"<>` HTTP/1.1\r\nHost: a\r\n\r\n", GET, ORIGIN, 1, "a", "/\\%7e|^{}\"<>`", "", true, NONE, 0},
    {"HEAD http://Example.org:81/x?y HTTP/1.1\r\nHost: other\r\n\r\n", HTTP_METHOD_HEAD, HTTP_TARGET_ABSOLUTE, 1,
     "Example.org:81", "/x", "y", true, NONE, 0},
    {"GET HTTP://a?q=/ HTTP/1.1\r\nHost: a\r\n\r\n", GET, HTTP_TARGET_ABSOLUTE, 1, "a", "", "q=/", true, NONE, 0},
    {"GET http://[::1] HTTP/1.1\r\nHost: a\r\n\r\n", GET, HTTP_TARGET_ABSOLUTE, 1, "[::1]", "", "", true, NONE, 0},
    {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", HTTP_METHOD_OPTIONS, HTTP_TARGET_ASTERISK, 1, "a", "", "", true, NONE, 0},
    {"CONNECT a.b:443 HTTP/1.1\r\nHost: a.b\r\n\r\n", HTTP_METHOD_CONNECT, HTTP_TARGET_AUTHORITY, 1, "a.b:443", "", "",
     true, NONE, 0},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n", HTTP_METHOD_POST, ORIGIN, 1, "a", "/", "", true,
     HTTP_BODY_LENGTH, 12},
    {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 000\r\n\r\n", GET, ORIGIN, 1, "a", "/", "", true, NONE, 0},
    {"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", HTTP_METHOD_PUT, ORIGIN, 1, "a", "/", "", true,
     HTTP_BODY_CHUNKED, 0},
    {"GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa9\t \"q\" \r\nY:\r\n!#$%&'*+-.^_`|~09aZ: 1\r\n\r\n", GET, ORIGIN, 1, "a",
     "/", "", true, NONE, 0},
    {"DELETE /a-path-that-is-longer-than-sixteen/bytes?and-its-query-is-too HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n"
     "A-Name-Longer-Than-Sixteen-Bytes: and a value that is longer than two times sixteen bytes\tyes\r\n\r\n",
     HTTP_METHOD_DELETE, ORIGIN, 1, "[2001:db8::1]:8080", "/a-path-that-is-longer-than-sixteen/bytes",
     "and-its-query-is-too", true, NONE, 0},
};

static void check_good(const struct good *good)
{
    struct http_request req;
    int size = parse_every_way(http_text_from(good->text), NULL, &req);
    if (!CHECK(size == (int)strlen(good->text)))
        fprintf(stderr, "  %d for: %s\n", size, good->text);
    CHECK(req.method == good->method);
    CHECK(req.form == good->form);
    CHECK(req.minor == good->minor);
    CHECK(is_slice(good->text, req.authority, good->authority));
    CHECK(is_slice(good->text, req.path, good->path));
    CHECK(is_slice(good->text, req.query, good->query));
    CHECK(req.keep_alive == good->keep_alive);
    CHECK(req.body == good->body);
    CHECK(req.content_length == good->content_length);
}

struct bad {
    int status;
    const char *rule;
    struct http_text text;
};

#define LINE "GET / HTTP/1.1\r\n"
#define HOST "Host: a\r\n"
#define BAD(status, rule, text)    \
    {                              \
        status, rule,              \
        {                          \
            text, sizeof(text) - 1 \
        }                          \
    }

static const struct bad bads[] = {
    BAD(400, "9112 2.2: bare LF after the request line", "GET / HTTP/1.1\n" HOST "\r\n"),
    BAD(400, "9112 2.2: bare LF after a field", LINE "Host: a\n\r\n"),
    BAD(400, "9112 2.2: bare LF as last line", LINE HOST "\n"),
    BAD(400, "9112 2.2: bare CR in a field", LINE "Host: a\rb\r\n\r\n"),
    BAD(400, "9112 2.2: bare CR after the version", "GET / HTTP/1.1\rHost: a\r\n\r\n"),
    BAD(400, "9112 2.2: CR CR LF", LINE "Host: a\r\r\n\r\n"),
    BAD(400, "9112 2.2: bare CR as last line", LINE HOST "\rX\n"),
    BAD(400, "9112 2.2: another byte for CR after a field", LINE HOST "A: b\x01\n\r\n"),
    BAD(400, "9112 2.2: another byte for CR after the version", "GET / HTTP/1.1X\n" HOST "\r\n"),
    BAD(400, "9112 2.2: bare LF first", "\n" LINE HOST "\r\n"),
    BAD(400, "9112 2.2: two empty lines first", "\r\n\r\n" LINE HOST "\r\n"),
    BAD(400, "9112 2.2: space before the first field", LINE " " HOST "\r\n"),
    BAD(400, "not HTTP at all: a TLS hello", "\x16\x03\x01"),
    BAD(400, "not HTTP at all: no line end comes", "\x80"),
    BAD(400, "9112 3: no method", " / HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 3: method is no token", "GE(T / HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 3: two spaces", "GET  / HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 3: two spaces before the version", "GET /  HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 3: tab for a space", "GET\t/ HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 3: space at the end", "GET / HTTP/1.1 \r\n" HOST "\r\n"),
    BAD(400, "9112 3: space in the target", "GET /a b HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 3: no version (HTTP/0.9)", "GET /\r\n"),
    BAD(400, "9112 3: no target", "GET HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 3.2: control byte in the target", "GET /\x01 HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 3.2: NUL in the target", "GET /\0 HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 3.2: DEL in the target", "GET /\x7f HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 3.2: byte over 0x7f in the target", "GET /\xc3\xa9 HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 3.2: fragment", "GET /a#b HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 3.2: fragment in the query", "GET /a?b#c HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 3.2.1: relative path", "GET a HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 3.2.1: query only", "GET ?a HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 3.2.2: scheme not served", "GET ftp://a/ HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 3.2.2: scheme alone", "GET http:// HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9110 4.2.1: empty host", "GET http:///a HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9110 4.2.1: empty host with a port", "GET http://:80/a HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9110 4.2.4: user information", "GET http://u@a/ HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 3.2.3: CONNECT with a path", "CONNECT / HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 3.2.3: CONNECT without a port", "CONNECT a HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 3.2.3: CONNECT with an empty port", "CONNECT a: HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 3.2.3: authority form without CONNECT", "GET a:80 HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 3.2.4: * without OPTIONS", "GET * HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 2.3: version in lower case", "GET / http/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 2.3: version without minor", "GET / HTTP/1\r\n" HOST "\r\n"),
    BAD(400, "9112 2.3: version with two digits", "GET / HTTP/1.10\r\n" HOST "\r\n"),
    BAD(400, "9112 2.3: version with a letter", "GET / HTTP/1.x\r\n" HOST "\r\n"),
    BAD(505, "9110 15.6.6: HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    BAD(505, "9110 15.6.6: HTTP/0.9", "GET / HTTP/0.9\r\n\r\n"),
    BAD(501, "9110 9.1: unknown method", "BREW / HTTP/1.1\r\n" HOST "\r\n"),
    BAD(501, "9110 9.1: methods are case-sensitive", "get / HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "9112 3.2: no Host", LINE "\r\n"),
    BAD(400, "9112 3.2: two Hosts", LINE HOST HOST "\r\n"),
    BAD(400, "9112 3.2: two Hosts with 1.0", "GET / HTTP/1.0\r\n" HOST HOST "\r\n"),
    BAD(400, "9112 3.2: a bad Host beside an absolute form", "GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n"),
    BAD(400, "9112 3.2.2: no Host beside an absolute form", "GET http://a/ HTTP/1.1\r\n\r\n"),
    BAD(400, "9110 7.2: empty Host", LINE "Host:\r\n\r\n"),
    BAD(400, "9110 7.2: Host with a path", LINE "Host: a/b\r\n\r\n"),
    BAD(400, "9110 7.2: Host with user information", LINE "Host: u@a\r\n\r\n"),
    BAD(400, "9110 7.2: Host as a list", LINE "Host: a, b\r\n\r\n"),
    BAD(400, "9112 5.1: space before the colon", LINE "Host : a\r\n\r\n"),
    BAD(400, "9112 5.1: tab before the colon", LINE "Host\t: a\r\n\r\n"),
    BAD(400, "9112 5: no colon", LINE HOST "Foo\r\n\r\n"),
    BAD(400, "9112 5: no name", LINE HOST ": a\r\n\r\n"),
    BAD(400, "9112 5.2: folded with a space", LINE HOST "A: b\r\n c\r\n\r\n"),
    BAD(400, "9112 5.2: folded with a tab", LINE HOST "A: b\r\n\tc\r\n\r\n"),
    BAD(400, "9110 5.1: name is no token", LINE HOST "A(b): c\r\n\r\n"),
    BAD(400, "9110 5.1: name over 0x7f", LINE HOST "\xc3\xa9: c\r\n\r\n"),
    BAD(400, "9110 5.5: NUL in a value", LINE HOST "A: b\0c\r\n\r\n"),
    BAD(400, "9110 5.5: control byte in a value", LINE HOST "A: b\x1f\r\n\r\n"),
    BAD(400, "9110 5.5: DEL in a value", LINE HOST "A: a value with some length before \x7f\r\n\r\n"),
    BAD(400, "9112 6.1: Content-Length beside Transfer-Encoding",
        LINE HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
    BAD(400, "9112 6.1: in the other order", LINE HOST "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"),
    BAD(400, "9112 6.1: Transfer-Encoding with 1.0", "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    BAD(501, "9112 6.1: unknown coding", LINE HOST "Transfer-Encoding: gzip, chunked\r\n\r\n"),
    BAD(501, "9112 6.1: obfuscated chunked", LINE HOST "Transfer-Encoding: xchunked\r\n\r\n"),
    BAD(501, "9112 6.1: empty coding", LINE HOST "Transfer-Encoding:\r\n\r\n"),
    BAD(400, "9112 7.1: chunked twice", LINE HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
    BAD(400, "9110 8.6: Content-Length twice", LINE HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n"),
    BAD(400, "9110 8.6: Content-Length as a list", LINE HOST "Content-Length: 1, 1\r\n\r\n"),
    BAD(400, "9110 8.6: Content-Length with a sign", LINE HOST "Content-Length: +1\r\n\r\n"),
    BAD(400, "9110 8.6: Content-Length in hexadecimal", LINE HOST "Content-Length: 0x1\r\n\r\n"),
    BAD(400, "9110 8.6: empty Content-Length", LINE HOST "Content-Length:\r\n\r\n"),
    BAD(413, "9110 8.6: Content-Length over 2^63", LINE HOST "Content-Length: 9223372036854775808\r\n\r\n"),
    BAD(413, "9110 8.6: Content-Length over 2^64", LINE HOST "Content-Length: 18446744073709551617\r\n\r\n"),
    BAD(400, "9110 14.2: Range twice", LINE HOST "Range: bytes=0-1\r\nRange: bytes=0-2\r\n\r\n"),
    BAD(400, "9110 13.1.5: If-Range twice", LINE HOST "If-Range: \"a\"\r\nIf-Range: \"b\"\r\n\r\n"),
};

static void check_bad(const struct bad *bad)
{
    struct http_request req;
    int result = parse_every_way(bad->text, NULL, &req);
    if (!CHECK(result == -bad->status))
        fprintf(stderr, "  %d instead of %d: %s\n", result, -bad->status, bad->rule);
}

/* Nothing but its end is missing: more is needed, whatever is there. */
static void check_incomplete(const struct good *good)
{
    for (size_t len = 0; len < strlen(good->text); len++) {
        struct http_request req;
        http_request_init(&req);
        CHECK(http_request_parse(&req, good->text, len, NULL) == 0);
    }
}

static void check_pipelined(void)
{
    static const char two[] = LINE HOST "\r\nHEAD /b HTTP/1.0\r\n\r\n";
    struct http_request req;
    http_request_init(&req);
    int first = http_request_parse(&req, two, sizeof(two) - 1, NULL);
    CHECK(first == sizeof(LINE HOST "\r\n") - 1);
    http_request_init(&req);
    CHECK(http_request_parse(&req, two + first, sizeof(two) - 1 - (size_t)first, NULL) == 20);
    CHECK(req.method == HTTP_METHOD_HEAD && is_slice(two + first, req.line, "HEAD /b HTTP/1.0"));
}

static int parse_with(const char *text, uint32_t line_max, uint32_t fields_max, uint32_t head_max)
{
    struct http_limits limits = {line_max, fields_max, head_max};
    struct http_request req;
    return parse_every_way(http_text_from(text), &limits, &req);
}

/* Each limit lets its number pass and not one more. */
static void check_limits(void)
{
    const char *text = LINE HOST "A: b\r\n\r\n";
    uint32_t len = (uint32_t)strlen(text);
    CHECK(parse_with(text, 14, 100, 1000) == (int)len);
    CHECK(parse_with(text, 13, 100, 1000) == -414);
    CHECK(parse_with(text, 100, 2, 1000) == (int)len);
    CHECK(parse_with(text, 100, 1, 1000) == -431);
    CHECK(parse_with(text, 100, 100, len) == (int)len);
    CHECK(parse_with(text, 100, 100, len - 1) == -431);
    CHECK(parse_with(text, 100, 100, 20) == -431);
    CHECK(parse_with(text, 100, 100, 10) == -414);
    CHECK(parse_with("\r\n" LINE HOST "\r\n", 14, 100, 1000) > 0);
    CHECK(parse_with("\r\n" LINE HOST "\r\n", 13, 100, 1000) == -414);
    CHECK(parse_with("GET /too-long-and-bad\x01 HTTP/1.1\r\n", 8, 100, 1000) == -414);
    CHECK(parse_with("GET /endless", 8, 100, 1000) == -414);
    CHECK(parse_with(LINE "Endless: field", 100, 100, 25) == -431);
}

/* Offsets have 16 bits: no limit may ask for more. */
static void check_largest(void)
{
    static char text[70000] = LINE HOST "A: ";
    memset(text + strlen(text), 'x', 60000);
    strcat(text, "\r\nReferer: end\r\n\r\n");
    struct http_limits limits = {.line_max = UINT32_MAX, .fields_max = 100, .head_max = UINT32_MAX};
    struct http_request req;
    http_request_init(&req);
    CHECK(http_request_parse(&req, text, strlen(text), &limits) == (int)strlen(text));
    CHECK(is_slice(text, req.fields[HTTP_FIELD_REFERER], "end"));
    memset(text + strlen(text) - 10, 'x', 6000);
    http_request_init(&req);
    CHECK(http_request_parse(&req, text, strlen(text), &limits) == -431);
}

static void check_fields(void)
{
    static const char text[] = LINE HOST "if-none-match: \"a,b\" ,, \r\nUser-Agent: one\r\nX: y\r\nUser-Agent: two\r\n"
                                         "If-None-Match: W/\"c\"\r\nIF-NONE-MATCH:\r\nIf-None-Match:*\r\n"
                                         "Expect: 100-Continue\r\n\r\n";
    struct http_request req;
    CHECK(parse_every_way(HTTP_TEXT(text), NULL, &req) == sizeof(text) - 1);
    CHECK(req.expect_continue && req.fields_n == 9);
    CHECK(http_request_has(&req, HTTP_FIELD_USER_AGENT) && !http_request_has(&req, HTTP_FIELD_REFERER));
    CHECK(is_slice(text, req.fields[HTTP_FIELD_USER_AGENT], "one"));
    CHECK(http_request_field(&req, text, HTTP_FIELD_REFERER).data == NULL);

    static const char *const expected[] = {"\"a,b\"", "W/\"c\"", "*"};
    struct http_list list = http_request_list(&req, text, HTTP_FIELD_IF_NONE_MATCH);
    struct http_text element;
    for (int i = 0; i < 3; i++)
        CHECK(http_list_next(&list, &element) && http_text_equal(element, http_text_from(expected[i])));
    CHECK(!http_list_next(&list, &element));
    list = http_request_list(&req, text, HTTP_FIELD_ACCEPT_ENCODING);
    CHECK(!http_list_next(&list, &element));
}

static void check_expect_in_http_1_0(void)
{
    struct http_request req;
    CHECK(parse_every_way(HTTP_TEXT("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n"), NULL, &req) > 0);
    CHECK(!req.expect_continue);
}

int main(void)
{
    for (size_t i = 0; i < sizeof(goods) / sizeof(goods[0]); i++) {
        check_good(&goods[i]);
        check_incomplete(&goods[i]);
    }
    for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++)
        check_bad(&bads[i]);
    check_pipelined();
    check_limits();
    check_largest();
    check_fields();
    check_expect_in_http_1_0();
    return check_done("http/request");
}

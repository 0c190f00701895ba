/* Chunked bodies, RFC 9112 7.1: each example cut at every byte gives the same data and the same end. */
#include "http/chunked.h"

#include <string.h>

#include "tests/check.h"

struct outcome {
    int result;  /* of the last call */
    size_t used; /* bytes up to the end or the refusal */
    size_t len;
    char data[64];
};

static void feed(struct http_chunked *chunked, const char *in, size_t len, struct outcome *outcome)
{
    while (len > 0 && outcome->result >= 0 && outcome->result != HTTP_CHUNKED_END) {
        size_t used;
        struct http_text data;
        outcome->result = http_chunked_next(chunked, in, len, &used, &data);
        CHECK(used > 0 && used <= len);
        if (outcome->result == HTTP_CHUNKED_DATA && CHECK(data.len <= sizeof(outcome->data) - outcome->len)) {
            CHECK(data.len > 0 && data.data >= in && data.data + data.len <= in + used);
            memcpy(outcome->data + outcome->len, data.data, data.len);
            outcome->len += data.len;
        }
        in += used, len -= used;
        outcome->used += used;
    }
}

static struct outcome read_pieces(struct http_text text, size_t cut, size_t step)
{
    struct http_chunked chunked = {0};
    struct outcome outcome = {0};
    feed(&chunked, text.data, cut, &outcome);
    for (size_t at = cut; at < text.len; at += step)
        feed(&chunked, text.data + at, text.len - at < step ? text.len - at : step, &outcome);
    return outcome;
}

static int same_outcome(const struct outcome *a, const struct outcome *b)
{
    int same_result = a->result == b->result || (a->result >= 0 && a->result < HTTP_CHUNKED_END && b->result >= 0);
    return same_result && a->used == b->used && a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static struct outcome read_every_way(struct http_text text)
{
    struct outcome whole = read_pieces(text, text.len, 1);
    for (size_t cut = 0; cut < text.len; cut++) {
        struct outcome split = read_pieces(text, cut, text.len);
        CHECK(same_outcome(&whole, &split));
    }
    struct outcome bytes = read_pieces(text, 0, 1);
    CHECK(same_outcome(&whole, &bytes));
    return whole;
}

static const struct {
    const char *text;
    const char *data;
    size_t rest; /* bytes behind the end: they are not ours */
} goods[] = {
    {"0\r\n\r\n", "", 0},
    {"000\r\n\r\nGET /", "", 5},
    {"5\r\nhello\r\n0\r\n\r\n", "hello", 0},
    {"5\r\nhello\r\n00000000000000000000006\r\n world\r\n0\r\n\r\n", "hello world", 0},
    {"a\r\n0123456789\r\nA\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n", "0123456789\r\n\r\n\r\n\r\n\r\n", 0},
    {"1;a=b;c=\"d\t\"\r\nx\r\n0;\r\n\r\n", "x", 0},
    {"0\r\nA-b: c\r\nD:\r\n\r\n", "", 0},
};

static const struct {
    int status;
    const char *rule;
    struct http_text text;
} bads[] = {
    {400, "7.1: no size", HTTP_TEXT("\r\n\r\n")},
    {400, "7.1: no digit", HTTP_TEXT("g\r\n")},
    {400, "7.1: sign", HTTP_TEXT("+1\r\n")},
    {400, "7.1: 0x", HTTP_TEXT("0x1\r\n")},
    {400, "7.1: space before the size", HTTP_TEXT(" 1\r\n")},
    {400, "7.1: space behind the size", HTTP_TEXT("1 \r\n")},
    {400, "7.1: bare LF behind the size", HTTP_TEXT("1\nx\r\n")},
    {400, "7.1: bare CR behind the size", HTTP_TEXT("1\rx\r\n")},
    {400, "7.1: more data than said", HTTP_TEXT("1\r\nxy\r\n")},
    {400, "7.1: bare LF behind the data", HTTP_TEXT("1\r\nx\n")},
    {400, "7.1: no CRLF behind the data", HTTP_TEXT("1\r\nx\r0\r\n\r\n")},
    {413, "7.1: overflow", HTTP_TEXT("10000000000000000\r\n")},
    {400, "7.1.1: control byte in an extension", HTTP_TEXT("1;a\x01\r\n")},
    {400, "7.1.1: bare LF in an extension", HTTP_TEXT("1;a\nx\r\n0\r\n\r\n")},
    {400, "7.1.2: trailer without a name", HTTP_TEXT("0\r\n: a\r\n\r\n")},
    {400, "7.1.2: trailer without a colon", HTTP_TEXT("0\r\na\r\n\r\n")},
    {400, "7.1.2: space before the colon", HTTP_TEXT("0\r\na : b\r\n\r\n")},
    {400, "7.1.2: folded trailer", HTTP_TEXT("0\r\na: b\r\n c\r\n\r\n")},
    {400, "7.1.2: bare LF in a trailer", HTTP_TEXT("0\r\na: b\n\r\n")},
    {400, "7.1.2: NUL in a trailer", HTTP_TEXT("0\r\na: \0\r\n\r\n")},
    {400, "7.1.2: bare CR at the end", HTTP_TEXT("0\r\n\rx")},
    {400, "7.1.2: bare LF at the end", HTTP_TEXT("0\r\n\n")},
};

/* The filling is zeros: they may stand in an extension and in a name. */
static int read_filled(const char *start, int fill, const char *end)
{
    static char text[20000];
    int len = snprintf(text, sizeof(text), "%s%0*d%s", start, fill, 0, end);
    return read_pieces((struct http_text){text, (size_t)len}, 0, sizeof(text)).result;
}

/* Each limit lets its number of bytes pass and not one more; they may come in any number of chunks. */
static void check_limits(void)
{
    CHECK(read_filled("1;", HTTP_CHUNKED_EXTENSIONS_MAX, "\r\nx\r\n0\r\n\r\n") == HTTP_CHUNKED_END);
    CHECK(read_filled("1;", HTTP_CHUNKED_EXTENSIONS_MAX + 1, "\r\nx\r\n0\r\n\r\n") == -431);
    CHECK(read_filled("1;y\r\nx\r\n0;", HTTP_CHUNKED_EXTENSIONS_MAX, "\r\n\r\n") == -431);
    CHECK(read_filled("0\r\n", HTTP_CHUNKED_TRAILERS_MAX - 5, ":\r\n\r\n") == HTTP_CHUNKED_END);
    CHECK(read_filled("0\r\n", HTTP_CHUNKED_TRAILERS_MAX - 4, ":\r\n\r\n") == -431);
}

int main(void)
{
    for (size_t i = 0; i < sizeof(goods) / sizeof(goods[0]); i++) {
        struct http_text text = http_text_from(goods[i].text);
        struct outcome outcome = read_every_way(text);
        if (!CHECK(outcome.result == HTTP_CHUNKED_END))
            fprintf(stderr, "  %d for %s\n", outcome.result, goods[i].text);
        CHECK(outcome.used == text.len - goods[i].rest);
        CHECK(http_text_equal((struct http_text){outcome.data, outcome.len}, http_text_from(goods[i].data)));
    }
    for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
        struct outcome outcome = read_every_way(bads[i].text);
        if (!CHECK(outcome.result == -bads[i].status))
            fprintf(stderr, "  %d for %s\n", outcome.result, bads[i].rule);
    }
    check_limits();
    return check_done("http/chunked");
}

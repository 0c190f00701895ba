/* Accept-Encoding: a q-value for every coding we know, then the best of what is there. */
#include "http/encoding.h"

#include "http/byte.h"

enum { Q_ONE = 1000, Q_UNSET = 0xffff, Q_LEAST = 1 };

const struct http_coding_row http_coding_rows[HTTP_CODINGS] = {
#define X(name, text, suffix) {{(text), sizeof(text) - 1}, {(suffix), sizeof(suffix) - 1}},
    HTTP_CODING_LIST(X)
#undef X
};

/* RFC 9110 12.4.2: "0" or "1", and up to three digits, which after "1" are zeros. */
static bool read_qvalue(struct http_text text, uint16_t *ret_q)
{
    static const uint16_t weights[] = {Q_ONE, 0, 100, 10, 1};
    if (text.len == 0 || text.len > 5 || (text.data[0] != '0' && text.data[0] != '1'))
        return false;
    if (text.len > 1 && text.data[1] != '.')
        return false;
    unsigned q = text.data[0] == '1' ? Q_ONE : 0;
    for (size_t i = 2; i < text.len; i++) {
        if (!http_byte_is_digit(text.data[i]))
            return false;
        q += weights[i] * (unsigned)(text.data[i] - '0');
    }
    *ret_q = (uint16_t)q;
    return q <= Q_ONE;
}

/* codings [ OWS ";" OWS "q=" qvalue ] */
static bool read_element(struct http_text element, struct http_text *ret_coding, uint16_t *ret_q)
{
    size_t len = element.len;
    struct http_text coding = http_text_split(&element, ';');
    *ret_coding = http_text_trim(coding);
    *ret_q = Q_ONE;
    if (coding.len == len)
        return true;
    struct http_text weight = http_text_trim(element);
    if (weight.len < 2 || http_byte_lower(weight.data[0]) != 'q' || weight.data[1] != '=')
        return false;
    return read_qvalue((struct http_text){weight.data + 2, weight.len - 2}, ret_q);
}

static enum http_coding coding_of(struct http_text name)
{
    if (http_text_equal_nocase(name, HTTP_TEXT("x-gzip"))) /* RFC 9110 8.4.1.3 */
        return HTTP_CODING_GZIP;
    unsigned i = 0;
    while (i < HTTP_CODINGS && !http_text_equal_nocase(name, http_coding_rows[i].name))
        i++;
    return (enum http_coding)i;
}

/* What the list leaves open. Identity is acceptable unless refused by name or by a star (12.5.3), but whoever names
 * other codings prefers them. */
static uint16_t unset_q(enum http_coding coding, uint16_t star)
{
    if (star != Q_UNSET)
        return star;
    return coding == HTTP_CODING_IDENTITY ? Q_LEAST : 0;
}

void http_accept_parse(struct http_list list, bool present, struct http_accept *ret_accept)
{
    uint16_t star = present ? Q_UNSET : 0;
    for (unsigned i = 0; i < HTTP_CODINGS; i++)
        ret_accept->q[i] = Q_UNSET;
    if (!present)
        ret_accept->q[HTTP_CODING_IDENTITY] = Q_ONE;
    struct http_text element, name;
    uint16_t q;
    while (present && http_list_next(&list, &element)) {
        if (!read_element(element, &name, &q))
            continue;
        enum http_coding coding = coding_of(name);
        if (coding < HTTP_CODINGS)
            ret_accept->q[coding] = q;
        else if (http_text_equal(name, HTTP_TEXT("*")))
            star = q;
    }
    for (unsigned i = 0; i < HTTP_CODINGS; i++) {
        if (ret_accept->q[i] == Q_UNSET)
            ret_accept->q[i] = unset_q((enum http_coding)i, star);
    }
}

enum http_coding http_accept_choose(const struct http_accept *accept, unsigned available)
{
    unsigned best = HTTP_CODINGS;
    for (unsigned i = 0; i < HTTP_CODINGS; i++) {
        if (!(available >> i & 1) || accept->q[i] == 0)
            continue;
        if (best == HTTP_CODINGS || accept->q[i] > accept->q[best])
            best = i;
    }
    return (enum http_coding)best;
}

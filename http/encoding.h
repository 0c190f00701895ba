/* Which content coding to send, RFC 9110 12.5.3: what the client takes, against what the server has. */
#ifndef HTTP_ENCODING_H
#define HTTP_ENCODING_H

#include "http/list.h"

/* In order of our preference between equal q-values; the suffix names the precompressed sibling of a file. */
#define HTTP_CODING_LIST(X) \
    X(BR, "br", ".br")      \
    X(ZSTD, "zstd", ".zst") \
    X(GZIP, "gzip", ".gz")  \
    X(IDENTITY, "identity", "")

enum http_coding {
#define X(name, text, suffix) HTTP_CODING_##name,
    HTTP_CODING_LIST(X)
#undef X
        HTTP_CODINGS
};

struct http_coding_row {
    struct http_text name;
    struct http_text suffix;
};

extern const struct http_coding_row http_coding_rows[HTTP_CODINGS];

/* What a client takes: thousandths of a q-value per coding, 0 is "not acceptable". */
struct http_accept {
    uint16_t q[HTTP_CODINGS];
};

/* Reads Accept-Encoding. Without the field any coding is acceptable (12.5.3), yet the safe answer to a client that did
 * not ask is identity: pass `present` false for it. Malformed elements are passed over. */
void http_accept_parse(struct http_list list, bool present, struct http_accept *ret_accept);

/* The best coding among `available` (bit per enum http_coding); HTTP_CODINGS if none is acceptable: then 12.5.3 wants
 * 406 or an answer without coding. */
enum http_coding http_accept_choose(const struct http_accept *accept, unsigned available);

#endif

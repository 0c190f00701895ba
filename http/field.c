/* The tables of field.h and the comparison that confirms a row. A new row may need new factors in HTTP_FIELD_SLOT: a
 * slot filled twice is an error (-Woverride-init, -Winitializer-overrides). */
#include "http/field.h"

#include <string.h>

const struct http_field_row http_field_rows[HTTP_FIELDS] = {
#define X(name, text, first, last, repeat) {{(text), sizeof(text) - 1}, HTTP_FIELD_##repeat},
    HTTP_FIELD_LIST(X)
#undef X
};

const uint8_t http_field_slots[HTTP_FIELD_SLOTS] = {
#define X(name, text, first, last, repeat) [HTTP_FIELD_SLOT(sizeof(text) - 1, first, last)] = HTTP_FIELD_##name + 1,
    HTTP_FIELD_LIST(X)
#undef X
};

#define X(name, text, first, last, repeat) _Static_assert(sizeof(text) - 1 >= 4, "names are compared by fours");
HTTP_FIELD_LIST(X)
#undef X

static inline bool is_word4(const char *name, const char *lower)
{
    uint32_t a, b;
    memcpy(&a, name, 4);
    memcpy(&b, lower, 4);
    return (a | 0x01010101u * HTTP_FIELD_LOWER) == b;
}

static inline bool is_word8(const char *name, const char *lower)
{
    uint64_t a, b;
    memcpy(&a, name, 8);
    memcpy(&b, lower, 8);
    return (a | 0x0101010101010101u * HTTP_FIELD_LOWER) == b;
}

/* Our names are letters and '-' only. Setting the bit HTTP_FIELD_LOWER makes letters lower case, leaves '-' alone,
 * and turns no other token byte into one of these. The last word may overlap the one before. */
bool http_field_is(enum http_field field, const char *name)
{
    const char *lower = http_field_rows[field].name.data;
    size_t len = http_field_rows[field].name.len;
    if (len < 8)
        return is_word4(name, lower) && is_word4(name + len - 4, lower + len - 4);
    for (size_t i = 0; i + 8 < len; i += 8) {
        if (!is_word8(name + i, lower + i))
            return false;
    }
    return is_word8(name + len - 8, lower + len - 8);
}

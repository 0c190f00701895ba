/* An open-addressing hash table, at most half full, so a look-up ends within a few steps. The first type to claim an
 * extension keeps it: the caller's text is read before ours. */
#include "http/mime.h"

#include <stdlib.h>

#include "http/byte.h"

struct entry {
    struct http_text extension;
    struct http_text type;
};

struct http_mime {
    size_t mask; /* slots - 1, a power of two less one */
    struct entry entries[];
};

/* What a web site needs when the system has no table. */
static const char builtin_types[] = "application/epub+zip epub\n"
                                    "application/gzip gz\n"
                                    "application/json json map\n"
                                    "application/manifest+json webmanifest\n"
                                    "application/octet-stream bin\n"
                                    "application/pdf pdf\n"
                                    "application/rss+xml rss\n"
                                    "application/wasm wasm\n"
                                    "application/xhtml+xml xhtml\n"
                                    "application/xml xml\n"
                                    "application/zip zip\n"
                                    "application/zstd zst\n"
                                    "audio/flac flac\n"
                                    "audio/mpeg mp3\n"
                                    "audio/ogg ogg oga opus\n"
                                    "audio/wav wav\n"
                                    "font/otf otf\n"
                                    "font/ttf ttf\n"
                                    "font/woff woff\n"
                                    "font/woff2 woff2\n"
                                    "image/avif avif\n"
                                    "image/gif gif\n"
                                    "image/jpeg jpg jpeg\n"
                                    "image/png png\n"
                                    "image/svg+xml svg\n"
                                    "image/vnd.microsoft.icon ico\n"
                                    "image/webp webp\n"
                                    "text/css css\n"
                                    "text/csv csv\n"
                                    "text/html html htm\n"
                                    "text/javascript js mjs\n" /* RFC 9239 */
                                    "text/markdown md\n"
                                    "text/plain txt text log\n"
                                    "video/mp4 mp4 m4v\n"
                                    "video/webm webm\n";

/* Takes the next word off the line; empty when there is none. */
static struct http_text next_word(struct http_text *line)
{
    *line = http_text_trim(*line);
    size_t len = 0;
    while (len < line->len && line->data[len] != ' ' && line->data[len] != '\t' && line->data[len] != '\r')
        len++;
    struct http_text word = {line->data, len};
    len += len < line->len;
    line->data += len;
    line->len -= len;
    return word;
}

/* FNV-1a over lower case. */
static size_t hash(struct http_text text)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ (uint8_t)http_byte_lower(text.data[i])) * 16777619u;
    return hash;
}

/* The entry of an extension, or the empty one where it would be. */
static size_t slot_of(const struct http_mime *mime, struct http_text extension)
{
    size_t slot = hash(extension) & mime->mask;
    while (mime->entries[slot].extension.len > 0 && !http_text_equal_nocase(mime->entries[slot].extension, extension))
        slot = (slot + 1) & mime->mask;
    return slot;
}

/* A type that could split the header it goes into is not a type. */
static bool is_type(struct http_text type)
{
    for (size_t i = 0; i < type.len; i++) {
        if (!http_byte_is(type.data[i], HTTP_BYTE_TOKEN) && type.data[i] != '/')
            return false;
    }
    return type.len > 0;
}

static void add_line(struct http_mime *mime, struct http_text line)
{
    line = http_text_split(&line, '#');
    struct http_text type = next_word(&line);
    if (!is_type(type))
        return;
    while (line.len > 0) {
        struct http_text extension = next_word(&line);
        struct entry *entry = extension.len > 0 ? &mime->entries[slot_of(mime, extension)] : NULL;
        if (entry && entry->extension.len == 0)
            *entry = (struct entry){extension, type};
    }
}

static void add_types(struct http_mime *mime, struct http_text types)
{
    while (types.len > 0)
        add_line(mime, http_text_split(&types, '\n'));
}

/* No more than there can be extensions: every one has a separator in front of it. */
static size_t separators(struct http_text types)
{
    size_t count = 0;
    for (size_t i = 0; i < types.len; i++)
        count += types.data[i] == ' ' || types.data[i] == '\t' || types.data[i] == '\r';
    return count;
}

struct http_mime *http_mime_new(struct http_text types)
{
    struct http_text builtin = {builtin_types, sizeof(builtin_types) - 1};
    size_t slots = 64;
    while (slots < 2 * (separators(types) + separators(builtin)))
        slots *= 2;
    struct http_mime *mime = calloc(1, sizeof(*mime) + slots * sizeof(struct entry));
    if (!mime)
        return NULL;
    mime->mask = slots - 1;
    add_types(mime, types);
    add_types(mime, builtin);
    return mime;
}

void http_mime_free(struct http_mime *mime)
{
    free(mime);
}

static struct http_text extension_of(struct http_text name)
{
    size_t at = name.len;
    while (at > 0 && name.data[at - 1] != '.' && name.data[at - 1] != '/')
        at--;
    bool found = at > 1 && name.data[at - 1] == '.' && name.data[at - 2] != '/';
    return found ? (struct http_text){name.data + at, name.len - at} : (struct http_text){0};
}

struct http_text http_mime_find(const struct http_mime *mime, struct http_text name)
{
    struct http_text extension = extension_of(name);
    const struct entry *entry = extension.len > 0 ? &mime->entries[slot_of(mime, extension)] : NULL;
    return entry && entry->extension.len > 0 ? entry->type : HTTP_TEXT("application/octet-stream");
}

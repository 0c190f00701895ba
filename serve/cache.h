/* What the server knows of files, by path: the rendered answer.
 *
 * An entry of a small file holds one block with the head of a 200 and the body behind it; an entry of a large file
 * holds the head and the open file. Between the two, half of the files that may be open are. An entry never changes: when the file does, it is replaced, and those that still
 * send from it keep it alive by reference. Only the Date in its block is renewed, at most once a second, and never in
 * a block that a send refers to: a second block takes turns with it.
 *
 * The key is the normalised path and which content codings the client takes, in its order of preference. */
#ifndef SERVE_CACHE_H
#define SERVE_CACHE_H

#include <sys/stat.h>

#include "http/encoding.h"
#include "http/etag.h"
#include "http/text.h"
#include "proa/op.h"
#include "proa/time.h"
#include "serve/block.h"

struct server;

enum {
    CACHE_SMALL_MAX = 16 << 10, /* a body up to this is in memory: from there one send is cheaper than from the file */
    CACHE_FILE_MAX = 64 << 10,  /* and up to this where too many files are open already */
    CACHE_BYTES_MAX = 64 << 20, /* of all entries */
    CACHE_BUCKETS = 1 << 14,
    CACHE_HEAD_MAX = 1024
};

#define CACHE_VALID_NS PROA_SECOND_NS

/* Codings in order of preference, 3 bits each, the first in the lowest; coding + 1, 0 ends the list. */
typedef uint16_t accept_order;

enum { ACCEPT_IDENTITY_ONLY = HTTP_CODING_IDENTITY + 1, ACCEPT_BITS = 3, ACCEPT_MASK = 7 };

/* Two looks at a file that find all of this equal have seen the same bytes. */
struct file_identity {
    uint64_t inode, size;
    int64_t mtime_ns, ctime_ns;
    uint64_t device;
};

struct entry {
    struct entry *hash_next;
    struct entry *newer, *older; /* in order of entry or of a second chance */
    struct block *current;       /* head, then the body of a small file */
    struct block *spare;         /* the same with an older Date; NULL: none yet */
    struct http_text type;
    struct file_identity identity;
    uint64_t checked_ns; /* when the file was last compared */
    int64_t mtime_s;
    proa_fd fd; /* of a large file; else -1 */
    uint32_t references;
    uint32_t hash;
    accept_order accepts;
    uint16_t key_len;
    uint16_t head_size;
    uint8_t coding;
    uint8_t etag_len;
    bool used;     /* since eviction last came by */
    bool listed;   /* it can be found */
    bool checking; /* a request is comparing it with the file */
    bool settled;  /* the file was old enough, when it was read, that any later change shows in its times */
    bool escaped;  /* the key has a '%': only a decoded path may match it */
    char etag[HTTP_ETAG_SIZE];
    char key[];
};

struct cache {
    struct entry *buckets[CACHE_BUCKETS];
    struct entry *newest, *oldest;
    uint64_t bytes;
    unsigned files; /* large ones, held open */
    unsigned files_max;
};

/* The entry for a path, or NULL. `decoded` false: `path` is as the client wrote it; it matches only where decoding
 * would not change it. */
struct entry *cache_find(struct cache *cache, struct http_text path, accept_order accepts, bool decoded);

/* Whether the body of a new entry is to be in memory, or else its file open. */
bool cache_wants_memory(const struct cache *cache, uint64_t size);

/* An entry with one reference, not yet in the cache, with its head rendered. `fd` is closed with it, if not -1. NULL:
 * no memory. */
struct entry *cache_make(struct server *server, struct http_text path, accept_order accepts, enum http_coding coding,
                         struct http_text type, const struct statx *stat, proa_fd fd);

/* Puts an entry where it can be found, in place of an older one with its key. */
void cache_insert(struct server *server, struct entry *entry);

/* Takes an entry out; it lives until its last reference. */
void cache_remove(struct server *server, struct entry *entry);

void cache_clear(struct server *server);

void cache_entry_free(struct server *server, struct entry *entry);

static inline struct entry *cache_hold(struct entry *entry)
{
    entry->references++;
    return entry;
}

static inline void cache_release(struct server *server, struct entry *entry)
{
    if (entry && --entry->references == 0)
        cache_entry_free(server, entry);
}

static inline bool cache_is_small(const struct entry *entry)
{
    return entry->fd.handle < 0;
}

/* The entry's block with the present Date. Slow only once a second. */
struct block *cache_renew_block(struct server *server, struct entry *entry);

struct file_identity file_identity_of(const struct statx *stat);
bool file_identity_equal(const struct file_identity *a, const struct file_identity *b);

#endif

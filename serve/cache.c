/* A hash table of chains, and a second-chance list for eviction: a hit sets one flag and moves nothing. */
#include "serve/cache.h"

#include <stdlib.h>
#include <string.h>

#include "serve/head.h"
#include "serve/server.h"

/* A file whose time stamp is younger than this when it is read can change again without a new time stamp: the kernel
 * stamps with the time of its last tick, and some file systems with whole seconds. */
#define SETTLED_AGE_NS ((int64_t)1500 * (int64_t)PROA_MILLISECOND_NS)

static uint32_t hash_of(struct http_text path, accept_order accepts)
{
    const uint64_t factor = UINT64_C(0x9E3779B97F4A7C15);
    uint64_t hash = path.len + ((uint64_t)accepts << 32);
    uint64_t word;
    size_t at = 0;

    for (; at + sizeof(word) <= path.len; at += sizeof(word)) {
        memcpy(&word, path.data + at, sizeof(word));
        hash = (hash ^ word) * factor;
        hash ^= hash >> 32;
    }
    word = 0;
    memcpy(&word, path.data + at, path.len - at);
    hash = (hash ^ word) * factor;
    return (uint32_t)(hash >> 32);
}

struct file_identity file_identity_of(const struct statx *stat)
{
    const int64_t second = (int64_t)PROA_SECOND_NS;

    return (struct file_identity){
        .inode = stat->stx_ino,
        .size = stat->stx_size,
        .mtime_ns = stat->stx_mtime.tv_sec * second + stat->stx_mtime.tv_nsec,
        .ctime_ns = stat->stx_ctime.tv_sec * second + stat->stx_ctime.tv_nsec,
        .device = (uint64_t)stat->stx_dev_major << 32 | stat->stx_dev_minor,
    };
}

bool file_identity_equal(const struct file_identity *a, const struct file_identity *b)
{
    return a->inode == b->inode && a->size == b->size && a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns &&
           a->device == b->device;
}

struct entry *cache_find(struct cache *cache, struct http_text path, accept_order accepts, bool decoded)
{
    uint32_t hash = hash_of(path, accepts);

    for (struct entry *entry = cache->buckets[hash % CACHE_BUCKETS]; entry; entry = entry->hash_next) {
        if (entry->hash == hash && entry->accepts == accepts && entry->key_len == path.len &&
            (decoded || !entry->escaped) && memcmp(entry->key, path.data, path.len) == 0)
            return entry;
    }
    return NULL;
}

bool cache_wants_memory(const struct cache *cache, uint64_t size)
{
    return size <= CACHE_SMALL_MAX || (size <= CACHE_FILE_MAX && cache->files >= cache->files_max / 2);
}

struct entry *cache_make(struct server *server, struct http_text path, accept_order accepts, enum http_coding coding,
                         struct http_text type, const struct statx *stat, proa_fd fd)
{
    struct entry *entry = malloc(sizeof(*entry) + path.len);
    if (!entry)
        return NULL;

    struct file_identity identity = file_identity_of(stat);
    *entry = (struct entry){
        .type = type,
        .identity = identity,
        .checked_ns = proa_now(server->loop),
        .mtime_s = stat->stx_mtime.tv_sec,
        .fd = fd,
        .references = 1,
        .hash = hash_of(path, accepts),
        .accepts = accepts,
        .key_len = (uint16_t)path.len,
        .coding = (uint8_t)coding,
        .settled = server->clock.now_ns - identity.ctime_ns > SETTLED_AGE_NS,
        .escaped = memchr(path.data, '%', path.len) != NULL,
    };
    memcpy(entry->key, path.data, path.len);
    /* Two codings of one file never share a tag, even if their size and time are the same. */
    entry->etag_len = (uint8_t)http_etag_write(entry->etag, identity.mtime_ns + HTTP_CODING_IDENTITY - (int)coding,
                                               identity.size);

    char head[CACHE_HEAD_MAX];
    struct http_writer out = http_writer_of(head, sizeof(head));
    head_of_file(&out, entry, &server->clock, PERSISTENCE_IMPLIED);
    entry->head_size = (uint16_t)out.len;
    entry->current = out.failed ? NULL : block_make(out.len + (fd.handle < 0 ? identity.size : 0));
    if (!entry->current) {
        free(entry);
        return NULL;
    }
    entry->current->date_generation = server->clock.generation;
    memcpy(entry->current->data, head, out.len);
    return entry;
}

void cache_entry_free(struct server *server, struct entry *entry)
{
    block_release(&server->blocks, entry->current);
    block_release(&server->blocks, entry->spare);
    if (entry->fd.handle >= 0)
        server_close_file(server, entry->fd);
    free(entry);
}

/* Twice the block: under load the spare is in use. */
static uint64_t cost_of(const struct entry *entry)
{
    return sizeof(*entry) + entry->key_len + 2 * (uint64_t)entry->current->capacity;
}

static void order_add(struct cache *cache, struct entry *entry)
{
    entry->newer = NULL;
    entry->older = cache->newest;
    *(cache->newest ? &cache->newest->newer : &cache->oldest) = entry;
    cache->newest = entry;
}

static void order_remove(struct cache *cache, struct entry *entry)
{
    *(entry->newer ? &entry->newer->older : &cache->newest) = entry->older;
    *(entry->older ? &entry->older->newer : &cache->oldest) = entry->newer;
}

void cache_remove(struct server *server, struct entry *entry)
{
    struct cache *cache = &server->cache;

    if (!entry->listed)
        return;
    struct entry **place = &cache->buckets[entry->hash % CACHE_BUCKETS];
    while (*place != entry)
        place = &(*place)->hash_next;
    *place = entry->hash_next;
    order_remove(cache, entry);
    cache->bytes -= cost_of(entry);
    cache->files -= !cache_is_small(entry);
    entry->listed = false;
    cache_release(server, entry);
}

static void make_room(struct server *server)
{
    struct cache *cache = &server->cache;

    while (cache->bytes > CACHE_BYTES_MAX || cache->files > cache->files_max) {
        struct entry *entry = cache->oldest;
        if (!entry->used) {
            cache_remove(server, entry);
            continue;
        }
        entry->used = false;
        order_remove(cache, entry);
        order_add(cache, entry);
    }
}

void cache_insert(struct server *server, struct entry *entry)
{
    struct cache *cache = &server->cache;
    struct entry *older = cache_find(cache, (struct http_text){entry->key, entry->key_len}, entry->accepts, true);

    if (older)
        cache_remove(server, older);
    struct entry **bucket = &cache->buckets[entry->hash % CACHE_BUCKETS];
    entry->hash_next = *bucket;
    *bucket = cache_hold(entry);
    entry->listed = true;
    order_add(cache, entry);
    cache->bytes += cost_of(entry);
    cache->files += !cache_is_small(entry);
    make_room(server);
}

void cache_clear(struct server *server)
{
    struct entry *entry = server->cache.newest;

    while (entry) {
        struct entry *older = entry->older;
        cache_remove(server, entry);
        entry = older;
    }
}

/* A block of this entry that no send refers to, with the Date of some time. */
static struct block *idle_block(struct entry *entry)
{
    if (entry->current->references == 1)
        return entry->current;
    if (entry->spare && entry->spare->references == 1)
        return entry->spare;

    struct block *block = block_make(entry->current->capacity);
    if (block)
        memcpy(block->data, entry->current->data, entry->current->capacity);
    return block;
}

struct block *cache_renew_block(struct server *server, struct entry *entry)
{
    struct block *block = idle_block(entry);

    if (!block)
        return entry->current; /* no memory for a copy: its Date is a little old */
    memcpy(block->data + HEAD_DATE_AT, server->clock.text, HTTP_DATE_SIZE - 1);
    block->date_generation = server->clock.generation;
    if (block != entry->current) {
        if (block != entry->spare)
            block_release(&server->blocks, entry->spare);
        entry->spare = entry->current;
        entry->current = block;
    }
    return block;
}

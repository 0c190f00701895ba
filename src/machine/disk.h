/* The machine's files: a tree of nodes. A directory has entries, names that lead to nodes; a node lives while it has a name,
 * or somebody holds it. */
#ifndef PROA_MACHINE_DISK_H
#define PROA_MACHINE_DISK_H

#include "machine/state.h"

enum {
    PAGE_SIZE = 4096,
    PAGES_MAX = 1 << 22, /* of a file */
};

#define FILE_SIZE_MAX ((uint64_t)PAGES_MAX * PAGE_SIZE) /* 16 GiB */

struct entry {
    struct entry *next; /* in the order of their making */
    struct node *node;
    uint64_t number; /* its place in that order, from FIRST_ENTRY on: who has listed up to one knows which come next */
    char name[];
};

/* Before them stand . and .. */
enum { ENTRY_SELF = 1, ENTRY_PARENT, FIRST_ENTRY };

struct node {
    struct node *parent; /* of a directory; null: it has no name any more, or is the root */
    struct entry *entries;
    uint64_t entry_numbers; /* latest */
    char *target;           /* of a symbolic link */
    unsigned mode;
    uint32_t names;
    uint32_t holders;
    uint64_t number;
    uint64_t changed_ns;
    uint64_t size;
    uint8_t **pages; /* null: a hole */
    size_t page_count;
};

/* file.c: where a path that is relative to `fd` starts. Returns 0 or a negative errno. */
int file_start_of(const proa_sim *machine, int fd, const char *path, struct node **ret_node);

void disk_open(proa_sim *machine);
void disk_close(proa_sim *machine);

/* How to walk: from where; whether the path must stay beneath, and may follow links at all (openat2(2)); whether to stop at a
 * link that is the last part; and whether to do so, and to take what is no directory, where a slash follows. */
struct walk {
    struct node *from;
    int beneath, no_links, keeps_link, keeps_all;
};

/* Where a path leads to: the node, or null; the directory it is in, or would be in, and its last part's name. */
struct place {
    struct node *node;
    struct node *directory;
    const char *name;
    size_t name_size;
    int must_be_directory; /* a slash follows the name */
};

/* Returns 0, also where only the last part is missing, or a negative errno. */
int disk_walk(proa_sim *machine, struct walk walk, const char *path, struct place *ret_place);

/* Makes what is missing at the place; or has the name there lead to a node. */
struct node *disk_make(proa_sim *machine, const struct place *place, unsigned mode);
void disk_name(proa_sim *machine, const struct place *place, struct node *node);
void disk_make_link(proa_sim *machine, const struct place *place, const char *target);

/* Takes the name at the place from what it leads to. */
void disk_unlink(proa_sim *machine, const struct place *place);

/* The node at `place` and the one at `other` change places. */
void disk_exchange(proa_sim *machine, const struct place *place, const struct place *other);

/* A directory that was removed: nothing can be made in it. */
int disk_is_removed(const proa_sim *machine, const struct node *directory);

void disk_hold(struct node *node);
void disk_release(proa_sim *machine, struct node *node);

/* Both return how many bytes, or a negative errno. */
ssize_t disk_read(const struct node *node, void *data, size_t size, uint64_t offset);
ssize_t disk_write(proa_sim *machine, struct node *node, const void *data, size_t size, uint64_t offset);
void disk_truncate(proa_sim *machine, struct node *node, uint64_t size);

/* Has pages for a part of the file, or none any more. */
int disk_allocate(proa_sim *machine, struct node *node, uint64_t offset, uint64_t size);
void disk_punch(proa_sim *machine, struct node *node, uint64_t offset, uint64_t size);

/* Sockets' files. A new one is held by its socket. */
int disk_make_socket(proa_sim *machine, const char *path, struct node **ret_node);
int disk_check_socket(proa_sim *machine, const char *path);
struct node *disk_find(const proa_sim *machine, const char *path);

#endif

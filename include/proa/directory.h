/* What is done by name: making, removing, renaming, linking, listing, and watching for what others do.
 *
 * A path is relative to its directory, or to PROA_CWD. Paths and memory must stay until completion. */
#ifndef PROA_DIRECTORY_H
#define PROA_DIRECTORY_H

#include <string.h>
#include <sys/inotify.h>

#include "file.h"

PROA_BEGIN

enum proa_unlink_flag {
    PROA_UNLINK_DIRECTORY = 0x200, /* an empty directory, and nothing else */
};

enum proa_rename_flag {
    PROA_RENAME_NOREPLACE = 1, /* fail with EEXIST where the new name is taken */
    PROA_RENAME_EXCHANGE = 2,  /* both names exist, and change places */
};

enum proa_link_flag {
    PROA_LINK_FOLLOW = 0x400, /* the file that a symbolic link leads to, not the symbolic link */
};

/* All of these: value: 0. `mode` is less the umask. */
PROA_API void proa_make_directory(proa_loop *loop, proa_op *op, proa_fd directory, const char *path, mode_t mode,
                                  proa_callback *callback);
PROA_API void proa_unlink(proa_loop *loop, proa_op *op, proa_fd directory, const char *path, unsigned flags,
                          proa_callback *callback);
PROA_API void proa_rename(proa_loop *loop, proa_op *op, proa_fd from_directory, const char *from, proa_fd to_directory,
                          const char *to, unsigned flags, proa_callback *callback);
PROA_API void proa_hard_link(proa_loop *loop, proa_op *op, proa_fd from_directory, const char *from,
                             proa_fd to_directory, const char *to, unsigned flags, proa_callback *callback);
PROA_API void proa_symbolic_link(proa_loop *loop, proa_op *op, const char *target, proa_fd directory, const char *path,
                                 proa_callback *callback);

/* What a symbolic link says. value: bytes in `target`, which no zero ends; as many as `size`: there may be more. */
PROA_API void proa_read_link(proa_loop *loop, proa_op *op, proa_fd directory, const char *path, char *target,
                             size_t size, proa_callback *callback);

/* The next entries of an open directory, as many as `buffer` has room for. value: bytes for proa_directory_next(); 0 at
 * the end. */
PROA_API void proa_read_directory(proa_loop *loop, proa_op *op, proa_fd directory, void *buffer, size_t size,
                                  proa_callback *callback);

/* `.` and `..` are among them. */
typedef struct proa_directory_entry {
    const char *name; /* lies in the buffer */
    uint64_t inode;
    unsigned type; /* DT_REG, DT_DIR, ... of readdir(3), or DT_UNKNOWN where the file system does not say */
} proa_directory_entry;

/* Waits for what happens to `path` or in that directory (`events`: IN_CREATE, ... of inotify(7)), repeating: with PROA_MORE
 * the value is the bytes for proa_watch_next() in `buffer`, which has PROA_WATCH_BUFFER_MIN or more and is the callback's
 * until it returns. Watched from the start on, but told one buffer at a time. value at the end: 0 where `path` itself
 * is gone. */
PROA_API void proa_watch(proa_loop *loop, proa_op *op, const char *path, uint32_t events, void *buffer, size_t size,
                         proa_callback *callback);

enum { PROA_WATCH_BUFFER_MIN = 272 }; /* one event with the longest name (inotify(7)) */

typedef struct proa_watch_event {
    const char *name; /* of an entry, in the buffer; "": what is watched itself */
    uint32_t events;  /* IN_CREATE, ...; IN_Q_OVERFLOW: some were lost; IN_IGNORED: there are no more */
    uint32_t cookie;  /* the same in IN_MOVED_FROM and IN_MOVED_TO of one renaming */
} proa_watch_event;

/* Both step through a buffer: `*position` is 0 at first. Return 1 with the next one filled in, or 0 behind the last. */

static inline int proa_directory_next(const void *buffer, int64_t bytes, size_t *position,
                                      proa_directory_entry *ret_entry)
{
    enum { inode_at = 0, size_at = 16, type_at = 18, name_at = 19 }; /* struct linux_dirent64 (getdents64(2)) */
    const char *record = (const char *)buffer + *position;
    uint16_t size;

    if (bytes <= 0 || *position >= (size_t)bytes)
        return 0;
    memcpy(&ret_entry->inode, record + inode_at, sizeof(ret_entry->inode));
    memcpy(&size, record + size_at, sizeof(size));
    ret_entry->type = (unsigned char)record[type_at];
    ret_entry->name = record + name_at;
    *position += size;
    return 1;
}

static inline int proa_watch_next(const void *buffer, int64_t bytes, size_t *position, proa_watch_event *ret_event)
{
    const char *record = (const char *)buffer + *position;
    struct inotify_event head;

    if (bytes <= 0 || *position >= (size_t)bytes)
        return 0;
    memcpy(&head, record, sizeof(head));
    ret_event->name = head.len > 0 ? record + sizeof(head) : "";
    ret_event->events = head.mask;
    ret_event->cookie = head.cookie;
    *position += sizeof(head) + head.len;
    return 1;
}

PROA_END

#endif

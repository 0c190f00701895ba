/* Open files and directories. */
#include <dirent.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine/disk.h"

#define EPOCH_S INT64_C(1600000000) /* the time of day at which the machine's clock was 0 */

struct handle {
    struct file file;
    struct node *node;
    uint64_t flags;
    uint64_t position;
};

static const struct file_kind handle_kind;

static struct handle *handle_of(struct file *file)
{
    return file && file->kind == &handle_kind ? (struct handle *)file : NULL;
}

/* Reading and writing */

static int may_not(const struct handle *handle, uint64_t access)
{
    uint64_t mode = handle->flags & O_ACCMODE;

    return handle->flags & O_PATH || (mode != O_RDWR && mode != access);
}

static ssize_t handle_read(proa_sim *machine, struct file *file, void *data, size_t size, uint64_t offset)
{
    struct handle *handle = (struct handle *)file;
    uint64_t at = offset == UINT64_MAX ? handle->position : offset;
    uint64_t there = handle->node->size > at ? handle->node->size - at : 0;
    ssize_t got;

    if (may_not(handle, O_RDONLY))
        return -EBADF;
    if (S_ISDIR(handle->node->mode))
        return -EISDIR;
    if (CHANCE(machine, read_error))
        return -EIO;
    size = shorten(machine, machine->options.chances.short_read, size < there ? size : (size_t)there);
    got = disk_read(handle->node, data, size, at);
    if (offset == UINT64_MAX)
        handle->position += (uint64_t)got;
    return got;
}

static ssize_t handle_write(proa_sim *machine, struct file *file, const void *data, size_t size, uint64_t offset)
{
    struct handle *handle = (struct handle *)file;
    uint64_t at = offset == UINT64_MAX ? handle->position : offset;
    ssize_t written;

    if (may_not(handle, O_WRONLY))
        return -EBADF;
    if (CHANCE(machine, write_error))
        return -EIO;
    if (CHANCE(machine, disk_full))
        return -ENOSPC;
    /* With O_APPEND Linux appends whatever the offset (pwrite(2), BUGS). */
    if (handle->flags & O_APPEND)
        at = handle->node->size;
    size = shorten(machine, machine->options.chances.short_write, size);
    written = disk_write(machine, handle->node, data, size, at);
    if (written > 0 && offset == UINT64_MAX)
        handle->position = at + (uint64_t)written;
    return written;
}

static unsigned handle_poll(const proa_sim *machine, const struct file *file)
{
    (void)machine;
    (void)file;
    return POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM;
}

static void handle_close(proa_sim *machine, struct file *file)
{
    disk_release(machine, ((struct handle *)file)->node);
    free(file);
}

static const struct file_kind handle_kind = {
    .has_offset = 1,
    .read = handle_read,
    .write = handle_write,
    .poll = handle_poll,
    .close = handle_close,
};

static int64_t do_seek(const struct call *call, int64_t offset, int whence)
{
    struct file *file = descriptor_file(call->machine, call->fd);
    struct handle *handle = handle_of(file);
    int64_t from;

    if (!file || (handle && handle->flags & O_PATH))
        return -EBADF;
    if (!handle)
        return -ESPIPE;
    if (whence != SEEK_SET && whence != SEEK_CUR && whence != SEEK_END)
        return -EINVAL;
    from = whence == SEEK_SET ? 0 : (int64_t)(whence == SEEK_CUR ? handle->position : handle->node->size);
    if (offset < -from)
        return -EINVAL;
    handle->position = (uint64_t)(from + offset);
    return from + offset;
}

int64_t machine_seek(proa_sim *machine, int fd, int64_t offset, int whence)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_seek, fd, NULL);

    return call_end(&call, result ? result : do_seek(&call, offset, whence));
}

static int do_fsync(const struct call *call)
{
    struct file *file = descriptor_file(call->machine, call->fd);
    struct handle *handle = handle_of(file);

    if (!file || (handle && handle->flags & O_PATH))
        return -EBADF;
    if (!handle)
        return -EINVAL;
    return CHANCE(call->machine, write_error) ? -EIO : 0;
}

int machine_fsync(proa_sim *machine, int fd)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_fsync, fd, NULL);

    return (int)call_end(&call, result ? result : do_fsync(&call));
}

/* Its size */

static int do_truncate(const struct call *call, int64_t size)
{
    struct file *file = descriptor_file(call->machine, call->fd);
    struct handle *handle = handle_of(file);

    if (size < 0)
        return -EINVAL;
    if (!file || (handle && handle->flags & O_PATH))
        return -EBADF;
    if (!handle || !S_ISREG(handle->node->mode) || may_not(handle, O_WRONLY))
        return -EINVAL;
    if ((uint64_t)size > FILE_SIZE_MAX)
        return -EFBIG;
    disk_truncate(call->machine, handle->node, (uint64_t)size);
    return 0;
}

int machine_truncate(proa_sim *machine, int fd, int64_t size)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_truncate, fd, NULL);

    return (int)call_end(&call, result ? result : do_truncate(&call, size));
}

/* The ways that tmpfs has, too. */
static int check_allocation(struct file *file, unsigned mode, int64_t offset, int64_t size)
{
    const struct handle *handle = handle_of(file);

    if (!file || (handle && handle->flags & O_PATH))
        return -EBADF;
    if (offset < 0 || size <= 0)
        return -EINVAL;
    if (mode != 0 && mode != FALLOC_FL_KEEP_SIZE && mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
        return -EOPNOTSUPP;
    if (!handle)
        return !file->kind->write ? -EBADF : S_ISFIFO(file->kind->mode) ? -ESPIPE : -ENODEV;
    if (may_not(handle, O_WRONLY))
        return -EBADF;
    if (handle->flags & O_APPEND && mode & FALLOC_FL_PUNCH_HOLE)
        return -EPERM;
    return (uint64_t)offset + (uint64_t)size > FILE_SIZE_MAX ? -EFBIG : 0;
}

static int do_allocate(const struct call *call, unsigned mode, int64_t offset, int64_t size)
{
    struct file *file = descriptor_file(call->machine, call->fd);
    int error = check_allocation(file, mode, offset, size);
    uint64_t end = (uint64_t)offset + (uint64_t)size;
    struct node *node;

    if (error)
        return error;
    node = handle_of(file)->node;
    if (mode & FALLOC_FL_PUNCH_HOLE)
        disk_punch(call->machine, node, (uint64_t)offset, (uint64_t)size);
    else if (CHANCE(call->machine, disk_full))
        error = -ENOSPC;
    else
        error = disk_allocate(call->machine, node, (uint64_t)offset, (uint64_t)size);
    if (!error && mode == 0 && end > node->size)
        disk_truncate(call->machine, node, end);
    return error;
}

int machine_allocate_file(proa_sim *machine, int fd, unsigned mode, int64_t offset, int64_t size)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_allocate, fd, NULL);

    return (int)call_end(&call, result ? result : do_allocate(&call, mode, offset, size));
}

/* Listing. The position is the number of the entry that was told last. */

static size_t tell_entry(void *buffer, size_t room, const struct node *node, uint64_t number, const char *name)
{
    size_t size = (offsetof(struct dirent64, d_name) + strlen(name) + 1 + 7) / 8 * 8;
    struct dirent64 head = {
        .d_ino = node->number, .d_off = (int64_t)number, .d_reclen = (uint16_t)size, .d_type = IFTODT(node->mode)};

    if (size > room)
        return 0;
    memset(buffer, 0, size);
    memcpy(buffer, &head, offsetof(struct dirent64, d_name));
    strcpy((char *)buffer + offsetof(struct dirent64, d_name), name);
    return size;
}

/* What comes behind the position: . and .. first. Null at the end. */
static const struct node *next_entry(const struct handle *handle, uint64_t *ret_number, const char **ret_name)
{
    const struct node *node = handle->node;
    const struct entry *entry = node->entries;

    *ret_number = handle->position + 1;
    if (handle->position < ENTRY_PARENT) {
        *ret_name = handle->position < ENTRY_SELF ? "." : "..";
        return handle->position < ENTRY_SELF || !node->parent ? node : node->parent;
    }
    while (entry && entry->number <= handle->position)
        entry = entry->next;
    if (!entry)
        return NULL;
    *ret_number = entry->number;
    *ret_name = entry->name;
    return entry->node;
}

/* As many of them as there is room for. */
static ssize_t list(struct handle *handle, uint8_t *buffer, size_t room)
{
    size_t used = 0, size;
    const struct node *node;
    const char *name;
    uint64_t number;

    while ((node = next_entry(handle, &number, &name))) {
        size = tell_entry(buffer + used, room - used, node, number, name);
        if (size == 0)
            return used == 0 ? -EINVAL : (ssize_t)used;
        handle->position = number;
        used += size;
    }
    return (ssize_t)used;
}

static ssize_t do_getdents(const struct call *call, void *buffer, size_t size)
{
    struct file *file = descriptor_file(call->machine, call->fd);
    struct handle *handle = handle_of(file);

    if (!file || (handle && handle->flags & O_PATH))
        return -EBADF;
    if (!handle || !S_ISDIR(handle->node->mode))
        return -ENOTDIR;
    if (disk_is_removed(call->machine, handle->node))
        return -ENOENT;
    return CHANCE(call->machine, read_error) ? -EIO : list(handle, buffer, size);
}

ssize_t machine_getdents(proa_sim *machine, int fd, void *buffer, size_t size)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_getdents, fd, NULL);

    return call_end(&call, result ? result : do_getdents(&call, buffer, size));
}

/* Opening */

int file_start_of(const proa_sim *machine, int fd, const char *path, struct node **ret_node)
{
    struct file *file = descriptor_file(machine, fd);
    struct handle *handle = handle_of(file);

    *ret_node = machine->root;
    if (fd == AT_FDCWD || path[0] == '/')
        return 0;
    if (!file)
        return -EBADF;
    if (!handle || (!S_ISDIR(handle->node->mode) && path[0]))
        return -ENOTDIR;
    *ret_node = handle->node;
    return 0;
}

static int is_for_writing(uint64_t flags)
{
    return (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC;
}

static int check_existing(const struct node *node, uint64_t flags)
{
    if (flags & O_PATH)
        return flags & O_DIRECTORY && !S_ISDIR(node->mode) ? -ENOTDIR : 0;
    if (flags & O_CREAT && flags & O_EXCL)
        return -EEXIST;
    if (S_ISDIR(node->mode))
        return is_for_writing(flags) || flags & O_CREAT ? -EISDIR : 0;
    if (flags & O_DIRECTORY)
        return -ENOTDIR;
    if (S_ISLNK(node->mode))
        return -ELOOP;
    return S_ISSOCK(node->mode) ? -ENXIO : 0;
}

/* What stands at the place, or a new file. */
static int settle_place(proa_sim *machine, struct place *place, const struct open_how *how)
{
    if (place->node)
        return check_existing(place->node, how->flags);
    if (!(how->flags & O_CREAT) || how->flags & O_PATH)
        return -ENOENT;
    if (place->must_be_directory)
        return -EISDIR;
    if (disk_is_removed(machine, place->directory))
        return -ENOENT;
    place->node = disk_make(machine, place, S_IFREG | (unsigned)(how->mode & 0777));
    return 0;
}

static int add_handle(proa_sim *machine, struct node *node, uint64_t flags)
{
    struct handle *handle = machine_allocate(sizeof(*handle));

    handle->node = node;
    handle->flags = flags;
    disk_hold(node);
    return descriptor_add(machine, &handle->file, &handle_kind);
}

static int do_open(const struct call *call, const char *path, const struct open_how *how)
{
    proa_sim *machine = call->machine;
    struct walk walk = {
        .beneath = (how->resolve & RESOLVE_BENEATH) != 0,
        .no_links = (how->resolve & RESOLVE_NO_SYMLINKS) != 0,
        .keeps_link = how->flags & O_NOFOLLOW || (how->flags & O_CREAT && how->flags & O_EXCL),
    };
    struct place place;
    int error = file_start_of(machine, call->fd, path, &walk.from);

    if (!error)
        error = disk_walk(machine, walk, path, &place);
    if (!error)
        error = descriptor_lacks(machine);
    if (!error && (how->flags & O_TMPFILE) == O_TMPFILE)
        error = -EOPNOTSUPP;
    if (!error)
        error = settle_place(machine, &place, how);
    if (error)
        return error;
    if (how->flags & O_TRUNC && !(how->flags & O_PATH))
        disk_truncate(machine, place.node, 0);
    return add_handle(machine, place.node, how->flags);
}

int machine_open(proa_sim *machine, int directory, const char *path, const struct open_how *how)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_open, directory, NULL);

    return (int)call_end(&call, result ? result : do_open(&call, path, how));
}

/* Telling */

static struct statx_timestamp time_of_day(uint64_t ns)
{
    return (struct statx_timestamp){.tv_sec = EPOCH_S + (int64_t)(ns / 1000000000),
                                    .tv_nsec = (uint32_t)(ns % 1000000000)};
}

static uint64_t blocks_of(const struct node *node)
{
    uint64_t count = 0;

    for (size_t i = 0; i < node->page_count; i++)
        count += node->pages[i] ? PAGE_SIZE / 512 : 0;
    return count;
}

static void tell(struct statx *ret_stat, unsigned mode)
{
    *ret_stat = (struct statx){
        .stx_mask = STATX_BASIC_STATS,
        .stx_blksize = PAGE_SIZE,
        .stx_nlink = 1,
        .stx_mode = (uint16_t)mode,
        .stx_dev_minor = 1,
    };
}

static void tell_node(struct statx *ret_stat, const struct node *node)
{
    tell(ret_stat, node->mode);
    ret_stat->stx_nlink = S_ISDIR(node->mode) ? 2 : node->names;
    ret_stat->stx_ino = node->number;
    ret_stat->stx_size = node->size;
    ret_stat->stx_blocks = blocks_of(node);
    ret_stat->stx_atime = ret_stat->stx_ctime = ret_stat->stx_mtime = time_of_day(node->changed_ns);
}

static int tell_descriptor(const struct call *call, struct statx *ret_stat)
{
    struct file *file = descriptor_file(call->machine, call->fd);

    if (!file)
        return -EBADF;
    if (handle_of(file))
        tell_node(ret_stat, handle_of(file)->node);
    else
        tell(ret_stat, file->kind->mode | 0600);
    return 0;
}

static int do_statx(const struct call *call, const char *path, int flags, struct statx *ret_stat)
{
    struct walk walk = {.keeps_link = flags & AT_SYMLINK_NOFOLLOW};
    struct place place;
    int error;

    if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE) ||
        (flags & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE)
        return -EINVAL;
    if (path[0] == '\0' && flags & AT_EMPTY_PATH && call->fd != AT_FDCWD)
        return tell_descriptor(call, ret_stat);
    error = file_start_of(call->machine, call->fd, path, &walk.from);
    if (!error)
        error = disk_walk(call->machine, walk, path[0] ? path : ".", &place);
    if (!error && !place.node)
        error = -ENOENT;
    if (!error)
        tell_node(ret_stat, place.node);
    return error;
}

int machine_statx(proa_sim *machine, int fd, const char *path, int flags, struct statx *ret_stat)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_stat, fd, NULL);

    return (int)call_end(&call, result ? result : do_statx(&call, path, flags, ret_stat));
}

/* Calls on names: making, removing, renaming and linking. What may not be comes in the order in which Linux finds it out. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine/disk.h"

/* The place that a name is made at or taken from: no link that stands there is followed. */
static int find_place(proa_sim *machine, int directory, const char *path, struct place *ret_place)
{
    struct walk walk = {.keeps_all = 1};
    int error = file_start_of(machine, directory, path, &walk.from);

    return error ? error : disk_walk(machine, walk, path, ret_place);
}

/* . or .., or the root. */
static int is_no_name(const struct place *place)
{
    return place->name[0] == '.' && (place->name_size == 1 || (place->name_size == 2 && place->name[1] == '.'));
}

static int find_vacant(proa_sim *machine, int directory, const char *path, struct place *ret_place)
{
    int error = find_place(machine, directory, path, ret_place);

    if (error)
        return error;
    if (is_no_name(ret_place) || ret_place->node)
        return -EEXIST;
    return disk_is_removed(machine, ret_place->directory) ? -ENOENT : 0;
}

static int do_mkdir(const struct call *call, const char *path, mode_t mode)
{
    struct place place;
    int error = find_vacant(call->machine, call->fd, path, &place);

    if (!error)
        disk_make(call->machine, &place, S_IFDIR | (mode & 01777));
    return error;
}

int machine_mkdir(proa_sim *machine, int directory, const char *path, mode_t mode)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_mkdir, directory, NULL);

    return (int)call_end(&call, result ? result : do_mkdir(&call, path, mode));
}

static int check_rmdir(const struct place *place, const char *path)
{
    if (is_no_name(place))
        return path[strspn(path, "/")] == '\0' ? -EBUSY : place->name_size == 1 ? -EINVAL : -ENOTEMPTY;
    if (!place->node)
        return -ENOENT;
    if (!S_ISDIR(place->node->mode))
        return -ENOTDIR;
    return place->node->entries ? -ENOTEMPTY : 0;
}

static int check_unlink(const struct place *place)
{
    if (is_no_name(place))
        return -EISDIR;
    if (!place->node)
        return -ENOENT;
    if (S_ISDIR(place->node->mode))
        return -EISDIR;
    return place->must_be_directory ? -ENOTDIR : 0;
}

static int do_unlink(const struct call *call, const char *path, int flags)
{
    struct place place;
    int error;

    if (flags & ~AT_REMOVEDIR)
        return -EINVAL;
    error = find_place(call->machine, call->fd, path, &place);
    if (!error)
        error = flags & AT_REMOVEDIR ? check_rmdir(&place, path) : check_unlink(&place);
    if (!error)
        disk_unlink(call->machine, &place);
    return error;
}

int machine_unlink(proa_sim *machine, int directory, const char *path, int flags)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_unlink, directory, NULL);

    return (int)call_end(&call, result ? result : do_unlink(&call, path, flags));
}

/* Renaming */

static int is_directory(const struct node *node)
{
    return node && S_ISDIR(node->mode);
}

static int is_within(const struct node *directory, const struct node *node)
{
    while (directory && directory != node)
        directory = directory->parent;
    return directory != NULL;
}

static int check_names(const struct place *from, const struct place *to, unsigned flags)
{
    if (is_no_name(from))
        return -EBUSY;
    if (is_no_name(to))
        return flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY;
    if (!from->node)
        return -ENOENT;
    if (to->node && flags & RENAME_NOREPLACE)
        return -EEXIST;
    return !to->node && flags & RENAME_EXCHANGE ? -ENOENT : 0;
}

static int check_directories(const struct place *from, const struct place *to, unsigned flags)
{
    if (!is_directory(from->node) && (from->must_be_directory || (!(flags & RENAME_EXCHANGE) && to->must_be_directory)))
        return -ENOTDIR;
    if (flags & RENAME_EXCHANGE && !is_directory(to->node) && to->must_be_directory)
        return -ENOTDIR;
    if (is_directory(from->node) && is_within(to->directory, from->node))
        return -EINVAL;
    if (is_directory(to->node) && is_within(from->directory, to->node))
        return flags & RENAME_EXCHANGE ? -EINVAL : -ENOTEMPTY;
    return 0;
}

static int check_replaced(const struct node *from, const struct node *to)
{
    if (is_directory(from) != is_directory(to))
        return is_directory(from) ? -ENOTDIR : -EISDIR;
    return to->entries ? -ENOTEMPTY : 0;
}

static void move(proa_sim *machine, const struct place *from, const struct place *to)
{
    disk_hold(from->node);
    if (to->node)
        disk_unlink(machine, to);
    disk_unlink(machine, from);
    disk_name(machine, to, from->node);
    disk_release(machine, from->node);
}

static int rename_place(proa_sim *machine, const struct place *from, const struct place *to, unsigned flags)
{
    int error = check_names(from, to, flags);

    if (!error)
        error = check_directories(from, to, flags);
    if (error || from->node == to->node)
        return error;
    if (disk_is_removed(machine, to->directory))
        return -ENOENT;
    if (flags & RENAME_EXCHANGE)
        disk_exchange(machine, from, to);
    else if (to->node)
        error = check_replaced(from->node, to->node);
    if (!error && !(flags & RENAME_EXCHANGE))
        move(machine, from, to);
    return error;
}

static int do_rename(const struct call *call, const char *from, int to_directory, const char *to, unsigned flags)
{
    struct place from_place, to_place;
    int error;

    if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE) || flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
        return -EINVAL;
    error = find_place(call->machine, call->fd, from, &from_place);
    if (!error)
        error = find_place(call->machine, to_directory, to, &to_place);
    return error ? error : rename_place(call->machine, &from_place, &to_place, flags);
}

int machine_rename(proa_sim *machine, int from_directory, const char *from, int to_directory, const char *to,
                   unsigned flags)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_rename, from_directory, NULL);

    return (int)call_end(&call, result ? result : do_rename(&call, from, to_directory, to, flags));
}

/* Links */

static int do_link(const struct call *call, const char *from, int to_directory, const char *to, int flags)
{
    struct walk walk = {.keeps_link = !(flags & AT_SYMLINK_FOLLOW)};
    struct place from_place, to_place;
    int error;

    if (flags & ~AT_SYMLINK_FOLLOW)
        return -EINVAL;
    error = file_start_of(call->machine, call->fd, from, &walk.from);
    if (!error)
        error = disk_walk(call->machine, walk, from, &from_place);
    if (!error && !from_place.node)
        error = -ENOENT;
    if (!error)
        error = find_vacant(call->machine, to_directory, to, &to_place);
    if (!error && to_place.must_be_directory)
        error = -ENOENT;
    if (!error && is_directory(from_place.node))
        error = -EPERM;
    if (!error)
        disk_name(call->machine, &to_place, from_place.node);
    return error;
}

int machine_link(proa_sim *machine, int from_directory, const char *from, int to_directory, const char *to, int flags)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_link, from_directory, NULL);

    return (int)call_end(&call, result ? result : do_link(&call, from, to_directory, to, flags));
}

static int do_symlink(const struct call *call, const char *target, const char *path)
{
    struct place place;
    int error;

    if (!target[0] || strlen(target) >= PATH_MAX)
        return target[0] ? -ENAMETOOLONG : -ENOENT;
    error = find_vacant(call->machine, call->fd, path, &place);
    if (!error && place.must_be_directory)
        error = -ENOENT;
    if (!error)
        disk_make_link(call->machine, &place, target);
    return error;
}

int machine_symlink(proa_sim *machine, const char *target, int directory, const char *path)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_symlink, directory, NULL);

    return (int)call_end(&call, result ? result : do_symlink(&call, target, path));
}

static ssize_t do_readlink(const struct call *call, const char *path, char *target, size_t size)
{
    struct walk walk = {.keeps_link = 1};
    struct place place;
    int error;

    if (size == 0)
        return -EINVAL;
    error = file_start_of(call->machine, call->fd, path, &walk.from);
    if (!error)
        error = disk_walk(call->machine, walk, path, &place);
    if (error || !place.node)
        return error ? error : -ENOENT;
    if (!S_ISLNK(place.node->mode))
        return -EINVAL;
    size = size < place.node->size ? size : (size_t)place.node->size;
    memcpy(target, place.node->target, size);
    return (ssize_t)size;
}

ssize_t machine_readlink(proa_sim *machine, int directory, const char *path, char *target, size_t size)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_readlink, directory, NULL);

    return call_end(&call, result ? result : do_readlink(&call, path, target, size));
}

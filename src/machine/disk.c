#include "machine/disk.h"

#include <limits.h>
#include <sys/stat.h>

enum {
    LINKS_MAX = 40, /* on one way (path_resolution(7)) */
};

/* Nodes */

static struct node *node_new(proa_sim *machine, unsigned mode)
{
    struct node *node = machine_allocate(sizeof(*node));

    node->mode = mode;
    node->number = ++machine->serials;
    node->changed_ns = machine->now_ns;
    return node;
}

/* The part of a page between two places of the file becomes zeros; a page that lies between them is given back. */
static void clear_page(proa_sim *machine, struct node *node, size_t page, uint64_t from, uint64_t to)
{
    uint64_t begin = (uint64_t)page * PAGE_SIZE, end = begin + PAGE_SIZE;

    if (!node->pages[page])
        return;
    if (from <= begin && to >= end) {
        machine->disk_used -= PAGE_SIZE;
        free(node->pages[page]);
        node->pages[page] = NULL;
        return;
    }
    begin = from > begin ? from - begin : 0;
    end = to < end ? to - (uint64_t)page * PAGE_SIZE : PAGE_SIZE;
    memset(node->pages[page] + begin, 0, end - begin);
}

void disk_punch(proa_sim *machine, struct node *node, uint64_t offset, uint64_t size)
{
    uint64_t end = size < UINT64_MAX - offset ? offset + size : UINT64_MAX;

    for (size_t page = (size_t)(offset / PAGE_SIZE); page < node->page_count && page * PAGE_SIZE < end; page++)
        clear_page(machine, node, page, offset, end);
    node->changed_ns = machine->now_ns;
}

void disk_truncate(proa_sim *machine, struct node *node, uint64_t size)
{
    if (size < node->size)
        disk_punch(machine, node, size, UINT64_MAX);
    node->size = size;
    node->changed_ns = machine->now_ns;
}

static void node_free(proa_sim *machine, struct node *node)
{
    disk_truncate(machine, node, 0);
    free(node->pages);
    free(node->target);
    free(node);
}

void disk_hold(struct node *node)
{
    node->holders++;
}

static int has_name(const proa_sim *machine, const struct node *node)
{
    return node->names > 0 || node == machine->root;
}

void disk_release(proa_sim *machine, struct node *node)
{
    if (--node->holders == 0 && !has_name(machine, node))
        node_free(machine, node);
}

int disk_is_removed(const proa_sim *machine, const struct node *directory)
{
    return !has_name(machine, directory);
}

/* Null where no entry has the name. */
static struct entry **find_entry(struct node *directory, const char *name, size_t size)
{
    struct entry **link = &directory->entries;

    while (*link && !(strlen((*link)->name) == size && memcmp((*link)->name, name, size) == 0))
        link = &(*link)->next;
    return *link ? link : NULL;
}

void disk_unlink(proa_sim *machine, const struct place *place)
{
    struct entry **link = find_entry(place->directory, place->name, place->name_size), *entry = *link;
    struct node *node = entry->node;

    *link = entry->next;
    free(entry);
    place->directory->changed_ns = node->changed_ns = machine->now_ns;
    node->parent = NULL;
    if (--node->names == 0 && node->holders == 0)
        node_free(machine, node);
}

void disk_exchange(proa_sim *machine, const struct place *place, const struct place *other)
{
    (*find_entry(place->directory, place->name, place->name_size))->node = other->node;
    (*find_entry(other->directory, other->name, other->name_size))->node = place->node;
    if (S_ISDIR(place->node->mode))
        place->node->parent = other->directory;
    if (S_ISDIR(other->node->mode))
        other->node->parent = place->directory;
    place->directory->changed_ns = other->directory->changed_ns = machine->now_ns;
}

void disk_open(proa_sim *machine)
{
    machine->root = node_new(machine, S_IFDIR | 0755);
    proa_sim_make_directory(machine, "/tmp");
}

static void free_tree(proa_sim *machine, struct node *node)
{
    while (node->entries) {
        struct entry *entry = node->entries;

        node->entries = entry->next;
        if (--entry->node->names == 0)
            free_tree(machine, entry->node);
        free(entry);
    }
    node_free(machine, node);
}

void disk_close(proa_sim *machine)
{
    free_tree(machine, machine->root);
}

/* Walking */

static int is_dots(const char *name, size_t size)
{
    return (size == 1 && name[0] == '.') || (size == 2 && name[0] == '.' && name[1] == '.');
}

static int step(const proa_sim *machine, const struct walk *walk, struct place *place)
{
    struct entry **entry;

    if (!S_ISDIR(place->directory->mode))
        return -ENOTDIR;
    if (place->name_size > NAME_MAX)
        return -ENAMETOOLONG;
    if (!is_dots(place->name, place->name_size)) {
        entry = find_entry(place->directory, place->name, place->name_size);
        place->node = entry ? (*entry)->node : NULL;
        return 0;
    }
    place->node = place->directory;
    if (place->name_size == 1)
        return 0;
    if (walk->beneath && place->directory == walk->from)
        return -EXDEV;
    if (place->directory != machine->root && place->directory->parent)
        place->node = place->directory->parent;
    return 0;
}

static int walk_path(proa_sim *machine, const struct walk *walk, struct node *at, const char *path,
                     struct place *ret_place, unsigned depth);

static int follow(proa_sim *machine, const struct walk *walk, struct place *place, unsigned depth)
{
    int must_be_directory = place->must_be_directory;
    int error;

    if (walk->no_links || depth == LINKS_MAX)
        return -ELOOP;
    error = walk_path(machine, walk, place->directory, place->node->target, place, depth + 1);
    place->must_be_directory |= must_be_directory;
    return error;
}

/* A link whose name ends there. */
static int is_followed(const struct walk *walk, const char *end, unsigned depth)
{
    if (depth > 0 || !(walk->keeps_link || walk->keeps_all))
        return 1;
    return walk->keeps_all ? end[strspn(end, "/")] != '\0' : *end != '\0';
}

static int walk_path(proa_sim *machine, const struct walk *walk, struct node *at, const char *path,
                     struct place *ret_place, unsigned depth)
{
    const char *end;
    int error;

    at = path[0] == '/' ? machine->root : at;
    *ret_place = (struct place){.node = at, .directory = at, .name = ".", .name_size = 1};
    if (path[0] == '\0')
        return -ENOENT;
    if (path[0] == '/' && walk->beneath)
        return -EXDEV;
    for (path += strspn(path, "/"); *path; path = end + strspn(end, "/")) {
        if (!ret_place->node)
            return -ENOENT;
        end = path + strcspn(path, "/");
        *ret_place = (struct place){.directory = ret_place->node, .name = path, .name_size = (size_t)(end - path)};
        error = step(machine, walk, ret_place);
        ret_place->must_be_directory = *end == '/';
        if (!error && ret_place->node && S_ISLNK(ret_place->node->mode) && is_followed(walk, end, depth))
            error = follow(machine, walk, ret_place, depth);
        if (error)
            return error;
    }
    return 0;
}

int disk_walk(proa_sim *machine, struct walk walk, const char *path, struct place *ret_place)
{
    int error = strlen(path) < PATH_MAX ? walk_path(machine, &walk, walk.from, path, ret_place, 0) : -ENAMETOOLONG;

    if (!error && !walk.keeps_all && ret_place->node && ret_place->must_be_directory && !S_ISDIR(ret_place->node->mode))
        error = -ENOTDIR;
    return error;
}

void disk_name(proa_sim *machine, const struct place *place, struct node *node)
{
    struct node *directory = place->directory;
    struct entry *entry = machine_allocate(sizeof(*entry) + place->name_size + 1);
    struct entry **end = &directory->entries;

    memcpy(entry->name, place->name, place->name_size);
    entry->node = node;
    entry->number = FIRST_ENTRY + directory->entry_numbers++;
    while (*end)
        end = &(*end)->next;
    *end = entry;
    node->names++;
    if (S_ISDIR(node->mode))
        node->parent = directory;
    directory->changed_ns = node->changed_ns = machine->now_ns;
}

struct node *disk_make(proa_sim *machine, const struct place *place, unsigned mode)
{
    struct node *node = node_new(machine, mode);

    disk_name(machine, place, node);
    return node;
}

void disk_make_link(proa_sim *machine, const struct place *place, const char *target)
{
    struct node *node = disk_make(machine, place, S_IFLNK | 0777);

    node->size = strlen(target);
    node->target = machine_allocate(node->size + 1);
    memcpy(node->target, target, node->size);
}

struct node *disk_find(const proa_sim *machine, const char *path)
{
    struct place place;
    struct walk walk = {.from = machine->root};

    return disk_walk((proa_sim *)(uintptr_t)machine, walk, path, &place) < 0 ? NULL : place.node;
}

/* Content */

ssize_t disk_read(const struct node *node, void *data, size_t size, uint64_t offset)
{
    size_t done = 0;

    if (offset >= node->size)
        return 0;
    size = size < node->size - offset ? size : (size_t)(node->size - offset);
    while (done < size) {
        size_t page = (size_t)((offset + done) / PAGE_SIZE), begin = (size_t)((offset + done) % PAGE_SIZE);
        size_t part = PAGE_SIZE - begin < size - done ? PAGE_SIZE - begin : size - done;

        if (page < node->page_count && node->pages[page])
            memcpy((uint8_t *)data + done, node->pages[page] + begin, part);
        else
            memset((uint8_t *)data + done, 0, part);
        done += part;
    }
    return (ssize_t)size;
}

static void grow(struct node *node, size_t page_count)
{
    if (page_count <= node->page_count)
        return;
    node->pages = machine_grow(node->pages, page_count * sizeof(node->pages[0]));
    memset(node->pages + node->page_count, 0, (page_count - node->page_count) * sizeof(node->pages[0]));
    node->page_count = page_count;
}

static uint8_t *page_for(proa_sim *machine, struct node *node, size_t page)
{
    grow(node, page + 1);
    if (node->pages[page])
        return node->pages[page];
    if (machine->disk_used + PAGE_SIZE > machine->options.disk_size)
        return NULL;
    machine->disk_used += PAGE_SIZE;
    node->pages[page] = machine_allocate(PAGE_SIZE);
    return node->pages[page];
}

ssize_t disk_write(proa_sim *machine, struct node *node, const void *data, size_t size, uint64_t offset)
{
    size_t done = 0;

    if (offset >= FILE_SIZE_MAX)
        return -EFBIG;
    size = size < FILE_SIZE_MAX - offset ? size : (size_t)(FILE_SIZE_MAX - offset);
    while (done < size) {
        size_t begin = (size_t)((offset + done) % PAGE_SIZE);
        size_t part = PAGE_SIZE - begin < size - done ? PAGE_SIZE - begin : size - done;
        uint8_t *page = page_for(machine, node, (size_t)((offset + done) / PAGE_SIZE));

        if (!page)
            break;
        memcpy(page + begin, (const uint8_t *)data + done, part);
        done += part;
    }
    node->changed_ns = machine->now_ns;
    if (done > 0 && offset + done > node->size)
        node->size = offset + done;
    return done == 0 && size > 0 ? -ENOSPC : (ssize_t)done;
}

int disk_allocate(proa_sim *machine, struct node *node, uint64_t offset, uint64_t size)
{
    for (uint64_t page = offset / PAGE_SIZE; page * PAGE_SIZE < offset + size; page++)
        if (!page_for(machine, node, (size_t)page))
            return -ENOSPC;
    return 0;
}

/* Sockets' files */

int disk_make_socket(proa_sim *machine, const char *path, struct node **ret_node)
{
    struct place place;
    int error = disk_walk(machine, (struct walk){.from = machine->root, .keeps_link = 1}, path, &place);

    if (error)
        return error;
    if (place.node)
        return -EADDRINUSE;
    *ret_node = disk_make(machine, &place, S_IFSOCK | 0755);
    disk_hold(*ret_node);
    return 0;
}

int disk_check_socket(proa_sim *machine, const char *path)
{
    struct place place;
    int error = disk_walk(machine, (struct walk){.from = machine->root}, path, &place);

    if (error)
        return error;
    return !place.node ? -ENOENT : S_ISSOCK(place.node->mode) ? 0 : -ECONNREFUSED;
}

/* For those who set the stage */

static int make_directories(proa_sim *machine, const char *path, size_t size)
{
    char *part = machine_allocate(size + 1);
    struct place place;
    int error = 0;

    for (size_t end = 1; !error && end <= size; end++) {
        if (end < size && path[end] != '/')
            continue;
        memcpy(part, path, end);
        part[end] = '\0';
        error = disk_walk(machine, (struct walk){.from = machine->root}, part, &place);
        if (!error && !place.node)
            disk_make(machine, &place, S_IFDIR | 0755);
    }
    free(part);
    return error;
}

/* The directories that lead to it. */
static int make_way(proa_sim *machine, const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? make_directories(machine, path, (size_t)(slash - path)) : 0;
}

int proa_sim_make_directory(proa_sim *sim, const char *path)
{
    int error;

    pthread_mutex_lock(&sim->lock);
    error = make_directories(sim, path, strlen(path));
    pthread_mutex_unlock(&sim->lock);
    return error;
}

static int put_file(proa_sim *machine, const char *path, const void *data, size_t size)
{
    int error = make_way(machine, path);
    struct place place;
    ssize_t written;

    if (!error)
        error = disk_walk(machine, (struct walk){.from = machine->root}, path, &place);
    if (error)
        return error;
    if (place.node && !S_ISREG(place.node->mode))
        return S_ISDIR(place.node->mode) ? -EISDIR : -EEXIST;
    if (!place.node)
        place.node = disk_make(machine, &place, S_IFREG | 0644);
    disk_truncate(machine, place.node, 0);
    written = disk_write(machine, place.node, data, size, 0);
    return written < 0 ? (int)written : (size_t)written < size ? -ENOSPC : 0;
}

static int put_link(proa_sim *machine, const char *path, const char *target)
{
    struct place place;
    int error = make_way(machine, path);

    if (!error)
        error = disk_walk(machine, (struct walk){.from = machine->root, .keeps_link = 1}, path, &place);
    if (error)
        return error;
    if (place.node || place.must_be_directory || !target[0])
        return place.node ? -EEXIST : -ENOENT;
    disk_make_link(machine, &place, target);
    return 0;
}

int proa_sim_put_link(proa_sim *sim, const char *path, const char *target)
{
    int error;

    pthread_mutex_lock(&sim->lock);
    error = put_link(sim, path, target);
    pthread_mutex_unlock(&sim->lock);
    return error;
}

int proa_sim_put_file(proa_sim *sim, const char *path, const void *data, size_t size)
{
    int error;

    pthread_mutex_lock(&sim->lock);
    error = put_file(sim, path, data, size);
    pthread_mutex_unlock(&sim->lock);
    return error;
}

int64_t proa_sim_get_file(proa_sim *sim, const char *path, void *data, size_t size)
{
    struct node *node;
    int64_t result = -ENOENT;

    pthread_mutex_lock(&sim->lock);
    node = disk_find(sim, path);
    if (node && S_ISREG(node->mode)) {
        disk_read(node, data, size, 0);
        result = (int64_t)node->size;
    } else if (node) {
        result = -EISDIR;
    }
    pthread_mutex_unlock(&sim->lock);
    return result;
}

/* directory.h, and what file.h says of sizes: what is done by name has the effect and the errno that Linux gives it, the same
 * on every engine; two directories are kept from closing by one op; a list is whole whatever the buffer's size. */
#include <dirent.h>
#include <linux/falloc.h>
#include <sched.h>
#include <sys/mount.h>

#include "harness.h"

static proa_loop *loop;
static proa_fd folder; /* fresh for each case */
static char folder_path[128];

static int64_t make(const char *path)
{
    return VALUE(proa_make_directory, loop, folder, path, 0755);
}

static int64_t drop(const char *path, unsigned flags)
{
    return VALUE(proa_unlink, loop, folder, path, flags);
}

static int64_t move(const char *from, const char *to, unsigned flags)
{
    return VALUE(proa_rename, loop, folder, from, folder, to, flags);
}

static int64_t link_hard(const char *from, const char *to, unsigned flags)
{
    return VALUE(proa_hard_link, loop, folder, from, folder, to, flags);
}

static int64_t link_symbolic(const char *target, const char *path)
{
    return VALUE(proa_symbolic_link, loop, target, folder, path);
}

static int64_t open_at(const char *path, int flags)
{
    proa_open_how how = {.flags = flags, .mode = 0644};

    return VALUE(proa_open, loop, folder, path, how);
}

static void write_file(const char *path, const char *text)
{
    int64_t fd = open_at(path, O_RDWR | O_CREAT | O_TRUNC);

    REQUIRE(fd >= 0);
    REQUIRE(VALUE(proa_write, loop, proa_fd_of((int)fd), text, strlen(text), 0) == (int64_t)strlen(text));
    close_now(loop, proa_fd_of((int)fd));
}

static struct statx status;

static int64_t tell(const char *path, unsigned flags)
{
    memset(&status, 0, sizeof(status));
    return VALUE(proa_stat, loop, folder, path, flags, STATX_BASIC_STATS, &status);
}

static bool says(const char *path, const char *text)
{
    char data[64] = "";
    int64_t fd = open_at(path, O_RDONLY), size;

    if (fd < 0)
        return false;
    size = VALUE(proa_read, loop, proa_fd_of((int)fd), data, sizeof(data), 0);
    close_now(loop, proa_fd_of((int)fd));
    return size == (int64_t)strlen(text) && memcmp(data, text, strlen(text)) == 0;
}

static void begin(const char *name)
{
    test_case("%s", name);
    loop = loop_open();
    snprintf(folder_path, sizeof(folder_path), "%s", temp_fresh("folder"));
    REQUIRE(VALUE(proa_make_directory, loop, PROA_CWD, folder_path, 0755) == 0);
    folder = PROA_CWD;
    folder = proa_fd_of((int)open_at(folder_path, O_RDONLY | O_DIRECTORY));
    REQUIRE(folder.handle >= 0);
}

static void end(void)
{
    close_now(loop, folder);
    proa_loop_close(loop);
}

static void test_story(void)
{
    char target[16];

    begin("a story of names");
    HOLDS(make("sub") == 0 && tell("sub", 0) == 0 && S_ISDIR(status.stx_mode));
    write_file("sub/one", "first");
    HOLDS(move("sub/one", "two", 0) == 0 && says("two", "first") && tell("sub/one", 0) == -ENOENT);
    HOLDS(link_hard("two", "three", 0) == 0 && says("three", "first") && tell("two", 0) == 0 && status.stx_nlink == 2);
    HOLDS(link_symbolic("three", "four") == 0 && says("four", "first"));
    HOLDS(tell("four", 0) == 0 && S_ISREG(status.stx_mode));
    HOLDS(tell("four", PROA_STAT_NO_FOLLOW) == 0 && S_ISLNK(status.stx_mode) && status.stx_size == 5);
    HOLDS(VALUE(proa_read_link, loop, folder, "four", target, sizeof(target)) == 5);
    HOLDS(memcmp(target, "three", 5) == 0);
    HOLDS(VALUE(proa_read_link, loop, folder, "four", target, 2) == 2);
    HOLDS(link_hard("four", "five", 0) == 0 && tell("five", PROA_STAT_NO_FOLLOW) == 0 && S_ISLNK(status.stx_mode));
    HOLDS(link_hard("four", "six", PROA_LINK_FOLLOW) == 0 && tell("six", PROA_STAT_NO_FOLLOW) == 0);
    HOLDS(S_ISREG(status.stx_mode) && status.stx_nlink == 3);
    HOLDS(drop("two", 0) == 0 && says("three", "first"));
    HOLDS(drop("four", 0) == 0 && drop("five", 0) == 0 && drop("six", 0) == 0 && drop("three", 0) == 0);
    HOLDS(drop("sub", PROA_UNLINK_DIRECTORY) == 0 && tell("sub", 0) == -ENOENT);
    end();
}

static void test_rename(void)
{
    begin("renaming replaces, refuses, exchanges");
    write_file("a", "A");
    write_file("b", "B");
    HOLDS(move("a", "b", PROA_RENAME_NOREPLACE) == -EEXIST && says("a", "A") && says("b", "B"));
    HOLDS(move("a", "b", PROA_RENAME_EXCHANGE) == 0 && says("a", "B") && says("b", "A"));
    HOLDS(move("a", "none", PROA_RENAME_EXCHANGE) == -ENOENT);
    HOLDS(move("a", "c", PROA_RENAME_NOREPLACE) == 0 && says("c", "B"));
    HOLDS(move("c", "b", 0) == 0 && says("b", "B") && tell("c", 0) == -ENOENT);
    HOLDS(make("d") == 0 && make("d/e") == 0);
    HOLDS(move("b", "d/e", PROA_RENAME_EXCHANGE) == 0 && says("d/e", "B") && tell("b", 0) == 0 &&
          S_ISDIR(status.stx_mode));
    HOLDS(move("d", "d/inside", 0) == -EINVAL);
    HOLDS(make("full") == 0 && make("full/x") == 0 && move("b", "full", 0) == -ENOTEMPTY);
    HOLDS(move("full", "b", 0) == 0 && tell("b/x", 0) == 0);
    HOLDS(move("b", "d/e", 0) == -ENOTDIR && move("d/e", "b", 0) == -EISDIR);
    HOLDS(move("b/x", "b", 0) == -ENOTEMPTY);
    HOLDS(move("b", "b", 0) == 0);
    end();
}

/* What each is refused with. */
static void test_errors(void)
{
    char too_long[257];
    char byte;

    begin("errors");
    memset(too_long, 'x', 256);
    too_long[256] = '\0';
    write_file("file", "text");
    REQUIRE(link_symbolic("loop", "loop") == 0 && make("sub") == 0 && make("sub/sub") == 0);

    HOLDS(make("file") == -EEXIST && make("sub") == -EEXIST && make("loop") == -EEXIST && make(".") == -EEXIST);
    HOLDS(make("none/x") == -ENOENT && make("") == -ENOENT && make("file/x") == -ENOTDIR);
    HOLDS(make("loop/x") == -ELOOP && make(too_long) == -ENAMETOOLONG);

    HOLDS(drop("none", 0) == -ENOENT && drop("", 0) == -ENOENT && drop("file/x", 0) == -ENOTDIR);
    HOLDS(drop("sub", 0) == -EISDIR && drop("file", PROA_UNLINK_DIRECTORY) == -ENOTDIR);
    HOLDS(drop("sub", PROA_UNLINK_DIRECTORY) == -ENOTEMPTY && drop("none", PROA_UNLINK_DIRECTORY) == -ENOENT);
    HOLDS(drop("sub/.", PROA_UNLINK_DIRECTORY) == -EINVAL && drop("file", 1u << 20) == -EINVAL);
    HOLDS(drop("loop/x", 0) == -ELOOP && drop(too_long, 0) == -ENAMETOOLONG && drop("file/", 0) == -ENOTDIR);

    HOLDS(move("none", "x", 0) == -ENOENT && move("file", "none/x", 0) == -ENOENT &&
          move("file", "file/x", 0) == -ENOTDIR);
    HOLDS(move("loop/x", "y", 0) == -ELOOP && move("file", "loop/y", 0) == -ELOOP &&
          move("file", too_long, 0) == -ENAMETOOLONG);
    HOLDS(move("file", "x", PROA_RENAME_NOREPLACE | PROA_RENAME_EXCHANGE) == -EINVAL &&
          move("file", "x", 64) == -EINVAL);
    HOLDS(move("sub/..", "x", 0) == -EBUSY && move("sub", "sub/sub/x", 0) == -EINVAL);

    HOLDS(link_hard("none", "x", 0) == -ENOENT && link_hard("file", "sub", 0) == -EEXIST);
    HOLDS(link_hard("sub", "x", 0) == -EPERM && link_hard("file", "none/x", 0) == -ENOENT);
    HOLDS(link_hard("file", "x", 1u << 20) == -EINVAL && link_hard("loop", "x", PROA_LINK_FOLLOW) == -ELOOP);
    HOLDS(link_hard("file/x", "x", 0) == -ENOTDIR && link_hard("file", too_long, 0) == -ENAMETOOLONG);

    HOLDS(link_symbolic("any", "file") == -EEXIST && link_symbolic("", "x") == -ENOENT);
    HOLDS(link_symbolic("any", "none/x") == -ENOENT && link_symbolic("any", too_long) == -ENAMETOOLONG);
    HOLDS(link_symbolic("any", "file/x") == -ENOTDIR && link_symbolic("any", "loop/x") == -ELOOP);

    HOLDS(VALUE(proa_read_link, loop, folder, "file", &byte, 1) == -EINVAL);
    HOLDS(VALUE(proa_read_link, loop, folder, "none", &byte, 1) == -ENOENT);
    HOLDS(VALUE(proa_read_link, loop, folder, "loop", &byte, 0) == -EINVAL);
    HOLDS(VALUE(proa_read_link, loop, folder, "file/x", &byte, 1) == -ENOTDIR);

    HOLDS(tell("loop", 0) == -ELOOP && tell("loop", PROA_STAT_NO_FOLLOW) == 0 && tell(too_long, 0) == -ENAMETOOLONG);
    end();
}

/* Either directory may be no descriptor, */
static void test_bad_descriptors(void)
{
    proa_fd bad = proa_fd_of(990);
    char data[64];

    begin("directories that are no descriptors");
    write_file("file", "text");
    HOLDS(VALUE(proa_make_directory, loop, bad, "x", 0755) == -EBADF);
    HOLDS(VALUE(proa_unlink, loop, bad, "x", 0) == -EBADF);
    HOLDS(VALUE(proa_rename, loop, bad, "x", folder, "y", 0) == -EBADF);
    HOLDS(VALUE(proa_rename, loop, folder, "file", bad, "y", 0) == -EBADF);
    HOLDS(VALUE(proa_hard_link, loop, folder, "file", proa_fd_of(-1), "y", 0) == -EBADF);
    HOLDS(VALUE(proa_symbolic_link, loop, "x", bad, "y") == -EBADF);
    HOLDS(VALUE(proa_read_link, loop, bad, "y", data, sizeof(data)) == -EBADF);
    HOLDS(VALUE(proa_read_directory, loop, bad, data, sizeof(data)) == -EBADF);
    end();
}

/* or no directory, or the current one. */
static void test_other_descriptors(void)
{
    char path[160];
    proa_fd file;

    begin("directories that are none");
    write_file("file", "text");
    file = proa_fd_of((int)open_at("file", O_RDONLY));
    HOLDS(VALUE(proa_make_directory, loop, file, "x", 0755) == -ENOTDIR);
    HOLDS(VALUE(proa_rename, loop, folder, "file", file, "y", 0) == -ENOTDIR);
    HOLDS(VALUE(proa_read_directory, loop, file, path, sizeof(path)) == -ENOTDIR);
    snprintf(path, sizeof(path), "%s/moved", folder_path);
    HOLDS(VALUE(proa_rename, loop, folder, "file", PROA_CWD, path, 0) == 0 && says("moved", "text"));
    HOLDS(VALUE(proa_rename, loop, PROA_CWD, path, folder, "file", 0) == 0 && says("file", "text"));
    close_now(loop, file);
    end();
}

/* Closing the second directory waits for the op as closing the first does; what it was to do later, it does not do. */
static void test_closed_meanwhile(bool second)
{
    struct slot renaming = {0}, closing = {0};
    proa_fd other;

    begin(second ? "the second directory is closed meanwhile" : "the first directory is closed meanwhile");
    REQUIRE(make("other") == 0);
    write_file(second ? "file" : "other/file", "text");
    other = proa_fd_of((int)open_at("other", O_RDONLY | O_DIRECTORY));
    if (second)
        proa_rename(loop, &renaming.op, folder, "file", other, "file", 0, slot_done);
    else
        proa_rename(loop, &renaming.op, other, "file", folder, "file", 0, slot_done);
    proa_close(loop, &closing.op, other, slot_done);
    RUN_UNTIL(loop, closing.finals);
    HOLDS(closing.value == 0 && renaming.finals == 1 && renaming.order < closing.order);
    HOLDS(renaming.value == 0 || renaming.value == -ECANCELED);
    HOLDS(says(second == (renaming.value == 0) ? "other/file" : "file", "text"));
    HOLDS(!fd_is_open(other.handle));
    end();
}

/* The same while its turn is still to come. */
static void test_closed_before_its_turn(void)
{
    struct slot timer = {0}, renaming = {0}, closing = {0};
    proa_fd other;

    begin("the second directory is closed before the turn");
    REQUIRE(make("other") == 0);
    write_file("file", "text");
    other = proa_fd_of((int)open_at("other", O_RDONLY | O_DIRECTORY));
    proa_link_begin(loop);
    proa_timer(loop, &timer.op, clock_ns() + 3600 * PROA_SECOND_NS, slot_done);
    proa_rename(loop, &renaming.op, folder, "file", other, "file", 0, slot_done);
    proa_link_end(loop);
    proa_close(loop, &closing.op, other, slot_done);
    RUN_UNTIL(loop, closing.finals);
    HOLDS(renaming.finals == 1 && renaming.value == -ECANCELED && renaming.order < closing.order && closing.value == 0);
    proa_cancel(&timer.op);
    RUN_UNTIL(loop, timer.finals);
    HOLDS(says("file", "text"));
    end();
}

/* One directory in both places counts as one. */
static void test_same_directory_twice(void)
{
    struct slot renaming[8] = {0}, closing = {0};
    proa_fd other;
    char names[9][2];

    begin("a directory in both places");
    REQUIRE(make("other") == 0);
    write_file("other/0", "text");
    other = proa_fd_of((int)open_at("other", O_RDONLY | O_DIRECTORY));
    for (unsigned i = 0; i < 9; i++)
        snprintf(names[i], sizeof(names[i]), "%u", i);
    proa_link_begin(loop);
    for (unsigned i = 0; i < 8; i++)
        proa_rename(loop, &renaming[i].op, other, names[i], i % 2 ? other : PROA_LINKED, names[i + 1], 0, slot_done);
    proa_link_end(loop);
    RUN_UNTIL(loop, renaming[7].finals);
    HOLDS(renaming[0].value == -EBADF && renaming[1].value == -ECANCELED); /* nothing is before the first */
    proa_link_begin(loop);
    for (unsigned i = 0; i < 8; i++)
        proa_rename(loop, &renaming[i].op, other, names[i], i % 2 ? PROA_LINKED : other, names[i + 1], 0, slot_done);
    proa_close(loop, &closing.op, PROA_LINKED, slot_done);
    proa_link_end(loop);
    RUN_UNTIL(loop, closing.finals);
    for (unsigned i = 0; i < 8; i++)
        HOLDS(renaming[i].value == 0);
    HOLDS(closing.value == 0 && !fd_is_open(other.handle) && says("other/8", "text"));
    end();
}

/* The way to write a file so that others see all of it or nothing, each step behind the one before. */
static void test_linked(void)
{
    struct slot slots[6] = {0};
    char made[160], draft[176], final[176];

    begin("made, opened, written, synced, named, closed");
    snprintf(made, sizeof(made), "%s/made", folder_path);
    snprintf(draft, sizeof(draft), "%s/draft", made);
    snprintf(final, sizeof(final), "%s/final", made);
    proa_link_begin(loop);
    CALL(proa_make_directory(loop, &slots[0].op, folder, "made", 0755, slot_done));
    CALL(proa_open(loop, &slots[1].op, PROA_CWD, draft, (proa_open_how){.flags = O_RDWR | O_CREAT, .mode = 0600},
                   slot_done));
    CALL(proa_write(loop, &slots[2].op, PROA_LINKED, "whole", 5, 0, slot_done));
    CALL(proa_fsync(loop, &slots[3].op, PROA_LINKED, slot_done));
    CALL(proa_close(loop, &slots[4].op, PROA_LINKED, slot_done));
    CALL(proa_rename(loop, &slots[5].op, PROA_CWD, draft, PROA_CWD, final, 0, slot_done));
    proa_link_end(loop);
    RUN_UNTIL(loop, slots[5].finals);
    for (unsigned i = 0; i < 6; i++)
        HOLDS(slots[i].finals == 1 && slots[i].value >= 0 && (i == 0 || slots[i].order > slots[i - 1].order));
    HOLDS(says("made/final", "whole") && tell("made/draft", 0) == -ENOENT);

    test_case("the first fails, so nothing happens");
    memset(slots, 0, sizeof(slots));
    proa_link_begin(loop);
    proa_make_directory(loop, &slots[0].op, folder, "made", 0755, slot_done);
    proa_unlink(loop, &slots[1].op, PROA_CWD, final, 0, slot_done);
    proa_link_end(loop);
    RUN_UNTIL(loop, slots[1].finals);
    HOLDS(slots[0].value == -EEXIST && slots[1].value == -ECANCELED && says("made/final", "whole"));
    end();
}

/* Listing */

enum { ENTRIES = 500 };

struct list {
    unsigned seen[ENTRIES];
    unsigned dots, others, turns, directories;
};

static void note_entry(struct list *list, const proa_directory_entry *entry)
{
    unsigned number;

    REQUIRE(entry->inode != 0);
    list->directories += entry->type == DT_DIR;
    if (entry->name[0] == '.')
        list->dots++;
    else if (sscanf(entry->name, "entry %u", &number) == 1 && number < ENTRIES)
        list->seen[number]++;
    else
        list->others++;
}

static int64_t list_all(proa_fd directory, size_t size, struct list *ret_list)
{
    char buffer[8192 + 1], *odd = buffer + 1; /* nobody has to align it */
    proa_directory_entry entry;
    int64_t bytes;

    memset(ret_list, 0, sizeof(*ret_list));
    while ((bytes = VALUE(proa_read_directory, loop, directory, odd, size)) > 0) {
        size_t position = 0;

        REQUIRE((size_t)bytes <= size);
        while (proa_directory_next(odd, bytes, &position, &entry))
            note_entry(ret_list, &entry);
        REQUIRE(position == (size_t)bytes);
        ret_list->turns++;
    }
    return bytes;
}

static void test_list(void)
{
    static const size_t sizes[] = {48, 300, 4096, 8192};
    static struct list list;
    char name[32];
    proa_fd empty;

    begin("lists");
    REQUIRE(make("empty") == 0);
    for (unsigned i = 0; i < ENTRIES; i++) {
        snprintf(name, sizeof(name), "%s/entry %u", "empty/..", i);
        REQUIRE((i % 5 ? link_symbolic("nowhere", name) : make(name)) == 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        test_case("lists, %zu bytes at a time", sizes[i]);
        REQUIRE(lseek(folder.handle, 0, SEEK_SET) == 0);
        HOLDS(list_all(folder, sizes[i], &list) == 0);
        for (unsigned entry = 0; entry < ENTRIES; entry++)
            REQUIRE(list.seen[entry] == 1);
        HOLDS(list.dots == 2 && list.others == 1 && list.turns > 1);
        HOLDS(list.directories == 0 || list.directories == ENTRIES / 5 + 3);
    }
    empty = proa_fd_of((int)open_at("empty", O_RDONLY | O_DIRECTORY));
    HOLDS(list_all(empty, 4096, &list) == 0 && list.dots == 2 && list.turns == 1);
    REQUIRE(lseek(empty.handle, 0, SEEK_SET) == 0);
    HOLDS(list_all(empty, 8, &list) == -EINVAL);
    REQUIRE(drop("empty", PROA_UNLINK_DIRECTORY) == 0);
    HOLDS(list_all(empty, 4096, &list) == -ENOENT);
    close_now(loop, empty);
    end();
}

/* A list in a link goes on with whatever it brought: there is no short count of it. */
static void test_list_linked(void)
{
    struct slot list = {0}, timer = {0};
    char buffer[4096];

    begin("a list in a link");
    proa_link_begin(loop);
    proa_read_directory(loop, &list.op, folder, buffer, sizeof(buffer), slot_done);
    proa_timer(loop, &timer.op, 0, slot_done);
    proa_link_end(loop);
    RUN_UNTIL(loop, timer.finals);
    HOLDS(list.value > 0 && timer.value == 0);
    end();
}

/* Sizes */

static int64_t truncate_to(proa_fd fd, uint64_t size)
{
    return VALUE(proa_truncate, loop, fd, size);
}

static int64_t allocate(proa_fd fd, unsigned mode, uint64_t offset, uint64_t size)
{
    return VALUE(proa_allocate, loop, fd, mode, offset, size);
}

static void test_sizes(void)
{
    proa_fd file, read_only;
    char data[8] = "xxxxxxx";
    int ends[2];

    begin("sizes");
    write_file("file", "0123456789");
    file = proa_fd_of((int)open_at("file", O_RDWR));
    HOLDS(truncate_to(file, 4) == 0 && says("file", "0123"));
    HOLDS(truncate_to(file, 6) == 0 && tell("file", 0) == 0 && status.stx_size == 6);
    HOLDS(VALUE(proa_read, loop, file, data, sizeof(data), 0) == 6 && memcmp(data, "0123\0\0", 6) == 0);
    HOLDS(truncate_to(file, UINT64_C(5) << 30) == 0 && tell("file", 0) == 0 && status.stx_size == UINT64_C(5) << 30);
    HOLDS(truncate_to(file, 0) == 0 && truncate_to(file, UINT64_MAX) == -EINVAL);

    HOLDS(allocate(file, 0, 0, 8192) == 0 && tell("file", 0) == 0 && status.stx_size == 8192 && status.stx_blocks > 0);
    HOLDS(allocate(file, FALLOC_FL_KEEP_SIZE, 8192, 8192) == 0 && tell("file", 0) == 0 && status.stx_size == 8192);
    REQUIRE(VALUE(proa_write, loop, file, "full", 4, 4094) == 4);
    HOLDS(allocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096) == 0);
    HOLDS(VALUE(proa_read, loop, file, data, 4, 4094) == 4 && memcmp(data, "fu\0\0", 4) == 0);
    HOLDS(allocate(file, 0, 0, 0) == -EINVAL && allocate(file, 0, UINT64_MAX, 1) == -EINVAL);
    HOLDS(allocate(file, 1u << 24, 0, 1) == -EOPNOTSUPP && allocate(file, FALLOC_FL_PUNCH_HOLE, 0, 1) == -EOPNOTSUPP);

    read_only = proa_fd_of((int)open_at("file", O_RDONLY));
    HOLDS(truncate_to(read_only, 1) == -EINVAL && allocate(read_only, 0, 0, 1) == -EBADF);
    HOLDS(truncate_to(folder, 1) == -EINVAL && allocate(folder, 0, 0, 1) == -EBADF);
    HOLDS(truncate_to(proa_fd_of(990), 1) == -EBADF && allocate(proa_fd_of(990), 0, 0, 1) == -EBADF);
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    HOLDS(truncate_to(proa_fd_of(ends[1]), 1) == -EINVAL && allocate(proa_fd_of(ends[1]), 0, 0, 1) == -ESPIPE);
    close_plain(ends[0]);
    close_plain(ends[1]);
    close_now(loop, read_only);
    close_now(loop, file);
    end();
}

static void test_stat(void)
{
    begin("what stat is asked for");
    write_file("file", "text");
    memset(&status, 0, sizeof(status));
    HOLDS(VALUE(proa_stat, loop, folder, "file", PROA_STAT_DONT_SYNC, STATX_SIZE, &status) == 0);
    HOLDS(status.stx_mask & STATX_SIZE && status.stx_size == 4);
    HOLDS(VALUE(proa_stat, loop, folder, "file", PROA_STAT_FORCE_SYNC, STATX_TYPE, &status) == 0);
    HOLDS(tell("file", 1u << 24) == -EINVAL);
    HOLDS(tell("file", PROA_STAT_FORCE_SYNC | PROA_STAT_DONT_SYNC) == -EINVAL);
    HOLDS(tell("", 0) == 0 && S_ISDIR(status.stx_mode));
    end();
}

/* On other file systems, as far as there are some. */

static void test_other_file_system(void)
{
    static const char elsewhere[] = "/dev/shm";
    struct stat here, there;
    char path[64];

    begin("names of two file systems");
    write_file("file", "text");
    snprintf(path, sizeof(path), "%s/proa-test-%d", elsewhere, (int)getpid());
    if (!test_simulated() && stat(folder_path, &here) == 0 && stat(elsewhere, &there) == 0 &&
        here.st_dev != there.st_dev) {
        HOLDS(VALUE(proa_rename, loop, folder, "file", PROA_CWD, path, 0) == -EXDEV);
        HOLDS(VALUE(proa_hard_link, loop, folder, "file", PROA_CWD, path, 0) == -EXDEV);
    }
    HOLDS(says("file", "text"));
    end();
}

/* In a name space of its own, where that is allowed. */
static void on_read_only(void *argument)
{
    const char *root = argument;
    char path[160];

    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 || mount("none", root, "tmpfs", MS_RDONLY, NULL) < 0)
        return;
    loop = loop_open();
    snprintf(path, sizeof(path), "%s/x", root);
    REQUIRE(VALUE(proa_make_directory, loop, PROA_CWD, path, 0755) == -EROFS);
    REQUIRE(VALUE(proa_symbolic_link, loop, "y", PROA_CWD, path) == -EROFS);
    REQUIRE(VALUE(proa_unlink, loop, PROA_CWD, path, 0) == -EROFS);
    proa_loop_close(loop);
}

static void test_read_only(void)
{
    static char root[128];

    test_case("a file system that is read-only");
    if (test_simulated())
        return;
    snprintf(root, sizeof(root), "%s", temp_fresh("mount"));
    REQUIRE(mkdir(root, 0755) == 0);
    HOLDS(child_passes(on_read_only, root));
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "directories");
    test_story();
    test_rename();
    test_errors();
    test_bad_descriptors();
    test_other_descriptors();
    test_closed_meanwhile(false);
    test_closed_meanwhile(true);
    test_closed_before_its_turn();
    test_same_directory_twice();
    test_linked();
    test_list();
    test_list_linked();
    test_sizes();
    test_stat();
    test_other_file_system();
    test_read_only();
    return check_done("directories");
}

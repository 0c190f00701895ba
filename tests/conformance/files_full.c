/* A full disk: on a small file system of its own, in a namespace where the test may mount one. */
#include "harness.h"

#include <sched.h>
#include <sys/mount.h>

enum { DISK = 256 << 10, BLOCK = 16 << 10 };

static const char *refused;

static void write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd >= 0 && write(fd, text, strlen(text)) < 0)
        refused = "a user namespace takes no map here";
    if (fd >= 0)
        close(fd);
}

/* As root, or as whoever may be root of a namespace. */
static void enter_namespace(void)
{
    char map[32];

    snprintf(map, sizeof(map), "0 %d 1", (int)getuid());
    if (unshare(CLONE_NEWNS) == 0)
        return;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) {
        refused = "no mount namespace is to be had here";
        return;
    }
    write_text("/proc/self/uid_map", map);
}

static void mount_disk(const char *path)
{
    enter_namespace();
    if (refused)
        return;
    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    if (mount("proa", path, "tmpfs", 0, "size=256k") < 0)
        refused = "no file system can be mounted here";
}

/* Writes block after block: all of it, then what still has room, then ENOSPC; and what was written is there. */
static void fill(proa_loop *loop, const char *path)
{
    static char block[BLOCK];
    struct slot slot;
    uint64_t total = 0;
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    REQUIRE(file >= 0);
    test_case("a disk of 256 KiB");
    do {
        slot = (struct slot){0};
        pattern_fill(block, BLOCK, total);
        proa_write(loop, &slot.op, proa_fd_of(file), block, BLOCK, total, slot_done);
        RUN_UNTIL(loop, slot.finals);
        total += slot.value > 0 ? (uint64_t)slot.value : 0;
    } while (slot.value > 0 && total <= DISK);
    HOLDS(slot.value == -ENOSPC);
    HOLDS(total > 0 && total <= DISK);

    test_case("what fitted is there");
    for (uint64_t at = 0; at + BLOCK <= total; at += BLOCK) {
        slot = (struct slot){0};
        proa_read(loop, &slot.op, proa_fd_of(file), block, BLOCK, at, slot_done);
        RUN_UNTIL(loop, slot.finals);
        HOLDS(slot.value == BLOCK && pattern_holds(block, BLOCK, at));
    }
    close(file);
}

int main(int argc, char **argv)
{
    char folder[256], path[300];
    proa_loop *loop;

    test_begin(argc, argv, "files_full");
    if (test_simulated())
        return check_skip("files_full", "a machine has no mounts; its full disk is tests/unit/sim_weather");
    snprintf(folder, sizeof(folder), "%s", temp_path("disk"));
    REQUIRE(mkdir(folder, 0700) == 0);
    mount_disk(folder);
    if (refused)
        return check_skip("files_full", refused);
    loop = loop_open();
    snprintf(path, sizeof(path), "%s/file", folder);
    fill(loop, path);
    proa_loop_close(loop);
    REQUIRE(umount2(folder, MNT_DETACH) == 0);
    return check_done("files_full");
}

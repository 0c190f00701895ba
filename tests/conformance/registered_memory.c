/* proa_memory_register(): nothing changes but the cost. What is read and written is right wherever it lies, and memory is
 * pinned for as long as it is registered. */
#include "harness.h"

#include <sys/mman.h>

enum { REGION = 1 << 20, BLOCK = 4096, REGIONS = 16 };

static proa_loop *loop;
static uint8_t *memory; /* two regions, of which the first is registered */

static long pinned_kib(void)
{
    FILE *status = fopen("/proc/self/status", "re");
    char line[128];
    long kib = -1;

    REQUIRE(status != NULL);
    while (fgets(line, sizeof(line), status) && sscanf(line, "VmPin: %ld kB", &kib) != 1)
        continue;
    fclose(status);
    return kib;
}

/* Writes a pattern from one place and reads it into another. */
static void copy_through_file(int file, size_t from, size_t to, size_t size)
{
    struct slot write = {0}, read = {0};

    memset(memory, 0, 2 * REGION);
    pattern_fill(memory + from, size, from);
    proa_write(loop, &write.op, proa_fd_of(file), memory + from, size, 100, slot_done);
    RUN_UNTIL(loop, write.finals);
    HOLDS(write.value == (int64_t)size);
    memset(memory, 0, 2 * REGION);
    proa_read(loop, &read.op, proa_fd_of(file), memory + to, size, 100, slot_done);
    RUN_UNTIL(loop, read.finals);
    HOLDS(read.value == (int64_t)size);
    HOLDS(pattern_holds(memory + to, size, from));
    HOLDS((to == 0 || memory[to - 1] == 0) && memory[to + size] == 0);
}

/* Inside, up to the edge, across it, and outside. */
static void test_places(void)
{
    static const size_t places[] = {0,          1,      REGION / 2, REGION - BLOCK, REGION - BLOCK + 1,
                                    REGION - 1, REGION, REGION + 7};
    int file = temp_file("registered", "", 0);

    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        for (size_t j = 0; j < ARRAY_SIZE(places); j++) {
            test_case("from %zu to %zu", places[i], places[j]);
            copy_through_file(file, places[i], places[j], BLOCK);
        }
    }
    close_plain(file);
}

/* What has no offset: a pipe, both ways. */
static void test_pipe(void)
{
    struct slot read = {0}, write = {0};
    int ends[2];

    test_case("a pipe");
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    memcpy(memory, "abcdef", 6);
    proa_read(loop, &read.op, proa_fd_of(ends[0]), memory + 100, 6, PROA_POSITION, slot_done);
    loop_run_for(loop, MS);
    proa_write(loop, &write.op, proa_fd_of(ends[1]), memory, 6, PROA_POSITION, slot_done);
    RUN_UNTIL(loop, read.finals && write.finals);
    HOLDS(read.value == 6 && write.value == 6 && memcmp(memory + 100, "abcdef", 6) == 0);
    close_plain(ends[0]);
    close_plain(ends[1]);
}

static void test_errors(void)
{
    test_case("errors");
    HOLDS(proa_memory_register(loop, NULL, 10) == -EINVAL);
    HOLDS(proa_memory_register(loop, memory + REGION, 0) == -EINVAL);
    HOLDS(proa_memory_register(loop, memory, REGION) == -EEXIST);
    HOLDS(proa_memory_register(loop, memory + REGION - 1, 2) == -EEXIST);
    HOLDS(proa_memory_unregister(loop, memory + 1) == -ENOENT);
    for (size_t i = 1; i < REGIONS; i++)
        HOLDS(proa_memory_register(loop, memory + REGION + i * BLOCK, BLOCK) == 0);
    HOLDS(proa_memory_register(loop, memory + REGION, BLOCK) == -ENOSPC);
    HOLDS(proa_memory_unregister(loop, memory + REGION + BLOCK) == 0);
    HOLDS(proa_memory_register(loop, memory + REGION, BLOCK) == 0);
    HOLDS(proa_memory_unregister(loop, memory + REGION) == 0);
    for (size_t i = 2; i < REGIONS; i++)
        HOLDS(proa_memory_unregister(loop, memory + REGION + i * BLOCK) == 0);
    HOLDS(proa_memory_unregister(loop, memory + REGION) == -ENOENT);
}

/* Rings are pinned, too, and those that were closed are let go of some time later: they are far smaller than a region. */
static bool pinned_region_since(long before)
{
    long more = pinned_kib() - before;

    return more > REGION / 1024 / 2;
}

/* The kernel lets go when the last use of it is over, and of what a ring had when that is taken down, beside us. */
static void await_unpinned(long before)
{
    while (pinned_region_since(before))
        sleep_ms(1);
}

/* The read was started while its memory was registered, and is none the worse for it. */
static void test_unregistered_at_once(void)
{
    int file = temp_file("at-once", "0123456789", 10);
    struct slot slot = {0};

    test_case("unregistered behind a read");
    REQUIRE(proa_memory_register(loop, memory, REGION) == 0);
    proa_read(loop, &slot.op, proa_fd_of(file), memory, 10, 0, slot_done);
    HOLDS(proa_memory_unregister(loop, memory) == 0);
    RUN_UNTIL(loop, slot.finals);
    HOLDS(slot.value == 10 && memcmp(memory, "0123456789", 10) == 0);
    close_plain(file);
}

int main(int argc, char **argv)
{
    bool pins;
    long before;

    test_begin(argc, argv, "registered_memory");
    pins = strcmp(test_engine(), "uring") == 0;
    memory = mmap(NULL, 2 * REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    loop = loop_open();
    before = pinned_kib();
    REQUIRE(proa_memory_register(loop, memory, REGION) == 0);
    HOLDS(pinned_region_since(before) == pins);
    test_places();
    test_pipe();
    test_errors();
    test_case("unregistered");
    HOLDS(proa_memory_unregister(loop, memory) == 0);
    await_unpinned(before);
    test_places();
    test_unregistered_at_once();
    test_case("left registered");
    REQUIRE(proa_memory_register(loop, memory, REGION) == 0);
    HOLDS(pinned_region_since(before) == pins);
    proa_loop_close(loop);
    await_unpinned(before);
    return check_done("registered_memory");
}

/* Families: a loop that was opened for some kinds of ops ends all others with EACCES. On uring the kernel refuses them, too,
 * also where memory is corrupted: an entry that is forged in the ring itself. */
#include "kinds.h"

#include <liburing.h>

static const uint32_t all_families[] = {
#define FAMILY(name, meaning) PROA_FAMILY_##name,
    PROA_FAMILIES(FAMILY)
#undef FAMILY
};

static int64_t try_listen(proa_loop *loop)
{
    proa_address address = address_any(TCP);
    struct slot slot = {0};

    proa_listen(loop, &slot.op, &address, 1, 0, slot_done);
    if (slot_value(loop, &slot) >= 0)
        close_now(loop, proa_fd_of((int)slot.value));
    return slot.value;
}

static int64_t try_open(proa_loop *loop)
{
    struct slot slot = {0};

    proa_open(loop, &slot.op, PROA_CWD, "/", (proa_open_how){.flags = O_RDONLY}, slot_done);
    if (slot_value(loop, &slot) >= 0)
        close_now(loop, proa_fd_of((int)slot.value));
    return slot.value;
}

static int64_t try_timer(proa_loop *loop)
{
    struct slot slot = {0};

    proa_timer(loop, &slot.op, 1, slot_done);
    return slot_value(loop, &slot);
}

static int64_t nothing(proa_op *op)
{
    (void)op;
    return 0;
}

static int64_t try_work(proa_loop *loop)
{
    struct slot slot = {0};

    proa_work(loop, &slot.op, nothing, slot_done);
    return slot_value(loop, &slot);
}

static int64_t (*const tries[])(proa_loop *loop) = {try_listen, try_open, try_timer, try_work};

/* Each family alone, and all pairs: each op of a family that is there works, the others end with EACCES. */
static void test_families(void)
{
    for (uint32_t families = 1; families < UINT32_C(1) << ARRAY_SIZE(all_families); families++) {
        proa_loop *loop = loop_open_with((proa_loop_options){.families = families});
        struct slot post = {0};

        test_case("families %#x", families);
        for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
            int64_t value = tries[i](loop);

            HOLDS(families & all_families[i] ? value >= 0 : value == -EACCES);
        }
        proa_post(loop, &post.op, slot_done);
        HOLDS(slot_value(loop, &post) == 0);
        if (strcmp(test_engine(), "uring") == 0)
            HOLDS(proa_loop_features(loop) & PROA_FEATURE_RESTRICTED);
        proa_loop_close(loop);
    }
}

/* Everything that a server does, on a loop that can do no more. */
static void test_sockets_work(void)
{
    proa_loop *loop = loop_open_with((proa_loop_options){.families = PROA_FAMILY_SOCKETS});
    struct slot send[2] = {0}, receive = {0}, shut = {0}, open = {0};
    proa_buffer_pool *pool;
    char data[8];
    proa_fd near;
    int far;

    test_case("sockets alone");
    REQUIRE(proa_buffer_pool_open(loop, 4, 64, &pool) == 0);
    pair_open(loop, TCP, &near, &far);
    proa_recv_many(loop, &receive.op, near, pool, slot_done);
    REQUIRE(write(far, "abc", 3) == 3);
    RUN_UNTIL(loop, receive.mores == 1);
    HOLDS(receive.value == 3);
    proa_buffer_return(pool, receive.buffer);
    proa_send(loop, &send[0].op, near, "de", 2, slot_done);
    proa_send_relaxed(loop, &send[1].op, near, "f", 1, slot_done);
    RUN_UNTIL(loop, send[0].finals && send[1].finals);
    HOLDS(send[0].value == 2 && send[1].value == 1);
    proa_shutdown(loop, &shut.op, near, SHUT_WR, slot_done);
    HOLDS(slot_value(loop, &shut) == 0 && far_read(far, data, sizeof(data)) == 3);
    proa_read(loop, &open.op, near, &far, 1, PROA_POSITION, slot_done);
    HOLDS(slot_value(loop, &open) == -EACCES);
    close_now(loop, near);
    close_plain(far);
    proa_loop_close(loop);
}

/* A process is started where files are opened, but is no file. */
static bool is_of_files(const struct kind *kind)
{
    return kind->traits & FILES && strcmp(kind->function, "proa_spawn") != 0;
}

/* All that is done to files, on a loop that can do no more. */
static void test_files_work(void)
{
    static struct stage stage;

    for (size_t i = 0; i < kind_count; i++) {
        if (!is_of_files(&kinds[i]))
            continue;
        test_case("files alone: %s", kinds[i].name);
        stage_set(&stage, &kinds[i], loop_open_with((proa_loop_options){.families = PROA_FAMILY_FILES}));
        stage_start(&stage);
        stage_finish(&stage);
        HOLDS(stage.slot.value >= 0);
        stage_close_extras(&stage);
        proa_loop_close(stage.loop);
        stage_clear(&stage);
    }
}

/* The entries of the one ring that is open, as an attacker with this process's memory would find them. */
static struct io_uring_sqe *find_entries(size_t *ret_count)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned long first, last, offset;
    char line[256];

    REQUIRE(maps != NULL);
    while (fgets(line, sizeof(line), maps)) {
        if (strstr(line, "io_uring") && sscanf(line, "%lx-%lx %*s %lx", &first, &last, &offset) == 3 &&
            offset == IORING_OFF_SQES) {
            fclose(maps);
            *ret_count = (last - first) / sizeof(struct io_uring_sqe);
            return (struct io_uring_sqe *)first;
        }
    }
    fclose(maps);
    return NULL;
}

/* Started as a receive, and made another op before the kernel sees it. */
static void test_forged(uint8_t opcode, int64_t expected, uint32_t families)
{
    proa_loop *loop = loop_open_with((proa_loop_options){.families = families});
    struct slot receive = {0};
    struct io_uring_sqe *entries;
    size_t count = 0, forged = 0;
    proa_fd near;
    char byte;
    int far;

    test_case("forged: %u, families %#x", opcode, families);
    pair_open(loop, TCP, &near, &far);
    REQUIRE(write(far, "x", 1) == 1);
    entries = find_entries(&count);
    REQUIRE(entries != NULL);
    for (size_t i = 0; i < count; i++)
        entries[i].user_data = 0;
    proa_recv(loop, &receive.op, near, &byte, 1, slot_done);
    for (size_t i = 0; i < count; i++) {
        if (entries[i].user_data != (uintptr_t)&receive.op)
            continue;
        entries[i].opcode = opcode;
        forged++;
    }
    REQUIRE(forged == 1);
    HOLDS(slot_value(loop, &receive) == expected);
    close_now(loop, near);
    close_plain(far);
    proa_loop_close(loop);
}

int main(int argc, char **argv)
{
    static const uint8_t forbidden[] = {IORING_OP_OPENAT, IORING_OP_READ,      IORING_OP_WRITE,    IORING_OP_STATX,
                                        IORING_OP_FSYNC,  IORING_OP_FALLOCATE, IORING_OP_UNLINKAT, IORING_OP_SPLICE};

    test_begin(argc, argv, "families");
    test_families();
    test_sockets_work();
    test_files_work();
    if (strcmp(test_engine(), "uring") != 0)
        return check_done("families");
    test_forged(IORING_OP_RECV, 1, PROA_FAMILY_SOCKETS);
    test_forged(IORING_OP_FSYNC, -EINVAL, 0); /* a socket has none, and all ops are there */
    for (size_t i = 0; i < ARRAY_SIZE(forbidden); i++)
        test_forged(forbidden[i], -EACCES, PROA_FAMILY_SOCKETS);
    return check_done("families");
}

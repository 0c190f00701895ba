/* proa_readv(), proa_writev(): memory in pieces, moved in order as one transfer, at an offset or at the position; short counts
 * are counted over all pieces, and break a link. */
#include "harness.h"

enum { SIZE = 100000, PIECES_MAX = 1024 };

static proa_loop *loop;
static char data[SIZE];
static struct iovec pieces[PIECES_MAX + 1];

static int64_t read_pieces(proa_fd fd, unsigned count, uint64_t offset)
{
    return VALUE(proa_readv, loop, fd, pieces, count, offset);
}

static int64_t write_pieces(proa_fd fd, unsigned count, uint64_t offset)
{
    return VALUE(proa_writev, loop, fd, pieces, count, offset);
}

/* All of `data` in so many pieces of odd sizes, some of them empty. */
static void cut(unsigned count)
{
    size_t at = 0;

    for (unsigned i = 0; i < count; i++) {
        size_t left = SIZE - at, size = i + 1 == count ? left : i % 3 == 1 ? 0 : left / (count - i) + i % 2;

        pieces[i] = (struct iovec){data + at, size < left ? size : left};
        at += pieces[i].iov_len;
    }
    REQUIRE(at == SIZE);
}

static proa_fd file_of(const char *text)
{
    return proa_fd_of(temp_file("vector", text, strlen(text)));
}

static void test_whole(uint64_t offset)
{
    static const unsigned counts[] = {1, 2, 3, 17, PIECES_MAX};
    proa_fd fd = file_of("");

    for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
        test_case("%u pieces at %llu", counts[i], (unsigned long long)offset);
        pattern_fill(data, SIZE, i);
        cut(counts[i]);
        HOLDS(write_pieces(fd, counts[i], offset) == SIZE);
        memset(data, 0, SIZE);
        cut(counts[ARRAY_SIZE(counts) - 1 - i]);
        HOLDS(read_pieces(fd, counts[ARRAY_SIZE(counts) - 1 - i], offset) == SIZE);
        HOLDS(pattern_holds(data, SIZE, i));
    }
    close_plain(fd.handle);
}

static void test_short(void)
{
    proa_fd fd = file_of("0123456789");
    char first[4], second[4], third[8] = "";

    test_case("the end of the file");
    pieces[0] = (struct iovec){first, 4};
    pieces[1] = (struct iovec){second, 4};
    pieces[2] = (struct iovec){third, 8};
    HOLDS(read_pieces(fd, 3, 0) == 10 && memcmp(first, "0123", 4) == 0 && memcmp(third, "89\0", 3) == 0);
    HOLDS(read_pieces(fd, 3, 7) == 3 && memcmp(first, "789", 3) == 0);
    HOLDS(read_pieces(fd, 3, 10) == 0 && read_pieces(fd, 3, UINT64_C(1) << 40) == 0);
    HOLDS(read_pieces(fd, 0, 0) == 0 && write_pieces(fd, 0, 0) == 0);

    test_case("at the position");
    HOLDS(read_pieces(fd, 1, PROA_POSITION) == 4 && read_pieces(fd, 2, PROA_POSITION) == 6);
    HOLDS(memcmp(first, "4567", 4) == 0 && memcmp(second, "89", 2) == 0 && read_pieces(fd, 1, PROA_POSITION) == 0);
    close_plain(fd.handle);
}

static void test_errors(void)
{
    proa_fd fd = file_of("0123456789"), read_only = proa_fd_of(open(temp_path("vector"), O_RDONLY | O_CLOEXEC));

    test_case("errors");
    for (unsigned i = 0; i <= PIECES_MAX; i++)
        pieces[i] = (struct iovec){data, 1};
    HOLDS(read_pieces(fd, PIECES_MAX + 1, 0) == -EINVAL && write_pieces(fd, PIECES_MAX + 1, 0) == -EINVAL);
    HOLDS(read_pieces(fd, 1, (uint64_t)INT64_MAX + 1) == -EINVAL);
    HOLDS(read_pieces(proa_fd_of(990), 1, 0) == -EBADF && write_pieces(proa_fd_of(990), 1, 0) == -EBADF);
    HOLDS(write_pieces(read_only, 1, 0) == -EBADF);
    if (!test_simulated()) {
        pieces[0] = (struct iovec){(void *)8, 1};
        HOLDS(read_pieces(fd, 1, 0) == -EFAULT);
    }
    close_plain(fd.handle);
    close_plain(read_only.handle);
}

/* Short is what is less than all pieces have together. */
static void test_linked(uint64_t bytes, bool goes_on)
{
    struct slot write = {0}, read = {0}, timer = {0};
    proa_fd fd = file_of("");
    struct iovec more[2] = {{data, (size_t)bytes / 2}, {data + bytes / 2, (size_t)(bytes - bytes / 2)}};

    test_case("%llu of 10 bytes in a link", (unsigned long long)bytes);
    pieces[0] = (struct iovec){data, 3};
    pieces[1] = (struct iovec){data + 3, 7};
    proa_link_begin(loop);
    proa_writev(loop, &write.op, fd, pieces, 2, 0, slot_done);
    proa_readv(loop, &read.op, PROA_LINKED, more, 2, 0, slot_done);
    proa_timer(loop, &timer.op, 0, slot_done);
    proa_link_end(loop);
    RUN_UNTIL(loop, timer.finals);
    HOLDS(write.value == 10 && read.value == (bytes < 10 ? (int64_t)bytes : 10));
    HOLDS(timer.value == (goes_on ? 0 : -ECANCELED));
    close_plain(fd.handle);
}

/* What has no position is a stream: a read waits until there is something, and a write for room. */
static void test_pipe(void)
{
    struct slot slot = {0};
    int ends[2];
    size_t size = 0;
    int64_t count;

    test_case("a pipe");
    REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    pieces[0] = (struct iovec){NULL, 0};
    pieces[1] = (struct iovec){data, 2};
    pieces[2] = (struct iovec){data + 2, 10};
    proa_readv(loop, &slot.op, proa_fd_of(ends[0]), pieces, 3, 0, slot_done);
    loop_run_for(loop, MS);
    HOLDS(!slot.finals);
    REQUIRE(write(ends[1], "abcde", 5) == 5);
    RUN_UNTIL(loop, slot.finals);
    HOLDS(slot.value == 5 && memcmp(data, "abcde", 5) == 0);
    pattern_fill(data, SIZE, 0);
    while (size < 200000) {
        pieces[0] = (struct iovec){NULL, 0};
        pieces[1] = (struct iovec){data + size % SIZE, SIZE - size % SIZE};
        pieces[2] = (struct iovec){data, size % SIZE};
        memset(&slot, 0, sizeof(slot));
        proa_writev(loop, &slot.op, proa_fd_of(ends[1]), pieces, 3, PROA_POSITION, slot_done);
        for (char got[4096]; !slot.finals; proa_loop_run(loop, PROA_ONCE))
            while ((count = read(ends[0], got, sizeof(got))) > 0)
                size += (size_t)count;
        REQUIRE(slot.value > 0);
    }
    close_plain(ends[0]);
    close_plain(ends[1]);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "vectors");
    loop = loop_open();
    test_whole(0);
    test_whole((UINT64_C(1) << 32) + 1);
    test_short();
    test_errors();
    test_linked(10, true);
    test_linked(9, true);
    test_linked(11, false);
    test_pipe();
    proa_loop_close(loop);
    return check_done("vectors");
}

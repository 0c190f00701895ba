/* Trap: the socket file of a Unix listener stays when its owner is gone. PROA_LISTEN_REPLACE removes it, but only where
 * nobody listens, and nothing that is no socket; without the flag nothing is ever removed. */
#include "harness.h"

static proa_loop *loop;

static int64_t listen_at(const char *path, unsigned flags)
{
    char text[PROA_ADDRESS_TEXT_MAX];
    proa_address address;
    struct slot slot = {0};

    snprintf(text, sizeof(text), "unix:%s", path);
    REQUIRE(proa_address_parse(text, &address) == 0);
    proa_listen(loop, &slot.op, &address, 16, flags, slot_done);
    RUN_UNTIL(loop, slot.finals);
    return slot.value;
}

static void make_stale(const char *path)
{
    int64_t fd = listen_at(path, 0);

    REQUIRE(fd >= 0);
    close_now(loop, proa_fd_of((int)fd));
    REQUIRE(access(path, F_OK) == 0);
}

static void test_stale(void)
{
    const char *path = temp_path("stale");
    int64_t fd;

    test_case("a stale file");
    make_stale(path);
    HOLDS(listen_at(path, 0) == -EADDRINUSE);
    HOLDS(access(path, F_OK) == 0);
    fd = listen_at(path, PROA_LISTEN_REPLACE);
    if (HOLDS(fd >= 0))
        close_now(loop, proa_fd_of((int)fd));
}

static void test_in_use(void)
{
    const char *path = temp_path("used");
    int before = fd_count();
    int64_t fd = listen_at(path, 0);
    struct slot slot = {0};

    test_case("a file that somebody listens on");
    proa_accept(loop, &slot.op, proa_fd_of((int)fd), slot_done);
    HOLDS(listen_at(path, PROA_LISTEN_REPLACE) == -EADDRINUSE);
    HOLDS(access(path, F_OK) == 0);
    HOLDS(fd_count() - before <= 2);
    close_now(loop, proa_fd_of((int)fd));
    if (slot.value >= 0)
        close_now(loop, proa_fd_of((int)slot.value));
    HOLDS(fd_count() == before);
}

static void test_not_a_socket(void)
{
    struct stat status;

    test_case("a file that is no socket");
    close_plain(temp_file("letter", "dear", 4));
    HOLDS(listen_at(temp_path("letter"), PROA_LISTEN_REPLACE) == -EADDRINUSE);
    HOLDS(stat(temp_path("letter"), &status) == 0 && S_ISREG(status.st_mode) && status.st_size == 4);
    REQUIRE(symlink("letter", temp_path("link")) == 0);
    HOLDS(listen_at(temp_path("link"), PROA_LISTEN_REPLACE) == -EADDRINUSE);
    HOLDS(lstat(temp_path("link"), &status) == 0 && S_ISLNK(status.st_mode));
    REQUIRE(mkdir(temp_path("folder"), 0700) == 0);
    HOLDS(listen_at(temp_path("folder"), PROA_LISTEN_REPLACE) == -EADDRINUSE);
    HOLDS(stat(temp_path("folder"), &status) == 0);
}

static void test_fresh(void)
{
    int64_t fd;

    test_case("no file yet");
    fd = listen_at(temp_path("fresh"), PROA_LISTEN_REPLACE);
    if (HOLDS(fd >= 0))
        close_now(loop, proa_fd_of((int)fd));
}

/* A stale listener whose backlog is full answers EAGAIN, not ECONNREFUSED: it lives. */
static void test_busy(void)
{
    const char *path = temp_path("busy");
    char text[PROA_ADDRESS_TEXT_MAX];
    proa_address address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), filler;

    test_case("a file whose listener is busy");
    snprintf(text, sizeof(text), "unix:%s", path);
    REQUIRE(proa_address_parse(text, &address) == 0);
    REQUIRE(bind(fd, &address.as.any, address.size) == 0 && listen(fd, 0) == 0);
    filler = far_connect(&address);
    HOLDS(listen_at(path, PROA_LISTEN_REPLACE) == -EADDRINUSE);
    HOLDS(access(path, F_OK) == 0);
    close_plain(filler);
    close_plain(fd);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "t_socket_files");
    loop = loop_open();
    test_stale();
    test_in_use();
    test_not_a_socket();
    test_fresh();
    test_busy();
    proa_loop_close(loop);
    return check_done("t_socket_files");
}

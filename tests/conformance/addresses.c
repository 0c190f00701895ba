/* Addresses as text: what is taken, what is refused, and that the same comes back. */
#include "harness.h"

#include <arpa/inet.h>

static const struct {
    const char *text;
    const char *formatted; /* null: the same */
    int family;
} good[] = {
    {"127.0.0.1:80", NULL, AF_INET},
    {"0.0.0.0:0", NULL, AF_INET},
    {"255.255.255.255:65535", NULL, AF_INET},
    {"[::1]:80", NULL, AF_INET6},
    {"[::]:0", NULL, AF_INET6},
    {"[2001:db8::ff00:42:8329]:443", NULL, AF_INET6},
    {"[2001:DB8:0:0:0:0:0:1]:443", "[2001:db8::1]:443", AF_INET6},
    {"[::ffff:192.0.2.1]:80", NULL, AF_INET6},
    {"[1111:2222:3333:4444:5555:6666:7777:8888]:65535", NULL, AF_INET6},
    {"*:80", NULL, AF_INET6},
    {"*:0", NULL, AF_INET6},
    {"unix:/run/proa.sock", NULL, AF_UNIX},
    {"unix:relative", NULL, AF_UNIX},
    {"unix:/with:colon:80", NULL, AF_UNIX},
    {"unix: ", NULL, AF_UNIX},
};

static const char *const bad[] = {
    "",
    ":",
    ":80",
    "80",
    "127.0.0.1",
    "127.0.0.1:",
    "127.0.0.1:65536",
    "127.0.0.1:99999",
    "127.0.0.1:-1",
    "127.0.0.1:+1",
    "127.0.0.1: 80",
    "127.0.0.1:80 ",
    " 127.0.0.1:80",
    "127.0.0.1:8x",
    "127.0.0.1:0x50",
    "127.0.0:80",
    "127.0.0.256:80",
    "127.0.0.1.1:80",
    "localhost:80",
    "::1:80",
    "[::1]",
    "[::1]:",
    "[::1]80",
    "[::1:80",
    "::1]:80",
    "[]:80",
    "[::g]:80",
    "[127.0.0.1]:80",
    "[::1]:65536",
    "[::1%lo]:80",
    "**:80",
    "*",
    "*:",
    "[*]:80",
    "unix:",
    "UNIX:/x",
    "127.0.0.1:4294967376",
    "127.0.0.1:18446744073709551696",
    "1:2:3:80",
    "[1111:2222:3333:4444:5555:6666:7777:8888:9999]:80",
    "[0000000000000000000000000000000000000000000000000000000000000000000001]:80",
    "127.0.0.00000000000000000000000000000000000000000000000000000000000000000001:80",
};

static void test_good(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        char text[PROA_ADDRESS_TEXT_MAX];
        proa_address address, again;

        test_case("\"%s\"", good[i].text);
        memset(&address, 0xa5, sizeof(address));
        if (!HOLDS(proa_address_parse(good[i].text, &address) == 0))
            continue;
        HOLDS(address.as.any.sa_family == good[i].family);
        HOLDS(proa_address_format(&address, text, sizeof(text)) == text);
        if (!HOLDS(strcmp(text, good[i].formatted ? good[i].formatted : good[i].text) == 0))
            fprintf(stderr, "    formatted: \"%s\"\n", text);
        HOLDS(proa_address_parse(text, &again) == 0);
        HOLDS(again.size == address.size && memcmp(&again.as, &address.as, address.size) == 0);
    }
}

static void test_bad(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        proa_address address;

        test_case("\"%s\"", bad[i]);
        HOLDS(proa_address_parse(bad[i], &address) == -EINVAL);
    }
}

/* unix(7): sun_path has 108 bytes; with the final zero byte 107 are left for the path. */
static void test_path_lengths(void)
{
    for (size_t length = 100; length < 120; length++) {
        char text[256] = "unix:", formatted[PROA_ADDRESS_TEXT_MAX];
        proa_address address;

        test_case("a path of %zu bytes", length);
        memset(text + 5, 'p', length);
        HOLDS(proa_address_parse(text, &address) == (length <= 107 ? 0 : -EINVAL));
        if (length <= 107)
            HOLDS(strcmp(proa_address_format(&address, formatted, sizeof(formatted)), text) == 0);
    }
}

/* Cut at the size given, always ended, never past it. */
static void test_cut(void)
{
    proa_address address;
    char text[64];

    test_case("cut text");
    REQUIRE(proa_address_parse("[2001:db8::1]:443", &address) == 0);
    for (size_t size = 1; size < 30; size++) {
        memset(text, 0x7f, sizeof(text));
        proa_address_format(&address, text, size);
        HOLDS(strlen(text) == (size - 1 < 17 ? size - 1 : 17));
        HOLDS(strncmp(text, "[2001:db8::1]:443", size - 1) == 0);
        HOLDS(text[size] == 0x7f);
    }
}

static proa_fd listen_text(proa_loop *loop, const char *text, int64_t *ret_value)
{
    proa_address address;
    struct slot slot = {0};

    REQUIRE(proa_address_parse(text, &address) == 0);
    proa_listen(loop, &slot.op, &address, 16, 0, slot_done);
    RUN_UNTIL(loop, slot.finals);
    *ret_value = slot.value;
    return proa_fd_of((int)slot.value);
}

static bool reaches(const char *host, uint16_t port)
{
    char text[PROA_ADDRESS_TEXT_MAX];
    proa_address address;
    bool connected;
    int fd;

    snprintf(text, sizeof(text), "%s:%u", host, port);
    REQUIRE(proa_address_parse(text, &address) == 0);
    fd = socket(address.as.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    connected = fd >= 0 && connect(fd, &address.as.any, address.size) == 0;
    if (fd >= 0)
        close_plain(fd);
    return connected;
}

/* "*" takes both families, "[::]" IPv6 alone, "0.0.0.0" IPv4 alone; the listener's address tells its port. */
static void test_families(proa_loop *loop)
{
    static const struct {
        const char *text;
        bool ip4, ip6;
    } rows[] = {{"*:0", true, true}, {"[::]:0", false, true}, {"0.0.0.0:0", true, false}, {"[::1]:0", false, true}};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        proa_address bound;
        int64_t value;
        proa_fd listener = listen_text(loop, rows[i].text, &value);
        uint16_t port;

        test_case("listening at %s", rows[i].text);
        if (rows[i].ip6 && value == -EAFNOSUPPORT) {
            printf("note: no IPv6 here\n");
            continue;
        }
        if (!HOLDS(value >= 0))
            continue;
        HOLDS(proa_local_address(NULL, listener, &bound) == 0);
        port = ntohs(bound.as.ip4.sin_port);
        HOLDS(port != 0);
        HOLDS(reaches("127.0.0.1", port) == rows[i].ip4);
        HOLDS(reaches("[::1]", port) == rows[i].ip6);
        close_now(loop, listener);
    }
}

static void test_ends(proa_loop *loop, enum family family)
{
    proa_address local = {0}, peer = {0};
    char text[PROA_ADDRESS_TEXT_MAX];
    int file = temp_file("plain", "x", 1);
    proa_fd near, far;

    test_case("the ends of a connection, %s", family == TCP ? "TCP" : "Unix");
    pair_open_inside(loop, family, &near, &far);
    HOLDS(proa_local_address(NULL, near, &local) == 0 && proa_peer_address(NULL, far, &peer) == 0);
    HOLDS(local.size == peer.size && memcmp(&local.as, &peer.as, local.size) == 0);
    HOLDS(proa_peer_address(NULL, near, &peer) == 0);
    proa_address_format(&peer, text, sizeof(text));
    HOLDS(strncmp(text, family == TCP ? "127.0.0.1:" : "unix:", family == TCP ? 10 : 5) == 0);
    if (family == UNIX)
        HOLDS(strcmp(text, "unix:") == 0); /* a client without a path of its own */
    close_now(loop, near);
    close_now(loop, far);
    HOLDS(proa_local_address(NULL, proa_fd_of(-1), &local) == -EBADF);
    HOLDS(proa_peer_address(NULL, proa_fd_of(file), &peer) == -ENOTSOCK);
    close_plain(file);
}

/* What listen sets: the options as the manual page says, inherited by what is accepted. */
static void test_options(proa_loop *loop)
{
    int value;
    socklen_t size = sizeof(value);
    proa_address bound;
    proa_fd listener, near;
    int far;

    test_case("options of listeners and connections");
    listener = listen_on(loop, TCP, 16, &bound);
    HOLDS(getsockopt(listener.handle, SOL_SOCKET, SO_REUSEADDR, &value, &size) == 0 && value);
    HOLDS(fcntl(listener.handle, F_GETFD) == FD_CLOEXEC);
    close_now(loop, listener);
    pair_open(loop, TCP, &near, &far);
    HOLDS(getsockopt(near.handle, IPPROTO_TCP, 1 /* TCP_NODELAY */, &value, &size) == 0 && value);
    HOLDS(fcntl(near.handle, F_GETFD) == FD_CLOEXEC);
    close_now(loop, near);
    close_plain(far);
}

/* Two listeners share an address where both say so, and only there. */
static void test_shard(proa_loop *loop)
{
    struct slot slots[3] = {0};
    proa_address address = address_any(TCP);

    test_case("PROA_LISTEN_SHARD");
    proa_listen(loop, &slots[0].op, &address, 16, PROA_LISTEN_SHARD, slot_done);
    RUN_UNTIL(loop, slots[0].finals);
    REQUIRE(slots[0].value >= 0);
    REQUIRE(proa_local_address(NULL, proa_result_fd((proa_result){.value = slots[0].value}), &address) == 0);
    proa_listen(loop, &slots[1].op, &address, 16, PROA_LISTEN_SHARD, slot_done);
    RUN_UNTIL(loop, slots[1].finals);
    HOLDS(slots[1].value >= 0);
    proa_listen(loop, &slots[2].op, &address, 16, 0, slot_done);
    RUN_UNTIL(loop, slots[2].finals);
    HOLDS(slots[2].value == -EADDRINUSE);
    close_now(loop, proa_fd_of((int)slots[0].value));
    close_now(loop, proa_fd_of((int)slots[1].value));
}

int main(int argc, char **argv)
{
    proa_loop *loop;

    test_begin(argc, argv, "addresses");
    if (test_has(PROA_FEATURE_DIRECT))
        return check_skip("addresses", "it works on sockets by their numbers");
    test_good();
    test_bad();
    test_path_lengths();
    test_cut();
    loop = loop_open();
    test_families(loop);
    test_ends(loop, TCP);
    test_ends(loop, UNIX);
    test_options(loop);
    test_shard(loop);
    proa_loop_close(loop);
    return check_done("addresses");
}

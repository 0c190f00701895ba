/* proa_connect_name(): which address is tried when (RFC 8305). On a simulated machine the times are exact. */
#include <proa/name.h>
#include <stdio.h>

#include "name_server.h"

static proa_loop *loop;

struct call {
    proa_name_connect connect; /* first: the callback is given its op */
    unsigned finals;
    int64_t value;
    uint64_t began_ns, took_ns;
};

static void on_connected(proa_op *op, proa_result result)
{
    struct call *call = proa_owner(op, struct call, connect.op);

    call->finals++;
    call->value = result.value;
    call->took_ns = proa_now(op->loop) - call->began_ns;
}

static void call_begin(struct call *call, proa_resolver *resolver, const char *host, unsigned port)
{
    char name[64];

    snprintf(name, sizeof(name), "%s:%u", host, port);
    memset(call, 0, sizeof(*call));
    call->began_ns = proa_now_refresh(loop);
    proa_connect_name(resolver, &call->connect, name, on_connected);
}

static void call_up(struct call *call, proa_resolver *resolver, const char *host, unsigned port)
{
    call_begin(call, resolver, host, port);
    RUN_UNTIL(loop, call->finals);
}

/* It took at least so long; and on a machine, where nothing else takes time, not longer. */
static void expect_time(const struct call *call, uint64_t least_ns)
{
    if (!HOLDS(call->took_ns >= least_ns && (!test_simulated() || call->took_ns < least_ns + MS)))
        fprintf(stderr, "    took %.3f ms, expected %.3f\n", (double)call->took_ns / (double)MS,
                (double)least_ns / (double)MS);
}

static void expect_peer(struct call *call, const char *host)
{
    char text[PROA_ADDRESS_TEXT_MAX];
    proa_address peer;

    proa_address_format(&call->connect.peer, text, sizeof(text));
    if (!HOLDS(call->value >= 0 && strncmp(text, host, strlen(host)) == 0)) {
        fprintf(stderr, "    %lld: %s, expected %s\n", (long long)call->value, text, host);
        return;
    }
    REQUIRE(proa_peer_address(loop, proa_fd_of((int)call->value), &peer) == 0);
    HOLDS(memcmp(&peer.as, &call->connect.peer.as, peer.size) == 0);
    close_now(loop, proa_fd_of((int)call->value));
}

/* The places to connect to: 127.0.0.1 and ::1 take connections, 127.0.0.2 and, on the other port, 127.0.0.1 refuse them.
 * At ::1 on the silent port, and 127.0.0.3 there, nobody answers: the queue is full. On a machine, which has such addresses,
 * 127.0.0.4 is silent, too, and fd00::3 is open. */
static unsigned open_port, silent_port;
static proa_fd listeners[4];
static int silent[3], fillers[3];
static size_t listener_count, silent_count;

static int full_at(const char *host, unsigned port, int *ret_filler)
{
    proa_address address;
    char text[64];
    int fd;

    snprintf(text, sizeof(text), "%s:%u", host, port);
    REQUIRE(proa_address_parse(text, &address) == 0);
    fd = socket(address.as.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, &address.as.any, address.size) < 0 || listen(fd, 0) < 0)
        exit(check_skip("name_connects", "there is no IPv6, or somebody else has the port"));
    *ret_filler = far_connect(&address);
    return fd;
}

static proa_fd listen_at(const char *host, unsigned *port)
{
    struct slot slot = {0};
    proa_address address;
    char text[64];

    snprintf(text, sizeof(text), "%s:%u", host, *port);
    REQUIRE(proa_address_parse(text, &address) == 0);
    proa_listen(loop, &slot.op, &address, 64, 0, slot_done);
    RUN_UNTIL(loop, slot.finals);
    if (slot.value < 0)
        exit(check_skip("name_connects", "there is no IPv6, or somebody else has the port"));
    REQUIRE(proa_local_address(loop, proa_fd_of((int)slot.value), &address) == 0);
    *port = ntohs(address.as.ip4.sin_port);
    return proa_fd_of((int)slot.value);
}

static void be_silent_at(const char *host)
{
    silent[silent_count] = full_at(host, silent_port, &fillers[silent_count]);
    silent_count++;
}

static void stage_open(void)
{
    open_port = silent_port = 0;
    listener_count = silent_count = 0;
    listeners[listener_count++] = listen_at("127.0.0.1", &open_port);
    listeners[listener_count++] = listen_at("[::1]", &open_port);
    listeners[listener_count++] = listen_at("127.0.0.1", &silent_port);
    be_silent_at("[::1]");
    be_silent_at("127.0.0.3");
    if (test_simulated()) {
        listeners[listener_count++] = listen_at("[fd00::3]", &silent_port);
        be_silent_at("127.0.0.4");
    }
}

static void stage_close(void)
{
    while (listener_count > 0)
        close_now(loop, listeners[--listener_count]);
    while (silent_count > 0) {
        close_plain(silent[--silent_count]);
        close_plain(fillers[silent_count]);
    }
}

static struct known_name names[] = {
    {.name = "both.example", .ip6 = "::1", .ip4 = "127.0.0.1"},
    {.name = "late6.example", .ip6 = "::1", .ip4 = "127.0.0.1", .delay_ns = {30 * MS, 0}},
    {.name = "later6.example", .ip6 = "::1", .ip4 = "127.0.0.1", .delay_ns = {120 * MS, 0}},
    {.name = "late4.example", .ip6 = "::1", .ip4 = "127.0.0.1", .delay_ns = {0, 120 * MS}},
    {.name = "latest4.example", .ip6 = "::1", .ip4 = "127.0.0.1", .delay_ns = {0, 400 * MS}},
    {.name = "only4.example", .ip4 = "127.0.0.1"},
    {.name = "lateno6.example", .ip4 = "127.0.0.1", .delay_ns = {20 * MS, 0}},
    {.name = "only6.example", .ip6 = "::1"},
    {.name = "refused.example", .ip4 = "127.0.0.2 127.0.0.4"},
    {.name = "third.example", .ip4 = "127.0.0.2 127.0.0.4 127.0.0.1"},
    {.name = "silent.example", .ip6 = "::1", .ip4 = "127.0.0.3"},
    {.name = "turns.example", .ip6 = "::1", .ip4 = "127.0.0.3 127.0.0.1"},
    {.name = "mixed.example", .ip6 = "fd00::3", .ip4 = "127.0.0.3 127.0.0.4", .delay_ns = {20 * MS, 0}},
    {.name = "never.example", .rcode = RCODE_NXDOMAIN},
    {.name = "mute.example", .drops = {UINT32_MAX, UINT32_MAX}},
    {.name = "mute6.example", .ip4 = "127.0.0.1", .drops = {UINT32_MAX, 0}},
};

/* What races is exact on a machine alone: elsewhere the loop may be late, and either peer is right. */
enum where { EVERYWHERE, RACES, SIMULATED };

/* A connection by name: when it is there, and to whom. */
struct row {
    const char *what, *host;
    const unsigned *port;
    uint64_t least_ns;
    const char *peer;
    enum where where;
};

static const struct row choices[] = {
    {"both answer: IPv6 is first", "both.example", &open_port, 0, "[::1]:", EVERYWHERE},
    {"IPv4 alone", "only4.example", &open_port, 0, "127.0.0.1:", EVERYWHERE},
    {"IPv6 alone", "only6.example", &open_port, 0, "[::1]:", EVERYWHERE},
    {"an address needs no name server", "127.0.0.1", &open_port, 0, "127.0.0.1:", EVERYWHERE},
};

/* Section 3 */
static const struct row answers[] = {
    {"IPv6 is waited for 50 ms: it comes", "late6.example", &open_port, 30 * MS, "[::1]:", RACES},
    {"IPv6 is waited for 50 ms: it does not come", "later6.example", &open_port, 50 * MS, "127.0.0.1:", RACES},
    {"IPv6 is waited for 50 ms: it never comes", "mute6.example", &open_port, 50 * MS, "127.0.0.1:", EVERYWHERE},
    {"IPv6 is waited for 50 ms: there is none", "lateno6.example", &open_port, 20 * MS, "127.0.0.1:", EVERYWHERE},
    {"IPv4 is not waited for", "late4.example", &open_port, 0, "[::1]:", EVERYWHERE},
};

/* Sections 4 and 5. What is for machines alone would take long where time is real. */
static const struct row attempts[] = {
    {"IPv6 is silent: IPv4 has its turn after 250 ms", "both.example", &silent_port, 250 * MS,
     "127.0.0.1:", EVERYWHERE},
    {"addresses that are refused are passed over at once", "third.example", &open_port, 0, "127.0.0.1:", EVERYWHERE},
    {"two are silent: the third has its turn after 500 ms", "turns.example", &silent_port, 500 * MS,
     "127.0.0.1:", SIMULATED},
    {"families take turns, whatever is next by itself", "mixed.example", &silent_port, (20 + 250) * MS,
     "[fd00::3]:", SIMULATED},
    {"the first is silent: an answer that comes after its time is used at once", "latest4.example", &silent_port,
     400 * MS, "127.0.0.1:", SIMULATED},
    {"the first is silent: an answer that comes before waits for it", "late4.example", &silent_port, 250 * MS,
     "127.0.0.1:", SIMULATED},
};

static void test_rows(proa_resolver *resolver, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct call call;

        if (rows[i].where == SIMULATED && !test_simulated())
            continue;
        test_case("%s", rows[i].what);
        call_up(&call, resolver, rows[i].host, *rows[i].port);
        expect_time(&call, rows[i].least_ns);
        expect_peer(&call, rows[i].where == RACES && !test_simulated() ? "" : rows[i].peer);
    }
}

static void expect_error(const struct call *call, int error, const char *reason)
{
    if (!HOLDS(call->value == -error && strcmp(call->connect.reason, reason) == 0))
        fprintf(stderr, "    %lld: '%s', expected %d: '%s'\n", (long long)call->value, call->connect.reason, -error,
                reason);
}

static void test_errors(proa_resolver *resolver)
{
    struct call call;

    test_case("all are refused");
    call_up(&call, resolver, "refused.example", open_port);
    expect_error(&call, ECONNREFUSED, "none of its addresses could be connected to");
    test_case("no such name");
    call_up(&call, resolver, "never.example", open_port);
    expect_error(&call, ENOENT, "there is no such name");
    test_case("no name");
    call_up(&call, resolver, "a:b", open_port);
    expect_error(&call, EINVAL, "expected a name and a port, as example.org:80");
}

static void test_ends(proa_resolver *resolver)
{
    struct call calls[2];

    test_case("a cancel, while looking up and while connecting");
    call_begin(&calls[0], resolver, "mute.example", open_port);
    call_begin(&calls[1], resolver, "silent.example", silent_port);
    loop_run_for(loop, 5 * MS);
    proa_cancel(&calls[0].connect.op);
    proa_cancel(&calls[1].connect.op);
    for (size_t i = 0; i < 2; i++) {
        RUN_UNTIL(loop, calls[i].finals);
        HOLDS(calls[i].value == -ECANCELED);
    }
    test_case("a deadline, while looking up and while connecting");
    call_begin(&calls[0], resolver, "mute.example", open_port);
    call_begin(&calls[1], resolver, "silent.example", silent_port);
    for (size_t i = 0; i < 2; i++)
        proa_set_deadline(&calls[i].connect.op, proa_now(loop) + (test_simulated() ? 300 * MS : 5 * MS));
    for (size_t i = 0; i < 2; i++) {
        RUN_UNTIL(loop, calls[i].finals);
        HOLDS(calls[i].value == -ETIMEDOUT);
    }
}

/* Cut off after any number of turns: by a cancel, by the resolver's close. */
static void test_cuts(const struct name_server *server)
{
    proa_resolver_options options = {.servers = name_server_text(server), .search = "", .hosts_path = ""};
    struct call calls[3];
    proa_resolver *resolver;

    for (int turns = 0; turns < 24; turns++) {
        test_case("cut off after %d turns", turns);
        REQUIRE(proa_resolver_open(loop, &options, &resolver) == 0);
        call_begin(&calls[0], resolver, "both.example", open_port);
        call_begin(&calls[1], resolver, "both.example", open_port);
        call_begin(&calls[2], resolver, "silent.example", silent_port);
        for (int i = 0; i < turns; i++)
            proa_loop_run(loop, PROA_NO_WAIT);
        proa_cancel(&calls[0].connect.op);
        proa_resolver_close(resolver);
        for (size_t i = 0; i < 3; i++) {
            RUN_UNTIL(loop, calls[i].finals);
            HOLDS(calls[i].value == -ECANCELED || (i < 2 && calls[i].value >= 0));
            if (calls[i].value >= 0)
                close_now(loop, proa_fd_of((int)calls[i].value));
        }
    }
}

static void test_all(void)
{
    proa_resolver_options options = {.search = "", .hosts_path = ""};
    struct name_server *server;
    proa_resolver *resolver;

    loop = loop_open();
    stage_open();
    server = name_server_open(loop, names, ARRAY_SIZE(names));
    options.servers = name_server_text(server);
    REQUIRE(proa_resolver_open(loop, &options, &resolver) == 0);
    test_rows(resolver, choices, ARRAY_SIZE(choices));
    test_rows(resolver, answers, ARRAY_SIZE(answers));
    test_rows(resolver, attempts, ARRAY_SIZE(attempts));
    test_errors(resolver);
    test_ends(resolver);
    proa_resolver_close(resolver);
    test_cuts(server);
    stage_close();
    name_server_close(server);
    proa_loop_close(loop);
}

/* With everything in flight. */
static void test_loop_close(void)
{
    proa_resolver_options options = {.search = "", .hosts_path = ""};
    struct name_server *server;
    proa_resolver *resolver;
    struct call calls[2];

    test_case("the loop is closed");
    loop = loop_open();
    stage_open();
    server = name_server_open(loop, names, ARRAY_SIZE(names));
    options.servers = name_server_text(server);
    REQUIRE(proa_resolver_open(loop, &options, &resolver) == 0);
    call_begin(&calls[0], resolver, "silent.example", silent_port);
    call_begin(&calls[1], resolver, "mute.example", silent_port);
    loop_run_for(loop, 5 * MS);
    stage_close();
    proa_loop_close(loop);
    HOLDS(calls[0].finals == 1 && calls[0].value == -ECANCELED);
    HOLDS(calls[1].finals == 1 && calls[1].value == -ECANCELED);
    proa_resolver_close(resolver);
    name_server_abandon(server);
}

int main(int argc, char **argv)
{
    int64_t blocks = 0;
    int fds = 0;

    test_begin(argc, argv, "name_connects");
    test_all();
    for (int i = 0; i < 3; i++) {
        test_loop_close();
        if (i == 0) {
            fds = fd_count();
            blocks = heap_live();
        }
    }
    test_case("nothing is left over");
    HOLDS(fd_count() == fds && heap_is_back_at(blocks));
    return check_done("name_connects");
}

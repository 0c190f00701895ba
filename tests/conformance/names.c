/* proa_resolve(): what is asked, what comes back, and that nobody waits for it but who asked. The name server is on the
 * same loop: were the loop ever blocked by a question, no answer would come. */
#include <proa/name.h>
#include <stdio.h>

#include "name_server.h"

/* A try has so much time; but there are so many that a slow test is not out of time. */
enum { TIMEOUT_MS = 10, TRIES = 10, FEW_TRIES = 3 };

static proa_loop *loop;

/* A lookup with all that became of it. */
struct look {
    proa_lookup lookup; /* first: the callback is given its op */
    unsigned finals;
    int64_t value;
    struct look *cancels;
    proa_resolver *closes;
};

static void on_resolved(proa_op *op, proa_result result)
{
    struct look *look = proa_owner(op, struct look, lookup.op);

    look->finals++;
    look->value = result.value;
    if (test_in_call)
        test_reentered++;
    if (look->cancels)
        proa_cancel(&look->cancels->lookup.op);
    if (look->closes)
        proa_resolver_close(look->closes);
}

static void look_begin(struct look *look, proa_resolver *resolver, const char *name)
{
    memset(look, 0, sizeof(*look));
    CALL(proa_resolve(resolver, &look->lookup, name, on_resolved));
}

static int64_t look_up(proa_resolver *resolver, const char *name, struct look *look)
{
    look_begin(look, resolver, name);
    RUN_UNTIL(loop, look->finals);
    return look->value;
}

static proa_resolver *resolver_with_tries(const char *servers, const char *hosts, uint32_t tries)
{
    proa_resolver_options options = {
        .servers = servers, .search = "", .hosts_path = hosts, .timeout_ms = TIMEOUT_MS, .tries = tries};
    proa_resolver *resolver;

    REQUIRE(proa_resolver_open(loop, &options, &resolver) == 0);
    return resolver;
}

static proa_resolver *resolver_with(const char *servers, const char *hosts)
{
    return resolver_with_tries(servers, hosts, TRIES);
}

/* Where time is real a slow test may have asked again. */
static bool asked(unsigned times, unsigned expected)
{
    return test_simulated() ? times == expected : times >= expected;
}

/* As a list with spaces, in order. */
static const char *text_of(const struct look *look)
{
    static char text[PROA_ADDRESSES_MAX * 64];
    char one[PROA_ADDRESS_TEXT_MAX];

    text[0] = '\0';
    for (int64_t i = 0; i < look->value; i++) {
        strcat(text, i ? " " : "");
        strcat(text, proa_address_format(&look->lookup.addresses[i], one, sizeof(one)));
    }
    return text;
}

static void expect(const struct look *look, const char *addresses)
{
    if (!HOLDS(strcmp(text_of(look), addresses) == 0))
        fprintf(stderr, "    %lld: '%s', expected '%s'\n", (long long)look->value, text_of(look), addresses);
}

static void expect_error(const struct look *look, int error, const char *reason)
{
    if (!HOLDS(look->value == -error && strcmp(look->lookup.reason, reason) == 0))
        fprintf(stderr, "    %lld: '%s', expected %d: '%s'\n", (long long)look->value, look->lookup.reason, -error,
                reason);
}

/* Nobody is asked */

static void test_addresses(void)
{
    static const char *const same[] = {"127.0.0.1:80", "[::1]:443", "unix:/tmp/socket"};
    static const char *const refused[] = {"",           "name",   "name:", ":80", "name:http",
                                          "name:65536", "a:b:80", "[::1]", "*:80"};
    proa_resolver *resolver = resolver_with("127.0.0.1:1", "");
    struct look look;

    for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
        test_case("an address is its own answer: %s", same[i]);
        look_up(resolver, same[i], &look);
        expect(&look, same[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        test_case("no name with a port: '%s'", refused[i]);
        look_up(resolver, refused[i], &look);
        expect_error(&look, EINVAL, "expected a name and a port, as example.org:80");
    }
    test_case("this host knows itself");
    look_up(resolver, "localhost:80", &look);
    HOLDS(look.value == 2);
    HOLDS(strstr(text_of(&look), "[::1]:80") && strstr(text_of(&look), "127.0.0.1:80"));
    look_up(resolver, "a.LocalHost.:80", &look);
    HOLDS(look.value == 2);
    proa_resolver_close(resolver);
}

static void test_hosts(void)
{
    static const char text[] = "# comment\n127.0.0.2 two TWO.example # not this\n\n::1 both\n127.0.0.3\tboth\n"
                               "junk bad\n127.0.0.4 two\n";
    const char *path = temp_path("hosts");
    proa_resolver *resolver;
    struct look look;

    test_case("the hosts file is asked first");
    close_plain(temp_file("hosts", text, sizeof(text) - 1));
    resolver = resolver_with("127.0.0.1:1", path);
    look_up(resolver, "two:1", &look);
    expect(&look, "127.0.0.2:1 127.0.0.4:1");
    look_up(resolver, "two.Example:1", &look);
    expect(&look, "127.0.0.2:1");
    look_up(resolver, "both:1", &look);
    HOLDS(look.value == 2);
    look_up(resolver, "127.0.0.2:1", &look);
    expect(&look, "127.0.0.2:1");
    look_up(resolver, "bad:1", &look);
    HOLDS(look.value < 0);

    /* It is looked at once a second: long for a test, but not on a clock that jumps. */
    REQUIRE(unlink(path) == 0);
    if (!test_simulated()) {
        proa_resolver_close(resolver);
        return;
    }
    test_case("a new hosts file is noticed");
    close_plain(temp_file("hosts", "127.0.0.9 bad two\n", 18));
    loop_run_for(loop, 1001 * MS);
    look_up(resolver, "bad:1", &look);
    expect(&look, "127.0.0.9:1");
    look_up(resolver, "two:1", &look);
    expect(&look, "127.0.0.9:1");

    test_case("one that is gone knows nothing");
    REQUIRE(unlink(path) == 0);
    loop_run_for(loop, 1001 * MS);
    look_up(resolver, "two:1", &look);
    HOLDS(look.value < 0);
    proa_resolver_close(resolver);
}

/* One server */

static const char many[] = "127.1.0.1 127.1.0.2 127.1.0.3 127.1.0.4 127.1.0.5 127.1.0.6 127.1.0.7 127.1.0.8 127.1.0.9";

static struct known_name names[] = {
    {.name = "four.example", .ip4 = "127.0.0.2 127.0.0.3"},
    {.name = "six.example", .ip6 = "::1"},
    {.name = "both.example", .ip6 = "::1", .ip4 = "127.0.0.1"},
    {.name = "many.example", .ip4 = many},
    {.name = "empty.example"},
    {.name = "never.example", .rcode = RCODE_NXDOMAIN},
    {.name = "failing.example", .rcode = RCODE_SERVFAIL},
    {.name = "refusing.example", .rcode = RCODE_REFUSED},
    {.name = "silent.example", .drops = {UINT32_MAX, UINT32_MAX}},
    {.name = "unlucky.example", .ip4 = "127.0.0.4", .drops = {2, 2}},
    {.name = "slow.example", .ip4 = "127.0.0.5", .delay_ns = {0, 2 * TIMEOUT_MS *MS}},
    {.name = "long.example", .ip4 = "127.0.0.6", .is_truncated = true},
    {.name = ".storm.example", .ip6 = "::1", .ip4 = "127.0.0.7"},
    {.name = "short.search.example", .ip4 = "127.0.0.8"},
};

static struct known_name *known(const char *name)
{
    size_t i = 0;

    while (strcmp(names[i].name, name) != 0)
        i++;
    return &names[i];
}

static void test_answers(struct name_server *server)
{
    proa_resolver *resolver = resolver_with(name_server_text(server), "");
    struct look look;

    test_case("addresses, with the port");
    look_up(resolver, "four.example:80", &look);
    expect(&look, "127.0.0.2:80 127.0.0.3:80");
    look_up(resolver, "six.example:65535", &look);
    expect(&look, "[::1]:65535");
    test_case("of both families");
    HOLDS(look_up(resolver, "both.example:1", &look) == 2);
    HOLDS(strstr(text_of(&look), "[::1]:1") && strstr(text_of(&look), "127.0.0.1:1"));
    test_case("no more than there is room for");
    HOLDS(look_up(resolver, "many.example:1", &look) == PROA_ADDRESSES_MAX / 2);
    HOLDS(strncmp(text_of(&look), "127.1.0.1:1 127.1.0.2:1", 23) == 0);

    test_case("no such name");
    look_up(resolver, "unknown.example:1", &look);
    expect_error(&look, ENOENT, "there is no such name");
    look_up(resolver, "never.example:1", &look);
    expect_error(&look, ENOENT, "there is no such name");
    HOLDS(asked(known("never.example")->asked[0], 1) && asked(known("never.example")->asked[1], 1));
    test_case("a name without an address");
    look_up(resolver, "empty.example:1", &look);
    expect_error(&look, ENODATA, "the name has no address");
    test_case("a name that cannot be");
    look_up(resolver, "a..b:1", &look);
    expect_error(&look, EINVAL, "this can be no name of a host");
    test_case("a server that fails is asked again, one that refuses, too");
    look_up(resolver, "failing.example:1", &look);
    expect_error(&look, EREMOTEIO, "the name server could not find out");
    HOLDS(known("failing.example")->asked[0] > 1 && known("failing.example")->asked[0] <= TRIES);
    HOLDS(!test_simulated() || known("failing.example")->asked[0] == TRIES);
    look_up(resolver, "refusing.example:1", &look);
    expect_error(&look, EPERM, "the name server refuses to answer");
    proa_resolver_close(resolver);
}

static void test_time(struct name_server *server)
{
    proa_resolver *resolver = resolver_with_tries(name_server_text(server), "", FEW_TRIES);
    uint64_t began_ns = proa_now(loop), least_ns = (1 + 2 + 4) * TIMEOUT_MS * MS;
    struct slot ticks = {0};
    struct look look;

    test_case("a server that is silent: each try has twice the time, and the loop goes on");
    proa_timer_repeat(loop, &ticks.op, began_ns, MS, slot_done);
    look_up(resolver, "silent.example:1", &look);
    expect_error(&look, ETIMEDOUT, "no name server answers in time");
    HOLDS(proa_now(loop) - began_ns >= least_ns);
    HOLDS(known("silent.example")->asked[0] <= FEW_TRIES && known("silent.example")->asked[1] <= FEW_TRIES);
    HOLDS(ticks.mores >= FEW_TRIES);
    if (test_simulated()) {
        HOLDS(known("silent.example")->asked[0] == FEW_TRIES && known("silent.example")->asked[1] == FEW_TRIES);
        HOLDS(proa_now(loop) - began_ns < least_ns + MS && ticks.mores >= least_ns / MS);
    }
    proa_cancel(&ticks.op);
    RUN_UNTIL(loop, ticks.finals);
    proa_resolver_close(resolver);

    resolver = resolver_with(name_server_text(server), "");
    test_case("a question that is lost is asked again");
    look_up(resolver, "unlucky.example:1", &look);
    expect(&look, "127.0.0.4:1");
    HOLDS(asked(known("unlucky.example")->asked[1], 3));
    test_case("a late answer is an answer");
    look_up(resolver, "slow.example:1", &look);
    expect(&look, "127.0.0.5:1");
    proa_resolver_close(resolver);
}

static void test_tcp(struct name_server *server)
{
    proa_resolver *resolver = resolver_with(name_server_text(server), "");
    struct look look, others[8];

    test_case("an answer that was cut comes by TCP");
    look_up(resolver, "long.example:1", &look);
    expect(&look, "127.0.0.6:1");
    HOLDS(asked(known("long.example")->asked_by_tcp, 2));
    test_case("several at once");
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        look_begin(&others[i], resolver, "long.example:1");
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        RUN_UNTIL(loop, others[i].finals);
        expect(&others[i], "127.0.0.6:1");
    }
    proa_resolver_close(resolver);
}

/* Each with an end of its own: answered, cancelled, out of time. */
static void test_many(struct name_server *server)
{
    enum { COUNT = 1000, COUNT_SLOW = 200 };
    size_t count = test_slow() ? COUNT_SLOW : COUNT;
    struct look *looks = calloc(count, sizeof(*looks));
    proa_resolver_options options = {
        .servers = name_server_text(server), .search = "", .hosts_path = "", .timeout_ms = 2000, .tries = TRIES};
    proa_resolver *resolver;
    char name[64];

    REQUIRE(looks && proa_resolver_open(loop, &options, &resolver) == 0);
    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "n%zu.storm.example:%zu", i, i + 1);
        look_begin(&looks[i], resolver, name);
        if (i % 10 == 9)
            CALL(proa_cancel(&looks[i].lookup.op));
    }
    for (size_t i = 0; i < count; i++) {
        test_case("many at once: %zu", i);
        RUN_UNTIL(loop, looks[i].finals);
        if (i % 10 == 9)
            HOLDS(looks[i].value == -ECANCELED);
        else
            HOLDS(looks[i].value == 2 && ntohs(looks[i].lookup.addresses[1].as.ip4.sin_port) == i + 1);
    }
    proa_resolver_close(resolver);
    for (size_t i = 0; i < count; i++)
        HOLDS(looks[i].finals == 1);
    free(looks);
}

static void test_search(struct name_server *server)
{
    proa_resolver_options options = {
        .servers = name_server_text(server), .search = "other.example search.example", .hosts_path = ""};
    proa_resolver *resolver;
    struct look look;

    test_case("a short name is looked for in the domains to search");
    REQUIRE(proa_resolver_open(loop, &options, &resolver) == 0);
    look_up(resolver, "short:1", &look);
    expect(&look, "127.0.0.8:1");
    test_case("one with a dot at its end is not");
    look_up(resolver, "short.:1", &look);
    expect_error(&look, ENOENT, "there is no such name");
    proa_resolver_close(resolver);
}

/* Several servers */

static void test_servers(struct name_server *server)
{
    struct known_name bad[] = {{.name = ".example", .rcode = RCODE_SERVFAIL}},
                      dumb[] = {{.name = ".example", .drops = {UINT32_MAX, UINT32_MAX}}};
    struct name_server *failing = name_server_open(loop, bad, 1), *silent = name_server_open(loop, dumb, 1);
    char list[3 * PROA_ADDRESS_TEXT_MAX];
    proa_resolver *resolver;
    struct look look;

    test_case("where one is not there, one fails and one is silent, the last is asked");
    snprintf(list, sizeof(list), "127.0.0.1:1,%s,%s,%s", name_server_text(failing), name_server_text(silent),
             name_server_text(server));
    resolver = resolver_with(list, "");
    look_up(resolver, "four.example:1", &look);
    expect(&look, "127.0.0.2:1 127.0.0.3:1");
    HOLDS(asked(bad[0].asked[1], 1) && asked(dumb[0].asked[1], 1));
    proa_resolver_close(resolver);

    test_case("nobody is there");
    resolver = resolver_with("127.0.0.1:1", "");
    look_up(resolver, "four.example:1", &look);
    expect_error(&look, ECONNREFUSED, "no name server can be reached");
    proa_resolver_close(resolver);

    test_case("no list of servers");
    HOLDS(proa_resolver_open(loop, &(proa_resolver_options){.servers = "nonsense"}, &resolver) == -EINVAL);
    name_server_close(failing);
    name_server_close(silent);
}

/* Early ends */

static void test_ends(struct name_server *server)
{
    proa_resolver *resolver = resolver_with(name_server_text(server), "");
    struct look looks[3];

    test_case("a cancel takes no other along");
    look_begin(&looks[0], resolver, "silent.example:1");
    look_begin(&looks[1], resolver, "slow.example:1");
    look_begin(&looks[2], resolver, "slow.example:1");
    proa_loop_run(loop, PROA_NO_WAIT);
    CALL(proa_cancel(&looks[0].lookup.op));
    CALL(proa_cancel(&looks[2].lookup.op));
    for (size_t i = 0; i < 3; i++)
        RUN_UNTIL(loop, looks[i].finals);
    HOLDS(looks[0].value == -ECANCELED && looks[2].value == -ECANCELED);
    expect(&looks[1], "127.0.0.5:1");

    test_case("with the last one cancelled nothing is in flight but the server");
    look_begin(&looks[0], resolver, "silent.example:1");
    loop_run_for(loop, MS);
    proa_cancel(&looks[0].lookup.op);
    RUN_UNTIL(loop, looks[0].finals);
    while (proa_loop_run(loop, PROA_NO_WAIT) > 2)
        sleep_ms(1);

    test_case("a deadline");
    look_begin(&looks[0], resolver, "silent.example:1");
    proa_set_deadline(&looks[0].lookup.op, clock_ns() + 5 * MS);
    RUN_UNTIL(loop, looks[0].finals);
    HOLDS(looks[0].value == -ETIMEDOUT);

    test_case("one answer's callback cancels another, and closes the resolver");
    look_begin(&looks[0], resolver, "127.0.0.1:1");
    look_begin(&looks[1], resolver, "silent.example:1");
    look_begin(&looks[2], resolver, "silent.example:1");
    looks[0].cancels = &looks[1];
    looks[1].closes = resolver;
    for (size_t i = 0; i < 3; i++)
        RUN_UNTIL(loop, looks[i].finals);
    HOLDS(looks[0].value == 1 && looks[1].value == -ECANCELED);
    expect_error(&looks[2], ECANCELED, "the resolver was closed");
}

/* At any moment: what is left over shows in main(). */
static void test_closes(struct name_server *server)
{
    struct look looks[4];
    proa_resolver *resolver;

    for (int turns = 0; turns < 12; turns++) {
        test_case("the resolver is closed after %d turns", turns);
        resolver = resolver_with(name_server_text(server), temp_path("hosts"));
        look_begin(&looks[0], resolver, "both.example:1");
        look_begin(&looks[1], resolver, "long.example:1");
        look_begin(&looks[2], resolver, "silent.example:1");
        look_begin(&looks[3], resolver, "localhost:1");
        for (int i = 0; i < turns; i++)
            proa_loop_run(loop, PROA_NO_WAIT);
        CALL(proa_resolver_close(resolver));
        for (size_t i = 0; i < 4; i++) {
            RUN_UNTIL(loop, looks[i].finals);
            HOLDS(looks[i].finals == 1 && (looks[i].value == -ECANCELED || (i != 2 && looks[i].value > 0)));
        }
    }
}

/* Asks anew, while the loop closes. */
static struct look late;

static void on_ended(proa_op *op, proa_result result)
{
    struct look *look = proa_owner(op, struct look, lookup.op);

    look->value = result.value;
    memset(&late, 0, sizeof(late));
    if (look->finals++ == 0)
        proa_resolve(look->closes, &late.lookup, "silent.example:1", on_resolved);
}

static void test_loop_close(void)
{
    struct look looks[2], asks_anew;
    struct name_server *server;
    proa_resolver *resolver;

    for (int turns = 0; turns < 10; turns++) {
        test_case("the loop is closed after %d turns, the resolver thereafter", turns);
        loop = loop_open();
        server = name_server_open(loop, names, ARRAY_SIZE(names));
        resolver = resolver_with(name_server_text(server), temp_path("hosts"));
        look_begin(&looks[0], resolver, "both.example:1");
        look_begin(&looks[1], resolver, "long.example:1");
        asks_anew = (struct look){.closes = resolver};
        proa_resolve(resolver, &asks_anew.lookup, "silent.example:1", on_ended);
        for (int i = 0; i < turns; i++)
            proa_loop_run(loop, PROA_NO_WAIT);
        proa_loop_close(loop);
        HOLDS(looks[0].finals == 1 && looks[1].finals == 1 && asks_anew.value == -ECANCELED);
        HOLDS(late.finals == 1 && late.value == -ECANCELED);
        proa_resolver_close(resolver);
        name_server_abandon(server);
    }
}

static void test_all(void)
{
    struct name_server *server;

    loop = loop_open();
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        names[i].asked[0] = names[i].asked[1] = names[i].asked_by_tcp = 0;
    server = name_server_open(loop, names, ARRAY_SIZE(names));
    test_addresses();
    test_hosts();
    test_answers(server);
    test_time(server);
    test_tcp(server);
    test_many(server);
    test_search(server);
    test_servers(server);
    test_ends(server);
    test_closes(server);
    name_server_close(server);
    test_case("a loop is idle that has no question");
    HOLDS(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    proa_loop_close(loop);
    test_loop_close();
}

/* The first round leaves what libraries keep for good. */
int main(int argc, char **argv)
{
    int64_t blocks;
    int fds;

    test_begin(argc, argv, "names");
    test_all();
    fds = fd_count();
    blocks = heap_live();
    test_all();
    test_case("nothing is left over");
    if (!HOLDS(fd_count() == fds && heap_is_back_at(blocks)))
        fprintf(stderr, "    %d descriptors and %lld blocks, were %d and %lld\n", fd_count(), (long long)heap_live(),
                fds, (long long)blocks);
    HOLDS(test_reentered == 0);
    return check_done("names");
}

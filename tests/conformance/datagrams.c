/* Datagrams: whole and with their addresses, on every kind of socket; what does not fit, what is empty, what is refused,
 * and what the kernel adds on request. */
#include "kinds.h"

#include <netinet/udp.h>
#include <poll.h>

/* An odd size, so that buffers begin anywhere. */
enum { MANY = 100, ROOM = 257, BUFFER_SIZE = PROA_DATAGRAM_OVERHEAD + ROOM };

struct crossing {
    proa_loop *loop;
    proa_fd here, there;
    proa_address here_address, there_address;
};

static void crossing_open_with(struct crossing *crossing, const char *here, const char *there, unsigned flags)
{
    crossing->loop = loop_open();
    crossing->here = datagrams_on(crossing->loop, here, flags, &crossing->here_address);
    crossing->there = datagrams_on(crossing->loop, there, flags, &crossing->there_address);
}

static void crossing_open(struct crossing *crossing)
{
    crossing_open_with(crossing, "127.0.0.1:0", "127.0.0.1:0", 0);
}

static void crossing_close(struct crossing *crossing)
{
    close_now(crossing->loop, crossing->here);
    close_now(crossing->loop, crossing->there);
    proa_loop_close(crossing->loop);
}

static int64_t send_now(proa_loop *loop, proa_fd fd, proa_datagram *datagram)
{
    struct slot slot = {0};

    proa_send_to(loop, &slot.op, fd, datagram, slot_done);
    RUN_UNTIL(loop, slot.finals);
    return slot.value;
}

static int64_t recv_now(proa_loop *loop, proa_fd fd, void *data, size_t size, proa_datagram *ret_datagram)
{
    struct slot slot = {0};

    memset(ret_datagram, 0xa5, sizeof(*ret_datagram));
    proa_recv_from(loop, &slot.op, fd, data, size, ret_datagram, slot_done);
    RUN_UNTIL(loop, slot.finals);
    return slot.value;
}

static bool same_address(const proa_address *a, const proa_address *b)
{
    char text[2][PROA_ADDRESS_TEXT_MAX];

    return strcmp(proa_address_format(a, text[0], sizeof(text[0])), proa_address_format(b, text[1], sizeof(text[1]))) ==
           0;
}

static uint16_t port_of(const proa_address *address)
{
    return ntohs(address->as.ip4.sin_port); /* at the same place for both families */
}

/* Addresses */

/* There by address, and back by what was received. */
static void test_both_ways(const char *here, const char *there)
{
    struct crossing crossing;
    char data[64];
    proa_datagram question = {.data = "question", .size = 8}, received, answer;

    test_case("both ways, %s and %s", here, there);
    crossing_open_with(&crossing, here, there, 0);
    question.peer = crossing.there_address;
    HOLDS(send_now(crossing.loop, crossing.here, &question) == 8);
    HOLDS(recv_now(crossing.loop, crossing.there, data, sizeof(data), &received) == 8);
    HOLDS(received.data == data && received.size == 8 && received.whole_size == 8);
    HOLDS(memcmp(data, "question", 8) == 0);
    HOLDS(same_address(&received.peer, &crossing.here_address));
    HOLDS(received.local.size == 0 && received.segment_size == 0 && received.traffic_class == 0);
    HOLDS(send_now(crossing.loop, crossing.there, &received) == 8);
    HOLDS(recv_now(crossing.loop, crossing.here, data, sizeof(data), &answer) == 8);
    HOLDS(same_address(&answer.peer, &crossing.there_address));
    crossing_close(&crossing);
}

/* One socket for both families: IPv4 peers have mapped addresses, which lead back to them. */
static void test_dual_stack(const char *client)
{
    struct crossing crossing;
    char data[64], text[PROA_ADDRESS_TEXT_MAX];
    proa_datagram question = {.data = "question", .size = 8}, received;
    bool mapped = client[0] != '[';

    test_case("dual stack, %s", client);
    crossing_open_with(&crossing, client, "*:0", PROA_DATAGRAM_LOCAL | PROA_DATAGRAM_TRAFFIC_CLASS);
    question.peer = crossing.here_address;
    question.peer.as.ip4.sin_port = crossing.there_address.as.ip4.sin_port;
    question.traffic_class = 1;
    HOLDS(send_now(crossing.loop, crossing.here, &question) == 8);
    HOLDS(recv_now(crossing.loop, crossing.there, data, sizeof(data), &received) == 8);
    HOLDS(received.peer.as.any.sa_family == AF_INET6 && received.local.as.any.sa_family == AF_INET6);
    HOLDS(!!IN6_IS_ADDR_V4MAPPED(&received.peer.as.ip6.sin6_addr) == mapped);
    HOLDS(port_of(&received.peer) == port_of(&crossing.here_address));
    proa_address_format(&received.local, text, sizeof(text));
    HOLDS(strcmp(text, mapped ? "[::ffff:127.0.0.1]:0" : "[::1]:0") == 0);
    HOLDS(received.traffic_class == 1);
    received.traffic_class = 2;
    HOLDS(send_now(crossing.loop, crossing.there, &received) == 8);
    HOLDS(recv_now(crossing.loop, crossing.here, data, sizeof(data), &received) == 8);
    HOLDS(received.traffic_class == 2 && same_address(&received.peer, &question.peer));
    crossing_close(&crossing);
}

/* The address of several that a datagram came to is known, and the answer comes from there. */
static void test_local_address(void)
{
    struct crossing crossing;
    proa_datagram question = {.data = "x", .size = 1}, received;
    char data[16], text[PROA_ADDRESS_TEXT_MAX];

    test_case("the address it came to");
    crossing_open_with(&crossing, "127.0.0.1:0", "0.0.0.0:0", PROA_DATAGRAM_LOCAL);
    REQUIRE(proa_address_parse("127.0.0.2:0", &question.peer) == 0);
    question.peer.as.ip4.sin_port = crossing.there_address.as.ip4.sin_port;
    HOLDS(send_now(crossing.loop, crossing.here, &question) == 1);
    HOLDS(recv_now(crossing.loop, crossing.there, data, sizeof(data), &received) == 1);
    HOLDS(strcmp(proa_address_format(&received.local, text, sizeof(text)), "127.0.0.2:0") == 0);
    HOLDS(send_now(crossing.loop, crossing.there, &received) == 1);
    HOLDS(recv_now(crossing.loop, crossing.here, data, sizeof(data), &received) == 1);
    HOLDS(same_address(&received.peer, &question.peer));
    crossing_close(&crossing);
}

/* What cannot be opened leaves nothing open. */
static void test_open_errors(void)
{
    proa_loop *loop = loop_open();
    int before = fd_count();
    struct slot slot = {0};
    proa_address taken, elsewhere;
    proa_fd fd;

    test_case("what cannot be opened");
    proa_datagram_open(loop, &slot.op, NULL, NULL, 0, slot_done);
    RUN_UNTIL(loop, slot.finals == 1);
    HOLDS(slot.value == -EINVAL);
    fd = datagrams_on(loop, "127.0.0.1:0", 0, &taken);
    proa_datagram_open(loop, &slot.op, &taken, NULL, 0, slot_done);
    RUN_UNTIL(loop, slot.finals == 2);
    HOLDS(slot.value == -EADDRINUSE);
    REQUIRE(proa_address_parse("192.0.2.1:0", &elsewhere) == 0);
    proa_datagram_open(loop, &slot.op, &elsewhere, NULL, 0, slot_done);
    RUN_UNTIL(loop, slot.finals == 3);
    HOLDS(slot.value == -EADDRNOTAVAIL);
    elsewhere = address_any(UNIX);
    proa_datagram_open(loop, &slot.op, &elsewhere, NULL, PROA_DATAGRAM_LOCAL, slot_done);
    RUN_UNTIL(loop, slot.finals == 4);
    HOLDS(slot.value == -EOPNOTSUPP);
    close_now(loop, fd);
    HOLDS(fd_count() == before);
    proa_loop_close(loop);
}

static void test_shards(void)
{
    proa_loop *loop = loop_open();
    proa_address shared;
    char text[PROA_ADDRESS_TEXT_MAX];
    proa_fd first = datagrams_on(loop, "127.0.0.1:0", PROA_DATAGRAM_SHARD, &shared), second;

    test_case("two shards of one address");
    second = datagrams_on(loop, proa_address_format(&shared, text, sizeof(text)), PROA_DATAGRAM_SHARD, NULL);
    close_now(loop, first);
    close_now(loop, second);
    proa_loop_close(loop);
}

/* An echo in one link: what is to be sent is looked at when its turn comes. */
static void test_linked(void)
{
    struct crossing crossing;
    proa_datagram question = {.data = "question", .size = 8}, echo, answer;
    struct slot slots[2] = {0};
    char data[64], got[64];

    test_case("received and sent back in one link");
    crossing_open(&crossing);
    proa_link_begin(crossing.loop);
    proa_recv_from(crossing.loop, &slots[0].op, crossing.there, data, sizeof(data), &echo, slot_done);
    proa_send_to(crossing.loop, &slots[1].op, PROA_LINKED, &echo, slot_done);
    proa_link_end(crossing.loop);
    question.peer = crossing.there_address;
    HOLDS(send_now(crossing.loop, crossing.here, &question) == 8);
    HOLDS(recv_now(crossing.loop, crossing.here, got, sizeof(got), &answer) == 8);
    HOLDS(memcmp(got, "question", 8) == 0 && same_address(&answer.peer, &crossing.there_address));
    RUN_UNTIL(crossing.loop, slots[1].finals);
    HOLDS(slots[0].value == 8 && slots[1].value == 8);
    crossing_close(&crossing);
}

/* Size */

/* Cut to what there was room for, with the size it had; nothing of it comes later. */
static void test_cut(void)
{
    struct crossing crossing;
    static char data[1000];
    proa_datagram datagram = {.data = data, .size = sizeof(data)}, received;
    char room[100], after[2] = "++";

    test_case("a datagram that does not fit");
    crossing_open(&crossing);
    pattern_fill(data, sizeof(data), 0);
    datagram.peer = crossing.there_address;
    HOLDS(send_now(crossing.loop, crossing.here, &datagram) == sizeof(data));
    HOLDS(recv_now(crossing.loop, crossing.there, room, sizeof(room), &received) == sizeof(room));
    HOLDS(received.size == sizeof(room) && received.whole_size == sizeof(data));
    HOLDS(pattern_holds(room, sizeof(room), 0));
    datagram.data = "next";
    datagram.size = 4;
    HOLDS(send_now(crossing.loop, crossing.here, &datagram) == 4);
    HOLDS(recv_now(crossing.loop, crossing.there, after, 0, &received) == 0);
    HOLDS(received.whole_size == 4 && memcmp(after, "++", 2) == 0);
    crossing_close(&crossing);
}

static void test_empty(void)
{
    struct crossing crossing;
    proa_datagram datagram = {.size = 0}, received;
    char data[16];

    test_case("empty datagrams");
    crossing_open(&crossing);
    datagram.peer = crossing.there_address;
    for (int i = 0; i < 3; i++)
        HOLDS(send_now(crossing.loop, crossing.here, &datagram) == 0);
    for (int i = 0; i < 3; i++) {
        HOLDS(recv_now(crossing.loop, crossing.there, data, sizeof(data), &received) == 0);
        HOLDS(received.whole_size == 0 && same_address(&received.peer, &crossing.here_address));
    }
    crossing_close(&crossing);
}

/* One that is too large is refused by itself; those before and behind it go out, in order. */
static void test_too_large(void)
{
    struct crossing crossing;
    static char data[65536];
    proa_datagram datagrams[5], received;
    struct slot slots[5] = {0};
    char got;

    test_case("one of several is too large");
    crossing_open(&crossing);
    for (size_t i = 0; i < 5; i++) {
        data[i] = (char)i;
        datagrams[i] = (proa_datagram){.data = data + i, .size = i == 2 ? 65530 : 1, .peer = crossing.there_address};
        proa_send_to(crossing.loop, &slots[i].op, crossing.here, &datagrams[i], slot_done);
    }
    for (size_t i = 0; i < 5; i++) {
        RUN_UNTIL(crossing.loop, slots[i].finals);
        HOLDS(slots[i].value == (i == 2 ? -EMSGSIZE : 1));
        HOLDS(proa_sent(&slots[i].op) == (i == 2 ? 0 : 1));
    }
    for (char i = 0; i < 5; i++) {
        if (i == 2)
            continue;
        HOLDS(recv_now(crossing.loop, crossing.there, &got, 1, &received) == 1);
        HOLDS(got == i);
    }
    crossing_close(&crossing);
}

/* Many */

struct inbox {
    proa_buffer_pool *pool;
    uint32_t kept[64];
    size_t kept_count, kept_max;
    uint32_t next; /* each datagram is its number, */
    unsigned out_of_order;
    size_t sizes_wrong; /* and some bytes */
};

static void on_numbered(struct slot *slot, proa_result result)
{
    struct inbox *inbox = slot->context;
    proa_datagram datagram;
    uint32_t number;

    if (!(result.flags & PROA_LENT))
        return;
    proa_datagram_in(inbox->pool, result, &datagram);
    memcpy(&number, datagram.data, sizeof(number));
    inbox->sizes_wrong += datagram.size != sizeof(number) + number % 50 || datagram.whole_size != datagram.size ||
                          datagram.size != (size_t)result.value;
    inbox->out_of_order += number != inbox->next;
    inbox->next = number + 1;
    if (inbox->kept_count < inbox->kept_max)
        inbox->kept[inbox->kept_count++] = result.buffer;
    else
        proa_buffer_return(inbox->pool, result.buffer);
}

static void send_numbered(struct crossing *crossing, uint32_t count)
{
    static proa_datagram datagrams[MANY];
    static struct slot slots[MANY];
    static char data[MANY][64];

    memset(slots, 0, sizeof(slots));
    for (uint32_t i = 0; i < count; i++) {
        memcpy(data[i], &i, sizeof(i));
        datagrams[i] = (proa_datagram){data[i], sizeof(i) + i % 50, .peer = crossing->there_address};
        proa_send_to(crossing->loop, &slots[i].op, crossing->here, &datagrams[i], slot_done);
    }
    for (uint32_t i = 0; i < count; i++) {
        RUN_UNTIL(crossing->loop, slots[i].finals);
        HOLDS(slots[i].value == (int64_t)datagrams[i].size);
        HOLDS(i == 0 || slots[i].order > slots[i - 1].order);
    }
}

/* A hundred at once, in order, though the pool has four buffers and some of them stay away for a while. */
static void test_many(size_t kept, uint32_t entries)
{
    struct crossing crossing;
    struct inbox inbox = {.kept_max = kept};
    struct slot slot = {.then = on_numbered, .context = &inbox};

    test_case("many, %zu of 4 buffers kept, a queue of %u", kept, entries);
    crossing.loop = loop_open_sized(entries);
    crossing.here = datagrams_on(crossing.loop, "127.0.0.1:0", 0, &crossing.here_address);
    crossing.there = datagrams_on(crossing.loop, "127.0.0.1:0", 0, &crossing.there_address);
    REQUIRE(proa_buffer_pool_open(crossing.loop, 4, BUFFER_SIZE, &inbox.pool) == 0);
    proa_recv_from_many(crossing.loop, &slot.op, crossing.there, inbox.pool, slot_done);
    send_numbered(&crossing, MANY);
    if (kept == 4) {
        RUN_UNTIL(crossing.loop, slot.mores == 4 && proa_loop_meters(crossing.loop).receives_starved >= 1);
        loop_run_for(crossing.loop, 2 * MS);
        HOLDS(slot.mores == 4);
        inbox.kept_max = 0;
        for (size_t i = 0; i < 4; i++)
            proa_buffer_return(inbox.pool, inbox.kept[i]);
    }
    RUN_UNTIL(crossing.loop, slot.mores == MANY);
    HOLDS(inbox.next == MANY && inbox.out_of_order == 0 && inbox.sizes_wrong == 0);
    proa_cancel(&slot.op);
    RUN_UNTIL(crossing.loop, slot.finals);
    HOLDS(slot.value == -ECANCELED);
    close_now(crossing.loop, crossing.there);
    proa_buffer_pool_close(inbox.pool);
    crossing.there = datagrams_on(crossing.loop, "127.0.0.1:0", 0, NULL);
    crossing_close(&crossing);
}

/* The latest of a repeating receive, looked at before its buffer goes back. */
struct view {
    proa_buffer_pool *pool;
    proa_datagram datagram;
    char data[ROOM];
};

static void on_viewed(struct slot *slot, proa_result result)
{
    struct view *view = slot->context;

    if (!(result.flags & PROA_LENT))
        return;
    memset(&view->datagram, 0xa5, sizeof(view->datagram));
    proa_datagram_in(view->pool, result, &view->datagram);
    REQUIRE(view->datagram.size <= ROOM);
    memcpy(view->data, view->datagram.data, view->datagram.size);
    proa_buffer_return(view->pool, result.buffer);
}

/* Into a pool: cut, empty and ordinary ones, each a result, and the receive goes on. */
static void test_many_sizes(const char *here, const char *there)
{
    static const size_t sizes[] = {ROOM, ROOM + 1, 0, 1, 1000, 0, 0, 5};
    static char data[1000];
    struct crossing crossing;
    struct view view;
    struct slot slot = {.then = on_viewed, .context = &view};

    test_case("into a pool, of all sizes, to %s", there);
    crossing_open_with(&crossing, here, there, 0);
    pattern_fill(data, sizeof(data), 7);
    REQUIRE(proa_buffer_pool_open(crossing.loop, 2, BUFFER_SIZE, &view.pool) == 0);
    proa_recv_from_many(crossing.loop, &slot.op, crossing.there, view.pool, slot_done);
    for (uint32_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        proa_datagram datagram = {.data = data, .size = sizes[i], .peer = crossing.there_address};
        size_t stored = sizes[i] < ROOM ? sizes[i] : ROOM;

        HOLDS(send_now(crossing.loop, crossing.here, &datagram) == (int64_t)sizes[i]);
        RUN_UNTIL(crossing.loop, slot.mores == i + 1);
        HOLDS(slot.value == (int64_t)stored && view.datagram.size == stored && view.datagram.whole_size == sizes[i]);
        HOLDS(pattern_holds(view.data, stored, 7));
        HOLDS(same_address(&view.datagram.peer, &crossing.here_address) && view.datagram.local.size == 0);
    }
    HOLDS(slot.finals == 0);
    crossing_close(&crossing);
    HOLDS(slot.finals == 1 && slot.value == -ECANCELED);
}

/* What a pool's datagrams tell is what single ones do. */
static void test_many_told(void)
{
    struct crossing crossing;
    struct view view;
    struct slot slot = {.then = on_viewed, .context = &view};
    proa_datagram datagram = {.data = "x", .size = 1, .traffic_class = 3};
    char text[PROA_ADDRESS_TEXT_MAX];

    test_case("into a pool, with local address and traffic class");
    crossing_open_with(&crossing, "[::1]:0", "[::]:0", PROA_DATAGRAM_LOCAL | PROA_DATAGRAM_TRAFFIC_CLASS);
    datagram.peer = crossing.here_address;
    datagram.peer.as.ip6.sin6_port = crossing.there_address.as.ip6.sin6_port;
    REQUIRE(proa_buffer_pool_open(crossing.loop, 2, BUFFER_SIZE, &view.pool) == 0);
    proa_recv_from_many(crossing.loop, &slot.op, crossing.there, view.pool, slot_done);
    HOLDS(send_now(crossing.loop, crossing.here, &datagram) == 1);
    RUN_UNTIL(crossing.loop, slot.mores);
    HOLDS(strcmp(proa_address_format(&view.datagram.local, text, sizeof(text)), "[::1]:0") == 0);
    HOLDS(view.datagram.traffic_class == 3);
    crossing_close(&crossing);
}

/* Each test needs files of its own. */
static void test_unix(void (*test)(const char *here, const char *there))
{
    proa_address here = address_any(UNIX), there = address_any(UNIX);
    char text[2][PROA_ADDRESS_TEXT_MAX];

    test(proa_address_format(&here, text[0], sizeof(text[0])), proa_address_format(&there, text[1], sizeof(text[1])));
}

static void test_pool_too_small(void)
{
    struct crossing crossing;
    proa_buffer_pool *pool;
    struct slot slot = {0};

    test_case("buffers without room for a byte");
    crossing_open(&crossing);
    REQUIRE(proa_buffer_pool_open(crossing.loop, 2, PROA_DATAGRAM_OVERHEAD, &pool) == 0);
    proa_recv_from_many(crossing.loop, &slot.op, crossing.there, pool, slot_done);
    RUN_UNTIL(crossing.loop, slot.finals);
    HOLDS(slot.value == -EINVAL && slot.flags == 0);
    proa_buffer_pool_close(pool);
    crossing_close(&crossing);
}

/* Several receives of one socket are filled in the order of their start. */
static void test_receives_in_order(void)
{
    struct crossing crossing;
    proa_datagram datagrams[8], received[8];
    struct slot slots[8] = {0};
    char data[8] = "abcdefgh", got[8];

    test_case("receives in order");
    crossing_open(&crossing);
    for (size_t i = 0; i < 8; i++)
        proa_recv_from(crossing.loop, &slots[i].op, crossing.there, &got[i], 1, &received[i], slot_done);
    for (size_t i = 0; i < 8; i++) {
        datagrams[i] = (proa_datagram){.data = data + i, .size = 1, .peer = crossing.there_address};
        HOLDS(send_now(crossing.loop, crossing.here, &datagrams[i]) == 1);
    }
    for (size_t i = 0; i < 8; i++)
        RUN_UNTIL(crossing.loop, slots[i].finals);
    HOLDS(memcmp(got, data, 8) == 0);
    crossing_close(&crossing);
}

/* Peers that are not there, or have no room */

/* The answer of a host where nobody listens reaches a connected socket, and ends the receive; the socket is as good as
 * before. */
static void test_refused(bool many)
{
    proa_loop *loop = loop_open();
    proa_address nobody;
    proa_buffer_pool *pool;
    proa_datagram question = {.data = "anybody?", .size = 8}, received;
    struct slot slot = {0};
    char data[16];
    proa_fd fd = datagrams_on(loop, "127.0.0.1:0", 0, &nobody);
    int far;

    test_case("refused by ICMP, %s", many ? "many" : "one");
    REQUIRE(proa_buffer_pool_open(loop, 2, BUFFER_SIZE, &pool) == 0);
    close_now(loop, fd);
    fd = datagrams_to(loop, &nobody);
    for (uint32_t i = 1; i <= 3; i++) {
        if (many)
            proa_recv_from_many(loop, &slot.op, fd, pool, slot_done);
        else
            proa_recv_from(loop, &slot.op, fd, data, sizeof(data), &received, slot_done);
        HOLDS(send_now(loop, fd, &question) == 8);
        RUN_UNTIL(loop, slot.finals == i);
        HOLDS(slot.value == -ECONNREFUSED && slot.flags == 0);
    }
    far = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    REQUIRE(far >= 0 && bind(far, &nobody.as.any, nobody.size) == 0);
    HOLDS(send_now(loop, fd, &question) == 8);
    HOLDS(recv(far, data, sizeof(data), 0) == 8);
    close_plain(far);
    close_now(loop, fd);
    proa_buffer_pool_close(pool);
    proa_loop_close(loop);
}

static bool has_room(int fd)
{
    struct pollfd entry = {.fd = fd, .events = POLLOUT};

    return poll(&entry, 1, 0) == 1 && entry.revents & POLLOUT;
}

/* Connected sends wait for their turn and keep their order; a send that names the peer cannot, and says so. */
static void test_no_room(void)
{
    proa_address far_address, unbound = address_any(UNIX);
    char text[PROA_ADDRESS_TEXT_MAX];
    proa_address bound = address_any(UNIX);
    proa_loop *loop = loop_open();
    int far = far_datagrams(proa_address_format(&bound, text, sizeof(text)), &far_address);
    proa_fd fd = datagrams_to(loop, &far_address), named;
    struct slot slots[30] = {0};
    proa_datagram datagrams[30], to_named = {.data = "x", .size = 1, .peer = far_address};
    char data[30], got;
    size_t done = 0;

    test_case("a Unix peer without room");
    for (size_t i = 0; i < 30; i++) {
        data[i] = (char)i;
        datagrams[i] = (proa_datagram){.data = data + i, .size = 1};
        proa_send_to(loop, &slots[i].op, fd, &datagrams[i], slot_done);
    }
    while (has_room(fd.handle))
        loop_run_for(loop, MS);
    loop_run_for(loop, 2 * MS);
    while (done < 30 && slots[done].finals)
        HOLDS(slots[done++].value == 1);
    HOLDS(done > 0 && done < 30);
    named = datagrams_on(loop, proa_address_format(&unbound, text, sizeof(text)), 0, NULL);
    HOLDS(send_now(loop, named, &to_named) == -ENOBUFS);
    proa_cancel(&slots[29].op);
    proa_cancel(&slots[28].op);
    RUN_UNTIL(loop, slots[29].finals && slots[28].finals);
    HOLDS(slots[29].value == -ECANCELED && slots[28].value == -ECANCELED);
    for (size_t i = 0; i < 28; i++) {
        RUN_UNTIL(loop, slots[i].finals);
        HOLDS(slots[i].value == 1);
        HOLDS(recv(far, &got, 1, MSG_DONTWAIT) == 1 && got == (char)i);
    }
    HOLDS(recv(far, &got, 1, MSG_DONTWAIT) < 0);
    close_now(loop, fd);
    close_now(loop, named);
    close_plain(far);
    proa_loop_close(loop);
}

/* Streams are not for these ops, and hear so before a byte is lost. */
static void test_stream(void)
{
    proa_loop *loop = loop_open();
    proa_datagram datagram = {.data = "x", .size = 1}, received;
    struct slot slot = {0};
    char data[4];
    proa_fd near;
    int far, ends[2];

    test_case("streams and pipes are refused");
    pair_open(loop, TCP, &near, &far);
    REQUIRE(write(far, "left", 4) == 4);
    HOLDS(recv_now(loop, near, data, sizeof(data), &received) == -EPROTOTYPE);
    HOLDS(send_now(loop, near, &datagram) == -EPROTOTYPE);
    proa_recv(loop, &slot.op, near, data, sizeof(data), slot_done);
    RUN_UNTIL(loop, slot.finals);
    HOLDS(slot.value == 4 && memcmp(data, "left", 4) == 0);
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    HOLDS(recv_now(loop, proa_fd_of(ends[0]), data, sizeof(data), &received) == -ENOTSOCK);
    close_plain(ends[0]);
    close_plain(ends[1]);
    close_now(loop, near);
    close_plain(far);
    proa_loop_close(loop);
}

/* And the other way round. */
static void test_no_stream(void)
{
    struct crossing crossing;
    proa_buffer_pool *pool;
    struct slot slots[4] = {0};
    char data[4];

    test_case("datagram sockets are no streams");
    crossing_open(&crossing);
    REQUIRE(proa_buffer_pool_open(crossing.loop, 2, BUFFER_SIZE, &pool) == 0);
    proa_recv(crossing.loop, &slots[0].op, crossing.here, data, sizeof(data), slot_done);
    proa_recv_many(crossing.loop, &slots[1].op, crossing.here, pool, slot_done);
    proa_send(crossing.loop, &slots[2].op, crossing.here, data, sizeof(data), slot_done);
    proa_shutdown(crossing.loop, &slots[3].op, crossing.here, SHUT_RDWR, slot_done);
    for (size_t i = 0; i < 4; i++) {
        RUN_UNTIL(crossing.loop, slots[i].finals);
        HOLDS(slots[i].value == -EPROTOTYPE);
    }
    proa_buffer_pool_close(pool);
    crossing_close(&crossing);
}

/* What is found out about a socket that is treated as a file, one of unknown kind before its sends or one of our own beside
 * them, says nothing of the sends: all end, and so does the close behind them. */
static void test_treated_as_file(bool known)
{
    proa_loop *loop = loop_open();
    proa_address there_address, here_address;
    int there = far_datagrams("127.0.0.1:0", &there_address), far;
    proa_datagram datagram = {.data = "x", .size = 1, .peer = there_address}, datagrams[4];
    struct slot read = {0}, sent_file = {0}, sends[4] = {0};
    proa_fd fd = known ? datagrams_on(loop, "127.0.0.1:0", 0, &here_address)
                       : proa_fd_of(far_datagrams("127.0.0.1:0", &here_address)),
            near;
    char data[8];

    test_case("a datagram socket is treated as a file %s its sends", known ? "beside" : "before");
    pair_open(loop, TCP, &near, &far);
    REQUIRE(connect(there, &here_address.as.any, here_address.size) == 0 && write(there, "hello", 5) == 5);
    if (known)
        HOLDS(send_now(loop, fd, &datagram) == 1);
    else
        proa_read(loop, &read.op, fd, data, sizeof(data), 0, slot_done);
    for (size_t i = 0; i < ARRAY_SIZE(sends); i++) {
        datagrams[i] = datagram;
        proa_send_to(loop, &sends[i].op, fd, &datagrams[i], slot_done);
    }
    if (known) {
        proa_loop_run(loop, PROA_NO_WAIT); /* they are with a ring */
        proa_read(loop, &read.op, fd, data, sizeof(data), 0, slot_done);
    }
    proa_send_file(loop, &sent_file.op, near, fd, 0, 1, slot_done);
    RUN_UNTIL(loop, read.finals && sent_file.finals);
    HOLDS(read.value == 5 && sent_file.value == -ESPIPE);
    for (size_t i = 0; i < ARRAY_SIZE(sends); i++) {
        RUN_UNTIL(loop, sends[i].finals);
        HOLDS(sends[i].value == 1);
    }
    for (int i = 0; i < 2; i++) /* the second only where the end of the first was noticed */
        HOLDS(send_now(loop, fd, &datagram) == 1);
    close_now(loop, fd);
    close_now(loop, near);
    close_plain(there);
    close_plain(far);
    proa_loop_close(loop);
}

/* A foreign socket, blocking as most are, does as well. */
static void test_foreign(void)
{
    proa_loop *loop = loop_open();
    proa_datagram datagram = {.data = "hello", .size = 5}, received;
    struct slot slot = {0};
    char data[16];
    int ends[2];

    test_case("a foreign, blocking pair of sockets");
    REQUIRE(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) == 0);
    proa_recv_from(loop, &slot.op, proa_fd_of(ends[0]), data, sizeof(data), &received, slot_done);
    loop_run_for(loop, MS);
    HOLDS(!slot.finals);
    HOLDS(send_now(loop, proa_fd_of(ends[1]), &datagram) == 5);
    RUN_UNTIL(loop, slot.finals);
    HOLDS(slot.value == 5 && received.peer.size == 0 && memcmp(data, "hello", 5) == 0);
    close_plain(ends[0]);
    close_plain(ends[1]);
    proa_loop_close(loop);
}

/* Descriptors that somebody sends along would be nobody's: they are not let in. */
static void test_descriptors_stay_out(bool many)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec piece = {"x", 1};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    proa_loop *loop = loop_open();
    proa_datagram received;
    proa_buffer_pool *pool;
    struct slot slot = {0};
    int ends[2], before, standard_error = 2;
    char data[4];

    test_case("descriptors sent along stay out, %s", many ? "many" : "one");
    REQUIRE(proa_buffer_pool_open(loop, 2, BUFFER_SIZE, &pool) == 0);
    REQUIRE(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) == 0);
    memcpy(CMSG_DATA(&control.head), &standard_error, sizeof(int));
    before = fd_count();
    REQUIRE(sendmsg(ends[1], &message, 0) == 1);
    if (many)
        proa_recv_from_many(loop, &slot.op, proa_fd_of(ends[0]), pool, slot_done);
    else
        proa_recv_from(loop, &slot.op, proa_fd_of(ends[0]), data, sizeof(data), &received, slot_done);
    RUN_UNTIL(loop, slot.finals || slot.mores);
    HOLDS(slot.value == 1 && fd_count() == before);
    close_plain(ends[1]);
    proa_loop_close(loop);
    close_plain(ends[0]);
}

/* What the kernel adds */

static void test_traffic_class(const char *text)
{
    struct crossing crossing;
    proa_datagram datagram = {.data = "x", .size = 1}, received;
    char data[4];

    test_case("traffic class, %s", text);
    crossing_open_with(&crossing, text, text, PROA_DATAGRAM_TRAFFIC_CLASS);
    datagram.peer = crossing.there_address;
    for (unsigned ecn = 0; ecn < 4; ecn++) {
        datagram.traffic_class = (uint8_t)(46 << 2 | ecn); /* EF (RFC 3246) */
        HOLDS(send_now(crossing.loop, crossing.here, &datagram) == 1);
        HOLDS(recv_now(crossing.loop, crossing.there, data, sizeof(data), &received) == 1);
        HOLDS(received.traffic_class == datagram.traffic_class);
    }
    datagram.traffic_class = 0;
    HOLDS(send_now(crossing.loop, crossing.here, &datagram) == 1);
    HOLDS(recv_now(crossing.loop, crossing.there, data, sizeof(data), &received) == 1);
    HOLDS(received.traffic_class == 0);
    crossing_close(&crossing);
}

/* One send, many datagrams: whoever did not ask for GRO gets them one by one. */
static void test_segmented_send(void)
{
    struct crossing crossing;
    static char data[1050];
    proa_datagram datagram = {.data = data, .size = sizeof(data), .segment_size = 100}, received;
    char got[200];

    test_case("one send, eleven datagrams");
    crossing_open(&crossing);
    pattern_fill(data, sizeof(data), 0);
    datagram.peer = crossing.there_address;
    HOLDS(send_now(crossing.loop, crossing.here, &datagram) == sizeof(data));
    for (size_t at = 0; at < sizeof(data); at += 100) {
        size_t size = at < 1000 ? 100 : 50;

        HOLDS(recv_now(crossing.loop, crossing.there, got, sizeof(got), &received) == (int64_t)size);
        HOLDS(pattern_holds(got, size, at) && received.segment_size == 0);
    }
    crossing_close(&crossing);
}

/* They come as one, with the size of each; and go back as they came. */
static void test_segmented_receive(void)
{
    struct crossing crossing;
    static char data[1050], got[2000];
    proa_datagram datagram = {.data = data, .size = sizeof(data), .segment_size = 100}, received;

    test_case("received as one, and sent back");
    crossing_open_with(&crossing, "127.0.0.1:0", "127.0.0.1:0", PROA_DATAGRAM_GRO);
    pattern_fill(data, sizeof(data), 0);
    datagram.peer = crossing.there_address;
    HOLDS(send_now(crossing.loop, crossing.here, &datagram) == sizeof(data));
    HOLDS(recv_now(crossing.loop, crossing.there, got, sizeof(got), &received) == sizeof(data));
    HOLDS(received.segment_size == 100 && pattern_holds(got, sizeof(data), 0));
    HOLDS(send_now(crossing.loop, crossing.there, &received) == sizeof(data));
    HOLDS(recv_now(crossing.loop, crossing.here, got, sizeof(got), &received) == sizeof(data));
    HOLDS(received.segment_size == 100 && pattern_holds(got, sizeof(data), 0));
    crossing_close(&crossing);
}

static bool kernel_segments(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), one = 1;
    bool can = setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(one)) == 0 &&
               setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &one, sizeof(one)) == 0;

    close_plain(fd);
    return can;
}

static bool has_ip6(void)
{
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool can = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;

    if (fd >= 0)
        close_plain(fd);
    return can;
}

static void test_ip6(void)
{
    test_both_ways("[::1]:0", "[::1]:0");
    if (test_simulated())
        return;
    test_dual_stack("127.0.0.1:0");
    test_dual_stack("[::1]:0");
    test_many_told();
    test_traffic_class("[::1]:0");
}

int main(int argc, char **argv)
{
    const char *missing = NULL;

    test_begin(argc, argv, "datagrams");
    test_both_ways("127.0.0.1:0", "127.0.0.1:0");
    if (!test_simulated()) /* which has no control data */
        test_local_address();
    test_unix(test_both_ways);
    test_unix(test_many_sizes);
    test_open_errors();
    test_shards();
    test_linked();
    test_cut();
    test_empty();
    test_too_large();
    test_many(0, 256);
    test_many(2, 16);
    test_many(4, 256);
    test_many_sizes("127.0.0.1:0", "127.0.0.1:0");
    test_pool_too_small();
    test_receives_in_order();
    test_refused(false);
    test_refused(true);
    test_no_room();
    test_stream();
    test_no_stream();
    test_treated_as_file(false);
    test_treated_as_file(true);
    test_foreign();
    test_descriptors_stay_out(false);
    test_descriptors_stay_out(true);
    if (!test_simulated())
        test_traffic_class("127.0.0.1:0");
    if (kernel_segments()) {
        test_segmented_send();
        test_segmented_receive();
    } else {
        missing = "this kernel segments no datagrams; the rest was tested";
    }
    if (has_ip6())
        test_ip6();
    else
        missing = "no IPv6 here; the rest was tested";
    if (check_done("datagrams") != 0)
        return 1;
    return missing ? check_skip("datagrams", missing) : 0;
}

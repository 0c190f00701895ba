/* Rule 7: closing a descriptor first completes every op pending on it (ECANCELED or its result), then closes it for
 * real: the peer sees the end of stream. No op on the old number can touch a new file that got the same number. */
#include "kinds.h"

#include <poll.h>

/* One of each kind: all complete before the close does, and the peer sees the end. */
static void test_each(const struct kind *kind, bool settle)
{
    static struct stage stage;
    struct slot closing = {0};
    int number, far_is_socket;

    if (!(kind->traits & ON_FD))
        return;
    test_case("%s, %s", kind->name, settle ? "settled" : "just started");
    stage_set(&stage, kind, loop_open());
    stage_start(&stage);
    if (settle)
        loop_run_for(stage.loop, MS);
    number = stage.fd.handle;
    stage.fd.handle = -1;
    CALL(proa_close(stage.loop, &closing.op, proa_fd_of(number), slot_done));
    if (!stage.slot.finals)
        HOLDS(number >= PROA_DIRECT_BASE || fd_is_open(number));
    RUN_UNTIL(stage.loop, closing.finals);
    HOLDS(closing.value == 0);
    HOLDS(!fd_is_open(number));
    HOLDS(stage.slot.finals == 1 && stage.slot.order < closing.order);
    if ((kind->traits & WAITS) && !(kind->traits & STREAMS))
        HOLDS(stage.slot.value == -ECANCELED);
    far_is_socket = stage.far >= 0 && strncmp(kind->name, "poll", 4) && !strstr(kind->name, "pipe") &&
                    !(kind->traits & DATAGRAMS);
    if (far_is_socket)
        HOLDS(far_ended(stage.far));
    stage_close_extras(&stage);
    proa_loop_close(stage.loop);
    stage_clear(&stage);
}

/* Everything at once on one socket, several of some. */
static void test_everything_at_once(enum family family)
{
    static char data[4][16], bulk[STUCK_SIZE];
    proa_loop *loop = loop_open();
    proa_buffer_pool *pool;
    struct slot slots[9] = {0}, closing = {0};
    proa_fd near;
    int far;

    test_case("everything at once, %s", family == TCP ? "TCP" : "Unix");
    REQUIRE(proa_buffer_pool_open(loop, 4, 64, &pool) == 0);
    pair_open(loop, family, &near, &far);
    set_size(near.handle, SO_SNDBUF, 16384);
    proa_recv(loop, &slots[0].op, near, data[0], 16, slot_done);
    proa_recv(loop, &slots[1].op, near, data[1], 16, slot_done);
    proa_send(loop, &slots[2].op, near, bulk, sizeof(bulk), slot_done);
    proa_send(loop, &slots[3].op, near, "queued", 6, slot_done);
    proa_send_relaxed(loop, &slots[4].op, near, "queued", 6, slot_done);
    proa_poll(loop, &slots[5].op, near, POLLIN, slot_done);
    proa_poll(loop, &slots[6].op, near, POLLPRI, slot_done);
    proa_shutdown(loop, &slots[7].op, near, SHUT_WR, slot_done);
    proa_recv_many(loop, &slots[8].op, near, pool, slot_done);
    loop_run_for(loop, 2 * MS);
    HOLDS(far_wait(far)); /* some of it was sent by now */
    for (size_t i = 0; i < ARRAY_SIZE(slots); i++)
        HOLDS(!slots[i].finals);
    proa_close(loop, &closing.op, near, slot_done);
    RUN_UNTIL(loop, closing.finals);
    for (size_t i = 0; i < ARRAY_SIZE(slots); i++) {
        HOLDS(slots[i].finals == 1 && slots[i].order < closing.order);
        HOLDS(slots[i].value == -ECANCELED);
    }
    HOLDS(closing.value == 0 && !fd_is_open(near.handle));
    HOLDS(proa_sent(&slots[2].op) > 0 && proa_sent(&slots[3].op) == 0);
    HOLDS(far_drain(far) <= proa_sent(&slots[2].op));
    close_plain(far);
    proa_buffer_pool_close(pool);
    proa_loop_close(loop);
}

/* A listener with an accept armed: it stops at once, and keeps none of the connections it may still have got. */
static void test_listener(bool many)
{
    proa_loop *loop = loop_open();
    int before = fd_count();
    struct slot slot = {0}, closing = {0};
    proa_address bound;
    proa_fd listener = listen_on(loop, TCP, 64, &bound);
    int far[8], late;

    test_case("a listener with an armed accept%s", many ? "_many" : "");
    if (many)
        proa_accept_many(loop, &slot.op, listener, slot_done);
    else
        proa_accept(loop, &slot.op, listener, slot_done);
    loop_run_for(loop, MS);
    for (size_t i = 0; i < ARRAY_SIZE(far); i++)
        far[i] = far_connect(&bound);
    slot.then = NULL;
    proa_close(loop, &closing.op, listener, slot_done);
    RUN_UNTIL(loop, closing.finals);
    HOLDS(slot.finals == 1 && slot.order < closing.order);
    if (!many)
        HOLDS(slot.value >= 0 || slot.value == -ECANCELED);
    HOLDS(fd_count() == before + (int)ARRAY_SIZE(far) + (int)slot.mores + (!many && slot.value >= 0));
    late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    HOLDS(connect(late, &bound.as.any, bound.size) < 0 && errno == ECONNREFUSED);
    close_plain(late);
    for (size_t i = 0; i < ARRAY_SIZE(far); i++)
        close_plain(far[i]);
    proa_loop_close(loop);
}

/* The number comes back for another file: nothing of the old ops, nor of what the loop knew of it. */
struct reuse {
    proa_loop *loop;
    struct slot old[3], closing, fresh;
    char old_data[2][16], fresh_data[16];
    proa_fd near;
    int far, ends[2];
    bool at_eof;
};

/* In the close's callback the number is free: the very first moment another file can have it. */
static void on_closed(struct slot *slot, proa_result result)
{
    struct reuse *reuse = slot->context;

    REQUIRE(result.value == 0);
    REQUIRE(fcntl(reuse->ends[0], F_DUPFD_CLOEXEC, reuse->near.handle) == reuse->near.handle);
    REQUIRE(write(reuse->ends[1], "fresh", 5) == 5);
    proa_recv(reuse->loop, &reuse->fresh.op, reuse->near, reuse->fresh_data, 16, slot_done);
}

static void test_number_comes_back(enum family family, bool relative_eof, uint32_t entries)
{
    struct reuse reuse = {.loop = loop_open_sized(entries)};
    unsigned rounds = test_rounds(500);

    test_case("the number comes back, %s%s, queue of %u", family == TCP ? "TCP" : "Unix",
              relative_eof ? ", after end of stream" : "", entries);
    for (unsigned i = 0; i < rounds; i++) {
        struct slot bye = {0};

        memset(reuse.old, 0, sizeof(reuse.old));
        reuse.closing = (struct slot){.then = on_closed, .context = &reuse};
        reuse.fresh = (struct slot){0};
        memset(reuse.old_data, 0x5a, sizeof(reuse.old_data));
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, reuse.ends) == 0);
        pair_open(reuse.loop, family, &reuse.near, &reuse.far);
        if (relative_eof)
            REQUIRE(shutdown(reuse.far, SHUT_WR) == 0);
        proa_recv(reuse.loop, &reuse.old[0].op, reuse.near, reuse.old_data[0], 16, slot_done);
        proa_recv(reuse.loop, &reuse.old[1].op, reuse.near, reuse.old_data[1], 16, slot_done);
        proa_poll(reuse.loop, &reuse.old[2].op, reuse.near, POLLPRI, slot_done);
        if (i % 2)
            proa_loop_run(reuse.loop, PROA_NO_WAIT);
        proa_close(reuse.loop, &reuse.closing.op, reuse.near, slot_done);
        RUN_UNTIL(reuse.loop, reuse.fresh.finals);
        REQUIRE(reuse.old[0].finals == 1 && reuse.old[1].finals == 1 && reuse.old[2].finals == 1);
        REQUIRE(reuse.fresh.value == 5 && memcmp(reuse.fresh_data, "fresh", 5) == 0);
        REQUIRE(reuse.old_data[0][0] == 0x5a && reuse.old_data[1][0] == 0x5a);
        proa_close(reuse.loop, &bye.op, reuse.near, slot_done);
        RUN_UNTIL(reuse.loop, bye.finals);
        close_plain(reuse.far);
        close_plain(reuse.ends[0]);
        close_plain(reuse.ends[1]);
    }
    HOLDS(reuse.fresh.finals == 1);
    proa_loop_close(reuse.loop);
}

/* What is started on a descriptor after its close is refused: the number may be another's any moment. */
static void test_start_while_closing(void)
{
    proa_loop *loop = loop_open();
    struct slot closing = {0}, late[3] = {0};
    char data[8];
    proa_fd near;
    int far;

    test_case("started between close and its completion");
    pair_open(loop, TCP, &near, &far);
    proa_close(loop, &closing.op, near, slot_done);
    proa_recv(loop, &late[0].op, near, data, sizeof(data), slot_done);
    proa_send(loop, &late[1].op, near, "x", 1, slot_done);
    proa_close(loop, &late[2].op, near, slot_done);
    RUN_UNTIL(loop, closing.finals && late[0].finals && late[1].finals && late[2].finals);
    HOLDS(closing.value == 0);
    for (size_t i = 0; i < ARRAY_SIZE(late); i++) {
        if (!HOLDS(late[i].value == -EBADF || late[i].value == -ECANCELED))
            fprintf(stderr, "    late op %zu: %lld\n", i, (long long)late[i].value);
    }
    HOLDS(far_ended(far));
    close_plain(far);
    proa_loop_close(loop);
}

/* A callback of one that the close ended may start the next, as an echo server that ignores errors would. */
static void on_again(struct slot *slot, proa_result result)
{
    static char data[8];

    (void)result;
    if (slot->finals < 5)
        proa_recv(slot->op.loop, &slot->op, *(proa_fd *)slot->context, data, sizeof(data), slot_done);
}

static void test_restarted_while_closing(void)
{
    proa_loop *loop = loop_open();
    struct slot closing = {0}, stubborn = {.then = on_again};
    char data[8];
    proa_fd near;
    int far;

    test_case("started again by the callback that the close caused");
    pair_open(loop, TCP, &near, &far);
    stubborn.context = &near;
    proa_recv(loop, &stubborn.op, near, data, sizeof(data), slot_done);
    proa_loop_run(loop, PROA_NO_WAIT);
    proa_close(loop, &closing.op, near, slot_done);
    RUN_UNTIL(loop, closing.finals && stubborn.finals == 5);
    HOLDS(closing.value == 0 && stubborn.value < 0);
    HOLDS(far_ended(far));
    close_plain(far);
    proa_loop_close(loop);
}

/* Others that hold the same file (a dup, a forked child) do not keep the peer waiting... only pending ops would. */
static void test_data_before_the_end(void)
{
    proa_loop *loop = loop_open();
    struct slot sending = {0}, closing = {0};
    char data[8] = "";
    proa_fd near;
    int far;

    test_case("what was sent before arrives before the end");
    pair_open(loop, TCP, &near, &far);
    proa_send(loop, &sending.op, near, "bye", 3, slot_done);
    RUN_UNTIL(loop, sending.finals);
    proa_close(loop, &closing.op, near, slot_done);
    RUN_UNTIL(loop, closing.finals);
    HOLDS(far_read(far, data, sizeof(data)) == 3 && memcmp(data, "bye", 3) == 0);
    HOLDS(far_ended(far));
    close_plain(far);
    proa_loop_close(loop);
}

/* The number is given out again between the real close and the callback that tells of it: to a socket of the caller's,
 * to one that the library makes, or to the next connection. It is that one's from then on. */
static void on_close_take_number(struct slot *slot, proa_result result)
{
    struct slot *other = slot->context;
    proa_loop *loop = slot->op.loop;
    static char data[16];
    int ends[2];

    (void)result;
    proa_close(loop, &other->op, proa_fd_of((int)slot[1].value), slot_done);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    REQUIRE(write(ends[1], "taken", 5) == 5);
    slot[2].context = NULL;
    slot[2].value = ends[0];
    slot[3].value = ends[1];
    if (ends[0] == (int)slot[1].value)
        proa_recv(loop, &slot[2].op, proa_fd_of(ends[0]), data, sizeof(data), slot_done);
}

static void test_taken_before_told(void)
{
    proa_loop *loop = loop_open();
    unsigned taken = 0;

    test_case("the number is taken before the close is told");
    for (int i = 0; i < 20; i++) {
        struct slot slots[4] = {0}, closing = {0};
        proa_fd near;
        int far, first;

        pair_open(loop, i % 2 ? TCP : UNIX, &near, &far);
        slots[0] = (struct slot){.then = on_close_take_number, .context = &closing};
        slots[1].value = near.handle;
        proa_timer(loop, &slots[0].op, 1, slot_done);
        RUN_UNTIL(loop, closing.finals);
        first = (int)slots[2].value;
        HOLDS(closing.value == 0);
        if (first == near.handle) {
            taken++;
            RUN_UNTIL(loop, slots[2].finals);
            HOLDS(slots[2].value == 5);
        }
        close_plain(first);
        close_plain((int)slots[3].value);
        close_plain(far);
    }
    printf("note: taken before told: %u of 20\n", taken);
    proa_loop_close(loop);
}

/* A server where connections come and go all the time, on a handful of numbers. */
struct churn {
    struct slot accept;
    struct guest {
        struct slot recv, closing;
        proa_fd fd;
        char data[16];
    } guests[64];
    unsigned served, wrong;
};

static void on_guest(struct slot *slot, proa_result result)
{
    struct guest *guest = slot->context;
    struct churn *churn = guest->closing.context;

    churn->wrong += result.value != 4 || memcmp(guest->data, "ball", 4) != 0;
    churn->served++;
    guest->closing.then = NULL;
    proa_close(slot->op.loop, &guest->closing.op, guest->fd, slot_done);
}

static void on_arrival(struct slot *slot, proa_result result)
{
    struct churn *churn = slot->context;
    struct guest *guest = churn->guests;

    if (result.value < 0)
        return;
    while (proa_in_flight(&guest->recv.op) || proa_in_flight(&guest->closing.op))
        REQUIRE(++guest < churn->guests + ARRAY_SIZE(churn->guests));
    guest->recv = (struct slot){.then = on_guest, .context = guest};
    guest->closing.context = churn;
    guest->fd = proa_result_fd(result);
    proa_recv(slot->op.loop, &guest->recv.op, guest->fd, guest->data, sizeof(guest->data), slot_done);
}

static void test_churn(enum family family)
{
    enum { BATCH = 16 };
    static struct churn churn;
    proa_loop *loop = loop_open();
    unsigned rounds = test_rounds(300);
    proa_address bound;
    proa_fd listener = listen_on(loop, family, 64, &bound);

    test_case("connections come and go, %s", family == TCP ? "TCP" : "Unix");
    memset(&churn, 0, sizeof(churn));
    churn.accept = (struct slot){.then = on_arrival, .context = &churn};
    proa_accept_many(loop, &churn.accept.op, listener, slot_done);
    for (unsigned round = 1; round <= rounds; round++) {
        int far[BATCH];

        for (size_t i = 0; i < BATCH; i++) {
            far[i] = far_connect(&bound);
            REQUIRE(write(far[i], "ball", 4) == 4);
            if (random_below(2))
                proa_loop_run(loop, PROA_NO_WAIT);
        }
        RUN_UNTIL(loop, churn.served == round * BATCH);
        for (size_t i = 0; i < BATCH; i++) {
            if (round % 16 == 0)
                HOLDS(far_ended(far[i]));
            close_plain(far[i]);
        }
    }
    HOLDS(churn.wrong == 0);
    close_now(loop, listener);
    proa_loop_close(loop);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "c07_close_completes_pending");
    for (size_t i = 0; i < kind_count; i++) {
        test_each(&kinds[i], false);
        test_each(&kinds[i], true);
    }
    test_everything_at_once(TCP);
    test_everything_at_once(UNIX);
    test_listener(false);
    test_listener(true);
    if (!test_has(PROA_FEATURE_DIRECT)) {
        test_number_comes_back(TCP, false, 0);
        test_number_comes_back(UNIX, false, 8);
        test_number_comes_back(UNIX, true, 0);
    }
    test_start_while_closing();
    test_restarted_while_closing();
    test_data_before_the_end();
    test_taken_before_told();
    test_churn(TCP);
    test_churn(UNIX);
    return check_done("c07_close_completes_pending");
}

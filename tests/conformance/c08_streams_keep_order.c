/* Rule 8: a stream sends in order: at most one send in flight, later ones queue and are gathered. A send completes when
 * all its bytes were accepted, or with an error and the count that was. */
#include "kinds.h"
#include "reader.h"

struct writer {
    proa_loop *loop;
    proa_fd near;
    struct slot trigger;
    struct slot slots[256];
    size_t sizes[256];
    size_t count;
    bool relaxed_too;
    char *data;
};

/* All of them from one callback. */
static void on_write_all(struct slot *slot, proa_result result)
{
    struct writer *writer = slot->context;
    size_t at = 0;

    (void)result;
    for (size_t i = 0; i < writer->count; i++) {
        if (writer->relaxed_too && i % 3 == 1)
            proa_send_relaxed(writer->loop, &writer->slots[i].op, writer->near, writer->data + at, writer->sizes[i],
                              slot_done);
        else
            proa_send(writer->loop, &writer->slots[i].op, writer->near, writer->data + at, writer->sizes[i], slot_done);
        at += writer->sizes[i];
    }
}

static size_t writer_done(const struct writer *writer)
{
    size_t count = 0;

    for (size_t i = 0; i < writer->count; i++)
        count += writer->slots[i].finals;
    return count;
}

static void writer_check(const struct writer *writer)
{
    for (size_t i = 0; i < writer->count; i++) {
        REQUIRE(writer->slots[i].finals == 1);
        REQUIRE(writer->slots[i].value == (int64_t)writer->sizes[i]);
        REQUIRE(proa_sent(&writer->slots[i].op) == writer->sizes[i]);
        REQUIRE(i == 0 || writer->slots[i].order > writer->slots[i - 1].order);
    }
}

struct plan {
    const char *name;
    enum family family;
    size_t count;
    size_t size_max;
    int sndbuf;
    size_t gulp;
    bool relaxed_too;
};

static void test_order(const struct plan *plan)
{
    static struct writer writer;
    struct reader reader = {.holds = true};
    struct slot tick = {0};
    size_t total = 0;

    test_case("%s", plan->name);
    writer = (struct writer){.loop = loop_open(), .count = plan->count, .relaxed_too = plan->relaxed_too};
    pair_open(writer.loop, plan->family, &writer.near, &reader.far);
    if (plan->sndbuf)
        set_size(writer.near.handle, SO_SNDBUF, plan->sndbuf);
    for (size_t i = 0; i < plan->count; i++)
        total += writer.sizes[i] = 1 + random_below((uint32_t)plan->size_max);
    REQUIRE(total > 0);
    writer.data = malloc(total);
    pattern_fill(writer.data, total, 0);
    writer.trigger = (struct slot){.then = on_write_all, .context = &writer};
    proa_post(writer.loop, &writer.trigger.op, slot_done);
    proa_timer_repeat(writer.loop, &tick.op, 1, MS / 4, slot_done);
    while (reader.at < total || writer_done(&writer) < writer.count) {
        proa_loop_run(writer.loop, PROA_ONCE);
        reader_step(&reader, plan->gulp);
    }
    HOLDS(reader.holds && reader.at == total);
    writer_check(&writer);
    close_now(writer.loop, writer.near);
    close_plain(reader.far);
    proa_loop_close(writer.loop);
    free(writer.data);
}

static const struct plan plans[] = {
    {"64 small sends from one callback", TCP, 64, 64, 0, 65536, false},
    {"64 small sends, Unix", UNIX, 64, 64, 0, 65536, false},
    {"256 sends, more than one gather holds", TCP, 256, 3000, 0, 65536, false},
    {"64 sends of megabytes, slow reader, small SO_SNDBUF", TCP, 64, 60000, 4096, 16384, false},
    {"64 sends of megabytes, slow reader, Unix", UNIX, 64, 60000, 4096, 16384, false},
    {"relaxed and not, small", TCP, 64, 64, 0, 65536, true},
    {"relaxed and not, slow reader", TCP, 64, 60000, 4096, 16384, true},
    {"relaxed and not, slow reader, Unix", UNIX, 64, 60000, 4096, 16384, true},
};

/* Sends that are started while others are in flight, from their callbacks, at random. */
struct talker {
    struct slot slots[8];
    proa_loop *loop;
    proa_fd near;
    char *data;
    size_t at, total;
};

static void on_spoken(struct slot *slot, proa_result result);

static void talk(struct talker *talker, struct slot *slot)
{
    size_t size = 1 + random_below(5000);

    if (talker->at == talker->total)
        return;
    if (size > talker->total - talker->at)
        size = talker->total - talker->at;
    slot->then = on_spoken;
    slot->context = talker;
    if (random_below(4) == 0)
        proa_send_relaxed(talker->loop, &slot->op, talker->near, talker->data + talker->at, size, slot_done);
    else
        proa_send(talker->loop, &slot->op, talker->near, talker->data + talker->at, size, slot_done);
    talker->at += size;
}

static void on_spoken(struct slot *slot, proa_result result)
{
    struct talker *talker = slot->context;

    REQUIRE(result.value > 0);
    for (size_t i = 0; i < ARRAY_SIZE(talker->slots); i++) {
        if (!proa_in_flight(&talker->slots[i].op) && random_below(2))
            talk(talker, &talker->slots[i]);
    }
    if (!proa_in_flight(&slot->op))
        talk(talker, slot);
}

static void test_talker(enum family family)
{
    static struct talker talker;
    struct reader reader = {.holds = true};
    struct slot tick = {0};

    test_case("sends started among others, %s", family == TCP ? "TCP" : "Unix");
    talker = (struct talker){.loop = loop_open(), .total = test_slow() ? 2 << 20 : 8 << 20};
    pair_open(talker.loop, family, &talker.near, &reader.far);
    set_size(talker.near.handle, SO_SNDBUF, 16384);
    talker.data = malloc(talker.total);
    pattern_fill(talker.data, talker.total, 0);
    talk(&talker, &talker.slots[0]);
    proa_timer_repeat(talker.loop, &tick.op, 1, MS, slot_done);
    while (reader.at < talker.total) {
        proa_loop_run(talker.loop, PROA_ONCE);
        for (int i = 0; i < 8; i++)
            reader_step(&reader, 1 + random_below(30000));
    }
    HOLDS(reader.holds && reader.at == talker.total);
    close_now(talker.loop, talker.near);
    close_plain(reader.far);
    proa_loop_close(talker.loop);
    free(talker.data);
}

/* The end of stream comes after all the bytes of the sends before it. */
static void test_shutdown_behind_sends(void)
{
    proa_loop *loop = loop_open();
    struct reader reader = {.holds = true};
    struct slot sends[4] = {0}, ending = {0}, late = {0}, tick = {0};
    char *data = malloc(STUCK_SIZE);
    proa_fd near;

    test_case("shutdown behind sends");
    pattern_fill(data, STUCK_SIZE, 0);
    pair_open(loop, TCP, &near, &reader.far);
    set_size(near.handle, SO_SNDBUF, 16384);
    for (size_t i = 0; i < 4; i++)
        proa_send(loop, &sends[i].op, near, data + i * STUCK_SIZE / 4, STUCK_SIZE / 4, slot_done);
    proa_shutdown(loop, &ending.op, near, SHUT_WR, slot_done);
    proa_send(loop, &late.op, near, "late", 4, slot_done);
    proa_timer_repeat(loop, &tick.op, 1, MS / 4, slot_done);
    while (!reader_step(&reader, 65536))
        proa_loop_run(loop, PROA_ONCE);
    RUN_UNTIL(loop, ending.finals && late.finals);
    HOLDS(reader.holds && reader.at == STUCK_SIZE);
    HOLDS(sends[3].value == STUCK_SIZE / 4 && ending.value == 0);
    HOLDS(sends[3].order < ending.order);
    HOLDS(late.value == -EPIPE && proa_sent(&late.op) == 0);
    close_now(loop, near);
    close_plain(reader.far);
    proa_loop_close(loop);
    free(data);
}

/* A peer that goes away half-way: the send in flight tells how much was taken, those behind it took nothing. */
static void test_error_counts(enum family family)
{
    proa_loop *loop = loop_open();
    struct slot sends[3] = {0}, tick = {0};
    char *data = calloc(1, STUCK_SIZE);
    char got[4096];
    size_t taken = 0;
    proa_fd near;
    int far;

    test_case("counts after an error, %s", family == TCP ? "TCP" : "Unix");
    pair_open(loop, family, &near, &far);
    set_size(near.handle, SO_SNDBUF, 16384);
    proa_send(loop, &sends[0].op, near, data, 100, slot_done);
    proa_send(loop, &sends[1].op, near, data, STUCK_SIZE, slot_done);
    proa_send(loop, &sends[2].op, near, data, 100, slot_done);
    proa_timer_repeat(loop, &tick.op, 1, MS, slot_done);
    while (taken <= 100) { /* some of the second, too */
        ssize_t count = recv(far, got, sizeof(got), MSG_DONTWAIT);

        taken += count > 0 ? (size_t)count : 0;
        proa_loop_run(loop, PROA_ONCE);
    }
    close_plain(far);
    RUN_UNTIL(loop, sends[1].finals && sends[2].finals);
    HOLDS(sends[0].value == 100);
    HOLDS(sends[1].value == -ECONNRESET || sends[1].value == -EPIPE);
    HOLDS(proa_sent(&sends[1].op) > 0 && proa_sent(&sends[1].op) < STUCK_SIZE);
    HOLDS(sends[2].value == -EPIPE || sends[2].value == -ECONNRESET);
    HOLDS(proa_sent(&sends[2].op) == 0);
    HOLDS(sends[1].order < sends[2].order);
    close_now(loop, near);
    proa_loop_close(loop);
    free(data);
}

/* Nothing to send is sent at once, also behind others. */
static void test_empty_sends(void)
{
    proa_loop *loop = loop_open();
    struct slot sends[4] = {0};
    char data[8];
    proa_fd near;
    int far;

    test_case("sends of nothing");
    pair_open(loop, TCP, &near, &far);
    proa_send(loop, &sends[0].op, near, "", 0, slot_done);
    proa_send(loop, &sends[1].op, near, "a", 1, slot_done);
    proa_send(loop, &sends[2].op, near, "", 0, slot_done);
    proa_send(loop, &sends[3].op, near, "b", 1, slot_done);
    RUN_UNTIL(loop, sends[3].finals);
    for (size_t i = 0; i < 4; i++)
        HOLDS(sends[i].finals == 1 && sends[i].value == (int64_t)(i % 2));
    HOLDS(far_read(far, data, 2) == 2 && data[0] == 'a' && data[1] == 'b' && far_drain(far) == 0);
    close_now(loop, near);
    close_plain(far);
    proa_loop_close(loop);
}

/* Receives that wait on one stream are served in the order of their start. */
static void test_receives_in_order(void)
{
    enum { COUNT = 16 };
    proa_loop *loop = loop_open();
    struct slot slots[COUNT] = {0};
    char data[COUNT] = {0};
    proa_fd near;
    int far;

    test_case("%d receives on one stream", COUNT);
    pair_open(loop, TCP, &near, &far);
    for (size_t i = 0; i < COUNT; i++)
        proa_recv(loop, &slots[i].op, near, &data[i], 1, slot_done);
    proa_loop_run(loop, PROA_NO_WAIT);
    REQUIRE(write(far, "ABCDEFGHIJKLMNOP", COUNT) == COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        RUN_UNTIL(loop, slots[i].finals);
        REQUIRE(slots[i].value == 1);
        HOLDS(i == 0 || slots[i].order > slots[i - 1].order);
    }
    HOLDS(memcmp(data, "ABCDEFGHIJKLMNOP", COUNT) == 0);
    close_now(loop, near);
    close_plain(far);
    proa_loop_close(loop);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "c08_streams_keep_order");
    for (size_t i = 0; i < ARRAY_SIZE(plans); i++)
        test_order(&plans[i]);
    test_talker(TCP);
    test_talker(UNIX);
    test_shutdown_behind_sends();
    test_error_counts(TCP);
    test_error_counts(UNIX);
    test_empty_sends();
    test_receives_in_order();
    return check_done("c08_streams_keep_order");
}

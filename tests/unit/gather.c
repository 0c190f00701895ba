/* Gathering: what is left of the first send and of those behind it, in order, each piece whole; it stops at what is not
 * a send and at GATHER_MAX, and is relaxed only where all of them are and nothing waits behind. */
#include "engine/gather.h"

#include <stdbool.h>
#include <string.h>

#include "../check.h"

enum { COUNT = GATHER_MAX + 8 };

static proa_op ops[COUNT];
static uint8_t bytes[COUNT * 16];
static struct op_list list;
static struct iovec pieces[GATHER_MAX + 1];

/* `count` sends of 16 bytes each. */
static void queue_sends(unsigned count, uint16_t flags)
{
    memset(ops, 0, sizeof(ops));
    memset(pieces, 0xa5, sizeof(pieces));
    list.first = NULL;
    for (unsigned i = 0; i < count; i++) {
        ops[i].kind = OP_SEND;
        ops[i].flags = flags;
        ops[i].data = bytes + (size_t)i * 16;
        ops[i].size = 16;
        list_append(&list, &ops[i]);
    }
}

static bool piece_is(unsigned i, size_t offset, size_t size)
{
    return pieces[i].iov_base == bytes + offset && pieces[i].iov_len == size;
}

static void test_what_is_left(void)
{
    struct gathering all;

    queue_sends(3, 0);
    ops[0].moved = 5;
    ops[1].size = 0; /* a send of nothing is a piece too: it completes in its turn */
    all = gather(list.first, pieces);
    CHECK(all.count == 3 && all.size == 11 + 0 + 16);
    CHECK(piece_is(0, 5, 11) && piece_is(1, 16, 0) && piece_is(2, 32, 16));
    for (unsigned i = 0; i < 3; i++)
        CHECK(ops[i].flags == OP_SUBMITTED);
}

/* From the middle of the queue: what is before the first one is not looked at. */
static void test_from_the_middle(void)
{
    struct gathering all;

    queue_sends(3, 0);
    all = gather(&ops[1], pieces);
    CHECK(all.count == 2 && all.size == 32 && piece_is(0, 16, 16) && piece_is(1, 32, 16));
    CHECK(ops[0].flags == 0);
}

static void test_stops_at_another_kind(void)
{
    struct gathering all;

    queue_sends(4, OP_RELAXED);
    ops[2].kind = OP_SHUTDOWN;
    all = gather(list.first, pieces);
    CHECK(all.count == 2 && all.size == 32);
    CHECK(!all.relaxed); /* the shutdown waits for their end */
    CHECK(ops[1].flags & OP_SUBMITTED);
    CHECK(!(ops[2].flags & OP_SUBMITTED) && !(ops[3].flags & OP_SUBMITTED));
}

static void test_stops_when_full(void)
{
    static const struct iovec untouched = {.iov_len = (size_t)0xa5a5a5a5a5a5a5a5};
    struct gathering all;

    queue_sends(GATHER_MAX, OP_RELAXED);
    all = gather(list.first, pieces);
    CHECK(all.count == GATHER_MAX && all.size == (size_t)GATHER_MAX * 16 && all.relaxed);

    queue_sends(COUNT, OP_RELAXED);
    all = gather(list.first, pieces);
    CHECK(all.count == GATHER_MAX && all.size == (size_t)GATHER_MAX * 16 && !all.relaxed);
    CHECK(pieces[GATHER_MAX].iov_len == untouched.iov_len);
    CHECK(!(ops[GATHER_MAX].flags & OP_SUBMITTED));
}

static void test_relaxed(void)
{
    queue_sends(3, OP_RELAXED);
    CHECK(gather(list.first, pieces).relaxed == OP_RELAXED);

    queue_sends(3, 0);
    CHECK(!gather(list.first, pieces).relaxed);

    for (unsigned strict = 0; strict < 3; strict++) {
        queue_sends(3, OP_RELAXED);
        ops[strict].flags = 0;
        CHECK(!gather(list.first, pieces).relaxed);

        queue_sends(3, OP_RELAXED);
        ops[strict].flags |= OP_REFUSED;
        CHECK(!gather(list.first, pieces).relaxed);
    }
}

int main(void)
{
    test_what_is_left();
    test_from_the_middle();
    test_stops_at_another_kind();
    test_stops_when_full();
    test_relaxed();
    return check_done("gather");
}

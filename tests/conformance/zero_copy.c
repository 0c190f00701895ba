/* proa_send_zero_copy(): two completions, all taken and memory free, exactly once each and in this order, on every engine;
 * by reference where the engine can, by value elsewhere and told so. Over loopback the kernel copies as it delivers, but
 * what waits for a peer that does not read lies in the sender's memory alone: there a final that came early is found out. */
#include "harness.h"
#include "reader.h"

#include "loop/loop.h"

enum { HELD = 128 << 10, STUCK = 4 << 20, LARGE = 1 << 20 };

static proa_loop *loop;
static uint8_t *memory; /* STUCK bytes */

/* Whether the engine sends by reference at all. */
static bool refers(void)
{
    return !test_simulated() && strcmp(test_engine(), "threads") != 0 && !test_has(PROA_FEATURE_SQPOLL);
}

/* A near end whose number all engines know, with room for what is held, and a far one that takes little. */
static void pair_connect(proa_fd *ret_near, int *ret_far)
{
    proa_address bound;
    proa_fd listener = listen_on(loop, TCP, 16, &bound);
    struct slot slot = {0};

    set_size(listener.handle, SO_RCVBUF, 32768);
    proa_connect(loop, &slot.op, &bound, slot_done);
    RUN_UNTIL(loop, slot.finals);
    REQUIRE(slot.value >= 0);
    *ret_near = proa_fd_of((int)slot.value);
    *ret_far = accept4(listener.handle, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    REQUIRE(*ret_far >= 0);
    set_size(ret_near->handle, SO_SNDBUF, LARGE);
    close_now(loop, listener);
}

static void pair_close(proa_fd near, int far)
{
    close_now(loop, near);
    close_plain(far);
}

/* A send and the order of its two completions. */
struct parcel {
    struct slot slot;
    uint64_t taken_order;
    int64_t taken;
    size_t size;
    bool orderly;
};

static void on_parcel(struct slot *slot, proa_result result)
{
    struct parcel *parcel = proa_owner(slot, struct parcel, slot);

    if (result.flags & PROA_MORE) {
        parcel->orderly = slot->mores == 1 && slot->finals == 0 && !(result.flags & PROA_COPIED);
        parcel->taken_order = slot->order;
        parcel->taken = result.value;
    }
}

static void parcel_send(struct parcel *parcel, proa_fd fd, const void *data, size_t size)
{
    *parcel = (struct parcel){.slot.then = on_parcel, .size = size};
    CALL(proa_send_zero_copy(loop, &parcel->slot.op, fd, data, size, slot_done));
}

static bool parcel_arrived(const struct parcel *parcel)
{
    const struct slot *slot = &parcel->slot;

    return slot->mores == 1 && slot->finals == 1 && parcel->orderly && parcel->taken == (int64_t)parcel->size &&
           slot->value == (int64_t)parcel->size && proa_sent(&slot->op) == parcel->size;
}

/* One that failed after part of it was taken. */
static bool parcel_failed(const struct parcel *parcel, int error)
{
    return parcel->slot.mores == 0 && parcel->slot.finals == 1 && parcel->slot.value == error;
}

/* Turns the loop while the far end reads, until both are through. */
static void read_until(struct reader *reader, uint64_t end, const struct slot *last)
{
    struct slot tick = {0};

    proa_timer_repeat(loop, &tick.op, 1, MS / 4, slot_done);
    while (reader->at < end || !last->finals) {
        reader_step(reader, 65536);
        proa_loop_run(loop, PROA_ONCE);
    }
    proa_cancel(&tick.op);
    RUN_UNTIL(loop, tick.finals);
}

/* Whatever the size: what arrives is what was sent, although the memory is written over as soon as it may be. */
static void test_sizes(enum family family)
{
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 16383, 16384, 65536, 300001, LARGE};
    struct reader reader = {.holds = true};
    struct parcel parcel;
    proa_fd near;

    pair_open(loop, family, &near, &reader.far);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        uint64_t from = reader.at;

        test_case("%zu bytes, %s", sizes[i], family == TCP ? "TCP" : "Unix");
        pattern_fill(memory, sizes[i], from);
        parcel_send(&parcel, near, memory, sizes[i]);
        read_until(&reader, from + sizes[i], &parcel.slot);
        memset(memory, 0xdb, sizes[i]);
        HOLDS(parcel_arrived(&parcel) && reader.holds);
        if (!refers() || family == UNIX || sizes[i] < 16384)
            HOLDS(parcel.slot.flags & PROA_COPIED);
    }
    pair_close(near, reader.far);
}

/* The parcels, plain sends and a shutdown stand in one order; all in flight at once, to a slow reader. */
static void test_order(void)
{
    enum { COUNT = 48, PIECE = 40000 };
    static struct parcel parcels[COUNT];
    static struct slot plain[COUNT];
    struct reader reader = {.holds = true};
    struct slot ending = {0}, tick = {0};
    size_t at = 0;
    proa_fd near;

    test_case("among other sends, in order");
    pair_open(loop, TCP, &near, &reader.far);
    set_size(near.handle, SO_SNDBUF, 65536);
    memset(plain, 0, sizeof(plain));
    pattern_fill(memory, (size_t)COUNT * PIECE, 0);
    for (size_t i = 0; i < COUNT; i++) {
        parcel_send(&parcels[i], near, memory + at, PIECE - 100 * i);
        at += parcels[i].size;
        proa_send(loop, &plain[i].op, near, memory + at, 100 * i, slot_done);
        at += 100 * i;
    }
    proa_shutdown(loop, &ending.op, near, SHUT_WR, slot_done);
    proa_timer_repeat(loop, &tick.op, 1, MS / 4, slot_done);
    while (!reader_step(&reader, 16384))
        proa_loop_run(loop, PROA_ONCE);
    RUN_UNTIL(loop, parcels[COUNT - 1].slot.finals && ending.finals);
    HOLDS(reader.holds && reader.at == at && ending.value == 0);
    for (size_t i = 0; i < COUNT; i++) {
        RUN_UNTIL(loop, parcels[i].slot.finals);
        REQUIRE(HOLDS(parcel_arrived(&parcels[i]) && plain[i].finals == 1 && plain[i].value == (int64_t)(100 * i)));
        HOLDS(parcels[i].taken_order < plain[i].order && plain[i].order < ending.order);
        HOLDS(i == 0 || plain[i - 1].order < parcels[i].taken_order);
    }
    proa_cancel(&tick.op);
    RUN_UNTIL(loop, tick.finals);
    pair_close(near, reader.far);
}

/* Taken whole by a kernel that cannot pass it on yet. */
static void hold(struct parcel *parcel, proa_fd near)
{
    pattern_fill(memory, HELD, 0);
    parcel_send(parcel, near, memory, HELD);
    RUN_UNTIL(loop, parcel->slot.mores);
    loop_run_for(loop, 2 * MS);
    HOLDS(parcel->slot.finals == 0 && proa_in_flight(&parcel->slot.op));
}

static void test_memory_is_the_kernels(void)
{
    struct reader reader = {.holds = true};
    proa_meters before = proa_loop_meters(loop), after;
    struct parcel parcel;
    proa_fd near;

    test_case("the memory is free when it is told, not before");
    pair_connect(&near, &reader.far);
    hold(&parcel, near);
    read_until(&reader, HELD, &parcel.slot);
    HOLDS(parcel_arrived(&parcel) && reader.holds);
    HOLDS(parcel.slot.flags & PROA_COPIED); /* loopback */
    after = proa_loop_meters(loop);
    HOLDS(after.zero_copy_sends == before.zero_copy_sends + 1);
    HOLDS(after.zero_copy_copied == before.zero_copy_copied + 1);
    HOLDS(after.bytes_copied - before.bytes_copied >= HELD);
    HOLDS(after.bytes_copied - before.bytes_copied < 2 * HELD);

    test_case("who writes too early is heard by the peer"); /* so that the case before cannot pass for nothing */
    reader = (struct reader){reader.far, 0, true};
    hold(&parcel, near);
    memset(memory, 0xdb, HELD);
    read_until(&reader, HELD, &parcel.slot);
    HOLDS(!reader.holds && parcel_arrived(&parcel));
    pair_close(near, reader.far);
}

/* Neither takes back what the kernel has: they wait for it. */
static void test_early_ends(bool by_deadline)
{
    struct reader reader = {.holds = true};
    struct parcel parcel;
    proa_fd near;

    test_case("a %s, all taken", by_deadline ? "deadline" : "cancel");
    pair_connect(&near, &reader.far);
    hold(&parcel, near);
    if (by_deadline)
        proa_set_deadline(&parcel.slot.op, clock_ns() + MS / 2);
    else
        CALL(proa_cancel(&parcel.slot.op));
    loop_run_for(loop, 2 * MS);
    HOLDS(parcel.slot.finals == 0);
    read_until(&reader, HELD, &parcel.slot);
    HOLDS(parcel_arrived(&parcel) && reader.holds);

    test_case("a %s, part of it taken", by_deadline ? "deadline" : "cancel");
    reader.at = 0;
    pattern_fill(memory, STUCK, 0);
    parcel_send(&parcel, near, memory, STUCK);
    RUN_UNTIL(loop, proa_sent(&parcel.slot.op) > 0);
    loop_run_for(loop, 2 * MS);
    HOLDS(parcel.slot.mores == 0);
    if (by_deadline)
        proa_set_deadline(&parcel.slot.op, clock_ns() + MS / 2);
    else
        CALL(proa_cancel(&parcel.slot.op));
    loop_run_for(loop, 2 * MS);
    HOLDS(parcel.slot.finals == 0);
    read_until(&reader, 1, &parcel.slot);
    while (far_drain(reader.far) > 0)
        continue;
    HOLDS(parcel_failed(&parcel, by_deadline ? -ETIMEDOUT : -ECANCELED) && reader.holds);
    HOLDS(proa_sent(&parcel.slot.op) >= reader.at && proa_sent(&parcel.slot.op) < STUCK);
    pair_close(near, reader.far);
}

/* Starts a send of which the kernel has all, where it is small enough, or as much as there is room for. */
static void parcel_stall(struct parcel *parcel, proa_fd fd, size_t size)
{
    parcel_send(parcel, fd, memory, size);
    RUN_UNTIL(loop, size == HELD ? parcel->slot.mores > 0 : proa_sent(&parcel->slot.op) > 0);
    loop_run_for(loop, 2 * MS);
}

/* A close gets the memory back from a peer that never reads. */
static void test_close(size_t size)
{
    struct slot closing = {0}, receive = {0}, behind = {0};
    struct parcel parcel;
    char byte;
    proa_fd near;
    int far;

    test_case("a close, the peer reads nothing of %zu", size);
    pair_connect(&near, &far);
    proa_recv(loop, &receive.op, near, &byte, 1, slot_done);
    parcel_stall(&parcel, near, size);
    proa_send(loop, &behind.op, near, memory, size, slot_done);
    CALL(proa_close(loop, &closing.op, near, slot_done));
    RUN_UNTIL(loop, closing.finals);
    HOLDS(size == HELD ? parcel_arrived(&parcel) : parcel_failed(&parcel, -ECANCELED));
    HOLDS(parcel.slot.order < closing.order && closing.value == 0 && !fd_is_open(near.handle));
    HOLDS(receive.value == -ECANCELED && behind.finals == 1);
    HOLDS(far_ended(far));
    close_plain(far);
}

/* The same of an accepted one, of whatever sort. */
static void test_close_accepted(void)
{
    struct slot closing = {0};
    struct parcel parcel;
    proa_fd near;
    int far;

    test_case("a close of an accepted socket");
    pair_open(loop, TCP, &near, &far);
    set_size(near.handle, SO_SNDBUF, 65536); /* left to itself it grows to hold almost all */
    parcel_send(&parcel, near, memory, STUCK);
    RUN_UNTIL(loop, proa_sent(&parcel.slot.op) > 0);
    loop_run_for(loop, MS);
    CALL(proa_close(loop, &closing.op, near, slot_done));
    RUN_UNTIL(loop, closing.finals);
    HOLDS(parcel_failed(&parcel, -ECANCELED) && parcel.slot.order < closing.order && closing.value == 0);
    HOLDS(far_ended(far));
    close_plain(far);
}

/* Underway to a peer that reads nothing. */
static void send_unread(struct parcel *parcel, size_t size, proa_fd *ret_near, int *ret_far)
{
    pair_connect(ret_near, ret_far);
    parcel_stall(parcel, *ret_near, size);
}

static void test_loop_close(size_t size)
{
    struct parcel parcel;
    proa_fd near;
    int far;

    test_case("the loop's close, the peer reads nothing of %zu", size);
    send_unread(&parcel, size, &near, &far);
    proa_loop_close(loop);
    HOLDS(size == HELD ? parcel_arrived(&parcel) : parcel_failed(&parcel, -ECANCELED));
    loop = loop_open();
    if (test_simulated())
        return;
    close_plain(near.handle);
    close_plain(far);
}

static void test_early_closer(size_t size)
{
    struct parcel parcel;
    proa_fd near;
    int far;

    test_case("the peer goes away, having read nothing of %zu", size);
    send_unread(&parcel, size, &near, &far);
    close_plain(far);
    RUN_UNTIL(loop, parcel.slot.finals);
    HOLDS(size == HELD ? parcel_arrived(&parcel)
                       : parcel_failed(&parcel, -ECONNRESET) || parcel_failed(&parcel, -EPIPE));
    HOLDS(size == HELD || (proa_sent(&parcel.slot.op) > 0 && proa_sent(&parcel.slot.op) < size));
    close_now(loop, near);
}

/* Shut down on both sides, a socket is in a state that is reported for as long as it lasts. */
static void test_idle(bool shut)
{
    struct reader reader = {.holds = true};
    struct slot ending = {0};
    struct parcel parcel;
    proa_fd near;

    test_case("to await notices takes no time, %s", shut ? "shut down" : "open");
    pair_connect(&near, &reader.far);
    hold(&parcel, near);
    if (shut) {
        proa_shutdown(loop, &ending.op, near, SHUT_RDWR, slot_done);
        RUN_UNTIL(loop, ending.finals);
    }
    HOLDS(loop_rests(loop, 60 * MS, 10));
    read_until(&reader, HELD, &parcel.slot);
    HOLDS(parcel_arrived(&parcel) && reader.holds);
    pair_close(near, reader.far);
}

/* With a receive that waits on the same socket: a notice is nothing to receive, and data is no notice. */
static void test_beside_receives(void)
{
    struct reader reader = {.holds = true};
    struct slot receive = {0};
    struct parcel parcel;
    char byte = 0;
    proa_fd near;

    test_case("beside a receive");
    pair_connect(&near, &reader.far);
    proa_recv(loop, &receive.op, near, &byte, 1, slot_done);
    hold(&parcel, near);
    read_until(&reader, HELD, &parcel.slot);
    HOLDS(parcel_arrived(&parcel) && reader.holds && receive.finals == 0);
    reader.at = 0;
    hold(&parcel, near);
    REQUIRE(write(reader.far, "ab", 2) == 2);
    RUN_UNTIL(loop, receive.finals);
    HOLDS(receive.value == 1 && byte == 'a' && parcel.slot.finals == 0);
    read_until(&reader, HELD, &parcel.slot); /* the other byte, which nobody receives, lies there */
    HOLDS(parcel_arrived(&parcel) && reader.holds);
    pair_close(near, reader.far);
}

/* Sockets from elsewhere: known by number only, and maybe not ours alone. */
static void test_foreign(bool used)
{
    struct reader reader = {.holds = true};
    struct parcel parcel;
    proa_fd inner;
    int far, near, one = 1;

    test_case("a socket from elsewhere%s", used ? ", sent on without copy before" : "");
    pair_connect(&inner, &far);
    near = far; /* the accepted end, which no op has made */
    reader.far = inner.handle;
    if (used) {
        REQUIRE(setsockopt(near, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)) == 0);
        REQUIRE(send(near, "", 1, MSG_ZEROCOPY) == 1);
        REQUIRE(far_wait(reader.far) && recv(reader.far, &one, 1, 0) == 1);
    }
    for (int i = 0; i < 3; i++) {
        reader.at = 0;
        pattern_fill(memory, HELD, 0);
        parcel_send(&parcel, proa_fd_of(near), memory, HELD);
        read_until(&reader, HELD, &parcel.slot);
        HOLDS(parcel_arrived(&parcel) && reader.holds);
    }
    pair_close(inner, near);
}

static void test_registered(void)
{
    struct reader reader = {.holds = true};
    struct parcel parcel;
    proa_fd near;
    int error = proa_memory_register(loop, memory, LARGE);

    test_case("registered memory");
    if (error == -ENOMEM)
        return; /* RLIMIT_MEMLOCK */
    REQUIRE(error == 0);
    pair_connect(&near, &reader.far);
    hold(&parcel, near);
    read_until(&reader, HELD, &parcel.slot);
    HOLDS(parcel_arrived(&parcel) && reader.holds);
    pair_close(near, reader.far);
    proa_memory_unregister(loop, memory);
}

/* What is linked behind it has its turn when the memory is free. */
static void test_link(void)
{
    struct reader reader = {.holds = true};
    struct slot linked = {0};
    struct parcel parcel;
    proa_fd near;

    test_case("a link");
    pair_connect(&near, &reader.far);
    pattern_fill(memory, HELD, 0);
    proa_link_begin(loop);
    parcel_send(&parcel, near, memory, HELD);
    proa_timer(loop, &linked.op, 1, slot_done);
    proa_link_end(loop);
    RUN_UNTIL(loop, parcel.slot.mores);
    loop_run_for(loop, MS);
    HOLDS(linked.finals == 0);
    read_until(&reader, HELD, &parcel.slot);
    RUN_UNTIL(loop, linked.finals);
    HOLDS(parcel_arrived(&parcel) && linked.value == 0 && linked.order > parcel.slot.order);
    pair_close(near, reader.far);
}

/* Refused by reference, at once or half-way, it is sent by value; a fault in reading notices loses none. */
static void test_fault(enum sys_call call, uint32_t skip, int error)
{
    static struct sys_fault plan[SYS_CALL_COUNT];
    struct reader reader = {.holds = true};
    struct parcel parcel;
    proa_fd near;

    test_case("call %d number %u fails: %s", call, skip, strerrorname_np(error));
    pair_connect(&near, &reader.far);
    set_size(near.handle, SO_SNDBUF, 65536);
    memset(plan, 0, sizeof(plan));
    plan[call] = (struct sys_fault){.skip = skip, .times = 1, .error = -error};
    loop->host.sys.faults = plan;
    pattern_fill(memory, LARGE, 0);
    parcel_send(&parcel, near, memory, LARGE);
    read_until(&reader, LARGE, &parcel.slot);
    loop->host.sys.faults = NULL;
    HOLDS(parcel_arrived(&parcel) && reader.holds && parcel.slot.flags & PROA_COPIED);
    pair_close(near, reader.far);
}

static void test_held(void)
{
    test_memory_is_the_kernels();
    test_early_ends(false);
    test_early_ends(true);
    test_close(HELD);
    test_close(STUCK);
    test_early_closer(HELD);
    test_early_closer(STUCK);
    test_idle(false);
    test_idle(true);
    test_beside_receives();
    test_link();
    test_registered();
    test_loop_close(HELD);
    test_loop_close(STUCK);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "zero_copy");
    memory = malloc(STUCK);
    REQUIRE(memory != NULL);
    loop = loop_open();
    test_sizes(TCP);
    test_sizes(UNIX);
    test_order();
    test_close_accepted();
    if (refers())
        test_held();
    if (!test_simulated()) {
        test_foreign(false);
        test_foreign(true);
    }
    for (uint32_t skip = 0; refers() && skip < 3; skip++) {
        test_fault(SYS_SEND, skip, ENOBUFS);
        test_fault(SYS_SEND, skip, EOPNOTSUPP);
        test_fault(SYS_RECVMSG, skip, ENOMEM);
        test_fault(SYS_RECVMSG, skip, EINTR);
    }
    proa_loop_close(loop);
    free(memory);
    return check_done("zero_copy");
}

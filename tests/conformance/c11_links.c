/* Rule 11: a link runs strictly in order. The first failure, short counts of files included, completes the rest with
 * ECANCELED. Whatever ends before its turn takes those behind it along, and lets those before it go on. */
#include "kinds.h"

#include <poll.h>

enum { LENGTH = 8 };

static struct slot slots[LENGTH];
static proa_loop *loop;

static void begin(const char *name)
{
    test_case("%s", name);
    memset(slots, 0, sizeof(slots));
    loop = loop_open();
    proa_link_begin(loop);
}

static bool all_over(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!slots[i].finals)
            return false;
    return true;
}

static void run(unsigned count)
{
    RUN_UNTIL(loop, all_over(count));
    proa_loop_run(loop, PROA_NO_WAIT);
    for (unsigned i = 0; i < count; i++)
        HOLDS(slots[i].finals == 1);
}

static void finish(unsigned count)
{
    run(count);
    fds_close(loop);
    proa_loop_close(loop);
}

static bool in_order(unsigned first, unsigned count)
{
    for (unsigned i = first + 1; i < first + count; i++)
        if (slots[i].order < slots[i - 1].order)
            return false;
    return true;
}

static bool cancelled(unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++)
        if (slots[i].value != -ECANCELED)
            return false;
    return true;
}

/* Each is due before the one in front of it. */
static void test_order(void)
{
    uint64_t now = clock_ns();

    begin("the earlier in time waits for the earlier in the link");
    for (unsigned i = 0; i < LENGTH; i++)
        CALL(proa_timer(loop, &slots[i].op, now + (LENGTH - i) * MS, slot_done));
    proa_link_end(loop);
    finish(LENGTH);
    HOLDS(in_order(0, LENGTH) && slots[0].value == 0 && slots[LENGTH - 1].value == 0);
    HOLDS(slots[LENGTH - 1].at_ns >= now + LENGTH * MS);
}

/* Begins a link whose first op takes until something is written to the end that is returned. */
static int wait_for_write(struct slot *slot, int *ret_polled)
{
    int ends[2];

    REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    *ret_polled = ends[0];
    proa_poll(loop, &slot->op, proa_fd_of(ends[0]), POLLIN, slot_done);
    return ends[1];
}

static void test_two_links(void)
{
    uint64_t now;
    int polled, other;

    begin("two links know nothing of each other");
    now = clock_ns();
    other = wait_for_write(&slots[0], &polled);
    proa_timer(loop, &slots[1].op, now, slot_done);
    proa_link_end(loop);
    proa_link_begin(loop);
    proa_timer(loop, &slots[2].op, now, slot_done);
    proa_timer(loop, &slots[3].op, now, slot_done);
    proa_link_end(loop);
    proa_timer(loop, &slots[4].op, now, slot_done);
    RUN_UNTIL(loop, slots[3].finals && slots[4].finals);
    HOLDS(!slots[0].finals && !slots[1].finals);
    REQUIRE(write(other, "x", 1) == 1);
    run(5);
    HOLDS(slots[0].order < slots[1].order);
    proa_loop_close(loop);
    close_plain(polled);
    close_plain(other);
}

static proa_open_how how(int flags)
{
    return (proa_open_how){.flags = flags, .mode = 0600};
}

static void test_file(void)
{
    char data[3] = "";

    begin("a file is made, written, synced, read and closed");
    CALL(proa_open(loop, &slots[0].op, PROA_CWD, temp_path("made"), how(O_RDWR | O_CREAT | O_TRUNC), slot_done));
    CALL(proa_write(loop, &slots[1].op, PROA_LINKED, "xyz", 3, 0, slot_done));
    CALL(proa_fsync(loop, &slots[2].op, PROA_LINKED, slot_done));
    CALL(proa_read(loop, &slots[3].op, PROA_LINKED, data, 3, 0, slot_done));
    CALL(proa_close(loop, &slots[4].op, PROA_LINKED, slot_done));
    proa_link_end(loop);
    finish(5);
    HOLDS(in_order(0, 5));
    HOLDS(slots[1].value == 3 && slots[2].value == 0 && slots[3].value == 3 && slots[4].value == 0);
    HOLDS(memcmp(data, "xyz", 3) == 0);
    HOLDS(!fd_is_open((int)slots[0].value));
}

static void test_failure(void)
{
    begin("what is behind a failure never happens");
    proa_open(loop, &slots[0].op, PROA_CWD, temp_path("there-is-none"), how(O_RDONLY), slot_done);
    proa_open(loop, &slots[1].op, PROA_CWD, temp_path("never-made"), how(O_RDWR | O_CREAT), slot_done);
    proa_read(loop, &slots[2].op, PROA_LINKED, slots, 1, 0, slot_done);
    proa_close(loop, &slots[3].op, PROA_LINKED, slot_done);
    proa_link_end(loop);
    finish(4);
    HOLDS(slots[0].value == -ENOENT && cancelled(1, 3) && in_order(0, 4));
    HOLDS(access(temp_path("never-made"), F_OK) < 0);
}

static void test_short_count(bool write_follows)
{
    char data[64];
    int file = temp_file("short", "0123456789", 10);

    begin("a read that is short ends the link");
    proa_read(loop, &slots[0].op, proa_fd_of(file), data, sizeof(data), 0, slot_done);
    if (write_follows)
        proa_write(loop, &slots[1].op, proa_fd_of(file), "x", 1, 0, slot_done);
    else
        proa_timer(loop, &slots[1].op, 0, slot_done);
    proa_link_end(loop);
    finish(2);
    HOLDS(slots[0].value == 10 && cancelled(1, 1));
    close_plain(file);
}

static void test_short_receive(enum family family)
{
    char data[64];
    proa_fd near;
    int far;

    begin("a receive takes what is there, and the link goes on");
    proa_link_end(loop);
    pair_open(loop, family, &near, &far);
    REQUIRE(write(far, "abc", 3) == 3);
    proa_link_begin(loop);
    proa_recv(loop, &slots[0].op, near, data, sizeof(data), slot_done);
    proa_send_relaxed(loop, &slots[1].op, PROA_LINKED, data, 3, slot_done);
    proa_shutdown(loop, &slots[2].op, PROA_LINKED, SHUT_WR, slot_done);
    proa_link_end(loop);
    run(3);
    HOLDS(slots[0].value == 3 && slots[1].value == 3 && slots[2].value == 0 && in_order(0, 3));
    HOLDS(recv(far, data + 8, 8, MSG_WAITALL) == 3 && memcmp(data + 8, "abc", 3) == 0 && far_ended(far));
    fds_close(loop);
    proa_loop_close(loop);
    close_plain(far);
}

static void test_cancel(unsigned which)
{
    uint64_t now = clock_ns();

    begin("one that is cancelled takes those behind it along");
    for (unsigned i = 0; i < 4; i++)
        proa_timer(loop, &slots[i].op, now + 3 * MS, slot_done);
    proa_link_end(loop);
    proa_loop_run(loop, PROA_NO_WAIT);
    if (slots[0].finals)
        return finish(4); /* on a machine this slow */
    CALL(proa_cancel(&slots[which].op));
    finish(4);
    HOLDS(cancelled(which, 4 - which));
    for (unsigned i = 0; i < which; i++)
        HOLDS(slots[i].value == 0);
}

static void test_cancel_while_open(void)
{
    uint64_t now = clock_ns();

    begin("what is started behind a cancelled one goes behind those that are left");
    proa_timer(loop, &slots[0].op, now + 3 * MS, slot_done);
    proa_timer(loop, &slots[1].op, now, slot_done);
    proa_cancel(&slots[1].op);
    proa_timer(loop, &slots[2].op, now, slot_done);
    proa_link_end(loop);
    finish(3);
    HOLDS(slots[0].value == 0 && slots[1].value == -ECANCELED && slots[2].value == 0);
    HOLDS(slots[1].order < slots[0].order && slots[0].order < slots[2].order);
}

static void test_deadline(unsigned which, bool is_timer)
{
    uint64_t now = clock_ns();
    proa_fd near;
    char byte;
    int far;

    begin("a deadline holds before its op's turn, too");
    proa_link_end(loop);
    pair_open(loop, TCP, &near, &far);
    proa_link_begin(loop);
    for (unsigned i = 0; i < 3; i++) {
        if (is_timer)
            proa_timer(loop, &slots[i].op, now + 60 * PROA_SECOND_NS, slot_done);
        else
            proa_recv(loop, &slots[i].op, near, &byte, 1, slot_done);
    }
    proa_link_end(loop);
    proa_set_deadline(&slots[which].op, clock_ns() + 2 * MS);
    RUN_UNTIL(loop, slots[2].finals);
    HOLDS(slots[which].value == -ETIMEDOUT && cancelled(which + 1, 2 - which) && (which == 0 || !slots[0].finals));
    proa_cancel(&slots[0].op);
    finish(3);
    close_plain(far);
}

/* What waits for its turn is pending on the descriptor it names: its number cannot become another file first. */
static void test_close(void)
{
    struct slot close_slot = {0};
    proa_fd near;
    char byte;
    int far, polled, other;

    begin("a close ends those whose turn is still to come");
    proa_link_end(loop);
    pair_open(loop, TCP, &near, &far);
    proa_link_begin(loop);
    other = wait_for_write(&slots[0], &polled);
    proa_recv(loop, &slots[1].op, near, &byte, 1, slot_done);
    proa_timer(loop, &slots[2].op, 0, slot_done);
    proa_close(loop, &slots[3].op, near, slot_done);
    proa_link_end(loop);
    proa_close(loop, &close_slot.op, near, slot_done);
    RUN_UNTIL(loop, close_slot.finals);
    HOLDS(close_slot.value == 0 && !fd_is_open(near.handle));
    HOLDS(slots[1].finals == 1 && cancelled(1, 3) && slots[3].order < close_slot.order && !slots[0].finals);
    HOLDS(far_ended(far));
    REQUIRE(write(other, "x", 1) == 1);
    finish(4);
    HOLDS(slots[0].value == POLLIN);
    close_plain(far);
    close_plain(polled);
    close_plain(other);
}

static void free_and_close(struct slot *slot, proa_result result)
{
    struct slot *close_slot = slot->context;
    proa_loop *of_slot = slot->op.loop;

    (void)result;
    memset(slot, 0xa5, sizeof(*slot));
    free(slot);
    proa_close(of_slot, &close_slot->op, proa_fd_of((int)close_slot->bytes), slot_done);
}

static void close_and_make(struct slot *slot, proa_result result)
{
    struct slot *made = slot->context;

    proa_close(slot->op.loop, &slots[1].op, proa_result_fd(result), slot_done);
    proa_connect(slot->op.loop, &made->op, made->context, slot_done);
}

/* A close cannot be cancelled, but one that has not had its turn has not begun. */
static void test_close_before_its_turn(bool by_deadline)
{
    proa_fd near;
    int far;

    begin("a close that is cancelled before its turn");
    proa_link_end(loop);
    pair_open(loop, TCP, &near, &far);
    proa_link_begin(loop);
    proa_timer(loop, &slots[0].op, clock_ns() + 3600 * PROA_SECOND_NS, slot_done);
    proa_close(loop, &slots[1].op, near, slot_done);
    proa_link_end(loop);
    if (by_deadline)
        proa_set_deadline(&slots[1].op, clock_ns() + MS);
    else
        proa_cancel(&slots[1].op);
    RUN_UNTIL(loop, slots[1].finals);
    HOLDS(slots[1].value == (by_deadline ? -ETIMEDOUT : -ECANCELED));
    HOLDS(near.handle >= PROA_DIRECT_BASE || fd_is_open(near.handle));
    proa_cancel(&slots[0].op);
    close_now(loop, near);
    finish(2);
    close_plain(far);
}

/* The callback in between ends what is behind it. */
static void test_callback_ends_the_rest(void)
{
    struct slot *head = calloc(1, sizeof(*head)), close_slot = {0};
    proa_fd near;
    char byte;
    int far;

    begin("a callback frees its op and closes what the next one needs");
    proa_link_end(loop);
    REQUIRE(head != NULL);
    pair_open(loop, UNIX, &near, &far);
    close_slot.bytes = (uint64_t)near.handle;
    head->then = free_and_close;
    head->context = &close_slot;
    proa_link_begin(loop);
    proa_timer(loop, &head->op, 0, slot_done);
    proa_recv(loop, &slots[0].op, near, &byte, 1, slot_done);
    proa_timer(loop, &slots[1].op, 0, slot_done);
    proa_link_end(loop);
    run(2);
    RUN_UNTIL(loop, close_slot.finals);
    HOLDS(cancelled(0, 2) && close_slot.value == 0);
    fds_close(loop);
    proa_loop_close(loop);
    close_plain(far);
}

/* The callback of an accept closes the new connection and makes a socket, which gets its number. */
static void test_number_comes_back(void)
{
    struct slot head = {.then = NULL}, made = {0};
    char byte;
    proa_address bound;
    proa_fd listener, near;
    int far, other;

    begin("the number that was passed on becomes another file");
    proa_link_end(loop);
    listener = listen_on(loop, TCP, 4, &bound);
    far = far_connect(&bound);
    head.then = close_and_make;
    head.context = &made;
    proa_link_begin(loop);
    proa_accept(loop, &head.op, listener, slot_done);
    proa_send(loop, &slots[0].op, PROA_LINKED, "secret", 6, slot_done);
    proa_link_end(loop);
    made.context = &bound;
    run(1);
    HOLDS(slots[0].value == -ECANCELED);
    RUN_UNTIL(loop, made.finals && slots[1].finals);
    HOLDS(made.value >= 0);
    near = proa_fd_of((int)made.value);
    other = accept4(listener.handle, NULL, NULL, SOCK_NONBLOCK);
    HOLDS(other >= 0 && recv(other, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
    close_now(loop, near);
    fds_close(loop);
    proa_loop_close(loop);
    close_plain(far);
    if (other >= 0)
        close_plain(other);
}

static void test_bad_descriptor(void)
{
    begin("a bad descriptor shows in its turn");
    proa_timer(loop, &slots[0].op, clock_ns() + MS, slot_done);
    proa_recv(loop, &slots[1].op, proa_fd_of(1 << 21), slots, 1, slot_done);
    proa_timer(loop, &slots[2].op, 0, slot_done);
    proa_link_end(loop);
    finish(3);
    HOLDS(slots[0].value == 0 && slots[1].value == -EBADF && slots[2].value == -ECANCELED && in_order(0, 3));
}

static void test_loop_close(void)
{
    begin("closing the loop ends them all, in order");
    for (unsigned i = 0; i < LENGTH; i++)
        proa_timer(loop, &slots[i].op, PROA_NEVER - 1, slot_done);
    proa_link_end(loop);
    proa_set_deadline(&slots[3].op, PROA_NEVER - 1);
    proa_loop_close(loop);
    HOLDS(all_over(LENGTH) && cancelled(0, LENGTH) && in_order(0, LENGTH));
}

static void test_long(void)
{
    enum { COUNT = 10000 };
    struct slot *many = calloc(COUNT, sizeof(*many));
    unsigned wrong = 0;

    begin("a link of ten thousand");
    REQUIRE(many != NULL);
    for (unsigned i = 0; i < COUNT; i++)
        proa_timer(loop, &many[i].op, 0, slot_done);
    proa_link_end(loop);
    RUN_UNTIL(loop, many[COUNT - 1].finals);
    for (unsigned i = 1; i < COUNT; i++)
        wrong += many[i].order != many[i - 1].order + 1 || many[i].value != 0;
    HOLDS(wrong == 0);
    proa_loop_close(loop);
    free(many);
}

static bool falls_short(const struct stage *stage)
{
    const char *name = stage->kind->name;

    return strncmp(name, "read", 4) == 0 && strncmp(name, "read_", 5) != 0 && (size_t)stage->slot.value < stage->size;
}

/* Every kind of op, behind a timer: not begun before its turn, then as ever; and with a timer behind it. */
static void test_kind(const struct kind *kind)
{
    static struct stage stage;
    struct slot before = {0}, after = {0};
    bool never_ends = kind->traits & WAITS && !kind->provoke;

    if (kind->traits & (STEADFAST | MADE))
        return;
    test_case("%s between two timers", kind->name);
    stage_set(&stage, kind, loop_open());
    proa_link_begin(stage.loop);
    proa_timer(stage.loop, &before.op, clock_ns() + 3 * MS, slot_done);
    stage_start(&stage);
    proa_timer(stage.loop, &after.op, 0, slot_done);
    proa_link_end(stage.loop);
    if (never_ends)
        RUN_UNTIL(stage.loop, before.finals);
    else
        stage_finish(&stage);
    HOLDS(before.finals == 1 && before.value == 0);
    if (never_ends || kind->traits & REPEATS) {
        HOLDS(!after.finals);
        proa_cancel(&stage.slot.op);
    }
    RUN_UNTIL(stage.loop, stage.slot.finals && after.finals);
    HOLDS(after.value == (stage.slot.value < 0 || falls_short(&stage) ? -ECANCELED : 0));
    HOLDS(stage.slot.order > before.order && after.order > stage.slot.order);
    stage_close_extras(&stage);
    proa_loop_close(stage.loop);
    stage_clear(&stage);
}

/* The same, ended before its turn by the failure in front of it. */
static void test_kind_never_begun(const struct kind *kind)
{
    static struct stage stage;
    struct slot before = {0};

    if (kind->traits & (STEADFAST | MADE))
        return;
    test_case("%s behind a failure", kind->name);
    stage_set(&stage, kind, loop_open());
    proa_link_begin(stage.loop);
    proa_timer(stage.loop, &before.op, clock_ns() + 3600 * PROA_SECOND_NS, slot_done);
    stage_start(&stage);
    proa_link_end(stage.loop);
    proa_cancel(&before.op);
    RUN_UNTIL(stage.loop, stage.slot.finals);
    HOLDS(stage.slot.value == -ECANCELED && before.value == -ECANCELED && before.order < stage.slot.order);
    HOLDS(stage.slot.mores == 0);
    stage_close_extras(&stage);
    proa_loop_close(stage.loop);
    stage_clear(&stage);
}

static void misuse_begin_twice(void *argument)
{
    (void)argument;
    loop = loop_open();
    proa_link_begin(loop);
    proa_link_begin(loop);
}

static void misuse_end_alone(void *argument)
{
    (void)argument;
    loop = loop_open();
    proa_link_end(loop);
}

static void misuse_run_inside(void *argument)
{
    (void)argument;
    loop = loop_open();
    proa_link_begin(loop);
    proa_loop_run(loop, PROA_NO_WAIT);
}

static void leave_open(struct slot *slot, proa_result result)
{
    (void)result;
    proa_link_begin(slot->op.loop);
}

static void misuse_left_open(void *argument)
{
    struct slot slot = {.then = leave_open};

    (void)argument;
    loop = loop_open();
    proa_timer(loop, &slot.op, 0, slot_done);
    RUN_UNTIL(loop, false);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "c11_links");
    test_order();
    test_two_links();
    test_file();
    test_failure();
    test_short_count(false);
    test_short_count(true);
    test_short_receive(TCP);
    test_short_receive(UNIX);
    for (unsigned which = 0; which < 4; which++)
        test_cancel(which);
    test_cancel_while_open();
    for (unsigned which = 0; which < 3; which++) {
        test_deadline(which, true);
        test_deadline(which, false);
    }
    test_close();
    test_close_before_its_turn(false);
    test_close_before_its_turn(true);
    test_callback_ends_the_rest();
    test_number_comes_back();
    test_bad_descriptor();
    test_loop_close();
    test_long();
    for (size_t i = 0; i < kind_count; i++) {
        test_kind(&kinds[i]);
        test_kind_never_begun(&kinds[i]);
    }
    test_case("misuse");
    HOLDS(child_aborts("proa_link_begin", misuse_begin_twice, NULL));
    HOLDS(child_aborts("proa_link_end", misuse_end_alone, NULL));
    HOLDS(child_aborts("proa_link_begin", misuse_left_open, NULL));
    HOLDS(child_aborts("proa_loop_run", misuse_run_inside, NULL));
    return check_done("c11_links");
}

/* proa_send_relaxed(): success alone wakes no sleeping loop, but that is all that is relaxed. Its completion comes even
 * if nothing else ever happens, an error comes at once, order holds, and nobody who waits behind it is held up. */
#include "kinds.h"

static struct slot slots[64];
static proa_loop *loop;
static proa_fd near;
static int far;
static char data[4096];

static void scene_open(enum family family)
{
    memset(slots, 0, sizeof(slots));
    loop = loop_open();
    pair_open(loop, family, &near, &far);
}

static void scene_close(void)
{
    close_now(loop, near);
    close_plain(far);
    proa_loop_close(loop);
}

static void relax(size_t index, size_t size)
{
    CALL(proa_send_relaxed(loop, &slots[index].op, near, data, size, slot_done));
}

/* It has come, or comes without another turn of the loop. At most `data`. */
static bool went_out(size_t size)
{
    return far_read(far, data, size) == size && far_drain(far) == 0;
}

/* Nothing else is in flight: a loop that slept on it would sleep for ever. */
static void test_alone(enum family family)
{
    test_case("alone, %s", family == TCP ? "TCP" : "Unix");
    scene_open(family);
    for (size_t i = 0; i < 10; i++) {
        relax(i, 100);
        HOLDS(slots[i].finals == 0);
        HOLDS(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
        HOLDS(slots[i].finals == 1 && slots[i].value == 100 && proa_sent(&slots[i].op) == 100);
    }
    HOLDS(went_out(1000));
    scene_close();
}

static void test_many_alone(void)
{
    test_case("sixty-four, alone");
    scene_open(TCP);
    for (size_t i = 0; i < 64; i++)
        relax(i, 1 + i);
    HOLDS(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    for (size_t i = 0; i < 64; i++)
        REQUIRE(slots[i].finals == 1 && slots[i].value == (int64_t)i + 1);
    HOLDS(went_out(64 * 65 / 2));
    scene_close();
}

/* Delivered with the next completion that wakes the loop, and in order of the stream. */
static void test_with_the_next(void)
{
    struct slot receive = {0};
    char answer[8];

    test_case("with the next completion");
    scene_open(TCP);
    for (unsigned i = 0; i < 100; i++) {
        struct slot *sent = &slots[i % 64];

        *sent = (struct slot){0};
        proa_recv(loop, &receive.op, near, answer, sizeof(answer), slot_done);
        proa_send_relaxed(loop, &sent->op, near, "ping", 4, slot_done);
        proa_loop_run(loop, PROA_NO_WAIT);
        REQUIRE(went_out(4));
        REQUIRE(write(far, "pong", 4) == 4);
        RUN_UNTIL(loop, receive.finals > i);
        if (test_hands_over())
            RUN_UNTIL(loop, sent->finals);
        proa_loop_run(loop, PROA_NO_WAIT);
        REQUIRE(sent->finals == 1 && sent->value == 4);
    }
    HOLDS(receive.finals == 100);
    scene_close();
}

/* It does go out while nothing else happens: only its completion may wait. */
static void test_goes_out(void)
{
    struct slot receive = {0}, timer = {0};
    char answer[8];

    test_case("the bytes go out in the same turn");
    scene_open(TCP);
    proa_recv(loop, &receive.op, near, answer, sizeof(answer), slot_done);
    proa_timer(loop, &timer.op, clock_ns() + 3600 * PROA_SECOND_NS, slot_done);
    relax(0, 10);
    proa_loop_run(loop, PROA_NO_WAIT);
    HOLDS(went_out(10));
    scene_close();
    HOLDS(timer.finals == 1 && receive.finals == 1 && slots[0].finals == 1 && slots[0].value == 10);
}

/* Errors wake the loop, whatever sleeps beside. */
static void test_error_wakes(bool unconnected)
{
    struct slot timer = {0};
    int alone;

    test_case("an error wakes the loop, %s", unconnected ? "not connected" : "peer gone");
    scene_open(UNIX);
    alone = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    proa_timer(loop, &timer.op, clock_ns() + 3600 * PROA_SECOND_NS, slot_done);
    if (!unconnected)
        REQUIRE(shutdown(far, SHUT_RDWR) == 0);
    proa_send_relaxed(loop, &slots[0].op, unconnected ? proa_fd_of(alone) : near, data, 10, slot_done);
    RUN_UNTIL(loop, slots[0].finals);
    HOLDS(slots[0].value == -EPIPE && proa_sent(&slots[0].op) == 0);
    HOLDS(timer.finals == 0);
    close_plain(alone);
    scene_close();
}

/* A peer that stalls and then goes: the error of bytes that had to wait is prompt as well. */
static void test_late_error_wakes(void)
{
    static char bulk[STUCK_SIZE];
    struct slot timer = {0};
    char first;

    test_case("a late error wakes the loop");
    scene_open(UNIX);
    proa_timer(loop, &timer.op, clock_ns() + 3600 * PROA_SECOND_NS, slot_done);
    proa_send_relaxed(loop, &slots[0].op, near, bulk, sizeof(bulk), slot_done);
    while (recv(far, &first, 1, MSG_PEEK | MSG_DONTWAIT) != 1)
        loop_run_for(loop, 2 * MS);
    HOLDS(slots[0].finals == 0);
    REQUIRE(shutdown(far, SHUT_RDWR) == 0);
    RUN_UNTIL(loop, slots[0].finals);
    HOLDS(slots[0].value == -EPIPE || slots[0].value == -ECONNRESET);
    HOLDS(proa_sent(&slots[0].op) > 0 && proa_sent(&slots[0].op) < sizeof(bulk));
    scene_close();
}

/* More than fits: the rest follows as the peer reads, with nothing else to wake the loop but that. */
static void test_large_alone(void)
{
    static char bulk[STUCK_SIZE];
    size_t got = 0;

    test_case("more than fits");
    scene_open(TCP);
    set_size(near.handle, SO_SNDBUF, 16384);
    proa_send_relaxed(loop, &slots[0].op, near, bulk, sizeof(bulk), slot_done);
    while (got < sizeof(bulk)) {
        got += far_drain(far);
        proa_loop_run(loop, got < sizeof(bulk) ? PROA_ONCE : PROA_NO_WAIT);
    }
    HOLDS(proa_loop_run(loop, PROA_UNTIL_IDLE) == 0);
    HOLDS(slots[0].finals == 1 && slots[0].value == STUCK_SIZE);
    scene_close();
}

/* What queues behind one must not wait for something else to wake the loop. Each time the timer beside never fires. */
enum behind { A_SEND, A_CLOSE, A_SHUTDOWN, A_CANCEL_OF_NEXT, BEHINDS };

static const char *const behind_names[] = {"a send", "a close", "a shutdown", "a cancelled send"};

static void test_not_held_up(enum behind behind, bool settle)
{
    struct slot timer = {0}, next = {0};

    test_case("%s behind it is not held up, %s", behind_names[behind], settle ? "settled" : "at once");
    scene_open(TCP);
    proa_timer(loop, &timer.op, clock_ns() + 3600 * PROA_SECOND_NS, slot_done);
    relax(0, 10);
    if (settle)
        proa_loop_run(loop, PROA_NO_WAIT);
    if (behind == A_CLOSE)
        proa_close(loop, &next.op, near, slot_done);
    else if (behind == A_SHUTDOWN)
        proa_shutdown(loop, &next.op, near, SHUT_WR, slot_done);
    else
        proa_send(loop, &next.op, near, data, 20, slot_done);
    if (behind == A_CANCEL_OF_NEXT)
        proa_cancel(&next.op);
    RUN_UNTIL(loop, next.finals);
    HOLDS(timer.finals == 0);
    if (behind != A_CANCEL_OF_NEXT)
        HOLDS(slots[0].finals == 1 && slots[0].order < next.order);
    if (behind == A_SEND)
        HOLDS(next.value == 20);
    if (behind == A_CLOSE || behind == A_SHUTDOWN)
        HOLDS(next.value == 0);
    if (behind == A_CLOSE) {
        HOLDS(far_ended(far));
        close_plain(far);
        proa_loop_close(loop);
        return;
    }
    scene_close();
}

/* Cancel and deadline of one that sits there, done but untold: one completion, prompt or not, and no crash. */
static void test_cancel(bool deadline, bool settle)
{
    struct slot timer = {0};

    test_case("%s of one that may be done", deadline ? "deadline" : "cancel");
    scene_open(TCP);
    proa_timer(loop, &timer.op, clock_ns() + 3600 * PROA_SECOND_NS, slot_done);
    relax(0, 10);
    if (settle) {
        proa_loop_run(loop, PROA_NO_WAIT);
        HOLDS(went_out(10));
    }
    if (deadline && proa_in_flight(&slots[0].op))
        proa_set_deadline(&slots[0].op, clock_ns() + MS);
    else
        proa_cancel(&slots[0].op);
    RUN_UNTIL(loop, slots[0].finals);
    HOLDS(slots[0].value == 10 || slots[0].value == (deadline ? -ETIMEDOUT : -ECANCELED));
    if (slots[0].value < 0)
        HOLDS(proa_sent(&slots[0].op) == (settle ? 10 : 0) || proa_sent(&slots[0].op) == far_drain(far));
    HOLDS(timer.finals == 0);
    scene_close();
}

/* The other side of the bargain, by the meters: an answered ping costs no wake-up of its own. */
static void test_saves_wake_ups(void)
{
    enum { ROUNDS = 200 };
    struct slot receive = {0};
    uint64_t wake_ups[2];
    char answer[8];

    test_case("wake-ups");
    for (int relaxed = 0; relaxed < 2; relaxed++) {
        scene_open(TCP);
        memset(&receive, 0, sizeof(receive));
        wake_ups[relaxed] = proa_loop_meters(loop).wake_ups;
        for (unsigned i = 0; i < ROUNDS; i++) {
            proa_recv(loop, &receive.op, near, answer, sizeof(answer), slot_done);
            if (relaxed)
                relax(0, 4);
            else
                proa_send(loop, &slots[0].op, near, data, 4, slot_done);
            proa_loop_run(loop, PROA_NO_WAIT);
            REQUIRE(write(far, "pong", 4) == 4);
            RUN_UNTIL(loop, receive.finals > i && slots[0].finals > i);
        }
        wake_ups[relaxed] = proa_loop_meters(loop).wake_ups - wake_ups[relaxed];
        scene_close();
    }
    HOLDS(wake_ups[1] <= wake_ups[0] + ROUNDS / 10);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "relaxed_sends");
    test_alone(TCP);
    test_alone(UNIX);
    test_many_alone();
    test_with_the_next();
    test_goes_out();
    test_error_wakes(false);
    test_error_wakes(true);
    test_late_error_wakes();
    test_large_alone();
    for (int behind = 0; behind < BEHINDS; behind++) {
        test_not_held_up(behind, false);
        test_not_held_up(behind, true);
    }
    for (int i = 0; i < 4; i++)
        test_cancel(i & 1, i & 2);
    /* With SQPOLL a wake-up costs no system call; a thread's result always wakes the loop. */
    if (!test_has(PROA_FEATURE_SQPOLL) && strcmp(test_engine(), "threads") != 0)
        test_saves_wake_ups();
    return check_done("relaxed_sends");
}

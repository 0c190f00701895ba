/* Trap: while the peer has shut down its own sending, every wait on the socket is woken at once, so that a send that
 * finds no room may be in the kernel's hands just when it is to end. Cancel, deadline and close are heard still. */
#include "harness.h"

enum ending { CANCEL, DEADLINE, CLOSE };

static const char *const ending_names[] = {"cancel", "deadline", "close"};
static char big[16 << 20];

/* `plain`: the sender's socket is blocking and not of the library's making. */
static void test_send(enum family family, enum ending ending, bool plain)
{
    proa_loop *loop = loop_open();
    struct slot sending = {0}, closing = {0};
    proa_fd near, sender;
    int far;

    test_case("%s of a send, %s, %s socket", ending_names[ending], family == TCP ? "TCP" : "Unix",
              plain ? "a plain" : "the library's");
    pair_open(loop, family, &near, &far);
    sender = plain ? proa_fd_of(far) : near;
    if (plain)
        REQUIRE(fcntl(far, F_SETFL, 0) == 0);
    REQUIRE(shutdown(plain ? near.handle : far, SHUT_WR) == 0);
    proa_send(loop, &sending.op, sender, big, sizeof(big), slot_done);
    for (int turn = 0; turn < 10; turn++)
        proa_loop_run(loop, PROA_NO_WAIT);
    REQUIRE(sending.finals == 0);
    if (ending == CANCEL)
        proa_cancel(&sending.op);
    else if (ending == DEADLINE)
        proa_set_deadline(&sending.op, 1);
    else
        proa_close(loop, &closing.op, sender, slot_done);
    RUN_UNTIL(loop, sending.finals && (ending != CLOSE || closing.finals));
    HOLDS(sending.value == (ending == DEADLINE ? -ETIMEDOUT : -ECANCELED));
    HOLDS(closing.value == 0);
    if (ending != CLOSE)
        close_now(loop, sender);
    HOLDS(sending.finals == 1);
    if (plain)
        close_now(loop, near);
    else
        close_plain(far);
    proa_loop_close(loop);
}

int main(int argc, char **argv)
{
    test_begin(argc, argv, "t_half_closed_peer");
    if (test_has(PROA_FEATURE_DIRECT))
        return check_skip("t_half_closed_peer", "it works on sockets by their numbers");
    for (int ending = CANCEL; ending <= CLOSE; ending++) {
        for (int plain = 0; plain < 2; plain++) {
            test_send(TCP, (enum ending)ending, plain);
            test_send(UNIX, (enum ending)ending, plain);
        }
    }
    return check_done("t_half_closed_peer");
}

/* proa_connect_name(): Happy Eyeballs (RFC 8305). What is known so far of the name's addresses lies in `attempts`; the best
 * that was not tried yet, of the family that was not tried last, is next. When that may be is `next_ns`: never where there
 * is nothing to wait for, so it goes at once. The one timer may run for an earlier time than is wanted by then; it is
 * started again.
 *
 * Once it is over, by a connection or otherwise, what is still in flight is cancelled and waited for, and connections that
 * come too late are closed: the op completes last. */
#include <errno.h>
#include <proa/time.h>
#include <string.h>

#include "name/name.h"

/* RFC 8305, section 8: Resolution Delay and Connection Attempt Delay. */
static const uint64_t RESOLUTION_DELAY_NS = 50 * PROA_MILLISECOND_NS, ATTEMPT_DELAY_NS = 250 * PROA_MILLISECOND_NS;

enum { UNTRIED, TRYING, TRIED };

static void go_on(proa_name_connect *connect);

/* The end */

/* Last thing in each callback. */
static void complete_if_quiet(proa_name_connect *connect)
{
    if (connect->is_over && connect->pending == 0 && !proa_in_flight(&connect->delay))
        proa_complete(&connect->op, connect->value);
}

static void be_over(proa_name_connect *connect, int64_t value)
{
    proa_resolver *resolver = connect->inquirer.inquiry->resolver;

    connect->is_over = 1;
    connect->value = value;
    proa_cancel(&connect->delay);
    for (uint32_t i = 0; i < connect->count; i++)
        proa_cancel(&connect->attempts[i].op);
    inquiry_leave(&connect->inquirer);
    resolver_attend(resolver);
}

static void stop(proa_op *op)
{
    proa_name_connect *connect = proa_owner(op, proa_name_connect, op);

    if (!connect->is_over)
        be_over(connect, -ECANCELED);
    complete_if_quiet(connect);
}

/* Attempts */

/* What says that there is no way to an address says less than what became of another on its way. */
static int tells_little(int64_t error)
{
    return error == 0 || error == -ENETUNREACH || error == -EHOSTUNREACH || error == -EAFNOSUPPORT ||
           error == -EADDRNOTAVAIL;
}

static void on_closed(proa_op *op, proa_result result)
{
    proa_name_connect *connect = proa_owner(op, struct proa_name_attempt, op)->connect;

    (void)result;
    connect->pending--;
    complete_if_quiet(connect);
}

static void on_attempt(proa_op *op, proa_result result)
{
    struct proa_name_attempt *attempt = proa_owner(op, struct proa_name_attempt, op);
    proa_name_connect *connect = attempt->connect;

    connect->pending--;
    attempt->state = TRIED;
    if (result.value >= 0 && connect->is_over) {
        connect->pending++;
        proa_close(op->loop, op, proa_result_fd(result), on_closed);
        return;
    }
    if (result.value >= 0) {
        connect->peer = attempt->address;
        be_over(connect, result.value);
    } else if (!connect->is_over) {
        if (tells_little(connect->value) || !tells_little(result.value))
            connect->value = result.value;
        connect->next_ns = 0;
        go_on(connect);
    }
    complete_if_quiet(connect);
}

static int compare(const struct proa_name_attempt *a, const struct proa_name_attempt *b)
{
    struct found left = {a->address, a->source}, right = {b->address, b->source};

    return order_compare(&left, &right);
}

/* Section 4: families take turns. */
static struct proa_name_attempt *next_attempt(proa_name_connect *connect)
{
    struct proa_name_attempt *best[2] = {NULL, NULL}; /* of the other family, of the same */

    for (uint32_t i = 0; i < connect->count; i++) {
        struct proa_name_attempt *attempt = &connect->attempts[i];
        int is_same = attempt->address.as.any.sa_family == connect->last_family;

        if (attempt->state == UNTRIED && (!best[is_same] || compare(attempt, best[is_same]) < 0))
            best[is_same] = attempt;
    }
    return best[0] ? best[0] : best[1];
}

static void try(proa_name_connect *connect, struct proa_name_attempt *attempt)
{
    proa_loop *loop = connect->op.loop;

    attempt->state = TRYING;
    connect->last_family = attempt->address.as.any.sa_family;
    connect->next_ns = proa_now(loop) + ATTEMPT_DELAY_NS;
    connect->pending++;
    proa_connect(loop, &attempt->op, &attempt->address, on_attempt);
}

static void on_delay(proa_op *op, proa_result result)
{
    proa_name_connect *connect = proa_owner(op, proa_name_connect, delay);

    (void)result;
    if (!connect->is_over)
        go_on(connect);
    complete_if_quiet(connect);
}

static void go_on(proa_name_connect *connect)
{
    struct proa_name_attempt *attempt = next_attempt(connect);
    proa_loop *loop = connect->op.loop;

    if (attempt && connect->next_ns <= proa_now(loop)) {
        try(connect, attempt);
        attempt = next_attempt(connect);
    }
    if (attempt && !proa_in_flight(&connect->delay)) {
        proa_timer(loop, &connect->delay, connect->next_ns, on_delay);
    } else if (!attempt && connect->pending == 0 && inquiry_is_answered(connect->inquirer.inquiry)) {
        connect->reason = "none of its addresses could be connected to";
        be_over(connect, connect->value);
    }
}

/* Answers */

static void take_answer(proa_name_connect *connect, const struct question *question)
{
    for (unsigned i = 0; i < question->count; i++) {
        struct proa_name_attempt *attempt = &connect->attempts[connect->count++];

        attempt->connect = connect;
        attempt->address = question->found[i].address;
        attempt->source = question->found[i].source;
        attempt->state = UNTRIED;
    }
}

/* Section 3: IPv4 addresses that come first wait a little for those of IPv6. */
static void set_time_of_first(proa_name_connect *connect)
{
    if (connect->last_family != 0)
        return;
    if (connect->inquirer.inquiry->questions[0].is_answered)
        connect->next_ns = 0;
    else
        connect->next_ns = proa_now(connect->op.loop) + RESOLUTION_DELAY_NS;
}

static void heard(struct proa_inquirer *inquirer)
{
    proa_name_connect *connect = proa_owner(inquirer, proa_name_connect, inquirer);
    const struct proa_inquiry *inquiry = inquirer->inquiry;

    for (unsigned i = 0; i < 2; i++) {
        if (inquiry->questions[i].is_answered && !(connect->heard & 1u << i)) {
            connect->heard |= 1u << i;
            take_answer(connect, &inquiry->questions[i]);
        }
    }
    if (inquiry->is_closed || (inquiry_is_answered(inquiry) && connect->count == 0)) {
        be_over(connect, inquiry_error(inquiry, &connect->reason));
    } else {
        set_time_of_first(connect);
        go_on(connect);
    }
    complete_if_quiet(connect);
}

void proa_connect_name(proa_resolver *resolver, proa_name_connect *connect, const char *name, proa_callback *callback)
{
    int error;

    proa_compose(resolver->loop, &connect->op, stop, callback);
    connect->reason = "it was ended early";
    connect->inquirer.heard = heard;
    connect->count = connect->pending = connect->heard = 0;
    connect->next_ns = 0;
    connect->value = 0;
    connect->last_family = connect->is_over = 0;
    error = inquiry_begin(resolver, &connect->inquirer, name, &connect->reason);
    if (error)
        proa_complete(&connect->op, error);
    else
        resolver_attend(resolver);
}

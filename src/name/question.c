/* One family's addresses of a name: asked of one server after the other until one knows. Each try has its time, which
 * doubles when all have been asked; but an answer to an earlier one is as welcome. What was found is then looked at from
 * here: a datagram socket that is connected to an address tells which of our own would be used (RFC 6724 wants to know),
 * without that anything is sent. */
#include <errno.h>
#include <proa/datagram.h>
#include <proa/time.h>
#include <string.h>

#include "name/name.h"

void question_begin(struct proa_inquiry *inquiry, struct question *question, int family)
{
    question->inquiry = inquiry;
    question->family = family;
}

int question_is_quiet(const struct question *question)
{
    return !question->outstanding && !question->probing && !question->is_noted && !proa_in_flight(&question->timer);
}

/* Sources */

static void answer(struct question *question)
{
    question->is_answered = 1;
    inquiry_answered(question->inquiry);
}

/* Last thing in its callbacks. */
static void probe_done(struct question *question)
{
    proa_resolver *resolver = question->inquiry->resolver;

    if (--question->probing == 0)
        answer(question);
    resolver_attend(resolver);
}

static void on_probe_closed(proa_op *op, proa_result result)
{
    (void)result;
    probe_done(proa_owner(op, struct probe, op)->question);
}

static void on_probe(proa_op *op, proa_result result)
{
    struct probe *probe = proa_owner(op, struct probe, op);
    struct found *found = &probe->question->found[probe - probe->question->probes];

    if (result.value < 0) {
        probe_done(probe->question);
        return;
    }
    proa_local_address(op->loop, proa_result_fd(result), &found->source);
    proa_close(op->loop, op, proa_result_fd(result), on_probe_closed);
}

void question_find_sources(struct question *question)
{
    question->probing = question->count;
    for (unsigned i = 0; i < question->count; i++) {
        question->probes[i].question = question;
        proa_datagram_open(question->inquiry->resolver->loop, &question->probes[i].op, NULL,
                           &question->found[i].address, 0, on_probe);
    }
}

/* Answers */

static void settle(struct question *question, int status)
{
    question->is_settled = 1;
    question->status = status;
    proa_cancel(&question->timer);
    if (question->count > 0)
        question_find_sources(question);
    else
        answer(question);
}

void question_add(struct question *question, const struct sockaddr *address)
{
    struct found *found = &question->found[question->count];

    if (question->count == FOUND_MAX || address->sa_family != question->family)
        return;
    found->address.size = question->family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    memcpy(&found->address.as, address, found->address.size);
    if (question->family == AF_INET6)
        found->address.as.ip6.sin6_port = question->inquiry->port;
    else
        found->address.as.ip4.sin_port = question->inquiry->port;
    question->count++;
}

static int is_final(int status)
{
    return status == ARES_SUCCESS || status == ARES_ENODATA || status == ARES_ENOTFOUND || status == ARES_EBADNAME ||
           status == ARES_ENOMEM || status == ARES_ECANCELLED || status == ARES_EDESTRUCTION;
}

/* From within c-ares, maybe from within ares_getaddrinfo(). */
static void on_answer(void *context, int status, int timeouts, struct ares_addrinfo *answer)
{
    struct question *question = context;

    (void)timeouts;
    question->outstanding--;
    question->inquiry->resolver->outstanding--;
    /* What one server knows another's trouble does not undo. */
    if (question->count == 0 && !(question->is_noted && is_final(question->status))) {
        question->status = status;
        for (struct ares_addrinfo_node *node = answer ? answer->nodes : NULL; node; node = node->ai_next)
            question_add(question, node->ai_addr);
    }
    ares_freeaddrinfo(answer);
    resolver_note(question);
}

/* Tries */

static unsigned tries_max(const proa_resolver *resolver)
{
    return resolver->tries * resolver->server_count;
}

static void on_time(proa_op *op, proa_result result)
{
    struct question *question = proa_owner(op, struct question, timer);
    proa_resolver *resolver = question->inquiry->resolver;

    (void)result;
    if (question->is_settled || !question->inquiry->inquirer) {
        inquiry_free_if_quiet(question->inquiry);
    } else if (proa_now(op->loop) < question->until_ns) {
        proa_timer(op->loop, op, question->until_ns, on_time);
    } else if (question->tries < tries_max(resolver)) {
        question_ask(question);
    } else {
        settle(question, ARES_ETIMEOUT);
    }
    resolver_attend(resolver);
}

static uint64_t time_of_try(const struct question *question)
{
    const proa_resolver *resolver = question->inquiry->resolver;
    unsigned round = question->tries / resolver->server_count;

    return resolver->timeout_ns << (round < 10 ? round : 10);
}

void question_ask(struct question *question)
{
    proa_resolver *resolver = question->inquiry->resolver;
    struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_NOSORT, .ai_family = question->family};
    struct server *server = &resolver->servers[question->tries % resolver->server_count];

    question->until_ns = proa_now(resolver->loop) + time_of_try(question);
    question->tries++;
    question->outstanding++;
    resolver->outstanding++;
    if (!proa_in_flight(&question->timer))
        proa_timer(resolver->loop, &question->timer, question->until_ns, on_time);
    ares_getaddrinfo(server->channel, question->inquiry->host, NULL, &hints, on_answer, question);
}

/* What c-ares said since the last look. */
void question_look(struct question *question)
{
    proa_resolver *resolver = question->inquiry->resolver;

    if (question->is_settled || !question->inquiry->inquirer)
        inquiry_free_if_quiet(question->inquiry);
    else if (resolver->is_ending)
        return; /* it is about to be stopped */
    else if (question->count > 0 || is_final(question->status))
        settle(question, question->status);
    else if (question->outstanding == 0 && question->tries < tries_max(resolver))
        question_ask(question);
    else if (question->outstanding == 0)
        settle(question, question->status);
}

void question_leave(struct question *question)
{
    proa_cancel(&question->timer);
    for (unsigned i = 0; i < question->count; i++)
        proa_cancel(&question->probes[i].op);
}

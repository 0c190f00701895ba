/* One name that somebody wants to know about, from its text to the answers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "name/name.h"

/* Text */

static int parse_port(const char *text, in_port_t *ret_port)
{
    char whole[sizeof("0.0.0.0:65535")];
    proa_address address;

    if (strlen(text) > strlen("65535"))
        return -EINVAL;
    memcpy(whole, "0.0.0.0:", sizeof("0.0.0.0:"));
    strcat(whole, text);
    if (proa_address_parse(whole, &address) < 0)
        return -EINVAL;
    *ret_port = address.as.ip4.sin_port;
    return 0;
}

static int parse_name(struct proa_inquiry *inquiry, const char *name)
{
    const char *colon = strrchr(name, ':');
    size_t length = colon ? (size_t)(colon - name) : 0;

    if (length == 0 || length >= HOST_MAX || strcspn(name, ":[]*/ ") != length)
        return -EINVAL;
    memcpy(inquiry->host, name, length);
    return parse_port(colon + 1, &inquiry->port);
}

/* An address says all by itself; "*" is none that leads to anybody. */
static int parse(struct proa_inquiry *inquiry, const char *name)
{
    struct question *question = &inquiry->questions[0];

    if (*name == '*' || proa_address_parse(name, &question->found[0].address) < 0)
        return parse_name(inquiry, name);
    question->count = 1;
    return 0;
}

/* Life */

static void link_last(proa_resolver *resolver, struct proa_inquiry *inquiry)
{
    inquiry->previous = resolver->last;
    if (resolver->last)
        resolver->last->next = inquiry;
    else
        resolver->first = inquiry;
    resolver->last = inquiry;
    resolver->users++;
}

static void unlink_inquiry(proa_resolver *resolver, struct proa_inquiry *inquiry)
{
    if (inquiry->previous)
        inquiry->previous->next = inquiry->next;
    else
        resolver->first = inquiry->next;
    if (inquiry->next)
        inquiry->next->previous = inquiry->previous;
    else
        resolver->last = inquiry->previous;
    resolver->users--;
}

int inquiry_begin(proa_resolver *resolver, struct proa_inquirer *inquirer, const char *name, const char **ret_reason)
{
    struct proa_inquiry *inquiry = calloc(1, sizeof(*inquiry));
    int error = inquiry ? parse(inquiry, name) : -ENOMEM;

    if (error) {
        *ret_reason = error == -ENOMEM ? "there is no memory to ask" : "expected a name and a port, as example.org:80";
        free(inquiry);
        return error;
    }
    inquiry->resolver = resolver;
    inquiry->inquirer = inquirer;
    inquirer->inquiry = inquiry;
    question_begin(inquiry, &inquiry->questions[0], AF_INET6);
    question_begin(inquiry, &inquiry->questions[1], AF_INET);
    link_last(resolver, inquiry);
    queue_append(inquiry->host[0] ? &resolver->arriving : &resolver->addresses, inquiry);
    return 0;
}

void inquiry_free_if_quiet(struct proa_inquiry *inquiry)
{
    if (inquiry->inquirer || inquiry->is_queued || !question_is_quiet(&inquiry->questions[0]) ||
        !question_is_quiet(&inquiry->questions[1]))
        return;
    unlink_inquiry(inquiry->resolver, inquiry);
    free(inquiry);
}

static void stop_asking(struct proa_inquiry *inquiry)
{
    inquiry->resolver->asking -= inquiry->is_asking;
    inquiry->is_asking = 0;
}

void inquiry_leave(struct proa_inquirer *inquirer)
{
    struct proa_inquiry *inquiry = inquirer->inquiry;

    inquirer->inquiry = NULL;
    inquiry->inquirer = NULL;
    stop_asking(inquiry);
    question_leave(&inquiry->questions[0]);
    question_leave(&inquiry->questions[1]);
    inquiry_free_if_quiet(inquiry);
}

int inquiry_is_answered(const struct proa_inquiry *inquiry)
{
    return inquiry->questions[0].is_answered && inquiry->questions[1].is_answered;
}

void inquiry_answered(struct proa_inquiry *inquiry)
{
    if (inquiry_is_answered(inquiry))
        stop_asking(inquiry);
    if (inquiry->inquirer)
        inquiry->inquirer->heard(inquiry->inquirer);
    else
        inquiry_free_if_quiet(inquiry);
}

/* What needs nobody's answer */

static void add_line(struct proa_inquiry *inquiry, int family, const void *bytes)
{
    struct sockaddr_in6 ip6 = {.sin6_family = AF_INET6};
    struct sockaddr_in ip4 = {.sin_family = AF_INET};

    if (family == AF_INET6) {
        memcpy(&ip6.sin6_addr, bytes, sizeof(ip6.sin6_addr));
        question_add(&inquiry->questions[0], (struct sockaddr *)&ip6);
    } else {
        memcpy(&ip4.sin_addr, bytes, sizeof(ip4.sin_addr));
        question_add(&inquiry->questions[1], (struct sockaddr *)&ip4);
    }
}

static int is_localhost(const char *name)
{
    static const char local[] = "localhost";
    size_t length = strlen(name), tail = sizeof(local) - 1;

    length -= length > 0 && name[length - 1] == '.';
    return length >= tail && strncasecmp(name + length - tail, local, tail) == 0 &&
           (length == tail || name[length - tail - 1] == '.');
}

/* The hosts file knows it, or it is this host in any case (RFC 6761, section 6.3). */
static int is_known(struct proa_inquiry *inquiry)
{
    static const uint8_t loopback6[16] = {[15] = 1}, loopback4[4] = {127, 0, 0, 1};
    const struct host_line *lines;
    size_t count = hosts_find(&inquiry->resolver->hosts, inquiry->host, &lines);

    for (size_t i = 0; i < count; i++)
        add_line(inquiry, lines[i].family, lines[i].bytes);
    if (count == 0 && is_localhost(inquiry->host)) {
        add_line(inquiry, AF_INET6, loopback6);
        add_line(inquiry, AF_INET, loopback4);
        count = 2;
    }
    return count > 0;
}

void inquiry_know_address(struct proa_inquiry *inquiry)
{
    for (struct question *question = inquiry->questions; question < inquiry->questions + 2; question++)
        question->is_answered = 1;
    inquiry_answered(inquiry);
}

int inquiry_know_local(struct proa_inquiry *inquiry)
{
    struct question *question;

    if (!is_known(inquiry))
        return 0;
    for (question = inquiry->questions; question < inquiry->questions + 2; question++) {
        question->is_answered = question->count == 0;
        question_find_sources(question);
    }
    return 1;
}

/* RFC 8305, section 3: IPv6 first. */
void inquiry_ask(struct proa_inquiry *inquiry)
{
    inquiry->is_asking = 1;
    inquiry->resolver->asking++;
    question_ask(&inquiry->questions[0]);
    question_ask(&inquiry->questions[1]);
}

/* Errors: X(status of c-ares, errno, words). A later one tells more than those before it. */
#define ERRORS(X)                                                            \
    X(ENOTFOUND, ENOENT, "there is no such name")                            \
    X(SUCCESS, ENODATA, "the name has no address")                           \
    X(ENODATA, ENODATA, "the name has no address")                           \
    X(EBADNAME, EINVAL, "this can be no name of a host")                     \
    X(EBADRESP, EBADMSG, "the name server's answer makes no sense")          \
    X(EFORMERR, EBADMSG, "the name server does not understand the question") \
    X(ENOTIMP, EREMOTEIO, "the name server cannot answer such questions")    \
    X(ESERVFAIL, EREMOTEIO, "the name server could not find out")            \
    X(EREFUSED, EPERM, "the name server refuses to answer")                  \
    X(ECONNREFUSED, ECONNREFUSED, "no name server can be reached")           \
    X(ETIMEOUT, ETIMEDOUT, "no name server answers in time")                 \
    X(ENOMEM, ENOMEM, "there is no memory for the answer")

static const struct error {
    int status, error;
    const char *words;
} errors[] = {
#define ERRORS_ROW(status, error, words) {ARES_##status, -(error), words},
    ERRORS(ERRORS_ROW)
#undef ERRORS_ROW
};

enum { ERROR_COUNT = sizeof(errors) / sizeof(errors[0]) };

static const struct error *error_of(int status)
{
    static const struct error other = {0, -EREMOTEIO, "the name cannot be looked up"};

    for (const struct error *row = errors; row < errors + ERROR_COUNT; row++)
        if (row->status == status)
            return row;
    return &other;
}

int inquiry_error(const struct proa_inquiry *inquiry, const char **ret_reason)
{
    const struct error *first = error_of(inquiry->questions[0].status);
    const struct error *second = error_of(inquiry->questions[1].status);

    if (inquiry->is_closed) {
        *ret_reason = "the resolver was closed";
        return -ECANCELED;
    }
    if (second > first)
        first = second;
    *ret_reason = first->words;
    return first->error;
}

/* Names in rough weather: name server, listeners and those who connect by name are on one machine, whose seed draws losses,
 * delays, resets, EMFILE and the rest. Whatever happens, each lookup and each connection ends once, with an answer that is
 * right or an error; and the same seed brings the same run, so that c-ares has no clock and no socket of its own. */
#include <errno.h>
#include <proa/name.h>
#include <proa/proa.h>
#include <proa/sim.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../check.h"

enum { SEEDS = 200, LOOKUPS = 12, CONNECTS = 6, HEADER = 12, MESSAGE_MAX = 512 };

static proa_loop *loop;
static uint64_t drawn;
static unsigned names_drawn;

static uint32_t draw(uint32_t limit)
{
    drawn = drawn * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(drawn >> 33) % limit;
}

/* The name server: every name has ::1 and 127.0.0.1; answers to those that begin with a t are cut over UDP. */

static size_t make_answer(const uint8_t *question, size_t size, uint8_t *answer, int is_tcp)
{
    static const uint8_t record[] = {0xc0, HEADER, 0, 1, 0, 1, 0, 0, 0, 60, 0};
    int is_ip6 = question[size - 3] == 28, is_cut = question[HEADER + 1] == 't' && !is_tcp;

    memcpy(answer, question, size);
    answer[2] = is_cut ? 0x83 : 0x81;
    answer[3] = 0x80;
    if (is_cut)
        return size;
    answer[7] = 1;
    memcpy(answer + size, record, sizeof(record));
    answer[size + 3] = question[size - 3];
    size += sizeof(record);
    answer[size++] = is_ip6 ? 16 : 4;
    memset(answer + size, 0, 16);
    answer[size] = is_ip6 ? 0 : 127;
    size += is_ip6 ? 16 : 4;
    answer[size - 1] = 1;
    return size;
}

static struct {
    proa_op op; /* one thing at a time */
    proa_address address;
    proa_fd fd;
    proa_datagram datagram;
    uint8_t question[MESSAGE_MAX], answer[MESSAGE_MAX];
} names;

static void on_question(proa_op *op, proa_result result);

static void on_answered(proa_op *op, proa_result result)
{
    if (result.value != -ECANCELED)
        proa_recv_from(loop, op, names.fd, names.question, MESSAGE_MAX, &names.datagram, on_question);
}

static void on_question(proa_op *op, proa_result result)
{
    if (result.value < 0) {
        on_answered(op, result);
        return;
    }
    names.datagram.size = make_answer(names.question, (size_t)result.value, names.answer, 0);
    names.datagram.data = names.answer;
    proa_send_to(loop, op, names.fd, &names.datagram, on_answered);
}

static void on_names_open(proa_op *op, proa_result result)
{
    names.fd = proa_fd_of((int)result.value);
    if (result.value >= 0)
        on_answered(op, result);
    else if (result.value != -ECANCELED)
        proa_datagram_open(loop, op, &names.address, NULL, 0, on_names_open);
}

/* Streams: connections are taken one after the other. Those for names are asked one thing, and others nothing. */
static struct listener {
    proa_op op;
    proa_address address;
    proa_fd fd, client;
    size_t size;
    uint8_t question[MESSAGE_MAX], answer[MESSAGE_MAX];
} listeners[3];

static void on_client(proa_op *op, proa_result result);

static void on_closed(proa_op *op, proa_result result)
{
    (void)result;
    proa_accept(loop, op, proa_owner(op, struct listener, op)->fd, on_client);
}

static void on_sent(proa_op *op, proa_result result)
{
    (void)result;
    proa_close(loop, op, proa_owner(op, struct listener, op)->client, on_closed);
}

static void on_bytes(proa_op *op, proa_result result)
{
    struct listener *self = proa_owner(op, struct listener, op);
    size_t size;

    self->size += result.value > 0 ? (size_t)result.value : 0;
    size = (size_t)self->question[1];
    if (result.value <= 0) {
        on_sent(op, result);
    } else if (self->size < 2 || self->size < 2 + size) {
        proa_recv(loop, op, self->client, self->question + self->size, MESSAGE_MAX - self->size, on_bytes);
    } else {
        self->answer[0] = 0;
        self->answer[1] = (uint8_t)make_answer(self->question + 2, size, self->answer + 2, 1);
        proa_send(loop, op, self->client, self->answer, 2 + self->answer[1], on_sent);
    }
}

static void on_client(proa_op *op, proa_result result)
{
    struct listener *self = proa_owner(op, struct listener, op);

    if (result.value < 0)
        return;
    self->client = proa_result_fd(result);
    self->size = 0;
    if (self == &listeners[0])
        proa_recv(loop, op, self->client, self->question, MESSAGE_MAX, on_bytes);
    else
        on_sent(op, result);
}

static void on_listening(proa_op *op, proa_result result)
{
    struct listener *self = proa_owner(op, struct listener, op);

    self->fd = proa_fd_of((int)result.value);
    if (result.value >= 0)
        proa_accept(loop, op, self->fd, on_client);
    else if (result.value != -ECANCELED)
        proa_listen(loop, op, &self->address, 16, 0, on_listening);
}

static void open_server(void)
{
    static const char *const addresses[] = {"127.0.0.1:53", "127.0.0.1:80", "[::1]:80"};

    memset(&names, 0, sizeof(names));
    memset(listeners, 0, sizeof(listeners));
    CHECK(proa_address_parse("127.0.0.1:53", &names.address) == 0);
    proa_datagram_open(loop, &names.op, &names.address, NULL, 0, on_names_open);
    for (int i = 0; i < 3; i++) {
        CHECK(proa_address_parse(addresses[i], &listeners[i].address) == 0);
        proa_listen(loop, &listeners[i].op, &listeners[i].address, 16, 0, on_listening);
    }
}

/* Those who ask */

static struct look {
    proa_lookup lookup;
    unsigned finals;
    int64_t value;
} looks[LOOKUPS];

static struct call {
    proa_name_connect connect;
    proa_op close;
    unsigned finals;
    int64_t value;
} calls[CONNECTS];

static unsigned pending, answered, connected;

static void on_resolved(proa_op *op, proa_result result)
{
    struct look *look = proa_owner(op, struct look, lookup.op);

    look->finals++;
    look->value = result.value;
    answered += result.value > 0;
    pending--;
}

static void on_call_closed(proa_op *op, proa_result result)
{
    (void)op;
    (void)result;
    pending--;
}

static void on_connected(proa_op *op, proa_result result)
{
    struct call *call = proa_owner(op, struct call, connect.op);

    call->finals++;
    call->value = result.value;
    if (result.value < 0) {
        pending--;
        return;
    }
    connected++;
    proa_close(loop, &call->close, proa_result_fd(result), on_call_closed);
}

/* A name of its own for each: of two questions about one name c-ares (1.18) cannot always tell the answers, since it may give
 * them the same random number. */
static const char *draw_name(char text[64])
{
    static const char *const texts[] = {"name", "two", "hosts.example:80", "127.0.0.1:80"};
    uint32_t kind = draw(4);

    if (kind < 2)
        snprintf(text, 64, "%s%u.example:80", texts[kind], 1000 + names_drawn++ % 1000);
    return kind < 2 ? text : texts[kind];
}

/* Asks for all at once, has some end early, and closes the resolver at any time. */
static void ask(proa_resolver *resolver)
{
    char text[64];
    int turns = draw(4) == 0 ? (int)draw(200) : -1;

    memset(looks, 0, sizeof(looks));
    memset(calls, 0, sizeof(calls));
    pending = LOOKUPS + CONNECTS;
    for (int i = 0; i < LOOKUPS; i++)
        proa_resolve(resolver, &looks[i].lookup, draw_name(text), on_resolved);
    for (int i = 0; i < CONNECTS; i++)
        proa_connect_name(resolver, &calls[i].connect, draw_name(text), on_connected);
    for (int i = 0; i < LOOKUPS; i += 4)
        proa_set_deadline(&looks[i].lookup.op, proa_now(loop) + draw(2000) * PROA_MICROSECOND_NS);
    for (int i = 0; i < CONNECTS; i += 3)
        proa_set_deadline(&calls[i].connect.op, proa_now(loop) + draw(4000) * PROA_MICROSECOND_NS);
    while (pending > 0 && turns != 0) {
        proa_loop_run(loop, PROA_ONCE);
        turns--;
    }
    proa_resolver_close(resolver);
    while (pending > 0)
        proa_loop_run(loop, PROA_ONCE);
}

static void check_answers(void)
{
    char text[PROA_ADDRESS_TEXT_MAX];

    for (int i = 0; i < LOOKUPS; i++) {
        CHECK(looks[i].finals == 1 && looks[i].value != 0);
        for (int64_t j = 0; j < looks[i].value; j++) {
            proa_address_format(&looks[i].lookup.addresses[j], text, sizeof(text));
            CHECK(strcmp(text, "127.0.0.1:80") == 0 || strcmp(text, "[::1]:80") == 0);
        }
    }
    for (int i = 0; i < CONNECTS; i++)
        CHECK(calls[i].finals == 1);
}

/* Returns the digest of the run. */
static uint64_t run(uint64_t seed)
{
    proa_resolver_options resolver_options = {.servers = "127.0.0.1:53", .search = ""};
    proa_sim_options options = {.seed = seed};
    proa_resolver *resolver;
    uint64_t digest;
    proa_sim *sim;
    int error;

    drawn = seed;
    names_drawn = 0;
    proa_sim_rough(&options);
    CHECK(proa_sim_open(&sim, &options) == 0);
    CHECK(proa_sim_put_file(sim, "/etc/hosts", "127.0.0.1 hosts.example\n", 24) == 0);
    CHECK(proa_sim_enter(sim) == 0);
    do
        error = proa_loop_open(&loop, NULL);
    while (error == -EMFILE);
    CHECK(error == 0);
    open_server();
    CHECK(proa_resolver_open(loop, &resolver_options, &resolver) == 0);
    ask(resolver);
    check_answers();
    digest = proa_sim_digest(sim);
    proa_loop_close(loop);
    proa_sim_leave();
    proa_sim_close(sim);
    return digest;
}

int main(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        if (!CHECK(run(seed) == run(seed)))
            fprintf(stderr, "    seed %llu\n", (unsigned long long)seed);
    }
    printf("%u answers, %u connections\n", answered, connected);
    CHECK(answered > SEEDS && connected > SEEDS);
    return check_done("name_weather");
}

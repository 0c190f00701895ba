/* RFC 1035, as much of it as a question and its answer need. */
#include "name_server.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <strings.h>

enum { MESSAGE_MAX = 512, BUFFERS = 512, HEADER = 12, TYPE_A = 1, TYPE_AAAA = 28, CLIENTS = 8 };

struct client {
    struct name_server *server;
    proa_op op;
    proa_fd fd;
    bool is_open;
    size_t size;
    uint8_t data[16 * MESSAGE_MAX];
};

struct name_server {
    proa_loop *loop;
    struct known_name *names;
    size_t count;
    char text[PROA_ADDRESS_TEXT_MAX];
    proa_buffer_pool *pool;
    proa_fd datagrams, listener;
    proa_op receiver, acceptor;
    struct client clients[CLIENTS];
    unsigned answers; /* in flight */
};

struct answer {
    struct name_server *server;
    proa_op op;
    proa_fd fd;
    bool is_tcp;
    proa_datagram datagram;
    uint8_t bytes[2 + MESSAGE_MAX];
};

static void put16(uint8_t *to, unsigned value)
{
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
}

static unsigned get16(const uint8_t *from)
{
    return from[0] * 256u + from[1];
}

/* Returns the size of the question, whose name goes to `ret_name`. */
static size_t read_question(const uint8_t *question, char *ret_name)
{
    const uint8_t *next = question;

    while (*next) {
        memcpy(ret_name, next + 1, *next);
        ret_name += *next;
        next += 1 + *next;
        *ret_name++ = *next ? '.' : '\0';
    }
    return (size_t)(next - question) + 5;
}

static struct known_name *find(struct name_server *server, const char *name)
{
    for (struct known_name *known = server->names; known < server->names + server->count; known++) {
        size_t size = strlen(name), tail = strlen(known->name);

        if (strcasecmp(known->name, name) == 0)
            return known;
        if (*known->name == '.' && size > tail && strcasecmp(name + size - tail, known->name) == 0)
            return known;
    }
    return NULL;
}

/* Appends a record for each address; the name is that of the question. */
static size_t add_records(uint8_t *message, size_t size, const char *addresses, unsigned type)
{
    char text[256], *rest = text, *word;
    unsigned count = 0, bytes = type == TYPE_A ? 4 : 16;

    snprintf(text, sizeof(text), "%s", addresses ? addresses : "");
    while ((word = strtok_r(rest, " ", &rest))) {
        REQUIRE(size + 12 + bytes <= MESSAGE_MAX);
        put16(message + size, 0xc000 | HEADER);
        put16(message + size + 2, type);
        put16(message + size + 4, 1);
        put16(message + size + 6, 0);
        put16(message + size + 8, 60);
        put16(message + size + 10, bytes);
        REQUIRE(inet_pton(type == TYPE_A ? AF_INET : AF_INET6, word, message + size + 12) == 1);
        size += 12 + bytes;
        count++;
    }
    put16(message + 6, count);
    return size;
}

static size_t make_answer(uint8_t *message, size_t size, const struct known_name *known, unsigned type, bool is_tcp)
{
    bool is_cut = known && known->is_truncated && !is_tcp;

    put16(message + 2, 0x8180 | (is_cut ? 0x200u : 0) | (known ? known->rcode : RCODE_NXDOMAIN));
    put16(message + 8, 0);
    put16(message + 10, 0);
    if (!known || is_cut || known->rcode)
        return size;
    return add_records(message, size, type == TYPE_A ? known->ip4 : known->ip6, type);
}

static void on_answered(proa_op *op, proa_result result)
{
    struct answer *answer = proa_owner(op, struct answer, op);

    (void)result;
    answer->server->answers--;
    free(answer);
}

static void on_time(proa_op *op, proa_result result)
{
    struct answer *answer = proa_owner(op, struct answer, op);

    if (result.value < 0) {
        on_answered(op, result);
    } else if (answer->is_tcp) {
        put16(answer->bytes, (unsigned)answer->datagram.size);
        proa_send(op->loop, op, answer->fd, answer->bytes, 2 + answer->datagram.size, on_answered);
    } else {
        proa_send_to(op->loop, op, answer->fd, &answer->datagram, on_answered);
    }
}

static void take_question(struct name_server *server, const uint8_t *message, size_t size, const proa_datagram *from,
                          proa_fd fd)
{
    struct answer *answer = calloc(1, sizeof(*answer));
    struct known_name *known;
    char name[256];
    size_t end;
    unsigned type, family;

    REQUIRE(answer && size > HEADER && size <= MESSAGE_MAX && get16(message + 4) == 1);
    memcpy(answer->bytes + 2, message, size);
    end = HEADER + read_question(message + HEADER, name);
    type = get16(message + end - 4);
    REQUIRE(type == TYPE_A || type == TYPE_AAAA);
    family = type == TYPE_A;
    known = find(server, name);
    if (known) {
        known->asked_by_tcp += !from;
        if (known->asked[family]++ < known->drops[family]) {
            free(answer);
            return;
        }
    }
    if (from)
        answer->datagram = *from;
    answer->datagram.data = answer->bytes + 2;
    answer->datagram.size = make_answer(answer->bytes + 2, end, known, type, !from);
    answer->server = server;
    answer->fd = fd;
    answer->is_tcp = !from;
    server->answers++;
    proa_timer(server->loop, &answer->op, proa_now(server->loop) + (known ? known->delay_ns[family] : 0), on_time);
}

static void on_datagram(proa_op *op, proa_result result)
{
    struct name_server *server = proa_owner(op, struct name_server, receiver);
    proa_datagram datagram;

    if (!(result.flags & PROA_LENT)) {
        if (result.value == -ECONNREFUSED)
            proa_recv_from_many(op->loop, op, server->datagrams, server->pool, on_datagram);
        return;
    }
    proa_datagram_in(server->pool, result, &datagram);
    take_question(server, datagram.data, datagram.size, &datagram, server->datagrams);
    proa_buffer_return(server->pool, result.buffer);
}

static void on_gone(proa_op *op, proa_result result)
{
    (void)result;
    proa_owner(op, struct client, op)->is_open = false;
}

static void on_bytes(proa_op *op, proa_result result)
{
    struct client *client = proa_owner(op, struct client, op);
    size_t size;

    if (result.value <= 0) {
        proa_close(op->loop, op, client->fd, on_gone);
        return;
    }
    client->size += (size_t)result.value;
    while (client->size >= 2 && client->size >= 2 + (size = get16(client->data))) {
        take_question(client->server, client->data + 2, size, NULL, client->fd);
        client->size -= 2 + size;
        memmove(client->data, client->data + 2 + size, client->size);
    }
    proa_recv(op->loop, op, client->fd, client->data + client->size, sizeof(client->data) - client->size, on_bytes);
}

static void on_client(proa_op *op, proa_result result)
{
    struct name_server *server = proa_owner(op, struct name_server, acceptor);
    struct client *client = server->clients;

    if (result.value < 0)
        return;
    while (client->is_open)
        REQUIRE(++client < server->clients + CLIENTS);
    *client = (struct client){.server = server, .is_open = true};
    client->fd = proa_result_fd(result);
    proa_recv(op->loop, &client->op, client->fd, client->data, sizeof(client->data), on_bytes);
}

/* A port that is free for both. */
static void open_sockets(struct name_server *server)
{
    proa_address address;
    struct slot slot;

    do {
        slot = (struct slot){0};
        server->datagrams = datagrams_on(server->loop, "127.0.0.1:0", 0, &address);
        proa_listen(server->loop, &slot.op, &address, 16, 0, slot_done);
        RUN_UNTIL(server->loop, slot.finals);
        if (slot.value < 0)
            close_now(server->loop, server->datagrams);
    } while (slot.value == -EADDRINUSE);
    REQUIRE(slot.value >= 0);
    server->listener = proa_fd_of((int)slot.value);
    proa_address_format(&address, server->text, sizeof(server->text));
}

struct name_server *name_server_open(proa_loop *loop, struct known_name *names, size_t count)
{
    struct name_server *server = calloc(1, sizeof(*server));

    REQUIRE(server);
    server->loop = loop;
    server->names = names;
    server->count = count;
    REQUIRE(proa_buffer_pool_open(loop, BUFFERS, PROA_DATAGRAM_OVERHEAD + MESSAGE_MAX, &server->pool) == 0);
    open_sockets(server);
    proa_recv_from_many(loop, &server->receiver, server->datagrams, server->pool, on_datagram);
    proa_accept_many(loop, &server->acceptor, server->listener, on_client);
    return server;
}

const char *name_server_text(const struct name_server *server)
{
    return server->text;
}

void name_server_close(struct name_server *server)
{
    close_now(server->loop, server->datagrams);
    close_now(server->loop, server->listener);
    for (struct client *client = server->clients; client < server->clients + CLIENTS; client++) {
        proa_cancel(&client->op);
        RUN_UNTIL(server->loop, !client->is_open);
    }
    RUN_UNTIL(server->loop, server->answers == 0);
    proa_buffer_pool_close(server->pool);
    free(server);
}

void name_server_abandon(struct name_server *server)
{
    close_plain(server->datagrams.handle);
    close_plain(server->listener.handle);
    free(server);
}

/* Ops in a returned exchange have completed, so it can be lent again as it is. */
#include "serve/exchange.h"

#include <stdlib.h>

#include "serve/server.h"

struct exchange *exchange_borrow(struct connection *connection)
{
    struct server *server = connection->server;
    struct exchange *exchange = connection->exchange;

    if (exchange)
        return exchange;
    exchange = server->exchanges;
    if (exchange) {
        server->exchanges = exchange->next;
        server->exchanges_kept--;
    } else {
        exchange = calloc(1, sizeof(*exchange));
        if (!exchange)
            return NULL;
        for (unsigned i = 0; i < EXCHANGE_SLOTS; i++)
            exchange->slots[i].exchange = exchange;
    }
    exchange->connection = connection;
    connection->exchange = exchange;
    return exchange;
}

void exchange_return_if_idle(struct connection *connection)
{
    struct server *server = connection->server;
    struct exchange *exchange = connection->exchange;

    if (!exchange || exchange->slots_busy || exchange->working || proa_in_flight(&exchange->op))
        return;
    connection->exchange = NULL;
    if (server->exchanges_kept == EXCHANGES_KEPT) {
        free(exchange);
        return;
    }
    exchange->next = server->exchanges;
    server->exchanges = exchange;
    server->exchanges_kept++;
}

void exchange_clear(struct server *server)
{
    while (server->exchanges) {
        struct exchange *exchange = server->exchanges;
        server->exchanges = exchange->next;
        free(exchange);
    }
    server->exchanges_kept = 0;
}

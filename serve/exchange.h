/* What a connection borrows while an answer needs more than one send or has to look at a file. */
#ifndef SERVE_EXCHANGE_H
#define SERVE_EXCHANGE_H

#include "proa/proa.h"
#include "serve/block.h"
#include "serve/listing.h"
#include "serve/lookup.h"
#include "serve/stream.h"

struct connection;
struct server;

enum { EXCHANGE_SLOTS = 16, EXCHANGES_KEPT = 1024 };

/* One send behind the first. */
struct slot {
    proa_op op;
    struct exchange *exchange;
    struct block *block;
};

struct exchange {
    struct connection *connection;
    struct exchange *next; /* in the free-list */
    proa_op op;            /* the one op on a file, or function on the pool, of lookup, stream or listing */
    uint8_t slots_busy;
    uint8_t slot_next;
    bool working; /* a lookup, stream or listing is under way */
    struct lookup lookup;
    struct stream stream;
    struct listing listing;
    struct slot slots[EXCHANGE_SLOTS];
};

/* The connection's exchange, borrowed now if it has none. NULL: no memory. */
struct exchange *exchange_borrow(struct connection *connection);

/* Gives it back if nothing is under way. */
void exchange_return_if_idle(struct connection *connection);

/* Frees those in the free-list. */
void exchange_clear(struct server *server);

#endif

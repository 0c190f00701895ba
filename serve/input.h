/* Bytes of a connection that had to be kept: a head that came in pieces, the head of a request that is being answered,
 * and what a pipelining client sent behind it. Most requests never need one: they are read where they arrived. */
#ifndef SERVE_INPUT_H
#define SERVE_INPUT_H

#include "http/chunked.h"
#include "http/request.h"
#include "serve/block.h"

struct input {
    struct block *block; /* that this lies in */
    uint32_t at;         /* the present request begins here */
    uint32_t len;        /* bytes in data */
    uint32_t capacity;
    uint32_t head_size; /* of the request being answered; 0: it is still being read */
    uint32_t started;   /* tick in which the first byte of the head, or of the body, was waited for */
    bool resumed;       /* `request` has read a part of the head */
    uint32_t body_taken;
    uint64_t body_left;
    struct http_chunked chunked;
    struct http_request request;
    char data[];
};

enum {
    INPUT_LOW = 4 << 10,   /* with less kept, more is received */
    INPUT_HIGH = 16 << 10, /* with more kept, nothing more is asked for */
    INPUT_MAX = 2 << 20,   /* what may still arrive after that; a client beyond it is cut */
    INPUT_BODY_MAX = 1 << 20
};

/* Adds bytes, making `*input` (NULL at first) or moving it as needed. False: no memory, or over INPUT_MAX. */
bool input_append(struct block_pool *pool, struct input **input, const char *bytes, size_t len);

void input_drop(struct block_pool *pool, struct input **input);

/* Starts on the body of the request whose head is kept. */
void input_begin_body(struct input *input);

/* Drops body bytes. Returns 1: the body is complete; 0: more is needed; a negative status. */
int input_drop_body(struct input *input);

/* Bytes behind the head that is being answered. */
static inline size_t input_waiting(const struct input *input)
{
    return input ? input->len - input->at - input->head_size : 0;
}

#endif

/* A pooled block that grows by doubling; its offsets stay true when it moves. */
#include "serve/input.h"

#include <string.h>

static bool make_room(struct block_pool *pool, struct input **place, size_t len)
{
    struct input *old = *place;
    size_t held = old ? old->len - old->at : 0;

    if (old && old->capacity - old->len >= len)
        return true;
    if (old && old->capacity - held >= len && old->at >= held) {
        memmove(old->data, old->data + old->at, held);
        old->at = 0;
        old->len = (uint32_t)held;
        return true;
    }
    if (held + len > INPUT_MAX)
        return false;

    struct block *block = block_take(pool, sizeof(struct input) + 2 * held + len);
    if (!block)
        return false;
    struct input *input = (struct input *)(void *)block->data;
    *input = old ? *old : (struct input){0};
    input->block = block;
    input->capacity = (uint32_t)(block->capacity - sizeof(*input));
    input->at = 0;
    input->len = (uint32_t)held;
    if (old)
        memcpy(input->data, old->data + old->at, held);
    input_drop(pool, place);
    *place = input;
    return true;
}

bool input_append(struct block_pool *pool, struct input **input, const char *bytes, size_t len)
{
    if (!make_room(pool, input, len))
        return false;
    memcpy((*input)->data + (*input)->len, bytes, len);
    (*input)->len += (uint32_t)len;
    return true;
}

void input_drop(struct block_pool *pool, struct input **input)
{
    if (*input)
        block_release(pool, (*input)->block);
    *input = NULL;
}

void input_begin_body(struct input *input)
{
    input->body_taken = 0;
    input->body_left = input->request.content_length;
    input->chunked = (struct http_chunked){0};
}

/* Reads chunks in from[0..len). */
static int drop_chunks(struct input *input, const char *from, size_t len, size_t *ret_used)
{
    int result = HTTP_CHUNKED_MORE;

    *ret_used = 0;
    while (*ret_used < len && result >= 0 && result != HTTP_CHUNKED_END) {
        struct http_text data;
        size_t used;
        result = http_chunked_next(&input->chunked, from + *ret_used, len - *ret_used, &used, &data);
        *ret_used += used;
    }
    return result < 0 ? result : result == HTTP_CHUNKED_END;
}

static int drop_length(struct input *input, size_t len, size_t *ret_used)
{
    *ret_used = len < input->body_left ? len : (size_t)input->body_left;
    input->body_left -= *ret_used;
    return input->body_left == 0;
}

int input_drop_body(struct input *input)
{
    char *from = input->data + input->at + input->head_size;
    size_t len = input_waiting(input);
    size_t used;
    int result = input->request.body == HTTP_BODY_CHUNKED ? drop_chunks(input, from, len, &used)
                                                          : drop_length(input, len, &used);

    memmove(from, from + used, len - used);
    input->len -= (uint32_t)used;
    input->body_taken += (uint32_t)used;
    return input->body_taken > INPUT_BODY_MAX ? -HTTP_CONTENT_TOO_LARGE : result;
}

/*
 * The checker of HTTP responses. Every response must be a 200 with the expected Content-Length and exactly so many
 * bytes. A head equal to the last good one, byte for byte, is good: servers change theirs once a second, with the date.
 */
#define _GNU_SOURCE
#include "load.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static char good_head[HTTP_HEAD_MAX];
static size_t good_size;

static const char *end_of_head(const char *data, size_t size)
{
    const char *end = memmem(data, size, "\r\n\r\n", 4);

    return end ? end + 4 : NULL;
}

/* The value of Content-Length between `head` and `end`, or -1. */
static long content_length(const char *head, const char *end)
{
    static const char name[] = "\ncontent-length:";
    const size_t size = sizeof(name) - 1;

    for (; head + size < end; head++) {
        if (*head == '\n' && !strncasecmp(head, name, size))
            return strtol(head + size, NULL, 10);
    }
    return -1;
}

static const char *fault(const char *head, const char *end, size_t body)
{
    long length = content_length(head, end);

    if (end - head < 12 || memcmp(head, "HTTP/1.1 200", 12))
        return "the status is not 200";
    if (length < 0)
        return "no Content-Length";
    if ((size_t)length != body)
        return "another Content-Length than expected";
    if ((size_t)(end - head) > sizeof(good_head))
        return "head too large";
    return NULL;
}

/* Returns the size of the head at `data`, 0 if it is not complete, -1 if it is wrong. */
static long check_head(const char *data, size_t size, size_t body, const char **ret_error)
{
    const char *end;

    if (good_size && size >= good_size && !memcmp(data, good_head, good_size))
        return (long)good_size;
    end = end_of_head(data, size);
    if (!end)
        return 0;
    *ret_error = fault(data, end, body);
    if (*ret_error)
        return -1;
    good_size = (size_t)(end - data);
    memcpy(good_head, data, good_size);
    return (long)good_size;
}

/* Keeps the part of a head until the rest comes. Returns the bytes of `data` that belong to the head, or -1. */
static long join_head(struct http_check *check, const char *data, size_t size, size_t body, const char **ret_error)
{
    size_t before = check->head_size, room = HTTP_HEAD_MAX - before, part = size < room ? size : room;
    long head;

    if (!check->head && !(check->head = malloc(HTTP_HEAD_MAX)))
        load_fail("memory", 12);
    memcpy(check->head + before, data, part);
    check->head_size += part;
    head = check_head(check->head, check->head_size, body, ret_error);
    if (head == 0 && check->head_size == HTTP_HEAD_MAX) {
        *ret_error = "head too large";
        return -1;
    }
    if (head <= 0)
        return head < 0 ? -1 : (long)part;
    free(check->head);
    check->head = NULL;
    check->head_size = 0;
    check->in_body = true;
    check->body_left = body;
    return head - (long)before;
}

static long take_head(struct http_check *check, const char *data, size_t size, size_t body, const char **ret_error)
{
    long head = check->head_size ? 0 : check_head(data, size, body, ret_error);

    if (head == 0)
        return join_head(check, data, size, body, ret_error);
    check->in_body = head > 0;
    check->body_left = body;
    return head;
}

long http_check(struct http_check *check, const char *data, size_t size, size_t body, const char **ret_error)
{
    long responses = 0;

    while (size || (check->in_body && !check->body_left)) {
        size_t part = size < check->body_left ? size : check->body_left;

        if (!check->in_body) {
            long head = take_head(check, data, size, body, ret_error);

            if (head < 0)
                return -1;
            data += head;
            size -= (size_t)head;
            continue;
        }
        data += part;
        size -= part;
        check->body_left -= part;
        if (check->body_left)
            break;
        check->in_body = false;
        responses++;
    }
    return responses;
}

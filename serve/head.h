/* Response heads as this server writes them: every one starts with the status line, Server and Date. */
#ifndef SERVE_HEAD_H
#define SERVE_HEAD_H

#include "http/ranges.h"
#include "http/response.h"
#include "serve/clock.h"

struct entry;

/* What a head says about the connection after the response. */
enum persistence {
    PERSISTENCE_IMPLIED, /* HTTP/1.1: it stays open, which needs no word */
    PERSISTENCE_SAID,    /* HTTP/1.0: it stays open because the client asked */
    PERSISTENCE_CLOSE
};

/* Where the Date stands in the head of a 200. */
enum { HEAD_DATE_AT = sizeof("HTTP/1.1 200 OK\r\nDate: ") - 1 };

void head_start(struct http_writer *out, unsigned status, const struct clock *clock, enum persistence persistence);

/* The whole head of a 200 with the file's bytes as its body. */
void head_of_file(struct http_writer *out, const struct entry *entry, const struct clock *clock,
                  enum persistence persistence);

/* The fields that a 200 and a 304 share (RFC 9110 15.4.5). */
void head_validators(struct http_writer *out, const struct entry *entry);

/* Content-Type, with the charset where the type is text: files are taken to be UTF-8. */
void head_type(struct http_writer *out, struct http_text type);

void head_coding(struct http_writer *out, const struct entry *entry);

#endif

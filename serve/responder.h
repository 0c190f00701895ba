/* From a request to its answer. Most are answered within the call, from the cache; the others need a look at a file,
 * which a lookup takes, and come back here once it knows. */
#ifndef SERVE_RESPONDER_H
#define SERVE_RESPONDER_H

#include "http/request.h"
#include "serve/cache.h"
#include "serve/head.h"

struct connection;

/* Answers a request whose head is at `head`. True: answered, connection->keep says what is next. False: the connection
 * is BUSY, or wants the BODY first; the caller keeps request and head in the input. */
bool responder_answer(struct connection *connection, const struct http_request *request, const char *head);

/* The same for a request whose body has been read. */
bool responder_perform(struct connection *connection, const struct http_request *request, const char *head);

/* Refuses what could not be read as a request, or could not be waited for. The connection ends. */
void responder_refuse(struct connection *connection, const struct http_request *request, const char *head,
                      unsigned status);

/* Answers with a small page that says the status. */
void responder_status(struct connection *connection, const struct http_request *request, const char *head,
                      unsigned status);

/* Answers with a directory's address with its slash. `path` is normalised and without it. */
void responder_redirect(struct connection *connection, const struct http_request *request, const char *head,
                        struct http_text path);

/* Answers with a file that the cache knows. As responder_answer(). */
bool responder_file(struct connection *connection, const struct http_request *request, const char *head,
                    struct entry *entry);

/* Sends the head of a 200 alone. */
void responder_send_head(struct connection *connection, const struct http_request *request, struct entry *entry);

/* Sends what a writer wrote into a block, and takes it over; if it failed, ends the connection. */
void responder_send_written(struct connection *connection, struct block *block, const struct http_writer *out);

/* Whether an entry may be used without a look at its file. */
bool responder_is_valid(const struct entry *entry, uint64_t now_ns);

/* A send of a BUSY connection is done. */
void responder_go_on(struct connection *connection);

/* The connection is closing while its exchange works. */
void responder_abandon(struct connection *connection);

enum persistence responder_persistence(const struct connection *connection, const struct http_request *request);

/* Counts an answer, and writes its line where there is an access log. */
void responder_account(struct connection *connection, const struct http_request *request, const char *head,
                       unsigned status, uint64_t body_size);

#endif

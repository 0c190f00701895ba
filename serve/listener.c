/* A shard is accepted from with one repeating op, as long as descriptors are plenty. A shared socket is accepted from
 * one by one: each worker lines up anew behind the others, while a repeating accept would give nearly all connections
 * to one of them. */
#include "serve/listener.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "serve/await.h"
#include "serve/connection.h"
#include "serve/message.h"
#include "serve/server.h"

int listener_open(proa_loop *loop, proa_address *address, bool shard)
{
    bool local = address->as.any.sa_family == AF_UNIX;
    unsigned flags = local ? PROA_LISTEN_REPLACE : shard ? PROA_LISTEN_SHARD : 0;
    int number = (int)await_listen(loop, address, LISTENER_BACKLOG, flags);

    if (number >= 0 && !local)
        proa_local_address(NULL, proa_fd_of(number), address);
    return number;
}

int listener_backlog_in_effect(proa_loop *loop)
{
    char text[32];
    int limit = LISTENER_BACKLOG;

    if (await_text(loop, "/proc/sys/net/core/somaxconn", text, sizeof(text)) > 0)
        limit = atoi(text);
    return limit < LISTENER_BACKLOG ? limit : LISTENER_BACKLOG;
}

static void on_closed(proa_op *op, proa_result result)
{
    (void)op;
    (void)result;
}

static void on_accepted(proa_op *op, proa_result result)
{
    struct listener *listener = proa_owner(op, struct listener, op);
    struct server *server = listener->server;

    if (result.value >= 0)
        connection_open(server, proa_result_fd(result));
    if (result.flags & PROA_MORE || server->ended)
        return;
    if (result.value < 0 && result.value != -ECANCELED)
        message_note("accepting connections failed: %s", strerror((int)-result.value));
    if (listener->open && server->accepting != SERVER_ACCEPTS_NONE)
        listener_start(listener, server, listener->fd, listener->shared);
    else if (!listener->open)
        proa_close(server->loop, &listener->op, listener->fd, on_closed);
}

void listener_start(struct listener *listener, struct server *server, proa_fd fd, bool shared)
{
    listener->server = server;
    listener->fd = fd;
    listener->shared = shared;
    listener->open = true;
    if (shared || server->accepting != SERVER_ACCEPTS_MANY)
        proa_accept(server->loop, &listener->op, fd, on_accepted);
    else
        proa_accept_many(server->loop, &listener->op, fd, on_accepted);
}

void listener_pause(struct listener *listener)
{
    proa_cancel(&listener->op);
}

void listener_resume(struct listener *listener)
{
    if (listener->open && !proa_in_flight(&listener->op))
        listener_start(listener, listener->server, listener->fd, listener->shared);
}

void listener_stop(struct listener *listener)
{
    listener->open = false;
    if (proa_in_flight(&listener->op))
        proa_cancel(&listener->op);
    else
        proa_close(listener->server->loop, &listener->op, listener->fd, on_closed);
}

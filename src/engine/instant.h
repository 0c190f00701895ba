/* What never blocks and needs no engine: done by a plain call while the op starts. */
#ifndef PROA_INSTANT_H
#define PROA_INSTANT_H

#include <proa/socket.h>

#include "engine/engine.h"

/* Each returns a descriptor, or a negative errno with nothing left open. */
int instant_listen(struct sys *sys, const proa_address *address, int backlog, unsigned flags);
int instant_connect_socket(struct sys *sys, const proa_address *address);
int instant_datagram_socket(struct sys *sys, const proa_address *local, const proa_address *peer, unsigned flags);
int instant_signal(struct sys *sys, int signal_number);

int instant_is_tcp(struct sys *sys, int fd);
int instant_shutdown(struct sys *sys, int fd, int how);

/* Takes one signal from a descriptor of instant_signal(). Returns its number, or a negative errno: EAGAIN for none. */
int instant_wait_child(struct sys *sys, int fd);
int instant_read_signal(struct sys *sys, int fd);

#endif

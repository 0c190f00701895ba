/* Every function of the interface that touches a loop, as a table: for who must not call it. */
#ifndef TESTS_CONFORMANCE_CALLS_H
#define TESTS_CONFORMANCE_CALLS_H

#include "kinds.h"

/* What the calls work on: made by the loop's own thread. */
struct call_scene {
    proa_loop *loop;
    proa_buffer_pool *pool;
    proa_relay_pool *relay_pool;
    proa_splicing splicing;
    proa_relaying relaying;
    proa_datagram datagram;
    proa_process process;
    proa_fd fd;
    int far;
    proa_address address;
    struct slot pending; /* a receive in flight */
    struct slot fresh;
    struct statx status;
    char data[64];
};

struct call {
    const char *name;
    bool from_anywhere; /* allowed to other threads */
    void (*call)(struct call_scene *scene);
};

extern const struct call calls[];
extern const size_t call_count;

void call_scene_open(struct call_scene *scene);
void call_scene_close(struct call_scene *scene);

#endif

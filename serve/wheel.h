/* A timer wheel for limits that are almost always met: each connection lies in the bucket of its next check.
 *
 * Activity only writes a stamp in the connection. When a bucket's turn comes, each connection in it compares its stamp
 * with its limits and is put where its next check is due. So a request costs one store, whatever the number of
 * connections, and the loop has one timer for all. */
#ifndef SERVE_WHEEL_H
#define SERVE_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

enum { WHEEL_BUCKETS = 256, WHEEL_TICKS_PER_S = 2 };

struct wheel_link {
    struct wheel_link *next, *previous;
};

struct wheel {
    uint32_t tick; /* now; at least 1, so that 0 can mean never */
    struct wheel_link buckets[WHEEL_BUCKETS];
};

void wheel_init(struct wheel *wheel);

/* Puts `link`, which must be in no bucket, where it is due in `ticks`; more than the wheel holds is due early. */
void wheel_add(struct wheel *wheel, struct wheel_link *link, uint32_t ticks);
void wheel_remove(struct wheel_link *link);

/* Goes on by one tick and takes out all that is due: a list through `next`, ended by NULL. */
struct wheel_link *wheel_turn(struct wheel *wheel);

#endif

/* Buckets are rings with a sentinel: a link leaves its bucket without knowing which it is. */
#include "serve/wheel.h"

#include <stddef.h>

void wheel_init(struct wheel *wheel)
{
    wheel->tick = 1;
    for (unsigned i = 0; i < WHEEL_BUCKETS; i++)
        wheel->buckets[i].next = wheel->buckets[i].previous = &wheel->buckets[i];
}

void wheel_add(struct wheel *wheel, struct wheel_link *link, uint32_t ticks)
{
    if (ticks == 0)
        ticks = 1;
    if (ticks >= WHEEL_BUCKETS)
        ticks = WHEEL_BUCKETS - 1;

    struct wheel_link *bucket = &wheel->buckets[(wheel->tick + ticks) % WHEEL_BUCKETS];
    link->previous = bucket->previous;
    link->next = bucket;
    bucket->previous->next = link;
    bucket->previous = link;
}

void wheel_remove(struct wheel_link *link)
{
    link->previous->next = link->next;
    link->next->previous = link->previous;
}

struct wheel_link *wheel_turn(struct wheel *wheel)
{
    struct wheel_link *bucket = &wheel->buckets[++wheel->tick % WHEEL_BUCKETS];
    if (bucket->next == bucket)
        return NULL;

    struct wheel_link *due = bucket->next;
    bucket->previous->next = NULL;
    bucket->next = bucket->previous = bucket;
    return due;
}

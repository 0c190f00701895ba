/* Time and chance. The clock stands still but for what calls take, and jumps to the next event when nobody can run. */
#include "machine/state.h"

static int is_before(const struct event *one, const struct event *other)
{
    return one->when_ns < other->when_ns || (one->when_ns == other->when_ns && one->sequence < other->sequence);
}

static void swap(struct event **one, struct event **other)
{
    struct event *kept = *one;

    *one = *other;
    *other = kept;
}

void event_plan(proa_sim *machine, struct event *event, uint64_t when_ns)
{
    size_t at = machine->event_count++;

    if (at == machine->event_room) {
        machine->event_room = at ? 2 * at : 64;
        machine->events = machine_grow(machine->events, machine->event_room * sizeof(struct event *));
    }
    event->when_ns = when_ns;
    event->sequence = ++machine->sequences;
    machine->events[at] = event;
    for (size_t parent; at > 0; at = parent) {
        parent = (at - 1) / 2;
        if (!is_before(machine->events[at], machine->events[parent]))
            break;
        swap(&machine->events[at], &machine->events[parent]);
    }
}

static struct event *take_first(proa_sim *machine)
{
    struct event **events = machine->events;
    struct event *first = events[0];
    size_t count = --machine->event_count;

    events[0] = events[count];
    for (size_t at = 0, child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && is_before(events[child + 1], events[child]))
            child++;
        if (!is_before(events[child], events[at]))
            break;
        swap(&events[at], &events[child]);
    }
    return first;
}

static void end_event(struct event *event)
{
    event->drop(event);
    free(event);
}

void events_happen(proa_sim *machine)
{
    while (machine->event_count > 0 && machine->events[0]->when_ns <= machine->now_ns) {
        struct event *event = take_first(machine);

        event->happen(machine, event);
        end_event(event);
    }
}

void events_drop(proa_sim *machine)
{
    for (size_t i = 0; i < machine->event_count; i++)
        end_event(machine->events[i]);
    machine->event_count = 0;
}

uint64_t event_next_ns(const proa_sim *machine)
{
    return machine->event_count > 0 ? machine->events[0]->when_ns : UINT64_MAX;
}

/* SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014). */
static uint64_t next_random(proa_sim *machine)
{
    uint64_t mixed = machine->random += UINT64_C(0x9e3779b97f4a7c15);

    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

uint64_t draw(proa_sim *machine, uint64_t limit)
{
    return (uint64_t)((unsigned __int128)next_random(machine) * limit >> 64);
}

int chance(proa_sim *machine, uint32_t parts_per_million)
{
    return parts_per_million > 0 && draw(machine, 1000000) < parts_per_million;
}

size_t shorten(proa_sim *machine, uint32_t parts_per_million, size_t size)
{
    return size > 1 && chance(machine, parts_per_million) ? 1 + (size_t)draw(machine, size - 1) : size;
}

uint64_t draw_latency(proa_sim *machine, uint64_t most_ns)
{
    return most_ns / 10 + draw(machine, most_ns - most_ns / 10 + 1);
}

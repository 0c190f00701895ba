/* Shrinking: first whole stretches of steps go, halves before single ones, then the arguments come down; again, until
 * nothing more can be taken without the failure going too. */
#include <string.h>

#include "program.h"

struct shrinking {
    struct program *program;
    program_predicate *fails;
    void *context;
    size_t tried;
};

/* Keeps the candidate if it still fails. */
static bool adopt(struct shrinking *shrinking, const struct program *candidate)
{
    shrinking->tried++;
    if (!shrinking->fails(candidate, shrinking->context))
        return false;
    *shrinking->program = *candidate;
    return true;
}

static bool try_without(struct shrinking *shrinking, size_t first, size_t count)
{
    struct program candidate = *shrinking->program;

    memmove(&candidate.steps[first], &candidate.steps[first + count],
            (candidate.count - first - count) * sizeof(candidate.steps[0]));
    candidate.count -= count;
    return adopt(shrinking, &candidate);
}

static bool remove_steps(struct shrinking *shrinking)
{
    bool removed = false;

    for (size_t length = shrinking->program->count; length > 0; length /= 2) {
        /* From the end: what comes late more often depends on what comes early than the other way round. */
        for (size_t end = shrinking->program->count; end >= length; end--) {
            removed |= try_without(shrinking, end - length, length);
            if (end > shrinking->program->count)
                end = shrinking->program->count + 1;
        }
    }
    return removed;
}

static bool try_step(struct shrinking *shrinking, size_t index, struct step step)
{
    struct program candidate = *shrinking->program;

    candidate.steps[index] = step;
    return adopt(shrinking, &candidate);
}

/* The lowest that still fails between `low` and the argument, as a bisection finds it. */
static bool lower(struct shrinking *shrinking, size_t index, size_t member, int low)
{
    struct step step = shrinking->program->steps[index];
    int *argument = (int *)(void *)((char *)&step + member);
    int high = *argument;
    bool lowered = false;

    while (low < high) {
        *argument = low + (high - low) / 2;
        if (try_step(shrinking, index, step)) {
            high = *argument;
            lowered = true;
        } else {
            low = *argument + 1;
        }
    }
    return lowered;
}

static int lowest_target(const struct step *step)
{
    enum target target = step_rows[step->kind].target;

    return target == FILE_SLOT  ? FIRST_FILE
           : target == LISTENER ? FIRST_LISTENER
           : target == DATAGRAM ? FIRST_DATAGRAM
                                : 0;
}

static bool lower_step(struct shrinking *shrinking, size_t index)
{
    struct step step = shrinking->program->steps[index];
    bool lowered = false;

    if (step.after) {
        step.after = 0;
        lowered |= try_step(shrinking, index, step);
    }
    lowered |= lower(shrinking, index, offsetof(struct step, a), 0);
    lowered |= lower(shrinking, index, offsetof(struct step, b), lowest_target(&step));
    lowered |= lower(shrinking, index, offsetof(struct step, c), step_rows[step.kind].amount == RECEIVE_SIZE);
    lowered |= lower(shrinking, index, offsetof(struct step, d), 0);
    return lowered;
}

size_t program_shrink(struct program *program, program_predicate *fails, void *context)
{
    struct shrinking shrinking = {program, fails, context, 0};
    bool progress;

    do {
        progress = remove_steps(&shrinking);
        for (size_t i = 0; i < program->count; i++)
            progress |= lower_step(&shrinking, i);
    } while (progress);
    return shrinking.tried;
}

#include "program.h"

const struct step_row step_rows[STEP_KINDS] = {
#define STEP_ROW(name, traits, target, amount, weight, condition, call) \
    [STEP_##name] = {#name, traits, target, amount, weight, #condition, #call},
    STEPS(STEP_ROW)
#undef STEP_ROW
};

/* splitmix64: neighbouring seeds give unlike programs. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static int below(uint64_t *state, int limit)
{
    return (int)(next_random(state) % (unsigned)limit);
}

static enum step_kind draw_kind(uint64_t *state)
{
    unsigned total = 0;
    int ticket;

    for (size_t i = 0; i < STEP_KINDS; i++)
        total += step_rows[i].weight;
    ticket = below(state, (int)total);
    for (size_t i = 0; i < STEP_KINDS; i++) {
        ticket -= (int)step_rows[i].weight;
        if (ticket < 0)
            return (enum step_kind)i;
    }
    return STEP_TURN;
}

static int draw_target(enum target target, uint64_t *state)
{
    switch (target) {
    case STREAM:
        return below(state, STREAMS);
    case FILE_SLOT:
        return FIRST_FILE + below(state, FILES);
    case LISTENER:
        return FIRST_LISTENER + below(state, LISTENERS);
    case CONNECTION:
        return below(state, CONNECTIONS);
    case DATAGRAM:
        return FIRST_DATAGRAM + below(state, 2 * DATAGRAM_PAIRS);
    case DATAGRAM_PAIR:
        return below(state, DATAGRAM_PAIRS);
    case ANY_FD:
        return below(state, FDS);
    case NOTHING:
        break;
    }
    return 0;
}

static int draw_amount(enum amount amount, uint64_t *state)
{
    static const int ticks[] = {0, 0, 1, 2, 3, 5, 8, 12, NEVER_TICKS};
    static const int receives[] = {1, 2, 10, 100, 1000, RECEIVE_MAX};
    static const int sends[] = {0, 1, 3, 10, 50, 100, 500, 1000, 1000, 3000, 10000, 60000, SEND_MAX};
    static const int datagrams[] = {0, 1, 10, 100, 256, 257, 1000, RECEIVE_MAX, 5000, 70000};
    static const int files[] = {0, 1, 10, 100, 1000, RECEIVE_MAX};

    switch (amount) {
    case TICKS:
        return ticks[below(state, sizeof(ticks) / sizeof(ticks[0]))];
    case RECEIVE_SIZE:
        return receives[below(state, sizeof(receives) / sizeof(receives[0]))];
    case SEND_SIZE:
        return sends[below(state, sizeof(sends) / sizeof(sends[0]))];
    case DATAGRAM_SIZE:
        return datagrams[below(state, sizeof(datagrams) / sizeof(datagrams[0]))];
    case FILE_SIZE:
        return files[below(state, sizeof(files) / sizeof(files[0]))];
    case SWITCH:
        return below(state, 2);
    case THREE:
        return below(state, 3);
    case NONE:
        break;
    }
    return 0;
}

static struct step draw_step(enum step_kind kind, uint64_t *state)
{
    const struct step_row *row = &step_rows[kind];
    struct step step = {.kind = (uint8_t)kind};

    step.a = below(state, OPS);
    step.b = draw_target(row->target, state);
    step.c = draw_amount(row->amount, state);
    if (row->amount == FILE_SIZE)
        step.d = below(state, 3) * 50;
    if (!(row->traits & ALONE) && below(state, 6) == 0)
        step.after = (uint8_t)(1 + below(state, OPS));
    return step;
}

static enum step_kind draw_start(uint64_t *state)
{
    enum step_kind kind;

    do
        kind = draw_kind(state);
    while (!(step_rows[kind].traits & STARTS));
    return kind;
}

/* What a step works on that follows another in a link: often the same. */
static int draw_same_target(const struct step *step, const struct step *before, uint64_t *state)
{
    bool alike = step_rows[step->kind].target == step_rows[before->kind].target;

    return alike && below(state, 2) ? before->b : step->b;
}

static void draw_link(struct program *program, uint64_t *state)
{
    int count = 2 + below(state, LINK_MAX - 1), first_op = below(state, OPS);
    struct step *steps = &program->steps[program->count];

    steps[0] = draw_step(STEP_LINK_BEGIN, state);
    for (int i = 1; i <= count; i++) {
        steps[i] = draw_step(draw_start(state), state);
        steps[i].after = 0;
        steps[i].a = (first_op + i) % OPS;
        steps[i].b = draw_same_target(&steps[i], &steps[i - 1], state);
    }
    steps[count + 1] = draw_step(STEP_LINK_END, state);
    program->count += (size_t)count + 2;
}

/* Most programs are about a connection. */
void program_generate(struct program *program, uint64_t seed)
{
    uint64_t state = seed;
    size_t count = 6 + (size_t)below(&state, STEPS_MAX - 6);

    program->count = 0;
    if (below(&state, 8))
        program->steps[program->count++] = draw_step(STEP_PAIR, &state);
    while (program->count < count) {
        enum step_kind kind = draw_kind(&state);

        if (kind != STEP_LINK_BEGIN)
            program->steps[program->count++] = draw_step(kind, &state);
        else if (program->count + LINK_MAX + 2 <= STEPS_MAX)
            draw_link(program, &state);
    }
}

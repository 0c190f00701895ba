/* Programs: threads that run one at a time. A program keeps the machine until it waits; then the machine goes to one of
 * those that can run, which the seed picks, and where none can, the clock jumps to the next event or the end of a wait.
 * The thread that gives the machine away makes this decision, so a program's condition is asked by any thread, while its
 * own sleeps. */
#include "machine/state.h"

enum program_state { PROGRAM_RUNS, PROGRAM_WAITS, PROGRAM_IS_OVER };

enum { STALLS_MAX = 100000 };

struct program {
    proa_sim *machine;
    struct program *next;
    const char *name;
    enum program_state state;
    machine_condition *condition; /* null: only the time counts */
    void *context;
    uint64_t until_ns;
    int result;      /* of its wait */
    int broke_sleep; /* it came while all others slept until a thread from outside would wake them */
    uint32_t stalls; /* waits of its that ended because nothing could happen */
    pthread_cond_t turn;
    proa_sim_program *function; /* null: entered, not spawned */
    void *argument;
    pthread_t thread;
};

static _Thread_local struct program *here;
static _Thread_local uint32_t own_users; /* of the machine that the thread opened for itself */

proa_sim *machine_here(void)
{
    return here ? here->machine : NULL;
}

int program_is_running(const proa_sim *machine)
{
    return here && here == machine->running;
}

const char *program_name(const proa_sim *machine)
{
    return program_is_running(machine) ? here->name : "outside";
}

/* Whose turn it is */

static void give_turn(proa_sim *machine, struct program *program, int result)
{
    program->state = PROGRAM_RUNS;
    program->result = result;
    machine->running = program;
    machine->asleep = 0;
    pthread_cond_signal(&program->turn);
}

static int condition_holds(proa_sim *machine, const struct program *program)
{
    return program->condition && program->condition(machine, program->context);
}

static int can_run(proa_sim *machine, const struct program *program)
{
    return program->state == PROGRAM_WAITS &&
           (program->until_ns <= machine->now_ns || condition_holds(machine, program));
}

/* One of those that can run, each as likely as the others. */
static struct program *pick(proa_sim *machine)
{
    struct program *picked = NULL;
    uint64_t count = 0;

    for (struct program *program = machine->programs; program; program = program->next)
        if (can_run(machine, program) && (++count == 1 || draw(machine, count) == 0))
            picked = program;
    return picked;
}

static uint64_t next_change_ns(const proa_sim *machine)
{
    uint64_t next_ns = event_next_ns(machine);

    for (const struct program *program = machine->programs; program; program = program->next)
        if (program->state == PROGRAM_WAITS && program->until_ns < next_ns)
            next_ns = program->until_ns;
    return next_ns;
}

static int is_spawned(const struct program *program)
{
    return program->function != NULL;
}

/* The spawned before those that wait for their end, and of these the one that has stalled least. */
static struct program *pick_stalled(const proa_sim *machine)
{
    struct program *picked = NULL;

    for (struct program *program = machine->programs; program; program = program->next)
        if (program->state == PROGRAM_WAITS &&
            (!picked || is_spawned(program) > is_spawned(picked) ||
             (is_spawned(program) == is_spawned(picked) && program->stalls < picked->stalls)))
            picked = program;
    return picked;
}

static void stall(proa_sim *machine)
{
    struct program *program = pick_stalled(machine);

    machine->running = NULL;
    machine->asleep = machine->options.awaits_outside;
    if (machine->asleep || !program)
        return;
    machine->stalled = 1;
    program->stalls++;
    /* One that turns its loop by hand, and does not look whether anything came of it, would do so for ever. */
    if (is_spawned(program) && program->stalls == STALLS_MAX)
        panic("proa_sim_run", "a program waits again and again for what can never come");
    trace_program(machine, program->name, "waits for what can never come");
    give_turn(machine, program, -EDEADLK);
}

void dispatch(proa_sim *machine)
{
    struct program *program;
    uint64_t next_ns = 0;

    while (next_ns != UINT64_MAX) {
        events_happen(machine);
        program = pick(machine);
        if (program) {
            give_turn(machine, program, condition_holds(machine, program));
            return;
        }
        next_ns = next_change_ns(machine);
        if (next_ns != UINT64_MAX)
            machine->now_ns = next_ns;
    }
    stall(machine);
}

static void await_turn(struct program *self)
{
    while (self->machine->running != self)
        pthread_cond_wait(&self->turn, &self->machine->lock);
}

static int wait_locked(struct program *self, machine_condition *condition, void *context, uint64_t until_ns)
{
    self->condition = condition;
    self->context = context;
    self->until_ns = until_ns;
    self->state = PROGRAM_WAITS;
    dispatch(self->machine);
    await_turn(self);
    return self->result;
}

int machine_wait(proa_sim *machine, machine_condition *condition, void *context, uint64_t until_ns)
{
    int result;

    if (!here || here->machine != machine)
        panic(__func__, "the thread waits on a machine that it is not in; proa_sim_enter() it first");
    pthread_mutex_lock(&machine->lock);
    machine->now_ns += 1 + draw(machine, 1000);
    result = wait_locked(here, condition, context, until_ns);
    pthread_mutex_unlock(&machine->lock);
    return result;
}

/* Coming and going */

static struct program *program_new(proa_sim *machine, const char *name)
{
    struct program *program = calloc(1, sizeof(*program));

    if (!program)
        return NULL;
    program->machine = machine;
    program->name = name;
    pthread_cond_init(&program->turn, NULL);
    return program;
}

static void program_free(struct program *program)
{
    pthread_cond_destroy(&program->turn);
    free(program);
}

static void add(proa_sim *machine, struct program *program)
{
    struct program **end = &machine->programs;

    while (*end)
        end = &(*end)->next;
    *end = program;
}

static void take_out(proa_sim *machine, struct program *program)
{
    struct program **link = &machine->programs;

    while (*link != program)
        link = &(*link)->next;
    *link = program->next;
}

int proa_sim_enter(proa_sim *sim)
{
    struct program *self;

    if (here)
        panic(__func__, "the thread is in a machine already; it leaves that one first");
    self = program_new(sim, "main");
    if (!self)
        return -ENOMEM;
    pthread_mutex_lock(&sim->lock);
    add(sim, self);
    if (!sim->running) {
        self->broke_sleep = sim->asleep;
        give_turn(sim, self, 0);
    } else {
        self->state = PROGRAM_WAITS; /* at once ready: its time is 0 */
        await_turn(self);
    }
    here = self;
    pthread_mutex_unlock(&sim->lock);
    return 0;
}

/* Others go on only while somebody waits: in proa_sim_run(), or in a loop; unless that is what they did before. */
void proa_sim_leave(void)
{
    struct program *self = here;
    proa_sim *machine;

    if (!self)
        panic(__func__, "the thread is in no machine");
    if (is_spawned(self))
        panic(__func__, "a spawned program leaves by returning");
    machine = self->machine;
    pthread_mutex_lock(&machine->lock);
    take_out(machine, self);
    machine->running = NULL;
    here = NULL;
    if (self->broke_sleep)
        dispatch(machine);
    pthread_mutex_unlock(&machine->lock);
    program_free(self);
}

/* Spawning */

static void *run_program(void *argument)
{
    struct program *self = argument;
    proa_sim *machine = self->machine;

    pthread_mutex_lock(&machine->lock);
    await_turn(self);
    here = self;
    pthread_mutex_unlock(&machine->lock);
    self->function(machine, self->argument);
    pthread_mutex_lock(&machine->lock);
    trace_program(machine, self->name, "returns");
    self->state = PROGRAM_IS_OVER;
    dispatch(machine);
    pthread_mutex_unlock(&machine->lock);
    return NULL;
}

int proa_sim_spawn(proa_sim *sim, const char *name, proa_sim_program *function, void *argument)
{
    struct program *program = program_new(sim, name);
    int error;

    if (!program)
        return -ENOMEM;
    program->function = function;
    program->argument = argument;
    program->state = PROGRAM_WAITS; /* at once ready: its time is 0 */
    pthread_mutex_lock(&sim->lock);
    error = pthread_create(&program->thread, NULL, run_program, program);
    if (error)
        program_free(program);
    else
        add(sim, program);
    pthread_mutex_unlock(&sim->lock);
    return -error;
}

static int all_are_over(proa_sim *machine, void *context)
{
    (void)context;
    for (const struct program *program = machine->programs; program; program = program->next)
        if (is_spawned(program) && program->state != PROGRAM_IS_OVER)
            return 0;
    return 1;
}

/* A spawned program that is over has nothing left to do but to end its thread. */
static void bury(proa_sim *machine)
{
    struct program *next;

    for (struct program *program = machine->programs; program; program = next) {
        next = program->next;
        if (program->state != PROGRAM_IS_OVER)
            continue;
        pthread_join(program->thread, NULL);
        take_out(machine, program);
        program_free(program);
    }
}

int proa_sim_run(proa_sim *sim)
{
    int was_inside = here != NULL, stalled;
    int error = was_inside ? 0 : proa_sim_enter(sim);

    if (error < 0)
        return error;
    if (is_spawned(here))
        panic(__func__, "called by a program that was spawned itself");
    sim->stalled = 0;
    while (machine_wait(sim, all_are_over, NULL, UINT64_MAX) != 1)
        ;
    stalled = sim->stalled;
    bury(sim);
    if (!was_inside)
        proa_sim_leave();
    return stalled ? -EDEADLK : 0;
}

/* A thread's own machine */

static uint64_t seed_from_environment(void)
{
    const char *text = getenv("PROA_SIM_SEED");

    return text ? strtoull(text, NULL, 0) : 0;
}

proa_sim *machine_entered(void)
{
    return own_users == 0 ? machine_here() : NULL;
}

static int open_own(uint32_t descriptor_limit)
{
    proa_sim_options options = {
        .seed = seed_from_environment(),
        .descriptors_max = descriptor_limit,
        .awaits_outside = 1, /* who asks for the engine alone need not know that it has no outside */
    };
    proa_sim *machine;
    int error = proa_sim_open(&machine, &options);

    if (error < 0)
        return error;
    error = proa_sim_enter(machine);
    if (error < 0)
        proa_sim_close(machine);
    return error;
}

int machine_use(uint32_t descriptor_limit, proa_sim **ret_machine)
{
    int error = 0;

    if (!here) {
        error = open_own(descriptor_limit);
        own_users = error < 0 ? 0 : 1;
    } else if (own_users > 0) {
        own_users++;
    }
    *ret_machine = machine_here();
    return error;
}

void machine_unuse(void)
{
    proa_sim *machine = machine_here();

    if (own_users == 0 || --own_users > 0)
        return;
    proa_sim_leave();
    proa_sim_close(machine);
}

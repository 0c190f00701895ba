/* Descriptors that only tell of something: eventfd(2) and signalfd(2). */
#include <sys/signalfd.h>

#include "machine/state.h"

/* eventfd(2) */

struct counter {
    struct file file;
    uint64_t value;
};

static ssize_t counter_read(proa_sim *machine, struct file *file, void *data, size_t size, uint64_t offset)
{
    struct counter *counter = (struct counter *)file;

    (void)machine;
    (void)offset;
    if (size < sizeof(counter->value))
        return -EINVAL;
    if (counter->value == 0)
        return -EAGAIN;
    memcpy(data, &counter->value, sizeof(counter->value));
    counter->value = 0;
    return sizeof(counter->value);
}

static ssize_t counter_write(proa_sim *machine, struct file *file, const void *data, size_t size, uint64_t offset)
{
    struct counter *counter = (struct counter *)file;
    uint64_t more;

    (void)machine;
    (void)offset;
    if (size < sizeof(more))
        return -EINVAL;
    memcpy(&more, data, sizeof(more));
    if (more == UINT64_MAX)
        return -EINVAL;
    if (more > UINT64_MAX - 1 - counter->value)
        return -EAGAIN;
    counter->value += more;
    return sizeof(more);
}

static unsigned counter_poll(const proa_sim *machine, const struct file *file)
{
    const struct counter *counter = (const struct counter *)file;

    (void)machine;
    return (counter->value > 0 ? POLLIN | POLLRDNORM : 0) |
           (counter->value < UINT64_MAX - 1 ? POLLOUT | POLLWRNORM : 0);
}

static void free_file(proa_sim *machine, struct file *file)
{
    (void)machine;
    free(file);
}

static const struct file_kind counter_kind = {
    .watchable = 1,
    .read = counter_read,
    .write = counter_write,
    .poll = counter_poll,
    .close = free_file,
};

static int add_new(proa_sim *machine, size_t size, const struct file_kind *kind)
{
    int error = descriptor_lacks(machine);

    return error ? error : descriptor_add(machine, machine_allocate(size), kind);
}

int machine_eventfd(proa_sim *machine)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_eventfd, -1, NULL);

    return (int)call_end(&call, result ? result : add_new(machine, sizeof(struct counter), &counter_kind));
}

/* signalfd(2) */

struct listener {
    struct file file;
    uint64_t mask; /* a bit for each signal */
};

static uint64_t bit_of(int signal_number)
{
    return UINT64_C(1) << (signal_number - 1);
}

static ssize_t listener_read(proa_sim *machine, struct file *file, void *data, size_t size, uint64_t offset)
{
    struct signalfd_siginfo information = {0};
    uint64_t there = machine->signals & ((struct listener *)file)->mask;

    (void)offset;
    if (size < sizeof(information))
        return -EINVAL;
    if (there == 0)
        return -EAGAIN;
    information.ssi_signo = (uint32_t)__builtin_ctzll(there) + 1;
    machine->signals &= ~bit_of((int)information.ssi_signo);
    memcpy(data, &information, sizeof(information));
    return sizeof(information);
}

static unsigned listener_poll(const proa_sim *machine, const struct file *file)
{
    return machine->signals & ((const struct listener *)file)->mask ? POLLIN | POLLRDNORM : 0;
}

static const struct file_kind listener_kind = {
    .watchable = 1,
    .read = listener_read,
    .poll = listener_poll,
    .close = free_file,
};

static int do_signalfd(proa_sim *machine, const sigset_t *mask)
{
    int fd = add_new(machine, sizeof(struct listener), &listener_kind);

    for (int number = 1; fd >= 0 && number <= 64; number++)
        if (sigismember(mask, number) == 1)
            ((struct listener *)descriptor_file(machine, fd))->mask |= bit_of(number);
    return fd;
}

int machine_signalfd(proa_sim *machine, const sigset_t *mask)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_signalfd, -1, NULL);

    return (int)call_end(&call, result ? result : do_signalfd(machine, mask));
}

void proa_sim_signal(proa_sim *sim, int signal_number)
{
    if (signal_number < 1 || signal_number > 64)
        panic(__func__, "there is no such signal");
    pthread_mutex_lock(&sim->lock);
    sim->signals |= bit_of(signal_number);
    trace_event(sim, "signal", 0, (uint64_t)signal_number);
    if (sim->asleep)
        dispatch(sim);
    pthread_mutex_unlock(&sim->lock);
}

/* The trace: a line per call and per event that comes over the network, and the hash of all of them. */
#include <stdarg.h>
#include <stdio.h>

#include "machine/state.h"

static const char *const call_names[] = {
#define CALL_NAME(name) #name,
    PROA_SIM_CALLS(CALL_NAME)
#undef CALL_NAME
};

/* FNV-1a, 64 bits (Fowler, Noll, Vo). */
static void digest(proa_sim *machine, const char *line)
{
    for (; *line; line++)
        machine->digest = (machine->digest ^ (uint8_t)*line) * UINT64_C(0x100000001b3);
}

__attribute__((format(printf, 2, 3))) static void print(proa_sim *machine, const char *format, ...)
{
    char line[192];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    digest(machine, line);
    if (machine->options.trace)
        machine->options.trace(machine->options.trace_context, line);
}

void trace_call(const struct call *call, int64_t result)
{
    proa_sim *machine = call->machine;
    unsigned long long s = machine->now_ns / 1000000000, ns = machine->now_ns % 1000000000;
    const char *error = result < 0 ? strerrorname_np((int)-result) : NULL;
    char text[32];

    snprintf(text, sizeof(text), "%lld", (long long)result);
    if (call->size > 0)
        print(machine, "%llu.%09llu %s: %s(%d, %zu) = %s", s, ns, program_name(machine), call_names[call->name],
              call->fd, call->size, error ? error : text);
    else
        print(machine, "%llu.%09llu %s: %s(%d) = %s", s, ns, program_name(machine), call_names[call->name], call->fd,
              error ? error : text);
}

void trace_event(proa_sim *machine, const char *what, uint64_t serial, uint64_t size)
{
    print(machine, "%llu.%09llu #%llu: %s %llu", (unsigned long long)(machine->now_ns / 1000000000),
          (unsigned long long)(machine->now_ns % 1000000000), (unsigned long long)serial, what,
          (unsigned long long)size);
}

void trace_program(proa_sim *machine, const char *name, const char *what)
{
    print(machine, "%llu.%09llu %s %s", (unsigned long long)(machine->now_ns / 1000000000),
          (unsigned long long)(machine->now_ns % 1000000000), name, what);
}

int proa_sim_fault(proa_sim *sim, const char *call, uint32_t skip, uint32_t times, int error, uint32_t size_max)
{
    if (error > 0)
        return -EINVAL;
    for (size_t i = 0; i < CALL_COUNT; i++) {
        if (strcmp(call_names[i], call) != 0)
            continue;
        pthread_mutex_lock(&sim->lock);
        sim->plans[i] = (struct plan){skip, times, error, size_max};
        pthread_mutex_unlock(&sim->lock);
        return 0;
    }
    return -EINVAL;
}

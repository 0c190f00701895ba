/* A machine's life, its descriptors, and the way every call goes. */
#include "machine/state.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "machine/disk.h"

enum {
    LATENCY_NS = 200000,
    DISK_LATENCY_NS = 2000000,
    DISK_SIZE = 1 << 30,
    DISK_QUEUE = 4,
    SOCKET_BUFFER = 64 << 10,
    BACKLOG_MAX = 4096,
    DESCRIPTORS_MAX = 1024,
    CALL_NS = 1000, /* what a call takes, at most */
    CLOCK_NS = 100, /* and a look at the clock: who waits for a time by looking must see it come */
    START_S = 1000, /* the clock's first second: nobody should rely on it being small */
};

void *machine_allocate(size_t size)
{
    void *memory = calloc(1, size);

    if (!memory)
        panic("proa_sim", "there is no memory for the machine");
    return memory;
}

void *machine_grow(void *memory, size_t size)
{
    memory = realloc(memory, size);
    if (!memory)
        panic("proa_sim", "there is no memory for the machine");
    return memory;
}

/* A call's way */

static int64_t strike(struct plan *plan, size_t *size)
{
    if (plan->times == 0)
        return 0;
    if (plan->skip > 0) {
        plan->skip--;
        return 0;
    }
    plan->times--;
    if (plan->error == 0 && size && *size > plan->size_max)
        *size = plan->size_max;
    return plan->error;
}

static int moves_bytes(enum call_name name)
{
    return name == CALL_recv || name == CALL_send || name == CALL_recvmsg || name == CALL_sendmsg ||
           name == CALL_sendfile || name == CALL_read || name == CALL_write || name == CALL_splice;
}

int64_t call_begin(struct call *call, proa_sim *machine, enum call_name name, int fd, size_t *size)
{
    int64_t error;

    pthread_mutex_lock(&machine->lock);
    if (program_is_running(machine))
        machine->now_ns += 1 + draw(machine, CALL_NS);
    events_happen(machine);
    error = strike(&machine->plans[name], size);
    *call = (struct call){machine, name, fd, size ? *size : 0};
    if (error == 0 && moves_bytes(name) && program_is_running(machine) && CHANCE(machine, interrupted))
        error = -EINTR;
    return error;
}

int64_t call_end(struct call *call, int64_t result)
{
    trace_call(call, result);
    if (call->machine->asleep)
        dispatch(call->machine);
    pthread_mutex_unlock(&call->machine->lock);
    return result;
}

uint64_t machine_now_ns(proa_sim *machine)
{
    uint64_t now_ns;

    pthread_mutex_lock(&machine->lock);
    if (program_is_running(machine))
        machine->now_ns += CLOCK_NS;
    now_ns = machine->now_ns;
    pthread_mutex_unlock(&machine->lock);
    return now_ns;
}

/* Descriptors */

uint32_t machine_descriptor_limit(const proa_sim *machine)
{
    return machine->options.descriptors_max;
}

void machine_limit_descriptors(proa_sim *machine, uint32_t limit)
{
    pthread_mutex_lock(&machine->lock);
    machine->descriptor_limit = limit < machine->options.descriptors_max ? limit : machine->options.descriptors_max;
    pthread_mutex_unlock(&machine->lock);
}

struct file *descriptor_file(const proa_sim *machine, int fd)
{
    return (uint32_t)fd < machine->options.descriptors_max ? machine->descriptors[fd] : NULL;
}

static uint32_t lowest_free(const proa_sim *machine, uint32_t fd)
{
    fd = fd > MACHINE_FIRST_DESCRIPTOR ? fd : MACHINE_FIRST_DESCRIPTOR;
    while (fd < machine->descriptor_limit && machine->descriptors[fd])
        fd++;
    return fd;
}

int descriptor_lacks(proa_sim *machine)
{
    return lowest_free(machine, 0) >= machine->descriptor_limit || CHANCE(machine, no_descriptor) ? -EMFILE : 0;
}

static int name_file(proa_sim *machine, struct file *file, uint32_t fd)
{
    machine->descriptors[fd] = file;
    file->descriptors++;
    trace_event(machine, "is descriptor", file->serial, fd);
    if (fd >= machine->descriptor_high)
        machine->descriptor_high = fd + 1;
    return (int)fd;
}

int descriptor_add(proa_sim *machine, struct file *file, const struct file_kind *kind)
{
    uint32_t fd = lowest_free(machine, 0);

    file->kind = kind;
    if (!file->serial)
        file->serial = ++machine->serials;
    if (fd < machine->descriptor_limit)
        return name_file(machine, file, fd);
    kind->close(machine, file);
    return -EMFILE;
}

void descriptor_remove(proa_sim *machine, int fd)
{
    struct file *file = machine->descriptors[fd];

    machine->descriptors[fd] = NULL;
    if (--file->descriptors == 0)
        file->kind->close(machine, file);
}

static int do_dup(const struct call *call, int lowest)
{
    proa_sim *machine = call->machine;
    struct file *file = descriptor_file(machine, call->fd);
    uint32_t fd;

    if (!file || (uint32_t)lowest >= machine->descriptor_limit)
        return file ? -EINVAL : -EBADF;
    fd = lowest_free(machine, (uint32_t)lowest);
    return fd < machine->descriptor_limit ? name_file(machine, file, fd) : -EMFILE;
}

int machine_dup(proa_sim *machine, int fd, int lowest)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_dup, fd, NULL);

    return (int)call_end(&call, result ? result : do_dup(&call, lowest));
}

int machine_close(proa_sim *machine, int fd)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_close, fd, NULL);

    if (!descriptor_file(machine, fd))
        return (int)call_end(&call, -EBADF);
    descriptor_remove(machine, fd); /* whatever the result, as Linux does (close(2)) */
    return (int)call_end(&call, result);
}

static int check_offset(const struct file *file, uint64_t offset)
{
    if (offset == UINT64_MAX)
        return 0;
    return offset > INT64_MAX ? -EINVAL : file->kind->has_offset ? 0 : -ESPIPE;
}

static ssize_t do_read(const struct call *call, void *data, size_t size, uint64_t offset)
{
    struct file *file = descriptor_file(call->machine, call->fd);
    int error;

    if (!file || !file->kind->read)
        return -EBADF;
    error = check_offset(file, offset);
    return error ? error : file->kind->read(call->machine, file, data, size, offset);
}

ssize_t machine_read(proa_sim *machine, int fd, void *data, size_t size, uint64_t offset)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_read, fd, &size);

    return call_end(&call, result ? result : do_read(&call, data, size, offset));
}

static ssize_t do_write(const struct call *call, const void *data, size_t size, uint64_t offset)
{
    struct file *file = descriptor_file(call->machine, call->fd);
    int error;

    if (!file || !file->kind->write)
        return -EBADF;
    error = check_offset(file, offset);
    return error ? error : file->kind->write(call->machine, file, data, size, offset);
}

ssize_t machine_write(proa_sim *machine, int fd, const void *data, size_t size, uint64_t offset)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_write, fd, &size);

    return call_end(&call, result ? result : do_write(&call, data, size, offset));
}

/* Pieces, one after the other, as long as each is moved whole. */

struct vector {
    const struct iovec *pieces;
    int count;
    uint64_t offset;
};

static ssize_t do_vector(struct call *call, struct vector vector,
                         ssize_t (*move)(const struct call *call, void *data, size_t size, uint64_t offset))
{
    ssize_t moved = 0, part = 0;

    if (vector.count < 0 || vector.count > IOV_MAX)
        return -EINVAL;
    if (vector.count == 0)
        return move(call, NULL, 0, vector.offset);
    for (int i = 0; i < vector.count && part == (i > 0 ? (ssize_t)vector.pieces[i - 1].iov_len : 0); i++) {
        uint64_t offset = vector.offset == UINT64_MAX ? UINT64_MAX : vector.offset + (uint64_t)moved;

        part = move(call, vector.pieces[i].iov_base, vector.pieces[i].iov_len, offset);
        moved += part > 0 ? part : 0;
    }
    return moved == 0 ? part : moved;
}

ssize_t machine_readv(proa_sim *machine, int fd, const struct iovec *pieces, int count, uint64_t offset)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_read, fd, NULL);

    return call_end(&call, result ? result : do_vector(&call, (struct vector){pieces, count, offset}, do_read));
}

static ssize_t do_write_piece(const struct call *call, void *data, size_t size, uint64_t offset)
{
    return do_write(call, data, size, offset);
}

ssize_t machine_writev(proa_sim *machine, int fd, const struct iovec *pieces, int count, uint64_t offset)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_write, fd, NULL);

    return call_end(&call, result ? result : do_vector(&call, (struct vector){pieces, count, offset}, do_write_piece));
}

/* Events */

/* Errors and hang-ups are told unasked (poll(2)). */
static int do_poll(const struct call *call, unsigned events)
{
    struct file *file = descriptor_file(call->machine, call->fd);

    return file ? (int)(file->kind->poll(call->machine, file) & (events | POLLERR | POLLHUP)) : -EBADF;
}

int machine_poll(proa_sim *machine, int fd, unsigned events)
{
    struct call call;
    int64_t result = call_begin(&call, machine, CALL_poll, fd, NULL);

    return (int)call_end(&call, result ? result : do_poll(&call, events));
}

int machine_access(proa_sim *machine, int fd)
{
    const struct file *file;
    int access = -EBADF;

    pthread_mutex_lock(&machine->lock);
    file = descriptor_file(machine, fd);
    if (file)
        access = !S_ISFIFO(file->kind->mode) ? O_RDWR : file->kind->read ? O_RDONLY : O_WRONLY;
    pthread_mutex_unlock(&machine->lock);
    return access;
}

unsigned machine_peek(proa_sim *machine, int fd, uint64_t serial)
{
    struct file *file = descriptor_file(machine, fd);

    return file && file->serial == serial ? file->kind->poll(machine, file) : 0;
}

int machine_watchable(proa_sim *machine, int fd, uint64_t *ret_serial)
{
    struct file *file;
    int error;

    pthread_mutex_lock(&machine->lock);
    file = descriptor_file(machine, fd);
    *ret_serial = file ? file->serial : 0;
    error = !file ? -EBADF : file->kind->watchable ? 0 : -EPERM;
    pthread_mutex_unlock(&machine->lock);
    return error;
}

/* Draws for the engine */

uint64_t machine_draw(proa_sim *machine, uint64_t limit)
{
    uint64_t drawn;

    pthread_mutex_lock(&machine->lock);
    drawn = draw(machine, limit);
    pthread_mutex_unlock(&machine->lock);
    return drawn;
}

int machine_late_report(proa_sim *machine)
{
    int late;

    pthread_mutex_lock(&machine->lock);
    late = CHANCE(machine, late_report);
    pthread_mutex_unlock(&machine->lock);
    return late;
}

uint64_t machine_disk_latency(proa_sim *machine)
{
    uint64_t latency_ns;

    pthread_mutex_lock(&machine->lock);
    latency_ns = draw_latency(machine, machine->options.disk_latency_ns) * (CHANCE(machine, slow_disk) ? 100 : 1);
    pthread_mutex_unlock(&machine->lock);
    return latency_ns;
}

int machine_is_cold(proa_sim *machine)
{
    int is_cold;

    pthread_mutex_lock(&machine->lock);
    is_cold = CHANCE(machine, cold_file);
    pthread_mutex_unlock(&machine->lock);
    return is_cold;
}

uint32_t machine_disk_queue(const proa_sim *machine)
{
    return machine->options.disk_queue;
}

/* Life */

void proa_sim_rough(proa_sim_options *options)
{
#define SET_ROUGH(name, rough, meaning) options->chances.name = (rough);
    PROA_SIM_CHANCES(SET_ROUGH)
#undef SET_ROUGH
}

static void fill_in(proa_sim_options *options)
{
#define DEFAULT(field, value) options->field = options->field ? options->field : (value)
    DEFAULT(seed, 1);
    DEFAULT(latency_ns, LATENCY_NS);
    DEFAULT(disk_latency_ns, DISK_LATENCY_NS);
    DEFAULT(disk_size, DISK_SIZE);
    DEFAULT(disk_queue, DISK_QUEUE);
    DEFAULT(socket_buffer, SOCKET_BUFFER);
    DEFAULT(backlog_max, BACKLOG_MAX);
    DEFAULT(descriptors_max, DESCRIPTORS_MAX);
#undef DEFAULT
}

int proa_sim_open(proa_sim **ret_sim, const proa_sim_options *options)
{
    proa_sim *machine = calloc(1, sizeof(*machine));

    *ret_sim = NULL;
    if (!machine)
        return -ENOMEM;
    if (options)
        machine->options = *options;
    fill_in(&machine->options);
    machine->descriptor_limit = machine->options.descriptors_max;
    machine->descriptors = calloc(machine->options.descriptors_max, sizeof(struct file *));
    if (!machine->descriptors) {
        free(machine);
        return -ENOMEM;
    }
    pthread_mutex_init(&machine->lock, NULL);
    machine->now_ns = UINT64_C(1000000000) * START_S;
    machine->random = machine->options.seed;
    machine->digest = UINT64_C(0xcbf29ce484222325);
    disk_open(machine);
    *ret_sim = machine;
    return 0;
}

void proa_sim_close(proa_sim *sim)
{
    if (sim->programs)
        panic(__func__, "a program is still in the machine; it leaves first");
    for (uint32_t fd = 0; fd < sim->descriptor_high; fd++)
        if (sim->descriptors[fd])
            descriptor_remove(sim, (int)fd);
    events_drop(sim);
    disk_close(sim);
    pthread_mutex_destroy(&sim->lock);
    free(sim->events);
    free(sim->descriptors);
    free(sim);
}

uint64_t proa_sim_now(proa_sim *sim)
{
    uint64_t now_ns;

    pthread_mutex_lock(&sim->lock);
    now_ns = sim->now_ns;
    pthread_mutex_unlock(&sim->lock);
    return now_ns;
}

uint64_t proa_sim_digest(proa_sim *sim)
{
    uint64_t digest;

    pthread_mutex_lock(&sim->lock);
    digest = sim->digest;
    pthread_mutex_unlock(&sim->lock);
    return digest;
}

/* See files.h. */
#define _GNU_SOURCE
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* How many reads go by between two looks at the clock. */
enum { LOOK_EVERY = 16 };

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "files: %s: %s\n", what, strerror(errno));
    exit(1);
}

static _Noreturn void usage(const char *program)
{
    fprintf(stderr,
            "usage: %s [--engine E] [--lane L] [--block N] [--depth N] [--threads N] [--milliseconds N] "
            "[--cold 1] [--direct 1] FILE\n",
            program);
    exit(2);
}

static uint64_t read_clock(clockid_t clock)
{
    struct timespec time;

    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

uint64_t files_clock_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

static void *memory_of(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (memory == MAP_FAILED)
        fail("memory");
    return memory;
}

static void read_options(struct files_options *options, int argc, char **argv)
{
    const struct {
        const char *name;
        const char **text;
        long *number;
    } known[] = {
        {"--engine", &options->engine, NULL}, {"--lane", &options->lane, NULL},
        {"--block", NULL, &options->block},   {"--depth", NULL, &options->depth},
        {"--cold", NULL, &options->cold},     {"--milliseconds", NULL, &options->milliseconds},
        {"--direct", NULL, &options->direct}, {"--threads", NULL, &options->threads},
    };
    const size_t count = sizeof(known) / sizeof(known[0]);

    *options = (struct files_options){.block = 4096, .depth = 1, .milliseconds = 1000};
    if (argc % 2 != 0)
        usage(argv[0]);
    options->path = argv[argc - 1];
    for (int i = 1; i + 1 < argc; i += 2) {
        size_t place = 0;

        while (place < count && strcmp(argv[i], known[place].name) != 0)
            place++;
        if (place == count)
            usage(argv[0]);
        if (known[place].text)
            *known[place].text = argv[i + 1];
        else
            *known[place].number = atol(argv[i + 1]);
    }
    if (options->block <= 0 || options->depth <= 0 || options->depth > FILES_DEPTH_MAX || options->milliseconds <= 0)
        usage(argv[0]);
}

static uint32_t *shuffled(size_t count)
{
    uint32_t *order = memory_of(count * sizeof(*order));
    uint64_t state = 88172645463325252u;

    for (size_t i = 0; i < count; i++)
        order[i] = (uint32_t)i;
    for (size_t i = count - 1; i > 0; i--) {
        uint32_t swap = order[i];
        size_t other;

        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        other = (size_t)((state >> 32) * (i + 1) >> 32);
        order[i] = order[other];
        order[other] = swap;
    }
    return order;
}

/* Dirty pages are not dropped, so they are written first. */
static void prepare_cache(const struct files_run *run, int file)
{
    if (run->options.cold || run->options.direct) {
        fdatasync(file);
        posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
        return;
    }
    for (size_t i = 0; i < run->blocks; i++)
        if (pread(file, run->memory, (size_t)run->options.block, (off_t)i * run->options.block) < 0)
            fail(run->options.path);
}

void files_prepare(struct files_run *run, int argc, char **argv)
{
    int file;

    memset(run, 0, sizeof(*run));
    read_options(&run->options, argc, argv);
    run->memory = memory_of((size_t)run->options.depth * (size_t)run->options.block);
    file = open(run->options.path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        fail(run->options.path);
    run->blocks = (size_t)(lseek(file, 0, SEEK_END) / run->options.block);
    if (run->blocks == 0) {
        errno = EINVAL;
        fail("a file of less than one block");
    }
    run->order = shuffled(run->blocks);
    prepare_cache(run, file);
    close(file);
}

int files_open_flags(const struct files_run *run)
{
    return O_RDONLY | O_CLOEXEC | (run->options.direct ? O_DIRECT : 0);
}

void files_begin(struct files_run *run)
{
    run->begin_cpu_ns = read_clock(CLOCK_PROCESS_CPUTIME_ID);
    run->begin_ns = files_clock_ns();
    run->end_ns = run->begin_ns + (uint64_t)run->options.milliseconds * 1000000;
}

int files_next(struct files_run *run, uint64_t *ret_offset)
{
    if (run->next % LOOK_EVERY == 0 && files_clock_ns() >= run->end_ns)
        return 0;
    if (run->next == run->blocks) {
        if (run->options.cold)
            return 0;
        run->next = 0;
    }
    *ret_offset = (uint64_t)run->order[run->next++] * (uint64_t)run->options.block;
    return 1;
}

void files_done(struct files_run *run, int64_t value)
{
    if (value != run->options.block) {
        errno = value < 0 ? (int)-value : EIO;
        fail("a read");
    }
    run->ops++;
}

void files_report(const struct files_run *run, uint64_t calls)
{
    uint64_t took_ns = files_clock_ns() - run->begin_ns;
    uint64_t cpu_ns = read_clock(CLOCK_PROCESS_CPUTIME_ID) - run->begin_cpu_ns;

    printf("{\"ops\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f, \"system_calls\": %llu}\n",
           (unsigned long long)run->ops, (double)took_ns / 1e9, (double)cpu_ns / 1e9, (unsigned long long)calls);
}

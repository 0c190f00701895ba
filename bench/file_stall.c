/* How long a loop stands still while its clients read cold files: `file_stall [--engine E] [--lane L] [--milliseconds N] FILE`.
 *
 * A timer repeats every millisecond; how late each of its times comes is what is measured, and printed as a histogram of
 * powers of two of a microsecond. Meanwhile 100 clients each read a part of the file that is theirs alone, 64 KiB after
 * 64 KiB, with the page cache dropped before. It ends when they have read all or the time is up. */
#include <proa/proa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"

enum { CLIENTS = 100, CHUNK = 64 << 10, SLOTS = 24, LATES_MAX = 1 << 20 };

struct client {
    proa_op op;
    uint64_t offset, end;
    uint8_t *memory;
};

static struct files_run run;
static proa_loop *loop;
static proa_fd file;
static proa_op timer;
static struct client clients[CLIENTS];
static unsigned reading;
static uint64_t due_ns, times, latest_ns, *late_ns;

static void on_read(proa_op *op, proa_result result);

static void read_next(struct client *client)
{
    if (client->offset < client->end && files_clock_ns() < run.end_ns) {
        proa_read(loop, &client->op, file, client->memory, CHUNK, client->offset, on_read);
        client->offset += CHUNK;
    } else if (--reading == 0) {
        proa_cancel(&timer);
    }
}

static void on_read(proa_op *op, proa_result result)
{
    files_done(&run, result.value);
    read_next(proa_owner(op, struct client, op));
}

/* Times that were missed come together, each with its own delay. */
static void on_time(proa_op *op, proa_result result)
{
    uint64_t now_ns = files_clock_ns();

    (void)op;
    for (int64_t i = 0; i < result.value && times < LATES_MAX; i++) {
        late_ns[times++] = now_ns - due_ns;
        due_ns += PROA_MILLISECOND_NS;
    }
}

static void on_open(proa_op *op, proa_result result)
{
    (void)op;
    if (result.value < 0) {
        fprintf(stderr, "file_stall: %s: %s\n", run.options.path, strerror((int)-result.value));
        exit(1);
    }
    file = proa_result_fd(result);
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void report(void)
{
    unsigned long slots[SLOTS] = {0};

    qsort(late_ns, times, sizeof(*late_ns), by_size);
    for (uint64_t i = 0; i < times; i++) {
        unsigned slot = 0;

        while (slot < SLOTS - 1 && late_ns[i] >= UINT64_C(1000) << slot)
            slot++;
        slots[slot]++;
    }
    uint64_t middle_ns = late_ns[times / 2], most_ns = late_ns[times * 99 / 100];

    latest_ns = late_ns[times - 1];
    printf("{\"ops\": %llu, \"seconds\": %.6f, \"times\": %llu, \"p50_us\": %.1f, \"p99_us\": %.1f, \"most_us\": %.1f, "
           "\"below_us\": {",
           (unsigned long long)run.ops, (double)(files_clock_ns() - run.begin_ns) / 1e9, (unsigned long long)times,
           (double)middle_ns / 1e3, (double)most_ns / 1e3, (double)latest_ns / 1e3);
    for (unsigned slot = 0; slot < SLOTS; slot++)
        printf("%s\"%u\": %lu", slot ? ", " : "", 1u << slot, slots[slot]);
    printf("}}\n");
}

static void open_all(void)
{
    proa_loop_options options = {.engine = run.options.engine, .file_lane = run.options.lane};
    proa_op op = {0};
    int error = proa_loop_open(&loop, &options);

    if (error < 0) {
        fprintf(stderr, "file_stall: cannot open a loop: %s\n", strerror(-error));
        exit(1);
    }
    proa_open(loop, &op, PROA_CWD, run.options.path, (proa_open_how){.flags = files_open_flags(&run)}, on_open);
    proa_loop_run(loop, PROA_UNTIL_IDLE);
}

int main(int argc, char **argv)
{
    uint64_t share;

    files_prepare(&run, argc, argv);
    late_ns = malloc(LATES_MAX * sizeof(*late_ns));
    share = run.blocks * (uint64_t)run.options.block / CLIENTS / CHUNK * CHUNK;
    run.options.block = CHUNK;
    if (!late_ns || share == 0)
        return 2;
    open_all();
    files_begin(&run);
    due_ns = proa_now_refresh(loop) + PROA_MILLISECOND_NS;
    proa_timer_repeat(loop, &timer, due_ns, PROA_MILLISECOND_NS, on_time);
    for (reading = 0; reading < CLIENTS; reading++) {
        struct client *client = &clients[reading];

        client->offset = reading * share;
        client->end = client->offset + share;
        client->memory = aligned_alloc(4096, CHUNK);
        proa_read(loop, &client->op, file, client->memory, CHUNK, client->offset, on_read);
        client->offset += CHUNK;
    }
    proa_loop_run(loop, PROA_UNTIL_IDLE);
    report();
    proa_loop_close(loop);
    return 0;
}

/* The file benchmark of the library, on its public interface: see files.h. */
#include "files.h"

#include <proa/proa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    proa_op op;
    uint8_t *memory;
};

static struct files_run run;
static proa_loop *loop;
static proa_fd file;

static void on_read(proa_op *op, proa_result result);

static void read_next(struct reader *reader)
{
    uint64_t offset;

    if (files_next(&run, &offset))
        proa_read(loop, &reader->op, file, reader->memory, (size_t)run.options.block, offset, on_read);
}

static void on_read(proa_op *op, proa_result result)
{
    files_done(&run, result.value);
    read_next(proa_owner(op, struct reader, op));
}

static void on_open(proa_op *op, proa_result result)
{
    (void)op;
    if (result.value < 0) {
        fprintf(stderr, "files: %s: %s\n", run.options.path, strerror((int)-result.value));
        exit(1);
    }
    file = proa_result_fd(result);
}

static void open_all(void)
{
    proa_loop_options options = {
        .engine = run.options.engine, .file_lane = run.options.lane, .file_threads = (uint32_t)run.options.threads};
    proa_open_how how = {.flags = files_open_flags(&run)};
    proa_op op = {0};
    int error = proa_loop_open(&loop, &options);

    if (error < 0) {
        fprintf(stderr, "files: cannot open a loop: %s\n", strerror(-error));
        exit(1);
    }
    proa_open(loop, &op, PROA_CWD, run.options.path, how, on_open);
    proa_loop_run(loop, PROA_UNTIL_IDLE);
}

int main(int argc, char **argv)
{
    static struct reader readers[FILES_DEPTH_MAX];
    uint64_t calls;

    files_prepare(&run, argc, argv);
    open_all();
    calls = proa_loop_meters(loop).system_calls;
    files_begin(&run);
    for (long i = 0; i < run.options.depth; i++) {
        readers[i].memory = run.memory + i * run.options.block;
        read_next(&readers[i]);
    }
    proa_loop_run(loop, PROA_UNTIL_IDLE);
    files_report(&run, proa_loop_meters(loop).system_calls - calls);
    proa_loop_close(loop);
    return 0;
}

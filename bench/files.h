/*
 * What the file benchmarks share, so that all read the same blocks of the same file in the same order: options, order,
 * clocks, report.
 *
 * A program reads a file block by block in random order, each block once per round, for some time, and prints one JSON
 * object. "Hot": all of it was read before. "Cold": it was dropped from the page cache, and it ends with the first round.
 * "Direct": the page cache is passed by. CPU time is that of all the program's threads, the kernel's helpers included.
 */
#ifndef BENCH_FILES_H
#define BENCH_FILES_H

#include <stddef.h>
#include <stdint.h>

enum { FILES_DEPTH_MAX = 1024 };

struct files_options {
    const char *path, *engine, *lane;
    long block, depth, threads, milliseconds; /* threads 0: the default */
    long cold, direct;
};

struct files_run {
    struct files_options options;
    size_t blocks; /* in the file */
    uint32_t *order;
    size_t next;     /* place in it */
    uint64_t end_ns; /* by files_clock_ns() */
    uint64_t begin_ns, begin_cpu_ns;
    uint64_t ops;    /* done */
    uint8_t *memory; /* `depth` blocks, aligned */
};

/* Reads the options (`--block N --depth N --threads N --milliseconds N --cold 1 --direct 1 --engine E --lane L FILE`) and prepares the
 * file. Ends the program with 2 on a mistake, with 1 where the file cannot be read. */
void files_prepare(struct files_run *run, int argc, char **argv);

/* Flags for open(2). */
int files_open_flags(const struct files_run *run);

/* To be called right before the first read. */
void files_begin(struct files_run *run);

/* The offset of the next block to read. Returns 0 when it is time to end. */
int files_next(struct files_run *run, uint64_t *ret_offset);

/* Each read must be of a whole block. */
void files_done(struct files_run *run, int64_t value);

/* Prints the report; `calls` are system calls, where they are known, else 0. */
void files_report(const struct files_run *run, uint64_t calls);

uint64_t files_clock_ns(void);

#endif

/* libuv's uv_fs_read(), whose threads are as many as UV_THREADPOOL_SIZE says: see ../files.h. */
#include <fcntl.h>
#include <stdlib.h>
#include <uv.h>

#include "../files.h"

struct reader {
    uv_fs_t request;
    uv_buf_t memory;
};

static struct files_run run;
static uv_file file;

static void on_read(uv_fs_t *request);

static void read_next(struct reader *reader)
{
    uint64_t offset;

    if (files_next(&run, &offset))
        uv_fs_read(uv_default_loop(), &reader->request, file, &reader->memory, 1, (int64_t)offset, on_read);
}

static void on_read(uv_fs_t *request)
{
    int64_t value = request->result;

    uv_fs_req_cleanup(request);
    files_done(&run, value);
    read_next((struct reader *)request);
}

int main(int argc, char **argv)
{
    static struct reader readers[FILES_DEPTH_MAX];

    files_prepare(&run, argc, argv);
    file = open(run.options.path, files_open_flags(&run));
    files_begin(&run);
    for (long i = 0; i < run.options.depth; i++) {
        readers[i].memory = uv_buf_init((char *)run.memory + i * run.options.block, (unsigned)run.options.block);
        read_next(&readers[i]);
    }
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    files_report(&run, 0);
    return 0;
}

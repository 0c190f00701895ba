/* One pread(2) after the other: see ../files.h. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "../files.h"

int main(int argc, char **argv)
{
    struct files_run run;
    uint64_t offset;
    int file;

    files_prepare(&run, argc, argv);
    file = open(run.options.path, files_open_flags(&run));
    files_begin(&run);
    while (files_next(&run, &offset)) {
        ssize_t count = pread(file, run.memory, (size_t)run.options.block, (off_t)offset);

        files_done(&run, count < 0 ? -errno : count);
    }
    files_report(&run, run.ops);
    close(file);
    return 0;
}

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sys/sys.h"

static volatile uint64_t *page;
static uint64_t processes_begun; /* a child inherits the count, so its mark is none of its ancestors' */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

const volatile uint64_t *sys_process_mark;

static int map_page(void)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        return -ENOMEM;
    if (madvise(memory, size, MADV_WIPEONFORK) < 0) {
        int error = -errno;

        munmap(memory, size);
        return error;
    }
    page = memory;
    sys_process_mark = page;
    return 0;
}

int sys_process_begin(void)
{
    int error = 0;

    pthread_mutex_lock(&lock);
    if (!page)
        error = map_page();
    if (page && *page == 0)
        *page = ++processes_begun;
    pthread_mutex_unlock(&lock);
    return error;
}

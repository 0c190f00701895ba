/*
 * Counts heap allocations from outside: preloaded into a server (LD_PRELOAD), it adds one per allocation to a counter
 * in the file that HEAPCOUNT_FILE names, which the runner maps too and reads while the server runs. Processes forked
 * by the server count into the same file.
 *
 * The allocators of glibc are called by their __libc_ names, so nothing has to be looked up, and nothing can recurse.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

PUBLIC void *memalign(size_t alignment, size_t size);

static uint64_t counted_before_start;
static uint64_t *counter = &counted_before_start;

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("HEAPCOUNT_FILE");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *memory = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*counter), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (fd >= 0)
        close(fd);
    if (memory != MAP_FAILED)
        counter = memory;
}

static void count(void)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

PUBLIC void *malloc(size_t size)
{
    count();
    return __libc_malloc(size);
}

PUBLIC void *calloc(size_t number, size_t size)
{
    count();
    return __libc_calloc(number, size);
}

PUBLIC void *realloc(void *memory, size_t size)
{
    count();
    return __libc_realloc(memory, size);
}

PUBLIC void *memalign(size_t alignment, size_t size)
{
    count();
    return __libc_memalign(alignment, size);
}

PUBLIC void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

PUBLIC int posix_memalign(void **ret_memory, size_t alignment, size_t size)
{
    *ret_memory = memalign(alignment, size);
    return *ret_memory ? 0 : ENOMEM;
}

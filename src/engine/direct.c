#include "engine/direct.h"

#include <fcntl.h>
#include <stdio.h>

/* Where the kernel does not tell (before 6.1, or a file system that does not), this is enough for most devices. */
enum { USUAL_ALIGNMENT = 512 };

/* Of 32 KiB at most: no device has larger blocks. */
static unsigned shift_of(uint32_t alignment)
{
    unsigned shift = (unsigned)__builtin_ctz(alignment);

    return shift < 15 ? shift : 15;
}

static void learn_alignment(struct engine_host *host, int fd, struct file_facts *file)
{
    uint32_t memory = 0, offset = 0;

    if (sys_direct_alignment(&host->sys, fd, &memory, &offset) < 0 || memory == 0 || offset == 0)
        memory = offset = USUAL_ALIGNMENT;
    file->memory_shift = shift_of(memory) & 15;
    file->offset_shift = shift_of(offset) & 15;
}

int direct_bypasses_cache(struct engine_host *host, int fd)
{
    struct file_facts *file = &host->descriptors[fd].file;
    int flags;

    if (file->cache == CACHE_UNKNOWN) {
        flags = sys_open_flags(&host->sys, fd);
        file->cache = flags >= 0 && flags & O_DIRECT ? CACHE_BYPASSED : CACHE_USED;
        if (file->cache == CACHE_BYPASSED)
            learn_alignment(host, fd, file);
    }
    return file->cache == CACHE_BYPASSED;
}

static uint64_t misaligned(uint64_t value, unsigned shift)
{
    return value & ((UINT64_C(1) << shift) - 1);
}

static void explain(struct engine_host *host, const proa_op *op, const struct file_facts *file)
{
    snprintf(
        host->refusal, sizeof(host->refusal),
        "the file bypasses the page cache (O_DIRECT), and memory %p, size %llu, offset %llu do not suit it; expected "
        "multiples of %u for memory and of %u for size and offset; now: align them (posix_memalign(3))",
        op->data, (unsigned long long)op->size, (unsigned long long)op->moved, 1u << file->memory_shift,
        1u << file->offset_shift);
}

int direct_is_aligned(struct engine_host *host, const proa_op *op)
{
    const struct file_facts *file = &host->descriptors[op->fd].file;

    if (!misaligned((uintptr_t)op->data, file->memory_shift) && !misaligned(op->size, file->offset_shift) &&
        !misaligned(op->moved, file->offset_shift))
        return 1;
    explain(host, op, file);
    return 0;
}

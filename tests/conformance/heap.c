/* Counts what the process allocates: by hooks under a sanitizer, which has its own malloc, else by standing in front of
 * glibc's. Both see the C library's own calls too, those of pthread_create among them. */
#include "harness.h"

#include <malloc.h>
#include <stdatomic.h>

static _Atomic uint64_t calls;
static _Atomic int64_t live;
static _Thread_local bool ignores;

void heap_ignore(bool ignore)
{
    ignores = ignore;
}

uint64_t heap_calls(void)
{
    return calls;
}

int64_t heap_live(void)
{
    return test_simulated() ? 0 : live;
}

/* What glibc keeps of ended threads depends on how many there were at a time. */
bool heap_is_back_at(int64_t blocks)
{
    return heap_live() == blocks || strcmp(test_engine(), "threads") == 0;
}

static void count_taken(const void *block)
{
    if (ignores)
        return;
    calls++;
    if (block)
        live++;
}

static void count_given(const void *block)
{
    if (block)
        live--;
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAVE_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAVE_SANITIZER 1
#endif

#ifdef HAVE_SANITIZER

/* From <sanitizer/allocator_interface.h>, which not every compiler package has. */
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
                                              void (*on_free)(const volatile void *));

static void on_malloc(const volatile void *block, size_t size)
{
    (void)size;
    count_taken((const void *)block);
}

static void on_free(const volatile void *block)
{
    count_given((const void *)block);
}

__attribute__((constructor)) static void install(void)
{
    __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
}

#else

/* Seen by shared libraries, too; the rest of the program is hidden from them. */
#pragma GCC visibility push(default)

/* glibc exports these for programs that bring their own malloc(3). */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

void *malloc(size_t size)
{
    void *block = __libc_malloc(size);

    count_taken(block);
    return block;
}

void *calloc(size_t count, size_t size)
{
    void *block = __libc_calloc(count, size);

    count_taken(block);
    return block;
}

void *realloc(void *block, size_t size)
{
    bool was = block != NULL;
    void *moved = __libc_realloc(block, size);

    calls += !ignores;
    if (!was && moved)
        live++;
    if (was && !moved && size == 0)
        live--;
    return moved;
}

void *memalign(size_t alignment, size_t size)
{
    void *block = __libc_memalign(alignment, size);

    count_taken(block);
    return block;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **ret_block, size_t alignment, size_t size)
{
    *ret_block = memalign(alignment, size);
    return *ret_block ? 0 : ENOMEM;
}

void free(void *block)
{
    count_given(block);
    __libc_free(block);
}

#pragma GCC visibility pop

#endif

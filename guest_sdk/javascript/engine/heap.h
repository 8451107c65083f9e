/* QuickJS's memory: that of the C library, which tells how much there is of it, and whether it ran out. */

#include <malloc.h>

/* What may be allocated before garbage is looked for: most sandboxes are gone by then, and looking touches all of the heap. */
enum { GARBAGE_BYTES = 8 * 1024 * 1024 };

static bool has_run_out;

static void *noted(void *memory) {
    if (!memory) has_run_out = true;
    return memory;
}

static void *heap_calloc(void *opaque, size_t count, size_t size) {
    (void)opaque;
    return noted(calloc(count, size));
}

static void *heap_malloc(void *opaque, size_t size) {
    (void)opaque;
    return noted(malloc(size));
}

static void *heap_realloc(void *opaque, void *memory, size_t size) {
    (void)opaque;
    return noted(realloc(memory, size));
}

static void heap_free(void *opaque, void *memory) {
    (void)opaque;
    free(memory);
}

static size_t heap_size(const void *memory) { return malloc_usable_size((void *)memory); }

static const JSMallocFunctions ALLOCATOR = {heap_calloc, heap_malloc, heap_free, heap_realloc, heap_size};

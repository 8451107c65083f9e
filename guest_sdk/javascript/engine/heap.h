/* QuickJS's memory, such that an event touches few pages: in a sandbox made from a snapshot, each one that it writes to is
copied first, which takes longer than most of what a small function does.

Small blocks come off the end of a chunk, or from a list of freed ones of the same size; larger ones are the C library's.
When the start-up is over, the rest of the low memory is the chunk, and the blocks that the start-up freed, all over its
memory, are left for when that is full. */

enum {
    CHUNK_BYTES = 64 * 1024,
    HEADER = 8, /* before each block: its size, and what keeps it aligned */
    /* What may be allocated before garbage is looked for, since looking touches all that there is. */
    GARBAGE_BYTES = 8 * 1024 * 1024,
};

static Block *left_by_start[LARGEST_SMALL / STEP + 1];

/* A part of the low memory, of which only what is touched most gets any. */
static uint8_t *low_at, *low_end;
static size_t most_low; /* whatever is not larger gets some, too */

static uint32_t *size_of(const void *block) { return (uint32_t *)((uint8_t *)block - HEADER); }

static void *take_large(size_t size) {
    uint8_t *whole = size > INT32_MAX ? NULL : malloc(HEADER + size);
    if (!whole) {
        low->has_run_out = true;
        return NULL;
    }
    *(uint32_t *)whole = (uint32_t)size;
    return whole + HEADER;
}

static bool begin_chunk(void) {
    uint8_t *chunk = malloc(CHUNK_BYTES);
    if (!chunk) return false;
    low->at = chunk;
    low->end = chunk + CHUNK_BYTES;
    return true;
}

static void *take(size_t size) {
    uint32_t class;
    Block *block;
    if (size <= most_low || size == sizeof(JSObject) || size == sizeof(JSRuntime) || size == sizeof(JSContext)) {
        size_t whole = HEADER + (size + STEP - 1) / STEP * STEP;
        if ((size_t)(low_end - low_at) >= whole) {
            block = (Block *)(low_at + HEADER);
            low_at += whole;
            *size_of(block) = (uint32_t)(whole - HEADER);
            return block;
        }
    }
    if (size > LARGEST_SMALL) return take_large(size);
    class = ((uint32_t)size + STEP - 1) / STEP;
    if ((block = low->freed[class])) {
        low->freed[class] = block->next;
        return block;
    }
    if ((uint32_t)(low->end - low->at) < HEADER + class * STEP) {
        if ((block = left_by_start[class])) {
            left_by_start[class] = block->next;
            return block;
        }
        if (!begin_chunk()) {
            low->has_run_out = true;
            return NULL;
        }
    }
    block = (Block *)(low->at + HEADER);
    low->at += HEADER + class * STEP;
    *size_of(block) = class * STEP;
    return block;
}

static void give(void *memory) {
    Block *block = memory;
    uint32_t size;
    if (!memory) return;
    size = *size_of(memory);
    if (size > LARGEST_SMALL) {
        free(size_of(memory));
        return;
    }
    block->next = low->freed[size / STEP];
    low->freed[size / STEP] = block;
}

static void *heap_malloc(void *opaque, size_t size) {
    (void)opaque;
    return take(size ? size : 1);
}

static void *heap_calloc(void *opaque, size_t count, size_t size) {
    uint64_t bytes = (uint64_t)count * size;
    void *block = heap_malloc(opaque, bytes > INT32_MAX ? INT32_MAX : (size_t)bytes);
    return block ? memset(block, 0, (size_t)bytes) : NULL;
}

static void heap_free(void *opaque, void *memory) {
    (void)opaque;
    give(memory);
}

static void *heap_realloc(void *opaque, void *memory, size_t size) {
    uint32_t old = memory ? *size_of(memory) : 0;
    void *moved;
    if (!memory) return heap_malloc(opaque, size);
    if (old > LARGEST_SMALL && size > LARGEST_SMALL) {
        uint8_t *whole = size > INT32_MAX ? NULL : realloc(size_of(memory), HEADER + size);
        if (!whole) {
            low->has_run_out = true;
            return NULL;
        }
        *(uint32_t *)whole = (uint32_t)size;
        return whole + HEADER;
    }
    if (old <= LARGEST_SMALL && size <= old && size * 2 > old) return memory;
    moved = heap_malloc(opaque, size);
    if (!moved) return NULL;
    memcpy(moved, memory, old < size ? old : size);
    give(memory);
    return moved;
}

static size_t heap_size(const void *memory) { return memory ? *size_of(memory) : 0; }

static void begin_language(void) {
    low_at = (uint8_t *)(LOW_BEGIN + (sizeof(Low) + STEP - 1) / STEP * STEP);
    low_end = (uint8_t *)LOW_OBJECTS;
}

static void begin_own(void) {
    low_end = (uint8_t *)LOW_OWN;
    most_low = 40;
}

/* The start-up is over. */
static void begin_events(void) {
    for (uint32_t class = 0; class < countof(low->freed); class++) {
        left_by_start[class] = low->freed[class];
        low->freed[class] = NULL;
    }
    most_low = 0;
    low->at = low_end = low_at; /* what is left of theirs, too */
    low->end = (uint8_t *)LOW_END;
}

static const JSMallocFunctions ALLOCATOR = {heap_calloc, heap_malloc, heap_free, heap_realloc, heap_size};

/* wasmrun.h: write functions for wasmrun in C (native ABI, version 1; see ../abi.md).
 *
 *     #include "wasmrun.h"
 *
 *     WASMRUN_HANDLER(wasmrun_handle) {              // the macro's argument is the name of the entry
 *         wasmrun_bytes name;
 *         if (!wasmrun_get_str(event, "name", &name))
 *             return wasmrun_fail(answer, "InvalidEvent", "the event needs a string \"name\"");
 *         wasmrun_write_map(answer, 1);
 *         wasmrun_write_text(answer, "hello");
 *         wasmrun_write_str(answer, name.data, name.length);
 *         return 0;
 *     }
 *
 * A handler sees three names: `event` and `context`, readers over MessagePack that was checked as a whole before the handler
 * started, and `answer`, a writer. It returns 0 after writing one value (writing none means null), or what wasmrun_fail gave it.
 *
 * C99 or later, clang for wasm32, with or without a libc. All of it is inline: what a module does not use is not in the module,
 * imports included. Any number of a module's .c files may include it; they share one arena.
 *
 * WHO OWNS WHICH MEMORY
 *
 * There is one arena, and everything in it belongs to the event being answered:
 *   - the input, which the host puts there through wasmrun_alloc before it calls the handler;
 *   - what the handler takes with wasmrun_new or wasmrun_new_zeroed, and what growing writers take;
 *   - replies of host functions: the host calls wasmrun_alloc while the import is running, which is an ordinary allocation here;
 *   - the answer.
 * Nothing is freed one by one. The arena is emptied when the event is over, and an event is over at the first of these, after the
 * handler returned: wasmrun_free (the host has read the answer and will use the sandbox again), the next wasmrun_alloc (the host
 * starts on the next input), or the next handler call (an empty input that needed no memory). Until then the answer stays as it
 * is. So a sandbox that answers many events needs as much memory as its largest event, and a host that never calls wasmrun_free
 * changes nothing about that.
 *
 * What must outlive an event goes into static variables, or is taken from the arena inside WASMRUN_INIT: the arena is emptied
 * down to where it stood when WASMRUN_INIT ended. Memory is not cleared between events.
 *
 * wasmrun_bytes that a reader gave point into the input or the reply; they are not copies and have no NUL at the end. The pieces
 * of text given to wasmrun_fail, wasmrun_log and the writers are copied, or used up, before the call returns.
 *
 * The arena starts behind the module's own data and grows with memory.grow, by no more than is missing. With wasi-libc it takes
 * fresh pages only, so malloc can be used beside it. When memory cannot grow, wasmrun_new gives NULL and wasmrun_alloc 0; writers
 * remember it, and the event ends with a reported error of the type OutOfMemory, however much the handler wrote afterwards.
 */
#ifndef WASMRUN_H
#define WASMRUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef __wasm32__
#error "wasmrun.h is for 32-bit WebAssembly: clang --target=wasm32-..., or python -m ziglang cc -target wasm32-freestanding"
#endif

/* Arrays and maps nested deeper than this are refused. The SDK itself never recurses: checking a value takes 4 bytes of the C stack
 * for each level allowed here, half a KiB in all. A handler that recurses over its event needs one of its frames for each. */
#ifndef WASMRUN_MAX_DEPTH
#define WASMRUN_MAX_DEPTH 128
#endif

/* A piece of text or binary data that someone else owns. */
typedef struct wasmrun_bytes {
    const uint8_t *data;
    size_t length;
} wasmrun_bytes;

static inline size_t wasmrun__text_length(const char *text) {
    size_t length = 0;
    while (text[length] != 0) length++;
    return length;
}

static inline wasmrun_bytes wasmrun_text(const char *text) {
    wasmrun_bytes bytes = {(const uint8_t *)text, wasmrun__text_length(text)};
    return bytes;
}

static inline bool wasmrun_equal(wasmrun_bytes a, wasmrun_bytes b) {
    if (a.length != b.length) return false;
    for (size_t i = 0; i < a.length; i++)
        if (a.data[i] != b.data[i]) return false;
    return true;
}

static inline bool wasmrun_is(wasmrun_bytes bytes, const char *text) { return wasmrun_equal(bytes, wasmrun_text(text)); }

/* ---- the arena ------------------------------------------------------------------------------------------------------------ */

#define WASMRUN__PAGE 65536u
#define WASMRUN__ALIGNMENT 16u

/* A contiguous piece of the arena. There is one, unless something else (wasi-libc's malloc) grew the memory in between. */
typedef struct wasmrun__chunk {
    struct wasmrun__chunk *next;
    uintptr_t end;
} wasmrun__chunk;

enum { WASMRUN__IDLE, WASMRUN__RUNNING, WASMRUN__ANSWERED };

typedef struct wasmrun__arena {
    wasmrun__chunk *chunk; /* allocations come from here; NULL before the first one */
    uintptr_t top;         /* the first free byte of that chunk */
    wasmrun__chunk *mark_chunk;
    uintptr_t mark_top; /* where the arena stands when it is empty */
    int phase;
} wasmrun__arena;

/* Weak, so that several files of one module share one arena. */
__attribute__((weak)) wasmrun__arena wasmrun__memory;

#ifndef __wasi__
extern unsigned char __heap_base;
#endif

/* The end of memory, without its very last page: the address behind that one, 4 GiB, is not a 32-bit number. */
static inline uintptr_t wasmrun__memory_end(void) {
    size_t pages = __builtin_wasm_memory_size(0);
    return (pages > 65535 ? 65535 : pages) * WASMRUN__PAGE;
}

static inline bool wasmrun__grow(size_t bytes) {
    size_t pages = bytes / WASMRUN__PAGE + (bytes % WASMRUN__PAGE != 0);
    if (pages > 65535 || __builtin_wasm_memory_size(0) > 65535 - pages) return false;
    return __builtin_wasm_memory_grow(0, pages) != (size_t)-1;
}

static inline uintptr_t wasmrun__aligned(uintptr_t address) {
    return (address + WASMRUN__ALIGNMENT - 1) & ~(uintptr_t)(WASMRUN__ALIGNMENT - 1);
}

static inline wasmrun__chunk *wasmrun__chunk_at(uintptr_t address, uintptr_t end) {
    wasmrun__chunk *chunk = (wasmrun__chunk *)address;
    chunk->next = NULL;
    chunk->end = end;
    return chunk;
}

static inline uintptr_t wasmrun__chunk_start(wasmrun__chunk *chunk) { return wasmrun__aligned((uintptr_t)chunk + sizeof *chunk); }

static inline bool wasmrun__first_chunk(wasmrun__arena *arena) {
    uintptr_t end = wasmrun__memory_end();
#ifdef __wasi__
    uintptr_t base = end; /* what lies between __heap_base and here belongs to malloc */
#else
    uintptr_t base = wasmrun__aligned((uintptr_t)&__heap_base);
#endif
    if (base > end || end - base < 2 * WASMRUN__ALIGNMENT) {
        if (!wasmrun__grow(WASMRUN__PAGE)) return false;
        end = wasmrun__memory_end();
    }
    arena->chunk = arena->mark_chunk = wasmrun__chunk_at(base, end);
    arena->top = arena->mark_top = wasmrun__chunk_start(arena->chunk);
    return true;
}

/* Makes `size` bytes available in the last chunk or in a new one behind it. */
static inline bool wasmrun__more(wasmrun__arena *arena, size_t size) {
    uintptr_t end = wasmrun__memory_end();
    if (arena->chunk->end == end) {
        if (!wasmrun__grow(size - (end - arena->top))) return false;
        arena->chunk->end = wasmrun__memory_end();
        return true;
    }
    if (!wasmrun__grow(size + WASMRUN__ALIGNMENT)) return false;
    arena->chunk->next = wasmrun__chunk_at(end, wasmrun__memory_end());
    return true;
}

/* Memory for the length of the event, aligned to 16, not cleared; NULL when memory cannot grow. Never NULL for a size of 0. */
static inline void *wasmrun_new(size_t size) {
    wasmrun__arena *arena = &wasmrun__memory;
    if (size > UINT32_MAX - 2 * WASMRUN__PAGE) return NULL;
    size = size == 0 ? WASMRUN__ALIGNMENT : wasmrun__aligned(size);
    if (arena->chunk == NULL && !wasmrun__first_chunk(arena)) return NULL;
    while (arena->chunk->end - arena->top < size) {
        if (arena->chunk->next == NULL && !wasmrun__more(arena, size)) return NULL;
        if (arena->chunk->next != NULL) {
            arena->chunk = arena->chunk->next;
            arena->top = wasmrun__chunk_start(arena->chunk);
        }
    }
    void *memory = (void *)arena->top;
    arena->top += size;
    return memory;
}

static inline void *wasmrun_new_zeroed(size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) return NULL;
    void *memory = wasmrun_new(bytes);
    if (memory != NULL) __builtin_memset(memory, 0, bytes);
    return memory;
}

/* `memory` of `old_size` bytes made `new_size` long: in place when it was the last thing taken, else in a new place, which wastes
 * the old one until the event ends. NULL when memory cannot grow; `memory` is then as it was. */
static inline void *wasmrun_resize(void *memory, size_t old_size, size_t new_size) {
    wasmrun__arena *arena = &wasmrun__memory;
    wasmrun__chunk *chunk = arena->chunk;
    uintptr_t top = arena->top;
    if (memory != NULL && wasmrun__aligned((uintptr_t)memory + (old_size == 0 ? 1 : old_size)) == top) arena->top = (uintptr_t)memory;
    void *moved = wasmrun_new(new_size);
    if (moved == NULL) {
        arena->chunk = chunk;
        arena->top = top;
    } else if (moved != memory && memory != NULL) {
        __builtin_memcpy(moved, memory, old_size < new_size ? old_size : new_size);
    }
    return moved;
}

static inline void wasmrun__empty_arena(void) {
    wasmrun__arena *arena = &wasmrun__memory;
    arena->chunk = arena->mark_chunk;
    arena->top = arena->mark_top;
    arena->phase = WASMRUN__IDLE;
}

static inline void wasmrun__event_starts(void) {
    if (wasmrun__memory.phase == WASMRUN__ANSWERED) wasmrun__empty_arena();
    wasmrun__memory.phase = WASMRUN__RUNNING;
}

#define WASMRUN__EXPORT(name) __attribute__((export_name(name), used))

void *wasmrun_alloc(size_t size);
void wasmrun_free(void *answer, size_t length);

WASMRUN__EXPORT("wasmrun_alloc") __attribute__((weak)) void *wasmrun_alloc(size_t size) {
    if (wasmrun__memory.phase == WASMRUN__ANSWERED) wasmrun__empty_arena();
    return wasmrun_new(size);
}

/* Outside the moment after an answer there is nothing to free: the input and replies live as long as their event. */
WASMRUN__EXPORT("wasmrun_free") __attribute__((weak)) void wasmrun_free(void *answer, size_t length) {
    (void)answer;
    (void)length;
    if (wasmrun__memory.phase == WASMRUN__ANSWERED) wasmrun__empty_arena();
}

/* ---- reading MessagePack -------------------------------------------------------------------------------------------------- */

typedef enum wasmrun_kind {
    WASMRUN_END, /* no value is left */
    WASMRUN_NIL,
    WASMRUN_BOOL,
    WASMRUN_INT,
    WASMRUN_FLOAT,
    WASMRUN_STR,
    WASMRUN_BIN,
    WASMRUN_ARRAY,
    WASMRUN_MAP,
    WASMRUN_EXT
} wasmrun_kind;

/* The part of a value before its content. */
typedef struct wasmrun__head {
    wasmrun_kind kind;
    bool negative; /* of an INT */
    int8_t type;   /* of an EXT */
    size_t head;   /* bytes before the content */
    size_t size;   /* STR, BIN, EXT: bytes of content; ARRAY: items; MAP: pairs */
    uint64_t bits; /* BOOL, INT (two's complement), FLOAT (a double's bits) */
} wasmrun__head;

static inline uint64_t wasmrun__big_endian(const uint8_t *data, size_t width) {
    uint64_t value = 0;
    for (size_t i = 0; i < width; i++) value = value << 8 | data[i];
    return value;
}

static inline uint64_t wasmrun__double_bits(uint32_t single_bits) {
    float single;
    uint64_t bits;
    __builtin_memcpy(&single, &single_bits, sizeof single);
    double wide = single;
    __builtin_memcpy(&bits, &wide, sizeof bits);
    return bits;
}

/* Decodes the head at data[at]. False when it, or the content it announces, does not fit in what is there: an array of n items
 * needs n bytes at the least, so that a short input cannot announce a long loop. */
static bool wasmrun__decode(const uint8_t *data, size_t length, size_t at, wasmrun__head *head) {
    /* Of the first bytes 0xc0 to 0xdf: the kind, and the width of the number that follows. 0xc1 means nothing. */
    enum { I = WASMRUN_INT, S = WASMRUN_STR, B = WASMRUN_BIN, E = WASMRUN_EXT, F = WASMRUN_FLOAT, A = WASMRUN_ARRAY, M = WASMRUN_MAP };
    static const uint8_t kinds[32] = {WASMRUN_NIL, WASMRUN_END, WASMRUN_BOOL, WASMRUN_BOOL, B, B, B, E, E, E, F, F,
                                      I, I, I, I, I, I, I, I, E, E, E, E, E, S, S, S, A, A, M, M};
    static const uint8_t widths[32] = {0, 0, 0, 0, 1, 2, 4, 1, 2, 4, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4};
    if (at >= length) return false;
    uint8_t first = data[at];
    size_t left = length - at - 1, width = 0, size = 0;
    wasmrun_kind kind;
    uint64_t bits = first;
    bool negative = false;
    if (first >= 0xc0 && first <= 0xdf) {
        kind = (wasmrun_kind)kinds[first - 0xc0];
        width = widths[first - 0xc0];
        if (kind == WASMRUN_END || width > left) return false;
        if (width != 0) {
            bits = wasmrun__big_endian(data + at + 1, width);
            left -= width;
            if (kind == WASMRUN_FLOAT) {
                if (width == 4) bits = wasmrun__double_bits((uint32_t)bits);
            } else if (kind != WASMRUN_INT) {
                size = (size_t)bits;
            } else if (first >= 0xd0) {
                unsigned unused = 64 - 8 * (unsigned)width;
                bits = (uint64_t)((int64_t)(bits << unused) >> unused);
                negative = (int64_t)bits < 0;
            }
        } else if (kind == WASMRUN_BOOL) {
            bits = first & 1;
        } else if (kind == WASMRUN_EXT) {
            size = (size_t)1 << (first - 0xd4);
        }
    } else if (first <= 0x7f || first >= 0xe0) {
        kind = WASMRUN_INT;
        negative = first >= 0xe0;
        bits = (uint64_t)(int64_t)(int8_t)first;
    } else if (first >= 0xa0) {
        kind = WASMRUN_STR;
        size = first & 0x1f;
    } else {
        kind = first >= 0x90 ? WASMRUN_ARRAY : WASMRUN_MAP;
        size = first & 0x0f;
    }
    head->type = 0;
    if (kind == WASMRUN_EXT) {
        if (left == 0) return false;
        head->type = (int8_t)data[at + 1 + width++];
        left--;
    }
    head->kind = kind;
    head->negative = negative;
    head->head = 1 + width;
    head->size = size;
    head->bits = bits;
    return size <= (kind == WASMRUN_MAP ? left / 2 : left);
}

/* The offset behind the value that starts at data[at]; 0 when it is malformed or nests too deep. No recursion: the counters of
 * unfinished arrays and maps are what there is of them, 4 bytes of stack for each level that WASMRUN_MAX_DEPTH allows, and only
 * while this runs, which is why it is kept out of its callers. */
__attribute__((noinline)) static size_t wasmrun__end_of(const uint8_t *data, size_t length, size_t at) {
    size_t outer[WASMRUN_MAX_DEPTH]; /* how many items the arrays and maps around this one are still missing */
    size_t items = 1;
    unsigned depth = 0;
    wasmrun__head head;
    for (;;) {
        while (items == 0) {
            if (depth == 0) return at;
            items = outer[--depth];
        }
        items--;
        if (at >= length) return 0;
        uint8_t first = data[at];
        /* Short strings and small integers are most of what there is: they take the short way. */
        if ((first & 0xe0) == 0xa0) {
            if (length - at - 1 < (first & 0x1fu)) return 0;
            at += 1 + (first & 0x1fu);
            continue;
        }
        if (first <= 0x7f || first >= 0xe0) {
            at++;
            continue;
        }
        if (!wasmrun__decode(data, length, at, &head)) return 0;
        at += head.head;
        if (head.kind == WASMRUN_STR || head.kind == WASMRUN_BIN || head.kind == WASMRUN_EXT) {
            at += head.size;
        } else if (head.kind == WASMRUN_ARRAY || head.kind == WASMRUN_MAP) {
            if (depth == WASMRUN_MAX_DEPTH) return 0;
            outer[depth++] = items;
            items = head.kind == WASMRUN_MAP ? head.size * 2 : head.size; /* no overflow: each takes a byte that is there */
        }
    }
}

/* A position in one MessagePack value that was checked as a whole when the reader was made. Reading a value of another kind than
 * the one that is there answers false and moves nothing, so a handler may try one kind after the other. Reading an array or a
 * map moves to its first item; its items, or keys and values in turn, are then read from the same reader. */
typedef struct wasmrun_reader {
    const uint8_t *data;
    size_t length;
    size_t position;
} wasmrun_reader;

/* False when `data` is not exactly one well-formed value, or nests deeper than WASMRUN_MAX_DEPTH; the reader is then at its end. */
static inline bool wasmrun_reader_open(wasmrun_reader *reader, const void *data, size_t length) {
    bool good = length != 0 && wasmrun__end_of((const uint8_t *)data, length, 0) == length;
    reader->data = (const uint8_t *)data;
    reader->length = good ? length : 0;
    reader->position = 0;
    return good;
}

static inline wasmrun_kind wasmrun_peek(const wasmrun_reader *reader) {
    wasmrun__head head;
    return wasmrun__decode(reader->data, reader->length, reader->position, &head) ? head.kind : WASMRUN_END;
}

static inline bool wasmrun__read(wasmrun_reader *reader, wasmrun_kind kind, wasmrun__head *head) {
    if (!wasmrun__decode(reader->data, reader->length, reader->position, head) || head->kind != kind) return false;
    reader->position += head->head;
    return true;
}

static inline bool wasmrun_read_nil(wasmrun_reader *reader) {
    wasmrun__head head;
    return wasmrun__read(reader, WASMRUN_NIL, &head);
}

static inline bool wasmrun_read_bool(wasmrun_reader *reader, bool *value) {
    wasmrun__head head;
    if (!wasmrun__read(reader, WASMRUN_BOOL, &head)) return false;
    *value = head.bits != 0;
    return true;
}

/* False, too, for an integer above INT64_MAX: read that with wasmrun_read_uint. */
static inline bool wasmrun_read_int(wasmrun_reader *reader, int64_t *value) {
    wasmrun_reader ahead = *reader;
    wasmrun__head head;
    if (!wasmrun__read(&ahead, WASMRUN_INT, &head) || (!head.negative && head.bits > INT64_MAX)) return false;
    *value = (int64_t)head.bits;
    *reader = ahead;
    return true;
}

/* False, too, for a negative integer. */
static inline bool wasmrun_read_uint(wasmrun_reader *reader, uint64_t *value) {
    wasmrun_reader ahead = *reader;
    wasmrun__head head;
    if (!wasmrun__read(&ahead, WASMRUN_INT, &head) || head.negative) return false;
    *value = head.bits;
    *reader = ahead;
    return true;
}

/* Takes integers as well, since JSON senders may write 2 for 2.0; past 2**53 they are rounded. */
static inline bool wasmrun_read_double(wasmrun_reader *reader, double *value) {
    wasmrun__head head;
    if (wasmrun__read(reader, WASMRUN_FLOAT, &head)) {
        __builtin_memcpy(value, &head.bits, sizeof *value);
        return true;
    }
    if (!wasmrun__read(reader, WASMRUN_INT, &head)) return false;
    *value = head.negative ? (double)(int64_t)head.bits : (double)head.bits;
    return true;
}

static inline bool wasmrun__read_content(wasmrun_reader *reader, wasmrun_kind kind, wasmrun__head *head, wasmrun_bytes *bytes) {
    if (!wasmrun__read(reader, kind, head)) return false;
    bytes->data = reader->data + reader->position;
    bytes->length = head->size;
    reader->position += head->size;
    return true;
}

/* The text is what the sender wrote; that it is UTF-8 is not checked here. */
static inline bool wasmrun_read_str(wasmrun_reader *reader, wasmrun_bytes *text) {
    wasmrun__head head;
    return wasmrun__read_content(reader, WASMRUN_STR, &head, text);
}

static inline bool wasmrun_read_bin(wasmrun_reader *reader, wasmrun_bytes *bytes) {
    wasmrun__head head;
    return wasmrun__read_content(reader, WASMRUN_BIN, &head, bytes);
}

static inline bool wasmrun_read_ext(wasmrun_reader *reader, int8_t *type, wasmrun_bytes *bytes) {
    wasmrun__head head;
    if (!wasmrun__read_content(reader, WASMRUN_EXT, &head, bytes)) return false;
    *type = head.type;
    return true;
}

static inline bool wasmrun_read_array(wasmrun_reader *reader, size_t *items) {
    wasmrun__head head;
    if (!wasmrun__read(reader, WASMRUN_ARRAY, &head)) return false;
    *items = head.size;
    return true;
}

static inline bool wasmrun_read_map(wasmrun_reader *reader, size_t *pairs) {
    wasmrun__head head;
    if (!wasmrun__read(reader, WASMRUN_MAP, &head)) return false;
    *pairs = head.size;
    return true;
}

/* Moves past the next value, whatever it is, and gives a reader over it alone. False at the end. */
static inline bool wasmrun_next(wasmrun_reader *reader, wasmrun_reader *value) {
    if (reader->position >= reader->length) return false;
    size_t end = reader->length; /* an unmoved reader spans exactly one value */
    if (reader->position != 0) end = wasmrun__end_of(reader->data, reader->length, reader->position);
    if (end == 0) return false;
    wasmrun_reader found = {reader->data + reader->position, end - reader->position, 0};
    reader->position = end; /* before *value: the two may be one */
    *value = found;
    return true;
}

static inline bool wasmrun_skip(wasmrun_reader *reader) {
    wasmrun_reader value;
    return wasmrun_next(reader, &value);
}

/* Finds `key` in the map that is the reader's next value, and does not move the reader. The first of equal keys counts. False when
 * the key is not there, or the value is not a map. */
static inline bool wasmrun_get(const wasmrun_reader *map, const char *key, wasmrun_reader *value) {
    wasmrun_reader ahead = *map;
    size_t pairs;
    wasmrun_bytes wanted = wasmrun_text(key), found;
    if (!wasmrun_read_map(&ahead, &pairs)) return false;
    for (; pairs != 0; pairs--) {
        bool same = false;
        if (wasmrun_read_str(&ahead, &found))
            same = wasmrun_equal(found, wanted);
        else
            wasmrun_skip(&ahead);
        if (same) return wasmrun_next(&ahead, value);
        wasmrun_skip(&ahead);
    }
    return false;
}

/* The usual pairs of get and read: false when the key is absent or its value is of another kind. */
static inline bool wasmrun_get_str(const wasmrun_reader *map, const char *key, wasmrun_bytes *text) {
    wasmrun_reader value;
    return wasmrun_get(map, key, &value) && wasmrun_read_str(&value, text);
}

static inline bool wasmrun_get_bin(const wasmrun_reader *map, const char *key, wasmrun_bytes *bytes) {
    wasmrun_reader value;
    return wasmrun_get(map, key, &value) && wasmrun_read_bin(&value, bytes);
}

static inline bool wasmrun_get_int(const wasmrun_reader *map, const char *key, int64_t *number) {
    wasmrun_reader value;
    return wasmrun_get(map, key, &value) && wasmrun_read_int(&value, number);
}

static inline bool wasmrun_get_double(const wasmrun_reader *map, const char *key, double *number) {
    wasmrun_reader value;
    return wasmrun_get(map, key, &value) && wasmrun_read_double(&value, number);
}

static inline bool wasmrun_get_bool(const wasmrun_reader *map, const char *key, bool *truth) {
    wasmrun_reader value;
    return wasmrun_get(map, key, &value) && wasmrun_read_bool(&value, truth);
}

static inline int wasmrun__base64_digit(uint8_t byte) {
    if (byte >= 'A' && byte <= 'Z') return byte - 'A';
    if (byte >= 'a' && byte <= 'z') return byte - 'a' + 26;
    if (byte >= '0' && byte <= '9') return byte - '0' + 52;
    return byte == '+' ? 62 : byte == '/' ? 63 : -1;
}

#define WASMRUN_NOT_BASE64 SIZE_MAX

/* Decodes base64 (the standard alphabet, padded, nothing else: how JSON events carry bytes) into `into`, which has room for
 * text.length / 4 * 3 bytes. Gives the number of bytes, or WASMRUN_NOT_BASE64. */
static inline size_t wasmrun_base64_decode(wasmrun_bytes text, uint8_t *into) {
    size_t length = 0;
    if (text.length % 4 != 0) return WASMRUN_NOT_BASE64;
    for (size_t at = 0; at < text.length; at += 4) {
        const uint8_t *four = text.data + at;
        size_t padding = 0;
        if (at + 4 == text.length && four[3] == '=') padding = four[2] == '=' ? 2 : 1;
        uint32_t bits = 0;
        for (size_t i = 0; i < 4; i++) {
            int digit = i < 4 - padding ? wasmrun__base64_digit(four[i]) : 0;
            if (digit < 0) return WASMRUN_NOT_BASE64;
            bits = bits << 6 | (uint32_t)digit;
        }
        if ((padding == 1 && (bits & 0xff) != 0) || (padding == 2 && (bits & 0xffff) != 0)) return WASMRUN_NOT_BASE64;
        into[length++] = (uint8_t)(bits >> 16);
        if (padding < 2) into[length++] = (uint8_t)(bits >> 8);
        if (padding < 1) into[length++] = (uint8_t)bits;
    }
    return length;
}

/* ---- writing MessagePack -------------------------------------------------------------------------------------------------- */

enum {
    WASMRUN_FAULT_MEMORY = 1,  /* memory could not grow */
    WASMRUN_FAULT_FULL = 2,    /* the fixed buffer was too short; `length` says how long it would have to be */
    WASMRUN_FAULT_SHAPE = 4,   /* a value more than the array, the map or the writer has room for */
    WASMRUN__FAULT_REPORTED = 8 /* wasmrun_fail wrote the answer; nothing changes it any more */
};

/* Writes MessagePack values, or bytes (the wasmrun_put functions; not both into one writer). Faults stick, and everything written
 * after one is dropped, so a handler may check once, at the end, or leave it to the SDK. */
typedef struct wasmrun_writer {
    uint8_t *data; /* a growing writer's data moves as it grows: use it when all is written */
    size_t length;
    size_t capacity;
    uint64_t owed; /* values still to come until what was started is complete */
    bool grows;
    uint8_t faults;
} wasmrun_writer;

/* A writer for one value that takes its memory from the arena, from the first byte on. */
static inline void wasmrun_writer_grow(wasmrun_writer *writer) {
    wasmrun_writer fresh = {NULL, 0, 0, 1, true, 0};
    *writer = fresh;
}

/* A writer for one value into memory of yours. */
static inline void wasmrun_writer_fixed(wasmrun_writer *writer, void *buffer, size_t capacity) {
    wasmrun_writer fresh = {(uint8_t *)buffer, 0, capacity, 1, false, 0};
    *writer = fresh;
}

/* Whether one complete value was written. */
static inline bool wasmrun_writer_done(const wasmrun_writer *writer) { return writer->faults == 0 && writer->owed == 0; }

static inline bool wasmrun__make_room(wasmrun_writer *writer, size_t needed) {
    size_t doubled = writer->capacity < 64 ? 128 : writer->capacity > SIZE_MAX / 2 ? SIZE_MAX : writer->capacity * 2;
    size_t capacity = needed > doubled ? needed : doubled;
    void *data = wasmrun_resize(writer->data, writer->capacity, capacity);
    if (data == NULL && capacity != needed) {
        capacity = needed; /* doubling did not fit under the memory limit, perhaps this does */
        data = wasmrun_resize(writer->data, writer->capacity, capacity);
    }
    if (data == NULL) return false;
    writer->data = (uint8_t *)data;
    writer->capacity = capacity;
    return true;
}

/* Where the next `size` bytes go, or NULL; the writer's length has them in any case. */
static uint8_t *wasmrun__claim(wasmrun_writer *writer, size_t size) {
    size_t start = writer->length, end;
    if ((writer->faults & (WASMRUN_FAULT_MEMORY | WASMRUN__FAULT_REPORTED)) != 0) return NULL;
    if (__builtin_add_overflow(start, size, &end)) {
        writer->faults |= WASMRUN_FAULT_MEMORY;
        return NULL;
    }
    if (end > writer->capacity && (!writer->grows || !wasmrun__make_room(writer, end)))
        writer->faults |= writer->grows ? WASMRUN_FAULT_MEMORY : WASMRUN_FAULT_FULL;
    writer->length = end;
    return writer->faults == 0 ? writer->data + start : NULL;
}

/* `first` and then `number` in `width` bytes: the head of a value, which pays for one value and owes `more`. */
static void wasmrun__write_head(wasmrun_writer *writer, uint8_t first, uint64_t number, size_t width, uint64_t more) {
    if (writer->owed == 0) writer->faults |= WASMRUN_FAULT_SHAPE;
    writer->owed += more - 1;
    uint8_t *at = wasmrun__claim(writer, 1 + width);
    if (at == NULL) return;
    *at = first;
    for (size_t i = width; i != 0; i--, number >>= 8) at[i] = (uint8_t)number;
}

/* Reserves `length` bytes for the caller to fill before it writes on: a writer that grows may move. NULL after a fault. */
static inline uint8_t *wasmrun_put_reserve(wasmrun_writer *writer, size_t length) { return wasmrun__claim(writer, length); }

static inline void wasmrun_put(wasmrun_writer *writer, const void *data, size_t length) {
    uint8_t *at = wasmrun__claim(writer, length);
    if (at != NULL && length != 0) __builtin_memcpy(at, data, length);
}

static inline void wasmrun_put_text(wasmrun_writer *writer, const char *text) {
    wasmrun_put(writer, text, wasmrun__text_length(text));
}

static inline void wasmrun_put_int(wasmrun_writer *writer, int64_t number) {
    char digits[20];
    size_t at = sizeof digits;
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do digits[--at] = (char)('0' + rest % 10);
    while ((rest /= 10) != 0);
    if (number < 0) digits[--at] = '-';
    wasmrun_put(writer, digits + at, sizeof digits - at);
}

static inline void wasmrun_write_nil(wasmrun_writer *writer) { wasmrun__write_head(writer, 0xc0, 0, 0, 0); }

static inline void wasmrun_write_bool(wasmrun_writer *writer, bool value) { wasmrun__write_head(writer, value ? 0xc3 : 0xc2, 0, 0, 0); }

static inline void wasmrun_write_uint(wasmrun_writer *writer, uint64_t value) {
    if (value <= 0x7f)
        wasmrun__write_head(writer, (uint8_t)value, 0, 0, 0);
    else if (value <= UINT8_MAX)
        wasmrun__write_head(writer, 0xcc, value, 1, 0);
    else if (value <= UINT16_MAX)
        wasmrun__write_head(writer, 0xcd, value, 2, 0);
    else if (value <= UINT32_MAX)
        wasmrun__write_head(writer, 0xce, value, 4, 0);
    else
        wasmrun__write_head(writer, 0xcf, value, 8, 0);
}

static inline void wasmrun_write_int(wasmrun_writer *writer, int64_t value) {
    if (value >= 0)
        wasmrun_write_uint(writer, (uint64_t)value);
    else if (value >= -32)
        wasmrun__write_head(writer, (uint8_t)value, 0, 0, 0);
    else if (value >= INT8_MIN)
        wasmrun__write_head(writer, 0xd0, (uint64_t)value, 1, 0);
    else if (value >= INT16_MIN)
        wasmrun__write_head(writer, 0xd1, (uint64_t)value, 2, 0);
    else if (value >= INT32_MIN)
        wasmrun__write_head(writer, 0xd2, (uint64_t)value, 4, 0);
    else
        wasmrun__write_head(writer, 0xd3, (uint64_t)value, 8, 0);
}

static inline void wasmrun_write_double(wasmrun_writer *writer, double value) {
    uint64_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    wasmrun__write_head(writer, 0xcb, bits, 8, 0);
}

static inline void wasmrun_write_array(wasmrun_writer *writer, size_t items) {
    if (items <= 0x0f)
        wasmrun__write_head(writer, (uint8_t)(0x90 | items), 0, 0, items);
    else if (items <= UINT16_MAX)
        wasmrun__write_head(writer, 0xdc, items, 2, items);
    else
        wasmrun__write_head(writer, 0xdd, items, 4, items);
}

/* Then the pairs: a key, its value, a key, … */
static inline void wasmrun_write_map(wasmrun_writer *writer, size_t pairs) {
    if (pairs <= 0x0f)
        wasmrun__write_head(writer, (uint8_t)(0x80 | pairs), 0, 0, (uint64_t)pairs * 2);
    else if (pairs <= UINT16_MAX)
        wasmrun__write_head(writer, 0xde, pairs, 2, (uint64_t)pairs * 2);
    else
        wasmrun__write_head(writer, 0xdf, pairs, 4, (uint64_t)pairs * 2);
}

/* The text has to be UTF-8: the host refuses an answer with another. */
static inline void wasmrun_write_str(wasmrun_writer *writer, const void *text, size_t length) {
    if (length <= 0x1f)
        wasmrun__write_head(writer, (uint8_t)(0xa0 | length), 0, 0, 0);
    else if (length <= UINT8_MAX)
        wasmrun__write_head(writer, 0xd9, length, 1, 0);
    else if (length <= UINT16_MAX)
        wasmrun__write_head(writer, 0xda, length, 2, 0);
    else
        wasmrun__write_head(writer, 0xdb, length, 4, 0);
    wasmrun_put(writer, text, length);
}

static inline void wasmrun_write_text(wasmrun_writer *writer, const char *text) {
    wasmrun_write_str(writer, text, wasmrun__text_length(text));
}

/* A bin of `length` bytes, for the caller to fill before it writes on: a writer that grows may move. NULL after a fault. */
static inline uint8_t *wasmrun_write_bin_reserve(wasmrun_writer *writer, size_t length) {
    if (length <= UINT8_MAX)
        wasmrun__write_head(writer, 0xc4, length, 1, 0);
    else if (length <= UINT16_MAX)
        wasmrun__write_head(writer, 0xc5, length, 2, 0);
    else
        wasmrun__write_head(writer, 0xc6, length, 4, 0);
    return wasmrun__claim(writer, length);
}

static inline void wasmrun_write_bin(wasmrun_writer *writer, const void *data, size_t length) {
    uint8_t *at = wasmrun_write_bin_reserve(writer, length);
    if (at != NULL && length != 0) __builtin_memcpy(at, data, length);
}

/* Copies the reader's next value as it is encoded, and moves past it. False at the reader's end; nothing is written then. */
static inline bool wasmrun_write_value(wasmrun_writer *writer, wasmrun_reader *reader) {
    wasmrun_reader value;
    if (!wasmrun_next(reader, &value)) return false;
    if (writer->owed == 0) writer->faults |= WASMRUN_FAULT_SHAPE;
    writer->owed--;
    wasmrun_put(writer, value.data, value.length);
    return true;
}

/* ---- reporting errors ----------------------------------------------------------------------------------------------------- */

/* Makes the answer an error with this type, this message and these frames (all UTF-8), whatever was written before. The first one
 * stands. Gives what the handler has to return. */
static inline int wasmrun_fail_stack(wasmrun_writer *answer, wasmrun_bytes type, wasmrun_bytes message, const wasmrun_bytes *frames,
                                     size_t count) {
    if ((answer->faults & (WASMRUN_FAULT_MEMORY | WASMRUN__FAULT_REPORTED)) != 0) return 1;
    answer->length = 0;
    answer->faults = 0;
    answer->owed = 1;
    wasmrun_write_array(answer, 2);
    wasmrun_write_uint(answer, 1);
    wasmrun_write_map(answer, 3);
    wasmrun_write_text(answer, "type");
    wasmrun_write_str(answer, type.data, type.length);
    wasmrun_write_text(answer, "message");
    wasmrun_write_str(answer, message.data, message.length);
    wasmrun_write_text(answer, "stack");
    wasmrun_write_array(answer, count);
    for (size_t i = 0; i < count; i++) wasmrun_write_str(answer, frames[i].data, frames[i].length);
    answer->faults |= WASMRUN__FAULT_REPORTED;
    return 1;
}

static inline int wasmrun_fail_bytes(wasmrun_writer *answer, wasmrun_bytes type, wasmrun_bytes message) {
    return wasmrun_fail_stack(answer, type, message, NULL, 0);
}

static inline int wasmrun_fail(wasmrun_writer *answer, const char *type, const char *message) {
    return wasmrun_fail_bytes(answer, wasmrun_text(type), wasmrun_text(message));
}

/* For a handler whose own wasmrun_new gave NULL. */
static inline int wasmrun_out_of_memory(wasmrun_writer *answer) {
    answer->faults |= WASMRUN_FAULT_MEMORY;
    return 1;
}

/* Reports an error that a host function answered as the function's own. */
static inline int wasmrun_fail_with(wasmrun_writer *answer, const wasmrun_reader *error) {
    wasmrun_bytes type, message;
    if (!wasmrun_get_str(error, "type", &type)) type = wasmrun_text("HostFunctionError");
    if (!wasmrun_get_str(error, "message", &message)) message = wasmrun_text("a host function failed and did not say why");
    return wasmrun_fail_bytes(answer, type, message);
}

/* ---- imports -------------------------------------------------------------------------------------------------------------- */

enum { WASMRUN_TRACE, WASMRUN_DEBUG, WASMRUN_INFO, WASMRUN_WARN, WASMRUN_ERROR };

__attribute__((import_module("wasmrun"), import_name("log"))) extern void wasmrun__import_log(int level, const void *text, size_t length);

static inline void wasmrun_log_bytes(int level, wasmrun_bytes text) { wasmrun__import_log(level, text.data, text.length); }

static inline void wasmrun_log(int level, const char *text) { wasmrun_log_bytes(level, wasmrun_text(text)); }

enum {
    WASMRUN_REPLIED, /* the reply is the host function's value */
    WASMRUN_REFUSED, /* the reply is the error it reported: {"type", "message"} */
    WASMRUN_FAILED   /* there is no reply: the request was incomplete, memory ran out, or the host gave up; a reader at its end */
};

static inline int wasmrun__read_reply(uint64_t packed, wasmrun_reader *reply) {
    wasmrun_reader all;
    size_t items;
    uint64_t status;
    reply->data = NULL;
    reply->length = reply->position = 0;
    if (packed == 0 || !wasmrun_reader_open(&all, (const void *)(uintptr_t)(packed >> 32), (size_t)(uint32_t)packed)) return WASMRUN_FAILED;
    if (!wasmrun_read_array(&all, &items) || items != 2 || !wasmrun_read_uint(&all, &status) || status > 1) return WASMRUN_FAILED;
    wasmrun_next(&all, reply);
    return status == 0 ? WASMRUN_REPLIED : WASMRUN_REFUSED;
}

/* Declares a host function of the embedding program: WASMRUN_IMPORT(db_get, "db.get"); is then called as
 *     int status = db_get(&request, &reply);
 * with a writer that holds one complete value. The reply lives until the event ends. */
#define WASMRUN_IMPORT(function, name)                                                                                             \
    __attribute__((import_module("wasmrun"), import_name(name))) extern uint64_t function##__import(const void *data, size_t length); \
    __attribute__((unused)) static inline int function(const wasmrun_writer *request, wasmrun_reader *reply) {                     \
        uint64_t packed = wasmrun_writer_done(request) ? function##__import(request->data, request->length) : 0;                   \
        return wasmrun__read_reply(packed, reply);                                                                                 \
    }                                                                                                                              \
    struct wasmrun__wants_a_semicolon

/* {"method", "url", "headers", "body", "timeout_ms"} -> {"status", "headers", "body"}; to the hosts that the function was granted. */
WASMRUN_IMPORT(wasmrun_http_request, "http_request");

typedef struct wasmrun_http_response {
    int64_t status;
    wasmrun_reader headers; /* a map with names in lower case: wasmrun_get_str(&response.headers, "content-type", &type) */
    wasmrun_bytes body;     /* as the server sent it: nothing is unpacked */
    wasmrun_reader error;   /* of a request that was refused or failed: {"type", "message"}, as wasmrun_fail_with takes it */
} wasmrun_http_response;

/* Has the host do an HTTP request. `headers` is NULL, or names and values in turn and NULL at the end. Gives WASMRUN_REPLIED with a
 * response, whatever its status; WASMRUN_REFUSED with an error; or WASMRUN_FAILED. What it points at lives until the event ends. */
static inline int wasmrun_http(const char *method, wasmrun_bytes url, const char *const *headers, wasmrun_bytes body,
                               wasmrun_http_response *response) {
    wasmrun_writer request;
    wasmrun_reader reply;
    size_t count = 0;
    int status;
    while (headers != NULL && headers[count] != NULL) count++;
    wasmrun_writer_grow(&request);
    wasmrun_write_map(&request, 4);
    wasmrun_write_text(&request, "method");
    wasmrun_write_text(&request, method);
    wasmrun_write_text(&request, "url");
    wasmrun_write_str(&request, url.data, url.length);
    wasmrun_write_text(&request, "headers");
    wasmrun_write_map(&request, count / 2);
    for (size_t i = 0; i < count / 2 * 2; i++) wasmrun_write_text(&request, headers[i]);
    wasmrun_write_text(&request, "body");
    wasmrun_write_bin(&request, body.data, body.length);
    status = wasmrun_http_request(&request, &reply);
    response->error = reply;
    if (status != WASMRUN_REPLIED) return status;
    if (!wasmrun_get_int(&reply, "status", &response->status) || !wasmrun_get(&reply, "headers", &response->headers) ||
        !wasmrun_get_bin(&reply, "body", &response->body))
        return WASMRUN_FAILED;
    return WASMRUN_REPLIED;
}

/* ---- entries -------------------------------------------------------------------------------------------------------------- */

typedef struct wasmrun__call {
    wasmrun_reader event;
    wasmrun_reader context;
    wasmrun_writer answer;
} wasmrun__call;

static inline uint64_t wasmrun__pack(const void *data, size_t length) { return (uint64_t)(uintptr_t)data << 32 | length; }

__attribute__((unused)) static bool wasmrun__open_call(wasmrun__call *call, const uint8_t *input, size_t length) {
    wasmrun__head pair;
    size_t behind_event = 0;
    wasmrun__event_starts();
    wasmrun_writer_grow(&call->answer);
    wasmrun_write_array(&call->answer, 2);
    wasmrun_write_uint(&call->answer, 0);
    if (wasmrun__decode(input, length, 0, &pair) && pair.kind == WASMRUN_ARRAY && pair.size == 2)
        behind_event = wasmrun__end_of(input, length, pair.head);
    if (behind_event != 0 && wasmrun_reader_open(&call->context, input + behind_event, length - behind_event)) {
        call->event.data = input + pair.head;
        call->event.length = behind_event - pair.head;
        call->event.position = 0;
        return true;
    }
    wasmrun_fail(&call->answer, "InvalidInput", "the input is not MessagePack of [event, context], or is nested too deep");
    return false;
}

__attribute__((unused)) static uint64_t wasmrun__close_call(wasmrun__call *call, int status) {
    wasmrun_writer *answer = &call->answer;
    /* [1, {"type": "OutOfMemory", "message": "memory cannot grow", "stack": []}], ready, because it cannot be built any more. */
    static const char out_of_memory[] = "\x92\x01\x83\xa4type\xabOutOfMemory\xa7message\xb2memory cannot grow\xa5stack\x90";
    if (answer->faults == 0) {
        if (status != 0)
            wasmrun_fail(answer, "Error", "the handler failed and did not say why");
        else if (answer->owed == 1 && answer->length == 2)
            wasmrun_write_nil(answer);
        else if (answer->owed != 0)
            wasmrun_fail(answer, "InvalidAnswer", "the handler wrote fewer values than its arrays and maps announced");
    } else if ((answer->faults & WASMRUN_FAULT_SHAPE) != 0) {
        wasmrun_fail(answer, "InvalidAnswer", "the handler wrote more values than its arrays and maps announced");
    }
    wasmrun__memory.phase = WASMRUN__ANSWERED;
    if ((answer->faults & WASMRUN_FAULT_MEMORY) != 0) return wasmrun__pack(out_of_memory, sizeof out_of_memory - 1);
    return wasmrun__pack(answer->data, answer->length);
}

#define WASMRUN__IS_RAW(name) \
    (sizeof(name) > 5 && __builtin_memcmp(&(name)[sizeof(name) > 5 ? sizeof(name) - 5 : 0], "_raw", 4) == 0)

/* WASMRUN_HANDLER(name) { … } exports the entry `name`; the default one is wasmrun_handle. In the body: event, context, answer. */
#define WASMRUN_HANDLER(name)                                                                                                  \
    __extension__ _Static_assert(!WASMRUN__IS_RAW(#name), "an entry named ..._raw takes bytes: use WASMRUN_RAW_HANDLER");      \
    static int name##__body(wasmrun_reader *event, wasmrun_reader *context, wasmrun_writer *answer);                           \
    uint64_t name(const uint8_t *input, size_t length);                                                                        \
    WASMRUN__EXPORT(#name) uint64_t name(const uint8_t *input, size_t length) {                                                \
        wasmrun__call call;                                                                                                    \
        bool opened = wasmrun__open_call(&call, input, length);                                                                \
        return wasmrun__close_call(&call, opened ? name##__body(&call.event, &call.context, &call.answer) : 0);                \
    }                                                                                                                          \
    static int name##__body(__attribute__((unused)) wasmrun_reader *event, __attribute__((unused)) wasmrun_reader *context,    \
                            __attribute__((unused)) wasmrun_writer *answer)

/* WASMRUN_RAW_HANDLER(name_raw) { … }: bytes in, bytes out. In the body: input, and output to be pointed at the answer, which may be
 * the input itself, static data, or memory from wasmrun_new; empty if left alone. A raw answer has no place for an error: returning
 * anything but 0 traps, so log the reason first. */
#define WASMRUN_RAW_HANDLER(name)                                                                                              \
    __extension__ _Static_assert(WASMRUN__IS_RAW(#name), "the name of an entry that takes bytes has to end in _raw");          \
    static int name##__body(wasmrun_bytes input, wasmrun_bytes *output);                                                       \
    uint64_t name(const uint8_t *input, size_t length);                                                                        \
    WASMRUN__EXPORT(#name) uint64_t name(const uint8_t *data, size_t length) {                                                 \
        wasmrun_bytes input = {data, length}, output = {NULL, 0};                                                              \
        wasmrun__event_starts();                                                                                               \
        if (name##__body(input, &output) != 0) __builtin_trap();                                                               \
        wasmrun__memory.phase = WASMRUN__ANSWERED;                                                                             \
        return wasmrun__pack(output.data, output.length);                                                                      \
    }                                                                                                                          \
    static int name##__body(__attribute__((unused)) wasmrun_bytes input, __attribute__((unused)) wasmrun_bytes *output)

/* WASMRUN_INIT { … return 0; } runs once, while the sandbox is being prepared and before any event: costly start-up goes here. What
 * it takes from the arena stays for the life of the sandbox. Anything but 0 traps. */
#define WASMRUN_INIT                                                             \
    static int wasmrun__init_body(void);                                         \
    void wasmrun_init(void);                                                     \
    WASMRUN__EXPORT("wasmrun_init") void wasmrun_init(void) {                    \
        wasmrun__memory.phase = WASMRUN__RUNNING;                                \
        if (wasmrun__init_body() != 0) __builtin_trap();                         \
        wasmrun__memory.phase = WASMRUN__IDLE;                                   \
        wasmrun__memory.mark_chunk = wasmrun__memory.chunk;                      \
        wasmrun__memory.mark_top = wasmrun__memory.top;                          \
    }                                                                            \
    static int wasmrun__init_body(void)

/* WASMRUN_RESUME { … return 0; } runs in each sandbox that is made from a snapshot, in the place of WASMRUN_INIT, which ran before the
 * snapshot was taken: seeds and times are renewed here. Anything but 0 traps. */
#define WASMRUN_RESUME                                                           \
    static int wasmrun__resume_body(void);                                       \
    void wasmrun_resume(void);                                                   \
    WASMRUN__EXPORT("wasmrun_resume") void wasmrun_resume(void) {                \
        wasmrun__memory.phase = WASMRUN__RUNNING;                                \
        if (wasmrun__resume_body() != 0) __builtin_trap();                       \
        wasmrun__memory.phase = WASMRUN__IDLE;                                   \
        wasmrun__memory.mark_chunk = wasmrun__memory.chunk;                      \
        wasmrun__memory.mark_top = wasmrun__memory.top;                          \
    }                                                                            \
    static int wasmrun__resume_body(void)

#endif

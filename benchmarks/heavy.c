/* A function whose start-up is its work: a table of 4 MB, of which an event wants one entry. */
#include "../guest_sdk/c/wasmrun.h"

#define ENTRIES (1u << 20)

static uint32_t table[ENTRIES];
static uint32_t seed = 1;

WASMRUN_INIT {
    for (uint32_t i = 0; i < ENTRIES; i++) {
        seed = seed * 1664525u + 1013904223u;
        table[i] = seed;
    }
    for (uint32_t step = 1; step < 5; step++)
        for (uint32_t i = step; i < ENTRIES; i++) table[i] ^= table[i - step] >> step;
    return 0;
}

WASMRUN_RAW_HANDLER(wasmrun_handle_raw) {
    uint32_t at = 0;
    for (size_t i = 0; i < input.length; i++) at = at * 31 + input.data[i];
    uint32_t *found = wasmrun_new(sizeof *found);
    *found = table[at % ENTRIES];
    output->data = (const uint8_t *)found;
    output->length = sizeof *found;
    return 0;
}

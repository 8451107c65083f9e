/* Imports whose fate a build decides, linked last so that they are the last ones of the module.

Of the first, a build leaves as many as there are host functions to call, and names them. The others become functions of
the module itself: those that nobody calls, and the two that give the sources. No index changes, whatever is chosen. */

#include <stdint.h>

typedef uint64_t HostFunction(const uint8_t *request, uint32_t length);

#define SLOT(n) __attribute__((import_module("wasmrun"), import_name("slot_" #n))) uint64_t slot_##n(const uint8_t *request, uint32_t length);
#define EACH(what) \
    what(0) what(1) what(2) what(3) what(4) what(5) what(6) what(7) what(8) what(9) what(10) what(11) what(12) what(13) \
    what(14) what(15) what(16) what(17) what(18) what(19) what(20) what(21) what(22) what(23) what(24) what(25) \
    what(26) what(27) what(28) what(29) what(30) what(31)

EACH(SLOT)

#define NAMED(n) slot_##n,
HostFunction *const slots[] = {EACH(NAMED)};
const uint32_t slot_count = sizeof slots / sizeof *slots;

__attribute__((import_module("wasmrun"), import_name("sources_bytes"))) uint32_t imported_sources_bytes(void);
__attribute__((import_module("wasmrun"), import_name("sources_copy"))) void imported_sources_copy(uint8_t *to);

/* By reference, which puts them behind the slots. */
uint32_t (*const sources_bytes)(void) = imported_sources_bytes;
void (*const sources_copy)(uint8_t *to) = imported_sources_copy;

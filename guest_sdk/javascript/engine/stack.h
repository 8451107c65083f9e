/* In the place of QuickJS's own check of the stack, which is off for WASI.

A guest has two stacks: one in its memory, for what has an address, and the engine's own, which it cannot see and whose end
is a trap. So the second is measured by the first. Calls of functions take 3 times as many bytes there; recursion in C alone
(the parsers, JSON, proxies, all of which check with a constant) 16 times, counted from the last call on. */

enum {
    CALL_RATIO = 42, /* in tenths */
    C_RATIO = 16,
};

static uintptr_t most_in_c = STACK_BYTES;

/* For a stack of the engine's with so many bytes. */
static void set_stack_limits(JSRuntime *rt, uint32_t native) {
    uint32_t for_c = native / 4 < 160 * 1024 ? native / 4 : 160 * 1024, used;
    used = (uint32_t)((uint64_t)(native - for_c - native / 32) * 10 / CALL_RATIO);
    most_in_c = for_c / C_RATIO;
    if (used > STACK_BYTES - 32 * 1024) used = STACK_BYTES - 32 * 1024; /* low.h has the end, and C needs some */
    rt->stack_limit = STACK_BYTES - used;
}

static bool is_deep_in_c(JSRuntime *rt, uintptr_t sp) {
    JSStackFrame *frame = rt->current_stack_frame;
    uintptr_t base;
    /* Those of generators and asynchronous functions are on the heap. */
    while (frame && (uintptr_t)frame >= STACK_BYTES) frame = frame->prev_frame;
    base = frame ? (uintptr_t)frame : STACK_BYTES;
    return base > sp && base - sp > most_in_c;
}

__attribute__((always_inline)) static inline bool js_check_stack_overflow(JSRuntime *rt, size_t alloca_size) {
    uintptr_t sp = js_get_stack_pointer() - alloca_size;
    if (unlikely(sp < rt->stack_limit || sp > STACK_BYTES)) return true;
    return __builtin_constant_p(alloca_size) && unlikely(is_deep_in_c(rt, sp));
}

/* What the engine asks of its host. WASI only tells the time and gives random bytes. */

#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name), used))

IMPORT("wasi_snapshot_preview1", "clock_time_get")
uint32_t wasi_clock_time_get(uint32_t clock, uint64_t precision, uint64_t *time);
IMPORT("wasi_snapshot_preview1", "random_get")
uint32_t wasi_random_get(void *buffer, uint32_t length);
IMPORT("wasmrun", "log")
void wasmrun_log(uint32_t level, const char *text, uint32_t length);

/* slots.c: host functions by number, and the sources that a build put in. */
typedef uint64_t HostFunction(const uint8_t *request, uint32_t length);
extern HostFunction *const slots[];
extern const uint32_t slot_count;
extern uint32_t (*const sources_bytes)(void);
extern void (*const sources_copy)(uint8_t *to);

enum { REALTIME, MONOTONIC };

static uint64_t clock_ns(uint32_t clock) {
    uint64_t time = 0;
    wasi_clock_time_get(clock, 1, &time);
    return time;
}

/* While a context is made, QuickJS reads the time to seed a generator that is not used (see Math.random in natives.h).
   Not answering keeps the start-up the same each time. */
static bool is_making_context;

static int host_gettimeofday(struct timeval *time, void *zone) {
    uint64_t now = is_making_context ? 0 : clock_ns(REALTIME);
    (void)zone;
    time->tv_sec = (time_t)(now / 1000000000);
    time->tv_usec = (suseconds_t)(now / 1000 % 1000000);
    return 0;
}

static int host_monotonic(struct timespec *time) {
    uint64_t now = clock_ns(MONOTONIC);
    time->tv_sec = (time_t)(now / 1000000000);
    time->tv_nsec = (long)(now % 1000000000);
    return 0;
}

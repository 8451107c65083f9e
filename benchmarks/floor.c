/* The floor: what one event costs a C program that does wasmrun's steps on the same shared library.
 *
 *   floor LIBRARY ECHO.WAT ARTIFACT
 *
 * The guest is compiled on an engine without a pool, written to the file ARTIFACT, and loaded from it into an engine
 * with one: as wasmrun does it, with the settings of wasmrun/machine/config.py and engine.py. Reads commands from stdin, one a line, and answers each with one line of JSON:
 *   fresh EVENTS          a new sandbox for each event, deleted after it
 *   warm BURST BURSTS     hand-outs of ready sandboxes, BURST at a time; only the hand-outs are timed
 *
 * The library comes in a Python wheel without headers: the prototypes that are used are declared here.
 */
#define _POSIX_C_SOURCE 200809L

#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SLOTS = 1000, PAYLOAD = 64, MEMORY_LIMIT = 2 << 20, TABLE_LIMIT = 20000, STACK = 512 << 10 };
enum { INSTANCE_SIZE = 1 << 20, MEMORY_KEEP_RESIDENT = 16 << 10, TABLE_KEEP_RESIDENT = 4 << 10 };
static const uint64_t FUEL = 20000000000u, DEADLINE_TICKS = 2;

static const char *const OFF[] = {
  "wasm_threads", "shared_memory", "wasm_tail_call", "wasm_function_references", "wasm_gc", "wasm_relaxed_simd", "wasm_multi_memory",
  "wasm_memory64", "wasm_exceptions", "wasm_stack_switching", "wasm_custom_page_sizes", "wasm_wide_arithmetic", "wasm_component_model",
};

typedef struct { size_t size; char *data; } byte_vec;
typedef struct { uint64_t store_id; void *inner; } func;
typedef struct { struct { uint64_t store_id; uint32_t inner; } outer; uint32_t inner; } memory;
typedef struct { uint64_t store_id; size_t inner; } instance;
typedef struct { uint8_t kind; union { func func; memory memory; char widest[24]; } of; } item;
typedef union { int32_t i32; int64_t i64; uint8_t v128[16]; } value;
typedef struct config config;
typedef struct pooling pooling;
typedef struct engine engine;
typedef struct module module;
typedef struct linker linker;
typedef struct instance_pre instance_pre;
typedef struct store store;
typedef struct context context;
typedef struct error error;
typedef struct trap trap;
typedef error *(*look)(context *, void *, uint64_t *, uint8_t *);

_Static_assert(sizeof(func) == 16 && sizeof(memory) == 24 && sizeof(instance) == 16 && sizeof(item) == 32, "wasmtime 50 layout");
_Static_assert(sizeof(value) == 16, "wasmtime 50 layout");

#define POOLING(name) wasmtime_pooling_allocation_config_##name##_set
#define C_API(X)                                                                            \
  X(config *, wasm_config_new, (void))                                                      \
  X(void, wasmtime_config_consume_fuel_set, (config *, bool))                               \
  X(void, wasmtime_config_epoch_interruption_set, (config *, bool))                         \
  X(void, wasmtime_config_memory_may_move_set, (config *, bool))                            \
  X(void, wasmtime_config_max_wasm_stack_set, (config *, size_t))                           \
  X(pooling *, wasmtime_pooling_allocation_config_new, (void))                              \
  X(void, wasmtime_pooling_allocation_config_delete, (pooling *))                           \
  X(void, POOLING(total_core_instances), (pooling *, uint32_t))                             \
  X(void, POOLING(total_component_instances), (pooling *, uint32_t))                        \
  X(void, POOLING(total_stacks), (pooling *, uint32_t))                                     \
  X(void, POOLING(total_gc_heaps), (pooling *, uint32_t))                                   \
  X(void, POOLING(total_memories), (pooling *, uint32_t))                                   \
  X(void, POOLING(total_tables), (pooling *, uint32_t))                                     \
  X(void, POOLING(max_unused_warm_slots), (pooling *, uint32_t))                            \
  X(void, POOLING(max_core_instance_size), (pooling *, size_t))                             \
  X(void, POOLING(table_elements), (pooling *, size_t))                                     \
  X(void, POOLING(linear_memory_keep_resident), (pooling *, size_t))                        \
  X(void, POOLING(table_keep_resident), (pooling *, size_t))                                \
  X(void, wasmtime_pooling_allocation_strategy_set, (config *, const pooling *))            \
  X(engine *, wasm_engine_new_with_config, (config *))                                      \
  X(void, wasm_engine_delete, (engine *))                                                   \
  X(error *, wasmtime_wat2wasm, (const char *, size_t, byte_vec *))                         \
  X(void, wasm_byte_vec_delete, (byte_vec *))                                               \
  X(error *, wasmtime_module_new, (engine *, const uint8_t *, size_t, module **))           \
  X(error *, wasmtime_module_serialize, (module *, byte_vec *))                             \
  X(error *, wasmtime_module_deserialize_file, (engine *, const char *, module **))         \
  X(void, wasmtime_module_delete, (module *))                                               \
  X(linker *, wasmtime_linker_new, (engine *))                                              \
  X(void, wasmtime_linker_delete, (linker *))                                               \
  X(error *, wasmtime_linker_instantiate_pre, (const linker *, const module *, instance_pre **)) \
  X(void, wasmtime_instance_pre_delete, (instance_pre *))                                   \
  X(store *, wasmtime_store_new, (engine *, void *, void (*)(void *)))                      \
  X(context *, wasmtime_store_context, (store *))                                           \
  X(void, wasmtime_store_limiter, (store *, int64_t, int64_t, int64_t, int64_t, int64_t))   \
  X(void, wasmtime_store_epoch_deadline_callback, (store *, look, void *, void (*)(void *))) \
  X(void, wasmtime_store_delete, (store *))                                                 \
  X(error *, wasmtime_context_set_fuel, (context *, uint64_t))                              \
  X(void, wasmtime_context_set_epoch_deadline, (context *, uint64_t))                       \
  X(error *, wasmtime_instance_pre_instantiate, (const instance_pre *, context *, instance *, trap **)) \
  X(bool, wasmtime_instance_export_get, (context *, const instance *, const char *, size_t, item *)) \
  X(error *, wasmtime_func_call_unchecked, (context *, const func *, value *, size_t, trap **)) \
  X(uint8_t *, wasmtime_memory_data, (const context *, const memory *))                     \
  X(size_t, wasmtime_memory_data_size, (const context *, const memory *))                   \
  X(void, wasmtime_error_message, (const error *, byte_vec *))

#define DECLARE_(result, name, params) static result(*name) params;
#define DECLARE(result, name, params) DECLARE_(result, name, params)
C_API(DECLARE)

static void die(const char *what) {
  fprintf(stderr, "floor: %s\n", what);
  exit(1);
}

static void check(error *failed, trap *trapped) {
  if (trapped) die("the guest trapped");
  if (!failed) return;
  byte_vec text;
  wasmtime_error_message(failed, &text);
  fprintf(stderr, "floor: %.*s\n", (int)text.size, text.data);
  exit(1);
}

static void *symbol(void *library, const char *name) {
  void *found = dlsym(library, name);
  if (!found) die(name);
  return found;
}

static void *load(const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) die(dlerror());
#define STRING_(name) #name
#define STRING(name) STRING_(name)
#define RESOLVE(result, name, params) *(void **)&name = symbol(library, STRING(name));
  C_API(RESOLVE)
  return library;
}

static config *new_config(void *library) {
  config *settings = wasm_config_new();
  wasmtime_config_consume_fuel_set(settings, true);
  wasmtime_config_epoch_interruption_set(settings, true);
  wasmtime_config_memory_may_move_set(settings, false);
  wasmtime_config_max_wasm_stack_set(settings, STACK);
  for (size_t i = 0; i < sizeof OFF / sizeof *OFF; i++) {
    char name[80];
    void (*set)(config *, bool);
    snprintf(name, sizeof name, "wasmtime_config_%s_set", OFF[i]);
    *(void **)&set = symbol(library, name);
    set(settings, false);
  }
  return settings;
}

static engine *new_pooling_engine(void *library) {
  config *settings = new_config(library);
  pooling *pool = wasmtime_pooling_allocation_config_new();
  POOLING(total_core_instances)(pool, SLOTS);
  POOLING(total_memories)(pool, SLOTS);
  POOLING(total_tables)(pool, SLOTS);
  POOLING(total_component_instances)(pool, 1);
  POOLING(total_stacks)(pool, 1);
  POOLING(total_gc_heaps)(pool, 1);
  POOLING(max_unused_warm_slots)(pool, SLOTS);
  POOLING(max_core_instance_size)(pool, INSTANCE_SIZE);
  POOLING(table_elements)(pool, TABLE_LIMIT);
  POOLING(linear_memory_keep_resident)(pool, MEMORY_KEEP_RESIDENT);
  POOLING(table_keep_resident)(pool, TABLE_KEEP_RESIDENT);
  wasmtime_pooling_allocation_strategy_set(settings, pool);
  wasmtime_pooling_allocation_config_delete(pool);
  return wasm_engine_new_with_config(settings);
}

static void compile(void *library, const char *path, const char *artifact) {
  static char text[1 << 16];
  FILE *file = fopen(path, "rb");
  if (!file) die("cannot open the guest");
  size_t length = fread(text, 1, sizeof text, file);
  fclose(file);
  engine *engine = wasm_engine_new_with_config(new_config(library));
  byte_vec wasm, code;
  module *compiled;
  check(wasmtime_wat2wasm(text, length, &wasm), NULL);
  check(wasmtime_module_new(engine, (uint8_t *)wasm.data, wasm.size, &compiled), NULL);
  check(wasmtime_module_serialize(compiled, &code), NULL);
  file = fopen(artifact, "wb");
  if (!file || fwrite(code.data, 1, code.size, file) != code.size || fclose(file)) die("cannot write the artifact");
  wasm_byte_vec_delete(&wasm);
  wasm_byte_vec_delete(&code);
  wasmtime_module_delete(compiled);
  wasm_engine_delete(engine);
}

typedef struct { store *store; context *context; memory memory; uint8_t *base; func alloc, handle; } sandbox;

static item export(context *context, const instance *made, const char *name, size_t length) {
  item found;
  if (!wasmtime_instance_export_get(context, made, name, length, &found)) die(name);
  return found;
}
#define EXPORT(context, made, name) export(context, made, name, sizeof name - 1)

/* What an embedder needs to end one guest without the others. No tick comes here, so it is never called. */
static error *on_look(context *context, void *data, uint64_t *delta, uint8_t *kind) {
  (void)context, (void)data, (void)kind;
  *delta = DEADLINE_TICKS;
  return NULL;
}

static void arm(sandbox *box) {
  check(wasmtime_context_set_fuel(box->context, FUEL), NULL);
  wasmtime_context_set_epoch_deadline(box->context, DEADLINE_TICKS);
}

static void prepare(engine *engine, const instance_pre *pre, sandbox *box) {
  box->store = wasmtime_store_new(engine, NULL, NULL);
  box->context = wasmtime_store_context(box->store);
  wasmtime_store_limiter(box->store, MEMORY_LIMIT, TABLE_LIMIT, 1, 1, 1);
  wasmtime_store_epoch_deadline_callback(box->store, on_look, NULL, NULL);
  instance made;
  trap *trapped = NULL;
  check(wasmtime_instance_pre_instantiate(pre, box->context, &made, &trapped), trapped);
  box->memory = EXPORT(box->context, &made, "memory").of.memory;
  box->base = wasmtime_memory_data(box->context, &box->memory);
  box->alloc = EXPORT(box->context, &made, "wasmrun_alloc").of.func;
  box->handle = EXPORT(box->context, &made, "wasmrun_handle_raw").of.func;
}

static uint64_t call(sandbox *box, const func *callee, value *values, size_t count) {
  trap *trapped = NULL;
  check(wasmtime_func_call_unchecked(box->context, callee, values, count, &trapped), trapped);
  return (uint64_t)values[0].i64;
}

/* The memory never moves, but it may grow: its size is read anew after each call. */
static uint8_t *region(sandbox *box, uint64_t offset, uint64_t length) {
  uint64_t size = wasmtime_memory_data_size(box->context, &box->memory);
  if (offset > size || length > size - offset) die("the guest answered a region outside its memory");
  return box->base + offset;
}

static size_t handle(sandbox *box, const uint8_t *event, uint8_t *answer) {
  value values[2] = {{.i32 = PAYLOAD}};
  uint32_t at = (uint32_t)call(box, &box->alloc, values, 1);
  memcpy(region(box, at, PAYLOAD), event, PAYLOAD);
  values[0].i32 = (int32_t)at;
  values[1].i32 = PAYLOAD;
  uint64_t packed = call(box, &box->handle, values, 2);
  uint32_t length = (uint32_t)packed;
  if (length > PAYLOAD) die("the answer is longer than the event");
  memcpy(answer, region(box, packed >> 32, length), length);
  return length;
}

static int64_t now_ns(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return at.tv_sec * INT64_C(1000000000) + at.tv_nsec;
}

static int64_t time_fresh(engine *engine, const instance_pre *pre, const uint8_t *event, uint8_t *answer, long events) {
  sandbox box;
  int64_t began = now_ns();
  for (long i = 0; i < events; i++) {
    prepare(engine, pre, &box);
    arm(&box);
    handle(&box, event, answer);
    wasmtime_store_delete(box.store);
  }
  return now_ns() - began;
}

static int64_t time_warm(engine *engine, const instance_pre *pre, const uint8_t *event, uint8_t *answer, long burst, long bursts) {
  static sandbox ready[SLOTS];
  int64_t spent = 0;
  for (long round = 0; round < bursts; round++) {
    for (long i = 0; i < burst; i++) prepare(engine, pre, &ready[i]);
    int64_t began = now_ns();
    for (long i = burst; i-- > 0;) {
      arm(&ready[i]);
      handle(&ready[i], event, answer);
    }
    spent += now_ns() - began;
    for (long i = 0; i < burst; i++) wasmtime_store_delete(ready[i].store);
  }
  return spent;
}

int main(int argc, char **argv) {
  if (argc != 4) die("usage: floor LIBRARY ECHO.WAT ARTIFACT");
  void *library = load(argv[1]);
  compile(library, argv[2], argv[3]);
  engine *engine = new_pooling_engine(library);
  module *echo;
  check(wasmtime_module_deserialize_file(engine, argv[3], &echo), NULL);
  linker *linker = wasmtime_linker_new(engine);
  instance_pre *pre;
  check(wasmtime_linker_instantiate_pre(linker, echo, &pre), NULL);

  uint8_t event[PAYLOAD], answer[PAYLOAD];
  memset(event, 'x', sizeof event);
  char line[128];
  while (fgets(line, sizeof line, stdin)) {
    long events, burst, bursts = 1;
    int64_t spent;
    memset(answer, 0, sizeof answer);
    if (sscanf(line, "fresh %ld", &events) == 1 && events > 0) {
      spent = time_fresh(engine, pre, event, answer, events);
    } else if (sscanf(line, "warm %ld %ld", &burst, &bursts) == 2 && burst > 0 && burst <= SLOTS && bursts > 0) {
      events = burst * bursts;
      spent = time_warm(engine, pre, event, answer, burst, bursts);
    } else {
      die("the commands are: fresh EVENTS, warm BURST BURSTS");
    }
    if (memcmp(event, answer, PAYLOAD)) die("the answer is not the event");
    printf("{\"events\": %ld, \"ns_per_event\": %.1f}\n", events, (double)spent / (double)events);
    fflush(stdout);
  }
  wasmtime_instance_pre_delete(pre);
  wasmtime_linker_delete(linker);
  wasmtime_module_delete(echo);
  wasm_engine_delete(engine);
  return 0;
}

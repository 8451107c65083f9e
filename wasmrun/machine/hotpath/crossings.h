/* What the files of the compiled hot path share: the engine's functions, a plan, a record, and the steps on them. */
#ifndef WASMRUN_CROSSINGS_H
#define WASMRUN_CROSSINGS_H

#define _POSIX_C_SOURCE 200809L
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
/* Py_RETURN_NONE and its like take no reference where the headers are of Python 3.12 or newer, and 3.11 wants one. */
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The C API, as far as it is used; pointers to what only wasmtime looks into have no type. */
typedef struct {
  void *(*store_new)(void *engine, void *data, void (*finalizer)(void *));
  void *(*store_context)(void *store);
  void (*store_limiter)(void *store, int64_t, int64_t, int64_t, int64_t, int64_t);
  void (*store_look)(void *store, void *look, void *data, void (*finalizer)(void *));
  void (*store_delete)(void *store);
  void *(*instantiate)(void *pre, void *context, void *instance, void **trap);
  bool (*export_get)(void *context, void *instance, const char *name, size_t length, void *item);
  void *(*memory_data)(void *context, void *memory);
  size_t (*memory_size)(void *context, void *memory);
  void *(*set_fuel)(void *context, uint64_t fuel);
  void *(*get_fuel)(void *context, uint64_t *fuel);
  void (*set_deadline)(void *context, uint64_t ticks);
  void *(*call)(void *context, void *function, void *values, size_t count, void **trap);
  void *(*error_new)(const char *message);
  void (*error_delete)(void *error);
  void *(*trap_new_code)(uint8_t code);
  void (*trap_delete)(void *trap);
} engine_api;

/* What a function's sandboxes have in common: words that Python fills in. See `Plan` in __init__.py. */
typedef struct {
  uint64_t engine, look;
  int64_t memory_bytes, table_elements, instances, tables, memories;
  uint64_t pre;
  uint64_t entry, entry_length; /* the export that takes the event */
  uint64_t has_free;
} plan;

/* A sandbox's record, in words, as wasmrun/machine/record.py lays it out. */
enum { ALLOC = 1, ENTRY = 5, FREE = 9, MEMORY = 13, INSTANCE = 16, TRAP = 18, VALUES = 20, ERROR = 34 };

/* How `hand_over` ended where there is no answer. */
enum { FAILED_IN_ALLOC = 1, NO_MEMORY, EVENT_OUTSIDE, FAILED, ANSWER_OUTSIDE, ANSWER_TOO_LARGE, ANSWER_AT_NULL };

/* An event, in as many parts as it is put together from; SIZE is the sum of theirs. */
typedef struct { const char *at; size_t size; } part;
typedef struct { part parts[3]; int count; uint64_t size; } message;

static inline uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The look at a guest that runs in one crossing, with the API as its data: it is given up, and Python runs its event again. */
static inline void *give_up(void *context, void *api, uint64_t *delta, uint8_t *kind) {
  (void)context, (void)delta, (void)kind;
  return ((const engine_api *)api)->error_new("it takes long");
}

/* A store with every limit set, and LOOK called with DATA when a guest in it is looked at. */
static inline void *new_store(const engine_api *api, const plan *with, void *look, void *data) {
  void *store = api->store_new((void *)with->engine, NULL, NULL);
  api->store_limiter(store, with->memory_bytes, with->table_elements, with->instances, with->tables, with->memories);
  api->store_look(store, look, data, NULL);
  return store;
}

/* Instantiate and find; false where there is an error or a trap in the record. */
static inline bool set_up(const engine_api *api, const plan *with, void *context, uint64_t *record) {
  void *instance = record + INSTANCE;
  record[ERROR] = (uint64_t)api->instantiate((void *)with->pre, context, instance, (void **)(record + TRAP));
  if (record[ERROR] || record[TRAP]) return false;
  /* An item is its kind, in a word, and then the handle, whose place in the record is known. */
  api->export_get(context, instance, "memory", 6, record + MEMORY - 1);
  api->export_get(context, instance, "wasmrun_alloc", 13, record + ALLOC - 1);
  api->export_get(context, instance, (const char *)with->entry, with->entry_length, record + ENTRY - 1);
  if (with->has_free) api->export_get(context, instance, "wasmrun_free", 12, record + FREE - 1);
  return true;
}

/* Delete the error and the trap that a step left in the record. */
static inline void forget_failure(const engine_api *api, uint64_t *record) {
  if (record[ERROR]) api->error_delete((void *)record[ERROR]);
  if (record[TRAP]) api->trap_delete((void *)record[TRAP]);
  record[ERROR] = record[TRAP] = 0;
}

/* Whether LENGTH bytes at POINTER lie in the memory, which had KNOWN bytes at least. */
static inline bool holds(const engine_api *api, void *context, uint64_t *record, uint64_t known, uint64_t pointer, uint64_t length) {
  return pointer + length <= known || pointer + length <= api->memory_size(context, record + MEMORY);
}

/* Hand EVENT over. Runs without the GIL. Puts where the answer is into POINTER and LENGTH, or says how it ended. */
static inline long hand_over(const engine_api *api, void *context, uint64_t *record, char *memory, uint64_t known, uint64_t most,
                             const message *event, uint64_t *pointer, uint64_t *length) {
  void **trap = (void **)(record + TRAP);
  uint64_t at = 0;
  if (event->size) {
    record[VALUES] = event->size;
    record[ERROR] = (uint64_t)api->call(context, record + ALLOC, record + VALUES, 1, trap);
    if (record[ERROR] || *trap) return FAILED_IN_ALLOC;
    at = (uint32_t)record[VALUES];
    if (!at) return NO_MEMORY;
    if (!holds(api, context, record, known, at, event->size)) return EVENT_OUTSIDE;
    char *to = memory + at;
    for (int one = 0; one < event->count; one++) {
      memcpy(to, event->parts[one].at, event->parts[one].size);
      to += event->parts[one].size;
    }
  }
  record[VALUES] = at;
  record[VALUES + 2] = event->size;
  record[ERROR] = (uint64_t)api->call(context, record + ENTRY, record + VALUES, 2, trap);
  if (record[ERROR] || *trap) return FAILED;
  *pointer = record[VALUES] >> 32;
  *length = (uint32_t)record[VALUES];
  if (!holds(api, context, record, known, *pointer, *length)) return ANSWER_OUTSIDE;
  if (*length > most) return ANSWER_TOO_LARGE;
  return !*pointer && *length ? ANSWER_AT_NULL : 0;
}

/* What the guest logs that runs on this thread: entries are a level and a length, 4 bytes each, and so many of text. */
typedef struct {
  const engine_api *api;
  void *context;
  uint64_t *record;
  const char *memory;
  uint64_t known;    /* bytes that the memory has at least */
  uint64_t left;     /* bytes that may still be logged, with what each entry costs beyond its text */
  uint64_t bytes;    /* of text, so far */
  char *entries;
  size_t used, room;
  bool is_kept;      /* whether anybody wants to read it */
  bool is_metered;
} notebook;

/* Have BOOK take what guests on this thread log, where otherwise Python does; NULL ends that. */
void open_notebook(notebook *book);

/* The engine's functions, once they are known; NULL with an exception before. */
const engine_api *api_of(PyObject *module);

/* Add what entries.c has for Python to MODULE; not 0 with an exception where that fails. */
int add_entries(PyObject *module);

/* Add what notebook.c has for Python to MODULE; not 0 with an exception where that fails. */
int add_notebook(PyObject *module);

/* Add the types of express.c to MODULE; not 0 with an exception where that fails. */
int add_express(PyObject *module);

#endif

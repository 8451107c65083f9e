/* The crossings: what one event needs of the engine, in as few calls as there are steps.
 *
 * open → prepare → arm → call → close: each makes several calls of wasmtime's C API where the ctypes path makes them one
 * by one. Nothing is decided here. What does not go as usual is told by a number, and the caller, which has the same
 * steps in Python, looks at what is in the record and says what it means. No header and no library of wasmtime's is
 * needed to build this: the functions' addresses come from Python, which has loaded the library and checked its
 * version and the layout of its structs.
 *
 * Whatever may run guest code or take long gives the GIL up. Nothing here is shared by threads but what is given.
 */
#define _POSIX_C_SOURCE 200809L
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
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
  void (*set_deadline)(void *context, uint64_t ticks);
  void *(*call)(void *context, void *function, void *values, size_t count, void **trap);
  void (*error_delete)(void *error);
  void (*trap_delete)(void *trap);
} engine_api;

static const char *const NAMES[] = {
  "store_new", "store_context", "store_limiter", "store_look", "store_delete", "instantiate", "export_get", "memory_data",
  "memory_size", "set_fuel", "set_deadline", "call", "error_delete", "trap_delete",
};
enum { FUNCTIONS = sizeof NAMES / sizeof *NAMES };
_Static_assert(sizeof(engine_api) == FUNCTIONS * sizeof(void *), "a name for each function");

/* What a function's sandboxes have in common: words that Python fills in. See `Plan` in __init__.py. */
typedef struct {
  uint64_t engine, look;
  int64_t memory_bytes, table_elements, instances, tables, memories;
  uint64_t pre;
  uint64_t entry, entry_length; /* the export that takes the event */
  uint64_t has_free;
} plan;

/* A sandbox's record, in words, as wasmrun/machine/instance.py lays it out. */
enum { ALLOC = 1, ENTRY = 5, FREE = 9, MEMORY = 13, INSTANCE = 16, TRAP = 18, VALUES = 20, ERROR = 34 };

/* How `call` ended where it gives no answer. */
enum { FAILED_IN_ALLOC = 1, NO_MEMORY, EVENT_OUTSIDE, FAILED, ANSWER_OUTSIDE, ANSWER_TOO_LARGE, ANSWER_AT_NULL };

typedef struct { engine_api engine; bool is_bound; } module_state;

static const engine_api *api_of(PyObject *module) {
  module_state *state = PyModule_GetState(module);
  if (state != NULL && state->is_bound) return &state->engine;
  PyErr_SetString(PyExc_RuntimeError, "the engine's functions are not known yet: call bind() first");
  return NULL;
}

/* COUNT numbers of ARGS into NUMBERS; false, with an exception, where they are not so many, or no numbers. */
static bool numbers_of(PyObject *const *args, Py_ssize_t given, Py_ssize_t count, uint64_t *numbers) {
  if (given != count) {
    PyErr_Format(PyExc_TypeError, "%zd arguments are needed, not %zd", count, given);
    return false;
  }
  for (Py_ssize_t at = 0; at < count; at++) {
    numbers[at] = PyLong_AsUnsignedLongLong(args[at]);
    if (numbers[at] == (uint64_t)-1 && PyErr_Occurred()) return false;
  }
  return true;
}

PyDoc_STRVAR(bind_doc, "bind(addresses, /)\n--\n\nUse the engine's functions at these addresses, by their names in `capi`.");

static PyObject *bind(PyObject *module, PyObject *addresses) {
  module_state *state = PyModule_GetState(module);
  void *found[FUNCTIONS];
  if (state == NULL) {
    PyErr_SetString(PyExc_RuntimeError, "the module is not set up yet");
    return NULL;
  }
  for (int at = 0; at < FUNCTIONS; at++) {
    PyObject *address = PyMapping_GetItemString(addresses, NAMES[at]);
    if (address == NULL) return NULL;
    found[at] = PyLong_AsVoidPtr(address);
    Py_DECREF(address);
    if (found[at] == NULL) {
      if (!PyErr_Occurred()) PyErr_Format(PyExc_ValueError, "%s has no address", NAMES[at]);
      return NULL;
    }
  }
  memcpy(&state->engine, found, sizeof found);
  state->is_bound = true;
  Py_RETURN_NONE;
}

/* A store with every limit set. */
static void *new_store(const engine_api *api, const plan *with) {
  void *store = api->store_new((void *)with->engine, NULL, NULL);
  api->store_limiter(store, with->memory_bytes, with->table_elements, with->instances, with->tables, with->memories);
  api->store_look(store, (void *)with->look, NULL, NULL);
  return store;
}

PyDoc_STRVAR(open_doc, "open_store(plan, /)\n--\n\nA store with every limit set: its address and its context's.");

static PyObject *open_store(PyObject *module, PyObject *const *args, Py_ssize_t given) {
  const engine_api *api = api_of(module);
  uint64_t number;
  if (api == NULL || !numbers_of(args, given, 1, &number)) return NULL;
  const plan *with = (const plan *)number;
  void *store = new_store(api, with);
  PyObject *both = Py_BuildValue("KK", (unsigned long long)store, (unsigned long long)api->store_context(store));
  if (both == NULL) api->store_delete(store);
  return both;
}

PyDoc_STRVAR(prepare_doc,
  "prepare(plan, context, record, /)\n--\n\n"
  "Instantiate, and put what the native ABI calls into the record; the address of the memory. None where there is an error or a trap\n"
  "in the record instead. For modules that run nothing of their own then.");

/* Instantiate and find; false where there is an error or a trap in the record. */
static bool set_up(const engine_api *api, const plan *with, void *context, uint64_t *record) {
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

static PyObject *prepare(PyObject *module, PyObject *const *args, Py_ssize_t given) {
  const engine_api *api = api_of(module);
  uint64_t numbers[3];
  if (api == NULL || !numbers_of(args, given, 3, numbers)) return NULL;
  void *context = (void *)numbers[1];
  uint64_t *record = (uint64_t *)numbers[2];
  if (!set_up(api, (const plan *)numbers[0], context, record)) Py_RETURN_NONE;
  return PyLong_FromVoidPtr(api->memory_data(context, record + MEMORY));
}

PyDoc_STRVAR(arm_doc, "arm(context, fuel, ticks, /)\n--\n\nGive the guest so much fuel (0: it is not metered) and ticks until a look at it.");

static PyObject *arm(PyObject *module, PyObject *const *args, Py_ssize_t given) {
  const engine_api *api = api_of(module);
  uint64_t numbers[3];
  if (api == NULL || !numbers_of(args, given, 3, numbers)) return NULL;
  if (numbers[1]) api->set_fuel((void *)numbers[0], numbers[1]);
  api->set_deadline((void *)numbers[0], numbers[2]);
  Py_RETURN_NONE;
}

/* Whether LENGTH bytes at POINTER lie in the memory, which had KNOWN bytes at least. */
static bool holds(const engine_api *api, void *context, uint64_t *record, uint64_t known, uint64_t pointer, uint64_t length) {
  return pointer + length <= known || pointer + length <= api->memory_size(context, record + MEMORY);
}

/* Hand EVENT over. Runs without the GIL. Puts where the answer is into POINTER and LENGTH, or says how it ended. */
static long hand_over(const engine_api *api, void *context, uint64_t *record, char *memory, uint64_t known, uint64_t most,
                      const char *event, uint64_t size, uint64_t *pointer, uint64_t *length) {
  void **trap = (void **)(record + TRAP);
  uint64_t at = 0;
  if (size) {
    record[VALUES] = size;
    record[ERROR] = (uint64_t)api->call(context, record + ALLOC, record + VALUES, 1, trap);
    if (record[ERROR] || *trap) return FAILED_IN_ALLOC;
    at = (uint32_t)record[VALUES];
    if (!at) return NO_MEMORY;
    if (!holds(api, context, record, known, at, size)) return EVENT_OUTSIDE;
    memcpy(memory + at, event, size);
  }
  record[VALUES] = at;
  record[VALUES + 2] = size;
  record[ERROR] = (uint64_t)api->call(context, record + ENTRY, record + VALUES, 2, trap);
  if (record[ERROR] || *trap) return FAILED;
  *pointer = record[VALUES] >> 32;
  *length = (uint32_t)record[VALUES];
  if (!holds(api, context, record, known, *pointer, *length)) return ANSWER_OUTSIDE;
  if (*length > most) return ANSWER_TOO_LARGE;
  return !*pointer && *length ? ANSWER_AT_NULL : 0;
}

PyDoc_STRVAR(call_doc,
  "call(context, record, memory, memory_bytes, most, event, /)\n--\n\n"
  "The answer to an event, as bytes, of *most* bytes at most; or a number that says what came instead: see `Step`.\n"
  "The memory is at *memory*, and has had *memory_bytes* at least.");

static PyObject *call(PyObject *module, PyObject *const *args, Py_ssize_t given) {
  const engine_api *api = api_of(module);
  uint64_t numbers[5], pointer = 0, length = 0;
  Py_buffer event;
  if (api == NULL) return NULL;
  if (given != 6) {
    PyErr_Format(PyExc_TypeError, "6 arguments are needed, not %zd", given);
    return NULL;
  }
  if (!numbers_of(args, 5, 5, numbers) || PyObject_GetBuffer(args[5], &event, PyBUF_SIMPLE)) return NULL;
  void *context = (void *)numbers[0];
  uint64_t *record = (uint64_t *)numbers[1];
  char *memory = (char *)numbers[2];
  PyThreadState *thread = PyEval_SaveThread();
  long ended = hand_over(api, context, record, memory, numbers[3], numbers[4], event.buf, (uint64_t)event.len, &pointer, &length);
  PyEval_RestoreThread(thread);
  PyBuffer_Release(&event);
  if (ended) return PyLong_FromLong(ended);
  return PyBytes_FromStringAndSize(memory + pointer, (Py_ssize_t)length);
}

PyDoc_STRVAR(close_doc, "close_store(store, /)\n--\n\nDelete the store.");

static PyObject *close_store(PyObject *module, PyObject *store) {
  const engine_api *api = api_of(module);
  if (api == NULL) return NULL;
  void *pointer = PyLong_AsVoidPtr(store);
  if (pointer == NULL && PyErr_Occurred()) return NULL;
  PyThreadState *thread = PyEval_SaveThread();
  api->store_delete(pointer);
  PyEval_RestoreThread(thread);
  Py_RETURN_NONE;
}

/* One event of a batch, and the place of its answer among those before it. */
typedef struct { const char *event; Py_ssize_t size; size_t at, length; } job;

enum { MOST_JOBS = 64, MOST_ANSWERS = 1 << 20 };

/* Append LENGTH bytes at FROM to what is in ANSWERS, which has ROOM for a part of it; false without memory. */
static bool keep(char **answers, size_t *room, size_t used, const char *from, size_t length) {
  if (used + length > *room) {
    size_t wanted = (used + length) * 2;
    char *larger = realloc(*answers, wanted);
    if (larger == NULL) return false;
    *answers = larger;
    *room = wanted;
  }
  if (length) memcpy(*answers + used, from, length);
  return true;
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Run JOBS until one has no answer, or it is UNTIL, or there are too many answers; how many have one. Without the GIL. */
static int run_jobs(const engine_api *api, const plan *with, uint64_t *record, uint64_t fuel, uint64_t ticks, uint64_t known,
                    uint64_t most, uint64_t until, job *jobs, int count, char **answers) {
  size_t used = 0, room = 0;
  int done = 0;
  for (bool goes_on = true; goes_on && done < count;) {
    job *one = jobs + done;
    uint64_t pointer = 0, length = 0;
    void *store = new_store(api, with), *context = api->store_context(store);
    goes_on = set_up(api, with, context, record);
    if (goes_on) {
      char *memory = api->memory_data(context, record + MEMORY);
      if (fuel) api->set_fuel(context, fuel);
      api->set_deadline(context, ticks);
      goes_on = !hand_over(api, context, record, memory, known, most, one->event, (uint64_t)one->size, &pointer, &length) &&
                keep(answers, &room, used, memory + pointer, length);
    }
    if (record[ERROR]) api->error_delete((void *)record[ERROR]);
    if (record[TRAP]) api->trap_delete((void *)record[TRAP]);
    record[ERROR] = record[TRAP] = 0;
    api->store_delete(store);
    if (!goes_on) break;
    one->at = used;
    one->length = length;
    used += length;
    done++;
    goes_on = used < MOST_ANSWERS && now_ns() < until;
  }
  return done;
}

PyDoc_STRVAR(run_each_doc,
  "run_each(plan, record, fuel, ticks, memory_bytes, most, until, events, /)\n--\n\n"
  "A fresh sandbox for each of the *events*, a list of bytes, one after the other: the list of their answers. It ends before the first\n"
  "event that has none, and at *until* (nanoseconds of the monotonic clock); whoever calls runs the others. For guests that import\n"
  "nothing, which an event may be run for twice.");

static PyObject *run_each(PyObject *module, PyObject *const *args, Py_ssize_t given) {
  const engine_api *api = api_of(module);
  uint64_t numbers[7];
  job jobs[MOST_JOBS];
  char *answers = NULL;
  if (api == NULL) return NULL;
  if (given != 8) {
    PyErr_Format(PyExc_TypeError, "8 arguments are needed, not %zd", given);
    return NULL;
  }
  if (!numbers_of(args, 7, 7, numbers)) return NULL;
  Py_ssize_t count = PyList_Size(args[7]);
  if (count < 0) return NULL;
  if (count > MOST_JOBS) count = MOST_JOBS;
  for (Py_ssize_t at = 0; at < count; at++) {
    char *event;
    if (PyBytes_AsStringAndSize(PyList_GetItem(args[7], at), &event, &jobs[at].size)) return NULL;
    jobs[at].event = event;
  }
  PyThreadState *thread = PyEval_SaveThread();
  int done = run_jobs(api, (const plan *)numbers[0], (uint64_t *)numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], numbers[6],
                      jobs, (int)count, &answers);
  PyEval_RestoreThread(thread);
  PyObject *list = PyList_New(done);
  for (int at = 0; list != NULL && at < done; at++) {
    PyObject *answer = PyBytes_FromStringAndSize(answers + jobs[at].at, (Py_ssize_t)jobs[at].length);
    /* It takes the reference, and the list frees what is in it. */
    if (answer == NULL || PyList_SetItem(list, at, answer)) {
      Py_DECREF(list);
      list = NULL;
    }
  }
  free(answers);
  return list;
}

static PyMethodDef methods[] = {
  {"bind", bind, METH_O, bind_doc},
  {"open_store", (PyCFunction)(void (*)(void))open_store, METH_FASTCALL, open_doc},
  {"prepare", (PyCFunction)(void (*)(void))prepare, METH_FASTCALL, prepare_doc},
  {"arm", (PyCFunction)(void (*)(void))arm, METH_FASTCALL, arm_doc},
  {"call", (PyCFunction)(void (*)(void))call, METH_FASTCALL, call_doc},
  {"close_store", close_store, METH_O, close_doc},
  {"run_each", (PyCFunction)(void (*)(void))run_each, METH_FASTCALL, run_each_doc},
  {NULL, NULL, 0, NULL},
};

/* Changes with what compiled.py calls and how: one that was built for an earlier tree is not taken. */
enum { INTERFACE = 2 };

static int set_up_module(PyObject *module) { return PyModule_AddIntConstant(module, "INTERFACE", INTERFACE); }

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)set_up_module}, {0, NULL}};

static struct PyModuleDef definition = {
  PyModuleDef_HEAD_INIT,
  .m_name = "wasmrun.machine.hotpath._crossings",
  .m_doc = "What one event needs of the engine, in as few calls as there are steps.",
  .m_size = sizeof(module_state),
  .m_methods = methods,
  .m_slots = slots,
};

PyMODINIT_FUNC PyInit__crossings(void) { return PyModuleDef_Init(&definition); }

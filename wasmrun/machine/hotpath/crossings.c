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
#include "crossings.h"

static const char *const NAMES[] = {
  "store_new", "store_context", "store_limiter", "store_look", "store_delete", "instantiate", "export_get", "memory_data",
  "memory_size", "set_fuel", "get_fuel", "set_deadline", "call", "error_new", "error_delete", "trap_new_code",
  "trap_delete",
};
enum { FUNCTIONS = sizeof NAMES / sizeof *NAMES };
_Static_assert(sizeof(engine_api) == FUNCTIONS * sizeof(void *), "a name for each function");

typedef struct { engine_api engine; bool is_bound; } module_state;

const engine_api *api_of(PyObject *module) {
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
  return Py_NewRef(Py_None);
}

PyDoc_STRVAR(open_doc, "open_store(plan, /)\n--\n\nA store with every limit set: its address and its context's.");

static PyObject *open_store(PyObject *module, PyObject *const *args, Py_ssize_t given) {
  const engine_api *api = api_of(module);
  uint64_t number;
  if (api == NULL || !numbers_of(args, given, 1, &number)) return NULL;
  const plan *with = (const plan *)number;
  void *store = new_store(api, with, (void *)with->look, NULL);
  PyObject *both = Py_BuildValue("KK", (unsigned long long)store, (unsigned long long)api->store_context(store));
  if (both == NULL) api->store_delete(store);
  return both;
}

PyDoc_STRVAR(prepare_doc,
  "prepare(plan, context, record, /)\n--\n\n"
  "Instantiate, and put what the native ABI calls into the record; the address of the memory. None where there is an error or a trap\n"
  "in the record instead. For modules that run nothing of their own then.");

static PyObject *prepare(PyObject *module, PyObject *const *args, Py_ssize_t given) {
  const engine_api *api = api_of(module);
  uint64_t numbers[3];
  if (api == NULL || !numbers_of(args, given, 3, numbers)) return NULL;
  void *context = (void *)numbers[1];
  uint64_t *record = (uint64_t *)numbers[2];
  if (!set_up(api, (const plan *)numbers[0], context, record)) return Py_NewRef(Py_None);
  return PyLong_FromVoidPtr(api->memory_data(context, record + MEMORY));
}

PyDoc_STRVAR(arm_doc, "arm(context, fuel, ticks, /)\n--\n\nGive the guest so much fuel (0: it is not metered) and ticks until a look at it.");

static PyObject *arm(PyObject *module, PyObject *const *args, Py_ssize_t given) {
  const engine_api *api = api_of(module);
  uint64_t numbers[3];
  if (api == NULL || !numbers_of(args, given, 3, numbers)) return NULL;
  if (numbers[1]) api->set_fuel((void *)numbers[0], numbers[1]);
  api->set_deadline((void *)numbers[0], numbers[2]);
  return Py_NewRef(Py_None);
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
  message whole = {{{event.buf, (size_t)event.len}}, 1, (uint64_t)event.len};
  PyThreadState *thread = PyEval_SaveThread();
  long ended = hand_over(api, context, record, memory, numbers[3], numbers[4], &whole, &pointer, &length);
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
  return Py_NewRef(Py_None);
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

/* Run JOBS until one has no answer, or it is UNTIL, or there are too many answers; how many have one. Without the GIL. */
static int run_jobs(const engine_api *api, const plan *with, uint64_t *record, uint64_t fuel, uint64_t ticks, uint64_t known,
                    uint64_t most, uint64_t until, uint64_t log_bytes, job *jobs, int count, char **answers) {
  size_t used = 0, room = 0;
  int done = 0;
  for (bool goes_on = true; goes_on && done < count;) {
    job *one = jobs + done;
    uint64_t pointer = 0, length = 0;
    void *store = new_store(api, with, (void *)give_up, (void *)api), *context = api->store_context(store);
    goes_on = set_up(api, with, context, record);
    if (goes_on) {
      char *memory = api->memory_data(context, record + MEMORY);
      if (fuel) api->set_fuel(context, fuel);
      api->set_deadline(context, ticks);
      message event = {{{one->event, (size_t)one->size}}, 1, (uint64_t)one->size};
      notebook book = {.api = api, .context = context, .record = record, .memory = memory, .known = known, .left = log_bytes, .is_metered = fuel > 0};
      open_notebook(&book);
      goes_on = !hand_over(api, context, record, memory, known, most, &event, &pointer, &length) &&
                keep(answers, &room, used, memory + pointer, length);
    }
    open_notebook(NULL);
    forget_failure(api, record);
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
  "run_each(plan, record, fuel, ticks, memory_bytes, most, until, log_bytes, events, /)\n--\n\n"
  "A fresh sandbox for each of the *events*, a list of bytes, one after the other: the list of their answers. It ends before the first\n"
  "event that has none, and at *until* (nanoseconds of the monotonic clock); whoever calls runs the others. For guests that import\n"
  "nothing but `log`, which an event may be run for twice; nothing that they log is kept.");

static PyObject *run_each(PyObject *module, PyObject *const *args, Py_ssize_t given) {
  const engine_api *api = api_of(module);
  uint64_t numbers[8];
  job jobs[MOST_JOBS];
  char *answers = NULL;
  if (api == NULL) return NULL;
  if (given != 9) {
    PyErr_Format(PyExc_TypeError, "9 arguments are needed, not %zd", given);
    return NULL;
  }
  if (!numbers_of(args, 8, 8, numbers)) return NULL;
  Py_ssize_t count = PyList_Size(args[8]);
  if (count < 0) return NULL;
  if (count > MOST_JOBS) count = MOST_JOBS;
  for (Py_ssize_t at = 0; at < count; at++) {
    char *event;
    if (PyBytes_AsStringAndSize(PyList_GetItem(args[8], at), &event, &jobs[at].size)) return NULL;
    jobs[at].event = event;
  }
  PyThreadState *thread = PyEval_SaveThread();
  int done = run_jobs(api, (const plan *)numbers[0], (uint64_t *)numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], numbers[6],
                      numbers[7], jobs, (int)count, &answers);
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
enum { INTERFACE = 5 };

static int set_up_module(PyObject *module) {
  return PyModule_AddIntConstant(module, "INTERFACE", INTERFACE) || add_entries(module) || add_notebook(module) || add_express(module) ? -1 : 0;
}

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

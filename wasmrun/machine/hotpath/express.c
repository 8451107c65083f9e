/* The express: an event of the usual kind from its bytes to its answer's, in one crossing.
 *
 * A `Yard` has the sandboxes of one engine that are nobody's: places where there may be one, and those that are spent.
 * An `Express` has the ready ones of one function, and carries its events. Python's pool lends the places and counts
 * them; what is written in `traffic` is how each side knows of what the other one does.
 *
 * It is for guests that import nothing but `log`. Of those an event leaves no trace but its answer and its log, so one
 * that fails, or takes so long that it would be looked at, is given up, and its caller runs it again in Python, where all
 * the rest is: limits in time, Ctrl-C, errors, reports of failures. "Not carried" (NotImplemented) is all that is ever said about that here.
 *
 * The GIL guards every field. It is given up while the engine works, and no field that changes is touched meanwhile.
 */
#include "crossings.h"

#include <pthread.h>

/* Words that the pool and all its yards share: what runs here, how many events were taken here, how much there is to
 * destroy; whether anything may begin here; how awake the keeper is; how often any of this changed; how many events wait
 * for a place. See traffic.py. */
enum { RUNNING, HANDED, RUBBISH, OPEN, LEVEL, CHANGES, WAITING };

/* As wasmrun/pool.py has them. */
enum { MOST_SPENT = 64, MOST_LARGE_SPENT = 8, LARGE = 4 << 20 };

enum { CHUNK = 128, SMALL = 4096, ID_LENGTH = 36, MOST_CONTEXT = 4096 };

/* After an event that was given up, so many of its function are not even tried; twice as many each time. Errors that a guest
 * reports cost nothing but that it is run again, and may be usual: after those it is the first number each time. */
enum { FIRST_PENALTY = 8, MOST_PENALTY = 1024 };

/* Processes that were forked off this one, seen from inside: sandboxes stayed with the parent. */
static unsigned forks;

static void count_fork(void) { forks++; }

/* A sandbox, or where STORE is 0 a place for one, which is a record. */
typedef struct { void *store, *context; uint64_t *record; char *memory; } box;

typedef struct { box *boxes; size_t first, count, room; } ring;

static bool reserve(ring *one, size_t wanted) {
  if (wanted <= one->room) return true;
  size_t room = one->room ? one->room : 16;
  while (room < wanted) room *= 2;
  box *boxes = malloc(room * sizeof *boxes);
  if (boxes == NULL) {
    PyErr_NoMemory();
    return false;
  }
  for (size_t at = 0; at < one->count; at++) boxes[at] = one->boxes[(one->first + at) & (one->room - 1)];
  free(one->boxes);
  *one = (ring){boxes, 0, one->count, room};
  return true;
}

/* Room was reserved before. */
static void push(ring *one, box it) { one->boxes[(one->first + one->count++) & (one->room - 1)] = it; }
static box pop_newest(ring *one) { return one->boxes[(one->first + --one->count) & (one->room - 1)]; }
static box pop_oldest(ring *one) {
  box it = one->boxes[one->first];
  one->first = (one->first + 1) & (one->room - 1);
  one->count--;
  return it;
}

typedef struct {
  PyObject_HEAD
  const engine_api *api;
  PyObject *traffic_owner, *clock_owner;
  uint64_t *traffic;
  const uint64_t *clock; /* whether the engine ticks */
  size_t boxes;          /* in here and with the expresses: room is reserved for all of them */
  ring free, spent;
  unsigned forks;
} yard;

typedef struct {
  PyObject_HEAD
  yard *yard;
  PyObject *plan_owner, *note, *number, *numbers, *wake;
  const plan *with;
  uint64_t fuel, ticks, known, most, event_bytes, log_bytes, wanted_level;
  int64_t stack;
  bool is_fresh_here; /* whether a sandbox can be made here: its function runs nothing to get ready */
  bool is_open, is_noted;
  uint64_t running, filling, warm_starts, cold_starts, skip, penalty, calm;
  ring ready;
  char *context; /* the envelope's second half, with gaps for request id and deadline; NULL for raw events */
  size_t context_size, id_at;
  uint64_t timeout_ns;
  char prefix[25];
} express;

static PyObject *not_carried(void) { return Py_NewRef(Py_NotImplemented); }

static bool reserve_all(yard *self, size_t more) {
  if (!reserve(&self->free, self->boxes + more) || !reserve(&self->spent, self->boxes + more)) return false;
  self->boxes += more;
  return true;
}

static void spend(yard *self, box it) {
  push(&self->spent, it);
  self->traffic[RUBBISH]++, self->traffic[CHANGES]++;
}

static box unspend(yard *self) {
  self->traffic[RUBBISH]--, self->traffic[CHANGES]++;
  return pop_oldest(&self->spent);
}

/* ---- The yard */

static PyObject *yard_new(PyTypeObject *type, PyObject *args, PyObject *named) {
  PyObject *traffic_owner, *clock_owner;
  unsigned long long traffic, clock;
  PyObject *module = PyType_GetModule(type);
  const engine_api *api = module == NULL ? NULL : api_of(module);
  if (api == NULL) return NULL;
  if (named != NULL && PyDict_Size(named)) {
    PyErr_SetString(PyExc_TypeError, "a yard takes no keywords");
    return NULL;
  }
  if (!PyArg_ParseTuple(args, "KOKO", &traffic, &traffic_owner, &clock, &clock_owner)) return NULL;
  allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
  yard *self = (yard *)alloc(type, 0);
  if (self == NULL) return NULL;
  self->api = api;
  self->traffic = (uint64_t *)traffic;
  self->clock = (const uint64_t *)clock;
  Py_INCREF(traffic_owner);
  Py_INCREF(clock_owner);
  self->traffic_owner = traffic_owner;
  self->clock_owner = clock_owner;
  self->forks = forks;
  return (PyObject *)self;
}

/* What is still in there stays: the engine may be gone, or this be another process. */
static void yard_free(PyObject *object) {
  yard *self = (yard *)object;
  PyTypeObject *type = Py_TYPE(object);
  free(self->free.boxes);
  free(self->spent.boxes);
  Py_XDECREF(self->traffic_owner);
  Py_XDECREF(self->clock_owner);
  freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
  release(object);
  Py_DECREF(type);
}

PyDoc_STRVAR(lend_doc, "lend(record, /)\n--\n\nHave a place more: the address of its record.");

static PyObject *yard_lend(PyObject *object, PyObject *record) {
  yard *self = (yard *)object;
  uint64_t *words = PyLong_AsVoidPtr(record);
  if (words == NULL) return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "a record has an address");
  if (!reserve_all(self, 1)) return NULL;
  words[ERROR] = words[TRAP] = 0;
  push(&self->free, (box){NULL, NULL, words, NULL});
  return Py_NewRef(Py_None);
}

PyDoc_STRVAR(reclaim_doc, "reclaim()\n--\n\nGive a free place back: the address of its record, or None where none is free.");

static PyObject *yard_reclaim(PyObject *object, PyObject *Py_UNUSED(nothing)) {
  yard *self = (yard *)object;
  if (!self->free.count || self->forks != forks) return Py_NewRef(Py_None);
  PyObject *record = PyLong_FromVoidPtr(self->free.boxes[(self->free.first + self->free.count - 1) & (self->free.room - 1)].record);
  if (record == NULL) return NULL;
  pop_newest(&self->free);
  self->boxes--;
  return record;
}

PyDoc_STRVAR(destroy_doc, "destroy(most, /)\n--\n\nDestroy what is spent, the oldest first; how many. Their places are free then.");

static PyObject *yard_destroy(PyObject *object, PyObject *number) {
  yard *self = (yard *)object;
  size_t most = PyLong_AsSize_t(number), done = 0;
  if (most == (size_t)-1 && PyErr_Occurred()) return NULL;
  while (done < most && self->spent.count && self->forks == forks) {
    box going[CHUNK];
    size_t count = 0;
    while (count < CHUNK && done + count < most && self->spent.count) going[count++] = pop_oldest(&self->spent);
    PyThreadState *thread = PyEval_SaveThread();
    for (size_t at = 0; at < count; at++) self->api->store_delete(going[at].store);
    PyEval_RestoreThread(thread);
    for (size_t at = 0; at < count; at++) push(&self->free, (box){NULL, NULL, going[at].record, NULL});
    self->traffic[RUBBISH] -= count, self->traffic[CHANGES]++;
    done += count;
  }
  return PyLong_FromSize_t(done);
}

static PyObject *yard_free_count(PyObject *object, void *Py_UNUSED(closure)) { return PyLong_FromSize_t(((yard *)object)->free.count); }
static PyObject *yard_spent_count(PyObject *object, void *Py_UNUSED(closure)) { return PyLong_FromSize_t(((yard *)object)->spent.count); }

static PyMethodDef yard_methods[] = {
  {"lend", yard_lend, METH_O, lend_doc},
  {"reclaim", yard_reclaim, METH_NOARGS, reclaim_doc},
  {"destroy", yard_destroy, METH_O, destroy_doc},
  {NULL, NULL, 0, NULL},
};

static PyGetSetDef yard_counts[] = {
  {"free", yard_free_count, NULL, "Places without a sandbox.", NULL},
  {"spent", yard_spent_count, NULL, "Sandboxes that are to be destroyed.", NULL},
  {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot yard_slots[] = {
  {Py_tp_doc, "Yard(traffic, its_owner, clock, its_owner, /)\n--\n\nPlaces and spent sandboxes of one engine."},
  {Py_tp_new, (void *)yard_new},
  {Py_tp_dealloc, (void *)yard_free},
  {Py_tp_methods, yard_methods},
  {Py_tp_getset, yard_counts},
  {0, NULL},
};

static PyType_Spec yard_spec = {"wasmrun.machine.hotpath._crossings.Yard", sizeof(yard), 0, Py_TPFLAGS_DEFAULT, yard_slots};

/* ---- The express */

/* Whether OBJECT is a yard of the module that TYPE is of; with an exception where not. */
static bool is_yard(PyTypeObject *type, PyObject *object) {
  PyObject *module = PyType_GetModule(type);
  PyObject *wanted = module == NULL ? NULL : PyObject_GetAttrString(module, "Yard");
  if (wanted == NULL) return false;
  int found = PyObject_IsInstance(object, wanted);
  Py_DECREF(wanted);
  if (!found) PyErr_SetString(PyExc_TypeError, "an express needs a yard");
  return found == 1;
}

static PyObject *express_new(PyTypeObject *type, PyObject *args, PyObject *named) {
  PyObject *home, *plan_owner, *note, *number, *numbers, *wake;
  unsigned long long with, fuel, ticks, known, most, event_bytes, log_bytes, wanted, timeout_ns;
  long long stack;
  int is_fresh_here;
  const char *prefix, *context;
  Py_ssize_t prefix_length, context_size, id_at;
  if (named != NULL && PyDict_Size(named)) {
    PyErr_SetString(PyExc_TypeError, "an express takes no keywords");
    return NULL;
  }
  if (!PyArg_ParseTuple(args, "OKOKKKKKKKLpOOOOs#Kz#n", &home, &with, &plan_owner, &fuel, &ticks, &known, &most, &event_bytes, &log_bytes,
                        &wanted, &stack, &is_fresh_here, &note, &number, &wake, &numbers, &prefix, &prefix_length, &timeout_ns,
                        &context, &context_size, &id_at))
    return NULL;
  if (!is_yard(type, home)) return NULL;
  bool fits = context == NULL || (context_size <= MOST_CONTEXT && id_at >= 0 && id_at + ID_LENGTH + 8 <= context_size);
  if (prefix_length != 24 || !fits) return PyErr_Format(PyExc_ValueError, "the context has no place for what goes into it");
  allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
  express *self = (express *)alloc(type, 0);
  if (self == NULL) return NULL;
  PyObject *held[] = {home, plan_owner, note, number, numbers, wake};
  for (size_t at = 0; at < sizeof held / sizeof *held; at++) Py_INCREF(held[at]);
  self->yard = (yard *)home;
  self->plan_owner = plan_owner;
  self->note = note;
  self->number = number;
  self->numbers = numbers;
  self->wake = wake;
  self->with = (const plan *)with;
  self->fuel = fuel;
  self->ticks = ticks;
  self->known = known;
  self->most = most;
  self->event_bytes = event_bytes;
  self->log_bytes = log_bytes;
  self->wanted_level = wanted;
  self->stack = stack;
  self->is_fresh_here = is_fresh_here;
  self->timeout_ns = timeout_ns;
  self->is_open = true;
  memcpy(self->prefix, prefix, 24);
  if (context != NULL) {
    self->context = malloc((size_t)context_size);
    if (self->context == NULL) {
      Py_DECREF(self);
      return PyErr_NoMemory();
    }
    memcpy(self->context, context, (size_t)context_size);
    self->context_size = (size_t)context_size;
    self->id_at = (size_t)id_at;
  }
  return (PyObject *)self;
}

static void express_free(PyObject *object) {
  express *self = (express *)object;
  PyTypeObject *type = Py_TYPE(object);
  free(self->ready.boxes);
  free(self->context);
  Py_XDECREF((PyObject *)self->yard);
  Py_XDECREF(self->plan_owner);
  Py_XDECREF(self->note);
  Py_XDECREF(self->number);
  Py_XDECREF(self->numbers);
  Py_XDECREF(self->wake);
  freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
  release(object);
  Py_DECREF(type);
}

static bool can_begin(const express *self) {
  const yard *home = self->yard;
  return self->is_open && home->traffic[OPEN] && *home->clock && home->forks == forks;
}

/* Count what begins or ends here, which keeps the program, the engine and its clock. */
static void begin(express *self, size_t count) {
  self->running += count;
  self->yard->traffic[RUNNING] += count, self->yard->traffic[CHANGES]++;
}
static void end(express *self, size_t count) {
  self->running -= count;
  self->yard->traffic[RUNNING] -= count, self->yard->traffic[CHANGES]++;
}

/* A new store with an instance in it, in the place IT; false, and a place as before, where that fails. Without the GIL. */
static bool make(const express *self, box *it) {
  const engine_api *api = self->yard->api;
  it->store = new_store(api, self->with, (void *)give_up, (void *)api);
  it->context = api->store_context(it->store);
  if (set_up(api, self->with, it->context, it->record)) {
    it->memory = api->memory_data(it->context, it->record + MEMORY);
    return true;
  }
  forget_failure(api, it->record);
  api->store_delete(it->store);
  it->store = NULL;
  return false;
}

/* A request id that was not given before, into 36 characters at ID; false with an exception. */
static bool write_id(const express *self, char *id) {
  PyObject *next = PyIter_Next(self->numbers);
  if (next == NULL) return false;
  uint64_t number = PyLong_AsUnsignedLongLong(next);
  Py_DECREF(next);
  if (number == (uint64_t)-1 && PyErr_Occurred()) return false;
  memcpy(id, self->prefix, 24);
  for (int at = ID_LENGTH - 1; at >= 24; at--, number >>= 4) id[at] = "0123456789abcdef"[number & 15];
  return true;
}

/* The context of an event that comes now, into CONTEXT. */
static void write_context(const express *self, char *context, const char *id) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  uint64_t deadline = ((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec + self->timeout_ns) / 1000000;
  memcpy(context, self->context, self->context_size);
  memcpy(context + self->id_at, id, ID_LENGTH);
  for (size_t at = self->context_size; at > self->context_size - 8; deadline >>= 8) context[--at] = (char)(deadline & 255);
}

/* Whether an answer is one to carry on with: one in an envelope says in its first two bytes that it is a value. */
static bool is_value(const express *self, const char *answer, uint64_t length) {
  return self->context == NULL || (length >= 2 && answer[0] == '\x92' && !answer[1]);
}

/* What is measured of an event where a report is wanted. Times in nanoseconds. */
typedef struct { uint64_t prepare_ns, run_ns, fuel_left, memory, event_bytes; } measured;

/* Carry EVENT: the answer, NotImplemented where it was not carried, or an exception. With FIGURES these are written. */
static PyObject *carry_event(express *self, PyObject *event, PyObject *room, char *id, bool *was_ready, measured *figures, notebook *book) {
  yard *home = self->yard;
  const engine_api *api = home->api;
  int64_t stack = PyLong_AsLongLong(room);
  if (stack == -1 && PyErr_Occurred()) return NULL;
  /* An event that nobody gave is an empty map, and without bytes as well. */
  bool is_none = self->context == NULL && PyDict_CheckExact(event) && !PyDict_Size(event);
  if (!is_none && !PyBytes_CheckExact(event)) return not_carried();
  if (stack < self->stack || !can_begin(self)) return not_carried();
  if (self->skip) {
    self->skip--;
    return not_carried();
  }
  char *bytes = NULL, context[MOST_CONTEXT];
  Py_ssize_t size = 0;
  if (!is_none && PyBytes_AsStringAndSize(event, &bytes, &size)) return NULL;
  message whole = {{{bytes, (size_t)size}}, size ? 1 : 0, (uint64_t)size};
  if ((self->context != NULL || figures != NULL) && !write_id(self, id)) return NULL;
  if (self->context != NULL) {
    write_context(self, context, id);
    whole = (message){{{"\x92", 1}, {bytes, (size_t)size}, {context, self->context_size}}, 3, 1 + (uint64_t)size + self->context_size};
  }
  if (whole.size > self->event_bytes) return not_carried();
  if (figures != NULL) figures->event_bytes = whole.size;

  box it;
  /* Should it have to begin anew, it finds one that is ready where making one may take long. */
  *was_ready = self->ready.count > (self->is_fresh_here ? 0 : 1);
  if (*was_ready) it = pop_newest(&self->ready);
  /* A place that is left is for those who wait, who would never see one that is taken again at once. */
  else if (!self->is_fresh_here || home->traffic[WAITING]) return not_carried();
  else if (home->free.count) it = pop_newest(&home->free);
  else if (home->spent.count) it = unspend(home);
  else return not_carried();
  size_t waiting = home->spent.count;
  begin(self, 1);
  home->traffic[HANDED]++;
  if (self->note != Py_None && !self->is_noted) {
    PyObject *nothing = PyObject_CallFunctionObjArgs(self->note, self->number, NULL);
    self->is_noted = nothing != NULL;
    if (nothing == NULL) PyErr_Clear(); /* without memory; the next event tries again */
    Py_XDECREF(nothing);
  }

  char small[SMALL];
  uint64_t pointer = 0, length = 0;
  bool is_fresh = !*was_ready, is_copied = false, is_doomed = waiting >= MOST_SPENT, has_failed = false, is_reported = false;
  PyThreadState *thread = PyEval_SaveThread();
  uint64_t started = figures == NULL ? 0 : now_ns();
  if (is_fresh) {
    if (it.store != NULL) api->store_delete(it.store);
    has_failed = !make(self, &it);
    if (figures != NULL) {
      uint64_t now = now_ns();
      figures->prepare_ns = now - started;
      started = now;
    }
  }
  if (!has_failed) {
    if (self->fuel) api->set_fuel(it.context, self->fuel);
    api->set_deadline(it.context, self->ticks);
    *book = (notebook){.api = api, .context = it.context, .record = it.record, .memory = it.memory, .known = self->known,
                       .left = self->log_bytes, .is_kept = figures != NULL, .is_metered = self->fuel > 0};
    open_notebook(book);
    has_failed = hand_over(api, it.context, it.record, it.memory, self->known, self->most, &whole, &pointer, &length) != 0;
    open_notebook(NULL);
    is_reported = !has_failed && !is_value(self, it.memory + pointer, length);
    has_failed |= is_reported;
    if (figures != NULL) {
      figures->run_ns = now_ns() - started;
      figures->memory = api->memory_size(it.context, it.record + MEMORY);
      if (self->fuel) api->get_fuel(it.context, &figures->fuel_left);
    }
    is_copied = !has_failed && length <= SMALL;
    if (is_copied && length) memcpy(small, it.memory + pointer, length);
    if (!is_doomed && waiting >= MOST_LARGE_SPENT) is_doomed = api->memory_size(it.context, it.record + MEMORY) > LARGE;
    if (has_failed || (is_doomed && is_copied)) {
      forget_failure(api, it.record);
      api->store_delete(it.store);
      it.store = NULL;
    }
  }
  PyEval_RestoreThread(thread);

  PyObject *answer = has_failed ? not_carried() : PyBytes_FromStringAndSize(is_copied ? small : it.memory + pointer, (Py_ssize_t)length);
  if (it.store != NULL && is_doomed) {
    thread = PyEval_SaveThread();
    api->store_delete(it.store);
    PyEval_RestoreThread(thread);
    it.store = NULL;
  }
  if (it.store != NULL) spend(home, it);
  else push(&home->free, it);
  end(self, 1);
  if (is_reported) self->skip = FIRST_PENALTY;
  else if (has_failed) {
    self->penalty = self->penalty ? self->penalty * 2 : FIRST_PENALTY;
    if (self->penalty > MOST_PENALTY) self->penalty = MOST_PENALTY;
    self->skip = self->penalty;
    self->calm = 0;
  } else {
    if (*was_ready) self->warm_starts++;
    else self->cold_starts++;
    if (self->penalty && ++self->calm >= MOST_PENALTY) self->penalty = 0;
    /* The last thing, because it is Python, where Ctrl-C may end it: all is counted. */
    if (answer != NULL && home->traffic[LEVEL] < self->wanted_level && self->wake != NULL) {
      PyObject *wake = Py_NewRef(self->wake); /* another thread may close this meanwhile */
      PyObject *nothing = PyObject_CallFunction(wake, "K", (unsigned long long)self->wanted_level);
      Py_DECREF(wake);
      if (nothing == NULL) Py_CLEAR(answer);
      Py_XDECREF(nothing);
    }
  }
  return answer;
}

PyDoc_STRVAR(carry_doc,
  "carry(event, room, /)\n--\n\n"
  "The answer to *event*, bytes for bytes; NotImplemented where it was not carried. *room* is how much stack the calling thread has.");

static PyObject *express_carry(PyObject *object, PyObject *const *args, Py_ssize_t given) {
  char id[ID_LENGTH];
  bool was_ready;
  notebook book;
  if (given != 2) return PyErr_Format(PyExc_TypeError, "2 arguments are needed, not %zd", given);
  return carry_event((express *)object, args[0], args[1], id, &was_ready, NULL, &book);
}

PyDoc_STRVAR(carry_and_tell_doc,
  "carry_and_tell(event, room, /)\n--\n\n"
  "As `carry`, with what a report needs: answer, request id, whether a sandbox was ready, nanoseconds of preparing and of running, fuel\n"
  "that is left, bytes of memory, those of the event with all that it is told,\n"
  "and those of the texts that were logged; then what was logged, as `notebook.c` lays it out, or None.");

static PyObject *express_carry_and_tell(PyObject *object, PyObject *const *args, Py_ssize_t given) {
  char id[ID_LENGTH];
  bool was_ready;
  measured figures = {0, 0, 0, 0, 0};
  notebook book = {.entries = NULL};
  if (given != 2) return PyErr_Format(PyExc_TypeError, "2 arguments are needed, not %zd", given);
  PyObject *answer = carry_event((express *)object, args[0], args[1], id, &was_ready, &figures, &book);
  if (answer == NULL || answer == Py_NotImplemented) {
    free(book.entries);
    return answer;
  }
  PyObject *told = Py_BuildValue("(Ns#OKKKKKKy#)", answer, id, (Py_ssize_t)ID_LENGTH, was_ready ? Py_True : Py_False, (unsigned long long)figures.prepare_ns,
                       (unsigned long long)figures.run_ns, (unsigned long long)figures.fuel_left, (unsigned long long)figures.memory,
                       (unsigned long long)figures.event_bytes, (unsigned long long)book.bytes, book.entries, (Py_ssize_t)book.used);
  free(book.entries);
  return told;
}

PyDoc_STRVAR(fill_doc,
  "fill(count, /)\n--\n\nPrepare up to *count* sandboxes in free places of the yard, 128 at most; how many are ready of these.");

static PyObject *express_fill(PyObject *object, PyObject *number) {
  express *self = (express *)object;
  yard *home = self->yard;
  size_t wanted = PyLong_AsSize_t(number), count = 0, made = 0;
  if (wanted == (size_t)-1 && PyErr_Occurred()) return NULL;
  if (!can_begin(self) || !self->is_fresh_here) return PyLong_FromLong(0);
  if (wanted > CHUNK) wanted = CHUNK;
  if (wanted > home->free.count) wanted = home->free.count;
  if (!reserve(&self->ready, self->ready.count + self->filling + wanted)) return NULL;
  box boxes[CHUNK];
  while (count < wanted) boxes[count++] = pop_newest(&home->free);
  self->filling += count;
  begin(self, count);
  PyThreadState *thread = PyEval_SaveThread();
  while (made < count && make(self, boxes + made)) made++;
  PyEval_RestoreThread(thread);
  for (size_t at = 0; at < count; at++) {
    if (at >= made) push(&home->free, boxes[at]);
    else if (self->is_open) push(&self->ready, boxes[at]);
    else spend(home, boxes[at]);
  }
  self->filling -= count;
  end(self, count);
  return PyLong_FromSize_t(made);
}

PyDoc_STRVAR(append_doc,
  "append(store, context, record, memory, /)\n--\n\nHave a sandbox that was prepared elsewhere as the newest that is ready: its addresses.");

static PyObject *express_append(PyObject *object, PyObject *args) {
  express *self = (express *)object;
  unsigned long long store, context, record, memory;
  if (!PyArg_ParseTuple(args, "KKKK", &store, &context, &record, &memory)) return NULL;
  if (!reserve(&self->ready, self->ready.count + self->filling + 1) || !reserve_all(self->yard, 1)) return NULL;
  box it = {(void *)store, (void *)context, (uint64_t *)record, (char *)memory};
  it.record[ERROR] = it.record[TRAP] = 0;
  self->yard->api->store_look(it.store, (void *)give_up, (void *)self->yard->api, NULL);
  push(&self->ready, it);
  return Py_NewRef(Py_None);
}

PyDoc_STRVAR(pop_doc, "pop()\n--\n\nThe newest that is ready, which is the caller's from now on: store, context, record, memory. None without one.");

static PyObject *express_pop(PyObject *object, PyObject *Py_UNUSED(nothing)) {
  express *self = (express *)object;
  if (!self->ready.count || self->yard->forks != forks) return Py_NewRef(Py_None);
  box it = pop_newest(&self->ready);
  PyObject *addresses = Py_BuildValue("(KKKK)", (unsigned long long)it.store, (unsigned long long)it.context,
                                      (unsigned long long)it.record, (unsigned long long)it.memory);
  if (addresses == NULL) {
    push(&self->ready, it);
    return NULL;
  }
  self->yard->api->store_look(it.store, (void *)self->with->look, NULL, NULL);
  self->yard->boxes--;
  return addresses;
}

PyDoc_STRVAR(trim_doc, "trim(count, /)\n--\n\nLet the oldest that are ready be spent, *count* at most; how many.");

static PyObject *express_trim(PyObject *object, PyObject *number) {
  express *self = (express *)object;
  size_t count = PyLong_AsSize_t(number);
  if (count == (size_t)-1 && PyErr_Occurred()) return NULL;
  if (count > self->ready.count) count = self->ready.count;
  for (size_t at = 0; at < count; at++) spend(self->yard, pop_oldest(&self->ready));
  return PyLong_FromSize_t(count);
}

PyDoc_STRVAR(give_up_doc, "give_up()\n--\n\nAn answer cannot be read: carry no event for a while.");

static PyObject *express_give_up(PyObject *object, PyObject *Py_UNUSED(nothing)) {
  ((express *)object)->skip = FIRST_PENALTY;
  return Py_NewRef(Py_None);
}

PyDoc_STRVAR(close_doc, "close()\n--\n\nCarry nothing more, and let all that is ready be spent; whether nothing runs.");

static PyObject *express_close(PyObject *object, PyObject *Py_UNUSED(nothing)) {
  express *self = (express *)object;
  if (self->running) return Py_NewRef(Py_False);
  self->is_open = false;
  Py_CLEAR(self->wake); /* it knows the pool, which knows this */
  while (self->ready.count) spend(self->yard, pop_oldest(&self->ready));
  return Py_NewRef(Py_True);
}

PyDoc_STRVAR(seen_doc, "seen()\n--\n\nThe keeper has seen that there were events: the next one is to be noted again.");

static PyObject *express_seen(PyObject *object, PyObject *Py_UNUSED(nothing)) {
  ((express *)object)->is_noted = false;
  return Py_NewRef(Py_None);
}

static Py_ssize_t express_length(PyObject *object) { return (Py_ssize_t)((express *)object)->ready.count; }

static PyObject *express_counts(PyObject *object, void *Py_UNUSED(closure)) {
  const express *self = (const express *)object;
  return Py_BuildValue("(KKK)", (unsigned long long)self->running, (unsigned long long)self->warm_starts, (unsigned long long)self->cold_starts);
}

static PyMethodDef express_methods[] = {
  {"carry", (PyCFunction)(void (*)(void))express_carry, METH_FASTCALL, carry_doc},
  {"carry_and_tell", (PyCFunction)(void (*)(void))express_carry_and_tell, METH_FASTCALL, carry_and_tell_doc},
  {"fill", express_fill, METH_O, fill_doc},
  {"append", express_append, METH_VARARGS, append_doc},
  {"pop", express_pop, METH_NOARGS, pop_doc},
  {"trim", express_trim, METH_O, trim_doc},
  {"give_up", express_give_up, METH_NOARGS, give_up_doc},
  {"seen", express_seen, METH_NOARGS, seen_doc},
  {"close", express_close, METH_NOARGS, close_doc},
  {NULL, NULL, 0, NULL},
};

static PyGetSetDef express_getters[] = {
  {"counts", express_counts, NULL, "How many run, and how many were started warm and cold.", NULL},
  {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot express_slots[] = {
  {Py_tp_doc, "What is ready of one function, and the way of its events."},
  {Py_tp_new, (void *)express_new},
  {Py_tp_dealloc, (void *)express_free},
  {Py_tp_methods, express_methods},
  {Py_tp_getset, express_getters},
  {Py_sq_length, (void *)express_length},
  {0, NULL},
};

static PyType_Spec express_spec = {"wasmrun.machine.hotpath._crossings.Express", sizeof(express), 0, Py_TPFLAGS_DEFAULT, express_slots};

static int add_type(PyObject *module, PyType_Spec *spec) {
  PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
  if (type == NULL) return -1;
  int ended = PyModule_AddType(module, (PyTypeObject *)type);
  Py_DECREF(type);
  return ended;
}

int add_express(PyObject *module) {
  static bool is_counting;
  if (!is_counting) {
    if (pthread_atfork(NULL, NULL, count_fork)) {
      PyErr_NoMemory();
      return -1;
    }
    is_counting = true;
  }
  return add_type(module, &yard_spec) || add_type(module, &express_spec) ? -1 : 0;
}

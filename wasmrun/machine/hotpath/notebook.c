/* The notebook: what guests import that run in one crossing, where there is no instance of Python's that would have it.
 *
 * `wasmrun.log` does what `log` in wasmrun/machine/hostcalls.py does, and costs the guest the same fuel, as long as all goes
 * well. What does not ends the guest, as `env.abort` does, and its event is run again in Python then.
 *
 * Nothing of Python runs meanwhile, and nothing may: a signal handler or a finalizer would run there, could run a guest that
 * logs, and that would go into this notebook; and what it raises is lost in a callback of ctypes, with a result that is none.
 */
#include "crossings.h"

enum { CALL_FUEL = 1000, ENTRY_COST = 16 }; /* as wasmrun/machine/hostcalls.py and logbook.py have them */
enum { TRAP_INTERRUPT = 10, LEVELS = 5 };

static _Thread_local notebook *current;

void open_notebook(notebook *book) { current = book; }

/* Take COST of the guest's fuel; false where it has less. */
static bool charge(const notebook *book, uint64_t cost) {
  uint64_t left = 0;
  if (!book->is_metered) return true;
  void *error = book->api->get_fuel(book->context, &left);
  if (error == NULL && left >= cost) error = book->api->set_fuel(book->context, left - cost);
  if (error != NULL) book->api->error_delete(error);
  return error == NULL && left >= cost;
}

static bool keep(notebook *book, uint32_t level, const char *text, uint32_t length) {
  uint32_t head[] = {level, length};
  size_t wanted = book->used + sizeof head + length;
  if (!book->is_kept) return true;
  if (wanted > book->room) {
    char *larger = realloc(book->entries, wanted * 2);
    if (larger == NULL) return false;
    book->entries = larger;
    book->room = wanted * 2;
  }
  memcpy(book->entries + book->used, head, sizeof head);
  memcpy(book->entries + book->used + sizeof head, text, length);
  book->used = wanted;
  return true;
}

/* Python's own function, which takes the same arguments: where ENV points to is its address. */
typedef void *(*host_function)(void *env, void *caller, uint64_t *values, size_t count);

static void *take_log(void *env, void *caller, uint64_t *values, size_t count) {
  notebook *book = current;
  if (book == NULL) return (*(host_function *)env)(NULL, caller, values, count);
  uint32_t level = (uint32_t)values[0], pointer = (uint32_t)values[2], length = (uint32_t)values[4];
  bool fits = (uint64_t)length + ENTRY_COST <= book->left && charge(book, CALL_FUEL + (uint64_t)length) &&
              ((uint64_t)pointer + length <= book->known ||
               (uint64_t)pointer + length <= book->api->memory_size(book->context, book->record + MEMORY));
  if (!fits || !keep(book, level < LEVELS ? level : level < 1u << 31 ? LEVELS - 1 : 0, book->memory + pointer, length))
    return book->api->trap_new_code(TRAP_INTERRUPT);
  book->left -= length + ENTRY_COST;
  book->bytes += length;
  return NULL;
}

static void *take_abort(void *env, void *caller, uint64_t *values, size_t count) {
  if (current == NULL) return (*(host_function *)env)(NULL, caller, values, count);
  return current->api->trap_new_code(TRAP_INTERRUPT);
}

static int add_address(PyObject *module, const char *name, void *function) {
  PyObject *address = PyLong_FromVoidPtr(function);
  int ended = address == NULL ? -1 : PyModule_AddObjectRef(module, name, address);
  Py_XDECREF(address);
  return ended;
}

int add_notebook(PyObject *module) {
  return add_address(module, "LOG", (void *)take_log) || add_address(module, "ABORT", (void *)take_abort) ? -1 : 0;
}

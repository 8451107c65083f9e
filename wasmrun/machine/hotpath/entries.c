/* Entries: how the engine comes into Python, and gets an answer whatever happens there.
 *
 * Python runs handlers of signals where a function begins. A handler that raises there, or a stack that is used up, keeps a
 * callback from ever beginning, and ctypes then gives the engine no result: it takes for an error or a trap what lies in a
 * register. So ctypes calls this, which is no Python, and it gives a result for what has none. What was raised is kept until
 * the engine has come back.
 */
#include "crossings.h"

#include <errno.h>

enum { TRAP_INTERRUPT = 10 };

static _Thread_local PyObject *raised;

/* Keep the exception that is set, unless one is kept already. */
static void keep_raised(void) {
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  if (value != NULL && trace != NULL) PyException_SetTraceback(value, trace);
  Py_XDECREF(type);
  Py_XDECREF(trace);
  if (raised == NULL) raised = value;
  else Py_XDECREF(value);
}

/* SELF is the module, the function, and what its result is: "trap", "error", or "count". */
static PyObject *enter(PyObject *self, PyObject *args) {
  PyObject *function = PyTuple_GetItem(self, 1);
  PyObject *result = PyObject_Call(function, args, NULL);
  if (result != NULL) return result;
  long kind = PyLong_AsLong(PyTuple_GetItem(self, 2));
  if (kind == 'c') { /* bytes that were written: the guest is told, and goes on */
    PyErr_WriteUnraisable(function);
    return PyLong_FromLong(-EIO);
  }
  keep_raised();
  const engine_api *api = api_of(PyTuple_GetItem(self, 0));
  if (api == NULL) return NULL;
  return PyLong_FromVoidPtr(kind == 't' ? api->trap_new_code(TRAP_INTERRUPT) : api->error_new("stopped"));
}

static PyMethodDef enter_method = {"enter", enter, METH_VARARGS, "Calls the function that it was made for, and always has a result."};

PyDoc_STRVAR(entry_doc,
  "entry(function, kind, /)\n--\n\n"
  "*function* for ctypes to call back: where it raises, the result is a new trap (*kind* is \"trap\"), a new error (\"error\") or -EIO\n"
  "(\"count\"). But for the last, `take_raised` has the exception.");

static PyObject *entry(PyObject *module, PyObject *args) {
  PyObject *function;
  const char *kind;
  if (!PyArg_ParseTuple(args, "Os", &function, &kind)) return NULL;
  if (strcmp(kind, "trap") && strcmp(kind, "error") && strcmp(kind, "count"))
    return PyErr_Format(PyExc_ValueError, "there is no entry of the kind '%s'", kind);
  PyObject *self = Py_BuildValue("(OOi)", module, function, kind[0]);
  if (self == NULL) return NULL;
  PyObject *made = PyCFunction_NewEx(&enter_method, self, NULL);
  Py_DECREF(self);
  return made;
}

PyDoc_STRVAR(take_raised_doc, "take_raised()\n--\n\nWhat was raised in an entry on this thread, once; None where nothing was.");

static PyObject *take_raised(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(nothing)) {
  PyObject *taken = raised;
  raised = NULL;
  return taken == NULL ? Py_NewRef(Py_None) : taken;
}

PyDoc_STRVAR(put_raised_doc, "put_raised(error, /)\n--\n\nKeep what was raised on this thread, unless something is kept already.");

static PyObject *put_raised(PyObject *Py_UNUSED(module), PyObject *error) {
  if (raised == NULL) raised = Py_NewRef(error);
  return Py_NewRef(Py_None);
}

static PyMethodDef methods[] = {
  {"entry", entry, METH_VARARGS, entry_doc},
  {"put_raised", put_raised, METH_O, put_raised_doc},
  {"take_raised", take_raised, METH_NOARGS, take_raised_doc},
  {NULL, NULL, 0, NULL},
};

int add_entries(PyObject *module) { return PyModule_AddFunctions(module, methods); }

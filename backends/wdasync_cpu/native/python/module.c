/* The functions of the module. Operations are read, and completions made, by a few builtin functions, one call a burst. */
#include "module.h"

#include "completion.h"
#include "desk.h"
#include "forkgate.h"
#include "inline.h"
#include "line.h"
#include "port.h"

#define DEFINE(name) PyObject *name_##name;
ATTRIBUTES(DEFINE)
#undef DEFINE

PyObject *completion_type, *statuses[STATUSES], *kinds[KINDS], *describe;

/* configure(Completion, (Status, ...), (Nop, Compress, ...), describe) */
static PyObject *configure(PyObject *self, PyObject *args)
{
    PyObject *status_tuple, *kind_tuple;
    (void)self;
    if (!PyArg_ParseTuple(args, "OO!O!O", &completion_type, &PyTuple_Type, &status_tuple, &PyTuple_Type, &kind_tuple,
                          &describe))
        return NULL;
    if (PyTuple_Size(status_tuple) != STATUSES || PyTuple_Size(kind_tuple) != KINDS) {
        PyErr_SetString(PyExc_ValueError, "configure: the tables in C are of another version");
        return NULL;
    }
    Py_INCREF(completion_type);
    Py_INCREF(describe);
    for (int i = 0; i < STATUSES; i++) {
        statuses[i] = PyTuple_GetItem(status_tuple, i);
        Py_INCREF(statuses[i]);
    }
    for (int i = 0; i < KINDS; i++) {
        kinds[i] = PyTuple_GetItem(kind_tuple, i);
        Py_INCREF(kinds[i]);
    }
    Py_RETURN_NONE;
}

/* methods(desk, port or line) -> its builtin functions, bound to it, in the order of the table above */
static PyObject *methods(PyObject *self, PyObject *capsule)
{
    PyMethodDef *method = PyCapsule_IsValid(capsule, PORT) ? PORT_METHODS
                          : PyCapsule_IsValid(capsule, DESK) ? DESK_METHODS
                          : PyCapsule_IsValid(capsule, LINE) ? LINE_METHODS : NULL;
    (void)self;
    if (!method) {
        PyErr_SetString(PyExc_TypeError, "methods: expected a desk, a port or a line");
        return NULL;
    }
    PyObject *found = PyList_New(0);
    for (; found && method->ml_name; method++) {
        PyObject *function = PyCFunction_NewEx(method, capsule, NULL);
        if (!function || PyList_Append(found, function) < 0)
            Py_CLEAR(found);
        Py_XDECREF(function);
    }
    return found;
}

static PyMethodDef OWN_FUNCTIONS[] = {
    {"configure", configure, METH_VARARGS, NULL},
    {"methods", methods, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef *const FUNCTIONS[] = {OWN_FUNCTIONS,  DESK_FUNCTIONS,  PORT_FUNCTIONS, HAND_FUNCTIONS,
                                         LINE_FUNCTIONS, STATE_FUNCTIONS, TINY_FUNCTIONS, TRIAL_FUNCTIONS};

static bool intern_names(void)
{
    bool good = true;
#define INTERN(name) good = good && (name_##name = PyUnicode_InternFromString(#name));
    ATTRIBUTES(INTERN)
#undef INTERN
    return good;
}

static bool add_functions(PyObject *module, PyMethodDef *method)
{
    bool good = true;
    for (; good && method->ml_name; method++) {
        PyObject *function = PyCFunction_NewEx(method, NULL, NULL);
        good = function && !PyObject_SetAttrString(module, method->ml_name, function);
        Py_XDECREF(function);
    }
    return good;
}

/* cffi knows no Python objects. So this puts the functions above into the module that cffi made, by name. */
int install(const char *module_name)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *module = PyImport_ImportModule(module_name);
    bool good = module && intern_names() && kits_init() && gate_watch_forks();
    completions_init();
    for (size_t i = 0; good && i < sizeof FUNCTIONS / sizeof *FUNCTIONS; i++)
        good = add_functions(module, FUNCTIONS[i]);
    Py_XDECREF(module);
    PyErr_Clear();
    PyGILState_Release(state);
    return good;
}

/* Plans, and the desks that know which of them an operation has. */
#include "desk.h"

#include <stdlib.h>

const char DESK[] = "wdasync_cpu.desk";

struct plan *plans[MAX_PLANS];
Py_ssize_t plan_count;

struct plan nop_plan = {.kind = KIND_NOP, .otherwise = -1};
struct plan chain_plan = {.kind = KIND_SEQUENCE, .engine = ENGINE_CHAIN, .otherwise = -1};

/* add_plan(kind, format, engine, level, window, whether it is another level, nanoseconds, nanoseconds for each KiB, number of
   another plan for what this one cannot do) -> its number */
static PyObject *add_plan(PyObject *self, PyObject *args)
{
    int kind, format, engine, level, window, mapped, otherwise;
    unsigned long long fixed_ns, ns_per_kib;
    (void)self;
    if (!PyArg_ParseTuple(args, "iiiiipKKi", &kind, &format, &engine, &level, &window, &mapped, &fixed_ns, &ns_per_kib, &otherwise))
        return NULL;
    struct plan *plan = plan_count < MAX_PLANS ? malloc(sizeof *plan) : NULL;
    if (!plan)
        return PyErr_NoMemory();
    *plan = (struct plan){(uint8_t)kind, (uint8_t)format, (uint8_t)engine, (int8_t)level, (uint8_t)window,
                          mapped != 0, fixed_ns, ns_per_kib, otherwise, 0};
    plans[plan_count] = plan;
    return PyLong_FromSsize_t(plan_count++);
}

Py_ssize_t plan_number(const struct plan *plan)
{
    Py_ssize_t number = 0;
    while (plans[number] != plan)
        number++;
    return number;
}

bool is_for_threads(const struct request *request)
{
    return request->plan->engine == ENGINE_PYTHON || request->plan->engine == ENGINE_SIGN;
}

enum read_result find_plan(struct desk *desk, struct pin *pin, struct request *request, PyObject *operation,
                                  PyObject *table, PyObject *key)
{
    PyObject *number = key ? PyDict_GetItemWithError(table, key) : NULL;
    Py_XINCREF(number);
    Py_XDECREF(key);
    if (!number) {
        PyErr_Clear(); /* an unhashable key: the answer will say what is wrong with it */
        number = PyObject_CallFunctionObjArgs(desk->resolve, operation, NULL);
        if (!number)
            return READ_RAISED;
    }
    if (!PyLong_Check(number)) {
        pin->detail = number;
        request->status = STATUS_INVALID_ARGS;
        return READ_DONE;
    }
    request->plan = plans[PyLong_AsSsize_t(number)];
    Py_DECREF(number);
    return READ_SUBMIT;
}

static void desk_gone(PyObject *capsule)
{
    struct desk *desk = PyCapsule_GetPointer(capsule, DESK);
    Py_XDECREF(desk->compress);
    Py_XDECREF(desk->decompress);
    Py_XDECREF(desk->others);
    Py_XDECREF(desk->resolve);
    Py_XDECREF(desk->helpers);
    Py_XDECREF(desk->run);
    Py_XDECREF(desk->line);
    free(desk);
}

/* open_desk(compress, decompress, others, resolve, helpers, run, line, paged workers) -> desk */
static PyObject *open_desk(PyObject *self, PyObject *args)
{
    struct desk *desk = calloc(1, sizeof *desk);
    (void)self;
    if (!desk)
        return PyErr_NoMemory();
    if (!PyArg_ParseTuple(args, "OOOOOOOI", &desk->compress, &desk->decompress, &desk->others, &desk->resolve, &desk->helpers,
                          &desk->run, &desk->line, &desk->paged_workers)) {
        free(desk);
        return NULL;
    }
    Py_INCREF(desk->compress);
    Py_INCREF(desk->decompress);
    Py_INCREF(desk->others);
    Py_INCREF(desk->resolve);
    Py_INCREF(desk->helpers);
    Py_INCREF(desk->run);
    Py_INCREF(desk->line);
    desk->capsule = PyCapsule_New(desk, DESK, desk_gone);
    return desk->capsule;
}

PyMethodDef DESK_FUNCTIONS[] = {
    {"add_plan", add_plan, METH_VARARGS, NULL},
    {"open_desk", open_desk, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

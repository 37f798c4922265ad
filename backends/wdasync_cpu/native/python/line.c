/* Page faults, as Python sees them. */
#include "line.h"

const char LINE[] = "wdasync_cpu.line";

static void line_gone(PyObject *capsule)
{
    line_free(PyCapsule_GetPointer(capsule, LINE));
}

/* open_line() -> line, descriptor */
static PyObject *open_line(PyObject *self, PyObject *nothing)
{
    (void)self, (void)nothing;
    struct fault_line *line = line_open();
    if (!line)
        return PyErr_SetFromErrno(PyExc_OSError);
    PyObject *capsule = PyCapsule_New(line, LINE, line_gone);
    return capsule ? Py_BuildValue("Ni", capsule, line->descriptor) : NULL;
}

static void hold_paged(void *paged)
{
    Py_INCREF((PyObject *)paged);
}

/* next() -> (number of the region, PagedBuffer, offset of the page in bytes), or None: none waits */
static PyObject *next_touch(PyObject *self, PyObject *nothing)
{
    struct touch touch;
    (void)nothing;
    if (!line_next(PyCapsule_GetPointer(self, LINE), &touch, hold_paged))
        Py_RETURN_NONE;
    return Py_BuildValue("KNn", (unsigned long long)touch.number, (PyObject *)touch.owner, (Py_ssize_t)touch.offset);
}

/* supply(number, offset, length, asked) -> whether the region is still there */
static PyObject *supply(PyObject *self, PyObject *args)
{
    unsigned long long number;
    Py_ssize_t offset, length;
    int asked;
    (void)self;
    if (!PyArg_ParseTuple(args, "Knnp", &number, &offset, &length, &asked))
        return NULL;
    return PyBool_FromLong(region_supply(number, (size_t)offset, (size_t)length, asked));
}

/* refuse(number, why) -> whether the region is still there */
static PyObject *refuse_page(PyObject *self, PyObject *args)
{
    unsigned long long number;
    PyObject *why;
    (void)self;
    if (!PyArg_ParseTuple(args, "KU", &number, &why))
        return NULL;
    Py_INCREF(why);
    bool there = region_refuse(number, STATUS_PAGE_FAULT, why);
    if (!there)
        Py_DECREF(why);
    return PyBool_FromLong(there);
}

static PyObject *close_line(PyObject *self, PyObject *nothing)
{
    (void)nothing;
    line_close(PyCapsule_GetPointer(self, LINE));
    Py_RETURN_NONE;
}

PyMethodDef LINE_METHODS[] = {
    {"next", next_touch, METH_NOARGS, NULL},
    {"supply", supply, METH_VARARGS, NULL},
    {"refuse", refuse_page, METH_VARARGS, NULL},
    {"close", close_line, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyMethodDef LINE_FUNCTIONS[] = {
    {"open_line", open_line, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* The memory of an operation: an input in one piece, in pieces or in pages, and an output that is its caller's or is made here. */
#include "buffers.h"

#include <stdlib.h>

#include "desk.h"
#include "reading.h"

/* Of less than this a copy costs nothing. */
enum { OFFER_LEAST = 4096 };

static bool take_view(struct pin *pin, PyObject *from, int flags, struct segment *segment)
{
    Py_buffer *view = &pin->views[pin->view_count];
    if (PyObject_GetBuffer(from, view, flags) < 0)
        return false;
    pin->view_count++;
    segment->data = view->buf;
    segment->size = (size_t)view->len;
    return true;
}

static bool take_segment(struct pin *pin, PyObject *item, struct segment *segment)
{
    if (!PyBytes_CheckExact(item))
        return take_view(pin, item, PyBUF_SIMPLE, segment);
    segment->data = (const uint8_t *)PyBytes_AsString(item);
    segment->size = (size_t)PyBytes_Size(item);
    return true;
}

static bool read_segments(struct pin *pin, struct request *request, PyObject *source, bool into)
{
    Py_ssize_t count = PyTuple_Size(source);
    if (count > 1) {
        pin->segments = calloc((size_t)count, sizeof *pin->segments);
        pin->views = calloc((size_t)count + into, sizeof *pin->views);
        if (!pin->segments || !pin->views) {
            PyErr_NoMemory();
            return false;
        }
    }
    for (Py_ssize_t i = 0; i < count; i++)
        if (!take_segment(pin, PyTuple_GetItem(source, i), &pin->segments[i]))
            return false;
    request->count = (uint32_t)count;
    return true;
}

bool is_complete(PyObject *paged)
{
    PyObject *complete = PyObject_GetAttr(paged, name_is_complete);
    bool found = complete && PyObject_IsTrue(complete) > 0;
    Py_XDECREF(complete);
    return found;
}

/* The memory of an input in pages. If a codec cannot read it as it is, the pin remembers the input. */
static bool read_pages(struct pin *pin, const struct request *request, PyObject *paged, struct segment *segment)
{
    uint64_t length;
    PyObject *memory = PyObject_GetAttr(paged, name_memory);
    bool complete = memory && is_complete(paged);
    bool good = memory && !PyErr_Occurred() && take_view(pin, memory, PyBUF_SIMPLE, segment)
                && read_number(paged, name_length, &length);
    Py_XDECREF(memory);
    if (good) {
        segment->size = (size_t)length;
        if (!complete || request->plan->engine == ENGINE_PYTHON) {
            Py_INCREF(paged);
            pin->paged = paged;
        }
    }
    return good;
}

/* An input of no bytes may be one in pages. */
static bool take_source(struct pin *pin, const struct request *request, PyObject *operation, PyObject *source)
{
    if (!PyBytes_CheckExact(source) || PyBytes_Size(source))
        return take_segment(pin, source, pin->segments);
    *pin->segments = (struct segment){(const uint8_t *)PyBytes_AsString(source), 0};
    PyObject *paged = PyObject_GetAttr(operation, name_paged);
    bool good = paged && (paged == Py_None || read_pages(pin, request, paged, pin->segments));
    Py_XDECREF(paged);
    return good;
}

/* Two inputs: the segments of the second follow those of the first. */
static bool read_both(struct pin *pin, struct request *request, PyObject *operation, PyObject *source)
{
    PyObject *other = PyObject_GetAttr(operation, name_other);
    PyObject *first = PyTuple_CheckExact(source) ? PySequence_Tuple(source) : PyTuple_Pack(1, source);
    PyObject *second = !other ? NULL : PyTuple_CheckExact(other) ? PySequence_Tuple(other) : PyTuple_Pack(1, other);
    PyObject *both = first && second ? PySequence_Concat(first, second) : NULL;
    bool good = both && read_segments(pin, request, both, false);
    if (good) {
        request->others = (uint32_t)PyTuple_Size(second);
        request->count -= request->others;
    }
    Py_XDECREF(both);
    Py_XDECREF(second);
    Py_XDECREF(first);
    Py_XDECREF(other);
    return good;
}

bool read_buffers(struct pin *pin, struct request *request, PyObject *operation)
{
    static uint8_t nowhere[1];
    bool good;
    PyObject *destination = PyObject_GetAttr(operation, name_destination);
    PyObject *source = destination ? PyObject_GetAttr(operation, name_source) : NULL;
    if (!source) {
        Py_XDECREF(destination);
        return false;
    }
    request->into = destination != Py_None;
    pin->views = pin->few_views;
    pin->segments = &pin->one_segment;
    if (request->kind == KIND_COMPARE) {
        good = read_both(pin, request, operation, source);
    } else if (PyTuple_CheckExact(source)) {
        good = read_segments(pin, request, source, request->into);
    } else {
        good = take_source(pin, request, operation, source);
        request->count = 1;
    }
    request->segments = pin->segments;
    request->out = NULL;
    if (good && request->into) {
        struct segment output = {NULL, 0};
        good = take_view(pin, destination, PyBUF_WRITABLE, &output);
        request->out = output.size ? (uint8_t *)(uintptr_t)output.data : nowhere;
        request->room = output.size;
    }
    Py_DECREF(destination);
    Py_DECREF(source);
    return good;
}

void make_offer(struct pin *pin, struct request *request)
{
    if (request->into || pin->paged || is_for_threads(request))
        return;
    size_t size = foretold_output(request, !pin->view_count); /* bytes stay; other memory may go away */
    if (size < OFFER_LEAST || size > COPY_LIMIT)
        return;
    if (!(pin->offered = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size))) {
        PyErr_Clear();
        return;
    }
    request->offer = (uint8_t *)PyBytes_AsString(pin->offered);
    request->offered = size;
}

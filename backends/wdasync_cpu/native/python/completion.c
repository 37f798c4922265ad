/* A request that is done becomes a Completion. */
#include "completion.h"

#include <string.h>

#include "recipe.h"
#include "ring.h"

enum { NO_STEP = -1 };

static PyObject *details[CREWS + 1][MAX_WORKERS][2]; /* of success; the last crew is "inline" */
static newfunc new_tuple;

void completions_init(void)
{
    new_tuple = (newfunc)PyType_GetSlot(&PyTuple_Type, Py_tp_new);
}

/* What was said when a page was refused, or what the C side says; that may end in the middle of a character. */
static PyObject *message_of(const struct request *request)
{
    PyObject *reason = request->region && request->status == request->region->status ? request->region->reason : NULL;
    Py_XINCREF(reason);
    return reason ? reason : PyUnicode_DecodeUTF8(request->message, (Py_ssize_t)strlen(request->message), "replace");
}

/* Of a sequence that failed by one of its steps, the step's number. */
static int failed_step(const struct request *request)
{
    const struct chain *chain = request->chain;
    return chain && chain->done < chain->count && request->status != STATUS_ABORTED ? (int)chain->done : NO_STEP;
}

static PyObject *detail_of(const struct request *request, const struct pin *pin)
{
    bool final = request->final || pin->final;
    int crew = request->crew;
    if (pin->detail) {
        Py_INCREF(pin->detail);
        return pin->detail;
    }
    PyObject **kept = &details[crew][request->worker % MAX_WORKERS][final];
    if (request->status != STATUS_SUCCESS || request->faults) /* message, cause, crew, worker, final, faults, step */
        return PyObject_CallFunction(describe, "NiiiiIi", message_of(request), request->cause, crew, request->worker,
                                     final, request->faults, failed_step(request));
    if (!*kept && !(*kept = PyObject_CallFunction(describe, "siiiiIi", "", 0, crew, request->worker, final, 0, NO_STEP)))
        return NULL;
    Py_INCREF(*kept);
    return *kept;
}

static PyObject *output_of(struct request *request, struct pin *pin)
{
    PyObject *output = is_direct(request) ? pin->offered : pin->output;
    if (request->status != STATUS_SUCCESS || request->into || request->plan->kind == KIND_NOP) {
        Py_INCREF(Py_None);
        return Py_None;
    }
    if (!output)
        return PyBytes_FromStringAndSize((const char *)request->out, (Py_ssize_t)request->produced);
    Py_INCREF(output); /* the pin has it until the completion is there */
    return output;
}

/* Puts what the steps of a sequence have found where it is looked for. False: no memory. */
static bool tell_seen(const struct links *links)
{
    for (uint32_t i = 0; links && i < links->chain.done; i++) {
        const struct request *step = &links->chain.steps[i];
        if (!only_looks(step))
            continue;
        PyObject *found = PyBytes_FromStringAndSize((const char *)step->out, (Py_ssize_t)step->produced);
        if (!found || PyList_SetItem(links->seen, (Py_ssize_t)i, found) < 0)
            return false;
    }
    return true;
}

PyObject *make_completion(PyObject *tag, struct request *request, struct pin *pin)
{
    PyObject *output = tell_seen(pin->links) ? output_of(request, pin) : NULL;
    if (!output) {
        PyErr_Clear();
        fail_memory(request, request->produced);
        Py_INCREF(Py_None);
        output = Py_None;
    }
    PyObject *detail = detail_of(request, pin);
    PyObject *consumed = PyLong_FromSize_t(request->consumed), *produced = PyLong_FromSize_t(request->produced);
    PyObject *result = NULL;
    if (detail && consumed && produced) {
        PyObject *fields = PyTuple_Pack(6, tag, statuses[request->status], output, consumed, produced, detail);
        PyObject *args = fields ? PyTuple_Pack(1, fields) : NULL;
        result = args ? new_tuple((PyTypeObject *)completion_type, args, NULL) : NULL;
        Py_XDECREF(args);
        Py_XDECREF(fields);
    }
    Py_XDECREF(output);
    Py_XDECREF(detail);
    Py_XDECREF(consumed);
    Py_XDECREF(produced);
    return result;
}

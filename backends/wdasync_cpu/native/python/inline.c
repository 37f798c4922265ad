/* Work in the caller's thread: what it would cost, and the work. */
#include "inline.h"

#include <pthread.h>

#include "buffers.h"
#include "completion.h"
#include "hand.h"
#include "reading.h"

/* Without the GIL from this input size on; below, giving it up costs more than it gives. */
enum { INLINE_WITH_GIL = 4096 };

/* Output of a decompression that may be made on the caller's thread at worst: about 0.3 ms, if somebody sends a bomb. */
enum { INLINE_OUTPUT = 1 << 20, MOST_EXPANSION = 1032 };

/* The codec state of a thread that runs operations itself, until that thread ends. */
static _Thread_local struct kit *inline_kit;
static pthread_key_t inline_kits;

static bool may_be_large(const struct request *request, uint64_t size)
{
    return request->plan->kind == KIND_DECOMPRESS && request->max_length > INLINE_OUTPUT
           && (request->plan->format >= FORMAT_BROTLI || size > INLINE_OUTPUT / MOST_EXPANSION);
}

/* What the cost of an operation depends on: bytes of its input, or of its output if it has no input. */
static bool read_size(PyObject *operation, int kind, uint64_t *size)
{
    if (kind != KIND_FILL)
        return read_number(operation, name_nbytes, size);
    PyObject *destination = PyObject_GetAttr(operation, name_destination);
    Py_ssize_t length = destination ? PyObject_Size(destination) : -1;
    Py_XDECREF(destination);
    *size = length < 0 ? UINT64_MAX : (uint64_t)length;
    return length >= 0;
}

/* cost(operation) -> nanoseconds. Nothing that is measured, and no stream, runs inline. */
static PyObject *inline_cost(PyObject *self, PyObject *operation)
{
    struct desk *desk = PyCapsule_GetPointer(self, DESK);
    struct request request = {.worker = 0};
    struct pin pin = {.view_count = 0};
    uint64_t size = 0, cost = UINT32_MAX;
    enum read_result result = READ_DONE;
    int kind = KIND_NOP;
    if ((PyObject *)Py_TYPE(operation) == kinds[KIND_COMPRESS])
        result = read_compress(desk, &pin, &request, operation);
    else if ((PyObject *)Py_TYPE(operation) == kinds[KIND_DECOMPRESS])
        result = read_decompress(desk, &pin, &request, operation);
    else if ((kind = kind_of(operation)) >= KIND_COPY && kind < KINDS && kind != KIND_DIGEST_CHUNK)
        result = read_other(desk, &pin, &request, operation, kind);
    Py_CLEAR(pin.detail);
    Py_CLEAR(pin.dictionary);
    if (result == READ_SUBMIT && read_size(operation, kind, &size) && size < UINT32_MAX
        && !may_be_large(&request, size))
        cost = request.plan->fixed_ns + size * request.plan->ns_per_kib / 1024;
    PyErr_Clear();
    return PyLong_FromUnsignedLongLong(cost);
}

static void inline_kit_gone(void *kit)
{
    kit_free(kit);
}

struct kit *own_kit(void)
{
    if (!inline_kit && (inline_kit = kit_new()))
        pthread_setspecific(inline_kits, inline_kit);
    return inline_kit;
}

static void run_inline_plan(struct desk *desk, struct request *request, struct pin *pin, PyObject *operation)
{
    if (request->plan->engine == ENGINE_SIGN)
        request->plan = plans[request->plan->otherwise];
    if (request->plan->engine == ENGINE_PYTHON) {
        PyObject *outcome = PyObject_CallFunction(desk->run, "OnO", operation, plan_number(request->plan), Py_None);
        if (!outcome || !finish_by_python(request, pin, outcome))
            put_exception(request);
        Py_XDECREF(outcome);
        return;
    }
    if (!own_kit()) {
        fail_memory(request, sizeof *inline_kit);
        return;
    }
    size_t size = 0;
    for (uint32_t i = 0; i < request->count; i++)
        size += request->segments[i].size;
    if (size < INLINE_WITH_GIL) {
        run_request(inline_kit, request);
    } else {
        struct kit *kit = inline_kit;
        PyThreadState *state = PyEval_SaveThread();
        run_request(kit, request);
        PyEval_RestoreThread(state);
    }
}

/* run(operation) -> Completion */
static PyObject *inline_run(PyObject *self, PyObject *operation)
{
    struct desk *desk = PyCapsule_GetPointer(self, DESK);
    struct request request = {.worker = 0, .crew = CREWS};
    struct pin pin = {.view_count = 0};
    enum read_result result = read_operation(desk, &pin, &request, operation);
    if (result == READ_SUBMIT && pin.paged)
        result = refuse_pages(&request);
    if (result == READ_RAISED) {
        put_exception(&request);
    } else if (result == READ_SUBMIT) {
        make_offer(&pin, &request);
        run_inline_plan(desk, &request, &pin, operation);
    }
    PyObject *tag = PyLong_FromLong(0);
    PyObject *completion = tag ? make_completion(tag, &request, &pin) : NULL;
    Py_XDECREF(tag);
    drop_output(&request);
    unpin(&pin);
    return completion;
}

bool kits_init(void)
{
    return !pthread_key_create(&inline_kits, inline_kit_gone);
}

PyMethodDef DESK_METHODS[] = {
    {"cost", inline_cost, METH_O, NULL},
    {"run", inline_run, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

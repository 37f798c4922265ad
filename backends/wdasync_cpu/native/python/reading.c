/* An operation of Python becomes a request: its plan, and what the C side wants to know of it. */
#include "reading.h"

#include <string.h>

#include "buffers.h"
#include "recipe.h"
#include "secrets.h"
#include "state.h"

bool read_number(PyObject *operation, PyObject *name, uint64_t *value)
{
    PyObject *object = PyObject_GetAttr(operation, name);
    if (!object)
        return false;
    *value = PyLong_AsUnsignedLongLong(object);
    Py_DECREF(object);
    if (*value == UINT64_MAX && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError))
            return false;
        PyErr_Clear();
    }
    return true;
}

/* What both sides know before, if there is something. */
static bool read_dictionary(struct pin *pin, struct request *request, PyObject *operation)
{
    PyObject *dictionary = PyObject_GetAttr(operation, name_dictionary);
    request->dictionary.data = NULL;
    request->dictionary.size = 0;
    if (!dictionary || dictionary == Py_None) {
        Py_XDECREF(dictionary);
        return dictionary;
    }
    PyObject *content = pin->dictionary = PyObject_GetAttr(dictionary, name_content);
    PyObject *raw = content ? PyObject_GetAttr(dictionary, name_raw) : NULL;
    int is_raw = raw ? PyObject_IsTrue(raw) : -1;
    Py_XDECREF(raw);
    Py_DECREF(dictionary);
    if (is_raw < 0)
        return false;
    if (!PyBytes_Check(content)) {
        PyErr_SetString(PyExc_TypeError, "dictionary: expected its content to be bytes");
        return false;
    }
    request->dictionary.data = (const uint8_t *)PyBytes_AsString(content);
    request->dictionary.size = (size_t)PyBytes_Size(content);
    request->dictionary.raw = is_raw;
    return true;
}

enum read_result read_compress(struct desk *desk, struct pin *pin, struct request *request,
                                      PyObject *operation)
{
    PyObject *algorithm = PyObject_GetAttr(operation, name_algorithm);
    PyObject *level = algorithm ? PyObject_GetAttr(operation, name_level) : NULL;
    PyObject *window = level ? PyObject_GetAttr(operation, name_window) : NULL;
    PyObject *key = NULL;
    if (window && read_dictionary(pin, request, operation))
        key = request->dictionary.data ? PyTuple_Pack(4, algorithm, level, window, Py_True)
                                       : PyTuple_Pack(3, algorithm, level, window);
    Py_XDECREF(algorithm);
    Py_XDECREF(level);
    Py_XDECREF(window);
    return key ? find_plan(desk, pin, request, operation, desk->compress, key) : READ_RAISED;
}

enum read_result read_decompress(struct desk *desk, struct pin *pin, struct request *request,
                                        PyObject *operation)
{
    uint64_t members;
    PyObject *algorithm;
    if (!read_number(operation, name_max_length, &request->max_length)
        || !read_number(operation, name_max_members, &members)
        || !read_dictionary(pin, request, operation) || !(algorithm = PyObject_GetAttr(operation, name_algorithm)))
        return READ_RAISED;
    request->max_members = members < UINT32_MAX ? (uint32_t)members : UINT32_MAX;
    if (request->dictionary.data) {
        PyObject *key = PyTuple_Pack(2, algorithm, Py_True);
        Py_DECREF(algorithm);
        if (!(algorithm = key))
            return READ_RAISED;
    }
    return find_plan(desk, pin, request, operation, desk->decompress, algorithm);
}

enum read_result read_other(struct desk *desk, struct pin *pin, struct request *request, PyObject *operation, int kind)
{
    PyObject *algorithm = PyObject_GetAttr(operation, name_algorithm);
    PyObject *key = algorithm ? PyTuple_Pack(2, kinds[kind], algorithm) : NULL;
    Py_XDECREF(algorithm);
    if (!key)
        return READ_RAISED;
    enum read_result result = find_plan(desk, pin, request, operation, desk->others, key);
    if (result != READ_SUBMIT || (kind != KIND_FILL && kind != KIND_CHECKSUM))
        return result;
    PyObject *number = PyObject_GetAttr(operation, kind == KIND_FILL ? name_value : name_initial);
    if (!number)
        return READ_RAISED;
    request->value = number != Py_None ? (uint32_t)PyLong_AsUnsignedLong(number) : request->plan->format == CHECKSUM_ADLER32;
    Py_DECREF(number);
    return PyErr_Occurred() ? READ_RAISED : READ_SUBMIT;
}

static enum read_result read_chunk(struct desk *desk, struct pin *pin, struct request *request, PyObject *operation, int kind)
{
    uint64_t flush = 0;
    PyObject *session = PyObject_GetAttr(operation, name_session);
    PyObject *state = session ? PyObject_GetAttr(session, name_state) : NULL;
    Py_XDECREF(session);
    if (!state)
        return READ_RAISED;
    request->session = PyCapsule_GetPointer(state, SESSION);
    Py_DECREF(state); /* the operation holds its session */
    if (!request->session)
        return READ_RAISED;
    request->plan = session_plan(request->session);
    if (session_owner(request->session) != desk)
        fail(request, STATUS_INVALID_ARGS, CAUSE_NONE, "the stream was opened on another device");
    else if (request->plan->kind != kind)
        fail(request, STATUS_INVALID_ARGS, CAUSE_NONE, "the stream goes the other way");
    else if (session_closed(request->session))
        fail(request, STATUS_INVALID_STATE, CAUSE_NONE, "the stream is closed");
    else if (*session_busy(request->session))
        fail(request, STATUS_INVALID_STATE, CAUSE_NONE, "another step of this stream is under way");
    if (request->status != STATUS_SUCCESS)
        return READ_DONE;
    if (kind != KIND_DIGEST_CHUNK
        && (kind == KIND_COMPRESS_CHUNK ? !read_number(operation, name_flush, &flush)
                                        : !read_number(operation, name_max_length, &request->max_length)))
        return READ_RAISED;
    request->flush = flush <= FLUSH_FINISH ? (uint8_t)flush : FLUSH_NONE;
    pin->busy = session_busy(request->session);
    *pin->busy = true;
    return READ_SUBMIT;
}

int kind_of(PyObject *operation)
{
    for (int kind = 0; kind < KINDS; kind++)
        if ((PyObject *)Py_TYPE(operation) == kinds[kind])
            return kind;
    for (int kind = 0; kind < KINDS; kind++)
        if (PyObject_IsInstance(operation, kinds[kind]) > 0)
            return kind;
    PyErr_Clear();
    return KINDS;
}

enum read_result read_arguments(struct desk *desk, struct pin *pin, struct request *request, PyObject *operation)
{
    int kind = kind_of(operation);
    request->kind = (uint8_t)kind;
    request->count = request->others = 0;
    request->into = false;
    request->session = NULL;
    request->chain = NULL;
    request->dictionary.data = NULL;
    request->dictionary.size = 0;
    request->region = NULL;
    request->faults = 0;
    request->status = STATUS_SUCCESS;
    request->cause = CAUSE_NONE;
    request->produced = request->consumed = 0;
    request->final = request->batched = false;
    request->out = request->offer = NULL;
    request->message[0] = 0;
    switch (kind) {
    case KIND_NOP:
        request->plan = &nop_plan;
        return READ_SUBMIT;
    case KIND_COMPRESS:
        return read_compress(desk, pin, request, operation);
    case KIND_DECOMPRESS:
        return read_decompress(desk, pin, request, operation);
    case KIND_COMPRESS_CHUNK:
    case KIND_DECOMPRESS_CHUNK:
    case KIND_DIGEST_CHUNK:
        return read_chunk(desk, pin, request, operation, kind);
    default:
        if (kind < KINDS)
            return read_other(desk, pin, request, operation, kind);
        fail(request, STATUS_INVALID_ARGS, CAUSE_NONE, "not an operation that this backend knows");
        return READ_DONE;
    }
}

enum read_result read_operation(struct desk *desk, struct pin *pin, struct request *request, PyObject *operation)
{
    enum read_result result = read_arguments(desk, pin, request, operation);
    if (result != READ_SUBMIT || request->kind == KIND_NOP)
        return result;
    if (request->plan->engine == ENGINE_SEAL)
        read_sealing(pin, request, operation);
    if (request->plan->engine == ENGINE_SIGN)
        read_signing(pin, request, operation);
    if (!read_buffers(pin, request, operation))
        return READ_RAISED;
    if (request->kind == KIND_SEQUENCE)
        read_sequence(desk, pin, request, operation);
    return READ_SUBMIT;
}

enum read_result refuse_pages(struct request *request)
{
    fail(request, STATUS_INVALID_ARGS, CAUSE_NONE, "pages of the input are absent, and cannot be fetched here: fetch all of them before");
    return READ_DONE;
}

void put_exception(struct request *request)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *text = value ? PyObject_Str(value) : NULL;
    PyObject *encoded = text ? PyUnicode_AsUTF8String(text) : NULL;
    const char *words = encoded ? PyBytes_AsString(encoded) : "the operation cannot be read";
    bool memory = type && PyErr_GivenExceptionMatches(type, PyExc_MemoryError);
    fail(request, memory ? STATUS_DEVICE_ERROR : STATUS_INVALID_ARGS, CAUSE_NONE, "%s",
         memory && !*words ? "out of memory" : words);
    Py_XDECREF(encoded);
    Py_XDECREF(text);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    PyErr_Clear();
}

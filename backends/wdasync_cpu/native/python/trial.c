/* Codecs and ciphers here and now, for whoever has to know what they answer, how long they take, or what is wrong with a unit. */
#include "module.h"

#include <stdlib.h>
#include <time.h>

#include "secrets.h"

enum { TRIED_SEGMENTS = 4 };

/* crc32c(value, data, plainly) -> value: for tests, of the way that this processor would not take, too */
static PyObject *crc32c(PyObject *self, PyObject *args)
{
    unsigned value;
    Py_buffer data;
    int plainly;
    (void)self;
    if (!PyArg_ParseTuple(args, "Iy*p", &value, &data, &plainly))
        return NULL;
    value = check_crc32c(value, data.buf, (size_t)data.len, plainly);
    PyBuffer_Release(&data);
    return PyLong_FromUnsignedLong(value);
}

/* Fills requests for digests, whose inputs are all the items of a tuple of bytes. */
static void fill_digests(struct request *requests, struct segment *segments, const struct plan *plan, PyObject *inputs)
{
    for (Py_ssize_t i = 0; i < PyTuple_Size(inputs); i++) {
        PyObject *input = PyTuple_GetItem(inputs, i);
        segments[i] = (struct segment){(const uint8_t *)PyBytes_AsString(input), (size_t)PyBytes_Size(input)};
        requests[i] = (struct request){.plan = plan, .kind = KIND_DIGEST, .segments = &segments[i], .count = 1};
    }
}

/* Their outputs; None for what was not done as it was to be. */
static PyObject *digests_of(struct request *requests, Py_ssize_t count, bool together)
{
    PyObject *outputs = PyTuple_New(count);
    for (Py_ssize_t i = 0; i < count; i++) {
        bool good = requests[i].status == STATUS_SUCCESS && requests[i].batched == together;
        PyObject *output = outputs && good ? PyBytes_FromStringAndSize((const char *)requests[i].out, (Py_ssize_t)requests[i].produced) : NULL;
        free(requests[i].out);
        if (outputs && !output) {
            PyErr_Clear();
            Py_INCREF(Py_None);
            output = Py_None;
        }
        if (outputs)
            PyTuple_SetItem(outputs, i, output);
    }
    return outputs;
}

/* try_digests(digest, (bytes, ...), together, rounds) -> (outputs, nanoseconds of the shortest round): by the one way or the
   other, here and now. No more than BATCH_MOST, and together none that is longer than BATCH_LONGEST. */
static PyObject *try_digests(PyObject *self, PyObject *args)
{
    struct request requests[BATCH_MOST], *all[BATCH_MOST];
    struct segment segments[BATCH_MOST];
    struct timespec begun, ended;
    struct kit *kit;
    struct plan plan = {.kind = KIND_DIGEST, .engine = ENGINE_DIGEST};
    int digest, together, rounds;
    long long shortest = -1;
    PyObject *inputs, *outputs = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "iO!pi", &digest, &PyTuple_Type, &inputs, &together, &rounds))
        return NULL;
    Py_ssize_t count = PyTuple_Size(inputs);
    if (digest < 0 || digest >= DIGESTS || count > BATCH_MOST || !(kit = kit_new())) {
        PyErr_SetString(PyExc_ValueError, "try_digests: no such digest, or too many inputs");
        return NULL;
    }
    plan.format = (uint8_t)digest;
    for (int round = 0; round < rounds; round++) {
        Py_XDECREF(outputs);
        fill_digests(requests, segments, &plan, inputs);
        clock_gettime(CLOCK_MONOTONIC, &begun);
        for (Py_ssize_t i = 0; i < count; i++) {
            all[i] = &requests[i];
            if (!together)
                run_request(kit, all[i]);
        }
        if (together && can_batch((enum digest)digest))
            digest_together(kit, all, (unsigned)count);
        clock_gettime(CLOCK_MONOTONIC, &ended);
        long long taken = (ended.tv_sec - begun.tv_sec) * 1000000000LL + ended.tv_nsec - begun.tv_nsec;
        shortest = shortest < 0 || taken < shortest ? taken : shortest;
        outputs = digests_of(requests, count, together);
    }
    kit_free(kit);
    return outputs ? Py_BuildValue("NL", outputs, shortest) : NULL;
}

/* set_batches(digest, least): so many of them are worth it to be made together; 0: none are */
static PyObject *set_batches_(PyObject *self, PyObject *args)
{
    int digest;
    unsigned least;
    (void)self;
    if (!PyArg_ParseTuple(args, "iI", &digest, &least))
        return NULL;
    if (digest < 0 || digest >= DIGESTS) {
        PyErr_SetString(PyExc_ValueError, "set_batches: no such digest");
        return NULL;
    }
    set_batches((enum digest)digest, least);
    Py_RETURN_NONE;
}

/* try_sealing(secret, seal, nonce, associated data, (bytes, ...), rounds) -> (output, nanoseconds of the shortest round), here and now. The output
   is None if it fails. */
static PyObject *try_sealing(PyObject *self, PyObject *args)
{
    struct segment segments[TRIED_SEGMENTS], nonce, aad;
    PyObject *capsule, *pieces, *given_nonce, *given_aad, *output = NULL;
    int seal, rounds;
    long long shortest = -1;
    (void)self;
    if (!PyArg_ParseTuple(args, "OpO!O!O!i", &capsule, &seal, &PyBytes_Type, &given_nonce, &PyBytes_Type, &given_aad,
                          &PyTuple_Type, &pieces, &rounds))
        return NULL;
    const struct secret *secret = PyCapsule_GetPointer(capsule, SECRET);
    if (!secret)
        return NULL;
    struct plan plan = {.kind = seal ? KIND_SEAL : KIND_OPEN, .engine = ENGINE_SEAL, .format = secret->format};
    Py_ssize_t count = PyTuple_Size(pieces);
    bool good = count <= TRIED_SEGMENTS && is_bytes(given_nonce, &nonce) && is_bytes(given_aad, &aad);
    for (Py_ssize_t i = 0; good && i < count; i++)
        good = is_bytes(PyTuple_GetItem(pieces, i), &segments[i]);
    struct sealing sealing = {.secret = secret, .nonce = nonce, .aad = aad, .tag_size = SEAL_TAG};
    if (!good || !openssl || !can_seal(secret, &sealing, secret->format)) {
        PyErr_SetString(PyExc_ValueError, "try_sealing: no such sealing");
        return NULL;
    }
    struct kit *kit = kit_new();
    for (int round = 0; kit && round < rounds; round++) {
        struct request request = {.plan = &plan, .kind = plan.kind, .segments = segments, .count = (uint32_t)count, .sealing = sealing};
        struct timespec begun, ended;
        clock_gettime(CLOCK_MONOTONIC, &begun);
        run_request(kit, &request);
        clock_gettime(CLOCK_MONOTONIC, &ended);
        long long taken = (ended.tv_sec - begun.tv_sec) * 1000000000LL + ended.tv_nsec - begun.tv_nsec;
        shortest = shortest < 0 || taken < shortest ? taken : shortest;
        Py_CLEAR(output);
        if (request.status == STATUS_SUCCESS)
            output = PyBytes_FromStringAndSize((const char *)request.out, (Py_ssize_t)request.produced);
        free(request.out);
    }
    if (!kit)
        return PyErr_NoMemory();
    kit_free(kit);
    PyObject *found = PyErr_Occurred() ? NULL : Py_BuildValue("OL", output ? output : Py_None, shortest);
    Py_XDECREF(output);
    return found;
}

/* try_signing(signer, way, data) -> signature, or None: OpenSSL cannot make it. Here and now. */
static PyObject *try_signing(PyObject *self, PyObject *args)
{
    struct plan plan = {.kind = KIND_SIGN, .engine = ENGINE_SIGN};
    struct request request = {.plan = &plan, .kind = KIND_SIGN, .count = 1};
    struct segment segment;
    struct kit *kit;
    PyObject *capsule, *data;
    long way;
    (void)self;
    if (!PyArg_ParseTuple(args, "OlO!", &capsule, &way, &PyBytes_Type, &data)
        || !(request.signing.key = PyCapsule_GetPointer(capsule, SIGNER)))
        return NULL;
    if (!take_way(&request.signing, way)) {
        PyErr_SetString(PyExc_ValueError, "try_signing: that is no way");
        return NULL;
    }
    if (!(kit = kit_new()))
        return PyErr_NoMemory();
    segment = (struct segment){(const uint8_t *)PyBytes_AsString(data), (size_t)PyBytes_Size(data)};
    request.segments = &segment;
    PyThreadState *state = PyEval_SaveThread();
    run_request(kit, &request);
    kit_free(kit);
    PyEval_RestoreThread(state);
    if (request.status != STATUS_SUCCESS)
        Py_RETURN_NONE;
    PyObject *signature = PyBytes_FromStringAndSize((const char *)request.out, (Py_ssize_t)request.produced);
    free(request.out);
    return signature;
}

/* measure(block, size of the dictionary) -> length of its content, or (status, cause, message) */
static PyObject *measure(PyObject *self, PyObject *args)
{
    Py_buffer data;
    Py_ssize_t dictionary;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*n", &data, &dictionary))
        return NULL;
    struct request request = {.dictionary.size = (size_t)dictionary};
    PyThreadState *state = PyEval_SaveThread();
    int64_t length = measure_block(&request, data.buf, (size_t)data.len);
    PyEval_RestoreThread(state);
    PyBuffer_Release(&data);
    if (length >= 0)
        return PyLong_FromLongLong(length);
    return Py_BuildValue("iis", request.status, request.cause, request.message);
}

/* explain(format, data, base, only_header, dictionary or None) -> (status, cause, message): what is wrong with a unit, which lies at `base`
   in its input; None: nothing was found */
static PyObject *explain(PyObject *self, PyObject *args)
{
    int format, only_header;
    Py_ssize_t base, length;
    Py_buffer data;
    struct request request = {.message = ""};
    (void)self;
    if (!PyArg_ParseTuple(args, "iy*npz#", &format, &data, &base, &only_header, &request.dictionary.data, &length))
        return NULL;
    request.dictionary.size = request.dictionary.data ? (size_t)length : 0;
    PyThreadState *state = PyEval_SaveThread();
    size_t header = read_header(&request, (enum format)format, data.buf, (size_t)data.len, (size_t)base);
    if (request.status == STATUS_SUCCESS && !only_header)
        explain_deflate(&request, (const uint8_t *)data.buf + header, (size_t)data.len - header, (size_t)base + header);
    PyEval_RestoreThread(state);
    PyBuffer_Release(&data);
    if (request.status == STATUS_SUCCESS)
        Py_RETURN_NONE;
    return Py_BuildValue("iis", request.status, request.cause, request.message);
}

PyMethodDef TRIAL_FUNCTIONS[] = {
    {"crc32c", crc32c, METH_VARARGS, NULL},
    {"try_digests", try_digests, METH_VARARGS, NULL},
    {"set_batches", set_batches_, METH_VARARGS, NULL},
    {"try_sealing", try_sealing, METH_VARARGS, NULL},
    {"try_signing", try_signing, METH_VARARGS, NULL},
    {"measure", measure, METH_VARARGS, NULL},
    {"explain", explain, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

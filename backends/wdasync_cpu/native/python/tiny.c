/* Work so small that an operation object would cost more. Whatever is out of the ordinary, and what fails, is for the usual way: None. */
#include "inline.h"

#include <string.h>

#include "desk.h"
#include "secrets.h"

static const char TINY[] = "wdasync_cpu.tiny";

/* digest(data) -> bytes or None */
static PyObject *tiny_digest(PyObject *self, PyObject *data)
{
    const struct plan *plan = PyCapsule_GetPointer(self, TINY);
    uint8_t output[DIGEST_MOST];
    struct segment input;
    struct kit *kit = own_kit();
    size_t size = is_bytes(data, &input) && kit ? digest_bytes(kit, plan->format, input, output) : 0;
    if (!size)
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize((const char *)output, (Py_ssize_t)size);
}

/* seal(session, nonce, data, associated data) -> bytes or None; and open() likewise */
static PyObject *tiny_sealing(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    const struct plan *plan = PyCapsule_GetPointer(self, TINY);
    struct sealing sealing = {.tag_size = SEAL_TAG};
    struct segment input;
    struct kit *kit = own_kit();
    if (count != 4 || !is_bytes(arguments[1], &sealing.nonce) || !is_bytes(arguments[2], &input)
        || !is_bytes(arguments[3], &sealing.aad) || !kit)
        Py_RETURN_NONE;
    Py_ssize_t size = (Py_ssize_t)input.size + (plan->kind == KIND_SEAL ? SEAL_TAG : -SEAL_TAG);
    PyObject *secret = PyObject_GetAttr(arguments[0], name_secret);
    PyObject *output = NULL;
    if (secret && secret != Py_None && size >= 0 && (sealing.secret = PyCapsule_GetPointer(secret, SECRET)))
        output = PyBytes_FromStringAndSize(NULL, size);
    if (output && !seal_bytes(kit, plan, &sealing, input, (uint8_t *)PyBytes_AsString(output))) {
        explicit_bzero(PyBytes_AsString(output), (size_t)size); /* text that is not known to be right */
        Py_CLEAR(output);
    }
    Py_XDECREF(secret);
    if (output)
        return output;
    PyErr_Clear();
    Py_RETURN_NONE;
}

static PyMethodDef TINY_DIGEST = {"digest", tiny_digest, METH_O, NULL};
static PyMethodDef TINY_SEALING = {"sealing", (PyCFunction)(void (*)(void))tiny_sealing, METH_FASTCALL, NULL};

/* tiny(number of a plan) -> (function, nanoseconds, nanoseconds for each KiB), or None: there is none */
static PyObject *tiny(PyObject *self, PyObject *number)
{
    const struct plan *plan = plans[PyLong_AsSsize_t(number)];
    PyMethodDef *method = plan->engine == ENGINE_DIGEST ? &TINY_DIGEST : plan->engine == ENGINE_SEAL ? &TINY_SEALING : NULL;
    (void)self;
    if (!method)
        Py_RETURN_NONE;
    PyObject *capsule = PyCapsule_New((void *)plan, TINY, NULL);
    PyObject *function = capsule ? PyCFunction_NewEx(method, capsule, NULL) : NULL;
    Py_XDECREF(capsule);
    return function ? Py_BuildValue("NKK", function, (unsigned long long)plan->fixed_ns, (unsigned long long)plan->ns_per_kib) : NULL;
}

PyMethodDef TINY_FUNCTIONS[] = {
    {"tiny", tiny, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

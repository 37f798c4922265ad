/* What outlives an operation: streams, keys that were expanded, keys that OpenSSL signs with. */
#include "state.h"

#include <stdlib.h>
#include <string.h>

#include "desk.h"
#include "secrets.h"

const char SESSION[] = "wdasync_cpu.session";

static void session_gone(PyObject *capsule)
{
    session_free(PyCapsule_GetPointer(capsule, SESSION));
}

/* open_session(desk, number of a plan, dictionary or None, whether it is raw) -> session */
static PyObject *open_session(PyObject *self, PyObject *args)
{
    PyObject *capsule;
    Py_ssize_t index, length;
    struct dictionary dictionary;
    int raw;
    (void)self;
    if (!PyArg_ParseTuple(args, "Onz#p", &capsule, &index, &dictionary.data, &length, &raw))
        return NULL;
    dictionary.size = dictionary.data ? (size_t)length : 0;
    dictionary.raw = raw;
    struct desk *desk = PyCapsule_GetPointer(capsule, DESK);
    if (!desk)
        return NULL;
    if (index < 0 || index >= plan_count) {
        PyErr_SetString(PyExc_ValueError, "open_session: expected the number of a plan");
        return NULL;
    }
    struct session *session = session_new(plans[index], desk, &dictionary);
    return session ? PyCapsule_New(session, SESSION, session_gone) : PyErr_NoMemory();
}

static PyObject *reset_session(PyObject *self, PyObject *capsule)
{
    struct session *session = PyCapsule_GetPointer(capsule, SESSION);
    (void)self;
    if (!session)
        return NULL;
    session_reset(session);
    Py_RETURN_NONE;
}

static PyObject *close_session(PyObject *self, PyObject *capsule)
{
    struct session *session = PyCapsule_GetPointer(capsule, SESSION);
    (void)self;
    if (!session)
        return NULL;
    if (!*session_busy(session)) /* else with the operation that has it */
        session_close(session);
    Py_RETURN_NONE;
}

static void secret_gone(PyObject *capsule)
{
    forget_secret(PyCapsule_GetPointer(capsule, SECRET));
}

/* new_secret(cipher, key, expand) -> secret, which IPsec-MB works with if it is expanded and can be */
static PyObject *new_secret(PyObject *self, PyObject *args)
{
    int format, expand;
    Py_buffer key;
    (void)self;
    if (!PyArg_ParseTuple(args, "iy*p", &format, &key, &expand))
        return NULL;
    struct secret *secret;
    if (key.len > (Py_ssize_t)sizeof secret->bytes) {
        PyErr_Format(PyExc_ValueError, "new_secret: expected at most %d bytes, got %zd", (int)sizeof secret->bytes, key.len);
        PyBuffer_Release(&key);
        return NULL;
    }
    secret = calloc(1, sizeof *secret);
    if (secret) {
        secret->format = (uint8_t)format;
        secret->size = (uint8_t)key.len;
        memcpy(secret->bytes, key.buf, (size_t)key.len);
        if (expand)
            expand_secret(secret);
    }
    PyBuffer_Release(&key);
    if (!secret)
        return PyErr_NoMemory();
    PyObject *capsule = PyCapsule_New(secret, SECRET, secret_gone);
    if (!capsule)
        forget_secret(secret);
    return capsule;
}

/* is_expanded(secret) -> bool */
static PyObject *is_expanded(PyObject *self, PyObject *capsule)
{
    const struct secret *secret = PyCapsule_GetPointer(capsule, SECRET);
    (void)self;
    return secret ? PyBool_FromLong(secret->expanded != NULL) : NULL;
}

static void signer_gone(PyObject *capsule)
{
    forget_signing_key(PyCapsule_GetPointer(capsule, SIGNER));
}

/* new_signer(PKCS #8 in DER) -> signer, or None: OpenSSL cannot read it. If nobody else has these bytes, they are wiped. */
static PyObject *new_signer(PyObject *self, PyObject *der)
{
    (void)self;
    if (!PyBytes_CheckExact(der)) {
        PyErr_SetString(PyExc_TypeError, "new_signer: expected bytes");
        return NULL;
    }
    uint8_t *data = (uint8_t *)PyBytes_AsString(der);
    size_t size = (size_t)PyBytes_Size(der);
    PyThreadState *state = PyEval_SaveThread(); /* the first of a process takes long */
    void *key = library_signs() ? signing_key(data, size) : NULL;
    PyEval_RestoreThread(state);
    if (Py_REFCNT(der) == 1)
        explicit_bzero(data, size);
    if (!key)
        Py_RETURN_NONE;
    PyObject *capsule = PyCapsule_New(key, SIGNER, signer_gone);
    if (!capsule)
        forget_signing_key(key);
    return capsule;
}

PyMethodDef STATE_FUNCTIONS[] = {
    {"open_session", open_session, METH_VARARGS, NULL},
    {"reset_session", reset_session, METH_O, NULL},
    {"close_session", close_session, METH_O, NULL},
    {"new_secret", new_secret, METH_VARARGS, NULL},
    {"is_expanded", is_expanded, METH_O, NULL},
    {"new_signer", new_signer, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

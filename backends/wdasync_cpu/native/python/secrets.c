/* Operations that have a key: what stands beside the text, and how to sign. */
#include "secrets.h"

#include "desk.h"
#include "reading.h"

const char SECRET[] = "wdasync_cpu.secret", SIGNER[] = "wdasync_cpu.signer";

bool is_bytes(PyObject *object, struct segment *segment)
{
    if (!PyBytes_CheckExact(object))
        return false;
    *segment = (struct segment){(const uint8_t *)PyBytes_AsString(object), (size_t)PyBytes_Size(object)};
    return true;
}

/* What there is beside the text; of exact types, since nothing of Python's must run here that could change it. */
static bool read_bytes(PyObject **held, PyObject *operation, PyObject *name, struct segment *segment)
{
    *held = PyObject_GetAttr(operation, name);
    return *held && is_bytes(*held, segment);
}

/* The key that the device was told of. */
static bool read_secret(struct pin *pin, struct sealing *sealing, PyObject *operation)
{
    PyObject *session = PyObject_GetAttr(operation, name_session);
    pin->secret = session ? PyObject_GetAttr(session, name_secret) : NULL;
    Py_XDECREF(session);
    sealing->secret = pin->secret && pin->secret != Py_None ? PyCapsule_GetPointer(pin->secret, SECRET) : NULL;
    return sealing->secret != NULL;
}

bool read_beside(struct pin *pin, struct sealing *sealing, PyObject *operation)
{
    return read_bytes(&pin->beside[0], operation, name_nonce, &sealing->nonce) && read_bytes(&pin->beside[1], operation, name_aad, &sealing->aad)
           && sealing->aad.size <= SEAL_LONGEST && read_number(operation, name_tag_length, &sealing->tag_size);
}

void read_sealing(struct pin *pin, struct request *request, PyObject *operation)
{
    struct sealing *sealing = &request->sealing;
    uint64_t size;
    if (!read_number(operation, name_nbytes, &size) || size > SEAL_LONGEST || !read_secret(pin, sealing, operation)
        || !read_beside(pin, sealing, operation) || !can_seal(sealing->secret, sealing, request->plan->format))
        request->plan = plans[request->plan->otherwise];
    PyErr_Clear();
}

bool take_way(struct signing *signing, long way)
{
    enum { DIGEST = 0xff, PADDING = 8, HASHED = 10, SALT = 11 };
    if (way < 0 || (way & DIGEST) >= DIGESTS)
        return false;
    signing->digest = (uint8_t)(way & DIGEST);
    signing->padding = way >> PADDING & 3;
    signing->hashed = way >> HASHED & 1;
    signing->salt = (int)(way >> SALT);
    return true;
}

static int raise_now(void *exception)
{
    PyErr_SetObject((PyObject *)Py_TYPE((PyObject *)exception), exception);
    Py_DECREF((PyObject *)exception);
    return -1;
}

/* What a function of ours raised does not matter; what a signal handler raised while it ran is for who called us. */
static void raise_later(void)
{
    PyObject *type, *value, *traceback;
    if (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_Exception)) {
        PyErr_Clear();
        return;
    }
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    if (value && Py_AddPendingCall(raise_now, value))
        Py_DECREF(value);
}

void read_signing(struct pin *pin, struct request *request, PyObject *operation)
{
    struct signing *signing = &request->signing;
    PyObject *session = PyObject_GetAttr(operation, name_session), *paged = PyObject_GetAttr(operation, name_paged), *way = NULL;
    pin->secret = session ? PyObject_GetAttr(session, name_signer) : NULL;
    signing->key = pin->secret && pin->secret != Py_None ? PyCapsule_GetPointer(pin->secret, SIGNER) : NULL;
    if (signing->key && paged == Py_None)
        way = PyObject_CallMethodObjArgs(session, name_way, operation, NULL);
    if (!take_way(signing, way ? PyLong_AsLong(way) : -1))
        request->plan = plans[request->plan->otherwise];
    raise_later();
    Py_XDECREF(way);
    Py_XDECREF(paged);
    Py_XDECREF(session);
}

/* Python threads that work for the rings. */
#include "hand.h"

#include <stdlib.h>

static const char HAND[] = "wdasync_cpu.hand";

_Thread_local struct hand *own_hand;

static void hand_gone(PyObject *capsule)
{
    struct hand *hand = PyCapsule_GetPointer(capsule, HAND);
    if (!hand->left)
        crew_leave(hand->worker);
    if (own_hand == hand)
        own_hand = NULL;
    kit_free(hand->kit);
    free(hand);
}

/* join() -> hand, number: the calling thread works for the rings */
static PyObject *join(PyObject *self, PyObject *nothing)
{
    (void)self, (void)nothing;
    struct hand *hand = calloc(1, sizeof *hand);
    if (!hand || !(hand->kit = kit_new()) || !(hand->worker = crew_join(CREW_PYTHON))) {
        if (hand)
            kit_free(hand->kit);
        free(hand);
        return PyErr_NoMemory();
    }
    own_hand = hand;
    PyObject *capsule = PyCapsule_New(hand, HAND, hand_gone);
    return capsule ? Py_BuildValue("NI", capsule, worker_number(hand->worker)) : NULL;
}

static PyObject *leave(PyObject *self, PyObject *capsule)
{
    struct hand *hand = PyCapsule_GetPointer(capsule, HAND);
    (void)self;
    if (!hand)
        return NULL;
    if (!hand->left)
        crew_leave(hand->worker);
    hand->left = true;
    Py_RETURN_NONE;
}

/* The next slot for this thread: NULL if there are no more. */
static struct slot *next_slot(struct hand *hand)
{
    struct slot *slot = worker_next(hand->worker, &hand->queue);
    if (slot) {
        slot->request.crew = CREW_PYTHON;
        slot->request.worker = (uint16_t)worker_number(hand->worker);
        worker_share(hand->worker, hand->queue, slot);
    }
    return slot;
}

static void finish_slot(struct hand *hand)
{
    worker_finish(hand->worker, hand->queue, &hand->slot, 1);
    hand->slot = NULL;
}

/* After Python ran, with the interpreter's lock. */
static void finish_python_slot(struct hand *hand)
{
    struct port *last = hand->last;
    hand->last = NULL;
    finish_slot(hand);
    if (last)
        port_free(last);
}

/* What needs no Python is done at once, without the interpreter's lock. False: it is for Python, if only because OpenSSL could
   not do it. */
static bool finish_natively(struct hand *hand)
{
    struct request *request = &hand->slot->request;
    if (request->plan->engine != ENGINE_SIGN)
        return false;
    if (!request->into)
        run_request(hand->kit, request);
    if (request->into || request->status == STATUS_DEVICE_ERROR) {
        request->plan = plans[request->plan->otherwise];
        return false;
    }
    finish_slot(hand);
    return true;
}

/* next_task(hand) -> (operation, number of its plan, what its device runs it with), or None: no more */
static PyObject *next_task(PyObject *self, PyObject *capsule)
{
    struct hand *hand = PyCapsule_GetPointer(capsule, HAND);
    (void)self;
    if (!hand)
        return NULL;
    PyThreadState *state = PyEval_SaveThread();
    do
        hand->slot = next_slot(hand);
    while (hand->slot && finish_natively(hand));
    PyEval_RestoreThread(state);
    if (!hand->slot)
        Py_RETURN_NONE;
    struct pin *pin = pin_of(hand->queue->owner, hand->slot);
    const struct port *port = hand->queue->owner;
    const struct desk *desk = PyCapsule_GetPointer(port->desk, DESK);
    PyObject *task = Py_BuildValue("OnO", pin->operation, plan_number(hand->slot->request.plan), desk->run);
    if (!task) { /* no memory for a tuple: this thread ends, and its operation with it */
        fail_memory(&hand->slot->request, sizeof(void *) * 3);
        finish_python_slot(hand);
    }
    return task;
}

bool finish_by_python(struct request *request, struct pin *pin, PyObject *outcome)
{
    int status, final;
    PyObject *output, *detail;
    Py_ssize_t consumed, produced;
    if (!PyArg_ParseTuple(outcome, "iOnnpO", &status, &output, &consumed, &produced, &final, &detail))
        return false;
    if (status < 0 || status >= STATUSES || (output != Py_None && !PyBytes_CheckExact(output))) {
        PyErr_SetString(PyExc_TypeError, "outcome: expected a status and bytes");
        return false;
    }
    request->status = (uint8_t)status;
    request->consumed = (size_t)consumed;
    request->produced = (size_t)produced;
    pin->final = final;
    if (output != Py_None) {
        Py_INCREF(output);
        pin->output = output;
    }
    if (detail != Py_None) {
        Py_INCREF(detail);
        pin->detail = detail;
    }
    return true;
}

/* finish_task(hand, outcome) */
static PyObject *finish_task(PyObject *self, PyObject *args)
{
    PyObject *capsule, *outcome;
    (void)self;
    if (!PyArg_ParseTuple(args, "OO", &capsule, &outcome))
        return NULL;
    struct hand *hand = PyCapsule_GetPointer(capsule, HAND);
    if (!hand || !hand->slot) {
        if (hand)
            PyErr_SetString(PyExc_RuntimeError, "finish_task: there is no task");
        return NULL;
    }
    bool good = finish_by_python(&hand->slot->request, pin_of(hand->queue->owner, hand->slot), outcome);
    if (!good)
        fail(&hand->slot->request, STATUS_DEVICE_ERROR, CAUSE_NONE, "the codec gave something that is no outcome");
    finish_python_slot(hand);
    if (!good)
        return NULL;
    Py_RETURN_NONE;
}

/* must_stop(hand or None) -> whether to give up the task: its queue is being stopped, or the process ends */
static PyObject *task_must_stop(PyObject *self, PyObject *capsule)
{
    (void)self;
    if (capsule == Py_None)
        Py_RETURN_FALSE;
    struct hand *hand = PyCapsule_GetPointer(capsule, HAND);
    if (!hand)
        return NULL;
    return PyBool_FromLong(!hand->slot || must_stop(&hand->slot->request));
}

PyMethodDef HAND_FUNCTIONS[] = {
    {"join", join, METH_NOARGS, NULL},
    {"leave", leave, METH_O, NULL},
    {"next_task", next_task, METH_O, NULL},
    {"finish_task", finish_task, METH_VARARGS, NULL},
    {"must_stop", task_must_stop, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

/* Queues: a burst of operations in, a burst of completions out. */
#include "port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "buffers.h"
#include "completion.h"
#include "hand.h"
#include "line.h"
#include "reading.h"

const char PORT[] = "wdasync_cpu.port";

/* Work of so many nanoseconds is for spare workers, too: many times what it costs to wake one, and not so much that
   it could not wait if the loop then wants the core for long. */
enum { LENGTHY_LEAST = 25000, LENGTHY_MOST = 50000000 };

struct pin *pin_of(struct port *port, const struct slot *slot)
{
    return &port->pins[slot - port->queue->slots];
}

/* This thread has work of the port in hand, and Python runs in it: to wait until nobody has would be for ever. */
static bool works_here(const struct port *port)
{
    return own_hand && own_hand->slot && own_hand->queue == port->queue;
}

void port_free(struct port *port)
{
    if (!port->queue->closed) {
        PyThreadState *state = PyEval_SaveThread();
        queue_close(port->queue);
        PyEval_RestoreThread(state);
    }
    bool ours = queue_is_ours(port->queue);
    for (uint32_t i = 0; i < port->queue->depth; i++) {
        struct slot *slot = &port->queue->slots[i];
        if (ours && slot->state != SLOT_FREE)
            drop_output(&slot->request);
        unpin(&port->pins[i]);
    }
    queue_free(port->queue);
    free(port->pins);
    Py_XDECREF(port->desk);
    free(port);
}

static void port_gone(PyObject *capsule)
{
    struct port *port = PyCapsule_GetPointer(capsule, PORT);
    if (works_here(port))
        own_hand->last = port; /* freed when that work is done */
    else
        port_free(port);
}

/* open_port(desk, depth, priority) -> port, descriptor */
static PyObject *open_port(PyObject *self, PyObject *args)
{
    PyObject *desk;
    unsigned depth;
    int priority;
    (void)self;
    if (!PyArg_ParseTuple(args, "OIi", &desk, &depth, &priority))
        return NULL;
    struct port *port = calloc(1, sizeof *port);
    struct pin *pins = calloc(depth, sizeof *pins);
    struct queue *queue = port && pins ? queue_open(depth, priority) : NULL;
    if (!queue) {
        free(port);
        free(pins);
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    *port = (struct port){queue, pins, desk};
    queue->owner = port;
    Py_INCREF(desk);
    PyObject *capsule = PyCapsule_New(port, PORT, port_gone);
    return capsule ? Py_BuildValue("Ni", capsule, queue->event) : NULL;
}

static bool read_entry(struct port *port, struct slot *slot, PyObject *entry, enum read_result *result)
{
    struct pin *pin = pin_of(port, slot);
    if (!PyTuple_Check(entry) || PyTuple_Size(entry) != 2) {
        PyErr_SetString(PyExc_TypeError, "entries: expected (tag, operation) tuples");
        return false;
    }
    PyObject *tag = PyTuple_GetItem(entry, 0), *operation = PyTuple_GetItem(entry, 1);
    unsigned long number = PyLong_AsUnsignedLong(tag);
    if (number > UINT32_MAX) {
        if (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_OverflowError))
            PyErr_Format(PyExc_ValueError, "tag: expected an int from 0 to 2**32-1, got %R", tag);
        return false;
    }
    Py_INCREF(tag);
    Py_INCREF(operation);
    pin->tag = tag;
    pin->number = (uint32_t)number;
    pin->operation = operation;
    *result = read_operation(PyCapsule_GetPointer(port->desk, DESK), pin, &slot->request, operation);
    if (*result == READ_RAISED)
        put_exception(&slot->request);
    return true;
}

/* Python threads are started when the first work for them comes. False: there is none, and the request has failed. */
static bool has_helpers(struct port *port, struct request *request)
{
    if (crew_size(CREW_PYTHON))
        return true;
    struct desk *desk = PyCapsule_GetPointer(port->desk, DESK);
    PyObject *nothing = PyObject_CallFunctionObjArgs(desk->helpers, NULL);
    if (!nothing) {
        put_exception(request);
        request->status = STATUS_DEVICE_ERROR;
    }
    Py_XDECREF(nothing);
    return nothing != NULL;
}

/* One more paged worker, if there may be more operations than workers; an idle one may be about to take another. False:
   there is none, and the request has failed. */
static bool has_paged_workers(struct desk *desk, struct request *request)
{
    unsigned have = crew_size(CREW_PAGED);
    if (have < atomic_load(&paged_in_flight) && have < desk->paged_workers
        && !crew_start(CREW_PAGED, have + 1, run_paged, kit_new) && !have) {
        fail(request, STATUS_DEVICE_ERROR, CAUSE_NONE, "no thread could be started to wait for pages: %s", strerror(errno));
        return false;
    }
    return true;
}

/* The operation's input has pages that are absent: a region will stand for it. */
static enum read_result watch_pages(struct port *port, struct pin *pin, struct request *request)
{
    struct desk *desk = PyCapsule_GetPointer(port->desk, DESK);
    if (desk->line == Py_None || request->plan->engine == ENGINE_PYTHON)
        return refuse_pages(request);
    struct fault_line *line = PyCapsule_GetPointer(desk->line, LINE);
    const struct segment *input = request->segments;
    if (!(pin->region = region_new(line, input->data, input->size, pin->paged))) {
        fail_memory(request, sizeof *pin->region);
        return READ_DONE;
    }
    atomic_fetch_add(&paged_in_flight, 1);
    request->region = pin->region;
    request->segments = &pin->region->input;
    return has_paged_workers(desk, request) ? READ_SUBMIT : READ_DONE;
}

static enum lane_name lane_for(const struct request *request)
{
    if (is_for_threads(request))
        return LANE_PYTHON;
    return request->region ? LANE_PAGED : may_batch(request) ? LANE_BATCH : LANE_NATIVE;
}

/* In nanoseconds; of a sequence, as if all its steps had its input. */
static uint64_t cost_of(const struct request *request)
{
    const struct chain *chain = request->chain;
    size_t size = 0;
    for (uint32_t i = 0; i < request->count; i++)
        size += request->segments[i].size;
    uint64_t cost = request->plan->fixed_ns + size * request->plan->ns_per_kib / 1024;
    for (uint32_t i = 0; chain && i < chain->count; i++)
        cost += chain->steps[i].plan->fixed_ns + size * chain->steps[i].plan->ns_per_kib / 1024;
    return cost;
}

/* Is it worth waking a thread that may have to wait for its core? One that works for Python waits as all do. */
static bool is_lengthy(const struct request *request, uint64_t cost)
{
    return cost >= LENGTHY_LEAST && (cost <= LENGTHY_MOST || is_for_threads(request));
}

/* How many levels it has that are not those asked for. */
static unsigned levels_mapped(const struct request *request)
{
    const struct chain *chain = request->chain;
    unsigned found = request->plan->mapped;
    for (uint32_t i = 0; chain && i < chain->count; i++)
        found += chain->steps[i].plan->mapped;
    return found;
}

/* One entry. 1: accepted; 0: no room; -1: an exception. */
static int enqueue_one(struct port *port, PyObject *entry)
{
    struct queue *queue = port->queue;
    enum read_result result;
    struct slot *slot = queue_acquire(queue);
    if (!slot)
        return 0;
    if (!read_entry(port, slot, entry, &result)) {
        unpin(pin_of(port, slot));
        queue_release(queue, slot);
        return -1;
    }
    slot->request.stop = &queue->stopping;
    slot->request.worker = NO_WORKER;
    slot->request.crew = CREW_NATIVE;
    if (result == READ_SUBMIT && pin_of(port, slot)->paged)
        result = watch_pages(port, pin_of(port, slot), &slot->request);
    if (result == READ_SUBMIT && is_for_threads(&slot->request) && !has_helpers(port, &slot->request))
        result = READ_DONE;
    bool by_python = result == READ_SUBMIT && slot->request.plan->engine == ENGINE_PYTHON; /* once submitted, the plan is the worker's */
    if (result == READ_SUBMIT) {
        unsigned mapped = levels_mapped(&slot->request);
        slot->cost = cost_of(&slot->request);
        slot->lengthy = is_lengthy(&slot->request, slot->cost);
        make_offer(pin_of(port, slot), &slot->request);
        if (!queue_submit(queue, slot, lane_for(&slot->request))) {
            slot->request.region = NULL;
            unpin(pin_of(port, slot));
            queue_release(queue, slot);
            return 0;
        }
        queue->counters.python += by_python;
        queue->counters.paged += slot->request.region != NULL;
        queue->counters.levels_mapped += mapped;
    } else {
        slot->request.plan = &nop_plan;
        slot->lane = LANE_NATIVE;
        slot->state = SLOT_DONE;
        queue_finish(queue, slot);
    }
    return 1;
}

/* enqueue_burst(entries) -> how many */
static PyObject *port_enqueue(PyObject *self, PyObject *entries)
{
    struct port *port = PyCapsule_GetPointer(self, PORT);
    struct queue *queue = port->queue;
    bool list = PyList_CheckExact(entries);
    Py_ssize_t accepted = 0;
    int outcome = 1;
    PyObject *sequence = list || PyTuple_CheckExact(entries) ? entries : PySequence_Tuple(entries);
    if (!sequence)
        return NULL;
    Py_ssize_t count = list ? PyList_Size(sequence) : PyTuple_Size(sequence);
    if (queue_is_ours(queue) && !atomic_load_explicit(&queue->stopping, memory_order_relaxed)
        && !atomic_load_explicit(crews_stopping(), memory_order_relaxed)) {
        while (accepted < count) {
            PyObject *entry = list ? PyList_GetItem(sequence, accepted) : PyTuple_GetItem(sequence, accepted);
            outcome = entry ? enqueue_one(port, entry) : -1;
            if (outcome <= 0)
                break;
            accepted++;
        }
        if (accepted)
            queue_kick(queue);
    }
    queue->counters.enqueued += (uint64_t)accepted;
    if (outcome < 0 && accepted)
        PyErr_Clear(); /* it is raised again when this entry comes first */
    else if (outcome < 0)
        accepted = -1;
    else
        queue->counters.rejected += (uint64_t)(count - accepted);
    if (sequence != entries)
        Py_DECREF(sequence);
    return accepted < 0 ? NULL : PyLong_FromSsize_t(accepted);
}

/* A large output is on its way into a bytes object, in a worker's hands. False: it is done as it is. */
static bool begin_copy(struct port *port, struct slot *slot)
{
    struct request *request = &slot->request;
    struct pin *pin = pin_of(port, slot);
    if (request->kind == KIND_HAND_OVER) {
        if (request->status == STATUS_ABORTED)
            drop_output(request);
        return false;
    }
    if (request->produced <= COPY_LIMIT || request->into || is_direct(request) || pin->output || request->status != STATUS_SUCCESS)
        return false;
    if (port->queue->closed) {
        request->status = STATUS_ABORTED; /* nobody is left to copy it */
        return false;
    }
    if (!(pin->output = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)request->produced))) {
        PyErr_Clear();
        fail_memory(request, request->produced);
        return false;
    }
    request->copy_to = (uint8_t *)PyBytes_AsString(pin->output);
    request->kind = KIND_HAND_OVER;
    slot->lengthy = false;
    if (queue_submit(port->queue, slot, LANE_COPY)) {
        port->queue->counters.copies++;
        return true;
    }
    request->kind = request->plan->kind;
    Py_CLEAR(pin->output);
    queue_put_back(port->queue, slot);
    return true;
}

static PyObject *hand_out(struct port *port, struct slot *slot)
{
    struct pin *pin = pin_of(port, slot);
    struct request *request = &slot->request;
    PyObject *completion = make_completion(pin->tag, request, pin);
    if (!completion)
        return NULL;
    port->queue->counters.direct += is_direct(request);
    drop_output(request);
    request->out = request->offer = NULL;
    request->region = NULL;
    unpin(pin);
    queue_release(port->queue, slot);
    port->queue->counters.dequeued++;
    port->queue->counters.batched += request->batched;
    return completion;
}

/* dequeue_burst(limit) -> [Completion, ...] */
static PyObject *port_dequeue(PyObject *self, PyObject *limit)
{
    struct port *port = PyCapsule_GetPointer(self, PORT);
    Py_ssize_t most = PyLong_AsSsize_t(limit);
    bool copying = false;
    struct slot *slot;
    if (most == -1 && PyErr_Occurred())
        return NULL;
    PyObject *completions = PyList_New(0);
    for (Py_ssize_t count = 0; completions && count < most && (slot = queue_take(port->queue));) {
        if (begin_copy(port, slot)) {
            if (slot->state != SLOT_SUBMITTED || slot->request.kind != KIND_HAND_OVER)
                break; /* no room in the lane just now */
            copying = true;
            continue;
        }
        PyObject *completion = hand_out(port, slot);
        if (!completion || PyList_Append(completions, completion) < 0) {
            if (!completion)
                queue_put_back(port->queue, slot);
            Py_XDECREF(completion);
            Py_CLEAR(completions);
            break;
        }
        Py_DECREF(completion);
        count++;
    }
    if (copying)
        queue_kick(port->queue);
    return completions;
}

static PyObject *port_arm(PyObject *self, PyObject *nothing)
{
    struct port *port = PyCapsule_GetPointer(self, PORT);
    (void)nothing;
    return PyBool_FromLong(queue_arm(port->queue));
}

static PyObject *port_withdraw(PyObject *self, PyObject *tag)
{
    struct port *port = PyCapsule_GetPointer(self, PORT);
    struct queue *queue = port->queue;
    unsigned long number = PyLong_AsUnsignedLong(tag);
    if (PyErr_Occurred())
        return NULL;
    for (uint32_t i = 0; i < queue->depth && queue_is_ours(queue); i++) {
        struct slot *slot = &queue->slots[i];
        if (!port->pins[i].tag || port->pins[i].number != number || slot->request.kind == KIND_HAND_OVER)
            continue;
        if (!queue_withdraw(queue, slot))
            break;
        slot->request.region = NULL;
        unpin(&port->pins[i]);
        queue_release(queue, slot);
        queue->counters.withdrawn++;
        Py_RETURN_TRUE;
    }
    Py_RETURN_FALSE;
}

static PyObject *port_stop(PyObject *self, PyObject *nothing)
{
    struct port *port = PyCapsule_GetPointer(self, PORT);
    (void)nothing;
    queue_stop(port->queue);
    Py_RETURN_NONE;
}

static PyObject *port_close(PyObject *self, PyObject *nothing)
{
    struct port *port = PyCapsule_GetPointer(self, PORT);
    (void)nothing;
    if (works_here(port)) { /* the garbage collector found it: nobody will ask whether it is closed */
        queue_stop(port->queue);
        Py_RETURN_NONE;
    }
    PyThreadState *state = PyEval_SaveThread();
    queue_close(port->queue);
    PyEval_RestoreThread(state);
    Py_RETURN_NONE;
}

static PyObject *port_counters(PyObject *self, PyObject *nothing)
{
    struct port *port = PyCapsule_GetPointer(self, PORT);
    const struct queue *queue = port->queue;
    const struct queue_counters *counters = &queue->counters;
    (void)nothing;
    return Py_BuildValue("{s:I,s:I,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K}", "depth", queue->depth, "in_flight",
                         queue->depth - queue->free_count, "enqueued", (unsigned long long)counters->enqueued,
                         "dequeued", (unsigned long long)counters->dequeued, "withdrawn",
                         (unsigned long long)counters->withdrawn, "rejected", (unsigned long long)counters->rejected,
                         "wakes", (unsigned long long)counters->wakes, "levels_mapped",
                         (unsigned long long)counters->levels_mapped, "copies", (unsigned long long)counters->copies,
                         "python", (unsigned long long)counters->python, "paged",
                         (unsigned long long)counters->paged, "batched", (unsigned long long)counters->batched,
                         "direct", (unsigned long long)counters->direct);
}

PyMethodDef PORT_METHODS[] = {
    {"enqueue_burst", port_enqueue, METH_O, NULL},
    {"dequeue_burst", port_dequeue, METH_O, NULL},
    {"arm", port_arm, METH_NOARGS, NULL},
    {"withdraw", port_withdraw, METH_O, NULL},
    {"stop", port_stop, METH_NOARGS, NULL},
    {"close", port_close, METH_NOARGS, NULL},
    {"counters", port_counters, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyMethodDef PORT_FUNCTIONS[] = {
    {"open_port", open_port, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

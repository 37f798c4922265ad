/* The rings as Python sees them: operations are read, and completions made, by a few builtin functions, one call a
 * burst. Only the stable ABI of Python 3.11 is used, so that one build serves all later versions.
 *
 * A *desk* belongs to a device: it knows which plan an operation has. A *port* belongs to a queue: it pins what the
 * operations in flight refer to, one pin a slot. A *hand* belongs to a Python thread that works for the rings. A *line*
 * belongs to a device: the page faults of its operations come on it.
 */
#include <pyconfig.h>
#if !defined(Py_GIL_DISABLED) && !defined(Py_LIMITED_API) && !defined(Py_DEBUG)
#define Py_LIMITED_API 0x030b0000
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "codec.h"
#include "forkgate.h"
#include "region.h"
#include "ring.h"

/* More than this is not copied on the owner's thread: a worker does it. */
enum { COPY_LIMIT = 256 * 1024 };

/* Of less than this a copy costs nothing. */
enum { OFFER_LEAST = 4096 };

/* Without the GIL from this input size on; below, giving it up costs more than it gives. */
enum { INLINE_WITH_GIL = 4096 };

/* Work of so many nanoseconds is for spare workers, too: many times what it costs to wake one, and not so much that
   it could not wait if the loop then wants the core for long. */
enum { LENGTHY_LEAST = 25000, LENGTHY_MOST = 50000000 };

/* Devices for which a recipe is kept ready at a time. */
enum { RECIPE_DEVICES = 16 };

enum { NO_STEP = -1, MAX_PLANS = 1 << 14, KINDS = KIND_HAND_OVER, STATUSES = 10 };

static const char DESK[] = "wdasync_cpu.desk", PORT[] = "wdasync_cpu.port", HAND[] = "wdasync_cpu.hand",
                  SESSION[] = "wdasync_cpu.session", LINE[] = "wdasync_cpu.line", SECRET[] = "wdasync_cpu.secret",
                  SIGNER[] = "wdasync_cpu.signer", RECIPE[] = "wdasync_cpu.recipe",
                  TINY[] = "wdasync_cpu.tiny";

struct desk {
    PyObject *capsule;    /* its own, which holds it */
    PyObject *compress;   /* (algorithm, level, window) -> number of a plan */
    PyObject *decompress; /* algorithm -> number of a plan */
    PyObject *others;     /* (class, algorithm) -> number of a plan */
    PyObject *resolve;    /* operation -> number of a plan, or a Detail that says why there is none */
    PyObject *helpers;    /* called when Python threads are needed and there are none */
    PyObject *run;        /* operation, number of a plan, hand or None -> what finish_task() takes */
    PyObject *line;       /* or None: all pages have to be there */
    unsigned paged_workers; /* most of them */
};

struct pin {
    PyObject *tag;
    PyObject *operation;
    PyObject *output;
    PyObject *offered; /* bytes that nobody has seen: the request's offer */
    PyObject *detail;
    uint32_t number; /* the tag */
    uint32_t view_count;
    Py_buffer *views;
    Py_buffer few_views[2];
    struct segment *segments;
    struct segment one_segment;
    bool *busy; /* its session's mark */
    bool final;
    PyObject *dictionary;
    PyObject *secret; /* holds the key, whatever becomes of its session */
    PyObject *beside[2]; /* nonce and associated data, whatever becomes of the operation */
    PyObject *paged; /* the input, if it is in pages and no codec can read it as it is */
    struct region *region;
    struct links *links; /* the steps of a sequence */
};

/* What the sequences of one recipe have in common, read once: requests that lack their input, the key of each that has one,
   and a nonce if `wanting` says so. It holds the operations that it was read from. */
struct recipe {
    uint32_t count;
    bool native; /* there is C for all steps */
    struct request *steps;
    struct pin *pins;
    int32_t *wanting; /* for each step: which of a sequence's nonces it gets; -1: none */
};

/* The steps of one sequence. */
struct links {
    struct chain chain;
    PyObject *recipe;    /* holds what the steps have of it */
    PyObject *nonces;    /* so too */
    PyObject *seen;      /* a list: what the steps that only look have found */
    PyObject *secrets[]; /* hold the keys, whatever becomes of their sessions; NULL: the step has none */
};

struct port {
    struct queue *queue;
    struct pin *pins;
    PyObject *desk;
};

struct hand {
    struct worker *worker;
    struct queue *queue;
    struct slot *slot;
    struct kit *kit;
    struct port *last; /* of its slot's queue: to be freed when that slot is finished */
    bool left;
};

static struct plan *plans[MAX_PLANS];
static Py_ssize_t plan_count;

static PyObject *completion_type, *statuses[STATUSES], *kinds[KINDS], *describe, *no_detail;
static PyObject *details[CREWS + 1][MAX_WORKERS][2]; /* of success; the last crew is "inline" */
static newfunc new_tuple;
static PyObject *name_source, *name_destination, *name_algorithm, *name_level, *name_window, *name_session,
    *name_dictionary, *name_content, *name_raw, *name_flush, *name_max_length, *name_max_members, *name_nbytes, *name_state, *name_paged, *name_memory,
    *name_recipe, *name_prepared, *name_steps, *name_wanting, *name_sessions, *name_nonces, *name_seen, *name_length, *name_is_complete, *name_other, *name_value, *name_initial, *name_secret, *name_signer, *name_way, *name_nonce, *name_aad, *name_tag_length;

/* Operations whose pages come when they are touched, in flight in all queues of the process. */
static _Atomic unsigned paged_in_flight;

/* ---- plans --------------------------------------------------------------------------------------------------- */

static PyObject *add_plan(PyObject *self, PyObject *args)
{
    int kind, format, engine, level, window, mapped, otherwise;
    unsigned long long fixed_ns, ns_per_kib;
    (void)self;
    if (!PyArg_ParseTuple(args, "iiiiipKKi", &kind, &format, &engine, &level, &window, &mapped, &fixed_ns, &ns_per_kib, &otherwise))
        return NULL;
    struct plan *plan = plan_count < MAX_PLANS ? malloc(sizeof *plan) : NULL;
    if (!plan)
        return PyErr_NoMemory();
    *plan = (struct plan){(uint8_t)kind, (uint8_t)format, (uint8_t)engine, (int8_t)level, (uint8_t)window,
                          mapped != 0, fixed_ns, ns_per_kib, otherwise, 0};
    plans[plan_count] = plan;
    return PyLong_FromSsize_t(plan_count++);
}

static struct plan nop_plan = {.kind = KIND_NOP, .otherwise = -1};
static struct plan chain_plan = {.kind = KIND_SEQUENCE, .engine = ENGINE_CHAIN, .otherwise = -1};

/* The threads that work for Python do it. */
static bool is_for_threads(const struct request *request)
{
    return request->plan->engine == ENGINE_PYTHON || request->plan->engine == ENGINE_SIGN;
}

/* ---- reading an operation ------------------------------------------------------------------------------------ */

static void forget_region(struct pin *pin)
{
    if (!pin->region)
        return;
    Py_XDECREF((PyObject *)pin->region->reason);
    region_free(pin->region);
    pin->region = NULL;
    atomic_fetch_sub(&paged_in_flight, 1);
}

static void unpin(struct pin *pin);

static void forget_links(struct pin *pin)
{
    struct links *links = pin->links;
    if (!links)
        return;
    for (uint32_t i = 0; i < links->chain.count; i++) {
        free(links->chain.steps[i].out);
        Py_XDECREF(links->secrets[i]);
    }
    Py_XDECREF(links->recipe);
    Py_XDECREF(links->nonces);
    Py_XDECREF(links->seen);
    free(links->chain.steps);
    free(links);
    pin->links = NULL;
}

static void unpin(struct pin *pin)
{
    forget_links(pin);
    forget_region(pin);
    for (uint32_t i = 0; i < pin->view_count; i++)
        PyBuffer_Release(&pin->views[i]);
    if (pin->views != pin->few_views)
        free(pin->views);
    if (pin->segments != &pin->one_segment)
        free(pin->segments);
    if (pin->busy)
        *pin->busy = false;
    pin->views = NULL;
    pin->view_count = 0;
    pin->segments = NULL;
    pin->busy = NULL;
    pin->final = false;
    Py_CLEAR(pin->tag);
    Py_CLEAR(pin->operation);
    Py_CLEAR(pin->dictionary);
    Py_CLEAR(pin->secret);
    Py_CLEAR(pin->beside[0]);
    Py_CLEAR(pin->beside[1]);
    Py_CLEAR(pin->paged);
    Py_CLEAR(pin->output);
    Py_CLEAR(pin->offered);
    Py_CLEAR(pin->detail);
}

/* READ_DONE: `status` and perhaps a Detail say why it ends here. READ_RAISED: so does an exception. */
enum read_result { READ_SUBMIT, READ_DONE, READ_RAISED };

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

/* An attribute that is a whole number; what is larger than 64 bits counts as the largest of them. */
static bool read_number(PyObject *operation, PyObject *name, uint64_t *value)
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

/* Whether no page of an input is absent. False, too: an exception was raised. */
static bool is_complete(PyObject *paged)
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

/* The operation holds its buffers, and the pin holds the operation; a view is taken so that whoever else has the
   buffer cannot resize it. */
static bool read_buffers(struct pin *pin, struct request *request, PyObject *operation)
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

/* The plan of a stateless operation: from the table, or by asking. */
static enum read_result find_plan(struct desk *desk, struct pin *pin, struct request *request, PyObject *operation,
                                  PyObject *table, PyObject *key)
{
    PyObject *number = key ? PyDict_GetItemWithError(table, key) : NULL;
    Py_XINCREF(number);
    Py_XDECREF(key);
    if (!number) {
        PyErr_Clear(); /* an unhashable key: the answer will say what is wrong with it */
        number = PyObject_CallFunctionObjArgs(desk->resolve, operation, NULL);
        if (!number)
            return READ_RAISED;
    }
    if (!PyLong_Check(number)) {
        pin->detail = number;
        request->status = STATUS_INVALID_ARGS;
        return READ_DONE;
    }
    request->plan = plans[PyLong_AsSsize_t(number)];
    Py_DECREF(number);
    return READ_SUBMIT;
}

static enum read_result read_compress(struct desk *desk, struct pin *pin, struct request *request,
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

static enum read_result read_decompress(struct desk *desk, struct pin *pin, struct request *request,
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

/* What there is beside the text; of exact types, since nothing of Python's must run here that could change it. */
static bool read_bytes(PyObject **held, PyObject *operation, PyObject *name, struct segment *segment)
{
    PyObject *object = *held = PyObject_GetAttr(operation, name);
    bool good = object && PyBytes_CheckExact(object);
    if (good)
        *segment = (struct segment){(const uint8_t *)PyBytes_AsString(object), (size_t)PyBytes_Size(object)};
    return good;
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

/* What there is beside the text and the key. False: it is nothing for a native worker. */
static bool read_beside(struct pin *pin, struct sealing *sealing, PyObject *operation)
{
    return read_bytes(&pin->beside[0], operation, name_nonce, &sealing->nonce) && read_bytes(&pin->beside[1], operation, name_aad, &sealing->aad)
           && sealing->aad.size <= SEAL_LONGEST && read_number(operation, name_tag_length, &sealing->tag_size);
}

/* What a native worker cannot do, or what is wrong, goes another way. */
static void read_sealing(struct pin *pin, struct request *request, PyObject *operation)
{
    struct sealing *sealing = &request->sealing;
    uint64_t size;
    if (!read_number(operation, name_nbytes, &size) || size > SEAL_LONGEST || !read_secret(pin, sealing, operation)
        || !read_beside(pin, sealing, operation) || !can_seal(sealing->secret, sealing, request->plan->format))
        request->plan = plans[request->plan->otherwise];
    PyErr_Clear();
}

/* How a way to sign is told: see way_of() in crypto/signers.py. False: it is none. */
static bool take_way(struct signing *signing, long way)
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

/* So too. The key is one that was read for OpenSSL before, by a thread. */
static void read_signing(struct pin *pin, struct request *request, PyObject *operation)
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

/* Work on memory, and all work of Python: the plan, and the number that the C side wants to know. */
static enum read_result read_other(struct desk *desk, struct pin *pin, struct request *request, PyObject *operation, int kind)
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

static int kind_of(PyObject *operation)
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

static enum read_result read_arguments(struct desk *desk, struct pin *pin, struct request *request, PyObject *operation);

static void forget_recipe(struct recipe *recipe)
{
    for (uint32_t i = 0; recipe->pins && i < recipe->count; i++)
        unpin(&recipe->pins[i]);
    free(recipe->steps);
    free(recipe->pins);
    free(recipe->wanting);
    free(recipe);
}

static void recipe_gone(PyObject *capsule)
{
    forget_recipe(PyCapsule_GetPointer(capsule, RECIPE));
}

/* A step, without its input and its key. False: it is not for native code, or is wrong; it can be found out in another way which. */
static bool read_step(struct desk *desk, struct pin *pin, struct request *step, PyObject *operation)
{
    Py_INCREF(operation);
    pin->operation = operation;
    return read_arguments(desk, pin, step, operation) == READ_SUBMIT && !step->session && step->kind != KIND_NOP
           && step->plan->engine != ENGINE_PYTHON && step->plan->engine != ENGINE_SIGN && step->plan->engine != ENGINE_CHAIN
           && (step->plan->engine != ENGINE_SEAL || read_beside(pin, &step->sealing, operation));
}

/* Which steps take a nonce of each sequence. */
static bool read_wanting(struct recipe *recipe, PyObject *wanting)
{
    memset(recipe->wanting, -1, recipe->count * sizeof *recipe->wanting);
    for (Py_ssize_t i = 0; i < PyTuple_Size(wanting); i++) {
        Py_ssize_t step = PyLong_AsSsize_t(PyTuple_GetItem(wanting, i));
        if (step < 0 || step >= (Py_ssize_t)recipe->count)
            return false;
        recipe->wanting[step] = (int32_t)i;
    }
    return true;
}

static bool fill_recipe(struct desk *desk, struct recipe *recipe, PyObject *steps, PyObject *wanting)
{
    size_t count = (size_t)PyTuple_Size(steps);
    recipe->steps = calloc(count, sizeof *recipe->steps);
    recipe->pins = calloc(count, sizeof *recipe->pins);
    recipe->wanting = calloc(count, sizeof *recipe->wanting);
    if (!recipe->steps || !recipe->pins || !recipe->wanting)
        return false;
    recipe->count = (uint32_t)count;
    recipe->native = read_wanting(recipe, wanting);
    for (uint32_t i = 0; recipe->native && i < count; i++)
        recipe->native = read_step(desk, &recipe->pins[i], &recipe->steps[i], PyTuple_GetItem(steps, (Py_ssize_t)i));
    PyErr_Clear();
    return true;
}

/* A recipe that nobody has read before. NULL: no memory, or it is none. */
static PyObject *new_recipe(struct desk *desk, PyObject *object)
{
    struct recipe *recipe = calloc(1, sizeof *recipe);
    PyObject *steps = PyObject_GetAttr(object, name_steps), *wanting = PyObject_GetAttr(object, name_wanting), *capsule = NULL;
    if (recipe && steps && wanting && PyTuple_Check(steps) && PyTuple_Check(wanting) && PyTuple_Size(steps) > 0 && PyTuple_Size(steps) < INT32_MAX
        && fill_recipe(desk, recipe, steps, wanting))
        capsule = PyCapsule_New(recipe, RECIPE, recipe_gone);
    if (!capsule && recipe)
        forget_recipe(recipe);
    Py_XDECREF(steps);
    Py_XDECREF(wanting);
    return capsule;
}

/* What this device has made of the recipe of a sequence. It stays with the recipe; one that outlives many devices forgets them. NULL:
   nothing can be made of it. */
static PyObject *recipe_of(struct desk *desk, PyObject *operation)
{
    PyObject *object = PyObject_GetAttr(operation, name_recipe);
    PyObject *prepared = object ? PyObject_GetAttr(object, name_prepared) : NULL;
    PyObject *capsule = prepared && PyDict_Check(prepared) ? PyDict_GetItemWithError(prepared, desk->capsule) : NULL;
    Py_XINCREF(capsule);
    if (!capsule && prepared && PyDict_Check(prepared) && (capsule = new_recipe(desk, object))) {
        if (PyDict_Size(prepared) >= RECIPE_DEVICES)
            PyDict_Clear(prepared);
        PyDict_SetItem(prepared, desk->capsule, capsule);
    }
    PyErr_Clear();
    Py_XDECREF(prepared);
    Py_XDECREF(object);
    return capsule;
}

/* The key and the nonce of a step. False: they are out of the ordinary, or wrong. */
static bool complete_step(const struct recipe *recipe, struct links *links, uint32_t number, PyObject *sessions, PyObject *nonces)
{
    struct request *step = &links->chain.steps[number];
    struct sealing *sealing = &step->sealing;
    int32_t wanted = recipe->wanting[number];
    if (step->plan->engine != ENGINE_SEAL)
        return wanted < 0;
    PyObject *session = PyTuple_GetItem(sessions, (Py_ssize_t)number);
    PyObject *nonce = wanted < 0 ? NULL : PyTuple_GetItem(nonces, wanted);
    PyObject *secret = session ? PyObject_GetAttr(session, name_secret) : NULL;
    links->secrets[number] = secret;
    sealing->secret = secret && secret != Py_None ? PyCapsule_GetPointer(secret, SECRET) : NULL;
    if (nonce && PyBytes_CheckExact(nonce))
        sealing->nonce = (struct segment){(const uint8_t *)PyBytes_AsString(nonce), (size_t)PyBytes_Size(nonce)};
    return sealing->secret && (wanted < 0 || (nonce && PyBytes_CheckExact(nonce))) && can_seal(sealing->secret, sealing, step->plan->format);
}

static struct links *new_links(PyObject *capsule, const struct recipe *recipe)
{
    struct links *links = calloc(1, sizeof *links + recipe->count * sizeof *links->secrets);
    if (!links || !(links->chain.steps = malloc(recipe->count * sizeof *recipe->steps))) {
        free(links);
        return NULL;
    }
    Py_INCREF(capsule);
    links->recipe = capsule;
    memcpy(links->chain.steps, recipe->steps, recipe->count * sizeof *recipe->steps);
    links->chain.count = recipe->count;
    return links;
}

/* A sequence whose input was read. If there is C for all its steps, a native worker does it; else it stays with Python. */
static void read_sequence(struct desk *desk, struct pin *pin, struct request *request, PyObject *operation)
{
    PyObject *capsule = pin->paged && !is_complete(pin->paged) ? NULL : recipe_of(desk, operation);
    const struct recipe *recipe = capsule ? PyCapsule_GetPointer(capsule, RECIPE) : NULL;
    struct links *links = recipe && recipe->native ? new_links(capsule, recipe) : NULL;
    PyObject *sessions = links ? PyObject_GetAttr(operation, name_sessions) : NULL;
    PyObject *nonces = sessions ? links->nonces = PyObject_GetAttr(operation, name_nonces) : NULL;
    uint64_t size;
    bool good = nonces && PyTuple_Check(sessions) && PyTuple_Check(nonces) && read_number(operation, name_nbytes, &size)
                && size <= SEAL_LONGEST && (links->seen = PyObject_GetAttr(operation, name_seen)) && PyList_Check(links->seen);
    pin->links = links;
    for (uint32_t i = 0; good && i < recipe->count; i++)
        good = complete_step(recipe, links, i, sessions, nonces);
    if (good) {
        Py_CLEAR(pin->paged);
        links->chain.steps->segments = request->segments;
        links->chain.steps->count = request->count;
        request->plan = &chain_plan;
        request->chain = &links->chain;
    } else {
        forget_links(pin);
        PyErr_Clear();
    }
    Py_XDECREF(sessions);
    Py_XDECREF(capsule);
}

/* Everything but the buffers, and what else is beside them. */
static enum read_result read_arguments(struct desk *desk, struct pin *pin, struct request *request, PyObject *operation)
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

static enum read_result read_operation(struct desk *desk, struct pin *pin, struct request *request, PyObject *operation)
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

/* Where the length of the output can be told, the worker may write it where it will be wanted. All but the ends of that memory is
   not touched here, and it is the worker's until the request is done. Without an offer the output is copied. */
static void make_offer(struct pin *pin, struct request *request)
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

static enum read_result refuse_pages(struct request *request)
{
    fail(request, STATUS_INVALID_ARGS, CAUSE_NONE, "pages of the input are absent, and cannot be fetched here: fetch all of them before");
    return READ_DONE;
}

/* The operation cannot be read: that is its caller's mistake, and its completion says so. */
static void put_exception(struct request *request)
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

/* ---- making a completion ------------------------------------------------------------------------------------- */

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

/* Completion(tag, status, output, consumed, produced, detail), without its Python-level constructor. */
static PyObject *make_completion(PyObject *tag, struct request *request, struct pin *pin)
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

/* ---- desks and work in the caller's thread ------------------------------------------------------------------- */

static void desk_gone(PyObject *capsule)
{
    struct desk *desk = PyCapsule_GetPointer(capsule, DESK);
    Py_XDECREF(desk->compress);
    Py_XDECREF(desk->decompress);
    Py_XDECREF(desk->others);
    Py_XDECREF(desk->resolve);
    Py_XDECREF(desk->helpers);
    Py_XDECREF(desk->run);
    Py_XDECREF(desk->line);
    free(desk);
}

static PyObject *open_desk(PyObject *self, PyObject *args)
{
    struct desk *desk = calloc(1, sizeof *desk);
    (void)self;
    if (!desk)
        return PyErr_NoMemory();
    if (!PyArg_ParseTuple(args, "OOOOOOOI", &desk->compress, &desk->decompress, &desk->others, &desk->resolve, &desk->helpers,
                          &desk->run, &desk->line, &desk->paged_workers)) {
        free(desk);
        return NULL;
    }
    Py_INCREF(desk->compress);
    Py_INCREF(desk->decompress);
    Py_INCREF(desk->others);
    Py_INCREF(desk->resolve);
    Py_INCREF(desk->helpers);
    Py_INCREF(desk->run);
    Py_INCREF(desk->line);
    desk->capsule = PyCapsule_New(desk, DESK, desk_gone);
    return desk->capsule;
}

/* Output of a decompression that may be made on the caller's thread at worst: about 0.3 ms, if somebody sends a bomb. */
enum { INLINE_OUTPUT = 1 << 20, MOST_EXPANSION = 1032 };

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

/* The codec state of a thread that runs operations itself, until that thread ends. */
static _Thread_local struct kit *inline_kit;
static pthread_key_t inline_kits;

static void inline_kit_gone(void *kit)
{
    kit_free(kit);
}

/* NULL: no memory. */
static struct kit *own_kit(void)
{
    if (!inline_kit && (inline_kit = kit_new()))
        pthread_setspecific(inline_kits, inline_kit);
    return inline_kit;
}

static bool finish_by_python(struct request *request, struct pin *pin, PyObject *outcome);

static void run_inline_plan(struct desk *desk, struct request *request, struct pin *pin, PyObject *operation)
{
    if (request->plan->engine == ENGINE_SIGN)
        request->plan = plans[request->plan->otherwise];
    if (request->plan->engine == ENGINE_PYTHON) {
        Py_ssize_t number = 0;
        while (plans[number] != request->plan)
            number++;
        PyObject *outcome = PyObject_CallFunction(desk->run, "OnO", operation, number, Py_None);
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

/* ---- work so small that an operation object would cost more ---------------------------------------------------- */

/* Exact bytes only, whose memory is there and does not change; anything else, and what fails, is for the usual way: None. */
static bool is_bytes(PyObject *object, struct segment *segment)
{
    if (!PyBytes_CheckExact(object))
        return false;
    *segment = (struct segment){(const uint8_t *)PyBytes_AsString(object), (size_t)PyBytes_Size(object)};
    return true;
}

/* digest(data) -> bytes or None */
static PyObject *tiny_digest(PyObject *self, PyObject *data)
{
    const struct plan *plan = PyCapsule_GetPointer(self, TINY);
    uint8_t output[DIGEST_MOST];
    struct segment input;
    size_t size = is_bytes(data, &input) && own_kit() ? digest_bytes(inline_kit, plan->format, input, output) : 0;
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
    if (count != 4 || !is_bytes(arguments[1], &sealing.nonce) || !is_bytes(arguments[2], &input)
        || !is_bytes(arguments[3], &sealing.aad) || !own_kit())
        Py_RETURN_NONE;
    Py_ssize_t size = (Py_ssize_t)input.size + (plan->kind == KIND_SEAL ? SEAL_TAG : -SEAL_TAG);
    PyObject *secret = PyObject_GetAttr(arguments[0], name_secret);
    PyObject *output = NULL;
    if (secret && secret != Py_None && size >= 0 && (sealing.secret = PyCapsule_GetPointer(secret, SECRET)))
        output = PyBytes_FromStringAndSize(NULL, size);
    if (output && !seal_bytes(inline_kit, plan, &sealing, input, (uint8_t *)PyBytes_AsString(output))) {
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

/* ---- ports --------------------------------------------------------------------------------------------------- */

static struct pin *pin_of(struct port *port, const struct slot *slot)
{
    return &port->pins[slot - port->queue->slots];
}

/* The thread's own, of those that work for Python. */
static _Thread_local struct hand *own_hand;

/* This thread has work of the port in hand, and Python runs in it: to wait until nobody has would be for ever. */
static bool works_here(const struct port *port)
{
    return own_hand && own_hand->slot && own_hand->queue == port->queue;
}

static void port_free(struct port *port)
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

/* ---- Python threads ------------------------------------------------------------------------------------------ */

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
    Py_ssize_t number = 0;
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
    while (plans[number] != hand->slot->request.plan)
        number++;
    struct pin *pin = pin_of(hand->queue->owner, hand->slot);
    const struct port *port = hand->queue->owner;
    const struct desk *desk = PyCapsule_GetPointer(port->desk, DESK);
    PyObject *task = Py_BuildValue("OnO", pin->operation, number, desk->run);
    if (!task) { /* no memory for a tuple: this thread ends, and its operation with it */
        fail_memory(&hand->slot->request, sizeof(void *) * 3);
        finish_python_slot(hand);
    }
    return task;
}

/* outcome: (status, output or None, consumed, produced, final, detail or None) */
static bool finish_by_python(struct request *request, struct pin *pin, PyObject *outcome)
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

/* ---- page faults --------------------------------------------------------------------------------------------- */

static void line_gone(PyObject *capsule)
{
    line_free(PyCapsule_GetPointer(capsule, LINE));
}

/* open_line() -> line, descriptor */
static PyObject *open_line(PyObject *self, PyObject *nothing)
{
    (void)self, (void)nothing;
    struct fault_line *line = line_open();
    if (!line)
        return PyErr_SetFromErrno(PyExc_OSError);
    PyObject *capsule = PyCapsule_New(line, LINE, line_gone);
    return capsule ? Py_BuildValue("Ni", capsule, line->descriptor) : NULL;
}

static void hold_paged(void *paged)
{
    Py_INCREF((PyObject *)paged);
}

/* next() -> (number of the region, PagedBuffer, offset of the page in bytes), or None: none waits */
static PyObject *next_touch(PyObject *self, PyObject *nothing)
{
    struct touch touch;
    (void)nothing;
    if (!line_next(PyCapsule_GetPointer(self, LINE), &touch, hold_paged))
        Py_RETURN_NONE;
    return Py_BuildValue("KNn", (unsigned long long)touch.number, (PyObject *)touch.owner, (Py_ssize_t)touch.offset);
}

/* supply(number, offset, length, asked) -> whether the region is still there */
static PyObject *supply(PyObject *self, PyObject *args)
{
    unsigned long long number;
    Py_ssize_t offset, length;
    int asked;
    (void)self;
    if (!PyArg_ParseTuple(args, "Knnp", &number, &offset, &length, &asked))
        return NULL;
    return PyBool_FromLong(region_supply(number, (size_t)offset, (size_t)length, asked));
}

/* refuse(number, why) -> whether the region is still there */
static PyObject *refuse_page(PyObject *self, PyObject *args)
{
    unsigned long long number;
    PyObject *why;
    (void)self;
    if (!PyArg_ParseTuple(args, "KU", &number, &why))
        return NULL;
    Py_INCREF(why);
    bool there = region_refuse(number, STATUS_PAGE_FAULT, why);
    if (!there)
        Py_DECREF(why);
    return PyBool_FromLong(there);
}

static PyObject *close_line(PyObject *self, PyObject *nothing)
{
    (void)nothing;
    line_close(PyCapsule_GetPointer(self, LINE));
    Py_RETURN_NONE;
}

/* ---- sessions ------------------------------------------------------------------------------------------------ */

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

enum { TRIED_SEGMENTS = 4 };

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

/* ---- the module ---------------------------------------------------------------------------------------------- */

static PyMethodDef PORT_METHODS[] = {
    {"enqueue_burst", port_enqueue, METH_O, NULL}, {"dequeue_burst", port_dequeue, METH_O, NULL},
    {"arm", port_arm, METH_NOARGS, NULL},          {"withdraw", port_withdraw, METH_O, NULL},
    {"stop", port_stop, METH_NOARGS, NULL},        {"close", port_close, METH_NOARGS, NULL},
    {"counters", port_counters, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL},
};

static PyMethodDef DESK_METHODS[] = {
    {"cost", inline_cost, METH_O, NULL},
    {"run", inline_run, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef LINE_METHODS[] = {
    {"next", next_touch, METH_NOARGS, NULL},
    {"supply", supply, METH_VARARGS, NULL},
    {"refuse", refuse_page, METH_VARARGS, NULL},
    {"close", close_line, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* methods(desk, port or line) -> its builtin functions, bound to it, in the order of the table above */
static PyObject *methods(PyObject *self, PyObject *capsule)
{
    PyMethodDef *method = PyCapsule_IsValid(capsule, PORT) ? PORT_METHODS
                          : PyCapsule_IsValid(capsule, DESK) ? DESK_METHODS
                          : PyCapsule_IsValid(capsule, LINE) ? LINE_METHODS : NULL;
    (void)self;
    if (!method) {
        PyErr_SetString(PyExc_TypeError, "methods: expected a desk, a port or a line");
        return NULL;
    }
    PyObject *found = PyList_New(0);
    for (; found && method->ml_name; method++) {
        PyObject *function = PyCFunction_NewEx(method, capsule, NULL);
        if (!function || PyList_Append(found, function) < 0)
            Py_CLEAR(found);
        Py_XDECREF(function);
    }
    return found;
}

/* configure(Completion, (Status, ...), (Nop, Compress, ...), describe, NO_DETAIL) */
static PyObject *configure(PyObject *self, PyObject *args)
{
    PyObject *status_tuple, *kind_tuple;
    (void)self;
    if (!PyArg_ParseTuple(args, "OO!O!OO", &completion_type, &PyTuple_Type, &status_tuple, &PyTuple_Type, &kind_tuple,
                          &describe, &no_detail))
        return NULL;
    if (PyTuple_Size(status_tuple) != STATUSES || PyTuple_Size(kind_tuple) != KINDS) {
        PyErr_SetString(PyExc_ValueError, "configure: the tables in C are of another version");
        return NULL;
    }
    Py_INCREF(completion_type);
    Py_INCREF(describe);
    Py_INCREF(no_detail);
    for (int i = 0; i < STATUSES; i++) {
        statuses[i] = PyTuple_GetItem(status_tuple, i);
        Py_INCREF(statuses[i]);
    }
    for (int i = 0; i < KINDS; i++) {
        kinds[i] = PyTuple_GetItem(kind_tuple, i);
        Py_INCREF(kinds[i]);
    }
    Py_RETURN_NONE;
}

static PyMethodDef FUNCTIONS[] = {
    {"configure", configure, METH_VARARGS, NULL},
    {"methods", methods, METH_O, NULL},
    {"add_plan", add_plan, METH_VARARGS, NULL},
    {"open_desk", open_desk, METH_VARARGS, NULL},
    {"open_port", open_port, METH_VARARGS, NULL},
    {"open_line", open_line, METH_NOARGS, NULL},
    {"open_session", open_session, METH_VARARGS, NULL},
    {"new_secret", new_secret, METH_VARARGS, NULL},
    {"is_expanded", is_expanded, METH_O, NULL},
    {"try_sealing", try_sealing, METH_VARARGS, NULL},
    {"new_signer", new_signer, METH_O, NULL},
    {"reset_session", reset_session, METH_O, NULL},
    {"close_session", close_session, METH_O, NULL},
    {"join", join, METH_NOARGS, NULL},
    {"leave", leave, METH_O, NULL},
    {"next_task", next_task, METH_O, NULL},
    {"finish_task", finish_task, METH_VARARGS, NULL},
    {"tiny", tiny, METH_O, NULL},
    {"must_stop", task_must_stop, METH_O, NULL},
    {"explain", explain, METH_VARARGS, NULL},
    {"measure", measure, METH_VARARGS, NULL},
    {"crc32c", crc32c, METH_VARARGS, NULL},
    {"try_digests", try_digests, METH_VARARGS, NULL},
    {"try_signing", try_signing, METH_VARARGS, NULL},
    {"set_batches", set_batches_, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static bool intern_names(void)
{
    static const struct {
        PyObject **place;
        const char *name;
    } NAMES[] = {
        {&name_source, "source"},         {&name_destination, "destination"}, {&name_algorithm, "algorithm"},
        {&name_dictionary, "dictionary"}, {&name_content, "content"},         {&name_raw, "raw"},
        {&name_level, "level"},           {&name_window, "window"},           {&name_session, "session"},
        {&name_flush, "flush"},           {&name_max_length, "max_length"},   {&name_max_members, "max_members"},
        {&name_nbytes, "nbytes"},         {&name_state, "state"},
        {&name_paged, "paged"},           {&name_memory, "memory"},           {&name_length, "length"},
        {&name_is_complete, "is_complete"}, {&name_other, "other"},           {&name_value, "value"},
        {&name_initial, "initial"},       {&name_secret, "secret"},           {&name_signer, "signer"},
        {&name_way, "way"},
        {&name_recipe, "recipe"},         {&name_prepared, "prepared"},       {&name_steps, "steps"},
        {&name_wanting, "wanting"},       {&name_sessions, "sessions"},       {&name_nonces, "nonces"},
        {&name_seen, "seen"},             {&name_nonce, "nonce"},           {&name_aad, "aad"},                   {&name_tag_length, "tag_length"},
    };
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (!(*NAMES[i].place = PyUnicode_InternFromString(NAMES[i].name)))
            return false;
    return true;
}

/* cffi knows no Python objects. So this puts the functions above into the module that cffi made, by name. */
int install(const char *module_name)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *module = PyImport_ImportModule(module_name);
    bool good = module && intern_names() && !pthread_key_create(&inline_kits, inline_kit_gone) && gate_watch_forks();
    new_tuple = (newfunc)PyType_GetSlot(&PyTuple_Type, Py_tp_new);
    for (PyMethodDef *method = FUNCTIONS; good && method->ml_name; method++) {
        PyObject *function = PyCFunction_NewEx(method, NULL, NULL);
        good = function && !PyObject_SetAttrString(module, method->ml_name, function);
        Py_XDECREF(function);
    }
    Py_XDECREF(module);
    PyErr_Clear();
    PyGILState_Release(state);
    return good;
}

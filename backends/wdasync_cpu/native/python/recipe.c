/* Recipes are read once for each device; a sequence takes a copy of the steps, and brings keys and nonces. */
#include "recipe.h"

#include <stdlib.h>
#include <string.h>

#include "buffers.h"
#include "reading.h"
#include "secrets.h"

static const char RECIPE[] = "wdasync_cpu.recipe";

/* Devices for which a recipe is kept ready at a time. */
enum { RECIPE_DEVICES = 16 };

/* What the sequences of one recipe have in common, read once: requests that lack their input, the key of each that has one,
   and a nonce if `wanting` says so. It holds the operations that it was read from. */
struct recipe {
    uint32_t count;
    bool native; /* there is C for all steps */
    struct request *steps;
    struct pin *pins;
    int32_t *wanting; /* for each step: which of a sequence's nonces it gets; -1: none */
};

void forget_links(struct pin *pin)
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

void read_sequence(struct desk *desk, struct pin *pin, struct request *request, PyObject *operation)
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

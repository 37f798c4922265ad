/* A *pin* holds what an operation in flight refers to, one pin a slot. */
#ifndef WDASYNC_PYTHON_PIN_H
#define WDASYNC_PYTHON_PIN_H

#include "module.h"
#include "region.h"

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

/* Operations whose pages come when they are touched, in flight in all queues of the process. */
extern _Atomic unsigned paged_in_flight;

/* Lets all of it go. */
void unpin(struct pin *pin);

#endif

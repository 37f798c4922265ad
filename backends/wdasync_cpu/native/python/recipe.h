/* Sequences: what those of one recipe have in common, and the steps of each. */
#ifndef WDASYNC_PYTHON_RECIPE_H
#define WDASYNC_PYTHON_RECIPE_H

#include "desk.h"

/* The steps of one sequence. */
struct links {
    struct chain chain;
    PyObject *recipe;    /* holds what the steps have of it */
    PyObject *nonces;    /* so too */
    PyObject *seen;      /* a list: what the steps that only look have found */
    PyObject *secrets[]; /* hold the keys, whatever becomes of their sessions; NULL: the step has none */
};

void forget_links(struct pin *pin);

/* A sequence whose input was read. If there is C for all its steps, a native worker does it; else it stays with Python. */
void read_sequence(struct desk *desk, struct pin *pin, struct request *request, PyObject *operation);

#endif

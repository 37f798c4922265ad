/* What all of this side of the module shares: Python by its stable ABI of 3.11, so that one build serves all later versions, the
 * names of attributes, and what the tables in C are told of those in Python.
 */
#ifndef WDASYNC_PYTHON_MODULE_H
#define WDASYNC_PYTHON_MODULE_H

#include <pyconfig.h>

#if !defined(Py_GIL_DISABLED) && !defined(Py_LIMITED_API) && !defined(Py_DEBUG)
#define Py_LIMITED_API 0x030b0000
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>

#include "codec.h"

enum { KINDS = KIND_HAND_OVER, STATUSES = 10 };

/* Attributes that are looked at. */
#define ATTRIBUTES(X) \
    X(aad) X(algorithm) X(content) X(destination) X(dictionary) X(flush) X(initial) X(is_complete) X(length) X(level) \
    X(max_length) X(max_members) X(memory) X(nbytes) X(nonce) X(nonces) X(other) X(paged) X(prepared) X(raw) X(recipe) \
    X(secret) X(seen) X(session) X(sessions) X(signer) X(source) X(state) X(steps) X(tag_length) X(value) X(wanting) \
    X(way) X(window)

#define DECLARE(name) extern PyObject *name_##name;
ATTRIBUTES(DECLARE)
#undef DECLARE

/* Completion, the members of Status, the class of each kind of operation, and what makes a Detail. */
extern PyObject *completion_type, *statuses[STATUSES], *kinds[KINDS], *describe;

/* What each part puts into the module. */
extern PyMethodDef DESK_FUNCTIONS[], PORT_FUNCTIONS[], HAND_FUNCTIONS[], LINE_FUNCTIONS[], STATE_FUNCTIONS[], TINY_FUNCTIONS[],
    TRIAL_FUNCTIONS[];

/* What is bound to a desk, a port and a line. */
extern PyMethodDef DESK_METHODS[], PORT_METHODS[], LINE_METHODS[];

#endif

/* Completions, as Python sees them. */
#ifndef WDASYNC_PYTHON_COMPLETION_H
#define WDASYNC_PYTHON_COMPLETION_H

#include "pin.h"

/* Completion(tag, status, output, consumed, produced, detail), without its Python-level constructor. */
PyObject *make_completion(PyObject *tag, struct request *request, struct pin *pin);

/* Takes the tuple's constructor. */
void completions_init(void);

#endif

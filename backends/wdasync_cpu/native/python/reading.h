/* Operations of Python become requests. */
#ifndef WDASYNC_PYTHON_READING_H
#define WDASYNC_PYTHON_READING_H

#include "desk.h"

/* An attribute that is a whole number; what is larger than 64 bits counts as the largest of them. */
bool read_number(PyObject *operation, PyObject *name, uint64_t *value);

enum read_result read_compress(struct desk *desk, struct pin *pin, struct request *request, PyObject *operation);

enum read_result read_decompress(struct desk *desk, struct pin *pin, struct request *request, PyObject *operation);

/* Work on memory, and all work of Python: the plan, and the number that the C side wants to know. */
enum read_result read_other(struct desk *desk, struct pin *pin, struct request *request, PyObject *operation, int kind);

int kind_of(PyObject *operation);

/* Everything but the buffers, and what else is beside them. */
enum read_result read_arguments(struct desk *desk, struct pin *pin, struct request *request, PyObject *operation);

enum read_result read_operation(struct desk *desk, struct pin *pin, struct request *request, PyObject *operation);

enum read_result refuse_pages(struct request *request);

/* The operation cannot be read: that is its caller's mistake, and its completion says so. */
void put_exception(struct request *request);

#endif

/* The memory that an operation reads and writes. */
#ifndef WDASYNC_PYTHON_BUFFERS_H
#define WDASYNC_PYTHON_BUFFERS_H

#include "pin.h"

/* Whether no page of an input is absent. False, too: an exception was raised. */
bool is_complete(PyObject *paged);

/* The operation holds its buffers, and the pin holds the operation; a view is taken so that whoever else has the
   buffer cannot resize it. */
bool read_buffers(struct pin *pin, struct request *request, PyObject *operation);

/* Where the length of the output can be told, the worker may write it where it will be wanted. All but the ends of that memory is
   not touched here, and it is the worker's until the request is done. Without an offer the output is copied. */
void make_offer(struct pin *pin, struct request *request);

/* More than this is not copied on the owner's thread: a worker does it. */
enum { COPY_LIMIT = 256 * 1024 };

#endif

/* What outlives an operation: streams, keys. */
#ifndef WDASYNC_PYTHON_STATE_H
#define WDASYNC_PYTHON_STATE_H

#include "module.h"

extern const char SESSION[];

#endif

/* A *line* belongs to a device: the page faults of its operations come on it. */
#ifndef WDASYNC_PYTHON_LINE_H
#define WDASYNC_PYTHON_LINE_H

#include "module.h"
#include "region.h"

extern const char LINE[];

#endif

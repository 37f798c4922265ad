/* A *port* belongs to a queue: it pins what its operations refer to. */
#ifndef WDASYNC_PYTHON_PORT_H
#define WDASYNC_PYTHON_PORT_H

#include "desk.h"
#include "ring.h"

extern const char PORT[];

struct port {
    struct queue *queue;
    struct pin *pins;
    PyObject *desk;
};

struct pin *pin_of(struct port *port, const struct slot *slot);

void port_free(struct port *port);

#endif

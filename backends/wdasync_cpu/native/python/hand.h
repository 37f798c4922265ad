/* A *hand* belongs to a Python thread that works for the rings. */
#ifndef WDASYNC_PYTHON_HAND_H
#define WDASYNC_PYTHON_HAND_H

#include "port.h"

struct hand {
    struct worker *worker;
    struct queue *queue;
    struct slot *slot;
    struct kit *kit;
    struct port *last; /* of its slot's queue: to be freed when that slot is finished */
    bool left;
};

/* The thread's own, of those that work for Python. */
extern _Thread_local struct hand *own_hand;

/* outcome: (status, output or None, consumed, produced, final, detail or None) */
bool finish_by_python(struct request *request, struct pin *pin, PyObject *outcome);

#endif

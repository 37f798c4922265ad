/* Letting go of what an operation in flight refers to. */
#include "pin.h"

#include <stdlib.h>

#include "recipe.h"

_Atomic unsigned paged_in_flight;

static void forget_region(struct pin *pin)
{
    if (!pin->region)
        return;
    Py_XDECREF((PyObject *)pin->region->reason);
    region_free(pin->region);
    pin->region = NULL;
    atomic_fetch_sub(&paged_in_flight, 1);
}

void unpin(struct pin *pin)
{
    forget_links(pin);
    forget_region(pin);
    for (uint32_t i = 0; i < pin->view_count; i++)
        PyBuffer_Release(&pin->views[i]);
    if (pin->views != pin->few_views)
        free(pin->views);
    if (pin->segments != &pin->one_segment)
        free(pin->segments);
    if (pin->busy)
        *pin->busy = false;
    pin->views = NULL;
    pin->view_count = 0;
    pin->segments = NULL;
    pin->busy = NULL;
    pin->final = false;
    Py_CLEAR(pin->tag);
    Py_CLEAR(pin->operation);
    Py_CLEAR(pin->dictionary);
    Py_CLEAR(pin->secret);
    Py_CLEAR(pin->beside[0]);
    Py_CLEAR(pin->beside[1]);
    Py_CLEAR(pin->paged);
    Py_CLEAR(pin->output);
    Py_CLEAR(pin->offered);
    Py_CLEAR(pin->detail);
}

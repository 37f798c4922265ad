/* A *desk* belongs to a device: it knows which plan an operation has, and who does what has no C. */
#ifndef WDASYNC_PYTHON_DESK_H
#define WDASYNC_PYTHON_DESK_H

#include "module.h"
#include "pin.h"

extern const char DESK[];

struct desk {
    PyObject *capsule;    /* its own, which holds it */
    PyObject *compress;   /* (algorithm, level, window) -> number of a plan */
    PyObject *decompress; /* algorithm -> number of a plan */
    PyObject *others;     /* (class, algorithm) -> number of a plan */
    PyObject *resolve;    /* operation -> number of a plan, or a Detail that says why there is none */
    PyObject *helpers;    /* called when Python threads are needed and there are none */
    PyObject *run;        /* operation, number of a plan, hand or None -> what finish_task() takes */
    PyObject *line;       /* or None: all pages have to be there */
    unsigned paged_workers; /* most of them */
};

enum { MAX_PLANS = 1 << 14 };

/* By their numbers. */
extern struct plan *plans[MAX_PLANS];
extern Py_ssize_t plan_count;

extern struct plan nop_plan, chain_plan;

/* READ_DONE: `status` and perhaps a Detail say why it ends here. READ_RAISED: so does an exception. */
enum read_result { READ_SUBMIT, READ_DONE, READ_RAISED };

/* The threads that work for Python do it. */
bool is_for_threads(const struct request *request);

/* The plan of a stateless operation: from the table, or by asking. */
enum read_result find_plan(struct desk *desk, struct pin *pin, struct request *request, PyObject *operation, PyObject *table, PyObject *key);

/* The number of a plan. */
Py_ssize_t plan_number(const struct plan *plan);

#endif

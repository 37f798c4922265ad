/* Input whose pages come when they are touched: userfaultfd(2). No Python in here.
 *
 * A *region* is private memory that stands for the input of one operation. The worker that runs the operation makes it,
 * and nobody else knows where it is, so no thread that others wait for can run into a page that is not there. A touch
 * parks the worker in the kernel, and shows on the *fault line*, the userfaultfd of a device. Whoever serves the line
 * copies the page in, which lets the worker go on; or refuses it, and then the rest of the region reads as zeros, the
 * codec is told to give up, and what it made is thrown away.
 *
 * A region is known by its number to those who serve the line: it may be gone when they have their answer.
 */
#ifndef WDASYNC_REGION_H
#define WDASYNC_REGION_H

#include <pthread.h>

#include "request.h"

enum { REGION_PAGE = 4096 };

struct fault_line {
    int descriptor; /* -1: closed, or the parent's of a forked child */
    struct fault_line *next;
};

struct region {
    struct fault_line *line;
    const uint8_t *source;  /* the owner's memory, whole pages, from which they are copied */
    size_t size;            /* whole pages, in bytes */
    void *owner;            /* whatever the owner wants to find from here */
    struct segment input;   /* what a codec reads */
    uint64_t number;        /* 0: not open */
    atomic_bool refused;
    uint8_t status;         /* if it was refused */
    void *reason;           /* if it was refused: what the refuser said */
    _Atomic uint32_t taken; /* touches for which somebody had to be asked */
    pthread_mutex_t in_use; /* the memory stays while this is held */
    struct region *next;
};

struct touch {
    uint64_t number;
    size_t offset; /* of the page, in bytes */
    void *owner;
};

/* A device: NULL, with errno, if the kernel refuses. */
struct fault_line *line_open(void);
void line_close(struct fault_line *line);
void line_free(struct fault_line *line);

/* Who serves the line. `hold` is called with the region's owner before the region can go. */
bool line_next(struct fault_line *line, struct touch *touch, void (*hold)(void *owner)); /* false: none waits */
bool region_supply(uint64_t number, size_t offset, size_t length, bool asked); /* false: then refuse it, unless it is gone */
bool region_refuse(uint64_t number, enum status status, void *reason); /* false: it is gone or was refused; no `reason` is taken */

/* The owner. The size is that of the input, in bytes; there is at least one. NULL: no memory. */
struct region *region_new(struct fault_line *line, const uint8_t *source, size_t size, void *owner);
void region_abort(struct region *region); /* at any time; never waits for a page */
void region_free(struct region *region);

/* The worker. */
int region_open(struct region *region); /* 0, or errno; ECANCELED: it was refused already */
void region_close(struct region *region);
bool region_was_refused(const struct region *region);

/* The process ends: nobody serves any line. */
void regions_end(void);
void regions_forget(void); /* in a forked child */

#endif

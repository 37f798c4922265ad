/* The rings between one owner thread and the workers: submission, completion, wake-up. No Python in here.
 *
 * A *queue* belongs to one owner thread. It has a fixed number of *slots*. Five *lanes* carry slot numbers to the
 * workers: copies of large outputs (first, as they are short), work for native workers, work for Python threads and
 * with private keys, work that waits for pages of its input, work that is done quicker several at a time: of that a
 * native worker takes what lies there. Finished slots come back on one stack, whose top word also says whether the owner sleeps.
 *
 * A *crew* is a set of workers: one of native threads, one of Python threads, one of native threads for what waits
 * for pages, since that may be for what another operation makes, and one of native threads at a low priority, which take
 * *lengthy* work when all native workers are busy and the owner is not: they live on what it leaves of its core. There is
 * one of each in a process. Every worker of a crew serves every queue.
 */
#ifndef WDASYNC_RING_H
#define WDASYNC_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "owner.h"
#include "request.h"

enum lane_name { LANE_COPY, LANE_NATIVE, LANE_PYTHON, LANE_PAGED, LANE_BATCH, LANES };
enum crew_name { CREW_NATIVE, CREW_PYTHON, CREW_PAGED, CREW_SPARE, CREWS };
enum { PRIORITIES = 3, MAX_QUEUES = 1024, MAX_WORKERS = 256, MAX_DEPTH = 1 << 16 };

/* What the owner knows of a slot. */
enum slot_state { SLOT_FREE, SLOT_SUBMITTED, SLOT_DONE };

struct slot {
    struct request request;
    uint32_t cell;  /* where it lies in its lane; the owner's */
    uint32_t next;  /* the one below it on the stack of finished slots */
    uint8_t lane;   /* the owner's */
    uint8_t state;  /* the owner's */
    bool lengthy;   /* worth the trouble of a spare worker; the owner's */
    uint64_t cost;  /* estimated nanoseconds; the owner's */
};

struct lane {
    _Alignas(64) _Atomic uint64_t head; /* next position that a worker claims */
    _Alignas(64) _Atomic uint64_t tail; /* first position not published */
    uint64_t staged;                    /* first position not filled; the owner's */
    _Atomic uint32_t *cells;
    uint32_t *holes; /* cells of withdrawn slots, that may be filled again; the owner's */
    uint32_t hole_count;
};

struct queue_counters {
    uint64_t enqueued, dequeued, withdrawn, rejected, wakes, levels_mapped, copies, python, paged, batched, direct;
};

struct queue {
    uint32_t depth;
    int priority;
    int event;            /* eventfd */
    uint32_t generation;  /* how many forks lie between the first process and the one that opened it */
    int place;            /* in the registry; -1: not there */
    struct slot *slots;
    uint32_t *free;
    uint32_t free_count;
    uint32_t mask;        /* cells of a lane, minus one */
    struct lane lanes[LANES];
    _Alignas(64) _Atomic uint32_t done; /* top of the stack of finished slots, or whether the owner sleeps */
    _Atomic uint32_t untold;            /* finished since the owner went to sleep, without its being woken */
    _Atomic int64_t untold_since;       /* in nanoseconds */
    _Alignas(64) uint32_t ready;        /* finished slots that the owner has taken off, oldest first */
    uint32_t ready_last;
    bool armed;           /* the owner said that it goes to sleep */
    int64_t owed;         /* wake-ups that were ordered and not yet read from the eventfd */
    atomic_bool stopping;
    bool closed;
    struct queue_counters counters;
    struct owner thread;  /* the owner's */
    void *owner;          /* whatever the owner wants to find from here */
};

struct worker;

/* Owner: open and close. A depth is at least 1 and at most MAX_DEPTH. NULL, with errno, if there is none to be had. */
struct queue *queue_open(uint32_t depth, int priority);
void queue_stop(struct queue *queue);
void queue_close(struct queue *queue); /* waits for the workers to leave it */
void queue_free(struct queue *queue);
bool queue_is_ours(const struct queue *queue); /* false in a forked child of the process that opened it */

/* Owner: the way in. A slot that was acquired is submitted, finished or released. */
struct slot *queue_acquire(struct queue *queue);
bool queue_submit(struct queue *queue, struct slot *slot, enum lane_name lane); /* false: no room just now */
void queue_kick(struct queue *queue); /* publish what was submitted, wake a worker */
void queue_finish(struct queue *queue, struct slot *slot); /* also the workers' */
bool queue_withdraw(struct queue *queue, struct slot *slot);

/* Owner: the way out. */
struct slot *queue_take(struct queue *queue);
void queue_put_back(struct queue *queue, struct slot *slot); /* what was taken last; it will be taken first */
void queue_release(struct queue *queue, struct slot *slot);
bool queue_arm(struct queue *queue);

/* Workers. Native ones are started, others join. */
typedef void run_requests_t(void *kit, struct request *const *requests, unsigned count); /* more than one: of LANE_BATCH */
bool crew_start(enum crew_name crew, unsigned size, run_requests_t *run, void *(*make_kit)(void));
unsigned crew_size(enum crew_name crew);
struct worker *crew_join(enum crew_name crew);   /* a thread that is its own becomes a worker; NULL: too many */
void crew_leave(struct worker *worker);
struct slot *worker_next(struct worker *worker, struct queue **queue); /* waits; NULL: shut down */
void worker_share(struct worker *worker, struct queue *queue, const struct slot *slot); /* before it works: who else is needed? */
void worker_finish(struct worker *worker, struct queue *queue, struct slot **slots, unsigned count); /* those it got */
unsigned worker_number(const struct worker *worker);
void crews_shut_down(void);                       /* at exit: no more work; waits for the native workers */
const atomic_bool *crews_stopping(void);

#endif

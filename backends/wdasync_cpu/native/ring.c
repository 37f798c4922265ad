/* See ring.h. The orders of memory that matter:
 *
 * Lane. The owner fills a cell, then publishes `tail`; a worker claims a position by moving `head`, then takes the
 * cell's content by exchange. The exchange decides between a worker and a withdrawal, so exactly one of them gets the
 * slot. A withdrawn slot leaves a hole; the next submission fills it if no worker has passed. So a lane never holds
 * more than `depth` cells, however much is withdrawn.
 *
 * Sleeping workers. A worker counts itself as a sleeper, then looks at all lanes once more; the owner publishes
 * `tail`, then looks at the count. All four are sequentially consistent, so one of the two sees the other. Who takes a
 * sleeper off the count owes it a post of the semaphore.
 *
 * Spare workers. They are woken only if no native worker sleeps and the oldest cell of a lane has lengthy work, and claim
 * nothing else. What they do not take, a native worker will: each that takes something looks who else is needed.
 *
 * Closing. A worker announces the queue that it looks at, then checks that the queue is still registered; and that whose
 * owner it has yet to wake. close() removes the queue, then waits until nobody announces it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "ring.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "finished.h"
#include "region.h"

/* Content of a cell; a slot number has CELL_SLOT added, and the flag CELL_LENGTHY. */
enum { CELL_VACANT, CELL_HOLE, CELL_SLOT };
#define CELL_LENGTHY (UINT32_C(1) << 31)

/* Added to the nice value of a spare worker: it gets a tenth of a core that somebody else wants whole. */
enum { SPARE_NICENESS = 10 };

/* One take in LOW_TURN begins with the lowest priority and one in NORMAL_TURN with the middle one, so that no queue
   starves however busy those above it are. Powers of two. */
enum { LOW_TURN = 64, NORMAL_TURN = 16 };

/* Looks at all lanes before a worker goes to sleep. It adapts: looks that found something make it longer. */
enum { SPIN_LEAST = 4, SPIN_MOST = 64 };

struct worker {
    _Alignas(64) _Atomic(struct queue *) looking; /* the queue that it looks at or works for */
    _Atomic(struct queue *) owing; /* the queue whose owner may have to be woken for what it finished there */
    int64_t begun;                 /* when it got lengthy work, in nanoseconds */
    atomic_bool taken;
    enum crew_name crew;
    unsigned number;
    unsigned turns;
    unsigned spin;
    unsigned from[PRIORITIES]; /* where the round goes on */
    void *kit;
    pthread_t thread;
};

struct crew {
    struct worker *workers[MAX_WORKERS];
    _Atomic unsigned size;
    atomic_int sleepers;
    sem_t awake;
    run_requests_t *run;
};

struct process {
    struct crew crews[CREWS];
    _Atomic(struct queue *) registry[PRIORITIES][MAX_QUEUES];
    _Atomic unsigned registered[PRIORITIES]; /* places that were ever used */
    bool may_spin;
};

/* The workers of this process. A forked child has none of them: it starts anew, and forgets what its parent had
   (which its parent's threads may have been in the middle of). */
static struct process *process;
static _Atomic uint32_t generation;
static atomic_bool stopping;
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void in_forked_child(void)
{
    process = NULL;
    atomic_store(&stopping, false);
    atomic_fetch_add(&generation, 1);
    regions_forget();
    opening = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, in_forked_child);
}

/* Call with `opening` held. */
static struct process *this_process(void)
{
    if (!process) {
        struct process *made = aligned_alloc(64, (sizeof *made + 63) / 64 * 64);
        if (!made)
            return NULL;
        memset(made, 0, sizeof *made);
        for (int i = 0; i < CREWS; i++)
            sem_init(&made->crews[i].awake, 0, 0);
        cpu_set_t cpus;
        made->may_spin = sched_getaffinity(0, sizeof cpus, &cpus) || CPU_COUNT(&cpus) > 1;
        process = made;
    }
    return process;
}

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* ---- lanes --------------------------------------------------------------------------------------------------- */

/* A worker: the oldest slot of the lane, or -1. */
static int64_t lane_claim(struct lane *lane, uint32_t mask)
{
    uint64_t head = atomic_load(&lane->head);
    while (head != atomic_load(&lane->tail)) {
        if (!atomic_compare_exchange_weak(&lane->head, &head, head + 1))
            continue;
        uint32_t content = atomic_exchange(&lane->cells[head & mask], CELL_VACANT);
        if (content >= CELL_SLOT)
            return (content & ~CELL_LENGTHY) - CELL_SLOT;
        head = atomic_load(&lane->head);
    }
    return -1;
}

static bool lane_has_work(struct lane *lane)
{
    return atomic_load(&lane->head) != atomic_load(&lane->tail);
}

/* By no promise: another worker may claim it meanwhile. */
static bool lane_begins_lengthy(struct lane *lane, uint32_t mask)
{
    uint64_t head = atomic_load(&lane->head);
    return head != atomic_load(&lane->tail) && atomic_load(&lane->cells[head & mask]) & CELL_LENGTHY;
}

/* There is work for a spare worker, and time of the owner's that it does not want. */
static bool has_spare_work(struct queue *queue)
{
    return lane_begins_lengthy(&queue->lanes[LANE_NATIVE], queue->mask) && !owner_is_busy(&queue->thread);
}

/* What stands in the cell of a slot. */
static uint32_t content_of(struct queue *queue, struct slot *slot)
{
    return ((uint32_t)(slot - queue->slots) + CELL_SLOT) | (slot->lengthy ? CELL_LENGTHY : 0);
}

bool queue_submit(struct queue *queue, struct slot *slot, enum lane_name name)
{
    struct lane *lane = &queue->lanes[name];
    uint32_t content = content_of(queue, slot);
    slot->lane = name;
    slot->state = SLOT_SUBMITTED;
    while (lane->hole_count) {
        uint32_t hole = CELL_HOLE;
        slot->cell = lane->holes[--lane->hole_count];
        if (atomic_compare_exchange_strong(&lane->cells[slot->cell], &hole, content))
            return true;
    }
    slot->cell = lane->staged & queue->mask;
    if (lane->staged - atomic_load(&lane->head) > queue->mask
        || atomic_load_explicit(&lane->cells[slot->cell], memory_order_acquire) != CELL_VACANT)
        return false; /* a worker claimed this cell one round ago and was interrupted there */
    atomic_store_explicit(&lane->cells[slot->cell], content, memory_order_release);
    lane->staged++;
    return true;
}

bool queue_withdraw(struct queue *queue, struct slot *slot)
{
    struct lane *lane = &queue->lanes[slot->lane];
    uint32_t content = content_of(queue, slot);
    if (slot->state != SLOT_SUBMITTED
        || !atomic_compare_exchange_strong(&lane->cells[slot->cell], &content, CELL_HOLE))
        return false;
    lane->holes[lane->hole_count++] = slot->cell;
    return true;
}

/* ---- sleep and wake of workers ------------------------------------------------------------------------------- */

static bool take_a_sleeper(struct crew *crew)
{
    int sleepers = atomic_load(&crew->sleepers);
    while (sleepers > 0)
        if (atomic_compare_exchange_weak(&crew->sleepers, &sleepers, sleepers - 1))
            return true;
    return false;
}

static bool wake_one(struct crew *crew)
{
    bool found = take_a_sleeper(crew);
    if (found)
        sem_post(&crew->awake);
    return found;
}

/* There is work in the native lane of this queue, or was a moment ago. */
static void wake_native(struct queue *queue)
{
    if (!wake_one(&process->crews[CREW_NATIVE]) && has_spare_work(queue))
        wake_one(&process->crews[CREW_SPARE]);
}

static bool has_native_work(struct queue *queue)
{
    return lane_has_work(&queue->lanes[LANE_NATIVE]) || lane_has_work(&queue->lanes[LANE_BATCH]);
}

void queue_kick(struct queue *queue)
{
    owner_is_here(&queue->thread);
    for (int i = 0; i < LANES; i++) {
        struct lane *lane = &queue->lanes[i];
        if (lane->staged != atomic_load_explicit(&lane->tail, memory_order_relaxed))
            atomic_store(&lane->tail, lane->staged);
    }
    /* Read after the stores above, also where a hole was filled and no tail has moved. */
    if (has_native_work(queue) || lane_has_work(&queue->lanes[LANE_COPY]))
        wake_native(queue);
    if (lane_has_work(&queue->lanes[LANE_PYTHON]))
        wake_one(&process->crews[CREW_PYTHON]);
    if (lane_has_work(&queue->lanes[LANE_PAGED]))
        wake_one(&process->crews[CREW_PAGED]);
}

/* ---- workers ------------------------------------------------------------------------------------------------- */

/* Of the two lanes with native work, each is the first in its turn. */
static int64_t claim_from(struct queue *queue, const struct worker *worker)
{
    enum lane_name order[] = {LANE_COPY, LANE_NATIVE, LANE_BATCH};
    struct lane *native = &queue->lanes[LANE_NATIVE];
    if (worker->crew == CREW_SPARE)
        return has_spare_work(queue) ? lane_claim(native, queue->mask) : -1;
    if (worker->crew != CREW_NATIVE)
        return lane_claim(&queue->lanes[worker->crew == CREW_PYTHON ? LANE_PYTHON : LANE_PAGED], queue->mask);
    if (worker->turns % 2) {
        order[1] = LANE_BATCH;
        order[2] = LANE_NATIVE;
    }
    int64_t found = -1;
    for (int i = 0; found < 0 && i < 3; i++)
        found = lane_claim(&queue->lanes[order[i]], queue->mask);
    return found;
}

/* One round over the queues of one priority. `looking` stays set if something was found. */
static struct slot *claim_at(struct worker *worker, int priority, struct queue **owner)
{
    unsigned count = atomic_load(&process->registered[priority]);
    unsigned index = worker->from[priority];
    for (unsigned i = 0; i < count; i++, index++) {
        if (index >= count)
            index = 0;
        struct queue *queue = atomic_load(&process->registry[priority][index]);
        if (!queue)
            continue;
        atomic_store(&worker->looking, queue);
        if (atomic_load(&process->registry[priority][index]) != queue)
            continue;
        int64_t found = claim_from(queue, worker);
        if (found >= 0) {
            worker->from[priority] = index + 1;
            *owner = queue;
            return &queue->slots[found];
        }
    }
    return NULL;
}

/* What this worker finished last is told now, unless it goes on with more for the same owner. `slot`: what it goes on with. */
static void settle_debt(struct worker *worker, const struct slot *slot, const struct queue *owner)
{
    struct queue *queue = atomic_load_explicit(&worker->owing, memory_order_relaxed);
    if (!queue)
        return;
    if (!slot || owner != queue || !finished_may_wait(queue, slot))
        finished_tell(queue);
    atomic_store(&worker->owing, NULL);
}

static struct slot *claim(struct worker *worker, struct queue **owner)
{
    int first = PRIORITIES - 1;
    unsigned turn = worker->turns++;
    if (turn % NORMAL_TURN == 0)
        first = turn % LOW_TURN ? 1 : 0;
    for (int i = 0; i < PRIORITIES; i++) {
        int priority = first - i < 0 ? first - i + PRIORITIES : first - i;
        struct slot *slot = claim_at(worker, priority, owner);
        if (slot) {
            settle_debt(worker, slot, *owner);
            return slot;
        }
    }
    atomic_store(&worker->looking, NULL);
    settle_debt(worker, NULL, NULL);
    return NULL;
}

static struct slot *claim_spinning(struct worker *worker, struct queue **owner)
{
    unsigned looks = process->may_spin ? worker->spin : 1;
    for (unsigned i = 0; i < looks && !atomic_load(&stopping); i++) {
        struct slot *slot = claim(worker, owner);
        if (slot) {
            if (i && worker->spin < SPIN_MOST)
                worker->spin *= 2;
            return slot;
        }
        for (int j = 0; j < 16; j++)
            pause_briefly();
    }
    if (worker->spin > SPIN_LEAST)
        worker->spin /= 2;
    return NULL;
}

static struct slot *wait_for_slot(struct worker *worker, struct queue **owner)
{
    struct crew *crew = &process->crews[worker->crew];
    while (!atomic_load(&stopping)) {
        struct slot *slot = claim_spinning(worker, owner);
        if (slot)
            return slot;
        atomic_fetch_add(&crew->sleepers, 1);
        slot = claim(worker, owner);
        if ((slot || atomic_load(&stopping)) && take_a_sleeper(crew))
            return slot;
        while (sem_wait(&crew->awake)) /* a signal handler ran */
            ;
        if (slot)
            return slot;
    }
    settle_debt(worker, NULL, NULL);
    return NULL;
}

struct slot *worker_next(struct worker *worker, struct queue **owner)
{
    struct slot *slot = wait_for_slot(worker, owner);
    if (slot && slot->lengthy)
        worker->begun = nanoseconds(CLOCK_MONOTONIC);
    return slot;
}

/* How long what comes next by the same plan may take: as this one, if that was no quicker than the last ones. */
static void note_pace(const struct slot *slot, int64_t took)
{
    _Atomic double *known = &((struct plan *)slot->request.plan)->pace; /* no plan is in constant memory */
    double pace = (double)took / (double)(slot->cost ? slot->cost : 1);
    double last = atomic_load_explicit(known, memory_order_relaxed) * 7 / 8;
    atomic_store_explicit(known, pace > last ? pace : last, memory_order_relaxed);
}

/* Python may run for long between this and what the worker does next. */
static bool may_tell_later(const struct queue *queue, const struct slot *slot)
{
    return slot->lengthy && slot->request.plan->engine != ENGINE_PYTHON && queue->priority < PRIORITIES - 1;
}

void worker_finish(struct worker *worker, struct queue *queue, struct slot **slots, unsigned count)
{
    bool later = may_tell_later(queue, slots[0]);
    if (later)
        note_pace(slots[0], nanoseconds(CLOCK_MONOTONIC) - worker->begun);
    if (later)
        atomic_store(&worker->owing, queue);
    finished_put(queue, slots, count, later);
    atomic_store_explicit(&worker->looking, NULL, memory_order_release);
}

unsigned worker_number(const struct worker *worker)
{
    return worker->number;
}

/* More lies in the lanes of this queue while this worker is about to be busy: let another one come. To a Python thread only if it
   will be busy for long: two that want the interpreter's lock all the time are slower than one. */
void worker_share(struct worker *worker, struct queue *queue, const struct slot *slot)
{
    switch (worker->crew) {
    case CREW_PAGED:
        if (lane_has_work(&queue->lanes[LANE_PAGED]))
            wake_one(&process->crews[CREW_PAGED]);
        break;
    case CREW_PYTHON:
        if (slot->lengthy && lane_has_work(&queue->lanes[LANE_PYTHON]))
            wake_one(&process->crews[CREW_PYTHON]);
        break;
    default:
        if (slot->request.kind != KIND_NOP && has_native_work(queue))
            wake_native(queue);
    }
}

/* A spare worker gives way to all other threads, or goes: as one more full worker it would take the owner's core. */
static bool step_back(struct worker *worker)
{
    id_t self = (id_t)gettid();
    if (!setpriority(PRIO_PROCESS, self, getpriority(PRIO_PROCESS, self) + SPARE_NICENESS))
        return true;
    if (atomic_exchange(&worker->taken, false)) /* nobody will join it */
        pthread_detach(pthread_self());
    return false;
}

/* Of work that is done several at a time, take what lies there, and wait for no more. How many there are then. */
static unsigned claim_more(struct queue *queue, struct slot **slots)
{
    unsigned count = 1;
    int64_t found;
    if (slots[0]->lane != LANE_BATCH)
        return count;
    while (count < BATCH_MOST && (found = lane_claim(&queue->lanes[LANE_BATCH], queue->mask)) >= 0)
        slots[count++] = &queue->slots[found];
    return count;
}

static void *native_main(void *argument)
{
    static const char *const PREFIXES[CREWS] = {"cpu", "py", "pg", "spare"};
    struct worker *worker = argument;
    struct crew *crew = &process->crews[worker->crew];
    struct queue *queue;
    struct slot *slots[BATCH_MOST];
    char name[16];
    snprintf(name, sizeof name, "wdasync-%s-%u", PREFIXES[worker->crew], worker->number % 1000);
    pthread_setname_np(pthread_self(), name);
    if (worker->crew == CREW_SPARE && !step_back(worker))
        return NULL;
    while ((*slots = worker_next(worker, &queue))) {
        struct request *requests[BATCH_MOST];
        unsigned count = claim_more(queue, slots);
        worker_share(worker, queue, slots[0]);
        for (unsigned i = 0; i < count; i++) {
            requests[i] = &slots[i]->request;
            if (requests[i]->kind != KIND_HAND_OVER) {
                requests[i]->crew = (uint8_t)worker->crew;
                requests[i]->worker = (uint16_t)worker->number;
            }
        }
        crew->run(worker->kit, requests, count);
        worker_finish(worker, queue, slots, count);
    }
    return NULL;
}

/* Call with `opening` held. */
static struct worker *new_worker(enum crew_name name)
{
    struct crew *crew = &process->crews[name];
    unsigned size = atomic_load(&crew->size);
    for (unsigned i = 0; i < size; i++)
        if (!atomic_load(&crew->workers[i]->taken)) {
            atomic_store(&crew->workers[i]->taken, true);
            return crew->workers[i];
        }
    if (size == MAX_WORKERS)
        return NULL;
    struct worker *worker = aligned_alloc(64, (sizeof *worker + 63) / 64 * 64);
    if (!worker)
        return NULL;
    memset(worker, 0, sizeof *worker);
    worker->crew = name;
    worker->number = size;
    worker->spin = SPIN_LEAST;
    atomic_store(&worker->taken, true);
    crew->workers[size] = worker;
    atomic_store(&crew->size, size + 1); /* publishes the pointer above to queue_close() */
    return worker;
}

static bool start_native(enum crew_name name, void *(*make_kit)(void))
{
    static const int OWN[] = {SIGBUS, SIGSEGV, SIGILL, SIGFPE};
    struct worker *worker = new_worker(name);
    if (!worker)
        return false;
    if (!worker->kit && !(worker->kit = make_kit())) {
        atomic_store(&worker->taken, false);
        return false;
    }
    sigset_t all, before;
    sigfillset(&all); /* signals are for the program's own threads, except those about what this one does */
    for (size_t i = 0; i < sizeof OWN / sizeof *OWN; i++)
        sigdelset(&all, OWN[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&worker->thread, NULL, native_main, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        atomic_store(&worker->taken, false);
        errno = error;
    }
    return !error;
}

static unsigned members(struct crew *crew)
{
    unsigned count = 0;
    for (unsigned i = 0; i < atomic_load(&crew->size); i++)
        count += atomic_load(&crew->workers[i]->taken);
    return count;
}

bool crew_start(enum crew_name name, unsigned size, run_requests_t *run, void *(*make_kit)(void))
{
    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&opening);
    bool good = this_process() != NULL;
    if (good) {
        if (!process->crews[name].run)
            process->crews[name].run = run;
        for (unsigned have = members(&process->crews[name]); good && have < size; have++)
            good = start_native(name, make_kit);
    }
    pthread_mutex_unlock(&opening);
    return good;
}

unsigned crew_size(enum crew_name name)
{
    pthread_mutex_lock(&opening);
    unsigned size = process ? members(&process->crews[name]) : 0;
    pthread_mutex_unlock(&opening);
    return size;
}

struct worker *crew_join(enum crew_name name)
{
    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&opening);
    struct worker *worker = this_process() ? new_worker(name) : NULL;
    pthread_mutex_unlock(&opening);
    return worker;
}

void crew_leave(struct worker *worker)
{
    settle_debt(worker, NULL, NULL);
    atomic_store(&worker->looking, NULL);
    atomic_store(&worker->taken, false);
}

const atomic_bool *crews_stopping(void)
{
    return &stopping;
}

static void join_all(struct crew *crew)
{
    for (unsigned i = 0; i < atomic_load(&crew->size); i++)
        if (atomic_exchange(&crew->workers[i]->taken, false))
            pthread_join(crew->workers[i]->thread, NULL);
}

void crews_shut_down(void)
{
    pthread_mutex_lock(&opening);
    atomic_store(&stopping, true);
    regions_end();
    if (process) {
        for (int i = 0; i < CREWS; i++)
            while (take_a_sleeper(&process->crews[i]))
                sem_post(&process->crews[i].awake);
        join_all(&process->crews[CREW_NATIVE]);
        join_all(&process->crews[CREW_PAGED]);
        join_all(&process->crews[CREW_SPARE]);
    }
    pthread_mutex_unlock(&opening);
}

/* ---- opening and closing ------------------------------------------------------------------------------------- */

static bool registered(struct queue *queue)
{
    int priority = queue->priority;
    for (int i = 0; i < MAX_QUEUES; i++)
        if (!atomic_load(&process->registry[priority][i])) {
            queue->place = i;
            atomic_store(&process->registry[priority][i], queue);
            if (atomic_load(&process->registered[priority]) <= (unsigned)i)
                atomic_store(&process->registered[priority], (unsigned)i + 1);
            return true;
        }
    errno = EMFILE;
    return false;
}

static struct queue *queue_new(uint32_t depth, int priority)
{
    struct queue *queue = aligned_alloc(64, (sizeof *queue + 63) / 64 * 64);
    if (!queue)
        return NULL;
    memset(queue, 0, sizeof *queue);
    uint32_t cells = 4;
    while (cells < depth * 2)
        cells *= 2;
    queue->depth = queue->free_count = depth;
    queue->priority = priority;
    queue->mask = cells - 1;
    queue->place = -1;
    queue->generation = atomic_load(&generation);
    finished_init(queue);
    queue->slots = calloc(depth, sizeof *queue->slots);
    queue->free = calloc(depth, sizeof *queue->free);
    bool good = queue->event >= 0 && queue->slots && queue->free;
    for (int i = 0; i < LANES; i++) {
        queue->lanes[i].cells = calloc(cells, sizeof *queue->lanes[i].cells);
        queue->lanes[i].holes = calloc(cells, sizeof *queue->lanes[i].holes);
        good = good && queue->lanes[i].cells && queue->lanes[i].holes;
    }
    if (!good) {
        queue_free(queue);
        return NULL;
    }
    for (uint32_t i = 0; i < depth; i++)
        queue->free[i] = depth - 1 - i;
    return queue;
}

struct queue *queue_open(uint32_t depth, int priority)
{
    pthread_once(&once, watch_forks);
    struct queue *queue = queue_new(depth, priority);
    if (!queue)
        return NULL;
    pthread_mutex_lock(&opening);
    bool good = this_process() && registered(queue);
    pthread_mutex_unlock(&opening);
    if (!good) {
        queue_free(queue);
        return NULL;
    }
    return queue;
}

bool queue_is_ours(const struct queue *queue)
{
    return queue->generation == atomic_load_explicit(&generation, memory_order_relaxed);
}

/* Every operation that no worker has taken ends here as ABORTED; those at work end at their next piece, and what waits
   for a page goes on without it. */
void queue_stop(struct queue *queue)
{
    atomic_store(&queue->stopping, true);
    if (!queue_is_ours(queue))
        return;
    for (uint32_t i = 0; i < queue->depth; i++) {
        struct slot *slot = &queue->slots[i];
        if (queue_withdraw(queue, slot)) {
            slot->request.status = STATUS_ABORTED;
            queue_finish(queue, slot);
        } else if (slot->state == SLOT_SUBMITTED && slot->request.region) {
            region_abort(slot->request.region);
        }
    }
}

static bool somebody_looks(struct queue *queue)
{
    for (int i = 0; i < CREWS; i++) {
        struct crew *crew = &process->crews[i];
        for (unsigned j = 0; j < atomic_load(&crew->size); j++)
            if (atomic_load(&crew->workers[j]->looking) == queue || atomic_load(&crew->workers[j]->owing) == queue)
                return true;
    }
    return false;
}

void queue_close(struct queue *queue)
{
    if (queue->closed)
        return;
    queue->closed = true;
    queue_stop(queue);
    if (queue_is_ours(queue)) {
        struct timespec nap = {0, 20000};
        atomic_store(&process->registry[queue->priority][queue->place], NULL);
        while (somebody_looks(queue)) {
            nanosleep(&nap, NULL);
            if (nap.tv_nsec < 2000000)
                nap.tv_nsec *= 2;
        }
    }
    close(queue->event);
}

void queue_free(struct queue *queue)
{
    if (!queue->closed && queue->event >= 0)
        close(queue->event);
    for (int i = 0; i < LANES; i++) {
        free(queue->lanes[i].cells);
        free(queue->lanes[i].holes);
    }
    free(queue->slots);
    free(queue->free);
    free(queue);
}

/* ---- slots --------------------------------------------------------------------------------------------------- */

struct slot *queue_acquire(struct queue *queue)
{
    return queue->free_count ? &queue->slots[queue->free[--queue->free_count]] : NULL;
}

void queue_release(struct queue *queue, struct slot *slot)
{
    slot->state = SLOT_FREE;
    queue->free[queue->free_count++] = (uint32_t)(slot - queue->slots);
}

/* The rings without Python: owners that submit, withdraw, sleep on their descriptor, stop and close, against all the
 * workers; some of the operations wait for pages, where the kernel allows it. For the thread sanitizer, and as a search
 * for lost operations and lost wake-ups.
 *
 * Arguments: seconds, owners, workers, seed. Says what was done; exits with 1 and a line if something was lost.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "region.h"
#include "ring.h"

enum { DEPTH = 64, PATIENCE_MS = 10000, MOST_PAGES = 8 };

static double seconds;
static struct plan nop = {.kind = KIND_NOP}; /* it learns how long lengthy work takes, so that wake-ups wait for some of it */
static _Atomic unsigned long total, withdrawn, slept, queues, touches;
static struct fault_line *line; /* NULL: the kernel refuses */
static uint8_t source[MOST_PAGES * REGION_PAGE];
static atomic_bool all_done;

static void run(void *kit, struct request *request)
{
    (void)kit;
    unsigned turns = request->flush; /* work of various lengths */
    for (volatile unsigned i = 0; i < turns * 20; i++)
        ;
    request->produced = request->max_length; /* the worker's mark: every one is run exactly once */
    request->consumed++;
}

static void run_all(void *kit, struct request *const *requests, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        run(kit, requests[i]);
}

static void *make_kit(void)
{
    return malloc(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void lost(const char *what)
{
    printf("%s\n", what);
    fflush(stdout);
    _Exit(1);
}

/* Reads its input page by page. */
static void run_paged(void *kit, struct request *const *requests, unsigned count)
{
    struct request *request = *requests;
    (void)count;
    struct region *region = request->region;
    int error = region_open(region);
    if (error && error != ECANCELED)
        lost("a region cannot be opened");
    for (size_t at = 0; !error && at < region->input.size && !region_was_refused(region); at += REGION_PAGE)
        if (region->input.data[at] != source[at] && !region_was_refused(region))
            lost("a page has other bytes");
    region_close(region);
    run(kit, request);
}

static void hold(void *owner)
{
    (void)owner;
}

static void *serve_main(void *argument)
{
    unsigned *seed = argument;
    struct pollfd descriptor = {line->descriptor, POLLIN, 0};
    struct touch touch;
    while (!atomic_load(&all_done)) {
        poll(&descriptor, 1, 10);
        while (line_next(line, &touch, hold)) {
            atomic_fetch_add(&touches, 1);
            size_t length = (1 + (unsigned)rand_r(seed) % 3) * REGION_PAGE;
            if (rand_r(seed) % 16 == 0 || !region_supply(touch.number, touch.offset, length, true))
                region_refuse(touch.number, STATUS_PAGE_FAULT, NULL);
        }
    }
    return NULL;
}

struct client {
    unsigned seed;
    struct queue *queue;
    unsigned long next;
    unsigned in_flight;
    bool python;
};

static unsigned chance(struct client *owner, unsigned below)
{
    return (unsigned)rand_r(&owner->seed) % below;
}

static void release(struct client *owner, struct slot *slot)
{
    if (slot->request.region)
        region_free(slot->request.region);
    slot->request.region = NULL;
    queue_release(owner->queue, slot);
}

static void submit(struct client *owner, unsigned count)
{
    struct slot *slot;
    while (count-- && (slot = queue_acquire(owner->queue))) {
        memset(&slot->request, 0, sizeof slot->request);
        slot->request.plan = &nop;
        slot->request.kind = chance(owner, 2) ? KIND_NOP : KIND_COMPRESS;
        slot->request.flush = (uint8_t)chance(owner, 64);
        slot->request.max_length = ++owner->next;
        slot->request.stop = &owner->queue->stopping;
        static const enum lane_name OF_NATIVE[8] = {LANE_COPY, LANE_NATIVE, LANE_NATIVE, LANE_NATIVE, LANE_NATIVE, LANE_BATCH, LANE_BATCH, LANE_BATCH};
        enum lane_name lane = owner->python && chance(owner, 4) == 0 ? LANE_PYTHON : OF_NATIVE[chance(owner, 8)];
        if (line && chance(owner, 16) == 0) {
            size_t size = 1 + chance(owner, sizeof source - 1);
            slot->request.region = region_new(line, source, size, NULL);
            lane = LANE_PAGED;
        }
        slot->lengthy = chance(owner, 2);
        slot->cost = 100;
        if (!queue_submit(owner->queue, slot, lane)) {
            release(owner, slot);
            break;
        }
        owner->in_flight++;
    }
    queue_kick(owner->queue);
}

static void withdraw_some(struct client *owner)
{
    for (unsigned i = 0; i < DEPTH; i++) {
        struct slot *slot = &owner->queue->slots[i];
        if (chance(owner, 3) == 0 && queue_withdraw(owner->queue, slot)) {
            if (slot->request.consumed)
                lost("a withdrawn operation was run");
            release(owner, slot);
            owner->in_flight--;
            atomic_fetch_add(&withdrawn, 1);
        }
    }
}

static unsigned take(struct client *owner, bool stopped)
{
    struct slot *slot;
    unsigned count = 0;
    while ((slot = queue_take(owner->queue))) {
        bool aborted = stopped && slot->request.status == STATUS_ABORTED;
        if (!aborted && (slot->request.consumed != 1 || slot->request.produced != slot->request.max_length))
            lost("an operation was not run exactly once");
        release(owner, slot);
        owner->in_flight--;
        count++;
    }
    atomic_fetch_add(&total, count);
    return count;
}

static void sleep_until_woken(struct client *owner)
{
    struct pollfd descriptor = {owner->queue->event, POLLIN, 0};
    if (!owner->in_flight || !queue_arm(owner->queue))
        return;
    atomic_fetch_add(&slept, 1);
    if (poll(&descriptor, 1, PATIENCE_MS) != 1)
        lost("nobody woke the owner");
}

static void one_queue(struct client *owner)
{
    double end = now() + 0.05 + (double)chance(owner, 100) / 1000;
    owner->queue = queue_open(DEPTH - chance(owner, 3) * 31, (int)chance(owner, PRIORITIES));
    if (!owner->queue)
        lost("no queue");
    atomic_fetch_add(&queues, 1);
    owner->in_flight = 0;
    while (now() < end) {
        submit(owner, 1 + chance(owner, 40));
        if (chance(owner, 4) == 0 && owner->queue->depth == DEPTH)
            withdraw_some(owner);
        if (chance(owner, 3))
            sleep_until_woken(owner);
        take(owner, false);
    }
    if (chance(owner, 2)) { /* all the rest */
        while (owner->in_flight) {
            sleep_until_woken(owner);
            take(owner, false);
        }
    } else {
        queue_stop(owner->queue);
    }
    queue_close(owner->queue);
    take(owner, true);
    if (owner->in_flight)
        lost("operations were lost in a queue that was stopped");
    queue_free(owner->queue);
}

static void *owner_main(void *argument)
{
    struct client *owner = argument;
    double end = now() + seconds;
    while (now() < end)
        one_queue(owner);
    return NULL;
}

static void *helper_main(void *argument)
{
    struct worker *worker = argument;
    struct queue *queue;
    struct slot *slot;
    while ((slot = worker_next(worker, &queue))) {
        run(NULL, &slot->request);
        worker_finish(worker, queue, &slot, 1);
    }
    crew_leave(worker);
    return NULL;
}

int main(int count, char **arguments)
{
    pthread_t threads[16], helper, server;
    struct client owners[16];
    seconds = count > 1 ? atof(arguments[1]) : 1;
    unsigned owner_count = count > 2 ? (unsigned)atoi(arguments[2]) : 2, workers = count > 3 ? (unsigned)atoi(arguments[3]) : 2;
    unsigned seed = count > 4 ? (unsigned)atoi(arguments[4]) : 1;
    if (!crew_start(CREW_NATIVE, workers, run_all, make_kit) || !crew_start(CREW_SPARE, 1, run_all, make_kit))
        lost("no workers");
    memset(source, 7, sizeof source);
    line = line_open();
    if (line && (!crew_start(CREW_PAGED, workers, run_paged, make_kit) || pthread_create(&server, NULL, serve_main, &seed)))
        lost("no workers for pages");
    struct worker *joined = crew_join(CREW_PYTHON);
    pthread_create(&helper, NULL, helper_main, joined);
    for (unsigned i = 0; i < owner_count && i < 16; i++) {
        owners[i] = (struct client){.seed = seed * 16 + i, .python = true};
        pthread_create(&threads[i], NULL, owner_main, &owners[i]);
    }
    for (unsigned i = 0; i < owner_count && i < 16; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&all_done, true);
    if (line)
        pthread_join(server, NULL);
    crews_shut_down();
    pthread_join(helper, NULL);
    if (line)
        line_free(line);
    printf("%lu operations, %lu withdrawn, %lu sleeps, %lu queues, %lu touches\n", total, withdrawn, slept, queues, touches);
    return 0;
}

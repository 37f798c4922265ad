/* When is the owner of a queue woken? One thread is the owner and two workers by turns, so that nothing is left to chance but the clock.
 *
 * Exits with 0, or with 1 and a line that says what was not as expected.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ring.h"

enum { DEPTH = 32, COST = 1000, NORMAL = 1, HIGH = 2 };

/* Of what was estimated. */
#define QUICK 1.0
#define SLOW 1e6

static struct plan plan = {.kind = KIND_SIGN};
static struct worker *first, *second;
static const char *story;

static void expect(bool good, const char *what)
{
    if (good)
        return;
    printf("%s: expected %s\n", story, what);
    exit(1);
}

static bool woken(struct queue *queue)
{
    struct pollfd descriptor = {queue->event, POLLIN, 0};
    return poll(&descriptor, 1, 0) == 1;
}

static struct queue *with_work(int priority, unsigned count, bool lengthy)
{
    struct queue *queue = queue_open(DEPTH, priority);
    for (unsigned i = 0; i < count; i++) {
        struct slot *slot = queue_acquire(queue);
        memset(&slot->request, 0, sizeof slot->request);
        slot->request.plan = &plan;
        slot->lengthy = lengthy;
        slot->cost = COST;
        queue_submit(queue, slot, LANE_PYTHON);
    }
    queue_kick(queue);
    expect(queue_arm(queue), "a queue with nothing finished to be armed");
    return queue;
}

/* There is something: it would wait for ever otherwise. */
static struct slot *next(struct worker *worker)
{
    struct queue *queue;
    return worker_next(worker, &queue);
}

static void finish(struct worker *worker, struct queue *queue, struct slot *slot)
{
    worker_finish(worker, queue, &slot, 1);
}

static unsigned take_all(struct queue *queue)
{
    unsigned count = 0;
    for (struct slot *slot; (slot = queue_take(queue)); count++)
        queue_release(queue, slot);
    return count;
}

/* So many were finished; what is left is given up. */
static void end(struct queue *queue, unsigned finished)
{
    expect(take_all(queue) == finished, "all that was finished to be there");
    crew_leave(first); /* a worker that does not ask for more holds up the end of the queue where it finished something */
    crew_leave(second);
    first = crew_join(CREW_PYTHON);
    second = crew_join(CREW_PYTHON);
    queue_stop(queue);
    queue_close(queue);
    queue_free(queue);
}

/* Of work that takes so long, the first of twenty was finished, and its worker goes on with the second. */
static struct queue *one_of_twenty(int priority, double pace, struct slot **slot)
{
    struct queue *queue = with_work(priority, 20, true);
    *slot = next(first);
    atomic_store(&plan.pace, pace);
    finish(first, queue, *slot);
    atomic_store(&plan.pace, pace);
    *slot = next(first);
    return queue;
}

/* A machine that stops this thread for milliseconds has its owner woken at once: then it is tried again. */
static struct queue *silent(struct slot **slot)
{
    for (int i = 0; i < 100; i++) {
        struct queue *queue = one_of_twenty(NORMAL, QUICK, slot);
        if (!woken(queue))
            return queue;
        finish(first, queue, *slot);
        end(queue, 2);
    }
    expect(false, "the owner to sleep on while there is much more to do");
    return NULL;
}

static void told_in_the_end(void)
{
    struct slot *slot;
    struct queue *queue = silent(&slot);
    unsigned finished = 1;
    for (; !woken(queue) && finished < 20; finished++) {
        finish(first, queue, slot);
        slot = next(first);
    }
    expect(finished <= 6, "no more to wait than a third of what is behind");
    finish(first, queue, slot);
    end(queue, finished + 1);
}

static void told_of_the_last(void)
{
    struct queue *queue = with_work(NORMAL, 1, true);
    struct slot *slot = next(first);
    finish(first, queue, slot);
    crew_leave(first); /* as a worker that finds nothing more */
    expect(woken(queue), "a wake-up for the last one");
    end(queue, 1);
}

static void told_at_once(const char *why, int priority, double pace)
{
    struct slot *slot;
    story = why;
    struct queue *queue = one_of_twenty(priority, pace, &slot);
    expect(woken(queue), "a wake-up at once");
    finish(first, queue, slot);
    end(queue, 2);
}

static void told_before_large_work(void)
{
    struct queue *queue = with_work(NORMAL, 20, true);
    for (unsigned i = 0; i < DEPTH; i++)
        if (queue->slots[i].request.plan)
            queue->slots[i].cost = i == 1 ? (uint64_t)1e10 : COST; /* the second one that was submitted */
    struct slot *slot = next(first);
    atomic_store(&plan.pace, QUICK);
    finish(first, queue, slot);
    atomic_store(&plan.pace, QUICK);
    slot = next(first);
    expect(slot->cost > COST, "the large one next");
    expect(woken(queue), "a wake-up at once");
    finish(first, queue, slot);
    end(queue, 2);
}

/* Python's, and what waits for a page that may come when the program has been told. */
static void told_before(const char *why, uint8_t engine, struct region *region)
{
    story = why;
    struct queue *queue = with_work(NORMAL, 20, true);
    struct plan other = {.kind = KIND_SIGN, .engine = engine, .pace = QUICK};
    struct slot *slot = next(first);
    atomic_store(&plan.pace, QUICK);
    for (unsigned i = 0; i < DEPTH; i++)
        if (&queue->slots[i] != slot && queue->slots[i].request.plan) {
            queue->slots[i].request.plan = &other;
            queue->slots[i].request.region = region;
        }
    finish(first, queue, slot);
    slot = next(first);
    expect(woken(queue), "a wake-up at once");
    for (unsigned i = 0; i < DEPTH; i++)
        queue->slots[i].request.region = NULL;
    finish(first, queue, slot);
    end(queue, 2);
}

static void told_of_short_work(void)
{
    struct queue *queue = with_work(NORMAL, 20, false);
    struct slot *slot = next(first);
    finish(first, queue, slot);
    expect(woken(queue), "a wake-up at once");
    end(queue, 1);
}

static void told_by_another_worker(void)
{
    struct slot *slot, *other;
    struct queue *queue = silent(&slot);
    other = next(second);
    other->lengthy = false;
    finish(second, queue, other);
    expect(woken(queue), "a wake-up by the other");
    finish(first, queue, slot);
    end(queue, 3);
}

/* Workers go round. */
static void told_before_another_queue(void)
{
    struct queue *queues[] = {with_work(NORMAL, 20, true), with_work(NORMAL, 20, true)}, *before, *after;
    struct slot *slot = worker_next(first, &before);
    atomic_store(&plan.pace, QUICK);
    finish(first, before, slot);
    slot = worker_next(first, &after);
    expect(after != before, "the other queue's work next");
    expect(woken(before), "a wake-up before that");
    finish(first, after, slot);
    for (int i = 0; i < 2; i++)
        end(queues[i], 1);
}

static void told_by_stop(void)
{
    struct slot *slot;
    struct queue *queue = silent(&slot);
    queue_stop(queue);
    expect(woken(queue), "a wake-up");
    finish(first, queue, slot);
    end(queue, 20);
}

/* Who looks without being woken is not woken for what it has taken, and sleeps again. */
static void looked_without_a_wake(void)
{
    struct slot *slot;
    struct queue *queue = silent(&slot);
    expect(take_all(queue) == 1, "what was finished to be there");
    expect(queue_arm(queue), "to sleep again");
    expect(queue->counters.wakes == 0, "no wake-up to be counted");
    while (!woken(queue)) {
        finish(first, queue, slot);
        slot = next(first);
    }
    expect(take_all(queue) > 0, "more to be there");
    expect(queue->counters.wakes == 1, "one wake-up to be counted");
    expect(!woken(queue), "no second wake-up");
    finish(first, queue, slot);
    end(queue, 1);
}

int main(void)
{
    first = crew_join(CREW_PYTHON);
    second = crew_join(CREW_PYTHON);
    story = "much more to do";
    told_in_the_end();
    story = "the last one";
    told_of_the_last();
    told_at_once("nobody knows how long the next one takes", NORMAL, 0);
    told_at_once("the next one takes long", NORMAL, SLOW);
    told_at_once("a high priority", HIGH, QUICK);
    story = "the next one is large";
    told_before_large_work();
    told_before("the next one is Python's", ENGINE_PYTHON, NULL);
    told_before("the next one waits for pages", ENGINE_ZLIB, (struct region *)&plan);
    plan.engine = ENGINE_PYTHON;
    told_at_once("Python did it", NORMAL, QUICK);
    plan.engine = ENGINE_NONE;
    story = "short work";
    told_of_short_work();
    story = "another worker finishes short work";
    told_by_another_worker();
    story = "another queue comes first";
    told_before_another_queue();
    story = "a queue that is stopped";
    told_by_stop();
    story = "an owner that looks by itself";
    looked_without_a_wake();
    puts("good");
    return 0;
}

/* See finished.h. */
#define _GNU_SOURCE
#include "finished.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "clock.h"

/* Top of the stack of finished slots, beside slot numbers; UNTOLD is added to one of those. */
#define EMPTY UINT32_MAX
#define ARMED (UINT32_MAX - 1)
#define UNTOLD (UINT32_C(1) << 30)

/* Nanoseconds for which something finished waits until its owner is woken, at most. */
enum { WAIT_MOST = 4000000 };

/* For each that waits so, there are so many that are not begun. */
enum { BEHIND_EACH = 3 };

void finished_init(struct queue *queue)
{
    queue->ready = queue->ready_last = EMPTY;
    atomic_init(&queue->done, EMPTY);
    queue->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

/* ---- workers ------------------------------------------------------------------------------------------------- */

static void wake_owner(struct queue *queue)
{
    uint64_t one = 1;
    if (write(queue->event, &one, sizeof one) < 0) {
        /* Only a counter near 2**64 could refuse. */
    }
}

static bool is_slot(uint32_t top)
{
    return top < ARMED;
}

/* The owner sleeps, and nobody has woken it. */
static bool sleeps(uint32_t top)
{
    return top == ARMED || (is_slot(top) && top & UNTOLD);
}

void finished_put(struct queue *queue, struct slot **slots, unsigned count, bool later)
{
    uint32_t first = (uint32_t)(slots[count - 1] - queue->slots);
    uint32_t top = atomic_load_explicit(&queue->done, memory_order_relaxed);
    for (unsigned i = 1; i < count; i++)
        slots[i]->next = (uint32_t)(slots[i - 1] - queue->slots);
    do {
        slots[0]->next = is_slot(top) ? top & ~UNTOLD : EMPTY;
        if (later && top == ARMED) {
            atomic_store_explicit(&queue->untold, 0, memory_order_relaxed);
            atomic_store_explicit(&queue->untold_since, nanoseconds(CLOCK_MONOTONIC), memory_order_relaxed);
        }
    } while (!atomic_compare_exchange_weak_explicit(&queue->done, &top, later && sleeps(top) ? first | UNTOLD : first,
                                                    memory_order_acq_rel, memory_order_relaxed));
    if (later)
        atomic_fetch_add_explicit(&queue->untold, count, memory_order_relaxed);
    else if (sleeps(top))
        wake_owner(queue);
}

bool finished_may_wait(struct queue *queue, const struct slot *next)
{
    const struct lane *lane = &queue->lanes[next->lane];
    const struct request *request = &next->request;
    double pace = atomic_load_explicit(&request->plan->pace, memory_order_relaxed);
    int64_t since = atomic_load_explicit(&queue->untold_since, memory_order_relaxed);
    uint64_t behind = atomic_load(&lane->tail) - atomic_load(&lane->head);
    if (!next->lengthy || request->plan->engine == ENGINE_PYTHON || request->region || pace <= 0)
        return false; /* nobody knows how long it takes: a page may come when the program has been told */
    return atomic_load_explicit(&queue->untold, memory_order_relaxed) * BEHIND_EACH <= behind
           && (double)(nanoseconds(CLOCK_MONOTONIC) - since) + pace * (double)next->cost < WAIT_MOST;
}

void finished_tell(struct queue *queue)
{
    uint32_t top = atomic_load_explicit(&queue->done, memory_order_relaxed);
    while (is_slot(top) && top & UNTOLD)
        if (atomic_compare_exchange_weak_explicit(&queue->done, &top, top & ~UNTOLD, memory_order_acq_rel,
                                                  memory_order_relaxed)) {
            wake_owner(queue);
            return;
        }
}

void queue_finish(struct queue *queue, struct slot *slot)
{
    finished_put(queue, &slot, 1, false);
}

/* ---- the owner ----------------------------------------------------------------------------------------------- */

/* A worker has taken the owner's ARMED away, and ordered one wake-up, which was or will be written. */
static void was_told(struct queue *queue)
{
    queue->armed = false;
    queue->owed++;
    queue->counters.wakes++;
}

static uint32_t look_at_top(struct queue *queue)
{
    uint32_t top = atomic_load_explicit(&queue->done, memory_order_relaxed);
    if (queue->armed && !sleeps(top))
        was_told(queue);
    return top;
}

/* Take wake-ups off the eventfd. One that is ordered but not yet written is left for the next time. The stack is
   looked at again afterwards: a wake-up that was read here must not lose what it stands for. */
static uint32_t settle_wakes(struct queue *queue)
{
    uint64_t count;
    uint32_t top = look_at_top(queue);
    if (queue->owed > 0 && !queue->closed && read(queue->event, &count, sizeof count) == (ssize_t)sizeof count) {
        queue->owed -= (int64_t)count;
        top = look_at_top(queue);
    }
    return top;
}

/* Take everything off the stack, and put it, oldest first, behind what is ready. Who takes UNTOLD off is owed no wake-up. */
static void collect(struct queue *queue)
{
    uint32_t top = settle_wakes(queue);
    if (!is_slot(top))
        return;
    top = atomic_exchange_explicit(&queue->done, EMPTY, memory_order_acq_rel);
    if (queue->armed && !sleeps(top))
        was_told(queue);
    queue->armed = false;
    top &= ~UNTOLD;
    uint32_t last = top, oldest = EMPTY;
    while (top != EMPTY) {
        uint32_t below = queue->slots[top].next;
        queue->slots[top].next = oldest;
        oldest = top;
        top = below;
    }
    if (queue->ready == EMPTY)
        queue->ready = oldest;
    else
        queue->slots[queue->ready_last].next = oldest;
    queue->ready_last = last;
}

struct slot *queue_take(struct queue *queue)
{
    if (queue->ready == EMPTY) {
        if (!queue_is_ours(queue))
            return NULL;
        collect(queue);
        if (queue->ready == EMPTY)
            return NULL;
    }
    struct slot *slot = &queue->slots[queue->ready];
    queue->ready = slot->next;
    slot->state = SLOT_DONE;
    return slot;
}

void queue_put_back(struct queue *queue, struct slot *slot)
{
    uint32_t number = (uint32_t)(slot - queue->slots);
    slot->next = queue->ready;
    if (queue->ready == EMPTY)
        queue->ready_last = number;
    queue->ready = number;
}

bool queue_arm(struct queue *queue)
{
    uint32_t top = EMPTY;
    if (queue->ready != EMPTY)
        return false;
    if (!queue_is_ours(queue))
        return true; /* nothing will ever come, in this process */
    if (atomic_compare_exchange_strong(&queue->done, &top, ARMED) || top == ARMED) {
        queue->armed = true;
        return true;
    }
    return false;
}

/* How much of a core the owner of a queue wants for itself: what its thread has used of the last few milliseconds, whatever for, and
 * how often threads of its program went to sleep meanwhile. Who sleeps often wakes often, and minds it if the core is not free then.
 *
 * Who asks often gets the last answer, and pays for a read of a coarse clock; once in a while the asker looks anew, with
 * a system call. The owner itself does nothing for it.
 */
#define _GNU_SOURCE
#include "owner.h"

#include <pthread.h>
#include <sys/resource.h>

#include "clock.h"

/* Nanoseconds between two looks: more than a tick of the coarse clock, and few enough that a client does not mind. */
enum { LOOK_AFTER = 10000000 };

/* Nanoseconds after which a look is so long ago that what the owner has done since says nothing of now. */
enum { FORGET_AFTER = 5 * LOOK_AFTER };

/* It is busy from one part in so many on, in a program that sleeps often, and in a calm one. Where less of a core is wanted, hardly
   anybody waits for who has the rest. */
enum { BUSY_PART = 4, BUSY_PART_CALM = 2 };

/* Nanoseconds from one sleep to the next, or more, in a calm program. */
enum { CALM = 500000 };

/* Of all threads of the program, from its beginning. */
static int64_t sleeps(void)
{
    struct rusage usage = {.ru_nvcsw = 0};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nvcsw;
}

void owner_is_here(struct owner *owner)
{
    if (owner->known)
        return;
    owner->known = true;
    if (pthread_getcpuclockid(pthread_self(), &owner->clock))
        owner->clock = CLOCK_MONOTONIC; /* nobody can know: as if it were always busy */
    owner->used = nanoseconds(owner->clock);
    owner->slept = sleeps();
    atomic_store(&owner->looked, nanoseconds(CLOCK_MONOTONIC));
}

static void look(struct owner *owner)
{
    int64_t now = nanoseconds(CLOCK_MONOTONIC), used = nanoseconds(owner->clock), slept = sleeps();
    int64_t passed = now - atomic_load(&owner->looked);
    int part = (slept - owner->slept) * CALM > passed ? BUSY_PART : BUSY_PART_CALM;
    atomic_store(&owner->busy, passed < FORGET_AFTER && (used - owner->used) * part > passed);
    owner->used = used;
    owner->slept = slept;
    atomic_store(&owner->looked, now);
}

bool owner_is_busy(struct owner *owner)
{
    if (nanoseconds(CLOCK_MONOTONIC_COARSE) - atomic_load(&owner->looked) > LOOK_AFTER
        && !atomic_flag_test_and_set(&owner->looking)) {
        look(owner);
        atomic_flag_clear(&owner->looking);
    }
    return atomic_load(&owner->busy);
}

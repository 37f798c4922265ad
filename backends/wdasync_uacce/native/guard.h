/* Accesses to memory that may go away. The kernel answers them with SIGBUS, which ends the process; inside a guard they end
 * instead, where they are.
 *
 * Memory that Python touches itself cannot be guarded so: views of a reserved region. When such a *kept* region goes away,
 * plain memory takes its place at the first touch, which goes on as if nothing had happened; the region's state tells.
 *
 * Only faults of the guarding thread in the guarded ranges, and in kept regions, are taken. All other signals go to the
 * handler that was there before ours, so that Python's faulthandler, debuggers, and other guards go on working.
 */
#ifndef WDASYNC_UACCE_GUARD_H
#define WDASYNC_UACCE_GUARD_H

#include <setjmp.h>
#include <signal.h>
#include <stdint.h>

#include "region.h"

struct span {
    uintptr_t address;
    size_t size;
};

struct guard {
    sigjmp_buf back;
    struct span spans[2]; /* what it guards */
    uintptr_t fault;      /* where nothing was */
    sigset_t mask;        /* of signals, before the handler ran */
};

/* Puts our handler above the one that there is, unless that is ours. 0, or errno. */
int wdu_guard_install(void);

/* Keep a region from ending the process. 0, or errno: ENOSPC when too many are kept. */
int wdu_guard_keep(wdu_region *region);
void wdu_guard_drop(wdu_region *region);

void guard_enter(struct guard *guard);
void guard_leave(void);
/* After a fault: as before the guard. */
void guard_recover(const struct guard *guard);

/* Runs what follows it until guard_leave(). True: a fault came, and guard_recover() is done. */
#define GUARD_FAULTED(guard) \
    (sigsetjmp((guard)->back, 0) ? (guard_recover(guard), 1) : (guard_enter(guard), 0))

#endif

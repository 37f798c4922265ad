/* Where no fork() comes in between. A forked child has one thread, and all memory as it was: what another thread had locked in a
 * library stays locked there for ever. OpenSSL locks its own, which `ssl` and `hashlib` of the child want, too. So whoever
 * is about to call what locks enters the gate, and fork() waits until all have left.
 *
 * Who is inside must not fork, not enter once more, not wait for the interpreter's lock (which the one who forks holds), and not touch
 * memory that may be gone. And it should not stay long: until it leaves, fork() waits, and with it whoever wants to enter.
 */
#ifndef WDASYNC_FORKGATE_H
#define WDASYNC_FORKGATE_H

#include <stdbool.h>

/* From now on fork() waits; before anybody enters. False: no memory. */
bool gate_watch_forks(void);

void gate_enter(void);
void gate_leave(void);

#endif

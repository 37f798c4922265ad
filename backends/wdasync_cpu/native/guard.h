/* Memory of the caller's that goes away while it is read or written: a file is mapped, and somebody truncates it, or its
 * disk is full. The kernel answers with SIGBUS, which ends the process. Work that is *guarded* ends instead, where it is.
 *
 * Only faults in the input and output of the requests at hand are taken, on the thread that works on it. All other signals
 * go to the handler that was there before ours.
 */
#ifndef WDASYNC_GUARD_H
#define WDASYNC_GUARD_H

#include "request.h"

/* Puts our handler before the one that there is; once a process. False: the kernel refuses. */
bool guard_install(void);

/* Does the work. False: memory of the request was not there, and the request has failed. Then nothing of what the work
   held has been given back. */
bool guarded(void (*work)(void *kit, struct request *request), void *kit, struct request *request);

/* So too, the work of several requests. False: memory of one of them was not there; none of them has failed for it. */
bool guarded_all(void (*work)(void *kit, struct request *const *requests, unsigned count), void *kit,
                 struct request *const *requests, unsigned count);

/* Copies, without harm if memory of either side is not there. The number of the byte that was not; `size`: all were. */
size_t guarded_copy(void *to, const void *from, size_t size);

/* Why memory is not there, for people. */
const char *guard_why(void);

#endif

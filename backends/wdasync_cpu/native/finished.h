/* Finished slots on their way back to the owner of a queue, and its wake-up.
 *
 * One word is both the top of the stack and the answer to "does the owner sleep?". A worker puts its slots on top by
 * compare-and-swap, and what it replaced tells whether it must wake the owner: publishing and deciding are one step, and
 * no wake-up can fall between them. The owner goes to sleep by turning EMPTY into ARMED, which fails if anything lies there.
 *
 * To wake a loop costs it as much as some operations. So a worker that goes on with more for the same owner may leave it asleep:
 * it marks the top as UNTOLD, and whoever puts something on top next takes the mark over, or wakes the owner. What lies there waits
 * for no longer than a third of what is behind it in the lane does, and a few milliseconds at most, as far as can be known: how long
 * lengthy work takes is learned from what was done by the same plan. What Python does, and what waits for pages, is told at once.
 */
#ifndef WDASYNC_FINISHED_H
#define WDASYNC_FINISHED_H

#include "ring.h"

void finished_init(struct queue *queue); /* and its eventfd; -1 if there is none to be had */

/* The first of them lies lowest, as if each had come by itself; the owner is woken once. `later`: not yet. Who says so calls
   finished_tell(), unless it goes on with a slot of the queue for which they may wait. */
void finished_put(struct queue *queue, struct slot **slots, unsigned count, bool later);
bool finished_may_wait(struct queue *queue, const struct slot *next);
void finished_tell(struct queue *queue);

#endif

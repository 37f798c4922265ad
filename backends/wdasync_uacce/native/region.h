/* Memory that is shared with a device: single accesses with their barriers, bulk copies, and the queue manager's rings.
 *
 * A mapping of a device can go away while it is used: the device is removed, and from then on the kernel answers an access
 * with SIGBUS, which ends the process. So every function here works inside a guard (guard.h). When memory is not there it
 * returns what its comment says, and the region is WDU_GONE for good.
 *
 * Offsets are not checked here, and a word's offset is a multiple of its size.
 */
#ifndef WDASYNC_UACCE_REGION_H
#define WDASYNC_UACCE_REGION_H

#include <stddef.h>
#include <stdint.h>

enum wdu_state {
    WDU_MAPPED,   /* its memory is there, as far as anybody knows */
    WDU_GONE,     /* an access found nothing: the device was removed */
    WDU_FOREIGN,  /* it is the parent's: mappings of a device do not come along in a fork */
    WDU_UNMAPPED, /* it was given back */
};

/* Nothing is touched unless the state is WDU_MAPPED. */
typedef struct {
    uintptr_t address;
    size_t size;
    int state;
} wdu_region;

/* All ones when there is nothing, as a read from a bus without a device gives. Ask for the state then. */
uint32_t wdu_load32(wdu_region *region, size_t offset);
uint64_t wdu_load64(wdu_region *region, size_t offset);

/* All of these: 0, or -1 when there is nothing. */
int wdu_store32(wdu_region *region, size_t offset, uint32_t value);
int wdu_store64(wdu_region *region, size_t offset, uint64_t value);
int wdu_read(wdu_region *region, size_t offset, void *to, size_t nbytes);
int wdu_write(wdu_region *region, size_t offset, const void *from, size_t nbytes);

/* Nothing before it is seen after what follows it, by a device either. */
void wdu_fence(void);

/* Entries into the ring at the region's start, from the slot ``tail`` on, round its end. The doorbell publishes them. */
int wdu_ring_put(wdu_region *region, uint32_t depth, uint32_t entry_size, uint32_t tail, const void *entries,
                 uint32_t count);

/* Whether a completion is there: 1, 0; -1 when there is nothing. */
int wdu_ring_waiting(wdu_region *region, size_t cq, uint32_t head, uint32_t phase);

/* Up to ``limit`` completions, oldest first: of each the upper eight bytes, and a copy of the finished submission entry
   (left alone where the completion names no slot of the ring). How many; -1 when there is nothing. */
int64_t wdu_ring_reap(wdu_region *region, size_t cq, uint32_t cq_depth, uint32_t head, uint32_t phase, uint32_t limit,
                      uint32_t sq_depth, uint32_t entry_size, uint64_t *completions, char *entries);

/* Copy memory of the program, which may be a file that was truncated. How many bytes were copied: all before the first
   page, of either side, that is not there. */
size_t wdu_copy(void *to, const void *from, size_t nbytes);

#endif

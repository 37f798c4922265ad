/* See region.h.
 *
 * Each load and store is one instruction on one aligned word, with the barrier that a *device* needs: on AArch64 the
 * ordering instructions of C11 order threads of the inner shareable domain, a device that is coherent sits in the outer
 * one, so the ``osh`` barriers are written out. On x86-64 ordinary memory is ordered as it is, and a full fence before a
 * doorbell covers non-temporal stores of a bulk copy too.
 *
 * The functions on whole rings exist because a burst in Python would be a call for each word. They are the place for more
 * of the data path, should Python become the limit.
 */
#include "region.h"

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "guard.h"

#if defined(__aarch64__)
#define BARRIER_LOAD() __asm__ volatile("dmb oshld" ::: "memory")
#define BARRIER_STORE() __asm__ volatile("dmb oshst" ::: "memory")
#define BARRIER_FULL() __asm__ volatile("dmb osh" ::: "memory")
#elif defined(__x86_64__)
#define BARRIER_LOAD() __asm__ volatile("" ::: "memory")
#define BARRIER_STORE() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define BARRIER_FULL() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#else
#define BARRIER_LOAD() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define BARRIER_STORE() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define BARRIER_FULL() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#endif

enum { CQE_BYTES = 16, CQE_SQ_HEAD = 8, CQE_PHASE = 14 };

static bool is_mapped(const wdu_region *region)
{
    return __atomic_load_n(&region->state, __ATOMIC_RELAXED) == WDU_MAPPED;
}

static struct guard guard_of(const wdu_region *region)
{
    return (struct guard){.spans = {{region->address, region->size}}};
}

static void gone(wdu_region *region)
{
    __atomic_store_n(&region->state, WDU_GONE, __ATOMIC_RELAXED);
}

/* The frame of a function that can be leapt back into: its guard, and what it returns when there is nothing. */
#define GUARDED(region, nothing)              \
    struct guard guard = guard_of(region);    \
    if (!is_mapped(region))                   \
        return nothing;                       \
    if (GUARD_FAULTED(&guard)) {              \
        gone(region);                         \
        return nothing;                       \
    }

uint32_t wdu_load32(wdu_region *region, size_t offset)
{
    GUARDED(region, UINT32_MAX)
    uint32_t value = __atomic_load_n((const uint32_t *)(region->address + offset), __ATOMIC_ACQUIRE);
    BARRIER_LOAD();
    guard_leave();
    return value;
}

uint64_t wdu_load64(wdu_region *region, size_t offset)
{
    GUARDED(region, UINT64_MAX)
    uint64_t value = __atomic_load_n((const uint64_t *)(region->address + offset), __ATOMIC_ACQUIRE);
    BARRIER_LOAD();
    guard_leave();
    return value;
}

int wdu_store32(wdu_region *region, size_t offset, uint32_t value)
{
    GUARDED(region, -1)
    BARRIER_STORE();
    __atomic_store_n((uint32_t *)(region->address + offset), value, __ATOMIC_RELEASE);
    guard_leave();
    return 0;
}

int wdu_store64(wdu_region *region, size_t offset, uint64_t value)
{
    GUARDED(region, -1)
    BARRIER_STORE();
    __atomic_store_n((uint64_t *)(region->address + offset), value, __ATOMIC_RELEASE);
    guard_leave();
    return 0;
}

int wdu_read(wdu_region *region, size_t offset, void *to, size_t nbytes)
{
    GUARDED(region, -1)
    memcpy(to, (const void *)(region->address + offset), nbytes);
    guard_leave();
    return 0;
}

int wdu_write(wdu_region *region, size_t offset, const void *from, size_t nbytes)
{
    GUARDED(region, -1)
    memcpy((void *)(region->address + offset), from, nbytes);
    guard_leave();
    return 0;
}

void wdu_fence(void)
{
    BARRIER_FULL();
}

int wdu_ring_put(wdu_region *region, uint32_t depth, uint32_t entry_size, uint32_t tail, const void *entries,
                 uint32_t count)
{
    GUARDED(region, -1)
    char *ring = (char *)region->address;
    uint32_t straight = depth - tail < count ? depth - tail : count;
    memcpy(ring + (size_t)tail * entry_size, entries, (size_t)straight * entry_size);
    memcpy(ring, (const char *)entries + (size_t)straight * entry_size, (size_t)(count - straight) * entry_size);
    guard_leave();
    return 0;
}

/* The phase is the last thing the device writes, and the first that is read here. */
static int is_waiting(const char *cq, uint32_t head, uint32_t phase)
{
    const char *entry = cq + (size_t)head * CQE_BYTES;
    uint16_t word = __atomic_load_n((const uint16_t *)(entry + CQE_PHASE), __ATOMIC_ACQUIRE);
    BARRIER_LOAD();
    return (word & 1) == phase;
}

int wdu_ring_waiting(wdu_region *region, size_t cq, uint32_t head, uint32_t phase)
{
    GUARDED(region, -1)
    int waiting = is_waiting((const char *)region->address + cq, head, phase);
    guard_leave();
    return waiting;
}

/* Not inlined: what it changes belongs to no frame that is leapt back into. */
__attribute__((noinline))
static uint32_t reap(const char *sq, const char *cq, uint32_t cq_depth, uint32_t head, uint32_t phase, uint32_t limit,
                     uint32_t sq_depth, uint32_t entry_size, uint64_t *completions, char *entries)
{
    uint32_t count = 0;
    while (count < limit && is_waiting(cq, head, phase)) {
        const char *entry = cq + (size_t)head * CQE_BYTES;
        uint16_t slot;
        memcpy(&completions[count], entry + CQE_SQ_HEAD, 8);
        memcpy(&slot, entry + CQE_SQ_HEAD, 2);
        if (slot < sq_depth)
            memcpy(entries + (size_t)count * entry_size, sq + (size_t)slot * entry_size, entry_size);
        count++;
        if (++head == cq_depth) {
            head = 0;
            phase ^= 1;
        }
    }
    return count;
}

int64_t wdu_ring_reap(wdu_region *region, size_t cq, uint32_t cq_depth, uint32_t head, uint32_t phase, uint32_t limit,
                      uint32_t sq_depth, uint32_t entry_size, uint64_t *completions, char *entries)
{
    GUARDED(region, -1)
    const char *base = (const char *)region->address;
    int64_t count = reap(base, base + cq, cq_depth, head, phase, limit, sq_depth, entry_size, completions, entries);
    guard_leave();
    return count;
}

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* Whole pages: they are there or not, and a copy may read in words. */
static struct span pages_of(const void *memory, size_t nbytes, size_t page)
{
    uintptr_t begin = (uintptr_t)memory / page * page;
    return (struct span){begin, ((uintptr_t)memory + nbytes + page - 1) / page * page - begin};
}

/* Bytes of the memory before the page of a fault; all of them when the fault is elsewhere. */
static size_t bytes_before(uintptr_t fault, const void *memory, size_t nbytes, size_t page)
{
    struct span span = pages_of(memory, nbytes, page);
    uintptr_t begin = (uintptr_t)memory, missing = fault / page * page;
    if (fault - span.address >= span.size)
        return nbytes;
    return missing > begin ? missing - begin : 0;
}

/* How many bytes are worth another attempt: ``nbytes`` when all were copied. */
static size_t try_copy(void *to, const void *from, size_t nbytes)
{
    size_t page = page_size();
    struct guard guard = {.spans = {pages_of(to, nbytes, page), pages_of(from, nbytes, page)}};
    if (GUARD_FAULTED(&guard)) {
        size_t there = bytes_before(guard.fault, to, nbytes, page);
        return bytes_before(guard.fault, from, there, page);
    }
    memcpy(to, from, nbytes);
    guard_leave();
    return nbytes;
}

size_t wdu_copy(void *to, const void *from, size_t nbytes)
{
    size_t wanted;
    do {
        wanted = nbytes;
        nbytes = wanted ? try_copy(to, from, wanted) : 0;
    } while (nbytes < wanted);
    return nbytes;
}

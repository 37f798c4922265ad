"""Builds ``wdasync_uacce._native``: accesses to memory that a device reads and writes at the same time.

Each load and store is one instruction on one aligned word, with the barrier that a *device* needs: on AArch64 the
ordering instructions of C11 order threads of the inner shareable domain, a device that is coherent sits in the
outer one, so the ``osh`` barriers are written out. On x86-64 ordinary memory is ordered as it is, and a full
fence before a doorbell covers non-temporal stores of a bulk copy too.

The two functions on whole rings exist because a burst in Python would be a call for each word. Both are
the place for more of the data path, should Python become the limit.
"""

from cffi import FFI

ffibuilder = FFI()

ffibuilder.cdef(
    """
    uint32_t wdu_load32(uintptr_t address);
    uint64_t wdu_load64(uintptr_t address);
    void wdu_store32(uintptr_t address, uint32_t value);
    void wdu_store64(uintptr_t address, uint64_t value);
    void wdu_fence(void);
    void wdu_read(uintptr_t address, void *to, size_t nbytes);
    void wdu_write(uintptr_t address, const void *from, size_t nbytes);
    void wdu_ring_put(uintptr_t ring, uint32_t depth, uint32_t entry_size, uint32_t tail,
                      const void *entries, uint32_t count);
    int wdu_ring_waiting(uintptr_t cq, uint32_t head, uint32_t phase);
    uint32_t wdu_ring_reap(uintptr_t cq, uint32_t cq_depth, uint32_t head, uint32_t phase, uint32_t limit,
                           uintptr_t sq, uint32_t sq_depth, uint32_t entry_size,
                           uint64_t *completions, char *entries);
    """
)

ffibuilder.set_source(
    "wdasync_uacce._native",
    r"""
    #include <stddef.h>
    #include <stdint.h>
    #include <string.h>

    #if defined(__aarch64__)
    #define BARRIER_LOAD()  __asm__ volatile("dmb oshld" ::: "memory")
    #define BARRIER_STORE() __asm__ volatile("dmb oshst" ::: "memory")
    #define BARRIER_FULL()  __asm__ volatile("dmb osh" ::: "memory")
    #elif defined(__x86_64__)
    #define BARRIER_LOAD()  __asm__ volatile("" ::: "memory")
    #define BARRIER_STORE() __atomic_thread_fence(__ATOMIC_SEQ_CST)
    #define BARRIER_FULL()  __atomic_thread_fence(__ATOMIC_SEQ_CST)
    #else
    #define BARRIER_LOAD()  __atomic_thread_fence(__ATOMIC_SEQ_CST)
    #define BARRIER_STORE() __atomic_thread_fence(__ATOMIC_SEQ_CST)
    #define BARRIER_FULL()  __atomic_thread_fence(__ATOMIC_SEQ_CST)
    #endif

    static uint32_t wdu_load32(uintptr_t address)
    {
        uint32_t value = __atomic_load_n((const uint32_t *)address, __ATOMIC_ACQUIRE);
        BARRIER_LOAD();
        return value;
    }

    static uint64_t wdu_load64(uintptr_t address)
    {
        uint64_t value = __atomic_load_n((const uint64_t *)address, __ATOMIC_ACQUIRE);
        BARRIER_LOAD();
        return value;
    }

    static void wdu_store32(uintptr_t address, uint32_t value)
    {
        BARRIER_STORE();
        __atomic_store_n((uint32_t *)address, value, __ATOMIC_RELEASE);
    }

    static void wdu_store64(uintptr_t address, uint64_t value)
    {
        BARRIER_STORE();
        __atomic_store_n((uint64_t *)address, value, __ATOMIC_RELEASE);
    }

    static void wdu_fence(void)
    {
        BARRIER_FULL();
    }

    static void wdu_read(uintptr_t address, void *to, size_t nbytes)
    {
        memcpy(to, (const void *)address, nbytes);
    }

    static void wdu_write(uintptr_t address, const void *from, size_t nbytes)
    {
        memcpy((void *)address, from, nbytes);
    }

    /* Entries into a ring, from the slot ``tail`` on, round its end. The doorbell publishes them. */
    static void wdu_ring_put(uintptr_t ring, uint32_t depth, uint32_t entry_size, uint32_t tail,
                             const void *entries, uint32_t count)
    {
        uint32_t straight = depth - tail < count ? depth - tail : count;
        memcpy((char *)ring + (size_t)tail * entry_size, entries, (size_t)straight * entry_size);
        memcpy((char *)ring, (const char *)entries + (size_t)straight * entry_size,
               (size_t)(count - straight) * entry_size);
    }

    enum { CQE_BYTES = 16, CQE_SQ_HEAD = 8, CQE_PHASE = 14 };

    /* The phase is the last thing the device writes, and the first that is read here. */
    static int wdu_ring_waiting(uintptr_t cq, uint32_t head, uint32_t phase)
    {
        const char *entry = (const char *)cq + (size_t)head * CQE_BYTES;
        uint16_t word = __atomic_load_n((const uint16_t *)(entry + CQE_PHASE), __ATOMIC_ACQUIRE);
        BARRIER_LOAD();
        return (word & 1) == phase;
    }

    /* Up to ``limit`` completions, oldest first: of each the upper eight bytes, and a copy of the finished
       submission entry (left alone where the completion names no slot of the ring). */
    static uint32_t wdu_ring_reap(uintptr_t cq, uint32_t cq_depth, uint32_t head, uint32_t phase, uint32_t limit,
                                  uintptr_t sq, uint32_t sq_depth, uint32_t entry_size,
                                  uint64_t *completions, char *entries)
    {
        uint32_t count = 0;
        while (count < limit && wdu_ring_waiting(cq, head, phase)) {
            const char *entry = (const char *)cq + (size_t)head * CQE_BYTES;
            uint16_t slot;
            memcpy(&completions[count], entry + CQE_SQ_HEAD, 8);
            memcpy(&slot, entry + CQE_SQ_HEAD, 2);
            if (slot < sq_depth)
                memcpy(entries + (size_t)count * entry_size, (const char *)sq + (size_t)slot * entry_size, entry_size);
            count++;
            if (++head == cq_depth) {
                head = 0;
                phase ^= 1;
            }
        }
        return count;
    }
    """,
    extra_compile_args=["-std=gnu11", "-O2"],
    py_limited_api=True,
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)

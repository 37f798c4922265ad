"""Builds ``wdasync_hip08._native``: the few things about memory that Python cannot say.

* One aligned load, store or compare-and-swap of a word that another agent reads. A copy of eight bytes is not
  that: it may be torn, and nothing orders it.
* DMA into a process, without the GIL and without signals. ``process_vm_readv`` and ``process_vm_writev`` walk the
  page tables of the process as the device would: a hole, a page without the permission and a truncated file give
  EFAULT, and a copy-on-write page is copied. (``/proc/self/mem`` writes through protections, so it is no model of
  a device.)
* ``MADV_POPULATE_READ`` and ``MADV_POPULATE_WRITE``: what the kernel does for a page fault of a device.
"""

from cffi import FFI

ffibuilder = FFI()

ffibuilder.cdef(
    """
    uint64_t wda_load64(uintptr_t address);
    void wda_store64(uintptr_t address, uint64_t value);
    uint64_t wda_compare_exchange64(uintptr_t address, uint64_t expected, uint64_t value);
    uint32_t wda_load32(uintptr_t address);
    void wda_store32(uintptr_t address, uint32_t value);
    void wda_store16(uintptr_t address, uint16_t value);
    int64_t wda_copy_in(int pid, const uint64_t *address, const uint64_t *nbytes, size_t count, void *local);
    int64_t wda_copy_out(int pid, const uint64_t *address, const uint64_t *nbytes, size_t count, const void *local);
    int wda_populate(uintptr_t address, size_t nbytes, int writable);
    """
)

ffibuilder.set_source(
    "wdasync_hip08._native",
    r"""
    #ifndef _GNU_SOURCE  /* for process_vm_readv; Python.h may have said it */
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <stddef.h>
    #include <stdint.h>
    #include <sys/mman.h>
    #include <sys/uio.h>

    #ifndef MADV_POPULATE_READ   /* Linux 5.14; older C libraries do not name them */
    #define MADV_POPULATE_READ 22
    #define MADV_POPULATE_WRITE 23
    #endif

    static uint64_t wda_load64(uintptr_t address)
    {
        return __atomic_load_n((const uint64_t *)address, __ATOMIC_ACQUIRE);
    }

    static void wda_store64(uintptr_t address, uint64_t value)
    {
        __atomic_store_n((uint64_t *)address, value, __ATOMIC_SEQ_CST);
    }

    static uint64_t wda_compare_exchange64(uintptr_t address, uint64_t expected, uint64_t value)
    {
        __atomic_compare_exchange_n((uint64_t *)address, &expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
        return expected;
    }

    static uint32_t wda_load32(uintptr_t address)
    {
        return __atomic_load_n((const uint32_t *)address, __ATOMIC_ACQUIRE);
    }

    static void wda_store32(uintptr_t address, uint32_t value)
    {
        __atomic_store_n((uint32_t *)address, value, __ATOMIC_SEQ_CST);
    }

    static void wda_store16(uintptr_t address, uint16_t value)
    {
        __atomic_store_n((uint16_t *)address, value, __ATOMIC_SEQ_CST);
    }

    enum { PIECES = 256 };

    typedef ssize_t (*vm_copy)(pid_t, const struct iovec *, unsigned long, const struct iovec *, unsigned long,
                               unsigned long);

    /* Bytes that were copied, from the first one on, or -errno if there was none. The kernel stops at the first
       element that it cannot reach in full or in part, so a short count says where. */
    static int64_t copy(vm_copy call, int pid, const uint64_t *address, const uint64_t *nbytes, size_t count,
                        char *local)
    {
        struct iovec remote[PIECES];
        int64_t done = 0;
        while (count) {
            size_t pieces = count < PIECES ? count : PIECES;
            uint64_t wanted = 0;
            for (size_t i = 0; i < pieces; i++) {
                remote[i].iov_base = (void *)(uintptr_t)address[i];
                remote[i].iov_len = nbytes[i];
                wanted += nbytes[i];
            }
            struct iovec here = { local + done, wanted };
            ssize_t got = call(pid, &here, 1, remote, pieces, 0);
            if (got < 0)
                return done ? done : -errno;
            done += got;
            if ((uint64_t)got < wanted)
                return done;
            address += pieces;
            nbytes += pieces;
            count -= pieces;
        }
        return done;
    }

    static int64_t wda_copy_in(int pid, const uint64_t *address, const uint64_t *nbytes, size_t count, void *local)
    {
        return copy(process_vm_readv, pid, address, nbytes, count, local);
    }

    static int64_t wda_copy_out(int pid, const uint64_t *address, const uint64_t *nbytes, size_t count,
                                const void *local)
    {
        return copy(process_vm_writev, pid, address, nbytes, count, (char *)local);
    }

    static int wda_populate(uintptr_t address, size_t nbytes, int writable)
    {
        int advice = writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
        return madvise((void *)address, nbytes, advice) ? -errno : 0;
    }
    """,
    py_limited_api=True,
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)

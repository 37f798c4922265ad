"""Builds ``wdasync_hip08._native``: the few things about memory that Python cannot say.

* One aligned load, store or compare-and-swap of a word that another agent reads. A copy of eight bytes is not
  that: it may be torn, and nothing orders it.
* DMA into a process, without the GIL and without signals. ``process_vm_readv`` and ``process_vm_writev`` walk the
  page tables of the process as the device would: a hole, a page without the permission and a truncated file give
  EFAULT, and a copy-on-write page is copied. (``/proc/self/mem`` writes through protections, so it is no model of
  a device.)
* What each page of a buffer takes, where it is plain: the TLB, and the walk of the tables (``native/``).
* ``MADV_POPULATE_READ`` and ``MADV_POPULATE_WRITE``: what the kernel does for a page fault of a device.
"""

import os
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent / "native"
SOURCES = ("frames", "pages", "tlb", "walk")
SANITIZERS = {
    "": ["-O2"],
    "address": ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined"],
    "thread": ["-O1", "-g", "-fsanitize=thread"],
}


def relative(path: Path) -> str:
    """As setuptools wants the files of a project: relative to its root, where the build runs."""
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else str(path)


sanitize = SANITIZERS[os.environ.get("WDASYNC_BUILD_SANITIZE", "")]

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

    struct tlb_entry {
        uint64_t tag, address, pa, ipa;
        uint32_t permissions;
        uint8_t shift, granule, level;
        bool has_ipa, shared;
        ...;
    };
    struct tlb_scope { uint64_t mask, tag, other, low, high; uint8_t granule, level; };
    struct tlb *tlb_new(uint32_t capacity);
    void tlb_free(struct tlb *tlb);
    bool tlb_find(struct tlb *tlb, uint64_t tag, uint64_t global_tag, uint64_t address, struct tlb_entry *found);
    uint32_t tlb_insert(struct tlb *tlb, const struct tlb_entry *entry);
    uint32_t tlb_list(struct tlb *tlb, struct tlb_entry *out, uint32_t limit);
    uint32_t tlb_invalidate(struct tlb *tlb, const struct tlb_scope *scope);
    void tlb_remove(struct tlb *tlb, uint64_t tag, uint8_t shift, uint64_t address);
    uint32_t tlb_count(struct tlb *tlb);

    struct grant { uint32_t first, end; bool writable; };
    enum frame_state { FRAME_FREE, FRAME_LIVE, FRAME_QUARANTINED };
    struct frames_counts { uint64_t known, free, quarantined, guard_violations, stale_accesses; };
    struct frame_view { enum frame_state state; uint32_t backing; uint64_t page, grants; };
    struct frames_found { size_t refused, pages, pieces; uint32_t backing; };
    struct frames *frames_new(uint64_t base, unsigned bits, uint64_t seed);
    void frames_free(struct frames *frames);
    void frames_count(struct frames *frames, struct frames_counts *counts);
    bool frames_look(struct frames *frames, uint64_t number, struct frame_view *view);
    size_t frames_grants(struct frames *frames, uint64_t number, struct grant *out, size_t limit);
    int64_t frames_allocate(struct frames *frames, uint32_t backing, uint64_t page);
    bool frames_grant(struct frames *frames, uint64_t number, struct grant grant);
    bool frames_quarantine(struct frames *frames, uint64_t number);
    size_t frames_release(struct frames *frames);
    void frames_resolve(struct frames *frames, const uint64_t *pa, size_t count, uint64_t nbytes, bool write,
                        uint64_t *address, uint64_t *length, struct frames_found *found);

    struct leaf_bits { uint64_t writable, read_only; };
    struct page_view { int64_t frame; uint64_t grants; bool writable, grants_write; };
    struct pages_counts { uint64_t pages, mapped, granted; };
    struct pages *pages_new(struct frames *frames);
    void pages_free(struct pages *pages);
    void pages_count(struct pages *pages, struct pages_counts *counts);
    bool pages_look(struct pages *pages, uint64_t vpn, struct page_view *view);
    size_t pages_grants(struct pages *pages, uint64_t vpn, struct grant *out, size_t limit);
    size_t pages_list(struct pages *pages, uint64_t first, uint64_t end, uint64_t *vpns, size_t limit);
    int64_t pages_grant(struct pages *pages, uint64_t address, uint64_t nbytes, bool writable, uint64_t *upgraded,
                        size_t limit, bool *complete);
    bool pages_revoke(struct pages *pages, uint64_t address, uint64_t nbytes, bool writable);
    void pages_revoke_all(struct pages *pages, uint64_t first, uint64_t end);
    int64_t pages_map(struct pages *pages, uint64_t vpn, size_t count, const uint8_t *wanted, uint32_t backing,
                      uint64_t page, bool writable, uintptr_t entries, const struct leaf_bits *bits);
    bool pages_make_writable(struct pages *pages, uint64_t vpn, const struct leaf_bits *bits);
    size_t pages_take(struct pages *pages, const uint64_t *vpns, size_t count, uint64_t *mapped);
    size_t pages_take_idle(struct pages *pages, uint64_t *mapped, size_t limit);
    bool pages_have_idle(struct pages *pages);

    struct walk_memory { uintptr_t host; uint64_t base, size; };
    struct walk_regime {
        uint64_t tag, global_tag, limit;
        bool walks, hierarchical, hardware_access, ignore_access, hardware_dirty, wxn, pan;
        uint8_t start, granule, input_bits, output_bits;
        uint64_t base;
        ...;
    };
    struct walk_counts { uint64_t pages, hits, walks, fetches, evictions; };
    bool walk_one(const struct walk_memory *memory, const struct walk_regime *regime, uint64_t va, bool write,
                  struct tlb_entry *entry, uint64_t *fetched, unsigned *fetches);
    size_t walk_pages(struct tlb *tlb, const struct walk_memory *memory, const struct walk_regime *regime, uint64_t va,
                      uint64_t nbytes, bool write, uint64_t *pa, size_t limit, struct walk_counts *counts);
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
    #include "frames.h"
    #include "pages.h"
    #include "tlb.h"
    #include "walk.h"

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
    sources=[relative(HERE / f"{name}.c") for name in SOURCES],
    depends=[relative(path) for path in sorted(HERE.glob("*.h"))],
    include_dirs=[relative(HERE)],
    extra_compile_args=["-std=gnu11", "-fvisibility=hidden", "-pthread", "-Wall", "-Wextra", *sanitize],
    extra_link_args=["-pthread", *(option for option in sanitize if option.startswith("-fsanitize"))],
    py_limited_api=True,
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)

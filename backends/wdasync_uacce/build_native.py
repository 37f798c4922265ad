"""Builds ``wdasync_uacce._native``: accesses to memory that a device reads and writes at the same time, and its mapping.

The C is in ``native/``, where tests include it without Python.
"""

from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent / "native"


def relative(path: Path) -> str:
    """As setuptools wants the files of a project: relative to its root, where the build runs."""
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else str(path)


ffibuilder = FFI()

ffibuilder.cdef(
    """
    typedef struct {
        uintptr_t address;
        size_t size;
        int state;
    } wdu_region;

    #define WDU_MAPPED ...
    #define WDU_GONE ...
    #define WDU_FOREIGN ...
    #define WDU_UNMAPPED ...

    uint32_t wdu_load32(wdu_region *region, size_t offset);
    uint64_t wdu_load64(wdu_region *region, size_t offset);
    int wdu_store32(wdu_region *region, size_t offset, uint32_t value);
    int wdu_store64(wdu_region *region, size_t offset, uint64_t value);
    int wdu_read(wdu_region *region, size_t offset, void *to, size_t nbytes);
    int wdu_write(wdu_region *region, size_t offset, const void *from, size_t nbytes);
    void wdu_fence(void);
    int wdu_ring_put(wdu_region *region, uint32_t depth, uint32_t entry_size, uint32_t tail, const void *entries,
                     uint32_t count);
    int wdu_ring_waiting(wdu_region *region, size_t cq, uint32_t head, uint32_t phase);
    int64_t wdu_ring_reap(wdu_region *region, size_t cq, uint32_t cq_depth, uint32_t head, uint32_t phase,
                          uint32_t limit, uint32_t sq_depth, uint32_t entry_size, uint64_t *completions,
                          char *entries);
    size_t wdu_copy(void *to, const void *from, size_t nbytes);
    int wdu_guard_install(void);
    int wdu_guard_keep(wdu_region *region);
    void wdu_guard_drop(wdu_region *region);
    intptr_t wdu_map(int fd, size_t nbytes, int64_t offset);
    int wdu_unmap(uintptr_t address, size_t nbytes);
    int wdu_vacate(uintptr_t address, size_t nbytes);
    """
)

ffibuilder.set_source(
    "wdasync_uacce._native",
    """
    #include "guard.h"
    #include "mapping.h"
    #include "region.h"
    """,
    sources=[relative(HERE / f"{name}.c") for name in ("guard", "mapping", "region")],
    depends=[relative(path) for path in sorted(HERE.glob("*.h"))],
    include_dirs=[relative(HERE)],
    extra_compile_args=["-std=gnu11", "-O2", "-fvisibility=hidden", "-pthread", "-Wall", "-Wextra"],
    extra_link_args=["-pthread"],
    py_limited_api=True,
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)

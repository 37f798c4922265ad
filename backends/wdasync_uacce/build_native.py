"""Builds ``wdasync_uacce._native``: accesses to memory that a device reads and writes at the same time, and its mapping.

The C is in ``native/``, where tests include it without Python.
"""

from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent / "native"


def relative(path: Path) -> str:
    """As setuptools wants the files of a project: relative to its root, where the build runs."""
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else str(path)


def declarations(name: str) -> str:
    """What a header of ours declares, without the preprocessor's lines."""
    lines = (HERE / f"{name}.h").read_text().splitlines()
    return "\n".join(line for line in lines if not line.startswith("#"))


ffibuilder = FFI()

ffibuilder.cdef(
    declarations("region")
    + declarations("mapping")
    + """
    int wdu_guard_install(void);
    int wdu_guard_keep(wdu_region *region);
    void wdu_guard_drop(wdu_region *region);
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

"""Builds ``wdasync_cpu._native``: rings, worker threads, and the codecs that run in them.

Nothing is needed but a C compiler and Python's headers: the codec libraries are bound when the package is used (see
``native/library.h``). Environment variables, all for the build:

* ``WDASYNC_BUILD_LINK="isal libdeflate zstd lz4 ipsec-mb"``: the extension needs these shared libraries, so that ``auditwheel repair`` puts
  them into the wheel of a release; they are then taken before all others;
* ``WDASYNC_BUILD_NATIVE_CODECS=0``: no ISA-L, libdeflate, Brotli, Zstandard, LZ4, OpenSSL and IPsec-MB in the native workers, only zlib;
* ``WDASYNC_BUILD_SANITIZE=address`` or ``thread``: for the tests that look for memory errors and data races.
"""

import os
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent / "native"  # What knows Python is in a folder of its own there.
SANITIZERS = {
    "": ["-O2"],
    "address": ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined"],
    "thread": ["-O1", "-g", "-fsanitize=thread"],
}


def relative(path: Path) -> str:
    """As setuptools wants the files of a project: relative to its root, where the build runs."""
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else str(path)


sanitize = SANITIZERS[os.environ.get("WDASYNC_BUILD_SANITIZE", "")]
only_zlib = os.environ.get("WDASYNC_BUILD_NATIVE_CODECS", "1") == "0"

#: Library -> what the linker calls it.
LINKABLE = {"isal": "isal", "libdeflate": "deflate", "zstd": "zstd", "lz4": "lz4", "ipsec-mb": "IPSec_MB"}
linked = os.environ.get("WDASYNC_BUILD_LINK", "").split()
if unknown := set(linked) - set(LINKABLE):
    raise SystemExit(
        f"WDASYNC_BUILD_LINK: expected names of {', '.join(LINKABLE)}, got {', '.join(sorted(unknown))}"
    )
# Nothing of theirs is called by name, so the linker would leave them out.
needed = (
    ["-Wl,--no-as-needed", *(f"-l{LINKABLE[name]}" for name in linked), "-Wl,--as-needed"] if linked else []
)

ffibuilder = FFI()

ffibuilder.cdef(
    """
    int install(const char *module_name);
    const char *library_bind(const char *name, const char *const *files);
    const char *library_headers(void);
    int library_dictionaries(const char *name);
    const char *library_origin(const char *name);
    const char *library_linked(void);
    int library_signs(void);
    int start_workers(unsigned size, unsigned spare);
    size_t guarded_copy(void *to, const void *from, size_t size);
    const char *guard_why(void);
    unsigned workers(void);
    unsigned spare_workers(void);
    void crews_shut_down(void);
    """
)

ffibuilder.set_source(
    "wdasync_cpu._native",
    """
    #include "codec.h"
    #include "guard.h"
    #include "ring.h"

    int install(const char *module_name);

    /* 0, or errno */
    static int start_workers(unsigned size, unsigned spare)
    {
        bool good = guard_install() && crew_start(CREW_NATIVE, size, run_requests, kit_new)
            && crew_start(CREW_SPARE, spare, run_requests, kit_new);
        return good ? 0 : errno ? errno : ENOMEM;
    }

    static unsigned workers(void)
    {
        return crew_size(CREW_NATIVE);
    }

    static unsigned spare_workers(void)
    {
        return crew_size(CREW_SPARE);
    }
    """,
    sources=[relative(path) for path in sorted(HERE.rglob("*.c"))],
    depends=[relative(path) for path in sorted(HERE.rglob("*.h"))],
    include_dirs=[relative(HERE)],
    define_macros=[("WDASYNC_ONLY_ZLIB", str(int(only_zlib))), ("WDASYNC_LINKED", f'"{" ".join(linked)}"')],
    extra_compile_args=["-std=gnu11", "-fvisibility=hidden", "-pthread", "-Wall", "-Wextra", *sanitize],
    extra_link_args=[
        "-pthread",
        "-ldl",
        *needed,
        *(option for option in sanitize if option.startswith("-fsanitize")),
    ],
    py_limited_api=True,
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)

"""The C side, typed: rings, workers, and the codec libraries that they use.

The libraries are looked for when they are first wanted. First those that the wheel of a release brings, where it does. Then inside
Python packages: the extension modules of
``isal``, ``deflate``, ``Brotli``, ``backports.zstd`` and ``lz4`` contain them whole, export their functions, and are
called here without Python; the first three come with wdasync and are the same everywhere. Then, for packages that were built
otherwise or are not there, the system's. OpenSSL is the one that `hashlib` uses.
"""

from __future__ import annotations

import os
import platform
import sys
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any, Final, NamedTuple

from wdasync.backend import Completion, DataCause, Detail
from wdasync.errors import Status
from wdasync.operations import KINDS, Operation

from . import _native

__all__ = [
    "LIBRARIES",
    "LINKED",
    "LOST_MEMORY",
    "Library",
    "add_plan",
    "close_session",
    "crc32c",
    "explain",
    "finish_task",
    "guarded_copy",
    "headers",
    "is_expanded",
    "join",
    "leave",
    "library_dictionaries",
    "library_file",
    "library_problem",
    "library_signs",
    "measure",
    "methods",
    "module_file",
    "must_stop",
    "new_secret",
    "new_signer",
    "next_task",
    "open_desk",
    "open_line",
    "open_port",
    "open_session",
    "reset_session",
    "set_batches",
    "shut_down",
    "spare_workers",
    "start_workers",
    "tiny",
    "try_digests",
    "try_sealing",
    "try_signing",
    "workers",
]

#: Runs an operation by the number of its plan, for a hand.
Run = Callable[[Operation, int, object], Any]

#: What finishes a task: status, output, consumed, produced, final, detail.
Outcome = tuple[int, bytes | None, int, int, bool, Detail | None]


class Library(NamedTuple):
    """A codec library, and where it may be.

    :ivar files: names for the dynamic linker
    :ivar module: the extension module that contains it; empty: none
    :ivar package: the Python package of that module; empty: the standard library
    :ivar advice: what to type to get it
    """

    files: tuple[str, ...]
    module: str
    package: str
    advice: str


#: Name -> library. The soname's number is the version of the binary interface.
LIBRARIES: Final[dict[str, Library]] = {
    "zlib": Library(("libz.so.1",), "zlib", "", "apt install zlib1g"),
    "libdeflate": Library(
        ("libdeflate.so.0",), "deflate._deflate", "deflate", "pip install deflate, or apt install libdeflate0"
    ),
    "isal": Library(("libisal.so.2",), "isal.igzip_lib", "isal", "pip install isal, or apt install libisal2"),
    "brotli": Library(
        ("libbrotlienc.so.1", "libbrotlidec.so.1"),
        "_brotli",
        "Brotli",
        "pip install Brotli, or apt install libbrotli1",
    ),
    "zstd": Library(
        ("libzstd.so.1",),
        "_zstd" if sys.version_info >= (3, 14) else "backports.zstd._zstd",
        "" if sys.version_info >= (3, 14) else "backports.zstd",
        'pip install "wdasync[zstd]", or apt install libzstd1',
    ),
    "lz4": Library(
        ("liblz4.so.1",), "lz4.frame._frame", "lz4", 'pip install "wdasync[lz4]", or apt install liblz4-1'
    ),
    "openssl": Library(("libcrypto.so.3",), "_hashlib", "", "apt install libssl3"),
}

if platform.machine() == "x86_64":
    LIBRARIES["ipsec-mb"] = Library(("libIPSec_MB.so.1",), "", "", "apt install libipsec-mb1")

#: Crews as the C side numbers them -> what their members are called.
CREWS: Final = ("worker {}", "thread {}", "paged worker {}", "spare worker {}", "inline")

CAUSES: Final = (None, *DataCause)

#: The number of a worker that is none, as in ``native/request.h``.
NO_WORKER: Final = 0xFFFF


def describe(message: str, cause: int, crew: int, number: int, final: int, faults: int, step: int) -> Detail:
    """The detail of a completion."""
    where = "" if number == NO_WORKER else CREWS[crew].format(number)
    failed = step if step >= 0 else None
    return Detail(message, cause=CAUSES[cause], where=where, faults=faults, final=bool(final), step=failed)


if not _native.lib.install(_native.__name__.encode()):
    raise ImportError(f"{_native.__name__} cannot be set up; reinstall the package")
_native.configure(Completion, tuple(Status), tuple(KINDS[kind] for kind in sorted(KINDS)), describe)

add_plan: Callable[[int, int, int, int, int, bool, int, int, int], int] = _native.add_plan
new_secret: Callable[[int, bytes | bytearray, bool], object] = _native.new_secret
is_expanded: Callable[[object], bool] = _native.is_expanded
new_signer: Callable[[bytes], object | None] = _native.new_signer
tiny: Callable[[int], tuple[Callable[..., bytes | None], int, int] | None] = _native.tiny
crc32c: Callable[[int, bytes, bool], int] = _native.crc32c
try_digests: Callable[[int, tuple[bytes, ...], bool, int], tuple[tuple[bytes | None, ...], int]] = (
    _native.try_digests
)
try_sealing: Callable[[object, bool, bytes, bytes, tuple[bytes, ...], int], tuple[bytes | None, int]] = (
    _native.try_sealing
)
try_signing: Callable[[object, int, bytes], bytes | None] = _native.try_signing
set_batches: Callable[[int, int], None] = _native.set_batches
open_desk: Callable[..., object] = _native.open_desk
open_line: Callable[[], tuple[object, int]] = _native.open_line
open_port: Callable[[object, int, int], tuple[object, int]] = _native.open_port
methods: Callable[[object], list[Any]] = _native.methods
open_session: Callable[[object, int, bytes | None, bool], object] = _native.open_session
reset_session: Callable[[object], None] = _native.reset_session
close_session: Callable[[object], None] = _native.close_session
join: Callable[[], tuple[object, int]] = _native.join
leave: Callable[[object], None] = _native.leave
next_task: Callable[[object], tuple[Operation, int, Run] | None] = _native.next_task
finish_task: Callable[[object, Outcome], None] = _native.finish_task
must_stop: Callable[[object], bool] = _native.must_stop
explain: Callable[[int, bytes | memoryview, int, bool, bytes | None], tuple[int, int, str] | None] = (
    _native.explain
)
measure: Callable[[bytes | memoryview, int], int | tuple[int, int, str]] = _native.measure


#: Why memory of the caller's is not there, for people.
LOST_MEMORY: Final[str] = _native.ffi.string(_native.lib.guard_why()).decode()


def guarded_copy(to: bytearray | memoryview, source: bytes | memoryview) -> int:
    """Copy to the beginning of ``to``, without the interpreter's lock; the number of the byte that is not there, on either side. If
    all are, it is the length of the source.
    """
    ffi = _native.ffi
    with (
        ffi.from_buffer("char[]", to, require_writable=True) as begin,
        ffi.from_buffer("char[]", source) as data,
    ):
        return int(_native.lib.guarded_copy(begin, data, len(source)))


def module_file(name: str) -> str | None:
    """The file of an extension module, if it is installed and is one."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return None
    return spec.origin if spec is not None and spec.has_location else None


def _files_in(library: Library) -> Sequence[Sequence[str]]:
    """The sets of files that may hold a library, best first. zlib is the system's, as for everybody."""
    inside = getattr(zlib, "__file__", "") if library.module == zlib.__name__ else module_file(library.module)
    found = [library.files, *([(inside,)] if inside else [])]
    return found if library.module == zlib.__name__ else found[::-1]


#: Libraries that the extension itself needs, and so are there: those that the wheel of a release brings.
LINKED: Final = frozenset(_native.ffi.string(_native.lib.library_linked()).decode().split())


def library_file(name: str) -> str:
    """The file where a library was found; empty if it was not."""
    file = os.fsdecode(_native.ffi.string(_native.lib.library_origin(name.encode())))
    return os.path.normpath(file) if file else ""


@cache
def library_problem(name: str) -> str:
    """Bind a library if it is not; empty if it is there, else why it is not."""
    problem = "not found"
    ours = [(_native.__file__,)] if name in LINKED else []  # what it needs is found through it
    for files in (*ours, *_files_in(LIBRARIES[name])):
        texts = [_native.ffi.new("char[]", os.fsencode(file)) for file in files]
        answer = _native.lib.library_bind(name.encode(), [*texts, _native.ffi.NULL])
        if answer == _native.ffi.NULL:
            return ""
        problem = _native.ffi.string(answer).decode(errors="replace")
    return problem


def library_dictionaries(name: str) -> bool:
    """Whether a library that was found has functions for dictionaries, which some versions lack."""
    return bool(_native.lib.library_dictionaries(name.encode()))


def library_signs() -> bool:
    """Whether OpenSSL was found, and signs: not all that call themselves so do."""
    return bool(_native.lib.library_signs())


def headers() -> str:
    """Headers of libraries with which the C side was compared when it was built."""
    return str(_native.ffi.string(_native.lib.library_headers()).decode()).strip()


def start_workers(count: int, spare: int = 0) -> None:
    """See that there are at least ``count`` native workers in this process, and ``spare`` ones at low priority.

    :raises OSError: if a thread cannot be started
    """
    if error := _native.lib.start_workers(count, spare):
        raise OSError(error, os.strerror(error))


def workers() -> int:
    """Native workers of this process."""
    return int(_native.lib.workers())


def spare_workers() -> int:
    """Those of this process at low priority."""
    return int(_native.lib.spare_workers())


def shut_down() -> None:
    """No more work: the interpreter ends. Waits for what the native workers have in hand."""
    _native.lib.crews_shut_down()

"""Builds ``link.c`` when it is first wanted, with OpenSSL's headers, and loads it."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Final

from cffi import FFI, VerificationError

__all__ = ["ffi", "lib"]

HERE: Final = Path(__file__).parent
HEADER, SOURCE = ((HERE / name).read_text() for name in ("link.h", "link.c"))
#: Another source, or another Python, is another module.
NAME: Final = f"link_{hashlib.sha256((HEADER + SOURCE + sys.version).encode()).hexdigest()[:16]}"


def _load() -> Any:
    """From where Python keeps what it makes of this package's sources. If it may keep nothing there, it is built for this process only."""
    beside = HERE / "__pycache__"
    if (file := _built(beside)) is not None:
        return _import(file)
    if _writable(beside):
        return _import(_build(beside))
    with tempfile.TemporaryDirectory(prefix="offloaded-tls-") as folder:
        # What is loaded needs its file no more.
        return _import(_build(Path(folder)))


def _built(folder: Path) -> Path | None:
    return next(folder.glob(f"{NAME}.*.so"), None)


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _import(file: Path) -> Any:
    spec = spec_from_file_location(NAME, file, loader=ExtensionFileLoader(NAME, str(file)))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _build(folder: Path) -> Path:
    """In a folder of its own, then moved: others may build it at the same time."""
    builder = FFI()
    builder.cdef(HEADER)
    builder.set_source(
        NAME,
        "#define OPENSSL_SUPPRESS_DEPRECATED\n" + SOURCE.replace('#include "link.h"', HEADER),
        libraries=["ssl", "crypto"],
        extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra"],
    )
    with tempfile.TemporaryDirectory(prefix="build-", dir=folder) as work:
        try:
            built = Path(builder.compile(tmpdir=work))
        except VerificationError as error:
            raise ImportError(
                f"{error}; install OpenSSL's headers and a C compiler: apt install libssl-dev gcc"
            ) from error
        return built.replace(folder / built.name)


_module: Final[Any] = _load()
ffi: Final[Any] = _module.ffi
lib: Final[Any] = _module.lib

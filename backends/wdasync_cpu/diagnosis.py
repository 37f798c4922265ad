"""Health checks of the CPU backend."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from wdasync.backend import Check
from wdasync.errors import BackendUnavailable, Status
from wdasync.operations import Compress, Decompress, Kind

from . import binding, paging, trials
from .crypto import gcm
from .crypto.answers import known_answers

if TYPE_CHECKING:
    from .backend import CpuBackend
    from .devices import CpuDevice

__all__ = ["checks"]


def checks(backend: CpuBackend, options: Any) -> Iterator[Check]:
    """In the order in which they make sense."""
    for name in binding.LIBRARIES:
        yield _library(name)
    try:
        device = backend.open(backend.devices()[0], options)
    except BackendUnavailable as error:
        advice = "raise the limit on threads (ulimit -u), or set workers=1"
        yield Check("workers", passed=False, found=str(error), advice=advice)
        return
    yield Check(
        "workers",
        passed=True,
        found=f"{binding.workers()} native worker threads, {binding.spare_workers()} spare",
    )
    yield _userfaultfd()
    if options.native_codecs:
        yield _gcm()
    for row in device.capabilities:
        if row.kind is Kind.COMPRESS:
            yield _round_trip(device, row.algorithm)
    if device.inline is not None:
        yield from known_answers(device.inline.run, cryptography="rsa" not in device.lacking)


def _library(name: str) -> Check:
    """Without a library its codecs still work, in Python threads or by another library, and slower."""
    library, problem = binding.LIBRARIES[name], trials.library_problem(name)
    if problem:
        return Check(
            f"library {name}",
            passed=None,
            found=f"{problem}{_package(library)}",
            advice=library.advice,
        )
    file = binding.library_file(name)
    return Check(f"library {name}", passed=True, found=f"in {file}{_package(library, file)}")


def _gcm() -> Check:
    """Whoever does it, the answers are the same."""
    way = gcm.way("aes-256-gcm")
    if way is None:
        found, advice = (
            "by cryptography, in Python threads",
            "for native workers see `library openssl`, above",
        )
        return Check("AES-GCM", passed=None, found=found, advice=advice)
    return Check("AES-GCM", passed=True, found="by IPsec-MB" if way.expanded else "by OpenSSL")


def _userfaultfd() -> Check:
    """Without it everything works, but all pages of an input are fetched before they are used."""
    refusal = paging.problem()
    if refusal is None:
        return Check("userfaultfd", passed=True, found="pages of an input are fetched when they are touched")
    advice = paging.ADVICE.get(refusal.errno or 0, "see the kernel's log")
    return Check(
        "userfaultfd", passed=None, found=f"{refusal.strerror}; pages are fetched before", advice=advice
    )


def _package(library: binding.Library, file: str = "") -> str:
    """The version of the package that has the library inside, if that is where it was found or looked for."""
    name = library.package
    if not name or (file and file != binding.module_file(library.module)):
        return ""
    try:
        return f" of {name} {version(name)}"
    except PackageNotFoundError:
        return f"; package {name} is not installed"


def _round_trip(device: CpuDevice, algorithm: str) -> Check:
    inline, name = device.inline, f"round trip {algorithm}"
    assert inline is not None
    packed = inline.run(Compress(trials.SAMPLE, algorithm))
    back = inline.run(Decompress(packed.output or b"", algorithm))
    if packed.status is Status.SUCCESS and back.output == trials.SAMPLE:
        return Check(name, True, f"{len(trials.SAMPLE)} bytes, {packed.produced} compressed")
    found = packed.detail.message or back.detail.message or "other data came back"
    return Check(name, False, found, "reinstall wdasync, and the library named above")

"""The plug-in: what the framework sees of the CPU backend."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from wdasync.backend import Check, DeviceInfo
from wdasync.errors import BackendUnavailable
from wdasync.faults import FaultHandler, FaultReporter

from . import binding, codecs, diagnosis, threads, trials
from .crypto import table
from .devices import CpuDevice, crews, usable_cores
from .paging import FaultLine

__all__ = ["CpuBackend", "Options", "available"]

logger = logging.getLogger("wdasync.cpu")

#: Libraries that ``native_codecs`` is about.
NATIVE_CODECS = frozenset(
    {
        "isal",
        "libdeflate",
        "brotli",
        "brotli-dictionary",
        "zstd",
        "lz4",
        "lz4-dictionary",
        "openssl",
        "openssl-seal",
        "openssl-sign",
    }
)


#: Python threads, at most.
MOST_THREADS = 64


@dataclass(frozen=True)
class Options:
    """Settings of the CPU backend.

    The workers belong to the process: if several accelerators are open, there are as many as the one that wants most.
    """

    workers: int | None = field(
        default=None,
        metadata={"help": "native worker threads; default: usable cores less one", "least": 1, "most": 256},
    )
    spare_workers: int | None = field(
        default=None,
        metadata={
            "help": "native worker threads at low priority, for lengthy work while all others are busy; "
            "default: 1 if the workers leave a usable core, else 0",
            "least": 0,
            "most": 256,
        },
    )
    threads: int | None = field(
        default=None,
        metadata={
            "help": "Python threads, for keys and for codecs without a C library; default: usable cores less one, at least 2",
            "least": 1,
            "most": MOST_THREADS,
        },
    )
    native_codecs: bool = field(
        default=True,
        metadata={
            "help": "use ISA-L, libdeflate, Brotli, Zstandard, LZ4, OpenSSL and IPsec-MB in the native workers where they are found"
        },
    )
    paged_workers: int = field(
        default=64,
        metadata={
            "help": "native threads for inputs whose pages come when they are touched, at most; started when needed",
            "least": 1,
            "most": 256,
        },
    )
    fault_deadline: float = field(
        default=5.0,
        metadata={"help": "seconds that a pager may take; 0: for ever", "least": 0.0, "most": 1e9},
    )


def thread_count() -> int:
    """Python threads if nothing is said. Two on two cores: signatures give the interpreter's lock up, and want both."""
    return min(max(2, usable_cores() - 1), MOST_THREADS)


def available(*, native_codecs: bool = True) -> frozenset[str]:
    """The implementations that there are on this machine, and that work."""
    left_out = frozenset() if native_codecs else NATIVE_CODECS
    found = [name for name in codecs.IMPLEMENTATIONS if name not in left_out and not trials.problem(name)]
    others = [name for name in table.IMPLEMENTATIONS if name not in left_out and not table.problem(name)]
    return frozenset([*found, *others])


def _line(info: DeviceInfo, options: Options, report: FaultReporter | None) -> FaultLine | None:
    """Where the page faults of a device come, if the kernel allows it."""
    try:
        return FaultLine(info.name, options.fault_deadline, report)
    except OSError as error:
        logger.info("no userfaultfd: %s; pages are fetched before an operation begins", error)
        return None


class CpuBackend:
    """See :class:`wdasync.backend.Backend`.

    :param only: the implementations that may be used, keys of ``IMPLEMENTATIONS``; ``None``: all
    """

    name: ClassVar[str] = "cpu"
    Options: ClassVar[type[Any]] = Options
    automatic: ClassVar[int | None] = 0
    fallback: ClassVar[bool] = True

    def __init__(self, only: Collection[str] | None = None) -> None:
        self._only = only

    def devices(self) -> Sequence[DeviceInfo]:
        cores = usable_cores()
        text = f"{cores} core{'s' if cores > 1 else ''}, {max(1, cores - 1)} for workers"
        return [DeviceInfo("cpu", "cpu0", text)]

    def open(
        self,
        info: DeviceInfo,
        options: Any,
        *,
        on_fault: FaultHandler | None = None,
        report: FaultReporter | None = None,
    ) -> CpuDevice:
        if info not in self.devices():
            raise BackendUnavailable(f"cpu: expected the device cpu0, got {info.name!r}")
        if on_fault is not None:
            raise BackendUnavailable("cpu: on_fault: the kernel answers page faults here; leave it out")
        workers, spare = crews(options.workers, options.spare_workers)
        try:
            binding.start_workers(workers, spare)
        except OSError as error:
            raise BackendUnavailable(
                f"cpu: no worker thread: {error}; set workers to a smaller number"
            ) from error
        threads.want(options.threads or thread_count())
        found = available(native_codecs=options.native_codecs)
        if self._only is not None:
            found = found.intersection(self._only)
        return CpuDevice(info, found, workers, spare, options.paged_workers, _line(info, options, report))

    def diagnose(self, options: Any) -> Iterable[Check]:
        return diagnosis.checks(self, options)

"""Where it was measured, and who else was busy there."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import time
import zlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from ... import BackendUnavailable, registry
from ...config import Effective

__all__ = ["Neighbours", "cores", "describe", "workers_of"]

#: Distributions whose versions matter.
PACKAGES: Final = ("wdasync", "anyio", "uvloop", "trio", "isal", "deflate")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def cpu_model(text: str) -> str:
    """The name of the processor, from the text of ``/proc/cpuinfo``.

    arm64 has no name there, only numbers: who made it (0x48 is HiSilicon) and which part.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    for name in ("model name", "Model", "cpu model"):
        if name in found:
            return found[name]
    parts = [f"{name} {found[name]}" for name in ("CPU implementer", "CPU part") if name in found]
    return ", ".join(parts) or platform.processor() or "unknown"


def describe() -> dict[str, object]:
    """The machine and the versions of what runs on it."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES if find_spec(name)}
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    return {
        "cpu": cpu_model(_read("/proc/cpuinfo")),
        "architecture": platform.machine(),
        "cores": cores(),
        "cores_of_machine": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}"
        + ("" if gil else ", no GIL"),
        "versions": {**versions, "zlib": zlib.ZLIB_RUNTIME_VERSION},
        "load_average": round(os.getloadavg()[0], 2),
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def workers_of(effective: Effective, devices: Sequence[str]) -> int:
    """How many workers our side has: what its backend was told, if it has such a setting, else cores less one.

    :param devices: ``backend/device``, the one that is used first
    """
    name = devices[0].partition("/")[0]
    try:
        options = effective.options(name, registry.get_backend(name).Options)
    except BackendUnavailable:  # unplugged since it was opened
        options = None
    return getattr(options, "workers", None) or max(1, cores() - 1)


class Neighbours:
    """How much of the machine others use from now on."""

    def __init__(self) -> None:
        self._begun = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float]:
        return time.monotonic(), busy_seconds(_read("/proc/stat")), time.process_time()

    def share(self) -> float | None:
        """Fraction of all cores that others kept busy; ``None`` if the system does not say."""
        seconds, busy, own = (now - then for now, then in zip(self._now(), self._begun, strict=True))
        if not busy or not seconds:
            return None
        return max(0.0, (busy - own) / seconds / (os.cpu_count() or 1))


def busy_seconds(text: str) -> float:
    """CPU seconds of all programs and the kernel since the start, from the text of ``/proc/stat``: proc(5).

    The columns are user, nice, system, idle, iowait, irq, softirq and steal; guests' time is in user already.
    """
    first = text.partition("\n")[0].split()
    if first[:1] != ["cpu"]:
        return 0.0
    user, nice, system, _, _, *rest = map(int, first[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")

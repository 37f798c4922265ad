"""The machine round the devices: the PCI bus, the kernel's configuration and modules, the IOMMU. For ``doctor``.

Nothing here is needed to use a device, and nothing raises: what cannot be read is not known.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["FUNCTIONS", "OPTIONS", "Function", "Host", "Option"]

_VENDOR: Final = 0x19E5

#: PCI device -> the kernel's driver for it, and what it does.
FUNCTIONS: Final[Mapping[int, tuple[str, str]]] = {
    0xA250: ("hisi_zip", "ZIP"),
    0xA251: ("hisi_zip", "ZIP, virtual"),
    0xA255: ("hisi_sec2", "SEC"),
    0xA256: ("hisi_sec2", "SEC, virtual"),
    0xA258: ("hisi_hpre", "HPRE"),
    0xA259: ("hisi_hpre", "HPRE, virtual"),
}


class Option(NamedTuple):
    """An option of the kernel's configuration.

    :ivar names: any of these will do: it was renamed
    :ivar purpose: for people
    :ivar arm64: it means something on arm64 only
    """

    names: tuple[str, ...]
    purpose: str
    arm64: bool = False


OPTIONS: Final = (
    Option(("CONFIG_UACCE",), "queues as files"),
    Option(("CONFIG_CRYPTO_DEV_HISI_QM",), "the queue manager"),
    Option(("CONFIG_CRYPTO_DEV_HISI_ZIP",), "the compression engine"),
    Option(("CONFIG_ARM_SMMU_V3",), "the SMMU", True),
    Option(("CONFIG_IOMMU_SVA", "CONFIG_IOMMU_SVA_LIB"), "shared addresses", True),
    Option(("CONFIG_ARM_SMMU_V3_SVA",), "shared addresses", True),
)


class Function(NamedTuple):
    """A PCI function that is one of ours.

    :ivar address: on the bus
    :ivar module: the kernel's driver for it
    :ivar engine: what it does
    :ivar bound: the driver that has it; empty: none
    :ivar isolated: it has an IOMMU group, so that an IOMMU stands before it
    """

    address: str
    module: str
    engine: str
    bound: str
    isolated: bool


class Host:
    """What can be read of a machine.

    :param sys: where sysfs is
    :param proc: where procfs is
    :param boot: where the kernels' configurations are
    :param release: of the running kernel
    """

    def __init__(
        self,
        sys: Path = Path("/sys"),
        proc: Path = Path("/proc"),
        boot: Path = Path("/boot"),
        release: str | None = None,
    ) -> None:
        self._sys = sys
        self._proc = proc
        self._boot = boot
        self.release = release or os.uname().release

    def functions(self) -> list[Function]:
        """The functions of HiSilicon's engines on the PCI bus, sorted."""
        try:
            entries = sorted(self._sys.joinpath("bus/pci/devices").iterdir())
        except OSError:
            return []
        return [function for entry in entries if (function := _function(entry)) is not None]

    def configuration(self) -> tuple[Path, Mapping[str, str]] | None:
        """Where the kernel's configuration is, and its options: name -> value; ``None`` if it is nowhere."""
        for path in (self._proc / "config.gz", self._boot / f"config-{self.release}"):
            try:
                data = path.read_bytes()
                text = gzip.decompress(data) if path.suffix == ".gz" else data
            except (OSError, EOFError, zlib.error):
                continue
            if options := dict(_OPTION.findall(text.decode(errors="replace"))):
                return path, options
        return None

    def module(self, name: str) -> bool:
        """Whether a module is loaded, or built in and has parameters."""
        return self._sys.joinpath("module", name).is_dir()

    def parameter(self, module: str, name: str) -> str | None:
        """A parameter of a module; ``None`` if it cannot be read."""
        return _read(self._sys / "module" / module / "parameters" / name)

    def iommus(self) -> list[str]:
        """The IOMMUs that the kernel uses."""
        try:
            return sorted(entry.name for entry in self._sys.joinpath("class/iommu").iterdir())
        except OSError:
            return []

    def command_line(self) -> tuple[str, ...]:
        """What the kernel was started with."""
        return tuple((_read(self._proc / "cmdline") or "").split())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.release}>"


_OPTION: Final = re.compile(r"^(CONFIG_\w+)=(.+)$", re.MULTILINE)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> int | None:
    try:
        return int(_read(path) or "", 16)
    except ValueError:
        return None


def _function(entry: Path) -> Function | None:
    if _number(entry / "vendor") != _VENDOR:
        return None
    module, engine = FUNCTIONS.get(_number(entry / "device") or 0, ("", ""))
    if not module:
        return None
    driver = entry / "driver"
    bound = driver.resolve().name if driver.exists() else ""
    return Function(entry.name, module, engine, bound, (entry / "iommu_group").exists())


def missing(options: Mapping[str, str]) -> Iterator[Option]:
    """Those of :data:`OPTIONS` that a configuration has not."""
    for option in OPTIONS:
        if (not option.arm64 or options.get("CONFIG_ARM64") == "y") and not any(
            options.get(name) in ("y", "m") for name in option.names
        ):
            yield option

"""Machines with an accelerator, and what is wrong with them: a table, from which trees of files are made.

What ``wdasync doctor`` says of each is beside this file, in ``machines/NAME.txt``.
"""

from __future__ import annotations

import errno
import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wdasync_uacce import Host, LinuxFiles, UacceBackend
from wdasync_uacce.queue_file import LinuxQueueFile

from .kernel import Kernel
from .stand_in import Mishap, StandIn

__all__ = ["MACHINES", "BrokenMachine"]

RELEASE = "6.6.0-kunpeng"

CONFIG: Mapping[str, str] = {
    "CONFIG_ARM64": "y",
    "CONFIG_UACCE": "m",
    "CONFIG_CRYPTO_DEV_HISI_QM": "m",
    "CONFIG_CRYPTO_DEV_HISI_ZIP": "m",
    "CONFIG_ARM_SMMU_V3": "y",
    "CONFIG_IOMMU_SVA": "y",
    "CONFIG_ARM_SMMU_V3_SVA": "y",
}


@dataclass(frozen=True)
class BrokenMachine:
    """A machine.

    :ivar fault: what is wrong with it, for people
    :ivar failing: names of the checks that fail
    :ivar function: PCI device; ``None``: there is none
    :ivar driver: which has it
    :ivar config: options of the kernel
    :ivar zipped: they are in /proc, else in /boot; ``None``: they are nowhere
    :ivar loaded: the module is
    :ivar mode: its parameter
    :ivar iommu: there is one
    :ivar grouped: it stands before the function
    :ivar entry: attributes that are another; ``None``: there is no entry
    :ivar node: there is one
    :ivar permissions: its
    :ivar errors: what calls give
    :ivar mishap: what its engine does with the first operation
    :ivar mute: its engine raises no interrupts; the self-test, which waits for them, is part of the text
    """

    fault: str
    failing: tuple[str, ...]
    function: str | None = "0xa250"
    driver: str | None = "hisi_zip"
    config: Mapping[str, str] = field(default_factory=lambda: CONFIG)
    zipped: bool | None = False
    loaded: bool = True
    mode: str | None = "1"
    iommu: bool = True
    grouped: bool = True
    cmdline: str = "root=/dev/sda2 iommu.passthrough=1"
    entry: Mapping[str, str | None] | None = field(default_factory=dict)
    node: bool = True
    permissions: str = "crw-rw---- root uacce"
    errors: Mapping[str, int] = field(default_factory=dict)
    mishap: Mishap | None = None
    mute: bool = False

    def build(self, folder: Path) -> UacceBackend:
        """The backend on this machine, below a folder."""
        kernel = Kernel(folder)
        kernel.permissions = self.permissions
        kernel.errors.update(self.errors)
        if self.entry is not None:
            kernel.add(**self.entry)
        if not self.node:
            (folder / "dev" / "hisi_zip-0").unlink()
        self._bus(folder / "sys")
        self._kernel(folder)
        layer = EngineFiles(kernel, self.mishap, mute=self.mute)
        return UacceBackend(layer, Host(folder / "sys", folder / "proc", folder / "boot", RELEASE))

    def _bus(self, sys: Path) -> None:
        other = sys / "bus/pci/devices/0000:00:00.0"
        other.mkdir(parents=True)
        (other / "vendor").write_text("0x8086\n")
        if self.function is None:
            return
        function = other.parent / "0000:75:00.0"
        function.mkdir()
        (function / "vendor").write_text("0x19e5\n")
        (function / "device").write_text(self.function + "\n")
        if self.driver is not None:
            driver = sys / "bus/pci/drivers" / self.driver
            driver.mkdir(parents=True)
            (function / "driver").symlink_to(driver)
        if self.grouped:
            (function / "iommu_group").mkdir()

    def _kernel(self, folder: Path) -> None:
        text = "# CONFIG_NOTHING is not set\n" + "".join(
            f"{name}={value}\n" for name, value in self.config.items()
        )
        for name in ("proc", "boot"):
            (folder / name).mkdir()
        (folder / "proc" / "cmdline").write_text(self.cmdline + "\n")
        if self.zipped:
            (folder / "proc" / "config.gz").write_bytes(gzip.compress(text.encode()))
        elif self.zipped is False:
            (folder / "boot" / f"config-{RELEASE}").write_text(text)
        if self.loaded:
            parameters = folder / "sys/module/hisi_zip/parameters"
            parameters.mkdir(parents=True)
            if self.mode is not None:
                (parameters / "uacce_mode").write_text(self.mode + "\n")
        if self.iommu:
            (folder / "sys/class/iommu/smmu3.0x0000000148000000").mkdir(parents=True)


class EngineFiles(LinuxFiles):
    """The kernel of a tree, and an engine behind what it opens."""

    def __init__(self, kernel: Kernel, mishap: Mishap | None, *, mute: bool) -> None:
        super().__init__(kernel.sys, kernel.dev, kernel)
        self._engine = StandIn(1024, 2, threaded=mute)
        if mishap is not None:
            self._engine.script.append(mishap)
        if mute:
            self._engine.script.extend([Mishap(interrupt=False)] * 100)

    def open(self, name: str) -> LinuxQueueFile:
        super().open(name).close()
        return self._engine.open(name)  # type: ignore[return-value]  # it does all that is asked of it here


MACHINES: Mapping[str, BrokenMachine] = {
    "good": BrokenMachine("nothing", (), zipped=True),
    "no-accelerator": BrokenMachine(
        "an ordinary machine", ("accelerators",), None, None, loaded=False, entry=None
    ),
    "old-kernel": BrokenMachine(
        "a distribution's kernel without shared addresses",
        ("kernel options", "hisi_zip-0 open"),
        config={**CONFIG, "CONFIG_IOMMU_SVA": "n", "CONFIG_ARM_SMMU_V3_SVA": "n"},
        errors={"open": errno.ENODEV},
    ),
    "no-module": BrokenMachine(
        "the module was not loaded",
        ("module hisi_zip", "uacce devices"),
        driver=None,
        loaded=False,
        entry=None,
    ),
    "probe-failed": BrokenMachine(
        "the module did not take the device", ("module hisi_zip", "uacce devices"), driver=None, entry=None
    ),
    "kernel-mode": BrokenMachine(
        "the module keeps the device to the kernel",
        ("hisi_zip uacce_mode", "uacce devices"),
        mode="0",
        entry=None,
    ),
    "no-smmu": BrokenMachine(
        "the SMMU is switched off in the firmware",
        ("IOMMU", "hisi_zip-0 open"),
        iommu=False,
        grouped=False,
        errors={"open": errno.EOPNOTSUPP},
    ),
    "container": BrokenMachine(
        "a container into which the node was not passed",
        ("hisi_zip-0 node", "hisi_zip-0 open"),
        zipped=None,
        mode=None,
        node=False,
    ),
    "no-permission": BrokenMachine(
        "only root may open the node",
        ("hisi_zip-0 open",),
        permissions="crw------- root root",
        errors={"open": errno.EACCES},
    ),
    "queues-taken": BrokenMachine(
        "other programs use all queues",
        ("hisi_zip-0 free queues", "hisi_zip-0 open"),
        entry={"available_instances": "0"},
        errors={"open": errno.EBUSY},
    ),
    "isolated": BrokenMachine(
        "the device broke too often",
        ("hisi_zip-0 isolation",),
        entry={"isolate": "1", "isolate_strategy": "10"},
    ),
    "no-cores": BrokenMachine(
        "the engine's cores are switched off", ("hisi_zip-0 algorithms",), entry={"algorithms": "lz77_zstd"}
    ),
    "old-driver": BrokenMachine(
        "a driver that does not tell its regions, of a queue manager before ours",
        ("hisi_zip-0 attributes", "hisi_zip-0 api", "hisi_zip-0 regions"),
        entry={"api": "hisi_qm_v1", "region_mmio_size": None, "region_dus_size": "much"},
    ),
    "wrong-answers": BrokenMachine(
        "the engine compresses wrongly", ("hisi_zip-0 compress zlib",), mishap=Mishap(status=1)
    ),
    "no-answers": BrokenMachine(
        "the engine loses what it is given",
        ("hisi_zip-0 compress zlib",),
        mishap=Mishap(completions=0),
    ),
    "no-interrupts": BrokenMachine("interrupts of the device are lost", ("wake-ups",), mute=True),
    "in-reset": BrokenMachine(
        "the device is being reset", ("hisi_zip-0 open",), errors={"open": errno.EPERM}
    ),
    "passed-through": BrokenMachine(
        "the function belongs to a guest", ("uacce devices",), driver="vfio-pci", entry=None
    ),
    "another-bus": BrokenMachine(
        "nothing: a device that is not on the PCI bus",
        (),
        function=None,
        driver=None,
        zipped=None,
        iommu=False,
    ),
    "without-iommu": BrokenMachine(
        "nothing: no IOMMU, and a device that does without",
        (),
        mode="2",
        iommu=False,
        grouped=False,
        cmdline="iommu=off",
        entry={"flags": "2", "api": "hisi_qm_v2_noiommu", "device__numa_node": "-1"},
    ),
    "not-behind-the-smmu": BrokenMachine(
        "the firmware's tables do not place the device behind the SMMU",
        ("IOMMU", "hisi_zip-0 open"),
        grouped=False,
        errors={"open": errno.ENODEV},
    ),
    "reserved": BrokenMachine(
        "nothing: a kernel without shared addresses, and a reserved region",
        (),
        mode="2",
        entry={"flags": "128"},
    ),
}

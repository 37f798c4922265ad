"""The backend object: one emulated device, which is there wherever this package is."""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final

from wdasync.backend import Capabilities, Capability, Check, Device, DeviceInfo, PageFaults
from wdasync.errors import BackendUnavailable, ConfigError
from wdasync.faults import FaultHandler, FaultReporter
from wdasync.operations import Kind
from wdasync_hip08.attachment import Attachment
from wdasync_hip08.backings import OwnProcess
from wdasync_hip08.functions import FUNCTIONS
from wdasync_hip08.kernel.modes import MODES, mode_of
from wdasync_hip08.kernel.nodes import node_info
from wdasync_hip08.machine import Machine
from wdasync_hip08.machines import machines as all_machines
from wdasync_hip08.options import PRIVATE, Options
from wdasync_uacce import ZipDevice
from wdasync_uacce.engine_device import EngineDevice, device_info
from wdasync_uacce.hpre_device import HpreDevice
from wdasync_uacce.sec_device import SecDevice

__all__ = ["Hip08Backend", "Hip08Device", "Hip08Provoker", "machines"]


def _untraceable(options: Options, error: OSError) -> ConfigError:
    return ConfigError(
        f"hip08.trace: expected a file that can be written, got {options.trace!r}: {error.strerror}"
    )


def machines() -> list[Machine]:
    """The machines that accelerators of this process have on. Look, do not touch: they work meanwhile."""
    return all_machines().on()


class Hip08Device(EngineDevice):
    """A function of an emulated chip. The driver is the one for silicon: see :data:`DEVICES`.

    :param attachment: to the machine; it is left when this is closed

    :ivar machine: the model behind it, which others may use too
    """

    def __init__(self, attachment: Attachment, info: DeviceInfo) -> None:
        self.machine = machine = attachment.machine
        super().__init__(attachment, machine.nodes[info.name].info(), info.backend)
        self._attachment = attachment
        self.info = info
        if machine.page_faults is PageFaults.HANDLER:
            self.capabilities = Capabilities(_paged(row) for row in self.capabilities)

    def counters(self) -> dict[str, int]:
        """Page faults of its own queues, with a histogram of the time to their answers; what the machine has seen of all."""
        machine = self.machine
        with machine.lock:
            faults = self._attachment.counters.as_dict() | machine.faults.counters.events()
            return faults | {
                "guard_violations": machine.chip.frames.guard_violations,
                "stale_accesses": machine.chip.frames.stale_access,
                "queues_reset": machine.nodes[self.info.name].reset_queues,
                "lost_interrupts": machine.rescues,
            }

    def reset(self) -> None:
        """Switch the device off and on again, if it is lost: others may be at work with one that is not.

        :raises OSError: EBUSY: somebody has not closed his queues yet
        """
        super().reset()
        if self.machine.lost(self.info.name) is not None:
            self.machine.reset(self.info.name)

    def close(self) -> None:
        """Switch the chip off, if nobody else uses it.

        :raises ConfigError: the trace could not be written; everything else is done
        """
        try:
            all_machines().detach(self._attachment)
        except OSError as error:
            raise _untraceable(self.machine.options, error) from error


class Hip08Zip(Hip08Device, ZipDevice):
    """The ZIP function."""


class Hip08Hpre(Hip08Device, HpreDevice):
    """The HPRE function."""


class Hip08Sec(Hip08Device, SecDevice):
    """The SEC function."""


#: Name of the kernel's driver, with which a node's name begins -> device.
DEVICES: Final[Mapping[str, type[Hip08Device]]] = {
    "hisi_zip": Hip08Zip,
    "hisi_hpre": Hip08Hpre,
    "hisi_sec2": Hip08Sec,
}

#: Kinds whose input goes to the engine as it is.
PAGED: Final = frozenset(
    {Kind.COMPRESS, Kind.DECOMPRESS, Kind.DIGEST, Kind.MAC, Kind.ENCRYPT, Kind.DECRYPT, Kind.SEAL}
)


def _usable(device: Hip08Device) -> Hip08Device:
    """A device that was lost under others comes back, unless they still hold it.

    :raises BackendUnavailable: they do
    """
    try:
        device.reset()
    except OSError as error:
        raise BackendUnavailable(
            f"{device.info.name}: expected a device that works, got one that is lost ({device.lost}) and in use by others of "
            f"this process; close their accelerators, or take a chip of your own (chip={PRIVATE})"
        ) from error
    return device


def _paged(row: Capability) -> Capability:
    """Accesses to absent pages stall."""
    return dataclasses.replace(row, paged=row.kind in PAGED)


class Hip08Provoker:
    """Brings trouble on the emulated device, for tests of what happens then."""

    @contextmanager
    def stick(self, device: Device) -> Iterator[None]:
        """Entries that the engine begins inside never end."""
        machine = _machine(device)
        engine = machine.chip.blocks[device.info.name].engine
        engine.stuck = True
        try:
            yield
        finally:
            machine.run()  # All that was submitted is begun, however slow we are.
            engine.stuck = False

    def lose(self, device: Device) -> None:
        """The device is taken out of the machine."""
        _machine(device).remove(device.info.name)

    def __repr__(self) -> str:
        return "<Hip08Provoker>"


#: Error numbers of a system call that a sandbox forbids.
REFUSED = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS})

DMA_ADVICE = (
    "use Linux 5.14 or newer; in a container, allow process_vm_readv, process_vm_writev and madvise (seccomp)"
)
OPEN_ADVICE = "in a container, allow memfd_create and eventfd2 (seccomp)"


def _refusal(call: str, number: int) -> str:
    return f"{call} is refused: {os.strerror(number)}"


def _machine(device: Device) -> Machine:
    if not isinstance(device, Hip08Device):
        raise TypeError(f"expected an emulated device, got {device!r}")
    return device.machine


class Hip08Backend:
    """The emulated Kunpeng 920 accelerator."""

    name: ClassVar[str] = "hip08"
    Options: ClassVar[type[Any]] = Options
    automatic: ClassVar[int | None] = None
    fallback: ClassVar[bool] = False
    provoker: ClassVar[Hip08Provoker] = Hip08Provoker()
    #: Settings that the benchmark compares with the defaults.
    variants: ClassVar[Mapping[str, Mapping[str, str]]] = {
        row.residency[0] if row.shared else row.memory: {"memory": row.memory, "residency": row.residency[0]}
        for row in MODES
        if row is not mode_of(Options())
    }

    def devices(self) -> Sequence[DeviceInfo]:
        return [device_info(self.name, node_info(function, Options())) for function in FUNCTIONS]

    def open(
        self,
        info: DeviceInfo,
        options: Any,
        *,
        on_fault: FaultHandler | None = None,
        report: FaultReporter | None = None,
    ) -> Hip08Device:
        if info.name not in (names := [function.name for function in FUNCTIONS]):
            raise BackendUnavailable(
                f"{info.name}: there is no such device; the emulated chip has {', '.join(names)}"
            )
        mode = mode_of(options)
        if on_fault is not None and not mode.stall:
            raise BackendUnavailable(
                f"{info.name}: expected no on_fault, got one, where no access waits for a page ({mode.name}): leave it out, "
                "or set memory=sva and residency=mirror or cold"
            )
        if refusal := OwnProcess().refused():
            raise BackendUnavailable(f"{info.name}: {_refusal(*refusal)}; {DMA_ADVICE}")
        try:
            attachment = all_machines().attach(options, on_fault, report)
        except OSError as error:
            if error.filename is not None:
                raise _untraceable(options, error) from error
            advice = OPEN_ADVICE if error.errno in REFUSED else "give it less (option ram)"
            raise BackendUnavailable(
                f"{info.name}: the chip's memory cannot be had: {error}; {advice}"
            ) from error
        try:
            return _usable(DEVICES[info.name.rpartition("-")[0]](attachment, info))
        except BaseException:
            all_machines().detach(attachment)
            raise

    def diagnose(self, options: Any) -> Iterable[Check]:
        own = OwnProcess()
        refusal, blind = own.refused(), own.blind()
        yield Check(
            "DMA into this process",
            passed=refusal is None,
            found=_refusal(*refusal) if refusal else "process_vm_readv works",
            advice=DMA_ADVICE if refusal else "",
        )
        if blind is None:
            yield Check("which pages are present", passed=True, found="/proc/self/pagemap can be read")
        else:
            yield Check(
                "which pages are present",
                passed=None,
                found=f"/proc/self/pagemap cannot be read: {blind.strerror}; none counts as present",
                advice="each first touch of a page is a fault; residency=pinned avoids them",
            )

    def __repr__(self) -> str:
        return f"<Hip08Backend {self.name}>"

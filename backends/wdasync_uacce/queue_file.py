"""An opened node of Linux: one hardware queue, its calls and its regions."""

from __future__ import annotations

import os
import weakref
from typing import Final

from .errnos import Call, DeviceGone, ForeignQueue, UacceError, row_of
from .files import AddressSpace, NodeFlag, NodeInfo, QueueInfo, Refusal, Region, RegionKind
from .ioctls import GET_SLICE, QUEUE_INFO, QUEUE_TYPE, Ioctl
from .mapping import MappedRegion, ReservedRegion
from .memory import ProcessSpace
from .reserved import ReservedSpace, read_slices
from .states import CALLS, REFUSALS, TRANSITIONS, QueueState
from .system import System

__all__ = ["LinuxQueueFile"]

_opened: weakref.WeakSet[LinuxQueueFile] = weakref.WeakSet()


class LinuxQueueFile:
    """One open of a node. What its methods raise is a :class:`~wdasync_uacce.errnos.UacceError`.

    The kernel alone makes its descriptor readable, and each poll of it takes that away: nobody but the event loop polls, and
    :meth:`catch_up` when it must. It never says that the device is gone, and a device that is removed wakes nobody.

    :param system: the kernel
    :param descriptor: of the opened node; belongs to this object
    :param node: its attributes
    :param reserved: bytes of the reserved region, where the device shares no addresses

    :ivar state: as far as the kernel's answers tell it
    """

    def __init__(self, system: System, descriptor: int, node: NodeInfo, reserved: int) -> None:
        self._system = system
        self._descriptor = descriptor
        self._sizes = {RegionKind.MMIO: node.mmio_size, RegionKind.DUS: node.dus_size}
        self._space: AddressSpace | None = ProcessSpace()
        if not node.flags & NodeFlag.SVA:
            self._sizes[RegionKind.STATIC_SHARE] = reserved
            self._space = None
        self._regions: dict[RegionKind, MappedRegion] = {}
        self.name = node.name
        self.state = QueueState.INIT
        _opened.add(self)

    def fileno(self) -> int:
        return self._descriptor

    @property
    def space(self) -> AddressSpace:
        """Of this process, or a reserved region, which is mapped when it is asked for: kernels want a started queue.

        :raises UacceError: there is no such region to be had
        """
        if self._space is None:
            view = self.map(RegionKind.STATIC_SHARE).view
            assert view is not None
            self._space = ReservedSpace(view, read_slices(self._slice))
        return self._space

    def _slice(self, number: int) -> tuple[int, bool]:
        argument = bytearray(GET_SLICE.pack(number))
        more = self._ioctl(Call.SLICE, Ioctl.GET_SLICE, argument)
        word: int = GET_SLICE.unpack(argument)[0]
        return word, more > 0

    # -- calls ------------------------------------------------------------------------------------------------

    def set_queue_type(self, queue_type: int) -> int:
        argument = bytearray(QUEUE_TYPE.pack(0, queue_type))
        self._ioctl(Call.SET_TYPE, Ioctl.SET_QUEUE_TYPE, argument)
        number: int = QUEUE_TYPE.unpack(argument)[0]
        return number

    def queue_info(self) -> QueueInfo:
        argument = bytearray(QUEUE_INFO.size)
        self._ioctl(Call.QUEUE_INFO, Ioctl.QUEUE_INFO, argument)
        sqe_size, sq_depth, cq_depth, _ = QUEUE_INFO.unpack(argument)
        return QueueInfo(sqe_size, sq_depth, cq_depth)

    def start(self) -> None:
        self._ioctl(Call.START, Ioctl.START)
        self._to(QueueState.STARTED)

    def put(self) -> None:
        self._ioctl(Call.PUT, Ioctl.PUT)
        self._to(QueueState.INIT)  # or it is a zombie now: the next call tells

    def _ioctl(self, call: Call, number: Ioctl, argument: bytearray | None = None) -> int:
        self._allow(call)
        try:
            return self._system.ioctl(self._descriptor, number, argument)
        except OSError as error:
            raise self._typed(error, call) from None

    def _allow(self, call: Call) -> None:
        if self.state not in _OVER and any(region.gone for region in self._regions.values()):
            self._to(QueueState.ZOMBIE)
        if self.state in CALLS[call]:
            return
        number = REFUSALS[self.state]
        if self.state is QueueState.FOREIGN:
            raise ForeignQueue(
                number, self.name, call, "the queue was opened before a fork, and is the parent's",
                "open a queue in this process",
            )  # fmt: skip
        row = row_of(number, call)
        cause = f"expected a queue in {' or '.join(sorted(state.value for state in CALLS[call]))}, got one in {self.state.value}"
        raise row.error(number, self.name, call, cause, row.advice)

    def _typed(self, error: OSError, call: Call) -> UacceError:
        typed = UacceError.of(error, self.name, call)
        if isinstance(typed, DeviceGone):
            self._to(QueueState.ZOMBIE)
        return typed

    def _to(self, state: QueueState) -> None:
        if state not in TRANSITIONS[self.state]:
            raise RuntimeError(f"{self!r}: expected another state to follow, got {state.value}")
        self.state = state

    # -- regions ----------------------------------------------------------------------------------------------

    def map(self, kind: RegionKind) -> MappedRegion:
        call = Call.RESERVE if kind is RegionKind.STATIC_SHARE else Call.MAP
        self._allow(call)
        size, owner = self._sizes.get(kind, 0), f"{self.name} queue"
        region: MappedRegion
        try:
            if kind is RegionKind.STATIC_SHARE:
                region = ReservedRegion(self._system, self._descriptor, size, owner)
            else:
                region = MappedRegion(self._system, self._descriptor, kind, size, owner)
        except OSError as error:
            raise self._typed(error, call) from None
        self._regions[kind] = region
        return region

    def unmap(self, region: Region) -> None:
        if self._regions.get(region.kind) is not region:
            raise ValueError(f"unmap: expected a mapped region of {self!r}, got {region!r}")
        self._regions.pop(region.kind).close()

    # -- the end ----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Closing stops the queue too, unless a child that was forked meanwhile still has the file."""
        for kind in list(self._regions):
            self._regions.pop(kind).close()
        if self.state not in _OVER:
            self._to(QueueState.CLOSED)
            self._system.close(self._descriptor)

    def disown(self) -> None:
        """A forked child closes its copy of the descriptor, or the parent could not give the queue back."""
        if self.state not in _OVER:
            self._to(QueueState.FOREIGN)
            self._system.close(self._descriptor)

    # -- what silicon does by itself --------------------------------------------------------------------------

    def acknowledge(self) -> None:
        """Nothing: polling does it."""

    def catch_up(self) -> None:
        """One poll."""
        self._system.poll(self._descriptor)

    def faults(self, slot: int) -> int:
        """0: nobody counts them for each entry."""
        return 0

    def refusal(self, slot: int) -> Refusal | None:
        """``None``: the kernel answers page faults, and does not say how."""
        return None

    def give_up(self, slot: int) -> None:
        """Nothing: no program is asked for pages."""

    def pump(self) -> None:
        """Nothing: the device runs by itself."""

    def __repr__(self) -> str:
        regions = ", ".join(kind.name for kind in self._regions) or "none"
        return f"<{type(self).__name__} {self.name} {self.state.value}, mapped: {regions}>"


_OVER: Final = (QueueState.CLOSED, QueueState.FOREIGN)


def _forked() -> None:
    for file in list(_opened):
        file.disown()


os.register_at_fork(after_in_child=_forked)

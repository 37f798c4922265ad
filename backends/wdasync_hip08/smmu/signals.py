"""Global errors and interrupts: how the SMMU draws attention. (IHI 0070, 3.18 and 7.5.)

A global error is a bit that the SMMU toggles in GERROR and software copies to GERRORN; it is active while the two
differ, and only an error that is not active is signalled.

An interrupt is an edge. It goes out on a wire (a callback), and, where software has set an address, as a message:
a 32-bit write to memory. Wires are pulled when the SMMU has finished what it was asked to do, so that whoever
answers finds it at rest.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple

from wdasync_hip08.smmu.bus import Bus, BusError
from wdasync_hip08.smmu.commands import Command
from wdasync_hip08.smmu.registers import EVENTQ_IRQEN, GERROR_IRQEN, PRIQ_IRQEN, RegisterFile
from wdasync_hip08.smmu.statistics import Statistics
from wdasync_hip08.smmu.trace import Trace

__all__ = ["GlobalError", "Interrupt", "Signals"]


class GlobalError(enum.IntFlag):
    """Bits of GERROR and GERRORN."""

    CMDQ_ERR = 1 << 0
    EVENTQ_ABT_ERR = 1 << 2
    PRIQ_ABT_ERR = 1 << 3
    MSI_CMDQ_ABT_ERR = 1 << 4
    MSI_EVENTQ_ABT_ERR = 1 << 5
    MSI_PRIQ_ABT_ERR = 1 << 6
    MSI_GERROR_ABT_ERR = 1 << 7
    SFM_ERR = 1 << 8


class Interrupt(enum.Enum):
    """Sources of interrupts."""

    EVENTQ = "eventq"
    PRIQ = "priq"
    GERROR = "gerror"
    SYNC = "sync"


class _Source(NamedTuple):
    """Bit in IRQ_CTRL, prefix of the registers that hold the message, error if the message is aborted."""

    enable: int
    registers: str
    aborted: GlobalError


_SOURCES = {
    Interrupt.EVENTQ: _Source(EVENTQ_IRQEN, "EVENTQ_IRQ_CFG", GlobalError.MSI_EVENTQ_ABT_ERR),
    Interrupt.PRIQ: _Source(PRIQ_IRQEN, "PRIQ_IRQ_CFG", GlobalError.MSI_PRIQ_ABT_ERR),
    Interrupt.GERROR: _Source(GERROR_IRQEN, "GERROR_IRQ_CFG", GlobalError.MSI_GERROR_ABT_ERR),
}


class Signals:
    """Signals of one SMMU.

    :param wires: what to call for each interrupt; a missing one is not connected
    :param msi: messages are implemented
    """

    def __init__(
        self,
        bus: Bus,
        registers: RegisterFile,
        wires: dict[Interrupt, Callable[[], None] | None],
        statistics: Statistics,
        trace: Trace,
        *,
        msi: bool,
    ) -> None:
        self.bus = bus
        self.registers = registers
        self.wires = wires
        self.statistics = statistics
        self.trace = trace
        self.msi = msi
        self._pulled: list[Interrupt] = []

    def active(self, error: GlobalError) -> bool:
        """The error waits for software's acknowledgment."""
        differing = self.registers["GERROR"] ^ self.registers["GERRORN"]
        return bool(differing and differing & error)

    def activate(self, error: GlobalError) -> None:
        """Signal a global error, unless it is active already."""
        if self.active(error):
            return
        self.registers["GERROR"] ^= error
        if error is not GlobalError.MSI_GERROR_ABT_ERR:  # Else a broken message address would go on for ever.
            self.interrupt(Interrupt.GERROR)

    def interrupt(self, which: Interrupt) -> None:
        """One edge of the event queue, the PRI queue or a global error, if software has enabled it."""
        source = _SOURCES[which]
        if not self.registers["IRQ_CTRL"] & source.enable:
            return
        self._pull(which)
        address = self.registers.fields(f"{source.registers}0")["ADDR"]
        if self.msi and address:
            self._send(address, self.registers[f"{source.registers}1"], source.aborted)

    def sync_completed(self, command: Command) -> None:
        """The completion signal of a SYNC with CS=1: a message to its own address, and its own wire."""
        self._pull(Interrupt.SYNC)
        if self.msi and command.msiaddr:
            self._send(command.msiaddr, command.msidata, GlobalError.MSI_CMDQ_ABT_ERR)

    def settle(self) -> None:
        """Pull the wires of all edges since the last time; several of one source are one edge."""
        while self._pulled:
            wire = self.wires.get(self._pulled.pop(0))
            if wire is not None:
                wire()

    def _pull(self, which: Interrupt) -> None:
        self.statistics.interrupts += 1
        self.trace("interrupt", {"source": which.value})
        if which not in self._pulled:
            self._pulled.append(which)

    def _send(self, address: int, data: int, aborted: GlobalError) -> None:
        try:
            self.bus.write(address, data.to_bytes(4, "little"))
        except BusError:
            self.activate(aborted)

    def __repr__(self) -> str:
        errors = GlobalError(self.registers["GERROR"] ^ self.registers["GERRORN"])
        return f"<Signals errors={errors!r} enabled={self.registers['IRQ_CTRL']:#x}>"

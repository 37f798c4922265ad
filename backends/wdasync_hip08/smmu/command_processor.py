"""Consuming the command queue. (IHI 0070, chapter 4 and 7.1.)

Commands are consumed in order until the queue is empty or a command is in error; then consumption stops *on* that
command until software has acknowledged CMDQ_ERR. Invalidations are only noted when they are consumed. They take
effect when the next SYNC completes: that is as late as the architecture allows, so that nothing works by accident
which lacks its SYNC.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wdasync_hip08.smmu.bus import BusError
from wdasync_hip08.smmu.commands import Command, CommandError, CompletionSignal, Opcode
from wdasync_hip08.smmu.fields import unpack_words
from wdasync_hip08.smmu.invalidation import Invalidations
from wdasync_hip08.smmu.pri_queue import PriQueue
from wdasync_hip08.smmu.profile import Profile
from wdasync_hip08.smmu.queues import INDEX_MASK, Queue
from wdasync_hip08.smmu.registers import CMDQEN, SMMUEN, RegisterFile
from wdasync_hip08.smmu.signals import GlobalError, Signals
from wdasync_hip08.smmu.stalls import StallTable, Verdict
from wdasync_hip08.smmu.statistics import Statistics
from wdasync_hip08.smmu.trace import Trace

__all__ = ["AtcInvalidation", "CommandProcessor"]

#: What an opcode needs; without it, it is illegal. The names are those of Profile.
REQUIRES: dict[Opcode, str] = {
    Opcode.CFGI_CD: "s1p",
    Opcode.CFGI_CD_ALL: "s1p",
    Opcode.TLBI_NH_ALL: "s1p",
    Opcode.TLBI_NH_ASID: "s1p",
    Opcode.TLBI_NH_VA: "s1p",
    Opcode.TLBI_NH_VAA: "s1p",
    Opcode.TLBI_EL2_ALL: "hyp",
    Opcode.TLBI_EL2_ASID: "hyp",
    Opcode.TLBI_EL2_VA: "hyp",
    Opcode.TLBI_EL2_VAA: "hyp",
    Opcode.TLBI_S12_VMALL: "s2p",
    Opcode.TLBI_S2_IPA: "s2p",
    Opcode.ATC_INV: "ats",
    Opcode.PRI_RESP: "pri",
    Opcode.RESUME: "stalls",
    Opcode.STALL_TERM: "stalls",
}
SSEC = 1 << 10
"""The command is about a secure stream. Where a command names no stream the bit is reserved, and as illegal."""
EVERYTHING = 52
"""ATC_INV.Size of a span that covers all addresses."""


@dataclass(frozen=True, slots=True)
class AtcInvalidation:
    """What an endpoint has to drop from its translation cache.

    :ivar ssid: PASID, or ``None``: translations without PASID
    :ivar everywhere: of all PASIDs (the Global flag)
    :ivar address: first byte, aligned to ``size``
    """

    sid: int
    ssid: int | None
    everywhere: bool
    address: int
    size: int


class Illegal(Exception):
    """The command cannot be executed: CERROR_ILL."""


class AtcTimeout(Exception):
    """An ATC invalidation before this SYNC was not answered: CERROR_ATC_INV_SYNC."""


class CommandProcessor:
    """Executes commands. See :class:`wdasync_hip08.smmu.Smmu` for the callbacks."""

    def __init__(
        self,
        queue: Queue,
        profile: Profile,
        registers: RegisterFile,
        signals: Signals,
        stalls: StallTable,
        pri: PriQueue,
        invalidations: Invalidations,
        statistics: Statistics,
        trace: Trace,
        on_sync: Callable[[Command], None] | None,
        on_atc_invalidate: Callable[[AtcInvalidation], bool] | None,
    ) -> None:
        self.queue = queue
        self.profile = profile
        self.registers = registers
        self.signals = signals
        self.stalls = stalls
        self.pri = pri
        self.invalidations = invalidations
        self.statistics = statistics
        self.trace = trace
        self.on_sync = on_sync
        self.on_atc_invalidate = on_atc_invalidate
        self._atc_unanswered = False
        self._running = False

    def run(self, limit: int | None = None) -> int:
        """Consume commands, at most ``limit``; how many were."""
        if self._running:
            return 0  # Called from a callback: the loop below goes on with what was added.
        self._running = True
        done = 0
        try:
            while (limit is None or done < limit) and self._ready() and self._step():
                done += 1
        finally:
            self._running = False
        return done

    def _ready(self) -> bool:
        enabled = bool(self.registers["CR0"] & CMDQEN)
        return enabled and not self.signals.active(GlobalError.CMDQ_ERR) and not self.queue.empty

    def _step(self) -> bool:
        """Fetch one command, execute it and step over it; or stop on it."""
        try:
            words = unpack_words(self.queue.read())
        except BusError:
            return self._fail(CommandError.ABT)
        try:
            command = self._decode(words)
            self._execute(command)
        except Illegal:
            return self._fail(CommandError.ILL)
        except AtcTimeout:
            return self._fail(CommandError.ATC_INV_SYNC)
        self.queue.consumed()
        self.statistics.commands += 1
        if command.opcode is Opcode.SYNC:
            self._tell(command)  # Who hears of the completion also sees the SYNC consumed.
        return True

    def _fail(self, error: CommandError) -> bool:
        self.statistics.command_errors += 1
        self.registers["CMDQ_CONS"] = self.registers["CMDQ_CONS"] & INDEX_MASK | error << 24
        self.trace("command error", {"error": error.name})
        self.signals.activate(GlobalError.CMDQ_ERR)
        return False

    def _decode(self, words: tuple[int, ...]) -> Command:
        try:
            command = Command.decode(words)
        except ValueError as error:
            raise Illegal(f"unknown opcode {words[0] & 0xFF:#x}") from error
        feature = REQUIRES.get(command.opcode)
        if feature is not None and not getattr(self.profile, feature):
            raise Illegal(f"{command} needs {feature}")
        if words[0] & SSEC:
            raise Illegal("the secure state in the non-secure queue")
        if command.tg and self.profile.ril and not (command.num or command.scale or command.level_hint):
            raise Illegal("a range of one granule without a level")
        return command

    def _execute(self, command: Command) -> None:
        self.trace("command", {"command": command})
        match command.opcode:
            case Opcode.PREFETCH_CONFIG | Opcode.PREFETCH_ADDR:
                pass  # Hints.
            case Opcode.ATC_INV:
                self._invalidate_atc(command)
            case Opcode.PRI_RESP:
                if command.resp not in (0, 1, 2):
                    raise Illegal("reserved response")
                if self.registers["CR0"] & SMMUEN:
                    self.pri.respond(command)
            case Opcode.RESUME:
                self.stalls.resume(command.sid, command.stag, self._verdict(command))
            case Opcode.STALL_TERM:
                self.stalls.terminate(command.sid)
            case Opcode.SYNC:
                self._sync(command)
            case _:
                self.invalidations.note(command)

    def _verdict(self, command: Command) -> Verdict:
        if command.ac:
            return Verdict.RETRY
        return Verdict.ABORT if command.ab or self.profile.abort_only else Verdict.TERMINATE

    def _invalidate_atc(self, command: Command) -> None:
        if not self.registers["CR0"] & SMMUEN or self.on_atc_invalidate is None:
            return
        size = 1 << 12 + min(command.size, EVERYTHING)
        self.statistics.atc_invalidations += 1
        invalidation = AtcInvalidation(
            command.sid,
            command.ssid if command.ssv else None,
            bool(command.g and command.ssv),
            command.addr & -size & (1 << 64) - 1,
            size,
        )
        if not self.on_atc_invalidate(invalidation):
            self.statistics.atc_timeouts += 1
            self._atc_unanswered = True

    def _sync(self, command: Command) -> None:
        """Complete everything before it: the only place where invalidations take effect."""
        if command.cs == CompletionSignal.RESERVED:
            raise Illegal("reserved completion signal")
        if self._atc_unanswered:
            self._atc_unanswered = False  # Reported; the SYNC is fetched again and may then complete.
            raise AtcTimeout
        if concerned := self.invalidations.complete():
            self.stalls.invalidated(concerned)
        self.statistics.syncs += 1

    def _tell(self, command: Command) -> None:
        if command.cs == CompletionSignal.IRQ:
            self.signals.sync_completed(command)
        if self.on_sync is not None:
            self.on_sync(command)

    def __repr__(self) -> str:
        return f"<CommandProcessor {self.queue!r} {self.invalidations!r}>"

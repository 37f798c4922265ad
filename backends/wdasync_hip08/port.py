"""The port: the only way from a function of the chip to memory.

An access names (StreamID, PASID or none, address); the SMMU turns each page of it into a physical address, and what
is there answers. Reads and writes are generators: they yield the :class:`~wdasync_hip08.smmu.Stall` of an access
that has to wait and are sent its verdict. Physical addresses do not outlive the step that got them: before a stall is
waited for, everything that was translated so far is carried out.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

from wdasync_hip08.frames import Frames
from wdasync_hip08.memory import PAGE, BusError, PhysicalMemory
from wdasync_hip08.smmu import Access, BusResponse, Faulted, Op, Outcome, Parked, Stall, Translated, Verdict
from wdasync_hip08.trace import Trace

__all__ = ["DmaAbort", "Ledger", "Port", "Translator", "Waits"]


#: Software that says again and again that a page is there now, and it is not, does not hold the engine for ever. What
#: the SMMU retries by itself, because of an invalidation, is nobody's answer and does not count.
MAX_RETRIES = 64


class DmaAbort(Exception):
    """An access ended with an abort.

    :ivar address: as the device used it
    :ivar translation: the SMMU refused it; else the bus did
    """

    def __init__(self, address: int, write: bool, translation: bool) -> None:
        super().__init__(
            f"{'write' if write else 'read'} at {address:#x} aborted by the {'SMMU' if translation else 'bus'}"
        )
        self.address = address
        self.write = write
        self.translation = translation


class Translator(Protocol):
    """What the port needs of the SMMU."""

    def lookup(self, sid: int, ssid: int | None, va: int, write: bool) -> int | None:
        """A physical address from the TLB; ``None``: ask :meth:`translate`."""
        ...

    def translate(self, access: Access) -> Outcome:
        """Translate one access."""
        ...


#: What waits, and what it is sent when it goes on.
Waits = Generator[Stall, Verdict, bytes]


class Ledger:
    """Bytes that went through the port, by PASID (``None``: without one)."""

    def __init__(self) -> None:
        self.read: dict[int | None, int] = {}
        self.written: dict[int | None, int] = {}

    def __repr__(self) -> str:
        return f"<Ledger read {self.read} written {self.written}>"


class Port:
    """The bus master interface of one function.

    :ivar ledger: bytes that arrived
    :ivar aborts: accesses that did not
    :ivar stalls: accesses that had to wait
    """

    def __init__(
        self, sid: int, smmu: Translator, memory: PhysicalMemory, frames: Frames, trace: Trace
    ) -> None:
        self.sid = sid
        self.ledger = Ledger()
        self.aborts = 0
        self.stalls = 0
        self._smmu = smmu
        self._memory = memory
        self._frames = frames
        self._trace = trace

    def read(self, ssid: int | None, address: int, n: int, tag: object = None) -> Waits:
        """``n`` bytes.

        :param tag: who is told of a stall
        :raises DmaAbort: at the first byte that cannot be had; nothing after it was touched
        """
        self._check(address, n, write=False)
        parts: list[bytes] = []
        ready: list[tuple[int, int]] = []
        at, left = address, n
        while left:
            size = min(left, PAGE - at % PAGE)
            pa = self._lookup(ssid, at, write=False)
            if pa is None:
                outcome = self._translate(ssid, at, size, "R", tag)
                if isinstance(outcome, Parked) and ready:
                    parts.append(self._gather(ready, ssid, at))
                    ready = []
                pa = yield from self._settle(outcome, at, write=False)
            if pa is None:  # Terminated by the rule "read zero".
                parts += [self._gather(ready, ssid, at), bytes(size)] if ready else [bytes(size)]
                ready = []
            else:
                ready.append((pa, size))
            at += size
            left -= size
        if ready:
            parts.append(self._gather(ready, ssid, at))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, ssid: int | None, address: int, data: bytes, tag: object = None) -> Waits:
        """Store ``data``; returns nothing of interest.

        :raises DmaAbort: at the first byte that cannot be had; the bytes before it may be there
        """
        self._check(address, len(data), write=True)
        ready: list[tuple[int, int]] = []
        done = start = 0
        while done < len(data):
            at = address + done
            size = min(len(data) - done, PAGE - at % PAGE)
            pa = self._lookup(ssid, at, write=True)
            if pa is None:
                outcome = self._translate(ssid, at, size, "W", tag)
                if isinstance(outcome, Parked) and ready:
                    self._scatter(ready, data[start:done], ssid, at)
                    ready, start = [], done
                pa = yield from self._settle(outcome, at, write=True)
            if pa is None:
                if ready:
                    self._scatter(ready, data[start:done], ssid, at)
                ready, start = [], done + size
            else:
                ready.append((pa, size))
            done += size
        if ready:
            self._scatter(ready, data[start:] if start else data, ssid, address + done)
        return b""

    def _check(self, address: int, n: int, *, write: bool) -> None:
        if address + n > 1 << 64:
            self.aborts += 1
            raise DmaAbort(address, write, translation=False)

    def now(self, waits: Waits) -> bytes:
        """Carry out an access that must not stall: of a ring, a context. A stall is an abort.

        :raises DmaAbort: as the access does
        """
        try:
            stall = next(waits)
        except StopIteration as done:
            return bytes(done.value)
        waits.close()
        raise DmaAbort(stall.access.va, stall.access.op == "W", translation=True)

    def store16(self, address: int, value: int) -> None:
        """One aligned halfword, after everything that was written before it; without a PASID.

        :raises DmaAbort: it does not arrive
        """
        self._check(address, 2, write=True)
        pa = self._lookup(None, address, write=True)
        if pa is None:
            outcome = self._translate(None, address, 2, "W", None)
            if not isinstance(outcome, Translated):
                self.aborts += 1
                raise DmaAbort(address, write=True, translation=True)
            pa = outcome.pa
        ram = self._memory.ram
        if pa & 1 or not ram.base <= pa < ram.base + ram.size:
            self.aborts += 1
            raise DmaAbort(address, write=True, translation=False)
        ram.write16(pa, value)
        self.ledger.written[None] = self.ledger.written.get(None, 0) + 2

    # One page

    def _lookup(self, ssid: int | None, at: int, *, write: bool) -> int | None:
        # A trace shows hits as well, so it takes the long way.
        return None if self._trace.on else self._smmu.lookup(self.sid, ssid, at, write)

    def _translate(self, ssid: int | None, at: int, size: int, op: Op, tag: object) -> Outcome:
        outcome = self._smmu.translate(Access(self.sid, ssid, at, op, size=size, tag=tag))
        if self._trace.on:
            self._note(outcome, ssid, at, op)
        return outcome

    def _note(self, outcome: Outcome, ssid: int | None, at: int, op: str) -> None:
        match outcome:
            case Translated(pa=pa, tlb_hit=hit):
                self._trace.instant(
                    "smmu", "TLB hit" if hit else "walk", address=at, pa=pa, pasid=ssid, op=op
                )
            case Parked(stag=stag, event=event):
                self._trace.instant(
                    "smmu", "stall", address=at, pasid=ssid, op=op, stag=stag, event=event.name
                )
            case Faulted(event=event):
                self._trace.instant("smmu", "abort", address=at, pasid=ssid, op=op, event=event.name)
            case _:
                self._trace.instant("smmu", "abort", address=at, pasid=ssid, op=op)

    def _settle(self, outcome: Outcome, at: int, *, write: bool) -> Generator[Stall, Verdict, int | None]:
        """The physical address in the end; ``None``: reads zero, writes are ignored."""
        answers = 0
        while isinstance(outcome, Parked) and answers < MAX_RETRIES:
            stall = outcome.stall
            access = stall.access
            self.stalls += 1
            verdict = yield stall
            answers += not stall.stale
            if verdict is Verdict.TERMINATE:
                return None
            if verdict is Verdict.ABORT:
                break
            outcome = self._translate(access.ssid, access.va, access.size, access.op, access.tag)
        if isinstance(outcome, Translated):
            return outcome.pa
        if isinstance(outcome, Faulted) and outcome.bus is BusResponse.RAZ_WI:
            return None
        self.aborts += 1
        raise DmaAbort(at, write, translation=True)

    def _gather(self, pieces: list[tuple[int, int]], ssid: int | None, after: int) -> bytes:
        try:
            data = self._on_bus(pieces)
        except BusError as error:
            self.aborts += 1
            raise DmaAbort(_virtual(pieces, after, error.pa), write=False, translation=False) from error
        self.ledger.read[ssid] = self.ledger.read.get(ssid, 0) + len(data)
        return data

    def _on_bus(self, pieces: list[tuple[int, int]]) -> bytes:
        frames = self._frames  # A space maps frames and nothing else, the function's own addresses map RAM.
        if frames.base <= pieces[0][0] < frames.base + frames.size:
            return frames.gather(pieces)
        return b"".join([self._memory.read(pa, n) for pa, n in pieces])

    def _scatter(self, pieces: list[tuple[int, int]], data: bytes, ssid: int | None, after: int) -> None:
        frames = self._frames
        try:
            if frames.base <= pieces[0][0] < frames.base + frames.size:
                frames.scatter(pieces, data)
            else:
                done = 0
                for pa, n in pieces:
                    self._memory.write(pa, data[done : done + n])
                    done += n
        except BusError as error:
            self.aborts += 1
            raise DmaAbort(_virtual(pieces, after, error.pa), write=True, translation=False) from error
        self.ledger.written[ssid] = self.ledger.written.get(ssid, 0) + len(data)

    def __repr__(self) -> str:
        return f"<Port of stream {self.sid:#x}: {self.stalls} stalls, {self.aborts} aborts, {self.ledger}>"


def _virtual(pieces: list[tuple[int, int]], after: int, pa: int) -> int:
    """The address whose translation gave ``pa``, from the pieces that end at address ``after``."""
    start = after - sum(n for _, n in pieces)
    for base, n in pieces:
        if base <= pa < base + n:
            return start + pa - base
        start += n
    return after

"""The port: the only way from a function of the chip to memory.

An access names (StreamID, PASID or none, address); the SMMU turns each page of it into a physical address, and what
is there answers. Reads and writes are generators: they yield the :class:`~wdasync_hip08.smmu.Stall` of an access
that has to wait and are sent its verdict. Physical addresses do not outlive the step that got them: before a stall is
waited for, everything that was translated so far is carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Protocol

from wdasync_hip08._native import ffi
from wdasync_hip08.frames import MOST, Frames
from wdasync_hip08.memory import PAGE, PAGE_SHIFT, BusError, PhysicalMemory
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

    def burst(
        self, sid: int, ssid: int | None, va: int, nbytes: int, write: bool, pas: Any, limit: int
    ) -> int:
        """Physical addresses of the first pages of a buffer, as many as are plain; of the next ask :meth:`translate`."""
        ...

    def translate(self, access: Access) -> Outcome:
        """Translate one access."""
        ...


#: What waits, and what it is sent when it goes on.
Waits = Generator[Stall, Verdict, bytes]
#: Carries out an access to [at, end), which so many pages hold.
CarryOut = Callable[[int, int, int], None]


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
        self._pas: Any = ffi.new("uint64_t[]", MOST)
        self._retried: Any = ffi.new("uint64_t[1]")

    def read(self, ssid: int | None, address: int, n: int, tag: object = None) -> Waits:
        """``n`` bytes.

        :param tag: who is told of a stall
        :raises DmaAbort: at the first byte that cannot be had; nothing after it was touched
        """
        ready, all_ready = self._begin(ssid, address, n, write=False)
        if all_ready:
            return self._gather(ssid, address, address + n, ready)
        return (yield from self._read_on(ssid, address, n, tag, ready))

    def write(self, ssid: int | None, address: int, data: bytes, tag: object = None) -> Waits:
        """Store ``data``; returns nothing of interest.

        :raises DmaAbort: at the first byte that cannot be had; the bytes before it may be there
        """
        ready, all_ready = self._begin(ssid, address, len(data), write=True)
        if all_ready:
            self._scatter(ssid, address, address + len(data), ready, data)
            return b""
        return (yield from self._write_on(ssid, address, data, tag, ready))

    def fetch(self, address: int, n: int) -> bytes:
        """``n`` bytes of a ring or a context: without a PASID, and it must not stall.

        :raises DmaAbort: as :meth:`read`; a stall is one too
        """
        ready, all_ready = self._begin(None, address, n, write=False)
        if all_ready:
            return self._gather(None, address, address + n, ready)
        return self._now(self._read_on(None, address, n, None, ready))

    def store(self, address: int, data: bytes) -> None:
        """Store into a ring or a context, as :meth:`fetch`."""
        ready, all_ready = self._begin(None, address, len(data), write=True)
        if all_ready:
            self._scatter(None, address, address + len(data), ready, data)
        else:
            self._now(self._write_on(None, address, data, None, ready))

    # On the way

    def _begin(self, ssid: int | None, address: int, n: int, *, write: bool) -> tuple[int, bool]:
        """Translate what is plain. The pages are in ``_pas``; how many they are, and whether these are all."""
        self._check(address, n, write=write)
        if self._frames.unsettled:
            self._frames.settle()
        ready = self._smmu.burst(self.sid, ssid, address, n, write, self._pas, MOST)
        return ready, n > 0 and ready == (address + n - 1 >> PAGE_SHIFT) - (address >> PAGE_SHIFT) + 1

    def _read_on(self, ssid: int | None, address: int, n: int, tag: object, ready: int) -> Waits:
        parts: list[bytes] = []

        def carry_out(at: int, end: int, pages: int) -> None:
            parts.append(self._gather(ssid, at, end, pages) if pages else bytes(end - at))

        yield from self._through(ssid, address, n, "R", tag, ready, carry_out)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _write_on(self, ssid: int | None, address: int, data: bytes, tag: object, ready: int) -> Waits:
        def carry_out(at: int, end: int, pages: int) -> None:
            if pages:
                self._scatter(ssid, at, end, pages, data[at - address : end - address])

        yield from self._through(ssid, address, len(data), "W", tag, ready, carry_out)
        return b""

    def _through(
        self, ssid: int | None, address: int, n: int, op: Op, tag: object, ready: int, carry_out: CarryOut
    ) -> Generator[Stall, Verdict, None]:
        """Translate page by page, and carry out what has been translated: in the end, and before each wait.

        The pages of [at, end) are then in ``_pas``; none for those where reads give zero and writes are ignored.

        :param ready: pages that are translated already
        """
        write = op == "W"
        start, end = address, address + n
        at = min((start & -PAGE) + ready * PAGE, end) if ready else start
        while at < end:
            if ready == MOST:
                carry_out(start, at, ready)
                start, ready = at, 0
            if self._frames.unsettled:
                self._frames.settle()
            size = min(end - at, PAGE - at % PAGE)
            outcome = self._translate(ssid, at, size, op, tag)
            if isinstance(outcome, Parked) and ready:
                carry_out(start, at, ready)
                start, ready = at, 0
            pa = yield from self._settle(outcome, at, write=write)
            if pa is not None:
                self._pas[ready] = pa
                ready += 1
            else:  # Terminated by the rule "read zero, write ignored".
                if ready:
                    carry_out(start, at, ready)
                carry_out(at, at + size, 0)
                start, ready = at + size, 0
            at += size
            more = self._smmu.burst(self.sid, ssid, at, end - at, write, self._pas + ready, MOST - ready)
            ready += more
            at = min((at & -PAGE) + more * PAGE, end) if more else at
        if ready:
            carry_out(start, end, ready)

    def _check(self, address: int, n: int, *, write: bool) -> None:
        if address + n > 1 << 64:
            self.aborts += 1
            raise DmaAbort(address, write, translation=False)

    def _now(self, waits: Waits) -> bytes:
        """Carry out an access that must not stall."""
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
        if self._smmu.burst(self.sid, None, address, 2, True, self._pas, 1):
            pa = self._pas[0]
        else:
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

    def _translate(self, ssid: int | None, at: int, size: int, op: Op, tag: object) -> Outcome:
        outcome = self._smmu.translate(Access(self.sid, ssid, at, op, size=size, tag=tag))
        if self._trace.on:
            self._note(outcome, ssid, at, op)
        return outcome

    def _note(self, outcome: Outcome, ssid: int | None, at: int, op: str) -> None:
        match outcome:
            case Translated(pa=pa, tlb_hit=hit):
                self._trace.instant(
                    "smmu",
                    "TLB hit" if hit else "walk",
                    stream=self.sid,
                    address=at,
                    pa=pa,
                    pasid=ssid,
                    op=op,
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
            if self._smmu.burst(
                self.sid, access.ssid, access.va, access.size, access.op == "W", self._retried, 1
            ):
                return int(self._retried[0])
            outcome = self._translate(access.ssid, access.va, access.size, access.op, access.tag)
        if isinstance(outcome, Translated):
            return outcome.pa
        if isinstance(outcome, Faulted) and outcome.bus is BusResponse.RAZ_WI:
            return None
        self.aborts += 1
        raise DmaAbort(at, write, translation=True)

    def _gather(self, ssid: int | None, at: int, end: int, pages: int) -> bytes:
        n = end - at
        try:
            if self._of_programs():
                data = self._frames.read_pages(self._pas, pages, n)
            elif pages == 1:
                data = self._memory.read(self._pas[0], n)
            else:
                data = b"".join([self._memory.read(pa, size) for pa, size in self._pieces(at, end, pages)])
        except BusError as error:
            self.aborts += 1
            raise DmaAbort(self._virtual(at, end, pages, error.pa), False, translation=False) from error
        self.ledger.read[ssid] = self.ledger.read.get(ssid, 0) + n
        return data

    def _scatter(self, ssid: int | None, at: int, end: int, pages: int, data: bytes) -> None:
        try:
            if self._of_programs():
                self._frames.write_pages(self._pas, pages, data)
            elif pages == 1:
                self._memory.write(self._pas[0], data)
            else:
                done = 0
                for pa, size in self._pieces(at, end, pages):
                    self._memory.write(pa, data[done : done + size])
                    done += size
        except BusError as error:
            self.aborts += 1
            raise DmaAbort(self._virtual(at, end, pages, error.pa), True, translation=False) from error
        self.ledger.written[ssid] = self.ledger.written.get(ssid, 0) + len(data)

    def _of_programs(self) -> bool:
        """The pages are frames. A space maps frames and nothing else, the function's own addresses map RAM."""
        frames = self._frames
        return bool(frames.base <= self._pas[0] < frames.base + frames.size)

    def _pieces(self, at: int, end: int, pages: int) -> list[tuple[int, int]]:
        """(physical address, length) of the pages that hold [at, end)."""
        pas = ffi.unpack(self._pas, pages)
        if pages == 1:
            return [(pas[0], end - at)]
        sizes = [PAGE - at % PAGE, *[PAGE] * (pages - 2), (end - 1) % PAGE + 1]
        return list(zip(pas, sizes, strict=True))

    def _virtual(self, at: int, end: int, pages: int, pa: int) -> int:
        """The address whose translation gave ``pa``."""
        for base, n in self._pieces(at, end, pages):
            if base <= pa < base + n:
                return at + pa - base
            at += n
        return at

    def __repr__(self) -> str:
        return f"<Port of stream {self.sid:#x}: {self.stalls} stalls, {self.aborts} aborts, {self.ledger}>"

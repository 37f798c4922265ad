"""Frames: the physical pages behind the memory of programs.

A frame stands at a physical address that has nothing to do with any virtual one: frame numbers are handed out
scrambled, so a translation that was skipped cannot work by accident. It never holds bytes; it says which page of
which backing they are in, and that is looked up at each access.

================  ==========================================================================
state             an access from the bus
================  ==========================================================================
FREE              aborts; ``stale_access`` += 1: somebody kept a translation
LIVE              goes to the backing if the bytes were granted, else aborts and
                  ``guard_violations`` += 1
QUARANTINED       aborts; ``stale_access`` += 1: its page was unmapped, and no SYNC has
                  completed since that proves that nobody remembers it
================  ==========================================================================
"""

from __future__ import annotations

import enum
import random
from collections.abc import Sequence

from wdasync_hip08.backings import Backing
from wdasync_hip08.memory import PAGE, PAGE_SHIFT, BusError

__all__ = ["TRANSITIONS", "Frame", "FrameState", "Frames", "Grant"]

#: Byte range within one page, and whether it may be written: (first, end, writable).
Grant = tuple[int, int, bool]


class FrameState(enum.Enum):
    """Where a frame is between two owners."""

    FREE = "free"
    LIVE = "live"
    QUARANTINED = "quarantined"


#: Which state may follow which.
TRANSITIONS: dict[FrameState, frozenset[FrameState]] = {
    FrameState.FREE: frozenset({FrameState.LIVE}),
    FrameState.LIVE: frozenset({FrameState.QUARANTINED}),
    FrameState.QUARANTINED: frozenset({FrameState.FREE}),
}


class Frame:
    """One physical page.

    :ivar number: frame number within its window
    :ivar pa: physical address of its first byte
    :ivar backing: where its bytes are
    :ivar page: which page of the backing
    :ivar grants: what a device may touch of it; shared with the page of the address space that it stands for
    """

    __slots__ = ("backing", "grants", "number", "pa", "page", "state")

    def __init__(self, number: int, pa: int) -> None:
        self.number = number
        self.pa = pa
        self.backing: Backing | None = None
        self.page = 0
        self.grants: list[Grant] = []
        self.state = FrameState.FREE

    def to(self, state: FrameState) -> None:
        """Change the state.

        :raises ValueError: it may not follow the present one
        """
        if state not in TRANSITIONS[self.state]:
            raise ValueError(
                f"frame {self.number:#x}: expected one of {sorted(s.value for s in TRANSITIONS[self.state])} after "
                f"{self.state.value}, got {state.value}"
            )
        self.state = state

    def allows(self, first: int, end: int, write: bool) -> bool:
        """Whether bytes [first, end) of the page are granted; neighbouring grants may do it together."""
        for low, high, writable in self.grants:
            if low <= first and end <= high and (writable or not write):
                return True
        return len(self.grants) > 1 and self._joined(first, end, write)

    def _joined(self, first: int, end: int, write: bool) -> bool:
        for low, high, writable in sorted(self.grants):
            if writable or not write:
                if low > first:
                    return False
                first = max(first, high)
                if first >= end:
                    return True
        return False

    def __repr__(self) -> str:
        return (
            f"<Frame {self.number:#x} {self.state.value} page {self.page:#x} of {self.backing} {self.grants}>"
        )


class Frames:
    """The window of physical addresses in which program pages appear.

    :param base: physical address of frame 0
    :param bits: log2 of the number of frames
    :param seed: in which order they are handed out

    :ivar guard_violations: accesses to bytes that nobody granted
    :ivar stale_access: accesses to frames that no page stands behind any more
    """

    def __init__(self, base: int, bits: int = 24, seed: int = 0) -> None:
        self.name = "frames"
        self.base = base
        self.size = PAGE << bits
        self._bits = bits
        self._random = random.Random(seed)  # noqa: S311  # scrambles addresses, guards nothing
        self._frames: dict[int, Frame] = {}
        self._free: list[Frame] = []
        self._quarantine: list[Frame] = []
        self.guard_violations = 0
        self.stale_access = 0

    def allocate(self, backing: Backing, page: int, grants: list[Grant]) -> Frame:
        """A frame for this page, live from now on.

        :raises MemoryError: if every frame is in use
        """
        frame = self._pick()
        frame.backing = backing
        frame.page = page
        frame.grants = grants
        frame.to(FrameState.LIVE)
        return frame

    def _pick(self) -> Frame:
        # Sooner or later a frame number comes again, with another owner: then a stale translation shows.
        if self._free and (len(self._free) > 64 or len(self._frames) == 1 << self._bits):
            index = self._random.randrange(len(self._free))
            self._free[index], self._free[-1] = self._free[-1], self._free[index]
            return self._free.pop()
        if len(self._frames) == 1 << self._bits:
            raise MemoryError(f"frames: expected a free one, got all {1 << self._bits} in use")
        while True:
            number = self._random.getrandbits(self._bits)
            if number not in self._frames:
                frame = self._frames[number] = Frame(number, self.base + (number << PAGE_SHIFT))
                return frame

    def quarantine(self, frame: Frame) -> None:
        """Its page was unmapped; until the next SYNC somebody may still remember the translation."""
        frame.to(FrameState.QUARANTINED)
        frame.grants = []
        frame.backing = None
        self._quarantine.append(frame)

    def release_quarantined(self) -> int:
        """A SYNC has completed behind all invalidations so far: nobody remembers; how many came free."""
        for frame in self._quarantine:
            frame.to(FrameState.FREE)
        count = len(self._quarantine)
        self._free += self._quarantine
        self._quarantine.clear()
        return count

    @property
    def quarantined(self) -> int:
        """Frames that wait for a SYNC."""
        return len(self._quarantine)

    @property
    def live(self) -> int:
        """Frames behind which there is a page."""
        return len(self._frames) - len(self._free) - len(self._quarantine)

    def at(self, pa: int) -> Frame | None:
        """The frame in which this physical address lies, if it was ever handed out."""
        return self._frames.get(pa - self.base >> PAGE_SHIFT)

    def check(self, pa: int, n: int, write: bool) -> tuple[Backing, int]:
        """Where bytes [pa, pa + n), within one page, really are: (backing, address in it).

        :raises BusError: nowhere, or the device must not touch them
        """
        frame = self._frames.get(pa - self.base >> PAGE_SHIFT)
        if frame is None:
            raise BusError(pa)
        if frame.state is not FrameState.LIVE or frame.backing is None:
            self.stale_access += 1
            raise BusError(pa)
        first = pa & PAGE - 1
        if not frame.allows(first, first + n, write):
            self.guard_violations += 1
            raise BusError(pa)
        return frame.backing, (frame.page << PAGE_SHIFT) + first

    def read(self, pa: int, n: int, /) -> bytes:
        return self.gather([(pa, n)])

    def write(self, pa: int, data: bytes, /) -> None:
        self.scatter([(pa, len(data))], data)

    def gather(self, pieces: Sequence[tuple[int, int]]) -> bytes:
        """Read several (physical address, length), each within one page, with one call where they are together.

        :raises BusError: at the first byte that cannot be had
        """
        parts = []
        for backing, where, start in self._runs(pieces, write=False):
            data = backing.read(where)
            if len(data) < sum(n for _, n in where):
                raise BusError(_short(pieces[start:], len(data)))
            parts.append(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def scatter(self, pieces: Sequence[tuple[int, int]], data: bytes) -> None:
        """Write several, as :meth:`gather`; nothing is written unless all of it is granted.

        :raises BusError: at the first byte that cannot be had
        """
        done = 0
        for backing, where, start in self._runs(pieces, write=True):
            wanted = sum(n for _, n in where)
            part = data if wanted == len(data) else data[done : done + wanted]
            stored = backing.write(where, part)
            if stored < wanted:
                raise BusError(_short(pieces[start:], stored))
            done += wanted

    def _runs(
        self, pieces: Sequence[tuple[int, int]], write: bool
    ) -> list[tuple[Backing, list[tuple[int, int]], int]]:
        """Pieces with one backing, one after another: (backing, pieces in it, index of the first)."""
        runs: list[tuple[Backing, list[tuple[int, int]], int]] = []
        for index, (pa, n) in enumerate(pieces):
            backing, address = self.check(pa, n, write)
            if runs and runs[-1][0] is backing:
                runs[-1][1].append((address, n))
            else:
                runs.append((backing, [(address, n)], index))
        return runs

    def __repr__(self) -> str:
        return (
            f"<Frames {self.live} live, {len(self._quarantine)} quarantined, {len(self._free)} free, "
            f"{self.guard_violations} guard violations, {self.stale_access} stale accesses>"
        )


def _short(pieces: Sequence[tuple[int, int]], done: int) -> int:
    """The physical address of the byte after the first ``done`` ones."""
    for pa, n in pieces:
        if done < n:
            return pa + done
        done -= n
    return pieces[-1][0]

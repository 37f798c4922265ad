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

Frames are kept in C (``native/frames.c``): each access looks one up for each of its pages.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from wdasync_hip08._native import ffi, lib
from wdasync_hip08.backings import Backing
from wdasync_hip08.memory import PAGE, PAGE_SHIFT, BusError

__all__ = ["MOST", "TRANSITIONS", "Frame", "FrameState", "Frames", "Grant"]

#: Pages of one access, at most: an 8 MiB buffer has so many.
MOST = 2049

#: Byte range within one page, and whether it may be written: (first, end, writable).
Grant = tuple[int, int, bool]


class FrameState(enum.Enum):
    """Where a frame is between two owners. In the order of ``enum frame_state`` of ``native/frames.h``."""

    FREE = "free"
    LIVE = "live"
    QUARANTINED = "quarantined"


_STATES = tuple(FrameState)

#: Which state may follow which.
TRANSITIONS: dict[FrameState, frozenset[FrameState]] = {
    FrameState.FREE: frozenset({FrameState.LIVE}),
    FrameState.LIVE: frozenset({FrameState.QUARANTINED}),
    FrameState.QUARANTINED: frozenset({FrameState.FREE}),
}


class Counts(NamedTuple):
    """As ``struct frames_counts``."""

    known: int
    free: int
    quarantined: int
    guard_violations: int
    stale_access: int


class Frame:
    """One physical page, as Python looks at it.

    :ivar number: frame number within its window
    :ivar pa: physical address of its first byte
    """

    __slots__ = ("_frames", "number", "pa")

    def __init__(self, frames: Frames, number: int) -> None:
        self._frames = frames
        self.number = number
        self.pa = frames.base + (number << PAGE_SHIFT)

    def _look(self) -> Any:
        view = ffi.new("struct frame_view *")
        lib.frames_look(self._frames.native, self.number, view)
        return view

    @property
    def state(self) -> FrameState:
        """Where it is."""
        return _STATES[int(self._look().state)]

    @property
    def backing(self) -> Backing | None:
        """Where its bytes are, while it is live."""
        view = self._look()
        live = _STATES[view.state] is FrameState.LIVE
        return self._frames.backing(view.backing) if live else None

    @property
    def page(self) -> int:
        """Which page of the backing."""
        return int(self._look().page)

    @property
    def grants(self) -> list[Grant]:
        """What a device may touch of it; shared with the page of the address space that it stands for."""
        count = self._look().grants
        found = ffi.new("struct grant[]", count)
        count = lib.frames_grants(self._frames.native, self.number, found, count)
        return [(found[index].first, found[index].end, found[index].writable) for index in range(count)]

    def __repr__(self) -> str:
        return (
            f"<Frame {self.number:#x} {self.state.value} page {self.page:#x} of {self.backing} {self.grants}>"
        )


class Unsettled(Protocol):
    """An address space some of whose pages have lost their last grant."""

    def settle(self) -> None:
        """Unmap them."""
        ...


class Frames:
    """The window of physical addresses in which program pages appear.

    :param base: physical address of frame 0
    :param bits: log2 of the number of frames
    :param seed: in which order they are handed out
    :raises MemoryError: there is none

    :ivar native: the frames; for the pages of spaces
    :ivar unsettled: spaces that have pages without grants; before the next access of a device they are to settle
    """

    def __init__(self, base: int, bits: int = 24, seed: int = 0) -> None:
        self.name = "frames"
        self.base = base
        self.size = PAGE << bits
        self._bits = bits
        self.native: Any = ffi.gc(lib.frames_new(base, bits, seed), lib.frames_free)
        if self.native == ffi.NULL:
            raise MemoryError("frames: no memory for them")
        self.unsettled: set[Unsettled] = set()
        self._backings: list[Backing] = []
        self._numbers: dict[Backing, int] = {}
        self._views: dict[int, Frame] = {}
        self._found = ffi.new("struct frames_found *")
        self._addresses, self._lengths = ffi.new("uint64_t[]", MOST), ffi.new("uint64_t[]", MOST)

    # Owners

    def number_of(self, backing: Backing) -> int:
        """The number by which C knows a backing."""
        number = self._numbers.get(backing)
        if number is None:
            number = self._numbers[backing] = len(self._backings)
            self._backings.append(backing)
        return number

    def backing(self, number: int) -> Backing:
        """The backing with this number."""
        return self._backings[number]

    def frame(self, number: int) -> Frame:
        """The frame with this number."""
        frame = self._views.get(number)
        if frame is None:
            frame = self._views[number] = Frame(self, number)
        return frame

    def allocate(self, backing: Backing, page: int, grants: Sequence[Grant]) -> Frame:
        """A frame for this page, which is in no space; live from now on.

        :raises MemoryError: if every frame is in use
        """
        number = self.checked(lib.frames_allocate(self.native, self.number_of(backing), page))
        for grant in grants:
            lib.frames_grant(self.native, number, grant)
        return self.frame(number)

    def checked(self, number: int) -> int:
        """An answer of C that is not an error.

        :raises MemoryError: it is: every frame is in use, or there is no memory
        """
        if number == -1:
            raise MemoryError(f"frames: expected a free one, got all {1 << self._bits} in use")
        if number < 0:
            raise MemoryError("frames: no memory for another one")
        return number

    def quarantine(self, frame: Frame) -> None:
        """Its page was unmapped; until the next SYNC somebody may still remember the translation.

        :raises ValueError: it is not live
        """
        if not lib.frames_quarantine(self.native, frame.number):
            raise ValueError(
                f"frame {frame.number:#x}: expected one of {sorted(s.value for s in TRANSITIONS[frame.state])} after "
                f"{frame.state.value}, got {FrameState.QUARANTINED.value}"
            )

    def release_quarantined(self) -> int:
        """A SYNC has completed behind all invalidations so far: nobody remembers; how many came free."""
        return int(lib.frames_release(self.native))

    def settle(self) -> None:
        """Let all spaces unmap the pages whose last grant went."""
        while self.unsettled:
            self.unsettled.pop().settle()

    # Counts

    def counts(self) -> Counts:
        """How many there are of what, at this moment."""
        counts = ffi.new("struct frames_counts *")
        lib.frames_count(self.native, counts)
        return Counts(
            counts.known, counts.free, counts.quarantined, counts.guard_violations, counts.stale_accesses
        )

    @property
    def guard_violations(self) -> int:
        """Accesses to bytes that nobody granted."""
        return self.counts().guard_violations

    @property
    def stale_access(self) -> int:
        """Accesses to frames that no page stands behind any more."""
        return self.counts().stale_access

    @property
    def quarantined(self) -> int:
        """Frames that wait for a SYNC."""
        return self.counts().quarantined

    @property
    def live(self) -> int:
        """Frames behind which there is a page."""
        counts = self.counts()
        return counts.known - counts.free - counts.quarantined

    # Accesses

    def read(self, pa: int, n: int, /) -> bytes:
        return self.read_pages(ffi.new("uint64_t[]", [pa]), 1, n)

    def write(self, pa: int, data: bytes, /) -> None:
        self.write_pages(ffi.new("uint64_t[]", [pa]), 1, data)

    def read_pages(self, pas: Any, pages: int, nbytes: int) -> bytes:
        """``nbytes``, from the first address to the end of its page, then page by page.

        :param pas: a C array of ``pages`` addresses, at most :data:`MOST`; all but the first are of whole pages
        :raises BusError: at the first byte that cannot be had
        """
        parts = []
        done = 0
        for backing, pieces, wanted in self._runs(pas, pages, nbytes, write=False):
            data = backing.copy_in(self._addresses, self._lengths, pieces, wanted)
            if len(data) < wanted:
                raise BusError(_short(pas, done + len(data)))
            done += wanted
            parts.append(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write_pages(self, pas: Any, pages: int, data: bytes) -> None:
        """Store ``data``, as :meth:`read_pages`; nothing is written unless all of it is granted.

        :raises BusError: at the first byte that cannot be had
        """
        done = 0
        for backing, pieces, wanted in self._runs(pas, pages, len(data), write=True):
            part = data if wanted == len(data) else data[done : done + wanted]
            stored = backing.copy_out(self._addresses, self._lengths, pieces, part)
            if stored < wanted:
                raise BusError(_short(pas, done + stored))
            done += wanted

    def _runs(self, pas: Any, pages: int, nbytes: int, write: bool) -> Iterator[tuple[Backing, int, int]]:
        """Pages with one backing, one after another: the backing, pieces in it, their bytes."""
        found, first = self._found, 0
        while first < pages:
            lib.frames_resolve(
                self.native, pas + first, pages - first, nbytes, write, self._addresses, self._lengths, found
            )
            if found.refused < pages - first:
                raise BusError(pas[first + found.refused])
            first += found.pages
            last = first == pages
            here = nbytes if last else found.pages * PAGE - (pas[first - found.pages] & PAGE - 1)
            nbytes -= here
            yield self._backings[found.backing], found.pieces, here

    def __repr__(self) -> str:
        counts = self.counts()
        return (
            f"<Frames {self.live} live, {counts.quarantined} quarantined, {counts.free} free, "
            f"{counts.guard_violations} guard violations, {counts.stale_access} stale accesses>"
        )


def _short(pas: Any, done: int) -> int:
    """The physical address of the byte after the first ``done`` ones."""
    page, offset = divmod((int(pas[0]) & PAGE - 1) + done, PAGE)
    pa: int = pas[page]
    return (pa & -PAGE) + offset

"""Address spaces: what a PASID stands for.

A space maps ranges of virtual addresses to backings. A page of it becomes visible to devices when it gets a frame and
an entry in the page table of the space; until then an access is a page fault. On top of Linux's rules this model
keeps a list of *grants*: the bytes of the buffers that are in flight. A page without any grant has no entry, so a
device that runs astray faults there and is refused; within a granted page the frame refuses the bytes around the
buffer.

The pages of a buffer come and go together, so the table of them is in C (``native/pages.c``); what happens when is here.
"""

from __future__ import annotations

import contextlib
import enum
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from wdasync_hip08._native import ffi, lib
from wdasync_hip08.backings import Backing
from wdasync_hip08.frames import Frame, Frames, Grant
from wdasync_hip08.kernel.dma import DmaDomain
from wdasync_hip08.kernel.iommu import Iommu
from wdasync_hip08.kernel.iova import IovaAllocator
from wdasync_hip08.kernel.pagetable import (
    LEAF_ENTRIES,
    PAGE_BITS,
    READ_ONLY_PAGE_BITS,
    PageTable,
    page_descriptor,
)
from wdasync_hip08.memory import PAGE, PAGE_SHIFT, Ram, pages_of

__all__ = ["Area", "PageSource", "Residency", "Space", "SpacePage", "SpacePages"]

#: Addresses of programs are below 2**47 (48-bit tables, the upper half is the kernel's).
TOP = 1 << 47
#: Pages that are unmapped together, before caches are told.
TOGETHER = 4096
_BITS = ffi.new("struct leaf_bits *", (PAGE_BITS, READ_ONLY_PAGE_BITS))


class PageSource(Protocol):
    """Supplies pages of an area on first touch; a :class:`wdasync.PagedBuffer`, for one. Its pages may be larger."""

    page_size: int

    def is_present(self, page: int) -> bool:
        """Whether its page has come."""
        ...

    async def fetch(self, page: int) -> None:
        """Let it come. Many may ask at once."""
        ...


class Residency(enum.Enum):
    """Which pages of a granted buffer a device finds present."""

    #: Those that the host has in memory at that moment; the others are page faults.
    MIRROR = "mirror"
    #: None: the first touch of each page is a page fault.
    COLD = "cold"
    #: All: they are brought in before the doorbell, as shared addresses without page faults need it.
    PINNED = "pinned"


@dataclass(slots=True, eq=False)
class Area:
    """A range of virtual addresses with one backing.

    :ivar start: first virtual page
    :ivar end: virtual page after the last
    :ivar backing: where the bytes are
    :ivar page: page of the backing at ``start``
    :ivar writable: whether the program could write there
    :ivar source: supplies absent pages; ``None``: the backing populates them by itself
    """

    start: int
    end: int
    backing: Backing
    page: int = 0
    writable: bool = True
    source: PageSource | None = None

    def number(self, vpn: int) -> int:
        """The page of the source in which a virtual page lies."""
        assert self.source is not None
        return (vpn - self.start << PAGE_SHIFT) // self.source.page_size

    def supplied(self, vpn: int) -> bool:
        """Whether nobody has to be asked for the page."""
        return self.source is None or self.source.is_present(self.number(vpn))


class SpacePage:
    """One page of a space that has grants, a frame, or both, as Python looks at it."""

    __slots__ = ("_pages", "vpn")

    def __init__(self, pages: SpacePages, vpn: int) -> None:
        self._pages = pages
        self.vpn = vpn

    @property
    def frame(self) -> Frame | None:
        """The frame behind it; ``None``: devices fault there."""
        number = self._pages.look(self.vpn).frame
        return None if number < 0 else self._pages.frames.frame(number)

    @property
    def writable(self) -> bool:
        """Its entry lets write."""
        return bool(self._pages.look(self.vpn).writable)

    def grants_write(self) -> bool:
        """Whether some byte of it may be written."""
        return bool(self._pages.look(self.vpn).grants_write)

    @property
    def grants(self) -> list[Grant]:
        """What devices may touch of it."""
        found = ffi.new("struct grant[]", self._pages.look(self.vpn).grants)
        count = lib.pages_grants(self._pages.native, self.vpn, found, len(found))
        return [(found[index].first, found[index].end, found[index].writable) for index in range(count)]

    def __repr__(self) -> str:
        return f"<SpacePage {'rw' if self.writable else 'r-'} {self.frame!r}, grants {self.grants}>"


class PagesCounts(NamedTuple):
    """As ``struct pages_counts``."""

    pages: int
    mapped: int
    granted: int


class SpacePages(Mapping[int, SpacePage]):
    """The pages of one space, by virtual page number.

    :raises MemoryError: there is none
    """

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self.native: Any = ffi.gc(lib.pages_new(frames.native), lib.pages_free)
        if self.native == ffi.NULL:
            raise MemoryError("no memory for the pages of an address space")

    def look(self, vpn: int) -> Any:
        """The state of a page at this moment.

        :raises KeyError: there is no such page
        """
        view = ffi.new("struct page_view *")
        if not lib.pages_look(self.native, vpn, view):
            raise KeyError(vpn)
        return view

    def counts(self) -> PagesCounts:
        """How many there are of what, at this moment."""
        counts = ffi.new("struct pages_counts *")
        lib.pages_count(self.native, counts)
        return PagesCounts(counts.pages, counts.mapped, counts.granted)

    def between(self, first: int, end: int) -> list[int]:
        """Virtual page numbers from ``first`` to before ``end``, in order."""
        found = ffi.new("uint64_t[]", len(self))
        return sorted(found[0 : lib.pages_list(self.native, first, end, found, len(found))])

    def __getitem__(self, vpn: int) -> SpacePage:
        self.look(vpn)
        return SpacePage(self, vpn)

    def __iter__(self) -> Iterator[int]:
        return iter(self.between(0, TOP >> PAGE_SHIFT))

    def __len__(self) -> int:
        return self.counts().pages

    def __repr__(self) -> str:
        counts = self.counts()
        return f"<SpacePages {counts.pages}, {counts.mapped} of them mapped, {counts.granted} granted>"


class Space:
    """One address space, with its page table for devices.

    :param whole: backing of every address that is in no area; virtual address = address in the backing
    :param domain: whose table and ASID it uses, instead of its own

    :ivar pasid: its number for devices while it is bound
    :ivar asid: its tag in the TLB
    :ivar iovas: addresses for what is mapped in it for devices alone
    :ivar users: queues that are bound to it, by StreamID of their function
    :ivar alive: its program has not exited
    :ivar faults: page faults of devices in it, answered
    """

    def __init__(
        self,
        name: str,
        ram: Ram,
        frames: Frames,
        iommu: Iommu,
        *,
        whole: Backing | None = None,
        residency: Residency = Residency.MIRROR,
        domain: DmaDomain | None = None,
    ) -> None:
        self.name = name
        self.pasid: int | None = None
        self.asid = iommu.allocate_asid() if domain is None else domain.asid
        self.users: Counter[int] = Counter()
        self.alive = True
        self.faults = 0
        self.residency = residency
        self.table = PageTable(ram) if domain is None else domain.table
        self.pages = SpacePages(frames)
        self._whole = Area(0, TOP >> PAGE_SHIFT, whole) if whole is not None else None
        self._areas: list[Area] = []
        #: Areas with a source, by their first page, with the number of their users.
        self._supplied: dict[int, tuple[Area, int]] = {}
        self._frames = frames
        self._iommu = iommu
        self._vpns, self._complete = ffi.new("uint64_t[]", TOGETHER), ffi.new("bool *")
        self._domain = domain
        self.iovas = IovaAllocator()

    # What is where

    def add(self, area: Area) -> None:
        """Put an area in.

        :raises ValueError: it overlaps another, or is outside the addresses of programs
        """
        if not 0 <= area.start < area.end <= TOP >> PAGE_SHIFT:
            raise ValueError(
                f"area: expected pages below {TOP >> PAGE_SHIFT:#x}, got {area.start:#x}–{area.end:#x}"
            )
        index = bisect_right(self._areas, area.start, key=lambda other: other.start)
        for other in self._areas[max(index - 1, 0) : index + 1]:
            if area.start < other.end and other.start < area.end:
                raise ValueError(f"area: expected free addresses, got {area.start:#x}–{area.end:#x}, in use")
        self._areas.insert(index, area)

    def area(self, vpn: int) -> Area | None:
        """The area in which a virtual page lies."""
        index = bisect_right(self._areas, vpn, key=lambda area: area.start)
        if index and vpn < self._areas[index - 1].end:
            return self._areas[index - 1]
        whole = self._whole
        return whole if whole is not None and 0 <= vpn < whole.end else None

    def supply(self, vpn: int, pages: int, backing: Backing, source: PageSource) -> None:
        """Let a source supply the pages of a buffer, until :meth:`supply_no_more`; the calls count."""
        area, uses = self._supplied.get(vpn, (None, 0))
        if area is None:
            area = Area(vpn, vpn + pages, backing, vpn, source=source)
            self.add(area)
            # Frames of a buffer that was here before may not have gone yet; this source has not supplied their pages.
            self._take([at for at in self.pages.between(vpn, vpn + pages) if not area.supplied(at)])
        self._supplied[vpn] = (area, uses + 1)

    def supply_no_more(self, vpn: int) -> None:
        """One user less of the source of the buffer that begins at this page, if it has one."""
        if vpn in self._supplied:
            area, uses = self._supplied[vpn]
            if uses > 1:
                self._supplied[vpn] = (area, uses - 1)
            else:
                del self._supplied[vpn]
                self._areas.remove(area)

    def remove(self, start: int, end: int) -> None:
        """Unmap virtual pages [start, end): areas shrink, pages go from the table, caches are told, then a SYNC."""
        self._areas = [piece for area in self._areas for piece in _without(area, start, end)]
        self._take(self.pages.between(start, end))

    def discard(self, area: Area) -> None:
        """Take out one area, with the grants of all its pages: :meth:`remove`, for who remembers the area."""
        self._areas.remove(area)
        lib.pages_revoke_all(self.pages.native, area.start, area.end)
        self._frames.unsettled.add(self)
        self._take(self.pages.between(area.start, area.end))

    # Grants

    def grant(self, address: int, nbytes: int, writable: bool, resident: bool = False) -> None:
        """Let devices touch bytes [address, address + nbytes), until :meth:`revoke`.

        :param resident: bring all pages in now, whatever the residency of the space
        :raises OSError: EFAULT: outside the addresses of programs; or there is a page that cannot be brought in
        """
        if not 0 <= address < address + nbytes <= TOP:
            raise OSError(14, f"expected a buffer below {TOP:#x}, got {nbytes} bytes at {address:#x}")
        if self.residency is Residency.COLD and self._frames.unsettled:
            self._frames.settle()  # Pages of a buffer that was here before are touched for the first time, too.
        count = lib.pages_grant(
            self.pages.native, address, nbytes, writable, self._vpns, TOGETHER, self._complete
        )
        if count < 0:
            raise MemoryError(f"no memory to grant {nbytes} bytes")
        try:
            if count:
                self._make_writable(self._upgraded(count, address, nbytes))
            if not self._complete[0] or self.residency is Residency.PINNED:
                self._bring_in(address, nbytes, writable, resident)
        except BaseException:
            self.revoke(address, nbytes, writable)
            raise

    def _upgraded(self, count: int, address: int, nbytes: int) -> list[int]:
        """The pages that are to become writable: what :func:`pages_grant` found; or, of very many, all it may be."""
        if count <= TOGETHER:
            return list(self._vpns[0:count])
        return self.pages.between(address >> PAGE_SHIFT, (address + nbytes - 1 >> PAGE_SHIFT) + 1)

    def _bring_in(self, address: int, nbytes: int, writable: bool, resident: bool) -> None:
        if self.residency is Residency.COLD and not resident:
            return
        vpn, count = address >> PAGE_SHIFT, pages_of((address & PAGE - 1) + nbytes)
        self._make_present(vpn, count, writable, populate=resident or self.residency is Residency.PINNED)
        if resident and any(self.pages.look(at).frame < 0 for at in range(vpn, vpn + count)):
            raise OSError(
                14, f"expected {nbytes} bytes at {address:#x} that can be had, got a page that cannot"
            )

    def revoke(self, address: int, nbytes: int, writable: bool) -> None:
        """Take back one grant. Its pages go from the table with :meth:`settle`, unless they are granted again.

        :raises ValueError: it was not granted
        """
        if not lib.pages_revoke(self.pages.native, address, nbytes, writable):
            raise ValueError(f"revoke: expected a grant, got {nbytes} bytes at {address:#x}, which have none")
        self._frames.unsettled.add(self)

    def settle(self) -> None:
        """Unmap pages whose last grant went. Before the next access of any device, so that it faults there."""
        while lib.pages_have_idle(self.pages.native):
            self._forget(lib.pages_take_idle(self.pages.native, self._vpns, TOGETHER))

    def granted(self) -> int:
        """Pages with at least one grant."""
        return self.pages.counts().granted

    # Pages

    def _make_present(self, vpn: int, count: int, writable: bool, populate: bool) -> None:
        while count:
            area = self.area(vpn)
            here = min(count, area.end - vpn) if area is not None else count
            if area is not None:
                page = vpn - area.start + area.page
                supplied = populate and all(map(area.supplied, range(vpn, vpn + here)))
                there = supplied and area.backing.populate(page, here, writable and area.writable)
                found = b"\1" * here if there else area.backing.present(page, here)
                if area.source is not None:
                    found = bytes(flag and area.supplied(at) for at, flag in enumerate(found, vpn))
                self._map(vpn, area, found)
            vpn += here
            count -= here

    def _map(self, vpn: int, area: Area, wanted: bytes) -> None:
        """Map pages from ``vpn`` on that are granted and have no frame, where ``wanted`` says so.

        :raises MemoryError: every frame is in use, or there is no memory for the tables
        """
        done = 0
        while done < len(wanted):
            at = vpn + done
            here = min(len(wanted) - done, LEAF_ENTRIES - at % LEAF_ENTRIES)
            part = wanted[done : done + here]
            if any(part):
                # The tables first: if there is no memory for them, nothing is half done.
                entries = self.table.host_entry(at)
                answer = lib.pages_map(
                    self.pages.native, at, here, part, self._frames.number_of(area.backing),
                    at - area.start + area.page, area.writable, entries, _BITS,
                )  # fmt: skip
                self._frames.checked(answer)
            done += here

    def _map_neighbours(self, vpn: int, area: Area) -> None:
        """What came with the page from its source: one that was asked for once must not fault twice."""
        if area.source is None:
            return
        pages = area.source.page_size >> PAGE_SHIFT
        first = area.start + area.number(vpn) * pages
        self._map(first, area, b"\1" * (min(first + pages, area.end) - first))

    def _make_writable(self, vpns: Sequence[int]) -> None:
        changed = []
        for vpn in vpns:
            area = self.area(vpn)
            if area is not None and area.writable and lib.pages_make_writable(self.pages.native, vpn, _BITS):
                changed.append(vpn)
        if changed:
            # The TLB may hold the page as read-only.
            self._iommu.invalidate(self.asid, changed)
            self._frames.release_quarantined()

    def _take(self, vpns: Sequence[int]) -> None:
        """Clear entries, invalidate, SYNC, and only then let the frames have new owners."""
        for first in range(0, len(vpns), TOGETHER):
            some = vpns[first : first + TOGETHER]
            self._forget(lib.pages_take(self.pages.native, some, len(some), self._vpns))

    def _forget(self, count: int) -> None:
        """The entries of ``count`` pages have been cleared; nobody may remember them."""
        if count:
            self._iommu.invalidate(self.asid, self._vpns[0:count])
            self._frames.release_quarantined()

    def resolve(self, vpn: int, write: bool) -> bool:
        """What the kernel does for a page fault: check, bring in, map; whether the access may be tried again.

        A page of an area with a source must have been supplied before.
        """
        page, area = self._granted(vpn), self.area(vpn)
        if not self.alive or page is None or area is None:
            return False
        if write and not (area.writable and page.grants_write()):
            return False
        if (frame := page.frame) is not None and (page.writable or not write):
            self._mend(vpn, frame.pa, page.writable)
            return True  # Another access of the same page was faster.
        if not area.supplied(vpn) or not area.backing.populate(vpn - area.start + area.page, 1, write):
            return False
        if frame is None:
            with contextlib.suppress(MemoryError):  # No memory is a refusal.
                self._map(vpn, area, b"\1")
                self._map_neighbours(vpn, area)
        else:
            self._make_writable([vpn])
        return page.frame is not None and (page.writable or not write)

    def _granted(self, vpn: int) -> SpacePage | None:
        """A page, if it has a grant."""
        page = self.pages.get(vpn)
        return page if page is not None and page.grants else None

    def populating(self, vpn: int, write: bool) -> Callable[[], object] | None:
        """What brings an absent page in and may take long; it needs no lock. ``None``: nothing of that kind."""
        area = self.area(vpn)
        if not self.alive or area is None or not area.supplied(vpn) or self._granted(vpn) is None:
            return None
        backing, number = area.backing, vpn - area.start + area.page
        if backing.present(number, 1)[0]:
            return None
        return lambda: backing.populate(number, 1, write)

    def _mend(self, vpn: int, pa: int, writable: bool) -> None:
        descriptor = page_descriptor(pa, writable)
        if self.table.get(vpn) != descriptor:
            self.table.set(vpn, descriptor)
            self._iommu.invalidate(self.asid, [vpn])

    def awaits(self, vpn: int) -> Area | None:
        """The area whose source has to supply this page first; ``None``: none has to, or it is not granted."""
        area = self.area(vpn)
        return (
            area if area is not None and not area.supplied(vpn) and self._granted(vpn) is not None else None
        )

    # Life

    def exit(self) -> None:
        """Its program ends: every page goes, and faults that arrive from now on are refused.

        Devices that still use it do not fault any more, they are aborted, and nobody hears of it. An address space without a
        PASID of its own has no descriptor of its own either, so there only its pages go.
        """
        if self.alive and self.pasid:
            self._iommu.silence(self.pasid, self.asid)
        self.alive = False
        lib.pages_revoke_all(self.pages.native, 0, TOP >> PAGE_SHIFT)
        self.settle()

    def close(self) -> None:
        """Give back tables and frames. It must not be bound any more."""
        self.exit()
        if self._domain is None:
            self.table.close()
            self._iommu.free_asid(self.asid)

    def __repr__(self) -> str:
        counts = self.pages.counts()
        return (
            f"<Space {self.name}: PASID {self.pasid}, ASID {self.asid}, {counts.mapped} pages mapped, "
            f"{counts.granted} granted, {self.users.total()} queues{'' if self.alive else ', gone'}>"
        )


def _without(area: Area, start: int, end: int) -> list[Area]:
    """What is left of an area when pages [start, end) go."""
    if end <= area.start or area.end <= start:
        return [area]
    left = []
    if area.start < start:
        left.append(Area(area.start, start, area.backing, area.page, area.writable, area.source))
    if end < area.end:
        page = area.page + end - area.start
        left.append(Area(end, area.end, area.backing, page, area.writable, area.source))
    return left

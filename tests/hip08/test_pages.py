"""The pages of a space and their frames, which are in C, against a model of a few lines: step by step, and each access."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from wdasync_hip08._native import ffi
from wdasync_hip08.backings import Memfd
from wdasync_hip08.frames import MOST, Frames, FrameState, Grant
from wdasync_hip08.kernel.iommu import Iommu
from wdasync_hip08.kernel.pagetable import page_descriptor
from wdasync_hip08.kernel.spaces import Area, Residency, Space
from wdasync_hip08.memory import PAGE, BusError
from wdasync_hip08.options import Options

BASE, FIRST, PAGES = 1 << 40, 0x500, 12
#: A border between two backings, and between a part that may be written and one that may not.
BORDER, READ_ONLY = FIRST + 5, FIRST + 9
START, END = FIRST * PAGE, (FIRST + PAGES) * PAGE


@dataclass
class ModelPage:
    grants: list[Grant] = field(default_factory=list)
    writable: bool = False
    mapped: bool = False


def parts(address: int, nbytes: int, writable: bool) -> list[tuple[int, Grant]]:
    """Page by page."""
    found = []
    for vpn in range(address // PAGE, (address + nbytes - 1) // PAGE + 1):
        first, end = max(address - vpn * PAGE, 0), min(address + nbytes - vpn * PAGE, PAGE)
        found.append((vpn, (first, end, writable)))
    return found


class Model:
    """What a mirroring space has to do, whose backings hold all pages but the absent ones."""

    def __init__(self) -> None:
        self.pages: dict[int, ModelPage] = {}
        self.absent: set[int] = set()

    def grant(self, address: int, nbytes: int, writable: bool) -> None:
        for vpn, part in parts(address, nbytes, writable):
            page = self.pages.setdefault(vpn, ModelPage())
            page.grants.append(part)
            may = vpn < READ_ONLY and any(write for _, _, write in page.grants)
            if vpn not in self.absent:
                page.mapped = True
            if page.mapped:
                page.writable = may or page.writable

    def revoke(self, address: int, nbytes: int, writable: bool) -> None:
        for vpn, part in parts(address, nbytes, writable):
            self.pages[vpn].grants.remove(part)

    def settle(self) -> None:
        self.pages = {vpn: page for vpn, page in self.pages.items() if page.grants}

    def allows(self, address: int, nbytes: int, write: bool) -> int:
        """Bytes from the first on whose pages let all of them be touched that are asked for."""
        for vpn, (first, end, _) in parts(address, nbytes, write):
            granted = bytearray(PAGE)
            for low, high, writable in self.pages[vpn].grants:
                if writable or not write:
                    granted[low:high] = b"\1" * (high - low)
            if not all(granted[first:end]):
                return max(vpn * PAGE - address, 0)
        return nbytes


@pytest.fixture(scope="module")
def machine() -> Iterator[object]:
    from wdasync_hip08.machine import Machine

    machine = Machine(Options(clock="virtual", ram=32))
    yield machine
    machine.close()


RANGES = st.integers(START, END - 1).flatmap(
    lambda address: st.tuples(
        st.just(address),
        st.integers(1, END - address) | st.integers(1, min(PAGE, END - address)),
        st.booleans(),
    )
)
STEPS = st.lists(
    st.tuples(st.just("grant"), RANGES)
    | st.tuples(st.just("revoke"), st.integers(0, 1 << 16))
    | st.tuples(st.just("settle"))
    | st.tuples(st.just("absent"), st.integers(FIRST, FIRST + PAGES - 1))
    | st.tuples(
        st.just("access"), st.integers(0, 1 << 16), st.integers(-9, 9), st.integers(-9, 9), st.booleans()
    ),
    max_size=30,
)


def same(space: Space, model: Model) -> None:
    assert list(space.pages) == sorted(model.pages)
    for vpn, page in model.pages.items():
        found = space.pages[vpn]
        assert found.grants == page.grants
        assert (found.frame is not None) == page.mapped
        if found.frame is None:
            assert space.table.get(vpn) == 0
            continue
        assert found.writable == page.writable
        assert space.table.get(vpn) == page_descriptor(found.frame.pa, page.writable)
        assert found.frame.state is FrameState.LIVE
        assert found.frame.grants == page.grants
        assert found.frame.page == vpn - (FIRST if vpn < BORDER else BORDER)
    counts = space.pages.counts()
    assert counts.mapped == sum(page.mapped for page in model.pages.values())
    assert counts.granted == sum(bool(page.grants) for page in model.pages.values())


def access(frames: Frames, space: Space, model: Model, address: int, nbytes: int, write: bool) -> str:
    """An access whose translations are right gets exactly the bytes that are granted, or none."""
    vpns = range(address // PAGE, (address + nbytes - 1) // PAGE + 1)
    pas = ffi.new("uint64_t[]", MOST)
    for index, vpn in enumerate(vpns):
        frame = space.pages[vpn].frame if vpn in model.pages else None
        if frame is None:
            return "no frame"
        pas[index] = frame.pa + (address % PAGE if not index else 0)
    allowed = model.allows(address, nbytes, write)
    violations = frames.guard_violations
    data = bytes((address + index) % 251 for index in range(nbytes))
    try:
        if write:
            frames.write_pages(pas, len(vpns), data)
        assert frames.read_pages(pas, len(vpns), nbytes) == data
    except BusError as error:
        refused = error
    else:
        assert allowed == nbytes
        return "carried out"
    assert allowed < nbytes
    assert frames.guard_violations == violations + 1
    assert refused.pa == pas[(address + allowed) // PAGE - address // PAGE]
    return "refused"


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_a_space_is_its_model(machine: object, steps: list[tuple[object, ...]]) -> None:
    from wdasync_hip08.machine import Machine

    assert isinstance(machine, Machine)
    frames, iommu, model = machine.chip.frames, machine.iommu, Model()
    assert isinstance(iommu, Iommu)
    live = frames.live
    space = Space("model", machine.chip.memory.ram, frames, iommu, residency=Residency.MIRROR)
    first, second = Memfd(5 * PAGE), Memfd((PAGES - 5) * PAGE)
    space.add(Area(FIRST, BORDER, first))
    space.add(Area(BORDER, READ_ONLY, second))
    space.add(Area(READ_ONLY, FIRST + PAGES, second, READ_ONLY - BORDER, writable=False))
    content = bytes(address % 251 for address in range(START, END))
    first.poke(0, content[: 5 * PAGE])
    second.poke(0, content[5 * PAGE :])
    grants: list[tuple[int, int, bool]] = []
    try:
        for what, *arguments in steps:
            match what, arguments:
                case "grant", [(int(address), int(nbytes), bool(writable))]:
                    space.grant(address, nbytes, writable)
                    model.grant(address, nbytes, writable)
                    grants.append((address, nbytes, writable))
                case "revoke", [int(choice)] if grants:
                    grant = grants.pop(choice % len(grants))
                    space.revoke(*grant)
                    model.revoke(*grant)
                case "settle", []:
                    space.settle()
                    model.settle()
                    assert frames.quarantined == 0
                case "absent", [int(vpn)]:
                    model.absent.add(vpn)
                    (first if vpn < BORDER else second).absent.add(vpn - (FIRST if vpn < BORDER else BORDER))
                case "access", [int(choice), int(before), int(behind), bool(write)] if grants:
                    address, nbytes, _ = grants[choice % len(grants)]
                    begin, end = max(address + before, START), min(address + nbytes + behind, END)
                    if begin < end:
                        event(access(frames, space, model, begin, end - begin, write))
            same(space, model)
    finally:
        space.close()
        first.close()
        second.close()
    assert frames.live == live
    assert not len(space.pages)


def test_what_was_not_granted_is_not_revoked(machine: object) -> None:
    from wdasync_hip08.machine import Machine

    assert isinstance(machine, Machine)
    space = machine.new_space("one")
    space.grant(START, 3 * PAGE, True)
    for address, nbytes, writable in (
        (START, 3 * PAGE, False),
        (START, 3 * PAGE - 1, True),
        (START + 1, 3 * PAGE, True),
        (START, 4 * PAGE, True),
    ):
        with pytest.raises(ValueError, match="expected a grant"):
            space.revoke(address, nbytes, writable)
        assert space.granted() == 3
    space.revoke(START, 3 * PAGE, True)
    assert space.granted() == 0
    space.close()


def test_frames_outlive_their_window_no_longer_than_their_spaces(machine: object) -> None:
    """A space that is dropped while a page of it is mapped leaves a frame that aborts, not one that dangles."""
    from wdasync_hip08.machine import Machine

    assert isinstance(machine, Machine)
    frames = machine.chip.frames
    space = machine.new_space("dropped")
    machine.map_memory(space, START, PAGE)
    space.grant(START, PAGE, True)
    frame = space.pages[FIRST].frame
    assert frame is not None
    frames.write(frame.pa, b"there")
    stale = frames.stale_access
    del space
    assert frame.state is FrameState.QUARANTINED
    with pytest.raises(BusError):
        frames.read(frame.pa, 5)
    assert frames.stale_access == stale + 1
    frames.release_quarantined()


def test_many_pages_and_many_grants(machine: object) -> None:
    from wdasync_hip08.machine import Machine

    assert isinstance(machine, Machine)
    space, pages = machine.new_space("large"), 10_000
    machine.map_memory(space, START, pages * PAGE)
    space.grant(START, pages * PAGE, False)
    assert space.pages.counts() == (pages, pages, pages)
    for index in range(100):
        space.grant(START + index, 10, False)
    assert len(space.pages[FIRST].grants) == 101
    space.grant(START, pages * PAGE, True)
    assert all(page.writable for page in list(space.pages.values())[::97])
    space.revoke(START, pages * PAGE, True)
    space.revoke(START, pages * PAGE, False)
    for index in range(100):
        space.revoke(START + index, 10, False)
    space.settle()
    assert not len(space.pages)
    assert machine.chip.frames.quarantined == 0
    space.close()


def test_without_frames_a_grant_leaves_nothing_behind(machine: object) -> None:
    from wdasync_hip08.machine import Machine

    assert isinstance(machine, Machine)
    frames = Frames(BASE, bits=2)
    space = Space("poor", machine.chip.memory.ram, frames, machine.iommu)
    memory = Memfd(8 * PAGE)
    space.add(Area(FIRST, FIRST + 8, memory))
    with pytest.raises(MemoryError, match="all 4 in use"):
        space.grant(START, 8 * PAGE, True)
    assert space.granted() == 0
    space.grant(
        START, 4 * PAGE, True
    )  # What was mapped goes with the next settling; these are the same pages.
    assert space.granted() == 4
    space.close()
    memory.close()

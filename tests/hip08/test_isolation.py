"""Address spaces that share a chip and never a byte."""

import gzip
import random
from collections.abc import Callable
from typing import Any

import pytest

from wdasync_hip08.functions import ZIP
from wdasync_hip08.kernel.pagetable import page_descriptor
from wdasync_hip08.kernel.spaces import Space
from wdasync_hip08.machine import Machine
from wdasync_hip08.memory import PAGE
from wdasync_hip08.smmu.commands import Opcode
from wdasync_hip08.smmu.configuration import Configuration
from wdasync_hip08.smmu.invalidation import TLBI_SCOPES, Invalidations

VA = 0x7000_0000_0000
PAGES = 6


def gunzip(body: bytes) -> bytes:
    return gzip.decompress(bytes.fromhex("1f8b0800000000000003") + body)


class Owner:
    """A program with its own memory at the addresses that all others have too. Each page bears its name."""

    def __init__(self, machine: Machine, number: int, driver: Any) -> None:
        self.number = number
        self.machine = machine
        self.space: Space = machine.new_space(f"owner {number}")
        self.memory = machine.map_memory(self.space, VA, (PAGES + 4) * PAGE)
        for page in range(PAGES):
            self.memory.poke(page * PAGE, self.content(page))
        self.space.grant(VA, (PAGES + 4) * PAGE, writable=True)
        self.new_driver = driver
        self.driver: Any = None

    def content(self, page: int) -> bytes:
        return f"page {page} of owner {self.number}. ".encode() * 100

    def bind(self) -> None:
        self.driver = self.new_driver(self.machine, space=self.space)

    def unbind(self) -> None:
        self.driver.file.close()
        self.driver = None

    def move(self, page: int) -> None:
        """The kernel moves a page: another frame, the old one is somebody else's soon."""
        self.space._take([(VA >> 12) + page])
        self.space.resolve((VA >> 12) + page, write=False)

    def work(self, pages: list[int]) -> None:
        out = VA + PAGES * PAGE
        for page in pages:
            length = len(self.content(page))
            entry = self.driver.entry(VA + page * PAGE, length, out, 4 * PAGE, tag=self.number)
            (sqe,) = self.driver.run(entry)
            assert sqe[3] == 0, f"status {sqe[3]:#x}"
            assert sqe[13] == self.number
            assert gunzip(self.memory.peek(PAGES * PAGE, sqe[1])) == self.content(page)


def live_together(machine: Machine, driver: Any, owners: int, rounds: int, seed: int) -> None:
    """Random work in spaces with equal addresses, pages that move, PASIDs that change hands."""
    choose = random.Random(seed)
    everybody = [Owner(machine, number, driver) for number in range(owners)]
    for owner in everybody:
        owner.bind()
    for _ in range(rounds):
        owner = choose.choice(everybody)
        match choose.randrange(10):
            case 0:
                others = choose.sample(everybody, 3)
                for other in others:
                    other.unbind()
                for other in reversed(others):
                    other.bind()
            case 1 | 2:
                owner.work([0, 1])
                owner.move(0)
                choose.choice(everybody).move(1)
                owner.work([0, 1])
            case _:
                owner.work([choose.randrange(PAGES)] * 8)
    assert machine.chip.frames.stale_access == 0
    assert machine.chip.frames.guard_violations == 0
    for owner in everybody:
        owner.unbind()


def test_no_foreign_byte_ever(new_machine: Any, raw_driver: Any) -> None:
    machine = new_machine(queues=64, tlb_entries=64)
    live_together(machine, raw_driver, owners=64, rounds=150, seed=1)
    counters = machine.chip.smmu.statistics
    assert counters.tlb_hits / (counters.tlb_hits + counters.tlb_misses) > 0.8
    assert counters.tlb_evictions > 64
    assert not machine.bindings.pasids.used
    assert machine.lost("hisi_zip-0") is None


def no_asid(monkeypatch: pytest.MonkeyPatch) -> None:
    tags = Configuration._tags

    def one_for_all(self: Configuration, ste: Any, cd: Any) -> Any:
        own, common = tags(self, ste, cd)
        return own._replace(asid=0 if own.asid is not None else None), common

    monkeypatch.setattr(Configuration, "_tags", one_for_all)


def no_tlbi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TLBI_SCOPES, Opcode.TLBI_NH_VA, lambda command, entry: False)


def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Invalidations, "complete", lambda self: 0)


def no_cfgi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Configuration, "invalidate_context", lambda self, sid, index: None)


@pytest.mark.parametrize("memory", ["sva", "private", "reserved"])
def test_the_sound_model_passes_what_the_broken_ones_fail(
    new_machine: Any, raw_driver: Any, memory: str
) -> None:
    live_together(new_machine(queues=64, memory=memory), raw_driver, owners=8, rounds=60, seed=2)


@pytest.mark.parametrize("mutate", [no_asid, no_tlbi, no_sync, no_cfgi])
def test_a_broken_model_is_found_out(
    new_machine: Any, raw_driver: Any, monkeypatch: pytest.MonkeyPatch, mutate: Callable[..., None]
) -> None:
    mutate(monkeypatch)
    machine = new_machine(queues=64)
    with pytest.raises(AssertionError):
        live_together(machine, raw_driver, owners=8, rounds=60, seed=2)


class TestNoWayRoundTheSmmu:
    def test_the_other_frame_is_what_is_read(self, machine: Machine, raw_driver: Any) -> None:
        mine, other = Owner(machine, 1, raw_driver), Owner(machine, 2, raw_driver)
        mine.bind()
        page = other.space.pages[VA >> 12]
        assert page.frame is not None
        mine.space.table.set(VA >> 12, page_descriptor(page.frame.pa, writable=False))
        out = VA + PAGES * PAGE
        (sqe,) = mine.driver.run(mine.driver.entry(VA, 1000, out, 4 * PAGE))
        assert gunzip(mine.memory.peek(PAGES * PAGE, sqe[1])) == other.content(0)[:1000]

    def test_the_ledger_knows_every_byte(self, new_machine: Any, raw_driver: Any) -> None:
        machine = new_machine()
        owners = [Owner(machine, number, raw_driver) for number in range(3)]
        for owner in owners:
            owner.bind()
        port = machine.chip.blocks[ZIP.name].port
        before = dict(port.ledger.read), dict(port.ledger.written)
        out, made = VA + PAGES * PAGE, {}
        for owner in owners:
            sqes = owner.driver.run(*[owner.driver.entry(VA, 3000, out, 4 * PAGE)] * 5)
            made[owner.space.pasid] = sum(sqe[1] for sqe in sqes)
        entries = 3 * 5
        read = {key: n - before[0].get(key, 0) for key, n in port.ledger.read.items()}
        written = {key: n - before[1].get(key, 0) for key, n in port.ledger.written.items()}
        assert read == {None: entries * 128} | dict.fromkeys(made, 5 * 3000)
        assert written == {None: entries * (128 + 16)} | made

    def test_physical_addresses_are_not_virtual_ones(self, machine: Machine, raw_driver: Any) -> None:
        owner = Owner(machine, 1, raw_driver)
        frames = [page.frame for page in owner.space.pages.values()]
        assert all(frame is not None and frame.pa >> 40 for frame in frames)
        numbers = [frame.number for frame in frames if frame is not None]
        assert numbers != sorted(numbers)

    def test_without_user_signals_data_have_no_pasid(self, machine: Machine, raw_driver: Any) -> None:
        owner = Owner(machine, 1, raw_driver)
        owner.bind()
        machine.chip.memory.write32(0x2_1000_0000 + 0x301128, 0x40001070)
        (sqe,) = owner.driver.run(owner.driver.entry(VA, 1000, VA + PAGES * PAGE, 4 * PAGE))
        assert sqe[3] == 3  # The function's own addresses have nothing there, and do not stall.
        assert machine.faults.counters.taken == 0
        assert machine.faults.counters.other_events

"""What the TLB and the configuration caches may remember, and what they must forget, and when.

Software that changes a table and forgets the invalidation, or the SYNC behind it, is to be found out: so these tests
ask that what was cached is really used, and that it is gone after the command and its SYNC and not before.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from .support import (
    AF,
    CONTIGUOUS,
    IDR,
    NG,
    READ_ONLY,
    RW,
    STREAM_TABLE,
    USER,
    AddressSpace,
    Faulted,
    Rig,
    Translated,
    cmd,
    make_cd,
    make_ste,
)
from .test_mutations import tries

VA = 0x1234_5678_9000
OLD, NEW = 0x8_0000_0000, 0x9_0000_0000
GLOBAL = RW & ~NG


def one_stream(**options: object) -> tuple[Rig, AddressSpace]:
    rig = Rig(options={"caches": True} | options)
    space = rig.space(asid=7)
    rig.attach(0x10, space)
    return rig, space


def hit(rig: Rig, va: int, op: str = "R", **who: object) -> bool:
    outcome = rig.access(va, op, **who)  # type: ignore[arg-type]  # R, W or X
    assert isinstance(outcome, Translated), outcome
    return outcome.tlb_hit


# Translations ---------------------------------------------------------------------------------------------------------


def test_a_translation_is_remembered_until_tlbi_and_sync() -> None:
    rig, space = one_stream()
    space.map(VA, OLD)
    assert not hit(rig, VA)
    assert hit(rig, VA)
    space.map(VA, NEW)
    assert rig.pa(VA) == OLD
    rig.command(cmd.nh_va(VA, 7))
    assert rig.pa(VA) == OLD, "an invalidation is complete with its SYNC, not before"
    rig.sync()
    assert rig.pa(VA) == NEW


def test_without_caches_every_access_sees_the_tables_as_they_are() -> None:
    rig, space = one_stream(caches=False)
    space.map(VA, OLD)
    assert rig.pa(VA) == OLD
    space.map(VA, NEW)
    assert rig.pa(VA) == NEW
    space.unmap(VA)
    assert rig.fault(VA).event == 0x10


@dataclass
class Scope:
    """Where things are in a rig with two ASIDs, two VMIDs, a global page and a neighbour page."""

    name: str
    command: tuple[int, int]
    gone: set[str]


#: Who is remembered in the rig of the next test.
PLACES = ("a", "a neighbour", "b", "a global", "other vmid")
SCOPES = [
    Scope("NH_VA", cmd.nh_va(VA, 7), {"a"}),
    Scope("NH_VA of another ASID", cmd.nh_va(VA, 9), set()),
    Scope("NH_VA of another VMID", cmd.nh_va(VA, 7, vmid=3), set()),
    Scope("NH_VA of a global page, any ASID", cmd.nh_va(VA + 0x5000, 0x777), {"a global"}),
    Scope("NH_VAA", cmd.nh_vaa(VA), {"a", "b"}),
    Scope("NH_VAA of a global page", cmd.nh_vaa(VA + 0x5000), {"a global"}),
    Scope("NH_ASID keeps globals", cmd.nh_asid(7), {"a", "a neighbour"}),
    Scope("NH_ASID of the other VMID", cmd.nh_asid(7, vmid=1), {"other vmid"}),
    Scope("NH_ALL", cmd.nh_all(), {"a", "a neighbour", "b", "a global"}),
    Scope("NH_ALL of the other VMID", cmd.nh_all(vmid=1), {"other vmid"}),
    Scope("S12_VMALL", cmd.s12_vmall(), {"a", "a neighbour", "b", "a global"}),
    Scope("NSNH_ALL", cmd.nsnh_all(), set(PLACES)),
    Scope("not leaf only", cmd.nh_va(VA, 7, leaf=0), {"a"}),
    Scope("CFGI_ALL touches no translation", cmd.cfgi_all(), set()),
]


@pytest.mark.parametrize("scope", SCOPES, ids=lambda s: s.name)
def test_scope_of_each_invalidation(scope: Scope) -> None:
    rig = Rig(options={"caches": True})
    spaces = {"a": rig.space(asid=7), "b": rig.space(asid=8), "other vmid": rig.space(asid=7)}
    streams = {"a": (0x10, 0), "b": (0x11, 0), "other vmid": (0x12, 1)}
    for name, (sid, vmid) in streams.items():
        rig.attach(sid, spaces[name])
        rig.memory[STREAM_TABLE + 64 * sid + 16] = vmid
        spaces[name].map(VA, OLD)
    spaces["a"].map(VA + 0x1000, OLD + 0x1000)
    spaces["a"].map(VA + 0x5000, OLD + 0x5000, GLOBAL)
    where = {
        "a": (0x10, VA),
        "a neighbour": (0x10, VA + 0x1000),
        "b": (0x11, VA),
        "a global": (0x10, VA + 0x5000),
        "other vmid": (0x12, VA),
    }
    for sid, va in where.values():
        rig.pa(va, sid=sid)
    rig.sync(scope.command)
    gone = {place for place, (sid, va) in where.items() if not hit(rig, va, sid=sid)}
    assert gone == scope.gone


def test_equal_addresses_in_two_spaces_never_meet() -> None:
    """Two SubstreamIDs of one stream, the same VA, different ASIDs."""
    rig = Rig(options={"caches": True})
    table = rig.cd_table(16)
    rig.set_ste(0x10, make_ste(cd=table, cdmax=4))
    for ssid, frame in ((5, OLD), (6, NEW)):
        space = rig.space(asid=ssid)
        space.map(VA, frame)
        rig.set_cd(table, ssid, space.cd())
    for _ in range(2):
        assert rig.pa(VA, ssid=5) == OLD
        assert rig.pa(VA, ssid=6) == NEW


def test_streams_with_one_asid_share_entries_and_one_invalidation_is_enough() -> None:
    """Two accelerators bound to one process: the same lines of the TLB, and one TLBI for both."""
    rig = Rig(options={"caches": True})
    space = rig.space(asid=7)
    for sid in (0x10, 0x11):
        rig.attach(sid, space)
    space.map(VA, OLD)
    assert not hit(rig, VA, sid=0x10)
    assert hit(rig, VA, sid=0x11)
    space.map(VA, NEW)
    rig.sync(cmd.nh_va(VA, 7))
    assert rig.pa(VA, sid=0x10) == NEW
    assert rig.pa(VA, sid=0x11) == NEW


def test_a_global_entry_serves_every_asid_of_its_vmid_and_no_other() -> None:
    rig = Rig(options={"caches": True})
    for sid, asid, vmid in ((0x10, 7, 0), (0x11, 8, 0), (0x12, 7, 1)):
        space = rig.space(asid=asid)
        rig.attach(sid, space)
        rig.memory[STREAM_TABLE + 64 * sid + 16] = vmid
        space.map(VA, OLD, GLOBAL)
    assert not hit(rig, VA, sid=0x10)
    assert hit(rig, VA, sid=0x11)
    assert not hit(rig, VA, sid=0x12)


IDENTITIES = st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
LOOKALIKES = [
    (0, 0),
    (0, 1),
    (1, 0),
    (0, 0x100),
    (0x100, 0),
    (1, 0xFFFF),
    (0xFFFF, 1),
    (0xFFFF, 0xFFFF),
    (0x7FFF, 0x8000),
]


@tries(80)
@given(st.lists(IDENTITIES | st.sampled_from(LOOKALIKES), min_size=2, max_size=10, unique=True))
@example(LOOKALIKES)
def test_spaces_are_told_apart_by_all_of_vmid_and_asid(identities: list[tuple[int, int]]) -> None:
    """Equal addresses in streams that differ in one bit of VMID or ASID; one invalidation takes one of them."""
    rig = Rig(options={"caches": True})
    for n, (vmid, asid) in enumerate(identities):
        space = rig.space(asid=asid)
        rig.attach(n, space)
        rig.memory[STREAM_TABLE + 64 * n + 16] = vmid
        space.map(VA, OLD + n * 0x1000)
    for n in range(len(identities)):
        assert rig.pa(VA, sid=n) == OLD + n * 0x1000
    for n in range(len(identities)):
        assert hit(rig, VA, sid=n)
        assert rig.pa(VA, sid=n) == OLD + n * 0x1000
    vmid, asid = identities[0]
    rig.sync(cmd.nh_va(VA, asid, vmid))
    assert [hit(rig, VA, sid=n) for n in range(len(identities))] == [False] + [True] * (len(identities) - 1)
    rig.sync(cmd.nh_asid(asid, vmid))
    assert [hit(rig, VA, sid=n) for n in range(len(identities))] == [False] + [True] * (len(identities) - 1)


def test_without_stage_2_there_are_no_vmids() -> None:
    rig = Rig(idr=IDR | {"IDR0": IDR["IDR0"] & ~1}, options={"caches": True})
    space = rig.space(asid=7)
    for sid, vmid in ((0x10, 0), (0x11, 5)):
        rig.attach(sid, space)
        rig.memory[STREAM_TABLE + 64 * sid + 16] = vmid
    space.map(VA, OLD)
    assert not hit(rig, VA, sid=0x10)
    assert hit(rig, VA, sid=0x11)
    rig.sync(cmd.nh_asid(7))
    assert not hit(rig, VA, sid=0x11)


def test_stage_1_and_stage_2_entries_of_one_vmid_are_apart() -> None:
    """The same number as a virtual address with ASID 0 and as an intermediate one."""
    rig, _, _ = guest(0b110)
    space = rig.space(asid=0)
    rig.attach(0x11, space)
    rig.memory[STREAM_TABLE + 64 * 0x11 + 16] = 3
    space.map(GUEST, OLD)
    for _ in range(2):
        assert rig.pa(GUEST) == HOST
        assert rig.pa(GUEST, sid=0x11) == OLD
    rig.sync(cmd.nh_asid(0, vmid=3))
    assert hit(rig, GUEST)
    assert not hit(rig, GUEST, sid=0x11)
    rig.sync(cmd.s2_ipa(GUEST, vmid=3))
    assert hit(rig, GUEST, sid=0x11)
    assert not hit(rig, GUEST)


def test_the_tlb_of_the_default_has_sixty_four_entries() -> None:
    rig = Rig()
    space = rig.space(asid=7)
    rig.attach(0x10, space)
    for n in range(65):
        space.map(VA + n * 0x1000, OLD + n * 0x1000)
    for n in range(64):
        rig.pa(VA + n * 0x1000)
    assert all(hit(rig, VA + n * 0x1000) for n in range(64))
    rig.pa(VA + 64 * 0x1000)
    assert not hit(rig, VA)


def test_command_invalidation_disregards_aset() -> None:
    rig = Rig(options={"caches": True})
    space = rig.space(asid=7)
    space.map(VA, OLD)
    for sid, aset in ((0x10, 0), (0x11, 1)):
        rig.attach(sid, space, aset=aset)
        rig.pa(VA, sid=sid)
    rig.sync(cmd.nh_asid(7))
    space.map(VA, NEW)
    assert rig.pa(VA, sid=0x10) == NEW
    assert rig.pa(VA, sid=0x11) == NEW


# What must never be remembered ----------------------------------------------------------------------------------------


def test_an_absent_page_is_not_remembered() -> None:
    rig, space = one_stream()
    assert rig.fault(VA).event == 0x10
    space.map(VA, OLD)
    assert rig.pa(VA) == OLD


def test_a_clear_access_flag_is_not_remembered() -> None:
    rig, space = one_stream()
    slot = space.map(VA, OLD, RW & ~AF)
    assert rig.fault(VA).event == 0x12
    rig.memory[slot] |= AF
    assert rig.pa(VA) == OLD


def test_an_invalid_table_above_the_page_is_not_remembered() -> None:
    rig, space = one_stream()
    space.map(VA, OLD)
    slot = space.slot(VA, level=1)
    table, rig.memory[slot] = rig.memory[slot], 0
    assert rig.fault(VA).level == 1
    rig.memory[slot] = table
    assert rig.pa(VA) == OLD


def test_rights_are_checked_on_every_hit() -> None:
    rig, space = one_stream()
    space.map(VA, OLD, RW | READ_ONLY)
    space.map(VA + 0x1000, OLD + 0x1000, RW & ~USER)
    assert rig.pa(VA) == OLD
    assert rig.fault(VA, "W").event == 0x13
    assert rig.pa(VA) == OLD
    assert rig.pa(VA + 0x1000, privileged=True) == OLD + 0x1000
    assert rig.fault(VA + 0x1000).event == 0x13
    [write, user] = rig.events()
    assert (write.va, user.va) == (VA, VA + 0x1000)


def test_a_read_does_not_make_a_clean_page_dirty_and_a_later_write_does() -> None:
    rig = Rig(options={"caches": True})
    space = rig.space(asid=7)
    rig.attach(0x10, space, ha=1, hd=1)
    slot = space.map(VA, OLD, RW | READ_ONLY | 1 << 51)
    rig.pa(VA)
    assert rig.memory[slot] & READ_ONLY
    assert rig.pa(VA, "W") == OLD
    assert not rig.memory[slot] & READ_ONLY
    assert hit(rig, VA, "W")


def test_writing_after_a_read_hit_walks_no_further_than_needed() -> None:
    rig, space = one_stream()
    space.map(VA, OLD)
    outcome = rig.access(VA)
    assert isinstance(outcome, Translated)
    assert outcome.writable
    assert hit(rig, VA, "W")


# Sizes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "size"), [(2, 0x20_0000), (1, 0x4000_0000)])
def test_any_address_of_a_block_removes_the_block(level: int, size: int) -> None:
    rig, space = one_stream()
    base = 0x1200_0000_0000
    space.map(base, 0x40_0000_0000, level=level)
    assert rig.pa(base + size - 1) == 0x40_0000_0000 + size - 1
    assert hit(rig, base)
    assert hit(rig, base + size // 2)
    space.unmap(base, level=level)
    rig.sync(cmd.nh_va(base + size // 2 + 0x1000, 7))
    assert rig.fault(base).event == 0x10
    assert rig.fault(base + size - 1).event == 0x10


def test_one_address_of_a_contiguous_group_removes_the_group() -> None:
    """Whether the hint is used or not: after an invalidation inside the group nothing of it may be left over."""
    rig, space = one_stream()
    base = 0x1200_0000_0000
    for n in range(16):
        space.map(base + n * 0x1000, OLD + n * 0x1000, RW | CONTIGUOUS)
    for n in range(16):
        assert rig.pa(base + n * 0x1000) == OLD + n * 0x1000
    for n in range(16):
        space.map(base + n * 0x1000, NEW + n * 0x1000, RW)
    rig.sync(cmd.nh_va(base + 9 * 0x1000, 7))
    assert rig.pa(base + 9 * 0x1000) == NEW + 9 * 0x1000


@pytest.mark.parametrize("granule", [12, 14, 16])
@given(data=st.data())
def test_range_invalidation_removes_its_pages_and_no_other(granule: int, data: st.DataObject) -> None:
    page = 1 << granule
    num, scale = data.draw(st.integers(0, 31)), data.draw(st.integers(0, 3))
    ttl = data.draw(st.sampled_from([0, 3])) if num or scale else 3
    count = (num + 1) << scale
    first = data.draw(st.integers(0, 40))
    rig = Rig(options={"caches": True, "tlb_entries": 1024})
    space = rig.space(asid=7, granule=granule)
    rig.attach(0x10, space)
    base = 0x1200_0000_0000
    edge = {
        first - 1,
        first,
        first + 1,
        first + count // 2,
        first + count - 1,
        first + count,
        first + count + 1,
    }
    pages = sorted(n for n in edge if n >= 0)
    for n in pages:
        space.map(base + n * page, 0x40_0000_0000 + n * page)
        rig.pa(base + n * page)
    rig.sync(cmd.nh_va_range(base + first * page, 7, num, scale, granule=granule, ttl=ttl))
    gone = [n for n in pages if not hit(rig, base + n * page)]
    assert gone == [n for n in pages if first <= n < first + count]


def test_a_range_removes_a_block_that_it_only_touches() -> None:
    rig, space = one_stream()
    base = 0x1200_0000_0000
    space.map(base, 0x40_0000_0000, level=2)
    rig.pa(base)
    space.unmap(base, level=2)
    rig.sync(cmd.nh_va_range(base + 0x1F_E000, 7, 3, 0))
    assert rig.fault(base).event == 0x10


def test_a_small_tlb_forgets_the_least_recently_used() -> None:
    rig, space = one_stream(tlb_entries=4)
    for n in range(6):
        space.map(VA + n * 0x1000, OLD + n * 0x1000)
    for n in (0, 1, 2, 3, 0, 4):
        rig.pa(VA + n * 0x1000)
    assert hit(rig, VA), "page 0 was used after 1, 2 and 3"
    assert hit(rig, VA + 0x4000)
    assert not hit(rig, VA + 0x1000)


@tries(60)
@given(st.integers(1, 16), st.lists(st.integers(0, 31), min_size=20, max_size=120))
def test_the_tlb_never_holds_more_than_it_has_room_for(room: int, accesses: list[int]) -> None:
    """Hits are those of a least-recently-used cache of that size, and every translation is right."""
    rig, space = one_stream(tlb_entries=room)
    for n in range(32):
        space.map(VA + n * 0x1000, OLD + (n * 7 % 32) * 0x1000)
    recent: list[int] = []
    for n in accesses:
        outcome = rig.access(VA + n * 0x1000 + 0x123)
        assert isinstance(outcome, Translated)
        assert outcome.pa == OLD + (n * 7 % 32) * 0x1000 + 0x123
        assert outcome.tlb_hit == (n in recent)
        recent = ([n] + [m for m in recent if m != n])[:room]


# The fast path --------------------------------------------------------------------------------------------------------


def test_lookup_gives_what_translate_remembered_and_nothing_else() -> None:
    rig, space = one_stream()
    space.map(VA, OLD, RW | READ_ONLY)
    lookup = rig.smmu.lookup
    assert lookup(0x10, None, VA, False) is None
    rig.memory.reads.clear()
    assert lookup(0x10, None, VA, False) is None
    assert rig.memory.reads == [], "a lookup walks nothing"
    rig.pa(VA)
    assert lookup(0x10, None, VA + 0xABC, False) == OLD + 0xABC
    assert lookup(0x10, None, VA, True) is None, "read-only"
    assert lookup(0x11, None, VA, False) is None
    assert lookup(0x10, 0, VA, False) is None
    assert rig.events() == []
    rig.sync(cmd.nh_asid(7))
    assert lookup(0x10, None, VA, False) is None


def test_lookup_knows_no_translation_when_the_smmu_is_off() -> None:
    rig, space = one_stream()
    space.map(VA, OLD)
    rig.pa(VA)
    rig.write("CR0", 0)
    assert rig.smmu.lookup(0x10, None, VA, False) in {None, VA}


# Configuration --------------------------------------------------------------------------------------------------------


def two_spaces(**options: object) -> tuple[Rig, int, AddressSpace, AddressSpace]:
    """Stream 0x10 with four CDs; space ``a`` is SSID 1."""
    rig = Rig(options={"caches": True} | options)
    table = rig.cd_table(16)
    rig.set_ste(0x10, make_ste(cd=table, cdmax=4))
    a, b = rig.space(asid=7), rig.space(asid=8)
    a.map(VA, OLD)
    b.map(VA, NEW)
    rig.set_cd(table, 1, a.cd())
    return rig, table, a, b


@pytest.mark.parametrize(
    ("command", "enough"),
    [
        (cmd.cfgi_cd(0x10, 1), True),
        (cmd.cfgi_cd(0x10, 1, leaf=0), True),
        (cmd.cfgi_cd_all(0x10), True),
        (cmd.cfgi_ste(0x10), True),
        (cmd.cfgi_ste_range(0x10, 0), True),
        (cmd.cfgi_ste_range(0x13, 1), True),
        (cmd.cfgi_all(), True),
        (cmd.cfgi_cd(0x10, 2), False),
        (cmd.cfgi_cd(0x11, 1), False),
        (cmd.cfgi_cd_all(0x11), False),
        (cmd.cfgi_ste(0x11), False),
        (cmd.cfgi_ste_range(0x14, 1), False),
        (cmd.nsnh_all(), False),
    ],
)
def test_a_context_descriptor_is_remembered_until_cfgi(command: tuple[int, int], enough: bool) -> None:
    rig, table, _, b = two_spaces()
    assert rig.pa(VA, ssid=1) == OLD
    rig.set_cd(table, 1, b.cd())
    rig.command(command)
    assert rig.pa(VA, ssid=1) == OLD, "complete only with its SYNC"
    rig.sync()
    assert rig.pa(VA, ssid=1) == (NEW if enough else OLD)


@pytest.mark.parametrize(
    ("command", "enough"),
    [
        (cmd.cfgi_ste(0x10), True),
        (cmd.cfgi_ste(0x10, leaf=0), True),
        (cmd.cfgi_ste_range(0x10, 3), True),
        (cmd.cfgi_all(), True),
        (cmd.cfgi_ste(0x0F), False),
        (cmd.cfgi_cd(0x10, 1), False),
        (cmd.cfgi_cd_all(0x10), False),
        (cmd.nsnh_all(), False),
    ],
)
def test_a_stream_table_entry_is_remembered_until_cfgi(command: tuple[int, int], enough: bool) -> None:
    rig, _, _, b = two_spaces()
    assert rig.pa(VA, ssid=1) == OLD
    other = rig.cd_table(16)
    rig.set_cd(other, 1, b.cd())
    rig.set_ste(0x10, make_ste(cd=other, cdmax=4))
    rig.sync(command)
    assert rig.pa(VA, ssid=1) == (NEW if enough else OLD)


def test_streams_that_share_a_cd_table_are_cached_apart() -> None:
    rig, table, _, b = two_spaces()
    rig.set_ste(0x11, make_ste(cd=table, cdmax=4))
    assert rig.pa(VA, ssid=1) == OLD
    assert rig.pa(VA, ssid=1, sid=0x11) == OLD
    rig.set_cd(table, 1, b.cd())
    rig.sync(cmd.cfgi_cd(0x11, 1))
    assert rig.pa(VA, ssid=1, sid=0x11) == NEW
    assert rig.pa(VA, ssid=1) == OLD


def test_invalid_configuration_is_good_after_it_was_made_valid_and_invalidated() -> None:
    rig, table, _, b = two_spaces()
    assert rig.fault(VA, ssid=2).event == 0x0A
    rig.set_cd(table, 2, b.cd())
    rig.sync(cmd.cfgi_cd(0x10, 2))
    assert rig.pa(VA, ssid=2) == NEW
    assert rig.fault(VA, sid=0x11).event == 0x04
    rig.set_ste(0x11, make_ste(cd=table, cdmax=4))
    rig.sync(cmd.cfgi_ste(0x11))
    assert rig.pa(VA, sid=0x11, ssid=2) == NEW


def test_a_cleared_context_descriptor_is_used_until_cfgi_and_never_after() -> None:
    """The end of a binding: V=0, CFGI_CD, SYNC, TLBI by ASID, SYNC; then nothing gets through."""
    rig, table, _, _ = two_spaces()
    rig.pa(VA, ssid=1)
    rig.set_cd(table, 1, [0] * 8)
    assert rig.pa(VA, ssid=1) == OLD
    rig.sync(cmd.cfgi_cd(0x10, 1))
    assert rig.fault(VA, ssid=1).event == 0x0A
    rig.sync(cmd.nh_asid(7))
    assert rig.fault(VA, ssid=1).event == 0x0A


def test_a_pasid_that_is_bound_again_sees_only_its_new_space() -> None:
    rig, table, _, b = two_spaces()
    rig.pa(VA, ssid=1)
    rig.set_cd(table, 1, [0] * 8)
    rig.sync(cmd.cfgi_cd(0x10, 1))
    rig.sync(cmd.nh_asid(7))
    reused = b.cd(asid=7)  # the ASID is given out again as well
    rig.set_cd(table, 1, reused)
    rig.sync(cmd.cfgi_cd(0x10, 1))
    assert rig.pa(VA, ssid=1) == NEW


def test_two_level_tables_and_their_intermediate_entries() -> None:
    """Leaf=0 forgets the pointers above as well."""
    rig = Rig(options={"caches": True}, registers={"STRTAB_BASE_CFG": 16 | 8 << 6 | 1 << 16})
    a, b = rig.space(asid=7), rig.space(asid=8)
    a.map(VA, OLD)
    b.map(VA, NEW)
    sid, ssid = 0x1234, 0x45
    streams = [rig.allocate(1 << 14) for _ in range(2)]
    leaves = [rig.allocate(1 << 12) for _ in range(2)]
    tables = [rig.allocate(1 << 12) for _ in range(2)]
    for stream, table, leaf, space in zip(streams, tables, leaves, (a, b), strict=True):
        rig.memory.put(stream + 64 * 0x34, make_ste(cd=table, cdmax=8, fmt=1))
        rig.memory[table + 8] = leaf | 1
        rig.memory.put(leaf + 64 * 5, space.cd())
    rig.memory[STREAM_TABLE + 8 * 0x12] = streams[0] | 9
    assert rig.pa(VA, sid=sid, ssid=ssid) == OLD
    rig.memory[tables[0] + 8] = leaves[1] | 1
    rig.sync(cmd.cfgi_cd(sid, ssid, leaf=0))
    assert rig.pa(VA, sid=sid, ssid=ssid) == NEW
    rig.memory[tables[1] + 8] = leaves[0] | 1
    rig.memory[STREAM_TABLE + 8 * 0x12] = streams[1] | 9
    rig.sync(cmd.cfgi_ste(sid, leaf=0))
    assert rig.pa(VA, sid=sid, ssid=ssid) == OLD


# Two stages -----------------------------------------------------------------------------------------------------------

S2_ROOT, GUEST, HOST = 0x6_0000_0000, 0x8765_4000, 0x2_9876_5000


def guest(config: int) -> tuple[Rig, Callable[[int, int], None], AddressSpace]:
    """Stage 2 maps the gigabytes that hold tables one to one and GUEST with a page; ``map2`` changes such a page."""
    rig = Rig(options={"caches": True})
    table2, table3 = 0x6_0001_0000, 0x6_0002_0000
    for n in (0, 1, 20, 21, 22, 23):  # identity, where the structures are
        rig.memory[S2_ROOT + 8 * n] = n << 30 | 0x7FD
    rig.memory[S2_ROOT + 8 * (GUEST >> 30)] = table2 | 3
    rig.memory[table2 + 8 * (GUEST >> 21 & 0x1FF)] = table3 | 3

    def map2(ipa: int, pa: int) -> None:
        rig.memory[table3 + 8 * (ipa >> 12 & 0x1FF)] = pa | 0x7FF if pa else 0

    map2(GUEST, HOST)
    space = rig.space(asid=7)
    space.map(VA, GUEST)
    table = rig.cd_table(1)
    rig.set_cd(table, 0, space.cd())
    rig.set_ste(0x10, make_ste(config, cd=table if config & 1 else 0, s2ttb=S2_ROOT, vmid=3))
    return rig, map2, space


def test_stage_2_entries_go_with_s2_ipa() -> None:
    rig, map2, _ = guest(0b110)
    assert rig.pa(GUEST) == HOST
    map2(GUEST, NEW)
    assert rig.pa(GUEST) == HOST
    rig.sync(cmd.s2_ipa(GUEST, vmid=2))
    assert rig.pa(GUEST) == HOST
    rig.sync(cmd.s2_ipa(GUEST, vmid=3))
    assert rig.pa(GUEST) == NEW


@pytest.mark.parametrize(
    "ste", [make_ste(0b110, s2ttb=S2_ROOT, vmid=3), make_ste(0b111, cdmax=4, dss=1, s2ttb=S2_ROOT, vmid=3)]
)
def test_without_stage_1_no_byte_of_an_address_is_a_tag(ste: list[int]) -> None:
    """An entry serves its own address: one that differs in the top byte is out of range, before and after."""
    rig, _, _ = guest(0b110)
    rig.set_ste(0x10, ste)
    strange = GUEST | 0xAB << 56
    assert rig.fault(strange).event == 0x11
    assert not hit(rig, GUEST)
    assert hit(rig, GUEST)
    refused = rig.fault(strange, "W")
    assert refused.event == 0x11
    assert refused.recorded
    assert hit(rig, GUEST)


@pytest.mark.parametrize("second", [cmd.nh_all(3), cmd.s12_vmall(3)])
def test_combined_entries_need_more_than_s2_ipa(second: tuple[int, int]) -> None:
    rig, map2, _ = guest(0b111)
    assert rig.pa(VA) == HOST
    map2(GUEST, NEW)
    rig.sync(cmd.s2_ipa(GUEST, vmid=3))
    assert rig.pa(VA) == HOST, "a combined entry carries no IPA"
    rig.sync(cmd.s2_ipa(GUEST, vmid=3), second)
    assert rig.pa(VA) == NEW


def test_a_stage_1_change_needs_only_stage_1_invalidation() -> None:
    rig, map2, space = guest(0b111)
    map2(GUEST + 0x1000, NEW)
    assert rig.pa(VA) == HOST
    space.map(VA, GUEST + 0x1000)
    rig.sync(cmd.nh_va(VA, 7, vmid=3))
    assert rig.pa(VA) == NEW


# Any schedule ---------------------------------------------------------------------------------------------------------


@dataclass
class World:
    """Two spaces on one stream, a few pages at equal VAs, and what an access may still see of each page.

    ``possible`` of a page holds each mapping (frame or None) since the last invalidation that covered it was
    completed by a SYNC: an access must see one of these. Absent may be cached by nobody, but is seen while it is so.
    """

    rig: Rig = field(default_factory=lambda: Rig(options={"caches": True, "tlb_entries": 5}))

    def __post_init__(self) -> None:
        table = self.rig.cd_table(16)
        self.rig.set_ste(0x10, make_ste(cd=table, cdmax=4))
        self.spaces = [self.rig.space(asid=n) for n in (1, 2)]
        for n, space in enumerate(self.spaces):
            self.rig.set_cd(table, n, space.cd())
        self.now: dict[tuple[int, int], int | None] = {(s, p): None for s in range(2) for p in range(4)}
        self.possible: dict[tuple[int, int], set[int | None]] = {key: {None} for key in self.now}
        self.pending: list[set[tuple[int, int]]] = []
        self.frames = 0

    def va(self, page: int) -> int:
        return VA + page * 0x1000

    def map(self, space: int, page: int) -> None:
        self.frames += 1
        frame = OLD + self.frames * 0x1000  # never used twice, so an old one is recognised
        self.spaces[space].map(self.va(page), frame)
        self._changed(space, page, frame)

    def unmap(self, space: int, page: int) -> None:
        self.spaces[space].unmap(self.va(page))
        self._changed(space, page, None)

    def _changed(self, space: int, page: int, frame: int | None) -> None:
        self.now[space, page] = frame
        self.possible[space, page].add(frame)
        for batch in self.pending:  # the invalidation in flight came before this change
            batch.discard((space, page))

    def invalidate(self, kind: str, space: int, page: int) -> None:
        covered = {
            "va": {(space, page)},
            "vaa": {(s, page) for s in range(2)},
            "asid": {(space, p) for p in range(4)},
            "all": set(self.now),
            "range": {(space, p) for p in range(page, 4)},
        }[kind]
        command = {
            "va": cmd.nh_va(self.va(page), space + 1),
            "vaa": cmd.nh_vaa(self.va(page)),
            "asid": cmd.nh_asid(space + 1),
            "all": cmd.nh_all(),
            "range": cmd.nh_va_range(self.va(page), space + 1, 3, 0),
        }[kind]
        self.rig.command(command)
        self.pending.append(covered)

    def sync(self) -> None:
        self.rig.sync()
        for covered in self.pending:
            for key in covered:
                self.possible[key] = {self.now[key]}
        self.pending.clear()

    def access(self, space: int, page: int) -> None:
        outcome = self.rig.access(self.va(page), ssid=space)
        seen = outcome.pa if isinstance(outcome, Translated) else None
        assert seen in self.possible[space, page], f"{seen} is none of {self.possible[space, page]}"
        if seen is None:
            assert self.now[space, page] is None, "an absent page was remembered"


STEPS = st.tuples(
    st.sampled_from(
        ["map", "map", "unmap", "access", "access", "access", "va", "vaa", "asid", "all", "range", "sync"]
    ),
    st.integers(0, 1),
    st.integers(0, 3),
)


@tries(400)
@given(st.lists(STEPS, min_size=5, max_size=60))
def test_no_access_uses_a_translation_that_was_invalidated_before_the_last_sync(
    steps: list[tuple[str, int, int]],
) -> None:
    world = World()
    for what, space, page in steps:
        match what:
            case "map" | "unmap" | "access":
                getattr(world, what)(space, page)
            case "sync":
                world.sync()
            case kind:
                world.invalidate(kind, space, page)


@pytest.mark.parametrize("room", [64, 3])
def test_sixty_four_spaces_at_equal_addresses_through_bindings_and_rebindings(room: int) -> None:
    """Frames bear their owner: no access ever arrives in a frame of another space, or of an earlier life of its own.

    PASIDs and ASIDs are given out again as soon as the rules for ending a binding have been kept.
    """
    rig = Rig(options={"caches": True, "tlb_entries": room})
    table = rig.cd_table(64)
    rig.set_ste(0x10, make_ste(cd=table, cdmax=6))
    chance = random.Random(room)
    lives = [0] * 64
    spaces: list[AddressSpace | None] = [None] * 64
    pages = 4

    def frame(ssid: int, page: int) -> int:
        return 0x10_0000_0000 | lives[ssid] << 28 | ssid << 20 | page << 12

    def bind(ssid: int) -> None:
        space = rig.space(asid=ssid + 1)
        for page in range(pages):
            space.map(VA + page * 0x1000, frame(ssid, page))
        spaces[ssid] = space
        rig.set_cd(table, ssid, space.cd())
        rig.sync(cmd.cfgi_cd(0x10, ssid))

    def unbind(ssid: int) -> None:
        rig.set_cd(table, ssid, [0] * 8)
        rig.sync(cmd.cfgi_cd(0x10, ssid))
        rig.sync(cmd.nh_asid(ssid + 1))
        spaces[ssid] = None
        lives[ssid] += 1

    for ssid in range(64):
        bind(ssid)
    hits = accesses = 0
    for _ in range(6000):
        ssid, page = chance.randrange(64), chance.randrange(pages)
        if chance.random() < 0.02:
            unbind(ssid) if spaces[ssid] else bind(ssid)
        for _ in range(4):  # a burst
            outcome = rig.access(VA + page * 0x1000 + 0x40, ssid=ssid)
            if spaces[ssid] is None:
                assert isinstance(outcome, Faulted)
                assert outcome.event == 0x0A
                continue
            assert isinstance(outcome, Translated)
            assert outcome.pa == frame(ssid, page) + 0x40
            accesses += 1
            hits += outcome.tlb_hit
    assert hits / accesses > 0.7
    assert max(lives) > 1


def test_every_cd_field_that_matters_is_part_of_what_is_cached() -> None:
    """A CD with other rules for the same table: WXN, PAN, HA are those of the CD in force, not of the first user."""
    rig = Rig(options={"caches": True})
    space = rig.space(asid=7)
    table = rig.cd_table(16)
    rig.set_ste(0x10, make_ste(cd=table, cdmax=4))
    space.map(VA, OLD)
    rig.set_cd(table, 1, space.cd())
    rig.set_cd(table, 2, make_cd(space.root, asid=8, wxn=1))
    assert rig.pa(VA, "X", ssid=1) == OLD
    assert rig.fault(VA, "X", ssid=2).event == 0x13

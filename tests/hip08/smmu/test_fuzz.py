"""Anything at all: every access gets a decision, whatever the tables hold and however the registers stand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wdasync_hip08.smmu import Access, AtsRequest, AtsStatus, BusError, PageRequest, SparseMemory

from .cases import PATH, STE_AT, VA
from .support import (
    CD_TABLES,
    COMMAND_QUEUE,
    EVERYTHING,
    IDR,
    REGISTERS,
    AbortedSilently,
    Faulted,
    Memory,
    Parked,
    Rig,
    Translated,
    cmd,
    make_cd,
    make_ste,
)
from .test_mutations import tries

WORD = st.integers(0, (1 << 64) - 1)
DECISIONS = (Translated, Faulted, AbortedSilently, Parked)
ACCESSES = st.builds(
    Access,
    sid=st.sampled_from([0, 0x10, 0x11, 0xFF, 0x100, 0xFFFF]),
    ssid=st.none() | st.integers(0, 0xFFFFF) | st.sampled_from([0, 1, 5]),
    va=WORD | st.sampled_from([0, VA, (1 << 64) - 1, 1 << 55]),
    op=st.sampled_from("RWX"),
    privileged=st.booleans(),
)


@tries(300)
@given(
    ste=st.lists(WORD, min_size=8, max_size=8),
    valid=st.booleans(),
    cd=st.lists(WORD, min_size=8, max_size=8),
    access=ACCESSES,
    caches=st.booleans(),
)
def test_random_structures(ste: list[int], valid: bool, cd: list[int], access: Access, caches: bool) -> None:
    """Random STE; where it is to get further, its pointer and Config are plausible, and the CD is random."""
    memory = dict(PATH)
    if valid:
        ste[0] = ste[0] & ~((1 << 52) - 1) & ~(0x1F << 59) | 1 | 0b101 << 1 | CD_TABLES
        ste[1] &= ~(1 << 27 | 3 << 28)
        cd[0] |= 1 << 31 | 1 << 41
    rig = Rig(memory=Memory(memory), options={"caches": caches})
    rig.set_ste(0x10, ste)
    rig.memory.put(CD_TABLES, cd)
    for _ in range(2):
        assert isinstance(rig.smmu.translate(access), DECISIONS)


@tries(300)
@given(st.lists(st.tuples(st.sampled_from(sorted(PATH)), WORD), max_size=4), ACCESSES)
def test_random_descriptors(descriptors: list[tuple[int, int]], access: Access) -> None:
    rig = Rig(memory=Memory(PATH | dict(descriptors)))
    rig.set_ste(0x10, make_ste())
    rig.memory.put(CD_TABLES, make_cd(0x5000_0000, ha=1, hd=1))
    assert isinstance(rig.smmu.translate(access), DECISIONS)
    access.va = VA
    access.sid, access.ssid = 0x10, None
    assert isinstance(rig.smmu.translate(access), DECISIONS)


@tries(200)
@given(
    writes=st.lists(st.tuples(st.sampled_from(sorted(REGISTERS)), WORD), max_size=25),
    accesses=st.lists(ACCESSES, max_size=5),
    broken=st.sets(st.sampled_from([STE_AT, CD_TABLES, *PATH])),
)
def test_random_registers_around_accesses(
    writes: list[tuple[str, int]], accesses: list[Access], broken: set[int]
) -> None:
    """Stream tables, queues and enables anywhere, memory that does not answer: still a decision, still no exception."""
    rig = Rig(memory=Memory(PATH), options={"on_atc_invalidate": lambda _: False})
    rig.set_ste(0x10, make_ste(eats=1))
    rig.memory.put(CD_TABLES, make_cd(0x5000_0000, stall=1))
    rig.memory.broken |= broken
    for name, value in writes:
        rig.write(name, value if REGISTERS[name][1] == 8 else value & 0xFFFF_FFFF)
        for access in accesses:
            assert isinstance(rig.smmu.translate(access), DECISIONS)
            assert isinstance(rig.smmu.translated_access(access), DECISIONS)
            request = AtsRequest(sid=access.sid, ssid=access.ssid, va=access.va)
            assert isinstance(rig.smmu.ats_request(request).status, AtsStatus)
            rig.smmu.page_request(
                PageRequest(sid=access.sid, ssid=access.ssid, addr=access.va & ~0xFFF, r=1, last=1)
            )
            rig.smmu.lookup(access.sid, access.ssid, access.va, access.op == "W")
    rig.write("CR0", 0)
    rig.write("CR0", EVERYTHING)
    rig.resumed()
    rig.smmu.take_page_responses()
    assert rig.smmu.dump()


@tries(200)
@given(
    idr0=st.integers(0, (1 << 32) - 1),
    idr1=st.integers(0, 20).flatmap(
        lambda n: st.integers(0, 20).map(lambda m: m << 6 | n | 8 << 11 | 8 << 16 | 8 << 21)
    ),
    idr5=st.integers(0, 7).flatmap(lambda n: st.integers(0, 7).map(lambda m: n | m << 4 | 16 << 16)),
    access=ACCESSES,
)
def test_random_hardware(idr0: int, idr1: int, idr5: int, access: Access) -> None:
    """Whatever an implementation says of itself, an access is decided and a command is consumed or refused."""
    rig = Rig(idr=IDR | {"IDR0": idr0, "IDR1": idr1, "IDR5": idr5}, memory=Memory(PATH))
    rig.set_ste(0x10, make_ste())
    rig.memory.put(CD_TABLES, make_cd(0x5000_0000))
    access.sid = 0x10
    assert isinstance(rig.smmu.translate(access), DECISIONS)
    for command in (
        cmd.nh_all(),
        cmd.s2_ipa(0),
        cmd.resume(0x10, 1),
        cmd.pri_resp(0x10, 5, 1, 2),
        cmd.sync(),
    ):
        rig.command(command)
        if (rig.read("GERROR") ^ rig.read("GERRORN")) & 1:
            rig.memory.put(COMMAND_QUEUE + 16 * (rig.read("CMDQ_CONS") & 0xFF), cmd.sync())
            rig.write("GERRORN", rig.read("GERROR"))
    assert rig.read("CMDQ_CONS") & 0xFFFFF == rig.read("CMDQ_PROD")


# What is no access ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "access",
    [
        Access(sid=0x10, ssid=None, va=0xFFF, op="R", size=2),
        Access(sid=0x10, ssid=None, va=0x1FFE, op="R", size=3),
        Access(sid=0x10, ssid=None, va=(1 << 64) - 1, op="R", size=2),
        Access(sid=0x10, ssid=None, va=0x1000, op="R", size=0x1001),
        Access(sid=0x10, ssid=None, va=0, op="R", size=0),
        Access(sid=0x10, ssid=None, va=1 << 64, op="R"),
        Access(sid=0x10, ssid=None, va=-1, op="R"),
        Access(sid=1 << 32, ssid=None, va=0, op="R"),
        Access(sid=-1, ssid=None, va=0, op="R"),
        Access(sid=0x10, ssid=1 << 20, va=0, op="R"),
        Access(sid=0x10, ssid=-1, va=0, op="R"),
        Access(sid=0x10, ssid=None, va=0, op="Q"),  # type: ignore[arg-type]  # the point of it
    ],
)
def test_what_cannot_be_on_a_bus_is_a_value_error(access: Access) -> None:
    rig = Rig()
    with pytest.raises(ValueError, match=r"."):
        rig.smmu.translate(access)
    assert rig.events() == []


def test_the_largest_access_is_a_page() -> None:
    rig = Rig()
    space = rig.space()
    rig.attach(0x10, space)
    space.map(VA & ~0xFFF, 0x8_0000_0000)
    outcome = rig.smmu.translate(Access(sid=0x10, ssid=None, va=VA & ~0xFFF, op="W", size=0x1000))
    assert isinstance(outcome, Translated)
    outcome = rig.smmu.translate(Access(sid=0x10, ssid=None, va=VA | 0xFFE, op="W", size=2))
    assert isinstance(outcome, Translated)
    assert outcome.pa == 0x8_0000_0FFE


# The memory that comes with the model ---------------------------------------------------------------------------------


def test_sparse_memory_by_words_and_bytes() -> None:
    memory = SparseMemory({0x1000: 0x1122_3344_5566_7788})
    assert memory.read64(0x1000) == 0x1122_3344_5566_7788
    assert memory.read(0x1001, 3) == bytes([0x77, 0x66, 0x55])
    memory.write(0x1FFE, b"abcd")
    assert memory.read(0x1FFE, 4) == b"abcd"
    assert memory.read64(0x1FF8) >> 48 == int.from_bytes(b"ab", "little")
    assert memory.compare_exchange64(0x1000, 1, 2) == 0x1122_3344_5566_7788
    assert memory.compare_exchange64(0x1000, 0x1122_3344_5566_7788, 2) == 0x1122_3344_5566_7788
    assert memory.read64(0x1000) == 2


def test_sparse_memory_answers_nothing_where_nothing_was_written() -> None:
    with pytest.raises(BusError) as caught:
        SparseMemory().read64(0x5000)
    assert caught.value.pa == 0x5000
    with pytest.raises(BusError):
        SparseMemory({0x1000: 1}).read(0x1FF8, 16)
    assert SparseMemory(missing_reads_zero=True).read(0x5FFC, 8) == bytes(8)


@tries(100)
@given(
    st.lists(st.tuples(st.integers(0, 0x3000), st.binary(max_size=20)), max_size=20), st.integers(0, 1 << 34)
)
def test_sparse_memory_is_memory(writes: list[tuple[int, bytes]], page: int) -> None:
    memory: Any = SparseMemory(missing_reads_zero=True)
    base = page << 12
    plain = bytearray(0x4000)
    for at, data in writes:
        memory.write(base + at, data)
        plain[at : at + len(data)] = data
    assert memory.read(base, 0x4000) == plain
    for at in range(0, 0x4000, 8):
        assert memory.read64(base + at) == int.from_bytes(plain[at : at + 8], "little")


def test_sparse_memory_pages_are_present_one_by_one() -> None:
    memory = SparseMemory()
    memory.write64(0x2008, 7)
    assert memory.read64(0x2FF8) == 0, "the rest of a page that exists is zero"
    for absent in (0x1FF8, 0x3000):
        with pytest.raises(BusError):
            memory.read64(absent)
        with pytest.raises(BusError):
            memory.read(absent, 1)
    with pytest.raises(BusError):
        memory.read(0x2FFF, 2)

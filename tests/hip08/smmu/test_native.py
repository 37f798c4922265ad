"""What is in C against its oracles: the TLB against a dictionary, the walk against the one in Python."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple
from itertools import product
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from wdasync_hip08._native import ffi
from wdasync_hip08.memory import PAGE, PhysicalMemory, Ram
from wdasync_hip08.smmu import HIP08, Command, Opcode, Statistics
from wdasync_hip08.smmu.bursts import Bursts, TableMemory, walk_here
from wdasync_hip08.smmu.context_descriptor import ContextDescriptor
from wdasync_hip08.smmu.faults import Fault
from wdasync_hip08.smmu.invalidation import TLBI_SCOPES, Invalidations
from wdasync_hip08.smmu.regime import Regime, Stage1, Tag
from wdasync_hip08.smmu.stream_table_entry import Config, StreamTableEntry
from wdasync_hip08.smmu.tlb import Tlb
from wdasync_hip08.smmu.walk import Mapping, Walker, Wanted

from .test_mutations import tries
from .tlb_model import TlbModel

BASE, SIZE = 0x4000_0000, 64 * PAGE
STE = StreamTableEntry(config=Config.S1)
TAGS = [
    Tag(world, stage2_only, vmid, asid, aset)
    for world, stage2_only, vmid, asid, aset in product((1, 2), (False, True), (0, 9), (None, 0, 7), (0, 1))
]

# The TLB --------------------------------------------------------------------------------------------------------------


def regime_of(tag: Tag) -> Regime:
    return Regime(STE, None, None, None, tag, tag._replace(asid=None))


REGIMES = st.sampled_from([regime_of(tag) for tag in TAGS])
#: Few pages, so that they meet; entries of several sizes that overlap.
ADDRESSES = st.integers(0, 40).map(lambda page: page << 12) | st.sampled_from([1 << 21, (1 << 55) + 4096])
SIZES = {12: ((3, 12), (2, 21), (1, 30)), 14: ((3, 14), (2, 25)), 16: ((3, 16), (2, 29))}
MAPPINGS = st.builds(
    lambda where, page, mask, ipa, not_global: Mapping(
        page << where[2],
        1 << where[2],
        mask,
        page << where[2] if ipa else None,
        not_global,
        where[0],
        where[1],
    ),
    st.sampled_from([(granule, *pair) for granule, pairs in SIZES.items() for pair in pairs]),
    st.integers(0, 100),
    st.integers(0, 63),
    st.booleans(),
    st.booleans(),
)
COMMANDS = st.builds(
    Command,
    st.sampled_from(sorted(TLBI_SCOPES)),
    vmid=st.sampled_from([0, 9]),
    asid=st.sampled_from([0, 7]),
    addr=ADDRESSES,
    tg=st.integers(0, 3),
    num=st.integers(0, 31),
    scale=st.integers(0, 3),
    ttl=st.integers(0, 3),
)


@tries(300)
@given(
    st.integers(1, 9),
    st.lists(
        st.tuples(st.just("find"), REGIMES, ADDRESSES)
        | st.tuples(st.just("insert"), REGIMES, ADDRESSES, MAPPINGS)
        | st.tuples(st.just("command"), COMMANDS),
        max_size=60,
    ),
)
def test_the_tlb_is_a_dictionary_in_the_order_of_use(capacity: int, steps: list[tuple[Any, ...]]) -> None:
    statistics = Statistics()
    tlb, model = Tlb(capacity, statistics), TlbModel(capacity)
    invalidations = Invalidations(tlb, None, HIP08)  # type: ignore[arg-type]  # no command is about it
    for what, *arguments in steps:
        match what:
            case "find":
                found, wanted = tlb.find(*arguments), model.find(*arguments)
                assert (found and astuple(found)) == (wanted and astuple(wanted))
            case "insert":
                regime, address, mapping = arguments
                offset = address % mapping.size
                ipa = None if mapping.ipa is None else mapping.ipa + offset
                mapping = mapping._replace(pa=mapping.pa + offset, ipa=ipa)
                tlb.insert(regime, address, mapping)
                model.insert(regime, address, mapping)
            case _:
                [command] = arguments
                before = statistics.tlb_invalidated
                invalidations._invalidate_tlb(command, TLBI_SCOPES[command.opcode])
                count = model.invalidate(lambda entry: TLBI_SCOPES[command.opcode](command, entry))  # noqa: B023
                assert statistics.tlb_invalidated - before == count
        assert [astuple(entry) for entry in tlb] == [astuple(entry) for entry in model.entries.values()]
        assert len(tlb) == len(model.entries)
        assert statistics.tlb_evictions == model.evicted


def test_each_command_has_a_scope_that_c_can_compare() -> None:
    assert {opcode for opcode in Opcode if opcode.name.startswith("TLBI")} == set(TLBI_SCOPES)


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_is_a_number(tag: Tag) -> None:
    assert Tag.of_key(tag.key) == tag


def test_a_tlb_without_entries_cannot_be_had() -> None:
    with pytest.raises(MemoryError, match="no memory for a TLB of 0 entries"):
        Tlb(0, Statistics())


# The walk -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def memory() -> Iterator[PhysicalMemory]:
    ram = Ram(BASE, SIZE)
    yield PhysicalMemory(ram)
    ram.close()


#: Mostly tables and pages in RAM, or near it.
TARGETS = st.integers(BASE >> 12, (BASE + SIZE >> 12) + 1).map(lambda page: page << 12)
ATTRIBUTES = st.sampled_from(
    [1 << 10, 1 << 10 | 1 << 6, 1 << 10 | 1 << 6 | 1 << 11, 1 << 6, 1 << 10 | 3 << 6]
)
DESCRIPTORS = st.builds(
    lambda target, kind, attributes, bits: target | kind | attributes | sum(1 << bit for bit in bits),
    TARGETS,
    st.sampled_from([3] * 12 + [1, 1, 0]),
    ATTRIBUTES,
    st.sets(st.sampled_from([7, 47, 51, 53, 54, 59, 60, 61, 62]), max_size=1),
) | st.builds(lambda word, kind: word << 2 | kind, st.integers(0, (1 << 62) - 1), st.sampled_from([1, 3]))
CONTEXTS = st.fixed_dictionaries(
    {
        "t0sz": st.integers(16, 39),
        "tg0": st.integers(0, 2),
        "ips": st.integers(0, 5),
        "ttb0": TARGETS,
        **{name: st.booleans().map(int) for name in ("ha", "hd", "affd", "wxn", "pan", "had0", "tbi0")},
    }
)


def walked_regime(context: dict[str, int]) -> Regime:
    cd = ContextDescriptor(epd1=1, a=1, r=1, asid=7, **context)
    tag = Tag(1, False, 0, 7, 0)
    return Regime(STE, cd, Stage1.of(cd, HIP08), None, tag, tag._replace(asid=None))


def lay_tables(memory: PhysicalMemory, regime: Regime, va: int, descriptors: list[int]) -> None:
    """Put descriptors on the way of a walk, wherever it leads."""
    memory.ram.write(BASE, bytes(SIZE))
    fetched: list[tuple[str, int]] = []
    for descriptor in descriptors:
        walker = Walker(memory, HIP08.output_bits, Statistics())
        walker.reads = fetched = []
        try:
            walker.translate(regime, va, Wanted("R", False))
        except Fault:
            pass
        if fetched and BASE <= fetched[-1][1] < BASE + SIZE:
            memory.write64(fetched[-1][1], descriptor)


@tries(800)
@given(
    context=CONTEXTS,
    va=st.integers(0, (1 << 48) - 1),
    write=st.booleans(),
    descriptors=st.lists(DESCRIPTORS, min_size=4, max_size=4),
)
def test_a_walk_in_c_is_the_one_in_python(
    memory: PhysicalMemory, context: dict[str, int], va: int, write: bool, descriptors: list[int]
) -> None:
    """It fetches the same, in the same order, and finds the same; or it leaves it alone, but nothing that is plain."""
    regime = walked_regime(context)
    va %= regime.limit
    lay_tables(memory, regime, va, descriptors)
    before = memory.ram.read(BASE, SIZE)
    fetched, entry = walk_here(TableMemory(*memory.ram.host_window), regime, va, write)
    assert memory.ram.read(BASE, SIZE) == before, "it marks nothing"
    walker = Walker(memory, HIP08.output_bits, statistics := Statistics())
    walker.reads = reads = []
    wanted: Mapping | None
    try:
        wanted = walker.translate(regime, va, Wanted("W" if write else "R", False))
    except Fault as fault:
        event(fault.event.name)
        wanted = None
    assert fetched == [pa for _, pa in reads][: len(fetched)]
    if wanted is None or statistics.descriptor_updates:
        assert entry is None
        return
    event(f"translated, {wanted.size} bytes")
    assert fetched == [pa for _, pa in reads]
    assert entry is not None
    tlb = Tlb(1, Statistics())
    tlb.insert(regime, va, wanted)
    [kept] = tlb
    assert (entry.tag, entry.address, 1 << entry.shift, entry.pa, entry.permissions) == (
        kept.tag.key, kept.address, kept.size, kept.pa, kept.permissions,
    )  # fmt: skip
    assert (entry.granule, entry.level, entry.shared) == (kept.granule, kept.level, not wanted.not_global)


# Both together --------------------------------------------------------------------------------------------------------

PAGES, PRESENT, WRITABLE = 32, 1 << 10 | 1 << 6 | 3, 1 << 7


def translated_one_by_one(
    tlb: Tlb, walker: Walker, regime: Regime, va: int, nbytes: int, write: bool
) -> list[int]:
    """The pages of a buffer up to the first that does not translate, as the translator does it in Python."""
    pas = []
    end = va + nbytes
    while va < end and va < regime.limit:
        entry = tlb.find(regime, va)
        if entry is not None and entry.permissions & (2 if write else 1):
            tlb.statistics.tlb_hits += 1
            pas.append(entry.mapping(va).pa)
        else:
            try:
                mapping = walker.translate(regime, va, Wanted("W" if write else "R", False))
            except Fault:
                break
            tlb.insert(regime, va, mapping)
            pas.append(mapping.pa)
        va = (va & -PAGE) + PAGE
    return pas


@tries(300)
@given(
    leaves=st.lists(
        st.sampled_from(["absent", "read", "write", "write", "write"]), min_size=PAGES, max_size=PAGES
    ),
    capacity=st.integers(1, 12),
    buffers=st.lists(
        st.tuples(st.integers(0, PAGES * PAGE - 1), st.integers(1, 8 * PAGE), st.booleans()), max_size=12
    ),
)
def test_a_burst_is_one_page_after_the_other(
    memory: PhysicalMemory, leaves: list[str], capacity: int, buffers: list[tuple[int, int, bool]]
) -> None:
    memory.ram.write(BASE, bytes(SIZE))
    for level in range(3):
        memory.write64(BASE + level * PAGE, BASE + (level + 1) * PAGE | 3)
    for page, leaf in enumerate(leaves):
        word = (page * 7 + 3 << 12) | PRESENT | (WRITABLE if leaf == "read" else 0)
        memory.write64(BASE + 3 * PAGE + page * 8, 0 if leaf == "absent" else word)
    regime = walked_regime({"t0sz": 16, "ips": 5, "ttb0": BASE})
    tlb, other = Tlb(capacity, Statistics()), Tlb(capacity, Statistics())
    bursts = Bursts(tlb, TableMemory(*memory.ram.host_window), tlb.statistics)
    walker = Walker(memory, HIP08.output_bits, other.statistics)
    room = ffi.new("uint64_t[]", 9)
    for va, nbytes, write in buffers:
        pages = bursts.translate(regime, va, nbytes, write, room, 9)
        assert list(room[0:pages]) == translated_one_by_one(other, walker, regime, va, nbytes, write)
        assert [astuple(entry) for entry in tlb] == [astuple(entry) for entry in other]
    assert tlb.statistics.tlb_hits == other.statistics.tlb_hits
    assert tlb.statistics.tlb_evictions == other.statistics.tlb_evictions


def test_a_burst_stores_no_more_than_there_is_room_for(memory: PhysicalMemory) -> None:
    for level in range(3):
        memory.write64(BASE + level * PAGE, BASE + (level + 1) * PAGE | 3)
    for page in range(PAGES):
        memory.write64(BASE + 3 * PAGE + page * 8, (page << 12) | PRESENT)
    regime = walked_regime({"t0sz": 16, "ips": 5, "ttb0": BASE})
    tlb = Tlb(64, Statistics())
    room = ffi.new("uint64_t[]", [1 << 60] * 4)
    bursts = Bursts(tlb, TableMemory(*memory.ram.host_window), tlb.statistics)
    assert bursts.translate(regime, 0, PAGES * PAGE, True, room, 3) == 3
    assert list(room) == [0, PAGE, 2 * PAGE, 1 << 60]
    without = Bursts(tlb, None, tlb.statistics)
    regime.native = None
    assert without.translate(regime, 0, PAGES * PAGE, True, room, 4) == 3, "only what is in the TLB"

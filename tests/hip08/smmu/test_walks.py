"""Every case with a known end: outcome, event record, updated descriptors, and the order of the fetches."""

from __future__ import annotations

from itertools import pairwise

import pytest

from wdasync_hip08.smmu import Outcome

from . import oracle
from .cases import CASES, WORKED, Case
from .support import IDR, QUEUES, STREAM_TABLE, Event, Memory, Parked, Rig, Translated, view

STRUCTURES = {"STE", "CD"}  # 64 bytes; every other fetch is one word


def rig_for(case: Case, **options: object) -> Rig:
    return Rig(
        idr=case.idr,
        memory=Memory(case.memory),
        registers={k: v for k, v in case.registers.items() if k not in IDR},
        sid_bits=6,
        options=options,
    )


def run(rig: Rig, case: Case) -> Outcome:
    question = case.ask
    return rig.access(
        question.va, question.op, sid=question.sid, ssid=question.ssid, privileged=question.privileged
    )


def words_of(case: Case, memory: Memory) -> dict[int, int]:
    """All words that an access may have changed: everything but the event queue."""
    known = set(case.memory) | set(case.after) | {a for a in memory.words if a not in QUEUES}
    return {a: memory[a] for a in known if memory[a]}


def same_record(got: tuple[int, ...], case: Case) -> bool:
    assert case.record is not None
    return all(g & m == w & m for g, w, m in zip(got, case.record, case.mask, strict=True))


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("caches", [False, True], ids=["no caches", "caches"])
def test_outcome(case: Case, caches: bool) -> None:
    rig = rig_for(case, caches=caches)
    outcome = run(rig, case)
    answer = view(outcome)
    assert answer.kind == case.kind
    if isinstance(outcome, Translated):
        assert (outcome.pa, outcome.leaf_bytes, outcome.ipa) == (case.pa, case.leaf_bytes, case.ipa)
        assert not outcome.tlb_hit
    elif case.kind == "fault":
        assert (answer.code, answer.stage, answer.fault_class) == (case.code, case.stage, case.fault_class)
        assert (answer.level, answer.bus) == (case.level, case.bus)
        assert isinstance(outcome, Parked) == (case.bus == "stall")

    # What stands in the event queue is what was said, byte for byte.
    events = rig.events()
    assert len(events) == (case.record is not None)
    if case.record is not None:
        assert same_record(events[0].words, case), [hex(w) for w in events[0].words]
        assert answer.record is not None
        assert same_record(answer.record, case)

    # Nothing in memory has changed but what the hardware updates.
    expected = {a: w for a, w in (case.memory | case.after).items() if w}
    assert words_of(case, rig.memory) == expected


@pytest.mark.parametrize("case", [c for c in CASES if c.reads is not None], ids=str)
def test_fetch_order(case: Case) -> None:
    """With empty caches each structure is fetched when the walk needs it, once, and nothing else is read."""
    assert case.reads is not None
    rig = rig_for(case, caches=False)
    rig.memory.reads.clear()
    run(rig, case)
    seen: list[tuple[str, int]] = []
    pending = list(case.reads)
    for word in rig.memory.reads:
        if seen and seen[-1][0] in STRUCTURES and seen[-1][1] < word < seen[-1][1] + 64:
            continue
        assert pending, f"read of {word:#x} after the last fetch"
        label, address = pending.pop(0)
        assert word == address, f"{label} is at {address:#x}, read was at {word:#x} after {seen[-3:]}"
        seen.append((label, address))
    assert not pending, f"never fetched: {pending}"


@pytest.mark.parametrize("case", [c for c in CASES if c.reads is not None], ids=str)
def test_the_fetch_log_names_what_was_fetched(case: Case) -> None:
    log: list[tuple[str, int]] = []
    rig = rig_for(case, caches=False, reads=log)
    run(rig, case)
    assert log == case.reads


@pytest.mark.parametrize("case", [c for c in CASES if c.kind == "ok" and c.leaf_bytes], ids=str)
def test_a_cached_translation_is_the_same_everywhere_in_its_leaf(case: Case) -> None:
    rig = rig_for(case, caches=True)
    run(rig, case)
    rig.memory.reads.clear()
    again = run(rig, case)
    assert isinstance(again, Translated)
    assert again.tlb_hit
    assert (again.pa, again.leaf_bytes, again.ipa) == (case.pa, case.leaf_bytes, case.ipa)
    assert rig.memory.reads == []
    assert case.pa is not None
    assert case.leaf_bytes is not None
    base = case.ask.va & ~(case.leaf_bytes - 1)
    pa_base = case.pa & ~(case.leaf_bytes - 1)
    for offset in (0, case.leaf_bytes // 2, case.leaf_bytes - 1):
        va = base + offset
        who = {"sid": case.ask.sid, "ssid": case.ask.ssid, "privileged": case.ask.privileged}
        assert rig.pa(va, case.ask.op, **who) == pa_base + offset


@pytest.mark.parametrize("case", [c for c in CASES if c.kind == "fault" and c.bus != "stall"], ids=str)
def test_a_fault_is_the_same_the_second_time(case: Case) -> None:
    rig = rig_for(case, caches=True)
    first = view(run(rig, case))
    second = view(run(rig, case))
    assert first == second
    assert len(rig.events()) == 2 * (case.record is not None)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_oracle_agrees(case: Case) -> None:
    """The second walker of these tests must itself be right about everything that is known."""
    registers = (
        IDR | {"CR0": 0x1F, "CR2": 6, "STRTAB_BASE": STREAM_TABLE, "STRTAB_BASE_CFG": 6} | case.registers
    )
    answer = oracle.translate(registers, case.memory, case.ask)
    got = (
        answer.kind,
        answer.pa,
        answer.leaf_bytes,
        answer.ipa,
        answer.code,
        answer.stage,
        answer.fault_class,
    )
    want = (case.kind, case.pa, case.leaf_bytes, case.ipa, case.code, case.stage, case.fault_class)
    assert got == want
    assert (answer.level, answer.bus) == (case.level, case.bus)
    assert (answer.record is None) == (case.record is None)
    if answer.record is not None:
        assert same_record(answer.record, case)
    assert answer.writes == case.after
    if case.reads is not None:
        assert answer.fetches == case.reads


# Nothing answers on the bus -------------------------------------------------------------------------------------------

BY_NAME = {case.name: case for case in CASES}


def broken_places() -> list[tuple[str, int, str]]:
    """(case, address, kind of fetch) for each fetch of a few walks."""
    out = []
    for name in ("W01", "64-CD leaves split at bit 6: SSID 0x45 is 5 in leaf 1", "X01", "N01", "C07", "N06"):
        reads = BY_NAME[name].reads
        assert reads is not None
        out += [(name, address, label) for label, address in dict.fromkeys(reads)]
    return out


@pytest.mark.parametrize(("name", "address", "label"), broken_places())
def test_external_abort_on_a_fetch(name: str, address: int, label: str) -> None:
    """F_STE_FETCH, F_CD_FETCH or F_WALK_EABT, with the physical address of what could not be read."""
    case = BY_NAME[name]
    rig = rig_for(case, caches=False)
    rig.memory.broken.add(address)
    registers = (
        IDR | {"CR0": 0x1F, "CR2": 6, "STRTAB_BASE": STREAM_TABLE, "STRTAB_BASE_CFG": 6} | case.registers
    )
    want = oracle.translate(registers, case.memory, case.ask, frozenset({address}))
    assert want.code == (0x03 if label.startswith("STE") else 0x09 if label.startswith("CD") else 0x0B)
    got = view(run(rig, case))
    assert (got.kind, got.code, got.bus) == ("fault", want.code, "abort")
    [event] = rig.events()
    assert want.record is not None
    assert event.words[0] == want.record[0]
    reason = ~0xFFFF  # implementation defined
    assert event.words[1] & reason == want.record[1] & reason
    assert event.words[2:] == want.record[2:]


def test_external_abort_on_a_descriptor_update() -> None:
    """The update of an access flag is a bus access as well."""
    case = BY_NAME["W29"]
    rig = rig_for(case, caches=False)
    slot = next(iter(case.after))

    def refuse(pa: int, expected: int, new: int, /) -> int:
        rig.memory.broken.add(pa)
        return Memory.compare_exchange64(rig.memory, pa, expected, new)

    rig.memory.compare_exchange64 = refuse  # type: ignore[method-assign]  # only this one access fails
    assert view(run(rig, case)).code == oracle.F_WALK_EABT
    assert rig.memory[slot] == case.memory[slot]


def test_update_walks_again_when_the_descriptor_changed_under_it() -> None:
    """The update is a compare-and-swap: what the other agent wrote in between counts."""
    case = BY_NAME["W29"]
    rig = rig_for(case, caches=False)
    slot = next(iter(case.after))
    raced: list[int] = []

    def race(pa: int, expected: int, new: int, /) -> int:
        if not raced:
            raced.append(pa)
            rig.memory[slot] = 0x1234_5B43  # another page, access flag still clear
        return Memory.compare_exchange64(rig.memory, pa, expected, new)

    rig.memory.compare_exchange64 = race  # type: ignore[method-assign]  # the other agent
    outcome = run(rig, case)
    assert isinstance(outcome, Translated)
    assert outcome.pa == 0x1234_5ABC
    assert rig.memory[slot] == 0x1234_5F43
    assert raced == [slot]


# The names of the events of one access are one ------------------------------------------------------------------------


def test_at_most_one_event_an_access() -> None:
    for case in CASES:
        rig = rig_for(case, caches=False)
        run(rig, case)
        assert len(rig.events()) <= 1


def test_case_names_are_unique() -> None:
    names = sorted(case.name for case in CASES)
    assert all(a != b for a, b in pairwise(names))
    assert len(WORKED) > 90


def test_event_helper_reads_the_golden_stall() -> None:
    event = Event((0x10_0000_5810, 0x208_8000_BEEF, 0x1234_5678_9ABC, 0))
    assert (event.code, event.sid, event.ssid, event.stag, event.stall) == (0x10, 0x10, 5, 0xBEEF, True)

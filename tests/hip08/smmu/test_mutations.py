"""The model against the second walker: any tables, any structures, any access, and they must say the same."""

from __future__ import annotations

from typing import Any, Literal

from hypothesis import HealthCheck, assume, event, example, given, settings
from hypothesis import strategies as st

from . import oracle
from .cases import CASES, PATH, STE_AT, Case
from .support import (
    CD_TABLES,
    GRANULES,
    GRANULES_TG1,
    IDR,
    QUEUES,
    STREAM_TABLE,
    TABLES,
    Memory,
    Rig,
    make_cd,
    make_ste,
    view,
)


def tries(n: int) -> settings:
    """``n`` examples in an ordinary run, more under a profile that asks for more than the usual hundred."""
    many = n * settings.default.max_examples // 100 if settings.default is not None else n
    return settings(
        max_examples=many,
        deadline=None,
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )


def words_below_queues(memory: Memory) -> dict[int, int]:
    return {a: w for a, w in memory.words.items() if w and a not in QUEUES}


def compare(registers: dict[str, int], memory: dict[int, int], ask: oracle.Ask, *, caches: bool) -> str:
    """Both walk; the outcome, the record in the queue and the memory afterwards must be equal."""
    try:
        want = oracle.translate(registers, memory, ask)
    except oracle.Unsettled:
        assume(False)
        raise
    idr = {name: registers[name] for name in IDR}
    others = {k: v for k, v in registers.items() if k not in IDR}
    rig = Rig(idr=idr, memory=Memory(memory), registers=others, options={"caches": caches})

    def once(want: oracle.Answer) -> None:
        got = view(rig.access(ask.va, ask.op, sid=ask.sid, ssid=ask.ssid, privileged=ask.privileged))
        events = rig.events()
        if want.record is not None:
            [got_event] = events
            assert tuple(hex(w) for w in clear_stag(got_event.words, want)) == tuple(
                hex(w) for w in want.record
            )
        else:
            assert events == []
        for name in (
            "kind",
            "code",
            "stage",
            "fault_class",
            "level",
            "bus",
            "record",
            "pa",
            "leaf_bytes",
            "ipa",
        ):
            assert getattr(got, name) == getattr(want, name), f"{name}: got {got}, want {want}"

    once(want)
    after = {a: w for a, w in (memory | want.writes).items() if w}
    assert words_below_queues(rig.memory) == after
    if caches and want.bus != "stall":  # once more, now that everything may be cached
        once(oracle.translate(registers, after, ask))
    return want.kind if want.code is None else f"{want.code:#04x} stage {want.stage}"


def clear_stag(words: tuple[int, ...], want: oracle.Answer) -> tuple[int, ...]:
    return (words[0], words[1] & ~0xFFFF, *words[2:]) if want.bus == "stall" else words


# Mutations of known cases ---------------------------------------------------------------------------------------------

IDR0_FIELDS = [(1, 0), (1, 1), (3, 6), (1, 10), (1, 12), (1, 18), (1, 19), (3, 24), (1, 26)]
OPS: st.SearchStrategy[Literal["R", "W", "X"]] = st.sampled_from(["R", "W", "X"])
SPREAD = [0, 1, 11, 12, 13, 20, 21, 29, 30, 31, 38, 39, 40, 47, 48, 54, 55, 56, 63]


def flip(memory: dict[int, int], address: int, bit: int) -> None:
    memory[address] = memory.get(address, 0) ^ 1 << bit


@st.composite
def mutated(draw: st.DrawFn) -> tuple[dict[str, int], dict[int, int], oracle.Ask]:
    case: Case = draw(st.sampled_from(CASES))
    memory = dict(case.memory)
    registers = (
        IDR | {"CR0": 0x1F, "CR2": 6, "STRTAB_BASE": STREAM_TABLE, "STRTAB_BASE_CFG": 6} | case.registers
    )
    ask = case.ask
    used = sorted(set(memory) | {STE_AT + 8 * n for n in range(4)} | {CD_TABLES + 8 * n for n in range(3)})
    for kind in draw(st.lists(st.sampled_from("bbbbwwtavvoksxy"), min_size=1, max_size=4)):
        match kind:
            case "b":  # one bit of one word
                flip(memory, draw(st.sampled_from(used)), draw(st.integers(0, 63)))
            case "w":  # another descriptor
                memory[draw(st.sampled_from(used))] = (
                    draw(st.sampled_from([0x5000_1000, 0x5000_3000, 0x6000_2000, 0x8765_4000, 1 << 40, 0]))
                    | draw(st.integers(0, 0xFFF))
                    | draw(st.integers(0, 0x1FFF)) << 51
                )
            case "t":  # anything
                memory[draw(st.sampled_from(used))] = draw(st.integers(0, oracle.M64))
            case "a":  # an attribute of something that is a descriptor
                flip(
                    memory,
                    draw(st.sampled_from(used)),
                    draw(st.sampled_from([0, 1, 6, 7, 10, 51, 53, 54, 61, 62])),
                )
            case "v":
                ask = ask._replace(va=ask.va ^ 1 << draw(st.sampled_from(SPREAD)))
            case "o":
                ask = ask._replace(op=draw(OPS), privileged=draw(st.booleans()))
            case "k":
                ask = ask._replace(ssid=draw(st.none() | st.sampled_from([0, 1, 5, 15, 16, 0x45, 0xFFFFF])))
            case "s":
                ask = ask._replace(sid=draw(st.sampled_from([0x10, 0x11, 0x3F, 0x40, 0x1234])))
            case "x":  # other hardware
                mask, low = draw(st.sampled_from(IDR0_FIELDS))
                value = draw(st.integers(0, mask - 1 if mask == 3 else mask))
                registers["IDR0"] = registers["IDR0"] & ~(mask << low) | value << low
            case "y":
                registers["IDR1"] ^= 1 << 26
                registers["IDR3"] ^= draw(st.sampled_from([0, 1 << 2, 1 << 4]))
                registers["IDR5"] ^= draw(st.sampled_from([0, 1 << 4, 1 << 5, 1 << 6]))
                flip(memory, STE_AT + 8, draw(st.integers(48, 51)))
    return registers, memory, ask


#: Stage 2 stops the fetch of the context descriptor, for an access that the stream calls another than it is.
OVERRIDDEN_FETCH = (
    {
        "IDR0": 139277467, "IDR1": 84428048, "IDR3": 5172, "IDR5": 1048693, "AIDR": 2, "CR0": 31, "CR2": 6,
        "STRTAB_BASE": 0x4000_0000, "STRTAB_BASE_CFG": 6,
    },
    {
        0x4000_0400: 1_092_616_207, 0x4000_0408: 2_269_391_999_729_876, 0x4000_0410: 291_948_202_922_344_490,
        0x4000_0418: 1_610_612_736, 1_610_612_744: 1_610_620_931, 1_610_612_752: 1_610_629_123,
    },
    oracle.Ask(sid=16, ssid=None, va=20015998343869, op="X", privileged=False),
)  # fmt: skip


@tries(2000)
@given(mutated(), st.booleans())
@example(OVERRIDDEN_FETCH, False)
@example(OVERRIDDEN_FETCH, True)
def test_mutated_cases(mutation: tuple[dict[str, int], dict[int, int], oracle.Ask], caches: bool) -> None:
    registers, memory, ask = mutation
    event(compare(registers, memory, ask, caches=caches))


# Stage 1 from nothing: every geometry ---------------------------------------------------------------------------------

FLAGS = st.integers(0, 1)


@st.composite
def stage1_walks(draw: st.DrawFn, largest: int = 39) -> tuple[dict[int, int], oracle.Ask]:
    """A whole stage-1 configuration of any granule, size and half, that translates more often than not."""
    g, txsz, upper = draw(st.sampled_from([12, 14, 16])), draw(st.integers(16, largest)), draw(st.booleans())
    stride, ia = g - 3, 64 - txsz
    start = 4 - -(-(ia - g) // stride)
    leaves = [3] + [n for n in ((1, 2) if g == 12 else (2,)) if n >= start]
    leaf = draw(st.sampled_from(leaves))
    va = draw(st.integers(0, (1 << ia) - 1))
    memory: dict[int, int] = {}
    table = TABLES
    for level in range(start, leaf + 1):
        low = g + stride * (3 - level)
        index = (va >> low) & ((1 << stride) - 1)
        if level == leaf:
            attributes = 1 << 10 if draw(st.integers(0, 3)) else 0
            attributes |= draw(st.sampled_from([0, 1 << 6, 1 << 7, 3 << 6]))
            for attribute in (51, 53, 54):
                attributes |= draw(FLAGS) << attribute
            out = draw(st.integers(0, (1 << 44) - 1)) & ~((1 << low) - 1)
            memory[table + 8 * index] = out | attributes | (3 if level == 3 else 1)
        else:
            hierarchy = draw(st.sampled_from([0, 0, 0, 1 << 59, 1 << 60, 1 << 61, 1 << 62]))
            memory[table + 8 * index] = table + (1 << 17) | hierarchy | 3
            table += 1 << 17
    tag = 0x5A << 56 if draw(st.integers(0, 7)) == 7 else 0
    if upper:
        va |= oracle.M64 & ~((1 << ia) - 1)
    options: dict[str, Any] = {
        name: draw(FLAGS)
        for name in ("ha", "hd", "affd", "wxn", "pan", "stall", "abort", "record", "had0", "tbi0", "tbi1")
    }
    if upper:
        options |= {"ttb1": TABLES, "t1sz": txsz, "tg1": GRANULES_TG1[g]}
        had1, options["had0"] = options["had0"] << 1, 0
        cd = make_cd(None, **options)
        cd[2] |= had1
    else:
        cd = make_cd(TABLES, t0sz=txsz, tg0=GRANULES[g], **options)
    cdmax = draw(st.sampled_from([0, 4]))
    ssid = draw(st.sampled_from([0, 3, 15])) if cdmax else None
    for n, word in enumerate(make_ste(cd=CD_TABLES, cdmax=cdmax)):
        memory[STE_AT + 8 * n] = word
    for n, word in enumerate(cd):
        memory[CD_TABLES + 64 * (ssid or 0) + 8 * n] = word
    ask = oracle.Ask(0x10, ssid, va ^ tag, draw(OPS), draw(st.booleans()))
    return memory, ask


def registers_of(**idr: int) -> dict[str, int]:
    return IDR | idr | {"CR0": 0x1F, "CR2": 6, "STRTAB_BASE": STREAM_TABLE, "STRTAB_BASE_CFG": 6}


@tries(1500)
@given(stage1_walks(), st.booleans())
def test_stage_1_of_any_geometry(walk: tuple[dict[int, int], oracle.Ask], caches: bool) -> None:
    memory, ask = walk
    event(compare(registers_of(), memory, ask, caches=caches))


@tries(300)
@given(stage1_walks(largest=48), st.sampled_from([1, 2, 3, 4, 5]))
def test_stage_1_with_small_tables_and_narrow_addresses(
    walk: tuple[dict[int, int], oracle.Ask], oas: int
) -> None:
    memory, ask = walk
    registers = registers_of(IDR3=IDR["IDR3"] | 1 << 9, IDR5=IDR["IDR5"] & ~7 | oas)
    event(compare(registers, memory, ask, caches=True))


# Nested: stage 2 under random stage-1 tables --------------------------------------------------------------------------

S2_ROOT = 0x6_0000_0000
S2_OFFSET = 0x10_0000_0000


@st.composite
def nested_walks(draw: st.DrawFn) -> tuple[dict[int, int], oracle.Ask]:
    """Stage 1 lives in guest-physical space; stage 2 maps pages and blocks of any granule, with odd rights at times."""
    stage1, ask = draw(stage1_walks())
    g = draw(st.sampled_from([12, 14, 16]))
    ia, start = 48, {12: 0, 14: 1, 16: 1}[g]
    ipas = {a & ~0xFFF for a in stage1 if not STE_AT <= a < STE_AT + 64}
    leaf_words = [w for w in stage1.values() if w & 3]
    ipas |= {w & 0xFFFF_FFFF_F000 for w in leaf_words}
    memory: dict[int, int] = {}
    fresh = S2_ROOT + (1 << 20)
    for ipa in sorted(ipas):
        leaf = draw(st.sampled_from([3, 2])) if draw(st.integers(0, 31)) else -1
        table = S2_ROOT
        for level in range(start, 4):
            low = g + (g - 3) * (3 - level)
            width = ia - low if level == start else g - 3
            slot = table + 8 * ((ipa >> low) & ((1 << width) - 1))
            if level == leaf or level == 3:
                if slot not in memory and leaf >= 0:
                    out = ((ipa + S2_OFFSET) >> low) << low
                    rights = (3 if draw(st.integers(0, 15)) else draw(st.sampled_from([0, 1, 2]))) << 6
                    flag = (1 << 10) if draw(st.integers(0, 15)) else 0
                    device = 0xF << 2 if draw(st.integers(0, 15)) else 0
                    more = (
                        draw(st.sampled_from([1 << 51, 1 << 53, 1 << 54]))
                        if draw(st.integers(0, 7)) == 7
                        else 0
                    )
                    memory[slot] = out | rights | flag | device | more | (3 if level == 3 else 1)
                break
            if slot not in memory:
                memory[slot] = fresh | 3
                fresh += 1 << 17
            elif memory[slot] & 3 == 1:
                break
            table = memory[slot] & 0xFFFF_FFFF_F000
    for address, word in stage1.items():
        memory[address if STE_AT <= address < STE_AT + 64 else address + S2_OFFSET] = word
    flags = {f"s2{n}": draw(FLAGS) for n in ("ha", "hd", "affd", "ptw", "s", "r")}
    old = [stage1[STE_AT + 8 * n] for n in range(2)]
    ste = make_ste(
        0b111,
        cd=CD_TABLES,
        cdmax=old[0] >> 59,
        s2ttb=S2_ROOT,
        s2t0sz=64 - ia,
        s2sl0={12: 2, 14: 2, 16: 2}[g],
        s2tg=GRANULES[g],
        **flags,
    )
    for n, word in enumerate(ste):
        memory[STE_AT + 8 * n] = word
    return memory, ask


@tries(800)
@given(nested_walks(), st.booleans())
def test_nested_of_any_geometry(walk: tuple[dict[int, int], oracle.Ask], caches: bool) -> None:
    memory, ask = walk
    event(compare(registers_of(), memory, ask, caches=caches))


# Stream tables --------------------------------------------------------------------------------------------------------


@tries(500)
@given(
    sid=st.integers(0, 0x1FFFF),
    log2size=st.integers(0, 20),
    split=st.sampled_from([6, 8, 10]),
    span=st.integers(0, 31),
    two_level=st.booleans(),
    record=st.booleans(),
    junk=st.integers(0, 1 << 10),
)
@example(sid=0x1234, log2size=16, split=8, span=9, two_level=True, record=True, junk=0)
@example(sid=0x1234, log2size=16, split=8, span=6, two_level=True, record=True, junk=0)
@example(sid=0x1234, log2size=16, split=8, span=9, two_level=True, record=True, junk=0xFF)
@example(sid=0x10034, log2size=20, split=8, span=9, two_level=True, record=True, junk=0)
def test_stream_tables(
    sid: int, log2size: int, split: int, span: int, two_level: bool, record: bool, junk: int
) -> None:
    """``junk`` are pointer bits below the size of the second level, which the hardware takes as zero."""
    memory = {CD_TABLES + 8 * n: w for n, w in enumerate(make_cd(0x5000_0000))} | PATH
    ste = make_ste(cd=CD_TABLES)
    if two_level:
        memory[STREAM_TABLE + 8 * (sid >> split)] = (
            0x4800_0000 | span | (junk << 6) & ((1 << min(span, 11) + 5) - 1) & ~0x3F
        )
        place = 0x4800_0000 + 64 * (sid & ((1 << split) - 1))
    else:
        place = STREAM_TABLE + 64 * sid
    memory |= {place + 8 * n: w for n, w in enumerate(ste)}
    registers = IDR | {
        "CR0": 0x1F,
        "CR2": 4 | record << 1,
        "STRTAB_BASE": STREAM_TABLE,
        "STRTAB_BASE_CFG": log2size | split << 6 | two_level << 16,
    }
    event(compare(registers, memory, oracle.Ask(sid, None, 0x1234_5678_9ABC), caches=True))

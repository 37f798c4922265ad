"""Single accesses with known ends: the golden walks, and more of them put together by hand.

A case is one access against one memory. ``WALKS`` are the vectors of the file; ``WORKED`` are examples worked through
on paper: every index, descriptor and record below was computed from the layout tables, not by a program.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .oracle import M64, Ask
from .support import CD_TABLES, IDR, STREAM_TABLE, VECTORS, make_cd, make_ste

CLASSES = {"CD": 0, "TT": 1, "IN": 2, None: None}
ALL_BITS = (M64, M64, M64, M64)
#: NSIPA and, outside stage-2 permission faults of class TT, TTRnW; and the IPA of a stage-1 fault.
STAGE1_BITS = (M64, M64 & ~(1 << 38 | 1 << 44), M64, 0)
STAG_BITS = (M64, M64 & ~(1 << 38 | 1 << 44 | 0xFFFF), M64, 0)


@dataclass
class Case:
    name: str
    memory: dict[int, int]
    ask: Ask
    kind: str  # ok, fault, silent
    registers: dict[str, int] = field(default_factory=dict)
    pa: int | None = None
    leaf_bytes: int | None = None
    ipa: int | None = None
    after: dict[int, int] = field(default_factory=dict)
    code: int | None = None
    stage: int | None = None
    fault_class: int | None = None
    level: int | None = None
    bus: str | None = None
    record: tuple[int, ...] | None = None
    mask: tuple[int, ...] = ALL_BITS
    reads: list[tuple[str, int]] | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def idr(self) -> dict[str, int]:
        return IDR | {k: v for k, v in self.registers.items() if k in IDR}


def _number(text: str | None) -> int | None:
    return None if text is None else int(text, 16)


def _golden(vector: dict[str, Any]) -> Case:
    expect, access = vector["expect"], vector["access"]
    return Case(
        vector["id"],
        {int(a, 16): int(w, 16) for a, w in vector["memory"].items()},
        Ask(
            int(access["sid"], 16),
            _number(access["ssid"]),
            int(access["va"], 16),
            access["op"],
            access["priv"],
        ),
        {"ok": "ok", "fault": "fault", "abort_silent": "silent"}[expect["kind"]],
        {k: int(v, 16) for k, v in vector["regs"].items()},
        pa=_number(expect.get("pa")),
        leaf_bytes=_number(expect.get("leaf_bytes")),
        ipa=_number(expect.get("ipa")),
        after={int(a, 16): int(w, 16) for a, w in expect.get("memory_after", {}).items()},
        code=_number(expect.get("code")),
        stage=expect.get("stage"),
        fault_class=CLASSES[expect.get("fault_class")],
        level=expect.get("level"),
        bus=expect.get("bus"),
        record=tuple(int(w, 16) for w in expect["record"]) if expect.get("record") else None,
        mask=tuple(int(w, 16) for w in expect["compare_mask"]) if expect.get("compare_mask") else ALL_BITS,
        reads=[(label, int(a, 16)) for label, a in expect["reads"]] if "reads" in expect else None,
    )


WALKS = [_golden(v) for v in VECTORS["walk_vectors"]]


# Worked on paper ------------------------------------------------------------------------------------------------------
# SID 0x10, so its STE stands at 0x4000_0400; CD at 0x4100_0000; TTB0 0x5000_0000.

VA = 0x1234_5678_9ABC  # 4K indices 0x24, 0xD1, 0xB3, 0x189; offset 0xABC
STE_AT = STREAM_TABLE + 64 * 0x10
TTB0 = 0x5000_0000
L0, L1, L2, L3 = 0x5000_0120, 0x5000_1688, 0x5000_2598, 0x5000_3C48
PATH = {L0: 0x5000_1003, L1: 0x5000_2003, L2: 0x5000_3003, L3: 0x8765_4F43}
READS4 = [("S1L0", L0), ("S1L1", L1), ("S1L2", L2), ("S1L3", L3)]
PA = 0x8765_4ABC


def structures(ste: list[int], cds: dict[int, list[int]], tables: dict[int, int]) -> dict[int, int]:
    """One memory out of an STE, CDs by address, and descriptors."""
    memory = {STE_AT + 8 * n: w for n, w in enumerate(ste)}
    for at, cd in cds.items():
        memory |= {at + 8 * n: w for n, w in enumerate(cd)}
    return memory | tables


def stage1(
    tables: dict[int, int] | None = None, ste: dict[str, Any] | None = None, **cd: Any
) -> dict[int, int]:
    """Tables laid over the ordinary path; ``cd`` are options of the context descriptor."""
    ttb0 = cd.pop("ttb0", TTB0)
    return structures(
        make_ste(**({"cd": CD_TABLES} | (ste or {}))), {CD_TABLES: make_cd(ttb0, **cd)}, PATH | (tables or {})
    )


def ask(va: int = VA, op: Any = "R", *, ssid: int | None = None, privileged: bool = False) -> Ask:
    return Ask(0x10, ssid, va, op, privileged)


def translation(
    name: str, memory: dict[int, int], question: Ask, pa: int, leaf: int | None, **more: Any
) -> Case:
    return Case(name, memory, question, "ok", pa=pa, leaf_bytes=leaf, **more)


def stage1_fault(
    name: str, memory: dict[int, int], question: Ask, code: int, level: int | None, **more: Any
) -> Case:
    dw0 = 0x10 << 32 | code
    if question.ssid is not None:
        dw0 |= 1 << 11 | question.ssid << 12
    dw1 = 2 << 40 | question.privileged << 33 | (question.op == "X") << 34 | (question.op != "W") << 35
    more = {"bus": "abort", "record": (dw0, dw1, question.va, 0), "mask": STAGE1_BITS} | more
    return Case(name, memory, question, "fault", code=code, stage=1, fault_class=2, level=level, **more)


def refused(name: str, memory: dict[int, int], question: Ask, code: int, **more: Any) -> Case:
    """A configuration error: nothing but its code, stream and substream."""
    dw0 = 0x10 << 32 | code
    if question.ssid is not None and code != 0x06:
        dw0 |= question.ssid << 12 | (0 if code == 0x08 else 1 << 11)
    return Case(name, memory, question, "fault", code=code, bus="abort", record=(dw0, 0, 0, 0), **more)


# Nested: guest-physical 0x4100_0000 and 0x5000_0000 lie at 0x1_4100_0000 and 0x1_5000_0000 (2 MiB blocks).
S2TTB = 0x6000_0000
S2_TABLES = {
    0x6000_0008: 0x6000_2003,  # IPA 1 GiB..2 GiB
    0x6000_0010: 0x6000_4003,  # IPA 2 GiB..3 GiB
    0x6000_2040: 0x1_4100_07FD,  # CDs
    0x6000_2400: 0x1_5000_07FD,  # stage-1 tables
    0x6000_41D8: 0x6000_5003,
    0x6000_52A0: 0x2_9876_57FF,  # IPA 0x8765_4000
}
SHIFT = 0x1_0000_0000


def nested(
    tables: dict[int, int] | None = None,
    s2: dict[int, int] | None = None,
    ste: dict[str, Any] | None = None,
    **cd: Any,
) -> dict[int, int]:
    path = {at + SHIFT: word for at, word in (PATH | (tables or {})).items()}
    options = {"cd": CD_TABLES, "s2ttb": S2TTB, "vmid": 0x2A} | (ste or {})
    return structures(
        make_ste(0b111, **options), {CD_TABLES + SHIFT: make_cd(TTB0, **cd)}, path | S2_TABLES | (s2 or {})
    )


def stage2_fault(
    name: str,
    memory: dict[int, int],
    question: Ask,
    code: int,
    cls: int,
    ipa: int,
    level: int | None,
    **more: Any,
) -> Case:
    dw1 = (
        1 << 39
        | cls << 40
        | question.privileged << 33
        | (question.op == "X") << 34
        | (question.op != "W") << 35
    )
    dw1 |= more.pop("ttrnw", 0) << 44
    record = (0x10 << 32 | code, dw1, question.va, ipa)
    more = {"bus": "abort", "record": record, "mask": (M64, M64 & ~(1 << 38), M64, M64)} | more
    return Case(name, memory, question, "fault", code=code, stage=2, fault_class=cls, level=level, **more)


TABLE64 = 0x5000_0000
OVERRIDES = {"IDR1": IDR["IDR1"] | 1 << 26}
SMALL_TABLES = {"IDR3": IDR["IDR3"] | 1 << 9}
_W08_PATH = {  # 16K: indices 1, 0x123, 0x22B, 0x1E2
    0x5000_0008: 0x5000_4003,
    0x5000_4918: 0x5000_8003,
    0x5000_9158: 0x5000_C003,
    0x5000_CF10: 0x8765_4F43,
}
_W10_PATH = {0x5000_E8D0: 0x5001_0003, 0x5001_2B38: 0x8765_0F43}  # 64K: indices 0x1D1A, 0x567
_W13_PATH = {0x5000_0040: 0x5000_3003, 0x5000_3C48: 0x8765_4F43}  # starts at L2: indices 8, 0x189
UPPER = 0xFFFF_0000_0000_0000

WORKED = [
    # Sizes and start levels
    translation(
        "W01",
        stage1(),
        ask(),
        PA,
        0x1000,
        reads=[("STE", STE_AT), ("CD", CD_TABLES), *READS4],
    ),
    translation("2 MiB block, write", stage1({L2: 0xA000_0F41}), ask(op="W"), 0xA018_9ABC, 0x20_0000),
    translation("1 GiB block", stage1({L1: 0x1_4000_0F41}), ask(), 0x1_5678_9ABC, 0x4000_0000),
    translation("16K", stage1(_W08_PATH, tg0=2), ask(0x9234_5678_9ABC), 0x8765_5ABC, 0x4000),
    translation(
        "64K, 42 bits", stage1(_W10_PATH, tg0=1, t0sz=22), ask(0x3A3_4567_89AB), 0x8765_89AB, 0x1_0000
    ),
    translation("25 bits: starts at L2", stage1(_W13_PATH, t0sz=39), ask(0x118_9ABC), PA, 0x1000),
    translation(
        "64K block of 512 MiB",
        stage1({0x5000_E8D0: 0x2000_0F41 | 0x8000_0000}, tg0=1, t0sz=22),
        ask(0x3A3_4567_89AB),
        0xA000_0000 | 0x0567_89AB,
        0x2000_0000,
    ),
    translation(
        "the contiguous hint changes nothing", stage1({L3: 0x0010_0000_8765_4F43}), ask(), PA, 0x1000
    ),
    # The upper half
    translation(
        "TTB1 has its own granule code",
        stage1({}, ttb0=None, ttb1=TTB0, tg1=2),
        ask(UPPER | VA),
        PA,
        0x1000,
    ),
    translation(
        "TTB1 with 16K",
        stage1(_W08_PATH, ttb0=None, ttb1=TTB0, tg1=1),
        ask(UPPER | 0x9234_5678_9ABC),
        0x8765_5ABC,
        0x4000,
    ),
    stage1_fault("lower half disabled", stage1(ttb0=None, ttb1=TTB0), ask(), 0x10, None),
    # The size of an address, and tags
    stage1_fault("bit 48 set below the upper half", stage1(), ask(1 << 48 | VA), 0x10, None),
    stage1_fault("a tag without TBI", stage1(), ask(0x5A << 56 | VA), 0x10, None),
    stage1_fault("TBI leaves bits 54:48 to be checked", stage1(tbi0=1), ask(1 << 54 | VA), 0x10, None),
    stage1_fault("bit 55 is no tag", stage1(tbi0=1), ask(1 << 55 | VA), 0x10, None),
    translation(
        "TBI1 in the upper half",
        stage1(ttb0=None, ttb1=TTB0, tbi1=1),
        ask(0x00FF_0000_0000_0000 | VA),
        PA,
        0x1000,
    ),
    stage1_fault("25 bits: bit 25 set", stage1(_W13_PATH, t0sz=39), ask(0x2000000 | 0x118_9ABC), 0x10, None),
    # Invalid descriptors, each level
    *[
        stage1_fault(f"invalid at level {n}", stage1({at: 0x5000_1002}), ask(), 0x10, n)
        for n, at in enumerate((L0, L1, L2, L3))
    ],
    stage1_fault(
        "16K has no block at L1",
        stage1(_W08_PATH | {0x5000_4918: 0x5000_8F41}, tg0=2),
        ask(0x9234_5678_9ABC),
        0x10,
        1,
    ),
    stage1_fault("64K has no block at L1", stage1({TABLE64: 0xF41}, tg0=1), ask(0x5678_9ABC), 0x10, 1),
    # Output size
    stage1_fault("table above IPS", stage1({L1: 0x1_5000_2003}, ips=0), ask(), 0x11, 1),
    stage1_fault("block above IPS", stage1({L2: 0x1_0000_0F41}, ips=0), ask(), 0x11, 2),
    translation(
        "IPS of 52 bits counts as 48", stage1({L3: 0xFFFF_8765_4F43}, ips=6), ask(), 0xFFFF_8765_4ABC, 0x1000
    ),
    # Access flag and dirty state
    stage1_fault(
        "W19, worked",
        stage1({L3: 0x8765_4B43}),
        ask(),
        0x12,
        3,
        record=(0x10_0000_0012, 0x208_0000_0000, 0x1234_5678_9ABC, 0),
    ),
    translation("AFFD ignores the flag", stage1({L3: 0x8765_4B43}, affd=1), ask(), PA, 0x1000),
    translation(
        "HA sets the flag though AFFD is set",
        stage1({L3: 0x8765_4B43}, affd=1, ha=1),
        ask(),
        PA,
        0x1000,
        after={L3: 0x8765_4F43},
    ),
    translation(
        "W30: first write of a clean page",
        stage1({L3: 0x0008_0000_8765_4BC3}, ha=1, hd=1),
        ask(op="W"),
        PA,
        0x1000,
        after={L3: 0x0008_0000_8765_4F43},
    ),
    stage1_fault(
        "HD without HA is no hardware update",
        stage1({L3: 0x0008_0000_8765_4FC3}, hd=1),
        ask(op="W"),
        0x13,
        3,
    ),
    stage1_fault(
        "HA without HD: DBM means nothing",
        stage1({L3: 0x0008_0000_8765_4FC3}, ha=1),
        ask(op="W"),
        0x13,
        3,
    ),
    stage1_fault(
        "APTable holds against DBM; the access flag is set first",
        stage1({L2: 0x4000_0000_5000_3003, L3: 0x0008_0000_8765_4BC3}, ha=1, hd=1),
        ask(op="W"),
        0x13,
        3,
        after={L3: 0x0008_0000_8765_4FC3},
    ),
    translation(
        "a read leaves a clean page clean", stage1({L3: 0x0008_0000_8765_4FC3}, ha=1, hd=1), ask(), PA, 0x1000
    ),
    # Permissions
    stage1_fault("write of a read-only page", stage1({L3: 0x8765_4FC3}), ask(op="W"), 0x13, 3),
    stage1_fault("unprivileged read of a privileged page", stage1({L3: 0x8765_4F03}), ask(), 0x13, 3),
    translation(
        "privileged read of a privileged page", stage1({L3: 0x8765_4F03}), ask(privileged=True), PA, 0x1000
    ),
    stage1_fault(
        "W24: APTable[1] at L1 takes writing away",
        stage1({L1: 0x4000_0000_5000_2003}),
        ask(op="W"),
        0x13,
        3,
        record=(0x10_0000_0013, 0x200_0000_0000, VA, 0),
    ),
    stage1_fault("APTable[0] takes user access away", stage1({L0: 0x2000_0000_5000_1003}), ask(), 0x13, 3),
    translation("HAD0 ignores APTable", stage1({L1: 0x4000_0000_5000_2003}, had0=1), ask(op="W"), PA, 0x1000),
    stage1_fault("PAN: privileged data on a user page", stage1(pan=1), ask(privileged=True), 0x13, 3),
    translation(
        "PAN leaves instruction fetches alone",
        stage1({L3: 0x8765_4FC3}, pan=1),
        ask(op="X", privileged=True),
        PA,
        0x1000,
    ),
    stage1_fault("UXNTable", stage1({L0: 1 << 60 | 0x5000_1003}), ask(op="X"), 0x13, 3),
    stage1_fault(
        "PXNTable",
        stage1({L2: 1 << 59 | 0x5000_3003, L3: 0x8765_4F83}),
        ask(op="X", privileged=True),
        0x13,
        3,
    ),
    translation(
        "an unprivileged fetch asks only the XN rules (execute only)",
        stage1({L3: 0x8765_4F83}),
        ask(op="X"),
        PA,
        0x1000,
    ),
    stage1_fault(
        "what users may write no privileged code runs", stage1(), ask(op="X", privileged=True), 0x13, 3
    ),
    stage1_fault("WXN: writable and so not executable", stage1(wxn=1), ask(op="X"), 0x13, 3),
    translation("WXN: read-only is executable", stage1({L3: 0x8765_4FC3}, wxn=1), ask(op="X"), PA, 0x1000),
    stage1_fault(
        "WXN: a clean DBM page counts as writable",
        stage1({L3: 0x0008_0000_8765_4FC3}, wxn=1, ha=1, hd=1),
        ask(op="X"),
        0x13,
        3,
    ),
    # What the fault becomes: S, A and R of the context descriptor
    stage1_fault("A=0, R=1: read as zero, and told", stage1({L3: 0}, abort=0), ask(), 0x10, 3, bus="raz_wi"),
    stage1_fault(
        "A=0, R=0: read as zero in silence",
        stage1({L3: 0}, abort=0, record=0),
        ask(),
        0x10,
        3,
        bus="raz_wi",
        record=None,
    ),
    stage1_fault("A=1, R=0: abort in silence", stage1({L3: 0}, record=0), ask(), 0x10, 3, record=None),
    Case(
        "W33: stalled, SSID 5",
        structures(
            make_ste(cd=CD_TABLES, cdmax=4),
            {CD_TABLES + 5 * 64: make_cd(TTB0, stall=1, abort=0, record=0)},
            PATH | {L3: 0},
        ),
        ask(ssid=5),
        "fault",
        code=0x10,
        stage=1,
        fault_class=2,
        level=3,
        bus="stall",
        record=(0x10_0000_5810, 0x208_8000_0000, VA, 0),
        mask=STAG_BITS,
    ),
    # Substreams
    translation(
        "64-CD leaves split at bit 6: SSID 0x45 is 5 in leaf 1",
        structures(
            make_ste(cd=CD_TABLES, cdmax=8, fmt=1),
            {0x4200_0000 + 5 * 64: make_cd(TTB0)},
            PATH | {CD_TABLES + 8: 0x4200_0001},
        ),
        ask(ssid=0x45),
        PA,
        0x1000,
        reads=[("STE", STE_AT), ("CD_L1", CD_TABLES + 8), ("CD", 0x4200_0140), *READS4],
    ),
    translation(
        "1024-CD leaves split at bit 10: SSID 0x805 is 5 in leaf 2",
        structures(
            make_ste(cd=CD_TABLES, cdmax=12, fmt=2),
            {0x4200_0000 + 5 * 64: make_cd(TTB0)},
            PATH | {CD_TABLES + 16: 0x4200_0001},
        ),
        ask(ssid=0x805),
        PA,
        0x1000,
        reads=[("STE", STE_AT), ("CD_L1", CD_TABLES + 16), ("CD", 0x4200_0140), *READS4],
    ),
    refused(
        "level-1 CD entry invalid",
        structures(make_ste(cd=CD_TABLES, cdmax=8, fmt=1), {}, PATH | {CD_TABLES + 8: 0x4200_0000}),
        ask(ssid=0x45),
        0x08,
        reads=[("STE", STE_AT), ("CD_L1", CD_TABLES + 8)],
    ),
    refused(
        "CD leaf above the output size",
        structures(make_ste(cd=CD_TABLES, cdmax=8, fmt=1), {}, PATH | {CD_TABLES + 8: 1 << 48 | 1}),
        ask(ssid=0x45),
        0x08,
    ),
    refused(
        "the same without SSID, S1DSS=2: it was SSID 0",
        structures(make_ste(cd=CD_TABLES, cdmax=8, fmt=1, dss=2), {}, PATH),
        ask(),
        0x08,
    ),
    refused("SSID beyond the table", stage1(ste={"cdmax": 4}), ask(ssid=16), 0x08),
    refused("SSID where there are no substreams", stage1(), ask(ssid=0), 0x08),
    refused("no SSID, S1DSS=0", stage1(ste={"cdmax": 4}), ask(), 0x06),
    refused("no SSID, S1DSS=3 is 0", stage1(ste={"cdmax": 4, "dss": 3}), ask(), 0x06),
    translation("no SSID, S1DSS=2 uses CD 0", stage1(ste={"cdmax": 4, "dss": 2}), ask(), PA, 0x1000),
    refused("SSID 0, S1DSS=2", stage1(ste={"cdmax": 4, "dss": 2}), ask(ssid=0), 0x06),
    translation("SSID 0, S1DSS=0 uses CD 0", stage1(ste={"cdmax": 4}), ask(ssid=0), PA, 0x1000),
    translation("no SSID, S1DSS=1 skips stage 1", stage1(ste={"cdmax": 4, "dss": 1}), ask(), VA, None),
    Case(
        "S1DSS=1 and more than 48 bits",
        stage1(ste={"cdmax": 4, "dss": 1}, stall=1),
        ask(1 << 48),
        "fault",
        code=0x11,
        stage=1,
        fault_class=2,
        bus="abort",
        record=(0x10_0000_0011, 0x208_0000_0000, 1 << 48, 0),
        mask=STAGE1_BITS,
    ),
    # Configuration
    refused("STE invalid", stage1(ste={"valid": 0}), ask(), 0x04, reads=[("STE", STE_AT)]),
    refused("STE before SSID: both are wrong", stage1(ste={"valid": 0}), ask(ssid=3), 0x04),
    refused("CD invalid", stage1(valid=0), ask(), 0x0A, reads=[("STE", STE_AT), ("CD", CD_TABLES)]),
    refused("T0SZ 15", stage1(t0sz=15), ask(), 0x0A),
    refused("T0SZ 40", stage1(t0sz=40), ask(), 0x0A),
    refused("TG0=3", stage1(tg0=3), ask(), 0x0A),
    refused("TTB0 above IPS", stage1(ttb0=1 << 36, ips=0), ask(), 0x0A),
    translation(
        "a disabled half may hold anything",
        stage1(t1sz=63, tg1=0) | {CD_TABLES + 16: M64 & ~0xF},
        ask(),
        PA,
        0x1000,
    ),
    refused("S1ContextPtr above the output size", stage1(ste={"cd": 1 << 48}), ask(), 0x04),
    refused("stall forbidden by the STE", stage1(ste={"stalld": 1}, stall=1), ask(), 0x0A),
    *[
        Case(
            f"Config {n:03b} aborts in silence, SSID or not", stage1(ste={"config": n}), ask(ssid=5), "silent"
        )
        for n in range(4)
    ],
    refused("bypass with an SSID", stage1(ste={"config": 4}), ask(ssid=5), 0x08),
    Case(
        "bypass above the output size",
        stage1(ste={"config": 4}),
        ask(1 << 48),
        "fault",
        code=0x11,
        stage=1,
        fault_class=2,
        bus="abort",
        record=(0x10_0000_0011, 0x208_0000_0000, 1 << 48, 0),
        mask=STAGE1_BITS,
    ),
    # Attributes that the stream is given: only where the hardware can
    *[
        translation(name, stage1({L3: leaf}, ste=given), question, PA, 0x1000, registers=OVERRIDES)
        for name, leaf, given, question in (
            ("PRIVCFG=3 makes it privileged", 0x8765_4F03, {"privcfg": 3}, ask()),
            ("PRIVCFG=1 leaves it as it is", 0x8765_4F03, {"privcfg": 1}, ask(privileged=True)),
            ("INSTCFG=2 makes a fetch a read", 1 << 54 | 0x8765_4F43, {"instcfg": 2}, ask(op="X")),
            ("INSTCFG=3 leaves a write a write", 1 << 54 | 0x8765_4F43, {"instcfg": 3}, ask(op="W")),
        )
    ],
    stage1_fault(
        "PRIVCFG=2 makes it unprivileged, and so it is recorded",
        stage1({L3: 0x8765_4F03}, ste={"privcfg": 2}),
        ask(privileged=True),
        0x13,
        3,
        registers=OVERRIDES,
        record=(0x10_0000_0013, 0x208_0000_0000, VA, 0),
    ),
    stage1_fault(
        "INSTCFG=3 makes a read a fetch, and so it is recorded",
        stage1({L3: 1 << 54 | 0x8765_4F43}, ste={"instcfg": 3}),
        ask(),
        0x13,
        3,
        registers=OVERRIDES,
        record=(0x10_0000_0013, 0x20C_0000_0000, VA, 0),
    ),
    stage1_fault(
        "without the feature PRIVCFG means nothing",
        stage1({L3: 0x8765_4F03}, ste={"privcfg": 3}),
        ask(),
        0x13,
        3,
    ),
    # Small tables, where the hardware has them
    translation(
        "STT: 16 bits of address, one table of 16 entries at L3",
        stage1({0x5000_0048: 0x8765_4F43}, t0sz=48),
        ask(0x9ABC),
        PA,
        0x1000,
        registers=SMALL_TABLES,
    ),
    refused("STT: T0SZ 49", stage1(t0sz=49), ask(), 0x0A, registers=SMALL_TABLES),
    refused("STT: 64K goes to 47", stage1(t0sz=48, tg0=1), ask(), 0x0A, registers=SMALL_TABLES),
    # Stage 2
    translation(
        "X01, worked",
        structures(
            make_ste(0b110, cd=0, s2ttb=S2TTB),
            {},
            {0x6000_1340: 0x6000_2003, 0x6000_2D10: 0x6000_3003, 0x6000_3B38: 0xC123_47FF},
        ),
        ask(0x9A_3456_7ABC),
        0xC123_4ABC,
        0x1000,
        reads=[("STE", STE_AT), ("S2L1", 0x6000_1340), ("S2L2", 0x6000_2D10), ("S2L3", 0x6000_3B38)],
    ),
    refused(
        "stage 2 only, with an SSID",
        structures(make_ste(0b110, cd=0, s2ttb=S2TTB), {}, {}),
        ask(ssid=0),
        0x08,
    ),
    stage2_fault(
        "IPA above its size",
        structures(make_ste(0b110, cd=0, s2ttb=S2TTB), {}, {}),
        ask(1 << 40),
        0x10,
        2,
        1 << 40,
        None,
    ),
    # Nested
    stage2_fault(
        "N02: a stage-1 table that stage 2 does not map",
        nested({L0: 0x7000_1003}),
        ask(),
        0x10,
        1,
        0x7000_1000,
        2,
    ),
    stage2_fault("N03: final IPA not mapped", nested(s2={0x6000_52A0: 0}), ask(), 0x10, 2, 0x8765_4000, 3),
    stage2_fault("N04: CD not mapped", nested(s2={0x6000_2040: 0}), ask(), 0x10, 0, 0x4100_0000, 2),
    stage2_fault(
        "stage-1 tables that stage 2 does not let read",
        nested(s2={0x6000_2400: 0x1_5000_073D | 0x80}),
        ask(),
        0x13,
        1,
        0x5000_0000,
        2,
        ttrnw=1,
    ),
    stage2_fault(
        "CDs in Device memory, S2PTW",
        nested(s2={0x6000_2040: 0x1_4100_07C5}, ste={"s2ptw": 1}),
        ask(),
        0x13,
        0,
        0x4100_0000,
        2,
    ),
    translation(
        "nested: access flags of both stages are set by hardware",
        nested({L3: 0x8765_4B43}, s2={0x6000_52A0: 0x2_9876_53FF}, ste={"s2ha": 1}, ha=1),
        ask(),
        0x2_9876_5ABC,
        0x1000,
        ipa=PA,
        after={L3 + SHIFT: 0x8765_4F43, 0x6000_52A0: 0x2_9876_57FF},
    ),
    stage2_fault(
        "nested: write, S2AP is read-only",
        nested(s2={0x6000_52A0: 0x2_9876_577F}),
        ask(op="W"),
        0x13,
        2,
        0x8765_4000,
        3,
    ),
    stage2_fault(
        "nested: privileged fetch, XN=1 is for user code only",
        nested({L3: 0x8765_4FC3}, s2={0x6000_52A0: 1 << 53 | 0x2_9876_57FF}),
        ask(op="X", privileged=True),
        0x13,
        2,
        0x8765_4000,
        3,
    ),
    translation(
        "nested: hardware without XNX knows XN[1] only",
        nested({L3: 0x8765_4FC3}, s2={0x6000_52A0: 1 << 53 | 0x2_9876_57FF}),
        ask(op="X", privileged=True),
        0x2_9876_5ABC,
        0x1000,
        ipa=PA,
        registers={"IDR3": IDR["IDR3"] & ~(1 << 4)},
    ),
    *[
        stage2_fault(
            f"nested: XN={xn} forbids {'privileged' if privileged else 'user'} fetches, IDR3 {idr3:#x}",
            nested({L3: 0x8765_4FC3}, s2={0x6000_52A0: xn << 53 | 0x2_9876_57FF}),
            ask(op="X", privileged=privileged),
            0x13,
            2,
            0x8765_4000,
            3,
            registers={"IDR3": idr3},
        )
        for xn, privileged, idr3 in (
            (2, False, 0x1434),
            (2, True, 0x1434),
            (3, False, 0x1434),
            (2, True, 0x1424),
            (3, True, 0x1424),
        )
    ],
    translation(
        "nested: XN=3 lets privileged code run",
        nested({L3: 0x8765_4FC3}, s2={0x6000_52A0: 3 << 53 | 0x2_9876_57FF}),
        ask(op="X", privileged=True),
        0x2_9876_5ABC,
        0x1000,
        ipa=PA,
    ),
    translation(
        "nested: execute only at stage 2",
        nested({L3: 0x8765_4FC3}, s2={0x6000_52A0: 0x2_9876_573F}),
        ask(op="X"),
        0x2_9876_5ABC,
        0x1000,
        ipa=PA,
    ),
    translation(
        "nested: user fetch, XN=1",
        nested({L3: 0x8765_4FC3}, s2={0x6000_52A0: 1 << 53 | 0x2_9876_57FF}),
        ask(op="X"),
        0x2_9876_5ABC,
        0x1000,
        ipa=PA,
    ),
]
CASES = WALKS + WORKED

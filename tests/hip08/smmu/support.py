"""What the tests of the SMMU share: a memory, the hands of software on it, and one place that knows the model's names.

Structures, commands and records are put together here bit by bit, from the tables of the specification: a codec of the
model that is wrong both ways cannot hide behind itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from wdasync_hip08.smmu import (
    AbortedSilently,
    Access,
    BusError,
    Faulted,
    Outcome,
    Parked,
    Profile,
    Smmu,
    Stall,
    StallState,
    Translated,
    Verdict,
)

from . import oracle

__all__ = ["AbortedSilently", "Faulted", "Parked", "Stall", "StallState", "Translated", "Verdict"]

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors.json").read_text())
KINDS = {Translated: "ok", Faulted: "fault", AbortedSilently: "silent", Parked: "fault"}

# name: (offset, bytes)
REGISTERS: dict[str, tuple[int, int]] = {
    "IDR0": (0x000, 4),
    "IDR1": (0x004, 4),
    "IDR2": (0x008, 4),
    "IDR3": (0x00C, 4),
    "IDR4": (0x010, 4),
    "IDR5": (0x014, 4),
    "IIDR": (0x018, 4),
    "AIDR": (0x01C, 4),
    "CR0": (0x020, 4),
    "CR0ACK": (0x024, 4),
    "CR1": (0x028, 4),
    "CR2": (0x02C, 4),
    "STATUSR": (0x040, 4),
    "GBPA": (0x044, 4),
    "IRQ_CTRL": (0x050, 4),
    "IRQ_CTRLACK": (0x054, 4),
    "GERROR": (0x060, 4),
    "GERRORN": (0x064, 4),
    "GERROR_IRQ_CFG0": (0x068, 8),
    "GERROR_IRQ_CFG1": (0x070, 4),
    "GERROR_IRQ_CFG2": (0x074, 4),
    "STRTAB_BASE": (0x080, 8),
    "STRTAB_BASE_CFG": (0x088, 4),
    "CMDQ_BASE": (0x090, 8),
    "CMDQ_PROD": (0x098, 4),
    "CMDQ_CONS": (0x09C, 4),
    "EVENTQ_BASE": (0x0A0, 8),
    "EVENTQ_IRQ_CFG0": (0x0B0, 8),
    "EVENTQ_IRQ_CFG1": (0x0B8, 4),
    "EVENTQ_IRQ_CFG2": (0x0BC, 4),
    "PRIQ_BASE": (0x0C0, 8),
    "PRIQ_IRQ_CFG0": (0x0D0, 8),
    "PRIQ_IRQ_CFG1": (0x0D8, 4),
    "PRIQ_IRQ_CFG2": (0x0DC, 4),
    "EVENTQ_PROD": (0x100A8, 4),
    "EVENTQ_CONS": (0x100AC, 4),
    "PRIQ_PROD": (0x100C8, 4),
    "PRIQ_CONS": (0x100CC, 4),
}

IDR = {"IDR0": 0x084D349B, "IDR1": 0x01084510, "IDR3": 0x1434, "IDR5": 0x00100075, "AIDR": 2}

STREAM_TABLE = 0x4000_0000
CD_TABLES = 0x4100_0000
TABLES = 0x5_0000_0000
COMMAND_QUEUE = 0xF000_0000  # below 4 GiB, so that the narrowest hardware can reach them
EVENT_QUEUE = 0xF100_0000
PRI_QUEUE = 0xF200_0000
MESSAGE = 0xF300_0000  # where interrupt messages go
QUEUES = range(COMMAND_QUEUE, 0xF400_0000)

SMMUEN, PRIQEN, EVENTQEN, CMDQEN, ATSCHK = 1, 2, 4, 8, 16
EVERYTHING = 0x1F


# Memory -------------------------------------------------------------------------------------------------------------


class Memory:
    """Words by address; what was never written reads as zero, and ``broken`` addresses answer nothing."""

    def __init__(self, words: dict[int, int] | None = None) -> None:
        self.words: dict[int, int] = dict(words or {})
        self.broken: set[int] = set()
        self.reads: list[int] = []  # every aligned word that was read, in order

    def __getitem__(self, pa: int) -> int:
        return self.words.get(pa, 0)

    def __setitem__(self, pa: int, word: int) -> None:
        assert pa % 8 == 0
        assert 0 <= word < 1 << 64
        self.words[pa] = word

    def put(self, pa: int, words: Iterable[int]) -> None:
        for n, word in enumerate(words):
            self[pa + 8 * n] = word

    def take(self, pa: int, count: int) -> tuple[int, ...]:
        return tuple(self[pa + 8 * n] for n in range(count))

    def _check(self, pa: int, n: int) -> None:
        for word in range(pa & ~7, pa + n, 8):
            if word in self.broken:
                raise BusError(pa)

    def read64(self, pa: int, /) -> int:
        assert pa % 8 == 0, f"unaligned word read at {pa:#x}"
        self._check(pa, 8)
        self.reads.append(pa)
        return self[pa]

    def write64(self, pa: int, value: int, /) -> None:
        self._check(pa, 8)
        self[pa] = value

    def compare_exchange64(self, pa: int, expected: int, new: int, /) -> int:
        self._check(pa, 8)
        was = self[pa]
        if was == expected:
            self[pa] = new
        return was

    def read(self, pa: int, n: int, /) -> bytes:
        self._check(pa, n)
        first = pa & ~7
        words = range(first, pa + n, 8)
        self.reads += words
        data = b"".join(self[w].to_bytes(8, "little") for w in words)
        return data[pa - first :][:n]

    def write(self, pa: int, data: bytes, /) -> None:
        self._check(pa, len(data))
        for n, byte in enumerate(data):
            word, shift = (pa + n) & ~7, 8 * ((pa + n) & 7)
            self.words[word] = self[word] & ~(0xFF << shift) | byte << shift


# Structures, bit by bit ---------------------------------------------------------------------------------------------


def make_ste(
    config: int = 0b101,
    *,
    cd: int = CD_TABLES,
    cdmax: int = 0,
    fmt: int = 0,
    dss: int = 0,
    eats: int = 0,
    ppar: int = 0,
    stalld: int = 0,
    vmid: int = 0,
    s2ttb: int = 0,
    s2t0sz: int = 24,
    s2sl0: int = 1,
    s2tg: int = 0,
    s2ps: int = 5,
    s2ptw: int = 0,
    s2ha: int = 0,
    s2hd: int = 0,
    s2affd: int = 0,
    s2s: int = 0,
    s2r: int = 1,
    privcfg: int = 0,
    instcfg: int = 0,
    valid: int = 1,
) -> list[int]:
    """Eight words of a stream table entry; the default is stage 1 with one CD."""
    dw0 = valid | config << 1 | fmt << 4 | cd | cdmax << 59
    dw1 = (
        dss
        | 0b11_01_01 << 2
        | ppar << 18
        | stalld << 27
        | eats << 28
        | 1 << 44
        | privcfg << 48
        | instcfg << 50
    )
    dw2 = vmid
    if config & 2:
        dw2 |= (
            s2t0sz << 32 | s2sl0 << 38 | 0b11_01_01 << 40 | s2tg << 46 | s2ps << 48 | 1 << 51 | s2affd << 53
        )
        dw2 |= s2ptw << 54 | s2hd << 55 | s2ha << 56 | s2s << 57 | s2r << 58
    return [dw0, dw1, dw2, s2ttb, 0, 0, 0, 0]


def make_cd(
    ttb0: int | None,
    *,
    asid: int = 1,
    t0sz: int = 16,
    tg0: int = 0,
    ttb1: int | None = None,
    t1sz: int = 16,
    tg1: int = 2,
    ips: int = 5,
    tbi0: int = 0,
    tbi1: int = 0,
    stall: int = 0,
    abort: int = 1,
    record: int = 1,
    ha: int = 0,
    hd: int = 0,
    affd: int = 0,
    wxn: int = 0,
    pan: int = 0,
    had0: int = 0,
    aset: int = 1,
    valid: int = 1,
) -> list[int]:
    """Eight words of a context descriptor; a half without a table is disabled."""
    walk = 0b11_01_01 << 8
    dw0 = t0sz | tg0 << 6 | walk if ttb0 is not None else 1 << 14
    dw0 |= (t1sz << 16 | tg1 << 22 | walk << 16) if ttb1 is not None else 1 << 30
    dw0 |= valid << 31 | ips << 32 | affd << 35 | wxn << 36 | tbi0 << 38 | tbi1 << 39 | pan << 40 | 1 << 41
    dw0 |= hd << 42 | ha << 43 | stall << 44 | record << 45 | abort << 46 | aset << 47 | asid << 48
    return [dw0, (ttb0 or 0) | had0 << 1, ttb1 or 0, 0x404FF, 0, 0, 0, 0]


#: Attributes of a stage-1 leaf: what a page that everybody may read and write needs.
AF, NG, USER, READ_ONLY, DBM, CONTIGUOUS, PXN, UXN = (
    1 << 10,
    1 << 11,
    1 << 6,
    1 << 7,
    1 << 51,
    1 << 52,
    1 << 53,
    1 << 54,
)
RW = AF | NG | USER | 0b11 << 8
GRANULES = {12: 0, 14: 2, 16: 1}  # log2: TG0 and S2TG
GRANULES_TG1 = {12: 2, 14: 1, 16: 3}


class AddressSpace:
    """Stage-1 tables in a :class:`Memory`, as a kernel would build them."""

    def __init__(self, rig: Rig, *, asid: int = 1, granule: int = 12, t0sz: int = 16) -> None:
        self.memory, self.rig = rig.memory, rig
        self.asid, self.granule, self.t0sz = asid, granule, t0sz
        self.stride = granule - 3
        self.start = 4 - -(-(64 - t0sz - granule) // self.stride)
        self.root = self._table()

    def _table(self) -> int:
        return self.rig.allocate(1 << self.granule)

    def slot(self, va: int, level: int = 3) -> int:
        """Where the descriptor of ``va`` at ``level`` stands; tables on the way are made."""
        table = self.root
        va &= (1 << (64 - self.t0sz)) - 1
        for at in range(self.start, 4):
            low = self.granule + self.stride * (3 - at)
            index = (va >> low) & ((1 << self.stride) - 1)
            if at == level:
                return table + 8 * index
            word = self.memory[table + 8 * index]
            if word & 3 != 3:
                word = self._table() | 3
                self.memory[table + 8 * index] = word
            table = word & ((1 << 48) - 1) & ~((1 << self.granule) - 1)
        raise AssertionError(level)

    def map(self, va: int, pa: int, attributes: int = RW, *, level: int = 3) -> int:
        """Map one page or block; the address of its descriptor."""
        slot = self.slot(va, level)
        self.memory[slot] = pa | attributes | (3 if level == 3 else 1)
        return slot

    def unmap(self, va: int, *, level: int = 3) -> None:
        self.memory[self.slot(va, level)] = 0

    def cd(self, **options: Any) -> list[int]:
        options.setdefault("asid", self.asid)
        return make_cd(self.root, t0sz=self.t0sz, tg0=GRANULES[self.granule], **options)


# Commands -----------------------------------------------------------------------------------------------------------

TG_CODE = {12: 1, 14: 2, 16: 3}


class cmd:  # noqa: N801 -- a namespace: cmd.sync() reads as the specification does
    """Commands as two words."""

    @staticmethod
    def cfgi_ste(sid: int, leaf: int = 1) -> tuple[int, int]:
        return (0x03 | sid << 32, leaf)

    @staticmethod
    def cfgi_ste_range(sid: int, log2: int) -> tuple[int, int]:
        return (0x04 | sid << 32, log2)

    @staticmethod
    def cfgi_all() -> tuple[int, int]:
        return (0x04, 31)

    @staticmethod
    def cfgi_cd(sid: int, ssid: int = 0, leaf: int = 1) -> tuple[int, int]:
        return (0x05 | ssid << 12 | sid << 32, leaf)

    @staticmethod
    def cfgi_cd_all(sid: int) -> tuple[int, int]:
        return (0x06 | sid << 32, 0)

    @staticmethod
    def nh_all(vmid: int = 0) -> tuple[int, int]:
        return (0x10 | vmid << 32, 0)

    @staticmethod
    def nh_asid(asid: int, vmid: int = 0) -> tuple[int, int]:
        return (0x11 | vmid << 32 | asid << 48, 0)

    @staticmethod
    def nh_va(va: int, asid: int, vmid: int = 0, leaf: int = 1) -> tuple[int, int]:
        return (0x12 | vmid << 32 | asid << 48, va & ~0xFFF | leaf)

    @staticmethod
    def nh_vaa(va: int, vmid: int = 0, leaf: int = 1) -> tuple[int, int]:
        return (0x13 | vmid << 32, va & ~0xFFF | leaf)

    @staticmethod
    def nh_va_range(
        va: int,
        asid: int,
        num: int,
        scale: int,
        *,
        granule: int = 12,
        ttl: int = 0,
        vmid: int = 0,
        leaf: int = 1,
    ) -> tuple[int, int]:
        dw0 = 0x12 | num << 12 | scale << 20 | vmid << 32 | asid << 48
        return (dw0, va & ~0xFFF | TG_CODE[granule] << 10 | ttl << 8 | leaf)

    @staticmethod
    def s12_vmall(vmid: int = 0) -> tuple[int, int]:
        return (0x28 | vmid << 32, 0)

    @staticmethod
    def s2_ipa(ipa: int, vmid: int = 0, leaf: int = 1) -> tuple[int, int]:
        return (0x2A | vmid << 32, ipa & ~0xFFF | leaf)

    @staticmethod
    def nsnh_all() -> tuple[int, int]:
        return (0x30, 0)

    @staticmethod
    def atc_inv(sid: int, ssid: int | None, address: int, size: int, glob: int = 0) -> tuple[int, int]:
        ssv = 0 if ssid is None else 1 << 11 | ssid << 12
        return (0x40 | glob << 9 | ssv | sid << 32, address & ~0xFFF | size)

    @staticmethod
    def pri_resp(sid: int, ssid: int | None, prg: int, resp: int) -> tuple[int, int]:
        ssv = 0 if ssid is None else 1 << 11 | ssid << 12
        return (0x41 | ssv | sid << 32, prg | resp << 12)

    @staticmethod
    def resume(
        sid: int, stag: int, answer: Literal["retry", "abort", "terminate"] = "retry"
    ) -> tuple[int, int]:
        return (0x44 | {"retry": 1 << 12, "abort": 1 << 13, "terminate": 0}[answer] | sid << 32, stag)

    @staticmethod
    def stall_term(sid: int) -> tuple[int, int]:
        return (0x45 | sid << 32, 0)

    @staticmethod
    def sync(cs: int = 0) -> tuple[int, int]:
        return (0x46 | cs << 12, 0)


class Event(NamedTuple):
    """One record of the event queue, taken apart by hand."""

    words: tuple[int, ...]

    @property
    def code(self) -> int:
        return self.words[0] & 0xFF

    @property
    def sid(self) -> int:
        return self.words[0] >> 32

    @property
    def ssid(self) -> int | None:
        return (self.words[0] >> 12) & 0xFFFFF if self.words[0] >> 11 & 1 else None

    @property
    def stag(self) -> int:
        return self.words[1] & 0xFFFF

    @property
    def stall(self) -> bool:
        return bool(self.words[1] >> 31 & 1)

    @property
    def va(self) -> int:
        return self.words[2]


# The rig ------------------------------------------------------------------------------------------------------------


def make_smmu(memory: Memory, idr: dict[str, int], **options: Any) -> Smmu:
    """The one place that knows how the model is made."""
    return Smmu(memory, Profile(**{name.lower(): value for name, value in idr.items()}), **options)


@dataclass
class Rig:
    """An SMMU, its memory, and software that brought it up and looks after its queues.

    ``start=False`` leaves every register at its reset value.
    """

    idr: dict[str, int] = field(default_factory=lambda: dict(IDR))
    memory: Memory = field(default_factory=Memory)
    registers: dict[str, int] = field(default_factory=dict)
    sid_bits: int = 8
    cmdq_log2: int = 8
    eventq_log2: int = 7
    priq_log2: int = 7
    start: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.smmu = make_smmu(self.memory, self.idr, **self.options)
        self._next_table = TABLES
        if not self.start:
            return
        self.write("CR2", self.registers.get("CR2", 0x6))
        self.write("STRTAB_BASE", self.registers.get("STRTAB_BASE", STREAM_TABLE))
        self.write("STRTAB_BASE_CFG", self.registers.get("STRTAB_BASE_CFG", self.sid_bits))
        self.write("CMDQ_BASE", COMMAND_QUEUE | self.cmdq_log2)
        self.write("EVENTQ_BASE", EVENT_QUEUE | self.eventq_log2)
        self.write("PRIQ_BASE", PRI_QUEUE | self.priq_log2)
        self.write("CR0", self.registers.get("CR0", EVERYTHING))

    # Registers

    def read(self, name: str) -> int:
        offset, size = REGISTERS[name]
        return self.smmu.read64(offset) if size == 8 else self.smmu.read32(offset)

    def write(self, name: str, value: int) -> None:
        offset, size = REGISTERS[name]
        if size == 8:
            self.smmu.write64(offset, value)
        else:
            self.smmu.write32(offset, value)

    # Tables

    def allocate(self, size: int) -> int:
        address = (self._next_table + size - 1) & ~(size - 1)
        self._next_table = address + size
        return address

    def space(self, **options: Any) -> AddressSpace:
        return AddressSpace(self, **options)

    def set_ste(self, sid: int, words: list[int]) -> None:
        self.memory.put(STREAM_TABLE + 64 * sid, words)

    def set_cd(self, table: int, ssid: int, words: list[int]) -> None:
        self.memory.put(table + 64 * ssid, words)

    def cd_table(self, entries: int = 16) -> int:
        return self.allocate(64 * entries)

    def attach(self, sid: int, space: AddressSpace, **cd_options: Any) -> int:
        """Stream ``sid`` uses ``space`` without SubstreamID; the address of its CD."""
        table = self.cd_table(1)
        self.set_cd(table, 0, space.cd(**cd_options))
        self.set_ste(sid, make_ste(cd=table))
        return table

    # Accesses

    def access(
        self,
        va: int,
        op: Literal["R", "W", "X"] = "R",
        *,
        sid: int = 0x10,
        ssid: int | None = None,
        privileged: bool = False,
        tag: object = None,
    ) -> Outcome:
        return self.smmu.translate(Access(sid=sid, ssid=ssid, va=va, op=op, privileged=privileged, tag=tag))

    def pa(self, va: int, op: Literal["R", "W", "X"] = "R", **who: Any) -> int:
        outcome = self.access(va, op, **who)
        assert isinstance(outcome, Translated), outcome
        return outcome.pa

    def fault(self, va: int, op: Literal["R", "W", "X"] = "R", **who: Any) -> Faulted:
        outcome = self.access(va, op, **who)
        assert isinstance(outcome, Faulted), outcome
        return outcome

    def stall(self, va: int, op: Literal["R", "W", "X"] = "R", **who: Any) -> Stall:
        outcome = self.access(va, op, **who)
        assert isinstance(outcome, Parked), outcome
        return outcome.stall

    # Queues

    def command(self, *commands: tuple[int, int]) -> None:
        """Put commands into the queue and ring: all are consumed, or CONS says where it stopped."""
        mask = (1 << (self.cmdq_log2 + 1)) - 1
        for words in commands:
            prod = self.read("CMDQ_PROD") & mask
            self.memory.put(COMMAND_QUEUE + 16 * (prod & (mask >> 1)), words)
            self.write("CMDQ_PROD", (prod + 1) & mask)

    def sync(self, *commands: tuple[int, int]) -> None:
        """Commands and a SYNC, which must complete."""
        self.command(*commands, cmd.sync())
        assert not (self.read("GERROR") ^ self.read("GERRORN")) & 1, hex(self.read("CMDQ_CONS"))
        assert self.read("CMDQ_CONS") & 0xFFFFF == self.read("CMDQ_PROD")

    def events(self) -> list[Event]:
        """Everything in the event queue; it is empty afterwards and an overflow is acknowledged."""
        prod, cons = self.read("EVENTQ_PROD"), self.read("EVENTQ_CONS")
        mask = (1 << (self.eventq_log2 + 1)) - 1
        out = []
        at = cons & mask
        while at != prod & mask:
            out.append(Event(self.memory.take(EVENT_QUEUE + 32 * (at & (mask >> 1)), 4)))
            at = (at + 1) & mask
        self.write("EVENTQ_CONS", at | prod & 1 << 31)
        return out

    def page_requests(self) -> list[tuple[int, ...]]:
        prod, cons = self.read("PRIQ_PROD"), self.read("PRIQ_CONS")
        mask = (1 << (self.priq_log2 + 1)) - 1
        out = []
        at = cons & mask
        while at != prod & mask:
            out.append(self.memory.take(PRI_QUEUE + 16 * (at & (mask >> 1)), 2))
            at = (at + 1) & mask
        self.write("PRIQ_CONS", at | prod & 1 << 31)
        return out

    def state(self, stall: Stall) -> StallState:
        """Where ``stall`` is now; a call, so that a type checker does not take it for what it was before."""
        return stall.state

    def resumed(self) -> list[Stall]:
        return self.smmu.take_resumed()


# Comparing ----------------------------------------------------------------------------------------------------------

STAG_FREE = (oracle.M64, oracle.M64 & ~0xFFFF, oracle.M64, oracle.M64)


def view(outcome: Outcome) -> oracle.Answer:
    """What the model said, in the words of the oracle; the STAG of a stall is left out."""
    if isinstance(outcome, Translated):
        return oracle.Answer("ok", pa=outcome.pa, leaf_bytes=outcome.leaf_bytes, ipa=outcome.ipa)
    if isinstance(outcome, AbortedSilently):
        return oracle.Answer("silent")
    record = None
    if outcome.recorded:
        assert outcome.record is not None
        words = tuple(outcome.record.encode())
        record = (words[0], words[1] & ~0xFFFF, *words[2:])
    return oracle.Answer(
        "fault",
        code=int(outcome.event),
        stage=outcome.stage,
        fault_class=None if outcome.fault_class is None else int(outcome.fault_class),
        level=outcome.level,
        bus=str(outcome.bus),
        record=record,
    )

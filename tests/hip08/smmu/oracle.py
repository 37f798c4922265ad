"""A second opinion: the translation of one access, told once more and as plainly as possible.

It shares no code with the model that it judges: no caches, no codecs, no objects but the answer; words come out of a
dictionary and bits are taken out of words where they are needed. It follows IHI 0070 (structures, checks, faults) and
the VMSAv8-64 walk of DDI 0487 for the Non-secure state with EL1 stream worlds and addresses of up to 48 bits.
Where those leave the outcome to the implementation, :class:`Unsettled` says so and there is nothing to compare.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, NoReturn

M64 = (1 << 64) - 1

C_BAD_STREAMID, F_STE_FETCH, C_BAD_STE, F_STREAM_DISABLED, C_BAD_SUBSTREAMID = 0x02, 0x03, 0x04, 0x06, 0x08
F_CD_FETCH, C_BAD_CD, F_WALK_EABT = 0x09, 0x0A, 0x0B
F_TRANSLATION, F_ADDR_SIZE, F_ACCESS, F_PERMISSION = 0x10, 0x11, 0x12, 0x13
CD, TT, IN = 0, 1, 2

SIZES = (32, 36, 40, 42, 44, 48, 52, 52)  # OAS, IPS and S2PS encodings
GRANULE_TG0 = (12, 16, 14, None)  # TG0 and S2TG
GRANULE_TG1 = (None, 14, 12, 16)


class Unsettled(Exception):
    """The architecture allows more than one outcome here."""


class Ask(NamedTuple):
    sid: int
    ssid: int | None
    va: int
    op: Literal["R", "W", "X"] = "R"
    privileged: bool = False


@dataclass
class Answer:
    """``kind`` ok, fault or silent; ``record`` is four words, or None where the architecture records nothing."""

    kind: str
    pa: int | None = None
    leaf_bytes: int | None = None
    ipa: int | None = None
    code: int | None = None
    stage: int | None = None
    fault_class: int | None = None
    level: int | None = None
    bus: str | None = None
    record: tuple[int, ...] | None = None
    fetches: list[tuple[str, int]] = field(default_factory=list)
    writes: dict[int, int] = field(default_factory=dict)


class Stop(Exception):
    """Translation ends here, without a translation."""

    def __init__(self, code: int, stage: int | None = None, cls: int | None = None, level: int | None = None):
        super().__init__(code)
        self.code, self.stage, self.cls, self.level = code, stage, cls, level
        self.ipa = 0
        self.fetch_address = 0
        self.ttrnw = 0
        #: S, A, R; what is not one of the four translation faults aborts and is recorded.
        self.policy: tuple[int, int, int] = (0, 1, 1)
        self.ssid_known: int | None = None


class Silent(Exception):
    """Aborted, and nothing is recorded."""


def bits(word: int, high: int, low: int) -> int:
    return (word >> low) & ((1 << (high - low + 1)) - 1)


def bit(word: int, n: int) -> int:
    return (word >> n) & 1


class Walker:
    """One access against one set of registers and one memory; use it once."""

    def __init__(
        self, registers: dict[str, int], memory: dict[int, int], broken: frozenset[int] = frozenset()
    ) -> None:
        self.reg = registers
        self.memory = dict(memory)
        self.broken = broken  # word addresses where nothing answers
        self.fetches: list[tuple[str, int]] = []
        self.writes: dict[int, int] = {}
        self.idr0, self.idr1 = registers["IDR0"], registers["IDR1"]
        self.idr3, self.idr5 = registers["IDR3"], registers["IDR5"]
        self.oas = min(SIZES[bits(self.idr5, 2, 0)], 48)
        self.granules = {g for g, n in ((12, 4), (14, 5), (16, 6)) if bit(self.idr5, n)}

    # Memory ---------------------------------------------------------------------------------------------------

    def load(self, label: str, address: int, count: int, on_abort: Stop) -> list[int]:
        self.fetches.append((label, address))
        out = []
        for a in range(address, address + 8 * count, 8):
            if a in self.broken:
                on_abort.fetch_address = address
                raise on_abort
            out.append(self.memory.get(a, 0))
        return out

    def store(self, address: int, value: int) -> None:
        self.memory[address] = value
        self.writes[address] = value

    # The whole access -----------------------------------------------------------------------------------------

    def run(self, ask: Ask) -> Answer:
        self.ask = ask
        try:
            answer = self.translate()
        except Silent:
            answer = Answer("silent")
        except Stop as stop:
            answer = self.ended(stop)
        answer.fetches, answer.writes = self.fetches, self.writes
        return answer

    def ended(self, stop: Stop) -> Answer:
        stall, abort, record = stop.policy
        bus = "stall" if stall else "abort" if abort else "raz_wi"
        recorded = bool(stall or record)
        if stop.code == C_BAD_STREAMID and not bit(self.reg["CR2"], 1):
            recorded = False
        return Answer(
            "fault",
            code=stop.code,
            stage=stop.stage,
            fault_class=stop.cls,
            level=stop.level,
            bus=bus,
            record=self.event(stop, stall) if recorded else None,
        )

    def event(self, stop: Stop, stall: int) -> tuple[int, ...]:
        ask, code = self.ask, stop.code
        dw0 = code | ask.sid << 32
        dw1 = dw2 = dw3 = 0
        if code == C_BAD_SUBSTREAMID:
            dw0 |= (stop.ssid_known if stop.ssid_known is not None else ask.ssid or 0) << 12
        elif code != F_STREAM_DISABLED and ask.ssid is not None:
            dw0 |= 1 << 11 | ask.ssid << 12
        if code in {F_WALK_EABT, F_TRANSLATION, F_ADDR_SIZE, F_ACCESS, F_PERMISSION}:
            assert stop.cls is not None
            dw1 = stall << 31 | ask.privileged << 33 | (ask.op == "X") << 34 | (ask.op != "W") << 35
            dw1 |= (stop.stage == 2) << 39 | stop.cls << 40 | stop.ttrnw << 44
            dw2 = ask.va
            dw3 = stop.ipa & ~0xFFF if stop.stage == 2 else 0
        if code in {F_STE_FETCH, F_CD_FETCH, F_WALK_EABT}:
            dw3 = stop.fetch_address
        return (dw0, dw1, dw2, dw3)

    def translate(self) -> Answer:
        ask = self.ask
        if not bit(self.reg["CR0"], 0):
            if bit(self.reg.get("GBPA", 0), 20) or ask.va >> self.oas:
                raise Silent
            return Answer("ok", pa=ask.va)
        ste = self.find_ste()
        config = self.check_ste(ste)
        ask = self.ask = self.overridden(ste)
        if config == 0b100:
            if ask.ssid is not None:
                raise Stop(C_BAD_SUBSTREAMID)
            self.output_range(ask.va)
            return Answer("ok", pa=ask.va)
        skip_stage1, cd_index = self.choose_cd(ste, config)
        if skip_stage1:
            self.output_range(ask.va)
            if config == 0b101:
                return Answer("ok", pa=ask.va)
            pa, size = self.stage2(ste, ask.va, IN, ask.op, ask.privileged)
            return Answer("ok", pa=pa, leaf_bytes=size, ipa=ask.va if config == 0b111 else None)
        cd = self.fetch_cd(ste, config, cd_index)
        self.check_cd(ste, cd)
        out, size = self.stage1(ste, config, cd)
        if config == 0b101:
            return Answer("ok", pa=out, leaf_bytes=size)
        pa, size2 = self.stage2(ste, out, IN, ask.op, ask.privileged)
        return Answer("ok", pa=pa, leaf_bytes=min(size, size2), ipa=out)

    def overridden(self, ste: list[int]) -> Ask:
        """The access with the attributes that the stream is given."""
        ask = self.ask
        if not bit(self.idr1, 26):
            return ask
        privcfg, instcfg = bits(ste[1], 49, 48), bits(ste[1], 51, 50)
        if privcfg & 2:
            ask = ask._replace(privileged=privcfg == 3)
        if instcfg & 2 and ask.op != "W":
            ask = ask._replace(op="X" if instcfg == 3 else "R")
        return ask

    def output_range(self, address: int) -> None:
        """Stage 1 that translates nothing still has an output size; no CD, so it always aborts and records."""
        if address >> self.oas:
            raise Stop(F_ADDR_SIZE, 1, IN)

    # Stream table ---------------------------------------------------------------------------------------------

    def find_ste(self) -> list[int]:
        base = self.reg["STRTAB_BASE"] & ((1 << 52) - 1) & ~0x3F
        cfg = self.reg["STRTAB_BASE_CFG"]
        log2size, split, two_level = bits(cfg, 5, 0), bits(cfg, 10, 6), bits(cfg, 17, 16) == 1
        log2size = min(log2size, bits(self.idr1, 5, 0))
        sid = self.ask.sid
        if sid >> log2size:
            raise Stop(C_BAD_STREAMID)
        if not two_level:
            return self.load("STE", base + 64 * sid, 8, Stop(F_STE_FETCH))
        [l1] = self.load("STE_L1", base + 8 * (sid >> split), 1, Stop(F_STE_FETCH))
        span = bits(l1, 4, 0)
        index = sid & ((1 << split) - 1)
        if span == 0 or span > 11 or span > split + 1 or index >= 1 << (span - 1):
            raise Stop(C_BAD_STREAMID)
        table = l1 & ((1 << 52) - 1) & ~((1 << (span + 5)) - 1)
        if table >> self.oas:
            raise Unsettled("stream table pointer above the output size")
        return self.load("STE", table + 64 * index, 8, Stop(F_STE_FETCH))

    def check_ste(self, ste: list[int]) -> int:
        """The Config field of a legal STE."""
        config = bits(ste[0], 3, 1)
        if not bit(ste[0], 0):
            raise Stop(C_BAD_STE)
        if not config & 4:
            raise Silent
        bad = self.ats_illegal(ste, config) or self.vmid_illegal(ste, config)
        if config & 1:
            bad = bad or self.stage1_illegal(ste, config)
        if config & 2:
            bad = bad or self.stage2_illegal(ste)
        if bad:
            raise Stop(C_BAD_STE)
        return config

    def ats_illegal(self, ste: list[int], config: int) -> bool:
        eats, s2s = bits(ste[1], 29, 28), bit(ste[2], 57)
        if not bit(self.idr0, 10) or config == 0b100:
            return False
        if eats == 1:
            return bool(config & 2) and bool(s2s)
        return eats == 2 and (config != 0b111 or bool(s2s) or bool(bit(self.idr0, 11)))

    def vmid_illegal(self, ste: list[int], config: int) -> bool:
        return bool(config != 0b100 and bit(self.idr0, 0) and not bit(self.idr0, 18) and bits(ste[2], 15, 8))

    def stage1_illegal(self, ste: list[int], config: int) -> bool:
        if not bit(self.idr0, 1):
            return True
        if bit(ste[1], 27) and bits(self.idr0, 25, 24) != 0:
            return True
        ssidsize, cdmax, fmt = bits(self.idr1, 10, 6), bits(ste[0], 63, 59), bits(ste[0], 5, 4)
        if ssidsize and cdmax > ssidsize:
            return True
        if ssidsize and cdmax and fmt in {1, 2} and not bit(self.idr0, 19):
            return True
        if bits(ste[0], 51, 6) << 6 >> self.oas:
            if config == 0b111:
                raise Unsettled("C_BAD_STE, or a stage-2 fault of the CD fetch")
            return True
        return config == 0b101 and bool(bit(self.idr0, 9)) and bool(bit(ste[1], 30))

    def stage2_illegal(self, ste: list[int]) -> bool:
        dw2 = ste[2]
        httu, stall_model, ttendian = bits(self.idr0, 7, 6), bits(self.idr0, 25, 24), bits(self.idr0, 22, 21)
        if not bit(self.idr0, 0) or not bit(dw2, 51):
            return True
        g = GRANULE_TG0[bits(dw2, 47, 46)]
        if g is None or g not in self.granules:
            return True
        t0sz, sl0 = bits(dw2, 37, 32), bits(dw2, 39, 38)
        if not 16 <= t0sz <= 39 or sl0 == 3:
            return True
        if 64 - t0sz > self.oas or (sl0 == 2 and self.oas < 44):
            raise Unsettled("stage 2 sizes on hardware with narrow addresses")
        start = (2 - sl0) if g == 12 else (3 - sl0)
        first_bits = 64 - t0sz - g - (g - 3) * (3 - start)
        if not 1 <= first_bits <= (g - 3) + 4:
            return True
        if (bits(ste[3], 51, 4) << 4) >> self.s2_output_size(ste):
            return True
        if (ttendian == 2 and bit(dw2, 52)) or (ttendian == 3 and not bit(dw2, 52)):
            return True
        if (bit(dw2, 56) and httu == 0) or (bit(dw2, 55) and httu < 2):
            return True
        return bool((stall_model == 1 and bit(dw2, 57)) or (stall_model == 2 and not bit(dw2, 57)))

    def s2_output_size(self, ste: list[int]) -> int:
        return min(SIZES[bits(ste[2], 50, 48)], self.oas)

    # Context descriptors --------------------------------------------------------------------------------------

    def choose_cd(self, ste: list[int], config: int) -> tuple[bool, int]:
        """(stage 1 is skipped, number of the CD)"""
        ssid = self.ask.ssid
        cdmax = bits(ste[0], 63, 59) if bits(self.idr1, 10, 6) else 0
        if ssid is not None and (not config & 1 or cdmax == 0 or ssid >> cdmax):
            raise Stop(C_BAD_SUBSTREAMID)
        if not config & 1:
            return True, 0
        if cdmax == 0:
            return False, 0
        dss = bits(ste[1], 1, 0)
        if ssid is None:
            if dss in {0, 3}:
                raise Stop(F_STREAM_DISABLED)
            return dss == 1, 0
        if ssid == 0 and dss == 2:
            raise Stop(F_STREAM_DISABLED)
        return False, ssid

    def fetch_cd(self, ste: list[int], config: int, index: int) -> list[int]:
        pointer = bits(ste[0], 51, 6) << 6
        cdmax = bits(ste[0], 63, 59) if bits(self.idr1, 10, 6) else 0
        fmt = bits(ste[0], 5, 4) if cdmax else 0
        split = {1: 6, 2: 10}.get(fmt)
        entry_bits = cdmax + 6 if split is None else max(6, cdmax - split + 3)
        if pointer & ((1 << entry_bits) - 1):
            raise Unsettled("the CD table is not aligned to its size")
        if split is None:
            return self.fetch_config(ste, config, "CD", pointer + 64 * index, 8)
        [l1] = self.fetch_config(ste, config, "CD_L1", pointer + 8 * (index >> split), 1)
        leaf = bits(l1, 51, 12) << 12
        if not bit(l1, 0):
            stop = Stop(C_BAD_SUBSTREAMID)
            stop.ssid_known = index
            raise stop
        if split == 10 and leaf & 0xF000:
            raise Unsettled("a 64 KiB leaf table at an odd place")
        if leaf >> self.oas:
            if config == 0b111:
                raise Unsettled("C_BAD_SUBSTREAMID, or a stage-2 fault of the CD fetch")
            stop = Stop(C_BAD_SUBSTREAMID)
            stop.ssid_known = index
            raise stop
        return self.fetch_config(ste, config, "CD", leaf + 64 * (index & ((1 << split) - 1)), 8)

    def fetch_config(self, ste: list[int], config: int, label: str, address: int, count: int) -> list[int]:
        if config == 0b111:
            address, _ = self.stage2(ste, address, CD, "R", True)
        return self.load(label, address, count, Stop(F_CD_FETCH))

    def check_cd(self, ste: list[int], cd: list[int]) -> None:
        dw0 = cd[0]
        stall_model, httu, ttendian = bits(self.idr0, 25, 24), bits(self.idr0, 7, 6), bits(self.idr0, 22, 21)
        epd0, epd1 = bit(dw0, 14), bit(dw0, 30)
        bad = not bit(dw0, 31) or not bit(dw0, 41)
        bad |= bool(bit(dw0, 44) and (bit(ste[1], 27) or stall_model == 1))
        bad |= stall_model == 2 and not bit(dw0, 44)
        bad |= bool(bit(self.idr0, 26) and not bit(dw0, 46))
        bad |= bool((bit(dw0, 43) and httu == 0) or (bit(dw0, 42) and httu < 2))
        bad |= bool(not bit(self.idr0, 12) and bits(dw0, 63, 56))
        if not (epd0 and epd1):
            bad |= bool((ttendian == 2 and bit(dw0, 15)) or (ttendian == 3 and not bit(dw0, 15)))
        ips = self.ips(cd)
        stt = bit(self.idr3, 9)
        halves = (
            (epd0, bits(dw0, 5, 0), GRANULE_TG0[bits(dw0, 7, 6)], cd[1]),
            (epd1, bits(dw0, 21, 16), GRANULE_TG1[bits(dw0, 23, 22)], cd[2]),
        )
        for disabled, txsz, g, ttb in halves:
            if not disabled:
                largest = (47 if g == 16 else 48) if stt else 39
                bad |= g is None or g not in self.granules or not 16 <= txsz <= largest
                bad |= bool((bits(ttb, 51, 4) << 4) >> ips)
        if bad:
            raise Stop(C_BAD_CD)

    def ips(self, cd: list[int]) -> int:
        return min(SIZES[bits(cd[0], 34, 32)], self.oas)

    # Stage 1 --------------------------------------------------------------------------------------------------

    def fault1(self, cd: list[int], code: int, level: int | None) -> NoReturn:
        stop = Stop(code, 1, IN, level)
        stop.policy = (bit(cd[0], 44), bit(cd[0], 46), bit(cd[0], 45))
        raise stop

    def stage1(self, ste: list[int], config: int, cd: list[int]) -> tuple[int, int]:
        dw0, va = cd[0], self.ask.va
        upper = bit(va, 55)
        if upper:
            disabled, txsz, g, ttb = bit(dw0, 30), bits(dw0, 21, 16), GRANULE_TG1[bits(dw0, 23, 22)], cd[2]
            ignore_tag = bit(dw0, 39)
        else:
            disabled, txsz, g, ttb = bit(dw0, 14), bits(dw0, 5, 0), GRANULE_TG0[bits(dw0, 7, 6)], cd[1]
            ignore_tag = bit(dw0, 38)
        if disabled:
            self.fault1(cd, F_TRANSLATION, None)
        assert g is not None
        ia = 64 - txsz
        top = 55 if ignore_tag else 63
        if bits(va, top, ia) != (((1 << (top - ia + 1)) - 1) if upper else 0):
            self.fault1(cd, F_TRANSLATION, None)
        ignore_hierarchy = bit(ttb, 1) and bit(self.idr3, 2)
        ips, stride = self.ips(cd), g - 3
        level = 4 - -(-(ia - g) // stride)
        index_bits = ia - g - stride * (3 - level)
        table = bits(ttb, 51, 4) << 4
        table &= ~((1 << max(index_bits + 3, 4)) - 1)
        ap_table = pxn_table = uxn_table = 0
        while True:
            low = g + stride * (3 - level)
            index = bits(va, low + index_bits - 1, low)
            address = table + 8 * index
            place = self.table_address(ste, config, address, "R")
            [desc] = self.load(f"S1L{level}", place, 1, self.eabt(1, TT))
            kind = desc & 3
            if kind in {0, 2} or (kind == 1 and not self.block_allowed(g, level)):
                self.fault1(cd, F_TRANSLATION, level)
            if kind == 1 or level == 3:
                break
            if not ignore_hierarchy:
                ap_table |= bits(desc, 62, 61)
                pxn_table |= bit(desc, 59)
                uxn_table |= bit(desc, 60)
            table = bits(desc, 47, g) << g
            if table >> ips:
                self.fault1(cd, F_ADDR_SIZE, level)
            level += 1
            index_bits = stride
        out = bits(desc, 47, low) << low
        if out >> ips:
            self.fault1(cd, F_ADDR_SIZE, level)
        ha, hd = bit(dw0, 43), bit(dw0, 43) and bit(dw0, 42)
        new = desc
        if not bit(desc, 10):
            if ha:
                new |= 1 << 10
            elif not bit(dw0, 35):
                self.fault1(cd, F_ACCESS, level)
        allowed = self.allowed1(cd, desc, ap_table, pxn_table, uxn_table)
        clean = hd and bit(desc, 51) and bit(desc, 7)
        if allowed and self.ask.op == "W" and clean:
            new &= ~(1 << 7)
        if new != desc:
            if config == 0b111:
                place = self.table_address(ste, config, address, "W")
            self.store(place, new)
        if not allowed:
            self.fault1(cd, F_PERMISSION, level)
        return out | bits(va, low - 1, 0), 1 << low

    def block_allowed(self, g: int, level: int) -> bool:
        return level in ({1, 2} if g == 12 else {2})

    def table_address(self, ste: list[int], config: int, address: int, op: str) -> int:
        if config != 0b111:
            return address
        pa, _ = self.stage2(ste, address, TT, op, True)
        return pa

    def eabt(self, stage: int, cls: int) -> Stop:
        return Stop(F_WALK_EABT, stage, cls)

    def allowed1(self, cd: list[int], desc: int, ap_table: int, pxn_table: int, uxn_table: int) -> bool:
        dw0 = cd[0]
        dirty_managed = bit(dw0, 43) and bit(dw0, 42) and bit(desc, 51)
        user = bool(bit(desc, 6)) and not ap_table & 1
        writable = (not bit(desc, 7) or bool(dirty_managed)) and not ap_table & 2
        wxn, pan = bit(dw0, 36), bit(dw0, 40)
        if self.ask.op == "X":
            if self.ask.privileged:
                never = bit(desc, 53) or pxn_table or (user and writable) or (wxn and writable)
            else:
                never = bit(desc, 54) or uxn_table or (wxn and user and writable)
            return not never
        if self.ask.privileged:
            if pan and user:
                return False
        elif not user:
            return False
        return writable or self.ask.op == "R"

    # Stage 2 --------------------------------------------------------------------------------------------------

    def stage2(self, ste: list[int], ipa: int, cls: int, op: str, privileged: bool) -> tuple[int, int]:
        dw2 = ste[2]

        def fault(code: int, level: int | None) -> NoReturn:
            stop = Stop(code, 2, cls, level)
            stop.policy = (bit(dw2, 57), 1, bit(dw2, 58))
            stop.ipa = ipa
            stop.ttrnw = int(code == F_PERMISSION and cls == TT and op == "R")
            raise stop

        g = GRANULE_TG0[bits(dw2, 47, 46)]
        assert g is not None
        ia, sl0 = 64 - bits(dw2, 37, 32), bits(dw2, 39, 38)
        if ipa >> ia:
            fault(F_TRANSLATION, None)
        stride = g - 3
        level = (2 - sl0) if g == 12 else (3 - sl0)
        index_bits = ia - g - stride * (3 - level)
        table = bits(ste[3], 51, 4) << 4
        table &= ~((1 << (index_bits + 3)) - 1)
        size = self.s2_output_size(ste)
        while True:
            low = g + stride * (3 - level)
            place = table + 8 * bits(ipa, low + index_bits - 1, low)
            [desc] = self.load(f"S2L{level}", place, 1, self.eabt(2, cls))
            kind = desc & 3
            if kind in {0, 2} or (kind == 1 and not self.block_allowed(g, level)):
                fault(F_TRANSLATION, level)
            if kind == 1 or level == 3:
                break
            table = bits(desc, 47, g) << g
            if table >> size:
                fault(F_ADDR_SIZE, level)
            level += 1
            index_bits = stride
        out = bits(desc, 47, low) << low
        if out >> size:
            fault(F_ADDR_SIZE, level)
        ha, hd = bit(dw2, 56), bit(dw2, 56) and bit(dw2, 55)
        new = desc
        if not bit(desc, 10):
            if ha:
                new |= 1 << 10
            elif not bit(dw2, 53):
                fault(F_ACCESS, level)
        managed = hd and bit(desc, 51)
        allowed = self.allowed2(
            dw2, desc, cls, op, privileged, bool(managed), nested=bits(ste[0], 3, 1) == 0b111
        )
        if allowed and op == "W" and managed:
            new |= 1 << 7
        if new != desc:
            self.store(place, new)
        if not allowed:
            fault(F_PERMISSION, level)
        return out | bits(ipa, low - 1, 0), 1 << low

    def allowed2(
        self, dw2: int, desc: int, cls: int, op: str, privileged: bool, managed: bool, *, nested: bool
    ) -> bool:
        if cls != IN and nested and bit(dw2, 54) and bits(desc, 5, 4) == 0:
            return False  # S2PTW: tables in Device memory
        if op == "R":
            return bool(bit(desc, 6))
        if op == "W":
            return bool(bit(desc, 7)) or managed
        xn = bits(desc, 54, 53) if bit(self.idr3, 4) else bit(desc, 54) << 1
        return {0: True, 1: not privileged, 2: False, 3: privileged}[xn]


def translate(
    registers: dict[str, int], memory: dict[int, int], ask: Ask, broken: frozenset[int] = frozenset()
) -> Answer:
    """What must come of ``ask``.

    :raises Unsettled: the architecture leaves it open
    """
    return Walker(registers, memory, broken).run(ask)

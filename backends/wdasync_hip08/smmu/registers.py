"""The register file: two pages of 64 KiB, as one table. (IHI 0070, chapter 6.)

Page 0 has the control registers. The indices of the output queues are in page 1, so that a hypervisor can hand that
page to somebody who only consumes.

Some registers may only be changed while what uses them is off; a write at another time is ignored. Those locks are
part of the table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from wdasync_hip08.smmu.fields import Field
from wdasync_hip08.smmu.profile import Profile

__all__ = ["PAGE_BYTES", "REGISTERS", "Lock", "Register", "RegisterFile"]

PAGE_BYTES = 0x1_0000
PAGE1 = PAGE_BYTES

# CR0 and CR0ACK
SMMUEN, PRIQEN, EVENTQEN, CMDQEN, ATSCHK = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4
# IRQ_CTRL and IRQ_CTRLACK
GERROR_IRQEN, PRIQ_IRQEN, EVENTQ_IRQEN = 1 << 0, 1 << 1, 1 << 2


class Lock(NamedTuple):
    """``bits`` keep their value while any bit of ``mask`` is set in ``register``.

    The acknowledgment (CR0ACK, IRQ_CTRLACK) would count as well, but ours is never behind.
    """

    bits: int
    register: str
    mask: int


class Register(NamedTuple):
    """One register.

    :ivar offset: from page 0, in bytes
    :ivar width: 32 or 64
    :ivar writable: bits that software can change; none: read-only
    :ivar commit: a write without this bit is ignored, and the bit reads zero when the write has taken effect
    """

    name: str
    offset: int
    width: int
    writable: int
    locks: tuple[Lock, ...]
    fields: tuple[Field, ...]
    commit: int = 0

    @property
    def access(self) -> str:
        """RO or RW."""
        return "RW" if self.writable else "RO"


def _fields(text: str) -> tuple[Field, ...]:
    """Parse ``NAME high:low`` or ``NAME bit``, separated by commas. Addresses are called ADDR."""
    fields = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, bits = item.split()
        high, _, low = bits.partition(":")
        lowest = int(low or high)
        fields.append(Field(name, 0, int(high), lowest, unit=lowest if name == "ADDR" else 0))
    return tuple(fields)


def _row(
    name: str,
    offset: int,
    width: int,
    fields: str,
    *,
    rw: bool = True,
    locks: Iterable[Lock] = (),
    commit: int = 0,
) -> Register:
    parsed = _fields(fields)
    mask = 0
    for field in parsed:
        mask |= (1 << field.high + 1) - (1 << field.low)
    return Register(name, offset, width, mask if rw else 0, tuple(locks), parsed, commit)


_ALL = (1 << 64) - 1
_SMMU_OFF = (Lock(_ALL, "CR0", SMMUEN),)
_CMDQ_OFF = (Lock(_ALL, "CR0", CMDQEN),)
_EVENTQ_OFF = (Lock(_ALL, "CR0", EVENTQEN),)
_PRIQ_OFF = (Lock(_ALL, "CR0", PRIQEN),)
_GERROR_IRQ_OFF = (Lock(_ALL, "IRQ_CTRL", GERROR_IRQEN),)
_EVENTQ_IRQ_OFF = (Lock(_ALL, "IRQ_CTRL", EVENTQ_IRQEN),)
_PRIQ_IRQ_OFF = (Lock(_ALL, "IRQ_CTRL", PRIQ_IRQEN),)
_CR1_LOCKS = (Lock(0x3F, "CR0", CMDQEN | EVENTQEN | PRIQEN), Lock(0xFC0, "CR0", SMMUEN))

_ERRORS = (
    "CMDQ_ERR 0, EVENTQ_ABT_ERR 2, PRIQ_ABT_ERR 3, MSI_CMDQ_ABT_ERR 4, MSI_EVENTQ_ABT_ERR 5,"
    "MSI_PRIQ_ABT_ERR 6, MSI_GERROR_ABT_ERR 7, SFM_ERR 8"
)
_ENABLES = "SMMUEN 0, PRIQEN 1, EVENTQEN 2, CMDQEN 3, ATSCHK 4, VMW 8:6"
_IRQS = "GERROR 0, PRIQ 1, EVENTQ 2"
_GBPA = "MEMATTR 3:0, MTCFG 4, ALLOCCFG 11:8, SHCFG 13:12, PRIVCFG 17:16, INSTCFG 19:18, ABORT 20, UPDATE 31"

_ROWS = (
    _row(
        "IDR0",
        0x00,
        32,
        "S2P 0, S1P 1, TTF 3:2, COHACC 4, BTM 5, HTTU 7:6, HYP 9, ATS 10, NS1ATS 11, ASID16 12, MSI 13, SEV 14,"
        "ATOS 15, PRI 16, VMW 17, VMID16 18, CD2L 19, VATOS 20, TTENDIAN 22:21, ATSRECERR 23, STALL_MODEL 25:24,"
        "TERM_MODEL 26, ST_LEVEL 28:27, RME_IMPL 30",
        rw=False,
    ),
    _row(
        "IDR1",
        0x04,
        32,
        "SIDSIZE 5:0, SSIDSIZE 10:6, PRIQS 15:11, EVENTQS 20:16, CMDQS 25:21, ATTR_PERMS_OVR 26, ATTR_TYPES_OVR 27,"
        "REL 28, QUEUES_PRESET 29, TABLES_PRESET 30, ECMDQ 31",
        rw=False,
    ),
    _row("IDR2", 0x08, 32, "BA_VATOS 9:0", rw=False),
    _row(
        "IDR3",
        0x0C,
        32,
        "HAD 2, PBHA 3, XNX 4, PPS 5, MPAM 7, FWB 8, STT 9, RIL 10, BBML 12:11, E0PD 13, PTWNNC 14",
        rw=False,
    ),
    _row("IDR4", 0x10, 32, "", rw=False),
    _row("IDR5", 0x14, 32, "OAS 2:0, GRAN4K 4, GRAN16K 5, GRAN64K 6, VAX 11:10, STALL_MAX 31:16", rw=False),
    _row("IIDR", 0x18, 32, "", rw=False),
    _row("AIDR", 0x1C, 32, "MINOR 3:0, MAJOR 7:4", rw=False),
    _row("CR0", 0x20, 32, _ENABLES),
    _row("CR0ACK", 0x24, 32, _ENABLES, rw=False),
    _row(
        "CR1",
        0x28,
        32,
        "QUEUE_IC 1:0, QUEUE_OC 3:2, QUEUE_SH 5:4, TABLE_IC 7:6, TABLE_OC 9:8, TABLE_SH 11:10",
        locks=_CR1_LOCKS,
    ),
    _row("CR2", 0x2C, 32, "E2H 0, RECINVSID 1, PTM 2, REC_CFG_ATS 3", locks=_SMMU_OFF),
    _row("STATUSR", 0x40, 32, "DORMANT 0", rw=False),
    _row("GBPA", 0x44, 32, _GBPA, commit=1 << 31),
    _row("IRQ_CTRL", 0x50, 32, _IRQS),
    _row("IRQ_CTRLACK", 0x54, 32, _IRQS, rw=False),
    _row("GERROR", 0x60, 32, _ERRORS, rw=False),
    _row("GERRORN", 0x64, 32, _ERRORS),
    _row("GERROR_IRQ_CFG0", 0x68, 64, "ADDR 51:2", locks=_GERROR_IRQ_OFF),
    _row("GERROR_IRQ_CFG1", 0x70, 32, "DATA 31:0", locks=_GERROR_IRQ_OFF),
    _row("GERROR_IRQ_CFG2", 0x74, 32, "MEMATTR 3:0, SH 5:4", locks=_GERROR_IRQ_OFF),
    _row("STRTAB_BASE", 0x80, 64, "ADDR 51:6, RA 62", locks=_SMMU_OFF),
    _row("STRTAB_BASE_CFG", 0x88, 32, "LOG2SIZE 5:0, SPLIT 10:6, FMT 17:16", locks=_SMMU_OFF),
    _row("CMDQ_BASE", 0x90, 64, "LOG2SIZE 4:0, ADDR 51:5, RA 62", locks=_CMDQ_OFF),
    _row("CMDQ_PROD", 0x98, 32, "WR 19:0"),
    _row("CMDQ_CONS", 0x9C, 32, "RD 19:0, ERR 30:24", locks=_CMDQ_OFF),
    _row("EVENTQ_BASE", 0xA0, 64, "LOG2SIZE 4:0, ADDR 51:5, WA 62", locks=_EVENTQ_OFF),
    _row("EVENTQ_IRQ_CFG0", 0xB0, 64, "ADDR 51:2", locks=_EVENTQ_IRQ_OFF),
    _row("EVENTQ_IRQ_CFG1", 0xB8, 32, "DATA 31:0", locks=_EVENTQ_IRQ_OFF),
    _row("EVENTQ_IRQ_CFG2", 0xBC, 32, "MEMATTR 3:0, SH 5:4", locks=_EVENTQ_IRQ_OFF),
    _row("PRIQ_BASE", 0xC0, 64, "LOG2SIZE 4:0, ADDR 51:5, WA 62", locks=_PRIQ_OFF),
    _row("PRIQ_IRQ_CFG0", 0xD0, 64, "ADDR 51:2", locks=_PRIQ_IRQ_OFF),
    _row("PRIQ_IRQ_CFG1", 0xD8, 32, "DATA 31:0", locks=_PRIQ_IRQ_OFF),
    _row("PRIQ_IRQ_CFG2", 0xDC, 32, "MEMATTR 3:0, SH 5:4, LO 31", locks=_PRIQ_IRQ_OFF),
    _row("EVENTQ_PROD", PAGE1 + 0xA8, 32, "WR 19:0, OVFLG 31", locks=_EVENTQ_OFF),
    _row("EVENTQ_CONS", PAGE1 + 0xAC, 32, "RD 19:0, OVACKFLG 31"),
    _row("PRIQ_PROD", PAGE1 + 0xC8, 32, "WR 19:0, OVFLG 31", locks=_PRIQ_OFF),
    _row("PRIQ_CONS", PAGE1 + 0xCC, 32, "RD 19:0, OVACKFLG 31"),
)

#: Every register by name, in the order of their offsets.
REGISTERS: dict[str, Register] = {row.name: row for row in _ROWS}


class RegisterFile:
    """Values of the registers, and what software can read and write.

    What a write sets in motion is not known here: :meth:`write` names the registers that it changed.
    """

    def __init__(self, profile: Profile) -> None:
        self.values = dict.fromkeys(REGISTERS, 0)
        for name in ("idr0", "idr1", "idr2", "idr3", "idr4", "idr5", "iidr", "aidr", "gbpa"):
            self.values[name.upper()] = getattr(profile, name)
        self._halves = {
            row.offset + shift // 8: (row, shift) for row in _ROWS for shift in range(0, row.width, 32)
        }

    def __getitem__(self, name: str) -> int:
        return self.values[name]

    def __setitem__(self, name: str, value: int) -> None:
        self.values[name] = value

    def fields(self, name: str) -> dict[str, int]:
        """The fields of a register by name."""
        words = (self.values[name],)
        return {field.name: field.extract(words) for field in REGISTERS[name].fields}

    def read(self, offset: int, width: int) -> int | None:
        """What software reads, ``None`` where there is no register of such an alignment."""
        if width == 32:
            return self._read_half(offset)
        if offset % (width // 8):
            return None
        value = 0
        for shift in range(0, width, 32):
            half = self._read_half(offset + shift // 8)
            if half is None:
                return None
            value |= half << shift
        return value

    def _read_half(self, offset: int) -> int | None:
        found = self._halves.get(offset)
        if found is None:
            return None
        row, start = found
        return self.values[row.name] >> start & 0xFFFF_FFFF

    def write(self, offset: int, width: int, value: int) -> list[str] | None:
        """Write, and name the registers that were written in order; ``None`` where there is no such register."""
        if offset % (width // 8) or any(offset + n not in self._halves for n in range(0, width // 8, 4)):
            return None
        written = []
        for shift in range(0, width, 32):
            row, start = self._halves[offset + shift // 8]
            self._write_half(row, start, value >> shift & 0xFFFF_FFFF)
            if row.name not in written:
                written.append(row.name)
        return written

    def _write_half(self, row: Register, start: int, value: int) -> None:
        if value & row.commit != row.commit:
            return
        mask = row.writable & 0xFFFF_FFFF << start & ~row.commit
        for lock in row.locks:
            if self.values[lock.register] & lock.mask:
                mask &= ~lock.bits
        self.values[row.name] = self.values[row.name] & ~mask | value << start & mask

    def dump(self) -> str:
        """Every register with its fields, one a line."""
        lines = []
        for name, row in REGISTERS.items():
            shown = " ".join(f"{field}={value:#x}" for field, value in self.fields(name).items() if value)
            lines.append(
                f"{row.offset:#07x} {name:16} {row.access} {self.values[name]:#0{row.width // 4 + 2}x} {shown}"
            )
        return "\n".join(line.rstrip() for line in lines)

    def __repr__(self) -> str:
        return f"<RegisterFile CR0={self.values['CR0']:#x} GERROR={self.values['GERROR']:#x}>"

"""The SMMU's driver: tables, commands and events, as Linux's arm-smmu-v3 has them.

Bring-up follows the order of that driver: everything off; stream table; command queue; all caches invalidated; event
queue; translation on. The stream table has two levels (8-bit split), each function's context descriptor table too
(leaves of 1,024, so PASIDs cost memory only where they are used). Substream 0 is the function's ordinary DMA
(S1DSS = 2): rings and contexts are addressed without a PASID and are translated all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from wdasync_hip08.kernel.pagetable import PageTable
from wdasync_hip08.memory import PAGE, PAGE_SHIFT, PhysicalMemory
from wdasync_hip08.smmu.commands import Command, Opcode, range_commands
from wdasync_hip08.smmu.context_descriptor import ContextDescriptor, ContextL1
from wdasync_hip08.smmu.events import EventRecord
from wdasync_hip08.smmu.stream_table_entry import Config, S1Dss, StreamTableEntry, StreamTableL1
from wdasync_hip08.trace import Trace

__all__ = ["Iommu", "IommuError"]

# Registers that the driver uses; page 1 begins at 0x10000. (IHI 0070, 6.3.)
CR0, CR0ACK, CR1, CR2 = 0x20, 0x24, 0x28, 0x2C
GBPA, IRQ_CTRL, GERROR, GERRORN = 0x44, 0x50, 0x60, 0x64
STRTAB_BASE, STRTAB_BASE_CFG = 0x80, 0x88
CMDQ_BASE, CMDQ_PROD, CMDQ_CONS = 0x90, 0x98, 0x9C
EVENTQ_BASE, EVENTQ_PROD, EVENTQ_CONS = 0xA0, 0x100A8, 0x100AC

SMMUEN, EVENTQEN, CMDQEN = 1 << 0, 1 << 2, 1 << 3
GBPA_ABORT, GBPA_UPDATE = 1 << 20, 1 << 31
CR2_RECINVSID, CR2_PTM = 1 << 1, 1 << 2
IRQ_GERROR, IRQ_EVENTQ = 1 << 0, 1 << 2
OVERFLOW = 1 << 31
READ_ALLOCATE = 1 << 62

QUEUE_BITS = 8
QUEUE_MASK = (1 << QUEUE_BITS) - 1
WRAP_MASK = (2 << QUEUE_BITS) - 1
STREAM_BITS, STREAM_SPLIT = 16, 8
PASID_BITS, CD_LEAF_BITS = 16, 10
TWO_LEVEL_STREAMS = 1 << 16
CD_BYTES = STE_BYTES = 64
ADDRESS_SIZE_48 = 5
#: Attribute index 0 is normal memory, write-back.
MAIR = 0xFF
#: From this many pages on, one invalidation of the whole address space is cheaper than one a page.
MANY_PAGES = PAGE // 8


class IommuError(Exception):
    """The SMMU refused a command: a defect of this driver or of the model."""


@dataclass(slots=True)
class _Function:
    """One stream: its STE, its context descriptor table, and the leaves of that by number if it has two levels."""

    ste: int
    table: int
    substreams: bool
    leaves: dict[int, int] = field(default_factory=dict)


class Iommu:
    """Drives one SMMU through its registers.

    :param memory: physical memory
    :param registers: physical address of the SMMU's two register pages
    :param trace: is told when a context descriptor is written

    :ivar events_lost: times that the event queue said it had overflowed
    """

    def __init__(self, memory: PhysicalMemory, registers: int, trace: Trace | None = None) -> None:
        self._memory = memory
        self._ram = memory.ram
        self._registers = registers
        self._trace = trace or Trace()
        self._functions: dict[int, _Function] = {}
        self._prod = 0
        self._cons = 0
        self._cmdq = self._table(16 << QUEUE_BITS)
        self._eventq = self._table(32 << QUEUE_BITS)
        self._streams = self._table(8 << STREAM_BITS - STREAM_SPLIT)
        self._asids = iter(range(1, 1 << 16))
        self._free_asids: list[int] = []
        self.events_lost = 0
        self._bring_up()

    def _table(self, nbytes: int) -> int:
        """Memory for a table or queue of the SMMU: it is aligned to its size."""
        return self._ram.allocate(nbytes, align=max(PAGE, nbytes))

    # Registers

    def _write32(self, offset: int, value: int) -> None:
        self._memory.write32(self._registers + offset, value)

    def _write64(self, offset: int, value: int) -> None:
        self._memory.write64(self._registers + offset, value)

    def _read32(self, offset: int) -> int:
        return self._memory.read32(self._registers + offset)

    def _enable(self, bits: int) -> None:
        self._write32(CR0, bits)
        if self._read32(CR0ACK) != bits:
            raise IommuError(f"CR0ACK: expected {bits:#x} after CR0, got {self._read32(CR0ACK):#x}")

    def _bring_up(self) -> None:
        self._write32(GBPA, GBPA_ABORT | GBPA_UPDATE)
        self._enable(0)
        self._write32(CR1, 0xD75)  # All tables and queues inner shareable, write-back.
        self._write32(CR2, CR2_PTM | CR2_RECINVSID)
        self._write64(STRTAB_BASE, self._streams | READ_ALLOCATE)
        self._write32(STRTAB_BASE_CFG, STREAM_BITS | STREAM_SPLIT << 6 | TWO_LEVEL_STREAMS)
        self._write64(CMDQ_BASE, self._cmdq | READ_ALLOCATE | QUEUE_BITS)
        self._write32(CMDQ_PROD, 0)
        self._write32(CMDQ_CONS, 0)
        self._enable(CMDQEN)
        self.run([Command(Opcode.CFGI_STE_RANGE, range=31), Command(Opcode.TLBI_NSNH_ALL)])
        self._write64(EVENTQ_BASE, self._eventq | READ_ALLOCATE | QUEUE_BITS)
        self._write32(EVENTQ_PROD, 0)
        self._write32(EVENTQ_CONS, 0)
        self._enable(CMDQEN | EVENTQEN)
        self._write32(IRQ_CTRL, IRQ_GERROR | IRQ_EVENTQ)
        self._enable(CMDQEN | EVENTQEN | SMMUEN)

    # Commands

    def run(self, commands: Iterable[Command]) -> None:
        """Run commands and a SYNC behind them; returns when that has completed.

        :raises IommuError: one was refused
        """
        self.post([*commands, Command(Opcode.SYNC)])

    def post(self, commands: Iterable[Command]) -> None:
        """Run commands without a SYNC.

        :raises IommuError: one was refused
        """
        waiting = 0
        for command in commands:
            word0, word1 = command.encode()
            slot = self._cmdq + (self._prod & QUEUE_MASK) * 16
            self._ram.write64(slot, word0)
            self._ram.write64(slot + 8, word1)
            self._prod = self._prod + 1 & WRAP_MASK
            waiting += 1
            if waiting == QUEUE_MASK:
                self._submit()
                waiting = 0
        if waiting:
            self._submit()

    def _submit(self) -> None:
        self._write32(CMDQ_PROD, self._prod)
        cons = self._read32(CMDQ_CONS)
        if cons & 0x000FFFFF != self._prod:
            raise IommuError(
                f"command queue: expected CONS to reach {self._prod:#x}, got {cons:#x} (error {cons >> 24 & 0x7F})"
            )

    def resume(self, sid: int, stag: int, retry: bool) -> None:
        """Answer a stalled access: try again, or abort."""
        self.post([Command(Opcode.RESUME, sid=sid, stag=stag, ac=int(retry), ab=int(not retry))])

    # Tables

    def attach(
        self, sid: int, table: PageTable, asid: int, *, substreams: bool = True, stall: bool = True
    ) -> None:
        """Let a function translate what has no PASID with ``table``.

        :param substreams: it has a context descriptor for each PASID too; else only this one, and what bears a PASID is
            refused
        :param stall: its accesses may wait for a page; else no context descriptor may ask for that
        """
        cds = self._table(8 << PASID_BITS - CD_LEAF_BITS if substreams else CD_BYTES)
        function = self._functions[sid] = _Function(self._stream_entry(sid), cds, substreams)
        self.bind(sid, 0, table, asid, stall=False)
        entry = StreamTableEntry(
            config=Config.S1,
            s1fmt=2 if substreams else 0,
            s1contextptr=cds,
            s1cdmax=PASID_BITS if substreams else 0,
            s1dss=S1Dss.SUBSTREAM0 if substreams else S1Dss.TERMINATE,
            s1cir=1,
            s1cor=1,
            s1csh=3,
            s1stalld=int(not stall),
        )
        self._store_entry(function.ste, entry.encode())
        self.run([Command(Opcode.CFGI_STE, sid=sid, leaf=1)])

    def _stream_entry(self, sid: int) -> int:
        first = self._streams + (sid >> STREAM_SPLIT) * 8
        l1 = StreamTableL1.decode([self._ram.read64(first)])
        if not l1.span:
            l1 = StreamTableL1(span=STREAM_SPLIT + 1, l2ptr=self._table(STE_BYTES << STREAM_SPLIT))
            self._ram.write64(first, l1.encode()[0])
        return l1.l2ptr + (sid & (1 << STREAM_SPLIT) - 1) * STE_BYTES

    def _store_entry(self, pa: int, words: Sequence[int]) -> None:
        # The word with the valid bit comes last: until then the entry says nothing.
        for index in range(7, -1, -1):
            self._ram.write64(pa + index * 8, words[index])

    def entry(self, sid: int) -> int:
        """Physical address of a stream's STE, for dumps and for tests that break it."""
        return self._functions[sid].ste

    def descriptor(self, sid: int, pasid: int) -> int:
        """Physical address of a context descriptor; its leaf table is made if need be. Without substreams there is one."""
        function = self._functions[sid]
        if not function.substreams:
            return function.table
        number = pasid >> CD_LEAF_BITS
        leaf = function.leaves.get(number)
        if leaf is None:
            leaf = function.leaves[number] = self._table(CD_BYTES << CD_LEAF_BITS)
            self._ram.write64(function.table + number * 8, ContextL1(l2ptr=leaf).encode()[0])
        return leaf + (pasid & (1 << CD_LEAF_BITS) - 1) * CD_BYTES

    def bind(self, sid: int, pasid: int, table: PageTable, asid: int, *, stall: bool) -> None:
        """Give a PASID an address space: only the lower half, faults recorded and, with ``stall``, parked."""
        cd = ContextDescriptor(
            t0sz=16, ir0=1, or0=1, sh0=3, epd1=1, ips=ADDRESS_SIZE_48, s=int(stall), r=1, a=1, aset=1,
            asid=asid, ttb0=table.root, mair=MAIR,
        )  # fmt: skip
        self._store_entry(self.descriptor(sid, pasid), cd.encode())
        self._trace.instant("kernel", "CD set", pasid=pasid, asid=asid)
        self.run([Command(Opcode.CFGI_CD, sid=sid, ssid=pasid, leaf=1)])

    def silence(self, pasid: int, asid: int) -> None:
        """The address space of a PASID is about to go, while functions may still use it: what comes late aborts quietly.

        Its context descriptors stay valid, but neither half of them translates, and nothing stalls or is recorded. One
        store of one word does it, so nobody sees half of the change.
        """
        for sid, function in self._functions.items():
            if not function.substreams or pasid >> CD_LEAF_BITS not in function.leaves:
                continue
            pa = self.descriptor(sid, pasid)
            cd = ContextDescriptor.unpack(self._memory.read(pa, CD_BYTES))
            if cd.v and cd.asid == asid:
                self._ram.write64(pa, replace(cd, epd0=1, epd1=1, s=0, r=0).encode()[0])
                self._trace.instant("kernel", "CD silenced", pasid=pasid, asid=asid)
                self.run([Command(Opcode.CFGI_CD, sid=sid, ssid=pasid, leaf=1)])
        self.run([Command(Opcode.TLBI_NH_ASID, asid=asid)])

    def unbind(self, sid: int, pasid: int, asid: int) -> None:
        """Take the address space of a PASID away. The function must have stopped using it."""
        pa = self.descriptor(sid, pasid)
        self._ram.write64(pa, 0)
        self._trace.instant("kernel", "CD cleared", pasid=pasid, asid=asid)
        self.run([Command(Opcode.CFGI_CD, sid=sid, ssid=pasid, leaf=1)])
        for index in range(1, 8):
            self._ram.write64(pa + index * 8, 0)
        self.run([Command(Opcode.TLBI_NH_ASID, asid=asid)])

    def invalidate(self, asid: int, vpns: Sequence[int]) -> None:
        """Forget the translations of these pages; with the SYNC that proves it."""
        if len(vpns) > MANY_PAGES:
            self.run([Command(Opcode.TLBI_NH_ASID, asid=asid)])
        else:
            self.run(_by_address(asid, sorted(vpns)))

    def allocate_asid(self) -> int:
        """A number that tags the TLB entries of one address space.

        :raises OSError: ENOSPC: none is left
        """
        if self._free_asids:
            return self._free_asids.pop()
        asid = next(self._asids, None)
        if asid is None:
            raise OSError(28, "no ASID left")
        return asid

    def free_asid(self, asid: int) -> None:
        """Give it back; its TLB entries are invalidated already."""
        self._free_asids.append(asid)

    # Events

    @property
    def has_events(self) -> bool:
        """Whether there are records in the event queue that were not read."""
        return bool((self._read32(EVENTQ_PROD) ^ self._cons) & WRAP_MASK)

    def read_events(self) -> list[EventRecord]:
        """All records that are in the event queue, oldest first."""
        records = []
        prod = self._read32(EVENTQ_PROD)
        while self._cons & WRAP_MASK != prod & WRAP_MASK:
            slot = self._eventq + (self._cons & QUEUE_MASK) * 32
            records.append(EventRecord.decode([self._ram.read64(slot + index * 8) for index in range(4)]))
            self._cons = self._cons & OVERFLOW | self._cons + 1 & WRAP_MASK
            if self._cons & WRAP_MASK == prod & WRAP_MASK:
                self._write32(EVENTQ_CONS, self._cons)  # There may be room again, and more behind it.
                prod = self._read32(EVENTQ_PROD)
        if (prod ^ self._cons) & OVERFLOW:
            self.events_lost += 1
            self._cons ^= OVERFLOW
            self._write32(EVENTQ_CONS, self._cons)
        return records

    def acknowledge_errors(self) -> int:
        """Global errors that are active; they are acknowledged by this."""
        error = self._read32(GERROR)
        active = error ^ self._read32(GERRORN)
        self._write32(GERRORN, error)
        return active

    def __repr__(self) -> str:
        return f"<Iommu driver, functions {sorted(self._functions)}, {self.events_lost} overflows>"


def _by_address(asid: int, vpns: Sequence[int]) -> list[Command]:
    """Invalidations of pages, given in order; neighbours share range commands. (IHI 0070, 4.4.1.)"""
    commands = []
    first = 0
    for index in range(1, len(vpns) + 1):
        if index == len(vpns) or vpns[index] != vpns[index - 1] + 1:
            vpn = vpns[first]
            for num, scale in range_commands(index - first):
                commands.append(
                    Command(
                        Opcode.TLBI_NH_VA,
                        asid=asid,
                        addr=vpn << PAGE_SHIFT,
                        leaf=1,
                        tg=1,
                        ttl=3,
                        num=num,
                        scale=scale,
                    )
                )
                vpn += num + 1 << scale
            first = index
    return commands

"""Nonsense from every side, and what must hold whatever it says: helpers of the tests, short and long.

Each function does ``count`` pieces of nonsense, from one seed.
"""

import gzip
import random
import struct
from collections.abc import Callable
from typing import Any

from wdasync_hip08.chip import QM_BASE
from wdasync_hip08.functions import ZIP
from wdasync_hip08.memory import PAGE
from wdasync_hip08.qm import registers as reg
from wdasync_hip08.smmu.commands import Command, Opcode

VA = 0x4_0000_0000
BYSTANDER = b"what nobody else may read or change. " * 50
#: Mailbox words, registers among them, that one machine is given before another takes its place.
TURN = 400
#: Registers that do something.
REGISTERS = [*range(0, 0x40, 4), *range(0x100000, 0x100070, 4), 0x301128, reg.SHUTDOWN]


def word(choose: random.Random, addresses: list[int]) -> int:
    """64 bits that look like something now and then."""
    match choose.randrange(6):
        case 0:
            return choose.getrandbits(64)
        case 1:
            return choose.getrandbits(choose.randrange(1, 64))
        case 2:
            return choose.choice([0, 1, (1 << 64) - 1, 1 << 63, (1 << 47) - 1, 1 << 47, 0xFFFFFFFF])
        case _:
            return choose.choice(addresses) + choose.randrange(-64, 2 * PAGE)


class Bench:
    """A victim whose memory must stay as it is, and an attacker that may do anything with its own queue."""

    def __init__(self, machine: Any, driver: Any) -> None:
        self.machine = machine
        self.victim_space = machine.new_space("victim")
        self.victim_memory = machine.map_memory(self.victim_space, VA, 16 * PAGE)
        self.victim_memory.poke(0, BYSTANDER)
        self.victim_space.grant(VA, 16 * PAGE, writable=True)
        self.victim = driver(machine, space=self.victim_space)
        self.space = machine.new_space("attacker")
        self.memory = machine.map_memory(self.space, VA, 16 * PAGE)
        self.space.grant(VA, 8 * PAGE, writable=True)
        self.space.grant(VA + 8 * PAGE, 100, writable=False)
        self.new_driver = driver
        self.driver = driver(machine, space=self.space)

    def fresh(self) -> None:
        """A new queue for the attacker."""
        self.driver.file.close()
        self.driver = self.new_driver(self.machine, space=self.space)

    def unharmed(self) -> None:
        """The machine is well, and the victim gets its work done."""
        assert self.machine.lost(ZIP.name) is None
        assert self.victim_memory.peek(0, len(BYSTANDER)) == BYSTANDER
        entry = self.victim.entry(VA, len(BYSTANDER), VA + 4 * PAGE, 2 * PAGE, tag=77)
        (sqe,) = self.victim.run(entry)
        assert (sqe[3], sqe[13]) == (0, 77)
        packed = bytes.fromhex("1f8b0800000000000003") + self.victim_memory.peek(4 * PAGE, sqe[1])
        assert gzip.decompress(packed) == BYSTANDER
        assert self.machine.chip.frames.stale_access == 0


def entries(bench: Bench, count: int, queue_type: int) -> None:
    """Submission entries, ten at a time."""
    choose = random.Random(queue_type)
    addresses = [VA, VA + 7 * PAGE, VA + 8 * PAGE, VA + 15 * PAGE, 0, 1 << 47]
    bench.driver.file.close()
    bench.driver = bench.new_driver(bench.machine, queue_type=queue_type, space=bench.space)
    done = 0
    for _ in range(count // 10):
        burst = []
        for _ in range(10):
            dwords = [choose.getrandbits(32) if choose.random() < 0.2 else 0 for _ in range(32)]
            dwords[4] = choose.choice([0, 1, 100, 5000, choose.getrandbits(24), choose.getrandbits(32)])
            dwords[14] = choose.choice([0, 1, 100, 5000, choose.getrandbits(32)])
            dwords[7] = choose.choice([0x0A000000, 0x3A000000, choose.getrandbits(32)])
            dwords[9] = choose.choice(
                [0x4002, 0x4003, 0x4103, choose.getrandbits(16), choose.getrandbits(32)]
            )
            for at in (18, 20, 22):
                dwords[at : at + 2] = divmod(word(choose, addresses) & (1 << 64) - 1, 1 << 32)[::-1]
            burst.append(struct.pack("<32I", *dwords))
        done += len(bench.driver.run(*burst))
    assert done == count // 10 * 10
    assert not bench.machine.faults.pending
    bench.unharmed()


def scatter_lists(bench: Bench, count: int) -> None:
    """Scatter lists in three pages of the program, each entered by one entry."""
    choose = random.Random(3)
    addresses = [VA, VA + 64, VA + PAGE - 64, VA + 7 * PAGE, VA + 8 * PAGE]
    for _ in range(count):
        for page in range(3):
            head = struct.pack(
                "<QHHH", word(choose, addresses) & (1 << 64) - 1, choose.getrandbits(16),
                choose.choice([0, 1, 2, 3, 255, choose.getrandbits(16)]), choose.getrandbits(16),
            ).ljust(64, b"\0")  # fmt: skip
            if choose.random() < 0.4:
                head = bytes(8) + head[8:]
            entries = [
                struct.pack(
                    "<QQIIQ", word(choose, addresses) & (1 << 64) - 1, 0,
                    choose.choice([0, 1, 100, PAGE, choose.getrandbits(32)]), 0, 0,
                )
                for _ in range(4)
            ]  # fmt: skip
            bench.memory.poke(page * PAGE, head + b"".join(entries))
        entry = bench.driver.entry(
            choose.choice(addresses[:3]), choose.randrange(3000), choose.choice(addresses), choose.randrange(5000),
            dw9=0x4103, dw7=0x0A000000 | choose.choice([0, 0, choose.getrandbits(10)]),
        )  # fmt: skip
        assert len(bench.driver.run(entry)) == 1
    bench.unharmed()


def doorbells(bench: Bench, count: int) -> None:
    """Words in the doorbell page."""
    choose = random.Random(4)
    for _ in range(count):
        match choose.randrange(4):
            case 0:
                bench.driver.doorbell.store64(0x1000, choose.getrandbits(64))
            case 1:
                bench.driver.ring(choose.randrange(16), choose.getrandbits(16), choose.getrandbits(1))
            case 2:
                bench.driver.ring(choose.randrange(2), choose.randrange(64), choose.getrandbits(1))
            case _:
                bench.driver.ring(0, choose.randrange(64), tag=choose.getrandbits(16))
        if choose.random() < 0.3:
            bench.machine.run()
    bench.machine.run()
    # A doorbell page rings for every queue, so the victim may have got work that it never asked for.
    assert bench.machine.lost(ZIP.name) is None
    assert bench.victim_memory.peek(0, len(BYSTANDER)) == BYSTANDER
    assert bench.machine.nodes[ZIP.name].qm.errors
    bench.fresh()
    entry = bench.driver.entry(VA, 100, VA + PAGE, 200)
    assert len(bench.driver.run(entry)) == 1


def mailbox_words(new_bench: Callable[[], Bench], count: int) -> None:
    """Mailbox words, and registers and doorbells between them.

    The event queues and tables are the kernel's own, so it may saw off the branch that it sits on: a function that
    refuses its orders is lost, and one whose event queue has no room, or is where there is no memory, is reset. The model must say so, and come to rest.
    """
    lost = 0
    for turn in range(-(-count // TURN)):
        bench, choose = new_bench(), random.Random(turn)
        for _ in range(TURN):
            one_mailbox_word(bench, choose, kernel=bool(turn % 4), registers=turn % 4 == 3)
            bench.machine.run()
            if (reason := bench.machine.lost(ZIP.name)) is not None:
                assert "refused" in reason or "event queue overflowed" in reason
                assert turn % 4
                lost += 1
                break
        assert bench.victim_memory.peek(0, len(BYSTANDER)) == BYSTANDER
        bench.machine.close()
    assert lost or count < 50 * TURN


def one_mailbox_word(bench: Bench, choose: random.Random, *, kernel: bool, registers: bool) -> None:
    """One word.

    :param kernel: also for event queues and tables
    :param registers: sometimes for a register
    """
    memory = bench.machine.chip.memory
    share = bench.driver.file.queue.share.iova
    if registers and choose.random() < 0.5:
        offset = choose.choice([choose.randrange(0, 0x400000, 4), *REGISTERS])
        memory.write32(QM_BASE + offset, choose.getrandbits(32))
    else:
        data = (
            choose.choice([choose.randrange(10), choose.getrandbits(16)])
            | choose.choice([choose.randrange(64), choose.getrandbits(16)]) << 16
            | (word(choose, [0x1000_0000, 0x1000_2000, share]) & (1 << 64) - 1) << 32
        )
        if data & 0xFF in (2, 3, 4, 5) and not kernel:
            return
        memory.write(QM_BASE + reg.MAILBOX, data.to_bytes(16, "little"))
    if choose.random() < 0.5:
        bench.driver.ring(choose.randrange(4), choose.randrange(64), choose.getrandbits(1))
    if choose.random() < 0.3:
        bench.driver.share.write(choose.randrange(64) * 128, bench.driver.entry(VA, 100, VA + PAGE, 200))


def registers(bench: Bench, count: int) -> None:
    """Words in registers of the queue manager."""
    choose = random.Random(6)
    memory = bench.machine.chip.memory
    for _ in range(count):
        offset = choose.choice(
            [choose.randrange(0, 0x400000, 4), *range(0, 0x40, 4), 0x100000, 0x10000C, 0x301128]
        )
        if offset in (0x300000, 0x100054):
            continue  # Shuts the bus master down; takes the queue range away.
        memory.write32(QM_BASE + offset, choose.getrandbits(32))
        memory.read32(QM_BASE + offset)
    bench.machine.run()
    assert bench.machine.lost(ZIP.name) is None


def table_words(bench: Bench, count: int) -> None:
    """Page tables, context descriptor and stream table entry of the attacker, broken word by word."""
    choose = random.Random(7)
    machine = bench.machine
    memory, iommu = machine.chip.memory, machine.iommu
    assert bench.space.pasid is not None
    cd = iommu.descriptor(ZIP.stream, bench.space.pasid)
    leaf = bench.space.table.entry(VA >> 12)
    victims = [page.frame.pa for page in bench.victim_space.pages.values()]
    for _ in range(count):
        pa = choose.choice([leaf, leaf + 8, bench.space.table.root, bench.space.table.root + 8, cd, cd + 8])
        good = memory.read64(pa)
        bad = choose.choice([0, choose.getrandbits(64), good ^ 1 << choose.randrange(64)])
        if bad & ~0xFFF & (1 << 48) - 1 in victims:
            continue  # What the kernel maps, the device reaches: that is no error of the chip.
        memory.write64(pa, bad)
        bench.driver.run(bench.driver.entry(VA, 300, VA + PAGE, 500))
        memory.write64(pa, good)
        machine.faults.flush(ZIP.stream, bench.space.pasid)
        # A broken entry may be a global one, or of another address space: everything has to be forgotten.
        iommu.run([Command(Opcode.TLBI_NH_ALL)])
        iommu.unbind(ZIP.stream, bench.space.pasid, bench.space.asid)
        iommu.bind(ZIP.stream, bench.space.pasid, bench.space.table, bench.space.asid, stall=True)
        machine.run()
        bench.driver.completions()
    assert bench.driver.run(bench.driver.entry(VA, 300, VA + PAGE, 500))[0][3] in (0, 0x0D)
    bench.unharmed()

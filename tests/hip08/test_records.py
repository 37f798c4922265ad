"""Records byte for byte, against words that were worked out by hand."""

from typing import Any

import pytest

from wdasync_hip08.chip import QM_BASE
from wdasync_hip08.functions import ZIP
from wdasync_hip08.machine import Machine
from wdasync_hip08.qm import registers as reg
from wdasync_hip08.qm.contexts import CqContext, EqContext, SqContext, pack_cqe, unpack_cqe
from wdasync_hip08.qm.registers import (
    REGISTERS,
    Doorbell,
    DoorbellCommand,
    Mailbox,
    MailboxCommand,
    RegisterFile,
)


@pytest.mark.parametrize(
    ("bell", "word"),
    [
        (Doorbell(0x15, DoorbellCommand.SQ, 0, 0x3FF, 0), 0x000003FF00000015),
        (Doorbell(0x15, DoorbellCommand.CQ, 0, 5, 1), 0x0001000500001015),
        (Doorbell(0, DoorbellCommand.EQ, 0, 7, 0), 0x0000000700002000),
        (Doorbell(0, DoorbellCommand.AEQ, 0, 1, 0), 0x0000000100003000),
        (Doorbell(3, DoorbellCommand.SQ, 0x5A, 9, 0), 0x00000009005A0003),
    ],
)
def test_doorbells(bell: Doorbell, word: int) -> None:
    assert bell.encode() == word
    assert Doorbell.decode(word) == bell


def test_a_doorbell_has_ten_bits_of_queue_number() -> None:
    assert Doorbell.decode(0xC15).queue == 0x015


@pytest.mark.parametrize(
    ("box", "data"),
    [
        (
            Mailbox(MailboxCommand.SQ_CONTEXT, 5, 0x123456789000, busy=True),
            "00200500009078563412000000000000",
        ),
        (Mailbox(MailboxCommand.QUEUE_RANGE, 0, read=True, busy=True), "06600000000000000000000000000000"),
        (Mailbox(MailboxCommand.EQ_CONTEXT, 0, 0x87654000, busy=True), "02200000004065870000000000000000"),
        (Mailbox(8, 7, busy=True), "08200700000000000000000000000000"),
    ],
)
def test_mailbox(box: Mailbox, data: str) -> None:
    assert box.encode().to_bytes(16, "little").hex() == data
    assert Mailbox.decode(int.from_bytes(bytes.fromhex(data), "little")) == box


SQC = "000000000090785634120000ff73000000000000150080000500100100000000"
CQC = "000000000090785634120000ff43000000000000150001000300000000000000"
EQC = "000000000040658700000000000000000000000000000000ff070100"
AEQC = "000000000040668700000000000000000000000000000000ff030100"


def test_contexts() -> None:
    sq = SqContext(0x123456789000, 1024, 128, pasid=0x15, cq=5, algorithm=1, pasid_enable=True)
    cq = CqContext(0x123456789000, 1024, pasid=0x15, armed=True, pasid_enable=True)
    assert sq.pack().hex() == SQC
    assert SqContext.unpack(bytes.fromhex(SQC)) == sq
    assert cq.pack().hex() == CQC
    assert CqContext.unpack(bytes.fromhex(CQC)) == cq
    for data, base, depth in ((EQC, 0x87654000, 2048), (AEQC, 0x87664000, 1024)):
        assert EqContext(base, depth).pack().hex() == data
        assert EqContext.unpack(bytes.fromhex(data)) == EqContext(base, depth)


def test_completions() -> None:
    body = pack_cqe(0x3FE, 0x15)
    assert body.hex() == "0000000000000000fe0315000000"
    assert unpack_cqe(body + b"\1\0") == (0x3FE, 0x15, 1)


def test_the_register_table_has_no_offset_twice() -> None:
    offsets = [row.offset for row in REGISTERS]
    assert len(offsets) == len(set(offsets))


def test_registers_that_are_not_there_or_not_writable() -> None:
    file = RegisterFile()
    assert not file.put(0x44, 1)
    assert not file.put(0x100158, 1)
    assert file.get(0x44) == 0
    assert file.get(0x100158) == 0x400 | 0x400 << 11
    assert file.put(0x1000D8, 0x5A5A)
    assert file.get(0x1000D8) == 0x5A5A
    assert "ping" in file.dump()


@pytest.mark.parametrize(
    ("base", "count", "submission", "completion"),
    [
        pytest.param(0x40, 0x3C0, 0x0077F00400000000, 0x10000000, id="VFT1"),
        pytest.param(0, 0x40, 0x0007F00000000000, 0x10000000, id="VFT2"),
    ],
)
def test_queue_ranges(machine: Machine, base: int, count: int, submission: int, completion: int) -> None:
    """What the driver writes for the queues of a function, and what the chip makes of it."""
    memory = machine.chip.memory
    for kind, word in ((0, submission), (1, completion)):
        for offset, value in (
            (reg.RANGE_READ, 0), (reg.RANGE_TYPE, kind), (reg.RANGE_FUNCTION, 0), (reg.RANGE_DATA_LOW, word & 0xFFFFFFFF),
            (reg.RANGE_DATA_HIGH, word >> 32), (reg.RANGE_READY, 0), (reg.RANGE_START, 1),
        ):  # fmt: skip
            memory.write32(QM_BASE + offset, value)
        assert memory.read32(QM_BASE + reg.RANGE_READY) == 1
    assert machine.chip.blocks[ZIP.name].qm.range == range(base, base + count)
    assert (
        machine.nodes[ZIP.name].qm.mailbox(Mailbox(MailboxCommand.QUEUE_RANGE, 0, read=True)).base
        == submission
    )


def test_the_driver_writes_the_range_of_its_queues(new_machine: Any) -> None:
    """VFT2, for 64 queues from the first on."""
    machine = new_machine(queues=64)
    answer = machine.nodes[ZIP.name].qm.mailbox(Mailbox(MailboxCommand.QUEUE_RANGE, 0, read=True))
    assert answer.base == 0x0007F00000000000

"""The register file: what reads back, what is read-only, what is guarded by an enable bit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .support import (
    CMDQEN,
    COMMAND_QUEUE,
    EVENT_QUEUE,
    EVENTQEN,
    EVERYTHING,
    IDR,
    PRI_QUEUE,
    PRIQEN,
    REGISTERS,
    SMMUEN,
    STREAM_TABLE,
    AbortedSilently,
    Rig,
    Translated,
    cmd,
)

M64, M32 = (1 << 64) - 1, (1 << 32) - 1

READ_ONLY = [
    "IDR0",
    "IDR1",
    "IDR2",
    "IDR3",
    "IDR4",
    "IDR5",
    "IIDR",
    "AIDR",
    "CR0ACK",
    "STATUSR",
    "IRQ_CTRLACK",
    "GERROR",
]

#: Bits that a register keeps when everything is off; the others are reserved and read as zero.
KEEPS = {
    "CR1": 0xFFF,
    "CR2": 0xF,
    "IRQ_CTRL": 0x7,
    "STRTAB_BASE": 1 << 62 | 0x000F_FFFF_FFFF_FFC0,
    "STRTAB_BASE_CFG": 3 << 16 | 0x7FF,
    "CMDQ_BASE": 1 << 62 | 0x000F_FFFF_FFFF_FFE0 | 0x1F,
    "EVENTQ_BASE": 1 << 62 | 0x000F_FFFF_FFFF_FFE0 | 0x1F,
    "PRIQ_BASE": 1 << 62 | 0x000F_FFFF_FFFF_FFE0 | 0x1F,
}


def idle() -> Rig:
    return Rig(start=False)


def test_identification_is_the_profile() -> None:
    rig = idle()
    for name, value in IDR.items():
        assert rig.read(name) == value


@pytest.mark.parametrize(
    "name", ["CR0", "CR0ACK", "CR1", "IRQ_CTRL", "GERROR", "GERRORN", "CMDQ_CONS", "EVENTQ_PROD"]
)
def test_reset_value_is_zero(name: str) -> None:
    assert idle().read(name) == 0


@pytest.mark.parametrize("name", READ_ONLY)
def test_read_only_registers_ignore_writes(name: str) -> None:
    rig = idle()
    before = rig.read(name)
    for value in (0, M32, ~before & M32):
        rig.write(name, value)
        assert rig.read(name) == before


@pytest.mark.parametrize("name", KEEPS)
def test_reserved_bits_read_as_zero(name: str) -> None:
    """Address bits above the output size and queue sizes above the maximum may be kept or dropped."""
    rig = idle()
    rig.write(name, M64 if REGISTERS[name][1] == 8 else M32)
    assert rig.read(name) & ~KEEPS[name] == 0
    rig.write(name, 0)
    assert rig.read(name) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CR1", 0xD75),
        ("CR2", 0x6),
        ("STRTAB_BASE", 1 << 62 | STREAM_TABLE),
        ("STRTAB_BASE_CFG", 1 << 16 | 8 << 6 | 16),
        ("CMDQ_BASE", 1 << 62 | COMMAND_QUEUE | 8),
        ("EVENTQ_BASE", 1 << 62 | EVENT_QUEUE | 7),
        ("PRIQ_BASE", 1 << 62 | PRI_QUEUE | 7),
        ("GERROR_IRQ_CFG0", 0x1234_5678_9ABC),
        ("GERROR_IRQ_CFG1", 0xDEADBEEF),
        ("EVENTQ_IRQ_CFG0", 0x1234_5678_9ABC),
        ("EVENTQ_IRQ_CFG1", 0xDEADBEEF),
        ("PRIQ_IRQ_CFG0", 0x1234_5678_9ABC),
        ("PRIQ_IRQ_CFG1", 0xDEADBEEF),
        ("PRIQ_IRQ_CFG2", 1 << 31 | 0xF),
        ("GERRORN", 0x1),
    ],
)
def test_what_was_written_reads_back(name: str, value: int) -> None:
    rig = idle()
    rig.write(name, value)
    assert rig.read(name) == value


@pytest.mark.parametrize("name", [n for n, (_, size) in REGISTERS.items() if size == 8])
def test_64_bit_registers_have_two_halves(name: str) -> None:
    rig = idle()
    offset, _ = REGISTERS[name]
    rig.smmu.write32(offset, 0x4000_0005)
    rig.smmu.write32(offset + 4, 0x12)
    whole = rig.read(name)
    assert whole >> 32 == 0x12 == rig.smmu.read32(offset + 4)
    assert whole & M32 == rig.smmu.read32(offset)
    assert whole & 0x4000_0000


@pytest.mark.parametrize(
    ("enable", "registers"),
    [
        (SMMUEN, ["STRTAB_BASE", "STRTAB_BASE_CFG"]),
        (CMDQEN, ["CMDQ_BASE", "CMDQ_CONS"]),
        (EVENTQEN, ["EVENTQ_BASE", "EVENTQ_PROD"]),
        (PRIQEN | SMMUEN, ["PRIQ_BASE", "PRIQ_PROD"]),
    ],
)
def test_guarded_registers_change_only_while_their_enable_is_off(enable: int, registers: list[str]) -> None:
    rig = idle()
    rig.write("CMDQ_BASE", COMMAND_QUEUE | 4)
    rig.write("EVENTQ_BASE", EVENT_QUEUE | 4)
    rig.write("PRIQ_BASE", PRI_QUEUE | 4)
    rig.write("CR0", enable)
    before = {name: rig.read(name) for name in registers}
    for name in registers:
        rig.write(name, 3)
        assert rig.read(name) == before[name], name
    rig.write("CR0", 0)
    for name in registers:
        rig.write(name, 3)
        assert rig.read(name) == 3 & KEEPS.get(name, M64), name


def test_indices_of_the_command_queue_are_writable_while_it_is_off() -> None:
    rig = idle()
    rig.write("CMDQ_BASE", COMMAND_QUEUE | 8)
    rig.write("CMDQ_PROD", 0x105)
    rig.write("CMDQ_CONS", 0x103)
    assert rig.read("CMDQ_PROD") == 0x105
    assert rig.read("CMDQ_CONS") & 0xFFFFF == 0x103
    rig.memory.put(COMMAND_QUEUE + 16 * 3, cmd.sync())
    rig.memory.put(COMMAND_QUEUE + 16 * 4, cmd.sync())
    rig.write("CR0", CMDQEN)
    assert rig.read("CMDQ_CONS") == 0x105
    assert rig.read("GERROR") == 0


def test_cr0ack_follows_cr0() -> None:
    rig = idle()
    for value in (CMDQEN, CMDQEN | EVENTQEN, EVERYTHING, SMMUEN, 0):
        rig.write("CR0", value)
        assert rig.read("CR0") == value
        assert rig.read("CR0ACK") == value
    rig.write("CR0", M32)
    assert rig.read("CR0ACK") & ~(0x1F | 7 << 6) == 0


def test_irq_ctrlack_follows_irq_ctrl() -> None:
    rig = idle()
    for value in (5, 7, 0):
        rig.write("IRQ_CTRL", value)
        assert rig.read("IRQ_CTRLACK") == value


def test_message_registers_are_guarded_by_their_interrupt_enable() -> None:
    rig = idle()
    rig.write("EVENTQ_IRQ_CFG0", 0x1000)
    rig.write("EVENTQ_IRQ_CFG1", 1)
    rig.write("IRQ_CTRL", 4)
    rig.write("EVENTQ_IRQ_CFG0", 0x2000)
    rig.write("EVENTQ_IRQ_CFG1", 2)
    assert (rig.read("EVENTQ_IRQ_CFG0"), rig.read("EVENTQ_IRQ_CFG1")) == (0x1000, 1)


# Global bypass --------------------------------------------------------------------------------------------------------


def test_gbpa_changes_only_with_its_update_bit() -> None:
    rig = idle()
    rig.write("GBPA", 1 << 20)
    assert not rig.read("GBPA") >> 20 & 1
    rig.write("GBPA", 1 << 31 | 1 << 20)
    assert rig.read("GBPA") >> 20 & 1
    assert not rig.read("GBPA") >> 31, "the update is over"


def test_while_the_smmu_is_off_gbpa_decides() -> None:
    rig = idle()
    outcome = rig.access(0x1234)
    assert isinstance(outcome, Translated)
    assert (outcome.pa, outcome.leaf_bytes) == (0x1234, None)
    assert isinstance(rig.access(1 << 48), AbortedSilently)
    rig.write("GBPA", 1 << 31 | 1 << 20)
    assert isinstance(rig.access(0x1234), AbortedSilently)
    assert rig.read("EVENTQ_PROD") == 0


# Bring-up -------------------------------------------------------------------------------------------------------------


def test_the_order_in_which_linux_brings_it_up() -> None:
    """Each enable is waited for; commands work before events do, and both before translation."""
    rig = idle()

    def enable(value: int) -> None:
        rig.write("CR0", value)
        assert rig.read("CR0ACK") == value

    rig.write("GBPA", 1 << 31 | 1 << 20)
    enable(0)
    rig.write("CR1", 0xD75)
    rig.write("CR2", 0x6)
    rig.write("STRTAB_BASE", 1 << 62 | STREAM_TABLE)
    rig.write("STRTAB_BASE_CFG", 6)
    rig.write("CMDQ_BASE", 1 << 62 | COMMAND_QUEUE | 8)
    rig.write("CMDQ_PROD", 0)
    rig.write("CMDQ_CONS", 0)
    enable(CMDQEN)
    rig.sync(cmd.cfgi_all())
    rig.sync(cmd.nsnh_all())
    rig.write("EVENTQ_BASE", 1 << 62 | EVENT_QUEUE | 7)
    rig.write("EVENTQ_PROD", 0)
    rig.write("EVENTQ_CONS", 0)
    enable(CMDQEN | EVENTQEN)
    rig.write("PRIQ_BASE", 1 << 62 | PRI_QUEUE | 7)
    rig.write("PRIQ_PROD", 0)
    rig.write("PRIQ_CONS", 0)
    enable(CMDQEN | EVENTQEN | PRIQEN)
    enable(CMDQEN | EVENTQEN | PRIQEN | 16)
    rig.write("IRQ_CTRL", 0)
    rig.write("IRQ_CTRL", 7)
    assert rig.read("IRQ_CTRLACK") == 7
    enable(EVERYTHING)
    assert rig.read("GERROR") == rig.read("GERRORN") == 0
    space = rig.space()
    rig.attach(0x10, space)
    space.map(0x1000, 0x8_0000_0000)
    assert rig.pa(0x1234) == 0x8_0000_0234


# Anything -------------------------------------------------------------------------------------------------------------

OFFSETS = st.one_of(
    st.sampled_from([offset for offset, _ in REGISTERS.values()]),
    st.integers(0, 0x2_0000 // 4 - 1).map(lambda n: 4 * n),
)


@given(st.lists(st.tuples(OFFSETS, st.integers(0, M32), st.booleans()), max_size=40))
def test_any_32_bit_access_anywhere_is_answered(accesses: list[tuple[int, int, bool]]) -> None:
    """Whatever is written where: nothing is raised, identification stays, and reads give 32 bits."""
    rig = Rig()
    for offset, value, store in accesses:
        if store:
            rig.smmu.write32(offset, value)
        assert 0 <= rig.smmu.read32(offset) <= M32
    for name, value in IDR.items():
        assert rig.read(name) == value


@given(st.lists(st.tuples(OFFSETS, st.integers(0, M64), st.booleans()), max_size=40))
def test_any_64_bit_access_anywhere_is_answered(accesses: list[tuple[int, int, bool]]) -> None:
    rig = Rig()
    for offset, value, store in accesses:
        offset &= ~7
        if store:
            rig.smmu.write64(offset, value)
        assert 0 <= rig.smmu.read64(offset) <= M64
    for name, value in IDR.items():
        assert rig.read(name) == value


def test_undefined_offsets_are_zero_and_stay_so() -> None:
    rig = idle()
    defined = {offset + n for offset, size in REGISTERS.values() for n in range(0, size, 4)}
    for offset in range(0, 0x100, 4):
        if offset not in defined and offset not in {
            0x030,
            0x034,
            0x03C,
            0x048,
        }:  # later architecture versions
            rig.smmu.write32(offset, M32)
            assert rig.smmu.read32(offset) == 0, hex(offset)

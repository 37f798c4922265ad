"""The command queue: laps, errors and their recovery, pointers that make no sense, completion signals."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .support import CMDQEN, COMMAND_QUEUE, EVERYTHING, IDR, MESSAGE, VECTORS, Rig, cmd
from .test_mutations import tries

ILL, ABT, ATC_TIMEOUT = 1, 2, 3
BAD = (0xFF, 0)


def error(rig: Rig) -> int:
    return rig.read("CMDQ_CONS") >> 24 & 0x7F


def index(rig: Rig) -> int:
    return rig.read("CMDQ_CONS") & 0xFFFFF


def active(rig: Rig) -> bool:
    return bool((rig.read("GERROR") ^ rig.read("GERRORN")) & 1)


# Golden ---------------------------------------------------------------------------------------------------------------


def unanswered(_: object) -> bool:
    return False


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS["cmdq_vectors"] if "slots" in v], ids=lambda v: v["id"]
)
def test_golden_errors(vector: dict[str, Any]) -> None:
    rig = Rig(cmdq_log2=int(vector["log2size"], 16), options={"on_atc_invalidate": unanswered})
    for n, words in enumerate(vector["slots"]):
        rig.memory.put(COMMAND_QUEUE + 16 * n, (int(w, 16) for w in words))
    rig.write("CMDQ_PROD", int(vector["PROD"], 16))
    after = {name: int(value, 16) for name, value in vector["after"].items()}
    assert {name: rig.read("CMDQ_CONS" if name == "CONS" else name) for name in after} == after


def test_second_error_toggles_the_flag_back() -> None:
    """Golden CQ2: four commands, an error that is repaired, then an illegal opcode in slot 4."""
    rig = Rig(cmdq_log2=3)
    rig.command(cmd.sync(), cmd.sync(), cmd.sync(), BAD)
    assert (rig.read("CMDQ_CONS"), rig.read("GERROR")) == (0x100_0003, 1)
    rig.memory.put(COMMAND_QUEUE + 16 * 3, cmd.sync())
    rig.write("GERRORN", 1)
    assert index(rig) == 4
    rig.memory.put(COMMAND_QUEUE + 16 * 4, BAD)
    rig.write("CMDQ_PROD", 5)
    after = {v["id"]: v for v in VECTORS["cmdq_vectors"]}["CQ2"]["after"]
    assert rig.read("CMDQ_CONS") == int(after["CONS"], 16)
    assert rig.read("GERROR") == int(after["GERROR"], 16)
    assert rig.read("GERRORN") == int(after["GERRORN"], 16)
    rig.memory.put(COMMAND_QUEUE + 16 * 4, cmd.sync())
    rig.write("GERRORN", 0)
    assert index(rig) == 5


# Laps -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("log2", [0, 1, 3, 8])
def test_four_laps(log2: int) -> None:
    done: list[int] = []
    rig = Rig(cmdq_log2=log2, options={"on_sync": lambda _: done.append(1)})
    size = 1 << log2
    for n in range(4 * size + 1):
        rig.sync()
        assert rig.read("CMDQ_CONS") == (n + 1) % (2 * size)
    assert len(done) == 4 * size + 1


def test_a_full_queue_is_consumed_whole() -> None:
    done: list[int] = []
    rig = Rig(cmdq_log2=3, options={"on_sync": lambda _: done.append(1)})
    for lap in range(3):
        for n in range(8):
            rig.memory.put(COMMAND_QUEUE + 16 * n, cmd.sync())
        rig.write("CMDQ_PROD", (rig.read("CMDQ_PROD") ^ 8) & 0xF)
        assert index(rig) == rig.read("CMDQ_PROD")
        assert len(done) == 8 * (lap + 1)


def test_equal_indices_are_an_empty_queue() -> None:
    rig = Rig()
    rig.memory.put(COMMAND_QUEUE, BAD)
    rig.write("CMDQ_PROD", 0)
    assert (index(rig), error(rig)) == (0, 0)


def test_nothing_is_consumed_while_disabled_and_everything_afterwards() -> None:
    done: list[int] = []
    rig = Rig(options={"on_sync": lambda _: done.append(1)})
    rig.write("CR0", EVERYTHING & ~CMDQEN)
    rig.command(cmd.sync(), cmd.sync())
    assert (index(rig), done) == (0, [])
    rig.write("CR0", EVERYTHING)
    assert (index(rig), len(done)) == (2, 2)


# Errors ---------------------------------------------------------------------------------------------------------------

ILLEGAL = {
    "an opcode that does not exist": (0xFF, 0),
    "opcode 0": (0x00, 0),
    **{
        f"SSEC on the Non-secure queue, {op:#x}": (op | 1 << 10 | 0x10 << 32, 1)
        for op in (3, 4, 5, 6, 0x44, 0x45)
    },
    "SYNC with CS=3": (0x46 | 3 << 12, 0),
    "PRI_RESP with Resp=3": (0x41 | 0x10 << 32, 3 << 12),
    "EL2_ALL without HYP": (0x20, 0),
    "EL2_ASID without HYP": (0x21, 0),
    "EL2_VA without HYP": (0x22, 0),
    "EL2_VAA without HYP": (0x23, 0),
    "a range of one granule without a level": cmd.nh_va_range(0x1000, 7, 0, 0),
}
FEATURES = {  # what the hardware lacks: IDR0 bit, command
    "NH_ALL without stage 1": (1, cmd.nh_all()),
    "NH_ASID without stage 1": (1, cmd.nh_asid(1)),
    "NH_VA without stage 1": (1, cmd.nh_va(0, 1)),
    "NH_VAA without stage 1": (1, cmd.nh_vaa(0)),
    "S2_IPA without stage 2": (0, cmd.s2_ipa(0)),
    "S12_VMALL without stage 2": (0, cmd.s12_vmall()),
    "ATC_INV without ATS": (10, cmd.atc_inv(0x10, None, 0, 52)),
    "PRI_RESP without PRI": (16, cmd.pri_resp(0x10, None, 0, 2)),
}


@pytest.mark.parametrize("command", ILLEGAL.values(), ids=ILLEGAL)
def test_illegal_commands(command: tuple[int, int]) -> None:
    rig = Rig()
    rig.command(cmd.sync(), command, cmd.sync())
    assert (index(rig), error(rig), active(rig)) == (1, ILL, True)


@pytest.mark.parametrize(("bit", "command"), FEATURES.values(), ids=FEATURES)
def test_commands_of_features_that_are_absent(bit: int, command: tuple[int, int]) -> None:
    rig = Rig(options={"on_atc_invalidate": lambda _: True})
    rig.sync(command)
    rig = Rig(idr=IDR | {"IDR0": IDR["IDR0"] & ~(1 << bit)})
    rig.command(command)
    assert (index(rig), error(rig), active(rig)) == (0, ILL, True)


@pytest.mark.parametrize("command", [cmd.resume(0x10, 1), cmd.stall_term(0x10)])
def test_stall_commands_on_hardware_that_only_terminates(command: tuple[int, int]) -> None:
    """Golden SS12."""
    rig = Rig(idr=IDR | {"IDR0": IDR["IDR0"] | 1 << 24})
    rig.command(command)
    assert (index(rig), error(rig), active(rig)) == (0, ILL, True)


@pytest.mark.parametrize("opcode", [0x01, 0x02])
def test_prefetch_is_legal_and_does_nothing_visible(opcode: int) -> None:
    rig = Rig()
    rig.sync((opcode | 1 << 11 | 5 << 12 | 0x10 << 32, 0x1000))
    assert rig.events() == []


def test_after_an_error_nothing_is_consumed_until_it_is_acknowledged() -> None:
    done: list[int] = []
    rig = Rig(options={"on_sync": lambda _: done.append(1)})
    rig.command(cmd.sync(), BAD, cmd.sync())
    assert len(done) == 1
    rig.command(cmd.sync())
    assert (len(done), index(rig), error(rig)) == (1, 1, ILL)
    rig.write("GERRORN", 0)  # not an acknowledgement: GERROR is 1
    assert index(rig) == 1
    rig.memory.put(COMMAND_QUEUE + 16, cmd.sync())
    rig.write("GERRORN", rig.read("GERROR"))
    assert (len(done), index(rig)) == (4, 4)
    assert not active(rig)


def test_acknowledging_without_repair_meets_the_error_again() -> None:
    rig = Rig()
    rig.command(BAD)
    rig.write("GERRORN", 1)
    assert (index(rig), error(rig)) == (0, ILL)
    assert rig.read("GERROR") == 0
    assert active(rig)


def test_prod_may_move_back_while_the_error_stands() -> None:
    done: list[int] = []
    rig = Rig(options={"on_sync": lambda _: done.append(1)})
    rig.command(cmd.sync(), BAD, cmd.sync(), cmd.sync())
    rig.write("CMDQ_PROD", 1)
    rig.write("GERRORN", 1)
    assert (len(done), index(rig)) == (1, 1)
    rig.command(cmd.sync())
    assert (len(done), index(rig)) == (2, 2)


def test_an_abort_of_the_fetch() -> None:
    done: list[int] = []
    rig = Rig(options={"on_sync": lambda _: done.append(1)})
    rig.memory.broken.add(COMMAND_QUEUE + 16)
    rig.command(cmd.sync(), cmd.sync())
    assert (index(rig), error(rig), active(rig)) == (1, ABT, True)
    rig.memory.broken.clear()
    rig.write("GERRORN", 1)
    assert (index(rig), len(done)) == (2, 2)


def test_commands_before_a_bad_one_have_taken_effect() -> None:
    rig = Rig(options={"caches": True})
    space = rig.space(asid=7)
    rig.attach(0x10, space)
    space.map(0x1000, 0x8_0000_0000)
    rig.pa(0x1000)
    space.map(0x1000, 0x9_0000_0000)
    rig.command(cmd.nh_asid(7), cmd.sync(), BAD)
    assert rig.pa(0x1000) == 0x9_0000_0000


def test_an_invalidation_before_a_bad_command_is_completed_by_the_sync_after_repair() -> None:
    rig = Rig(options={"caches": True})
    space = rig.space(asid=7)
    rig.attach(0x10, space)
    space.map(0x1000, 0x8_0000_0000)
    rig.pa(0x1000)
    space.map(0x1000, 0x9_0000_0000)
    rig.command(cmd.nh_asid(7), BAD)
    rig.memory.put(COMMAND_QUEUE + 16, cmd.sync())
    rig.write("GERRORN", 1)
    assert rig.pa(0x1000) == 0x9_0000_0000


# Completion -----------------------------------------------------------------------------------------------------------


def test_a_sync_writes_its_message() -> None:
    rig = Rig()
    rig.command((0x46 | 1 << 12 | 0x55 << 32, 0x12340))
    assert rig.memory[0x12340] & 0xFFFF_FFFF == 0x55


@pytest.mark.parametrize("cs", [0, 2])
def test_a_sync_without_interrupt_writes_none(cs: int) -> None:
    rig = Rig()
    rig.command((0x46 | cs << 12 | 0x55 << 32, 0x12340))
    assert rig.memory[0x12340] == 0
    assert index(rig) == 1


def test_an_aborted_sync_message_is_a_global_error_and_not_a_command_error() -> None:
    rig = Rig()
    rig.memory.broken.add(0x12340)
    rig.command((0x46 | 1 << 12 | 0x55 << 32, 0x12340), cmd.sync())
    assert rig.read("GERROR") == 1 << 4
    assert (index(rig), error(rig)) == (2, 0)


def test_global_errors_interrupt_where_enabled() -> None:
    rig = Rig()
    rig.write("GERROR_IRQ_CFG0", MESSAGE)
    rig.write("GERROR_IRQ_CFG1", 0xBAD)
    rig.write("IRQ_CTRL", 1)
    rig.command(BAD)
    assert rig.memory[MESSAGE] & 0xFFFF_FFFF == 0xBAD


def test_stepping_by_hand() -> None:
    """With auto_commands=False a doorbell only tells; process_commands does the work, a few at a time."""
    done: list[int] = []
    rig = Rig(options={"auto_commands": False, "on_sync": lambda _: done.append(1)})
    rig.command(cmd.sync(), cmd.sync(), cmd.sync())
    assert (index(rig), done) == (0, [])
    assert rig.smmu.process_commands(2) == 2
    assert (index(rig), len(done)) == (2, 2)
    assert rig.smmu.process_commands(10) == 1
    assert (index(rig), len(done)) == (3, 3)
    assert rig.smmu.process_commands() == 0
    rig.command(cmd.sync(), BAD, cmd.sync())
    assert rig.smmu.process_commands() == 1, "the bad one is not consumed"


# Pointers that make no sense ------------------------------------------------------------------------------------------


@tries(150)
@given(
    log2=st.integers(0, 5),
    writes=st.lists(
        st.tuples(
            st.sampled_from(["CMDQ_PROD", "CMDQ_CONS", "GERRORN", "CR0"]), st.integers(0, (1 << 32) - 1)
        ),
        max_size=15,
    ),
)
def test_illegal_pointers_do_not_crash_or_run_for_ever(log2: int, writes: list[tuple[str, int]]) -> None:
    rig = Rig(cmdq_log2=log2)
    for n in range(1 << log2):
        rig.memory.put(COMMAND_QUEUE + 16 * n, cmd.sync())
    for name, value in writes:
        rig.write(name, value)
        if name == "CR0":
            rig.write("CR0", EVERYTHING)
        assert index(rig) < 2 << log2 or value >> (log2 + 1)


@tries(150)
@given(
    st.lists(st.tuples(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1)), min_size=1, max_size=8)
)
def test_any_words_as_commands_are_consumed_or_refused(commands: list[tuple[int, int]]) -> None:
    rig = Rig(options={"on_atc_invalidate": lambda _: True})
    for words in commands:
        rig.command(words)
        if active(rig):
            assert error(rig) in {ILL, ABT, ATC_TIMEOUT}
            at = index(rig) & 0xFF
            rig.memory.put(COMMAND_QUEUE + 16 * at, cmd.sync())
            rig.write("GERRORN", rig.read("GERROR"))
        assert index(rig) == rig.read("CMDQ_PROD")


OPCODES = [
    0x01,
    0x02,
    0x03,
    0x04,
    0x05,
    0x06,
    0x10,
    0x11,
    0x12,
    0x13,
    0x28,
    0x2A,
    0x30,
    0x40,
    0x41,
    0x44,
    0x45,
    0x46,
]


@tries(150)
@given(
    st.lists(
        st.tuples(st.sampled_from(OPCODES), st.integers(0, (1 << 56) - 1), st.integers(0, (1 << 64) - 1)),
        min_size=1,
        max_size=8,
    )
)
def test_known_opcodes_with_any_fields(commands: list[tuple[int, int, int]]) -> None:
    rig = Rig(options={"on_atc_invalidate": lambda _: True, "caches": True})
    space = rig.space(asid=7)
    rig.attach(0x10, space)
    space.map(0x1000, 0x8_0000_0000)
    for opcode, high, dw1 in commands:
        rig.pa(0x1000)
        rig.command((opcode | high << 8 & ~(1 << 10), dw1))
        if active(rig):
            assert error(rig) == ILL
            rig.memory.put(COMMAND_QUEUE + 16 * (index(rig) & 0xFF), cmd.sync())
            rig.write("GERRORN", rig.read("GERROR"))
        assert index(rig) == rig.read("CMDQ_PROD")
    assert rig.pa(0x1000) == 0x8_0000_0000

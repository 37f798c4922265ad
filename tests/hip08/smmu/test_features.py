"""Hardware that has less, or more: what the identification registers change."""

from __future__ import annotations

import pytest

from wdasync_hip08.smmu import (
    HIP08,
    Access,
    Config,
    ContextDescriptor,
    ContextL1,
    EventCode,
    FaultClass,
    GlobalError,
    Opcode,
    PageRequest,
    Profile,
    ResponseCode,
    S1Dss,
    Smmu,
    StreamTableEntry,
)

from .support import (
    CMDQEN,
    COMMAND_QUEUE,
    EVENTQEN,
    IDR,
    MESSAGE,
    PRIQEN,
    REGISTERS,
    SMMUEN,
    Memory,
    Parked,
    Rig,
    StallState,
    cmd,
    make_ste,
)

VA, FRAME = 0x1234_5678_9000, 0x8_0000_0000
NUMBERS = {
    "F_UUT": 0x01,
    "C_BAD_STREAMID": 0x02,
    "F_STE_FETCH": 0x03,
    "C_BAD_STE": 0x04,
    "F_BAD_ATS_TREQ": 0x05,
    "F_STREAM_DISABLED": 0x06,
    "F_TRANSL_FORBIDDEN": 0x07,
    "C_BAD_SUBSTREAMID": 0x08,
    "F_CD_FETCH": 0x09,
    "C_BAD_CD": 0x0A,
    "F_WALK_EABT": 0x0B,
    "F_TRANSLATION": 0x10,
    "F_ADDR_SIZE": 0x11,
    "F_ACCESS": 0x12,
    "F_PERMISSION": 0x13,
    "F_TLB_CONFLICT": 0x20,
    "F_CFG_CONFLICT": 0x21,
    "E_PAGE_REQUEST": 0x24,
    "F_VMS_FETCH": 0x25,
}


def test_the_numbers_of_the_specification() -> None:
    assert {e.name: e.value for e in EventCode} == NUMBERS
    assert {c.name: c.value for c in FaultClass} == {"CD": 0, "TT": 1, "IN": 2}
    assert {e.name: e.value.bit_length() - 1 for e in GlobalError} == {
        "CMDQ_ERR": 0,
        "EVENTQ_ABT_ERR": 2,
        "PRIQ_ABT_ERR": 3,
        "MSI_CMDQ_ABT_ERR": 4,
        "MSI_EVENTQ_ABT_ERR": 5,
        "MSI_PRIQ_ABT_ERR": 6,
        "MSI_GERROR_ABT_ERR": 7,
        "SFM_ERR": 8,
    }
    assert {o.value for o in Opcode} == {
        *range(0x01, 0x07),
        *range(0x10, 0x14),
        *range(0x20, 0x24),
        *(0x28, 0x2A, 0x30, 0x40, 0x41, 0x44, 0x45, 0x46),
    }


def test_the_numbers_of_configurations() -> None:
    assert [int(c) for c in (Config.ABORT, Config.BYPASS, Config.S1, Config.S2, Config.NESTED)] == [
        0,
        4,
        5,
        6,
        7,
    ]
    assert [int(d) for d in (S1Dss.TERMINATE, S1Dss.BYPASS, S1Dss.SUBSTREAM0)] == [0, 1, 2]
    assert ContextL1(l2ptr=0x1000).encode() == (0x1001,)
    assert ContextDescriptor().encode()[0] == 1 << 31 | 1 << 41
    assert StreamTableEntry().encode() == (1, 0, 0, 0, 0, 0, 0, 0)


def test_the_default_profile_is_the_documented_one() -> None:
    smmu = Smmu(Memory())
    for name, value in IDR.items():
        assert smmu.read32(REGISTERS[name][0]) == value
    for name in ("IDR2", "IDR4", "IIDR"):
        assert smmu.read32(REGISTERS[name][0]) == 0
    assert Profile() == HIP08


def test_gbpa_at_reset_is_of_the_profile() -> None:
    smmu = Smmu(Memory(), Profile(gbpa=1 << 20))
    assert smmu.read32(REGISTERS["GBPA"][0]) >> 20 & 1


def test_without_messages_the_registers_of_messages_do_nothing() -> None:
    rig = Rig(idr=IDR | {"IDR0": IDR["IDR0"] & ~(1 << 13)})
    rig.write("EVENTQ_IRQ_CFG0", MESSAGE)
    rig.write("EVENTQ_IRQ_CFG1", 1)
    rig.write("IRQ_CTRL", 7)
    rig.fault(VA)
    rig.command((0x46 | 1 << 12 | 0x55 << 32, MESSAGE + 8))
    assert rig.memory[MESSAGE] == rig.memory[MESSAGE + 8] == 0
    assert rig.read("CMDQ_CONS") == 1


def test_without_ranges_their_fields_are_ignored() -> None:
    rig = Rig(idr=IDR | {"IDR3": IDR["IDR3"] & ~(1 << 10)}, options={"caches": True})
    space = rig.space(asid=7)
    rig.attach(0x10, space)
    space.map(VA, FRAME)
    rig.pa(VA)
    space.map(VA, FRAME + 0x1000)
    rig.sync(cmd.nh_va_range(VA, 7, 0, 0, ttl=0))
    assert rig.pa(VA) == FRAME + 0x1000


@pytest.mark.parametrize("bits", [0, 1, 8])
def test_substreams_are_as_many_as_the_hardware_has(bits: int) -> None:
    idr = IDR | {"IDR1": IDR["IDR1"] & ~(0x1F << 6) | bits << 6}
    rig = Rig(idr=idr)
    table = rig.cd_table(256)
    space = rig.space()
    space.map(VA, FRAME)
    for ssid in (0, 1):
        rig.set_cd(table, ssid, space.cd())
    rig.set_ste(0x10, make_ste(cd=table, cdmax=bits, dss=2))
    assert rig.pa(VA) == FRAME
    if bits:
        assert rig.pa(VA, ssid=1) == FRAME
    else:
        assert rig.fault(VA, ssid=1).event == 0x08
    rig.set_ste(0x10, make_ste(cd=table, cdmax=bits + 1, dss=2))
    rig.sync(cmd.cfgi_ste(0x10))
    if bits:
        assert rig.fault(VA).event == 0x04
    else:
        assert rig.pa(VA) == FRAME, "the field means nothing without substreams"


@pytest.mark.parametrize(
    ("idr0", "stage2", "stall", "code"),
    [
        (1 << 24, 0, 0, None),  # terminate only
        (1 << 24, 0, 1, 0x0A),
        (2 << 24, 0, 0, 0x0A),  # stall forced
        (2 << 24, 0, 1, None),
        (1 << 24, 1, 1, 0x04),
        (2 << 24, 1, 0, 0x04),
    ],
)
def test_models_of_stalling(idr0: int, stage2: int, stall: int, code: int | None) -> None:
    rig = Rig(idr=IDR | {"IDR0": IDR["IDR0"] | idr0})
    space = rig.space()
    rig.attach(0x10, space, stall=stall)
    if stage2:
        rig.set_ste(0x10, make_ste(0b110, cd=0, s2ttb=0x6_0000_0000, s2s=stall))
    else:
        space.map(VA, FRAME)
    if code is None:
        assert rig.pa(VA) == FRAME
    else:
        assert rig.fault(VA).event == code


@pytest.mark.slow
def test_tags_of_stalls_have_sixteen_bits_and_come_round() -> None:
    rig = Rig(cmdq_log2=0, options={"caches": False})
    rig.attach(0x10, rig.space(), stall=1)
    keep = rig.stall(VA)
    smmu, again = rig.smmu, Access(sid=0x10, ssid=None, va=VA + 0x1000, op="R")
    prod, cons = REGISTERS["CMDQ_PROD"][0], REGISTERS["EVENTQ_CONS"][0]
    seen = set()
    for n in range((1 << 16) + 100):
        outcome = smmu.translate(again)
        assert isinstance(outcome, Parked)
        assert outcome.stag is not None
        assert 0 <= outcome.stag < 1 << 16
        assert outcome.stag != keep.stag
        seen.add(outcome.stag)
        rig.memory.put(COMMAND_QUEUE, cmd.resume(0x10, outcome.stag, "abort"))
        smmu.write32(prod, ~n & 1)
        smmu.write32(cons, (n + 2) & 0xFF)
        assert smmu.take_resumed() == [outcome.stall]
    assert keep.state is StallState.RECORDED
    assert len(seen) > 1, "a tag that was just given back is not the first to be used again"


# Errors of messages ---------------------------------------------------------------------------------------------------


def test_an_aborted_message_of_the_page_request_queue() -> None:
    rig = Rig()
    rig.write("PRIQ_IRQ_CFG0", MESSAGE)
    rig.write("IRQ_CTRL", 2)
    rig.memory.broken.add(MESSAGE)
    rig.smmu.page_request(PageRequest(sid=0x10, ssid=5, addr=VA, r=1, last=1))
    assert rig.read("GERROR") == 1 << 6
    assert len(rig.page_requests()) == 1


def test_an_aborted_message_of_global_errors() -> None:
    calls: list[int] = []
    rig = Rig(options={"on_gerror_irq": lambda: calls.append(1)})
    rig.write("GERROR_IRQ_CFG0", MESSAGE)
    rig.write("IRQ_CTRL", 1)
    rig.memory.broken.add(MESSAGE)
    rig.command((0xFF, 0))
    assert rig.read("GERROR") == 1 | 1 << 7
    assert calls == [1], "an error about the message of errors is not announced by another"


def test_a_global_error_that_stands_is_not_signalled_again() -> None:
    calls: list[int] = []
    rig = Rig(options={"on_gerror_irq": lambda: calls.append(1)})
    rig.write("IRQ_CTRL", 1)
    rig.memory.broken.add(MESSAGE)
    for _ in range(3):
        rig.command((0x46 | 1 << 12, MESSAGE))
    assert rig.read("GERROR") == 1 << 4
    assert calls == [1]
    rig.write("GERRORN", 1 << 4)
    rig.command((0x46 | 1 << 12, MESSAGE))
    assert rig.read("GERROR") == 0, "the flag toggles back"
    assert calls == [1, 1]


def test_the_wire_of_a_sync() -> None:
    calls: list[int] = []
    rig: Rig = Rig(options={"on_sync_irq": lambda: calls.append(rig.read("CMDQ_CONS"))})
    rig.command(cmd.sync(0))
    rig.command(cmd.sync(2))
    assert calls == []
    rig.command(cmd.sync(1))
    assert calls == [3]


def test_smmuen_off_takes_the_page_request_queue_with_it() -> None:
    rig = Rig()
    rig.write("CR0", CMDQEN | EVENTQEN | PRIQEN)
    rig.smmu.page_request(PageRequest(sid=0x10, ssid=5, addr=VA, r=1, last=1))
    [answer] = rig.smmu.take_page_responses()
    assert (answer.code, answer.automatic) == (ResponseCode.FAILURE, True)
    rig.write("CR0", SMMUEN | CMDQEN | EVENTQEN | PRIQEN)
    rig.smmu.page_request(PageRequest(sid=0x10, ssid=5, addr=VA, r=1, last=1))
    assert rig.smmu.take_page_responses() == []

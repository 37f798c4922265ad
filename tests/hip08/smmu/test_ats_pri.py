"""Endpoints that translate by themselves (ATS) and ask for pages (PRI)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wdasync_hip08.smmu import (
    Access,
    AtcInvalidation,
    AtsCompletion,
    AtsRequest,
    AtsStatus,
    PageRequest,
    ResponseCode,
)

from .support import (
    AF,
    ATSCHK,
    COMMAND_QUEUE,
    EVERYTHING,
    IDR,
    MESSAGE,
    PRI_QUEUE,
    PRIQEN,
    READ_ONLY,
    RW,
    SMMUEN,
    USER,
    UXN,
    VECTORS,
    AbortedSilently,
    AddressSpace,
    Faulted,
    Rig,
    Translated,
    Verdict,
    cmd,
    make_ste,
)
from .test_caches import GUEST, HOST, S2_ROOT, guest
from .test_mutations import tries

VA, FRAME = 0x1234_5678_9000, 0x8_0000_0000
REC_CFG_ATS = 1 << 3
NO_PPS = IDR | {"IDR3": 0x1414}


def endpoint(*, eats: int = 1, cd: dict[str, Any] | None = None, **options: Any) -> tuple[Rig, AddressSpace]:
    """Stream 0x10 with ATS, SSID 5 in use."""
    options.setdefault("options", {"on_atc_invalidate": lambda _: True, "caches": True})
    rig = Rig(**options)
    space = rig.space(asid=7)
    table = rig.cd_table(16)
    rig.set_ste(0x10, make_ste(cd=table, cdmax=4, eats=eats))
    rig.set_cd(table, 5, space.cd(**(cd or {})))
    return rig, space


def ask(rig: Rig, va: int = VA, *, ssid: int | None = 5, sid: int = 0x10, **rights: bool) -> AtsCompletion:
    return rig.smmu.ats_request(AtsRequest(sid=sid, ssid=ssid, va=va, **rights))


def translated(rig: Rig, address: int, op: Any = "R", *, sid: int = 0x10) -> object:
    return rig.smmu.translated_access(Access(sid=sid, ssid=None, va=address, op=op))


def nothing_granted(completion: AtsCompletion) -> bool:
    return completion.status is AtsStatus.SUCCESS and not (
        completion.read or completion.write or completion.execute
    )


# Translation requests -------------------------------------------------------------------------------------------------


def test_a_request_is_granted_what_the_page_allows() -> None:
    rig, space = endpoint()
    space.map(VA, FRAME)
    completion = ask(rig, VA + 0x123)
    assert completion.status is AtsStatus.SUCCESS
    assert (completion.address & ~0xFFF, completion.size) == (FRAME, 0x1000)
    assert (completion.read, completion.write) == (True, True)


def test_the_answer_covers_the_block() -> None:
    rig, space = endpoint()
    base = 0x1200_0000_0000
    space.map(base, 0x40_0000_0000, level=2)
    completion = ask(rig, base + 0x12_3456)
    assert completion.size in {0x1000 << n for n in range(10)}
    first = 0x40_0000_0000 + (0x12_3456 & ~(completion.size - 1))
    assert completion.address & ~(completion.size - 1) == first


def absent() -> None:
    """Golden AT05."""
    rig, _ = endpoint()
    assert nothing_granted(ask(rig))
    assert rig.events() == []


def read_only() -> None:
    """Golden AT06."""
    rig, space = endpoint()
    space.map(VA, FRAME, RW | READ_ONLY)
    completion = ask(rig)
    assert completion.status is AtsStatus.SUCCESS
    assert (completion.read, completion.write) == (True, False)
    assert rig.events() == []


def invalid_ste() -> None:
    """Golden AT08; without REC_CFG_ATS the same in silence."""
    for cr2, recorded in ((6 | REC_CFG_ATS, [0x04]), (6, [])):
        rig, _ = endpoint(registers={"CR2": cr2})
        rig.set_ste(0x10, make_ste(valid=0))
        rig.sync(cmd.cfgi_ste(0x10))
        assert ask(rig).status is AtsStatus.ABORT
        assert [e.code for e in rig.events()] == recorded


def trusted_endpoint() -> None:
    """Golden AT10."""
    rig, _ = endpoint(eats=0, registers={"CR0": EVERYTHING & ~ATSCHK})
    outcome = translated(rig, FRAME + 0x123, "W")
    assert isinstance(outcome, Translated)
    assert outcome.pa == FRAME + 0x123
    assert rig.events() == []


def smmu_off() -> None:
    """Golden AT11."""
    rig, _ = endpoint(registers={"CR0": EVERYTHING & ~SMMUEN})
    outcome = translated(rig, FRAME, "W")
    assert isinstance(outcome, Faulted)
    assert outcome.bus == "abort"
    [event] = rig.events()
    assert (event.code, event.sid, event.va) == (0x07, 0x10, FRAME)
    assert event.words[1] >> 35 & 1 == 0, "it was a write"


def ats_and_stage_2_stalls() -> None:
    """Golden AT12: not together, whoever asks."""
    rig, _ = endpoint(registers={"CR2": 6 | REC_CFG_ATS})
    for config in (0b110, 0b111):
        rig.set_ste(0x10, make_ste(config, eats=1, s2s=1, s2ttb=S2_ROOT))
        rig.sync(cmd.cfgi_ste(0x10))
        assert rig.fault(VA).event == 0x04
        assert ask(rig, ssid=None).status is AtsStatus.ABORT
        assert [e.code for e in rig.events()] == [0x04, 0x04]


def split_stages() -> None:
    """Golden AT13, and the request that goes before it: the endpoint is given an IPA."""
    rig, _, _ = guest(0b111)
    rig.memory[0x4000_0408] |= 2 << 28
    completion = ask(rig, ssid=None)
    assert completion.status is AtsStatus.SUCCESS
    assert completion.address & ~0xFFF == GUEST
    outcome = translated(rig, GUEST + 0x10)
    assert isinstance(outcome, Translated)
    assert outcome.pa == HOST + 0x10
    outcome = translated(rig, GUEST + 0x5000)
    assert isinstance(outcome, Faulted)
    assert outcome.event == 0x10


def order_of_invalidation() -> None:
    """Golden AT14: in this order an endpoint that asks again at any moment does not keep the old frame.

    (The other way round it may fetch an old TLB entry in between, where requests are answered from the TLB.)
    """
    atc: dict[int, int] = {}

    def refetch(rig: Rig) -> None:
        completion = ask(rig)
        if completion.read:
            atc[VA] = completion.address & ~0xFFF

    def invalidate(what: AtcInvalidation) -> bool:
        atc.clear()
        return what is not None

    rig, space = endpoint(options={"on_atc_invalidate": invalidate, "caches": True})
    space.map(VA, FRAME)
    rig.access(VA, ssid=5)
    refetch(rig)
    assert atc == {VA: FRAME}
    space.unmap(VA)
    for command in (cmd.nh_va(VA, 7), cmd.sync(), cmd.atc_inv(0x10, 5, VA, 0), cmd.sync()):
        refetch(rig)
        rig.command(command)
    refetch(rig)
    assert atc == {}


def test_invalidating_the_endpoint_before_the_tlb_is_found_out() -> None:
    """Requests are answered from the TLB: whoever asks between ATC_INV and TLBI is given the old frame, and keeps it."""
    rig, space = endpoint()
    space.map(VA, FRAME)
    assert ask(rig).read
    space.unmap(VA)
    rig.sync(cmd.atc_inv(0x10, 5, VA, 0))
    completion = ask(rig)
    assert completion.read
    assert completion.address & ~0xFFF == FRAME
    rig.sync(cmd.nh_va(VA, 7))
    assert nothing_granted(ask(rig))


def unanswered_invalidation() -> None:
    """Golden AT15."""
    rig, _ = endpoint(options={"on_atc_invalidate": lambda _: False})
    rig.command(cmd.atc_inv(0x10, 5, VA, 0), cmd.sync())
    assert rig.read("CMDQ_CONS") == 3 << 24 | 1
    assert rig.read("GERROR") == 1


ATS: dict[str, Callable[[], None]] = {
    "AT05": absent,
    "AT06": read_only,
    "AT08": invalid_ste,
    "AT10": trusted_endpoint,
    "AT11": smmu_off,
    "AT12": ats_and_stage_2_stalls,
    "AT13": split_stages,
    "AT14": order_of_invalidation,
    "AT15": unanswered_invalidation,
}


@pytest.mark.parametrize("scenario", VECTORS["ats_scenarios"], ids=lambda s: s["id"])
def test_golden_scenario(scenario: dict[str, Any]) -> None:
    ATS[scenario["id"]]()


@pytest.mark.parametrize("cd", [{"stall": 1}, {"stall": 0}, {"abort": 0, "record": 0}])
def test_a_request_never_stalls_and_never_reports_a_fault(cd: dict[str, int]) -> None:
    rig, space = endpoint(cd=cd)
    slot = space.map(VA, FRAME, RW & ~AF)
    assert nothing_granted(ask(rig)), "access flag clear"
    assert nothing_granted(ask(rig, VA + 0x1000)), "absent"
    assert nothing_granted(ask(rig, 1 << 52)), "no such address"
    rig.memory[slot] = 0xFFFF_0000_0000_0000 & (1 << 48) - 1 | RW & ~USER | 3
    assert nothing_granted(ask(rig)), "privileged only"
    assert rig.events() == []
    assert rig.resumed() == []


def test_the_access_flag_is_set_at_the_request_and_the_dirty_state_only_without_no_write() -> None:
    rig, space = endpoint(cd={"ha": 1, "hd": 1})
    slot = space.map(VA, FRAME, RW & ~AF | READ_ONLY | 1 << 51)
    completion = ask(rig, no_write=True)
    assert completion.read
    assert not completion.write
    assert rig.memory[slot] & AF
    assert rig.memory[slot] & READ_ONLY
    completion = ask(rig)
    assert completion.read
    assert completion.write == (not rig.memory[slot] & READ_ONLY)


def test_only_the_rights_that_were_asked_for() -> None:
    rig, space = endpoint()
    space.map(VA, FRAME, RW & ~USER)
    space.map(VA + 0x1000, FRAME + 0x1000, RW | READ_ONLY)
    space.map(VA + 0x2000, FRAME + 0x2000, RW | READ_ONLY | UXN)
    assert nothing_granted(ask(rig)), "privileged only"
    completion = ask(rig, privileged=True)
    assert (completion.read, completion.write) == (True, True)
    assert not ask(rig, VA + 0x1000).execute, "it did not ask"
    assert ask(rig, VA + 0x1000, execute=True).execute
    assert not ask(rig, VA + 0x2000, execute=True).execute


def test_stage_2_only_and_nested_streams_give_physical_addresses() -> None:
    for config, address in ((0b110, GUEST), (0b111, VA)):
        rig, _, _ = guest(config)
        rig.memory[0x4000_0408] |= 1 << 28
        completion = ask(rig, address, ssid=None)
        assert completion.status is AtsStatus.SUCCESS
        assert (completion.address & ~0xFFF, completion.size) == (HOST, 0x1000)
        assert rig.events() == []


def test_stage_2_says_no_to_a_request_as_quietly_as_stage_1() -> None:
    rig, map2, _ = guest(0b111)
    rig.memory[0x4000_0408] |= 1 << 28
    map2(GUEST, 0)
    assert nothing_granted(ask(rig, ssid=None))
    assert rig.events() == []


def test_a_stream_whose_stage_1_is_skipped_translates_to_itself() -> None:
    rig, _ = endpoint()
    rig.memory[0x4000_0408] |= 1  # S1DSS
    rig.sync(cmd.cfgi_ste(0x10))
    completion = ask(rig, ssid=None)
    assert completion.status is AtsStatus.SUCCESS
    assert completion.address & ~0xFFF == VA
    assert (completion.read, completion.write) == (True, True)


@pytest.mark.parametrize("op", ["R", "W"])
def test_split_stages_check_stage_2_rights_of_translated_accesses(op: Any) -> None:
    rig, map2, _ = guest(0b111)
    rig.memory[0x4000_0408] |= 2 << 28
    map2(GUEST, HOST)
    slot = next(a for a, w in rig.memory.words.items() if w == HOST | 0x7FF)
    rig.memory[slot] = HOST | 0x77F  # S2AP: read only
    outcome = translated(rig, GUEST, op)
    assert isinstance(outcome, Translated) == (op == "R")


@pytest.mark.parametrize(
    ("name", "status", "recorded"),
    [
        ("SMMUEN=0", AtsStatus.UNSUPPORTED, [0x05]),
        ("bypass", AtsStatus.UNSUPPORTED, [0x05]),
        ("EATS=0", AtsStatus.UNSUPPORTED, [0x05]),
        ("EATS=3", AtsStatus.UNSUPPORTED, [0x05]),
        ("Config=0", AtsStatus.UNSUPPORTED, []),
        ("no CD", AtsStatus.ABORT, []),
    ],
)
def test_refused_requests(name: str, status: AtsStatus, recorded: list[int]) -> None:
    rig, space = endpoint(eats={"EATS=0": 0, "EATS=3": 3}.get(name, 1))
    space.map(VA, FRAME)
    ssid: int | None = 5
    if name == "SMMUEN=0":
        rig.write("CR0", EVERYTHING & ~SMMUEN)
    elif name in {"bypass", "Config=0"}:
        rig.set_ste(0x10, make_ste(4 if name == "bypass" else 0, eats=1))
        ssid = None
    elif name == "no CD":
        ssid = 6
    assert ask(rig, ssid=ssid).status is status
    events = rig.events()
    assert [e.code for e in events] == recorded
    assert all(e.va == VA and e.sid == 0x10 for e in events)


@pytest.mark.parametrize(
    ("config", "eats", "code"), [(0b101, 0, 0x07), (0b100, 1, 0x07), (0b000, 1, None), (0b101, 1, 0)]
)
def test_translated_accesses_under_atschk(config: int, eats: int, code: int | None) -> None:
    rig, _ = endpoint()
    rig.set_ste(0x10, make_ste(config, eats=eats))
    outcome = translated(rig, FRAME)
    if code == 0:
        assert isinstance(outcome, Translated)
        assert outcome.pa == FRAME
    elif code is None:
        assert isinstance(outcome, AbortedSilently)
    else:
        assert isinstance(outcome, Faulted)
        assert outcome.bus == "abort"
    assert [e.code for e in rig.events()] == ([code] if code else [])


# Invalidation of the endpoint's cache ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ssid", "address", "size", "glob"), [(5, 0x8000, 2, 0), (None, 0, 52, 0), (5, 0, 52, 1), (0, VA, 0, 0)]
)
def test_an_atc_invalidation_arrives_as_it_was_sent(
    ssid: int | None, address: int, size: int, glob: int
) -> None:
    seen: list[AtcInvalidation] = []

    def invalidate(what: AtcInvalidation) -> bool:
        seen.append(what)
        return True

    rig = Rig(options={"on_atc_invalidate": invalidate})
    rig.sync(cmd.atc_inv(0x10, ssid, address, size, glob))
    [what] = seen
    assert (what.sid, what.ssid, what.everywhere) == (0x10, ssid, bool(glob))
    assert (what.address, what.size) == (address, 4096 << size)


@pytest.mark.parametrize("vector", VECTORS["atc_inv_span"], ids=lambda v: v["id"])
def test_golden_spans_reach_the_endpoint(vector: dict[str, Any]) -> None:
    """The bytes that the endpoint is told to forget are those of the vector."""
    seen: list[AtcInvalidation] = []

    def invalidate(what: AtcInvalidation) -> bool:
        seen.append(what)
        return True

    rig = Rig(options={"on_atc_invalidate": invalidate})
    rig.sync(cmd.atc_inv(0x10, 5, int(vector["Addr"], 16), int(vector["Size"], 16)))
    first, last = (int(p, 16) for p in vector["invalidated_pages"])
    [what] = seen
    assert (what.address, what.size) == (first << 12, (last - first + 1) << 12)


def test_an_unanswered_invalidation_fails_its_sync_and_a_later_one_succeeds() -> None:
    answers = [False, True]
    rig = Rig(options={"on_atc_invalidate": lambda _: answers.pop(0), "caches": True})
    space = rig.space(asid=7)
    rig.attach(0x10, space)
    space.map(VA, FRAME)
    rig.pa(VA)
    space.unmap(VA)
    rig.command(cmd.nh_va(VA, 7), cmd.atc_inv(0x10, None, VA, 0), cmd.sync())
    assert rig.read("CMDQ_CONS") == 3 << 24 | 2
    rig.memory.put(COMMAND_QUEUE + 16 * 2, cmd.atc_inv(0x10, None, VA, 0))
    rig.write("GERRORN", 1)
    rig.sync()
    assert rig.fault(VA).event == 0x10
    assert answers == []


# Page requests --------------------------------------------------------------------------------------------------------


def request(
    rig: Rig, page: int = VA, *, last: int = 1, ssid: int | None = 5, prg: int = 1, r: int = 1, **more: Any
) -> None:
    rig.smmu.page_request(
        PageRequest(sid=more.pop("sid", 0x10), ssid=ssid, addr=page, prg=prg, r=r, last=last, **more)
    )


def answers(rig: Rig) -> list[tuple[int, int, int | None]]:
    """(group, code, PASID) of each response since the last time."""
    return [(a.prg, int(a.code), a.ssid) for a in rig.smmu.take_page_responses()]


def two_endpoints(**options: Any) -> Rig:
    """Streams 0x10 without and 0x11 with PPAR."""
    rig = Rig(**options)
    for sid, ppar in ((0x10, 0), (0x11, 1)):
        rig.set_ste(sid, make_ste(cd=rig.cd_table(16), cdmax=4, eats=1, ppar=ppar))
    return rig


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS["queue_vectors"] if v["queue"] == "PRIQ"], ids=lambda v: v["id"]
)
def test_golden_queue_steps(vector: dict[str, Any]) -> None:
    idr = IDR | {name: int(value, 16) for name, value in vector["regs"].items()}
    rig = two_endpoints(idr=idr, priq_log2=vector["log2size"])
    for step in vector["steps"]:
        if step["op"] == "ppr":
            marker = step["stop_marker"]
            request(
                rig,
                sid=0x10 + step["ppar"],
                prg=int(step["prg"], 16),
                ssid=int(step["ssid"], 16),
                last=int(step["last"]),
                r=0 if marker else 1,
            )
        elif step["op"] == "cons":
            rig.write("PRIQ_CONS", int(step["value"], 16))
        else:
            rig.command(
                cmd.pri_resp(0x10, int(step["ssid"], 16), int(step["prg"], 16), int(step["cmd_resp"], 16))
            )
        after = {name: int(value, 16) for name, value in step["after"].items()}
        assert (rig.read("PRIQ_PROD"), rig.read("PRIQ_CONS")) == (after["PROD"], after["CONS"]), step
        want = step["endpoint_response"]
        expected = (
            []
            if want is None
            else [(int(want["prg"], 16), int(want["code"], 16), want["pasid"] and int(want["pasid"], 16))]
        )
        assert answers(rig) == expected, step


def test_five_laps_of_the_queue() -> None:
    rig = two_endpoints(priq_log2=2)
    for n in range(20):
        request(rig, VA + 0x1000 * n, prg=n)
        [(_, dw1)] = rig.page_requests()
        assert dw1 == VA + 0x1000 * n | n
        assert rig.read("PRIQ_PROD") == (n + 1) % 8


OVERFLOW_CASES = [
    # (PPS, sid, ssid) -> PASID of the automatic Success
    (1, 0x10, 5, 5),
    (1, 0x10, None, None),
    (0, 0x10, 5, None),
    (0, 0x11, 5, 5),
    (0, 0x11, None, None),
]


@pytest.mark.parametrize(("pps", "sid", "ssid", "pasid"), OVERFLOW_CASES)
def test_pasid_of_the_automatic_success(pps: int, sid: int, ssid: int | None, pasid: int | None) -> None:
    rig = two_endpoints(idr=IDR if pps else NO_PPS, priq_log2=0)
    request(rig, prg=1)
    assert answers(rig) == []
    request(rig, prg=2, sid=sid, ssid=ssid)
    assert answers(rig) == [(2, ResponseCode.SUCCESS, pasid)]


def test_without_a_usable_ste_and_pps_the_automatic_answer_is_failure() -> None:
    rig = two_endpoints(idr=NO_PPS, priq_log2=0)
    request(rig, prg=1)
    request(rig, prg=2, sid=0x12)
    request(rig, prg=3, sid=0x12, ssid=None)
    assert answers(rig) == [(2, ResponseCode.FAILURE, None), (3, ResponseCode.SUCCESS, None)]


@pytest.mark.parametrize("told", [False, True])
def test_an_unusable_ste_behind_an_automatic_answer_is_reported_only_on_demand(told: bool) -> None:
    rig = two_endpoints(idr=NO_PPS, priq_log2=0, registers={"CR2": 6 | REC_CFG_ATS * told})
    request(rig, prg=1)
    request(rig, prg=2, sid=0x12)
    request(rig, prg=3, sid=0x1FF)
    assert [(e.code, e.sid) for e in rig.events()] == ([(0x04, 0x12), (0x02, 0x1FF)] if told else [])


def test_responses_say_who_gave_them() -> None:
    rig = two_endpoints(priq_log2=0)
    request(rig, prg=1)
    request(rig, prg=2)
    rig.command(cmd.pri_resp(0x10, 5, 1, 2))
    assert [(a.prg, a.automatic) for a in rig.smmu.take_page_responses()] == [(2, True), (1, False)]


@pytest.mark.parametrize("why", ["PRIQEN", "SMMUEN", "PRIQ_ABT_ERR"])
def test_while_the_queue_is_off_every_request_fails(why: str) -> None:
    rig = two_endpoints()
    if why == "PRIQ_ABT_ERR":
        rig.memory.broken |= {PRI_QUEUE, PRI_QUEUE + 8}
        request(rig, prg=1)
        assert rig.read("GERROR") == 1 << 3
        assert answers(rig) == [(1, ResponseCode.FAILURE, None)]
        rig.memory.broken.clear()
    else:
        rig.write("CR0", EVERYTHING & ~{"PRIQEN": PRIQEN, "SMMUEN": SMMUEN}[why])
    request(rig, prg=2)
    request(rig, prg=3, last=0)
    request(rig, prg=0, r=0)  # stop marker
    assert answers(rig) == [(2, ResponseCode.FAILURE, None), (3, ResponseCode.FAILURE, None)]
    assert rig.read("PRIQ_PROD") == 0
    if why == "PRIQ_ABT_ERR":
        rig.write("GERRORN", 1 << 3)
    else:
        rig.write("CR0", EVERYTHING)
    request(rig, prg=4)
    assert len(rig.page_requests()) == 1
    assert answers(rig) == []


def test_a_stop_marker_is_queued_and_not_answered_and_without_pasid_it_is_a_request() -> None:
    rig = two_endpoints(priq_log2=1)
    request(rig, 0, prg=0, r=0)
    assert rig.page_requests() == [(0xC000_0005_0000_0010, 0)]
    request(rig, prg=1)
    request(rig, prg=2)
    request(rig, prg=3, r=0)
    assert answers(rig) == [], "the queue is full, and a marker gets no answer"
    request(rig, 0, prg=4, r=0, ssid=None)
    assert answers(rig) == [(4, ResponseCode.SUCCESS, None)]


@pytest.mark.parametrize(("resp", "code"), [(0, 15), (1, 1), (2, 0)])
def test_codes_of_responses(resp: int, code: int) -> None:
    rig = two_endpoints()
    rig.command(cmd.pri_resp(0x10, 5, 0x1AB, resp), cmd.pri_resp(0x11, None, 3, resp))
    got = rig.smmu.take_page_responses()
    assert [(a.sid, a.ssid, a.prg, int(a.code), a.automatic) for a in got] == [
        (0x10, 5, 0x1AB, code, False),
        (0x11, None, 3, code, False),
    ]


def test_an_endpoint_that_asks_again_after_each_automatic_success_is_served_in_the_end() -> None:
    """The answer that resolves nothing: software drains and acknowledges, and the loop ends."""
    rig = two_endpoints(priq_log2=1)
    wanted = set(range(8))
    served: set[int] = set()
    rounds = 0
    while wanted:
        rounds += 1
        assert rounds < 20
        for prg in sorted(wanted):
            request(rig, VA + prg * 0x1000, prg=prg)
        assert rig.read("PRIQ_PROD") >> 31 != rig.read("PRIQ_CONS") >> 31 or len(wanted) <= 2
        for _, dw1 in rig.page_requests():
            rig.command(cmd.pri_resp(0x10, 5, dw1 & 0x1FF, 2))
            served.add(dw1 & 0x1FF)
        wanted -= served
    assert served == set(range(8))


def test_interrupts_of_the_page_request_queue() -> None:
    calls: list[int] = []
    rig = two_endpoints(options={"on_pri_irq": lambda: calls.append(1)})
    request(rig)
    assert not calls
    rig.page_requests()
    rig.write("PRIQ_IRQ_CFG0", MESSAGE)
    rig.write("PRIQ_IRQ_CFG1", 0xFEED)
    rig.write("IRQ_CTRL", 2)
    request(rig)
    assert calls
    assert rig.memory[MESSAGE] & 0xFFFF_FFFF == 0xFEED


def test_an_interrupt_for_the_last_of_a_group_where_software_asked_for_it() -> None:
    """PRIQ_IRQ_CFG2.LO: not when the queue becomes non-empty, but at the end of a group."""
    calls: list[int] = []
    rig: Rig = two_endpoints(options={"on_pri_irq": lambda: calls.append(rig.read("PRIQ_PROD"))})
    rig.write("PRIQ_IRQ_CFG2", 1 << 31)
    rig.write("IRQ_CTRL", 2)
    request(rig, last=0)
    request(rig, last=0)
    request(rig, last=1)
    assert calls
    assert calls[-1] == 3


# What the operating system makes of it: groups, answers, overflow -----------------------------------------------------


def run_iopf(rows: list[list[Any]]) -> tuple[list[tuple[int, list[int]]], int]:
    """Rows of the golden scenarios through the queues, and a reader that collects groups as Linux does."""
    rig = two_endpoints(priq_log2=6)
    table = rig.memory[0x4000_0400] & 0xF_FFFF_FFFF_FFC0
    rig.set_cd(table, 5, rig.space(asid=7).cd(stall=1))
    calls: list[tuple[int, list[int]]] = []
    responses = 0
    partial: dict[int, list[int]] = {}
    tags: dict[int, int] = {}
    for row in rows:
        if row[0] == "OVERFLOW":
            partial.clear()
            continue
        source, pasid, group, last, address = row
        if source == "STALL":
            rig.stall(int(address, 16), ssid=pasid)
            [event] = rig.events()
            tags[group] = event.stag
            assert event.ssid == pasid
            calls.append((group, [event.va]))
            rig.command(cmd.resume(0x10, event.stag, "abort"))
            assert [s.verdict for s in rig.resumed()] == [Verdict.ABORT]
            responses += 1
            continue
        request(rig, int(address, 16), prg=group, ssid=pasid, last=last)
        for dw0, dw1 in rig.page_requests():
            assert dw0 >> 32 & 0xFFFFF == pasid
            pages = partial.setdefault(dw1 & 0x1FF, [])
            pages.append(dw1 & ~0xFFF)
            if dw0 >> 62 & 1:
                calls.append((dw1 & 0x1FF, partial.pop(dw1 & 0x1FF)))
                rig.command(cmd.pri_resp(0x10, pasid, dw1 & 0x1FF, 2))
        responses += len(answers(rig))
    return calls, responses


@pytest.mark.parametrize(
    "scenario", [s for s in VECTORS["iopf_scenarios"] if "input" in s], ids=lambda s: s["id"]
)
def test_golden_groups(scenario: dict[str, Any]) -> None:
    calls, responses = run_iopf(scenario["input"])
    want = scenario["expect"]
    assert calls == [(group, [int(a, 16) for a in pages]) for group, pages in want["handler_calls"]]
    assert responses == want["responses"]


def test_golden_verdicts_on_the_wire() -> None:
    """Golden IO6: what a verdict becomes for a stall, and for a page request."""
    table = {s["id"]: s for s in VECTORS["iopf_scenarios"]}["IO6"]["table"]
    for row in table.values():
        rig = two_endpoints()
        cds = rig.memory[0x4000_0400] & 0xF_FFFF_FFFF_FFC0
        rig.set_cd(cds, 5, rig.space(asid=7).cd(stall=1))
        parked = rig.stall(VA, ssid=5)
        action = row["stall"].removeprefix("RESUME ")
        rig.command(
            cmd.resume(0x10, rig.events()[0].stag, action), cmd.pri_resp(0x10, 5, 1, row["cmd_pri_resp"])
        )
        assert rig.resumed() == [parked]
        assert parked.verdict is {"retry": Verdict.RETRY, "abort": Verdict.ABORT}[action]
        assert answers(rig) == [(1, row["pcie"], 5)]


# Anything -------------------------------------------------------------------------------------------------------------

REQUESTS = st.tuples(st.booleans(), st.booleans(), st.sampled_from([None, 0, 5]), st.integers(0, 511))


@tries(150)
@given(
    log2=st.integers(0, 2),
    steps=st.lists(st.one_of(REQUESTS, st.sampled_from(["drain", "take"])), max_size=40),
)
def test_each_last_request_is_queued_or_answered_and_never_both(log2: int, steps: list[Any]) -> None:
    rig = two_endpoints(priq_log2=log2)
    for step in steps:
        if step == "drain":
            rig.page_requests()
        elif step == "take":  # one entry, overflow not acknowledged
            prod, cons = rig.read("PRIQ_PROD"), rig.read("PRIQ_CONS")
            mask = (2 << log2) - 1
            if (prod ^ cons) & mask:
                rig.write("PRIQ_CONS", cons & ~mask | (cons + 1) & mask)
        else:
            last, marker, ssid, prg = step
            before = rig.read("PRIQ_PROD") & 0x7FFF_FFFF
            request(rig, prg=prg, ssid=ssid, last=int(last), r=0 if marker and last else 1)
            queued = rig.read("PRIQ_PROD") & 0x7FFF_FFFF != before
            got = answers(rig)
            stop_marker = marker and last and ssid is not None
            assert len(got) == (not queued and last and not stop_marker)

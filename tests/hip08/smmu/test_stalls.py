"""Accesses that wait: tags, answers, limits, and what the SMMU may do by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .support import (
    EVERYTHING,
    IDR,
    SMMUEN,
    VECTORS,
    AddressSpace,
    Faulted,
    Parked,
    Rig,
    Stall,
    StallState,
    Translated,
    Verdict,
    cmd,
    make_ste,
)
from .test_caches import GUEST, HOST, guest
from .test_mutations import tries

VA, FRAME = 0x1234_5678_9000, 0x8_0000_0000


def bound(*, sids: tuple[int, ...] = (0x10,), **options: Any) -> tuple[Rig, AddressSpace]:
    """One address space, bound as SSID 5 to each stream; absent pages stall."""
    rig = Rig(**options)
    space = rig.space(asid=7)
    for sid in sids:
        table = rig.cd_table(16)
        rig.set_ste(sid, make_ste(cd=table, cdmax=4))
        for ssid in range(16):
            rig.set_cd(table, ssid, space.cd(stall=1))
    return rig, space


def stall(rig: Rig, va: int = VA, op: Any = "R", *, sid: int = 0x10, ssid: int = 5) -> Stall:
    return rig.stall(va, op, sid=sid, ssid=ssid)


def retry(rig: Rig, parked: Stall) -> object:
    """What the owner of the device does with a stall that came back with RETRY."""
    assert parked.state is StallState.RESUMED
    assert parked.verdict is Verdict.RETRY
    return rig.smmu.translate(parked.access)


# The life of one ------------------------------------------------------------------------------------------------------


def test_a_stall_is_recorded_with_its_tag_and_resumed_with_it() -> None:
    rig, space = bound()
    parked = stall(rig, VA + 0x123, "W")
    [event] = rig.events()
    assert (event.code, event.sid, event.ssid, event.va, event.stall) == (0x10, 0x10, 5, VA + 0x123, True)
    assert parked.stag == event.stag
    assert rig.resumed() == []
    space.map(VA, FRAME)
    rig.command(cmd.resume(0x10, event.stag))
    assert rig.resumed() == [parked]
    outcome = retry(rig, parked)
    assert isinstance(outcome, Translated)
    assert outcome.pa == FRAME + 0x123
    assert rig.events() == []


def test_what_the_device_wanted_back_comes_back() -> None:
    rig, _ = bound()
    label = object()
    outcome = rig.access(VA, ssid=5, tag=label)
    assert isinstance(outcome, Parked)
    rig.command(cmd.resume(0x10, outcome.stall.stag or 0))
    assert rig.resumed()[0].access.tag is label


def test_a_resume_needs_no_sync() -> None:
    rig, _ = bound()
    parked = stall(rig)
    rig.command(cmd.resume(0x10, rig.events()[0].stag))
    assert rig.resumed() == [parked]


def abort() -> None:
    """Golden SS03."""
    rig, _ = bound()
    parked = stall(rig)
    rig.command(cmd.resume(0x10, rig.events()[0].stag, "abort"))
    assert rig.resumed() == [parked]
    assert parked.verdict is Verdict.ABORT
    assert rig.events() == []


def terminate() -> None:
    """Golden SS04."""
    rig, _ = bound()
    parked = stall(rig)
    rig.command(cmd.resume(0x10, rig.events()[0].stag, "terminate"))
    assert rig.resumed() == [parked]
    assert parked.verdict is Verdict.TERMINATE
    assert rig.events() == []


def wrong_stream() -> None:
    """Golden SS05."""
    rig, _ = bound(sids=(0x10, 0x11))
    parked = stall(rig)
    tag = rig.events()[0].stag
    rig.sync(cmd.resume(0x11, tag))
    assert rig.resumed() == []
    assert parked.state is StallState.RECORDED
    assert rig.read("GERROR") == 0
    rig.command(cmd.resume(0x10, tag))
    assert rig.resumed() == [parked]


def resume_twice() -> None:
    """Golden SS06."""
    rig, space = bound()
    parked = stall(rig)
    tag = rig.events()[0].stag
    space.map(VA, FRAME)
    rig.sync(cmd.resume(0x10, tag), cmd.resume(0x10, tag))
    assert rig.resumed() == [parked]
    assert isinstance(retry(rig, parked), Translated)
    rig.sync(cmd.resume(0x10, tag))
    assert rig.resumed() == []


def terminate_a_stream() -> None:
    """Golden SS07."""
    rig, _ = bound(sids=(0x10, 0x11))
    ours = [stall(rig, VA + 0x1000 * n) for n in range(3)]
    other = stall(rig, sid=0x11)
    tags = {event.va: event.stag for event in rig.events() if event.sid == 0x10}
    rig.set_ste(0x10, make_ste(0b000))
    rig.sync(cmd.cfgi_ste(0x10))
    rig.sync(cmd.stall_term(0x10))
    assert {id(s) for s in rig.resumed()} == {id(s) for s in ours}
    assert {s.verdict for s in ours} == {Verdict.ABORT}
    assert other.state is StallState.RECORDED
    rig.sync(*(cmd.resume(0x10, tag) for tag in tags.values()))
    assert rig.resumed() == []


def smmu_off() -> None:
    """Golden SS08."""
    rig, _ = bound()
    stalls = [stall(rig, VA + 0x1000 * n) for n in range(2)]
    rig.events()
    rig.write("CR0", EVERYTHING & ~SMMUEN)
    assert rig.read("CR0ACK") & SMMUEN == 0
    assert rig.resumed() == stalls
    assert {s.verdict for s in stalls} <= {Verdict.ABORT, Verdict.TERMINATE}
    rig.write("CR0", EVERYTHING)
    limit = rig.idr["IDR5"] >> 16
    again = [stall(rig, VA + 0x1000 * n) for n in range(limit)]
    assert all(s.state is StallState.RECORDED for s in again), "every tag is free again"


def terminate_only() -> None:
    """Golden SS12; the stream of commands is tested with the command queue, here the whole story."""
    rig = Rig(idr=IDR | {"IDR0": IDR["IDR0"] | 1 << 24})
    rig.command(cmd.resume(0x10, 1))
    assert rig.read("CMDQ_CONS") == 1 << 24
    assert rig.read("GERROR") == 1


def limit_of_stalls() -> None:
    """Golden SS13."""
    rig, _ = bound(idr=IDR | {"IDR5": 3 << 16 | IDR["IDR5"] & 0xFFFF})
    first = [stall(rig, VA + 0x1000 * n) for n in range(3)]
    late = stall(rig, VA + 0x9000)
    assert late.state is StallState.WAITING
    assert late.stag is None
    events = rig.events()
    assert len(events) == 3
    rig.command(cmd.resume(0x10, events[1].stag, "abort"))
    assert rig.resumed()[0] is first[1]
    later = rig.events() if rig.state(late) is StallState.RECORDED else []
    if later:
        assert [e.va for e in later] == [VA + 0x9000]
        assert late.stag == later[0].stag
        assert late.stag not in {events[0].stag, events[2].stag}
    else:  # it may also be tried anew
        assert late in rig.resumed()
        assert isinstance(retry(rig, late), Parked)


def guest_page_missing() -> None:
    """Golden SS15, on the tables of N12: stage 1 stalls under a stage 2 that does not."""
    rig, _, space = guest(0b111)
    space.unmap(VA)
    rig.memory[rig.memory[0x4000_0400] & 0xF_FFFF_FFFF_FFC0] |= 1 << 44
    parked = rig.stall(VA)
    [event] = rig.events()
    assert event.words[1] >> 39 & 1 == 0, "it is the guest's own fault"
    space.map(VA, GUEST)
    rig.command(cmd.resume(0x10, event.stag))
    [resumed] = rig.resumed()
    assert resumed is parked
    outcome = retry(rig, parked)
    assert isinstance(outcome, Translated)
    assert outcome.pa == HOST


def host_page_missing() -> None:
    """Golden SS16, on the tables of N08: stage 2 stalls; what the guest configured does not matter."""
    rig, map2, _ = guest(0b111)
    map2(GUEST, 0)
    rig.memory[0x4000_0410] |= 1 << 57
    parked = rig.stall(VA + 0x10, "W")
    [event] = rig.events()
    assert event.words[1] >> 39 & 1 == 1
    assert event.words[1] >> 40 & 3 == 2
    assert event.words[3] == GUEST
    map2(GUEST, HOST)
    rig.command(cmd.resume(0x10, event.stag))
    outcome = retry(rig, parked)
    assert isinstance(outcome, Translated)
    assert outcome.pa == HOST + 0x10


def stale_unrecorded_stall() -> None:
    """Golden SS17: no record of a fault that was mended, invalidated and synchronised before it could be written."""
    rig, space = bound(eventq_log2=0)
    stall(rig, VA + 0x7000)  # fills the queue
    parked = stall(rig)
    assert parked.state is StallState.HELD
    space.map(VA, FRAME)
    rig.sync(cmd.nh_va(VA, 7))
    assert [e.va for e in rig.events()] == [VA + 0x7000]
    [resumed] = rig.resumed()
    assert resumed is parked
    outcome = retry(rig, parked)
    assert isinstance(outcome, Translated)
    assert outcome.pa == FRAME
    assert rig.events() == []


def recorded_stall_and_sync() -> None:
    """Golden SS18: a recorded stall is software's business; invalidation and SYNC pass it by."""
    rig, space = bound()
    parked = stall(rig)
    [event] = rig.events()
    space.map(VA, FRAME)
    rig.sync(cmd.nh_va(VA, 7))
    assert rig.resumed() == []
    assert parked.state is StallState.RECORDED
    rig.command(cmd.resume(0x10, event.stag))
    assert rig.resumed() == [parked]


SCENARIOS: dict[str, Callable[[], None]] = {
    "SS03": abort,
    "SS04": terminate,
    "SS05": wrong_stream,
    "SS06": resume_twice,
    "SS07": terminate_a_stream,
    "SS08": smmu_off,
    "SS12": terminate_only,
    "SS13": limit_of_stalls,
    "SS15": guest_page_missing,
    "SS16": host_page_missing,
    "SS17": stale_unrecorded_stall,
    "SS18": recorded_stall_and_sync,
}


@pytest.mark.parametrize("scenario", VECTORS["stall_scenarios"], ids=lambda s: s["id"])
def test_golden_scenario(scenario: dict[str, Any]) -> None:
    SCENARIOS[scenario["id"]]()


# Whom a SYNC concerns --------------------------------------------------------------------------------------------------

OTHERS = {
    "another ASID": lambda: cmd.nh_va(VA, 9),
    "all of another ASID": lambda: cmd.nh_asid(9),
    "another VMID": lambda: cmd.nh_all(3),
    "another VMID, both stages": lambda: cmd.s12_vmall(3),
    "stage 2 of another VMID": lambda: cmd.s2_ipa(VA, 3),
    "another stream": lambda: cmd.cfgi_ste(0x11),
    "streams beside it": lambda: cmd.cfgi_ste_range(0x14, 1),
    "contexts of another stream": lambda: cmd.cfgi_cd_all(0x11),
    "another context": lambda: cmd.cfgi_cd(0x10, 6),
    "the context of another stream": lambda: cmd.cfgi_cd(0x11, 5),
}
OURS = {
    "its address": lambda: cmd.nh_va(VA, 7),
    "its ASID": lambda: cmd.nh_asid(7),
    "any ASID": lambda: cmd.nh_vaa(VA),
    "its VMID": lambda: cmd.nh_all(0),
    "both stages of its VMID": lambda: cmd.s12_vmall(0),
    "stage 2 of its VMID": lambda: cmd.s2_ipa(VA, 0),
    "its stream": lambda: cmd.cfgi_ste(0x10),
    "streams with it": lambda: cmd.cfgi_ste_range(0x10, 1),
    "all streams": cmd.cfgi_all,
    "its context": lambda: cmd.cfgi_cd(0x10, 5),
    "contexts of its stream": lambda: cmd.cfgi_cd_all(0x10),
}


def held() -> tuple[Rig, AddressSpace, Stall]:
    """A stall that nobody could be told of yet: another one fills the event queue."""
    rig, space = bound(eventq_log2=0)
    stall(rig, VA + 0x7000)
    return rig, space, stall(rig)


@pytest.mark.parametrize("command", OTHERS.values(), ids=OTHERS.keys())
def test_invalidations_of_others_leave_a_stall_alone(command: Callable[[], Any]) -> None:
    rig, _, parked = held()
    rig.sync(command())
    assert not parked.stale
    assert [event.va for event in rig.events()] == [VA + 0x7000]
    assert parked.state is StallState.RECORDED
    assert [event.va for event in rig.events()] == [VA]
    assert rig.resumed() == []


@pytest.mark.parametrize("command", OURS.values(), ids=OURS.keys())
def test_what_an_invalidation_may_have_mended_is_tried_again(command: Callable[[], Any]) -> None:
    rig, space, parked = held()
    space.map(VA, FRAME)
    rig.sync(cmd.nh_asid(9), command())
    assert [event.va for event in rig.events()] == [VA + 0x7000]
    assert rig.resumed() == [parked]
    assert isinstance(retry(rig, parked), Translated)
    assert rig.events() == []


def test_so_many_invalidations_that_nobody_remembers_them_concern_all() -> None:
    rig, _, parked = held()
    for _ in range(300):
        rig.command(cmd.nh_asid(9))
    rig.sync()
    assert parked.stale


# Tags -----------------------------------------------------------------------------------------------------------------


def test_a_tag_is_not_used_again_while_it_is_owed_an_answer() -> None:
    rig, _ = bound()
    limit = rig.idr["IDR5"] >> 16
    owed: dict[int, Stall] = {}
    for n in range(500):
        parked = stall(rig, VA + 0x1000 * n)
        [event] = rig.events()
        assert event.stag not in owed
        owed[event.stag] = parked
        if len(owed) == limit:
            tag = sorted(owed)[n * 7 % limit]
            rig.command(cmd.resume(0x10, tag, "abort"))
            assert rig.resumed() == [owed.pop(tag)]


def test_a_resume_before_the_record_is_out_answers_nobody_else() -> None:
    """A tag that software guesses: whatever happens to the held one, the others keep theirs."""
    rig, _ = bound(eventq_log2=0)
    first = stall(rig, VA)
    held = stall(rig, VA + 0x1000)
    guess = held.stag
    assert guess is not None
    assert guess != first.stag
    rig.sync(cmd.resume(0x10, guess))
    assert first.state is StallState.RECORDED


def test_terminate_aborts_where_the_hardware_can_only_abort() -> None:
    """TERM_MODEL=1: read-as-zero does not exist."""
    rig, _ = bound(idr=IDR | {"IDR0": IDR["IDR0"] | 1 << 26})
    parked = stall(rig)
    rig.command(cmd.resume(0x10, rig.events()[0].stag, "terminate"))
    assert rig.resumed() == [parked]
    assert parked.verdict is Verdict.ABORT


# Retries --------------------------------------------------------------------------------------------------------------


def test_a_retry_may_stall_again_with_a_new_record() -> None:
    rig, space = bound()
    parked = stall(rig)
    for _ in range(5):
        [event] = rig.events()
        rig.command(cmd.resume(0x10, event.stag))
        assert rig.resumed() == [parked]
        outcome = retry(rig, parked)
        assert isinstance(outcome, Parked)
        parked = outcome.stall
    space.map(VA, FRAME)
    rig.command(cmd.resume(0x10, rig.events()[0].stag))
    assert isinstance(retry(rig, rig.resumed()[0]), Translated)


def test_a_write_that_was_answered_with_a_read_only_page_faults_again_by_permission() -> None:
    """As copy-on-write does when the first answer only made the page readable."""
    rig, space = bound()
    parked = stall(rig, VA, "W")
    [event] = rig.events()
    assert event.code == 0x10
    slot = space.map(VA, FRAME)
    rig.memory[slot] |= 1 << 7
    rig.command(cmd.resume(0x10, event.stag))
    outcome = retry(rig, rig.resumed()[0])
    assert isinstance(outcome, Parked)
    assert outcome.stall is not parked
    [event] = rig.events()
    assert event.code == 0x13
    rig.memory[slot] &= ~(1 << 7)
    rig.sync(cmd.nh_va(VA, 7))
    rig.command(cmd.resume(0x10, event.stag))
    assert isinstance(retry(rig, rig.resumed()[0]), Translated)


def test_a_retry_meets_the_configuration_of_its_time() -> None:
    """The context was closed while the access waited: its retry ends with an error and no stall."""
    rig, space = bound()
    parked = stall(rig)
    [event] = rig.events()
    table = rig.memory[0x4000_0400] & 0xF_FFFF_FFFF_FFC0
    rig.set_cd(table, 5, [0] * 8)
    rig.sync(cmd.cfgi_cd(0x10, 5))
    rig.command(cmd.resume(0x10, event.stag))
    assert rig.resumed() == [parked]
    outcome = retry(rig, parked)
    assert isinstance(outcome, Faulted)
    assert outcome.event == 0x0A
    del space


def test_the_form_a_dead_process_leaves_behind_ends_faults_without_events() -> None:
    """The CD stays valid, both halves are off, S and R are clear: late accesses abort in silence."""
    rig, space = bound()
    table = rig.memory[0x4000_0400] & 0xF_FFFF_FFFF_FFC0
    space.map(VA, FRAME)
    assert rig.pa(VA, ssid=5) == FRAME
    released = rig.memory[table + 5 * 64] & ~(3 << 44) | 1 << 14 | 1 << 30
    rig.memory[table + 5 * 64] = released
    rig.sync(cmd.cfgi_cd(0x10, 5))
    rig.sync(cmd.nh_asid(7))
    outcome = rig.fault(VA, ssid=5)
    assert (outcome.event, outcome.bus, outcome.recorded) == (0x10, "abort", False)
    assert rig.events() == []


def test_one_page_in_serves_two_accelerators_but_each_needs_its_answer() -> None:
    rig, space = bound(sids=(0x10, 0x11))
    parked = [stall(rig, sid=sid) for sid in (0x10, 0x11)]
    events = rig.events()
    assert [e.sid for e in events] == [0x10, 0x11]
    space.map(VA, FRAME)
    rig.command(cmd.resume(0x10, events[0].stag))
    assert rig.resumed() == [parked[0]]
    assert parked[1].state is StallState.RECORDED
    rig.command(cmd.resume(0x11, events[1].stag))
    assert rig.resumed() == [parked[1]]


def test_a_parked_access_holds_up_nobody_else() -> None:
    rig, space = bound(sids=(0x10, 0x11))
    space.map(VA + 0x1000, FRAME)
    stall(rig)
    assert rig.pa(VA + 0x1000, ssid=5) == FRAME
    assert rig.pa(VA + 0x1000, ssid=5, sid=0x11) == FRAME


def test_the_owner_is_told_once_that_something_resumed() -> None:
    calls: list[int] = []
    rig, _ = bound(options={"on_resumed": lambda: calls.append(1)})
    for n in range(3):
        stall(rig, VA + 0x1000 * n)
    tags = [e.stag for e in rig.events()]
    rig.command(cmd.resume(0x10, tags[0]))
    assert len(calls) == 1
    rig.command(cmd.resume(0x10, tags[1]))
    assert len(calls) == 1, "the list was not empty"
    assert len(rig.resumed()) == 2
    rig.command(cmd.resume(0x10, tags[2]))
    assert len(calls) == 2


def test_the_owner_may_retry_from_within_the_call() -> None:
    """Nothing of the SMMU is half done when it calls: the retry may stall anew at once."""
    outcomes: list[object] = []
    rig: Rig
    rig, _ = bound(
        options={"on_resumed": lambda: outcomes.extend(rig.smmu.translate(s.access) for s in rig.resumed())}
    )
    stall(rig)
    for n in range(3):
        [event] = rig.events()
        rig.command(cmd.resume(0x10, event.stag))
        assert len(outcomes) == n + 1
        assert isinstance(outcomes[-1], Parked)


# A full event queue ---------------------------------------------------------------------------------------------------


def test_an_unrecorded_stall_whose_page_is_still_absent_is_recorded_after_all() -> None:
    rig, _ = bound(eventq_log2=0)
    stall(rig, VA + 0x7000)
    parked = stall(rig)
    rig.sync(cmd.nh_va(VA, 7))
    rig.events()
    resumed = rig.resumed()
    if resumed:  # tried anew
        assert resumed == [parked]
        outcome = retry(rig, parked)
        assert isinstance(outcome, Parked)
        parked = outcome.stall
    assert [e.va for e in rig.events()] == [VA]
    assert parked.state is StallState.RECORDED


def test_an_unrecorded_stall_of_another_page_is_not_lost_to_somebody_elses_invalidation() -> None:
    rig, _ = bound(eventq_log2=0)
    stall(rig, VA + 0x7000)
    parked = stall(rig)
    rig.sync(cmd.nh_va(VA + 0x3000, 9))
    rig.events()
    for resumed in rig.resumed():
        outcome = retry(rig, resumed)
        assert isinstance(outcome, Parked)
        parked = outcome.stall
    assert [e.va for e in rig.events()] == [VA]
    assert parked.state is StallState.RECORDED


def test_stall_term_ends_stalls_that_nobody_was_told_of() -> None:
    rig, _ = bound(eventq_log2=0, idr=IDR | {"IDR5": 3 << 16 | IDR["IDR5"] & 0xFFFF})
    stalls = [stall(rig, VA + 0x1000 * n) for n in range(5)]
    assert [s.state for s in stalls] == [StallState.RECORDED] + [StallState.HELD] * 2 + [
        StallState.WAITING
    ] * 2
    rig.set_ste(0x10, make_ste(0b000))
    rig.sync(cmd.cfgi_ste(0x10))
    rig.sync(cmd.stall_term(0x10))
    over = rig.resumed()
    for parked in over:
        if parked.verdict is Verdict.RETRY:  # allowed for the unrecorded: it meets the aborting STE
            assert not isinstance(rig.smmu.translate(parked.access), (Parked, Translated))
    assert {id(s) for s in over} == {id(s) for s in stalls}
    assert len(rig.events()) == 1
    assert rig.events() == []


# Limits ---------------------------------------------------------------------------------------------------------------


def test_reported_stalls_never_exceed_the_limit() -> None:
    rig, _ = bound(idr=IDR | {"IDR5": 4 << 16 | IDR["IDR5"] & 0xFFFF})
    stalls = [stall(rig, VA + 0x1000 * n) for n in range(20)]
    answered: list[int] = []
    owed: list[int] = []
    for _ in range(60):
        owed += [e.stag for e in rig.events()]
        assert len(owed) <= 4
        assert len(set(owed)) == len(owed)
        if not owed:
            break
        rig.command(cmd.resume(0x10, owed.pop(0), "abort"))
        for parked in rig.resumed():
            if parked.verdict is Verdict.RETRY:
                outcome = rig.smmu.translate(parked.access)
                assert isinstance(outcome, Parked)
            else:
                answered.append(parked.access.va)
    assert sorted(answered) == [VA + 0x1000 * n for n in range(20)]
    assert stalls[0].verdict is Verdict.ABORT


def test_one_pasid_cannot_take_every_tag() -> None:
    """With a quota a (stream, PASID) that always faults waits at its own limit, and the others have tags."""
    rig, _ = bound(options={"stall_quota": 2})
    greedy = [stall(rig, VA + 0x1000 * n, ssid=5) for n in range(6)]
    assert [s.state for s in greedy] == [StallState.RECORDED] * 2 + [StallState.WAITING] * 4
    modest = stall(rig, ssid=6)
    assert modest.state is StallState.RECORDED
    tags = [e.stag for e in rig.events()]
    assert len(tags) == 3
    rig.command(cmd.resume(0x10, tags[0], "abort"))
    assert [e.ssid for e in rig.events()] == [5], "the next of the greedy one moves up"
    recorded = [s for s in greedy if s.state is StallState.RECORDED]
    assert len(recorded) == 2


def test_the_last_tags_are_for_those_who_hold_none() -> None:
    """Of eight, two: a third and a fourth get one each, however much the others may have."""
    rig, _ = bound(options={"stall_quota": 8}, idr=IDR | {"IDR5": 8 << 16 | IDR["IDR5"] & 0xFFFF})
    held = [stall(rig, VA + 0x1000 * n, ssid=5) for n in range(8)]
    assert [s.state for s in held] == [StallState.RECORDED] * 6 + [StallState.WAITING] * 2
    for ssid in (6, 7):
        assert stall(rig, ssid=ssid).state is StallState.RECORDED
        assert stall(rig, VA + 0x1000, ssid=ssid).state is StallState.WAITING
    assert stall(rig, ssid=8).state is StallState.WAITING
    tags = {event.ssid: event.stag for event in rig.events()}
    rig.command(cmd.resume(0x10, tags[7], "abort"))
    assert [event.ssid for event in rig.events()] == [7]


def test_without_a_quota_nothing_is_kept_back() -> None:
    rig, _ = bound(idr=IDR | {"IDR5": 8 << 16 | IDR["IDR5"] & 0xFFFF})
    assert {stall(rig, VA + 0x1000 * n).state for n in range(8)} == {StallState.RECORDED}


def test_the_quota_counts_each_stream_apart() -> None:
    rig, _ = bound(sids=(0x10, 0x11), options={"stall_quota": 1})
    assert stall(rig, ssid=5).state is StallState.RECORDED
    assert stall(rig, ssid=5, sid=0x11).state is StallState.RECORDED
    assert stall(rig, VA + 0x1000, ssid=5).state is StallState.WAITING


def test_waiting_accesses_move_up_in_the_order_they_came() -> None:
    rig, _ = bound(idr=IDR | {"IDR5": 1 << 16 | IDR["IDR5"] & 0xFFFF})
    for n in range(5):
        stall(rig, VA + 0x1000 * n)
    order: list[int] = []
    for _ in range(5):
        [event] = rig.events()
        order.append(event.va)
        rig.command(cmd.resume(0x10, event.stag, "abort"))
        for parked in rig.resumed():
            if parked.verdict is Verdict.RETRY:
                rig.smmu.translate(parked.access)
    assert order == [VA + 0x1000 * n for n in range(5)]


# Any schedule ---------------------------------------------------------------------------------------------------------

STEPS = st.tuples(
    st.sampled_from(
        ["access", "access", "map", "unmap", "invalidate", "sync", "drain", "answer", "answer", "deny"]
    ),
    st.integers(0, 3),
    st.integers(0, 2),
)


@tries(300)
@given(st.lists(STEPS, max_size=60), st.integers(0, 2), st.sampled_from([None, 1, 2]))
def test_every_access_ends_exactly_once_and_never_with_a_stale_translation(
    steps: list[tuple[str, int, int]], eventq_log2: int, quota: int | None
) -> None:
    """Random map, unmap, TLBI, SYNC, RESUME and access: nothing is lost, doubled, or translated as before a SYNC."""
    options: dict[str, Any] = {"caches": True, "tlb_entries": 3}
    if quota is not None:
        options["stall_quota"] = quota
    rig, space = bound(
        eventq_log2=eventq_log2, options=options, idr=IDR | {"IDR5": 3 << 16 | IDR["IDR5"] & 0xFFFF}
    )
    now: dict[int, int | None] = dict.fromkeys(range(4))
    possible: dict[int, set[int | None]] = {page: {None} for page in now}
    pending: set[int] = set()
    waiting: dict[int, int] = {}  # access number: page
    owed: list[int] = []
    done: list[int] = []
    frames = 0

    def finish(number: int, outcome: object) -> None:
        page = waiting[number]
        if isinstance(outcome, Parked):
            assert outcome.stall.access.tag == number
            return
        assert isinstance(outcome, Translated), outcome
        assert outcome.pa in possible[page]
        done.append(number)
        del waiting[number]

    def collect() -> None:
        for parked in rig.resumed():
            number = parked.access.tag
            assert isinstance(number, int)
            assert number in waiting
            if parked.verdict is Verdict.RETRY:
                finish(number, rig.smmu.translate(parked.access))
            else:
                done.append(number)
                del waiting[number]

    def drain() -> None:
        for event in rig.events():
            assert event.stall
            assert event.stag not in owed
            owed.append(event.stag)
        assert len(owed) <= 3

    def answer(which: int, how: Any) -> None:
        if owed:
            rig.command(cmd.resume(0x10, owed.pop(which % len(owed)), how))

    number = 0
    for what, page, ssid in steps:
        va = VA + page * 0x1000
        match what:
            case "access":
                number += 1
                waiting[number] = page
                finish(number, rig.access(va, ssid=ssid, tag=number))
            case "map":
                frames += 1
                now[page] = FRAME + frames * 0x1000
                space.map(va, now[page] or 0)
                possible[page].add(now[page])
                pending.discard(page)
            case "unmap":
                now[page] = None
                space.unmap(va)
                possible[page].add(None)
                pending.discard(page)
            case "invalidate":
                rig.command(cmd.nh_va(va, 7))
                pending.add(page)
            case "sync":
                rig.sync()
                for p in pending:
                    possible[p] = {now[p]}
                pending.clear()
            case "drain":
                drain()
            case "answer":
                answer(page, "retry")
            case "deny":
                answer(page, "abort")
        collect()

    # At the end everything is denied, until nothing is left.
    for _ in range(20 * len(steps) + 20):
        if not waiting:
            break
        drain()
        answer(0, "abort")
        collect()
    assert not waiting
    assert sorted(done) == list(range(1, number + 1))

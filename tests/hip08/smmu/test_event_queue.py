"""The event queue: laps, overflow episodes, stall records that wait for room, interrupts, aborts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .support import (
    CMDQEN,
    EVENT_QUEUE,
    EVENTQEN,
    EVERYTHING,
    MESSAGE,
    SMMUEN,
    VECTORS,
    Rig,
    StallState,
    cmd,
    make_ste,
)
from .test_mutations import tries

PLAIN, STALLING = 0, 1  # SSIDs


def rig_with_queue(log2: int, **options: Any) -> Rig:
    """SSID 0 faults and goes on, SSID 1 faults and stalls."""
    rig = Rig(eventq_log2=log2, **options)
    table = rig.cd_table(16)
    rig.set_ste(0x10, make_ste(cd=table, cdmax=4))
    rig.set_cd(table, PLAIN, rig.space(asid=1).cd())
    rig.set_cd(table, STALLING, rig.space(asid=2).cd(stall=1))
    return rig


def slot(rig: Rig, n: int) -> int:
    """The input address of the record in slot ``n``: which event it is."""
    return rig.memory[EVENT_QUEUE + 32 * n + 16]


# Golden ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS["queue_vectors"] if v["queue"] == "EVENTQ"], ids=lambda v: v["id"]
)
def test_golden_steps(vector: dict[str, Any]) -> None:
    rig = rig_with_queue(vector["log2size"])
    tags = {step["tag"]: n * 0x1000 for n, step in enumerate(vector["steps"], 1) if step["op"] == "push"}
    for step in vector["steps"]:
        if step["op"] == "push":
            rig.access(tags[step["tag"]], ssid=STALLING if step["stall"] else PLAIN)
        else:
            rig.write("EVENTQ_CONS", int(step["value"], 16))
        after = {name: int(value, 16) for name, value in step["after"].items()}
        assert (rig.read("EVENTQ_PROD"), rig.read("EVENTQ_CONS")) == (after["PROD"], after["CONS"]), step


def test_held_stall_records_come_in_their_order() -> None:
    rig = rig_with_queue(1)
    stalls = [rig.stall(0x1000 * n, ssid=STALLING) for n in range(1, 6)]
    assert [s.state for s in stalls] == [StallState.RECORDED] * 2 + [StallState.HELD] * 3
    seen = []
    for _ in range(3):
        seen += [e.va for e in rig.events()]
    assert seen == [0x1000, 0x2000, 0x3000, 0x4000, 0x5000]
    assert all(s.state is StallState.RECORDED for s in stalls)
    assert rig.read("EVENTQ_PROD") >> 31 == 0, "a stall record never overflows"


# Laps -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("log2", [0, 1, 2, 5])
def test_five_laps_one_event_at_a_time(log2: int) -> None:
    rig = rig_with_queue(log2)
    size = 1 << log2
    for n in range(5 * size):
        rig.fault(0x1000 * n, ssid=PLAIN)
        assert rig.read("EVENTQ_PROD") == (n + 1) % (2 * size)
        assert slot(rig, n % size) == 0x1000 * n
        [event] = rig.events()
        assert event.va == 0x1000 * n


@tries(150)
@given(
    log2=st.integers(0, 3),
    steps=st.lists(st.sampled_from(["plain", "plain", "stall", "take", "ack", "drain"]), max_size=60),
)
def test_any_mixture_against_a_plain_model(log2: int, steps: list[str]) -> None:
    """Every stall record arrives once and in order, plain ones unless there was no room, overflow exactly then."""
    rig = rig_with_queue(log2)
    size, mask = 1 << log2, (2 << log2) - 1
    queue: list[int] = []
    held: list[int] = []
    overflow = acknowledged = 0
    prod = cons = 0
    stalls = 0
    for n, step in enumerate(steps, 1):
        if step in {"plain", "stall"}:
            stalls += step == "stall"
            if stalls > 16:  # STALL_MAX is another test
                continue
            va = 0x1000 * n
            rig.access(va, ssid=STALLING if step == "stall" else PLAIN)
            if len(queue) < size:
                queue.append(va)
                prod = (prod + 1) & mask
            elif step == "stall":
                held.append(va)
            elif overflow == acknowledged:
                overflow ^= 1
        else:
            count = {"take": min(1, len(queue)), "ack": 0, "drain": len(queue)}[step]
            at = cons & mask
            for _ in range(count):
                assert slot(rig, at & (size - 1)) == queue.pop(0)
                at = (at + 1) & mask
            cons = at
            if step == "ack":
                acknowledged = overflow
            rig.write("EVENTQ_CONS", cons | acknowledged << 31)
            while held and len(queue) < size:
                queue.append(held.pop(0))
                prod = (prod + 1) & mask
        assert rig.read("EVENTQ_PROD") == prod | overflow << 31


# Not writable ---------------------------------------------------------------------------------------------------------


def test_while_disabled_events_vanish_without_overflow_and_stalls_are_kept() -> None:
    rig = rig_with_queue(2)
    rig.write("CR0", EVERYTHING & ~EVENTQEN)
    rig.fault(0x1000, ssid=PLAIN)
    stall = rig.stall(0x2000, ssid=STALLING)
    assert rig.read("EVENTQ_PROD") == 0
    assert stall.state is StallState.HELD
    rig.write("CR0", EVERYTHING)
    assert [e.va for e in rig.events()] == [0x2000]


def test_an_abort_of_the_queue_is_a_global_error_and_stops_events_until_acknowledged() -> None:
    rig = rig_with_queue(2)
    rig.memory.broken |= {EVENT_QUEUE + 8 * n for n in range(4)}
    rig.fault(0x1000, ssid=PLAIN)
    assert rig.read("GERROR") == 1 << 2
    assert rig.read("EVENTQ_PROD") & 7 == 0, "an entry that could not be written is not published"
    rig.memory.broken.clear()
    rig.fault(0x2000, ssid=PLAIN)
    assert rig.read("EVENTQ_PROD") & 7 == 0
    rig.write("GERRORN", 1 << 2)
    rig.fault(0x3000, ssid=PLAIN)
    assert [e.va for e in rig.events()] == [0x3000]
    assert rig.read("GERROR") == 1 << 2


def test_a_stall_survives_an_abort_of_the_queue() -> None:
    rig = rig_with_queue(2)
    rig.memory.broken |= {EVENT_QUEUE + 8 * n for n in range(4)}
    rig.fault(0x1000, ssid=PLAIN)
    stall = rig.stall(0x2000, ssid=STALLING)
    assert stall.state is not StallState.RECORDED
    rig.memory.broken.clear()
    rig.write("GERRORN", 1 << 2)
    assert [e.va for e in rig.events()] == [0x2000]
    assert rig.state(stall) is StallState.RECORDED


@pytest.mark.parametrize("cons", [0, 1, 3, 7, 0xFFFFF, 0x80000, 0x8000_0000, 0xFFFF_FFFF])
def test_nonsense_in_cons_does_not_crash(cons: int) -> None:
    rig = rig_with_queue(2)
    for n in range(3):
        rig.fault(0x1000 * n, ssid=PLAIN)
    rig.write("EVENTQ_CONS", cons)
    for n in range(8):
        rig.access(0x1000 * n, ssid=PLAIN)
    assert rig.read("EVENTQ_PROD") & 0x7FFF_FFF8 == 0


def test_the_queue_may_start_anywhere() -> None:
    rig = rig_with_queue(3)
    rig.write("CR0", CMDQEN | SMMUEN)
    rig.write("EVENTQ_PROD", 0x8000_000D)
    rig.write("EVENTQ_CONS", 0x8000_000D)
    rig.write("CR0", EVERYTHING)
    for n in range(9):
        rig.fault(0x1000 * n, ssid=PLAIN)
    assert rig.read("EVENTQ_PROD") == 0x0000_0005, "full, and the ninth overflowed: the flag went from 1 to 0"


# Interrupts -----------------------------------------------------------------------------------------------------------


def test_an_interrupt_when_the_queue_becomes_non_empty() -> None:
    """And a message, where software asked for one; later entries may signal or not."""
    calls: list[int] = []
    rig = rig_with_queue(3, options={"on_event_irq": lambda: calls.append(1)})
    rig.write("EVENTQ_IRQ_CFG0", MESSAGE)
    rig.write("EVENTQ_IRQ_CFG1", 0xCAFE)
    rig.fault(0x1000, ssid=PLAIN)
    assert not calls, "not while IRQ_CTRL has it off"
    assert rig.memory[MESSAGE] == 0
    rig.events()
    rig.write("IRQ_CTRL", 4)
    rig.fault(0x2000, ssid=PLAIN)
    assert len(calls) == 1
    assert rig.memory[MESSAGE] & 0xFFFF_FFFF == 0xCAFE
    rig.events()
    rig.fault(0x3000, ssid=PLAIN)
    assert len(calls) >= 2


def test_the_record_is_in_memory_before_the_interrupt() -> None:
    seen: list[tuple[int, int]] = []

    def look() -> None:
        seen.append((rig.read("EVENTQ_PROD"), slot(rig, 0)))

    rig: Rig = rig_with_queue(3, options={"on_event_irq": look})
    rig.write("IRQ_CTRL", 4)
    rig.fault(0x5000, ssid=PLAIN)
    assert seen[0] == (1, 0x5000)


def test_an_interrupt_on_overflow() -> None:
    calls: list[int] = []
    rig: Rig = rig_with_queue(0, options={"on_event_irq": lambda: calls.append(rig.read("EVENTQ_PROD"))})
    rig.write("IRQ_CTRL", 4)
    rig.fault(0x1000, ssid=PLAIN)
    rig.fault(0x2000, ssid=PLAIN)
    assert calls[-1] == 0x8000_0001


def test_an_aborted_message_is_a_global_error() -> None:
    rig = rig_with_queue(3)
    rig.write("EVENTQ_IRQ_CFG0", MESSAGE)
    rig.write("IRQ_CTRL", 4)
    rig.memory.broken.add(MESSAGE)
    rig.fault(0x1000, ssid=PLAIN)
    assert rig.read("GERROR") == 1 << 5
    assert rig.read("EVENTQ_PROD") == 1


# Order with commands --------------------------------------------------------------------------------------------------


def test_events_of_ended_accesses_are_visible_before_a_sync_completes() -> None:
    order: list[tuple[str, int]] = []
    rig: Rig = rig_with_queue(
        3, options={"on_sync": lambda _: order.append(("sync", rig.read("EVENTQ_PROD")))}
    )
    rig.fault(0x1000, ssid=PLAIN)
    rig.sync()
    assert order == [("sync", 1)]


def test_no_event_of_an_old_configuration_appears_after_its_sync() -> None:
    """The queue is full, an access has stalled unseen; its stream is made to abort: the record must not come later."""
    rig = rig_with_queue(0)
    rig.fault(0x1000, ssid=PLAIN)
    stall = rig.stall(0x2000, ssid=STALLING)
    rig.set_ste(0x10, make_ste(0b000))
    rig.sync(cmd.cfgi_ste(0x10))
    assert [e.va for e in rig.events()] == [0x1000]
    assert rig.events() == []
    [resumed] = rig.resumed()
    assert resumed is stall

"""Under a virtual clock: what a slow neighbour costs, and that the same program gives the same trace."""

from typing import Any

import anyio
import pytest

from wdasync.faults import Access, FaultResponse, PageFault
from wdasync_hip08.dumps import dump_queue, dump_space
from wdasync_hip08.functions import ZIP
from wdasync_hip08.kernel.spaces import Residency
from wdasync_hip08.memory import PAGE
from wdasync_hip08.port import MAX_RETRIES
from wdasync_hip08.trace import Recorder

VA = 0x10_0000


ELSEWHERE = 0x6000_0000_0000


def tenant(machine: Any, driver: Any, name: str, residency: Residency = Residency.MIRROR) -> Any:
    space = machine.new_space(name, residency=residency)
    memory = machine.map_memory(space, VA, 16 * PAGE)
    memory.poke(0, name.encode() * 100)
    space.grant(VA, 16 * PAGE, writable=True)
    return driver(machine, space=space)


def rounds(machine: Any, driver: Any, count: int) -> int:
    """Steps of the chip until so many entries, in bursts of ten, are complete."""
    before = machine.chip.steps
    for _ in range(count):
        done = 0
        driver.submit(*[driver.entry(VA, 200, VA + 8 * PAGE, 500)] * 10)
        while done < 10:
            assert machine.chip.step() or done, "the chip stands still"
            done += len(driver.completions())
    return machine.chip.steps - before


def test_a_stalled_neighbour_costs_next_to_nothing(new_machine: Any, raw_driver: Any) -> None:
    async def never(fault: PageFault) -> FaultResponse:
        await anyio.sleep_forever()
        raise AssertionError

    alone = new_machine()
    undisturbed = rounds(alone, tenant(alone, raw_driver, "quick"), 50)
    machine = new_machine(never, window=16)
    quick = tenant(machine, raw_driver, "quick")
    slow = tenant(machine, raw_driver, "slow", Residency.COLD)
    slow.submit(*[slow.entry(VA, 200, VA + 8 * PAGE, 500)] * 40)
    disturbed = rounds(machine, quick, 50)
    assert machine.chip.tasks.stalled == 16
    assert not slow.completions()
    assert disturbed < 1.1 * undisturbed
    # The deadline is five seconds, and eight faults of one address space may wait at a time.
    for seconds, ended in ((5.5, 8), (5, 8), (15, 24)):
        machine.advance(seconds)
        assert [sqe[3] for _, sqe in slow.completions()] == [3] * ended


@pytest.mark.parametrize(("slow", "quota"), [(1, 8), (1, 16), (2, 8), (5, 8), (3, 16)])
def test_slow_spaces_do_not_starve_another(new_machine: Any, raw_driver: Any, slow: int, quota: int) -> None:
    """Their faults wait for ever and they have many; the quick one gets every page in no time."""

    async def never(fault: PageFault) -> FaultResponse:
        await anyio.sleep_forever()
        raise AssertionError

    machine = new_machine(never, window=16, stall_quota=quota, fault_deadline=0)
    for number in range(slow):
        driver = tenant(machine, raw_driver, f"slow {number}", Residency.COLD)
        driver.submit(*[driver.entry(VA + n % 8 * PAGE, 200, VA + 8 * PAGE, 500) for n in range(40)])
        machine.run()
    quick = tenant(machine, raw_driver, "quick", Residency.COLD)
    pasid = max(machine.spaces)
    quick.submit(*[quick.entry(VA + n * PAGE, 200, VA + (8 + n) * PAGE, 500) for n in range(8)])
    done, answers = 0, 0
    while done < 8:
        machine.run()
        mine = [fault for fault in machine.faults.pending.values() if fault.pasid == pasid]
        assert mine or done, "its faults do not come through"
        for fault in mine:
            assert fault.space.resolve(fault.vpn, Access.WRITE in fault.access)
            machine.faults.answer(fault, FaultResponse.SUCCESS)
            answers += 1
        machine.run()
        done += len(quick.completions())
    assert answers == 16
    assert machine.clock.now() == 0


def test_deadlines_pass_on_a_virtual_clock(new_machine: Any, raw_driver: Any) -> None:
    async def never(fault: PageFault) -> FaultResponse:
        await anyio.sleep_forever()
        raise AssertionError

    machine = new_machine(never, fault_deadline=3.0)
    driver = tenant(machine, raw_driver, "waits", Residency.COLD)
    driver.submit(driver.entry(VA, 200, VA + 8 * PAGE, 500))
    machine.advance(2.9)
    assert not driver.completions()
    machine.advance(0.2)
    assert driver.completions()[0][1][3] == 3
    assert machine.faults.counters.expired == 1
    with pytest.raises(TypeError, match="virtual"):
        new_machine(clock="real").advance(1)


def test_who_only_waits_for_a_tag_is_not_refused(new_machine: Any, raw_driver: Any) -> None:
    """Each invalidation in its address space has the waiting access tried again, which says nothing about its page."""

    async def never(fault: PageFault) -> FaultResponse:
        await anyio.sleep_forever()
        raise AssertionError

    machine = new_machine(never, stall_quota=1, fault_deadline=0)
    slow = tenant(machine, raw_driver, "slow", Residency.COLD)
    slow.submit(slow.entry(VA, 200, VA + 8 * PAGE, 500), slow.entry(VA + PAGE, 200, VA + 9 * PAGE, 500))
    machine.run()
    assert machine.chip.tasks.stalled == 2
    (own,) = machine.spaces.values()
    for space, tries in ((machine.new_space("neighbour"), 0), (own, 2 * MAX_RETRIES)):
        machine.map_memory(space, ELSEWHERE, PAGE).poke(0, b"present")
        for _ in range(2 * MAX_RETRIES):
            space.grant(ELSEWHERE, PAGE, writable=True, resident=True)
            space.revoke(ELSEWHERE, PAGE, writable=True)
            space.settle()
            machine.run()
        assert machine.chip.smmu.statistics.stalls_stale == tries
    assert not slow.completions()
    while machine.faults.pending:
        (fault,) = machine.faults.pending.values()
        assert fault.space.resolve(fault.vpn, Access.WRITE in fault.access)
        machine.faults.answer(fault, FaultResponse.SUCCESS)
        machine.run()
    completions = slow.completions()
    assert [sqe[3] for _, sqe in completions] == [0, 0]
    assert [slow.file.faults(slot) for slot, _ in completions] == [2, 2]


def test_success_without_a_page_ends_some_time(new_machine: Any, raw_driver: Any) -> None:
    async def never(fault: PageFault) -> FaultResponse:
        await anyio.sleep_forever()
        raise AssertionError

    machine = new_machine(never, fault_deadline=0)
    driver = tenant(machine, raw_driver, "cheated", Residency.COLD)
    driver.submit(driver.entry(VA, 200, VA + 8 * PAGE, 500))
    machine.run()
    answers = 0
    while machine.faults.pending:
        (fault,) = machine.faults.pending.values()
        machine.faults.answer(fault, FaultResponse.SUCCESS)
        answers += 1
        machine.run()
    # After that the engine has given up, and nobody is asked of the access that it has left behind.
    assert answers == MAX_RETRIES
    assert [sqe[3] for _, sqe in driver.completions()] == [3]


def story(new_machine: Any, raw_driver: Any, tmp_path: Any, seed: int = 3) -> Recorder:
    machine = new_machine(trace=str(tmp_path / "trace.json"), seed=seed)
    driver = tenant(machine, raw_driver, "one", Residency.COLD)
    driver.arm()
    driver.run(driver.entry(VA, 2 * PAGE, VA + 8 * PAGE, 500))
    driver.run(driver.entry(VA, 100, VA + 14 * PAGE, 5 * PAGE, fmt=1))
    trace = machine.trace
    assert isinstance(trace, Recorder)
    return trace


def test_the_same_program_gives_the_same_trace(new_machine: Any, raw_driver: Any, tmp_path: Any) -> None:
    first = story(new_machine, raw_driver, tmp_path)
    assert list(first.events) == list(story(new_machine, raw_driver, tmp_path).events)
    assert list(first.events) != list(story(new_machine, raw_driver, tmp_path, seed=4).events)


def test_a_trace_tells_the_life_of_a_request(new_machine: Any, raw_driver: Any, tmp_path: Any) -> None:
    names = [event.name for event in story(new_machine, raw_driver, tmp_path).events if event.phase != "e"]
    life = [
        "doorbell", "SQE fetch", "request", "stall", "page fault", "resume", "walk", "deflate", "CQE", "interrupt", "wake",
    ]  # fmt: skip
    positions = [names.index(name, names.index("SQE fetch")) if name != "doorbell" else 0 for name in life]
    assert positions == sorted(positions), names
    assert "TLB hit" in names
    assert "refused" in names


def test_a_trace_opens_in_perfetto(new_machine: Any, raw_driver: Any, tmp_path: Any) -> None:
    import json

    trace = story(new_machine, raw_driver, tmp_path)
    rows = json.loads(trace.chrome())["traceEvents"]
    assert {row["ph"] for row in rows} == {"M", "i", "b", "e"}
    begun = [row["id"] for row in rows if row["ph"] == "b"]
    ended = [row["id"] for row in rows if row["ph"] == "e"]
    assert sorted(begun) == sorted(ended)
    text = trace.text().splitlines()
    assert len(text) == len(trace.events)
    assert any("page fault" in line and "kernel" in line for line in text)


def test_the_trace_is_written_when_the_machine_is_switched_off(
    new_machine: Any, raw_driver: Any, tmp_path: Any
) -> None:
    story(new_machine, raw_driver, tmp_path)
    path = tmp_path / "trace.json"
    assert path.read_text() == ""
    new_machine(trace=str(path)).close()
    assert "traceEvents" in path.read_text()
    timeline = tmp_path / "trace.txt"
    machine = new_machine(trace=str(timeline))
    tenant(machine, raw_driver, "timed")
    machine.run()
    machine.close()
    assert "mailbox" in timeline.read_text()


def test_dumps(machine: Any, raw_driver: Any) -> None:
    driver = tenant(machine, raw_driver, "shown")
    driver.run(*[driver.entry(VA, 200, VA + 8 * PAGE, 500, tag=0x51DE)] * 3)
    text = dump_queue(machine, ZIP.name, driver.number)
    assert text.count("CQE") == 3
    assert text.count("0x000051de tag (type 0)") == 3
    assert "input length" in text
    assert "CQE" not in dump_queue(machine, ZIP.name, driver.number, 0)
    pasid = machine.process.pasid or next(iter(machine.spaces))
    table = dump_space(machine, pasid)
    assert table.count(" → ") == 16
    assert "<STE v=0x1 config=0x5" in table
    idle = machine.open("hisi_zip-0")
    assert "not started" in dump_queue(machine, ZIP.name, idle.queue.number)
    idle.close()
    with pytest.raises(KeyError):
        dump_queue(machine, ZIP.name, 63)


def test_every_object_tells_its_state(machine: Any, raw_driver: Any) -> None:
    driver = tenant(machine, raw_driver, "shown")
    driver.run(driver.entry(VA, 200, VA + 8 * PAGE, 500))
    text = machine.dump()
    for part in ("<Machine on, ", "<Node hisi_zip-0 there, 1 queues open>", "<Chip ", "<QueueManager 1 queues, 1 fetched", "<Smmu enabled", "<Tlb ",
                 "<Frames 16 live", "<Space shown", "queues: of the chip", "EVENTQ_PROD", "<QueuePair 0 running"):  # fmt: skip
        assert part in text
    assert "OpenQueue 0 started" in repr(driver.file)
    assert "<Port of stream 0x7500" in repr(machine.chip.blocks[ZIP.name].port)
    assert "refused" in repr(machine.chip.blocks[ZIP.name].engine)

"""What a queue's descriptor tells, level and consuming."""

import gzip
import select
from typing import Any

import anyio
import pytest

import wdasync
from wdasync_hip08.functions import ZIP
from wdasync_hip08.machine import Machine
from wdasync_uacce.zip_queue import ZipQueue

VA = 0x5555_0000_0000


class Line:
    """A queue whose entries complete at once."""

    def __init__(self, machine: Machine, raw_driver: Any) -> None:
        space = machine.new_space("line")
        machine.map_memory(space, VA, 16 * 4096)
        space.grant(VA, 16 * 4096, writable=True)
        self.machine = machine
        self.driver = raw_driver(machine, space=space)
        self.file = self.driver.file

    def event(self) -> None:
        """Arm; something completes; the interrupt arrives."""
        self.driver.arm()
        self.driver.submit(self.driver.entry(VA, 100, VA + 0x8000, 200))
        self.machine.run()

    def listener(self, events: int = select.EPOLLIN) -> select.epoll:
        """An epoll set with its descriptor."""
        listener = select.epoll()
        listener.register(self.file, events)
        return listener


@pytest.fixture(params=["level", "consuming"])
def line(request: Any, new_machine: Any, raw_driver: Any) -> Line:
    return Line(new_machine(consuming=request.param == "consuming"), raw_driver)


def test_who_is_registered_is_told_once(line: Line) -> None:
    with line.listener() as listener:
        line.event()
        assert listener.poll(0) == [(line.file.fileno(), select.EPOLLIN)]
        assert len(line.driver.completions()) == 1
        line.file.acknowledge()
        assert listener.poll(0) == []
        line.event()
        assert listener.poll(0)
        assert line.file.wakes == 2
        assert line.file.readiness.eaten == 0


def test_taking_completions_takes_the_readiness(line: Line) -> None:
    """The kernel's poll has done it before; on a file that is not consuming it is the driver's business."""
    with line.listener() as listener:
        line.event()
        line.driver.completions()
        assert bool(listener.poll(0)) is not line.file.readiness.consuming


def test_an_event_before_the_registration(line: Line) -> None:
    line.event()
    with line.listener() as listener:
        assert bool(listener.poll(0)) is not line.file.readiness.consuming
        line.driver.completions()
        line.event()
        assert listener.poll(0)


def test_an_event_while_a_one_shot_waits_for_its_mod(line: Line) -> None:
    with line.listener(select.EPOLLIN | select.EPOLLONESHOT) as listener:
        line.event()
        assert listener.poll(0)
        line.driver.completions()
        line.event()
        listener.modify(line.file, select.EPOLLIN | select.EPOLLONESHOT)
        assert bool(listener.poll(0)) is not line.file.readiness.consuming


def test_an_event_that_two_may_poll(line: Line) -> None:
    with line.listener() as listener, line.listener() as another:
        line.event()
        assert bool(listener.poll(0) or another.poll(0)) is not line.file.readiness.consuming
    with line.listener() as listener, select.epoll() as outer:
        outer.register(listener, select.EPOLLIN)
        line.driver.completions()
        line.file.acknowledge()
        line.event()
        assert bool(outer.poll(0)) is not line.file.readiness.consuming
    assert line.file.readiness.eaten == (2 if line.file.readiness.consuming else 0)


def test_a_device_that_goes_away_is_heard_of_all_the_same(line: Line) -> None:
    line.machine.remove(ZIP.name, "unplugged")
    with line.listener() as listener:
        assert listener.poll(0)


@pytest.mark.anyio
@pytest.mark.parametrize("consuming", [False, True])
async def test_an_idle_accelerator_sleeps(consuming: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    dequeue = ZipQueue.dequeue_burst

    def counted(self: ZipQueue, limit: int) -> Any:
        nonlocal looks
        looks += 1
        return dequeue(self, limit)

    text = b"now and then " * 500
    async with wdasync.open_accelerator("hip08", fallback=False, consuming=consuming) as acc:
        for _ in range(3):
            assert gzip.decompress(await acc.compress(text, "gzip")) == text
        await anyio.sleep(0.05)
        monkeypatch.setattr(ZipQueue, "dequeue_burst", counted)
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
        assert looks < 10
        assert acc.statistics().rescues == 0

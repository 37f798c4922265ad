"""Deflating in the CPU backend's workers: the same results as inline, whatever becomes of the queue; and who pumps."""

from __future__ import annotations

import threading
import zlib
from typing import Any

import pytest

import wdasync
from wdasync.backend import Completion
from wdasync.errors import Status
from wdasync_cpu.queues import CpuQueue
from wdasync_hip08.codec import DEPTH, CodecWorkers
from wdasync_hip08.engines.deflate import Check, Deflation, trailer
from wdasync_hip08.machine import Machine
from wdasync_hip08.tasks import Task

DATA = b"".join(b'{"number": %d, "square": %d}, ' % (n, n * n) for n in range(4000))


@pytest.fixture
def codec() -> Any:
    workers = CodecWorkers()
    assert workers.open() is not None
    yield workers
    workers.close()


def wait(workers: CodecWorkers) -> list[tuple[Task, object]]:
    done: list[tuple[Task, object]] = []
    while not done:
        done = workers.collect()
    return done


@pytest.mark.parametrize("check", Check)
@pytest.mark.parametrize("window", [12, 13, 14, 15])
@pytest.mark.parametrize("data", [DATA, DATA[:1], bytes(100_000)], ids=["text", "a byte", "zeros"])
def test_a_worker_gives_what_the_engine_gives(
    codec: CodecWorkers, check: Check, window: int, data: bytes
) -> None:
    work, task = Deflation(data, window, check), Task(0, 1, 2)
    assert codec.submit(task, work)
    [(done, result)] = wait(codec)
    assert done is task
    _, value = work.run()  # type: ignore[misc]  # a pair
    output, found = result  # type: ignore[misc]  # a pair
    assert found == value
    end = trailer(value, len(data), check)
    assert output.endswith(end)
    assert zlib.decompress(output[: -len(end)], -window) == data


def test_results_come_to_their_tasks(codec: CodecWorkers) -> None:
    works = {Task(0, 0, slot): Deflation(bytes([slot]) * 5000, 15, Check.ADLER32) for slot in range(50)}
    for task, work in works.items():
        assert codec.submit(task, work)
    codec.kick()
    done: dict[Task, Any] = {}
    while len(done) < len(works):
        done |= dict(codec.collect())
    for task, work in works.items():
        assert zlib.decompress(done[task][0][:-4], -15) == work.data
    assert codec.collect() == []


def test_a_worker_that_fails_is_replaced_by_the_caller(
    codec: CodecWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: CpuQueue, limit: int) -> list[Completion]:
        return [
            completion._replace(status=Status.DEVICE_ERROR, output=None) for completion in real(self, limit)
        ]

    real = CpuQueue.dequeue_burst
    monkeypatch.setattr(CpuQueue, "dequeue_burst", fail)
    work = Deflation(DATA, 15, Check.CRC32_SIZE)
    codec.submit(Task(0, 0, 0), work)
    [(_, result)] = wait(codec)
    assert result == work.run()


def test_without_a_queue_or_room_the_work_is_to_be_done_otherwise(codec: CodecWorkers) -> None:
    work = Deflation(DATA, 15, Check.CRC32_SIZE)
    assert not CodecWorkers().submit(Task(0, 0, 0), work)
    for slot in range(DEPTH):
        assert codec.submit(Task(0, 0, slot), work)
    assert not codec.submit(Task(0, 0, DEPTH), work)


def test_the_first_is_given_at_once_and_the_rest_together(
    codec: CodecWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    bursts = []

    def enqueue(self: CpuQueue, entries: Any) -> int:
        bursts.append(len(entries))
        return real(self, entries[:3])

    real = CpuQueue.enqueue_burst
    monkeypatch.setattr(CpuQueue, "enqueue_burst", enqueue)
    for slot in range(6):
        codec.submit(Task(0, 0, slot), Deflation(DATA, 15, Check.CRC32_SIZE))
    assert bursts == [1]
    for _ in range(3):
        codec.kick()
    assert bursts == [1, 5, 2], "what found no room goes with the next"
    done = 0
    while done < 6:
        done += len(wait(codec))


def test_closing_waits_for_what_is_in_work() -> None:
    workers = CodecWorkers()
    workers.open()
    for slot in range(20):
        workers.submit(Task(0, 0, slot), Deflation(DATA * 4, 15, Check.CRC32_SIZE))
    workers.close()
    workers.close()
    assert workers.collect() == []


@pytest.mark.anyio
@pytest.mark.parametrize("algorithm", ["gzip", "zlib"])
async def test_one_thread_pumps(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the event loop serves the machine, nobody else goes on with it: neither who deflates nor who inflates."""
    threads = set()

    def pump(self: Machine, limit: int) -> bool:
        threads.add(threading.current_thread())
        return real(self, limit)

    real = Machine._pump
    async with wdasync.open_accelerator("hip08", inline=False) as acc:
        await acc.compress(DATA, algorithm)
        monkeypatch.setattr(Machine, "_pump", pump)
        for _ in range(5):
            many = await acc.compress_many([DATA] * 20, algorithm)
            assert [await acc.decompress(one, algorithm) for one in many] == [DATA] * 20
        monkeypatch.undo()
    assert threads == {threading.current_thread()}

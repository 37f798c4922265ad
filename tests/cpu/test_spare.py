"""Spare workers: threads at low priority, which take lengthy work while all others are busy."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.cpu.support import CHECKOUT
from wdasync_cpu.devices import crews, usable_cores

PRELUDE = """
import os, sys, time
from pathlib import Path
from tests.cpu.support import drain, open_device, words
from tests.sandbox.refuse import refuse
from wdasync import Compress
from wdasync_cpu import binding, calibration

calibration.factor = lambda: 1.0  # What is short, lengthy or too long is said of the machine of the tables.


def nice(name):
    for task in Path("/proc/self/task").iterdir():
        if (task / "comm").read_text().strip() == name:
            return int((task / "stat").read_text().rpartition(")")[2].split()[16])


def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def who(queue, nbytes, count):
    block = words(nbytes)
    assert queue.enqueue_burst([(tag, Compress(block, "gzip")) for tag in range(count)]) == count
    return {completion.detail.where for completion in drain(queue, count)}
"""


def python(code: str) -> str:
    """What a process of its own prints: crews belong to a process."""
    command = [sys.executable, "-c", PRELUDE + code]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=180, check=False)
    assert not done.returncode, done.stderr
    return done.stdout.strip()


def test_lengthy_work_goes_to_a_spare_worker_too() -> None:
    code = """
queue = open_device("only zlib", workers=1, spare_workers=1).open_queue(64)
seen = set()
until(lambda: seen.update(who(queue, 1 << 18, 64)) or len(seen) == 2)
print(sorted(seen))
"""
    assert python(code) == "['spare worker 0', 'worker 0']"


@pytest.mark.parametrize("nbytes", [1 << 8, 1 << 25], ids=["short", "too long"])
def test_other_work_does_not(nbytes: int) -> None:
    code = f"""
queue = open_device("only zlib", workers=1, spare_workers=1).open_queue(1024)
print(*who(queue, {nbytes}, {1024 if nbytes < 1 << 20 else 2}))
"""
    assert python(code) == "worker 0"


def test_a_spare_worker_waits_for_the_others() -> None:
    code = """
queue = open_device("only zlib", workers=1, spare_workers=1).open_queue(1)
until(lambda: nice("wdasync-spare-0") == min(19, os.nice(0) + 10))
print(set.union(*(who(queue, 1 << 16, 1) for _ in range(200))))
"""
    assert python(code) == "{'worker 0'}"


def test_a_busy_owner_keeps_its_core() -> None:
    """However nice the spare worker is, a thread that wants the core often would wait for it now and then."""
    code = """
queue = open_device("only zlib", workers=1, spare_workers=1).open_queue(64)


def meanwhile_busy():
    block, seen, left = words(1 << 18), set(), 64
    assert queue.enqueue_burst([(tag, Compress(block, "gzip")) for tag in range(left)]) == left
    end = time.monotonic() + 60
    while left:
        found = queue.dequeue_burst(64)  # and again, at once
        seen.update(completion.detail.where for completion in found)
        left -= len(found)
        assert time.monotonic() < end
    return seen


until(lambda: len(who(queue, 1 << 18, 64)) == 2)
until(lambda: meanwhile_busy() == {"worker 0"})
until(lambda: len(who(queue, 1 << 18, 64)) == 2)
print("done")
"""
    assert python(code) == "done"


def test_it_gives_way_to_all_threads_of_the_process() -> None:
    code = """
here = os.nice(3)
open_device("only zlib", workers=1, spare_workers=1)
until(lambda: nice("wdasync-spare-0") == min(19, here + 10))
until(lambda: nice("wdasync-cpu-0") == here)
print(binding.workers(), binding.spare_workers())
"""
    assert python(code) == "1 1"


def test_where_no_thread_may_give_way_there_is_none() -> None:
    code = """
refuse(1, "setpriority")
queue = open_device("only zlib", workers=1, spare_workers=1).open_queue(64)
until(lambda: not binding.spare_workers())
print(*who(queue, 1 << 18, 64))
"""
    assert python(code) == "worker 0"


@pytest.mark.parametrize(
    ("cores", "settings", "expected"),
    [
        (1, (None, None), (1, 0)),
        (2, (None, None), (1, 1)),
        (8, (None, None), (7, 1)),
        (2, (1, None), (1, 1)),
        (2, (2, None), (2, 0)),
        (2, (4, None), (4, 0)),
        (2, (1, 0), (1, 0)),
        (1, (1, 3), (1, 3)),
    ],
)
def test_how_many(
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    settings: tuple[int | None, int | None],
    expected: tuple[int, int],
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert usable_cores() == cores
    assert crews(*settings) == expected

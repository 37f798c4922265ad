"""Trouble, on backends that can be asked for it: operations that never end, a device that goes away."""

from __future__ import annotations

from ...errors import Status
from ...operations import Compress, Kind, Operation
from .._bench import Bench, NotApplicable, Provoker, require
from .._checks import check
from .._reference import text
from .bursts import plain, quiet, succeed
from .ending import CLOSED, STOP, in_a_thread
from .memory import PINNED, Guarded, held


def provoker(bench: Bench) -> Provoker:
    """Who brings trouble.

    :raises NotApplicable: if nobody can
    """
    if bench.provoker is None:
        raise NotApplicable("this backend cannot be asked for trouble; give check_backend() a provoker")
    return bench.provoker


@check(STOP, "no method of it waits")
def stuck_operations_are_aborted(bench: Bench) -> None:
    """Operations that never end do not hold up their queue's methods, and stop() ends them as ABORTED."""
    trouble = provoker(bench)
    queue = bench.queue()
    with trouble.stick(bench.device):
        queue.fill(list(enumerate(plain(bench, min(6, queue.depth)))))
        quiet(bench, queue)
        require(queue.statistics().in_flight == min(6, queue.depth), f"in_flight: {queue.statistics()}")
        queue.stop()
        done = queue.drain()
    strange = [found.status.name for found in done if found.status is not Status.ABORTED]
    require(not strange, f"stuck operations completed {strange}")
    in_a_thread(bench, queue)


@check("One thread owns it, and no method of it waits.")
def stuck_queue_leaves_its_twin_alone(bench: Bench) -> None:
    """While one queue is stuck, another of the same device works."""
    trouble = provoker(bench)
    queue, twin = bench.queue(), bench.queue()
    with trouble.stick(bench.device):
        queue.fill(list(enumerate(plain(bench, min(6, queue.depth)))))
    succeed(bench, twin, plain(bench, 20), sleep=True)
    queue.finish()
    succeed(bench, twin, plain(bench, 20))


@check(PINNED, CLOSED)
def stuck_buffers_are_held(bench: Bench) -> None:
    """Buffers of a stuck operation are held, and written at the latest before close() returns."""
    trouble = provoker(bench)
    row = bench.row(Kind.COMPRESS)
    queue = bench.queue(row)
    buffers = [bytearray(text(4000, seed)) for seed in range(min(6, queue.depth))]
    outputs = [Guarded(8000) for _ in buffers]
    with trouble.stick(bench.device):
        entries: list[tuple[int, Operation]] = [
            (tag, Compress(buffer, row.algorithm, into=output.view))
            for tag, (buffer, output) in enumerate(zip(buffers, outputs, strict=True))
        ]
        queue.fill(entries)
        entries.clear()
        bench.pause(0.02)
        held(buffers, "while they were stuck")
        queue.finish()
    before = [bytes(output.view) for output in outputs]
    bench.pause(0.05)
    for output, content in zip(outputs, before, strict=True):
        require(bytes(output.view) == content, "after close() the device still wrote")


@check(
    "Why the device is gone; ``None`` while it is there.",
    "The device failed or went away.",
    "Who sleeps asks again now and then: so it learns of a device that went away and woke nobody, as Linux's uacce does it.",
)
def lost_device_ends_all(bench: Bench) -> None:
    """When a device goes away, each operation in flight ends once, as DEVICE_ERROR or finished; sleepers wake."""
    trouble = provoker(bench)
    queue = bench.queue()
    queue.register()
    with trouble.stick(bench.device):
        queue.fill(list(enumerate(plain(bench, min(6, queue.depth)))))
        asleep = queue.arm()
        trouble.lose(bench.device)
        if asleep and getattr(trouble, "silent", False):
            require(not queue.arm(), "the device is gone, nobody was woken, and arm() says that all is well")
        elif asleep:
            require(
                queue.readable(bench.patience),
                f"the device is gone, and nobody woke within {bench.patience} s",
            )
        done = queue.drain()
    allowed = (Status.DEVICE_ERROR, Status.SUCCESS)
    strange = [found.status.name for found in done if found.status not in allowed]
    require(not strange, f"on a lost device operations completed {strange}")
    require(any(found.status is Status.DEVICE_ERROR for found in done), "no operation noticed")
    require(isinstance(bench.device.lost, str) and bench.device.lost != "", f"lost is {bench.device.lost!r}")
    quiet(bench, queue)
    queue.finish()


@check("Bring the device back after a failure.")
def lost_device_comes_back(bench: Bench) -> None:
    """A lost device whose queues were closed is usable after reset()."""
    trouble = provoker(bench)
    queue = bench.queue()
    trouble.lose(bench.device)
    queue.finish()
    bench.device.reset()
    require(bench.device.lost is None, f"after reset() lost is {bench.device.lost!r}")
    succeed(bench, bench.queue(), plain(bench, 10), sleep=True)

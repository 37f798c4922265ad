"""The descriptor: when it must be readable, and when an owner must not sleep."""

from __future__ import annotations

import os
import select
import stat

from .._bench import Bench, NotApplicable, Violation, require
from .._checks import check
from .bursts import plain, succeed

READABLE = "A descriptor that is readable at least once after completions appear, while armed."
ONE_WAKE = "Ask for one wake."
DO_NOT_SLEEP = "False: completions wait already, do not sleep."


@check("The same number for the life of the queue.", "It may be consuming (see the top of this module).")
def descriptor_is_one(bench: Bench) -> None:
    """fileno() is an open descriptor that epoll takes, and always the same."""
    queue = bench.queue()
    number = queue.raw.fileno()
    require(type(number) is int and number >= 0, f"fileno() is {number!r}")
    require(
        not stat.S_ISREG(os.fstat(number).st_mode), "a regular file is always readable, and epoll refuses it"
    )
    with select.epoll() as epoll:
        epoll.register(number, select.EPOLLIN)
        epoll.unregister(number)
    succeed(bench, queue, plain(bench, 8), sleep=True)
    require(queue.raw.fileno() == number, "fileno() has changed")
    other = bench.queue()
    require(other.raw.fileno() != number, "two queues have the same descriptor")


@check(READABLE, ONE_WAKE)
def sleeper_is_woken(bench: Bench) -> None:
    """An owner that sleeps whenever arm() lets him misses nothing, one operation or many at a time."""
    queue = bench.queue()
    for operation in plain(bench, 150, 64):
        succeed(bench, queue, [operation], sleep=True)
    for size, most in (1, 1 << 30), (60_000, 64):
        succeed(bench, queue, plain(bench, min(2 * queue.depth, most), size), sleep=True)


@check(READABLE, "makes sure that its event loop has registered the descriptor, looks once more")
def sleeper_looks_once_more(bench: Bench) -> None:
    """The whole ritual: dequeue until empty, arm, look once more, sleep only then; limit one below ready."""
    queue = bench.queue()
    queue.register()
    work = plain(bench, 40, 3000)
    queue.fill(list(enumerate(work[: queue.depth])))
    while queue.flying:
        while queue.dequeue(1):
            pass
        if queue.flying and queue.arm() and not queue.dequeue(1) and not queue.readable(bench.patience):
            found = len(queue.dequeue(1 << 30))
            raise Violation(f"nobody woke the sleeper within {bench.patience} s; {found} completions wait")


@check(DO_NOT_SLEEP)
def arm_sees_what_waits(bench: Bench) -> None:
    """While completions wait, arm() is False; when the last was taken, it is not."""
    queue = bench.queue()
    work = plain(bench, 3)
    queue.fill(list(enumerate(work)))
    while queue.doze():
        pass
    for _ in range(3):
        require(not queue.arm(), "arm() was False, nothing was dequeued, and now it is True")
    queue.drain()
    require(queue.arm(), "arm() is False, and no completion waits")


@check(ONE_WAKE)
def idle_descriptor_is_quiet(bench: Bench) -> None:
    """With nothing in flight an owner who arms and sleeps is not woken over and over."""
    queue = bench.queue()
    succeed(bench, queue, plain(bench, 20), sleep=True)
    wakes = 0
    while queue.arm() and queue.readable(0.005):
        wakes += 1
        require(not queue.dequeue(1), "a completion came, and nothing was in flight")
        require(wakes < 20, "the descriptor is readable again after each arm(), and there is nothing to do")
    require(queue.arm(), "arm() is False, and no completion waits")


@check("Of an idle queue it does not stay readable: who has dequeued everything is left alone, armed or not.")
def idle_queue_is_quiet(bench: Bench) -> None:
    """When everything was dequeued, an event loop that watches the descriptor is not woken for ever."""
    queue = bench.queue()
    queue.register()
    for armed in (False, True):
        succeed(bench, queue, plain(bench, 20), sleep=True)
        if armed:
            require(queue.arm(), "arm() is False, and no completion waits")
        wakes = 0
        while not queue.dequeue(1) and queue.readable(0.005):  # It looks, but arms no more.
            wakes += 1
            state = "armed once" if armed else "not armed"
            require(wakes < 20, f"nothing is in flight, {state}, and the descriptor stays readable")


@check(READABLE)
def arming_first_is_enough(bench: Bench) -> None:
    """Who arms, then enqueues, is woken: nothing else has to be called before he sleeps."""
    queue = bench.queue()
    queue.register()
    for operation in plain(bench, 20, 5000):
        require(queue.arm(), "arm() is False, and no completion waits")
        queue.fill([(0, operation)])
        if not queue.readable(bench.patience):
            raise Violation(f"armed, then enqueued, and not woken within {bench.patience} s")
        queue.drain()


@check(READABLE)
def arming_again_is_harmless(bench: Bench) -> None:
    """Several arm() before completions appear ask for a wake all the same."""
    queue = bench.queue()
    queue.register()
    for operation in plain(bench, 30, 2000):
        queue.arm()
        queue.fill([(0, operation)])
        if queue.arm() and queue.arm() and not queue.readable(bench.patience):
            raise Violation(f"armed three times, and not woken within {bench.patience} s")
        queue.drain()


@check("Readiness is a hint.", "Nobody else may poll the descriptor.")
def readiness_waits_for_its_reader(bench: Bench) -> None:
    """A descriptor that is not consuming tells also those who poll it only after the completion."""
    if bench.consuming:
        raise NotApplicable("polling this descriptor consumes its readiness")
    queue = bench.queue()
    for operation in plain(bench, 5):
        queue.fill([(0, operation)])
        deadline = int(bench.patience * 1000)
        if queue.arm():
            poll = select.poll()
            poll.register(queue.raw.fileno(), select.POLLIN)
            while not poll.poll(0 if bench.serving else deadline):
                require(bench.serving, "armed, and poll(2) saw nothing")
                bench.pause()
            bench.pause(0.01)
            require(bool(poll.poll(0)), "readable, and a moment later it is not, though nothing was dequeued")
        queue.drain()


@check("times the descriptor was made readable")
def wakes_are_counted(bench: Bench) -> None:
    """The counter of wakes is not below the times that its owner was woken."""
    queue = bench.queue()
    woken = 0
    for operation in plain(bench, 20, 5000):
        queue.fill([(0, operation)])
        woken += queue.doze()
        queue.drain()
    counted = queue.statistics().wakes
    require(counted >= woken, f"woken {woken} times, counted {counted}")

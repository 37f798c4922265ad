"""Python threads, for keys and for codecs that exist only as Python packages.

They take work from the same rings as the native workers, and put completions onto the same stacks. They are started
when the first such operation comes, and end with the interpreter: as daemon threads they do not hold it up, and an
``atexit`` function lets them finish the piece they are at, because a daemon thread that wakes in a dying interpreter
is a crash. A forked child has none of them and starts its own.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading

from wdasync.errors import Status
from wdasync.operations import Operation

from . import binding
from .binding import Outcome, Run
from .packages import Stopped, failed
from .plans import plan_of

__all__ = ["ensure", "failures", "running", "want"]

logger = logging.getLogger("wdasync.cpu")


class _Crew:
    """The threads of this process.

    :ivar wanted: how many there should be once there is work
    :ivar failures: threads that died and were replaced
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.threads: set[threading.Thread] = set()
        self.wanted = 1
        self.failures = 0
        self.ending = False


_crew = _Crew()


def want(count: int) -> None:
    """There should be at least ``count`` threads once there is work for them."""
    _crew.wanted = max(_crew.wanted, count)


def ensure() -> None:
    """Start what is missing.

    :raises RuntimeError: if there is no thread and none can be started
    """
    with _crew.lock:
        while len(_crew.threads) < _crew.wanted and not _crew.ending:
            thread = threading.Thread(target=_serve, name="wdasync-cpu-thread", daemon=True)
            _crew.threads.add(thread)
            try:
                thread.start()
            except RuntimeError:
                _crew.threads.discard(thread)
                if not _crew.threads:
                    raise
                break


def running() -> int:
    """Threads that there are."""
    return len(_crew.threads)


def failures() -> int:
    """Threads that died and were replaced."""
    return _crew.failures


def _serve() -> None:
    """One thread: work until the interpreter ends. Whatever kills it, its operation completes and it is replaced."""
    hand, _ = binding.join()
    died = True
    try:
        while (task := binding.next_task(hand)) is not None:
            _work(hand, *task)
            del task  # its buffers belong to somebody
        died = False
    except BaseException:
        logger.exception("a thread for Python codecs died; another takes its place")
    finally:
        binding.leave(hand)
        with _crew.lock:
            _crew.threads.discard(threading.current_thread())
            _crew.failures += died
        if died:
            ensure()


def _work(hand: object, operation: Operation, number: int, run: Run) -> None:
    outcome: Outcome = failed(Status.DEVICE_ERROR, "the thread that worked on it died; it was replaced")
    try:
        outcome = run(operation, number, hand)
    except Stopped:
        outcome = failed(Status.ABORTED, "the queue was stopped")
    except MemoryError:
        outcome = failed(Status.DEVICE_ERROR, "out of memory")
    except Exception as error:
        logger.exception("codec %s raised", plan_of(number).implementation)
        outcome = failed(Status.DEVICE_ERROR, f"the codec raised {type(error).__name__}: {error}")
    finally:
        binding.finish_task(hand, outcome)


def _end() -> None:
    _crew.ending = True
    binding.shut_down()
    for thread in list(_crew.threads):
        thread.join()


def _forget() -> None:
    global _crew
    wanted = _crew.wanted
    _crew = _Crew()
    _crew.wanted = wanted


atexit.register(_end)
os.register_at_fork(after_in_child=_forget)

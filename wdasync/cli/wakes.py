"""Whether devices wake who sleeps: a queue is armed before there is anything to do, so that even a quick device has to."""

from __future__ import annotations

import selectors
import time
from typing import Final

from ..backend import Queue
from ..errors import WdasyncError
from ..operations import Compress, Kind
from ..pollmode import PolledDevice, open_devices

__all__ = ["silent_devices"]

#: Seconds that a sleeper waits, and then looks himself.
PATIENCE: Final = 2.0

#: Seconds between two looks of who polls.
NAP: Final = 0.001


def silent_devices(backend: str | None, sample: bytes) -> list[str]:
    """Names of the devices that finish their work and tell nobody. Blocks. What cannot be opened, or finishes nothing, is not
    among them: that is another failure.
    """
    try:
        opened = open_devices(backend, fallback=False)
    except (WdasyncError, OSError):
        return []
    silent = []
    for polled in opened:
        with polled:
            if _is_silent(polled, sample):
                silent.append(f"{polled.backend}/{polled.device.info.name}")
    return silent


def _is_silent(polled: PolledDevice, sample: bytes) -> bool:
    row = next((row for row in polled.device.capabilities if row.kind is Kind.COMPRESS), None)
    if row is None:
        return False
    try:
        queue = polled.open_queue(4, queue_class=row.queue_class)
    except (WdasyncError, OSError):
        return False
    # Registered once, before the queue is armed: on the real device each look at the descriptor eats what it says.
    with selectors.DefaultSelector() as selector:
        selector.register(queue.fileno(), selectors.EVENT_READ)
        if not queue.arm() or not queue.enqueue_burst([(0, Compress(sample, row.algorithm))]):
            return False
        return not selector.select(PATIENCE) and _finishes(queue)


def _finishes(queue: Queue) -> bool:
    """Whether there is a completion for who looks."""
    end = time.monotonic() + PATIENCE
    while not queue.dequeue_burst(1):
        if time.monotonic() > end:
            return False
        time.sleep(NAP)
    return True

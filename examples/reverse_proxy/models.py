"""The order in which the parts of the proxy are called: run to completion, or a pipeline.

*Run to completion* (``rtc``): what one burst brought is carried as far as it goes, before the next is looked at. Nothing waits between two
parts, so there are no rings but the one before the accelerator.

*Pipeline*: each stage takes a burst from the ring before it and fills the one behind it; a full ring holds up the stage before it, back to the
sockets. On DPDK each stage has a core of its own. Here the stages are steps of one loop: under CPython's lock two threads that poll do not
run at the same time, but take turns of 5 ms, and each turn of a stage that has nothing to do is taken from one that has. What the
rings buy is order: a stage does the same thing a burst at a time, and what waits can be seen and counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .connection import Connection
from .ring import Ring

if TYPE_CHECKING:
    from .lcore import Lcore
    from .receiver import Received

__all__ = ["MODELS", "Model", "Pipeline", "RunToCompletion"]


class Model(Protocol):
    """In which order things are done."""

    def turn(self) -> int:
        """Everything once; how much there was to do."""

    def serve(self) -> int:
        """So too, without handshakes."""

    def completions(self) -> int:
        """Only look whether the accelerator, or who signs, is done with something."""

    def occupancy(self) -> dict[str, int]:
        """What is in use, by name."""


def _in_use(lcore: Lcore) -> dict[str, int]:
    return {
        "accel": lcore.offload.ring.count,
        "held": lcore.offload.lanes.held,
        "flying": lcore.offload.lanes.flying,
        "rxbuf": lcore.pool.in_use,
        "txbuf": lcore.offload.pool.in_use,
    }


class RunToCompletion:
    """One loop does all."""

    def __init__(self, lcore: Lcore) -> None:
        self._lcore = lcore
        self._burst = lcore.options.burst

    def turn(self) -> int:
        return self.serve() + self._lcore.greet(self._burst, self.serve)

    def serve(self) -> int:
        lcore, offload = self._lcore, self._lcore.offload
        received = lcore.receive(min(self._burst, offload.ring.free_count))
        for item in received:
            lcore.advance(lcore.handle(item))
        return len(received) + offload.submit(self._burst) + self._reap()

    def completions(self) -> int:
        return self._reap() + self._lcore.sign(self._burst)

    def _reap(self) -> int:
        done = self._lcore.offload.reap(self._burst)
        for it in done:
            self._lcore.advance(self._lcore.complete(it))
        return len(done)

    def occupancy(self) -> dict[str, int]:
        return _in_use(self._lcore)


class Pipeline:
    """rx ring → HTTP → accelerator ring → accelerator → tx ring."""

    def __init__(self, lcore: Lcore) -> None:
        self._lcore = lcore
        self._burst = lcore.options.burst
        self._rx: Ring[Received] = Ring(lcore.options.ring)
        self._tx: Ring[Connection] = Ring(lcore.options.ring)

    def turn(self) -> int:
        return self.serve() + self._lcore.greet(self._burst, self.serve)

    def serve(self) -> int:
        return (
            self._receive()
            + self._http()
            + self._lcore.offload.submit(self._burst)
            + self._reap()
            + self._transmit()
        )

    def completions(self) -> int:
        return self._reap() + self._lcore.sign(self._burst)

    def _reap(self) -> int:
        done = self._lcore.offload.reap(min(self._burst, self._tx.free_count))
        for it in done:
            self._to_transmit(self._lcore.complete(it))
        return len(done)

    def occupancy(self) -> dict[str, int]:
        return {"rx": self._rx.count, "tx": self._tx.count, **_in_use(self._lcore)}

    def _receive(self) -> int:
        received = self._lcore.receive(min(self._burst, self._rx.free_count))
        return self._rx.enqueue_bulk(received)

    def _http(self) -> int:
        room = min(self._tx.free_count, self._lcore.offload.ring.free_count)
        items = self._rx.dequeue_burst(min(self._burst, room))
        for item in items:
            self._to_transmit(self._lcore.handle(item))
        return len(items)

    def _to_transmit(self, connection: Connection) -> None:
        """A connection is in the ring once, however much it has to send."""
        if not connection.queued:
            connection.queued = True
            self._tx.enqueue_bulk([connection])

    def _transmit(self) -> int:
        connections = self._tx.dequeue_burst(self._burst)
        for connection in connections:
            connection.queued = False
            self._lcore.advance(connection)
        return len(connections)


MODELS: dict[str, type[RunToCompletion | Pipeline]] = {"rtc": RunToCompletion, "pipeline": Pipeline}

"""A proxy that meets everything a network can bring, and whose device dies: afterwards nothing is left of it."""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from typing import NamedTuple

import anyio

from tests.examples.reverse_proxy.conftest import Proxy, proxy
from tests.examples.reverse_proxy.origin import Origin
from tests.examples.reverse_proxy.traffic import Weather
from tests.traffic import Memory, Process, soaked

#: What it has to say about devices.
TELLS = "is lost, and others do its work|is back$|: lost: |: back, after|stream .* goes on"

#: Of what nothing may be in use when nobody is there.
USES = ("connections", "accel", "flying", "rxbuf", "txbuf", "rx", "tx")


class Kept(NamedTuple):
    """What is left."""

    descriptors: int
    threads: int


class Result(NamedTuple):
    """What came of it."""

    traffic: Weather
    memory: Memory
    before: Kept
    after: Kept
    figures: dict[str, int]
    losses: int


class Figures:
    """Its lines of figures, as they come: who does not read them holds it up."""

    def __init__(self, running: Proxy) -> None:
        self.lines = 0
        self.last: dict[str, int] = {}
        self._stream = running.process.stdout
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._stream is not None
        for line in self._stream:
            found = re.findall(r"(?:^|\| )(\w+) (\d+)(?= \||$)", line)
            self.last = {name: int(value) for name, value in found}
            self.lines += 1
            if line.startswith("total: "):
                self.last = {name: int(value) for name, value in re.findall(r"(\w+) (\d+)", line)}
                return

    async def idle(self) -> None:
        """Until two lines in a row say that nothing is in use."""
        with anyio.fail_after(60):
            quiet, seen = 0, self.lines
            while quiet < 2:
                await anyio.sleep(0.05)
                if self.lines > seen:
                    seen = self.lines
                    quiet = 0 if any(self.last.get(name) for name in USES) else quiet + 1

    def end(self) -> None:
        self._thread.join()


async def soak(server: Origin, model: str, backend: str, count: int, seed: int, losses: int) -> Result:
    """So many requests, in the course of which its best device goes away so often."""
    server.remembers, smuggled = False, server.smuggled
    limits = ("--limit-response", "10", "--limit-linger", "0.5")
    words = ("--model", model, "--backend", backend, *limits)
    with proxy(
        server.address, *words, module="tests.examples.reverse_proxy.mortal", tells=TELLS, WDASYNC_MOCK_LATENCY="0.01"
    ) as running:  # fmt: skip
        figures, process = Figures(running), Process(running.process.pid)
        try:
            await Weather(running.port, min(count // 4, 2000), seed=seed).run()
            await figures.idle()
            before = Kept(process.descriptors, process.threads)
            traffic = Weather(running.port, count, seed=seed + 1)
            async with asyncio.TaskGroup() as group:
                misfortune = group.create_task(lose(running, traffic, losses))
                memory = await soaked(traffic, process)
                misfortune.cancel()
            await figures.idle()
            with anyio.fail_after(60):
                while process.threads > before.threads + 1 or process.descriptors > before.descriptors + 2:
                    await anyio.sleep(0.1)  # a device is just coming back
            after = Kept(process.descriptors, process.threads)
        finally:
            running.process.terminate()
            running.process.wait(60)
            figures.end()
    assert server.smuggled == smuggled, "a hidden request has come through"
    lost = sum("lost" in line for line in running.told)
    assert bool(lost) == bool(losses), "while it is away, it cannot be lost once more"
    return Result(traffic, memory, before, after, figures.last, lost)


async def lose(running: Proxy, traffic: Weather, losses: int) -> None:
    for number in range(losses):
        while traffic.done < traffic.count * (number + 1) / (losses + 1):
            await anyio.sleep(0.01)
        running.lose()


def check(traffic: Weather) -> None:
    """Those who behave got what they asked for, and the others something that is right."""
    outcomes: Counter[str] = traffic.ended
    assert sum(outcomes.values()) == traffic.count
    good = {
        "page 200",
        "kept all",
        "pipelined all",
        "upload 200",
        "bomb 200",
        "large 200",
        "slow left",
        "patient 200",
    }
    good |= {"half_closed answer", "tunnel ended", "tunnel left", "reset left", "reset_upload left"}
    good |= {"oversized 431", "oversized nothing", "smuggled 400", "smuggled 501", "smuggled nothing"}
    good |= {"misled 200", "misled 502", "misled 504", "misled cut"}
    assert set(outcomes) <= good
    assert outcomes["smuggled 400"]
    assert outcomes["oversized 431"]

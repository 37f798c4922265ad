"""Chains: one engine reads where another has written, behind one PASID and with its translations; and how they end."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import wdasync
from wdasync import Accelerator, FaultResponse, PageFault
from wdasync.operations import Kind
from wdasync.results import Observation
from wdasync_hip08.functions import SEC, ZIP
from wdasync_hip08.machine import Machine
from wdasync_hip08.trace import Recorder, TraceEvent
from wdasync_uacce.memory import address_of
from wdasync_uacce.requests import Workshop

pytestmark = pytest.mark.anyio

PAGE = 4096
TEXT = b"".join(f"line {number} of a text that goes through a chain.\n".encode() for number in range(3000))
PACKED = gzip.compress(TEXT)
SECRET, NONCE = bytes(range(32)), bytes(12)
SEALED = AESGCM(SECRET).encrypt(NONCE, TEXT, b"header")


class Between:
    """An observer that does something after each operation of a kind, before the next step begins."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.act: Callable[[], object] = lambda: None
        self.seen: list[tuple[Kind, str]] = []

    def __call__(self, seen: Observation) -> None:
        self.seen.append((seen.kind, seen.backend))
        if seen.kind is self.kind:
            self.act()


def machine_of(acc: Accelerator) -> Machine:
    """The chip of an accelerator that is the only one of its settings."""
    device = next(place.device for place in acc._execution.schedule.places if place.backend == "hip08")
    return device.machine  # type: ignore[attr-defined,no-any-return]  # an emulated one


def settle(machine: Machine) -> None:
    """What the chip does before each access: pages without a grant go, and their translations."""
    with machine.lock:
        machine.chip.frames.settle()


def accesses(machine: Machine, stream: int, op: str) -> dict[int, list[TraceEvent]]:
    """Translations of a function's accesses in the program's address space, by page."""
    assert isinstance(machine.trace, Recorder)
    found: dict[int, list[TraceEvent]] = {}
    for event in machine.trace.events:
        told = event.details
        if event.track == "smmu" and told.get("stream") == stream and told["op"] == op and told["pasid"]:
            address = told["address"]
            assert isinstance(address, int)
            found.setdefault(address // PAGE, []).append(event)
    return found


def sealing(acc: Accelerator) -> Any:
    """Decompress, a checksum, encrypt: of the three the chip has no engine for the checksum."""
    key = acc.aead("aes-256-gcm", SECRET)
    return acc.sequence().decompress().crc32c().encrypt(key, NONCE, b"header")


async def test_the_second_engine_hits_what_the_first_brought_in(tmp_path: Path) -> None:
    between = Between(Kind.CHECKSUM)
    settings = {"chip": "private", "trace": str(tmp_path / "trace.txt"), "tlb_entries": 1024}
    async with wdasync.open_accelerator("hip08", observer=between, **settings) as acc:
        machine = machine_of(acc)
        between.act = lambda: settle(machine)  # As another program's access would.
        result = await sealing(acc).run(PACKED)
        assert result.output == SEALED
        assert result.seen[1] == await acc.crc32c(TEXT)
        places = ["hip08/hisi_zip-0", "cpu/cpu0", "hip08/hisi_sec2-0"]
        assert [place for _, place in between.seen[:3]] == places
        wrote, read = accesses(machine, ZIP.stream, "W"), accesses(machine, SEC.stream, "R")
        shared = sorted(set(wrote) & set(read))
        assert len(shared) in (len(TEXT) // PAGE + 1, len(TEXT) // PAGE + 2), "all of the text, once"
        assert shared == list(range(shared[0], shared[-1] + 1))
        for page in shared:
            first, then = wrote[page][0].details, read[page][0]
            assert then.name == "TLB hit"
            same = {name: first[name] for name in ("address", "pa", "pasid")}
            assert {name: then.details[name] for name in same} == same
            assert first["pasid"] == machine.process.pasid
        ports = {name: block.port.ledger for name, block in machine.chip.blocks.items()}
        pasid = machine.process.pasid
        assert ports[ZIP.name].written[pasid] == len(TEXT)
        assert len(TEXT) < ports[SEC.name].read[pasid] < len(TEXT) + 1024, "key, nonce, header, lists"
        assert ports[SEC.name].written[pasid] < len(TEXT) + 64
        assert all(lane.queue.extra.get("joined", 0) == 0 for lane in acc.statistics().lanes)
        assert machine.chip.frames.guard_violations == machine.chip.frames.stale_access == 0


@pytest.mark.parametrize("size", [1, 300, 1000, 5000, 70_000, 600_000])
async def test_no_copy_is_made_between_steps(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The object into which the one engine wrote is that which the other reads, however small it is."""
    kept: list[bytes] = []
    keep = Workshop.keep

    def spy(shop: Any, output: bytes) -> Any:
        kept.append(output)
        page, offset = divmod(address_of(output) + len(output) // 2, PAGE)
        grants = machine.process.pages[page].grants
        there.append(any(first <= offset < end and writable for first, end, writable in grants))
        return keep(shop, output)

    monkeypatch.setattr(Workshop, "keep", spy)
    given: list[object] = []
    there: list[bool] = []
    async with wdasync.open_accelerator("hip08", chip="private", fallback=False) as acc:
        machine = machine_of(acc)
        run = acc._execution.run

        async def watched(operation: Any, *rest: Any) -> Any:
            given.append(operation.source)
            return await run(operation, *rest)

        monkeypatch.setattr(acc._execution, "run", watched)
        key, text = acc.aead("aes-256-gcm", SECRET), os.urandom(size)
        result = await acc.sequence().compress().digest().encrypt(key, NONCE, b"header").run(text)
        assert gzip.decompress(AESGCM(SECRET).decrypt(NONCE, result.output, b"header")) == text
        assert given[1] is given[2] is kept[0]
        assert result.output is kept[1]
        assert there == [True, True], "it is where the engine was let write"
        assert result.seen[1] == hashlib.sha256(kept[0]).digest()
        counters = acc.statistics().devices["hip08/hisi_sec2-0"]
        assert counters["guard_violations"] == 0


@pytest.mark.parametrize(
    "trouble", [OSError(14, "no such page"), MemoryError("no memory to grant it")], ids=repr
)
async def test_an_output_that_cannot_be_kept_is_reached_anew(
    monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    def fail(shop: Any, output: bytes) -> Any:
        raise trouble

    monkeypatch.setattr(Workshop, "keep", fail)
    async with wdasync.open_accelerator("hip08", chip="private") as acc:
        assert (await sealing(acc).run(PACKED)).output == SEALED
        assert acc.statistics().retries == 0


@pytest.fixture(params=["sva", "private", "function", "reserved"])
async def acc(request: pytest.FixtureRequest) -> AsyncIterator[Accelerator]:
    async with wdasync.open_accelerator("hip08", chip="private", memory=request.param) as opened:
        yield opened
        assert machine_of(opened).chip.frames.guard_violations == 0


async def test_in_every_mode(acc: Accelerator) -> None:
    machine = machine_of(acc)
    before = machine.process.granted()
    for _ in range(3):
        result = await sealing(acc).run([PACKED[:9], bytearray(PACKED[9:])])
        assert result.output == SEALED
        back = acc.sequence().decrypt(acc.aead("aes-256-gcm", SECRET), NONCE, b"header").crc32()
        seen = await back.compress("zlib").run(result.output)
        assert zlib.decompress(seen.output) == TEXT
        assert seen.seen[1] == zlib.crc32(TEXT)
        assert machine.process.granted() == before, "nothing is kept when it is over"


async def test_an_input_whose_pages_come_as_the_first_engine_touches_them() -> None:
    text = os.urandom(5 * PAGE + 7)
    asked: list[int] = []

    async def pager(offset: int, nbytes: int) -> bytes:
        asked.append(offset)
        return text[offset : offset + nbytes]

    async with wdasync.open_accelerator("hip08", chip="private", fallback=False) as acc:
        key, buffer = acc.aead("aes-256-gcm", SECRET), wdasync.PagedBuffer(len(text), pager)
        result = await acc.sequence().digest().compress().encrypt(key, NONCE, b"header").run(buffer)
        assert gzip.decompress(AESGCM(SECRET).decrypt(NONCE, result.output, b"header")) == text
        assert result.seen[0] == hashlib.sha256(text).digest()
        assert sorted(asked) == list(range(0, len(text), PAGE))
        assert acc.statistics().faults == len(asked)


async def test_many_at_once() -> None:
    async with wdasync.open_accelerator("hip08", chip="private") as acc:
        machine = machine_of(acc)
        before = machine.process.granted()
        done = []

        async def one(number: int) -> None:
            text = TEXT + b"%d" % number
            nonce = number.to_bytes(12, "big")
            key = acc.aead("aes-256-gcm", SECRET)
            result = await acc.sequence().compress().decompress().encrypt(key, nonce).run(text)
            assert AESGCM(SECRET).decrypt(nonce, result.output, b"") == text
            done.append(number)

        async with anyio.create_task_group() as group:
            for number in range(24):
                group.start_soon(one, number)
        assert len(done) == 24
        assert machine.process.granted() == before
        assert machine.chip.frames.guard_violations == machine.chip.frames.stale_access == 0


# -- how it ends --------------------------------------------------------------------------------------------------------


async def test_an_error_names_its_step() -> None:
    async with wdasync.open_accelerator("hip08", chip="private") as acc:
        key = acc.aead("aes-256-gcm", SECRET)
        with pytest.raises(wdasync.InvalidTag, match=r"^step 1 of 2: open aes-256-gcm on hip08/hisi_sec2-0"):
            await acc.sequence().decrypt(key, NONCE, b"Header").decompress().run(SEALED)
        data = bytearray(b"no gzip")
        with pytest.raises(wdasync.DataError, match=r"^step 2 of 3: decompress gzip on hip08/hisi_zip-0"):
            await acc.sequence().crc32c().decompress().encrypt(key, NONCE).run(data)
        data.append(1)  # It is the caller's again, while the error still is there.


@pytest.mark.parametrize("fallback", [True, False])
async def test_a_device_that_is_lost_in_between(fallback: bool) -> None:
    """What lies between the steps is the program's memory: the step is done elsewhere, on the same."""
    between = Between(Kind.DECOMPRESS)
    settings: dict[str, Any] = {"chip": "private", "fallback": fallback, "reopen_delay": 1000.0}
    async with wdasync.open_accelerator("hip08", observer=between, **settings) as acc:
        machine = machine_of(acc)
        key = acc.aead("aes-256-gcm", SECRET)
        chain = acc.sequence().decompress().encrypt(key, NONCE, b"header")
        between.act = lambda: machine.remove(SEC.name)
        if fallback:
            assert (await chain.run(PACKED)).output == SEALED
            assert [place for _, place in between.seen] == ["hip08/hisi_zip-0", "cpu/cpu0"]
        else:
            with pytest.raises(wdasync.DeviceError, match=r"^step 2 of 2: "):
                await chain.run(PACKED)


async def test_a_device_that_is_lost_with_what_it_made() -> None:
    """The queue that made the output is closed; what it had kept reachable is ended once, and the text is there."""
    between = Between(Kind.DECOMPRESS)
    async with wdasync.open_accelerator("hip08", observer=between, chip="private") as acc:
        machine = machine_of(acc)
        between.act = lambda: machine.remove(ZIP.name)
        assert (await sealing(acc).run(PACKED)).output == SEALED
        assert machine.chip.frames.guard_violations == 0


async def test_a_key_that_is_revoked_between_two_steps() -> None:
    """What has begun goes on: the step with the key, too. Then the key is wiped, and nothing begins with it."""
    between = Between(Kind.DECOMPRESS)
    async with wdasync.open_accelerator("hip08", observer=between, chip="private") as acc:
        key = acc.aead("aes-256-gcm", SECRET)
        chain = acc.sequence().decompress().encrypt(key, associated_data=b"header")
        between.act = key.revoke
        assert (await chain.run(PACKED, nonces=[NONCE])).output == SEALED
        assert key._key.in_flight == 0
        with pytest.raises(wdasync.InvalidState, match="revoked"):
            _ = key._key.material
        with pytest.raises(wdasync.InvalidState, match="revoked"):
            await chain.run(PACKED, nonces=[NONCE])


class Pausing:
    """A fault handler that, once it is told to, lets the engine wait for a page until it may go on."""

    def __init__(self) -> None:
        self.on = False
        self.waits, self.go = anyio.Event(), anyio.Event()

    async def __call__(self, fault: PageFault) -> FaultResponse:
        if self.on:
            self.waits.set()
            await self.go.wait()
        return FaultResponse.SUCCESS


def paused_chip(between: Between, pause: Pausing) -> Any:
    """Engines fault at each page; after the first step they wait there."""
    between.act = lambda: setattr(pause, "on", True)
    return wdasync.open_accelerator(
        "hip08", chip="private", residency="cold", on_fault=pause, observer=between, fault_deadline=0
    )


async def test_cancelled_while_the_second_engine_works() -> None:
    """No step begins after it. The engine may still read what the first one made, and then nothing is kept."""
    between, pause = Between(Kind.DECOMPRESS), Pausing()
    async with paused_chip(between, pause) as acc:
        machine = machine_of(acc)
        before = machine.process.granted()
        key = acc.aead("aes-256-gcm", SECRET)
        async with anyio.create_task_group() as group:
            group.start_soon(acc.sequence().decompress().encrypt(key, NONCE).crc32c().run, PACKED)
            await pause.waits.wait()
            assert machine.process.granted() > before
            group.cancel_scope.cancel()
        pause.go.set()
        with anyio.fail_after(60):
            while machine.process.granted() != before:
                await anyio.lowlevel.checkpoint()
        assert Kind.CHECKSUM not in [kind for kind, _ in between.seen]
        assert machine.chip.frames.guard_violations == 0
        assert key._key.in_flight == 0


async def test_out_of_time_in_the_second_step() -> None:
    between, pause = Between(Kind.DECOMPRESS), Pausing()
    async with paused_chip(between, pause) as acc:
        key = acc.aead("aes-256-gcm", SECRET)
        with pytest.raises(wdasync.OperationTimeout, match=r"^step 2 of 2: .* within 3 s, got none"):
            await acc.sequence().decompress().encrypt(key, NONCE).run(PACKED, timeout=3)
        assert pause.waits.is_set()
        pause.go.set()


async def test_closed_in_the_second_step() -> None:
    between, pause = Between(Kind.DECOMPRESS), Pausing()
    acc = await paused_chip(between, pause)
    key = acc.aead("aes-256-gcm", SECRET)
    ended: list[object] = []

    async def run() -> None:
        try:
            await acc.sequence().decompress().encrypt(key, NONCE).run(PACKED)
        except wdasync.ClosedResourceError as error:
            ended.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await pause.waits.wait()
        await acc.aclose()
    assert len(ended) == 1


# -- which device -------------------------------------------------------------------------------------------------------


async def test_a_policy_that_sends_all_steps_elsewhere_sends_the_whole(tmp_path: Path) -> None:
    between = Between(Kind.SEQUENCE)
    rules = [{"operation": "*", "backend": "cpu"}]
    async with wdasync.open_accelerator("hip08", policy=rules, observer=between, chip="private") as acc:
        assert (await sealing(acc).run(PACKED)).output == SEALED
    assert between.seen == [(Kind.SEQUENCE, "cpu/cpu0")]

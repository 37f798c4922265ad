"""Our package on the kernel's uacce, with nothing in it replaced: what it does when all is well."""

import contextlib
import gzip
import json
import os
import random
import select
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import uvicorn

import wdasync
from examples import compress_server
from tests.guest.inside.device import Zip
from tests.guest.inside.support import ALONE, TEXT, command, part
from wdasync.backend import Device
from wdasync.operations import Compress
from wdasync.testing import check_backend
from wdasync.testing.conformance import CHECKS
from wdasync_uacce import LinuxFiles, backend

pytestmark = pytest.mark.usefixtures("one_device")

#: Operations on each event loop: few, or as many as the session was asked for.
OPERATIONS = int(os.environ.get("GUEST_OPERATIONS", "0")) or 1000


# ---- Discovery, contract, commands


def test_discovery(device: Zip) -> None:
    assert [info.name for info in backend.devices()] == ["hisi_zip-0"]
    node = LinuxFiles().discover()[0]
    assert (node.api, int(node.flags), node.algorithms) == ("hisi_qm_v2", 1, ("zlib", "gzip"))
    assert (node.mmio_size, node.dus_size, node.available_instances) == (8192, 151552, 64)
    assert (node.numa_node, node.isolated) == (0, False)


class Trouble:
    """Brings trouble on the device of a backend under examination."""

    #: A kernel that removes a device wakes nobody.
    silent = True

    def __init__(self, zip_device: Zip) -> None:
        self._zip = zip_device

    def stick(self, device: Device) -> Any:
        return self._stuck()

    def _stuck(self) -> Any:
        @contextlib.contextmanager
        def stuck() -> Iterator[None]:
            self._zip["drop"] = 1 << 30
            try:
                yield
            finally:
                self._zip["drop"] = 0

        return stuck()

    def lose(self, device: Device) -> None:
        self._zip.unbind()
        self._zip.bind()


@pytest.mark.parametrize("check", CHECKS)
def test_contract(device: Zip, check: str) -> None:
    check_backend("uacce", consuming=True, patience=30, provoker=Trouble(device), only=[check])


def test_devices_command(device: Zip) -> None:
    status, text = command("devices", "--json")
    assert status == 0
    [told] = [row for row in json.loads(text)["backends"] if row["name"] == "uacce"]
    assert [info["name"] for info in told["devices"]] == ["hisi_zip-0"]


def test_demo(device: Zip, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(TEXT)
    before = device["completed"]
    status, text = command("demo", "--seconds", "0.1", "--clients", "4", str(file))
    assert status == 0, text
    assert "uacce" in text
    assert device["completed"] > before


# ---- Operations


#: Units of many sizes: plain, and compressed as gzip.
SAMPLES = [(plain, gzip.compress(plain, 1)) for plain in (part(n, int(1.13**n)) for n in range(1, 75))]


async def storm(acc: wdasync.Accelerator, count: int, at_a_time: int = 48) -> None:
    """Units of random sizes, both ways; each is looked at."""
    chance = random.Random(5)
    left = iter(range(count))

    async def client() -> None:
        for number in left:
            plain, packed = chance.choice(SAMPLES)
            if number % 2:
                assert zlib.decompress(await acc.compress(plain, "zlib")) == plain
            else:
                assert await acc.decompress(packed, "gzip") == plain

    async with anyio.create_task_group() as group:
        for _ in range(at_a_time):
            group.start_soon(client)


@pytest.mark.anyio
@pytest.mark.timeout(max(300, OPERATIONS // 10))
async def test_many_operations(device: Zip) -> None:
    before = device["completed"]
    async with wdasync.open_accelerator("uacce", **ALONE) as acc:
        await storm(acc, OPERATIONS)
        statistics = acc.statistics()
    assert statistics.rescues == 0
    assert statistics.completed == OPERATIONS
    assert device["completed"] - before >= OPERATIONS
    assert device["bad_doorbells"] == 0


def test_a_program_that_does_not_sleep_for_more_than_a_lap_is_woken_afterwards(device: Zip) -> None:
    """The kernel's reader of the ring is not left behind: see ``test_poll_knows_a_completion_by_its_phase_alone``."""
    queue = backend.open(backend.devices()[0], None).open_queue(64, queue_class="compress")
    work = [(number, Compress(part(number, 40), "zlib")) for number in range(queue.depth)]
    for _ in range(1500 // queue.depth):
        assert queue.enqueue_burst(work) == len(work)
        left = len(work)
        while left:
            left -= len(queue.dequeue_burst(left))
            time.sleep(0)
    device["delay_us"] = 50_000
    queue.enqueue_burst(work[:1])
    poller = select.poll()
    poller.register(queue.fileno(), select.POLLIN)
    while not queue.dequeue_burst(1):
        if queue.arm():  # what poll() finds first may be old
            assert poller.poll(20_000) == [(queue.fileno(), select.POLLIN)]
    queue.stop()
    queue.close()


@pytest.mark.anyio
async def test_two_devices_share_the_work(two_devices: tuple[Zip, Zip]) -> None:
    async with wdasync.open_accelerator("uacce", **ALONE) as acc:
        await storm(acc, 200)
    assert all(each["completed"] > 50 for each in two_devices)


@pytest.mark.anyio
async def test_cancelled_operations(device: Zip) -> None:
    """The device writes into buffers until it is done, whoever has given up; afterwards it is as usable as before."""
    device["delay_us"] = 20_000
    async with wdasync.open_accelerator("uacce", **ALONE) as acc:
        for number in range(10):
            room = bytearray(8000)
            with anyio.move_on_after(0.001):
                await acc.compress_into(part(number), room, "gzip")
            after = bytes(room)
            await anyio.lowlevel.checkpoint()
            assert room == after
        device["delay_us"] = 0
        assert gzip.decompress(await acc.compress(TEXT, "gzip")) == TEXT
        assert acc.statistics().in_flight == 0
        assert acc.statistics().rescues == 0


# ---- Processes


def exit_status(pid: int) -> int:
    """Of a child, when it has ended; nothing else goes on here."""
    return os.waitpid(pid, 0)[1]


def test_two_processes_have_two_pasids(device: Zip) -> None:
    async def work() -> set[int]:
        async with wdasync.open_accelerator("uacce", **ALONE) as acc:
            assert gzip.decompress(await acc.compress(TEXT, "gzip")) == TEXT
            return {row["pasid"] for row in device.queues()}

    read, write = os.pipe()
    with contextlib.closing(LinuxFiles().open(device.name)):  # so that this process keeps its PASID
        [mine] = anyio.run(work)
        pid = os.fork()
        if not pid:
            os.write(write, json.dumps(sorted(anyio.run(work))).encode())
            os._exit(0)
        assert exit_status(pid) == 0
    both = json.loads(os.read(read, 100))
    assert len(both) == 2
    assert mine in both
    os.close(read)
    os.close(write)


def test_fork_while_it_is_open(device: Zip) -> None:
    """The child's default opens anew, and the parent's queue goes on."""

    async def parent() -> None:
        async with wdasync.open_accelerator("uacce", **ALONE) as acc:
            await acc.compress(TEXT, "gzip")
            pid = os.fork()
            if not pid:
                os._exit(_child())
            assert exit_status(pid) == 0
            assert gzip.decompress(await acc.compress(TEXT, "gzip")) == TEXT
            assert acc.statistics().rescues == 0

    anyio.run(parent)


def _child() -> int:
    told: list[bytes] = []

    async def work() -> None:
        async with wdasync.open_accelerator("uacce", **ALONE) as acc:
            told.append(await acc.compress(TEXT, "gzip"))

    # The parent's loop runs in this thread of the child too: a new one needs another.
    thread = threading.Thread(target=lambda: anyio.run(work))
    thread.start()
    thread.join()
    return 0 if told and gzip.decompress(told[0]) == TEXT else 1


# ---- A server


@pytest.mark.anyio
@pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {"use_uvloop": uvloop}) for uvloop in (False, True)], ids=str
)
async def test_a_web_server(device: Zip, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's application in uvicorn, and clients over real connections."""
    monkeypatch.setenv("WDASYNC_BACKEND", "uacce")
    before = device["completed"]
    server = uvicorn.Server(uvicorn.Config(compress_server.app, port=0, log_level="warning", ws="none"))
    async with anyio.create_task_group() as group:
        group.start_soon(server.serve)
        while not server.started:
            await anyio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]

        async def client() -> None:
            for _ in range(5):
                assert gzip.decompress(await get(port)) == compress_server.PAGE

        async with anyio.create_task_group() as clients:
            for _ in range(16):
                clients.start_soon(client)
        server.should_exit = True
    assert device["completed"] - before >= 80


async def get(port: int) -> bytes:
    """One page, compressed."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(
            b"GET / HTTP/1.1\r\nHost: guest\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"
        )
        answer = b""
        while True:
            try:
                answer += await stream.receive()
            except anyio.EndOfStream:
                break
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-encoding: gzip" in head.lower(), head
    if b"transfer-encoding: chunked" in head.lower():
        plain, rest = b"", body
        while True:
            size, _, rest = rest.partition(b"\r\n")
            if not int(size, 16):
                return plain
            plain, rest = plain + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body

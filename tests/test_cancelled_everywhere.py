"""Each public coroutine, cancelled at each of its awaits: nothing is lost, and what was the caller's stays as it was."""

import gzip
import hmac
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa

import wdasync
from wdasync import Accelerator

pytestmark = pytest.mark.anyio

PAGE = b"the same page again and again, " * 2000
PACKED = gzip.compress(PAGE)

#: Loop turns after which a coroutine has got through at least once.
TURNS = 400


class Buffers:
    """Memory of the caller's, as it was when its await ended."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytearray, bytes]] = []

    def __call__(self, nbytes: int) -> bytearray:
        memory = bytearray(nbytes)
        self.seen.append((memory, b""))
        return memory

    def note(self) -> None:
        """The await of the last one has ended."""
        if self.seen:
            memory, _ = self.seen[-1]
            self.seen[-1] = (memory, bytes(memory))

    def check(self) -> None:
        for memory, then in self.seen:
            assert memory == then, "somebody wrote after the await had ended"
            memory.extend(b"and nobody holds it")


async def _reset(acc: Accelerator, _: Buffers) -> None:
    async with acc.compressor() as stream:
        await stream.compress(PAGE)
        await stream.reset()
        assert gzip.decompress(await stream.finish(PAGE)) == PAGE


async def _step(acc: Accelerator, buffers: Buffers) -> None:
    source = buffers(len(PACKED))
    source[:] = PACKED
    async with acc.decompressor() as stream:
        output = await stream.decompress(source, max_length=1000)
        output += await stream.decompress()
        await stream.finish()
    assert output == PAGE


async def _paged(acc: Accelerator, _: Buffers) -> None:
    async def pager(offset: int, length: int) -> bytes:
        await anyio.lowlevel.checkpoint()
        return PAGE[offset : offset + length]

    assert gzip.decompress(await acc.compress(wdasync.PagedBuffer(len(PAGE), pager))) == PAGE


async def _faults(acc: Accelerator, _: Buffers) -> None:
    async with acc.faults() as faults:
        with anyio.move_on_after(0.001):
            async for _fault in faults:
                break


async def _default(acc: Accelerator, buffers: Buffers) -> None:
    assert gzip.decompress(await wdasync.compress(PAGE)) == PAGE
    assert await wdasync.decompress(PACKED) == PAGE
    assert await wdasync.decompress_into(PACKED, buffers(len(PAGE))) == len(PAGE)
    assert len(await wdasync.compress_many([PAGE, PAGE])) == 2


async def _digester(acc: Accelerator, buffers: Buffers) -> None:
    async with acc.digester("sha256", key=b"secret") as digester:
        await digester.update(buffers(50_000))
        await digester.reset()
        await digester.update(PAGE)
        assert await digester.finish() == hmac.digest(b"secret", PAGE, "sha256")


async def _sign(acc: Accelerator, buffers: Buffers) -> None:
    async with acc.private_key(KEY) as key:
        signature = await key.sign(buffers(1000), padding.PKCS1v15(), "sha256")
        assert len(signature) == 128


async def _seal(acc: Accelerator, buffers: Buffers) -> None:
    async with acc.aead("aes-256-gcm", bytes(32)) as aead:
        sealed = await aead.encrypt(bytes(12), buffers(50_000), b"header")
        assert await aead.decrypt(bytes(12), sealed, b"header") == bytes(50_000)


async def _key(acc: Accelerator, _: Buffers) -> None:
    async with acc.mac_key("hmac-sha256", b"secret") as key:
        await key.verify(await key.sign(PAGE), PAGE)


async def _sequence(acc: Accelerator, buffers: Buffers) -> None:
    key = acc.mac_key("hmac-sha256", b"secret")
    source = buffers(len(PACKED))
    source[:] = PACKED
    result = await acc.sequence().decompress().crc32().mac(key).compress().run(source)
    assert gzip.decompress(result.output) == PAGE
    await key.aclose()


KEY = rsa.generate_private_key(65537, 1024)

COROUTINES: dict[str, Callable[[Accelerator, Buffers], Awaitable[Any]]] = {
    "compress_into": lambda acc, buffers: acc.compress_into(PAGE, buffers(len(PAGE))),
    "decompress_into": lambda acc, buffers: acc.decompress_into(PACKED, buffers(len(PAGE))),
    "input of the caller's": lambda acc, buffers: acc.compress([buffers(50_000), b"x"]),
    "many": lambda acc, buffers: acc.compress_many([PAGE] * 20 + [buffers(5000)]),
    "execute": lambda acc, _: acc.execute(wdasync.Compress(PAGE, "gzip")),
    "reset": _reset,
    "step": _step,
    "paged": _paged,
    "faults": _faults,
    "default accelerator": _default,
    "digest": lambda acc, buffers: acc.digest([buffers(50_000), PAGE]),
    "digester": _digester,
    "code": lambda acc, buffers: acc.hmac(b"secret", [buffers(50_000), PAGE]),
    "copy": lambda acc, buffers: acc.copy(PAGE, buffers(len(PAGE))),
    "fill": lambda acc, buffers: acc.fill(buffers(len(PAGE)), 7),
    "compare": lambda acc, buffers: acc.compare(PAGE, buffers(len(PAGE))),
    "sign": _sign,
    "seal": _seal,
    "key": _key,
    "sequence": _sequence,
}


@pytest.mark.parametrize("backend", ["cpu", "mock"])
@pytest.mark.parametrize("name", COROUTINES)
async def test_a_coroutine(backend: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDASYNC_BACKEND", backend)
    buffers = Buffers()
    async with wdasync.open_accelerator(backend, inline=False, depth=8) as acc:
        ended = False
        for turns in range(TURNS):
            async with anyio.create_task_group() as group:

                async def run() -> None:
                    nonlocal ended
                    try:
                        await COROUTINES[name](acc, buffers)
                        ended = True
                    finally:
                        buffers.note()

                group.start_soon(run)
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
            if ended:
                break
        else:  # workers need their time, however many turns the loop makes
            await COROUTINES[name](acc, buffers)
            buffers.note()
        assert gzip.decompress(await acc.compress(PAGE)) == PAGE
        with anyio.fail_after(30):
            while acc.statistics().in_flight:
                await anyio.sleep(0.001)
        buffers.check()
        assert acc.statistics().rescues == 0
        for lane in acc.statistics().lanes:
            assert (lane.parked, lane.spurious, lane.resets) == (0, 0, 0)
    await (await wdasync.default_accelerator()).aclose()


@pytest.mark.parametrize("backend", ["cpu", "mock", "hip08"])
async def test_opening_and_closing(backend: str) -> None:
    for turns in range(30):
        opened: list[Accelerator] = []
        async with anyio.create_task_group() as group:

            async def run(opened: list[Accelerator]) -> None:
                opened.append(await wdasync.open_accelerator(backend, fallback=False))
                await opened[0].compress(PAGE)
                await opened[0].aclose()

            group.start_soon(run, opened)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        for acc in opened:
            await acc.aclose()
            assert not acc.is_open
            assert acc.statistics().in_flight == 0

"""Tiny work is done at once: the same output, the same errors, no operation, and nobody waits for long."""

import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import wdasync
from tests.cpu.sealed import ANYBODY, WAYS, needs_openssl, sealed_by
from wdasync import Accelerator
from wdasync.errors import ClosedResourceError, InvalidArgument, InvalidState, InvalidTag
from wdasync.results import Observation

pytestmark = pytest.mark.anyio

KEY, NONCE = bytes(range(32)), bytes(12)
SIZES = (0, 1, 55, 56, 63, 64, 65, 1000, 1024, 2048, 40_000)


@pytest.fixture
async def acc() -> AsyncIterator[Accelerator]:
    async with wdasync.open_accelerator("cpu", inline_tiny=1_000_000) as opened:
        yield opened
        assert opened.statistics().rescues == 0


def inline(acc: Accelerator) -> int:
    return acc.statistics().reasons.get("inline", 0)


def submitted(acc: Accelerator) -> int:
    return sum(lane.submitted for lane in acc.statistics().lanes)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "sha1", "md5", "sm3", "sha512-256"])
async def test_digests(acc: Accelerator, algorithm: str, size: int) -> None:
    data = os.urandom(size)
    expected = hashlib.new(algorithm.replace("-", "_"), data).digest()
    for given in (data, data, bytearray(data), memoryview(data), [data[:5], data[5:]]):
        assert await acc.digest(given, algorithm) == expected


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bits", [128, 192, 256])
@pytest.mark.parametrize("who", [*WAYS, ANYBODY])
async def test_aes_gcm(who: str, bits: int, size: int) -> None:
    with sealed_by(who):
        async with wdasync.open_accelerator("cpu", inline_tiny=1_000_000) as acc:
            await seal_and_open(acc, bits, size)
            assert who == ANYBODY or inline(acc) > 12 or size > 16 << 10


async def seal_and_open(acc: Accelerator, bits: int, size: int) -> None:
    data, key = os.urandom(size), KEY[: bits // 8]
    aead = acc.aead(f"aes-{bits}-gcm", key)
    for aad in (None, b"", b"header", bytearray(b"header")):
        sealed = AESGCM(key).encrypt(NONCE, data, None if aad is None else bytes(aad))
        for give in (bytes, bytearray):
            assert await aead.encrypt(give(NONCE), give(data), aad) == sealed
            assert await aead.decrypt(give(NONCE), give(sealed), aad) == data
        for wrong in (sealed[:-1] + bytes([sealed[-1] ^ 1]), sealed[:-1], b"short", b""):
            with pytest.raises(InvalidTag):
                await aead.decrypt(NONCE, wrong, aad)


@pytest.mark.parametrize("length", [12, 15])
async def test_other_tags(acc: Accelerator, length: int) -> None:
    aead = acc.aead("aes-256-gcm", KEY, tag_length=length)
    sealed = await aead.encrypt(NONCE, b"text")
    assert sealed == AESGCM(KEY).encrypt(NONCE, b"text", None)[: 4 + length]
    assert await aead.decrypt(NONCE, sealed) == b"text"


@needs_openssl
async def test_it_is_no_operation(acc: Accelerator) -> None:
    aead = acc.aead("aes-256-gcm", KEY)
    await aead.decrypt(NONCE, await aead.encrypt(NONCE, b"text"))  # the key is told of, the ways are found
    await acc.digest(b"data")
    before, sent = inline(acc), submitted(acc)
    for _ in range(10):
        await acc.digest(b"data")
        await aead.decrypt(NONCE, await aead.encrypt(NONCE, b"text"))
    assert inline(acc) == before + 30
    assert submitted(acc) == sent


@needs_openssl
async def test_what_is_longer_goes_away() -> None:
    async with wdasync.open_accelerator("cpu", inline_budget=0) as acc:
        await acc.digest(b"x")  # tiny, whatever the budget is
        assert (inline(acc), submitted(acc)) == (1, 0)
        await acc.digest(bytes(50_000))
        assert (inline(acc), submitted(acc)) == (1, 1)


@pytest.mark.parametrize(
    "settings",
    [
        {"inline_tiny": 0, "inline_budget": 0},
        {"inline": False},
        {"policy": [wdasync.Rule("cpu", operation="digest")], "inline_budget": 0},
    ],
)
async def test_it_can_be_turned_off(settings: dict[str, object]) -> None:
    async with wdasync.open_accelerator("cpu", **settings) as acc:
        assert await acc.digest(b"data") == hashlib.sha256(b"data").digest()
        assert (inline(acc), submitted(acc)) == (0, 1)


async def test_a_rule_is_heard() -> None:
    """Small digests go where a rule sends them."""
    rules = [wdasync.Rule("mock", operation="digest", max_size=10)]
    async with wdasync.open_accelerator(["mock", "cpu"], policy=rules) as acc:
        await acc.digest(bytes(5))
        await acc.digest(bytes(5))
        ran = sum(lane.submitted for lane in acc.statistics().lanes if "mock" in lane.name)
        assert ran == 2


async def test_an_observer_sees_it() -> None:
    seen: list[Observation] = []
    async with wdasync.open_accelerator("cpu", observer=seen.append) as acc:
        await acc.digest(b"data")
        await acc.aead("aes-256-gcm", KEY).encrypt(NONCE, b"text")
    assert [one.kind.name for one in seen] == ["DIGEST", "SEAL"]


async def test_bad_arguments_are_told_as_ever(acc: Accelerator) -> None:
    aead = acc.aead("aes-256-gcm", KEY)
    for _ in range(2):  # before and after the way is known
        with pytest.raises(wdasync.UnsupportedOperation, match="no-such"):
            await acc.digest(b"data", "no-such")
        with pytest.raises(InvalidArgument):
            await acc.digest(b"data", ["sha256"])  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument, match="data: expected"):
            await acc.digest("text")  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument, match="priority"):
            await acc.digest(b"data", priority=1)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument, match="timeout"):
            await acc.digest(b"data", timeout=-1)
        with pytest.raises(InvalidArgument, match="nonce"):
            await aead.encrypt(bytes(13)[:0], b"text")
        with pytest.raises(InvalidArgument, match="nonce"):
            await aead.encrypt("nonce", b"text")  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument, match="associated_data"):
            await aead.encrypt(NONCE, b"text", "header")  # type: ignore[arg-type]
        assert await acc.digest(b"data") == hashlib.sha256(b"data").digest()
        assert await aead.encrypt(NONCE, b"text") == AESGCM(KEY).encrypt(NONCE, b"text", None)


async def test_a_revoked_key(acc: Accelerator) -> None:
    aead = acc.aead("aes-256-gcm", KEY)
    sealed = await aead.encrypt(NONCE, b"text")
    await aead.decrypt(NONCE, sealed)
    aead.revoke()
    for _ in range(2):
        with pytest.raises(InvalidState, match="revoked"):
            await aead.encrypt(NONCE, b"text")
        with pytest.raises(InvalidState, match="revoked"):
            await aead.decrypt(NONCE, sealed)


async def test_a_closed_accelerator(acc: Accelerator) -> None:
    aead = acc.aead("aes-256-gcm", KEY)
    await aead.encrypt(NONCE, b"text")
    await acc.digest(b"data")
    await acc.aclose()
    with pytest.raises(ClosedResourceError):
        await acc.digest(b"data")
    with pytest.raises((ClosedResourceError, InvalidState)):
        await aead.encrypt(NONCE, b"text")


async def test_another_thread_and_loop(acc: Accelerator) -> None:
    await acc.digest(b"data")

    def elsewhere() -> None:
        async def use() -> None:
            await acc.digest(b"data")

        with pytest.raises(wdasync.ForeignLoopError):
            anyio.run(use)
        coroutine = acc.digest(b"data")
        with pytest.raises(wdasync.ForeignLoopError):
            coroutine.send(None)

    await anyio.to_thread.run_sync(elsewhere)


async def test_a_lost_lane_is_not_used(acc: Accelerator) -> None:
    """As any operation it fails, or goes elsewhere."""
    await acc.digest(b"data")
    (lane,) = acc._execution.schedule.places[0].every
    lane.lose("for a test")
    with pytest.raises((wdasync.DeviceError, wdasync.BackendUnavailable)):
        await acc.digest(b"data")


async def test_the_others_run_in_between() -> None:
    """Who has tiny work without end lets all others go on when the budget of the turn is spent."""
    async with wdasync.open_accelerator("cpu", inline_budget=50_000) as acc:
        turns = 0
        going = True

        async def other() -> None:
            nonlocal turns
            while going:
                turns += 1
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            group.start_soon(other)
            for _ in range(5000):
                await acc.digest(b"data")
            going = False
        assert turns >= 20  # each costs more than a hundredth of the budget


async def test_a_cancelled_task_hears_of_it(acc: Accelerator) -> None:
    await acc.digest(b"data")
    with anyio.CancelScope() as scope:
        scope.cancel()
        for _ in range(100_000):
            await acc.digest(b"data")
        pytest.fail("it never heard of it")
    assert scope.cancelled_caught


@needs_openssl
async def test_much_in_flight_does_not_matter() -> None:
    async with wdasync.open_accelerator("cpu", inline_in_flight=0) as acc, anyio.create_task_group() as group:
        await acc.digest(b"data")
        before = inline(acc)
        for _ in range(8):
            group.start_soon(acc.compress, bytes(1 << 20))
        await anyio.lowlevel.checkpoint()
        await acc.digest(b"data")
        assert inline(acc) == before + 1


def test_a_forked_child_is_told() -> None:
    """An accelerator of its parent's is none of its own, for tiny work too."""
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=60)


FORK = """
import asyncio, os, sys
import wdasync

async def main():
    async with wdasync.open_accelerator("cpu") as acc:
        await acc.digest(b"data")
        child = os.fork()
        if not child:
            try:
                await acc.digest(b"data")
            except wdasync.ForeignLoopError:
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0

asyncio.run(main())
"""

"""A key on its way: devices are told of it once, it is wiped when nobody uses it, and its operations can go elsewhere."""

import copy
import gc
import gzip
import hmac
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import wdasync
from wdasync.backend import DigestSpec
from wdasync.errors import ClosedResourceError, InvalidState, Status, UnsupportedOperation
from wdasync.operations import Key, KeySpec, Mac
from wdasync.testing._digests import MockKey
from wdasync.testing.mock import MockDevice, Program, backend

SECRET = b"not to be seen"
DATA = b"data of a program"
ANSWER = hmac.digest(SECRET, DATA, "sha256")


@pytest.fixture
def program() -> Iterator[Program]:
    with backend.programmed() as program:
        yield program
        assert not program.complaints
        assert not program.devices


def opened(**settings: Any) -> wdasync.lifecycle.Opening:
    return wdasync.open_accelerator("mock", fallback=False, **settings)


def mac(key: Key) -> Mac:
    return Mac(key, DATA, "hmac-sha256")


class Told:
    """Counts the keys that devices were told of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys: list[MockKey] = []
        before = MockDevice.open_key

        def open_key(device: MockDevice, spec: KeySpec) -> MockKey:
            key = before(device, spec)
            assert isinstance(key, MockKey)
            self.keys.append(key)
            return key

        monkeypatch.setattr(MockDevice, "open_key", open_key)

    @property
    def known(self) -> int:
        return sum(not key.closed for key in self.keys)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(monkeypatch)


# -- without a device ---------------------------------------------------------------------------------------------------


def test_a_secret_is_copied_and_wiped() -> None:
    given = bytearray(SECRET)
    key = Key(given, "a key")
    given[:] = bytes(len(given))
    held = key.material
    assert held == SECRET
    key.revoke()
    assert held == bytes(len(SECRET))
    key.revoke()
    with pytest.raises(InvalidState, match="revoked"):
        _ = key.material
    with pytest.raises(InvalidState, match="revoked"):
        key.begin()


def test_a_key_that_nobody_holds_is_wiped() -> None:
    key = Key(SECRET, "a key")
    held = key.material
    del key
    gc.collect()
    assert held == bytes(len(SECRET))


def test_what_has_begun_may_go_on() -> None:
    ended: list[bool] = []
    key = Key(SECRET, "a key")
    key.on_wiped.append(lambda: ended.append(True))
    key.use()
    key.revoke()
    key.begin()
    assert key.material == SECRET
    for new in (key.check, key.use):
        with pytest.raises(InvalidState, match="revoked"):
            new()
    key.end()
    assert not ended
    key.end()
    assert ended == [True]


@pytest.mark.parametrize("leak", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_key_is_not_copied(leak: Any) -> None:
    with pytest.raises(TypeError, match="no copy of a key"):
        leak(Key(SECRET, "a key"))


def test_a_secret_is_not_printed() -> None:
    key = Key(SECRET, "a key")
    for shown in (key, mac(key), KeySpec("hmac-sha256", SECRET), DigestSpec("hmac-sha256", SECRET)):
        assert "seen" not in repr(shown)
    key.revoke()
    assert repr(key) == "<a key, revoked>"


# -- on devices ---------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_device_is_told_once(program: Program, told: Told) -> None:
    key = Key(SECRET, "a key")
    async with opened() as acc:
        for _ in range(3):
            assert (await acc.execute(mac(key))).output == ANSWER
        await acc.execute(mac(key), priority=wdasync.Priority.HIGH)
        await acc.execute(Mac(key, DATA, "hmac-sha1"))
        assert len(told.keys) == told.known == 2
        assert key.in_flight == 0
    assert told.known == 0
    assert key.material == SECRET


@pytest.mark.anyio
@pytest.mark.parametrize("inline_cost", [0, 1])
async def test_every_way_hands_it_over(program: Program, told: Told, inline_cost: int) -> None:
    """The fast way, the one with a time-out, and the caller's thread."""
    program.change(inline_cost=inline_cost)
    key = Key(SECRET, "a key")
    async with opened() as acc:
        for timeout in (None, None, 5.0):
            completion = await acc._run(mac(key), timeout, wdasync.Priority.NORMAL)
            assert completion.output == ANSWER
        assert (await acc.execute(mac(key))).queue == ("inline" if inline_cost else "mock/mock-0")
    assert len(told.keys) == 1


@pytest.mark.anyio
async def test_an_operation_may_run_again(program: Program) -> None:
    operation = mac(Key(SECRET, "a key"))
    async with opened() as acc:
        for _ in range(2):
            assert (await acc.execute(operation)).output == ANSWER


@pytest.mark.anyio
async def test_revoked_while_it_is_used(program: Program, told: Told) -> None:
    key = Key(SECRET, "a key")
    outputs: list[bytes | None] = []
    async with opened() as acc:
        program.hold()

        async def use() -> None:
            outputs.append((await acc.execute(mac(key))).output)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(use)
            await until(lambda: key.in_flight == 2)
            key.revoke()
            assert told.known == 1
            with pytest.raises(InvalidState, match="revoked"):
                await acc.execute(mac(key))
            with pytest.raises(InvalidState, match="revoked"):
                await acc._run(mac(key), None, wdasync.Priority.NORMAL)
            program.release()
        assert outputs == [ANSWER]
        assert (told.known, key.in_flight) == (0, 0)


@pytest.mark.anyio
async def test_a_device_that_goes_on_keeps_it(program: Program, told: Told) -> None:
    """The caller has gone; the device has not done with it."""
    key = Key(SECRET, "a key")
    async with opened() as acc:
        await acc.execute(mac(key))
        program.hold()
        with anyio.move_on_after(0.01):
            await acc.execute(mac(key))
        key.revoke()
        assert (key.in_flight, told.known) == (1, 1)
        program.release()
        await until(lambda: key.in_flight == 0)
        assert told.known == 0


@pytest.mark.anyio
async def test_withdrawn_it_is_let_go_at_once(program: Program, told: Told) -> None:
    program.change(engines=1)
    first, second = Key(SECRET, "a key"), Key(SECRET, "another")
    async with opened() as acc:
        await acc.execute(mac(first))
        program.hold()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(acc.execute, mac(first))
            await until(lambda: first.in_flight == 2)
            with anyio.move_on_after(0.01):
                await acc.execute(mac(second))
            assert second.in_flight == 0
            second.revoke()
            assert told.known == 1
            program.release()


@pytest.mark.anyio
async def test_a_device_that_does_not_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(device: MockDevice, spec: KeySpec) -> MockKey:
        if device.info.name == "mock-0":
            raise UnsupportedOperation("mock-0: expected a shorter key")
        return MockKey(device, spec)

    monkeypatch.setattr(MockDevice, "open_key", refuse)
    key = Key(SECRET, "a key")
    with backend.programmed(devices=2):
        async with opened() as acc:
            results = [await acc.execute(mac(key)) for _ in range(4)]
            assert {result.device for result in results} == {"mock-1"}
            assert {result.output for result in results} == {ANSWER}
            assert wdasync.Reason.UNSUPPORTED in {result.reason for result in results}
        async with opened() as acc:
            assert (await acc._run(mac(key), None, wdasync.Priority.NORMAL)).output == ANSWER
            assert (await acc._run(mac(key), None, wdasync.Priority.NORMAL)).output == ANSWER
    assert key.in_flight == 0


@pytest.mark.anyio
@pytest.mark.parametrize("inline_cost", [0, 1])
async def test_nobody_takes_it(program: Program, monkeypatch: pytest.MonkeyPatch, inline_cost: int) -> None:
    def refuse(device: MockDevice, spec: KeySpec) -> MockKey:
        raise UnsupportedOperation(f"{device.info.name}: expected a shorter key")

    monkeypatch.setattr(MockDevice, "open_key", refuse)
    program.change(inline_cost=inline_cost)
    key = Key(SECRET, "a key")
    async with opened() as acc:
        for _ in range(2):
            with pytest.raises(UnsupportedOperation, match="expected a shorter key"):
                await acc.execute(mac(key))
            with pytest.raises(UnsupportedOperation, match="expected a shorter key"):
                await acc._run(mac(key), None, wdasync.Priority.NORMAL)
    assert key.in_flight == 0


@pytest.mark.anyio
async def test_a_device_without_keys(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(MockDevice, "open_key")
    async with opened() as acc:
        with pytest.raises(UnsupportedOperation, match="mock-0 takes no keys"):
            await acc.execute(mac(Key(SECRET, "a key")))


@pytest.mark.anyio
async def test_a_device_that_fails_while_it_is_told(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(device: MockDevice, spec: KeySpec) -> MockKey:
        raise wdasync.DeviceError("no answer")

    monkeypatch.setattr(MockDevice, "open_key", fail)
    async with opened() as acc:
        with pytest.raises(wdasync.DeviceError, match="no answer"):
            await acc.execute(mac(Key(SECRET, "a key")))


@pytest.mark.anyio
async def test_a_lost_device_is_told_again(told: Told) -> None:
    key = Key(SECRET, "a key")
    soon = {"reopen_delay": 0.005, "reopen_limit": 0.02, "safety_interval": 0.02}
    with backend.programmed(devices=2) as program:
        async with opened(**soon) as acc:
            for _ in range(4):
                assert (await acc.execute(mac(key))).output == ANSWER
            assert len(told.keys) == 2
            program.lose_device()
            for _ in range(4):
                assert (await acc.execute(mac(key))).output == ANSWER
            program.return_device()
            await until(lambda: acc.statistics().places[0].returns == 1)
            for _ in range(4):
                assert (await acc.execute(mac(key))).output == ANSWER
            assert (len(told.keys), told.known) == (3, 2)
    assert told.known == 0


@pytest.mark.anyio
async def test_moved_when_its_device_fails(told: Told) -> None:
    """It is stateless: another device does it."""
    key = Key(SECRET, "a key")
    with backend.programmed(devices=2) as program:
        async with opened() as acc:
            program.fail(Status.DEVICE_ERROR, count=1)
            result = await acc.execute(mac(key))
            assert (result.output, result.reason) == (ANSWER, wdasync.Reason.RETRY)
            assert len(told.keys) == 2


@pytest.mark.anyio
async def test_closed_meanwhile(program: Program, told: Told) -> None:
    key = Key(SECRET, "a key")
    async with opened(close_timeout=0.01) as acc:
        await acc.execute(mac(key))
        program.hold()

        async def use() -> None:
            with pytest.raises(ClosedResourceError):
                await acc.execute(mac(key))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(use)
            await until(lambda: key.in_flight == 2)
            await acc.aclose()
    assert (key.in_flight, told.known) == (0, 0)


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(20):
        while not condition():
            await anyio.lowlevel.checkpoint()


@pytest.mark.anyio
@pytest.mark.parametrize("status", [Status.DEVICE_ERROR, Status.ABORTED], ids=lambda status: status.name)
async def test_what_goes_over_its_input_is_not_sent_again(status: Status) -> None:
    """The device may have written already: what is encrypted twice is not encrypted."""
    apart, page = bytearray(1000), b"page " * 100
    together = bytearray(page + bytes(500))
    with backend.programmed(devices=2) as program:
        async with opened() as acc:
            program.fail(status, count=1)
            result = await acc.execute(wdasync.Compress(memoryview(page), "gzip", into=apart))
            assert gzip.decompress(apart[: result.produced]) == page
            assert acc.statistics().retries == 1
            program.fail(status, count=1)
            with pytest.raises(wdasync.WdasyncError) as caught:
                await acc.execute(wdasync.Compress(memoryview(together)[:500], "gzip", into=together))
            assert caught.value.status is status
            assert acc.statistics().retries == 1
            assert together[:500] == page

"""A compressing stream whose device goes away, or that the policy moves, goes on elsewhere."""

from __future__ import annotations

import gzip
import random
import zlib
from typing import Any

import anyio
import pytest

import wdasync
from wdasync import Capabilities, Capability, Kind, Rule, buffers
from wdasync.backend import Direction, StreamSpec
from wdasync.handover import BOUNDARY, Ledger
from wdasync.operations import Flush
from wdasync.testing.mock import Options, Program, backend

pytestmark = pytest.mark.anyio

WBITS = {"gzip": 31, "zlib": 15, "deflate": -15}


#: Lost devices are tried again at once.
SOON = {"reopen_delay": 0.002, "reopen_limit": 0.01}


def prose(size: int, seed: int = 0) -> bytes:
    chance = random.Random(seed)
    vocabulary = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(3000)]
    return " ".join(chance.choices(vocabulary, k=size // 6)).encode().ljust(size, b".")[:size]


def unpack(data: bytes, algorithm: str) -> bytes:
    decoder = zlib.decompressobj(WBITS[algorithm])
    output = decoder.decompress(data)
    assert decoder.eof
    assert not decoder.unused_data
    return output


def mock_of(acc: wdasync.Accelerator) -> Any:
    return next(place.device for place in acc._places if place.backend == "mock")


def unplug(device: Any, after: int = 0) -> None:
    """It goes away, and does not come back."""
    device.absent = True
    device.lose("unplugged", after)


async def back(acc: wdasync.Accelerator, program: Program) -> None:
    """All devices are there again, and have been brought back."""
    for device in program.devices:
        device.absent = False
    with anyio.fail_after(20):
        while any(place.state == "lost" for place in acc.statistics().places):
            await anyio.sleep(0.002)


def opened(*names: str, **options: Any) -> Any:
    return wdasync.open_accelerator(names or ("mock", "cpu"), **options)


@pytest.mark.parametrize("algorithm", WBITS)
@pytest.mark.parametrize("chunk", [1000, 70_000, 600_000])
@pytest.mark.parametrize("lost_at", [0, 1, 5])
async def test_a_lost_device_does_not_lose_the_stream(algorithm: str, chunk: int, lost_at: int) -> None:
    content = prose(chunk * 8)
    with backend.programmed(Program()):
        async with opened() as acc, acc.compressor(algorithm) as stream:
            assert stream.device == "mock/mock-0"
            output = b""
            for number in range(8):
                if number == lost_at:
                    unplug(mock_of(acc), after=1)
                output += await stream.compress(content[number * chunk : (number + 1) * chunk])
                if number == 3:
                    output += await stream.flush()
            output += await stream.finish()
            assert stream.device == "cpu/cpu0"
            assert acc.statistics().reasons["device_lost"] == 1
    assert unpack(output, algorithm) == content


@pytest.mark.parametrize("algorithm", WBITS)
async def test_what_was_delivered_stands(algorithm: str) -> None:
    """Everything before the loss was decodable, and stays the beginning."""
    content = prose(500_000)
    with backend.programmed(Program()):
        async with opened() as acc, acc.compressor(algorithm, level=6) as stream:
            first = await stream.compress(content[:300_000])
            decoder = zlib.decompressobj(WBITS[algorithm])
            assert decoder.decompress(first) == content[:300_000], "a boundary every 256 KiB"
            assert await stream.compress(content[300_000:400_000]) == b"", "held back until the next one"
            unplug(mock_of(acc))
            second = await stream.compress(content[400_000:]) + await stream.flush()
            assert decoder.decompress(second) == content[300_000:]
            rest = await stream.finish(b"the end")
            assert decoder.decompress(rest) == b"the end"
            assert decoder.eof


async def test_the_history_goes_along() -> None:
    """What the last 32 KiB hold is not written again: RFC 1951 reaches so far back."""
    block = random.Random(1).randbytes(20_000)
    with backend.programmed(Program()):
        async with opened() as acc, acc.compressor("gzip", level=6) as stream:
            output = await stream.compress(block) + await stream.flush()
            unplug(mock_of(acc))
            again = await stream.compress(block) + await stream.finish()
    assert len(again) < 1000
    assert unpack(output + again, "gzip") == block * 2


async def test_after_a_full_flush_nothing_is_referred_to() -> None:
    block = random.Random(1).randbytes(5000)
    with backend.programmed(Program()):
        async with opened() as acc, acc.compressor("deflate", level=6) as stream:
            output = await stream.compress(block) + await stream.flush("full")
            unplug(mock_of(acc))
            again = await stream.compress(block) + await stream.finish()
    assert zlib.decompress(again, -15) == block
    assert unpack(output + again, "deflate") == block * 2


@pytest.mark.parametrize("algorithm", WBITS)
async def test_the_cost_in_size(algorithm: str) -> None:
    """One hand-over costs some hundred bytes of half a million; boundaries cost less than 0.3 %."""
    content = prose(2_000_000)
    async with opened("cpu") as acc, acc.compressor(algorithm, level=6) as stream:
        plain = len(await stream.compress(content) + await stream.finish())
    sizes = []
    for lost in (False, True):
        with backend.programmed(Program()):
            async with opened() as acc, acc.compressor(algorithm, level=6) as stream:
                output = await stream.compress(content[:1_000_000])
                if lost:
                    unplug(mock_of(acc))
                for start in range(1_000_000, 2_000_000, 50_000):
                    output += await stream.compress(content[start : start + 50_000])
                output += await stream.finish()
        assert unpack(output, algorithm) == content
        sizes.append(len(output))
    assert max(sizes) < plain * 1.003, (plain, sizes)


async def test_twice() -> None:
    """From one device to the next, and on; the second has no dictionaries, and the stream goes on without."""
    content = prose(900_000)
    with backend.programmed(Program(Options(devices=2))) as program:
        async with opened() as acc, acc.compressor("gzip") as stream:
            output = await stream.compress(content[:300_000])
            for device in list(program.devices):
                if stream.device.endswith(device.info.name):
                    unplug(device)
            output += await stream.compress(content[300_000:600_000])
            assert stream.device.startswith("mock/")
            for device in list(program.devices):
                unplug(device)
            output += await stream.compress(content[600_000:]) + await stream.finish()
            assert stream.device == "cpu/cpu0"
    assert gzip.decompress(output) == content


async def test_a_device_that_comes_back() -> None:
    """The schedule prefers it, so at a boundary the stream may return; it has no dictionaries, and goes on without."""
    content = prose(3_000_000)
    with backend.programmed(Program()):
        async with opened() as acc, acc.compressor("gzip") as stream:
            output = b""
            for start in range(0, len(content), 100_000):
                if start in (500_000, 1_500_000):
                    mock_of(acc).lose("reset by somebody")
                output += await stream.compress(content[start : start + 100_000])
            output += await stream.finish()
            assert acc.statistics().retries >= 1
    assert gzip.decompress(output) == content


async def test_a_lost_stream_without_another_device() -> None:
    """As before: a typed error, and a stream that says that it is poisoned."""
    with backend.programmed(Program()):
        async with opened("mock", fallback=False) as acc, acc.compressor("gzip") as stream:
            await stream.compress(b"some")
            unplug(mock_of(acc))
            with pytest.raises(wdasync.DeviceError):
                await stream.compress(b"more")
            with pytest.raises(wdasync.InvalidState, match="poisoned"):
                await stream.compress(b"more")


async def test_a_lost_stream_whose_other_device_has_no_queue() -> None:
    """Nobody can go on with it: the error is that of the loss."""
    with backend.programmed(Program(Options(devices=2, nodes=(0, 1)))) as program:
        async with (
            wdasync.open_accelerator("mock", fallback=False, open_queues="sync:1@0") as acc,
            acc.compressor("gzip") as stream,
        ):
            await stream.compress(b"some")
            unplug(program.devices[0])
            with pytest.raises(wdasync.DeviceError, match="unplugged"):
                await stream.compress(b"more")
            with pytest.raises(wdasync.InvalidState, match="poisoned"):
                await stream.compress(b"more")


async def test_very_many_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that was kept is one segment for the next device, however many pieces it came in."""
    monkeypatch.setattr(buffers, "MAX_SEGMENTS", 8)
    with backend.programmed(Program()):
        async with opened() as acc, acc.compressor("gzip") as stream:
            for number in range(100):
                await stream.compress(b"%d," % number)
            unplug(mock_of(acc))
            output = await stream.finish()
            assert stream.device == "cpu/cpu0"
    assert gzip.decompress(output) == b"".join(b"%d," % number for number in range(100))


async def test_an_error_that_is_kept_pins_no_memory() -> None:
    mine = bytearray(b"some")
    with backend.programmed(Program(Options(devices=2))) as program:
        async with opened("mock", fallback=False) as acc, acc.compressor("gzip") as stream:
            for device in program.devices:
                unplug(device)
            with pytest.raises(wdasync.DeviceError) as caught:
                await stream.compress(mine)
            mine.extend(b"nobody holds it")
    assert caught.value


async def test_an_observer_is_told_of_a_step_after_the_loss() -> None:
    seen: list[wdasync.Observation] = []
    with backend.programmed(Program()) as program:
        async with opened("mock", fallback=False, observer=seen.append, **SOON) as acc:
            async with acc.compressor("gzip") as stream:
                await stream.compress(b"before")
                unplug(mock_of(acc))
                with pytest.raises(wdasync.DeviceError):
                    await acc.compress(b"other work finds it out")
                await back(acc, program)
                with pytest.raises(wdasync.DeviceError, match="back without it"):
                    await stream.compress(b"after")
    statuses = [told.status for told in seen if told.reason is wdasync.Reason.STREAM]
    assert statuses == [wdasync.Status.SUCCESS, wdasync.Status.DEVICE_ERROR]


async def test_one_device_holds_nothing_back() -> None:
    """Where a stream cannot go elsewhere, its output comes as its device makes it."""
    content = random.Random(1).randbytes(200_000)
    async with opened("cpu") as acc, acc.compressor("gzip") as stream:
        assert len(await stream.compress(content)) > 100_000


async def test_a_reset_begins_anew_where_it_is() -> None:
    with backend.programmed(Program()):
        async with opened() as acc, acc.compressor("gzip") as stream:
            await stream.compress(prose(300_000))
            unplug(mock_of(acc))
            await stream.compress(prose(300_000))
            await stream.reset()
            output = await stream.compress(b"anew") + await stream.finish()
            assert gzip.decompress(output) == b"anew"
            with pytest.raises(wdasync.InvalidState, match="unfinished"):
                await stream.compress(b"more")


def streams_of(*rows: tuple[str, int]) -> Capabilities:
    """A device that has compressing streams of these algorithms and windows, and nothing else."""
    return Capabilities([Capability(Kind.COMPRESS_CHUNK, name, window=window) for name, window in rows])


async def test_a_reset_that_cannot_begin_anew() -> None:
    """What has become raw deflate is never taken for the gzip stream that it was."""
    with backend.programmed(Program(Options(devices=2))) as program:
        program.capabilities_of["mock-0"] = streams_of(("gzip", 15))
        program.capabilities_of["mock-1"] = streams_of(("deflate", 15))
        async with opened("mock", fallback=False, **SOON) as acc, acc.compressor("gzip") as stream:
            await stream.compress(prose(300_000))
            unplug(program.devices[0])
            await stream.compress(prose(300_000))
            assert stream.device == "mock/mock-1"
            for _ in range(2):
                with pytest.raises(wdasync.DeviceError, match="every device that could do it is lost"):
                    await stream.reset()
                with pytest.raises(wdasync.InvalidState, match="poisoned: it could not begin anew"):
                    await stream.compress(b"anew")
            await back(acc, program)
            await stream.reset()
            assert stream.device == "mock/mock-0"
            assert gzip.decompress(await stream.finish(b"anew")) == b"anew"


async def test_a_reset_is_no_retry() -> None:
    """It begins where the stream would be opened now."""
    with backend.programmed(Program()):
        async with opened() as acc, acc.compressor("gzip") as stream:
            await stream.compress(prose(300_000))
            unplug(mock_of(acc))
            await stream.compress(prose(300_000))
            before = acc.statistics()
            await stream.reset()
            assert stream.device == "cpu/cpu0"
            assert (acc.statistics().retries, acc.statistics().reasons) == (before.retries, before.reasons)


async def test_a_reset_after_a_loss_goes_where_a_stream_can_be() -> None:
    with backend.programmed(Program()):
        async with opened(reopen_delay=100) as acc, acc.decompressor("gzip") as stream:
            unplug(mock_of(acc))
            with pytest.raises(wdasync.DeviceError):
                await stream.decompress(gzip.compress(b"some"))
            await stream.reset()
            assert stream.device == "cpu/cpu0"
            assert await stream.decompress(gzip.compress(b"anew")) == b"anew"


async def test_it_is_called_what_was_asked_for() -> None:
    with backend.programmed(Program()):
        async with opened() as acc, acc.compressor("gzip") as stream:
            await stream.compress(prose(300_000))
            unplug(mock_of(acc))
            await stream.compress(prose(300_000))
            assert stream.algorithm == "gzip"
            assert repr(stream) == "<Compressor <compress gzip on cpu/cpu0, open>>"


@pytest.mark.parametrize("algorithm", ["gzip", "zlib"])
async def test_a_healthy_device_that_has_no_raw_deflate(algorithm: str) -> None:
    """Where the schedule would open the stream now is asked, not where it would open what goes on with it."""
    content = prose(900_000)
    with backend.programmed(Program()) as program:
        program.capabilities = streams_of((algorithm, 15))
        async with opened() as acc, acc.compressor(algorithm) as stream:
            output = await stream.compress(content[:300_000]) + await stream.flush()
            assert stream.device == "mock/mock-0"
            output += await stream.compress(content[300_000:])
            unplug(mock_of(acc))
            output += await stream.finish()
            assert stream.device == "cpu/cpu0"
    assert unpack(output, algorithm) == content


async def test_a_device_that_cannot_take_it_back() -> None:
    """It would open the stream, but cannot go on with it: the stream stays, and is not opened anew at each boundary."""
    content = prose(900_000)
    with backend.programmed(Program(Options(devices=2))) as program:
        program.capabilities = streams_of(("gzip", 15))
        async with opened(**SOON) as acc, acc.compressor("gzip") as stream:
            output = await stream.compress(content[:300_000])
            for device in program.devices:
                unplug(device)
            output += await stream.compress(content[300_000:600_000])
            assert stream.device == "cpu/cpu0"
            await back(acc, program)
            before = acc.statistics()
            session = stream._session.session
            output += await stream.compress(content[600_000:]) + await stream.finish()
            assert stream._session.session is session
            assert acc.statistics().retries == before.retries
    assert gzip.decompress(output) == content


async def test_going_on_with_the_window_of_the_header() -> None:
    """The first device wrote 2**9 into zlib's header: what follows reaches no farther back."""
    block = random.Random(1).randbytes(4000)
    with backend.programmed(Program()) as program:
        program.capabilities = streams_of(("zlib", 9), ("deflate", 9))
        async with opened() as acc, acc.compressor("zlib", level=6) as stream:
            output = await stream.compress(block) + await stream.flush()
            unplug(mock_of(acc))
            output += await stream.compress(block * 2) + await stream.finish()
            assert stream.device == "cpu/cpu0"
    decoder = zlib.decompressobj(0)  # the window of the header
    got = decoder.decompress(output, 100)
    while decoder.unconsumed_tail:
        got += decoder.decompress(decoder.unconsumed_tail, 100)
    assert got + decoder.flush() == block * 3


async def test_who_is_never_offered_the_stream_is_no_other_device() -> None:
    """Then nothing is held back: a rule keeps such streams away, or the device is to have no queue."""
    content = random.Random(1).randbytes(200_000)
    for rule in (
        Rule("mock", operation="compress_chunk", priority="high"),
        Rule("mock", operation="compress_chunk", min_size=1),
        Rule("mock", operation="decompress"),
    ):
        async with opened("cpu", policy=(rule,)) as acc, acc.compressor("gzip") as stream:
            assert len(await stream.compress(content)) > 100_000, rule
    with backend.programmed(Program(Options(devices=2, nodes=(0, 1)))):
        async with wdasync.open_accelerator("mock", fallback=False, open_queues="sync:1@0") as acc:
            assert acc.compressor("gzip")._ledger is None


async def test_who_is_away_for_now_is_another_device() -> None:
    content = prose(100_000)
    with backend.programmed(Program(Options(devices=2))) as program:
        async with opened("mock", fallback=False, **SOON) as acc:
            unplug(program.devices[0])
            async with acc.compressor("gzip") as stream:
                output = await stream.compress(content)
                await back(acc, program)
                unplug(program.devices[1])
                output += await stream.finish()
                assert stream.device == "mock/mock-0"
    assert gzip.decompress(output) == content


async def test_the_policy_moves_it() -> None:
    """A rule that holds no more when a boundary comes: the device has become too busy for it."""
    rules = (
        Rule("mock", operation="compress_chunk", max_load=0.4),
        Rule("cpu", operation="compress_chunk"),
    )
    content = prose(900_000)
    with backend.programmed(Program()) as program:
        async with opened(policy=rules, depth=4, close_timeout=0.05) as acc:
            async with acc.compressor("gzip") as stream:
                output = await stream.compress(content[:300_000])
                assert stream.device == "mock/mock-0"
                program.stick(kind=Kind.COMPRESS, count=2)
                for _ in range(2):
                    with pytest.raises(wdasync.OperationTimeout):
                        await acc.compress(b"busy", timeout=0.01)
                output += await stream.compress(content[300_000:600_000])
                assert stream.device == "cpu/cpu0"
                assert acc.statistics().retries == 0
                assert acc.statistics().reasons["load"] == 1
                output += await stream.compress(content[600_000:]) + await stream.finish()
    assert gzip.decompress(output) == content


async def test_a_cancelled_step_poisons() -> None:
    with backend.programmed(Program()) as program:
        async with opened() as acc, acc.compressor("gzip") as stream:
            program.hold()
            with pytest.raises(wdasync.OperationTimeout):
                await stream.compress(prose(300_000), timeout=0.01)
            program.release()
            with pytest.raises(wdasync.InvalidState, match="poisoned"):
                await stream.compress(b"more")
            await stream.reset()
            assert gzip.decompress(await stream.finish(b"anew")) == b"anew"


# -- the ledger by itself ---------------------------------------------------------------------------------------------


def test_before_the_first_boundary_it_is_the_same_stream() -> None:
    spec = StreamSpec(Direction.COMPRESS, "zlib", 6, 12)
    ledger = Ledger(spec, 12)
    assert ledger.take(b"abc", Flush.NONE) is Flush.NONE
    ledger.made(b"lost")
    assert ledger.specs() == [spec]
    ledger.moved()
    assert ledger.again() == [b"abc"]
    ledger.made(b"output")
    assert ledger.deliver(Flush.FINISH) == b"output", "the device writes the check value"


def test_nothing_is_kept_of_nothing() -> None:
    ledger = Ledger(StreamSpec(Direction.COMPRESS, "gzip"), 15)
    for _ in range(3):
        ledger.take(b"", Flush.NONE)
        ledger.made(b"")
    assert (ledger.again(), ledger._output) == ([], [])


def test_pieces_are_counted_up_at_once() -> None:
    """Not each by itself: it happens in the event loop's thread, up to some size."""
    ledger = Ledger(StreamSpec(Direction.COMPRESS, "gzip"), 15)
    seen: list[bytes] = []

    def update(data: bytes, value: int) -> int:
        seen.append(data)
        return zlib.crc32(data, value)

    ledger._wrapper = ledger._wrapper._replace(update=update)
    content = prose(1000)
    for start in range(0, 1000, 10):
        ledger.take(content[start : start + 10], Flush.NONE)
    ledger.deliver(Flush.SYNC)
    assert seen == [content]
    assert ledger._tail == content


@pytest.mark.parametrize("algorithm", WBITS)
def test_what_another_device_is_asked_for(algorithm: str) -> None:
    ledger = Ledger(StreamSpec(Direction.COMPRESS, algorithm, 6, 12), 12)
    content = prose(BOUNDARY)
    assert ledger.take(content[:-1], Flush.NONE) is Flush.NONE
    assert ledger.take(content[-1:], Flush.NONE) is Flush.SYNC
    ledger.deliver(Flush.SYNC)
    with_history, plain = ledger.specs()
    assert with_history.dictionary is not None
    assert with_history.dictionary.content == content[-4096:], "as much as the window"
    assert (plain.algorithm, plain.window, plain.level, plain.dictionary) == ("deflate", 12, 6, None)
    ledger.moved()
    ledger.take(b"end", Flush.FINISH)
    trailer = ledger.deliver(Flush.FINISH)
    whole = content + b"end"
    length = len(whole).to_bytes(4, "little")
    expected = {
        "deflate": b"",
        "zlib": zlib.adler32(whole).to_bytes(4, "big"),
        "gzip": zlib.crc32(whole).to_bytes(4, "little") + length,
    }
    assert trailer == expected[algorithm]

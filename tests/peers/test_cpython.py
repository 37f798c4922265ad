"""CPython's own tests of its zlib and gzip modules (Lib/test/test_zlib.py, test_gzip.py), what they are about, restated.

Where we differ from these modules, the test says how:

* what is left of the input when output was bounded is kept by the stream, so there is no ``unconsumed_tail``;
* concatenated gzip members are one stream, zeros after one are padding;
* the end of the input has to be said: ``finish()`` of a decompressor raises if it comes too early;
* nothing is not a gzip file, where ``gzip.decompress(b"")`` is ``b""``;
* there is no ``copy()``, no memory level and no strategy; a ``max_length`` of 0 is no bound for a step.
"""

import array
import copy
import gzip
import io
import pickle
import random
import struct
import sys
import zlib
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import anyio
import pytest

import wdasync
from wdasync import Accelerator, Capabilities, DataCause, Kind

from .conftest import TEXT

pytestmark = pytest.mark.anyio

WBITS = {"gzip": 31, "zlib": 15, "deflate": -15}
BACKENDS = ("cpu", "mock", "hip08")
#: Of every kind: text, noise, zeros, something short, nothing.
SAMPLES = [TEXT[:20_000], random.Random(1).randbytes(5000), bytes(70_000), b"short", b""]


@cache
def capable(kind: Kind) -> list[str]:
    """The backends that can do this."""

    async def asked() -> list[str]:
        found = []
        for name in BACKENDS:
            async with wdasync.open_accelerator(name, fallback=False) as acc:
                if all(table.find(kind, "gzip") for table in acc.capabilities().values()):
                    found.append(name)
        return found

    return anyio.run(asked)


@pytest.fixture
def anyio_backend() -> str:
    """One event loop is enough: this is about data."""
    return "asyncio"


@pytest.fixture(params=BACKENDS)
async def acc(request: pytest.FixtureRequest) -> AsyncIterator[Accelerator]:
    async with wdasync.open_accelerator(request.param, fallback=False) as opened:
        yield opened


@pytest.fixture(params=capable(Kind.COMPRESS_CHUNK))
async def streaming(request: pytest.FixtureRequest) -> AsyncIterator[Accelerator]:
    async with wdasync.open_accelerator(request.param, fallback=False) as opened:
        yield opened


def compressing(acc: Accelerator) -> Capabilities:
    """The table of the one device that compresses; a chip has others."""
    (table,) = (table for table in acc.capabilities().values() if table.find(Kind.COMPRESS, "gzip"))
    return table


def algorithms(acc: Accelerator, kind: Kind = Kind.COMPRESS) -> list[str]:
    table = compressing(acc)
    return [name for name in WBITS if table.find(kind, name)]


def pack(data: bytes, algorithm: str, level: int = 6, window: int = 15) -> bytes:
    sign = {"gzip": window + 16, "zlib": window, "deflate": -window}[algorithm]
    encoder = zlib.compressobj(level, zlib.DEFLATED, sign)
    return encoder.compress(data) + encoder.flush()


def unpack(data: bytes, algorithm: str) -> bytes:
    decoder = zlib.decompressobj(WBITS[algorithm])
    content = decoder.decompress(data) + decoder.flush()
    assert decoder.eof
    assert not decoder.unused_data
    return content


# -- test_zlib: errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [-2, 13, sys.maxsize, True, 1.5, "fastest", [1]])
async def test_levels_that_are_none(acc: Accelerator, level: Any) -> None:
    with pytest.raises(wdasync.InvalidArgument, match="level: expected"):
        await acc.compress(b"data", level=level)


@pytest.mark.parametrize("level", [-2, 13, True, 1.5, "fastest"])
async def test_levels_of_streams_that_are_none(streaming: Accelerator, level: Any) -> None:
    with pytest.raises(wdasync.InvalidArgument, match="level: expected"):
        streaming.compressor(level=level)


@pytest.mark.parametrize("window", [0, -9, True, "15", 1 << 70])
async def test_windows_that_are_none(acc: Accelerator, window: Any) -> None:
    with pytest.raises(wdasync.InvalidArgument, match="window: expected"):
        await acc.compress(b"data", window=window)


@pytest.mark.parametrize("window", [1, 7, 16, 47, 64])
async def test_windows_that_deflate_has_not(acc: Accelerator, window: int) -> None:
    with pytest.raises(wdasync.UnsupportedOperation, match="window"):
        await acc.compress(b"data", "zlib", window=window)


@pytest.mark.parametrize("bound", [-1, 1.0, "5", None.__class__])
async def test_bounds_that_are_none(acc: Accelerator, bound: Any) -> None:
    with pytest.raises(wdasync.InvalidArgument, match="max_length: expected"):
        await acc.decompress(pack(b"data", "zlib"), "zlib", max_length=bound)


@pytest.mark.parametrize("bound", [0, -1, sys.maxsize + 1.0])
async def test_bounds_of_a_step_that_are_none(streaming: Accelerator, bound: Any) -> None:
    async with streaming.decompressor("zlib") as stream:
        with pytest.raises(wdasync.InvalidArgument, match="max_length: expected"):
            await stream.decompress(pack(b"data", "zlib"), max_length=bound)


@pytest.mark.parametrize("data", ["text", 5, None, object(), ["a", "b"], memoryview(bytes(64))[::2]])
async def test_inputs_that_are_none(streaming: Accelerator, data: Any) -> None:
    async with streaming.compressor() as one, streaming.decompressor() as other:
        for call in (streaming.compress, streaming.decompress, one.compress, one.finish, other.decompress):
            with pytest.raises((wdasync.InvalidArgument, TypeError)):
                await call(data)
        assert gzip.decompress(await one.finish(b"nothing has happened")) == b"nothing has happened"


async def test_streams_cannot_be_copied_or_pickled(streaming: Accelerator) -> None:
    """Two objects for one state on a device would corrupt each other's data."""
    async with streaming.compressor() as one, streaming.decompressor() as other:
        for stream in (one, other):
            for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
                with pytest.raises(TypeError, match="state is on a device"):
                    duplicate(stream)


# -- test_zlib: whole units -----------------------------------------------------------------------------------


async def test_there_and_back(acc: Accelerator) -> None:
    for algorithm in algorithms(acc):
        for data in [*SAMPLES, TEXT * 20]:
            packed = await acc.compress(data, algorithm)
            assert unpack(packed, algorithm) == data
            assert await acc.decompress(packed, algorithm) == data
            assert await acc.decompress(pack(data, algorithm), algorithm) == data


async def test_items_larger_than_bytes(acc: Accelerator) -> None:
    """Lengths are in bytes, whatever the items of a buffer are."""
    numbers = array.array("I", range(3000))
    packed = await acc.compress(numbers)
    assert gzip.decompress(packed) == numbers.tobytes()
    assert await acc.decompress(array.array("B", packed)) == numbers.tobytes()
    shaped = memoryview(numbers).cast("B").cast("B", (100, 120))
    assert gzip.decompress(await acc.compress(shaped)) == numbers.tobytes()


async def test_arguments_have_names(acc: Accelerator) -> None:
    packed = await acc.compress(data=TEXT, algorithm="zlib", level=3, window=15)
    assert await acc.decompress(data=packed, algorithm="zlib", max_length=len(TEXT)) == TEXT
    with pytest.raises(TypeError):
        await acc.compress(TEXT, "zlib", 3)  # type: ignore[misc]


async def test_an_incomplete_unit(acc: Accelerator) -> None:
    for algorithm in algorithms(acc, Kind.DECOMPRESS):
        packed = pack(TEXT[:3000], algorithm)
        for length in [*range(12), *range(12, len(packed), 37), *range(len(packed) - 9, len(packed))]:
            with pytest.raises(wdasync.DataError) as caught:
                await acc.decompress(packed[:length], algorithm)
            assert caught.value.cause is DataCause.TRUNCATED, length


@pytest.mark.parametrize("bound", [0, 1, 2999, 3000, 3001, sys.maxsize])
async def test_a_bound_is_exact(acc: Accelerator, bound: int) -> None:
    for algorithm in algorithms(acc, Kind.DECOMPRESS):
        packed = pack(TEXT[:3000], algorithm)
        if bound < 3000:
            with pytest.raises(wdasync.LimitExceeded):
                await acc.decompress(packed, algorithm, max_length=bound)
        else:
            assert await acc.decompress(packed, algorithm, max_length=bound) == TEXT[:3000]


async def test_levels(acc: Accelerator) -> None:
    table = compressing(acc)
    for algorithm in algorithms(acc):
        row = table.find(Kind.COMPRESS, algorithm)
        assert row is not None
        low, high = row.scale
        for level in [*range(low, high + 1), "fast", "balanced", "best"]:
            assert unpack(await acc.compress(TEXT, algorithm, level=level), algorithm) == TEXT


async def test_a_level_of_zero_stores() -> None:
    """On the backends that have it; a chip maps it, and counts that."""
    for name in ("cpu", "mock"):
        async with wdasync.open_accelerator(name, fallback=False) as acc:
            assert len(await acc.compress(bytes(5000), level=0)) > 5000
            assert len(await acc.compress(bytes(5000), level=9)) < 100


async def test_windows(acc: Accelerator) -> None:
    """Each size of the history: written, and told in the header; read, whatever it is."""
    for algorithm in algorithms(acc):
        for window in range(9, 16):
            assert await acc.decompress(pack(TEXT, algorithm, window=window), algorithm) == TEXT
            try:
                packed = await acc.compress(TEXT, algorithm, window=window)
            except wdasync.UnsupportedOperation as error:
                assert "window" in str(error)  # noqa: PT017
                continue
            raw = {"gzip": 16, "zlib": 0, "deflate": 0}[algorithm] + window
            assert zlib.decompress(packed, -raw if algorithm == "deflate" else raw) == TEXT
            if algorithm == "zlib":
                assert (packed[0] >> 4) + 8 <= window


async def test_formats_are_not_mixed_up(acc: Accelerator) -> None:
    for written in algorithms(acc, Kind.DECOMPRESS):
        for read in algorithms(acc, Kind.DECOMPRESS):
            if written != read:
                with pytest.raises(wdasync.DataError):
                    await acc.decompress(pack(TEXT, written), read)


async def test_every_pair_of_writer_and_reader() -> None:
    """python-isal's cross product: sizes, levels and windows, written by one implementation and read by another."""
    chance = random.Random(2)
    content = b"".join(chance.choices([b"some ", b"words ", b"\0\1", chance.randbytes(9)], k=120_000))
    sizes = [1 << power for power in range(3, 20)]
    async with (
        wdasync.open_accelerator("cpu") as cpu,
        wdasync.open_accelerator("mock", fallback=False) as mock,
        wdasync.open_accelerator("hip08", fallback=False) as hip08,
    ):
        for size in sizes:
            for algorithm in ("gzip", "zlib"):
                data, level, window = content[:size], chance.randrange(10), chance.randrange(12, 16)
                for writer in (cpu, mock, hip08):
                    packed = await writer.compress(data, algorithm, level=level, window=window)
                    assert unpack(packed, algorithm) == data
                    for reader in (cpu, mock, hip08):
                        assert await reader.decompress(packed, algorithm) == data


# -- test_zlib: streams ---------------------------------------------------------------------------------------


async def test_a_stream_may_be_fed_in_any_pieces(streaming: Accelerator) -> None:
    for algorithm in algorithms(streaming):
        for size in (1, 256, 4096):
            data = TEXT[: 300 * size]
            async with streaming.compressor(algorithm) as stream:
                pieces = [
                    await stream.compress(data[start : start + size]) for start in range(0, len(data), size)
                ]
                packed = b"".join(pieces) + await stream.finish()
            assert unpack(packed, algorithm) == data


@pytest.mark.parametrize("fed", [1, 64, 1 << 20])
@pytest.mark.parametrize("bound", [1, 64, 5000, None])
async def test_output_in_pieces(streaming: Accelerator, fed: int, bound: int | None) -> None:
    """test_decompinc, test_decompimax, test_decompressmaxlen: no piece is larger than was asked for, and none is lost."""
    data = TEXT[:300] if fed == 1 or bound == 1 else TEXT[:60_000]
    for algorithm in algorithms(streaming):
        packed, made = pack(data, algorithm), []
        async with streaming.decompressor(algorithm) as stream:
            for start in range(0, len(packed), fed):
                made.append(await stream.decompress(packed[start : start + fed], max_length=bound))
                while not stream.needs_input:
                    made.append(await stream.decompress(max_length=bound))
            assert stream.eof
            assert stream.unused_data == b""
            await stream.finish()
        assert b"".join(made) == data
        assert max(map(len, made)) <= (bound or len(data))


async def test_a_huge_bound_is_no_huge_buffer(streaming: Accelerator) -> None:
    async with streaming.decompressor("zlib") as stream:
        assert await stream.decompress(zlib.compress(TEXT), max_length=sys.maxsize) == TEXT


async def test_nothing_is_left_when_all_was_drained(streaming: Accelerator) -> None:
    """bpo-12050: after the last piece nothing says that there is more."""
    for algorithm in algorithms(streaming):
        async with streaming.decompressor(algorithm) as stream:
            packed = pack(b"abcdefghij", algorithm)
            first = await stream.decompress(packed, max_length=5)
            assert (first, stream.needs_input) == (b"abcde", False)
            rest = await stream.decompress(max_length=100)
            assert (rest, stream.needs_input, stream.eof) == (b"fghij", True, True)


async def test_every_flush_at_every_level(streaming: Accelerator) -> None:
    for algorithm in algorithms(streaming):
        for level in range(10):
            for mode in ("sync", "full"):
                async with streaming.compressor(algorithm, level=level) as stream:
                    packed = await stream.compress(TEXT[:3000]) + await stream.flush(mode)
                    decoder = zlib.decompressobj(WBITS[algorithm])
                    assert decoder.decompress(packed) == TEXT[:3000]
                    assert decoder.decompress(await stream.finish(TEXT[3000:6000])) == TEXT[3000:6000]
                    assert decoder.eof


async def test_flushing_what_cannot_be_compressed(streaming: Accelerator) -> None:
    """test_odd_flush: 17 KiB of noise, right on a block's border."""
    noise = random.Random(3).randbytes(17 * 1024)
    for mode in ("sync", "full"):
        async with streaming.compressor("zlib", level="best") as stream:
            packed = await stream.compress(noise) + await stream.flush(mode) + await stream.finish()
        assert zlib.decompress(packed) == noise


async def test_flushing_twice_and_nothing(streaming: Accelerator) -> None:
    async with streaming.compressor("zlib") as stream:
        packed = b"".join([await stream.flush() for _ in range(3)])
        packed += await stream.compress(b"") + await stream.flush("full") + await stream.finish()
    assert zlib.decompress(packed) == b""


async def test_a_stream_that_was_never_fed(streaming: Accelerator) -> None:
    """test_empty_flush: the empty unit; but a decompressor that got nothing was cut short."""
    for algorithm in algorithms(streaming):
        async with streaming.compressor(algorithm) as stream:
            assert unpack(await stream.finish(), algorithm) == b""
        async with streaming.decompressor(algorithm) as stream:
            assert await stream.decompress(b"") == b""
            assert (stream.eof, stream.needs_input, stream.unused_data) == (False, True, b"")
            with pytest.raises(wdasync.DataError) as caught:
                await stream.finish()
            assert caught.value.cause is DataCause.TRUNCATED


async def test_an_incomplete_stream_gives_what_it_has(streaming: Accelerator) -> None:
    for algorithm in algorithms(streaming):
        packed = pack(TEXT[:5000], algorithm)
        for cut in (len(packed) // 2, len(packed) - 9, len(packed) - 1):
            async with streaming.decompressor(algorithm) as stream:
                got = await stream.decompress(packed[:cut])
                assert TEXT[:5000].startswith(got)
                assert len(got) > 1000
                if not stream.eof:
                    with pytest.raises(wdasync.DataError, match="truncated"):
                        await stream.finish()
                assert got + await stream.decompress(packed[cut:]) == TEXT[:5000]
                assert stream.eof


async def test_the_end_is_the_end(streaming: Accelerator) -> None:
    """test_decompress_eof: not before the last byte of the check value, and it stays."""
    for algorithm in ("zlib", "gzip"):
        packed = pack(TEXT[:500], algorithm)
        async with streaming.decompressor(algorithm) as stream:
            await stream.decompress(packed[:-1])
            assert not stream.eof
            await stream.decompress(packed[-1:])
            assert stream.eof
            await stream.decompress(b"")
            assert stream.eof


@pytest.mark.parametrize("step", [1, 2, 50, 1 << 20])
@pytest.mark.parametrize("bound", [None, 1, 1000])
async def test_what_is_behind_the_end(streaming: Accelerator, step: int, bound: int | None) -> None:
    """test_decompress_unused_data: all of it, however it comes."""
    rest = b"abcdefghijklmnopqrstuvwxyz" * 3
    data = TEXT[: 100 if bound == 1 else 3000]
    for algorithm in ("zlib", "deflate"):
        if algorithm not in algorithms(streaming):
            continue
        whole, got = pack(data, algorithm) + rest, b""
        async with streaming.decompressor(algorithm) as stream:
            for start in range(0, len(whole), step):
                got += await stream.decompress(whole[start : start + step], max_length=bound)
            while not stream.needs_input:
                got += await stream.decompress(max_length=bound)
            assert (got, stream.eof, stream.unused_data) == (data, True, rest)


async def test_the_input_may_be_freed_at_once(streaming: Accelerator) -> None:
    """bpo-16411: what is kept for later must not be in memory that the caller has changed since."""
    async with streaming.decompressor("zlib") as stream:
        packed = bytearray(zlib.compress(TEXT))
        got = await stream.decompress(packed, max_length=1)
        packed[:] = bytes(len(packed))
        del packed[10:]
        while not stream.needs_input:
            got += await stream.decompress(max_length=1 << 20)
        assert got == TEXT


async def test_a_large_piece_behind_the_end(streaming: Accelerator) -> None:
    """test_large_unused_data and test_large_unconsumed_tail, as large as a test run bears."""
    rest = b"abcdefgh" * (1 << 17)
    async with streaming.decompressor("zlib") as stream:
        assert await stream.decompress(zlib.compress(b"data") + rest) == b"data"
        assert stream.unused_data == rest
    async with streaming.decompressor("zlib") as stream:
        large = random.Random(4).randbytes(1 << 21)
        got = await stream.decompress(zlib.compress(large, 0), max_length=1)
        assert got + await stream.decompress() == large


async def test_a_stream_that_is_closed(streaming: Accelerator) -> None:
    for stream in (streaming.compressor(), streaming.decompressor()):
        await stream.aclose()
        await stream.aclose()
        calls = [stream.reset()]
        if isinstance(stream, wdasync.Compressor):
            calls += [stream.compress(b""), stream.flush(), stream.finish()]
        else:
            calls += [stream.decompress(b"")]
        for call in calls:
            with pytest.raises(wdasync.ClosedResourceError):
                await call


# -- test_gzip ------------------------------------------------------------------------------------------------


async def test_kinds_of_memory(acc: Accelerator) -> None:
    for data in (
        TEXT,
        bytearray(TEXT),
        memoryview(TEXT),
        array.array("b", TEXT),
        io.BytesIO(TEXT).getbuffer(),
    ):
        assert gzip.decompress(await acc.compress(data)) == TEXT


async def test_many_members(acc: Accelerator) -> None:
    """test_append, test_many_append."""
    packed = b"".join([await acc.compress(b"member %d " % number) for number in range(50)])
    wanted = b"".join(b"member %d " % number for number in range(50))
    assert gzip.decompress(packed) == await acc.decompress(packed) == wanted


async def test_the_header(acc: Accelerator) -> None:
    """test_metadata, test_mtime: magic, method, no flags, no time of day; the length and check value at the end."""
    packed = await acc.compress(TEXT)
    header = wdasync.read_gzip_header(packed)
    assert packed[:3] == b"\x1f\x8b\x08"
    assert (header.mtime, header.filename, header.comment, header.extra, header.length) == (
        0,
        None,
        None,
        None,
        10,
    )
    assert struct.unpack("<II", packed[-8:]) == (zlib.crc32(TEXT), len(TEXT))
    assert await acc.compress(TEXT) == packed


async def test_header_fields_are_skipped(acc: Accelerator) -> None:
    """test_read_with_extra: extra field, name, comment, check value of the header, and all of them."""
    raw = pack(TEXT[:1000], "deflate")
    trailer = struct.pack("<II", zlib.crc32(TEXT[:1000]), 1000)
    fields = {4: b"\x05\x00Extra", 8: b"name\0", 16: b"comment\0"}
    for flags in range(32):
        head = b"\x1f\x8b\x08" + bytes([flags]) + b"\x01\x02\x03\x04\x00\x03"
        head += b"".join(field for bit, field in fields.items() if flags & bit)
        if flags & 2:
            head += struct.pack("<H", zlib.crc32(head) & 0xFFFF)
        assert await acc.decompress(head + raw + trailer) == TEXT[:1000], flags


async def test_no_gzip_at_all(acc: Accelerator) -> None:
    for data, cause in (
        (b"", DataCause.TRUNCATED),
        (b"\x1f", DataCause.TRUNCATED),
        (b"not a gzip file, but long enough for one", None),
        (b"\x1f\x8b\x07" + bytes(30), None),
        (b"\x1f\x8b\x08\xe0" + bytes(30), None),
        (b"a" + gzip.compress(TEXT), None),
    ):
        with pytest.raises(wdasync.DataError) as caught:
            await acc.decompress(data)
        assert cause is None or caught.value.cause is cause


async def test_trailers(acc: Accelerator) -> None:
    """test_decompress_truncated_trailer, test_decompress_missing_trailer; a wrong check value, a wrong length."""
    packed = gzip.compress(TEXT[:1000])
    for length in range(8):
        with pytest.raises(wdasync.DataError) as caught:
            await acc.decompress(packed[: len(packed) - 8 + length])
        assert caught.value.cause is DataCause.TRUNCATED
    for at in range(1, 9):
        broken = bytearray(packed)
        broken[-at] ^= 0x40
        with pytest.raises(wdasync.DataError) as caught:
            await acc.decompress(broken)
        assert caught.value.cause is DataCause.CHECKSUM, at


@pytest.mark.parametrize("zeros", [1, 7, 512, 8192])
async def test_zeros_behind_a_file(acc: Accelerator, zeros: int) -> None:
    """test_zero_padded_file."""
    packed = gzip.compress(TEXT[:100]) + bytes(zeros)
    assert await acc.decompress(packed) == TEXT[:100]
    assert await acc.decompress(packed * 3) == TEXT[:100] * 3


async def test_a_bomb_with_a_bound(streaming: Accelerator) -> None:
    """test_decompress_limited: 10 MiB of zeros, taken in small pieces, of which each costs a small step."""
    async with streaming.decompressor() as stream:
        total = len(await stream.decompress(gzip.compress(bytes(10 << 20)), max_length=1000))
        assert total == 1000
        while not stream.needs_input:
            total += len(await stream.decompress(max_length=1 << 20))
        assert total == 10 << 20

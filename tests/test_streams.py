"""Streams: every flush, pieces of any size, concatenated members, bounds, and what poisons them."""

import gzip
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wdasync
from wdasync import Accelerator, DataCause
from wdasync.testing.mock import Program, backend

pytestmark = pytest.mark.anyio

TEXT = b"".join(b"line %d of the text\n" % number for number in range(2000))
WBITS = {"gzip": 31, "zlib": 15, "deflate": -15}


def unpack(data: bytes, algorithm: str) -> bytes:
    decoder = zlib.decompressobj(WBITS[algorithm])
    output = decoder.decompress(data) + decoder.flush()
    assert decoder.eof
    assert not decoder.unused_data
    return output


def pack(data: bytes, algorithm: str) -> bytes:
    encoder = zlib.compressobj(6, zlib.DEFLATED, WBITS[algorithm])
    return encoder.compress(data) + encoder.flush()


async def pieces(data: bytes, size: int) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(data), size):
        await anyio.lowlevel.checkpoint()
        yield data[start : start + size]


@pytest.fixture(params=["mock", "cpu"])
def backend_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def opened(name: str, **options: Any) -> wdasync.lifecycle.Opening:
    return wdasync.open_accelerator(name, fallback=False, **options)


@pytest.mark.parametrize("algorithm", WBITS)
@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
async def test_compressing_in_pieces(backend_name: str, algorithm: str, size: int) -> None:
    text = TEXT[: 500 * size] if size < 100 else TEXT
    async with opened(backend_name) as acc:
        output = b"".join([piece async for piece in acc.compress_stream(pieces(text, size), algorithm)])
    assert unpack(output, algorithm) == text


@pytest.mark.parametrize("algorithm", WBITS)
async def test_flush_makes_everything_so_far_decodable(backend_name: str, algorithm: str) -> None:
    async with opened(backend_name) as acc, acc.compressor(algorithm) as stream:
        decoder = zlib.decompressobj(WBITS[algorithm])
        for mode in ("sync", "full", "sync", "full"):
            output = await stream.compress(TEXT) + await stream.flush(mode)
            assert decoder.decompress(output) == TEXT
        assert decoder.decompress(await stream.finish(b"the end")) == b"the end"
        assert decoder.eof


@pytest.mark.parametrize("mode", ["sync", "full"])
async def test_a_flush_takes_data_in_the_same_step(backend_name: str, mode: Literal["sync", "full"]) -> None:
    decoder = zlib.decompressobj(31)
    async with opened(backend_name) as acc, acc.compressor("gzip") as stream:
        output = await stream.compress(b"before, ")
        before = acc.statistics().completed
        assert decoder.decompress(output + await stream.flush(mode, TEXT)) == b"before, " + TEXT
        assert acc.statistics().completed == before + 1


async def test_flushing_after_each_piece(backend_name: str) -> None:
    decoder = zlib.decompressobj(31)
    async with opened(backend_name) as acc:
        stream = acc.compress_stream(pieces(TEXT[:5000], 1000), flush=True)
        got = [decoder.decompress(piece) async for piece in stream]
    assert [len(piece) for piece in got[:5]] == [1000] * 5


@pytest.mark.parametrize("algorithm", WBITS)
@pytest.mark.parametrize("size", [1, 10, 1000, 1 << 20])
async def test_decompressing_in_pieces(backend_name: str, algorithm: str, size: int) -> None:
    text = TEXT[:2000] if size < 10 else TEXT
    packed = pack(text, algorithm)
    async with opened(backend_name) as acc:
        output = [piece async for piece in acc.decompress_stream(pieces(packed, size), algorithm)]
    assert b"".join(output) == text


async def test_pieces_are_bounded(backend_name: str) -> None:
    packed = gzip.compress(bytes(20 << 20))
    async with opened(backend_name) as acc:
        sizes = [len(piece) async for piece in acc.decompress_stream(pieces(packed, 1 << 20))]
    assert sum(sizes) == 20 << 20
    assert max(sizes) <= 1 << 18


@pytest.mark.parametrize("size", [1, 3, 100, 1 << 20])
async def test_concatenated_members_are_one_stream(backend_name: str, size: int) -> None:
    packed = b"".join(gzip.compress(b"member %d" % number) for number in range(5))
    async with opened(backend_name) as acc:
        output = [piece async for piece in acc.decompress_stream(pieces(packed, size))]
    assert b"".join(output) == b"".join(b"member %d" % number for number in range(5))


@pytest.mark.parametrize("algorithm", WBITS)
async def test_a_truncated_stream(backend_name: str, algorithm: str) -> None:
    packed = pack(TEXT, algorithm)[:-3]
    async with opened(backend_name) as acc:
        with pytest.raises(wdasync.DataError, match="truncated") as caught:
            async for _ in acc.decompress_stream(pieces(packed, 500), algorithm):
                pass
    assert caught.value.cause is DataCause.TRUNCATED


@pytest.mark.parametrize("algorithm", WBITS)
@pytest.mark.parametrize("size", [500, 1 << 20])
async def test_what_follows_the_end(backend_name: str, algorithm: str, size: int) -> None:
    packed = pack(TEXT, algorithm) + b"not part of it"
    async with opened(backend_name) as acc:
        with pytest.raises(wdasync.DataError, match="after the end of the stream") as caught:
            async for _ in acc.decompress_stream(pieces(packed, size), algorithm):
                pass
        assert caught.value.cause is DataCause.TRAILING_DATA
        async with acc.decompressor(algorithm) as stream:
            assert await stream.decompress(packed) == TEXT
            assert stream.eof
            assert stream.unused_data == b"not part of it"
            await stream.finish()


async def test_max_length_hands_out_what_is_kept(backend_name: str) -> None:
    async with opened(backend_name) as acc, acc.decompressor("zlib") as stream:
        output = await stream.decompress(zlib.compress(TEXT), max_length=100)
        assert len(output) == 100
        assert not stream.needs_input
        while not stream.needs_input:
            piece = await stream.decompress(max_length=1000)
            assert len(piece) <= 1000
            output += piece
        assert output == TEXT
        assert stream.eof


async def test_an_unbounded_call_respects_the_accelerator_s_bound(backend_name: str) -> None:
    async with opened(backend_name, max_length=10_000) as acc, acc.decompressor("zlib") as stream:
        assert await stream.decompress(zlib.compress(bytes(10_000))) == bytes(10_000)
        await stream.reset()
        with pytest.raises(wdasync.LimitExceeded, match="max_length of 10000"):
            await stream.decompress(zlib.compress(bytes(10_001)))
        with pytest.raises(wdasync.InvalidState, match="passed the bound"):
            await stream.decompress()
        await stream.reset()
        assert await stream.decompress(zlib.compress(b"again")) == b"again"


async def test_a_corrupt_stream_is_poisoned_until_reset(backend_name: str) -> None:
    broken = bytearray(zlib.compress(TEXT))
    broken[-1] ^= 1
    async with opened(backend_name) as acc, acc.decompressor("zlib") as stream:
        with pytest.raises(wdasync.DataError) as caught:
            await stream.decompress(broken)
        assert caught.value.cause is DataCause.CHECKSUM
        with pytest.raises(wdasync.InvalidState, match="CHECKSUM_FAILED"):
            await stream.decompress(b"more")
        await stream.reset()
        assert await stream.decompress(zlib.compress(TEXT)) == TEXT


async def test_a_finished_compressor(backend_name: str) -> None:
    async with opened(backend_name) as acc, acc.compressor() as stream:
        first = await stream.finish(b"one")
        for attempt in (stream.compress(b"x"), stream.flush(), stream.finish()):
            with pytest.raises(wdasync.InvalidState, match="expected an unfinished stream"):
                await attempt
        await stream.reset()
        assert gzip.decompress(first + await stream.finish(b" two")) == b"one two"


async def test_bad_arguments(backend_name: str) -> None:
    async with opened(backend_name) as acc, acc.compressor() as stream, acc.decompressor() as reader:
        with pytest.raises(wdasync.InvalidArgument, match='mode: expected "sync" or "full"'):
            await stream.flush("finish")  # type: ignore[arg-type]
        with pytest.raises(wdasync.InvalidArgument, match="data: expected a bytes-like"):
            await stream.compress("text")  # type: ignore[arg-type]
        with pytest.raises(wdasync.InvalidArgument, match="max_length: expected an int of at least 1"):
            await reader.decompress(b"", max_length=0)
        with pytest.raises(wdasync.UnsupportedOperation, match=r"did you mean 'gzip'"):
            acc.compressor("gzpi")
        assert gzip.decompress(await stream.finish(b"unharmed")) == b"unharmed"


@pytest.fixture
def program() -> "object":
    with backend.programmed(depth=4) as program:
        yield program


async def test_two_tasks_on_one_stream(program: Program) -> None:
    program.hold()
    async with opened("mock") as acc, acc.compressor() as stream, anyio.create_task_group() as group:
        group.start_soon(stream.compress, b"first")
        while not acc.statistics().in_flight:
            await anyio.lowlevel.checkpoint()
        for attempt in (stream.compress, lambda _: stream.reset()):
            with pytest.raises(wdasync.BusyResourceError):
                await attempt(b"second")
        program.release()


async def test_a_cancelled_step_poisons_until_reset(program: Program) -> None:
    async with opened("mock") as acc, acc.compressor() as stream:
        assert await stream.compress(b"one") is not None
        program.hold()
        with pytest.raises(wdasync.OperationTimeout):
            await stream.compress(b"cancelled", timeout=0.01)
        with pytest.raises(wdasync.InvalidState, match="cancelled"):
            await stream.compress(b"after it")
        async with anyio.create_task_group() as group:
            group.start_soon(stream.reset)
            await anyio.sleep(0.01)
            program.release()
        assert gzip.decompress(await stream.finish(b"fresh")) == b"fresh"


async def test_a_reset_that_is_cancelled_itself(program: Program) -> None:
    async with opened("mock") as acc, acc.compressor() as stream:
        program.hold()
        with pytest.raises(wdasync.OperationTimeout):
            await stream.compress(b"cancelled", timeout=0.01)
        with anyio.move_on_after(0.01) as scope:
            await stream.reset()
        assert scope.cancelled_caught
        program.release()
        await stream.reset()
        assert gzip.decompress(await stream.finish(b"fresh")) == b"fresh"


async def test_closing_a_stream_with_a_step_on_the_device(program: Program) -> None:
    async with opened("mock") as acc:
        stream = acc.compressor()
        program.hold()
        with pytest.raises(wdasync.OperationTimeout):
            await stream.compress(b"cancelled", timeout=0.01)
        await stream.aclose()
        with pytest.raises(wdasync.ClosedResourceError):
            await stream.compress(b"x")
        with pytest.raises(wdasync.ClosedResourceError):
            await stream.reset()
        program.release()
        await acc.compress(b"others go on")
    assert not program.complaints


async def test_a_source_that_raises_ends_the_stream(program: Program) -> None:
    async def source() -> AsyncGenerator[bytes, None]:
        yield b"some"
        raise KeyError("the source's own")

    async with opened("mock") as acc:
        with pytest.raises(KeyError, match="the source's own"):
            async for _ in acc.compress_stream(source()):
                pass


@pytest.mark.parametrize("way", ["compress_stream", "decompress_stream"])
async def test_a_source_is_its_owner_s(program: Program, way: str) -> None:
    """It can go on after an early end, and is closed by who made it."""
    closed: list[str] = []

    async def rows() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield gzip.compress(b"row")
        finally:
            closed.append("source")

    async with opened("mock") as acc:
        async with aclosing(rows()) as source:
            settings: dict[str, Any] = {"flush": True} if way == "compress_stream" else {}
            async with aclosing(getattr(acc, way)(source, **settings)) as output:
                assert await anext(output)
            assert not closed
            assert gzip.decompress(await anext(source)) == b"row"
        assert closed == ["source"]


async def test_anyio_byte_streams_are_sources() -> None:
    send, receive = anyio.create_memory_object_stream[bytes](10)
    async with opened("mock") as acc, send, receive:
        for number in range(5):
            await send.send(b"%d" % number)
        send.close()
        output = b"".join([piece async for piece in acc.compress_stream(receive)])
    assert gzip.decompress(output) == b"01234"


@given(
    chunks=st.lists(
        st.tuples(st.binary(max_size=300), st.sampled_from(["none", "sync", "full"])), max_size=8
    ),
    cuts=st.integers(1, 50),
    algorithm=st.sampled_from(list(WBITS)),
)
@settings(max_examples=100, deadline=None)
def test_any_stream_comes_back(chunks: list[tuple[bytes, str]], cuts: int, algorithm: str) -> None:
    async def main() -> None:
        async with opened("mock") as acc:
            packed = await _pack(acc, chunks, algorithm)
            text = b"".join(chunk for chunk, _ in chunks)
            assert unpack(packed, algorithm) == text
            got = [piece async for piece in acc.decompress_stream(pieces(packed, cuts), algorithm)]
            assert b"".join(got) == text

    anyio.run(main)


async def _pack(acc: Accelerator, chunks: list[tuple[bytes, str]], algorithm: str) -> bytes:
    output = b""
    async with acc.compressor(algorithm) as stream:
        for chunk, flush in chunks:
            output += await stream.compress(chunk)
            if flush != "none":
                output += await stream.flush(flush)  # type: ignore[arg-type]
        return output + await stream.finish()


MEMBERS = gzip.compress(b"one ") + bytes(70) + gzip.compress(b"two") + bytes(1000)


@pytest.mark.parametrize("size", [1, 10, 50, 1 << 20])
async def test_zeros_between_and_after_members_are_padding(backend_name: str, size: int) -> None:
    """As gzip(1) has it, as Python's gzip module has it, and as a decompression in one call has it."""
    assert gzip.decompress(MEMBERS) == b"one two"
    async with opened(backend_name) as acc:
        assert await acc.decompress(MEMBERS) == b"one two"
        assert b"".join([piece async for piece in acc.decompress_stream(pieces(MEMBERS, size))]) == b"one two"
        async with acc.decompressor() as stream:
            output = b"".join([await stream.decompress(piece) async for piece in pieces(MEMBERS, size)])
            assert (output, stream.eof, stream.unused_data) == (b"one two", True, b"")
            await stream.finish()


@pytest.mark.parametrize("algorithm", ["zlib", "deflate"])
async def test_other_formats_have_no_padding(algorithm: str) -> None:
    data = pack(b"one", algorithm) + bytes(3)
    async with opened("cpu") as acc, acc.decompressor(algorithm) as stream:
        assert (await stream.decompress(data), stream.unused_data) == (b"one", bytes(3))


async def test_what_follows_the_padding_is_not_the_stream_s() -> None:
    data = gzip.compress(b"one") + bytes(5) + b"rest"
    async with opened("cpu") as acc:
        async with acc.decompressor() as stream:
            assert (await stream.decompress(data), stream.unused_data) == (b"one", b"rest")
        with pytest.raises(wdasync.DataError) as caught:
            _ = [piece async for piece in acc.decompress_stream(pieces(data, 3))]
        assert caught.value.cause is DataCause.TRAILING_DATA


async def test_a_stream_of_another_priority_has_a_lane_of_its_own(backend_name: str) -> None:
    async with opened(backend_name) as acc:
        made = [
            piece
            async for piece in acc.compress_stream(
                pieces(TEXT, 5000), priority=wdasync.Priority.HIGH, timeout=30, window=12
            )
        ]
        assert gzip.decompress(b"".join(made)) == TEXT
        assert [lane.name.rpartition(" ")[2] for lane in acc.statistics().lanes][-1] == "high"


@pytest.mark.parametrize("zeros", [1, 70, 4095, 4096, 9000])
async def test_zeros_are_padding_on_the_chip_too(zeros: int) -> None:
    data = gzip.compress(b"one ") + bytes(zeros) + gzip.compress(b"two") + bytes(zeros)

    async def pager(offset: int, length: int) -> bytes:
        return data[offset : offset + length]

    async with opened("hip08") as acc:
        assert await acc.decompress(data) == b"one two"
        assert await acc.decompress(wdasync.PagedBuffer(len(data), pager)) == b"one two"
        with pytest.raises(wdasync.DataError) as caught:
            await acc.decompress(data + b"rest")
        assert caught.value.cause is DataCause.TRAILING_DATA


async def test_the_end_is_not_said_before_all_output_is_taken(backend_name: str) -> None:
    async with opened(backend_name) as acc, acc.decompressor("gzip") as stream:
        assert await stream.decompress(gzip.compress(b"hello world"), max_length=5) == b"hello"
        with pytest.raises(
            wdasync.InvalidState, match=r"expected all output to be taken.*call decompress\(\)"
        ):
            await stream.finish()
        assert await stream.decompress() == b" world"
        await stream.finish()


async def test_the_end_of_a_member_is_no_end_while_another_waits(backend_name: str) -> None:
    two = gzip.compress(b"hello") + gzip.compress(b"world")
    async with opened(backend_name) as acc, acc.decompressor("gzip") as stream:
        output = await stream.decompress(two, max_length=5)
        with pytest.raises(wdasync.InvalidState):
            await stream.finish()
        while not stream.needs_input:
            output += await stream.decompress()
        await stream.finish()
        assert output == b"helloworld"


@pytest.mark.parametrize("name", ["cpu", "hip08", "mock"])
async def test_a_dictionary_that_is_not_given_is_the_cause(name: str) -> None:
    encoder = zlib.compressobj(zdict=b"hello world")
    packed = encoder.compress(b"hello world" * 9) + encoder.flush()
    async with opened(name) as acc:
        with pytest.raises(wdasync.DataError) as caught:
            await acc.decompress(packed, "zlib")
        assert caught.value.cause is DataCause.DICTIONARY


@pytest.mark.parametrize("name", ["cpu", "hip08", "mock"])
@pytest.mark.parametrize("rest", [b"x", bytes(5) + b"x", b"no member"])
async def test_what_follows_a_member_in_one_call(name: str, rest: bytes) -> None:
    async with opened(name) as acc:
        with pytest.raises(wdasync.DataError) as caught:
            await acc.decompress(gzip.compress(b"hello") + rest)
        assert caught.value.cause is DataCause.TRAILING_DATA


async def test_what_begins_as_a_member_and_is_none(backend_name: str) -> None:
    async with opened(backend_name) as acc, acc.decompressor("gzip") as stream:
        await stream.decompress(gzip.compress(b"hello"))
        await stream.decompress(b"\x1f")
        with pytest.raises(wdasync.DataError) as caught:
            await stream.decompress(b"\x8c and no header of gzip")
        assert caught.value.cause is DataCause.TRAILING_DATA


@pytest.mark.parametrize("name", ["cpu", "hip08", "mock"])
async def test_the_bound_and_not_the_buffer_is_too_small(name: str) -> None:
    packed = gzip.compress(bytes(5000))
    async with opened(name, max_length=1000) as acc:
        with pytest.raises(wdasync.LimitExceeded, match="max_length 1000"):
            await acc.decompress_into(packed, bytearray(5000))
        with pytest.raises(wdasync.OutOfSpace) as caught:
            await acc.decompress_into(packed, bytearray(900))
        assert not isinstance(caught.value, wdasync.LimitExceeded)


async def test_a_window_that_no_stream_has() -> None:
    async with opened("cpu") as acc:
        with pytest.raises(wdasync.UnsupportedOperation, match=r"window: expected 9\.\.15, got 8"):
            await acc.compressor("gzip", window=8).compress(b"x")
        with pytest.raises(wdasync.UnsupportedOperation, match=r"window: expected 10\.\.24, got 8"):
            await acc.decompressor("br", window=8).decompress(b"x")


async def test_the_item_that_is_none(backend_name: str) -> None:
    async with opened(backend_name) as acc:
        with pytest.raises(wdasync.InvalidArgument, match=r"^items\[1\]: data: expected a bytes-like object"):
            await acc.compress_many([b"a", 5, b"c"])  # type: ignore[list-item]

"""The ZIP driver end to end, against the stand-in: units, members, room, scatter lists, statuses, misfortunes."""

import errno
import gc
import gzip
import io
import mmap
import os
import struct
import zlib
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wdasync.backend import Completion, DataCause, Status
from wdasync.operations import Compress, Decompress, Nop, Operation
from wdasync.paged import PagedBuffer
from wdasync_uacce.memory import address_of
from wdasync_uacce.requests import Settled
from wdasync_uacce.zip_descriptor import SQE, STATUSES, ZipStatus

from .stand_in import IOVA, Mishap, StandIn, ViolationError
from .support import pieces, run, running, sample, take, zip_queue

WBITS = {"deflate": -15, "zlib": 15, "gzip": 31}
VERSIONS = [(2, "zlib"), (2, "gzip"), (3, "zlib"), (3, "gzip"), (3, "deflate")]
each_format = pytest.mark.parametrize(("version", "algorithm"), VERSIONS)


def decode(data: bytes, algorithm: str) -> bytes:
    decoder = zlib.decompressobj(WBITS[algorithm])
    output = decoder.decompress(data)
    assert decoder.eof
    assert not decoder.unused_data
    return output


def encode(data: bytes, algorithm: str, level: int = 6) -> bytes:
    worker = zlib.compressobj(level, zlib.DEFLATED, WBITS[algorithm])
    return worker.compress(data) + worker.flush()


def descriptors(layer: StandIn) -> list[dict[str, int]]:
    """The submission entries that the device has not finished."""
    return [SQE.unpack(struct.pack("<32I", *words)) for _, words in running(layer).pending]


def expect(completion: Completion, status: Status, message: str = "", cause: DataCause | None = None) -> None:
    assert completion.status is status, completion
    assert message in completion.detail.message
    assert completion.detail.cause is cause
    assert completion.output is None
    assert completion.detail.where == "queue 21"


# -- whole units -----------------------------------------------------------------------------------------------------


@each_format
@pytest.mark.parametrize("nbytes", [0, 1, 2, 100, 4096, 65_536, 300_000, 1 << 20])
def test_units_go_there_and_back(version: int, algorithm: str, nbytes: int) -> None:
    data = sample(nbytes, nbytes)
    with zip_queue(StandIn(version=version)) as queue:
        (packed,) = run(queue, Compress(data, algorithm))
    assert packed.status is Status.SUCCESS
    assert packed.output is not None
    assert type(packed.output) is bytes
    assert (packed.consumed, packed.produced) == (nbytes, len(packed.output))
    assert decode(packed.output, algorithm) == data
    with zip_queue(StandIn(version=version), "decompress") as queue:
        (plain,) = run(queue, Decompress(packed.output, algorithm))
    assert plain.status is Status.SUCCESS
    assert (plain.output, plain.consumed, plain.produced) == (data, len(packed.output), nbytes)


@each_format
@pytest.mark.parametrize("nbytes", [1, 1000, 100_000])
def test_incompressible_data_fits(version: int, algorithm: str, nbytes: int) -> None:
    data = os.urandom(nbytes)
    with zip_queue(StandIn(version=version)) as queue:
        (packed,) = run(queue, Compress(data, algorithm))
        assert queue.statistics().extra["retries"] == 0
    assert packed.output is not None
    assert len(packed.output) > nbytes
    assert decode(packed.output, algorithm) == data


@each_format
def test_into_memory_of_the_caller(version: int, algorithm: str) -> None:
    data = sample(50_000)
    memory = bytearray(b"\xee" * 60_000)
    with zip_queue(StandIn(version=version)) as queue:
        (packed,) = run(queue, Compress(data, algorithm, into=memoryview(memory)[100:-100]))
    assert (packed.status, packed.output) == (Status.SUCCESS, None)
    assert decode(bytes(memory[100 : 100 + packed.produced]), algorithm) == data
    assert set(memory[:100] + memory[100 + packed.produced :]) == {0xEE}
    output = bytearray(b"\xee" * 50_010)
    with zip_queue(StandIn(version=version), "decompress") as queue:
        source = bytes(memory[100 : 100 + packed.produced])
        (plain,) = run(queue, Decompress(source, algorithm, into=memoryview(output)[5:-5]))
    assert (plain.status, plain.output, plain.produced) == (Status.SUCCESS, None, 50_000)
    assert output == b"\xee" * 5 + data + b"\xee" * 5


@pytest.mark.parametrize(
    ("version", "algorithm", "sqe_type"), [(2, "zlib", 0), (2, "gzip", 0), (3, "zlib", 3), (3, "deflate", 3)]
)
def test_the_descriptor_is_what_the_hardware_wants(version: int, algorithm: str, sqe_type: int) -> None:
    layer = StandIn(version=version, pumped=False)
    header = {"zlib": 2, "gzip": 10, "deflate": 0}[algorithm]
    memory = bytearray(5000)
    source = sample(4000)
    with zip_queue(layer) as queue:
        queue.enqueue_burst([(7, Compress(source, algorithm, into=memory))])
        (fields,) = descriptors(layer)
        grants = {(address, nbytes, writable) for address, nbytes, writable in layer.space.grants}
    tag = fields.pop("tag3" if sqe_type else "tag0")
    assert tag & 0xFFFF == 0, "the slot"
    source_address, destination = fields.pop("source"), fields.pop("destination")
    assert {(source_address, 4000, False), (destination, 5000 - header, True)} <= grants
    assert {name: value for name, value in fields.items() if value} == {
        "input_length": 4000, "finish": 1, "first": 1, "capacity": 5000 - header, "window": 4,
        "format": {"deflate": 1, "zlib": 2, "gzip": 3}[algorithm],
    } | ({"sqe_type": sqe_type} if sqe_type else {})  # fmt: skip


def test_raw_deflate_always_has_the_newer_descriptor() -> None:
    layer = StandIn(version=2)
    layer.formats = {1, 2, 3}
    layer.attributes["algorithms"] = ("zlib", "deflate")
    data = sample(5000)
    with zip_queue(layer) as queue:
        zlib_unit, deflate_unit = run(queue, Compress(data, "zlib"), Compress(data, "deflate"))
    assert decode(zlib_unit.output or b"", "zlib") == decode(deflate_unit.output or b"", "deflate") == data


@pytest.mark.parametrize(("window", "code"), [(None, 4), (15, 4), (14, 2), (13, 1), (12, 0)])
def test_windows(window: int | None, code: int) -> None:
    layer = StandIn(pumped=False)
    data = sample(40_000) * 2
    with zip_queue(layer) as queue:
        queue.enqueue_burst([(0, Compress(data, "zlib", window=window))])
        assert descriptors(layer)[0]["window"] == code
        running(layer).work()
        (packed,) = queue.dequeue_burst(1)
    assert packed.output is not None
    assert packed.output[0] >> 4 == (window or 15) - 8
    decoder = zlib.decompressobj(window or 15)
    assert decoder.decompress(packed.output) == data


@pytest.mark.parametrize("queue_class", ["compress", "decompress"])
def test_nothing_goes_all_the_way(queue_class: str) -> None:
    layer = StandIn(pumped=False)
    with zip_queue(layer, queue_class) as queue:
        queue.enqueue_burst([(5, Nop())])
        assert queue.dequeue_burst(1) == []
        running(layer).work()
        (done,) = queue.dequeue_burst(1)
    assert (done.tag, done.status, done.output, done.consumed, done.produced) == (
        5,
        Status.SUCCESS,
        None,
        0,
        0,
    )


def test_the_input_is_not_copied_where_the_device_can_reach_it() -> None:
    layer = StandIn(pumped=False)
    memory = mmap.mmap(-1, 8192)
    with zip_queue(layer) as queue:
        queue.enqueue_burst([(0, Compress(memory, "gzip"))])
        assert descriptors(layer)[0]["source"] == address_of(memory)


# -- members, room -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("split", [False, True], ids=["flat", "scattered"])
def test_members_are_one_whole(version: int, split: bool) -> None:
    parts = [sample(30_000, 1), b"", os.urandom(20_000), b"x" * 100_000, sample(5, 2)]
    data = b"".join(gzip.compress(part) for part in parts)
    source = pieces(data, 3, 11, 20_000, 20_001) if split else data
    with zip_queue(StandIn(version=version), "decompress") as queue:
        (plain,) = run(queue, Decompress(source, "gzip"))
        extra = queue.statistics().extra
    assert plain.output == b"".join(parts)
    assert (plain.consumed, plain.produced) == (len(data), sum(map(len, parts)))
    assert extra["members"] == 4
    assert bool(extra["chains"]) is split


def test_members_into_memory_of_the_caller_that_just_fits() -> None:
    data = gzip.compress(b"abc" * 1000) + gzip.compress(b"") + gzip.compress(b"d") + gzip.compress(b"") * 2
    for split in (False, True):
        memory = bytearray(3001)
        source = pieces(data + gzip.compress(b"", 0), 12) if split else data
        with zip_queue(StandIn(), "decompress") as queue:
            (plain,) = run(queue, Decompress(source, "gzip", into=memory))
        assert (plain.status, plain.produced, plain.output) == (Status.SUCCESS, 3001, None)
        assert memory == b"abc" * 1000 + b"d"


def test_a_full_memory_takes_no_more_members() -> None:
    data = gzip.compress(b"abc") + gzip.compress(b"d")
    memory = bytearray(3)
    with zip_queue(StandIn(), "decompress") as queue:
        (plain,) = run(queue, Decompress(data, "gzip", into=memory))
    expect(plain, Status.OUT_OF_SPACE_TERMINATED, "longer than 3 bytes")


def test_nothing_fits_into_nothing() -> None:
    with zip_queue(StandIn(), "decompress") as queue:
        empty, full = run(
            queue,
            Decompress(zlib.compress(b""), "zlib", into=bytearray()),
            Decompress(zlib.compress(b"1"), "zlib", into=bytearray()),
        )
    assert (empty.status, empty.produced) == (Status.SUCCESS, 0)
    expect(full, Status.OUT_OF_SPACE_TERMINATED, "longer than 0 bytes")


@pytest.mark.parametrize("name", ["x" * 5000, "name", ""])
def test_members_with_names_are_read(name: str) -> None:
    stream = io.BytesIO()
    with gzip.GzipFile(name, "wb", fileobj=stream) as file:
        file.write(b"data")
    with zip_queue(StandIn(), "decompress") as queue:
        (plain,) = run(queue, Decompress(stream.getvalue() * 2, "gzip"))
    assert plain.output == b"datadata"


@pytest.mark.parametrize("bound", [3, 5])
def test_members_are_bounded(bound: int) -> None:
    data = gzip.compress(b"a") * 4
    with zip_queue(StandIn(), "decompress") as queue:
        (plain,) = run(queue, Decompress(data, "gzip", max_members=bound))
    if bound < 4:
        expect(plain, Status.OUT_OF_SPACE_TERMINATED, "more than 3 members")
    else:
        assert plain.output == b"aaaa"


@each_format
def test_more_room_is_made_where_the_first_guess_was_too_little(version: int, algorithm: str) -> None:
    data = b"\0" * 3_000_000 + b"end"
    source = encode(data, algorithm)
    if algorithm == "gzip":  # whose trailer tells the length, of the last member
        data, source = data + b"more", source + encode(b"more", "gzip")
    with zip_queue(StandIn(version=version), "decompress") as queue:
        (plain,) = run(queue, Decompress(source, algorithm))
        assert queue.statistics().extra["retries"] > 1
    assert plain.output == data


def test_a_room_that_was_too_little_goes_back_to_the_pool() -> None:
    layer = StandIn(pumped=False)
    with zip_queue(layer, "decompress") as queue:
        queue.enqueue_burst([(0, Decompress(zlib.compress(bytes(100_000)), "zlib"))])
        (before,) = descriptors(layer)
        running(layer).work()
        assert queue.dequeue_burst(1) == []
        (after,) = descriptors(layer)
        assert after["capacity"] > before["capacity"]
        (room,) = queue._shop.outputs._free[1 << (before["capacity"] - 1).bit_length()]
        assert address_of(room) == before["destination"]
        running(layer).work()
        queue.dequeue_burst(1)


def test_a_trailer_that_tells_the_length_saves_the_trips() -> None:
    with zip_queue(StandIn(), "decompress") as queue:
        (plain,) = run(queue, Decompress(gzip.compress(b"\0" * 3_000_000), "gzip"))
        assert queue.statistics().extra["retries"] == 0
        assert queue.statistics().extra["doorbells"] == 1
    assert plain.produced == 3_000_000


def test_a_trailer_that_lies_costs_trips_and_no_memory() -> None:
    data = gzip.compress(b"\0" * 3000)[:-4] + b"\xff\xff\xff\x7f"
    layer = StandIn(pumped=False)
    with zip_queue(layer, "decompress") as queue:
        queue.enqueue_burst([(0, Decompress(data, "gzip"))])
        assert descriptors(layer)[0]["capacity"] < 8192
        running(layer).work()
        expect(queue.dequeue_burst(1)[0], Status.CHECKSUM_FAILED, "trailer", DataCause.CHECKSUM)


@each_format
@pytest.mark.parametrize("nbytes", [0, 1, 1000, 99_999, 100_000])
def test_max_length_is_exact(version: int, algorithm: str, nbytes: int) -> None:
    source = encode(bytes(nbytes), algorithm)
    with zip_queue(StandIn(version=version), "decompress") as queue:
        fits, tight = run(
            queue,
            Decompress(source, algorithm, max_length=nbytes),
            Decompress(source, algorithm, max_length=max(nbytes - 1, 0)),
        )
    assert fits.output == bytes(nbytes)
    if nbytes:
        expect(tight, Status.OUT_OF_SPACE_TERMINATED, f"{nbytes - 1} bytes")


def test_max_length_holds_for_memory_of_the_caller_too() -> None:
    source = zlib.compress(bytes(1000))
    with zip_queue(StandIn(), "decompress") as queue:
        (plain,) = run(queue, Decompress(source, "zlib", max_length=999, into=bytearray(2000)))
    expect(plain, Status.OUT_OF_SPACE_TERMINATED, "longer than 999 bytes")


def test_more_than_a_descriptor_can_produce_is_for_somebody_else() -> None:
    source = zlib.compress(bytes((8 << 20) + 1))
    with zip_queue(StandIn(), "decompress") as queue:
        owned, into, most = run(
            queue,
            Decompress(source, "zlib"),
            Decompress(source, "zlib", into=bytearray(9 << 20)),
            Decompress(zlib.compress(bytes(8 << 20)), "zlib"),
        )
    expect(owned, Status.INVALID_ARGS, "longer than 8388608 bytes, the most that can be done here")
    expect(into, Status.INVALID_ARGS, "the most that can be done here")
    assert most.produced == 8 << 20


def test_an_engine_that_never_has_room_is_not_asked_for_ever() -> None:
    layer = StandIn()
    layer.script.extend(Mishap(status=0x0E) for _ in range(30))
    with zip_queue(layer) as queue:
        (packed,) = run(queue, Compress(sample(10_000), "zlib"))
        retries = queue.statistics().extra["retries"]
        assert len(layer.script) == 30 - 1 - retries > 20
        expect(packed, Status.INVALID_ARGS, "longer than 8388608 bytes, the most that can be done here")


def test_the_longest_input_fits_whatever_it_is() -> None:
    data = os.urandom(7 << 20)
    with zip_queue(StandIn()) as queue:
        longest, longer = run(queue, Compress(data, "zlib"), Compress(data + b"x", "zlib"))
    assert longest.output is not None
    assert zlib.decompress(longest.output) == data
    expect(longer, Status.INVALID_ARGS, "expected at most 7340032 bytes, got 7340033")


@each_format
def test_memory_of_the_caller_that_is_too_small(version: int, algorithm: str) -> None:
    data = os.urandom(5000)
    with zip_queue(StandIn(version=version)) as queue:
        for completion in run(
            queue, *(Compress(data, algorithm, into=bytearray(room)) for room in (0, 1, 10, 11, 4999))
        ):
            expect(completion, Status.OUT_OF_SPACE_TERMINATED, "the output is longer than")
        small, right = run(
            queue,
            Compress(b"", algorithm, into=bytearray(len(encode(b"", algorithm)) - 1)),
            Compress(b"", algorithm, into=bytearray(len(encode(b"", algorithm)))),
        )
    expect(small, Status.OUT_OF_SPACE_TERMINATED)
    assert right.produced == len(encode(b"", algorithm))


# -- bad input -------------------------------------------------------------------------------------------------------------


def broken(data: bytes, position: int) -> bytes:
    return data[:position] + bytes((data[position] ^ 0xFF,)) + data[position + 1 :]


GZ, ZL = gzip.compress(sample(3000), mtime=0), zlib.compress(sample(3000))


@pytest.mark.parametrize(
    ("algorithm", "data", "status", "cause"),
    [
        ("gzip", b"", Status.DATA_ERROR, DataCause.TRUNCATED),
        ("gzip", GZ[:5], Status.DATA_ERROR, DataCause.TRUNCATED),
        ("gzip", GZ[:10], Status.DATA_ERROR, DataCause.TRUNCATED),
        ("gzip", GZ[:500], Status.DATA_ERROR, DataCause.TRUNCATED),
        ("gzip", GZ[:-8], Status.DATA_ERROR, DataCause.TRUNCATED),
        ("gzip", GZ[:-1], Status.DATA_ERROR, DataCause.TRUNCATED),
        ("gzip", ZL, Status.DATA_ERROR, DataCause.WRONG_FORMAT),
        ("gzip", broken(GZ, 2), Status.DATA_ERROR, DataCause.CORRUPT),
        ("gzip", GZ[:10] + b"\xff" * 100, Status.DATA_ERROR, DataCause.CORRUPT),
        ("gzip", broken(GZ, len(GZ) - 8), Status.CHECKSUM_FAILED, DataCause.CHECKSUM),
        ("gzip", broken(GZ, len(GZ) - 1), Status.CHECKSUM_FAILED, DataCause.CHECKSUM),
        ("gzip", GZ + b"\0x", Status.DATA_ERROR, DataCause.TRAILING_DATA),
        ("gzip", GZ + b"trailing", Status.DATA_ERROR, DataCause.TRAILING_DATA),
        ("gzip", GZ + b"\x1f", Status.DATA_ERROR, DataCause.TRUNCATED),
        ("gzip", GZ + GZ[:10], Status.DATA_ERROR, DataCause.TRUNCATED),
        ("gzip", GZ + broken(GZ, len(GZ) - 8), Status.CHECKSUM_FAILED, DataCause.CHECKSUM),
        ("zlib", GZ, Status.DATA_ERROR, DataCause.WRONG_FORMAT),
        ("zlib", ZL[:1], Status.DATA_ERROR, DataCause.TRUNCATED),
        ("zlib", ZL[:-1], Status.DATA_ERROR, DataCause.TRUNCATED),
        ("zlib", broken(ZL, len(ZL) - 1), Status.CHECKSUM_FAILED, DataCause.CHECKSUM),
        ("zlib", ZL + b"x", Status.DATA_ERROR, DataCause.TRAILING_DATA),
        ("zlib", ZL + ZL, Status.DATA_ERROR, DataCause.TRAILING_DATA),
    ],
)
@pytest.mark.parametrize("split", [False, True], ids=["flat", "in pieces"])
def test_bad_input_is_named(
    algorithm: str, data: bytes, status: Status, cause: DataCause, split: bool
) -> None:
    source = pieces(data, len(data) // 3, len(data) // 2) if split else data
    with zip_queue(StandIn(), "decompress") as queue:
        (plain,) = run(queue, Decompress(source, algorithm))
        expect(plain, status, "", cause)
        assert plain.detail.message
        (good,) = run(queue, Decompress(GZ, "gzip"))
        assert good.status is Status.SUCCESS


@pytest.mark.parametrize(
    ("version", "algorithm", "tells_end", "whole"),
    [
        (2, "zlib", False, True),
        (2, "gzip", False, True),
        (3, "deflate", True, True),
        (3, "deflate", False, False),
    ],
)
@pytest.mark.parametrize("nbytes", [0, 1, 5000])
def test_an_end_that_is_not_told_is_known_by_the_trailer(
    version: int, algorithm: str, tells_end: bool, whole: bool, nbytes: int
) -> None:
    """Raw deflate has no trailer: its last byte could be the last one that was sent."""
    layer = StandIn(version=version)
    layer.tells_end = tells_end
    with zip_queue(layer, "decompress") as queue:
        (plain,) = run(queue, Decompress(encode(sample(nbytes), algorithm), algorithm))
    if whole:
        assert (plain.status, plain.output) == (Status.SUCCESS, sample(nbytes))
    else:
        expect(plain, Status.DATA_ERROR, "ends too early", DataCause.TRUNCATED)


def test_an_end_within_the_input_is_one() -> None:
    layer = StandIn(version=3)
    layer.tells_end = False
    with zip_queue(layer, "decompress") as queue:
        (plain,) = run(queue, Decompress(encode(b"data", "deflate") + b"more", "deflate"))
    expect(plain, Status.DATA_ERROR, "4 bytes after the end", DataCause.TRAILING_DATA)


def test_an_end_may_be_told_in_the_context_word() -> None:
    layer = StandIn(version=3)
    layer.tells_end = False
    layer.script.append(Mishap(final_block=True))
    with zip_queue(layer, "decompress") as queue:
        (plain,) = run(queue, Decompress(encode(b"data", "deflate"), "deflate"))
    assert plain.output == b"data"


@pytest.mark.parametrize("length", range(2, 60))
def test_every_cut_of_a_unit_is_noticed(length: int) -> None:
    data = sample(40)
    layer = StandIn(version=3)
    units = {algorithm: encode(data, algorithm) for algorithm in WBITS}
    with zip_queue(layer, "decompress") as queue:
        for algorithm, unit in units.items():
            for layer.tells_end in (True, False):
                (plain,) = run(queue, Decompress(unit[:length], algorithm))
                if length < len(unit):
                    expect(plain, Status.DATA_ERROR, "", DataCause.TRUNCATED)
                elif layer.tells_end or algorithm != "deflate":
                    assert plain.output == data


# -- operations that the device cannot do ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "queue_class", "message"),
    [
        (lambda: Compress(b"x", "br"), "compress", "algorithm: expected one of zlib, gzip here, got 'br'"),
        (lambda: Compress(b"x", "deflate"), "compress", "algorithm"),
        (lambda: Compress(b"x", "gzip", level=10), "compress", "level: expected one of (0, 9), got 10"),
        (lambda: Compress(b"x", "gzip", level=-1), "compress", "level"),
        (lambda: Compress(b"x", "gzip", level="huge"), "compress", "level"),
        (lambda: Compress(b"x", "gzip", window=11), "compress", "window: expected 12 to 15, got 11"),
        (lambda: Compress(b"x", "gzip", window=16), "compress", "window"),
        (lambda: Compress(b"x", "gzip"), "decompress", "Compress is nothing for a decompress queue"),
        (lambda: Decompress(GZ, "gzip"), "compress", "Decompress is nothing for a compress queue"),
        (lambda: Decompress(GZ, "lz4"), "decompress", "algorithm"),
        (lambda: Decompress(bytes((8 << 20) + 1), "zlib"), "decompress", "expected at most 8388608 bytes"),
    ],
)
def test_what_cannot_be_done_completes_so(
    operation: Callable[[], Operation], queue_class: str, message: str
) -> None:
    layer = StandIn(pumped=False)
    with zip_queue(layer, queue_class) as queue:
        assert queue.enqueue_burst([(9, operation())]) == 1
        assert queue.dequeue_burst(9) == [], "it completes as everything else does, so that it wakes the loop"
        running(layer).work()
        (completion,) = queue.dequeue_burst(9)
        expect(completion, Status.INVALID_ARGS, message)
        assert queue.statistics().extra["carried"] == 1


def test_memory_that_the_device_cannot_reach() -> None:
    layer = StandIn()
    with zip_queue(layer) as queue:
        layer.space.refuse = lambda buffer: errno.EFAULT if len(buffer) == 777 else 0
        source, pieced, good = run(
            queue,
            Compress(bytes(777), "zlib"),
            Compress([bytes(40_000), bytes(777)], "zlib"),
            Compress(bytes(778), "zlib"),
        )
    expect(source, Status.INVALID_ARGS, "the device cannot reach the buffer: [Errno 14]")
    expect(pieced, Status.INVALID_ARGS, "the device cannot reach the buffer")
    assert good.status is Status.SUCCESS


def paged(data: bytes, *present: int) -> PagedBuffer:
    """An input of pages, of which some have come already; :func:`page_in` brings the others."""

    async def pager(offset: int, length: int) -> bytes:
        return data[offset : offset + length]

    buffer = PagedBuffer(len(data), pager)
    for page in present:
        anyio.run(buffer.fetch, page)
    return buffer


def page_in(buffer: PagedBuffer) -> None:
    """What the device's page faults bring about."""
    anyio.run(buffer.fetch_all)


def test_an_input_whose_pages_come_while_the_device_reads() -> None:
    data = sample(20_000)
    buffer = paged(data)
    layer = StandIn(pumped=False)
    with zip_queue(layer) as queue:
        queue.enqueue_burst([(0, Compress(buffer, "gzip"))])
        assert buffer.fetched == 0
        page_in(buffer)
        running(layer).work()
        (packed,) = queue.dequeue_burst(1)
    assert packed.output is not None
    assert gzip.decompress(packed.output) == data


@pytest.mark.parametrize("tells_end", [False, True])
@pytest.mark.parametrize("members", [1, 3])
def test_the_header_is_read_from_pages_that_are_there(members: int, tells_end: bool) -> None:
    plain_data = os.urandom(10_000)
    data = gzip.compress(plain_data) * members
    buffer = paged(data, 0)
    layer = StandIn(pumped=False)
    layer.tells_end = tells_end
    with zip_queue(layer, "decompress") as queue:
        queue.enqueue_burst([(0, Decompress(buffer, "gzip"))])
        assert buffer.fetched == 1
        page_in(buffer)
        done: list[Completion] = []
        while not done:
            running(layer).work()
            done += queue.dequeue_burst(1)
    assert done[0].output == plain_data * members


def test_a_header_in_pages_that_do_not_come() -> None:
    name = b"n" * 5000
    data = gzip.compress(b"data")
    data = data[:3] + b"\x08" + data[4:10] + name + b"\0" + data[10:]
    with zip_queue(StandIn(), "decompress") as queue:
        first, second, both = run(
            queue,
            Decompress(paged(data), "gzip"),
            Decompress(paged(data, 0), "gzip"),
            Decompress(paged(data, 0, 1), "gzip"),
        )
    for completion in (first, second):
        expect(completion, Status.PAGE_FAULT, "a page of the input did not come")
    assert both.output == b"data"


def test_a_layer_that_does_not_know_such_memory_refuses_it() -> None:
    layer = StandIn()
    layer.space.takes_paged = False
    with zip_queue(layer) as queue:
        (packed,) = run(queue, Compress(paged(b"data"), "gzip"))
    expect(packed, Status.INVALID_ARGS, "the device cannot reach such a buffer")


def test_levels_that_the_device_does_not_have_are_counted() -> None:
    with zip_queue(StandIn()) as queue:
        levels = ("fast", "best", "balanced", 1, 0, 9)
        done = run(queue, *(Compress(b"data", "gzip", level=level) for level in levels))
        assert {completion.output for completion in done} == {done[0].output}
        assert queue.statistics().levels_mapped == 2


# -- scatter lists -----------------------------------------------------------------------------------------------------------


@each_format
@pytest.mark.parametrize("count", [2, 255, 256, 1000])
def test_scattered_input(version: int, algorithm: str, count: int) -> None:
    data = sample(50_000)
    cuts = sorted(zlib.crc32(bytes((n % 256, n // 256))) % 50_000 for n in range(count - 1))
    source = pieces(data, *cuts)
    with zip_queue(StandIn(version=version)) as queue:
        (packed,) = run(queue, Compress(source, algorithm))
        assert queue.statistics().extra["chains"] == 2
    assert packed.output is not None
    assert decode(packed.output, algorithm) == data
    cut = len(packed.output) // count
    source = pieces(packed.output, *range(cut, cut * count, cut))
    with zip_queue(StandIn(version=version), "decompress") as queue:
        (plain,) = run(queue, Decompress(source, algorithm))
    assert plain.output == data


def test_a_short_input_in_pieces_is_joined() -> None:
    layer = StandIn(pumped=False)
    with zip_queue(layer) as queue:
        queue.enqueue_burst([(0, Compress([b"ab", b"", memoryview(b"cd")], "zlib"))])
        assert descriptors(layer)[0]["buffer_type"] == 0
        running(layer).work()
        (packed,) = queue.dequeue_burst(1)
        assert queue.statistics().extra["joined"] == 1
    assert packed.output is not None
    assert zlib.decompress(packed.output) == b"abcd"


def test_one_piece_among_empty_ones_is_no_list() -> None:
    layer = StandIn(pumped=False)
    data = sample(40_000)
    with zip_queue(layer) as queue:
        queue.enqueue_burst([(0, Compress([b"", data, bytearray()], "zlib"))])
        assert descriptors(layer)[0]["buffer_type"] == 0
        assert (queue.statistics().extra["joined"], queue.statistics().extra["chains"]) == (0, 0)


def test_a_list_of_nothing_is_empty() -> None:
    with zip_queue(StandIn()) as queue:
        for completion in run(queue, Compress([], "gzip"), Compress([b"", b""], "gzip")):
            assert completion.output is not None
            assert gzip.decompress(completion.output) == b""


def test_scattered_input_into_memory_of_the_caller() -> None:
    data = sample(90_000)
    memory = bytearray(b"\xee" * 100_000)
    with zip_queue(StandIn()) as queue:
        (packed,) = run(queue, Compress(pieces(data, 5, 40_000), "gzip", into=memoryview(memory)[7:]))
    assert gzip.decompress(memory[7 : 7 + packed.produced]) == data
    assert set(memory[:7] + memory[7 + packed.produced :]) == {0xEE}


# -- status codes ------------------------------------------------------------------------------------------------------------


SUCCESSES = [code for code, row in STATUSES.items() if row.status is Status.SUCCESS]


@pytest.mark.parametrize("queue_class", ["compress", "decompress"])
@pytest.mark.parametrize("code", [code for code in range(256) if code not in SUCCESSES])
def test_every_status_code(code: int, queue_class: str) -> None:
    layer = StandIn()
    layer.script.append(Mishap(status=code))
    # Memory of the caller: for the output that does not fit there is no other room.
    operations: dict[str, Operation] = {
        "compress": Compress(b"data", "zlib", into=bytearray(100)),
        "decompress": Decompress(ZL, "zlib", into=bytearray(4000)),
    }
    with zip_queue(layer, queue_class) as queue:
        done, after = run(queue, operations[queue_class], operations[queue_class])
    if code in STATUSES:
        row = STATUSES[code]
        message = "longer than" if code == ZipStatus.OUTPUT_FULL else row.message
        expect(done, row.status, message, row.cause)
    else:
        unknown = {"compress": Status.DEVICE_ERROR, "decompress": Status.DATA_ERROR}[queue_class]
        expect(done, unknown, f"status {code:#x}, which is in no public list")
    assert after.status is Status.SUCCESS


@pytest.mark.parametrize(("last_block", "status"), [(True, Status.SUCCESS), (False, Status.DATA_ERROR)])
def test_the_end_of_a_stream_is_one_only_after_its_last_block(last_block: bool, status: Status) -> None:
    layer = StandIn()
    body = len(ZL) - 2
    layer.script.append(Mishap(status=0x13, last_block=last_block, consumed=body, produced=3000))
    with zip_queue(layer, "decompress") as queue:
        (plain,) = run(queue, Decompress(ZL, "zlib", into=bytearray(4000)))
    assert plain.status is status


@pytest.mark.parametrize(
    ("queue_class", "mishap"),
    [
        ("compress", Mishap(consumed=5)),
        ("compress", Mishap(consumed=3)),
        ("compress", Mishap(produced=10_000)),
        ("decompress", Mishap(consumed=1 << 31)),
        ("decompress", Mishap(produced=0xFFFFFFFF)),
    ],
)
def test_numbers_that_cannot_be_are_not_believed(queue_class: str, mishap: Mishap) -> None:
    layer = StandIn()
    layer.script.append(mishap)
    operation = Compress(b"data", "zlib") if queue_class == "compress" else Decompress(ZL, "zlib")
    with zip_queue(layer, queue_class) as queue:
        (completion,) = run(queue, operation)
    expect(completion, Status.DEVICE_ERROR, "the device ")


def test_a_device_that_fails_at_nothing() -> None:
    layer = StandIn()
    layer.script.append(Mishap(status=0x77))
    with zip_queue(layer) as queue:
        (done,) = run(queue, Nop())
    expect(done, Status.DEVICE_ERROR, "status 0x77")


def test_a_tag_that_comes_back_changed() -> None:
    layer = StandIn()
    layer.script.append(Mishap(tag=0x12345678))
    with zip_queue(layer) as queue:
        wrong, right = run(queue, Compress(b"one", "zlib"), Compress(b"two", "zlib"))
        assert queue.statistics().extra["bad_tags"] == 1
    expect(wrong, Status.DEVICE_ERROR, "another tag")
    assert right.output is not None
    assert zlib.decompress(right.output) == b"two"


def test_tags_on_the_wire_differ_from_lap_to_lap() -> None:
    layer = StandIn(depth=4, pumped=False)
    seen = []
    with zip_queue(layer) as queue:
        for _ in range(12):
            queue.enqueue_burst([(0xFFFFFFFF, Nop())])
            seen.append(descriptors(layer)[0]["tag0"])
            running(layer).work()
            assert queue.dequeue_burst(1)[0].tag == 0xFFFFFFFF
    assert [tag & 0xFFFF for tag in seen] == [0, 1, 2, 3] * 3
    assert len(set(seen)) == 12


def test_page_faults_are_told() -> None:
    layer = StandIn()
    layer.script.extend([Mishap(faults=3), Mishap(faults=2), Mishap()])
    with zip_queue(layer, "decompress") as queue:
        two, none = run(queue, Decompress(GZ, "gzip"), Decompress(b"nothing", "gzip"))
        assert two.detail.faults == 3
        assert none.detail.faults == 2
        assert run(queue, Decompress(GZ, "gzip"))[0].detail.faults == 0


def test_page_faults_add_up_over_the_trips() -> None:
    layer = StandIn()
    layer.script.extend([Mishap(faults=1), Mishap(faults=2)])
    with zip_queue(layer, "decompress") as queue:
        (plain,) = run(queue, Decompress(GZ + GZ, "gzip"))
    assert (plain.status, plain.detail.faults) == (Status.SUCCESS, 3)


# -- laps, bursts, slots -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [64, 1024])
@pytest.mark.parametrize("queue_class", ["compress", "decompress"])
def test_three_laps_and_more(depth: int, queue_class: str) -> None:
    layer = StandIn(depth, pumped=False)
    total, sent = 3 * depth + 100, 0
    got: dict[int, Any] = {}
    packed = [zlib.compress(b"%d" % number) for number in range(total)]
    with zip_queue(layer, queue_class) as queue:
        file = running(layer)
        assert queue.depth == depth - 1
        while len(got) < total:
            burst = [
                (number, Compress(b"%d" % number, "zlib") if queue_class == "compress" else Decompress(packed[number], "zlib"))
                for number in range(sent, min(sent + depth // 3, total))
            ]  # fmt: skip
            sent += queue.enqueue_burst(burst)
            file.work(depth // 4)
            for completion in queue.dequeue_burst(depth // 5):
                assert completion.status is Status.SUCCESS
                got[completion.tag] = completion.output
        statistics = queue.statistics()
        assert file.phase == 1 ^ total // depth % 2
    assert list(got) == list(range(total)), "in order"
    for number, output in got.items():
        assert (zlib.decompress(output) if queue_class == "compress" else output) == b"%d" % number
    assert (statistics.enqueued, statistics.dequeued, statistics.in_flight) == (total, total, 0)
    assert statistics.extra["strays"] == 0


def test_a_full_queue_takes_what_fits() -> None:
    layer = StandIn(8, pumped=False)
    with zip_queue(layer) as queue:
        burst = [(number, Compress(b"x", "zlib")) for number in range(10)]
        assert queue.enqueue_burst(burst) == 7
        assert queue.enqueue_burst(burst[7:]) == 0
        running(layer).work(2)
        assert queue.enqueue_burst(burst[7:]) == 0, "finished, and not taken yet"
        assert [completion.tag for completion in queue.dequeue_burst(9)] == [0, 1]
        assert queue.enqueue_burst(burst[7:]) == 2
        statistics = queue.statistics()
        assert (statistics.in_flight, statistics.rejected, statistics.depth) == (7, 3 + 3 + 3 + 1, 7)
        assert statistics.extra["doorbells"] == 2
        assert layer.space.grants.total() == 2 + 2 * 7


def test_a_queue_may_be_shallower_than_its_ring() -> None:
    layer = StandIn(64, pumped=False)
    with zip_queue(layer, depth=5) as queue:
        assert queue.depth == 5
        assert queue.enqueue_burst([(number, Nop()) for number in range(9)]) == 5


def test_out_of_order_completions_find_their_operations() -> None:
    layer = StandIn(8, pumped=False)
    with zip_queue(layer) as queue:
        for lap in range(5):
            entries = [(number, Compress(b"%d %d" % (lap, number), "zlib")) for number in range(7)]
            assert queue.enqueue_burst(entries) == 7
            running(layer).work(4, last_first=True)
            done = list(queue.dequeue_burst(9))
            assert [completion.tag for completion in done] == [6, 5, 4, 3]
            running(layer).work()
            done += queue.dequeue_burst(9)
            for completion in done:
                assert completion.output is not None
                assert zlib.decompress(completion.output) == b"%d %d" % (lap, completion.tag)


def test_further_trips_do_not_overtake_the_ring() -> None:
    """Operations of many trips in a ring that is full all the time."""
    layer = StandIn(4)
    data = gzip.compress(b"x" * 100) * 20
    with zip_queue(layer, "decompress") as queue:
        left: list[tuple[int, Operation]] = [(tag, Decompress(data, "gzip")) for tag in range(30)]
        done: list[int] = []
        for _ in range(2000):
            accepted = queue.enqueue_burst(left)
            del left[:accepted]
            for completion in queue.dequeue_burst(10):
                assert completion.produced == 2000
                done.append(completion.tag)
            if len(done) == 30:
                break
    assert sorted(done) == list(range(30))


# -- buffers -------------------------------------------------------------------------------------------------------------------


def test_buffers_are_granted_while_the_device_has_them() -> None:
    layer = StandIn(pumped=False)
    data, memory = sample(5000), bytearray(6000)
    with zip_queue(layer) as queue:
        before = dict(layer.space.grants)
        queue.enqueue_burst([(0, Compress(data, "zlib", into=memory)), (1, Compress(data, "zlib"))])
        assert layer.space.grants[address_of(data), 5000, False] == 2
        assert layer.space.grants[address_of(memory) + 2, 5998, True] == 1
        running(layer).work()
        assert layer.space.grants[address_of(data), 5000, False] == 2, "until the completion is taken"
        queue.dequeue_burst(1)
        assert layer.space.grants[address_of(data), 5000, False] == 1
        queue.dequeue_burst(1)
        assert dict(layer.space.grants) == before


def test_a_buffer_in_flight_cannot_be_resized() -> None:
    layer = StandIn(pumped=False)
    data = bytearray(5000)
    with zip_queue(layer) as queue:
        queue.enqueue_burst([(0, Compress(data, "zlib"))])
        with pytest.raises(BufferError):
            data.append(1)
        running(layer).work()
        queue.dequeue_burst(1)
        data.append(1)


@pytest.mark.parametrize("end", ["stop", "close"])
def test_aborted_operations_keep_their_memory_until_close(end: str) -> None:
    layer = StandIn(pumped=False)
    data = bytearray(5000)
    with zip_queue(layer) as queue:
        queue.enqueue_burst([(0, Compress(data, "zlib")), (1, Compress(bytes(700_000), "zlib"))])
        granted = dict(layer.space.grants)
        queue.stop()
        assert [completion.status for completion in queue.dequeue_burst(9)] == [Status.ABORTED] * 2
        assert dict(layer.space.grants) == granted
        running(layer).work()
        with pytest.raises(BufferError):
            data.append(1)
        assert queue.dequeue_burst(9) == []
        queue.close()
        data.append(1)


# -- the end -------------------------------------------------------------------------------------------------------------------


def test_stop_delivers_what_was_finished() -> None:
    layer = StandIn(pumped=False)
    with zip_queue(layer) as queue:
        queue.enqueue_burst([(number, Compress(b"x", "zlib")) for number in range(5)])
        running(layer).work(2)
        queue.stop()
        queue.stop()
        done = queue.dequeue_burst(99)
        assert [(completion.tag, completion.status.name) for completion in done] == [
            (0, "SUCCESS"), (1, "SUCCESS"), (2, "ABORTED"), (3, "ABORTED"), (4, "ABORTED"),
        ]  # fmt: skip
        assert queue.enqueue_burst([(9, Nop())]) == 0
        assert queue.statistics().in_flight == 0
        assert queue.arm(), "there is nothing to look for any more"


def test_stop_aborts_what_needs_another_trip() -> None:
    layer = StandIn(pumped=False)
    with zip_queue(layer, "decompress") as queue:
        queue.enqueue_burst([(0, Decompress(GZ + GZ, "gzip"))])
        running(layer).work()
        queue.stop()
        (done,) = queue.dequeue_burst(9)
        expect(done, Status.ABORTED, "the queue was stopped")
        assert not running(layer).pending, "nothing new is sent"


def test_completions_of_a_stopped_queue_wait_for_no_interrupt() -> None:
    layer = StandIn(pumped=False)
    with zip_queue(layer) as queue:
        queue.enqueue_burst([(0, Nop())])
        queue.stop()
        assert not queue.arm()


def test_close_may_come_without_stop_and_twice() -> None:
    layer = StandIn(pumped=False)
    with zip_queue(layer) as queue:
        queue.enqueue_burst([(0, Nop())])
        queue.close()
        queue.close()
        assert [completion.status for completion in queue.dequeue_burst(9)] == [Status.ABORTED]
        assert queue.statistics().dequeued == 1
        assert "closed" in repr(queue)


def test_memory_is_kept_when_close_fails() -> None:
    layer = StandIn(pumped=False)
    with zip_queue(layer) as queue:
        queue.enqueue_burst([(0, Compress(b"data", "zlib"))])
        layer.errors["close"] = errno.EIO
        with pytest.raises(OSError, match="Input/output error"):
            queue.close()
        assert layer.space.grants.total() == 4
        layer.errors.clear()
        queue.close()
        assert layer.space.grants.total() == 0


def test_withdrawing_comes_too_late() -> None:
    layer = StandIn(pumped=False)
    with zip_queue(layer) as queue:
        queue.enqueue_burst([(3, Nop())])
        assert not queue.withdraw(3)
        assert not queue.withdraw(4)


def test_withdrawing_between_two_trips() -> None:
    layer = StandIn(4, pumped=False)
    with zip_queue(layer, "decompress") as queue:
        file = running(layer)
        queue.enqueue_burst([(tag, Decompress(GZ + GZ, "gzip", into=bytearray(6000))) for tag in range(3)])
        file.work(1, last_first=True)  # the slot after it is the last free one; slot 0 is still taken
        assert queue.dequeue_burst(9) == []
        file.work(2, last_first=True)
        assert [completion.tag for completion in queue.dequeue_burst(9)] == [2]
        assert [request.tag for request in queue._again] == [1]
        assert queue.withdraw(1)
        assert not queue.withdraw(1)
        for _ in range(5):
            file.work()
            done = queue.dequeue_burst(9)
            assert all(completion.tag == 0 for completion in done)
        statistics = queue.statistics()
        assert (statistics.withdrawn, statistics.dequeued, statistics.in_flight) == (1, 2, 0)


# -- a device that goes away ---------------------------------------------------------------------------------------------------


def test_operations_in_flight_end_when_the_device_is_reset() -> None:
    layer = StandIn(pumped=False)
    with zip_queue(layer) as queue:
        queue.enqueue_burst([(number, Compress(b"x", "zlib")) for number in range(4)])
        running(layer).work(1)
        running(layer).disable()
        done = queue.dequeue_burst(9)
        assert [completion.status.name for completion in done] == ["SUCCESS"]
        done = queue.dequeue_burst(2)
        assert [completion.tag for completion in done] == [1, 2]
        (last,) = queue.dequeue_burst(9)
        expect(last, Status.DEVICE_ERROR, "the device is in reset (send and receive side disabled)")
        assert queue.statistics().in_flight == 0
        assert "lost" in repr(queue)


def test_arming_notices_a_reset() -> None:
    layer = StandIn(pumped=False)
    with zip_queue(layer) as queue:
        queue.enqueue_burst([(0, Nop())])
        running(layer).disable(send=0)
        assert not queue.arm()
        expect(queue.dequeue_burst(9)[0], Status.DEVICE_ERROR, "receive side")
        assert queue.arm()


def test_a_lost_queue_takes_operations_and_ends_them() -> None:
    layer = StandIn(pumped=False)
    with zip_queue(layer) as queue:
        running(layer).disable()
        assert queue.enqueue_burst([(0, Nop()), (1, Compress(b"x", "zlib"))]) == 2
        assert not queue.arm()
        assert [completion.status for completion in queue.dequeue_burst(9)] == [Status.DEVICE_ERROR] * 2
        assert queue.enqueue_burst([(2, Nop())]) == 1
        assert [completion.tag for completion in queue.dequeue_burst(9)] == [2]
        assert running(layer).fetched == 0
        queue.stop()
        assert queue.enqueue_burst([(2, Nop())]) == 0


def test_a_reset_between_two_trips() -> None:
    layer = StandIn(pumped=False)
    with zip_queue(layer, "decompress") as queue:
        queue.enqueue_burst([(0, Decompress(GZ + GZ, "gzip"))])
        running(layer).work()
        running(layer).disable()
        expect(queue.dequeue_burst(9)[0], Status.DEVICE_ERROR, "in reset")


# -- interrupts -----------------------------------------------------------------------------------------------------------------


def test_a_lost_interrupt_is_no_lost_completion() -> None:
    layer = StandIn(pumped=False)
    layer.script.append(Mishap(interrupt=False))
    with zip_queue(layer) as queue:
        queue.enqueue_burst([(0, Nop())])
        assert queue.arm()
        running(layer).work()
        with pytest.raises(BlockingIOError):
            os.eventfd_read(queue.fileno())
        assert not queue.arm(), "the safety timer's look"
        assert len(queue.dequeue_burst(9)) == 1


def test_a_spurious_interrupt_costs_a_look() -> None:
    layer = StandIn(pumped=False)
    with zip_queue(layer) as queue:
        queue.enqueue_burst([(0, Nop())])
        assert queue.arm()
        os.eventfd_write(queue.fileno(), 1)
        assert queue.dequeue_burst(9) == []
        assert queue.arm()
        running(layer).work()
        assert os.eventfd_read(queue.fileno()) == 1
        assert len(queue.dequeue_burst(9)) == 1
        assert queue.statistics().wakes == 1


def test_a_completion_that_is_lost_is_waited_for() -> None:
    layer = StandIn(pumped=False)
    layer.script.append(Mishap(completions=0))
    with zip_queue(layer) as queue:
        queue.enqueue_burst([(0, Nop()), (1, Nop())])
        running(layer).work()
        assert [completion.tag for completion in take(queue)] == [1]
        assert queue.statistics().in_flight == 1, "its deadline is not the queue's affair"


# -- without shared addresses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("into", [False, True])
def test_without_shared_addresses_all_goes_through_the_reserved_region(into: bool) -> None:
    data = sample(20_000)
    layer = StandIn(sva=False, pumped=False)
    memory = bytearray(b"\xee" * 22_000) if into else None
    with zip_queue(layer) as queue:
        queue.enqueue_burst([(0, Compress(pieces(data, 7_000), "gzip", into=memory))])
        (fields,) = descriptors(layer)
        assert fields["source"] >= IOVA
        assert fields["destination"] >= IOVA
        running(layer).work()
        (packed,) = queue.dequeue_burst(1)
    output = packed.output if memory is None else bytes(memory[: packed.produced])
    assert output is not None
    assert gzip.decompress(output) == data
    layer = StandIn(sva=False)
    with zip_queue(layer, "decompress") as queue:
        target = bytearray(20_000) if into else None
        (plain,) = run(queue, Decompress(output + gzip.compress(b""), "gzip", into=target))
    assert (target if into else plain.output) == data
    assert layer.space.reserved == 1 << 20


def test_a_reserved_region_that_is_used_up_makes_the_queue_full() -> None:
    layer = StandIn(sva=False, reserved=40_000, pumped=False)
    with zip_queue(layer) as queue:
        burst = [(number, Compress(bytes(5000), "zlib")) for number in range(5)]
        accepted = queue.enqueue_burst(burst)
        assert 0 < accepted < 5
        assert queue.enqueue_burst(burst[accepted:]) == 0
        running(layer).work()
        assert len(queue.dequeue_burst(9)) == accepted
        assert queue.enqueue_burst(burst[accepted:]) > 0


def test_what_never_fits_into_the_reserved_region_is_refused() -> None:
    with zip_queue(StandIn(sva=False, reserved=4000)) as queue:
        (completion,) = run(queue, Compress(bytes(5000), "zlib"))
    expect(completion, Status.INVALID_ARGS, "the device cannot have the memory")


def test_no_more_room_in_the_reserved_region_ends_the_operation() -> None:
    with zip_queue(StandIn(sva=False, reserved=20_000), "decompress") as queue:
        (plain,) = run(queue, Decompress(zlib.compress(bytes(60_000)), "zlib"))
    expect(plain, Status.INVALID_ARGS, "no memory for the output")


class TestShortage:
    """Operations that need more memory than they began with, and the others have it."""

    PLAIN = bytes(14_000) + sample(1000)

    @pytest.fixture
    def layer(self) -> StandIn:
        return StandIn(sva=False, reserved=48_000, pumped=False)

    def starve(self, layer: StandIn, queue: Any, count: int = 6) -> list[Completion]:
        """Put them in and work on them once; what is complete then."""
        packed = zlib.compress(self.PLAIN)
        burst: list[tuple[int, Any]] = [(tag, Decompress(packed, "zlib")) for tag in range(count)]
        assert queue.enqueue_burst(burst) == count
        found: list[Completion] = []
        while not queue._starved:
            running(layer).work()
            found += queue.dequeue_burst(9)
        assert queue.enqueue_burst([(99, Decompress(packed, "zlib"))]) == 0
        return found

    def test_they_wait_for_each_other(self, layer: StandIn) -> None:
        with zip_queue(layer, "decompress") as queue:
            found = self.starve(layer, queue)
            for _ in range(40):
                running(layer).work(1)
                found += queue.dequeue_burst(9)
            assert sorted(completion.tag for completion in found) == list(range(6))
            assert {completion.output for completion in found} == {self.PLAIN}
            statistics = queue.statistics()
            assert (statistics.in_flight, statistics.extra["shortages"] > 0) == (0, True)
            del found
            assert queue.enqueue_burst([(99, Decompress(zlib.compress(b"x"), "zlib"))]) == 1
        assert layer.space.reserved == 48_000

    def test_they_can_be_withdrawn(self, layer: StandIn) -> None:
        with zip_queue(layer, "decompress") as queue:
            self.starve(layer, queue)
            tags = [request.tag for request in queue._starved]
            before = queue.statistics().in_flight
            assert all(queue.withdraw(tag) for tag in tags)
            assert queue.statistics().in_flight == before - len(tags)

    def test_they_end_with_their_queue(self, layer: StandIn) -> None:
        with zip_queue(layer, "decompress") as queue:
            found = self.starve(layer, queue)
            starved = {request.tag for request in queue._starved}
            queue.stop()
            rest = queue.dequeue_burst(9)
            assert len(found) + len(rest) == 6
            aborted = {completion.tag for completion in rest if completion.status is Status.ABORTED}
            assert starved <= aborted

    def test_one_that_turns_out_otherwise(self, layer: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its input is read anew, and might be gone."""
        with zip_queue(layer, "decompress") as queue:
            self.starve(layer, queue)
            request = queue._starved[0]

            def gone() -> None:
                raise Settled(Status.PAGE_FAULT, "a page of the input cannot be had")

            monkeypatch.setattr(type(request), "prepare", lambda self: gone())
            found: list[Completion] = []
            for _ in range(20):
                running(layer).work(1)
                found += queue.dequeue_burst(9)
            (completion,) = [completion for completion in found if completion.tag == request.tag]
            expect(completion, Status.PAGE_FAULT, "cannot be had")


def test_without_shared_addresses_long_copies_are_not_made() -> None:
    with zip_queue(StandIn(sva=False), "decompress") as queue:
        (plain,) = run(queue, Decompress(zlib.compress(bytes(300_000)), "zlib"))
        expect(plain, Status.INVALID_ARGS, "longer than 262144 bytes, the most that can be done here")


# -- all together --------------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    parts=st.lists(st.binary(max_size=3000) | st.integers(0, 60_000).map(sample), max_size=4),
    cuts=st.lists(st.integers(0, 100_000), max_size=6),
    version=st.sampled_from([2, 3]),
)
def test_any_data_in_any_pieces(parts: list[bytes], cuts: list[int], version: int) -> None:
    data = b"".join(parts)
    with zip_queue(StandIn(version=version)) as queue:
        source = pieces(data, *sorted(min(cut, len(data)) for cut in cuts))
        (packed,) = run(queue, Compress(source, "gzip"))
    assert packed.output is not None
    assert gzip.decompress(packed.output) == data
    whole = packed.output + b"".join(map(gzip.compress, parts))
    with zip_queue(StandIn(version=version), "decompress") as queue:
        source = pieces(whole, *sorted(min(cut, len(whole)) for cut in cuts))
        (plain,) = run(queue, Decompress(source, "gzip"))
    assert plain.output == data + data
    assert plain.consumed == len(whole)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300), position=st.integers(0, 400), garbage=st.binary(max_size=8))
def test_any_garbage_ends_in_a_status(data: bytes, position: int, garbage: bytes) -> None:
    good = gzip.compress(data)
    bad = good[:position] + garbage + good[position + len(garbage) :]
    with zip_queue(StandIn(), "decompress") as queue:
        (plain,) = run(queue, Decompress(bad, "gzip"))
    try:
        expected = gzip.decompress(bad)
    except (OSError, EOFError, zlib.error, struct.error):
        assert plain.status in (Status.DATA_ERROR, Status.CHECKSUM_FAILED)
    else:
        # The standard library skips padding, and does not look at a header's check value.
        assert plain.output == expected or plain.detail.cause in (
            DataCause.TRAILING_DATA,
            DataCause.CHECKSUM,
            DataCause.CORRUPT,
        )


def test_the_stand_in_is_strict() -> None:
    """It would notice a driver that fills a slot too early, changes an entry, or rings for nothing."""
    layer = StandIn(8, pumped=False)
    with zip_queue(layer) as queue:
        file = running(layer)
        queue.enqueue_burst([(0, Nop())])
        file.alias[20:24] = b"\1\2\3\4"
        with pytest.raises(ViolationError, match="slot 0 was changed"):
            file.work()
        file.pending.append((1, []))
        with pytest.raises(ViolationError, match="was filled before it was free"):
            queue.enqueue_burst([(1, Nop())])
        file.pending.clear()
        with pytest.raises(ViolationError, match="CQ doorbell"):
            file._ring(0x1000, 5 << 32 | 1 << 12 | 21)
        with pytest.raises(ViolationError, match="doorbell"):
            file._ring(0x340, 21)


def test_what_is_settled_without_the_device_pins_no_neighbour() -> None:
    """Not even until the next collection: an error that is kept has a traceback, whose frames hold the whole burst."""
    memory = bytearray(4096)
    gc.collect()
    gc.disable()
    try:
        with zip_queue(StandIn()) as queue:
            done = run(queue, Compress(b"x", "gzip", into=memory), Compress(b"x", "gzip", into=bytearray()))
            assert [completion.status.name for completion in done] == ["SUCCESS", "OUT_OF_SPACE_TERMINATED"]
            memory.extend(b"nobody holds it")
    finally:
        gc.enable()

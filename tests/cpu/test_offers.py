"""Outputs that a worker writes where they are wanted: the same as without, used where their length was told, held no longer than needed."""

from __future__ import annotations

import ctypes
import gc
import gzip
import hashlib
import mmap
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cpu.sanitizers import WITHOUT_PYTHON, build_stress, has_sanitizer
from tests.cpu.sanitizers import run as run_program
from tests.cpu.support import drain, good, noise, open_device, pack, run, words
from tests.cpu.test_chains import KEY, NONCE, sealing
from tests.cpu.test_codecs import algorithms
from tests.cpu.test_gone import gone
from tests.cpu.test_ring import busy_workers
from tests.cpu.test_sealing import made, needs_openssl
from wdasync.backend import Completion, Direction, Status, StreamSpec
from wdasync.operations import (
    Compress,
    Decompress,
    DecompressChunk,
    Digest,
    Kind,
    Open,
    Operation,
    Seal,
    Sequence,
)
from wdasync_cpu import binding
from wdasync_cpu.devices import CpuDevice
from wdasync_cpu.queues import CpuQueue

Opener = Callable[..., CpuQueue]

#: From here on a copy is saved, up to what is copied by a worker.
LEAST, MOST = 4096, 256 * 1024

#: Formats whose units tell how long their content is.
TELLING = ("gzip", "zstd", "lz4")

#: Python's own part of a `bytes` object, beside its content.
HEAD = 64


def direct(queue: CpuQueue) -> int:
    return int(queue.statistics().extra["direct"])


def natively(queue: CpuQueue, algorithm: str) -> bool:
    """Whether it is native workers' work, here and with the implementations of this queue."""
    before = queue.statistics().extra["python"]
    run(queue, [Decompress(pack(b"", algorithm), algorithm)])
    return bool(queue.statistics().extra["python"] == before)


def ended(done: Completion) -> tuple[Any, ...]:
    """All that a caller is told."""
    return (
        done.status,
        done.output,
        done.consumed,
        done.produced,
        done.detail.message,
        done.detail.cause,
        done.detail.step,
    )


def whole(output: bytes) -> bool:
    """Whether it ends as Python wants its objects to end: a codec may write a byte more than its output has."""
    address = ctypes.cast(ctypes.c_char_p(output), ctypes.c_void_p).value
    assert address is not None
    return ctypes.string_at(address, len(output) + 1) == output + b"\0"


def both_ways(queue: CpuQueue, packed: bytes, algorithm: str, **how: Any) -> Completion:
    """What came of bytes, which is what comes of other memory; nobody looks into that before."""
    one, other = run(
        queue, [Decompress(packed, algorithm, **how), Decompress(bytearray(packed), algorithm, **how)]
    )
    assert ended(one) == ended(other)
    assert one.output is None or whole(one.output)
    return one


@pytest.fixture(scope="module", params=["all", "only zlib"])
def shared_queue(request: pytest.FixtureRequest) -> Iterator[CpuQueue]:
    """For all examples of a test."""
    queue = open_device(request.param).open_queue(64)
    yield queue
    queue.close()


# -- decompression ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", TELLING)
def test_what_a_unit_tells_is_used(queue: CpuQueue, device: CpuDevice, algorithm: str) -> None:
    if algorithm not in algorithms(device, Kind.DECOMPRESS):
        return
    rows = [(LEAST - 1, 0), (LEAST, 1), (LEAST + 1, 1), (70_000, 1), (MOST, 1), (MOST + 1, 0)]
    for size, told in rows:
        used = told * natively(queue, algorithm)
        for content in (words(size), noise(size)):
            before = direct(queue)
            done = both_ways(queue, pack(content, algorithm), algorithm)
            assert (good(done), direct(queue) - before) == (content, used)


@pytest.mark.parametrize("algorithm", ["zlib", "deflate", "br", "lz4-block"])
def test_what_tells_nothing(whole_queue: CpuQueue, algorithm: str) -> None:
    content = words(70_000)
    assert good(both_ways(whole_queue, pack(content, algorithm), algorithm)) == content
    assert direct(whole_queue) == 0


def trailer(size: int) -> bytes:
    return (size % 2**32).to_bytes(4, "little")


#: What is said about 70 000 bytes -> how they end then.
CLAIMS = {
    "less": (trailer(69_999), Status.CHECKSUM_FAILED),
    "much less": (trailer(LEAST), Status.CHECKSUM_FAILED),
    "more": (trailer(70_001), Status.CHECKSUM_FAILED),
    "much more": (trailer(200_000), Status.CHECKSUM_FAILED),
    "nothing": (trailer(0), Status.CHECKSUM_FAILED),
    "the most": (trailer(-1), Status.CHECKSUM_FAILED),
    "4 GiB around": (trailer(70_000 + 2**32), Status.SUCCESS),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_trailer_that_is_wrong(queue: CpuQueue, claim: str) -> None:
    said, status = CLAIMS[claim]
    packed = gzip.compress(words(70_000))[:-4] + said
    before = direct(queue)
    assert both_ways(queue, packed, "gzip").status is status
    if status is not Status.SUCCESS:
        assert direct(queue) == before


def test_several_units(shared_queue: CpuQueue) -> None:
    """The last one tells its own length only; so it is only right if nothing is in the others."""
    one, other, empty = words(60_000, 1), words(10_000, 2), b""
    for parts, used in (([one, other], 0), ([other, one], 0), ([one, empty], 0), ([empty, one], 1)):
        before = direct(shared_queue)
        packed = b"".join(map(gzip.compress, parts))
        assert good(both_ways(shared_queue, packed, "gzip")) == b"".join(parts)
        assert direct(shared_queue) - before == used
    packed = gzip.compress(one) * 2
    assert both_ways(shared_queue, packed, "gzip", max_members=1).status is Status.OUT_OF_SPACE_TERMINATED


def test_frames_of_another_length(whole_queue: CpuQueue) -> None:
    for algorithm in ("zstd", "lz4"):
        packed = pack(words(60_000), algorithm) + pack(words(9000), algorithm)
        assert good(both_ways(whole_queue, packed, algorithm)) == words(60_000) + words(9000)
    assert direct(whole_queue) == 0


def test_what_follows_the_end(shared_queue: CpuQueue) -> None:
    packed = gzip.compress(words(70_000))
    before = direct(shared_queue)
    assert good(both_ways(shared_queue, packed + bytes(512), "gzip")) == words(70_000)
    assert both_ways(shared_queue, packed + b"more", "gzip").status is Status.DATA_ERROR
    assert both_ways(shared_queue, packed + trailer(70_000), "gzip").status is Status.DATA_ERROR
    assert direct(shared_queue) == before


@pytest.mark.parametrize("bound", [0, 1, 4096, 69_999, 70_000, 70_001])
@pytest.mark.parametrize("algorithm", TELLING)
def test_a_bound(whole_queue: CpuQueue, algorithm: str, bound: int) -> None:
    done = both_ways(whole_queue, pack(words(70_000), algorithm), algorithm, max_length=bound)
    assert done.status is (Status.SUCCESS if bound >= 70_000 else Status.OUT_OF_SPACE_TERMINATED)


@settings(deadline=None, max_examples=300)
@given(
    algorithm=st.sampled_from(TELLING),
    size=st.sampled_from([0, 100, LEAST - 1, LEAST, 9000, 70_000, MOST]),
    random=st.booleans(),
    units=st.integers(1, 3),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=3),
    end=st.one_of(st.none(), st.integers(0, 300_000)),
    cut=st.integers(0, 20),
    bound=st.sampled_from([1 << 28, 70_000, 69_999, 5000, 1]),
)
def test_whatever_comes(
    shared_queue: CpuQueue,
    algorithm: str,
    size: int,
    random: bool,
    units: int,
    changes: list[tuple[float, int]],
    end: int | None,
    cut: int,
    bound: int,
) -> None:
    """Right, wrong at any place, with another length said, cut off: it ends as it would without an offer."""
    data = bytearray(pack(noise(size) if random else words(size), algorithm) * units)
    for place, change in changes:
        data[int(place * (len(data) - 1))] ^= change
    if end is not None and algorithm == "gzip":
        data[-4:] = trailer(end)
    both_ways(shared_queue, bytes(data[: len(data) - cut]), algorithm, max_length=bound)


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.sampled_from([1, 5000, 70_000, MOST, 300_000]), min_size=1, max_size=8),
    said=st.lists(st.sampled_from([None, 0, 5000, 70_000, 2**32 - 1]), min_size=8, max_size=8),
)
def test_many_at_once(shared_queue: CpuQueue, sizes: list[int], said: list[int | None]) -> None:
    contents = [words(size, number) for number, size in enumerate(sizes)]
    work: list[Operation] = []
    for content, claim in zip(contents, said, strict=False):
        packed = gzip.compress(content, mtime=0)
        work.append(Decompress(packed if claim is None else packed[:-4] + trailer(claim), "gzip"))
    for content, claim, done in zip(contents, said, run(shared_queue, work), strict=False):
        assert done.output == (content if claim in (None, len(content)) else None)


def test_other_ways(whole_device: CpuDevice, whole_queue: CpuQueue) -> None:
    """Pieces, memory that may go away, memory of the caller's, streams: nothing is told, or nothing is wanted."""
    content = words(70_000)
    packed = gzip.compress(content)
    room = bytearray(70_000)
    assert good(run(whole_queue, [Decompress([packed[:9], packed[9:]], "gzip")])[0]) == content
    assert good(run(whole_queue, [Decompress(memoryview(packed), "gzip")])[0]) == content
    assert run(whole_queue, [Decompress(packed, "gzip", into=room)])[0].produced == len(room)
    assert room == content
    session = whole_device.open_session(StreamSpec(Direction.DECOMPRESS, "gzip"))
    assert good(run(whole_queue, [DecompressChunk(session, packed, 1 << 20)])[0]) == content
    session.close()
    assert good(run(whole_queue, [Compress(noise(70_000), "gzip")])[0])
    assert direct(whole_queue) == 0


def test_in_the_thread_of_the_caller(whole_device: CpuDevice) -> None:
    assert whole_device.inline is not None
    for size in (100, LEAST, 70_000, MOST + 1):
        packed = gzip.compress(words(size))
        for source in (packed, bytearray(packed), [packed[:9], packed[9:]]):
            output = good(whole_device.inline.run(Decompress(source, "gzip")))
            assert output == words(size)
            assert whole(output)
        done = whole_device.inline.run(Decompress(packed[:-4] + trailer(9000), "gzip"))
        assert (done.status, done.output) == (Status.CHECKSUM_FAILED, None)


# -- ciphers ---------------------------------------------------------------------------------------------------------


@needs_openssl
class TestSealing:
    def test_lengths(self, whole_queue: CpuQueue) -> None:
        peer = AESGCM(KEY)
        for size, sealed_at_once, opened_at_once in (
            (LEAST - 17, 0, 0),
            (LEAST - 16, 1, 0),
            (LEAST, 1, 1),
            (70_000, 1, 1),
            (MOST - 16, 1, 1),
            (MOST, 0, 1),
            (MOST + 1, 0, 0),
        ):
            data = noise(size)
            for source in (data, bytearray(data), [data[:9], data[9:]]):
                before = direct(whole_queue)
                sealed = good(run(whole_queue, [made(Seal, 256, source, nonce=NONCE)])[0])
                assert (sealed, direct(whole_queue) - before) == (
                    peer.encrypt(NONCE, data, None),
                    sealed_at_once,
                )
                before = direct(whole_queue)
                ends = [sealed[:-20], bytearray(sealed[-20:])] if isinstance(source, list) else sealed
                opened = good(run(whole_queue, [made(Open, 256, ends, nonce=NONCE)])[0])
                assert (opened, direct(whole_queue) - before) == (data, opened_at_once)
                assert whole(sealed)
                assert whole(opened)

    @pytest.mark.parametrize("where", [0, 69_999, 70_000, 70_015])
    def test_what_was_changed_is_not_opened(self, whole_queue: CpuQueue, where: int) -> None:
        sealed = bytearray(AESGCM(KEY).encrypt(NONCE, noise(70_000), None))
        sealed[where] ^= 1
        (done,) = run(whole_queue, [made(Open, 256, bytes(sealed), nonce=NONCE)])
        assert (done.status, done.output, done.consumed, done.produced) == (
            Status.CHECKSUM_FAILED,
            None,
            0,
            0,
        )
        assert direct(whole_queue) == 0

    def test_memory_that_is_gone(self, whole_queue: CpuQueue) -> None:
        data = noise(70_000)
        sealed = AESGCM(KEY).encrypt(NONCE, data, None)
        for operation in (
            made(Seal, 256, gone(data, 8192)),
            made(Open, 256, [sealed[:60_000], gone(data, 4096)]),
        ):
            (done,) = run(whole_queue, [operation])
            assert (done.status, done.output) == (Status.PAGE_FAULT, None)
            assert good(run(whole_queue, [made(Open, 256, sealed, nonce=NONCE)])[0]) == data
        assert direct(whole_queue) == 2

    def test_python_does_it(self) -> None:
        queue = open_device(native_codecs=False).open_queue(8)
        assert len(good(run(queue, [made(Seal, 256, noise(70_000))])[0])) == 70_016
        assert direct(queue) == 0
        queue.close()


# -- sequences -------------------------------------------------------------------------------------------------------


def unpacking() -> Operation:
    return Decompress(b"", "gzip")


def look() -> Operation:
    return Digest(b"", "sha256")


@needs_openssl
class TestSequences:
    def last(self, queue: CpuQueue, data: Any, steps: list[Operation]) -> tuple[Completion, int]:
        """Its completion, and whether its output lies where it was made."""
        before = direct(queue)
        (done,) = run(queue, [Sequence(data, steps)])
        assert done.output is None or whole(done.output)
        return done, direct(queue) - before

    def test_the_length_goes_through_all_steps(self, whole_queue: CpuQueue) -> None:
        content = words(70_000)
        packed, sealed = gzip.compress(content), AESGCM(KEY).encrypt(NONCE, content, None)
        rows: list[tuple[Any, list[Operation], bytes, int]] = [
            (packed, [unpacking()], content, 1),
            (packed, [look(), unpacking(), look()], content, 1),
            (packed, [unpacking(), sealing(Seal)], sealed, 1),
            (content, [sealing(Seal), look()], sealed, 1),
            (bytearray(content), [sealing(Seal)], sealed, 1),
            ([sealed[:70], sealed[70:]], [sealing(Open), look()], content, 1),
            (content, [sealing(Seal), look(), sealing(Open)], content, 1),
            (bytearray(packed), [unpacking()], content, 0),
            (AESGCM(KEY).encrypt(NONCE, packed, None), [sealing(Open), unpacking()], content, 0),
            (packed, [look()], b"", 0),
        ]
        for data, steps, output, used in rows:
            done, times = self.last(whole_queue, data, steps)
            assert (good(done), times) == (output, used)

    def test_nothing_is_told_of_what_is_compressed(self, whole_queue: CpuQueue) -> None:
        done, times = self.last(whole_queue, noise(70_000), [Compress(b"", "gzip"), sealing(Seal)])
        assert gzip.decompress(AESGCM(KEY).decrypt(NONCE, good(done), None)) == noise(70_000)
        assert times == 0

    def test_what_was_told_is_wrong(self, whole_queue: CpuQueue) -> None:
        content = words(70_000)
        packed = gzip.compress(content[:60_000]) + gzip.compress(content[60_000:])
        done, times = self.last(whole_queue, packed, [Decompress(b"", "gzip"), sealing(Seal)])
        assert (good(done), times) == (AESGCM(KEY).encrypt(NONCE, content, None), 0)
        done, times = self.last(whole_queue, packed, [Decompress(b"", "gzip"), Digest(b"", "sha1")])
        assert (good(done), times) == (content, 0)

    def test_a_step_fails(self, whole_queue: CpuQueue) -> None:
        sealed = bytearray(AESGCM(KEY).encrypt(NONCE, words(70_000), None))
        sealed[-1] ^= 1
        steps: list[Operation] = [Digest(b"", "sha1"), sealing(Open), Digest(b"", "sha256")]
        sequence = Sequence(bytes(sealed), steps)
        (done,) = run(whole_queue, [sequence])
        assert (done.status, done.output, done.detail.step) == (Status.CHECKSUM_FAILED, None, 1)
        assert sequence.seen == [hashlib.sha1(sealed).digest(), None, None]
        wrong = gzip.compress(words(70_000))[:-8] + bytes(4) + trailer(70_000)
        done, _ = self.last(whole_queue, wrong, [Decompress(b"", "gzip"), sealing(Seal)])
        assert (done.status, done.output, done.detail.step) == (Status.CHECKSUM_FAILED, None, 0)
        (done,) = run(
            whole_queue, [Sequence(gone(words(70_000), 8192), [Digest(b"", "sha1"), sealing(Seal)])]
        )
        assert (done.status, done.output, done.detail.step) == (Status.PAGE_FAULT, None, 0)
        assert direct(whole_queue) == 0


# -- whose memory it is ----------------------------------------------------------------------------------------------


@pytest.fixture
def held() -> Iterator[Callable[[], int]]:
    """Bytes of Python's that were allocated since the test began."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    yield lambda: tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()


#: Outputs in flight, their length, and what other things of the test may take.
COUNT, LENGTH, OTHER = 32, 200_000, 1_000_000


@pytest.fixture
def work() -> list[Operation]:
    packed = gzip.compress(words(LENGTH))
    return [Decompress(packed, "gzip") for _ in range(COUNT)]


def in_flight(queue: CpuQueue, work: list[Operation], held: Callable[[], int]) -> None:
    """All are submitted, and nobody but the queue has them; their outputs' memory is there."""
    assert queue.enqueue_burst(list(enumerate(work))) == COUNT
    work.clear()
    assert held() > COUNT * LENGTH


class TestMemory:
    def test_of_what_is_withdrawn(
        self, whole_device: CpuDevice, open_queue: Opener, held: Callable[[], int], work: list[Operation]
    ) -> None:
        queue = open_queue(COUNT)
        with busy_workers(whole_device):
            in_flight(queue, work, held)
            withdrawn = sum(queue.withdraw(tag) for tag in range(COUNT))
        drain(queue, COUNT - withdrawn)
        assert withdrawn
        assert held() < OTHER

    def test_of_what_is_stopped(
        self, whole_device: CpuDevice, open_queue: Opener, held: Callable[[], int], work: list[Operation]
    ) -> None:
        queue = open_queue(COUNT)
        with busy_workers(whole_device):
            in_flight(queue, work, held)
            queue.stop()
            assert held() > COUNT * LENGTH  # until its completion is seen a worker may write there
            done = drain(queue, COUNT)
        assert Status.ABORTED in {each.status for each in done}
        assert direct(queue) == sum(each.status is Status.SUCCESS for each in done)
        del done
        assert held() < OTHER

    def test_of_what_nobody_asks_for(
        self, whole_device: CpuDevice, held: Callable[[], int], work: list[Operation]
    ) -> None:
        """Some were done, some were not, and their completions are never taken off."""
        for _ in range(5):
            queue = whole_device.open_queue(COUNT)
            in_flight(queue, work[:], held)
            queue.dequeue_burst(3)
            queue.close()
            del queue
            assert held() < OTHER

    def test_of_what_is_done(
        self, whole_queue: CpuQueue, held: Callable[[], int], work: list[Operation]
    ) -> None:
        for _ in range(10):
            done = run(whole_queue, work)
            assert held() < COUNT * (LENGTH + HEAD) + OTHER
            assert all(good(each) == words(LENGTH) for each in done[:1])
            del done
            assert held() < OTHER
        assert direct(whole_queue) == 10 * COUNT

    def test_of_what_was_told_wrongly(
        self, whole_device: CpuDevice, whole_queue: CpuQueue, held: Callable[[], int]
    ) -> None:
        packed = gzip.compress(noise(100_000)) + gzip.compress(words(LENGTH))
        broken = gzip.compress(words(LENGTH))[:-8] + bytes(4) + trailer(LENGTH)
        missing = mmap.mmap(-1, len(broken))
        missing[:] = broken
        assert whole_device.inline is not None
        for _ in range(3):
            done = run(whole_queue, [Decompress(source, "gzip") for source in (packed, broken, missing) * 10])
            done += [whole_device.inline.run(Decompress(source, "gzip")) for source in (packed, broken)]
            del done
            assert held() < OTHER
        assert direct(whole_queue) == 0


def test_the_native_side_alone(tmp_path: Path) -> None:
    """Every way in which an output fits or does not, under the address sanitizer if there is one; and that text that is not known to be
    right is wiped."""
    sanitizer = "address,undefined" if has_sanitizer("address,undefined", tmp_path) else ""
    source = Path(__file__).parent / "native_offer.c"
    done = run_program([str(build_stress(tmp_path, sanitizer, source, WITHOUT_PYTHON))], timeout=60)
    if done.stdout.startswith("no "):
        pytest.skip(done.stdout)
    assert (done.returncode, done.stdout, done.stderr) == (0, "good\n", "")


def test_libraries_of_the_native_side() -> None:
    """The test above is skipped only where there are none."""
    assert not binding.library_problem("zlib")

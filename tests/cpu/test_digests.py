"""Digests in the native workers: alone, many together, and left to hashlib; always what hashlib says."""

from __future__ import annotations

import hashlib
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wdasync
from tests.cpu.sanitizers import COMPILER
from tests.cpu.support import drain, good, open_device, python, run
from tests.cpu.test_backend import LEFT_OUT
from tests.cpu.test_gone import gone
from tests.cpu.test_ring import busy_workers
from wdasync.backend import Completion, Status
from wdasync.operations import DIGESTS, Digest, Nop, Operation
from wdasync_cpu import Options, binding
from wdasync_cpu.backend import CpuBackend, available
from wdasync_cpu.crypto import natives, table
from wdasync_cpu.crypto.natives import MOST, NEVER, DigestNumber, hashlib_name, timing
from wdasync_cpu.devices import CpuDevice
from wdasync_cpu.queues import CpuQueue

Opener = Callable[..., CpuQueue]

#: Lengths round the blocks of all digests, and the longest that is made together with others.
LENGTHS = [0, 1, 55, 56, 63, 64, 65, 111, 112, 127, 128, 129, 1000, 1024, 4095, 4096, 16383, 16384, 16385]

TOGETHER = [name for name in DIGESTS if name in ("sha1", "sha224", "sha256", "sha384", "sha512")]

needs_openssl = pytest.mark.skipif(
    bool(binding.library_problem("openssl")), reason="no OpenSSL that can be called: all is hashlib's"
)
needs_ipsec = pytest.mark.skipif(
    bool(natives.ipsec_problem()), reason="no IPsec-MB here; apt install libipsec-mb1"
)


def expected(operation: Digest) -> bytes:
    source = operation.source
    data = b"".join(map(bytes, source)) if isinstance(source, tuple) else bytes(source)
    return hashlib.new(hashlib_name(operation.algorithm), data).digest()


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(size * 1000 + seed).randbytes(size)


def however_few() -> None:
    for name in TOGETHER:
        timing(name)
        binding.set_batches(DigestNumber.of(name), 1)


@pytest.fixture
def batches() -> Iterator[None]:
    """However few wait are made together, where they can be."""
    however_few()
    yield
    for name in TOGETHER:
        found = timing(name)
        binding.set_batches(DigestNumber.of(name), found.least if found else NEVER)


def batched(queue: CpuQueue) -> int:
    return int(queue.statistics().extra["batched"])


class TestAlone:
    @pytest.mark.parametrize("native", [True, False])
    @pytest.mark.parametrize("name", DIGESTS)
    def test_lengths(self, name: str, native: bool) -> None:
        queue = open_device(native_codecs=native).open_queue(64)
        work = [Digest(content(size), name) for size in (*LENGTHS, 3_000_001)]
        work += [Digest([b"a", bytearray(200), memoryview(b"bc")], name), Digest([], name)]
        for operation, done in zip(work, run(queue, work), strict=True):
            assert good(done) == expected(operation)
            assert done.consumed == operation.nbytes
        assert queue.statistics().extra["python"] == (0 if native and timing(name) else len(work))
        queue.close()

    @needs_openssl
    @pytest.mark.parametrize("name", DIGESTS)
    def test_inline(self, whole_device: CpuDevice, name: str) -> None:
        assert whole_device.inline is not None
        for size in (0, 100, 5000):
            operation = Digest(content(size), name)
            assert good(whole_device.inline.run(operation)) == expected(operation)

    @needs_openssl
    def test_it_costs_what_was_measured(self, whole_device: CpuDevice) -> None:
        assert whole_device.inline is not None
        found = timing("sha256")
        assert found is not None
        costs = [whole_device.inline.cost(Digest(bytes(size), "sha256")) for size in (0, 1 << 20)]
        assert costs[1] - costs[0] == found.per_kib << 10

    @needs_openssl
    def test_a_stopped_queue(self, open_queue: Opener) -> None:
        queue = open_queue(8)
        huge = bytes(1 << 30)
        assert queue.enqueue_burst([(tag, Digest(huge, "sm3")) for tag in range(8)]) == 8
        queue.stop()
        done: list[Completion] = []
        while len(done) < 8:
            done += queue.dequeue_burst(8)
        assert {each.status for each in done} == {Status.ABORTED}

    @needs_openssl
    def test_memory_that_is_gone(self, whole_queue: CpuQueue) -> None:
        (done,) = run(whole_queue, [Digest(gone(bytes(100_000)), "sha256")])
        assert done.status is Status.PAGE_FAULT
        (done,) = run(whole_queue, [Digest(b"abc", "sha256")])
        assert good(done) == hashlib.sha256(b"abc").digest()


class TestWho:
    def test_a_machine_without_the_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(binding, "library_problem", lambda name: "not found" if name == "openssl" else "")
        assert "openssl" not in available()

    def test_a_library_that_says_something_else(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def wrong(number: int, inputs: tuple[bytes, ...], together: bool, rounds: int) -> Any:
            return (bytes(32),) * len(inputs), 100

        monkeypatch.setattr(binding, "try_digests", wrong)
        timing.cache_clear()
        try:
            work = table.work_of(Digest.kind, "sha256", {"openssl", "hashlib"})
            assert work.implementation == "hashlib"
        finally:
            monkeypatch.undo()
            timing.cache_clear()

    @needs_openssl
    @pytest.mark.parametrize(
        ("alone", "together", "least"), [(100, 650, 7), (100, 1700, NEVER), (100, 90, 1)]
    )
    def test_from_how_many_on(
        self, monkeypatch: pytest.MonkeyPatch, alone: int, together: int, least: int
    ) -> None:
        said: list[tuple[int, int]] = []

        def quick(number: int, inputs: tuple[bytes, ...], batch: bool, rounds: int) -> Any:
            outputs = tuple(hashlib.sha256(data).digest() for data in inputs)
            return outputs, together if batch else alone

        monkeypatch.setattr(binding, "try_digests", quick)
        monkeypatch.setattr(binding, "set_batches", lambda *what: said.append(what))
        monkeypatch.setattr(natives, "ipsec_problem", lambda: "")
        timing.cache_clear()
        try:
            assert timing("sha256") == (alone, least)
            assert said == [(DigestNumber.SHA256, least)]
        finally:
            monkeypatch.undo()
            timing.cache_clear()

    def test_hashlib_alone_where_the_option_says_so(self) -> None:
        device = CpuBackend().open(CpuBackend().devices()[0], Options(native_codecs=False))
        queue = device.open_queue(8)
        assert good(run(queue, [Digest(b"abc", "sha256")])[0]) == hashlib.sha256(b"abc").digest()
        assert queue.statistics().extra["python"] == 1
        queue.close()

    def test_numbers(self) -> None:
        assert [number.name.lower().replace("_", "-") for number in DigestNumber] == [
            name for name in DIGESTS if DigestNumber.of(name) is not None
        ]

    @pytest.mark.parametrize("number", [-1, len(DigestNumber)])
    def test_no_such_digest(self, number: int) -> None:
        with pytest.raises(ValueError, match="no such digest"):
            binding.try_digests(number, (b"",), False, 1)
        with pytest.raises(ValueError, match="no such digest"):
            binding.set_batches(number, 1)

    def test_too_many_to_try(self) -> None:
        with pytest.raises(ValueError, match="too many"):
            binding.try_digests(DigestNumber.SHA256, (b"",) * (MOST + 1), False, 1)


def with_another(tmp_path: Path, version: str, code: str) -> str:
    """What a process says that finds another library in place of IPsec-MB: one that does nothing."""
    source, library = tmp_path / "fake.c", tmp_path / "fake.so"
    source.write_text(f"""
        static long long nothing[1000];
        void *alloc_mb_mgr(void) {{ return nothing; }}
        void free_mb_mgr(void *manager) {{ (void)manager; }}
        void init_mb_mgr_auto(void) {{}}
        unsigned imb_get_version(void) {{ return {version}; }}
    """)
    subprocess.run([*COMPILER, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    return python(f"""
from wdasync_cpu import binding
from wdasync_cpu.crypto.natives import timing
binding.LIBRARIES["ipsec-mb"] = binding.Library(({str(library)!r},), "", "", "")
{code}
""").strip()


for_this_processor = pytest.mark.skipif(
    "ipsec-mb" not in binding.LIBRARIES, reason="the library is for another processor"
)


@for_this_processor
@pytest.mark.parametrize(
    ("version", "problem"),
    [("0x10200", "from 1.3 on"), ("0x10300", ""), ("0x10500", ""), ("0x20000", "before 2")],
)
def test_a_version_with_other_structures_is_not_used(tmp_path: Path, version: str, problem: str) -> None:
    said = with_another(tmp_path, version, 'print(binding.library_problem("ipsec-mb"))')
    left_out = binding.library_problem("openssl") == LEFT_OUT
    assert said == LEFT_OUT if left_out else (problem in said and bool(said) == bool(problem))


@needs_openssl
@for_this_processor
def test_a_processor_that_the_library_does_not_know(tmp_path: Path) -> None:
    """Then it has no functions in its structure."""
    assert with_another(tmp_path, "0x10300", 'print(timing("sha256").least)') == str(NEVER)


@needs_openssl
@needs_ipsec
class TestTogether:
    @pytest.mark.parametrize("count", [1, 2, 3, 7, 15, 16, 17, 32, 33, 40])
    def test_what_waits_is_made_together(
        self, batches: None, whole_device: CpuDevice, open_queue: Opener, count: int
    ) -> None:
        queue = open_queue(64)
        work = [Digest(content(1024, seed), "sha256") for seed in range(count)]
        with busy_workers(whole_device):
            assert queue.enqueue_burst(list(enumerate(work))) == count
        for operation, done in zip(work, collect(queue, count), strict=True):
            assert good(done) == expected(operation)
            assert done.consumed == 1024
        # A worker that finds one only, as the last of them may, makes it by itself.
        assert count - binding.workers() <= batched(queue) <= count

    def test_nothing_together_where_it_is_not_quicker(
        self, batches: None, whole_device: CpuDevice, open_queue: Opener
    ) -> None:
        binding.set_batches(DigestNumber.SHA256, NEVER)
        queue = open_queue(64)
        work = [Digest(content(1024, seed), "sha256") for seed in range(20)]
        with busy_workers(whole_device):
            queue.enqueue_burst(list(enumerate(work)))
        assert [good(done) for done in collect(queue, 20)] == [expected(operation) for operation in work]
        assert batched(queue) == 0

    @pytest.mark.parametrize(
        ("sizes", "together"), [([1024] * 8, 8), ([1024] * 7, 0), ([16384] + [64] * 7, 0)]
    )
    def test_few_and_uneven_ones_are_made_alone(
        self, batches: None, whole_device: CpuDevice, sizes: list[int], together: int
    ) -> None:
        """What the lanes do takes as long as the longest of them."""
        binding.set_batches(DigestNumber.SHA256, 8)
        with one_worker_takes_all(whole_device, [Digest(content(size), "sha256") for size in sizes]) as queue:
            assert batched(queue) == together

    @settings(deadline=None, max_examples=60)
    @given(
        work=st.lists(
            st.tuples(st.sampled_from(LENGTHS), st.sampled_from(list(DIGESTS)), st.booleans()),
            min_size=1,
            max_size=40,
        )
    )
    def test_anything_mixed(self, together_queue: CpuQueue, work: list[tuple[int, str, bool]]) -> None:
        however_few()
        operations = [
            Digest(bytearray(content(size, seed)) if owned else content(size, seed), name)
            for seed, (size, name, owned) in enumerate(work)
        ]
        for operation, done in zip(operations, run(together_queue, operations), strict=True):
            assert good(done) == expected(operation)

    @settings(deadline=None, max_examples=40)
    @given(
        sizes=st.lists(st.sampled_from(LENGTHS), min_size=1, max_size=40), tags=st.sets(st.integers(0, 39))
    )
    def test_some_withdrawn(self, together_queue: CpuQueue, sizes: list[int], tags: set[int]) -> None:
        however_few()
        work = [Digest(bytearray(content(size)), "sha256") for size in sizes]
        assert together_queue.enqueue_burst(list(enumerate(work))) == len(work)
        gone_again = {tag for tag in tags if together_queue.withdraw(tag)}
        done: dict[int, Completion] = {}
        while len(done) < len(work) - len(gone_again):
            done |= {each.tag: each for each in together_queue.dequeue_burst(64)}
        assert set(done) == set(range(len(work))) - gone_again
        for tag, each in done.items():
            assert good(each) == expected(work[tag])

    def test_withdrawn_while_they_wait(
        self, batches: None, whole_device: CpuDevice, open_queue: Opener
    ) -> None:
        queue = open_queue(64)
        work = [Digest(content(500, seed), "sha256") for seed in range(40)]
        with busy_workers(whole_device):
            queue.enqueue_burst(list(enumerate(work)))
            assert all(queue.withdraw(tag) for tag in range(0, 40, 2))
            # What is withdrawn leaves room for others.
            again = [Digest(content(600, seed), "sha1") for seed in range(20)]
            assert queue.enqueue_burst([(tag * 2, each) for tag, each in enumerate(again)]) == 20
        for tag, done in enumerate(collect(queue, 40)):
            assert good(done) == expected(again[tag // 2] if tag % 2 == 0 else work[tag])

    def test_one_whose_memory_is_gone(
        self, batches: None, whole_device: CpuDevice, open_queue: Opener
    ) -> None:
        queue = open_queue(64)
        sources: list[Any] = [content(5000, seed) for seed in range(12)]
        sources[5] = memoryview(gone(bytes(9000)))
        sources[7] = memoryview(gone(bytes(9000), 4096))
        work = [Digest(source, "sha256") for source in sources]
        with busy_workers(whole_device):
            queue.enqueue_burst(list(enumerate(work)))
        for number, done in enumerate(collect(queue, 12)):
            if number in (5, 7):
                assert done.status is Status.PAGE_FAULT
                assert f"byte {0 if number == 5 else 4096} of the input" in done.detail.message
            else:
                assert good(done) == expected(work[number])
        # The worker goes on.
        assert good(run(queue, [Digest(b"abc", "sha256")])[0]) == hashlib.sha256(b"abc").digest()

    def test_other_work_has_its_turn(
        self, batches: None, whole_device: CpuDevice, open_queue: Opener
    ) -> None:
        """Neither kind of work waits until there is none of the other."""
        queue = open_queue(512)
        entries: list[tuple[int, Operation]] = [(tag, Digest(bytes(64), "sha256")) for tag in range(400)]
        entries += [(tag, Nop()) for tag in range(400, 410)]
        with busy_workers(whole_device):
            assert queue.enqueue_burst(entries) == 410
        order = [done.tag for done in collect(queue, 410, ordered=False)]
        assert order.index(409) < 409, "all digests were made before"
        assert order.index(399) > order.index(400), "no digest was made before"

    def test_a_stopped_queue(self, batches: None, whole_device: CpuDevice, open_queue: Opener) -> None:
        queue = open_queue(64)
        with busy_workers(whole_device):
            queue.enqueue_burst([(tag, Digest(bytes(1024), "sha256")) for tag in range(40)])
            queue.stop()
            assert {done.status for done in collect(queue, 40)} == {Status.ABORTED}


@pytest.fixture(scope="module")
def together_queue() -> Iterator[CpuQueue]:
    """A queue for all examples of a test."""
    queue = open_device().open_queue(64)
    yield queue
    queue.close()


def collect(queue: CpuQueue, count: int, *, ordered: bool = True) -> list[Completion]:
    """All of them, in the order of their tags, or as they came."""
    found = drain(queue, count)
    return sorted(found, key=lambda done: done.tag) if ordered else found


class one_worker_takes_all:  # noqa: N801  a context manager
    """A queue that ran these while one worker only was free."""

    def __init__(self, device: CpuDevice, work: list[Digest]) -> None:
        self._queue = device.open_queue(64)
        self._device, self._work = device, work

    def __enter__(self) -> CpuQueue:
        with busy_workers(self._device):
            self._queue.enqueue_burst(list(enumerate(self._work)))
        for operation, done in zip(self._work, collect(self._queue, len(self._work)), strict=True):
            assert good(done) == expected(operation)
        return self._queue

    def __exit__(self, *_: object) -> None:
        self._queue.close()


LOOPS = [
    pytest.param(("asyncio", {}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="asyncio+uvloop"),
    pytest.param(("trio", {}), id="trio"),
]


@pytest.mark.parametrize("anyio_backend", LOOPS)
async def test_await_and_cancel(anyio_backend: object, batches: None) -> None:
    """Some of those that wait are cancelled, in memory that is theirs and in memory that is not."""
    chance = random.Random(7)
    async with wdasync.open_accelerator("cpu", inline=False) as acc:
        for _ in range(20):
            await cancel_some(acc, chance, chance.randint(1, 40))


async def cancel_some(acc: wdasync.Accelerator, chance: random.Random, count: int) -> None:
    data = [content(chance.choice(LENGTHS), seed) for seed in range(count)]
    sources = [bytearray(each) if number % 2 else each for number, each in enumerate(data)]
    scopes = [anyio.CancelScope() for _ in sources]
    found: dict[int, bytes] = {}

    async def one(number: int) -> None:
        with scopes[number]:
            found[number] = await acc.digest(sources[number], "sha256")

    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(one, number)
        await anyio.lowlevel.checkpoint()
        for number in chance.sample(range(count), count // 3):
            scopes[number].cancel()
    for number, source in enumerate(sources):
        assert number in found or scopes[number].cancelled_caught
        if number in found:
            assert found[number] == hashlib.sha256(data[number]).digest()
        if isinstance(source, bytearray):
            source.append(0)  # nobody holds it any more

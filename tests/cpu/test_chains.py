"""Steps of a sequence that all are native run in one go in a native worker, and give what they give one by one."""

from __future__ import annotations

import gc
import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any
from weakref import ref

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher as RawCipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cpu.support import drain, good, noise, open_device, run, words
from tests.cpu.test_gone import gone
from wdasync.backend import Completion, Status
from wdasync.errors import InvalidArgument
from wdasync.operations import (
    LOOKING,
    Checksum,
    Compress,
    Decompress,
    Digest,
    Encrypt,
    Key,
    KeySpec,
    Kind,
    Open,
    Operation,
    Recipe,
    Seal,
    Sequence,
)
from wdasync_cpu import binding
from wdasync_cpu.backend import CpuBackend, Options
from wdasync_cpu.crypto.keys import CpuKey
from wdasync_cpu.devices import CpuDevice
from wdasync_cpu.queues import CpuQueue

KEY = bytes(range(32))
NONCE = bytes(12)

pytestmark = pytest.mark.skipif(
    bool(binding.library_problem("openssl")), reason="no OpenSSL that can be called: not all steps are native"
)


def sealing(kind: type[Seal | Open], nonce: bytes = NONCE) -> Seal | Open:
    operation = kind(Key(KEY, "a key"), nonce, b"", "aes-256-gcm")
    operation.session = CpuKey(KeySpec("aes-256-gcm", KEY))
    return operation


#: Name -> what makes a step that is native.
STEPS: dict[str, Callable[[], Operation]] = {
    "gzip": lambda: Compress(b"", "gzip"),
    "zlib 6": lambda: Compress(b"", "zlib", level=6),
    "crc32c": lambda: Checksum(b"", "crc32c"),
    "crc32": lambda: Checksum(b"", "crc32"),
    "sha256": lambda: Digest(b"", "sha256"),
    "seal": lambda: sealing(Seal),
}


def one_by_one(device: CpuDevice, steps: list[Operation], data: Any) -> tuple[bytes, list[bytes | None]]:
    """What each step gives by itself, on what the one before made."""
    assert device.inline is not None
    found: list[bytes | None] = []
    output = b""
    for step in steps:
        again = Sequence(data, [step]).feed(0)
        done = good(device.inline.run(again))
        found.append(done if step.kind in LOOKING else None)
        if step.kind not in LOOKING:
            data = output = done
    return output, found


def natively(done: Completion) -> bool:
    """Whether it ran in a native worker, and not in a Python thread."""
    return "worker" in done.detail.where


@pytest.fixture(scope="module")
def module_queue() -> Iterator[CpuQueue]:
    device = open_device()  # held: it runs the steps
    queue = device.open_queue(64)
    yield queue
    queue.close()
    del device


@settings(deadline=None, max_examples=80)
@given(
    names=st.lists(st.sampled_from(list(STEPS)), min_size=1, max_size=6),
    size=st.sampled_from([0, 1, 100, 5000, 70_000]),
    shape=st.sampled_from(["bytes", "bytearray", "segments"]),
)
def test_as_one_by_one(
    whole_device: CpuDevice,
    module_queue: CpuQueue,
    names: list[str],
    size: int,
    shape: str,
) -> None:
    content = words(size)
    data: Any = {"bytes": content, "bytearray": bytearray(content), "segments": [content[:7], content[7:]]}[
        shape
    ]
    output, found = one_by_one(whole_device, [STEPS[name]() for name in names], data)
    sequence = Sequence(data, [STEPS[name]() for name in names])
    (done,) = run(module_queue, [sequence])
    assert (good(done), sequence.seen) == (output, found)
    assert done.consumed == size
    assert natively(done)


def test_in_the_threads_of_the_caller(whole_device: CpuDevice) -> None:
    assert whole_device.inline is not None
    sequence = Sequence(b"abc", [STEPS["crc32"](), STEPS["gzip"]()])
    done = whole_device.inline.run(sequence)
    assert gzip.decompress(good(done)) == b"abc"
    assert sequence.seen == [zlib.crc32(b"abc").to_bytes(4, "big"), None]


def test_there_and_back(module_queue: CpuQueue) -> None:
    content = words(300_000)  # more than is copied where others wait
    packed = AESGCM(KEY).encrypt(NONCE, gzip.compress(content), None)
    sequence = Sequence(packed, [sealing(Open), Decompress(b"", "gzip"), Digest(b"", "sha256")])
    (done,) = run(module_queue, [sequence])
    assert good(done) == content
    assert sequence.seen == [None, None, hashlib.sha256(content).digest()]


def test_only_looking(module_queue: CpuQueue) -> None:
    sequence = Sequence(b"abc", [Checksum(b"", "crc32"), Digest(b"", "sha1")])
    (done,) = run(module_queue, [sequence])
    assert (good(done), done.produced, done.consumed) == (b"", 0, 3)
    assert sequence.seen == [zlib.crc32(b"abc").to_bytes(4, "big"), hashlib.sha1(b"abc").digest()]


@pytest.mark.parametrize(
    "step",
    [
        lambda: sealing(Seal, bytes(20)),
        lambda: encrypting(),  # noqa: PLW0108  defined below
        lambda: Compress(b"", "no such thing"),
    ],
)
def test_what_is_not_native_goes_step_by_step(module_queue: CpuQueue, step: Callable[[], Operation]) -> None:
    operation = step()
    sequence = Sequence(b"x" * 32, [Checksum(b"", "crc32"), operation])
    (done,) = run(module_queue, [sequence])
    assert not natively(done)
    if operation.kind is Kind.COMPRESS:
        assert (done.status, done.detail.step) == (Status.INVALID_ARGS, 1)
    else:
        assert good(done)
    assert sequence.seen[0] == zlib.crc32(b"x" * 32).to_bytes(4, "big")


def encrypting() -> Encrypt:
    operation = Encrypt(Key(KEY, "a key"), b"", "aes-256-cbc", iv=bytes(16))
    operation.session = CpuKey(KeySpec("aes-256-cbc", KEY))
    return operation


def test_a_step_that_fails(module_queue: CpuQueue) -> None:
    """Those before it have seen, and those after it have not begun."""
    steps = [Checksum(b"", "crc32"), Decompress(b"", "gzip"), Digest(b"", "sha256")]
    sequence = Sequence(b"no gzip", steps)
    (done,) = run(module_queue, [sequence])
    (alone,) = run(module_queue, [Decompress(b"no gzip", "gzip")])
    assert (done.status, done.detail.message, done.detail.cause) == (
        alone.status,
        alone.detail.message,
        alone.detail.cause,
    )
    assert (done.detail.step, done.output, done.consumed, done.produced) == (1, None, 0, 0)
    assert sequence.seen == [zlib.crc32(b"no gzip").to_bytes(4, "big"), None, None]
    sequence = Sequence(noise(100), [Compress(b"", "gzip"), sealing(Open)])
    (done,) = run(module_queue, [sequence])
    assert (done.status, done.detail.message, done.detail.step) == (Status.CHECKSUM_FAILED, "", 1)


def test_a_bound_holds_between_steps(module_queue: CpuQueue) -> None:
    bomb = gzip.compress(bytes(1 << 20))
    sequence = Sequence(bomb, [Decompress(b"", "gzip", max_length=1000), Digest(b"", "sha256")])
    (done,) = run(module_queue, [sequence])
    assert (done.status, done.detail.step) == (Status.OUT_OF_SPACE_TERMINATED, 0)


def test_memory_that_is_gone(module_queue: CpuQueue) -> None:
    steps: list[Operation] = [Digest(b"", "sha256"), Compress(b"", "gzip")]
    (done,) = run(module_queue, [Sequence(gone(bytes(9000)), steps)])
    assert (done.status, done.detail.step) == (Status.PAGE_FAULT, 0)
    (done,) = run(module_queue, [Sequence(b"abc", [STEPS["sha256"](), STEPS["gzip"]()])])
    assert gzip.decompress(good(done)) == b"abc"


def test_a_stopped_queue(open_queue: Callable[..., CpuQueue]) -> None:
    queue = open_queue(8)
    large = bytes(256 << 20)
    work = [Sequence(large, [Digest(b"", "sm3"), Digest(b"", "sm3")]) for _ in range(8)]
    assert queue.enqueue_burst(list(enumerate(work))) == 8
    queue.stop()
    done: list[Completion] = drain(queue, 8)
    assert {each.status for each in done} == {Status.ABORTED}


def test_it_holds_its_memory_and_no_longer(open_queue: Callable[..., CpuQueue]) -> None:
    """Its input, once it is in the queue, whatever becomes of the operation; and not after its completion or withdrawal."""
    queue = open_queue(4)
    ends: list[tuple[bytearray, Callable[[], object]]] = [
        (bytearray(words(5000)), lambda: good(*drain(queue, 1))),
        (bytearray(b"no gzip" * 100), lambda: drain(queue, 1)[0].status is Status.DATA_ERROR),
    ]
    for number, (data, end) in enumerate(ends):
        first: Operation = Decompress(b"", "gzip") if number else Compress(b"", "gzip")
        sequence = Sequence(data, [first, Checksum(b"", "crc32")])
        assert queue.enqueue_burst([(number, sequence)]) == 1
        sequence.release()
        with pytest.raises(BufferError):
            data.append(0)
        assert end()
        data.append(0)


def test_what_its_steps_map_is_counted() -> None:
    backend = CpuBackend(frozenset({"zlib", "sequences"}))
    device = backend.open(backend.devices()[0], Options(workers=1))
    queue = device.open_queue(4)
    steps = [Compress(b"", "gzip", level=level) for level in (12, 6, 11)]
    (done,) = run(queue, [Sequence(b"x" * 100, steps)])
    assert natively(done)
    assert queue.statistics().levels_mapped == 2
    queue.close()


# -- recipes --------------------------------------------------------------------------------------------------------------


def test_a_recipe_is_read_once(module_queue: CpuQueue) -> None:
    """Its sequences have inputs, nonces and findings of their own, many at once; and its operations stay as they are."""
    recipe = Recipe([Compress(b"", "gzip"), Checksum(b"", "crc32"), sealing(Seal, b"")], wanting=[2])
    pages = [words(300 + number) for number in range(40)]
    work = [Sequence(page, recipe, (number.to_bytes(12, "big"),)) for number, page in enumerate(pages)]
    for operation, page, done in zip(work, pages, run(module_queue, work), strict=True):
        packed = AESGCM(KEY).decrypt(operation.nonces[0], good(done), None)
        assert gzip.decompress(packed) == page
        assert operation.seen == [None, zlib.crc32(packed).to_bytes(4, "big"), None]
        assert natively(done)
    (prepared,) = recipe.prepared.values()
    run(module_queue, [Sequence(b"abc", recipe, (NONCE,))])
    assert list(recipe.prepared.values()) == [prepared]
    assert [step.nbytes for step in recipe.steps] == [0, 0, 0]


@pytest.mark.parametrize("algorithm", ["aes-256-gcm", "aes-256-cbc"])
def test_a_nonce_of_each_sequence_in_a_thread_of_python(module_queue: CpuQueue, algorithm: str) -> None:
    """Where it is out of the ordinary, or its cipher is."""
    if algorithm == "aes-256-gcm":
        step, nonce = sealing(Seal, b""), bytes(range(16))
        answer = AESGCM(KEY).encrypt(nonce, b"x" * 32, None)
    else:
        step, nonce = encrypting(), bytes(range(16))  # type: ignore[assignment]  # a step, too
        encryptor = RawCipher(AES(KEY), CBC(nonce)).encryptor()
        answer = encryptor.update(b"x" * 32) + encryptor.finalize()
    recipe = Recipe([Checksum(b"", "crc32"), step], wanting=[1])
    for _ in range(2):
        sequence = Sequence(b"x" * 32, recipe, (nonce,))
        (done,) = run(module_queue, [sequence])
        assert good(done) == answer
        assert not natively(done)


def test_the_key_is_that_of_the_sequence(module_queue: CpuQueue) -> None:
    """A recipe holds no key that a device was told of: who revokes it would not reach it there."""
    recipe = Recipe([Checksum(b"", "crc32"), sealing(Seal)])
    session = ref(recipe.sessions[1])
    (done,) = run(module_queue, [Sequence(b"abc", recipe)])
    assert good(done) == AESGCM(KEY).encrypt(NONCE, b"abc", None)
    recipe.steps[1].session = None
    recipe.sessions = (None, None)
    gc.collect()
    assert session() is None
    (done,) = run(module_queue, [Sequence(b"abc", recipe)])
    assert done.status is not Status.SUCCESS
    other = sealing(Seal)
    sequence = Sequence(b"abc", recipe)
    sequence.sessions = (None, other.session)  # type: ignore[assignment]  # a session of a key
    (done,) = run(module_queue, [sequence])
    assert good(done) == AESGCM(KEY).encrypt(NONCE, b"abc", None)


@pytest.mark.parametrize(("wanting", "nonces"), [((), (NONCE,)), ((0,), ()), ((0,), (NONCE, NONCE))])
def test_as_many_nonces_as_are_wanted(wanting: tuple[int, ...], nonces: tuple[bytes, ...]) -> None:
    with pytest.raises(InvalidArgument, match=f"nonces: expected {len(wanting)}, .* got {len(nonces)}"):
        Sequence(b"", Recipe([sealing(Seal)], wanting), nonces)


def test_a_recipe_that_was_changed(module_queue: CpuQueue) -> None:
    """What it says of its steps is not believed; and what was read of them stays."""
    recipe = Recipe([Checksum(b"", "crc32"), sealing(Seal)])
    recipe.wanting = (7,)
    (done,) = run(module_queue, [Sequence(b"abc", recipe, (NONCE,))])
    assert good(done) == AESGCM(KEY).encrypt(NONCE, b"abc", None)  # in Python
    assert not natively(done)
    recipe = Recipe([Checksum(b"", "crc32")])
    recipe.steps = ()
    (done,) = run(module_queue, [Sequence(b"abc", recipe)])
    assert not natively(done)
    step = sealing(Seal, bytes(bytearray(b"n" * 12)))
    step.aad = bytes(bytearray(b"header" * 100))
    recipe = Recipe([Checksum(b"", "crc32"), step])
    expected = AESGCM(KEY).encrypt(b"n" * 12, b"abc", b"header" * 100)
    for _ in range(3):
        (done,) = run(module_queue, [Sequence(b"abc", recipe)])
        assert good(done) == expected
        step.nonce, step.aad = b"m" * 12, b"other"
        gc.collect()


def test_what_is_changed_in_flight(module_queue: CpuQueue) -> None:
    """Whoever rebinds a nonce takes nothing away from the worker."""
    step = sealing(Seal, bytes(bytearray(b"n" * 12)))
    step.aad = bytes(bytearray(b"header" * 100))
    step.source, step.nbytes = bytes(200_000), 200_000
    expected = AESGCM(KEY).encrypt(b"n" * 12, bytes(200_000), b"header" * 100)
    recipe = Recipe([sealing(Seal)], [0])
    sequence = Sequence(bytes(200_000), recipe, (bytes(bytearray(b"n" * 12)),))
    assert module_queue.enqueue_burst([(0, step), (1, sequence)]) == 2
    step.nonce, step.aad, sequence.nonces = b"m" * 12, b"other", ()
    recipe.prepared.clear()
    gc.collect()
    outputs = {done.tag: good(done) for done in drain(module_queue, 2)}
    assert outputs == {0: expected, 1: AESGCM(KEY).encrypt(b"n" * 12, bytes(200_000), None)}


def test_a_recipe_forgets_devices() -> None:
    recipe = Recipe([Checksum(b"", "crc32")])
    for _ in range(40):
        device = open_device()
        assert device.inline is not None
        good(device.inline.run(Sequence(b"abc", recipe)))
    assert 1 <= len(recipe.prepared) <= 16


@pytest.mark.parametrize("wanting", [(5,), (-1,), (0,), (1, 1), (2, 1), ("a",), (True,)])
def test_who_wants_a_nonce(wanting: tuple[Any, ...]) -> None:
    steps = [Checksum(b"", "crc32"), sealing(Seal), sealing(Open)]
    with pytest.raises(InvalidArgument, match="wanting: expected"):
        Recipe(steps, wanting)

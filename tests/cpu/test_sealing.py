"""AES-GCM in the native workers, beside `cryptography`; what is out of the ordinary goes to that."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cpu.support import drain, good, open_device, run
from tests.cpu.test_gone import gone
from tests.cpu.test_ring import busy_workers
from wdasync.backend import Completion, Status
from wdasync.operations import Key, KeySpec, Open, Seal
from wdasync_cpu import binding, trials
from wdasync_cpu.crypto.keys import CpuKey
from wdasync_cpu.devices import CpuDevice
from wdasync_cpu.queues import CpuQueue

Opener = Callable[..., CpuQueue]
Sealing = Seal | Open

SIZES = [0, 1, 15, 16, 17, 31, 255, 1024, 4095, 70_000]
KEYS = {bits: bytes(range(bits // 8)) for bits in (128, 192, 256)}
NONCE = bytes(range(12))

needs_openssl = pytest.mark.skipif(
    bool(binding.library_problem("openssl")), reason="no OpenSSL that can be called: all is cryptography's"
)


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(size * 1000 + seed).randbytes(size)


def made(kind: type[Sealing], bits: int, data: object, *, nonce: bytes = NONCE, **how: Any) -> Sealing:
    """An operation of which the device was told."""
    name = f"aes-{bits}-gcm"
    operation = kind(Key(KEYS[bits], "a key"), nonce, data, name, **how)
    operation.session = CpuKey(KeySpec(name, KEYS[bits]))
    return operation


def by_python(queue: CpuQueue) -> int:
    return int(queue.statistics().extra["python"])


@needs_openssl
class TestOrdinary:
    @pytest.mark.parametrize("bits", KEYS)
    @pytest.mark.parametrize("inline", [False, True])
    def test_both_ways(self, whole_device: CpuDevice, whole_queue: CpuQueue, bits: int, inline: bool) -> None:
        assert whole_device.inline is not None
        one = whole_device.inline.run if inline else lambda operation: run(whole_queue, [operation])[0]
        peer = AESGCM(KEYS[bits])
        for size in SIZES:
            data = content(size)
            for aad in (b"", b"head", bytes(5000)):
                sealed = peer.encrypt(NONCE, data, aad)
                done = one(made(Seal, bits, data, aad=aad))
                assert (good(done), done.consumed) == (sealed, size)
                done = one(made(Open, bits, sealed, aad=aad))
                assert (good(done), done.consumed) == (data, size + 16)
        assert by_python(whole_queue) == 0

    @settings(deadline=None, max_examples=60)
    @given(
        sizes=st.lists(st.integers(0, 300), max_size=6),
        cut=st.lists(st.integers(0, 40), min_size=1, max_size=5),
        owned=st.booleans(),
    )
    def test_segments(self, module_queue: CpuQueue, sizes: list[int], cut: list[int], owned: bool) -> None:
        """However text and tag are cut."""
        kind = bytearray if owned else bytes
        pieces = [kind(content(size, number)) for number, size in enumerate(sizes)]
        sealed = AESGCM(KEYS[256]).encrypt(NONCE, b"".join(pieces), None)
        assert good(run(module_queue, [made(Seal, 256, pieces)])[0]) == sealed
        ends = [kind(sealed[:-each]) for each in cut[:1] if each] or [kind(sealed)]
        rest = sealed[len(ends[0]) :]
        parts = [*ends, *(kind(rest[at : at + 5]) for at in range(0, len(rest), 5))]
        assert good(run(module_queue, [made(Open, 256, parts)])[0]) == b"".join(pieces)

    def test_into_memory_of_the_callers(self, whole_queue: CpuQueue) -> None:
        data = content(100)
        sealed = AESGCM(KEYS[128]).encrypt(NONCE, data, None)
        place = bytearray(120)
        (done,) = run(whole_queue, [made(Seal, 128, data, into=place)])
        assert (done.status, done.output, done.produced) == (Status.SUCCESS, None, 116)
        assert place == sealed + bytes(4)
        (done,) = run(whole_queue, [made(Open, 128, memoryview(place)[:116], into=memoryview(place)[:100])])
        assert (done.status, done.produced, place[:100]) == (Status.SUCCESS, 100, data)
        small = bytearray(115)
        (done,) = run(whole_queue, [made(Seal, 128, data, into=small)])
        assert (done.status, done.detail.message) == (Status.OUT_OF_SPACE_TERMINATED, "needs 116 bytes")
        assert (done.consumed, done.produced, small) == (0, 0, bytes(115))
        assert by_python(whole_queue) == 0

    @pytest.mark.parametrize("where", [0, 50, 99, 100, 115])
    def test_what_was_changed_is_not_opened(self, whole_queue: CpuQueue, where: int) -> None:
        sealed = bytearray(AESGCM(KEYS[256]).encrypt(NONCE, content(100), b"head"))
        sealed[where] ^= 1
        self.refused(whole_queue, made(Open, 256, bytes(sealed), aad=b"head"))

    def test_another_key_nonce_or_head(self, whole_queue: CpuQueue) -> None:
        sealed = AESGCM(KEYS[256]).encrypt(NONCE, content(100), b"head")
        self.refused(whole_queue, made(Open, 256, sealed, aad=b"hea"))
        self.refused(whole_queue, made(Open, 256, sealed, nonce=bytes(12), aad=b"head"))
        self.refused(whole_queue, made(Open, 128, sealed, aad=b"head"))
        for size in (0, 15, 16, 115):
            self.refused(whole_queue, made(Open, 256, sealed[:size], aad=b"head"))
        # The next one has nothing of it.
        assert good(run(whole_queue, [made(Open, 256, sealed, aad=b"head")])[0]) == content(100)

    def refused(self, queue: CpuQueue, operation: Sealing) -> None:
        (done,) = run(queue, [operation])
        assert (done.status, done.detail.message) == (Status.CHECKSUM_FAILED, "")
        assert (done.output, done.consumed, done.produced) == (None, 0, 0)

    def test_unverified_text_goes_nowhere(self, whole_queue: CpuQueue) -> None:
        sealed = bytearray(AESGCM(KEYS[256]).encrypt(NONCE, content(100), None))
        sealed[-1] ^= 1
        place = bytearray(100)
        (done,) = run(whole_queue, [made(Open, 256, bytes(sealed), into=place)])
        assert (done.status, place) == (Status.CHECKSUM_FAILED, bytes(100))

    def test_memory_that_is_gone(self, whole_queue: CpuQueue) -> None:
        for operation in (
            made(Seal, 256, gone(content(9000), 4096)),
            made(Open, 256, gone(content(9000), 4096)),
            made(Seal, 256, content(100), into=memoryview(gone(bytes(9000)))),
        ):
            (done,) = run(whole_queue, [operation])
            assert done.status is Status.PAGE_FAULT
        assert good(run(whole_queue, [made(Seal, 256, b"")])[0]) == AESGCM(KEYS[256]).encrypt(
            NONCE, b"", None
        )

    def test_a_key_that_is_closed_meanwhile(self, whole_device: CpuDevice, open_queue: Opener) -> None:
        queue = open_queue(8)
        operation = made(Seal, 256, b"text")
        with busy_workers(whole_device):
            queue.enqueue_burst([(0, operation)])
            assert isinstance(operation.session, CpuKey)
            operation.session.close()
            assert operation.session.secret is None
        (done,) = drain(queue, 1)
        assert good(done) == AESGCM(KEYS[256]).encrypt(NONCE, b"text", None)

    def test_a_stopped_queue(self, open_queue: Opener) -> None:
        queue = open_queue(8)
        data = bytes(512 << 20)
        assert queue.enqueue_burst([(tag, made(Seal, 256, data)) for tag in range(8)]) == 8
        queue.stop()
        done: list[Completion] = []
        while len(done) < 8:
            done += queue.dequeue_burst(8)
        assert Status.ABORTED in {each.status for each in done}
        assert {each.status for each in done} <= {Status.ABORTED, Status.SUCCESS}


class TestOutOfTheOrdinary:
    def test_another_nonce_or_tag(self, whole_queue: CpuQueue) -> None:
        data = content(100)
        nonce = bytes(range(20))
        sealed = AESGCM(KEYS[256]).encrypt(nonce, data, None)
        assert good(run(whole_queue, [made(Seal, 256, data, nonce=nonce)])[0]) == sealed
        assert good(run(whole_queue, [made(Open, 256, sealed, nonce=nonce)])[0]) == data
        short = AESGCM(KEYS[256]).encrypt(NONCE, data, None)[:-4]
        assert good(run(whole_queue, [made(Seal, 256, data, tag_length=12)])[0]) == short
        assert by_python(whole_queue) == 3

    def test_what_is_wrong_with_a_key(self, whole_queue: CpuQueue) -> None:
        closed, other, none = (made(Seal, 256, b"") for _ in range(3))
        assert isinstance(closed.session, CpuKey)
        closed.session.close()
        other.session = made(Seal, 128, b"").session
        none.session = None
        messages = []
        for done in run(whole_queue, [closed, other, none]):
            assert done.status is Status.INVALID_ARGS
            messages.append(done.detail.message)
        assert messages == [
            "the key was closed",
            "the key is for aes-128-gcm, not for aes-256-gcm",
            "the key is not one that this device was told of",
        ]

    def test_left_to_cryptography_where_the_option_says_so(self) -> None:
        queue = open_device(native_codecs=False).open_queue(8)
        assert good(run(queue, [made(Seal, 256, b"a")])[0]) == AESGCM(KEYS[256]).encrypt(NONCE, b"a", None)
        assert by_python(queue) == 1
        queue.close()

    def test_left_to_cryptography_where_the_answer_is_wrong(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(trials.SEALED, "aes-256-gcm", "00" * 32)
        trials.seals.cache_clear()
        queue = open_device().open_queue(8)
        try:
            assert good(run(queue, [made(Seal, 256, b"")])[0]) == AESGCM(KEYS[256]).encrypt(NONCE, b"", None)
            assert by_python(queue) == 1
        finally:
            monkeypatch.undo()
            trials.seals.cache_clear()
            queue.close()

    def test_a_key_that_is_too_long(self) -> None:
        with pytest.raises(ValueError, match="expected at most 32 bytes, got 33"):
            binding.new_secret(0, bytes(33))


@pytest.fixture(scope="module")
def module_queue() -> Iterator[CpuQueue]:
    """A queue for all examples of a test."""
    queue = open_device().open_queue(64)
    yield queue
    queue.close()

"""AES-GCM in the native workers, beside `cryptography`; what is out of the ordinary goes to that."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cpu.sanitizers import COMPILER
from tests.cpu.sealed import WAYS, needs_ipsec, needs_openssl, sealed_by
from tests.cpu.support import CHECKOUT, PATIENCE, drain, good, open_device, python, run
from tests.cpu.test_gone import gone
from tests.cpu.test_ring import busy_workers
from wdasync.backend import Completion, Status
from wdasync.operations import Key, KeySpec, Open, Seal
from wdasync_cpu import Options, binding
from wdasync_cpu.backend import CpuBackend
from wdasync_cpu.crypto import gcm, table
from wdasync_cpu.crypto.gcm import SealNumber
from wdasync_cpu.crypto.keys import CpuKey
from wdasync_cpu.devices import CpuDevice
from wdasync_cpu.queues import CpuQueue

Opener = Callable[..., CpuQueue]
Sealing = Seal | Open

SIZES = [0, 1, 15, 16, 17, 31, 255, 1024, 4095, 70_000]
KEYS = {bits: bytes(range(bits // 8)) for bits in (128, 192, 256)}
NONCE = bytes(range(12))


@pytest.fixture(scope="class", params=WAYS)
def by(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each test is made by the one and by the other."""
    with sealed_by(request.param):
        yield request.param


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


@pytest.mark.usefixtures("by")
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

    @pytest.mark.parametrize(
        ("answers", "answer"), [(gcm.SEALED, "00" * 32), (gcm.TAGS, "00" * 16)], ids=["short", "long"]
    )
    def test_left_to_cryptography_where_the_answer_is_wrong(
        self, monkeypatch: pytest.MonkeyPatch, answers: dict[str, str], answer: str
    ) -> None:
        monkeypatch.setitem(answers, "aes-256-gcm", answer)
        gcm.way.cache_clear()
        queue = open_device().open_queue(8)
        try:
            assert gcm.way("aes-256-gcm") is None
            assert good(run(queue, [made(Seal, 256, b"")])[0]) == AESGCM(KEYS[256]).encrypt(NONCE, b"", None)
            assert by_python(queue) == 1
        finally:
            monkeypatch.undo()
            gcm.way.cache_clear()
            queue.close()

    def test_another_key_than_the_option_says_is_not_expanded(self) -> None:
        device = open_device(native_codecs=False)
        assert device.open_key(KeySpec("aes-256-gcm", KEYS[256])).secret is None

    def test_a_key_that_is_too_long(self) -> None:
        with pytest.raises(ValueError, match="expected at most 32 bytes, got 33"):
            binding.new_secret(0, bytes(33), True)


@pytest.fixture(scope="module")
def module_queue() -> Iterator[CpuQueue]:
    """A queue for all examples of a test."""
    queue = open_device().open_queue(64)
    yield queue
    queue.close()


def cut(data: bytes, ends: list[int], owned: bool) -> list[bytes | bytearray]:
    """Into segments that end there."""
    places = [0, *sorted(min(end, len(data)) for end in ends), len(data)]
    kind = bytearray if owned else bytes
    return [kind(data[begin:end]) for begin, end in pairwise(places)]


sizes = st.one_of(st.integers(0, 600), st.integers(0, 70_000))
aads = st.one_of(st.integers(0, 64), st.integers(0, 5000))


@pytest.mark.usefixtures("by")
class TestDifferential:
    """Beside `cryptography`."""

    @settings(deadline=None, max_examples=150)
    @given(
        bits=st.sampled_from(list(KEYS)),
        size=sizes,
        aad_size=aads,
        nonce=st.binary(min_size=12, max_size=12),
        ends=st.lists(st.integers(0, 70_016), max_size=6),
        owned=st.booleans(),
        into=st.booleans(),
    )
    def test_what_is_right(
        self,
        module_queue: CpuQueue,
        bits: int,
        size: int,
        aad_size: int,
        nonce: bytes,
        ends: list[int],
        owned: bool,
        into: bool,
    ) -> None:
        data, aad = content(size), content(aad_size, 1)
        sealed = AESGCM(KEYS[bits]).encrypt(nonce, data, aad)
        for kind, source, wanted in ((Seal, data, sealed), (Open, sealed, data)):
            place = bytearray(len(wanted) + 3) if into else None
            pieces = cut(source, ends, owned)
            done = run(module_queue, [made(kind, bits, pieces, nonce=nonce, aad=aad, into=place)])[0]
            assert done.status is Status.SUCCESS
            assert (done.consumed, done.produced) == (len(source), len(wanted))
            assert (place or done.output or b"") == wanted + (bytes(3) if into else b"")

    @settings(deadline=None, max_examples=150)
    @given(
        bits=st.sampled_from(list(KEYS)),
        size=sizes,
        aad_size=aads,
        ends=st.lists(st.integers(0, 70_016), max_size=4),
        what=st.sampled_from(["text", "tag", "aad", "nonce"]),
        where=st.integers(0, 1 << 20),
        into=st.booleans(),
    )
    def test_what_was_changed(
        self,
        module_queue: CpuQueue,
        bits: int,
        size: int,
        aad_size: int,
        ends: list[int],
        what: str,
        where: int,
        into: bool,
    ) -> None:
        aad = content(aad_size, 1)
        sealed = AESGCM(KEYS[bits]).encrypt(NONCE, content(size), aad)
        parts = {"text": sealed[:-16], "tag": sealed[-16:], "aad": aad, "nonce": NONCE}
        part = parts[what]
        if not part:
            return
        at = where // 8 % len(part)
        parts[what] = part[:at] + bytes([part[at] ^ 1 << where % 8]) + part[at + 1 :]
        place = bytearray(size) if into else None
        pieces = cut(parts["text"] + parts["tag"], ends, owned=False)
        operation = made(Open, bits, pieces, nonce=parts["nonce"], aad=parts["aad"], into=place)
        (done,) = run(module_queue, [operation])
        assert (done.status, done.detail.message) == (Status.CHECKSUM_FAILED, "")
        assert (done.output, done.consumed, done.produced) == (None, 0, 0)
        assert place is None or place == bytes(size)

    @pytest.mark.parametrize("size", [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, (3 << 20) + 5])
    def test_several_pieces(self, module_queue: CpuQueue, size: int) -> None:
        """What is long is looked at a piece at a time, associated data too."""
        data = content(size)
        for aad in (b"", content(size, 1)):
            sealed = AESGCM(KEYS[256]).encrypt(NONCE, data, aad)
            for pieces in (data, [data[:7], data[7:]]):
                assert good(run(module_queue, [made(Seal, 256, pieces, aad=aad)])[0]) == sealed
            for pieces in (sealed, [sealed[:-3], sealed[-3:]]):
                assert good(run(module_queue, [made(Open, 256, pieces, aad=aad)])[0]) == data
            assert run(module_queue, [made(Open, 256, sealed[:-1] + b"?", aad=aad)])[0].output is None


def test_the_answers_are_right() -> None:
    for algorithm, tag in gcm.TAGS.items():
        bits = int(algorithm.split("-")[1])
        peer = AESGCM(gcm.LONG[: bits // 8])
        assert peer.encrypt(gcm.NONCE, gcm.LONG, gcm.AAD)[-16:].hex() == tag
        assert AESGCM(bytes(bits // 8)).encrypt(bytes(12), bytes(16), None).hex() == gcm.SEALED[algorithm]


class TestWho:
    @pytest.mark.parametrize("who", WAYS)
    def test_keys_are_expanded_for_ipsec_mb_only(self, who: str) -> None:
        with sealed_by(who):
            for bits, key in KEYS.items():
                secret = CpuKey(KeySpec(f"aes-{bits}-gcm", key)).secret
                assert secret is not None
                assert binding.is_expanded(secret) == (who == "IPsec-MB")

    @pytest.mark.parametrize("who", WAYS)
    def test_it_costs_what_was_measured(self, who: str) -> None:
        with sealed_by(who):
            found = gcm.way("aes-128-gcm")
            work = table.work_of(Seal.kind, "aes-128-gcm", {"openssl-seal"})
            assert found is not None
            assert (work.cost, work.measured) == (found.cost, True)

    @pytest.mark.parametrize("who", WAYS)
    def test_doctor_says_who_does_it(self, who: str) -> None:
        with sealed_by(who):
            (check,) = (each for each in CpuBackend().diagnose(Options()) if each.name == "AES-GCM")
        assert (check.passed, check.found) == (True, f"by {who}")

    def test_doctor_says_that_nothing_native_does_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gcm, "way", lambda algorithm: None)
        (check,) = (each for each in CpuBackend().diagnose(Options()) if each.name == "AES-GCM")
        assert (check.passed, check.found) == (None, "by cryptography, in Python threads")
        assert "AES-GCM" not in {each.name for each in CpuBackend().diagnose(Options(native_codecs=False))}

    @needs_openssl
    def test_how_it_is_measured(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def tried(*what: Any) -> tuple[bytes, int]:
            (data,) = what[4]
            return b"", 100 + len(data) // 8

        monkeypatch.setattr(binding, "try_sealing", tried)
        assert gcm._cost(SealNumber.AES_256_GCM, False) == (gcm._ASKED + 102, 127)

    @pytest.mark.parametrize(
        ("number", "size", "nonce", "count"), [(0, 32, 12, 1), (3, 16, 12, 1), (0, 16, 11, 1), (0, 16, 12, 5)]
    )
    def test_what_cannot_be_tried(self, number: int, size: int, nonce: int, count: int) -> None:
        secret = binding.new_secret(number, bytes(size), True)
        with pytest.raises(ValueError, match="no such sealing"):
            binding.try_sealing(secret, True, bytes(nonce), b"", (b"",) * count, 1)
        if number or size == 32:
            assert not binding.is_expanded(secret)

    @needs_ipsec
    def test_openssl_is_not_asked(self, tmp_path: Path) -> None:
        """One that can do nothing is no harm."""
        said = with_libraries(tmp_path, """
            from tests.cpu.support import good, open_device, run
            from tests.cpu.test_sealing import KEYS, made, Open, Seal
            queue = open_device().open_queue(8)
            sealed = good(run(queue, [made(Seal, 256, [b"a text", b"in parts"], aad=b"head")])[0])
            text = good(run(queue, [made(Open, 256, sealed, aad=b"head")])[0])
            print(text.decode(), queue.statistics().extra["python"])
            queue.close()
        """, openssl=NOTHING)  # fmt: skip
        assert said == "a textin parts 0"

    @pytest.mark.skipif("ipsec-mb" not in binding.LIBRARIES, reason="the library is for another processor")
    @needs_openssl
    @pytest.mark.parametrize("features", ["0", "1 << 1 | 1 << 19", "1 << 1"])
    def test_a_processor_without_the_instructions(self, tmp_path: Path, features: str) -> None:
        """Or a library that gives other answers, which the last one is."""
        said = with_libraries(tmp_path, """
            from wdasync_cpu import binding
            from wdasync_cpu.crypto import gcm
            assert not binding.library_problem("ipsec-mb")
            print(binding.is_expanded(binding.new_secret(0, bytes(16), True)), gcm.way("aes-128-gcm").expanded)
        """, ipsec_mb=WRONG % features)  # fmt: skip
        assert said == f"{features == '1 << 1'} False"


#: A library with OpenSSL's names, which does nothing.
NOTHING = "".join(
    f"int {name}(void) {{ return 0; }}\n"
    for name in (
        "EVP_get_digestbyname", "EVP_MD_CTX_new", "EVP_MD_CTX_free", "EVP_DigestInit_ex", "EVP_DigestUpdate",
        "EVP_DigestFinal_ex", "EVP_get_cipherbyname", "EVP_CIPHER_CTX_new", "EVP_CIPHER_CTX_free",
        "EVP_CipherInit_ex", "EVP_CipherUpdate", "EVP_CipherFinal_ex", "EVP_CIPHER_CTX_ctrl",
    )
)  # fmt: skip

#: One with IPsec-MB's, whose functions do nothing.
WRONG = """
static void *manager[1000];
static void *nothing(void) { return 0; }
void *alloc_mb_mgr(void) { return manager; }
void free_mb_mgr(void *manager) { (void)manager; }
void init_mb_mgr_auto(void)
{
    manager[1] = (void *)(long)(%s);
    for (int i = 8; i < 1000; i++)
        manager[i] = nothing;
}
unsigned imb_get_version(void) { return 0x10300; }
"""


def with_libraries(folder: Path, code: str, **sources: str) -> str:
    """What a process says that finds these in place of others."""
    lines = ["from wdasync_cpu import binding"]
    for name, text in sources.items():
        source, library = folder / f"{name}.c", folder / f"{name}.so"
        source.write_text(text)
        subprocess.run([*COMPILER, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
        lines.append(
            f'binding.LIBRARIES[{name.replace("_", "-")!r}] = binding.Library(({str(library)!r},), "", "", "")'
        )
    return python("\n".join([*lines, *(line.strip() for line in code.splitlines())])).strip()


# -- what stays in memory ---------------------------------------------------------------------------------------------------

#: Seals when it is told to, and says so.
KEEPER = """
import sys
from wdasync.operations import KeySpec
from wdasync_cpu import binding
from wdasync_cpu.crypto.keys import CpuKey
for line in sys.stdin:
    if line == "close\\n":
        key.close()
        del key
    else:
        key = CpuKey(KeySpec("aes-128-gcm", bytes.fromhex(line)))
        binding.try_sealing(key.secret, True, bytes(12), b"", (b"a text", b"in parts"), 1)
    print("done", flush=True)
"""


def substitute(byte: int) -> int:
    """The S-box: FIPS 197, section 5.1.1."""
    inverse = next((other for other in range(256) if times(byte, other) == 1), 0)
    turned = inverse | inverse << 8
    return (turned ^ turned >> 4 ^ turned >> 5 ^ turned >> 6 ^ turned >> 7 ^ 0x63) & 255


def times(one: int, other: int) -> int:
    product = 0
    for bit in range(8):
        product ^= (one << bit) * (other >> bit & 1)
    for bit in range(14, 7, -1):
        product ^= (0x11B << bit - 8) * (product >> bit & 1)
    return product


def next_round_key(key: bytes, constant: int) -> bytes:
    """Of AES-128: FIPS 197, section 5.2."""
    word = bytearray(substitute(key[at]) for at in (13, 14, 15, 12))
    word[0] ^= constant
    found = b""
    for at in range(0, 16, 4):
        word = bytearray(a ^ b for a, b in zip(word, key[at : at + 4], strict=True))
        found += word
    return found


def memory_of(process: int) -> Iterator[bytes]:
    """What it can write to."""
    with Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{process}/maps").read_text().splitlines():
            ends, rights = line.split()[:2]
            begin, end = (int(each, 16) for each in ends.split("-"))
            if rights.startswith("rw"):
                memory.seek(begin)
                yield memory.read(end - begin)


def round_keys(key: bytes) -> list[bytes]:
    """The first ones, of which that before all rounds is the key itself."""
    found = [key]
    for constant in (1, 2, 4):
        found.append(next_round_key(found[-1], constant))
    return found


def test_the_round_keys_of_the_standard() -> None:
    """FIPS 197, appendix A.1."""
    keys = round_keys(bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"))
    assert keys[1].hex() == "a0fafe1788542cb123a339392a6c7605"
    assert keys[3].hex() == "3d80477d4716fe3e1e237e446d7a883b"


@needs_ipsec
def test_nothing_of_a_closed_key_stays_in_memory() -> None:
    key = random.Random(1).randbytes(16)
    expanded = b"".join(round_keys(key)[2:])  # where it began, the allocator writes what it wants to know

    def copies() -> int:
        return sum(memory.count(expanded) for memory in memory_of(child.pid))

    with subprocess.Popen(
        [sys.executable, "-c", KEEPER], cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        found = []
        for line in (key.hex(), "close"):
            print(line, file=child.stdin, flush=True)
            assert child.stdout.readline() == "done\n"
            try:
                found.append(copies())
            except PermissionError:
                child.kill()
                pytest.skip("a child's memory cannot be read here")
        child.stdin.close()
        assert child.wait(PATIENCE) == 0
    assert found == [1, 0]

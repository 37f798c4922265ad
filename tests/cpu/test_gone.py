"""Buffers whose memory goes away: a file is mapped, and truncated before or while a worker reads it or writes to it.

Native code is guarded; what Python calls gets a copy that was made under the guard. Level 0 and small windows are done by native code on
every machine.
"""

from __future__ import annotations

import gzip
import mmap
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

import wdasync
from tests.cpu.support import CHECKOUT, PATIENCE, good, noise, open_device, pack, run, unpack, words
from tests.storm import resident
from wdasync.backend import DigestSpec, Direction, Status, StreamSpec
from wdasync.operations import (
    Compress,
    CompressChunk,
    Decompress,
    DecompressChunk,
    Decrypt,
    DigestChunk,
    Encrypt,
    Flush,
    Key,
    KeyedOperation,
    KeySpec,
    Mac,
    Open,
    Operation,
    PrivateDecrypt,
    PublicEncrypt,
    Seal,
    Sign,
    Verify,
)
from wdasync_cpu import Options, binding
from wdasync_cpu.backend import CpuBackend
from wdasync_cpu.codecs import IMPLEMENTATIONS
from wdasync_cpu.devices import CpuDevice
from wdasync_cpu.queues import CpuQueue

#: The implementations in C.
NATIVE = frozenset(name for name, row in IMPLEMENTATIONS.items() if row.library)

ALGORITHMS = ["gzip", "zlib", "deflate", *(["br"] if not binding.library_problem("brotli") else [])]
PAGE = mmap.PAGESIZE


def gone(content: bytes, kept: int = 0) -> mmap.mmap:
    """A mapped file of which only the first pages are still there."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        mapped = mmap.mmap(file.fileno(), 0)
        file.truncate(kept)
    return mapped


def lost(content: bytes) -> list[mmap.mmap]:
    """So too, of several lengths: nothing is there, the beginning, all but the last page."""
    last = (len(content) - 1) // PAGE * PAGE
    return [gone(content, kept) for kept in sorted({0, min(PAGE, last), last})]


@pytest.fixture(scope="module")
def native_device() -> CpuDevice:
    backend = CpuBackend(NATIVE)
    return backend.open(backend.devices()[0], Options())


@pytest.fixture
def native_queue(native_device: CpuDevice) -> Iterator[CpuQueue]:
    queue = native_device.open_queue(64)
    yield queue
    queue.close()


def test_every_codec(native_queue: CpuQueue) -> None:
    content = noise(200_000)
    for algorithm in ALGORITHMS:
        work: list[Operation] = [
            Compress(source, algorithm, level=level)
            for level in (0, 1, 2, 3, 6, 9)
            for source in lost(content)
        ]
        work += [Compress(source, algorithm, level=6, window=14) for source in lost(content)]
        work += [Decompress(source, algorithm) for source in lost(pack(content, algorithm))]
        for done in run(native_queue, work):
            assert done.status is Status.PAGE_FAULT
            assert (done.output, done.consumed, done.produced) == (None, 0, 0)
            assert "of the input" in done.detail.message
    for algorithm in ALGORITHMS:
        for level in (0, 1, 2, 3, 6, 9):
            (done,) = run(native_queue, [Compress(content, algorithm, level=level)])
            assert unpack(good(done), algorithm) == content
        assert good(run(native_queue, [Decompress(pack(content, algorithm), algorithm)])[0]) == content


def test_the_byte_is_named(native_queue: CpuQueue) -> None:
    content, there = noise(10 * PAGE), b"0123456789"
    (done,) = run(native_queue, [Compress(gone(content, 3 * PAGE), "gzip")])
    assert f"at byte {3 * PAGE} of the input" in done.detail.message
    (done,) = run(native_queue, [Compress([there, gone(content, PAGE)], "gzip", level=6)])
    assert f"at byte {PAGE + 10} of the input" in done.detail.message
    (done,) = run(native_queue, [Compress([there, memoryview(gone(content))[50:70], there], "gzip")])
    assert "at byte 10 of the input" in done.detail.message
    (done,) = run(native_queue, [Compress(content, "gzip", into=gone(bytes(12 * PAGE), 2 * PAGE))])
    assert f"at byte {2 * PAGE} of the output" in done.detail.message


def test_output(native_queue: CpuQueue) -> None:
    content = noise(100_000)
    for algorithm in ALGORITHMS:
        outputs, others = lost(bytes(200_000))[:2], lost(bytes(200_000))[:2]
        work: list[Operation] = [Compress(content, algorithm, into=output) for output in outputs]
        work += [Decompress(pack(content, algorithm), algorithm, into=output) for output in others]
        assert {done.status for done in run(native_queue, work)} == {Status.PAGE_FAULT}


def test_the_stream_is_broken_until_a_reset(native_device: CpuDevice, native_queue: CpuQueue) -> None:
    content = noise(50_000)
    for algorithm in ALGORITHMS:
        for level in (1, 6):
            session = native_device.open_session(StreamSpec(Direction.COMPRESS, algorithm, level=level))
            for _ in range(3):
                first = CompressChunk(session, words(5000))
                lacking = CompressChunk(session, gone(content, PAGE), Flush.SYNC)
                statuses = [run(native_queue, [step])[0].status for step in (first, lacking, first)]
                assert statuses == [Status.SUCCESS, Status.PAGE_FAULT, Status.INVALID_STATE]
                session.reset()
            (done,) = run(native_queue, [CompressChunk(session, content, Flush.FINISH)])
            assert unpack(good(done), algorithm) == content
            session.close()
        session, packed = (
            native_device.open_session(StreamSpec(Direction.DECOMPRESS, algorithm)),
            pack(content, algorithm),
        )
        for _ in range(3):
            lacking = DecompressChunk(session, gone(packed, PAGE))
            statuses = [run(native_queue, [step])[0].status for step in (lacking, lacking)]
            assert statuses == [Status.PAGE_FAULT, Status.INVALID_STATE]
            session.reset()
        assert good(run(native_queue, [DecompressChunk(session, packed)])[0]) == content
        session.close()


def test_in_the_callers_thread(native_device: CpuDevice) -> None:
    inline = native_device.inline
    assert inline is not None
    for size in (200, 3 * PAGE):  # The larger one gives up the interpreter's lock.
        done = inline.run(Compress(gone(noise(size)), "gzip"))
        assert (done.status, done.output) == (Status.PAGE_FAULT, None)
        assert unpack(good(inline.run(Compress(words(size), "gzip"))), "gzip") == words(size)


# -- work of Python ---------------------------------------------------------------------------------------------------

SECRET = Key(bytes(range(16)), "a key")
LONG = Key(bytes(range(32)), "a key")
SIGNER = Key(ec.generate_private_key(ec.SECP256R1()), "a key")
OWNER = Key(rsa.generate_private_key(65537, 1024), "a key")
OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)


def of_keys(source: Any) -> list[KeyedOperation]:
    """Everything that is done with a key by a library that is called from Python."""
    return [
        Mac(SECRET, source, "hmac-sha256"),
        Mac(SECRET, source, "aes-128-cmac"),
        *(Encrypt(SECRET, source, f"aes-128-{mode}", iv=bytes(16)) for mode in ("cbc", "ctr")),
        *(Encrypt(LONG, source, name, iv=bytes(16)) for name in ("aes-128-xts", "sm4-xts")),
        Decrypt(SECRET, source, "sm4-cbc", iv=bytes(16)),
        *(Seal(SECRET, bytes(12), source, name) for name in ("aes-128-ccm", "sm4-ccm", "sm4-gcm")),
        *(Open(SECRET, bytes(12), source, name) for name in ("aes-128-ccm", "sm4-ccm", "sm4-gcm")),
        Seal(SECRET, bytes(16), source, "aes-128-gcm"),
        Seal(LONG, bytes(12), source, "chacha20-poly1305"),
        Seal(Key(bytes(48), "a key"), bytes(16), source, "aes-128-cbc-hmac-sha256"),
        Open(Key(bytes(48), "a key"), bytes(16), source, "aes-128-cbc-hmac-sha256"),
        Sign(SIGNER, source, "ecdsa-p256", None, hashes.SHA256()),
        Verify(SIGNER, b"a signature", source, "ecdsa-p256", None, hashes.SHA256()),
        PublicEncrypt(OWNER, source, "rsa", OAEP),
        PrivateDecrypt(OWNER, source, "rsa", OAEP),
    ]


def told(device: CpuDevice, operation: KeyedOperation) -> KeyedOperation:
    operation.session = device.open_key(KeySpec(operation.algorithm, operation.key.material))
    return operation


@pytest.fixture(scope="module")
def device() -> Iterator[CpuDevice]:
    device = open_device()
    yield device
    device.close()


@pytest.fixture
def queue(device: CpuDevice) -> Iterator[CpuQueue]:
    queue = device.open_queue(64)
    yield queue
    queue.close()


def test_keys(device: CpuDevice, queue: CpuQueue) -> None:
    """In a thread, and in the caller's."""
    inline = device.inline
    assert inline is not None
    for source in (gone(noise(2 * PAGE), PAGE), [noise(PAGE), memoryview(gone(noise(PAGE)))]):
        for operation in of_keys(source):
            told(device, operation)
            for done in (*run(queue, [operation]), inline.run(operation)):
                assert done.status is Status.PAGE_FAULT, operation.algorithm
                assert (done.output, done.consumed, done.produced) == (None, 0, 0)
                assert f"no memory at byte {PAGE} of the input" in done.detail.message


def test_keys_and_memory_that_stays(device: CpuDevice, queue: CpuQueue) -> None:
    """The copy is what was there, also of several pieces."""
    content = noise((2 << 20) + 64)
    mapped = mmap.mmap(-1, len(content))
    mapped[:] = content
    for kept, copied in zip(of_keys(content), of_keys([mapped, b"", mapped]), strict=True):
        if not isinstance(kept, Mac | Encrypt | Decrypt | Seal):
            continue
        kept.source, kept.nbytes = (content, content), 2 * len(content)
        one, other = run(queue, [told(device, kept), told(device, copied)])
        assert good(one) == good(other)


def test_where_keys_put_their_output(device: CpuDevice, queue: CpuQueue) -> None:
    for into in lost(bytes(3 * PAGE))[:2]:
        (done,) = run(
            queue, [told(device, Encrypt(SECRET, bytes(3 * PAGE), "aes-128-cbc", iv=bytes(16), into=into))]
        )
        assert done.status is Status.PAGE_FAULT
        assert "of the output" in done.detail.message


def test_digests(device: CpuDevice, queue: CpuQueue) -> None:
    content = noise(3 << 20)
    for spec in (DigestSpec("sha256"), DigestSpec("hmac-sm3", b"key")):
        session = device.open_digest(spec)
        (done,) = run(queue, [DigestChunk(session, gone(content, 2 << 20))])
        assert done.status is Status.PAGE_FAULT
        assert f"at byte {2 << 20} of the input" in done.detail.message
        (done,) = run(queue, [DigestChunk(session, b"more")])
        assert done.status is Status.INVALID_STATE
        session.close()


@pytest.mark.parametrize("variant", ["packages", "standard library"])
def test_codecs_of_packages(variant: str) -> None:
    device = open_device(variant)
    queue, content = device.open_queue(64), noise(600_000)
    rows = {row.algorithm for row in device.capabilities if row.kind is Compress.kind}
    assert {"gzip"} <= rows
    for algorithm in sorted(rows & {*ALGORITHMS, "zstd", "lz4", "lz4-block"}):
        (made,) = run(queue, [Compress(content, algorithm)])
        packed = good(made)
        work: list[Operation] = [
            Compress(gone(content, 500 * 1024 // PAGE * PAGE), algorithm),
            Decompress(gone(packed, PAGE), algorithm),
            Compress(content, algorithm, into=gone(bytes(700_000))),
            Decompress(packed, algorithm, into=gone(bytes(700_000), PAGE)),
        ]
        if algorithm != "lz4-block":
            sessions = [device.open_session(StreamSpec(way, algorithm)) for way in Direction]
            work += [CompressChunk(sessions[0], gone(content)), DecompressChunk(sessions[1], gone(packed))]
        for done in run(queue, work):
            assert done.status is Status.PAGE_FAULT, algorithm
            assert "no memory at byte" in done.detail.message
        (made,) = run(
            queue, [Compress([memoryview(content)[:9], memoryview(bytearray(content))[9:]], algorithm)]
        )
        assert good(run(queue, [Decompress(bytearray(good(made)), algorithm)])[0]) == content
    queue.close()
    device.close()


def test_between_others_that_are_there(native_queue: CpuQueue) -> None:
    """Workers that lose their input disturb nobody, however often."""
    chance, content = random.Random(3), words(60_000)
    packed = {algorithm: pack(content, algorithm) for algorithm in ALGORITHMS}
    work: list[Operation] = []
    for _ in range(400):
        algorithm, is_there = chance.choice(ALGORITHMS), chance.random() < 0.5
        if chance.random() < 0.5:
            work.append(
                Compress(
                    content if is_there else gone(noise(60_000), PAGE), algorithm, level=chance.randrange(8)
                )
            )
        else:
            work.append(Decompress(packed[algorithm] if is_there else gone(packed[algorithm]), algorithm))
    for operation, done in zip(work, run(native_queue, work), strict=True):
        if type(operation.source) is not bytes:
            assert done.status is Status.PAGE_FAULT
        elif isinstance(operation, Compress):
            assert unpack(good(done), operation.algorithm) == content
        else:
            assert good(done) == content


def test_nothing_stays_behind(native_device: CpuDevice, native_queue: CpuQueue) -> None:
    content = noise(1 << 20)
    mapped = {algorithm: gone(pack(content, algorithm), 900_000) for algorithm in ALGORITHMS}
    missing = gone(content, 900_000)

    def once() -> None:
        for algorithm in ALGORITHMS:
            session = native_device.open_session(StreamSpec(Direction.COMPRESS, algorithm))
            work = [
                Compress(missing, algorithm),
                Compress(missing, algorithm, level=6),
                Decompress(mapped[algorithm], algorithm),
                CompressChunk(session, missing),
            ]
            assert {done.status for done in run(native_queue, work)} == {Status.PAGE_FAULT}
            session.close()

    for _ in range(5):
        once()
    before = resident()
    for _ in range(40):
        once()
    assert resident() - before < 16 << 20


@pytest.mark.anyio
async def test_the_error_that_callers_see() -> None:
    content = noise(100_000)
    async with wdasync.open_accelerator("cpu", fallback=False) as acc:
        for _ in range(3):
            for source in (gone(content, PAGE), [b"x", gone(content)], gone(content[:300])):
                with pytest.raises(
                    wdasync.PageFaultError, match=r"no memory at byte .* of the input: .* truncated"
                ):
                    await acc.compress(source, level=0)
                with pytest.raises(wdasync.PageFaultError, match="check that the buffer stays mapped"):
                    await acc.compress_into(source, bytearray(200_000), level=0)
            with pytest.raises(wdasync.PageFaultError, match="of the input"):
                await acc.decompress(gone(gzip.compress(content)))
            with pytest.raises(wdasync.PageFaultError, match="of the output"):
                await acc.compress_into(content, gone(bytes(200_000)), level=0)
        async with acc.compressor("gzip", level=0) as stream:
            with pytest.raises(wdasync.PageFaultError):
                await stream.compress(gone(content))
            with pytest.raises(wdasync.InvalidState, match="PAGE_FAULT"):
                await stream.compress(b"more")
            await stream.reset()
            assert gzip.decompress(await stream.finish(content)) == content
        assert await acc.decompress(await acc.compress(content)) == content
        assert acc.statistics().in_flight == 0


@pytest.mark.anyio
async def test_a_file_that_is_truncated_meanwhile(tmp_path: Path) -> None:
    """Whatever the moment, it is either all there or an error."""
    content, path = noise(1 << 20), tmp_path / "file"
    async with wdasync.open_accelerator("cpu", fallback=False) as acc:
        for turn in range(20):
            path.write_bytes(content)
            with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
                outcome: list[object] = []

                async def work(source: mmap.mmap = mapped, outcome: list[object] = outcome) -> None:
                    try:
                        outcome.append(
                            unpack(await acc.compress(source, level="balanced", window=14), "gzip") == content
                        )
                    except wdasync.PageFaultError as error:
                        outcome.append(error)

                async with anyio.create_task_group() as group:
                    group.start_soon(work)
                    for _ in range(turn):
                        await anyio.lowlevel.checkpoint()
                    file.truncate(0)
                assert len(outcome) == 1
                assert outcome[0] is not False


# -- whose signal it is ----------------------------------------------------------------------------------------------

BEGIN = """
import faulthandler, mmap, os, signal, sys, tempfile, threading
from tests.cpu.support import open_device, run, words, noise
from tests.cpu.test_gone import gone
from wdasync.operations import Compress
{before}
queue = open_device().open_queue(8)
run(queue, [Compress(b"x", "gzip")])
{after}
(done,) = run(queue, [Compress(gone(noise(100_000)), "gzip", level=0)])
print(done.status.name, flush=True)
"""
READ = "gone(noise(100_000))[5]"

#: A handler that ends the process in a way of its own, put in front of whatever is there by a library in C.
IN_C = """
import ctypes
handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: os._exit(42))
ctypes.CDLL(None).signal(signal.SIGBUS, handler)
"""


def ended(code: str, *, before: str = "", after: str = "") -> tuple[int, str, str]:
    """How a process ended that loses memory in a worker, then does this: its status, what it said, and its complaint."""
    program = BEGIN.format(before=before, after=after) + code
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout.strip(), done.stderr


def test_a_fault_of_somebody_else_ends_the_process() -> None:
    """In this thread, which ran a guarded operation before, and in another one."""
    for code in (
        READ,
        f"t = threading.Thread(target=lambda: {READ}); t.start(); t.join()",
        "os.kill(os.getpid(), signal.SIGBUS)",
    ):
        assert ended(code) == (-signal.SIGBUS, "PAGE_FAULT", "")


def test_the_fault_handler_of_python_says_where() -> None:
    status, said, complaint = ended(READ, before="faulthandler.enable()")
    assert (status, said) == (-signal.SIGBUS, "PAGE_FAULT")
    assert complaint.startswith("Fatal Python error: Bus error")
    assert 'File "<string>"' in complaint


def test_a_fault_handler_that_comes_later_is_told_but_nobody_dies() -> None:
    status, said, complaint = ended("print('lives')", after="faulthandler.enable()")
    assert (status, said.split()) == (0, ["PAGE_FAULT", "lives"])
    assert complaint.startswith("Fatal Python error: Bus error")
    assert ended(READ, after="faulthandler.enable()")[:2] == (-signal.SIGBUS, "PAGE_FAULT")


def test_a_handler_of_the_application_gets_what_is_its_own() -> None:
    assert ended(READ, before=IN_C)[:2] == (42, "PAGE_FAULT")
    assert ended("os.kill(os.getpid(), signal.SIGBUS)", before=IN_C)[:2] == (42, "PAGE_FAULT")


def test_a_handler_in_python_hears_what_is_sent() -> None:
    heard = "signal.signal(signal.SIGBUS, lambda *_: print('heard', flush=True))"
    code = "os.kill(os.getpid(), signal.SIGBUS)"
    assert ended(code, before=heard)[:2] == (0, "PAGE_FAULT\nheard")


def test_a_signal_that_is_ignored_stays_so() -> None:
    ignored = "signal.signal(signal.SIGBUS, signal.SIG_IGN)"
    code = "os.kill(os.getpid(), signal.SIGBUS); print('lives')"
    assert ended(code, before=ignored)[:2] == (0, "PAGE_FAULT\nlives")
    assert ended(READ, before=ignored)[0] == -signal.SIGBUS


def test_a_forked_child_is_guarded_too() -> None:
    code = """
if not os.fork():
    mine = open_device().open_queue(4)
    (done,) = run(mine, [Compress(gone(noise(100_000)), "gzip", level=0)])
    os._exit(done.status)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    quiet = "import warnings; warnings.simplefilter('ignore', DeprecationWarning)"
    assert ended(code, after=quiet)[:2] == (0, f"PAGE_FAULT\n{int(Status.PAGE_FAULT)}")

"""Memory work, checksums, digests and codes: each row gives what somebody else's library gives."""

from __future__ import annotations

import hashlib
import hmac
import zlib
from collections.abc import Callable, Sequence
from typing import Final

from ...backend import Capability, Digesting, DigestSpec
from ...errors import Status
from ...operations import (
    Checksum,
    Compare,
    Compress,
    Copy,
    Decompress,
    Digest,
    DigestChunk,
    Fill,
    Key,
    Kind,
    Mac,
    Operation,
    Recipe,
)
from ...operations import (
    Sequence as Steps,
)
from .._bench import Bench, NotApplicable, require
from .._checks import check
from .._reference import text
from .units import BAD, success

#: Bytes of input: around the blocks of digests and ciphers, and long.
SIZES: Final = (0, 1, 15, 16, 55, 56, 63, 64, 65, 111, 112, 127, 128, 129, 1000, 4096, 70_000)

SECRET: Final = bytes(range(1, 33))


def rows(bench: Bench, *kinds: Kind) -> list[Capability]:
    """The device's rows of these kinds.

    :raises NotApplicable: if there are none
    """
    found = [row for row in bench.device.capabilities if row.kind in kinds]
    if not found:
        raise NotApplicable("the device has no row for " + ", ".join(kind.name for kind in kinds))
    return found


def fitting(row: Capability, sizes: Sequence[int] = SIZES) -> list[bytes]:
    """Inputs that the row takes."""
    return [text(size, size) for size in sizes if row.max_input is None or size <= row.max_input]


def answers(bench: Bench, row: Capability, cases: Sequence[tuple[Operation, bytes]]) -> None:
    """Each operation gives its answer."""
    queue = bench.queue(row)
    found = bench.run(queue, [operation for operation, _ in cases])
    for (operation, answer), done in zip(cases, found, strict=True):
        output = success(operation, done)
        require(output == answer, f"{operation!r}: expected {answer.hex()}, got {output.hex()}")
    queue.finish()


def crc32c(data: bytes, value: int = 0) -> int:
    """Bit by bit: RFC 3720, appendix B.4."""
    value ^= 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


CHECKSUMS: Final[dict[str, Callable[[bytes], int]]] = {
    "crc32": zlib.crc32,
    "adler32": zlib.adler32,
    "crc32c": crc32c,
}


@check("Copy ``data`` into memory of the caller's.", "Fill memory of the caller's with one byte.")
def memory_work_is_done(bench: Bench) -> None:
    """Copies and fills touch what they were given, and nothing around it."""
    for row in rows(bench, Kind.COPY, Kind.FILL):
        queue, data = bench.queue(row), text(5000)
        for size in (0, 1, 4096, 5000):
            buffer = bytearray(b"\xa5" * (size + 16))
            room = memoryview(buffer)[8 : 8 + size]
            copies = row.kind is Kind.COPY
            operation = (
                Copy([data[: size // 2], data[size // 2 : size]], room) if copies else Fill(room, 0x5A)
            )
            (done,) = bench.run(queue, [operation])
            success(operation, done)
            require(done.produced == size, f"{operation!r}: produced is {done.produced}")
            expected = data[:size] if copies else b"\x5a" * size
            require(bytes(room) == expected, f"{operation!r}: the memory has another content")
            require(buffer[:8] == buffer[-8:] == b"\xa5" * 8, f"{operation!r}: bytes around it were written")
        queue.finish()


@check("Whether two inputs have the same content.", "another length is another content")
def comparisons_are_right(bench: Bench) -> None:
    """One byte says whether two inputs are the same, however they are cut."""
    data = text(3000)
    for row in rows(bench, Kind.COMPARE):
        cases: list[tuple[Operation, bytes]] = [
            (Compare([data[:9], b"", data[9:]], [data[:2000], data[2000:]]), b"\1"),
            (Compare(data, data[:-1] + b"\0"), b"\0"),
            (Compare(data, data + b"\0"), b"\0"),
            (Compare(b"", []), b"\1"),
        ]
        answers(bench, row, cases)


@check("The output is its 4 bytes, the most significant first.", "the checksum of what came before")
def checksums_are_right(bench: Bench) -> None:
    """Each checksum is the algorithm's, also of an input in segments, and of one that goes on."""
    for row in rows(bench, Kind.CHECKSUM):
        known = CHECKSUMS.get(row.algorithm)
        if known is None:
            continue
        cases: list[tuple[Operation, bytes]] = []
        for data in fitting(row):
            answer, half = known(data).to_bytes(4, "big"), len(data) // 2
            cases.append((Checksum([data[:half], b"", data[half:]], row.algorithm), answer))
            begun = Checksum(data[half:], row.algorithm, initial=known(data[:half]))
            cases.append((begun, answer))
        answers(bench, row, cases)


def named(algorithm: str) -> str:
    """As hashlib calls it.

    :raises NotApplicable: if it does not know it
    """
    name = algorithm.removeprefix("hmac-").replace("-", "_")
    return name if name in hashlib.algorithms_available else ""


@check("A digest, whole.")
def digests_are_right(bench: Bench) -> None:
    """Each digest is hashlib's, around the ends of blocks, and of an input in segments."""
    for row in rows(bench, Kind.DIGEST):
        if name := named(row.algorithm):
            answers(
                bench,
                row,
                [
                    (Digest([data[:5], data[5:]], row.algorithm), hashlib.new(name, data).digest())
                    for data in fitting(row)
                ],
            )


@check("A message authentication code, whole; the output is the full tag.")
def codes_are_right(bench: Bench) -> None:
    """Each code with a digest is that of Python's hmac, for keys shorter and longer than a block."""
    found = [row for row in rows(bench, Kind.MAC) if row.algorithm.startswith("hmac-")]
    if not found:
        raise NotApplicable("the device has no codes that are made with a digest")
    for row in found:
        if not (name := named(row.algorithm)):
            continue
        for secret in (b"k", SECRET, SECRET * 5):
            key = Key(secret, "the suite's key")
            cases = [
                (bench.told(Mac(key, data, row.algorithm)), hmac.digest(secret, data, name))
                for data in fitting(row)
            ]
            answers(bench, row, cases)


@check(
    "One step of a digest, or of a message authentication code, that is computed piece by piece.",
    "it is the last piece: the output is the digest. Otherwise there is no output",
    "A digest that is computed piece by piece.",
)
def digests_in_steps_are_right(bench: Bench) -> None:
    """Pieces of any size give the digest of the whole; after the last one nothing goes on until a reset."""
    found = rows(bench, Kind.DIGEST_CHUNK)
    require(isinstance(bench.device, Digesting), "there are rows of DIGEST_CHUNK, and no open_digest")
    for row in found:
        if not (name := named(row.algorithm)):
            continue
        secret = SECRET if row.algorithm.startswith("hmac-") else None
        session, queue = bench.digest(DigestSpec(row.algorithm, secret)), bench.queue(row)
        for cuts in ((0,), (1, 64, 65), (63, 64, 64, 4096), (5000,)):
            data = text(cuts[-1] + 7, len(cuts))
            starts = [0, *cuts]
            pieces = [data[start:end] for start, end in zip(starts, [*cuts, len(data)], strict=True)]
            for piece in pieces[:-1]:
                operation = DigestChunk(session, piece)
                (done,) = bench.run(queue, [operation])
                require(not success(operation, done), f"{operation!r}: there is output before the last piece")
            (done,) = bench.run(queue, [DigestChunk(session, pieces[-1], final=True)])
            output = success(DigestChunk(session, b""), done)
            answer = hashlib.new(name, data).digest() if secret is None else hmac.digest(secret, data, name)
            require(output == answer, f"{row.algorithm} in {len(pieces)} pieces: got {output.hex()}")
            (done,) = bench.run(queue, [DigestChunk(session, b"x")])
            require(done.status is Status.INVALID_STATE, f"after the last piece: {done.status.name}")
            session.reset()
        queue.finish()


@check(
    "Several operations, each on the output of the one before. The output is that of the last step that makes one.",
    "A checksum, digest or code hands its input on; what it found is in :attr:`seen`.",
    "If a step fails, those after it do not begin, and the completion has its status, and its number in ``detail.step``.",
    "of a sequence, the number of the step that failed, from 0; ``None``: none, or it is no sequence",
)
def sequences_are_right(bench: Bench) -> None:
    """Steps that the device has, in one operation: the last output, what was seen, and which step failed."""
    row = rows(bench, Kind.SEQUENCE)[0]
    find = bench.device.capabilities.find
    looks = [(name, known) for name, known in CHECKSUMS.items() if find(Kind.CHECKSUM, name)]
    names = [name for name in ("zlib", "gzip") if find(Kind.COMPRESS, name) and find(Kind.DECOMPRESS, name)]
    if not looks or not names:
        raise NotApplicable("the device has no steps of which a sequence could be made here")
    (look, known), name, data, queue = looks[0], names[0], text(5000), bench.queue(row)

    def steps() -> list[Operation]:
        return [Checksum(b"", look), Compress(b"", name), Decompress(b"", name), Checksum(b"", look)]

    operation = Steps([data[:9], data[9:]], steps())
    (done,) = bench.run(queue, [operation])
    require(success(operation, done) == data, "the output is not that of the last step")
    answer = known(data).to_bytes(4, "big")
    require(
        operation.seen == [answer, None, None, answer],
        f"expected {answer!r} to be seen, got {operation.seen}",
    )
    again = Recipe(steps())
    for content in (data, data[::-1]):
        operation = Steps(content, again)
        (done,) = bench.run(queue, [operation])
        require(success(operation, done) == content, "the output of a recipe that is used again is another")
        require(operation.seen[0] == known(content).to_bytes(4, "big"), f"it has seen {operation.seen}")
    operation = Steps(
        b"no data of that format", [Checksum(b"", look), Decompress(b"", name), Checksum(b"", look)]
    )
    (done,) = bench.run(queue, [operation])
    require(done.status in BAD, f"a step that must fail: the sequence completed {done.status.name}")
    require(done.detail.step == 1, f"step 1 failed, and detail.step is {done.detail.step}")
    require(operation.seen[2] is None, "a step began after the one that failed")

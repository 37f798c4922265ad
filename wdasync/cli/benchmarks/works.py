"""Work with keys and digests, sequences, bursts: what is measured beside single pages. A table.

Each is done by the accelerator, and by the same library without it.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from itertools import cycle
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import anyio

from ... import Accelerator, UnsupportedOperation
from ..commands import Failure
from .codecs import Codec
from .inputs import blocks
from .machine import cores
from .samples import Act, Sample, Turn, measure, measure_threads
from .sides import ALGORITHM, AWAITS, BARE, FEW, HOP, MANY, OURS, WAYS, WBITS, Stage

__all__ = ["BURST", "WORKS", "Job", "Work", "prepare", "turn"]

NONCE: Final = bytes(12)
KEY: Final = bytes(range(32))

#: Pages in one call.
BURST: Final = 64


class Job(NamedTuple):
    """One work, ready to be done again and again.

    :ivar ours: accelerator -> what does the next operation on it
    :ivar alone: does the next operation in the thread that calls it
    :ivar right: whether an output is one of those that there can be
    :ivar others: name of a side that does it with the accelerator in another way -> as ``ours``
    """

    ours: Callable[[Accelerator], Act]
    alone: Callable[[], object]
    right: Callable[[object], bool]
    others: Mapping[str, Callable[[Accelerator], Act]] = MappingProxyType({})


class Work(NamedTuple):
    """One kind of work.

    :ivar title: for people
    :ivar size: bytes of the data
    :ivar sides: names of those who do it
    :ivar make: blocks, and the codec that our side uses -> job
    :ivar stretch: its turns are so many times as long: who is long at one operation has few of them in a short turn, and its begin and
        its end weigh much
    """

    title: str
    size: int
    sides: tuple[str, ...]
    make: Callable[[Sequence[bytes], Codec], Job]
    stretch: int = 1


def _cryptography(name: str) -> Any:
    """A module of the package.

    :raises UnsupportedOperation: if it is not installed
    """
    try:
        return import_module(f"cryptography.hazmat.primitives.{name}")
    except ImportError as error:
        raise UnsupportedOperation(
            'the package cryptography is not installed; type: pip install "wdasync[crypto]"'
        ) from error


def _sign(data: Sequence[bytes], _: Codec) -> Job:
    rsa, padding = _cryptography("asymmetric.rsa"), _cryptography("asymmetric.padding").PKCS1v15()
    digest = _cryptography("hashes").SHA256()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    message = data[0]
    signature = key.sign(message, padding, digest)  # always the same, with this padding

    def ours(accelerator: Accelerator) -> Act:
        sign = accelerator.private_key(key).sign
        return lambda: sign(message, padding, digest)

    return Job(ours, partial(key.sign, message, padding, digest), lambda output: output == signature)


def _digest(data: Sequence[bytes], _: Codec) -> Job:
    source, sha256 = cycle(data), hashlib.sha256
    answers = {sha256(block).digest() for block in data}

    def ours(accelerator: Accelerator) -> Act:
        digest = accelerator.digest
        return lambda: digest(next(source), "sha256")

    return Job(ours, lambda: sha256(next(source)).digest(), answers.__contains__)


def _seal(data: Sequence[bytes], _: Codec) -> Job:
    encrypt, source = _cryptography("ciphers.aead").AESGCM(KEY).encrypt, cycle(data)
    answers = {encrypt(NONCE, block, None) for block in data}

    def ours(accelerator: Accelerator) -> Act:
        seal = accelerator.aead("aes-256-gcm", KEY).encrypt
        return lambda: seal(NONCE, next(source))

    return Job(ours, lambda: encrypt(NONCE, next(source), None), answers.__contains__)


def _three_steps(data: Sequence[bytes], _: Codec) -> Job:
    """Decompress, look at the checksum, encrypt. There is no CRC-32C in the standard library: alone, it is a CRC-32."""
    seal = _cryptography("ciphers.aead").AESGCM(KEY).encrypt
    answers = {seal(NONCE, block, None) for block in data}
    source = cycle([gzip.compress(block) for block in data])

    def ours(accelerator: Accelerator) -> Act:
        key = accelerator.aead("aes-256-gcm", KEY)
        steps = accelerator.sequence().decompress("gzip").crc32c().encrypt(key)

        async def act() -> bytes:
            return (await steps.run(next(source), nonces=(NONCE,))).output

        return act

    def steps(accelerator: Accelerator) -> Act:
        key = accelerator.aead("aes-256-gcm", KEY)

        async def act() -> bytes:
            content = await accelerator.decompress(next(source), "gzip")
            await accelerator.crc32c(content)
            return await key.encrypt(NONCE, content)

        return act

    def alone() -> bytes:
        content = gzip.decompress(next(source))
        zlib.crc32(content)
        output: bytes = seal(NONCE, content, None)
        return output

    return Job(ours, alone, answers.__contains__, {AWAITS: steps})


def _compress(data: Sequence[bytes], codec: Codec) -> Job:
    """Pages that are compressed one by one, by threads that do nothing else."""
    source, pages = cycle(data), frozenset(data)

    def ours(accelerator: Accelerator) -> Act:
        compress = accelerator.compress
        return lambda: compress(next(source), ALGORITHM)

    def right(output: Any) -> bool:
        return zlib.decompress(output, WBITS) in pages

    return Job(ours, lambda: codec.compress(next(source)), right)


def _burst(_: Sequence[bytes], codec: Codec) -> Job:
    """Pages without content, which leave next to nothing but the way; one by one, and so many in a call."""
    page, pages = b"", [b""] * BURST

    def ours(accelerator: Accelerator) -> Act:
        compress = accelerator.compress
        return lambda: compress(page, ALGORITHM)

    def many(accelerator: Accelerator) -> Act:
        compress_many = accelerator.compress_many
        return lambda: compress_many(pages, ALGORITHM)

    def right(output: Any) -> bool:
        return not zlib.decompress(output, WBITS)

    return Job(ours, lambda: codec.compress(page), right, {MANY: many})


#: Kind of the case -> the work.
WORKS: Final[dict[str, Work]] = {
    "bare": Work("pages of 64 KiB", 64 << 10, (OURS, FEW, BARE), _compress),
    "burst": Work(f"empty pages, {BURST} in a call", 0, (HOP, MANY), _burst),
    "rsa-sign": Work("RSA-2048 sign", 1 << 10, (OURS, "thread", "anyio", "inline", BARE), _sign, stretch=4),
    "sha256": Work("SHA-256 of 1 KiB", 1 << 10, (OURS, HOP, "thread", "anyio", "inline"), _digest),
    "aes-gcm": Work("AES-256-GCM of 1 KiB", 1 << 10, (OURS, HOP, "thread", "anyio", "inline"), _seal),
    "sequence": Work(
        "three steps on 64 KiB", 64 << 10, (OURS, AWAITS, "thread", "anyio", "inline"), _three_steps
    ),
}


async def prepare(kind: str, data: bytes, stage: Stage, in_flight: int) -> Job:
    """Make a job, and see that its outputs are right.

    :raises UnsupportedOperation: if the accelerator cannot do it, or a package is not there
    :raises Failure: if an output is not right
    """
    work = WORKS[kind]
    job = work.make(blocks(data, work.size) if work.size else [], stage.codec)
    act = job.ours(stage.accelerators[work.sides[0]])
    outputs = [await act()]  # If it cannot be done, this says so, and not in a group.

    async def one() -> None:
        outputs.append(await act())

    async with anyio.create_task_group() as group:
        for _ in range(in_flight):
            group.start_soon(one)
    if not all(map(job.right, outputs)):
        raise Failure(f"{work.title}: an output is not right; run `python -m wdasync doctor`")
    return job


def turn(side: str, stage: Stage, job: Job) -> Turn:
    """What measures a side."""
    if side in (BARE, FEW):
        return partial(measure_threads, job.alone, cores() if side == BARE else stage.threads)
    if side == MANY:
        return partial(_measure_bursts, job.others[side](stage.accelerators[OURS]))
    if side in job.others:
        return partial(measure, job.others[side](stage.accelerators[OURS]))
    if side in (OURS, HOP):
        return partial(measure, job.ours(stage.accelerators[side]))
    call = WAYS[side](stage)
    return partial(measure, lambda: call(job.alone))


async def _measure_bursts(act: Act, in_flight: int, seconds: float, *, timed: int = 1) -> Sample:
    """As many pages in flight as elsewhere, in fewer calls; what is counted is pages."""
    sample = await measure(act, max(1, in_flight // BURST), seconds, timed=timed)
    return replace(sample, operations=sample.operations * BURST)

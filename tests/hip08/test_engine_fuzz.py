"""Whatever a program writes into a descriptor ends in an answer: the chip goes on, and nothing outside of the program's memory is touched."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest

from wdasync_hip08.functions import HPRE, SEC
from wdasync_hip08.memory import PAGE

from .entries import VA, Entries
from .test_sec import entry

CASES = 400
#: Addresses that are and are not there: whole pages, ends of them, and what is no address at all.
PLACES = (
    VA,
    VA + 1,
    VA + 8 * PAGE - 5,
    VA + 63 * PAGE,
    VA + 64 * PAGE - 8,
    VA - 1,
    0,
    1,
    (1 << 64) - 8,
    1 << 48,
)


def goes_on(queue: Entries, found: list[bytes]) -> None:
    assert len(found) == CASES
    assert queue.machine.lost(SEC.name if queue.nbytes == 128 else HPRE.name) is None
    assert queue.machine.chip.frames.stale_access == 0


def hpre_entry(rng: random.Random) -> bytes:
    size = rng.choice([0, 1, 3, 5, 8, 15, 16, 31])
    algorithm = rng.choice([*range(6), *range(0xC, 0x16), rng.randrange(32)])
    head = rng.getrandbits(27) << 5 if rng.random() < 0.1 else 1 << 30
    return struct.pack(
        "<2I4Q24s", head & ~0x1F & 0xFFFFFFFF | algorithm, size | rng.getrandbits(24) << 8,
        *(rng.choice(PLACES) for _ in range(3)), rng.getrandbits(64), rng.randbytes(24),
    )  # fmt: skip


def sec_entry(rng: random.Random, kind: int) -> bytes:
    if rng.random() < 0.1:
        return rng.randbytes(128)
    pick = rng.choice
    fields: dict[str, int] = {
        name: pick(PLACES) for name in ("src", "dest", "key", "iv", "hkey", "mac", "hiv")
    }
    fields |= {
        name: pick((0, 1, 15, 16, 17, 64, 4096, 70_000, 0xFFFE00, 0xFFFFFF)) for name in ("hlen", "clen")
    }
    fields |= {name: pick((0, 0, 1, 16, 0xFFFF)) for name in ("hoff", "coff")}
    for name, bits in (
        ("cipher", 2), ("auth", 2), ("order", 1), ("dst", 1), ("src_sgl", 1), ("dst_sgl", 1), ("alg", 2), ("mode", 4), ("key_code", 2),
        ("hash", 6), ("mac_words", 5), ("hkey_words", 6), ("icv", 5),
    ):  # fmt: skip
        fields[name] = rng.getrandbits(bits)
    if rng.random() < 0.7:  # Of tags that cannot be there are more than of others.
        fields |= {"mac_words": pick((1, 4)), "icv": pick((4, 16))}
    return entry(kind, **fields)


@pytest.mark.parametrize("generation", [2, 3])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("function", [HPRE, SEC], ids=lambda function: function.name)
def test_any_descriptor(new_machine: Any, function: Any, seed: int, generation: int) -> None:
    rng = random.Random(seed)
    machine = new_machine(functions=(function,), depth=1024, generation=generation)
    queue = Entries(machine, function)
    queue.memory.poke(0, rng.randbytes(64 * PAGE))
    found = []
    for _ in range(CASES):
        sqe = hpre_entry(rng) if function is HPRE else sec_entry(rng, generation)
        found.append(queue.run(sqe))
        done = found[-1][3] >> 6 == 3 if function is HPRE else found[-1][112] & 1
        assert done, sqe.hex()
    goes_on(queue, found)
    assert any((answer[114] if function is SEC else answer[0] >> 5) for answer in found)

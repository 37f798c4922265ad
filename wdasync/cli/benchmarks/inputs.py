"""What is compressed: blocks of one size, cut from real data."""

from __future__ import annotations

import random
from typing import Final

__all__ = ["BLOCKS", "LARGEST", "blocks"]

#: Different blocks of one size: one that is always the same would stay in the caches.
BLOCKS: Final = 64

#: Bytes of the largest block.
LARGEST: Final = 1 << 20


def blocks(data: bytes, size: int, seed: int = 1) -> list[bytes]:
    """Blocks cut from anywhere in the data; the same for the same seed. Short data is repeated."""
    chance = random.Random(seed)  # noqa: S311  not for secrets
    data *= -(-size // len(data))
    starts = [chance.randrange(len(data) - size + 1) for _ in range(BLOCKS)]
    return [data[start : start + size] for start in starts]

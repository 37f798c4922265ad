"""What the servers answer: made from a seed, so that everybody measures the same bytes."""

from __future__ import annotations

import json
import random
from typing import Final

__all__ = ["LARGE", "PAGE", "SMALL"]

WORDS: Final = """
accept account address amount answer batch branch bridge buffer cancel channel charge client cluster comment
contract counter country credit customer debit delivery deposit detail device discount domain engine entry
error event export factor filter folder handle header holder import index invoice item journal label ledger
letter limit margin market member message method minute model month mutable network notice number object
option order origin owner packet parcel partner payment period person policy portal price process product
profile project queue quota reason record refund region report request reserve result return review sample
schedule section sector segment server service session status stock storage stream supply system table target
ticket token total transfer update user value vendor version volume weight window worker
""".split()  # noqa: SIM905  a list of words is read as words


def records(nbytes: int, seed: int) -> bytes:
    """A JSON array of objects, cut to the size with spaces: what an API answers with."""
    chance = random.Random(seed)
    parts: list[str] = []
    length = 2
    while True:
        text = json.dumps(
            {
                "id": chance.randrange(1 << 31),
                "name": " ".join(chance.choices(WORDS, k=2)),
                "created": f"2026-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}T{chance.randrange(24):02}:{chance.randrange(60):02}:00Z",
                "amount": round(chance.random() * 10000, 2),
                "currency": chance.choice(("EUR", "USD", "CNY", "JPY")),
                "active": chance.random() < 0.7,
                "note": " ".join(chance.choices(WORDS, k=chance.randrange(4, 14))),
                "tags": chance.sample(WORDS, 3),
                "digest": f"{chance.getrandbits(256):064x}",
            }
        )
        if length + len(text) + 2 > nbytes:
            return ("[" + ",\n".join(parts) + "]").ljust(nbytes).encode()
        parts.append(text)
        length += len(text) + 2


#: 64 KiB, the usual answer.
PAGE: Final = records(64 << 10, 1)
#: 1 MB, what holds up a loop that compresses by itself.
LARGE: Final = records(1_000_000, 2)
#: What somebody else asks for meanwhile.
SMALL: Final = b'{"status": "ok"}'

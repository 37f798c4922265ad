"""The hardware's scatter list: one descriptor for memory that lies in several pieces.

A chain of lists, each a head of 64 bytes and up to 255 entries of 32 bytes, aligned to 64 bytes. The device walks
``next`` and trusts only the number of valid entries of each list; the total in the head is the capacity for some
hosts and the count for others. Source: Linaro UADK ``drv/hisi_qm_udrv.c``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .layout import Field, Layout, Owner

__all__ = ["ALIGNMENT", "ENTRY", "HEAD", "LIST_ENTRIES", "MAX_PIECE", "chain_size", "write_chain"]

ALIGNMENT: Final = 64
#: Entries of one list, and lists of one chain.
LIST_ENTRIES: Final = 255
MAX_LISTS: Final = 256
#: Bytes of one piece.
MAX_PIECE: Final = 8 << 20

HEAD: Final = Layout(
    "scatter list head",
    64,
    (
        Field("next", 0, 64, Owner.HOST, "address of the next list; 0: none"),
        Field("total", 64, 16, Owner.HOST, "entries of the whole chain; hosts differ, do not trust it"),
        Field("valid", 80, 16, Owner.HOST, "entries of this list"),
        Field("capacity", 96, 16, Owner.HOST, "room for entries in this list"),
        Field("host_next", 384, 64, Owner.HOST, "the host's own"),
        Field("host_bytes", 448, 64, Owner.HOST, "the host's own"),
    ),
)

ENTRY: Final = Layout(
    "scatter list entry",
    32,
    (
        Field("address", 0, 64, Owner.HOST, "of the piece, at most 8 MiB long"),
        Field("page_control", 64, 64, Owner.HOST, "unused"),
        Field("length", 128, 32, Owner.HOST, "bytes"),
        Field("pad", 160, 32, Owner.HOST, "unused"),
        Field("host_address", 192, 64, Owner.HOST, "the host's own"),
    ),
)

_ENTRY = ENTRY.struct("address", "page_control", "length", "pad", "host_address")
_STRIDE: Final = -(-(HEAD.size + LIST_ENTRIES * ENTRY.size) // ALIGNMENT) * ALIGNMENT


def chain_size(pieces: int) -> int:
    """Bytes of memory that a chain of so many pieces takes.

    :raises ValueError: more than a chain can have
    """
    lists, rest = divmod(pieces, LIST_ENTRIES)
    if lists + bool(rest) > MAX_LISTS:
        raise ValueError(f"scatter list: expected at most {MAX_LISTS * LIST_ENTRIES} pieces, got {pieces}")
    return lists * _STRIDE + (HEAD.size + rest * ENTRY.size) * bool(rest)


def write_chain(memory: memoryview, address: int, spans: Sequence[tuple[int, int]]) -> None:
    """Write a chain.

    :param memory: at least ``chain_size(len(spans))`` bytes
    :param address: of ``memory``, as the device sees it; aligned to 64 bytes
    :param spans: address and length of each piece; none is empty
    """
    for first in range(0, len(spans), LIST_ENTRIES):
        here = first // LIST_ENTRIES * _STRIDE
        pieces = spans[first : first + LIST_ENTRIES]
        more = first + LIST_ENTRIES < len(spans)
        memory[here : here + HEAD.size] = HEAD.pack(
            next=address + here + _STRIDE if more else 0,
            total=len(spans),
            valid=len(pieces),
            capacity=len(pieces),
        )
        here += HEAD.size
        for piece, nbytes in pieces:
            _ENTRY.pack_into(memory, here, piece, 0, nbytes, 0, 0)
            here += ENTRY.size

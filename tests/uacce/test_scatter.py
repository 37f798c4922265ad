"""Scatter lists: what a device finds that walks them."""

import struct

import pytest

from wdasync_uacce.scatter import chain_size, write_chain

SPANS = [(0x1000 + 100 * number, number + 1) for number in range(255 * 256)]


def walk(memory: bytearray, base: int, address: int) -> list[tuple[int, int]]:
    """As the hardware does, from its own numbers."""
    spans = []
    while address:
        assert address % 64 == 0
        at = address - base
        following, total, valid, capacity = struct.unpack_from("<QHHH", memory, at)
        assert 0 < valid <= capacity <= 255
        assert total >= valid
        for entry in range(valid):
            piece, control, length, pad, host = struct.unpack_from("<QQIIQ", memory, at + 64 + 32 * entry)
            assert (control, pad, host) == (0, 0, 0)
            spans.append((piece, length))
        address = following
    return spans


@pytest.mark.parametrize("pieces", [1, 2, 254, 255, 256, 510, 511, 1000, 255 * 256])
def test_a_device_finds_all_pieces_in_order(pieces: int) -> None:
    memory = bytearray(chain_size(pieces) + 8)
    write_chain(memoryview(memory), 0x40000, SPANS[:pieces])
    assert walk(memory, 0x40000, 0x40000) == SPANS[:pieces]
    assert memory[-8:] == bytes(8), "it wrote behind the size that it asked for"


def test_a_chain_has_an_end() -> None:
    with pytest.raises(ValueError, match="expected at most 65280 pieces, got 65281"):
        chain_size(255 * 256 + 1)

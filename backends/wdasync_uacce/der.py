"""Keys as bytes: as much of DER (X.690) as private keys need."""

from __future__ import annotations

__all__ = ["element", "integer"]


def element(tag: int, *content: bytes) -> bytes:
    """An element; its length in the short form, or in one or two bytes (X.690, section 8.1.3)."""
    body = b"".join(content)
    n = len(body)
    if n < 128:
        return bytes([tag, n]) + body
    length = n.to_bytes((n.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def integer(number: int) -> bytes:
    """A number that is not negative (section 8.3)."""
    return element(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))

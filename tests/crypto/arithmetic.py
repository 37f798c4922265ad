"""AES and its modes, from the definitions, with integers: the second opinion of tests. Slow, and of no other use.

Sources: FIPS 197; NIST SP 800-38A to 38D; IEEE 1619.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

__all__ = ["ccm", "cipher", "cmac", "gcm"]


def _times(one: int, other: int) -> int:
    """A product in GF(2⁸) modulo x⁸ + x⁴ + x³ + x + 1."""
    product = 0
    while other:
        product ^= one if other & 1 else 0
        one = one << 1 ^ (0x11B if one & 0x80 else 0)
        other >>= 1
    return product


@cache
def _box() -> bytes:
    """Each byte's inverse, and then the affine map (FIPS 197, section 5.1.1)."""
    box = bytearray(256)
    for number in range(256):
        inverse = next((other for other in range(256) if _times(number, other) == 1), 0)
        turned = inverse | inverse << 8
        box[number] = (inverse ^ turned >> 4 ^ turned >> 5 ^ turned >> 6 ^ turned >> 7) & 0xFF ^ 0x63
    return bytes(box)


_SHIFTED = [(column + row) % 4 * 4 + row for column in range(4) for row in range(4)]
_MIX = (2, 3, 1, 1)


#: A key and a block, to a block.
Encryption = Callable[[bytes, bytes], bytes]


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=False))


def _mixed(state: bytes) -> bytes:
    out = bytearray(16)
    for at in range(16):
        column, row = at & ~3, at & 3
        for index, factor in enumerate(_MIX):
            out[at] ^= _times(state[column + (row + index) % 4], factor)
    return bytes(out)


@cache
def _round_keys(key: bytes) -> list[bytes]:
    """Section 5.2."""
    box, n = _box(), len(key) // 4
    words = [key[at : at + 4] for at in range(0, len(key), 4)]
    constant = 1
    for number in range(n, 4 * (n + 7)):
        word = words[-1]
        if number % n == 0:
            word = _xor(bytes(box[byte] for byte in word[1:] + word[:1]), bytes([constant, 0, 0, 0]))
            constant = _times(constant, 2)
        elif n > 6 and number % n == 4:
            word = bytes(box[byte] for byte in word)
        words.append(_xor(words[-n], word))
    return [b"".join(words[at : at + 4]) for at in range(0, len(words), 4)]


def _encrypt(key: bytes, block: bytes) -> bytes:
    """Section 5.1."""
    box, keys = _box(), _round_keys(key)
    state = _xor(block, keys[0])
    for number, round_key in enumerate(keys[1:], 1):
        state = bytes(box[state[at]] for at in _SHIFTED)
        state = _xor(state if number == len(keys) - 1 else _mixed(state), round_key)
    return state


# -- modes --------------------------------------------------------------------------------------------------------------


def _blocks(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), 16):
        yield data[at : at + 16]


def _counted(
    key: bytes, counter: int, data: bytes, bits: int = 128, block_of: Encryption = _encrypt
) -> bytes:
    """CTR; the lowest ``bits`` of the counter count."""
    out, low = b"", (1 << bits) - 1
    for block in _blocks(data):
        out += _xor(block_of(key, counter.to_bytes(16, "big")), block)
        counter = counter & ~low | counter + 1 & low
    return out


def cipher(mode: str, key: bytes, iv: bytes, data: bytes, block_of: Encryption = _encrypt) -> bytes:
    """Data, encrypted in a mode.

    :param block_of: another block cipher than AES
    """
    if mode == "ctr":
        return _counted(key, int.from_bytes(iv, "big"), data)
    if mode == "xts":
        return _xts(key[: len(key) // 2], key[len(key) // 2 :], iv, data, block_of)
    out, chained = b"", iv
    for block in _blocks(data):
        if mode == "ecb":
            made = _encrypt(key, block)
        elif mode == "cbc":
            made = chained = block_of(key, _xor(block, chained))
        elif mode == "cfb":
            made = chained = _xor(_encrypt(key, chained), block)
        else:
            chained = _encrypt(key, chained)
            made = _xor(chained, block)
        out += made
    return out


def _xts(key: bytes, tweaks: bytes, iv: bytes, data: bytes, block_of: Encryption) -> bytes:
    """IEEE 1619, section 5.3, with ciphertext stealing."""
    tweak, out = int.from_bytes(block_of(tweaks, iv), "little"), []
    for block in _blocks(data):
        whole = block if len(block) == 16 else block + out[-1][len(block) :]
        mask = tweak.to_bytes(16, "little")
        out.append(_xor(block_of(key, _xor(whole, mask)), mask))
        tweak = tweak << 1 ^ (tweak >> 127) * (1 << 128 | 0x87)
    if len(data) % 16:
        out[-2:] = [out[-1], out[-2][: len(data) % 16]]
    return b"".join(out)


def cmac(key: bytes, data: bytes) -> bytes:
    """SP 800-38B, section 6.2."""
    doubled = int.from_bytes(_encrypt(key, bytes(16)), "big")
    whole = bool(data) and len(data) % 16 == 0
    for _ in range(1 if whole else 2):
        doubled = doubled << 1 ^ (doubled >> 127) * (1 << 128 | 0x87)
    padded = data if whole else data + b"\x80" + bytes(15 - len(data) % 16)
    last = _xor(padded[-16:], doubled.to_bytes(16, "big"))
    return cipher("cbc", key, bytes(16), padded[:-16] + last)[-16:]


def _product(one: int, other: int) -> int:
    """SP 800-38D, section 6.3: the first bit is that of x⁰."""
    product = 0
    for bit in range(127, -1, -1):
        product ^= other if one >> bit & 1 else 0
        other = other >> 1 ^ (other & 1) * (0xE1 << 120)
    return product


def gcm(key: bytes, nonce: bytes, data: bytes, associated: bytes) -> bytes:
    """Ciphertext and tag, of a nonce of 12 bytes (SP 800-38D, section 7.1)."""
    start = int.from_bytes(nonce + (1).to_bytes(4, "big"), "big")
    text = _counted(key, start + 1, data, 32)
    factor, hashed = int.from_bytes(_encrypt(key, bytes(16)), "big"), 0
    lengths = (8 * len(associated)).to_bytes(8, "big") + (8 * len(text)).to_bytes(8, "big")
    for part in (associated, text, lengths):
        for block in _blocks(part):
            hashed = _product(hashed ^ int.from_bytes(block.ljust(16, b"\0"), "big"), factor)
    return text + _counted(key, start, hashed.to_bytes(16, "big"))


def ccm(
    key: bytes, nonce: bytes, data: bytes, associated: bytes, length: int, block_of: Encryption = _encrypt
) -> bytes:
    """Ciphertext and tag (SP 800-38C, section 6.1, and appendix A; of associated data below 65280 bytes)."""
    width = 15 - len(nonce)
    flags = 64 * bool(associated) + (length - 2) // 2 * 8 + width - 1
    blocks = bytes([flags]) + nonce + len(data).to_bytes(width, "big")
    if associated:
        blocks += len(associated).to_bytes(2, "big") + associated
        blocks += bytes(-len(blocks) % 16)
    blocks += data + bytes(-len(data) % 16)
    tag = cipher("cbc", key, bytes(16), blocks, block_of)[-16:][:length]
    start = int.from_bytes(bytes([width - 1]) + nonce + bytes(width), "big")
    text = _counted(key, start + 1, data, block_of=block_of)
    return text + _counted(key, start, tag, block_of=block_of)

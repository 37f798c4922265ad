"""Ciphers, with and without authentication, by `cryptography`."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from wdasync.errors import Status
from wdasync.operations import CIPHERS, SEALS, Decrypt, Encrypt, Kind, Open, Seal, problem_of_sizes

from ..binding import Outcome
from ..guarded import whole
from ..packages import Stop, failed
from . import sm4
from .inputs import Refused, delivered, pieces
from .keys import CpuKey
from .table import hashlib_name

__all__ = ["block_cipher", "cipher", "open_sealed", "seal"]

_CIPHERS: Final = "cryptography.hazmat.primitives.ciphers"
_DECREPIT: Final = "cryptography.hazmat.decrepit.ciphers"

#: Bytes of a message, or of its associated data, that `cryptography` seals in one call: an ``int`` of OpenSSL's.
LONGEST: Final = (1 << 31) - 1


def _modern(module: str, name: str) -> Any:
    """A name of `cryptography`, wherever the installed version has it: what is outdated moves to "decrepit"."""
    for package in (_DECREPIT, _CIPHERS):
        try:
            return getattr(import_module(f"{package}.{module}"), name)
        except (ImportError, AttributeError):
            continue
    raise Refused(f"the installed cryptography has no {name}")


def block_cipher(algorithm: str, key: bytes | bytearray) -> Any:
    """The block cipher of an algorithm, with its key."""
    name = algorithm.partition("-")[0]
    if name == "3des":
        return _modern("algorithms", "TripleDES")(bytes(key))
    return getattr(import_module(f"{_CIPHERS}.algorithms"), name.upper())(bytes(key))


def _mode(name: str, iv: bytes) -> Any:
    if name in ("cfb", "ofb"):
        return _modern("modes", name.upper())(iv)
    modes = import_module(f"{_CIPHERS}.modes")
    return modes.ECB() if name == "ecb" else getattr(modes, name.upper())(iv)


def _context(block: Any, mode: Any, *, decrypt: bool) -> Any:
    made = import_module(f"{_CIPHERS}").Cipher(block, mode)
    return made.decryptor() if decrypt else made.encryptor()


def cipher(operation: Encrypt | Decrypt, key: CpuKey, stop: Stop) -> Outcome:
    """Either direction, without authentication."""
    algorithm = operation.algorithm
    size = operation.nbytes
    if problem := problem_of_sizes(CIPHERS[algorithm], len(key.material), len(operation.iv), size):
        raise Refused(problem)
    if algorithm.endswith("-xts") and size > 16 << 20:
        raise Refused(f"data: expected at most 2**20 blocks of 16 bytes, got {size} bytes")
    if algorithm == "sm4-xts":
        secret, data = bytes(key.material), bytes(whole(operation.source))
        decrypt = operation.kind is Kind.DECRYPT
        return delivered(operation, sm4.xts(secret, operation.iv, data, decrypt=decrypt))
    block = key.made("cipher", lambda secret: block_cipher(algorithm, secret))
    name = algorithm.rpartition("-")[2]
    context = _context(block, _mode(name, operation.iv), decrypt=operation.kind is Kind.DECRYPT)
    if name == "xts":  # In one piece: it must know where the last block is.
        return delivered(operation, context.update(whole(operation.source)) + context.finalize())
    output = [context.update(piece) for piece in pieces(operation.source, stop)]
    output.append(context.finalize())
    return delivered(operation, b"".join(output))


# -- with authentication ------------------------------------------------------------------------------------------------


def seal(operation: Seal, key: CpuKey, stop: Stop) -> Outcome:
    """Encrypt and authenticate."""
    del stop
    _check(operation, key, operation.nbytes)
    data = whole(operation.source)
    if "-hmac-" in operation.algorithm:
        return delivered(operation, _compose(operation, key, data))
    if operation.algorithm == "sm4-ccm":
        return delivered(operation, b"".join(_sm4_ccm(operation, key, bytes(data))))
    at_once = _at_once(operation, key)
    if at_once is not None:
        return delivered(operation, at_once.encrypt(operation.nonce, data, operation.aad))
    context = _gcm(operation, key, None)
    text = context.update(data) + context.finalize()
    return delivered(operation, text + context.tag[: operation.tag_length])


def open_sealed(operation: Open, key: CpuKey, stop: Stop) -> Outcome:
    """Check and decrypt. What is wrong is not said: it may tell somebody how to guess on."""
    del stop
    size = operation.nbytes - operation.tag_length
    blocks = "-hmac-" in operation.algorithm
    _check(operation, key, max(0, size - size % 16 if blocks else size))
    if size < 0:
        return failed(Status.CHECKSUM_FAILED, "")
    from cryptography.exceptions import InvalidTag

    data = whole(operation.source)
    try:
        if blocks:
            # It is read twice: what is decrypted must be what was found right.
            return _decompose(operation, key, memoryview(data if operation.immutable else bytes(data)))
        if operation.algorithm == "sm4-ccm":
            data = bytes(data)
            text, tag = _sm4_ccm(operation, key, data[:size])
            right = hmac.compare_digest(tag, data[size:])
            return delivered(operation, text) if right else failed(Status.CHECKSUM_FAILED, "")
        at_once = _at_once(operation, key)
        if at_once is not None:
            return delivered(operation, at_once.decrypt(operation.nonce, data, operation.aad))
        view = memoryview(data)
        context = _gcm(operation, key, bytes(view[size:]))
        return delivered(operation, context.update(view[:size]) + context.finalize())
    except InvalidTag:
        return failed(Status.CHECKSUM_FAILED, "")


def _sm4_ccm(operation: Seal | Open, key: CpuKey, data: bytes) -> tuple[bytes, bytes]:
    decrypt = operation.kind is Kind.OPEN
    secret, length = bytes(key.material), operation.tag_length
    return sm4.ccm(secret, operation.nonce, data, operation.aad, length, decrypt=decrypt)


def _check(operation: Seal | Open, key: CpuKey, size: int) -> None:
    """Whether there can be such an operation.

    :param size: bytes of the text
    :raises Refused: if not
    """
    suite = SEALS[operation.algorithm]
    problem = problem_of_sizes(suite, len(key.material), len(operation.nonce), size, operation.tag_length)
    if operation.algorithm.endswith("-ccm") and size >> 8 * (15 - len(operation.nonce)):
        problem = problem or f"data: {size} bytes are too many for a nonce of {len(operation.nonce)} bytes"
    if "-hmac-" not in operation.algorithm:
        problem = problem or _too_long("data", size + operation.tag_length)
        problem = problem or _too_long("associated data", len(operation.aad))
    if problem:
        raise Refused(problem)


def _too_long(name: str, size: int) -> str:
    """What the library cannot count; empty if it can."""
    if size <= LONGEST:
        return ""
    return f"{name}: expected at most {LONGEST} bytes, the tag among them, got {size}; seal it in parts"


#: Algorithm's last word -> what does it in one call.
_AT_ONCE: Final[dict[str, str]] = {"gcm": "AESGCM", "ccm": "AESCCM", "poly1305": "ChaCha20Poly1305"}


def _at_once(operation: Seal | Open, key: CpuKey) -> Any:
    """What does it in one call; ``None`` if nothing does."""
    name, length = operation.algorithm.rpartition("-")[2], operation.tag_length
    if operation.algorithm.startswith("sm4") or (name == "gcm" and length != 16):
        return None

    def make(secret: bytearray) -> Any:
        kind = getattr(import_module(f"{_CIPHERS}.aead"), _AT_ONCE[name])
        return kind(secret, tag_length=length) if name == "ccm" else kind(secret)

    return key.made(length, make)


def _gcm(operation: Seal | Open, key: CpuKey, tag: bytes | None) -> Any:
    """GCM step by step, with its associated data taken."""
    mode = import_module(f"{_CIPHERS}.modes").GCM
    block = key.made("cipher", lambda secret: block_cipher(operation.algorithm, secret))
    how = mode(operation.nonce) if tag is None else mode(operation.nonce, tag, operation.tag_length)
    context = _context(block, how, decrypt=tag is not None)
    context.authenticate_additional_data(operation.aad)
    return context


# -- CBC and HMAC, see wdasync.operations.suites ----------------------------------------------------------------------


def _parts(operation: Seal | Open, key: CpuKey) -> tuple[Any, Callable[[Any], bytes]]:
    """The cipher, and what makes the tag of a ciphertext."""
    name, _, digest = operation.algorithm.partition("-cbc-hmac-")
    length = int(name.rpartition("-")[2]) // 8
    block = key.made("cipher", lambda secret: block_cipher(name, secret[:length]))
    begun = key.made("hmac", lambda secret: hmac.new(secret[length:], digestmod=hashlib_name(digest)))

    def tag(text: Any) -> bytes:
        state = begun.copy()
        for part in (operation.aad, operation.nonce, text):
            state.update(part)
        whole: bytes = state.digest()
        return whole[: operation.tag_length]

    return block, tag


def _compose(operation: Seal, key: CpuKey, data: Any) -> bytes:
    block, tag = _parts(operation, key)
    context = _context(block, _mode("cbc", operation.nonce), decrypt=False)
    text: bytes = context.update(data) + context.finalize()
    return text + tag(text)


def _decompose(operation: Open, key: CpuKey, data: memoryview) -> Outcome:
    block, tag = _parts(operation, key)
    size = len(data) - operation.tag_length
    text = data[:size]
    if not hmac.compare_digest(tag(text), bytes(data[size:])) or size % 16:
        return failed(Status.CHECKSUM_FAILED, "")
    context = _context(block, _mode("cbc", operation.nonce), decrypt=True)
    return delivered(operation, context.update(text) + context.finalize())

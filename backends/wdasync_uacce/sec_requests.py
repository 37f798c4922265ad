"""Digests, codes and ciphers, as requests to the SEC engine.

One descriptor is one message. The host builds what the standards put round a text: the counter block and block B0 of CCM, keys
of whole words. Associated data lie before the text in one source, so a large message of both is a scatter list.
"""

from __future__ import annotations

import abc
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from wdasync.backend import Capabilities, Completion, Status
from wdasync.buffers import Segment
from wdasync.operations import Decrypt, Digest, Encrypt, Mac, Nop, Open, Operation, Seal

from .files import AddressSpace
from .layout import Layout
from .outputs import Output
from .requests import JOIN_LIMIT, Answer, OperationT, Request, Settled, Workshop, paged_input
from .scatter import MAX_PIECE
from .sec_algorithms import CIPHERS, DIGESTS, MACS, SEALS, CipherCode, HashCode, SealCode
from .sec_descriptor import MISMATCH, SINGLE, SQES, Auth, Cipher, CipherMode
from .sec_keys import SecKey

__all__ = ["REFUSED", "SecCarrier", "SecWorkshop", "make_request"]

#: Most associated data: their length is an offset of 16 bits.
MAX_ASSOCIATED: Final = 0xFFFF

#: Error types that are known, and what they mean. They are the emulated chip's: silicon's are not published.
REFUSED: Final[Mapping[int, tuple[Status, str]]] = {
    0xE1: (Status.INVALID_ARGS, "the device refuses the descriptor"),
    0xE3: (Status.PAGE_FAULT, "an access to memory was refused"),
}

Pieces = Sequence[Segment]


class SecWorkshop(Workshop):
    """What the requests of one queue share.

    :param version: of the queue manager
    :param capabilities: of the device
    :ivar layout: of its descriptors
    """

    def __init__(self, space: AddressSpace, version: int, capabilities: Capabilities, where: str) -> None:
        super().__init__(space, where)
        self.capabilities = capabilities
        self.type = 2 if version < 3 else 3
        self.layout: Layout = SQES[self.type]
        self.tag_bit = self.layout["tag"].bit


class SecRequest(Request[OperationT, SecWorkshop]):
    """One descriptor of the engine."""

    __slots__ = ("_fields", "_output")

    def __init__(self, tag: int, operation: OperationT, shop: SecWorkshop) -> None:
        super().__init__(tag, operation, shop, shop.tag_bit)
        self._fields: dict[str, int] = {"type": shop.type, "scene": SINGLE}
        self._output: Output | None = None

    def number(self) -> int:
        return self._shop.layout.number(**self._fields)

    @abc.abstractmethod
    def prepare(self) -> None:
        """Fill in the descriptor.

        :raises Settled: nothing is left to do for the device
        :raises OSError: ENOMEM: the reserved region is used up for now
        """

    @abc.abstractmethod
    def done(self, icv: int) -> Completion:
        """The device has done it.

        :raises Settled: it ends otherwise than it seems
        """

    def finish(self, answer: Answer, entry: memoryview) -> Completion | None:
        done, icv, error = answer
        if not done or error:
            status, message = REFUSED.get(
                error, (Status.DEVICE_ERROR, f"the device failed: done {done}, error {error:#x}")
            )
            return self.failure(status, message)
        try:
            return self.done(icv)
        except Settled as settled:
            return self.settle(settled)

    # -- what all need ----------------------------------------------------------------------------------------

    def key(self) -> SecKey:
        """The operation's.

        :raises Settled: it has none
        """
        session = self.operation.session
        if not isinstance(session, SecKey) or session.spec.algorithm != self.operation.algorithm:
            raise Settled(
                Status.INVALID_ARGS,
                f"expected a key for {self.operation.algorithm} that this device was told of",
            )
        return session

    def pieces(self) -> Pieces:
        """The input."""
        source = self.operation.source
        return source if isinstance(source, tuple) else (source,)

    def reach_secret(self, content: bytes | bytearray) -> int:
        """The address of a key, or of something else that is wiped afterwards."""
        if isinstance(content, bytearray) and self._shop.space.direct:
            return self.grant(content, False, resident=True)
        return self.grant(self.secret(content), False, resident=True)

    def reach_source(self, pieces: Pieces, before: bytes = b"") -> bool:
        """Let the device read the input, with something before it; whether it is a scatter list.

        :param pieces: of the input; empty if it is paged
        """
        paged, direct = paged_input(self.operation), self._shop.space.direct
        total = sum(map(len, pieces)) + len(before)
        spans: list[tuple[int, int]]
        if paged is not None:
            spans = [(self.grant(paged, False), len(paged))]
            if before:
                spans.insert(0, self._span(before))
        elif not direct or (len(pieces) + bool(before) > 1 and total <= JOIN_LIMIT):
            self._shop.counters.joined += len(pieces) + bool(before) > 1
            spans = [self._span(self.reachable(before + self.copy(pieces)))]
        else:
            spans = [self._span(piece) for piece in ([before, *pieces] if before else pieces) if len(piece)]
        scattered = len(spans) > 1
        self._fields["source_list"] = scattered
        self._fields["source"] = self.chain(_short(spans)) if scattered else spans[0][0]
        return scattered

    def _span(self, segment: Segment) -> tuple[int, int]:
        self._keep.append(segment)
        return self.grant(segment, False), len(segment)

    def reach_mac(self, content: bytes, writable: bool) -> memoryview:
        """Let the device reach a MAC."""
        memory = self._shop.memory(content)
        self._keep.append(memory)
        self._fields["mac"] = self.grant(memory, writable, resident=True)
        return memory

    def release(self) -> None:
        super().release()
        if self._output is not None:
            self._output.drop()
            self._output = None


def _short(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Pieces as long as an entry of a scatter list may be."""
    return [
        (address + at, min(nbytes - at, MAX_PIECE))
        for address, nbytes in spans
        for at in range(0, nbytes, MAX_PIECE)
    ]


class SecCarrier(SecRequest[Operation]):
    """An operation that needs no work of the device, and yet a completion that wakes who waits for it.

    Its descriptor is marked as one to be skipped; it completes all the same, whatever it says.

    :param settled: how the operation ends; ``None`` for a :class:`~wdasync.operations.Nop`, which is all way
    """

    __slots__ = ("_settled",)

    def __init__(self, tag: int, operation: Operation, shop: SecWorkshop, settled: Settled | None) -> None:
        super().__init__(tag, operation, shop)
        self._settled = settled and settled.bare()
        self._fields["skip"] = 1

    def prepare(self) -> None:
        """Nothing."""

    def number(self) -> int:
        self._shop.counters.carried += 1
        return super().number()

    def finish(self, answer: Answer, entry: memoryview) -> Completion | None:
        return self.done(0)

    def done(self, icv: int) -> Completion:
        return self.success(None, 0, 0) if self._settled is None else self.settle(self._settled)


class HashRequest(SecRequest[Digest | Mac]):
    """A digest, or a message authentication code."""

    __slots__ = ("_code", "_mac")

    def prepare(self) -> None:
        operation, fields = self.operation, self._fields
        keyed = isinstance(operation, Mac)
        self._code = code = (MACS if keyed else DIGESTS)[operation.algorithm]
        key = self.key().hash if keyed else None
        if not operation.nbytes:  # There is none for the engine of queue manager v2.
            raise Settled(Status.SUCCESS, output=_of_nothing(operation.algorithm, key))
        fields |= {
            "auth": Auth.COMPUTE,
            "hash": code.code,
            "hash_length": operation.nbytes,
            "mac_words": code.size // 4,
        }
        if key is not None:
            fields |= {"hash_key": self.reach_secret(key), "hash_key_words": len(key) // 4}
        self.reach_source(self.pieces())
        self._mac = self.reach_mac(bytes(code.size), True)

    def done(self, icv: int) -> Completion:
        return self.success(bytes(self._mac), self.operation.nbytes, self._code.size)


def _of_nothing(algorithm: str, key: bytearray | None) -> bytes:
    """The digest, or the code, of an empty message.

    :raises Settled: nobody here can make it
    """
    if key is None:
        return hashlib.new(algorithm.replace("-", "_")).digest()
    if algorithm.startswith("hmac-"):
        return hmac.digest(bytes(key), b"", algorithm[5:].replace("-", "_"))
    try:
        from cryptography.hazmat.primitives.ciphers.algorithms import AES
        from cryptography.hazmat.primitives.cmac import CMAC
    except ImportError:
        raise Settled(Status.INVALID_ARGS, "data: expected at least 1 byte, got none") from None
    return CMAC(AES(bytes(key))).finalize()


class CipherRequest(SecRequest[Encrypt | Decrypt]):
    """A cipher without authentication."""

    __slots__ = ("_view",)

    def prepare(self) -> None:
        operation = self.operation
        code = CIPHERS[operation.algorithm]
        key, n = self.key(), operation.nbytes
        _check(code.iv, code.iv, len(operation.iv), "iv")
        _check_text(code, n)
        destination = operation.destination
        if destination is not None and len(destination) < n:
            raise Settled(
                Status.OUT_OF_SPACE_TERMINATED, f"into: expected at least {n} bytes, got {len(destination)}"
            )
        if not n:
            raise Settled(Status.SUCCESS)
        self._fields |= _cipher_fields(code, encrypt=isinstance(operation, Encrypt))
        self._fields["cipher_length"] = n
        self._fields["cipher_key"] = self.reach_secret(key.cipher)
        if code.iv:
            self._fields["cipher_iv"] = self.reach_secret(operation.iv)
        scattered = self.reach_source(self.pieces())
        if destination is not None and self._shop.space.direct:
            self._view = destination[:n]
        else:
            self._output = self._shop.outputs.room(n)
            self._view = self._output.view[:n]
        address = self.grant(self._view, True)
        self._fields["destination_list"] = scattered
        self._fields["destination"] = self.chain(_short([(address, n)])) if scattered else address

    def done(self, icv: int) -> Completion:
        operation, n = self.operation, self.operation.nbytes
        if operation.destination is None:
            assert self._output is not None
            return self.success(self._output.take(n), n, n)
        if self._output is not None:
            self.store(operation.destination[:n], bytes(self._view))
        return self.success(None, n, n)


def _cipher_fields(code: CipherCode, *, encrypt: bool) -> dict[str, int]:
    return {
        "cipher": Cipher.ENCRYPT if encrypt else Cipher.DECRYPT, "algorithm": code.algorithm, "mode": code.mode,
        "key_code": code.code, "destination_used": 1,
    }  # fmt: skip


def _check(low: int, high: int, found: int, name: str) -> None:
    if not low <= found <= high:
        expected = low if low == high else f"{low} to {high}"
        raise Settled(Status.INVALID_ARGS, f"{name}: expected {expected} bytes, got {found}")


def _check_text(code: CipherCode, n: int) -> None:
    if n % code.unit:
        raise Settled(
            Status.INVALID_ARGS, f"data: expected a multiple of {code.unit} bytes, got {n}; pad it before"
        )
    if n and n < code.least:
        raise Settled(Status.INVALID_ARGS, f"data: expected at least {code.least} bytes, got {n}")


class SealRequest(SecRequest[Seal | Open]):
    """A cipher with authentication.

    :ivar before: what is authenticated and lies before the text
    """

    __slots__ = ("_before", "_code", "_compare", "_mac", "_n", "_scattered", "_tag", "_view")

    def prepare(self) -> None:
        operation = self.operation
        self._code = code = SEALS[operation.algorithm]
        sealing = isinstance(operation, Seal)
        self._n = n = operation.nbytes - (0 if sealing else operation.tag_length)
        self._check_sizes(code, n)
        # IPsec's way of composing: the code covers associated data, nonce and ciphertext.
        self._before = operation.aad + (operation.nonce if code.hash is not None else b"")
        _check(0, MAX_ASSOCIATED, len(self._before), "aad")
        key = self.key()
        pieces, self._tag = self._parts(sealing)
        if not n:
            raise self._of_nothing(key)
        fields = self._fields
        fields |= _cipher_fields(code.cipher, encrypt=sealing)
        fields |= {
            "auth": Auth.COMPUTE if sealing else Auth.VERIFY, "order": not sealing, "cipher_length": n,
            "cipher_offset": len(self._before), "cipher_key": self.reach_secret(key.cipher),
        }  # fmt: skip
        self._reach_mac(sealing)
        if code.hash is None:
            self._combined(code, n)
        else:
            self._composed(code.hash, key, n)
        self._scattered = self.reach_source(pieces, self._before)
        self._reach_target(sealing)

    def _check_sizes(self, code: SealCode, n: int) -> None:
        operation = self.operation
        _check(*code.nonce, len(operation.nonce), "nonce")
        if operation.tag_length not in code.tags:
            raise Settled(
                Status.INVALID_ARGS,
                f"tag_length: expected one of {', '.join(map(str, code.tags))}, got {operation.tag_length}",
            )
        if n < 0:
            raise Settled(Status.CHECKSUM_FAILED, "it is shorter than its tag")
        _check_text(code.cipher, n)
        room = n + operation.tag_length if isinstance(operation, Seal) else n
        if operation.destination is not None and len(operation.destination) < room:
            message = f"into: expected at least {room} bytes, got {len(operation.destination)}"
            raise Settled(Status.OUT_OF_SPACE_TERMINATED, message)

    def _parts(self, sealing: bool) -> tuple[Pieces, bytes]:
        """Pieces of the text, and the tag that stands behind it."""
        if sealing:
            return self.pieces(), b""
        text: list[Segment] = []
        tag: list[Segment] = []
        left = self._n
        for piece in self.pieces():
            here = min(left, len(piece))
            view = memoryview(piece)
            if here:
                text.append(view[:here])
            if here < len(piece):
                tag.append(view[here:])
            left -= here
        return text, self.copy(tag)

    def _combined(self, code: SealCode, n: int) -> None:
        """GCM and CCM."""
        operation, fields = self.operation, self._fields
        fields |= {"hash_length": len(self._before), "icv_bytes": operation.tag_length}
        if code.cipher.mode is CipherMode.GCM:
            fields["cipher_iv"] = fields["hash_iv"] = self.reach_secret(operation.nonce + bytes(4))
            return
        width = 15 - len(operation.nonce)
        if n >> 8 * width:
            raise Settled(
                Status.INVALID_ARGS,
                f"data: expected at most {(1 << 8 * width) - 1} bytes with a nonce of {15 - width}, got {n}",
            )
        counter = bytes([width - 1]) + operation.nonce + (1).to_bytes(width, "big")
        flags = 64 * bool(self._before) | (operation.tag_length - 2) // 2 << 3 | width - 1
        first = bytes([flags]) + operation.nonce + n.to_bytes(width, "big")
        fields["cipher_iv"], fields["hash_iv"] = self.reach_secret(counter), self.reach_secret(first)

    def _composed(self, mac: HashCode, key: SecKey, n: int) -> None:
        """CBC and HMAC."""
        self._fields |= {
            "hash_length": len(self._before) + n, "hash": mac.code, "hash_key": self.reach_secret(key.hash),
            "hash_key_words": len(key.hash) // 4, "mac_words": (mac.size if self._compare else self.operation.tag_length + 3) // 4,
            "cipher_iv": self.reach_secret(self.operation.nonce),
        }  # fmt: skip

    def _reach_mac(self, sealing: bool) -> None:
        """The engine compares whole words only; of other tags all is computed, and compared here."""
        length, mac = self.operation.tag_length, self._code.hash
        self._compare = not sealing and mac is not None and length % 4 != 0
        if self._compare:
            assert mac is not None
            self._fields["auth"] = Auth.COMPUTE
            self._mac = self.reach_mac(bytes(mac.size), True)
        elif sealing:
            self._mac = self.reach_mac(bytes(length + 3 & ~3), True)
        else:
            self._mac = self.reach_mac(self._tag, False)

    def _reach_target(self, sealing: bool) -> None:
        """Output begins as far behind the destination as the text behind the source."""
        operation, before, n = self.operation, len(self._before), self._n
        room = n + (operation.tag_length if sealing else 0)
        destination, direct = operation.destination, self._shop.space.direct
        flat = not self._scattered
        if destination is not None and direct and not (flat and before):
            self._view = destination[:room]
        else:
            ahead = before if flat else 0
            self._output = self._shop.outputs.room(ahead + room)
            self._view = self._output.view[ahead : ahead + room]
        self._fields["destination_list"] = self._scattered
        if flat:
            assert self._output is not None or not before
            view = self._output.view[: before + n] if self._output is not None else self._view[:n]
            self._fields["destination"] = self.grant(view, True)
            return
        spans = [(self.grant(self._view[:n], True), n)]
        if before:
            scratch = self.secret(bytes(before))
            spans.insert(0, (self.grant(scratch, True), before))
        self._fields["destination"] = self.chain(_short(spans))

    def done(self, icv: int) -> Completion:
        operation, n = self.operation, self._n
        if isinstance(operation, Seal):
            self._view[n:] = self._mac[: operation.tag_length]
        elif self._is_forged(icv):
            self._view[:] = bytes(len(self._view))
            return self.failure(Status.CHECKSUM_FAILED, "the tag is another")
        produced = len(self._view)
        if operation.destination is None:
            assert self._output is not None
            whole = self._scattered or not self._before
            output = self._output.take(produced) if whole else bytes(self._view)
            return self.success(output, operation.nbytes, produced)
        if self._output is not None:
            self.store(operation.destination[:produced], bytes(self._view))
        return self.success(None, operation.nbytes, produced)

    def _is_forged(self, icv: int) -> bool:
        if self._compare:
            return not hmac.compare_digest(self._tag, self._mac[: len(self._tag)])
        return icv == MISMATCH

    def _of_nothing(self, key: SecKey) -> Settled:
        """How an operation without text ends: the engine of queue manager v2 takes none, and Linux computes it itself."""
        operation = self.operation
        try:
            tag = _tag_of_nothing(self._code, key, operation, self._before)
        except ImportError:
            return Settled(Status.INVALID_ARGS, "data: expected at least 1 byte, got none")
        if isinstance(operation, Seal):
            return Settled(Status.SUCCESS, output=tag)
        if hmac.compare_digest(tag, self._tag):
            return Settled(Status.SUCCESS)
        return Settled(Status.CHECKSUM_FAILED, "the tag is another")

    def release(self) -> None:
        super().release()
        self._view = self._mac = _NOTHING


_NOTHING: Final = memoryview(bytearray())


def _tag_of_nothing(code: SealCode, key: SecKey, operation: Seal | Open, before: bytes) -> bytes:
    """The tag of an empty text.

    :raises ImportError: `cryptography` is not there
    """
    length, secret = operation.tag_length, bytes(key.cipher)
    if code.hash is not None:
        name = operation.algorithm.rpartition("-")[2]
        return hmac.digest(bytes(key.hash), before, name)[:length]
    from cryptography.hazmat.primitives.ciphers import Cipher as Work
    from cryptography.hazmat.primitives.ciphers import algorithms, modes

    cipher = algorithms.SM4 if operation.algorithm.startswith("sm4") else algorithms.AES
    if code.cipher.mode is CipherMode.GCM:
        work = Work(cipher(secret), modes.GCM(operation.nonce)).encryptor()
        work.authenticate_additional_data(before)
        work.finalize()
        return work.tag[:length]
    width = 15 - len(operation.nonce)
    flags = 64 * bool(before) | (length - 2) // 2 << 3 | width - 1
    blocks = bytes([flags]) + operation.nonce + bytes(width)
    if before:
        counted = (
            len(before).to_bytes(2, "big")
            if len(before) < 0xFF00
            else b"\xff\xfe" + len(before).to_bytes(4, "big")
        )
        blocks += counted + before + bytes(-len(counted + before) % 16)
    cbc = Work(cipher(secret), modes.CBC(bytes(16))).encryptor()
    mac = cbc.update(blocks)[-16:]
    counter = bytes([width - 1]) + operation.nonce + bytes(width)
    mask = Work(cipher(secret), modes.CTR(counter)).encryptor().update(bytes(16))
    return bytes(one ^ other for one, other in zip(mac, mask, strict=True))[:length]


#: Class of operation -> request.
_REQUESTS: Final[Mapping[type[Operation], type[SecRequest[Any]]]] = {
    Digest: HashRequest, Mac: HashRequest, Encrypt: CipherRequest, Decrypt: CipherRequest, Seal: SealRequest, Open: SealRequest,
}  # fmt: skip


def make_request(tag: int, operation: Operation, shop: SecWorkshop) -> Request[Any, SecWorkshop]:
    """The request for an operation, ready for its descriptor. What needs no device is carried by it.

    :raises OSError: ENOMEM: the reserved region is used up for now
    """
    if isinstance(operation, Nop):
        return SecCarrier(tag, operation, shop, None)
    request: SecRequest[Any] | None = None
    try:
        row = shop.capabilities.find(operation.kind, operation.algorithm)
        if row is None:
            raise Settled(
                Status.INVALID_ARGS, f"{type(operation).__name__} {operation.algorithm}: there is none here"
            )
        if row.max_input is not None and operation.nbytes > row.max_input:
            raise Settled(
                Status.INVALID_ARGS, f"expected at most {row.max_input} bytes, got {operation.nbytes}"
            )
        request = _REQUESTS[type(operation)](
            tag, cast("Any", operation), shop
        )  # the table goes by what it is
        request.prepare()
    except Settled as settled:
        if request is not None:
            request.release()
        return SecCarrier(tag, operation, shop, settled)
    except BaseException:
        if request is not None:
            request.release()
        raise
    return request

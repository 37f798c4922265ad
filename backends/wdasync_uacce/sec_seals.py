"""Ciphers with authentication, as requests to the SEC engine."""

from __future__ import annotations

import contextlib
import hmac
from typing import Final

from wdasync.backend import Completion, Status
from wdasync.buffers import Segment
from wdasync.operations import Open, Seal

from .requests import Settled
from .sec_algorithms import SEALS, HashCode, SealCode
from .sec_ciphers import check_size, check_text, cipher_fields
from .sec_descriptor import MATCH, MAX_ASSOCIATED, Auth, CipherMode
from .sec_empty import tag_of_nothing
from .sec_keys import SecKey
from .sec_requests import Pieces, SecRequest, short

__all__ = ["SealRequest"]

_NOTHING: Final = memoryview(bytearray())


class SealRequest(SecRequest[Seal | Open]):
    """A cipher with authentication.

    :ivar before: what is authenticated and lies before the text
    """

    __slots__ = ("_before", "_code", "_compare", "_mac", "_n", "_scattered", "_tag", "_unverified", "_view")

    def prepare(self) -> None:
        operation = self.operation
        self._unverified = False
        self._code = code = SEALS[operation.algorithm]
        sealing = isinstance(operation, Seal)
        self._n = n = operation.nbytes - (0 if sealing else operation.tag_length)
        self._check_sizes(code, n)
        # IPsec's way of composing: the code covers associated data, nonce and ciphertext.
        self._before = operation.aad + (operation.nonce if code.hash is not None else b"")
        check_size(0, MAX_ASSOCIATED, len(self._before), "aad")
        key = self.key()
        pieces, self._tag = self._parts(sealing)
        if not n:
            raise self._of_nothing(key)
        fields = self._fields
        fields |= cipher_fields(code.cipher, encrypt=sealing)
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
        self._unverified = not sealing

    def _check_sizes(self, code: SealCode, n: int) -> None:
        operation = self.operation
        check_size(*code.nonce, len(operation.nonce), "nonce")
        if operation.tag_length not in code.tags:
            raise Settled(
                Status.INVALID_ARGS,
                f"tag_length: expected one of {', '.join(map(str, code.tags))}, got {operation.tag_length}",
            )
        if isinstance(operation, Open) and (n < 0 or n % code.cipher.unit):  # No key makes such a message.
            raise Settled(Status.CHECKSUM_FAILED)
        check_text(code.cipher, n)
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
        for piece in self.present():
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
            self._output = self._shop.outputs.room(ahead + room, self.whole)
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
        self._fields["destination"] = self.chain(short(spans))

    def done(self, icv: int) -> Completion:
        operation, n = self.operation, self._n
        if isinstance(operation, Seal):
            self.store(self._view[n:], bytes(self._mac[: operation.tag_length]))
        elif self._is_forged(icv):
            return self.failure(Status.CHECKSUM_FAILED, "")
        self._unverified = False
        produced = len(self._view)
        if operation.destination is None:
            assert self._output is not None
            whole = self._scattered or not self._before
            output = self._output.take(produced) if whole else bytes(self._view)
            self.keep(output)
            return self.success(output, operation.nbytes, produced)
        if self._output is not None:
            self.store(operation.destination[:produced], bytes(self._view))
        return self.success(None, operation.nbytes, produced)

    def _is_forged(self, icv: int) -> bool:
        if self._compare:
            return not hmac.compare_digest(self._tag, self._mac[: len(self._tag)])
        return icv != MATCH

    def _of_nothing(self, key: SecKey) -> Settled:
        """How an operation without text ends: the engine of queue manager v2 takes none, and Linux computes it itself."""
        operation = self.operation
        try:
            tag = tag_of_nothing(self._code, key, operation, self._before)
        except ImportError:
            return Settled(Status.INVALID_ARGS, "data: expected at least 1 byte, got none")
        if isinstance(operation, Seal):
            return Settled(Status.SUCCESS, output=tag)
        if hmac.compare_digest(tag, self._tag):
            return Settled(Status.SUCCESS)
        return Settled(Status.CHECKSUM_FAILED)

    def release(self) -> None:
        if (
            self._unverified
        ):  # The engine writes before it knows, and may not have come to know: nobody is to read that.
            with contextlib.suppress(Settled):
                self.store(self._view, bytes(len(self._view)))
            self._unverified = False
        super().release()
        self._view = self._mac = _NOTHING

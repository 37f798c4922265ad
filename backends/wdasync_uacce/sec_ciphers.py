"""Ciphers without authentication, as requests to the SEC engine, and what those with it have in common with them."""

from __future__ import annotations

import hmac

from wdasync.backend import Completion, Status
from wdasync.operations import Decrypt, Encrypt

from .requests import Settled
from .sec_algorithms import CIPHERS, CipherCode
from .sec_descriptor import COUNTER_128, Cipher, CipherMode
from .sec_requests import SecRequest, short

__all__ = ["CipherRequest", "check_size", "check_text", "cipher_fields"]


class CipherRequest(SecRequest[Encrypt | Decrypt]):
    """A cipher without authentication."""

    __slots__ = ("_view",)

    def prepare(self) -> None:
        operation = self.operation
        code = CIPHERS[operation.algorithm]
        key, n = self.key(), operation.nbytes
        check_size(code.iv, code.iv, len(operation.iv), "iv")
        check_text(code, n)
        half = len(key.cipher) // 2
        if code.mode is CipherMode.XTS and hmac.compare_digest(key.cipher[:half], key.cipher[half:]):
            raise Settled(Status.INVALID_ARGS, "key: expected two halves that differ, got one twice")
        destination = operation.destination
        if destination is not None and len(destination) < n:
            raise Settled(
                Status.OUT_OF_SPACE_TERMINATED, f"into: expected at least {n} bytes, got {len(destination)}"
            )
        if not n:
            raise Settled(Status.SUCCESS)
        self._fields |= cipher_fields(code, encrypt=isinstance(operation, Encrypt))
        self._fields["cipher_length"] = n
        self._fields["cipher_key"] = self.reach_secret(key.cipher)
        if code.iv:
            self._fields["cipher_iv"] = self.reach_secret(operation.iv)
        scattered = self.reach_source(self.pieces())
        if destination is not None and self._shop.space.direct:
            self._view = destination[:n]
        else:
            self._output = self._shop.outputs.room(n, self.whole)
            self._view = self._output.view[:n]
        address = self.grant(self._view, True)
        self._fields["destination_list"] = scattered
        self._fields["destination"] = self.chain(short([(address, n)])) if scattered else address

    def done(self, icv: int) -> Completion:
        operation, n = self.operation, self.operation.nbytes
        if operation.destination is None:
            assert self._output is not None
            output = self._output.take(n)
            self.keep(output)
            return self.success(output, n, n)
        if self._output is not None:
            self.store(operation.destination[:n], bytes(self._view))
        return self.success(None, n, n)


def cipher_fields(code: CipherCode, *, encrypt: bool) -> dict[str, int]:
    """What a descriptor says of a cipher."""
    fields = {
        "cipher": Cipher.ENCRYPT if encrypt else Cipher.DECRYPT, "algorithm": code.algorithm, "mode": code.mode,
        "key_code": code.code, "destination_used": 1,
    }  # fmt: skip
    if code.mode is CipherMode.CTR:
        fields["counter"] = COUNTER_128
    return fields


def check_size(low: int, high: int, found: int, name: str) -> None:
    """Whether an argument has as many bytes as it may.

    :raises Settled: it has not
    """
    if not low <= found <= high:
        expected = low if low == high else f"{low} to {high}"
        raise Settled(Status.INVALID_ARGS, f"{name}: expected {expected} bytes, got {found}")


def check_text(code: CipherCode, n: int) -> None:
    """Whether a text of so many bytes can be worked on.

    :raises Settled: it cannot
    """
    if n % code.unit:
        raise Settled(
            Status.INVALID_ARGS, f"data: expected a multiple of {code.unit} bytes, got {n}; pad it before"
        )
    if n and n < code.least:
        raise Settled(Status.INVALID_ARGS, f"data: expected at least {code.least} bytes, got {n}")

"""Which request an operation becomes, at the SEC engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from wdasync.backend import Status
from wdasync.operations import Decrypt, Digest, Encrypt, Mac, Nop, Open, Operation, Seal

from .requests import Request, Settled
from .sec_ciphers import CipherRequest
from .sec_hashes import HashRequest
from .sec_requests import SecCarrier, SecRequest, SecWorkshop
from .sec_seals import SealRequest

__all__ = ["make_request"]

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
        request = _REQUESTS[type(operation)](tag, cast("Any", operation), shop)
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

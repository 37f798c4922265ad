"""Which request an operation becomes, at the HPRE engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from wdasync.backend import Status
from wdasync.operations import Kind, Nop, Operation

from .curve_keys import GenerateRequest
from .curve_requests import EcdsaSign, EcdsaVerify, ExchangeRequest
from .hpre_requests import HpreCarrier, HpreWorkshop, NumberRequest
from .requests import Request, Settled
from .rsa_keys import RsaGenerateRequest
from .rsa_padding import PaddingError
from .rsa_requests import RsaDecrypt, RsaEncrypt, RsaSign, RsaVerify

__all__ = ["make_request"]

#: Kind of operation, and what its algorithm's name begins with -> request.
_REQUESTS: Final[Mapping[tuple[Kind, str], Callable[[int, Any, HpreWorkshop], NumberRequest[Any]]]] = {
    (Kind.SIGN, "rsa"): RsaSign,
    (Kind.VERIFY, "rsa"): RsaVerify,
    (Kind.PUBLIC_ENCRYPT, "rsa"): RsaEncrypt,
    (Kind.PRIVATE_DECRYPT, "rsa"): RsaDecrypt,
    (Kind.SIGN, "ecdsa"): EcdsaSign,
    (Kind.VERIFY, "ecdsa"): EcdsaVerify,
    (Kind.EXCHANGE, "dh"): ExchangeRequest,
    (Kind.EXCHANGE, "ecdh"): ExchangeRequest,
    (Kind.EXCHANGE, "x25519"): ExchangeRequest,
    (Kind.EXCHANGE, "x448"): ExchangeRequest,
    (Kind.GENERATE, "ec"): GenerateRequest,
    (Kind.GENERATE, "rsa"): RsaGenerateRequest,
}


def make_request(
    tag: int, operation: Operation, shop: HpreWorkshop, queue_class: str
) -> Request[Any, HpreWorkshop]:
    """The request for an operation, ready for its descriptor. What needs no device is carried by it.

    :raises OSError: ENOMEM: the reserved region is used up for now
    """
    if isinstance(operation, Nop):
        return HpreCarrier(tag, operation, shop, None)
    row = shop.capabilities.find(operation.kind, operation.algorithm)
    request: NumberRequest[Any] | None = None
    try:
        if row is None or row.queue_class != queue_class:
            what = f"{type(operation).__name__} {operation.algorithm}"
            raise Settled(Status.INVALID_ARGS, f"{what} is nothing for a queue of {queue_class}")
        if row.max_input is not None and operation.nbytes > row.max_input:
            raise Settled(
                Status.INVALID_ARGS, f"expected at most {row.max_input} bytes, got {operation.nbytes}"
            )
        request = _REQUESTS[operation.kind, operation.algorithm.partition("-")[0]](
            tag, cast("Any", operation), shop
        )
        request.prepare()
    except (Settled, PaddingError) as error:
        if request is not None:
            request.release()
        settled = error if isinstance(error, Settled) else Settled(Status.INVALID_ARGS, str(error))
        return HpreCarrier(tag, operation, shop, settled)
    except BaseException:
        if request is not None:
            request.release()
        raise
    return request

"""What can be asked of an accelerator: one small class an operation, one table of kinds."""

from __future__ import annotations

from typing import Final

from .base import (
    DEFAULT_MAX_LENGTH,
    Chain,
    Dictionary,
    Kind,
    Level,
    Operation,
    Priority,
    as_dictionary,
    check_bound,
    check_level,
    check_window,
)
from .ciphers import Decrypt, Encrypt, Open, Seal
from .compression import Compress, CompressChunk, Decompress, DecompressChunk, Flush
from .digests import Checksum, Digest, DigestChunk, Mac
from .keys import Key, KeyedOperation, KeySpec
from .memory import Compare, Copy, Fill, Nop
from .publickeys import Exchange, Generate, PrivateDecrypt, PublicEncrypt, Sign, Verify
from .sequences import LOOKING, STEPS, Recipe, Sequence
from .suites import (
    CHECKSUMS,
    CIPHERS,
    CURVES,
    DIGESTS,
    MACS,
    SEALS,
    CipherSuite,
    DigestSuite,
    problem_of_sizes,
)

__all__ = [
    "CHECKSUMS",
    "CIPHERS",
    "CURVES",
    "DEFAULT_MAX_LENGTH",
    "DIGESTS",
    "KINDS",
    "LOOKING",
    "MACS",
    "SEALS",
    "STEPS",
    "Chain",
    "Checksum",
    "CipherSuite",
    "Compare",
    "Compress",
    "CompressChunk",
    "Copy",
    "Decompress",
    "DecompressChunk",
    "Decrypt",
    "Dictionary",
    "Digest",
    "DigestChunk",
    "DigestSuite",
    "Encrypt",
    "Exchange",
    "Fill",
    "Flush",
    "Generate",
    "Key",
    "KeySpec",
    "KeyedOperation",
    "Kind",
    "Level",
    "Mac",
    "Nop",
    "Open",
    "Operation",
    "Priority",
    "PrivateDecrypt",
    "PublicEncrypt",
    "Recipe",
    "Seal",
    "Sequence",
    "Sign",
    "Verify",
    "as_dictionary",
    "check_bound",
    "check_level",
    "check_window",
    "problem_of_sizes",
]

#: Kind of operation -> its class. Docs and tests are made from this table.
KINDS: Final[dict[Kind, type[Operation]]] = {
    operation.kind: operation
    for operation in (
        Nop,
        Compress,
        Decompress,
        CompressChunk,
        DecompressChunk,
        Copy,
        Fill,
        Compare,
        Checksum,
        Digest,
        DigestChunk,
        Mac,
        Encrypt,
        Decrypt,
        Seal,
        Open,
        Sign,
        Verify,
        PublicEncrypt,
        PrivateDecrypt,
        Exchange,
        Generate,
        Sequence,
    )
}

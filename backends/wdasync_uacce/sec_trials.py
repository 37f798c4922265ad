"""Trials of ciphers and digests, with answers that are known: the standard library's, and those written down here.

Keys, initial values and nonces are the bytes 0, 1, 2 and so on; of composed algorithms both keys are. The text is the bytes from 64 on.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from wdasync.backend import Capability
from wdasync.operations import Decrypt, Digest, Encrypt, Key, Kind, Mac, Open, Operation, Seal

from .sec_algorithms import CIPHERS, DIGESTS, MACS, SEALS

if TYPE_CHECKING:
    from .engine_device import EngineDevice

__all__ = ["ALGORITHMS", "sec_trial"]

TEXT: Final = bytes(range(64, 96))
SEALED_TEXT: Final = TEXT[:16]
HEADER: Final = b"header"
SECRET: Final = bytes(range(128))

#: Cipher -> ciphertext.
ENCRYPTED: Final = {
    "aes-128-ecb": "d533e59b45a153ed7e5e9c5dfcfd4aaa3ef0b1a5e3059dab21fce23a7b61c4ca",
    "aes-128-cbc": "fdb7798269c55753ed9c7bc7c92f23ea33cb0c19c205f93e02bbc2c55df8d30a",
    "aes-128-cfb": "4ad549f6052bb602b98ade138a1ea4159bd48974edc1478d70c108e411092629",
    "aes-128-ofb": "4ad549f6052bb602b98ade138a1ea415feb64cf61582f81cb339e4970562e83c",
    "aes-128-ctr": "4ad549f6052bb602b98ade138a1ea4155232bec7324d24c1c283a75417f95183",
    "aes-192-ecb": "27549e3127592d93f091608d27e966d4b8e995e46d584b742b7a77657bc41337",
    "aes-192-cbc": "a9233fa65668de7d1e9c880c03553d4b8858310f9cf6082d99a383ca79c1ec62",
    "aes-192-cfb": "4021fdbd02c60dff9215b3ed53bf6ee1e548d4c1107f790b96ddc53c41a65a32",
    "aes-192-ofb": "4021fdbd02c60dff9215b3ed53bf6ee17ed59941f70c41e7c67cf8f961acc183",
    "aes-192-ctr": "4021fdbd02c60dff9215b3ed53bf6ee179a631bbf52090e8fd0dced24ed91baa",
    "aes-256-ecb": "a37edf3f975abaef937b62c78d5bb157974b412738e50f45c7f9db25413f274b",
    "aes-256-cbc": "91ccf78209417c3eea9e9b5181e3debf87554f61a226a4eb55bd762b8db2794b",
    "aes-256-cfb": "1a2f46144cbe37d1b8671f764e8ee8dd9447fe81ecfdca6836ef9c14872ffc75",
    "aes-256-ofb": "1a2f46144cbe37d1b8671f764e8ee8dd9dad7766655ea33c76eed0f90680290e",
    "aes-256-ctr": "1a2f46144cbe37d1b8671f764e8ee8dd30a2428697d00e0a0d4fa10a2eb87e90",
    "sm4-ecb": "726caad94423c91218a4aa942b9312349d0d1004d9f8b2ff0d6dd04ef762c45b",
    "sm4-cbc": "c761b60336cb0a74c3ee16f2aef380c5888abaae7e9716aa574e9f9d495025ab",
    "sm4-cfb": "cf39347da42555a7ff2b6609c39d1cc2776604ca5bac53a60c90b0c531538b6e",
    "sm4-ofb": "cf39347da42555a7ff2b6609c39d1cc2f04dacc2fe2ba72232b1e6ba0955842e",
    "sm4-ctr": "cf39347da42555a7ff2b6609c39d1cc2de74084093161bc2b74d4f4a8ce43e04",
    "sm4-xts": "74cad49a9051439c4eea226b28cdd6cebfded8eba00a18fa6e80b6a4825a2224",
    "3des-ecb": "878dbec6d65ccebdb586cf6f3653d44ef9eadc58fb9ebe2c9a1ba0a846c4c8a9",
    "3des-cbc": "54941e92650ab4b146da9658aec4fcdd07f4bd1a7b8a29d003d6ac788085f3f9",
    "aes-128-xts": "8f14e7e7e78d9158902a8f5e6194916c3fd6dcaa33427b72a2fc873774ab797f",
    "aes-256-xts": "9cbf93c589936cb08d1e92210a8cdf852d6baea985cfee050285699b79d78617",
}

#: Cipher with authentication -> ciphertext and a tag of 16 bytes.
SEALED: Final = {
    "aes-128-gcm": "d32de58d225eb113039b2bc17aee3e476a28e6fe1c1af7320297d49e77808339",
    "aes-128-ccm": "5675f6cb174cbcc512de79ecd1795097d75b2145bf47ea96a410bf08cb6252e7",
    "aes-128-cbc-hmac-sha1": "fdb7798269c55753ed9c7bc7c92f23ea40fec879225224c4aa337938ac0488d1",
    "aes-128-cbc-hmac-sha256": "fdb7798269c55753ed9c7bc7c92f23ea8ddb40ed025aaeac7ad0c7a87e561ebe",
    "aes-128-cbc-hmac-sha384": "fdb7798269c55753ed9c7bc7c92f23ea0dccf427ba300fffc834199d169635e9",
    "aes-128-cbc-hmac-sha512": "fdb7798269c55753ed9c7bc7c92f23eae8144bfbc48fcbc5d61b9d747661c344",
    "aes-192-gcm": "a6b860d8ddfc8f49987a96c9b3e4923f5f70ed06d23ab8ffeff9ebf1b593f016",
    "aes-192-ccm": "dbd35c3be3240b8a0f67ae00d800525153102c41b04555468653ec4fa747b6bf",
    "aes-192-cbc-hmac-sha1": "a9233fa65668de7d1e9c880c03553d4b1ead3584ddcc5e89d972696d9c39b629",
    "aes-192-cbc-hmac-sha256": "a9233fa65668de7d1e9c880c03553d4bdc0c157954e606ecd7eee2b59348425f",
    "aes-192-cbc-hmac-sha384": "a9233fa65668de7d1e9c880c03553d4b5c2ea5fad99aed7deaae7745aca8f383",
    "aes-192-cbc-hmac-sha512": "a9233fa65668de7d1e9c880c03553d4bf632258b565a33ef97020ac51de0e718",
    "aes-256-gcm": "0743945881a0845cc508ddc0fda43622f1ba8fd1060ae235ddf6dd8508e31e74",
    "aes-256-ccm": "5c46e92548ed3ccf89999c7b56975ba7c4a68f65aa6dfea8e6539c8c34933e4c",
    "aes-256-cbc-hmac-sha1": "91ccf78209417c3eea9e9b5181e3debfa4802ec8025c804e1ead33a9eeb27715",
    "aes-256-cbc-hmac-sha256": "91ccf78209417c3eea9e9b5181e3debfcddee9e6e9821d11eb5c9245fb5057bf",
    "aes-256-cbc-hmac-sha384": "91ccf78209417c3eea9e9b5181e3debf2d8d40f3b4e145d56b6ea89bcfbc41af",
    "aes-256-cbc-hmac-sha512": "91ccf78209417c3eea9e9b5181e3debfcd0b8b667540253e5139e4872517509d",
    "sm4-gcm": "d7079cb88d2fc347b7d53e069df6b72976b80e07b995f3fee46312f9308c320b",
    "sm4-ccm": "677244a3df0f0fde206849acdae0e451908e69a10e3125c8bcdef89d17902760",
}

#: CMAC of the text.
CODES: Final = {
    "aes-128-cmac": "9a32592069e2f996dd7dc5122b3301ea",
    "aes-192-cmac": "f3bb52ffacdbf432e8ff6641874ddde7",
    "aes-256-cmac": "c303f1bca9cccf5255bd97ef7c0478e2",
}

#: The algorithms that are tried.
ALGORITHMS: Final = frozenset({*DIGESTS, *MACS, *CIPHERS, *SEALS})


def sec_trial(device: EngineDevice, row: Capability) -> tuple[Operation, Callable[[bytes], bool]]:
    """An operation, and whether an output is its answer. Its key, if it has one, is the caller's to revoke."""
    operation, answer = _trial(row.kind, row.algorithm)
    if operation.key is not None:
        operation.session = operation.key.session(device, row.algorithm)
    return operation, lambda output: output == answer


def _trial(kind: Kind, name: str) -> tuple[Operation, bytes]:
    if kind is Kind.DIGEST:
        return Digest(TEXT, name), hashlib.new(name.replace("-", "_"), TEXT, usedforsecurity=False).digest()
    if kind is Kind.MAC:
        key = Key(SECRET[: MACS[name].key or 20], "a key to try")
        digest = name.removeprefix("hmac-").replace("-", "_")
        return Mac(key, TEXT, name), (
            bytes.fromhex(CODES[name]) if name in CODES else hmac.digest(SECRET[:20], TEXT, digest)
        )
    if name in CIPHERS:
        code = CIPHERS[name]
        key, iv, text = (
            Key(SECRET[: code.key], "a key to try"),
            SECRET[: code.iv],
            bytes.fromhex(ENCRYPTED[name]),
        )
        if kind is Kind.ENCRYPT:
            return Encrypt(key, TEXT, name, iv=iv), text
        return Decrypt(key, text, name, iv=iv), TEXT
    return _sealed(kind, name)


def _sealed(kind: Kind, name: str) -> tuple[Operation, bytes]:
    seal, text = SEALS[name], bytes.fromhex(SEALED[name])
    material = SECRET[: seal.cipher.key] + (SECRET[: seal.hash.size] if seal.hash is not None else b"")
    key, nonce = Key(material, "a key to try"), SECRET[: seal.nonce[1]]
    if kind is Kind.SEAL:
        return Seal(key, nonce, SEALED_TEXT, name, aad=HEADER), text
    return Open(key, nonce, text, name, aad=HEADER), SEALED_TEXT

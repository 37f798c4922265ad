"""The algorithms of the SEC engine, as a table: our names, and what the descriptor calls them."""

from __future__ import annotations

from typing import Final, NamedTuple

from .sec_descriptor import HMAC, CipherAlgorithm, CipherMode, Hash

__all__ = ["CIPHERS", "DIGESTS", "MACS", "SEALS", "CipherCode", "HashCode", "SealCode"]


class CipherCode(NamedTuple):
    """A cipher in a mode.

    :ivar key: bytes
    :ivar iv: bytes of the initial value; of GCM and CCM fewest and most of the nonce are known elsewhere
    :ivar unit: a text is a multiple of so many bytes
    :ivar least: fewest bytes of text
    :ivar version: the oldest queue manager behind which an engine has it
    """

    algorithm: CipherAlgorithm
    mode: CipherMode
    code: int
    key: int
    iv: int = 16
    unit: int = 1
    least: int = 1
    version: int = 2


class HashCode(NamedTuple):
    """A digest, or a message authentication code.

    :ivar size: bytes
    :ivar block: bytes of a block: a longer key of an HMAC is hashed first
    :ivar key: bytes of the key; 0: any, or none
    """

    code: int
    size: int
    block: int = 64
    key: int = 0
    version: int = 2


class SealCode(NamedTuple):
    """A cipher with authentication.

    :ivar cipher: the cipher
    :ivar hash: the HMAC of the ciphertext; ``None``: the mode brings the authentication
    :ivar nonce: fewest and most bytes
    :ivar tags: lengths of the tag in bytes
    """

    cipher: CipherCode
    hash: HashCode | None
    nonce: tuple[int, int]
    tags: range


_A, _M = CipherAlgorithm, CipherMode

#: Name -> cipher, code of its key's length, bytes of key and of a block.
_KEYS: Final = {
    "aes-128": (_A.AES, 0, 16, 16), "aes-192": (_A.AES, 1, 24, 16), "aes-256": (_A.AES, 2, 32, 16), "sm4": (_A.SM4, 0, 16, 16),
    "3des": (_A.TRIPLE_DES, 1, 24, 8),
}  # fmt: skip


def _ciphers() -> dict[str, CipherCode]:
    found = {}
    for name, (algorithm, code, key, block) in _KEYS.items():
        found[f"{name}-ecb"] = CipherCode(algorithm, _M.ECB, code, key, 0, block)
        found[f"{name}-cbc"] = CipherCode(algorithm, _M.CBC, code, key, block, block)
        if algorithm is not _A.TRIPLE_DES:
            for mode in (_M.CFB, _M.OFB, _M.CTR):
                found[f"{name}-{mode.name.lower()}"] = CipherCode(algorithm, mode, code, key, version=3)
    for name in ("aes-128", "aes-256", "sm4"):
        algorithm, code, key, _ = _KEYS[name]
        found[f"{name}-xts"] = CipherCode(algorithm, _M.XTS, code, 2 * key, least=16)
    return found


CIPHERS: Final = _ciphers()

DIGESTS: Final = {
    "md5": HashCode(Hash.MD5, 16), "sha1": HashCode(Hash.SHA1, 20), "sha224": HashCode(Hash.SHA224, 28),
    "sha256": HashCode(Hash.SHA256, 32), "sha384": HashCode(Hash.SHA384, 48, 128), "sha512": HashCode(Hash.SHA512, 64, 128),
    "sha512-224": HashCode(Hash.SHA512_224, 28, 128), "sha512-256": HashCode(Hash.SHA512_256, 32, 128),
    "sm3": HashCode(Hash.SM3, 32),
}  # fmt: skip


def _hmac(digest: HashCode) -> HashCode:
    code = Hash.HMAC_SM3 if digest.code == Hash.SM3 else digest.code + HMAC
    return digest._replace(code=code)


MACS: Final = {
    **{f"hmac-{name}": _hmac(digest) for name, digest in DIGESTS.items()},
    **{f"aes-{bits}-cmac": HashCode(Hash.CMAC, 16, key=bits // 8, version=3) for bits in (128, 192, 256)},
}


def _seals() -> dict[str, SealCode]:
    found = {}
    for name in ("aes-128", "aes-192", "aes-256", "sm4"):
        algorithm, code, key, _ = _KEYS[name]
        version = 3 if algorithm is _A.SM4 else 2
        for mode, nonce, tags in ((_M.GCM, (12, 12), range(4, 17)), (_M.CCM, (7, 13), range(4, 17, 2))):
            cipher = CipherCode(algorithm, mode, code, key, version=version)
            found[f"{name}-{mode.name.lower()}"] = SealCode(cipher, None, nonce, tags)
        if algorithm is _A.AES:
            for digest in ("sha1", "sha256", "sha384", "sha512"):
                mac = MACS[f"hmac-{digest}"]
                cipher = CIPHERS[f"{name}-cbc"]
                seal = SealCode(cipher, mac, (16, 16), range(4, mac.size + 1))
                found[f"{name}-cbc-hmac-{digest}"] = seal
    return found


SEALS: Final = _seals()

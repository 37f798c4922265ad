"""Published answers as operations: each case is some operations, and what has to come of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import (
    dh,
    ec,
    ed448,
    ed25519,
    padding,
    rsa,
    utils,
    x448,
    x25519,
)

from wdasync.errors import Status
from wdasync.operations import (
    Decrypt,
    Digest,
    Encrypt,
    Exchange,
    Key,
    Mac,
    Open,
    Operation,
    PrivateDecrypt,
    Seal,
    Sign,
    Verify,
)

from . import further
from .records import FOLDER, Record, examples, records


class Case(NamedTuple):
    """An operation and its answer.

    :ivar operation: what is asked
    :ivar answer: the output, or the status with which it ends
    """

    operation: Operation
    answer: bytes | Status


#: Name -> makes its cases.
CASES: dict[str, Callable[[], Iterator[Case]]] = {}


def _hex(record: Record, name: str) -> bytes:
    return bytes.fromhex(record.get(name, ""))


@cache
def _secret(content: bytes) -> Key:
    return Key(content, "a vector's key")


# -- digests and codes --------------------------------------------------------------------------------------------------


def _digests(file: str, algorithm: str) -> Iterator[Case]:
    for record in records(file, {"MD"}):
        data = _hex(record, "MSG")[: int(record["LEN"]) // 8]
        yield Case(Digest(data, algorithm), _hex(record, "MD"))


def _hmacs(file: str, algorithm: str) -> Iterator[Case]:
    for record in records(file, {"MD"}):
        answer = _hex(record, "MD")
        if len(answer) >= 16 and len(answer) == hashes_of(algorithm).digest_size:  # one is cut off
            yield Case(Mac(_secret(_hex(record, "KEY")), _hex(record, "MSG"), f"hmac-{algorithm}"), answer)


def hashes_of(name: str) -> hashes.HashAlgorithm:
    """The hash of that name, in the files or here."""
    found: hashes.HashAlgorithm = getattr(hashes, name.upper().replace("-", "_"))()
    return found


def _cmacs(file: str, algorithm: str) -> Iterator[Case]:
    for record in records(file, {"OUTPUT"}):
        key = _hex(record, "KEY") or b"".join(_hex(record, f"KEY{part}") for part in "123")
        yield Case(Mac(_secret(key), _hex(record, "MESSAGE"), algorithm), _hex(record, "OUTPUT"))


for _name in ("sha1", "sha224", "sha256", "sha384", "sha512", "sha512-224", "sha512-256"):
    _folder = "SHA1" if _name == "sha1" else "SHA2"
    for _length in ("Short", "Long"):
        _file = f"hashes/{_folder}/{_name.upper().replace('-', '_')}{_length}Msg.rsp"
        CASES[f"{_name} {_length}"] = lambda file=_file, name=_name: _digests(file, name)  # type: ignore[misc]
CASES["sm3"] = lambda: _digests("hashes/SM3/oscca.txt", "sm3")
CASES["md5"] = lambda: _digests("hashes/MD5/rfc-1321.txt", "md5")
for _name, _number in (
    ("md5", 2202),
    ("sha1", 2202),
    *((f"sha{_bits}", 4231) for _bits in (224, 256, 384, 512)),
):
    _file = f"HMAC/rfc-{_number}-{_name}.txt"
    CASES[f"hmac-{_name}"] = lambda file=_file, name=_name: _hmacs(file, name)  # type: ignore[misc]
for _bits in (128, 192, 256):
    _file = f"CMAC/nist-800-38b-aes{_bits}.txt"
    CASES[f"aes-{_bits}-cmac"] = lambda file=_file, name=f"aes-{_bits}-cmac": _cmacs(file, name)  # type: ignore[misc]
CASES["3des-cmac"] = lambda: _cmacs("CMAC/nist-800-38b-3des.txt", "3des-cmac")


# -- ciphers ------------------------------------------------------------------------------------------------------------


def _pairs(file: str, one: str, other: str) -> Iterator[tuple[Record, bytes, bytes]]:
    """The records of a file in which a text and its ciphertext come in either order."""
    seen: Record = {}
    for record in records(file, {one, other}):
        seen |= record
        if one in seen and other in seen:
            yield seen, bytes.fromhex(seen.pop(one)), bytes.fromhex(seen.pop(other))


def _ciphers(file: str, algorithm: str) -> Iterator[Case]:
    for record, plain, cipher in _pairs(file, "PLAINTEXT", "CIPHERTEXT"):
        yield from _both_ways(record, algorithm, plain, cipher)


def _both_ways(record: Record, algorithm: str, plain: bytes, cipher: bytes) -> Iterator[Case]:
    key = (
        _hex(record, "KEY")
        or b"".join(_hex(record, f"KEY{part}") for part in "123")
        or 3 * _hex(record, "KEYS")
    )
    secret, iv = _secret(key), b"" if algorithm.endswith("-ecb") else _hex(record, "IV") or _hex(record, "I")
    yield Case(Encrypt(secret, plain, algorithm, iv=iv), cipher)
    yield Case(Decrypt(secret, cipher, algorithm, iv=iv), plain)


def _xts(file: str, algorithm: str) -> Iterator[Case]:
    for record, plain, cipher in _pairs(file, "PT", "CT"):
        if int(record["DATAUNITLEN"]) % 8 == 0:  # else they are bits, not bytes
            yield from _both_ways(record, algorithm, plain, cipher)


for _bits in (128, 192, 256):
    for _mode in ("ecb", "cbc", "ofb", "cfb"):
        for _sort in ("GFSbox", "KeySbox", "MMT", "VarKey", "VarTxt"):
            _as = "CFB128" if _mode == "cfb" else _mode.upper()
            _file = f"ciphers/AES/{_mode.upper()}/{_as}{_sort}{_bits}.rsp"
            CASES[f"aes-{_bits}-{_mode} {_sort}"] = (
                lambda file=_file, name=f"aes-{_bits}-{_mode}": _ciphers(file, name)  # type: ignore[misc]
            )
    _file = f"ciphers/AES/CTR/aes-{_bits}-ctr.txt"
    CASES[f"aes-{_bits}-ctr"] = lambda file=_file, name=f"aes-{_bits}-ctr": _ciphers(file, name)  # type: ignore[misc]
for _mode in ("ecb", "cbc", "ctr", "cfb", "ofb"):
    _file = f"ciphers/SM4/draft-ribose-cfrg-sm4-10-{_mode}.txt"
    CASES[f"sm4-{_mode}"] = lambda file=_file, name=f"sm4-{_mode}": _ciphers(file, name)  # type: ignore[misc]
for _mode, _as in (("ecb", "TECB"), ("cbc", "TCBC"), ("ofb", "TOFB"), ("cfb", "TCFB64")):
    for _sort in ("MMT1", "MMT2", "MMT3", "invperm", "permop", "subtab", "varkey", "vartext"):
        _file = f"ciphers/3DES/{_mode.upper()}/{_as}{_sort}.rsp"
        CASES[f"3des-{_mode} {_sort}"] = lambda file=_file, name=f"3des-{_mode}": _ciphers(file, name)  # type: ignore[misc]
for _bits in (128, 256):
    _file = f"ciphers/AES/XTS/tweak-128hexstr/XTSGenAES{_bits}.rsp"
    CASES[f"aes-{_bits}-xts"] = lambda file=_file, name=f"aes-{_bits}-xts": _xts(file, name)  # type: ignore[misc]


# -- with authentication ------------------------------------------------------------------------------------------------


def _gcm(file: str, algorithm: str) -> Iterator[Case]:
    encrypt = "Encrypt" in file
    for record in records(file, {"TAG"} if encrypt else {"PT", "FAIL"}):
        key, nonce, aad = _secret(_hex(record, "KEY")), _hex(record, "IV"), _hex(record, "AAD")
        tag, text = _hex(record, "TAG"), _hex(record, "CT") + _hex(record, "TAG")
        usual = len(nonce) >= 8  # the library takes no shorter one
        if encrypt:
            operation: Operation = Seal(
                key, nonce, _hex(record, "PT"), algorithm, aad=aad, tag_length=len(tag)
            )
            answer: bytes | Status = text
        else:
            operation = Open(key, nonce, text, algorithm, aad=aad, tag_length=len(tag))
            answer = Status.CHECKSUM_FAILED if record["END"] == "FAIL" else _hex(record, "PT")
        yield Case(operation, answer if usual else Status.INVALID_ARGS)


def _ccm(file: str, algorithm: str) -> Iterator[Case]:
    for record in records(file, {"CT"}):
        size, length = int(record["PLEN"]), int(record["TLEN"])
        key, nonce = _secret(_hex(record, "KEY")), _hex(record, "NONCE")
        aad, text = _hex(record, "ADATA")[: int(record["ALEN"])], _hex(record, "CT")
        plain = _hex(record, "PAYLOAD")[:size]
        yield Case(Seal(key, nonce, plain, algorithm, aad=aad, tag_length=length), text)
        yield Case(Open(key, nonce, text, algorithm, aad=aad, tag_length=length), plain)


def _ccm_checks(file: str, algorithm: str) -> Iterator[Case]:
    """Payload comes after the result, and only where that is good: so only the result is looked at, and the length."""
    for record in records(file, {"RESULT"}):
        aad = _hex(record, "ADATA")[: int(record["ALEN"])]
        text, length = _hex(record, "CT"), int(record["TLEN"])
        key, nonce = _secret(_hex(record, "KEY")), _hex(record, "NONCE")
        operation = Open(key, nonce, text, algorithm, aad=aad, tag_length=length)
        good = record["RESULT"] == "Pass"
        yield Case(operation, Status.SUCCESS if good else Status.CHECKSUM_FAILED)


def _sealed(file: str, algorithm: str) -> Iterator[Case]:
    """Both ways, of files that have text, ciphertext and tag. A wrong one says so after it."""
    found: list[tuple[Record, bool]] = []
    for record in records(file, {"CIPHERTEXT", "RESULT"}):
        if record["END"] == "RESULT":
            found[-1] = (found[-1][0], False)
        else:
            found.append((record, True))
    for record, good in found:
        key, nonce, aad = _secret(_hex(record, "KEY")), _hex(record, "IV"), _hex(record, "AAD")
        plain, text = _hex(record, "PLAINTEXT"), _hex(record, "CIPHERTEXT") + _hex(record, "TAG")
        if good:
            yield Case(Seal(key, nonce, plain, algorithm, aad=aad), text)
        yield Case(Open(key, nonce, text, algorithm, aad=aad), plain if good else Status.CHECKSUM_FAILED)
        yield Case(Open(key, nonce, text, algorithm, aad=aad + b"x"), Status.CHECKSUM_FAILED)


for _bits in (128, 192, 256):
    for _file in (f"gcmDecrypt{_bits}", f"gcmEncryptExtIV{_bits}"):
        CASES[_file] = lambda file=_file, name=f"aes-{_bits}-gcm": _gcm(f"ciphers/AES/GCM/{file}.rsp", name)  # type: ignore[misc]
    for _file in (f"VNT{_bits}", f"VADT{_bits}", f"VPT{_bits}", f"VTT{_bits}"):
        CASES[f"ccm {_file}"] = lambda file=_file, name=f"aes-{_bits}-ccm": _ccm(
            f"ciphers/AES/CCM/{file}.rsp", name
        )  # type: ignore[misc]
    _file = f"ciphers/AES/CCM/DVPT{_bits}.rsp"
    CASES[f"ccm DVPT{_bits}"] = lambda file=_file, name=f"aes-{_bits}-ccm": _ccm_checks(file, name)  # type: ignore[misc]
CASES["sm4-gcm"] = lambda: _sealed("ciphers/SM4/rfc8998.txt", "sm4-gcm")
CASES["chacha20-poly1305"] = lambda: _sealed("ciphers/ChaCha20Poly1305/openssl.txt", "chacha20-poly1305")


# -- RSA ----------------------------------------------------------------------------------------------------------------


def _rsa_verify(file: str, salt: bool) -> Iterator[Case]:
    for record in records(file, {"RESULT"}):
        numbers = rsa.RSAPublicNumbers(int(record["E"], 16), int(record["N"], 16))
        kind = hashes_of(record["SHAALG"])
        how: padding.AsymmetricPadding = padding.PKCS1v15()
        if salt:
            how = padding.PSS(padding.MGF1(kind), len(_hex(record, "SALTVAL")))
        operation = Verify(_public(numbers), _hex(record, "S"), _hex(record, "MSG"), "rsa", how, kind)
        yield Case(operation, b"" if record["RESULT"].startswith("P") else Status.CHECKSUM_FAILED)


@cache
def _public(numbers: rsa.RSAPublicNumbers) -> Key:
    return Key(numbers.public_key(), "a vector's key")


#: Headings of the parts of a private key, in the order of its numbers.
_PARTS = ("Modulus", "Exponent", "Prime 1", "Prime 2", "Prime exponent 1", "Prime exponent 2", "Coefficient")


def _rsa_examples(file: str) -> Iterator[tuple[Key, dict[str, str]]]:
    """For each example: the private key, and what the headings say. A heading is repeated for each message."""
    values: dict[str, str] = {}
    key: Key | None = None
    for heading, content in examples(file):
        values[heading] = content
        if heading == "Coefficient":
            n, d, p, q, dp, dq, qi = (int(values[part], 16) for part in _PARTS)
            public = rsa.RSAPublicNumbers(int(values["Public exponent"], 16), n)
            numbers = rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, public)
            key = Key(numbers.private_key(), "a vector's key")
        elif key is not None:
            yield key, {**values, "LAST": heading}


def _rsa_sign(file: str) -> Iterator[Case]:
    for key, values in _rsa_examples(file):
        if values["LAST"] == "Signature":
            data = bytes.fromhex(values["Message to be signed"])
            answer = bytes.fromhex(values["Signature"])
            how, kind = padding.PKCS1v15(), hashes.SHA1()
            yield Case(Sign(key, data, "rsa", how, kind), answer)
            yield Case(Verify(key, answer, data, "rsa", how, kind), b"")


def _rsa_decrypt(file: str, how: padding.AsymmetricPadding) -> Iterator[Case]:
    for key, values in _rsa_examples(file):
        if values["LAST"] == "Encryption":
            message = values.get("Message") or values["Message to be encrypted"]
            yield Case(
                PrivateDecrypt(key, bytes.fromhex(values["Encryption"]), "rsa", how), bytes.fromhex(message)
            )


_FIPS = "asymmetric/RSA/FIPS_186-2"
CASES["rsa pkcs1v15 verify"] = lambda: _rsa_verify(f"{_FIPS}/SigVer15_186-3.rsp", salt=False)
CASES["rsa pss verify"] = lambda: _rsa_verify(f"{_FIPS}/SigVerPSS_186-3.rsp", salt=True)
CASES["rsa pkcs1v15 sign"] = lambda: _rsa_sign("asymmetric/RSA/pkcs1v15sign-vectors.txt")
CASES["rsa oaep decrypt"] = lambda: _rsa_decrypt(
    "asymmetric/RSA/pkcs-1v2-1d2-vec/oaep-vect.txt",
    padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None),
)
CASES["rsa pkcs1v15 decrypt"] = lambda: _rsa_decrypt(
    "asymmetric/RSA/pkcs1v15crypt-vectors.txt", padding.PKCS1v15()
)


# -- elliptic curves, and exchanges --------------------------------------------------------------------------------------

_CURVES: dict[str, tuple[str, ec.EllipticCurve]] = {
    "P-256": ("p256", ec.SECP256R1()),
    "P-384": ("p384", ec.SECP384R1()),
    "P-521": ("p521", ec.SECP521R1()),
    "K-256": ("secp256k1", ec.SECP256K1()),
}


def _ecdsa(file: str, ends: str) -> Iterator[Case]:
    for record in records(file, {ends}):
        curve, _, kind = record["SECTION"].partition(",")
        if curve not in _CURVES:
            continue
        name, group = _CURVES[curve]
        numbers = ec.EllipticCurvePublicNumbers(int(record["QX"], 16), int(record["QY"], 16), group)
        try:
            key = Key(numbers.public_key(), "a vector's key")
        except ValueError:  # not a point: nobody gets that far
            assert record["RESULT"].startswith("F"), record
            continue
        signature = utils.encode_dss_signature(int(record["R"], 16), int(record["S"], 16))
        good = record.get("RESULT", "P").startswith("P")
        how = hashes_of(kind.replace("-", ""))
        operation = Verify(key, signature, _hex(record, "MSG"), f"ecdsa-{name}", None, how)
        yield Case(operation, b"" if good else Status.CHECKSUM_FAILED)


def _ecdh(file: str) -> Iterator[Case]:
    letters = {"EC": "P-256", "ED": "P-384", "EE": "P-521"}
    for record in records(file, {"RESULT"}):
        curve = letters.get(record["SECTION"].partition(" ")[0])
        if curve is None or not record["RESULT"].startswith("P"):
            continue
        name, group = _CURVES[curve]
        mine = ec.derive_private_key(int(record["DSIUT"], 16), group)
        point = int(record["QSCAVSX"], 16), int(record["QSCAVSY"], 16)
        peer = ec.EllipticCurvePublicNumbers(*point, group).public_key()
        yield Case(Exchange(Key(mine, "a vector's key"), peer, f"ecdh-{name}"), _hex(record, "Z"))


def _montgomery(name: str) -> Iterator[Case]:
    module = {"x25519": x25519.X25519PrivateKey, "x448": x448.X448PrivateKey}[name]
    public = {"x25519": x25519.X25519PublicKey, "x448": x448.X448PublicKey}[name]
    for record in records(f"asymmetric/{name.upper()}/rfc7748.txt", {"OUTPUT_U"}):
        key = Key(module.from_private_bytes(_hex(record, "INPUT_SCALAR")), "a vector's key")
        peer = public.from_public_bytes(_hex(record, "INPUT_U"))
        yield Case(Exchange(key, peer, name), _hex(record, "OUTPUT_U"))
    zero = public.from_public_bytes(bytes(32 if name == "x25519" else 56))
    yield Case(Exchange(Key(module.generate(), "a key"), zero, name), Status.DATA_ERROR)


def _dh(file: str) -> Iterator[Case]:
    for record in records(file, {"Z"}):
        group = dh.DHParameterNumbers(int(record["P"], 16), int(record["G"], 16), int(record["Q"], 16))
        mine = dh.DHPublicNumbers(int(record["YSTATIUT"], 16), group)
        key = Key(dh.DHPrivateNumbers(int(record["XSTATIUT"], 16), mine).private_key(), "a vector's key")
        peer = dh.DHPublicNumbers(int(record["YSTATCAVS"], 16), group).public_key()
        yield Case(Exchange(key, peer, "dh"), _hex(record, "Z"))


def _ed25519() -> Iterator[Case]:
    for line in (FOLDER / "asymmetric/Ed25519/sign.input").read_text().splitlines()[::16]:
        private, public, data, signed = (bytes.fromhex(part) for part in line.split(":")[:4])
        key = Key(ed25519.Ed25519PrivateKey.from_private_bytes(private[:32]), "a vector's key")
        theirs = Key(ed25519.Ed25519PublicKey.from_public_bytes(public), "a vector's key")
        yield Case(Sign(key, data, "ed25519", None, None), signed[:64])
        yield Case(Verify(theirs, signed[:64], data, "ed25519", None, None), b"")
        yield Case(Verify(theirs, signed[:64], data + b"x", "ed25519", None, None), Status.CHECKSUM_FAILED)


def _ed448() -> Iterator[Case]:
    for record in records("asymmetric/Ed448/rfc8032.txt", {"SIGNATURE"}):
        if record.get("CONTEXT"):
            continue
        key = Key(ed448.Ed448PrivateKey.from_private_bytes(_hex(record, "SECRET")), "a vector's key")
        data, signature = _hex(record, "MESSAGE"), _hex(record, "SIGNATURE")
        yield Case(Sign(key, data, "ed448", None, None), signature)
        yield Case(Verify(key, signature, data, "ed448", None, None), b"")


def _further_codes(algorithm: str) -> Iterator[Case]:
    for key, message, code in further.MACS[algorithm]:
        yield Case(Mac(_secret(bytes.fromhex(key)), bytes.fromhex(message), algorithm), bytes.fromhex(code))


def _further_seals(algorithm: str) -> Iterator[Case]:
    for answer in further.CCM[algorithm]:
        key, nonce, aad, text, sealed = (bytes.fromhex(part) for part in answer)
        yield Case(Seal(_secret(key), nonce, text, algorithm, aad=aad), sealed)
        yield Case(Open(_secret(key), nonce, sealed, algorithm, aad=aad), text)
        yield Case(Open(_secret(key), nonce, sealed, algorithm, aad=aad[:-1]), Status.CHECKSUM_FAILED)


def _further_ciphers(algorithm: str) -> Iterator[Case]:
    for key, iv, plain, text in further.CIPHERS[algorithm]:
        record = {"KEY": key, "IV": iv}
        yield from _both_ways(record, algorithm, bytes.fromhex(plain), bytes.fromhex(text))


def _further_exchanges(algorithm: str) -> Iterator[Case]:
    group = ec.SECP256K1()
    for private, peer, secret in further.EXCHANGES[algorithm]:
        mine = Key(ec.derive_private_key(int(private, 16), group), "a vector's key")
        theirs = ec.EllipticCurvePublicKey.from_encoded_point(group, bytes.fromhex(peer))
        yield Case(Exchange(mine, theirs, algorithm), bytes.fromhex(secret))


for _table, _make in (
    (further.MACS, _further_codes), (further.CIPHERS, _further_ciphers), (further.CCM, _further_seals), (further.EXCHANGES, _further_exchanges),
):  # fmt: skip
    for _name in _table:  # type: ignore[attr-defined]  # tables of three sorts
        CASES[_name] = lambda make=_make, name=_name: make(name)  # type: ignore[misc]

CASES["ecdsa verify"] = lambda: _ecdsa("asymmetric/ECDSA/FIPS_186-3/SigVer.rsp", "RESULT")
CASES["ecdsa secp256k1"] = lambda: _ecdsa("asymmetric/ECDSA/SECP256K1/SigGen.txt", "S")
CASES["ecdh"] = lambda: _ecdh("asymmetric/ECDH/KASValidityTest_ECCStaticUnified_NOKC_ZZOnly_init.fax")
CASES["x25519"] = lambda: _montgomery("x25519")
CASES["x448"] = lambda: _montgomery("x448")
CASES["dh"] = lambda: _dh("asymmetric/DH/RFC5114.txt")
CASES["ed25519"] = _ed25519
CASES["ed448"] = _ed448

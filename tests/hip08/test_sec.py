"""The SEC engine, by descriptors that are written by hand, against answers that are published."""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from wdasync_hip08.functions import SEC

from .entries import VA, Entries
from .lone_machine import LoneMachine

DES3, AES, SM4 = 1, 2, 3
ECB, CBC, CFB, OFB, CTR, CCM, GCM, XTS = range(8)
PLAIN = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
KEY128 = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
KEY256 = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
IV = bytes(range(16))


@pytest.fixture(params=[2, 3])
def kind(request: pytest.FixtureRequest) -> int:
    """Type of descriptor, which is the version of the queue manager, too."""
    number: int = request.param
    return number


def a_queue(new_machine: Any, generation: int) -> Entries:
    machine: LoneMachine = new_machine(functions=(SEC,), generation=generation)
    return Entries(machine, SEC)


@pytest.fixture
def queue(new_machine: Any, kind: int) -> Entries:
    return a_queue(new_machine, kind)


def scatter(queue: Entries, spans: list[tuple[int, int]]) -> int:
    """A chain of one list."""
    head = struct.pack("<QHHH50x", 0, len(spans), len(spans), 255)
    return queue.place(head + b"".join(struct.pack("<QQIIQ", address, 0, n, 0, 0) for address, n in spans))


def entry(kind: int, **f: int) -> bytes:
    """A descriptor of either type; what is not named is 0."""

    def of(name: str) -> int:
        return f.get(name, 0)

    if kind == 2:
        bits = (
            2 | of("cipher") << 4 | of("auth") << 6 | of("order") << 8 | of("dst") << 9 | of("scene") << 11
            | of("src_sgl") << 15 | of("dst_sgl") << 18 | of("ai") << 40 | of("unpadded") << 42 | of("skip") << 63
        )  # fmt: skip
        words = of("mac_words") | of("hkey_words") << 5 | of("hash") << 11
        modes = of("icv") | of("key_code") << 9 | of("mode") << 12
        head = struct.pack(
            "<QIHBxIIHH", bits, words, modes, of("alg"), of("hlen"), of("clen"), of("hoff"), of("coff")
        )
        body = struct.pack(
            "<12xHxxxxxxQ7Q",
            of("tag"),
            0,
            of("hiv"),
            of("hkey"),
            of("mac"),
            of("iv"),
            of("key"),
            of("src"),
            of("dest"),
        )
        return (head + body).ljust(128, b"\0")
    bits = 3 | of("skip") << 4 | of("scene") << 5 | of("dst") << 9 | of("src_sgl") << 11 | of("dst_sgl") << 14
    modes = of("cipher") | of("icv") << 4 | of("key_code") << 13
    head = struct.pack(
        "<IHBB4Q8xQ",
        bits,
        modes,
        of("mode") | of("alg") << 4,
        of("order") << 6,
        of("tag"),
        of("src"),
        of("hkey"),
        of("hiv"),
        of("key"),
    )
    auth = of("auth") | of("ai") << 2 | of("mac_words") << 4 | of("hkey_words") << 9 | of("hash") << 15
    auth |= of("counter") << 25
    body = struct.pack(
        "<II HHII QQQ QB".replace(" ", ""),
        auth,
        0,
        of("hoff"),
        of("coff"),
        of("hlen"),
        of("clen"),
        of("dest"),
        of("mac"),
        of("iv"),
        0,
        of("unpadded"),
    )
    return (head + body).ljust(128, b"\0")


def answer(queue: Entries, sqe: bytes) -> tuple[int, int, int, int]:
    """done, ICV, flag, error; the rest of the entry is as it was."""
    found = queue.run(sqe)
    assert found[:112] == sqe[:112]
    assert found[115:] == sqe[115:]
    word = int.from_bytes(found[112:114], "little")
    return word & 1, word >> 1 & 7, word >> 7 & 15, found[114]


def crypt(queue: Entries, kind: int, text: bytes, key: bytes, iv: bytes = b"", **f: int) -> bytes:
    out = queue.room(len(text))
    sqe = entry(
        kind,
        dst=1,
        clen=len(text),
        src=queue.place(text),
        dest=out,
        key=queue.place(key),
        iv=queue.place(iv),
        tag=0xBEEF,
        scene=1,
        **f,
    )
    assert answer(queue, sqe) == (1, 0, 2, 0)
    return queue.peek(out, len(text))


CIPHERS = [
    # NIST SP 800-38A, appendix F
    (AES, ECB, 0, KEY128, b"", "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf43b1cd7f598ece23881b00e3ed0306887b0c785e27e8ad3f8223207104725dd4"),
    (AES, ECB, 2, KEY256, b"", "f3eed1bdb5d2a03c064b5a7e3db181f8591ccb10d410ed26dc5ba74a31362870b6ed21b99ca6f4f9f153e7b1beafed1d23304b7a39f9f3ff067d8d8f9e24ecc7"),
    (AES, CBC, 0, KEY128, IV, "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b273bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7"),
    (AES, CBC, 2, KEY256, IV, "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b"),
    (AES, CFB, 0, KEY128, IV, "3b3fd92eb72dad20333449f8e83cfb4ac8a64537a0b3a93fcde3cdad9f1ce58b26751f67a3cbb140b1808cf187a4f4dfc04b05357c5d1c0eeac4c66f9ff7f2e6"),
    (AES, OFB, 0, KEY128, IV, "3b3fd92eb72dad20333449f8e83cfb4a7789508d16918f03f53c52dac54ed8259740051e9c5fecf64344f7a82260edcc304c6528f659c77866a510d9c1d6ae5e"),
    (AES, CTR, 0, KEY128, bytes(range(0xF0, 0x100)), "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee"),
]  # fmt: skip


@pytest.mark.parametrize(("alg", "mode", "code", "key", "iv", "expected"), CIPHERS)
def test_ciphers(
    queue: Entries, kind: int, alg: int, mode: int, code: int, key: bytes, iv: bytes, expected: str
) -> None:
    sealed = bytes.fromhex(expected)
    assert crypt(queue, kind, PLAIN, key, iv, cipher=1, alg=alg, mode=mode, key_code=code) == sealed
    assert crypt(queue, kind, sealed, key, iv, cipher=2, alg=alg, mode=mode, key_code=code) == PLAIN


@pytest.mark.parametrize("iv", [b"\xff" * 16, bytes(12) + b"\xff\xff\xff\xfe"], ids=bytes.hex)
def test_the_width_of_a_counter(queue: Entries, kind: int, iv: bytes) -> None:
    """Type 3 says whether the whole block counts (2) or its last 32 bits."""

    def expected(bits: int) -> bytes:
        head, start = iv[: 16 - bits // 8], int.from_bytes(iv, "big")
        blocks = [head + (start + at & (1 << bits) - 1).to_bytes(16, "big")[-bits // 8 :] for at in range(4)]
        masks = Cipher(algorithms.AES(KEY128), modes.ECB()).encryptor().update(b"".join(blocks))
        return bytes(one ^ other for one, other in zip(PLAIN, masks, strict=True))

    f = {"cipher": 1, "alg": AES, "mode": CTR}
    if kind == 2:
        assert crypt(queue, 2, PLAIN, KEY128, iv, **f) == expected(128)
        return
    for counter, bits in ((2, 128), (0, 32)):
        assert crypt(queue, 3, PLAIN, KEY128, iv, **f, counter=counter) == expected(bits)


def test_sm4(queue: Entries, kind: int) -> None:
    """GB/T 32907, annex A."""
    key = bytes.fromhex("0123456789abcdeffedcba9876543210")
    sealed = crypt(queue, kind, key, key, cipher=1, alg=SM4, mode=ECB)
    assert sealed.hex() == "681edf34d206965e86b3e94f536e4246"
    assert crypt(queue, kind, sealed, key, cipher=2, alg=SM4, mode=ECB) == key


def test_3des(queue: Entries, kind: int) -> None:
    """NIST SP 800-67; the answer of its example."""
    key = bytes.fromhex("0123456789abcdef23456789abcdef01456789abcdef0123")
    text = b"The qufck brown fox jump"
    sealed = crypt(queue, kind, text, key, cipher=1, alg=DES3, mode=ECB, key_code=1)
    assert sealed.hex() == "a826fd8ce53b855fcce21c8112256fe668d5c05dd9b6b900"
    assert crypt(queue, kind, sealed, key, cipher=2, alg=DES3, mode=ECB, key_code=1) == text
    two = crypt(queue, kind, text, key[:16], cipher=1, alg=DES3, mode=ECB, key_code=3)
    assert two == crypt(queue, kind, text, key[:16] + key[:8], cipher=1, alg=DES3, mode=ECB, key_code=1)


def test_xts(queue: Entries, kind: int) -> None:
    """IEEE 1619, vector 2, and a text that is no whole number of blocks."""
    key = b"\x11" * 16 + b"\x22" * 16
    tweak = bytes.fromhex("33333333330000000000000000000000")
    sealed = crypt(queue, kind, b"\x44" * 32, key, tweak, cipher=1, alg=AES, mode=XTS)
    assert sealed.hex() == "c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0"
    odd = crypt(queue, kind, b"\x44" * 21, key, tweak, cipher=1, alg=AES, mode=XTS)
    assert crypt(queue, kind, odd, key, tweak, cipher=2, alg=AES, mode=XTS) == b"\x44" * 21


HASHES = ["sha1", "sha256", "md5", "sha224", "sha384", "sha512", "sha512_224", "sha512_256"]


@pytest.mark.parametrize("code", range(8), ids=HASHES)
def test_digests(queue: Entries, kind: int, code: int) -> None:
    data = b"abc" * 100
    expected = hashlib.new(HASHES[code], data).digest()
    out = queue.room(64)
    sqe = entry(
        kind,
        auth=1,
        hash=code,
        mac_words=len(expected) // 4,
        hlen=len(data),
        src=queue.place(data),
        mac=out,
        scene=1,
    )
    assert answer(queue, sqe) == (1, 0, 1, 0)
    assert queue.peek(out, 64) == expected + b"\xee" * (64 - len(expected))
    key = b"k" * 20
    expected = hmac.digest(key, data, HASHES[code])
    f = {
        "hash": code + 0x10,
        "mac_words": len(expected) // 4,
        "hlen": len(data),
        "src": queue.place(data),
        "hkey": queue.place(key),
        "hkey_words": 5,
    }
    assert answer(queue, entry(kind, auth=1, mac=out, **f)) == (1, 0, 1, 0)
    assert queue.peek(out, len(expected)) == expected
    assert answer(queue, entry(kind, auth=2, mac=out, **f)) == (1, 1, 1, 0)
    queue.memory.poke(out - VA, b"\0")
    assert answer(queue, entry(kind, auth=2, mac=out, **f)) == (1, 2, 1, 0)


def test_published_digests(queue: Entries, kind: int) -> None:
    """FIPS 180-4 and GB/T 32905 on "abc"; RFC 4231, case 2; RFC 4493, example 2."""
    for code, data, key, expected in (
        (1, b"abc", b"", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (0x25, b"abc", b"", "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"),
        (
            0x11,
            b"what do ya want for nothing?",
            b"Jefe",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (0x21, PLAIN[:16], KEY128, "070a16b46b4d4144f79bdd9dd04a287c"),
    ):
        out = queue.room(32)
        sqe = entry(
            kind, auth=1, hash=code, mac_words=len(expected) // 8, hlen=len(data), src=queue.place(data), mac=out,
            hkey=queue.place(key), hkey_words=len(key) // 4,
        )  # fmt: skip
        assert answer(queue, sqe) == (1, 0, 1, 0)
        assert queue.peek(out, len(expected) // 2).hex() == expected


def sealed(queue: Entries, kind: int, aad: bytes, text: bytes, tag: bytes, **f: int) -> tuple[bytes, bytes]:
    """Encrypt, check, and decrypt what has associated data before it."""
    out, mac = queue.room(len(aad) + len(text)), queue.room(len(tag))
    common = {"dst": 1, "clen": len(text), "coff": len(aad), "scene": 1, "icv": len(tag), **f}
    sqe = entry(kind, cipher=1, auth=1, src=queue.place(aad + text), dest=out, mac=mac, **common)
    assert answer(queue, sqe) == (1, 0, 3, 0)
    made, found = queue.peek(out, len(aad) + len(text)), queue.peek(mac, len(tag))
    assert made[: len(aad)] == b"\xee" * len(aad), "what is before the offset is left alone"
    back = queue.room(len(aad) + len(text))
    sqe = entry(
        kind, cipher=2, auth=2, order=1, src=queue.place(aad + made[len(aad) :]), dest=back, mac=mac, **common
    )
    assert answer(queue, sqe) == (1, 1, 3, 0)
    assert queue.peek(back, len(aad) + len(text))[len(aad) :] == text
    queue.memory.poke(mac - VA, bytes([found[0] ^ 1]))
    assert answer(queue, sqe) == (1, 2, 3, 0)
    return made[len(aad) :], found


def test_gcm(queue: Entries, kind: int) -> None:
    """The GCM specification's test case 4, and RFC 8998's for SM4."""
    key = bytes.fromhex("feffe9928665731c6d6a8f9467308308")
    text = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    aad = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    tag = bytes.fromhex("5bc94fbc3221a5db94fae95ae7121a47")
    f = {
        "alg": AES,
        "mode": GCM,
        "key": queue.place(key),
        "iv": queue.place(bytes.fromhex("cafebabefacedbaddecaf888")),
        "hlen": len(aad),
    }
    made, found = sealed(queue, kind, aad, text, tag, **f)
    assert found == tag
    assert made.hex().startswith("42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e")
    assert sealed(queue, kind, aad, text, tag[:12], **f)[1] == tag[:12]
    f = {
        "alg": SM4, "mode": GCM, "key": queue.place(bytes.fromhex("0123456789abcdeffedcba9876543210")),
        "iv": queue.place(bytes.fromhex("00001234567800000000abcd")), "hlen": len(aad),
    }  # fmt: skip
    text = b"".join(bytes([byte]) * 8 for byte in (0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF, 0xEE, 0xAA))
    made, found = sealed(queue, kind, aad, text, bytes(16), **f)
    assert found.hex() == "83de3541e4c2b58177e065a9bf7b62ec"


def test_ccm(queue: Entries, kind: int) -> None:
    """RFC 3610, packet vector 1."""
    key, nonce = bytes(range(0xC0, 0xD0)), bytes.fromhex("00000003020100a0a1a2a3a4a5")
    aad, text = bytes(range(8)), bytes(range(8, 31))
    first = bytes([0x59]) + nonce + len(text).to_bytes(2, "big")
    f = {
        "alg": AES, "mode": CCM, "key": queue.place(key), "iv": queue.place(b"\1" + nonce + b"\0\1"), "hiv": queue.place(first),
        "hlen": len(aad), "ai": 1,
    }  # fmt: skip
    made, found = sealed(queue, kind, aad, text, bytes(8), **f)
    assert made.hex() == "588c979a61c663d2f066d0c2c0f989806d5f6b61dac384"
    assert found.hex() == "17e8d12cfdf926e0"


def test_cbc_and_hmac(queue: Entries, kind: int) -> None:
    aad, key = b"associated data!", b"h" * 32
    f = {
        "alg": AES, "mode": CBC, "key": queue.place(KEY128), "iv": queue.place(IV), "hlen": len(aad) + len(PLAIN), "hash": 0x11,
        "mac_words": 8, "hkey": queue.place(key), "hkey_words": 8,
    }  # fmt: skip
    made, found = sealed(queue, kind, aad, PLAIN, bytes(32), **f)
    assert made.hex() == CIPHERS[2][5]
    assert found == hmac.digest(key, aad + made, "sha256")


def test_in_place_and_scattered(queue: Entries, kind: int) -> None:
    """Source and destination in pieces that do not fit each other; and no destination at all."""
    at = queue.place(PLAIN)
    source = scatter(queue, [(at, 10), (at + 10, 1), (at + 11, 53)])
    out = queue.room(64)
    destination = scatter(queue, [(out + 60, 4), (out, 60)])
    f = {"cipher": 1, "alg": AES, "mode": CBC, "key": queue.place(KEY128), "iv": queue.place(IV), "clen": 64}
    assert answer(queue, entry(kind, src=source, src_sgl=1, dest=destination, dst_sgl=1, dst=1, **f)) == (
        1,
        0,
        2,
        0,
    )
    made = bytes.fromhex(str(CIPHERS[2][5]))
    assert queue.peek(out + 60, 4) + queue.peek(out, 60) == made
    assert answer(queue, entry(kind, src=source, src_sgl=1, **f)) == (1, 0, 2, 0)
    assert queue.peek(at, 64) == made
    assert answer(queue, entry(kind, src=at, **{**f, "cipher": 2})) == (1, 0, 2, 0)
    assert queue.peek(at, 64) == PLAIN


BAD, MEMORY = 0xE1, 0xE3


@pytest.mark.parametrize(
    "f",
    [
        {}, {"cipher": 3}, {"auth": 3}, {"cipher": 1, "alg": 5}, {"cipher": 1, "alg": AES, "key_code": 3},
        {"cipher": 1, "alg": AES, "mode": 8}, {"cipher": 1, "alg": AES, "mode": 9}, {"cipher": 1, "alg": SM4, "mode": XTS},  # one key twice
        {"cipher": 1, "alg": DES3, "mode": XTS, "key_code": 1},
        {"cipher": 1, "alg": AES, "mode": XTS, "key_code": 1}, {"cipher": 1, "alg": AES, "mode": ECB, "clen": 15},
        {"cipher": 1, "alg": AES, "mode": XTS, "clen": 15}, {"cipher": 1, "alg": DES3, "mode": CTR, "key_code": 1},
        *({"cipher": 1, "alg": DES3, "mode": mode, "key_code": 1, "icv": 16} for mode in (CCM, GCM)),
        {"cipher": 1, "alg": AES, "clen": 0xFFFFFF}, {"auth": 1, "hash": 8, "mac_words": 4}, {"auth": 1, "hash": 0x22, "mac_words": 4},
        {"auth": 1, "hash": 1, "mac_words": 0}, {"auth": 1, "hash": 1, "mac_words": 8, "ai": 1},
        {"auth": 1, "hash": 1, "mac_words": 8, "unpadded": 1}, {"auth": 1, "hash": 0x21, "mac_words": 4, "hkey_words": 3},
        {"cipher": 1, "auth": 1, "alg": AES, "mode": GCM, "scene": 7, "icv": 16},
        {"cipher": 1, "auth": 1, "alg": AES, "mode": GCM, "icv": 0},
        {"cipher": 1, "auth": 1, "alg": AES, "mode": CBC, "hash": 1, "mac_words": 8, "hlen": 8},
    ],
    ids=str,
)  # fmt: skip
def test_what_it_does_not_do(queue: Entries, kind: int, f: dict[str, int]) -> None:
    at = queue.place(bytes(256))
    sqe = entry(
        kind,
        **{
            "clen": 32,
            "hlen": 32,
            "src": at,
            "dest": at,
            "key": at,
            "iv": at,
            "hkey": at,
            "mac": at,
            "hiv": at,
        }
        | f,
    )
    done, icv, flag, error = answer(queue, sqe)
    assert (done, icv, flag, error) == (1, 0, 0, BAD)


#: Name -> what it takes beside the length, the field that has it, and lengths that cannot be and some that can.
TAGS: dict[str, tuple[dict[str, int], str, list[int], list[int]]] = {
    **{
        f"{name}{'-hmac' * bool(keyed)}": (
            {"auth": 1, "hash": code + keyed, "hkey_words": 4 * bool(keyed)},
            "mac_words", [0, size // 4 + 1, 31], [1, size // 4],
        )
        for code, (name, size) in enumerate(
            [("sha1", 20), ("sha256", 32), ("md5", 16), ("sha224", 28), ("sha384", 48), ("sha512", 64), ("sha512_224", 28), ("sha512_256", 32)]
        )
        for keyed in (0, 0x10)
    },
    "sm3": ({"auth": 1, "hash": 0x25}, "mac_words", [0, 9, 31], [1, 8]),
    "sm3-hmac": ({"auth": 1, "hash": 0x26, "hkey_words": 4}, "mac_words", [0, 9, 31], [1, 8]),
    "cmac": ({"auth": 1, "hash": 0x21, "hkey_words": 4}, "mac_words", [0, 5, 31], [1, 4]),
    "cbc-hmac": (
        {"cipher": 1, "auth": 1, "alg": AES, "mode": CBC, "hash": 0x11, "hkey_words": 4}, "mac_words", [0, 9, 31], [1, 8],
    ),
    "gcm": ({"cipher": 1, "auth": 1, "alg": AES, "mode": GCM}, "icv", [0, 3, 17, 40, 63], [4, 12, 13, 16]),
    "ccm": ({"cipher": 1, "auth": 1, "alg": AES, "mode": CCM}, "icv", [0, 2, 5, 15, 17, 40, 63], [4, 8, 16]),
}  # fmt: skip


@pytest.mark.parametrize("verify", [False, True], ids=["compute", "verify"])
@pytest.mark.parametrize("name", TAGS)
def test_tags_that_are_none(queue: Entries, kind: int, name: str, verify: bool) -> None:
    """A tag that is longer than what there is of it, or has no bytes, is refused before anything is written."""
    f, field, wrong, right = TAGS[name]
    if verify:
        f = f | {"auth": 2, "cipher": 2 * f.get("cipher", 0), "order": 1}
    at, out, mac = queue.place(bytes(64)), queue.room(32), queue.room(128)
    f = f | {
        "clen": 32, "hlen": 32, "dst": 1, "src": at, "dest": out, "key": at, "iv": at, "hkey": at, "hiv": at, "mac": mac,
    }  # fmt: skip
    for length in wrong:
        assert answer(queue, entry(kind, **f, **{field: length})) == (1, 0, 0, BAD), length
        assert queue.peek(out, 32) + queue.peek(mac, 128) == b"\xee" * 160
    for length in right:
        assert answer(queue, entry(kind, **f, **{field: length}))[3] == 0, length


def test_garbage_after_a_digest_is_not_called_right(queue: Entries, kind: int) -> None:
    data = bytes(100)
    mac = queue.place(hashlib.sha1(data).digest() + b"U" * 44)
    f = {"auth": 2, "hash": 0, "hlen": 100, "src": queue.place(data), "mac": mac}
    assert answer(queue, entry(kind, **f, mac_words=16)) == (1, 0, 0, BAD)
    assert answer(queue, entry(kind, **f, mac_words=5)) == (1, 1, 1, 0)


def test_xts_of_sm4_by_either_standard(new_machine: Any) -> None:
    """Type 3 has a bit for that of GB/T 17964, whose tweak goes the other way; the model has IEEE 1619's."""
    queue = a_queue(new_machine, 3)
    at, out = queue.place(bytes(range(64))), queue.room(32)
    f = {
        "cipher": 1,
        "alg": SM4,
        "mode": XTS,
        "clen": 32,
        "dst": 1,
        "src": at,
        "dest": out,
        "key": at,
        "iv": at,
    }
    assert answer(queue, entry(3, **f, counter=1))[3] == BAD
    assert answer(queue, entry(3, **f))[3] == 0
    assert queue.peek(out, 32) != b"\xee" * 32


def test_empty_input(queue: Entries, kind: int) -> None:
    """Type 2 has none."""
    at, out = queue.place(bytes(64)), queue.room(32)
    f = {"auth": 1, "hash": 1, "mac_words": 8, "src": at, "mac": out}
    assert answer(queue, entry(kind, **f))[3] == (BAD if kind == 2 else 0)
    assert queue.peek(out, 32) == (b"\xee" * 32 if kind == 2 else hashlib.sha256().digest())


def test_a_type_that_is_none_and_one_to_skip(queue: Entries, kind: int) -> None:
    assert answer(queue, bytes([5]) + bytes(127)) == (1, 0, 0, BAD)
    assert answer(queue, entry(kind, skip=1)) == (1, 0, 0, 0)


def test_a_type_of_the_other_generation(queue: Entries, kind: int) -> None:
    """Type 2 is of queue manager v2, type 3 of v3; whoever sends the other is told so."""
    out = queue.room(32)
    f = {"auth": 1, "hash": 1, "mac_words": 8, "hlen": 32, "src": queue.place(bytes(32)), "mac": out}
    assert answer(queue, entry(5 - kind, **f)) == (1, 0, 0, BAD)
    assert answer(queue, entry(5 - kind, skip=1)) == (1, 0, 0, BAD)
    assert queue.peek(out, 32) == b"\xee" * 32
    assert answer(queue, entry(kind, **f)) == (1, 0, 1, 0)


@pytest.mark.parametrize("which", ["src", "dest", "key", "iv"])
def test_memory_that_is_not_there(queue: Entries, kind: int, which: str) -> None:
    places = dict.fromkeys(("src", "dest", "key", "iv"), queue.place(bytes(64)))
    places[which] = VA - (1 << 30)
    assert answer(queue, entry(kind, cipher=1, alg=AES, mode=CBC, clen=64, dst=1, **places)) == (
        1,
        0,
        0,
        MEMORY,
    )


def test_a_dump_shows_the_entry(queue: Entries, kind: int) -> None:
    from wdasync_hip08 import dump

    crypt(queue, kind, PLAIN, KEY128, IV, cipher=1, alg=AES, mode=CBC)
    text = dump(queue.machine)
    assert f"type {kind}, done 1, ICV 0, error 0x0" in text
    assert "tag 0xbeef" in text

"""The HPRE engine, by descriptors that are written by hand, against the package `cryptography`."""

from __future__ import annotations

import math
import secrets
import struct
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dh, ec, rsa, x448, x25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)

from wdasync.operations import KeySpec
from wdasync_hip08.functions import HPRE
from wdasync_uacce.curves import LADDERS
from wdasync_uacce.hpre_descriptor import HpreAlgorithm
from wdasync_uacce.hpre_keys import HpreKey

from .entries import VA, Entries
from .lone_machine import LoneMachine

TAG = 0xFEED_F00D_1234_5678
P256 = {
    "p": 2**256 - 2**224 + 2**192 + 2**96 - 1,
    "a": 2**256 - 2**224 + 2**192 + 2**96 - 4,
    "b": 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    "n": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "gx": 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    "gy": 0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
}


@pytest.fixture
def machine(new_machine: Any) -> LoneMachine:
    made: LoneMachine = new_machine(functions=(HPRE,), generation=3)
    return made


@pytest.fixture
def queue(machine: LoneMachine) -> Entries:
    return Entries(machine, HPRE)


def numbers(size: int, *values: int) -> bytes:
    return b"".join(value.to_bytes(size, "big") for value in values)


def words(
    queue: Entries, algorithm: int, size: int, key: int, given: int, out: int, dw1: int = 0
) -> list[int]:
    entry = struct.pack("<2I4Q24x", 1 << 30 | algorithm, size // 8 - 1 | dw1, key, given, out, TAG)
    answer = queue.run(entry)
    assert answer[8:24] == entry[8:24], "addresses of key and input"
    assert answer[32:] == entry[32:], "the tag, and what follows"
    assert answer[4:8] == entry[4:8]
    return list(struct.unpack("<16I", answer))


def work(
    queue: Entries, algorithm: int, size: int, key: bytes, given: bytes, made: int, dw1: int = 0
) -> bytes:
    """The output block of an entry that succeeds."""
    out = queue.room(made)
    answer = words(queue, algorithm, size, queue.place(key), queue.place(given), out, dw1)
    assert answer[0] == 3 << 30 | algorithm
    return queue.peek(out, made)


def fails(queue: Entries, algorithm: int, size: int, key: bytes, given: bytes, made: int) -> int:
    """The error type of an entry that does not, and writes nothing."""
    out = queue.room(made)
    answer = words(queue, algorithm, size, queue.place(key), queue.place(given), out)
    assert queue.peek(out, made) == b"\xee" * made
    assert answer[0] >> 30 == 3
    return answer[0] >> 5 & 0x7FF


@pytest.fixture(scope="module", params=[1024, 2048, 3072, 4096])
def key(request: pytest.FixtureRequest) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, request.param)


def test_rsa(queue: Entries, key: rsa.RSAPrivateKey) -> None:
    size, private = key.key_size // 8, key.private_numbers()
    n, e = private.public_numbers.n, private.public_numbers.e
    message = secrets.randbelow(n)
    crt = numbers(size // 2, private.dmq1, private.dmp1, private.q, private.p, private.iqmp)
    signed = work(queue, 0x1, size, crt, numbers(size, message), size)
    assert int.from_bytes(signed, "big") == pow(message, private.d, n)
    assert work(queue, 0x0, size, numbers(size, e, n), signed, size) == numbers(size, message)
    if size == 128:
        assert work(queue, 0x0, size, numbers(size, private.d, n), numbers(size, message), size) == signed


def test_rsa_keys_from_primes(queue: Entries, key: rsa.RSAPrivateKey) -> None:
    size, private = key.key_size // 8, key.private_numbers()
    given = numbers(size, 65537) + numbers(size // 2, private.p, private.q)
    n = private.public_numbers.n
    d = pow(65537, -1, math.lcm(private.p - 1, private.q - 1))
    assert work(queue, 0x2, size, given, b"", 2 * size) == numbers(size, d, n)
    expected = numbers(size, d, n) + numbers(size // 2, private.iqmp, private.dmq1, private.dmp1)
    assert work(queue, 0x3, size, given, b"", len(expected)) == expected


@pytest.mark.filterwarnings("ignore:Diffie-Hellman")
def test_dh(queue: Entries) -> None:
    numbers_1024 = dh.DHParameterNumbers(
        int(
            "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD"
            "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"
            "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF",
            16,
        ),
        2,
    )
    ours, theirs = (numbers_1024.parameters().generate_private_key() for _ in range(2))
    secret, p = ours.private_numbers().x, numbers_1024.p
    public = work(queue, 0x4, 128, numbers(128, secret, p), b"", 128)
    assert int.from_bytes(public, "big") == ours.public_key().public_numbers().y
    peer = theirs.public_key().public_numbers().y
    shared = work(queue, 0x5, 128, numbers(128, secret, p), numbers(128, peer), 128)
    assert shared == ours.exchange(theirs.public_key()).rjust(128, b"\0")


CURVES = [
    (ec.SECP256R1(), 32, P256),
    (
        ec.SECP256K1(), 32,
        {
            "p": 2**256 - 2**32 - 977, "a": 0, "b": 7,
            "n": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
            "gx": 0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
            "gy": 0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
        },
    ),
    (
        ec.SECP384R1(), 48,
        {
            "p": 2**384 - 2**128 - 2**96 + 2**32 - 1, "a": 2**384 - 2**128 - 2**96 + 2**32 - 4,
            "b": 0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
            "n": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
            "gx": 0xAA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB7,
            "gy": 0x3617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F,
        },
    ),
    (
        ec.SECP521R1(), 72,
        {
            "p": 2**521 - 1, "a": 2**521 - 4,
            "b": 0x51953EB9618E1C9A1F929A21A0B68540EEA2DA725B99B315F3B8B489918EF109E156193951EC7E937B1652C0BD3BB1BF073573DF883D2C34F1EF451FD46B503F00,
            "n": 2**521 - 2**264 + 0xFA51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409,
            "gx": 0xC6858E06B70404E9CD9E3ECB662395B4429C648139053FB521F828AF606B4D3DBAA14B5E77EFE75928FE1DC127A2FFA8DE3348B3C1856A429BF97E7E31C2E5BD66,
            "gy": 0x11839296A789A3BC0045C8A5FB42C7D1BD998F54449579B446817AFBD17273E662C97EE72995EF42640C550B9013FAD0761353C7086A272C24088BE94769FD16650,
        },
    ),
]  # fmt: skip
each_curve = pytest.mark.parametrize(("curve", "size", "c"), CURVES, ids=[row[0].name for row in CURVES])


def signer(size: int, c: dict[str, int], d: int) -> bytes:
    return numbers(size, c["p"], c["a"], d, c["b"], c["n"], c["gx"], c["gy"])


def verifier(size: int, c: dict[str, int], qx: int, qy: int) -> bytes:
    return numbers(size, c["p"], c["a"], c["b"], c["n"], c["gx"], c["gy"], qx, qy)


@each_curve
def test_points(queue: Entries, curve: Any, size: int, c: dict[str, int]) -> None:
    ours, theirs = (ec.generate_private_key(curve) for _ in range(2))
    peer = theirs.public_key().public_numbers()
    d = ours.private_numbers().private_value
    shared = work(queue, 0xD, size, signer(size, c, d), numbers(size, peer.x, peer.y), 2 * size)
    width = (curve.key_size + 7) // 8
    assert shared[size - width : size] == ours.exchange(ec.ECDH(), theirs.public_key())
    mine = ours.public_key().public_numbers()
    assert work(queue, 0xD, size, signer(size, c, d), numbers(size, c["gx"], c["gy"]), 2 * size) == numbers(
        size, mine.x, mine.y
    )


@each_curve
def test_ecdsa(queue: Entries, curve: Any, size: int, c: dict[str, int]) -> None:
    key = ec.generate_private_key(curve)
    d, q = key.private_numbers().private_value, key.public_key().public_numbers()
    digest = secrets.token_bytes(32)
    e, k = int.from_bytes(digest, "big"), secrets.randbelow(c["n"] - 1) + 1
    block = work(queue, 0xE, size, signer(size, c, d), numbers(size, e, k), 2 * size)
    r, s = int.from_bytes(block[:size], "big"), int.from_bytes(block[size:], "big")
    key.public_key().verify(encode_dss_signature(r, s), digest, ec.ECDSA(Prehashed(hashes.SHA256())))
    r, s = decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))
    for values, valid in (
        ((e, s, r), True),
        ((e, r, s), False),
        ((e ^ 1, s, r), False),
        ((e, s, 0), False),
        ((e, c["n"], r), False),
    ):
        at, given = queue.place(verifier(size, c, q.x, q.y)), queue.place(numbers(size, *values))
        answer = words(queue, 0xF, size, at, given, 0xF0)
        assert answer[0] == 3 << 30 | 0xF
        assert answer[6] == 0xF0 | valid << 1


def test_a_point_that_is_not_on_the_curve(queue: Entries) -> None:
    """As UADK's benchmark sends one, one byte off."""
    x, y = int("04" + "11" * 31, 16), int("22" * 32, 16)
    one = work(queue, 0xD, 32, signer(32, P256, 1), numbers(32, x, y), 64)
    assert one == numbers(32, x, y)
    assert work(queue, 0xD, 32, signer(32, P256, 12345), numbers(32, x, y), 64) != one


@pytest.mark.parametrize("quarter", [False, True], ids=["A", "(A-2)/4"])
@pytest.mark.parametrize(
    ("kind", "size", "p", "a"),
    [(x25519.X25519PrivateKey, 32, 2**255 - 19, 486662), (x448.X448PrivateKey, 72, 2**448 - 2**224 - 1, 156326)],
)  # fmt: skip
def test_ladders(queue: Entries, kind: Any, size: int, p: int, a: int, quarter: bool) -> None:
    raw = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    ours, theirs = kind.generate(), kind.generate()
    scalar = bytearray(
        ours.private_bytes(raw[0], serialization.PrivateFormat.Raw, serialization.NoEncryption())
    )
    scalar[0] &= 248 if size == 32 else 252
    scalar[-1] = scalar[-1] & 127 | 64 if size == 32 else scalar[-1] | 128
    u = int.from_bytes(theirs.public_key().public_bytes(*raw), "little")
    key = numbers(size, p, (a - 2) // 4 if quarter else a, int.from_bytes(scalar, "little"))
    shared = work(queue, 0x10, size, key, numbers(size, u), size)
    assert int.from_bytes(shared, "big") == int.from_bytes(ours.exchange(theirs.public_key()), "little")


@pytest.mark.parametrize(
    ("name", "p", "a24", "scalar", "u", "made"),
    [
        (
            "x25519", 2**255 - 19, 121665,
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "x448", 2**448 - 2**224 - 1, 39081,
            "3d262fddf9ec8e88495266fea19a34d28882acef045104d0d1aae121700a779c984c24f8cdd78fbff44943eba368f54b29259a4f1c600ad3",
            "06fce640fa3487bfda5f6cf2d5263f8aad88334cbd07437f020f08f9814dc031ddbdc38c19c6da2583fa5429db94ada18aa7a7fb4ef8a086",
            "ce3e4ff95a60dc6697da1db1d85e6afbdf79b50a2412d7546d5f239fe14fbaadeb445fc66a01b0779d98223961111e21766282f73dd96b6f",
        ),
    ],
)  # fmt: skip
def test_the_constant_and_the_answers_of_rfc_7748(
    queue: Entries, name: str, p: int, a24: int, scalar: str, u: str, made: str
) -> None:
    """Sections 5 and 5.2: the constant is a24 = (A − 2) / 4; the driver writes it, and with it the engine is right."""
    ladder = LADDERS[name]
    assert (ladder.p, ladder.a) == (p, a24)
    size, secret = ladder.size, ladder.scalar(bytes.fromhex(scalar))
    key = HpreKey(KeySpec(name, KINDS[name].from_private_bytes(bytes.fromhex(scalar))))
    assert key.private == (HpreAlgorithm.MONTGOMERY, numbers(size, p, a24, secret))
    point = int.from_bytes(bytes.fromhex(u), "little") & (1 << ladder.bits) - 1
    answer = work(queue, 0x10, size, numbers(size, p, a24, secret), numbers(size, point), size)
    assert int.from_bytes(answer, "big").to_bytes(ladder.nbytes, "little").hex() == made


KINDS: dict[str, Any] = {"x25519": x25519.X25519PrivateKey, "x448": x448.X448PrivateKey}

SM2 = {
    "p": 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF,
    "a": 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFC,
    "b": 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93,
    "n": 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123,
    "gx": 0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7,
    "gy": 0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0,
}


def test_sm2_signature_of_the_standard(queue: Entries) -> None:
    """The example of GB/T 32918.5, annex A."""
    d = 0x3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8
    k = 0x59276E27D506861A16680F3AD9C02DCCEF3CC1FA3CDBE4CE6D54B80DEAC1BC21
    e = 0xF0B43E94BA45ACCAACE692ED534382EB17E6AB5A19CE7B31F4486FDFC0D28640
    r = 0xF5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3
    s = 0xB1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA
    q = (
        0x09F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020,
        0xCCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13,
    )
    assert work(queue, 0x12, 32, signer(32, SM2, d), numbers(32, e, k), 64) == numbers(32, r, s)
    assert work(queue, 0xD, 32, signer(32, SM2, d), numbers(32, SM2["gx"], SM2["gy"]), 64) == numbers(32, *q)
    for values, valid in (((e, s, r), True), ((e, r, s), False), ((e, 0, r), False)):
        at, given = queue.place(verifier(32, SM2, *q)), queue.place(numbers(32, *values))
        assert words(queue, 0x13, 32, at, given, 0)[6] == valid << 1


def test_sm2_keys_and_signatures_that_the_device_picks(queue: Entries) -> None:
    made = work(queue, 0x11, 32, verifier(32, SM2, 0, 0), numbers(32, SM2["gx"], SM2["gy"]), 96)
    qx, qy, d = (int.from_bytes(made[at : at + 32], "big") for at in (0, 32, 64))
    assert work(queue, 0xD, 32, signer(32, SM2, d), numbers(32, SM2["gx"], SM2["gy"]), 64) == made[:64]
    signed = work(queue, 0x12, 32, signer(32, SM2, d), numbers(32, 99), 64, dw1=1 << 25)
    again = work(queue, 0x12, 32, signer(32, SM2, d), numbers(32, 99), 64, dw1=1 << 25)
    assert signed != again
    r, s = int.from_bytes(signed[:32], "big"), int.from_bytes(signed[32:], "big")
    at, given = queue.place(verifier(32, SM2, qx, qy)), queue.place(numbers(32, 99, s, r))
    assert words(queue, 0x13, 32, at, given, 0)[6] == 2


BAD_DESCRIPTOR, ARITHMETIC = 1, 2


@pytest.mark.parametrize(
    ("algorithm", "size", "key", "error"),
    [
        (0x0, 128, numbers(128, 3, 0), ARITHMETIC),
        (0x1, 128, bytes(320), ARITHMETIC),
        (0x2, 128, numbers(128, 2) + numbers(64, 11, 13), ARITHMETIC),
        (0x5, 128, bytes(256), ARITHMETIC),
        (0xD, 32, signer(32, P256, 0), ARITHMETIC),
        (0xD, 32, signer(32, P256, P256["n"]), ARITHMETIC),
        (0xE, 32, bytes(224), ARITHMETIC),
        (0x10, 32, bytes(96), ARITHMETIC),
        (0x10, 40, bytes(120), BAD_DESCRIPTOR),
        (0xD, 128, bytes(1024), BAD_DESCRIPTOR),
        (0x6, 128, bytes(256), BAD_DESCRIPTOR),
        (0x14, 32, bytes(256), BAD_DESCRIPTOR),
        (0x1F, 128, bytes(256), BAD_DESCRIPTOR),
    ],
)
def test_what_gives_no_result(queue: Entries, algorithm: int, size: int, key: bytes, error: int) -> None:
    given = numbers(size, P256["gx"], P256["gy"]) if size < 48 else bytes(2 * size)
    assert fails(queue, algorithm, size, key, given, 2 * size) == error
    assert queue.machine.chip.blocks[HPRE.name].engine.refused == (error == BAD_DESCRIPTOR)  # type: ignore[attr-defined]


CURVES_FROM_V3 = [0xD, 0xE, 0xF, 0x10, 0x11, 0x12, 0x13]


@pytest.mark.parametrize("algorithm", CURVES_FROM_V3, ids=hex)
def test_the_older_generation_has_no_curves(new_machine: Any, algorithm: int) -> None:
    """On queue manager v2 there are RSA and DH; the rest is an unknown algorithm."""
    older = Entries(new_machine(functions=(HPRE,), generation=2), HPRE)
    key = numbers(32, *[P256[name] for name in ("p", "a", "b", "n", "gx", "gy", "gx", "gy")])
    given = numbers(32, P256["gx"], P256["gy"], 1)
    assert fails(older, algorithm, 32, key, given, 96) == BAD_DESCRIPTOR
    assert older.machine.chip.blocks[HPRE.name].engine.refused == 1  # type: ignore[attr-defined]


def test_what_the_older_generation_has(new_machine: Any) -> None:
    older = Entries(new_machine(functions=(HPRE,), generation=2), HPRE)
    assert work(older, 0x0, 128, numbers(128, 3, 1001), numbers(128, 7), 128) == numbers(128, 343)
    assert work(older, 0x4, 128, numbers(128, 5, 1001), b"", 128) == numbers(128, 32)
    assert work(older, 0x5, 128, numbers(128, 3, 1001), numbers(128, 7), 128) == numbers(128, 343)


@pytest.mark.parametrize("which", ["key", "input", "output"])
def test_memory_that_is_not_there(queue: Entries, which: str) -> None:
    places = {
        "key": queue.place(numbers(128, 3, 1001)),
        "input": queue.place(numbers(128, 7)),
        "output": queue.room(128),
    }
    places[which] = VA - (1 << 30)
    answer = words(queue, 0x0, 128, places["key"], places["input"], places["output"])
    assert answer[0] == 3 << 30 | 1 << 21


def test_many_at_once_end_in_their_order(queue: Entries) -> None:
    key = queue.place(numbers(128, 3, 1 << 1000 | 1))
    outs = []
    for number in range(20):
        outs.append(queue.room(128))
        queue.submit(
            struct.pack("<2I4Q24x", 1 << 30, 15, key, queue.place(numbers(128, number)), outs[-1], number)
        )
    queue.machine.run()
    assert [int.from_bytes(queue.peek(out, 128), "big") for out in outs] == [
        number**3 for number in range(20)
    ]
    assert [queue.entry(slot)[3] >> 6 for slot in range(20)] == [3] * 20


def test_a_dump_shows_the_entry(queue: Entries) -> None:
    from wdasync_hip08 import dump

    work(queue, 0x0, 128, numbers(128, 3, 1001), numbers(128, 7), 128)
    text = dump(queue.machine)
    assert "power with 128 bytes an operand" in text
    assert "tag 0xfeedf00d12345678" in text

"""Published answers that the package `cryptography-vectors` has not, as data: a few of each algorithm."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CCM", "CIPHERS", "EXCHANGES", "MACS", "SealAnswer"]

#: Algorithm -> key, message, code. Of HMAC-SHA-512/t: Wycheproof; of HMAC-SM3: GM/T 0042.
MACS: dict[str, list[tuple[str, str, str]]] = {
    "hmac-sha512-256": [
        (
            "1e225cafb90339bba1b24076d4206c3e79c355805d851682bc818baa4f5a7779", "",
            "baae6ac18c37dbf3a71b22741ced96e1e2dbe6e7a737142e14bd93fda144dad0",
        ),
        (
            "8159fd15133cd964c9a6964c94f0ea269a806fd9f43f0da58b6cd1b33d189b2a", "77",
            "aee7a277e0f36a042368ae52b1337ba13f1c00fdb2dfb1d5f0c304e485c3a7dc",
        ),
        (
            "8e540cb30c94836ae2a5950f355d482a7002e255207e94fda3f7ef1a099013a0",
            "d6500f95e11262e308bf3df4df4b855f33e857563d4543f195639a0a17b442eb9fdcc1367d2eee75c8f805730b89290f",
            "46b170a647cb6bc3ca975195e62f54e1f1f966cf42ce553546f4d43269131d14",
        ),
    ],
    "hmac-sha512-224": [
        (
            "7eef1e40253350eb9307cc6bd8ab8df434bc2faf7095e45b50ffdd64", "",
            "de1ea6d2880770285591af1f04be43e44fd55ae0c5130b5a18af7d9b",
        ),
        (
            "8648ee936c6ebc5ae4bb48c1139a54e3ac5d897beec492dc4d740752", "2e",
            "5979cc5dcdaf49daaadfc3388de3f5a04d183ebc896fd4f9dbdcc513",
        ),
        (
            "6c98d1feafff9861351966bc6ed19ed467f9dc767fa0df6b56955554",
            "e99d51a1d9a25c5842501a5383133578c8debe501581b1610f7575519bbd26f01ab7cbe069bfd5df3699a2fea5b461a3",
            "2d14e4be0d01fc2d8672d99100c00e8e04189163e4c933b6354b880f",
        ),
    ],
    "hmac-sm3": [
        (
            bytes(range(1, 33)).hex(),
            (2 * b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq").hex(),
            "ca05e144ed05d1857840d1f318a4a8669e559fc8391f414485bfdf7bb408963a",
        ),
    ],
}  # fmt: skip


#: Algorithm -> key, initial value, text, ciphertext. Of SM4-XTS: OpenSSL's, by IEEE 1619.
CIPHERS: dict[str, list[tuple[str, str, str, str]]] = {
    "sm4-xts": [
        (
            "2b7e151628aed2a6abf7158809cf4f3c000102030405060708090a0b0c0d0e0f", "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17",
            "e9538251c71d7b80bbe4483fef497bd1b3db1a3e60408c575d63ff7db39f83260869f9e2585fec9f0b863bf8fd784b8627d16c0db6d2cfc7",
        ),
    ],
}  # fmt: skip


class SealAnswer(NamedTuple):
    """In hexadecimal digits."""

    key: str
    nonce: str
    associated: str
    text: str
    sealed: str


#: Algorithm -> answers. RFC 8998, appendix A.2.
CCM: dict[str, list[SealAnswer]] = {
    "sm4-ccm": [
        SealAnswer(
            "0123456789abcdeffedcba9876543210", "00001234567800000000abcd",
            "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            "".join(8 * 2 * letter for letter in "abcdefea"),
            "48af93501fa62adbcd414cce6034d895dda1bf8f132f042098661572e7483094fd12e518ce062c98acee28d95df4416b"
            "ed31a2f04476c18bb40c84a74b97dc5b16842d4fa186f56ab33256971fa110f4",
        ),
    ],
}  # fmt: skip

#: Algorithm -> private number, the peer's point, secret. Wycheproof: an ordinary one, and secrets that are hardly any.
EXCHANGES: dict[str, list[tuple[str, str, str]]] = {
    "ecdh-secp256k1": [
        (
            "f4b7ff7cccc98813a69fae3df222bfe3f4e28f764bf91b4a10d8096ce446b254",
            "04d8096af8a11e0b80037e1ee68246b5dcbb0aeb1cf1244fd767db80f3fa27da2b"
            "396812ea1686e7472e9692eaf3e958e50e9500d3b4c77243db1f2acd67ba9cc4",
            "544dfae22af6af939042b1d85b71a1e49e9a5614123c4d6ad0c8af65baf87d65",
        ),
        (
            "a2b6442a37f8a3764aeff4011a4c422b389a1e509669c43f279c8b7e32d80c3a",
            "04965ff42d654e058ee7317cced7caf093fbb180d8d3a74b0dcd9d8cd47a39d5cb"
            "9c2aa4daac01a4be37c20467ede964662f12983e0b5272a47a5f2785685d8087",
            "0000000000000000000000000000000000000000000000000000000000000001",
        ),
        (
            "a2b6442a37f8a3764aeff4011a4c422b389a1e509669c43f279c8b7e32d80c3a",
            "04166aed3bc281705444f933913f670957a118f8da2c71bd301a90929743e2ca58"
            "3514a7972e33d6fea1e377ef4184937f67b37e41ef3099c228a88f5bfb67e5b9",
            "00000000000000000000000000000000ffffffffffffffffffffffffffffffff",
        ),
    ],
}  # fmt: skip

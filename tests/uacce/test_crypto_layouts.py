"""The descriptors of HPRE and SEC: each field where the hardware has it, written down here again by hand."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wdasync_uacce.hpre_descriptor import BLOCKS, DH_SIZES, RSA_SIZES, Block, HpreAlgorithm, operand_size
from wdasync_uacce.hpre_descriptor import SQE as HPRE
from wdasync_uacce.layout import Layout, Owner
from wdasync_uacce.sec_descriptor import SQES


@pytest.mark.parametrize("layout", [HPRE, *SQES.values()], ids=lambda layout: layout.name)
@settings(deadline=None)
@given(data=st.data())
def test_pack_and_unpack_are_inverse(layout: Layout, data: st.DataObject) -> None:
    fields = {field.name: data.draw(st.integers(0, field.mask), field.name) for field in layout.fields}
    record = layout.pack(**fields)
    assert len(record) == layout.size
    assert layout.unpack(record) == fields


# -- HPRE -----------------------------------------------------------------------------------------------------------


def test_an_entry_of_hpre_by_hand() -> None:
    record = HPRE.pack(
        algorithm=0xE, done=1, size=8, key=0x1111_2222_3333_4444, input=0x5555_6666_7777_8888, output=0x9999_AAAA_BBBB_CCCC,
        tag=0xDDDD_EEEE_FFFF_0123, sm2_length=0x1FF, fast_core=1,
    )  # fmt: skip
    assert struct.unpack("<16I", record) == (
        0x4000_000E, 0x8000_0008, 0x3333_4444, 0x1111_2222, 0x7777_8888, 0x5555_6666, 0xBBBB_CCCC, 0x9999_AAAA,
        0xFFFF_0123, 0xDDDD_EEEE, 0x1FF, 0, 0, 0, 0, 0,
    )  # fmt: skip


def test_an_answer_of_hpre_by_hand() -> None:
    record = struct.pack("<16I", 0xC000_000F | 0x7FF << 5 | 1 << 21, 0xF << 27, *[0] * 14)
    fields = HPRE.unpack(record)
    assert (fields["done"], fields["error"], fields["error1"], fields["sva_status"]) == (
        3,
        0x7FF,
        1 << 5,
        0xF,
    )


def test_what_belongs_to_the_device() -> None:
    mine = {field.name for field in HPRE.fields if field.owner is not Owner.HOST}
    assert mine == {"error", "error1", "done", "sva_status", "output"}


@pytest.mark.parametrize(
    ("algorithm", "key", "given", "output"),
    [
        (HpreAlgorithm.POWER, 256, 128, 128), (HpreAlgorithm.RSA_CRT, 320, 128, 128), (HpreAlgorithm.RSA_KEYS, 256, 0, 256),
        (HpreAlgorithm.RSA_CRT_KEYS, 256, 0, 448), (HpreAlgorithm.DH_2, 256, 0, 128), (HpreAlgorithm.DH, 256, 128, 128),
        (HpreAlgorithm.POINT, 896, 256, 256), (HpreAlgorithm.ECDSA_SIGN, 896, 256, 256),
        (HpreAlgorithm.ECDSA_VERIFY, 1024, 384, 0), (HpreAlgorithm.MONTGOMERY, 384, 128, 128),
    ],
)  # fmt: skip
def test_lengths_of_blocks(algorithm: HpreAlgorithm, key: int, given: int, output: int) -> None:
    blocks = BLOCKS[algorithm]
    assert [block.nbytes(128) for block in blocks[:3]] == [key, given, output]


def test_numbers_are_big_endian_and_right_aligned() -> None:
    block = Block(("first", "second"), ("half",)).pack(8, first=0x0102, second=1 << 63, half=0xABCD)
    assert block == bytes.fromhex("0000000000000102 8000000000000000 0000abcd")


def test_a_number_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(OverflowError):
        Block((), ("half",)).pack(8, half=1 << 32)


def test_operands_are_as_long_as_the_device_knows() -> None:
    assert [operand_size(bits, RSA_SIZES) for bits in (1, 1024, 1025, 2048, 4096, 4097)] == [
        128, 128, 256, 256, 512, None,
    ]  # fmt: skip
    assert operand_size(1536, DH_SIZES) == 192


# -- SEC ------------------------------------------------------------------------------------------------------------

#: name, byte of the word that it is in, bytes of that word, lowest bit, highest bit
TYPE_2 = [
    ("type", 0, 1, 0, 3), ("cipher", 0, 1, 4, 5), ("auth", 0, 1, 6, 7), ("order", 1, 1, 0, 0),
    ("destination_used", 1, 1, 1, 2), ("scene", 1, 1, 3, 6), ("source_list", 1, 1, 7, 7), ("destination_list", 2, 1, 2, 4),
    ("iv_source", 5, 1, 0, 1), ("padding", 5, 1, 2, 3), ("skip", 7, 1, 7, 7), ("mac_words", 8, 4, 0, 4),
    ("hash_key_words", 8, 4, 5, 10), ("hash", 8, 4, 11, 16), ("icv_bytes", 12, 2, 0, 5), ("stealing", 12, 2, 6, 8),
    ("key_code", 12, 2, 9, 11), ("mode", 12, 2, 12, 15), ("algorithm", 14, 1, 0, 3), ("hash_length", 16, 4, 0, 23),
    ("cipher_length", 20, 4, 0, 23), ("hash_offset", 24, 2, 0, 15), ("cipher_offset", 26, 2, 0, 15), ("tag", 40, 2, 0, 15),
    ("hash_bits", 48, 8, 0, 63), ("hash_iv", 56, 8, 0, 63), ("hash_key", 64, 8, 0, 63), ("mac", 72, 8, 0, 63),
    ("cipher_iv", 80, 8, 0, 63), ("cipher_key", 88, 8, 0, 63), ("source", 96, 8, 0, 63), ("destination", 104, 8, 0, 63),
    ("done", 112, 2, 0, 0), ("icv", 112, 2, 1, 3), ("flag", 112, 2, 7, 10), ("error", 114, 1, 0, 7), ("warning", 115, 1, 0, 7),
]  # fmt: skip

TYPE_3 = [
    ("type", 0, 4, 0, 3), ("skip", 0, 4, 4, 4), ("cipher", 4, 2, 0, 1), ("auth", 56, 4, 0, 1), ("order", 7, 1, 6, 6),
    ("destination_used", 0, 4, 9, 10), ("scene", 0, 4, 5, 8), ("source_list", 0, 4, 11, 13),
    ("destination_list", 0, 4, 14, 16), ("iv_source", 56, 4, 2, 3), ("padding", 108, 1, 0, 1), ("stream_mac", 108, 1, 5, 5),
    ("mac_words", 56, 4, 4, 8), ("hash_key_words", 56, 4, 9, 14), ("hash", 56, 4, 15, 20), ("icv_bytes", 4, 2, 4, 9),
    ("stealing", 4, 2, 10, 12), ("key_code", 4, 2, 13, 15), ("mode", 6, 1, 0, 3), ("algorithm", 6, 1, 4, 7),
    ("hash_length", 68, 4, 0, 23), ("cipher_length", 72, 4, 0, 23), ("hash_offset", 64, 2, 0, 15),
    ("cipher_offset", 66, 2, 0, 15), ("tag", 8, 8, 0, 63), ("hash_bits", 100, 8, 0, 63), ("hash_iv", 32, 8, 0, 63),
    ("hash_key", 24, 8, 0, 63), ("mac", 84, 8, 0, 63), ("cipher_iv", 92, 8, 0, 63), ("cipher_key", 48, 8, 0, 63),
    ("source", 16, 8, 0, 63), ("destination", 76, 8, 0, 63), ("counter", 56, 4, 25, 26), ("prefetch", 56, 4, 27, 27),
    ("done", 112, 2, 0, 0), ("icv", 112, 2, 1, 3), ("flag", 112, 2, 7, 10), ("error", 114, 1, 0, 7), ("warning", 115, 1, 0, 7),
]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "field"),
    [(2, row) for row in TYPE_2] + [(3, row) for row in TYPE_3],
    ids=lambda value: value if isinstance(value, int) else value[0],
)
def test_fields_of_sec_lie_where_the_hardware_has_them(
    number: int, field: tuple[str, int, int, int, int]
) -> None:
    name, byte, width, low, high = field
    ones = (1 << high - low + 1) - 1
    expected = bytearray(128)
    expected[byte : byte + width] = (ones << low).to_bytes(width, "little")
    assert SQES[number].pack(**{name: ones}) == expected


@pytest.mark.parametrize(("number", "fields"), [(2, TYPE_2), (3, TYPE_3)])
def test_no_field_of_sec_is_left_out(number: int, fields: list[tuple[str, int, int, int, int]]) -> None:
    assert {field.name for field in SQES[number].fields} == {name for name, *_ in fields}


def test_both_types_of_sec_have_the_same_fields() -> None:
    two, three = ({field.name for field in layout.fields} for layout in SQES.values())
    assert three - two == {"counter", "prefetch", "stream_mac"}
    assert not two - three

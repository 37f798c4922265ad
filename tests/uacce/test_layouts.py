"""Tables of bits: against the golden vectors, against themselves, and against tables that are wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wdasync_uacce.layout import Field, Layout, Owner
from wdasync_uacce.qm_records import (
    AEQE,
    CQC,
    CQE,
    DOORBELL_OFFSETS,
    DOORBELLS,
    EQC,
    EQE,
    SQC,
    Command,
    dus_size,
)
from wdasync_uacce.scatter import ENTRY, HEAD
from wdasync_uacce.zip_descriptor import SQE, STATUSES, ZipStatus

VECTORS: dict[str, list[dict[str, Any]]] = json.loads((Path(__file__).parent / "vectors.json").read_text())
LAYOUTS = [SQE, CQE, EQE, AEQE, SQC, CQC, EQC, HEAD, ENTRY, DOORBELLS[1], DOORBELLS[2]]


def cases(group: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", VECTORS[group], ids=lambda case: case["id"])


@cases("doorbells")
def test_doorbells(case: dict[str, Any]) -> None:
    version = int(case["hw"][1])
    fields = {
        "queue": int(case["qn"], 16),
        "command": Command[case["cmd"]],
        "index": int(case["index"], 16),
        "priority": int(case["priority"], 16),
    }
    value = DOORBELLS[version].number(**fields)
    assert f"{value:#018x}" == case["value"]
    unpacked = DOORBELLS[version].unpack(value.to_bytes(8, "little"))
    assert {name: unpacked[name] for name in fields} == fields


def test_doorbells_of_user_space_are_where_the_hardware_has_them() -> None:
    told = {
        int(case["hw"][1]): int(case["address"], 16)
        for case in VECTORS["doorbells"]
        if case["cmd"] in ("SQ", "CQ")
    }
    # Version 3 with a window of its own for each queue: the window is what is mapped.
    assert {version: address % 0x10000 for version, address in told.items()} == {
        version: DOORBELL_OFFSETS[version] for version in told
    }


CONTEXTS: dict[str, tuple[Layout, dict[str, int]]] = {
    "SQC1": (
        SQC,
        {"base": 0x123456789000, "depth": 1023, "entry_log2": 7, "pasid": 0x15, "pasid_valid": 1, "cq": 5, "orders": 1, "algorithm": 1},
    ),
    "CQC1": (
        CQC,
        {"base": 0x123456789000, "depth": 1023, "entry_log2": 4, "pasid": 0x15, "pasid_valid": 1, "phase": 1, "armed": 1},
    ),
    "EQC1": (EQC, {"base": 0x87654000, "depth": 2047, "phase": 1}),
    "AEQC1": (EQC, {"base": 0x87664000, "depth": 1023, "phase": 1}),
}  # fmt: skip


@cases("contexts")
def test_contexts(case: dict[str, Any]) -> None:
    layout, fields = CONTEXTS[case["id"]]
    record = bytes.fromhex(case["bytes"])
    assert {name: value for name, value in layout.unpack(record).items() if value} == fields
    assert layout.pack(**fields) == record


@cases("entries")
def test_event_entries(case: dict[str, Any]) -> None:
    layout = {"eqe": EQE, "aeqe": AEQE}[case["kind"]]
    fields = {
        "queue" if name == "qn" else name: int(case[name], 16)
        for name in ("cqn", "qn", "phase", "type")
        if name in case
    }
    assert layout.number(**fields) == int(case["word"], 16)


@cases("region_sizes")
def test_region_sizes(case: dict[str, Any]) -> None:
    sqe, depth, page, pages = (int(case[name], 16) for name in ("sqe_bytes", "depth", "page", "pages"))
    assert dus_size(sqe, depth, depth, page) == pages * page


@pytest.mark.parametrize(
    ("sqe", "page", "size"),
    [(128, 4096, 151_552), (64, 4096, 86_016), (128, 65536, 262_144), (64, 65536, 196_608)],
)
def test_known_sizes_of_the_dus_region(sqe: int, page: int, size: int) -> None:
    assert dus_size(sqe, 1024, 1024, page) == size


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
@settings(deadline=None)
@given(data=st.data())
def test_pack_and_unpack_are_inverse(layout: Layout, data: st.DataObject) -> None:
    fields = {field.name: data.draw(st.integers(0, field.mask), field.name) for field in layout.fields}
    record = layout.pack(**fields)
    assert len(record) == layout.size
    assert layout.unpack(record) == fields


@pytest.mark.parametrize(
    ("field", "dword", "low", "high"),
    [
        ("consumed", 0, 0, 31), ("produced", 1, 0, 31), ("status", 3, 0, 7), ("last_block", 3, 8, 8),
        ("input_length", 4, 0, 31), ("source_offset", 7, 0, 23), ("finish", 7, 25, 25), ("stateful", 7, 26, 26),
        ("first", 7, 27, 27), ("sqe_type", 7, 28, 31), ("destination_offset", 8, 0, 23), ("format", 9, 0, 7),
        ("buffer_type", 9, 8, 11), ("window", 9, 12, 15), ("tag0", 13, 0, 31), ("capacity", 14, 0, 31),
        ("source", 18, 0, 63), ("destination", 20, 0, 63), ("context", 22, 0, 63), ("tag3", 26, 0, 31),
        ("isize", 30, 0, 31), ("checksum", 31, 0, 31),
    ],
)  # fmt: skip
def test_fields_of_the_descriptor_lie_where_the_hardware_has_them(
    field: str, dword: int, low: int, high: int
) -> None:
    words = [0] * 33
    ones = (1 << high - low + 1) - 1
    words[dword] = ones << low & 0xFFFFFFFF
    words[dword + 1] = ones << low >> 32
    record = SQE.pack(**{field: ones})
    assert [int.from_bytes(record[at : at + 4], "little") for at in range(0, 128, 4)] == words[:32]


def test_every_status_code_means_something() -> None:
    assert set(STATUSES) == set(ZipStatus)
    assert [code for code, row in STATUSES.items() if row.message == ""] == [
        ZipStatus.OK,
        ZipStatus.STREAM_END,
    ]


TWO = (Field("low", 0, 8, Owner.HOST), Field("high", 8, 8, Owner.DEVICE))


def test_a_value_that_does_not_fit_names_its_field() -> None:
    layout = Layout("two", 2, TWO)
    with pytest.raises(ValueError, match=r"two\.high: expected 0 to 0xff \(8 bits\), got 0x100"):
        layout.pack(high=256)
    with pytest.raises(ValueError, match=r"two\.low: expected 0 to 0xff"):
        layout.number(low=-1)


def test_a_field_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(KeyError, match="middle"):
        Layout("two", 2, TWO).pack(middle=0)


def test_a_record_of_another_size_is_an_error() -> None:
    with pytest.raises(ValueError, match="two: expected 2 bytes, got 3"):
        Layout("two", 2, TWO).unpack(bytes(3))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([Field("a", 0, 9, Owner.HOST), Field("b", 8, 8, Owner.HOST)], "b overlaps a"),
        ([Field("a", 0, 8, Owner.HOST), Field("a", 8, 8, Owner.HOST)], "unique"),
        ([Field("a", 0, 8, Owner.HOST), Field("b", 8, 9, Owner.HOST)], "b ends at bit 17"),
    ],
)
def test_a_table_that_cannot_be_is_refused(fields: list[Field], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Layout("two", 2, fields)


def test_the_quick_reader_reads_what_unpack_does() -> None:
    record = bytes(range(128))
    names = ("consumed", "produced", "status", "capacity", "source", "tag3", "checksum")
    fields = SQE.unpack(record)
    assert SQE.struct(*names).unpack(record) == tuple(fields[name] for name in names)


def test_the_quick_reader_refuses_bits() -> None:
    with pytest.raises(ValueError, match="last_block: expected whole bytes"):
        SQE.struct("last_block")


def test_a_dump_shows_what_is_not_zero() -> None:
    dump = SQE.dump(SQE.pack(input_length=0x1000, tag0=7))
    assert [line.split() for line in dump.splitlines()] == [["input_length", "0x1000"], ["tag0", "0x7"]]

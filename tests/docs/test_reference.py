"""The reference has every public name, once, and its tables are complete."""

import re
from collections import Counter
from pathlib import Path

import pytest

import wdasync
from docs import tables
from wdasync import registry
from wdasync.backend import Capabilities, Capability
from wdasync.errors import DataCause, Status
from wdasync.operations import Kind
from wdasync.testing import Options

CHECKOUT = Path(__file__).parents[2]
REFERENCE = sorted((CHECKOUT / "docs" / "reference").glob("*.md"))
DOCUMENTED = re.compile(r"\.\. auto(?:class|data|exception|function):: (?:wdasync\.)?(\w+)$", re.MULTILINE)


def test_every_public_name_is_documented_once() -> None:
    text = "\n".join(page.read_text() for page in REFERENCE)
    assert Counter(DOCUMENTED.findall(text)) == Counter(wdasync.__all__)


@pytest.mark.parametrize("name", tables.TABLES)
def test_a_table_has_rows_as_wide_as_its_head(name: str) -> None:
    found = list(tables.TABLES[name]())
    assert found
    for table in found:
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.head)}
        assert all(all(cell.strip() for cell in row) for row in table.rows), "a cell is empty"


def first_cells(name: str) -> list[str]:
    """The first column of all tables of that name."""
    return [row[0] for table in tables.TABLES[name]() for row in table.rows]


def test_tables_are_complete() -> None:
    assert [cell.partition("<")[0] for cell in first_cells("statuses")] == [
        f"`{status.name}`" for status in Status
    ]
    assert first_cells("reasons") == [f"`Reason.{reason.name}`" for reason in wdasync.Reason]
    assert first_cells("causes") == [f"`DataCause.{cause.name}`" for cause in DataCause]
    assert sorted(cell.strip("`") for cell in first_cells("installed")) == list(registry.backend_names())
    assert {f"`{name}`" for name in Options.__dataclass_fields__} <= set(first_cells("options"))
    assert {f"`{name}`" for name in wdasync.Config.__dataclass_fields__} == {
        *first_cells("settings"),
        "`policy`",
    }


def test_every_error_has_a_row() -> None:
    errors = {name for name in wdasync.__all__ if is_ours(getattr(wdasync, name))}
    assert set(re.findall(r"wdasync\.(\w+)", " ".join(first_cells("errors")))) == errors


def is_ours(thing: object) -> bool:
    """Whether it is an error that can be raised."""
    return (
        isinstance(thing, type)
        and issubclass(thing, wdasync.WdasyncError)
        and thing is not wdasync.WdasyncError
    )


def test_a_setting_says_what_it_may_be() -> None:
    rows = {row[0]: row for row in tables.settings_rows(wdasync.Rule)}
    assert rows["`backend`"][2] == "must be given"
    assert rows["`max_load`"][1:] == (
        "a number of at least 0.0 and at most 1.0",
        "none",
        "fraction of its depth in flight, at most",
    )


def test_a_capability_table_has_one_row_for_each_algorithm() -> None:
    table = Capabilities(
        [
            Capability(Kind.NOP, "nop"),
            Capability(Kind.COMPRESS, "zlib", scale=(1, 9), default=2, balanced=5, best=8),
            Capability(Kind.DECOMPRESS_CHUNK, "zlib", window=14, dictionary=True),
            Capability(Kind.DECOMPRESS, "lz4", max_input=7 << 20),
        ]
    )
    assert tables.capability_rows(table) == [
        ("`lz4`", "decompress", "–", "–", "–", "2^15", "–", "7 MiB"),
        ("`zlib`", "compress", "decompress", "1 to 9", "2, 5, 8", "2^15, 2^14", "yes", "any"),
    ]


def test_what_only_one_of_several_devices_can_do_is_its_backend_s() -> None:
    rows = {(row[0], row[1]): row[2] for table in tables.work() for row in table.rows}
    assert "hip08" in rows["`rsa`", "sign"]
    assert "hip08" in rows["`sha256`", "digest"]
    assert "hip08" in rows["`aes-128-cbc`", "encrypt"]
    assert {table.title for table in tables.capabilities()} >= {"`hip08`", "`cpu`"}

"""How many queues: a number, or a list as users of UADK write it; for all backends, or for one."""

from pathlib import Path
from typing import Any

import pytest

from wdasync.backend import Capabilities, Capability
from wdasync.config import load
from wdasync.errors import ConfigError
from wdasync.operations import Kind
from wdasync.queue_counts import QueueCounts

SPLIT = Capabilities(
    [
        Capability(Kind.COMPRESS, "gzip", queue_class="compress"),
        Capability(Kind.DECOMPRESS_CHUNK, "gzip", queue_class="decompress"),
        Capability(Kind.NOP, "nop", queue_class="other"),
    ]
)
KEYS = Capabilities([Capability(Kind.SIGN, "rsa")])
WHOLE = Capabilities([Capability(Kind.COMPRESS, "gzip"), Capability(Kind.DECOMPRESS, "gzip")])


@pytest.mark.parametrize(
    ("text", "nodes", "compress", "decompress", "both"),
    [
        # The examples of UADK's document, and what it says that they mean.
        ("sync-comp:10@0,async-decomp:20@1", {0, 1}, 10, 20, 30),
        ("sync-comp:5@0,sync-decomp:3@2", {0, 2}, 5, 3, 8),
        ("sync-comp:5@0,sync-comp:3@2", {0, 2}, 5, 0, 5),
        ("sync-comp:0@0,sync-comp:3@2", {2}, 3, 0, 3),
        # Both modes are queues; the form of other algorithms is for both directions.
        ("sync-comp:1@0,async-comp:2@0", {0}, 3, 0, 3),
        ("sync:2@0,async:4@0", {0}, 6, 6, 6),
        (" sync:2@0 , sync-comp:1@3 ", {0, 3}, 3, 2, 3),
    ],
)
def test_a_list(text: str, nodes: set[int], compress: int, decompress: int, both: int) -> None:
    counts = QueueCounts.parse(text)
    assert counts.nodes == nodes
    assert [counts.of_class(SPLIT, name) for name in ("compress", "decompress", "other")] == [
        compress,
        decompress,
        1,
    ]
    assert counts.of_class(WHOLE, "") == both


@pytest.mark.parametrize("text", [3, "3", " 3 "])
def test_a_number(text: Any) -> None:
    counts = QueueCounts.parse(text)
    assert counts.deal([(SPLIT, None), (WHOLE, 7)]) == [
        {"compress": 3, "decompress": 3, "other": 3},
        {"": 3},
    ]


def test_a_list_is_dealt_to_the_devices_of_each_node() -> None:
    counts = QueueCounts.parse("sync:5@0,sync:5@2")
    dealt = counts.deal([(WHOLE, node) for node in [0, 0, 1, 2, None]])
    assert [each[""] for each in dealt] == [3, 2, 0, 5, 1], (
        "one at a node that is not named has none, one that is everywhere has one"
    )


def test_a_list_is_dealt_to_those_who_compress() -> None:
    """Engines for keys and ciphers take nothing of it, wherever they are, and have one queue each."""
    counts = QueueCounts.parse("sync-comp:2@0,sync-decomp:1@0")
    assert counts.deal([(KEYS, 0), (SPLIT, 0), (KEYS, 0), (KEYS, 1)]) == [
        {"": 1},
        {"compress": 2, "decompress": 1, "other": 1},
        {"": 1},
        {"": 1},
    ]


def test_one_who_only_compresses_takes_no_share_of_the_other_direction() -> None:
    counts = QueueCounts.parse("sync-comp:2@0,sync-decomp:3@0")
    packer = Capabilities([Capability(Kind.COMPRESS, "gzip", queue_class="compress")])
    assert counts.deal([(packer, 0), (SPLIT, 0)]) == [
        {"compress": 1},
        {"compress": 1, "decompress": 3, "other": 1},
    ]


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("", "'' is none of these"),
        ("sync", "'sync' is none of these"),
        ("sync:2", "'sync:2' is none of these"),
        ("sync-comp:2@", "'sync-comp:2@' is none of these"),
        ("sync-comp:-1@0", "'sync-comp:-1@0' is none of these"),
        ("sync-comp:x@0", "'sync-comp:x@0' is none of these"),
        ("comp:2@0", "'comp:2@0' is none of these"),
        ("sync-comp:2@0,,async:1@0", "'' is none of these"),
        ("sync-comp:2@0;async-comp:1@0", "none of these"),
        ("sync-comp:0@0", "opens no queue at all"),
        ("SYNC-COMP:1@0", "none of these"),
        ("sync-comp:²@0", "none of these"),
        (0, "at least 1"),
        (-3, "at least 1"),
    ],
)
def test_what_is_none(value: Any, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        QueueCounts.parse(value)


@pytest.mark.parametrize(
    ("text", "environ", "keywords", "place", "example"),
    [
        ("open_queues = 0", {}, {}, "file {file}", "write for example open_queues = "),
        ('[threads]\nopen_queues = "2@0"', {}, {}, "file {file}, table \\[threads\\]", "open_queues = "),
        (
            "",
            {"WDASYNC_OPEN_QUEUES": "sync:2"},
            {},
            "environment WDASYNC_OPEN_QUEUES",
            "WDASYNC_OPEN_QUEUES=sync",
        ),
        (
            "",
            {"WDASYNC_CHIP_9_OPEN_QUEUES": "x"},
            {},
            "environment WDASYNC_CHIP_9_OPEN_QUEUES",
            "WDASYNC_CHIP_9_OPEN_QUEUES=sync",
        ),
        (
            "",
            {"WD_COMP_CTX_NUM": "sync:2"},
            {},
            "environment WD_COMP_CTX_NUM",
            "WD_COMP_CTX_NUM=sync-comp:2@0",
        ),
        ("", {}, {"open_queues": "many"}, "keyword", "open_queues='sync"),
        ("", {}, {"open_queues": 1.5}, "keyword", "open_queues='sync"),
        ("", {}, {"threads": {"open_queues": 0}}, "keyword threads", "open_queues='sync"),
    ],
)
def test_a_wrong_one_says_where_and_what(
    tmp_path: Path, text: str, environ: dict[str, str], keywords: dict[str, Any], place: str, example: str
) -> None:
    file = tmp_path / "wdasync.toml"
    file.write_text(text)
    with pytest.raises(
        ConfigError, match=rf"open_queues: expected .*\({place.format(file=file)}\)"
    ) as caught:
        load(keywords, environ=environ, cwd=tmp_path)
    assert f"write for example {example}" in str(caught.value) or example in str(caught.value)


def test_for_all_and_for_one(tmp_path: Path) -> None:
    (tmp_path / "wdasync.toml").write_text("open_queues = 2\n[threads]\nopen_queues = 3\n")
    effective = load(environ={}, cwd=tmp_path)
    assert (effective.queues("chip-9").each, effective.queues("threads").each) == (2, 3)
    assert effective.origins["threads.open_queues"] == effective.origins["open_queues"]
    # A keyword, or the environment, beats the file, whichever of the two the file has.
    assert load({"open_queues": 7}, environ={}, cwd=tmp_path).queues("threads").each == 7
    assert load(environ={"WDASYNC_OPEN_QUEUES": "8"}, cwd=tmp_path).queues("threads").each == 8
    of_both = load({"open_queues": 7, "threads": {"open_queues": 9}}, environ={}, cwd=tmp_path)
    assert (of_both.queues("chip-9").each, of_both.queues("threads").each) == (7, 9)


def test_the_variable_of_uadk(tmp_path: Path) -> None:
    environ = {"WD_COMP_CTX_NUM": "sync-comp:2@0,async-decomp:4@0"}
    effective = load(environ=environ, cwd=tmp_path)
    assert effective.config.open_queues == environ["WD_COMP_CTX_NUM"]
    assert effective.origins["open_queues"] == "environment WD_COMP_CTX_NUM"
    (tmp_path / "wdasync.toml").write_text("[threads]\nopen_queues = 3\n")
    effective = load(environ=environ, cwd=tmp_path)
    assert effective.queues("threads").each == 3, "everything of ours beats it"
    assert effective.queues("chip-9").nodes == {0}
    (tmp_path / "wdasync.toml").write_text("open_queues = 3\n")
    assert load(environ=environ, cwd=tmp_path).queues("chip-9").each == 3
    assert load(environ={"WD_COMP_CTX_NUM": " "}, cwd=tmp_path).origins["open_queues"].startswith("file")


@pytest.mark.parametrize("text", [4097, "4097", "9" * 30, "sync:4097@0", f"sync-comp:1@0,async:{'9' * 30}@1"])
def test_more_than_anybody_has(text: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at most 4096"):
        load({"open_queues": text}, environ={}, cwd=tmp_path)

"""The table of web servers is that of the committed run, whose targets are those of ``bench-servers``."""

import json

from docs import tables
from tests.bench_servers.results import TARGETS

RUN = json.loads(tables.SERVERS.read_text())


def test_every_target_was_measured() -> None:
    assert [entry["text"] for entry in RUN["targets"]] == [target.text for target in TARGETS]
    assert [entry["wanted"] for entry in RUN["targets"]] == [target.wanted for target in TARGETS]


def test_what_was_missed_stands_out() -> None:
    (table,) = tables.server_targets()
    for row, entry in zip(table.rows, RUN["targets"], strict=True):
        assert row[2].startswith("**") == (not entry["reached"])
        assert entry["reached"] == (
            entry["median"] >= entry["wanted"] if entry["least"] else entry["median"] <= entry["wanted"]
        )


def test_several_rounds_of_every_side() -> None:
    for sides in RUN["cases"].values():
        assert {len(side["rounds"]) for side in sides.values()} == {5}

"""``config``."""

import dataclasses
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke, Start
from wdasync import registry
from wdasync.errors import BackendUnavailable

FILE = """
depth = 7
level = "best"
[mock]
seed = 5
[[policy]]
backend = "mock"
operation = "compress"
min_size = 4096
levels = ["fast", 1]
[[policy]]
backend = "mock"
"""


@pytest.fixture(autouse=True)
def _only_the_mock(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("gone", "mock")
    get_backend = registry.get_backend

    def get(name: str) -> object:
        if name == "gone":
            raise BackendUnavailable("no libgone")
        return get_backend(name)

    monkeypatch.setattr(registry, "backend_names", lambda: names)
    monkeypatch.setattr(registry, "get_backend", get)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "wdasync.toml"
    path.write_text(FILE)
    return path


def rows(output: str) -> list[str]:
    return [" ".join(line.split()) for line in output.splitlines()]


def test_values_and_origins(invoke: Invoke, file: Path) -> None:
    result = invoke("config", WDASYNC_INLINE="no", WDASYNC_MOCK_ORDER="lifo", COLUMNS="200")
    assert result.exit_code == 0
    lines = rows(result.output)
    assert f"file: {file}" in lines
    assert f"depth 7 file {file}" in lines
    assert "inline false environment WDASYNC_INLINE" in lines
    assert "backend mock environment WDASYNC_BACKEND" in lines
    assert "fallback true default" in lines
    assert "backend mock" in lines  # the heading of its table
    assert f"seed 5 file {file}" in lines
    assert "order lifo environment WDASYNC_MOCK_ORDER" in lines
    assert "latency 0.0 default" in lines
    assert "gone: no libgone" in lines
    assert "1 compress mock min_size 4096, levels fast, 1" in lines
    assert "2 * mock always" in lines


def test_how_many_queues_for_all_and_for_one(invoke: Invoke) -> None:
    lines = rows(
        invoke(
            "config",
            WDASYNC_MOCK_OPEN_QUEUES="3",
            WD_COMP_CTX_NUM="sync:2@0",
            WDASYNC_MOCK_SEED="1",
            COLUMNS="200",
        ).output
    )
    assert "open_queues sync:2@0 environment WD_COMP_CTX_NUM" in lines
    assert "open_queues 3 environment WDASYNC_MOCK_OPEN_QUEUES" in lines
    assert sum(line.startswith("open_queues") for line in lines) == 2
    document = json.loads(invoke("config", "--json", WDASYNC_MOCK_OPEN_QUEUES="3").output)
    assert document["backends"]["mock"]["options"]["open_queues"]["value"] == 3
    assert "open_queues" not in json.loads(invoke("config", "--json").output)["backends"]["mock"]["options"]


def test_nothing_is_written_as_a_person_would(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WDASYNC_BACKEND")
    assert "backend none default" in rows(invoke("config").output)


def test_a_backend_without_options_has_no_table(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain:
        Options = dataclasses.make_dataclass("Options", [])

    monkeypatch.setattr(registry, "backend_names", lambda: ("mock", "plain"))
    monkeypatch.setattr(registry, "get_backend", lambda _: Plain)
    result = invoke("config")
    assert result.exit_code == 0
    assert "backend plain" not in result.output


def test_without_a_file(invoke: Invoke) -> None:
    assert invoke("config").output.startswith("file: none was read\n")


def test_what_each_setting_is_for(invoke: Invoke) -> None:
    output = invoke("config", "--help-settings", COLUMNS="200").output
    assert "depth 1024 operations in flight in one queue" in rows(output)


def test_it_fits_a_terminal(invoke: Invoke) -> None:
    for options in ([], ["--help-settings"]):
        assert max(map(len, invoke("config", *options).output.splitlines())) <= 80


def test_programs_get_any_path(start: Start, tmp_path: Path) -> None:
    """Of bytes that are no text, too, and whatever the encoding of the output is."""
    path = tmp_path / "\u00fc\udcff.toml"
    path.touch()
    environ = {"WDASYNC_CONFIG": str(path), "PYTHONIOENCODING": "iso-8859-1"}
    output, messages = start("config", "--json", environ=environ).communicate()
    assert messages == b""
    assert json.loads(output)["file"] == str(path)


def test_a_long_path_is_not_divided(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / f"{'x' * 100}.toml"
    path.touch()
    assert f"file: {path}\n" in invoke("config", WDASYNC_CONFIG=str(path)).output


def test_the_document(invoke: Invoke, file: Path) -> None:
    document = json.loads(invoke("config", "--json").output)
    assert document["file"] == str(file)
    assert document["config"]["depth"]["value"] == 7
    assert document["config"]["depth"]["origin"] == f"file {file}"
    assert document["config"]["depth"]["help"]
    assert document["policy"]["rules"][0]["levels"] == ["fast", 1]
    assert document["backends"]["mock"]["options"]["seed"]["value"] == 5
    assert document["backends"]["gone"] == {"error": "no libgone"}


def test_settings_that_are_wrong(invoke: Invoke) -> None:
    result = invoke("config", WDASYNC_DEPTH="many")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: depth: expected an int of at least 1, got 'many'")

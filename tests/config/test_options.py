"""Options of backends: the types they may have, and whose a keyword is."""

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from wdasync import registry
from wdasync.config import load
from wdasync.errors import BackendUnavailable, ConfigError


class Choice(str):
    """Stands for the member of this name, of an enum that only conftest.py knows."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, enum.Enum) and other.name == str(self)

    __hash__ = str.__hash__


def chip(tmp_path: Path, keywords: Mapping[str, object] | None, /, **environ: str) -> Any:
    effective = load({"backend": "chip-9", **(keywords or {})}, environ=environ, cwd=tmp_path)
    return effective.options("chip-9", registry.get_backend("chip-9").Options)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("WORKERS", "3", 3),
        ("WORKERS", " 3 ", 3),
        ("SCALE", "0.25", 0.25),
        ("SCALE", "2", 2.0),
        ("PIN", "yes", True),
        ("PIN", "OFF", False),
        ("RESIDENCY", "always-cold", Choice("ALWAYS_COLD")),
        ("RESIDENCY", "MIRROR", Choice("MIRROR")),
        ("NODES", "a, b", ("a", "b")),
        ("NODES", "a", ("a",)),
        ("NODES", "", ()),
        ("SEED", "12", 12),
        ("SEED", "none", None),
        ("FLAVOUR", "salted", "salted"),
        ("MODE", "poll", "poll"),
    ],
)
def test_from_the_environment(tmp_path: Path, name: str, text: str, value: object) -> None:
    options = chip(tmp_path, None, **{f"WDASYNC_CHIP_9_{name}": text})
    assert getattr(options, name.lower()) == value
    assert isinstance(value, Choice) or type(getattr(options, name.lower())) is type(value)


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("workers = 3", "workers", 3),
        ("scale = 2", "scale", 2.0),
        ("pin = true", "pin", True),
        ('residency = "always_cold"', "residency", Choice("ALWAYS_COLD")),
        ('nodes = ["a", "b"]', "nodes", ("a", "b")),
        ("seed = 4", "seed", 4),
        ('mode = "poll"', "mode", "poll"),
    ],
)
def test_from_the_file(tmp_path: Path, line: str, name: str, value: object) -> None:
    (tmp_path / "wdasync.toml").write_text(f"[chip-9]\n{line}\n")
    assert getattr(chip(tmp_path, None), name) == value


def test_from_keywords(tmp_path: Path) -> None:
    def clock() -> int:
        return 0

    cold = type(chip(tmp_path, None).residency)["ALWAYS_COLD"]
    given: dict[str, object] = {"residency": cold, "clock": clock, "seed": None, "scale": 1, "tick": 3}
    options = chip(tmp_path, given)
    assert {name: getattr(options, name) for name in given} == given


def test_a_keyword_belongs_to_the_first_named_backend_that_has_it(tmp_path: Path) -> None:
    keywords = {"backend": ("chip-9", "threads"), "workers": 5, "name": "x"}
    effective = load(keywords, environ={}, cwd=tmp_path)
    assert effective.origins["chip-9.workers"] == "keyword"
    assert effective.origins["threads.name"] == "keyword"
    assert "threads.workers" not in effective.origins


def test_without_a_named_backend_it_belongs_to_the_only_one_that_has_it(tmp_path: Path) -> None:
    assert load({"seed": 1}, environ={}, cwd=tmp_path).origins["chip-9.seed"] == "keyword"


def test_without_a_named_backend_it_may_not_belong_to_several(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"workers: .* one of chip-9 and threads \(keyword\); name the backend"
    ):
        load({"workers": 1}, environ={}, cwd=tmp_path)


def test_a_backends_name_as_keyword_takes_a_mapping(tmp_path: Path) -> None:
    effective = load({"threads": {"workers": 9}}, environ={}, cwd=tmp_path)
    assert effective.options("threads", registry.get_backend("threads").Options).workers == 9


def test_the_longest_backend_name_owns_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("threads", "threads-name")
    monkeypatch.setattr(registry, "backend_names", lambda: names)
    monkeypatch.setattr(registry, "get_backend", lambda _: type("B", (), {"Options": _nested_options()}))
    environ = {"WDASYNC_THREADS_NAME_SIZE": "1"}
    assert (
        load(environ=environ, cwd=tmp_path).origins["threads-name.size"]
        == "environment WDASYNC_THREADS_NAME_SIZE"
    )


def _nested_options() -> type[Any]:
    from dataclasses import make_dataclass

    return make_dataclass("Options", [("size", int, 0), ("name_size", int, 0)])


def test_a_table_of_a_backend_that_cannot_be_imported_waits_for_its_opening(tmp_path: Path) -> None:
    (tmp_path / "wdasync.toml").write_text("[broken]\nanything = 1\n")
    assert load(environ={}, cwd=tmp_path).origins["broken.anything"].startswith("file ")


def test_a_keyword_for_a_backend_that_cannot_be_imported_says_so(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match="no libchip"):
        load({"backend": "broken", "workers": 1}, environ={}, cwd=tmp_path)


def test_what_options_refuse_themselves_keeps_its_place(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"'chip-9': pin: .* another seed \(environment WDASYNC_CHIP_9_SEED, keyword\)"
    ):
        chip(tmp_path, {"pin": True}, WDASYNC_CHIP_9_SEED="0")


def test_what_options_say_as_an_error_of_settings_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^chip-9\.seed: this one is taken$"):
        chip(tmp_path, {"seed": -1})


def test_options_that_are_no_dataclass_are_a_bug_of_the_backend(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="expected a dataclass"):
        load(environ={}, cwd=tmp_path).options("threads", dict)

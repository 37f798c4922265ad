"""Where a value comes from: keyword > environment > file > default, each with its origin."""

from dataclasses import fields
from pathlib import Path

import pytest

from wdasync.config import Config, Rule, load

FILE = "depth = 1\ninline = false\n[threads]\nworkers = 11\nname = 'file'\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "wdasync.toml"
    path.write_text(FILE)
    return path


def test_defaults(tmp_path: Path) -> None:
    effective = load(environ={}, cwd=tmp_path)
    assert effective.config == Config()
    assert effective.file is None
    assert effective.origins == {item.name: "default" for item in fields(Config)}


def test_every_setting_has_one_line_of_help() -> None:
    for item in (*fields(Config), *fields(Rule)):
        assert item.metadata["help"]
        assert "\n" not in item.metadata["help"]


def test_each_source_beats_the_one_below(file: Path) -> None:
    environ = {"WDASYNC_DEPTH": "2", "WDASYNC_LEVEL": "6"}
    of_file = load(environ={}, cwd=file.parent)
    of_environment = load(environ=environ, cwd=file.parent)
    of_keyword = load({"depth": 3}, environ=environ, cwd=file.parent)
    assert [each.config.depth for each in (of_file, of_environment, of_keyword)] == [1, 2, 3]
    assert [each.origins["depth"] for each in (of_file, of_environment, of_keyword)] == [
        f"file {file}",
        "environment WDASYNC_DEPTH",
        "keyword",
    ]
    # What only a lower source gives is still there.
    assert of_keyword.config.inline is False
    assert of_keyword.config.level == 6
    assert of_keyword.origins["inline"] == f"file {file}"
    assert of_keyword.origins["fallback"] == "default"


def test_options_of_a_backend_mix_sources(file: Path) -> None:
    effective = load(
        {"backend": "threads", "workers": 33}, environ={"WDASYNC_THREADS_NAME": "env"}, cwd=file.parent
    )
    from wdasync import registry

    options = effective.options("threads", registry.get_backend("threads").Options)
    assert (options.workers, options.name) == (33, "env")
    assert effective.origins["threads.workers"] == "keyword"
    assert effective.origins["threads.name"] == "environment WDASYNC_THREADS_NAME"


def test_options_nobody_gave_are_the_defaults(tmp_path: Path) -> None:
    from wdasync import registry

    options_class = registry.get_backend("threads").Options
    assert load(environ={}, cwd=tmp_path).options("threads", options_class) == options_class()


def test_the_file_of_a_parent_directory_is_not_read(file: Path) -> None:
    below = file.parent / "below"
    below.mkdir()
    assert load(environ={}, cwd=below).config.depth == Config().depth


def test_a_named_file_replaces_the_one_here(file: Path) -> None:
    other = file.parent / "other.toml"
    other.write_text("depth = 77")
    effective = load(environ={"WDASYNC_CONFIG": "other.toml"}, cwd=file.parent)
    assert effective.config.depth == 77
    assert effective.config.inline is True
    assert effective.file == other


def test_an_empty_name_means_no_file(file: Path) -> None:
    assert load(environ={"WDASYNC_CONFIG": ""}, cwd=file.parent).config == Config()


def test_the_process_itself_is_the_default_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    monkeypatch.setenv("WDASYNC_DEPTH", "5")
    assert load().config.depth == 5
    assert load().config.inline is False


@pytest.mark.parametrize(
    ("written", "backend"),
    [
        ("threads", "threads"),
        ("chip-9,threads", ("chip-9", "threads")),
        (" chip-9 , threads ", ("chip-9", "threads")),
        ("", None),
    ],
)
def test_backends_in_the_environment(tmp_path: Path, written: str, backend: object) -> None:
    assert load(environ={"WDASYNC_BACKEND": written}, cwd=tmp_path).config.backend == backend


def test_backend_none_is_the_same_as_not_given(tmp_path: Path) -> None:
    assert (
        load({"backend": None}, environ={"WDASYNC_BACKEND": "threads"}, cwd=tmp_path).config.backend
        == "threads"
    )


def test_variables_for_builds_and_tests_are_no_settings(tmp_path: Path) -> None:
    environ = {
        "WDASYNC_BUILD_NATIVE_CODECS": "0",
        "WDASYNC_BUILD_SANITIZE": "address",
        "WDASYNC_BUILD_LINK": "isal",
        "WDASYNC_DEBUG": "1",
    }
    assert load(environ=environ, cwd=tmp_path).config == Config()


def test_other_variables_are_nobodys_business(tmp_path: Path) -> None:
    assert load(environ={"WDASYN_DEPTH": "x", "PATH": "/bin"}, cwd=tmp_path).config == Config()


def test_the_policy_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "wdasync.toml").write_text(
        '[[policy]]\noperation = "compress"\nbackend = "chip-9"\nmin_size = 4096\nlevels = ["fast", 1]\n'
        'max_load = 0.5\n[[policy]]\nbackend = "threads"\npriority = "high"\nmin_deadline = 2\n'
    )
    effective = load(environ={}, cwd=tmp_path)
    assert effective.config.policy == (
        Rule("chip-9", "compress", min_size=4096, levels=("fast", 1), max_load=0.5),
        Rule("threads", priority="high", min_deadline=2.0),
    )
    assert effective.origins["policy"] == f"file {tmp_path / 'wdasync.toml'}"


def test_the_policy_as_a_keyword_takes_rules_and_tables(tmp_path: Path) -> None:
    rules = [Rule("threads"), {"backend": "chip-9", "max_size": 10}]
    config = load({"policy": rules}, environ={}, cwd=tmp_path).config
    assert config.policy == (Rule("threads"), Rule("chip-9", max_size=10))

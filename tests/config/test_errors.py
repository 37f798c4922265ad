"""Every way in which settings can be wrong: what was expected, what was found, where, and what to do."""

import re
from pathlib import Path

import pytest

from wdasync.config import Rule, load
from wdasync.errors import BackendUnavailable, ConfigError, WdasyncError

UNKNOWN = [
    # file, environment, keywords -> name, suggestion, place
    ("dept = 1", {}, {}, "dept", "depth", "file {file}, top level"),
    ("[thread]\nworkers = 1", {}, {}, "thread", "threads", "file {file}, top level"),
    ("[threads]\nworker = 1", {}, {}, "threads.worker", "threads.workers", "file {file}, table [threads]"),
    (
        '[[policy]]\nbackend = "threads"\nminsize = 1',
        {},
        {},
        "policy.minsize",
        "policy.min_size",
        "file {file}, rule 1",
    ),
    ("", {"WDASYNC_DEPT": "1"}, {}, "WDASYNC_DEPT", "WDASYNC_DEPTH", "environment"),
    (
        "",
        {"WDASYNC_THREAD_WORKERS": "1"},
        {},
        "WDASYNC_THREAD_WORKERS",
        "WDASYNC_THREADS_WORKERS",
        "environment",
    ),
    ("", {"WDASYNC_CONFG": "x"}, {}, "WDASYNC_CONFG", "WDASYNC_CONFIG", "environment"),
    (
        "",
        {"WDASYNC_THREADS_WORKER": "1"},
        {},
        "threads.worker",
        "threads.workers",
        "environment WDASYNC_THREADS_WORKER",
    ),
    ("", {}, {"dept": 1}, "dept", "depth", "keyword"),
    ("", {}, {"backend": "threads", "worker": 1}, "worker", "workers", "keyword"),
    ("", {}, {"threads": {"worker": 1}}, "threads.worker", "threads.workers", "keyword threads"),
    (
        "",
        {},
        {"policy": [{"backend": "threads", "level": 1}]},
        "policy.level",
        "policy.levels",
        "keyword, rule 1",
    ),
]


@pytest.mark.parametrize(("text", "environ", "keywords", "name", "near", "place"), UNKNOWN)
def test_an_unknown_name_gets_the_nearest_known_one_and_its_place(
    tmp_path: Path,
    text: str,
    environ: dict[str, str],
    keywords: dict[str, object],
    name: str,
    near: str,
    place: str,
) -> None:
    file = tmp_path / "wdasync.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(keywords, environ=environ, cwd=tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{name}: expected ")
    assert f"(did you mean '{near}'?) ({place.format(file=file)}); see " in message


def test_a_name_like_nothing_gets_no_suggestion(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ={"WDASYNC_QQQQ": ""}, cwd=tmp_path)
    assert "did you mean" not in str(caught.value)


def test_a_field_that_is_not_an_argument_of_options_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"threads\.token: expected a setting, got an unknown name"):
        load(environ={"WDASYNC_THREADS_TOKEN": "x"}, cwd=tmp_path)


WRONG_IN_ENVIRONMENT = [
    ("DEPTH", "many", "an int of at least 1", "WDASYNC_DEPTH=1024"),
    ("DEPTH", "0", "an int of at least 1", "WDASYNC_DEPTH=1024"),
    ("DEPTH", "1.5", "an int of at least 1", "WDASYNC_DEPTH=1024"),
    ("DEPTH", "", "an int of at least 1", "WDASYNC_DEPTH=1024"),
    ("INLINE", "perhaps", "true or false", "WDASYNC_INLINE=true"),
    ("DEADLINE", "soon", "a number of at least 0.001 and at most 1000000000.0", "WDASYNC_DEADLINE=30.0"),
    ("DEADLINE", "nan", "a number of at least 0.001 and at most 1000000000.0", "WDASYNC_DEADLINE=30.0"),
    ("DEADLINE", "inf", "a number of at least 0.001 and at most 1000000000.0", "WDASYNC_DEADLINE=30.0"),
    ("LEVEL", "slow", "one of 'fast', 'balanced', 'best' or an int", "WDASYNC_LEVEL=fast"),
    ("CHIP_9_WORKERS", "65", "an int of at least 1 and at most 64", "WDASYNC_CHIP_9_WORKERS=1"),
    ("CHIP_9_PIN", "2", "true or false", "WDASYNC_CHIP_9_PIN=false"),
    ("CHIP_9_RESIDENCY", "warm", "one of 'mirror', 'always_cold'", "WDASYNC_CHIP_9_RESIDENCY=mirror"),
    ("CHIP_9_FLAVOUR", "sweet", "one of 'plain', 'salted'", "WDASYNC_CHIP_9_FLAVOUR=plain"),
    ("CHIP_9_MODE", "irq", "one of 'ring', 'poll'", "WDASYNC_CHIP_9_MODE=ring"),
    ("CHIP_9_SEED", "x", "an int", "WDASYNC_CHIP_9_SEED=1"),
]


@pytest.mark.parametrize(("variable", "text", "expected", "advice"), WRONG_IN_ENVIRONMENT)
def test_a_wrong_value_in_the_environment(
    tmp_path: Path, variable: str, text: str, expected: str, advice: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ={f"WDASYNC_{variable}": text}, cwd=tmp_path)
    message = str(caught.value)
    assert f": expected {expected}, got {text!r} (environment WDASYNC_{variable}); " in message
    assert message.endswith(f"write for example {advice}")


WRONG_IN_FILE = [
    ('depth = "7"', "depth", "an int of at least 1", "'7'", "depth = 1024"),
    ("depth = true", "depth", "an int of at least 1", "True", "depth = 1024"),
    ("inline = 1", "inline", "true or false", "1", "inline = true"),
    ("level = 1.5", "level", "one of 'fast', 'balanced', 'best' or an int", "1.5", 'level = "fast"'),
    ("backend = 5", "backend", "a string or a list, each item a string", "5", 'backend = "cpu"'),
    ('backend = ["threads", 5]', "backend", "a string or a list, each item a string", "['threads', 5]", 'backend = "cpu"'),
    ("[chip-9]\nworkers = 0", "chip-9.workers", "an int of at least 1 and at most 64", "0", "workers = 1"),
    ("[chip-9]\nscale = false", "chip-9.scale", "a number", "False", "scale = 1.0"),
    ('[chip-9]\nnodes = "a"', "chip-9.nodes", "a list, each item a string", "'a'", "nodes = []"),
    ("[chip-9]\nnodes = [1]", "chip-9.nodes", "a list, each item a string", "[1]", "nodes = []"),
    ("[chip-9]\nresidency = 7", "chip-9.residency", "one of 'mirror', 'always_cold'", "7", 'residency = "mirror"'),
    ('[[policy]]\nbackend = "threads"\nmax_load = 2.0', "policy.max_load", "a number of at least 0.0 and at most 1.0", "2.0", "max_load = 0.5"),
    ('[[policy]]\nbackend = "threads"\nlevels = ["slow"]', "policy.levels", "a list, each item one of 'fast', 'balanced', 'best' or an int", "['slow']", 'levels = ["fast", 1]'),
    ('[[policy]]\nbackend = "threads"\noperation = "encode"', "policy.operation", "one of '*', 'nop', 'compress', 'decompress', 'compress_chunk', 'decompress_chunk', 'copy', 'fill', 'compare', 'checksum', 'digest', 'digest_chunk', 'mac', 'encrypt', 'decrypt', 'seal', 'open', 'sign', 'verify', 'public_encrypt', 'private_decrypt', 'exchange', 'generate', 'sequence'", "'encode'", 'operation = "*"'),
    ('[[policy]]\nbackend = "threads"\npriority = "urgent"', "policy.priority", "one of 'low', 'normal', 'high'", "'urgent'", 'priority = "low"'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "name", "expected", "got", "advice"), WRONG_IN_FILE)
def test_a_wrong_value_in_the_file(
    tmp_path: Path, text: str, name: str, expected: str, got: str, advice: str
) -> None:
    file = tmp_path / "wdasync.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(environ={}, cwd=tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{name}: expected {expected}, got {got} (file {file}")
    assert message.endswith(f"write for example {advice}")


def test_a_wrong_keyword(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"got '7' \(keyword\); write for example depth=1024"):
        load({"depth": "7"}, environ={}, cwd=tmp_path)


@pytest.mark.parametrize("name", ["clock", "tick"])
@pytest.mark.parametrize("source", ["file", "environment"])
def test_an_object_can_only_be_given_in_the_program(tmp_path: Path, source: str, name: str) -> None:
    (tmp_path / "wdasync.toml").write_text(f"[chip-9]\n{name} = 'x'" if source == "file" else "")
    environ = {f"WDASYNC_CHIP_9_{name.upper()}": "x"} if source == "environment" else {}
    with pytest.raises(
        ConfigError, match=rf"chip-9\.{name}: expected a keyword argument, got 'x' .* in the program"
    ):
        load(environ=environ, cwd=tmp_path)


BACKENDS = [
    (
        {"backend": "thread"},
        {},
        BackendUnavailable,
        "backend: .* 'thread' \\(did you mean 'threads'\\?\\) \\(keyword\\)",
    ),
    ({}, {"WDASYNC_BACKEND": "thread"}, BackendUnavailable, "\\(environment WDASYNC_BACKEND\\)"),
    ({"policy": [{"backend": "thread"}]}, {}, BackendUnavailable, "policy.backend: .* 'threads'.*rule 1"),
    ({"backend": ("threads", "threads")}, {}, ConfigError, "several different ones"),
    ({"backend": ()}, {}, ConfigError, "expected one backend"),
]


@pytest.mark.parametrize(("keywords", "environ", "error", "message"), BACKENDS)
def test_a_backend_that_is_not_installed(
    tmp_path: Path,
    keywords: dict[str, object],
    environ: dict[str, str],
    error: type[WdasyncError],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        load(keywords, environ=environ, cwd=tmp_path)


POLICIES = [
    ({"policy": "compress"}, {}, "policy: expected a list of rules, got 'compress' (keyword)"),
    ({}, {"WDASYNC_POLICY": "x"}, "policy: expected a list of rules, got 'x' (environment WDASYNC_POLICY)"),
    ({"policy": ["threads"]}, {}, "policy: expected a table for each rule, got 'threads' (keyword, rule 1)"),
    (
        {"policy": [{}]},
        {},
        'policy.backend: expected a string, got nothing (keyword, rule 1); add backend = "cpu"',
    ),
]


@pytest.mark.parametrize(("keywords", "environ", "message"), POLICIES)
def test_a_policy_of_another_shape(
    tmp_path: Path, keywords: dict[str, object], environ: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(keywords, environ=environ, cwd=tmp_path)


FILES = [
    (b"depth = ", "expected TOML, got .*at end of document"),
    (b"depth = " + b"9" * 5000, "expected TOML, got .*digits"),
    (b"a = " + b"[" * 3000, "expected TOML, got "),
    (b"level = '\xff'", "cannot be read: .*utf-8"),
    (b"threads = 3", r"threads: expected a table, got 3 .*write \[threads\]"),
]


@pytest.mark.parametrize(("content", "message"), FILES)
def test_a_file_that_cannot_be_understood(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "wdasync.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load(environ={}, cwd=tmp_path)
    assert str(file) in str(caught.value)


def test_a_file_with_a_mark_of_its_encoding(tmp_path: Path) -> None:
    (tmp_path / "wdasync.toml").write_bytes(b"\xef\xbb\xbfdepth = 7")
    assert load(environ={}, cwd=tmp_path).config.depth == 7


@pytest.mark.parametrize("environ", [{}, {"WDASYNC_CONFIG": "wdasync.toml"}])
def test_a_link_that_leads_nowhere_is_no_default(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "wdasync.toml").symlink_to("nowhere")
    with pytest.raises(ConfigError, match=r"wdasync\.toml: cannot be read: .*No such file"):
        load(environ=environ, cwd=tmp_path)


@pytest.mark.parametrize("environ", [{}, {"WDASYNC_CONFIG": "wdasync.toml"}])
def test_a_folder_that_may_not_be_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "lstat", refused)
    with pytest.raises(ConfigError, match=r"wdasync\.toml: cannot be read: .*Permission denied"):
        load(environ=environ, cwd=tmp_path)


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "wdasync.toml").mkdir()
    with pytest.raises(ConfigError, match=r"cannot be read: .*directory"):
        load(environ={}, cwd=tmp_path)


def test_a_named_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"WDASYNC_CONFIG: .* got 'no.toml', which does not exist in .*unset"
    ):
        load(environ={"WDASYNC_CONFIG": "no.toml"}, cwd=tmp_path)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"threads": 5}, "threads: expected a mapping of the backend's options, got 5 (keyword)"),
        (
            {"policy": [Rule("threads", min_size="5")]},
            "policy.min_size: expected an int of at least 0, got '5'",
        ),  # type: ignore[arg-type]
        ({"policy": [Rule("threads", levels=5)]}, "policy.levels: expected a list"),  # type: ignore[arg-type]
        ({"policy": [Rule("threads", operation=None)]}, "policy.operation: expected one of '*', "),  # type: ignore[arg-type]
        ({"policy": [Rule(None)]}, "policy.backend: expected a string, got None (keyword, rule 1)"),  # type: ignore[arg-type]
    ],
)
def test_what_a_program_gives_is_checked_as_a_file_is(
    tmp_path: Path, keywords: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(keywords, environ={}, cwd=tmp_path)


def test_a_rule_of_a_program_is_taken_as_it_is(tmp_path: Path) -> None:
    rule = Rule("threads", "compress", max_size=5, levels=("fast", 1), priority="low")
    assert load({"policy": [rule, Rule("threads")]}, environ={}, cwd=tmp_path).config.policy == (
        rule,
        Rule("threads"),
    )

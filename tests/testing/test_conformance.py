"""The conformance suite itself: what it quotes, what it covers, what it reports. That each check can fail is shown
in test_conformance_catches.py.
"""

import ast
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from wdasync import backend as contract
from wdasync import errors, testing
from wdasync.operations import base, ciphers, compression, digests, keys, memory, publickeys
from wdasync.operations import sequences as sequences_of_steps
from wdasync.registry import backend_names, get_backend
from wdasync.testing import ContractViolation, Report, check_backend
from wdasync.testing._command import main
from wdasync.testing.conformance import CHECKS, Finding, Verdict, examine, present
from wdasync.testing.mock import MockBackend, MockDevice, MockQueue, Options, Order, Program, Readiness
from wdasync.testing.mock import backend as mock

# What the contract says and no examination from outside can show, with the reason.
UNTESTABLE = {
    "Open a device.": "every check does",
    "Never blocks.": "said of methods of a session; each runs under the watch of its check",
    "May block, so it runs in a thread.": "permission, not a duty",
    "May block.": "permission, not a duty",
    "May block, so it runs in a thread": "permission, not a duty",
    "For devices that can also work in the caller's thread, where a hop costs more than the work.": "a reason",
    "an ``Options``": "every check gives one",
    "answers page faults": "a suite cannot make a device fault whose memory it does not know",
    "only for devices whose ``page_faults`` is ``HANDLER``": "a duty of the framework",
    "It may be 0 with nothing in flight, where hardware is shared.": "permission; the suite tries again",
    "``from`` an ``OSError(EBUSY)`` if that is because all are in use, so that there may be one later": "hardware that others "
    "share cannot be filled from here",
    "Two attributes are for commands and tests and may be missing: ``provoker`` (:class:`wdasync.testing.Provoker`), and "
    "``variants``, settings by a name, which ``python -m wdasync bench`` compares with the defaults": "a freedom",
    "(tag, operation)": "the shape of each entry of each check",
    "anything else that a person who looks for trouble wants to see": "a freedom",
    "how it ended": "each status has its own sentence",
    "bytes": "a unit",
    "what else the device knows": "each field of Detail has its own sentence",
    "otherwise without meaning.": "a freedom",
    "on OUT_OF_SPACE_RECOVERABLE as far as the device came": "no backend here completes that way",
    "how many operations fit": "compared by counters_agree, under Queue.depth",
    "accepted": "compared by counters_agree",
    "what only this backend counts": "a freedom",
}


def prose(*modules: Any) -> str:
    """All docstrings and comments of these modules in one line, without marks of comments."""
    source = "\n".join(inspect.getsource(module) for module in modules)
    return " ".join(re.sub(r"^\s*#:? ?", " ", source, flags=re.MULTILINE).split())


OPERATIONS = (base, ciphers, compression, digests, keys, memory, publickeys, sequences_of_steps)


def plain(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("name", CHECKS)
def test_quotations_stand_in_the_contract(name: str) -> None:
    """A check that quotes what is not there any more examines something that nobody promises."""
    whole = prose(contract, *OPERATIONS, errors)
    assert CHECKS[name].sentences
    assert [sentence for sentence in CHECKS[name].sentences if plain(sentence) not in whole] == []


def docstrings(names: Iterable[str]) -> Iterator[str]:
    """The docstrings of these classes of the contract, and of what is in them."""
    for node in ast.parse(inspect.getsource(contract)).body:
        if isinstance(node, ast.ClassDef) and node.name in names:
            for part in [node, *node.body]:
                if isinstance(part, ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(part)):
                    yield plain(text)


def sentences(docstring: str) -> Iterator[str]:
    """The sentences of a docstring, and the text of each of its fields."""
    head, *fields = re.split(r" ?:(?:param|ivar|cvar|returns|raises) ?[^:]*: ", docstring)
    for text in head, *fields:
        yield from filter(None, re.split(r"(?<=[.!?])\s+(?=[A-Z`])|; ", text))


def test_every_sentence_of_the_contract_is_about_some_check() -> None:
    """A sentence that is added to the contract wants a check, or a reason why there is none."""
    quoted = " ".join(plain(sentence) for check in CHECKS.values() for sentence in check.sentences)
    classes = (
        "Backend",
        "Device",
        "DeviceInfo",
        "Inline",
        "Queue",
        "Session",
        "Completion",
        "QueueStatistics",
    )
    said = [sentence for text in docstrings(classes) for sentence in sentences(text)]
    assert len(said) > 80, "the contract was read"
    forgotten = {
        sentence
        for sentence in said
        if sentence.strip(" .") not in quoted
        and sentence not in UNTESTABLE
        and sentence.strip(".") not in UNTESTABLE
    }
    assert forgotten == set()
    assert {reason for reason in UNTESTABLE if reason not in said and f"{reason}." not in said} == set()


OF_CRYPTOGRAPHY = {
    "ciphers_are_right", "seals_are_right", "signatures_are_right", "public_encryption_is_right", "exchanges_are_right",
    "generated_keys_are_keys", "keys_are_shared", "sequences_are_right",
}  # fmt: skip


# Backends


@pytest.mark.parametrize("name", backend_names())
def test_installed_backends_keep_the_contract(name: str) -> None:
    if not get_backend(name).devices():
        pytest.skip(f"no device of {name} here")
    report = check_backend(name)
    assert len(report.with_verdict(Verdict.PASSED)) > len(report.with_verdict(Verdict.NOT_APPLICABLE))


VARIANTS: dict[str, dict[str, Any]] = {
    "late, out of order": {"latency": 0.0005, "jitter": 0.0005, "order": Order.SHUFFLED, "engines": 3},
    "edge": {"steps": 2, "readiness": Readiness.EDGE},
    "consuming": {"latency": 0.0005, "readiness": Readiness.CONSUMING},
    "consuming at once": {"steps": 1, "readiness": Readiness.CONSUMING},
    "one by one": {"accept": 1, "refuse": 9, "order": Order.STRICT, "late": False},
    "two devices, two classes": {
        "devices": 2,
        "split": True,
        "inline_cost": 10,
        "depth": 5,
        "lingering": True,
    },
    "page faults": {"page_faults": contract.PageFaults.HANDLER, "order": Order.LIFO},
}


@cache
def examined(mood: str) -> tuple[Report, list[str]]:
    """What the suite says of this variant, and what the mock says of the suite."""
    program = Program(Options(**VARIANTS[mood]))
    consuming = program.options.readiness is Readiness.CONSUMING
    return examine(MockBackend(program), program.options, consuming=consuming), program.complaints


@pytest.mark.parametrize("mood", VARIANTS)
def test_the_mock_keeps_the_contract_in_all_its_moods(mood: str) -> None:
    report, complaints = examined(mood)
    assert not report.failed, str(report)
    assert complaints == []


def test_what_is_not_applicable_to_one_mood_is_to_another() -> None:
    """Only what the mock cannot have is left: memory of its own, a longest input, tiny work, what needs `cryptography`, and sequences."""
    passed = [finding.name for mood in VARIANTS for finding in examined(mood)[0].with_verdict(Verdict.PASSED)]
    never = set(CHECKS) - {name.partition("[")[0] for name in passed}
    assert never == {"own_memory_is_usable", "limits_of_the_table", "tiny_work_is_the_same", *OF_CRYPTOGRAPHY}


# Reports


class Lossy(MockQueue):
    def dequeue_burst(self, limit: int) -> Any:
        return [done for done in super().dequeue_burst(limit) if done.tag != 3]


class LossyDevice(MockDevice):
    queue_type = Lossy


class LossyBackend(MockBackend):
    device_type = LossyDevice


def test_a_violation_names_all_failed_checks() -> None:
    checks = ["exactly_one_completion", "tags_are_any_number", "limit_is_kept"]
    with pytest.raises(ContractViolation) as caught:
        check_backend(LossyBackend(), patience=0.2, only=checks)
    text = str(caught.value)
    assert text.startswith(
        "backend 'mock' breaks the queue contract in exactly_one_completion, limit_is_kept\nmock: 1 passed, 2 failed"
    )
    assert "contract: Exactly one for each accepted entry" in text
    assert [finding.name for finding in caught.value.report.failed] == [
        "exactly_one_completion",
        "limit_is_kept",
    ]
    assert isinstance(caught.value, AssertionError)


def test_a_report_counts_and_explains() -> None:
    findings = (
        Finding("one", Verdict.PASSED, ("It does one.",)),
        Finding("two", Verdict.FAILED, ("It does two.", "Twice."), "it did three"),
        Finding("three", Verdict.NOT_APPLICABLE, ("It may do three.",), "it does not"),
    )
    assert str(Report("toy", findings)).splitlines() == [
        "toy: 1 passed, 1 failed, 1 not applicable",
        "          failed  two: it did three",
        "                  contract: It does two.",
        "                  contract: Twice.",
        "  not applicable  three: it does not",
    ]


def test_a_listener_hears_each_finding() -> None:
    heard: list[Finding] = []
    report = check_backend("mock", only=["poll_mode", "every_level"], listener=heard.append)
    assert tuple(heard) == report.findings
    assert [finding.name for finding in heard] == [
        "poll_mode",
        "every_level[gzip]",
        "every_level[zlib]",
        "every_level[deflate]",
    ]


def test_unknown_checks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected names of checks \(exactly_one.*\), got no_such_check"):
        check_backend("mock", only=["no_such_check"])


def test_a_backend_that_cannot_be_opened_fails_with_its_reason() -> None:
    with mock.programmed() as program:
        program.fail_open("in use by somebody else")
        report = examine("mock", only=["poll_mode", "every_level"])
    assert [finding.name for finding in report.failed] == ["poll_mode", "every_level"]
    assert all("in use by somebody else" in finding.explanation for finding in report.failed)


def test_cleaning_up_is_part_of_a_check() -> None:
    with mock.programmed() as program:
        program.fail_close(1)
        (finding,) = examine("mock", only=["poll_mode"]).findings
    assert finding.verdict is Verdict.FAILED
    assert "close: failed" in finding.explanation


def test_a_serving_device_that_ends_fails() -> None:
    program = Program(Options(page_faults=contract.PageFaults.HANDLER, latency=0.01))
    made = MockBackend(program)
    opened = made.open

    def open_broken(*given: Any, **how: Any) -> Any:
        device = opened(*given, **how)
        device.faults.crash = ZeroDivisionError("a bug in the model")
        return device

    made.open = open_broken  # type: ignore[method-assign]
    (finding,) = examine(made, program.options, only=["poll_mode"]).findings
    assert "Device.serve ended" in finding.explanation


# The command


def test_the_command_examines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mock", "-k", "poll_mode", "-k", "units_round_trip"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "mock: 1 passed, 0 failed, 0 not applicable"
    assert lines[1] == "mock on asyncio: 1 passed, 0 failed, 0 not applicable"


def test_the_command_fails(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["mock", "--patience", "0.2", "--set", "lose_interval=3"]
    assert main([*words, "-k", "exactly_one_completion"]) == 1
    assert "failed  exactly_one_completion: no completion within 0.2 s" in capsys.readouterr().out
    assert main([*words, "-k", "tasks_do_not_mix", "--set", "steps=1"]) == 1
    assert "failed  tasks_do_not_mix" in capsys.readouterr().out


def test_the_command_says_if_there_was_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("wdasync.testing._command.present", list)
    assert main([]) == 2


def test_the_command_does_not_know_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nope"]) == 2
    told = capsys.readouterr()
    assert (told.out, "nope" in told.err) == ("", True)


def test_the_command_lists_checks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--checks"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n{name}: " in f"\n{out}" for name in CHECKS)


@pytest.mark.parametrize("words", [["--checks"], ["--help"], ["mock", "-k", "poll_mode"]])
@pytest.mark.parametrize(
    ("target", "said"),
    [("/dev/full", b"standard output: No space left on device\n"), (None, b"")],
    ids=["a full disk", "no reader"],
)
def test_the_command_cannot_write(words: list[str], target: str | None, said: bytes) -> None:
    if target is not None:
        stdout = os.open(target, os.O_WRONLY)
    else:
        reader, stdout = os.pipe()
        os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "wdasync.testing.conformance", *words],
            stdout=stdout, stderr=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": ""}, check=False,
        )  # fmt: skip
    finally:
        os.close(stdout)
    assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("stepps=1", "expected one of devices, depth"),
        ("steps=x", "expected an int of at least 0, got 'x'"),
        ("steps=-1", "expected an int of at least 0, got '-1'"),
    ],
)
def test_the_command_refuses_bad_options(word: str, said: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["mock", "--set", word])
    assert said in str(caught.value)


def test_backends_without_a_device_are_not_present() -> None:
    assert present() == [name for name in backend_names() if get_backend(name).devices()]
    assert "mock" in present()


def test_suites_are_imported_when_they_are_used() -> None:
    source = Path(testing.__file__).read_text()
    assert "from . import" not in source
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        testing.no_such_name  # noqa: B018  it is the access that raises

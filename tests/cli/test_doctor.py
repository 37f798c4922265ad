"""``doctor``: every failure that can be provoked is, and each says what to do next."""

import importlib.util
import json
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec
from typing import Any

import pytest

from tests.cli.conftest import Invoke, Start
from tests.cli.test_terminal import on_terminal
from wdasync import registry
from wdasync.backend import Check, DeviceInfo
from wdasync.cli import doctor as doctor_module
from wdasync.cli import wakes
from wdasync.errors import BackendUnavailable, Status
from wdasync.operations import Kind
from wdasync.testing import mock


class Invented:
    """A backend that tells what the test says, and cannot be opened."""

    name = "chip"
    Options = mock.Options
    automatic = 5
    fallback = False

    def __init__(
        self, infos: Sequence[DeviceInfo] | Exception, checks: Sequence[Check] | Exception = ()
    ) -> None:
        self._infos = infos
        self._checks = checks

    def devices(self) -> Sequence[DeviceInfo]:
        if isinstance(self._infos, Exception):
            raise self._infos
        return self._infos

    def diagnose(self, options: object) -> Iterable[Check]:
        assert isinstance(options, mock.Options)
        if isinstance(self._checks, Exception):
            raise self._checks
        yield from self._checks


CHIP = DeviceInfo("chip", "chip-0")


@pytest.fixture(autouse=True)
def _only_the_mock(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, mock=mock.backend)


def install(monkeypatch: pytest.MonkeyPatch, **backends: Any) -> None:
    """These backends are installed, no others; an error in the place of one is what its import raises."""

    def get_backend(name: str) -> Any:
        if isinstance(backends[name], Exception):
            raise backends[name]
        return backends[name]

    monkeypatch.setattr(registry, "backend_names", lambda: tuple(backends))
    monkeypatch.setattr(registry, "get_backend", get_backend)


def checks(
    invoke: Invoke, *arguments: str, status: int, **environ: str
) -> dict[tuple[str, str], dict[str, Any]]:
    """Group and name of each check -> the check; the exit status is as expected."""
    result = invoke("doctor", "--json", *arguments, **environ)
    assert result.exit_code == status, result.output
    document = json.loads(result.output)
    assert document["ok"] == (status == 0)
    return {(check["group"], check["name"]): check for check in document["checks"]}


def failed(found: dict[tuple[str, str], dict[str, Any]]) -> list[tuple[str, str]]:
    for check in found.values():
        assert check["advice"] or check["passed"] is not False, check
    return [key for key, check in found.items() if check["passed"] is False]


def test_all_is_well(invoke: Invoke) -> None:
    found = checks(invoke, status=0)
    assert failed(found) == []
    assert found["self-test", "open"]["found"] == "mock/mock-0"
    for algorithm in ("gzip", "zlib", "deflate"):
        assert found["self-test", algorithm]["passed"] is True
        assert found["self-test", algorithm]["found"].endswith("on mock/mock-0")


def test_the_text(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    install(
        monkeypatch, mock=mock.backend, chip=Invented([], [Check("firmware", False, "too old", "update it")])
    )
    result = invoke("doctor")
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert "pass settings no file, 1 changed" in lines
    assert "backend chip" in lines
    assert "– firmware too old" in lines
    assert "→ update it" in lines
    assert lines[-1] == "12 passed, 0 failed, 2 do not apply"
    assert max(map(len, result.output.splitlines())) <= 80


@pytest.mark.parametrize("columns", ["80", "40", "0"])
def test_a_long_path_can_be_copied(invoke: Invoke, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    """Words go to the next line; what cannot be divided stays whole, and a terminal that divides it copies it whole."""
    path = "/opt/" + "a-long-name/" * 12 + "libchip.so.1"
    words = "some words that say where it was found: "
    library = Check("library", False, words + path, f"rm {path}")
    install(monkeypatch, mock=mock.backend, chip=Invented([CHIP], [library]))
    lines = invoke("doctor", COLUMNS=columns).output.splitlines()
    found = [line.split() for line in lines]
    assert [path] in found
    assert ["→", "rm"] in found
    assert all(len(line) <= 80 for line in lines if path not in line)


def test_a_long_path_on_a_terminal(start: Start) -> None:
    """Nothing is cut off there, either, and no line is divided by us."""
    path = "/" + "x" * 200
    status, shown = on_terminal(start, "doctor", stdout=True, WDASYNC_CONFIG=path)
    assert status == 1
    assert path in shown


def test_the_text_of_a_failure(invoke: Invoke) -> None:
    result = invoke("doctor", WDASYNC_DEPTH="x")
    assert result.exit_code == 1
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert any(line.startswith("FAIL settings depth: expected an int") for line in lines)
    assert "→ correct it, then `wdasync config`" in lines
    assert "1 failed" in lines[-1]


# --- environment ---------------------------------------------------------------------------------------


def test_an_old_python(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_module, "OLDEST_PYTHON", (sys.version_info[0], sys.version_info[1] + 1))
    found = checks(invoke, status=1)
    assert failed(found) == [("environment", "Python")]
    assert "or newer" in found["environment", "Python"]["advice"]


def test_an_event_loop_that_is_not_installed_is_no_failure(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name in ("uvloop", "trio") else find_spec(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    found = checks(invoke, status=0)
    for name in ("uvloop", "trio"):
        assert found["environment", name]["passed"] is None
        assert found["environment", name]["advice"] == f"pip install 'wdasync[{name}]'"


@pytest.mark.parametrize(
    "environ",
    [
        {"WDASYNC_DEPTH": "x"},
        {"WDASYNC_DEPT": "1"},
        {"WDASYNC_CONFIG": "missing.toml"},
        {"WDASYNC_BACKEND": "moc"},
        {"WDASYNC_MOCK_SEED": "x"},
    ],
)
def test_settings_that_are_wrong(invoke: Invoke, environ: dict[str, str]) -> None:
    found = checks(invoke, status=1, **environ)
    assert failed(found) == [("environment", "settings")]
    assert found["self-test", "open"]["passed"] is None


def test_a_backend_that_is_not_installed(invoke: Invoke) -> None:
    found = checks(invoke, "-b", "moc", status=1)
    assert failed(found) == [("environment", "settings")]
    assert "did you mean 'mock'?" in found["environment", "settings"]["found"]


# --- backends ------------------------------------------------------------------------------------------


def test_a_backend_that_cannot_be_imported(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, mock=mock.backend, cpu=BackendUnavailable("no native module"))
    found = checks(invoke, status=1)
    assert failed(found) == [("backend cpu", "import")]
    assert found["backend cpu", "import"]["found"] == "no native module"
    assert found["backend cpu", "import"]["advice"] == "pip install --force-reinstall wdasync"


def test_a_device_that_is_missing(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    sick = Invented([], [Check("module", False, "not loaded", "modprobe chip")])
    install(monkeypatch, mock=mock.backend, chip=sick)
    unwanted = checks(invoke, status=0)
    assert unwanted["backend chip", "devices"]["passed"] is None
    assert unwanted["backend chip", "module"] == {
        "group": "backend chip",
        "name": "module",
        "passed": None,
        "found": "not loaded",
        "advice": "modprobe chip",
    }
    wanted = checks(invoke, "-b", "chip", status=1)
    assert failed(wanted) == [("backend chip", "devices"), ("backend chip", "module"), ("self-test", "open")]
    assert ("backend mock", "devices") not in wanted


def test_a_device_that_is_missing_though_the_policy_names_it(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "wdasync.toml").write_text('[[policy]]\nbackend = "chip"\n')
    install(monkeypatch, mock=mock.backend, chip=Invented([]))
    assert failed(checks(invoke, status=1)) == [("backend chip", "devices"), ("self-test", "open")]


def test_a_device_that_is_there_and_sick(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    sick = Invented([CHIP], [Check("permissions", False, "root only", "chmod")])
    install(monkeypatch, mock=mock.backend, chip=sick)
    assert failed(checks(invoke, status=1)) == [("backend chip", "permissions")]


def test_a_backend_whose_checks_raise(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, mock=mock.backend, chip=Invented([CHIP], KeyError("oops")))
    found = checks(invoke, status=1)
    assert failed(found) == [("backend chip", "diagnose")]
    assert found["backend chip", "diagnose"]["found"] == "KeyError: 'oops'"


def test_a_backend_whose_devices_raise(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, mock=mock.backend, chip=Invented(OSError("bus error")))
    assert failed(checks(invoke, status=1)) == [("backend chip", "devices")]


# --- self-test -----------------------------------------------------------------------------------------


def test_a_device_that_cannot_be_opened(invoke: Invoke) -> None:
    with mock.backend.programmed() as program:
        program.fail_open("busy")
        found = checks(invoke, status=1)
    assert failed(found) == [("self-test", "open")]
    assert "mock-0: busy" in found["self-test", "open"]["found"]


def test_a_device_that_has_no_queue_left(invoke: Invoke) -> None:
    with mock.backend.programmed() as program:
        program.fail_open_queue(1)
        assert failed(checks(invoke, status=1)) == [("self-test", "open")]


ALGORITHMS = [("self-test", name) for name in ("gzip", "zlib", "deflate")]


def test_a_device_that_fails(invoke: Invoke) -> None:
    with mock.backend.programmed() as program:
        program.fail(Status.DEVICE_ERROR, kind=Kind.COMPRESS, count=None)
        found = checks(invoke, status=1)
    assert failed(found) == ALGORITHMS
    assert found["self-test", "gzip"]["found"].startswith("DeviceError: ")
    assert "name another backend" in found["self-test", "gzip"]["advice"]


def test_a_device_that_fails_at_one_algorithm(invoke: Invoke) -> None:
    with mock.backend.programmed() as program:
        program.fail(Status.DATA_ERROR, kind=Kind.DECOMPRESS, count=1)
        assert failed(checks(invoke, status=1)) == [("self-test", "gzip")]


@pytest.mark.parametrize("kind", [Kind.COMPRESS, Kind.DECOMPRESS])
def test_a_device_that_is_wrong(invoke: Invoke, kind: Kind) -> None:
    with mock.backend.programmed() as program:
        program.corrupt(kind=kind, count=None)
        assert failed(checks(invoke, status=1)) == ALGORITHMS


def test_a_device_that_hangs(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_module, "PATIENCE", 0.05)
    with mock.backend.programmed() as program:
        program.stick(count=None)
        found = checks(invoke, status=1, WDASYNC_CLOSE_TIMEOUT="0.05")
    assert failed(found) == ALGORITHMS
    assert found["self-test", "gzip"]["found"].startswith("OperationTimeout: ")


def test_a_device_that_tells_nobody(invoke: Invoke) -> None:
    """Everything works, for the safety timer looks; that it has to is what is wrong."""
    with mock.backend.programmed(readiness=mock.Readiness.NEVER, latency=0.02):
        found = checks(invoke, status=1, WDASYNC_SAFETY_INTERVAL="0.01")
    assert failed(found) == [("self-test", "wake-ups")]
    assert all(found[name]["passed"] for name in ALGORITHMS)
    assert "/proc/interrupts" in found["self-test", "wake-ups"]["advice"]
    assert "only the safety timer found them" in found["self-test", "wake-ups"]["found"]


def test_a_quick_device_that_tells_nobody(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its completions are there before anybody would sleep, so that no timer has to find them."""
    monkeypatch.setattr(wakes, "PATIENCE", 0.05)
    with mock.backend.programmed(readiness=mock.Readiness.NEVER):
        found = checks(invoke, status=1, WDASYNC_SAFETY_INTERVAL="1000")
    assert failed(found) == [("self-test", "wake-ups")]
    told = found["self-test", "wake-ups"]["found"]
    assert told == "lost: mock/mock-0 finished its work, and woke nobody"

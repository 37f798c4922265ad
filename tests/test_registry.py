"""Plug-ins of strangers: one that cannot be imported, whatever it raises, keeps nobody from using the others."""

import gzip
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import get_overloads

import pytest
from click.testing import CliRunner

import wdasync
from wdasync import Accelerator, registry
from wdasync.cli import app
from wdasync.testing.mock import MockBackend

PAGE = b"page " * 100

RAISES = {
    "OSError": "import ctypes\nctypes.CDLL('libsick.so.1')\n",
    "KeyError": "{}['WDASYNC_SICK']\n",
    "a backend's own": "raise type('Sick', (Exception,), {})('no chip')\n",
    "ImportError": "import there_is_no_such_module\n",
    "AttributeError": "",
}


@pytest.fixture(params=RAISES)
def sick(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a plug-in whose import raises."""
    (tmp_path / "sick_plugin.py").write_text(RAISES[request.param])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sick_plugin", raising=False)
    monkeypatch.setitem(registry._found(), "sick", EntryPoint("sick", "sick_plugin:backend", registry.GROUP))
    return "sick"


@pytest.mark.anyio
async def test_it_is_left_out(sick: str) -> None:
    for backend in ("cpu", None):
        async with wdasync.open_accelerator(backend) as acc:
            assert gzip.decompress(await acc.compress(PAGE)) == PAGE


@pytest.mark.anyio
async def test_it_was_asked_for(sick: str) -> None:
    with pytest.raises(
        wdasync.BackendUnavailable, match=r"backend 'sick' \(sick_plugin:backend\) cannot be imported: "
    ) as caught:
        await wdasync.open_accelerator(sick)
    assert isinstance(caught.value.__cause__, Exception)


def test_devices_and_doctor_tell_of_it(sick: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wdasync.cli.doctor._distribution", lambda name: name)
    monkeypatch.setenv("COLUMNS", "300")
    for command in (["devices"], ["doctor", "-b", "cpu"], ["doctor"]):
        result = CliRunner().invoke(app, command)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert ("cannot be imported" in result.output) is ("-b" not in command)


@pytest.mark.anyio
async def test_a_backend_that_cannot_say_what_is_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As one that has nothing: an error for who asked for it, and nobody else's."""
    monkeypatch.setattr(MockBackend, "devices", broken)
    with pytest.raises(wdasync.BackendUnavailable, match="'mock': devices raised OSError: a bug") as caught:
        await wdasync.open_accelerator("mock")
    assert isinstance(caught.value.__cause__, OSError)
    monkeypatch.setattr(MockBackend, "automatic", 1000)
    async with wdasync.open_accelerator() as acc:
        assert gzip.decompress(await acc.compress(PAGE)) == PAGE
    assert "backend mock is left out" in caplog.text
    monkeypatch.setenv("COLUMNS", "300")
    result = CliRunner().invoke(app, ["devices"])
    assert result.exit_code == 0
    assert "devices raised OSError: a bug" in result.output


@pytest.mark.anyio
@pytest.mark.parametrize(("what", "told"), [("raises", "OSError: a bug"), ("gives None", "got None")])
async def test_a_device_that_is_none(what: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MockBackend, "open", broken if what == "raises" else lambda *_, **__: None)
    with pytest.raises(wdasync.BackendUnavailable, match=f"mock/mock-0: .*{told}"):
        await wdasync.open_accelerator("mock")
    monkeypatch.setattr(MockBackend, "automatic", 1000)
    async with wdasync.open_accelerator() as acc:
        assert gzip.decompress(await acc.compress(PAGE)) == PAGE


def broken(*_: object, **__: object) -> None:
    raise OSError("a bug")


@pytest.mark.parametrize("function", [Accelerator.compress_many, wdasync.compress_many])
def test_a_flag_that_is_known_at_run_time_only(function: Callable[..., object]) -> None:
    """For a type checker: as of ``asyncio.gather``, whose results may be errors then."""
    told = [
        (each.__annotations__["return_exceptions"], each.__annotations__["return"])
        for each in get_overloads(function)
    ]
    assert told[-1] == ("bool", "list[bytes | WdasyncError]")
    assert len(told) == 2

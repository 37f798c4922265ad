"""The pytest plug-in, in sessions of its own: what it gives, and that it disturbs nobody."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

# The installed plug-in is switched off, and loaded by its module: so the sources are tested, whatever was installed.
PLUGIN = ("-p", "no:wdasync", "-p", "wdasync.testing.pytest_plugin", "-p", "no:cacheprovider")


@pytest.fixture
def session(tmp_path: Path) -> "Session":
    return Session(tmp_path)


class Session:
    """A pytest session in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(
        self, source: str, *arguments: str, plugin: tuple[str, ...] = PLUGIN
    ) -> "subprocess.CompletedProcess[str]":
        if source:
            self.folder.joinpath("test_it.py").write_text(source)
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("WDASYNC_", "PYTEST_"))
        }
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "pytest", "-q", *plugin, *arguments],
            cwd=self.folder, env=kept, capture_output=True, text=True, check=False,
        )  # fmt: skip


def summary(done: "subprocess.CompletedProcess[str]") -> str:
    """The last line, without the time."""
    return done.stdout.strip().splitlines()[-1].rpartition(" in ")[0]


def test_it_is_found_by_pytest() -> None:
    (point,) = [
        point
        for point in importlib.metadata.entry_points(group="pytest11")
        if point.dist is not None and point.dist.name == "wdasync"
    ]
    assert (point.name, point.value) == ("wdasync", "wdasync.testing.pytest_plugin")


def test_a_strangers_session_is_left_alone(session: Session) -> None:
    """No warning, no output, no event loop and no suite is imported; asynchronous tests are nobody's of ours."""
    done = session.run(
        """
import sys

def test_nothing_was_imported(request):
    for name in ("asyncio", "trio", "uvloop", "wdasync.testing.mock", "wdasync.testing.conformance"):
        assert name not in sys.modules, name
""",
        "-p", "no:anyio", "-p", "no:timeout", "-p", "no:hypothesispytest", "--strict-markers", "--strict-config",
    )  # fmt: skip
    assert (summary(done), done.stderr) == ("1 passed", ""), done.stdout


def test_the_program_holds_in_the_test(session: Session) -> None:
    done = session.run("""
import asyncio, gzip, pytest, wdasync

async def compress():
    async with wdasync.open_accelerator() as acc:
        return await acc.compress(b"page")

def test_it_works(wdasync_mock):
    assert gzip.decompress(asyncio.run(compress())) == b"page"
    assert wdasync_mock.devices == []

def test_it_fails(wdasync_mock):
    wdasync_mock.fail(wdasync.Status.DATA_ERROR)
    with pytest.raises(wdasync.DataError, match="injected by the test"):
        asyncio.run(compress())
""")
    assert summary(done) == "2 passed", done.stdout


def test_use_against_the_contract_fails_the_test(session: Session) -> None:
    done = session.run("""
from wdasync.testing.mock import Options, backend

def test_it(wdasync_mock):
    device = backend.open(backend.devices()[0], Options())
    queue = device.open_queue(1)
    queue.close()
    try:
        queue.arm()
    except RuntimeError:
        pass
""")
    assert summary(done) == "1 passed, 1 error"
    assert "a queue was used against its contract: arm: the queue is closed" in done.stdout


CHOSEN = """
import asyncio, os, pytest, wdasync

async def chosen():
    async with wdasync.open_accelerator() as acc:
        return (await acc.execute(wdasync.Nop())).backend

def test_option(wdasync_backend):
    assert asyncio.run(chosen()) == wdasync_backend

@pytest.mark.wdasync_backend("mock")
def test_marker(wdasync_backend):
    assert os.environ["WDASYNC_BACKEND"] == wdasync_backend == "mock"

def test_without():
    assert "WDASYNC_BACKEND" not in os.environ
"""


def test_backends_are_chosen(session: Session) -> None:
    done = session.run(CHOSEN, "--strict-markers", "--wdasync-backend=mock", "--wdasync-backend=cpu", "-vv")
    assert "4 passed" in summary(done), done.stdout
    assert "test_option[mock] PASSED" in done.stdout
    assert "test_option[cpu] PASSED" in done.stdout
    assert "test_marker[mock] PASSED" in done.stdout


def test_by_default_all_that_are_here(session: Session) -> None:
    done = session.run(CHOSEN, "--collect-only")
    assert "test_option[cpu]" in done.stdout
    assert "test_option[mock]" in done.stdout


def test_an_unknown_backend_is_an_error(session: Session) -> None:
    done = session.run(CHOSEN, "--wdasync-backend=mok", "-k", "test_option")
    assert "did you mean 'mock'" in done.stdout
    assert done.returncode == 1


def test_the_suite_runs_as_tests(session: Session) -> None:
    done = session.run(
        "", "--pyargs", "wdasync.testing.conformance", "--wdasync-backend=mock",
        "-k", "limit_is_kept or own_memory_is_usable or many_keep_their_order", "-rs",
    )  # fmt: skip
    assert "any memory will do" in done.stdout
    assert summary(done).startswith("4 passed, 1 skipped"), done.stdout


def test_the_suite_runs_without_the_plug_in(session: Session) -> None:
    """Without the option, each installed backend that has a device here."""
    done = session.run("", "--pyargs", "wdasync.testing.conformance", "--collect-only", plugin=PLUGIN[:2])
    assert "test_contract[poll_mode-mock]" in done.stdout or "test_contract[mock-poll_mode]" in done.stdout
    assert "[cpu-" in done.stdout or "-cpu]" in done.stdout


def test_the_suite_runs_as_a_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "wdasync.testing.conformance", "mock", "-k", "poll_mode"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == (
        "mock: 1 passed, 0 failed, 0 not applicable\n",
        "",
        0,
    )

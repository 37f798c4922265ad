"""pytest plug-in, loaded by itself where wdasync is installed (entry point ``wdasync`` of the group ``pytest11``).

Fixtures:

* ``wdasync_mock``: the program of the mock backend (:class:`wdasync.testing.Program`). While the test runs, what
  opens an accelerator without naming a backend gets the mock. At the end the test fails if somebody used a queue
  against the contract.
* ``wdasync_backend``: the name of a backend; what opens an accelerator without naming one gets it. The test runs once
  for each backend of its marker ``wdasync_backend``, else of the option ``--wdasync-backend``, else for each installed
  one that has a device here.

It imports nothing of wdasync before a test asks for it, and changes no setting of pytest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .program import Program

__all__ = ["pytest_addoption", "pytest_configure", "pytest_generate_tests", "wdasync_backend", "wdasync_mock"]

VARIABLE = "WDASYNC_BACKEND"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--wdasync-backend``."""
    parser.getgroup("wdasync").addoption(
        "--wdasync-backend",
        action="append",
        metavar="NAME",
        help="run tests that use the fixture wdasync_backend, and wdasync.testing.conformance, on this backend; may be "
        "repeated (default: each installed backend that has a device here)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Add the marker."""
    config.addinivalue_line(
        "markers",
        "wdasync_backend(*names): run a test that uses the fixture wdasync_backend on these backends",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each backend."""
    if "wdasync_backend" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("wdasync_backend")
    names = list(marker.args) if marker else metafunc.config.getoption("--wdasync-backend")
    if not names:
        from .conformance import present

        names = present()
    metafunc.parametrize("wdasync_backend", names, indirect=True)


@pytest.fixture
def wdasync_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the backend that holds in this test."""
    name = str(request.param)
    monkeypatch.setenv(VARIABLE, name)
    return name


@pytest.fixture
def wdasync_mock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    """The program of the mock backend, which holds in this test."""
    from .mock import backend

    monkeypatch.setenv(VARIABLE, backend.name)
    with backend.programmed() as program:
        yield program
    if program.complaints:
        pytest.fail("a queue was used against its contract: " + "; ".join(program.complaints))

"""What every test may use."""

import signal
from typing import Any

import pytest

from tests.sbin import look_in_sbin

EVENT_LOOPS: dict[str, tuple[str, dict[str, Any]]] = {
    "asyncio": ("asyncio", {"use_uvloop": False}),
    "asyncio+uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


@pytest.fixture(params=list(EVENT_LOOPS))
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Each asynchronous test (`pytestmark = pytest.mark.anyio`) runs on three event loops."""
    return EVENT_LOOPS[request.param]


def pytest_configure(config: pytest.Config) -> None:
    """Whoever runs the tests may ignore some signals, as ``nohup`` and a shell's background jobs do; children inherit it."""
    look_in_sbin()
    # In the guest it is not there: its import takes seconds.
    if config.pluginmanager.hasplugin("hypothesispytest"):
        from hypothesis import settings

        settings.register_profile("untimed", settings(deadline=None))  # a busy machine is no defect
        settings.load_profile("untimed")
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_make_parametrize_id(val: object) -> str | None:
    """
    The name of a test must be the same in each of the processes that run the tests.

    Compressed data is another with each second (a gzip header's time), and so is its length when it is compressed again.
    """
    return "data" if isinstance(val, bytes) and len(val) > 4 else None

"""What a device does in the caller's thread, and does wrong."""

import gzip
import logging
from typing import Any

import pytest

import wdasync
from wdasync import Compress
from wdasync.backend import Completion
from wdasync.testing.mock import backend

pytestmark = pytest.mark.anyio

PAGE = b"page " * 100


def broken(*_: object) -> Any:
    raise ValueError("a bug in the model")


#: What it does -> method, what is in its place, what the error says.
WRONG: dict[str, tuple[str, Any, str]] = {
    "cost raises": ("cost", broken, "cost raised ValueError: a bug in the model"),
    "run raises": ("run", broken, "run raised ValueError: a bug in the model"),
    "an unknown status": ("run", lambda *_: Completion(0, 99), "expected a Status, got 99"),  # type: ignore[arg-type]
    "no detail": (
        "run",
        lambda *_: Completion(0, wdasync.Status.DATA_ERROR, detail=None),  # type: ignore[arg-type]
        "expected a Detail, got None",
    ),
}


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("way", ["compress", "execute", "timeout"])
async def test_a_bug_in_inline_work_is_a_device_error(
    what: str, way: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that come later go to the queue, if it raised."""
    caplog.set_level(logging.CRITICAL)
    name, method, told = WRONG[what]
    with backend.programmed(depth=4, inline_cost=1) as program:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            await acc.compress(PAGE)  # the route is settled
            monkeypatch.setattr(type(program.devices[0].inline), name, method)

            async def compress() -> bytes | None:
                if way == "execute":
                    return (await acc.execute(Compress(PAGE, "gzip"))).output
                return await acc.compress(PAGE, timeout=10 if way == "timeout" else None)

            with pytest.raises(wdasync.DeviceError, match=f"on mock/mock-0: .*{told}"):
                await compress()
            if "raises" in what:
                output = await compress()
                assert output is not None
                assert gzip.decompress(output) == PAGE
            assert acc.statistics().in_flight == 0


@pytest.mark.parametrize("what", WRONG)
async def test_the_next_backend_takes_it(
    what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    name, method, _ = WRONG[what]
    with backend.programmed(depth=4, inline_cost=1) as program:
        async with wdasync.open_accelerator("mock", fallback=True) as acc:
            monkeypatch.setattr(type(program.devices[0].inline), name, method)
            result = await acc.execute(Compress(PAGE, "gzip"))
            assert result.backend == "cpu"
            assert result.output is not None
            assert gzip.decompress(result.output) == PAGE


@pytest.mark.parametrize(("raised", "told"), [(ValueError("a bug"), "ValueError: a bug"), (None, "got None")])
async def test_a_queue_that_is_none(
    raised: Exception | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a stranger's device does instead of opening a queue is one error, which names it."""

    def open_queue(*_: object) -> None:
        if raised is not None:
            raise raised

    monkeypatch.setattr("wdasync.testing.mock.MockDevice.open_queue", open_queue)
    with pytest.raises(wdasync.BackendUnavailable, match=f"mock/mock-0: .*{told}") as caught:
        await wdasync.open_accelerator("mock", fallback=False)
    assert caught.value.__cause__ is raised

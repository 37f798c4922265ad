"""What becomes of a device whose own coroutine ends: it is lost, and nothing else is."""

import anyio
import anyio.lowlevel
import pytest

import wdasync
from wdasync.backend import PageFaults
from wdasync.testing._mock_faults import Faults
from wdasync.testing.mock import backend

pytestmark = pytest.mark.anyio


class Odd(BaseException):
    """No Exception, and nothing that ends a program."""


async def lost(acc: wdasync.Accelerator) -> str:
    """What operations say, once it is noticed."""
    with anyio.fail_after(10):
        while True:
            try:
                await acc.compress(b"x")
            except wdasync.DeviceError as error:
                return str(error)
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), Odd("a bug"), GeneratorExit("a bug")])
async def test_whatever_comes_out_of_it_loses_the_device(error: BaseException) -> None:
    with backend.programmed(page_faults=PageFaults.HANDLER) as program:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            await acc.compress(b"x")
            program.crash(error)
            assert "serve raised" in await lost(acc)


async def test_what_comes_before_the_first_queue_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(self: Faults) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Faults, "serve", serve)
    with backend.programmed(page_faults=PageFaults.HANDLER):
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            assert "serve raised ZeroDivisionError" in await lost(acc)

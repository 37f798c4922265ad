"""A cancellation that waited for the device pins no memory of other operations, not even until the next collection."""

import gc
import time

import anyio
import pytest

import wdasync
from wdasync.testing.mock import Program, backend

pytestmark = pytest.mark.anyio

PAGE = b"the same page again and again, " * 64


async def test_buffers_of_neighbours_are_free(request: pytest.FixtureRequest) -> None:
    program: Program
    gc.collect()
    gc.disable()
    request.addfinalizer(gc.enable)
    errors: list[BaseException] = []
    mine, other = bytearray(4096), bytearray(4096)
    with backend.programmed() as program:
        async with wdasync.open_accelerator("mock", fallback=False) as acc:
            program.hold()
            scope = anyio.CancelScope()

            async def cancelled() -> None:
                with scope:
                    try:
                        await acc.compress_into(PAGE, mine)
                    except BaseException as error:
                        errors.append(error)  # its traceback lives on, as in a log or in a reference cycle
                        raise

            async with anyio.create_task_group() as group:
                group.start_soon(cancelled)
                group.start_soon(acc.compress_into, PAGE, other)
                for _ in range(5):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()
                for _ in range(5):
                    await anyio.lowlevel.checkpoint()
                program.release()
                time.sleep(0.05)  # noqa: ASYNC251  so that both are taken from the queue in one burst
            assert scope.cancelled_caught
            mine.extend(b"free")
            other.extend(b"free")
    assert len(errors) == 1

"""Opening, the default accelerator of each event loop, fork, threads: what lives how long, and whose it is."""

import asyncio
import gc
import gzip
import os
import subprocess
import sys
import textwrap
import threading
import types
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest

import wdasync
from wdasync.backend import PageFaults
from wdasync.eventloop import current_event_loop
from wdasync.testing._mock_faults import Faults
from wdasync.testing.mock import MockDevice, backend

pytestmark = pytest.mark.anyio

PAGE = b"page " * 100


@pytest.fixture(autouse=True)
def on_mock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDASYNC_BACKEND", "mock")
    monkeypatch.setenv("WDASYNC_FALLBACK", "no")


def run_program(source: str, **environment: str) -> str:
    """Run a program in an interpreter of its own, warnings being errors; returns what it printed."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", textwrap.dedent(source)],
        env={**os.environ, "WDASYNC_BACKEND": "mock", "WDASYNC_FALLBACK": "no", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Warning" not in ended.stderr, ended.stderr
    assert "Exception ignored" not in ended.stderr, ended.stderr
    return ended.stdout


# -- opening ------------------------------------------------------------------------------------------------


async def test_awaited_instead_of_entered() -> None:
    acc = await wdasync.open_accelerator("mock")
    try:
        assert gzip.decompress(await acc.compress(PAGE)) == PAGE
    finally:
        await acc.aclose()


async def test_an_opening_is_entered_once() -> None:
    opening = wdasync.open_accelerator("mock")
    async with opening:
        with pytest.raises(RuntimeError, match="entered already"):
            await opening.__aenter__()


async def test_an_unknown_backend_names_the_nearest() -> None:
    with pytest.raises(wdasync.BackendUnavailable, match="did you mean 'mock'"):
        await wdasync.open_accelerator("mokc")


async def test_a_device_that_cannot_be_opened() -> None:
    with backend.programmed() as program:
        program.fail_open("somebody else has it")
        with pytest.raises(wdasync.BackendUnavailable, match="somebody else has it"):
            await wdasync.open_accelerator("mock")


async def test_a_queue_that_cannot_be_opened_leaves_nothing_behind() -> None:
    with backend.programmed() as program:
        program.fail_open_queue(1)
        with pytest.raises(wdasync.BackendUnavailable):
            await wdasync.open_accelerator("mock")
        assert not program.devices


async def test_a_handler_for_a_device_without_faults_is_an_error() -> None:
    async def handler(fault: wdasync.PageFault) -> wdasync.FaultResponse:
        return wdasync.FaultResponse.SUCCESS

    with backend.programmed() as program:
        with pytest.raises(wdasync.InvalidArgument, match="on_fault: expected a device whose page faults"):
            await wdasync.open_accelerator("mock", on_fault=handler)
        assert not program.devices


async def test_outside_of_any_event_loop() -> None:
    opening = wdasync.open_accelerator("mock")
    with pytest.raises(wdasync.ForeignLoopError, match="expected to be called inside a running"):
        await anyio.to_thread.run_sync(lambda: opening.__await__().send(None))


async def test_unclosed_accelerators_warn() -> None:
    kept = [await wdasync.open_accelerator("mock")]
    loop = kept[0]._execution.loop

    def forget() -> None:
        kept.clear()
        gc.collect()

    with pytest.warns(ResourceWarning, match="unclosed <Accelerator open on"):
        forget()
    await loop.stop()


# -- whose it is --------------------------------------------------------------------------------------------


async def test_another_thread_s_loop_is_refused() -> None:
    async with wdasync.open_accelerator("mock") as acc:
        caught: list[BaseException] = []

        async def use() -> None:
            for attempt in (acc.compress(PAGE), acc.compress_many([PAGE]), acc.aclose()):
                try:
                    await attempt
                except wdasync.ForeignLoopError as error:
                    caught.append(error)

        await anyio.to_thread.run_sync(anyio.run, use)
        assert len(caught) == 3
        assert "in thread MainThread>, where it was opened, got the asyncio loop at" in str(caught[0])
        assert gzip.decompress(await acc.compress(PAGE)) == PAGE


async def test_another_thread_is_just_importing_trio(
    anyio_backend_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is half imported has no parts yet."""
    if anyio_backend_name == "trio":
        return  # It is imported where it runs.
    for parts in ({}, {"lowlevel": types.ModuleType("trio.lowlevel")}):
        half = types.ModuleType("trio")
        vars(half).update(parts)
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "trio", half)
            where = current_event_loop()
        assert where.is_current()


async def test_two_loops_in_two_threads_at_once() -> None:
    """Each has its own; both work at the same time."""
    together = threading.Barrier(2)

    async def use() -> None:
        async with wdasync.open_accelerator("mock") as acc:
            together.wait(10)
            results = await acc.compress_many([PAGE] * 200)
            assert all(gzip.decompress(result) == PAGE for result in results)

    async with anyio.create_task_group() as group:
        for loop in ("asyncio", "trio"):
            group.start_soon(anyio.to_thread.run_sync, partial(anyio.run, use, backend=loop))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_after_fork_the_default_opens_afresh_and_an_explicit_one_refuses() -> None:
    printed = run_program(
        """
        import asyncio, gzip, os, traceback, warnings, wdasync
        warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads: the point of this test

        async def child(explicit, default):
            assert gzip.decompress(await wdasync.compress(b"child")) == b"child"
            assert await wdasync.default_accelerator() is not default
            for attempt in (explicit.compress(b"x"), default.compress(b"x"), explicit.compress_many([b"x"])):
                try:
                    await attempt
                except wdasync.ForeignLoopError as error:
                    print("child:", "opened by the parent process" in str(error), flush=True)
            await explicit.aclose()

        async def main():
            async with wdasync.open_accelerator() as explicit:
                await explicit.compress(b"parent")
                default = await wdasync.default_accelerator()
                pid = os.fork()
                if pid == 0:
                    try:
                        asyncio.run(child(explicit, default))
                    except BaseException:
                        traceback.print_exc()
                        os._exit(1)
                    os._exit(0)
                assert os.waitpid(pid, 0)[1] == 0
                print("parent:", gzip.decompress(await explicit.compress(b"still mine")).decode(), flush=True)

        asyncio.run(main())
        """
    )
    assert printed == "child: True\n" * 3 + "parent: still mine\n"


# -- the default accelerator --------------------------------------------------------------------------------

RUNNERS = {
    "asyncio": "import asyncio; run = asyncio.run; sleep = asyncio.sleep",
    "asyncio+uvloop": "import asyncio, uvloop; run = uvloop.run; sleep = asyncio.sleep",
    "trio": "import trio; run = lambda main: trio.run(lambda: main); sleep = trio.sleep",
}


@pytest.mark.parametrize("loop", RUNNERS)
def test_the_default_is_closed_with_its_loop(loop: str) -> None:
    printed = run_program(
        RUNNERS[loop]
        + textwrap.dedent(
            """
            import gzip, wdasync
            from wdasync.testing.mock import backend

            async def main():
                assert gzip.decompress(await wdasync.compress(b"x")) == b"x"
                assert len(program.devices) == 1

            with backend.programmed() as program:
                run(main())
                print(len(program.devices))
                run(main())
                print(len(program.devices))
            """
        )
    )
    assert printed == "0\n0\n"


@pytest.mark.parametrize("loop", ["asyncio", "asyncio+uvloop"])
def test_the_clean_up_of_tasks_and_generators_still_compresses(loop: str) -> None:
    """asyncio.run cancels all tasks, then closes all generators, then the loop. All of these may use it."""
    printed = run_program(
        RUNNERS[loop]
        + textwrap.dedent(
            """
            import gzip, wdasync

            async def generator():
                try:
                    yield 1
                finally:
                    for _ in range(10):
                        await sleep(0.001)
                        await wdasync.compress(b"in a generator's finally")
                    print("generator")

            async def task():
                try:
                    await sleep(60)
                finally:
                    await sleep(0.01)
                    await wdasync.compress(b"in a task's finally")
                    print("task")

            kept = []

            async def main():
                await wdasync.compress(b"first use")
                background = asyncio.create_task(task())
                for _ in range(3):
                    kept.append(generator())
                    await anext(kept[-1])
                await sleep(0)
                kept.append(background)

            run(main())
            """
        )
    )
    assert printed == "task\ngenerator\ngenerator\ngenerator\n"


@pytest.mark.parametrize("name", ["mock", "cpu", "hip08"])
@pytest.mark.parametrize("loop", ["asyncio", "asyncio+uvloop"])
def test_a_first_use_in_the_clean_up_of_a_generator(loop: str, name: str) -> None:
    """It is too late to be told of the end of the loop; it is no fault of the program's, and closed nevertheless."""
    printed = run_program(
        RUNNERS[loop]
        + textwrap.dedent(
            """
            import gc, gzip, wdasync

            accelerators, kept = [], []

            async def generator():
                try:
                    yield 1
                finally:
                    print(gzip.decompress(await wdasync.compress(b"first use")))
                    accelerators.append(await wdasync.default_accelerator())

            async def main():
                kept.append(generator())
                await anext(kept[0])

            run(main())
            gc.collect()
            print(accelerators[0].is_open)
            """
        ),
        WDASYNC_BACKEND=name,
    )
    assert printed == "b'first use'\nFalse\n"


def test_a_bare_close_of_the_loop_warns() -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(wdasync.compress(PAGE))
    with pytest.warns(ResourceWarning, match="unclosed <Accelerator"):
        loop.close()
    gone = weakref.ref(loop)
    del loop
    collect_until(lambda: gone() is None)
    assert gone() is None


def collect_until(condition: Callable[[], bool]) -> None:
    """Collect garbage until it shows: the thread that opened a device lets go of the loop in its own time."""
    for _ in range(100):
        gc.collect()
        if condition():
            return
        threading.Event().wait(0.05)


async def test_first_use_by_many_at_once_opens_one() -> None:
    with backend.programmed() as program:
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(wdasync.compress, PAGE)
        assert len(program.devices) == 1
        await (await wdasync.default_accelerator()).aclose()


async def test_a_closed_default_is_opened_again() -> None:
    first = await wdasync.default_accelerator()
    await first.aclose()
    assert gzip.decompress(await wdasync.compress(PAGE)) == PAGE
    second = await wdasync.default_accelerator()
    assert second is not first
    await second.aclose()


async def test_a_cancelled_first_use_leaves_it_usable() -> None:
    with anyio.move_on_after(0):
        await wdasync.compress(PAGE)
    assert gzip.decompress(await wdasync.compress(PAGE)) == PAGE
    await (await wdasync.default_accelerator()).aclose()


async def test_all_module_level_functions() -> None:
    packed = await wdasync.compress(PAGE, "zlib", level=9)
    assert await wdasync.decompress(packed, "zlib") == PAGE
    buffer = bytearray(1000)
    produced = await wdasync.compress_into(PAGE, buffer)
    assert gzip.decompress(buffer[:produced]) == PAGE
    assert await wdasync.decompress_into(packed, buffer, "zlib") == len(PAGE)
    assert bytes(buffer[: len(PAGE)]) == PAGE
    assert [gzip.decompress(item) for item in await wdasync.compress_many([b"a", b"b"])] == [b"a", b"b"]
    await (await wdasync.default_accelerator()).aclose()


# -- KeyboardInterrupt ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", RUNNERS)
def test_an_interrupt_under_load_ends_in_order(loop: str) -> None:
    """SIGINT at random moments of a busy program: it ends as KeyboardInterrupt, closed, without a traceback of ours."""
    for delay in ("0.05", "0.11", "0.23"):
        printed = run_program(
            RUNNERS[loop]
            + textwrap.dedent(
                """
                import os, signal, sys, threading, wdasync
                from wdasync.testing.mock import backend

                async def main():
                    async with wdasync.open_accelerator("mock", depth=8) as acc:
                        threading.Timer(float(sys.argv[1]), os.kill, (os.getpid(), signal.SIGINT)).start()
                        while True:
                            await acc.compress_many([b"x" * 100] * 40)

                with backend.programmed(depth=8) as program:
                    try:
                        run(main())
                    except KeyboardInterrupt:
                        print("interrupted", len(program.devices), program.complaints)
                """
            ).replace("sys.argv[1]", repr(delay))
        )
        assert printed == "interrupted 0 []\n"


def test_the_package_s_names_are_complete() -> None:
    exported: dict[str, Any] = {name: getattr(wdasync, name) for name in wdasync.__all__}
    assert sorted(wdasync.__all__) == wdasync.__all__
    public = {name for name in vars(wdasync) if not name.startswith("_")}
    modules = {name for name in public if type(getattr(wdasync, name)).__name__ == "module"}
    assert public - modules - {"annotations"} == set(exported)


@pytest.mark.anyio
@pytest.mark.parametrize("opening", ["succeeds", "fails"])
async def test_a_device_is_closed_after_its_coroutine_has_ended(
    monkeypatch: pytest.MonkeyPatch, opening: str
) -> None:
    """It may be waiting for descriptors of the device, and somebody else gets their numbers."""
    events: list[str] = []
    serve, close = Faults.serve, MockDevice.close

    async def served(self: Faults) -> None:
        try:
            await serve(self)
        finally:
            events.append("served")

    def closed(self: MockDevice) -> None:
        events.append("closed")
        close(self)

    monkeypatch.setattr(Faults, "serve", served)
    monkeypatch.setattr(MockDevice, "close", closed)
    with backend.programmed(page_faults=PageFaults.HANDLER) as program:
        program.queue_failures = opening == "fails"
        try:
            async with wdasync.open_accelerator("mock", fallback=False):
                await anyio.wait_all_tasks_blocked()
        except wdasync.BackendUnavailable:
            assert opening == "fails"
    # What fails at once ends before its coroutine has begun.
    assert events == ["served", "closed"] or (opening == "fails" and events == ["closed"])


@pytest.mark.anyio
async def test_many_that_open_and_close_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async def use() -> None:
        for _ in range(6):
            async with wdasync.open_accelerator("hip08", fallback=False) as acc:
                for _ in range(2):
                    await acc.compress(b"x" * 20_000, "gzip")
                    await anyio.sleep(0.001)
                statistics = acc.statistics()
                assert statistics.rescues == 0
                assert all(place.state == "open" for place in statistics.places)

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(use)
    assert "serve raised" not in caplog.text

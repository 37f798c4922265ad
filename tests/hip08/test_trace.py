"""The file of a trace: what is wrong with it is said at once, and what goes wrong later leaks nothing."""

import gc
import json
import re
from pathlib import Path
from typing import Any

import pytest

import wdasync
from wdasync_hip08.clocks import VirtualClock
from wdasync_hip08.trace import Recorder


def descriptors() -> int:
    """How many are open. What other tests have left to the garbage collector is gone."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.anyio
@pytest.mark.parametrize("where", ["absent/x.json", "."])
async def test_a_path_that_cannot_be_written(where: str, tmp_path: Path) -> None:
    path = str(tmp_path / where)
    before = descriptors()
    for _ in range(3):
        with pytest.raises(wdasync.ConfigError, match="trace: expected a file that can be written") as caught:
            async with wdasync.open_accelerator("hip08", trace=path):
                pass
        assert path in str(caught.value)
    assert descriptors() <= before


@pytest.mark.anyio
async def test_an_accelerator_writes_its_trace(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text("of another day\n" * 10_000)
    async with wdasync.open_accelerator("hip08", fallback=False, trace=str(path)) as acc:
        await acc.compress(b"now and then " * 100, "gzip")
    text = path.read_text()
    assert "SQE fetch" in text
    assert "another day" not in text


@pytest.mark.anyio
async def test_a_trace_that_cannot_be_written_in_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """All else is done by then: it is one line of the log, with what to do, and no traceback."""
    async with wdasync.open_accelerator("hip08", fallback=False, trace="/dev/full") as acc:
        await acc.compress(b"now and then " * 100, "gzip")
    (told,) = [record for record in caplog.records if record.name == "wdasync"]
    assert told.exc_info is None
    assert re.fullmatch(
        r"hip08/\S+: close: hip08\.trace: expected a file that can be written, got '/dev/full': No space left on device",
        told.getMessage(),
    )


def test_a_device_without_an_accelerator_raises_it() -> None:
    device = wdasync.open_device("hip08", trace="/dev/full")
    with pytest.raises(
        wdasync.ConfigError, match="trace: expected a file that can be written, got '/dev/full'"
    ):
        device.close()


def test_nothing_leaks_when_the_trace_cannot_be_written(new_machine: Any) -> None:
    before = descriptors()
    machine = new_machine(trace="/dev/full")
    with pytest.raises(OSError, match="No space left"):
        machine.close()
    assert descriptors() <= before
    machine.close()


def test_a_trace_says_what_it_forgot() -> None:
    recorder = Recorder(VirtualClock(), limit=3)
    for number in range(3):
        recorder.instant("qm", "mailbox", number_of=number)
    assert len(recorder.text().splitlines()) == 3
    assert json.loads(recorder.chrome())["otherData"] == {"forgotten": 0}
    recorder.begin("qm", "span", 1)
    recorder.end("qm", "span", 1)
    assert recorder.forgotten == 2
    lines = recorder.text().splitlines()
    assert lines[0] == "2 events before these were forgotten"
    assert len(lines) == 4
    assert json.loads(recorder.chrome())["otherData"] == {"forgotten": 2}
    assert repr(recorder) == "<Recorder 3 events, 2 forgotten>"

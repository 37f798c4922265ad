"""``demo``, and the load that it makes. Nothing here looks at how fast anything was."""

import asyncio
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke
from wdasync import PageFault, Reason, registry
from wdasync.backend import PageFaults
from wdasync.cli import backends
from wdasync.cli import demo as demo_module
from wdasync.cli.commands import Failure
from wdasync.cli.workload import BOUND, LARGEST, SMALLEST, Outcome, StallMeter, cut, drive, read_input
from wdasync.errors import BackendUnavailable
from wdasync.faults import Access, FaultResponse
from wdasync.testing import mock


@pytest.fixture
def _few(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The mock counts as a backend, and few requests are enough."""
    monkeypatch.delenv("WDASYNC_BACKEND")
    monkeypatch.setattr(backends, "SKIPPED", frozenset())
    monkeypatch.setattr(demo_module, "REQUESTS", 130)
    monkeypatch.setattr(registry, "backend_names", lambda: ("mock",))
    with mock.backend.programmed():
        yield


def lines(output: str) -> list[str]:
    return [" ".join(line.split()) for line in output.splitlines()]


@pytest.mark.usefixtures("_few")
def test_the_tables(invoke: Invoke, page: Path) -> None:
    page = page.rename(page.with_name("page" * 25))
    result = invoke("demo", page, "-s", "60")
    assert result.exit_code == 0, result.output
    found = lines(result.output)
    assert found[1] == f"cut from {page}.", "a path is not divided"
    assert max(len(line) for line in result.output.splitlines() if str(page) not in line) <= 80
    numbers = r" 130 [\d.]+ [\d.]+ [\d.]+ [\d.]+ [\d.]+"
    assert any(re.fullmatch(f"inline zlib.compress{numbers}", line) for line in found)
    assert any(re.fullmatch(f"mock/mock-0{numbers}", line) for line in found)
    samples = [line for line in found if re.fullmatch(r"[\d.]+ k?B mock/mock-0 – [\d.]+ preferred", line)]
    assert len(samples) == len(demo_module.SAMPLES)
    assert "preferred: the first choice took it." in found
    assert any(re.fullmatch(r"mock/mock-0 any 130 0 [\d.]+ [\d.]+", line) for line in found), "what ran where"
    assert "\x1b" not in result.output


@pytest.mark.usefixtures("_few")
def test_what_ran_where(invoke: Invoke, page: Path) -> None:
    """Two devices with two queues each: all of them, and the sum is that of the requests."""
    with mock.backend.programmed(devices=2, nodes=(0, 1)):
        found = lines(
            invoke("demo", page, "-s", "60", WDASYNC_OPEN_QUEUES="2", WDASYNC_DEPTH="2", COLUMNS="100").output
        )
    rows = [re.fullmatch(r"(mock/mock-\d(?: #1)?) (\d) (\d+) 0 [\d.]+ [\d.]+", line) for line in found]
    shown = [row.groups() for row in rows if row]
    assert [row[0] for row in shown] == ["mock/mock-0", "mock/mock-0 #1", "mock/mock-1", "mock/mock-1 #1"]
    assert [row[1] for row in shown] == ["0", "0", "1", "1"]
    assert sum(int(row[2]) for row in shown) == 130


@pytest.mark.usefixtures("_few")
def test_the_time_is_bounded(invoke: Invoke, page: Path) -> None:
    result = invoke("demo", page, "-s", "0.000001", "-c", "3")
    assert result.exit_code == 0, result.output
    row = next(line for line in lines(result.output) if line.startswith("mock/mock-0"))
    assert int(row.split()[1]) < 130


@pytest.mark.usefixtures("_few")
def test_wrong_results_are_counted_and_fail(invoke: Invoke, page: Path) -> None:
    with mock.backend.programmed() as program:
        program.corrupt(count=3)
        result = invoke("demo", page, "-s", "60")
    assert result.exit_code == 1
    assert any(line.startswith("mock/mock-0 130, 3 wrong ") for line in lines(result.output))
    assert result.stderr == "Error: 3 results are wrong; run `python -m wdasync doctor`\n"


@pytest.mark.usefixtures("_few")
def test_page_faults_are_shown(invoke: Invoke, page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    completed = mock.MockDevice.completed

    def fault(self: mock.MockDevice) -> None:
        report = self.faults._report
        assert report is not None
        report(PageFault("mock-0", 0x7F00_0000_1000, Access.WRITE, 5, 1, 4096, FaultResponse.SUCCESS, 0.0015))
        completed(self)

    monkeypatch.setattr(mock.MockDevice, "completed", fault)
    with mock.backend.programmed(page_faults=PageFaults.HANDLER):
        found = lines(invoke("demo", page, "-s", "60").output)
    assert "mock/mock-0: 130 page faults, the first 5" in found
    assert found.count("0x7f0000001000 write 5 success 1.50") == 5


@pytest.mark.usefixtures("_few")
def test_backends_that_cannot_take_part(invoke: Invoke, page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Empty:
        def devices(self) -> list[object]:
            return []

    def get_backend(name: str) -> object:
        if name == "broken":
            raise BackendUnavailable("no libchip")
        return Empty()

    monkeypatch.setattr(registry, "backend_names", lambda: ("broken", "empty"))
    monkeypatch.setattr(registry, "get_backend", get_backend)
    result = invoke("demo", page, "-s", "0.1")
    assert result.exit_code == 1
    assert "left out: no libchip" in lines(result.output)
    assert "left out: backend 'empty' has no device here" in lines(result.output)
    assert result.stderr == "Error: no backend has a device here; run `python -m wdasync doctor`\n"


def test_the_mock_is_left_out(invoke: Invoke, page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "backend_names", lambda: ("mock",))
    assert "no backend has a device here" in invoke("demo", page, "-s", "0.01").stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("nowhere",), 1, "nowhere: No such file or directory"),
        (("small",), 1, "small: expected at least 1024 bytes, got 3"),
        (("-c", "0"), 2, "'-c'"),
        (("-s", "0"), 2, "'-s'"),
    ],
)
def test_what_cannot_be(
    invoke: Invoke, tmp_path: Path, arguments: tuple[str, ...], status: int, message: str
) -> None:
    (tmp_path / "small").write_bytes(b"abc")
    result = invoke("demo", *arguments)
    assert result.exit_code == status
    assert message in result.stderr


def test_every_reason_has_words() -> None:
    assert set(demo_module.REASONS) == set(Reason)


# --- the load ------------------------------------------------------------------------------------------


def test_the_standard_library_is_the_input() -> None:
    name, data = read_input(None)
    assert "standard library" in name
    assert 1 << 20 < len(data) <= BOUND
    assert b"import" in data


def test_the_input_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(BOUND + 1))
    assert len(read_input(str(tmp_path / "large"))[1]) == BOUND


def test_too_little_input(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(bytes(SMALLEST - 1))
    with pytest.raises(Failure, match="expected at least 1024 bytes, got 1023"):
        read_input(str(tmp_path / "small"))


def test_requests_are_cut_from_the_input() -> None:
    data = b"".join(b"%d " % number for number in range(100_000))
    requests = cut(data, 500)
    assert len(requests) == 500
    assert all(request in data for request in requests)
    assert all(SMALLEST <= len(request) <= LARGEST for request in requests)
    assert sum(len(request) < 16 << 10 for request in requests) > 150
    assert max(map(len, requests)) > 200 << 10
    assert requests == cut(data, 500)
    assert requests != cut(data, 500, seed=2)


def test_a_small_input_is_cut_too() -> None:
    assert set(cut(bytes(SMALLEST), 10)) == {bytes(SMALLEST)}


def run_load(requests: list[bytes], clients: int) -> tuple[Outcome, int, list[int]]:
    """Outcome, the most requests that were under way at once, and what `advance` was told."""
    busy = most = 0
    told: list[int] = []

    async def handle(index: int, request: bytes) -> bytes:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0)
        busy -= 1
        return zlib.compress(request)

    load = drive(requests, handle, clients=clients, seconds=60, advance=told.append)
    return asyncio.run(load), most, told


def test_every_request_is_answered_once() -> None:
    requests = [bytes([number]) * 2000 for number in range(50)]
    outcome, most, told = run_load(requests, 7)
    assert sorted(index for index, _ in outcome.answers) == list(range(50))
    assert most == 7
    assert told == [2000] * 50
    assert len(outcome.latencies) == 50
    assert outcome.bytes_in == 100_000
    assert outcome.bytes_out == sum(len(zlib.compress(request)) for request in requests)
    assert outcome.seconds > 0


def test_answers_that_are_wrong_are_counted() -> None:
    outcome, _, _ = run_load([b"a" * 2000, b"b" * 2000, b"c" * 2000], 2)
    assert outcome.wrong(15) == 0
    outcome.answers[1] = (outcome.answers[1][0], zlib.compress(b"something else"))
    outcome.answers[2] = (outcome.answers[2][0], b"no zlib")
    assert outcome.wrong(15) == 2


def test_percentiles() -> None:
    outcome = Outcome([], latencies=[float(number) for number in range(100, 0, -1)])
    assert outcome.percentile(50) == 51
    assert outcome.percentile(99) == 100
    assert Outcome([], latencies=[3.0]).percentile(99) == 3


def test_the_meter_notices_a_loop_that_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is invented: each look at the clock is some way on, one of them 5 s."""
    times = iter([0.0, 0.001, 0.001, 5.002, 5.002, 5.003])
    meter = StallMeter()

    async def sleep(delay: float) -> None:
        assert delay == 0.001

    monkeypatch.setattr("anyio.sleep", sleep)
    monkeypatch.setattr("wdasync.cli.workload.time.perf_counter", lambda: next(times))
    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(meter.run())
    assert meter.longest == pytest.approx(5.0)


def test_an_empty_name(invoke: Invoke) -> None:
    result = invoke("demo", "")
    assert (result.exit_code, "expected a name, got an empty one" in result.stderr) == (2, True)

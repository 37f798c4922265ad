"""``bench``: that it measures what it says, and computes right. Nothing here looks at how fast anything was."""

import asyncio
import hashlib
import importlib.util
import json
import math
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.cli.conftest import Invoke
from wdasync import Paging, Reason, Result, open_accelerator, registry
from wdasync.backend import Capabilities, Capability, PageFaults
from wdasync.cli import backends
from wdasync.cli import bench as bench_module
from wdasync.cli.benchmarks import charts, machine, rounds, tables
from wdasync.cli.benchmarks.cases import CROWD, PRESETS, Case, cases, kib
from wdasync.cli.benchmarks.codecs import CODECS, Codec, Likeness, likeness, same_as
from wdasync.cli.benchmarks.documents import Origin, Report, document
from wdasync.cli.benchmarks.faults import PAGE, Faulting, FaultSample, why_not
from wdasync.cli.benchmarks.inputs import BLOCKS, blocks
from wdasync.cli.benchmarks.loops import LOOPS, run_on
from wdasync.cli.benchmarks.results import Compared, compare, rate_over, ratio, summary
from wdasync.cli.benchmarks.rounds import CaseRun, LoopRun, Plan, Ran, run_rounds, steps
from wdasync.cli.benchmarks.samples import Sample, measure, measure_threads, percentile
from wdasync.cli.benchmarks.sides import AWAITS, BARE, FEW, HOP, MANY, OTHERS, OURS, SIDES, other, side_of
from wdasync.cli.benchmarks.targets import PAGING, TARGETS, judge
from wdasync.cli.benchmarks.works import WORKS
from wdasync.config import load
from wdasync.errors import BackendUnavailable
from wdasync.operations import Kind
from wdasync.testing import mock

TINY = ("--rounds", "2", "--seconds", "0.001", "--in-flight", "8")


# --- the command ---------------------------------------------------------------------------------------


class Twin(mock.MockBackend):
    """Another backend, for comparison."""

    name = "twin"


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch) -> Twin:
    """The backends that are installed: the mock, a twin of it, and one that is broken."""
    found = Twin()
    installed = {"mock": mock.backend, "twin": found}

    def get(name: str) -> Any:
        if name == "broken":
            raise BackendUnavailable("backend 'broken': no libchip")
        return installed[name]

    monkeypatch.setattr(registry, "backend_names", lambda: ("broken", *installed))
    monkeypatch.setattr(registry, "get_backend", get)
    return found


@pytest.fixture
def report(invoke: Invoke, page: Path, tmp_path: Path) -> Callable[..., tuple[str, Any]]:
    """Run it with tiny settings; what it wrote, and its document."""

    def run(*arguments: str) -> tuple[str, Any]:
        path = tmp_path / "report.json"
        result = invoke("bench", page, *TINY, "--json", path, *arguments)
        assert result.exit_code == 0, result.output
        return result.stdout, json.loads(path.read_text(), parse_constant=pytest.fail)

    return run


Reporting = Callable[..., tuple[str, Any]]


@pytest.mark.usefixtures("twin")
@pytest.mark.parametrize("loop", LOOPS)
def test_every_side_on_every_loop(report: Reporting, loop: str) -> None:
    output, found = report("--loop", loop, "--full", "--size", "1k")
    assert found["schema"] == 1
    (run,) = found["loops"]
    assert run["loop"] == loop
    assert run["codec"] == {"name": "zlib 1", "same": True}
    assert {(case["kind"], case["size"], case["in_flight"]) for case in run["cases"]} == {
        ("load", 0, 8),
        ("load", 1024, 8),
        ("latency", 1024, 1),
        ("stall", 1024, CROWD),
        ("backends", 1024, 8),
    }
    sides = {side for case in run["cases"] for side in case["sides"]}
    assert sides == {*SIDES, other("twin")} - {AWAITS, BARE, FEW, MANY}
    for case in run["cases"]:
        for side in case["sides"].values():
            assert len(side["rounds"]) == 2
            assert all(sample["operations"] >= case["in_flight"] for sample in side["rounds"])
            assert side["medians"]["rate"] > 0
            assert side["label"] in output
    assert max(map(len, output.splitlines())) <= 80


def test_what_is_said_of_the_run(report: Reporting, page: Path) -> None:
    output, found = report("--loop", "asyncio", "--side", "thread", "--size", "2KiB")
    told = machine.describe()
    assert str(told["cpu"]) in output
    assert {**told, "load_average": 0, "others": 0} == {**found["machine"], "load_average": 0, "others": 0}
    assert found["command"].startswith("python -m wdasync bench ")
    assert all(
        word in found["command"] for word in ("--loop asyncio", "--side thread", "--size 2048", str(page))
    )
    assert found["settings"] == {
        "backend": None,
        "rounds": 2,
        "seconds": 0.001,
        "input": str(page),
        "pages": 0,
        "backends": [],
        "backends_left_out": {},
    }
    loads = [case for case in found["loops"][0]["cases"] if case["kind"] == "load"]
    assert [list(case["sides"]) for case in loads] == [[HOP, "thread"], [OURS, HOP, "thread"]]
    statistics = found["loops"][0]["statistics"]
    assert statistics[HOP]["inline"] == 0
    assert statistics[HOP]["rescues"] == 0
    assert statistics[HOP]["completed"] == statistics[HOP]["reasons"]["preferred"]


def test_the_command_line_gives_the_same_command_line(invoke: Invoke, page: Path) -> None:
    arguments = ("--quick", "--side", "pool", "--side", "inline", "--loop", "asyncio", *TINY, "--json", "-")
    found = json.loads(invoke("bench", page, *arguments).stdout)
    again = found["command"].split()[4:]
    assert sorted(again) == sorted([str(page), *arguments])
    assert json.loads(invoke("bench", *again).stdout)["command"] == found["command"]


def test_json_to_standard_output_is_alone_there(invoke: Invoke, page: Path) -> None:
    result = invoke("bench", page, *TINY, "--quick", "--loop", "asyncio", "--json", "-")
    assert json.loads(result.stdout)["schema"] == 1
    assert "bare futures" in result.stderr


def test_a_worker_runs_it(report: Reporting) -> None:
    """What is measured leaves the loop's thread, and the peers do the same work."""
    output, found = report("--backend", "cpu", "--loop", "asyncio", "--quick")
    (run,) = found["loops"]
    assert run["codec"]["same"]
    assert run["threads"] == max(1, machine.cores() - 1)
    nop = run["cases"][0]
    assert sum(ran["operations"] for ran in nop["ran"]) == 8
    for ran in nop["ran"]:
        assert (ran["queue"], ran["reason"]) == ("cpu/cpu0", "preferred")
        assert ran["where"].startswith("worker ")
    assert "cpu/cpu0, worker 0" in output


def test_a_chart(invoke: Invoke, page: Path, tmp_path: Path) -> None:
    for name, start in (("c.svg", b"<?xml"), ("c.png", b"\x89PNG")):
        result = invoke("bench", page, *TINY, "--quick", "--loop", "asyncio", "--chart", name)
        assert result.exit_code == 0, result.output
        assert (tmp_path / name).read_bytes().startswith(start)


def test_no_chart_without_matplotlib(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = invoke("bench", "--chart", "c.svg")
    assert result.exit_code == 1
    assert result.stderr == "Error: --chart needs matplotlib; type: pip install 'wdasync[bench]'\n"


def test_nothing_to_draw(invoke: Invoke, page: Path) -> None:
    result = invoke(
        "bench", page, *TINY, "--quick", "--loop", "asyncio", "--side", "futures", "--chart", "c.svg"
    )
    assert result.exit_code == 1
    assert "no operations a second were compared" in result.stderr


def test_a_loop_that_is_not_there(invoke: Invoke, monkeypatch: pytest.MonkeyPatch, page: Path) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "wdasync.cli.benchmarks.loops.find_spec", lambda name: None if name == "uvloop" else find_spec(name)
    )
    result = invoke("bench", "--loop", "uvloop")
    assert result.exit_code == 1
    assert result.stderr == "Error: uvloop is not installed; type: pip install 'wdasync[uvloop]'\n"
    found = json.loads(invoke("bench", page, *TINY, "--quick", "--side", "thread", "--json", "-").stdout)
    assert [run["loop"] for run in found["loops"]] == ["asyncio", "trio"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--loop", "curio"), 2, "'curio' is not one of 'asyncio', 'uvloop', 'trio'"),
        (("--side", "wdasync"), 2, "'wdasync' is not one of 'thread'"),
        (("--size", "0"), 2, "such as 300, 16k or 1MiB, got '0'"),
        (("--size", "2M"), 2, "from 1 byte to 1 MiB"),
        (("--size", "k"), 2, "from 1 byte to 1 MiB"),
        (("--size", "-1"), 2, "from 1 byte to 1 MiB"),
        (("--rounds", "0"), 2, "'--rounds'"),
        (("--seconds", "0"), 2, "'--seconds'"),
        (("--seconds", "nan"), 2, "expected a number of seconds, got nan"),
        (("--in-flight", "0"), 2, "'--in-flight'"),
        (("--json", "no/where.json"), 1, "no/where.json: expected a file that can be written"),
        (("--json", "."), 2, "is a directory"),
        (("--chart", "no/where.svg"), 1, "no/where.svg: expected a file that can be written"),
        (("--chart", "c.pdf"), 1, "expected a name that ends in .svg or .png"),
        (("--backend", "mok", *TINY), 1, "mok"),
        (("nowhere",), 1, "nowhere: No such file or directory"),
    ],
)
def test_what_cannot_be(invoke: Invoke, arguments: tuple[str, ...], status: int, message: str) -> None:
    result = invoke("bench", *arguments)
    assert result.exit_code == status
    assert message in " ".join(result.stderr.split()).replace("│", "")


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("300", 300), ("1k", 1024), ("16KiB", 16384), ("64 kb", 65536), ("1MiB", 1 << 20), ("1 m", 1 << 20)],
)
def test_sizes(text: str, nbytes: int) -> None:
    assert bench_module._size(text) == nbytes


def test_wrong_output_is_found(invoke: Invoke, page: Path) -> None:
    with mock.backend.programmed() as program:
        program.corrupt(count=1000)
        result = invoke("bench", page, *TINY, "--quick", "--loop", "asyncio")
    assert result.exit_code == 1
    assert "mock: an output is not what was compressed" in result.stderr


def test_what_a_device_cannot_do_is_left_out(invoke: Invoke, page: Path) -> None:
    rows = Capabilities([Capability(Kind.COMPRESS, "gzip")])
    arguments = (*TINY, "--quick", "--loop", "asyncio", "--side", "thread", "--json", "-")
    with mock.backend.programmed() as program:
        program.capabilities = rows
        result = invoke("bench", page, *arguments)
    (run,) = json.loads(result.stdout)["loops"]
    assert [case["size"] for case in run["cases"]] == [1024]
    assert list(run["left_out"]) == ["no-op, 8 in flight"]
    assert "no-op, 8 in flight: left out: nop: expected a device that does such work" in result.stderr


# --- other works ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", LOOPS)
def test_works(report: Reporting, loop: str) -> None:
    """Signatures, digests, ciphers and sequences, each by all its sides."""
    words = [word for name in WORKS for word in ("--work", name)]
    output, found = report("--backend", "cpu", "--loop", loop, *words)
    (run,) = found["loops"]
    assert run["left_out"] == {}
    assert [case["kind"] for case in run["cases"]] == ["load", *WORKS]
    for case in run["cases"][1:]:
        work = WORKS[case["kind"]]
        assert (case["size"], case["in_flight"], tuple(case["sides"])) == (work.size, 8, work.sides)
        assert f"{work.title}, 8 in flight" in " ".join(output.split())
        for name, side in case["sides"].items():
            assert len(side["rounds"]) == 2
            least = 1 if name in (BARE, FEW) else 8
            assert all(sample["operations"] >= least for sample in side["rounds"])
    assert max(map(len, output.splitlines())) <= 80


def test_wrong_output_of_a_work_is_found(invoke: Invoke, page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = WORKS["sha256"]
    right = work.make([b"a"], Codec("none", bytes)).right
    assert right(hashlib.sha256(b"a").digest())
    assert not right(hashlib.sha256(b"b").digest())
    monkeypatch.setitem(
        WORKS, "sha256", work._replace(make=lambda data, codec: work.make(data, codec)._replace(right=right))
    )
    result = invoke("bench", page, *TINY, "--work", "sha256", "--loop", "asyncio")
    assert result.exit_code == 1
    assert "SHA-256 of 1 KiB: an output is not right" in result.stderr


def test_a_work_that_the_device_cannot_do_is_left_out(report: Reporting) -> None:
    with mock.backend.programmed() as program:
        program.capabilities = Capabilities([Capability(Kind.NOP, "nop"), Capability(Kind.COMPRESS, "gzip")])
        _, found = report("--loop", "asyncio", "--work", "sha256")
    assert list(found["loops"][0]["left_out"]) == ["SHA-256 of 1 KiB, 8 in flight"]


@pytest.mark.parametrize("name", ["aes-gcm", "rsa-sign", "sequence"])
def test_a_work_whose_package_is_missing_is_left_out(
    report: Reporting, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for module in ("asymmetric.rsa", "ciphers.aead"):
        monkeypatch.setitem(sys.modules, f"cryptography.hazmat.primitives.{module}", None)
    output, found = report("--backend", "cpu", "--loop", "asyncio", "--work", name)
    ((_, why),) = found["loops"][0]["left_out"].items()
    assert "wdasync[crypto]" in why
    assert "wdasync[crypto]" in output


def test_works_can_be_chosen() -> None:
    chosen = cases(PRESETS[""].doing(["sha256", "sha256"]))
    assert [case.kind for case in chosen] == ["load", "sha256"]
    assert PRESETS[""].doing(["sha256"]).pages == 0
    assert PRESETS["full"].doing([]) == PRESETS["full"]
    assert not any(case.kind in WORKS for case in cases(PRESETS["full"].only([300])))
    assert not any(case.kind in WORKS for case in cases(PRESETS["quick"]))


def test_bare_threads_each_call_again_and_again() -> None:
    calls: Counter[int] = Counter()

    def call() -> None:
        calls[threading.get_ident()] += 1
        time.sleep(0.0001)

    found = asyncio.run(measure_threads(call, 3, 64, 0.005))
    assert len(calls) == 3
    assert found.operations == calls.total()
    assert found.seconds > 0
    assert 0 < found.p50 <= found.p99


def test_a_bare_thread_that_fails_is_heard_of() -> None:
    def call() -> None:
        raise LookupError

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(measure_threads(call, 2, 64, 60))
    assert caught.value.subgroup(LookupError)


@pytest.mark.parametrize("side", [AWAITS, BARE, FEW, MANY])
def test_sides_without_compression(side: str) -> None:
    with pytest.raises(NotImplementedError, match="not for compression"):
        SIDES[side].make(None, [])  # type: ignore[arg-type]


# --- other backends ------------------------------------------------------------------------------------

BESIDE = ("--loop", "asyncio", "--quick", "--side", OTHERS)
TITLE = "1 KiB, other backends"


def backends_case(found: Any) -> Any:
    """The one case about other backends."""
    (case,) = [case for case in found["loops"][0]["cases"] if case["kind"] == "backends"]
    return case


@pytest.mark.usefixtures("twin")
def test_another_backend(report: Reporting) -> None:
    output, found = report(*BESIDE)
    case = backends_case(found)
    assert (case["size"], case["in_flight"], case["ours"]) == (1024, 8, OURS)
    assert list(case["sides"]) == [OURS, "backend:twin"]
    theirs = case["sides"]["backend:twin"]
    assert (theirs["label"], len(theirs["rounds"])) == ("wdasync on twin", 2)
    assert theirs["likeness"] == {"codec": "zlib 1", "same": True, "related": True, "size": 1}
    assert {ran["queue"]: ran["operations"] for ran in case["ran"]} == {
        "mock/mock-0": 8,
        "twin/mock-0": 8,
    }
    assert f"{TITLE}: wdasync on twin uses zlib 1 and makes the same" in " ".join(output.split())
    assert set(found["loops"][0]["statistics"]) == {OURS, HOP, "backend:twin"}


def test_another_backend_with_another_codec(report: Reporting, twin: Twin) -> None:
    with twin.programmed() as program:
        program.capabilities = Capabilities([Capability(Kind.COMPRESS, "gzip", default=9)])
        output, found = report(*BESIDE)
    likeness = backends_case(found)["sides"]["backend:twin"]["likeness"]
    assert (likeness["codec"], likeness["same"], likeness["related"]) == (None, False, False)
    assert likeness["size"] < 1
    assert "uses an unknown codec: this is not the same work" in " ".join(output.split())


def test_variants_of_a_backend(report: Reporting, twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that a backend wants compared take turns as if they were backends."""
    monkeypatch.setattr(twin, "variants", {"few": {"queues": 7}}, raising=False)
    queues: list[int] = []
    opening = twin.open

    def opened(info: Any, options: Any, **how: Any) -> Any:
        queues.append(options.queues)
        return opening(info, options, **how)

    monkeypatch.setattr(twin, "open", opened)
    output, found = report(*BESIDE)
    sides = backends_case(found)["sides"]
    assert list(sides) == [OURS, "backend:twin", "backend:twin:few"]
    assert sides["backend:twin:few"]["label"] == "wdasync on twin:few"
    assert "wdasync on twin:few uses zlib 1" in " ".join(output.split())
    assert queues == [0, 7]
    _, found = report(*BESIDE, "--backend", "twin")
    assert list(backends_case(found)["sides"]) == [OURS, "backend:twin:few"]


@pytest.mark.usefixtures("twin")
def test_our_backend_is_not_another(report: Reporting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "SKIPPED", frozenset())
    _, found = report(*BESIDE)
    assert found["settings"]["backends"] == ["mock", "twin"]
    assert list(backends_case(found)["sides"]) == [OURS, "backend:twin"]
    _, found = report(*BESIDE, "--backend", "twin")
    assert list(backends_case(found)["sides"]) == [OURS, "backend:mock"]


@pytest.mark.usefixtures("twin")
def test_the_backend_for_tests_is_not_compared(report: Reporting) -> None:
    _, found = report(*BESIDE, "--backend", "twin")
    assert found["settings"]["backends"] == ["twin"]
    assert found["loops"][0]["left_out"][TITLE] == "there is no other backend that can do it"


def test_a_backend_that_is_broken_or_has_no_device(
    report: Reporting, twin: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Twin, "devices", lambda _: [])
    output, found = report(*BESIDE)
    assert found["settings"]["backends_left_out"] == {
        "broken": "backend 'broken': no libchip",
        "twin": "backend 'twin' has no device here",
    }
    assert "left out: backend 'broken': no libchip\n" in output
    assert "left out: backend 'twin' has no device here\n" in output


def test_a_backend_that_cannot_be_opened(report: Reporting, twin: Twin) -> None:
    with twin.programmed() as program:
        program.open_failure = "no luck"
        output, found = report(*BESIDE)
    left_out = found["loops"][0]["left_out"]
    assert "no luck" in left_out["backend twin"]
    assert "backend twin: left out:" in output
    assert TITLE in left_out


def test_a_backend_that_cannot_compress(report: Reporting, twin: Twin) -> None:
    with twin.programmed() as program:
        program.capabilities = Capabilities([Capability(Kind.NOP, "nop")])
        _, found = report(*BESIDE)
    left_out = found["loops"][0]["left_out"]
    assert "got 'gzip'" in left_out[f"{TITLE}, wdasync on twin"]
    assert left_out[TITLE] == "there is no other backend that can do it"


def test_wrong_output_of_another_backend_is_found(invoke: Invoke, twin: Twin, page: Path) -> None:
    with twin.programmed() as program:
        program.corrupt(count=1000)
        result = invoke("bench", page, *TINY, *BESIDE)
    assert result.exit_code == 1
    assert "twin: an output is not what was compressed" in result.stderr


@pytest.mark.parametrize("arguments", [("--quick",), ("--side", "thread", "--size", "1k")])
def test_no_other_backends(report: Reporting, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str]) -> None:
    monkeypatch.setattr(bench_module, "find_backends", pytest.fail)
    _, found = report("--loop", "asyncio", *arguments)
    (run,) = found["loops"]
    assert not any(case["kind"] == "backends" for case in run["cases"])
    assert run["faults"] == run["left_out"] == {}


@pytest.mark.usefixtures("twin")
def test_another_backend_in_the_chart(report: Reporting, tmp_path: Path) -> None:
    report(*BESIDE, "--chart", "c.svg")
    assert TITLE in (tmp_path / "c.svg").read_text()
    assert "wdasync on twin" in (tmp_path / "c.svg").read_text()


def texts(count: int) -> list[bytes]:
    """Different ones of about 1 KiB."""
    return [
        b"".join(b"%d is %x\n" % (number, number**5) for number in range(start, start + 60))
        for start in range(count)
    ]


def test_the_same_codec_in_another_way() -> None:
    """Library and level are the same, and so is the work; the bytes are not."""
    data = texts(99)
    ours, theirs = (
        [(block, CODECS[name]()(block)) for block in data] for name in ("isal 1", "isal 1, stream")
    )
    found = likeness(ours, theirs)
    assert (found.codec.name, found.same, found.related) == ("isal 1, stream", False, True)
    assert found.size == pytest.approx(1, abs=0.05)
    assert likeness(ours, ours)[1:] == (True, True, 1)
    zlibs = [(block, CODECS["zlib 1"]()(block)) for block in data]
    assert likeness(ours, zlibs)[1:3] == (False, False)
    assert likeness(zlibs, zlibs)[1:] == (True, True, 1)
    stored = [(block, zlib.compress(block, 0, 31)) for block in data]
    assert likeness(stored, ours).related is False
    assert likeness(stored, stored)[1:] == (True, True, 1), "unknown, but equal"


# --- page faults ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("twin")
def test_page_faults(report: Reporting) -> None:
    with mock.backend.programmed(page_faults=PageFaults.HANDLER):
        output, found = report(*BESIDE)
    (run,) = found["loops"]
    assert list(run["faults"]) == ["mock"], "the twin fetches all pages before it begins"
    assert "page faults" not in run["left_out"]
    rounds = run["faults"]["mock"]["rounds"]
    assert len(rounds) == 2
    for sample in rounds:
        assert sample["faults"] == 16 * sample["operations"] > 0
        assert sample["absent"] > sample["pager"] > 0
        assert sample["present"] > 0
    assert "A page fault, µs" in output
    assert "wdasync on mock" in output


def test_page_faults_of_another_backend(report: Reporting, twin: Twin) -> None:
    with twin.programmed(page_faults=PageFaults.HANDLER):
        _, found = report(*BESIDE)
    assert list(found["loops"][0]["faults"]) == ["twin"]
    assert {target["text"] for target in found["targets"]} == {"page fault on twin, µs"}


def test_nobody_takes_pages_on_fault(report: Reporting, twin: Twin) -> None:
    with twin.programmed() as program:
        program.capabilities = Capabilities([Capability(Kind.NOP, "nop")])
        output, found = report(*BESIDE)
    why = found["loops"][0]["left_out"]["page faults"]
    assert why.startswith("mock: all pages are fetched before its device begins; compress: expected a device")
    assert "A page fault" not in output


@pytest.mark.usefixtures("twin")
def test_a_device_without_faults(report: Reporting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wdasync.cli.benchmarks.rounds.why_not", lambda _: "not today")
    _, found = report(*BESIDE)
    assert found["loops"][0]["left_out"]["page faults"] == "mock: not today; twin: not today"


@pytest.mark.parametrize(
    ("paging", "faults", "words"),
    [
        (Paging.ON_FAULT, 3, ""),
        (Paging.ON_FAULT, 0, "without a fault"),
        (Paging.BEFORE, 0, "before"),
        (None, 3, "before"),
    ],
)
def test_whether_there_are_faults(paging: Paging | None, faults: int, words: str) -> None:
    result = Result(b"", 0, 0, "mock", "mock-0", "queue 0", "", Reason.PREFERRED, 0.1, faults, paging)
    assert (words in why_not(result)) is True
    assert bool(why_not(result)) is bool(words)


@pytest.mark.usefixtures("twin")
@pytest.mark.parametrize("method", ["probe", "measure"])
def test_wrong_output_of_a_paged_input_is_found(
    invoke: Invoke, page: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    called = getattr(Faulting, method)

    async def corrupt(self: Faulting, *arguments: float) -> object:
        program.corrupt(count=1)
        return await called(self, *arguments)

    monkeypatch.setattr(Faulting, method, corrupt)
    with mock.backend.programmed(page_faults=PageFaults.HANDLER) as program:
        result = invoke("bench", page, *TINY, *BESIDE)
    assert result.exit_code == 1
    assert "mock: an output of a paged input is not what was compressed" in " ".join(result.stderr.split())


def test_a_turn_of_page_faults_is_not_empty() -> None:
    async def main() -> FaultSample:
        async with open_accelerator("mock", fallback=False) as accelerator:
            return await Faulting(accelerator, [b"a" * PAGE * 3, b"b" * (PAGE + 1)]).measure(0)

    with mock.backend.programmed(page_faults=PageFaults.HANDLER):
        sample = asyncio.run(main())
    assert (sample.operations, sample.faults) == (1, 3)


def test_the_cost_of_a_fault() -> None:
    """Ten operations took 5 ms with and 2 ms without faults, and the pager 1 ms: 40 faults cost 50 µs each."""
    found = FaultSample(operations=10, faults=40, absent=0.005, present=0.002, pager=0.001)
    assert found.cost == pytest.approx(50e-6)
    assert FaultSample(1, 0, 0.005, 0.002, 0.0).cost == math.inf


# --- rounds --------------------------------------------------------------------------------------------


def test_sides_take_turns() -> None:
    """Each round begins with another side; the first round, which warms up, does not count."""
    case = Case("load", 100, 2, ("wdasync", "thread", "inline"))
    plan, told = Plan("mock", [case], 4, 0.001, b"abc" * 100), list[str]()
    run = asyncio.run(run_rounds(LOOPS["asyncio"], plan, told.append))
    names = [text.rpartition(": ")[2] for text in told]
    assert len(told) == steps(plan) == 15
    assert [names[start] for start in range(0, 15, 3)] == ["inline", "wdasync", "thread", "inline", "wdasync"]
    assert all(sorted(names[start : start + 3]) == sorted(case.sides) for start in range(0, 15, 3))
    assert [len(found) for found in run.cases[0].samples.values()] == [4, 4, 4]


def test_long_operations_have_long_turns() -> None:
    turns: list[float] = []

    async def note(in_flight: int, seconds: float, *, timed: int) -> Sample:
        del in_flight, timed
        turns.append(seconds)
        return Sample(1, 1.0, 1.0, 1.0, 1.0, 1.0)

    for kind in ("load", "sha256", "rsa-sign"):
        case = Case(kind, 1, 2, ("wdasync",))
        run = CaseRun(case, {"wdasync": []})
        asyncio.run(rounds._take_turns(run, {"wdasync": note}, 0, 0.5, lambda _: None))
    assert turns == [0.5, 0.5, 2.0]


@pytest.mark.parametrize("timed", [1, 3])
def test_a_closed_loop(timed: int) -> None:
    """So many operations are under way at once, and all are counted."""
    busy, most, done = 0, 0, 0

    async def act() -> None:
        nonlocal busy, most, done
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0)
        busy -= 1
        done += 1

    sample = asyncio.run(measure(act, 5, 0.002, timed=timed))
    assert most == 5
    assert sample.operations == done >= 5
    assert sample.seconds > 0
    assert 0 <= sample.p50 <= sample.p99


def test_every_task_has_its_turn() -> None:
    """Otherwise a slow operation would be measured with fewer tasks than asked for."""
    tasks: Counter[object] = Counter()

    async def act() -> None:
        tasks[asyncio.current_task()] += 1
        await anyio.sleep(0.001)

    sample = asyncio.run(measure(act, 20, 0.0001))
    assert len(tasks) == 20
    assert sample.operations == tasks.total()


def test_an_operation_that_fails_ends_it() -> None:
    async def act() -> None:
        raise LookupError

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(measure(act, 3, 60))
    assert caught.value.subgroup(LookupError)


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_bare_futures_park_and_wake(loop: Any) -> None:
    """A thousand times, ten tasks, one of which is cancelled in its sleep."""
    woken: Counter[int] = Counter()

    async def main() -> None:
        natives = loop.natives(1)

        async def sleeper(number: int) -> None:
            for _ in range(100):
                await natives.park()
                woken[number] += 1

        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await natives.park()
            for number in range(10):
                group.start_soon(sleeper, number)
        natives.close()

    run_on(loop, main)
    assert woken == dict.fromkeys(range(10), 100)


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_the_pool_is_as_large_as_asked(loop: Any) -> None:
    names: set[str] = set()
    busy = most = 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.001)
        with lock:
            busy -= 1
        names.add(threading.current_thread().name)

    async def main() -> None:
        natives = loop.natives(2)

        async def one() -> None:
            await natives.in_pool(work)

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(one)
        natives.close()

    run_on(loop, main)
    assert most <= 2
    assert threading.current_thread().name not in names


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_an_interrupt_comes_alone(loop: Any) -> None:
    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_on(loop, main)


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_other_groups_stay_groups(loop: Any) -> None:
    async def main() -> None:
        async with anyio.create_task_group():
            raise LookupError

    with pytest.raises(ExceptionGroup):
        run_on(loop, main)


# --- numbers -------------------------------------------------------------------------------------------


def sample(rate: float, *, cpu: float = 1e-5, p50: float = 1e-3, stall: float = 1e-3) -> Sample:
    """A second of it; ``cpu`` is of one operation."""
    return Sample(int(rate), 1.0, cpu * int(rate), p50, 2 * p50, stall)


def test_a_sample() -> None:
    found = Sample(operations=500, seconds=0.25, cpu=0.1, p50=1, p99=2, stall=3)
    assert found.rate == 2000
    assert found.cpu_per_operation == pytest.approx(0.0002)


def test_percentiles() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert (percentile(values, 50), percentile(values, 99)) == (51, 100)
    assert percentile([3.0], 99) == 3


def test_medians() -> None:
    found = summary([sample(100, stall=0.5), sample(400, stall=0.1), sample(200, stall=0.2)])
    assert found.rate == 200
    assert found.cpu == pytest.approx(1e-5)
    assert (found.stall, found.worst_stall) == (0.2, 0.5)


def run_of(kind: str, size: int, in_flight: int, loop: str = "asyncio", **found: list[Sample]) -> LoopRun:
    sides = {name.replace("_", "-"): samples for name, samples in found.items()}
    outcome = CaseRun(Case(kind, size, in_flight, tuple(sides)), sides)
    return LoopRun(loop, Codec("zlib 1", zlib.compress, same=True), 1, [outcome])


def test_the_median_of_ratios_is_not_the_ratio_of_medians() -> None:
    """Both sides were slow in one round: that says nothing of either."""
    run = run_of("load", 1024, 64, wdasync=[sample(800), sample(80), sample(900)], thread=[
        sample(100), sample(20), sample(300),
    ])  # fmt: skip
    found = compare(run.cases[0], rate_over("wdasync", "thread"))
    assert found == Compared(median=4.0, low=3.0, high=8.0)


def test_a_side_that_is_not_there() -> None:
    run = run_of("load", 1024, 64, wdasync=[sample(1)])
    with pytest.raises(KeyError):
        compare(run.cases[0], rate_over("wdasync", "thread"))


def test_nothing_to_divide_by() -> None:
    assert ratio(1.0, 0.0) == math.inf
    assert ratio(3.0, 2.0) == 1.5


def verdicts_of(run: LoopRun) -> dict[str, tuple[float, bool]]:
    return {found.target.text: (found.found.median, found.reached) for found in judge([run])}


@pytest.mark.parametrize(("rate", "reached"), [(800, True), (799, False)])
def test_a_target_of_throughput(rate: int, reached: bool) -> None:
    run = run_of("load", 0, 64, wdasync_hop=[sample(rate)], thread=[sample(100)])
    assert verdicts_of(run) == {"no-op over to_thread": (rate / 100, reached)}


@pytest.mark.parametrize(("cpu", "reached"), [(4e-6, True), (4.1e-6, False)])
def test_a_target_of_cpu_time(cpu: float, reached: bool) -> None:
    run = run_of("load", 0, 64, wdasync_hop=[sample(1000, cpu=cpu)], futures=[sample(1000, cpu=1e-6)])
    assert verdicts_of(run) == {"no-op CPU over futures": (pytest.approx(cpu / 1e-6), reached)}


@pytest.mark.parametrize(("p50", "reached"), [(30e-6, True), (31e-6, False)])
def test_a_target_of_added_latency(p50: float, reached: bool) -> None:
    """Inline takes 10 µs and to_thread 90: our hop may add 20."""
    run = run_of("latency", 1024, 1, wdasync_hop=[sample(1, p50=p50)], wdasync=[sample(1, p50=10e-6)],
                 thread=[sample(1, p50=90e-6)], inline=[sample(1, p50=10e-6)])  # fmt: skip
    assert verdicts_of(run) == {"1 KiB delay over to_thread": (pytest.approx((p50 - 10e-6) / 80e-6), reached)}


@pytest.mark.parametrize(("p50", "reached"), [(11e-6, True), (12e-6, False)])
def test_a_target_of_latency(p50: float, reached: bool) -> None:
    run = run_of("latency", 256, 1, wdasync=[sample(1, p50=p50)], inline=[sample(1, p50=10.01e-6)])
    assert verdicts_of(run) == {"256 B latency over inline": (pytest.approx(p50 / 10.01e-6), reached)}


@pytest.mark.parametrize(("stall", "reached"), [(0.01, True), (0.011, False)])
def test_a_target_of_stalls(stall: float, reached: bool) -> None:
    run = run_of("stall", 256 << 10, CROWD, wdasync=[sample(1, stall=stall)], inline=[sample(1, stall=1.0)])
    assert verdicts_of(run) == {"256 KiB stall over inline": (pytest.approx(stall), reached)}


@pytest.mark.parametrize(("stall", "reached"), [(0.005, True), (0.0051, False)])
def test_a_target_of_the_longest_stall(stall: float, reached: bool) -> None:
    run = run_of("rsa-sign", 1024, 64, wdasync=[sample(95, stall=stall)], bare=[sample(100)])
    assert verdicts_of(run) == {
        "RSA-2048 sign over bare threads": (0.95, True),
        "RSA-2048 sign, stall in ms": (pytest.approx(stall * 1e3), reached),
    }


@pytest.mark.parametrize(("rate", "reached"), [(800, True), (799, False)])
def test_a_target_of_a_work(rate: int, reached: bool) -> None:
    """It is told apart from the target of compression of the same size over the same peer."""
    run = run_of("sha256", 1024, 64, wdasync=[sample(rate)], thread=[sample(100)])
    assert verdicts_of(run) == {"SHA-256 of 1 KiB over to_thread": (rate / 100, reached)}
    report = Report(
        Plan(None, [], 1, 1.0, b""), Origin("c", "s", machine.describe()), [run], judge([run]), None
    )
    (panel,) = charts._panels(report)
    assert panel.title == "SHA-256 of 1 KiB, 64 in flight"
    (bars,) = panel.peers.values()
    assert [bar.wanted for bar in bars.values()] == [8]


def paging_run(kind: str, size: int, rate: float, cost: float, *, related: bool = True) -> LoopRun:
    """Another backend, that takes pages on fault."""
    run = run_of(kind, size, 64, wdasync=[sample(10_000)])
    outcome = run.cases[0]
    outcome.samples[other("chip")] = [sample(rate)]
    outcome.likeness[other("chip")] = Likeness(run.codec, same=related, related=related, size=1.0)
    run.faults["chip"] = [FaultSample(1, 10, 10 * cost + 3e-3, 2e-3, 1e-3)]
    return run


@pytest.mark.parametrize(("cost", "good"), [(299e-6, True), (301e-6, False)])
def test_a_target_of_page_faults(cost: float, good: bool) -> None:
    run = paging_run("stall", 1024, 1, cost)
    assert verdicts_of(run) == {"page fault on chip, µs": (pytest.approx(cost * 1e6), good)}


@pytest.mark.parametrize(("rate", "reached"), [(7000, True), (6990, False)])
def test_a_target_of_a_backend_beside_ours(rate: int, reached: bool) -> None:
    found = verdicts_of(paging_run("backends", 64 << 10, rate, 1e-6))
    assert found["64 KiB on chip over ours"] == (rate / 10_000, reached)
    assert len(found) == 2


@pytest.mark.parametrize(("rate", "reached"), [(5000, True), (4990, False)])
def test_a_target_of_operations_a_second(rate: int, reached: bool) -> None:
    assert verdicts_of(paging_run("backends", 1 << 10, rate, 1e-6))["1 KiB on chip, op/s"] == (rate, reached)


def test_targets_beside_ours_are_for_the_same_codec_and_for_who_takes_pages() -> None:
    assert set(verdicts_of(paging_run("backends", 1 << 10, 9, 1e-6, related=False))) == {
        "page fault on chip, µs"
    }
    run = paging_run("backends", 1 << 10, 9, 1e-6)
    run.faults.clear()
    assert verdicts_of(run) == {}
    run = paging_run("backends", 1 << 10, 9, 1e-6)
    run.cases[0].case = Case("backends", 1 << 10, 32, run.cases[0].case.sides)
    assert set(verdicts_of(run)) == {"page fault on chip, µs"}


def test_every_paging_target_can_be_measured() -> None:
    full = {(case.kind, case.size) for case in cases(PRESETS["full"])}
    assert {(target.kind, target.size) for target in PAGING} <= full | {("fault", 0)}
    assert PRESETS["full"].pages > 0


def test_targets_hold_for_what_they_say() -> None:
    sides = {"wdasync_hop": [sample(1)], "thread": [sample(1)], "anyio": [sample(1)]}
    assert verdicts_of(run_of("load", 0, 32, **sides)) == {}
    assert verdicts_of(run_of("latency", 0, 64, **sides)) == {}
    assert set(verdicts_of(run_of("load", 0, 64, "trio", **sides))) == {"no-op over to_thread"}
    assert set(verdicts_of(run_of("load", 0, 64, "uvloop", **sides))) == {
        "no-op over to_thread",
        "no-op over anyio",
    }


def test_every_target_can_be_measured() -> None:
    """By the full preset, if nothing is left out."""
    full = {(case.kind, case.size): case for case in cases(PRESETS["full"])}
    for target in TARGETS:
        case = full[target.kind, target.size]
        assert math.isfinite(
            target.measure({side: sample(5, p50=index + 1.0) for index, side in enumerate(case.sides)})
        )
        assert target.peer == "" or target.peer in case.sides


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01234, "0.0123"), (0.5, "0.500"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (1234.5, "1234")],
)
def test_three_digits(value: float, text: str) -> None:
    assert tables.three(value) == text


def test_an_infinite_ratio_is_null() -> None:
    run = run_of("stall", 1024, CROWD, wdasync=[sample(1, stall=1.0)], inline=[sample(1, stall=0.0)])
    report = Report(
        Plan(None, [], 1, 1.0, b""), Origin("c", "s", machine.describe()), [run], judge([run]), None
    )
    (found,) = json.loads(json.dumps(document(report), allow_nan=False))["targets"]
    assert (found["median"], found["reached"]) == (None, False)


# --- what it is made of --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nbytes", "text"), [(300, "300 B"), (1 << 10, "1 KiB"), (1536, "1536 B"), (1 << 20, "1 MiB")]
)
def test_sizes_in_words(nbytes: int, text: str) -> None:
    assert kib(nbytes) == text


def test_peers_can_be_chosen() -> None:
    chosen = cases(PRESETS[""], peers={"thread"})
    assert next(case.sides for case in chosen if case.kind == "load") == (HOP, "thread")
    assert all(set(case.sides) <= {HOP, OURS, "thread"} for case in chosen if case.kind != "backends")
    assert all(case.ours in (OURS, HOP) for case in chosen)


def test_sizes_can_be_chosen() -> None:
    chosen = cases(PRESETS["full"].only([300, 300]))
    assert [(case.kind, case.size) for case in chosen] == [
        ("load", 0),
        ("load", 300),
        ("latency", 300),
        ("stall", 300),
        ("backends", 300),
    ]
    assert not any(case.kind == "stall" for case in cases(PRESETS[""].only([300])))


def test_other_backends_can_be_chosen() -> None:
    def sizes(name: str, *peers: str) -> tuple[tuple[int, ...], int]:
        preset = PRESETS[name].beside(peers)
        return preset.backends, preset.pages

    for name in ("", "full"):
        assert (
            sizes(name) == sizes(name, OTHERS) == sizes(name, "thread", OTHERS) == ((1 << 10, 64 << 10), 16)
        )
        assert sizes(name, "thread") == ((), 0)
    assert sizes("quick") == sizes("quick", "pool") == ((), 0)
    assert sizes("quick", OTHERS) == ((1 << 10,), 16)
    assert PRESETS[""].only([300]).backends == (300,)
    assert PRESETS["quick"].only([300]).backends == ()
    chosen = cases(PRESETS[""], others=["a", "b"])
    assert [case.sides for case in chosen if case.kind == "backends"] == [(OURS, other("a"), other("b"))] * 2


def test_names_of_sides() -> None:
    assert side_of("thread") is SIDES["thread"]
    assert side_of(other("thread")).label == "wdasync on thread"
    with pytest.raises(KeyError):
        side_of("nobody")


@pytest.mark.parametrize("name", CODECS)
def test_the_codec_is_recognised(name: str) -> None:
    """By several short inputs: how a library is called does not show in every one."""
    compress = CODECS[name]()
    pairs = [(data, compress(data)) for data in texts(99)]
    assert all(zlib.decompress(member, 31) == data for data, member in pairs)
    found = same_as(pairs)
    assert (found.name, found.same) == (name, True)


def test_another_codec() -> None:
    found = same_as([(b"abc" * 100, zlib.compress(b"abc" * 100, 0, 31))])
    assert (found.name, found.same) == (next(iter(CODECS)), False)


def test_blocks() -> None:
    data = b"".join(b"%d " % number for number in range(5000))
    found = blocks(data, 1000)
    assert [len(block) for block in found] == [1000] * BLOCKS
    assert len(set(found)) > BLOCKS / 2
    assert all(block in data for block in found)
    assert found == blocks(data, 1000) != blocks(data, 1000, seed=2)


def test_blocks_larger_than_the_data() -> None:
    assert set(blocks(b"ab", 5)) <= {b"ababa", b"babab"}
    assert set(blocks(b"abc", 3)) == {b"abc"}


X86 = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Some CPU @ 2.5GHz\n\nprocessor\t: 1\nmodel name\t: other\n"
ARM = "processor\t: 0\nCPU implementer\t: 0x48\nCPU architecture: 8\nCPU part\t: 0xd01\n"


@pytest.mark.parametrize(
    ("text", "name"),
    [(X86, "Some CPU @ 2.5GHz"), (ARM, "CPU implementer 0x48, CPU part 0xd01")],
)
def test_the_processor_is_named(text: str, name: str) -> None:
    assert machine.cpu_model(text) == name


def test_a_processor_without_a_name() -> None:
    assert machine.cpu_model("nothing") != ""


def test_busy_seconds() -> None:
    ticks = machine.os.sysconf("SC_CLK_TCK")
    text = "cpu  100 20 30 9999 8888 4 5 6 777 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n"
    assert machine.busy_seconds(text) == pytest.approx(165 / ticks)
    assert machine.busy_seconds("") == 0


def test_others_are_what_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """In 10 s on 2 cores, 8 s were used, 5 of them by us."""
    times = iter([(100.0, 50.0, 1.0), (110.0, 58.0, 6.0), (110.0, 50.0, 1.0)])
    monkeypatch.setattr(machine.Neighbours, "_now", staticmethod(lambda: next(times)))
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    neighbours = machine.Neighbours()
    assert neighbours.share() == pytest.approx(0.15)
    assert neighbours.share() is None


def test_workers() -> None:
    """As configured, where the backend has that setting; otherwise the cores but one."""
    assert machine.workers_of(load({"backend": "cpu", "workers": 3}), ["cpu/cpu0"]) == 3
    assert machine.workers_of(load({"backend": "mock"}), ["mock/mock-0"]) == max(1, machine.cores() - 1)


def test_workers_of_a_backend_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    effective = load({"backend": "mock"})
    assert machine.workers_of(effective, ["gone/gone-0"]) == max(1, machine.cores() - 1)


@pytest.mark.parametrize(
    ("ran", "text"),
    [
        (Ran("cpu/cpu0", "worker 0", "preferred"), "cpu/cpu0, worker 0"),
        (Ran("cpu/cpu0 inline", "inline", "inline"), "cpu/cpu0 inline"),
        (Ran("mock/mock-0", "", "preferred"), "mock/mock-0"),
    ],
)
def test_places(ran: Ran, text: str) -> None:
    assert ran.place == text


def test_every_loop_has_a_colour() -> None:
    assert set(charts.COLOURS) == set(LOOPS)


def test_all_peers_can_be_named() -> None:
    assert set(bench_module.PEERS) == set(SIDES) - {OURS, HOP} | {OTHERS}


def test_help_says_who_they_are(invoke: Invoke) -> None:
    output = invoke("bench", "--help").output
    assert all(f"  {name:12} " in output for name in bench_module.PEERS)


def test_an_empty_name(invoke: Invoke) -> None:
    result = invoke("bench", "")
    assert (result.exit_code, "expected a name, got an empty one" in result.stderr) == (2, True)
